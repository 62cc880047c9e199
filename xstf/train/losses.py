"""Losses that networks are trained with: terms by name, and their weighted sum.

Each term is called as ``term(estimate, truth, valid, *, features=None)`` and returns a scalar:

- ``estimate`` and ``truth`` ``(n, band, y, x)``, scaled so that 0..1 spans the data;
- ``valid``, of the same shape, True (1) where the truth is known; shares between 0 and 1 weigh.
  What lies where it is 0, NaN included, has no influence on value and gradient: both images are
  set to 0 there and windows take their moments over the valid pixels only. Where nothing
  is valid, the loss is 0 and so is its gradient;
- ``features``, for the terms that need them: a module whose ``encode(image)`` returns a tensor
  ``(n, channel, y', x')`` or a list of such, and whose own weights are not trained.

Averages are over all valid pixels of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["TERMS", "compose", "least_squares_critic", "least_squares_generator", "pyramid"]


class Encoder(Protocol):
    """A module that makes features of an image, one tensor or one a level."""

    def encode(self, image: Tensor) -> Tensor | Sequence[Tensor]:
        """Return tensors ``(n, channel, y', x')``."""


Term = Callable[..., Tensor]
Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]

_EPS = 1e-3  # Charbonnier's: below it the loss is quadratic

# Wang et al. 2004: window and constants of SSIM, for data that span 1
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
# Wang, Simoncelli & Bovik 2003: exponents of MS-SSIM's scales, finest first
_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Our choice: at 0 a fractional power has no finite slope, below 0 no value.
_LEAST = 1e-4

_TINY = 1e-8  # square of the length below which a spectrum has no direction
_STEEP = 1e-6  # acos has no finite slope at a cosine of 1


def l1(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the mean absolute error."""
    e, t, w = _match(estimate, truth, valid)
    return _mean((e - t).abs(), w)


