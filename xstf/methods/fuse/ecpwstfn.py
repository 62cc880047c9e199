"""ECPW-STFN: fusion in features of wavelet sub-bands from two images, after Zhang et al. (2024).

The network looks at a fine image of any date and the coarse image of the target date. Both fine0
and the residual are split into four sub-bands by one level of the orthonormal Haar wavelet W. One
encoder E for those of the fine image and one, R, for those of the residual, each the same for all
four, are added up, put together in the space of features, and decoded (D)::

    residual = coarse1 - fine0
    f_k      = E(W_k fine0) + R(W_k residual)      k = mean, along x, along y, both
    first    = D(W^-1 (f_1, f_2, f_3, f_4))
    change   = D'(B_3(B_2(B_1(first, fine0))))

Each block B of the refinement is a convolution with attention over channels, ``a = sigmoid(M(mean)
+ M(max))`` of the tile's means and maxima of each channel, then over pixels, by a 7 x 7 convolution
of the mean and maximum over channels. 0.472 million parameters at six bands, as many as in the
authors' code.

The loss is the mean absolute error of the four Haar sub-bands, plus that of the features of an
autoencoder, which is trained first on the fine images at hand, plus 0.85 (1 - MS-SSIM).

What the paper leaves open or has otherwise, and our choices:

- The answer is a change that is added to ``fine0 + coarse1 - coarse0`` and starts at zero, so that
  the coarse image of the fine one's date counts in the base, though the network does not see it.
  The paper has the image itself, without any coarse0: ``base="none"``.
- The published code leaves torch for the inverse wavelet, where gradients end: its encoders keep
  their random start. Here the wavelet is written in torch and the encoders learn.
- Weights begin as He et al. have them for ReLUs, in the refinement times four, since each of its
  attentions begins at a half. With torch's own start, too little of the signal comes through at
  first, and short training learns less.
- Adam's rate falls by a cosine; the paper's is constant.

Beside the channel attention, which sees the means and maxima of the whole tile, a pixel depends on
23 pixels to each side. Sides of tiles are even.

Zhang, X., Li, S., Tan, Z., Li, X. (2024). Enhanced wavelet based spatiotemporal fusion networks
using cross-paired remote sensing images. ISPRS J. Photogramm. Remote Sens. 211, 281-297.
doi:10.1016/j.isprsjprs.2024.04.016
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="ecpwstfn",
    task="fuse",
    summary="Small network on wavelet sub-bands of a fine image of any date and the new coarse.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference=(
        "Zhang et al. (2024), Enhanced wavelet based spatiotemporal fusion networks using "
        "cross-paired remote sensing images, ISPRS J. Photogramm. Remote Sens. 211, 281-297, "
        "doi:10.1016/j.isprsjprs.2024.04.016"
    ),
    pairs=(1, 2),
    net=Net(
        module="ecpwstfn",
        loss=(("haar", 1.0), ("feature_l1", 1.0), ("ms_ssim", 0.85)),
        full=Recipe(patch=200, batch=8, epochs=50, rate=1e-3, decay=1e-6),
        small=Recipe(patch=64, batch=4, epochs=10, steps=30, rate=1e-3),
        features=True,
        multiple=2,
        tiny={"width": 8},
        blind=("coarse0",),
    ),
    exempt=EXEMPT,
    costly=True,
)
