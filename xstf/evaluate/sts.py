"""Scores of a series of many bands: in one stage, and in two."""

from __future__ import annotations

import tempfile
import time as clock
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xstf import metrics
from xstf.align.sts import align_sts
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.cubes.read import read_cube
from xstf.methods.lookup import get_method
from xstf.verbs.fuse import fuse
from xstf.verbs.sharpen_spectral import sharpen_spectral

if TYPE_CHECKING:
    from xstf._method import Method
    from xstf.train import Fitted

# A method by its name, or with its parameters; a way is a method of one stage, or two methods.
StageLike: TypeAlias = str | tuple[str, Mapping[str, object]]
Way: TypeAlias = StageLike | tuple[StageLike, StageLike]

WAYS: tuple[Way, ...] = ("sts_linear", ("estarfm", "cnmf"))
_PER_BAND = ("psnr", "rmse", "cc", "ssim")


def evaluate_sts(
    fine: xr.DataArray,
    coarse: xr.DataArray,
    spatial: xr.DataArray,
    *,
    truth: xr.DataArray,
    ways: Sequence[Way] = WAYS,
    time: DateLike | None = None,
    pair_tolerance: LengthLike = "1D",
) -> xr.Dataset:
    """Return how well a series with many bands is made in one stage, and in two.

    Parameters
    ----------
    fine, coarse, spatial : DataArray
        As :func:`xstf.fuse` takes three cubes. For ways of two stages the labels of the bands of
        `spatial` are among those of `coarse`.
    truth : DataArray
        The bands of `fine` on the grid of `spatial`, on the dates to compare.
    ways : sequence
        A method of one stage by its name, ``"sts_linear"``, or one of fusion and one of
        sharpening, ``("estarfm", "cnmf")``: the sharp images are fused in time, and then give each
        date's nearest image of `fine` their pixels. Wherever a name goes, ``(name, {parameters})``
        may, as ``("sts", {"weights": "fit"})``. A sharpening network with ``weights="fit"`` learns
        from the paired dates, once, and keeps nothing of the nearest image.
    time : dates, optional
        Which dates to compare; default: those of `truth`.
    pair_tolerance : str
        As :func:`xstf.fuse` takes it.

    Returns
    -------
    Dataset
        ``psnr`` (dB, the peak is each band's largest value), ``rmse, cc, ssim``
        ``(way, time, band)``, ``sam`` (degrees) ``(way, time)``, ``paired`` ``(time,)``, whether
        `fine` has the date, and ``seconds`` ``(way,)`` for all dates, training included.

    Examples
    --------
    >>> import xstf
    >>> s = xstf.scenes.hyperspectral_series(size=60, bands=40)
    >>> ways = ["sts_linear", ("fitfc", "gsa")]
    >>> scores = xstf.evaluate_sts(s.spectral, s.dense, s.sharp, truth=s.truth, ways=ways)
    >>> mean = scores.sam.mean("time")
    >>> bool(mean.sel(way="sts_linear") < mean.sel(way="fitfc + gsa"))
    True
    """
    cubes = align_sts(fine, coarse, spatial, pair_tolerance=pair_tolerance)
    dim = str(read_cube(truth, what="truth").dims[0])
    dates = truth[dim].values if time is None else np.atleast_1d(np.asarray(time, "M8[ns]"))
    reference = truth.sel({dim: dates})
    paired = np.isin(dates, cubes.times[cubes.series.pairs[:, 1]])
    scores = []
    for way in ways:
        name, make = _way(way)
        start = clock.perf_counter()
        made = make(_Cubes(fine, coarse, spatial), dates, pair_tolerance).compute()
        seconds = clock.perf_counter() - start
        made = made.assign_coords({d: reference[d] for d in reference.dims})
        found = {n: getattr(metrics, n)(made, reference, per=[dim, "band"]) for n in _PER_BAND}
        found["sam"] = metrics.sam(made, reference, per=[dim])
        found["seconds"] = xr.DataArray(seconds, attrs={"units": "s"})
        bare = {n: v.reset_coords(drop=True) for n, v in found.items()}
        scores.append(xr.Dataset(bare).expand_dims(way=[name]))
    return xr.concat(scores, "way").assign(paired=(dim, paired))


