"""EDCSTFN: features of the fine image, plus features of the change; from one or two pairs.

With ``F_k, C_k`` the fine image of pair ``k`` and the coarse one of its date, and ``C`` the coarse
image of the target date, all at fine pixels:

1. What changes, in features of a first encoder: ``R_k = R(C_k, F_k, C)``.
2. The fine image in features of a second one, moved by it: ``Z_k = E(F_k) + R_k``.
3. Two pairs: each is trusted, pixel by pixel and feature by feature, the more the less it changes,

       m_k = (1 / abs(R_k)) / sum_j (1 / abs(R_j)),    Z = sum_k m_k Z_k;

   one pair: ``Z = Z_1``.
4. The decoder takes ``Z`` back to bands.

Both encoders are three convolutions of side 3 (to 32, 64 and 128 channels), the decoder two and a
linear layer; nothing is down-sampled. 284,134 parameters at six bands, as in the authors' code. A
pixel's result depends on 5 pixels around it, besides what the interpolated coarse images bring.

The loss is ``mse + mse of features + 0.8 (1 - MS-SSIM)``; the features are those of an autoencoder
that is trained before, on the fine images.

What the paper leaves open, or where we differ from it:

- The network gives the *change* to a base image, ``F_k + C - C_k`` (the paper: the image itself).
  Its last layer starts at zero, so training begins from that answer. Our choice: with two
  pairs the bases are blended by how little the coarse image changed, as for every network here.
- Training sees one pair at a time, as in the paper, where each pair's image has its own loss; the
  masks ``m_k`` come in with a prediction from two pairs, and no gradient passes through them.
- Our choice: ``|R_k| + 1e-6`` is what the masks invert, so that two pairs without any change share
  equally; and training runs time backwards, too, since the second pair lies behind the date.
- The coarse images come bilinear; the autoencoder's decoder is linear (see its file).

The recipe for a processor has patches of 64 pixels, of which a network of this reach loses little.

Tan, Z., Di, L., Zhang, M., Guo, L. & Gao, M. (2019). An enhanced deep convolutional model for
spatiotemporal image fusion. Remote Sensing 11(24), 2898. doi:10.3390/rs11242898
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="edcstfn",
    task="fuse",
    summary="Small convolutional network that adds features of the change; one or two pairs.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Tan et al. (2019), doi:10.3390/rs11242898",
    pairs=(1, 2),
    net=Net(
        module="edcstfn",
        loss=(("mse", 1.0), ("feature_mse", 1.0), ("ms_ssim", 0.8)),
        features=True,
        swap=True,
        full=Recipe(
            patch=160,
            batch=32,
            epochs=30,
            rate=1e-3,
            decay=1e-6,
            schedule="plateau",
            patience=15,
        ),
        small=Recipe(patch=64, batch=4, epochs=12, steps=25, rate=1e-3, warmup=0.05),
        tiny={"widths": (8, 12, 16)},
    ),
    exempt=EXEMPT,
)
