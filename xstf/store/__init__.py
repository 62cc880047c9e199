"""Results that take hours: written tile by tile, gone on with where they were stopped, verified.

`write` makes the store, `states` keeps in it what was worked out of whole images, `record` and
`steps` say what it holds and `again` whether that is the same, `lock` lets one writer in, `place`
is where all of it is, `verify` reads it again.
"""

from __future__ import annotations

from xstf.store.verify import Fault, verify
from xstf.store.write import to_zarr

__all__ = ["Fault", "to_zarr", "verify"]
