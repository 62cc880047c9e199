"""Which files are which input: by their places, by options, ``FILE:VARIABLE``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from xstf.cubes.words import meant

_CUBES = (".nc", ".nc4", ".cdf")
_IMAGES = (".tif", ".tiff", ".jp2")
_WILD = re.compile(r"[*?\[]")
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+://")


@dataclass(frozen=True)
class Input:
    """The files of one cube.

    Parameters
    ----------
    name
        As messages call it: fine, coarse.
    paths
        Files, a folder, a pattern, or an address.
    variable
        Which of their variables is meant; None for the only one, or all.
    pattern
        Which files of a folder are meant.
    option
        The option that gives the pattern; "" where a pattern stands as the path alone.
    """

    name: str
    paths: tuple[str, ...]
    variable: str | None = None
    pattern: str | None = None
    option: str = ""

    def __str__(self) -> str:
        more = f" and {len(self.paths) - 1} more files" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}{f':{self.variable}' if self.variable else ''}"


def split_variable(word: str) -> tuple[str, str | None]:
    r"""Return a path, and the variable after its last colon, if that is none of the path's own.

    Examples
    --------
    >>> split_variable("cube.nc:ndvi"), split_variable(r"C:\data\cube.nc")
    (('cube.nc', 'ndvi'), ('C:\\data\\cube.nc', None))
    >>> split_variable("s3://bucket/cube.zarr"), split_variable("s3://bucket/cube.zarr:ndvi")
    (('s3://bucket/cube.zarr', None), ('s3://bucket/cube.zarr', 'ndvi'))
    """
    path, colon, variable = word.rpartition(":")
    drive = len(path) == 1 and path.isalpha() and not Path(path).exists()
    if not colon or not path or not variable or drive or re.search(r"[/\\]", variable):
        return word, None
    if not is_address(word) and Path(word).exists():
        return word, None
    return path, variable


def is_address(path: str) -> bool:
    """Return whether a path is one of another machine: ``s3://bucket/cube.zarr``."""
    return bool(_ADDRESS.match(path))


def one_input(words: Sequence[str], name: str, variable: str | None) -> Input:
    """Return words as the files of one input.

    Parameters
    ----------
    words
        At least one.
    name
    variable
        Of files that do not name one themselves.
    """
    pairs = [split_variable(word) for word in words]
    paths = tuple(path for path, _ in pairs)
    _check_paths(paths, name)
    named = {own for _, own in pairs}
    if len(named) > 1:
        raise ValueError(
            f"the {name} input is {len(paths)} files of one variable, and these say "
            f"{', '.join(sorted(map(str, named)))}"
        )
    return Input(name, paths, named.pop() or variable)


def two_inputs(arguments: argparse.Namespace, first: str, second: str) -> tuple[Input, Input]:
    """Return the two inputs of a command, whose files stand by their places or after options."""
    files = list(arguments.files)
    named = {name: list(getattr(arguments, name)) for name in (first, second)}
    if files and named[first] and named[second]:
        raise ValueError(
            f"{files[0]}: --{first} and --{second} name both inputs, and it is of neither"
        )
    if named[second] and not named[first]:
        named[first] = files
    elif named[first] and not named[second]:
        named[second] = files
    elif files:
        named[first], named[second] = _cut(files, first, second)
    for name, other in ((first, second), (second, first)):
        if not named[name]:
            raise ValueError(_missing(name, other, named[other]))
    one = one_input(named[first], first, arguments.variable)
    two = one_input(named[second], second, arguments.variable)
    wanted = getattr(arguments, f"{second}_pattern")
    return (
        replace(one, pattern=arguments.pattern, option="--pattern"),
        replace(two, pattern=wanted, option=f"--{second}-pattern"),
    )


def only_input(arguments: argparse.Namespace, name: str) -> Input:
    """Return the one input of a command."""
    if not arguments.files:
        raise ValueError(f"no files; give those of the {name}")
    found = one_input(arguments.files, name, arguments.variable)
    return replace(found, pattern=arguments.pattern, option="--pattern")


def several_inputs(words: Sequence[str], name: str) -> list[Input]:
    """Return words as inputs: images of one folder are one, each other file is one."""
    found: list[Input] = []
    for group in together(words):
        images = all(Path(word).suffix.lower() in _IMAGES for word in group)
        found += [one_input(one, name, None) for one in ([group] if images else zip(group))]
    return found


def _missing(name: str, other: str, have: Sequence[str]) -> str:
    if not have:
        return f"no files; give those of the {name} input and those of the {other} one"
    taken = f"all {len(have)} files are" if len(have) > 1 else f"{have[0]} is"
    return (
        f"no {name} input: {taken} of the {other} one; put its files first, or give them after "
        f"--{name}"
    )


def _cut(files: Sequence[str], first: str, second: str) -> tuple[list[str], list[str]]:
    """Return the files of the first input and those of the second, the last folder's."""
    if len(files) == 1:
        return list(files), []
    groups = together(files) if len(files) > 2 else [[file] for file in files]
    if len(groups) == 1:
        raise ValueError(
            f"these {len(files)} files lie in one folder, so that nothing tells the {first} from "
            f"the {second} ones: give the latter after --{second}, or each input as a pattern in "
            f"quotes, such as {_pattern(files[0])} {_pattern(files[-1])}"
        )
    return [file for group in groups[:-1] for file in group], groups[-1]


def _pattern(file: str) -> str:
    path = Path(split_variable(file)[0])
    start = re.match(r"[^\W\d_]*", path.name)
    wild = f"{start[0] if start else ''}*{path.suffix}"
    return f"'{path.with_name(wild)}'"


def together(files: Iterable[str]) -> list[list[str]]:
    """Return files in groups: those that follow one another in one folder, images or cubes."""
    numbered = [(number, file) for number, file in enumerate(files)]
    return [[file for _, file in group] for _, group in groupby(numbered, lambda n: _home(*n))]


def _home(number: int, word: str) -> object:
    """Return what files of one input have in common; a folder, store or pattern is one alone."""
    text, _ = split_variable(word)
    path = Path(text)
    if is_address(text) or path.is_dir() or _WILD.search(text) or not path.suffix:
        return number
    return path.parent, path.suffix.lower() in _CUBES


def _check_paths(paths: Sequence[str], name: str) -> None:
    """Raise where a file is not there, or a folder is one of several paths."""
    for text in paths:
        path = Path(text)
        if is_address(text) or (_WILD.search(text) and not path.exists()):
            if len(paths) > 1:
                raise ValueError(
                    f"the {name} input is {text} and {len(paths) - 1} other paths; give one "
                    "pattern or address, or files alone"
                )
            continue
        if not path.exists():
            near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise OSError(f"no file {text}{meant(path.name, near)}")
        if len(paths) > 1 and path.is_dir() and path.suffix.lower() != ".zarr":
            raise ValueError(
                f"the {name} input is {len(paths)} paths, and {text} is a folder; give one "
                "folder, or files alone, or a pattern in quotes that finds all"
            )
