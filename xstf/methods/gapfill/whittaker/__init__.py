"""Whittaker smoothing on real dates: the penalised least-squares curve of each pixel and band.

The fill z minimises, with weights w (0 = missing) at dates t_i::

    sum_i w_i (y_i - z_i)^2 + lambda [ int (z^(d))^2 dt + a int (z')^2 dt ]

``d`` is the order (a = 0 for d = 1). The integrals are sums of squared divided differences on the
real dates, each times the days that it stands for. So ``(W + lambda P) z = W y`` has three bands
to a side, and one banded ``L D L'`` sweep per pixel solves it. Before the first and after the last
observation the fill holds the curve's value there: it never goes on with a slope.

How much is smoothed is a ``period`` T in days: a wave of it keeps half of its amplitude, shorter
ones less. With n observations a day the transfer function at frequency f is ``n / (n + lambda
(f^2d + a f^2))``, so ``lambda = n / (F^2d + a F^2)``, ``F = 2 pi / T``; n is the pixel's own count
over the days between its first and last. The same T is the same smoothing on composites and on
daily data, with many gaps and few; the same lambda would not be.

What the sources leave open, and why it is so here. "Synthetic series" are 15 sets of 400: seasons,
harvests as edges, and Gaussian processes with and without a derivative, noise of 2 to 33 % of the
seasonal amplitude, every 5 or 16 days, half of them clouded, and a gap of 75 days each. Errors are
given as a share of those of linear interpolation, as the geometric mean, in short gaps / the long.

- Tension: ``a = F^(2d - 2)``: both penalties are equal in a wave of period T. A pure order 2
  carries the slopes at the edges of a gap far into it, and overshoots. With tension they fade, and
  long gaps are crossed almost straight. Shares of 0, .1, .3, 1, 3: .98/.95, .96/.93, .97/.94,
  .98/.98, 1.00/1.01; at worst 1.18, 1.08, 1.02, 1.01, 1.08 in the long gap. With undetected haze
  on 6 % of the dates, .1, .3, 1, 3 have .98/1.00, .96/.97, .96/.98, .96/1.00. Equal shares need no
  number of their own, and were never more than 1 % worse than linear in the long gap.
- ``period`` is 60 days: 30, 45, 60, 80, 120 have .99/.99, .98/.98, .98/.98, 1.00/.99, 1.08/1.04.
- ``choose="gcv"`` takes the period of each pixel and band, of 12 from 3 mean steps to the whole
  length, by the least ``sum w r^2 / (n - tr H)^2``. The diagonal of H is exact, from the banded
  inverse: the usual eigenvalue form does not see where the gaps are. It has .97/.99: a little
  better than 60 days in short gaps, and worse on series of few dates.
- ``choose="vcurve"`` takes the corner of (log residual, log roughness) over the same periods, where
  the curve moves least between its two neighbours. It smooths more than GCV does: 1.14/1.08.
- ``robust``: bisquare weights at 4.685 * 1.4826 * median abs(e) of the leave-one-out residuals
  ``e = r / (1 - h)``, so that an outlier cannot excuse itself. Off by default: to one series,
  harvests and steep springs are outliers (3 passes: 1.21/1.12, with haze 1.05/1.04), and haze is
  better screened before, with all bands at hand.
- ``envelope``: weights .9 on one side and .1 on the other, times 2, in ten passes.

The standard deviation is that of a new observation. The curve's own variance is proportional to
``v_i``, the diagonal of ``(W + lambda P)^-1``: less than 1 at observations, more in gaps. How the
error grows with v is taken from the scene itself: ``settle`` hides windows, of one date to 32
median steps, from pixels of the scene, and draws a broken line through (90 % quantile of the error
/ 1.645)^2 over classes of v, one line per band for the whole scene.

Eilers, P. H. C. (2003). A perfect smoother. Analytical Chemistry 75(14), 3631-3636.
doi:10.1021/ac034173t. V-curve: Frasso, G., Eilers, P. H. C. (2015). L- and V-curves for optimal
smoothing. Statistical Modelling 15(1), 91-111. doi:10.1177/1471082X14549288.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from xstf._checks import check_above, check_at_least, check_between, check_one_of
from xstf._method import GapfillSamples, Method
from xstf.cubes.limits import LARGEST
from xstf.methods.gapfill.whittaker.cuda import smooth as smoothed_there
from xstf.methods.gapfill.whittaker.penalised import (
    BLOCK,
    PAD,
    STRETCH,
    Ends,
    Work,
    bands_of,
    clock_of,
    factor,
    invert,
    load,
    put,
    roughness,
    solve,
    store,
    store_inverse,
    take,
    weigh,
    workspace,
)
from xstf.methods.gapfill.whittaker.rules import (
    ALONE,
    ROBUST_WIDTH,
    ROUNDING,
    Plan,
    Room,
    choose,
    reweigh,
    room_of,
)
from xstf.numerics.gaps import (
    hidden_widths,
    series,
    settled,
    spread_of,
    told,
    variance,
)
from xstf.numerics.jit import jit

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# Periods that are tried, from this many mean steps (fewer cannot be told from none) to the length.
GRID, SHORTEST_PERIOD = 12, 3.0
# The share of tension, against the order's own penalty, in a wave of the period.
TENSION = 1.0
# Weight on the side of the envelope, and the passes in which its sides settle (Eilers 2003).
TILT, ENVELOPE_PASSES = 0.9, 10
# A longer period than this many lengths of the series changes nothing but the rounding.
LONGEST_PERIOD = 2.0
LARGEST32 = np.float32(LARGEST)


@dataclass(frozen=True, kw_only=True)
class Params:
    """What a user may choose.

    Parameters
    ----------
    period
        Days of a wave that keeps half of its amplitude; shorter ones are smoothed away.
    order
        The derivative that is penalised: 1 joins like rubber bands, 2 like a rod, 3 is smoother.
    choose
        "fixed" takes ``period``, "gcv" and "vcurve" find one for each pixel and band.
    robust
        Passes in which outliers lose weight; 0 for none, 3 are plenty.
    envelope
        "upper" or "lower" for a curve along the high or low values, None for the middle.
    """

    period: float = 60.0
    order: int = 2
    choose: Literal["fixed", "gcv", "vcurve"] = "fixed"
    robust: int = 0
    envelope: Literal["upper", "lower"] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_above(self, period=0)
        check_at_least(self, robust=0)
        check_between(self, robust=(0, 20))
        check_one_of(
            self, order=(1, 2, 3), choose=("fixed", "gcv", "vcurve"),
            envelope=(None, "upper", "lower"),
        )  # fmt: skip


@dataclass(frozen=True)
class State:
    """How the variance of the error grows with v.

    Parameters
    ----------
    lines
        ``(band, 2, knot)``, of `spread_of`.
    """

    lines: np.ndarray


def _plan(times: np.ndarray, params: Params) -> Plan:
    """Return the plan; it takes milliseconds, and is the same for all tiles of a call."""
    return _plan_of(tuple(times.tolist()), params)


@lru_cache(maxsize=8)
def _plan_of(dates: tuple[float, ...], params: Params) -> Plan:
    times = np.array(dates)
    clock = clock_of(times)
    step = (times[-1] - times[0]) / max(len(times) - 1, 1) or 1.0
    length = max(clock[-1], 1.0)
    periods = [min(params.period / step, LONGEST_PERIOD * length)]
    if params.choose != "fixed":
        periods += np.geomspace(SHORTEST_PERIOD, max(length, 2 * SHORTEST_PERIOD), GRID).tolist()
    rough, slack = roughness(clock, params.order), roughness(clock, 1)
    frequency = 2 * np.pi / np.array(periods)
    tension = TENSION * frequency ** (2 * params.order - 2) * (params.order > 1)
    above = {None: 0.5, "upper": TILT, "lower": 1 - TILT}[params.envelope]
    return Plan(
        clock=clock,
        penalty=np.array([bands_of(rough + a * slack) for a in tension]),
        unit=frequency ** (2 * params.order) + tension * frequency**2,
        rough=bands_of(rough),
        passes=params.robust if params.envelope is None else max(params.robust, ENVELOPE_PASSES),
        robust=params.robust > 0,
        above=2 * above,
        below=2 * (1 - above),
        rule=("fixed", "gcv", "vcurve").index(params.choose),
    )


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return how the variance of the error grows with v, from hidden windows of dates."""
    samples, times = samples.images(times)
    values = np.ascontiguousarray(series(samples.cube).swapaxes(0, 1))
    found = []
    for width in hidden_widths(times):
        hidden = _hidden(times, width, values.shape[2])[:, None]
        shown = np.where(hidden, np.nan, values).astype(np.float32)
        estimate, v = _smooth(shown, _plan(times, params), True)
        found.append(np.array([v, np.where(hidden, estimate - values, np.nan)]))
    pairs = np.concatenate(found, axis=1)  # (v and error, time of all widths, band, pixel)
    bands = range(values.shape[1])
    return State(np.array([told(spread_of(*pairs[:, :, b]), values[:, b]) for b in bands]))


