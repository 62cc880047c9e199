"""Words of messages: names that exist, never an empty list, and the nearest to an unknown name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterable
from difflib import get_close_matches

# Share of letters that a mistyped name has in common with the one that was meant.
_CLOSE = 0.6


def nearest(name: object, names: Iterable[object]) -> str | None:
    """Return the name that was probably meant: one spelled alike, or one that this is short for.

    Case, dashes and the like do not matter.

    Examples
    --------
    >>> nearest("starfmm", ["estarfm", "starfm"]), nearest("S2A", ["landsat-8", "sentinel-2a"])
    ('starfm', 'sentinel-2a')
    """
    spelled = {_letters(known): str(known) for known in names}
    given = _letters(name)
    alike = get_close_matches(given, spelled, n=1, cutoff=_CLOSE)
    longer = [known for known in spelled if _is_short_for(given, known)]
    return next((spelled[known] for known in (*alike, *longer)), None)


def _letters(name: object) -> str:
    return "".join(c for c in str(name).lower() if c.isalnum())


def _is_short_for(given: str, known: str) -> bool:
    """Return whether a name begins as another and has its letters in their order."""
    left = iter(known)
    return len(given) > 1 and given[0] == known[:1] and all(c in left for c in given)


def meant(name: object, names: Iterable[object]) -> str:
    """Return the question after the nearest name, with the mark before it; "" if none is near."""
    near = nearest(name, names)
    return "" if near is None else f"; did you mean {near!r}?"


def listed(names: Iterable[object]) -> str:
    """Return a list as it is written in a message: "none" for an empty one."""
    return str(list(names) or "none")


def there_are(names: Collection[object]) -> str:
    """Return which names there are, as part of a sentence."""
    return f"there are {list(names)}" if names else "there are none"


def unknown(what: str, name: object, names: Collection[object]) -> str:
    """Return the sentence on a name that does not exist.

    Examples
    --------
    >>> unknown("fuse method", "starfn", ["estarfm", "starfm"])
    "no fuse method 'starfn'; there are ['estarfm', 'starfm']; did you mean 'starfm'?"
    """
    return f"no {what} {name!r}; {there_are(names)}{meant(name, names)}"


def shortened(value: object, length: int = 60) -> str:
    """Return a value as it is written in code, in one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def warn_user(message: str) -> None:
    """Warn at the line of the caller's code that called into this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("xstf"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level + 1)
