"""What every sharpening method promises, run over every record and engine.

A record that does not obey a law says so in `exempt`; then the law must fail, or the exemption is
stale. One that is exempt from "tiles" says how large its seams may be.
"""

from __future__ import annotations

import dataclasses
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from records import classical, each, each_engine, settled_once

from xstf import testing
from xstf._method import Method, SharpenSamples
from xstf.numerics.degrade import degrade, upsample
from xstf.tiles import engines as _engines

# Networks need weights and labels: test_srecnn.py.
RECORDS = classical("sharpen_spectral")
METHOD = each(RECORDS)
ENGINE = each_engine(RECORDS, definition=False)
RATIO = 4
RANGE = 0.6  # of the made values
NOISE = 0.002  # of both made cubes
TILES = 1e-5  # of the range, how far a tile may be from its part of the whole


@dataclasses.dataclass(frozen=True)
class Case:
    """A blurred cube and a sharp one."""

    spectral: np.ndarray
    spatial: np.ndarray
    ratio: int = RATIO

    def state(self, record: Method) -> Any:
        """Return what the method settles on the whole scene, PSF and response unknown."""
        if record.settle is None:
            return None
        return settled_once(
            record, record.params(), lambda: self.settle(record),
            self.spectral, self.spatial, self.ratio,
        )  # fmt: skip

    def settle(self, record: Method) -> Any:
        """Return the same, settled now."""
        samples = SharpenSamples(self.spectral.copy(), self.spatial.copy())
        return record.settle(samples, ratio=self.ratio, params=record.params())

    def run(
        self, record: Method, engine: str = "", *, inner: tuple[slice, slice] | None = None,
        state: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """Return the kernel's estimate of the whole scene or its inner part."""
        runner = _engines.make_runner(record, engine or next(iter(record.kernels)), None)
        part = inner or tuple(slice(0, n) for n in self.spatial.shape[1:])
        return runner(
            self.spectral, self.spatial, ratio=self.ratio, params=record.params(),
            state=self.state(record) if state is None else state, inner=part, std=False,
        )[0]  # fmt: skip

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Case:
        """Return the case with both cubes changed."""
        both = (np.ascontiguousarray(change(a)) for a in (self.spectral, self.spatial))
        return Case(*both, ratio=self.ratio)


def make_case() -> Case:
    spectral, spatial, _ = testing.bands()
    return Case(spectral.values.copy(), spatial.values.copy())


CASE = make_case()
UP = upsample(CASE.spectral, ratio=RATIO)


def off(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of what is there in both, which must be the same pixels."""
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(np.abs(a - b), initial=0.0))


def law(record: Method, name: str, check: Callable[[], None]) -> None:
    """Run a check; one that the record is exempt from must fail."""
    if name in record.exempt:
        with pytest.raises(AssertionError):
            check()
    else:
        check()


def seam(record: Method) -> float:
    """Return how far a tile may be from its part of the whole, in the data's units."""
    if "tiles" not in record.exempt:
        return TILES * RANGE
    said = re.search(r"(\d[\d.]*e-\d+)", record.exempt["tiles"])
    assert said, f"{record.name}: its exemption from 'tiles' must say how large the seams may be"
    assert float(said[1]) <= 2e-3
    return float(said[1]) * RANGE


def wide_case() -> Case:
    """Return a scene larger than most halos, with holes."""
    scene = testing.scenes.hyperspectral(size=192, bands=40)
    spectral, spatial = scene.spectral.values[::4].copy(), scene.spatial.values.copy()
    spatial[:, 70:75, 20:31] = np.nan
    spectral[3, 20:22, 30] = np.nan
    return Case(spectral, spatial)


# --- tiles -------------------------------------------------------------------------------------


@ENGINE
def test_engines_give_what_the_definition_gives(record, engine):
    state = CASE.state(record)
    got, want = CASE.run(record, engine, state=state), CASE.run(record, "numpy", state=state)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6 * RANGE)


@METHOD
def test_a_tile_equals_its_part_of_the_whole(record):
    case = wide_case()
    state = case.state(record)
    halo = record.halo(record.params(), RATIO)
    whole = case.run(record, state=state)
    for rows, cols in [((0, 61), (0, 192)), ((61, 192), (50, 123)), ((96, 97), (99, 100))]:
        window = [
            slice(max(0, (a - halo) // RATIO), min(n // RATIO, -(-(b + halo) // RATIO)))
            for (a, b), n in zip((rows, cols), case.spatial.shape[1:], strict=True)
        ]
        fine = tuple(slice(w.start * RATIO, w.stop * RATIO) for w in window)
        tile = Case(
            np.ascontiguousarray(case.spectral[:, window[0], window[1]]),
            np.ascontiguousarray(case.spatial[:, fine[0], fine[1]]),
        )
        inner = tuple(
            slice(a - w.start, b - w.start) for (a, b), w in zip((rows, cols), fine, strict=True)
        )
        part = tile.run(record, inner=inner, state=state)
        assert off(part, whole[:, slice(*rows), slice(*cols)]) <= seam(record)


@METHOD
@pytest.mark.parametrize("poked", ["spectral", "spatial"])
def test_nothing_beyond_the_halo_matters(record, poked):
    """A pixel that changes by a third of the range; state is that of the unchanged scene."""
    case = wide_case()
    state = case.state(record)
    halo = record.halo(record.params(), RATIO)
    before = case.run(record, state=state)
    changed = getattr(case, poked).copy()
    at = (6, 8) if poked == "spectral" else (26, 34)
    changed[:, at[0], at[1]] += 0.2
    after = dataclasses.replace(case, **{poked: changed}).run(record, state=state)
    move = np.nan_to_num(np.abs(after - before)).max(axis=0) > max(seam(record), 1e-6)
    y, x = np.nonzero(move)
    assert len(y)
    scale = RATIO if poked == "spectral" else 1
    reach = [np.abs(v - (a + 0.5) * scale + 0.5).max() for v, a in zip((y, x), at, strict=True)]
    assert max(reach) <= halo + RATIO


# --- form --------------------------------------------------------------------------------------


@METHOD
def test_the_estimate_has_the_form_of_the_tile(record):
    got = CASE.run(record, inner=(slice(8, 19), slice(3, 30)))
    assert got.shape == (20, 11, 27)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()


@METHOD
def test_a_state_travels(record):
    """What is settled goes to other processes, and has a name of its own in a graph."""
    tokenize = pytest.importorskip("dask.base", reason="dask is not installed").tokenize
    state = CASE.state(record)
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is type(state)
    assert tokenize(again, ensure_deterministic=True) == tokenize(state, ensure_deterministic=True)


@METHOD
def test_inputs_and_state_are_left_as_they_were(record):
    kept = CASE.spectral.copy(), CASE.spatial.copy()
    state = CASE.state(record)
    first = CASE.run(record, state=state)
    np.testing.assert_array_equal(CASE.run(record, state=state), first)
    np.testing.assert_array_equal(CASE.spectral, kept[0])
    np.testing.assert_array_equal(CASE.spatial, kept[1])


@METHOD
def test_the_same_scene_gives_the_same_twice(record):
    states = (None if record.settle is None else CASE.settle(record) for _ in range(2))
    first, second = (CASE.run(record, state=state) for state in states)
    np.testing.assert_array_equal(first, second)


# --- symmetries --------------------------------------------------------------------------------


@METHOD
@pytest.mark.parametrize("factor", [1e4, 1e-2])
def test_units_scale_the_estimate(record, factor):
    def check() -> None:
        scaled = CASE.map(lambda a: a * np.float32(factor))
        np.testing.assert_allclose(
            scaled.run(record) / factor, CASE.run(record), atol=2e-4 * RANGE, rtol=0
        )

    law(record, "scale", check)


@METHOD
@pytest.mark.parametrize("turn", ["up", "left", "transpose"])
def test_flips_and_turns_go_through(record, turn):
    turns: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "up": lambda a: a[:, ::-1, :],
        "left": lambda a: a[..., ::-1],
        "transpose": lambda a: a.swapaxes(-1, -2),
    }

    def check() -> None:
        turned = CASE.map(turns[turn]).run(record)
        np.testing.assert_allclose(turned, turns[turn](CASE.run(record)), atol=2e-3 * RANGE)

    law(record, "symmetry", check)


# --- what it must do ---------------------------------------------------------------------------


@METHOD
def test_it_is_sharper_than_interpolation(record):
    truth = testing.bands()[2].values
    error = np.sqrt(((CASE.run(record) - truth) ** 2).mean())
    assert error < 0.6 * np.sqrt(((UP - truth) ** 2).mean())


@METHOD
def test_blurred_again_it_is_what_was_given(record):
    def check() -> None:
        again = degrade(CASE.run(record), ratio=RATIO, fwhm=1.0)
        left = np.sqrt(np.nanmean((again - CASE.spectral) ** 2))
        assert left < 2.5 * NOISE

    law(record, "consistency", check)


@METHOD
def test_a_sharp_cube_without_details_adds_none(record):
    """The sharp cube is the same everywhere."""

    def check() -> None:
        flat = np.broadcast_to(CASE.spatial.mean(axis=(1, 2), keepdims=True), CASE.spatial.shape)
        same = dataclasses.replace(CASE, spatial=np.ascontiguousarray(flat))
        estimate = same.run(record)
        assert np.isfinite(estimate).all()
        inside = (slice(None), slice(8, -8), slice(8, -8))
        invented = np.sqrt(((estimate - UP)[inside] ** 2).mean())
        # beside the details that interpolation lacks; a deblurred estimate may have some of them
        truth = testing.bands()[2].values
        assert invented < 0.6 * np.sqrt(((UP - truth)[inside] ** 2).mean())

    law(record, "no change", check)


# --- odd input ---------------------------------------------------------------------------------


def quiet(case: Case, record: Method) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return case.run(record)


@METHOD
def test_nothing_given_gives_nothing_and_no_warning(record):
    """The house drops bands that are missing everywhere; a tile may still see nothing else."""
    state = CASE.state(record)
    empty = CASE.map(lambda a: np.full_like(a, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(empty.run(record, state=state)).all()


@METHOD
def test_a_scene_that_sees_nothing_can_be_settled(record):
    """The sharp cube is missing wherever the blurred one is there."""
    blind = dataclasses.replace(CASE, spatial=np.full_like(CASE.spatial, np.nan))
    assert np.isnan(quiet(blind, record)).all()


@METHOD
def test_what_is_missing_is_missing_and_no_more(record):
    spectral, spatial = CASE.spectral.copy(), CASE.spatial.copy()
    spatial[:, 17:20, 30:39] = np.nan
    spatial[2, 5, 40] = np.nan
    spectral[4, 7, 2] = np.nan
    spectral[:, 2, 9] = np.nan
    gone = np.isnan(spatial).any(axis=0) | np.isnan(
        spectral.repeat(RATIO, axis=1).repeat(RATIO, axis=2)
    )
    holed = Case(spectral, spatial)
    estimate = quiet(holed, record)
    np.testing.assert_array_equal(np.isnan(estimate), gone)
    change = np.nanmax(np.abs(estimate - CASE.run(record)))
    assert change < 0.5 * RANGE


@METHOD
def test_a_constant_band_stays_so(record):
    def check() -> None:
        spectral = CASE.spectral.copy()
        spectral[5] = 0.25
        estimate = quiet(dataclasses.replace(CASE, spectral=spectral), record)
        assert np.isfinite(estimate).all()
        np.testing.assert_allclose(estimate[5], 0.25, atol=0.02 * RANGE)

    law(record, "constant", check)


@METHOD
def test_a_scene_of_one_value_stays_so(record):
    flat = CASE.map(lambda a: np.full_like(a, 0.25))
    np.testing.assert_allclose(quiet(flat, record), 0.25, atol=1e-3)


@METHOD
def test_zeros_give_zeros(record):
    np.testing.assert_allclose(quiet(CASE.map(np.zeros_like), record), 0, atol=1e-6)


@METHOD
def test_a_panchromatic_cube_will_do(record):
    pan = dataclasses.replace(CASE, spatial=CASE.spatial[1:4].mean(axis=0, keepdims=True))
    truth = testing.bands()[2].values
    estimate = quiet(pan, record)
    assert np.isfinite(estimate).all()
    assert np.sqrt(((estimate - truth) ** 2).mean()) < np.sqrt(((UP - truth) ** 2).mean())


@METHOD
def test_one_band_is_sharpened(record):
    one = dataclasses.replace(CASE, spectral=CASE.spectral[8:9].copy())
    truth = testing.bands()[2].values[8:9]
    estimate = quiet(one, record)
    assert np.sqrt(((estimate - truth) ** 2).mean()) < np.sqrt(((UP[8:9] - truth) ** 2).mean())


@METHOD
def test_negative_reflectance_is_legal(record):
    def check() -> None:
        low = CASE.map(lambda a: a - np.float32(0.1))
        estimate = quiet(low, record)
        assert np.isfinite(estimate).all()
        truth = testing.bands()[2].values - 0.1
        assert np.sqrt(((estimate - truth) ** 2).mean()) < np.sqrt(((UP - 0.1 - truth) ** 2).mean())
        dark = truth < -0.05
        assert estimate[dark].mean() < -0.05

    law(record, "negative", check)


@METHOD
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_any_whole_ratio_works(record, ratio):
    size = 48 // (6 * ratio) * 6 * ratio if ratio != 1 else 48
    truth = testing.bands()[2].values[:, :size, :size]
    spatial = np.ascontiguousarray(CASE.spatial[:, :size, :size])
    spectral = degrade(truth, ratio=ratio, fwhm=1.0) if ratio > 1 else truth.copy()
    estimate = quiet(Case(spectral, spatial, ratio), record)
    assert np.isfinite(estimate).all()
    up = upsample(spectral, ratio=ratio)
    error, least = (np.sqrt(((e - truth) ** 2).mean()) for e in (estimate, up))
    assert error < (least if ratio > 1 else 0.02)
