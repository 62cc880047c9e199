"""Fixtures and profiles that all tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("default", max_examples=15, deadline=None, derandomize=True)
hypothesis.settings.register_profile("ci", max_examples=30, deadline=None, derandomize=True)
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


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where none answers."""
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if not wanted:
        return
    if importlib.util.find_spec("cupy") is None:
        reason = "needs cupy and a CUDA GPU; cupy is not installed"
    else:
        import cupy

        reason = "" if cupy.is_available() else "needs a CUDA GPU; cupy finds none"
    if reason:
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason=reason))
