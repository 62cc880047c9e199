"""The CUDA source of STARFM, and how it is launched.

Three kernels without barriers or shared memory, so that a C++ compiler can run the same text on a
processor. `disagreement` is given coarse pixels of all pairs and bands, `planes` the fine ones, and
`fuse` the wanted pixels of all bands; neighbouring threads read neighbouring columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

BLOCK = (32, 8, 1)


def grid(cols: int, rows: int, layers: int) -> tuple[int, int, int]:
    """Return how many blocks cover ``layers`` images of ``rows`` by ``cols``."""
    return -(-cols // BLOCK[0]), -(-rows // BLOCK[1]), layers


@cache
def compiled() -> list[Any]:
    """Return the kernels in the order of their use, compiled once."""
    import cupy

    return [cupy.RawKernel(SOURCE, name) for name in ("disagreement", "planes", "fuse")]


def launch(
    fine: DeviceArray,
    coarse: DeviceArray,
    *,
    ratio: int,
    state: NamedTuple,
    inner: tuple[slice, slice],
    unevenness: Callable[[np.ndarray, np.ndarray], np.ndarray],
    distances: np.ndarray,
    constants: tuple[float, ...],
) -> tuple[DeviceArray, DeviceArray]:
    """Return the estimate and its standard deviation, arrays of the device as the images are.

    Parameters
    ----------
    fine, coarse, ratio, state, inner
        As a kernel of the method is given them; the state may be on either side.
    unevenness
        Returns L on the coarse grid from the coarse images and the shift. It is not worth a kernel.
    distances
        D of each offset in the window.
    constants
        How many coarse pixels to each side M is taken, then those of the weights of S, T and L.
    """
    import cupy

    disagreement, planes, fuse = compiled()
    pairs, bands, height, width = fine.shape
    # C order is made sure of: the kernels know no strides.
    units = {name: cupy.asarray(values, order="C") for name, values in state._asdict().items()}
    uneven = cupy.asarray(unevenness(cupy.asnumpy(coarse), cupy.asnumpy(units["shift"])))
    unlike = cupy.empty_like(uneven)
    images = (cupy.ascontiguousarray(fine), cupy.ascontiguousarray(coarse))
    sizes = tuple(np.int32(n) for n in (pairs, bands, height, width, ratio))
    blocks = grid(width // ratio, height // ratio, pairs * bands)
    disagreement(blocks, BLOCK, (*images, *sizes[2:], np.int32(constants[0]), unlike))
    six = [cupy.empty(fine.shape, cupy.float32) for _ in range(6)]
    measures = (units[name] for name in ("shift", "unit", "mismatch", "contrast"))
    noises = (np.float32(n) for n in constants[1:])
    arguments = (*images, uneven, unlike, *measures, *sizes, *noises, *six)
    planes(grid(width, height, pairs * bands), BLOCK, arguments)
    top, left = (part.start for part in inner)
    rows, cols = (part.stop - part.start for part in inner)
    both = [cupy.empty((bands, rows, cols), cupy.float32) for _ in range(2)]
    given = (*six, cupy.asarray(distances), units["steepness"])
    wanted = (pairs, bands, height, width, len(distances), top, left, rows, cols)
    fuse(grid(cols, rows, bands), BLOCK, (*given, *(np.int32(n) for n in wanted), *both))
    return both[0], both[1]


SOURCE = r"""
// Bilinear value of a coarse image at a fine pixel; missing where its own coarse pixel is.
__device__ float at_fine(const float* image, int y, int x, int ratio, int height, int width)
{
    if (isnan(image[(y / ratio) * width + x / ratio])) return nanf("");
    float up = (y + 0.5f) / ratio - 0.5f, left = (x + 0.5f) / ratio - 0.5f;
    int y0 = (int)floorf(up), x0 = (int)floorf(left);
    float total = 0.0f, mass = 0.0f;
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            int yy = min(max(y0 + i, 0), height - 1), xx = min(max(x0 + j, 0), width - 1);
            float v = image[yy * width + xx];
            float w = (i ? up - y0 : 1.0f - (up - y0)) * (j ? left - x0 : 1.0f - (left - x0));
            if (!isnan(v)) {
                total += w * v;
                mass += w;
            }
        }
    return mass > 0.0f ? total / mass : nanf("");
}

// The mean square of what a fine image and its coarse image differ by, around a coarse pixel.
extern "C" __global__ void disagreement(
    const float* __restrict__ fine, const float* __restrict__ coarse,
    int height, int width, int ratio, int near, float* __restrict__ unlike)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int rows = height / ratio, cols = width / ratio;
    if (x >= cols || y >= rows) return;
    const float* image = coarse + (size_t)blockIdx.z * rows * cols;
    const float* pixels = fine + (size_t)blockIdx.z * height * width;
    float total = 0.0f;
    int count = 0, own = 0;
    for (int row = max(0, y - near); row <= min(rows - 1, y + near); ++row)
        for (int col = max(0, x - near); col <= min(cols - 1, x + near); ++col)
            for (int i = row * ratio; i < (row + 1) * ratio; ++i)
                for (int j = col * ratio; j < (col + 1) * ratio; ++j) {
                    float s = pixels[(size_t)i * width + j];
                    s -= at_fine(image, i, j, ratio, rows, cols);
                    if (isnan(s)) continue;
                    total += s * s;
                    ++count;
                    own += row == y && col == x;
                }
    size_t out = ((size_t)blockIdx.z * rows + y) * cols + x;
    unlike[out] = own > 0 ? total / count : nanf("");
}

