"""Axes, images on them, scale bars, legends and dates: how every picture looks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from xstf.cubes.grid import Grid
from xstf.plot.reading import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches and points: letters of a page that shows the picture 360 to 700 pixels wide.
WIDTH, TITLE, TEXT = 6.4, 11.0, 10.0
PIXELS_WIDE = 1400  # of a file: twice the width of a page, for screens with small pixels
MISSING = 0.85  # a light grey that no stretched image has everywhere
ACCENT, INK, FAINT, EDGE = "#20808d", "0.15", "0.72", "#ffb000"
_LINE = 1.35 * TEXT / 72  # inches
LETTERS = 78  # of a caption's line
CAPTION = "caption"  # how captions are found among a picture's texts
_BAR = 0.3  # share of a picture's width that a scale bar takes at most
_DEGREE = 111_320.0  # metres of a degree along a meridian


# --- axes -------------------------------------------------------------------------------------


def panels(
    ax: Axes | Sequence[Axes] | None,
    count: int,
    *,
    columns: int,
    aspect: float = 1.0,
    extra: float = 0.6,
    lines: int = 1,
) -> np.ndarray:
    """Return axes for so many pictures, row by row, on a new figure or where the caller says.

    Parameters
    ----------
    ax : Axes or sequence of Axes, optional
        One is divided; of several there must be one a picture. None makes a figure.
    count, columns : int
        How many pictures, and how many at most side by side.
    aspect : float
        Height of a picture over its width.
    extra : float
        Inches below all pictures for captions, legends and colour bars.
    lines : int
        Of a title over each picture.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    if ax is not None and not _is_one(ax):
        given = np.asarray(ax, dtype=object).reshape(-1)
        if given.size != count:
            raise ValueError(
                f"there are {count} pictures to draw and {given.size} axes; give {count}, or one, "
                "which is divided"
            )
        return given
    if ax is None:
        each = WIDTH / columns * aspect + lines * _LINE + 0.1
        figure = new_figure(WIDTH, rows * each + extra)
        grid = figure.add_gridspec(rows, columns)
    else:
        figure, grid = divided(ax, rows, columns)
        if count == 1:
            return np.array([ax], dtype=object)
    places = [divmod(n, columns) for n in range(count)]
    axes = np.empty(count, dtype=object)
    axes[:] = [figure.add_subplot(grid[row, column]) for row, column in places]
    return axes


def _is_one(ax: object) -> bool:
    return hasattr(ax, "get_subplotspec")


def divided(ax: Any, rows: int, columns: int) -> tuple[Any, Any]:
    """Return a grid of places in that of an axes, which goes."""
    figure, spec = ax.figure, ax.get_subplotspec()
    if rows * columns == 1:
        return figure, None
    if spec is None:
        box = ax.get_position()
        spec = figure.add_gridspec(
            1, 1, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1
        )[0]  # fmt: skip
    ax.remove()
    return figure, spec.subgridspec(rows, columns)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, known to pyplot, so that notebooks show it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("pictures need matplotlib; install xstf[plot]") from error
    return pyplot.figure(figsize=(width, height), layout="constrained")


def save(
    axes: Any, path: str | Path, *, width: int = PIXELS_WIDE, colours: int | None = None
) -> None:
    """Write the figure that axes are on to a file, and close it.

    Parameters
    ----------
    axes : Axes or array of Axes
        What a picture returned.
    path : str or Path
        The ending says the format: ``.png``, ``.jpg``, ``.pdf``, ``.svg``.
    width : int
        Pixels from left to right.
    colours : int, optional
        How many a ``.png`` has at most, 2 to 256, which makes it a third as large, for pages.

    Raises
    ------
    ValueError
        matplotlib knows no such format.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile, xstf
    >>> fine, _ = xstf.testing.scene()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstf.plot.save(xstf.plot.quicklook(fine), folder + "/fine.png")
    """
    from matplotlib import pyplot

    figure = np.asarray(axes, dtype=object).reshape(-1)[0].figure.canvas.figure
    path = Path(path)
    png = path.suffix.lower() == ".png"
    packed = {"pil_kwargs": {"optimize": True}} if png else {}
    figure.savefig(path, dpi=width / figure.get_figwidth(), **packed)
    pyplot.close(figure)
    if colours is not None and png:
        from PIL import Image  # which matplotlib needs itself

        with Image.open(path) as image:
            few = image.convert("RGB").quantize(colours, method=Image.Quantize.MEDIANCUT)
        few.save(path, optimize=True)


