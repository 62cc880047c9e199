"""MNSPI: neighbourhood similar pixel interpolation, modified, after Zhu et al. (2012).

A pixel ``p`` that is missing at date ``t`` is filled from pixels ``q`` around it that are clear at
``t``, were like it at the dates ``a`` and ``b``, the nearest before and after at which ``p`` is
clear, and are near. Per band, with weights ``w`` that sum to 1::

    x(p, t) = S + g (k [x(p, a) - A] + (1 - k) [x(p, b) - B])
    S, A, B = sum_q w_q x(q, t), sum_q w_q x(q, a), sum_q w_q x(q, b)
    w_q     ~ 1 / [(R_q + h)^2 D_q]
    k       = V_b / (V_a + V_b)       V_a = sum_q w_q [x(q, t) - S - x(q, a) + A]^2
    g       = V_s / (V_s + V_l)       V_s = sum_q w_q [x(q, t) - S]^2

``D`` is the distance in space, ``R`` the mean square over both dates and all bands of ``q``'s
difference from ``p``, in units of the scene's contrast, ``h`` the median R of the ``similar`` most
similar pixels, ``V_l`` is V of the k-weighted mean of both dates. So g = 0 is the paper's
spectro-spatial estimate L1 = S, g = 1 its spectro-temporal one L2.

What the paper has otherwise, and why it is so here:

- The paper takes each cloud with a frame around it, so its result depends on how the image is cut.
  Here pixels are sought in a fixed pattern of rings within ``reach``, and the scene's class means
  join them, as if at the end of the reach (`similar_pixels`). Its distance to the cloud's centre,
  which weighs L1 against L2, goes for the same reason: both are weighed by how well they predict
  the similar pixels themselves, V_s and V_l. On dates soon after a clear one g is near 1.
- One reference image becomes two, before and after: a pixel that was alike on both sides of the
  gap is alike at it too. They share by the variance that the change since each has among the
  similar pixels. A date is a reference if ``similar`` of the pixels that are clear at ``t`` are
  clear at it too (`references`).
- The paper's threshold (2 std / num_class, in all bands) makes the result jump where a pixel
  passes it. Here R enters smoothly, in units of the interquartile spread; h takes the place of the
  paper's least number of pixels. Weights fall with R squared, so that the many unlike pixels of a
  large pattern do not outvote the few alike.
- Where no pixel of the date is clear, here or in the scene's sample: linear interpolation in time
  between the nearest clear dates. A pixel that is never clear has no reference, it is interpolated
  in space (R = 0); so is a cube of one date.
- A pixel is clear where all bands are finite, leaving aside bands that the scene never has.

The variance of a new observation is ``sum_q w_q e_q^2 (1 + sum_q w_q^2)`` with the similar pixels'
own errors e. They are closer to each other than the pixel in the middle of a gap is to them; so
``settle`` hides pixels of the sample in the shape of other dates' gaps, fills them, and widens the
spread by the factor that makes its 90 % interval hold 90 % of them, per band and apart for pixels
that have fewer than ``similar`` donors. What is interpolated in time has the spread
of `linear`.

Zhu, X., Gao, F., Liu, D., Chen, J. (2012). A modified neighborhood similar pixel interpolator
approach for removing thick clouds in Landsat images. IEEE Geosci. Remote Sens. Lett. 9(3), 521-525.
doi:10.1109/LGRS.2011.2173290
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from xstf._checks import check_at_least
from xstf._method import GapfillSamples, Method
from xstf.methods.gapfill import linear
from xstf.methods.gapfill.mnspi.loops import (
    FROM_FEW,
    IN_SPACE,
    NOTHING,
    Filled,
    Scene,
    Surroundings,
    fill_pixels,
    room_of,
)
from xstf.methods.gapfill.mnspi.references import nearest_clear, references
from xstf.numerics.gaps import variance
from xstf.numerics.similar_pixels import (
    ROUNDING,
    class_means,
    contrast,
    group,
    hide,
    pattern,
    pixels_of,
    usable,
    weights_of,
    widen,
)

# Of the hidden cells so many are filled, evenly spaced, to see how large errors are.
CALIBRATED = 10_000


@dataclass(frozen=True, kw_only=True)
class Params:
    """What a user may choose.

    Parameters
    ----------
    reach
        How far similar pixels are sought, in pixels.
    similar
        How many similar pixels there should be; the paper's min_pixel.
    classes
        Classes of the scene whose means join them; 0 for none.
    """

    reach: int = 32
    similar: int = 20
    classes: int = 16

    def __post_init__(self) -> None:
        """Check the values."""
        check_at_least(self, reach=1, similar=1, classes=0)


@dataclass(frozen=True)
class State:
    """What the scene tells of its pixels.

    Parameters
    ----------
    bands
        ``(band,)`` bool: which are ever seen.
    unit
        ``(band,)``, the scene's contrast.
    means
        ``(time, class, band)``, NaN where too few of a class are clear.
    factor
        ``(2, band)``, what the spread is widened by: with enough donors, and with few.
    lines
        ``(band, 2, 2, knot)``, of `linear`; NaN for a cube of one date.
    """

    bands: np.ndarray
    unit: np.ndarray
    means: np.ndarray
    factor: np.ndarray
    lines: np.ndarray


def settle(samples: GapfillSamples, *, times: np.ndarray, params: Params) -> State:
    """Return the contrast, the classes' means and what the spread is widened by."""
    if samples.asked is not None:
        seen, days = samples.images(times)
        return with_dates(settle(seen, times=days, params=params), samples.asked)
    cube = samples.cube
    state = learn(pixels_of(cube), params)
    if len(times) == 1:
        return state
    lines = linear.settle(samples, times=times, params=linear.Params()).lines
    state = replace(state, lines=lines)
    hidden = hide(cube, params.reach)
    shown = np.where(hidden[:, :, None], np.float32(np.nan), cube)
    return replace(state, factor=calibrate(shown, cube, hidden, times, params, state))


