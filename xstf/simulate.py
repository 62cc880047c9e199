"""Cases with a known truth: a coarse view of a cube, clouds over it, and a landscape to begin with.

Everything random is drawn from a seed: the same arguments give the same numbers, whatever the
chunks are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

__all__ = ["add_clouds", "clouds", "degrade", "landscape"]

_SPACE = (("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("northing", "easting"))
_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian with standard deviation 1
_REACH = 3.0  # standard deviations at which a Gaussian is cut: 99.7 % of its weight on each axis


# ---------------------------------------------------------------- what a coarse sensor sees


def degrade(
    cube: xr.DataArray,
    ratio: int,
    *,
    psf_fwhm: float = 1.0,
    srf: xr.DataArray | None = None,
    noise: float = 0.0,
    seed: int = 0,
    min_valid: float = 0.5,
) -> xr.DataArray:
    """Return the cube as a coarser sensor sees it, on the grid of ``ratio`` × ``ratio`` pixels.

    Bands are mixed by ``srf``, images blurred by a Gaussian point spread function and averaged over
    each coarse pixel, and noise is added. Missing pixels have no weight. Lazy for dask.

    Parameters
    ----------
    cube
        ``(…, y, x)``, any dim order, NaN where missing. The coarse grid starts at the outer corner
        of its first pixel.
    ratio
        Coarse pixel size / fine pixel size.
    psf_fwhm
        Full width at half maximum of the point spread function, in coarse pixels; 0 for none: a
        coarse pixel is then the mean of its fine pixels.
    srf
        Spectral responses ``(new_band, band)``, with the cube's own band labels. Each row is
        divided by its sum; the result has the labels of ``new_band``. None keeps the bands.
    noise
        Standard deviation of Gaussian noise, in the data's units.
    seed
        Of the noise.
    min_valid
        The least share of a coarse pixel that pixels which are not missing must cover, above 0
        to 1; with less, it is missing. What lies outside of the image counts as missing.

    Examples
    --------
    >>> from xstf import scenes, simulate
    >>> truth = scenes.nested(size=48).truth
    >>> dict(simulate.degrade(truth, 16).sizes)
    {'time': 5, 'band': 2, 'y': 3, 'x': 3}
    """
    y, x = _check_degrade(cube, ratio, psf_fwhm, noise, min_valid)
    mixed = cube if srf is None else _mix_bands(cube, srf)
    mixed = mixed.astype(np.result_type(mixed.dtype, np.float32)).transpose(..., y, x)
    there = mixed.notnull().astype(mixed.dtype)
    images = xr.Dataset({"signal": mixed.fillna(0), "weight": there, "area": there})
    if psf_fwhm:
        sigma = psf_fwhm * ratio / _FWHM
        images["signal"] = _blurred(images["signal"], sigma)
        images["weight"] = _blurred(images["weight"], sigma)
    edge = {dim: (0, -cube.sizes[dim] % ratio) for dim in (y, x)}
    images = images.drop_vars([y, x], errors="ignore").pad(edge, constant_values=0)
    images = images.coarsen({y: ratio, x: ratio}).mean()
    usable = (images["area"] > min_valid - 1e-6) & (images["weight"] > 0)  # 1e-6: float32 means
    coarse = images["signal"] / images["weight"].where(usable)
    if noise:
        coarse = coarse + noise * _noise_like(coarse, seed)
    coarse = coarse.astype(mixed.dtype).transpose(*cube.dims)
    return _on_coarse_grid(coarse, cube, ratio, (y, x))


def clouds(
    cube: xr.DataArray, cover: float | Sequence[float], *, seed: int = 0, size: float = 40.0
) -> xr.DataArray:
    """Return where clouds stand over a cube, ``(time, y, x)``, True in a cloud.

    Parameters
    ----------
    cube
        The cube to give clouds to; only its dims and coordinates are used.
    cover
        The share of each image that is under clouds, from 0 to 1: one for all dates, or one a date.
    seed
        Of the clouds, which differ by date.
    size
        How wide a cloud is, roughly, in pixels.
    """
    y, x = _space(cube)
    dates = cube.sizes.get("time", 1)
    covers = np.broadcast_to(np.asarray(cover, dtype=float), (dates,))
    if not ((covers >= 0) & (covers <= 1)).all():
        raise ValueError(f"cover is a share, from 0 to 1, not {cover}")
    shape = (cube.sizes[y], cube.sizes[x])
    mask = np.stack(
        [
            _blobs(shape, share, size, np.random.default_rng([seed, date]))
            for date, share in enumerate(covers)
        ]
    )
    dims = ("time", y, x)
    found = xr.DataArray(mask, {d: cube[d] for d in dims if d in cube.coords}, dims, "clouds")
    return found if "time" in cube.dims else found.squeeze("time", drop="time" not in cube.coords)


def add_clouds(
    cube: xr.DataArray, cover: float | Sequence[float], *, seed: int = 0, size: float = 40.0
) -> xr.DataArray:
    """Return the cube with NaN under clouds, in all bands; lazy for dask.

    Parameters as in :func:`clouds`, which gives the mask itself (``cube.where(~clouds(…))`` is
    what this function does).

    Examples
    --------
    >>> from xstf import scenes, simulate
    >>> cloudy = simulate.add_clouds(scenes.nested().truth, 0.25)
    >>> float(cloudy.isnull().mean())
    0.25
    """
    hidden = cube.where(~clouds(cube, cover, seed=seed, size=size))
    hidden = hidden.transpose(*cube.dims)
    hidden.encoding = {k: v for k, v in cube.encoding.items() if k == "grid_mapping"}
    return hidden


def _check_degrade(
    cube: xr.DataArray, ratio: int, psf_fwhm: float, noise: float, min_valid: float
) -> tuple[str, str]:
    if ratio != int(ratio) or ratio < 1:
        raise ValueError(f"ratio must be a whole number, 1 or more, not {ratio}")
    if not (psf_fwhm >= 0 and noise >= 0):
        raise ValueError(f"psf_fwhm={psf_fwhm} and noise={noise} must be 0 or more")
    if not 0 < min_valid <= 1:
        raise ValueError(f"min_valid must be above 0 and at most 1, not {min_valid}")
    if cube.dtype.kind not in "iuf":
        raise TypeError(f"the cube has dtype {cube.dtype}; degrade needs real numbers")
    coded = [k for k in ("_FillValue", "missing_value", "nodata") if k in cube.attrs]
    if cube.dtype.kind in "iu" and coded:
        raise ValueError(
            f"the cube has integers with {coded[0]}={cube.attrs[coded[0]]}: decode it to NaN first "
            "(xr.decode_cf, or open_dataset with mask_and_scale=True)"
        )
    return _space(cube)


def _space(cube: xr.DataArray) -> tuple[str, str]:
    """Return the names of the spatial dims, y first."""
    for y, x in _SPACE:
        if y in cube.dims and x in cube.dims:
            return y, x
    raise ValueError(f"no dims y and x (or lat and lon) in {list(cube.dims)}: rename yours")


def _mix_bands(cube: xr.DataArray, srf: xr.DataArray) -> xr.DataArray:
    """Return the cube in the bands of another sensor, missing where a band that it needs is."""
    shared = [d for d in srf.dims if d in cube.dims]
    if srf.ndim != 2 or len(shared) != 1:
        raise ValueError(
            f"srf needs dims (new_band, band), one of them the cube's: srf has {list(srf.dims)}, "
            f"the cube {list(cube.dims)}"
        )
    band = str(shared[0])
    new = next(d for d in srf.dims if d != band)
    ours, theirs = cube[band].values.tolist(), srf[band].values.tolist()
    if ours != theirs:
        raise ValueError(f"srf is for the {band}s {theirs}, the cube has {ours}")
    total = srf.sum(band)
    if not bool((total > 0).all()):
        raise ValueError("every row of srf needs a sum above 0")
    share = (srf / total).drop_vars(band, errors="ignore")
    plain = cube.drop_vars(band, errors="ignore")
    mixed: xr.DataArray = xr.dot(plain.fillna(0), share.astype(np.float32), dim=band)
    lost: xr.DataArray = xr.dot(plain.isnull(), share != 0, dim=band)
    return mixed.where(lost == 0).rename({new: band})


def _blurred(images: xr.DataArray, sigma: float) -> xr.DataArray:
    """Return images (…, y, x) under a Gaussian of standard deviation sigma pixels."""

    def blur(block: np.ndarray) -> np.ndarray:
        axes = (block.ndim - 2, block.ndim - 1)
        blurred = gaussian_filter(block, sigma, mode="constant", truncate=_REACH, axes=axes)
        return np.asarray(blurred)

    data = images.data
    if not hasattr(data, "map_overlap"):
        return images.copy(data=blur(data))
    depth = dict.fromkeys((data.ndim - 2, data.ndim - 1), int(_REACH * sigma + 0.5))
    return images.copy(data=data.map_overlap(blur, depth, boundary="none", dtype=data.dtype))


def _on_coarse_grid(
    coarse: xr.DataArray, cube: xr.DataArray, ratio: int, space: tuple[str, str]
) -> xr.DataArray:
    """Give the coarse data the cube's name, attrs and CRS, and coordinates on its own grid."""
    corner: list[float] = []
    for dim in space:
        if dim in cube.coords and cube.sizes[dim] > 1:
            fine = cube[dim].values.astype(float)
            step = (fine[-1] - fine[0]) / (fine.size - 1)
            if np.abs(np.diff(fine) - step).max() > 0.01 * abs(step):
                raise ValueError(f"the coordinates along {dim!r} are not evenly spaced")
            centres = fine[0] - step / 2 + (np.arange(coarse.sizes[dim]) + 0.5) * ratio * step
            coarse = coarse.assign_coords({dim: (dim, centres, cube[dim].attrs)})
            corner += [fine[0] - step / 2, step * ratio]
    name = next((c for c in cube.coords if "GeoTransform" in cube[c].attrs), None)
    if name is not None and len(corner) == 4:
        top, height, left, width = (float(v) for v in corner)
        attrs = cube[name].attrs | {"GeoTransform": f"{left} {width} 0.0 {top} 0.0 {height}"}
        coarse = coarse.assign_coords({name: cube[name].assign_attrs(attrs)})
    coarse.name, coarse.attrs = cube.name, dict(cube.attrs)
    if "grid_mapping" in cube.encoding:
        coarse.encoding["grid_mapping"] = cube.encoding["grid_mapping"]
    return coarse


