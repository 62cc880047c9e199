"""The record of a method: what it needs, what it promises, its kernels, how it is trained."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from xstf._recipe import Net

if TYPE_CHECKING:  # it loads numba
    from xstf.numerics.seasonal import SceneSeason

Task: TypeAlias = Literal["fuse", "gapfill", "sharpen_spectral", "sts"]
Engine: TypeAlias = Literal["numba", "cupy", "torch", "numpy"]
Inner: TypeAlias = tuple[slice, slice]

# The most pairs of a method that takes any number.
ANY_NUMBER = 1_000_000

TASKS: tuple[Task, ...] = ("fuse", "gapfill", "sharpen_spectral", "sts")

P_contra = TypeVar("P_contra", contravariant=True)  # a method's parameters
S_contra = TypeVar("S_contra", contravariant=True)  # what its tiles know of the whole image


# --- what methods are given -------------------------------------------------------------------


class GapfillSamples(NamedTuple):
    """Windows of the scene at fixed places, for `settle` of a gap-filling method.

    Parameters
    ----------
    cube
        ``(window, time, band, y, x)``, outliers missing; one window if the scene is small.
    guide
        ``(window, time, guide_band, y, x)``, or None.
    season
        What `xstf.numerics.seasonal.season_state` learned from the windows, where it was needed
        before; None: not yet.
    asked
        ``(time,)`` bool: dates without an image, which a caller only asks for; None if there are
        none. They are no evidence: a method settles as if they were not, and gives its state an
        entry for them where it has one a date.
    """

    cube: np.ndarray
    guide: np.ndarray | None = None
    season: SceneSeason | None = None
    asked: np.ndarray | None = None

    def images(self, times: np.ndarray) -> tuple[GapfillSamples, np.ndarray]:
        """Return the samples and the days of the dates that have an image."""
        if self.asked is None:
            return self, times
        there = ~self.asked
        guide = None if self.guide is None else self.guide[:, there]
        return GapfillSamples(self.cube[:, there], guide, self.season), times[there]


class SharpenSamples(NamedTuple):
    """The scene, or stretches of it, for `settle` of a sharpening method.

    Parameters
    ----------
    spectral, spatial
        ``(band, Y, X)``, none of its bands missing everywhere, and ``(guide_band, ratio Y, ratio
        X)``, moved already so that both lie alike.
    srf
        ``(guide_band, band)``: how the spatial bands respond, where the caller knows.
    fwhm
        Of the spectral cube's point spread function in coarse pixels, where the caller knows: one
        for all bands, or ``(band,)``.
    shift
        How far the cubes are apart in fine pixels, ``(down, right)``, where that is settled: the
        verb has moved the spatial one already, and says 0.
    """

    spectral: np.ndarray
    spatial: np.ndarray
    srf: np.ndarray | None = None
    fwhm: float | np.ndarray | None = None
    shift: np.ndarray | None = None


class StsSamples(NamedTuple):
    """All paired dates of the scene, or of blocks of it, for `settle` of an sts method.

    Parameters
    ----------
    spectral, temporal, spatial
        ``(pair, band, Y, X)`` each on its own grid.
    times
        ``(pair,)``, days.
    """

    spectral: np.ndarray
    temporal: np.ndarray
    spatial: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class Weights:
    """The weights of a network, as a verb found them.

    Parameters
    ----------
    source
        Path of a checkpoint, or what is in one.
    module
        File of ``xstf/nets`` that builds the network.
    multiple
        Sides of its tiles are whole in this.
    taught
        Whether it was trained on several image pairs at a time.
    sha256
        Of what is in the checkpoint: other bytes under an old name are other weights.
    """

    source: str | bytes
    module: str
    multiple: int = 1
    taught: bool = False
    sha256: str = ""


class NetworkCall(NamedTuple):
    """What the kernel of a network is told besides: as its keyword ``network``.

    Parameters
    ----------
    weights
        The checkpoint.
    origin, whole
        Where in the image the tile begins, and the size of the image, both ``(y, x)``: networks
        work on a lattice of their own.
    device
        Torch's; None for the GPU if there is one, else the processor.
    first_day
        Of a cube to fill: days from 1 January to its first date.
    bands
        Of a cube to sharpen: which of the network's bands it has; None for all.
    """

    weights: Weights
    origin: tuple[int, int]
    whole: tuple[int, int]
    device: str | None = None
    first_day: float = 0.0
    bands: np.ndarray | None = None


# --- kernels ----------------------------------------------------------------------------------


class FuseKernel(Protocol[P_contra, S_contra]):
    """One date of a fusion. A kernel is pure, and at the edge of its tile it shrinks its window.

    Parameters
    ----------
    fine
        ``(pair, band, y, x)``, float32, C order, NaN where missing; sides are whole in `ratio`.
    coarse
        ``(pair + 1, band, y / ratio, x / ratio)``, alike; the last image is the target date.
    ratio
        Coarse pixel size / fine pixel size.
    params, state
        The method's parameters, and what its ``settle`` returned (None for a method without).
    inner
        Rows and columns of `fine` that are wanted; the rest of the tile is halo.
    std
        Whether the standard deviation is wanted.

    Returns
    -------
    estimate, std
        ``(band, y, x)`` of `inner`, float32; None for a standard deviation that is not wanted, or
        that the method does not have (see ``std`` of `Method`).
    """

    def __call__(
        self,
        fine: np.ndarray,
        coarse: np.ndarray,
        *,
        ratio: int,
        params: P_contra,
        state: S_contra,
        inner: Inner,
        std: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run on one tile."""


