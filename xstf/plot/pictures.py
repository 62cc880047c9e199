"""The few pictures that people want of a cube, its gaps and an estimate beside its truth."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xstf.cubes.pairs import DateLike
from xstf.cubes.read import Cube, read_cube
from xstf.numerics.normal import Z90

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRUE_COLOUR = ("red", "green", "blue")
_MISSING = 0.85  # a light grey that no stretched image has everywhere
_ACCENT, _INK, _FAINT = "#20808d", "0.15", "0.72"


def quicklook(
    cube: xr.DataArray | xr.Dataset, *, bands: Sequence[Hashable] | None = None, most: int = 8
) -> Figure:
    """Return a figure with one colour picture a date, stretched alike.

    Parameters
    ----------
    cube : DataArray (time, band, y, x) or Dataset of bands
    bands : sequence of three labels, or of one, optional
        Red, green and blue. Default: the bands of those names, else the last three, else the first.
    most : int
        Most dates shown, evenly chosen.
    """
    plain = read_cube(cube, what="cube")
    picked = _pick_bands(plain.bands, bands)
    dates = np.unique(np.linspace(0, plain.data.shape[0] - 1, most).astype(int))
    images = [_picture(plain.data[d], picked) for d in dates]
    low, high = _limits(images)
    titles = [_date(plain, d) for d in dates]
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure, axes = _axes(rows, columns)
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        _show(axis, image, low, high)
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def compare(
    truth: xr.DataArray,
    estimates: dict[str, xr.DataArray],
    *,
    bands: Sequence[Hashable] | None = None,
    before: xr.DataArray | None = None,
    coarse: xr.DataArray | None = None,
) -> Figure:
    """Return a figure of a true image, estimates of it and their errors.

    Parameters
    ----------
    truth : DataArray ([time: 1,] band, y, x)
    estimates : dict of str to DataArray
        As `truth`, by the title to give them.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    before, coarse : DataArray, optional
        What the estimates were made of, shown in the first row: the fine image of another date and
        the coarse one of this.

    Notes
    -----
    Errors are the mean over all bands of the absolute difference, on one scale, printed under the
    bar in the cube's units.
    """
    inputs = {"fine image before": before, "coarse image of the date": coarse, "truth": truth}
    shown = {title: cube for title, cube in inputs.items() if cube is not None}
    cubes = {title: read_cube(cube, what=title) for title, cube in (shown | estimates).items()}
    picked = _pick_bands(cubes["truth"].bands, bands)
    images = {t: _picture(c.data[0], picked) for t, c in cubes.items()}
    low, high = _limits([images["truth"]])
    target = np.asarray(cubes["truth"].data[0])
    errors = {t: np.abs(np.asarray(cubes[t].data[0]) - target).mean(axis=0) for t in estimates}
    top = max(float(np.nanpercentile(e, 99)) for e in errors.values())
    columns = max(len(shown), len(estimates))
    figure, axes = _axes(3, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, title in enumerate(shown):
        _show(axes[0, column], images[title], low, high)
        axes[0, column].set_title(title, fontsize=10)
    for column, (title, error) in enumerate(errors.items()):
        _show(axes[1, column], images[title], low, high)
        axes[1, column].set_title(title, fontsize=10)
        drawn = axes[2, column].imshow(error, cmap="magma", vmin=0, vmax=top)
        axes[2, column].set_title(f"error, mean {np.nanmean(error):.4f}", fontsize=9)
    figure.colorbar(drawn, ax=axes[2, :].tolist(), shrink=0.85, label="|error|, mean of bands")
    return figure


def gaps(
    cube: xr.DataArray | xr.Dataset, *, bands: Sequence[Hashable] | None = None, most: int = 4
) -> Figure:
    """Return a figure of what a cube misses: by date, by pixel, and in pictures of some dates.

    Parameters
    ----------
    cube : DataArray (time, band, y, x) or Dataset of bands
        A pixel counts as clear on a date when none of its bands is missing.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    most : int
        Most dates shown, evenly chosen from the clearest to the cloudiest of which something is
        seen. They are marked in the bars.
    """
    plain = read_cube(cube, what="cube")
    times = _times(plain)
    picked = _pick_bands(plain.bands, bands)
    clear = ~np.asarray(np.isnan(plain.data).any(axis=1))
    share, count = clear.mean(axis=(1, 2)), clear.sum(axis=0)
    seen = max(int((share > 0).sum()), 1)  # a picture of nothing tells nothing
    ranks = np.unique(np.linspace(0, seen - 1, min(most, seen)).round().astype(int))
    dates = np.sort(np.argsort(-share, kind="stable")[ranks])
    images = [_picture(plain.data[d], picked) for d in dates]
    low, high = _limits(images)
    figure = _figure(3.1 * (dates.size + 1), 5.4)
    grid = figure.add_gridspec(2, dates.size + 1, height_ratios=(1, 1.5))
    _bars(figure.add_subplot(grid[0, :]), times, share, dates)
    for column, (date, image) in enumerate(zip(dates, images, strict=True)):
        axis = figure.add_subplot(grid[1, column])
        _show(axis, image, low, high)
        axis.set_title(f"{_date(plain, date)}, {share[date]:.0%} clear", fontsize=9)
        axis.set_axis_off()
    axis = figure.add_subplot(grid[1, -1])
    drawn = axis.imshow(count, cmap="viridis")
    axis.set_title("clear dates of a pixel", fontsize=9)
    axis.set_axis_off()
    figure.colorbar(drawn, ax=axis, shrink=0.8).ax.tick_params(labelsize=8)
    return figure


def series(
    cube: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | xr.Dataset,
    *,
    std: xr.DataArray | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    at: Mapping[str, float] | None = None,
    bands: Sequence[Hashable] | None = None,
) -> Figure:
    """Return a figure of one pixel through time: what was observed, what it was filled with.

    Parameters
    ----------
    cube, filled : DataArray (time, band, y, x) or Dataset of bands
        Before and after.
    std : DataArray (time, band, y, x), optional
        Standard deviation of `filled`; drawn as the band that holds 90 % if errors are normal.
    truth : DataArray (time, band, y, x) or Dataset of bands, optional
        Drawn faint, below.
    at : mapping of "y" and "x" to coordinates, optional
        The nearest pixel is drawn. Default: the one in the middle.
    bands : sequence of labels, optional
        Bands to draw, one below the other. Default: all of `cube`.
    """
    given = {"cube": cube, "filled": filled, "std": std, "truth": truth}
    cubes = {w: read_cube(c, what=w) for w, c in given.items() if c is not None}
    names = list(cubes["cube"].bands if bands is None else bands)
    lines = {what: _at(plain, at, names) for what, plain in cubes.items()}
    figure = _figure(9.3, 0.5 + 2.1 * len(names))
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    for row, (axis, name) in enumerate(zip(axes, names, strict=True)):
        one = {what: (dates, values[:, row]) for what, (dates, values) in lines.items()}
        _line(axis, one)
        axis.set_ylabel(str(name), fontsize=9)
    _time_axis(axes[-1])
    axes[0].legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def before_after(
    cube: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | xr.Dataset,
    truth: xr.DataArray | xr.Dataset | None = None,
    *,
    time: DateLike | None = None,
    bands: Sequence[Hashable] | None = None,
) -> Figure:
    """Return a figure of dates before and after their gaps were filled, beside the truth.

    Parameters
    ----------
    cube, filled, truth : DataArray (time, band, y, x) or Dataset of bands
        `truth` is optional; with it, the root mean square error of all bands where `cube` was
        missing stands above the filled picture.
    time : date or sequence of dates, optional
        A row each. Default: the date of `cube` that is nearest to half clear.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    """
    given = {"before": cube, "after": filled, "truth": truth}
    cubes = {w: read_cube(c, what=w) for w, c in given.items() if c is not None}
    picked = _pick_bands(cubes["before"].bands, bands)
    days = _half_clear(cubes["before"]) if time is None else np.asarray(time, "datetime64[D]")
    figure, axes = _axes(days.size or 1, len(cubes))
    for row, day in zip(axes, np.atleast_1d(days), strict=True):
        images = {w: np.asarray(c.data[_on(c, day)]) for w, c in cubes.items()}
        shown = {w: _picture(image, picked) for w, image in images.items()}
        low, high = _limits([shown.get("truth", shown["after"])])
        gone = np.isnan(images["before"])
        titles = {"before": f"{day}, {1 - gone.any(axis=0).mean():.0%} clear", "after": "filled"}
        if "truth" in images and gone.any():
            error = (images["after"] - images["truth"]).astype(float)[gone]
            error = error[~np.isnan(error)]
            if error.size:
                titles["after"] = f"filled, RMSE {np.sqrt((error**2).mean()):.4f} in the gaps"
        for axis, (what, image) in zip(row, shown.items(), strict=True):
            _show(axis, image, low, high)
            axis.set_title(titles.get(what, what), fontsize=10)
            axis.set_axis_off()
    return figure


def _pick_bands(have: tuple[Hashable, ...], wanted: Sequence[Hashable] | None) -> list[int]:
    if wanted is not None:
        missing = [b for b in wanted if b not in have]
        if missing or len(wanted) not in (1, 3):
            raise ValueError(f"bands must be one or three of {list(have)}, not {list(wanted)}")
        return [have.index(b) for b in wanted]
    if all(b in have for b in _TRUE_COLOUR):
        return [have.index(b) for b in _TRUE_COLOUR]
    return [len(have) - 1 - i for i in range(3)] if len(have) >= 3 else [0]


def _picture(image: np.ndarray, bands: list[int]) -> np.ndarray:
    """Return ``(y, x)`` or ``(y, x, 3)`` of an image ``(band, y, x)``."""
    picture = np.moveaxis(np.asarray(image)[bands], 0, -1).astype(np.float64)
    return picture if len(bands) == 3 else picture[..., 0]


def _limits(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn black and white, a channel each: the 1 and 99 % quantiles of all."""
    channels = [image.reshape(-1, image.shape[-1] if image.ndim == 3 else 1) for image in images]
    together = np.concatenate(channels)
    seen = together[~np.isnan(together).any(axis=1)]
    if not len(seen):
        return np.zeros(together.shape[1]), np.ones(together.shape[1])
    low, high = np.percentile(seen, 1, axis=0), np.percentile(seen, 99, axis=0)
    return low, np.maximum(high, low + 1e-12)


