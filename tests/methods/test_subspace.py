"""The subspace methods of spectral sharpening, `fuse` and `hysure`, and what they share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from xstf._method import SharpenSamples
from xstf.methods.sharpen_spectral import fuse, hysure
from xstf.numerics import fourier as _fourier
from xstf.numerics import subspace as _subspace
from xstf.numerics.degrade import degrade, upsample

RECORDS = [fuse.METHOD, hysure.METHOD]
RATIO = 4


def draw(
    side: int = 48, bands: int = 24, guides: int = 4, noise: float = 1e-3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spectral, spatial and true cubes: fields of smooth spectra with some texture."""
    rng = np.random.default_rng(seed)
    labels = ndimage.zoom(rng.integers(0, 4, (side // 6, side // 6)), 6, order=0)
    wave = np.linspace(0, 1, bands)
    spectra = [0.2 + 0.15 * np.sin(3 * wave * (i + 1) + i) for i in range(4)]
    shares = np.stack([ndimage.gaussian_filter((labels == i) * 1.0, 0.7) for i in range(4)])
    shares *= 1 + 0.2 * ndimage.gaussian_filter(rng.normal(size=(4, side, side)), (0, 1, 1))
    truth = np.tensordot(np.array(spectra).T, shares, 1).astype(np.float32)
    response = np.exp(-(((wave - np.linspace(0.1, 0.9, guides)[:, None]) / 0.15) ** 2))
    spatial = np.tensordot(response / response.sum(axis=1, keepdims=True), truth, 1)
    spectral = degrade(truth, ratio=RATIO, fwhm=1.0)
    spectral = spectral + noise * rng.normal(size=spectral.shape)
    spatial = spatial + noise * rng.normal(size=spatial.shape)
    return spectral.astype(np.float32), spatial.astype(np.float32), truth


def settle(record: Any, spectral: np.ndarray, spatial: np.ndarray, **more: Any) -> Any:
    """Return the state of a pair with default parameters."""
    samples = SharpenSamples(spectral, spatial, **more)
    return record.settle(samples, ratio=RATIO, params=record.params())


def sharpen(
    record: Any,
    spectral: np.ndarray,
    spatial: np.ndarray,
    *,
    state: Any = None,
    inner: tuple[slice, slice] | None = None,
    **params: Any,
) -> np.ndarray:
    """Return the estimate of a whole pair, or of ``inner`` with a given state."""
    whole = tuple(slice(0, n) for n in spatial.shape[1:])
    estimate, std = record.kernels["numpy"](
        spectral, spatial, ratio=RATIO, params=record.params(**params),
        state=settle(record, spectral, spatial) if state is None else state,
        inner=inner or whole, std=False,
    )  # fmt: skip
    assert std is None
    assert estimate.dtype == np.float32
    return np.asarray(estimate)


def error(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square error."""
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


@pytest.mark.parametrize("record", RECORDS)
def test_most_of_the_lost_detail_comes_back(record: Any) -> None:
    spectral, spatial, truth = draw()
    blurred = error(upsample(spectral, ratio=RATIO), truth)
    assert error(sharpen(record, spectral, spatial), truth) < 0.15 * blurred


@pytest.mark.parametrize("record", RECORDS)
def test_a_single_pan_band_helps(record: Any) -> None:
    spectral, spatial, truth = draw(guides=1)
    blurred = error(upsample(spectral, ratio=RATIO), truth)
    assert error(sharpen(record, spectral, spatial), truth) < 0.9 * blurred


@pytest.mark.parametrize("record", RECORDS)
def test_a_single_spectral_band_is_sharpened(record: Any) -> None:
    spectral, spatial, truth = draw()
    blurred = error(upsample(spectral[5:6], ratio=RATIO), truth[5:6])
    assert error(sharpen(record, spectral[5:6], spatial), truth[5:6]) < 0.7 * blurred


@pytest.mark.parametrize("record", RECORDS)
def test_the_degraded_result_is_the_spectral_cube_within_its_noise(record: Any) -> None:
    noise = 1e-3
    spectral, spatial, _ = draw(noise=noise)
    state = settle(record, spectral, spatial)
    back = degrade(sharpen(record, spectral, spatial), ratio=RATIO, fwhm=state.fwhm)
    assert error(back, spectral) < 1.2 * noise


def test_total_variation_beats_the_gaussian_prior_on_noisy_fields() -> None:
    spectral, spatial, truth = draw(noise=1e-2)
    gauss, edges = (sharpen(record, spectral, spatial) for record in RECORDS)
    assert error(edges, truth) < error(gauss, truth)


@pytest.mark.parametrize("shape", [(16, 24), (20, 28)])
@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_the_closed_form_is_the_minimiser(shape: tuple[int, int], ratio: int) -> None:
    """Against the dense normal equations of periodic images."""
    shape = (ratio * (shape[0] // 4), ratio * (shape[1] // 4))
    rng = np.random.default_rng(1)
    size, low = shape[0] * shape[1], (shape[0] // ratio, shape[1] // ratio)
    root = rng.normal(size=(2, 2))
    state = {"gain": np.array([3.0, 0.0]), "weight": root @ root.T + np.eye(2), "fwhm": 0.9}
    eye = np.eye(size).reshape(size, *shape)
    # Periodic degradation of every unit image: as degrade does far from the border.
    wide = np.pad(eye, [(0, 0), (4 * ratio,) * 2, (4 * ratio,) * 2], mode="wrap")
    blur = degrade(wide, ratio=ratio, fwhm=0.9)[:, 4:-4, 4:-4].reshape(size, -1).T
    steps = [np.roll(eye, 1, axis=axis) - eye for axis in (1, 2)]
    rough = sum(s.reshape(size, -1) @ s.reshape(size, -1).T for s in steps)
    least = np.sort(_fourier.roughness(shape).ravel())[0]
    rough = rough + least * np.ones((size, size)) / size
    coarse, sharp = rng.normal(size=(2, *low)), rng.normal(size=(2, *shape))
    normal = np.kron(state["weight"], blur.T @ blur)
    normal += np.kron(np.diag(state["gain"]), np.eye(size)) + 0.7 * np.kron(np.eye(2), rough)
    right = np.kron(state["weight"], blur.T) @ coarse.ravel() + sharp.ravel()
    expected = np.linalg.solve(normal, right).reshape(2, *shape)
    system = _fourier.build(shape, ratio=ratio, penalty=0.7, like=sharp, **state)
    spectrum = _fourier.solve(system, _fourier.transform(coarse), _fourier.transform(sharp))
    assert np.allclose(_fourier.restore(system, spectrum), expected, atol=2e-4)


def test_the_differences_and_their_transpose_agree() -> None:
    rng = np.random.default_rng(2)
    images = rng.normal(size=(2, 8, 10)).astype(np.float32)
    steps = rng.normal(size=(3, 2, 8, 10)).astype(np.float32)
    one, other = hysure._differences(images), hysure._together(steps)
    assert np.isclose((one * steps).sum(), (images * other).sum(), rtol=1e-4)
    # Their square is that of the differences to the neighbours.
    square = sum(((np.roll(images, 1, axis=a) - images) ** 2).sum() for a in (1, 2))
    assert np.isclose((one**2).sum(), square, rtol=1e-5)


def test_more_steps_change_nothing() -> None:
    spectral, spatial, truth = draw(noise=3e-3)
    few = sharpen(hysure.METHOD, spectral, spatial)
    many = sharpen(hysure.METHOD, spectral, spatial, iterations=60)
    assert error(few, many) < 0.02 * error(few, truth)


def test_the_noise_of_each_band_is_found() -> None:
    rng = np.random.default_rng(3)
    _, _, truth = draw(side=144, bands=60, noise=0.0)
    level = np.linspace(3e-3, 6e-3, len(truth))
    low = degrade(truth, ratio=RATIO, fwhm=1.0)
    low = low + level[:, None, None] * rng.normal(size=low.shape)
    guide = np.zeros_like(low[:1])
    pixels, none = (cube.reshape(len(cube), -1).T for cube in (low, guide))
    found = np.sqrt(_subspace.noise(low, guide, pixels, none))
    assert np.all((found > 0.85 * level) & (found < 1.25 * level))


def test_the_directions_are_as_many_as_there_are_spectra() -> None:
    spectral, spatial, _ = draw(noise=1e-3)
    assert settle(fuse.METHOD, spectral, spatial).basis.shape == (24, 4)


def test_a_given_response_is_used() -> None:
    spectral, spatial, _ = draw()
    srf = np.random.default_rng(4).random((4, 24))
    state = settle(fuse.METHOD, spectral, spatial, srf=srf)
    assert np.allclose(state.response, srf @ state.basis)


def test_a_given_width_is_used() -> None:
    spectral, spatial, _ = draw()
    assert settle(fuse.METHOD, spectral, spatial, fwhm=0.7).fwhm == 0.7


@pytest.mark.parametrize("record", RECORDS)
def test_a_constant_spatial_cube_invents_nothing(record: Any) -> None:
    spectral, spatial, _ = draw()
    flat = np.full_like(spatial, 0.3)
    assert np.array_equal(sharpen(record, spectral, flat), upsample(spectral, ratio=RATIO))


@pytest.mark.parametrize("record", RECORDS)
def test_missing_pixels_stay_missing_and_spare_the_others(record: Any) -> None:
    spectral, spatial, truth = draw()
    whole = error(sharpen(record, spectral, spatial), truth)
    spectral[:, 2:4, 5] = np.nan
    spectral[3, 7, 7] = np.nan
    spatial[1, 20:23, 30] = np.nan
    spatial[:, 40, 3] = np.nan
    missing = np.zeros(truth.shape, bool)
    missing[:, 8:16, 20:24] = True
    missing[3, 28:32, 28:32] = True
    missing[:, 20:23, 30] = True
    missing[:, 40, 3] = True
    result = sharpen(record, spectral, spatial)
    assert np.array_equal(np.isnan(result), missing)
    assert error(result[~missing], truth[~missing]) < 1.3 * whole
    near = np.zeros(truth.shape[1:], bool)
    near[6:18, 18:26] = True
    assert np.abs(result - truth)[:, near & ~missing[0]].max() < 0.05


@pytest.mark.parametrize("record", RECORDS)
def test_nothing_in_nothing_out_without_a_warning(record: Any) -> None:
    spectral, spatial, _ = draw(side=24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one, other in ((np.nan, 1), (1, np.nan)):
            result = sharpen(record, spectral * np.float32(one), spatial * np.float32(other))
            assert np.isnan(result).all()
        state = settle(record, spectral, spatial)
        empty = sharpen(record, spectral * np.float32(np.nan), spatial, state=state)
        assert np.isnan(empty).all()


@pytest.mark.parametrize("record", RECORDS)
def test_a_constant_band_stays_constant_and_a_dead_guide_is_ignored(record: Any) -> None:
    spectral, spatial, truth = draw()
    whole = error(sharpen(record, spectral, spatial), truth)
    spectral[7] = 0.25
    dead = np.concatenate([spatial, np.zeros_like(spatial[:1])])
    result = sharpen(record, spectral, dead)
    others = np.arange(24) != 7
    assert np.allclose(result[7], 0.25, atol=1e-6)
    assert error(result[others], truth[others]) < 1.2 * whole


@pytest.mark.parametrize("record", RECORDS)
def test_negative_values_are_values(record: Any) -> None:
    spectral, spatial, _ = draw()
    plain = sharpen(record, spectral, spatial)
    moved = sharpen(record, spectral - np.float32(0.5), spatial - np.float32(0.5))
    assert np.abs(moved + np.float32(0.5) - plain).max() < 1e-3
    assert moved.min() < -0.2


@pytest.mark.parametrize("record", RECORDS)
def test_units_do_not_matter(record: Any) -> None:
    spectral, spatial, _ = draw()
    plain = sharpen(record, spectral, spatial)
    large = sharpen(record, spectral * np.float32(1e4), spatial * np.float32(1e4))
    assert np.abs(large / 1e4 - plain).max() < 1e-4


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.transpose])
@pytest.mark.parametrize("record", RECORDS)
def test_a_turned_pair_gives_the_turned_result(record: Any, turn: Any) -> None:
    spectral, spatial, _ = draw()
    plain = sharpen(record, spectral, spatial)

    def turned(cube: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray([turn(band) for band in cube])

    assert np.abs(sharpen(record, turned(spectral), turned(spatial)) - turned(plain)).max() < 1e-4


@pytest.mark.parametrize("start", [0, 72])
@pytest.mark.parametrize("noise", [1e-4, 3e-3])
@pytest.mark.parametrize(("record", "bound"), [(fuse.METHOD, 3e-4), (hysure.METHOD, 1e-3)])
def test_the_seams_between_tiles_stay_below_the_bound(
    record: Any, bound: float, noise: float, start: int
) -> None:
    """As a share of the range of the values, with the declared halo, at the border and within."""
    spectral, spatial, _ = draw(side=144, bands=12, noise=noise)
    state = settle(record, spectral, spatial)
    whole = sharpen(record, spectral, spatial, state=state)
    halo = record.halo(record.params(), RATIO)
    first, stop = max(start - halo, 0), start + 24 + halo
    low = slice(first // RATIO, stop // RATIO)
    own = slice(start - first, start - first + 24)
    tile = sharpen(
        record, spectral[:, low, low], spatial[:, first:stop, first:stop], state=state,
        inner=(own, own),
    )  # fmt: skip
    part = whole[:, start : start + 24, start : start + 24]
    assert np.abs(tile - part).max() / np.ptp(whole) < bound


@pytest.mark.parametrize("record", RECORDS)
def test_inputs_are_left_alone_and_inner_is_cut_out(record: Any) -> None:
    spectral, spatial, _ = draw()
    spectral[0, 0, 0] = spatial[0, 9, 9] = np.nan
    before = spectral.copy(), spatial.copy()
    state = settle(record, spectral, spatial)
    whole = sharpen(record, spectral, spatial, state=state)
    part = sharpen(record, spectral, spatial, state=state, inner=(slice(5, 19), slice(8, 41)))
    assert np.array_equal(part, whole[:, 5:19, 8:41], equal_nan=True)
    assert np.array_equal(spectral, before[0], equal_nan=True)
    assert np.array_equal(spatial, before[1], equal_nan=True)


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (fuse.METHOD, {"rank": 0}),
        (fuse.METHOD, {"penalty": 0.0}),
        (fuse.METHOD, {"penalty": np.inf}),
        (fuse.METHOD, {"whiteness": 1.5}),
        (hysure.METHOD, {"rank": 2.5}),
        (hysure.METHOD, {"strength": -1.0}),
        (hysure.METHOD, {"rounds": 0}),
        (hysure.METHOD, {"iterations": 0}),
        (hysure.METHOD, {"whiteness": -0.1}),
    ],
)
def test_parameters_without_meaning_are_refused(record: Any, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}=.*give a"):
        record.params(**wrong)
