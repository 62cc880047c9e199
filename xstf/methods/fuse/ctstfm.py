"""CTSTFM: two streams of multi-kernel blocks that look each other up; one fine image suffices.

With ``F`` the fine image and ``C`` the coarse one of the target date, at fine pixels, a stream
each: ``X_F = conv1(F)``, ``X_C = conv1(C)``, N channels wide at full size throughout.

1. Three encoder blocks a stream, ``X <- P(M(R(X))) + X``. ``R`` is a residual block. ``M`` weighs
   channels by what kernels of 3, 5 and 7 pixels respond to,

       M(X) = X sigmoid(W_2 gelu(W_1 (mean + max over pixels of [k_3 X, k_5 X, k_7 X]))),

   and ``P`` weighs pixels: ``P(X) = X h w softmax over pixels(R((k_3 + k_5 + k_7) X))``.
2. Three fusion blocks on both, ``X <- S(E(R(X))) + X``. In ``E`` the streams swap queries: with
   normalised ``X_i``, ``Q_i, K_i, V_i = W X_i`` and (i, j) = (C, F) or (F, C),

       X_i <- R(W softmax(t cos(Q_j, K_i)) V_i) + X_i,

   and in ``S`` both are mixed by what their sum ``Y = R(X_C + X_F)`` attends to,

       X_i <- R(W softmax(t cos(W Y, W Y)) W X_i) + X_i.
3. Both streams together through convolutions of 1, 3 and 1 pixels give the bands.

The loss is the mean absolute error. 712,554 parameters at six bands, the paper's 0.701 million
within 2 %; there is no public code, and its authors' text leaves much open. Our choices:

- N = 32, 4 heads, normalisation in groups over 4ths of the channels. ``R`` is the image plus
  convolution (3), group norm, GELU, convolution (3).
- ``k_3, k_5, k_7`` keep channels apart (depthwise). Kernels across channels reach the same count at
  N = 20, and take a processor a third more time. Their sum in ``P`` is evaluated as one kernel.
- The paper's convolution of 3 after the global means and maxima sees one pixel only; it is a
  matrix here, to N / 2, and one back.
- A softmax over pixels gives weights of ``1 / (h w)``, less the larger the tile. Ours are
  multiplied by the number of pixels, so that their mean is 1, in each channel by itself.
- Attention is between channels: between pixels, a tile of 256 would need 17 GB a head. Likewise
  ``Q K^T / sqrt(d)`` would grow with the tile, so it is the cosine of channels over the
  pixels times a learned ``t`` a head. ``Q K^T = W X X^T W^T``, so no image of Q, K or V is made,
  which saves time and memory and changes nothing else.
- The network gives the *change* to a base image, ``F + C - C_0`` with ``C_0`` the coarse image of
  the fine one's date (the paper: the image itself, and no ``C_0``). The last layer starts at zero,
  so training begins from that answer. Nothing but the base looks at ``C_0``.

Means, maxima, norms and attention are over all pixels of a tile: the result depends, a little, on
where tiles lie, and all of a tile is needed for any pixel of it.

All is at full size: a tile of 256 x 256 pixels with six bands takes one thread of a processor one
to two seconds, and the recipe for a processor sees far less than the paper's 150 epochs.

Jiang & Shao (2024). IEEE Journal of Selected Topics in Applied Earth Observations and Remote
Sensing. doi:10.1109/JSTARS.2024.3435739
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="ctstfm",
    task="fuse",
    summary="Network of two streams, convolutional and attentive; a fine image of any near date.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Jiang & Shao (2024), doi:10.1109/JSTARS.2024.3435739",
    pairs=(1, 2),
    net=Net(
        module="ctstfm",
        loss=(("l1", 1.0),),
        full=Recipe(patch=256, batch=4, epochs=150, rate=1e-4, schedule="constant"),
        small=Recipe(patch=64, batch=2, epochs=20, steps=25, rate=1e-3, warmup=0.05),
        tiny={"width": 8, "encoders": 1, "fusions": 1, "heads": 2},
        blind=("coarse0",),
    ),
    exempt=EXEMPT,
    costly=True,
)