class _Stage(NamedTuple):
    """A method and its parameters."""

    method: str
    params: Mapping[str, Any]


class _Cubes(NamedTuple):
    """The three cubes of a series."""

    fine: xr.DataArray
    coarse: xr.DataArray
    spatial: xr.DataArray


def _way(way: Way) -> tuple[str, Callable[[_Cubes, np.ndarray, LengthLike], xr.DataArray]]:
    """Return the name of a way, and the function that makes a series that way."""
    if _is_stage(way):
        stage = _stage(way)
        get_method("sts", stage.method)
        return stage.method, partial(_one_stage, stage)
    if not isinstance(way, tuple) or len(way) != 2:
        raise TypeError(
            f"a way is a method of one stage or two methods, such as 'sts_linear' or "
            f"('estarfm', 'cnmf'), not {way!r}"
        )
    first, second = _stage(way[0]), _stage(way[1])
    get_method("fuse", first.method)
    get_method("sharpen_spectral", second.method)
    return f"{first.method} + {second.method}", partial(_two_stages, first, second)


def _is_stage(way: object) -> bool:
    return isinstance(way, str) or (
        isinstance(way, tuple) and len(way) == 2 and isinstance(way[1], Mapping)
    )


def _stage(stage: object) -> _Stage:
    if isinstance(stage, str):
        return _Stage(stage, {})
    if not (isinstance(stage, tuple) and _is_stage(stage)):
        raise TypeError(f"a stage is a name or (name, {{parameters}}), not {stage!r}")
    return _Stage(*stage)


def _one_stage(
    stage: _Stage, cubes: _Cubes, dates: np.ndarray, tolerance: LengthLike
) -> xr.DataArray:
    made: xr.DataArray = fuse(
        cubes.fine, cubes.coarse, spatial=cubes.spatial, time=dates, method=stage.method,
        pair_tolerance=tolerance, **stage.params,
    )  # fmt: skip
    return made


def _two_stages(
    first: _Stage, second: _Stage, cubes: _Cubes, dates: np.ndarray, tolerance: LengthLike
) -> xr.DataArray:
    """Fuse the sharp images onto the dates, then sharpen each date's nearest spectral image."""
    fine, coarse, spatial = cubes
    matched = coarse.sel(band=spatial.band.values)
    missing = dates[~np.isin(dates, spatial.time.values)]
    sharp = spatial
    if len(missing):
        fused = fuse(
            spatial, matched, time=missing, method=first.method, pair_tolerance=tolerance,
            **first.params,
        )  # fmt: skip
        sharp = xr.concat([spatial, fused], "time")
    sharp = sharp.sel(time=dates)
    spectra = fine.sel(time=dates, method="nearest").assign_coords(time=dates)
    if second.params.get("weights") == "fit":
        record = get_method("sharpen_spectral", second.method)
        from xstf.train import fit  # loads torch

        trained = fit(record, fine, spatial)
        return _learned(record, trained, spectra, sharp, second.params)
    made: xr.DataArray = sharpen_spectral(spectra, sharp, method=second.method, **second.params)
    return made


def _learned(
    record: Method,
    trained: Fitted,
    spectra: xr.DataArray,
    sharp: xr.DataArray,
    params: Mapping[str, Any],
) -> xr.DataArray:
    """Sharpen by a network that was trained on the paired dates, which the nearest image is not."""
    with tempfile.TemporaryDirectory() as folder:
        path = trained.save(f"{folder}/weights.safetensors")
        options = {**params, "weights": str(path), "residual": False}
        made: xr.DataArray = sharpen_spectral(spectra, sharp, method=record, **options).compute()
    return made
