"""The verb `gapfill`: check, choose, tile, label."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xstf import _call, _checkpoint, _engines, _guides, _inputs, _labels, _pairs, _samples, _tiles
from xstf._flags import FLAG_MEANINGS
from xstf._gap_tile import GapTile
from xstf._guide_tile import GuideTile
from xstf._inputs import Cube
from xstf._method import Method, get_method, method_names
from xstf.methods.gapfill._screen import SCREEN_HALO
from xstf.methods.gapfill._screen import screen as find_outliers
from xstf.methods.gapfill._season import season_state

# Bytes of one tile with its halo, all dates and bands. Without a halo small ones are best, which
# stay in a core's cache; with one, large ones, whose halo is the smaller part of them; kernels hold
# several arrays of that size.
TILE_BYTES, HALO_TILE_BYTES = 6e6, 96e6
LARGEST_TILE, SMALLEST_TILE = 512, 32
# Bytes of a chunk of a lazy result at most, where the cube was chunked along time.
CHUNK_BYTES = 128e6
# Series of fewer dates say too little of what is usual to call anything an outlier.
SCREEN_FEWEST = 12


def gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: xr.DataArray | xr.Dataset | None = None,
    *,
    mask: xr.DataArray | None = None,
    method: str | Method = "auto",
    guide: xr.DataArray | xr.Dataset | None = None,
    max_gap: Any = None,
    smooth: bool = False,
    screen: bool | Literal["replace"] | None = None,
    certain: xr.DataArray | None = None,
    sar_units: Literal["dB", "linear"] | None = None,
    guide_tolerance: str = "12D",
    engine: str | None = None,
    device: str | None = None,
    return_quality: bool = False,
    progress: bool = False,
    **params: Any,
) -> Any:
    """Return a cube with its missing pixels filled.

    Parameters
    ----------
    cube : DataArray ``(time, band, y, x)`` or Dataset of bands
        Any dim order, irregular and unsorted dates; NaN or its nodata value where missing.
        ``band`` may be absent. Values may be anything: none is clipped.
    sar : DataArray ``(time, band, y', x')`` or Dataset of bands, optional
        Radar backscatter (Sentinel-1 VV, VH) on any grid, CRS and dates. It is used where it is;
        what it does not cover is filled without it. A coordinate along its time named ``orbit``,
        ``orbit_state`` or the like keeps the images of different orbits apart.
    mask : DataArray of bool, optional
        True where `cube` is not usable (clouds); on its grid, with any of its dims. See
        :mod:`xstf.masks`.
    method : str or Method
        A name from ``xstf.list_methods("gapfill")``, a record, or ``"auto"``.
    guide : DataArray or Dataset of bands, optional
        Any other cube that sees through clouds (a coarse sensor, an index), taken as `sar` is, its
        values as they are.
    max_gap : number of days or timedelta-like, optional
        Gaps longer than this, from one observation of a pixel to the next, stay missing.
    smooth : bool
        Return the method's smooth at observed pixels too. Default: each observed pixel is returned
        bit for bit.
    screen : bool or "replace", optional
        Leave outliers (clouds, haze and shadows that the mask missed) out of the evidence. They
        stay in the result as they are, with their own flag; ``"replace"`` fills them like missing
        ones. Default: for ``method="auto"`` alone; see Notes.
    certain : DataArray of bool, optional
        True where a pixel is certainly clear: never screened. On the cube's grid, with any of its
        dims but the band.
    sar_units : {"dB", "linear"}, optional
        Of `sar`, where its ``units`` attribute does not say.
    guide_tolerance : str
        How far in time an image of `sar` or `guide` may be from a date, as pandas reads it. Those
        within are averaged, the nearer the more.
    engine : {"numba", "numpy"}, optional
        Default: the method's first.
    device : str, optional
        For GPU engines.
    return_quality : bool
        Return a Dataset of the filled cube, ``<name>_std`` (one standard deviation of an
        observation, same units) and ``<name>_flag`` instead; for a Dataset of bands each has its
        two.
    progress : bool
        Show a bar on stderr (numpy cubes; for dask ones use dask's own).
    **params
        The method's parameters, as ``xstf.get_method("gapfill", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        As `cube`, float32, same dims, coords, attrs and CRS; lazy if an input is, with all dates in
        one chunk. NaN where the method has nothing to say.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no time, too few dates, a mask on another grid, SAR that nowhere
        overlaps, bad parameters.

    Notes
    -----
    Screening looks for observations that depart from the pixel's own season, and from what comes
    before and after, together with those around them; a change that lasts is kept. On simulated
    Sentinel-2 scenes with 1 % of missed haze it takes 1 to 2 % off the error of ``"auto"``, whose
    parts withstand most of it themselves; under thick haze it takes a quarter to a half off that of
    ``"linear"``. Other methods are left to do what their name says. Series of fewer than
    `SCREEN_FEWEST` dates are too short to tell what is unusual, and are never screened by default.

    For numpy cubes ``attrs["stf_screened"]`` says how much was left out, and
    ``attrs["stf_choice"]`` which methods ``"auto"`` used on each date; a lazy cube's are not known
    before it is computed, its flag tells.

    Examples
    --------
    >>> import xstf
    >>> cube, sar = xstf.testing.holes()
    >>> filled = cube.stf.gapfill(method="linear")
    >>> bool(cube.isnull().any()), bool(filled.isnull().any())
    (True, False)
    """
    optical = _inputs.read(cube, what="cube", mask=mask)
    if optical.times is None or optical.dims[0] is None:
        raise ValueError("cube has no time dim; stack its images along one with datetime64 dates")
    record = get_method("gapfill", method)
    options = _call.make_params(record, params)
    if return_quality:
        _call.require_std(record)
    _check_can(record, optical, smooth=smooth, guided=sar is not None or guide is not None)
    order = np.argsort(optical.times, kind="stable")
    times = _guides.days(optical.times[order], optical.times.min())
    guides = []
    for given, what in ((sar, "sar"), (guide, "guide")):
        if given is not None:
            guides.append(_guides.read(given, what, optical, order, guide_tolerance, sar_units))
    screens = _screens(screen, record, len(times))
    chosen = _engines.pick(record, engine, optical.data)
    runner = _engines.make_runner(record, chosen, device)
    attrs = _call.attrs("gapfill", record, options, optical)
    known: dict[str, Any] | None = None
    if record.net is not None:
        train = partial(
            _train, record, cube, sar, mask=mask, guide=guide, sar_units=sar_units,
            guide_tolerance=guide_tolerance, device=device, progress=progress,
            **({"prior": options.prior} if options.prior else {}),
        )  # fmt: skip
        options, known, attrs["stf_weights"] = _checkpoint.resolve(
            record, options, bands=optical.bands, ratio=1, fit=train,
            guides=sum(len(t.weights) * g.data.shape[1] for g, t in guides),
        )  # fmt: skip
        known["day"] = _guides.day_of_year(optical.times.min())
    function = GapTile(
        runner=runner,
        params=options,
        times=times,
        back=None if (np.diff(order) > 0).all() else np.argsort(order),
        shape=(optical.grid.height, optical.grid.width),
        halo=record.halo(options, 1) + (SCREEN_HALO if screens else 0),
        guides=tuple(tile for _, tile in guides),
        screens=screens,
        certain=certain is not None,
        replace=screen == "replace",
        smooth=smooth,
        max_gap=_max_gap(max_gap),
        std=return_quality,
        placed=known is not None,
    )
    sure = None if certain is None else _certain(certain, optical)
    job = _job(record, options, optical, order, sure, guides, function, known)
    jobs, states = _tiles.settled([job])
    layers = _tiles.run(
        jobs, chunks=_chunks(optical, 3 if return_quality else 1),
        tile=_tile(optical, function.halo) if known is None else _checkpoint.lattice_tile(options),
        progress=progress,
    )  # fmt: skip
    attrs |= _said(states, optical.times[order])
    filled = layers[0].swapaxes(0, 1)
    return _labels.assemble(filled, optical, optical.times, attrs, return_quality, FLAG_MEANINGS)


# --- pieces -----------------------------------------------------------------------------------


def _check_can(record: Method, cube: Cube, *, smooth: bool, guided: bool) -> None:
    """Raise if a method cannot do what is asked of it."""
    if smooth and not record.smooth:
        raise ValueError(
            f"{record.name} fills and does not smooth; {_call.names_with('gapfill', 'smooth')} do"
        )
    if guided and not record.guided:
        raise ValueError(
            f"{record.name} makes no use of sar= or guide=; "
            f"{_call.names_with('gapfill', 'guided')} do"
        )
    dates = cube.data.shape[0]
    if dates < record.fewest:
        able = [n for n in method_names("gapfill") if get_method("gapfill", n).fewest <= dates]
        raise ValueError(
            f"{record.name} needs {record.fewest} dates or more to fill one from the others, the "
            f"cube has {dates}; {able} work with so few"
        )


def _max_gap(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, int | float) and not isinstance(given, bool):
        days = float(given)
    else:
        days = _pairs.timedelta(given, "max_gap") / np.timedelta64(1, "D")
    if not days > 0 or not math.isfinite(days):
        raise ValueError(f"max_gap must be a positive number of days or such as '30D', not {given}")
    return days


def _screens(screen: bool | str | None, record: Method, dates: int) -> bool:
    """Return whether to look for outliers."""
    if screen not in (None, True, False, "replace"):
        raise ValueError(f"screen must be True, False or 'replace', not {screen!r}")
    if screen is None:
        return record.name == "auto" and dates >= SCREEN_FEWEST
    return bool(screen)


def _job(
    record: Method, options: Any, cube: Cube, order: np.ndarray, certain: Any,
    guides: list[tuple[Cube, GuideTile]], function: GapTile, known: dict[str, Any] | None,
) -> _tiles.Job:  # fmt: skip
    """Return the filled cube as a job of the tiles."""
    dates = tuple(int(i) for i in order)
    sources = [_tiles.Source(cube.data, dates, function.around)]
    if certain is not None:
        sources.append(_tiles.Source(certain, dates, function.around))
    for guide, tile in guides:
        every = tuple(range(guide.data.shape[0]))
        sources.append(_tiles.Source(guide.data, every, _Around(function, tile)))
    states: tuple[Any, ...] = ()
    wanted = record.settle is not None and (function.std or not record.state_for_std)
    if wanted or function.screens or known is not None:
        screened = wanted or function.screens
        samples = {"cube": _samples.spots(cube.data)[:, order]} if screened else {}
        if guides and wanted:
            whole = [_guides.whole(guide, tile, function.shape) for guide, tile in guides]
            samples |= {f"guide{i}": _samples.spots(g) for i, g in enumerate(whole)}
        settle = partial(
            _settle, record.settle if wanted else None, times=function.times, params=options,
            screens=function.screens, known=known or {},
        )  # fmt: skip
        states = ((settle, samples),)
    lead = (3 if function.std else 1, len(dates), cube.data.shape[1])
    return _tiles.Job(function, tuple(sources), lead, function.shape, states)


@dataclass(frozen=True)
class _Around:
    """The part of a guide that a tile with its halo needs."""

    function: GapTile
    tile: GuideTile

    def __call__(self, rows: slice, cols: slice) -> tuple[slice, slice]:
        return self.tile.window(*self.function.around(rows, cols))


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cube of a call."""
    return importlib.import_module("xstf.train").fit(record, *cubes, **options)


def _settle(
    settle: Callable[..., Any] | None, samples: dict[str, Any], *, times: np.ndarray, params: Any,
    screens: bool, known: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Settle what screening and the method need: plain numpy, wherever the samples were.

    The method's settle sees no outliers, as its kernel sees none.
    """
    host = {name: _engines.to_host(value) for name, value in samples.items()}
    guides = [host.pop(name) for name in sorted(host) if name != "cube"]
    if guides:
        host["guide"] = np.concatenate(guides, axis=2)
    state: dict[str, Any] = {}
    if screens:
        state["screen"] = season_state(host["cube"], times)
        host["season"] = state["screen"]  # robust, so good enough for the method, too
        found = seen = 0
        for window in host["cube"]:
            outlier = find_outliers(window, times, state=state["screen"])
            found += int(outlier.sum())
            seen += int((~np.isnan(window).all(axis=1)).sum())
            window[np.broadcast_to(outlier[:, None], window.shape)] = np.nan
        state["screened"] = found / max(seen, 1)
    settled = {} if settle is None else settle(host, times=times, params=params)
    state["method"] = {**settled, **known}
    return state


def _said(states: list[Any], times: np.ndarray) -> dict[str, str]:
    """Return what the states of an eager run tell of it."""
    said = {}
    for state in states:
        if "screened" in state:
            said["stf_screened"] = f"{state['screened']:.2%} of the clear observations sampled"
        by_date = state["method"].get("said", ())
        if len(by_date):
            days = times.astype("datetime64[D]")
            said["stf_choice"] = "; ".join(f"{d} {t}" for d, t in zip(days, by_date, strict=True))
    return said


def _certain(given: xr.DataArray, cube: Cube) -> Any:
    """Return where pixels are certainly clear, as 0 and 1 ``(time, 1, y, x)``."""
    time, _, y, x = cube.dims
    if not isinstance(given, xr.DataArray) or given.dtype != bool:
        raise TypeError("certain must be a boolean DataArray (True = certainly clear)")
    extra = [d for d in given.dims if d not in (time, y, x)]
    if extra or y not in given.dims or x not in given.dims:
        raise ValueError(f"certain needs dims {[y, x]} and may have {time!r}; it has {given.dims}")
    source = _inputs.as_array(cube.source, what="cube")
    _inputs.require_fits(given, source, (y, x), cube.grid, "certain", "cube")
    bare = given.drop_vars(list(given.coords)).astype(np.float32)
    if time not in given.dims:
        bare = bare.expand_dims({time: source.sizes[time]})
    return bare.transpose(time, y, x).data[:, None]


def _chunks(cube: Cube, layers: int) -> tuple[Any, Any]:
    """Return the chunks of a lazy result along y and x: the caller's, unless they were too large.

    All dates are in one chunk of the result, so images that were a chunk each are cut smaller.
    """
    dates, bands, *size = cube.data.shape
    if not _tiles.is_lazy(cube.data):
        return tuple(size)
    own = cube.data.chunks
    side = int((CHUNK_BYTES / (4 * dates * bands * layers)) ** 0.5)
    if len(own[0]) > 1:
        warnings.warn(
            f"cube has {len(own[0])} chunks along time and filling needs all dates of a pixel: the "
            "result has one chunk along time and smaller ones along y and x; to save work chunk "
            f"the cube {{'time': -1, 'y': {min(side, size[0])}, 'x': {min(side, size[1])}}} on "
            "reading",
            stacklevel=3,
        )
    rows, cols = (
        chunks if max(chunks) <= side else _tiles.plan_chunks(n, min(side, n))
        for chunks, n in zip(own[2:], size, strict=True)
    )
    return rows, cols


def _tile(cube: Cube, halo: int) -> int:
    """Return a tile side that memory allows and that gives every core some tiles."""
    dates, bands, height, width = cube.data.shape
    most = HALO_TILE_BYTES if halo else TILE_BYTES
    room = int((most / (4 * dates * bands)) ** 0.5) - 2 * halo
    fair = int((height * width / (2 * _tiles.cores())) ** 0.5)
    return min(LARGEST_TILE, max(SMALLEST_TILE, min(room, fair)))
