"""The verb `fuse`: read, align, choose, tile, label."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, overload

import xarray as xr

from xstf._method import Method
from xstf.align.fuse import FuseCubes, align_fuse
from xstf.align.series import known_series
from xstf.cubes.acquisitions import DAY, with_period
from xstf.cubes.arrays import Array, Labelled
from xstf.cubes.pairs import (
    CompositeLike,
    DateLike,
    LengthLike,
    Plan,
    composite_advice,
    read_timedelta,
)
from xstf.cubes.read import Cube
from xstf.cubes.units import Side
from xstf.cubes.values import as_values
from xstf.cubes.write import assemble
from xstf.tiles.clip import Clip
from xstf.tiles.flags import FLAG_MEANINGS
from xstf.tiles.fuse import fuse_job, looked_at
from xstf.tiles.run import State, cores
from xstf.tiles.units import check_units
from xstf.verbs.by_trial import run_best, wants_trial
from xstf.verbs.checkpoint import NetworkCubes
from xstf.verbs.frame import choices, frame_of
from xstf.verbs.pipeline import choose, chunks_of, compute, prepare
from xstf.verbs.series import beside_pairs, fuse_series
from xstf.verbs.sts import fuse_three
from xstf.verbs.watching import note

# Side of an eager run's tile in fine pixels: a tile's arrays stay in a core's cache, and its halo
# costs little, since kernels do their long loops on the inner part only.
TILE = 512
SMALLEST_TILE = 96


# Beyond these a checker cannot go: it lets any keyword pass as one of **params.
# fmt: off
@overload
def fuse(
    fine: xr.DataArray, coarse: Labelled, *, spatial: Labelled | None = ...,
    time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
    coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
    composite: CompositeLike | None = ..., scale: float | None = ...,
    coarse_scale: float | None = ..., spatial_scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
    register: bool = ..., change: Literal["believed", "raw"] = ..., engine: str | None = ...,
    device: str | None = ..., return_quality: Literal[False] = ..., progress: bool = ...,
    **params: object,
) -> xr.DataArray: ...
@overload
def fuse(
    fine: xr.DataArray, coarse: Labelled, *, spatial: Labelled | None = ...,
    time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
    coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
    composite: CompositeLike | None = ..., scale: float | None = ...,
    coarse_scale: float | None = ..., spatial_scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
    register: bool = ..., change: Literal["believed", "raw"] = ..., engine: str | None = ...,
    device: str | None = ..., return_quality: Literal[True], progress: bool = ..., **params: object,
) -> xr.Dataset: ...
@overload
def fuse(
    fine: xr.Dataset, coarse: Labelled, *, spatial: Labelled | None = ...,
    time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
    coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
    composite: CompositeLike | None = ..., scale: float | None = ...,
    coarse_scale: float | None = ..., spatial_scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
    register: bool = ..., change: Literal["believed", "raw"] = ..., engine: str | None = ...,
    device: str | None = ..., return_quality: bool = ..., progress: bool = ..., **params: object,
) -> xr.Dataset: ...
@overload
def fuse(
    fine: Labelled, coarse: Labelled, *, spatial: Labelled | None = ...,
    time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
    coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
    pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
    composite: CompositeLike | None = ..., scale: float | None = ...,
    coarse_scale: float | None = ..., spatial_scale: float | None = ...,
    decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
    min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
    register: bool = ..., change: Literal["believed", "raw"] = ..., engine: str | None = ...,
    device: str | None = ..., return_quality: bool = ..., progress: bool = ..., **params: object,
) -> Labelled: ...
# fmt: on
def fuse(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    spatial: xr.DataArray | xr.Dataset | None = None,
    time: DateLike | None = None,
    method: str | Method = "auto",
    mask: xr.DataArray | None = None,
    coarse_mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    pair_tolerance: LengthLike = "1D",
    coarse_resolution: float | None = None,
    composite: CompositeLike | None = None,
    scale: float | None = None,
    coarse_scale: float | None = None,
    spatial_scale: float | None = None,
    decoded: bool | None = None,
    valid_range: tuple[float, float] | None = None,
    min_valid: float = 0.5,
    clip: bool | tuple[float | None, float | None] | None = None,
    register: bool = True,
    change: Literal["believed", "raw"] = "believed",
    engine: str | None = None,
    device: str | None = None,
    return_quality: bool = False,
    progress: bool = False,
    **params: object,
) -> Any:
    """Return sharp images on the dates of blurred ones.

    Parameters
    ----------
    fine : DataArray ``(time, band, y, x)`` or Dataset of bands
        The sharp cube, few dates. Any dim order; NaN or its nodata value where missing. ``band``
        may be absent. Of a Dataset, the variables that hold measurements are the bands: classes,
        masks, angles and the like are left alone.
    coarse : DataArray ``(time, band, y', x')`` or Dataset of bands
        The dense cube, on its own grid and CRS, same units and band labels. It may be one that its
        provider already resampled to the fine grid (see `coarse_resolution`).
    spatial : DataArray ``(time, band, y'', x'')`` or Dataset of bands, optional
        A third cube, with the smallest pixels, few bands, few dates: spatio-temporal-spectral
        fusion. `fine` then gives the bands (hyperspectral), `coarse` the dates, `spatial` the
        grid; the result has `fine`'s bands on the grid of `spatial` on every date of `coarse`, its
        own dates included. Bands of `coarse` and `spatial` need not match any others.
    time : datetime-like or sequence of such, optional
        The dates wanted, each within `pair_tolerance` of a coarse one: a day such as
        ``"2021-06-11"``, which is that of the scene, or a coarse image's own stamp. Default: every
        coarse date without a fine image of its day. For a date that has such, its clear pixels are
        returned as they are, from all images of the day, and the rest is fused. With
        ``method="series"`` any dates within the coarse series, such as every day of a year: each
        counts itself, also one that composites are stamped with.
    method : str or Method
        A name from ``xstf.list_methods("fuse")``, a record, or ``"auto"``: see Notes. With
        `spatial` a name from ``xstf.list_methods("sts")``. ``"evaluate"``: the best of all by
        :func:`xstf.evaluate_fusion` on a sample, which is read and worked on at the call;
        ``attrs["stf_choice"]`` says which, and how sure that is.
    mask, coarse_mask, spatial_mask : DataArray of bool, optional
        True where `fine`, `coarse`, `spatial` are not usable; with any of their dims. One on
        another grid of the same CRS is brought to theirs by nearest neighbour
        (``attrs["stf_mask"]`` says so); what it does not cover is not usable. Dates are taken by
        label.
    pair_tolerance : number of days or timedelta-like
        Longest time between the two images of a pair: whole solar days apart, or hours where it is
        below a day and both cubes have clock times. An image without a partner is not used, which
        a warning and ``attrs["stf_unpaired"]`` say.
    coarse_resolution : float, optional
        True pixel size of `coarse`, in units of its coordinates, where its own spacing does not
        tell because it was resampled. Default: its attribute ``native_coarse_resolution``, else its
        spacing; if that is the fine grid's, an estimate from the images (numpy cubes only).
    composite : timedelta-like or False, optional
        How long an image of `coarse` gathers from its stamp on, such as ``"16D"``: it then counts
        in the middle of that, and pairs with fine images up to half of it away. Default: its
        attribute ``composite``, or what its product's name (``MOD13Q1``) tells; False for images
        that count at their stamp.
    min_valid : float
        The least share of a coarse pixel that must be seen, above 0 to 1, where `coarse` is brought
        to the nested grid (see Notes): with less it is missing, else it is the mean of its seen
        part, by area. 1 takes only pixels that are seen wholly. A coarse cube that nests as it is
        is not averaged, and its pixels are seen or not. `fine` is not concerned: where a method
        compares it with coarse pixels, it takes the mean of their clear fine pixels.
    scale, coarse_scale, spatial_scale : float, optional
        What the values of `fine`, `coarse`, `spatial` are multiplied by first, after the scale and
        offset that their attributes say: ``scale=1e-4`` for digital numbers beside a coarse cube
        of reflectance.
    decoded : bool, optional
        Whether floating values are scaled already, where ``scale_factor`` and the like are still in
        the attributes. Default: found out of the values, and said in a warning; of lazy cubes, and
        of all that look scaled, they are taken as they are.
    valid_range : (float, float), optional
        Values of all cubes outside this are missing; in units of the values, after `scale`.
    clip : bool or (float or None, float or None), optional
        What estimates are cut to; observed pixels are returned as they are, and the standard
        deviation is not cut. Default: an estimate is not below 0 where nothing that goes into that
        pixel is, in its band: neither its base images nor their coarse pixels, that of the date
        included. False: nothing is cut. ``(0, 1)``: to these bounds, None for an open one.
    register : bool
        Whether the grid of `coarse` is moved, by whole fine pixels, to where its images lie on
        those of `fine`: where that raises their correlation clearly (no value is resampled), which
        ``attrs["stf_registration"]`` says. Nothing is moved where the scene has under 8 coarse
        pixels along a side; nor for networks, which learnt from images as they are; nor on the
        GPU.
    change : {"believed", "raw"}
        Whether the change between coarse images is shrunk by the noise that they show beside those
        of `fine`, before the method sees it (see :mod:`xstf.numerics.belief`); or taken as it is.
        Haze over the target date's coarse image, of two bands of reflectance or more, is taken off
        it first where it is found (see :mod:`xstf.numerics.veil`, ``attrs["stf_haze"]`` of numpy
        cubes).
    engine : {"numba", "cupy", "numpy"}, optional
        Default: the GPU's for cubes that live there, else the method's first.
    device : str, optional
        ``"cuda"``, ``"cuda:1"`` for GPU engines.
    return_quality : bool
        Return a Dataset of the estimate, ``<name>_std`` (one standard deviation, same units),
        ``<name>_flag`` and ``<name>_n_obs`` instead; for a Dataset of bands each band has its
        three. ``n_obs`` is how many images of `fine` (with `spatial` paired dates whose spatial
        image is clear) a pixel was made of: 1 where it was observed, 0 where it is missing.
    progress : bool
        Show a bar of tiles on stderr: at once, or of a lazy result whenever it is computed on this
        machine's threads. With a client of `dask.distributed`: ``distributed.progress``.
    **params
        The method's parameters, as ``xstf.get_method("fuse", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        As `fine`, float32, on the wanted dates; lazy if an input is. NaN where no pair is clear or
        the coarse image is missing; nothing is extrapolated in space. Coordinates along bands and
        space are those of `fine`. Those along time are left out, of `fine` (its dates are others)
        and of `coarse` (they describe its images); so are variables along time of a Dataset, which
        is said. Labels that files cannot hold become text or numbers, which is said, too.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no overlap, no pair, bands that do not match, bad parameters,
        attributes that cannot be read. Cubes whose medians differ more than 20 times where both
        see, which are not in the same units: of lazy cubes raised when they are computed.
    ImportError
        An engine that is not installed.

    Notes
    -----
    Images of one solar day (local time at the scene's longitude) that follow each other within
    minutes, such as the granules of one pass, are one acquisition and are merged first, pixel by
    pixel the first that is valid; ``attrs["stf_acquisitions"]`` says so. Stamps that are all
    midnight (or all noon) name days; others are instants in UTC.

    Pairs are fine images with a coarse one of their solar day. Two-pair methods take the nearest
    before and after the date (or the nearest two), one-pair methods the nearest; a pixel that is
    cloudy in a base image takes the next pair.

    ``method="series"`` takes all images at once, coarse ones without a fine one of their day
    included, and makes all dates from them; it is for three fine images or more. It finds itself
    how far the coarse change can be believed, and moves no grid, whatever `register` says.

    ``method="auto"`` blends unlike methods and the trivial ways (unchanged, interpolated in time,
    plus the interpolated coarse change), weighed by how well each predicts the fine images that
    are known from the others; ``attrs["stf_choice"]`` says how (of numpy cubes). Where the coarse
    images tell nothing of a known change, it is the interpolation in time. With four pairs or more
    (and ``change="believed"``) it is averaged with ``"series"``, which has up to a half of the
    weight: as much as known dates, left out and made both ways, are sure of. With `spatial` it is
    ``"sts_linear"``.

    Grids whose ratio is whole and whose corners fall together are used as they are. Any other
    coarse cube is brought, tile by tile, to the coarse grid nested in the fine one with the nearest
    whole ratio (see :mod:`xstf.cubes.nesting`); ``attrs["stf_grid"]`` says which was done, and
    ``attrs["stf_frame"]`` what was done to coordinates, or that cubes without a CRS were taken as
    one frame.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> fused = xstf.fuse(fine, coarse, method="starfm", window=9)
    >>> fused.sizes["time"], fused.dims == fine.dims
    (2, True)
    """
    if wants_trial(method):
        return run_best("fuse", dict(locals()))
    coarse = with_period(coarse, composite, "coarse")
    said: dict[str, Any] = {"decoded": decoded, "valid_range": valid_range}
    fine = as_values(fine, what="fine", scale=scale, mask=mask, **said)
    coarse = as_values(
        coarse, what="coarse", scale=coarse_scale, scale_name="coarse_scale", mask=coarse_mask,
        **said,
    )  # fmt: skip
    bounds = Clip.of(clip)
    if spatial is not None:
        spatial = as_values(
            spatial,
            what="spatial",
            scale=spatial_scale,
            scale_name="spatial_scale",
            mask=spatial_mask,
            **said,
        )
        if coarse_resolution is not None:
            raise ValueError("coarse_resolution= does not go with spatial=")
        asked = "sts_linear" if isinstance(method, str) and method == "auto" else method
        call = choose(
            fuse, "sts", asked, params, quality=return_quality, progress=progress
        )  # fmt: skip
        return fuse_three(
            call, fine, coarse, spatial, time=time, mask=mask, coarse_mask=coarse_mask,
            spatial_mask=spatial_mask, pair_tolerance=pair_tolerance, min_valid=min_valid,
            engine=engine, device=device, clip=bounds,
        )  # fmt: skip
    if spatial_mask is not None:
        raise ValueError("spatial_mask= is the mask of spatial=, which is not given")
    if spatial_scale is not None:
        raise ValueError("spatial_scale= is the scale of spatial=, which is not given")
    cubes = align_fuse(
        fine, coarse, mask=mask, coarse_mask=coarse_mask, coarse_resolution=coarse_resolution,
        min_valid=min_valid,
    )  # fmt: skip
    call = choose(fuse, "fuse", method, params, quality=return_quality, progress=progress)
    if call.record.series:
        if change != "believed":
            raise ValueError(
                f"{call.record.name} finds itself how far the coarse change can be believed; leave "
                "change= out"
            )
        return fuse_series(
            call, cubes, time=time, pair_tolerance=pair_tolerance, engine=engine, device=device,
            clip=bounds,
        )  # fmt: skip
    plans = cubes.plans(time, pair_tolerance, call.record)
    alone = _unpaired(cubes, pair_tolerance)
    known = None
    if call.record.whole is not None and change == "believed":
        known = known_series(cubes, pair_tolerance)
    note(cubes=cubes, plans=plans, unpaired=alone.get("stf_unpaired", ""))

    @cache
    def images() -> tuple[Array, dict[int, int]]:
        used = [d for plan in plans for d in plan.coarse_dates]
        return cubes.on_nested_grid([*used, *(() if known is None else known.coarse)])

    @cache
    def checks() -> tuple[State, ...]:
        return _check_units(cubes, *images(), plans, call.record)

    def network() -> NetworkCubes:
        checks()  # before any training
        return NetworkCubes(
            cubes=(fine, coarse), bands=cubes.fine.bands, ratio=cubes.nesting.ratio,
            reading={
                "mask": mask, "coarse_mask": coarse_mask, "pair_tolerance": pair_tolerance,
                "coarse_resolution": coarse_resolution, "min_valid": min_valid, "device": device,
                "progress": progress,
            },
        )  # fmt: skip

    run = prepare(
        call, (cubes.fine, cubes.coarse), network, engine=engine, device=device,
        grid=cubes.grid_text, frame=cubes.frame_text,
    )  # fmt: skip
    ahead, (coarse_images, place) = checks(), images()
    frame, said_of_frame = frame_of(
        cubes, coarse_images, place, plans, call.record, register, change
    )
    jobs = [
        fuse_job(
            cubes.fine, coarse_images, cubes.nesting, plan.at(place), run.runner, call.record,
            run.call.params, return_quality, bounds, frame,
        )
        for plan in plans
    ]  # fmt: skip
    if known is not None and frame is not None:
        jobs = beside_pairs(run, jobs, plans, cubes, coarse_images, place, known, frame, bounds)
    layers, states = compute(
        run, jobs, chunks=chunks_of(cubes.fine, 2 * TILE), tile=_tile(cubes.fine, len(jobs)),
        checks=ahead, settled=frame is not None,
    )  # fmt: skip
    said_of_frame |= choices(states)
    times = cubes.coarse_times[[plan.target for plan in plans]]
    attrs = run.attrs | alone | said_of_frame
    # An image of a date that `fine` has is that one, its gaps filled: what is said of it holds.
    dated = cubes.fine.dims[0] is not None
    return assemble(
        layers, cubes.fine, times, attrs, return_quality, FLAG_MEANINGS, own_dates=dated
    )


def _unpaired(cubes: FuseCubes, tolerance: LengthLike) -> dict[str, str]:
    """Return attributes that name fine images without a coarse one of their day, and warn of them.

    Of those that a tolerance beyond the default lets pair with another day nothing is warned.
    """
    alone, apart = cubes.unpaired(tolerance), cubes.apart(tolerance)
    if alone:
        warnings.warn(
            f"fine has images without a coarse one within {tolerance} of their date, which are not "
            f"used: {alone}; widen pair_tolerance or add coarse images"
            f"{composite_advice(cubes.coarse.when)}",
            stacklevel=3,
        )
    if apart and read_timedelta(tolerance) <= DAY:
        warnings.warn(
            f"fine has images without a coarse one of their day, paired with that of another: "
            f"{apart}; with pair_tolerance='12h' they are not used; or add coarse images"
            f"{composite_advice(cubes.coarse.when)}",
            stacklevel=3,
        )
    said = {"stf_unpaired": alone, "stf_paired_apart": apart}
    return {name: text for name, text in said.items() if text}


def _check_units(
    cubes: FuseCubes, coarse: Array, place: dict[int, int], plans: Sequence[Plan], record: Method
) -> tuple[State, ...]:
    """Raise if the cubes are not in the same units; of lazy ones return what checks it."""
    pairs = {(p.fine, place[p.coarse]) for plan in plans for some in plan.attempts for p in some}
    sides = (
        Side("fine", "scale", cubes.fine.bands), Side("coarse", "coarse_scale", cubes.fine.bands)
    )  # fmt: skip
    return check_units(
        sides, (cubes.fine.data, coarse), list(pairs), ratio=cubes.nesting.ratio,
        before=cubes.nesting.before,
        sampled=None if record.prepare is None else looked_at(record),
    )  # fmt: skip


def _tile(cube: Cube, jobs: int) -> int:
    """Return a tile side that gives every core some tiles, of some size."""
    pixels = cube.grid.height * cube.grid.width * jobs
    fair = int((pixels / (2 * cores())) ** 0.5)
    return min(TILE, max(SMALLEST_TILE, fair))
