"""How a verb comes by a network's weights: a file, a bundled checkpoint, or a training first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xstf import weights
from xstf._method import Method, Weights
from xstf.tiles.engines import why_missing

# A network knows one blur: its coarse pixels may be so much larger or smaller than those it saw.
_RATIO_SLACK = 1.3
_STRIDES_BLENDED = 8
_OVERLAPS = 4  # a tile of fusion is at least so many overlaps wide: else most is seen twice


def resolve_weights(
    record: Method,
    options: Any,
    *,
    bands: tuple[Any, ...],
    ratio: int,
    fit: Callable[[], Any],
    others: Mapping[str, tuple[Any, ...]] | None = None,
    guides: int = 0,
) -> tuple[Any, Weights, str]:
    """Return a network's parameters with its tile's side, its weights, and where they come from.

    Parameters
    ----------
    record, options
        The method and its parameters.
    bands
        Labels of the cube's bands.
    ratio
        Of the nested grids.
    fit
        ``fit()`` trains on the verb's own cubes and returns a `Fitted`.
    others
        Labels of the bands of further cubes, by what a manifest's ``extra`` calls them.
    guides
        How many bands the guides of a gap filling have, orbits apart.
    """
    if record.net is None:
        raise TypeError(f"{record.name} is no network")
    missing = why_missing("torch")
    if missing:
        raise ImportError(missing)
    source = fit().checkpoint if options.weights == "fit" else _file(record, options, weights)
    manifest = weights.load(source).manifest
    _check(record, manifest, options.weights, bands, ratio)
    for name, labels in (others or {}).items():
        _compare(name, manifest.extra[name], labels, options.weights)
    trained = len(manifest.extra.get("guide_mean", ()))
    if record.task == "gapfill" and trained != guides:
        raise ValueError(
            f"weights={options.weights!r} were trained with {trained} guide bands (orbits count "
            f"apart), here are {guides}; give sar= and guide= as in training"
        )
    if record.task == "gapfill":
        if options.prior not in ("", manifest.base):
            raise ValueError(
                f"weights={options.weights!r} were trained to correct prior={manifest.base!r}, not "
                f"{options.prior!r}"
            )
        options = dataclasses.replace(options, prior=manifest.base)
    multiple = record.net.multiple
    widest = _OVERLAPS * options.overlap if record.task == "fuse" else 2 * options.overlap
    side = options.tile or max(manifest.patch, widest)
    if options.tile % multiple:
        raise ValueError(f"{record.name} takes tiles whole in {multiple}, not tile={options.tile}")
    options = dataclasses.replace(options, tile=-(-side // multiple) * multiple)
    # Another file under an old name is another state to dask.
    written = Path(source).stat().st_mtime_ns if isinstance(source, str) else 0
    found = Weights(source, record.net.module, multiple, record.net.learn_pairs > 1, written)
    return options, found, _story(manifest)


def lattice_tile(options: Any) -> int:
    """Return the side of an eager run's tiles, which are made of whole strides of the lattice.

    A network's tile that answers for its centre is run once by tiles of one stride. One that fades
    into its neighbours is run by each tile that it reaches: large ones repeat little.
    """
    stride: int = options.tile - options.overlap
    return stride if options.blend == "crop" else _STRIDES_BLENDED * stride


def _file(record: Method, options: Any, weights: Any) -> str:
    """Return the path of the checkpoint that ``weights=`` names; it has to be there."""
    ways = (
        f"weights='file.safetensors' (xstf.train.fit({record.name!r}, ...) writes one), "
        "weights='fit' (trains on these cubes first), or the name of a bundled checkpoint "
        f"(there are {weights.bundled()})"
    )
    if not options.weights:
        raise ValueError(f"{record.name} is a network and needs weights: {ways}")
    path = Path(options.weights)
    found = path if path.is_file() else weights.find(options.weights)
    if found is None:
        raise ValueError(f"there is no checkpoint {options.weights!r}; give {ways}")
    return str(Path(found).resolve())


def _check(record: Method, manifest: Any, name: str, bands: tuple[Any, ...], ratio: int) -> None:
    """Raise if a checkpoint is of another method, or was trained for other data."""
    if manifest.method != record.name:
        raise ValueError(f"weights={name!r} are of {manifest.method!r}, not of {record.name!r}")
    _compare("bands", manifest.bands, bands, name)
    if abs(math.log(ratio / manifest.ratio)) > math.log(_RATIO_SLACK):
        raise ValueError(
            f"weights={name!r} were trained with coarse pixels {manifest.ratio:g} fine pixels "
            f"wide, here they are {ratio}"
        )


def _compare(what: str, trained: Sequence[str], here: tuple[Any, ...], name: str) -> None:
    """Raise if a cube's bands are others than those of a checkpoint."""
    have = [str(b) for b in here]
    if list(trained) != have:
        raise ValueError(
            f"weights={name!r} were trained on {what.replace('_', ' ')} {list(trained)}, the cube "
            f"has {have}; select or reorder the cube's bands"
        )


def _story(manifest: Any) -> str:
    """Return in words where weights come from."""
    parts = [f"xstf {manifest.version}", manifest.sensors, manifest.data, manifest.licence]
    told = ", ".join(p for p in parts if p)
    if "mae" in manifest.scores:
        told += f", mae {manifest.scores['mae']:.4g} on what was held out"
    return told
