"""Soft classes on the GPU: what `xstf.numerics.unmixing.predict` writes for each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.numerics.cuda.launch import Source, empty, on_device
from xstf.numerics.degrade import block_means
from xstf.numerics.unmixing import Classes

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

BLOCK = (256, 1, 1)

SOURCE = Source(
    "unmixing",
    r"""
// Distances are double: their differences, over a small spread, are what shares depend on.
extern "C" __global__ void mix(
    const float* __restrict__ fine, const double* __restrict__ mean,
    const double* __restrict__ scale, const double* __restrict__ centres,
    const double* __restrict__ spread, const double* __restrict__ step,
    const double* __restrict__ slope, int outs, int pixels, float* __restrict__ out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    double deviation[BANDS], share[CLASSES];
    bool some = false, valid = true;
    #pragma unroll
    for (int b = 0; b < BANDS; ++b) {
        bool lives = !isnan(scale[b]);
        deviation[b] = lives ? fine[(size_t)b * pixels + i] - mean[b] : 0.0;
        some = some || lives;
        valid = valid && !isnan(deviation[b]);
    }
    if (!some || !valid) {
        for (int o = 0; o < outs; ++o) out[(size_t)o * pixels + i] = nanf("");
        return;
    }
    double nearest = 1e300, norm = 0.0;
    #pragma unroll
    for (int c = 0; c < CLASSES; ++c) {
        double distance = 0.0;
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) {
            double apart = isnan(scale[b]) ? 0.0 : deviation[b] * scale[b] - centres[c * BANDS + b];
            distance += apart * apart;
        }
        share[c] = distance;
        nearest = min(nearest, distance);
    }
    #pragma unroll
    for (int c = 0; c < CLASSES; ++c) {
        share[c] = exp((nearest - share[c]) / (2.0 * spread[0]));
        norm += share[c];
    }
    for (int o = 0; o < outs; ++o) {
        double value = 0.0;
        #pragma unroll
        for (int c = 0; c < CLASSES; ++c) value += step[o * CLASSES + c] * share[c];
        value /= norm;
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) value += slope[o * BANDS + b] * deviation[b];
        out[(size_t)o * pixels + i] = (float)value;
    }
}
""",
    sizes={"BANDS": 6, "CLASSES": 6},
)


def mix(fine: DeviceArray, classes: Classes, step: np.ndarray, slope: np.ndarray) -> DeviceArray:
    """Return ``step @ shares + slope @ deviations`` at each pixel, NaN without a class.

    Parameters
    ----------
    fine : cupy.ndarray (band, y, x)
    classes : Classes
        Of the host.
    step : ndarray (out, class)
    slope : ndarray (out, band)

    Returns
    -------
    cupy.ndarray (out, y, x), float32
    """
    bands, *size = fine.shape
    pixels = size[0] * size[1]
    out = empty((len(step), *size))
    double = np.float64
    spread = np.array([classes.spread])
    numbers = (classes.mean, classes.scale, classes.centres, spread, step, slope)
    SOURCE.launch(
        "mix", (pixels, 1, 1), on_device(fine), *(on_device(n, double) for n in numbers),
        len(step), pixels, out, block=BLOCK, BANDS=bands, CLASSES=len(classes.centres),
    )  # fmt: skip
    return out


def predict(
    fine: DeviceArray, ratio: int, classes: Classes, step: np.ndarray, slope: np.ndarray
) -> tuple[DeviceArray, DeviceArray]:
    """Return what `mix` returns, and its block means: as `xstf.numerics.unmixing.predict`."""
    out = mix(fine, classes, step, slope)
    return out, block_means(out, ratio)
