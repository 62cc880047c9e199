from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import ganstfm  # noqa: E402
from xstf.nets.blocks import BatchNorm  # noqa: E402

SIZES = {"bands": 2, "widths": (6, 8, 12)}
CRITIC = {"bands": 2, "widths": ((6, 8), (8,))}


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


def small(seed=0):
    torch.manual_seed(seed)
    return ganstfm.build(**SIZES)


def small_critic(seed=0):
    torch.manual_seed(seed)
    return ganstfm.build_critic(**CRITIC)


def loosened(net):
    """Take a last layer of zeros away, which hides all behind it."""
    torch.nn.init.normal_(net.head.weight)
    return net.eval()


def test_any_size_gives_an_image_of_that_size():
    net = loosened(small())
    for training in (False, True):
        net.train(training)
        for shape in ((1, 2, 17, 17), (2, 2, 9, 30), (1, 2, 8, 5)):
            out = net(*images(*shape))
            assert out.shape == shape
            assert torch.isfinite(out).all()


def test_an_untrained_network_changes_nothing():
    assert not small()(*images(1, 2, 16, 16)).any()


def test_the_coarse_image_of_the_reference_is_not_looked_at():
    net = loosened(small())
    fine, coarse0, coarse1 = images(1, 2, 16, 16)
    out = net(fine, coarse0, coarse1)
    assert torch.equal(net(fine, coarse0 + 1, coarse1), out)
    assert not torch.equal(net(fine, coarse0, coarse1 + 1), out)
    assert not torch.equal(net(fine**2, coarse0, coarse1), out)


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
    net = small()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    inputs = waves(2, 24, 24)
    ramp = torch.linspace(0, 3, 24)
    target = 0.2 * torch.sin(ramp[:, None] + ramp).expand(2, 2, 24, 24)
    losses = []
    for _ in range(80):
        loss = (net(*inputs) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_the_state_makes_another_network_the_same():
    net, other = loosened(small(0)), small(1).eval()
    inputs = images(1, 2, 16, 16)
    net.train()(*inputs)  # The running statistics are part of the state.
    net.eval()
    assert not torch.equal(net(*inputs), other(*inputs))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*inputs), other(*inputs))


def test_works_in_half_precision():
    net = loosened(small())
    inputs = images(2, 2, 16, 16)
    expected = net(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(*inputs)
        net.train()(*inputs).sum().backward()
    torch.testing.assert_close(
        out.float(), expected, rtol=0, atol=0.02 * expected.abs().max().item()
    )
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(t.dtype != torch.bfloat16 for t in net.state_dict().values())


def test_has_the_parameters_of_the_authors_code():
    count = sum(p.numel() for p in ganstfm.build(bands=6).parameters())
    assert count == pytest.approx(0.578e6, rel=0.03)
    count = sum(p.numel() for p in ganstfm.build_critic(bands=6).parameters())
    assert count == pytest.approx(3.67e6, rel=0.03)


def test_a_pixel_depends_on_its_whole_tile():
    # The statistics of a channel and of the image: the reach is the tile, as the file says.
    net = loosened(small()).double()
    inputs = [each.double().requires_grad_() for each in images(1, 2, 33, 33)]
    net(*inputs)[0, :, 16, 16].sum().backward()
    fine = inputs[0].grad[0].abs().sum(0)
    assert (fine[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).all()
    assert fine[16, 16] > 100 * fine[0, 0]


def test_memory_is_linear_in_pixels():
    net, sizes = small().eval(), []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(out.numel()))
    peaks = []
    for side in (16, 64):
        sizes.clear()
        net(*images(1, 2, side, side))
        peaks.append(max(sizes))
    assert peaks[1] == 16 * peaks[0]


@pytest.mark.parametrize("chosen", range(3))
def test_switchable_normalisation_has_known_ends(chosen):
    norm = ganstfm.SwitchNorm(4)
    with torch.no_grad():
        for mixture in (norm.mean_mixture, norm.variance_mixture):
            mixture[chosen] = 50.0
    image = 3 + 2 * torch.randn((3, 4, 20, 20), generator=torch.Generator().manual_seed(0))
    image *= torch.arange(1.0, 5)[:, None, None] * torch.arange(1.0, 4)[:, None, None, None]
    expected = [
        torch.nn.functional.instance_norm(image),
        torch.nn.functional.layer_norm(image, image.shape[1:]),
        torch.nn.functional.batch_norm(image, None, None, training=True),
    ][chosen]
    torch.testing.assert_close(norm(image), expected, rtol=1e-3, atol=1e-4)


def test_the_batch_has_running_statistics_at_inference():
    norm = ganstfm.SwitchNorm(3)
    with torch.no_grad():
        for mixture in (norm.mean_mixture, norm.variance_mixture):
            mixture[2] = 50.0
    image = 5 + 2 * torch.randn((4, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        trained = norm(image)
    norm.eval()
    torch.testing.assert_close(norm(image), trained, rtol=1e-2, atol=1e-2)
    # One image's own statistics no longer matter.
    torch.testing.assert_close(norm(image[:1] + 10), norm(image[:1]) + 5, rtol=0.02, atol=0.1)


def test_the_critic_scores_patches_at_every_scale():
    critic = small_critic()
    assert critic(*images(2, 2, 16, 16, count=2)).shape == (2, 4 * 4 + 4 * 4)
    assert critic(*images(1, 2, 9, 22, count=2)).shape == (1, 3 * 6 + 2 * 6)
    full = ganstfm.build_critic(bands=2)
    # One patch, seen as one pixel in the last blocks: nothing to take a variance of.
    assert torch.isfinite(full(*images(1, 2, 48, 48, count=2))).all()


def test_backward_reaches_all_of_the_critic_and_the_image():
    critic = small_critic()
    image, coarse = images(2, 2, 32, 32, count=2)
    image.requires_grad_()
    (critic(image, coarse) - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters())
    assert image.grad.any()


def test_the_critic_learns_to_tell_blurred_images():
    critic = small_critic()
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


def test_one_value_is_normalised_by_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean += 1
    one = torch.full((1, 3, 1, 1), 2.0)
    torch.testing.assert_close(norm(one), torch.ones(1, 3, 1, 1))
    many = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(norm(many).mean(), torch.tensor(0.0))
