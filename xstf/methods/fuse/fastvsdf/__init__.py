"""FastVSDF: classes of pixels that look alike and change alike, unmixed, corrected and smoothed.

Xu et al. (2024), FastVSDF: An Efficient Spatiotemporal Data Fusion Method for Seamless Data Cube,
IEEE Transactions on Geoscience and Remote Sensing 62, doi:10.1109/TGRS.2024.3353758. It is a
faster form of VSDF: Xu et al. (2022), Remote Sensing of Environment 283, 113309,
doi:10.1016/j.rse.2022.113309.

For each pair, with fine image F, its coarse image C and the coarse image T of the target date::

    g   = guided filter of T - C, led by C, read at F       (the change that details suggest)
    m_c = share of class c in a fine pixel                  (classes: k-means on g and F)
    n   = max(covers ** 2 (1 - difference / change), covers)
    A_c = share of class c in a coarse pixel                (mean of m_c over it)
    T - C = sum_c A_c b_c                                   (unmixed: b_c per band)
    d   = sum_c m_c b_c
    R   = (T - C) - S mean(d)                               (residual, S: what the sensor sees)
    d   = d + guided filter of R, led by C, read at F       (global residual)
    d   = Gaussian mean of d over pixels of the same cover  (local residual)
    out = F + d

    guided filter of y = mean y + slope (F - mean C),  slope = cov(y, C) / (var C + noise)

``n`` is the number of classes. ``change`` is the mean over bands of the standard deviation of
T - C, in that of C, and ``difference`` the same of the mean of F over coarse pixels less C: the
less two sensors agree, the fewer classes a change can tell apart. The ``covers`` of the last step
come from k-means on F alone.

Where this differs from the paper and its authors' code, judged on simulated scenes:

- Classes come from pixels all over the image. The paper picks them near edges of the first
  principal component; with the third of the pixels where it is steepest, errors were 1 to 3 %
  higher, and the thresholds of an edge detector hang on the unit of the data.
- Classes and covers are soft: a pixel between two centres takes part in both, which lowers errors
  by 1 to 3 % and leaves nothing to the last digit of a centre. The centres start from cuts along
  principal axes, so no random numbers or order of pixels has a say.
- Every band of g and F has the same weight in the comparison, whatever its unit. The code scales g
  to 0..1 by its extremes and leaves F.
- A coarse pixel sees beyond its border. The share of its neighbours in it is found by comparing F
  with C; unmixing and residual use it. Without, errors are a fifth higher where it blurs; for
  coarse images that are block means it is found to be 0.
- A small ridge holds rare and always mixed classes near the common change.
- The slopes of both guided filters are found on coarse pixels, with the weights that a window of
  the paper's size (two coarse pixels wide, and one) has on average, and are interpolated. The
  means are interpolated too: for a window one coarse pixel wide this is the same.
- The noise of the guided filters is in proportion to the variance of C (1e-4 for g, 0.3 for the
  residual), in place of 1e-7 and 1e-3 for images between 0 and 1. No unit is special.
- The number of classes compares patterns, without the levels of the images. Then a constant on T
  is a constant on the result. The authors' code adds 100 digital numbers to both coarse images,
  which belongs to their data and is left out.
- The result is not cut to 0..1: the code sets what lies outside to 0.
- Two pairs, which the paper does not treat: both predictions, weighed by the inverse variance of
  the coarse change (its pattern, not its level).

The bands of a pixel belong together: a pixel missing in one band has no class and is missing in
all. Bands that are missing everywhere are left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xstf._checks import check_above, check_at_least
from xstf._method import Method
from xstf.methods.fuse.fastvsdf.classes import (
    ONE_WIDE,
    SOFT,
    PairState,
    Upsample,
    find_state,
    neutral,
    slope,
    stack_features,
)
from xstf.methods.fuse.fastvsdf.cuda import smooth as smoothed_there
from xstf.methods.fuse.fastvsdf.smoothing import reach, smooth, smooth_numpy
from xstf.numerics.cuda.unmixing import mix as mixed_there
from xstf.numerics.cuda.upsample import upsample as lifted_there
from xstf.numerics.degrade import block_means
from xstf.numerics.patches import Samples, blend, pair_weights, patches_of, sample_patches
from xstf.numerics.unmixing import Classes, predict, see
from xstf.numerics.upsample import upsample, upsample_numpy

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# A coarse value goes into the window means of the next coarse pixel, into g up to the middle of the
# one after it and so into the mean of d there, to the next by S, and to one and a half by the last
# filter: four and a half coarse pixels.
COARSE_REACH = 5


@dataclass(frozen=True)
class Params:
    """What the user may set.

    Parameters
    ----------
    covers : int
        Number of land covers; the number of classes that change alike lies between it and its
        square.
    sigma : float
        Standard deviation of the Gaussian mean within covers, in fine pixels.
    ridge : float
        How much class changes are held together, relative to the variance of the class shares.
    """

    covers: int = 5
    sigma: float = 3.75
    ridge: float = 0.1

    def __post_init__(self) -> None:
        """Check the values."""
        check_at_least(self, covers=1)
        check_above(self, sigma=0, ridge=0)


class State(NamedTuple):
    """What tiles need to know of the whole scene.

    Parameters
    ----------
    pairs : tuple of PairState
    weights : ndarray (pair, band)
        Inverse variances of the coarse changes.
    """

    pairs: tuple[PairState, ...]
    weights: np.ndarray


def _halo(params: Params, ratio: int) -> int:
    return reach(params.sigma) + COARSE_REACH * ratio


def _settle(samples: Samples, *, ratio: int, params: Params) -> State:
    """Return what `find_state` finds of each pair, and the weights of the pairs."""
    patches = patches_of(samples)
    pairs = range(patches[0][0].shape[0])
    found = tuple(
        find_state([(f[p], c[p], c[-1]) for f, c in patches], params.covers, params.ridge)
        for p in pairs
    )
    return State(found, pair_weights(np.stack([f.variance for f in found])))


class Engine(NamedTuple):
    """What an engine does in its own way.

    Parameters
    ----------
    upsampled
        Takes maps of coarse pixels to the fine grid.
    mix
        Mixes values of classes by a pixel's shares in them: `_mix_numpy`.
    smooth
        Averages a change over pixels of the same cover: `smooth_numpy`.
    """

    upsampled: Upsample
    mix: Callable[[np.ndarray, Classes, np.ndarray, int], np.ndarray]
    smooth: Callable[[np.ndarray, np.ndarray, tuple[slice, slice], float], np.ndarray]


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
) -> tuple[np.ndarray, None]:
    """Return the estimate, pair by pair and then blended."""
    results = []
    for p, pair in enumerate(state.pairs):
        change = _changes(fine[p], coarse[p], coarse[-1], pair, engine)
        share = engine.mix(fine[p], pair.covers, np.eye(len(pair.covers.centres)), ratio)
        results.append(fine[p][:, *inner] + engine.smooth(share, change, inner, params.sigma))
    return blend(results, state.weights), None


def _changes(
    fine: np.ndarray,
    coarse: np.ndarray,
    target: np.ndarray,
    pair: PairState,
    engine: Engine,
) -> np.ndarray:
    """Return the change ``(band, y, x)`` before it is smoothed: classes and global residual."""
    classes, ratio = pair.classes, fine.shape[-1] // coarse.shape[-1]
    features = stack_features(fine, coarse, target - coarse, pair.power, engine.upsampled)
    change = engine.mix(neutral(features, classes), classes, pair.step, ratio)
    left = target - coarse - see(block_means(change, ratio), pair.spill)
    layers = np.stack([*slope(left, coarse, pair.power, ONE_WIDE, SOFT)[:1], left, coarse])
    lean, residual, guide = engine.upsampled(layers.astype(np.float32), ratio)
    added: np.ndarray = change + residual + lean * (fine - guide)
    return added


def _upsample_numpy(layers: np.ndarray, ratio: int) -> np.ndarray:
    return upsample_numpy(layers, ratio=ratio)


def _mix_numpy(image: np.ndarray, classes: Classes, values: np.ndarray, ratio: int) -> np.ndarray:
    """Return ``values (n, class) @ shares`` at each pixel, NaN where a live band is missing."""
    mean, scale, centres, spread = classes
    live = ~np.isnan(scale)
    if not live.any():
        return np.full((len(values), *image.shape[1:]), np.nan)
    scaled = (image[live] - mean[live, None, None]) * scale[live, None, None]
    distance = np.stack([((scaled - c[live, None, None]) ** 2).sum(axis=0) for c in centres])
    share = np.exp((distance.min(axis=0) - distance) / (2.0 * spread))
    mixed: np.ndarray = np.einsum("nc,cyx->nyx", values, share / share.sum(axis=0))
    return mixed


def _mix(image: np.ndarray, classes: Classes, values: np.ndarray, ratio: int) -> np.ndarray:
    """Return the same by compiled loops."""
    flat = np.zeros((len(values), len(image)))
    return predict(image, ratio, classes, values, flat)[0]


def _mix_there(image: DeviceArray, classes: Classes, values: np.ndarray, ratio: int) -> DeviceArray:
    """Return the same on the GPU."""
    return mixed_there(image, classes, values, np.zeros((len(values), len(image))))


_numpy = partial(_kernel, engine=Engine(_upsample_numpy, _mix_numpy, smooth_numpy))
_numba = partial(_kernel, engine=Engine(upsample, _mix, smooth))
_cupy = partial(_kernel, engine=Engine(lifted_there, _mix_there, smoothed_there))

METHOD = Method(
    name="fastvsdf",
    task="fuse",
    summary="Unmixes the coarse change by classes that look and change alike; for one pair.",
    params=Params,
    halo=_halo,
    kernels={"numba": _numba, "cupy": _cupy, "numpy": _numpy},
    reference="Xu et al. 2024, doi:10.1109/TGRS.2024.3353758",
    pairs=(1, 2),
    prepare=sample_patches,
    settle=_settle,
    costly=True,
    std=True,
)
