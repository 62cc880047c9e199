"""Lazy scenes to disk: memory and seconds that grow as the pixels do, and no faster.

``XSTF_BENCH_LARGE=1`` adds 8000 and 20 000 pixels a side, minutes to an hour each; `large.py`
beside this folder does the same from a shell.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import dask

from .common import SMALL

sys.path.insert(0, str(Path(__file__).parents[1]))
import large  # noqa: E402

SIZES = [256] if SMALL else [2000, 4000]
if os.environ.get("XSTF_BENCH_LARGE"):
    SIZES += [8000, 20_000]


class ToDisk:
    """A cheap method of each verb, one band of fusion, on two threads."""

    params = (sorted(large.METHODS), SIZES)
    param_names = ("verb", "size")
    timeout = 7200
    number = repeat = rounds = 1
    warmup_time = 0

    def setup(self, verb, size):
        """Compile, and make room."""
        dask.config.set(scheduler="threads", num_workers=2)
        self.bands = 1 if verb == "fuse" else 4
        large.warm(verb, self.bands, large.METHODS[verb])
        self.folder = Path(tempfile.mkdtemp())

    def write(self, verb, size):
        """Write it."""
        made = large.call(verb, size, self.bands, large.CHUNKS[verb], large.METHODS[verb])
        path = self.folder / "r.zarr"
        shutil.rmtree(path, ignore_errors=True)
        made.to_dataset(name="r").drop_attrs().drop_vars("band").to_zarr(path, consolidated=False)

    def time_to_disk(self, verb, size):
        """Seconds."""
        self.write(verb, size)

    def peakmem_to_disk(self, verb, size):
        """Memory, imports included."""
        self.write(verb, size)

    def teardown(self, verb, size):
        """Clean up."""
        shutil.rmtree(self.folder)
