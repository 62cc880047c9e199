"""Sums over similar pixels on the GPU: what `similar.sum_similar` adds up, as two CUDA kernels.

`votes` goes over the whole window. A thread makes `ROWS` pixels of a column, and loads a candidate
once for all of them; a factor of 0 stands for candidates that only some of the pixels have.
`terms` goes over the small window in which the regression is made, in double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.methods.fuse.estarfm.similar import TOLERANCE
from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# What the pixels of a thread may take of its 255 registers, in float32 numbers.
ROOM = 96
BLOCK = (64, 4, 1)

SOURCE = Source(
    "estarfm",
    f"#define TOLERANCE {TOLERANCE}.0f\n"
    + r"""
extern "C" __global__ void votes(
    const float* __restrict__ likeness, const float* __restrict__ values,
    const float* __restrict__ factors, int reach, int height, int width,
    int top, int left, int rows, int cols, float* __restrict__ sums)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = (blockIdx.y * blockDim.y + threadIdx.y) * ROWS;
    if (x >= cols || y >= rows) return;
    size_t plane = (size_t)height * width;
    int side = 2 * reach + 1;
    float own[ROWS][COMPARED], total[ROWS][VALUES];
    #pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        // A row beyond the wanted ones repeats the last one, and is not written.
        size_t here = (size_t)(top + min(y + r, rows - 1)) * width + left + x;
        #pragma unroll
        for (int f = 0; f < COMPARED; ++f) own[r][f] = likeness[f * plane + here];
        #pragma unroll
        for (int v = 0; v < VALUES; ++v) total[r][v] = 0.0f;
    }
    int begin = max(0, top + y - reach), end = min(height - 1, top + y + ROWS - 1 + reach);
    int first = max(-reach, -left - x), last = min(reach, width - 1 - left - x);
    for (int row = begin; row <= end; ++row) {
        const float* line = factors + (row - top - y + reach) * side + reach;
        for (int dx = first; dx <= last; ++dx) {
            size_t i = (size_t)row * width + left + x + dx;
            float weight[ROWS];
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = line[(ROWS - 1 - r) * side + dx];
            #pragma unroll
            for (int f = 0; f < COMPARED; ++f) {
                float other = likeness[f * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r)
                    // A comparison with a missing value must not exclude.
                    weight[r] = fabsf(other - own[r][f]) > TOLERANCE ? 0.0f : weight[r];
            }
            #pragma unroll
            for (int v = 0; v < VALUES; ++v) {
                float value = values[v * plane + i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) total[r][v] += weight[r] * value;
            }
        }
    }
    for (int r = 0; r < ROWS && y + r < rows; ++r)
        for (int v = 0; v < VALUES; ++v)
            sums[((size_t)v * rows + y + r) * cols + x] = total[r][v];
}

// A layer is a band: the terms are the count, then kinds by band.
extern "C" __global__ void terms(
    const float* __restrict__ likeness, const float* __restrict__ values, int near,
    int height, int width, int top, int left, int rows, int cols, int bands,
    double* __restrict__ sums)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int band = blockIdx.z;
    if (x >= cols || y >= rows) return;
    size_t plane = (size_t)height * width, here = (size_t)(top + y) * width + left + x;
    float own[COMPARED];
    double count = 0.0, total[KINDS];
    #pragma unroll
    for (int f = 0; f < COMPARED; ++f) own[f] = likeness[f * plane + here];
    #pragma unroll
    for (int k = 0; k < KINDS; ++k) total[k] = 0.0;
    int first = max(-near, -left - x), last = min(near, width - 1 - left - x);
    for (int dy = max(-near, -top - y); dy <= min(near, height - 1 - top - y); ++dy)
        for (int dx = first + ((first + dy) & 1); dx <= last; dx += 2) {
            size_t i = here + (ptrdiff_t)dy * width + dx;
            float weight = 1.0f;
            #pragma unroll
            for (int f = 0; f < COMPARED; ++f)
                weight = fabsf(likeness[f * plane + i] - own[f]) > TOLERANCE ? 0.0f : weight;
            count += weight * values[i];
            #pragma unroll
            for (int k = 0; k < KINDS; ++k)
                total[k] += weight * values[(1 + k * bands + band) * plane + i];
        }
    size_t out = (size_t)y * cols + x, area = (size_t)rows * cols;
    if (band == 0) sums[out] = count;
    #pragma unroll
    for (int k = 0; k < KINDS; ++k) sums[(1 + k * bands + band) * area + out] = total[k];
}
""",
    sizes={"COMPARED": 12, "VALUES": 13, "KINDS": 5, "ROWS": 2},
)


def sum_similar(
    likeness: DeviceArray,
    votes: DeviceArray,
    terms: DeviceArray,
    reach: int,
    near: int,
    within: tuple[slice, slice],
    bands: int,
) -> tuple[DeviceArray, DeviceArray]:
    """Return the sums of votes and terms over the similar pixels of each pixel, itself among them.

    Parameters
    ----------
    likeness, votes, terms, reach, near
        As `similar.sum_similar` takes them; `terms` has the count and some kinds by band.
    within
        Rows and columns that are wanted.
    bands
        Of the images.

    Returns
    -------
    cupy.ndarray (vote, rows, cols), float32; (term, rows, cols), float64
    """
    compared, height, width = likeness.shape
    top, left = (part.start for part in within)
    rows, cols = (part.stop - part.start for part in within)
    each = max(1, min(4, ROOM // (compared + len(votes) + 1)))
    away = np.arange(-reach, reach + 1)
    factors = 1 / (1 + np.hypot(away[:, None], away) / reach)
    likeness, values = on_device(likeness), on_device(terms)
    sizes = {"COMPARED": compared, "VALUES": len(votes), "KINDS": (len(terms) - 1) // bands}
    place = (height, width, top, left, rows, cols)
    found = empty((len(votes), rows, cols)), empty((len(terms), rows, cols), np.float64)
    SOURCE.launch(
        "votes", (cols, -(-rows // each), 1), likeness, on_device(votes),
        on_device(np.pad(factors, ((each - 1, each - 1), (0, 0)))), reach, *place, found[0],
        block=BLOCK, ROWS=each, **sizes,
    )  # fmt: skip
    SOURCE.launch(
        "terms", (cols, rows, bands), likeness, values, near, *place, bands, found[1],
        block=BLOCK, ROWS=each, **sizes,
    )  # fmt: skip
    return found
