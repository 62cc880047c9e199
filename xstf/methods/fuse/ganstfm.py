"""GAN-STFM: a fine image of any date, told by the coarse image of the target date how to look.

With ``F`` a fine reference image and ``C`` the coarse image of the target date at fine pixels, two
streams run side by side through four steps, ``L_0 = C`` and ``T_0 = F``:

    L_i = lrelu(conv1(conv3(L_{i-1})))
    T_i = conv1(lrelu(SN(conv3(lrelu(SN(T_{i-1})))))) + L_i

to 16, 32, 64 and 128 channels at full resolution. Both are joined, and four residual blocks and a
linear layer lead back to bands. SN is switchable normalisation: means and variances of a channel,
of an image and of the batch, mixed by learned weights,

    SN(x) = g (x - sum_k a_k mean_k) / sqrt(sum_k b_k variance_k + 1e-5) + h,    a, b softmax of 3

(at inference the batch's are running means of training). 578,130 parameters at six bands (the
authors' code: 0.578 M).

In training a critic judges the result beside ``C``: three networks of residual blocks with spectral
normalisation, each block halving the sides, on the images at scales of 1, 1/2 and 1/4; 3.66 M
parameters (3.67 M). The loss is ``mse of features + (1 - cosine of features) + (1 - MS-SSIM)`` and
1e-3 times the least-squares adversarial term; the features are an autoencoder's.

What the paper leaves open, or where we differ from it:

- The network gives the *change* to a base image, ``F + C - C_0`` (the paper: the image itself),
  with a last layer that starts at zero: a short training on one scene needs that start.
  So the coarse image of the reference date, ``C_0``, enters by the base, and by nothing else; with
  ``base="none"`` the method is the paper's, and never looks at it.
- The autoencoder is the one that EDCSTFN's loss has, too (the authors' is a U-Net of 0.22 M).
- The critic's smaller scales are means of 2 x 2 and 4 x 4 pixels (the authors': every second
  and fourth pixel), and each of its scores counts by itself (theirs: their mean).
- Convolutions before a batch normalisation have no bias, which it would take off again.

The normalisations look at a whole tile, so neighbouring tiles differ by a little: the tiles should
be as large as memory allows, and no smaller than the patches of training. At full resolution
and 128 channels it is the slowest of the convolutional networks on a processor.

Tan, Z., Gao, M., Li, X. & Jiang, L. (2022). A flexible reference-insensitive spatiotemporal fusion
model for remote sensing images using conditional generative adversarial network. IEEE Transactions
on Geoscience and Remote Sensing 60, 1-13. doi:10.1109/TGRS.2021.3050551

Luo, P., Ren, J., Peng, Z., Zhang, R. & Li, J. (2019). Differentiable learning-to-normalize via
switchable normalization. ICLR. arXiv:1806.10779
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="ganstfm",
    task="fuse",
    summary="Adversarially trained network for a fine image of any date and one coarse image.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Tan et al. (2022), doi:10.1109/TGRS.2021.3050551",
    pairs=(1, 2),
    net=Net(
        module="ganstfm",
        loss=(("feature_mse", 1.0), ("feature_cosine", 1.0), ("ms_ssim", 1.0)),
        adversarial=1e-3,
        features=True,
        # The authors' batch of 36 was that of two GPUs.
        full=Recipe(patch=256, batch=18, epochs=500, rate=2e-4, schedule="constant"),
        small=Recipe(patch=48, batch=4, epochs=10, steps=25, rate=5e-4, warmup=0.05),
        tiny={"widths": (6, 8, 12)},
        tiny_critic={"widths": ((6, 8), (8,))},
        blind=("coarse0",),
    ),
    exempt=EXEMPT,
    costly=True,
)
