"""Cases with a known truth: a coarse view of a cube, clouds over it, gaps moved to other dates.

Everything random is drawn from a seed: the same arguments give the same numbers, whatever the
chunks are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from xstf.cubes.acquisitions import dates_of, longitude_of
from xstf.cubes.dims import find_dim
from xstf.cubes.packing import RANGE, nodata_by_name
from xstf.cubes.pairs import DateLike, LengthLike, read_timedelta
from xstf.cubes.read import read_labels
from xstf.cubes.words import listed
from xstf.numerics.psf import sigma_of
from xstf.simulate.coarse_grid import on_coarse_grid
from xstf.simulate.parcels import smooth_noise
from xstf.simulate.transplant import choose, near, positions

Regime = Literal["partial", "persistent", "full"]

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
        ``(…, y, x)``, found by name or CF attributes, any dim order, NaN where missing. The coarse
        grid starts at the outer corner of its first pixel.
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
    ratio = _whole(ratio)
    y, x = _check_degrade(cube, ratio, psf_fwhm, noise, min_valid)
    mixed = cube if srf is None else _mix_bands(cube, srf)
    mixed = mixed.astype(np.result_type(mixed.dtype, np.float32)).transpose(..., y, x)
    coarse = _seen(mixed, ratio, sigma_of(psf_fwhm * ratio), min_valid)
    if noise:
        coarse = coarse + noise * _noise_like(coarse, seed)
    coarse = coarse.astype(mixed.dtype).transpose(*cube.dims)
    return on_coarse_grid(coarse, cube, ratio, (y, x))


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
    time = find_dim(cube, "time") or "time"
    dates = cube.sizes.get(time, 1)
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
    dims = (time, y, x)
    found = xr.DataArray(mask, {d: cube[d] for d in dims if d in cube.coords}, dims, "clouds")
    return found if time in cube.dims else found.squeeze(time, drop=time not in cube.coords)


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
    cloudy = cube.where(~clouds(cube, cover, seed=seed, size=size))
    cloudy = cloudy.transpose(*cube.dims)
    cloudy.encoding = {k: v for k, v in cube.encoding.items() if k == "grid_mapping"}
    return cloudy


# ---------------------------------------------------------------- gaps moved to other dates


def transplant_mask(
    cube: xr.DataArray,
    *,
    mask: xr.DataArray | None = None,
    regime: Regime = "partial",
    days: LengthLike = 25.0,
    share: tuple[float, float] = (0.2, 0.8),
    dates: int | DateLike | Sequence[int] | None = None,
    seed: int = 0,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the cube with clear pixels masked in the shapes of its real gaps, and where they are.

    Simulated clouds are not like real ones. This takes the shape of the gap of one date and masks
    it on another one: fill the cube, and compare it with the original where the second result is
    True. A dask cube is read once, for where it is missing; the first
    result is lazy.

    Parameters
    ----------
    cube
        ``(time, …, y, x)``, NaN where missing; a pixel is clear if any band is.
    mask
        Boolean, on the cube's grid and dates: True where it is not usable. Its gaps count as the
        cube's own; they are not masked in the result.
    regime
        ``"partial"`` masks the shape on one date alone; ``"persistent"`` the same shape on all
        dates within ``days`` of it; ``"full"`` all pixels of all dates within ``days``. All images
        of one solar day are masked alike: they show the same.
    days
        How long before and after a date the gap lasts, but for ``"partial"``: a number of days, or
        such as ``"4W"``.
    share
        The least and the most of a date's clear pixels that a moved shape may mask.
    dates
        How many dates are given a gap, or which (labels of the time coordinate). None takes one in
        eight. Dates of which less than half is clear are not chosen unless named.
    seed
        Of the choice of dates and shapes.

    Returns
    -------
    holed : xarray.DataArray
        The cube, NaN where masked.
    held : xarray.DataArray
        Boolean ``(time, y, x)``: the clear pixels masked on the chosen dates themselves, the
        middle of each gap. Those that a longer gap masks on the dates around are not among them.

    Examples
    --------
    >>> from xstf import scenes, simulate
    >>> cloudy = simulate.add_clouds(scenes.nested().truth, [0.3, 0, 0, 0.5, 0.1])
    >>> holed, held = simulate.transplant_mask(cloudy, dates=1)
    >>> held.any(("y", "x")).values
    array([False, False,  True, False, False])
    >>> int(held.sum()) == int((holed.isnull() & cloudy.notnull()).isel(band=0).sum())
    True
    """
    dims = _check_transplant(cube, regime, share)
    length = float(read_timedelta(days, "days") / np.timedelta64(1, "D"))
    _require_decoded(cube)
    clear = cube.notnull()
    clear = clear.any([d for d in cube.dims if d not in dims]).transpose(*dims).compute()
    if mask is not None:
        if mask.dtype != bool:
            raise TypeError(f"mask has dtype {mask.dtype}; give booleans, True where not usable")
        clear, barred = xr.align(clear, mask.compute(), join="exact")
        clear = (clear & ~barred).transpose(*dims)
    there = clear.values
    masked, held = np.zeros(there.shape, bool), np.zeros(there.shape, bool)
    when = cube[dims[0]].values
    reach = _one_day(cube, dims, when)
    if regime != "partial":
        reach = reach | near(when, length)
    counted = dates is None or isinstance(dates, (int, np.integer))
    wanted: Any = dates if counted else positions(when, np.atleast_1d(np.asarray(dates)))
    cover = None if regime == "full" else share
    gaps = choose(there, reach, cover, wanted, np.random.default_rng(seed))
    for date, shape in gaps:
        masked[reach[date]] |= shape
        held[date] = shape & there[date]
    bare = clear.drop_attrs()
    holed = cube.where(~bare.copy(data=masked)).transpose(*cube.dims)
    holed.encoding = {k: v for k, v in cube.encoding.items() if k == "grid_mapping"}
    return holed, bare.copy(data=held).rename("held")


