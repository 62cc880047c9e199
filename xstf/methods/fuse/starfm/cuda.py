"""The CUDA source of STARFM, and how it is launched.

`unevenness` and `disagreement` are given coarse pixels of all pairs and bands, `planes` the fine
ones, and `fuse` the wanted pixels of all bands. A thread of `fuse` makes `ROWS` pixels of a column.
A candidate is then loaded once for all of them: four values and as many distances, for about twelve
operations each. The table of distances has rows of 0 above and below, so there is no branch for
candidates that only some of the pixels have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xstf.numerics.cuda.launch import Source, empty, on_device
from xstf.numerics.cuda.upsample import AT_FINE

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

ROWS = 4


class Constants(NamedTuple):
    """Those of the method that kernels need.

    Parameters
    ----------
    reach, near
        How many coarse pixels to each side L and M are taken.
    noise_s, noise_t, noise_change
        Of the weights of S, T and L.
    """

    reach: int
    near: int
    noise_s: float
    noise_t: float
    noise_change: float


def launch(
    fine: DeviceArray,
    coarse: DeviceArray,
    *,
    ratio: int,
    state: NamedTuple,
    inner: tuple[slice, slice],
    distances: np.ndarray,
    constants: Constants,
) -> tuple[DeviceArray, DeviceArray]:
    """Return the estimate and its standard deviation, arrays of the device as the images are.

    Parameters
    ----------
    fine, coarse, ratio, state, inner
        As a kernel of the method is given them; the state may be on either side.
    distances
        D of each offset in the window.
    constants
        Of the method.
    """
    pairs, bands, height, width = fine.shape
    units = {name: on_device(values) for name, values in state._asdict().items()}
    images, layers = (on_device(fine), on_device(coarse)), pairs * bands
    cells = (width // ratio, height // ratio, layers)
    uneven, unlike = (empty((pairs, bands, height // ratio, width // ratio)) for _ in range(2))
    SOURCE.launch(
        "unevenness", cells, images[1], units["shift"], layers, bands, *cells[1::-1],
        constants.reach, uneven,
    )  # fmt: skip
    SOURCE.launch("disagreement", cells, *images, height, width, ratio, constants.near, unlike)
    six = [empty(fine.shape) for _ in range(6)]
    measures = (units[name] for name in ("shift", "unit", "mismatch", "contrast"))
    SOURCE.launch(
        "planes", (width, height, layers), *images, uneven, unlike, *measures,
        pairs, bands, height, width, ratio,
        constants.noise_s, constants.noise_t, constants.noise_change, *six,
    )  # fmt: skip
    top, left = (part.start for part in inner)
    rows, cols = (part.stop - part.start for part in inner)
    both = [empty((bands, rows, cols)) for _ in range(2)]
    near = on_device(np.pad(distances, ((ROWS - 1, ROWS - 1), (0, 0))))
    SOURCE.launch(
        "fuse", (cols, -(-rows // ROWS), bands), *six, near, units["steepness"],
        pairs, bands, height, width, len(distances), top, left, rows, cols, *both,
    )  # fmt: skip
    return both[0], both[1]


SOURCE = Source(
    "starfm",
    AT_FINE
    + f"#define ROWS {ROWS}\n"
    + r"""
// The variance of the coarse change around a coarse pixel. A layer is a band of a pair.
extern "C" __global__ void unevenness(
    const float* __restrict__ coarse, const float* __restrict__ shift,
    int layers, int bands, int rows, int cols, int reach, float* __restrict__ uneven)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int layer = blockIdx.z;
    if (x >= cols || y >= rows) return;
    size_t image = (size_t)rows * cols, here = (size_t)y * cols + x;
    const float* then = coarse + layer * image;
    const float* now = coarse + (layers + layer % bands) * image;
    double total = 0.0, square = 0.0;
    int count = 0;
    for (int row = max(0, y - reach); row <= min(rows - 1, y + reach); ++row)
        for (int col = max(0, x - reach); col <= min(cols - 1, x + reach); ++col) {
            float moved = now[(size_t)row * cols + col] - then[(size_t)row * cols + col];
            if (isnan(moved)) continue;
            double change = (double)moved - shift[layer];
            total += change;
            square += change * change;
            ++count;
        }
    double mean = total / max(count, 1), variance = square / max(count, 1) - mean * mean;
    bool there = !isnan(now[here] - then[here]);
    uneven[layer * image + here] = there ? (float)(variance > 0.0 ? variance : 0.0) : nanf("");
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