def settle_again(
    before: State, samples: GapfillSamples, *, times: np.ndarray, params: Params
) -> State:
    """Return the state without what is missing of `samples` and was there for ``before``.

    The classes are those of what is left; the calibration is kept.
    """
    found = learn(pixels_of(samples.cube), params)
    return replace(found, factor=before.factor, lines=before.lines)


def with_dates(state: State, asked: np.ndarray) -> State:
    """Return the state with dates of which nothing is known, where ``asked (time,)`` says so."""
    means = np.full((len(asked), *state.means.shape[1:]), np.nan, np.float32)
    means[~asked] = state.means
    return replace(state, means=means)


def learn(pixels: np.ndarray, params: Params) -> State:
    """Return the state without its calibration from pixels ``(pixel, time, band)``."""
    bands = usable(pixels)
    unit = contrast(pixels)
    means = np.zeros((pixels.shape[1], params.classes, bands.size), np.float32)
    label = group(pixels[..., bands], unit[bands], params.classes)
    means[..., bands] = class_means(pixels[..., bands], label, params.classes)
    return State(
        bands=bands,
        unit=unit,
        means=means,
        factor=np.ones((2, bands.size)),
        lines=np.full((bands.size, 2, 2, 1), np.nan),
    )


def calibrate(
    shown: np.ndarray,
    truth: np.ndarray,
    hidden: np.ndarray,
    times: np.ndarray,
    params: Params,
    state: State,
) -> np.ndarray:
    """Return what to widen the spread by, ``(2, band)``: with enough donors, and with few.

    ``shown`` are samples ``(window, time, band, y, x)`` whose ``hidden`` cells are missing,
    ``truth`` has them.
    """
    # Enough of them for a 90 % quantile, which is what they are for.
    places = np.flatnonzero(hidden)
    hidden = np.zeros_like(hidden)
    hidden.flat[places[:: max(1, places.size // CALIBRATED)]] = True
    # Classes that have seen no more than the estimates.
    trial = replace(state, means=learn(pixels_of(shown), params).means)
    found = []
    for window, full, cells in zip(shown, truth, hidden, strict=True):
        whole = (slice(0, full.shape[2]), slice(0, full.shape[3]))
        estimate, spread, kind = _fill(window, cells, times, params, trial, whole)
        error = np.moveaxis(estimate - full, 1, 3)[cells]
        found.append((error, np.moveaxis(spread, 1, 3)[cells], kind[cells]))
    error, spread, kind = (np.concatenate(part) for part in zip(*found, strict=True))
    error[:, ~state.bands] = np.nan
    kinds = (IN_SPACE, FROM_FEW)
    return np.stack([widen(error[kind == what], spread[kind == what]) for what in kinds])


def _numpy(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Pixel by pixel, as in the equations above."""
    bands = state.bands
    (top, bottom), (left, right) = ((part.start, part.stop) for part in inner)
    shape = (*cube.shape[:2], bottom - top, right - left)
    estimate = cube[..., *inner].astype(np.float32)
    spread = np.where(np.isnan(estimate), np.float32(np.nan), np.float32(0))
    space: np.ndarray = np.zeros(shape, bool)
    clear = np.asarray(np.isfinite(cube[:, bands]).all(axis=1) & bands.any())
    for t, row, col in np.argwhere(~clear[:, top:bottom, left:right]):
        y, x = top + row, left + col
        refs, values, distance = _donors(cube, clear, t, y, x, times, params, state.means)
        own = cube[refs, :, y, x].astype(np.float64)
        if len(values):
            few = int((distance <= params.reach).sum() < params.similar)
            mean, var = _blend(values, own, distance, params, state)
            found = mean, np.sqrt(var) * state.factor[few]
            space[t, bands, row, col] = True
        elif refs:
            found = _in_time(times[refs] - times[t], own, state.lines)
        else:
            continue
        estimate[t, bands, row, col], spread[t, bands, row, col] = (v[bands] for v in found)
    return estimate, spread if std else None, space


def _donors(
    cube: np.ndarray,
    clear: np.ndarray,
    t: int,
    y: int,
    x: int,
    times: np.ndarray,
    params: Params,
    means: np.ndarray,
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return the references, the donors' values ``(1 + reference, donor, band)``, distances."""
    offsets, distance = pattern(params.reach)
    at = offsets + (y, x)
    use = np.asarray(((at >= 0) & (at < clear.shape[1:])).all(axis=1))
    use[use] = clear[t, at[use, 0], at[use, 1]]
    at, distance = at[use], distance[use]
    own = clear[:, y, x]
    refs, keep = references(own, clear[:, at[:, 0], at[:, 1]], t, times, params.similar)
    there = np.isfinite(means).all(axis=2)
    if own.any():
        at, distance = (part[keep & bool(refs)] for part in (at, distance))
        refs = refs or nearest_clear(own, (there & there[t]).any(axis=1), t)
    dates = [t, *refs]
    values = cube[dates][:, :, at[:, 0], at[:, 1]].swapaxes(1, 2).astype(np.float64)
    if refs:
        joint = there[dates].all(axis=0)
        values = np.concatenate([values, means[dates][:, joint]], axis=1)
        distance = np.append(distance, np.full(joint.sum(), params.reach + 1.0))
    if not values.shape[1]:
        refs = nearest_clear(own, np.ones(len(cube), bool), t)
        return refs, np.empty((0, 0, 0)), distance
    return refs, values, distance


def _blend(
    values: np.ndarray,
    own: np.ndarray,
    distance: np.ndarray,
    params: Params,
    state: State,
) -> tuple[np.ndarray, np.ndarray]:
    """Return estimate and variance, ``(band,)`` each, from the donors."""
    bands, unit = state.bands, state.unit
    unlike = np.zeros(len(distance))
    if len(own):
        unlike = (((values[1:] - own[:, None]) / unit) ** 2)[..., bands].mean(axis=(0, 2))
    weight = weights_of(unlike, distance, params.similar)
    mean = weight @ values
    off = values - mean[:, None]
    floor = (ROUNDING * unit) ** 2
    alone = weight @ off[0] ** 2
    at, change, g = np.zeros_like(unit), np.zeros_like(off[0]), np.zeros_like(unit)
    if len(own):
        each = np.stack([weight @ (off[0] - ref) ** 2 for ref in off[1:]]) + floor
        share = (1 / each) / (1 / each).sum(axis=0)
        at = (share * (own - mean[1:])).sum(axis=0)
        change = (share[:, None] * off[1:]).sum(axis=0)
        left = weight @ (off[0] - change) ** 2
        g = (alone + floor) / (alone + left + floor)
    var = weight @ (off[0] - g * change) ** 2
    return mean[0] + g * at, var * (1 + (weight**2).sum())


def _in_time(days: np.ndarray, own: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear interpolation in time and its spread."""
    share = np.abs(days[::-1]) / np.abs(days).sum() if len(days) == 2 else np.ones(1)
    bridge = 1 / (1 / np.abs(days)).sum()
    return share @ own, np.sqrt([variance(pair[2 - len(days)], bridge) for pair in lines])


def _numba(
    cube: np.ndarray,
    guide: np.ndarray | None,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Pixel by pixel too, but the bands of a pixel side by side, and no more than it needs."""
    wanted = np.ones((len(cube), *cube[0, 0, *inner].shape), bool)
    estimate, spread, space = fill_wanted(
        cube, None, wanted, times=times, params=params, state=state, inner=inner
    )
    return estimate, spread if std else None, space


def fill_wanted(
    cube: np.ndarray,
    guide: np.ndarray | None,
    wanted: np.ndarray,
    *,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the kernel does where wanted, ``(time, y, x)`` of ``inner``; else what is there.

    The cost is that of the wanted pixels.
    """
    estimate, spread, kind = _fill(cube, wanted, times, params, state, inner)
    space = (kind >= IN_SPACE)[:, None] & state.bands[:, None, None]
    return estimate, spread, space


def _fill(
    cube: np.ndarray,
    wanted: np.ndarray,
    times: np.ndarray,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
) -> Filled:
    """Return estimate, spread and what made them, where wanted and not clear."""
    bands = np.flatnonzero(state.bands)
    shape = (*cube.shape[:2], *(part.stop - part.start for part in inner))
    estimate = cube[..., *inner].astype(np.float32)
    spread = np.where(np.isnan(estimate), np.float32(np.nan), np.float32(0))
    kind = np.full((shape[0], *shape[2:]), NOTHING, np.int8)
    filled = Filled(estimate, spread, kind)
    if bands.size:
        values = np.ascontiguousarray(np.moveaxis(cube[:, bands], 1, 3))
        clear = np.isfinite(values).all(axis=3)
        scene = Scene(
            bands=bands,
            unit=state.unit[bands],
            means=np.ascontiguousarray(state.means[..., bands]),
            factor=np.ascontiguousarray(state.factor[:, bands]),
            lines=state.lines[bands],
        )
        around = Surroundings(*pattern(params.reach), params.reach + 1.0, params.similar)
        fill_pixels(
            values,
            clear,
            np.ascontiguousarray(wanted & ~clear[:, *inner]),
            (inner[0].start, inner[1].start),
            np.asarray(times, np.float64),
            around,
            scene,
            room_of(len(times), around, scene),
            filled,
        )
    return filled


METHOD = Method(
    name="mnspi",
    task="gapfill",
    summary="Similar clear pixels of the same date, as they were at the clear dates around it.",
    params=Params,
    halo=lambda params, ratio: params.reach,
    kernels={"numba": _numba, "numpy": _numpy},
    settle=settle,
    std=True,
    fewest=1,
    reference="Zhu et al. (2012), doi:10.1109/LGRS.2011.2173290",
    costly=True,
)
