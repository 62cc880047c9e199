"""MLFF-GAN: two pyramids of features, fused level by level where the coarse images change.

With ``F_0, C_0`` the images of the pair and ``C_1`` the coarse image of the target date, all at
fine pixels, five levels of features ``f_k, c0_k, c1_k`` (16, 32, 64, 128 and 256 channels, each at
half the resolution of the one before) come from a pyramid for the fine image and one for
both coarse images. On every level:

1. Each channel of the fine features gets the mean and the spread that the coarse ones of the target
   date have (adaptive instance normalisation):
   ``g = (f - mean f) sqrt((var c1 + 1e-5) / (var f + 1e-5)) + mean c1``.
2. A mask says where to believe the coarse features: ``M = sigmoid(BN(w . (A c1 - B c0)))``, with
   ``A`` and ``B`` linear layers with batch normalisation and ``w`` the weights of one more.
3. ``z = M c1 + (1 - M) g``.

A decoder of transposed convolutions joins ``z_5`` with ``c1_5``, rises a level, joins ``z_4``, and
so on, to the bands. Every level on the way down and up ends in a residual block with dropout of one
half, twice. 5.92 M parameters at six bands (the authors' code: 5.93 M).

In training a critic judges patches of the result beside ``C_1``, a plain PatchGAN of five
convolutions of side 4, 2.77 M parameters (2.78 M). The loss is
``l1 + (1 - MS-SSIM) + (1 - cosine over bands)`` and 1e-2 times the least-squares adversarial term;
training runs time backwards at random, as the authors' does.

What the paper leaves open, or where we differ from it:

- The network gives the *change* to a base image, ``F_0 + C_1 - C_0`` (the paper: the image itself),
  with a last layer that starts at zero.
- The authors' code degrades the coarse images once more, every 16th pixel taken back to the
  grid by bicubic interpolation, as theirs come as blocks. Ours come from the coarse grid
  bilinearly, and stay as they are.
- Convolutions before a batch normalisation have no bias, which it would take off again. Variances
  divide by the number of pixels, and a tile of less than 32 pixels a side, whose last level is one
  pixel wide, repeats that pixel where others are reflected.

Its means and spreads are those of a whole tile, so neighbouring tiles differ by a little: tiles
should be no smaller than the patches of training. Transposed convolutions can leave a faint
checkerboard. With dropout and 5.9 M parameters it wants more training than the recipe for a
processor gives it, which is a first look.

Song, B., Liu, P., Li, J., Wang, L., Zhang, L., He, G., Chen, L. & Liu, J. (2022). MLFF-GAN: A
multilevel feature fusion with GAN for spatiotemporal remote sensing images. IEEE Transactions on
Geoscience and Remote Sensing 60, 4410816. doi:10.1109/TGRS.2022.3169916
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="mlffgan",
    task="fuse",
    summary="Adversarially trained pyramids of features, for large changes between two dates.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference="Song et al. (2022), doi:10.1109/TGRS.2022.3169916",
    pairs=(1, 2),
    net=Net(
        module="mlffgan",
        loss=(("l1", 1.0), ("ms_ssim", 1.0), ("cosine", 1.0)),
        adversarial=1e-2,
        swap=True,
        multiple=16,
        full=Recipe(patch=256, batch=4, epochs=200, rate=2e-4, schedule="constant"),
        small=Recipe(patch=64, batch=4, epochs=12, steps=25, rate=3e-4, warmup=0.05),
        tiny={"widths": (6, 8, 8, 8, 12), "dropout": 0.0},
        tiny_critic={"widths": (8, 12, 16)},
    ),
    exempt=EXEMPT,
    costly=True,
)
