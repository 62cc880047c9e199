"""The command ``plan``: what a verb would do, before it does it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from xstf.cli.inputs import Input, one_input, several_inputs, together
from xstf.cli.options import FILES, Commands, add_chunks, add_command, add_params
from xstf.cli.parser import is_date, is_path
from xstf.cli.verbs import add_radar, radar_options

if TYPE_CHECKING:
    from xstf.cli.telling import Outcome

_VERBS = ("fuse", "gapfill", "sharpen_spectral", "sharpen")


def add_plan(commands: Commands) -> None:
    """Add ``xstf plan``."""
    parser = add_command(
        commands, "plan", usage="[VERB] FILE… [options]",
        help="what a verb would do: dates, pairs, grids, tiles, memory",
        text="What a verb would do, from the coordinates of its inputs: dates, pairs, grids, "
        "tiles, memory, and what it would refuse. No value is read and nothing is written. The "
        f"option --dry-run of each verb does the same with all of its options.\n\n{FILES}",
        examples="  xstf plan landsat/*.tif modis/ --method starfm\n"
        "  xstf plan gapfill s2.nc --chunks 512 -p max_gap=60",
    )  # fmt: skip
    parser.add_argument(
        "files", nargs="*", metavar="FILE",
        help="the verb's inputs, after its name if it is to be named; files that follow one "
        "another and lie in one folder are one input where there are more than two",
    )  # fmt: skip
    parser.add_argument(
        "--verb", choices=_VERBS, metavar="VERB",
        help="fuse, gapfill or sharpen_spectral (default: by the inputs)",
    )  # fmt: skip
    parser.add_argument("--variable", metavar="NAME", help="of inputs that name none themselves")
    parser.add_argument("--pattern", metavar="GLOB", help="which files of the first folder")
    parser.add_argument("--others-pattern", metavar="GLOB", help="which files of further folders")
    parser.add_argument("--method", default="auto", metavar="NAME", help="(default: auto)")
    parser.add_several(
        "--time", takes=is_date, metavar="DATE…", help="dates of the result, or FROM/TO"
    )
    parser.add_several("--spatial", takes=is_path, metavar="FILE…", help="third input of fuse")
    add_radar(parser)
    add_chunks(parser)
    add_params(parser, "another argument of the verb, or a parameter of its method")
    parser.set_defaults(run=_plan, find=_inputs)


def _inputs(arguments: argparse.Namespace) -> dict[str, list[Input]]:
    """Return the inputs that stand by their places, and those after options."""
    words = list(arguments.files)
    if words and words[0] in _VERBS and arguments.verb in (None, words[0]):
        arguments.verb = words.pop(0)
    if not words:
        raise ValueError("no files; give those of the verb's inputs")
    groups = [[word] for word in words] if len(words) < 3 else together(words)
    if arguments.verb == "gapfill":
        groups = [words]
    variable = arguments.variable
    return {
        "cubes": [one_input(group, "first" if not n else "other", variable)
                  for n, group in enumerate(groups)],
        "spatial": [one_input(arguments.spatial, "spatial", variable)] if arguments.spatial else [],
        "sar": several_inputs(arguments.sar or [], "sar"),
    }  # fmt: skip


def _plan(arguments: argparse.Namespace) -> Outcome:
    import dataclasses

    import xstf
    from xstf.cli import cubes, making
    from xstf.cli.telling import Outcome

    way = making.Way(arguments.chunks, dry=True, part=False)
    patterns = [arguments.pattern, *[arguments.others_pattern] * 2]
    options = ["--pattern", *["--others-pattern"] * 2]
    found: dict[str, list[Any]] = {}
    for kind, inputs in arguments.inputs.items():
        if kind == "cubes":
            inputs = [
                dataclasses.replace(one, pattern=pattern, option=option)
                for one, pattern, option in zip(inputs, patterns, options, strict=False)
            ]
        found[kind] = [way.finish(cubes.open_input(one, chunks=way.side)) for one in inputs]
    given: dict[str, Any] = {"method": arguments.method, **radar_options(found["sar"], arguments)}
    if arguments.time:
        of = found["cubes"][-1]
        given["time"] = cubes.dates_within(arguments.time, of, "last")
    if found["spatial"]:
        given["spatial"] = found["spatial"][0]
    given |= dict(arguments.param)
    dry = xstf.plan(*found["cubes"], verb=arguments.verb, **given)
    data = {"plan": dataclasses.asdict(dry), "version": xstf.__version__}
    return Outcome(str(dry), data, of_verb=True)
