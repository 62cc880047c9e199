"""The filter of Fit-FC on the GPU: `average_numpy` as a CUDA kernel.

A thread makes `ROWS` pixels of a column, and loads the bands of a candidate once for all of them.
The table of nearness has rows of 0 above and below, so there is no branch for candidates that only
some of the pixels have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# What the pixels of a thread may take of its 255 registers, in float32 numbers.
ROOM = 96

SOURCE = Source(
    "fitfc",
    r"""
extern "C" __global__ void average(
    const float* __restrict__ spectra, const float* __restrict__ values,
    const float* __restrict__ near, int height, int width, int side, int columns,
    float* __restrict__ total, float* __restrict__ mass)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = (blockIdx.y * blockDim.y + threadIdx.y) * ROWS;
    if (x >= width || y >= height) return;
    int wide = width + columns - 1, reach = side / 2;
    size_t plane = (size_t)(height + side - 1) * wide;
    float own[ROWS][BANDS], sum[ROWS][VALUES], weights[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        // A row beyond the last one repeats it, and is not written.
        size_t here = (size_t)(min(y + r, height - 1) + reach) * wide + x + reach;
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) own[r][b] = spectra[b * plane + here];
        #pragma unroll
        for (int v = 0; v < VALUES; ++v) sum[r][v] = 0.0f;
        weights[r] = 0.0f;
    }
    int end = min(y + ROWS - 1 + side, height + side - 1);
    for (int row = y; row < end; ++row) {
        const float* line = near + (row - y) * columns;
        for (int dx = 0; dx < side; ++dx) {
            size_t i = (size_t)row * wide + x + dx;
            float weight[ROWS];
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = 1.0f;
            #pragma unroll
            for (int b = 0; b < BANDS; ++b) {
                float other = spectra[b * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    float apart = other - own[r][b];
                    weight[r] -= apart * apart;
                }
            }
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                weight[r] = fmaxf(0.0f, weight[r]) * line[(ROWS - 1 - r) * columns + dx];
                weights[r] += weight[r];
            }
            #pragma unroll
            for (int v = 0; v < VALUES; ++v) {
                float value = values[v * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) sum[r][v] += weight[r] * value;
            }
        }
    }
    for (int r = 0; r < ROWS && y + r < height; ++r) {
        size_t here = (size_t)(y + r) * width + x;
        for (int v = 0; v < VALUES; ++v) total[v * (size_t)height * width + here] = sum[r][v];
        mass[here] = weights[r];
    }
}
""",
    sizes={"BANDS": 6, "VALUES": 12, "ROWS": 4},
)


def rows_of(bands: int, values: int) -> int:
    """Return how many pixels a thread makes, so that they stay in its registers.

    Examples
    --------
    >>> rows_of(6, 6), rows_of(6, 12), rows_of(40, 80)
    (4, 4, 1)
    """
    return max(1, min(4, ROOM // (bands + values + 2)))


def average(
    spectra: DeviceArray, values: DeviceArray, near: np.ndarray
) -> tuple[DeviceArray, DeviceArray]:
    """Return the same as `average_numpy`, from and as arrays of the device.

    Parameters
    ----------
    spectra, values
        ``(band, y, x)`` and ``(value, y, x)``, as far beyond the pixels as `near` reaches.
    near
        Weight of each offset, as `average_numpy` takes it.
    """
    side, columns = near.shape
    height, width = spectra.shape[1] - side + 1, spectra.shape[2] - columns + 1
    rows = rows_of(len(spectra), len(values))
    total, mass = empty((len(values), height, width)), empty((height, width))
    SOURCE.launch(
        "average", (width, -(-height // rows), 1), on_device(spectra), on_device(values),
        on_device(np.pad(near, ((rows - 1, rows - 1), (0, 0)))), height, width, side, columns,
        total, mass, BANDS=len(spectra), VALUES=len(values), ROWS=rows,
    )  # fmt: skip
    return total, mass
