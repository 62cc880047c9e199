from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.overrides import TorchFunctionMode  # noqa: E402

from xstf.nets import eststfm  # noqa: E402

SIZES = {"bands": 2, "width": 8, "depths": (1, 1), "heads": 2}


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(3)]


def small(seed=0):
    torch.manual_seed(seed)
    return eststfm.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.last.weight)
    return net.eval()


class Largest(TorchFunctionMode):
    """Note the number of elements of the largest tensor that any function returns."""

    elements = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_any_size_gives_an_image_of_that_size():
    torch.manual_seed(0)
    net = loosened(eststfm.build(**SIZES | {"depths": (1, 1, 1)}))
    for shape in ((1, 2, 20, 20), (2, 2, 12, 28), (1, 2, 4, 4)):
        out = net(*images(*shape))
        assert out.shape == shape
        assert out.isfinite().all()


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
    net, inputs = small(), images(1, 2, 12, 12)
    rows = torch.linspace(0, 3, 12)[:, None]
    target = 0.3 * (torch.sin(rows) * torch.cos(rows.mT)).expand(1, 2, 12, 12)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (net(*inputs) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_state_makes_the_same_network():
    net, other = loosened(small()), small(seed=1).eval()
    inputs = images(1, 2, 12, 20)
    assert not torch.equal(net(*inputs), other(*inputs))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*inputs), other(*inputs))


def test_as_many_parameters_as_the_method_says():
    count = sum(p.numel() for p in eststfm.build(bands=6).parameters())
    # The paper's count is not known.
    assert count == 941_902


def test_coarse_images_count_by_their_change_and_the_last():
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 16, 16)
    assert not torch.equal(net(fine0, coarse0, coarse1), net(fine0, coarse0 + 1, coarse1))
    assert not torch.equal(net(fine0, coarse0, coarse1), net(fine0, coarse0 + 1, coarse1 + 1))


def test_a_pixel_hears_of_all_others_in_its_tile():
    # Attention takes its cosines over the tile: there is no halo short of a tile.
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 48, 48)
    fine0.requires_grad_()
    net(fine0, coarse0, coarse1)[0, :, 24, 24].sum().backward()
    assert fine0.grad.ne(0).all()


def test_memory_is_linear_in_pixels():
    net, largest = loosened(small()), []
    for side in (24, 48):
        with torch.inference_mode(), Largest() as mode:
            net(*images(1, 2, side, side))
        largest.append(mode.elements)
    # Never more than the widest features; attention between pixels would be 16 times as large.
    assert largest[0] == SIZES["width"] * 24**2
    assert largest[1] == 4 * largest[0]


def test_a_channel_attends_to_as_many_as_its_shares_keep():
    torch.manual_seed(0)
    module = eststfm.Sparse(24, 2)
    scores = torch.randn(1, 2, 12, 12)
    for share, expected in zip(range(4), (6, 8, 9, 10), strict=True):
        with torch.no_grad():
            # All of the weight on one branch
            module.shares.fill_(-1e9)[share] = 0
            weights = module._masked(scores)
        assert (weights > 0).sum(-1).eq(expected).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 12))
        smallest = scores.masked_fill(weights == 0, torch.inf).amin(-1)
        assert (smallest > scores.masked_fill(weights > 0, -torch.inf).amax(-1)).all()


def test_attention_from_products_is_attention_from_images():
    torch.manual_seed(0)
    asked, found = images(1, 8, 12, 12)[:2]
    module = eststfm.Sparse(8, 2)
    with torch.no_grad():
        query, key, value = (
            (w @ a.flatten(2)[0]).view(2, 4, 144)
            for w, a in ((module.query, asked), (module.key, found), (module.value, found))
        )
        cosines = torch.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
        expected = module.out @ (module._masked(cosines) @ value).view(8, 144)
        torch.testing.assert_close(module(asked, found).flatten(2)[0], expected)


def test_sizes_that_make_no_pyramid_are_refused():
    with pytest.raises(ValueError, match=r"two levels or more, not \(2,\)"):
        eststfm.build(bands=2, depths=(2,))
    with pytest.raises(ValueError, match=r"width 9 must be whole in heads \(2\)"):
        eststfm.build(bands=2, width=9)
