"""One tile of a filled cube: screened, filled by the method, observed pixels put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import dask.array as da
import numpy as np

from xstf._method import Direct, GapfillSamples, Method
from xstf.cubes.arrays import Array
from xstf.cubes.read import Cube
from xstf.numerics.array_module import beside
from xstf.numerics.outliers import find_outliers
from xstf.numerics.seasonal import SceneSeason, season_state
from xstf.tiles.blocks import clean_block, is_lazy
from xstf.tiles.engines import Runner
from xstf.tiles.flags import FILLED_IN_SPACE, FILLED_IN_TIME, LAYERS, MISSING, OBSERVED, OUTLIER
from xstf.tiles.gpu import to_host
from xstf.tiles.guide import GuideTile, guide_on_grid
from xstf.tiles.job import Job, Source, States
from xstf.tiles.lazy import as_lazy
from xstf.tiles.samples import Sample, as_windows, choose_windows, spot_side, window_slices
from xstf.tiles.states import State

Edge: TypeAlias = Literal["fill", "nearest", "nan"]


@dataclass(frozen=True)
class GapfillState:
    """What tiles know of the whole scene.

    Parameters
    ----------
    method
        What the method's ``settle`` returned; None for a method without.
    screen
        The season that outliers are found by; None without screening.
    screened
        Share of the sample's clear observations that are outliers; None without screening.
    outliers
        ``(time, y, x)`` bool, those of the scene, where the sample is all of it; None otherwise:
        tiles look for themselves.
    """

    method: object = None
    screen: SceneSeason | None = None
    screened: float | None = None
    outliers: np.ndarray | None = None


@dataclass(frozen=True)
class GapfillTile:
    """Makes tiles of a filled cube; called as `Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    times
        Days from the first image to each date, ascending.
    images
        Which of them have an image, as the blocks come, ascending; None for all.
    back
        Where each date of the result is among them; None where these are all, in order.
    shape
        ``(y, x)`` of the scene.
    halo
        Of the method and the screening together.
    guides
        How the blocks after the first, and after that of the certain pixels, become guides; None
        for one that is on the cube's grid and dates.
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
    edge
        What is before a pixel's first and after its last observation: what the method says
        (``"fill"``), that observation (``"nearest"``), or nothing (``"nan"``).
    std
        Whether the standard deviation and the flag are wanted.
    first_day
        Days from 1 January to the first date.
    alone
        Whether the pixels are no neighbours, but series without space.
    """

    runner: Runner
    params: Any
    times: np.ndarray
    images: np.ndarray | None
    back: np.ndarray | None
    shape: tuple[int, int]
    halo: int
    guides: tuple[GuideTile | None, ...]
    screens: bool
    certain: bool
    replace: bool
    smooth: bool
    max_gap: float | None
    edge: Edge
    std: bool
    first_day: float = 0.0
    alone: bool = False

    @property
    def image_times(self) -> np.ndarray:
        """Days of the dates that have an image."""
        return self.times if self.images is None else self.times[self.images]

    def is_plain(self, order: np.ndarray) -> bool:
        """Return whether its tiles are the numba kernel's estimates at missing pixels of the cube.

        That is, nothing is left out before, nothing more is asked for, and the result's dates are
        the cube's; ``order`` says where these are in it.
        """
        back = np.arange(len(self.times)) if self.back is None else self.back
        return (
            self.runner.engine == "numba" and self.images is None and self.edge == "fill"
            and self.max_gap is None and not (self.halo or self.guides or self.screens)
            and not (self.certain or self.smooth or self.std)
            and np.array_equal(back, np.argsort(order))
        )  # fmt: skip

    def around(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return a tile with its halo, within the scene."""
        y, x = (
            slice(max(0, wanted.start - self.halo), min(size, wanted.stop + self.halo))
            for wanted, size in zip((rows, cols), self.shape, strict=True)
        )
        return y, x

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return ``(layer, time, band, rows, cols)``: the estimate, and if wanted std and flag."""
        cube, *others = blocks
        window = self.around(rows, cols)
        inner: tuple[slice, ...] = tuple(
            slice(part.start - all_.start, part.stop - all_.start)
            for part, all_ in zip((rows, cols), window, strict=True)
        )
        certain = others.pop(0) if self.certain else None
        state: GapfillState = states[0]() if states else GapfillState()
        if state.outliers is None:
            outlier = self._outliers(cube, certain, state.screen)
        else:
            outlier = state.outliers[:, *window]
        seen = cube if outlier is None else _without(cube, outlier)
        if self.images is not None:
            count = len(self.times)
            cube, seen = (_among(count, self.images, images) for images in (cube, seen))
        guide = [
            block if tile is None else tile(block, *window)
            for tile, block in zip(self.guides, others, strict=True)
        ]
        origin = (window[0].start, window[1].start)
        results = self.runner(
            seen, np.concatenate(guide, axis=1) if guide else None, times=self.times,
            params=self.params, state=state.method, inner=inner, std=self.std,
            **self.runner.network(origin, self.shape, first_day=self.first_day),
        )  # fmt: skip
        part: Any = (..., *inner)
        layers: np.ndarray = self._layers(cube[part], seen[part], *results)
        return layers if self.back is None else layers[:, self.back]

    def _outliers(
        self, cube: np.ndarray, certain: np.ndarray | None, season: SceneSeason | None
    ) -> np.ndarray | None:
        if season is None:
            return None
        sure = None if certain is None else to_host(certain)[:, 0] > 0
        return find_outliers(
            to_host(cube), self.image_times, state=season, certain=sure, alone=self.alone
        )

    def _layers(
        self, cube: np.ndarray, seen: np.ndarray, estimate: np.ndarray, std: np.ndarray,
        in_space: np.ndarray | None,
    ) -> np.ndarray:  # fmt: skip
        """Return the layers of the tile: what was observed, what was filled, what stays missing."""
        kept = ~np.isnan(seen if self.replace else cube)
        if not (self.std or self.smooth or self.max_gap or self.edge != "fill"):
            return np.where(kept, cube, estimate)[None]
        evidence = ~np.isnan(seen)
        if self.edge != "fill":
            outside, held = ends(evidence, estimate if self.smooth else seen)
            estimate = np.where(outside, held if self.edge == "nearest" else np.nan, estimate)
            in_space = None if in_space is None else in_space & ~outside
        filled = ~np.isnan(estimate)
        if self.max_gap is not None:
            days = self.image_times
            gaps = gap_lengths(evidence, self.times, (days[0], days[-1]))
            filled &= evidence | (gaps <= self.max_gap)
        taken = filled if self.smooth else filled & ~kept
        out = np.full_like(cube, np.nan, shape=(LAYERS if self.std else 1, *cube.shape))
        out[0] = np.where(taken, estimate, np.where(kept, cube, np.nan))
        if self.std:
            out[1] = np.where(taken, std, np.where(kept, 0, np.nan))
            out[2] = np.where(filled, FILLED_IN_TIME, MISSING)
            if in_space is not None:
                out[2][filled & in_space] = FILLED_IN_SPACE
            out[2][kept] = OUTLIER
            out[2][evidence] = OBSERVED
            out[3] = evidence.sum(axis=0)  # of the pixel's own series, the same on all dates
        return out


def _without(cube: np.ndarray, outlier: np.ndarray) -> np.ndarray:
    """Return a copy of the cube in which outliers ``(time, y, x)`` are missing."""
    seen = cube.copy()
    seen[np.broadcast_to(outlier[:, None], seen.shape)] = np.nan
    return seen


def _among(count: int, places: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return images with others that are missing everywhere, so many together."""
    out = np.full_like(images, np.nan, shape=(count, *images.shape[1:]))
    out[places] = images
    return out


def gap_lengths(
    observed: np.ndarray, times: np.ndarray, record: tuple[float, float] | None = None
) -> np.ndarray:
    """Return for each cell the days between the observations on either side of it.

    Before the first and after the last observation a gap begins and ends with the record, or at the
    date itself where that is outside of it.

    Parameters
    ----------
    observed : ndarray of bool (time, ...)
    times : ndarray (time,)
        Days, ascending.
    record : (float, float), optional
        Days of the first and the last image; default: of the first and the last date.
    """
    days = times.reshape(-1, *(1,) * (observed.ndim - 1)).astype(np.float32)
    first, last = record or (times[0], times[-1])
    start, end = np.minimum(days, np.float32(first)), np.maximum(days, np.float32(last))
    days, start, end = (beside(d, observed) for d in (days, start, end))
    before = _running(np.maximum, np.where(observed, days, -np.inf))
    after = _running(np.minimum, np.where(observed, days, np.inf)[::-1])[::-1]
    gaps = np.where(np.isinf(after), end, after) - np.where(np.isinf(before), start, before)
    return gaps.astype(np.float32, copy=False)


def _running(function: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Return the extremes along the first axis up to each position."""
    if isinstance(values, np.ndarray):
        return np.asarray(function.accumulate(values, axis=0))
    running: np.ndarray = values.copy()  # cupy's ufuncs do not accumulate
    for t in range(1, len(running)):
        running[t] = function(running[t - 1], running[t])
    return running


def ends(evidence: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where no observation is on one side of a cell, and the value of the nearest one.

    A pixel and band without any observation has none on either side, and no value.

    Parameters
    ----------
    evidence : ndarray of bool (time, ...)
    values : ndarray (time, ...)
    """
    since = _running(np.maximum, evidence)
    until = _running(np.maximum, evidence[::-1])[::-1]
    first = evidence.argmax(axis=0)[None]
    last = len(evidence) - 1 - evidence[::-1].argmax(axis=0)[None]
    head, tail = (np.take_along_axis(values, at, axis=0) for at in (first, last))
    held = np.where(since, tail, head)
    return ~(since & until), np.where(since | until, held, np.float32(np.nan))


# --- jobs -------------------------------------------------------------------------------------


def gapfill_job(
    record: Method, options: object, cube: Cube, order: np.ndarray, certain: Array | None,
    guides: list[tuple[Cube, GuideTile]], function: GapfillTile,
) -> Job:  # fmt: skip
    """Return the filled cube as a job of the tiles."""
    arrays: list[Array] = [guide.data for guide, _ in guides]
    lazy = is_lazy(cube.data, certain, *arrays)
    dates = tuple(int(i) for i in order)
    sources = [Source(cube.data, dates)]
    if certain is not None:
        sources.append(Source(certain, dates))
    every = tuple(range(len(function.times)))
    if lazy:
        # Before the tiles: with their halos they would each bring the same pixels again.
        chunks = _chunks_near(cube.data)
        arrays = [
            guide_on_grid(as_lazy(guide.data), tile, function.shape, chunks)
            for guide, tile in guides
        ]
        function = replace(function, guides=tuple(None for _ in guides))
        sources += [Source(array, every) for array in arrays]
    else:
        sources += [
            Source(guide.data, tuple(range(guide.data.shape[0])), window=_Around(function, tile))
            for guide, tile in guides
        ]
    states: tuple[State, ...] = ()
    wanted = record.settle is not None and (function.std or not record.state_for_std)
    if wanted or function.screens:
        bands = cube.data.shape[1]
        if wanted:  # settling sees guides beside the cube, all on its dates
            bands += sum(len(t.weights) * guide.data.shape[1] for guide, t in guides)
        spot = spot_side(len(function.times) * bands)
        rows, cols = choose_windows(function.shape, spot)
        samples: dict[str, Array | Sample] = {"cube": Sample(cube.data, dates, rows, cols)}
        if wanted and lazy:
            samples |= {_nth(i): Sample(array, every, rows, cols) for i, array in enumerate(arrays)}
        elif wanted:
            samples |= {
                _nth(i): _guide_windows(guide.data, tile, function.shape, spot)
                for i, (guide, tile) in enumerate(guides)
            }
        whole = certain is None and _is_whole(rows, cols, function.shape)
        settle = partial(
            _settle, record.settle if wanted else None, times=function.times,
            images=function.images, params=options, screens=function.screens, alone=function.alone,
            whole=whole,
        )  # fmt: skip
        states = (State(settle, samples, partial(_in_windows, function.shape, spot)),)
    lattice = record.lattice(options, 1) if record.lattice else 0
    count = len(function.times if function.back is None else function.back)
    lead = (LAYERS if function.std else 1, count, cube.data.shape[1])
    direct = None
    if record.direct is not None and not states and function.is_plain(order):
        direct = partial(
            _direct, record.direct, order=order, times=function.times, params=options
        )  # fmt: skip
    return Job(
        function, tuple(sources), lead, function.shape, states, function.halo, lattice, direct
    )  # fmt: skip


def _direct(
    fill: Direct[Any], cube: np.ndarray, out: np.ndarray, part: slice, *, order: np.ndarray,
    times: np.ndarray, params: Any,
) -> None:  # fmt: skip
    """Fill pixels straight into the result, of one layer and dates in the cube's order."""
    fill(cube, out[0], order, part, times=times, params=params)


def _is_whole(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> bool:
    """Return whether a sample is all of a scene."""
    return (len(rows), len(cols)) == shape


def _nth(guide: int) -> str:
    """Return the name of a guide's sample: their order is that of the names."""
    return f"guide{guide:06d}"


def _chunks_near(cube: Array) -> tuple[Sequence[int], Sequence[int]] | None:
    """Return the cube's chunks along y and x, where it has some."""
    return (cube.chunks[2], cube.chunks[3]) if isinstance(cube, da.Array) else None


def _guide_windows(array: Array, tile: GuideTile, shape: tuple[int, int], spot: int) -> np.ndarray:
    """Return what `settle` sees of a guide in memory: ``(window, time, band, y, x)``."""
    windows = [
        tile(clean_block(array[(..., *tile.window(rows, cols))]), rows, cols)
        for rows, cols in window_slices(shape, spot)
    ]
    return np.stack(windows)


def _in_windows(
    shape: tuple[int, int], spot: int, samples: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return what was sampled of images as windows of them."""
    plain = {name: to_host(value) for name, value in samples.items()}
    return {n: as_windows(v, shape, spot) if v.ndim == 4 else v for n, v in plain.items()}


@dataclass(frozen=True)
class _Around:
    """The part of a guide that a tile with its halo needs."""

    function: GapfillTile
    tile: GuideTile

    def __call__(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        return self.tile.window(*self.function.around(rows, cols))


def _settle(
    settle: Callable[..., Any] | None, samples: dict[str, Any], *, times: np.ndarray,
    images: np.ndarray | None, params: Any, screens: bool, alone: bool, whole: bool,
) -> GapfillState:  # fmt: skip
    """Settle what screening and the method need: plain numpy, wherever the samples were.

    The method's settle sees no outliers, as its kernel sees none. If the samples are the whole
    scene, tiles need not look for outliers again.
    """
    host = {name: to_host(value) for name, value in samples.items()}
    cube = host.pop("cube")
    guides = [host[name] for name in sorted(host)]
    screen, screened, outliers = None, None, None
    if screens:
        days = times if images is None else times[images]
        screen = season_state(cube, days)  # robust, so good enough for the method, too
        found = seen = 0
        for window in cube:
            outlier = find_outliers(window, days, state=screen, alone=alone)
            found += int(outlier.sum())
            seen += int((~np.isnan(window).all(axis=1)).sum())
            window[np.broadcast_to(outlier[:, None], window.shape)] = np.nan
        screened = found / max(seen, 1)
        outliers = outlier if whole else None
    if settle is None:
        return GapfillState(None, screen, screened, outliers)
    asked = None
    if images is not None:
        cube = np.stack([_among(len(times), images, window) for window in cube])
        asked = ~np.isin(np.arange(len(times)), images)
    guide = np.concatenate(guides, axis=2) if guides else None
    windows = GapfillSamples(cube, guide, screen, asked)
    method = settle(windows, times=times, params=params)
    return GapfillState(method, screen, screened, outliers)
