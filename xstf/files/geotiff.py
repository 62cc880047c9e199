"""Cubes as cloud-optimised GeoTIFFs: one file a date, its bands named."""

from __future__ import annotations

import errno
import itertools
import math
import re
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstf.files.beside import beside, check_place, clean, told
from xstf.files.own import Own
from xstf.files.packed import Packing, pack
from xstf.files.sources import Labelled

SUFFIXES = (".tif", ".tiff")
_TIMES = ("time", "t", "date")
_Y = ("y", "lat", "latitude", "northing")
_X = ("x", "lon", "longitude", "easting")
_BANDS = "bands"  # what variables of a Dataset are together
_UNFIT = re.compile(r"[^\w.+-]+")  # for names of files
_BLOCK = 512  # pixels a side of a tile of a file
_BYTES = 32_000_000  # of values that are computed at once, where chunks are no larger
_CACHE = 64  # megabytes, of blocks of files
_OPEN = 200  # files


@dataclass(frozen=True)
class _Image:
    """What becomes one file: ``(band, y, x)``, how it is named, and what it is computed with."""

    name: str
    cube: xr.DataArray
    bands: tuple[str, ...]
    own: Own
    group: int


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
            _write_all([(image, new / f"{image.name}.tif") for image in images], packing)
        return
    files = [path] if len(images) == 1 else [path.with_stem(image.name) for image in images]
    for file in files:
        clean(file)
        check_place(file, overwrite=overwrite)
    with ExitStack() as stack:  # renamed when all are written
        new_files = [stack.enter_context(beside(file)) for file in files]
        _write_all(list(zip(images, new_files, strict=True)), packing)


def is_own(path: Path) -> bool:
    """Return whether a file is an image that xstf wrote, or what viewers leave beside images."""
    if path.name.lower().endswith(".aux.xml"):
        return path.with_name(path.name[: -len(".aux.xml")]).exists()
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    rasterio = _import()
    try:
        with rasterio.open(path) as file:
            return Own.of_tags(file.tags()) is not None
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
    stacked = isinstance(cube, xr.Dataset) and _BANDS not in cube
    found = []
    for name, part in parts.items():
        time = next((str(d) for d in part.dims if str(d) in _TIMES), None)
        start = path.stem if path.suffix.lower() in SUFFIXES else _UNFIT.sub("_", str(name))
        if len(parts) > 1 and start != str(name):
            start = f"{start}_{_UNFIT.sub('_', str(name))}"
        dated = [part] if time is None else [part.isel({time: k}) for k in range(part.sizes[time])]
        stamps = [_stamp(one, time) for one in dated]
        whole_days = all(stamp.endswith("T000000") for stamp in stamps)
        names = [stamp[:8] for stamp in stamps] if whole_days else stamps
        if len(set(names)) < len(names):
            raise ValueError(
                f"several images of the cube are of one date ({names[0]}); mosaic them"
            )
        groups = _groups(part, time)
        for one, word, group in zip(dated, names, groups, strict=True):
            variable = "" if stacked and name == _BANDS else str(name)
            found.append(_image(one, f"{start}_{word}" if word else start, variable, group))
    return found


def _groups(part: xr.DataArray, time: str | None) -> list[int]:
    """Return which images are computed together: those of one chunk along time."""
    if time is None:
        return [0]
    values = part.variable  # coordinates may have chunks of their own
    if values.chunks is None:
        return list(range(part.sizes[time]))
    sizes = values.chunksizes[time]
    return [number for number, size in enumerate(sizes) for _ in range(size)]


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
    return {_BANDS: stack} | {n: v for n, v in images.items() if n not in real}


def _time(image: xr.DataArray) -> np.datetime64 | None:
    """Return the date of an image; None where it has none."""
    found = (n for n in _TIMES if n in image.coords and image[n].dtype.kind == "M")
    name = next(found, None)
    if name is None:
        return None
    return np.datetime64(image[name].values.astype("datetime64[ns]").item(), "ns")


def _stamp(image: xr.DataArray, time: str | None) -> str:
    """Return the date of an image as names have it: ``20210407T101031``; "" for none."""
    date = _time(image)
    if date is not None:
        return str(date.astype("datetime64[s]")).replace("-", "").replace(":", "")
    if time:
        raise ValueError(f"GeoTIFFs are named by date, and {time} has no dates; write to .nc")
    return ""


