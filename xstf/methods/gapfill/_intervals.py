"""How wide a method's intervals must be in a scene: by what it makes of hidden pixels.

Methods say how far they may be off by models of their own, which no scene obeys in all. So pixels
of the scene's sample are hidden (`auto.holdout`), in the shapes of its own gaps and, where dates
are lost, by spans of whole dates (`_spans`); the method fills them, settled anew; and c is what
its standard deviation s must be taken times so that 90 % intervals hold 90 % of them, dates or
spans weighed alike. As n of these tell c only so well,

    C = c^p (1 + 1 / n)^(p / 2),   p = n / (n + OWN),

so that the method's own account weighs as much as `OWN` of them. On dates with something clear the
standard deviation is C s. On lost dates hidden spans are few, and s may not know how fast a scene
goes astray far from any observation: there it is

    [p (C s)^2 + (1 - p) (d D)^2]^(1/2),

D being the standard deviation of linear filling at the same place, which grows with the days to the
nearest observations as values of the scene do (`linear`), and d what makes it hold the method's own
hidden errors.

`OWN` was set on twelve real and three simulated cases and eight methods together: of 0, 5, 10 and
20, 5 left the fewest outside of 85 to 95 %; interval scores differed by 1.6 % at most.
`auto` does the like by itself, and networks have their own way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from xstf._method import Engine, GapfillKernel, GapfillSamples, Method
from xstf.methods.gapfill import eof, harmonic, hybrid, linear, mnspi, regression
from xstf.methods.gapfill._spans import spans_like_lost
from xstf.methods.gapfill.auto.holdout import (
    days_to_nearest,
    hidden_gaps,
    missing_pixels,
    without,
)
from xstf.methods.gapfill.auto.skill import LEAST_SCALE, Trial, matched, width_of
from xstf.numerics.array_module import beside
from xstf.numerics.gaps import FEWEST_ERRORS
from xstf.numerics.seasonal import season_again

# Dates, or spans of dates, that a method's own account of its errors weighs as much as.
OWN = 5.0
# Sets of whole dates that are hidden, each by itself, at most.
ROUNDS = 4
# Pixels that are filled in each trial: those around err as they do, and more tell no more.
PIXELS = 1024
# Dates without which nothing can be hidden: one, between two others.
FEWEST = 3


def _regression_again(
    before: regression.State, samples: GapfillSamples, *, times: np.ndarray, params: Any
) -> regression.State:
    """Return its state without what is hidden: of whole dates the season must not know either."""
    state = regression.settle_again(before, samples, times=times, params=params)
    if state.season is None:
        return state
    scene = season_again(state.season.scene, samples.cube, times)
    return replace(state, season=state.season._replace(scene=scene))


# How those settle anew whose state has something of single pixels or dates.
AGAIN: dict[str, Callable[..., Any]] = {
    "regression": _regression_again,
    **{module.METHOD.name: module.settle_again for module in (eof, harmonic, hybrid, mnspi)},
}


class Widths(NamedTuple):
    """What standard deviations are multiplied by.

    Parameters
    ----------
    clear
        ``(time,)`` bool: whether anything of a date is clear in the sample.
    partly
        C of these dates.
    lost, far, own
        C and d of the others, and p.
    lines
        What `linear` settled; None where there is no d.
    """

    clear: np.ndarray
    partly: float = 1.0
    lost: float = 1.0
    far: float = 1.0
    own: float = 1.0
    lines: linear.State | None = None


@dataclass(frozen=True)
class State:
    """A method's own state, and how wide its intervals must be."""

    own: Any
    widths: Widths


class Cells(NamedTuple):
    """Hidden cells, ``(cell,)`` each."""

    error: np.ndarray
    spread: np.ndarray
    date: np.ndarray
    near: np.ndarray  # days to the nearest clear date, of `days_to_nearest`
    far: np.ndarray  # D, NaN where it is not asked for


def with_intervals(record: Method) -> Method:
    """Return a method whose standard deviations are set by hidden pixels of each scene.

    Its estimates stay as they are.
    """
    if record.net is not None or record.name == "auto":
        return record
    kernels: dict[Engine, Any] = {
        engine: partial(_kernel, kernel=cast(Any, own), engine=engine)
        for engine, own in record.kernels.items()
    }
    trial = _Trials(
        record.settle,
        AGAIN.get(record.name),
        cast(GapfillKernel[Any, Any], next(iter(record.kernels.values()))),
    )
    return replace(record, settle=trial, state_for_std=False, kernels=kernels, direct=None)


