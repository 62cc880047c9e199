"""Scores of fusion: a fine date is left out, predicted from the others, and compared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

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
from xstf.evaluate.baselines import DELTA, UNCHANGED
from xstf.evaluate.result import assemble_scores, in_full
from xstf.evaluate.running import (
    MAX_PIXELS,
    Methods,
    image_beside,
    methods_to_try,
    part_of,
    parted,
    read_classes,
    run_timed,
    spread_over,
    with_baselines,
)
from xstf.evaluate.scoring import Frame, Row, score_image
from xstf.methods.lookup import Trial
from xstf.verbs.fuse import fuse


def evaluate_fusion(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    methods: Methods | None = None,
    time: DateLike | None = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    baselines: bool = True,
    classes: xr.DataArray | None = None,
    max_pixels: int | None = MAX_PIXELS,
    max_dates: int | None = None,
    seed: int = 0,
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
    methods : sequence of str, Method or (method, dict of its parameters), or dict, optional
        ``["starfm", ("fitfc", {"window": 9})]`` or ``{"starfm": {"window": 31}}``. Default: all but
        networks, which need weights: ``("ctstfm", {"weights": "fit"})`` trains on the dates that
        are not left out. A method that needs more pairs than remain is an error if it was named,
        and is skipped if it was not.
    time : datetime-like or sequence, optional
        The fine dates to leave out, one at a time. Default: every one with a coarse image and
        others on both sides, or with any other where there are none on both.
    truth : DataArray (time, band, y, x) or Dataset of bands, optional
        Compare with this at the coarse dates `time` instead, and leave out nothing (simulated
        scenes).
    baselines : bool
        Add two trivial methods: the unchanged fine image of the nearest date, and that image plus
        the interpolated change of the coarse ones (the mean over two pairs).
    classes : DataArray (y, x), optional
        A map of land cover, on any grid of the same CRS that covers the scene: scores by class are
        added. Its labels, or ``flag_meanings`` of its attributes, name the classes.
    max_pixels : int or None
        Fine pixels that are scored at most: of a larger scene the middle part alone is read and
        used, with whole coarse pixels. None: all.
    max_dates : int, optional
        Dates that are left out at most, evenly chosen of those that would be.
    seed : int
        Of the draws that intervals come from.
    pair_tolerance, **options
        Passed on to :func:`xstf.fuse`. With ``return_quality=False`` methods run without their
        standard deviation, and there is no ``coverage``.

    Returns
    -------
    Dataset
        ``(method, time, band)``: ``rmse`` with ``rmse_low`` and ``rmse_high``, its 95 % interval,
        ``mae``, ``bias``, ``cc``, ``psnr`` (dB), ``ssim``, ``uiqi``, ``edge`` (below 0: blurred),
        and of methods with a standard deviation ``coverage`` (the share of the truth inside ± 1.645
        of them, 0.9 if they are right), ``interval_score`` (Gneiting & Raftery 2007,
        doi:10.1198/016214506000001437, of 90 %, the lower the better) and, by ``level`` besides,
        ``covered``. ``(method, time)``: ``sam`` (degrees), ``ergas`` (%) and ``q2n`` for two bands
        or more, ``left`` (the share of pixels that a method leaves missing; it is scored on the
        others), ``seconds`` (wall time with compiled kernels). ``block_pixels`` and the like are
        sums over blocks of pixels, by which :func:`xstf.rank` tells differences from noise. With
        `classes` ``rmse_by_class`` and the like ``(method, time, band, class)``.
        ``scores.stf`` shows the methods in order.

    Notes
    -----
    Select with ``scores.sel({"method": "starfm"})``: xarray takes ``sel(method=…)`` as its own
    argument and ignores it here.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> scores = xstf.evaluate_fusion(fine, coarse, methods=["starfm"], time=fine.time[1])
    >>> scores.method.values.tolist()
    ['unchanged', 'delta', 'starfm']
    """
    said: dict[str, object] = {"pair_tolerance": pair_tolerance, **options}
    fine, coarse, truth = take_values(
        options, (fine, "fine", "scale"), (coarse, "coarse", "coarse_scale"),
        (truth, "truth", "scale"),
    )  # fmt: skip
    fine = mosaic(_seen(fine, options.pop("mask", None)), by="acquisition")
    coarse = with_period(as_array(coarse, what="coarse"), options.pop("composite", None), "coarse")
    if truth is not None:
        truth = mosaic(decoded_values(as_array(truth, what="truth"), "truth"), by="acquisition")
    tried = methods_to_try("fuse", methods)
    given = _given(fine, as_array(coarse, what="coarse"), truth, options, max_pixels)
    own, other = given.cube.when, given.coarse_when
    pairs = match_dates(own, other, pair_tolerance)
    dates = _dates_to_predict(own, other, pairs, time, truth is not None)
    places = {} if given.truth is None else _places_in(given.truth, other)
    if given.truth is not None:
        dates = np.array(_with_truth(dates, places, time is not None))
    dates = spread_over(dates, max_dates)
    tried = with_baselines(tried, (UNCHANGED, DELTA) if baselines else ())
    grid = given.cube.grid
    frame = Frame(
        given.cube.bands, grid.y, grid.x,
        read_classes(classes, grid, grid.y, grid.x), given.ratio,
    )  # fmt: skip
    call = {"pair_tolerance": pair_tolerance, **options}
    rows = []
    for date in dates:
        hidden = np.zeros(len(own.stamps), bool)
        if given.truth is None:
            hidden = same_day(np.array([date]), own)
        left = sum(not hidden[p.fine] for p in pairs)
        for trial in tried:
            if methods is None and left < trial.record.pairs[0]:
                continue
            rows.append(_row(frame, trial, given, date, ~hidden, places, call))
    what = "predicted beside a truth" if given.truth is not None else (
        "left out, with all images of its day, predicted from the others")  # fmt: skip
    return assemble_scores(
        frame, rows, verb="fuse", dims=("time",), seed=seed, options=said,
        units=str(given.fine.attrs.get("units", "")),
        protocol=f"each of {len(dates)} fine date(s) {what}{given.part_text}",
        methods={t.label: in_full(t) for t in tried},
    )  # fmt: skip


