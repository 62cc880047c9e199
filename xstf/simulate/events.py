"""Where land changes at once: water that leaves its bed, fields that are cut."""

from __future__ import annotations

import heapq
from numbers import Real

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt

from xstf.simulate.parcels import smooth_noise

# Relief beside the slope up from the water, in pixels of distance; over how many pixels it changes.
_RELIEF, _HILL = 6.0, 12.0
_DRY = ("built",)  # covers that stand out of a flood


def flood(land: xr.Dataset, share: float = 0.15, *, seed: int = 0) -> xr.DataArray:
    """Return where a river floods the land, ``(y, x)``, True under the new water.

    The land rises with the distance from water, with a relief on it. The water spreads from the
    river, or where a map has none from the lowest place, always over the lowest pixel beside it.

    Parameters
    ----------
    land
        As :func:`landscape` returns it: ``cover (y, x)`` with ``flag_meanings`` is used.
    share
        The share of the pixels that the flood covers, from 0 to 1. Houses stand out of it, and
        the river itself does not count: a flood that cannot be so large is as large as it can be.
    seed
        Of the relief.

    Returns
    -------
    xarray.DataArray
        ``flood (y, x)``, bool, with the coordinates of the map.

    Raises
    ------
    TypeError
        What is given is no map of `landscape`.
    ValueError
        A share that is none.

    Examples
    --------
    >>> from xstf import simulate
    >>> land = simulate.landscape((60, 60))
    >>> wet = simulate.flood(land, 0.1)
    >>> float(wet.mean())
    0.1
    """
    _check(land, share)
    cover, names = land["cover"].values, land["cover"].attrs["flag_meanings"].split()
    river = cover == names.index("water")
    dry = np.isin(cover, [names.index(name) for name in _DRY])
    relief = _RELIEF * smooth_noise(cover.shape, _HILL, np.random.default_rng(seed))
    height = relief + (distance_transform_edt(~river) if river.any() else 0)
    source = river if river.any() else height == height.min()
    wet = _risen(height, source, dry | river, round(share * cover.size))
    return _map_of(land, wet, "flood", "under the water of a flood")


def harvest(
    land: xr.Dataset, share: float = 0.5, *, classes: list[int] | None = None, seed: int = 0
) -> xr.DataArray:
    """Return which fields are cut, ``(y, x)``, True in a cut field: field by field, wholly.

    Parameters
    ----------
    land
        As :func:`landscape` returns it.
    share
        The share of the fields that are cut, from 0 to 1.
    classes
        The classes of fields that are looked at, numbers in ``cover``; None for all fields.
    seed
        Of the choice.

    Returns
    -------
    xarray.DataArray
        ``harvest (y, x)``, bool, with the coordinates of the map.

    Raises
    ------
    TypeError
        What is given is no map of `landscape`.
    ValueError
        A share that is none, or classes that are no fields.

    Examples
    --------
    >>> from xstf import simulate
    >>> land = simulate.landscape((60, 60))
    >>> bool((land.cover.values[simulate.harvest(land)] < 6).all())
    True
    """
    _check(land, share)
    cover, parcel = land["cover"].values, land["parcel"].values
    names = land["cover"].attrs["flag_meanings"].split()
    fields = [i for i, name in enumerate(names) if name.startswith("field_")]
    wanted = fields if classes is None else list(classes)
    if not set(wanted) <= set(fields):
        raise ValueError(f"classes are {wanted}; the fields of the map are of {fields}")
    here = np.isin(cover, wanted)
    numbers = np.unique(parcel[here])
    rng = np.random.default_rng(seed)
    cut = rng.permutation(numbers)[: round(share * numbers.size)]
    return _map_of(land, here & np.isin(parcel, cut), "harvest", "field that is cut")


def _risen(height: np.ndarray, source: np.ndarray, never: np.ndarray, count: int) -> np.ndarray:
    """Return the first ``count`` pixels that water from a source reaches, those of `never` aside.

    It takes the lowest pixel beside the water, again and again: what is wet is always joined.
    """
    met = source.copy()
    shore = [(-np.inf, int(at)) for at in np.flatnonzero(source)]
    columns = height.shape[1]
    wet = np.zeros(height.size, bool)
    left = min(count, int((~never).sum()))
    while left and shore:
        at = heapq.heappop(shore)[1]
        if not never.flat[at]:
            wet[at] = True
            left -= 1
        y, x = divmod(at, columns)
        for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= j < height.shape[0] and 0 <= i < columns and not met[j, i]:
                met[j, i] = True
                heapq.heappush(shore, (float(height[j, i]), j * columns + i))
    return wet.reshape(height.shape)


def _check(land: xr.Dataset, share: float) -> None:
    known = isinstance(land, xr.Dataset) and {"cover", "parcel"} <= set(land.data_vars)
    if not known or "flag_meanings" not in land["cover"].attrs:
        raise TypeError("give the map of `landscape`: cover (named classes) and parcel")
    if not isinstance(share, Real) or not 0 <= share <= 1:
        raise ValueError(f"share is from 0 to 1, not {share!r}")


def _map_of(land: xr.Dataset, found: np.ndarray, name: str, what: str) -> xr.DataArray:
    """Return a mask with the labels of the map."""
    mask = land["cover"].copy(data=found).rename(name)
    mask.attrs = {"long_name": what}
    return mask
