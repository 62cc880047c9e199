"""One tile of a sharpened cube: windows cut, bands that are missing everywhere put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from xstf._method import Method, SharpenSamples
from xstf.cubes.arrays import Array
from xstf.cubes.nesting import Nesting
from xstf.numerics.array_module import contiguous
from xstf.numerics.degrade import degrade, register
from xstf.numerics.response import USUAL_WIDTH, common_pixels, locate, register_halo
from xstf.numerics.subspace import noise
from xstf.tiles.engines import Runner
from xstf.tiles.gpu import to_host
from xstf.tiles.job import Job, Source, States
from xstf.tiles.samples import choose_cells
from xstf.tiles.states import State
from xstf.tiles.windows import NestedWindows, shift

# The chance that noise alone makes some value of a scene without light as low as is still noise.
RARE = 0.05


class SharpenState(NamedTuple):
    """What the tiles of one date know of the whole image.

    Parameters
    ----------
    bands : ndarray, int
        The spectral bands that are not missing everywhere; kernels see these alone.
    shift : ndarray (2,)
        How far the spatial image is moved before kernels see it: down, right, in fine pixels.
    floor : bool
        Whether values below 0 are none: where no coarse one is, but by noise.
    method : object
        What the method settled.
    """

    bands: np.ndarray
    shift: np.ndarray
    floor: bool = False
    method: Any = None


@dataclass(frozen=True)
class SharpenTile(NestedWindows):
    """Makes tiles of one date; called as `Job` says.

    Parameters
    ----------
    runner
        The kernel on its engine.
    params
        The method's.
    """

    runner: Runner
    params: Any

    def __call__(
        self, blocks: list[np.ndarray], rows: slice, cols: slice, states: States
    ) -> np.ndarray:
        """Return ``(1, band, rows, cols)``, the estimate."""
        spatial, spectral = blocks[0][0], blocks[1][0]
        origin, padded = self.pad(spatial[None], rows, cols)
        inner = (shift(rows, origin[0]), shift(cols, origin[1]))
        state = states[0]()
        bands = state.bands
        size = (inner[0].stop - inner[0].start, inner[1].stop - inner[1].start)
        out = np.full_like(
            spatial[:1, :1, :1], np.nan,
            shape=(1, len(spectral), *size), dtype=np.float32,
        )  # fmt: skip
        if len(bands):
            moved = self._moved(padded[0], state)
            estimate, _ = self.runner(
                contiguous(spectral[bands]), moved, ratio=self.ratio,
                params=self.params, state=state.method, inner=inner, std=False,
                **self.runner.network(origin, self.fine_shape, bands=bands),
            )  # fmt: skip
            out[0][bands] = np.maximum(estimate, np.float32(0)) if state.floor else estimate
        return out

    def _moved(self, spatial: np.ndarray, state: SharpenState) -> np.ndarray:
        """Return the spatial image as the spectral one lies."""
        if not state.shift.any():
            return spatial
        return register(spatial, shift=state.shift)


# --- jobs -------------------------------------------------------------------------------------


def sharpen_spectral_job(
    spatial: Array, spectral: Array, at: tuple[int, int], nesting: Nesting,
    runner: Runner, record: Method, options: object, known: dict[str, np.ndarray],
    register: bool,
) -> Job:  # fmt: skip
    """Return one date as a job of the tiles."""
    function = SharpenTile(
        ratio=nesting.ratio,
        halo=record.halo(options, nesting.ratio)
        + (register_halo(nesting.ratio) if register else 0),
        before=nesting.before,
        fine_shape=(spatial.shape[2], spatial.shape[3]),
        coarse_shape=(spectral.shape[2], spectral.shape[3]),
        runner=runner,
        params=options,
    )
    sources = (
        Source(spatial, (at[0],)),
        Source(spectral, (at[1],), nesting.ratio, nesting.before),
    )
    cells = choose_cells(spatial, spectral, ratio=nesting.ratio, before=nesting.before)
    sharp, blurred = cells.of(spatial, (at[0],), spectral, (at[1],))
    settle = partial(
        _settle, record.settle, ratio=nesting.ratio, params=options, moves=register,
    )  # fmt: skip
    samples = {"spectral": blurred, "spatial": sharp} | known
    lattice = record.lattice(options, nesting.ratio) if record.lattice else 0
    lead = (1, spectral.shape[1])
    state = State(settle, samples, _one_date)
    return Job(function, sources, lead, function.fine_shape, (state,), function.halo, lattice)


def _one_date(samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return samples of one date without the axis of dates."""
    return {n: v[0] if n in ("spectral", "spatial") else v for n, v in samples.items()}


def _settle(
    settle: Callable[..., Any] | None, samples: dict[str, Any], *, ratio: int, params: Any,
    moves: bool,
) -> SharpenState:  # fmt: skip
    """Settle is plain numpy, and sees no band that is missing everywhere, as kernels do.

    The shift between the cubes is settled here, for all methods alike: they see cubes that fit.
    """
    host: dict[str, Any] = {name: to_host(value) for name, value in samples.items()}
    bands = np.flatnonzero(~np.isnan(host["spectral"]).all(axis=(1, 2)))
    shift = np.zeros(2)
    if not len(bands):
        return SharpenState(bands, shift)
    spectral, spatial = np.ascontiguousarray(host["spectral"][bands]), host["spatial"]
    srf, fwhm = host.get("srf"), host.get("fwhm")
    if srf is not None:
        part = srf[:, bands]
        total = part.sum(axis=1, keepdims=True)
        srf = part / np.where(total > 0, total, 1)
    if fwhm is not None and fwhm.ndim:
        fwhm = fwhm[bands]
    width = USUAL_WIDTH if fwhm is None else float(np.mean(fwhm))
    if moves:
        width, shift = locate(spectral, spatial, ratio=ratio, fwhm=fwhm)
        spatial = register(spatial, shift=shift)
    floor = _is_floored(spectral, spatial, ratio, width)
    if settle is None:
        return SharpenState(bands, shift, floor)
    seen = SharpenSamples(spectral, spatial, srf=srf, fwhm=fwhm, shift=np.zeros(2))
    return SharpenState(bands, shift, floor, settle(seen, ratio=ratio, params=params))


def _is_floored(spectral: np.ndarray, spatial: np.ndarray, ratio: int, fwhm: float) -> bool:
    """Return whether no value of the spectral cube is below 0 by more than its noise makes it."""
    lowest = np.nanmin(spectral, axis=(1, 2))
    if lowest.min() >= 0:
        return True
    low = degrade(spatial, ratio=ratio, fwhm=fwhm)
    bands, guides = common_pixels(spectral, low)
    if len(bands) < 2:
        return False
    variance = noise(spectral, low, bands - bands.mean(axis=0), guides)
    rare = -ndtri(RARE / np.isfinite(spectral).sum())
    return bool((lowest >= -rare * np.sqrt(variance)).all())
