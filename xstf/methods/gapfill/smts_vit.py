"""SMTS-ViT: the transformer of `mts-vit`, told what radar saw: the baseline of `smts-vivit`.

The guide's bands are further channels of the patches:

    z_t = Conv2d((x_t - p_t) m_t, m_t, p_t, gaps_t, s_t, n_t) + place + calendar(d_t)

The rest is as in `mts-vit` and `smts-vivit`, in whose files it is written.

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
    name="smts-vit",
    task="gapfill",
    summary="Vision transformer with a token for each date that also sees radar.",
    params=VideoParams,
    halo=halo,
    kernels={"torch": kernel},
    settle=settle,
    reference="Wang et al. (2025), doi:10.48550/arXiv.2506.19591",
    std=True,
    guided=True,
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
    costly=True,
)
