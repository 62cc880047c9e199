"""What `sts` shows its network: a date, those around it, and what the linear method makes of them.

The kernel and the training look at a scene through the same function, `look`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xstf.methods.sts.sts_linear.estimate import State, predict
from xstf.methods.sts.sts_linear.steps import DateImages, Pair, Scene
from xstf.numerics.degrade import UPSAMPLE_REACH, degrade, upsample
from xstf.numerics.psf import PSF_REACH
from xstf.numerics.subspace_solve import spectra_of

if TYPE_CHECKING:
    from xstf.weights import Manifest

# Share of the variance that the components hold, the most of them, and the power of an eigenvalue
# by which a component is scaled: of 1 all would weigh alike, noise too, of 0 as in a spectrum.
VARIANCE, MOST, POWER = 0.999, 20, 0.5
# The images of a date, in the order in which the network takes them.
NAMES = (
    "dense", "dense_a", "dense_b", "sharp_a", "sharp_b", "share", "dt", "linear", "sharp_linear",
)  # fmt: skip
# Dense pixels that `agreeing` looks at around a pixel.
AROUND = PSF_REACH + UPSAMPLE_REACH + 1
# A standardised value is -3 to 3 for most data. The median of a tile beyond this is another unit.
_OTHER_UNITS = 20.0

Images = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Scaling:
    """How values are scaled, and what the components of spectra are; a checkpoint has it.

    Parameters
    ----------
    temporal, spatial : ndarray (2, band)
        Means and standard deviations.
    mean : ndarray (band,)
        The mean spectrum.
    basis : ndarray (band, k)
        Orthonormal.
    unit : ndarray (k,)
        What one unit of a scaled component is.
    days : float
        What one unit of time is.
    """

    temporal: np.ndarray
    spatial: np.ndarray
    mean: np.ndarray
    basis: np.ndarray
    unit: np.ndarray
    days: float

    @classmethod
    def of(
        cls, spectral: np.ndarray, temporal: np.ndarray, spatial: np.ndarray, days: np.ndarray
    ) -> Scaling:
        """Return what the paired dates ``(pair, band, y, x)`` say."""
        spectra = np.moveaxis(spectral, 1, 0).reshape(spectral.shape[1], -1)
        spectra = spectra[:, np.isfinite(spectra).all(axis=0)].astype(np.float64)
        if not spectra.size:
            raise ValueError("no pixel of fine has all bands: select those that are there")
        values, vectors = np.linalg.eigh(np.cov(spectra, bias=True))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        if not values[0] > 0:
            raise ValueError("fine has no contrast: there is nothing to learn")
        count = 1 + int(np.searchsorted(np.cumsum(values) / values.sum(), VARIANCE))
        count = min(count, MOST, int((values > 1e-12 * values[0]).sum()))
        # In units of the first component's, whose scaled variance is 1.
        unit = np.sqrt(values[0]) * (values[:count] / values[0]) ** (POWER / 2)
        return cls(
            _moments(temporal), _moments(spatial), spectra.mean(axis=1), vectors[:, :count], unit,
            max(float(np.ptp(days)), 1.0),
        )  # fmt: skip

    @classmethod
    def read(cls, manifest: Manifest) -> Scaling:
        """Return what a checkpoint says."""
        low, high = np.array(manifest.low), np.array(manifest.high)
        found = {n: np.array(manifest.extra[n]) for n in ("spatial", "mean", "basis", "unit")}
        return cls(temporal=np.stack([low, high - low]), days=manifest.extra["days"], **found)

    def written(self) -> dict[str, Any]:
        """Return what a checkpoint's manifest has no field for, as JSON."""
        lists = {n: getattr(self, n).tolist() for n in ("spatial", "mean", "basis", "unit")}
        return {**lists, "days": self.days}

    def components(self, spectra: np.ndarray) -> np.ndarray:
        """Return the scaled components ``(k, y, x)`` of spectra ``(band, y, x)``."""
        reader = (self.basis / self.unit).T.astype(np.float32)
        return np.tensordot(reader, spectra - _column(self.mean), 1)

    def spectra(self, change: np.ndarray) -> np.ndarray:
        """Return the change of spectra ``(band, y, x)`` that one of scaled components makes."""
        return np.tensordot((self.basis * self.unit).astype(np.float32), change, 1)

    def check(self, spectral: np.ndarray, temporal: np.ndarray, spatial: np.ndarray) -> None:
        """Raise if images have other bands or units than those that were learned from."""
        for what, images, bands in (
            ("fine", spectral, len(self.mean)), ("coarse", temporal, self.temporal.shape[1]),
            ("spatial", spatial, self.spatial.shape[1]),
        ):  # fmt: skip
            if images.shape[1] != bands:
                raise ValueError(
                    f"the network was trained with {bands} bands of {what}, here are "
                    f"{images.shape[1]}; select the same ones"
                )
        off = np.abs(_standardised(temporal[-1], self.temporal))
        off = off[np.isfinite(off)]
        if off.size and np.median(off) > _OTHER_UNITS:
            raise ValueError(
                "the cubes are in another unit than the network's training data: values around "
                f"{np.nanmedian(temporal[-1]):.4g}, trained on values around "
                f"{np.median(self.temporal[0]):.4g}"
            )


