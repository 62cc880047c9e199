"""A dry run of a verb: what it would do, from coordinates alone."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.cubes.describe import place_text
from xstf.cubes.nesting import size_ratio
from xstf.cubes.read import Labels, read_labels
from xstf.tiles.blank import blank, count_tasks, work_of
from xstf.tiles.lazy import warn_if_large
from xstf.tiles.run import cores
from xstf.verbs.dry_run import DatePlan, DryRun
from xstf.verbs.fuse import fuse
from xstf.verbs.gapfill import gapfill
from xstf.verbs.sharpen_spectral import sharpen_spectral
from xstf.verbs.watching import watched

_VERBS: dict[str, Callable[..., Any]] = {
    "fuse": fuse, "gapfill": gapfill, "sharpen_spectral": sharpen_spectral,
}  # fmt: skip
_SHORT = {"sharpen": "sharpen_spectral"}
_TABLES = ("srf", "time")  # labelled arguments whose values are read, and are few
_RADAR = {"vv", "vh", "hh", "hv"}


def plan(cube: Labelled | str, *others: Any, verb: str | None = None, **options: Any) -> DryRun:
    """Return what a verb would do with cubes: dates, pairs, grids, tiles, memory.

    Nothing is computed and no value of a cube is read, in memory or not. The verb runs on cubes of
    zeros that are never made, so what it refuses is refused here, in the same words.

    Parameters
    ----------
    cube : DataArray or Dataset of bands
        The verb's first cube. Its name may come before it: ``xstf.plan("fuse", fine, coarse)``.
    *others : DataArray or Dataset
        Its further cubes, in its order.
    verb : {"fuse", "gapfill", "sharpen_spectral"}, optional
        Default: by the cubes. One alone is to be filled, as is one with radar; with a coarser
        partner of the same bands and its own dates it is fused; with a finer partner it is
        sharpened.
    **options
        The verb's keyword arguments and the method's parameters.

    Returns
    -------
    DryRun

    Raises
    ------
    ValueError, TypeError
        What the verb would raise before computing; cubes that leave open which verb is meant.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> dry = fine.stf.plan(coarse, method="starfm")
    >>> dry.verb, dry.ratio, len(dry.dates)
    ('fuse', 8, 2)
    >>> print(dry.dates[0])
    2021-05-13 from 2021-04-07, 2021-06-18, where cloudy 1 more
    """
    named = [c for c in (cube, *others) if isinstance(c, str)]
    cubes = [c for c in (cube, *others) if not isinstance(c, str)]
    if len(named) > 1 or (named and verb is not None and named[0] != verb):
        raise ValueError(f"name one verb: {[*named, *([] if verb is None else [verb])]}")
    name = _verb(named[0] if named else verb, cubes, options)
    function = _VERBS[name]
    _check_cubes(name, function, cubes)
    if options.get("weights") == "fit":
        raise ValueError(
            "weights='fit' trains before it runs, which no plan can tell: train with "
            "xstf.train.fit, and give the file that it writes"
        )
    lazy = any(array.chunks for array in _images([*cubes, *options.values()]))
    with watched() as seen, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        given = {k: v if k in _TABLES else _blanks(v) for k, v in options.items()}
        for array in _images([*cubes, *options.values()]) if lazy else ():
            if array.chunks is None:
                warn_if_large(array)
        result = function(*map(_blanks, cubes), **given)
    texts = dict.fromkeys(str(w.message) for w in said if issubclass(w.category, UserWarning))
    return _dry_run(name, result, seen, lazy=lazy, said=tuple(texts))


def _dry_run(
    name: str, result: Labelled, seen: Mapping[str, Any], *, lazy: bool, said: tuple[str, ...]
) -> DryRun:
    """Return the record of what a verb noted, and of its result."""
    jobs, run = seen["jobs"], seen["run"]
    work = work_of(jobs, chunks=seen["chunks"], tile=seen["tile"], lazy=lazy)
    images = [result] if isinstance(result, xr.DataArray) else list(result.data_vars.values())
    images = [image for image in images if image.ndim > 0]
    whole = sum(image.nbytes for image in images)
    cubes, ratio = seen["cubes"], _ratio(seen["cubes"])
    workers = min(cores(), work.tiles)
    return DryRun(
        verb=name, method=run.call.record.name, engine=run.runner.engine,
        dates=_dates(seen, result), unpaired=seen.get("unpaired", ""),
        grids=_grids(cubes), ratio=ratio, how=_how(run.attrs),
        halo=max(job.halo for job in jobs), lazy=lazy,
        chunks={str(d): c for d, c in images[0].chunksizes.items()} if lazy else {},
        tiles=work.tiles, tasks=count_tasks([i.data for i in images]) if lazy else 0,
        tile=work.side, memory_tile=work.tile_bytes, memory_result=whole,
        memory=whole + workers * work.tile_bytes, workers=workers,
        sizes={str(d): n for d, n in images[0].sizes.items()}, warnings=said,
    )  # fmt: skip


def _how(attrs: Mapping[str, str]) -> str:
    """Return in words how cubes get to one frame and to nested grids."""
    return "; ".join(attrs[key] for key in ("stf_grid", "stf_frame") if key in attrs)


# --- which verb -------------------------------------------------------------------------------


def _verb(asked: str | None, cubes: Sequence[Any], options: Mapping[str, Any]) -> str:
    """Return the verb that was asked for, or the one that cubes and arguments leave."""
    if asked is not None:
        name = _SHORT.get(asked, asked)
        if name not in _VERBS:
            raise ValueError(f"no verb {asked!r}; there are {list(_VERBS)}")
        return name
    own = {n: set(inspect.signature(f).parameters) for n, f in _VERBS.items()}
    only = {
        n: args - set().union(*(o for m, o in own.items() if m != n)) for n, args in own.items()
    }
    marked = [n for n, args in only.items() if args & set(options)]
    if len(marked) == 1:
        return marked[0]
    if len(cubes) == 1 and not {"spatial", "coarse", "sar"} & set(options):
        return "gapfill"
    if len(cubes) == 2 and not marked:
        found = _by_partner(*cubes)
        if found is not None:
            return found
    raise ValueError(
        f"these cubes leave open which verb is meant: name one with verb=, of {list(_VERBS)}"
    )


def _by_partner(cube: Labelled, partner: Any) -> str | None:
    """Return the verb for two cubes; None where their labels leave it open."""
    if not isinstance(partner, xr.DataArray | xr.Dataset):
        return "gapfill"  # several guides
    own, other = read_labels(cube, what="cube"), read_labels(partner, what="its partner")
    if {str(band).lower() for band in other.bands} <= _RADAR:
        return "gapfill"
    size = size_ratio(own.grid, other.grid, what=("cube", "its partner"))
    if size < 1 / 1.2:
        return "sharpen_spectral"
    dated = own.times is not None and other.times is not None
    return "fuse" if dated and _shares_bands(own, other) else None


def _shares_bands(own: Labels, other: Labels) -> bool:
    single = len(own.bands) == len(other.bands) == 1
    return single or set(own.bands) <= set(other.bands)


def _check_cubes(name: str, function: Callable[..., Any], cubes: Sequence[Any]) -> None:
    """Raise where there are more or fewer cubes than a verb takes by their places."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [n for n, p in inspect.signature(function).parameters.items() if p.kind in kinds]
    if not 1 <= len(cubes) <= len(places):
        raise TypeError(f"{name} takes the cubes {places}, {len(cubes)} were given")


