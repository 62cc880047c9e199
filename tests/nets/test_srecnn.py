from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import srecnn  # noqa: E402

SIZES = {"bands": 5, "guide_bands": 3, "widths": (8, 12)}


def image(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small(seed=0):
    torch.manual_seed(seed)
    return srecnn.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.rest[-1].weight)
    return net.eval()


def test_any_size_gives_the_bands_on_that_size():
    net = loosened(small())
    for n, y, x in ((1, 17, 17), (2, 9, 30), (1, 1, 5)):
        assert net(image(n, 3, y, x)).shape == (n, 5, y, x)


def test_an_untrained_network_is_a_linear_map():
    net = small()
    matrix, offset = image(5, 3, seed=1), image(5, seed=2)
    net.linear.weight.data, net.linear.bias.data = matrix[:, :, None, None], offset
    guide = image(2, 3, 8, 9)
    expected = torch.einsum("bg,ngyx->nbyx", matrix, guide) + offset[:, None, None]
    torch.testing.assert_close(net(guide), expected)
    assert (loosened(net)(guide) - expected).abs().max() > 0.01


def test_backward_reaches_every_parameter():
    net = small()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (net(image(2, 3, 16, 16)) - 1).square().mean().backward()
        optimiser.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_learns_what_no_linear_map_gives():
    net = small()
    guide = image(2, 3, 24, 24)
    target = (guide[:, :1] - guide[:, 1:2]).abs().expand(2, 5, 24, 24)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(500):
        loss = (net(guide) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # (n, band, y, x) -> (pixel, band): the best linear map of the pixels.
    known = torch.cat((guide, torch.ones(2, 1, 24, 24)), dim=1).movedim(1, -1).reshape(-1, 4)
    wanted = target.movedim(1, -1).reshape(-1, 5)
    best = (known @ torch.linalg.lstsq(known, wanted).solution - wanted).square().mean()
    assert loss.item() < best.item() / 5


def test_the_state_makes_another_network_the_same():
    net, other = loosened(small(0)), small(1).eval()
    guide = image(1, 3, 16, 16)
    assert not torch.equal(net(guide), other(guide))
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(guide), other(guide), rtol=0, atol=0)


def test_works_in_half_precision():
    net = loosened(small())
    guide = image(2, 3, 16, 16)
    expected = net(guide)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(guide)
    torch.testing.assert_close(
        out.float(), expected, rtol=0, atol=0.02 * expected.abs().max().item()
    )


def test_has_three_layers_and_a_linear_path():
    net = srecnn.build(bands=100, guide_bands=4)
    layers = (9 * 4 + 1) * 64 + (64 + 1) * 128 + (128 + 1) * 100
    assert sum(p.numel() for p in net.parameters()) == layers + (4 + 1) * 100 == 24_088


def test_a_pixel_depends_on_its_reach_and_no_further():
    net = loosened(small()).double()
    guide = image(1, 3, 15, 15).double().requires_grad_()
    net(guide)[0, :, 7, 7].sum().backward()
    far = (torch.arange(15) - 7).abs()
    seen = guide.grad[0].abs().sum(0) > 0
    assert torch.maximum(far[:, None], far)[seen].max() == srecnn.REACH


def test_memory_is_linear_in_pixels():
    net = small().eval()
    most = []
    for module in net.modules():
        module.register_forward_hook(lambda _m, _i, out: most.append(max(out.numel(), most.pop())))
    peaks = []
    for side in (16, 64):
        most[:] = [0]
        net(image(1, 3, side, side))
        peaks += most
    assert peaks[1] == 16 * peaks[0]
