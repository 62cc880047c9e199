"""`fuse` with a third cube: check, choose, tile, label."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from xstf._method import Method, Weights
from xstf.align.sts import on_nested_grids, read_cubes, target_dates
from xstf.cubes.read import Cube
from xstf.cubes.write import assemble_on
from xstf.methods.lookup import get_method
from xstf.tiles.engines import make_runner, pick_engine
from xstf.tiles.flags import FLAG_MEANINGS
from xstf.tiles.run import is_lazy, run_tiles
from xstf.verbs.checkpoint import resolve_weights
from xstf.verbs.pipeline import call_attrs, make_params, require_std

# Side of a tile of an eager run in pixels of the finest cube.
TILE = 256


def fuse_series(
    fine: Any,
    coarse: Any,
    spatial: Any,
    *,
    time: np.ndarray | None,
    method: str | Method,
    mask: Any,
    coarse_mask: Any,
    spatial_mask: Any,
    pair_tolerance: str,
    engine: str | None,
    device: str | None,
    return_quality: bool,
    progress: bool,
    **params: Any,
) -> Any:
    """Return `fine`'s many bands at the grid of `spatial` on the dates of `coarse`.

    The parameters are those of :func:`xstf.fuse`.
    """
    cubes = read_cubes(fine, coarse, spatial, mask, coarse_mask, spatial_mask)
    record = get_method("sts", "sts_linear" if method == "auto" else method)
    options = make_params(record, params)
    if return_quality:
        require_std(record)
    series = on_nested_grids(*cubes, pair_tolerance)
    if len(series.pairs) < record.fewest:
        raise ValueError(
            f"{record.name} needs {record.fewest} dates that fine, spatial and coarse share within "
            f"{pair_tolerance}, found {len(series.pairs)}; widen pair_tolerance or add images"
        )
    times: Any = cubes[1].times
    targets = target_dates(times, time, pair_tolerance)
    chosen = pick_engine(record, engine, *(c.data for c in cubes))
    attrs = call_attrs("fuse", record, options, cubes[0]) | {"stf_grid": series.said}
    found: Weights | None = None
    if record.net is not None:
        train = partial(
            _train, record, fine, coarse, spatial=spatial, mask=mask, coarse_mask=coarse_mask,
            spatial_mask=spatial_mask, pair_tolerance=pair_tolerance, device=device,
            progress=progress,
        )  # fmt: skip
        options, found, attrs["stf_weights"] = resolve_weights(
            record,
            options,
            bands=cubes[1].bands,
            ratio=series.ratios[0],
            fit=train,
            others={"fine_bands": cubes[0].bands, "spatial_bands": cubes[2].bands},
        )
    runner = make_runner(record, chosen, device, found)
    state = series.state(record, options)
    jobs = [series.job(t, runner, record, options, state, return_quality) for t in targets]
    layers = run_tiles(jobs, chunks=_chunks(cubes[2]), tile=TILE, progress=progress)
    return assemble_on(
        layers, cubes[0], cubes[2], attrs, return_quality, FLAG_MEANINGS, times=times[targets]
    )


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    from xstf.train import fit  # loads torch

    return fit(record, *cubes, **options)


def _chunks(cube: Cube) -> tuple[Any, Any]:
    """Return the chunks of a lazy result along y and x: the sharp cube's, or tiles."""
    if is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (TILE, TILE)
