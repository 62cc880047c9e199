"""Which bands are red, green and blue, how they are stretched, and what values are called."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from xstf.cubes.read import Cube

# Labels of red, green and blue by which a sensor is known, as they are called side by side.
_TRUE = (
    ("red", "green", "blue"),
    ("B04", "B03", "B02"),
    ("sur_refl_b01", "sur_refl_b04", "sur_refl_b03"),
)
# "B4" is red on some sensors and near infrared on others; a further band tells.
_TRUE_IF = (
    (("B4", "B3", "B2"), ("B8A", "B11", "B12")),
    (("SR_B4", "SR_B3", "SR_B2"), ("SR_B6",)),
)
_INFRARED = (("nir", "red", "green"), ("B08", "B04", "B03"), ("B8A", "B04", "B03"))
_CENTRES = (665.0, 560.0, 490.0)  # nm: red, green, blue
_NEAR = 35.0  # nm from them at most
LOW, HIGH = 1.0, 99.0  # percentiles drawn black and white
_REFLECTANCE = (-0.3, 1.8)  # what reflectance may be, with glint and snow


@dataclass(frozen=True)
class Composite:
    """Which bands of a cube are drawn.

    Parameters
    ----------
    bands
        Positions of red, green and blue, or of one band.
    text
        What it is called, bands named.
    natural
        Whether these are red, green and blue: they are stretched alike, which keeps their hue.
    """

    bands: tuple[int, ...]
    text: str
    natural: bool = False


def composite_of(cube: Cube, wanted: Sequence[Hashable] | None) -> Composite:
    """Return which bands of a cube are drawn: those asked for, else true colour if they are known.

    Else near infrared, red and green, else the last three, else the first.
    """
    have, names = cube.bands, [str(b).lower() for b in cube.bands]
    true = _true_colour(cube, names)
    infrared = next((p for known in _INFRARED if (p := _places(known, names))), None)
    if wanted is None:
        last = [len(have) - 1 - i for i in range(3)] if len(have) >= 3 else [0]
        picked = true or infrared or last
    else:
        missing = [b for b in wanted if b not in have]
        if missing or len(wanted) not in (1, 3):
            raise ValueError(f"bands must be one or three of {list(have)}, not {list(wanted)}")
        picked = [have.index(b) for b in wanted]
    labels = ", ".join(str(have[b]) for b in picked)
    if len(picked) == 1:
        return Composite(tuple(picked), f"band {labels}" if labels else "")
    if picked == true:
        return Composite(tuple(picked), f"true colour ({labels})", natural=True)
    kind = "colour infrared" if picked == infrared else "false colour"
    return Composite(tuple(picked), f"{kind} ({labels} as red, green, blue)")


def _true_colour(cube: Cube, names: Sequence[str]) -> list[int] | None:
    """Return which bands are red, green and blue by their names, else by their wavelengths."""
    known = [*_TRUE, *(true for true, also in _TRUE_IF if any(b.lower() in names for b in also))]
    return next((p for true in known if (p := _places(true, names))), None) or _nearest_to(
        cube, _CENTRES
    )


def _places(labels: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Return where some labels are among names in lower case; None where one is not."""
    low = [label.lower() for label in labels]
    return [names.index(label) for label in low] if set(low) <= set(names) else None


def _nearest_to(cube: Cube, centres: Sequence[float]) -> list[int] | None:
    """Return the bands nearest to wavelengths, None where one has none near it."""
    coords = getattr(cube.source, "coords", {})
    if "wavelength" not in coords or coords["wavelength"].size != len(cube.bands):
        return None
    waves = np.asarray(coords["wavelength"].values, np.float64).reshape(-1)
    if coords["wavelength"].attrs.get("units", "nm") in ("um", "µm", "micrometers", "micrometer"):
        waves = 1000 * waves
    off = np.abs(waves[None] - np.asarray(centres)[:, None])
    return [int(b) for b in off.argmin(axis=1)] if (off.min(axis=1) <= _NEAR).all() else None


def limits_of(images: Sequence[np.ndarray], natural: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn black and white, a channel each, of images ``(y, x, channel)``.

    Percentiles of all images together; of true colour one pair for the three bands.
    """
    channels = images[0].shape[-1]
    together = np.concatenate([image.reshape(-1, channels) for image in images])
    seen = together[~np.isnan(together).any(axis=1)]
    if not len(seen):
        return np.zeros(channels), np.ones(channels)
    low, high = np.percentile(seen, LOW, axis=0), np.percentile(seen, HIGH, axis=0)
    if natural:
        low, high = np.full(channels, low.min()), np.full(channels, high.max())
    return low, np.maximum(high, low + 1e-12)


def quantity_of(cube: Cube, values: np.ndarray) -> str:
    """Return what the values of a cube are, with their unit: "reflectance", "height (m)".

    Parameters
    ----------
    cube : Cube
        Its name and attributes are looked at.
    values : ndarray
        Some of its values; in their range, numbers of bands without a unit are called reflectance.
    """
    arrays = list(getattr(cube.source, "data_vars", {"": cube.source}).values())
    said = next((a.attrs for a in arrays if a.attrs.get("units")), arrays[0].attrs)
    unit = str(said.get("units", ""))
    name = str(said.get("standard_name") or said.get("long_name") or cube.name).replace("_", " ")
    if "reflectance" in name.lower():
        return "reflectance"
    if unit not in ("", "1", "-", "none", "unitless", "dimensionless"):
        return unit if name == "estimate" else f"{name} ({unit})"
    seen = values[np.isfinite(values)]
    several = len(cube.bands) > 1 and seen.size > 0
    low, high = np.percentile(seen, (LOW, HIGH)) if several else (np.nan, np.nan)
    if several and _REFLECTANCE[0] < low and high < _REFLECTANCE[1]:
        return "reflectance"
    return name if name != "estimate" else "value, no unit given"
