from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import ganstfm  # noqa: E402
from xstf.nets.blocks import BatchNorm  # noqa: E402

SIZES = {"bands": 2, "widths": (6, 8, 12)}


def images(*shape, count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def small():
    torch.manual_seed(0)
    return ganstfm.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.head.weight)
    return net.eval()


def test_has_the_parameters_of_the_authors_code():
    count = sum(p.numel() for p in ganstfm.build(bands=6).parameters())
    assert count == pytest.approx(0.578e6, rel=0.03)
    count = sum(p.numel() for p in ganstfm.build_critic(bands=6).parameters())
    assert count == pytest.approx(3.67e6, rel=0.03)


def test_a_pixel_depends_on_its_whole_tile():
    # The statistics of a channel and of the image: the reach is the tile, as the file says.
    net = loosened(small()).double()
    inputs = [each.double().requires_grad_() for each in images(1, 2, 33, 33)]
    net(*inputs)[0, :, 16, 16].sum().backward()
    fine = inputs[0].grad[0].abs().sum(0)
    assert (fine[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).all()
    assert fine[16, 16] > 100 * fine[0, 0]


@pytest.mark.parametrize("chosen", range(3))
def test_switchable_normalisation_has_known_ends(chosen):
    norm = ganstfm.SwitchNorm(4)
    with torch.no_grad():
        for mixture in (norm.mean_mixture, norm.variance_mixture):
            mixture[chosen] = 50.0
    image = 3 + 2 * torch.randn((3, 4, 20, 20), generator=torch.Generator().manual_seed(0))
    image *= torch.arange(1.0, 5)[:, None, None] * torch.arange(1.0, 4)[:, None, None, None]
    expected = [
        torch.nn.functional.instance_norm(image),
        torch.nn.functional.layer_norm(image, image.shape[1:]),
        torch.nn.functional.batch_norm(image, None, None, training=True),
    ][chosen]
    torch.testing.assert_close(norm(image), expected, rtol=1e-3, atol=1e-4)


def test_the_batch_has_running_statistics_at_inference():
    norm = ganstfm.SwitchNorm(3)
    with torch.no_grad():
        for mixture in (norm.mean_mixture, norm.variance_mixture):
            mixture[2] = 50.0
    image = 5 + 2 * torch.randn((4, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        trained = norm(image)
    norm.eval()
    torch.testing.assert_close(norm(image), trained, rtol=1e-2, atol=1e-2)
    # One image's own statistics no longer matter.
    torch.testing.assert_close(norm(image[:1] + 10), norm(image[:1]) + 5, rtol=0.02, atol=0.1)


def test_the_critic_scores_patches_at_every_scale():
    torch.manual_seed(0)
    critic = ganstfm.build_critic(bands=2, widths=((6, 8), (8,)))
    assert critic(*images(2, 2, 16, 16, count=2)).shape == (2, 4 * 4 + 4 * 4)
    assert critic(*images(1, 2, 9, 22, count=2)).shape == (1, 3 * 6 + 2 * 6)
    full = ganstfm.build_critic(bands=2)
    # One patch, seen as one pixel in the last blocks: nothing to take a variance of.
    assert torch.isfinite(full(*images(1, 2, 48, 48, count=2))).all()


def test_one_value_is_normalised_by_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean += 1
    one = torch.full((1, 3, 1, 1), 2.0)
    torch.testing.assert_close(norm(one), torch.ones(1, 3, 1, 1))
    many = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(norm(many).mean(), torch.tensor(0.0))
