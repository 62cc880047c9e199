"""A tile of several dates of a fusion that looks at whole series: one call makes them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting
from xstf.tiles.chunks import CHUNK_BYTES
from xstf.tiles.clip import Clip
from xstf.tiles.engines import Runner
from xstf.tiles.flags import EXTRAPOLATED, FUSED_SERIES, LAYERS, MISSING, OBSERVED
from xstf.tiles.gpu import to_host
from xstf.tiles.job import Job, Source, States
from xstf.tiles.samples import choose_cells
from xstf.tiles.states import State
from xstf.tiles.windows import NestedWindows, shift

# What `prepare` sees: axes up to so many fine pixels whole, of longer ones stretches of about so
# many. All dates are looked at, so there are fewer pixels than in a fusion of pairs.
SAMPLED_WHOLE, STRETCH = 384, 48


@dataclass(frozen=True)
class SeriesTile(NestedWindows):
    """Makes tiles of several dates; called as `Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    times, coarse_times, targets, reach
        As `SeriesKernel` has them.
    used
        How many images of the fine block the method sees, the first ones.
    observed
        For each wanted date the positions in the fine block of its own images, first valid.
    outside
        Which wanted dates lie outside those of all fine images.
    std
        Whether the standard deviation is wanted.
    clip
        What estimates are cut to.
    """

    runner: Runner
    params: Any
    times: np.ndarray
    coarse_times: np.ndarray
    targets: np.ndarray
    reach: float
    used: int
    observed: tuple[tuple[int, ...], ...]
    outside: np.ndarray
    std: bool
    clip: Clip = Clip()

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return ``(date, layer, band, rows, cols)``: the estimate; if wanted std, flag, number."""
        fine, coarse = blocks
        origin, fine = self.pad(fine, rows, cols)
        inner = (shift(rows, origin[0]), shift(cols, origin[1]))
        base = fine[..., inner[0], inner[1]]
        estimate, std = self.runner(
            fine[: self.used], coarse, times=self.times, coarse_times=self.coarse_times,
            targets=self.targets, reach=self.reach, ratio=self.ratio, params=self.params,
            state=states[0]() if states else None, inner=inner, std=self.std,
        )  # fmt: skip
        self._clip(estimate, base[: self.used], coarse, inner)
        if not self.std:
            self._put_back(estimate[:, None], base)
            whole: np.ndarray = estimate[:, None]
            return whole
        out = np.empty_like(base, shape=(len(estimate), LAYERS, *base.shape[1:]))
        out[:, 0], out[:, 1] = estimate, std
        count = (~np.isnan(base[: self.used])).sum(axis=0)
        for t, outside in enumerate(self.outside):
            gone = np.isnan(estimate[t])
            out[t, 2] = EXTRAPOLATED if outside else FUSED_SERIES
            out[t, 2][gone] = MISSING
            out[t, 3] = np.where(gone, 0, count)
        self._put_back(out, base)
        return out

    def _put_back(self, out: np.ndarray, base: np.ndarray) -> None:
        """Put the clear pixels of a date's own images in place of its estimate."""
        for t, images in enumerate(self.observed):
            for image in reversed(images):  # the nearest one last: it stays
                seen = ~np.isnan(base[image])
                for layer, value in enumerate((base[image][seen], 0.0, OBSERVED, 1)):
                    if layer < out.shape[1]:
                        out[t, layer][seen] = value

    def _clip(
        self, estimate: np.ndarray, base: np.ndarray, coarse: np.ndarray,
        inner: tuple[slice, slice],
    ) -> None:  # fmt: skip
        """Cut estimates in place; what is below 0 somewhere in its series may be so anywhere."""
        if not self.clip.floor:
            estimate[...] = self.clip.bounded(estimate)
            return
        cells: Any = (coarse < 0).any(axis=0)
        rows, cols = (np.arange(wanted.start, wanted.stop) // self.ratio for wanted in inner)
        negative = cells[:, rows[:, None], cols] | (base < 0).any(axis=0)
        for image in estimate:
            image[(image < 0) & ~negative] = 0


def series_state(
    record: Method, options: object, fine: Array, coarse: Array, nesting: Nesting,
    dates: tuple[Sequence[int], Sequence[int]], times: tuple[np.ndarray, np.ndarray], reach: float,
) -> State | None:  # fmt: skip
    """Return what settles a method's statistics of the scene, one for all jobs; None without."""
    if record.prepare is None or record.settle is None:
        return None
    cells = choose_cells(
        fine, coarse, ratio=nesting.ratio, before=nesting.before, whole=SAMPLED_WHOLE,
        stretch=STRETCH, images=(len(dates[0]), len(dates[1])),
    )  # fmt: skip
    sharp, blurred = cells.of(fine, tuple(dates[0]), coarse, tuple(dates[1]))
    common = {"ratio": nesting.ratio, "params": options}
    settle = partial(
        record.settle, times=times[0], coarse_times=times[1], reach=reach, **common
    )  # fmt: skip
    return State(
        settle, {"fine": sharp, "coarse": blurred}, partial(_prepare, record.prepare, common)
    )


def _prepare(prepare: Any, common: dict[str, Any], samples: dict[str, Any]) -> dict[str, Any]:
    """Prepare is plain numpy, wherever the samples were."""
    host = {name: to_host(value) for name, value in samples.items()}
    found: dict[str, Any] = prepare(host["fine"], host["coarse"], **common)
    return found


def series_job(
    record: Method, function: SeriesTile, fine: Array, coarse: Array,
    dates: tuple[Sequence[int], Sequence[int]], state: State | None,
) -> Job:  # fmt: skip
    """Return several dates as one job of the tiles.

    Parameters
    ----------
    record, function
        The method, and what makes a tile.
    fine, coarse
        ``(date, band, y, x)`` on nested grids.
    dates
        The positions of the images of both that a tile sees.
    state
        From `series_state`.
    """
    sources = (
        Source(fine, tuple(dates[0])),
        Source(coarse, tuple(dates[1]), function.ratio, function.before),
    )
    lattice = record.lattice(function.params, function.ratio) if record.lattice else 0
    lead = (len(function.targets), LAYERS if function.std else 1, fine.shape[1])
    states = () if state is None else (state,)
    return Job(function, sources, lead, function.fine_shape, states, function.halo, lattice)


def dates_a_job(targets: int, values: int, pixels: int) -> int:
    """Return how many dates one job makes, so that a block of its result is not too large.

    Parameters
    ----------
    targets : int
        How many dates are wanted.
    values : int
        Of the result in a pixel and date: bands and layers.
    pixels : int
        Of a block.
    """
    most = max(1, int(CHUNK_BYTES / (4.0 * values * pixels)))
    return -(-targets // -(-targets // most))
