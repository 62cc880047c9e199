"""SwinSTFM: windows and their masks, the shapes, the gradients, the size, and the reach."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from xstf.nets import _swin, swinstfm  # noqa: E402

PAPER = 37_535_290  # parameters at 6 bands, counted on the authors' code


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def small(window: int = 8) -> Any:
    return swinstfm.build(bands=2, width=8, depths=(1, 1, 2, 1), window=window)


def images(y: int, x: int, n: int = 1) -> list[Any]:
    return [torch.rand(n, 2, y, x) for _ in range(3)]


def awake(net: Any) -> Any:
    """Return the network with a last layer that is not zero."""
    for values in net.head[2].parameters():
        torch.nn.init.normal_(values, std=0.1)
    return net


def averaging(block: Any) -> Any:
    """Return a block whose attention is the mean of all tokens it sees: all scores are 0."""
    for values in block.parameters():
        torch.nn.init.zeros_(values)
    return block


@pytest.mark.parametrize(("y", "x"), [(8, 8), (4, 4), (12, 20), (9, 3)])
@pytest.mark.parametrize("shift", [(0, 0), (4, 0), (4, 4)])
def test_windows_are_put_back_together(y: int, x: int, shift: tuple[int, int]) -> None:
    tokens = torch.randn(2, y, x, 3)
    windows = _swin.into_windows(tokens, 8, shift)
    assert windows.shape == (2 * -(-y // 8) * -(-x // 8), 64, 3)
    assert torch.equal(_swin.from_windows(windows, 8, shift, tokens), tokens)


def group(place: int, size: int, window: int, shift: int) -> int:
    """Return the window a token is in along one side, where none may wrap around."""
    whole = -(-size // window) * window
    rolled = (place - shift) % whole
    return rolled // window if place >= shift else -1


@pytest.mark.parametrize(("y", "x"), [(16, 16), (4, 4), (12, 20), (3, 9), (8, 17)])
@pytest.mark.parametrize("shifted", [False, True])
def test_tokens_see_their_part_of_the_window_and_nothing_else(
    y: int, x: int, shifted: bool
) -> None:
    tokens = torch.randn(1, y, x, 1, dtype=torch.float64)
    shift = _swin.shift_of(tokens, 8) if shifted else (0, 0)
    assert shift == ((4 if y > 8 else 0, 4 if x > 8 else 0) if shifted else (0, 0))
    windows = _swin.into_windows(tokens, 8, shift)
    apart = _swin.strangers(tokens, 8, shift)
    blank = torch.zeros_like(windows)
    found = _swin.attend(blank, blank, windows, torch.zeros(1, 64, 64), apart)
    found = _swin.from_windows(found, 8, shift, tokens)[0, :, :, 0]
    rows = torch.tensor([group(i, y, 8, shift[0]) for i in range(y)])
    cols = torch.tensor([group(i, x, 8, shift[1]) for i in range(x)])
    expected = torch.empty(y, x, dtype=torch.float64)
    for i in rows.unique():
        for j in cols.unique():
            part = (rows == i)[:, None] & (cols == j)
            expected[part] = tokens[0, :, :, 0][part].mean()
    torch.testing.assert_close(found, expected)


def test_position_scores_depend_on_the_step_alone() -> None:
    position = _swin.Position(3, 2)
    scores = position().reshape(2, 3, 3, 3, 3)  # (heads, y from, x from, y to, x to)
    torch.testing.assert_close(scores[:, 0, 0, 1, 2], scores[:, 1, 0, 2, 2])
    assert len(scores[0].unique()) == len(position.table) == 25


def test_unmixing_is_the_product_of_two_softmaxes() -> None:
    torch.nn.init.normal_((block := _swin.UnmixBlock(64, 4, False)).position.table)
    change, start, fine, end = (torch.randn(1, 4, 4, 64) for _ in range(4))
    shares = torch.ones(1)
    query = block.query(start.reshape(1, 16, 64))
    query = query.reshape(16, 2, 2, 32)  # (token, head, key, channel)
    for i, key in enumerate((block.fine_key(fine), block.coarse_key(end))):
        scores = torch.einsum("qhc,khc->hqk", query[:, :, i], key.reshape(16, 2, 32)) / 32**0.5
        shares = shares * (scores + block.position() / 2).softmax(-1)
    shares = shares / shares.sum(-1, keepdim=True)
    value = block.value(block.norm(change)).reshape(16, 2, 32)
    found = torch.einsum("hqk,khc->qhc", shares, value).reshape(1, 4, 4, 64)
    expected = change + block.project(found)
    expected = expected + block.perceptron(expected)
    torch.testing.assert_close(block(change, start, fine, end), expected, rtol=1e-4, atol=1e-5)


def test_unmixing_without_a_change_returns_the_fine_image() -> None:
    unmix = _swin.Unmix(8, 2, 4)
    for block in unmix.blocks:
        averaging(block)
    coarse, fine = torch.randn(1, 6, 6, 8), torch.randn(1, 6, 6, 8)
    assert torch.equal(unmix(coarse, fine, coarse), fine)


def test_merging_keeps_neighbours_together() -> None:
    merge = _swin.Merge(1, 4)
    merge.norm = torch.nn.Identity()
    with torch.no_grad():
        merge.reduce.weight.copy_(torch.eye(4))
    tokens = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert merge(tokens)[0, 1, 0].tolist() == [8, 9, 12, 13]


def test_any_multiple_of_32_works() -> None:
    net = awake(small())
    for y, x in ((32, 32), (32, 96), (160, 64), (128, 128)):
        out = net(*images(y, x))
        assert out.shape == (1, 2, y, x)
        assert out.isfinite().all()


def test_images_of_a_batch_do_not_see_each_other() -> None:
    net = awake(small())
    both = images(64, 96, n=2)
    alone = torch.cat([net(*(image[i : i + 1] for image in both)) for i in range(2)])
    torch.testing.assert_close(net(*both), alone, rtol=1e-4, atol=1e-5)


def test_the_change_is_zero_at_first_and_within_one() -> None:
    net = small()
    batch = images(32, 32)
    assert not net(*batch).any()
    torch.nn.init.normal_(net.head[2].weight, std=100)
    assert net(*batch).abs().max() == 1


def test_backward_reaches_every_parameter() -> None:
    net = awake(small())
    net(*images(64, 64)).square().sum().backward()
    for name, values in net.named_parameters():
        assert values.grad is not None, name
        # What is added to all keys alike falls out of the softmax: also the shift of the norms
        # of fine0 and coarse1, which are keys alone.
        if not name.endswith(("_key.bias", "norms.1.bias", "norms.2.bias")):
            assert values.grad.abs().max() > 1e-9, name


def test_one_batch_is_learned() -> None:
    net = small()
    batch = images(32, 32)
    wave = torch.linspace(0, 6, 32).sin()
    target = 0.2 * torch.stack([wave[:, None] * wave, wave[:, None] + wave])[None]
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(60):
        loss = (net(*batch) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert min(losses) < losses[0] / 5


def test_state_round_trips_and_holds_nothing_of_a_size() -> None:
    net, other = (awake(small()) for _ in range(2))
    batch = images(32, 64)
    assert not torch.allclose(net(*batch), other(*batch))
    keys = set(net.state_dict())
    assert keys == {name for name, _ in net.named_parameters()}
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*batch), other(*batch))


def test_parameters_are_as_many_as_the_papers() -> None:
    with torch.device("meta"):
        net = swinstfm.build(bands=6)
    assert sum(values.numel() for values in net.parameters()) == PAPER


def test_a_pixel_sees_a_whole_tile_of_the_deepest_windows_size() -> None:
    # Global in a tile of 8 tokens · 32 pixels; with windows of 4 tokens, that is 128 pixels.
    net = awake(small(window=4))
    batch = [image.requires_grad_() for image in images(128, 128)]
    net(*batch)[0, :, 64, 64].sum().backward()
    for image in batch:
        for corner in (image.grad[..., :8, :8], image.grad[..., -8:, -8:]):
            assert corner.abs().max() > 0


class Largest(TorchDispatchMode):
    """Note the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return out


def test_memory_is_linear_in_pixels() -> None:
    net = small()
    largest = {}
    for side in (64, 128):
        with torch.no_grad(), Largest() as seen:
            net(*images(side, side))
        largest[side] = seen.elements
    assert largest[128] == 4 * largest[64]
