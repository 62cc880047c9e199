"""Rows of scores into a Dataset: one form for every verb."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstf._version import __version__
from xstf.evaluate.blocks import (
    LEVEL,
    Blocks,
    Cells,
    blocks_of,
    centres,
    interval_of_root,
    joined,
)
from xstf.evaluate.scoring import DIMS, LEVELS, Frame, Row
from xstf.methods.lookup import Trial

# What each result is called, and its unit; "" for that of the data.
MEANING: dict[str, tuple[str, str]] = {
    "rmse": ("root mean square error", ""),
    "rmse_low": ("lower end of the interval of the root mean square error", ""),
    "rmse_high": ("upper end of the interval of the root mean square error", ""),
    "mae": ("mean absolute error", ""),
    "bias": ("mean error", ""),
    "cc": ("correlation coefficient", "1"),
    "psnr": ("peak signal-to-noise ratio", "dB"),
    "ssim": ("structural similarity", "1"),
    "uiqi": ("universal image quality index", "1"),
    "edge": ("relative difference of edge strength", "1"),
    "sam": ("spectral angle", "degree"),
    "ergas": ("relative global error", "%"),
    "q2n": ("quality index of all bands", "1"),
    "coverage": ("share of values inside the 90 % interval", "1"),
    "covered": ("share of values inside intervals made to hold `level`", "1"),
    "interval_score": ("interval score of the 90 % interval", ""),
    "left": ("share of the compared pixels that have no estimate", "1"),
    "seconds": ("wall time", "s"),
    "consistency": ("root mean square of what is lost of the coarse input", ""),
    "block_pixels": ("compared values in a block", "1"),
    "block_squares": ("sum of squared errors in a block", ""),
    "block_absolutes": ("sum of absolute errors in a block", ""),
    "block_intervals": ("sum of interval scores in a block", ""),
    "rmse_by_class": ("root mean square error", ""),
    "mae_by_class": ("mean absolute error", ""),
    "bias_by_class": ("mean error", ""),
    "coverage_by_class": ("share of values inside the 90 % interval", "1"),
    "pixels_by_class": ("compared values", "1"),
}
# Always there; the others are left out where no method has a value.
_ALWAYS = ("rmse", "rmse_low", "rmse_high", "mae", "bias", "cc", "seconds")
NO_CLASS = "no class"


def assemble_scores(
    frame: Frame,
    rows: Sequence[Row],
    *,
    verb: str,
    protocol: str,
    methods: Mapping[str, str],
    dims: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    units: str = "",
    seed: int = 0,
) -> xr.Dataset:
    """Return the Dataset of an evaluation.

    Parameters
    ----------
    frame, rows
        What was compared.
    verb
        Whose methods were scored.
    protocol
        How, in a sentence.
    methods
        What each method is in full, by its label, in order.
    dims
        What names an image: the parts of each row's ``at``.
    options
        Arguments that the verb was called with.
    units
        Of the data.
    seed
        Of the draws of blocks.
    """
    labels = [list(dict.fromkeys(row.at[i] for row in rows)) for i in range(len(dims))]
    labels = [
        sorted(some) if dim == "time" else some for dim, some in zip(dims, labels, strict=True)
    ]
    names = [m for m in methods if any(row.method == m for row in rows)]
    table = {
        name: _filled(name, rows, names, labels)
        for name in DIMS
        if any(name in r.found for r in rows)
    }
    correlation = rows[0].correlation
    for row in rows[1:]:
        correlation = correlation + row.correlation
    cells = frame.cells
    blocks = blocks_of(correlation, cells)
    out, coords = _with_blocks(table, frame, cells, blocks, seed)
    lead = ("method", *dims)
    coords |= {"method": names, "band": list(frame.bands), "level": list(LEVELS)}
    coords |= dict(zip(dims, labels, strict=True))
    coords["parameters"] = ("method", [methods[m] for m in names])
    kept = {
        name: (lead + own, values) for name, (own, values) in out.items()
        if name in _ALWAYS or np.isfinite(values).any() or np.isinf(values).any()
    }  # fmt: skip
    found = xr.Dataset(kept)
    used = {k: v for k, v in coords.items() if isinstance(v, tuple) or k in found.dims}
    used = {k: v for k, v in used.items() if not isinstance(v, tuple) or v[0] in found.dims}
    found = found.assign_coords(used)
    for name in found.data_vars:
        long_name, unit = MEANING[str(name)]
        found[name].attrs = {"long_name": long_name} | (
            {"units": unit or units} if unit or units else {}
        )
    found.attrs = {
        "title": f"xstf: scores of {'a result' if verb == 'score' else verb}",
        "stf_scores": verb,
        "stf_protocol": protocol,
        "stf_blocks": said_of_blocks(blocks, found.sizes["block"]),
        "stf_options": json.dumps({k: _plain(v) for k, v in (options or {}).items()}),
        "stf_seed": seed,
        "stf_version": f"xstf {__version__}",
    }
    return found


def _plain(value: object) -> object:
    """Return an option as JSON has it: cubes by their kind and sizes."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, xr.DataArray | xr.Dataset):
        return f"{type(value).__name__} {dict(value.sizes)}"
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value)


