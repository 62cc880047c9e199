"""What a dry run of a verb says: a record, as text, as a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_DATES = 12  # in a text


@dataclass(frozen=True)
class DatePlan:
    """What one date of a result is made of.

    Parameters
    ----------
    date : datetime64
    pairs : tuple of tuples of datetime64
        Dates of the images that go together: for `fuse` a fine and a coarse one each, with
        ``spatial=`` a fine, a coarse and a spatial one, for `sharpen_spectral` a spectral and a
        spatial one (NaT where a cube has no time). Empty for `gapfill`, which takes all dates.
    others : int
        How many more combinations of pairs a pixel may take where these are cloudy.
    observed : datetime64 or None
        The fine image of the date itself, whose clear pixels are returned as they are.
    extrapolated : bool
        Whether the date lies outside those of all pairs.
    """

    date: np.datetime64
    pairs: tuple[tuple[np.datetime64, ...], ...] = ()
    others: int = 0
    observed: np.datetime64 | None = None
    extrapolated: bool = False

    def __str__(self) -> str:
        """Return it in one line."""
        text = _stamp(self.date)
        if self.pairs:
            # A pair of one day is that day.
            days = (dict.fromkeys(map(_stamp, pair)) for pair in self.pairs)
            text += " from " + ", ".join(" + ".join(pair) for pair in days)
        if self.others:
            text += f", where cloudy {self.others} more"
        if self.observed is not None:
            text += f", observed {_stamp(self.observed)}"
        return text + ", extrapolated" * self.extrapolated


@dataclass(frozen=True)
class DryRun:
    """What a verb would do; its text is a summary, in a notebook a table.

    Parameters
    ----------
    verb, method, engine : str
        What would run. `method` is the one that ``"auto"`` stands for.
    dates : tuple of DatePlan
        The dates of the result, in order of time.
    unpaired : str
        Fine dates without a coarse image, which are not used.
    grids : dict of str to str
        The grid of each cube, and of the result, in words.
    ratio : int or None
        Coarse pixel / fine pixel of the nested grids; None for `gapfill`.
    how : str
        How cubes get to the nested grids, as ``attrs["stf_grid"]`` of the result.
    halo : int
        Pixels around a tile that it reads.
    lazy : bool
        Whether the result would be lazy.
    chunks : dict of str to tuple of int
        Of the lazy result; of an eager run, which works in tiles, empty.
    tiles, tasks : int
        How many tiles there are, and tasks in dask's graph before it joins some (0 if not lazy).
    tile : tuple of int
        Rows and columns of the largest tile.
    memory_tile, memory_result, memory : int
        Bytes of a tile with its halo in and out, of the result, and of the result with a tile for
        each of `workers`: estimates, without what a method holds for itself.
    workers : int
        Tiles that are made at a time on this machine.
    sizes : dict of str to int
        Of the result.
    warnings : tuple of str
        What the verb would warn of. What depends on values (units, missing pixels) is not known.
    """

    verb: str
    method: str
    engine: str
    dates: tuple[DatePlan, ...]
    unpaired: str
    grids: Mapping[str, str]
    ratio: int | None
    how: str
    halo: int
    lazy: bool
    chunks: Mapping[str, tuple[int, ...]]
    tiles: int
    tasks: int
    tile: tuple[int, int]
    memory_tile: int
    memory_result: int
    memory: int
    workers: int
    sizes: Mapping[str, int]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Return the rows as text."""
        rows = self._rows()
        wide = max(len(name) for name, _ in rows)
        lines = [f"    {name:{wide}}  {text}" for name, text in rows]
        return "\n".join([f"<xstf: plan of {self.verb}, nothing computed>", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<div>xstf: plan of {self.verb}, nothing computed<table>{cells}</table></div>"

    def _rows(self) -> list[tuple[str, str]]:
        side = " × ".join(map(str, self.tile))
        rows = [
            ("method", f"{self.method}, engine {self.engine}"),
            ("result", ", ".join(f"{dim}: {size}" for dim, size in self.sizes.items())),
        ]
        rows += [("date", str(date)) for date in self.dates[:_MOST_DATES]]
        if len(self.dates) > _MOST_DATES:
            last = _stamp(self.dates[-1].date)
            rows.append(("", f"and {len(self.dates) - _MOST_DATES} more, up to {last}"))
        rows += [("not used", f"{self.unpaired}: no coarse image")] * bool(self.unpaired)
        rows += [(f"grid of {what}", text) for what, text in self.grids.items()]
        rows += [("how", self.how)] * bool(self.how)
        rows.append(("tiles", f"{self.tiles}, up to {side} px and a halo of {self.halo}"))
        if self.lazy:
            shape = ", ".join(f"{dim}: {_sizes(sizes)}" for dim, sizes in self.chunks.items())
            rows += [("chunks", shape), ("tasks", f"{self.tasks}")]
        rows.append(
            ("memory", f"{_bytes(self.memory_tile)} a tile, {_bytes(self.memory_result)} the "
             f"result, {_bytes(self.memory)} with {self.workers} at a time")
        )  # fmt: skip
        return rows + [("warning", text) for text in self.warnings]


def _stamp(date: np.datetime64) -> str:
    if np.isnat(date):
        return "no time"
    day = date.astype("datetime64[D]")
    return str(day if day == date else date.astype("datetime64[m]"))


def _sizes(chunks: Sequence[int]) -> str:
    """Return chunk sizes shortly."""
    if len(set(chunks)) == 1:
        return f"{chunks[0]}" if len(chunks) == 1 else f"{len(chunks)} × {chunks[0]}"
    return f"{len(chunks)} of up to {max(chunks)}"


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}" if size < 1000 else f"{size:,.0f} {units[0]}"
