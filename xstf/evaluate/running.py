"""What all protocols share: the methods to try, the part of the scene, the clock, the class map."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from xstf._method import Method, Task
from xstf.cubes.arrays import Labelled
from xstf.cubes.compare import match_cubes
from xstf.cubes.crs import crs_of
from xstf.cubes.dims import find_dim
from xstf.cubes.grid import Grid, crs_name, same_crs
from xstf.cubes.words import listed
from xstf.evaluate.scoring import Classes
from xstf.methods.lookup import Trial, Tried, trials
from xstf.numerics.compiling import counted

# Methods by name, record or with parameters: a sequence, or parameters by name.
Methods: TypeAlias = Sequence[Tried] | Mapping[str, Mapping[str, Any]]
# Fine pixels that are scored where no number is asked for: enough to tell methods apart.
MAX_PIXELS = 1_000_000


class Part(NamedTuple):
    """Rows and columns of a scene that are scored."""

    rows: slice
    columns: slice


def methods_to_try(task: Task, methods: Methods | None) -> list[Trial]:
    """Return what is tried; None: all of the task but networks."""
    if isinstance(methods, str):
        methods = [methods]
    if isinstance(methods, Mapping):
        methods = list(methods.items())
    return trials(task, methods or None)


def with_baselines(tried: list[Trial], baselines: Sequence[Method]) -> list[Trial]:
    """Return the trivial methods, those that are not among the tried ones, before these."""
    have = {trial.label for trial in tried}
    return [Trial(r.name, r, {}) for r in baselines if r.name not in have] + tried


def run_timed(make: Callable[[], Any], record: Method | None) -> tuple[Any, float]:
    """Return what is made, computed, and its seconds with compiled loops.

    It is made once more where loops were compiled on the way; a network is not, which may train.
    """
    with counted() as compiling:
        start = clock.perf_counter()
        made = make().compute()
        seconds = clock.perf_counter() - start
    if compiling.count and (record is None or record.net is None):
        start = clock.perf_counter()
        made = make().compute()
        seconds = clock.perf_counter() - start
    return made, seconds


def part_of(
    height: int, width: int, most: int | None, *, ratio: int = 1, before: tuple[int, int] = (0, 0)
) -> Part | None:
    """Return the middle part of a scene, whole in coarse pixels; None where all is taken.

    Parameters
    ----------
    height, width
        Of the scene, in fine pixels.
    most
        Pixels that may be scored; None for any number.
    ratio, before
        Fine pixels in a coarse one, and how many of the first coarse pixel lie before the scene.
    """
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValueError(f"max_pixels must be a whole number, 1 or more, or None, not {most!r}")
    if height * width <= most:
        return None
    side = int(np.sqrt(most))
    rows = min(height, max(side, most // width))
    sizes = (rows, min(width, max(1, most // rows)))
    parts = []
    for size, wanted, off in zip((height, width), sizes, before, strict=True):
        count = min(size, max(ratio, wanted // ratio * ratio))
        start = max(0, (size - count) // 2)
        start -= (start + off) % ratio if count < size else start
        start = start + ratio if start < 0 else start
        parts.append(slice(start, min(size, start + count)))
    return Part(*parts)


def spread_over(dates: np.ndarray, most: int | None) -> np.ndarray:
    """Return at most so many of some dates, evenly chosen."""
    if most is None:
        return dates
    if isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1:
        raise ValueError(f"max_dates must be a whole number, 1 or more, or None, not {most!r}")
    middle = (np.arange(most) + 0.5) * len(dates) / most
    return dates if len(dates) <= most else dates[middle.astype(int)]


def image_beside(
    estimate: xr.DataArray, truth: xr.DataArray, std: xr.DataArray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return an image, its truth and its standard deviation as ``(band, y, x)``.

    Raises where they are not on one grid, as every metric does.
    """
    case = match_cubes(estimate, truth, None, None)
    y, x = (d for d in case.space)
    lead = [d for d in case.truth.dims if d not in (case.band, y, x)]
    order = [*lead, *([] if case.band is None else [case.band]), y, x]

    def plain(cube: xr.DataArray) -> np.ndarray:
        values = cube.transpose(*order).values
        return np.asarray(values.reshape(-1, *values.shape[-2:]))

    e, t = plain(case.estimate), plain(case.whole_truth)
    return e, t, None if std is None else plain(std)


def parted(found: Labelled, name: str) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return the estimate of a result and its standard deviation, if it has one."""
    if isinstance(found, xr.DataArray):
        return found, None
    return found[name], found[f"{name}_std"]


def read_classes(
    classes: xr.DataArray | None, grid: Grid, y: np.ndarray, x: np.ndarray
) -> Classes | None:
    """Return a class map on the pixels at `y` and `x`, by the nearest of its own.

    Raises where it does not cover them, or is in another CRS. ``flag_values`` and
    ``flag_meanings`` among its attributes name the classes.
    """
    if classes is None:
        return None
    if not isinstance(classes, xr.DataArray):
        raise TypeError(f"classes is a {type(classes).__name__}; give a DataArray (y, x)")
    dims = find_dim(classes, "y"), find_dim(classes, "x")
    if None in dims or set(classes.dims) != set(dims):
        raise ValueError(f"classes has dims {listed(classes.dims)}; it needs y and x alone")
    ours, theirs = grid.crs, crs_of(classes, "classes")
    if ours is not None and theirs is not None and not same_crs(ours, theirs):
        raise ValueError(
            f"classes are in {crs_name(theirs)} and the cube is in {crs_name(ours)}: reproject "
            "them by nearest neighbour first"
        )
    picks = []
    for dim, wanted in zip(dims, (y, x), strict=True):
        own = classes.indexes.get(dim)
        if own is None or len(own) < 2:
            raise ValueError(f"classes needs coordinates along {dim!r}, of two pixels or more")
        half = 0.501 * float(np.abs(np.diff(own.values)).max())
        found = own.get_indexer(wanted, method="nearest", tolerance=half)
        if (found < 0).any():
            raise ValueError(
                f"classes covers {own.min()} to {own.max()} along {dim!r}, not all of the pixels "
                f"compared, {np.min(wanted)} to {np.max(wanted)}"
            )
        picks.append(found)
    values = classes.transpose(*dims).values[np.ix_(*picks)]
    return _numbered(values, classes.attrs)


def _numbered(values: np.ndarray, attrs: Mapping[Any, Any]) -> Classes:
    """Return labels as numbers from 0 on; those that are missing as -1."""
    missing = np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        missing = ~np.isfinite(values)
    elif values.dtype.kind == "O":
        missing = np.asarray(pd.isna(values))
    nodata = attrs.get("_FillValue", attrs.get("nodata"))
    if nodata is not None:
        missing |= values == nodata
    if missing.all():
        raise ValueError("classes are missing everywhere in the part that is compared")
    names, number = np.unique(values[~missing], return_inverse=True)
    of_pixel = np.full(values.shape, -1)
    of_pixel[~missing] = number
    labels = [int(n) if float(n).is_integer() else float(n) for n in names.tolist()] if (
        names.dtype.kind in "iufb") else names.tolist()  # fmt: skip
    flags = np.atleast_1d(attrs.get("flag_values", []))
    words = str(attrs.get("flag_meanings", "")).split()
    if len(flags) == len(words) > 0:
        named = dict(zip(flags.tolist(), words, strict=True))
        labels = [named.get(label, str(label)) for label in labels]
    return Classes(of_pixel, tuple(labels))
