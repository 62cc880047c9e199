"""The frame of a fusion: where the coarse pixels truly lie, and how far their change is believed.

Before the change is looked at, haze is taken off the target's coarse image (`xstf.numerics.veil`).
All are found once for the scene, from samples (`registration_of`, `prepare_framed`), and applied
tile by tile (`Frame.moved`, `xstf.numerics.belief.believed`). A shift moves the coarse grid by
whole fine pixels: a tile's blocks are cut anew along the moved grid's lines. At the edge, which the
moved grid lays bare, the outermost coarse pixel stands for what lies up to the shift beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xstf.numerics.array_module import contiguous
from xstf.numerics.belief import Belief, believed, find_belief
from xstf.numerics.in_time import shares_of
from xstf.numerics.registration import REACH, Registration, find_registration
from xstf.numerics.veil import Veil, find_veil, unveiled
from xstf.tiles.gpu import to_host
from xstf.tiles.samples import Cells

Inner = tuple[slice, slice]

# Fewer coarse pixels along a side tell nothing of either.
FEWEST = 8
# Cells beyond a method's halo: one that e of `believed` looks at, two for lines that move.
BEYOND = 3
# What registration sees: axes of up to so many coarse pixels whole, of longer ones five stretches.
WHOLE_CELLS, STRETCH_CELLS = 64, 16
# Pairs that registration looks at, at most.
PAIRS = 3


class Framing(NamedTuple):
    """What is done about the frame: said before anything is computed.

    Parameters
    ----------
    believe
        Whether the change is shrunk by its noise.
    own
        Whether the method does that itself (`Method.believes`).
    clear
        Whether haze over the target date is looked for.
    """

    believe: bool = False
    own: bool = False
    clear: bool = False


class Framed(NamedTuple):
    """What tiles know of the frame, and what the method settled in it.

    Parameters
    ----------
    shift
        Of the coarse grid, fine pixels down and right.
    belief
        None: the change is taken as it is, or the method itself believes it.
    state
        The method's.
    veil
        Haze over the target date; None: not looked for.
    """

    shift: tuple[int, int]
    belief: Belief | None
    state: Any
    veil: Veil | None = None


def reach_of(ratio: int, *, move: bool) -> int:
    """Return how many fine pixels more than its method's halo a framed tile sees."""
    return BEYOND * ratio + (int(REACH * ratio) if move else 0)


# --- tiles ------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """Blocks along the lines of the moved grid.

    Parameters
    ----------
    fine, coarse
        ``(image, band, y, x)`` of whole coarse pixels.
    inner
        Where the wanted part lies in `fine`.
    """

    fine: np.ndarray
    coarse: np.ndarray
    inner: Inner


class Lines(NamedTuple):
    """The moved grid along y or x.

    Parameters
    ----------
    size, cells
        Of the whole fine and coarse image.
    start
        Where the first coarse pixel begins, in fine pixels of the image.
    ratio, halo
        Fine pixels in a coarse one; of what is to be seen around the wanted part.
    """

    size: int
    cells: int
    start: int
    ratio: int
    halo: int

    def seen(self, wanted: slice) -> tuple[int, int]:
        """Return the first coarse pixel that is seen and the one after the last."""
        low, high = max(0, wanted.start - self.halo), min(self.size, wanted.stop + self.halo)
        return (low - self.start) // self.ratio, -(-(high - self.start) // self.ratio)


def place(
    blocks: tuple[np.ndarray, np.ndarray], origin: tuple[int, int], wanted: Inner,
    lines: tuple[Lines, Lines], before: tuple[int, int],
) -> Placed:  # fmt: skip
    """Return blocks of the nominal grid cut along the lines of the moved one.

    Parameters
    ----------
    blocks
        Fine and coarse, of whole nominal coarse pixels.
    origin
        Where the fine block begins in the image.
    wanted
        Rows and columns of the image.
    lines, before
        The moved grid; fine pixels from the nominal grid's corner to the image's.
    """
    fine, coarse = blocks
    rows, cols, inner = [], [], []
    for axis, (line, at, part) in enumerate(zip(lines, origin, wanted, strict=True)):
        first, stop = line.seen(part)
        begin = first * line.ratio + line.start
        rows.append(np.arange(begin, stop * line.ratio + line.start) - at)
        own = (at + before[axis]) // line.ratio
        cols.append(np.clip(np.arange(first, stop), 0, line.cells - 1) - own)
        inner.append(slice(part.start - begin, part.stop - begin))
    return Placed(
        _taken(fine, rows[0], rows[1]),
        contiguous(coarse[..., cols[0][:, None], cols[1]]),
        (inner[0], inner[1]),
    )


def _taken(fine: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Return rows and columns that follow each other, NaN where there are none."""
    height, width = fine.shape[-2:]
    if rows[0] >= 0 and cols[0] >= 0 and rows[-1] < height and cols[-1] < width:
        return contiguous(fine[..., rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1])
    out = np.full_like(fine, np.nan, shape=(*fine.shape[:-2], len(rows), len(cols)))
    inside = [(at >= 0) & (at < n) for at, n in ((rows, height), (cols, width))]
    ends = [slice(int(np.argmax(i)), int(len(i) - np.argmax(i[::-1]))) for i in inside]
    out[..., ends[0], ends[1]] = fine[
        ..., rows[ends[0]][0] : rows[ends[0]][-1] + 1, cols[ends[1]][0] : cols[ends[1]][-1] + 1
    ]
    return out


