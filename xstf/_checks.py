"""Checks of parameters: one wording for each kind, for the ``__post_init__`` of `Params`."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Real


def check_at_least(params: object, **least: float) -> None:
    """Raise ValueError unless each of a record's fields, named with its least value, reaches it.

    A field whose least value is an int must be a whole number.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_at_least(SimpleNamespace(rank=0), rank=1)
    Traceback (most recent call last):
    ...
    ValueError: rank=0: give a whole number of at least 1
    """
    for name, bound in least.items():
        value = getattr(params, name)
        whole = isinstance(bound, int)
        fits = _is_number(value) and value >= bound and (not whole or value == int(value))
        if not fits:
            kind = "whole number" if whole else "number"
            raise ValueError(f"{name}={value!r}: give a {kind} of at least {bound:g}")


def check_above(params: object, **bounds: float) -> None:
    """Raise ValueError unless each of a record's fields is a finite number above its bound."""
    for name, bound in bounds.items():
        value = getattr(params, name)
        if not _is_number(value) or not value > bound:
            raise ValueError(f"{name}={value!r}: give a finite number above {bound:g}")


def check_below(params: object, **bounds: float) -> None:
    """Raise ValueError unless each of a record's fields is a finite number below its bound."""
    for name, bound in bounds.items():
        value = getattr(params, name)
        if not _is_number(value) or not value < bound:
            raise ValueError(f"{name}={value!r}: give a finite number below {bound:g}")


def check_between(params: object, **ranges: tuple[float, float]) -> None:
    """Raise ValueError unless each of a record's fields lies in its range, both ends included."""
    for name, (low, high) in ranges.items():
        value = getattr(params, name)
        if not _is_number(value) or not low <= value <= high:
            raise ValueError(f"{name}={value!r}: give a number from {low:g} to {high:g}")


def check_odd(params: object, **least: int) -> None:
    """Raise ValueError unless each of a record's fields is odd and reaches its least value."""
    for name, bound in least.items():
        value = getattr(params, name)
        if not _is_number(value) or value < bound or value % 2 != 1:
            raise ValueError(f"{name}={value!r}: give an odd whole number of at least {bound}")


def check_flags(params: object, *names: str) -> None:
    """Raise ValueError unless each of a record's fields is True or False."""
    for name in names:
        value = getattr(params, name)
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: give True or False")


def check_one_of(params: object, **choices: Collection[object]) -> None:
    """Raise ValueError unless each of a record's fields is one of its choices."""
    for name, allowed in choices.items():
        value = getattr(params, name)
        if value not in allowed:
            listed = ", ".join(repr(choice) for choice in allowed)
            raise ValueError(f"{name}={value!r}: give one of {listed}")


def _is_number(value: object) -> bool:
    # Numbers of numpy are numbers too.
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
