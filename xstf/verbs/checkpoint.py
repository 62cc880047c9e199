"""How a verb comes by a network's weights: a file, a bundled checkpoint, or a training first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from xstf import weights
from xstf._method import Method, Weights
from xstf._recipe import Net
from xstf.cubes.arrays import Guides
from xstf.tiles.engines import why_missing
from xstf.weights import Manifest
from xstf.weights.running import build

# A network knows one blur: its coarse pixels may be so much larger or smaller than those it saw.
_RATIO_SLACK = 1.3
_STRIDES_BLENDED = 8
_OVERLAPS = 4  # a tile of fusion is at least so many overlaps wide: else most is seen twice


class NetworkParams(Protocol):
    """Parameters that every network has."""

    @property
    def weights(self) -> str:
        """Path or name of a checkpoint, or ``"fit"``."""

    @property
    def tile(self) -> int:
        """Side of the network's tiles; 0: that of its training patches."""

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring tiles share."""

    @property
    def fit(self) -> dict | None:
        """Arguments of :func:`xstf.train.fit`, for ``weights="fit"``."""

    @property
    def save(self) -> str:
        """Where ``weights="fit"`` leaves its checkpoint."""


P = TypeVar("P", bound=NetworkParams)


@dataclass(frozen=True, kw_only=True)
class NetworkCubes:
    """The cubes of a call, as a network's weights are held against them and trained on them.

    Parameters
    ----------
    cubes, reading
        What :func:`xstf.train.fit` is called with: the cubes, and how the verb was told to read
        them.
    bands
        Labels of the bands that the network answers with.
    ratio
        Of the nested grids.
    others
        Labels of the bands of further cubes, by what a manifest's ``extra`` calls them.
    guide_bands
        How many bands the guides of a gap filling have, orbits apart.
    guides
        Labels of the bands that a sharpening network makes its bands of.
    """

    cubes: tuple[Guides | None, ...]
    reading: Mapping[str, Any]
    bands: tuple[Hashable, ...]
    ratio: int = 1
    others: Mapping[str, tuple[Hashable, ...]] = field(default_factory=dict)
    guide_bands: int = 0
    guides: tuple[Hashable, ...] | None = None


def resolve_weights(record: Method, params: P, cubes: NetworkCubes) -> tuple[P, Weights, str]:
    """Return a network's parameters with the side of its tile, its weights, and their origin.

    With ``weights="fit"`` the network is trained first, which computes.
    """
    net = record.net
    if net is None:
        raise TypeError(f"{record.name} is no network")
    missing = why_missing("torch")
    if missing:
        raise ImportError(missing)
    source = _find(record, params, cubes)
    checkpoint = weights.load(source)
    manifest = checkpoint.manifest
    _check_fits(record, manifest, params.weights, cubes)
    _check_network(net, checkpoint, params.weights)
    # What it was trained with is in its manifest; the result goes by the weights alone.
    params = dataclasses.replace(params, fit=None, save="")  # type: ignore[type-var]
    if record.task == "gapfill":
        params = _with_prior(params, manifest)
    params = dataclasses.replace(params, tile=_tile_side(record, net, params, manifest))  # type: ignore[type-var]
    found = Weights(source, net.module, net.multiple, net.learn_pairs > 1, checkpoint.sha256)
    return params, found, _origin(manifest, checkpoint.sha256)


def lattice_tile(params: NetworkParams) -> int:
    """Return the side of an eager run's tiles, which are made of whole strides of the lattice.

    A network's tile that answers for its centre is run once by tiles of one stride. One that fades
    into its neighbours is run by each tile that it reaches: large ones repeat little.
    """
    stride = params.tile - params.overlap
    return stride if getattr(params, "blend", "crop") == "crop" else _STRIDES_BLENDED * stride


# --- pieces -----------------------------------------------------------------------------------


def _find(record: Method, params: NetworkParams, cubes: NetworkCubes) -> str | bytes:
    """Return the path of the checkpoint that ``weights=`` names, or one trained on the cubes."""
    name = params.weights
    if name == "fit":
        from xstf.train import fit  # loads torch

        twice = sorted((params.fit or {}).keys() & {*cubes.reading, "out"})
        if twice:
            raise ValueError(
                f"fit= has {twice}, which the verb says itself (out= is save= here); leave them out"
            )
        out = params.save or None
        found = fit(record, *cubes.cubes, **{**cubes.reading, **(params.fit or {})}, out=out)
        return str(found.path.resolve()) if found.path else found.checkpoint
    if params.fit or params.save:
        raise ValueError(f'fit= and save= go with weights="fit", not with weights={name!r}')
    bundled = ", ".join(weights.bundled()) or "none come with this version"
    ways = (
        f"weights='file.safetensors' (xstf.train.fit({record.name!r}, ...) writes one), "
        "weights='fit' (trains on these cubes first), or the name of a bundled checkpoint "
        f"({bundled})"
    )
    if not name:
        raise ValueError(f"{record.name} is a network and needs weights: {ways}")
    path = Path(name)
    file = path if path.is_file() else weights.find(name)
    if file is None:
        raise ValueError(f"there is no checkpoint {name!r}; give {ways}")
    return str(file.resolve())


def _check_network(net: Net, checkpoint: weights.Checkpoint, name: str) -> None:
    """Raise if the network that a manifest describes is not the one that its weights are of.

    It is built without numbers, which takes no time, before anything is computed.
    """
    import torch

    try:
        with torch.device("meta"):
            module = build(net.module, checkpoint.manifest)
        weights.check_architecture(module, checkpoint)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights={name!r}: {error}") from error


def _check_fits(record: Method, manifest: Manifest, name: str, cubes: NetworkCubes) -> None:
    """Raise if a checkpoint is of another method, or was trained for other data."""
    if manifest.method != record.name:
        raise ValueError(f"weights={name!r} are of {manifest.method!r}, not of {record.name!r}")
    _compare("bands", manifest.bands, cubes.bands, name)
    if abs(math.log(cubes.ratio / manifest.ratio)) > math.log(_RATIO_SLACK):
        raise ValueError(
            f"weights={name!r} were trained with coarse pixels {manifest.ratio:g} fine pixels "
            f"wide, here they are {cubes.ratio}"
        )
    for other, labels in cubes.others.items():
        _compare(other, manifest.extra[other], labels, name)
    trained = len(manifest.extra.get("guide_mean", ()))
    if record.task == "gapfill" and trained != cubes.guide_bands:
        raise ValueError(
            f"weights={name!r} were trained with {trained} guide bands (orbits count apart), here "
            f"are {cubes.guide_bands}; give sar= and guide= as in training"
        )
    if cubes.guides is not None:
        want, have = manifest.extra["guides"], [str(b) for b in cubes.guides]
        if want != have:
            raise ValueError(
                f"these weights make bands of {len(want)} others, {want}; spatial has {len(have)}, "
                f"{have}: select or reorder its bands"
            )


def _compare(what: str, trained: Sequence[str], here: tuple[Hashable, ...], name: str) -> None:
    """Raise if a cube's bands are others than those of a checkpoint."""
    have = [str(b) for b in here]
    if list(trained) != have:
        raise ValueError(
            f"weights={name!r} were trained on {what.replace('_', ' ')} {list(trained)}, the cube "
            f"has {have}; select or reorder the cube's bands"
        )


