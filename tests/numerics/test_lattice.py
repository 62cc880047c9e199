"""The lattice of a network's tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstf.numerics.lattice import Lattice
from xstf.weights import running as _networks

LATTICES = st.builds(
    lambda stride, overlap, size: Lattice(stride + overlap, overlap, (size, size)),
    st.integers(1, 20), st.integers(0, 8).map(lambda n: 2 * n), st.integers(1, 120),
)  # fmt: skip


@given(LATTICES)
def test_cores_cover_the_image_once(lattice):
    size = lattice.whole[0]
    cores = [lattice.core(k, 0) for k in range(lattice.count(0))]
    assert [c.start for c in cores[1:]] == [c.stop for c in cores[:-1]]
    assert (cores[0].start, cores[-1].stop) == (0, size)


@given(LATTICES)
def test_a_tile_sees_half_an_overlap_around_its_core(lattice):
    size, half = lattice.whole[0], lattice.overlap // 2
    for k in range(lattice.count(0)):
        core, window = lattice.core(k, 0), lattice.window(k, 0)
        assert window.stop - window.start == min(lattice.side, size)
        assert window.start <= max(core.start - half, 0)
        assert window.stop >= min(core.stop + half, size)


@given(LATTICES, st.booleans(), st.data())
def test_any_part_is_the_same_part_of_the_whole(lattice, blend, data):
    """A run that answers with its tile's mean, which differs from tile to tile."""
    size = lattice.whole[0]
    image = np.random.default_rng(0).random((1, size, size)).astype(np.float32)

    def part(wanted):
        return _networks.over_tiles(
            lattice, wanted, lambda w: [image[(slice(None), *w)]],
            lambda a: np.broadcast_to(a.mean(axis=(2, 3), keepdims=True), a.shape),
            lead=(1,), batch=3, blend=blend,
        )  # fmt: skip

    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    whole = part((slice(0, size), slice(0, size)))
    cut = part((slice(start, stop), slice(0, size)))
    np.testing.assert_allclose(cut, whole[:, start:stop], rtol=1e-5)
    assert np.isfinite(whole).all()


def test_blending_keeps_what_tiles_agree_on():
    lattice = Lattice(16, 6, (41, 41))
    image = np.arange(41 * 41, dtype=np.float32).reshape(1, 41, 41)
    out = _networks.over_tiles(
        lattice, (slice(0, 41), slice(0, 41)), lambda w: [image[(slice(None), *w)]],
        lambda a: a, lead=(1,), batch=4, blend=True,
    )  # fmt: skip
    np.testing.assert_allclose(out, image, rtol=1e-6)


def test_tiles_with_nothing_to_say_are_missing():
    lattice = Lattice(8, 0, (16, 8))
    out = _networks.over_tiles(
        lattice, (slice(0, 16), slice(0, 8)),
        lambda w: None if w[0].start == 0 else [np.ones((1, 8, 8), np.float32)],
        lambda a: a, lead=(1,), batch=1, blend=False,
    )  # fmt: skip
    assert np.isnan(out[:, :8]).all()
    assert (out[:, 8:] == 1).all()


@pytest.mark.parametrize("size", [5, 16, 17])
def test_small_images_are_filled_up_to_whole_multiples(size):
    lattice = Lattice(64, 32, (size, 70), 16)
    assert lattice.extent(0) % 16 == 0
    assert lattice.extent(0) >= size
    assert lattice.count(0) == 1
    assert lattice.count(1) == 2
