"""How a network is built and trained: what its method's record says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

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
        Image pairs in an example, where there are enough dates: 2 for a network of fusion that has
        a way with two pairs of its own, ``several(fine, coarse, coarse1)``, to be learned.
    full, small
        Recipes for a GPU and for a processor with a few minutes.
    tiny, tiny_critic
        Sizes with which tests build the network and its critic, in place of its own: as small as
        they may be with every part of it in use.
    blind
        Which of ``fine0``, ``coarse0`` and ``coarse1`` a network of fusion does not look at; tests
        hold it to that, and to looking at the others.
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
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_critic: Mapping[str, Any] = field(default_factory=dict)
    blind: tuple[str, ...] = ()