# --- pictures ---------------------------------------------------------------------------------


def show(axis: Axes, image: np.ndarray, low: np.ndarray, high: np.ndarray) -> Any:
    """Draw an image ``(y, x, channel)`` of three channels or of one; return what was drawn."""
    bare(axis)
    if image.shape[-1] == 1:
        return paint(axis, image[..., 0], "viridis", float(low[0]), float(high[0]))
    stretched = np.clip((image - low) / (high - low), 0, 1)
    seen = ~np.isnan(stretched).any(axis=-1, keepdims=True)
    return axis.imshow(np.where(seen, stretched, MISSING), interpolation="nearest")


def paint(axis: Axes, values: np.ndarray, colours: str, low: float, high: float) -> Any:
    """Draw values ``(y, x)`` in a colour map, missing ones in grey, pixels as they are."""
    bare(axis)
    axis.set_facecolor(str(MISSING))
    top = max(high, low + 1e-12)
    return axis.imshow(values, cmap=colours, vmin=low, vmax=top, interpolation="nearest")


def say_if_nothing(axis: Axes, image: np.ndarray) -> None:
    """Write over a picture ``(y, x, channel)`` that all of it is missing, if it is."""
    if np.isnan(image).any(axis=-1).all():
        axis.text(
            0.5, 0.5, "all missing", transform=axis.transAxes, ha="center", va="center",
            fontsize=TEXT, color="0.3",
        )  # fmt: skip


def bare(axis: Axes) -> None:
    """Leave out ticks and frame, and keep room for a caption."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def columns_of(count: int) -> int:
    """Return how many pictures lie side by side."""
    return 2 if count == 4 else min(3, count)


def titled(axis: Axes, text: str) -> None:
    """Write a title."""
    axis.set_title(text, fontsize=TITLE, pad=4)


def note(
    axis: Axes,
    text: str,
    entries: Mapping[str, Any] | None = None,
    *,
    letters: int = LETTERS,
    stacked: bool = False,
) -> None:
    """Write a caption under a picture, from its left edge on, and a legend below that.

    They may be wider than the picture, which must not become narrower for that: the layout sees
    empty lines in their place.

    Parameters
    ----------
    axis : Axes
    text : str
    entries : mapping of str to artist, optional
        Of the legend.
    letters : int
        Of a line.
    stacked : bool
        Whether the legend has a line an entry.
    """
    lines = textwrap.wrap(text, letters) if text else []
    axis.annotate(
        "\n".join(lines), (0, 0), xytext=(0, -5), xycoords="axes fraction",
        textcoords="offset points", va="top", fontsize=TEXT, gid=CAPTION, annotation_clip=False,
    ).set_in_layout(False)  # fmt: skip
    rows = 0 if not entries else len(entries) if stacked else 1
    if entries:
        _legend(axis, entries, len(lines), 1 if stacked else len(entries))
    reserve(axis, len(lines) + rows)


def reserve(axis: Axes, lines: int) -> None:
    """Keep room for lines below a picture."""
    axis.set_xlabel("\n".join([" "] * lines), fontsize=TEXT, labelpad=3)


def _legend(axis: Axes, entries: Mapping[str, Any], lines: int, columns: int) -> None:
    """Draw a legend below so many lines of caption."""
    from matplotlib.transforms import ScaledTranslation

    down = ScaledTranslation(0, -(lines * _LINE + 0.08), axis.figure.dpi_scale_trans)
    axis.legend(
        list(entries.values()), list(entries), fontsize=TEXT, frameon=False, loc="upper left",
        bbox_to_anchor=(0, 0), bbox_transform=axis.transAxes + down, ncols=columns,
        borderaxespad=0, handlelength=1.2, handletextpad=0.5, columnspacing=1.2, borderpad=0,
        labelspacing=0.25,
    ).set_in_layout(False)  # fmt: skip


def patch(colour: Any) -> Any:
    """Return a field of a colour for a legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, edgecolor="0.5", linewidth=0.5)


