"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import xarray as xr


class Row(NamedTuple):
    """A name, and its numbers."""

    name: str
    values: list[float]


def table(head: Sequence[str], rows: Sequence[Row]) -> str:
    """Return rows as aligned text: a name, then numbers."""
    cells = [list(head), *([r.name, *map(_number, r.values)] for r in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def sizes(cube: xr.DataArray | xr.Dataset) -> str:
    """Return a cube's sizes in words."""
    return " × ".join(f"{size} {dim}" for dim, size in cube.sizes.items())


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.5f}"


def scores_in_words(scores: Mapping[str, float]) -> str:
    """Return scores in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
