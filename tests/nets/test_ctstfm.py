from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import ctstfm  # noqa: E402

SIZES = {"bands": 2, "width": 8, "encoders": 1, "fusions": 1, "heads": 2}


def images(*shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for _ in range(3)]


def small():
    torch.manual_seed(0)
    return ctstfm.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.decoder[-1].weight)
    return net.eval()


def test_as_many_parameters_as_in_the_paper():
    count = sum(p.numel() for p in ctstfm.build(bands=6).parameters())
    assert count == 712_554
    assert count == pytest.approx(701_000, rel=0.03)


def test_a_pixel_hears_of_all_others_in_its_tile():
    # Means over the tile, in norms, weights and attention: there is no halo short of a tile.
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 48, 48)
    fine0.requires_grad_()
    net(fine0, coarse0, coarse1)[0, :, 24, 24].sum().backward()
    assert fine0.grad.ne(0).all()


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
