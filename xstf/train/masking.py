"""Masks of clear pixels for a network that fills gaps: clouds of other dates, moved onto a patch.

The truth under a real cloud is never observed. So a network that fills gaps learns on clear pixels
that are masked for it. Their shapes decide what it learns: from small gaps that never last it
learns to copy from ten days ago.

What the sources leave open and we chose: the number of dates with shapes is drawn evenly, from one
to all; a quarter of the samples has one shape over a run of dates (a gap that lasts); every shape
is moved so that a pixel of its rim falls on a pixel that can be masked, since clouds larger than a
patch would otherwise mask whole dates more often than is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["draw_mask"]

_LASTING = 0.25  # share of samples in which one shape stays for a run of dates
_BOXES = 10  # a date, each _SIDE of the patch's sides, blotches of _SMOOTH pixels: SMTS-ViT's code
_SIDE = 0.3
_SMOOTH = 2.0
_COVER = (0.1, 0.6)  # of a patch by a simulated cloud
_WIDTH = (0.05, 0.2)  # of a simulated cloud's Gaussian, in sides of the patch

Draw = Callable[[np.random.Generator], np.ndarray]


def draw_mask(
    valid: np.ndarray,
    rng: np.random.Generator,
    *,
    masks: np.ndarray,
    whole_dates: tuple[float, float] = (0.3, 0.1),
    boxes: bool = False,
) -> np.ndarray:
    """Return the pixels to mask in one sample, ``(time, y, x)`` bool: some of those valid.

    With two valid pixels or more at least one is masked and at least one is not.

    Parameters
    ----------
    valid
        ``(time, y, x)`` bool: where the patch is clear.
    rng
        Generator of every draw.
    masks
        ``(k, rows, columns)`` bool, True in a cloud: gaps of other dates, of the whole image or of
        any part of it. Those all True or all False are left out; if none is left, or k is 0,
        clouds are simulated: smooth noise above a threshold.
    whole_dates
        Shares of the samples that lose one and two whole dates. Dates with more valid pixels are
        likelier to be lost; one date with valid pixels is always left.
    boxes
        Instead of `masks`, boxes of smooth noise above a threshold, as SMTS-ViT was trained with.
    """
    one, two = whole_dates
    if valid.ndim != 3 or masks.ndim != 3:
        raise ValueError(
            f"valid is (time, y, x) and masks (k, y, x), not {valid.shape} and {masks.shape}"
        )
    if min(one, two) < 0 or one + two > 1:
        raise ValueError(f"whole_dates are two shares, 1 at most together, not {whole_dates}")
    valid = valid.astype(bool, copy=False)
    counts = np.count_nonzero(valid, axis=(1, 2))
    masked = np.zeros(valid.shape, bool)
    if counts.sum() < 2:
        return masked
    for date, shape in _shapes_on_dates(valid, _drawer(valid.shape[1:], masks, boxes), rng):
        masked[date] |= shape & valid[date]
    chance = rng.random()
    wanted = 2 if chance < two else 1 if chance < two + one else 0
    number = min(wanted, int(np.count_nonzero(counts)) - 1)
    whole = rng.choice(counts.size, number, replace=False, p=counts / counts.sum())
    masked[whole] = valid[whole]
    if masked.sum() == counts.sum():
        _unmask_some(masked, np.setdiff1d(np.flatnonzero(counts), whole), rng)
    return masked


def _shapes_on_dates(
    valid: np.ndarray, draw: Draw, rng: np.random.Generator
) -> list[tuple[int | slice, np.ndarray]]:
    """Return shapes and the dates that they lie on: one a date, or one over a run of dates."""
    dates = np.flatnonzero(valid.any(axis=(1, 2)))
    if dates.size > 1 and rng.random() < _LASTING:
        anchor = int(rng.choice(dates))
        length = int(rng.integers(2, len(valid) // 2 + 2))
        first = min(max(anchor - int(rng.integers(length)), 0), len(valid) - length)
        return [(slice(first, first + length), _moved_onto(draw(rng), valid[anchor], rng))]
    some = rng.choice(dates, rng.integers(1, dates.size + 1), replace=False)
    return [(int(date), _moved_onto(draw(rng), valid[date], rng)) for date in some]


def _moved_onto(shape: np.ndarray, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of a shape that falls on a patch, a pixel of its rim on a valid one.

    The shape goes on beyond its edges from the opposite ones, so it is rolled if it is as large
    as the patch and cut if it is larger.
    """
    indices = []
    rim = shape & ~(np.roll(shape, 1, axis=0) & np.roll(shape, 1, axis=1))
    here = _any_true(rim if rim.any() else shape, rng)  # no rim: True all over
    there = _any_true(valid, rng)
    for side, size, start, end in zip(shape.shape, valid.shape, here, there, strict=True):
        indices.append((np.arange(size) + start - end) % side)
    return shape[np.ix_(*indices)]


