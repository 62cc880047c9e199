"""Hold-out protocols: hide what is known, run every method, score what comes back."""

from __future__ import annotations

import time as clock
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from xstf import _inputs, _pairs, metrics, simulate
from xstf._evaluate_sharpen import evaluate_sharpen
from xstf._evaluate_sts import evaluate_sts
from xstf._fuse import fuse
from xstf._gapfill import gapfill
from xstf._method import Method, Trial, trials
from xstf.methods import _baselines

__all__ = ["BASELINES", "evaluate_fusion", "evaluate_gapfill", "evaluate_sharpen", "evaluate_sts"]

BASELINES: tuple[Method, ...] = (_baselines.UNCHANGED, _baselines.DELTA)
NINETY = 1.645  # standard deviations on either side of the mean that hold 90 % of a normal's values
_PER_BAND = ("rmse", "mae", "bias", "cc", "ssim")


def evaluate_fusion(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    methods: Sequence[Any] | None = None,
    time: Any = None,
    truth: xr.DataArray | xr.Dataset | None = None,
    baselines: bool = True,
    pair_tolerance: str = "1D",
    **options: Any,
) -> xr.Dataset:
    """Return how well each method predicts a fine date that it has not seen.

    Each date is taken out of `fine`, predicted from the others and compared where it is clear.

    Parameters
    ----------
    fine, coarse : DataArray or Dataset of bands
        As :func:`xstf.fuse` takes them.
    methods : sequence of str, Method or (method, dict of its parameters), optional
        Default: all but networks, which need weights: ``("ctstfm", {"weights": "fit"})`` trains on
        what is not hidden. A method that needs more pairs than are left is an error if it was
        named, and left out if it was not.
    time : datetime-like or sequence, optional
        The fine dates to hide, one at a time. Default: every one with a coarse image and others on
        both sides, or with any other where there are none on both.
    truth : DataArray (time, band, y, x) or Dataset of bands, optional
        Compare with this at the coarse dates `time` instead, and hide nothing (simulated scenes).
    baselines : bool
        Add the two trivial ones: the unchanged fine image of the nearest date, and that image plus
        the interpolated change of the coarse ones (the mean over two pairs).
    pair_tolerance, **options
        Passed on to :func:`xstf.fuse`.

    Returns
    -------
    Dataset
        ``rmse, mae, bias, cc, ssim`` ``(method, time, band)``, ``sam`` (degrees)
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
    fine = _inputs.as_array(fine, what="fine")
    coarse = _inputs.as_array(coarse, what="coarse")
    truth = None if truth is None else _inputs.as_array(truth, what="truth")
    named = trials("fuse", methods or None)
    cubes = _inputs.read(fine, what="fine"), _inputs.read(coarse, what="coarse")
    if cubes[0].times is None or cubes[1].times is None or cubes[0].dims[0] is None:
        raise ValueError("evaluate needs cubes with a time dim")
    dim, band = str(cubes[0].dims[0]), cubes[0].dims[1]
    tolerance = _pairs.timedelta(pair_tolerance)
    pairs = _pairs.match(cubes[0].times, cubes[1].times, tolerance)
    dates = _hidden_dates(cubes[0].times, cubes[1].times, pairs, time, truth is not None)
    tried = [Trial(r.name, r, {}) for r in (BASELINES if baselines else ())] + named
    compiled: set[str] = set()
    by_date = []
    for date in dates:
        scores = []
        known = fine if truth is not None else fine.drop_sel({dim: [date]})
        left = sum(truth is not None or cubes[0].times[p.fine] != date for p in pairs)
        for trial in tried:
            if methods is None and left < trial.record.pairs[0]:
                continue
            call = {
                "time": date, "method": trial.record, "pair_tolerance": pair_tolerance,
                **options, **trial.params,
            }  # fmt: skip
            if trial.label not in compiled and trial.record.net is None:
                fuse(known, coarse, **call).compute()
                compiled.add(trial.label)
            start = clock.perf_counter()
            estimate = fuse(known, coarse, **call).compute()
            seconds = clock.perf_counter() - start
            reference = (fine if truth is None else truth).sel({dim: [date]})
            scores.append(_score(trial.label, estimate, reference, dim, band, seconds))
        by_date.append(xr.concat(scores, "method"))
    together = xr.concat(by_date, dim, join="outer")
    names = [t.label for t in tried if t.label in together.method.values]
    return together.sel({"method": names})


def _score(
    name: str,
    estimate: xr.DataArray,
    truth: xr.DataArray,
    time: str,
    band: Hashable | None,
    seconds: float,
) -> xr.Dataset:
    """Return one method's scores on one date."""
    estimate = estimate.assign_coords({time: truth[time]})
    keep = [time] if band is None else [time, str(band)]
    found = {n: getattr(metrics, n)(estimate, truth, per=keep) for n in _PER_BAND}
    if band is not None and truth.sizes[band] > 1:
        found["sam"] = metrics.sam(estimate, truth, per=[time])
    found["seconds"] = xr.DataArray([seconds], dims=time, coords={time: truth[time]})
    bare = {n: v.reset_coords(drop=True) for n, v in found.items()}
    return xr.Dataset(bare).expand_dims(method=[name])