class SeriesKernel(Protocol[P_contra, S_contra]):
    """Several dates of a fusion that looks at all images at once: a record with ``series=True``.

    Parameters
    ----------
    fine
        ``(date, band, y, x)``, float32, C order, NaN where missing; sides are whole in `ratio`.
    coarse
        ``(coarse date, band, y / ratio, x / ratio)``, alike.
    times, coarse_times
        Days of both, ascending, from one origin.
    targets
        ``(target,)``, days of the wanted dates, ascending.
    reach
        Days before the first and after the last coarse image for which that one still counts.
    ratio, params, state, inner, std
        As for :class:`FuseKernel`.

    Returns
    -------
    estimate, std
        ``(target, band, y, x)`` of `inner`, float32; None for a standard deviation that is not
        wanted.
    """

    def __call__(
        self,
        fine: np.ndarray,
        coarse: np.ndarray,
        *,
        times: np.ndarray,
        coarse_times: np.ndarray,
        targets: np.ndarray,
        reach: float,
        ratio: int,
        params: P_contra,
        state: S_contra,
        inner: Inner,
        std: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run on one tile."""


class GapfillKernel(Protocol[P_contra, S_contra]):
    """A tile of a filled cube.

    Parameters
    ----------
    cube
        ``(time, band, y, x)``, float32, C order, NaN where missing.
    guide
        ``(time, guide_band, y, x)`` on the cube's dates and grid, or None.
    times
        ``(time,)``, days since the first date, ascending.
    params, state, inner, std
        As for :class:`FuseKernel`.

    Returns
    -------
    estimate, std, in_space
        ``(time, band, y, x)`` of `inner`: the estimate, NaN where there is none; at observed pixels
        its smooth if the method has one, else anything (the tile puts the observed ones back). The
        standard deviation of a new observation there, or None. Where pixels of the same date made
        the estimate, or None.
    """

    def __call__(
        self,
        cube: np.ndarray,
        guide: np.ndarray | None,
        *,
        times: np.ndarray,
        params: P_contra,
        state: S_contra,
        inner: Inner,
        std: bool,
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Run on one tile."""


class Direct(Protocol[P_contra]):
    """Fills pixels of a cube straight into the result: one pass over memory instead of several.

    Parameters
    ----------
    cube
        ``(time, band, pixel)``, float32, C order, as it came: what is not finite, or beyond
        `xstf.cubes.limits.LARGEST`, is missing.
    out
        Of the same form, to be written: the estimates of missing pixels, NaN where there is none,
        and the observed ones bit for bit. Others than those of `pixels` are left alone.
    order
        ``(time,)``: where the dates are in both, in order of time.
    pixels
        Those that are wanted.
    times, params
        As for :class:`GapfillKernel`.
    """

    def __call__(
        self,
        cube: np.ndarray,
        out: np.ndarray,
        order: np.ndarray,
        pixels: slice,
        *,
        times: np.ndarray,
        params: P_contra,
    ) -> None:
        """Run on some of the pixels."""


class SharpenKernel(Protocol[P_contra, S_contra]):
    """One date of a sharpened cube.

    Parameters
    ----------
    spectral
        ``(band, y / ratio, x / ratio)``, float32, C order, NaN where missing; none of its bands is
        missing everywhere in the image.
    spatial
        ``(guide_band, y, x)``, alike.
    ratio, params, state, inner
        As for :class:`FuseKernel`.
    std
        False: sharpening gives no standard deviation, as :func:`xstf.sharpen_spectral` says.

    Returns
    -------
    estimate, std
        ``(band, y, x)`` of `inner`, float32, and None.
    """

    def __call__(
        self,
        spectral: np.ndarray,
        spatial: np.ndarray,
        *,
        ratio: int,
        params: P_contra,
        state: S_contra,
        inner: Inner,
        std: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run on one tile."""


class StsKernel(Protocol[P_contra, S_contra]):
    """One date of a spatio-temporal-spectral fusion, for ``fuse(…, spatial=…)``.

    Parameters
    ----------
    spectral
        ``(pair, band, y / r, x / r)``, float32, C order, NaN where missing.
    temporal
        ``(pair + 1, temporal_band, y / d, x / d)``, the last image being the target date.
    spatial
        ``(pair, spatial_band, y, x)``; sides are whole in both ratios.
    times, target
        ``(pair,)`` and a number, days.
    ratios
        ``(r, d)``.
    params, state, inner, std
        As for :class:`FuseKernel`.

    Returns
    -------
    estimate, std
        ``(band, y, x)`` of `inner`, float32; None for a standard deviation that is not wanted.
    """

    def __call__(
        self,
        spectral: np.ndarray,
        temporal: np.ndarray,
        spatial: np.ndarray,
        *,
        times: np.ndarray,
        target: float,
        ratios: tuple[int, int],
        params: P_contra,
        state: S_contra,
        inner: Inner,
        std: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run on one tile."""


Kernel: TypeAlias = (
    FuseKernel[Any, Any]
    | SeriesKernel[Any, Any]
    | GapfillKernel[Any, Any]
    | SharpenKernel[Any, Any]
    | StsKernel[Any, Any]
)


# --- records ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to do one task: what it needs, what it promises, and its kernels.

    Parameters
    ----------
    name
        The name users type, the paper's own in lower case.
    task
        The verb it serves.
    summary
        One sentence for tables: what it does, for which data.
    params
        A frozen dataclass type; its fields are the keyword arguments that the verb accepts, and its
        ``__post_init__`` checks their values.
    halo
        ``halo(params, ratio)``: how many fine pixels around a pixel its result depends on; for sts
        ``halo(params, ratios)``.
    kernels
        ``{engine: kernel}``, best first; ``"numpy"`` is the definition that the others are held to.
        A network has one, ``"torch"``, which takes one more keyword, ``network``, a `NetworkCall`.
        See `FuseKernel`, `SeriesKernel`, `GapfillKernel`, `SharpenKernel`, `StsKernel`.
    pairs
        The fewest and the most image pairs that a fuse kernel takes.
    series
        Whether a fuse method takes all dates at once, and makes many: its kernels are
        `SeriesKernel`, and its ``settle`` gets ``times``, ``coarse_times`` and ``reach`` besides.
    prepare, settle
        Statistics of the whole image. For fusion in two steps: ``prepare(fine, coarse, *, ratio,
        params)`` picks small arrays out of samples of whole images, shaped as a kernel's, and
        ``settle(samples, *, ratio, params)`` makes of them the ``state`` that every tile sees.
        Other methods have ``settle`` alone: of `GapfillSamples` with ``times`` and ``params``, of
        `SharpenSamples` with ``ratio`` and ``params``, of `StsSamples` with ``ratios`` and
        ``params``.
    state_for_std
        Whether the state serves the standard deviation alone; it is settled only when one is wanted
        then, and ``state`` is None otherwise.
    direct
        What its gapfill ``"numba"`` kernel gives at halo 0 and without a state, straight from a
        cube in memory into the result: see :class:`Direct`. None: by its kernel alone.
    smooth
        Whether a gapfill kernel's estimate at observed pixels is its own smooth of them.
    guided
        Whether a gapfill kernel makes use of a guide (SAR, a coarse sensor).
    alone
        ``alone(params)``: the parameters with which a gapfill method looks at no other pixels of
        the image, for series without space; None for a method that never does (its halo is 0) or
        that cannot do without them.
    fewest
        The fewest dates that a gapfill kernel takes; the fewest pairs that an sts kernel takes.
    std
        Whether there is a standard deviation: the kernels can give one. That of a fusion is made in
        the tiles (`xstf.numerics.doubt`) of what the scene tells, and a kernel gives its own part
        or None; but it is the kernel's alone of a method that ``believes``, and of a series. That
        of a gap filling is the kernel's, made as wide as hidden pixels of the scene say.
    whole
        A method of whole series that a fusion method of pairs is averaged with, where the known
        dates of a scene tell that this is worth it (`xstf.tiles.ways`).
    believes
        Whether a fusion method shrinks coarse changes by their noise itself: it sees them as they
        are, and its ``settle`` takes two more keywords, ``belief`` (`xstf.numerics.belief.Belief`,
        or None where that is not wanted) and ``days``, from the target date to the pairs' dates.
        The verb does it for other methods. Its ``prepare`` takes these and ``known``: for one pair
        of several the fine and coarse images ``(2, band, y, x)`` of that pair and of another one,
        else None. An attempt of two pairs is for pixels that both see; others are made of one.
    net
        How its network is built and trained; None for a method without.
    lattice
        ``lattice(params, ratio)``: the side of the tiles that the kernel is run on, in fine pixels,
        whole in the ratio (in both ratios for sts). For a method whose result depends on where its
        tile ends, as iterative solvers' do: its tiles then count from the image's corner, whatever
        the chunks; `usual_lattice` is one. So does a method of products of matrices over a tile's
        pixels, which round as the matrices are large. None: the kernel gives the same numbers, bit
        for bit, on any tile.
    reference
        Citation with its DOI.
    exempt
        ``{law: reason}`` for the laws (``tests/test_laws.py``) that it does not obey.
    costly
        Whether the laws take over two seconds each for it, or numba many to compile its loops:
        they are marked ``slow`` then.
    """

    name: str
    task: Task
    summary: str
    params: type[Any]
    halo: Callable[[Any, Any], int]
    kernels: Mapping[Engine, Kernel]
    reference: str
    pairs: tuple[int, int] = (1, 1)
    series: bool = False
    whole: Method | None = None
    prepare: Callable[..., dict[str, Any]] | None = None
    settle: Callable[..., Any] | None = None
    std: bool = False
    believes: bool = False
    state_for_std: bool = False
    direct: Direct[Any] | None = None
    smooth: bool = False
    guided: bool = False
    alone: Callable[[Any], Any] | None = None
    fewest: int = 2
    net: Net | None = None
    lattice: Callable[[Any, Any], int] | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)
    costly: bool = False

    def __post_init__(self) -> None:
        """Check what every floor above relies on."""
        if self.task not in TASKS:
            raise ValueError(f"method {self.name!r}: task {self.task!r} is none of {list(TASKS)}")
        if "numpy" not in self.kernels and self.net is None:
            raise ValueError(f"method {self.name!r} has no 'numpy' kernel, its definition")
        if self.net is not None and list(self.kernels) != ["torch"]:
            raise ValueError(f"method {self.name!r} is a network: its one kernel is 'torch'")
        if self.task != "fuse":
            if self.prepare is not None:
                raise ValueError(f"method {self.name!r}: {self.task} methods have settle alone")
        elif (self.prepare is None) != (self.settle is None):
            raise ValueError(f"method {self.name!r} needs both prepare and settle, or neither")

    def in_time(self, params: Any) -> Any | None:
        """Return the parameters for series without space; None for a method that needs space."""
        if self.task != "gapfill" or self.net is not None:
            return None
        own = params if self.alone is None else self.alone(params)
        return own if self.halo(own, 1) == 0 else None

    def __repr__(self) -> str:
        """Show what a user chooses by: the task, the engines, the parameters' defaults."""
        fields = dataclasses.fields(self.params) if dataclasses.is_dataclass(self.params) else ()
        own = [f.name if f.default is MISSING else f"{f.name}={f.default!r}" for f in fields]
        kind = "network" if self.net is not None else "method"
        head = f"<xstf {kind} {self.name!r} for {self.task}, on {', '.join(self.kernels)}"
        listed = ", ".join(own) or "no parameters"
        return textwrap.fill(f"{head}: {listed}>", 100, subsequent_indent="  ")


def network(record: Method) -> Net:
    """Return a record's part on its network; raise if it has none."""
    if not isinstance(record.net, Net):
        raise TypeError(f"{record.name} is no network")
    return record.net


LATTICE = 256


def usual_lattice(params: object, ratio: int | tuple[int, ...]) -> int:
    """Return a side of about 256 fine pixels, whole in the ratio or ratios: a record's `lattice`.

    Examples
    --------
    >>> usual_lattice(None, 30), usual_lattice(None, (6, 4))
    (270, 252)
    """
    step = math.lcm(*(ratio if isinstance(ratio, tuple) else (ratio,)))
    return max(1, round(LATTICE / step)) * step