def _show(axis: Axes, image: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    if image.ndim == 2:
        axis.imshow(image, cmap="viridis", vmin=float(low[0]), vmax=float(high[0]))
        return
    stretched = np.clip((image - low) / (high - low), 0, 1)
    axis.imshow(np.where(np.isnan(stretched), _MISSING, stretched))


def _bars(axis: Axes, times: np.ndarray, share: np.ndarray, marked: np.ndarray) -> None:
    """Draw the clear share of each date, some of them marked."""
    apart = np.diff(times).min() / np.timedelta64(1, "D") if times.size > 1 else 10.0
    colours = [_ACCENT if date in marked else _FAINT for date in range(times.size)]
    axis.bar(times, 100 * share, width=0.8 * apart, color=colours)
    axis.plot(times, 0 * share, "|", color=_INK, markersize=4, clip_on=False)
    axis.set_ylim(0, 100)
    axis.set_ylabel("clear, %", fontsize=9)
    axis.set_title(f"{times.size} dates, {1 - share.mean():.0%} missing", fontsize=10, loc="left")
    _time_axis(axis)


def _line(axis: Axes, lines: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw one band of a pixel."""
    if "truth" in lines:
        axis.plot(*lines["truth"], color=_FAINT, linewidth=2.5, label="truth")
    dates, values = lines["filled"]
    axis.plot(dates, values, color=_ACCENT, linewidth=1.2, label="filled")
    if "std" in lines:
        off = Z90 * lines["std"][1]
        label = "90 % interval"
        axis.fill_between(
            dates, values - off, values + off, color=_ACCENT, alpha=0.2, lw=0, label=label
        )
    axis.plot(*lines["cube"], "o", color=_INK, markersize=3.2, label="observed")
    _time_axis(axis)


def _time_axis(axis: Axes) -> None:
    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _times(cube: Cube) -> np.ndarray:
    if cube.times is None:
        raise ValueError(f"{cube.what} has no dates: it needs a time dimension with coordinates")
    return cube.times


def _at(
    cube: Cube, at: Mapping[str, float] | None, bands: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates and the values (time, band) of a pixel."""
    missing = [b for b in bands if b not in cube.bands]
    if missing:
        raise ValueError(f"{cube.what} has no bands {missing}; it has {list(cube.bands)}")
    centres = {"y": cube.grid.y, "x": cube.grid.x}
    where = {dim: float(c[c.size // 2]) for dim, c in centres.items()} if at is None else dict(at)
    if set(where) != set(centres):
        raise ValueError(f"at must give 'y' and 'x' in coordinates of the cube, not {where}")
    near = {dim: int(np.abs(c - where[dim]).argmin()) for dim, c in centres.items()}
    steps = {"y": abs(cube.grid.dy), "x": abs(cube.grid.dx)}
    for dim, c in centres.items():
        if abs(c[near[dim]] - where[dim]) > steps[dim]:
            raise ValueError(f"{dim}={where[dim]} is not in {cube.what}, {c.min()} to {c.max()}")
    values = np.asarray(cube.data[:, :, near["y"], near["x"]])
    return _times(cube), values[:, [cube.bands.index(b) for b in bands]]


def _half_clear(cube: Cube) -> np.ndarray:
    """Return the day that is nearest to half clear."""
    missing = np.asarray(np.isnan(cube.data).any(axis=1)).mean(axis=(1, 2))
    return np.asarray(_times(cube)[np.abs(missing - 0.5).argmin()], "datetime64[D]")


def _on(cube: Cube, day: np.datetime64) -> int:
    """Return which of a cube's dates is on a day."""
    found = np.flatnonzero(_times(cube).astype("datetime64[D]") == day)
    if not found.size:
        nearest = _times(cube)[np.abs(_times(cube) - day).argmin()]
        raise ValueError(
            f"{cube.what} has no date on {day}; the nearest is {np.datetime64(nearest, 'D')}"
        )
    return int(found[0])


def _axes(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    figure = _figure(3.1 * columns, 3.2 * rows)
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as NewFigure
    except ImportError as error:
        raise ImportError("pictures need matplotlib; install xstf[plot]") from error
    figure = NewFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _date(cube: Cube, index: int) -> str:
    return "" if cube.times is None else str(np.datetime64(cube.times[index], "D"))
