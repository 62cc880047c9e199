from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import stf3dcnn  # noqa: E402

SIZES = {"bands": 2, "width": 8, "depth": 3}


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


def two_pairs(n=2, y=16, x=24):
    fine, coarse = (a.reshape(n, 2, 2, y, x) for a in images(2 * n, 2, y, x, count=2))
    return fine, coarse, images(n, 2, y, x, count=1, seed=1)[0]


def small(**sizes):
    torch.manual_seed(0)
    return stf3dcnn.build(**SIZES | sizes)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.layers[-1].weight.data[:, :, 1])
    return net.eval()


def joined(net):
    """Let the dates of a series see each other."""
    for layer in net.layers[::2]:
        torch.nn.init.normal_(layer.weight)
    return net.eval()


def test_an_untrained_network_changes_no_blend_of_two_pairs():
    assert not small().several(*two_pairs())[0].any()


def test_no_coarse_change_leaves_what_a_network_without_inputs_gives():
    """All that is looked at is the change of the coarse images."""
    net = joined(small())
    fine0, coarse0, coarse1 = images(1, 2, 16, 16)
    still = net(fine0, coarse0, coarse0)
    torch.testing.assert_close(net(fine0, coarse1, coarse1), still)
    change = net(fine0, coarse0, coarse1)
    shifted = net(coarse0, coarse0 + 1, coarse1 + 1)
    torch.testing.assert_close(shifted, change, rtol=1e-4, atol=1e-4 * change.abs().max().item())
    assert (change - still).abs().max() > 0.01


@pytest.mark.parametrize("pairs", [1, 2])
def test_neighbours_are_learned_from_where_there_are_some(pairs):
    net = small()
    fine, coarse, coarse1 = two_pairs()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (net.several(fine[:, :pairs], coarse[:, :pairs], coarse1)[0] - 1).square().mean().backward()
        optimiser.step()
    for layer in net.layers[::2]:
        assert layer.bias.grad.any()
        assert layer.weight.grad[:, :, 1].any()
        # A series of length 1 has no neighbours to learn from.
        assert layer.weight.grad[:, :, 0].any() == (pairs == 2)


def test_overfits_one_batch_of_two_pairs():
    net = small()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    coarse0, coarse1, other = waves(2, 24, 24)
    coarse = torch.stack((coarse0, other), dim=1)
    # A change that the coarse images show too weakly and smoothly.
    target = 0.5 * (coarse1 - coarse0) + (3 * (coarse1 - coarse0)).sin() * 0.2
    losses = []
    for _ in range(120):
        loss = (net.several(coarse, coarse, coarse1)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_two_pairs_work_in_half_precision():
    net = joined(small())
    inputs = two_pairs()
    expected, expected_share = net.several(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        change, share = net.several(*inputs)
    assert (change.float() - expected).abs().max() < 0.03 * expected.abs().max()
    torch.testing.assert_close(share.float(), expected_share, rtol=0.02, atol=0)


def test_has_the_parameters_that_its_file_says():
    """The source's number is not known: two kernels of side 3 for each pair of channels."""
    net = stf3dcnn.build(bands=6)
    counted = 18 * (6 * 32 + 2 * 32 * 32 + 32 * 6) + 3 * 32 + 6
    assert sum(p.numel() for p in net.parameters()) == counted == 43_878


def test_is_a_three_dimensional_convolution():
    """Each date sees itself and its neighbours, those before as those after."""
    layer = joined(small()).layers[0]
    series = torch.rand(1, 5, 2, 7, 6, generator=torch.Generator().manual_seed(0))
    kernel = layer.weight[:, :, [0, 1, 0]]
    # (n, step, c, y, x) -> (n, c, step, y, x); dates that are not there are zero.
    padded = torch.nn.functional.pad(series.transpose(1, 2), (1, 1, 1, 1, 0, 0), mode="replicate")
    expected = torch.nn.functional.conv3d(padded, kernel, layer.bias, padding=(1, 0, 0))
    torch.testing.assert_close(layer(series), expected.transpose(1, 2), rtol=1e-4, atol=1e-5)


def distances(net, inputs, out):
    """Return how far from the centre the centre of ``out`` depends on each input."""
    middle = out.shape[-1] // 2
    out[..., middle, middle].sum().backward()
    far = (torch.arange(out.shape[-1]) - middle).abs()
    distance = torch.maximum(far[:, None], far)
    return [
        distance[each.grad.flatten(0, -3).abs().sum(0) > 0].max().item() if each.grad.any() else -1
        for each in inputs
    ]


def test_a_pixel_depends_on_its_reach_and_no_further():
    net = joined(small(depth=4)).double()
    inputs = [each.double().requires_grad_() for each in images(1, 2, 31, 31)]
    # Asked for a zero gradient too, as one pair does not look at its fine image.
    out = net(*inputs) + 0 * inputs[0]
    assert distances(net, inputs, out) == [-1, 4, 4]
    inputs = [each.double().requires_grad_() for each in two_pairs(1, 31, 31)]
    change, _ = net.several(*inputs)
    assert distances(net, inputs, change + 0 * inputs[0].sum(1)) == [-1, *2 * [stf3dcnn.REACH]]


def test_what_has_learnt_from_single_pairs_takes_two_as_two_single_ones():
    net = loosened(small())
    fine, coarse, coarse1 = two_pairs()
    change, share = net.several(fine, coarse, coarse1)
    each = torch.stack([net(fine[:, i], coarse[:, i], coarse1) for i in (0, 1)], dim=1)
    torch.testing.assert_close(change, (share * each).sum(1), rtol=1e-4, atol=1e-5)
    mixed = joined(net).several(fine, coarse, coarse1)[0]
    each = torch.stack([net(fine[:, i], coarse[:, i], coarse1) for i in (0, 1)], dim=1)
    assert (mixed - (share * each).sum(1)).abs().max() > 0.01


def test_the_pair_that_changes_less_has_the_larger_share():
    net = small()
    fine, coarse, coarse1 = two_pairs()
    coarse[:, 0], coarse[:, 1] = coarse1 - 0.09, coarse1 + 0.29
    _, share = net.several(fine, coarse, coarse1)
    torch.testing.assert_close(share[:, 0], torch.full_like(share[:, 0], 0.75))
    coarse[:, 0] = coarse1
    assert (net.several(fine, coarse, coarse1)[1][:, 0] > 0.96).all()
    coarse[:, 1] = coarse1
    none = net.several(fine, coarse, coarse1)[1]
    torch.testing.assert_close(none, torch.full_like(none, 0.5))


def test_a_change_that_passes_through_zero_does_not_turn_the_shares_over():
    fine, coarse, coarse1 = two_pairs(1, 64, 64)
    ramp = torch.linspace(-0.5, 0.5, 64)
    coarse[:, 0], coarse[:, 1] = coarse1 - ramp, coarse1 - 0.05
    _, share = small().several(fine, coarse, coarse1)
    assert (share[:, 1] > 0.5).all()
