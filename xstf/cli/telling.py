"""What a command says: its result on standard output, all else on standard error."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Parameters
    ----------
    text
        For people; "" where a file is the result.
    data
        The same for machines, as ``--json`` prints it.
    status
        Of the process.
    of_verb
        Whether the text is a verb's, which names arguments where people know options.
    """

    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    of_verb: bool = False


def report(text: str, arguments: argparse.Namespace) -> None:
    """Print on stderr, unless it is to be quiet."""
    if not arguments.quiet:
        print(text, file=sys.stderr)


def bar_wanted(arguments: argparse.Namespace) -> bool:
    """Return whether someone watches stderr and wants progress bars."""
    return sys.stderr.isatty() and not arguments.quiet


def plain(value: Any) -> Any:
    """Return a value as JSON has it: text for dates and paths, null for what is no number."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "item") and not hasattr(value, "isoformat") and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, bool | int) else str(value)
