"""MTS-ViViT: a video vision transformer that corrects what a cheap method fills in.

A window of dates is cut into tubelets of two dates and 5 x 5 pixels, each becomes a token, all
tokens look at each other, and each is turned back into its tubelet. With ``x`` the cube, ``m`` what
of it is seen, ``p`` the prior (`linear`, `harmonic` or `eof`, over the whole series), ``d`` the
days:

    z = Conv3d((x - p) m, m, p, gaps) + place + calendar(d),  kernel = stride = (2, 5, 5)
    z = z + Attention(Norm(z)),    z = z + MLP(Norm(z))       (4, 6 or 8 times)
    filled = p + Linear(Norm(z)) + sum_w share_w(z) mean_w((x - p) m)

It learns on the cube itself: pixels that are seen are hidden under the shapes of real gaps of
other dates, and whole dates are hidden (`xstf.train.fit`); one date in five is held out. The
loss is, over three scales, the square error of standardised bands and the spectral angle in
radians, as in the paper, with weight 1 on what was hidden and 0.1 on the rest. (With a tenth of the
angle the square error on the embedded scene was the same and the RMSE of the NDVI 18 % higher: 3
seeds.)

What the papers leave open, or where we differ from them:

- The network predicts the residual to the prior, which alone is a fair answer; the papers predict
  reflectance. The prior is there where something is seen, too (`linear` from the dates around), so
  the network sees what the prior misses beside a cloud. The means of that within 4 and 15 pixels
  and within the tile are handed to the answer, each token saying how much of them to take.
- With ``prior="eof"``, the default of training, pixels are hidden before the prior looks for the
  scene's modes, in twelve ways that are drawn once; the other two need not.
- Validity by band is an input, and so are day of year and the days to what is seen; the papers put
  0 in holes and have neither.
- The loss is on what was hidden; the papers' is on all pixels, most of which are only copied.
- Windows of six dates lie over each other by half, tiles of 60 pixels by 30, and fade into each
  other.
- The standard deviation is that of a second head, trained with a normal likelihood whose mean is
  held, times the factor that makes nine tenths of what was held out lie within its 90 % interval.
- The change is multiplied by two numbers, 0 to 1: where its tile has something of the date, and
  where it has nothing. They are the best on what was held out: a network that is right beside clear
  pixels may be wrong on dates without any.
- Sizes: ``sizes={"size": "tiny"}`` (the default, for a processor; 0.7 M parameters), ``"small"``
  (3.2 M), ``"paper_like"`` (33 M); ``"span"`` and ``"attention"`` are sizes, too: see
  ``xstf/nets/vivit.py``, which lists what else was chosen.

Wang, Y., Li, L., Yue, M. & State, R. (2025). arXiv:2512.09471, doi:10.48550/arXiv.2512.09471
Arnab, A., Dehghani, M., Heigold, G., Sun, C., Lucic, M. & Schmid, C. (2021). ViViT: a video vision
transformer. ICCV. doi:10.1109/ICCV48922.2021.00676
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
    name="mts-vivit",
    task="gapfill",
    summary="Video transformer over tubelets of two dates; learns on the cube's own clear pixels.",
    params=VideoParams,
    halo=halo,
    kernels={"torch": kernel},
    settle=settle,
    reference="Wang et al. (2025), doi:10.48550/arXiv.2512.09471",
    std=True,
    guided=False,
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
    costly=True,
)
