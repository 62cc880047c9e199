"""What every network of fusion promises, run over all of them; critics and several pairs too."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import networks  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

NAMES = ("fine0", "coarse0", "coarse1")


@dataclass(frozen=True)
class Case:
    """A small network and what is asked of it; sides are those that the network takes."""

    sizes: dict[str, Any]
    last: Callable[[Any], Any]  # the layer of zeros that an untrained network ends with
    shapes: tuple[tuple[int, ...], ...]
    learns: tuple[int, int, float, int]  # from images and their side, with rate and steps
    channels: int  # of the largest tensor, at full resolution
    frame: int = 0  # pixels that padding adds to its sides
    blind: tuple[str, ...] = ()  # inputs that are not looked at
    half: float = 0.02  # largest error in half precision, as a share of the largest change
    side: int = 16  # of images for gradients and half precision
    larger: dict[str, Any] = field(default_factory=dict)  # sizes for these and for any shape
    idle: tuple[str, ...] = ()  # ends of parameters that what comes behind them takes out
    follows: bool = False  # learns from the coarse change alone


ANY = ((1, 2, 17, 17), (2, 2, 9, 30), (1, 2, 1, 5))

CASES = {
    "ctstfm": Case(
        {"width": 8, "encoders": 1, "fusions": 1, "heads": 2},
        lambda net: net.decoder[-1],
        ANY,
        learns=(1, 12, 1e-2, 40),
        channels=16,  # both streams at once
        blind=("coarse0",),
        half=0.03,
        # A shift that the norm behind it takes out.
        idle=("encoder.1.2.residual.outer.bias",),
    ),
    "ecpwstfn": Case(
        {"width": 8},
        lambda net: net.last[-1],
        ((1, 2, 2, 2), (1, 2, 2, 18), (2, 2, 22, 14), (1, 2, 32, 32)),
        learns=(1, 32, 2e-3, 80),
        channels=32,
        frame=2,
        blind=("coarse0",),
        half=0.03,
        # Several hidden channels of the attention: a single ReLU may be off.
        larger={"width": 32},
    ),
    "edcstfn": Case(
        {"widths": (8, 12, 16)},
        lambda net: net.decoder[-1],
        ANY,
        learns=(2, 24, 1e-2, 140),
        channels=16,
        frame=2,
    ),
    "eststfm": Case(
        {"width": 8, "depths": (1, 1), "heads": 2},
        lambda net: net.last,
        ((1, 2, 20, 20), (2, 2, 12, 28), (1, 2, 4, 4)),
        learns=(1, 12, 1e-2, 40),
        channels=8,
        half=0.2,  # other channels may be attended to
        larger={"depths": (1, 1, 1)},
    ),
    "ganstfm": Case(
        {"widths": (6, 8, 12)},
        lambda net: net.head,
        ((1, 2, 17, 17), (2, 2, 9, 30), (1, 2, 8, 5)),
        learns=(2, 24, 1e-2, 80),
        channels=24,
        frame=2,
        blind=("coarse0",),
    ),
    "mlffgan": Case(
        {"widths": (6, 8, 12), "dropout": 0.0},
        lambda net: net.head[-1],
        ((1, 2, 20, 20), (2, 2, 8, 36), (1, 2, 4, 4), (1, 2, 4, 8)),
        learns=(2, 24, 3e-3, 80),
        channels=12,
        frame=2,
        side=24,
        # Shifts that norms, or the other image's means, take out.
        idle=("before.1.bias", "target.1.bias", "fine.levels.2.1.trunk.5.bias"),
    ),
    "stf3dcnn": Case(
        {"width": 8, "depth": 3},
        lambda net: net.layers[-1],
        ANY,
        learns=(2, 24, 1e-2, 120),
        channels=8,
        frame=2,
        blind=("fine0",),
        follows=True,
    ),
    "swinstfm": Case(
        {"width": 8, "depths": (1, 1, 2, 1), "window": 8},
        lambda net: net.head[2],
        ((1, 2, 32, 32), (2, 2, 32, 96), (1, 2, 160, 64), (1, 2, 128, 128)),
        learns=(1, 32, 2e-3, 60),
        channels=32,
        side=64,
        # What is added to all keys alike falls out of the softmax: also the shift of the norms
        # of fine0 and coarse1, which are keys alone.
        idle=("_key.bias", "norms.1.bias", "norms.2.bias"),
    ),
}
NETWORK = pytest.mark.parametrize("name", CASES)

# How much the shares of two pairs differ from pixel to pixel at the least.
SHARES = {"edcstfn": 0.01, "stf3dcnn": 0.001}
SEVERAL = pytest.mark.parametrize("name", SHARES)

CRITICS = {"ganstfm": ((6, 8), (8,)), "mlffgan": (8, 12, 16)}
CRITIC = pytest.mark.parametrize("name", CRITICS)


def build(name, seed=0, **sizes):
    torch.manual_seed(seed)
    module = importlib.import_module(f"xstf.nets.{name}")
    return module.build(bands=2, **CASES[name].sizes | sizes)


def build_critic(name):
    torch.manual_seed(0)
    module = importlib.import_module(f"xstf.nets.{name}")
    return module.build_critic(bands=2, widths=CRITICS[name])


def awake(name, net):
    """Return the network, not in training, with a last layer that is not zero."""
    torch.nn.init.normal_(CASES[name].last(net).weight, std=0.1)
    return net.eval()


def shaken(name):
    """Return a network, not in training, none of whose parameters is where it started."""
    net = awake(name, build(name))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return net


def images(*shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def two_pairs(n=2, y=16, x=24):
    fine, coarse = (a.reshape(n, 2, 2, y, x) for a in images(2 * n, 2, y, x, count=2))
    return fine, coarse, images(n, 2, y, x, count=1, seed=1)[0]


def lesson(n, side, follows):
    """Return three smooth images, different in each band and to each other, and a target."""
    generator = torch.Generator().manual_seed(0)
    phase = 6 * torch.rand((3, n, 2, 2, 1, 1), generator=generator)
    rows, columns = torch.linspace(0, 5, side)[:, None], torch.linspace(0, 4, side)
    both = torch.sin(rows + phase[:, :, :, 0]) * torch.cos(columns + phase[:, :, :, 1])
    fine0, coarse0, coarse1 = 0.5 + 0.4 * both
    if follows:
        # A change that the coarse images show too weakly and smoothly.
        change = coarse1 - coarse0
        return (fine0, coarse0, coarse1), 0.5 * change + 0.2 * (3 * change).sin()
    ramp = torch.linspace(0, 3, side)
    bands = torch.tensor([0.2, -0.1])[:, None, None]
    target = bands * torch.sin(ramp[:, None] + ramp)
    return (fine0, coarse0, coarse1), target.expand(n, -1, -1, -1)


def assert_same(found, expected):
    """Compare to within rounding of the largest value."""
    atol = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


class Largest(TorchDispatchMode):
    """Note the number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return out


