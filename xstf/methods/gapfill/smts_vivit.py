"""SMTS-ViViT: the video vision transformer of `mts-vivit`, told what radar saw.

The guide's bands on the cube's dates (`xstf.gapfill` brings them there) and where there is one are
further channels of the tubelets,

    z = Conv3d((x - p) m, m, p, gaps, s, n) + place + calendar(d)

with ``s`` the backscatter in dB, standardised, 0 where missing, and ``n`` where it is there. The
rest is as in `mts-vivit`, in whose file it is written, with what was chosen.

``sizes={"fusion": "concat"}`` embeds the radar apart and joins the tokens, ``"cross"`` lets the
optical tokens ask the radar's before the encoder; the paper joins the channels (``"early"``).

Wang, Y., Li, L., Yue, M. & State, R. (2025). arXiv:2512.09471, doi:10.48550/arXiv.2512.09471
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
    name="smts-vivit",
    task="gapfill",
    summary="Video transformer over tubelets of two dates that also sees radar.",
    params=VideoParams,
    halo=halo,
    kernels={"torch": kernel},
    settle=settle,
    reference="Wang et al. (2025), doi:10.48550/arXiv.2512.09471",
    std=True,
    guided=True,
    fewest=2,
    net=Net(
        module="vivit",
        sizes={"embedding": "tubelet", "span": 2, "variance": True},
        loss=LOSS,
        multiple=5,
        full=FULL,
        small=SMALL,
        tiny={"size": "tiny"},
    ),
    exempt=EXEMPT,
)