def inside(placed: Placed, halo: int, ratio: int) -> Placed:
    """Return blocks without the coarse pixels that lie wholly beyond a halo."""
    cuts, inner = [], []
    for part, n in zip(placed.inner, placed.coarse.shape[-2:], strict=True):
        first = max(0, (part.start - halo) // ratio)
        last = n - max(0, (n * ratio - part.stop - halo) // ratio)
        cuts.append((first, last))
        inner.append(slice(part.start - first * ratio, part.stop - first * ratio))
    (top, bottom), (left, right) = cuts
    return Placed(
        placed.fine[..., top * ratio : bottom * ratio, left * ratio : right * ratio].copy(),
        placed.coarse[..., top:bottom, left:right].copy(),
        (inner[0], inner[1]),
    )


# --- samples ----------------------------------------------------------------------------------


def settle_registration(samples: dict[str, np.ndarray], *, runs: Runs, ratio: int, move: bool
                        ) -> Registration:  # fmt: skip
    """Return the registration of a scene from samples of its pairs."""
    fine, coarse = (to_host(samples[name]) for name in ("fine", "coarse"))
    patches = [
        (fine[..., y.start * ratio : y.stop * ratio, x.start * ratio : x.stop * ratio],
         coarse[..., y, x])
        for y in runs[0] for x in runs[1]
    ]  # fmt: skip
    return find_registration(patches, ratio, move=move)


Runs = tuple[tuple[slice, ...], tuple[slice, ...]]


def runs_of(cells: Cells) -> Runs:
    """Return the stretches of coarse pixels that follow each other in a sample, along y and x."""
    found = []
    for at in cells.coarse:
        breaks = [0, *(np.flatnonzero(np.diff(at) > 1) + 1).tolist(), len(at)]
        found.append(tuple(slice(a, b) for a, b in zip(breaks[:-1], breaks[1:], strict=True)))
    return found[0], found[1]


def moved_sample(fine: np.ndarray, runs: Runs, shift: tuple[int, int], ratio: int) -> np.ndarray:
    """Return a sample of fine images along the moved grid, NaN where its stretch ends."""
    if shift == (0, 0):
        return fine
    found, there = [], []
    for stretches, by in zip(runs, shift, strict=True):
        at = [np.arange(s.start * ratio, s.stop * ratio) + by for s in stretches]
        keep = [(a >= s.start * ratio) & (a < s.stop * ratio)
                for a, s in zip(at, stretches, strict=True)]  # fmt: skip
        there.append(np.concatenate(keep))
        found.append(np.where(there[-1], np.concatenate(at), 0))
    taken = fine[..., found[0][:, None], found[1]]
    return np.where(there[0][:, None] & there[1], taken, np.float32(np.nan))


def prepare_framed(
    prepare: Callable[..., dict[str, np.ndarray]] | None, framing: Framing, runs: Runs, ratio: int,
    params: object, days: tuple[float, ...], samples: Mapping[str, np.ndarray],
    registration: Registration,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return what the frame and the method pick out of samples of whole images.

    A pair more than there are days is a witness: its change from the first one is known.
    """
    fine, coarse = (to_host(samples[name]) for name in ("fine", "coarse"))
    out = {"shift": np.array(registration.shift)}
    fine = moved_sample(fine, runs, registration.shift, ratio)
    belief, pairs = None, len(days)
    if framing.clear:
        images = [*range(pairs), -1]
        veil = find_veil(coarse[images], shares_of(days))
        out |= {f"veil.{name}": np.asarray(v) for name, v in veil._asdict().items()}
        coarse = np.concatenate([coarse[:-1], unveiled(coarse[images], veil)[-1:]])
    known = (fine, coarse[:-1]) if len(fine) > pairs else None
    if framing.believe:
        own = coarse[[*range(pairs), -1]]
        belief = find_belief(fine[:pairs], own, ratio=ratio, spill=registration.spill)
        out |= {f"belief.{name}": np.asarray(v) for name, v in belief._asdict().items()}
        if not framing.own:
            coarse = believed(fine, coarse, belief, ratio=ratio).astype(np.float32)
    if prepare is not None:
        more = {"belief": belief, "days": days, "known": known} if framing.own else {}
        fine, coarse = fine[:pairs], coarse[[*range(pairs), -1]]
        picked = prepare(fine, coarse, ratio=ratio, params=params, **more)
        out |= {f"method.{name}": value for name, value in picked.items()}
    return out


def settle_framed(
    settle: Callable[..., Any] | None, framing: Framing, days: tuple[float, ...], ratio: int,
    params: object, samples: dict[str, np.ndarray],
) -> Framed:  # fmt: skip
    """Return the frame with the state of the method in it."""
    groups: dict[str, dict[str, Any]] = {"belief": {}, "method": {}, "veil": {}}
    for name, value in samples.items():
        if "." in name:
            group, own = name.split(".", 1)
            groups[group][own] = value
    belief = None
    if framing.believe:
        belief = Belief(**groups["belief"])
        belief = belief._replace(spill=float(belief.spill))
    veil = None
    if framing.clear:
        found = groups["veil"]
        strength, most = float(found["strength"]), float(found["most"])
        veil = Veil(strength, found["level"], found["shares"], most)
    shift = (int(samples["shift"][0]), int(samples["shift"][1]))
    if settle is None:
        return Framed(shift, belief, None, veil)
    more = {"belief": belief, "days": days} if framing.own else {}
    state = settle(groups["method"], ratio=ratio, params=params, **more)
    return Framed(shift, None if framing.own else belief, state, veil)
