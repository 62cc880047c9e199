"""The command ``warm``: compiles every method's loops, so that no first call waits for them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from xstf.cli.names import TASKS
from xstf.cli.options import Commands, add_command

if TYPE_CHECKING:
    from xstf._method import Task
    from xstf.cli.telling import Outcome

# Fine pixels a side of a scene of which `fuse` by default learns: 12 coarse ones of ratio 8.
SIDE = 96
# Choices of parameters whose loops are compiled apart.
_APART: dict[str, dict[str, Any]] = {"whittaker": {"choose": "gcv"}}


def add_warm(commands: Commands) -> None:
    """Add ``xstf warm``."""
    parser = add_command(
        commands, "warm", usage="[TASK…] [options]",
        help="compile every method, so that no first call waits",
        text="Runs every method that needs no training on tiny cubes. Numba compiles its loops and "
        "keeps them, in NUMBA_CACHE_DIR or beside the code, for all processes that find them "
        "there: do it once after an installation, or while an image of a container is built.",
        examples="  xstf warm\n  xstf warm gapfill",
    )  # fmt: skip
    parser.add_argument(
        "tasks", nargs="*", metavar="TASK", help=f"some of {', '.join(TASKS)} (default: all)"
    )
    parser.set_defaults(run=_warm)


def _warm(arguments: argparse.Namespace) -> Outcome:
    import time

    from xstf._method import TASKS as every
    from xstf.cli.telling import Outcome, report
    from xstf.methods.lookup import classical_names, read_task
    from xstf.numerics.compiling import counted

    rows: list[dict[str, Any]] = []
    for task in [read_task(one) for one in arguments.tasks] or every:
        for name in classical_names(task):
            started = time.process_time()
            with counted() as found:
                _run(task, name)
            seconds = round(time.process_time() - started, 1)
            rows.append({"task": task, "method": name, "loops": found.count, "cpu": seconds})
            report(f"{task} {name}: {found.count} loops compiled, {seconds} CPU s", arguments)
    total = sum(row["loops"] for row in rows)
    return Outcome(f"methods: {len(rows)}, loops compiled: {total}", {"methods": rows})


def _run(task: Task, name: str) -> None:
    """Run a method on tiny cubes, in all the ways that have loops of their own."""
    import xstf
    from xstf.methods.lookup import get_method

    record = get_method(task, name)
    call: dict[str, Any] = {"method": name, "return_quality": record.std}
    if task == "fuse":
        xstf.fuse(*xstf.testing.scene(), **call)
        if name == "auto":  # a series, two pairs, and one: its parts where there is enough to learn
            large = xstf.scenes.nested(size=SIDE)
            for dates in ([0, 1, 2], [0, 2], [0]):
                xstf.fuse(large.fine.isel(time=dates), large.coarse, **call)
    elif task == "sharpen_spectral":
        xstf.sharpen_spectral(*xstf.testing.bands()[:2], **call)
    elif task == "sts":
        scene = xstf.scenes.hyperspectral_series(size=48, bands=40)
        xstf.fuse(scene.spectral, scene.dense, spatial=scene.sharp, **call)
    else:
        cube, sar = xstf.testing.holes()
        guide = sar if record.guided else None
        xstf.gapfill(cube, guide, screen=True, **call)
        if record.direct is not None:  # of a plain cube, without a standard deviation
            plain = cube.copy(data=cube.values.astype("float32", order="C"))
            xstf.gapfill(plain, method=name)
        # Bands that are missing apart from each other have loops of their own.
        apart = cube.where((cube.band != cube.band[0]) | (cube.x != cube.x[3]))
        xstf.gapfill(apart, guide, **call, **_APART.get(name, {}))