def _one_day(cube: xr.DataArray, dims: Sequence[Hashable], when: np.ndarray) -> np.ndarray:
    """Return which dates are of the solar day of which, ``(date, date)``: they show the same."""
    if when.dtype.kind != "M":
        return np.eye(len(when), dtype=bool)
    placed = all(dim in cube.coords for dim in dims[1:])
    grid = read_labels(cube, what="cube", unique=False, unsized=True).grid if placed else None
    days = dates_of(when, None if grid is None else longitude_of(grid, dims[2])).days
    return np.asarray(days[:, None] == days)


def _check_transplant(
    cube: xr.DataArray, regime: str, share: tuple[float, float]
) -> tuple[Hashable, Hashable, Hashable]:
    """Return the dims time, y, x, or say what cannot be."""
    time = find_dim(cube, "time")
    if time is None:
        raise ValueError(f"no dim time in {listed(cube.dims)}: a gap is moved from date to date")
    if regime not in get_args(Regime):
        raise ValueError(f"regime is {regime!r}; there are {list(get_args(Regime))}")
    if not 0 < share[0] <= share[1] <= 1:
        raise ValueError(f"share is {share}; give the least and the most, above 0 and up to 1")
    if regime != "partial" and cube[time].dtype.kind != "M":
        raise ValueError(f"regime={regime!r} counts days: give {time!r} dates (datetime64)")
    return time, *_space(cube)


def _whole(ratio: Any) -> Any:
    """Return a whole number that is written as a floating one, such as 8.0, as such."""
    return int(ratio) if isinstance(ratio, float | np.floating) and ratio.is_integer() else ratio


