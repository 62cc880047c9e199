"""The commands that score methods: ``evaluate fuse``, ``gapfill`` and ``sharpen``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xstf.cli.options import (
    FILES,
    Commands,
    add_command,
    add_masks,
    add_methods_to_score,
    add_one,
    add_params,
    add_part,
    add_two,
    add_values,
)
from xstf.cli.parser import Parser, is_date
from xstf.cli.verbs import (
    add_pairs,
    add_radar,
    add_sensors,
    inputs_of_gapfill,
    inputs_of_sharpen,
    radar_options,
    read_pairs,
)

if TYPE_CHECKING:
    import xarray as xr

    from xstf.cli.inputs import Input
    from xstf.cli.tables import Row
    from xstf.cli.telling import Outcome
    from xstf.cubes.arrays import Labelled

_COLUMNS = (
    "rmse", "mae", "bias", "cc", "ssim", "edge", "sam", "ergas", "psnr", "q2n", "coverage",
    "interval_score", "left", "seconds",
)  # fmt: skip
_REGIMES = ("partial", "persistent", "full")


def add_evaluate(commands: Commands) -> None:
    """Add ``xstf evaluate``, with a command for each verb."""
    parser: Parser = commands.add_parser(
        "evaluate", help="score every method on observations that are left out",
        description="Observations are left out, every method estimates them, and a table says how "
        "far off each is.\n\n`xstf evaluate VERB --help` tells more.",
        epilog="examples:\n  xstf evaluate fuse landsat.nc modis.nc --html report.html\n"
        "  xstf evaluate gapfill s2.nc --scl --methods linear gp",
    )  # fmt: skip
    verbs = parser.add_commands()
    _add_fuse(verbs)
    _add_gapfill(verbs)
    _add_sharpen(verbs)


def _finished(parser: Parser, task: str, run: Any, find: Any) -> None:
    add_methods_to_score(parser, task)
    parser.add_argument(
        "--html", metavar="FILE.html",
        help="write a report, too: one file with tables, pictures, parameters and versions, and "
        "its numbers as FILE.json beside it",
    )  # fmt: skip
    parser.add_argument(
        "--classes", metavar="FILE", help="a map of land cover (y, x): scores by class are added"
    )
    parser.add_argument(
        "--max-pixels", type=int, metavar="N",
        help="score the middle of a larger scene, of so many pixels; 0 for all (default: 1000000)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is drawn at random"
    )
    add_params(parser, "another argument of the evaluation, or of the verb")
    parser.set_defaults(run=run, find=find)


def _add_fuse(commands: Commands) -> None:
    parser = add_command(
        commands, "fuse", usage="FINE… COARSE… [options]",
        help="leave out a fine date, predict it from the others",
        text="Each fine date is left out, predicted from the others, and compared with what was "
        f"observed.\n\n{FILES}",
        examples="  xstf evaluate fuse landsat.nc modis.nc\n"
        "  xstf evaluate fuse l8/*.tif modis/ --time 2020-03-17 --methods starfm estarfm",
    )  # fmt: skip
    add_two(parser, "fine", "coarse")
    parser.add_several(
        "--time", takes=is_date, metavar="DATE…",
        help="fine dates to leave out, or FROM/TO (default: each that others can predict)",
    )  # fmt: skip
    add_part(parser, of="both inputs", place="the fine input")
    add_pairs(parser)
    add_masks(parser, of="fine", other="coarse")
    add_values(parser, "fine", "coarse")
    _finished(parser, "fuse", _fuse, _two)


def _two(arguments: argparse.Namespace) -> list[Input]:
    from xstf.cli.inputs import two_inputs

    return [*two_inputs(arguments, "fine", "coarse")]


def _fuse(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes
    from xstf.evaluate import evaluate_fusion

    inputs = _begun(arguments, "fuse")
    side = _side(arguments)
    fine, coarse = (cubes.open_input(one, chunks=side) for one in inputs)
    masked = cubes.open_mask(arguments, inputs[0], chunks=None)
    word = arguments.coarse_mask
    other = cubes.open_other_mask(word, "--coarse-mask", inputs[1], chunks=None)
    fine = _part(cubes.without(fine, masked.variable), arguments, inputs[0])
    coarse = cubes.without(coarse, other.variable)
    coarse = cubes.with_bands(coarse, arguments.bands, inputs[1]).load()
    given: dict[str, Any] = {"mask": masked.mask, "coarse_mask": other.mask}
    scores = evaluate_fusion(
        fine, coarse, methods=arguments.methods,
        time=cubes.dates_within(arguments.time, fine, "fine"),
        **{name: mask for name, mask in given.items() if mask is not None},
        **_common(arguments), **read_pairs(arguments), **cubes.read_values(arguments, "coarse"),
        **dict(arguments.param),
    )  # fmt: skip
    return _scored(scores, "time", "left out", arguments)


def _add_gapfill(commands: Commands) -> None:
    parser = add_command(
        commands, "gapfill", usage="FILE… [options]",
        help="mask clear pixels, fill them",
        text="Clear pixels are masked with real clouds of other dates, filled by every method, and "
        f"compared with what was observed.\n\n{FILES} All files are one cube.",
        examples="  xstf evaluate gapfill s2.nc --scl\n"
        "  xstf evaluate gapfill ndvi.nc --methods linear whittaker gp -o scores.nc",
    )  # fmt: skip
    add_one(parser, "cube")
    add_radar(parser)
    parser.add_argument(
        "--regimes", nargs="+", choices=_REGIMES, default=list(_REGIMES), metavar="REGIME",
        help="what is masked: a cloud's shape on one date (partial) or on all within 25 days "
        "(persistent), or all of a date (full); default: each of them",
    )  # fmt: skip
    add_part(parser, of="the cube")
    add_masks(parser, of="cube")
    add_values(parser, "cube")
    _finished(parser, "gapfill", _gapfill, inputs_of_gapfill)


def _gapfill(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes
    from xstf.evaluate import evaluate_gapfill

    given, *radar = _begun(arguments, "gapfill")
    masked = cubes.open_mask(arguments, given, chunks=None)
    cube = cubes.without(cubes.open_input(given, chunks=_side(arguments)), masked.variable)
    cube = _part(cube, arguments, given)
    guides = [cubes.open_input(one, chunks=None) for one in radar]
    scores = evaluate_gapfill(
        cube, methods=arguments.methods, regimes=arguments.regimes, mask=masked.mask,
        **_common(arguments), **radar_options(guides, arguments), **cubes.read_values(arguments),
        **dict(arguments.param),
    )  # fmt: skip
    return _scored(scores, "regime", "masked", arguments)


def _add_sharpen(commands: Commands) -> None:
    parser = add_command(
        commands, "sharpen_spectral", usage="SPECTRAL… SPATIAL… [options]",
        aliases=["sharpen"],
        help="blur both inputs, sharpen them back (in short: sharpen)",
        text="Both inputs are blurred and thinned, every method sharpens the one by the other, and "
        f"the spectral input itself says how far off each is.\n\n{FILES}",
        examples="  xstf evaluate sharpen prisma.nc sentinel2.nc\n"
        "  xstf evaluate sharpen jasper.nc:spectral jasper.nc:spatial --truth jasper.nc:reference",
    )  # fmt: skip
    add_two(parser, "spectral", "spatial")
    parser.add_argument(
        "--truth", metavar="FILE",
        help="the spectral input's bands on the grid of the spatial one: nothing is blurred then",
    )  # fmt: skip
    add_part(parser, of="the spectral input", place="the spatial input")
    add_sensors(parser)
    add_masks(parser, of="spectral", other="spatial")
    add_values(parser, "spectral", "spatial")
    _finished(parser, "sharpen_spectral", _sharpen, inputs_of_sharpen)


def _sharpen(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes
    from xstf.cli.inputs import one_input
    from xstf.evaluate import evaluate_sharpen_spectral

    inputs = _begun(arguments, "sharpen_spectral")
    side = _side(arguments)
    spectral, spatial = (cubes.open_input(one, chunks=side) for one in inputs)
    masked = cubes.open_mask(arguments, inputs[0], chunks=None)
    word = arguments.spatial_mask
    other = cubes.open_other_mask(word, "--spatial-mask", inputs[1], chunks=None)
    truth = None
    if arguments.truth is not None:
        truth = cubes.open_input(one_input([arguments.truth], "truth", None), chunks=None)
    given = {
        "srf": arguments.srf, "psf": arguments.psf, "mask": masked.mask, "spatial_mask": other.mask,
    }  # fmt: skip
    spectral = cubes.without(spectral, masked.variable)
    spectral = cubes.with_bands(spectral, arguments.bands, inputs[0]).load()
    spatial = cubes.in_box(cubes.without(spatial, other.variable), arguments.bbox, "spatial")
    scores = evaluate_sharpen_spectral(
        spectral, spatial.load(), methods=arguments.methods, truth=truth,
        **{name: value for name, value in given.items() if value is not None},
        **_common(arguments), **cubes.read_values(arguments, "spatial"), **dict(arguments.param),
    )  # fmt: skip
    return _scored(scores, "", "", arguments)


# --- scores -----------------------------------------------------------------------------------


def _begun(arguments: argparse.Namespace, task: str) -> Sequence[Input]:
    """Return the inputs; raise on what is wrong before any is opened."""
    from xstf.files import check_target
    from xstf.methods.lookup import get_method

    for name in arguments.methods or []:
        get_method(task, name)
    if arguments.out is not None:
        if Path(arguments.out).suffix.lower() not in (".nc", ".zarr"):
            raise ValueError(f"{arguments.out}: scores go to a .nc file or a .zarr store")
        paths = [path for one in arguments.inputs for path in one.paths]
        check_target(arguments.out, paths, overwrite=arguments.overwrite)
    if arguments.html is not None:
        from xstf.evaluate.page import check_report

        check_report(arguments.html, overwrite=arguments.overwrite)
    found: Sequence[Input] = arguments.inputs
    return found


def _common(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that all evaluations have."""
    from xstf.cli import cubes
    from xstf.cli.inputs import one_input

    given: dict[str, Any] = {"seed": arguments.seed}
    if arguments.max_pixels is not None:
        given["max_pixels"] = arguments.max_pixels or None
    if arguments.classes is not None:
        found = cubes.open_input(one_input([arguments.classes], "classes", None), chunks=None)
        given["classes"] = found.squeeze()
    return given


