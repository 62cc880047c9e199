"""Video vision transformers: any window, nothing of what is missing, and it learns."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from xstf.nets._tubelets import around, calendar, gaps  # noqa: E402
from xstf.nets.vivit import build  # noqa: E402

FOUR = [
    {"embedding": "per_date"},
    {"embedding": "per_date", "guide_bands": 2},
    {"embedding": "tubelet"},
    {"embedding": "tubelet", "guide_bands": 2},
]
FUSIONS = [
    {"guide_bands": 2, "fusion": fusion, "attention": attention}
    for fusion, attention in itertools.product(
        ("early", "concat", "cross"), ("joint", "factorised")
    )
]


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def window(n=2, time=6, bands=2, y=20, x=30, guide=0, by_band=True):
    """Return the arguments of a forward pass; 0 where missing."""
    valid = torch.rand(n, time, bands if by_band else 1, y, x) > 0.4
    given = {
        "cube": torch.randn(n, time, bands, y, x) * valid,
        "valid": valid,
        "prior": torch.randn(n, time, bands, y, x),
        "days": 20000 + torch.tensor([0.0, 10, 25, 31, 50, 80])[:time].expand(n, -1),
    }
    if guide:
        seen = torch.rand(n, time, 1, y, x) > 0.3
        given |= {"guide": torch.randn(n, time, guide, y, x) * seen, "guide_valid": seen}
    return given


def lively(**sizes):
    """Return a network, not in training, that has weights where an untrained one has zeros."""
    net = build(bands=2, **sizes)
    for parameter in (*net.head.decode.parameters(), *net.head.share.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, std=0.05)
    return net.eval()


def count(net):
    return sum(p.numel() for p in net.parameters())


# ------------------------------------------------------------------ shapes


@pytest.mark.parametrize("time", [1, 5, 6])
@pytest.mark.parametrize("span", [1, 2, 3])
def test_any_number_of_dates_comes_back_with_any_patch(time, span):
    given = window(1, time, y=16, x=24)
    assert build(bands=2, span=span, patch=8)(**given).shape == given["cube"].shape


@pytest.mark.parametrize("sizes", FOUR + FUSIONS)
def test_sides_may_differ_and_change_with_the_same_weights(sizes):
    net = lively(**sizes)
    for y, x in ((20, 35), (5, 5), (60, 60), (70, 65)):
        given = window(1, 3, y=y, x=x, guide=sizes.get("guide_bands", 0))
        found = net(**given)
        assert found.shape == given["cube"].shape
        assert found.isfinite().all()
        assert found.abs().min() < found.abs().max()


def test_each_tubelet_comes_back_where_it_was():
    """Without attention and perceptron, a pixel's change hangs on its own tubelet."""
    net = lively(span=2)
    net.blocks = torch.nn.ModuleList()
    for parameter in net.head.share.parameters():  # of what is missed all around
        torch.nn.init.zeros_(parameter)
    given = window(1, y=20, x=20, by_band=False)
    given["valid"][:] = True
    before = net(**given)
    given["cube"][0, 3, :, 7, 16] += 1
    moved = (net(**given) != before).any(dim=2)[0]  # (time, y, x)
    assert moved[2:4, 5:10, 15:20].all()
    moved[2:4, 5:10, 15:20] = False
    assert not moved.any()


def test_blocks_over_time_keep_to_their_place():
    net = lively(attention="factorised")
    net.blocks = net.blocks[2:]
    given = window(1, y=20, x=15)
    before = net(**given)
    given["prior"][0, 3, :, 7, 11] += 1
    moved = (net(**given) - before).abs().amax(dim=2)[0] > 1e-5  # (time, y, x)
    assert moved[:, 5:10, 10:15].all()
    moved[:, 5:10, 10:15] = False
    assert not moved.any()


def test_every_pixel_reaches_every_other_so_the_reach_is_the_tile():
    for attention in ("joint", "factorised"):
        net = lively(attention=attention)
        given = window(1, y=40, x=40)
        given["prior"].requires_grad_()
        net(**given)[0, 0, 0, 20, 20].backward()
        assert (given["prior"].grad != 0).float().mean() > 0.99


# --- what is promised and what is not ------------------------------------------------------------


