"""The verb `fuse`: check, choose, tile, label."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xstf import (
    _call,
    _checkpoint,
    _engines,
    _inputs,
    _labels,
    _nest,
    _pairs,
    _samples,
    _tiles,
)
from xstf._bring import bring_images
from xstf._flags import FLAG_MEANINGS
from xstf._fuse_tile import FuseTile
from xstf._inputs import Cube
from xstf._method import Method, get_method
from xstf._sts import fuse_series

# Side of an eager run's tile in fine pixels: a tile's arrays stay in a core's cache, and its halo
# costs little, since kernels do their long loops on the inner part only.
TILE = 512
SMALLEST_TILE = 96


def fuse(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    spatial: xr.DataArray | xr.Dataset | None = None,
    time: Any = None,
    method: str | Method = "auto",
    mask: xr.DataArray | None = None,
    coarse_mask: xr.DataArray | None = None,
    spatial_mask: xr.DataArray | None = None,
    pair_tolerance: str = "1D",
    coarse_resolution: float | None = None,
    engine: str | None = None,
    device: str | None = None,
    return_quality: bool = False,
    progress: bool = False,
    **params: Any,
) -> Any:
    """Return sharp images on the dates of blurred ones.

    Parameters
    ----------
    fine : DataArray ``(time, band, y, x)`` or Dataset of bands
        The sharp cube, few dates. Any dim order; NaN or its nodata value where missing. ``band``
        may be absent.
    coarse : DataArray ``(time, band, y', x')`` or Dataset of bands
        The dense cube, on its own grid and CRS, same units and band labels. It may be one that its
        provider already resampled to the fine grid (see `coarse_resolution`).
    spatial : DataArray ``(time, band, y'', x'')`` or Dataset of bands, optional
        A third cube, with the smallest pixels, few bands, few dates: spatio-temporal-spectral
        fusion. `fine` then gives the bands (hyperspectral), `coarse` the dates, `spatial` the
        grid; the result has `fine`'s bands on the grid of `spatial` on every date of `coarse`, its
        own dates included. Bands of `coarse` and `spatial` need not match any others.
    time : datetime-like or sequence of such, optional
        The dates wanted, each within `pair_tolerance` of a coarse one. Default: every coarse date
        that is not a fine image's partner. For a date that has a fine image, its clear pixels
        are returned as they are and the rest is fused.
    method : str or Method
        A name from ``xstf.list_methods("fuse")``, a record, or ``"auto"``: see Notes. With
        `spatial` a name from ``xstf.list_methods("sts")``.
    mask, coarse_mask, spatial_mask : DataArray of bool, optional
        True where `fine`, `coarse`, `spatial` are not usable; on their grid, with any of their
        dims.
    pair_tolerance : str
        Longest time between the two images of a pair, as pandas reads it.
    coarse_resolution : float, optional
        True pixel size of `coarse`, in units of its coordinates, where its own spacing does not
        tell because it was resampled. Default: its attribute ``native_coarse_resolution``, else its
        spacing; if that is the fine grid's, an estimate from the images (numpy cubes only).
    engine : {"numba", "cupy", "numpy"}, optional
        Default: the GPU's for cubes that live there, else the method's first.
    device : str, optional
        ``"cuda"``, ``"cuda:1"`` for GPU engines.
    return_quality : bool
        Return a Dataset of the estimate, ``<name>_std`` (one standard deviation, same units) and
        ``<name>_flag`` instead; for a Dataset of bands each band has its two.
    progress : bool
        Show a bar on stderr (numpy cubes; for dask ones use dask's own).
    **params
        The method's parameters, as ``xstf.get_method("fuse", name).params`` lists them.

    Returns
    -------
    DataArray or Dataset
        As `fine`, float32, on the wanted dates; lazy if an input is. NaN where no pair is clear or
        the coarse image is missing; nothing is extrapolated in space.

    Raises
    ------
    ValueError, TypeError
        Before any computing: no overlap, no pair, bands that do not match, bad parameters.
    ImportError
        An engine that is not installed.

    Notes
    -----
    Pairs are fine images with a coarse one of their date. Two-pair methods take the nearest before
    and after the date (or the nearest two), one-pair methods the nearest; a pixel that is cloudy
    in a base image takes the next pair.

    ``method="auto"`` is ``"fsdaf"``; ``"fitfc"`` for a cube of one band or with `return_quality`;
    with `spatial` it is ``"sts_linear"``.

    Grids whose ratio is whole and whose corners fall together are used as they are. Any other
    coarse cube is brought, tile by tile, to the coarse grid nested in the fine one with the nearest
    whole ratio (see :mod:`xstf._nest`); ``attrs["stf_grid"]`` says which was done.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> fused = xstf.fuse(fine, coarse, method="starfm", window=9)
    >>> fused.sizes["time"], fused.dims == fine.dims
    (2, True)
    """
    if spatial is not None:
        if coarse_resolution is not None:
            raise ValueError("coarse_resolution= does not go with spatial=")
        return fuse_series(
            fine, coarse, spatial, time=_dates(time), method=method, mask=mask,
            coarse_mask=coarse_mask, spatial_mask=spatial_mask, pair_tolerance=pair_tolerance,
            engine=engine, device=device, return_quality=return_quality, progress=progress,
            **params,
        )  # fmt: skip
    if spatial_mask is not None:
        raise ValueError("spatial_mask= is the mask of spatial=, which is not given")
    sharp = _inputs.read(fine, what="fine", mask=mask)
    blurred = _inputs.read(coarse, what="coarse", mask=coarse_mask, resolution=coarse_resolution)
    blurred = _inputs.select_bands(blurred, sharp.bands, of="fine")
    if sharp.times is None or blurred.times is None:
        bare = sharp if sharp.times is None else blurred
        raise ValueError(f"{bare.what} has no time; add a time dim or a scalar time coordinate")
    nesting, how = find_nesting(sharp, blurred, coarse_resolution)
    if isinstance(method, str) and method == "auto":
        method = auto_method(len(sharp.bands), return_quality)
    record = get_method("fuse", method)
    options = _call.make_params(record, params)
    if return_quality:
        _call.require_std(record)
    plans = _pairs.plan(
        sharp.times, blurred.times, _dates(time), tolerance=pair_tolerance,
        fewest=record.pairs[0], most=record.pairs[1], method=record.name,
    )  # fmt: skip
    times = blurred.times[[plan.target for plan in plans]]
    chosen = _engines.pick(record, engine, sharp.data, blurred.data)
    runner = _engines.make_runner(record, chosen, device)
    attrs = _call.attrs("fuse", record, options, sharp) | {"stf_grid": how}
    known: dict[str, Any] | None = None
    if record.net is not None:
        train = partial(
            _train, record, fine, coarse, mask=mask, coarse_mask=coarse_mask, device=device,
            pair_tolerance=pair_tolerance, coarse_resolution=coarse_resolution, progress=progress,
        )  # fmt: skip
        options, known, attrs["stf_weights"] = _checkpoint.resolve(
            record, options, bands=sharp.bands, ratio=nesting.ratio, fit=train
        )
    nested, plans = bring(blurred, nesting, plans)
    jobs = [
        _fuse_job(sharp, nested, nesting, plan, runner, record, options, return_quality, known)
        for plan in plans
    ]
    tile = _tile(sharp, len(jobs)) if known is None else _checkpoint.lattice_tile(options)
    layers = _tiles.run(jobs, chunks=_chunks(sharp), tile=tile, progress=progress)
    return _labels.assemble(layers, sharp, times, attrs, return_quality, FLAG_MEANINGS)


def auto_method(bands: int, quality: bool) -> str:
    """Return the method that ``"auto"`` stands for; docs/choosing.md has the figures.

    Parameters
    ----------
    bands : int
        How many bands the cube has.
    quality : bool
        Whether a standard deviation is wanted.

    Returns
    -------
    str
        ``"fsdaf"``, whose classes hold up best over scenes and with one pair as with two;
        ``"fitfc"`` for a cube of one band, whose classes would mean little, and where a standard
        deviation is wanted.
    """
    return "fsdaf" if bands > 1 and not quality else "fitfc"


# --- pieces -----------------------------------------------------------------------------------


def _dates(time: Any) -> np.ndarray | None:
    if time is None:
        return None
    values = time.values if isinstance(time, xr.DataArray) else time
    try:
        dates = np.atleast_1d(np.asarray(values, dtype="datetime64[ns]"))
    except (ValueError, TypeError) as error:
        raise ValueError(f"time= must be dates such as '2020-07-01', not {time!r}") from error
    if not dates.size:
        raise ValueError("time= is empty; name dates or leave it out")
    return dates


def find_nesting(sharp: Cube, blurred: Cube, given: float | None) -> tuple[_nest.Nesting, str]:
    """Return the nested grids, and in words how the coarse cube gets there."""
    resolution = given if given is not None else _stated_resolution(blurred)
    nesting = _nest.nest(sharp.grid, blurred.grid, coarse_resolution=resolution)
    said = ""
    if resolution is None and _nest.same_resolution(sharp.grid, blurred.grid):
        resolution = _estimated_resolution(blurred)
        nesting = _nest.nest(sharp.grid, blurred.grid, coarse_resolution=resolution)
        said = f", true resolution estimated as {resolution:.4g}"
    return nesting, f"{nesting.how}, ratio {nesting.ratio}{said}"


def _stated_resolution(blurred: Cube) -> float | None:
    """Return what a coarse cube's attrs say of its true pixel size."""
    stated = blurred.source.attrs.get("native_coarse_resolution")
    if stated is None and isinstance(blurred.source, xr.Dataset):
        first = next(v for v in blurred.source.data_vars.values() if v.ndim >= 2)
        stated = first.attrs.get("native_coarse_resolution")
    return None if stated is None else float(stated)


def _estimated_resolution(blurred: Cube) -> float:
    if _tiles.is_lazy(blurred.data):
        raise ValueError(
            f"coarse has pixels ({blurred.grid.resolution:g}) as small as fine's, so it was "
            "resampled: give its true pixel size with coarse_resolution= (an estimate needs "
            "computing, and the cube is lazy)"
        )
    images = _engines.to_host(blurred.data)
    return _nest.estimate_resolution(images, blurred.grid.resolution)


def bring(
    cube: Cube, nesting: _nest.Nesting, plans: list[_pairs.Plan]
) -> tuple[Any, list[_pairs.Plan]]:
    """Return the dates that are needed on the nested coarse grid, and the plans in their places.

    The array is ``(date, band, Y, X)``, lazy if the cube is.
    """
    if nesting.how == "nested" and nesting.coarse == cube.grid:
        return cube.data, plans
    used = sorted({i for plan in plans for i in _coarse_dates(plan)})
    place = {date: i for i, date in enumerate(used)}
    return bring_images(cube, nesting, used), [plan.at(place) for plan in plans]


def _coarse_dates(plan: _pairs.Plan) -> list[int]:
    return [*_unique(pair.coarse for pairs in plan.attempts for pair in pairs), plan.target]


def _unique(items: Any) -> list[int]:
    return list(dict.fromkeys(items))


def _fuse_job(
    sharp: Cube,
    coarse: Any,
    nesting: _nest.Nesting,
    plan: _pairs.Plan,
    runner: _engines.Runner,
    record: Method,
    options: Any,
    std: bool,
    known: dict[str, Any] | None,
) -> _tiles.Job:
    fine_dates = _unique(pair.fine for pairs in plan.attempts for pair in pairs)
    if plan.observed is not None:
        fine_dates = [*fine_dates, plan.observed]
    coarse_dates = _coarse_dates(plan)
    function = FuseTile(
        runner=runner,
        params=options,
        ratio=nesting.ratio,
        halo=record.halo(options, nesting.ratio),
        before=nesting.before,
        fine_shape=(sharp.grid.height, sharp.grid.width),
        coarse_shape=(nesting.coarse.height, nesting.coarse.width),
        attempts=tuple(
            tuple((fine_dates.index(p.fine), coarse_dates.index(p.coarse)) for p in pairs)
            for pairs in plan.attempts
        ),
        observed=None if plan.observed is None else len(fine_dates) - 1,
        extrapolated=plan.extrapolated,
        std=std,
        placed=known is not None,
    )
    sources = (
        _tiles.Source(sharp.data, tuple(fine_dates), function.fine_window),
        _tiles.Source(coarse, tuple(coarse_dates), function.coarse_window),
    )
    states: tuple[Any, ...] = tuple(
        _state(record, options, nesting, sharp.data, coarse, pairs, plan.target)
        for pairs in (plan.attempts if record.prepare else ())
    )
    if known is not None:
        # The weights are one node of the graph, however many tiles and attempts there are.
        states = ((partial(_given, known), {}),)
    lead = (3 if std else 1, sharp.data.shape[1])
    return _tiles.Job(function, sources, lead, function.fine_shape, states)


def _state(
    record: Method,
    options: Any,
    nesting: _nest.Nesting,
    fine: Any,
    coarse: Any,
    pairs: tuple[_pairs.Pair, ...],
    target: int,
) -> tuple[Any, dict[str, Any]]:
    """Return the method's settle step and the samples that it wants of whole coarse pixels."""
    whole_fine, whole_coarse = _samples.whole_cells(
        fine, coarse, ratio=nesting.ratio, before=nesting.before
    )
    if record.prepare is None or record.settle is None:
        raise TypeError(f"{record.name} has no prepare and settle")
    samples = record.prepare(
        whole_fine[[p.fine for p in pairs]],
        whole_coarse[[*(p.coarse for p in pairs), target]],
        ratio=nesting.ratio,
        params=options,
    )
    settle = partial(record.settle, ratio=nesting.ratio, params=options)
    return partial(_settle_on_host, settle), samples


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    return importlib.import_module("xstf.train").fit(record, *cubes, **options)


def _given(known: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return known


def _settle_on_host(settle: Any, samples: dict[str, Any]) -> Any:
    """Settle is plain numpy, wherever the samples were."""
    return settle({name: _engines.to_host(value) for name, value in samples.items()})


def _chunks(cube: Cube) -> tuple[Any, Any]:
    """Return the caller's chunks along y and x."""
    if _tiles.is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (2 * TILE, 2 * TILE)


def _tile(cube: Cube, jobs: int) -> int:
    """Return a tile side that gives every core some tiles, of some size."""
    pixels = cube.grid.height * cube.grid.width * jobs
    fair = int((pixels / (2 * _tiles.cores())) ** 0.5)
    return min(TILE, max(SMALLEST_TILE, fair))
