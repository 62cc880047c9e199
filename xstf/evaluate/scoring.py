"""One estimate beside its truth: every metric, and sums over cells that intervals are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstf import metrics
from xstf.evaluate.blocks import Cells, Correlation, cell_of_pixels, cells_of, correlation_of
from xstf.numerics.normal import COVER, Z90

# Shares that intervals of a standard deviation are made to hold, for the calibration.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# Dims of each result besides those that name the image.
DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("rmse", "mae", "bias", "cc", "psnr", "ssim", "uiqi", "edge", "coverage", "interval_score"),
        ("band",),
    ),
    **dict.fromkeys(("sam", "ergas", "q2n", "left", "seconds"), ()),
    "covered": ("band", "level"),
    **dict.fromkeys(("class_errors", "class_within"), ("band", "class")),
    **dict.fromkeys(
        ("cell_pixels", "cell_squares", "cell_absolutes", "cell_intervals"),
        ("band", "class", "cell"),
    ),
}  # fmt: skip
# Smallest sides of an image that these look at.
_SSIM, _EDGE = 11, 2


class Classes(NamedTuple):
    """A class map on the grid of the images.

    Parameters
    ----------
    of_pixel
        ``(y, x)``, from 0 on, -1 where there is none.
    names
        Of the classes.
    """

    of_pixel: np.ndarray
    names: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """What all images of an evaluation share.

    Parameters
    ----------
    bands
        Labels.
    y, x
        Coordinates of the pixels.
    classes
        None where no class map was given.
    ratio
        Coarse pixel / fine pixel, for ERGAS; None where nothing is coarse.
    """

    bands: Sequence[Any]
    y: np.ndarray
    x: np.ndarray
    classes: Classes | None = None
    ratio: float | None = None

    @property
    def cells(self) -> Cells:
        """The cells that errors are summed over."""
        return cells_of(len(self.y), len(self.x))


class Row(NamedTuple):
    """The scores of one method on one image.

    Parameters
    ----------
    method
        Its label.
    at
        What names the image, such as its date.
    found
        By the names in `DIMS`.
    correlation
        Of its errors.
    """

    method: str
    at: tuple[Any, ...]
    found: Mapping[str, np.ndarray | float]
    correlation: Correlation


def score_image(
    frame: Frame,
    method: str,
    at: tuple[Any, ...],
    *,
    estimate: np.ndarray,
    truth: np.ndarray,
    std: np.ndarray | None = None,
    seconds: float = np.nan,
) -> Row:
    """Return the scores of an estimate ``(band, y, x)`` where the truth is there.

    Parameters
    ----------
    frame
        What all images share.
    method, at
        As `Row` has them.
    estimate, truth, std
        NaN where missing; `std` is None for methods without.
    seconds
        That it took.
    """
    estimate, truth = (np.asarray(v, np.float64) for v in (estimate, truth))
    known = np.isfinite(truth)
    there = known & np.isfinite(estimate)
    error = np.where(there, estimate - truth, np.nan)
    found: dict[str, Any] = {
        "left": 1 - there.sum() / known.sum() if known.any() else np.nan, "seconds": seconds,
    }  # fmt: skip
    found |= _sums(frame, error, std)
    pixels = found["cell_pixels"].sum(axis=(1, 2))
    some = np.where(pixels > 0, pixels, np.nan)
    found["rmse"] = np.sqrt(found["cell_squares"].sum(axis=(1, 2)) / some)
    found["mae"] = found["cell_absolutes"].sum(axis=(1, 2)) / some
    found["bias"] = found["class_errors"].sum(axis=1) / some
    if std is not None:
        found["coverage"] = found["class_within"].sum(axis=1) / some
        found["interval_score"] = found["cell_intervals"].sum(axis=(1, 2)) / some
        found["covered"] = _covered(error, std, some)
    found |= _others(estimate, truth, frame.ratio)
    return Row(method, at, found, correlation_of(error))


def _sums(frame: Frame, error: np.ndarray, std: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return sums over cells and classes of what is a mean over pixels."""
    classes, cells = frame.classes, frame.cells
    kinds = 1 if classes is None else len(classes.names) + 1
    # Pixels of no class are the last.
    kind = 0 if classes is None else np.where(classes.of_pixel < 0, kinds - 1, classes.of_pixel)
    place = cell_of_pixels(error.shape[1], error.shape[2], cells) + cells.number * np.asarray(kind)
    parts = {
        "cell_pixels": np.ones_like(error), "cell_squares": error**2, "cell_absolutes": abs(error),
        "class_errors": error,
    }  # fmt: skip
    if std is not None:
        half = Z90 * np.asarray(std, np.float64)
        off = abs(error)
        parts["class_within"] = (off <= half).astype(float)
        parts["cell_intervals"] = 2 * half + 2 / (1 - COVER) * np.maximum(off - half, 0)
    out = {}
    for name, values in parts.items():
        sums = np.stack([
            np.bincount(
                place[seen], weights=np.nan_to_num(value[seen]), minlength=kinds * cells.number
            )
            for value, seen in zip(values, np.isfinite(error), strict=True)
        ]).reshape(len(error), kinds, cells.number)  # fmt: skip
        out[name] = sums.sum(axis=2) if name.startswith("class") else sums
    return out


def _covered(error: np.ndarray, std: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the share of values inside intervals that are made to hold `LEVELS` of them."""
    off = abs(error)
    shares = []
    for level in LEVELS:
        half = NormalDist().inv_cdf((1 + level) / 2) * std
        shares.append((off <= half).sum(axis=(1, 2)) / pixels)
    return np.stack(shares, axis=1)


def _others(
    estimate: np.ndarray, truth: np.ndarray, ratio: float | None
) -> dict[str, np.ndarray | float]:
    """Return the metrics that are no means over pixels, by `xstf.metrics`."""
    dims = ("band", "y", "x")
    e, t = (xr.DataArray(v, dims=dims) for v in (estimate, truth))
    names = ["cc", "psnr"]
    smallest = min(truth.shape[1:])
    names += ["uiqi", "edge"] if smallest >= _EDGE else []
    names += ["ssim"] if smallest >= _SSIM else []
    found = {name: getattr(metrics, name)(e, t, per="band").values for name in names}
    seen = (np.isfinite(estimate) & np.isfinite(truth)).any(axis=(1, 2))
    if seen.sum() > 1:  # an angle needs two bands that are there
        e, t = e[seen], t[seen]
        found["sam"] = float(metrics.sam(e, t))
        found["q2n"] = float(metrics.q2n(e, t)) if smallest >= _EDGE else np.nan
        if ratio is not None:
            found["ergas"] = float(metrics.ergas(e, t, ratio=ratio))
    return found