def outline(axis: Axes, inside: np.ndarray) -> Any:
    """Draw the edge of an area ``(y, x)``, bool; return a line for a legend."""
    from matplotlib.lines import Line2D

    if inside.any() and not inside.all():
        axis.contour(inside, levels=[0.5], colors=[EDGE], linewidths=0.9)
    return Line2D([], [], color=EDGE, linewidth=1.5)


def colour_bar(drawn: Any, axes: Sequence[Axes], text: str) -> None:
    """Draw a colour bar below some pictures, with what its numbers are."""
    bar = axes[0].figure.colorbar(
        drawn, ax=list(axes), orientation="horizontal", shrink=0.6, aspect=30, pad=0.03
    )
    _labelled(bar, text)


def small_bar(drawn: Any, axis: Axes, text: str) -> None:
    """Draw a colour bar below one picture, which keeps its size."""
    from matplotlib.transforms import ScaledTranslation

    reserve(axis, 3)
    down = ScaledTranslation(0, -0.18, axis.figure.dpi_scale_trans)
    place = axis.inset_axes((0.05, 0, 0.9, 0.05), transform=axis.transAxes + down)
    place.set_in_layout(False)
    _labelled(axis.figure.colorbar(drawn, cax=place, orientation="horizontal"), text)


def _labelled(bar: Any, text: str) -> None:
    bar.set_label(text, fontsize=TEXT)
    bar.ax.tick_params(labelsize=TEXT)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_visible(False)


# --- scale ------------------------------------------------------------------------------------


def scale_bar(axis: Axes, images: Images) -> None:
    """Draw a length in metres, or in pixels where the cube has no CRS, in the lower left corner."""
    from matplotlib import patheffects

    height, width = images.values.shape[-2:]
    metres = metres_of(images.cube.grid)
    size = images.step * (1.0 if metres is None else metres)
    length = round_length(_BAR * width * size)
    if metres is None:
        text = f"{length:g} pixels"
    else:
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    left, low = 0.04 * width, 0.955 * height
    edge = [patheffects.withStroke(linewidth=2.5, foreground="0.1")]
    axis.plot(
        [left, left + length / size], [low, low], color="white", linewidth=2.5,
        solid_capstyle="butt", path_effects=[patheffects.withStroke(linewidth=4, foreground="0.1")],
        scalex=False, scaley=False,
    )  # fmt: skip
    axis.annotate(
        text, (left, low), xytext=(0, 5), textcoords="offset points", color="white",
        fontsize=TEXT, path_effects=edge, annotation_clip=True,
    )  # fmt: skip


def metres_of(grid: Grid) -> float | None:
    """Return the width of a pixel in metres, None where nothing tells."""
    degrees = grid.degrees or (grid.crs is not None and grid.crs.is_geographic)
    if degrees:
        latitude = np.deg2rad(grid.top + grid.dy * grid.height / 2)
        return float(abs(grid.dx) * _DEGREE * max(np.cos(latitude), 1e-6))
    return None if grid.crs is None else abs(grid.dx) * _metres_of_unit(grid.crs)


def _metres_of_unit(crs: pyproj.CRS) -> float:
    axes = crs.axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0


def round_length(most: float) -> float:
    """Return the greatest of 1, 2 and 5 times a power of ten that is not above a length."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(n * power for n in (1, 2, 5) if n * power <= most * (1 + 1e-9)))


# --- lines ------------------------------------------------------------------------------------


def time_axis(axis: Axes) -> None:
    """Write dates along x."""
    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator(maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    plain(axis)


def plain(axis: Axes) -> None:
    """Leave out the upper and right edge; write numbers large enough."""
    axis.tick_params(labelsize=TEXT)
    axis.spines[["top", "right"]].set_visible(False)
