"""One tile of one fused date: pairs tried in turn until each pixel has a clear base image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting
from xstf.cubes.pairs import Pair, Plan
from xstf.cubes.read import Cube
from xstf.numerics.belief import believed
from xstf.numerics.doubt import REACH, Doubt
from xstf.numerics.veil import unveiled
from xstf.tiles.clip import Clip
from xstf.tiles.doubt import Predictor, predictor_of, prepare_doubt, settle_doubt
from xstf.tiles.engines import Runner
from xstf.tiles.flags import (
    EXTRAPOLATED,
    FUSED_ONE_PAIR,
    FUSED_TWO_PAIRS,
    LAYERS,
    MISSING,
    OBSERVED,
)
from xstf.tiles.frame import (
    PAIRS,
    STRETCH_CELLS,
    WHOLE_CELLS,
    Framing,
    Inner,
    Lines,
    Placed,
    inside,
    place,
    prepare_framed,
    reach_of,
    runs_of,
    settle_framed,
    settle_registration,
)
from xstf.tiles.gpu import to_host
from xstf.tiles.job import Job, Source, States
from xstf.tiles.samples import Cells, Sample, choose_cells
from xstf.tiles.states import Known, Once, State
from xstf.tiles.windows import NestedWindows, shift


@dataclass(frozen=True)
class FuseTile(NestedWindows):
    """Makes tiles of one date; called as `Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    attempts
        Combinations of pairs, best first: positions in the fine and coarse blocks.
    observed
        Positions in the fine block of images of the date itself, first valid.
    extrapolated
        Whether the date lies outside those of all pairs.
    std
        Whether the standard deviation is wanted.
    clip
        What estimates are cut to.
    framed
        Whether the states are `Framed`: the coarse grid is moved, and its change believed, first.
    strict
        Whether an attempt is for pixels that all its pairs see; else it fills those that some do
        until another sees them wholly.
    doubted
        Whether the standard deviation is made here: the last states, one of each attempt, are
        `xstf.numerics.doubt.Doubt` then.
    kernel_halo
        The method's own halo.
    """

    runner: Runner
    params: Any
    attempts: tuple[tuple[tuple[int, int], ...], ...]
    observed: tuple[int, ...]
    extrapolated: bool
    std: bool
    clip: Clip = Clip()
    framed: bool = False
    strict: bool = False
    doubted: bool = False
    kernel_halo: int = 0

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return ``(layer, band, rows, cols)``: the estimate, and if wanted its std and flag."""
        fine, coarse = blocks
        origin, fine = self.pad(fine, rows, cols)
        inner = (shift(rows, origin[0]), shift(cols, origin[1]))
        if self.framed:
            fine, coarse, inner = self._placed((fine, coarse), origin, (rows, cols), states)
        base = fine[..., inner[0], inner[1]]
        cell_clear = ~np.isnan(coarse)
        out = np.full_like(base[:1], np.nan, shape=(LAYERS, *base.shape[1:]))
        out[2] = MISSING
        out[3] = 0
        complete = ~self._at_fine(cell_clear[-1], inner)
        for image in self.observed:
            seen = ~np.isnan(base[image]) & np.isnan(out[0])
            out[0][seen] = base[image][seen]
            out[1][seen] = 0.0
            out[2][seen] = OBSERVED
            out[3][seen] = 1
            complete = complete | seen
        for n, attempt in enumerate(self.attempts):
            count = sum(
                ~np.isnan(base[f]) & self._at_fine(cell_clear[c], inner) for f, c in attempt
            ) + np.zeros_like(complete, dtype=np.uint8)
            todo = ~complete & (count == len(attempt))
            if not self.strict:
                todo |= ~complete & np.isnan(out[0]) & (count > 0)
            box = _bounding_box(todo)
            if box is None:
                continue
            part = _within(inner, box)
            estimate, std = self._run(fine, coarse, attempt, part, states, n, origin)
            estimate = self._clipped(estimate, fine, coarse, attempt, part)
            here = (slice(None), *box)
            taken = todo[here] & ~np.isnan(estimate)
            out[0][here][taken] = estimate[taken]
            if std is not None:
                out[1][here][taken] = std[taken]
            out[3][here][taken] = count[here][taken]
            out[2][here][taken] = EXTRAPOLATED if self.extrapolated else FUSED_ONE_PAIR
            if not self.extrapolated:
                out[2][here][taken & (count[here] > 1)] = FUSED_TWO_PAIRS
            complete[here] |= taken & (count[here] == len(attempt))
        return out if self.std else out[:1]

    def _placed(
        self, blocks: tuple[np.ndarray, np.ndarray], origin: tuple[int, int], wanted: Inner,
        states: States,
    ) -> Placed:  # fmt: skip
        """Return the blocks along the lines of the moved grid, one cell beyond the halo."""
        moved = states[0]().shift  # of the scene, the same for all attempts
        halo = self.kernel_halo + self.ratio
        if self.doubted:
            halo = max(halo, REACH * self.ratio)
        y, x = (
            Lines(n, m, s - b, self.ratio, halo)
            for n, m, s, b in zip(
                self.fine_shape, self.coarse_shape, moved, self.before, strict=True
            )
        )
        return place(blocks, origin, wanted, (y, x), self.before)

    def _run(
        self,
        fine: np.ndarray,
        coarse: np.ndarray,
        attempt: tuple[tuple[int, int], ...],
        inner: tuple[slice, slice],
        states: States,
        n: int,
        origin: tuple[int, int],
    ) -> tuple[Any, Any]:
        pairs = [f for f, _ in attempt]
        images = [*(c for _, c in attempt), coarse.shape[0] - 1]
        fine = fine if pairs == list(range(len(fine))) else fine[pairs]
        coarse = coarse if images == list(range(len(coarse))) else coarse[images]
        doubt: Doubt | None = None
        if self.doubted:
            own = len(states) - len(self.attempts)
            doubt, states = states[own + n](), states[:own]
        state: Any = states[n]() if states else None
        if self.framed:
            framed, state = state, state.state
            if framed.veil is not None:
                coarse = unveiled(coarse, framed.veil)
            if framed.belief is not None:
                coarse = believed(fine, coarse, framed.belief, ratio=self.ratio)
                coarse = coarse.astype(np.float32)
        seen = Placed(fine, coarse, inner)
        if self.framed:
            fine, coarse, inner = inside(seen, self.kernel_halo, self.ratio)
        estimate, std = self.runner(
            fine,
            coarse,
            ratio=self.ratio,
            params=self.params,
            state=state,
            inner=inner,
            std=self.std if doubt is None else bool(doubt.spread.any()),
            **self.runner.network(origin, self.fine_shape),
        )
        return estimate, std if doubt is None else _deviation(doubt, seen, std, self.ratio)

    def _clipped(
        self, estimate: np.ndarray, fine: np.ndarray, coarse: np.ndarray,
        attempt: tuple[tuple[int, int], ...], part: tuple[slice, slice],
    ) -> np.ndarray:  # fmt: skip
        """Return the estimate of a part within its bounds; what goes in there may set them."""
        if not self.clip.floor:
            return self.clip.bounded(estimate)
        below = estimate < 0
        if not below.any():
            return estimate
        images = [*(c for _, c in attempt), coarse.shape[0] - 1]
        # An image that is missing there takes no part.
        cells: Any = (coarse[images] < 0).any(axis=0)
        negative = self._at_fine(cells, part)
        for f, _ in attempt:
            negative = negative | (fine[f][:, part[0], part[1]] < 0)
        estimate = estimate.copy()
        estimate[below & ~negative] = 0
        return estimate

    def _at_fine(self, cells: np.ndarray, inner: tuple[slice, slice]) -> np.ndarray:
        """Return values of coarse pixels at the fine pixels of the inner part."""
        for axis, wanted in zip((-2, -1), inner, strict=True):
            first, stop = wanted.start // self.ratio, -(-wanted.stop // self.ratio)
            repeated = np.repeat(_along(cells, axis, slice(first, stop)), self.ratio, axis=axis)
            cells = _along(repeated, axis, shift(wanted, first * self.ratio))
        return cells


def _deviation(doubt: Doubt, seen: Placed, spread: Any, ratio: int) -> Any:
    """Return the standard deviation of the inner part, where its images are."""
    return doubt.deviation(seen.fine, seen.coarse, spread, ratio=ratio, inner=seen.inner)


def _along(array: np.ndarray, axis: int, part: slice) -> np.ndarray:
    """Return a part along y (-2) or x (-1)."""
    return array[..., part, :] if axis == -2 else array[..., part]


def _within(outer: tuple[slice, slice], box: tuple[slice, slice]) -> tuple[slice, slice]:
    y, x = (slice(o.start + b.start, o.start + b.stop) for o, b in zip(outer, box, strict=True))
    return y, x


def _bounding_box(todo: np.ndarray) -> tuple[slice, slice] | None:
    """Return the rows and columns that hold every True of ``(band, y, x)``."""
    rows, cols = (np.flatnonzero(todo.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


# --- jobs -------------------------------------------------------------------------------------


def fuse_job(
    sharp: Cube,
    coarse: Array,
    nesting: Nesting,
    plan: Plan,
    runner: Runner,
    record: Method,
    options: object,
    std: bool,
    clip: Clip,
    frame: Frame | None = None,
) -> Job:
    """Return one date as a job of the tiles."""
    strict = frame is not None and record.believes
    if strict and frame is not None:
        plan = replace(plan, attempts=(*plan.attempts, *_singles(plan, frame.days)))
    fine_dates = plan.fine_dates
    first = len(fine_dates)
    fine_dates = [*fine_dates, *plan.observed]
    coarse_dates = plan.coarse_dates
    doubted = std and not record.believes and record.net is None
    own_halo = record.halo(options, nesting.ratio)
    function = FuseTile(
        runner=runner,
        params=options,
        ratio=nesting.ratio,
        halo=max(own_halo, REACH * nesting.ratio if doubted else 0)
        + (reach_of(nesting.ratio, move=True) if frame else 0),
        before=nesting.before,
        fine_shape=(sharp.grid.height, sharp.grid.width),
        coarse_shape=(nesting.coarse.height, nesting.coarse.width),
        attempts=tuple(
            tuple((fine_dates.index(p.fine), coarse_dates.index(p.coarse)) for p in pairs)
            for pairs in plan.attempts
        ),
        observed=tuple(range(first, len(fine_dates))),
        extrapolated=plan.extrapolated,
        std=std,
        clip=clip,
        framed=frame is not None,
        strict=strict,
        doubted=doubted,
        kernel_halo=own_halo,
    )
    sources = (
        Source(sharp.data, tuple(fine_dates)),
        Source(coarse, tuple(coarse_dates), nesting.ratio, nesting.before),
    )
    lattice = record.lattice(options, nesting.ratio) if record.lattice else 0
    states = _states(sharp, coarse, nesting, plan, record, options, frame)
    if doubted:
        predict = predictor_of(record, runner, options)
        states = (*states, *_doubts(sharp, coarse, nesting, plan, record, predict, frame))
    lead = (LAYERS if std else 1, sharp.data.shape[1])
    return Job(function, sources, lead, function.fine_shape, states, function.halo, lattice)


def looked_at(record: Method) -> tuple[int, int]:
    """Return how many fine and coarse images one state of a method is settled from, at most."""
    return record.pairs[1], record.pairs[1] + 1


def _singles(plan: Plan, days: np.ndarray) -> list[tuple[Pair, ...]]:
    """Return attempts of one pair, the nearest first, for pixels that no others see wholly."""
    pairs = {pair for some in plan.attempts if len(some) > 1 for pair in some}
    near = sorted(pairs, key=lambda p: (abs(days[p.coarse] - days[plan.target]), p.coarse, p.fine))
    return [(pair,) for pair in near]


def _witness(pairs: tuple[Pair, ...], plan: Plan, days: np.ndarray) -> tuple[Pair, ...]:
    """Return the pair that one pair alone is compared with: beyond the date, or the nearest."""
    others = {p for some in plan.attempts for p in some if p.coarse != pairs[0].coarse}
    if len(pairs) > 1 or not others:
        return ()
    own, target = days[pairs[0].coarse], days[plan.target]

    def rank(other: Pair) -> tuple[bool, float, int]:
        at = days[other.coarse]
        return bool((at - target) * (own - target) > 0), abs(at - own), other.coarse

    return (min(others, key=rank),)


def _cells(sharp: Cube, coarse: Array, nesting: Nesting, record: Method) -> Cells:
    """Return what is seen of whole images: of the frame alone some thousand coarse pixels."""
    common: Any = {"ratio": nesting.ratio, "before": nesting.before}
    if record.prepare is not None:
        return choose_cells(sharp.data, coarse, **common, images=looked_at(record))
    return choose_cells(
        sharp.data, coarse, **common,
        whole=WHOLE_CELLS * nesting.ratio, stretch=STRETCH_CELLS * nesting.ratio,
    )  # fmt: skip


def _states(
    sharp: Cube, coarse: Array, nesting: Nesting, plan: Plan, record: Method, options: object,
    frame: Frame | None,
) -> tuple[State, ...]:  # fmt: skip
    """Return the state of each attempt: the method's, in the frame if there is one."""
    if frame is None and record.settle is None:
        return ()
    cells = _cells(sharp, coarse, nesting, record)
    seen = plan.attempts
    if frame is not None and record.believes:
        seen = tuple((*pairs, *_witness(pairs, plan, frame.days)) for pairs in seen)
    samples = [_samples(cells, sharp.data, coarse, pairs, plan.target) for pairs in seen]
    if frame is None and record.prepare is not None and record.settle is not None:
        prepare = partial(_prepare, record.prepare, nesting.ratio, options)
        settle = partial(record.settle, ratio=nesting.ratio, params=options)
        return tuple(State(settle, sample, prepare) for sample in samples)
    if frame is None:
        return ()
    framing = Framing(frame.believe, record.believes, frame.clear)
    common = (nesting.ratio, options)
    found = []
    for sample, pairs in zip(samples, plan.attempts, strict=True):
        days = tuple(float(frame.days[p.coarse] - frame.days[plan.target]) for p in pairs)
        prepare = partial(prepare_framed, record.prepare, framing, runs_of(cells), *common, days)
        settle = partial(settle_framed, record.settle, framing, days, *common)
        found.append(State(settle, sample, prepare, frame.registration))
    return tuple(found)


def _doubts(
    sharp: Cube, coarse: Array, nesting: Nesting, plan: Plan, record: Method,
    predict: Predictor | None, frame: Frame | None,
) -> tuple[State, ...]:  # fmt: skip
    """Return what is known of the errors of the method, a state of each attempt."""
    cells = _cells(sharp, coarse, nesting, record)
    prepare = partial(prepare_doubt, nesting.ratio, runs_of(cells))
    settle = partial(settle_doubt, predict, nesting.ratio, frame is not None and frame.believe)
    given = None if frame is None else frame.registration
    return tuple(
        State(settle, _samples(cells, sharp.data, coarse, pairs, plan.target), prepare, given)
        for pairs in plan.attempts
    )


@dataclass(frozen=True)
class Frame:
    """What is to be found of the scene before any method sees it.

    Parameters
    ----------
    registration
        The state that is settled to be a `Registration`.
    believe
        Whether the coarse change is shrunk by its noise.
    days
        ``(date,)`` of the coarse array, days.
    clear
        Whether haze over the target date is looked for.
    """

    registration: State | Once | Known
    believe: bool
    days: np.ndarray
    clear: bool = False


def registration_state(
    fine: Array, coarse: Array, pairs: Sequence[tuple[int, int]], nesting: Nesting, *, move: bool
) -> State:
    """Return what finds how the coarse images lie on the fine ones, from some pairs of a scene."""
    step = -(-len(pairs) // PAIRS)
    some = list(pairs)[::step]
    cells = choose_cells(
        fine, coarse, ratio=nesting.ratio, before=nesting.before,
        whole=WHOLE_CELLS * nesting.ratio, stretch=STRETCH_CELLS * nesting.ratio,
    )  # fmt: skip
    sharp, blurred = cells.of(fine, tuple(f for f, _ in some), coarse, tuple(c for _, c in some))
    settle = partial(settle_registration, runs=runs_of(cells), ratio=nesting.ratio, move=move)
    return State(settle, {"fine": sharp, "coarse": blurred})


def _samples(
    cells: Cells, fine: Array, coarse: Array, pairs: tuple[Pair, ...], target: int
) -> dict[str, Sample]:
    """Return what a method's `prepare` sees of some pairs and the target date."""
    sharp, blurred = cells.of(
        fine, tuple(p.fine for p in pairs), coarse, (*(p.coarse for p in pairs), target)
    )
    return {"fine": sharp, "coarse": blurred}


def _prepare(
    prepare: Callable[..., dict[str, np.ndarray]], ratio: int, params: object,
    samples: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Prepare and settle are plain numpy, wherever the samples were."""
    host = {name: to_host(value) for name, value in samples.items()}
    return prepare(host["fine"], host["coarse"], ratio=ratio, params=params)
