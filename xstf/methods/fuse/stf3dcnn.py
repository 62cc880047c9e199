"""STF3DCNN: the series of coarse changes, refined by convolutions over date, row and column.

With ``C`` the coarse image of the target date and ``F_k, C_k`` the pairs, one or two, all at fine
pixels, the residuals ``D_k = C - C_k`` are a series in time, and 3-D convolutions with LeakyReLU
between them make it one at the fine scale, ``R_k``:

    R = Conv3D(... LeakyReLU(Conv3D(D)))
    X = sum_k s_k (F_k + D_k + R_k)

The network looks at coarse images alone: what is fine comes from the ``F_k``. So it has little to
learn, few weights, and is the fastest of the networks; it is also the one that can invent least.

What the paper, so far as it could be had, leaves open, or where we differ from it:

- Our choice: 4 layers of 32 channels with kernels of side 3 and a slope of 0.2, 43,878 parameters
  at six bands. The last layer starts at zero, so training begins from the blend of the base images.
- ``D_k`` is a skip connection; the paper adds ``R_k`` to ``F_k`` alone.
- Our choice: residuals are target less pair on both sides, and kernels are the same forwards and
  backwards in time, so the order of the pairs does not matter; the paper takes the differences of
  dates that follow each other.
- Our choice: the shares ``s_k`` go by the inverse of the coarse change around a pixel. The paper
  weighs by time, which says nothing of an abrupt change.
- Where there are three pairs or more, training predicts each from every two others, so that the
  weights between dates are learned; with two pairs it learns what one says of the other. The paper
  trains on whole series; here dates may be missing.
- The loss is the mean square error, as is usual with such networks; the paper's is not known to us.

A pixel depends on 8 pixels around it, those over which the change is averaged, besides what the
interpolated coarse images bring. A processor trains it in a minute.

Peng, M. et al. (2020). A fast three-dimensional convolutional neural network-based spatiotemporal
fusion method (STF3DCNN) using a spatial-temporal-spectral dataset. Remote Sensing 12(23), 3888.
doi:10.3390/rs12233888
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="stf3dcnn",
    task="fuse",
    summary="Small network over the series of coarse changes; one or two pairs; the fastest one.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Peng et al. (2020), doi:10.3390/rs12233888",
    pairs=(1, 2),
    net=Net(
        module="stf3dcnn",
        loss=(("mse", 1.0),),
        learn_pairs=2,
        full=Recipe(patch=128, batch=32, epochs=40, rate=1e-3),
        small=Recipe(patch=48, batch=4, epochs=12, steps=25, rate=5e-4, warmup=0.05),
        tiny={"width": 8, "depth": 3},
        blind=("fine0",),
    ),
    exempt=EXEMPT,
)
