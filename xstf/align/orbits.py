"""Orbits of radar images: those seen from one track are kept apart from those of another.

A coordinate along time tells: the number of the relative orbit (track), else that of the absolute
orbit, else the direction of flight. The relative orbit comes first, as it fixes the angle of
incidence; tracks with one image say nothing of change and are put together by direction.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstf.cubes.read import Cube
from xstf.tiles.run import compute_now

# Names of coordinates without their punctuation, in lower case.
RELATIVE = (
    "relativeorbit", "satrelativeorbit", "relativeorbitnumber", "relativeorbitnumberstart",
    "relorbit", "orbitrelative", "track", "tracknumber", "s1relativeorbit",
)  # fmt: skip
ABSOLUTE = (
    "absoluteorbit", "satabsoluteorbit", "absoluteorbitnumber", "absorbit", "orbitabsolute",
    "orbitnumber", "orbitnumberstart",
)  # fmt: skip
EITHER = ("orbit", "orbits")
DIRECTION = (
    "orbitstate", "satorbitstate", "orbitdirection", "orbitpropertiespass", "orbitpass", "pass",
    "passdirection", "flightdirection",
)  # fmt: skip
PLATFORM = (
    "platform", "satplatform", "platformnumber", "platformid", "satellite", "spacecraft",
    "spacecraftid", "mission", "missionid", "platformserialidentifier",
)  # fmt: skip
# Images of a track that tell of change.
FEWEST = 2
# Tracks of Sentinel-1, and the absolute orbits less 1 of which its satellites began to count them:
# sentiwiki.copernicus.eu/web/s1-products. S1C was moved in June 2026, after its orbit 8018.
TRACKS = 175
OFFSETS = {"A": 73, "B": 27, "C": 172, "D": 42}
MOVED_C, OFFSET_C = 8018, 99
_WAYS = {
    "ascending": "ascending", "asc": "ascending", "a": "ascending",
    "descending": "descending", "desc": "descending", "dsc": "descending", "d": "descending",
}  # fmt: skip
_MISSING = ("", "nan", "none", "nat", "null", "<na>")
_DAY = np.timedelta64(1, "D")


class Orbits(NamedTuple):
    """Which images are of each group that is kept apart, and in words what the groups are."""

    groups: list[np.ndarray]
    said: str


def orbits_of(guide: Cube) -> Orbits:
    """Return which images belong together; all of them where no coordinate tells."""
    tracks, ways, said = _tracks_and_ways(guide)
    count = len(guide.dates)
    if all(label is None for label in (*tracks, *ways)):
        return Orbits([np.ones(count, bool)], said)
    keys = _keys(tracks, ways)
    found = sorted(set(keys), key=_order)
    lone = max(Counter(keys).values()) < FEWEST
    if count > 1 and (lone or set(keys) == {("others", "others")}):
        return Orbits([np.ones(count, bool)], f"{said}orbits of one image each, taken as one")
    names = ", ".join(f"{key[1]} ({keys.count(key)})" for key in found)
    groups = [np.array([key == one for one in keys]) for key in found]
    return Orbits(groups, f"{said}orbits {names}")


def _keys(tracks: Sequence[object], ways: Sequence[str | None]) -> list[tuple[str, Any]]:
    """Return the group of each image: its track, or with a lone or unknown one its direction."""
    counts = Counter(tracks)
    keys: list[tuple[str, Any]] = []
    for track, way in zip(tracks, ways, strict=True):
        if track is not None and counts[track] >= FEWEST:
            keys.append(("track", track))
        else:
            keys.append(("others", "others") if way is None else ("way", way))
    by_key = Counter(keys)
    for i, (key, way) in enumerate(zip(keys, ways, strict=True)):
        if key[0] == "way" and by_key[key] < FEWEST:
            alike = [k for k, w in zip(keys, ways, strict=True) if k[0] == "track" and w == way]
            if alike:  # one image more of the track of its direction that has most
                keys[i] = max(sorted(set(alike), key=_order), key=alike.count)
    return keys


def _order(key: tuple[str, Any]) -> tuple[int, float, str]:
    number = isinstance(key[1], int | float)
    kind = ("track", "way", "others").index(key[0])
    return kind, float(key[1]) if number else np.inf, str(key[1])


# --- labels of images ---------------------------------------------------------------------------


def _tracks_and_ways(guide: Cube) -> tuple[list[object], list[str | None], str]:
    """Return each image's track and direction, None where unknown, and what was made of numbers."""
    count = len(guide.dates)
    tracks: list[object] = [None] * count
    ways: list[str | None] = [None] * count
    said = ""
    for names in (RELATIVE, EITHER, ABSOLUTE, DIRECTION):
        values = _along_time(guide, names)
        if values is None:
            continue
        labels = [_label(value) for value in values]
        if all(way is None for way in ways):
            ways = [_WAYS.get(one) if isinstance(one, str) else None for one in labels]
        if names is DIRECTION or any(track is not None for track in tracks):
            continue
        tracks = [None if one in _WAYS else one for one in labels]
        if names is not RELATIVE and _are_absolute(tracks, guide.dates, names is ABSOLUTE):
            tracks, said = _relative(tracks, guide)
    return tracks, ways, said


