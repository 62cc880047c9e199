"""What the scene tells every pixel of ``eof``, as its loops take it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scene(NamedTuple):
    """Means, modes and variances by date and band, and what follows from them for all pixels.

    ``std^2 = gain * doubt + rest``, the doubt being that of a new observation.
    """

    mean: np.ndarray  # (time, band)
    modes: np.ndarray  # (time, band, mode)
    noise: np.ndarray  # (time, band, band)
    gain: np.ndarray  # (time, band)
    rest: np.ndarray  # (time, band)
    usable: np.ndarray  # (time, band): has a mean and noise
    inverse: np.ndarray  # (time, band, band): the inverse root of the noise
    white: np.ndarray  # (time, band, mode): the modes through it
    by_date: np.ndarray  # (time, packed): a date's share of the scores' precision
    tall: np.ndarray  # (mode, time and band): the modes turned


def whitened(
    mean: np.ndarray, modes: np.ndarray, noise: np.ndarray, gain: np.ndarray, rest: np.ndarray
) -> Scene:
    """Return the scene with its dates whitened by the root of their noise; ``gain (band,)``."""
    gain = np.broadcast_to(gain, mean.shape)
    usable = np.isfinite(mean) & (np.diagonal(noise, axis1=1, axis2=2) > 0)
    inverse = np.zeros(noise.shape)
    for date, own in enumerate(usable):
        inverse[date][np.ix_(own, own)] = np.linalg.inv(
            np.linalg.cholesky(noise[date][np.ix_(own, own)])
        )
    white = inverse @ np.where(usable[..., None], modes, 0)
    low = np.tril_indices(modes.shape[2])
    by_date = np.sum(white[..., low[0]] * white[..., low[1]], axis=1)
    tall = modes.reshape(mean.size, modes.shape[2]).T
    parts = mean, modes, noise, gain, rest, usable, inverse, white, by_date, tall
    # Of one layout, or the loops are compiled for each that comes.
    return Scene(*map(np.ascontiguousarray, parts))
