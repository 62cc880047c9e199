"""Example scenes with a known truth, made in about a second from a seed, and small files of them.

It may import `simulate`, `sensors` and `cubes/`; it knows no verb and no method.
"""

from xstf.scenes.examples import GapScene, Scene, landsat_modis, nested, sentinel_1_2
from xstf.scenes.samples import sample_files
from xstf.scenes.series import SeriesScene, hyperspectral_series
from xstf.scenes.spectra import SpectralScene, hyperspectral

__all__ = [
    "GapScene",
    "Scene",
    "SeriesScene",
    "SpectralScene",
    "hyperspectral",
    "hyperspectral_series",
    "landsat_modis",
    "nested",
    "sample_files",
    "sentinel_1_2",
]
