"""Pictures of time: what a cube misses on which date, and one pixel's series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xstf.cubes.read import Cube
from xstf.numerics.normal import Z90
from xstf.plot import drawing as draw
from xstf.plot.colours import composite_of, limits_of, quantity_of
from xstf.plot.reading import (
    open_cube,
    read_images,
    read_missing,
    read_pixel,
    times_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {"truth": "truth", "filled": "filled", "cube": "observed"}


def gaps(
    cube: xr.DataArray | xr.Dataset,
    *,
    bands: Sequence[Hashable] | None = None,
    most: int = 2,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw what a cube misses: by date, in pictures of some dates, and by pixel.

    Parameters
    ----------
    cube : DataArray (time, band, y, x) or Dataset of bands
        A pixel counts as clear on a date when none of its bands is missing. Of large images every
        so many pixels are looked at.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    most : int
        Most dates shown, evenly chosen from the clearest to the cloudiest of which something is
        seen. They are marked in the bars.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be one for the bars, one a picture, and one for
        the map of clear dates.

    Returns
    -------
    ndarray of Axes
        Of the bars, of each picture, and of the map.

    Raises
    ------
    ValueError
        The cube has no dates, or `bands` or `ax` do not fit.
    ImportError
        matplotlib is missing.
    """
    plain = open_cube(cube, "cube")
    times, shown = times_of(plain), composite_of(plain, bands)
    missing, step = read_missing(plain)
    clear = ~missing
    share, count = clear.mean(axis=(1, 2)), clear.sum(axis=0)
    dates = _chosen(share, most)
    images = read_images(plain, dates, shown.bands)
    axes = _gap_axes(ax, dates.size, clear.shape[1] / clear.shape[2])
    _bars(axes[0], times, share, dates, step)
    pictures = np.moveaxis(images.values, 1, -1)
    low, high = limits_of(list(pictures), shown.natural)
    for axis, image, title, at in zip(axes[1:-1], pictures, images.dates, dates, strict=True):
        draw.show(axis, image, low, high)
        draw.titled(axis, f"{title}\n{share[at]:.0%} clear")
    draw.scale_bar(axes[1], images)
    grey = {"missing": draw.patch(str(draw.MISSING))}
    draw.note(axes[1], shown.text, grey, letters=draw.LETTERS // 3 * dates.size)
    _map(axes[-1], count, times.size)
    return axes


def _chosen(share: np.ndarray, most: int) -> np.ndarray:
    """Return dates from the clearest to the cloudiest of which something is seen."""
    seen = max(int((share > 0).sum()), 1)  # a picture of nothing tells nothing
    ranks = np.unique(np.linspace(0, seen - 1, min(most, seen)).round().astype(int))
    return np.sort(np.argsort(-share, kind="stable")[ranks])


def _gap_axes(ax: Axes | Sequence[Axes] | None, pictures: int, aspect: float) -> np.ndarray:
    """Return axes of the bars, of the pictures and of the map."""
    if ax is not None and np.ndim(np.asarray(ax, dtype=object)):
        return draw.panels(ax, pictures + 2, columns=pictures + 1)
    columns = pictures + 1
    if ax is None:
        height = draw.WIDTH / columns * float(np.clip(aspect, 0.3, 2)) + 0.4
        figure = draw.new_figure(draw.WIDTH, 1.9 + height + 0.7)
        grid = figure.add_gridspec(2, columns, height_ratios=(1.6, height + 0.6))
    else:
        figure, grid = draw.divided(ax, 2, columns)
    axes = np.empty(pictures + 2, dtype=object)
    axes[0] = figure.add_subplot(grid[0, :])
    axes[1:] = [figure.add_subplot(grid[1, column]) for column in range(columns)]
    return axes


def _bars(axis: Axes, times: np.ndarray, share: np.ndarray, marked: np.ndarray, step: int) -> None:
    """Draw the clear share of each date, some of them marked."""
    apart = np.diff(times).min() / np.timedelta64(1, "D") if times.size > 1 else 10.0
    colours = [draw.ACCENT if date in marked else draw.FAINT for date in range(times.size)]
    axis.bar(times, 100 * share, width=0.8 * apart, color=colours)
    axis.plot(times, 0 * share, "|", color=draw.INK, markersize=4, clip_on=False)
    axis.set_ylim(0, 100)
    axis.set_ylabel("clear, %", fontsize=draw.TEXT)
    thinned = "" if step == 1 else f" (every {step} pixels)"
    text = f"{times.size} dates, {1 - share.mean():.0%} missing{thinned}; pictured dates in colour"
    axis.set_title(text, fontsize=draw.TITLE, loc="left")
    draw.time_axis(axis)


def _map(axis: Axes, count: np.ndarray, dates: int) -> None:
    drawn = draw.paint(axis, count, "viridis", 0.0, float(max(count.max(), 1)))
    draw.titled(axis, "clear dates\nof each pixel")
    draw.small_bar(drawn, axis, f"of {dates} dates")


def series(
    cube: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | xr.Dataset,
    *,
    std: xr.DataArray | xr.Dataset | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    at: Mapping[str, float] | None = None,
    bands: Sequence[Hashable] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw one pixel through time: what was observed, what it was filled with.

    Parameters
    ----------
    cube, filled : DataArray (time, band, y, x) or Dataset of bands
        Before and after. Only the pixel is read.
    std : DataArray (time, band, y, x) or Dataset of bands, optional
        Standard deviation of `filled`, in its unit; drawn as the interval that holds 90 % if errors
        are normal.
    truth : DataArray (time, band, y, x) or Dataset of bands, optional
        Drawn faint, below.
    at : mapping of "y" and "x" to coordinates, optional
        The nearest pixel is drawn. Default: the one in the middle.
    bands : sequence of labels, optional
        Bands to draw, one below the other. Default: all of `cube`.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be one a band.

    Returns
    -------
    ndarray of Axes
        One a band.

    Raises
    ------
    ValueError
        A cube has no dates, not these bands, or does not cover `at`; or `ax` do not fit.
    ImportError
        matplotlib is missing.
    """
    given = {"cube": cube, "filled": filled, "std": std, "truth": truth}
    cubes = {w: open_cube(c, w) for w, c in given.items() if c is not None}
    names = list(cubes["cube"].bands if bands is None else bands)
    lines = {what: read_pixel(plain, at, names) for what, plain in cubes.items()}
    quantity = quantity_of(cubes["cube"], lines["filled"][1])
    axes = draw.panels(ax, len(names), columns=1, aspect=0.28, lines=0, extra=0.9)
    for row, (axis, name) in enumerate(zip(axes, names, strict=True)):
        one = {what: (dates, values[:, row]) for what, (dates, values) in lines.items()}
        _line(axis, one)
        axis.set_ylabel(f"{name}\n{quantity}".strip(), fontsize=draw.TEXT)
        axis.tick_params(labelbottom=row == len(names) - 1)
    axes[-1].set_xlabel(_place(cubes["cube"], at), fontsize=draw.TEXT, loc="left")
    axes[0].legend(
        frameon=False, fontsize=draw.TEXT, ncols=4, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    return axes


def _line(axis: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw one band of a pixel."""
    if "truth" in lines:
        axis.plot(*lines["truth"], color=draw.FAINT, linewidth=2.5, label=_LINES["truth"])
    dates, values = lines["filled"]
    axis.plot(dates, values, color=draw.ACCENT, linewidth=1.4, label=_LINES["filled"])
    if "std" in lines:
        off = Z90 * lines["std"][1]
        axis.fill_between(
            dates, values - off, values + off, color=draw.ACCENT, alpha=0.2, lw=0,
            label="90 % interval",
        )  # fmt: skip
    axis.plot(*lines["cube"], "o", color=draw.INK, markersize=3.6, label=_LINES["cube"])
    draw.time_axis(axis)


def _place(cube: Cube, at: Mapping[str, float] | None) -> str:
    """Return where a pixel is, in words."""
    y, x = cube.grid.y, cube.grid.x
    where = {"y": y[y.size // 2], "x": x[x.size // 2]} if at is None else at
    near = [c[np.abs(c - where[d]).argmin()] for d, c in (("x", x), ("y", y))]
    return f"pixel at x = {near[0]:.10g}, y = {near[1]:.10g}"