class _Given(NamedTuple):
    """The cubes of an evaluation, cut to the part that is scored."""

    fine: xr.DataArray
    coarse: xr.DataArray
    truth: xr.DataArray | None
    cube: Cube
    coarse_when: Dates
    ratio: int
    dim: str
    part_text: str


def _given(
    fine: xr.DataArray,
    coarse: xr.DataArray,
    truth: xr.DataArray | None,
    options: Mapping[str, object],
    most: int | None,
) -> _Given:
    """Return the cubes, of a large scene the middle part, in memory."""
    cube, other = read_cube(fine, what="fine"), read_cube(coarse, what="coarse")
    if cube.times is None or other.times is None or cube.dims[0] is None:
        raise ValueError("evaluate needs cubes with a time dim")
    if truth is not None:
        truth = _as_fine(truth, cube)
    ratio, before = _nesting(fine, coarse, options)
    part = part_of(cube.grid.height, cube.grid.width, most, ratio=ratio, before=before)
    text = ""
    if part is not None:
        y, x = cube.dims[2:]
        cut = {y: part.rows, x: part.columns}
        fine = fine.isel(cut)
        truth = None if truth is None else truth.isel(cut)
        cube = read_cube(fine, what="fine")
        text = f"; the middle {cube.grid.height} × {cube.grid.width} pixels of the scene"
    if most is not None:
        fine = fine.compute()
        truth = None if truth is None else truth.compute()
    return _Given(fine, coarse, truth, cube, other.when, ratio, str(cube.dims[0]), text)


def _row(
    frame: Frame,
    trial: Trial,
    given: _Given,
    date: np.datetime64,
    kept: np.ndarray,
    places: Mapping[np.datetime64, int],
    options: Mapping[str, Any],
) -> Row:
    """Return the scores of one method on one date."""
    dim, fine = given.dim, given.fine
    call = {
        "time": date, "method": trial.record, "return_quality": trial.record.std,
        **options, **trial.params,
    }  # fmt: skip
    seen = fine if kept.all() else fine.isel({dim: kept})
    made, seconds = run_timed(partial(fuse, seen, given.coarse, **call), trial.record)
    estimate, std = parted(made, str(fine.name or "estimate"))
    if given.truth is None:
        reference = fine.sel({dim: [date]})
    else:
        reference = given.truth.isel({dim: [places[date]]}).assign_coords({dim: [date]})
    estimate = estimate.assign_coords({dim: reference[dim].variable})  # its CRS is to be compared
    e, t, s = image_beside(estimate, reference, std)
    return score_image(frame, trial.label, (date,), estimate=e, truth=t, std=s, seconds=seconds)


def _nesting(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    options: Mapping[str, object],
) -> tuple[int, tuple[int, int]]:
    """Return how many fine pixels a coarse one is wide, and how many lie before the scene."""
    stated = options.get("coarse_resolution")
    resolution = float(stated) if isinstance(stated, int | float) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fuse` says them
        nesting = align_fuse(fine, coarse, coarse_resolution=resolution).nesting
    return nesting.ratio, nesting.before


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
