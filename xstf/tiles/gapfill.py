"""One tile of a filled cube: screened, filled by the method, observed pixels put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xstf._method import GapfillSamples, Method
from xstf.cubes.read import Cube
from xstf.numerics.outliers import find_outliers
from xstf.numerics.seasonal import SceneSeason, season_state
from xstf.tiles.engines import Runner, to_host
from xstf.tiles.flags import FILLED_IN_SPACE, FILLED_IN_TIME, MISSING, OBSERVED, OUTLIER
from xstf.tiles.guide import GuideTile, guide_on_grid
from xstf.tiles.run import Job, Source
from xstf.tiles.samples import sample_windows


@dataclass(frozen=True)
class GapState:
    """What tiles know of the whole scene.

    Parameters
    ----------
    method
        What the method's ``settle`` returned; None for a method without.
    screen
        The season that outliers are found by; None without screening.
    screened
        Share of the sample's clear observations that are outliers; None without screening.
    """

    method: object = None
    screen: SceneSeason | None = None
    screened: float | None = None


@dataclass(frozen=True)
class GapTile:
    """Makes tiles of a filled cube; called as `_tiles.Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    times
        Days since the first date, ascending, as the blocks come.
    back
        Where each date of the caller's order is among them; None where that is ascending, too.
    shape
        ``(y, x)`` of the scene.
    halo
        Of the method and the screening together.
    guides
        How the blocks after the first, and after that of the certain pixels, become guides.
    screens
        Whether outliers among what is called clear are looked for.
    certain
        Whether the second block says which pixels are certainly clear.
    replace
        Whether outliers are filled, not only left out of the evidence.
    smooth
        Whether observed pixels become the method's smooth of them.
    max_gap
        Longer gaps, in days, stay missing; None for no limit.
    std
        Whether the standard deviation and the flag are wanted.
    first_day
        Days from 1 January to the first date.
    """

    runner: Runner
    params: Any
    times: np.ndarray
    back: np.ndarray | None
    shape: tuple[int, int]
    halo: int
    guides: tuple[GuideTile, ...]
    screens: bool
    certain: bool
    replace: bool
    smooth: bool
    max_gap: float | None
    std: bool
    first_day: float = 0.0

    def around(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return a tile with its halo, within the scene."""
        y, x = (
            slice(max(0, wanted.start - self.halo), min(size, wanted.stop + self.halo))
            for wanted, size in zip((rows, cols), self.shape, strict=True)
        )
        return y, x

    def __call__(self, blocks: list[Any], rows: slice, cols: slice, states: list[Any]) -> Any:
        """Return ``(layer, time, band, rows, cols)``: the estimate, and if wanted std and flag."""
        cube, *others = blocks
        window = self.around(rows, cols)
        inner = tuple(
            slice(part.start - all_.start, part.stop - all_.start)
            for part, all_ in zip((rows, cols), window, strict=True)
        )
        certain = others.pop(0) if self.certain else None
        state: GapState = states[0]() if states else GapState()
        outlier = self._outliers(cube, certain, state.screen)
        seen = cube if outlier is None else _without(cube, outlier)
        guide = [tile(block, *window) for tile, block in zip(self.guides, others, strict=True)]
        origin = (window[0].start, window[1].start)
        results = self.runner(
            seen, np.concatenate(guide, axis=1) if guide else None, times=self.times,
            params=self.params, state=state.method, inner=inner, std=self.std,
            **self.runner.network(origin, self.shape, first_day=self.first_day),
        )  # fmt: skip
        part = (..., *inner)
        layers = self._layers(cube[part], seen[part], *results)
        return layers if self.back is None else layers[:, self.back]

    def _outliers(self, cube: Any, certain: Any, season: SceneSeason | None) -> np.ndarray | None:
        if season is None:
            return None
        sure = None if certain is None else to_host(certain)[:, 0] > 0
        return find_outliers(to_host(cube), self.times, state=season, certain=sure)

    def _layers(self, cube: Any, seen: Any, estimate: Any, std: Any, in_space: Any) -> Any:
        """Return the layers of the tile: what was observed, what was filled, what stays missing."""
        kept = ~np.isnan(seen if self.replace else cube)
        if not (self.std or self.smooth or self.max_gap):
            return np.where(kept, cube, estimate)[None]
        evidence = ~np.isnan(seen)
        filled = ~np.isnan(estimate)
        if self.max_gap is not None:
            filled &= evidence | (gap_lengths(evidence, self.times) <= self.max_gap)
        taken = filled if self.smooth else filled & ~kept
        out = np.full_like(cube, np.nan, shape=(3 if self.std else 1, *cube.shape))
        out[0] = np.where(taken, estimate, np.where(kept, cube, np.nan))
        if self.std:
            out[1] = np.where(taken, std, np.where(kept, 0, np.nan))
            out[2] = np.where(filled, FILLED_IN_TIME, MISSING)
            if in_space is not None:
                out[2][filled & in_space] = FILLED_IN_SPACE
            out[2][kept] = OUTLIER
            out[2][evidence] = OBSERVED
        return out


def _without(cube: Any, outlier: np.ndarray) -> Any:
    """Return a copy of the cube in which outliers ``(time, y, x)`` are missing."""
    seen = cube.copy()
    seen[np.broadcast_to(outlier[:, None], seen.shape)] = np.nan
    return seen


def gap_lengths(observed: Any, times: np.ndarray) -> Any:
    """Return for each cell the days between the observations on either side of it.

    Before the first and after the last observation a gap begins and ends with the series.
    """
    days = times.reshape(-1, *(1,) * (observed.ndim - 1)).astype(np.float32)
    before = np.maximum.accumulate(np.where(observed, days, days[0]), axis=0)
    after = np.minimum.accumulate(np.where(observed, days, days[-1])[::-1], axis=0)[::-1]
    return after - before


# --- jobs -------------------------------------------------------------------------------------


def gapfill_job(
    record: Method, options: Any, cube: Cube, order: np.ndarray, certain: Any,
    guides: list[tuple[Cube, GuideTile]], function: GapTile,
) -> Job:  # fmt: skip
    """Return the filled cube as a job of the tiles."""
    dates = tuple(int(i) for i in order)
    sources = [Source(cube.data, dates, function.around)]
    if certain is not None:
        sources.append(Source(certain, dates, function.around))
    for guide, tile in guides:
        every = tuple(range(guide.data.shape[0]))
        sources.append(Source(guide.data, every, _Around(function, tile)))
    states: tuple[Any, ...] = ()
    wanted = record.settle is not None and (function.std or not record.state_for_std)
    if wanted or function.screens:
        samples = {"cube": sample_windows(cube.data)[:, order]}
        if guides and wanted:
            whole = [guide_on_grid(guide.data, tile, function.shape) for guide, tile in guides]
            samples |= {f"guide{i}": sample_windows(g) for i, g in enumerate(whole)}
        settle = partial(
            _settle, record.settle if wanted else None, times=function.times, params=options,
            screens=function.screens,
        )  # fmt: skip
        states = ((settle, samples),)
    lead = (3 if function.std else 1, len(dates), cube.data.shape[1])
    return Job(function, tuple(sources), lead, function.shape, states)


@dataclass(frozen=True)
class _Around:
    """The part of a guide that a tile with its halo needs."""

    function: GapTile
    tile: GuideTile

    def __call__(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        return self.tile.window(*self.function.around(rows, cols))


def _settle(
    settle: Callable[..., Any] | None, samples: dict[str, Any], *, times: np.ndarray, params: Any,
    screens: bool,
) -> GapState:  # fmt: skip
    """Settle what screening and the method need: plain numpy, wherever the samples were.

    The method's settle sees no outliers, as its kernel sees none.
    """
    host = {name: to_host(value) for name, value in samples.items()}
    cube = host.pop("cube")
    guides = [host[name] for name in sorted(host)]
    screen, screened = None, None
    if screens:
        screen = season_state(cube, times)  # robust, so good enough for the method, too
        found = seen = 0
        for window in cube:
            outlier = find_outliers(window, times, state=screen)
            found += int(outlier.sum())
            seen += int((~np.isnan(window).all(axis=1)).sum())
            window[np.broadcast_to(outlier[:, None], window.shape)] = np.nan
        screened = found / max(seen, 1)
    if settle is None:
        return GapState(None, screen, screened)
    windows = GapfillSamples(cube, np.concatenate(guides, axis=2) if guides else None, screen)
    return GapState(settle(windows, times=times, params=params), screen, screened)
