"""Cubes as cloud-optimised GeoTIFFs: one file a date, its bands named."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Hashable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstf.files.beside import beside, check_place, told
from xstf.files.packed import Packing, pack
from xstf.files.sources import Labelled

SUFFIXES = (".tif", ".tiff")
_TIMES = ("time", "t", "date")
_Y = ("y", "lat", "latitude", "northing")
_X = ("x", "lon", "longitude", "easting")
_SOFTWARE = "TIFFTAG_SOFTWARE"
_BLOCK = 512  # pixels a side of a tile of a file, and of what is computed at once at least


@dataclass(frozen=True)
class _Image:
    """What becomes one file: ``(band, y, x)``, and how it is named."""

    name: str
    cube: xr.DataArray
    bands: tuple[str, ...]
    units: str


def save_rasters(cube: Labelled, path: Path, packing: Packing, *, overwrite: bool) -> None:
    """Write a cube to a GeoTIFF, or one a date in a folder or beside each other.

    Parameters
    ----------
    cube : DataArray or Dataset
    path : path
        ``.tif``: the one file, or with several dates the start of their names; else a folder.
    packing : Packing
    overwrite : bool
    """
    _import()
    images = _images(cube, path)
    if path.suffix.lower() not in SUFFIXES:
        with beside(path) as new:
            with told(path):
                new.mkdir()
            for image in images:
                _write(image, new / f"{image.name}.tif", packing)
        return
    files = [path] if len(images) == 1 else [path.with_stem(image.name) for image in images]
    for file in files:
        check_place(file, overwrite=overwrite)
    with ExitStack() as stack:  # renamed when all are written
        for file, image in zip(files, images, strict=True):
            _write(image, stack.enter_context(beside(file)), packing)


def is_own(path: Path) -> bool:
    """Return whether a file is an image that xstf wrote, or what viewers leave beside images."""
    if path.name.lower().endswith(".aux.xml"):
        return path.with_name(path.name[: -len(".aux.xml")]).exists()
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    rasterio = _import()
    try:
        with rasterio.open(path) as file:
            return bool(file.tags().get(_SOFTWARE) == "xstf")
    except rasterio.errors.RasterioIOError:  # no image at all
        return False


def _import() -> Any:
    try:
        import rasterio.shutil  # type: ignore[import-untyped]
        import rasterio.windows  # type: ignore[import-untyped]
        import rioxarray  # noqa: F401  the grid of a cube
    except ImportError as error:
        raise ImportError("GeoTIFF needs rioxarray; install xstf[io]") from error
    return rasterio


# --- which files ------------------------------------------------------------------------------


def _images(cube: Labelled, path: Path) -> list[_Image]:
    """Return the images of a cube, a file each."""
    parts = _parts(cube)
    found = []
    for name, part in parts.items():
        time = next((str(d) for d in part.dims if str(d) in _TIMES), None)
        alone = len(parts) == 1
        start = path.stem if path.suffix.lower() in SUFFIXES else str(name)
        start = start if alone or start == name else f"{start}_{name}"
        dated = [part] if time is None else [part.isel({time: k}) for k in range(part.sizes[time])]
        stamps = [_stamp(one, time) for one in dated]
        days = [s[:8] for s in stamps]
        names = stamps if len(set(days)) < len(days) else days
        if len(set(names)) < len(names):
            raise ValueError(
                f"several images of the cube are of one date ({names[0]}); mosaic them"
            )
        for one, stamp in zip(dated, names, strict=True):
            found.append(_image(one, f"{start}_{stamp}" if stamp else start))
    return found


def _parts(cube: Labelled) -> dict[Hashable, xr.DataArray]:
    """Return what files are made of: each variable, or all as bands where they are bands."""
    if isinstance(cube, xr.DataArray):
        return {cube.name if cube.name is not None else "estimate": cube}
    images = {n: v for n, v in cube.data_vars.items() if v.ndim >= 2 and v.dtype.kind in "iufb"}
    if not images:
        raise ValueError(f"the Dataset has no images; it has {list(cube.data_vars) or 'nothing'}")
    real = {n: v for n, v in images.items() if v.dtype.kind == "f"}
    plain = all(set(map(str, v.dims)) <= {*_TIMES, *_Y, *_X} for v in real.values())
    quality = any(str(n).endswith(("_std", "_flag", "_n_obs")) for n in images)
    if not plain or quality or len(real) < 2 or len({v.dims for v in real.values()}) > 1:
        return dict(images)
    stack: xr.DataArray = xr.concat(
        list(real.values()), xr.Variable("band", [str(n) for n in real]), coords="minimal",
        compat="override", combine_attrs="drop_conflicts",
    )  # fmt: skip
    return {"bands": stack} | {n: v for n, v in images.items() if n not in real}


def _stamp(image: xr.DataArray, time: str | None) -> str:
    """Return the date of an image as names have it: ``20210407T101031``; "" for none."""
    names = [time] if time else [n for n in _TIMES if n in image.coords]
    if not names or names[0] not in image.coords or image[names[0]].dtype.kind != "M":
        return ""
    text = str(image[names[0]].values.astype("datetime64[s]"))
    return text.replace("-", "").replace(":", "")


def _image(image: xr.DataArray, name: str) -> _Image:
    y, x = (next((d for d in image.dims if str(d) in among), None) for among in (_Y, _X))
    if y is None or x is None:
        raise ValueError(f"GeoTIFFs are of y and x, and {name} has {image.dims}; write to .nc")
    others = [d for d in image.dims if d not in (y, x)]
    if len(others) > 1:
        raise ValueError(
            f"GeoTIFFs have one axis besides y and x, and {name} has {others}; write to .nc"
        )
    if not others:
        return _Image(name, image.expand_dims("band").transpose("band", y, x), (), "")
    labels = image[others[0]].values if others[0] in image.coords else range(image.sizes[others[0]])
    bands = tuple(str(label) for label in labels)
    return _Image(name, image.transpose(*others, y, x), bands, str(image.attrs.get("units", "")))


# --- one file ---------------------------------------------------------------------------------


def _write(image: _Image, path: Path, packing: Packing) -> None:
    """Write an image part by part, and bring it into the order of a cloud-optimised file."""
    rasterio = _import()
    values = image.cube
    packs = packing.whole and values.dtype.kind == "f"
    stored = np.dtype("u1") if values.dtype.kind == "b" else values.dtype
    if packing.dtype is not None and values.dtype.kind == "f":
        stored = packing.dtype
    nodata = _nodata(values, packing, packs=packs)
    y, x = values.dims[-2:]
    grid = values.rio.set_spatial_dims(x_dim=x, y_dim=y)
    profile = {
        "driver": "GTiff", "dtype": stored.name, "count": values.shape[0],
        "height": values.shape[1], "width": values.shape[2], "crs": grid.rio.crs,
        "transform": grid.rio.transform(), "nodata": nodata, "tiled": True, "blockxsize": _BLOCK,
        "blockysize": _BLOCK, "bigtiff": "if_safer", "compress": "deflate",
    }  # fmt: skip
    plain = path.with_name(f"{path.name}.plain.tif")
    try:
        with told(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(plain, "w", **profile) as file:
                _describe(file, image, packing, packs=packs)
                for rows, cols in _windows(values):
                    part = np.asarray(values[:, rows, cols].values)
                    if packs:
                        part = pack(part, name=image.name, packing=packing)
                    elif packing.nodata is not None and part.dtype.kind == "f":
                        part = np.where(np.isnan(part), packing.nodata, part)
                    window = rasterio.windows.Window.from_slices(rows, cols)
                    _quietly(file.write, part.astype(stored), window=window)
            _quietly(
                rasterio.shutil.copy, plain, path, driver="COG", compress="deflate",
                bigtiff="if_safer",
                overview_resampling="nearest" if values.dtype.kind != "f" else "average",
            )  # fmt: skip
    finally:
        plain.unlink(missing_ok=True)


def _quietly(call: Any, *args: Any, **named: Any) -> None:
    """Call what writes; its errors, which say neither file nor cause, are those of the disk."""
    rasterio = _import()
    try:
        call(*args, **named)
    except rasterio.errors.RasterioError as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise OSError(errno.EIO, f"GDAL cannot write: {cause}") from error


def _nodata(values: xr.DataArray, packing: Packing, *, packs: bool) -> float | None:
    if packs or (packing.nodata is not None and values.dtype.kind == "f"):
        return packing.nodata
    if values.dtype.kind == "f":
        return float("nan")
    given = values.encoding.get("_FillValue", values.attrs.get("_FillValue"))
    return None if given is None else float(given)


def _describe(file: Any, image: _Image, packing: Packing, *, packs: bool) -> None:
    for number, label in enumerate(image.bands, 1):
        file.set_band_description(number, label)
    if packs and packing.scale != 1:
        file.scales = (packing.scale,) * file.count
    if image.units:
        file.units = (image.units,) * file.count
    file.update_tags(
        **{_SOFTWARE: "xstf"},
        **{str(k): str(v) for k, v in image.cube.attrs.items() if str(k).startswith("stf_")},
    )


def _windows(values: xr.DataArray) -> Iterator[tuple[slice, slice]]:
    """Return parts of an image to be computed one by one: chunks, joined to whole tiles."""
    if values.chunks is None:
        yield slice(0, values.shape[1]), slice(0, values.shape[2])
        return
    rows, cols = (_edges(chunks) for chunks in values.chunks[-2:])
    for top, bottom in zip(rows, rows[1:], strict=False):
        for left, right in zip(cols, cols[1:], strict=False):
            yield slice(top, bottom), slice(left, right)


def _edges(chunks: tuple[int, ...]) -> list[int]:
    """Return edges of chunks that are at least some tiles apart."""
    edges, at = [0], 0
    for size in chunks:
        at += size
        if at - edges[-1] >= 4 * _BLOCK:
            edges.append(at)
    if edges[-1] != at:
        edges.append(at)
    return edges
