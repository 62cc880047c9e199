"""What the name of an image says: when, which band, which sensor, which tile.

Names of Sentinel-2 (files and SAFE folders), Landsat (Collections 1 and 2, older identifiers), HLS,
MODIS and VIIRS, AppEEARS, Planet, Copernicus Land, and plain ones such as ``2020-08-05_B04.tif``.
A name that says nothing of its date takes that of the folder it lies in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Kind = Literal["band", "class", "angle", "picture"]

# --- dates ------------------------------------------------------------------------------------

_YEAR = r"(?P<year>19[7-9]\d|20\d\d)"
_CLOCK = r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
_OF_DAY = (
    r"(?:T(?P<hour>\d\d)[-:_]?(?P<minute>\d\d)(?:[-:_]?(?P<second>\d\d))?"
    r"|[_ ]?(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d)(?!\d)"
    r"|(?P<hour3>\d\d)(?P<minute3>\d\d)(?!\d))?"
)
# In order of trust: the first that finds a date in a name decides, and there the first place, since
# dates of processing come after those of acquisition.
_DATES = tuple(
    re.compile(text)
    for text in (
        # Landsat before Collection 1 (LC81900242020218LGN00), and as ESPA delivers it.
        rf"L[COTEM]\d\d{{6}}{_YEAR}(?P<doy>\d{{3}})[A-Z]{{3}}\d\d",
        rf"L[COTEM]0\d\d{{6}}{_YEAR}(?P<month>\d\d)(?P<day>\d\d)0\d(?:T[12]|RT)",
        # MODIS, VIIRS (A2020218, with the time of a swath) and AppEEARS (doy2020218).
        rf"(?<![A-Za-z0-9])(?:A|doy){_YEAR}(?P<doy>\d{{3}})(?:{_CLOCK}|\.(?P<hour2>\d\d)"
        r"(?P<minute2>\d\d)(?=\.))?(?!\d)",
        rf"(?<!\d){_YEAR}(?P<mark>[-_.]?)(?P<month>\d\d)(?P=mark)(?P<day>\d\d)"
        rf"(?:{_OF_DAY}Z?(?!\d)|(?!\d))",
        rf"(?<!\d){_YEAR}(?P<doy>\d{{3}})(?:T{_CLOCK})?(?!\d)",
        rf"(?<![A-Za-z0-9]){_YEAR}[-_.](?P<doy>\d{{3}})(?![A-Za-z0-9])",
    )
)
_PRODUCED = re.compile(r"(?<!\d)\d{11,}(?!\d)")  # when a MODIS file was made


def find_date(text: str) -> tuple[np.datetime64, tuple[int, int]] | None:
    """Return the date of acquisition in a name, and where it stands; None if there is none."""
    return next(_dates(text), None)


def _dates(text: str) -> Iterator[tuple[np.datetime64, tuple[int, int]]]:
    for pattern in _DATES:
        for found in pattern.finditer(text):
            date = _date(found)
            if date is not None:
                yield date, found.span()


def _date(found: re.Match[str]) -> np.datetime64 | None:
    """Return a date that was matched, with its time of day; None if there is no such day."""
    part = found.groupdict()
    start = np.datetime64(part["year"], "Y")
    if part.get("doy"):
        date = start.astype("datetime64[D]") + (int(part["doy"]) - 1)
        if date.astype("datetime64[Y]") != start:
            return None
    else:
        month = int(part["month"])
        if not 1 <= month <= 12:
            return None
        first = start.astype("datetime64[M]") + (month - 1)
        date = first.astype("datetime64[D]") + (int(part["day"]) - 1)
        if date.astype("datetime64[M]") != first:
            return None
    clock = next(
        (
            [int(part.get(f"{name}{form}") or 0) for name in ("hour", "minute", "second")]
            for form in ("", "2", "3")
            if part.get(f"hour{form}")
        ),
        [0, 0, 0],
    )
    if clock[0] > 23 or clock[1] > 59 or clock[2] > 60:
        clock = [0, 0, 0]  # six digits that are something else
    seconds = np.timedelta64(clock[0] * 3600 + clock[1] * 60 + clock[2], "s")
    return np.datetime64(date.astype("datetime64[s]") + seconds, "ns")


# --- bands and what is none -------------------------------------------------------------------

_WORD = r"(?:^|(?<=_)){}(?=_|$)"
# Pictures of a scene, made to be looked at.
_PICTURE = re.compile(
    _WORD.format("(?:TCI|PVI|visual|rgb|thumbnail|thumb|preview|overview|browse|quicklook|QL)"),
    re.I,
)
# What a pixel is, not what was measured there.
_CLASS = re.compile(
    _WORD.format(
        r"(?:(?:SR_|ST_)?(?:QA|QC|BQA)(?:_?(?:PIXEL|RADSAT|AEROSOL|\d+k?m(?:_\d)?|60))?"
        r"|(?:pixel|radsat|cloud|sr_cloud)_qa|SR_QA_AEROSOL|SCL|CLM|CLD|CLP|SNW|DCA|Fmask\d?"
        r"|(?:ls|layover_?shadow)(?:_?(?:map|mask))?|MSK_[A-Z]+(?:_B\w\w)?|(?:cloud|snow|water|land|valid|data|scene)?_?mask|clouds?"
        r"|udm2?|sur_refl_(?:state|qc)_\d+k?m(?:_\d)?|state_\d+km(?:_\d)?|SummaryQA|VI_Quality"
        r"|pixel_reliability|BRDF_Albedo_Band_Mandatory_Quality_Band\d|flags?|class(?:es|ification)?"
        r"|SF_QF?\d*|QF\d)"
    ),
    re.I,
)
_ANGLE = re.compile(
    _WORD.format(
        r"[SV][AZ]A|(?:(?:sun|solar|view|sensor|mean)_?)*(?:zenith|azimuth|incidence)(?:_?angles?)?"
        r"|(?:local_?)?incidence_?angle|l?inc_map(?:_ell)?|(?:scattering_)?area|dem|elevation|SZEN|VZEN|SAZ|VAZ|RAA"
    ),
    re.I,
)
_BAND = re.compile(
    _WORD.format(
        r"((?:SR|ST)_(?:B\d{1,2}|ATRAN|CDIST|DRAD|EMIS|EMSD|TRAD|URAD|ATMOS_OPACITY)"
        r"|B\d{1,2}A?|band_?\d{1,3}|sur_refl_b\d\d(?:_\d)?|Nadir_Reflectance_Band\d"
        r"|SurfReflect_[IM]\d{1,2}(?:_\d)?|AOT|WVP|(?:gamma0|sigma0|beta0)?_?[VH][VH]"
        r"|coastal|blue|green|red|rededge\d*|nir(?:\d\d|narrow)?|swir(?:\d\d?)?|lwir\d*|pan"
        r"|NDVI|EVI2?|NDWI|NDMI|LAI|FAPAR|FCOVER|LST)"
    ),
    re.I,
)


def find_band(words: str) -> tuple[str | None, Kind]:
    """Return the band or layer that words joined by ``_`` name, and what kind of one it is."""
    kinds: dict[Kind, re.Pattern[str]] = {
        "picture": _PICTURE, "class": _CLASS, "angle": _ANGLE, "band": _BAND,
    }  # fmt: skip
    # What stands last in a name tells: "cloud_free_B04" is a band, "B04_cloud_mask" is none.
    found = [
        (m.end(), -n, m.group(0)) for n, p in enumerate(kinds.values()) for m in p.finditer(words)
    ]
    if not found:
        return None, "band"
    _, order, label = max(found)
    return label, list(kinds)[-order]


# --- sensors and tiles ------------------------------------------------------------------------

_MGRS = r"\d\d[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]"
_TILES = tuple(
    re.compile(text)
    for text in (
        rf"(?<![A-Za-z0-9])T?({_MGRS})(?![A-Za-z0-9])",
        r"(?<![A-Za-z0-9])(h\d\dv\d\d)(?!\d)",
        r"(?<![A-Za-z0-9])L[COTEM]0\d_(?:L\w{3}_)?(\d{6})(?!\d)",
        r"(?<![A-Za-z0-9])L[COTEM]\d{1,2}(\d{6})(?=(?:19|20)\d{5})",
    )
)
_LANDSAT = re.compile(
    r"(?<![A-Za-z0-9])L[COTEM]0?([4-9])(?:_(?:L([12])\w\w_)?\d{6}|\d{6}(?:19|20))"
)
_MODIS = re.compile(r"(?<![A-Za-z0-9])(M[OYC]D|VNP|VJ[12])(\d\d\w*?)(?=[._-]|$)")
_HLS = re.compile(r"(?<![A-Za-z0-9])HLS[._]([LS]30)(?![0-9])")
_SENTINEL_2 = re.compile(rf"(?<![A-Za-z0-9])(?:S2[ABCD]?_|(?:L2A_)?T{_MGRS}_\d{{8}}T\d{{6}})")
_LEVEL = re.compile(r"(?<![A-Za-z0-9])(?:MSI)?L(1C|2A)(?![A-Za-z0-9])")
_SENTINEL = re.compile(r"(?<![A-Za-z0-9])S([13])[ABCD]_")
_PLANET = re.compile(r"_3[AB]_|AnalyticMS|PSScene")
# Sensors in short, as people name their own files: L8, S2A, MYD.
_SHORT = re.compile(
    r"(?<![A-Za-z0-9])(l[4-9]|ls[4-9]|lt0?[45]|le0?7|lc0?[89]|oli|etm|s[123][abcd]?|m[oy]d|mcd"
    r"|vnp|olci|slstr)(?![A-Za-z0-9])",
    re.I,
)
_SAID = re.compile(
    r"(?<![A-Za-z])(modis|viirs|landsat|sentinel[-_]?[1-5]?|planet(?:scope)?|rapideye|spot|aster"
    r"|prisma|enmap|desis|hls)(?![A-Za-z])",
    re.I,
)


def find_sensor(text: str) -> str | None:
    """Return whose images have such a name, so that equal band labels mean the same; or None."""
    if found := _HLS.search(text):
        return f"HLS {found[1]}"
    if found := _LANDSAT.search(text):
        level = f" level {found[2]}" if found[2] else ""
        return f"Landsat {'8-9' if found[1] in '89' else '4-7'}{level}"
    if found := _MODIS.search(text):
        return f"{'MODIS' if found[1][0] == 'M' else 'VIIRS'} {found[2]}"
    if _SENTINEL_2.search(text):
        return "Sentinel-2"
    if found := _SENTINEL.search(text):
        return f"Sentinel-{found[1]}"
    if _PLANET.search(text):
        return "Planet"
    if said := _SAID.search(text):
        return _written(said[1].lower().replace("_", "-"))
    short = _SHORT.search(text)
    return _in_long(short[1].lower()) if short else None


def _written(name: str) -> str:
    """Return a sensor's name as the longer ones begin."""
    if name in ("modis", "viirs", "hls", "aster"):
        return name.upper()
    number = name.removeprefix("sentinel").lstrip("-")
    return f"Sentinel-{number}" if name.startswith("sentinel") and number else name.capitalize()


