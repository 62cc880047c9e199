"""A tile of a date that is made two ways, of pairs and of the whole series: the mean of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xstf.tiles.fuse import FuseTile
from xstf.tiles.job import Job, Source, States
from xstf.tiles.series import SeriesTile
from xstf.tiles.states import Once, State
from xstf.tiles.windows import shift

Places = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class BothTile:
    """Makes tiles of one date; called as `Job` says, the states being `Ways` and those of both.

    Parameters
    ----------
    pairs, series
        What makes each way.
    own, other
        Which images of the blocks each sees: of the fine one, of the coarse one.
    """

    pairs: FuseTile
    series: SeriesTile
    own: Places
    other: Places

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return the layers as `FuseTile` does; missing where the pairs leave it so."""
        ways = states[0]().state
        out = self.pairs(_some(blocks, self.own), rows, cols, states[2:])
        if ways.share == 0:
            return out
        found = self.series(self._of_series(blocks, rows, cols), rows, cols, states[1:2])[0]
        # Where both are the same, as where a pixel was observed, this is that.
        mixed = out[0] + np.float32(ways.share) * (found[0] - out[0])
        both = np.isfinite(mixed)
        fused = both & (found[1] > 0) if self.series.std else both
        out[0][both] = mixed[both]
        if self.series.std:
            out[1][fused] = ways.spread(out[1], found[1])[fused]
            out[2:, fused] = found[2:, fused]
        return out

    def _of_series(self, blocks: list[np.ndarray], rows: slice, cols: slice) -> list[np.ndarray]:
        """Return what the series sees of blocks that were cut for the pairs, which see farther."""
        wide = (self.pairs.fine_window(rows, cols), self.pairs.coarse_window(rows, cols))
        near = (self.series.fine_window(rows, cols), self.series.coarse_window(rows, cols))
        cut = [
            block[..., shift(n[0], w[0].start), shift(n[1], w[1].start)]
            for block, n, w in zip(blocks, near, wide, strict=True)
        ]
        return _some(cut, self.other)


def _some(blocks: list[np.ndarray], places: Places) -> list[np.ndarray]:
    return [np.ascontiguousarray(block[list(at)]) for block, at in zip(blocks, places, strict=True)]


def both_job(pairs: Job, series: Job, ways: State | Once) -> Job:
    """Return a date as one job that reads what both ways need once.

    Parameters
    ----------
    pairs, series
        Jobs of the same date alone.
    ways
        The state that is settled to be what both are worth.
    """
    sources, own, other = [], [], []
    for one, two in zip(pairs.sources, series.sources, strict=True):
        dates = tuple(sorted({*one.dates, *two.dates}))
        own.append(tuple(dates.index(d) for d in one.dates))
        other.append(tuple(dates.index(d) for d in two.dates))
        sources.append(Source(one.array, dates, one.step, one.before))
    function = BothTile(_tile(pairs, FuseTile), _tile(series, SeriesTile), tuple(own), tuple(other))
    states = (ways, *series.states, *pairs.states)
    return Job(function, tuple(sources), pairs.lead, pairs.shape, states, pairs.halo)


def _tile(job: Job, kind: type[Any]) -> Any:
    if not isinstance(job.function, kind):
        raise TypeError(f"a job of {kind.__name__} was expected, not {job.function!r}")
    return job.function