def _side(arguments: argparse.Namespace) -> int | None:
    """Return the chunks to open inputs in: read whole, but where a part is picked first."""
    from xstf.cli.making import CHUNK

    return None if arguments.bands is None and arguments.bbox is None else CHUNK


def _part(cube: Labelled, arguments: argparse.Namespace, given: Input) -> Labelled:
    """Return the bands and the part of a cube that are asked for, in memory."""
    from xstf.cli import cubes

    picked = cubes.with_bands(cube, arguments.bands, given)
    return cubes.in_box(picked, arguments.bbox, given.name).load()


def _scored(scores: xr.Dataset, dim: str, title: str, arguments: argparse.Namespace) -> Outcome:
    """Return the scores as tables, one for each date or regime, and write them if asked to."""
    from xstf import files
    from xstf.cli.tables import table
    from xstf.cli.telling import Outcome

    if arguments.out is not None:
        files.save_cube(scores, arguments.out, overwrite=arguments.overwrite)
    written: dict[str, Any] = {"out": arguments.out}
    if arguments.html is not None:
        from xstf.evaluate import report

        pages = report(scores, arguments.html, overwrite=arguments.overwrite)
        written |= dict(zip(("html", "html_data"), map(str, pages), strict=True))
    labels = scores[dim].values if dim else [""]
    parts = {str(at)[:10]: scores.sel({dim: at}) if dim else scores for at in labels}
    names = [name for name in _COLUMNS if name in scores]
    texts, data = [], []
    for label, part in parts.items():
        rows = _rows(part, names)
        texts.append((f"{title}: {label}\n" if label else "") + table(["method", *names], rows))
        where = {dim: label} if dim else {}
        data += [
            where | {"method": row.name} | dict(zip(names, row.values, strict=True)) for row in rows
        ]
    ranked, said = _ranked(scores)
    texts.append(said)
    return Outcome("\n\n".join(texts), {"scores": data, "rank": ranked, **written})


def _ranked(scores: xr.Dataset) -> tuple[list[dict[str, Any]], str]:
    """Return the methods in order with what is known of their differences, and that in words."""
    from xstf.evaluate.ranking import rank, sentences

    found = rank(scores)
    rows: list[dict[str, Any]] = [
        {"method": name, **{str(key): value for key, value in row.items()}}
        for name, row in found.to_dict("index").items()
    ]
    said = "\n".join(sentences(scores, found))
    return rows, f"{said}\n({scores.attrs['stf_blocks']})"


def _rows(scores: xr.Dataset, names: Sequence[str]) -> list[Row]:
    """Return one date's or one regime's scores, the best method first."""
    from xstf.cli.tables import Row

    rows = [
        Row(str(m), [float(scores[n].sel({"method": m}).mean()) for n in names])
        for m in scores["method"].values
    ]
    column = names.index("rmse") if "rmse" in names else 0
    return sorted(rows, key=lambda row: row.values[column])
