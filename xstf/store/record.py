"""What a store holds: of which method, parameters, weights and inputs; held against a result.

Three layers tell whether a result is the one that a store holds. The record, here: what it was made
with, the files it reads by name, size and time of change, arrays in memory by content, and the
steps (`xstf.store.steps`). Then dask's names of its arrays: where they are the same, so is the
result. They differ for the same work where a file was opened without chunks and chunked afterwards;
there some tiles are made again and held against those in the store (`xstf.store.again`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xstf.files.sources import is_remote, is_zarr, local_path, sources_of
from xstf.store.steps import are_other, steps_of

_TIMED = ("history", "stf_complete")  # when a result was made is not what it is
_SPLIT = re.compile(r"^(?P<name>\w+)\((?P<params>.*)\), xstf (?P<version>\S+)$", re.DOTALL)
# Of files that a text in a graph may name: others are logs and the like, which may change.
_DATA = {
    ".nc", ".nc4", ".cdf", ".h5", ".hdf", ".hdf5", ".tif", ".tiff", ".jp2", ".vrt", ".img", ".npy",
    ".npz", ".grib", ".grib2", ".parquet", ".safetensors", ".pt", ".pth",
}  # fmt: skip
_WORDS = {
    "method": "method", "params": "parameters", "version": "version of xstf", "weights": "weights",
    "sizes": "sizes", "chunks": "chunks", "dtypes": "types", "inputs": "inputs",
    "labels": "coordinates or attributes", "memory": "values of its inputs",
    "steps": "steps before or after the method",
}  # fmt: skip
_VAGUE = ("labels", "memory", "steps")


def record_of(dataset: xr.Dataset) -> dict[str, Any]:
    """Return what a result is, as JSON; the same in another process for the same result."""
    found: dict[str, Any] = {"format": 1, **_method(dataset)}
    found["sizes"] = {str(k): int(n) for k, n in dataset.sizes.items()}
    found["chunks"] = {
        str(n): [int(c[0]) for c in v.chunks] for n, v in dataset.data_vars.items() if v.chunks
    }
    found["dtypes"] = {str(n): str(v.dtype) for n, v in dataset.data_vars.items()}
    found["inputs"] = _inputs(dataset)
    found["labels"] = _labels(dataset)
    found["memory"] = _memory(dataset)
    found["steps"] = steps_of(dataset)
    plain: dict[str, Any] = json.loads(json.dumps(found, sort_keys=True))
    return plain


def names_of(dataset: xr.Dataset) -> dict[str, str]:
    """Return dask's names of the lazy arrays of a result."""
    return {str(n): str(v.data.name) for n, v in dataset.data_vars.items() if v.chunks}


def _method(dataset: xr.Dataset) -> dict[str, str]:
    attrs = [dataset.attrs, *(v.attrs for v in dataset.data_vars.values())]
    text = next((str(a["stf_method"]) for a in attrs if "stf_method" in a), "")
    weights = next((str(a["stf_weights"]) for a in attrs if "stf_weights" in a), "")
    parts = _SPLIT.match(text)
    if parts is None:
        return {"method": text, "params": "", "version": "", "weights": weights}
    name, params, version = parts["name"], parts["params"], parts["version"]
    return {"method": name, "params": params, "version": version, "weights": weights}


# --- inputs -----------------------------------------------------------------------------------


def _inputs(dataset: xr.Dataset) -> dict[str, str]:
    """Return the files that a result is read from, each with a token of its state."""
    found = {}
    for text in sorted(sources_of(dataset)):
        if is_remote(text):
            if not text.startswith("memory://"):
                found[text] = text
            continue
        path = local_path(text) if "\0" not in text else None
        if path is not None and _is_data(path):
            stamp = "\n".join([path.name, *_stamps(path)])
            found[str(path)] = hashlib.blake2b(stamp.encode(), digest_size=8).hexdigest()
    return found


def _is_data(path: Path) -> bool:
    try:
        there = path.exists()
    except OSError:  # a text that is no path
        return False
    return there and (path.suffix.lower() in _DATA or is_zarr(path))


def _stamps(path: Path) -> Iterator[str]:
    """Return what tells a file from itself after a change; of a store, of all its files."""
    files: Iterable[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_file():
            stat = file.stat()
            yield f"{file.relative_to(path).as_posix()} {stat.st_size} {stat.st_mtime_ns}"


def _labels(dataset: xr.Dataset) -> str:
    coords = {
        str(n): [list(map(str, c.dims)), tokenize(np.asarray(c.values)), _attrs(c.attrs)]
        for n, c in dataset.coords.items()
    }
    attrs = {
        str(n): [list(map(str, v.dims)), _attrs(v.attrs)] for n, v in dataset.data_vars.items()
    }
    return str(tokenize(json.dumps([coords, attrs, _attrs(dataset.attrs)], sort_keys=True)))


def _attrs(attrs: Mapping[Any, Any]) -> str:
    return str(sorted((str(k), str(v)) for k, v in attrs.items() if k not in _TIMED))


def _memory(dataset: xr.Dataset) -> str:
    """Return a token of the arrays in memory that are part of a result, by content."""
    tokens = set()
    for variable in dataset.data_vars.values():
        if not variable.chunks:
            tokens.add(str(tokenize(np.asarray(variable.values))))
            continue
        for layer in variable.data.dask.layers.values():
            if layer.is_materialized():
                tokens |= set(_arrays(layer))
    return str(tokenize(sorted(tokens)))


def _arrays(layer: Mapping[Any, Any]) -> Iterator[str]:
    """Return tokens of a layer that is an array cut into chunks."""
    for item in layer.values():
        value = getattr(item, "value", item)
        if not isinstance(value, np.ndarray):
            return
        yield str(tokenize(value))


# --- two of them ------------------------------------------------------------------------------


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return in words how two records differ, the most telling first; empty for the same result."""
    found, vague = [], []
    for key, word in _WORDS.items():
        old, new = there.get(key), here.get(key)
        if key == "inputs":
            old, new = _changed(old or {}, new or {})
        if old == new or (key == "steps" and not are_other(old, new)):
            continue
        if key in _VAGUE:
            vague.append(f"other {word}")
        else:
            found.append(f"{word} {_said(old)} there, {_said(new)} here")
    return found or vague


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the inputs of two records that are not in both; one that was moved is the same."""
    olds = sorted(p for p, token in old.items() if token not in new.values())
    news = sorted(
        p if p not in old else f"{p} (changed since)"
        for p, token in new.items() if token not in old.values()
    )  # fmt: skip
    return olds, news


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value not in ("", None) else "none"
