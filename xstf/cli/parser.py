"""The parser of a command: options before or after files, errors in one line with a suggestion."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from xstf.cubes.words import meant

Takes: TypeAlias = Callable[[str], bool]

_NUMBERS = re.compile(r"-\.?\d")
_DATE = re.compile(r"[\d/T:+.Z-]*\d{4}[\d/T:+.Z-]*")
_FILE = re.compile(r"[/\\*?:]|\.(nc|nc4|cdf|zarr|tiff?|jp2)$", re.IGNORECASE)
_UNKNOWN = re.compile(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser whose options may have several values and still stand before files.

    `spread` names such options, each with the test of what is a value of it: what fails the test is
    a file again. Options that are given twice add up.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(
            **given,
            allow_abbrev=False,  # what a short form means would change with every new option
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.spread: dict[str, Takes] = {}
        self.optional: dict[str, tuple[str, Takes]] = {}
        self.commands: dict[str, Parser] = {}

    def add_commands(self) -> Any:
        """Add commands, each with a parser of its own; `commands` has them by name."""
        found = self.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        self.commands = found.choices
        return found

    def add_several(self, name: str, *, takes: Takes, group: Any = None, **given: Any) -> None:
        """Add an option that takes values as long as they look like its own."""
        (group or self).add_argument(name, action="append", **given)
        self.spread[name] = takes

    def add_optional(
        self, name: str, *, usual: str, takes: Takes, group: Any = None, **given: Any
    ) -> None:
        """Add an option whose value may be left out: it is the usual one then."""
        (group or self).add_argument(name, **given)
        self.optional[name] = (usual, takes)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the arguments in words; exit with status 2 where they are wrong."""
        found, left = self.parse_known_intermixed_args(self._plain(words))
        if left:
            self.refuse(left)
        return found

    def _plain(self, words: Sequence[str]) -> list[str]:
        """Return words with each value of an option joined to the option's name."""
        plain: list[str] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if word == "--":
                return [*plain, word, *left]
            if word in self.optional:
                usual, takes = self.optional[word]
                plain.append(f"{word}={left.pop(0) if left and takes(left[0]) else usual}")
            elif word in self.spread:
                values = self._values(left, self.spread[word])
                plain += [_joined(word, value) for value in values] or [word]
            elif left and _NUMBERS.match(left[0]) and self._takes_one(word):
                plain.append(_joined(word, left.pop(0)))
            else:
                plain.append(word)
        return plain

    def _values(self, left: list[str], takes: Takes) -> list[str]:
        """Take from the words that are left those that are values of an option: one at least."""
        values: list[str] = []
        while left and (not left[0].startswith("-") or _NUMBERS.match(left[0])):
            if values and not takes(left[0]):
                break
            values.append(left.pop(0))
        return values

    def _takes_one(self, word: str) -> bool:
        action = self._option_string_actions.get(word)
        return action is not None and action.nargs is None

    def refuse(self, left: Sequence[str]) -> NoReturn:
        """Exit on words that mean nothing here."""
        unknown = [word.partition("=")[0] for word in left if word.startswith("-")]
        if not unknown:
            self.error(f"nothing takes {' '.join(map(repr, left))}")
        known = [option for option in self._option_string_actions if option.startswith("--")]
        self.error(f"no option {unknown[0]}{meant(unknown[0], known)}")

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and the message in one line, with the nearest name."""
        choice = _UNKNOWN.search(message)
        if choice:
            names = re.findall(r"'?([\w.-]+)'?(?:, |$)", choice[3])
            message = (
                f"{choice[1]} has no choice {choice[2]!r}; there are {', '.join(names)}"
                f"{meant(choice[2], names)}"
            )
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _joined(name: str, value: str) -> str:
    return f"{name}={value}" if name.startswith("--") else f"{name}{value}"


def is_date(word: str) -> bool:
    """Return whether a word is a date, or two with a stroke between; a file of that name is not."""
    return bool(_DATE.fullmatch(word)) and not Path(word).exists()


def is_number(word: str) -> bool:
    """Return whether a word is a number, or several with commas between."""
    return bool(re.fullmatch(r"[-+\d.eE,]*\d[-+\d.eE,]*", word)) and not Path(word).exists()


def is_name(word: str) -> bool:
    """Return whether a word may be the name of a variable, and not a file or a folder."""
    return bool(re.fullmatch(r"\w[\w ]*", word)) and not Path(word).exists()


def is_band(word: str) -> bool:
    """Return whether a word may be a band, or several with commas between, and not a file."""
    return not _FILE.search(word) and not Path(word).exists()


def is_path(word: str) -> bool:
    """Return whether a word may be a path: what is no option may."""
    return bool(word)
