"""Pictures of cubes, gaps, estimates and scores.

Each takes `ax` and returns axes, says in its title and caption what is drawn, when, by which method
and in which unit, and reads of a lazy cube only what it shows. :func:`save` writes a file. Letters
are large enough for a page that shows the picture 360 pixels wide. It may import `cubes/`; it knows
no verb and no method. matplotlib is imported when a picture is made.
"""

from xstf.plot.drawing import save
from xstf.plot.images import before_after, compare, quicklook, uncertainty
from xstf.plot.scores import apa, calibration, rank
from xstf.plot.times import gaps, series

__all__ = [
    "apa", "before_after", "calibration", "compare", "gaps", "quicklook", "rank", "save", "series",
    "uncertainty",
]  # fmt: skip
