"""The commands that make cubes: ``fuse``, ``gapfill``, ``sharpen_spectral``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from xstf.cli.inputs import Input, one_input, only_input, several_inputs, two_inputs
from xstf.cli.options import (
    FILES,
    Commands,
    add_command,
    add_masks,
    add_method,
    add_one,
    add_quality,
    add_results,
    add_subset,
    add_two,
    add_values,
)
from xstf.cli.parser import is_path

if TYPE_CHECKING:
    from xstf.cli.telling import Outcome

_SCREENS: dict[str | None, bool | str | None] = {
    "yes": True, "no": False, "replace": "replace", None: None,
}  # fmt: skip


def add_fuse(commands: Commands) -> None:
    """Add ``xstf fuse``."""
    parser = add_command(
        commands, "fuse", usage="FINE… COARSE… -o PATH [options]",
        help="fine images on the dates of coarse ones",
        text="Fine images (Landsat, Sentinel-2) on the dates of coarse ones (MODIS, Sentinel-3), "
        f"on the grid of the fine ones.\n\n{FILES}",
        examples="  xstf fuse landsat/*.tif modis/ -o fused/ --method starfm\n"
        "  xstf fuse s2.nc s3.nc --scl --time 2021-04/2021-09 --chunks 1024 -o fused.zarr",
    )  # fmt: skip
    add_two(parser, "fine", "coarse")
    parser.add_several(
        "--spatial", takes=is_path, metavar="FILE…",
        help="third input, with the smallest pixels: the fine input then gives the bands, the "
        "coarse one the dates, this one the grid",
    )  # fmt: skip
    add_results(parser)
    add_quality(parser)
    add_method(parser, "fuse", "; with --spatial sts_linear or sts")
    add_pairs(parser)
    add_subset(parser, of="the result", dates="dates of the result (default: all coarse ones)")
    add_masks(parser, of="fine", other="coarse")
    add_values(parser, "fine", "coarse", "spatial")
    parser.set_defaults(run=_fuse, find=inputs_of_fuse)


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Add how fine and coarse images belong together."""
    group = parser.add_argument_group("pairs and grids")
    group.add_argument(
        "--pair-tolerance", default="1D", metavar="LENGTH",
        help="how far apart in time a fine and a coarse image of a pair may be (default 1D)",
    )  # fmt: skip
    group.add_argument(
        "--coarse-resolution", type=float, metavar="SIZE",
        help="size of the coarse sensor's own pixels, in units of the coordinates, where the "
        "provider has resampled them to finer ones",
    )  # fmt: skip
    group.add_argument(
        "--composite", metavar="LENGTH",
        help="how long the coarse images gather, such as 16D, or no (default: told by their dates)",
    )  # fmt: skip
    group.add_argument(
        "--min-valid", type=float, default=0.5, metavar="SHARE",
        help="least clear share of a coarse pixel (default 0.5)",
    )  # fmt: skip


