"""Checkpoints of networks: safetensors files that hold all that their use needs.

A checkpoint holds the weights and a :class:`Manifest`: the method, the sizes of the network, the
bands and their scaling, what it was trained on and under which licence, and how well it did. Both
are covered by a SHA-256, since a flipped bit in a weight would otherwise load without a word.
Files are only ever parsed as safetensors, never unpickled: loading one runs no code of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstf.weights.manifest import Manifest, parse_manifest, read_manifest

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHECKPOINT = "xstf checkpoint 1"
_STATE = "xstf training state 2"
_SUFFIX = ".safetensors"
_BUNDLED = Path(__file__).parent / "bundled"
_LARGEST_HEADER = 100_000_000  # bytes; the format allows no more
_NAMED = 3  # names that a message lists before it only counts

# How files begin that are often taken for checkpoints.
_PICKLE = "which may hold code: only safetensors are read"
_FOREIGN = {
    b"PK\x03\x04": f"it is a zip archive, as torch.save writes them, {_PICKLE}",
    **{bytes((0x80, n)): f"it is a Python pickle, {_PICKLE}" for n in range(2, 6)},
    b"<": "it is a web page (HTML or XML); was the download refused?",
    b"version https://git-lfs": "it is a Git LFS pointer; fetch the file with 'git lfs pull'",
    b"\x89HDF": "it is an HDF5 file",
    b"\x1f\x8b": "it is compressed with gzip; unpack it first",
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights, and their manifest.

    Parameters
    ----------
    manifest
        How they are to be used.
    tensors
        The network's ``state_dict``, on the CPU.
    sha256
        Of the file that it was loaded from, or of a file's bytes; "" for one that was made in
        memory.
    """

    manifest: Manifest
    tensors: dict[str, Tensor]
    sha256: str = ""


