"""Speed of the fusion networks: a tile each, and what the verb adds to a bare network."""

import importlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import xstf
from xstf._method import Weights
from xstf.methods.lookup import get_method, method_names
from xstf.weights import running as _networks

from . import common

TILE = 64 if common.SMALL else 256
WHOLE = 96 if common.SMALL else 1024
BANDS, RATIO = 6, 16
NETWORKS = [n for n in method_names("fuse") if get_method("fuse", n).net is not None]


def sizes_of(method):
    """Return a network's sizes, its paper's or, to see that all runs, tiny ones."""
    net = get_method("fuse", method).net
    return {**net.sizes, **(net.tiny if common.SMALL else {})}


def build(method, bands=BANDS):
    """Return a network with random weights."""
    torch.manual_seed(0)
    net = get_method("fuse", method).net
    return importlib.import_module(f"xstf.nets.{net.module}").build(bands=bands, **sizes_of(method))


def checkpoint(method, folder):
    """Write such a network; return where."""
    net = build(method)
    manifest = xstf.weights.Manifest(
        method=method, task="fuse", bands=tuple(f"b{i}" for i in range(BANDS)),
        sizes=sizes_of(method), low=(0.0,) * BANDS, high=(0.5,) * BANDS,
        base="delta", ratio=float(RATIO), patch=TILE, extra={}, sensors="", data="random",
        licence="", scores={}, version=xstf.__version__,
    )  # fmt: skip
    return xstf.weights.save(Path(folder) / f"{method}.safetensors", net.state_dict(), manifest)


class Tiles:
    """One tile of six bands on one thread."""

    params = (NETWORKS,)
    param_names = ("method",)
    timeout = 300

    def setup(self, method):
        self.before = torch.get_num_threads()
        torch.set_num_threads(1)
        self.net = _networks.on_device(build(method), torch.device("cpu")).eval()
        self.images = [
            torch.rand(1, BANDS, TILE, TILE).contiguous(memory_format=torch.channels_last)
            for _ in range(3)
        ]
        self.time_tile(method)

    def teardown(self, method):
        torch.set_num_threads(self.before)

    def time_tile(self, method):
        with torch.inference_mode():
            self.net(*self.images)


class Overhead:
    """The verb's wall time over the bare network's on the same tiles, two threads each way."""

    timeout = 1800

    def setup(self):
        common.on_threads(2)
        self.folder = tempfile.TemporaryDirectory()
        self.path = checkpoint("ctstfm", self.folder.name)
        self.fine, self.coarse = common.cubes(WHOLE, bands=BANDS, pairs=1, ratio=RATIO)

    def teardown(self):
        self.folder.cleanup()

    def track_verb_over_bare(self):
        ratios = []
        for _ in range(common.REPEATS):
            verb = self._seconds(self._verb)
            ratios.append(verb / self._seconds(self._bare))
        return statistics.median(ratios)

    def _seconds(self, run):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def _verb(self):
        xstf.fuse(
            self.fine, self.coarse, method="ctstfm", weights=self.path, tile=TILE,
            time=self.coarse.time[1], device="cpu",
        )  # fmt: skip

    def _bare(self):
        """Run the network on as many tiles of that size as the verb does."""
        digest = xstf.weights.load(self.path).sha256
        net, _ = _networks.load_once(Weights(str(self.path), "ctstfm", sha256=digest), "cpu")
        stride = TILE - 32
        across = -(-(self.fine.sizes["x"] - 16) // stride)
        tile = torch.from_numpy(np.random.default_rng(0).random((1, BANDS, TILE, TILE), np.float32))
        tile = tile.contiguous(memory_format=torch.channels_last)
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        with torch.inference_mode():
            for _ in range(across**2):
                net(tile, tile, tile)
        torch.set_num_threads(before)

    track_verb_over_bare.unit = "ratio"
