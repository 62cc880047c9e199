"""How far a fused image may be off: hand-made images whose variances are known."""

from __future__ import annotations

import numpy as np
import pytest

from xstf.numerics.doubt import (
    ALONE,
    KNOWN,
    LEAST,
    SIDE,
    SPREAD,
    STAND_IN,
    Doubt,
    Scene,
    checked,
    delta,
    detail_of,
    expected,
    kinds_of,
    middle,
    packed,
    scene_of,
    unchecked,
    unpacked,
    with_margin,
)
from xstf.numerics.unmixing import Classes, find_classes

RATIO = 4
H, N = np.array([0.04]), np.array([0.01])


def scene(detail=H, noise=N, pairs=1):
    """Return a scene whose land is all of one kind."""
    size = pairs * len(detail)
    one = Classes(np.zeros(size), np.ones(size), np.zeros((1, size)), 1.0)
    return Scene(np.asarray(detail), np.asarray(noise), one, np.ones((len(detail), 1)))


def stripes(height, width, size):
    """Return rows of -size and size in turn: their variance is size squared, nearly."""
    return np.tile(np.where(np.arange(height) % 2, size, -size)[:, None], width).astype(np.float32)


def whole(fine):
    return slice(0, fine.shape[-2]), slice(0, fine.shape[-1])


@pytest.fixture
def one():
    """One pair: texture of variance .01, a coarse change of variance .0225, but for 5 odd rows."""
    fine = stripes(40, 40, 0.1)[None, None]
    coarse = np.stack([np.zeros((10, 10), np.float32), stripes(10, 10, 0.15)])[:, None]
    return fine, coarse


def test_detail_is_the_variance_within_coarse_pixels():
    fine = stripes(8, 8, 0.2)[None, None]
    np.testing.assert_allclose(detail_of(fine, 4), 0.75 * 0.04, rtol=1e-6)
    # Between coarse pixels there is none.
    blocks = np.kron(np.array([[1.0, 5.0], [3.0, 7.0]]), np.ones((4, 4)))[None, None]
    np.testing.assert_allclose(detail_of(blocks, 4), 0, atol=1e-9)


def test_detail_leaves_out_coarse_pixels_that_are_hardly_seen():
    fine = stripes(8, 8, 0.2)[None, None]
    fine[..., :4, :4] = 7
    fine[..., :3, :4] = np.nan
    np.testing.assert_allclose(detail_of(fine, 4), 0.75 * 0.04, rtol=1e-6)


def test_the_expectation_is_the_mean_of_its_parts(one):
    # Five rows of two values: three of one and two of the other, a variance of 24/25.
    found = expected(*one, scene(), ratio=RATIO, inner=(slice(18, 22), slice(18, 22)))
    change, texture = 0.0225 * 24 / 25 + 0.01, 0.01 * 24 / 25
    np.testing.assert_allclose(found, (0.04**2 * change * texture) ** 0.25, rtol=1e-5)


def test_a_known_change_raises_the_expectation(one):
    fine, coarse = one
    two = np.concatenate([fine, fine + 0.3])
    blurred = np.stack([coarse[0], coarse[0] + 0.1, coarse[1]])  # a third of it is seen
    inner = (slice(18, 22), slice(18, 22))
    alone = expected(fine, coarse, scene(), ratio=RATIO, inner=inner)
    both = expected(two, blurred, scene(pairs=2), ratio=RATIO, inner=inner)
    np.testing.assert_allclose(both / alone, (0.2**2 / 0.04) ** 0.25, rtol=1e-5)


def test_land_that_changes_unevenly_is_doubted_more():
    rng = np.random.default_rng(4)
    field = np.kron(rng.integers(0, 2, (10, 10)), np.ones((RATIO, RATIO)))  # whole coarse pixels
    fine = (field + 0.01 * rng.standard_normal(field.shape)).astype(np.float32)[None]
    own = field[::RATIO, ::RATIO]
    change = own * np.where(np.arange(100).reshape(10, 10) % 2, 0.3, -0.3)[None]
    classes = find_classes([fine], 2)
    found = kinds_of(fine, change, classes, RATIO)[0]
    crop = int(np.argmax(classes.centres[:, 0]))
    mean, share = (change**2).mean() - change.mean() ** 2, own.mean()
    square = (change - change.mean())[0] ** 2
    parts = [(square[own == k].sum() + 4 * mean) / ((own == k).sum() + 4) for k in (0, 1)]
    usual = (1 - share) * parts[0] + share * parts[1]
    np.testing.assert_allclose(found[[1 - crop, crop]], np.array(parts) / usual, rtol=1e-3)
    # It is what the expectation of their pixels differs by.
    land = scene()._replace(classes=classes, kinds=found[None])
    coarse = np.zeros((2, 1, 10, 10), np.float32)
    by = expected(fine[None], coarse, land, ratio=RATIO, inner=whole(fine))
    plain = expected(fine[None], coarse, scene(), ratio=RATIO, inner=whole(fine))
    np.testing.assert_allclose((by / plain)[0][field == 1], found[crop], rtol=1e-3)


def test_a_scene_travels_as_arrays():
    rng = np.random.default_rng(5)
    fine, coarse = rng.random((2, 1, 40, 40)), rng.random((3, 1, 10, 10))
    land = scene_of(fine.astype(np.float32), coarse, N, RATIO)
    again = unpacked(packed(land))
    for own, other in zip((*land[:2], *land.classes, land.kinds),
                          (*again[:2], *again.classes, again.kinds), strict=True):  # fmt: skip
        np.testing.assert_array_equal(own, other)
    np.testing.assert_allclose(land.detail, detail_of(fine, RATIO) + N, rtol=1e-6)


