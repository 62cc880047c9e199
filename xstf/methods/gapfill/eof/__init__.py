"""EOF: gaps from the scene's own modes in time and spectrum, their number cross-validated.

Beckers, J.-M. & Rixen, M. (2003). EOF calculations and data filling from incomplete oceanographic
datasets. J. Atmos. Oceanic Technol. 20(12), 1839-1856 (DINEOF). Alvera-Azcárate, A. et al. (2009),
doi:10.5194/os-5-475-2009, for the filter in time. Ilin, A. & Raiko, T. (2010). Practical approaches
to principal component analysis in the presence of missing values. JMLR 11, 1957-2000.

A pixel's series over time and bands is one column of the matrix that DINEOF factors; at date t,
with the bands as a vector::

    z_t = m_t + V_t a + e_t,    a ~ N(0, I),  e_t ~ N(0, S_t / w_t)
    A   = I + sum_t w_t V_t' S_t^-1 V_t                 over the pixel's observed t
    a   = A^-1 sum_t w_t V_t' S_t^-1 (z_t - m_t)
    w_t = (4 + n) / (4 + |z_t - m_t - V_t a|^2)         n bands, length by S_t; from w = 1, twice
    std^2 = c_b (S_tbb + v_tb' A^-1 v_tb) + (1 - c_b) u_tb

``m``, the modes ``V`` and ``S`` are the scene's; a pixel's filling is a weighted least-squares fit
of few numbers to what was observed there, whatever the tile.

What the sources leave open, or where we differ from them:

- DINEOF alternates a truncated SVD and filling in, and takes a pixel's scores from its own filled
  values. Here the same model has its likelihood maximised with missing values left out (Ilin and
  Raiko's probabilistic PCA): scores of a mostly missing pixel shrink to the scene's mean, and there
  is a variance.
- Haze that a mask missed is a date's own affair, in all bands: a likelihood with noise by band
  spends a mode on it, which bends what the date's gaps get. ``S_t`` is a covariance over bands, so
  what one date has by itself is noise and modes are what dates share; nothing else fills gaps. The
  noise is Student's with 4 degrees of freedom, as Lange, Little & Taylor (1989),
  doi:10.1080/01621459.1989.10478852, advise, and at most 9 times the dates' median variance: on
  simulated scenes a fifth of a date's clear pixels may be hazy without harm, a third not.
- Where some bands of a date are missing, the seen ones' residual tells theirs, by ``S_t``.
- The filter in time is no diffusion of the covariance, which blurs well-seen dates too: a row
  ``(m_tb, v_tb)`` is drawn to what kriging in time, with an annual wave where the dates tell one,
  makes of the other dates' rows, by its uncertainty there. A date with many clear pixels is not
  filtered; one without any is all kriged.
- Number of modes: DINEOF hides cloud-like clumps. Here some dates are hidden where another date of
  the scene is missing: its real gaps, with their shapes; the same at any orientation of the image.
- ``u_tb`` is what the row's own uncertainty has in ``S_tbb``; ``c_b`` makes 90 % of the hidden
  values lie within 1.645 standard deviations.
- A pixel whose band has one value only, seen three times or more, is that constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf._checks import check_above, check_at_least, check_between
from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill.eof import modes
from xstf.methods.gapfill.eof.in_time import LEAST_NOISE
from xstf.methods.gapfill.eof.modes import FREEDOM, PASSES, Seen
from xstf.methods.gapfill.eof.scene import whitened
from xstf.methods.gapfill.eof.scores import FEWEST, fill_mixed, fill_whole, room
from xstf.numerics.normal import COVER, MAD, Z90

# Pixels, and values, that the modes are found from: some tens per unknown of a row at the largest
# rank; on simulated scenes 4096 were no better.
PIXELS, VALUES = 2048, 4_000_000
# Pixels that modes are refined from again, from others near them. Their number is sought on all:
# sought on these, the error was up to 11 % higher (Belgian fields; nowhere lower by over .5 %).
AGAIN_PIXELS = 1024
# Ranks tried: each a third above the one before or more.
RANKS = (1, 2, 4, 8, 12, 16, 24, 32, 48)
# Ladder steps without a lower error before the search ends (DINEOF: three single ranks).
PATIENCE = 2
# More modes must lower the error by this share: they cost time at every pixel.
WORTH = 0.005
# Rounds per rank while searching: each rank starts from the one before.
SEARCH_ROUNDS = 4
# One date in this many is hidden in part, and at least this many values calibrate a band's spread.
HIDE_EVERY, ENOUGH = 3, 100
# Days within which images show the same.
SAME_DAY = 0.5
# A gap that tells ranks apart hides and leaves at least this share of what is seen on its date.
LEAST_HIDDEN = 0.1
# Side of a square of half the area.
HALF_AREA = 0.5**0.5
TINY = 1e-12
# Spreads from the centre: no observation is as far, and one such value would be a mode.
FAR = 1e6
# The variance is at most quartered: the standard deviation halved.
LEAST_GAIN = 0.25


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of the EOF filling.

    Parameters
    ----------
    rank : int, optional
        Number of modes; None finds it by hiding seen values.
    max_rank : int
        Most modes to try.
    rounds : int
        Most rounds of the last fit.
    tolerance : float
        A fit ends when a round changes the modes by less than this share.
    """

    rank: int | None = None
    max_rank: int = 24
    rounds: int = 10
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.rank is not None:
            check_at_least(self, rank=1)
        check_at_least(self, max_rank=1, rounds=1)
        check_above(self, tolerance=0)
        check_between(self, tolerance=(0, 1))


