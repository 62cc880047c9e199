"""Examples of two image pairs: which predict which, and what the network makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xstf
from xstf.methods.fuse._network import Images, _run
from xstf.methods.lookup import get_method
from xstf.nets import stf3dcnn
from xstf.train import fuse as fusion

QUICK = {
    "epochs": 1, "steps": 2, "patch": 16, "batch": 2, "device": "cpu",
    "sizes": {"width": 8, "depth": 3},
}  # fmt: skip
RECORD = get_method("fuse", "stf3dcnn")


@pytest.fixture(scope="module")
def cubes():
    scene = xstf.scenes.landsat_modis(size=60)
    bands = ["green", "nir"]
    return scene.fine.sel(band=bands), scene.coarse.sel(band=bands)


def read(fine, coarse, record=RECORD, validation=None, **options):
    options = fusion.FuseOptions(**options)
    return fusion.read(fine, coarse, net=record.net, options=options, validation=validation)


def dates_of(examples):
    """Return which fine dates predict which."""
    return {(tuple(p.fine for p in example.pairs), example.target.fine) for example in examples}


def shaken():
    torch.manual_seed(0)
    net = stf3dcnn.build(bands=2, width=8, depth=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


def test_every_two_predict_a_third(cubes):
    made = read(*cubes)
    (target,) = {example.target.fine for example in made.held_out}
    assert dates_of(made.held_out) == {((target - 1, target + 1), target)}
    a, b, c = (i for i in range(4) if i != target)
    assert dates_of(made.examples) == {((a, b), c), ((a, c), b), ((b, c), a)}


def test_without_crossing_the_two_are_those_around(cubes):
    fine, coarse = cubes
    made = read(fine, coarse, cross=False, validation=fine.time[3])
    assert dates_of(made.examples) == {((0, 2), 1)}
    # Outside of the others, a verb would predict from one.
    assert dates_of(made.held_out) == {((2,), 3)}


def test_three_pairs_hold_out_columns_and_two_teach_singly(cubes):
    fine, coarse = cubes
    three = read(fine.isel(time=[0, 1, 3]), coarse)
    assert three.held_out_text == "columns 48 and on"
    assert dates_of(three.examples) == {((0, 1), 2), ((0, 2), 1), ((1, 2), 0)}
    assert dates_of(three.held_out) == dates_of(three.examples)
    two = read(fine.isel(time=[0, 3]), coarse)
    assert dates_of(two.examples) == {((0,), 1), ((1,), 0)}
    # With one of three held out by name, two are left.
    named = read(fine.isel(time=[0, 1, 3]), coarse, validation=fine.time[1])
    assert dates_of(named.examples) == {((0,), 2), ((2,), 0)}
    assert dates_of(named.held_out) == {((0, 2), 1)}


def test_networks_that_learn_from_one_pair_do_so_as_before(cubes):
    record = get_method("fuse", "edcstfn")
    assert record.net.learn_pairs == 1
    examples = read(*cubes, record).examples
    assert all(len(example.pairs) == 1 for example in examples)


@pytest.mark.parametrize("base", ["delta", "fine", "none"])
def test_training_sees_what_the_verb_will_give(cubes, base):
    """The estimate of two pairs is that of the kernel."""
    rng = np.random.default_rng(0)
    fine = rng.random((2, 2, 24, 20)).astype("f4")
    coarse = rng.random((3, 2, 24, 20)).astype("f4")
    scale = fusion.Scaling((0.0, 0.0), (1.0, 1.0), base)
    net = shaken()
    batch = {
        "fine0": torch.from_numpy(fine[None]), "coarse0": torch.from_numpy(coarse[None, :2]),
        "coarse1": torch.from_numpy(coarse[None, 2]),
    }  # fmt: skip
    with torch.no_grad():
        mine = fusion.estimate(base, net, batch)[0].numpy()
        answer = _run(net, torch.device("cpu"), True, fine[None], coarse[None])[0]
    images = Images(fine, coarse, scale, (0, 0))
    want = images.add_base(answer[:2], answer[2:], (slice(0, 24), slice(0, 20)))
    np.testing.assert_allclose(mine, want, atol=1e-5)


def test_a_patch_is_valid_where_all_its_images_are(cubes):
    fine, coarse = cubes
    holed = fine.fillna(0.1).copy(deep=True)
    for date, row in enumerate((2, 5, 8, 11)):
        holed[date, :, row] = np.nan
    made = read(holed, coarse.fillna(0.1))
    scale = fusion.Scaling((0.0, 0.0), (1.0, 1.0), "delta")
    example = made.examples[0]
    patch = fusion._patch(made, scale, example, 0, 0, 16)
    gone = [(2, 5, 8, 11)[p.fine] for p in (*example.pairs, example.target)]
    assert np.flatnonzero(~patch["valid"].all(axis=(0, 2)).astype(bool)).tolist() == sorted(gone)
    assert patch["fine0"].shape == patch["coarse0"].shape == (2, 2, 16, 16)
    assert all(np.isfinite(v).all() for v in patch.values())


def test_the_weights_between_dates_are_learned_from_two_pairs_alone(cubes):
    fine, coarse = cubes
    for which, learned in (([0, 1, 2, 3], True), ([0, 3], False)):
        net = stf3dcnn.build(bands=2, width=8, depth=3)
        task = fusion.training_task(
            RECORD, fine.isel(time=which), coarse, options=fusion.FuseOptions()
        )
        recipe = xstf.train.Recipe(patch=16, batch=2)
        supervision = task.supervise(recipe, None)
        torch.nn.init.normal_(net.layers[-1].weight)
        loss, _ = supervision.learn(net, supervision.draw(np.random.default_rng(0)))
        loss.backward()
        assert bool(net.layers[0].weight.grad[:, :, 0].any()) == learned


def test_it_trains_and_holds_out_one_pair_beside_two(cubes):
    """Dates held out within the series and after it do not fit in one batch."""
    fine, coarse = cubes
    fitted = xstf.train.fit("stf3dcnn", fine, coarse, validation=fine.time[[1, 3]], **QUICK)
    assert np.isfinite(fitted.history[1]["loss"])
    assert fitted.scores["mae"] <= fitted.scores["mae_untrained"]


def test_a_coarse_sensor_that_sees_half_of_each_change_is_seen_through():
    """On four dates, one held out; the base images, blended, are right to a half."""
    rng = np.random.default_rng(0)
    times = np.array(["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"], "M8[ns]")
    y, x = np.arange(48) / 9, np.arange(48) / 7
    pattern = np.sin(y)[:, None] * np.cos(x)[None, :]
    gains = np.array([0.0, 0.10, -0.06, 0.15])[:, None, None, None]
    fine = 0.3 + gains * np.stack([pattern, pattern.T]) + 0.02 * rng.standard_normal((48, 48))
    mean = fine.mean(axis=0)
    dull = (mean + 0.5 * (fine - mean)).reshape(4, 2, 12, 4, 12, 4).mean(axis=(3, 5))
    grid = {"y": -(np.arange(48) + 0.5), "x": np.arange(48) + 0.5}
    coarse_grid = {k: v.reshape(-1, 4).mean(1) for k, v in grid.items()}
    dims, bands = ("time", "band", "y", "x"), ["a", "b"]
    cubes = (
        xr.DataArray(values, {"time": times, "band": bands, **where}, dims).astype("f4")
        for values, where in ((fine, grid), (dull, coarse_grid))
    )
    fitted = xstf.train.fit(
        "stf3dcnn", *cubes, **QUICK | {"epochs": 4, "steps": 30, "rate": 5e-3, "batch": 4}
    )
    assert fitted.scores["mae"] < 0.6 * fitted.scores["mae_untrained"]