def _noise_like(cube: xr.DataArray, seed: int) -> xr.DataArray:
    """Return standard normal noise, each value made from its own position: chunks do not matter."""
    position: Any = np.uint64(0)
    stride = 1
    for dim in map(str, reversed(cube.dims)):
        steps = np.arange(cube.sizes[dim], dtype=np.uint64) * np.uint64(stride)
        along = xr.DataArray(steps, dims=dim)
        if cube.chunks is not None:
            along = along.chunk({dim: cube.chunksizes[dim]})
        position = along + position
        stride *= cube.sizes[dim]
    noise: xr.DataArray = xr.apply_ufunc(
        _normal, position, kwargs={"seed": seed}, dask="parallelized", output_dtypes=[np.float64]
    )
    return noise


def _normal(position: np.ndarray, *, seed: int) -> np.ndarray:
    """Return a standard normal number for each position (Box and Muller's transform)."""
    key = _hashed(np.array([seed], dtype=np.int64).view(np.uint64))
    bits = _hashed(2 * position + key), _hashed(2 * position + np.uint64(1) + key)
    first, second = (((b >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53 for b in bits)
    return np.asarray(np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second))


def _hashed(bits: np.ndarray) -> np.ndarray:
    """Return uint64 scrambled by the SplitMix64 generator's step (Steele et al. 2014)."""
    bits = (bits + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def _smooth_noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of mean 0 and standard deviation about 1, smooth over ``scale`` pixels."""
    # drawn on a grid as coarse as the scale allows: a wide Gaussian on every pixel is slow
    step = max(1.0, scale / 2)
    small = tuple(int(np.ceil(n / step)) + 5 for n in shape)
    sigma = scale / step
    drawn = gaussian_filter(rng.standard_normal(small), sigma, mode="wrap", truncate=_REACH)
    drawn *= 2 * sigma * np.sqrt(np.pi)
    if step > 1:
        drawn = zoom(drawn, step, order=3, mode="nearest", grid_mode=False)
    return np.asarray(drawn[: shape[0], : shape[1]])


def _blobs(
    shape: tuple[int, int], share: float, size: float, rng: np.random.Generator
) -> np.ndarray:
    """Return True in a given share of the pixels, in blobs with ragged rims."""
    rough = sum(w * _smooth_noise(shape, size / s, rng) for w, s in ((1, 3), (0.3, 9), (0.12, 27)))
    order = np.argsort(np.asarray(rough).ravel(), kind="stable")[::-1]
    covered = np.zeros(order.size, dtype=bool)
    covered[order[: round(share * order.size)]] = True
    return covered.reshape(shape)


# ---------------------------------------------------------------- a landscape

_NATURAL = ("broadleaf", "conifer", "water", "road", "built")


def landscape(
    shape: tuple[int, int],
    *,
    classes: int = 6,
    seed: int = 0,
    parcel: float = 9.0,
    margin: int = 0,
) -> xr.Dataset:
    """Return a map of fields, woods, a river, roads, villages and a town, pixels of 10 to 60 m.

    Parameters
    ----------
    shape
        Rows and columns.
    classes
        How many classes the fields have.
    seed
        Of everything.
    parcel
        The usual width of a field, in pixels; it is about twice as long.
    margin
        Rows and columns on each side of the part where the town and the river are put.

    Returns
    -------
    xarray.Dataset
        ``cover (y, x)``, uint8: the class of a field (0 to ``classes`` − 1), then broadleaf,
        conifer, water, road, built (names in ``flag_meanings``); ``parcel (y, x)``, int32: the
        number of the field, also under what is no field; ``across (y, x)``, float32: the
        distance in pixels across the field's rows.
    """
    if min(shape) - 2 * margin < 4 or margin < 0 or classes < 1 or parcel < 2:
        raise ValueError(
            f"landscape needs 4 pixels between its margins, 1 class or more and parcels of "
            f"2 pixels or more, not {shape=}, {margin=}, {classes=}, {parcel=}"
        )
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape, dtype=float)
    y = rows + 5 * _smooth_noise(shape, 35, rng)  # no border is quite straight
    x = columns + 5 * _smooth_noise(shape, 35, rng)
    district, edge = _districts(y, x, 6.0 * parcel, rng)
    number, across = _parcels(y, x, district, parcel, rng)
    cover = rng.integers(0, classes, number.max() + 1)[number].astype(np.uint8)
    wood, needles = (_by_parcel(_smooth_noise(shape, 22, rng), number) for _ in range(2))
    wood = wood + 0.25 * _smooth_noise(shape, 3, rng)
    cover[wood > np.quantile(wood, 0.83)] = classes
    cover[(cover == classes) & (needles > 0.1)] = classes + 1
    core = min(shape) - 2 * margin
    river = _river(y, x, core, margin, rng)
    cover[(river < 4 + 2.5 * _smooth_noise(shape, 7, rng)) & (river < 9)] = classes
    cover[edge < 0.55] = classes + 3
    bridge = _settle(cover, (y, x), classes, core, margin, edge, rng)
    cover[(river < 0) & ~bridge] = classes + 2
    names = [f"field_{i}" for i in range(classes)] + list(_NATURAL)
    attrs = {"flag_values": np.arange(len(names), dtype=np.uint8), "flag_meanings": " ".join(names)}
    return xr.Dataset(
        {
            "cover": (("y", "x"), cover, {"long_name": "land cover", **attrs}),
            "parcel": (("y", "x"), number, {"long_name": "number of the field"}),
            "across": (("y", "x"), across, {"long_name": "distance across the rows, in pixels"}),
        }
    )


def _districts(
    y: np.ndarray, x: np.ndarray, side: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return Voronoi cells about ``side`` pixels wide, and the distance to their border."""
    grid = [np.arange(v.min() - side, v.max() + side, side) for v in (y, x)]
    seeds = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    seeds = seeds + rng.uniform(-0.42, 0.42, seeds.shape) * side
    distance, nearest = cKDTree(seeds).query(np.stack([y, x], axis=-1), k=2)
    apart = np.linalg.norm(seeds[nearest[..., 0]] - seeds[nearest[..., 1]], axis=-1)
    edge = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart)
    return nearest[..., 0], edge


def _parcels(
    y: np.ndarray, x: np.ndarray, district: np.ndarray, parcel: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the fields, strips cut into lengths, and the distance across them."""
    cells = np.unique(district)
    number = np.zeros(district.shape, np.int32)
    across = np.zeros(district.shape, np.float32)
    main = rng.uniform(0, np.pi)
    first = 0
    for cell in cells:
        here = district == cell
        angle = main + rng.normal(0, 0.35) + rng.choice((0, np.pi / 2))
        along = x[here] * np.cos(angle) + y[here] * np.sin(angle)
        side = y[here] * np.cos(angle) - x[here] * np.sin(angle)
        width = parcel * rng.choice((0.7, 1.0, 1.5))
        strip = _cut(side - side.min(), width, rng)
        stretch = rng.lognormal(0, 0.3, strip.max() + 1)[strip]
        shift = rng.uniform(0, 4 * width, strip.max() + 1)[strip]
        piece = _cut((along - along.min()) * stretch + shift, 2.2 * width, rng)
        number[here] = first + strip * (piece.max() + 1) + piece
        across[here] = side
        first = number[here].max() + 1
    numbers, compact = np.unique(number, return_inverse=True)
    return compact.reshape(number.shape).astype(np.int32), across


def _cut(position: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Return which of pieces of about a length a position falls in."""
    pieces = length * rng.lognormal(0, 0.35, int(4 * position.max() / length) + 4)
    return np.searchsorted(np.cumsum(pieces), position)


def _by_parcel(noise: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return noise that follows the fields' borders, half and half."""
    mean = np.bincount(number.ravel(), noise.ravel()) / np.bincount(number.ravel())
    return np.asarray(0.7 * mean[number] + 0.3 * noise)


def _river(
    y: np.ndarray, x: np.ndarray, core: int, margin: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the distance from the bank of a meandering river, below 0 in it, in pixels."""
    down = y / max(core, 60)
    phase = rng.uniform(0, 2 * np.pi, 3)
    course = margin + core * (0.7 - 0.35 * (y - margin) / core)
    bend = 0.07 * core * np.sin(7 * down + phase[0])
    bend = bend + 0.035 * core * np.sin(17 * down + phase[1])
    slope = np.gradient(course + bend, axis=0)
    width = 1.6 + 0.5 * np.sin(9 * down + phase[2])
    return np.asarray(np.abs(x - course - bend) / np.hypot(1, slope) - width)


def _settle(
    cover: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    classes: int,
    core: int,
    margin: int,
    edge: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Put a town with streets and villages on the map; return where the main road runs."""
    y, x = at
    shape = cover.shape
    rim = _smooth_noise(shape, 7, rng) + 0.5 * _smooth_noise(shape, 2, rng)
    down, right = (margin + core * s for s in (0.36, 0.4))
    angle = rng.uniform(0.1, 0.5)
    along = (x - right) * np.cos(angle) + (y - down) * np.sin(angle)
    side = (y - down) * np.cos(angle) - (x - right) * np.sin(angle)
    radius = 0.11 * core
    town = np.hypot(along / 1.25, side) + 0.16 * radius * rim < radius
    places = np.argwhere(edge < 0.5)
    villages = max(1, cover.size // 9000) if len(places) else 0  # a tiny map may have no road
    for row, column in places[rng.integers(0, max(len(places), 1), villages)]:
        house = np.hypot(*(np.indices(shape) - np.array([row, column])[:, None, None]))
        town |= house + 1.8 * rim < rng.uniform(2, 6)
    street = _cut(along - along.min(), 6, rng), _cut(side - side.min(), 5, rng)
    streets = sum(
        np.abs(np.diff(s, axis=a, prepend=-1)) for s, a in zip(street, (1, 0), strict=True)
    )
    main_road = np.abs(side) < 0.6
    cover[town] = classes + 4
    cover[town & (np.asarray(streets) > 0)] = classes + 3
    cover[town & (rim > 1.7)] = classes
    cover[main_road] = classes + 3
    return np.asarray(main_road)