def read_pairs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of :func:`add_pairs`."""
    composite = arguments.composite
    return {
        "pair_tolerance": arguments.pair_tolerance,
        "coarse_resolution": arguments.coarse_resolution,
        "composite": False if composite == "no" else composite,
        "min_valid": arguments.min_valid,
    }


def inputs_of_fuse(arguments: argparse.Namespace) -> list[Input]:
    """Return the fine and the coarse input, and the spatial one if there is one."""
    words = arguments.spatial
    third = [one_input(words, "spatial", arguments.variable)] if words else []
    return [*two_inputs(arguments, "fine", "coarse"), *third]


def _fuse(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes, making

    inputs = arguments.inputs
    way = making.begin(arguments, "sts" if len(inputs) > 2 else "fuse", inputs)
    with making.working(arguments):
        side = way.side
        fine, coarse, *third = (cubes.open_input(one, chunks=side) for one in inputs)
        masked = cubes.open_mask(arguments, inputs[0], chunks=side)
        word = arguments.coarse_mask
        other = cubes.open_other_mask(word, "--coarse-mask", inputs[1], chunks=side)
        fine = cubes.without(fine, masked.variable)
        coarse = cubes.without(coarse, other.variable)
        fine = cubes.with_bands(fine, arguments.bands, inputs[0])
        if third:
            third = [cubes.in_box(third[0], arguments.bbox, "spatial")]
        else:
            fine = cubes.in_box(fine, arguments.bbox, "fine")
            coarse = cubes.with_bands(coarse, arguments.bands, inputs[1])
        options = {
            "time": cubes.dates_within(arguments.time, coarse, "coarse"),
            "mask": way.finish(masked.mask), "coarse_mask": way.finish(other.mask),
            "return_quality": arguments.quality, **read_pairs(arguments),
            **cubes.read_values(arguments, "coarse", "spatial"),
        }  # fmt: skip
        if third:
            options["spatial"] = way.finish(third[0])
        pair = [way.finish(fine), way.finish(coarse)]
        return making.make(arguments, "fuse", pair, options, inputs)


def add_gapfill(commands: Commands) -> None:
    """Add ``xstf gapfill``."""
    parser = add_command(
        commands, "gapfill", usage="FILE… -o PATH [options]",
        help="fill the missing pixels of a cube",
        text="A cube with its missing pixels filled, with radar if there is some. Observed pixels "
        f"stay as they are.\n\n{FILES} All files are one cube.",
        examples="  xstf gapfill s2.nc --scl --sar s1a.nc s1b.nc -o filled.nc --quality\n"
        "  xstf gapfill 'hls/*.tif' --fmask --freq 5D --max-gap 60D --chunks 512 -o ndvi.zarr",
    )  # fmt: skip
    add_one(parser, "cube")
    add_radar(parser)
    add_results(parser)
    add_quality(parser)
    add_method(parser, "gapfill")
    group = parser.add_argument_group("gaps")
    group.add_argument(
        "--max-gap", metavar="LENGTH", help="leave longer gaps: days, or 60D, 8W (default: none)"
    )
    group.add_argument(
        "--freq", metavar="STEP",
        help="regular dates: 5D, or MS for the first day of each month; within --time FROM/TO",
    )  # fmt: skip
    group.add_argument(
        "--edge", choices=["fill", "nearest", "nan"], default="fill",
        help="before the first and after the last observation of a pixel: what the method says "
        "(default), the nearest observation, or nothing",
    )  # fmt: skip
    group.add_argument("--smooth", action="store_true", help="smooth observed pixels, too")
    group.add_argument(
        "--screen", choices=["yes", "no", "replace"],
        help="leave out outliers, which the mask has missed, or replace them, too (default: yes "
        "for the method auto alone)",
    )  # fmt: skip
    add_subset(parser, of="the cube", dates="dates of the result (default: the cube's)")
    add_masks(parser, of="cube")
    add_values(parser, "cube")
    parser.set_defaults(run=_gapfill, find=inputs_of_gapfill)


def add_radar(parser: Any) -> None:
    """Add cubes that see through clouds."""
    parser.add_several(
        "--sar", takes=is_path, metavar="FILE…",
        help="radar (Sentinel-1) on any grid and dates; images of one folder are one cube, each "
        "other file, store, folder or pattern is one: several sensors",
    )  # fmt: skip
    parser.add_argument(
        "--sar-units", choices=["dB", "linear"], help="of radar (default: told by its attributes)"
    )


def radar_options(guides: list[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that :func:`add_radar` gives."""
    if not guides:
        return {}
    return {"sar": guides[0] if len(guides) == 1 else guides, "sar_units": arguments.sar_units}


def inputs_of_gapfill(arguments: argparse.Namespace) -> list[Input]:
    """Return the cube, and those of radar."""
    return [only_input(arguments, "cube"), *several_inputs(arguments.sar or [], "sar")]