@dataclass(frozen=True)
class State:
    """Means, modes and variances by date and band, in the data's units.

    Parameters
    ----------
    mean
        ``(time, band)``.
    modes
        ``(time, band, rank)``.
    noise
        Covariance of a new observation around them, ``(time, band, band)``.
    gain
        ``(band,)``, what the variance is multiplied by.
    rest
        ``(time, band)``, what is added to it then.
    rank
        Number of modes.
    """

    mean: np.ndarray
    modes: np.ndarray
    noise: np.ndarray
    gain: np.ndarray
    rest: np.ndarray
    rank: int


def halo(params: Params, ratio: int) -> int:
    """Return 0: a pixel's series and the scene's modes are all."""
    return 0


# ---------------------------------------------------------------- the scene's modes


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return means, modes and variances by date and band, in the data's units."""
    asked = np.zeros(len(times), bool) if samples.asked is None else samples.asked
    images = len(times) - int(asked.sum())
    values, middle = _pick(samples.cube, images)
    centre, scale = _standards(values)
    values, some = _standardised(values, centre, scale)
    if len(values) < FEWEST:  # no modes from so few pixels: the mean alone, kriged in time
        gain = np.ones(values.shape[2])
        model = modes.start(Seen.of(values), times)
    else:
        hidden = _hide(values, middle[some], times, ~asked)
        shown = Seen.of(np.where(hidden, np.nan, values))
        rank, held = _search(values, shown, hidden, times, params)
        seen = Seen.of(values)
        model = modes.grow(seen, held, rank)
        model, _ = modes.refine(
            seen, times, model, rounds=params.rounds, tolerance=params.tolerance
        )
        gain = _calibrate(values, shown, hidden, held)
    return _in_units(model, centre, scale, gain)


def settle_again(
    before: State, samples: GapfillSamples, *, times: np.ndarray, params: Params
) -> State:
    """Return the state without what is missing of `samples` and was there for ``before``.

    The modes are refined from those before on what is left, their number and calibration kept.
    """
    values, _ = _pick(samples.cube, most=AGAIN_PIXELS)
    centre, scale = _standards(values)
    values, _ = _standardised(values, centre, scale)
    unit = np.where(scale > 0, scale, 1)
    if not before.rank or len(values) < FEWEST:
        return settle(samples, times=times, params=params)
    mean = np.nan_to_num((before.mean - centre) / unit)
    rows = np.concatenate([mean[..., None], before.modes / unit[:, None]], axis=2)
    # A band that is constant has none left in its own units.
    noise = before.noise / unit[:, None] / unit
    noise = np.asarray(noise + LEAST_NOISE * np.eye(len(unit)))
    model = modes.Model(rows, noise, np.zeros(mean.shape))
    model, _ = modes.refine(
        Seen.of(values), times, model, rounds=SEARCH_ROUNDS, tolerance=params.tolerance
    )
    return _in_units(model, centre, scale, before.gain)


def _in_units(model: modes.Model, centre: np.ndarray, scale: np.ndarray, gain: np.ndarray) -> State:
    """Return a model of standardised values as a state."""
    mean = centre + scale * model.rows[..., 0]
    return State(
        mean=mean,
        modes=scale[:, None] * model.rows[..., 1:],
        noise=scale[:, None] * scale * modes.variance(model),
        gain=gain,
        rest=np.where(np.isnan(mean), np.nan, scale**2 * (1 - gain) * model.unsure),
        rank=model.rows.shape[2] - 1,
    )


