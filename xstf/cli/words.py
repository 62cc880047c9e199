"""Messages of the verbs in the words of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

# Options that are called otherwise than the argument that they give.
_OTHER_NAMES = {"return_quality": "--quality"}
_SWITCHES = {"return_quality", "smooth", "overwrite", "resume"}
_VALUE = r"\([^()]*\)|'[^']*'|\"[^\"]*\"|-?\d[\w.+-]*|True|False|None"
# What is an attribute of a cube is no argument, even if both are called alike.
_NAMED = re.compile(rf"(?<!attribute )(?<![\w.\-'\"(\[])([a-z][a-z_0-9]*)=(?!=)({_VALUE})?")
_BARE = re.compile(r"(?<![\w.\-'\"])([a-z]+(?:_[a-z]+)+)(?![\w('\"=])")
# A mask that is made of a variable: the option takes the variable.
_MADE = re.compile(r"\b((?:[a-z]+_)?mask)=xstf\.masks\.\w+\(ds(?:\.(\w+)|\[('[^']*')\])\)")
# What only Python can do, and what the command line does instead.
_OF_PYTHON = (
    (
        re.compile(r"; select those that do, \w+\[\[\.\.\.\]\]"),
        "; name one as FILE:VARIABLE, or some as --bands NAME,NAME",
    ),
    (re.compile(r"; (?:fuse|gapfill|sharpen_spectral) has \w+(?:, \w+)+"), ""),
    (re.compile(r"\bset it with cube\.rio\.write_crs\(\.\.\.\) or"), "set it in the file with"),
    (re.compile(r", or drop it from the other$"), ""),
)
_ALSO_PARAMS = {"weights", "window", "prior"}


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a message with the arguments that it names as options.

    Parameters
    ----------
    text : str
        What a verb says: ``give coarse_resolution=480``.
    options : dict of str to str
        The option that gives each argument (``--coarse-resolution``).
    """

    def named(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        option = options.get(name)
        if option is None:
            if name not in _arguments():
                return found[0]
            return f"-p {name}={value}" if value else f"-p {name}=…"
        if value is None or name in _SWITCHES:
            return option
        if value.startswith("("):
            return f"{option} {' '.join(part.strip() for part in value[1:-1].split(','))}"
        plain = value.strip("'\"")
        simple = re.fullmatch(r"[\w.+-]+", plain)
        return f"{option} {plain if simple else value}"

    def bare(found: re.Match[str]) -> str:
        name = found[1]
        return options.get(name) or (f"-p {name}=…" if name in _arguments() else name)

    def made(found: re.Match[str]) -> str:
        option = options.get(found[1])
        return f"{option} {found[2] or found[3]}" if option else found[0]

    for said, instead in _OF_PYTHON:
        text = said.sub(instead, text)
    return _BARE.sub(bare, _NAMED.sub(named, _MADE.sub(made, text)))


def options_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the option that gives each argument of a command, by the argument's name."""
    found = {a.dest: a.option_strings[-1] for a in parser._actions if a.option_strings}
    have = set(found.values())
    return found | {name: o for name, o in _OTHER_NAMES.items() if o in have}


def _arguments() -> set[str]:
    """Return the names of the verbs' arguments, which ``-p`` gives where no option does."""
    import inspect

    import xstf

    verbs = (xstf.fuse, xstf.gapfill, xstf.sharpen_spectral)
    return _ALSO_PARAMS.union(*(inspect.signature(verb).parameters for verb in verbs))
