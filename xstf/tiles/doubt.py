"""The standard deviation of a fusion: what the scene tells of a method's errors, settled once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xstf._method import Method
from xstf.numerics import doubt as _doubt
from xstf.numerics.belief import find_belief
from xstf.numerics.doubt import Doubt
from xstf.numerics.registration import Registration
from xstf.tiles.engines import Runner, make_runner
from xstf.tiles.frame import Runs, moved_sample
from xstf.tiles.gpu import to_host


@dataclass(frozen=True)
class Predictor:
    """A method on a whole image, of one pair: ``(band, y, x)``.

    Parameters
    ----------
    runner
        Its kernel on the host.
    prepare, settle, params
        The record's, and the parameters of the call.
    """

    runner: Runner
    prepare: Callable[..., dict[str, np.ndarray]] | None
    settle: Callable[..., Any] | None
    params: Any

    def __call__(self, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
        """Return the estimate of the date of the last coarse image."""
        ratio = fine.shape[-1] // coarse.shape[-1]
        state = None
        if self.prepare is not None and self.settle is not None:
            samples = self.prepare(fine, coarse, ratio=ratio, params=self.params)
            state = self.settle(samples, ratio=ratio, params=self.params)
        estimate: np.ndarray = self.runner(
            fine, coarse, ratio=ratio, params=self.params, state=state, std=False,
            inner=(slice(0, fine.shape[-2]), slice(0, fine.shape[-1])),
        )[0]  # fmt: skip
        return estimate


def predictor_of(record: Method, runner: Runner, params: Any) -> Predictor | None:
    """Return what predicts one date of two pairs from the other one: the method, on the host.

    None for a method that cannot: one that needs two pairs, or has no engine of the host.
    """
    host = next((e for e in (runner.engine, "numba", "numpy") if e in ("numba", "numpy")
                 and e in record.kernels), None)  # fmt: skip
    if host is None or record.pairs[0] > 1:
        return None
    return Predictor(make_runner(record, host, None), record.prepare, record.settle, params)


def prepare_doubt(
    ratio: int, runs: Runs, samples: dict[str, np.ndarray],
    registration: Registration = Registration(),  # noqa: B008
) -> dict[str, np.ndarray]:  # fmt: skip
    """Pick what tells of errors out of samples of whole images: moments, and a known change."""
    fine, coarse = (to_host(samples[name]) for name in ("fine", "coarse"))
    fine = moved_sample(fine, runs, registration.shift, ratio)
    noise = find_belief(fine, coarse, ratio=ratio, spill=registration.spill).noise
    scene = _doubt.scene_of(fine, coarse, noise, ratio)
    out = {**_doubt.packed(scene), "spill": np.array(registration.spill)}
    if len(fine) > 1:
        out["fine"], out["coarse"] = _doubt.middle(fine[:2], coarse[:2], ratio)
    return out


def settle_doubt(
    predict: Predictor | None, ratio: int, believe: bool,
    samples: dict[str, np.ndarray],
) -> Doubt:  # fmt: skip
    """Return what is known of the errors of a method in the scene."""
    doubt = _doubt.unchecked(_doubt.unpacked(samples))
    if "fine" not in samples:
        return doubt
    return _doubt.checked(
        doubt, samples["fine"], samples["coarse"], predict, ratio=ratio,
        spill=float(samples["spill"]), believe=believe,
    )  # fmt: skip
