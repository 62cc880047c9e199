"""What attributes say of a grid: transforms, resolutions, bounds; made to agree with coordinates.

Readers leave the transform of the file in the attributes, and a crop, a flip or another grid does
not change it there. GDAL and rioxarray believe it before the coordinates.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from xstf.cubes.grid import CORNER_TOLERANCE, SPACING_TOLERANCE, Grid
from xstf.cubes.transform import numbers_of

# Transforms in rasterio's order (a, b, c, d, e, f) and in GDAL's (c, a, b, f, d, e).
_TRANSFORMS = ("transform", "affine", "proj:transform", "crs_transform")
_GEOTRANSFORMS = ("geotransform", "geo_transform")
_SHAPES = ("proj:shape", "shape")
_BOUNDS = ("bounds", "proj:bbox")
_STEPS = ("res", "resolution")
# What holds of the grid as it was alone, and is not worked out anew.
_OF_GRID = (
    "spec", "gsd", "bbox", "proj:geometry", "geometry", "proj:centroid", "footprint", "extent",
    "pixel_size", "pixelsize", "spatial_resolution", "ground_sample_distance", "width", "height",
    "raster:spatial_resolution",
)  # fmt: skip
_OF_CRS = (
    "crs", "epsg", "proj:epsg", "proj:code", "proj:wkt2", "proj:projjson", "crs_wkt",
    "spatial_ref", "proj4", "proj4_params", "projection",
)  # fmt: skip


def attrs_on(
    attrs: Mapping[Hashable, Any], grid: Grid, *, moved: bool, same_crs: bool = False
) -> dict[Hashable, Any]:
    """Return attributes that agree with a grid.

    Parameters
    ----------
    attrs : mapping
        Of a cube.
    grid : Grid
        Of the result.
    moved : bool
        Whether that is another one than the cube's: then what cannot be worked out is left out.
    same_crs : bool
        Whether what says the CRS holds on a grid that is another one.
    """
    out = {k: _on(str(k).lower(), v, grid, moved) for k, v in attrs.items()}
    old = [_numbers(v) for k, v in attrs.items() if str(k).lower() in _TRANSFORMS]
    new = [_numbers(v) for k, v in out.items() if str(k).lower() in _TRANSFORMS]
    stale = moved or old != new
    if stale and not moved:
        steps = [(abs(n[0]), abs(n[4])) for n in old if len(n) in (6, 9)]
        sizes = [k for k, v in attrs.items() if _is_step(v, steps)]
        out |= {k: _on(str(k).lower(), attrs[k], grid, True) for k in sizes}
    left_out = [k for k in attrs if _only_of_grid(k, attrs[k], grid, moved=moved, stale=stale)]
    kept = _OF_CRS if same_crs else ()
    return {k: v for k, v in out.items() if k not in left_out or str(k).lower() in kept}


def _is_step(value: Any, steps: list[tuple[float, float]]) -> bool:
    """Return whether an attribute has the pixel size of a transform, and so its unit."""
    numbers = np.abs(_numbers(value))
    fits = [np.allclose(numbers, step[: len(numbers)]) for step in steps if len(numbers) in (1, 2)]
    return any(fits)


def is_of_grid(name: Hashable) -> bool:
    """Return whether a coordinate of this name describes a grid or a CRS."""
    key = str(name).lower()
    every = (*_TRANSFORMS, *_GEOTRANSFORMS, *_SHAPES, *_BOUNDS, *_STEPS, *_OF_GRID, *_OF_CRS)
    return key in every or key.startswith("geospatial_")


def geotransform(grid: Grid) -> str:
    """Return a grid's transform as GDAL writes it, outer corners of its first pixel first."""
    values = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
    return " ".join(repr(float(v)) for v in values)


def mapping_attrs(attrs: Mapping[Hashable, Any], grid: Grid) -> dict[Hashable, Any]:
    """Return the attributes of a grid mapping variable, its GeoTransform that of the grid.

    One that has none gets none, unless the grid is one pixel wide or high: its coordinates alone
    do not tell how large that is.
    """
    out = {
        k: _on("geotransform", v, grid, True) if str(k).lower() in _GEOTRANSFORMS else v
        for k, v in attrs.items()
    }
    if 1 in (grid.height, grid.width) and "GeoTransform" not in out:
        out["GeoTransform"] = geotransform(grid)
    return out