def _image(image: xr.DataArray, name: str, variable: str, group: int) -> _Image:
    if image.dtype.kind not in "iufb":
        raise ValueError(f"GeoTIFFs are of numbers, and {name} is of {image.dtype}")
    y, x = (next((d for d in image.dims if str(d) in among), None) for among in (_Y, _X))
    if y is None or x is None:
        raise ValueError(f"GeoTIFFs are of y and x, and {name} has {image.dims}; write to .nc")
    if not image.size:
        raise ValueError(f"GeoTIFFs have pixels, and {name} has none: {dict(image.sizes)}")
    _check_steps(image, y, x)
    others = [d for d in image.dims if d not in (y, x)]
    if len(others) > 1:
        raise ValueError(
            f"GeoTIFFs have one axis besides y and x, and {name} has {others}; write to .nc"
        )
    dim = str(others[0]) if others else ""
    labels: Any = np.ravel(image[dim or "band"].values) if (dim or "band") in image.coords else []
    whole = bool(dim) and (not len(labels) or np.asarray(labels).dtype.kind in "iu")
    bands = tuple(str(label) for label in labels)
    own = Own(variable, _time(image), dim, image.dtype.kind, whole)
    if not dim:
        image = image.drop_vars("band", errors="ignore").expand_dims("band")
    return _Image(name, image.transpose(dim or "band", y, x), bands, own, group)


def _check_steps(image: xr.DataArray, *dims: Hashable) -> None:
    """Raise where pixels are not evenly spaced, which a transform cannot say."""
    for dim in dims:
        steps = np.diff(image[dim].values) if dim in image.coords else np.ones(1)
        if steps.size and (abs(steps - steps.mean()) > 0.01 * abs(steps.mean())).any():
            raise ValueError(f"GeoTIFFs have even steps, and {dim} has not; write to .nc")


# --- writing ----------------------------------------------------------------------------------


def _write_all(files: list[tuple[_Image, Path]], packing: Packing) -> None:
    """Write images; those of one chunk along time together, so that each chunk is computed once."""
    groups: dict[int, list[tuple[_Image, Path]]] = {}
    for image, path in files:
        groups.setdefault(image.group, []).append((image, path))
    for group in groups.values():
        for start in range(0, len(group), _OPEN):
            _write_group(group[start : start + _OPEN], packing)


def _write_group(files: list[tuple[_Image, Path]], packing: Packing) -> None:
    """Write images part by part, and bring each into the order of a cloud-optimised file."""
    rasterio = _import()
    plain = [path.with_name(f"{path.name}.plain.tif") for _, path in files]
    try:
        # GDAL would keep a twentieth of all memory.
        with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=_CACHE):
            warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
            _write_plain([image for image, _ in files], plain, packing)
            for (image, path), source in zip(files, plain, strict=True):
                _to_cog(image, source, path)
                source.unlink()
    finally:
        for source in plain:
            source.unlink(missing_ok=True)


def _write_plain(images: list[_Image], paths: list[Path], packing: Packing) -> None:
    rasterio = _import()
    storings = [_Storing.of(image, packing) for image in images]
    with ExitStack() as stack:
        files = []
        for image, path, storing in zip(images, paths, storings, strict=True):
            with told(path):
                files.append(_quietly(rasterio.open, path, "w", **storing.profile()))
            stack.callback(_let_go, files[-1])
            storing.describe(files[-1], image)
        for rows, cols in _windows(images):
            window = rasterio.windows.Window.from_slices(rows, cols)
            # As one Dataset: what several images need is computed once.
            part = xr.Dataset({
                f"image{n}": ((f"band{n}", "y", "x"), image.cube[:, rows, cols].variable.data)
                for n, image in enumerate(images)
            }).compute()  # fmt: skip
            for n, storing in enumerate(storings):
                values = storing.stored(part[f"image{n}"].values)
                with told(paths[n]):
                    _quietly(files[n].write, values, window=window)
        for path, file in zip(paths, files, strict=True):
            with told(path):
                _quietly(file.close)


