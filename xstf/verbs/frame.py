"""What `fuse` finds of a scene before its method sees it, and what attributes say of that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xstf._method import Method
from xstf.align.fuse import FuseCubes
from xstf.cubes.acquisitions import DAY
from xstf.cubes.arrays import Array
from xstf.cubes.pairs import Plan
from xstf.tiles.frame import FEWEST
from xstf.tiles.fuse import Frame, registration_state
from xstf.tiles.run import is_lazy
from xstf.tiles.states import Once

# In the labels of bands that are no reflectance: vegetation, water, snow and burn indices, leaf
# area, temperatures.
INDICES = ("vi", "ndwi", "ndmi", "ndsi", "nbr", "ndbi", "lai", "fapar", "lst", "temp", "albedo")


def frame_of(
    cubes: FuseCubes, coarse: Array, place: dict[int, int], plans: Sequence[Plan], record: Method,
    register: bool, change: str,
) -> tuple[Frame | None, dict[str, str]]:  # fmt: skip
    """Return what is found of the scene before the method sees it, and what attributes say of it.

    The registration of an eager run is found here, to be told of.
    """
    if change not in ("believed", "raw"):
        raise ValueError(f"change must be 'believed' or 'raw', not {change!r}")
    shape = (cubes.nesting.coarse.height, cubes.nesting.coarse.width)
    small = min(shape) < FEWEST
    asked = register or change == "believed" or record.believes
    if small or record.net is not None or not asked:
        return None, {}
    used = {(p.fine, place[p.coarse]) for plan in plans for some in plan.attempts for p in some}
    days = np.zeros(coarse.shape[0])
    for date, at in place.items():
        days[at] = (cubes.coarse.when.moments[date] - np.datetime64(0, "D")) / DAY
    state = registration_state(cubes.fine.data, coarse, sorted(used), cubes.nesting, move=register)
    believe = change == "believed"
    clear = believe and _may_be_hazy(cubes)
    if is_lazy(cubes.fine.data, coarse):
        said = {"stf_registration": "found when computed"}
        if record.believes:
            said["stf_choice"] = "found when computed"
        return Frame(state, believe, days, clear), said
    found = Once.of(state)
    return Frame(found, believe, days, clear), {"stf_registration": found().text(register)}


def _may_be_hazy(cubes: FuseCubes) -> bool:
    """Return whether bands are such that haze brightens them all: several, and none an index."""
    words = [str(band).lower() for band in cubes.fine.bands]
    return len(words) > 1 and not any(index in word for word in words for index in INDICES)


def choices(states: Sequence[object]) -> dict[str, str]:
    """Return what attributes say of the choices of a method that makes some, date by date."""
    own = [getattr(s, "state", None) for s in states]
    found = [text() for state in own if (text := getattr(state, "text", None)) is not None]
    said = {"stf_choice": "; ".join(dict.fromkeys(found))} if found else {}
    veils = [veil.text() for s in states if (veil := getattr(s, "veil", None)) is not None]
    return said | ({"stf_haze": "; ".join(dict.fromkeys(veils))} if veils else {})
