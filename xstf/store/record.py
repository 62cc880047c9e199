"""What a store holds: of which method, parameters, weights and inputs; held against a result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xstf.files.sources import is_remote, is_zarr, local_path, sources_of
from xstf.store.canonical import Canon, file_stamp

_TIMED = ("history", "stf_complete")  # when a result was made is not what it is
_SPLIT = re.compile(r"^(?P<name>\w+)\((?P<params>.*)\), xstf (?P<version>\S+)$", re.DOTALL)
# Of files that a text in a graph may name: others are logs and the like, which may change. What
# xarray, zarr and rioxarray read is part of the work, whatever it is called.
_DATA = {
    ".nc", ".nc4", ".cdf", ".h5", ".hdf", ".hdf5", ".tif", ".tiff", ".jp2", ".vrt", ".img", ".npy",
    ".npz", ".grib", ".grib2", ".parquet", ".safetensors", ".pt", ".pth",
}  # fmt: skip
_WORDS = {
    "method": "method", "params": "parameters", "version": "version of xstf", "weights": "weights",
    "sizes": "sizes", "chunks": "chunks", "dtypes": "types", "inputs": "inputs",
    "labels": "coordinates and attributes", "work": "steps before or after the method, or values "
    "of its inputs",
}  # fmt: skip


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
    found["work"] = _work(dataset)
    plain: dict[str, Any] = json.loads(json.dumps(found, sort_keys=True))
    return plain


def _method(dataset: xr.Dataset) -> dict[str, str]:
    attrs = [dataset.attrs, *(v.attrs for v in dataset.data_vars.values())]
    text = next((str(a["stf_method"]) for a in attrs if "stf_method" in a), "")
    weights = next((str(a["stf_weights"]) for a in attrs if "stf_weights" in a), "")
    parts = _SPLIT.match(text)
    if parts is None:
        return {"method": text, "params": "", "version": "", "weights": weights}
    name, params, version = parts["name"], parts["params"], parts["version"]
    return {"method": name, "params": params, "version": version, "weights": weights}


def _inputs(dataset: xr.Dataset) -> dict[str, str]:
    """Return the files that a result is read from, each with a token of its state."""
    found = {}
    for text in sorted(sources_of(dataset)):
        if is_remote(text):
            if not text.startswith("memory://"):
                found[text] = text
            continue
        if "\0" in text:
            continue
        path = local_path(text)
        try:
            there = path.exists()
        except OSError:  # a text that is no path
            continue
        if there and (path.suffix.lower() in _DATA or is_zarr(path)):
            kept = hashlib.blake2b("\n".join(file_stamp(text)).encode(), digest_size=8)
            found[str(path)] = kept.hexdigest()
    return found


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


def _work(dataset: xr.Dataset) -> str:
    """Return a token of what makes a result: of some tiles what they do, of the rest the inputs."""
    tokens = []
    for name, variable in dataset.variables.items():
        data: Any = variable.data if variable.chunks else None
        if data is None:
            if name in dataset.data_vars:
                tokens.append(tokenize(np.asarray(variable.values)))
            continue
        keys = _some_keys(data)
        graph = data.__dask_graph__()
        small = graph.cull(keys) if isinstance(graph, HighLevelGraph) else graph
        canon = Canon(dict(small))
        tokens += [canon.of(key) for key in keys]
        tokens += _in_memory(graph)
    return str(tokenize(tokens))


def _some_keys(array: da.Array) -> list[Any]:
    """Return the first, the middle and the last tile of an array."""
    last = tuple(n - 1 for n in array.numblocks)
    middle = tuple(n // 2 for n in array.numblocks)
    picked = sorted({tuple(0 for _ in last), middle, last})
    return [(array.name, *at) for at in picked]


def _in_memory(graph: Any) -> list[str]:
    """Return tokens of arrays that are part of a graph, all of their chunks."""
    found = []
    for layer in getattr(graph, "layers", {}).values():
        if not layer.is_materialized():
            continue
        for item in dict(layer).values():
            value = getattr(item, "value", item)
            if not isinstance(value, np.ndarray):
                break
            found.append(str(tokenize(value)))
    return sorted(found)


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return in words how two records differ, the most telling first; empty for the same result."""
    found = []
    for key, word in _WORDS.items():
        old, new = there.get(key), here.get(key)
        if key == "inputs":
            old, new = _changed(old or {}, new or {})
        if old == new:
            continue
        if key in ("labels", "work"):
            found.append(f"other {word}")
        else:
            found.append(f"{word} {_said(old)} there, {_said(new)} here")
    if found and found[0].startswith(("method", "parameters", "weights", "version", "inputs")):
        found = [f for f in found if not f.startswith("other ")] or found
    return found


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
