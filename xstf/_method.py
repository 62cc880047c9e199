"""The record of a method: what it needs, what it promises, its kernels, how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Task: TypeAlias = Literal["fuse", "gapfill", "sharpen_spectral", "sts"]
Engine: TypeAlias = Literal["numba", "cupy", "torch", "numpy"]
Kernel: TypeAlias = Callable[..., tuple[Any, ...]]

TASKS: tuple[Task, ...] = ("fuse", "gapfill", "sharpen_spectral", "sts")
Schedule: TypeAlias = Literal["constant", "cosine", "plateau"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    patch
        Side of the patches that are drawn, in pixels of the sharp grid.
    batch
        Patches a step.
    epochs, steps
        Rounds with a validation after each, and optimiser steps in one; 0: as many as cover
        the images once.
    rate, betas, decay
        Adam's, with decoupled weight decay (AdamW) on weights that are matrices or kernels.
    schedule
        ``"cosine"`` to a hundredth of the rate, ``"plateau"`` (a tenth after `patience` / 3 epochs
        without progress) or ``"constant"``.
    warmup
        Share of all steps over which the rate rises from 0.
    clip
        Largest norm of the gradient.
    average
        Decay of the running mean of weights (EMA) that is validated and kept; 0: none.
    patience
        Epochs without progress after which training stops; 0: never.
    """

    patch: int = 128
    batch: int = 8
    epochs: int = 60
    steps: int = 0
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    clip: float = 1.0
    average: float = 0.0
    patience: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("patch", "batch", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.rate <= 0 or self.clip <= 0:
            raise ValueError(f"rate and clip must be above 0, not {self.rate} and {self.clip}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average is a decay from 0 to below 1, not {self.average}")
        if self.schedule not in ("constant", "cosine", "plateau"):
            raise ValueError(
                f"schedule must be 'constant', 'cosine' or 'plateau', not {self.schedule!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Net:
    """A method's network, by where its file is: nothing here loads torch.

    Parameters
    ----------
    module
        File in ``xstf/nets``; it has ``build(*, bands, **sizes)`` and, if `adversarial`,
        ``build_critic(*, bands)``.
    sizes
        What `build` is called with besides the bands, unless the caller of ``fit`` says otherwise.
    loss
        Terms and their weights, by the names of ``xstf/train/losses.py``.
    adversarial
        Weight of the least-squares adversarial term; 0: none.
    features
        Whether a term of the loss looks at the features of an autoencoder, which is then trained
        first, on the sharp images.
    base
        What the network's output is added to: the fine image and the interpolated change of the
        coarse ones (``"delta"``), the fine image (``"fine"``), or nothing (``"none"``).
    swap
        Whether training also runs time backwards.
    multiple
        Sides of the tiles that it takes are whole in this.
    learn_pairs
        Image pairs in a lesson, where there are enough dates: 2 for a network of fusion that has a
        way with two pairs of its own, ``several(fine, coarse, coarse1)``, to be learned.
    full, small
        Recipes for a GPU and for a processor with a few minutes.
    """

    module: str
    loss: tuple[tuple[str, float], ...]
    full: Recipe
    small: Recipe
    sizes: Mapping[str, Any] = field(default_factory=dict)
    adversarial: float = 0.0
    features: bool = False
    base: Literal["delta", "fine", "none"] = "delta"
    swap: bool = False
    multiple: int = 1
    learn_pairs: int = 1


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
        ``halo(params, ratio)``: how many fine pixels around a pixel its result depends on.
    kernels
        ``{engine: kernel}``, best first; ``"numpy"`` is the definition that the others are held to.
        A network has one, ``"torch"``.
        A fuse kernel is called as
        ``kernel(fine, coarse, *, ratio, params, state, inner, std)`` with

        - ``fine`` ``(pair, band, y, x)`` and ``coarse`` ``(pair + 1, band, y / ratio, x / ratio)``,
          float32, C order, NaN where missing; the last coarse image is the target date;
        - ``inner`` ``(slice, slice)``: the rows and columns of ``fine`` that are wanted (the rest
          of the tile is halo);
        - ``std``: whether the standard deviation is wanted too.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``, float32, and
        writes to nothing that it was given. At the edge of the tile it shrinks its window.

        A gapfill kernel is called as
        ``kernel(cube, guide, *, times, params, state, inner, std)`` with

        - ``cube`` ``(time, band, y, x)`` and ``guide`` ``(time, guide_band, y, x)``, which lies on
          the cube's dates and grid, or None; float32, C order, NaN where missing;
        - ``times`` ``(time,)``, days since the first date, ascending.

        It returns ``(estimate, std or None, in_space or None)``, each ``(time, band, y, x)`` of
        ``inner``: the estimate float32, NaN where it has nothing to say, at observed pixels
        its smooth if it has one and else anything (the tile puts the observed ones back); the
        standard deviation of a new observation there; and where pixels of the same date made
        the estimate.

        A sharpen_spectral kernel is called as
        ``kernel(spectral, spatial, *, ratio, params, state, inner, std)`` with

        - ``spectral`` ``(band, y / ratio, x / ratio)``, none of its bands missing everywhere, and
          ``spatial`` ``(guide_band, y, x)``, float32, C order, NaN where missing.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``.

        An sts kernel, which serves ``fuse(…, spatial=…)``, is called as ``kernel(spectral, dense,
        sharp, *, times, target, ratios, params, state, inner, std)`` with

        - ``spectral`` ``(pair, band, y / r, x / r)``, ``sharp`` ``(pair, sharp_band, y, x)`` and
          ``dense`` ``(pair + 1, dense_band, y / d, x / d)``, the last one being the target date;
        - ``times`` ``(pair,)`` and ``target``, in days, and ``ratios`` ``(r, d)``; sides are whole
          in both. Its ``halo`` is ``halo(params, ratios)``.

        It returns ``(estimate, std or None)``, each ``(band, y, x)`` of ``inner``.
    pairs
        The fewest and the most image pairs that a fuse kernel takes.
    prepare, settle
        Statistics of the whole image, in two steps. ``prepare(fine, coarse, *, ratio, params)``
        gets the whole arrays, numpy or dask, and returns a dict of small arrays of the same kind,
        by indexing only; ``settle(samples, *, ratio, params)`` turns them, as numpy, into
        the ``state`` that every tile sees.
        A gapfill method has no ``prepare``: ``settle(samples, *, times, params)`` gets windows of
        the scene, ``samples["cube"]`` ``(spot, time, band, y, x)`` and, if there is a guide,
        ``samples["guide"]``; one spot if the scene is small. ``samples["season"]`` may hold what
        `xstf.numerics.seasonal.season_state` says of the scene, to save saying it again.
        Nor has a sharpening method: ``settle(samples, *, ratio, params)`` gets
        ``samples["spectral"]`` ``(band, Y, X)`` and ``samples["spatial"]``
        ``(guide_band, ratio Y, ratio X)``, the scene or stretches of it, and where the caller knows
        them ``samples["srf"]`` ``(guide_band, band)`` and ``samples["fwhm"]`` of the point spread
        function, in coarse pixels. ``samples["shift"]`` is how far the cubes are apart, in fine
        pixels; the verb has moved the spatial one already, and says 0. For sts,
        ``settle(samples, *, ratios, params)`` gets ``spectral``, ``dense`` and ``sharp`` of all
        paired dates, of the scene or stretches of it, and their ``times`` in days.
    state_for_std
        Whether the state serves the standard deviation alone; it is settled only when one is wanted
        then, and ``state`` is empty otherwise.
    smooth
        Whether a gapfill kernel's estimate at observed pixels is its own smooth of them.
    guided
        Whether a gapfill kernel makes use of a guide (SAR, a coarse sensor).
    fewest
        The fewest dates that a gapfill kernel takes; the fewest pairs that an sts kernel takes.
    std
        Whether the kernels can give a standard deviation.
    net
        How its network is built and trained; None for a method without. The kernel of a network is
        told more: ``state["weights"]``, the path or the bytes of a checkpoint; ``origin``, where in
        the image the tile begins, and ``whole``, the image's size, both ``(y, x)``, since networks
        work on a lattice of their own; and the ``device``.
    reference
        Citation with its DOI.
    exempt
        ``{law: reason}`` for the laws (``tests/test_laws.py``) that it does not obey.
    """

    name: str
    task: Task
    summary: str
    params: type[Any]
    halo: Callable[[Any, Any], int]
    kernels: Mapping[Engine, Kernel]
    reference: str
    pairs: tuple[int, int] = (1, 1)
    prepare: Callable[..., dict[str, Any]] | None = None
    settle: Callable[..., dict[str, Any]] | None = None
    std: bool = False
    state_for_std: bool = False
    smooth: bool = False
    guided: bool = False
    fewest: int = 2
    net: Net | None = None
    exempt: Mapping[str, str] = field(default_factory=dict)

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


def network(record: Method) -> Net:
    """Return a record's part on its network; raise if it has none."""
    if not isinstance(record.net, Net):
        raise TypeError(f"{record.name} is no network")
    return record.net