def _on(key: str, value: Any, grid: Grid, moved: bool) -> Any:
    """Return one attribute as it is on a grid: itself where it agrees or says something else."""
    numbers = _numbers(value)
    if key in _TRANSFORMS or key in _GEOTRANSFORMS:
        return _transform(key, value, numbers, grid)
    if key in _SHAPES and len(numbers) == 2:
        here = (grid.height, grid.width)
        return value if tuple(numbers) == here else list(here)
    if key in _BOUNDS and len(numbers) == 4:
        x0, x1, y0, y1 = grid.extent
        other_units = not moved and not _meets(numbers, (x0, y0, x1, y1))
        return value if other_units or _near(numbers, (x0, y0, x1, y1), grid) else (x0, y0, x1, y1)
    if moved and key in _STEPS and len(numbers) in (1, 2) and not isinstance(value, str):
        steps = (abs(grid.dx), abs(grid.dy))[: len(numbers)]
        if np.allclose(np.abs(numbers), steps, rtol=SPACING_TOLERANCE):
            return value
        return steps if len(numbers) == 2 else steps[0]
    return value


def _transform(key: str, value: Any, numbers: list[float], grid: Grid) -> Any:
    """Return a transform in the order and type that it came in; what is none as it is."""
    if len(numbers) not in (6, 9):
        return value
    rasterio = (grid.dx, 0.0, grid.left, 0.0, grid.dy, grid.top)
    gdal = (grid.left, grid.dx, 0.0, grid.top, 0.0, grid.dy)
    c, a, b, f, d, e = numbers[:6]
    text = isinstance(value, str) and key != "transform"  # rioxarray takes numbers alone there
    if _agrees(tuple(numbers[:6]), grid) or (
        key != "transform" and _agrees((a, b, c, d, e, f), grid)
    ):
        return value if text else tuple(numbers)
    own = gdal if key in _GEOTRANSFORMS else rasterio
    if text:
        return " ".join(repr(float(v)) for v in own)
    return (*own, 0.0, 0.0, 1.0) if len(numbers) == 9 else own


def _agrees(numbers: tuple[float, ...], grid: Grid) -> bool:
    """Return whether a transform in rasterio's order puts a grid's corners where they are."""
    a, b, c, d, e, f = numbers
    height, width = grid.height, grid.width
    right, bottom = grid.left + width * grid.dx, grid.top + height * grid.dy
    off = (
        (c - grid.left, f - grid.top),
        (c + a * width - right, f + d * width - grid.top),
        (c + b * height - grid.left, f + e * height - bottom),
    )
    return all(
        abs(x) <= CORNER_TOLERANCE * abs(grid.dx) and abs(y) <= CORNER_TOLERANCE * abs(grid.dy)
        for x, y in off
    )


def _meets(box: list[float], own: tuple[float, ...]) -> bool:
    """Return whether two boxes (least x, least y, greatest x, greatest y) share some area."""
    return box[0] < own[2] and own[0] < box[2] and box[1] < own[3] and own[1] < box[3]


def _near(numbers: list[float], own: tuple[float, ...], grid: Grid) -> bool:
    step = min(abs(grid.dx), abs(grid.dy))
    return bool((np.abs(np.asarray(numbers) - np.asarray(own)) <= CORNER_TOLERANCE * step).all())


def _only_of_grid(key: Hashable, value: Any, grid: Grid, *, moved: bool, stale: bool) -> bool:
    """Return whether an attribute describes a grid that is no longer the result's."""
    name = str(key).lower()
    if not moved and not stale:
        return name == "spec" and _spec_differs(value, grid)
    if not moved:
        return name in ("spec", "width", "height", "extent") or name.startswith("geospatial_")
    known = (*_TRANSFORMS, *_GEOTRANSFORMS)
    if name in known:
        return len(_numbers(value)) not in (6, 9) and not isinstance(value, str)
    count: dict[str, tuple[int, ...]] = dict.fromkeys(_SHAPES, (2,))
    count |= dict.fromkeys(_BOUNDS, (4,)) | dict.fromkeys(_STEPS, (1, 2))
    if name in count:
        return len(_numbers(value)) not in count[name] or isinstance(value, str)
    return name in _OF_GRID or name in _OF_CRS or name.startswith("geospatial_")


def _spec_differs(value: Any, grid: Grid) -> bool:
    """Return whether a record of a grid, as stackstac leaves it, has another transform."""
    numbers = _numbers(getattr(value, "transform", None))
    return len(numbers) in (6, 9) and not _agrees(tuple(numbers[:6]), grid)


def _numbers(value: Any) -> list[float]:
    """Return the numbers of an attribute, none where it holds something else or a switch."""
    return [] if isinstance(value, bool) else numbers_of(value) or []
