"""Which image pairs teach a fusion network to predict which, and which of that is held out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from xstf.cubes.pairs import Pair

_STRIPE = 0.2  # of the columns, held out where there are too few dates to hold one out


@dataclass(frozen=True)
class Lesson:
    """One image pair that predicts the fine image of another, on some columns.

    Parameters
    ----------
    known, wanted
        What predicts and what is predicted.
    columns
        Where.
    beside
        Further pairs that predict together with `known`.
    """

    known: Pair
    wanted: Pair
    columns: slice
    beside: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All that predicts."""
        return (self.known, *self.beside)


def split(
    pairs: list[Pair],
    dates: np.ndarray,
    validation: Any,
    width: int,
    cross: bool,
    swap: bool,
    together: int,
) -> tuple[tuple[Lesson, ...], tuple[Lesson, ...], str]:
    """Return what is trained on, what is held out, and that in words.

    A date that is held out is in no lesson, neither as what is predicted nor as what is known.
    """
    # A date is held out where the others still make lessons of as many pairs as all could.
    fewest = min(together + 1, len(pairs)) if validation is None else 2
    days = dates.astype("datetime64[D]")
    if validation is not None:
        wanted = np.atleast_1d(np.asarray(validation, "datetime64[D]"))
        out = [i for i, day in enumerate(days) if day in wanted]
        if len(out) < len(set(wanted.tolist())):
            raise ValueError(
                f"validation={[str(d) for d in wanted]} must be dates of image pairs; there are "
                f"{[str(d) for d in days]}"
            )
    else:
        count = len(pairs) // 4 or len(pairs) // 3
        out = np.linspace(0, len(pairs) - 1, count + 2).round().astype(int)[1:-1].tolist()
    kept = [i for i in range(len(pairs)) if i not in out]
    everywhere = slice(0, width)
    if len(kept) < fewest or not out:
        if validation is not None:
            raise ValueError(
                f"validation= leaves {len(kept)} image pair to train on; two are needed"
            )
        edge = width - max(1, int(width * _STRIPE))
        trained, tested = slice(0, edge), slice(edge, width)
        both = list(range(len(pairs)))
        lessons, held = (
            _lessons(pairs, both, columns, True, True, together) for columns in (trained, tested)
        )
        return lessons, held, f"columns {edge} and on"
    held = tuple(_held_lesson(pairs, dates, kept, i, everywhere, together) for i in out)
    said = "dates " + ", ".join(str(days[i]) for i in out)
    return _lessons(pairs, kept, everywhere, cross, swap, together), held, said


def _held_lesson(
    pairs: list[Pair], dates: np.ndarray, kept: list[int], target: int, columns: slice,
    together: int,
) -> Lesson:  # fmt: skip
    """Return how a verb would predict a date: from the pairs around it, or from the nearest."""
    before, after = [i for i in kept if i < target], [i for i in kept if i > target]
    if together > 1 and before and after:
        known = [before[-1], after[0]]
    else:
        known = [min(kept, key=lambda i: abs(dates[i] - dates[target]))]
    first, *more = (pairs[i] for i in known)
    return Lesson(first, pairs[target], columns, tuple(more))


def _lessons(
    pairs: list[Pair], kept: list[int], columns: slice, cross: bool, swap: bool,
    together: int,
) -> tuple[Lesson, ...]:  # fmt: skip
    """Return every ordered two of the pairs, or those that follow each other in time.

    With two together and three pairs or more: every two that predict a third, or those around it.
    """
    found: list[tuple[tuple[int, ...], int]] = []
    if together > 1 and len(kept) > 2:
        found += [
            ((a, b), wanted)
            for place, wanted in enumerate(kept)
            for a, b in combinations(kept if cross else kept[max(place - 1, 0) : place + 2], 2)
            if wanted not in (a, b)
        ]
    else:
        for place, i in enumerate(kept):
            others = kept if cross else kept[place + 1 : place + 2]
            found += [((i,), j) for j in others if j != i]
            if swap and not cross:
                found += [((j,), i) for j in others]
    return tuple(
        Lesson(pairs[known[0]], pairs[wanted], columns, tuple(pairs[i] for i in known[1:]))
        for known, wanted in found
    )
