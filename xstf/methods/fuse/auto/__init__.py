"""The default: a blend of unlike methods, weighed by what they show on changes that are known.

    x = l + trust (sum_m w_m x_m - l)

``x_m`` are the estimates of the parts: `regression_unmixing`, `fastvsdf`, with two pairs `starfm`,
`estarfm` and `fitfc`, and the trivial *delta*, the fine image plus the interpolated coarse change.
``l`` is, of two pairs, the fine images interpolated in time; of one the fine image plus the mean
coarse change, as far as the coarse images' mean is near the fine one's beside it. Pixels that one
pair of several sees alone are made of it alone. Weights and trust are per band:

- Prior weights are equal. That of delta falls with a power of the ratio (`DELTA`): where a
  coarse pixel is two or three fine ones wide, interpolation alone resolves most of the change. It
  filters no noise, and has no part where the pair's images agree poorly.
- With two pairs each fine image is predicted from the other one, of which the truth is known
  (`evidence`). A part's weight is the mean of that of least squares and of its prior one times
  ``E_m ^ -2``, ``E_m`` its error there, drawn to 1 where few coarse pixels tell it. Both images
  have the same say. `estarfm` needs both images and keeps its prior weight.
- With one pair in a scene that has another (a *witness*), the other's fine image is predicted. The
  weights are those of least squares, and `fitfc` takes part: it alone asks how the contrast
  changed.
- Where a change is known, ``trust = 1 - (1 - s) ^ 2``, ``s`` the slope, from 0 to 1, of it, less
  its mean, on the one that the parts predict, and the less, the less of it they tell: near 1 while
  they tell most of a change, and 0 where they tell none of it. The estimate is then the
  interpolation in time. A change that is smaller than the target's tells less.
- With one pair alone no change is known. The trust is 1 if the two images of the pair agree
  (`AGREE`), or if land cover tells something of the change: of coarse pixels that the regression
  has not seen. Images that are useless do neither; those that are only noisy do the second.
- The target's coarse image itself must show the scene: if the fine images tell much less of it than
  of those of their own dates (`SHOWN`), it is not trusted.

Every part sees the coarse change as it is believed (`xstf.numerics.belief`).

The standard deviation joins what is known of the error with what the parts disagree on, ``v`` (the
weighted variance between them, its mean over 9 x 9 pixels)::

    known change:  (KNOWN E)^2 q + SPREAD_TWO^2 v + c^2      E: error on it, by band
    none:          the mean of  NOISE^2 N + SPREAD_ONE^2 v + c^2   N: variance of the misfit
                   and of what `xstf.numerics.doubt` expects of any method
    c = CHANGE (x - F);   q: its `pattern` here, over the mean where the change is known

With one pair E is `OUTSIDE` times the error on the known change. Between two dates the error was .4
to .7 of that from one date to the other, on scenes of every kind and ratio. With one pair alone the
parts disagree by about a third of the error. The 90 % interval of the first of its two variances
held .78 to .95 of the truth on 13 real cases, of the second .83 to .97, of their mean .87 to .97;
rank correlations with the error are those of the first.

Constants were set on 60 cases together, real and simulated, ratios 2 to 33 (docs/choosing.md has
what each part is worth). With two pairs, weights of least squares alone are 5 % better on simulated
scenes and .3 % worse on real ones. That a blend's change is amplified where ``s`` is over 1 is true
of the known change (one image predicts it), and not of the target between two images.

Under 8 coarse pixels along a side nothing is learnt from the scene: it is `fsdaf`, with the
standard deviation of `fitfc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

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
    deviation_alone,
)
from xstf.methods.fuse.auto.evidence import EVIDENCE, Evidence, look_back, stacked
from xstf.numerics.array_module import beside
from xstf.numerics.belief import Belief, believed, find_belief
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.doubt import (
    Scene,
    expected,
    middle,
    packed,
    pattern,
    scene_of,
    unchecked,
    unpacked,
    with_margin,
)
from xstf.numerics.in_time import mean_of, shares_of
from xstf.numerics.patches import sample_patches
from xstf.numerics.upsample import upsample_numpy

PARTS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (regression_unmixing, fastvsdf, starfm, estarfm, fitfc, fsdaf)
}
ALONE = ("regression_unmixing", "fastvsdf")  # with one pair and nothing known
TOLD_OF = (*ALONE, "fitfc")  # with one pair, and the known change to another one
FITFC = 0.5  # prior weight of fitfc with one pair: the others are better on most scenes
# Error of one pair's date over that of one between two pairs, where known changes tell the same of
# both: the 90 % interval holds .91 of the truth with it, on 40 dates, real and simulated.
OUTSIDE = 1.8
BOTH = ("regression_unmixing", "fastvsdf", "starfm", "estarfm", "fitfc")
# The first alone; the last one's standard deviation.
SMALL = ("fsdaf", "fitfc")
# Prior weight of delta at ratio 1, against 1 of all parts together, and the power of the ratio that
# it falls with; with one pair alone more, since no other part of that sees a flood.
DELTA, FALLS = 4.0, 2.0
DELTA_ALONE, FALLS_ALONE = 10.0, 2.5
# Share of the coarse image's variance that the fine one explains: none of it trusted, all of it.
# Real pairs have .6 to .9, MODIS composites of NDVI the least; simulated useless ones .1 to .7.
AGREE = (0.65, 0.8)
TOLD = 20.0  # share of a change that is told, in coarse pixels, that makes it sure by 1 - 1 / e
# What the fine images tell of the target's coarse image, over what they tell of those of their own
# dates: nothing of it trusted, all of it. Real images .45 to 1.1, NDVI from winter to summer .18 at
# least; images of another place 0 to .15.
SHOWN = (0.05, 0.2)
# What they tell of their own dates' that is as good as nothing, and, over the coarse pixels, what
# chance tells of them.
UNSEEN, BY_CHANCE = 0.02, 4.0
POWER = 1.0  # of a part's mean squared error
LITTLE = 0.03  # a part of less weight in every band is left out


# Weights (part, band) of parts; trust in the blend, and its error, (band,).
Made: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


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
        In the blend against what is taken where coarse images tell nothing.
    error : ndarray (band,)
        Of the blend on known changes, with one pair `OUTSIDE` times that; NaN where none is known.
    level : ndarray (band,)
        Trust in the mean coarse change of the scene, with one pair.
    shares : ndarray (pair,)
        Of the fine images in their interpolation in time.
    belief : Belief or None
        In the coarse change; None: it is taken as it is.
    scene : Scene or None
        What the error of a pixel is expected from; None in small scenes.
    usual : ndarray (band,)
        The mean of its `pattern` where a change is known; NaN where none is.
    """

    names: tuple[str, ...]
    states: tuple[Any, ...]
    weights: np.ndarray
    trust: np.ndarray
    error: np.ndarray
    level: np.ndarray
    shares: np.ndarray
    belief: Belief | None
    scene: Scene | None
    usual: np.ndarray

    def text(self) -> str:
        """Return in words what the scene chose."""
        mean = self.weights.mean(axis=1)
        told = ", ".join(f"{n} {w:.2f}" for n, w in zip(self.names, mean, strict=True))
        return f"{told}; trust {' '.join(f'{t:.2f}' for t in self.trust)}"