def test_land_that_is_not_seen_is_like_all():
    fine, change = np.full((2, 8, 8), np.nan, np.float32), np.ones((2, 2, 2))
    classes = find_classes([fine], 8)
    np.testing.assert_array_equal(kinds_of(fine, change, classes, RATIO), 1)
    np.testing.assert_array_equal(
        kinds_of(fine + 1, np.full((2, 2, 2), np.nan), classes, RATIO), 1
    )  # fmt: skip


def test_where_nothing_is_seen_the_scene_stands_for_it(one):
    fine, coarse = one
    blind = np.full_like(fine, np.nan), np.full_like(coarse, np.nan)
    np.testing.assert_allclose(expected(*blind, scene(), ratio=RATIO, inner=whole(fine)), 0.04)


def test_no_change_and_no_texture_leave_a_little(one):
    flat = [np.zeros_like(image) for image in one]
    found = expected(*flat, scene(H, 0 * N), ratio=RATIO, inner=whole(flat[0]))
    np.testing.assert_allclose(found, LEAST**0.5 * 0.04, rtol=1e-6)


def test_a_tile_expects_what_the_whole_does():
    rng = np.random.default_rng(3)
    fine = rng.random((2, 2, 48, 44)).astype(np.float32)
    coarse = rng.random((3, 2, 12, 11)).astype(np.float32)
    fine[0, :, 20:24, 10:30] = np.nan
    coarse[1, :, 4, 4] = np.nan
    inner = (slice(21, 30), slice(17, 27))
    land = scene_of(fine, coarse, np.array([0.01, 0.02]), RATIO)
    all_of_it = expected(fine, coarse, land, ratio=RATIO, inner=whole(fine))
    tile = expected(
        fine[..., 8:44, 4:40].copy(), coarse[..., 2:11, 1:10].copy(), land, ratio=RATIO,
        inner=(slice(13, 22), slice(13, 23)),
    )  # fmt: skip
    np.testing.assert_array_equal(tile, all_of_it[:, *inner])


def test_the_deviation_joins_the_spread_of_a_method(one):
    doubt = Doubt(scene(), np.array([2.0]), np.array([0.25]))
    inner = (slice(18, 22), slice(18, 22))
    hope = 2 * expected(*one, scene(), ratio=RATIO, inner=inner)
    found = doubt.deviation(*one, None, ratio=RATIO, inner=inner)
    np.testing.assert_allclose(found, np.sqrt(hope), rtol=1e-6)
    spread = np.full(hope.shape, 0.2)
    spread[0, 0, 0] = np.nan
    found = doubt.deviation(*one, spread, ratio=RATIO, inner=inner)
    joined = np.sqrt(hope + 0.25 * 0.04)
    joined[0, 0, 0] = np.sqrt(hope[0, 0, 0])
    np.testing.assert_allclose(found, joined, rtol=1e-6)
    assert found.dtype == np.float32


# --- a known change ---


@pytest.fixture
def known():
    rng = np.random.default_rng(1)
    fine = rng.random((2, 2, 64, 64)).astype(np.float32)
    return fine, fine.reshape(2, 2, 16, 4, 16, 4).mean(axis=(3, 5))


def held(known, estimate):
    doubt = unchecked(scene([0.04, 0.01], [0.01, 0.01], pairs=2))
    call = {"ratio": RATIO, "spill": 0.0, "believe": False}
    return doubt, checked(doubt, *known, estimate, **call)


def test_the_expectation_is_scaled_to_a_known_error(known):
    fine, coarse = known
    off = np.array([0.1, 0.3])[:, None, None]
    doubt, found = held(known, lambda before, _: fine[1] + fine[0] - before[0] + off)
    hope = [expected(fine, coarse, doubt.scene, ratio=4, inner=whole(fine)) for k in (0, 1)]
    wanted = KNOWN**2 * np.array([0.01, 0.09]) / np.mean(hope, axis=(0, 2, 3))
    np.testing.assert_allclose(found.factor, wanted, rtol=1e-5)
    np.testing.assert_array_equal(found.spread, 0)


def test_a_known_change_that_is_hardly_seen_tells_nothing(known):
    fine = known[0].copy()
    fine[0, 1, 3:] = np.nan
    doubt, found = held((fine, known[1]), delta)
    assert found.factor[0] != doubt.factor[0]
    assert (found.factor[1], found.spread[1]) == (ALONE, SPREAD)


def test_delta_stands_in_for_a_method_that_needs_two_pairs(known):
    own, instead = held(known, delta)[1], held(known, None)[1]
    np.testing.assert_allclose(instead.factor, STAND_IN * own.factor, rtol=1e-6)


def test_delta_adds_the_coarse_change():
    rng = np.random.default_rng(2)
    fine, coarse = rng.random((1, 2, 12, 12)), rng.random((1, 2, 3, 3))
    moved = np.concatenate([coarse, coarse + 0.25])
    np.testing.assert_allclose(delta(fine, moved), fine[0] + 0.25, rtol=1e-6)


def test_the_middle_is_whole_coarse_pixels():
    fine, coarse = np.zeros((2, 1, 800, 160)), np.zeros((2, 1, 50, 10))
    some, few = middle(fine, coarse, 16)
    assert few.shape == (2, 1, SIDE // 16, 10)
    assert some.shape == (2, 1, SIDE // 16 * 16, 160)


def test_a_margin_ends_at_the_tile():
    area, own = with_margin((slice(2, 9), slice(0, 5)), (10, 30), 4)
    assert area == (slice(0, 10), slice(0, 9))
    assert own == (slice(2, 9), slice(0, 5))
