"""Checkpoints of networks: what is in one, how it is written and read, and how it is run.

It may import `nets/` by name and `numerics/`; it knows no method, cube or training.
"""

from xstf.weights.checkpoint import (
    Checkpoint,
    bundled,
    check_architecture,
    describe,
    fill,
    find,
    load,
    load_state,
    save,
    save_state,
    to_bytes,
)
from xstf.weights.manifest import Manifest

__all__ = [
    "Checkpoint",
    "Manifest",
    "bundled",
    "check_architecture",
    "describe",
    "fill",
    "find",
    "load",
    "load_state",
    "save",
    "save_state",
    "to_bytes",
]
