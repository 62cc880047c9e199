"""How far an estimate is from the truth: labelled, lazy and aware of missing pixels.

Every metric is called as ``metric(estimate, truth, *, per=None, band=None)`` on two DataArrays with
the same dims, in any order, and gives a float64 DataArray:

- **Which dims are left.** ``per`` names the dims that are kept, ``per="band"``, ``per="time"`` or
  ``per=("time", "band")``; all others are averaged away, and ``per=None`` gives one number. A value
  is always worked out per band first, over every dim that is not kept, and then averaged over bands
  unless ``"band"`` is kept: bands of different brightness count alike. (:func:`sam`,
  :func:`ergas` and :func:`q2n` are defined over all bands, which they use up.)
- **Missing pixels.** A pixel that is not finite, or that equals the cube's ``_FillValue``,
  ``missing_value`` or ``nodata``, in either cube is left out, band by band. Where nothing is left,
  the value is NaN, without a warning. Packed integers are unpacked with their ``scale_factor``.
- **Same grid.** Coordinates must be the same (to 1/1000 pixel, in any order) and so must the CRS:
  instead of comparing the pixels that happen to share labels, a metric raises ValueError.
- **Lazy.** Dask in, dask out; building the graph computes nothing, and results do not depend on
  chunks.

Examples
--------
>>> from xstf import metrics, scenes
>>> scene = scenes.nested()
>>> metrics.rmse(scene.truth + 0.01, scene.truth, per="band").round(4).values
array([0.01, 0.01])
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from xstf.cubes.compare import Case, Per, match_cubes, match_spectra, moments, nanmean, space_of

__all__ = ["bias", "cc", "edge", "ergas", "mae", "psnr", "q2n", "rmse", "sam", "ssim", "uiqi"]

_FLAT = 1e-24  # (standard deviation / mean)^2 of nothing but float64 rounding

# Wang et al. 2004: window and constants of SSIM
_SIGMA, _TRUNCATE, _K1, _K2 = 1.5, 3.5, 0.01, 0.03
_BORDER = int(_TRUNCATE * _SIGMA + 0.5)
_SPAN = (0.001, 0.999)  # quantiles of the truth that SSIM takes for the range of the data
_SPAN_SAMPLE = 2**22  # pixels per band that they are taken from, at most


def rmse(
    estimate: xr.DataArray, truth: xr.DataArray, *, per: Per = None, band: str | None = None
) -> xr.DataArray:
    """Return the root mean square error, in the data's units.

    Parameters
    ----------
    estimate, truth
        Two cubes with the same dims and coordinates.
    per
        The dims to keep; None averages over all of them, bands last.
    band
        The name of the band dim; None takes ``"band"``, ``"wavelength"``, ``"bands"``
        or ``"variable"`` if there is one.
    """
    case = match_cubes(estimate, truth, per, band)
    return _finish(case.mean(case.difference**2) ** 0.5, case, "rmse", "root mean square error")


def mae(
    estimate: xr.DataArray, truth: xr.DataArray, *, per: Per = None, band: str | None = None
) -> xr.DataArray:
    """Return the mean absolute error, in the data's units; parameters as in :func:`rmse`."""
    case = match_cubes(estimate, truth, per, band)
    return _finish(case.mean(abs(case.difference)), case, "mae", "mean absolute error")


def bias(
    estimate: xr.DataArray, truth: xr.DataArray, *, per: Per = None, band: str | None = None
) -> xr.DataArray:
    """Return the mean of estimate − truth, in the data's units; parameters as in :func:`rmse`."""
    case = match_cubes(estimate, truth, per, band)
    return _finish(case.mean(case.difference), case, "bias", "mean error")