// What does not depend on the centre. A layer is a band of a pair.
extern "C" __global__ void planes(
    const float* __restrict__ fine, const float* __restrict__ coarse,
    const float* __restrict__ uneven, const float* __restrict__ unlike,
    const float* __restrict__ shift, const float* __restrict__ unit,
    const float* __restrict__ usual, const float* __restrict__ contrast,
    int pairs, int bands, int height, int width, int ratio,
    float noise_s, float noise_t, float noise_change,
    float* __restrict__ clean, float* __restrict__ change, float* __restrict__ steady,
    float* __restrict__ weight, float* __restrict__ reliable, float* __restrict__ stale)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int layer = blockIdx.z;
    if (x >= width || y >= height) return;
    int rows = height / ratio, cols = width / ratio;
    size_t here = ((size_t)layer * height + y) * width + x;
    size_t image = (size_t)rows * cols;
    float now = at_fine(coarse + (pairs * bands + layer % bands) * image, y, x, ratio, rows, cols);
    float then = at_fine(coarse + layer * image, y, x, ratio, rows, cols);
    float moved = now - then, mismatch = fine[here] - then, scale = unit[layer];
    if (isnan(moved + mismatch)) {
        clean[here] = change[here] = steady[here] = 0.0f;
        weight[here] = reliable[here] = stale[here] = 0.0f;
        return;
    }
    float t = fabsf(moved - shift[layer]) / scale + noise_t;
    float s = fabsf(mismatch) / scale + noise_s;
    float uneven_here = at_fine(uneven + layer * image, y, x, ratio, rows, cols);
    float l = uneven_here / (scale * scale) + noise_change, square = mismatch * mismatch;
    clean[here] = fine[here];
    change[here] = moved;
    steady[here] = 1.0f / (t * t);
    weight[here] = 1.0f / (t * t * s * s);
    float m = at_fine(unlike + layer * image, y, x, ratio, rows, cols);
    reliable[here] = 1.0f / (l * (1.0f + m / usual[layer]));
    stale[here] = (square + usual[layer]) / 2.0f * (uneven_here / contrast[layer]);
}

// One band of one wanted pixel: its window in every pair, then the pairs' average.
extern "C" __global__ void fuse(
    const float* __restrict__ clean, const float* __restrict__ change,
    const float* __restrict__ steady, const float* __restrict__ weight,
    const float* __restrict__ reliable, const float* __restrict__ stale,
    const float* __restrict__ distances, const float* __restrict__ steepness,
    int pairs, int bands, int height, int width, int window,
    int top, int left, int rows, int cols,
    float* __restrict__ estimate, float* __restrict__ spread)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int band = blockIdx.z, half = window / 2;
    if (x >= cols || y >= rows) return;
    float shares = 0.0f, mean = 0.0f, spreads = 0.0f, details = 0.0f;
    for (int k = 0; k < pairs; ++k) {
        int layer = k * bands + band;
        size_t start = (size_t)layer * height * width;
        size_t here = start + (size_t)(top + y) * width + left + x;
        if (!(reliable[here] > 0.0f)) continue;
        float centre = clean[here], middle = change[here], slope = steepness[layer];
        float total = 0.0f, sum = 0.0f, square = 0.0f, share = 0.0f;
        for (int dy = max(-half, -top - y); dy <= min(half, height - 1 - top - y); ++dy) {
            int first = max(-half, -left - x), last = min(half, width - 1 - left - x);
            size_t row = here + (ptrdiff_t)dy * width;
            for (int dx = first; dx <= last; ++dx) {
                size_t i = row + dx;
                float alike = 1.0f - fabsf(clean[i] - centre) * slope;
                if (alike > 0.0f) {
                    float near = alike * distances[(dy + half) * window + dx + half];
                    float heavy = near * weight[i], apart = change[i] - middle;
                    total += heavy;
                    sum += heavy * apart;
                    square += heavy * apart * apart;
                    share += near * steady[i];
                }
            }
        }
        share *= reliable[here];
        // Running averages over the pairs: shares may be too small to be squared.
        float value = centre + middle + sum / total, step = value - mean;
        shares += share;
        float part = share / shares, rest = 1.0f - part;
        mean += part * step;
        spreads += part * (square / total + step * step * rest - spreads);
        details = rest * rest * details + part * part * stale[here];
    }
    size_t out = ((size_t)band * rows + y) * cols + x;
    estimate[out] = shares > 0.0f ? mean : nanf("");
    spread[out] = shares > 0.0f ? sqrtf(spreads + details) : nanf("");
}
"""