# --- cubes without their values ---------------------------------------------------------------


def _blanks(given: Any) -> Any:
    """Return labelled images as lazy zeros, in lists and dicts too; other things as they are."""
    if isinstance(given, xr.Dataset):
        return given.assign({n: _blanks(v) for n, v in given.data_vars.items()})
    if isinstance(given, xr.DataArray):
        if given.ndim == 0 or given.dtype.kind not in "biufc":
            return given
        return given.copy(deep=False, data=blank(given.shape, given.dtype, given.chunks))
    if isinstance(given, list | tuple):
        return type(given)(_blanks(g) for g in given)
    if isinstance(given, Mapping):
        return {k: _blanks(v) for k, v in given.items()}
    return given


def _images(given: Sequence[Any]) -> list[xr.DataArray]:
    """Return the images among the arguments of a call, those of Datasets, lists and dicts too."""
    found: list[xr.DataArray] = []
    for one in given:
        if isinstance(one, xr.DataArray):
            found += [one] * (one.ndim > 0)
        elif isinstance(one, Mapping):  # a Dataset is one, too
            inner = one.data_vars if isinstance(one, xr.Dataset) else one
            found += _images(list(inner.values()))
        elif isinstance(one, list | tuple):
            found += _images(one)
    return found


# --- what it noted ----------------------------------------------------------------------------


def _dates(seen: Mapping[str, Any], result: Labelled) -> tuple[DatePlan, ...]:
    """Return how each date of the result is made."""
    cubes = seen["cubes"]
    if "plans" in seen:
        fine, coarse = cubes.fine.dates, cubes.coarse.dates
        return tuple(
            DatePlan(
                coarse[one.target],
                tuple((fine[p.fine], coarse[p.coarse]) for p in one.attempts[0]),
                len(one.attempts) - 1, fine[one.observed[0]] if one.observed else None,
                one.extrapolated,
            )
            for one in seen["plans"]
        )  # fmt: skip
    if "every_date" in seen:
        return tuple(DatePlan(date) for date in seen["every_date"])
    if "targets" in seen:
        series = cubes.series
        stamps = (cubes.spectral.dates, cubes.temporal.dates, cubes.spatial.dates)
        return tuple(
            DatePlan(
                stamps[1][target],
                tuple(
                    tuple(t[i] for t, i in zip(stamps, series.pairs[n], strict=True))
                    for n in series.near(target)
                ),
            )
            for target in seen["targets"]
        )
    if hasattr(cubes, "images"):
        many, few = cubes.spectral.times, cubes.spatial.times
        pairs = [(_at(many, number), _at(few, image)) for number, image in enumerate(cubes.images)]
        return tuple(DatePlan(pair[0], (pair,)) for pair in pairs)
    time = cubes.cube.dims[0]
    return tuple(DatePlan(date) for date in result[time].values)


def _at(times: np.ndarray | None, image: int) -> np.datetime64:
    """Return the date of an image, NaT for a cube without time."""
    return np.datetime64("NaT") if times is None else times[image]


def _grids(cubes: Any) -> dict[str, str]:
    """Return the grid of each cube in words."""
    named = ("fine", "coarse", "spectral", "temporal", "spatial", "cube")
    found = [getattr(cubes, name) for name in named if hasattr(cubes, name)]
    found += [guide for guide, _ in getattr(cubes, "guides", ())]
    words = {
        cube.what: place_text(cube.grid) if cube.series is None else "no space" for cube in found
    }
    if hasattr(cubes, "nesting"):
        words["nested coarse pixels"] = place_text(cubes.nesting.coarse)
    return words


def _ratio(cubes: Any) -> int | None:
    """Return the ratio of nested grids; with three cubes that of the coarse one."""
    if hasattr(cubes, "nesting"):
        return int(cubes.nesting.ratio)
    return int(cubes.series.ratios[1]) if hasattr(cubes, "series") else None