def _in_long(short: str) -> str:
    """Return whose images a short name means: satellites of one sensor are one."""
    if short[0] == "s" and short[1:2].isdigit():
        return f"Sentinel-{short[1]}"
    if short[0] == "l" and short[-1:].isdigit():
        return f"Landsat {'8-9' if short[-1] in '89' else '4-7'}"
    return {"oli": "Landsat 8-9", "etm": "Landsat 4-7", "vnp": "VIIRS"}.get(
        short, short.upper() if short in ("olci", "slstr") else "MODIS"
    )


def find_tile(text: str) -> str | None:
    """Return the tile of a grid, or the path and row, that a name has; or None."""
    found = (pattern.search(text) for pattern in _TILES)
    return next((f[1] for f in found if f), None)


# --- all of it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """An image by its name.

    Parameters
    ----------
    path
        Where it is.
    stamp
        Its date as datetime64[ns], with the time of day where the name has it; None where neither
        its name nor its folders' say.
    band, kind
        The label of its band, None where its name has none, and what it is.
    sensor, tile
        None where the name does not say.
    pixel
        Pixel size as the name writes it (``"10m"``).
    rest
        What else is in the name, in words: the date, the sensor and the tile apart.
    """

    path: Path
    stamp: np.datetime64 | None
    band: str | None
    kind: Kind
    sensor: str | None
    tile: str | None
    pixel: str | None
    rest: tuple[str, ...]


def read_name(path: Path, root: Path) -> Named:
    """Return what the name of an image says, and where it says nothing, those of its folders."""
    stem = path.name if path.is_dir() else path.stem
    stem = path.stem if path.suffix.lower() == ".zarr" else stem
    above = [f.name for f in path.parents if f == root or root in f.parents]
    places = [stem, *above]
    dates = (find_date(place) for place in places)
    stamp = next((found[0] for found in dates if found), None)
    sensor = next((s for s in map(find_sensor, places) if s), None)
    level = next((found[1] for found in map(_LEVEL.search, places) if found), None)
    if sensor == "Sentinel-2" and level:
        sensor = f"Sentinel-2 L{level}"
    words = _words(stem)
    band, kind = find_band("_".join(words))
    below = [f.name for f in path.parents if root in f.parents]
    for folder in below if band is None else ():  # a folder a band
        label, of_folder = find_band("_".join(_words(folder)))
        if label is not None and of_folder in ("band", "class"):
            band, kind = label, of_folder
            break
    pixel = next((w for w in words if re.fullmatch(r"\d+k?m", w)), None)
    tile = next((t for t in map(find_tile, places) if t), None)
    return Named(path, stamp, band, kind, sensor, tile, pixel, tuple(words))


def _words(stem: str) -> list[str]:
    """Return the words of a name without its dates."""
    spans = [span for _, span in _dates(stem)] + [f.span() for f in _PRODUCED.finditer(stem)]
    dated = {at for span in spans for at in range(*span)}
    left = "".join("_" if at in dated else letter for at, letter in enumerate(stem))
    return [word for word in re.split(r"[._\s-]+", left) if word]