// One band of some wanted pixels: their windows in every pair, then the pairs' average.
extern "C" __global__ void fuse(
    const float* __restrict__ clean, const float* __restrict__ change,
    const float* __restrict__ steady, const float* __restrict__ weight,
    const float* __restrict__ reliable, const float* __restrict__ stale,
    const float* __restrict__ distances, const float* __restrict__ steepness,
    int pairs, int bands, int height, int width, int window,
    int top, int left, int rows, int cols,
    float* __restrict__ estimate, float* __restrict__ spread)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = (blockIdx.y * blockDim.y + threadIdx.y) * ROWS;
    int band = blockIdx.z, half = window / 2;
    if (x >= cols || y >= rows) return;
    int first = max(-half, -left - x), last = min(half, width - 1 - left - x);
    int begin = max(0, top + y - half), end = min(height - 1, top + y + ROWS - 1 + half);
    float shares[ROWS], mean[ROWS], spreads[ROWS], details[ROWS];
    for (int r = 0; r < ROWS; ++r) shares[r] = mean[r] = spreads[r] = details[r] = 0.0f;
    for (int k = 0; k < pairs; ++k) {
        int layer = k * bands + band;
        size_t start = (size_t)layer * height * width + left + x;
        float slope = steepness[layer];
        float centre[ROWS], middle[ROWS], total[ROWS], sum[ROWS], square[ROWS], share[ROWS];
        size_t own[ROWS];
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            // A row beyond the wanted ones repeats the last one, and is not written.
            own[r] = start + (size_t)(top + min(y + r, rows - 1)) * width;
            centre[r] = clean[own[r]];
            middle[r] = change[own[r]];
            total[r] = sum[r] = square[r] = share[r] = 0.0f;
        }
        for (int row = begin; row <= end; ++row) {
            size_t line = start + (size_t)row * width;
            const float* near_line = distances + (row - top - y + half) * window + half;
            for (int dx = first; dx <= last; ++dx) {
                size_t i = line + dx;
                float value = clean[i], moved = change[i], calm = steady[i], strong = weight[i];
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    float near = near_line[(ROWS - 1 - r) * window + dx];
                    near *= fmaxf(0.0f, 1.0f - fabsf(value - centre[r]) * slope);
                    float heavy = near * strong, apart = moved - middle[r];
                    total[r] += heavy;
                    sum[r] += heavy * apart;
                    square[r] += heavy * apart * apart;
                    share[r] += near * calm;
                }
            }
        }
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (!(reliable[own[r]] > 0.0f)) continue;
            float mine = share[r] * reliable[own[r]];
            // Running averages over the pairs: shares may be too small to be squared.
            float value = centre[r] + middle[r] + sum[r] / total[r], step = value - mean[r];
            shares[r] += mine;
            float part = mine / shares[r], rest = 1.0f - part;
            mean[r] += part * step;
            spreads[r] += part * (square[r] / total[r] + step * step * rest - spreads[r]);
            details[r] = rest * rest * details[r] + part * part * stale[own[r]];
        }
    }
    for (int r = 0; r < ROWS && y + r < rows; ++r) {
        size_t out = ((size_t)band * rows + y + r) * cols + x;
        estimate[out] = shares[r] > 0.0f ? mean[r] : nanf("");
        spread[out] = shares[r] > 0.0f ? sqrtf(spreads[r] + details[r]) : nanf("");
    }
}
""",
)