def _to_cog(image: _Image, source: Path, path: Path) -> None:
    with told(path):
        _quietly(
            _import().shutil.copy, source, path, driver="COG", compress="deflate",
            predictor="yes", bigtiff="if_safer",
            overview_resampling="average" if image.cube.dtype.kind == "f" else "nearest",
        )  # fmt: skip


def _let_go(file: Any) -> None:
    """Close a file; an error here comes after the one that counts."""
    with suppress(OSError):
        _quietly(file.close)


def _quietly(call: Any, *args: Any, **named: Any) -> Any:
    """Call what writes; its errors, which say neither file nor cause, are those of the disk."""
    try:
        return call(*args, **named)
    except Exception as error:
        # Those of GDAL that rasterio raises as they are have no public name.
        if type(error).__module__.split(".")[0] != "rasterio":
            raise
        cause = " ".join(str(error.__cause__ or error).split())
        raise OSError(errno.EIO, f"GDAL cannot write: {cause}") from error


@dataclass(frozen=True)
class _Storing:
    """How the values of an image are stored."""

    cube: xr.DataArray
    name: str
    dtype: np.dtype
    nodata: float | None
    packing: Packing

    @classmethod
    def of(cls, image: _Image, packing: Packing) -> _Storing:
        """Return what an image's type and the caller ask for; labels stay what they are."""
        own = image.cube.dtype
        if own.kind != "f":
            given = image.cube.encoding.get("_FillValue", image.cube.attrs.get("_FillValue"))
            dtype = np.dtype("u1") if own.kind == "b" else own
            kept = Packing(None, 1.0, None)
            return cls(image.cube, image.name, dtype, None if given is None else float(given), kept)
        nodata = float("nan") if packing.nodata is None else packing.nodata
        return cls(image.cube, image.name, packing.dtype or own, nodata, packing)

    def profile(self) -> dict[str, Any]:
        """Return what rasterio makes the file by."""
        y, x = self.cube.dims[-2:]
        grid = self.cube.rio.set_spatial_dims(x_dim=x, y_dim=y)
        # A transform in the attributes may be of the whole that this was cut from.
        anew = x in self.cube.coords and y in self.cube.coords and min(self.cube.shape[1:]) > 1
        return {
            "driver": "GTiff", "dtype": self.dtype.name, "count": self.cube.shape[0],
            "height": self.cube.shape[1], "width": self.cube.shape[2], "crs": grid.rio.crs,
            "transform": grid.rio.transform(recalc=anew), "nodata": self.nodata, "tiled": True,
            "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "if_safer",
            "compress": "deflate", "zlevel": 1,
        }  # fmt: skip

    def describe(self, file: Any, image: _Image) -> None:
        """Write names, units, scale and tags."""
        for number, label in enumerate(image.bands, 1):
            file.set_band_description(number, label)
        if self.packing.scale != 1:
            file.scales = (self.packing.scale,) * file.count
        units = str(self.cube.attrs.get("units", ""))
        if units:
            file.units = (units,) * file.count
        tags = {str(k): str(v) for k, v in self.cube.attrs.items() if str(k).startswith("stf_")}
        file.update_tags(**image.own.tags(), **tags)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return values as the file has them."""
        if self.packing.whole:
            return pack(values, name=self.name, packing=self.packing)
        if self.packing.nodata is not None:
            values = np.where(np.isnan(values), self.packing.nodata, values)
        return values.astype(self.dtype)


def _windows(images: list[_Image]) -> Iterator[tuple[slice, slice]]:
    """Return parts to be computed one by one: chunks, joined as far as memory is given."""
    cube = images[0].cube
    pixel = sum(image.cube.shape[0] * image.cube.dtype.itemsize for image in images)
    side = max(1, math.isqrt(_BYTES // pixel))
    chunks = cube.variable.chunks or tuple(
        (_BLOCK,) * (size // _BLOCK) + ((size % _BLOCK,) if size % _BLOCK else ())
        for size in cube.shape
    )
    rows, cols = (_edges(sizes, side) for sizes in chunks[-2:])
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(cols):
            yield slice(top, bottom), slice(left, right)


def _edges(chunks: Sequence[int], side: int) -> list[int]:
    """Return edges of chunks that are at most so many pixels apart, or one chunk."""
    edges, at = [0], 0
    for size in chunks:
        if at > edges[-1] and at + size - edges[-1] > side:
            edges.append(at)
        at += size
    return [*edges, at]
