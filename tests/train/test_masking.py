"""Pixels masked for training: some of the clear ones, as often as asked, in shapes of clouds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xstf.train.masking import _boxes, _cloud, _moved_onto, _smooth, draw_mask

NONE = np.zeros((0, 0, 0), bool)
KINDS = ["real", "simulated", "boxes"]


def square(side=80, size=12):
    """Return one mask, a square cloud away from the edges."""
    mask = np.zeros((1, side, side), bool)
    mask[0, 20 : 20 + size, 30 : 30 + size] = True
    return mask


def kind_of(kind):
    """Return the arguments that make shapes of a kind."""
    rng = np.random.default_rng(7)
    clouds = np.stack([_cloud((90, 70), rng) for _ in range(5)])
    return {
        "real": {"masks": clouds},
        "simulated": {"masks": NONE},
        "boxes": {"masks": clouds, "boxes": True},
    }[kind]


def patch(time=6, side=24, share=0.8, seed=0):
    return np.random.default_rng(seed).random((time, side, side)) < share


def samples(valid, number, seed=0, **arguments):
    rng = np.random.default_rng(seed)
    return np.stack([draw_mask(valid, rng, **arguments) for _ in range(number)])


@pytest.mark.parametrize("kind", KINDS)
def test_masked_are_some_of_the_valid(kind):
    valid = patch()
    valid[2] = False
    before = valid.copy()
    found = samples(valid, 100, **kind_of(kind))
    assert found.dtype == bool
    assert not (found & ~valid).any()
    assert found.any(axis=(1, 2, 3)).all()
    assert 0.1 < found.sum() / (100 * valid.sum()) < 0.6
    np.testing.assert_array_equal(valid, before)


@pytest.mark.parametrize("kind", KINDS)
def test_some_valid_pixels_are_never_masked(kind):
    for valid in (
        patch(1, 6),
        patch(2, 4, share=0.2),
        np.ones((3, 1, 1), bool),
        np.ones((1, 1, 2), bool),
        patch(5, 5, share=0.03, seed=3),
    ):
        assert valid.sum() >= 2
        found = samples(valid, 200, **kind_of(kind) | {"whole_dates": (0.5, 0.5)})
        shown = (valid & ~found).sum(axis=(1, 2, 3))
        assert shown.min() >= 1
        assert found.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("number", [0, 1])
def test_with_one_pixel_or_none_nothing_is_masked(number):
    valid = np.zeros((3, 4, 4), bool)
    valid.flat[:number] = True
    assert not samples(valid, 20, masks=NONE).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_masks_the_same(kind):
    valid = patch()
    one, two, other = (samples(valid, 5, seed, **kind_of(kind)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_whole_dates_go_as_often_as_asked():
    valid = patch()
    found = samples(valid, 2000, masks=square())
    whole = (found.sum(axis=(2, 3)) == valid.sum(axis=(1, 2))).sum(axis=1)
    shares = np.bincount(whole, minlength=3) / 2000
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.035)  # three standard errors


def test_no_whole_dates_if_none_are_asked_for():
    valid = patch()
    found = samples(valid, 300, masks=square(), whole_dates=(0, 0))
    assert (found.sum(axis=(2, 3)) < valid.sum(axis=(1, 2))).all()


def test_a_date_with_few_valid_pixels_is_seldom_the_whole_one():
    valid = np.ones((3, 20, 20), bool)
    valid[1].flat[4:] = False  # a hundredth of the others
    found = samples(valid, 200, masks=square(), whole_dates=(1, 0))
    assert found[:, [0, 2]].all(axis=(2, 3)).any(axis=1).mean() > 0.95


def test_one_of_two_dates_is_left_if_two_are_to_go():
    found = samples(np.ones((2, 8, 8), bool), 50, masks=square(), whole_dates=(0, 1))
    assert (found.all(axis=(2, 3)).sum(axis=1) == 1).all()


def test_shapes_lie_on_one_to_all_dates():
    found = samples(np.ones((4, 30, 30), bool), 300, masks=square(), whole_dates=(0, 0))
    numbers = np.bincount(found.any(axis=(2, 3)).sum(axis=1), minlength=5)
    assert numbers[0] == 0
    assert (numbers[1:] > 30).all()


def test_some_gaps_last():
    """The same shape over neighbouring dates, in about a quarter of the samples."""
    found = samples(np.ones((6, 30, 30), bool), 400, masks=square(), whole_dates=(0, 0))
    same = (found[:, 1:] == found[:, :-1]).all(axis=(2, 3)) & found[:, 1:].any(axis=(2, 3))
    assert 0.17 < same.any(axis=1).mean() < 0.33
    assert same.sum(axis=1).max() == 3  # four dates of six


def test_real_shapes_keep_their_form():
    """A square that is moved and flipped is a square; a union of two has at most twice as many."""
    found = samples(np.ones((1, 80, 80), bool), 60, masks=square(), whole_dates=(0, 0))
    sizes = found.sum(axis=(1, 2, 3))
    assert sizes.min() == 144
    assert 144 < sizes.max() <= 288
    assert 0.2 < (sizes == 144).mean() < 0.8


def test_masks_are_turned_over_both_ways():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 5, 5:9] = mask[0, 5:11, 5] = True  # an L: its corner tells how it lies
    found = samples(np.ones((1, 20, 20), bool), 80, masks=mask, whole_dates=(0, 0))
    lying = set()
    for sample in found[found.sum(axis=(1, 2, 3)) == 9, 0]:
        y, x = sample.sum(axis=1).argmax(), sample.sum(axis=0).argmax()
        lying.add((bool(sample[(y + 1) % 20, x]), bool(sample[y, (x + 1) % 20])))
    assert len(lying) == 4


def test_a_shape_falls_on_a_pixel_that_can_be_masked():
    valid = np.zeros((25, 35), bool)
    valid[3, 33] = True
    rng = np.random.default_rng(0)
    for mask in (square()[0], square(40, 18)[0, :30], square()[0, 20:32, 25:60]):
        assert all(_moved_onto(mask, valid, rng)[3, 33] for _ in range(20))


def test_a_cloud_larger_than_the_patch_leaves_a_rim():
    mask = np.ones((1, 300, 300), bool)
    mask[0, :, 150:] = False
    found = samples(np.ones((3, 20, 20), bool), 200, masks=mask, whole_dates=(0, 0))
    assert found.all(axis=(2, 3)).mean() < 0.1


def test_masks_that_are_all_one_value_are_no_shapes():
    flat = np.stack([np.ones((30, 30), bool), np.zeros((30, 30), bool)])
    valid = patch()
    np.testing.assert_array_equal(
        samples(valid, 10, masks=flat), samples(valid, 10, masks=np.zeros((0, 30, 30), bool))
    )


def test_simulated_clouds_cover_as_much_as_they_say_in_few_pieces():
    rng = np.random.default_rng(0)
    clouds = np.stack([_cloud((40, 60), rng) for _ in range(50)])
    cover = clouds.mean(axis=(1, 2))
    assert cover.min() >= 0.1 - 1e-3
    assert cover.max() <= 0.6 + 1e-3
    rims = (clouds[:, :, 1:] != clouds[:, :, :-1]).mean()
    assert rims < 0.1  # of white noise at this cover: 0.45


@pytest.mark.parametrize("sides", [(18, 18), (25, 32)])
def test_smoothing_is_a_gaussian_that_wraps(sides):
    noise = np.random.default_rng(0).random(sides)
    expected = gaussian_filter(noise, 2.0, mode="wrap", truncate=8)
    np.testing.assert_allclose(_smooth(noise, 2.0), expected, atol=1e-3)


def test_boxes_cover_a_third():
    """Ten boxes of 0.09 of the patch, half of each: 1 − (1 − 0.045)^10 = 0.37, edges a bit less."""
    rng = np.random.default_rng(0)
    cover = np.mean([_boxes((60, 60), rng).mean() for _ in range(100)])
    assert cover == pytest.approx(0.35, abs=0.03)


def test_boxes_ignore_masks():
    valid = patch()
    np.testing.assert_array_equal(
        samples(valid, 5, masks=square(), boxes=True), samples(valid, 5, masks=NONE, boxes=True)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": np.ones((4, 4), bool)}, "masks \\(k, y, x\\)"),
        ({"masks": NONE, "whole_dates": (0.8, 0.3)}, "two shares"),
        ({"masks": NONE, "whole_dates": (-0.1, 0.3)}, "two shares"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_mask(patch(), np.random.default_rng(0), **arguments)
