"""Pictures of a cube, its gaps, and an estimate beside its truth.

It may import `cubes/`; it knows no verb and no method. matplotlib is imported when a picture is
made.
"""

from xstf.plot.pictures import before_after, compare, gaps, quicklook, series

__all__ = ["before_after", "compare", "gaps", "quicklook", "series"]
