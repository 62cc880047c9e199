"""Pictures of scores: which method, how sure that is, how honest intervals are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xstf.cubes.words import unknown
from xstf.plot import drawing as draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How each score is called, and whether more of it is better.
_NAMES = {
    "rmse": ("RMSE", False), "mae": ("mean absolute error", False), "bias": ("|bias|", False),
    "cc": ("correlation", True), "sam": ("spectral angle, °", False), "ssim": ("SSIM", True),
    "psnr": ("PSNR, dB", True), "ergas": ("ERGAS, %", False), "uiqi": ("UIQI", True),
    "q2n": ("Q2n", True), "interval_score": ("interval score", False), "edge": ("|edge|", False),
    "seconds": ("seconds", False),
}  # fmt: skip
_WAYS = ("method", "way")
_PLURALS = {"time": "dates", "class": "classes"}
_SIGNED = ("bias", "edge")  # 0 is best
_ROW = 0.3  # inches of a method's row


def rank(scores: xr.Dataset, metric: str = "rmse", *, ax: Axes | None = None) -> Axes:
    """Draw the methods of an evaluation, best first, with their intervals.

    The mark is the mean over the dates, bands and classes that all methods have a score of. Where
    `scores` has intervals the line spans the mean of their ends, and methods whose interval reaches
    that of the best are drawn in its colour: that picture alone does not tell them apart.

    Parameters
    ----------
    scores : Dataset
        What an evaluation returns: the variable `metric` with a dim ``method`` and any others; if
        there are any, ``<metric>_low`` and ``<metric>_high`` beside it, in its unit.
    metric : str
        ``"rmse"``, ``"sam"``, ``"ssim"``, …; ``"bias"`` and ``"edge"`` as absolute values.
    ax : Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `scores` has no such metric, no dim ``method``, or no cell that all methods have.
    ImportError
        matplotlib is missing.

    Examples
    --------
    >>> import xarray as xr, xstf
    >>> rmse = xr.DataArray([0.012, 0.007], coords={"method": ["unchanged", "fsdaf"]})
    >>> axis = xstf.plot.rank(xr.Dataset({"rmse": rmse}))
    >>> [text.get_text() for text in axis.get_yticklabels()]
    ['fsdaf', 'unchanged']
    """
    names, values, cells = _means(scores, metric, (metric,))
    text, more = _called(scores[metric])
    middle = values[metric]
    low, high = _interval(scores, metric)
    order = np.argsort(-middle if more else middle, kind="stable")
    best = order[0]
    near = (low <= high[best]) & (high >= low[best])
    axis: Axes = draw.panels(ax, 1, columns=1, aspect=0, extra=0.9 + _ROW * len(names))[0]
    for row, n in enumerate(order):
        colour = draw.ACCENT if near[n] else "0.45"
        axis.plot([low[n], high[n]], [row, row], color=colour, linewidth=2.2, alpha=0.6)
        axis.plot(middle[n], row, "o", color=colour, markersize=7)
    axis.set_yticks(range(len(names)), [names[n] for n in order])
    axis.set_ylim(len(names) - 0.5, -0.5)
    draw.plain(axis)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.locator_params(axis="x", nbins=6)
    axis.set_title(f"{text}, {'higher' if more else 'lower'} is better", fontsize=draw.TITLE)
    said = _said(cells, bool((high > low).any()), int(near.sum()))
    axis.set_xlabel(said, fontsize=draw.TEXT, loc="left")
    return axis


def _called(score: xr.DataArray) -> tuple[str, bool]:
    """Return what a score is called, with its unit, and whether more of it is better."""
    text, more = _NAMES.get(str(score.name), (str(score.name), False))
    unit = str(score.attrs.get("units", ""))
    return text if unit in ("", "1") else f"{text} ({unit})", more


def _said(cells: str, intervals: bool, near: int) -> str:
    """Return the caption of a ranking."""
    if not intervals:
        return f"mean of {cells}; no intervals, so small differences may be noise"
    told = "no other reaches its interval" if near == 1 else "in its colour: intervals overlap"
    return f"mean of {cells}; lines: 95 % intervals\nbest first; {told}"


def calibration(scores: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how often the truth is within an estimate's intervals, against how often it should be.

    On the diagonal intervals are honest; below it they are too narrow, above it too wide.

    Parameters
    ----------
    scores : Dataset
        ``covered``, a share of 0 to 1, with a dim ``level`` (the share that should be covered, 0 to
        1); other dims but ``method`` are averaged.
    ax : Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `scores` has no ``covered`` with a dim ``level``.
    ImportError
        matplotlib is missing.
    """
    covered = _variable(scores, "covered")
    if "level" not in covered.dims or "level" not in covered.coords:
        raise ValueError(f"covered needs a dim and coordinate 'level'; it has {covered.dims}")
    way = next((d for d in _WAYS if d in covered.dims), None)
    kept: list[Hashable] = ["level", *([] if way is None else [way])]
    mean = covered.mean([d for d in covered.dims if d not in kept]).transpose(*kept)
    axis: Axes = draw.panels(ax, 1, columns=1, aspect=0.75, lines=1, extra=0.5)[0]
    levels = 100 * np.asarray(mean["level"].values, float)
    axis.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--")
    axis.fill_between([0, 100], [0, 100], 0, color="#d95f02", alpha=0.06, linewidth=0)
    lines = mean.values.reshape(levels.size, -1).T
    names = ["truth"] if way is None else [str(n) for n in mean[way].values]
    for n, (name, line) in enumerate(zip(names, lines, strict=True)):
        axis.plot(levels, 100 * line, marker="os^Dv<>P"[n % 8], markersize=5, label=name)
    axis.set(xlim=(0, 100), ylim=(0, 100))
    axis.text(97, 4, "intervals too narrow", ha="right", fontsize=draw.TEXT, color="0.35")
    axis.text(3, 94, "too wide", fontsize=draw.TEXT, color="0.35", va="top")
    axis.set_xlabel("share of the truth that should be inside, %", fontsize=draw.TEXT)
    axis.set_ylabel("share that is, %", fontsize=draw.TEXT)
    axis.set_title("how honest the intervals are", fontsize=draw.TITLE)
    draw.plain(axis)
    if way is not None:
        _beside(axis)
    return axis


