"""`fuse` by a method that looks at whole series: every date wanted, few jobs for all of them."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from xstf.align.fuse import FuseCubes
from xstf.align.series import SeriesDates, series_dates
from xstf.cubes.arrays import Array
from xstf.cubes.pairs import DateLike, LengthLike, short_days
from xstf.cubes.units import Side
from xstf.cubes.words import warn_user
from xstf.cubes.write import assemble
from xstf.tiles.clip import Clip
from xstf.tiles.flags import FLAG_MEANINGS, LAYERS
from xstf.tiles.job import Job
from xstf.tiles.run import is_lazy
from xstf.tiles.series import SeriesTile, dates_a_job, series_job, series_state
from xstf.tiles.units import check_units
from xstf.verbs.pipeline import Call, Run, chunks_of, compute, prepare
from xstf.verbs.watching import note

# Side of an eager run's tile in fine pixels, which has all images and many dates at once.
TILE = 256


def fuse_series(
    call: Call,
    cubes: FuseCubes,
    *,
    time: DateLike | None,
    pair_tolerance: LengthLike,
    engine: str | None,
    device: str | None,
    clip: Clip,
) -> Any:
    """Return sharp images on any dates of the coarse series.

    The parameters are those of :func:`xstf.fuse`.
    """
    dates = series_dates(cubes, time, pair_tolerance)
    unreached = short_days(cubes.times[list(dates.unreached)]) if dates.unreached else ""
    note(cubes=cubes, every_date=dates.labels, unpaired=unreached)
    if unreached:
        warn_user(
            f"fine has images outside the coarse series, which are not used: {unreached}; add "
            "coarse images"
        )
    coarse, place = cubes.on_nested_grid(dates.coarse)
    run = prepare(
        call, (cubes.fine, cubes.coarse), _no_network, engine=engine, device=device,
        grid=cubes.grid_text, frame=cubes.frame_text,
    )  # fmt: skip
    sides = (
        Side("fine", "scale", cubes.fine.bands), Side("coarse", "coarse_scale", cubes.fine.bands)
    )  # fmt: skip
    checks = check_units(
        sides, (cubes.fine.data, coarse), [(p.fine, place[p.coarse]) for p in dates.near_pairs],
        ratio=cubes.nesting.ratio, before=cubes.nesting.before, sampled=None,
    )  # fmt: skip
    chunks = chunks_of(cubes.fine, 2 * TILE, len(dates.fine) * len(cubes.fine.bands))
    pixels = _largest(chunks[0]) * _largest(chunks[1]) if is_lazy(cubes.fine.data) else TILE**2
    values = len(cubes.fine.bands) * (LAYERS if call.quality else 1)
    count = dates_a_job(len(dates.labels), values, pixels)
    places = [place[date] for date in dates.coarse]
    jobs = _jobs(run, cubes, dates, coarse, places, clip, count)
    layers, _ = compute(run, jobs, chunks=chunks, tile=TILE, checks=checks)
    flat = layers.reshape(-1, *layers.shape[2:])[: len(dates.labels)]
    attrs = run.attrs | ({"stf_unpaired": unreached} if unreached else {})
    dated = cubes.fine.dims[0] is not None
    return assemble(
        flat, cubes.fine, dates.labels, attrs, call.quality, FLAG_MEANINGS, own_dates=dated
    )


def _largest(sizes: int | tuple[int, ...]) -> int:
    return sizes if isinstance(sizes, int) else max(sizes)


def _no_network() -> NoReturn:
    raise ValueError("a network does not look at whole series")


def _jobs(
    run: Run, cubes: FuseCubes, dates: SeriesDates, coarse: Array, coarse_places: list[int],
    clip: Clip, count: int,
) -> list[Job]:  # fmt: skip
    """Return jobs of equally many dates; the last one's last date may come more than once."""
    record, params, nesting = run.call.record, run.call.params, cubes.nesting
    own = sorted({image for images in dates.observed for image in images} - {*dates.fine})
    images = [*dates.fine, *own]
    places = (images, coarse_places)
    state = series_state(
        record, params, cubes.fine.data, coarse, nesting, (dates.fine, coarse_places),
        (dates.times, dates.coarse_times), dates.reach,
    )  # fmt: skip
    every = np.arange(-(-len(dates.targets) // count) * count).clip(max=len(dates.targets) - 1)
    jobs = []
    for some in every.reshape(-1, count):
        function = SeriesTile(
            runner=run.runner,
            params=params,
            ratio=nesting.ratio,
            halo=record.halo(params, nesting.ratio),
            before=nesting.before,
            fine_shape=(cubes.fine.grid.height, cubes.fine.grid.width),
            coarse_shape=(nesting.coarse.height, nesting.coarse.width),
            times=dates.times,
            coarse_times=dates.coarse_times,
            targets=dates.targets[some],
            reach=dates.reach,
            used=len(dates.fine),
            observed=tuple(tuple(map(images.index, dates.observed[t])) for t in some),
            outside=dates.outside[some],
            std=run.call.quality,
            clip=clip,
        )
        jobs.append(series_job(record, function, cubes.fine.data, coarse, places, state))
    return jobs
