"""A landscape to begin with: fields, woods, a river, roads, villages and a town, from a seed."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

_REACH = 3.0  # standard deviations at which a Gaussian is cut: 99.7 % of its weight on each axis
_NATURAL = ("broadleaf", "conifer", "water", "road", "built")


def landscape(
    shape: tuple[int, int],
    *,
    classes: int = 6,
    seed: int = 0,
    parcel: float = 9.0,
    margin: int = 0,
) -> xr.Dataset:
    """Return a map of fields, woods, a river, roads, villages and a town, pixels of 10 to 60 m.

    Parameters
    ----------
    shape
        Rows and columns.
    classes
        How many classes the fields have.
    seed
        Of everything.
    parcel
        The usual width of a field, in pixels; it is about twice as long.
    margin
        Rows and columns on each side of the part where the town and the river are put.

    Returns
    -------
    xarray.Dataset
        ``cover (y, x)``, uint8: the class of a field (0 to ``classes`` − 1), then broadleaf,
        conifer, water, road, built (names in ``flag_meanings``); ``parcel (y, x)``, int32: the
        number of the field, also under what is no field; ``across (y, x)``, float32: the
        distance in pixels across the field's rows.
    """
    if min(shape) - 2 * margin < 4 or margin < 0 or classes < 1 or parcel < 2:
        raise ValueError(
            f"landscape needs 4 pixels between its margins, 1 class or more and parcels of "
            f"2 pixels or more, not {shape=}, {margin=}, {classes=}, {parcel=}"
        )
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape, dtype=float)
    y = rows + 5 * smooth_noise(shape, 35, rng)  # no border is quite straight
    x = columns + 5 * smooth_noise(shape, 35, rng)
    district, edge = _districts(y, x, 6.0 * parcel, rng)
    number, across = _parcels(y, x, district, parcel, rng)
    cover = rng.integers(0, classes, number.max() + 1)[number].astype(np.uint8)
    wood, needles = (_by_parcel(smooth_noise(shape, 22, rng), number) for _ in range(2))
    wood = wood + 0.25 * smooth_noise(shape, 3, rng)
    cover[wood > np.quantile(wood, 0.83)] = classes
    cover[(cover == classes) & (needles > 0.1)] = classes + 1
    core = min(shape) - 2 * margin
    river = _river(y, x, core, margin, rng)
    cover[(river < 4 + 2.5 * smooth_noise(shape, 7, rng)) & (river < 9)] = classes
    cover[edge < 0.55] = classes + 3
    bridge = _settle(cover, (y, x), classes, core, margin, edge, rng)
    cover[(river < 0) & ~bridge] = classes + 2
    return _labelled(cover, number, across, classes)


def _labelled(
    cover: np.ndarray, number: np.ndarray, across: np.ndarray, classes: int
) -> xr.Dataset:
    """Return the maps with what their numbers mean."""
    names = [f"field_{i}" for i in range(classes)] + list(_NATURAL)
    attrs = {"flag_values": np.arange(len(names), dtype=np.uint8), "flag_meanings": " ".join(names)}
    return xr.Dataset(
        {
            "cover": (("y", "x"), cover, {"long_name": "land cover", **attrs}),
            "parcel": (("y", "x"), number, {"long_name": "number of the field"}),
            "across": (("y", "x"), across, {"long_name": "distance across the rows, in pixels"}),
        }
    )


def _districts(
    y: np.ndarray, x: np.ndarray, side: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return Voronoi cells about ``side`` pixels wide, and the distance to their border."""
    grid = [np.arange(v.min() - side, v.max() + side, side) for v in (y, x)]
    seeds = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
    seeds = seeds + rng.uniform(-0.42, 0.42, seeds.shape) * side
    distance, nearest = cKDTree(seeds).query(np.stack([y, x], axis=-1), k=2)
    apart = np.linalg.norm(seeds[nearest[..., 0]] - seeds[nearest[..., 1]], axis=-1)
    edge = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * apart)
    return nearest[..., 0], edge


