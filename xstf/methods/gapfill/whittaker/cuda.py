"""The smoother on the GPU: a banded solve for each band of each pixel, in double.

A thread goes over the dates twice: forth it factors ``A = L D L'`` and substitutes, back it solves,
and follows the inverse inside the bands (Takahashi's recursion, as `penalised.invert` does) with
six numbers in registers. What it must keep of a date are four numbers. They lie in memory so that
neighbouring threads have neighbouring ones, for `KEPT` bytes of pixels at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.methods.gapfill.whittaker.penalised import LEAST
from xstf.methods.gapfill.whittaker.rules import Plan
from xstf.numerics.cuda.in_time import HEIGHT
from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

BLOCK = (128, 1, 1)
# Bytes of what is kept of the dates, and the bytes of one date of one series.
KEPT = 1 << 28
OF_DATE = 4 * 8

SOURCE = Source(
    "whittaker",
    f"#define LEAST {LEAST}\n"
    + HEIGHT
    + r"""
// Series are those of all bands, one after the other; `kept` has near, mid, pivot and the
// substituted values of each date.
extern "C" __global__ void smooth(
    const float* __restrict__ cube, const double* __restrict__ clock,
    const double* __restrict__ penalty, const double* __restrict__ unit,
    const float* __restrict__ lines, int dates, int pixels, int series, int start, int count,
    int knots, double* __restrict__ kept, float* __restrict__ estimate, float* __restrict__ spread)
{
    int n = blockIdx.x * blockDim.x + threadIdx.x, i = start + n;
    if (n >= count) return;
    int first = -1, last = -1, seen = 0;
    for (int t = 0; t < dates; ++t)
        if (!isnan(cube[(size_t)t * series + i])) {
            if (first < 0) first = t;
            last = t;
            ++seen;
        }
    if (first < 0) {
        for (int t = 0; t < dates; ++t) {
            estimate[(size_t)t * series + i] = nanf("");
            if (knots) spread[(size_t)t * series + i] = nanf("");
        }
        return;
    }
    // From its first value on: a constant series is all zeros then, free of rounding.
    double base = cube[(size_t)first * series + i];
    double strength = unit[0] * (seen > 1 ? (clock[last] - clock[first]) / (seen - 1) : 1.0);
    double* near = kept + n;
    double* mid = near + (size_t)dates * count;
    double* pivot = mid + (size_t)dates * count;
    double* value = pivot + (size_t)dates * count;
    double near_1 = 0.0, near_2 = 0.0, mid_1 = 0.0;
    double pivot_1 = 0.0, pivot_2 = 0.0, pivot_3 = 0.0, y_1 = 0.0, y_2 = 0.0, y_3 = 0.0;
    for (int t = 0; t < dates; ++t) {
        float own = cube[(size_t)t * series + i];
        double weight = isnan(own) ? 0.0 : strength;
        double p1 = penalty[4 * t + 1], p2 = penalty[4 * t + 2], p3 = penalty[4 * t + 3];
        double u2 = p2 - p3 * near_2;
        double u1 = p1 - p3 * mid_1 - u2 * near_1;
        double l2 = u2 * pivot_2, l1 = u1 * pivot_1, l3 = p3 * pivot_3;
        double rest = weight + penalty[4 * t] - p3 * l3 - l2 * u2 - l1 * u1;
        double y = (isnan(own) ? 0.0 : weight * (own - base)) - l1 * y_1 - l2 * y_2 - l3 * y_3;
        near_2 = near_1; near_1 = l1; mid_1 = l2;
        pivot_3 = pivot_2; pivot_2 = pivot_1; pivot_1 = 1.0 / max(rest, LEAST);
        y_3 = y_2; y_2 = y_1; y_1 = y;
        size_t at = (size_t)t * count;
        near[at] = l1;
        mid[at] = l2;
        pivot[at] = pivot_1;
        value[at] = y;
    }
    const float* line = lines + (size_t)(i / pixels) * 2 * knots;
    double z_1 = 0.0, z_2 = 0.0, z_3 = 0.0, head = 0.0, tail = 0.0;
    double s11 = 0.0, s21 = 0.0, s31 = 0.0, s22 = 0.0, s32 = 0.0, s33 = 0.0;
    for (int t = dates - 1; t >= 0; --t) {
        size_t at = (size_t)t * count;
        double a = t + 1 < dates ? near[at + count] : 0.0;
        double b = t + 2 < dates ? mid[at + 2 * (size_t)count] : 0.0;
        double c = t + 3 < dates ? penalty[4 * (t + 3) + 3] * pivot[at] : 0.0;
        double z = value[at] * pivot[at] - a * z_1 - b * z_2 - c * z_3;
        z_3 = z_2; z_2 = z_1; z_1 = z;
        if (t == first) head = z;
        if (t == last) tail = z;
        if (t >= first && t <= last) estimate[(size_t)t * series + i] = (float)(base + z);
        if (!knots) continue;
        double s1 = -(a * s11 + b * s21 + c * s31);
        double s2 = -(a * s21 + b * s22 + c * s32);
        double s3 = -(a * s31 + b * s32 + c * s33);
        double s0 = pivot[at] - a * s1 - b * s2 - c * s3;
        s33 = s22; s32 = s21; s22 = s11;
        s31 = s2; s21 = s1; s11 = s0;
        float v = (float)(strength * s0);
        spread[(size_t)t * series + i] = sqrtf(height(line, knots, v));
    }
    for (int t = 0; t < first; ++t) estimate[(size_t)t * series + i] = (float)(base + head);
    for (int t = last + 1; t < dates; ++t) estimate[(size_t)t * series + i] = (float)(base + tail);
}
""",
)


def smooth(
    cube: DeviceArray, plan: Plan, lines: np.ndarray | None
) -> tuple[DeviceArray, DeviceArray | None]:
    """Return the curve through a cube and the standard deviation of new observations.

    Parameters
    ----------
    cube : cupy.ndarray (time, band, y, x)
        NaN where missing.
    plan : Plan
        With one period and plain weights.
    lines : ndarray (band, 2, knot), optional
        The variance over v. None: no standard deviation is wanted.

    Returns
    -------
    estimate, std
        ``(time, band, y, x)``, float32; NaN for a pixel and band without any observation.

    Raises
    ------
    ValueError
        The plan has weights or periods of its own for each series.
    """
    if plan.passes or plan.rule:
        raise ValueError(
            "whittaker's engine 'cupy' has choose='fixed', robust=0 and envelope=None alone; use "
            "engine='numba' for the others"
        )
    dates, bands, height, width = cube.shape
    series, cube = bands * height * width, on_device(cube)
    at_once = min(series, max(1, KEPT // (OF_DATE * dates)))
    numbers = [on_device(n, np.float64) for n in (plan.clock, plan.penalty[0], plan.unit)]
    knots = 0 if lines is None else lines.shape[-1]
    line = on_device(np.zeros(1) if lines is None else lines)
    estimate = empty(cube.shape)
    spread = estimate if lines is None else empty(cube.shape)
    for start in range(0, series, at_once):
        count = min(at_once, series - start)
        kept = empty((4, dates, count), np.float64)
        SOURCE.launch(
            "smooth", (count, 1, 1), cube, *numbers, line, dates, height * width, series, start,
            count, knots, kept, estimate, spread, block=BLOCK,
        )  # fmt: skip
    return estimate, None if lines is None else spread
