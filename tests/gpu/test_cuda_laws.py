"""Laws of tests/test_laws.py that ask the first engine alone, of records whose first is cupy."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import test_gap_laws
import test_laws
from records import classical

from xstf._method import GapfillSamples
from xstf.methods.gapfill import whittaker
from xstf.methods.gapfill.whittaker import cuda as _whittaker

pytestmark = pytest.mark.cuda


def first_cupy(record):
    kernels = {"cupy": record.kernels["cupy"], "numpy": record.kernels["numpy"]}
    return dataclasses.replace(record, kernels=kernels)


FUSE = [first_cupy(r) for r in classical("fuse") if "cupy" in r.kernels]
FILL = [first_cupy(r) for r in classical("gapfill") if "cupy" in r.kernels]


@pytest.mark.parametrize("record", [r for r in FUSE if r.name != "auto"], ids=lambda r: r.name)
def test_fusion(record):
    """`auto` is made of the others, under the same tiles."""
    test_laws.test_std_changes_no_estimate(record)
    test_laws.test_halo_is_honest(record)
    test_laws.test_nothing_is_invented(record)


@pytest.mark.parametrize("record", FUSE, ids=lambda r: r.name)
def test_a_fused_tile_equals_its_part_of_the_whole(record):
    """Bit for bit, whatever the place of the tile: also what a thread makes besides."""
    case = test_laws.make_case(ratio=3, cells=(16, 17), pairs=2, missing=True, seed=4)
    options = test_laws.small_params(record)
    state = test_laws.state_of(record, case, options)
    halo = -(-record.halo(options, 3) // 3)
    kernel, cupy = record.kernels["cupy"], importlib.import_module("cupy")

    def run(cells, inner):
        rows, cols = cells
        fine = case.fine[:, :, 3 * rows.start : 3 * rows.stop, 3 * cols.start : 3 * cols.stop]
        given = (cupy.asarray(np.ascontiguousarray(a)) for a in (fine, case.coarse[:, :, *cells]))
        call = {"ratio": 3, "params": options, "state": state, "std": False}
        return kernel(*given, inner=inner, **call)[0].get()

    whole = run((slice(0, 16), slice(0, 17)), (slice(0, 48), slice(0, 51)))
    part = (slice(25, 48), slice(34, 51))
    cells = tuple(
        slice(max(0, p.start // 3 - halo), n) for p, n in zip(part, (16, 17), strict=True)
    )
    inner = tuple(
        slice(p.start - 3 * c.start, p.stop - 3 * c.start) for p, c in zip(part, cells, strict=True)
    )
    np.testing.assert_array_equal(run(cells, inner), whole[:, *part])


@pytest.mark.parametrize("record", FILL, ids=lambda r: r.name)
def test_filling(record):
    test_gap_laws.test_a_tile_equals_its_part_of_the_whole(record)
    test_gap_laws.test_every_hole_with_evidence_in_time_is_filled(record)
    test_gap_laws.test_a_constant_pixel_keeps_its_constant(record)
    test_gap_laws.test_the_fewest_dates_suffice(record)


@pytest.mark.parametrize("order", [1, 3])
def test_other_penalties_and_more_series_than_fit_at_once(order, monkeypatch):
    case = test_gap_laws.make_case(5, size=(12, 11), guided=False)
    monkeypatch.setattr(_whittaker, "KEPT", 26 * _whittaker.OF_DATE * 50)  # 50 of 198 series
    params = whittaker.Params(order=order, period=40)
    state = whittaker.settle(GapfillSamples(case.cube[None]), times=case.times, params=params)
    call = {"times": case.times, "params": params, "state": state, "std": True}
    inner = (slice(1, 12), slice(0, 9))
    cube = importlib.import_module("cupy").asarray(case.cube)
    found = whittaker.METHOD.kernels["cupy"](cube, None, inner=inner, **call)
    wanted = whittaker.METHOD.kernels["numpy"](case.cube, None, inner=inner, **call)
    for a, b in zip(found[:2], wanted[:2], strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-4, atol=1e-6)


def test_what_whittaker_does_not_do_on_the_gpu_is_said():
    case = test_gap_laws.CASE
    cube = importlib.import_module("cupy").asarray(case.cube)
    inner = tuple(slice(0, n) for n in case.cube.shape[2:])
    call = {"times": case.times, "state": None, "inner": inner, "std": False}
    with pytest.raises(ValueError, match=r"engine 'cupy' has choose='fixed'.*engine='numba'"):
        whittaker.METHOD.kernels["cupy"](cube, None, params=whittaker.Params(robust=2), **call)
