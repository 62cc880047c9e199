"""The methods that `auto` compares and blends: how they settle, settle again, and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from xstf._checks import check_flags
from xstf._method import Engine, GapfillKernel, GapfillSamples, Method
from xstf.methods.gapfill import eof, gp, harmonic, linear, mnspi, regression
from xstf.methods.gapfill.auto.blend import Result
from xstf.numerics.seasonal import SceneSeason, predicted
from xstf.numerics.seasonal_blocks import Predictions

CANDIDATES: dict[str, Method] = {
    module.METHOD.name: module.METHOD for module in (regression, eof, mnspi, harmonic, gp, linear)
}
# The Gaussian process without the guide, where there is one: radar that helps over a long winter
# can mislead in a summer. On which kind of gap it has a part is decided by hidden pixels.
GUIDED, ALONE = gp.METHOD.name, "gp-alone"
CANDIDATES[ALONE] = replace(gp.METHOD, name=ALONE, guided=False)
# How those settle anew whose state has something of every pixel and date: from the state of all
# that is clear, so that what is pooled over the scene (a rank, a calibration) is not sought again.
AGAIN: dict[str, Callable[..., object]] = {
    module.METHOD.name: module.settle_again for module in (regression, eof, mnspi)
}
# How those fill that look at pixels around, each missing one by itself: what is wanted of them.
WANTED: dict[str, Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    module.METHOD.name: module.fill_wanted for module in (regression, mnspi)
}
# Those that need nothing of the date itself; the others fall back on one of them.
IN_TIME = ("harmonic", GUIDED, ALONE, "eof", "linear")


@dataclass(frozen=True, kw_only=True)
class Params:
    """The scene chooses the rest.

    Parameters
    ----------
    space : bool
        Whether methods that look at pixels around take part; False blends those in time alone, as
        for series without space.
    """

    space: bool = True

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        check_flags(self, "space")


def own_params(name: str, params: Params) -> Any:
    """Return a candidate's parameters: its defaults, without neighbours where there are none."""
    record = CANDIDATES[name]
    own = record.params()
    return own if params.space or record.alone is None else record.alone(own)


def settled(name: str, samples: GapfillSamples, times: np.ndarray, params: Params) -> object:
    """Settle a candidate on a sample."""
    record = CANDIDATES[name]
    if record.settle is None:
        return None
    return record.settle(_seen_by(record, samples), times=times, params=own_params(name, params))


def settled_again(
    name: str, state: object, samples: GapfillSamples, times: np.ndarray, params: Params
) -> object:
    """Return a candidate's state without what is hidden of a sample; ``state`` has seen all.

    A state that is of all dates together has next to nothing of a hidden pixel, and is kept.
    """
    if name not in AGAIN:
        return state
    seen = _seen_by(CANDIDATES[name], samples)
    return AGAIN[name](state, seen, times=times, params=own_params(name, params))


def _seen_by(record: Method, samples: GapfillSamples) -> GapfillSamples:
    return samples if record.guided else samples._replace(guide=None)


def run(
    name: str, engine: Engine | None, cube: np.ndarray, guide: np.ndarray | None,
    times: np.ndarray, state: object, params: Any, inner: tuple[slice, slice] | None = None,
) -> Result:  # fmt: skip
    """Run a candidate's kernel, its first or a named one; every candidate gives a spread."""
    record = CANDIDATES[name]
    first = next(iter(record.kernels))
    kernel = cast(GapfillKernel[Any, Any], record.kernels[first if engine is None else engine])
    estimate, spread, in_space = kernel(
        cube, guide if record.guided else None, times=times, params=params,
        state=state, inner=inner or (slice(0, cube.shape[2]), slice(0, cube.shape[3])), std=True,
    )  # fmt: skip
    if spread is None:
        raise TypeError(f"{name} gave no standard deviation, by which it would be weighed")
    return Result(estimate, spread, in_space)


class OneSeason:
    """The season's predictions of a tile, made once for all candidates that ask for them.

    Parameters
    ----------
    inner
        The part of the tile that candidates in time fill; others look around it.
    """

    def __init__(self, inner: tuple[slice, slice]) -> None:
        self.inner = inner
        self.scene: SceneSeason | None = None
        self.found: Predictions | None = None

    def __call__(self, cube: np.ndarray, times: np.ndarray, scene: SceneSeason) -> Predictions:
        """Return the predictions of the whole tile."""
        self.scene, self.found = scene, predicted(cube, times, scene)
        return self.found

    def result(self, name: str, state: object) -> Result | None:
        """Return what a candidate makes of the inner part, if that is these predictions."""
        if name != harmonic.METHOD.name or self.found is None or state is not self.scene:
            return None
        # Contiguous, or the blend is compiled once more.
        smooth, _, spread = (np.ascontiguousarray(part[:, :, *self.inner]) for part in self.found)
        return Result(smooth, spread, None)


def run_wanted(
    name: str, cube: np.ndarray, guide: np.ndarray | None, wanted: np.ndarray, times: np.ndarray,
    state: object, params: Any, inner: tuple[slice, slice], season: OneSeason | None = None,
) -> Result:  # fmt: skip
    """Run a candidate's fast kernel, at least where ``wanted (time, y, x)`` of ``inner``."""
    if season is not None and (found := season.result(name, state)) is not None:
        return found
    if name not in WANTED:
        return run(name, None, cube, guide, times, state, params, inner)
    guide = guide if CANDIDATES[name].guided else None
    more = {"predict": season} if season is not None and name == regression.METHOD.name else {}
    found_there = WANTED[name](
        cube, guide, wanted, times=times, params=params, state=state, inner=inner, **more
    )
    return Result(*found_there)
