"""The default: a blend of unlike methods, weighed by what they show on changes that are known.

    x = l + trust (sum_m w_m x_m - l)

``x_m`` are the estimates of the parts: `regression_unmixing`, `fastvsdf`, with two pairs `starfm`,
`estarfm` and `fitfc`, and the trivial *delta*, the fine image plus the interpolated coarse change.
``l`` is, of two pairs, the fine images interpolated in time; of one the fine image plus the mean
coarse change. Weights and trust are per band:

- Prior weights are equal. That of delta falls with the square of the ratio (`DELTA`): where a
  coarse pixel is two or three fine ones wide, interpolation alone resolves most of the change. It
  filters no noise, and has no part where the pair's images agree poorly.
- With two pairs each fine image is predicted from the other one, of which the truth is known
  (`evidence`). A part's weight is its prior one times ``E_m ^ -2``, ``E_m`` its error there, drawn
  to 1 where few coarse pixels tell it. `estarfm` needs both images and keeps its prior weight.
- With two pairs ``trust = 1 - (1 - s) ^ 2``, ``s`` the slope, from 0 to 1, of the known change on
  the one that the parts predict: near 1 while they tell most of a change, and 0 where they tell
  none of it. The estimate is then the interpolation in time.
- With one pair no change is known. The trust is 1 if the two images of the pair agree (`AGREE`), or
  if land cover tells something of the change: of coarse pixels that the regression has not seen.
  Images that are useless do neither; those that are only noisy do the second.

Every part sees the coarse change as it is believed (`xstf.numerics.belief`).

The standard deviation joins what is known of the error with what the parts disagree on, ``v`` (the
weighted variance between them, its mean over 9 x 9 pixels)::

    two pairs:  (KNOWN E)^2 + SPREAD_TWO^2 v + c^2      E: error of leaving a date out, by band
    one pair:   NOISE^2 N + SPREAD_ONE^2 v + c^2       N: variance of the misfit (belief)
    c = CHANGE (x - F)

Between two dates the error was .4 to .7 of that from one date to the other, on scenes of every
kind and ratio; with one pair the parts disagree by about a third of the error, so the level is
known to about a factor 1.3 (1.5 at worst), and high where coarse images are noisy.

Constants were set on 60 cases together, real and simulated, ratios 2 to 33 (docs/choosing.md has
what each part is worth). A sharper choice (``E_m ^ -4``) is better on simulated scenes and worse on
real ones, each by under 1 %. That a blend's change is amplified where ``s`` is over 1 is true of
the known change (one image predicts it), and not of the target between two images.

Under 8 coarse pixels along a side nothing is learnt from the scene: it is `fsdaf`, with the
standard deviation of `fitfc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xstf._method import Engine, Method
from xstf.methods.fuse import (
    estarfm,
    fastvsdf,
    fitfc,
    fsdaf,
    regression_unmixing,
    series,
    starfm,
)
from xstf.methods.fuse.auto.blend import (
    AROUND,
    blended,
    box_mean,
    deviation,
    mean_of,
    shares_of,
    with_margin,
)
from xstf.methods.fuse.auto.evidence import Evidence, leave_one_out, middle
from xstf.numerics.belief import Belief, believed
from xstf.numerics.patches import sample_patches
from xstf.numerics.upsample import upsample_numpy

PARTS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (regression_unmixing, fastvsdf, starfm, estarfm, fitfc, fsdaf)
}
PRIOR: dict[int, tuple[str, ...]] = {
    1: ("regression_unmixing", "fastvsdf"),
    2: ("regression_unmixing", "fastvsdf", "starfm", "estarfm", "fitfc"),
}
# The first alone; the last one's standard deviation.
SMALL = ("fsdaf", "fitfc")
DELTA = 4.0  # prior weight of delta at ratio 1, against 1 of all parts together
# Share of the coarse image's variance that the fine one explains: none of it trusted, all of it.
# Real pairs have .6 to .9, MODIS composites of NDVI the least; simulated useless ones .1 to .7.
AGREE = (0.65, 0.8)
TOLD = 20.0  # share of a change that is told, in coarse pixels, that makes it sure by 1 - 1 / e
POWER = 1.0  # of a part's mean squared error
EVIDENCE = 30.0  # coarse pixels whose evidence counts as much as the prior
LITTLE = 0.03  # a part of less weight in every band is left out


@dataclass(frozen=True)
class Params:
    """The scene chooses everything."""


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    names : tuple of str
        Of the parts that are blended, delta among them.
    states : tuple
        Of the parts.
    weights : ndarray (part, band)
        Their sum is 1.
    trust : ndarray (band,)
        In the blend against the interpolation in time.
    shares : ndarray (pair,)
        Of the fine images in that interpolation.
    belief : Belief or None
        In the coarse change; None: it is taken as it is.
    error : ndarray (band,)
        Of leaving a date out; NaN with one pair.
    noise : ndarray (band,)
        Of the misfit of a pair, one standard deviation; NaN where it is not known.
    """

    names: tuple[str, ...]
    states: tuple[Any, ...]
    weights: np.ndarray
    trust: np.ndarray
    shares: np.ndarray
    belief: Belief | None
    error: np.ndarray
    noise: np.ndarray

    def text(self) -> str:
        """Return in words what the scene chose."""
        mean = self.weights.mean(axis=1)
        told = ", ".join(f"{n} {w:.2f}" for n, w in zip(self.names, mean, strict=True))
        return f"{told}; trust {' '.join(f'{t:.2f}' for t in self.trust)}"