@pytest.mark.parametrize("sizes", FOUR + FUSIONS)
def test_an_untrained_network_changes_nothing(sizes):
    net = build(bands=2, **sizes)
    assert not net(**window(guide=sizes.get("guide_bands", 0))).any()


def test_what_is_missed_around_is_the_mean_of_what_is_seen():
    """Gaussian weights; the widest mean is that of the tile, drawn to 0 where little is seen."""
    missed, seen = 0.1 * torch.randn(1, 2, 3, 10, 15), (torch.rand(1, 2, 3, 10, 15) > 0.5).float()
    seen[0, 1, 2] = 0
    found = around(missed * seen, seen)
    assert found.shape == (1, 2, 3, 3, 10, 15)
    assert (found[0, 1, :, 2] == 0).all()
    held = 2 * torch.tanh(missed / 2)
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(15.0), indexing="ij")
    for n, width in enumerate((4, 15, 1e9)):
        rows, cols = (torch.exp(-0.5 * ((a - b) / width) ** 2) for a, b in ((y, 2), (x, 11)))
        weight = rows * cols / (rows * cols).sum()
        share = (weight * seen[0, 0, 1]).sum()
        want = (weight * seen[0, 0, 1] * held[0, 0, 1]).sum() / (share + 0.02)
        torch.testing.assert_close(found[0, 0, n, 1, 2, 11], want)
    assert (around(1000 * torch.ones(1, 1, 1, 5, 5), torch.ones(1, 1, 1, 5, 5)) <= 2).all()


def test_tokens_give_shares_of_what_is_missed_around():
    """A date that departs from the prior everywhere is told so by the tile's mean alone."""
    net = build(bands=2).eval()
    share = net.head.share.bias.data.view(2, 3, 2)  # date of the tubelet, width, band
    share[:, 2, 1] = 1
    given = window()
    given["cube"] = torch.where(given["valid"], given["prior"] + 0.3, 0.0)
    change = net(**given)
    assert (change[:, :, 0] == 0).all()
    torch.testing.assert_close(change[:, :, 1].mean(), torch.tensor(0.29), atol=0.01, rtol=0)


def test_what_is_not_valid_is_not_looked_at():
    net = lively(guide_bands=2, fusion="concat")
    given = window(guide=2)
    before = net(**given)
    given["cube"] = given["cube"].where(given["valid"], torch.nan)
    given["guide"] = given["guide"].where(given["guide_valid"], torch.nan)
    torch.testing.assert_close(net(**given), before, rtol=0, atol=0)


def test_validity_of_all_bands_is_that_of_each():
    net, given = lively(), window(by_band=False)
    before = net(**given)
    given["valid"] = given["valid"].expand_as(given["cube"])
    torch.testing.assert_close(net(**given), before, rtol=0, atol=0)


def test_a_missing_value_is_told_from_a_zero():
    net, given = lively(), window()
    given["cube"][:, :, 1] = 0
    before = net(**given)
    given["valid"][:, :, 1] = ~given["valid"][:, :, 1]
    assert (net(**given) - before).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", ["early", "concat", "cross"])
def test_guide_dates_may_be_missing_one_or_all(fusion):
    net = lively(guide_bands=2, fusion=fusion)
    given = window(guide=2)
    whole = net(**given)
    given["guide_valid"][:, 1] = False
    one = net(**given)
    given["guide_valid"][:] = False
    none = net(**given)
    del given["guide"], given["guide_valid"]
    without = net(**given)
    assert whole.isfinite().all()
    assert (whole - one).abs().max() > 1e-3
    assert (one - none).abs().max() > 1e-3
    torch.testing.assert_close(none, without, rtol=0, atol=0)


@pytest.mark.parametrize("fusion", ["early", "concat", "cross"])
def test_a_missing_guide_is_told_from_a_zero(fusion):
    net, given = lively(guide_bands=2, fusion=fusion), window(guide=2)
    given["guide"][:] = 0
    before = net(**given)
    given["guide_valid"] = ~given["guide_valid"]
    assert (net(**given) - before).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", ["early", "concat", "cross"])
