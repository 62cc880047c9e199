"""An evaluation as one HTML file that needs nothing else, and its numbers as JSON beside it."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import io
import json
import platform
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xstf import plot
from xstf.evaluate.ranking import rank, require_scores, sentences, verdict
from xstf.evaluate.result import MEANING
from xstf.files.beside import beside, check_place

_PACKAGES = ("xstf", "numpy", "xarray", "dask", "numba", "scipy", "pandas", "torch")
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
td:not(.words) { white-space: nowrap; }
tr.best td { font-weight: 600; } tr.alike td { background: #eef6f7; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption, .note { color: #555; font-size: .9rem; }
code { overflow-wrap: anywhere; }
"""
# Names of scores in tables of one row a method, in this order.
_COLUMNS = (
    "rmse", "mae", "bias", "cc", "psnr", "ssim", "uiqi", "edge", "sam", "ergas", "q2n", "coverage",
    "interval_score", "consistency", "left", "seconds",
)  # fmt: skip
_MOST_ROWS = 400
_HOW_TO_READ = (
    "Something that was observed was hidden, or a truth was known; every method estimated it "
    "without seeing it, and this file says how far off each was. The trivial methods "
    "(unchanged, delta, nearest, linear, interpolated) show what a method wins at all.",
    "RMSE is the usual size of an error, in the unit of the data; bias is the mean error. CC, "
    "SSIM, UIQI and Q2n are 1 where estimate and truth agree; SAM is the angle between "
    "spectra, ERGAS the error relative to the brightness. Edge is below 0 where edges are "
    "blurred, and above 0 where they are too strong: a smooth picture can have a small RMSE "
    "and be of no use for the borders of fields.",
    "Errors of neighbouring pixels are alike, so that millions of pixels say less than they "
    "seem to. Intervals come from whole blocks of pixels, and dates, that are drawn again and "
    "again. A method with “no clear difference” may be as good as the best one: choose it for "
    "its speed or for its own intervals, or try more dates.",
    "Coverage is the share of the truth inside each method's own 90 % intervals: 0.9 is "
    "right, less means that they are too narrow. It is empty for methods without intervals.",
    "The figures hold for this place, these dates and this kind of gap. Of a large scene its "
    "middle was scored.",
)


