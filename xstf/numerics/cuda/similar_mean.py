"""The mean change of similar pixels on the GPU: `xstf.numerics.similar_mean.smooth_numpy`.

Every `STEP`-th row and column of a window is visited, so the pixels of a thread are `STEP` rows
apart: a candidate is then loaded once for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.numerics.cuda.launch import Source, empty, on_device
from xstf.numerics.similar_mean import STEP, Inner

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# What the pixels of a thread may take of its 255 registers, in float32 numbers.
ROOM = 96

SOURCE = Source(
    "similar_mean",
    f"#define STEP {STEP}\n"
    + r"""
extern "C" __global__ void smooth(
    const float* __restrict__ scaled, const float* __restrict__ change,
    const float* __restrict__ valid, const float* __restrict__ near, float sharp,
    int height, int width, int reach, int top, int left, int rows, int cols,
    float* __restrict__ out)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int t = blockIdx.y * blockDim.y + threadIdx.y;
    int y = t / STEP * STEP * ROWS + t % STEP;
    if (x >= cols || y >= rows) return;
    size_t plane = (size_t)height * width;
    int side = 2 * (reach / STEP) + 1, middle = reach / STEP;
    float own[ROWS][DIMS + 1], sum[ROWS][BANDS], mass[ROWS][MASKS];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        // A row beyond the wanted ones is read where the tile ends, and is not written.
        size_t here = (size_t)min(top + y + STEP * r, height - 1) * width + left + x;
        #pragma unroll
        for (int d = 0; d < DIMS; ++d) own[r][d] = scaled[d * plane + here];
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) sum[r][b] = 0.0f;
        #pragma unroll
        for (int m = 0; m < MASKS; ++m) mass[r][m] = 0.0f;
    }
    int steps = middle + ROWS - 1;
    for (int k = -middle; k <= steps; ++k) {
        int row = top + y + STEP * k;
        if (row < 0 || row >= height) continue;
        for (int j = -middle; j <= middle; ++j) {
            int col = left + x + STEP * j;
            if (col < 0 || col >= width) continue;
            size_t i = (size_t)row * width + col;
            float weight[ROWS];
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = 0.0f;
            #pragma unroll
            for (int d = 0; d < DIMS; ++d) {
                float other = scaled[d * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    float apart = own[r][d] - other;
                    weight[r] += apart * apart;
                }
            }
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                // Missing pixels are similar to none: fmaxf takes the other one.
                float close = fmaxf(1.0f - weight[r] * sharp, 0.0f);
                weight[r] = close * close * near[(k - r + middle + ROWS - 1) * side + j + middle];
            }
            #pragma unroll
            for (int m = 0; m < MASKS; ++m) {
                float seen = valid[m * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) mass[r][m] += weight[r] * seen;
            }
            #pragma unroll
            for (int b = 0; b < BANDS; ++b) {
                float moved = change[b * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) sum[r][b] += weight[r] * moved;
            }
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        int own_row = y + STEP * r;
        if (own_row >= rows) continue;
        size_t here = (size_t)(top + own_row) * width + left + x;
        #pragma unroll
        for (int b = 0; b < BANDS; ++b) {
            int m = MASKS == 1 ? 0 : b;
            bool there = valid[m * plane + here] > 0.0f && mass[r][m] > 0.0f;
            size_t at = ((size_t)b * rows + own_row) * cols + x;
            out[at] = there ? sum[r][b] / mass[r][m] : nanf("");
        }
    }
}
""",
    sizes={"DIMS": 6, "BANDS": 6, "MASKS": 6, "ROWS": 4},
)


def smooth(
    scaled: DeviceArray, change: DeviceArray, inner: Inner, window: int, similarity: float
) -> DeviceArray:
    """Return the same as `xstf.numerics.similar_mean.smooth`, from and as arrays of the device."""
    dims, bands, (height, width) = len(scaled), len(change), change.shape[1:]
    valid = ~np.isnan(change)
    # One mask serves all bands unless they miss different pixels.
    alike = valid[:1] if bool((valid == valid[:1]).all()) else valid
    (top, bottom), (left, right) = ((part.start, part.stop) for part in inner)
    size = (bottom - top, right - left)
    rows = max(1, min(4, ROOM // (dims + bands + len(alike) + 1)))
    half = window // 2
    reach = half // STEP * STEP
    line = np.arange(-reach, reach + 1, STEP)
    near = 1 / (1 + np.hypot(line[:, None], line) / half)
    out = empty((bands, *size))
    threads = -(-size[0] // (STEP * rows)) * STEP
    SOURCE.launch(
        "smooth", (size[1], threads, 1), on_device(scaled),
        on_device(np.where(valid, change, np.float32(0))), on_device(alike),
        on_device(np.pad(near, ((rows - 1, rows - 1), (0, 0)))),
        1.0 / similarity**2 / max(1, dims), height, width, reach, top, left, *size, out,
        DIMS=dims, BANDS=bands, MASKS=len(alike), ROWS=rows,
    )  # fmt: skip
    return out
