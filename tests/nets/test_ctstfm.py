from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.overrides import TorchFunctionMode  # noqa: E402

from xstf.nets import ctstfm  # noqa: E402

SIZES = {"bands": 2, "width": 8, "encoders": 1, "fusions": 1, "heads": 2}


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(3)]


def small(seed=0):
    torch.manual_seed(seed)
    return ctstfm.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.decoder[-1].weight)
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
    net = loosened(small())
    for shape in ((1, 2, 17, 17), (2, 2, 9, 30), (1, 2, 1, 5)):
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


def test_as_many_parameters_as_in_the_paper():
    count = sum(p.numel() for p in ctstfm.build(bands=6).parameters())
    assert count == 712_554
    assert count == pytest.approx(701_000, rel=0.03)


def test_the_coarse_image_of_the_first_date_is_not_looked_at():
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 16, 16)
    assert torch.equal(net(fine0, coarse0, coarse1), net(fine0, coarse0 + 1, coarse1))
    assert not torch.equal(net(fine0, coarse0, coarse1), net(fine0, coarse0, 1 - coarse1))


def test_a_pixel_hears_of_all_others_in_its_tile():
    # Means over the tile, in norms, weights and attention: there is no halo short of a tile.
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
    # Never more than both streams at once; attention between pixels would be 16 times as large.
    assert largest[0] == 2 * SIZES["width"] * 24**2
    assert largest[1] == 4 * largest[0]


def test_weights_of_pixels_are_1_on_average_at_any_size():
    torch.manual_seed(0)
    module = ctstfm.PixelWeights(8)
    for side in (16, 40):
        weights = module(torch.ones(1, 8, side, side))
        torch.testing.assert_close(weights.mean((2, 3)), torch.ones(1, 8))
        assert weights.std() > 0.01


def test_one_kernel_is_the_sum_of_three():
    torch.manual_seed(0)
    module, image = ctstfm.PixelWeights(8).eval(), images(1, 8, 20, 20)[0]
    whole = torch.conv2d(image, module.kernel(), module.kernels[0].bias, padding=3, groups=8)
    torch.testing.assert_close(whole, sum(kernel(image) for kernel in module.kernels))


def test_attention_from_products_is_attention_from_images():
    torch.manual_seed(0)
    asked, found = (a.flatten(2) for a in images(1, 8, 12, 12)[:2])  # (n, c, p)
    scores, projection = ctstfm.Scores(8, 2), ctstfm.Projection(8)
    with torch.no_grad():
        products = [a @ b.mT / 144 for a, b in ((asked, asked), (found, found), (asked, found))]
        weights = scores(*products)
        got = projection(weights) @ found
        query, key, value = (
            (w @ a).view(2, 4, 144)
            for w, a in ((scores.query, asked), (scores.key, found), (projection.value, found))
        )
        cosines = torch.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
        expected = projection.out @ (cosines.softmax(-1) @ value).view(8, 144)
    torch.testing.assert_close(got[0], expected)


def test_widths_that_heads_cannot_share_are_refused():
    with pytest.raises(ValueError, match=r"width 12 must be whole in heads \(8\)"):
        ctstfm.build(bands=2, width=12, heads=8)
