"""What every gap-filling method promises, run over every record and engine.

A record that does not obey a law says so in `exempt`; then the law must fail, or the exemption is
stale.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dask.base import tokenize
from records import classical, each, each_engine, settled_once

from xstf._method import GapfillSamples, Method
from xstf.tiles import engines as _engines

RECORDS = classical("gapfill")
# Networks have laws of their own: test_video_laws.py.
METHOD = each(RECORDS)
ENGINE = each_engine(RECORDS, definition=False)
RANGE = 0.6  # of the made values


@dataclasses.dataclass(frozen=True)
class Case:
    """A cube with holes, its guide and dates."""

    cube: np.ndarray
    guide: np.ndarray | None
    times: np.ndarray

    def state(self, record: Method, options: Any) -> Any:
        """Return what the method settles on the whole cube."""
        if record.settle is None:
            return None
        guided = self.guide is not None and record.guided
        guide = self.guide[None].copy() if guided else None
        samples = GapfillSamples(self.cube[None].copy(), guide)
        return settled_once(
            record, options, lambda: record.settle(samples, times=self.times, params=options),
            self.cube, guide, self.times,
        )  # fmt: skip

    def run(
        self, record: Method, engine: str = "", *, std: bool = False,
        inner: tuple[slice, slice] | None = None, state: Any = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Return the kernel's results on the whole cube or its inner part."""
        options = record.params()
        runner = _engines.make_runner(record, engine or next(iter(record.kernels)), None)
        part = inner or tuple(slice(0, n) for n in self.cube.shape[2:])
        return runner(
            self.cube, self.guide if record.guided else None, times=self.times, params=options,
            state=self.state(record, options) if state is None else state, inner=part, std=std,
        )  # fmt: skip

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Case:
        """Return the case with its cube changed in space."""
        guide = None if self.guide is None else np.ascontiguousarray(change(self.guide))
        return Case(np.ascontiguousarray(change(self.cube)), guide, self.times)


