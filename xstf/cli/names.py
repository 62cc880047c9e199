"""Names of tasks and methods, from the names of folders and files: none is loaded."""

from __future__ import annotations

import re
from pathlib import Path

# As in `xstf._method`, which takes numpy to import.
TASKS = ("fuse", "gapfill", "sharpen_spectral", "sts")
SHORT = {"sharpen": "sharpen_spectral"}

_METHODS = Path(__file__).parent.parent / "methods"


def own_methods(task: str) -> list[str]:
    """Return the names of this package's methods of a task, sorted; others may be installed."""
    return sorted(
        _name(path)
        for path in (_METHODS / task).iterdir()
        if path.name[0] not in "._" and (path.suffix == ".py" or path.is_dir())
    )


def _name(path: Path) -> str:
    """Return the name in a method's record: a file's has no hyphen where that may have one."""
    source = path if path.suffix == ".py" else path / "__init__.py"
    spelled = path.stem.replace("_", "[-_]")
    found = re.search(rf'name="({spelled})"', source.read_text(encoding="utf-8"))
    return found[1] if found else path.stem
