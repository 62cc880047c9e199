from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import edcstfn  # noqa: E402

SIZES = {"bands": 2, "widths": (8, 12, 16)}


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


def small(seed=0):
    torch.manual_seed(seed)
    return edcstfn.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.decoder[-1].weight)
    return net.eval()


def test_any_size_gives_an_image_of_that_size():
    net = loosened(small())
    for shape in ((1, 2, 17, 17), (2, 2, 9, 30), (1, 2, 1, 5)):
        assert net(*images(*shape)).shape == shape


def test_an_untrained_network_changes_nothing():
    assert not small()(*images(1, 2, 16, 16)).any()


def test_backward_reaches_every_parameter():
    net = small()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (net(*images(2, 2, 16, 16)) - 1).square().mean().backward()
        optimiser.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_overfits_one_batch():
    net = small()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    inputs = waves(2, 24, 24)
    ramp = torch.linspace(0, 3, 24)
    target = 0.2 * torch.sin(ramp[:, None] + ramp).expand(2, 2, 24, 24)
    losses = []
    for _ in range(140):
        loss = (net(*inputs) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_the_state_makes_another_network_the_same():
    net, other = loosened(small(0)), small(1).eval()
    inputs = images(1, 2, 16, 16)
    assert not torch.equal(net(*inputs), other(*inputs))
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(*inputs), other(*inputs), rtol=0, atol=0)


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
    net = edcstfn.build(bands=6)
    assert sum(p.numel() for p in net.parameters()) == 284_134


def test_a_pixel_depends_on_its_reach_and_no_further():
    net = loosened(small()).double()
    inputs = [each.double().requires_grad_() for each in images(1, 2, 31, 31)]
    net(*inputs)[0, :, 15, 15].sum().backward()
    far = (torch.arange(31) - 15).abs()
    distance = torch.maximum(far[:, None], far)
    for each in inputs:
        seen = each.grad[0].abs().sum(0) > 0
        assert distance[seen].max() == edcstfn.REACH


def test_memory_is_linear_in_pixels():
    net = small().eval()
    most = []
    for module in net.modules():
        module.register_forward_hook(lambda _m, _i, out: most.append(max(out.numel(), most.pop())))
    peaks = []
    for side in (16, 64):
        most[:] = [0]
        net(*images(1, 2, side, side))
        peaks += most
    assert peaks[1] == 16 * peaks[0]


def two_pairs(n=2, y=16, x=24):
    fine, coarse = (a.reshape(n, 2, 2, y, x) for a in images(2 * n, 2, y, x, count=2))
    return fine, coarse, images(n, 2, y, x, count=1, seed=1)[0]


def test_two_pairs_share_every_pixel():
    change, share = loosened(small()).several(*two_pairs())
    assert change.shape == (2, 2, 16, 24)
    assert share.shape == (2, 2, 1, 16, 24)
    assert (share > 0).all()
    torch.testing.assert_close(share.sum(1), torch.ones(2, 1, 16, 24))
    assert share.std() > 0.01


def test_a_pair_alone_or_twice_is_the_same():
    net = loosened(small())
    fine, coarse, coarse1 = two_pairs()
    alone = net(fine[:, 0], coarse[:, 0], coarse1)
    change, share = net.several(fine[:, :1], coarse[:, :1], coarse1)
    torch.testing.assert_close(change, alone)
    torch.testing.assert_close(share, torch.ones_like(share))
    twice = (a[:, :1].expand(-1, 2, -1, -1, -1) for a in (fine, coarse))
    change, share = net.several(*twice, coarse1)
    torch.testing.assert_close(change, alone)
    torch.testing.assert_close(share, torch.full_like(share, 0.5))


def test_the_order_of_the_pairs_does_not_matter():
    net = loosened(small())
    fine, coarse, coarse1 = two_pairs()
    change, share = net.several(fine, coarse, coarse1)
    turned, turned_share = net.several(fine.flip(1), coarse.flip(1), coarse1)
    torch.testing.assert_close(turned, change)
    torch.testing.assert_close(turned_share.flip(1), share)


def test_the_pair_that_changes_less_has_the_larger_share():
    net = loosened(small())
    last = net.residual[-1]
    # Features of the change that are the coarse images' distance, in all channels.
    net.residual = torch.nn.Sequential(torch.nn.Conv2d(6, last.out_channels, 1, bias=False))
    weight = torch.zeros(last.out_channels, 6, 1, 1)
    weight[:, 0], weight[:, 4] = -1, 1
    net.residual[0].weight.data = weight
    fine, coarse, coarse1 = two_pairs()
    coarse[:, 0], coarse[:, 1] = coarse1 - 0.1, coarse1 - 0.3
    _, share = net.several(fine, coarse, coarse1)
    torch.testing.assert_close(share[:, 0], torch.full_like(share[:, 0], 0.75), rtol=1e-3, atol=0)
    coarse[:, 0] = coarse1
    assert (net.several(fine, coarse, coarse1)[1][:, 0] > 0.999).all()
    coarse[:, 1] = coarse1
    none = net.several(fine, coarse, coarse1)[1]
    torch.testing.assert_close(none, torch.full_like(none, 0.5))


def test_two_pairs_can_be_trained_on():
    net = loosened(small()).train()
    net.several(*two_pairs())[0].square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in net.parameters())