def cc(
    estimate: xr.DataArray, truth: xr.DataArray, *, per: Per = None, band: str | None = None
) -> xr.DataArray:
    """Return Pearson's correlation coefficient; NaN where either cube is constant.

    Parameters as in :func:`rmse`.
    """
    case = match_cubes(estimate, truth, per, band)
    m = moments(case.estimate, case.truth, case.reduced)
    varies = (m.var_e > _FLAT * m.mean_e**2) & (m.var_t > _FLAT * m.mean_t**2)
    value = m.cov / np.sqrt((m.var_e * m.var_t).where(varies))
    return _finish(value, case, "cc", "correlation coefficient", units="1")


def psnr(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    per: Per = None,
    band: str | None = None,
    peak: float | None = None,
) -> xr.DataArray:
    """Return the peak signal-to-noise ratio, ``20 log10(peak / RMSE)`` in dB.

    It is infinite where there is no error.

    Parameters
    ----------
    estimate, truth, per, band
        As in :func:`rmse`.
    peak
        The largest value that the data can take, in their units; None takes the largest value of
        the truth, band by band, over every date.
    """
    case = match_cubes(estimate, truth, per, band)
    top = _largest(case) if peak is None else xr.DataArray(_positive(peak, "peak"))
    error = case.mean(case.difference**2) ** 0.5
    value = xr.apply_ufunc(_decibel, top, error, dask="parallelized", output_dtypes=[np.float64])
    return _finish(value, case, "psnr", "peak signal-to-noise ratio", units="dB")


def sam(
    estimate: xr.DataArray, truth: xr.DataArray, *, per: Per = None, band: str | None = None
) -> xr.DataArray:
    """Return the mean angle between the spectra of estimate and truth, in degrees.

    ``arccos(<e, t> / (|e| |t|))`` per pixel, averaged over pixels. A pixel that misses a band, or
    whose spectrum is zero, has no angle and is left out.

    Parameters
    ----------
    estimate, truth, band
        As in :func:`rmse`.
    per
        The dims to keep, without the band dim; ``per=("y", "x")`` gives a map.
    """
    case = match_spectra(estimate, truth, per, band, "sam")
    unit_e, unit_t = (_unit_length(cube, case) for cube in (case.estimate, case.truth))
    # Kahan's form: arccos of a dot product near 1 is only good to 1e-6 degrees
    apart, together = (_length(v, case) for v in (unit_e - unit_t, unit_e + unit_t))
    angle = np.degrees(2 * np.arctan2(apart, together))
    return _finish(case.mean(angle), case, "sam", "spectral angle", units="degree")


def ssim(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    per: Per = None,
    band: str | None = None,
    data_range: float | None = None,
) -> xr.DataArray:
    """Return the structural similarity of the images, at most 1.

    Gaussian weights (sigma 1.5 pixels, cut at 5), ``K1 = 0.01``, ``K2 = 0.03``, population
    covariances; on complete images this is scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, use_sample_covariance=False``. The 5 outermost rows and columns, whose
    window is cut off, are left out as they are there. Around missing pixels the weights
    are normalised over the pixels that are there, and the mean is over those.

    Parameters
    ----------
    estimate, truth, per, band
        As in :func:`rmse`; ``per=("y", "x")`` gives a map, without the border.
    data_range
        The span of the data, in their units. None takes the truth's 0.1–99.9 % span, band by
        band; beyond 4 million pixels a band, that of evenly spaced rows and columns.

    References
    ----------
    Wang et al. 2004, Image quality assessment: from error visibility to structural similarity,
    IEEE Transactions on Image Processing 13, 600–612, doi:10.1109/TIP.2003.819861.
    """
    case = match_cubes(estimate, truth, per, band)
    y, x = space_of(case, 2 * _BORDER + 1, "ssim")
    span = _span(case, y, x) if data_range is None else _positive(data_range, "data_range")
    # both cubes travel as one complex cube: an overlap is made of one array at a time
    both = (case.estimate / span + 1j * (case.truth / span)).transpose(..., y, x)
    similar = both.copy(data=_over_tiles(_ssim_map, both.data, _BORDER))
    inside = slice(_BORDER, -_BORDER)
    value = case.mean(similar.isel({y: inside, x: inside}))
    return _finish(value, case, "ssim", "structural similarity", units="1")