def _with_prior(params: P, manifest: Manifest) -> P:
    """Return parameters with the prior that the weights correct; raise if another was asked for."""
    asked = getattr(params, "prior", "")
    if asked not in ("", manifest.base):
        raise ValueError(
            f"weights={params.weights!r} were trained to correct prior={manifest.base!r}, not "
            f"{asked!r}"
        )
    return dataclasses.replace(params, prior=manifest.base)  # type: ignore[type-var]


def _tile_side(record: Method, net: Net, params: NetworkParams, manifest: Manifest) -> int:
    """Return the side of the network's tiles: asked for or of its training, whole in its steps."""
    if params.tile % net.multiple:
        raise ValueError(
            f"{record.name} takes tiles whole in {net.multiple}, not tile={params.tile}"
        )
    widest = (_OVERLAPS if record.task == "fuse" else 2) * params.overlap
    side = params.tile or max(manifest.patch, widest)
    return -(-side // net.multiple) * net.multiple


def _origin(manifest: Manifest, sha256: str) -> str:
    """Return in words where weights come from, and which file they were."""
    parts = [f"xstf {manifest.version}", manifest.sensors, manifest.data, manifest.licence]
    text = ", ".join(p for p in parts if p)
    if "mae" in manifest.scores:
        text += f", mae {manifest.scores['mae']:.4g} on what was held out"
    return f"{text}, sha256 {sha256}"
