"""Scores of a series of many bands: in one stage, and in two."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xstf._method import Method
from xstf.align.sts import align_sts
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.cubes.read import read_cube
from xstf.evaluate.baselines import INTERPOLATED, UNCHANGED
from xstf.evaluate.result import assemble_scores
from xstf.evaluate.running import image_beside, read_classes, run_timed
from xstf.evaluate.scoring import Frame, Row, score_image
from xstf.methods.lookup import get_method
from xstf.verbs.fuse import fuse
from xstf.verbs.sharpen_spectral import sharpen_spectral

if TYPE_CHECKING:
    from xstf.train import Fitted

# A method by its name, or with its parameters; a way is a method of one stage, or two methods.
StageLike: TypeAlias = str | Method | tuple[str | Method, Mapping[str, object]]
Way: TypeAlias = StageLike | tuple[StageLike, StageLike]

WAYS: tuple[Way, ...] = ("sts_linear", ("estarfm", "cnmf"))
# The nearest image of many bands, interpolated.
_TRIVIAL: Way = (UNCHANGED, INTERPOLATED)


def evaluate_sts(
    fine: xr.DataArray,
    coarse: xr.DataArray,
    spatial: xr.DataArray,
    *,
    truth: xr.DataArray,
    ways: Sequence[Way] = WAYS,
    time: DateLike | None = None,
    baselines: bool = True,
    classes: xr.DataArray | None = None,
    seed: int = 0,
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
    baselines : bool
        Add a trivial way: the bands of the nearest image of `fine`, interpolated.
    classes : DataArray (y, x), optional
        As in :func:`xstf.evaluate_fusion`.
    seed : int
        Of the draws that intervals come from.
    pair_tolerance : str
        As :func:`xstf.fuse` takes it.

    Returns
    -------
    Dataset
        As of :func:`xstf.evaluate_fusion`, a way being a method, called as ``"fitfc + gsa"``;
        ``paired`` ``(time,)`` tells whether `fine` has the date, ``seconds`` ``(method,)`` are for
        all dates, training included.

    Examples
    --------
    >>> import xstf
    >>> s = xstf.scenes.hyperspectral_series(size=60, bands=40)
    >>> ways = ["sts_linear", ("fitfc", "gsa")]
    >>> scores = xstf.evaluate_sts(s.spectral, s.dense, s.sharp, truth=s.truth, ways=ways)
    >>> mean = scores.sam.mean("time")
    >>> bool(mean.sel({"method": "sts_linear"}) < mean.sel({"method": "fitfc + gsa"}))
    True
    """
    cubes = align_sts(fine, coarse, spatial, pair_tolerance=pair_tolerance)
    dim = str(read_cube(truth, what="truth").dims[0])
    dates = truth[dim].values if time is None else np.atleast_1d(np.asarray(time, "M8[ns]"))
    reference = truth.sel({dim: dates})
    paired = np.isin(dates, cubes.times[cubes.series.pairs[:, 1]])
    labels = read_cube(reference, what="truth")
    grid = labels.grid
    frame = Frame(
        labels.bands, grid.y, grid.x, read_classes(classes, grid, grid.y, grid.x),
        cubes.series.ratios[0],
    )  # fmt: skip
    rows: list[Row] = []
    names = {}
    for way in ([_TRIVIAL] if baselines else []) + list(ways):
        name, make = _way(way)
        names[name] = _in_full(way)
        made, seconds = run_timed(
            partial(make, _Cubes(fine, coarse, spatial), dates, pair_tolerance), _trained(way)
        )
        made = made.assign_coords({d: reference[d] for d in reference.dims})
        for date, stamp in enumerate(dates):
            e, t, _ = image_beside(made.isel({dim: [date]}), reference.isel({dim: [date]}))
            rows.append(score_image(frame, name, (stamp,), estimate=e, truth=t, seconds=seconds))
    scores = assemble_scores(
        frame, rows, verb="sts", dims=("time",), methods=names, seed=seed,
        options={"pair_tolerance": pair_tolerance}, units=str(truth.attrs.get("units", "")),
        protocol=f"{len(dates)} date(s) made in one stage or in two, compared with a truth",
    )  # fmt: skip
    seconds_of_all = scores["seconds"].mean("time", keep_attrs=True)
    by_date = xr.DataArray(paired, {"time": dates}, ("time",))
    return scores.assign(seconds=seconds_of_all, paired=by_date.sel(time=scores["time"]))


def _in_full(way: Way) -> str:
    """Return a way with the parameters that it was given."""
    stages = [way] if _is_stage(way) else list(way)  # type: ignore[arg-type]
    texts = []
    for one in stages:
        name, params = _stage(one)
        texts.append(f"{_name(name)}({', '.join(f'{k}={v!r}' for k, v in params.items())})")
    return " + ".join(texts)


def _trained(way: Way) -> Method | None:
    """Return a network of a way, which is not run twice; None for a way without."""
    stages = [way] if _is_stage(way) else list(way)  # type: ignore[arg-type]
    tasks: tuple[str, ...] = ("sts",) if len(stages) == 1 else ("fuse", "sharpen_spectral")
    records = [get_method(t, _stage(s).method) for t, s in zip(tasks, stages, strict=True)]
    return next((record for record in records if record.net is not None), None)


class _Stage(NamedTuple):
    """A method and its parameters."""

    method: str | Method
    params: Mapping[str, Any]


def _name(method: str | Method) -> str:
    return method if isinstance(method, str) else method.name


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
        return _name(stage.method), partial(_one_stage, stage)
    if not isinstance(way, tuple) or len(way) != 2:
        raise TypeError(
            f"a way is a method of one stage or two methods, such as 'sts_linear' or "
            f"('estarfm', 'cnmf'), not {way!r}"
        )
    first, second = _stage(way[0]), _stage(way[1])
    get_method("fuse", first.method)
    get_method("sharpen_spectral", second.method)
    return f"{_name(first.method)} + {_name(second.method)}", partial(_two_stages, first, second)


def _is_stage(way: object) -> bool:
    return isinstance(way, str | Method) or (
        isinstance(way, tuple) and len(way) == 2 and isinstance(way[1], Mapping)
    )


def _stage(stage: object) -> _Stage:
    if isinstance(stage, str | Method):
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
