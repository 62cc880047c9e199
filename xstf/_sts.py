"""`fuse` with a third cube: check, choose, tile, label."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from math import ceil, lcm
from typing import Any

import numpy as np

from xstf import (
    _call,
    _checkpoint,
    _engines,
    _guides,
    _inputs,
    _labels,
    _nest,
    _pairs,
    _samples,
    _tiles,
)
from xstf._bring import bring_images
from xstf._flags import FLAG_MEANINGS
from xstf._inputs import Cube
from xstf._method import Method, get_method
from xstf._sts_tile import StsTile

# Side of a tile of an eager run in sharp pixels, and pairs on either side of a date that a tile
# looks at: there are hundreds of bands in each.
TILE = 256
PAIRS_BESIDE = 2


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
    cubes = read_three(fine, coarse, spatial, mask, coarse_mask, spatial_mask)
    record = get_method("sts", "sts_linear" if method == "auto" else method)
    options = _call.make_params(record, params)
    if return_quality:
        _call.require_std(record)
    series = nested(*cubes, pair_tolerance)
    if len(series.pairs) < record.fewest:
        raise ValueError(
            f"{record.name} needs {record.fewest} dates that fine, spatial and coarse share within "
            f"{pair_tolerance}, found {len(series.pairs)}; widen pair_tolerance or add images"
        )
    times: Any = cubes[1].times
    targets = wanted(times, time, pair_tolerance)
    runner = _engines.make_runner(
        record, _engines.pick(record, engine, *(c.data for c in cubes)), device
    )
    attrs = _call.attrs("fuse", record, options, cubes[0]) | {"stf_grid": series.said}
    known: dict[str, Any] = {}
    if record.net is not None:
        train = partial(
            _train, record, fine, coarse, spatial=spatial, mask=mask, coarse_mask=coarse_mask,
            spatial_mask=spatial_mask, pair_tolerance=pair_tolerance, device=device,
            progress=progress,
        )  # fmt: skip
        options, known, attrs["stf_weights"] = _checkpoint.resolve(
            record,
            options,
            bands=cubes[1].bands,
            ratio=series.ratios[0],
            fit=train,
            others={"fine_bands": cubes[0].bands, "spatial_bands": cubes[2].bands},
        )
    state = series.state(record, options)
    jobs = [series.job(t, runner, record, options, state, known, return_quality) for t in targets]
    layers = _tiles.run(jobs, chunks=_chunks(cubes[2]), tile=TILE, progress=progress)
    return _labels.assemble_on(
        layers, cubes[0], cubes[2], attrs, return_quality, FLAG_MEANINGS, times=times[targets]
    )


def read_three(
    fine: Any, coarse: Any, spatial: Any, mask: Any, coarse_mask: Any, spatial_mask: Any
) -> tuple[Cube, Cube, Cube]:
    """Return the three cubes as plain parts; raise if one has no time."""
    cubes = (
        _inputs.read(fine, what="fine", mask=mask),
        _inputs.read(coarse, what="coarse", mask=coarse_mask),
        _inputs.read(spatial, what="spatial", mask=spatial_mask),
    )
    for cube in cubes:
        if cube.times is None:
            raise ValueError(f"{cube.what} has no time; add a time dim or a scalar time coordinate")
    return cubes


def wanted(times: Any, time: np.ndarray | None, tolerance: str) -> list[int]:
    """Return positions of the dates wanted among the dense ones, in order of time."""
    if time is None:
        return [int(i) for i in np.argsort(times, kind="stable")]
    reach = _pairs.timedelta(tolerance)
    return sorted({_pairs.position(date, times, reach) for date in time}, key=lambda i: times[i])


class Series:
    """Three cubes on nested grids that start at one corner, and which of their dates go together.

    Parameters
    ----------
    spectral, dense, sharp
        ``(date, band, y, x)``, numpy or dask.
    ratios
        Sharp pixels in a spectral and in a dense one.
    pairs
        ``(pair, 3)``: positions of each paired date in the three.
    pair_days, days
        Of the pairs and of the dense dates, since the first dense one.
    said
        How the cubes got there, in words.
    """

    def __init__(
        self, spectral: Any, dense: Any, sharp: Any, ratios: tuple[int, int], pairs: np.ndarray,
        days: np.ndarray, said: str,
    ) -> None:  # fmt: skip
        self.spectral, self.dense, self.sharp = spectral, dense, sharp
        self.ratios, self.pairs, self.said = ratios, pairs, said
        self.days, self.pair_days = days, days[pairs[:, 1]]

    def state(self, record: Method, options: Any) -> tuple[Any, dict[str, Any]] | None:
        """Return the method's settle step and the samples that it wants, of all pairs."""
        if record.settle is None:
            return None
        step = lcm(*self.ratios)
        images = self.images(self.pairs)
        sides = zip(("spectral", "dense", "sharp"), images, (*self.ratios, 1), strict=True)
        samples: dict[str, Any] = dict(
            _samples.whole_blocks({n: (a, step // r) for n, a, r in sides}, side=step)
        )
        samples["times"] = self.pair_days
        settle = partial(record.settle, ratios=self.ratios, params=options)
        return partial(_settle_on_host, settle), samples

    def images(self, pairs: np.ndarray) -> tuple[Any, Any, Any]:
        """Return the three cubes on the dates of some pairs."""
        return self.spectral[pairs[:, 0]], self.dense[pairs[:, 1]], self.sharp[pairs[:, 2]]

    def near(self, target: int) -> np.ndarray:
        """Return the pairs that a date is made of: its own, and some on either side."""
        apart = self.pair_days - self.days[target]
        order = np.argsort(np.abs(apart), kind="stable")
        sides = [[i for i in order if sign * apart[i] > 0][:PAIRS_BESIDE] for sign in (-1, 1)]
        return np.sort([*(i for i in order if apart[i] == 0), *sides[0], *sides[1]])

    def job(
        self, target: int, runner: _engines.Runner, record: Method, options: Any,
        state: tuple[Any, dict[str, Any]] | None, known: dict[str, Any], std: bool,
    ) -> _tiles.Job:  # fmt: skip
        """Return one date as a job of the tiles."""
        near = self.near(target)
        chosen = self.pairs[near]
        shapes = tuple(tuple(a.shape[2:]) for a in (self.sharp, self.spectral, self.dense))
        function = StsTile(
            runner=runner, params=options, ratios=self.ratios,
            halo=record.halo(options, self.ratios), shapes=shapes,  # type: ignore[arg-type]
            times=self.pair_days[near], target=float(self.days[target]), std=std,
            placed=bool(known),
        )  # fmt: skip
        sources = (
            _tiles.Source(self.sharp, tuple(chosen[:, 2].tolist()), function.window(0)),
            _tiles.Source(self.spectral, tuple(chosen[:, 0].tolist()), function.window(1)),
            _tiles.Source(self.dense, (*chosen[:, 1].tolist(), target), function.window(2)),
        )
        states: tuple[Any, ...] = () if state is None else (state,)
        if known:
            states += ((partial(_given, known), {}),)
        lead = (3 if std else 1, self.spectral.shape[1])
        return _tiles.Job(function, sources, lead, self.sharp.shape[2:], states)


def nested(spectral: Cube, dense: Cube, sharp: Cube, tolerance: str) -> Series:
    """Return the three cubes on grids that nest in the sharp one, with their paired dates."""
    images, ratios, how = [], [], []
    for cube in (spectral, dense):
        nesting = at_corner(sharp, cube)
        dates = list(range(cube.data.shape[0]))
        as_is = nesting.how == "nested" and nesting.coarse == cube.grid
        images.append(cube.data if as_is else bring_images(cube, nesting, dates))
        ratios.append(nesting.ratio)
        how.append(f"{cube.what} {nesting.how}, ratio {nesting.ratio}")
    times: Any = dense.times
    return Series(
        images[0], images[1], sharp.data, (ratios[0], ratios[1]),
        _matched(spectral, dense, sharp, tolerance), _guides.days(times, times.min()),
        "; ".join(how),
    )  # fmt: skip


def at_corner(sharp: Cube, cube: Cube) -> _nest.Nesting:
    """Return the grid nested in the sharp one, at its corner, to which a cube is brought."""
    nesting = _nest.nest(sharp.grid, cube.grid, what=("spatial", cube.what))
    if nesting.before == (0, 0):
        return nesting
    grid, ratio = sharp.grid, nesting.ratio
    height, width = ceil(grid.height / ratio), ceil(grid.width / ratio)
    coarse = replace(grid, dy=grid.dy * ratio, dx=grid.dx * ratio, height=height, width=width)
    after = (height * ratio - grid.height, width * ratio - grid.width)
    return _nest.Nesting(ratio, coarse, (0, 0), after, "resampled")


def _matched(spectral: Cube, dense: Cube, sharp: Cube, tolerance: str) -> np.ndarray:
    """Return the positions ``(pair, 3)`` of the dates that all three have, in order of time."""
    reach = _pairs.timedelta(tolerance)
    times: list[Any] = [c.times for c in (spectral, dense, sharp)]
    found = []
    for i, date in enumerate(times[0]):
        near = [int(np.abs(t - date).argmin()) for t in times[1:]]
        if all(abs(t[n] - date) <= reach for t, n in zip(times[1:], near, strict=True)):
            found.append((i, *near))
    if not found:
        spans = "; ".join(
            f"{c.what} {np.datetime64(t.min(), 'D')} to {np.datetime64(t.max(), 'D')}"
            for c, t in zip((spectral, dense, sharp), times, strict=True)
        )
        raise ValueError(
            f"fine, spatial and coarse have no date in common within {tolerance} ({spans}); widen "
            "pair_tolerance or add images"
        )
    found.sort(key=lambda pair: times[1][pair[1]])
    return np.array(found)


def _train(record: Method, *cubes: Any, **options: Any) -> Any:
    """Train a network on the cubes of a call."""
    return importlib.import_module("xstf.train").fit(record, *cubes, **options)


def _given(known: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
    return known


def _settle_on_host(settle: Any, samples: dict[str, Any]) -> Any:
    return settle({name: _engines.to_host(value) for name, value in samples.items()})


def _chunks(cube: Cube) -> tuple[Any, Any]:
    """Return the chunks of a lazy result along y and x: the sharp cube's, or tiles."""
    if _tiles.is_lazy(cube.data):
        return cube.data.chunks[2], cube.data.chunks[3]
    return (TILE, TILE)
