"""Examples of `sts`: what is learned from, and on which labels.

An example is a paired date, the one or two pairs that it is predicted from, and a label. Which
label is `scale`:

- ``"native"``: the linear method's result from the date's own pair, at the cubes' own scale. Noise,
  blur and the size of pixels in a field are as they will be; the label is no truth, but some 3 dB
  nearer to it than the prediction that is to be corrected.
- ``"reduced"``: Wald's protocol. All three cubes are degraded by the ratio of the spectral cube
  with a Gaussian point spread one pixel wide at half its height, and the spectral cube is the
  label. Fewer pixels, less noise, more mixture than there will be.

On the embedded scene what is learned at the reduced scale does not carry over, and what is learned
at the native scale does; hence the default. (Both are ours; the paper only states that its first
data set is simulated.)

On every date something happens that the dense bands do not show: rain wets the soils, which is seen
in the shortwave infrared. It is nearly linear in the images and different on each date, and a
network that learns from two or three dates would take it for a law. So what is linear in the
images on one date is removed from its label, and the network learns what the dates have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import numpy as np

from xstf._method import Method, StsSamples
from xstf.cubes.pairs import DateLike
from xstf.methods.sts.sts.network import Images, Scaling, look
from xstf.methods.sts.sts_linear import estimate as linear
from xstf.methods.sts.sts_linear import steps
from xstf.methods.sts.sts_linear.steps import DateImages, Scene
from xstf.numerics.degrade import degrade
from xstf.tiles.run import clean_block, compute_now
from xstf.tiles.sts import Series
from xstf.train.patches import days_of, read_now

Scale = Literal["native", "reduced"]
# Pairs on either side that a date is predicted from, one at a time; columns held out, of all; the
# side of the scene's middle that is learned from, in sharp pixels.
_BESIDE, _STRIPE, _LARGEST = 2, 5, 512
_RIDGE = 1e-6  # of a regression, in units of the regressors' mean square


@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """A paired date predicted from others.

    Parameters
    ----------
    images
        The network's inputs, by `NAMES`.
    truth
        ``(k, y, x)``, the label in scaled components, without what is of this date alone.
    sharp
        ``(sharp_band, y, x)``, the sharp image, scaled.
    valid
        ``(y, x)`` bool, where nothing of that is missing.
    state, ratio
        What the linear method settled, and sharp pixels in a dense one.
    base, label
        ``(band, y, x)``, the linear prediction and what it should be; of held-out examples alone.
    """

    images: Images
    truth: np.ndarray
    spatial: np.ndarray
    valid: np.ndarray
    state: Scene
    ratio: int
    base: np.ndarray
    label: np.ndarray

    def columns(self, part: slice, *, held_out: bool) -> Example:
        """Return some columns; a copy, so that the rest need not stay in memory."""
        images = {n: i if i.ndim == 1 else i[..., part].copy() for n, i in self.images.items()}
        return Example(
            images=images, truth=self.truth[..., part].copy(),
            spatial=self.spatial[..., part].copy(), valid=self.valid[:, part].copy(),
            state=self.state, ratio=self.ratio,
            base=self.base[..., part].copy() if held_out else self.base[:0],
            label=self.label[..., part].copy() if held_out else self.label[:0],
        )  # fmt: skip


class Plan(NamedTuple):
    """A paired date, and the pairs before and after that it is predicted from."""

    target: int
    before: int
    after: int


class Split(NamedTuple):
    """What is trained on, what is held out, and that in words."""

    train: list[Example]
    held_out: list[Example]
    text: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """The paired dates of three nested cubes in memory.

    Parameters
    ----------
    spectral, dense, sharp
        ``(pair, band, y, x)``, NaN where missing.
    days
        ``(pair,)``, ascending.
    ratios
        Sharp pixels in a spectral and in a dense one.
    state
        What the linear method settled.
    labels
        ``(pair, band, y, x)`` spectra at the sharp grid.
    """

    spectral: np.ndarray
    temporal: np.ndarray
    spatial: np.ndarray
    days: np.ndarray
    ratios: tuple[int, int]
    state: Scene
    labels: np.ndarray


# ---------------------------------------------------------------- the scene


def read(series: Series, record: Method, scale: Scale) -> tuple[Pairs, Scaling]:
    """Return the paired dates at the scale of the examples, and the scaling of the native one."""
    found = series.state(record, record.params())
    if found is None:
        raise TypeError(f"{record.name} settles nothing; examples need the linear method's state")
    settle, samples = found
    state = settle(compute_now(samples))
    if state is None:
        raise ValueError("the cubes have no contrast in common: there is nothing to learn")
    step = _step(series.ratios) * (series.ratios[0] if scale == "reduced" else 1)
    parts = _middle(series.spatial.shape[2:], step)
    images = [
        clean_block(read_now(a[:, :, *(slice(p.start // r, p.stop // r) for p in parts)]))
        for a, r in zip(series.images(series.pairs), (*series.ratios, 1), strict=True)
    ]
    scaling = Scaling.of(images[0], images[1], images[2], series.days)
    days, ratios = series.pair_days, series.ratios
    if scale == "native":
        labels = [
            linear.predict(
                DateImages(
                    images[0][[e]], images[1][[e, e]], images[2][[e]], days[[e]], float(days[e])
                ),
                ratios=ratios, state=state,
            )
            for e in range(len(days))
        ]  # fmt: skip
        return _pairs(images, days, ratios, state, np.stack(labels)), scaling
    low = [degrade(i, ratio=ratios[0], fwhm=1.0) for i in images]
    state = linear.settle(StsSamples(low[0], low[1], low[2], days), ratios=ratios)
    if state is None:
        raise ValueError("nothing is left of the cubes at a reduced scale; take scale='native'")
    return _pairs(low, days, ratios, state, images[0]), scaling


def _pairs(
    images: list[np.ndarray], days: np.ndarray, ratios: tuple[int, int], state: Scene,
    labels: np.ndarray,
) -> Pairs:  # fmt: skip
    return Pairs(
        spectral=images[0], temporal=images[1], spatial=images[2], days=days, ratios=ratios,
        state=state, labels=labels,
    )  # fmt: skip


def _step(ratios: tuple[int, int]) -> int:
    return int(np.lcm(*ratios))


def _middle(shape: Sequence[int], step: int) -> list[slice]:
    """Return the rows and columns in the middle that are learned from, whole in a step."""
    parts = []
    for size in shape:
        length = min(size, max(_LARGEST, step)) // step * step
        if not length:
            raise ValueError(f"the scene needs {step} sharp pixels a side or more, not {size}")
        start = (size - length) // 2 // step * step
        parts.append(slice(start, start + length))
    return parts


# ---------------------------------------------------------------- examples


def split(pairs: Pairs, scaling: Scaling, dates: np.ndarray, validation: DateLike | None) -> Split:
    """Return what is trained on, what is held out, and that in words."""
    width = pairs.spatial.shape[3]
    plans = _plans(pairs.days)
    nearest = _nearest(plans, pairs.days)
    whole = slice(0, width)
    if validation is None:
        step = _step(pairs.ratios)
        edge = (width - width // _STRIPE) // step * step
        if not edge:
            raise ValueError(f"training needs a scene wider than {step} sharp pixels")
        out, learned, tested = set(), slice(0, edge), slice(edge, width)
        text = f"columns {edge} and on of {width}"
    else:
        days = dates.astype("datetime64[D]")
        out = _named_dates(days, validation, {plan.target for plan in plans})
        learned = tested = whole
        text = "dates " + ", ".join(str(days[n]) for n in sorted(out))
    train: list[Example] = []
    held_out: list[Example] = []
    for plan in plans:
        example = _example(pairs, scaling, plan)
        if example is None:
            continue
        if plan.target not in out:
            train.append(example.columns(learned, held_out=False))
        if plan in nearest and (plan.target in out or not out):
            held_out.append(example.columns(tested, held_out=True))
    clear = [[one for one in some if one.valid.any()] for some in (train, held_out)]
    for some, what in zip(
        clear, ("to learn from is left", "that is held out is clear"), strict=True
    ):
        if not some:
            raise ValueError(
                f"nothing {what}: no paired date is clear where those around it are clear"
            )
    return Split(clear[0], clear[1], text)


def _named_dates(days: np.ndarray, validation: DateLike, able: set[int]) -> set[int]:
    """Return the pairs whose dates are to be held out."""
    wanted = days_of(validation)
    out = {n for n, day in enumerate(days) if day in wanted}
    if not np.isin(wanted, days[sorted(able)]).all() or out >= able:
        raise ValueError(
            f"validation= must be some of {sorted(str(days[n]) for n in able)} and not all"
        )
    return out


def _plans(days: np.ndarray) -> list[Plan]:
    """Return which dates are predicted from which: those between pairs; of two, each other."""
    order = [int(n) for n in np.argsort(days, kind="stable")]
    if len(order) == 2:
        first, second = order
        return [Plan(first, second, second), Plan(second, first, first)]
    return [
        Plan(target, before, after)
        for k, target in enumerate(order)
        for before, after in product(
            order[max(0, k - _BESIDE) : k][::-1], order[k + 1 : k + 1 + _BESIDE]
        )
    ]


def _nearest(plans: list[Plan], days: np.ndarray) -> list[Plan]:
    """Return the plan of each date whose pairs are nearest."""
    best: dict[int, Plan] = {}
    for plan in sorted(plans, key=lambda p: abs(days[p.after] - days[p.before])):
        best.setdefault(plan.target, plan)
    return list(best.values())


def _example(pairs: Pairs, scaling: Scaling, plan: Plan) -> Example | None:
    """Return a date predicted from one or two pairs; None if it is never clear when they are."""
    near, target = sorted({plan.before, plan.after}), plan.target
    whole = (slice(0, pairs.spatial.shape[2]), slice(0, pairs.spatial.shape[3]))
    base, images, valid = look(
        DateImages(
            pairs.spectral[near], pairs.temporal[[*near, target]], pairs.spatial[near],
            pairs.days[near], float(pairs.days[target]),
        ),
        ratios=pairs.ratios, state=pairs.state, scaling=scaling, part=whole,
    )  # fmt: skip
    label, spatial = pairs.labels[target], pairs.spatial[target]
    valid = valid & steps.paired(pairs.spectral[target], spatial, pairs.ratios[0])
    valid &= np.isfinite(label).all(axis=0)
    if images is None:
        return None
    mean, spread = (v[:, None, None].astype(np.float32) for v in scaling.spatial)
    components = scaling.components(np.where(valid, label, 0))
    truth = _lasting(components, images, valid)
    return Example(
        images=images, truth=truth, valid=valid, base=np.nan_to_num(base), state=pairs.state,
        ratio=pairs.ratios[1],
        spatial=np.nan_to_num((spatial - mean) / spread).astype(np.float32),
        label=np.nan_to_num(label + scaling.spectra(truth - components)),
    )  # fmt: skip


def _lasting(truth: np.ndarray, images: Images, valid: np.ndarray) -> np.ndarray:
    """Return the label ``(k, y, x)`` without what is linear in the images on this date alone."""
    seen = np.concatenate([images[n][:, valid] for n in ("dense", "linear")])
    x = np.concatenate([seen, np.ones_like(seen[:1])])
    off = truth[:, valid] - images["linear"][:, valid]
    out = np.zeros_like(truth, np.float32)
    out[:, valid] = truth[:, valid] - steps.regression(x, off, _RIDGE).T @ x
    return out