def _pick(
    cube: np.ndarray, images: int | None = None, most: int = PIXELS
) -> tuple[np.ndarray, np.ndarray]:
    """Return an even grid of the windows, ``(pixel, time, band)``, and which are in the middle.

    Fewer the more dates have an image. Both are the same when the scene is flipped or transposed.
    """
    windows, dates, bands, height, width = cube.shape
    most = min(most, max(VALUES // ((images or dates) * bands), FEWEST))
    share = most / max(windows * height * width, 1)
    rows, cols = (_spaced(n, max(1, int(n * min(1.0, share) ** 0.5))) for n in (height, width))
    picked = cube[:, :, :, rows[:, None], cols]
    near_y, near_x = (
        np.abs(2 * places + 1 - n) <= n * HALF_AREA for places, n in ((rows, height), (cols, width))
    )
    middle = np.broadcast_to(near_y[:, None] & near_x, (windows, len(rows), len(cols)))
    values = picked.transpose(0, 3, 4, 1, 2).reshape(-1, dates, bands).astype(np.float64)
    return values, middle.ravel()


def _spaced(size: int, count: int) -> np.ndarray:
    """Return about so many indices, evenly spaced and symmetric about the middle."""
    half = np.linspace(0, size - 1, count).astype(int)[: (count + 1) // 2]
    return np.unique(np.concatenate([half, size - 1 - half]))


def _standards(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each band's median and spread; NaN and 0 where it is never seen."""
    bands = values.shape[2]
    centre, scale = np.full(bands, np.nan), np.zeros(bands)
    for band in range(bands):
        seen = values[..., band][np.isfinite(values[..., band])]
        if seen.size:
            centre[band] = np.median(seen)
            away = np.abs(seen - centre[band])
            scale[band] = MAD * np.median(away) or np.sqrt(np.mean(away**2))
    return centre, scale


def _standardised(
    values: np.ndarray, centre: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return values in spreads from the centre, of pixels that have any, and which these are."""
    values = (values - centre) / np.where(scale > 0, scale, 1)
    values[np.abs(values) > FAR] = np.nan
    some = np.isfinite(values).any(axis=(1, 2))
    return values[some], some


def _hide(
    values: np.ndarray, middle: np.ndarray, times: np.ndarray, images: np.ndarray | None = None
) -> np.ndarray:
    """Return which seen values to hide: some dates, where another one is missing or in the middle.

    Only gaps that leave a part of their date tell ranks apart: what a date without any pixel gets
    hardly depends on the rank. Dates without an image are not considered. What is hidden on a date
    is hidden on all within half a day of it, which show the same.
    """
    if images is not None:
        whole = np.zeros(values.shape, dtype=bool)
        whole[:, images] = _hide(values[:, images], middle, times[images])
        return whole
    there = np.isfinite(values).any(axis=2)
    overlap = there.T.astype(float) @ ~there  # seen on one date, missing on the other
    share = overlap / np.maximum(there.sum(axis=0), 1)[:, None]
    shapes = [np.flatnonzero((s >= LEAST_HIDDEN) & (s <= 1 - LEAST_HIDDEN)) for s in share]
    lone = not any(s.size for s in shapes)
    rng = np.random.default_rng(0)
    dates = [d for d in rng.permutation(len(share)) if lone or shapes[d].size]
    hidden = np.zeros(values.shape, dtype=bool)
    for date in dates[: max(FEWEST, len(dates) // HIDE_EVERY)]:
        shape = middle if lone else ~there[:, rng.choice(shapes[date])]
        hidden[:, np.abs(times - times[date]) < SAME_DAY] |= shape[:, None, None]
    return np.asarray(hidden & np.isfinite(values))


def _search(
    values: np.ndarray, held: Seen, hidden: np.ndarray, times: np.ndarray, params: Params
) -> tuple[int, modes.Model]:
    """Return the rank that tells hidden values best, and its model of what is ``held``."""
    most = min(len(values), values[0].size) - 1
    top = max(1, min(params.rank or params.max_rank, most))
    model, weights = modes.start(held, times), None
    best, lowest, rises = (1, model), np.inf, 0
    for rank in [r for r in RANKS if r < top] + [top]:
        model = modes.grow(held, model, rank, weights)
        model, weights = modes.refine(
            held, times, model, weights, rounds=SEARCH_ROUNDS, tolerance=params.tolerance
        )
        error = 0.0
        if params.rank is None and hidden.any():
            error = _error(values, hidden, modes.estimated(held, model, weights))
        better = error < lowest - WORTH
        rises = 0 if better else rises + 1
        if params.rank is not None or not hidden.any() or better:
            best, lowest = (rank, model), error
        elif rises == PATIENCE:
            break
    return best


def _error(values: np.ndarray, hidden: np.ndarray, estimate: np.ndarray) -> float:
    """Return the mean of the logarithms of the dates' absolute errors, which haze rules less."""
    miss = np.abs(np.where(hidden, estimate - values, 0)).sum(axis=(0, 2))
    return float(np.mean(np.log(miss[hidden.any(axis=(0, 2))] + TINY)))


def _calibrate(
    values: np.ndarray, held: Seen, hidden: np.ndarray, model: modes.Model
) -> np.ndarray:
    """Return what each band's variance, without its rows', must be times to fit hidden values."""
    found = np.ones(values.shape[2])
    estimate, variance = modes.predict(held, model)
    for band in range(len(found)):
        own = hidden[..., band]
        if own.sum() >= ENOUGH:
            rows = np.broadcast_to(model.unsure[:, band], own.shape)[own]
            excess = ((estimate - values)[own, band] / Z90) ** 2 - rows
            gain = np.quantile(excess / (variance[own, band] - rows), COVER)
            found[band] = max(gain, LEAST_GAIN)
    return found


# ---------------------------------------------------------------- kernels


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Return estimate and standard deviation, one pixel after the other."""
    cube = cube[:, :, inner[0], inner[1]]
    estimate = np.full(cube.shape, np.nan, dtype=np.float32)
    spread = np.full(cube.shape, np.nan, dtype=np.float32)
    usable = np.isfinite(state.mean) & (np.diagonal(state.noise, axis1=1, axis2=2) > 0)
    for y, x in np.ndindex(*cube.shape[2:]):
        series = cube[:, :, y, x].astype(np.float64)
        if (np.isfinite(series) & np.isfinite(state.mean)).any():
            fit, doubt = _pixel(np.where(usable, series, np.nan), state)
            estimate[:, :, y, x] = fit
            spread[:, :, y, x] = np.sqrt(doubt * state.gain + state.rest)
    _keep_constants(cube, estimate)
    return estimate, spread if std else None, None


def _pixel(series: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return a pixel's fit, with what the date's seen bands add, and its variance."""
    mean, modes, noise = state.mean, state.modes, state.noise
    rank = modes.shape[2]
    rest, weight = series - mean, np.ones(len(series))
    there = np.isfinite(rest)
    dates = np.flatnonzero(there.any(axis=1))
    within = [(t, there[t], noise[t][np.ix_(there[t], there[t])]) for t in dates]
    for reweighed in range(PASSES + 1):
        precision, pull = np.eye(rank), np.zeros(rank)
        for t, seen, own in within:
            precise = np.linalg.solve(own, modes[t, seen])
            precision += weight[t] * modes[t, seen].T @ precise
            pull += weight[t] * precise.T @ rest[t, seen]
        scores = np.linalg.solve(precision, pull)
        if reweighed < PASSES:
            for t, seen, own in within:
                left = rest[t, seen] - modes[t, seen] @ scores
                distance = left @ np.linalg.solve(own, left)
                weight[t] = (FREEDOM + seen.sum()) / (FREEDOM + distance)
    inverse = np.linalg.inv(precision)
    fit = mean + modes @ scores
    doubt = np.diagonal(noise, axis1=1, axis2=2) + np.sum(modes @ inverse * modes, axis=2)
    for t, seen, own in within:
        for b in np.flatnonzero(~seen):
            share = np.linalg.solve(own, noise[t, seen, b])
            mode = modes[t, b] - share @ modes[t, seen]
            fit[t, b] += share @ (rest[t, seen] - modes[t, seen] @ scores)
            doubt[t, b] = noise[t, b, b] - share @ noise[t, seen, b] + mode @ inverse @ mode
    return fit, doubt


def _keep_constants(cube: np.ndarray, estimate: np.ndarray) -> None:
    """Give pixels that are constant in a band that constant."""
    count = np.isfinite(cube).sum(axis=0)
    low = np.where(np.isfinite(cube), cube, np.inf).min(axis=0)
    high = np.where(np.isfinite(cube), cube, -np.inf).max(axis=0)
    flat = (count >= FEWEST) & (low == high)
    np.copyto(estimate, low, where=flat)


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Return estimate and standard deviation, row by row, a factor for each run of one pattern."""
    cube = np.ascontiguousarray(cube[:, :, inner[0], inner[1]])
    estimate = np.full(cube.shape, np.nan, dtype=np.float32)
    spread = np.full(cube.shape if std else (0, 0, 0, 0), np.nan, dtype=np.float32)
    scene = whitened(state.mean, state.modes, state.noise, state.gain, state.rest)
    block, partial = room(scene)
    usable = scene.usable[:, :, None, None]
    seen = ~np.isnan(cube) & usable
    if (seen.any(axis=1) & (seen != usable).any(axis=1)).any():
        fill_mixed(cube, scene, block, partial, estimate, spread)
    else:
        fill_whole(cube, scene, block, estimate, spread)
    return estimate, spread if std else None, None


METHOD = Method(
    name="eof",
    task="gapfill",
    summary="The scene's modes in time and bands, fitted to each pixel; series of many dates.",
    params=Params,
    halo=halo,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    smooth=True,
    fewest=FEWEST,
    reference="Beckers & Rixen (2003), doi:10.1175/1520-0426(2003)020<1839:ECADFF>2.0.CO;2",
    costly=True,
)
