"""Coarse images at fine pixels on the GPU: the bilinear interpolation of `numerics.upsample`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xstf.numerics.cuda.launch import Source, empty, on_device

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

# Other sources begin with it.
AT_FINE = r"""
// Bilinear value of a coarse image at a fine pixel; missing where its own coarse pixel is. Weights
// come from the place within the coarse pixel alone, so that they are the same in any tile.
__device__ float at_fine(const float* image, int y, int x, int ratio, int height, int width)
{
    int row = y / ratio, col = x / ratio;
    if (isnan(image[(size_t)row * width + col])) return nanf("");
    float down = (y - row * ratio + 0.5f) / ratio - 0.5f;
    float right = (x - col * ratio + 0.5f) / ratio - 0.5f;
    int next_row = min(max(down < 0.0f ? row - 1 : row + 1, 0), height - 1);
    int next_col = min(max(right < 0.0f ? col - 1 : col + 1, 0), width - 1);
    float total = 0.0f, mass = 0.0f;
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            float v = image[(size_t)(i ? next_row : row) * width + (j ? next_col : col)];
            float w = (i ? fabsf(down) : 1.0f - fabsf(down));
            w *= (j ? fabsf(right) : 1.0f - fabsf(right));
            if (!isnan(v)) {
                total += w * v;
                mass += w;
            }
        }
    return mass > 0.0f ? total / mass : nanf("");
}
"""

SOURCE = Source(
    "upsample",
    AT_FINE
    + r"""
extern "C" __global__ void upsample(
    const float* __restrict__ coarse, int rows, int cols, int ratio, float* __restrict__ fine)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int height = rows * ratio, width = cols * ratio;
    if (x >= width || y >= height) return;
    const float* image = coarse + (size_t)blockIdx.z * rows * cols;
    fine[((size_t)blockIdx.z * height + y) * width + x] = at_fine(image, y, x, ratio, rows, cols);
}
""",
)


def upsample(coarse: DeviceArray, ratio: int) -> DeviceArray:
    """Return coarse images at every fine pixel, as `xstf.numerics.upsample.upsample_numpy`.

    Parameters
    ----------
    coarse : cupy.ndarray (..., y / ratio, x / ratio)
    ratio : int

    Returns
    -------
    cupy.ndarray (..., y, x), float32
    """
    coarse = on_device(coarse)
    *lead, rows, cols = coarse.shape
    fine = empty((*lead, rows * ratio, cols * ratio))
    layers = fine.size // (rows * cols * ratio**2)
    if layers:
        SOURCE.launch("upsample", (cols * ratio, rows * ratio, layers), coarse, rows, cols, ratio,
                      fine)  # fmt: skip
    return fine
