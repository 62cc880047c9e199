"""Two ways to make a date, from pairs around it or from the whole series, and what each is worth.

Each of some known fine images is left out and made both ways from the others, in the middle of the
scene. With ``e_p`` and ``e_s`` the errors of both ways over the pixels of a date, each date scaled
by the mean of both variances, and all of it summed over dates and bands::

    share = sum (e_p^2 - e_p e_s) / sum (e_p - e_s)^2

is the weight of the series at which the mean of both errs least on the known dates. Half of what is
left of it without its standard error (dates left out of the sum, one by one) is used: a date that
is left out lies twice as far from its neighbours as one between them, which favours the series. On
simulated scenes of ten dates it was over the best weight at the dates between by .2 on the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xstf._method import Method
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting
from xstf.numerics.registration import Registration
from xstf.tiles.frame import (
    Framed,
    Framing,
    moved_sample,
    prepare_framed,
    runs_of,
    settle_framed,
)
from xstf.tiles.fuse import Frame
from xstf.tiles.gpu import to_host
from xstf.tiles.samples import SAMPLE_BYTES, Cells
from xstf.tiles.states import State

# Fine pixels along the side of what is looked at, at most, and coarse pixels at least.
SIDE, LEAST_CELLS = 144, 8
# Coarse pixels' worth of clear fine ones without which a date tells nothing.
FEWEST = 16
# Dates without which they tell nothing; how much of a share is used; a share that is none.
FEWEST_DATES, USED, LITTLE = 3, 0.5, 0.05


class Hidden(NamedTuple):
    """A known date that is left out, as positions among the images of a `Series`.

    Parameters
    ----------
    image, coarse
        The fine image, and the coarse one of its date.
    pairs
        The pairs that it is made from: fine, coarse.
    others
        The fine images that its series has.
    """

    image: int
    coarse: int
    pairs: tuple[tuple[int, int], ...]
    others: tuple[int, ...]


class Series(NamedTuple):
    """The images of a series, in order of time.

    Parameters
    ----------
    fine, coarse
        Positions in their arrays.
    times, coarse_times
        Days.
    reach
        Days that the coarse series counts for beyond its ends.
    """

    fine: tuple[int, ...]
    coarse: tuple[int, ...]
    times: np.ndarray
    coarse_times: np.ndarray
    reach: float


class Ways(NamedTuple):
    """What both ways are worth.

    Parameters
    ----------
    share : float
        Weight of the series in the mean of both, 0 to `USED`.
    alike : float
        Correlation of the errors of both.
    dates : int
        How many known dates told it.
    """

    share: float
    alike: float
    dates: int

    def text(self) -> str:
        """Return it in words."""
        return f"whole series {self.share:.2f} by {self.dates} known dates"

    def spread(self, pairs: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Return the standard deviation of the mean of both ways, of that of each."""
        one, two = (1 - self.share) * pairs, self.share * series
        joint: np.ndarray = np.sqrt(one**2 + two**2 + 2 * self.alike * one * two)
        return joint

    @classmethod
    def of(cls, products: np.ndarray) -> Ways:
        """Return what products of errors tell: pairs squared, series squared, one times the other.

        Parameters
        ----------
        products : ndarray (date, 3)
        """
        count = len(products)
        if count < FEWEST_DATES:
            return cls(0.0, 0.0, count)
        whole = products.sum(axis=0)
        without = np.array([_share(whole - one) for one in products])
        doubt = float(np.sqrt((count - 1) * without.var()))
        share = USED * float(np.clip(_share(whole) - doubt, 0, 1))
        alike = whole[2] / np.sqrt(whole[0] * whole[1]) if whole[0] * whole[1] > 0 else 0.0
        return cls(share if share >= LITTLE else 0.0, float(np.clip(alike, 0, 1)), count)


def _share(products: np.ndarray) -> float:
    pairs, series, both = products
    apart = pairs + series - 2 * both
    return float((pairs - both) / apart) if apart > 0 else 0.0


def ways_state(
    methods: tuple[Method, Method], fine: Array, coarse: Array, nesting: Nesting, series: Series,
    hidden: Sequence[Hidden], frame: Frame,
) -> State:  # fmt: skip
    """Return what finds what both ways are worth, from the middle of the scene.

    Parameters
    ----------
    methods
        That of pairs and that of series.
    fine, coarse
        ``(date, band, y, x)`` on nested grids.
    """
    values = (
        len(series.fine) * fine.shape[1] + len(series.coarse) * fine.shape[1] / nesting.ratio**2
    )
    cells = middle_cells(fine, coarse, nesting, int((SAMPLE_BYTES / (4 * values)) ** 0.5))
    sharp, blurred = cells.of(fine, series.fine, coarse, series.coarse)
    settle = partial(
        settle_ways, methods=methods, series=series, hidden=tuple(hidden), runs=runs_of(cells),
        believe=frame.believe, ratio=nesting.ratio,
    )  # fmt: skip
    return State(settle, {"fine": sharp, "coarse": blurred}, _moved, frame.registration)


