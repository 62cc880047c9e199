"""Plain arrays back into labelled cubes: dims, coords, attrs and CRS as the caller's had them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Array, Labelled
from xstf.cubes.crs import grid_mapping_name
from xstf.cubes.grid import same_crs
from xstf.cubes.grid_attrs import attrs_on, is_of_grid
from xstf.cubes.labels import Frame, carried, frame_of, kept_attrs, on_chunks
from xstf.cubes.read import Cube
from xstf.cubes.variables import band_variables
from xstf.cubes.words import warn_user
from xstf.cubes.writable import writable

# What a result with its quality has besides the estimate, in the order of the layers.
QUALITY = ("_std", "_flag", "_n_obs")


def assemble(
    layers: Array,
    like: Cube,
    times: np.ndarray,
    attrs: Mapping[str, object],
    quality: bool,
    meanings: str,
    *,
    own_dates: bool = True,
    dropped: Sequence[Hashable] = (),
) -> Labelled:
    """Return the layers of a result with a cube's labels: one cube, or with its quality a Dataset.

    Parameters
    ----------
    layers : array (time, layer, band, y, x)
        The estimate; with `quality` its standard deviation, flag and number of observations too.
    like : Cube
        Whose grid, bands, dim order, attrs and CRS they have.
    times : ndarray of datetime64
    attrs : dict
        Added to the cube's own.
    quality : bool
    meanings : str
        Of the flag's values from 0 on, as CF writes them.
    own_dates : bool
        Whether dates that the cube has too are those of its own images, so that coordinates and
        variables along its time hold if it has all of them.
    dropped : sequence
        Variables of the cube's Dataset that were left out already, since they lie elsewhere.
    """
    frame = frame_of(like, times, own_dates=own_dates)
    kinds = _layer_attrs(meanings) if quality else {}
    if isinstance(like.source, xr.Dataset):
        bands = _bands(layers, like.source, like, frame, attrs, kinds)
        variables, coords, left_out = carried(like, frame, times, own_dates=own_dates)
        out: Labelled = _with_carried(bands, variables, coords, [*dropped, *left_out])
    else:
        said = kept_attrs(like.source.attrs, like.grid) | dict(attrs)
        if not quality:
            out = frame.fill(layers[:, 0], like.name, said)
        else:
            parts = {like.name: frame.fill(layers[:, 0], None, said)}
            for layer, (ending, own) in enumerate(kinds.items(), 1):
                other = kept_attrs(like.source.attrs, like.grid) if ending == "_std" else own
                parts[like.name + ending] = frame.fill(_typed(layers, layer), None, other)
            out = xr.Dataset(parts, attrs=attrs)
    return writable(_on_own_chunks(out))


def assemble_on(
    layers: Array,
    bands: Cube,
    place: Cube,
    attrs: Mapping[str, object],
    quality: bool,
    meanings: str,
    times: np.ndarray | None = None,
) -> Labelled:
    """Return layers ``(time, layer, band, y, x)`` with one cube's bands on another's grid.

    Parameters
    ----------
    bands : Cube
        Whose bands, times, attrs and dim order the result has.
    place : Cube
        Whose grid, coordinates of y and x and CRS it has.
    times : ndarray of datetime64, optional
        Other dates than those of `bands`.
    """
    like, dropped = _moved(bands, place)
    own = times is None
    if times is None:
        times = np.array(["NaT"], "M8[ns]") if bands.times is None else bands.times
    out = assemble(layers, like, times, attrs, quality, meanings, own_dates=own, dropped=dropped)
    if bands.dims[0] is None:
        out = out.isel(time=0, drop=bands.times is None)
    return out


# --- the result -------------------------------------------------------------------------------


def _layer_attrs(meanings: str) -> dict[str, dict[Hashable, Any]]:
    """Return the layers of quality by their ending, each with what it says of itself."""
    values = np.arange(len(meanings.split()), dtype=np.uint8)
    counted: dict[Hashable, Any] = {
        "long_name": "observations that the estimate rests on",
        "units": "1",
    }
    own: tuple[dict[Hashable, Any], ...] = (
        {}, {"flag_values": values, "flag_meanings": meanings}, counted,
    )  # fmt: skip
    return dict(zip(QUALITY, own, strict=True))


def _typed(layers: Any, layer: int) -> Any:
    """Return one layer in the type of its kind."""
    types = (None, None, np.uint8, np.uint16)
    one = layers[:, layer]
    return one if types[layer] is None else one.astype(types[layer])


def _bands(
    layers: Any, source: xr.Dataset, like: Cube, frame: Frame, attrs: Mapping[str, object],
    kinds: Mapping[str, dict[Hashable, Any]],
) -> xr.Dataset:  # fmt: skip
    """Return the layers as a Dataset of bands, as the cube came."""
    parts: dict[Hashable, xr.DataArray] = {}
    shared = kept_attrs(source.attrs, like.grid) | dict(attrs)
    for layer, (ending, own) in enumerate({"": {}, **kinds}.items()):
        for i, name in enumerate(band_variables(source)):
            band = slice(None) if frame.axes[1] is not None else slice(i, i + 1)
            of_band: dict[Hashable, Any] = (
                kept_attrs(source[name].attrs, like.grid) if ending in ("", "_std") else {**own}
            )
            said = shared | of_band if ending == "" else of_band
            full = f"{name}{ending}" if ending else name
            parts[full] = frame.fill(_typed(layers, layer)[:, band], None, said)
    return xr.Dataset(parts, attrs=shared)


def _with_carried(
    out: xr.Dataset,
    variables: Mapping[Hashable, xr.Variable],
    coords: Mapping[Hashable, xr.Variable],
    left_out: Sequence[Hashable],
) -> xr.Dataset:
    """Return a result with the variables beside its bands that still hold; warn of the others."""
    if left_out:
        warn_user(
            f"{left_out} are no bands and left out: the result has another grid or other dates "
            "than they have"
        )
    taken = {n: v for n, v in variables.items() if n not in out.variables}
    return out.assign_coords(coords).assign(taken)


def _on_own_chunks(out: Labelled) -> Labelled:
    """Return a result whose coordinates and further variables are in the chunks of its values."""
    first = (
        out.variable
        if isinstance(out, xr.DataArray)
        else next(iter(out.data_vars.values())).variable
    )
    coords = on_chunks({n: c.variable for n, c in out.coords.items() if n not in out.dims}, first)
    out = out.assign_coords(coords)
    if isinstance(out, xr.Dataset) and first.chunks is not None:
        lazy = {n: v.variable for n, v in out.data_vars.items() if v.chunks is not None}
        out = out.assign(on_chunks(lazy, first))
    return out


# --- another grid -----------------------------------------------------------------------------


def _moved(bands: Cube, place: Cube) -> tuple[Cube, list[Hashable]]:
    """Return a cube's labels on another's grid, its values do not matter; and what lies elsewhere.

    Between CRSs the dims of space are called as those of `place`: metres along "lat" mislead.
    """
    source, old = bands.source, bands.dims[2:]
    new = old if same_crs(bands.grid.crs, place.grid.crs) else place.dims[2:]
    like = replace(bands, grid=place.grid, dims=(*bands.dims[:2], *new))
    if isinstance(source, xr.DataArray):
        return replace(like, source=_moved_array(source, bands, place, new)), []
    names = band_variables(source)
    moved = xr.Dataset(
        {n: _moved_array(source[n], bands, place, new) for n in names},
        attrs=attrs_on(source.attrs, place.grid, moved=True),
    )
    mappings = {grid_mapping_name(source), grid_mapping_name(place.source)}
    beside = [n for n in source.data_vars if n not in names and n not in mappings]
    dropped = [n for n in beside if set(old) & set(source[n].dims) or is_of_grid(n)]
    kept = {n: source[n].variable for n in beside if n not in dropped and n not in moved.variables}
    return replace(like, source=moved.assign(kept)), dropped


def _moved_array(
    source: xr.DataArray, bands: Cube, place: Cube, new: tuple[Hashable, Hashable]
) -> xr.DataArray:
    """Return zeros that take no memory, with the coordinates that hold on the other grid."""
    old, there = bands.dims[2:], place.dims[2:]
    size = dict(zip(new, (place.grid.height, place.grid.width), strict=True))
    dims = [dict(zip(old, new, strict=True)).get(d, d) for d in source.dims]
    sizes = {d: size.get(d, source.sizes.get(d, 1)) for d in dims}
    mapping, own = grid_mapping_name(source), grid_mapping_name(place.source)
    coords = {
        name: c.variable
        for name, c in source.coords.items()
        if not {*old, *new} & set(c.dims) and name != mapping and not is_of_grid(name)
    }
    called = dict(zip(there, new, strict=True))
    for name, c in place.source.coords.items():
        if c.dims and set(c.dims) <= set(there) and name not in coords:
            moved = c.variable.to_base_variable()
            moved.dims = [called[d] for d in c.dims]
            coords[called.get(name, name)] = moved
    if own is not None:
        coords[own] = xr.Variable((), 0, place.source[own].attrs)
    blank = np.broadcast_to(np.float32(0), tuple(sizes.values()))
    attrs = attrs_on(source.attrs, place.grid, moved=True)
    out = xr.DataArray(blank, coords, tuple(sizes), name=source.name, attrs=attrs)
    if own is not None:
        out.encoding["grid_mapping"] = own
    return out