def _any_true(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Return the row and column of a pixel that is True, any as likely."""
    row, column = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
    return row, column


def _unmask_some(masked: np.ndarray, dates: np.ndarray, rng: np.random.Generator) -> None:
    """Unmask one of the dates, or its upper half if no other has masked pixels."""
    date = rng.choice(dates)
    there = np.flatnonzero(masked[date])
    if there.size == np.count_nonzero(masked):
        there = there[: (there.size + 1) // 2]
    masked[date].flat[there] = False


# ------------------------------------------------------------------ shapes


def _drawer(sides: tuple[int, int], masks: np.ndarray, boxes: bool) -> Draw:
    """Return what draws a shape, which has a True in it."""
    if boxes:
        return lambda rng: _until_any(lambda: _boxes(sides, rng))
    share = masks.mean(axis=(1, 2)) if masks.size else np.zeros(len(masks))
    real = masks[(share > 0) & (share < 1)]
    if len(real):
        return lambda rng: _real(real, rng)
    return lambda rng: _cloud(sides, rng)


def _until_any(draw: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the first of the shapes drawn that has a True in it."""
    while not (shape := draw()).any():
        pass
    return shape


def _real(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one mask, or two on each other and the second moved, flipped or not."""
    shape = _flipped(masks[rng.integers(len(masks))], rng)
    if rng.random() < 0.5:
        other = _flipped(masks[rng.integers(len(masks))], rng)
        shift = [int(rng.integers(side)) for side in other.shape]
        shape = shape | np.roll(other, shift, axis=(0, 1))
    return shape


def _flipped(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mask upside down, mirrored, both or neither."""
    step = [int(rng.choice((-1, 1))) for _ in range(2)]
    return mask.astype(bool, copy=False)[:: step[0], :: step[1]]


def _cloud(sides: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a simulated cloud: the highest share of smooth noise."""
    noise = _smooth(rng.standard_normal(sides), rng.uniform(*_WIDTH) * max(sides))
    return np.asarray(noise >= np.quantile(noise, 1 - rng.uniform(*_COVER)))


def _boxes(sides: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the union of boxes anywhere in the patch, each with blotches over about its half."""
    box = [max(1, round(_SIDE * side)) for side in sides]
    found = np.zeros(sides, bool)
    for _ in range(_BOXES):
        y, x = (int(rng.integers(side - b + 1)) for side, b in zip(sides, box, strict=True))
        blotches = _smooth(rng.random(box), _SMOOTH) > 0.5
        found[y : y + box[0], x : x + box[1]] |= blotches
    return found


def _smooth(noise: np.ndarray, sigma: float) -> np.ndarray:
    """Return noise after a Gaussian of `sigma` pixels; it goes on beyond its edges as a tile."""
    y, x = noise.shape
    # A Gaussian's transform is a Gaussian; frequencies are in turns a pixel.
    squared = np.fft.fftfreq(y)[:, None] ** 2 + np.fft.rfftfreq(x) ** 2
    weight = np.exp(-2 * (np.pi * sigma) ** 2 * squared)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(noise) * weight, s=(y, x)))