def _halo(params: Params, ratio: int) -> int:
    # One coarse pixel more: the misfit of a pixel is seen with its neighbours.
    return max(part.halo(part.params(), ratio) for part in PARTS.values()) + ratio + AROUND


def _blended(pairs: int, days: tuple[float, ...] | None) -> tuple[str, ...]:
    return SMALL if days is None else PRIOR[pairs]


def _prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params,
    belief: Belief | None = None, days: tuple[float, ...] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Pick what the parts want to see, and a known change."""
    seen = coarse
    if belief is not None:
        seen = believed(fine, coarse, belief, ratio=ratio).astype(np.float32)
    out: dict[str, np.ndarray] = {}
    groups: set[str] = set()
    for name in _blended(len(fine), days):
        part = PARTS[name]
        if part.prepare is None:
            continue
        group = "patches" if part.prepare is sample_patches else name
        if group not in groups:
            groups.add(group)
            picked = part.prepare(fine, seen, ratio=ratio, params=part.params())
            out |= {f"{group}.{key}": value for key, value in picked.items()}
    if len(fine) > 1 and days is not None:
        out["known.fine"], out["known.coarse"] = middle(fine, coarse[:-1], ratio)
    return out


def _settle(
    samples: Mapping[str, np.ndarray], *, ratio: int, params: Params,
    belief: Belief | None = None, days: tuple[float, ...] | None = None,
) -> State:  # fmt: skip
    """Return the states of the parts, and their weights by band."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in samples.items():
        group, own = key.split(".", 1)
        groups.setdefault(group, {})[own] = value
    pairs = _pairs_of(groups)
    names = _blended(pairs, days)
    states = tuple(_settled(name, groups, ratio) for name in names)
    bands = next(v for k, v in samples.items() if "fine" in k).shape[1]
    if days is None:
        weights = np.zeros((len(names), bands))
        weights[0] = 1.0
        none = np.full(bands, np.nan)
        even = np.full(pairs, 1 / pairs)
        return State(names, states, weights, np.ones(bands), even, None, none, none)
    found, prior = None, {n: 1.0 for n in names if n != "estarfm"}
    prior["delta"] = DELTA / ratio**2 * len(prior)
    if "known" in groups:
        known = groups["known"]
        found = leave_one_out(
            known["fine"], known["coarse"], prior, _estimate_one, ratio=ratio,
            spill=0.0 if belief is None else belief.spill,
        )  # fmt: skip
    agree = np.ones(bands)
    if belief is not None:
        agree = np.clip((belief.agreement - AGREE[0]) / (AGREE[1] - AGREE[0]), 0, 1)
    weights = _weights((*names, "delta"), agree, ratio, found)
    keep = np.asarray((weights >= LITTLE).any(axis=1))
    weights = weights[keep] / weights[keep].sum(axis=0)
    left = tuple(n for n, k in zip((*names, "delta"), keep, strict=True) if k)
    kept = tuple(s for n, s in zip(names, states, strict=True) if n in left)
    if found is not None:
        trust = 1 - (1 - np.clip(found.slope, 0, 1)) ** 2
    else:
        regression = states[names.index("regression_unmixing")]
        trust = np.maximum(agree, 1 - np.exp(-regression.told * regression.cells / TOLD))
    noise = np.full(bands, np.nan) if belief is None else np.sqrt(belief.noise)
    error = np.full(bands, np.nan)
    if found is not None:
        told = {n: w for n, w in zip(left, weights, strict=True) if n in found.error}
        mass = np.sum(list(told.values()), axis=0)
        error = np.sqrt(np.sum([w * found.error[n] ** 2 for n, w in told.items()], axis=0) / mass)
    return State(left, kept, weights, trust, shares_of(days), belief, error, noise)


def _pairs_of(groups: Mapping[str, Mapping[str, np.ndarray]]) -> int:
    if "known" in groups or "estarfm" in groups:
        return 2
    return len(groups["patches"]["fine_0"])


def _settled(name: str, groups: Mapping[str, dict[str, np.ndarray]], ratio: int) -> Any:
    part = PARTS[name]
    if part.settle is None:
        return None
    group = "patches" if part.prepare is sample_patches else name
    return part.settle(groups[group], ratio=ratio, params=part.params())


