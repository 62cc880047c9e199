"""Cubes of the same thing in units that are not the same: reflectance beside digital numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

# Medians farther apart than this are not those of one quantity in one unit.
FACTOR = 20.0
# Fewer values say nothing, but where they are as far apart as this.
_FEWEST, _FAR = 4, 1000.0
# Digital numbers of reflectance, and reflectance.
_NUMBERS, _REFLECTANCE = (50.0, 30_000.0), 2.0
# From this power of ten on they differ by what reflectance is multiplied with to be stored.
_AS_NUMBERS = 3.5
# Degrees Celsius that temperatures of the earth's surface have, and what kelvins have more.
_CELSIUS, _KELVIN = 80.0, (250.0, 300.0)


class Side(NamedTuple):
    """A cube that is compared.

    Parameters
    ----------
    what
        What messages call it.
    argument
        The argument that scales it in the call; "" for none.
    bands
        Labels of its bands; those of two cubes that are alike are compared one by one too.
    """

    what: str
    argument: str
    bands: tuple[Hashable, ...]


def require_same_units(sides: Sequence[Side], values: Sequence[np.ndarray]) -> None:
    """Raise if any two cubes are in units that cannot be the same.

    Parameters
    ----------
    sides
        The cubes.
    values : sequence of array (band, value)
        Of each what it has where all of them see, NaN elsewhere; their second axes are one.
    """
    for (one, first), (other, second) in combinations(zip(sides, values, strict=True), 2):
        medians = _median(first), _median(second)
        few = min(np.isfinite(first).sum(), np.isfinite(second).sum()) < _FEWEST
        if _differ(*medians, _FAR if few else FACTOR):
            raise ValueError(_message(one, other, medians))
        if one.bands == other.bands and len(one.bands) > 1:
            _require_bands(one, other, first, second)


def _require_bands(one: Side, other: Side, first: np.ndarray, second: np.ndarray) -> None:
    """Raise if a single band differs, in its size and in its spread alike."""
    for band, a, b in zip(one.bands, first, second, strict=True):
        medians, spreads = (_median(a), _median(b)), (_spread(a), _spread(b))
        larger = medians[0] > medians[1]
        if _differ(*medians) and _differ(*spreads) and larger == (spreads[0] > spreads[1]):
            raise ValueError(_message(one, other, medians, band))


def _differ(one: float, other: float, factor: float = FACTOR) -> bool:
    """Return whether two sizes are too far apart; those of 0, or of nothing, are not."""
    low, high = sorted((one, other))
    return low > 0 and np.isfinite(high) and high > factor * low


def _median(values: np.ndarray) -> float:
    seen = np.abs(values[np.isfinite(values)])
    return float(np.median(seen)) if seen.size else np.nan


def _spread(values: np.ndarray) -> float:
    """Return the range of the middle half."""
    seen = values[np.isfinite(values)]
    return float(np.subtract(*np.percentile(seen, [75, 25]))) if seen.size >= _FEWEST else np.nan


def _message(one: Side, other: Side, medians: tuple[float, float], band: Hashable = None) -> str:
    power = _likely_power(medians)
    where = "" if band is None else f" in band {band!r}"
    remedies = [
        f"{_scaled(side, sign * power)} brings {side.what} to the units of {beside.what}"
        for side, beside, sign in ((one, other, -1), (other, one, 1))
    ]
    remedy = "; or ".join(remedies if power > 0 else remedies[::-1])
    if band is not None:
        smaller = other.what if power > 0 else one.what
        remedy = f"multiply that band of {smaller} by {_power(abs(power))} before the call"
    return (
        f"{one.what} and {other.what} are not in the same units{where}: where both see, the median "
        f"of their absolute values is {medians[0]:.3g} in {one.what} and {medians[1]:.3g} in "
        f"{other.what}, likely a factor of {_power(abs(power))}; {remedy}{_hint(medians)}"
    )


def _likely_power(medians: tuple[float, float]) -> int:
    """Return the likely factor between two cubes as a power of ten."""
    power = np.log10(medians[0] / medians[1])
    low, high = sorted(medians)
    # An offset of 1000 makes dark numbers more than 10 000 times as large.
    if low < _REFLECTANCE and _NUMBERS[0] < high < _NUMBERS[1] and abs(power) > _AS_NUMBERS:
        return int(4 * np.sign(power))
    return int(np.rint(power))


def _scaled(side: Side, power: int) -> str:
    """Return how a cube is scaled, as it is written in a call."""
    factor = _power(power)
    return f"{side.argument}={factor}" if side.argument else f"{side.what} * {factor}"


def _power(of: int) -> str:
    """Return a power of ten as it is written in a call."""
    return str(10**of) if 0 <= of <= 6 else f"1e{of}"


def _hint(medians: tuple[float, float]) -> str:
    low, high = sorted(medians)
    if _REFLECTANCE < low < _CELSIUS and _KELVIN[0] < high - low < _KELVIN[1]:
        return (
            ". If those are temperatures in degrees Celsius and in kelvin, no factor is right: add "
            "273.15 to the one, or take it off the other, before the call"
        )
    if not (low < _REFLECTANCE and _NUMBERS[0] < high < _NUMBERS[1]):
        return ""
    return (
        ". If those are digital numbers of Sentinel-2 of baseline 04.00 or later, 1000 was added "
        "to them (BOA_ADD_OFFSET = -1000): unless your reader did, take it off first (cube - 1000)"
    )
