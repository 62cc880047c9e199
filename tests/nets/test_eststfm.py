from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import eststfm  # noqa: E402

SIZES = {"bands": 2, "width": 8, "depths": (1, 1), "heads": 2}


def images(*shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for _ in range(3)]


def small():
    torch.manual_seed(0)
    return eststfm.build(**SIZES)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.last.weight)
    return net.eval()


def test_as_many_parameters_as_the_method_says():
    count = sum(p.numel() for p in eststfm.build(bands=6).parameters())
    # The paper's count is not known.
    assert count == 941_902


def test_coarse_images_count_not_by_their_change_alone():
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 16, 16)
    assert not torch.equal(net(fine0, coarse0, coarse1), net(fine0, coarse0 + 1, coarse1 + 1))


def test_a_pixel_hears_of_all_others_in_its_tile():
    # Attention takes its cosines over the tile: there is no halo short of a tile.
    net = loosened(small())
    fine0, coarse0, coarse1 = images(1, 2, 48, 48)
    fine0.requires_grad_()
    net(fine0, coarse0, coarse1)[0, :, 24, 24].sum().backward()
    assert fine0.grad.ne(0).all()


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