def _along_time(guide: Cube, names: Sequence[str]) -> np.ndarray | None:
    """Return the values of a coordinate, or variable, along time; None where there is none.

    Chunked ones, as coordinates become when their cube is chunked, are labels all the same, and are
    read on this thread.
    """
    source, time = guide.source, guide.dims[0]
    found = _find(source, names)
    if found is None or time is None or source[found].dims != (time,):
        return None
    values = np.asarray(compute_now({"": source[found].data})[""])
    own = source[time].values.astype("datetime64[ns]")
    if len(own) == len(guide.dates) and (own == guide.dates).all():
        return values
    # Looks of one pass became one image: its first look tells.
    nearest: np.ndarray = values[np.abs(own[:, None] - guide.dates).argmin(axis=0)]
    return nearest


def _find(source: xr.DataArray | xr.Dataset, names: Sequence[str]) -> Hashable | None:
    plain = {_bare(name): name for name in source.coords}
    if isinstance(source, xr.Dataset):
        plain = {_bare(n): n for n, v in source.data_vars.items() if v.ndim <= 1} | plain
    return next((plain[name] for name in names if name in plain), None)


def _bare(name: Hashable) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _label(value: object) -> int | float | str | None:
    """Return a number or a word in lower case; None for what says nothing."""
    text = str(value.decode() if isinstance(value, bytes) else value).strip().lower()
    if text in _MISSING:
        return None
    try:
        number = float(text)
    except ValueError:
        return _WAYS.get(text, text)
    if not np.isfinite(number):
        return None
    return int(number) if number == int(number) else number


# --- absolute orbits ----------------------------------------------------------------------------


def _are_absolute(tracks: Sequence[object], dates: np.ndarray, by_name: bool) -> bool:
    """Return whether numbers count all orbits since the launch: none comes back on another day."""
    numbers = [t for t in tracks if isinstance(t, int)]
    if not numbers or len(numbers) < sum(t is not None for t in tracks):
        return False
    if by_name:
        return True
    spans = [
        np.ptp(dates[[t == number for t in tracks]].astype(np.int64)) for number in set(numbers)
    ]
    return max(numbers) > TRACKS and max(spans) < _DAY.astype("timedelta64[ns]").astype(int)


def _relative(tracks: Sequence[object], guide: Cube) -> tuple[list[object], str]:
    """Return absolute orbits as relative ones of Sentinel-1, None for those of other satellites."""
    letters = _platforms(guide)
    found: list[object] = [
        _track(t, letter) if isinstance(t, int) else None
        for t, letter in zip(tracks, letters, strict=True)
    ]
    known = sorted({f"S1{letter}" for letter in letters if letter})
    if known:
        return found, f"absolute orbits of {', '.join(known)} as relative ones; "
    if all(letter is None for letter in letters):
        return found, "absolute orbits of another satellite left aside; "
    return found, f"absolute orbits modulo {TRACKS} for want of a platform; "


def _track(orbit: int, letter: str | None) -> int | None:
    if letter is None:
        return None
    if letter == "":
        return orbit % TRACKS
    offset = OFFSET_C if letter == "C" and orbit > MOVED_C else OFFSETS[letter]
    return (orbit - offset) % TRACKS + 1


def _platforms(guide: Cube) -> list[str | None]:
    """Return the letter of each image's Sentinel-1; "" where none is named, None for another."""
    values = _along_time(guide, PLATFORM)
    if values is None:
        source = guide.source
        name = _find(source, PLATFORM)
        told = next((v for k, v in source.attrs.items() if _bare(k) in PLATFORM), "")
        if name is not None and source[name].ndim == 0:
            told = compute_now({"": source[name].data})[""].item()
        values = np.array([told] * len(guide.dates), object)
    return [_letter(str(value)) for value in values]


def _letter(platform: str) -> str | None:
    text = platform.strip().upper()
    if text.lower() in _MISSING or re.fullmatch(r"S(ENTINEL)?[-_ ]?1", text):
        return ""
    found = re.search(r"(?:^|SENTINEL|S)[-_ ]?1[-_ ]?0?([ABCD])(?![A-Z])", text)
    if found is None:
        found = re.fullmatch(r"([ABCD])", text)
    return found[1] if found else None
