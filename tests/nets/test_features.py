from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import features  # noqa: E402

SIZES = {"bands": 2, "widths": (8, 12, 16, 16)}


def smooth(n, y, x):
    """Images with waves of several lengths, different in each band."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.linspace(0, 12, y)[:, None], torch.linspace(0, 9, x)
    phase = 6 * torch.rand((n, 2, 2, 1, 1), generator=generator)
    return 0.5 + 0.2 * (torch.sin(rows + phase[:, 0]) + torch.cos(2 * columns + phase[:, 1]))


def small(seed=0):
    torch.manual_seed(seed)
    return features.build(**SIZES)


def test_any_size_comes_back_and_features_are_half_of_it():
    net = small()
    for y, x in ((16, 16), (8, 30), (17, 5)):
        image = torch.rand(1, 2, y, x)
        assert net(image).shape == image.shape
        assert net.encode(image).shape == (1, 16, -(-y // 2), -(-x // 2))


def test_backward_reaches_every_parameter_and_the_image():
    net, image = small(), torch.rand(1, 2, 16, 16, requires_grad=True)
    (net(image) - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    frozen = small().requires_grad_(False)
    image.grad = None
    frozen.encode(image).square().mean().backward()
    assert image.grad.any()


def test_overfits_one_batch():
    net, image = small(), smooth(2, 24, 32)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (net(image) - image).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_the_state_makes_another_network_the_same():
    net, other, image = small(0), small(1), smooth(1, 16, 16)
    assert not torch.equal(net(image), other(image))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(image), other(image))


def test_the_encoder_is_as_large_as_the_authors():
    net = features.build(bands=6)
    assert sum(p.numel() for p in net.encoder.parameters()) == 241_696
    assert sum(p.numel() for p in net.parameters()) < 1.03 * 241_696


def test_a_feature_depends_on_few_pixels_around_it():
    net = small().double()
    image = torch.rand(1, 2, 41, 41, dtype=torch.float64, requires_grad=True)
    net.encode(image)[0, :, 10, 10].sum().backward()
    far = (torch.arange(41) - 20).abs()
    seen = image.grad[0].abs().sum(0) > 0
    # Three convolutions at full resolution and one at half of it: 3 + 2.
    assert torch.maximum(far[:, None], far)[seen].max() <= 5
