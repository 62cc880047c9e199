"""Fill holes in satellite data in time, space and spectrum: three verbs on xarray cubes."""

import importlib
from typing import TYPE_CHECKING, Any

from xstf import accessor as _accessor  # noqa: F401  registers .stf
from xstf._version import __version__

if TYPE_CHECKING:
    from xstf import files, metrics, plot, scenes, simulate, testing
    from xstf._method import Method, get_method
    from xstf._show import list_methods, show_versions
    from xstf.api import fuse
    from xstf.evaluate import evaluate_fusion

__all__ = [
    "Method",
    "__version__",
    "evaluate_fusion",
    "files",
    "fuse",
    "get_method",
    "list_methods",
    "metrics",
    "plot",
    "scenes",
    "show_versions",
    "simulate",
    "testing",
]

# Loaded when first asked for: dask.array alone would double what `import xstf` costs.
_HOMES = {
    "Method": "_method",
    "evaluate_fusion": "evaluate",
    "fuse": "api",
    "get_method": "_method",
    "list_methods": "_show",
    "show_versions": "_show",
}
_MODULES = {"files", "metrics", "plot", "scenes", "simulate", "testing"}


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
