"""ECPW-STFN: the wavelet, the shapes, the gradients, the size, and how far a pixel sees."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import ecpwstfn  # noqa: E402

PAPER = 471_954  # parameters at 6 bands, counted on the authors' code


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def images(y: int, x: int, bands: int = 2, n: int = 1) -> list[Any]:
    return [torch.rand(n, bands, y, x) for _ in range(3)]


def awake(net: Any) -> Any:
    """Return the network with a last layer that is not zero."""
    for values in net.last[-1].parameters():
        torch.nn.init.normal_(values, std=0.1)
    return net


def test_haar_is_inverted_exactly() -> None:
    image = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    parts = ecpwstfn.haar(image)
    assert parts.shape == (4, 2, 3, 4, 3)
    torch.testing.assert_close(ecpwstfn.unhaar(parts), image, rtol=0, atol=1e-14)


def test_haar_is_orthonormal() -> None:
    # The transform of each unit image is a column of its matrix.
    units = torch.eye(24, dtype=torch.float64).reshape(24, 1, 4, 6)
    matrix = ecpwstfn.haar(units).movedim(0, 1).reshape(24, 24)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(24, dtype=torch.float64))


def test_haar_tells_directions_apart() -> None:
    ramp = torch.arange(4.0).repeat(4, 1)[None, None]  # grows by 1 along x
    mean, along, down, both = ecpwstfn.haar(ramp)
    torch.testing.assert_close(mean[0, 0], torch.tensor([[1.0, 5.0], [1.0, 5.0]]))
    torch.testing.assert_close(along, torch.full_like(along, -1))
    assert not down.any()
    assert not both.any()
    torch.testing.assert_close(ecpwstfn.haar(ramp.mT)[2].mT, along)


def test_unhaar_lets_gradients_through() -> None:
    parts = torch.randn(4, 1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ecpwstfn.unhaar, parts)


def test_any_even_size_works() -> None:
    net = awake(ecpwstfn.build(bands=2, width=4))
    for y, x in ((2, 2), (2, 18), (22, 14), (32, 32)):
        out = net(*images(y, x))
        assert out.shape == (1, 2, y, x)
        assert out.isfinite().all()


def test_images_of_a_batch_do_not_see_each_other() -> None:
    net = awake(ecpwstfn.build(bands=2, width=4))
    both = images(12, 10, n=2)
    alone = torch.cat([net(*(image[i : i + 1] for image in both)) for i in range(2)])
    torch.testing.assert_close(net(*both), alone)


def test_coarse0_is_not_looked_at() -> None:
    net = awake(ecpwstfn.build(bands=2, width=4))
    fine0, coarse0, coarse1 = images(12, 12)
    out = net(fine0, coarse0, coarse1)
    assert torch.equal(net(fine0, torch.full_like(coarse0, torch.nan), coarse1), out)
    assert not torch.allclose(net(fine0, coarse0, coarse1 + 0.1), out)
    assert not torch.allclose(net(fine0 + 0.1, coarse0, coarse1), out)


def test_the_change_is_zero_at_first() -> None:
    assert not ecpwstfn.build(bands=2, width=4)(*images(8, 8)).any()


def test_backward_reaches_every_parameter() -> None:
    # Wide enough for several hidden channels of the attention: a single ReLU may be off.
    net = awake(ecpwstfn.build(bands=2, width=32))
    net(*images(16, 16)).square().sum().backward()
    for name, values in net.named_parameters():
        assert values.grad is not None, name
        assert values.grad.abs().max() > 0, name


def test_one_batch_is_learned() -> None:
    net = ecpwstfn.build(bands=2, width=8)
    wave = torch.linspace(0, 6, 32).sin()
    target = 0.2 * torch.stack([wave[:, None] * wave, wave[:, None] + wave])[None]
    batch = [image + target for image in images(32, 32)]
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(80):
        loss = (net(*batch) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(losses) < losses[0] / 5


def test_state_round_trips() -> None:
    net, other = (awake(ecpwstfn.build(bands=2, width=4)) for _ in range(2))
    batch = images(8, 8)
    assert not torch.allclose(net(*batch), other(*batch))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*batch), other(*batch))


def test_parameters_are_as_many_as_the_papers() -> None:
    assert sum(values.numel() for values in ecpwstfn.build(bands=6).parameters()) == PAPER


def dependence(net: Any, side: int) -> Any:
    """Return where (y, x) the centre of a `side` pixels wide image depends on its inputs."""
    fine0, coarse0, coarse1 = (image.requires_grad_() for image in images(side, side))
    net(fine0, coarse0, coarse1)[0, :, side // 2, side // 2].sum().backward()
    return (fine0.grad.abs() + coarse1.grad.abs())[0].sum(0) > 0


def test_a_pixel_sees_as_far_as_stated_but_for_the_channel_attention() -> None:
    net = awake(ecpwstfn.build(bands=2, width=8))
    for block in net.refine:
        torch.nn.init.zeros_(block.channels[-1].weight)  # every channel then weighs the same
    side = 2 * ecpwstfn.REACH + 10
    rows, cols = dependence(net, side).nonzero().T
    far = max((rows - side // 2).abs().max(), (cols - side // 2).abs().max())
    # Within the 2 x 2 blocks of the wavelet, the centre lies at one side or the other.
    assert ecpwstfn.REACH - 1 <= far <= ecpwstfn.REACH


def test_channel_attention_sees_the_whole_tile() -> None:
    net = awake(ecpwstfn.build(bands=2, width=16))
    assert dependence(net, 2 * ecpwstfn.REACH + 10).float().mean() > 0.9


def test_memory_is_linear_in_pixels() -> None:
    net = ecpwstfn.build(bands=2, width=4)
    largest = {16: 0, 32: 0}
    for side in largest:

        def note(_: Any, __: Any, out: Any, side: int = side) -> None:
            largest[side] = max(largest[side], out.numel())

        handles = [module.register_forward_hook(note) for module in net.modules()]
        net(*images(side, side))
        for handle in handles:
            handle.remove()
    assert largest[32] == 4 * largest[16]
