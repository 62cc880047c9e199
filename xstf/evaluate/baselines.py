"""The trivial ways that a method must beat: records, but offered by `xstf.evaluate` alone.

Of gap filling the trivial ways, the observation nearest in time and the line between two of them,
are methods themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf._method import Method
from xstf.numerics.upsample import upsample_numpy


@dataclass(frozen=True)
class Params:
    """Nothing to choose."""


def _unchanged(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None]:
    return fine[0][:, inner[0], inner[1]].copy(), None


def _delta(
    fine: np.ndarray,
    coarse: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None]:
    change = upsample_numpy(coarse[-1:] - coarse[:-1], ratio=ratio)
    each = (fine + change)[:, :, inner[0], inner[1]]
    seen = ~np.isnan(each)
    count = seen.sum(axis=0)
    total = np.where(seen, each, 0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32), None


UNCHANGED = Method(
    name="unchanged",
    task="fuse",
    summary="The fine image of the nearest date as it is.",
    params=Params,
    halo=lambda params, ratio: 0,
    kernels={"numpy": _unchanged},
    reference="none: a baseline",
    exempt={"offset": "does not look at the coarse images"},
)

DELTA = Method(
    name="delta",
    task="fuse",
    summary="The fine image plus the bilinear change of the coarse ones; the mean over two pairs.",
    params=Params,
    halo=lambda params, ratio: ratio,
    kernels={"numpy": _delta},
    reference="none: a baseline",
    pairs=(1, 2),
)


def _interpolated(
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    ratio: int,
    params: Params,
    state: None,
    inner: tuple[slice, slice],
    std: bool,
) -> tuple[np.ndarray, None]:
    fine = upsample_numpy(spectral, ratio=ratio)
    return fine[:, inner[0], inner[1]].astype(np.float32), None


INTERPOLATED = Method(
    name="interpolated",
    task="sharpen_spectral",
    summary="The coarse bands interpolated bilinearly; the sharp ones are not looked at.",
    params=Params,
    halo=lambda params, ratio: ratio,
    kernels={"numpy": _interpolated},
    reference="none: a baseline",
)

BASELINES: tuple[Method, ...] = (UNCHANGED, DELTA)