def _parcels(
    y: np.ndarray, x: np.ndarray, district: np.ndarray, parcel: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the fields, strips cut into lengths, and the distance across them."""
    cells = np.unique(district)
    number = np.zeros(district.shape, np.int32)
    across = np.zeros(district.shape, np.float32)
    main = rng.uniform(0, np.pi)
    first = 0
    for cell in cells:
        here = district == cell
        angle = main + rng.normal(0, 0.35) + rng.choice((0, np.pi / 2))
        along = x[here] * np.cos(angle) + y[here] * np.sin(angle)
        side = y[here] * np.cos(angle) - x[here] * np.sin(angle)
        width = parcel * rng.choice((0.7, 1.0, 1.5))
        strip = _cut(side - side.min(), width, rng)
        stretch = rng.lognormal(0, 0.3, strip.max() + 1)[strip]
        shift = rng.uniform(0, 4 * width, strip.max() + 1)[strip]
        piece = _cut((along - along.min()) * stretch + shift, 2.2 * width, rng)
        number[here] = first + strip * (piece.max() + 1) + piece
        across[here] = side
        first = number[here].max() + 1
    numbers, compact = np.unique(number, return_inverse=True)
    return compact.reshape(number.shape).astype(np.int32), across


def _cut(position: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Return which of pieces of about a length a position falls in."""
    pieces = length * rng.lognormal(0, 0.35, int(4 * position.max() / length) + 4)
    return np.searchsorted(np.cumsum(pieces), position)


def _by_parcel(noise: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return noise that follows the fields' borders, half and half."""
    mean = np.bincount(number.ravel(), noise.ravel()) / np.bincount(number.ravel())
    return np.asarray(0.7 * mean[number] + 0.3 * noise)


def _river(
    y: np.ndarray, x: np.ndarray, core: int, margin: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the distance from the bank of a meandering river, below 0 in it, in pixels."""
    down = y / max(core, 60)
    phase = rng.uniform(0, 2 * np.pi, 3)
    course = margin + core * (0.7 - 0.35 * (y - margin) / core)
    bend = 0.07 * core * np.sin(7 * down + phase[0])
    bend = bend + 0.035 * core * np.sin(17 * down + phase[1])
    slope = np.gradient(course + bend, axis=0)
    width = 1.6 + 0.5 * np.sin(9 * down + phase[2])
    return np.asarray(np.abs(x - course - bend) / np.hypot(1, slope) - width)


def _settle(
    cover: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    classes: int,
    core: int,
    margin: int,
    edge: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Put a town with streets and villages on the map; return where the main road runs."""
    y, x = at
    shape = cover.shape
    rim = smooth_noise(shape, 7, rng) + 0.5 * smooth_noise(shape, 2, rng)
    down, right = (margin + core * s for s in (0.36, 0.4))
    angle = rng.uniform(0.1, 0.5)
    along = (x - right) * np.cos(angle) + (y - down) * np.sin(angle)
    side = (y - down) * np.cos(angle) - (x - right) * np.sin(angle)
    radius = 0.11 * core
    town = np.hypot(along / 1.25, side) + 0.16 * radius * rim < radius
    places = np.argwhere(edge < 0.5)
    villages = max(1, cover.size // 9000) if len(places) else 0  # a tiny map may have no road
    for row, column in places[rng.integers(0, max(len(places), 1), villages)]:
        house = np.hypot(*(np.indices(shape) - np.array([row, column])[:, None, None]))
        town |= house + 1.8 * rim < rng.uniform(2, 6)
    street = _cut(along - along.min(), 6, rng), _cut(side - side.min(), 5, rng)
    streets = sum(
        np.abs(np.diff(s, axis=a, prepend=-1)) for s, a in zip(street, (1, 0), strict=True)
    )
    main_road = np.abs(side) < 0.6
    cover[town] = classes + 4
    cover[town & (np.asarray(streets) > 0)] = classes + 3
    cover[town & (rim > 1.7)] = classes
    cover[main_road] = classes + 3
    return np.asarray(main_road)


def smooth_noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise of mean 0 and standard deviation about 1, smooth over ``scale`` pixels."""
    # drawn on a grid as coarse as the scale allows: a wide Gaussian on every pixel is slow
    step = max(1.0, scale / 2)
    small = tuple(int(np.ceil(n / step)) + 5 for n in shape)
    sigma = scale / step
    drawn = gaussian_filter(rng.standard_normal(small), sigma, mode="wrap", truncate=_REACH)
    drawn *= 2 * sigma * np.sqrt(np.pi)
    if step > 1:
        drawn = zoom(drawn, step, order=3, mode="nearest", grid_mode=False)
    return np.asarray(drawn[: shape[0], : shape[1]])