def look(
    date: DateImages,
    *,
    ratios: tuple[int, int],
    state: State,
    scaling: Scaling,
    part: tuple[slice, slice],
) -> tuple[np.ndarray, Images | None, np.ndarray]:
    """Return the linear prediction of a date, what the network is shown, and where it may answer.

    Parameters
    ----------
    date
        Times in days.
    ratios, state
        As a kernel is called.
    scaling
        The checkpoint's.
    part
        The rows and columns wanted.

    Returns
    -------
    spectra : ndarray (band, y, x)
    images : dict or None
        By `NAMES`, scaled, nothing missing; None where the linear prediction is all there is:
        on a paired date, or where no pixel has all that it takes.
    valid : ndarray (y, x), bool
        Where nothing was missing.
    """
    _, temporal, spatial, times, target = date
    target = float(target)
    made: dict[int, Pair] = {}
    spectra = predict(date, ratios=ratios, state=state, inner=part, made=made)
    nothing = np.zeros(spectra.shape[1:], bool)
    around = bracket(times, target)
    if state is None or around is None or any(n not in made for n in around):
        return spectra, None, nothing
    share = _shares(times[list(around)], target)
    own = [spectra_of(made[n].values[:, *part], state.subspace) for n in around]
    guides = [spatial[n][:, *part] for n in around]
    # What the spatial bands follow from: see `xstf.numerics.subspace`.
    follow = (state.subspace.response @ state.subspace.reader).astype(np.float32)
    moved = spectra - _weighed(own, share)
    lifted = [upsample(temporal[n], ratio=ratios[1])[:, *part] for n in (-1, *around)]
    images: Images = {
        **dict(zip(NAMES[:3], (_standardised(i, scaling.temporal) for i in lifted), strict=True)),
        **dict(zip(NAMES[3:5], (_standardised(i, scaling.spatial) for i in guides), strict=True)),
        "share": np.broadcast_to(share[:, None, None], (2, *nothing.shape)),
        "dt": ((target - times[list(around)]) / scaling.days).astype(np.float32),
        "linear": scaling.components(spectra),
        "sharp_linear": _standardised(
            _weighed(guides, share) + np.tensordot(follow, moved, 1), scaling.spatial
        ),
    }
    valid = np.logical_and.reduce([made[n].seen[part] for n in around])
    for name in NAMES[:5] + NAMES[-2:]:
        valid = valid & np.isfinite(images[name]).all(axis=0)
    if not valid.any():
        return spectra, None, nothing
    shown = {n: np.nan_to_num(i).astype(np.float32) for n, i in images.items()}
    return spectra, shown, valid


def agreeing(change: np.ndarray, scene: Scene, ratio: int) -> np.ndarray:
    """Return a change of spectra ``(band, y, x)`` less what the temporal image of the date denies.

    The linear prediction agrees with the temporal image. What a change makes of the temporal bands
    at their own scale is therefore seen not to be there, and the spectra that go with it are taken
    off: ``change - E D (T R change)^`` in the symbols of `sts_linear`.
    """
    bands = (scene.temporal.response.T @ scene.subspace.reader).astype(np.float32)
    seen = degrade(np.tensordot(bands, change, 1), ratio=ratio, fwhm=scene.temporal.fwhm)
    spectra = (scene.subspace.basis @ scene.change.T).astype(np.float32)
    return np.asarray(change - np.tensordot(spectra, upsample(seen, ratio=ratio), 1))


def bracket(times: np.ndarray, target: float) -> tuple[int, int] | None:
    """Return the pairs before and after a date, twice the nearest if one is not; None if paired."""
    apart = times - target
    if (apart == 0).any():
        return None
    nearest = [int(n) for n in np.argsort(np.abs(apart), kind="stable")]
    sides = [[n for n in nearest if sign * apart[n] > 0] for sign in (-1, 1)]
    before, after = (side[0] if side else nearest[0] for side in sides)
    return before, after


def _shares(days: np.ndarray, target: float) -> np.ndarray:
    """Return the weights of two dates, (2,), in the interpolation in time."""
    length = days[1] - days[0]
    first = (days[1] - target) / length if length else 1.0
    return np.array([first, 1 - first], np.float32)


def _weighed(images: list[np.ndarray], share: np.ndarray) -> np.ndarray:
    return np.asarray(share[0] * images[0] + share[1] * images[1])


def _moments(images: np.ndarray) -> np.ndarray:
    """Return the mean and the standard deviation of each band of images, (2, band)."""
    if np.isnan(images).all(axis=(0, 2, 3)).any():
        raise ValueError("a band of coarse or spatial is missing on all paired dates")
    mean, std = (f(images, axis=(0, 2, 3), dtype=np.float64) for f in (np.nanmean, np.nanstd))
    return np.stack([mean, np.maximum(std, np.maximum(1e-6 * np.abs(mean), 1e-12))])


def _standardised(images: np.ndarray, moments: np.ndarray) -> np.ndarray:
    return np.asarray((images - _column(moments[0])) / _column(moments[1]))


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None, None].astype(np.float32)
