"""How far a coarse change is believed: wholly where it is sure, hardly where it is noise."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics.belief import believed, find_belief
from xstf.numerics.degrade import block_means

RATIO = 8


@pytest.fixture(scope="module")
def images():
    """Three dates of two bands, whose change is texture like the images."""
    rng = np.random.default_rng(2)
    fields = np.kron(rng.random((3, 2, 24, 24)), np.ones((8, 8)))
    return (fields + 0.05 * rng.standard_normal(fields.shape)).astype(np.float32)


def belief_of(fine, coarse):
    return find_belief(fine, coarse, ratio=RATIO, spill=0.0)


def changes(coarse):
    return coarse[-1] - coarse[:-1]


@pytest.mark.parametrize("pairs", [1, 2])
def test_block_means_are_believed_as_they_are(images, pairs):
    coarse = block_means(images[[*range(pairs), 2]], RATIO)
    belief = belief_of(images[:pairs], coarse)
    out = believed(images[:pairs], coarse, belief, ratio=RATIO)
    np.testing.assert_allclose(out, coarse, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(belief.agreement, 1, atol=1e-6)


def test_the_target_stays_and_noise_shrinks_the_change(images):
    clean = block_means(images, RATIO)
    noise = 0.5 * np.random.default_rng(1).standard_normal(clean.shape)
    belief = belief_of(images[:2], clean + noise)
    assert (belief.gain < 0.75).all()
    out = believed(images[:2], clean + noise, belief, ratio=RATIO)
    np.testing.assert_array_equal(out[-1], (clean + noise)[-1])
    error = np.abs(changes(out) - changes(clean)).mean()
    assert error < 0.75 * np.abs(changes(clean + noise) - changes(clean)).mean()


def test_a_known_change_that_coarse_images_do_not_show_leaves_little_belief(images):
    useless = np.random.default_rng(1).random((3, 2, 24, 24))
    belief = belief_of(images[:2], useless)
    assert (np.abs(belief.known) < 0.2).all()
    assert (belief.gain < 0.5).all()


def test_a_constant_on_the_target_is_one_on_the_believed_change(images):
    coarse = block_means(images, RATIO) + 0.1 * np.random.default_rng(1).random((3, 2, 24, 24))
    lifted = coarse.copy()
    lifted[-1] += 0.3
    before, after = (
        changes(believed(images[:2], c, belief_of(images[:2], c), ratio=RATIO))
        for c in (coarse, lifted)
    )
    np.testing.assert_allclose(after, before + 0.3, atol=1e-6)


def test_no_change_stays_none_even_of_noisy_images(images):
    fine = images[:1]
    noisy = block_means(fine, RATIO) + 0.2 * np.random.default_rng(1).random((1, 2, 24, 24))
    coarse = np.repeat(noisy, 2, axis=0)
    out = believed(fine, coarse, belief_of(fine, coarse), ratio=RATIO)
    np.testing.assert_allclose(changes(out), 0, atol=1e-6)


def test_units_do_not_matter(images):
    coarse = block_means(images, RATIO) + 0.2 * np.random.default_rng(1).random((3, 2, 24, 24))
    one = belief_of(images[:2], coarse)
    other = belief_of(images[:2] * 1e4, coarse * 1e4)
    np.testing.assert_allclose(other.gain, one.gain, rtol=1e-4)
    np.testing.assert_allclose(other.pull, one.pull, rtol=1e-4)


def test_missing_pixels_stay_missing(images):
    fine, coarse = images.copy(), block_means(images, RATIO)
    coarse = coarse + 0.2 * np.random.default_rng(1).random(coarse.shape)
    fine[0, :, :40, :40] = np.nan
    coarse[1, :, 3, 4] = np.nan
    out = believed(fine[:2], coarse, belief_of(fine[:2], coarse), ratio=RATIO)
    assert np.isnan(out[1, :, 3, 4]).all()
    assert np.isfinite(np.delete(out[0].reshape(2, -1), 3 * 24 + 4, axis=1)).all()


def test_alike_sensors_lose_less_of_a_change(images):
    coarse = block_means(images[[0, 2]], RATIO)
    coarse = coarse + 0.2 * np.random.default_rng(1).random(coarse.shape)
    wide = belief_of(images[:1], coarse)
    near = find_belief(images[:1, :, ::4, ::4], coarse, ratio=2, spill=0.0)
    assert (near.gain > wide.gain).all()
