"""MTS-ViT: the transformer of `mts-vivit` with a token for each date: its baseline.

Each date of a window is cut into patches of 5 x 5 pixels, a token each, so that what dates have to
do with each other is left to the attention:

    z_t = Conv2d((x_t - p_t) m_t, m_t, p_t, gaps_t) + place + calendar(d_t)

The rest is as in `mts-vivit`, in whose file it is written, with what was chosen. Where we differ
from the paper: there all dates of a patch make one token together, which ties the network to one
number of dates; ours takes any.

Wang, Y., Li, L., Yue, M. & State, R. (2025). IGARSS. arXiv:2506.19591,
doi:10.48550/arXiv.2506.19591
"""

from __future__ import annotations

from xstf._method import Method
from xstf._recipe import Net
from xstf.methods.gapfill._video import (
    EXEMPT,
    FULL,
    LOSS,
    SMALL,
    VideoParams,
    halo,
    kernel,
    settle,
)

METHOD = Method(
    name="mts-vit",
    task="gapfill",
    summary="Vision transformer with a token for each date: the baseline of mts-vivit.",
    params=VideoParams,
    halo=halo,
    kernels={"torch": kernel},
    settle=settle,
    reference="Wang et al. (2025), doi:10.48550/arXiv.2506.19591",
    std=True,
    guided=False,
    fewest=2,
    net=Net(
        module="vivit",
        sizes={"embedding": "per_date", "variance": True},
        loss=LOSS,
        multiple=5,
        full=FULL,
        small=SMALL,
        tiny={"size": "tiny"},
    ),
    exempt=EXEMPT,
)