def save(path: str | Path, tensors: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Write a checkpoint and return its path; the file is there whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``; an existing file is replaced.
    tensors : mapping of str to Tensor
        The network's ``state_dict``, on any device; all numbers finite.
    manifest : Manifest

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Another ending, or weights that are not finite.
    OSError
        The place cannot be written to.
    """
    return _write(_checked_path(path), to_bytes(tensors, manifest))


def to_bytes(tensors: Mapping[str, Tensor], manifest: Manifest) -> bytes:
    """Return the content of a checkpoint's file; parameters as in :func:`save`."""
    data = _pack(tensors, _CHECKPOINT, json.dumps(asdict(manifest), allow_nan=False))
    _check_finite(tensors)
    return data


def load(source: str | Path | bytes) -> Checkpoint:
    """Return the checkpoint in a file, or in a file's bytes, if it is whole and unchanged.

    Parameters
    ----------
    source : path or bytes

    Returns
    -------
    Checkpoint

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        It is no checkpoint, or a damaged one; the message is one line with the path and the size.
    """
    _torch()
    name, data = _read(source)
    with _naming(name, data, "checkpoint"):
        tensors, text = _unpack(data, _CHECKPOINT)
        manifest = read_manifest(text)
        _check_finite(tensors)
    return Checkpoint(manifest, tensors, hashlib.sha256(data).hexdigest())


def fill(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network of the same architecture.

    Parameters
    ----------
    module : Module
        As ``build`` made it with the manifest's bands and sizes; its device and types stay.
    checkpoint : Checkpoint

    Raises
    ------
    ValueError
        Names or shapes of the weights differ; the network is then left as it was.
    """
    check_architecture(module, checkpoint)
    module.load_state_dict(checkpoint.tensors, strict=True)


def check_architecture(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Raise ValueError if a checkpoint's weights have other names or shapes than a network's.

    Parameters
    ----------
    module : Module
        On any device, also ``"meta"``, where it has shapes and no numbers.
    checkpoint : Checkpoint
    """
    have, want = checkpoint.tensors, module.state_dict()
    shared = sorted(have.keys() & want.keys())
    faults = {
        "missing": sorted(want.keys() - have.keys()),
        "unexpected": sorted(have.keys() - want.keys()),
        "of another shape": [n for n in shared if have[n].shape != want[n].shape],
    }
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in faults.items() if names]
    if found:
        raise ValueError(
            f"the checkpoint of {checkpoint.manifest.method!r} does not fit this network of "
            f"{len(want)} weights: {', '.join(found)}; build it with the manifest's bands and sizes"
        )


def describe(path: str | Path) -> str:
    """Return the content of a checkpoint in lines of text."""
    path = Path(path)
    checkpoint = load(path)
    m, tensors = checkpoint.manifest, checkpoint.tensors.values()
    scaling = zip(m.bands, m.low, m.high, strict=True)
    rows = {
        "method": f"{m.method} ({m.task}), xstf {m.version}",
        "bands": ", ".join(f"{band} {low:g} to {high:g}" for band, low, high in scaling),
        "sizes": _listed(m.sizes),
        "base": m.base,
        "ratio": f"{m.ratio:g}",
        "patch": f"{m.patch} pixels",
        "sensors": m.sensors or "not stated",
        "data": m.data or "not stated",
        "licence": m.licence or "not stated",
        "scores": _listed({k: f"{v:.6g}" for k, v in m.scores.items()}),
        "extra": _listed(m.extra),
        "weights": f"{sum(t.numel() for t in tensors):,} in {len(tensors)} tensors",
        "file": f"{path.stat().st_size:,} bytes",
        "sha256": checkpoint.sha256,
    }
    return "\n".join([str(path), *(f"  {key:8} {value}" for key, value in rows.items())])


def bundled() -> list[str]:
    """Return the names of the checkpoints that come with xstf."""
    return sorted(path.stem for path in _BUNDLED.glob(f"*{_SUFFIX}"))


def find(name: str) -> Path | None:
    """Return the path of a checkpoint that comes with xstf, None if there is none of that name."""
    return _BUNDLED / f"{name}{_SUFFIX}" if name in bundled() else None


def save_state(
    path: str | Path, tensors: Mapping[str, Tensor], notes: Mapping[str, object]
) -> Path:
    """Write the state of a training and return its path; the file is there whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``; an existing file is replaced.
    tensors : mapping of str to Tensor
        Of any type and shape, finite or not: weights, an optimiser's moments, counters.
    notes : dict
        JSON values beside them, infinities included.

    Returns
    -------
    Path

    Raises
    ------
    TypeError
        Notes that JSON cannot hold.
    ValueError
        Another ending.
    OSError
        The place cannot be written to.
    """
    return _write(_checked_path(path), _pack(tensors, _STATE, json.dumps(dict(notes))))


def load_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the notes of a training's state; faults as in :func:`load`."""
    _torch()
    name, data = _read(path)
    with _naming(name, data, "training state"):
        tensors, text = _unpack(data, _STATE)
        notes = parse_manifest(text)
    return tensors, notes


def _torch() -> tuple[Any, Any]:
    """Return torch and safetensors.torch, or say which extra brings them."""
    try:
        import safetensors.torch
        import torch
    except ImportError as error:
        raise ImportError("checkpoints need torch and safetensors; install xstf[torch]") from error
    return torch, safetensors.torch


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise ValueError(f"{path.name}: the name must end in {_SUFFIX}")
    return path


def _write(path: Path, data: bytes) -> Path:
    """Write beside the path and move there at once: a kill leaves the old file or the new one."""
    whole = path.resolve()  # a link stays a link
    part = whole.with_name(f".{whole.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, whole)  # noqa: PTH105 - the one call that is atomic on every system
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        # Missing once moved; NotADirectoryError where the folder is a file.
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return path


def _pack(tensors: Mapping[str, Tensor], mark: str, text: str) -> bytes:
    """Return a safetensors file of tensors and a text, the same bytes for the same content."""
    torch, safetensors_torch = _torch()
    from safetensors import SafetensorError

    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"weights are tensors by name, not {type(tensor).__name__} {name!r}")
    # Cloned: tensors that share memory cannot be stored as they are.
    plain = {n: t.detach().to("cpu").contiguous().clone() for n, t in sorted(tensors.items())}
    metadata = {"format": mark, "manifest": text, "sha256": _digest(plain, text)}
    try:
        data: bytes = safetensors_torch.save(plain, metadata=metadata)
    except (KeyError, SafetensorError) as error:
        kinds = sorted({str(t.dtype) for t in plain.values()})
        raise ValueError(f"safetensors cannot hold all of {kinds}: {error}") from error
    return _sorted_header(data)


def _sorted_header(data: bytes) -> bytes:
    """Return the file with its metadata in order: the writer's order changes from run to run."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 over a text and over names, types, shapes and bytes of tensors."""
    torch, _ = _torch()
    total = hashlib.sha256(json.dumps(text).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _read(source: str | Path | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "<bytes>", source
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    return str(path), path.read_bytes()


@contextmanager
def _naming(name: str, data: bytes, kind: str) -> Iterator[None]:
    """Turn a fault of content into one line that names the file."""
    try:
        yield
    except (ValueError, TypeError) as error:
        digest = hashlib.sha256(data).hexdigest()[:12]
        text = f"{name} ({len(data)} bytes, sha256 {digest}…) is no {kind} of xstf: {error}"
        raise ValueError(" ".join(text.split())) from error


def _unpack(data: bytes, mark: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the text of a file with a mark, once the digest agrees."""
    _, safetensors_torch = _torch()
    from safetensors import SafetensorError

    metadata = _header(data).get("__metadata__")
    if not isinstance(metadata, dict):
        raise ValueError("it is a safetensors file without metadata")
    found, text = metadata.get("format"), metadata.get("manifest")
    if found != mark:
        raise ValueError(f"its format is {str(found)[:40]!r}, not {mark!r}")
    try:
        tensors: dict[str, Tensor] = safetensors_torch.load(data)
    # KeyError: a type that torch has not; RuntimeError, TypeError: a shape that torch cannot hold.
    except (SafetensorError, KeyError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"it is damaged: {str(error)[:160]}") from error
    if not isinstance(text, str) or metadata.get("sha256") != _digest(tensors, text):
        raise ValueError("its SHA-256 is not that of its content: it was changed or damaged")
    return tensors, text


def _header(data: bytes) -> dict[str, Any]:
    """Return the parsed header of a safetensors file, or say what the file is instead."""
    if not data:
        raise ValueError("it is empty")
    length, rest = int.from_bytes(data[:8], "little"), len(data) - 8
    if length <= rest:
        try:
            header = json.loads(data[8 : 8 + length])
        except (ValueError, RecursionError):
            header = None
        if isinstance(header, dict):
            return header
    for start, meaning in _FOREIGN.items():
        if data[:512].lstrip().startswith(start):
            raise ValueError(meaning)
    if length <= rest:
        raise ValueError("its header is not that of a safetensors file")
    if rest < 0 or (length <= _LARGEST_HEADER and data[8:9] in (b"{", b"")):
        raise ValueError("it is cut short within its header")
    raise ValueError(f"its header claims {length} bytes: it is no safetensors file")


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    bad = []
    for name, tensor in tensors.items():
        # Types of one byte know no isfinite.
        number = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if not bool(number.isfinite().all()):
            bad.append(name)
    if bad:
        raise ValueError(f"{len(bad)} weights hold NaN or infinity ({_some(bad)})")


def _some(names: list[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:_NAMED])
    return shown + (", …" if len(names) > _NAMED else "")


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "none"
