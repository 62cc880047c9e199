"""The last step of FastVSDF on the GPU: `smooth_numpy` as two CUDA kernels, one an axis.

A class after the other: its weighted sums along y are kept for all bands, then those along x follow
and are added to the result. Neighbouring threads read neighbouring columns in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.methods.fuse.fastvsdf.smoothing import reach, weights_of
from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

SOURCE = Source(
    "fastvsdf",
    r"""
// Sums along y of share times plane, of one plane a layer.
extern "C" __global__ void down(
    const float* __restrict__ share, const float* __restrict__ planes,
    const float* __restrict__ weights, int wide, int height, int width, float* __restrict__ sums)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const float* plane = planes + (size_t)blockIdx.z * height * width + x;
    float total = 0.0f;
    for (int row = max(0, y - wide); row <= min(height - 1, y + wide); ++row) {
        size_t i = (size_t)row * width;
        total += weights[row - y + wide] * (share[i + x] * plane[i]);
    }
    sums[((size_t)blockIdx.z * height + y) * width + x] = total;
}

// Sums along x of those, and what they add to the mean.
extern "C" __global__ void across(
    const float* __restrict__ share, const float* __restrict__ sums,
    const float* __restrict__ weights, int wide, int masks, int height, int width,
    float* __restrict__ mean)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    size_t plane = (size_t)height * width, line = (size_t)y * width;
    float total[BANDS], mass[BANDS];
    #pragma unroll
    for (int b = 0; b < BANDS; ++b) total[b] = mass[b] = 0.0f;
    for (int col = max(0, x - wide); col <= min(width - 1, x + wide); ++col) {
        float weight = weights[col - x + wide];
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) {
            total[b] += weight * sums[b * plane + line + col];
            if (b < masks) mass[b] += weight * sums[(BANDS + b) * plane + line + col];
        }
    }
    #pragma unroll
    for (int b = 0; b < BANDS; ++b) {
        float own = masks == 1 ? mass[0] : mass[b];
        if (own > 0.0f) mean[b * plane + line + x] += share[line + x] * (total[b] / own);
    }
}
""",
    sizes={"BANDS": 6},
)


def smooth(
    share: DeviceArray, change: DeviceArray, inner: tuple[slice, slice], sigma: float
) -> DeviceArray:
    """Return the same as `smooth_numpy`, from and as arrays of the device."""
    wide = reach(sigma)
    outer = [
        slice(max(0, i.start - wide), min(n, i.stop + wide))
        for i, n in zip(inner, change.shape[1:], strict=True)
    ]
    share, change = share[:, *outer], change[:, *outer]
    bands, height, width = change.shape
    valid = ~np.isnan(change + share[:1])
    alike = valid[:1] if bool((valid == valid[:1]).all()) else valid
    share = on_device(np.nan_to_num(share))
    filled = np.where(valid, change, np.float32(0)).astype(np.float32)
    planes = on_device(np.concatenate([filled, alike.astype(np.float32)]))
    weights = on_device(weights_of(sigma))
    sums, mean = empty(planes.shape), np.zeros_like(filled)
    for own in share:
        SOURCE.launch("down", (width, height, len(planes)), own, planes, weights, wide, height,
                      width, sums, BANDS=bands)  # fmt: skip
        SOURCE.launch("across", (width, height, 1), own, sums, weights, wide, len(alike), height,
                      width, mean, BANDS=bands)  # fmt: skip
    rows, cols = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    smoothed: DeviceArray = np.where(valid, mean, np.float32(np.nan))[:, rows, cols]
    return smoothed
