"""``method="evaluate"``: every method is tried on a sample of the cubes, and the best one runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import xarray as xr

from xstf.cubes.arrays import Labelled
from xstf.evaluate.fuse import evaluate_fusion
from xstf.evaluate.gapfill import evaluate_gapfill
from xstf.evaluate.ranking import rank, sentences
from xstf.evaluate.sharpen_spectral import evaluate_sharpen_spectral
from xstf.methods.lookup import get_method
from xstf.verbs.by_trial import NAME
from xstf.verbs.fuse import fuse
from xstf.verbs.gapfill import gapfill
from xstf.verbs.sharpen_spectral import sharpen_spectral

# Fine pixels and dates of the sample: methods that differ clearly on it are told apart in seconds.
SAMPLE, DATES = 160_000, 3

_VERBS: dict[str, Callable[..., Any]] = {
    "fuse": fuse, "gapfill": gapfill, "sharpen_spectral": sharpen_spectral,
}  # fmt: skip
_EVALUATIONS: dict[str, Callable[..., xr.Dataset]] = {
    "fuse": partial(evaluate_fusion, max_dates=DATES), "gapfill": evaluate_gapfill,
    "sharpen_spectral": evaluate_sharpen_spectral,
}  # fmt: skip
# The cubes of each verb; what an evaluation decides itself.
_CUBES = {
    "fuse": ("fine", "coarse"), "gapfill": ("cube", "sar"),
    "sharpen_spectral": ("spectral", "spatial"),
}  # fmt: skip
_NOT_TRIED = {"method", "params", "time", "freq", "return_quality", "progress", "max_gap", "edge"}


def run_best(verb: str, call: Mapping[str, Any]) -> Any:
    """Return a verb's result by the method with the lowest error on a sample of its cubes.

    Parameters
    ----------
    verb
        Its name.
    call
        All of its arguments by name, with ``params``.
    """
    if call["params"]:
        raise ValueError(
            f"method={NAME!r} tries each method as it is; {list(call['params'])} are parameters of "
            "one: leave them out, or name the method"
        )
    if call.get("spatial") is not None and verb == "fuse":
        raise ValueError(
            f"method={NAME!r} does not go with spatial=: xstf.evaluate_sts compares the ways"
        )
    given = dict(call)
    cubes = [given.pop(name) for name in _CUBES[verb]]
    scores = _tried(verb, cubes, given)
    table = rank(scores)
    best = str(table.index[0])
    given.pop("params")
    made: Labelled = _VERBS[verb](*cubes, **{**given, "method": best})
    words = "; ".join(
        [f"{best}, by trial", *sentences(scores, table), scores.attrs["stf_protocol"]]
    )
    return _with_choice(made, words)


def _tried(verb: str, cubes: list[Any], given: Mapping[str, Any]) -> xr.Dataset:
    """Return the scores of all methods that can serve the call."""
    defaults = inspect.signature(_VERBS[verb]).parameters
    options = {
        name: value for name, value in given.items()
        if name not in _NOT_TRIED and value is not defaults[name].default
    }  # fmt: skip
    if verb != "sharpen_spectral":
        options["return_quality"] = False
    try:
        scores = _EVALUATIONS[verb](*cubes, baselines=False, max_pixels=SAMPLE, **options)
    except ValueError as error:
        raise ValueError(
            f"method={NAME!r} finds nothing to try methods on: {error}; or name a method, such as "
            "method='auto'"
        ) from error
    if not given.get("return_quality"):
        return scores
    able = [get_method(verb, name).std for name in scores["method"].values.tolist()]
    return scores.isel(method=able)


def _with_choice(made: Labelled, words: str) -> Labelled:
    """Return a result that says in its attributes which method was chosen, and why."""
    parts = [made] if isinstance(made, xr.DataArray) else [made, *made.data_vars.values()]
    for part in parts:
        if "stf_method" in part.attrs:
            before = part.attrs.get("stf_choice")
            part.attrs["stf_choice"] = words if before is None else f"{words}; {before}"
    return made
