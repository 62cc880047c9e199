"""The verb `fuse`: check, choose, tile, label."""

from __future__ import annotations

from functools import partial
from typing import Any

import xarray as xr

from xstf._method import Method, Weights
from xstf.align.fuse import find_nesting, on_nested_grid, read_dates
from xstf.cubes.pairs import plan_pairs
from xstf.cubes.read import Cube, read_cube, select_bands
from xstf.cubes.write import assemble
from xstf.methods.lookup import get_method
from xstf.tiles.engines import make_runner, pick_engine
from xstf.tiles.flags import FLAG_MEANINGS
from xstf.tiles.fuse import fuse_job
from xstf.tiles.run import cores, is_lazy, run_tiles
from xstf.verbs.checkpoint import lattice_tile, resolve_weights
from xstf.verbs.pipeline import call_attrs, make_params, require_std
from xstf.verbs.sts import fuse_series

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
    whole ratio (see :mod:`xstf.cubes.nesting`); ``attrs["stf_grid"]`` says which was done.

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
            fine, coarse, spatial, time=read_dates(time), method=method, mask=mask,
            coarse_mask=coarse_mask, spatial_mask=spatial_mask, pair_tolerance=pair_tolerance,
            engine=engine, device=device, return_quality=return_quality, progress=progress,
            **params,
        )  # fmt: skip
    if spatial_mask is not None:
        raise ValueError("spatial_mask= is the mask of spatial=, which is not given")
    sharp = read_cube(fine, what="fine", mask=mask)
    blurred = read_cube(coarse, what="coarse", mask=coarse_mask, resolution=coarse_resolution)
    blurred = select_bands(blurred, sharp.bands, of="fine")
    if sharp.times is None or blurred.times is None:
        bare = sharp if sharp.times is None else blurred
        raise ValueError(f"{bare.what} has no time; add a time dim or a scalar time coordinate")
    nesting, how = find_nesting(sharp, blurred, coarse_resolution)
    if isinstance(method, str) and method == "auto":
        method = auto_method(len(sharp.bands), return_quality)
    record = get_method("fuse", method)
    options = make_params(record, params)
    if return_quality:
        require_std(record)
    plans = plan_pairs(
        sharp.times, blurred.times, read_dates(time), tolerance=pair_tolerance,
        fewest=record.pairs[0], most=record.pairs[1], method=record.name,
    )  # fmt: skip
    times = blurred.times[[plan.target for plan in plans]]
    chosen = pick_engine(record, engine, sharp.data, blurred.data)
    attrs = call_attrs("fuse", record, options, sharp) | {"stf_grid": how}
    found: Weights | None = None
    if record.net is not None:
        train = partial(
            _train, record, fine, coarse, mask=mask, coarse_mask=coarse_mask, device=device,
            pair_tolerance=pair_tolerance, coarse_resolution=coarse_resolution, progress=progress,
        )  # fmt: skip
        options, found, attrs["stf_weights"] = resolve_weights(
            record, options, bands=sharp.bands, ratio=nesting.ratio, fit=train
        )
    runner = make_runner(record, chosen, device, found)
    nested, plans = on_nested_grid(blurred, nesting, plans)
    jobs = [
        fuse_job(sharp, nested, nesting, plan, runner, record, options, return_quality)
        for plan in plans
    ]
    tile = _tile(sharp, len(jobs)) if found is None else lattice_tile(options)
    layers = run_tiles(jobs, chunks=_chunks(sharp), tile=tile, progress=progress)
    return assemble(layers, sharp, times, attrs, return_quality, FLAG_MEANINGS)


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


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    from xstf.train import fit  # loads torch

    return fit(record, *cubes, **options)


def _chunks(cube: Cube) -> tuple[Any, Any]:
    """Return the caller's chunks along y and x."""
    if is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (2 * TILE, 2 * TILE)


def _tile(cube: Cube, jobs: int) -> int:
    """Return a tile side that gives every core some tiles, of some size."""
    pixels = cube.grid.height * cube.grid.width * jobs
    fair = int((pixels / (2 * cores())) ** 0.5)
    return min(TILE, max(SMALLEST_TILE, fair))