def _gapfill(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes, making

    inputs = arguments.inputs
    given, *radar = inputs
    way = making.begin(arguments, "gapfill", inputs)
    with making.working(arguments):
        cube = cubes.open_input(given, chunks=way.side)
        masked = cubes.open_mask(arguments, given, chunks=way.side)
        cube = cubes.with_bands(cubes.without(cube, masked.variable), arguments.bands, given)
        cube = cubes.in_box(cube, arguments.bbox, "cube")
        cube = way.whole_series(cube)
        guides = [way.finish(cubes.open_input(one, chunks=way.side)) for one in radar]
        options = {
            **cubes.dates_asked(arguments.time, arguments.freq, cube),
            "max_gap": arguments.max_gap, "edge": arguments.edge, "smooth": arguments.smooth,
            "screen": _SCREENS[arguments.screen], "mask": way.finish(masked.mask),
            "return_quality": arguments.quality, **radar_options(guides, arguments),
            **cubes.read_values(arguments),
        }  # fmt: skip
        return making.make(arguments, "gapfill", [way.finish(cube)], options, inputs)


def add_sharpen_spectral(commands: Commands) -> None:
    """Add ``xstf sharpen_spectral``, in short ``xstf sharpen``."""
    parser = add_command(
        commands, "sharpen_spectral", usage="SPECTRAL… SPATIAL… -o PATH [options]",
        aliases=["sharpen"],
        help="many coarse bands on the grid of few fine ones (in short: sharpen)",
        text="The many bands of a blurred image (PRISMA, EnMAP, Sentinel-2's 20 m bands) on the "
        f"grid of a sharp one with few bands.\n\n{FILES}",
        examples="  xstf sharpen prisma.nc sentinel2.nc -o sharp.nc --method cnmf\n"
        "  xstf sharpen s2_20m.tif s2_10m.tif -o s2_all_10m.tif --dtype int16 --store-scale 1e-4",
    )  # fmt: skip
    add_two(parser, "spectral", "spatial")
    add_results(parser)
    add_method(parser, "sharpen_spectral")
    add_sensors(parser)
    add_subset(parser, of="the spectral input", dates="dates of the spectral input")
    add_masks(parser, of="spectral", other="spatial")
    add_values(parser, "spectral", "spatial")
    parser.set_defaults(run=_sharpen_spectral, find=inputs_of_sharpen)


def add_sensors(parser: argparse.ArgumentParser) -> None:
    """Add what is known of the two sensors."""
    group = parser.add_argument_group("sensors")
    group.add_argument(
        "--srf", metavar="SENSOR",
        help="of the spatial input, such as landsat-8: how its bands respond (default: estimated)",
    )  # fmt: skip
    group.add_argument(
        "--psf", type=_width_or_sensor, metavar="WIDTH",
        help="full width at half maximum of the spectral input's blur, in its pixels, or a sensor "
        "such as sentinel-2a (default: Sentinel-2's for its bands, else estimated)",
    )  # fmt: skip


def _width_or_sensor(text: str) -> float | str:
    """Return a width, or a sensor's name as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def inputs_of_sharpen(arguments: argparse.Namespace) -> list[Input]:
    """Return the spectral and the spatial input."""
    return [*two_inputs(arguments, "spectral", "spatial")]


def _sharpen_spectral(arguments: argparse.Namespace) -> Outcome:
    from xstf.cli import cubes, making

    inputs = arguments.inputs
    way = making.begin(arguments, "sharpen_spectral", inputs)
    with making.working(arguments):
        side = way.side
        spectral, spatial = (cubes.open_input(one, chunks=side) for one in inputs)
        masked = cubes.open_mask(arguments, inputs[0], chunks=side)
        word = arguments.spatial_mask
        other = cubes.open_other_mask(word, "--spatial-mask", inputs[1], chunks=side)
        spectral = cubes.without(spectral, masked.variable)
        spectral = cubes.with_bands(spectral, arguments.bands, inputs[0])
        spectral = cubes.at_dates(spectral, arguments.time, "spectral")
        spatial = cubes.in_box(cubes.without(spatial, other.variable), arguments.bbox, "spatial")
        options = {
            "srf": arguments.srf, "psf": arguments.psf,
            "mask": way.finish(masked.mask), "spatial_mask": way.finish(other.mask),
            **cubes.read_values(arguments, "spatial"),
        }  # fmt: skip
        pair = [way.finish(spectral), way.finish(spatial)]
        return making.make(arguments, "sharpen_spectral", pair, options, inputs)
