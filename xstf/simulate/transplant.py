"""Which dates are given a gap, and the shape of which other date's gap: plain numpy."""

from __future__ import annotations

import numpy as np

# A date is chosen only if more of it is clear.
CLEAR = 0.5
# Dates that are given a gap, if no number is asked for: most of the series stays as it is.
ONE_IN = 8


def positions(labels: np.ndarray, dates: np.ndarray) -> list[int]:
    """Return where dates are among the labels of the time axis."""
    wanted = dates.astype(labels.dtype)
    if labels.dtype.kind == "M":  # a day means its image, whatever the hour
        days = labels.astype("M8[D]")
        whole = (wanted == wanted.astype("M8[D]")) & ~np.isin(wanted, labels)
        labels = np.where(np.isin(days, wanted[whole]), days.astype(labels.dtype), labels)
    unknown = wanted[~np.isin(wanted, labels)]
    if unknown.size:
        raise ValueError(f"the cube has no dates {unknown.astype(str).tolist()}; see its time")
    return [int(np.flatnonzero(labels == date)[0]) for date in wanted]


def near(when: np.ndarray, days: float) -> np.ndarray:
    """Return which dates are within so many days of a date, ``(date, date)``."""
    seconds = np.abs(when[:, None] - when) / np.timedelta64(1, "s")
    return np.asarray(seconds <= days * 86400)


def shapes(clear: np.ndarray, date: int, share: tuple[float, float]) -> np.ndarray:
    """Return the dates whose gap would mask a share of the clear pixels of a date."""
    masks = (~clear & clear[date]).sum(axis=(1, 2)) / max(clear[date].sum(), 1)
    return np.flatnonzero((masks >= share[0]) & (masks <= share[1]))


def choose(
    clear: np.ndarray,
    reach: np.ndarray,
    share: tuple[float, float] | None,
    dates: int | list[int] | None,
    rng: np.random.Generator,
) -> list[tuple[int, np.ndarray]]:
    """Return dates and which pixels to mask there, ``(y, x)``.

    Parameters
    ----------
    clear
        ``(time, y, x)``.
    reach
        Which dates a gap on a date takes in; gaps on dates that are not named do not meet.
    share
        The least and the most of the clear pixels that a shape masks; None masks all.
    dates
        How many, or which.
    """
    order = rng.permutation(np.flatnonzero(clear.mean(axis=(1, 2)) > CLEAR)).tolist()
    wanted = max(1, len(clear) // ONE_IN) if dates is None else dates
    named = isinstance(wanted, list)
    candidates, count = (wanted, len(wanted)) if isinstance(wanted, list) else (order, wanted)
    found: list[tuple[int, np.ndarray]] = []
    taken = np.zeros(len(clear), dtype=bool)
    for date in candidates:
        if len(found) == count or ((reach[date] & taken).any() and not named):
            continue
        fits = np.empty(0, int) if share is None else shapes(clear, date, share)
        if share is None or len(fits):
            found.append(
                (date, np.ones_like(clear[0]) if share is None else ~clear[rng.choice(fits)])
            )
            taken |= reach[date]
    if len(found) < (1 if dates is None else count):
        lacking = (
            "the others are less than half clear, or too near to each other"
            if share is None
            else f"no gap masks {share[0]:.0%} to {share[1]:.0%} of clear pixels of the others; "
            "widen share, give a mask= with gaps, or use add_clouds"
        )
        raise ValueError(f"found a gap for {len(found)} of {count} dates: {lacking}")
    return found
