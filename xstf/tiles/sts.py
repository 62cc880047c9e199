"""One tile of one date of a spatio-temporal-spectral fusion: three nested cubes cut alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import lcm
from typing import Any

import numpy as np

from xstf._method import Method, StsSamples
from xstf.cubes.arrays import Array
from xstf.cubes.units import Side
from xstf.tiles.clip import Clip
from xstf.tiles.engines import Runner
from xstf.tiles.flags import FUSED_ONE_PAIR, FUSED_TWO_PAIRS, LAYERS, MISSING
from xstf.tiles.gpu import to_host
from xstf.tiles.job import Job, Source, States
from xstf.tiles.lazy import pick_dates
from xstf.tiles.samples import whole_blocks
from xstf.tiles.states import State
from xstf.tiles.units import check_units_of_three, few
from xstf.tiles.windows import shift


@dataclass(frozen=True)
class StsTile:
    """Makes tiles of one date; called as `Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    ratios
        Spatial pixels in a spectral and in a temporal one.
    halo
        Of the method, in spatial pixels.
    shape
        ``(y, x)`` of the spatial cube; all start at one corner.
    times, target
        Days of the pairs, and of the date that is wanted.
    std
        Whether the standard deviation and the flag are wanted.
    clip
        What estimates are cut to.
    """

    runner: Runner
    params: Any
    ratios: tuple[int, int]
    halo: int
    shape: tuple[int, int]
    times: np.ndarray
    target: float
    std: bool
    clip: Clip = Clip()

    def _ratio(self, cube: int) -> int:
        return (1, *self.ratios)[cube]

    def _block(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        """Return a tile with its halo in spatial pixels, whole in both ratios."""
        step = lcm(*self.ratios)
        y, x = (
            slice(
                max(0, (part.start - self.halo) // step * step),
                min(-(-size // step), -(-(part.stop + self.halo) // step)) * step,
            )
            for part, size in zip((rows, cols), self.shape, strict=True)
        )
        return y, x

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return ``(layer, band, rows, cols)``: the estimate, and if wanted its std and flag."""
        block = self._block(rows, cols)
        size = [part.stop - part.start for part in block]
        spatial, spectral, temporal = (
            _filled(images, [n // self._ratio(cube) for n in size])
            for cube, images in enumerate(blocks)
        )
        origin = (block[0].start, block[1].start)
        state = states[0]() if states else None
        inner = (shift(rows, origin[0]), shift(cols, origin[1]))
        estimate, std = self.runner(
            spectral, temporal, spatial, times=self.times, target=self.target, ratios=self.ratios,
            params=self.params, state=state, std=self.std,
            inner=inner,
            **self.runner.network(origin, self.shape),
        )  # fmt: skip
        estimate = self._clipped(estimate, (spatial, spectral, temporal), inner)
        if not self.std:
            only: np.ndarray = estimate[None]
            return only
        flag = FUSED_TWO_PAIRS if len(self.times) > 1 else FUSED_ONE_PAIR
        missing = np.isnan(estimate)
        inside = (..., shift(rows, origin[0]), shift(cols, origin[1]))
        clear = (~np.isnan(spatial[inside]).any(axis=1)).sum(axis=0)
        layers = [estimate, std, np.where(missing, MISSING, flag), np.where(missing, 0, clear)]
        return np.stack(layers).astype(np.float32)

    def _clipped(
        self, estimate: np.ndarray, cubes: tuple[np.ndarray, np.ndarray, np.ndarray],
        inner: tuple[slice, slice],
    ) -> np.ndarray:  # fmt: skip
        """Return an estimate within its bounds, which what goes into a pixel may set."""
        if not self.clip.floor:
            return self.clip.bounded(estimate)
        below = estimate < 0
        if not below.any():
            return estimate
        negative = np.zeros_like(below[:1])
        for cube, images in enumerate(cubes):
            # Bands of the spectral cube are those of the estimate; all of the others go into each.
            found = (images < 0).any(axis=0)
            found = found if cube == 1 else found.any(axis=0, keepdims=True)
            step = self._ratio(cube)
            negative = negative | found.repeat(step, -2).repeat(step, -1)[..., inner[0], inner[1]]
        cut = estimate.copy()
        cut[below & ~negative] = 0
        return cut


def _filled(images: np.ndarray, size: list[int]) -> np.ndarray:
    """Return images filled up with NaN to a size."""
    if list(images.shape[2:]) == size:
        return images
    whole = np.full_like(images[:1], np.nan, shape=(*images.shape[:2], *size))
    whole[:, :, : images.shape[2], : images.shape[3]] = images
    return whole


# --- jobs -------------------------------------------------------------------------------------

# Pairs on either side of a date that a tile looks at: there are hundreds of bands in each.
PAIRS_BESIDE = 2


class Series:
    """Three cubes on nested grids that start at one corner, and which of their dates go together.

    Parameters
    ----------
    spectral, temporal, spatial
        ``(date, band, y, x)``, numpy or dask.
    ratios
        Spatial pixels in a spectral and in a temporal one.
    pairs
        ``(pair, 3)``: positions of each paired date in the three.
    pair_days, days
        Of the pairs and of the temporal dates, since the first temporal one.
    """

    def __init__(
        self, spectral: Array, temporal: Array, spatial: Array, ratios: tuple[int, int],
        pairs: np.ndarray, days: np.ndarray,
    ) -> None:  # fmt: skip
        self.spectral, self.temporal, self.spatial = spectral, temporal, spatial
        self.ratios, self.pairs = ratios, pairs
        self.days, self.pair_days = days, days[pairs[:, 1]]

    def state(self, record: Method, options: object) -> tuple[Any, dict[str, Any]] | None:
        """Return the method's settle step and the samples that it wants, of all pairs."""
        if record.settle is None:
            return None
        step = lcm(*self.ratios)
        images = self.images(self.pairs)
        sides = zip(("spectral", "temporal", "spatial"), images, (*self.ratios, 1), strict=True)
        samples: dict[str, Any] = dict(
            whole_blocks({n: (a, step // r) for n, a, r in sides}, side=step)
        )
        samples["times"] = self.pair_days
        settle = partial(record.settle, ratios=self.ratios, params=options)
        return partial(_settle_on_host, settle), samples

    def check_units(self, sides: tuple[Side, ...]) -> tuple[State, ...]:
        """Raise if the cubes are not in the same units; of lazy ones return what checks it."""
        step = lcm(*self.ratios)
        arrays, pixels = self.images(few(self.pairs)), [step // r for r in (*self.ratios, 1)]
        return check_units_of_three(sides, arrays, pixels, step)

    def images(self, pairs: np.ndarray) -> tuple[Any, Any, Any]:
        """Return the three cubes on the dates of some pairs."""
        spectral, temporal, spatial = (
            pick_dates(array, pairs[:, cube].tolist())
            for cube, array in enumerate((self.spectral, self.temporal, self.spatial))
        )
        return spectral, temporal, spatial

    def near(self, target: int) -> np.ndarray:
        """Return the pairs that a date is made of: its own, and some on either side."""
        apart = self.pair_days - self.days[target]
        order = np.argsort(np.abs(apart), kind="stable")
        sides = [[i for i in order if sign * apart[i] > 0][:PAIRS_BESIDE] for sign in (-1, 1)]
        return np.sort([*(i for i in order if apart[i] == 0), *sides[0], *sides[1]])

    def job(
        self, target: int, runner: Runner, record: Method, options: object,
        state: tuple[Any, dict[str, Any]] | None, std: bool, clip: Clip,
    ) -> Job:  # fmt: skip
        """Return one date as a job of the tiles."""
        near = self.near(target)
        chosen = self.pairs[near]
        function = StsTile(
            runner=runner, params=options, ratios=self.ratios,
            halo=record.halo(options, self.ratios),
            shape=(self.spatial.shape[2], self.spatial.shape[3]),
            times=self.pair_days[near], target=float(self.days[target]), std=std,
            clip=clip,
        )  # fmt: skip
        sources = (
            Source(self.spatial, tuple(chosen[:, 2].tolist())),
            Source(self.spectral, tuple(chosen[:, 0].tolist()), self.ratios[0]),
            Source(self.temporal, (*chosen[:, 1].tolist(), target), self.ratios[1]),
        )
        states = () if state is None else (State(*state),)
        lattice = record.lattice(options, self.ratios) if record.lattice else 0
        lead = (LAYERS if std else 1, self.spectral.shape[1])
        return Job(function, sources, lead, function.shape, states, function.halo, lattice)


def _settle_on_host(
    settle: Callable[[StsSamples], object], samples: dict[str, np.ndarray]
) -> object:
    return settle(StsSamples(**{name: to_host(value) for name, value in samples.items()}))
