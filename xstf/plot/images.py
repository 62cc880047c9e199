"""Pictures of images: a cube's dates, an estimate beside its truth, how sure it is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xstf.cubes.pairs import DateLike
from xstf.cubes.read import Cube
from xstf.plot import drawing as draw
from xstf.plot.colours import Composite, composite_of, limits_of, quantity_of
from xstf.plot.reading import (
    Images,
    on_day,
    open_cube,
    pick_dates,
    read_images,
    read_missing,
    times_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_FLAG_COLOURS = {
    "observed": "#c7d9e8", "filled_in_time": "#20808d", "filled_in_space": "#7fb800",
    "fused_one_pair": "#7b5ea7", "fused_two_pairs": "#c76d9b", "extrapolated": "#d95f02",
    "missing": str(draw.MISSING), "outlier": "#ffb000", "fused_series": "#386cb0",
}  # fmt: skip


def quicklook(
    cube: xr.DataArray | xr.Dataset,
    *,
    bands: Sequence[Hashable] | None = None,
    time: DateLike | Sequence[DateLike] | None = None,
    most: int = 6,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw a picture a date, all stretched alike.

    The caption says which bands are red, green and blue, and which method made the cube. Missing
    pixels are grey; north is up.

    Parameters
    ----------
    cube : DataArray ([time,] band, y, x) or Dataset of bands
        In memory, in a file or in dask: only what is shown is read, every so many pixels so that no
        side has more than 480.
    bands : sequence of three labels, or of one, optional
        Red, green and blue. Default: those bands where labels (``red``, ``B04``) or a coordinate
        ``wavelength`` (nm) tell, else near infrared, red and green, else the last three, else the
        first in a colour map.
    time : date or sequence of dates, optional
        Which dates. Default: at most `most` of them, evenly chosen.
    most : int
        Most dates shown.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be one a date. Default: a new figure.

    Returns
    -------
    ndarray of Axes
        One a date. :func:`xstf.plot.save` writes their figure.

    Raises
    ------
    ValueError
        `bands` are not in the cube, `time` is on no date of it, or `ax` are too few or many.
    ImportError
        matplotlib is missing.

    Examples
    --------
    >>> import xstf
    >>> fine, _ = xstf.testing.scene()
    >>> axes = xstf.plot.quicklook(fine, most=2)
    >>> [axis.get_title() for axis in axes]
    ['2021-04-07', '2021-08-29']
    """
    plain = open_cube(cube, "cube")
    shown = composite_of(plain, bands)
    images = read_images(plain, pick_dates(plain, time, most), shown.bands)
    count = len(images.dates)
    axes = draw.panels(
        ax, count, columns=draw.columns_of(count), aspect=_aspect(images),
        extra=1.2 if len(shown.bands) == 1 else 0.5,
    )  # fmt: skip
    drawn = _draw_row(axes, [images], shown, images.dates)
    draw.scale_bar(axes[0], images)
    _explain(axes, images, shown, drawn, _words(shown, _method(plain)))
    return axes