def _check_degrade(
    cube: xr.DataArray, ratio: int, psf_fwhm: float, noise: float, min_valid: float
) -> tuple[Hashable, Hashable]:
    if not isinstance(cube, xr.DataArray):
        how = "; bands of a Dataset become one by .to_array('band')" if isinstance(
            cube, xr.Dataset) else ""  # fmt: skip
        raise TypeError(f"degrade takes a DataArray, not a {type(cube).__name__}{how}")
    if not isinstance(ratio, int | np.integer) or isinstance(ratio, bool) or ratio < 1:
        raise ValueError(f"ratio must be a whole number, 1 or more, not {ratio!r}")
    for name, value in (("psf_fwhm", psf_fwhm), ("noise", noise)):
        if not isinstance(value, Real) or not value >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value!r}")
    if not isinstance(min_valid, Real) or not 0 < min_valid <= 1:
        raise ValueError(f"min_valid must be above 0 and at most 1, not {min_valid!r}")
    if cube.dtype.kind not in "iuf":
        raise TypeError(f"the cube has dtype {cube.dtype}; degrade needs real numbers")
    _require_decoded(cube)
    return _space(cube)


def _require_decoded(cube: xr.DataArray) -> None:
    """Raise if numbers of a cube stand for missing: they would go into means."""
    codes = nodata_by_name(cube)
    ranges = [key for key in RANGE if cube.attrs.get(key) is not None]
    if cube.dtype.kind == "f":
        if cube.chunks is not None or not any(bool((cube == c).any()) for v in codes.values()
                                              for c in v):  # fmt: skip
            return
        ranges = []
    for name in (*codes, *ranges):
        kind = "integers" if cube.dtype.kind in "iu" else "values"
        raise ValueError(
            f"the cube has {kind} with {name}={cube.attrs[name]}: decode it to NaN first "
            "(xr.decode_cf, or open_dataset with mask_and_scale=True)"
        )


def _space(cube: xr.DataArray) -> tuple[Hashable, Hashable]:
    """Return the spatial dims, y first, by name or CF attributes."""
    y, x = find_dim(cube, "y"), find_dim(cube, "x")
    if y is None or x is None:
        raise ValueError(f"no dims y and x (or lat and lon) in {listed(cube.dims)}: rename yours")
    return y, x


def _mix_bands(cube: xr.DataArray, srf: xr.DataArray) -> xr.DataArray:
    """Return the cube in the bands of another sensor, missing where a band that it needs is."""
    shared = [d for d in srf.dims if d in cube.dims]
    if srf.ndim != 2 or len(shared) != 1:
        raise ValueError(
            f"srf needs dims (new_band, band), one of them the cube's: srf has {listed(srf.dims)}, "
            f"the cube {listed(cube.dims)}"
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


def _seen(cube: xr.DataArray, ratio: int, sigma: float, min_valid: float) -> xr.DataArray:
    """Return means of blocks of a cube (…, y, x) under a Gaussian of sigma pixels, bare."""
    y, x = cube.dims[-2:]
    there = cube.notnull().astype(cube.dtype)
    images = xr.Dataset({"signal": cube.fillna(0), "weight": there, "area": there})
    if sigma:
        images["signal"] = _blurred(images["signal"], sigma)
        images["weight"] = _blurred(images["weight"], sigma)
    edge = {dim: (0, -cube.sizes[dim] % ratio) for dim in (y, x)}
    along = [n for n, c in images.coords.items() if y in c.dims or x in c.dims]
    images = images.drop_vars(along).pad(edge, constant_values=0)
    images = images.coarsen({y: ratio, x: ratio}).mean()
    usable = (images["area"] > min_valid - 1e-6) & (images["weight"] > 0)  # 1e-6: float32 means
    return images["signal"] / images["weight"].where(usable)


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


def _blobs(
    shape: tuple[int, int], share: float, size: float, rng: np.random.Generator
) -> np.ndarray:
    """Return True in a given share of the pixels, in blobs with ragged rims."""
    rough = sum(w * smooth_noise(shape, size / s, rng) for w, s in ((1, 3), (0.3, 9), (0.12, 27)))
    order = np.argsort(np.asarray(rough).ravel(), kind="stable")[::-1]
    covered = np.zeros(order.size, dtype=bool)
    covered[order[: round(share * order.size)]] = True
    return covered.reshape(shape)