def report(
    scores: xr.Dataset, path: str | PathLike[str], *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write an evaluation as one HTML file, and its numbers as JSON beside it.

    The file needs no network and no other file: tables, pictures, parameters, versions, and how to
    read it.

    Parameters
    ----------
    scores : Dataset
        Of an evaluation: :func:`xstf.evaluate_fusion` and its like, or :func:`xstf.score`.
    path : path
        Ending in ``.html``; the JSON file has the same name and ``.json``.
    overwrite : bool
        Whether both may be there already.

    Returns
    -------
    html, json : Path

    Raises
    ------
    ValueError
        Not the scores of an evaluation; another ending.
    OSError
        A file is there already, or cannot be written.

    Notes
    -----
    Without matplotlib there are no pictures, which the file says.

    Examples
    --------
    >>> import tempfile, xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> scores = xstf.evaluate_fusion(fine, coarse, methods=["starfm"], time=fine.time[1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page, numbers = xstf.report(scores, f"{folder}/starfm.html")
    ...     page.name, numbers.name
    ('starfm.html', 'starfm.json')
    """
    require_scores(scores)
    page = check_report(path, overwrite=overwrite)
    numbers = page.with_suffix(".json")
    text = page_of(scores)
    data = json.dumps(numbers_of(scores), indent=1, allow_nan=False)
    for place, written in ((page, text), (numbers, data)):
        with beside(place) as there:
            there.write_text(written, encoding="utf-8")
    return page, numbers


def check_report(path: str | PathLike[str], *, overwrite: bool) -> Path:
    """Return the place of a report; raise where it cannot be written."""
    page = Path(path)
    if page.suffix.lower() != ".html":
        raise ValueError(f"{page}: a report goes to a .html file")
    for place in (page, page.with_suffix(".json")):
        check_place(place, overwrite=overwrite)
    return page


# --- numbers ----------------------------------------------------------------------------------


def numbers_of(scores: xr.Dataset) -> dict[str, Any]:
    """Return an evaluation as JSON has it: the ranking, every score, parameters, versions."""
    table = rank(scores)
    return {
        "title": scores.attrs["title"],
        "protocol": scores.attrs["stf_protocol"],
        "blocks": scores.attrs["stf_blocks"],
        "said": list(sentences(scores, table)),
        "rank": _plain([{"method": name, **row} for name, row in table.to_dict("index").items()]),
        "scores": {
            str(name): {"dims": list(map(str, v.dims)), "values": _plain(v.values.tolist()), **{
                key: v.attrs[key] for key in ("long_name", "units") if key in v.attrs}}
            for name, v in scores.data_vars.items() if not str(name).startswith("block_")
        },
        "labels": {str(d): [str(v) for v in scores[d].values] for d in scores.dims
                   if d in scores.coords},
        "parameters": dict(zip(
            map(str, scores["method"].values), map(str, scores["parameters"].values), strict=True
        )),
        "options": json.loads(scores.attrs["stf_options"]),
        "seed": int(scores.attrs["stf_seed"]),
        "versions": versions(),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    found = {"python": f"{platform.python_version()} on {platform.platform()}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _plain(value: Any) -> Any:
    """Return values as JSON has them: None for what is no number."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.number):
        number = float(value)
        return number if np.isfinite(number) else None
    return None if value is None else str(value)


# --- the page ---------------------------------------------------------------------------------


def page_of(scores: xr.Dataset) -> str:
    """Return the whole file."""
    table = rank(scores)
    said = "".join(f"<li>{_text(s)}.</li>" for s in sentences(scores, table))
    parts = [
        f"<h1>{_text(scores.attrs['title'])}</h1>",
        f"<p>{_text(scores.attrs['stf_protocol'])}.</p>",
        f"<section id='result'><h2>Which method</h2><ul>{said}</ul>{_ranking(table)}"
        f"<p class='note'>{_text(scores.attrs['stf_blocks'])}.</p></section>",
        _pictures(scores),
        _section("scores", "All scores", _scores(scores)),
    ]
    for dim, title in (("regime", "By kind of gap"), ("time", "By date"), ("band", "By band"),
                       ("class", "By land-cover class")):  # fmt: skip
        if scores.sizes.get(dim, 0) > 1:
            parts.append(_section(f"by-{dim}", title, _by(scores, dim)))
    if "covered" in scores:
        parts.append(_section("calibration", "Whether intervals are honest", _calibration(scores)))
    parts += [
        _section("how", "How to read this", "".join(f"<p>{_text(t)}</p>" for t in _HOW_TO_READ)),
        _section("parameters", "Parameters", _parameters(scores)),
        _section("versions", "Versions", _pairs(versions())),
    ]
    body = "\n".join(parts)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"
        f"<title>{_text(scores.attrs['title'])}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _section(name: str, title: str, body: str) -> str:
    return f"<section id='{name}'><h2>{_text(title)}</h2>{body}</section>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _ranking(table: pd.DataFrame) -> str:
    """Return the ranking as a table: score, interval, difference with its interval, in words."""
    metric = table.columns[0]
    head = ["method", metric, "95 % interval", "difference to the best", "its interval", "verdict"]
    more = [name for name in ("left", "seconds") if name in table]
    rows, kinds = [], []
    for i, (name, row) in enumerate(table.iterrows()):
        words = verdict(row, i == 0)
        kinds.append({"best": "best", "no clear difference": "alike"}.get(words, ""))
        rows.append([
            str(name), _number(row[metric]), _span(row["low"], row["high"]),
            _number(row["difference"]) if i else "–",
            _span(row["difference_low"], row["difference_high"]) if i else "–", words,
            *(_number(row[one]) for one in more),
        ])  # fmt: skip
    return _table([*head, *more], rows, kinds)


def _table(head: list[str], rows: list[list[str]], kinds: list[str] | None = None) -> str:
    top = "".join(f"<th>{_text(one)}</th>" for one in head)
    lines = []
    for i, row in enumerate(rows[:_MOST_ROWS]):
        kind = f" class='{kinds[i]}'" if kinds and kinds[i] else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>")
    left = len(rows) - _MOST_ROWS
    note = f"<p class='note'>{left} more rows are in the JSON file.</p>" if left > 0 else ""
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>{note}"


def _number(value: Any) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.4g}"


def _span(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}" if np.isfinite(low) else "–"


def _scores(scores: xr.Dataset) -> str:
    """Return the means of every score over all but the method."""
    names = [name for name in _COLUMNS if name in scores]
    rows = []
    for method in scores["method"].values:
        one = scores.sel({"method": method})
        rows.append([str(method), *(_number(float(one[name].mean())) for name in names)])
    meaning = "; ".join(_meaning(name, scores) for name in names)
    return _table(["method", *names], rows) + (
        f"<p class='note'>Means over dates and bands. {_text(meaning)}.</p>"
    )


def _meaning(name: str, scores: xr.Dataset) -> str:
    unit = scores[name].attrs.get("units")
    return f"{name}: {MEANING[name][0]}" + (f", {unit}" if unit and unit != "1" else "")


def _by(scores: xr.Dataset, dim: str) -> str:
    """Return the RMSE of each method by the labels of a dim, with what is clearly worse marked."""
    table = rank(scores, by=dim)
    methods = [str(m) for m in scores["method"].values]
    rows = []
    for label in dict.fromkeys(table.index.get_level_values(0)):
        part = table.loc[label]
        cells = []
        for method in methods:
            row = part.loc[method]
            best = method == part.index[0]
            mark = {"best": " ★", "no clear difference": " ≈"}.get(verdict(row, best), "")
            found = np.isfinite(row["rmse"])
            cells.append(_number(row["rmse"]) + (mark if found else ""))
        rows.append([_label(label), *cells])
    return _table([dim, *methods], rows) + (
        "<p class='note'>RMSE; ★ the best, ≈ no clear difference to it.</p>"
    )


def _label(value: object) -> str:
    return str(value)[:16].removesuffix("T00:00").removesuffix(" 00:00")


def _calibration(scores: xr.Dataset) -> str:
    covered = scores["covered"]
    mean = covered.mean([d for d in covered.dims if d not in ("method", "level")])
    rows = [
        [str(m), *(_number(float(v)) for v in mean.sel({"method": m}))]
        for m in mean["method"].values
    ]
    head = ["should hold", *(f"{level:.2g}" for level in mean["level"].values)]
    return _table(head, [row for row in rows if any(cell != "–" for cell in row[1:])])


def _parameters(scores: xr.Dataset) -> str:
    names = zip(scores["method"].values, scores["parameters"].values, strict=True)
    options = {k: v for k, v in json.loads(scores.attrs["stf_options"]).items() if v is not None}
    return _pairs(
        {str(n): str(p) for n, p in names}
        | {"options of the call": json.dumps(options), "seed": scores.attrs["stf_seed"]}
    )


def _pairs(found: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_text(k)}</td><td class='words'><code>{_text(v)}</code></td></tr>"
        for k, v in found.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


# --- pictures ---------------------------------------------------------------------------------


def _pictures(scores: xr.Dataset) -> str:
    """Return the section of the pictures that the scores allow."""
    if find_spec("matplotlib") is None:
        body = "<p class='note'>No pictures: matplotlib is not installed.</p>"
    else:
        body = "".join(_drawn(scores))
    return _section("pictures", "Pictures", body)


def _drawn(scores: xr.Dataset) -> Iterator[str]:
    """Return each picture as a part of the file."""
    wanted: tuple[tuple[str, Callable[..., Any], str, str], ...] = (
        (
            "rank", plot.rank, "rmse",
            "Error of each method, with its interval. Where intervals overlap the table may still "
            "tell methods apart: it compares them place by place",
        ),
        ("apa", plot.apa, "edge", "Error against edges: the best place is the lower middle"),
        (
            "calibration", plot.calibration, "covered",
            "What each method's own intervals hold, against what they should",
        ),
    )  # fmt: skip
    for name, draw, needs, caption in wanted:
        if needs not in scores:
            continue
        has = scores[needs].notnull()
        some = has.any([d for d in has.dims if d != "method"]).values
        if not bool(has.isel(method=some).all("method").any()):
            yield f"<p class='note'>No picture of {needs}: nothing was scored of all methods.</p>"
        else:
            shown = scores.isel(method=some)
            yield (
                f"<figure id='picture-{name}'><img alt='{_text(caption)}' "
                f"src='data:image/png;base64,{_png(draw, shown)}'>"
                f"<figcaption>{_text(caption)}.</figcaption></figure>"
            )


def _png(draw: Callable[..., Any], scores: xr.Dataset) -> str:
    """Return a picture as text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    draw(scores, ax=figure.add_subplot())
    out = io.BytesIO()
    figure.savefig(out, dpi=110, format="png")
    return base64.b64encode(out.getvalue()).decode("ascii")
