"""Endmembers: the pure spectra among which the pixels of a scene lie.

Vertex component analysis: Nascimento, J. M. P. & Bioucas-Dias, J. M. (2005). Vertex component
analysis. IEEE Transactions on Geoscience and Remote Sensing 43(4), 898-910.
doi:10.1109/TGRS.2005.844293

A direction is drawn at random, made orthogonal to the endmembers found so far, and the pixel that
lies farthest along it is the next one. Where more are wanted than the signal has dimensions, the
search starts again with new directions: several spectra stand for one material then, as its
variants do in a scene.
"""

from __future__ import annotations

import numpy as np

# Searches for every endmember wanted, at most: a small scene has few extreme pixels.
SEARCHES = 4


def denoise(pixels: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, int]:
    """Return spectra without what noise alone could make, and how many directions are left.

    Bands are divided by their noise; directions whose variance exceeds the largest one that noise
    of unit variance has in so many pixels (Marchenko & Pastur) are kept.

    Parameters
    ----------
    pixels : ndarray (band, n)
    noise : ndarray (band,)
        Variance; a band without any is kept as it is.
    """
    bands, count = pixels.shape
    unit = np.sqrt(np.where(noise > 0, noise, 1))[:, None]
    mean = pixels.mean(axis=1, keepdims=True)
    white = np.where(noise[:, None] > 0, pixels - mean, 0) / unit
    values, vectors = np.linalg.eigh(white @ white.T / count)
    kept = values > (1 + np.sqrt(bands / count)) ** 2
    kept[-1] = True
    basis = vectors[:, kept]
    return mean + unit * (basis @ (basis.T @ white)), int(kept.sum())


def bundle(pixels: np.ndarray, count: int, *, rank: int, seed: int) -> np.ndarray:
    """Return ``(band, count)`` spectra of extreme pixels.

    Parameters
    ----------
    pixels : ndarray (band, n)
    count : int
        Endmembers; fewer come if there are not so many pixels, or so many extreme ones.
    rank : int
        Directions in which the spectra vary about their mean.
    seed : int
        Of the random directions.
    """
    draw = np.random.default_rng(seed)
    axes, places = _project(pixels, rank)
    found: list[int] = []
    for _ in range(SEARCHES * -(-count // len(places))):
        for place in _vertices(axes, places, draw):
            if place not in found:
                found.append(place)
        if len(found) >= count:
            break
    return pixels[:, found[:count]]


def _project(pixels: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return axes ``(band, rank)`` and pixels as points of a plane, ``(rank + 1, n)``."""
    centred = pixels.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    axes = vectors[:, ::-1][:, :rank]
    points = axes.T @ centred
    # A constant as long as the longest point: neither it nor the points decide alone.
    longest = np.sqrt((points**2).sum(axis=0).max())
    return axes, np.vstack([points, np.full((1, points.shape[1]), longest or 1.0)])


def _vertices(axes: np.ndarray, places: np.ndarray, draw: np.random.Generator) -> list[int]:
    """Return as many pixels as there are dimensions, each far along a direction new to the rest."""
    size = len(places)
    found: list[int] = []
    taken = np.zeros((size, 0))
    for _ in range(size):
        # Drawn among the bands: the sign of an axis, which rounding decides, does not matter.
        direction = np.append(axes.T @ draw.standard_normal(len(axes)), draw.standard_normal())
        direction -= taken @ (taken.T @ direction)
        found.append(int(np.abs(direction @ places).argmax()))
        taken = np.linalg.qr(places[:, found])[0]
    return found
