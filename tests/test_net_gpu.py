"""Networks on a GPU: what they give there is what they give here, and they train."""

from __future__ import annotations

import networks
import numpy as np
import pytest
import torch
from records import each

import xstf

pytestmark = pytest.mark.gpu("torch")
BANDS = ["green", "nir"]
NETWORK = each(networks.NETWORKS)


@pytest.fixture(scope="module")
def cubes():
    scene = xstf.scenes.landsat_modis(size=60)
    return scene.fine.sel(band=BANDS), scene.coarse.sel(band=BANDS)


@NETWORK
def test_a_gpu_gives_what_the_processor_gives(record, cubes, tmp_path):
    """In bfloat16, whose eight bits are a few thousandths of reflectance."""
    path = networks.checkpoint(record, tmp_path / "w.safetensors", bands=BANDS, ratio=15)
    call = {"method": record, "weights": path, "tile": 64, "time": cubes[1].time[5]}
    here, there = (xstf.fuse(*cubes, device=d, **call) for d in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, atol=0.02)
    assert float(abs(there - here).mean()) < 0.004


@NETWORK
def test_training_runs_on_a_gpu(record, cubes):
    call = {"epochs": 2, "steps": 2, "patch": 32, "batch": 2, "sizes": networks.sizes_of(record)}
    fitted = xstf.train.fit(record.name, *cubes, device="cuda", **call)
    assert np.isfinite(fitted.history[-1]["loss"])


@NETWORK
def test_memory_grows_with_pixels_and_not_with_their_square(record):
    """Twice the side takes about four times the memory, at the network's own size."""
    used = []
    net = networks.module_of(record).build(bands=6, **record.net.sizes).cuda().eval()
    for side in (128, 256):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        images = [torch.rand(1, 6, side, side, device="cuda") for _ in range(3)]
        with torch.inference_mode():
            net(*images)
        used.append(torch.cuda.max_memory_allocated() - before)
    assert used[1] < 6 * used[0]