def _beside(axis: Axes) -> None:
    axis.legend(
        frameon=False, fontsize=draw.TEXT, loc="upper left", bbox_to_anchor=(1.0, 1.0),
        handlelength=1.4,
    )  # fmt: skip


def apa(scores: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw error against edge preservation, the all-round performance assessment of [1]_.

    One number does not tell a method that is right on average and blurs every field from one that
    is sharp. Down is less error; left of the line edges are blurred, right of it they are stronger
    than the truth's (noise, artefacts). The best place is where the line meets the axis.

    Parameters
    ----------
    scores : Dataset
        ``rmse``, in the data's unit, and ``edge``, the mean of (edge of the estimate - edge of the
        truth) / (their sum), -1 to 1, both with a dim ``method``; means over other dims are drawn.
    ax : Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        `scores` lacks ``rmse`` or ``edge``, a dim ``method``, or a cell that all methods have.
    ImportError
        matplotlib is missing.

    References
    ----------
    .. [1] Zhu, X., Zhan, W., Zhou, J., Chen, X., Liang, Z., Xu, S., & Chen, J. (2022). A novel
       framework to assess all-round performances of spatiotemporal fusion models. Remote Sensing
       of Environment, 274, 113002. https://doi.org/10.1016/j.rse.2022.113002
    """
    names, values, cells = _means(scores, "rmse", ("rmse", "edge"), signed=True)
    error, edge = values["rmse"], values["edge"]
    axis: Axes = draw.panels(ax, 1, columns=1, aspect=0.7, lines=1, extra=0.7)[0]
    reach = max(1.4 * float(np.abs(edge).max()), 0.05)
    axis.axvline(0, color="0.7", linewidth=1)
    axis.plot(edge, error, "o", color=draw.ACCENT, markersize=7)
    axis.plot(0, 0, "*", color=draw.EDGE, markersize=14, clip_on=False, zorder=3)
    axis.set(xlim=(-reach, reach), ylim=(0, 1.12 * float(error.max()) or 1.0))
    axis.set_xlabel("← blurred    edges against the truth's    too strong →", fontsize=draw.TEXT)
    axis.set_ylabel(_called(scores["rmse"])[0], fontsize=draw.TEXT)
    axis.set_title(f"error against edges, mean of {cells}; best at the star", fontsize=draw.TITLE)
    draw.plain(axis)
    _label(axis, names, edge, error)
    return axis


def _label(axis: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """Write a name beside each point, where neither a point nor another name is; else with a line.

    Places are tried around the point, near ones first, in points of the figure as it is laid out.
    """
    figure: Any = axis.figure.canvas.figure  # not a part of one
    figure.draw_without_rendering()
    scale = 72 / axis.figure.dpi
    at = scale * axis.transData.transform(np.stack([x, y], axis=1))
    frame = scale * axis.get_window_extent().get_points()
    taken = [_box(point, 5, 5) for point in at]
    for n in np.argsort(y, kind="stable"):
        width, height = 0.62 * draw.TEXT * len(names[n]), 1.3 * draw.TEXT
        for radius, angle in _AROUND:
            across, up = radius * np.cos(angle), radius * np.sin(angle)
            centre = at[n] + (across + np.sign(np.round(across, 3)) * width / 2, up)
            box = _box(centre, width / 2, height / 2)
            if _inside(box, frame) and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        axis.annotate(
            names[n], (x[n], y[n]), xytext=centre - at[n], textcoords="offset points",
            fontsize=draw.TEXT, ha="center", va="center", annotation_clip=False,
            arrowprops=_LEADER if radius > _AROUND[0][0] + 4 else None,
        )  # fmt: skip


# Places of a name around its point: points from it, and the angle.
_AROUND = [(r, a * np.pi / 6) for r in range(8, 200, 6) for a in (0, 6, 1, 11, 5, 7, 3, 9, 2, 10)]
_LEADER = {"arrowstyle": "-", "color": "0.75", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}


def _box(
    centre: Sequence[float] | np.ndarray, half_width: float, half_height: float
) -> tuple[float, ...]:
    x, y = float(centre[0]), float(centre[1])
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return (
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    )  # fmt: skip


def _inside(box: Sequence[float], frame: np.ndarray) -> bool:
    return bool(
        box[0] >= frame[0, 0] and box[1] >= frame[0, 1] and box[2] <= frame[1, 0]
        and box[3] <= frame[1, 1]
    )  # fmt: skip


# --- what they share --------------------------------------------------------------------------


def _variable(scores: xr.Dataset, name: str) -> xr.DataArray:
    if not isinstance(scores, xr.Dataset) or name not in scores:
        have = [*scores.data_vars] if isinstance(scores, xr.Dataset) else []
        raise ValueError(unknown("score", name, have))
    return scores[name]


def _way(array: xr.DataArray) -> Hashable:
    way = next((d for d in _WAYS if d in array.dims), None)
    if way is None:
        raise ValueError(f"{array.name} needs a dim 'method'; it has {array.dims}")
    return way


def _means(
    scores: xr.Dataset, first: str, wanted: Sequence[str], *, signed: bool = False
) -> tuple[list[str], dict[str, np.ndarray], str]:
    """Return methods, the mean of some scores of each, and over what, in words.

    Only over cells of the first score that all methods have.
    """
    array = _variable(scores, first)
    way = _way(array)
    found = {}
    for name in wanted:
        one = _variable(scores, name)
        one = abs(one) if name in _SIGNED and not signed else one
        found[name] = _mean(one, way)
    names = [str(n) for n in array[way].values]
    sizes = [(n, _PLURALS.get(str(d), f"{d}s")) for d, n in array.sizes.items() if d != way]
    words = " × ".join(f"{n} {many}" for n, many in sizes if n > 1)
    return names, found, words or "one score"


def _mean(array: xr.DataArray, way: Hashable) -> np.ndarray:
    """Return the mean of each method over what all methods have."""
    both = array.notnull().all([way])
    if not bool(both.any()):
        raise ValueError(f"there is no {array.name} that all methods have; select some of them")
    others = [d for d in array.dims if d != way]
    return np.asarray(array.where(both).mean(others).values, float)


def _interval(scores: xr.Dataset, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of each method's interval; the score itself where there is none."""
    ends = [f"{metric}_low", f"{metric}_high"]
    if metric in _SIGNED or not set(ends) <= set(scores.data_vars):
        _, values, _ = _means(scores, metric, (metric,))
        return values[metric], values[metric]
    way = _way(scores[metric])
    return _mean(scores[ends[0]], way), _mean(scores[ends[1]], way)
