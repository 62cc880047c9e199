"""Hold-out protocols: leave out observations, run every method, score its estimates of them.

One file a verb says what is hidden and what is compared (`fuse`, `gapfill`, `sharpen_spectral`,
`sts`; `beside_truth` takes a result that is there). All else is common: `running` (which methods,
which part of the scene, the clock), `scoring` (one image beside its truth), `blocks` (how sure a
mean is), `result` (rows into one Dataset), `ranking`, `page` (the report), and `choice`
(``method="evaluate"``). They call the verbs as users do, and know no kernel or tile.
"""

from xstf.evaluate.baselines import BASELINES
from xstf.evaluate.beside_truth import score
from xstf.evaluate.fuse import evaluate_fusion
from xstf.evaluate.gapfill import evaluate_gapfill
from xstf.evaluate.page import report
from xstf.evaluate.ranking import rank
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
    "rank",
    "report",
    "score",
]