def ergas(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    ratio: float,
    per: Per = None,
    band: str | None = None,
) -> xr.DataArray:
    """Return the relative global error ``100 / ratio * sqrt(mean((RMSE_b / mean_b)^2))``, in %.

    Parameters
    ----------
    estimate, truth, band
        As in :func:`rmse`.
    ratio
        Coarse pixel size / fine pixel size of the data that the estimate was made from.
    per
        The dims to keep, without the band dim.

    References
    ----------
    Wald 2000, Quality of high resolution synthesised images: is there a simple criterion?,
    Third conference "Fusion of Earth data", 99–103.
    """
    scale = 100.0 / _positive(ratio, "ratio")
    case = match_spectra(estimate, truth, per, band, "ergas")
    level = case.mean(case.truth)
    relative = case.mean(case.difference**2) / (level**2).where(level != 0)
    value = scale * nanmean(relative, [case.band]) ** 0.5
    return _finish(value, case, "ergas", "relative global error", units="%")


def uiqi(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    per: Per = None,
    band: str | None = None,
    window: int = 32,
) -> xr.DataArray:
    """Return the universal image quality index, from −1 to 1.

    ``4 cov(e, t) mean(e) mean(t) / ((var(e) + var(t)) (mean(e)^2 + mean(t)^2))`` in blocks that do
    not overlap, counted from the first row and column as in pan-sharpening toolboxes. The mean over
    blocks weights each by its number of pixels, so that one cut off by the image's edge or
    by missing pixels counts for what is left of it. In a block where both are constant only the
    means are compared.

    Parameters
    ----------
    estimate, truth, band
        As in :func:`rmse`.
    per
        The dims to keep, none of them spatial.
    window
        The side of the blocks, in pixels.

    References
    ----------
    Wang and Bovik 2002, A universal image quality index, IEEE Signal Processing Letters 9, 81–84,
    doi:10.1109/97.995823.
    """
    case = match_cubes(estimate, truth, per, band)
    y, x = _space_of_blocks(case, window, "uiqi")
    cut = {y: (y, "_row"), x: (x, "_column")}
    blocks = [
        cube.drop_vars([y, x], errors="ignore")
        .coarsen({y: window, x: window}, boundary="pad")
        .construct(cut)
        for cube in (case.estimate, case.truth)
    ]
    quality, pixels = _quality(*blocks)
    mean = nanmean(quality * pixels, case.reduced) / nanmean(pixels, case.reduced)
    return _finish(mean, case, "uiqi", "universal image quality index", units="1")


def q2n(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    per: Per = None,
    band: str | None = None,
    window: int = 32,
) -> xr.DataArray:
    """Return the quality index of all bands together, from 0 to 1.

    Each spectrum is one hypercomplex number ``z`` of as many parts as there are bands, filled up to
    a power of two. In blocks that do not overlap ::

        2 |mean(e)| |mean(t)| / (|mean(e)|^2 + |mean(t)|^2) * 2 |cov(e, t)| / (var(e) + var(t))

    with ``cov(e, t) = mean(t conj(e)) - mean(t) conj(mean(e))``, after each band of a block is
    scaled to the truth's mean of 1 and standard deviation of 1. It is 1 where all agree; with a
    band, or a spectrum's shape, that departs, it falls. Blocks are weighted as in :func:`uiqi`; the
    authors' toolbox, whose product of hypercomplex numbers this is, mirrors the image's edge
    instead of cutting blocks there. A pixel that misses a band is left out.

    Parameters
    ----------
    estimate, truth, band
        As in :func:`rmse`.
    per
        The dims to keep, none of them spatial, nor the band dim.
    window
        The side of the blocks, in pixels.

    References
    ----------
    Garzelli and Nencini 2009, Hypercomplex quality assessment of multi/hyperspectral images,
    IEEE Geoscience and Remote Sensing Letters 6, 662–665, doi:10.1109/LGRS.2009.2022650.
    """
    case = match_spectra(estimate, truth, per, band, "q2n")
    space = _space_of_blocks(case, window, "q2n")
    core = [case.band, *space]
    whole = dict.fromkeys(core, -1)
    both = [c if c.chunks is None else c.chunk(whole) for c in (case.estimate, case.truth)]
    total, pixels = xr.apply_ufunc(
        _block_qualities, *both, input_core_dims=[core, core], output_core_dims=[[], []],
        kwargs={"window": window}, vectorize=True, dask="parallelized",
        output_dtypes=[np.float64, np.float64],
    )  # fmt: skip
    dims = [d for d in case.reduced if d in total.dims]
    count = pixels.sum(dims)
    value = total.sum(dims) / count.where(count > 0)
    return _finish(value, case, "q2n", "quality index of all bands", units="1")


