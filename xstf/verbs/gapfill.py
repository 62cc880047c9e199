"""The verb `gapfill`: read, align, choose, tile, label."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import xarray as xr

from xstf._method import Method
from xstf.align.dates import on_dates
from xstf.align.gapfill import GapfillCubes, align_gapfill
from xstf.cubes.arrays import Guides, Labelled
from xstf.cubes.pairs import DateLike, LengthLike, read_timedelta
from xstf.cubes.read import Cube
from xstf.cubes.series import unfold
from xstf.cubes.values import as_values
from xstf.cubes.write import assemble
from xstf.methods.gapfill._intervals import with_intervals
from xstf.numerics.outliers import SCREEN_HALO
from xstf.tiles.chunks import check_fits, result_chunks
from xstf.tiles.flags import FLAG_MEANINGS, LAYERS
from xstf.tiles.gapfill import GapfillTile, gapfill_job
from xstf.tiles.run import cores, is_lazy
from xstf.verbs.by_trial import run_best, wants_trial
from xstf.verbs.checkpoint import NetworkCubes
from xstf.verbs.pipeline import Chunks, choose, compute, named, prepare, records_of
from xstf.verbs.watching import note

# Bytes of one tile with its halo, all dates and bands. Without a halo small ones are best, which
# stay in a core's cache; with one, large ones, whose halo is the smaller part of them; kernels hold
# several arrays of that size.
TILE_BYTES, HALO_TILE_BYTES = 6e6, 96e6
LARGEST_TILE, SMALLEST_TILE = 512, 32
# Without space a date is filled from others.
FEWEST_IN_TIME = 2
# Series of fewer dates say too little of what is usual to call anything an outlier.
SCREEN_FEWEST = 12


# Beyond these a checker cannot go: it lets any keyword pass as one of **params.
# fmt: off
@overload
def gapfill(
    cube: xr.DataArray, sar: Guides | None = ..., *, mask: xr.DataArray | None = ...,
    method: str | Method = ..., guide: Guides | None = ...,
    max_gap: LengthLike | None = ..., smooth: bool = ...,
    screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
    sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
    time: DateLike | None = ..., freq: str | None = ...,
    edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., return_quality: Literal[False] = ...,
    progress: bool = ..., **params: object,
) -> xr.DataArray: ...
@overload
def gapfill(
    cube: xr.DataArray, sar: Guides | None = ..., *, mask: xr.DataArray | None = ...,
    method: str | Method = ..., guide: Guides | None = ...,
    max_gap: LengthLike | None = ..., smooth: bool = ...,
    screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
    sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
    time: DateLike | None = ..., freq: str | None = ...,
    edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., return_quality: Literal[True],
    progress: bool = ..., **params: object,
) -> xr.Dataset: ...
@overload
def gapfill(
    cube: xr.Dataset, sar: Guides | None = ..., *, mask: xr.DataArray | None = ...,
    method: str | Method = ..., guide: Guides | None = ...,
    max_gap: LengthLike | None = ..., smooth: bool = ...,
    screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
    sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
    time: DateLike | None = ..., freq: str | None = ...,
    edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., return_quality: bool = ...,
    progress: bool = ..., **params: object,
) -> xr.Dataset: ...
@overload
def gapfill(
    cube: Labelled, sar: Guides | None = ..., *, mask: xr.DataArray | None = ...,
    method: str | Method = ..., guide: Guides | None = ...,
    max_gap: LengthLike | None = ..., smooth: bool = ...,
    screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
    sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
    time: DateLike | None = ..., freq: str | None = ...,
    edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    engine: str | None = ..., device: str | None = ..., return_quality: bool = ...,
    progress: bool = ..., **params: object,
) -> Labelled: ...
# fmt: on
def gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: Guides | None = None,
    *,
    mask: xr.DataArray | None = None,
    method: str | Method = "auto",
    guide: Guides | None = None,
    max_gap: LengthLike | None = None,
    smooth: bool = False,
    screen: bool | Literal["replace"] | None = None,
    certain: xr.DataArray | None = None,
    sar_units: Literal["dB", "linear"] | None = None,
    guide_tolerance: LengthLike = "12D",
    time: DateLike | None = None,
    freq: str | None = None,
    edge: Literal["fill", "nearest", "nan"] = "fill",
    scale: float | None = None,
    decoded: bool | None = None,
    valid_range: tuple[float, float] | None = None,
    engine: str | None = None,
    device: str | None = None,
    return_quality: bool = False,
    progress: bool = False,
    **params: object,
) -> Any:
    """Return a cube with its missing pixels filled.

    Parameters
    ----------
    cube : DataArray ``(time, band, y, x)`` or Dataset of bands
        Any dim order, irregular and unsorted dates; NaN or its nodata value where missing.
        ``band`` may be absent. Values may be anything: none is clipped. Of a Dataset, the variables
        that hold measurements are the bands; classes, masks, angles and the like come back
        untouched. ``y`` and ``x`` may be of one pixel or absent: series ``(time)``,
        ``(time, field)``, ``(time, band, field)``, of any dims, are filled each for itself by every
        method in time; ``sar``, ``guide`` and masks are then series, too, with the same labels, or
        one for all.
    sar : DataArray ``(time, band, y', x')`` or Dataset of bands, or several, optional
        Radar backscatter (Sentinel-1 VV, VH) on any grid, CRS and dates; a list of several sensors,
        or a dict with their names, each on its own. It is used where it is; what it does not cover
        is filled without it. Images of different orbits are kept apart; see Notes.
    mask : DataArray of bool, optional
        True where `cube` is not usable (clouds); with any of its dims. See :mod:`xstf.masks`. One
        on another grid of the same CRS (scene classes at 20 m) is brought to the cube's by nearest
        neighbour (``attrs["stf_mask"]`` says so); what it does not cover is not usable. Dates are
        taken by label.
    method : str or Method
        A name from ``xstf.list_methods("gapfill")``, a record, ``"auto"``, or ``"evaluate"``: the
        best of all by :func:`xstf.evaluate_gapfill` on a sample, which is read and worked on at the
        call; ``attrs["stf_choice"]`` says which, and how sure that is.
    guide : DataArray or Dataset of bands, or several, optional
        Any other cube that sees through clouds (a coarse sensor, an index), or a list or dict of
        such, taken as `sar` is, its values as they are.
    max_gap : number of days or timedelta-like, optional
        Gaps longer than this, from one observation of a pixel to the next, stay missing. Before the
        first and after the last one a gap reaches to the end of the record, or to a date asked for
        outside of it.
    smooth : bool
        Return the method's smooth at observed pixels too. Default: each observed pixel is returned
        bit for bit.
    screen : bool or "replace", optional
        Leave outliers (clouds, haze and shadows that the mask missed) out of the evidence. They
        stay in the result as they are, with their own flag; ``"replace"`` fills them like missing
        ones. Default: for ``method="auto"`` alone; see Notes.
    certain : DataArray of bool, optional
        True where a pixel is certainly clear: never screened. With any of the cube's dims but the
        band, on its grid or another as `mask`; where it does not reach nothing is certain.
    sar_units : {"dB", "linear"}, optional
        Of `sar`, where neither its ``units`` attribute nor its values say, or say it wrong.
    guide_tolerance : number of days or timedelta-like
        How far in time an image of `sar` or `guide` may be from a date. Those within are averaged,
        the nearer the more.
    time : date or sequence of dates, optional
        Dates of the result, instead of the cube's; see Notes.
    freq : str, optional
        The same at regular steps, from the day of the first image to that of the last: a pandas
        offset such as ``"5D"`` or ``"MS"`` (each month's first day); a bare number is days.
    edge : {"fill", "nearest", "nan"}
        What is before the first and after the last observation of a pixel and band: what the method
        says; that observation, with the method's standard deviation; or NaN. With the last two a
        pixel that is never observed in a band stays missing there.
    scale : float, optional
        What the values of `cube` are multiplied by first, after the scale and offset that its
        attributes say.
    decoded : bool, optional
        Whether the floating values of `cube` are scaled already, where ``scale_factor`` and the
        like are still in its attributes. Default: found out of the values, and said in a warning;
        a lazy cube's are taken as they are.
    valid_range : (float, float), optional
        Values of `cube` outside this are missing; in units of the values, after `scale`.
    engine : {"numba", "numpy"}, optional
        Default: the method's first.
    device : str, optional
        For GPU engines.
    return_quality : bool
        Return a Dataset of the filled cube, ``<name>_std`` (one standard deviation of an
        observation, same units), ``<name>_flag`` and ``<name>_n_obs`` instead; for a Dataset of
        bands each has its three. ``n_obs`` is how many clear observations the pixel's own series
        has in this band, on all dates, outliers left out.
    progress : bool
        Show a bar of tiles on stderr: at once, or of a lazy result whenever it is computed on this
        machine's threads. With a client of `dask.distributed`: ``distributed.progress``.
    **params
        The method's parameters, as ``xstf.get_method("gapfill", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        As `cube`, float32, same dims, coords, attrs and CRS; lazy if an input is, with all dates in
        one chunk. NaN where the method has nothing to say. On the dates of `time` or `freq` if
        either is given, ascending. What is along time is kept where the dates are the cube's.
        Labels that files cannot hold become text or numbers, which is said.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no time, too few dates, a mask on another grid, SAR that nowhere
        overlaps or whose units nothing tells, bad parameters.

    Notes
    -----
    Images of `cube` that are of one solar day (local time at the scene's longitude) and follow each
    other within minutes, such as the granules of one pass, are one acquisition and are merged
    first, pixel by pixel the first that is valid: the result has one date for them, and
    ``attrs["stf_acquisitions"]`` says so.

    With `time` or `freq` a date asked for is an image's if both are of one solar day: observed
    pixels come back bit for bit and are flagged so. Other dates are filled as a date wholly lost to
    clouds is, at the instant asked for, and flagged ``filled_in_time``. They are no evidence, and
    change nothing on other dates (next to nothing for ``"whittaker"``, ``"eof"`` and ``"auto"``).
    Methods that draw on the date's own clear pixels have their prediction in time alone. Networks
    take no such dates. Coordinates along time are kept where all dates asked for are images;
    otherwise ``attrs["stf_dates"]`` names those that were left out. The cost of ``"gp"``, and so of
    ``"auto"``, grows with the cube of the number of dates.

    Radar is in dB or linear power by its ``units`` (or by names such as ``VV_dB``), else by medians
    of its values, of which a few negative ones decide nothing; a lazy cube must say. Exact zeros,
    power below 0 or above 1000 and dB below -60 or above 100, so -32768 and -9999, are no echo,
    declared or not. Bands of angles and masks are left out. Images are told apart by the number of
    their relative orbit, else of their absolute one (of Sentinel-1, by its platform), else by the
    direction of flight, in coordinates along time such as ``sat:relative_orbit``, ``orbit`` and
    ``orbit_state``; tracks with one image are put together by direction.
    ``attrs["stf_guides"]`` says what was made of each guide.

    Screening looks for observations that depart from the pixel's own season, and from what comes
    before and after, together with those around them; a change that lasts is kept. On simulated
    Sentinel-2 scenes with 1 % of missed haze it takes 1 to 2 % off the error of ``"auto"``, whose
    parts withstand most of it themselves; under thick haze it takes a quarter to a half off that of
    ``"linear"``. Other methods are left to do what their name says. Series of fewer than
    `SCREEN_FEWEST` dates are too short to tell what is unusual, and are never screened by default.

    For numpy cubes ``attrs["stf_screened"]`` says how much was left out, and
    ``attrs["stf_choice"]`` which methods ``"auto"`` used on each date (``gp-alone`` is ``"gp"``
    without its guide), and ``attrs["stf_guide_use"]`` for which kind of gap its ``"gp"`` looks at
    `sar` and `guide`: where that fills hidden pixels better. A lazy cube's are not known before it
    is computed, its flag tells.

    Examples
    --------
    >>> import xstf
    >>> cube, sar = xstf.testing.holes()
    >>> filled = cube.stf.gapfill(method="linear")
    >>> bool(cube.isnull().any()), bool(filled.isnull().any())
    (True, False)
    """
    if wants_trial(method):
        return run_best("gapfill", dict(locals()))
    cube = as_values(
        cube, what="cube", scale=scale, decoded=decoded, valid_range=valid_range, mask=mask
    )
    cubes = align_gapfill(
        cube, sar, guide, mask=mask, certain=certain, sar_units=sar_units,
        guide_tolerance=guide_tolerance, time=time, freq=freq,
    )  # fmt: skip
    optical, asked = cubes.cube, cubes.asked
    note(cubes=cubes)
    call = choose(gapfill, "gapfill", method, params, quality=return_quality, progress=progress)
    if return_quality:
        call = replace(call, record=with_intervals(call.record))
    record = call.record
    alone = optical.series is not None
    _check_can(record, optical, smooth=smooth, guided=bool(cubes.guides), asked=asked is not None)
    if alone:
        call = replace(call, params=_in_time(record, call.params, optical))
    if edge not in ("fill", "nearest", "nan"):
        raise ValueError(f"edge must be 'fill', 'nearest' or 'nan', not {edge!r}")
    screens = _screens(screen, record, len(optical.dates))
    longest = _max_gap(max_gap)

    def network() -> NetworkCubes:
        prior = {"prior": call.params.prior} if call.params.prior else {}
        return NetworkCubes(
            cubes=(cube, sar), bands=optical.bands, guide_bands=cubes.guide_bands,
            reading={
                "mask": mask, "guide": guide, "sar_units": sar_units,
                "guide_tolerance": guide_tolerance, "device": device, "progress": progress, **prior,
            },
        )  # fmt: skip

    for guide_cube, _ in cubes.guides:
        check_fits(guide_cube.what, guide_cube.data, guide_cube.dims)
    run = prepare(call, (optical,), network, engine=engine, device=device, frame=cubes.frame_text)
    options, order = run.call.params, cubes.order
    function = GapfillTile(
        runner=run.runner,
        params=options,
        times=cubes.times,
        images=None if asked is None or len(asked.images) == len(asked.every) else asked.images,
        back=_back(cubes),
        shape=cubes.shape,
        halo=record.halo(options, 1) + (SCREEN_HALO if screens and not alone else 0),
        guides=tuple(tile for _, tile in cubes.guides),
        screens=screens,
        certain=certain is not None,
        replace=screen == "replace",
        smooth=smooth,
        max_gap=longest,
        edge=edge,
        std=return_quality,
        first_day=cubes.first_day,
        alone=alone,
    )
    job = gapfill_job(record, options, optical, order, cubes.certain, list(cubes.guides), function)
    dates = len(cubes.times)
    chunks = _chunks(optical, job.lead[1], LAYERS if return_quality else 1)
    layers, states = compute(
        run, [job], chunks=chunks, tile=_tile(optical, dates, function.halo), settled=True
    )
    wanted = np.arange(dates) if asked is None else asked.wanted
    attrs = run.attrs | _findings(states, cubes.dates, wanted)
    if cubes.guides_text:
        attrs["stf_guides"] = cubes.guides_text
    filled = layers[0].swapaxes(0, 1)
    if asked is not None:
        optical, lost = on_dates(optical, asked, order)
        without = f"; without {', '.join(lost)}, which are of images" if lost else ""
        attrs["stf_dates"] = asked.text + without
    out = assemble(filled, optical, optical.dates, attrs, return_quality, FLAG_MEANINGS)
    return out if optical.series is None else unfold(out, optical.series)


# --- pieces -----------------------------------------------------------------------------------


def _back(cubes: GapfillCubes) -> np.ndarray | None:
    """Return where the result's dates are among those that are filled; None for all, in order."""
    back = np.argsort(cubes.order) if cubes.asked is None else cubes.asked.wanted
    return None if np.array_equal(back, np.arange(len(cubes.times))) else back


def _check_can(record: Method, cube: Cube, *, smooth: bool, guided: bool, asked: bool) -> None:
    """Raise if a method cannot do what is asked of it."""
    if asked and record.net is not None:
        able = named(m for m in records_of("gapfill") if m.net is None)
        raise ValueError(
            f"{record.name} is a network, which learned on dates of images, and fills no others: "
            f"leave out time= and freq=, or take {able}"
        )
    if smooth and not record.smooth:
        able = named(m for m in records_of("gapfill") if m.smooth)
        raise ValueError(f"{record.name} fills and does not smooth; {able} do")
    if guided and not record.guided:
        able = named(m for m in records_of("gapfill") if m.guided)
        raise ValueError(f"{record.name} makes no use of sar= or guide=; {able} do")
    dates = cube.data.shape[0]
    if dates < record.fewest:
        able = named(m for m in records_of("gapfill") if m.fewest <= dates)
        raise ValueError(
            f"{record.name} needs {record.fewest} dates or more to fill one from the others, the "
            f"cube has {dates}; {able} work with so few"
        )


def _in_time(record: Method, params: Any, cube: Cube) -> Any:
    """Return the parameters of a method for series without space; raise where it needs space."""
    able = [m for m in records_of("gapfill") if m.in_time(m.params()) is not None]
    own = record.in_time(params)
    dims = list(cube.series.original.dims) if cube.series is not None else []
    if own is None:
        raise ValueError(
            f"{record.name} fills a pixel from those around it, and {cube.what} has no y and x "
            f"(its dims are {dims}); {named(able)} fill series in time alone"
        )
    if cube.data.shape[0] < FEWEST_IN_TIME:
        raise ValueError(
            f"{cube.what} has {cube.data.shape[0]} date and no y and x (its dims are {dims}): "
            f"a series is filled from its other dates, and needs {FEWEST_IN_TIME} or more"
        )
    return own


def _max_gap(given: LengthLike | None) -> float | None:
    if given is None:
        return None
    days = float(read_timedelta(given, "max_gap") / np.timedelta64(1, "D"))
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


def _findings(states: Sequence[Any], dates: np.ndarray, wanted: np.ndarray) -> dict[str, str]:
    """Return what the states of an eager run found: the screening, and what `auto` chose."""
    found = {}
    for state in states:
        if state.screened is not None:
            found["stf_screened"] = f"{state.screened:.2%} of the clear observations sampled"
        if guide_use := getattr(state.method, "guide_use", ""):
            found["stf_guide_use"] = guide_use
        by_date = getattr(state.method, "choice", ())
        if len(by_date):
            days = dates.astype("datetime64[D]")
            found["stf_choice"] = "; ".join(f"{days[i]} {by_date[i]}" for i in wanted)
    return found


def _chunks(cube: Cube, dates: int, layers: int) -> Chunks:
    """Return the chunks of a lazy result along y and x: the caller's, unless they were too large.

    All dates are in one chunk of the result, so images that were a chunk each are cut smaller.
    """
    _, bands, *size = cube.data.shape
    if not is_lazy(cube.data):
        return tuple(size)
    own = cube.data.chunks
    rows, cols = result_chunks((own[2], own[3]), dates * bands * layers)
    if len(own[0]) > 1:
        warnings.warn(
            f"cube has {len(own[0])} chunks along time and filling needs all dates of a pixel: the "
            "result has one chunk along time and smaller ones along y and x; to save work chunk "
            f"the cube {{'time': -1, 'y': {max(rows)}, 'x': {max(cols)}}} on reading",
            stacklevel=3,
        )
    return rows, cols


def _tile(cube: Cube, dates: int, halo: int) -> int:
    """Return a tile side that memory allows and that gives every core some tiles."""
    _, bands, height, width = cube.data.shape
    most = HALO_TILE_BYTES if halo else TILE_BYTES
    room = int((most / (4 * dates * bands)) ** 0.5) - 2 * halo
    fair = int((height * width / (2 * cores())) ** 0.5)
    return min(LARGEST_TILE, max(SMALLEST_TILE, min(room, fair)))
