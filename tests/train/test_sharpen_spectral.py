"""What a network that sharpens spectra learns from, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xstf
from xstf import testing
from xstf.methods.lookup import get_method
from xstf.numerics.degrade import degrade
from xstf.train import sharpen_spectral as sharpening

SPECTRAL, SPATIAL, _ = testing.bands()
RECORD = get_method("sharpen_spectral", "srecnn")
QUICK = {
    "epochs": 2, "steps": 10, "batch": 4, "patch": 8, "rate": 3e-3, "device": "cpu",
    "sizes": {"widths": (8, 12)},
}  # fmt: skip
DAYS = np.array(["2021-06-01", "2021-07-01", "2021-08-01"], "M8[ns]")


def fit(spectral=SPECTRAL, spatial=SPATIAL, **options):
    return xstf.train.fit("srecnn", spectral, spatial, **QUICK | options)


def read(fitted):
    return xstf.weights.load(fitted.checkpoint)


def losses(fitted):
    return [row["loss"] for row in fitted.history[1:]]


def dated(cube, gains=(1, 0.8, 1.1), days=DAYS):
    return xr.concat([cube * np.float32(g) for g in gains], "time").assign_coords(
        time=days[: len(gains)]
    )


def scaled(read, spatial=SPATIAL):
    low, high = (
        np.array(read.manifest.extra[f"guide_{k}"], np.float32)[:, None, None]
        for k in ("low", "high")
    )
    return (degrade(spatial.values, ratio=4, fwhm=1.0) - low) / (high - low)


def test_a_seed_gives_one_result():
    first, second, other = fit(), fit(), fit(seed=1)
    have, want = read(first).tensors, read(second).tensors
    assert all(torch.equal(have[name], want[name]) for name in want)
    assert losses(first) == losses(second) != losses(other)


def test_the_linear_path_is_least_squares_and_the_start():
    """With nothing learned beside it, the network is the best linear map of what is trained on."""
    fitted = fit(psf=1.0, register=False, rate=1e-9, epochs=1, steps=1)
    found = read(fitted)
    assert fitted.scores["mae"] <= fitted.scores["mae_untrained"]
    guide = scaled(found)[:, :10]  # the last two rows of twelve are held out
    low, high = (np.array(v)[:, None, None] for v in (found.manifest.low, found.manifest.high))
    target = (SPECTRAL.values[:, :10] - low) / (high - low)
    columns = np.concatenate([guide, np.ones_like(guide[:1])]).reshape(7, -1).T
    best = np.linalg.lstsq(columns, target.reshape(20, -1).T, rcond=None)[0]
    linear = found.tensors["linear.weight"][:, :, 0, 0].numpy()
    np.testing.assert_allclose(linear, best[:-1].T, atol=1e-3 * np.abs(best).max())
    np.testing.assert_allclose(found.tensors["linear.bias"], best[-1], atol=1e-3)


def test_what_no_linear_map_gives_is_learned():
    """A spectrum that saturates in the guide band."""
    rng = np.random.default_rng(0)
    smooth = rng.random((2, 30, 30)).repeat(4, axis=1).repeat(4, axis=2).astype("f4")
    grid = {"y": -(np.arange(120) + 0.5), "x": np.arange(120) + 0.5}
    coarse = {k: v.reshape(-1, 4).mean(1) for k, v in grid.items()}
    spatial = xr.DataArray(smooth, {"band": ["a", "b"], **grid}, ("band", "y", "x"))
    low = degrade(smooth, ratio=4, fwhm=0.3)
    bent = np.abs(low - 0.5)
    spectral = xr.DataArray(bent, {"band": ["p", "q"], **coarse}, ("band", "y", "x"))
    fitted = fit(
        spectral, spatial, psf=0.3, register=False, epochs=8, steps=60, rate=1e-2, patch=12
    )
    assert fitted.scores["mae"] < 0.3 * fitted.scores["mae_untrained"]


def test_the_checkpoint_is_the_network_that_was_validated():
    fitted = fit(psf=1.0, register=False)
    found = read(fitted)
    net = xstf.nets.srecnn.build(bands=20, **found.manifest.sizes)
    xstf.weights.fill(net, found)
    # A row of context above the held-out rows is what validation did not see.
    guide = torch.from_numpy(scaled(found)[None, :, 10:])
    low, high = (np.array(v)[:, None, None] for v in (found.manifest.low, found.manifest.high))
    with torch.no_grad():
        made = net(guide)[0].numpy() * (high - low) + low
    mae = np.abs(made - SPECTRAL.values[:, 10:]).mean()
    assert mae == pytest.approx(fitted.scores["mae"], rel=1e-4)


def test_of_one_date_rows_are_held_out():
    spoiled = SPECTRAL.copy(deep=True)
    spoiled[:, 10:] *= 1.5
    first, second = (fit(s, psf=1.0, register=False) for s in (SPECTRAL, spoiled))
    assert read(first).manifest.extra["held_out"] == "rows 10 and on"
    assert losses(first) == losses(second)
    assert first.scores["mae"] != second.scores["mae"]


def test_of_several_dates_one_is_held_out():
    spectral, spatial = dated(SPECTRAL), dated(SPATIAL)
    spoiled = spectral.copy(deep=True)
    spoiled[1] *= 1.5
    first, second = (fit(s, spatial, psf=1.0, register=False) for s in (spectral, spoiled))
    assert read(first).manifest.extra["held_out"] == "dates 2021-07-01"
    assert losses(first) == losses(second)
    last = fit(spectral, spatial, validation="2021-08-01", psf=1.0, register=False)
    assert read(last).manifest.extra["held_out"] == "dates 2021-08-01"


@pytest.mark.filterwarnings("ignore:every value of")
def test_masked_pixels_teach_nothing():
    mask = xr.zeros_like(SPECTRAL[0], bool)
    mask[:, :4] = True
    spoiled = SPECTRAL.where(~mask, 0.9)
    options = {"mask": mask.drop_vars("band", errors="ignore"), "psf": 1.0, "register": False}
    first, second = (fit(s, **options) for s in (SPECTRAL, spoiled))
    assert losses(first) == losses(second)
    bare = fit(spoiled, psf=1.0, register=False)
    assert losses(bare) != losses(first)
    none = SPATIAL[0].drop_vars("band") > -1
    with pytest.raises(ValueError, match="no pixel in common"):
        fit(spatial_mask=none)


def test_lazy_cubes_teach_the_same():
    assert losses(fit(SPECTRAL.chunk(y=5), SPATIAL.chunk(y=17))) == losses(fit())


def test_a_shift_between_the_cubes_is_taken_out():
    moved = SPATIAL.copy(data=np.roll(SPATIAL.values, 2, axis=2))
    with_it, without = (
        fit(SPECTRAL, moved, register=moves).scores["mae_untrained"] for moves in (True, False)
    )
    assert with_it < 0.8 * without


def test_interrupted_training_is_resumed(tmp_path, monkeypatch):
    from xstf.train import loop

    unbroken = fit(epochs=3)
    keep = loop._Trainer.keep

    def die(self, path, done, mark):
        keep(self, path, done, mark)
        if len(done.history) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Trainer, "keep", die)
    with pytest.raises(KeyboardInterrupt):
        fit(epochs=3, out=tmp_path / "net.safetensors")
    monkeypatch.undo()
    resumed = fit(epochs=3, out=tmp_path / "net.safetensors")
    assert losses(resumed) == losses(unbroken)


@pytest.mark.parametrize(
    ("cubes", "options", "words"),
    [
        ((SPECTRAL, SPATIAL), {"validation": "2021-06-01"}, "spectral has no time"),
        ((dated(SPECTRAL), dated(SPATIAL)), {"validation": "1999-01-01"}, "must be some of the"),
        ((dated(SPECTRAL), dated(SPATIAL)), {"validation": DAYS}, "and not all"),
        ((dated(SPECTRAL), dated(SPATIAL, (1, 1))), {}, "no image of spatial within"),
        ((SPECTRAL.where(False), SPATIAL), {}, "no pixel in common"),
        ((SPECTRAL, SPATIAL), {"psf": -1}, "psf must be"),
        ((SPECTRAL, SPATIAL), {"cross": True}, "no argument"),
    ],
)
@pytest.mark.filterwarnings("ignore:every value of")
def test_what_cannot_teach_says_so(cubes, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        fit(*cubes, **options)


def test_bands_of_the_task_are_named():
    options = sharpening.SharpenOptions()
    task = sharpening.training_task(RECORD, SPECTRAL, SPATIAL, options=options)
    assert task.bands == tuple(str(b) for b in SPECTRAL.band.values)
    assert task.extra["guides"] == [str(b) for b in SPATIAL.band.values]
    assert task.build == {"guide_bands": 6}
    assert task.ratio == 4