def edge(
    estimate: xr.DataArray,
    truth: xr.DataArray,
    *,
    per: Per = None,
    band: str | None = None,
    share: float = 0.1,
) -> xr.DataArray:
    """Return how much stronger edges are than in the truth, from −1 to 1; below 0 they are blurred.

    The mean of ``(E_e - E_t) / (E_e + E_t)`` over those pixels of each image whose edges are the
    strongest in the truth, with Roberts' ``E = |v(y, x) - v(y+1, x+1)| + |v(y, x+1) - v(y+1, x)|``.
    A pixel whose four values are not all there is left out. Beside the error it makes the all-round
    performance assessment diagram: smooth estimates have small errors and weak edges.

    Parameters
    ----------
    estimate, truth, band
        As in :func:`rmse`.
    per
        The dims to keep, none of them spatial.
    share
        Of the pixels, those that count, above 0 to 1.

    References
    ----------
    Zhu et al. 2022, A novel framework to assess all-round performances of spatiotemporal fusion
    models, Remote Sensing of Environment 274, 113002, doi:10.1016/j.rse.2022.113002.
    """
    case = match_cubes(estimate, truth, per, band)
    space = space_of(case, 2, "edge")
    if set(space) & set(case.kept):
        raise ValueError(f"edge has one value for many pixels: per cannot keep {list(case.kept)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    whole = dict.fromkeys(space, -1)
    both = [c if c.chunks is None else c.chunk(whole) for c in (case.estimate, case.truth)]
    total, pixels = xr.apply_ufunc(
        _edge_difference, *both, input_core_dims=[space, space], output_core_dims=[[], []],
        kwargs={"share": share}, vectorize=True, dask="parallelized",
        output_dtypes=[np.float64, np.float64],
    )  # fmt: skip
    dims = [d for d in case.reduced if d in total.dims]
    count = pixels.sum(dims)
    value = total.sum(dims) / count.where(count > 0)
    return _finish(value, case, "edge", "relative difference of edge strength", units="1")


# ---------------------------------------------------------------- what the metrics share


def _space_of_blocks(case: Case, window: int, name: str) -> tuple[Hashable, Hashable]:
    """Return the spatial dims that a metric of blocks goes along; refuse what it cannot keep."""
    space = space_of(case, 1, name)
    if set(space) & set(case.kept):
        raise ValueError(f"{name} has one value for many pixels: per cannot keep {list(case.kept)}")
    if window < 2:
        raise ValueError(f"window must be 2 pixels or more, not {window}")
    return space


def _finish(
    value: xr.DataArray, case: Case, name: str, long_name: str, units: str | None = None
) -> xr.DataArray:
    if case.band in value.dims and case.band not in case.kept:
        value = nanmean(value, [case.band])
    if case.crs is not None:
        if set(case.space) & set(value.dims):
            value.encoding["grid_mapping"] = case.crs
        else:
            value = value.drop_vars([case.crs], errors="ignore")
    value.attrs = {"long_name": long_name}
    if units or case.units:
        value.attrs["units"] = units or case.units
    value.name = name
    return value


def _largest(case: Case) -> xr.DataArray:
    """Return the largest value of the truth per band."""
    dims = [d for d in case.truth.dims if d != case.band]
    top = case.whole_truth.where(np.isfinite(case.whole_truth), -np.inf).max(dims)
    return top.where(np.isfinite(top))


def _decibel(peak: np.ndarray, error: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(20 * np.log10(peak / error))


def _length(cube: xr.DataArray, case: Case) -> xr.DataArray:
    return (cube**2).sum([case.band], skipna=False) ** 0.5


def _unit_length(cube: xr.DataArray, case: Case) -> xr.DataArray:
    length = _length(cube, case)
    return cube / length.where(length > 0)


def _span(case: Case, y: Hashable, x: Hashable) -> xr.DataArray:
    """Return the span of the truth per band, from a sample in one chunk."""
    dims = [d for d in case.truth.dims if d != case.band]
    pixels = int(np.prod([case.truth.sizes[d] for d in dims]))
    every = slice(None, None, int(np.ceil(np.sqrt(pixels / _SPAN_SAMPLE))))
    sample = case.whole_truth.isel({y: every, x: every})
    if sample.chunks is not None:
        sample = sample.chunk(dict.fromkeys(dims, -1))
    span: xr.DataArray = xr.apply_ufunc(
        _quantile_span,
        sample,
        input_core_dims=[dims],
        kwargs={"axes": len(dims)},
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return span.where(span > 0)


def _quantile_span(values: np.ndarray, *, axes: int) -> np.ndarray:
    """Return the span between two quantiles of the finite values over the last axes."""
    lead = values.shape[: values.ndim - axes]
    spans = np.full(lead, np.nan)
    for index in np.ndindex(*lead):
        finite = values[index][np.isfinite(values[index])]
        if finite.size:
            low, high = np.quantile(finite, _SPAN)
            spans[index] = high - low
    return spans


def _over_tiles(
    kernel: Callable[[np.ndarray], np.ndarray], data: np.ndarray, depth: int
) -> np.ndarray:
    """Return ``kernel(data)``, tile by tile if the data are lazy."""
    if not hasattr(data, "map_overlap"):
        return kernel(data)
    reach = {data.ndim - 2: depth, data.ndim - 1: depth}
    tiled: np.ndarray = data.map_overlap(kernel, depth=reach, boundary="none", dtype=np.float64)
    return tiled


def _ssim_map(both: np.ndarray) -> np.ndarray:
    """Return SSIM at each pixel of data that span 1; ``both`` is estimate + i truth."""
    there = np.isfinite(both.real)
    e, t = np.where(there, both.real, 0.0), np.where(there, both.imag, 0.0)
    weight = _gaussian(there.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_e, mean_t, mean_ee, mean_tt, mean_et = (
            _gaussian(v) / weight for v in (e, t, e * e, t * t, e * t)
        )
    var_e, var_t, cov = mean_ee - mean_e**2, mean_tt - mean_t**2, mean_et - mean_e * mean_t
    level = (2 * mean_e * mean_t + _K1**2) / (mean_e**2 + mean_t**2 + _K1**2)
    shape = (2 * cov + _K2**2) / (var_e + var_t + _K2**2)
    return np.where(there, level * shape, np.nan)


def _gaussian(images: np.ndarray) -> np.ndarray:
    filtered = gaussian_filter(
        images, _SIGMA, truncate=_TRUNCATE, mode="constant", axes=(images.ndim - 2, images.ndim - 1)
    )
    return np.asarray(filtered)


def _quality(e: xr.DataArray, t: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the quality index of each block, and its number of pixels; NaN where it has none."""
    m = moments(e, t, ["_row", "_column"])
    power, spread = m.mean_e**2 + m.mean_t**2, m.var_e + m.var_t
    level = (2 * m.mean_e * m.mean_t / power.where(power > 0)).where(power != 0, 1.0)
    shape = (2 * m.cov / spread.where(spread > 0)).where(spread > _FLAT * power, 1.0)
    return (level * shape).where(m.pixels.notnull()), m.pixels


def _block_qualities(e: np.ndarray, t: np.ndarray, *, window: int) -> tuple[float, float]:
    """Return the sum of `q2n` over the pixels of an image's blocks, and how many there are."""
    signs = _hypercomplex_signs(1 << (len(t) - 1).bit_length())
    there = np.isfinite(e).all(axis=0) & np.isfinite(t).all(axis=0)
    total, pixels = 0.0, 0
    for y in range(0, t.shape[1], window):
        for x in range(0, t.shape[2], window):
            block = (slice(y, y + window), slice(x, x + window))
            seen = there[block]
            if seen.any():
                count = int(seen.sum())
                total += count * _hypercomplex(e[:, *block][:, seen], t[:, *block][:, seen], signs)
                pixels += count
    return total, float(pixels)


def _hypercomplex(e: np.ndarray, t: np.ndarray, signs: np.ndarray) -> float:
    """Return the quality of one block's spectra ``(band, n)``."""
    count = t.shape[1]
    centre = t.mean(axis=1, keepdims=True)
    spread = t.std(axis=1, keepdims=True, ddof=min(1, count - 1))
    # A flat band is left as it lies beside the truth, in units of its level.
    level = np.where(centre != 0, np.abs(centre), 1)
    unit = np.where(spread > np.sqrt(_FLAT) * np.abs(centre), spread, level)
    e, t = (e - centre) / unit + 1, (t - centre) / unit + 1
    mean_e, mean_t = e.mean(axis=1), t.mean(axis=1)
    off_e, off_t = e - mean_e[:, None], t - mean_t[:, None]
    # Bands that fill up the power of two are 1 in both.
    power_e, power_t = ((m**2).sum() + len(signs) - len(t) for m in (mean_e, mean_t))
    level_part = 2 * np.sqrt(power_e * power_t) / (power_e + power_t)
    variance = (off_e**2).sum() + (off_t**2).sum()
    if variance <= _FLAT * count * (power_e + power_t):
        return float(level_part)
    conjugate = np.where(np.arange(len(t)) > 0, -1.0, 1.0)
    cross = (off_t @ off_e.T) * conjugate
    # Part k of a product is the sum over parts i and i ^ k of its factors.
    parts = np.zeros(len(signs))
    index = np.arange(len(t))
    np.add.at(parts, index[:, None] ^ index, signs[: len(t), : len(t)] * cross)
    return float(level_part * 2 * np.sqrt((parts**2).sum()) / variance)


def _hypercomplex_signs(size: int) -> np.ndarray:
    """Return the sign of the product of each two units, by doubling the numbers' parts.

    ``(a, b) (c, d) = (a c - d* b, a* d* + c b*)``, ``*`` being conjugation.
    """
    signs = np.ones((1, 1))
    while len(signs) < size:
        star = np.where(np.arange(len(signs)) > 0, -1.0, 1.0)
        upper = np.hstack([signs, star[:, None] * signs * star])
        lower = np.hstack([star[:, None] * signs.T, -signs.T * star])
        signs = np.vstack([upper, lower])
    return signs


def _edge_difference(e: np.ndarray, t: np.ndarray, *, share: float) -> tuple[float, float]:
    """Return the sum of `edge` over the pixels of an image that count, and how many do."""
    ours, theirs = _roberts(e), _roberts(t)
    there = np.isfinite(ours) & np.isfinite(theirs)
    if not there.any():
        return 0.0, 0.0
    ours, theirs = ours[there], theirs[there]
    strong = theirs >= np.quantile(theirs, 1 - share)
    both = (ours + theirs)[strong]
    relative = (ours - theirs)[strong] / np.where(both > 0, both, 1)
    return float(relative.sum()), float(strong.sum())


def _roberts(image: np.ndarray) -> np.ndarray:
    falling = np.abs(image[:-1, :-1] - image[1:, 1:])
    return np.asarray(falling + np.abs(image[:-1, 1:] - image[1:, :-1]))


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, not {value}")
    return float(value)
