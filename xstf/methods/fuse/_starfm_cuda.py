"""The CUDA source of STARFM, and how it is launched.

Two kernels without barriers or shared memory, so that a C++ compiler can run the same text on a
processor. `planes` is given pixels of all pairs and bands, `fuse` the wanted pixels of all bands;
neighbouring threads read neighbouring columns.
"""

from __future__ import annotations

BLOCK = (32, 8, 1)


def grid(cols: int, rows: int, layers: int) -> tuple[int, int, int]:
    """Return how many blocks cover ``layers`` images of ``rows`` by ``cols``."""
    return -(-cols // BLOCK[0]), -(-rows // BLOCK[1]), layers


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

// What does not depend on the centre. A layer is a band of a pair.
extern "C" __global__ void planes(
    const float* __restrict__ fine, const float* __restrict__ coarse,
    const float* __restrict__ uneven, const float* __restrict__ shift,
    const float* __restrict__ unit, const float* __restrict__ usual,
    int pairs, int bands, int height, int width, int ratio,
    float noise_s, float noise_t, float noise_change, float usual_mismatch,
    float* __restrict__ clean, float* __restrict__ change, float* __restrict__ steady,
    float* __restrict__ weight, float* __restrict__ reliable)
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
        clean[here] = change[here] = steady[here] = weight[here] = reliable[here] = 0.0f;
        return;
    }
    float t = fabsf(moved - shift[layer]) / scale + noise_t;
    float s = fabsf(mismatch) / scale + noise_s;
    float l = at_fine(uneven + layer * image, y, x, ratio, rows, cols) / (scale * scale);
    clean[here] = fine[here];
    change[here] = moved;
    steady[here] = 1.0f / (t * t);
    weight[here] = 1.0f / (t * t * s * s);
    l += noise_change;
    reliable[here] = 1.0f / (l * sqrtf(l)) / (usual_mismatch + mismatch * mismatch / usual[layer]);
}

// One band of one wanted pixel: its window in every pair, then the pairs' average.
extern "C" __global__ void fuse(
    const float* __restrict__ clean, const float* __restrict__ change,
    const float* __restrict__ steady, const float* __restrict__ weight,
    const float* __restrict__ reliable, const float* __restrict__ distances,
    const float* __restrict__ steepness,
    int pairs, int bands, int height, int width, int window,
    int top, int left, int rows, int cols,
    float* __restrict__ estimate, float* __restrict__ spread)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int band = blockIdx.z, half = window / 2;
    if (x >= cols || y >= rows) return;
    float shares = 0.0f, mean = 0.0f, second = 0.0f;
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
        // A running weighted mean and sum of squares of the pairs.
        float value = centre + middle + sum / total, step = value - mean;
        shares += share;
        mean += share / shares * step;
        second += share * (square / total + step * (value - mean));
    }
    size_t out = ((size_t)band * rows + y) * cols + x;
    estimate[out] = shares > 0.0f ? mean : nanf("");
    spread[out] = shares > 0.0f ? sqrtf(second / shares) : nanf("");
}
"""
