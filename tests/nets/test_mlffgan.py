from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import mlffgan  # noqa: E402

SIZES = {"bands": 2, "widths": (6, 8, 12)}


def images(*shape, count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def small(dropout=0.0):
    torch.manual_seed(0)
    return mlffgan.build(**SIZES, dropout=dropout)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.head[-1].weight)
    return net.eval()


def test_the_default_takes_sides_that_are_whole_in_16():
    torch.manual_seed(0)
    net = loosened(mlffgan.build(bands=2))
    for shape in ((1, 2, 16, 16), (1, 2, 32, 48)):
        out = net(*images(*shape))
        assert out.shape == shape
        assert torch.isfinite(out).all()


def test_dropout_is_for_training():
    net = loosened(small(dropout=0.5))
    inputs = images(1, 2, 16, 16)
    assert torch.equal(net(*inputs), net(*inputs))
    net.train()
    assert not torch.allclose(net(*inputs), net(*inputs))


def test_has_the_parameters_of_the_authors_code():
    count = sum(p.numel() for p in mlffgan.build(bands=6).parameters())
    assert count == pytest.approx(5.93e6, rel=0.03)
    count = sum(p.numel() for p in mlffgan.build_critic(bands=6).parameters())
    assert count == pytest.approx(2.78e6, rel=0.03)


def test_a_pixel_depends_on_its_whole_tile():
    # A level's means and spreads: the reach is the tile, as the file says.
    net = loosened(small()).double()
    inputs = [each.double().requires_grad_() for each in images(1, 2, 128, 128)]
    net(*inputs)[0, :, 64, 64].sum().backward()
    for k in (0, 2):
        seen = inputs[k].grad[0].abs().sum(0)
        assert (seen[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).all()
        assert seen[64, 64] > 100 * seen[0, 0]
    # The coarse image of the pair's date goes through convolutions alone.
    assert not inputs[1].grad[0, :, 0].any()


def test_restyled_features_have_the_other_images_mean_and_spread():
    own, style = images(2, 3, 16, 12, count=2)
    found = mlffgan.restyle(own, 5 + 3 * style)
    dims = (2, 3)
    torch.testing.assert_close(found.mean(dims), 5 + 3 * style.mean(dims))
    torch.testing.assert_close(found.std(dims), 3 * style.std(dims), rtol=1e-3, atol=0)
    ranks = [each[0, 0].flatten().argsort() for each in (own, found)]
    assert torch.equal(*ranks)


def test_a_selection_is_a_mean_of_both():
    torch.manual_seed(0)
    target, before, fine = images(1, 4, 8, 8)
    fused = mlffgan.Selection(4).eval()(target, before, fine)
    low, high = torch.minimum(target, fine), torch.maximum(target, fine)
    assert ((fused >= low - 1e-6) & (fused <= high + 1e-6)).all()
    share = (fused - fine) / (target - fine)
    clear = (target - fine).abs().min(dim=1).values > 0.05
    # One mask for all channels, different from pixel to pixel.
    assert share.std(dim=1)[clear].max() < 1e-4
    assert share.mean(dim=1)[clear].std() > 1e-3


def test_the_critic_scores_patches():
    torch.manual_seed(0)
    critic = mlffgan.build_critic(bands=2)
    assert critic(*images(2, 2, 64, 64, count=2)).shape == (2, 1, 11, 11)
    scores = critic(*images(1, 2, 16, 24, count=2))
    assert scores.shape == (1, 1, 5, 6)
    assert torch.isfinite(scores).all()
