"""Which method is best, and which differences are larger than their noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xstf.cubes.words import unknown
from xstf.evaluate.blocks import LEVEL, drawn, widening

# Of these there are sums over blocks; the square root of the first is taken.
_SUMS = {"rmse": "block_squares", "mae": "block_absolutes", "interval_score": "block_intervals"}
# Higher is better; of the others lower is, of these two the absolute value.
_HIGHER = ("cc", "psnr", "ssim", "uiqi", "q2n")
_SIGNED = ("bias", "edge")
_OTHERS = ("sam", "ergas", "consistency", "seconds", "left")
METRICS = (*_SUMS, *_HIGHER, *_SIGNED, *_OTHERS)


def rank(scores: xr.Dataset, metric: str = "rmse", *, by: str | None = None) -> pd.DataFrame:
    """Return the methods of an evaluation, the best first, and which are clearly worse.

    Parameters
    ----------
    scores : Dataset
        Of an evaluation: :func:`xstf.evaluate_fusion` and its like, or :func:`xstf.score`.
    metric : str
        One of its variables. ``rmse``, ``mae`` and ``interval_score`` have intervals. The absolute
        value counts of ``bias`` and ``edge``.
    by : {"time", "band", "regime", "class"}, optional
        A table for each date, band, regime or class instead of one over all.

    Returns
    -------
    pandas.DataFrame
        By method, with `by` by its label and method: the metric; ``low`` and ``high``, its 95 %
        interval; ``difference`` to the best, the worse the larger, with ``difference_low`` and
        ``difference_high``; ``significant``, whether that is more than its noise: a method with
        False may be as good as the best. Metrics without intervals have NaN for them and None for
        ``significant``. ``left`` and ``seconds`` as in the scores.

    Raises
    ------
    ValueError
        Not the scores of an evaluation; a metric or a dim that they do not have.

    Notes
    -----
    A score is pooled over dates and pixels band by band, and averaged over bands. Intervals come
    from blocks of pixels, and dates, that are drawn again (:mod:`xstf.evaluate.blocks`), alike for
    all methods, so that what makes a place difficult for each of them is no noise of a difference.
    The intervals of the differences hold 95 % together: the more methods, the wider.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> scores = xstf.evaluate_fusion(fine, coarse, methods=["starfm"], time=fine.time[1])
    >>> list(xstf.rank(scores).columns[:3])
    ['rmse', 'low', 'high']
    """
    require_scores(scores)
    if metric not in METRICS or metric not in scores:
        raise ValueError(unknown("metric", metric, [m for m in METRICS if m in scores]))
    if by is None:
        return _table(scores, metric)
    dims = [d for d in ("time", "band", "regime", "class") if d in scores.dims]
    if by not in dims:
        raise ValueError(unknown("dim to rank by", by, dims))
    parts = {label: _table(scores.sel({by: [label]}), metric) for label in scores[by].values}
    together: pd.DataFrame = pd.concat(parts, names=[by])
    return together


def require_scores(scores: object) -> None:
    """Raise if this is not what an evaluation returns."""
    if not is_scores(scores):
        raise ValueError(
            "rank takes the scores of an evaluation, such as cube.stf.evaluate_gapfill() or "
            "result.stf.score(truth) return them"
        )


def is_scores(cube: object) -> bool:
    """Return whether this is what an evaluation returns."""
    return isinstance(cube, xr.Dataset) and "stf_scores" in cube.attrs and "method" in cube.dims


def _table(scores: xr.Dataset, metric: str) -> pd.DataFrame:
    names = scores["method"].values.tolist()
    columns: dict[str, Any]
    if _SUMS.get(metric, "") in scores:
        columns = _with_intervals(scores, metric)
    else:
        value = scores[metric]
        if metric in _SIGNED:
            value = abs(value)
        flat = value.mean([d for d in value.dims if d != "method"]).values
        nothing = np.full(len(names), np.nan)
        worse = flat.max() - flat if metric in _HIGHER else flat - flat.min()
        columns = {
            metric: flat, "low": nothing, "high": nothing, "difference": worse,
            "difference_low": nothing, "difference_high": nothing, "significant": None,
        }  # fmt: skip
    table = pd.DataFrame(columns, index=pd.Index(names, name="method"))
    for more in ("left", "seconds"):
        if more in scores and more != metric:
            one = scores[more]
            table[more] = one.mean([d for d in one.dims if d != "method"]).values
    return table.sort_values("difference", kind="stable")


class _Sums(NamedTuple):
    """Sums over blocks, ``(method, image, band and class, block)``."""

    total: np.ndarray
    pixels: np.ndarray


def _sums(scores: xr.Dataset, name: str) -> _Sums:
    """Return sums with the dims that name an image joined; a value that is missing adds nothing."""
    pixels, total = scores["block_pixels"], scores[name]
    images = [d for d in total.dims if d not in ("method", "band", "class", "block")]
    order = ("method", *images, "band", *(["class"] if "class" in total.dims else []), "block")
    parts = []
    for one in (total, pixels.where(total.notnull())):
        values = np.nan_to_num(one.transpose(*order).values)
        if "class" in total.dims:  # bands are averaged, classes pooled
            values = values.sum(axis=-2)
        parts.append(values.reshape(values.shape[0], -1, *values.shape[-2:]))
    return _Sums(*parts)


def _with_intervals(scores: xr.Dataset, metric: str) -> dict[str, Any]:
    """Return a metric, its interval, its difference to the best, and whether that is clear."""
    sums = _sums(scores, _SUMS[metric])
    root = metric == "rmse"
    value = _pooled(sums.total.sum(axis=(1, 3)), sums.pixels.sum(axis=(1, 3)), root)
    drawn_scores = _draws(sums, int(scores.attrs.get("stf_seed", 0)), root)
    blocks = int((sums.pixels.sum(axis=(0, 1, 2)) > 0).sum())
    wide = float(widening(np.array(blocks)))
    off = wide * _deviation(drawn_scores)
    best = int(np.nanargmin(value)) if np.isfinite(value).any() else 0
    difference = value - value[best]
    apart = drawn_scores - drawn_scores[best]
    half = wide * _together(apart, difference) * _deviation(apart)
    low, high = difference - half, difference + half
    return {
        metric: value, "low": np.maximum(value - off, 0), "high": value + off,
        "difference": difference, "difference_low": low, "difference_high": high,
        "significant": [None if np.isnan(one) else bool(one > 0) for one in low],
    }  # fmt: skip


def _pooled(total: np.ndarray, pixels: np.ndarray, root: bool) -> np.ndarray:
    """Return means over pixels ``(method, band, …)``, averaged over the bands that have some."""
    mean = total / np.where(pixels > 0, pixels, np.nan)
    mean = np.sqrt(mean) if root else mean
    some = np.isfinite(mean).sum(axis=1)
    whole = np.where(np.isfinite(mean), mean, 0).sum(axis=1)
    return np.asarray(whole / np.where(some > 0, some, np.nan))


def _draws(sums: _Sums, seed: int, root: bool) -> np.ndarray:
    """Return the scores of each draw of blocks and of images, ``(method, draw)``."""
    images, blocks = sums.total.shape[1], sums.total.shape[3]
    of_blocks, of_images = drawn(blocks, seed), drawn(images, seed + 1)
    # (method, image, band, draw), then images are drawn, too
    total, pixels = (
        np.einsum("mibd,di->mbd", one @ of_blocks.T, of_images) for one in (sums.total, sums.pixels)
    )
    return _pooled(total, pixels, root)


def _deviation(draws: np.ndarray) -> np.ndarray:
    """Return the standard deviation over the draws that have a value."""
    some = np.isfinite(draws)
    count = np.maximum(some.sum(axis=1), 2)
    mean = np.where(some, draws, 0).sum(axis=1) / count
    squares = np.where(some, (draws - mean[:, None]) ** 2, 0).sum(axis=1)
    return np.asarray(np.sqrt(squares / (count - 1)))


def _together(apart: np.ndarray, difference: np.ndarray) -> float:
    """Return by what intervals of one difference are widened so that those of all hold together.

    The quantile of the largest standardised difference of a draw, over that of a single one.
    """
    spread = _deviation(apart)
    some = spread > 0
    if some.sum() < 2:
        return 1.0
    one = np.abs(apart[some] - difference[some, None]) / spread[some, None]
    one = one[:, np.isfinite(one).all(axis=0)]
    if not one.size:
        return 1.0
    single = float(np.mean([np.quantile(row, LEVEL) for row in one]))
    return max(1.0, float(np.quantile(one.max(axis=0), LEVEL)) / single)


def sentences(scores: xr.Dataset, table: pd.DataFrame) -> Sequence[str]:
    """Return what a ranking by RMSE says, in sentences."""
    best = table.iloc[0]
    metric = table.columns[0]
    said = [f"{table.index[0]} has {metric} {best[metric]:.4g}"]
    if len(table) > 1:
        said = [f"{table.index[0]} has the lowest {metric}, {best[metric]:.4g}"]
    unit = scores[metric].attrs.get("units")
    if unit and unit != "1":
        said[0] += f" {unit}"
    if np.isfinite(best["low"]):
        said[0] += f" ({best['low']:.4g} to {best['high']:.4g})"
    clear = dict(zip(map(str, table.index), table["significant"], strict=True))
    others = list(clear)[1:]
    alike = [n for n in others if clear[n] is not None and not clear[n]]
    worse = [n for n in others if clear[n]]
    if others and not np.isfinite(best["low"]):
        said.append("there are too few blocks of pixels to tell what is noise")
    elif alike:
        said.append(f"no clear difference to it: {', '.join(alike)}")
    if worse:
        said.append(f"clearly worse: {', '.join(worse)}")
    return said


def verdict(row: pd.Series, best: bool) -> str:
    """Return in words how a method compares with the best."""
    if best:
        return "best"
    if row["significant"] is None or pd.isna(row["significant"]):
        return "not tested"
    return "clearly worse" if row["significant"] else "no clear difference"


def described(scores: xr.Dataset) -> tuple[str, list[tuple[str, str]]]:
    """Return a title and rows on what an evaluation found; never raise."""
    title = str(scores.attrs.get("title", "xstf: scores"))
    try:
        table = rank(scores)
    except (ValueError, KeyError) as error:  # a part of the scores, such as one variable
        return title, [("cannot be ranked", str(error))]
    rows = []
    for i, (name, row) in enumerate(table.iterrows()):
        text = f"{table.columns[0]} {row.iloc[0]:.4g}"
        if np.isfinite(row["low"]):
            text += f" ({row['low']:.4g} to {row['high']:.4g})"
        words = f", {verdict(row, i == 0)}" if len(table) > 1 else ""
        rows.append((str(name), text + words))
    rows.append(("how", scores.attrs["stf_protocol"]))
    rows.append(("how sure", scores.attrs["stf_blocks"]))
    return title, rows
