"""Inverses of many small positive definite matrices."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics.inverses import inverses


@pytest.mark.parametrize(("count", "size"), [(5, 1), (3, 7), (1, 24), (4, 0), (0, 3)])
def test_inverses_are_lapacks(count, size):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(count, size, size + 2))
    matrices = root @ root.mT + 0.01 * np.eye(size)
    given = matrices.copy()
    np.testing.assert_allclose(inverses(matrices), np.linalg.inv(matrices), rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(matrices, given)


def test_pivots_that_differ_by_ten_orders_are_kept():
    """As where one mode is seen very well and another not at all."""
    matrices = np.diag([1e10, 1.0, 1e-3])[None]
    matrices[0, 0, 1] = matrices[0, 1, 0] = 9e4
    product = inverses(matrices)[0] @ matrices[0]
    np.testing.assert_allclose(product, np.eye(3), atol=1e-5)