def test_every_network_is_here():
    assert set(CASES) == {record.net.module for record in networks.NETWORKS}
    assert set(SHARES) == {name for name in CASES if hasattr(build(name), "several")}


# ------------------------------------------------------------------ forward


@NETWORK
@pytest.mark.parametrize("training", [False, True])
def test_any_size_gives_an_image_of_that_size(name, training):
    net = awake(name, build(name, **CASES[name].larger)).train(training)
    for shape in CASES[name].shapes:
        out = net(*images(*shape))
        assert out.shape == shape
        assert out.isfinite().all()
        assert out.any()


@NETWORK
def test_an_untrained_network_changes_nothing(name):
    for training in (True, False):
        assert not build(name).train(training)(*images(1, 2, 32, 32)).any()


@NETWORK
def test_every_image_counts_but_those_not_looked_at(name):
    net, inputs = awake(name, build(name)), images(1, 2, 32, 32)
    out = net(*inputs)
    for i, each in enumerate(NAMES):
        if each in CASES[name].blind:
            assert torch.equal(net(*inputs[:i], inputs[i] * torch.nan, *inputs[i + 1 :]), out)
        else:
            other = net(*inputs[:i], inputs[i] ** 2, *inputs[i + 1 :])
            assert (other - out).abs().max() > 1e-3 * out.abs().max()


@NETWORK
def test_images_of_a_batch_do_not_see_each_other(name):
    net, both = awake(name, build(name)), images(2, 2, 32, 64)
    alone = torch.cat([net(*(image[i : i + 1] for image in both)) for i in range(2)])
    assert_same(net(*both), alone)


