"""What every network of fusion promises, run over all of them; critics and several pairs too.

All that is known of a network is its record: `Net.tiny`, `Net.multiple`, `Net.blind`.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import networks  # noqa: E402
from networks import build, build_critic, shake  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

NAMES = ("fine0", "coarse0", "coarse1")
STARTS = range(3)  # of networks, where a ReLU that is off by chance must not decide
SILENT = 2e-6  # a gradient of which only rounding is left

NETWORK = pytest.mark.parametrize("record", networks.NETWORKS, ids=lambda r: r.name)
SEVERAL = pytest.mark.parametrize(
    "record", [r for r in networks.NETWORKS if hasattr(build(r), "several")], ids=lambda r: r.name
)
CRITIC = pytest.mark.parametrize(
    "record", [r for r in networks.NETWORKS if r.net.adversarial], ids=lambda r: r.name
)


def side_of(record):
    """Return the side of small images that the network takes and that have several of its steps."""
    return max(16, 2 * record.net.multiple)


def last_of(net):
    """Return the layer that an untrained network ends with: the only one whose weights are 0."""
    zeros = [m for m in net.modules() if getattr(m, "weight", None) is not None]
    (last,) = [m for m in zeros if not m.weight.any()]
    return last


def awake(net):
    """Return the network, not in training, with a last layer that is not zero."""
    torch.nn.init.normal_(last_of(net).weight, std=0.1)
    return net.eval()


def shaken(record):
    """Return a network, not in training, none of whose parameters is where it started."""
    return shake(awake(build(record)))


def images(*shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def two_pairs(record, n=2):
    y, x = 16 * record.net.multiple, 24 * record.net.multiple
    fine, coarse = (a.reshape(n, 2, 2, y, x) for a in images(2 * n, 2, y, x, count=2))
    return fine, coarse, images(n, 2, y, x, count=1, seed=1)[0]


def lesson(record, n=2):
    """Return smooth images, different in each band and to each other, and a target."""
    side = side_of(record)
    generator = torch.Generator().manual_seed(0)
    phase = 6 * torch.rand((3, n, 2, 2, 1, 1), generator=generator)
    rows, columns = torch.linspace(0, 5, side)[:, None], torch.linspace(0, 4, side)
    both = torch.sin(rows + phase[:, :, :, 0]) * torch.cos(columns + phase[:, :, :, 1])
    fine0, coarse0, coarse1 = 0.5 + 0.4 * both
    if "fine0" in record.net.blind:
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


# ------------------------------------------------------------------ forward


@NETWORK
@pytest.mark.parametrize("training", [False, True])
def test_any_size_gives_an_image_of_that_size(record, training):
    """Sides are whole in the record's multiple, and as small as that."""
    net, m = awake(build(record)).train(training), record.net.multiple
    shapes = [(1, 2, m, 5 * m), (2, 2, 3 * m, 2 * m)]
    if m == 1:
        shapes += [(1, 2, 17, 17), (2, 2, 9, 30)]
    for shape in shapes:
        out = net(*images(*shape))
        assert out.shape == shape
        assert out.isfinite().all()
        assert out.any()


@NETWORK
def test_an_untrained_network_changes_nothing(record):
    net, side = build(record), side_of(record)
    for training in (True, False):
        assert not net.train(training)(*images(1, 2, side, side)).any()


@NETWORK
def test_every_image_counts_but_those_that_the_record_names(record):
    assert set(record.net.blind) < set(NAMES)
    side = side_of(record)
    net, inputs = awake(build(record)), images(1, 2, side, side)
    out = net(*inputs)
    for i, each in enumerate(NAMES):
        if each in record.net.blind:
            assert torch.equal(net(*inputs[:i], inputs[i] * torch.nan, *inputs[i + 1 :]), out)
        else:
            other = net(*inputs[:i], inputs[i] ** 2, *inputs[i + 1 :])
            assert (other - out).abs().max() > 1e-3 * out.abs().max()


@NETWORK
def test_images_of_a_batch_do_not_see_each_other(record):
    side = side_of(record)
    net, both = awake(build(record)), images(2, 2, side, 2 * side)
    alone = torch.cat([net(*(image[i : i + 1] for image in both)) for i in range(2)])
    assert_same(net(*both), alone)


