"""Fill holes in satellite data in time, space and spectrum: three verbs on xarray cubes."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xstf._version import __version__, show_versions

if TYPE_CHECKING:
    from xstf import (
        files,
        masks,
        metrics,
        plot,
        scenes,
        sensors,
        simulate,
        store,
        testing,
        train,
        weights,
    )
    from xstf._method import Method
    from xstf.cubes.mosaic import mosaic
    from xstf.evaluate import (
        evaluate_fusion,
        evaluate_gapfill,
        evaluate_sharpen,
        evaluate_sharpen_spectral,
        evaluate_sts,
        rank,
        report,
        score,
    )
    from xstf.methods.lookup import get_method, list_methods
    from xstf.verbs.fuse import fuse
    from xstf.verbs.gapfill import gapfill
    from xstf.verbs.plan import plan
    from xstf.verbs.sharpen_spectral import sharpen_spectral

__all__ = [
    "Method",
    "__version__",
    "evaluate_fusion",
    "evaluate_gapfill",
    "evaluate_sharpen",
    "evaluate_sharpen_spectral",
    "evaluate_sts",
    "files",
    "fuse",
    "gapfill",
    "get_method",
    "list_methods",
    "masks",
    "metrics",
    "mosaic",
    "plan",
    "plot",
    "rank",
    "report",
    "scenes",
    "score",
    "sensors",
    "sharpen_spectral",
    "show_versions",
    "simulate",
    "store",
    "testing",
    "train",
    "weights",
]


def _is_the_command() -> bool:
    """Return whether the command `xstf` or ``python -m xstf`` is what imports this package.

    A script that a user calls xstf is not: the command lies beside its Python, or links to there.
    """
    given = sys.argv[0] if sys.argv else ""
    if given == "-m":  # while Python looks for the module
        words = sys.orig_argv
        return any(pair == ("-m", "xstf") for pair in zip(words, words[1:], strict=False))
    if Path(given).stem not in ("xstf", "xstf-script"):
        return False
    return Path(given).resolve().parent == Path(sys.executable).parent.resolve()


# The command parses its arguments first, and then registers .stf: xarray takes half a second.
if not _is_the_command():
    from xstf import accessor as _accessor  # noqa: F401  registers .stf

# Loaded when first asked for: dask.array alone would double what `import xstf` costs.
_HOMES = {
    "Method": "_method",
    "evaluate_fusion": "evaluate",
    "evaluate_gapfill": "evaluate",
    "evaluate_sharpen": "evaluate",
    "evaluate_sharpen_spectral": "evaluate",
    "evaluate_sts": "evaluate",
    "fuse": "verbs.fuse",
    "gapfill": "verbs.gapfill",
    "get_method": "methods.lookup",
    "list_methods": "methods.lookup",
    "mosaic": "cubes.mosaic",
    "plan": "verbs.plan",
    "rank": "evaluate",
    "report": "evaluate",
    "score": "evaluate",
    "sharpen_spectral": "verbs.sharpen_spectral",
}
_MODULES = {
    "files", "masks", "metrics", "plot", "scenes", "sensors", "simulate", "store", "testing",
    "train", "weights",
}  # fmt: skip


if not TYPE_CHECKING:  # a checker would take any name for one of the package's

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"xstf.{name}")
        if name in _HOMES:
            value = getattr(importlib.import_module(f"xstf.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        from xstf.cubes.words import meant

        raise AttributeError(f"module 'xstf' has no attribute {name!r}{meant(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
