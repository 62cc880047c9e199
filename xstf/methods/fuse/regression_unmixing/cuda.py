"""The regression at fine pixels on the GPU: `features.predict_numpy` as a CUDA kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstf.methods.fuse.regression_unmixing.features import CUT, LEAN, Coefficients, Predicted
from xstf.numerics.cuda.launch import Source, empty, on_device
from xstf.numerics.degrade import block_means

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

BLOCK = (128, 1, 1)

SOURCE = Source(
    "regression_unmixing",
    r"""
// A pixel's place and the products are made in registers; all threads of a warp read the same
// coefficient at a time.
extern "C" __global__ void regress(
    const float* __restrict__ z, const float* __restrict__ around,
    const double* __restrict__ common, const double* __restrict__ own, float cut_at, float half,
    int leans, int pixels, float* __restrict__ out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    const int features = SIZE + SIZE * (SIZE + 1) / 2;
    float place[SIZE], cut[SIZE];
    double value[BANDS];
    bool valid = true;
    #pragma unroll
    for (int s = 0; s < SIZE; ++s) {
        place[s] = z[(size_t)s * pixels + i];
        valid = valid && !isnan(place[s]);
        cut[s] = fminf(fmaxf(place[s], -cut_at), cut_at);
    }
    #pragma unroll
    for (int b = 0; b < BANDS; ++b) {
        value[b] = 0.0;
        #pragma unroll
        for (int s = 0; s < SIZE; ++s) value[b] += common[b * features + s] * place[s];
    }
    int k = SIZE;
    #pragma unroll
    for (int s = 0; s < SIZE; ++s)
        #pragma unroll
        for (int t = s; t < SIZE; ++t, ++k) {
            double product = (double)cut[s] * cut[t];
            #pragma unroll
            for (int b = 0; b < BANDS; ++b) value[b] += common[b * features + k] * product;
        }
    #pragma unroll
    for (int b = 0; b < BANDS; ++b) {
        if (leans) {
            double lean = 0.0;
            #pragma unroll
            for (int s = 0; s < SIZE; ++s) lean += own[b * SIZE + s] * place[s];
            value[b] += half * around[(size_t)b * pixels + i] * lean;
        }
        out[(size_t)b * pixels + i] = valid ? (float)value[b] : nanf("");
    }
}
""",
    sizes={"SIZE": 12, "BANDS": 6},
)


def predict(z: DeviceArray, around: DeviceArray, of: Coefficients, ratio: int) -> Predicted:
    """Return the same as `predict_numpy`, from and as arrays of the device.

    Parameters
    ----------
    z, around, of, ratio
        As `predict_numpy` takes them; the coefficients are the host's.
    """
    size, height, width = z.shape
    bands, leans = len(of.common), of.own.shape[1] > 0
    out = empty((bands, height, width))
    # Without the change around there is nothing to be read there.
    given = on_device(around) if leans else out
    own = of.own if leans else np.zeros((bands, 1))
    SOURCE.launch(
        "regress", (height * width, 1, 1), on_device(z), given, on_device(of.common, np.float64),
        on_device(own, np.float64), CUT, LEAN, leans, height * width, out,
        block=BLOCK, SIZE=size, BANDS=bands,
    )  # fmt: skip
    seen = block_means((~np.isnan(z).any(axis=0)).astype(np.float64), ratio) * ratio**2
    return Predicted(out, block_means(out, ratio), seen)
