"""Scores of gap filling: clear pixels are masked in the shapes of real gaps, filled, compared."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xstf import metrics, simulate
from xstf.cubes.arrays import Guides
from xstf.cubes.masking import apply_mask
from xstf.cubes.mosaic import mosaic
from xstf.cubes.pairs import LengthLike
from xstf.cubes.place import moved_along
from xstf.cubes.read import Cube, as_array, read_cube, read_labels
from xstf.cubes.values import decoded_values, take_values
from xstf.cubes.variables import tell_of_layers
from xstf.cubes.words import warn_user
from xstf.methods.lookup import Trial, Tried, trials
from xstf.numerics.normal import COVER, Z90
from xstf.verbs.gapfill import gapfill


def evaluate_gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: Guides | None = None,
    *,
    methods: Sequence[Tried] | None = None,
    regimes: Sequence[Literal["partial", "persistent", "full"]] = ("partial", "persistent", "full"),
    mask: xr.DataArray | None = None,
    days: LengthLike = 25.0,
    seed: int = 0,
    **options: object,
) -> xr.Dataset:
    """Return how well each method fills clear pixels that are masked for it.

    Looks of one acquisition are merged, as in :func:`xstf.gapfill`. Real gaps of some dates are
    moved to others (:func:`xstf.simulate.transplant_mask`), the methods run, and their estimates
    are compared with the observations.

    Parameters
    ----------
    cube, sar : DataArray or Dataset of bands
        As :func:`xstf.gapfill` takes them. `sar`, and ``guide=``, go to the methods that make use
        of them; several in a list or dict.
    methods : sequence of str, Method or (method, dict of its parameters), optional
        Default: all that the cube has dates enough for, but networks, which need weights.
    regimes : sequence of {"partial", "persistent", "full"}
        What is masked: a shape on one date; that shape on all dates within `days`; every pixel
        within `days`.
    mask : DataArray of bool, optional
        True where `cube` is not usable.
    days : number of days or timedelta-like
        See `regimes`.
    seed : int
        Of what is masked.
    **options
        Passed on to :func:`xstf.gapfill`; but for ``time`` and ``freq``, on whose dates there is
        nothing to compare with.

    Returns
    -------
    Dataset
        ``rmse, mae, bias, cc`` ``(regime, method, band)``, ``covered`` (the share of masked values
        within 1.6449 standard deviations, 0.9 if these are right; NaN for methods without),
        ``interval_score`` (of these intervals, in the data's units, the lower the better: the mean
        of their width and of 20 times what values lie beyond them; Gneiting & Raftery 2007,
        doi:10.1198/016214506000001437, with 0.1 for alpha), ``left`` (the share that stayed
        missing) and ``seconds`` ``(regime, method)``.

    Notes
    -----
    Select with ``scores.sel({"method": "linear"})``: xarray takes ``sel(method=…)`` as its own.

    Examples
    --------
    >>> import xstf
    >>> cube, _ = xstf.testing.holes()
    >>> scores = xstf.evaluate_gapfill(cube, methods=["linear", "nearest"], regimes=["partial"])
    >>> bool(scores.rmse.sel({"method": "linear"}).mean() < 0.1)
    True
    """
    for name in ("time", "freq"):
        if options.get(name) is not None:
            raise ValueError(
                f"evaluate_gapfill compares with what was observed, on the cube's own dates; leave "
                f"out {name}="
            )
    (cube,) = take_values(options, (cube, "cube", "scale"))
    tell_of_layers(cube, "cube", masked=mask is not None)
    array = decoded_values(as_array(cube, what="cube"), "cube")
    if mask is not None:
        labels = read_labels(array, what="cube", unsized=True)
        mask = moved_along(mask, cube, array)
        array, _ = apply_mask(array, mask, labels.dims, labels.place.grid, "cube")
    array = mosaic(array, by="acquisition")
    plain = read_cube(array, what="cube", unsized=True)
    dates = plain.data.shape[0]
    tried = trials("gapfill", methods or None)
    if methods is None:
        tried = [t for t in tried if t.record.fewest <= dates]
    compiled: set[str] = set()
    by_regime, hides_all = [], []
    for regime in regimes:
        holed, held = simulate.transplant_mask(array, regime=regime, days=days, seed=seed)
        truth = array.where(held).compute()
        if not bool(holed.notnull().any()):
            hides_all.append(regime)
            continue
        scores = []
        for trial in tried:
            record = trial.record
            call: dict[str, Any] = {
                "method": record, "return_quality": record.std, **options, **trial.params,
            }  # fmt: skip
            if record.guided and sar is not None:
                call["sar"] = sar
            if not record.guided:
                call.pop("guide", None)
            if trial.label not in compiled and record.net is None:
                gapfill(holed, **call).compute()
                compiled.add(trial.label)
            start = clock.perf_counter()
            filled = gapfill(holed, **call).compute()
            seconds = clock.perf_counter() - start
            scores.append(_filling_score(trial, filled, truth, plain, seconds))
        by_regime.append(xr.concat(scores, "method").expand_dims(regime=[regime]))
    _tell_of_hidden(hides_all, days, left=len(by_regime))
    return xr.concat(by_regime, "regime")


def _tell_of_hidden(regimes: Sequence[str], days: LengthLike, *, left: int) -> None:
    """Warn of regimes that hide the whole cube, which have no scores; raise if all do."""
    if not regimes:
        return
    text = (
        f"{list(regimes)} with days={days!r} hides every image of the cube, so that there is "
        "nothing to fill from: give fewer days="
    )
    if not left:
        raise ValueError(text)
    warn_user(f"{text}; there are no scores of it")


def _filling_score(
    trial: Trial, filled: xr.DataArray | xr.Dataset, truth: xr.DataArray, cube: Cube, seconds: float
) -> xr.Dataset:
    """Return one method's scores on what was masked."""
    estimate = filled if isinstance(filled, xr.DataArray) else filled[cube.name]
    keep = [] if cube.dims[1] is None else [str(cube.dims[1])]
    found = {
        n: getattr(metrics, n)(estimate, truth, per=keep) for n in ("rmse", "mae", "bias", "cc")
    }
    masked = truth.notnull()
    share = estimate.isnull().where(masked).mean()
    covered: Any = np.nan
    score: Any = np.nan
    if trial.record.std:
        half = Z90 * filled[f"{cube.name}_std"]
        off = abs(estimate - truth)
        there = masked & estimate.notnull()
        covered = float((off <= half).where(there).mean())
        beyond = 2 / (1 - COVER) * (off - half).clip(min=0)
        score = float((2 * half + beyond).where(there).mean())
    found |= {
        "covered": xr.DataArray(covered), "interval_score": xr.DataArray(score), "left": share,
        "seconds": xr.DataArray(seconds),
    }  # fmt: skip
    bare = {n: v.reset_coords(drop=True).drop_attrs() for n, v in found.items()}
    return xr.Dataset(bare).expand_dims(method=[trial.label])