def _halo(params: Params, ratio: int) -> int:
    # One coarse pixel more: the misfit of a pixel is seen with its neighbours.
    return max(part.halo(part.params(), ratio) for part in PARTS.values()) + ratio + AROUND


def _parts_of(pairs: int, days: tuple[float, ...] | None, *, known: bool) -> tuple[str, ...]:
    """Return the parts that take part."""
    if days is None:
        return SMALL
    if pairs > 1:
        return BOTH
    return TOLD_OF if known else ALONE


def _prepare(
    fine: np.ndarray, coarse: np.ndarray, *, ratio: int, params: Params,
    belief: Belief | None = None, days: tuple[float, ...] | None = None,
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Pick what the parts want to see, and a known change."""
    seen = coarse
    if belief is not None:
        seen = believed(fine, coarse, belief, ratio=ratio).astype(np.float32)
    if len(fine) > 1:
        known = (fine, coarse[:-1])
    out: dict[str, np.ndarray] = {}
    groups: set[str] = set()
    for name in _parts_of(len(fine), days, known=known is not None):
        part = PARTS[name]
        if part.prepare is None:
            continue
        group = "patches" if part.prepare is sample_patches else name
        if group not in groups:
            groups.add(group)
            picked = part.prepare(fine, seen, ratio=ratio, params=part.params())
            out |= {f"{group}.{key}": value for key, value in picked.items()}
    if days is not None:
        raw = sample_patches(fine, coarse, ratio=ratio, params=None)
        out |= {f"raw.{key}": value for key, value in raw.items() if "coarse" in key}
    if days is not None:
        found = belief if belief is not None else find_belief(fine, coarse, ratio=ratio, spill=0.0)
        scene = scene_of(fine, coarse, found.noise, ratio)
        out |= {f"doubt.{key}": value for key, value in packed(scene).items()}
    if known is not None and days is not None:
        out["known.fine"], out["known.coarse"] = middle(*known, ratio)
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
    pairs = len(days) if days is not None else _pairs_of(groups)
    names = _parts_of(pairs, days, known="known" in groups)
    states = tuple(_settled(name, groups, ratio) for name in names)
    bands = next(v for k, v in samples.items() if "fine" in k).shape[1]
    if days is None:
        first = np.zeros((len(names), bands))
        first[0] = 1.0
        nothing = np.full(bands, np.nan)
        even = np.full(pairs, 1 / pairs)
        sure = np.ones(bands)
        return State(names, states, first, sure, nothing, sure, even, None, None, nothing)
    agree = np.ones(bands)
    if belief is not None:
        agree = np.clip((belief.agreement - AGREE[0]) / (AGREE[1] - AGREE[0]), 0, 1)
    regression = states[names.index("regression_unmixing")]
    told = np.maximum(agree, 1 - np.exp(-regression.told * regression.cells / TOLD))
    evidence = _evidence(groups, pairs, ratio, 0.0 if belief is None else belief.spill)
    names = (*names, "delta")
    if pairs > 1:
        made = _of_two(names, evidence, agree, told, _alike(groups, bands), ratio)
    else:
        made = _of_one(names, evidence[0], agree, told, _alike(groups, bands), ratio)
    raw = [groups["raw"][f"coarse_{n}"] for n in range(len(groups["raw"]))]
    weights, trust, error = made
    explained = regression_unmixing.explained(groups["patches"], raw, regression)
    shown = _shown(explained, regression.cells)
    level = shown * np.maximum(trust, _level_known(groups, bands))
    made = (weights, shown * trust, error)
    scene = unpacked(groups["doubt"])
    usual = _usual(groups.get("known"), scene, pairs, ratio)
    return _kept(State(names, states, *made, level, shares_of(days), belief, scene, usual))


def _usual(
    known: Mapping[str, np.ndarray] | None, scene: Scene, pairs: int, ratio: int
) -> np.ndarray:
    """Return the mean of `pattern` where a change is known ``(band,)``; NaN without one."""
    if known is None:
        return np.full(len(scene.detail), np.nan)
    fine, coarse = known["fine"], known["coarse"]
    whole = (slice(0, fine.shape[-2]), slice(0, fine.shape[-1]))
    found = pattern(fine[:pairs], coarse, scene, ratio=ratio, inner=whole)
    return np.asarray(found.mean(axis=(1, 2)))


def _pairs_of(groups: Mapping[str, Mapping[str, np.ndarray]]) -> int:
    return len(groups["patches"]["fine_0"])


def _settled(name: str, groups: Mapping[str, dict[str, np.ndarray]], ratio: int) -> Any:
    part = PARTS[name]
    if part.settle is None:
        return None
    group = "patches" if part.prepare is sample_patches else name
    return part.settle(groups[group], ratio=ratio, params=part.params())


def _evidence(
    groups: Mapping[str, Mapping[str, np.ndarray]], pairs: int, ratio: int, spill: float
) -> tuple[Evidence | None, ...]:
    """Return what is known of predicting from each pair alone."""
    if "known" not in groups:
        return (None,) * pairs
    fine, coarse = groups["known"]["fine"], groups["known"]["coarse"]
    names = (*(n for n in BOTH if n != "estarfm"), "delta") if pairs > 1 else (*TOLD_OF, "delta")
    look = partial(look_back, names=names, estimate=_estimate_one, ratio=ratio, spill=spill)
    return tuple(look(fine[[k, 1 - k]], coarse[[k, 1 - k]]) for k in range(pairs))


def _of_one(
    names: tuple[str, ...], found: Evidence | None, agree: np.ndarray, told: np.ndarray,
    alike: np.ndarray, ratio: int,
) -> Made:  # fmt: skip
    """Return what is made of one pair alone."""
    first = TOLD_OF if found is not None else ALONE
    prior = np.array([FITFC if n == "fitfc" else 1.0 for n in names]) * [n in first for n in names]
    known = found is not None
    prior[-1] = (DELTA / ratio**FALLS if known else DELTA_ALONE / ratio**FALLS_ALONE) * prior.sum()
    if found is None:
        weights = np.repeat(prior[:, None], len(agree), axis=1)
        weights[-1] *= agree
        weights /= weights.sum(axis=0)
        return (weights, told, np.full(len(agree), np.nan))
    some = [n for n in (*first, "delta") if n in found.names]
    few = found.of(some)
    own = stacked(few, np.array([prior[names.index(n)] for n in some]) / prior.sum(), alike)
    weights = np.zeros((len(names), len(agree)))
    for n, w in zip(some, own, strict=True):
        weights[names.index(n)] = w
    return weights, _trust(few, own, alike, told), OUTSIDE * np.sqrt(few.error_of(own))


def _of_two(
    names: tuple[str, ...], evidence: tuple[Evidence | None, ...], agree: np.ndarray,
    told: np.ndarray, alike: np.ndarray, ratio: int,
) -> Made:  # fmt: skip
    """Return what is made of two pairs."""
    found = [e for e in evidence if e is not None]
    weights = np.ones((len(names), len(agree)))
    weights[-1] = DELTA / ratio**FALLS * (len(names) - 1) * agree
    if not found:
        return (weights / weights.sum(axis=0), told, np.full(len(agree), np.nan))
    both = found[0].joined(found[1:])
    squares = np.maximum(both.errors(), 1e-12)
    usual = np.exp(np.log(squares).mean(axis=0))
    drawn = POWER * both.cells / (both.cells + EVIDENCE)
    prior = np.ones(len(both.names))
    prior[-1] = DELTA / ratio**FALLS * (len(prior) - 1)
    even = np.repeat(prior[:, None] / prior.sum(), len(agree), axis=1)
    trust = _trust(both, even, alike, told)
    for name, square in zip(both.names, squares, strict=True):
        weights[names.index(name)] *= (square / usual) ** -drawn
    weights /= weights.sum(axis=0)
    at = [names.index(n) for n in both.names]
    own = weights[at].sum(axis=0) * stacked(both, prior / prior.sum(), alike)
    weights[at] = (weights[at] + own) / 2
    own = weights[at]
    error = np.sqrt((own * squares).sum(axis=0) / own.sum(axis=0))
    return (weights, trust, error)


def _shown(explained: np.ndarray, cells: int) -> float:
    """Return whether the target date's coarse image shows the scene at all, 0 to 1.

    Of what the fine images tell of each coarse image ``(image, band)``, the target's last, found of
    so many coarse pixels. It is held against the pair whose coarse image is told least: a day on
    which land is hard to see is no fault of the image.
    """
    pairs, target = explained[:-1].mean(axis=1).min(), explained[-1].mean()
    # They may tell nothing of those of their own dates either.
    if pairs < UNSEEN + BY_CHANCE / max(cells, 1):
        return 1.0
    return float(np.clip((target / pairs - SHOWN[0]) / (SHOWN[1] - SHOWN[0]), 0, 1))


def _level_known(groups: Mapping[str, Mapping[str, np.ndarray]], bands: int) -> np.ndarray:
    """Return how well the mean of the scene is known to change as the coarse images' mean does.

    By how far these lie from the fine image's mean on its own date, beside their change:
    ``change^2 / (change^2 + bias^2)``, ``(band,)``.
    """
    patches, raw = groups["patches"], groups["raw"]
    fine = _mean_by_band([patches[f"fine_{n}"][0] for n in range(len(raw))], bands)
    own, target = (_mean_by_band([c[k] for c in raw.values()], bands) for k in (0, -1))
    change, bias = (target - own) ** 2, (own - fine) ** 2
    return np.asarray(change / np.maximum(change + bias, 1e-30))


def _mean_by_band(images: list[np.ndarray], bands: int) -> np.ndarray:
    """Return the means of images ``(band, y, x)``, 0 where nothing is seen."""
    every = np.concatenate([i.reshape(bands, -1) for i in images], axis=1).astype(np.float64)
    seen = np.isfinite(every)
    return np.asarray(np.where(seen, every, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1))


def _trust(
    found: Evidence, weights: np.ndarray, alike: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Return how far a blend is trusted, ``(band,)``, by what it tells of known changes.

    What it does not tell is as much of the target's change, which may be larger: the more so, the
    more the prior trust counts.
    """
    slope, told = found.slope_of(weights)
    sure = 1 - np.exp(-told * found.cells / TOLD)
    lost = (1 - sure * np.clip(slope, 0, 1)) ** 2
    return np.asarray(1 - lost * (1 - (1 - alike**2) * prior))


def _alike(groups: Mapping[str, Mapping[str, np.ndarray]], bands: int) -> np.ndarray:
    """Return the variance of the known coarse change over that of the target's, 1 at most."""
    if "known" not in groups:
        return np.ones(bands)
    first, second = groups["known"]["coarse"].astype(np.float64)
    known = np.nanvar((second - first).reshape(bands, -1), axis=1)
    raw = groups["raw"].values()
    change = [(c[-1] - c[:-1]).reshape(*c[:-1].shape[:2], -1) for c in raw]
    own = np.nanvar(np.concatenate(change, axis=-1).astype(np.float64), axis=-1).mean(axis=0)
    # Images that do not differ at all: nothing is to be told.
    return np.asarray(np.where(own > 0, np.minimum(1.0, known / np.where(own > 0, own, 1)), 1.0))


def _kept(state: State) -> State:
    """Return the state without parts of little weight."""
    keep = np.asarray((state.weights >= LITTLE).any(axis=1))
    weights = state.weights[keep] / state.weights[keep].sum(axis=0)
    names = tuple(n for n, k in zip(state.names, keep, strict=True) if k)
    states = tuple(s for s, k in zip(state.states, keep[:-1], strict=True) if k)
    return state._replace(names=names, states=states, weights=weights)


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
    lift = upsample_numpy if isinstance(fine, np.ndarray) else lifted_there
    change = lift(coarse[-1:] - coarse[:-1], ratio=ratio)
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
    if state.scene is None:
        return _run_small(call, state, inner, std)
    area, own = with_margin(inner, fine.shape[-2:], AROUND if std else 0)
    found = [
        call(name, k if k < len(state.states) else -1, state, area)
        for k, name in enumerate(state.names)
    ]
    blend, spread = blended(found, state.weights)
    if (state.trust < 1).any():
        trust = beside(state.trust[:, None, None], blend)
        still = mean_of(fine[:, :, *area], np.maximum(state.shares, 1e-6))
        if state.belief is not None and len(fine) == 1:
            level = (state.level * state.belief.level[0])[:, None, None]
            still = still + beside(level, still)
        still = np.where(np.isfinite(blend), still, np.nan)
        blend = still + trust * (blend - still)
    estimate = blend[:, *own].astype(np.float32)
    if not std:
        return estimate, None
    near = box_mean(spread)[:, *own]
    base = mean_of(fine[:, :, *inner], np.maximum(state.shares, 1e-6))
    known = bool(np.isfinite(state.error).all())
    hope = (pattern if known else expected)(fine, seen, state.scene, ratio=ratio, inner=inner)
    if known:
        usual = np.maximum(state.usual, np.finfo(float).tiny)
        scale = beside((state.error / np.sqrt(usual))[:, None, None], hope)
        error = scale * np.sqrt(hope)
        std_of = deviation(near, estimate - base, error)
    else:
        other = np.sqrt(beside(unchecked(state.scene).factor[:, None, None], hope) * hope)
        std_of = deviation_alone(near, estimate - base, state.scene.noise, other)
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
    kernels={
        "numba": partial(_kernel, engine="numba"),
        "cupy": partial(_kernel, engine="cupy"),
        "numpy": partial(_kernel, engine="numpy"),
    },
    reference="xstf's own; its parts: see their records",
    pairs=(1, 2),
    whole=series.METHOD,
    prepare=_prepare,
    settle=_settle,
    std=True,
    believes=True,
    costly=True,
)