def _hidden(times: np.ndarray, width: float, pixels: int) -> np.ndarray:
    """Return which dates of which pixels to hide, a quarter: ``(time, pixel)`` bool."""
    # Windows come at even times, at other ones for each pixel (steps of the golden ratio).
    begin = np.arange(pixels) * 0.6180339887 % 1
    clock = np.arange(len(times)) if width == 0 else times / (2 * width)
    return np.asarray((clock[:, None] / 4 + begin) % 1 < 0.25)


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Series by series with dense matrices, as in the equations above."""
    cube = cube[:, :, *inner]
    plan = _plan(times, params)
    estimate, spread = (np.full(cube.shape, np.nan, np.float32) for _ in range(2))
    for b, y, x in np.ndindex(*cube.shape[1:]):
        values = cube[:, b, y, x].astype(np.float64)
        if np.isfinite(values).any():
            curve, inverse = _curve(values, plan)
            estimate[:, b, y, x] = curve
            if std:
                spread[:, b, y, x] = np.sqrt(variance(settled(state).lines[b], inverse))
    return estimate, spread if std else None, None


def _curve(values: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return the fill of a series, and v."""
    seen = np.isfinite(values)
    at = np.flatnonzero(seen)
    # From its first value on: a constant series is all zeros then, free of rounding.
    base = values[at[0]]
    values = np.where(seen, values - base, 0)
    step = (plan.clock[at[-1]] - plan.clock[at[0]]) / (at.size - 1) if at.size > 1 else 1.0
    trust = seen.astype(np.float64)
    for _ in range(plan.passes):
        fit, v = _dense(values, trust, step, plan, 0)
        rest = values - fit
        left_out = rest / np.maximum(1 - v * trust, ALONE)
        trust = np.where(rest > 0, plan.above, plan.below) * seen
        if plan.robust:
            trust = trust * _bisquare(left_out, seen)
    best = 0 if plan.rule == 0 else _best(values, seen, trust, step, plan)
    fit, v = _dense(values, trust, step, plan, best)
    fit[: at[0]], fit[at[-1] + 1 :] = fit[at[0]], fit[at[-1]]
    return base + fit, v


