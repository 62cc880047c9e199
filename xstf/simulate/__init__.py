"""Cases with a known truth: a coarse view of a cube, clouds over it, gaps moved, land that changes.

Everything random is drawn from a seed: the same arguments give the same numbers, whatever the
chunks are. It may import `cubes/`; it knows no verb and no method.
"""

from xstf.simulate.events import flood, harvest
from xstf.simulate.observe import add_clouds, clouds, degrade, transplant_mask
from xstf.simulate.parcels import landscape

__all__ = ["add_clouds", "clouds", "degrade", "flood", "harvest", "landscape", "transplant_mask"]