def evaluate_gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: xr.DataArray | xr.Dataset | None = None,
    *,
    methods: Sequence[Any] | None = None,
    regimes: Sequence[Literal["partial", "persistent", "full"]] = ("partial", "persistent", "full"),
    mask: xr.DataArray | None = None,
    days: float = 25.0,
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """Return how well each method fills pixels that were clear and are hidden from it.

    Real gaps of some dates are laid over others (:func:`xstf.simulate.transplant_mask`), the
    methods run, and what they put there is compared with what was there.

    Parameters
    ----------
    cube, sar : DataArray or Dataset of bands
        As :func:`xstf.gapfill` takes them. `sar` goes to the methods that make use of it.
    methods : sequence of str, Method or (method, dict of its parameters), optional
        Default: all that the cube has dates enough for, but networks, which need weights.
    regimes : sequence of {"partial", "persistent", "full"}
        What is hidden: a shape on one date; that shape on all dates within `days`; all that is
        within `days`.
    mask : DataArray of bool, optional
        True where `cube` is not usable.
    days : float
        See `regimes`.
    seed : int
        Of what is hidden.
    **options
        Passed on to :func:`xstf.gapfill`.

    Returns
    -------
    Dataset
        ``rmse, mae, bias, cc`` ``(regime, method, band)``, ``covered`` (the share of hidden values
        within 1.645 standard deviations, 0.9 if these are right; NaN for methods without),
        ``left`` (the share that stayed missing) and ``seconds`` ``(regime, method)``.

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
    array = _inputs.as_array(cube, what="cube")
    if mask is not None:
        array = array.where(~mask)
    plain = _inputs.read(array, what="cube")
    dates = plain.data.shape[0]
    tried = trials("gapfill", methods or None)
    if methods is None:
        tried = [t for t in tried if t.record.fewest <= dates]
    compiled: set[str] = set()
    by_regime = []
    for regime in regimes:
        holed, held = simulate.transplant_mask(array, regime=regime, days=days, seed=seed)
        truth = array.where(held).compute()
        scores = []
        for trial in tried:
            record = trial.record
            call: dict[str, Any] = {
                "method": record, "return_quality": record.std, **options, **trial.params,
            }  # fmt: skip
            if record.guided and sar is not None:
                call["sar"] = sar
            if trial.label not in compiled and record.net is None:
                gapfill(holed, **call).compute()
                compiled.add(trial.label)
            start = clock.perf_counter()
            filled = gapfill(holed, **call).compute()
            seconds = clock.perf_counter() - start
            scores.append(_filling_score(trial, filled, truth, plain, seconds))
        by_regime.append(xr.concat(scores, "method").expand_dims(regime=[regime]))
    return xr.concat(by_regime, "regime")


def _filling_score(
    trial: Trial, filled: Any, truth: xr.DataArray, cube: _inputs.Cube, seconds: float
) -> xr.Dataset:
    """Return one method's scores on what was hidden."""
    estimate = filled if isinstance(filled, xr.DataArray) else filled[cube.name]
    keep = [] if cube.dims[1] is None else [str(cube.dims[1])]
    found = {
        n: getattr(metrics, n)(estimate, truth, per=keep) for n in ("rmse", "mae", "bias", "cc")
    }
    hidden = truth.notnull()
    share = estimate.isnull().where(hidden).mean()
    covered: Any = np.nan
    if trial.record.std:
        off = abs(estimate - truth) <= NINETY * filled[f"{cube.name}_std"]
        covered = float(off.where(hidden & estimate.notnull()).mean())
    found |= {"covered": xr.DataArray(covered), "left": share, "seconds": xr.DataArray(seconds)}
    bare = {n: v.reset_coords(drop=True).drop_attrs() for n, v in found.items()}
    return xr.Dataset(bare).expand_dims(method=[trial.label])


def _hidden_dates(
    fine: np.ndarray, coarse: np.ndarray, pairs: list[_pairs.Pair], time: Any, has_truth: bool
) -> np.ndarray:
    """Return the dates to predict: those asked for, else all that have something to compare."""
    if time is not None:
        return np.atleast_1d(np.asarray(getattr(time, "values", time), dtype="datetime64[ns]"))
    if has_truth:
        return np.delete(coarse, sorted({p.coarse for p in pairs}))
    dates = np.sort(fine[[p.fine for p in pairs]])
    if len(dates) < 2:
        raise ValueError(
            f"evaluate hides a fine date and needs another with a coarse image; found {len(dates)}"
        )
    return dates[1:-1] if len(dates) > 2 else dates