def compare(
    truth: xr.DataArray | xr.Dataset,
    estimates: Mapping[str, xr.DataArray | xr.Dataset],
    *,
    bands: Sequence[Hashable] | None = None,
    before: xr.DataArray | xr.Dataset | None = None,
    coarse: xr.DataArray | xr.Dataset | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw a true image, estimates of it and their errors.

    Colours are stretched as the truth's; errors are the mean over all bands of the absolute
    difference, on one scale, in the cube's unit.

    Parameters
    ----------
    truth : DataArray ([time: 1,] band, y, x) or Dataset of bands
    estimates : mapping of str to DataArray or Dataset
        As `truth`, by the title to give them.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    before, coarse : DataArray or Dataset, optional
        What the estimates were made of, shown in the first row: the fine image of another date and
        the coarse one of this, each on its own grid.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be as many as are returned.

    Returns
    -------
    ndarray of Axes
        Of the truth and what it is shown with, of each estimate, of each estimate's error.

    Raises
    ------
    ValueError
        There are no estimates, one has another size or other bands than the truth, or `bands` or
        `ax` do not fit.
    ImportError
        matplotlib is missing.
    """
    if not estimates:
        raise ValueError("estimates is empty; give at least one, by its title")
    inputs = {"fine image": before, "coarse image": coarse, "truth": truth}
    cubes = {t: open_cube(c, t) for t, c in inputs.items() if c is not None}
    made = {t: open_cube(c, t) for t, c in estimates.items()}
    _require_alike(cubes["truth"], made)
    shown = composite_of(cubes["truth"], bands)
    pictures = {
        t: read_images(c, [0], [c.bands.index(cubes["truth"].bands[b]) for b in shown.bands])
        for t, c in (cubes | made).items()
    }
    errors = {t: _error(cube, cubes["truth"]) for t, cube in made.items()}
    true = pictures["truth"]
    axes = _compare_axes(ax, len(cubes), len(made), _aspect(true))
    low, high = limits_of(list(_channels(true)), shown.natural)
    titles = [*(f"{t}\n{pictures[t].dates[0]}".strip() for t in cubes), *made]
    for axis, title, picture in zip(axes, titles, pictures.values(), strict=False):
        draw.show(axis, _channels(picture)[0], low, high)
        draw.titled(axis, title)
    draw.scale_bar(axes[len(cubes) - 1], true)
    _draw_errors(axes[-len(made) :], errors, quantity_of(cubes["truth"], true.values))
    draw.note(axes[0], f"{shown.text}; all stretched as the truth")
    return axes


def _compare_axes(
    ax: Axes | Sequence[Axes] | None, inputs: int, made: int, aspect: float
) -> np.ndarray:
    """Return axes of the inputs, of the estimates, and of their errors below them."""
    columns, first, images = _places(inputs, made)
    errors = [place + columns for place in images]
    if ax is not None and np.ndim(np.asarray(ax, dtype=object)):
        return draw.panels(ax, inputs + 2 * made, columns=columns)
    rows = errors[-1] // columns + 1
    grid = draw.panels(ax, rows * columns, columns=columns, aspect=aspect, extra=0.9)
    used = [*first, *images, *errors]
    for place in set(range(rows * columns)) - set(used):
        grid[place].set_axis_off()
    return grid[used]


def _places(inputs: int, made: int) -> tuple[int, list[int], list[int]]:
    """Return the columns, and the places of inputs and of estimates above their errors.

    All are in one row if they are few, else the inputs have a row of their own.
    """
    if inputs + made <= _COLUMNS:
        return inputs + made, list(range(inputs)), list(range(inputs, inputs + made))
    columns = max(min(_COLUMNS, made), inputs)
    images = [columns * (1 + 2 * (n // columns)) + n % columns for n in range(made)]
    return columns, list(range(inputs)), images


def _require_alike(truth: Cube, made: Mapping[str, Cube]) -> None:
    for title, cube in made.items():
        if cube.data.shape[-2:] != truth.data.shape[-2:]:
            raise ValueError(
                f"{title} has {cube.data.shape[-2:]} pixels and truth {truth.data.shape[-2:]}; "
                "bring them to one grid"
            )
        lacks = [b for b in truth.bands if b not in cube.bands]
        if lacks:
            raise ValueError(f"{title} has no bands {lacks}, which truth has")


def _error(cube: Cube, truth: Cube) -> np.ndarray:
    """Return the mean over bands of the absolute error ``(y, x)``; NaN where all are missing."""
    order = [cube.bands.index(b) for b in truth.bands]
    made = read_images(cube, [0], order).values[0]
    off = np.abs(made - read_images(truth, [0], range(len(order))).values[0])
    seen = ~np.isnan(off)
    total = np.where(seen, off, 0).sum(axis=0)
    return np.where(seen.any(axis=0), total / np.maximum(seen.sum(axis=0), 1), np.nan)


def _draw_errors(axes: np.ndarray, errors: Mapping[str, np.ndarray], quantity: str) -> None:
    seen = [error[~np.isnan(error)] for error in errors.values()]
    top = max((float(np.percentile(e, 99)) for e in seen if e.size), default=1.0)
    for axis, error, values in zip(axes, errors.values(), seen, strict=True):
        drawn = draw.paint(axis, error, "magma", 0.0, top)
        mean = f"{values.mean():.4f}" if values.size else "nowhere known"
        draw.titled(axis, f"mean |error| {mean}")
    draw.colour_bar(drawn, list(axes), f"|error|, mean of bands: {quantity}")


def before_after(
    cube: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | xr.Dataset,
    truth: xr.DataArray | xr.Dataset | None = None,
    *,
    time: DateLike | Sequence[DateLike] | None = None,
    bands: Sequence[Hashable] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw dates before and after their gaps were filled, beside the truth.

    A line marks the edge of the gaps: outside of it pixels were observed, and are kept as they
    were unless the method was asked to replace outliers.

    Parameters
    ----------
    cube, filled, truth : DataArray (time, band, y, x) or Dataset of bands
        `truth` is optional; with it, the root mean square error of all bands where `cube` was
        missing stands above the filled picture.
    time : date or sequence of dates, optional
        A row each. Default: the date of `cube` that is nearest to half clear.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be one a picture, row by row.

    Returns
    -------
    ndarray of Axes
        Row by row.

    Raises
    ------
    ValueError
        A cube has no dates, or none on a day of `time`, or `bands` or `ax` do not fit.
    ImportError
        matplotlib is missing.
    """
    given = {"before": cube, "after": filled, "truth": truth}
    cubes = {w: open_cube(c, w) for w, c in given.items() if c is not None}
    shown = composite_of(cubes["before"], bands)
    days = _half_clear(cubes["before"]) if time is None else np.asarray(time, "datetime64[D]")
    days = np.atleast_1d(days)
    first = _on(cubes["before"], days[0])
    axes = draw.panels(
        ax, days.size * len(cubes), columns=len(cubes), aspect=_aspect(first), lines=2, extra=0.7
    )
    for row, day in zip(axes.reshape(days.size, -1), days, strict=True):
        images = {w: _on(c, day) for w, c in cubes.items()}
        _draw_before_after(row, images, shown, str(day))
    draw.scale_bar(axes[0], first)
    under = axes[(days.size - 1) * len(cubes)]
    method = _method(cubes["after"])
    edge = draw.outline(under, np.zeros((2, 2), bool))
    unit = "" if truth is None else f"; RMSE: {quantity_of(first.cube, first.values)}"
    draw.note(
        under, _words(shown, method) + unit,
        {"missing": draw.patch(str(draw.MISSING)), "edge of what was filled": edge},
    )  # fmt: skip
    return axes


def _on(cube: Cube, day: np.datetime64) -> Images:
    """Return all bands of a cube on a day."""
    return read_images(cube, [on_day(cube, day)], range(len(cube.bands)))


def _draw_before_after(
    axes: np.ndarray, images: Mapping[str, Images], shown: Composite, day: str
) -> None:
    """Draw a row: a date before, after, and in truth."""
    first = images["before"].cube.bands
    picked = {
        w: _channels(i)[0][..., [i.cube.bands.index(first[b]) for b in shown.bands]]
        for w, i in images.items()
    }
    low, high = limits_of([picked.get("truth", picked["after"])], shown.natural)
    gone = np.isnan(images["before"].values[0])
    titles = {
        "before": f"{day}\n{1 - gone.any(axis=0).mean():.0%} clear",
        "after": f"filled\n{_gap_error(images, gone)}".strip(), "truth": "truth",
    }  # fmt: skip
    for axis, (what, picture) in zip(axes, picked.items(), strict=True):
        draw.show(axis, picture, low, high)
        draw.titled(axis, titles[what])
        if what == "after":
            draw.outline(axis, gone.any(axis=0))


def _gap_error(images: Mapping[str, Images], gone: np.ndarray) -> str:
    """Return the error in the gaps in words; "" where no truth tells."""
    if "truth" not in images:
        return ""
    off = (images["after"].values[0] - images["truth"].values[0])[gone]
    off = off[~np.isnan(off)]
    return f"RMSE {np.sqrt((off**2).mean()):.4f} in gaps" if off.size else ""


def _half_clear(cube: Cube) -> np.datetime64:
    """Return the day that is nearest to half clear."""
    missing = read_missing(cube)[0].mean(axis=(1, 2))
    return np.datetime64(times_of(cube)[np.abs(missing - 0.5).argmin()], "D")


def uncertainty(
    result: xr.Dataset,
    *,
    time: DateLike | None = None,
    bands: Sequence[Hashable] | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw an estimate, its standard deviation, and what its pixels were made of.

    Parameters
    ----------
    result : Dataset
        What a verb returns with ``return_quality=True``: a variable, and beside it one whose name
        ends in ``_std`` and one that ends in ``_flag``.
    time : date, optional
        Which date. Default: the one whose standard deviation is the median of all dates'.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`; the standard deviation is the mean of all bands.
    ax : Axes or sequence of Axes, optional
        One axes is divided; of several there must be three.

    Returns
    -------
    ndarray of Axes
        Of the estimate, the standard deviation and the flag.

    Raises
    ------
    ValueError
        `result` lacks a standard deviation or a flag, or has no such date.
    TypeError
        `result` is no Dataset.
    ImportError
        matplotlib is missing.
    """
    parts = _parts_of_result(result)
    cubes = {ending: open_cube(parts[ending], what) for ending, what in _PARTS.items()}
    flags = _flag_values(parts["_flag"])
    at = _median_date(cubes["_std"]) if time is None else int(pick_dates(cubes[""], time, 1)[0])
    shown = composite_of(cubes[""], bands)
    estimate = read_images(cubes[""], [at], shown.bands)
    spread = read_images(cubes["_std"], [at], range(len(cubes["_std"].bands)))
    axes = draw.panels(ax, 3, columns=3, aspect=_aspect(estimate), extra=0.7, lines=2)
    low, high = limits_of(list(_channels(estimate)), shown.natural)
    draw.show(axes[0], _channels(estimate)[0], low, high)
    draw.titled(axes[0], f"estimate\n{estimate.dates[0]}".strip())
    draw.scale_bar(axes[0], estimate)
    method = _method(cubes[""])
    _draw_spread(axes[1], spread, quantity_of(cubes[""], estimate.values))
    flag = _flag_image(parts["_flag"], cubes[""], at, estimate.step)
    _draw_flags(axes[2], flag, flags)
    draw.note(axes[0], _words(shown, method), letters=draw.LETTERS // 3)
    return axes


_PARTS = {"": "result", "_std": "its standard deviation"}


def _parts_of_result(result: xr.Dataset) -> dict[str, Any]:
    """Return the estimate, the standard deviation and the flag of a result."""
    if not isinstance(result, xr.Dataset):
        raise TypeError(
            f"uncertainty takes a Dataset with a standard deviation and a flag, not "
            f"{type(result).__name__}; call the verb with return_quality=True"
        )
    names = [n for n in map(str, result.data_vars) if {f"{n}_std", f"{n}_flag"} <= {*result}]
    if not names:
        raise ValueError(
            f"result has {list(result.data_vars)}, and none with both _std and _flag beside it; "
            "call the verb with return_quality=True"
        )
    if len(names) == 1:
        return {ending: result[names[0] + ending] for ending in ("", "_std", "_flag")}
    estimate = result[names]
    std = result[[f"{n}_std" for n in names]].rename({f"{n}_std": n for n in names})
    flags = [result[f"{n}_flag"] for n in names]
    flag = xr.concat(flags, "band", combine_attrs="override").max("band", keep_attrs=True)
    return {"": estimate, "_std": std, "_flag": flag}


def _flag_values(flag: xr.DataArray) -> dict[int, str]:
    """Return what each value of a flag means."""
    values, meanings = flag.attrs.get("flag_values"), flag.attrs.get("flag_meanings")
    if values is None or meanings is None:
        raise ValueError(f"{flag.name} says not what its values mean: it lacks flag_meanings")
    return {int(v): m for v, m in zip(np.atleast_1d(values), str(meanings).split(), strict=True)}


def _median_date(std: Cube) -> int:
    """Return the date of median spread, of those with any."""
    step = max(1, max(std.data.shape[-2:]) // 100)
    values = np.asarray(std.data[..., ::step, ::step], np.float64)
    seen = np.isfinite(values)
    count = seen.sum(axis=(1, 2, 3))
    mean = np.where(seen, values, 0).sum(axis=(1, 2, 3)) / np.maximum(count, 1)
    known = np.flatnonzero(count)
    return int(known[np.argsort(mean[known])[known.size // 2]]) if known.size else 0


def _flag_image(flag: xr.DataArray, cube: Cube, at: int, step: int) -> np.ndarray:
    """Return the flag of a date ``(y, x)``: of bands the one that is least like an observation."""
    time, band, y, x = cube.dims
    part = flag.isel({y: slice(None, None, step), x: slice(None, None, step)})
    if time in flag.dims:
        part = part.isel({time: at})
    if band is not None and band in part.dims:
        part = part.max([band])
    plain: np.ndarray = part.transpose(y, x).values
    rows = slice(None, None, -1 if cube.grid.dy > 0 else 1)
    columns = slice(None, None, -1 if cube.grid.dx < 0 else 1)
    return plain[rows, columns]


def _draw_spread(axis: Axes, spread: Images, quantity: str) -> None:
    values = spread.values[0]
    seen = ~np.isnan(values)
    mean = np.where(seen, values, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen.any(axis=0), mean, np.nan)
    known = mean[~np.isnan(mean)]
    top = float(np.percentile(known, 99)) if known.size else 1.0
    drawn = draw.paint(axis, mean, "cividis", 0.0, top)
    draw.titled(axis, "standard deviation\nmean of bands")
    draw.small_bar(drawn, axis, quantity)


def _draw_flags(axis: Axes, flag: np.ndarray, meanings: Mapping[int, str]) -> None:
    """Draw a flag in colours, with a legend."""
    from matplotlib.colors import to_rgb

    there = [v for v in meanings if (flag == v).any()]
    colours = {v: _FLAG_COLOURS.get(meanings[v], "0.4") for v in there}
    picture = np.full((*flag.shape, 3), draw.MISSING)
    for value, colour in colours.items():
        picture[flag == value] = to_rgb(colour)
    draw.bare(axis)
    axis.imshow(picture, interpolation="nearest")
    draw.titled(axis, "made of\n(flag)")
    entries = {meanings[v].replace("_", " "): draw.patch(colour) for v, colour in colours.items()}
    draw.note(axis, "", entries, stacked=True)


# --- what they share --------------------------------------------------------------------------


def _channels(images: Images) -> np.ndarray:
    """Return images as ``(date, y, x, channel)``."""
    return np.moveaxis(images.values, 1, -1)


def _aspect(images: Images) -> float:
    height, width = images.values.shape[-2:]
    return float(np.clip(height / width, 0.3, 2.0))


def _draw_row(
    axes: np.ndarray, sources: Sequence[Images], shown: Composite, titles: Sequence[str]
) -> Any:
    """Draw images, one an axes, stretched alike; return the last one drawn."""
    pictures = np.concatenate([_channels(images) for images in sources])
    low, high = limits_of(list(pictures), shown.natural)
    drawn = None
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        drawn = draw.show(axis, picture, low, high)
        draw.say_if_nothing(axis, picture)
        draw.titled(axis, title)
    return drawn


def _explain(axes: np.ndarray, images: Images, shown: Composite, drawn: Any, text: str) -> None:
    """Write the caption, the legend of missing pixels, and of one band a colour bar."""
    columns = draw.columns_of(len(axes))
    under = axes[(len(axes) - 1) // columns * columns]
    if images.step > 1:
        text += f"; every {_ordinal(images.step)} pixel"
    grey = {"missing": draw.patch(str(draw.MISSING))} if np.isnan(images.values).any() else {}
    draw.note(under, text, grey)
    if len(shown.bands) == 1:
        draw.colour_bar(drawn, list(axes), quantity_of(images.cube, images.values))


def _words(shown: Composite, method: str) -> str:
    """Return the caption of bands and the method that made them."""
    return ", ".join(words for words in (shown.text, f"by {method}" if method else "") if words)


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def _method(cube: Cube) -> str:
    """Return the name of the method that made a cube; "" where nothing tells."""
    arrays = [cube.source, *getattr(cube.source, "data_vars", {}).values()]
    said = next((str(a.attrs["stf_method"]) for a in arrays if "stf_method" in a.attrs), "")
    return said.split("(")[0]
