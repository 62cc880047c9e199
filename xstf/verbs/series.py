"""`fuse` by a method that looks at whole series: every date wanted, few jobs for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from xstf.align.fuse import FuseCubes
from xstf.align.series import KnownSeries, SeriesDates, series_dates
from xstf.cubes.arrays import Array
from xstf.cubes.pairs import DateLike, LengthLike, Plan, short_days
from xstf.cubes.units import Side
from xstf.cubes.words import warn_user
from xstf.cubes.write import assemble
from xstf.tiles.clip import Clip
from xstf.tiles.either import both_job
from xstf.tiles.engines import make_runner
from xstf.tiles.flags import FLAG_MEANINGS, LAYERS
from xstf.tiles.fuse import Frame
from xstf.tiles.job import Job
from xstf.tiles.run import is_lazy
from xstf.tiles.series import SeriesTile, dates_a_job, series_job, series_state
from xstf.tiles.states import State
from xstf.tiles.units import check_units
from xstf.tiles.ways import Hidden, Series, ways_state
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
    state = series_state(
        run.call.record, run.call.params, cubes.fine.data, coarse, cubes.nesting,
        (dates.fine, coarse_places), (dates.times, dates.coarse_times), dates.reach,
    )  # fmt: skip
    every = np.arange(-(-len(dates.targets) // count) * count).clip(max=len(dates.targets) - 1)
    way = _Way(run, cubes, coarse, coarse_places, clip, state)
    return [way.job(dates, some, dates.outside[some]) for some in every.reshape(-1, count)]


@dataclass(frozen=True)
class _Way:
    """What all jobs of series share."""

    run: Run
    cubes: FuseCubes
    coarse: Array
    coarse_places: list[int]
    clip: Clip
    state: State | None

    def job(self, dates: SeriesDates, some: np.ndarray, outside: np.ndarray) -> Job:
        """Return some of the wanted dates as one job."""
        record, params, nesting = self.run.call.record, self.run.call.params, self.cubes.nesting
        own = {image for images in dates.observed for image in images} - {*dates.fine}
        images = [*dates.fine, *sorted(own)]
        function = SeriesTile(
            runner=self.run.runner,
            params=params,
            ratio=nesting.ratio,
            halo=record.halo(params, nesting.ratio),
            before=nesting.before,
            fine_shape=(self.cubes.fine.grid.height, self.cubes.fine.grid.width),
            coarse_shape=(nesting.coarse.height, nesting.coarse.width),
            times=dates.times,
            coarse_times=dates.coarse_times,
            targets=dates.targets[some],
            reach=dates.reach,
            used=len(dates.fine),
            observed=tuple(tuple(map(images.index, dates.observed[t])) for t in some),
            outside=outside,
            std=self.run.call.quality,
            clip=self.clip,
        )
        places = (images, self.coarse_places)
        return series_job(
            record, function, self.cubes.fine.data, self.coarse, places, self.state
        )  # fmt: skip


# --- beside pairs -------------------------------------------------------------------------------


def beside_pairs(
    run: Run, jobs: Sequence[Job], plans: Sequence[Plan], cubes: FuseCubes, coarse: Array,
    place: dict[int, int], known: KnownSeries, frame: Frame, clip: Clip,
) -> list[Job]:  # fmt: skip
    """Return the jobs of pairs' dates, each averaged with what the whole series says of it.

    Parameters
    ----------
    run
        The method of pairs, whose record names that of series.
    jobs, plans
        Of each date.
    cubes, coarse, place
        The cubes, the nested coarse images, and where among them each date is.
    known, frame
        The series, and the frame of the pairs.
    """
    record = run.call.record.whole
    if record is None:
        raise TypeError(f"{run.call.record.name} names no method of series")
    fine, nesting = cubes.fine.data, cubes.nesting
    places = [place[date] for date in known.coarse]
    own = replace(
        run,
        call=replace(run.call, record=record, params=record.params()),
        runner=make_runner(record, run.runner.engine, run.runner.device),
    )
    state = series_state(
        record, own.call.params, fine, coarse, nesting, (known.fine, places),
        (known.times, known.coarse_times), known.reach,
    )  # fmt: skip
    way = _Way(own, cubes, coarse, places, clip, state)
    hidden = [
        Hidden(
            k,
            known.own[k],
            tuple((n, known.own[n]) for n in near),
            tuple(range(len(known.fine)))[known.near(k)],
        )
        for k, near in known.left_out
    ]
    series = Series(known.fine, tuple(places), known.times, known.coarse_times, known.reach)
    ways = ways_state(
        (run.call.record, record), fine, coarse, nesting, series, hidden, frame
    )  # fmt: skip
    return [
        both_job(job, way.job(known.around(plan), np.zeros(1, int), np.array([plan.extrapolated])),
                 ways)
        for job, plan in zip(jobs, plans, strict=True)
    ]  # fmt: skip
