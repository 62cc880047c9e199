"""The manifest of a checkpoint: what one must know of weights in order to use them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, SupportsFloat

from xstf._version import __version__

_MAY_BE_EMPTY = frozenset({"sensors", "data", "licence"})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one must know of a checkpoint in order to use it.

    Parameters
    ----------
    method, task
        The method's name, and the verb that it serves.
    bands
        Labels of the bands, as text, in the order of the weights.
    sizes
        Arguments of the network's ``build`` besides the bands; JSON values (tuples become lists).
    low, high
        Of each band: ``scaled = (value - low) / (high - low)``, in the data's units.
    base
        What the network's output is added to, see ``Net`` of the method's record.
    ratio
        Coarse pixel size / fine pixel size of the training data.
    patch
        Side of the patches it was trained on, in fine pixels.
    extra
        The method's own further JSON values.
    sensors, data, licence
        Sensors of the training data, what they were, and the licence they are under.
    scores
        Finite results of the validation, by the metric's name; leave out what has no value.
    version
        The xstf that trained it.

    Raises
    ------
    TypeError
        A field is of another type, or holds what JSON cannot.
    ValueError
        A field is empty, lengths differ from that of `bands`, or a number is not finite.
    """

    method: str
    task: str
    bands: tuple[str, ...]
    sizes: dict[str, Any]
    low: tuple[float, ...]
    high: tuple[float, ...]
    base: str
    ratio: float
    patch: int
    sensors: str
    data: str
    licence: str
    extra: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        """Check every field; lists become tuples and numbers plain floats, as after loading."""
        for name in ("method", "task", "base", "version", "sensors", "data", "licence"):
            _check_text(name, getattr(self, name), may_be_empty=name in _MAY_BE_EMPTY)
        self._set("bands", _texts("bands", self.bands))
        for name in ("low", "high"):
            self._set(name, _numbers(name, getattr(self, name), len(self.bands)))
        self._check_scaling()
        self._set("ratio", _number("ratio", self.ratio))
        if self.ratio <= 0:
            raise ValueError(f"ratio must be above 0, not {self.ratio:g}")
        if isinstance(self.patch, bool) or not isinstance(self.patch, int):
            raise TypeError(f"patch must be an int, not {type(self.patch).__name__}")
        if self.patch < 1:
            raise ValueError(f"patch must be 1 or more, not {self.patch}")
        for name in ("sizes", "extra"):
            self._set(name, _plain(name, getattr(self, name)))
        _check_table("scores", self.scores)
        self._set("scores", {k: _number(f"score {k!r}", v) for k, v in self.scores.items()})

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_scaling(self) -> None:
        for band, low, high in zip(self.bands, self.low, self.high, strict=True):
            if high <= low:
                raise ValueError(f"band {band!r} is scaled from {low:g} to {high:g}: not upwards")


def parse_manifest(text: str) -> dict[str, Any]:
    """Return the table that a JSON text holds, ValueError if it holds none."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("its metadata are nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("its metadata are no table of fields")
    return values


def read_manifest(text: str) -> Manifest:
    """Return the manifest that a text holds, ValueError or TypeError if it is none."""
    values = parse_manifest(text)
    names = {f.name for f in fields(Manifest)}
    if values.keys() != names:
        lacks, more = sorted(names - values.keys()), sorted(values.keys() - names)
        raise ValueError(f"its manifest lacks {lacks} and has {more} besides: of another xstf?")
    return Manifest(**values)


def _check_text(name: str, value: object, may_be_empty: bool) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if not value and not may_be_empty:
        raise ValueError(f"{name} is empty")


def _texts(name: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of text, not {type(values).__name__}")
    for value in values:
        _check_text(name, value, may_be_empty=False)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must be one or more different labels, not {values}")
    return tuple(values)


def _number(name: str, value: object) -> float:
    # JSON has numbers only; numpy's have a __float__ too.
    if isinstance(value, (str, bool)) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {number}")
    return number


def _numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of numbers, not {type(values).__name__}")
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} values for {count} bands")
    return tuple(_number(name, value) for value in values)


def _check_table(name: str, values: object) -> None:
    if not isinstance(values, dict):
        raise TypeError(f"{name} must be a dict, not {type(values).__name__}")
    if not all(isinstance(key, str) for key in values):
        raise TypeError(f"the keys of {name} must be text, not {list(values)}")


def _plain(name: str, values: object) -> dict[str, Any]:
    """Return a table as JSON gives it back, so that a manifest equals itself after loading."""
    _check_table(name, values)
    try:
        plain: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    return plain