def _kernel(
    cube: np.ndarray, guide: np.ndarray | None, *, times: np.ndarray, params: Any, state: State,
    inner: tuple[slice, slice], std: bool, kernel: GapfillKernel[Any, Any], engine: Engine,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:  # fmt: skip
    """Run the method's kernel, and make its standard deviation as wide as the scene tells."""
    estimate, spread, in_space = kernel(
        cube, guide, times=times, params=params, state=state.own, inner=inner, std=std
    )
    if spread is None:
        return estimate, None, in_space
    clear, partly, lost, far, own, lines = state.widths
    factor = np.where(clear, partly, lost).astype(np.float32)[:, None, None, None]
    spread = spread * beside(factor, spread)
    if lines is not None and not clear.all():
        gone = np.flatnonzero(~clear)
        distant = far * _linear(cube, times, lines, inner, engine)[gone]
        both = np.sqrt(own * spread[gone] ** 2 + (1 - own) * distant**2)
        spread[gone] = np.where(np.isnan(both), spread[gone], both)
    return estimate, spread, in_space


def _linear(
    cube: np.ndarray, times: np.ndarray, lines: linear.State, inner: tuple[slice, slice],
    engine: Engine,
) -> np.ndarray:  # fmt: skip
    """Return the standard deviation of linear filling."""
    kernels = cast(Mapping[Engine, GapfillKernel[Any, Any]], linear.METHOD.kernels)
    spread = kernels[engine](
        cube, None, times=times, params=linear.Params(), state=lines, inner=inner, std=True
    )[1]
    return cast(np.ndarray, spread)


@dataclass(frozen=True)
class _Trials:
    """Settles a method and finds how wide its intervals must be: the ``settle`` of a record."""

    settle: Callable[..., Any] | None
    again: Callable[..., Any] | None
    kernel: GapfillKernel[Any, Any]

    def __call__(self, samples: GapfillSamples, *, times: np.ndarray, params: Any) -> State:
        """Return the state."""
        own = self._settled(samples, times, params)
        seen, days = samples.images(times)
        shown = own if samples.asked is None else self._settled(seen, days, params)
        widths = self._widths(seen, days, params, shown)
        if samples.asked is not None:
            clear = np.zeros(len(times), bool)
            clear[~samples.asked] = widths.clear
            widths = widths._replace(clear=clear)
        return State(own, widths)

    def _settled(self, samples: GapfillSamples, times: np.ndarray, params: Any) -> Any:
        return self.settle(samples, times=times, params=params) if self.settle else None

    def _widths(
        self, samples: GapfillSamples, times: np.ndarray, params: Any, state: Any
    ) -> Widths:
        there = ~missing_pixels(samples.cube)
        clear = np.asarray(there.any(axis=(0, 2, 3)))
        if len(times) < FEWEST:
            return Widths(clear)
        hidden = hidden_gaps(samples.cube, times)
        partly, _, _ = _width(self._trial(samples, times, params, state, hidden, None), None)
        spans = spans_like_lost(samples.cube, times, ROUNDS)
        if not spans:
            return Widths(clear, partly)
        lines = linear.settle(samples, times=times, params=linear.Params())
        found = []
        for turn, span in enumerate(spans):
            hidden = (span > 0)[None, :, None, None] & there
            cells = self._trial(samples, times, params, state, hidden, lines)
            found.append(cells._replace(date=span[cells.date] + len(times) * turn))
        cells = Cells(*(np.concatenate(part) for part in zip(*found, strict=True)))
        real = days_to_nearest(samples.cube, times)[:, ~clear]
        weights = matched(cells.near, real)
        lost, own, _ = _width(cells, weights)
        _, _, far = _width(cells._replace(spread=cells.far), weights)
        return Widths(clear, partly, lost, far, own, lines if own < 1 else None)

    def _trial(
        self, samples: GapfillSamples, times: np.ndarray, params: Any, state: Any,
        hidden: np.ndarray, lines: linear.State | None,
    ) -> Cells:  # fmt: skip
        """Return what the method makes of hidden cells in the middle of each window."""
        truth = samples.cube
        holed = samples._replace(cube=without(truth, hidden), season=None)
        if self.again is not None and hidden.any():
            state = self.again(state, holed, times=times, params=params)
        side = max(1, round((PIXELS / len(truth)) ** 0.5))
        inner = (_middle(truth.shape[3], side), _middle(truth.shape[4], side))
        near = days_to_nearest(holed.cube, times)
        found = [Cells(*np.zeros((5, 0), np.float32))._replace(date=np.zeros(0, int))]
        for w, window in enumerate(holed.cube):
            part = (..., *inner)
            there = hidden[w][part][:, None] & np.isfinite(truth[w][part])
            if not there.any():
                continue
            guide = None if holed.guide is None else holed.guide[w]
            estimate, spread, _ = self.kernel(
                window, guide, times=times, params=params, state=state, inner=inner, std=True
            )
            far = np.full(there.shape, np.nan, np.float32)
            if lines is not None:
                far = _linear(window, times, lines, inner, "numba")
            days = np.broadcast_to(near[w][part][:, None], there.shape)
            found.append(
                Cells(
                    (estimate - truth[w][part])[there],
                    cast(np.ndarray, spread)[there],
                    np.nonzero(there)[0],
                    days[there],
                    far[there],
                )  # fmt: skip
            )
        return Cells(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _middle(size: int, side: int) -> slice:
    start = max(0, (size - side) // 2)
    return slice(start, min(size, start + side))


def _width(cells: Cells, weights: np.ndarray | None) -> tuple[float, float, float]:
    """Return C, p, and c as it was found (but for what few windows leave unsure)."""
    if np.isfinite(cells.error).sum() < FEWEST_ERRORS:
        return 1.0, 1.0, 1.0
    none = np.zeros((0, 0), np.float32)
    trial = Trial(none, none, cells.date, FEWEST_ERRORS, weights)
    factor, sizes = width_of(trial, cells.error, cells.spread)
    if not sizes.any():
        return 1.0, 1.0, 1.0
    number = float(sizes.sum() ** 2 / (sizes**2).sum())
    factor = max(float(factor * np.sqrt(1 + 1 / number)), LEAST_SCALE)
    own = number / (number + OWN)
    return factor**own, own, factor
