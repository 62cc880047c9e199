from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xstf.nets import sts  # noqa: E402

SIZES = {"bands": 3, "guide_bands": 2, "components": 4, "width": 8, "depth": 2}
NAMES = (
    "dense", "dense_a", "dense_b", "sharp_a", "sharp_b", "share", "dt", "linear", "sharp_linear",
)  # fmt: skip
IMAGES = [name for name in NAMES if name not in ("share", "dt")]


def inputs(n=2, y=16, x=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = {"dense": 3, "sharp": 2, "linear": 4, "share": 2, "dt": 2} | {"sharp_linear": 2}
    out = {}
    for name in NAMES:
        shape = (n, channels.get(name, channels[name.split("_")[0]]), y, x)
        out[name] = torch.rand(shape[:2] if name in ("share", "dt") else shape, generator=generator)
    out["share"] = torch.softmax(out["share"], dim=1)[:, :, None, None]
    out["dt"][:, 1] *= -1
    return out


def small(seed=0, **sizes):
    torch.manual_seed(seed)
    return sts.build(**SIZES | sizes)


def loosened(net):
    """Take zeros away, which hide all behind them."""
    for parameter in net.parameters():
        if parameter.ndim == 4 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def losses(fused, target):
    """Return the losses of all tasks, as a scene's labels give them."""
    sharp, components, changes = target
    wanted = {
        "spatial": (fused.spatial, sharp),
        "temporal": (fused.temporal, changes),
        "spectral": (fused.spectral, components),
        "fusion": (fused.components, components),
    }
    return {task: (out - label).square().mean() for task, (out, label) in wanted.items()}


def labels(n=2, y=16, x=16):
    rows, columns = torch.linspace(0, 3, y)[:, None], torch.linspace(0, 2, x)
    wave = torch.sin(rows + columns)
    return (
        wave.expand(n, 2, y, x),
        0.3 * wave.cos().expand(n, 4, y, x),
        0.2 * wave.square().expand(n, 2, 2, y, x),
    )


@pytest.mark.parametrize("kernels", [(1,), (1, 3), (1, 3, 5)])
def test_any_size_gives_images_of_that_size(kernels):
    net = loosened(small(kernels=kernels))
    for n, y, x in ((1, 17, 17), (2, 9, 30), (1, 1, 5)):
        fused = net(**inputs(n, y, x))
        assert fused.components.shape == (n, 4, y, x)
        assert fused.spatial.shape == (n, 2, y, x)
        assert fused.temporal.shape == (n, 2, 2, y, x)
        assert fused.spectral.shape == (n, 4, y, x)


def test_an_untrained_network_is_the_linear_method():
    known = inputs()
    fused = small()(**known)
    assert not fused.components.any()
    for i, name in enumerate(("sharp_a", "sharp_b")):
        expected = known["sharp_linear"] - known[name]
        torch.testing.assert_close(fused.temporal[:, i], expected, rtol=0, atol=0)


def test_backward_reaches_every_parameter():
    net = small()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    # Two layers of zeros lie behind each other: the third step is the first to pass both.
    for _ in range(3):
        optimiser.zero_grad()
        sts.balance(losses(net(**inputs()), labels()), net.c).backward()
        optimiser.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_result_trains_every_branch_but_the_answers_of_two():
    """What is learnt on the way to the other tasks' answers is what the head works with."""
    net = loosened(small())
    net(**inputs()).components.sum().backward()
    untouched = {name for name, p in net.named_parameters() if p.grad is None}
    tasks = {f"{b}.task.{p}" for b in ("spatial", "spectral") for p in ("weight", "bias")}
    assert untouched == tasks | {f"c.{task}" for task in sts.TASKS}


@pytest.mark.slow
def test_overfits_one_batch_in_all_tasks():
    net = small()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    known, target = inputs(), labels()
    # Smooth images, as a network of this size can learn by heart.
    for name in IMAGES:
        phase = torch.arange(known[name].shape[1]) + len(name)
        waves = torch.linspace(0, 3, 16)[:, None] * phase[:, None, None] / 3
        known[name] = torch.sin(waves + torch.linspace(0, 2, 16)).expand_as(known[name])
    first = losses(net(**known), target)
    for _ in range(120):
        now = losses(net(**known), target)
        optimiser.zero_grad()
        sts.balance(now, net.c).backward()
        optimiser.step()
    assert all(now[task] < first[task] / 5 for task in sts.TASKS)


def test_the_state_makes_another_network_the_same():
    net, other = loosened(small(0)), small(1).eval()
    known = inputs()
    assert not torch.equal(net(**known).components, other(**known).components)
    other.load_state_dict(net.state_dict())
    for ours, theirs in zip(net(**known), other(**known), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert {f"c.{task}" for task in sts.TASKS} < set(net.state_dict())


def test_works_in_half_precision():
    net = loosened(small())
    known = inputs()
    expected = net(**known)
    with torch.autocast("cpu", torch.bfloat16):
        fused = net(**known)
        sts.balance(losses(fused, labels()), net.c).backward()
    for out, exact in zip(fused, expected, strict=True):
        assert (out.float() - exact).abs().max() < 0.03 * exact.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("kernels", "specified", "counted"),
    [((1,), 84e3, 84_416), ((1, 3), 624e3, 624_608), ((1, 3, 5), 2.12e6, 2_123_264)],
)
def test_has_the_parameters_of_its_specification(kernels, specified, counted):
    net = sts.build(bands=8, guide_bands=4, components=10, kernels=kernels)
    assert sum(p.numel() for p in net.parameters()) == counted == pytest.approx(specified, rel=0.01)


def test_a_block_adds_one_path_for_each_kernel_to_its_input():
    block = loosened(small(kernels=(1, 3))).spatial.features[1]
    features = torch.rand(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    assert [path[0].kernel_size for path in block.paths] == [(1, 1), (3, 3)]
    expected = features + block.paths[0](features) + block.paths[1](features)
    torch.testing.assert_close(block(features), expected)


@pytest.mark.parametrize(
    ("kernels", "depth", "expected"),
    [((1,), 3, 0), ((1, 3), 1, 6), ((1, 3), 3, 14), ((3, 5), 1, 12)],
)
def test_a_pixel_depends_on_its_reach_and_no_further(kernels, depth, expected):
    net = loosened(small(kernels=kernels, depth=depth, width=4)).double()
    known = {name: each.double() for name, each in inputs(1, 33, 33).items()}
    for name in IMAGES:
        known[name].requires_grad_()
    net(**known).components[0, :, 16, 16].sum().backward()
    far = (torch.arange(33) - 16).abs()
    distance = torch.maximum(far[:, None], far)
    reached = {n: distance[known[n].grad[0].abs().sum(0) > 0].max().item() for n in IMAGES}
    # The components enter at the head, which has one block.
    assert reached.pop("linear") == max(kernels) - 1
    assert set(reached.values()) == {expected}
    assert sts.reach(kernels=kernels, depth=depth) == expected


def test_the_reach_at_the_defaults_is_14():
    assert sts.reach() == 14
    assert sts.reach(kernels=(1, 3, 5)) == 28


def test_memory_is_linear_in_pixels():
    net = small().eval()
    most = []

    def look(_module, _inputs, out):
        each = out if isinstance(out, tuple) else (out,)
        most.append(max([most.pop(), *(t.numel() for t in each)]))

    for module in net.modules():
        if not isinstance(module, (torch.nn.ModuleList, torch.nn.ParameterDict)):
            module.register_forward_hook(look)
    peaks = []
    for side in (16, 64):
        most[:] = [0]
        net(**inputs(1, side, side))
        peaks += most
    assert peaks[1] == 16 * peaks[0]


def swapped(known):
    turned = dict(known, share=known["share"].flip(1), dt=known["dt"].flip(1))
    for kind in ("dense", "sharp"):
        turned[f"{kind}_a"], turned[f"{kind}_b"] = known[f"{kind}_b"], known[f"{kind}_a"]
    return turned


def test_the_temporal_branch_is_the_same_for_both_dates():
    net = loosened(small())
    known = inputs()
    ours, theirs = net(**known), net(**swapped(known))
    torch.testing.assert_close(theirs.temporal.flip(1), ours.temporal, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs.spectral, ours.spectral, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs.spatial, ours.spatial)


def test_the_samples_of_a_batch_do_not_see_each_other():
    net = loosened(small())
    known = inputs(3)
    for i in range(3):
        alone = net(**{name: each[i : i + 1] for name, each in known.items()})
        for one, all_of_them in zip(alone, net(**known), strict=True):
            torch.testing.assert_close(one[0], all_of_them[i], rtol=1e-4, atol=1e-5)


def test_a_date_without_a_share_has_no_say_in_the_sharp_image():
    net = loosened(small())
    known = inputs()
    known["share"] = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(2, -1, -1, -1)
    other = dict(known, dense_b=known["dense_b"] + 1, sharp_b=known["sharp_b"] + 1)
    torch.testing.assert_close(net(**other).spectral, net(**known).spectral)
    known["share"] = known["share"].flip(1)
    other["share"] = known["share"]
    assert (net(**other).spectral - net(**known).spectral).abs().max() > 1e-3


def test_shares_may_differ_from_pixel_to_pixel():
    net = loosened(small())
    known = inputs()
    wide = dict(known, share=known["share"].expand(-1, -1, 16, 16))
    torch.testing.assert_close(net(**wide).components, net(**known).components)


def test_the_network_knows_how_far_the_dates_are():
    net = loosened(small())
    known = inputs()
    later = dict(known, dt=known["dt"] + torch.tensor([0.5, 0.0]))
    changed = (net(**later).temporal - net(**known).temporal).abs().amax(dim=(0, 2, 3, 4))
    assert changed[0] > 1e-3
    assert changed[1] == 0


def weights(**values):
    each = {task: torch.nn.Parameter(torch.tensor(float(c))) for task, c in values.items()}
    return torch.nn.ParameterDict(each)


def test_balance_is_its_formula():
    c = weights(spatial=0.5, fusion=-2.0, spectral=7.0)
    tasks = {"spatial": torch.tensor(0.3), "fusion": torch.tensor(5.0)}
    expected = 0.3 / (2 * 0.25) + torch.tensor(1.25).log() + 5 / (2 * 4) + torch.tensor(5.0).log()
    torch.testing.assert_close(sts.balance(tasks, c), expected)


def test_weights_settle_where_the_loss_says():
    """The gradient is 0 at L = 2 c⁴ / (1 + c²)."""
    c = weights(fusion=1.0)
    optimiser = torch.optim.Adam(c.parameters(), lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        sts.balance({"fusion": torch.tensor(0.02)}, c).backward()
        optimiser.step()
    square = c["fusion"].item() ** 2
    assert 2 * square**2 / (1 + square) == pytest.approx(0.02, rel=0.01)


def test_a_task_without_loss_does_not_run_away_and_comes_back():
    c = weights(fusion=0.0)
    loss = torch.tensor(1.0, requires_grad=True)
    total = sts.balance({"fusion": loss}, c)
    total.backward()
    assert loss.grad == pytest.approx(1 / (2 * sts.FLOOR))
    c = weights(fusion=1e-3)
    sts.balance({"fusion": torch.tensor(1.0)}, c).backward()
    assert c["fusion"].grad < 0