def _dense(
    values: np.ndarray, trust: np.ndarray, step: float, plan: Plan, at: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return z and v of one of the plan's periods; h = v * trust."""
    weight = trust * step * plan.unit[at]
    matrix = np.diag(weight + plan.penalty[at, :, 0])
    for k in range(1, min(PAD + 1, len(values))):
        side = np.diag(plan.penalty[at, k:, k], -k)
        matrix += side + side.T
    inverse = np.linalg.inv(matrix)
    return inverse @ (weight * values), step * plan.unit[at] * np.diag(inverse)


def _bisquare(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the weights of leave-one-out residuals."""
    scale = ROBUST_WIDTH * np.median(np.abs(rest[seen]))
    far = np.abs(rest) / max(scale, 1e-300)
    return np.asarray(np.where(far < 1, (1 - np.minimum(far, 1) ** 2) ** 2, 0))


def _best(values: np.ndarray, seen: np.ndarray, trust: np.ndarray, step: float, plan: Plan) -> int:
    """Return which of the plan's periods its rule chooses."""
    found = [_dense(values, trust, step, plan, at) for at in range(1, len(plan.unit))]
    least = ROUNDING * (trust * values**2).sum()
    misfit = np.array([(trust * (values - fit) ** 2).sum() for fit, _ in found]) + least
    if plan.rule == 1:
        free = np.array([seen.sum() - (v * trust).sum() for _, v in found])
        score = np.where(free > ALONE, misfit / np.maximum(free, ALONE) ** 2, np.inf)
        # The longest of the best ones.
        return len(score) - int(np.argmin(score[::-1]))
    rough = np.array([_roughness(fit, plan.rough) for fit, _ in found]) + least
    walk = np.log(np.maximum([misfit, np.maximum(rough, least)], 1e-300))
    speed = np.hypot(*(walk[:, 2:] - walk[:, :-2]))
    return len(speed) + 1 - int(np.argmin(speed[::-1]))


def _roughness(fit: np.ndarray, bands: np.ndarray) -> float:
    """Return z' P z of a banded P."""
    total = (bands[:, 0] * fit**2).sum()
    for k in range(1, min(PAD + 1, len(fit))):
        total += 2 * (bands[k:, k] * fit[k:] * fit[:-k]).sum()
    return float(total)


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Banded sweeps over the dates, forth and back, for a block of pixels at once."""
    wanted = np.ascontiguousarray(cube[:, :, *inner], np.float32)
    rows = wanted.reshape(*wanted.shape[:2], -1)
    estimate, v = _smooth(rows, _plan(times, params), std)
    if v is None:
        return estimate.reshape(wanted.shape), None, None
    for band, line in enumerate(settled(state).lines):
        v[:, band] = np.sqrt(variance(line.astype(np.float32), v[:, band]))
    return estimate.reshape(wanted.shape), v.reshape(wanted.shape), None


def _cupy(
    cube: DeviceArray,
    guide: DeviceArray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State | None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[DeviceArray, DeviceArray | None, None]:
    """One thread a series; takes and returns arrays of the device."""
    lines = settled(state).lines if std else None
    return *smoothed_there(cube[:, :, *inner], _plan(times, params), lines), None


def fill(
    cube: np.ndarray, out: np.ndarray, order: np.ndarray, pixels: slice, *, times: np.ndarray,
    params: Params,
) -> None:  # fmt: skip
    """Fill pixels straight into the result, as a record's ``direct`` says."""
    nothing = np.empty((0, 0, 0), np.float32)
    whole = Stretch(cube, out, nothing, order, pixels.start, pixels.stop, True)
    _run(whole, _plan(times, params))


class Stretch(NamedTuple):
    """The pixels to fill, and where the results go."""

    cube: np.ndarray  # (time, band, pixel), NaN or absurd where missing
    out: np.ndarray  # the same, the fill
    v: np.ndarray  # the same, of v; no size if that is not wanted
    order: np.ndarray  # (time,): where the dates are in all of these
    start: int
    stop: int
    keep: bool  # whether observations stay


def _smooth(rows: np.ndarray, plan: Plan, inverse: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the fill ``(time, band, pixel)``, of observed dates too, and if wanted, v."""
    estimate = np.empty_like(rows)
    v = np.empty(rows.shape if inverse else (0, 0, 0), np.float32)
    dates, _, pixels = rows.shape
    _run(Stretch(rows, estimate, v, np.arange(dates), 0, pixels, False), plan)
    return estimate, v if inverse else None


def _run(whole: Stretch, plan: Plan) -> None:
    """Fill a stretch of pixels."""
    dates, bands, _ = whole.cube.shape
    work, ends = workspace(dates)
    stretch = np.empty((dates, bands, STRETCH), np.float32)
    if plan.passes == 0 and plan.rule == 0:
        _fill(whole, plan, work, ends, np.empty(BLOCK), stretch)
    else:
        _fill_chosen(whole, plan, work, ends, room_of(plan), stretch)


@jit
def _fill(
    whole: Stretch, plan: Plan, work: Work, ends: Ends, unit: np.ndarray, stretch: np.ndarray
) -> None:
    """Write the fill, and v if there is room for it, of the one period and plain weights."""
    cube, out, v, order = whole.cube, whole.out, whole.v, whole.order
    for i in range(BLOCK):
        unit[i] = plan.unit[0]
    for left in range(whole.start, whole.stop, STRETCH):
        count = min(STRETCH, whole.stop - left)
        take(cube, order, left, count, LARGEST32, stretch)
        for x in range(0, count, BLOCK):
            size = min(BLOCK, count - x)
            for b in range(cube.shape[1]):
                # Bands mostly miss the same dates: their matrices are the same then.
                if load(stretch, b, x, size, plan.clock, work, ends):
                    weigh(work.seen, plan.unit[0], work, ends)
                    factor(work, plan.penalty[0])
                    if v.size > 0:
                        invert(work, plan.penalty[0])
                solve(work, plan.penalty[0])
                store(work, b, x, size, whole.keep, ends, stretch)
                if v.size > 0:
                    store_inverse(work, b, left + x, size, unit, ends, v)
        put(stretch, order, left, count, out)


@jit
def _fill_chosen(
    whole: Stretch, plan: Plan, work: Work, ends: Ends, room: Room, stretch: np.ndarray
) -> None:
    """Do as `_fill` with weights of their own or chosen periods, which few want: compiled apart."""
    cube, out, v, order = whole.cube, whole.out, whole.v, whole.order
    unit = room.unit
    for i in range(BLOCK):
        unit[i] = plan.unit[0]
    for left in range(whole.start, whole.stop, STRETCH):
        count = min(STRETCH, whole.stop - left)
        take(cube, order, left, count, LARGEST32, stretch)
        for x in range(0, count, BLOCK):
            size = min(BLOCK, count - x)
            for b in range(cube.shape[1]):
                load(stretch, b, x, size, plan.clock, work, ends)
                reweigh(plan, size, room.rests, work, ends)
                if plan.rule > 0:
                    choose(plan, size, v.size > 0, room, work, ends)
                else:
                    weigh(work.trust, plan.unit[0], work, ends)
                    factor(work, plan.penalty[0])
                    if v.size > 0:
                        invert(work, plan.penalty[0])
                    solve(work, plan.penalty[0])
                store(work, b, x, size, whole.keep, ends, stretch)
                if v.size > 0:
                    store_inverse(work, b, left + x, size, unit, ends, v)
        put(stretch, order, left, count, out)


METHOD = Method(
    name="whittaker",
    task="gapfill",
    summary="A smooth curve through each pixel's observations, as stiff as a period in days says.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    direct=fill,
    settle=settle,
    state_for_std=True,
    std=True,
    smooth=True,
    fewest=2,
    reference="Eilers (2003), doi:10.1021/ac034173t",
)
