"""Fixtures and profiles that all tests share."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

# Tests run in several processes already; torch would start threads for every core in each. And
# what is trained depends on their number.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("default", max_examples=15, deadline=None, derandomize=True)
hypothesis.settings.register_profile("ci", max_examples=30, deadline=None, derandomize=True)
# For tests of the laws themselves, on methods that break them: the first example is enough.
hypothesis.settings.register_profile(
    "first", max_examples=15, deadline=None, derandomize=True, phases=[hypothesis.Phase.generate]
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def scene():
    """A small nested pair of cubes: (fine, coarse)."""
    import xstf

    return xstf.testing.scene()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cases with known truth."""
    folder = os.environ.get("XSTF_TEST_DATA")
    if not folder:
        pytest.skip("needs real data: set XSTF_TEST_DATA to its folder")
    return Path(folder)


@pytest.fixture
def cuda():
    """The GPU or, where there is none, a stand-in that runs CUDA source on the processor."""
    import fake_cupy

    if not why_no_gpu("cupy"):
        yield None
        return
    with fake_cupy.installed() as log:
        yield log


@pytest.fixture(autouse=True)
def _cuda_where_marked(request):
    """Give the fixture `cuda` to tests that are marked so: parameters can bear marks alone."""
    if request.node.get_closest_marker("cuda"):
        request.getfixturevalue("cuda")


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where none answers: ``gpu`` asks cupy, ``gpu("torch")`` asks torch."""
    reasons: dict[str, str] = {}
    for item in items:
        marker = item.get_closest_marker("gpu")
        if marker:
            library = marker.args[0] if marker.args else "cupy"
            reason = reasons.setdefault(library, why_no_gpu(library))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def why_no_gpu(library):
    """Return why a library cannot use a GPU here, or nothing."""
    if importlib.util.find_spec(library) is None:
        return f"needs {library} and a CUDA GPU; {library} is not installed"
    module = importlib.import_module(library)
    found = module.is_available() if library == "cupy" else module.cuda.is_available()
    return "" if found else f"needs a CUDA GPU; {library} finds none"
