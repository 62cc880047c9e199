"""ECPW-STFN: the wavelet, the size, and how far a pixel sees."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import ecpwstfn  # noqa: E402

PAPER = 471_954  # parameters at 6 bands, counted on the authors' code


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def images(y: int, x: int) -> list[Any]:
    return [torch.rand(1, 2, y, x) for _ in range(3)]


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
