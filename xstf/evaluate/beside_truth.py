"""Scores of a result that is there, beside a truth."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstf.cubes.acquisitions import dates_of, longitude_of
from xstf.cubes.dims import find_dim
from xstf.cubes.mosaic import mosaic
from xstf.cubes.read import Cube, as_array, read_cube
from xstf.cubes.values import decoded_values
from xstf.evaluate.result import assemble_scores
from xstf.evaluate.running import image_beside, read_classes
from xstf.evaluate.scoring import Frame, score_image


def score(
    result: xr.DataArray | xr.Dataset,
    truth: xr.DataArray | xr.Dataset,
    *,
    classes: xr.DataArray | None = None,
    ratio: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return how good a result is, beside a truth on its grid.

    Parameters
    ----------
    result : DataArray or Dataset
        What a verb returned, or any estimate; a Dataset of ``return_quality=True`` has its standard
        deviation judged, too. A Dataset of bands is one estimate without.
    truth : DataArray or Dataset of bands
        On the same grid, with the same bands. Dates are taken by their stamp, else by their solar
        day; those that only one of both has are left out.
    classes : DataArray (y, x), optional
        As in :func:`xstf.evaluate_fusion`.
    ratio : float, optional
        Coarse pixel / fine pixel of what the result was made of: gives ``ergas``.
    seed : int
        Of the draws that intervals come from.

    Returns
    -------
    Dataset
        As of :func:`xstf.evaluate_fusion`, with one method, that of ``attrs["stf_method"]``; with
        ``time`` where the result has it. Lazy cubes are computed date by date.

    Raises
    ------
    ValueError
        Other grids, CRSs or bands; no date in common.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> fused = xstf.fuse(fine.isel(time=[0, 2]), coarse, method="starfm", time=fine.time[1])
    >>> scores = fused.stf.score(fine)
    >>> scores.sizes["time"]
    1
    """
    estimate, std = _parts(result)
    reference = decoded_values(as_array(truth, what="truth"), "truth")
    if find_dim(reference, "time") is not None:
        reference = mosaic(reference, by="acquisition")
    own, other = read_cube(estimate, what="result"), read_cube(reference, what="truth")
    full = str(estimate.attrs.get("stf_method", result.attrs.get("stf_method", "result")))
    name = full.split("(")[0]
    frame = Frame(
        own.bands, own.grid.y, own.grid.x,
        read_classes(classes, own.grid, own.grid.y, own.grid.x), ratio,
    )  # fmt: skip
    rows, stamps = [], []
    pairs = _dates(own, other)
    for mine, its in pairs:
        e, t, s = image_beside(
            _image(estimate, own, mine), _image(reference, other, its),
            None if std is None else _image(std, own, mine),
        )  # fmt: skip
        stamp = () if mine is None else (own.dates[mine],)
        stamps.append(stamp)
        rows.append(score_image(frame, name, stamp, estimate=e, truth=t, std=s))
    return assemble_scores(
        frame, rows, verb="score", dims=("time",) if stamps[0] else (), methods={name: full},
        protocol=f"a result beside a truth, {len(rows)} image(s)", seed=seed,
        options={"ratio": ratio}, units=str(estimate.attrs.get("units", "")),
    ).drop_vars("seconds")  # fmt: skip


def _parts(result: xr.DataArray | xr.Dataset) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return the estimate of a result, and its standard deviation if it is one cube that has it."""
    if isinstance(result, xr.DataArray):
        return result, None
    names = [str(n) for n in result.data_vars if f"{n}_std" in result]
    if len(names) == 1:
        return result[names[0]].assign_attrs(result.attrs | result[names[0]].attrs), result[
            f"{names[0]}_std"]  # fmt: skip
    layers = [f"{n}{end}" for n in names for end in ("_std", "_flag", "_n_obs")]
    return as_array(result.drop_vars(layers, errors="ignore"), what="result"), None


def _dates(own: Cube, other: Cube) -> list[tuple[int | None, int | None]]:
    """Return which images of both are of one date; (None, None) where the result has no dates."""
    if own.dims[0] is None:
        if other.dims[0] is not None and len(other.dates) != 1:
            raise ValueError("truth has several dates and the result none: select one of truth")
        return [(None, None if other.dims[0] is None else 0)]
    if other.dims[0] is None:
        if len(own.dates) != 1:
            raise ValueError(
                "the result has several dates and truth none: select one of the result"
            )
        return [(0, None)]
    place = longitude_of(own.grid, own.dims[3])
    mine, its = dates_of(own.dates, place), dates_of(other.dates, place)
    found: list[tuple[int | None, int | None]] = []
    for i, (stamp, day) in enumerate(zip(mine.stamps, mine.days, strict=True)):
        exact, near = np.flatnonzero(its.stamps == stamp), np.flatnonzero(its.days == day)
        if len(exact) or len(near) == 1:
            found.append((i, int([*exact, *near][0])))
    if not found:
        raise ValueError(
            f"the result has {_days(own.dates)} and truth has {_days(other.dates)}: no date is in "
            "both"
        )
    return found


def _days(dates: np.ndarray) -> str:
    texts = [str(d)[:10] for d in dates]
    return ", ".join(texts) if len(texts) < 5 else f"{texts[0]} to {texts[-1]}"


def _image(cube: xr.DataArray, read: Cube, date: int | None) -> xr.DataArray:
    """Return one image of a cube, without its date."""
    if read.dims[0] is None or date is None:
        return cube
    return cube.isel({read.dims[0]: date}, drop=True)
