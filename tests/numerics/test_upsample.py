"""Coarse images at fine pixels."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics.upsample import upsample, upsample_numpy


@pytest.mark.parametrize("ratio", [1, 2, 5, 8])
@pytest.mark.parametrize("missing", [0.0, 0.2, 1.0])
def test_fast_is_the_definition(ratio, missing):
    rng = np.random.default_rng(ratio)
    coarse = rng.random((2, 3, 6, 5)).astype(np.float32)
    coarse[rng.random(coarse.shape) < missing] = np.nan
    np.testing.assert_allclose(
        upsample(coarse, ratio), upsample_numpy(coarse, ratio=ratio), rtol=1e-5, atol=1e-7
    )


def test_a_plane_stays_a_plane_between_centres():
    y, x = np.mgrid[0:5, 0:6]
    fine = upsample_numpy((2.0 * y + 3.0 * x).astype(np.float32), ratio=4)
    rows, cols = ((np.arange(n * 4) + 0.5) / 4 - 0.5 for n in (5, 6))
    want = 2 * rows[:, None] + 3 * cols[None, :]
    np.testing.assert_allclose(fine[2:-2, 2:-2], want[2:-2, 2:-2], rtol=1e-5)


def test_beyond_the_outer_centres_it_is_held():
    fine = upsample_numpy(np.array([[1.0, 2.0]], np.float32), ratio=4)
    assert fine[0, 0] == fine[0, 1] == 1
    assert fine[3, -1] == 2


def test_a_missing_coarse_pixel_is_missing_and_has_no_weight():
    coarse = np.full((1, 1, 3, 3), 5, np.float32)
    coarse[0, 0, 1, 1] = np.nan
    fine = upsample(coarse, 4)[0, 0]
    assert np.isnan(fine[4:8, 4:8]).all()
    assert np.isnan(fine).sum() == 16
    assert set(fine[~np.isnan(fine)]) == {5}
