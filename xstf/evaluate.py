"""Hold-out protocols: hide what is known, run every method, score what comes back."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstf import _inputs, _pairs, api, metrics
from xstf._method import Method, get_method, method_names
from xstf.methods import _baselines

__all__ = ["BASELINES", "evaluate_fusion"]

BASELINES: tuple[Method, ...] = (_baselines.UNCHANGED, _baselines.DELTA)
_PER_BAND = ("rmse", "mae", "bias", "cc", "ssim")


@dataclass(frozen=True)
class _Score:
    """One method on one date."""

    method: str
    values: xr.Dataset


def evaluate_fusion(
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    *,
    methods: Sequence[str | Method] | None = None,
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
    methods : sequence of str or Method, optional
        Default: all. One that needs more pairs than are left is an error if it was named, and
        left out if it was not.
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
    records = [get_method("fuse", m) for m in (methods or method_names("fuse"))]
    dates = _hidden_dates(fine, coarse, time, truth, pair_tolerance)
    tried = [*(BASELINES if baselines else ()), *records]
    compiled: set[str] = set()
    by_date = []
    for date in dates:
        scores = []
        known = fine if truth is not None else fine.drop_sel({_time_dim(fine): [date]})
        left = len(_matched(known, coarse, pair_tolerance))
        for record in tried:
            if methods is None and left < record.pairs[0]:
                continue
            call = {"time": date, "method": record, "pair_tolerance": pair_tolerance, **options}
            if record.name not in compiled:
                api.fuse(known, coarse, **call).compute()
                compiled.add(record.name)
            start = clock.perf_counter()
            estimate = api.fuse(known, coarse, **call).compute()
            seconds = clock.perf_counter() - start
            reference = (fine if truth is None else truth).sel({_time_dim(fine): [date]})
            scores.append(_score(record.name, estimate, reference, date, seconds, fine))
        by_date.append(xr.concat(scores, "method"))
    together = xr.concat(by_date, _time_dim(fine), join="outer")
    names = [r.name for r in tried if r.name in together.method.values]
    return together.sel({"method": names})


def _score(
    name: str,
    estimate: xr.DataArray,
    truth: xr.DataArray,
    date: Any,
    seconds: float,
    fine: xr.DataArray,
) -> xr.Dataset:
    cube = _inputs.read(fine, what="fine")
    time, band = _time_dim(fine), cube.dims[1]
    estimate = estimate.assign_coords({time: truth[time]})
    keep = [time] if band is None else [time, str(band)]
    found = {n: getattr(metrics, n)(estimate, truth, per=keep) for n in _PER_BAND}
    if len(cube.bands) > 1:
        found["sam"] = metrics.sam(estimate, truth, per=[time])
    found["seconds"] = xr.DataArray([seconds], dims=time, coords={time: truth[time]})
    bare = {n: v.reset_coords(drop=True) for n, v in found.items()}
    return xr.Dataset(bare).expand_dims(method=[name])


def _time_dim(cube: xr.DataArray) -> str:
    return str(_inputs.read(cube, what="fine").dims[0])


def _matched(fine: xr.DataArray, coarse: xr.DataArray, tolerance: str) -> list[_pairs.Pair]:
    sharp, blurred = _inputs.read(fine, what="fine"), _inputs.read(coarse, what="coarse")
    if sharp.times is None or blurred.times is None:
        raise ValueError("evaluate needs cubes with time")
    return _pairs.match(sharp.times, blurred.times, _pairs.timedelta(tolerance))


def _hidden_dates(
    fine: xr.DataArray, coarse: xr.DataArray, time: Any, truth: xr.DataArray | None, tolerance: str
) -> np.ndarray:
    if time is not None:
        return np.atleast_1d(np.asarray(getattr(time, "values", time), dtype="datetime64[ns]"))
    pairs = _matched(fine, coarse, tolerance)
    if truth is not None:
        partners = {p.coarse for p in pairs}
        return np.delete(coarse[_time_dim(coarse)].values, sorted(partners))
    dates = np.sort(fine[_time_dim(fine)].values[[p.fine for p in pairs]])
    if len(dates) < 2:
        raise ValueError(
            f"evaluate hides a fine date and needs another with a coarse image; found {len(dates)}"
        )
    return dates[1:-1] if len(dates) > 2 else dates
