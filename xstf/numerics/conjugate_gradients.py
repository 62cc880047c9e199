"""The most probable sharp coefficients, by conjugate gradients, for any number of point spreads.

Coefficients ``g (k, y, x)`` minimise

    sum_s |c_s - M_s B_s E_s g|^2 + |M (m - K g)|^2 + sum_e w_e |g_e - g_e'|^2,

``s`` running over the point spreads, ``e`` over pairs of neighbours, all in units of their noise.
The normal equations are never formed: each step blurs and decimates the coefficients and goes back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstf.numerics.degrade import BLOCK
from xstf.numerics.psf import psf_table


@dataclass(frozen=True)
class Sight:
    """The bands that share a point spread, and what they say.

    Parameters
    ----------
    maps : ndarray (n, k)
        The coefficients' part in the ``n`` images that are seen.
    images : ndarray (n, y / ratio, x / ratio)
        0 where missing.
    seen : ndarray (y / ratio, x / ratio)
        1 where the images are there, else 0.
    tables : list
        What makes a coarse row of fine ones, and a coarse column: see `axis`.
    """

    maps: np.ndarray
    images: np.ndarray
    seen: np.ndarray
    tables: list[list[tuple[slice, slice, np.ndarray]]]


@dataclass(frozen=True)
class Guide:
    """What the spatial cube says.

    Parameters
    ----------
    normal : ndarray (k, k)
        ``K' K``.
    pull : ndarray (k, y, x)
        ``K' m``, 0 where missing.
    seen : ndarray (y, x)
    """

    normal: np.ndarray
    pull: np.ndarray
    seen: np.ndarray


def axis(size: int, *, ratio: int, fwhm: float) -> list[tuple[slice, slice, np.ndarray]]:
    """Return blocks ``(coarse part, fine part, matrix)`` of `degrade` along an axis."""
    index, weight = psf_table(size, ratio=ratio, fwhm=fwhm)
    out = []
    for start in range(0, len(index), BLOCK):
        part = slice(start, min(start + BLOCK, len(index)))
        first, last = int(index[part].min()), int(index[part].max()) + 1
        matrix = np.zeros((part.stop - start, last - first), np.float32)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[part] - first), weight[part])
        out.append((part, slice(first, last), matrix))
    return out


def down(images: np.ndarray, sight: Sight) -> np.ndarray:
    """Return fine images ``(n, y, x)`` as seen through the point spread."""
    rows, cols = sight.tables
    half = np.empty((len(images), rows[-1][0].stop, images.shape[2]), np.float32)
    for coarse, fine, matrix in rows:
        half[:, coarse] = matrix @ images[:, fine]
    out = np.empty((*half.shape[:2], cols[-1][0].stop), np.float32)
    for coarse, fine, matrix in cols:
        out[..., coarse] = half[..., fine] @ matrix.T
    out *= sight.seen
    return out


def up(images: np.ndarray, sight: Sight, shape: tuple[int, ...]) -> np.ndarray:
    """Return the transpose of `down`, applied."""
    rows, cols = sight.tables
    images = images * sight.seen
    half = np.zeros((*images.shape[:2], shape[1]), np.float32)
    for coarse, fine, matrix in cols:
        half[..., fine] += images[..., coarse] @ matrix
    out = np.zeros((len(images), *shape), np.float32)
    for coarse, fine, matrix in rows:
        out[:, fine] += matrix.T @ half[:, coarse]
    return out


def _forward(
    values: np.ndarray, sights: list[Sight], guide: Guide, weights: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the normal matrix times coefficients."""
    out = np.tensordot(guide.normal, values, 1) * guide.seen
    for sight in sights:
        seen = up(down(np.tensordot(sight.maps, values, 1), sight), sight, values.shape[1:])
        out += np.tensordot(sight.maps.T, seen, 1)
    step = np.diff(values, axis=1) * weights[0]
    out[:, 1:] += step
    out[:, :-1] -= step
    step = np.diff(values, axis=2) * weights[1]
    out[..., 1:] += step
    out[..., :-1] -= step
    return np.asarray(out)


def minimise(
    start: np.ndarray,
    sights: list[Sight],
    guide: Guide,
    weights: tuple[np.ndarray, np.ndarray],
    *,
    iterations: int,
    tolerance: float,
) -> np.ndarray:
    """Return the coefficients ``(k, y, x)``, float32.

    Parameters
    ----------
    start : ndarray (k, y, x)
    sights : list of Sight
    guide : Guide
    weights : (ndarray (y - 1, x), ndarray (y, x - 1))
        Of the differences between rows, and between columns.
    iterations : int
        At most as many steps.
    tolerance : float
        The residual at which they end, relative to that of all coefficients 0.
    """
    shape = start.shape[1:]
    normal = 4 * np.eye(len(start)) + guide.normal.astype(np.float64)
    right = guide.pull.copy()
    for sight in sights:
        right += np.tensordot(sight.maps.T, up(sight.images, sight, shape), 1)
        share = np.prod([np.square(table[0][2][-1]).sum() for table in sight.tables])
        normal += share * (sight.maps.T @ sight.maps).astype(np.float64)
    ease = np.linalg.inv(normal).astype(np.float32)
    values = start.copy()
    rest = right - _forward(values, sights, guide, weights)
    eased = np.tensordot(ease, rest, 1)
    along, size = eased.copy(), float(np.vdot(rest, eased))
    enough = tolerance**2 * float(np.vdot(right, np.tensordot(ease, right, 1)))
    for _ in range(iterations):
        if not size > enough:
            break
        turned = _forward(along, sights, guide, weights)
        step = np.float32(size / float(np.vdot(along, turned)))
        values += step * along
        rest -= step * turned
        eased = np.tensordot(ease, rest, 1)
        new = float(np.vdot(rest, eased))
        along *= np.float32(new / size)
        along += eased
        size = new
    return values
