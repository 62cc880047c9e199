"""EST-STFM: a pyramid of two streams whose channels attend to the few that fit them best.

With ``F`` the fine image, ``C_0`` and ``C_1`` the coarse ones of its and the target date, at fine
pixels, there are two streams: ``X_F`` of ``F``, and ``X_C`` of ``[C_1 - C_0, C_1]``.

1. Features at full size, at half of it and at a quarter, twice as wide each time: a convolution
   (at first of 3, then of 2 pixels with stride 2), then two blocks

       Y = k_3 norm(X),    X <- X + A(Y, Y),    X <- X + sum over s of W_s gelu(k_s V_s norm(X))

   with ``s`` = 3, 5, 7 pixels: branches of a feed-forward, side by side.
2. Sparse attention ``A(X, Y)`` of X to Y, channel by channel. With ``T_K`` the softmax over the K
   largest scores of a row, the others 0, and ``a`` learned shares of a sum of 1,

       A(X, Y) = W_o (sum over K of a_K T_K(t cos(W_q X, W_k Y))) W_v Y.
3. From the smallest level to full size: ``Z`` begins as ``X_F + X_C``; at each larger level it is
   brought to size and they are added. Four independent attentions look for what ``Z`` lacks,

       Z <- Z + sum over n of A_n(norm(Z), norm(W_n S_n)),

   in the fine and coarse features of the level and in those of the next smaller one (at the
   smallest, the next larger one), and the branches of 1. follow.
4. A convolution gives the bands.

941,902 parameters at six bands. The paper's count is not known to us, nor its code: the abstract
fixes the pyramid, Top-K sparse attention, the feed-forward of several branches, and four attention
branches over several levels. Our choices are the rest:

- Three inputs: the base of the result has ``C_0`` in it, and what a network cannot see it cannot
  put right.
- Attention between channels, so that cost grows with pixels; the cosine over pixels with a learned
  ``t`` a head, so that scores do not grow with the tile; K = 1/2, 2/3, 3/4 and 4/5 of the channels
  of a head. ``Q K^T = W_q X Y^T W_k^T``, so no image of Q, K or V is made.
- 24 channels and 2 heads at full size; norms over the channels of a pixel, which know of no tile;
  ``k`` keeps channels apart (depthwise); smaller features are brought to size bilinearly.
- The loss is ``l1 + 0.1 (1 - SSIM) + 0.05 angle``, with the spectral angle in radians.
- The network gives the *change* to ``F + C_1 - C_0``. The last layer starts at zero, so training
  begins from that answer.

The cosines are over all pixels of a tile: the result depends, a little, on where tiles lie, and all
of a tile is needed for any pixel of it. Sides of tiles are whole in 4.

A tile of 256 x 256 pixels with six bands takes one thread of a processor about half a second, a
third of CTSTFM's time; both recipes are ours.

Zhang, Q., Zhang, X., Quan, C., Zhao, T., Huo, W. & Huang, Y. (2025). EST-STFM: an efficient
deep-learning-based spatiotemporal fusion method for remote sensing images. IEEE Journal of Selected
Topics in Applied Earth Observations and Remote Sensing 18, 18633-18655.
doi:10.1109/JSTARS.2025.3587439
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="eststfm",
    task="fuse",
    summary="Pyramid of transformers whose channels attend to the few that fit; fast for its size.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Zhang et al. (2025), doi:10.1109/JSTARS.2025.3587439",
    pairs=(1, 2),
    net=Net(
        module="eststfm",
        loss=(("l1", 1.0), ("ssim", 0.1), ("angle", 0.05)),
        multiple=4,
        full=Recipe(patch=256, batch=8, epochs=100, rate=3e-4, decay=1e-4, warmup=0.02),
        small=Recipe(patch=64, batch=4, epochs=20, steps=20, rate=1e-3, warmup=0.05),
        tiny={"width": 8, "depths": (1, 1, 1), "heads": 2},
    ),
    exempt=EXEMPT,
    costly=True,
)
