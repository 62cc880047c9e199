"""Scores of fusion: a fine date is left out, predicted from the others, and compared."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from xstf import metrics
from xstf.align.fuse import align_fuse
from xstf.cubes.acquisitions import Dates, dates_of, same_day, with_period
from xstf.cubes.dims import find_dim
from xstf.cubes.masking import apply_mask
from xstf.cubes.mosaic import mosaic
from xstf.cubes.pairs import (
    DateLike,
    LengthLike,
    Pair,
    match_dates,
    nearest_date,
    read_dates,
)
from xstf.cubes.place import moved_along
from xstf.cubes.read import Cube, as_array, read_cube, read_labels
from xstf.cubes.values import decoded_values, take_values
from xstf.evaluate.baselines import BASELINES
from xstf.methods.lookup import Trial, Tried, trials
from xstf.verbs.fuse import fuse

_PER_BAND = ("rmse", "mae", "bias", "cc", "ssim")


def evaluate_fusion(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    methods: Sequence[Tried] | None = None,
    time: DateLike | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    baselines: bool = True,
    pair_tolerance: LengthLike = "1D",
    **options: object,
) -> xr.Dataset:
    """Return how well each method predicts a fine date that it has not seen.

    Each date is taken out of `fine`, with every other image of its solar day, predicted from the
    others and compared where it is clear. Looks of one acquisition count as one image, as in
    :func:`xstf.fuse`.

    Parameters
    ----------
    fine, coarse : DataArray or Dataset of bands
        As :func:`xstf.fuse` takes them.
    methods : sequence of str, Method or (method, dict of its parameters), optional
        Default: all but networks, which need weights: ``("ctstfm", {"weights": "fit"})`` trains on
        the dates that are not left out. A method that needs more pairs than remain is an error if
        it was named, and is skipped if it was not.
    time : datetime-like or sequence, optional
        The fine dates to leave out, one at a time. Default: every one with a coarse image and
        others on both sides, or with any other where there are none on both.
    truth : DataArray (time, band, y, x) or Dataset of bands, optional
        Compare with this at the coarse dates `time` instead, and leave out nothing (simulated
        scenes).
    baselines : bool
        Add two trivial methods: the unchanged fine image of the nearest date, and that image plus
        the interpolated change of the coarse ones (the mean over two pairs).
    pair_tolerance, **options
        Passed on to :func:`xstf.fuse`.

    Returns
    -------
    Dataset
        ``rmse, mae, bias, cc, ssim`` ``(method, time, band)``, ``sam`` (degrees) and ``ergas`` (%)
        ``(method, time)`` for two bands or more, and ``seconds`` ``(method, time)``, wall time with
        compiled kernels.

    Notes
    -----
    Select with ``scores.sel({"method": "starfm"})``: xarray takes ``sel(method=…)`` as its own
    argument and ignores it here.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> scores = xstf.evaluate_fusion(fine, coarse, methods=["starfm"], time=fine.time[1])
    >>> list(scores.method.values)
    ['unchanged', 'delta', 'starfm']
    """
    fine, coarse, truth = take_values(
        options, (fine, "fine", "scale"), (coarse, "coarse", "coarse_scale"),
        (truth, "truth", "scale"),
    )  # fmt: skip
    fine = mosaic(_seen(fine, options.pop("mask", None)), by="acquisition")
    coarse = with_period(as_array(coarse, what="coarse"), options.pop("composite", None), "coarse")
    if truth is not None:
        truth = mosaic(decoded_values(as_array(truth, what="truth"), "truth"), by="acquisition")
    named = trials("fuse", methods or None)
    cubes = read_cube(fine, what="fine"), read_cube(coarse, what="coarse")
    if cubes[0].times is None or cubes[1].times is None or cubes[0].dims[0] is None:
        raise ValueError("evaluate needs cubes with a time dim")
    dim, band = str(cubes[0].dims[0]), cubes[0].dims[1]
    own = cubes[0].when
    if truth is not None:
        truth = _as_fine(truth, cubes[0])
    pairs = match_dates(own, cubes[1].when, pair_tolerance)
    dates = _dates_to_predict(own, cubes[1].when, pairs, time, truth is not None)
    places = {} if truth is None else _places_in(truth, cubes[1].when)
    if truth is not None:
        dates = np.array(_with_truth(dates, places, time is not None))
    tried = [Trial(r.name, r, {}) for r in (BASELINES if baselines else ())] + named
    compiled: set[str] = set()
    ratio = _ratio(fine, coarse, options)
    by_date = []
    for date in dates:
        scores = []
        hidden = (
            np.zeros(len(own.stamps), bool)
            if truth is not None
            else same_day(np.array([date]), own)
        )
        given = fine.isel({dim: ~hidden})
        left = sum(not hidden[p.fine] for p in pairs)
        for trial in tried:
            if methods is None and left < trial.record.pairs[0]:
                continue
            call = {
                "time": date, "method": trial.record, "pair_tolerance": pair_tolerance,
                **options, **trial.params,
            }  # fmt: skip
            if trial.label not in compiled and trial.record.net is None:
                fuse(given, coarse, **call).compute()
                compiled.add(trial.label)
            start = clock.perf_counter()
            estimate = fuse(given, coarse, **call).compute()
            seconds = clock.perf_counter() - start
            if truth is None:
                reference = fine.sel({dim: [date]})
            else:
                reference = truth.isel({dim: [places[date]]}).assign_coords({dim: [date]})
            scores.append(_score(trial.label, estimate, reference, dim, band, seconds, ratio))
        by_date.append(xr.concat(scores, "method"))
    together = xr.concat(by_date, dim, join="outer")
    names = [t.label for t in tried if t.label in together.method.values]
    return together.sel({"method": names})


def _ratio(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    options: Mapping[str, object],
) -> int:
    """Return how many fine pixels a coarse one is wide, as `fuse` finds it."""
    stated = options.get("coarse_resolution")
    resolution = float(stated) if isinstance(stated, int | float) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fuse` says them
        return align_fuse(fine, coarse, coarse_resolution=resolution).nesting.ratio


def _seen(fine: xr.DataArray | xr.Dataset, mask: object) -> xr.DataArray:
    """Return the fine images in their units, NaN where they are masked: nothing else is scored."""
    array = decoded_values(as_array(fine, what="fine"), "fine")
    if mask is None:
        return array
    labels = read_labels(array, what="fine")
    if isinstance(mask, xr.DataArray):
        mask = moved_along(mask, fine, array)
    masked, _ = apply_mask(array, mask, labels.dims, labels.grid, "fine")  # type: ignore[arg-type]
    return masked


def _as_fine(truth: xr.DataArray, fine: Cube) -> xr.DataArray:
    """Return the truth with dims called as those of the fine cube."""
    own = read_labels(truth, what="truth").dims
    if own[0] is None:
        raise ValueError("truth has no time dim; stack its images along one with datetime64 dates")
    names = {a: b for a, b in zip(own, fine.dims, strict=True) if a != b and None not in (a, b)}
    return truth.rename(names)


def _places_in(truth: xr.DataArray, coarse: Dates) -> dict[np.datetime64, int]:
    """Return where the truth has an image of each coarse date: that stamp, else that solar day."""
    dim = find_dim(truth, "time")
    if dim is None or dim not in truth.coords or truth[dim].dtype.kind != "M":
        raise ValueError(f"truth needs a time dim with dates; it has dims {list(truth.dims)}")
    own = dates_of(truth[dim].values, coarse.offset / np.timedelta64(240, "s"))
    found = {}
    for date, day in zip(coarse.stamps, coarse.days, strict=True):
        exact, near = np.flatnonzero(own.stamps == date), np.flatnonzero(own.days == day)
        if len(exact) or len(near) == 1:
            found[date] = int([*exact, *near][0])
    return found


def _with_truth(
    dates: np.ndarray, places: Mapping[np.datetime64, int], asked: bool
) -> list[np.datetime64]:
    """Return the dates to predict that the truth has; all of those asked for."""
    lacks = [str(date)[:16] for date in dates if date not in places]
    if lacks and (asked or len(lacks) == len(dates)):
        raise ValueError(
            f"truth has no image of {', '.join(lacks[:6])}, dates to predict: it needs one image "
            "of each; name those that it has in time="
        )
    return [date for date in dates if date in places]


def _score(
    name: str,
    estimate: xr.DataArray,
    truth: xr.DataArray,
    time: str,
    band: Hashable | None,
    seconds: float,
    ratio: int,
) -> xr.Dataset:
    """Return one method's scores on one date."""
    estimate = estimate.assign_coords({time: truth[time].variable})  # its CRS is to be compared
    keep = [time] if band is None else [time, str(band)]
    found = {n: getattr(metrics, n)(estimate, truth, per=keep) for n in _PER_BAND}
    if band is not None and truth.sizes[band] > 1:
        found["sam"] = metrics.sam(estimate, truth, per=[time])
        found["ergas"] = metrics.ergas(estimate, truth, ratio=ratio, per=[time])
    found["seconds"] = xr.DataArray([seconds], dims=time, coords={time: truth[time]})
    bare = {n: v.reset_coords(drop=True) for n, v in found.items()}
    return xr.Dataset(bare).expand_dims(method=[name])


def _dates_to_predict(
    fine: Dates, coarse: Dates, pairs: list[Pair], time: DateLike | None, has_truth: bool
) -> np.ndarray:
    """Return the dates to predict: those asked for, else all that have something to compare."""
    asked = read_dates(time)
    if asked is not None:
        own = coarse if has_truth else fine
        what = "coarse" if has_truth else "fine"
        same_day = np.timedelta64(0, "D")
        return own.stamps[[nearest_date(date, own, same_day, what=what) for date in asked]]
    if has_truth:
        return np.delete(coarse.stamps, sorted({p.coarse for p in pairs}))
    dates = np.sort(fine.stamps[[p.fine for p in pairs]])
    each = np.sort(fine.days[[p.fine for p in pairs]])
    days = np.unique(each)
    if len(days) < 2:
        raise ValueError(
            "evaluate leaves out the fine images of a day and needs another day with a coarse "
            f"image; found {len(days)}"
        )
    if len(days) == 2:
        return dates
    inner = ~np.isin(each, days[[0, -1]])
    return np.asarray(dates[inner])