@NETWORK
def test_memory_is_linear_in_pixels(name):
    """The largest tensor has the channels and frame stated; attention would square the pixels."""
    net, case = awake(name, build(name)), CASES[name]
    for side in (32, 64, 128):
        with torch.no_grad(), Largest() as seen:
            net(*images(1, 2, side, side))
        assert seen.elements == case.channels * (side + case.frame) ** 2


@NETWORK
def test_works_in_half_precision(name):
    case = CASES[name]
    net = awake(name, build(name, **case.larger))
    inputs = images(2, 2, case.side, case.side)
    expected = net(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(*inputs)
        net.train()(*inputs).sum().backward()
    allowed = case.half * expected.abs().max().item()
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=allowed)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(t.dtype != torch.bfloat16 for t in net.state_dict().values())


# ------------------------------------------------------------------ training


@NETWORK
def test_backward_reaches_every_parameter(name):
    """From the second step on: the last layer starts at 0 and lets nothing through at first."""
    case = CASES[name]
    net, inputs = build(name, **case.larger), images(2, 2, case.side, case.side)
    (net(*inputs) - 1).square().mean().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    net.zero_grad()
    (net(*inputs) - 1).square().sum().backward()
    for each, parameter in net.named_parameters():
        assert parameter.grad is not None, each
        idle = each.endswith(case.idle)
        assert (parameter.grad.abs().max() > 2e-5) != idle, each


@NETWORK
def test_overfits_one_batch(name):
    case, net = CASES[name], build(name)
    n, side, rate, steps = case.learns
    inputs, target = lesson(n, side, case.follows)
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = (net(*inputs) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


@NETWORK
def test_the_state_makes_another_network_the_same(name):
    net, other = shaken(name), build(name, seed=1).eval()
    first, second = images(1, 2, 32, 32), images(1, 2, 32, 64)
    net.train()(*first)  # The running statistics are part of the state.
    net.eval()
    assert not torch.allclose(net(*first), other(*first))
    other.load_state_dict(net.state_dict())
    for inputs in (first, second):
        assert torch.equal(net(*inputs), other(*inputs))
    # Nothing of a size.
    rest = set(net.state_dict()) - {each for each, _ in net.named_parameters()}
    assert all("running" in each or each.endswith("num_batches_tracked") for each in rest)


# ------------------------------------------------------------------ several pairs


@SEVERAL
def test_two_pairs_share_every_pixel(name):
    change, share = shaken(name).several(*two_pairs())
    assert change.shape == (2, 2, 16, 24)
    assert share.shape == (2, 2, 1, 16, 24)
    assert (share > 0).all()
    torch.testing.assert_close(share.sum(1), torch.ones(2, 1, 16, 24))
    assert share.std() > SHARES[name]


@SEVERAL
def test_a_pair_among_several_alone_is_that_pair(name):
    net = shaken(name)
    fine, coarse, coarse1 = two_pairs()
    change, share = net.several(fine[:, :1], coarse[:, :1], coarse1)
    assert_same(change, net(fine[:, 0], coarse[:, 0], coarse1))
    torch.testing.assert_close(share, torch.ones_like(share))


@SEVERAL
def test_the_order_of_the_pairs_does_not_matter(name):
    net = shaken(name)
    fine, coarse, coarse1 = two_pairs()
    change, share = net.several(fine, coarse, coarse1)
    turned, turned_share = net.several(fine.flip(1), coarse.flip(1), coarse1)
    assert_same(turned, change)
    torch.testing.assert_close(turned_share.flip(1), share)


@SEVERAL
def test_two_pairs_can_be_trained_on(name):
    net = shaken(name).train()
    net.several(*two_pairs())[0].square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in net.parameters())


# ------------------------------------------------------------------ critics


@CRITIC
def test_backward_reaches_all_of_the_critic_and_the_image(name):
    critic = build_critic(name)
    image, coarse = images(2, 2, 32, 32, count=2)
    image.requires_grad_()
    (critic(image, coarse) - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert image.grad.any()


@CRITIC
def test_the_critic_learns_to_tell_blurred_images(name):
    critic = build_critic(name)
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    image, coarse = images(4, 2, 32, 32, count=2)
    blurred = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    losses = []
    for _ in range(60):
        real, fake = critic(image, coarse), critic(blurred, coarse)
        loss = (real - 1).square().mean() + fake.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