def said_of_blocks(blocks: Blocks, count: int) -> str:
    """Return in words what intervals stand on."""
    text = (
        f"{100 * LEVEL:.0f} % intervals from {count} blocks of {blocks.side} pixels a side; errors "
        f"are correlated over {blocks.length:.1f} pixels"
    )
    if blocks.capped:
        text += ", too far for blocks of this image to be independent: intervals are too narrow"
    return text


def in_full(trial: Trial) -> str:
    """Return a method with its parameters, those that were given and the others' defaults."""
    params = trial.record.params(**trial.params)
    listed = ", ".join(f"{name}={value!r}" for name, value in vars(params).items())
    return f"{trial.record.name}({listed})"


# --- arrays -----------------------------------------------------------------------------------


def _filled(
    name: str, rows: Sequence[Row], methods: Sequence[str], labels: Sequence[Sequence[Any]]
) -> np.ndarray:
    """Return a result of all rows as one array, NaN where there is none."""
    shape = next(np.shape(row.found[name]) for row in rows if name in row.found)
    out = np.full((len(methods), *map(len, labels), *shape), np.nan)
    for row in rows:
        if name in row.found:
            at = [some.index(one) for some, one in zip(labels, row.at, strict=True)]
            out[(methods.index(row.method), *at)] = row.found[name]
    return out


def _with_blocks(
    table: Mapping[str, np.ndarray], frame: Frame, cells: Cells, blocks: Blocks, seed: int
) -> tuple[dict[str, tuple[tuple[str, ...], np.ndarray]], dict[str, Any]]:
    """Return all results with their dims, and the coordinates of blocks and classes."""
    out = {n: (DIMS[n], v) for n, v in table.items() if not n.startswith(("cell_", "class_"))}
    sums = {
        n.removeprefix("cell_"): joined(np.nan_to_num(v), cells, blocks)
        for n, v in table.items() if n.startswith("cell_")
    }  # fmt: skip
    # Nothing was compared where there is no row, and without a standard deviation no interval.
    lacks = {n.removeprefix("cell_"): np.isnan(v).all(axis=-1) for n, v in table.items()
             if n.startswith("cell_")}  # fmt: skip
    whole = {n: v.sum(axis=-2) for n, v in sums.items()}
    half = interval_of_root(whole["squares"], whole["pixels"], seed)
    rmse = table["rmse"]
    out["rmse_low"] = (("band",), np.maximum(rmse - half, 0))
    out["rmse_high"] = (("band",), rmse + half)
    rows, columns = centres(cells, blocks, len(frame.y), len(frame.x))
    coords: dict[str, Any] = {
        "block_y": ("block", np.interp(rows, np.arange(len(frame.y)), frame.y)),
        "block_x": ("block", np.interp(columns, np.arange(len(frame.x)), frame.x)),
    }
    if frame.classes is None:
        for name, values in whole.items():
            nothing = lacks[name][..., 0, None]
            out[f"block_{name}"] = (("band", "block"), np.where(nothing, np.nan, values))
        return out, coords
    names = [*frame.classes.names, NO_CLASS]
    used = sums["pixels"].sum(axis=-1).reshape(-1, len(names)).sum(axis=0) > 0
    used[:-1] = True
    kept = np.flatnonzero(used)
    labels = [names[i] for i in kept]
    coords["class"] = [str(v) for v in labels] if NO_CLASS in labels else labels
    for name, values in sums.items():
        block = np.where(lacks[name][..., None], np.nan, values)[..., kept, :]
        out[f"block_{name}"] = (("band", "class", "block"), block)
    return out | _by_class(sums, table, kept), coords


def _by_class(
    sums: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray], kept: np.ndarray
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return means over the pixels of each class."""
    pixels = sums["pixels"].sum(axis=-1)[..., kept]
    some = np.where(pixels > 0, pixels, np.nan)
    found = {
        "rmse": np.sqrt(sums["squares"].sum(axis=-1)[..., kept] / some),
        "mae": sums["absolutes"].sum(axis=-1)[..., kept] / some,
        "bias": table["class_errors"][..., kept] / some,
        "pixels": pixels,
    }
    if "class_within" in table:
        found["coverage"] = table["class_within"][..., kept] / some
    return {f"{name}_by_class": (("band", "class"), values) for name, values in found.items()}
