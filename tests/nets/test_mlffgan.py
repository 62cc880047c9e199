from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import mlffgan  # noqa: E402

# Three levels halve the sides twice: sides are whole in 4.
SIZES = {"bands": 2, "widths": (6, 8, 12)}
CRITIC = {"bands": 2, "widths": (8, 12, 16)}


def images(*shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def waves(n, y, x):
    """Return three smooth images, different in each band and to each other."""
    generator = torch.Generator().manual_seed(0)
    phase = 6 * torch.rand((3, n, 2, 2, 1, 1), generator=generator)
    rows, columns = torch.linspace(0, 5, y)[:, None], torch.linspace(0, 4, x)
    both = torch.sin(rows + phase[:, :, :, 0]) * torch.cos(columns + phase[:, :, :, 1])
    return [*(0.5 + 0.4 * both)]


def small(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return mlffgan.build(**SIZES, dropout=dropout)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.head[-1].weight)
    return net.eval()


def test_any_whole_size_gives_an_image_of_that_size():
    net = loosened(small())
    for training in (False, True):
        net.train(training)
        for shape in ((1, 2, 20, 20), (2, 2, 8, 36), (1, 2, 4, 4), (1, 2, 4, 8)):
            out = net(*images(*shape))
            assert out.shape == shape
            assert torch.isfinite(out).all()


def test_the_default_takes_sides_that_are_whole_in_16():
    torch.manual_seed(0)
    net = loosened(mlffgan.build(bands=2))
    for shape in ((1, 2, 16, 16), (1, 2, 32, 48)):
        out = net(*images(*shape))
        assert out.shape == shape
        assert torch.isfinite(out).all()


def test_an_untrained_network_changes_nothing():
    assert not small()(*images(1, 2, 16, 16)).any()


def test_every_image_counts():
    net = loosened(small())
    inputs = images(1, 2, 16, 16)
    out = net(*inputs)
    for k in range(3):
        other = [each**2 if i == k else each for i, each in enumerate(inputs)]
        assert not torch.allclose(net(*other), out)


def test_backward_reaches_every_parameter():
    net = small()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (net(*images(2, 2, 24, 24)) - 1).square().mean().backward()
        optimiser.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_overfits_one_batch():
    net = small()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    inputs = waves(2, 24, 24)
    ramp = torch.linspace(0, 3, 24)
    target = 0.2 * torch.sin(ramp[:, None] + ramp).expand(2, 2, 24, 24)
    losses = []
    for _ in range(80):
        loss = (net(*inputs) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_dropout_is_for_training():
    net = loosened(small(dropout=0.5))
    inputs = images(1, 2, 16, 16)
    assert torch.equal(net(*inputs), net(*inputs))
    net.train()
    assert not torch.allclose(net(*inputs), net(*inputs))


def test_the_state_makes_another_network_the_same():
    net, other = loosened(small(0)), small(1).eval()
    inputs = images(1, 2, 16, 16)
    net.train()(*inputs)  # The running statistics are part of the state.
    net.eval()
    assert not torch.equal(net(*inputs), other(*inputs))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*inputs), other(*inputs))


def test_works_in_half_precision():
    net = loosened(small())
    inputs = images(2, 2, 16, 16)
    expected = net(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(*inputs)
        net.train()(*inputs).sum().backward()
    torch.testing.assert_close(
        out.float(), expected, rtol=0, atol=0.02 * expected.abs().max().item()
    )
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(t.dtype != torch.bfloat16 for t in net.state_dict().values())


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


def test_memory_is_linear_in_pixels():
    net, sizes = small().eval(), []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(out.numel()))
    peaks = []
    for side in (16, 64):
        sizes.clear()
        net(*images(1, 2, side, side))
        # A frame of one pixel makes the small image's share of it larger.
        peaks.append(max(sizes))
    assert 12 * peaks[0] < peaks[1] <= 16 * peaks[0]


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


def test_backward_reaches_all_of_the_critic_and_the_image():
    torch.manual_seed(0)
    critic = mlffgan.build_critic(**CRITIC)
    image, coarse = images(2, 2, 32, 32, count=2)
    image.requires_grad_()
    (critic(image, coarse) - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert image.grad.any()


def test_the_critic_learns_to_tell_blurred_images():
    torch.manual_seed(0)
    critic = mlffgan.build_critic(**CRITIC)
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    image, coarse = images(4, 2, 32, 32, count=2)
    blurred = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    losses = []
    for _ in range(60):
        real, fake = critic(image, coarse), critic(blurred, coarse)
        loss = (real - 1).square().mean() + fake.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