def test_it_matters_on_which_date_the_guide_says_something(fusion):
    """Attention alone would not tell: it takes the guide's tokens as a set."""
    net, given = lively(guide_bands=2, fusion=fusion), window(guide=2)
    before = net(**given)
    given["guide"], given["guide_valid"] = (
        given[name].roll(2, dims=1) for name in ("guide", "guide_valid")
    )
    assert (net(**given) - before).abs().max() > 1e-3


def test_a_guide_without_validity_is_all_valid():
    net, given = lively(guide_bands=2), window(guide=2)
    given["guide_valid"][:] = True
    before = net(**given)
    del given["guide_valid"]
    torch.testing.assert_close(net(**given), before, rtol=0, atol=0)


def test_dates_that_do_not_fill_a_tubelet_are_as_if_the_last_came_again_unseen():
    net = lively(guide_bands=2)
    six = window(guide=2)
    for name in ("prior", "days", "guide"):
        six[name] = torch.cat([six[name][:, :5], six[name][:, 4:5]], dim=1)
    six["valid"][:, 5] = six["guide_valid"][:, 5] = False
    five = {name: values[:, :5] for name, values in six.items()}
    torch.testing.assert_close(net(**five), net(**six)[:, :5])


# ------------------------------------------------------------------ days


@pytest.mark.parametrize("sizes", FOUR)
def test_irregular_days_matter(sizes):
    net = lively(**sizes)
    given = window(guide=sizes.get("guide_bands", 0))
    irregular = net(**given)
    given["days"] = 20000 + 16.0 * torch.arange(6).expand(2, -1)
    assert (net(**given) - irregular).abs().max() > 1e-2


def test_the_season_matters_and_the_year_does_not():
    net, given = lively(), window()
    given["days"] = given["days"].double()
    before = net(**given)
    given["days"] = given["days"] + 365.25 * 3
    torch.testing.assert_close(net(**given), before, rtol=1e-3, atol=1e-4)
    given["days"] = given["days"] + 365.25 / 3
    assert (net(**given) - before).abs().max() > 1e-2