def make_case(
    seed: int = 0, size: tuple[int, int] = (23, 21), dates: int = 26, guided: bool = True
) -> Case:
    """Return two kinds of fields with seasons, clouds, a lost date, a lost and a constant pixel."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(5, 25, dates)).astype(float)
    times -= times[0]
    fields = rng.integers(0, 3, (5, 5))
    y, x = (np.arange(n) * 5 // n for n in size)
    kind = fields[y[:, None], x[None, :]]
    level = np.array([[0.2, 0.3], [0.4, 0.25], [0.3, 0.5]])[kind].transpose(2, 0, 1)
    phase = np.array([0.0, 1.0, 2.5])[kind]
    season = 0.12 * np.sin(2 * np.pi * times[:, None, None] / 365.25 + phase)
    truth = level[None] + season[:, None] * np.array([1.0, -0.6])[None, :, None, None]
    cube = truth + rng.normal(0, 0.01, truth.shape)
    mask = np.zeros((dates, *size), bool)
    for date in range(dates):
        top, left = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        mask[date, top : top + rng.integers(3, 14), left : left + rng.integers(3, 14)] = True
    mask[7] = True
    cube[np.broadcast_to(mask[:, None], cube.shape)] = np.nan
    cube[:, :, 4, 4] = np.nan
    seen = ~np.isnan(cube[:, :, 9, 9])
    cube[:, :, 9, 9] = np.where(seen, 0.37, np.nan)
    guide = -12 + 8 * season[:, None] + rng.normal(0, 0.7, (dates, 2, *size))
    return Case(cube.astype(np.float32), guide.astype(np.float32) if guided else None, times)


CASE = make_case()


def same(a: np.ndarray, b: np.ndarray, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * RANGE)


def exempt(record: Method, law: str) -> bool:
    return law in record.exempt


def law(record: Method, name: str, check: Callable[[], None]) -> None:
    """Run a check; one that the record is exempt from must fail."""
    if exempt(record, name):
        with pytest.raises(AssertionError):
            check()
    else:
        check()


@ENGINE
@pytest.mark.parametrize("guided", [True, False], ids=["guide", "alone"])
def test_engines_give_what_the_definition_gives(record, engine, guided):
    case = make_case(3, size=(13, 12), guided=guided)
    options = record.params()
    state = case.state(record, options)
    fast = case.run(record, engine, std=record.std, state=state)
    slow = case.run(record, "numpy", std=record.std, state=state)
    same(fast[0], slow[0])
    if record.std:
        same(fast[1], slow[1], rtol=1e-3)
    if fast[2] is not None:
        np.testing.assert_array_equal(fast[2], slow[2])


@METHOD
def test_a_tile_equals_its_part_of_the_whole(record):
    state = CASE.state(record, record.params())
    halo = record.halo(record.params(), 1)
    whole = CASE.run(record, std=record.std, state=state)
    for rows, cols in [((0, 9), (0, 21)), ((9, 23), (5, 13)), ((11, 12), (10, 11))]:
        window = [
            slice(max(0, a - halo), min(n, b + halo))
            for (a, b), n in zip((rows, cols), CASE.cube.shape[2:], strict=True)
        ]
        tile = CASE.map(lambda a, w=window: a[..., w[0], w[1]])
        inner = tuple(
            slice(a - w.start, b - w.start) for (a, b), w in zip((rows, cols), window, strict=True)
        )
        part = tile.run(record, std=record.std, inner=inner, state=state)
        for got, all_ in zip(part, whole, strict=True):
            if all_ is not None:
                same(got, all_[..., slice(*rows), slice(*cols)])


@METHOD
def test_nothing_beyond_the_halo_matters(record):
    state = CASE.state(record, record.params())
    halo = record.halo(record.params(), 1)
    before = CASE.run(record, state=state)[0]
    poked = CASE.cube.copy()
    poked[:, :, 12, 10] += 0.2
    after = dataclasses.replace(CASE, cube=poked).run(record, state=state)[0]
    changed = np.nanmax(np.abs(np.nan_to_num(after) - np.nan_to_num(before)), axis=(0, 1)) > 1e-6
    y, x = np.nonzero(changed)
    assert len(y)
    assert max(np.abs(y - 12).max(), np.abs(x - 10).max()) <= halo


@METHOD
def test_estimates_and_deviations_have_the_form_of_the_tile(record):
    inner = (slice(2, 11), slice(3, 20))
    estimate, std, in_space = CASE.run(record, std=record.std, inner=inner)
    shape = (*CASE.cube.shape[:2], 9, 17)
    assert estimate.shape == shape
    assert estimate.dtype == np.float32
    assert (std is not None) == record.std
    if std is not None:
        assert std.shape == shape
        rows, cols = inner
        filled = ~np.isnan(estimate) & np.isnan(CASE.cube[:, :, rows, cols])
        assert np.isfinite(std[filled]).all()
        assert (std[filled] >= 0).all()
    if in_space is not None:
        assert in_space.shape == shape
        assert in_space.dtype == bool


@METHOD
def test_every_hole_with_evidence_in_time_is_filled(record):
    estimate = CASE.run(record)[0]
    known = (~np.isnan(CASE.cube)).sum(axis=0) >= 6
    assert np.isfinite(estimate[:, known]).all()
    assert np.abs(estimate[:, known]).max() < 1.5


@METHOD
@pytest.mark.parametrize("factor", [1e4, 1e-3])
def test_units_scale_the_estimate(record, factor):
    def check() -> None:
        scaled = dataclasses.replace(CASE, cube=(CASE.cube * np.float32(factor)))
        for plain, large in zip(
            CASE.run(record, std=record.std)[:2], scaled.run(record, std=record.std)[:2],
            strict=True,
        ):  # fmt: skip
            if plain is not None:
                same(large / factor, plain, rtol=2e-3, atol=2e-4)

    law(record, "scale", check)


@METHOD
def test_an_offset_is_carried_through(record):
    def check() -> None:
        raised = dataclasses.replace(CASE, cube=CASE.cube + np.float32(0.5))
        same(raised.run(record)[0] - 0.5, CASE.run(record)[0], rtol=2e-3, atol=2e-4)

    law(record, "offset", check)


@METHOD
@pytest.mark.parametrize("turn", ["up", "left", "transpose"])
def test_flips_and_turns_go_through(record, turn):
    turns: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "up": lambda a: a[..., ::-1, :],
        "left": lambda a: a[..., ::-1],
        "transpose": lambda a: a.swapaxes(-1, -2),
    }

    def check() -> None:
        state = CASE.state(record, record.params())
        turned = CASE.map(turns[turn]).run(record, state=state)[0]
        same(turned, turns[turn](CASE.run(record, state=state)[0]), rtol=1e-3, atol=1e-4)

    law(record, "symmetry", check)


@METHOD
def test_a_state_travels_between_processes(record):
    state = CASE.state(record, record.params())
    again = pickle.loads(pickle.dumps(state))
    assert tokenize(again) == tokenize(state)
    for kept, now in zip(
        CASE.run(record, std=record.std, state=state),
        CASE.run(record, std=record.std, state=again),
        strict=True,
    ):
        np.testing.assert_array_equal(kept, now)


@METHOD
def test_inputs_are_left_as_they_were(record):
    cube, guide, times = CASE.cube.copy(), CASE.guide.copy(), CASE.times.copy()
    CASE.run(record, std=record.std)
    for kept, now in ((cube, CASE.cube), (guide, CASE.guide), (times, CASE.times)):
        np.testing.assert_array_equal(kept, now)


@ENGINE
def test_nothing_seen_gives_nothing_and_no_warning(record, engine):
    empty = Case(np.full_like(CASE.cube, np.nan), None, CASE.times)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate, std, _ = empty.run(record, engine, std=record.std)
    assert np.isnan(estimate).all()
    assert std is None or np.isnan(std[np.isnan(estimate)]).all()


@METHOD
def test_a_guide_that_sees_nothing_is_no_guide(record):
    blind = dataclasses.replace(CASE, guide=np.full_like(CASE.guide, np.nan))
    alone = dataclasses.replace(CASE, guide=None)
    same(blind.run(record)[0], alone.run(record)[0], rtol=2e-3, atol=2e-4)


@METHOD
def test_a_constant_pixel_keeps_its_constant(record):
    def check() -> None:
        flat = Case(
            np.where(np.isnan(CASE.cube), np.nan, 0.25).astype(np.float32), None, CASE.times
        )
        estimate = flat.run(record)[0]
        there = ~np.isnan(estimate)
        assert there.mean() > 0.9
        np.testing.assert_allclose(estimate[there], 0.25, atol=1e-4)

    law(record, "constant", check)


@METHOD
def test_the_fewest_dates_suffice(record):
    few = Case(CASE.cube[: record.fewest].copy(), None, CASE.times[: record.fewest])
    estimate = few.run(record)[0]
    assert np.isfinite(estimate).any()
