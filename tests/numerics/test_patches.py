"""What unmixing methods look at, and how they blend pairs."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics import patches as _patches


@pytest.mark.parametrize(("ratio", "size"), [(16, 130), (50, 44)])
def test_a_big_scene_is_sampled_by_whole_coarse_pixels(ratio, size):
    # Zero-stride arrays: the size of a scene without its memory.
    fine = np.broadcast_to(np.float32(0.5), (2, 4, size * ratio, size * ratio))
    coarse = np.broadcast_to(np.float32(0.5), (3, 4, size, size))
    samples = _patches.sample_patches(fine, coarse, ratio=ratio, params=None)
    patches = _patches.patches_of(samples)
    total = sum(sharp.size for sharp, _ in patches)
    assert _patches.SAMPLE / 8 < total <= _patches.SAMPLE
    for sharp, blurred in patches:
        part, blocks = sharp.shape, blurred.shape
        assert blocks[-2:] == (_patches.PATCH, _patches.PATCH)
        assert part[-2] % blocks[-2] == part[-1] % blocks[-1] == 0
        assert part[-1] // blocks[-1] <= _patches.THIN


def test_pairs_weigh_by_how_little_changed_since():
    weights = _patches.pair_weights(np.array([[1.0, 0.0, np.nan], [3.0, 0.0, 2.0]]))
    np.testing.assert_allclose(weights[0] / weights[1], [3, 1, 2 / 3])


def test_pairs_are_blended_where_they_know_something():
    results = [np.float32([[[1, 1, np.nan, np.nan]]]), np.float32([[[4, np.nan, 4, np.nan]]])]
    found = _patches.blend(results, np.array([[2.0], [1.0]]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0], [2, 1, 4, np.nan])
