"""One image: what it says of itself, and its pixels, lazily or not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstf.files.guard import guarded, stamp
from xstf.files.own import Own

# How far grids of files may be apart, in pixels, and still be one: what transforms round by.
_SAME_GRID = 1e-3


@dataclass(frozen=True)
class Header:
    """What an image says of itself, its pixels unread.

    Parameters
    ----------
    size, transform, crs
        Of its grid: ``(height, width)``, six numbers, what rasterio calls its CRS.
    descriptions
        Of its bands, None where there is none.
    masked
        Whether it says which pixels are missing, or how its numbers are scaled.
    own
        What xstf says of it, where it wrote it.
    """

    size: tuple[int, int]
    transform: tuple[float, ...]
    crs: Any
    descriptions: tuple[str | None, ...]
    masked: bool
    own: Own | None

    @property
    def labels(self) -> list[str] | None:
        """Descriptions as labels of bands, None where they are none or not all different."""
        found = [d.strip() for d in self.descriptions if d and d.strip()]
        whole = len(found) == len(self.descriptions) == len(set(found))
        return found if whole else None

    def same_grid(self, other: Header) -> bool:
        """Return whether two images have one grid."""
        if self.size != other.size or self.crs != other.crs:
            return False
        pixel = max(abs(self.transform[0]), abs(self.transform[1]))
        reach = _SAME_GRID * pixel / max(self.size)
        apart = np.abs(np.subtract(self.transform, other.transform))
        return bool((apart <= [reach, reach, _SAME_GRID * pixel] * 2).all())

    def grid_text(self) -> str:
        """Return the grid in words."""
        height, width = self.size
        a, b, left, _, d, top = self.transform
        crs = "no CRS" if self.crs is None else self.crs.to_string()
        crs = crs if len(crs) <= 40 else f"{crs[:37]}…"
        turned = " turned" if b else ""
        return (
            f"{height} × {width}{turned} pixels of {abs(a):g} × {abs(d):g} from x {left:.10g}, "
            f"y {top:.10g} in {crs}"
        )


def header_of(path: Path) -> Header:
    """Return what an image says of itself."""
    try:
        import rasterio  # type: ignore[import-untyped]
        import rioxarray  # noqa: F401  reads the pixels
    except ImportError as error:
        raise ImportError("GeoTIFF needs rioxarray; install xstf[io]") from error
    try:
        with rasterio.open(path) as file:
            if file.count == 0:
                raise ValueError(f"{path} holds several subdatasets; name one of its files")
            packed = set(file.scales) != {1.0} or set(file.offsets) != {0.0}
            holes = any(rasterio.enums.MaskFlags.all_valid not in f for f in file.mask_flag_enums)
            return Header(
                (file.height, file.width), tuple(file.transform)[:6], file.crs, file.descriptions,
                packed or holes, Own.of_tags(file.tags()),
            )  # fmt: skip
    except rasterio.errors.RasterioIOError as error:
        raise OSError(f"{path} cannot be read as an image: {error}") from error


def read_image(
    path: Path, header: Header, chunks: int | None, *, raw: bool = False
) -> xr.DataArray:
    """Return an image ``(band, y, x)``, NaN where it says that pixels are missing, and scaled.

    Whole numbers without a word on what is missing stay whole: a cube of such is asked whether its
    most frequent extreme is a code. So do those of classes (`raw`), with their code for missing.
    """
    import rioxarray

    with warnings.catch_warnings():
        # Bands with their own scales are scaled each by its own.
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ across bands")
        image = rioxarray.open_rasterio(path, mask_and_scale=header.masked and not raw, cache=False)
    if not isinstance(image, xr.DataArray):
        raise ValueError(f"{path} holds several subdatasets; name one of its files")
    closing = image.close
    image = xr.DataArray(guarded(image.variable, None, path), image.coords, name=image.name)
    image.set_close(closing)
    if chunks:
        image = image.chunk({"y": chunks, "x": chunks}, token=stamp(path) + str(raw))
        image.set_close(closing)
    else:
        image.load()
        image.close()
    trivial = {"scale_factor": 1.0, "add_offset": 0.0}
    image.attrs = {k: v for k, v in image.attrs.items() if k not in trivial or v != trivial[k]}
    # Each file is packed in its own way, and the cube in none.
    image.encoding = {k: v for k, v in image.encoding.items() if k == "grid_mapping"}
    return image
