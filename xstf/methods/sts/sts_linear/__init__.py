"""Linear spatio-temporal-spectral fusion: many bands on small pixels on the dates of a third cube.

Everything is estimated from the three cubes, by least squares: a subspace of spectra, what they are
on the dates that have them, how the temporal bands follow from them, how these changed since, and
what spectra follow from that change. The equations, their order and what was chosen are below.

The problem is that of Peng, Li, Zhou and Li, "A long-time-series spatio-temporal-spectral fusion
method via multi-task learning", which solves it by a network alone. A linear fusion below the
network was found to be worth far more than the network; this one is ours, and what `sts` adds to.
`xstf/methods/sts/estimate.py` has the equations, with what was chosen and why; in short:

1. Spectra are few coefficients of a subspace that is learned from all paired dates together; on a
   paired date they are the most probable ones given both cubes (`sharpen_spectral`'s `fuse`).
2. The temporal bands follow from them linearly, and what two sensors do not agree in is smooth.
3. On the date wanted, the temporal bands at the spatial grid are those of the dates around it,
   interpolated in time, and what a local regression of the temporal cube's departure from that
   says.
4. Coefficients depart by ``D`` times that; ``D`` is learned by predicting each inner paired date
   from its neighbours as if it were none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf._checks import check_at_least
from xstf._method import Method, StsSamples, usual_lattice
from xstf.methods.sts.sts_linear import estimate
from xstf.methods.sts.sts_linear.steps import DateImages


@dataclass(frozen=True)
class Params:
    """Parameters of the linear fusion of series.

    Parameters
    ----------
    rank : int
        The most directions of the subspace of spectra; those that noise could make are never taken.
    """

    rank: int = estimate.RANK

    def __post_init__(self) -> None:
        """Refuse a subspace of nothing."""
        check_at_least(self, rank=1)


def halo(params: Params, ratios: tuple[int, int]) -> int:
    """Return how far a pixel's result may reach, in spatial pixels."""
    return estimate.halo(ratios)


def settle(samples: StsSamples, *, ratios: tuple[int, int], params: Params) -> estimate.State:
    """Return what tiles need to know of the whole scene."""
    return estimate.settle(samples, ratios=ratios, rank=params.rank)


def _numpy(
    spectral: np.ndarray, temporal: np.ndarray, spatial: np.ndarray, *, times: np.ndarray,
    target: float, ratios: tuple[int, int], params: Params, state: estimate.State,
    inner: tuple[slice, slice], std: bool,
) -> tuple[np.ndarray, None]:  # fmt: skip
    """Run the steps one after the other; all are matrix products, which numpy does well."""
    date = DateImages(spectral, temporal, spatial, times, target)
    return estimate.predict(date, ratios=ratios, state=state, inner=inner), None


METHOD = Method(
    name="sts_linear",
    task="sts",
    summary="Least squares in spectrum, time and space; the default of fuse(…, spatial=…).",
    params=Params,
    halo=halo,
    lattice=usual_lattice,
    kernels={"numpy": _numpy},
    settle=settle,
    fewest=1,
    reference="ours; the form of the problem is Peng et al.'s",
    exempt={"tiles": "step 1 decays but never ends; seams are below 3e-4 of the range of values"},
)
