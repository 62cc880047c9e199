"""Scores of gap filling: clear pixels are masked in the shapes of real gaps, filled, compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr

from xstf import simulate
from xstf.cubes.arrays import Guides
from xstf.cubes.masking import apply_mask
from xstf.cubes.mosaic import mosaic
from xstf.cubes.pairs import LengthLike
from xstf.cubes.place import moved_along
from xstf.cubes.read import Cube, as_array, read_cube, read_labels
from xstf.cubes.values import decoded_values, take_values
from xstf.cubes.variables import tell_of_layers
from xstf.cubes.words import warn_user
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
    with_baselines,
)
from xstf.evaluate.scoring import Frame, Row, score_image
from xstf.methods.lookup import Trial, get_method
from xstf.verbs.gapfill import gapfill

# Trivial ways that are methods.
_TRIVIAL = ("nearest", "linear")


def evaluate_gapfill(
    cube: xr.DataArray | xr.Dataset,
    sar: Guides | None = None,
    *,
    methods: Methods | None = None,
    regimes: Sequence[Literal["partial", "persistent", "full"]] = ("partial", "persistent", "full"),
    mask: xr.DataArray | None = None,
    days: LengthLike = 25.0,
    baselines: bool = True,
    classes: xr.DataArray | None = None,
    max_pixels: int | None = MAX_PIXELS,
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
    methods : sequence of str, Method or (method, dict of its parameters), or dict, optional
        As in :func:`xstf.evaluate_fusion`. Default: all that the cube has dates enough for, but
        networks, which need weights.
    regimes : sequence of {"partial", "persistent", "full"}
        What is masked: a shape on one date; that shape on all dates within `days`; every pixel
        within `days`.
    mask : DataArray of bool, optional
        True where `cube` is not usable.
    days : number of days or timedelta-like
        See `regimes`.
    baselines : bool
        Add the trivial methods ``"nearest"`` and ``"linear"``.
    classes, max_pixels
        As in :func:`xstf.evaluate_fusion`.
    seed : int
        Of what is masked, and of the draws that intervals come from.
    **options
        Passed on to :func:`xstf.gapfill`; but for ``time`` and ``freq``, on whose dates there is
        nothing to compare with.

    Returns
    -------
    Dataset
        As of :func:`xstf.evaluate_fusion`, with a dim ``regime`` after ``method``; ``seconds`` are
        of all dates ``(method, regime)``. Dates that a regime does not hide are NaN in it.

    Notes
    -----
    Select with ``scores.sel({"method": "linear"})``: xarray takes ``sel(method=…)`` as its own.

    Examples
    --------
    >>> import xstf
    >>> cube, _ = xstf.testing.holes()
    >>> scores = xstf.evaluate_gapfill(cube, methods=["linear"], regimes=["partial"])
    >>> bool(scores.rmse.sel({"method": "linear"}).mean() < 0.1)
    True
    """
    for name in ("time", "freq"):
        if options.get(name) is not None:
            raise ValueError(
                f"evaluate_gapfill compares with what was observed, on the cube's own dates; leave "
                f"out {name}="
            )
    said: dict[str, object] = {"days": days, **options}
    (cube,) = take_values(options, (cube, "cube", "scale"))
    tell_of_layers(cube, "cube", masked=mask is not None)
    array = decoded_values(as_array(cube, what="cube"), "cube")
    if mask is not None:
        labels = read_labels(array, what="cube", unsized=True)
        mask = moved_along(mask, cube, array)
        array, _ = apply_mask(array, mask, labels.dims, labels.place.grid, "cube")
    array = mosaic(array, by="acquisition")
    array, plain, text = _part(array, max_pixels)
    tried = methods_to_try("gapfill", methods)
    if baselines:
        tried = with_baselines(tried, [get_method("gapfill", name) for name in _TRIVIAL])
    if methods is None:
        tried = [t for t in tried if t.record.fewest <= plain.data.shape[0]]
    frame = Frame(
        plain.bands, plain.grid.y, plain.grid.x,
        read_classes(classes, plain.grid, plain.grid.y, plain.grid.x),
    )  # fmt: skip
    rows: list[Row] = []
    hides_all = []
    for regime in regimes:
        holed, held = simulate.transplant_mask(array, regime=regime, days=days, seed=seed)
        truth = array.where(held).compute()
        if not bool(holed.notnull().any()):
            hides_all.append(regime)
            continue
        for trial in tried:
            rows += _rows(frame, trial, regime, holed, truth, plain, sar, options)
    _tell_of_hidden(hides_all, days, left=len(rows))
    scores = assemble_scores(
        frame, rows, verb="gapfill", dims=("regime", "time"), seed=seed, options=said,
        units=str(array.attrs.get("units", "")),
        protocol="clear pixels masked in the shapes of real gaps of other dates: on one date "
        f"(partial), on all within {days} days (persistent), or whole dates (full){text}",
        methods={t.label: in_full(t) for t in tried},
    )  # fmt: skip
    return scores.assign(seconds=scores["seconds"].mean("time", keep_attrs=True))


def _part(array: xr.DataArray, most: int | None) -> tuple[xr.DataArray, Cube, str]:
    """Return the cube, of a large scene its middle, in memory; as it is read; what was done."""
    plain = read_cube(array, what="cube", unsized=True)
    part = part_of(plain.grid.height, plain.grid.width, most)
    text = ""
    if part is not None:
        array = array.isel({plain.dims[2]: part.rows, plain.dims[3]: part.columns})
        plain = read_cube(array, what="cube", unsized=True)
        text = f"; the middle {plain.grid.height} × {plain.grid.width} pixels of the scene"
    return (array if most is None else array.compute()), plain, text


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


def _rows(
    frame: Frame,
    trial: Trial,
    regime: str,
    holed: xr.DataArray,
    truth: xr.DataArray,
    plain: Cube,
    sar: Guides | None,
    options: dict[str, object],
) -> list[Row]:
    """Return one method's scores on the dates of which something was masked."""
    record = trial.record
    call: dict[str, Any] = {
        "method": record, "return_quality": record.std, **options, **trial.params,
    }  # fmt: skip
    if record.guided and sar is not None:
        call["sar"] = sar
    if not record.guided:
        call.pop("guide", None)
    made, seconds = run_timed(partial(gapfill, holed, **call), record)
    estimate, std = parted(made, plain.name)
    dim = plain.dims[0]
    masked = truth.notnull().any([d for d in truth.dims if d != dim]).values
    rows = []
    for date in np.flatnonzero(masked):
        at = {dim: [int(date)]}
        e, t, s = image_beside(
            estimate.isel(at), truth.isel(at), None if std is None else std.isel(at)
        )
        stamp = truth[dim].values[date]
        rows.append(
            score_image(
                frame, trial.label, (regime, stamp), estimate=e, truth=t, std=s, seconds=seconds
            )
        )
    return rows
