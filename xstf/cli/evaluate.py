"""The commands that score methods: ``evaluate`` for fusion, ``evaluate-gapfill``."""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr

from xstf import files
from xstf.cli.arguments import Commands, add_gaps, add_pair, add_scores_out, open_gaps, open_pair
from xstf.cli.tables import Row, table
from xstf.evaluate import evaluate_fusion, evaluate_gapfill

_COLUMNS = ("rmse", "mae", "bias", "cc", "ssim", "sam", "covered", "seconds")


def add_evaluate(commands: Commands) -> None:
    """Add ``xstf evaluate``."""
    parser = commands.add_parser(
        "evaluate", help="leave out a fine date, predict it, score every method"
    )
    add_pair(parser)
    parser.add_argument("--time", nargs="+", metavar="DATE", help="fine dates to leave out")
    add_scores_out(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    fine, coarse, masks = open_pair(arguments, None)
    scores = evaluate_fusion(
        fine, coarse, methods=arguments.methods, time=arguments.time,
        pair_tolerance=arguments.pair_tolerance, coarse_resolution=arguments.coarse_resolution,
        **masks,
    )  # fmt: skip
    for date in scores.time.values:
        _show(f"left out: {np.datetime64(date, 'D')}", scores.sel(time=date))
    if arguments.out:
        files.save_cube(scores, arguments.out, overwrite=arguments.overwrite)


def add_evaluate_gapfill(commands: Commands) -> None:
    """Add ``xstf evaluate-gapfill``."""
    parser = commands.add_parser("evaluate-gapfill", help="mask clear pixels, score every method")
    add_gaps(parser)
    add_scores_out(parser)
    parser.set_defaults(run=_evaluate_gapfill)


def _evaluate_gapfill(arguments: argparse.Namespace) -> None:
    cube, options = open_gaps(arguments, None)
    scores = evaluate_gapfill(cube, methods=arguments.methods, **options)
    for regime in scores.regime.values:
        _show(f"masked: {regime}", scores.sel(regime=regime))
    if arguments.out:
        files.save_cube(scores, arguments.out, overwrite=arguments.overwrite)


def _show(title: str, scores: xr.Dataset) -> None:
    """Print one date's or one regime's scores, the best method first."""
    names = [n for n in _COLUMNS if n in scores]
    rows: list[Row] = []
    for method in scores.method.values:
        one = scores.sel({"method": method})
        rows.append(Row(str(method), [float(one[n].mean()) for n in names]))
    rows.sort(key=lambda row: row.values[0])
    print(f"\n{title}")
    print(table(["method", *names], rows))