def test_calendar_turns_once_and_twice_a_year():
    found = calendar(torch.tensor([[0.0, 365.25 / 4, 365.25 / 2]], dtype=torch.float64))[0]
    expected = torch.tensor([[0, 1, 0, 1], [1, 0, 0, -1], [0, -1, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(found[:, :4], expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        found[:, 4], torch.tensor([0.0, 365.25 / 360, 365.25 / 180]).double()
    )


def test_gaps_are_days_since_and_until_in_units_of_thirty_at_most_three():
    seen = torch.tensor([0, 1, 0, 0, 1, 0]).bool()[None, :, None, None]
    days = torch.tensor([[0.0, 15, 30, 60, 75, 300]])
    before, after = gaps(seen, days)[0, :, :, 0, 0].T
    assert before.tolist() == [3, 0, 0.5, 1.5, 0, 3]
    assert after.tolist() == [0.5, 0, 1.5, 0.5, 0, 3]
    assert (gaps(torch.zeros_like(seen), days) == 3).all()


# ------------------------------------------------------------------ training


@pytest.mark.parametrize("sizes", [*FUSIONS, {"variance": True}, {"span": 3}, FOUR[0]])
def test_gradients_reach_every_parameter(sizes):
    net = build(bands=2, drop_path=0.0, **sizes)
    given = window(1, y=10, x=15, guide=sizes.get("guide_bands", 0))
    for step in range(2):  # the last layer starts at 0 and lets nothing through
        net.zero_grad()
        found = net(**given)
        parts = found if sizes.get("variance") else [found]
        sum((part - 1).square().mean() for part in parts).backward()
        if step == 0:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= 0.1 * parameter.grad
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("sizes", [*FOUR, FUSIONS[3], FUSIONS[4]])
def test_it_learns_one_batch(sizes):
    net = build(bands=2, **sizes)
    given = window(2, 4, y=10, x=10, guide=sizes.get("guide_bands", 0))
    y, x = torch.meshgrid(torch.linspace(0, 2, 10), torch.linspace(0, 1, 10), indexing="ij")
    target = torch.sin(3 * y + x) + 0.1 * given["days"][:, :, None, None, None].remainder(7)
    adam = torch.optim.AdamW(net.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss = (net(**given) - target.expand_as(given["cube"])).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_blocks_are_left_out_in_training_only():
    net, given = lively(drop_path=0.5), window()
    torch.testing.assert_close(net(**given), net(**given), rtol=0, atol=0)
    net.train()
    assert (net(**given) - net(**given)).abs().max() > 1e-3


def test_blocks_are_left_out_without_changing_the_mean():
    block = build(bands=2, drop_path=0.3).blocks[-1].train()
    kept = block._drop(torch.ones(4000, 1, 1, 1))
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert kept.mean().item() == pytest.approx(1, abs=0.05)


def test_state_comes_back():
    sizes = {"guide_bands": 2, "fusion": "cross", "variance": True}
    net, other = lively(**sizes), build(bands=2, **sizes).eval()
    other.load_state_dict(net.state_dict())
    given = window(guide=2)
    for one, two in zip(net(**given), other(**given), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_variance_is_a_second_cube_that_starts_at_one():
    given = window()
    change, log_variance = build(bands=2, variance=True)(**given)
    assert change.shape == log_variance.shape == given["cube"].shape
    assert not log_variance.any()


@pytest.mark.parametrize("attention", ["joint", "factorised"])
def test_half_precision_is_close(attention):
    net, given = lively(guide_bands=2, fusion="cross", attention=attention), window(guide=2)
    whole = net(**given)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(**given)
    assert (half - whole).square().mean() < 1e-3 * whole.square().mean()


def test_tubelets_start_with_their_middle_date():
    for span in (1, 2, 3):
        weight = build(bands=2, span=span).embed.optical.weight
        used = weight.detach().abs().amax(dim=(0, 1, 3, 4)) > 0
        assert used.tolist() == [i == span // 2 for i in range(span)]


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("size", "millions", "all_in"),
    [("tiny", 0.59, 0.70), ("small", 2.95, 3.17), ("paper_like", 32.8, 33.4)],
)
def test_parameters_are_those_of_the_specification(size, millions, all_in):
    """The specification's have 15 input channels; prior, gaps and validity by band add 23."""
    net = build(bands=11, guide_bands=2, size=size)
    assert net.embed.optical.in_channels == 38
    extra = 23 * 2 * 5 * 5 * net.embed.optical.out_channels
    assert (count(net) - extra) / 1e6 == pytest.approx(millions, rel=0.01)
    assert count(net) / 1e6 == pytest.approx(all_in, rel=0.01)
    factorised = build(bands=11, guide_bands=2, size=size, attention="factorised")
    assert count(factorised) == count(net)


@pytest.mark.parametrize("sizes", [{}, {"attention": "factorised"}, FUSIONS[4]])
def test_memory_grows_with_the_tokens_not_their_square(sizes):
    """Of all that is kept for the way back and all that a module gives."""

    def largest(side):
        net = build(bands=2, **sizes)
        given = window(1, y=side, x=side, guide=sizes.get("guide_bands", 0))
        elements = []
        for module in net.modules():
            module.register_forward_hook(
                lambda _, __, out: elements.append(out.numel() if torch.is_tensor(out) else 0)
            )

        def keep(tensor):
            elements.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            net(**given)
        return max(elements)

    tokens = 3 * (60 // 5) ** 2
    assert largest(60) < tokens**2 * 4  # the heads' tables of attention
    assert largest(120) < 4.1 * largest(60)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"size": "huge"}, "'huge' is none of"),
        ({"fusion": "late"}, "'late' is none of"),
        ({"attention": "local"}, "'local' is none of"),
        ({"embedding": "frame"}, "'frame' is none of"),
        ({"span": 0}, "must be 1 or more"),
        ({"drop_path": 1.0}, "drop_path is a share"),
    ],
)
def test_build_refuses(sizes, message):
    with pytest.raises(ValueError, match=message):
        build(bands=2, **sizes)


def test_forward_refuses_sides_and_guides_that_do_not_fit():
    with pytest.raises(ValueError, match="multiples of patch=5"):
        build(bands=2)(**window(y=22))
    with pytest.raises(ValueError, match="guide_bands=0, not 2"):
        build(bands=2)(**window(guide=2))