def _weights(
    names: tuple[str, ...], agree: np.ndarray, ratio: int, found: Evidence | None
) -> np.ndarray:
    """Return the weight of each part and band, their sum 1; delta comes last."""
    weights = np.ones((len(names), len(agree)))
    weights[-1] = DELTA / ratio**2 * (len(names) - 1) * agree
    if found is not None:
        squares = {n: np.maximum(e, 1e-12) ** 2 for n, e in found.error.items()}
        usual = np.exp(np.mean([np.log(s) for s in squares.values()], axis=0))
        drawn = POWER * found.cells / (found.cells + EVIDENCE)
        for k, name in enumerate(names):
            if name in squares:
                weights[k] *= (squares[name] / usual) ** -drawn
    return np.asarray(weights / weights.sum(axis=0))


def _estimate_one(name: str, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return a part's estimate of a whole image."""
    ratio = fine.shape[-1] // coarse.shape[-1]
    if name == "delta":
        return _delta(fine, coarse, (slice(None), slice(None)), ratio)
    part = PARTS[name]
    options = part.params()
    state = None
    if part.prepare is not None and part.settle is not None:
        samples = part.prepare(fine, coarse, ratio=ratio, params=options)
        state = part.settle(samples, ratio=ratio, params=options)
    inner = tuple(slice(0, n) for n in fine.shape[-2:])
    kernel: Any = part.kernels["numba"]
    estimate: np.ndarray = kernel(
        fine, coarse, ratio=ratio, params=options, state=state, inner=inner, std=False
    )[0]
    return estimate


def _delta(
    fine: np.ndarray, coarse: np.ndarray, inner: tuple[slice, slice], ratio: int
) -> np.ndarray:
    """Return the fine images plus the interpolated coarse change, the mean of the pairs."""
    change = upsample_numpy(coarse[-1:] - coarse[:-1], ratio=ratio)
    return mean_of((fine + change)[:, :, *inner], np.ones(len(fine)))


def _kernel(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: State,
    inner: tuple[slice, slice],
    std: bool,
    engine: Engine,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the blend, and how far it may be off."""
    seen = coarse
    if state.belief is not None:
        seen = believed(fine, coarse, state.belief, ratio=ratio).astype(np.float32)
    call = partial(_run_part, fine, seen, ratio=ratio, engine=engine)
    if state.names == SMALL:
        return _run_small(call, state, inner, std)
    area, own = with_margin(inner, fine.shape[-2:], AROUND if std else 0)
    found = [
        call(name, k if k < len(state.states) else -1, state, area)
        for k, name in enumerate(state.names)
    ]
    blend, spread = blended(found, state.weights)
    if (state.trust < 1).any():
        still = mean_of(fine[:, :, *area], np.maximum(state.shares, 1e-6))
        if state.belief is not None and len(fine) == 1:
            still = still + state.belief.level[0][:, None, None]
        still = np.where(np.isfinite(blend), still, np.nan)
        blend = still + state.trust[:, None, None] * (blend - still)
    estimate = blend[:, *own].astype(np.float32)
    if not std:
        return estimate, None
    base = mean_of(fine[:, :, *inner], np.maximum(state.shares, 1e-6))
    near = box_mean(spread)[:, *own]
    std_of = deviation(near, estimate - base, state.error, state.noise)
    return estimate, np.where(np.isnan(estimate), np.nan, std_of).astype(np.float32)


def _run_part(
    fine: np.ndarray, coarse: np.ndarray, name: str, k: int, state: State,
    inner: tuple[slice, slice], std: bool = False, *, ratio: int, engine: Engine,
) -> Any:  # fmt: skip
    """Return a part's estimate; with `std` its standard deviation instead."""
    if name == "delta":
        return _delta(fine, coarse, inner, ratio)
    part = PARTS[name]
    kernel: Any = part.kernels[engine]
    return kernel(
        fine, coarse, ratio=ratio, params=part.params(), state=state.states[k], inner=inner, std=std
    )[int(std)]


def _run_small(
    call: Any, state: State, inner: tuple[slice, slice], std: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the first part's estimate, the last one's standard deviation."""
    estimate = call(state.names[0], 0, state, inner)
    if not std:
        return estimate, None
    last = len(state.names) - 1
    std_of = call(state.names[last], last, state, inner, True)
    return estimate, np.where(np.isnan(estimate), np.nan, np.nan_to_num(std_of))


METHOD = Method(
    name="auto",
    task="fuse",
    summary="The default: unlike methods blended, by what they show on known changes.",
    params=Params,
    halo=_halo,
    kernels={"numba": partial(_kernel, engine="numba"), "numpy": partial(_kernel, engine="numpy")},
    reference="xstf's own; its parts: see their records",
    pairs=(1, 2),
    whole=series.METHOD,
    prepare=_prepare,
    settle=_settle,
    std=True,
    believes=True,
    costly=True,
)
