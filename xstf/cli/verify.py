"""The command ``verify``: reads Zarr stores again, and names what is wrong in them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xstf.cli.options import Commands, add_command

if TYPE_CHECKING:
    from xstf.cli.telling import Outcome


def add_verify(commands: Commands) -> None:
    """Add ``xstf verify``."""
    parser = add_command(
        commands, "verify", usage="PATH… [options]",
        help="read a Zarr store again, name what is damaged or missing",
        text="Every chunk of a .zarr store is read and held against its checksum. A line for each "
        "fault; exit status 1 if there is one, 0 if the store is whole.",
        examples="  xstf verify fused.zarr\n  xstf verify *.zarr --json > faults.json",
    )  # fmt: skip
    parser.add_argument("paths", nargs="*", metavar="PATH", help=".zarr stores, or addresses")
    parser.set_defaults(run=_verify, find=_paths)


def _paths(arguments: argparse.Namespace) -> list[str]:
    if not arguments.paths:
        raise ValueError("no stores; give the path of one or more")
    return list(arguments.paths)


def _verify(arguments: argparse.Namespace) -> Outcome:
    import dataclasses

    from xstf.cli.telling import Outcome
    from xstf.store import verify

    found = {path: verify(path) for path in arguments.inputs}
    lines = [f"{path}: {fault}" for path, faults in found.items() for fault in faults] + [
        f"{path}: whole" for path, faults in found.items() if not faults
    ]
    data = {
        "stores": [
            {"path": path, "whole": not faults, "faults": [*map(dataclasses.asdict, faults)]}
            for path, faults in found.items()
        ]
    }
    return Outcome("\n".join(lines), data, int(any(found.values())))
