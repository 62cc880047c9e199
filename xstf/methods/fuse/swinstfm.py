"""SwinSTFM: unmixing by attention in a U-net of shifted windows, after Chen et al. (2022).

Two towers of Swin transformer blocks turn the images into tokens at five levels, 1/2 to 1/32 of the
resolution: one tower for the fine image, one for the coarse images of both dates, which share it.
At each level, with the tokens ``f0``, ``c0`` and ``c1`` of fine0, coarse0 and coarse1, the unmixing
module gathers the coarse change from where the old coarse image is like the fine and like the new
coarse one, and puts it on the fine tokens. Within a window, for a head of d channels::

    A  = softmax(q c0 (k f0)^T / sqrt(d) + P) * softmax(q' c0 (k' c1)^T / sqrt(d) + P)
    z  = (c1 - c0) + A v (c1 - c0) / sum A
    f1 = f0 + z + perceptron(z)

with P a learned score for each step between two places of the window; ``z + perceptron(z)`` goes
through a second round of the same but at the deepest level. Then, from deep to shallow::

    g_i = Swin(linear(c1_i, f1_i, enlarge(g_(i+1))))
    change = tanh(conv(shuffle(conv(g_1))))

Windows are 8 x 8 tokens, shifted by 4 in every other block. 37.5 million parameters at six bands,
as many as in the authors' code. The loss is Charbonnier's plus 1 - MS-SSIM.

What the paper leaves open or has otherwise, and our choices:

- The answer is a change that is added to ``fine0 + coarse1 - coarse0`` and starts at zero. The
  paper has the image itself: ``base="none"``. Inside, values are 2 v - 1 as in the paper. The tanh
  is not halved in return: a change may be anything from -1 to 1.
- Tiles may have any size in multiples of 32 (the paper's only 256 x 256): windows and masks follow
  from the image. The last windows of a level are filled up with tokens that nobody sees, and a side
  that is a single window is not shifted.
- Scores of both softmaxes are added and go through one, which is the same as their normed product.
  The paper's constant 1e-6 in the product is left out: it would let the tokens through that the
  mask of the shifted windows hides. P is then one table for both: 2 P of the formula above.
- Adam's rate falls by a cosine; the paper halves it when SSIM does not rise for three epochs.

On the way down, attention reaches over the whole of a tile up to 256 pixels, and results depend on
where windows fall. So there is no reach to be stated but the tile's.

This is a large network: a transformer without pretraining wants many patches, and a GPU. On a
processor, a step of its short recipe takes 1.2 seconds, so that 200 of them take four minutes: few
for so many weights. With ``sizes={"width": 32, "depths": (2, 2, 2, 2)}`` it has less than a
quarter of them.

Chen, G., Jiao, P., Hu, Q., Xiao, L., Ye, Z. (2022). SwinSTFM: remote sensing spatiotemporal fusion
using Swin transformer. IEEE Trans. Geosci. Remote Sens. 60. doi:10.1109/TGRS.2022.3182809
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net, Recipe
from xstf.methods.fuse._network import EXEMPT, NetworkParams, halo, kernel

METHOD = Method(
    name="swinstfm",
    task="fuse",
    summary="Shifted-window transformer that unmixes the coarse change; large, for long series.",
    params=NetworkParams,
    halo=halo,
    kernels={"torch": kernel},
    reference=(
        "Chen et al. (2022), SwinSTFM: Remote Sensing Spatiotemporal Fusion Using Swin "
        "Transformer, IEEE Trans. Geosci. Remote Sens. 60, doi:10.1109/TGRS.2022.3182809"
    ),
    pairs=(1, 2),
    net=Net(
        module="swinstfm",
        loss=(("charbonnier", 1.0), ("ms_ssim", 1.0)),
        full=Recipe(patch=256, batch=8, epochs=60, rate=1e-4),
        small=Recipe(patch=64, batch=4, epochs=10, steps=20, rate=2e-4, warmup=0.1),
        multiple=32,
        tiny={"width": 8, "depths": (1, 1, 2)},
    ),
    exempt=EXEMPT,
    costly=True,
)