@NETWORK
def test_memory_is_linear_in_pixels(record):
    """No tensor is larger than the widest layer at full size; attention would square the pixels."""
    net = awake(build(record))
    widest = max(max(p.shape[:2]) for p in net.parameters() if p.dim() > 1)
    largest = []
    for side in (32, 64, 128):
        with torch.no_grad(), Largest() as seen:
            net(*images(1, 2, side, side))
        largest.append(seen.elements)
    for smaller, larger in zip(largest[:-1], largest[1:], strict=True):
        assert larger <= 4 * smaller
    assert largest[-1] <= 1.1 * widest * 128**2  # a little more where images are padded


@NETWORK
def test_works_in_half_precision(record):
    net, side = awake(build(record)), side_of(record)
    inputs = images(2, 2, side, side)
    expected = net(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(*inputs)
        net.train()(*inputs).sum().backward()
    off = (out.float() - expected).abs() / expected.abs().max()
    assert off.square().mean().sqrt() < 0.015
    assert off.max() < 0.2  # single ones more, where other channels may be attended to
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(t.dtype != torch.bfloat16 for t in net.state_dict().values())


# ------------------------------------------------------------------ training


@NETWORK
def test_backward_reaches_every_parameter(record):
    """From the second step on: the last layer starts at 0 and lets nothing through at first.

    Only a shift may have no gradient, one that what comes behind it takes out: a norm, a softmax.
    """
    side = side_of(record)
    inputs, steepest = images(2, 2, side, side), {}
    for seed in STARTS:
        net = build(record, seed=seed)
        (net(*inputs) - 1).square().mean().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        net.zero_grad()
        (net(*inputs) - 1).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None, name
            steepest[name] = max(steepest.get(name, 0), parameter.grad.abs().max().item())
    silent = {name for name, slope in steepest.items() if slope < SILENT}
    assert all(name.endswith(".bias") for name in silent), silent
    out = net(*inputs).detach()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter += 0.05 if name in silent else 0
    assert_same(net(*inputs).detach(), out)


@NETWORK
def test_overfits_one_batch(record):
    """At five times the rate of its recipe, as it is tiny."""
    net, (inputs, target) = build(record), lesson(record)
    optimiser = torch.optim.Adam(net.parameters(), lr=5 * record.net.small.rate)
    losses = []
    while len(losses) < 100 and not (losses and losses[-1] < losses[0] / 5):
        loss = (net(*inputs) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


@NETWORK
def test_the_state_makes_another_network_the_same(record):
    side = side_of(record)
    net, other = shaken(record), build(record, seed=1).eval()
    first, second = images(1, 2, side, side), images(1, 2, side, 2 * side)
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
def test_two_pairs_share_every_pixel(record):
    fine, coarse, coarse1 = two_pairs(record)
    change, share = shaken(record).several(fine, coarse, coarse1)
    pixels = coarse1.shape[-2:]
    assert change.shape == (2, 2, *pixels)
    assert share.shape == (2, 2, 1, *pixels)
    assert (share > 0).all()
    torch.testing.assert_close(share.sum(1), torch.ones(2, 1, *pixels))
    assert share.std() > 0.001  # from pixel to pixel


@SEVERAL
def test_a_pair_among_several_alone_is_that_pair(record):
    net = shaken(record)
    fine, coarse, coarse1 = two_pairs(record)
    change, share = net.several(fine[:, :1], coarse[:, :1], coarse1)
    assert_same(change, net(fine[:, 0], coarse[:, 0], coarse1))
    torch.testing.assert_close(share, torch.ones_like(share))


@SEVERAL
def test_the_order_of_the_pairs_does_not_matter(record):
    net = shaken(record)
    fine, coarse, coarse1 = two_pairs(record)
    change, share = net.several(fine, coarse, coarse1)
    turned, turned_share = net.several(fine.flip(1), coarse.flip(1), coarse1)
    assert_same(turned, change)
    torch.testing.assert_close(turned_share.flip(1), share)


@SEVERAL
def test_two_pairs_can_be_trained_on(record):
    net = shaken(record).train()
    net.several(*two_pairs(record))[0].square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in net.parameters())


# ------------------------------------------------------------------ critics


@CRITIC
def test_backward_reaches_all_of_the_critic_and_the_image(record):
    critic = build_critic(record)
    image, coarse = images(2, 2, 32, 32, count=2)
    image.requires_grad_()
    (critic(image, coarse) - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert image.grad.any()


@CRITIC
def test_the_critic_learns_to_tell_blurred_images(record):
    critic = build_critic(record)
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
