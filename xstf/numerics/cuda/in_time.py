"""Linear interpolation in time on the GPU, and what the variance of its error is.

A thread makes one band of one pixel, date by date, so neighbouring threads read neighbouring
pixels. It writes a gap when the observation after it is found: each value is read once and each
estimate is written once, and nothing else is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

BLOCK = (256, 1, 1)

# Other sources begin with it.
HEIGHT = r"""
// The variance that a broken line has at a distance: `numerics.gaps.variance`.
__device__ float height(const float* line, int knots, float distance)
{
    float total = line[knots];
    for (int k = 1; k < knots; ++k) total += line[knots + k] * fmaxf(distance - line[k], 0.0f);
    return total;
}
"""

SOURCE = Source(
    "in_time",
    HEIGHT
    + r"""
extern "C" __global__ void interpolate(
    const float* __restrict__ cube, const double* __restrict__ times,
    const float* __restrict__ lines, int dates, int bands, int pixels, int knots,
    float* __restrict__ estimate, float* __restrict__ spread)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, band = blockIdx.z;
    if (i >= pixels) return;
    size_t date = (size_t)bands * pixels, here = (size_t)band * pixels + i;
    const float* between = lines + (size_t)band * 4 * knots;
    const float* beyond = between + 2 * knots;
    int before = -1;
    float last = nanf("");
    for (int t = 0; t < dates; ++t) {
        float value = cube[t * date + here];
        if (isnan(value)) continue;
        for (int g = before + 1; g < t; ++g) {
            float until = (float)(times[t] - times[g]), since = 0.0f, share = 1.0f;
            if (before >= 0) {
                since = (float)(times[g] - times[before]);
                share = since / (since + until);
            }
            estimate[g * date + here] = before < 0 ? value : last + (value - last) * share;
            if (!knots) continue;
            const float* line = before < 0 ? beyond : between;
            spread[g * date + here] = sqrtf(height(line, knots, share * until));
        }
        estimate[t * date + here] = value;
        if (knots) spread[t * date + here] = sqrtf(height(between, knots, 0.0f));
        before = t;
        last = value;
    }
    for (int g = before + 1; g < dates; ++g) {
        estimate[g * date + here] = last;
        if (!knots) continue;
        float since = before < 0 ? 0.0f : (float)(times[g] - times[before]);
        spread[g * date + here] = before < 0 ? last : sqrtf(height(beyond, knots, since));
    }
}
""",
)


def interpolate(
    cube: DeviceArray, times: np.ndarray, lines: np.ndarray | None
) -> tuple[DeviceArray, DeviceArray | None]:
    """Return a cube interpolated in time, and the standard deviation of new observations.

    Parameters
    ----------
    cube : cupy.ndarray (time, band, y, x)
        NaN where missing.
    times : ndarray (time,)
        Days, ascending.
    lines : ndarray (band, 2, 2, knot), optional
        Variance over the distance, between observations and beyond the ends; see
        `xstf.methods.gapfill.linear`. None: no standard deviation is wanted.

    Returns
    -------
    estimate, std
        ``(time, band, y, x)``, float32; NaN for a pixel and band without any observation.
    """
    dates, bands, height, width = cube.shape
    estimate = empty(cube.shape)
    knots = 0 if lines is None else lines.shape[-1]
    spread = estimate if lines is None else empty(cube.shape)
    SOURCE.launch(
        "interpolate", (height * width, 1, bands), on_device(cube), on_device(times, np.float64),
        on_device(np.zeros(1) if lines is None else lines), dates, bands, height * width, knots,
        estimate, spread, block=BLOCK,
    )  # fmt: skip
    return estimate, None if lines is None else spread
