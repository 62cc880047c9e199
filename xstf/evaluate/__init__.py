"""Hold-out protocols: leave out observations, run every method, score its estimates of them.

One file a verb. They call the verbs as users do, and know no kernel or tile.
"""

from xstf.evaluate.baselines import BASELINES
from xstf.evaluate.fuse import evaluate_fusion
from xstf.evaluate.gapfill import evaluate_gapfill
from xstf.evaluate.sharpen_spectral import evaluate_sharpen_spectral
from xstf.evaluate.sts import evaluate_sts

evaluate_sharpen = evaluate_sharpen_spectral

__all__ = [
    "BASELINES",
    "evaluate_fusion",
    "evaluate_gapfill",
    "evaluate_sharpen",
    "evaluate_sharpen_spectral",
    "evaluate_sts",
]
