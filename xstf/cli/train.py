"""The command ``train``: cubes in, a checkpoint out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstf.cli.inputs import Input, one_input, several_inputs, together
from xstf.cli.options import FILES, Commands, add_command, add_params
from xstf.cli.parser import is_path

if TYPE_CHECKING:
    from xstf.cli.telling import Outcome


def add_train(commands: Commands) -> None:
    """Add ``xstf train``."""
    parser = add_command(
        commands, "train", usage="METHOD FILE… -o PATH [options]",
        help="train a network; leaves a file of weights",
        text="A network of one of the tasks is trained on cubes as its verb takes them. The "
        f"weights go to a .safetensors file, which -p weights=FILE gives to the verb.\n\n{FILES}",
        examples="  xstf train ctstfm landsat.nc modis.nc -o ctstfm.safetensors\n"
        "  xstf train srecnn spectral.nc spatial.nc -o w.safetensors -p epochs=20 --device cuda",
    )  # fmt: skip
    parser.add_argument("method", metavar="METHOD", help="a network; `xstf methods` names them")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="the inputs that its verb takes, in its order"
    )
    parser.add_argument("--variable", metavar="NAME", help="of inputs that name none themselves")
    parser.add_several(
        "--sar", takes=is_path, metavar="FILE…", help="radar, for a network that fills gaps"
    )
    parser.add_several(
        "--spatial", takes=is_path, metavar="FILE…", help="third input, for one that fuses series"
    )
    parser.add_argument(
        "-o", "--out", metavar="PATH", help="the .safetensors file; looked at before any work"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument(
        "--recipe", choices=["auto", "full", "small"], default="auto",
        help="how long and how large (default auto: by the data)",
    )  # fmt: skip
    parser.add_argument("--log", metavar="FILE", help="a .csv file, with a row an epoch")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (default: the best)")
    add_params(parser, "another argument of xstf.train.fit, such as epochs=20")
    parser.set_defaults(run=_train, find=_inputs, dry_run=False)


def _inputs(arguments: argparse.Namespace) -> dict[str, list[Input]]:
    words, variable = list(arguments.files), arguments.variable
    if not words:
        raise ValueError("no files; give the inputs that the method's verb takes")
    groups = [[word] for word in words] if len(words) < 3 else together(words)
    return {
        "cubes": [one_input(group, "training", variable) for group in groups],
        "sar": several_inputs(arguments.sar or [], "sar"),
        "spatial": [one_input(arguments.spatial, "spatial", variable)] if arguments.spatial else [],
    }


def _train(arguments: argparse.Namespace) -> Outcome:
    import xstf
    from xstf.cli.cubes import open_input
    from xstf.cli.tables import scores_in_words
    from xstf.cli.telling import Outcome, bar_wanted, report
    from xstf.files.beside import check_place

    for path, ending in ((arguments.out, ".safetensors"), (arguments.log, ".csv")):
        if path is not None:
            if Path(path).suffix.lower() != ending:
                raise ValueError(f"{path}: give a {ending} file")
            check_place(Path(path), overwrite=arguments.overwrite)
    found: dict[str, list[Any]] = {
        kind: [open_input(one, chunks=None) for one in inputs]
        for kind, inputs in arguments.inputs.items()
    }
    named: dict[str, Any] = dict(arguments.param)
    if sar := found["sar"]:
        named["sar"] = sar[0] if len(sar) == 1 else sar
    if found["spatial"]:
        named["spatial"] = found["spatial"][0]
    fitted = xstf.train.fit(
        arguments.method, *found["cubes"], out=arguments.out, recipe=arguments.recipe,
        log=arguments.log, device=arguments.device, progress=bar_wanted(arguments),
        **named,
    )  # fmt: skip
    report(f"{scores_in_words(fitted.scores)} → {arguments.out}", arguments)
    return Outcome("", {"out": arguments.out, "method": arguments.method, "scores": fitted.scores})
