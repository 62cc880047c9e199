"""Whether cubes are in the same units, by a few places that all of them see.

Plain cubes are compared at the call. Lazy ones are when they are computed, by one task that all
tiles wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from xstf.cubes.arrays import Array
from xstf.cubes.limits import LARGEST
from xstf.cubes.units import Side, require_same_units
from xstf.tiles.blocks import is_lazy
from xstf.tiles.gpu import to_host
from xstf.tiles.samples import choose_cells, whole_blocks
from xstf.tiles.states import Once, State

# Dates that are compared, and what of each: axes up to so many pixels whole, of longer ones
# stretches of so many.
_DATES, _WHOLE, _STRETCH = 4, 512, 64
# Coarse pixels of a date that are compared, along an axis.
_MOST_CELLS = 100


def check_units(
    sides: tuple[Side, Side],
    arrays: tuple[Array, Array],
    pairs: Sequence[tuple[int, int]],
    *,
    ratio: int,
    before: tuple[int, int],
    sampled: tuple[int, int] | None,
    now: bool = False,
) -> tuple[State, ...]:
    """Raise if a fine and a coarse cube are not in the same units; of lazy ones return the check.

    Parameters
    ----------
    sides
        What messages call them.
    arrays : (array (date, band, y, x), array (date, band, Y, X))
        On nested grids.
    pairs
        Positions of dates that go together.
    ratio, before
        Of the nested grids.
    sampled
        How many images of both the run samples together for its method, None if it does not: of
        lazy cubes the same places are looked at then, which makes no chunk once more.
    now
        Compare lazy ones now, too: for what computes anyway.
    """
    every = sorted(set(pairs))
    some = few(every)
    if not some:
        return ()
    lazy = is_lazy(*arrays)
    if sampled is not None and lazy:
        cells = choose_cells(*arrays, ratio=ratio, before=before, images=sampled)
        some = few(every, cells.dates_that_fit(*arrays))
    else:
        count = len(some)
        cells = choose_cells(
            *arrays, ratio=ratio, before=before, whole=_WHOLE, stretch=_STRETCH,
            images=(count, count),
        )  # fmt: skip
    dates = tuple(f for f, _ in some), tuple(c for _, c in some)
    sharp, blurred = cells.of(arrays[0], dates[0], arrays[1], dates[1])
    samples = {sides[0].what: sharp, sides[1].what: blurred}
    return _now_or_later(sides, {sides[0].what: ratio, sides[1].what: 1}, samples, lazy and not now)


def check_units_of_three(
    sides: Sequence[Side], arrays: Sequence[Array], pixels: Sequence[int], side: int
) -> tuple[State, ...]:
    """Raise if three nested cubes are not in the same units; of lazy ones return the check.

    Parameters
    ----------
    sides
        What messages call them.
    arrays : sequence of array (date, band, y, x)
        Of dates that go together; all start at one corner.
    pixels
        How many pixels of each are along a side of a block.
    side
        That side in pixels of the finest.
    """
    named = {s.what: (array, n) for s, array, n in zip(sides, arrays, pixels, strict=True)}
    samples = whole_blocks(named, side=side, whole=_WHOLE, stretch=_STRETCH)
    widths = {s.what: n for s, n in zip(sides, pixels, strict=True)}
    return _now_or_later(sides, widths, samples, is_lazy(*arrays))


def _now_or_later(
    sides: Sequence[Side], pixels: dict[str, int], samples: dict[str, Any], lazy: bool
) -> tuple[State, ...]:
    state = State(partial(_require, tuple(sides)), samples, partial(_means, pixels))
    if lazy:
        return (state,)
    Once.of(state)()
    return ()


def few(pairs: Any, most: int = _DATES) -> Any:
    """Return a few pairs, evenly spaced."""
    most = min(most, _DATES)
    if len(pairs) <= most:
        return pairs
    at = np.linspace(0, len(pairs) - 1, most).round().astype(int)
    return pairs[at] if isinstance(pairs, np.ndarray) else [pairs[i] for i in at]


def _means(pixels: dict[str, int], samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the means ``(band, cell)`` of each cube over cells that all of them see."""
    found = {name: _mean(to_host(value), pixels[name]) for name, value in samples.items()}
    seen = np.logical_and.reduce([~np.isnan(v).all(axis=1) for v in found.values()])
    return {
        name: np.ascontiguousarray(value.swapaxes(0, 1)[:, seen]) for name, value in found.items()
    }


def _mean(images: np.ndarray, pixels: int) -> np.ndarray:
    """Return the mean of what is there in each cell, ``(date, band, row, col)``."""
    lead, (height, width) = images.shape[:2], (n // pixels for n in images.shape[2:])
    cells = images[..., : height * pixels, : width * pixels].reshape(
        *lead, height, pixels, width, pixels
    )
    every = [max(1, -(-n // _MOST_CELLS)) for n in (height, width)]
    some = cells[:, :, :: every[0], :, :: every[1]]
    means = np.full((*lead, some.shape[2], some.shape[4]), np.nan)
    for at in np.ndindex(lead):  # one image at a time: a sample of a whole scene is large
        image = some[at].astype(np.float64)
        there = np.abs(image) < LARGEST
        count = there.sum(axis=(1, 3))
        total = np.where(there, image, 0).sum(axis=(1, 3))
        means[at][count > 0] = total[count > 0] / count[count > 0]
    return means


def _require(sides: tuple[Side, ...], samples: dict[str, np.ndarray]) -> None:
    require_same_units(sides, [samples[side.what] for side in sides])
