"""How sure a mean error is: sums over cells of an image, joined to blocks, drawn again and again.

Errors of neighbouring pixels are alike, so that a million pixels tell less of a method than a
million draws would. The image is cut into square blocks `APART` times as wide as errors are
correlated, and whole blocks are drawn with replacement, the same ones for every method (the block
bootstrap: Hall 1985, doi:10.1016/0304-4149(85)90212-1). Where several dates are scored, dates are
drawn, too, apart from the blocks (the pigeonhole bootstrap: Owen 2007,
doi:10.1214/07-AOAS122): what holds on one date may not hold on another.

An interval is the score and its bootstrap standard deviation times Student's t of the number of
blocks, since few blocks vary less among themselves than the truth would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

# Cells along the longer side of an image, from which blocks are joined.
CELLS = 24
# The correlation that errors are called correlated down to: noise of single pixels hides a weak one
# over coarse pixels from a higher one.
FALLEN = 0.1
# Side of a block over the length at which the correlation of errors falls to that, and the blocks
# that a side has at least, however far they are correlated. Set on simulated fields of two sizes,
# three lengths and two kinds, by asv_bench/evaluation_intervals.py: docs/evaluation.md has the
# figures.
APART = 2.7
FEWEST_A_SIDE = 2
# Blocks with errors in them that an interval stands on, at least.
FEWEST = 4
# What intervals hold, and how often blocks are drawn.
LEVEL, DRAWS = 0.95, 999


class Cells(NamedTuple):
    """Squares that an image is cut into: their side in pixels, and how many there are."""

    side: int
    rows: int
    columns: int

    @property
    def number(self) -> int:
        """How many cells there are."""
        return self.rows * self.columns


class Blocks(NamedTuple):
    """Squares of whole cells.

    Parameters
    ----------
    cells
        How many of them a block is wide.
    side
        In pixels.
    length
        The pixels over which the correlation of errors falls to `FALLEN`.
    capped
        Whether blocks would have to be larger than the image allows.
    """

    cells: int
    side: int
    length: float
    capped: bool


@dataclass(frozen=True)
class Correlation:
    """The correlation of errors by distance: ``lags`` in pixels, its sum over images, how many."""

    lags: np.ndarray
    total: np.ndarray
    count: np.ndarray

    def __add__(self, other: Correlation) -> Correlation:
        return Correlation(self.lags, self.total + other.total, self.count + other.count)


def cells_of(height: int, width: int) -> Cells:
    """Return the cells of an image."""
    side = max(1, -(-max(height, width) // CELLS))
    return Cells(side, -(-height // side), -(-width // side))


def cell_of_pixels(height: int, width: int, cells: Cells) -> np.ndarray:
    """Return the number of the cell of each pixel, ``(y, x)``."""
    row, column = (np.arange(n) // cells.side for n in (height, width))
    return np.asarray(row[:, None] * cells.columns + column)


def correlation_of(error: np.ndarray) -> Correlation:
    """Return the correlation of errors ``(band, y, x)``, NaN where there are none, by distance.

    Each band's mean error is taken off; distances are along y and x, up to a quarter of the longer
    side.
    """
    height, width = error.shape[1:]
    most = max(1, max(height, width) // 4)
    lags = np.unique(np.geomspace(1, most, 12).astype(int))
    total, count = np.zeros(len(lags)), np.zeros(len(lags))
    for band in error:
        there = np.isfinite(band)
        if there.sum() < 2:
            continue
        off = np.where(there, band - band[there].mean(), 0.0)
        power = (off**2).sum() / there.sum()
        if not power > 0:
            continue
        for i, lag in enumerate(lags):
            product = (off[lag:] * off[:-lag]).sum() + (off[:, lag:] * off[:, :-lag]).sum()
            pairs = (there[lag:] & there[:-lag]).sum() + (there[:, lag:] & there[:, :-lag]).sum()
            if pairs:
                total[i] += product / pairs / power
                count[i] += 1
    return Correlation(lags, total, count)


def length_of(found: Correlation) -> float:
    """Return the distance at which the correlation falls to `FALLEN`; else the longest lag.

    It is interpolated between the lags that were looked at, the first being 0, where it is 1.
    """
    seen = found.count > 0
    if not seen.any():
        return 0.0
    at = np.concatenate([[0.0], found.lags[seen]])
    height = np.concatenate([[1.0], found.total[seen] / found.count[seen]])
    below = np.flatnonzero(height < FALLEN)
    if not below.size:
        return float(at[-1])
    i = below[0]
    share = (height[i - 1] - FALLEN) / (height[i - 1] - height[i])
    return float(at[i - 1] + share * (at[i] - at[i - 1]))


def blocks_of(found: Correlation, cells: Cells) -> Blocks:
    """Return how wide blocks are, in whole cells."""
    length = length_of(found)
    wanted = max(1, int(np.ceil(APART * length / cells.side)))
    most = max(1, max(cells.rows, cells.columns) // FEWEST_A_SIDE)
    wide = min(wanted, most)
    return Blocks(wide, wide * cells.side, length, wanted > most)


def joined(sums: np.ndarray, cells: Cells, blocks: Blocks) -> np.ndarray:
    """Return sums over blocks of sums over cells, ``(…, cell)`` to ``(…, block)``."""
    row, column = (np.arange(n) // blocks.cells for n in (cells.rows, cells.columns))
    across = column[-1] + 1
    of_cell = (row[:, None] * across + column).ravel()
    member = of_cell[:, None] == np.arange(of_cell[-1] + 1)
    return np.asarray(sums @ member.astype(np.float64))


def centres(cells: Cells, blocks: Blocks, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of pixels, with fractions, in whose middle each block is."""
    along = []
    for size in (height, width):
        first = np.arange(0, size, blocks.side)
        along.append((first + np.minimum(first + blocks.side, size) - 1) / 2)
    rows, columns = np.meshgrid(*along, indexing="ij")
    return rows.ravel(), columns.ravel()


# --- draws ------------------------------------------------------------------------------------


def drawn(count: int, seed: int) -> np.ndarray:
    """Return how often each of some things is in each draw, ``(draw, thing)``; a mean of 1."""
    rng = np.random.default_rng([seed, count])
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def widening(blocks: np.ndarray) -> np.ndarray:
    """Return the half width of an interval over its bootstrap standard deviation; NaN for none.

    Student's t, and the square root of n / (n - 1), which the spread of n drawn things lacks.
    """
    few = blocks < FEWEST
    n = np.where(few, FEWEST, blocks)
    wide = student.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt(n / (n - 1))
    return np.where(few, np.nan, wide)


def interval_of_root(squares: np.ndarray, pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return half the width of the interval of each root mean square, from sums ``(…, block)``."""
    draws = drawn(squares.shape[-1], seed).T
    total, count = squares @ draws, pixels @ draws
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(total / count)
    # A draw of empty blocks alone has no error.
    some = np.isfinite(spread)
    many = some.sum(axis=-1)
    mean = np.where(some, spread, 0).sum(axis=-1) / np.maximum(many, 1)
    variance = np.where(some, (spread - mean[..., None]) ** 2, 0).sum(axis=-1)
    deviation = np.sqrt(variance / np.maximum(many - 1, 1))
    return np.asarray(widening((pixels > 0).sum(axis=-1)) * deviation)