def middle_cells(fine: Array, coarse: Array, nesting: Nesting, most: int) -> Cells:
    """Return the coarse pixels in the middle of the scene that lie wholly in the fine image."""
    found = []
    for axis, before in zip((2, 3), nesting.before, strict=True):
        first = -(-before // nesting.ratio)
        count = min((fine.shape[axis] + before) // nesting.ratio, coarse.shape[axis]) - first
        side = min(count, max(LEAST_CELLS, min(SIDE, most) // nesting.ratio))
        cells = first + (count - side) // 2 + np.arange(side)
        inside = (cells[:, None] * nesting.ratio - before + np.arange(nesting.ratio)).ravel()
        found.append((inside, cells))
    (rows, cells_y), (cols, cells_x) = found
    return Cells((rows, cols), (cells_y, cells_x), ((0, 0), (0, 0)))


def _moved(samples: dict[str, Any], registration: Registration) -> dict[str, np.ndarray]:
    """Return the samples with what is known of where they lie."""
    return {
        "fine": to_host(samples["fine"]),
        "coarse": to_host(samples["coarse"]),
        "shift": np.array(registration.shift),
        "spill": np.array(registration.spill),
    }


def settle_ways(
    samples: Mapping[str, np.ndarray], *, methods: tuple[Method, Method], series: Series,
    hidden: Sequence[Hidden], runs: Any, believe: bool, ratio: int,
) -> Framed:  # fmt: skip
    """Return what both ways are worth on the known dates, as `Ways`."""
    down, right = samples["shift"]
    registration = Registration((int(down), int(right)), float(samples["spill"]))
    fine = moved_sample(samples["fine"], runs, registration.shift, ratio)
    # From here on the sample lies as it should.
    there = registration._replace(shift=(0, 0))
    pairs = partial(_from_pairs, methods[0], fine, samples["coarse"], series, believe, there, runs)
    every = partial(_from_series, methods[1], samples["fine"], samples["coarse"], series)
    found = []
    for one in hidden:
        # A series moves no grid: what it makes is seen along the moved one afterwards.
        whole = moved_sample(every(one, ratio), runs, registration.shift, ratio)
        found.append(_products(fine[one.image], (pairs(one, ratio), whole), ratio))
    told = [one for one in found if one is not None]
    found_out = Ways.of(np.array(told) if told else np.empty((0, 3)))
    return Framed(registration.shift, None, found_out)


def _products(truth: np.ndarray, estimates: Sequence[np.ndarray], ratio: int) -> np.ndarray | None:
    """Return the products of the errors of both ways on one date; None if it tells too little."""
    wrong = [estimate - truth for estimate in estimates]
    both = np.isfinite(wrong[0]) & np.isfinite(wrong[1])
    count = both.sum(axis=(1, 2))
    if (count < FEWEST * ratio**2).any():
        return None
    one, two = (np.where(both, w, 0).astype(np.float64) for w in wrong)
    sums = np.stack([(a * b).sum(axis=(1, 2)) for a, b in ((one, one), (two, two), (one, two))])
    scale = (sums[0] + sums[1]) / 2
    scaled: np.ndarray = (sums / np.where(scale > 0, scale, 1)).mean(axis=1)
    return scaled


def _from_pairs(
    record: Method, fine: np.ndarray, coarse: np.ndarray, series: Series, believe: bool,
    registration: Registration, runs: Any, hidden: Hidden, ratio: int,
) -> np.ndarray:  # fmt: skip
    """Return a date as the method of pairs makes it."""
    images = [f for f, _ in hidden.pairs]
    places = [*(c for _, c in hidden.pairs), hidden.coarse]
    some = {"fine": fine[images], "coarse": coarse[places]}
    at = series.coarse_times
    days = tuple(float(at[c] - at[hidden.coarse]) for _, c in hidden.pairs)
    framing, options = Framing(believe, record.believes), record.params()
    found = prepare_framed(
        record.prepare, framing, runs, ratio, options, days, some, registration
    )  # fmt: skip
    state = settle_framed(record.settle, framing, days, ratio, options, found).state
    kernel: Any = record.kernels["numba"]
    estimate: np.ndarray = kernel(
        some["fine"], some["coarse"], ratio=ratio, params=options, state=state,
        inner=_whole(fine), std=False,
    )[0]  # fmt: skip
    return estimate


def _from_series(
    record: Method, fine: np.ndarray, coarse: np.ndarray, series: Series, hidden: Hidden, ratio: int
) -> np.ndarray:
    """Return a date as the method of series makes it."""
    rest = [k for k in hidden.others if k != hidden.image]
    common: dict[str, Any] = {"ratio": ratio, "params": record.params()}
    dates: dict[str, Any] = {
        "times": series.times[rest], "coarse_times": series.coarse_times, "reach": series.reach
    }  # fmt: skip
    state = None
    if record.prepare is not None and record.settle is not None:
        samples = record.prepare(fine[rest], coarse, **common)
        state = record.settle(samples, **common, **dates)
    kernel: Any = record.kernels["numba"]
    estimate: np.ndarray = kernel(
        fine[rest], coarse, targets=series.coarse_times[[hidden.coarse]], state=state,
        inner=_whole(fine), std=False, **common, **dates,
    )[0][0]  # fmt: skip
    return estimate


def _whole(fine: np.ndarray) -> tuple[slice, slice]:
    return slice(0, fine.shape[2]), slice(0, fine.shape[3])
