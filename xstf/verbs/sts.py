"""`fuse` with a third cube: align, tile, label."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xstf.align.sts import align_sts
from xstf.cubes.pairs import DateLike, LengthLike
from xstf.cubes.units import Side
from xstf.cubes.words import warn_user
from xstf.cubes.write import assemble_on
from xstf.tiles.clip import Clip
from xstf.tiles.flags import FLAG_MEANINGS, LAYERS
from xstf.verbs.checkpoint import NetworkCubes
from xstf.verbs.pipeline import Call, chunks_of, compute, prepare
from xstf.verbs.watching import note

# Side of a tile of an eager run in pixels of the finest cube.
TILE = 256


def fuse_three(
    call: Call,
    fine: xr.DataArray | xr.Dataset,
    coarse: xr.DataArray | xr.Dataset,
    spatial: xr.DataArray | xr.Dataset,
    *,
    time: DateLike | None,
    mask: xr.DataArray | None,
    coarse_mask: xr.DataArray | None,
    spatial_mask: xr.DataArray | None,
    pair_tolerance: LengthLike,
    min_valid: float,
    engine: str | None,
    device: str | None,
    clip: Clip,
) -> Any:
    """Return `fine`'s many bands at the grid of `spatial` on the dates of `coarse`.

    The parameters are those of :func:`xstf.fuse`.
    """
    record = call.record
    cubes = align_sts(
        fine, coarse, spatial, mask=mask, temporal_mask=coarse_mask, spatial_mask=spatial_mask,
        pair_tolerance=pair_tolerance, min_valid=min_valid,
    )  # fmt: skip
    series = cubes.series
    if len(series.pairs) < record.fewest:
        raise ValueError(
            f"{record.name} needs {record.fewest} dates that fine, spatial and coarse share within "
            f"{pair_tolerance}, found {len(series.pairs)}; widen pair_tolerance or add images"
        )
    targets = cubes.targets(time, pair_tolerance)
    note(cubes=cubes, targets=targets, unpaired=cubes.unpaired)
    if cubes.unpaired:
        warn_user(
            f"fine has images without a coarse and a spatial one within {pair_tolerance} of their "
            f"date, which are not used: {cubes.unpaired}; widen pair_tolerance or add images"
        )

    def network() -> NetworkCubes:
        return NetworkCubes(
            cubes=(fine, coarse), bands=cubes.temporal.bands, ratio=series.ratios[0],
            reading={
                "spatial": spatial, "mask": mask, "coarse_mask": coarse_mask,
                "spatial_mask": spatial_mask, "pair_tolerance": pair_tolerance,
                "min_valid": min_valid, "device": device, "progress": call.progress,
            },
            others={"fine_bands": cubes.spectral.bands, "spatial_bands": cubes.spatial.bands},
        )  # fmt: skip

    checks = series.check_units(
        tuple(
            Side(cube.what, argument, cube.bands)
            for cube, argument in (
                (cubes.spectral, "scale"), (cubes.temporal, "coarse_scale"),
                (cubes.spatial, "spatial_scale"),
            )
        )
    )  # fmt: skip
    read = (cubes.spectral, cubes.temporal, cubes.spatial)
    run = prepare(
        call, read, network, engine=engine, device=device, grid=cubes.grid_text,
        frame=cubes.frame_text,
    )  # fmt: skip
    state = series.state(record, run.call.params)
    jobs = [
        series.job(t, run.runner, record, run.call.params, state, call.quality, clip)
        for t in targets
    ]
    images = len(cubes.spectral.bands) * (LAYERS if call.quality else 1)
    layers, _ = compute(
        run, jobs, chunks=chunks_of(cubes.spatial, TILE, images), tile=TILE, checks=checks
    )  # fmt: skip
    attrs = run.attrs | ({"stf_unpaired": cubes.unpaired} if cubes.unpaired else {})
    return assemble_on(
        layers, cubes.spectral, cubes.spatial, attrs, call.quality, FLAG_MEANINGS,
        times=cubes.times[targets],
    )  # fmt: skip
