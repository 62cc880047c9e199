"""Fill holes in satellite data in time, space and spectrum: three verbs on xarray cubes."""

import importlib
from typing import TYPE_CHECKING, Any

from xstf import accessor as _accessor  # noqa: F401  registers .stf
from xstf._version import __version__

if TYPE_CHECKING:
    from xstf import (
        files,
        masks,
        metrics,
        plot,
        scenes,
        sensors,
        simulate,
        testing,
        train,
        weights,
    )
    from xstf._fuse import fuse
    from xstf._gapfill import gapfill
    from xstf._method import Method, get_method
    from xstf._sharpen import sharpen_spectral
    from xstf._show import list_methods, show_versions
    from xstf.evaluate import (
        evaluate_fusion,
        evaluate_gapfill,
        evaluate_sharpen,
        evaluate_sts,
    )

__all__ = [
    "Method",
    "__version__",
    "evaluate_fusion",
    "evaluate_gapfill",
    "evaluate_sharpen",
    "evaluate_sts",
    "files",
    "fuse",
    "gapfill",
    "get_method",
    "list_methods",
    "masks",
    "metrics",
    "plot",
    "scenes",
    "sensors",
    "sharpen_spectral",
    "show_versions",
    "simulate",
    "testing",
    "train",
    "weights",
]

# Loaded when first asked for: dask.array alone would double what `import xstf` costs.
_HOMES = {
    "Method": "_method",
    "evaluate_fusion": "evaluate",
    "evaluate_gapfill": "evaluate",
    "evaluate_sharpen": "evaluate",
    "evaluate_sts": "evaluate",
    "fuse": "_fuse",
    "gapfill": "_gapfill",
    "get_method": "_method",
    "sharpen_spectral": "_sharpen",
    "list_methods": "_show",
    "show_versions": "_show",
}
_MODULES = {
    "files", "masks", "metrics", "plot", "scenes", "sensors", "simulate", "testing", "train",
    "weights",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"xstf.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"xstf.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'xstf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
