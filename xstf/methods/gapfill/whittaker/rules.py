"""How whittaker weighs outliers and chooses periods, for a block of pixels at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xstf.methods.gapfill.whittaker.penalised import (
    BLOCK,
    PAD,
    Ends,
    Work,
    factor,
    invert,
    solve,
    weigh,
)
from xstf.numerics.jit import middle, part
from xstf.numerics.normal import BISQUARE, MAD

# Where the weight of a residual ends, in median absolute residuals.
ROBUST_WIDTH = BISQUARE * MAD
# An observation that bears the whole curve has 1 - h = 0 but for rounding.
ALONE = 1e-9
# No square of a residual, or of the roughness, below this share of the data's counts.
ROUNDING = 1e-12


class Plan(NamedTuple):
    """What is the same for every pixel; first for ``period``, then for those to choose from."""

    clock: np.ndarray  # (time,) in mean steps
    penalty: np.ndarray  # (period, time, 4)
    unit: np.ndarray  # (period,) the weight of an observation if there is one every step
    rough: np.ndarray  # (time, 4) of the order's roughness alone
    passes: int
    robust: bool
    above: float  # weight of what lies above the curve, and below it
    below: float
    rule: int  # 0 fixed, 1 gcv, 2 vcurve


class Room(NamedTuple):
    """What the rules work in."""

    unit: np.ndarray  # (BLOCK,): the weight of each pixel's period
    rests: np.ndarray  # (time,)
    score: np.ndarray  # (2, period, BLOCK)
    best: np.ndarray  # (BLOCK,)
    fit: np.ndarray  # (time + 2 PAD, BLOCK)
    spread: np.ndarray  # (time + 2 PAD, BLOCK)


def room_of(plan: Plan) -> Room:
    """Return the room of the rules."""
    dates, periods = plan.clock.size, plan.unit.size
    return Room(
        np.empty(BLOCK),
        np.empty(dates),
        np.empty((2, periods, BLOCK)),
        np.empty(BLOCK, np.int64),
        np.zeros((dates + 2 * PAD, BLOCK)),
        np.zeros((dates + 2 * PAD, BLOCK)),
    )


@part
def reweigh(plan: Plan, size: int, rests: np.ndarray, work: Work, ends: Ends) -> None:
    """Write how much each observation counts, after the passes."""
    trust, seen = work.trust, work.seen
    for t in range(trust.shape[0]):
        for i in range(BLOCK):
            trust[t, i] = seen[t, i]
    for _ in range(plan.passes):
        weigh(trust, plan.unit[0], work, ends)
        factor(work, plan.penalty[0])
        if plan.robust:
            invert(work, plan.penalty[0])
        solve(work, plan.penalty[0])
        for i in range(size):
            scale = _scale(plan, i, rests, work, ends) if plan.robust else np.inf
            for t in range(PAD, PAD + plan.clock.size):
                rest = work.value[t, i] - work.fit[t, i]
                side = plan.above if rest > 0 else plan.below
                if plan.robust:
                    v = work.inverse[t, i] * ends.step[i] * plan.unit[0]
                    far = min(abs(rest / max(1 - v * trust[t, i], ALONE)) / scale, 1.0)
                    side *= (1 - far**2) ** 2
                trust[t, i] = side * seen[t, i]


@part
def _scale(plan: Plan, i: int, rests: np.ndarray, work: Work, ends: Ends) -> float:
    """Return the leave-one-out residual at which a pixel's weights end."""
    count = 0
    for t in range(PAD, PAD + plan.clock.size):
        if work.seen[t, i] > 0:
            v = work.inverse[t, i] * ends.step[i] * plan.unit[0]
            rest = work.value[t, i] - work.fit[t, i]
            rests[count] = abs(rest / max(1 - v * work.trust[t, i], ALONE))
            count += 1
    if count == 0:
        return 1.0
    return max(ROBUST_WIDTH * middle(rests[:count]), 1e-300)


@part
def choose(plan: Plan, size: int, inverse: bool, room: Room, work: Work, ends: Ends) -> None:
    """Write the fit, and the inverse if wanted, with the period that each pixel's rule finds."""
    periods = plan.unit.size
    unit, score, best, fit, spread = room.unit, room.score, room.best, room.fit, room.spread
    for at in range(1, periods):
        weigh(work.trust, plan.unit[at], work, ends)
        factor(work, plan.penalty[at])
        if plan.rule == 1:
            invert(work, plan.penalty[at])
        solve(work, plan.penalty[at])
        _rate(plan, at, size, score, work, ends)
    for i in range(size):
        best[i] = _gcv_best(score, i) if plan.rule == 1 else _corner(score, i)
        unit[i] = plan.unit[best[i]]
    for t in range(fit.shape[0]):
        for i in range(BLOCK):
            fit[t, i] = 0.0
            spread[t, i] = 0.0
    for at in range(1, periods):
        number = 0
        for i in range(size):
            number += best[i] == at
        if number > 0:
            weigh(work.trust, plan.unit[at], work, ends)
            factor(work, plan.penalty[at])
            if inverse:
                invert(work, plan.penalty[at])
            solve(work, plan.penalty[at])
            for t in range(PAD, PAD + plan.clock.size):
                for i in range(size):
                    fit[t, i] = work.fit[t, i] if best[i] == at else fit[t, i]
                    spread[t, i] = work.inverse[t, i] if best[i] == at else spread[t, i]
    for t in range(len(fit)):
        for i in range(BLOCK):
            work.fit[t, i] = fit[t, i]
            work.inverse[t, i] = spread[t, i]


@part
def _rate(plan: Plan, at: int, size: int, score: np.ndarray, work: Work, ends: Ends) -> None:
    """Write what the rule makes of one period: GCV's score, or the V-curve's two logarithms."""
    dates = plan.clock.size
    for i in range(size):
        total = misfit = used = rough = 0.0
        for t in range(dates):
            one = work.fit[t + PAD, i]
            share = work.trust[t + PAD, i]
            value = work.value[t + PAD, i]
            total += share * value**2
            misfit += share * (value - one) ** 2
            if plan.rule == 1:
                used += share * work.inverse[t + PAD, i]
            else:
                bands = plan.rough[t]
                before = bands[1] * work.fit[t + 2, i] + bands[2] * work.fit[t + 1, i]
                before += bands[3] * work.fit[t, i]
                rough += one * (bands[0] * one + 2 * before)
        least = ROUNDING * total
        if plan.rule == 1:
            free = ends.number[i] - used * ends.step[i] * plan.unit[at]
            score[0, at, i] = (misfit + least) / free**2 if free > ALONE else np.inf
        else:
            # A pixel of zeros has no logarithms: any period serves.
            score[0, at, i] = np.log(max(misfit + least, 1e-300))
            score[1, at, i] = np.log(max(rough + least, least, 1e-300))


@part
def _gcv_best(score: np.ndarray, i: int) -> int:
    """Return the period with the least score, the longest of the best."""
    best: int = score.shape[1] - 1
    for at in range(score.shape[1] - 2, 0, -1):
        if score[0, at, i] < score[0, best, i]:
            best = at
    return best


@part
def _corner(score: np.ndarray, i: int) -> int:
    """Return the period where the curve of the two logarithms moves least, the longest of those."""
    best: int = score.shape[1] - 2
    slowest = np.inf
    for at in range(score.shape[1] - 2, 1, -1):
        across = score[0, at + 1, i] - score[0, at - 1, i]
        speed = np.hypot(across, score[1, at + 1, i] - score[1, at - 1, i])
        if speed < slowest:
            best, slowest = at, speed
    return best