def mse(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the mean square error."""
    e, t, w = _match(estimate, truth, valid)
    return _mean((e - t).square(), w)


def charbonnier(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the mean of ``sqrt(error^2 + 0.001^2)``, an absolute error that is smooth at 0."""
    e, t, w = _match(estimate, truth, valid)
    return _mean(((e - t).square() + _EPS**2).sqrt(), w)


def ssim(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return 1 - SSIM (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Gaussian windows of 11 pixels (sigma 1.5) that lie wholly in the patch, population
    covariances. Our choice: a window's moments are those of its valid pixels, and it counts by
    the share of its weights that lies on them.
    """
    e, t, w = _match(estimate, truth, valid)
    whole, _, share = _similarity(e, t, w)
    return _mean(1 - whole, share)


def ms_ssim(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return 1 - MS-SSIM (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216).

    The product over scales, each half as fine as the one before, of the mean contrast-structure
    term of a band of an image, with the luminance at the last one. Our choice: as many of the
    five scales as leave the patch 11 pixels or more, their exponents brought back to a sum of
    1; means below 1e-4 count as 1e-4 and pass no gradient; bands of images are averaged by their
    valid shares.
    """
    e, t, w = _match(estimate, truth, valid)
    levels = _levels(min(e.shape[-2:]))
    share_of_plane = w.mean(dim=(2, 3))
    product = torch.ones_like(share_of_plane)
    for level, power in enumerate(_POWERS[:levels]):
        if level:
            e, t, w = _pool(e, t, w, 2)
        whole, contrast, share = _similarity(e, t, w)
        term = _mean(whole if level == levels - 1 else contrast, share, dim=(2, 3))
        there = share.sum(dim=(2, 3)) > 0
        factor = term.clamp_min(_LEAST) ** (power / sum(_POWERS[:levels]))
        product = product * torch.where(there, factor, torch.ones_like(factor))
    return _mean(1 - product, share_of_plane)


def cosine(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return 1 - the cosine between the pixels' spectra, as scaled; a pixel needs all bands.

    With one band it is 0 and so is its gradient: a single number has no direction.
    """
    e, t, w = _match(estimate, truth, valid)
    if e.shape[1] == 1:
        return 0 * e.sum()
    return _mean(1 - _cosine(e, t), w.amin(dim=1))


def angle(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the angle between the pixels' spectra in radians, as scaled; a pixel needs all bands.

    The cosine is kept 1e-6 away from 1, where the angle's slope is infinite: the smallest angle
    is 0.0014. With one band it is 0, as :func:`cosine`.
    """
    e, t, w = _match(estimate, truth, valid)
    if e.shape[1] == 1:
        return 0 * e.sum()
    return _mean(_cosine(e, t).clamp(_STEEP - 1, 1 - _STEEP).acos(), w.amin(dim=1))


def haar(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the sum of the mean absolute errors of the four orthonormal Haar sub-bands.

    Blocks of 2 × 2 pixels; an odd last row or column is left out. Invalid pixels have no error
    and a block counts by its valid share.
    """
    e, t, w = _match(estimate, truth, valid)
    rows, columns = (side // 2 * 2 for side in e.shape[-2:])
    error = ((e - t) * w)[..., :rows, :columns]
    top, bottom = error[..., 0::2, :], error[..., 1::2, :]  # (n, band, y / 2, x)
    bands = [
        (vertical[..., 0::2] + sign * vertical[..., 1::2]).abs() / 2  # (n, band, y / 2, x / 2)
        for vertical in (top + bottom, top - bottom)
        for sign in (1, -1)
    ]
    # Weighed already: the error itself is.
    count = functional.avg_pool2d(w, 2).sum()
    return sum(bands[1:], bands[0]).sum() / _over(count)


def feature_mse(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the mean square error of the features."""
    pairs = _encode("feature_mse", estimate, truth, valid, features)
    return _average([_mean((e - t).square(), w) for e, t, w in pairs])


def feature_l1(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return the mean absolute error of the features."""
    pairs = _encode("feature_l1", estimate, truth, valid, features)
    return _average([_mean((e - t).abs(), w) for e, t, w in pairs])


def feature_cosine(
    estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
) -> Tensor:
    """Return 1 - the cosine between the feature vectors of places."""
    pairs = _encode("feature_cosine", estimate, truth, valid, features)
    return _average([_mean(1 - _cosine(e, t), w[:, 0]) for e, t, w in pairs])


TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        l1,
        mse,
        charbonnier,
        ssim,
        ms_ssim,
        cosine,
        angle,
        haar,
        feature_mse,
        feature_l1,
        feature_cosine,
    )
}


def pyramid(term: Term, scales: Sequence[float] = (1, 0.5, 0.25)) -> Term:
    """Return a term that is the sum of another over smaller and smaller images.

    Parameters
    ----------
    term : callable
        One of :data:`TERMS`.
    scales : sequence of float
        Sides relative to the patch, one over a whole number each. A pixel of a smaller image is
        the mean of the valid ones in its block and weighs by their share; rows and
        columns beyond the last whole block are left out.
    """
    if not scales:
        raise ValueError("scales are none; give one or more")
    blocks = [round(1 / scale) if 0 < scale <= 1 else 0 for scale in scales]
    if any(block < 1 or abs(block * s - 1) > 1e-6 for block, s in zip(blocks, scales, strict=True)):
        raise ValueError(f"scales must be one over whole numbers, not {tuple(scales)}")

    def summed(
        estimate: Tensor, truth: Tensor, valid: Tensor, *, features: Encoder | None = None
    ) -> Tensor:
        full = _match(estimate, truth, valid)
        if min(estimate.shape[-2:]) < max(blocks):
            sides = tuple(estimate.shape[-2:])
            raise ValueError(f"a patch of {sides} pixels has no block of {max(blocks)}")
        parts = [term(*_pool(*full, block), features=features) for block in blocks]
        return torch.stack(parts).sum()

    return summed


def least_squares_critic(
    real_scores: Tensor | Sequence[Tensor], fake_scores: Tensor | Sequence[Tensor]
) -> Tensor:
    """Return the least-squares loss of a critic: real images shall score 1 and others 0.

    Half the sum of both mean squares (Mao et al. 2017, doi:10.1109/ICCV.2017.304).

    Parameters
    ----------
    real_scores, fake_scores : Tensor or sequence of Tensor
        Scores of any shape; several (as of several scales) are averaged.
    """
    return (_distance(real_scores, 1) + _distance(fake_scores, 0)) / 2


def least_squares_generator(fake_scores: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the least-squares loss of a generator, whose images shall score 1.

    Our choice: the whole mean square, where the paper has half of it; a recipe's adversarial
    weight is meant so.

    Parameters
    ----------
    fake_scores : Tensor or sequence of Tensor
        As in :func:`least_squares_critic`.
    """
    return _distance(fake_scores, 1)


def compose(loss: Sequence[tuple[str, float]]) -> Loss:
    """Return a function that gives the weighted sum of terms, and each term by itself.

    Parameters
    ----------
    loss : sequence of (str, float)
        Names of :data:`TERMS` and their weights.

    Returns
    -------
    callable
        ``(estimate, truth, valid, features=None) -> (total, parts)``; `parts` are scalars by
        name, without weight and detached.

    Raises
    ------
    ValueError
        A name that is unknown or there twice, a weight that is no number above 0, or no term.
    """
    pairs = [(str(name), float(weight)) for name, weight in loss]
    names = [name for name, _ in pairs]
    for name, weight in pairs:
        if name not in TERMS:
            raise ValueError(f"no loss {name!r}; there are {sorted(TERMS)}")
        if names.count(name) > 1:
            raise ValueError(f"the loss {name!r} is there twice")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"the weight of the loss {name!r} must be above 0, not {weight}")
    if not pairs:
        raise ValueError(f"a loss of no terms; there are {sorted(TERMS)}")

    def total(
        estimate: Tensor, truth: Tensor, valid: Tensor, features: Encoder | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts = {name: TERMS[name](estimate, truth, valid, features=features) for name in names}
        summed = torch.stack([weight * parts[name] for name, weight in pairs]).sum()
        return summed, {name: part.detach() for name, part in parts.items()}

    return total


def _match(estimate: Tensor, truth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both images with 0 where nothing is valid, and the weights of pixels."""
    if estimate.ndim != 4 or not estimate.shape == truth.shape == valid.shape:
        shapes = [tuple(image.shape) for image in (estimate, truth, valid)]
        raise ValueError(f"estimate, truth and valid are (n, band, y, x) alike, not {shapes}")
    if estimate.dtype in (torch.float16, torch.bfloat16):
        estimate = estimate.float()  # squares and variances need the digits
    truth, weight = truth.to(estimate.dtype), valid.to(estimate.dtype)
    # Chosen, not multiplied: 0 * NaN is NaN, and so would its gradient be.
    there, zero = weight > 0, estimate.new_zeros(())
    return torch.where(there, estimate, zero), torch.where(there, truth, zero), weight


def _over(total: Tensor) -> Tensor:
    """Return a sum of weights to divide by: 1 for 0."""
    return torch.where(total > 0, total, torch.ones_like(total))


def _mean(value: Tensor, weight: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """Return the weighted mean, 0 where nothing weighs."""
    weight = weight.expand_as(value)
    return (value * weight).sum(dim=dim) / _over(weight.sum(dim=dim))


def _average(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).mean()


def _pool(e: Tensor, t: Tensor, w: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the means over the valid pixels of blocks, and the blocks' valid shares."""
    share = functional.avg_pool2d(w, block)
    e, t = (functional.avg_pool2d(image * w, block) / _over(share) for image in (e, t))
    return e, t, share


def _cosine(e: Tensor, t: Tensor) -> Tensor:
    """Return the cosine along axis 1, 0 for vectors without length."""
    lengths = [(v.square().sum(dim=1) + _TINY).sqrt() for v in (e, t)]
    return (e * t).sum(dim=1) / (lengths[0] * lengths[1])


def _levels(side: int) -> int:
    """Return how many of MS-SSIM's scales a patch has room for."""
    _check_side(side)
    return min(len(_POWERS), 1 + int(math.log2(side / _WINDOW)))


def _check_side(side: int) -> None:
    if side < _WINDOW:
        raise ValueError(f"SSIM needs patches of {_WINDOW} pixels or more a side, not {side}")


def _similarity(e: Tensor, t: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return SSIM, its contrast-structure part and the valid share of each window."""
    _check_side(min(e.shape[-2:]))
    # Variances are differences of squares: about the truth's mean they keep their digits, also
    # where a GPU rounds the factors of products to 10 bits (TF32).
    level = _mean(t, w, dim=(2, 3))[..., None, None]
    e, t = e - level, t - level
    moments = _blur(torch.stack([w, e * w, t * w, e * e * w, t * t * w, e * t * w]))
    share, blurred = moments[0], moments[1:] / _over(moments[0])
    mean_e, mean_t, square_e, square_t, product = blurred
    var_e, var_t, cov = square_e - mean_e**2, square_t - mean_t**2, product - mean_e * mean_t
    contrast = (2 * cov + _C2) / (var_e + var_t + _C2)
    mean_e, mean_t = mean_e + level, mean_t + level
    luminance = (2 * mean_e * mean_t + _C1) / (mean_e**2 + mean_t**2 + _C1)
    return luminance * contrast, contrast, share


def _blur(images: Tensor) -> Tensor:
    """Return the Gaussian means of all windows that lie wholly in the images.

    As products with a band matrix: at patches' sides many times faster than a convolution of
    one channel, which no library is made for.
    """
    rows, columns = (_windows(side, images) for side in images.shape[-2:])
    with torch.autocast(images.device.type, enabled=False):  # half types lose the variances
        return rows.T @ (images @ columns)


def _windows(side: int, like: Tensor) -> Tensor:
    """Return the weights of each window of a line, ``(side, side - 10)``."""
    place = torch.arange(side, dtype=like.dtype, device=like.device)
    offset = place[:, None] - place[: side - _WINDOW + 1] - _WINDOW // 2
    weight = torch.exp(-0.5 * (offset / _SIGMA) ** 2) * (offset.abs() <= _WINDOW // 2)
    return weight / weight.sum(dim=0)


def _encode(
    name: str, estimate: Tensor, truth: Tensor, valid: Tensor, features: Encoder | None
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the features of both images and their weights, ``(n, 1, y', x')``, level by level.

    Invalid pixels are given the truth's mean in both images, so that neither sees anything there;
    a place counts by the valid share of the pixels that it stands for.
    """
    if features is None:
        raise ValueError(f"the loss {name!r} needs features: a module with encode(image)")
    e, t, w = _match(estimate, truth, valid)
    level = _mean(t, w, dim=(2, 3))[..., None, None]
    e, t = torch.where(w > 0, e, level), torch.where(w > 0, t, level)
    with torch.no_grad():
        of_truth = _listed(features.encode(t))
    share = w.mean(dim=1, keepdim=True)
    return [
        (a.to(e.dtype), b.to(e.dtype), _resized(share, a))
        for a, b in zip(_listed(features.encode(e)), of_truth, strict=True)
    ]


def _resized(share: Tensor, like: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(share, (like.shape[-2], like.shape[-1]))


def _listed(values: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else list(values)


def _distance(scores: Tensor | Sequence[Tensor], wanted: float) -> Tensor:
    """Return the mean square distance of scores from a number."""
    return _average([(score.float() - wanted).square().mean() for score in _listed(scores)])
