from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import edcstfn  # noqa: E402

SIZES = {"bands": 2, "widths": (8, 12, 16)}


def images(*shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def small():
    torch.manual_seed(0)
    return edcstfn.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.decoder[-1].weight)
    return net.eval()


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


def two_pairs(n=2, y=16, x=24):
    fine, coarse = (a.reshape(n, 2, 2, y, x) for a in images(2 * n, 2, y, x, count=2))
    return fine, coarse, images(n, 2, y, x, count=1, seed=1)[0]


def test_a_pair_twice_is_that_pair():
    net = loosened(small())
    fine, coarse, coarse1 = two_pairs()
    alone = net(fine[:, 0], coarse[:, 0], coarse1)
    twice = (a[:, :1].expand(-1, 2, -1, -1, -1) for a in (fine, coarse))
    change, share = net.several(*twice, coarse1)
    torch.testing.assert_close(change, alone)
    torch.testing.assert_close(share, torch.full_like(share, 0.5))


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
