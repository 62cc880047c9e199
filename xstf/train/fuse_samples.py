"""Examples of fusion: which image pairs predict which date, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from xstf.cubes.pairs import DateLike, Pair
from xstf.train.patches import days_of, whole_days

_STRIPE = 0.2  # of the columns, held out where there are too few dates to hold one out


@dataclass(frozen=True)
class Example:
    """Image pairs that predict the fine image of another date, on some columns.

    Parameters
    ----------
    pairs
        What it is predicted from, one or two.
    target
        The pair whose fine image is predicted.
    columns
        Where.
    """

    pairs: tuple[Pair, ...]
    target: Pair
    columns: slice


class Split(NamedTuple):
    """What is trained on, what is held out, and that in words."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    text: str


class Combining(NamedTuple):
    """Which pairs predict which.

    Parameters
    ----------
    cross
        Every two dates, in both orders; else those that follow each other.
    swap
        Whether dates that follow each other also predict backwards.
    together
        Pairs that predict together, where there are enough.
    """

    cross: bool = True
    swap: bool = False
    together: int = 1


def split(
    pairs: list[Pair],
    dates: np.ndarray,
    validation: DateLike | None,
    width: int,
    combining: Combining,
) -> Split:
    """Return the examples of image pairs in order of time.

    A held-out date is in no example to train on, neither as the target nor as what it is predicted
    from; nor is another image of its solar day.

    Parameters
    ----------
    dates
        ``(pair,)``, in local solar time.
    """
    together = combining.together
    # A date is held out where the others still make examples of as many pairs as all could.
    fewest = min(together + 1, len(pairs)) if validation is None else 2
    days = dates.astype("datetime64[D]")
    out = _held_out_pairs(days, validation)
    kept = [i for i in range(len(pairs)) if i not in out]
    if len(kept) < fewest or not out:
        if validation is not None:
            raise ValueError(
                f"validation= leaves {len(kept)} image pair to train on; two are needed"
            )
        edge = width - max(1, int(width * _STRIPE))
        every = list(range(len(pairs)))
        train, held = (
            _examples(pairs, every, columns, Combining(True, True, together))
            for columns in (slice(0, edge), slice(edge, width))
        )
        return Split(train, held, f"columns {edge} and on")
    everywhere = slice(0, width)
    held = tuple(_held_out_example(pairs, dates, kept, i, everywhere, together) for i in out)
    text = "dates " + ", ".join(str(days[i]) for i in out)
    return Split(_examples(pairs, kept, everywhere, combining), held, text)


def _held_out_pairs(days: np.ndarray, validation: DateLike | None) -> list[int]:
    """Return the pairs of the named dates; by default a quarter of them, inside the series."""
    if validation is None:
        count = len(days) // 4 or len(days) // 3
        found: list[int] = np.linspace(0, len(days) - 1, count + 2).round().astype(int).tolist()
        return whole_days(found[1:-1], days)
    wanted = days_of(validation)
    out = [i for i, day in enumerate(days) if day in wanted]
    if len(out) < len(set(wanted.tolist())):
        raise ValueError(
            f"validation={[str(d) for d in wanted]} must be dates of image pairs; there are "
            f"{[str(d) for d in days]}"
        )
    return out


def _held_out_example(
    pairs: list[Pair], dates: np.ndarray, kept: list[int], target: int, columns: slice,
    together: int,
) -> Example:  # fmt: skip
    """Return how a verb would predict a date: from the pairs around it, or from the nearest."""
    before, after = [i for i in kept if i < target], [i for i in kept if i > target]
    if together > 1 and before and after:
        used = [before[-1], after[0]]
    else:
        used = [min(kept, key=lambda i: abs(dates[i] - dates[target]))]
    return Example(tuple(pairs[i] for i in used), pairs[target], columns)


def _examples(
    pairs: list[Pair], kept: list[int], columns: slice, combining: Combining
) -> tuple[Example, ...]:
    """Return every ordered two of the pairs, or those that follow each other in time.

    With two together and three pairs or more: every two that predict a third, or those around it.
    """
    cross, swap, together = combining
    found: list[tuple[tuple[int, ...], int]] = []
    if together > 1 and len(kept) > 2:
        found += [
            ((a, b), target)
            for place, target in enumerate(kept)
            for a, b in combinations(kept if cross else kept[max(place - 1, 0) : place + 2], 2)
            if target not in (a, b)
        ]
    else:
        for place, i in enumerate(kept):
            others = kept if cross else kept[place + 1 : place + 2]
            found += [((i,), j) for j in others if j != i]
            if swap and not cross:
                found += [((j,), i) for j in others]
    return tuple(
        Example(tuple(pairs[i] for i in used), pairs[target], columns) for used, target in found
    )
