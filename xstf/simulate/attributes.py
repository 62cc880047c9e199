"""Attributes that say where a grid lies, said again of a coarser one."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from xstf.cubes.grid import Grid

# What says where pixels lie: six numbers in the order of rasterio or of GDAL, and pixel sizes.
_AFFINE = ("transform", "affine", "proj:transform")
_GDAL = ("geotransform", "geo_transform")
_SIZES = ("res", "resolution", "pixel_size")
_SHAPES = ("shape", "proj:shape")
OF_GRID = ("proj:transform", "proj:shape", "proj:bbox")  # scalar coordinates that stackstac has


def attrs_on_grid(attrs: Mapping[Hashable, Any], grid: Grid) -> dict[Hashable, Any]:
    """Return attributes of a cube as they are on another grid, in the form that they had.

    What says a shape or bounds, and a size in other words than numbers, is left out.
    """
    told = {}
    for key, value in attrs.items():
        name = str(key).lower()
        if name in _AFFINE:
            told[key] = _affine(value, grid)
        elif name in _GDAL:
            six = [grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy]
            told[key] = " ".join(map(str, six)) if isinstance(value, str) else _as(value, six)
        elif name in _SIZES:
            sizes = _sizes(value, grid)
            if sizes is not None:
                told[key] = sizes
        elif name not in (*_SHAPES, "proj:bbox"):
            told[key] = value
    return told


def _affine(value: Any, grid: Grid) -> Any:
    six = [grid.dx, 0.0, grid.left, 0.0, grid.dy, grid.top]
    if isinstance(value, str):
        joint = ", " if "," in value else " "
        return joint.join(map(str, six))
    if type(value).__name__ == "Affine":
        return type(value)(*six)
    whole = six + [0.0, 0.0, 1.0] if np.size(value) == 9 else six
    return _as(value, whole)


def _as(value: Any, numbers: list[float]) -> Any:
    """Return numbers in the kind of sequence that a value is."""
    if isinstance(value, np.ndarray):
        return np.array(numbers)
    return type(value)(numbers) if isinstance(value, list | tuple) else tuple(numbers)


def _sizes(value: Any, grid: Grid) -> Any:
    """Return pixel sizes, x first, as one number or two; None for words that are none."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([-+.\deE]+)(\s*[a-z]*)\s*", value)
        return f"{abs(grid.dx):g}{found[2]}" if found else None
    signed = np.ravel(np.asarray(value))
    if signed.dtype.kind not in "fiu" or signed.size not in (1, 2):
        return None
    steps = [grid.dx, grid.dy]
    sizes = [abs(s) if v >= 0 else -abs(s) for s, v in zip(steps, signed, strict=False)]
    return float(sizes[0]) if np.ndim(value) == 0 else _as(value, sizes)
