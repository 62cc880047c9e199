"""SwinSTFM: windows and their masks, the unmixing, the size, and the reach."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import _swin, swinstfm  # noqa: E402

PAPER = 37_535_290  # parameters at 6 bands, counted on the authors' code


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def small(window: int = 8) -> Any:
    return swinstfm.build(bands=2, width=8, depths=(1, 1, 2, 1), window=window)


def images(y: int, x: int) -> list[Any]:
    return [torch.rand(1, 2, y, x) for _ in range(3)]


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


def test_the_change_is_within_one() -> None:
    net = small()
    torch.nn.init.normal_(net.head[2].weight, std=100)
    assert net(*images(32, 32)).abs().max() == 1


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
