"""What the network on top of the linear fusion of a series learns from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import xstf
from xstf import weights
from xstf._recipe import Recipe
from xstf.methods.lookup import get_method
from xstf.numerics.degrade import degrade
from xstf.train import loop, sts, sts_samples

SCENE = xstf.scenes.hyperspectral_series(size=60, bands=40)
SIZES = {"width": 8, "depth": 1}
QUICK = {"epochs": 2, "steps": 2, "patch": 24, "batch": 2, "sizes": SIZES, "device": "cpu"}


def fit(scene=SCENE, **options):
    cubes = scene.spectral, scene.dense
    return xstf.train.fit("sts", *cubes, spatial=scene.sharp, **QUICK | options)


def fuse(scene, **call):
    found = xstf.fuse(scene.spectral, scene.dense, spatial=scene.sharp, **call)
    return found.transpose("time", "band", "y", "x")


def task_of(scene=SCENE, validation=None, **options):
    return sts.training_task(
        get_method("sts", "sts"), scene.spectral, scene.dense, spatial=scene.sharp,
        validation=validation, options=sts.StsOptions(**options),
    )  # fmt: skip


def examples_of(scene=SCENE, **options):
    """Return what is trained on and what is held out."""
    supervision = task_of(scene, **options).supervise(Recipe(patch=24, batch=2), None)
    return supervision.draw.args[0], supervision.score.args[0]


def curved(size=60, seed=0):
    """A scene whose last twenty bands follow a bent curve of what the others show.

    Per pixel and date one state; bands that are linear in it, which the dense and the sharp cube
    have too, and bands that are its square: between two dates no straight line leads there.
    """
    scene = xstf.scenes.hyperspectral_series(size=size, bands=40)
    draw = np.random.default_rng(seed)
    place = (np.arange(size) + 0.5) / size
    waves = np.cos(np.pi * np.arange(6)[:, None] * place)
    shape = np.einsum("tij,iy,jx->tyx", draw.normal(0, 0.25, (7, 6, 6)), waves, waves)
    state = 0.5 + 0.5 * np.tanh(shape)
    level = draw.uniform(0.1, 0.3, (40, 1, 1))
    slope = np.where(np.arange(40) < 20, draw.uniform(0.1, 0.3, 40), 0)[:, None, None]
    bend = np.where(np.arange(40) < 20, 0, draw.uniform(0.5, 1.0, 40))[:, None, None]
    truth = level + slope * state[:, None] + bend * (state[:, None] - 0.5) ** 2
    mixed = [truth[:, :20][:, n::4].mean(axis=1) for n in range(4)]
    images = {
        "truth": truth,
        "spectral": degrade(truth[::2], ratio=3, fwhm=1.0),
        "dense": degrade(np.stack(mixed * 2, axis=1), ratio=2, fwhm=1.0),
        "sharp": np.stack([m[::2] for m in mixed], axis=1),
    }
    noise = {"truth": 0.0}
    return dataclasses.replace(
        scene,
        **{
            n: getattr(scene, n).copy(
                data=(a + noise.get(n, 5e-4) * draw.standard_normal(a.shape)).astype(np.float32)
            )
            for n, a in images.items()
        },
    )


def angle(found, truth):
    return float(xstf.metrics.sam(found, truth.assign_coords(time=found.time)))


# --- what comes of it ----------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_what_no_line_can(tmp_path):
    scene = curved()
    fitted = fit(
        scene, epochs=6, steps=40, batch=3, rate=3e-3, sizes={"width": 16, "depth": 1},
        out=tmp_path / "net.safetensors",
    )  # fmt: skip
    plain, found = fuse(scene), fuse(scene, method="sts", weights=str(fitted.path))
    between, truth = [1, 3, 5], scene.truth
    off = [float(np.abs(f - truth).values[between].mean()) for f in (plain, found)]
    assert off[1] < 0.7 * off[0]
    assert angle(found[between], truth[between]) < 0.7 * angle(plain[between], truth[between])
    assert fitted.scores["mae"] < 0.8 * fitted.scores["mae_untrained"]


def test_what_does_not_pay_is_not_kept():
    fitted = fit(epochs=1, steps=1, rate=0.3)
    assert fitted.history[1]["mae"] > fitted.history[0]["mae"]
    assert fitted.scores["mae"] == fitted.scores["mae_untrained"]
    extra = weights.load(fitted.checkpoint).manifest.extra
    assert extra["errors"] == extra["errors_linear"]


def test_the_verb_trains_on_its_own_cubes(monkeypatch):
    short = dataclasses.replace(get_method("sts", "sts").net.small, epochs=1, steps=1, batch=1)
    record = get_method("sts", "sts")
    record = dataclasses.replace(record, net=dataclasses.replace(record.net, small=short))
    found = fuse(SCENE, method=record, weights="fit", device="cpu")
    assert np.isfinite(found).all()
    assert "mae" in found.attrs["stf_weights"]


# --- the score -----------------------------------------------------------------------------------


class Still(torch.nn.Module):
    """A network that answers with one change of the components everywhere."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, *images):
        from xstf.nets.sts import Fused

        change = torch.zeros_like(images[7]) + self.change
        return Fused(change, images[7], images[7], images[7])


def test_the_worse_of_error_and_angle_on_the_worst_date_decides():
    supervision = task_of().supervise(Recipe(patch=24), None)
    held, scaling = supervision.score.args
    cpu = torch.device("cpu")
    still = supervision.score(Still(0.0), cpu)
    mean = np.mean([np.abs(h.base - h.label)[:, h.valid].mean() for h in held])
    assert still == pytest.approx(mean, rel=1e-5)
    assert supervision.score(Still(0.5), cpu) > 1.5 * still
    assert loop.validate(Still(0.5), supervision, cpu) == supervision.score(Still(0.5), cpu)
    # As far off on the other side of the truth on one date, and just as good on the other.
    worse = dataclasses.replace(held[0], label=held[0].base)
    assert sts._score([worse, held[1]], scaling, Still(0.01), cpu) > 10 * still
    names = sts._held_out_errors(held, scaling, Recipe(), Still(0.0), cpu)
    assert names["errors"] == names["errors_linear"]
    assert names["errors"]["mae"] == pytest.approx(still, rel=1e-5)


# --- examples ------------------------------------------------------------------------------------


def test_dates_between_pairs_are_predicted_from_those_around_them():
    days = np.array([0.0, 50, 100, 150])
    plans = sts_samples._plans(days)
    assert plans == [(1, 0, 2), (1, 0, 3), (2, 1, 3), (2, 0, 3)]
    assert sts_samples._nearest(plans, days) == [(1, 0, 2), (2, 1, 3)]
    assert sts_samples._plans(days[:2]) == [(0, 1, 1), (1, 0, 0)]
    assert len(sts_samples._plans(days[:3])) == 1


def test_columns_are_held_out_of_all_dates():
    train, held = examples_of()
    assert [one.valid.shape for one in train] == [(60, 48)] * 4
    assert [one.valid.shape for one in held] == [(60, 12)] * 2
    assert all(one.valid.all() for one in (*train, *held))


def test_named_dates_are_held_out_whole():
    date = SCENE.sharp.time.values[2]
    train, held = examples_of(validation=date)
    assert len(train) == 2
    assert len(held) == 1
    assert {one.valid.shape for one in (*train, *held)} == {(60, 60)}
    assert "dates 2021-07-19" in task_of(validation=date).held_out_text
    for wrong in (SCENE.sharp.time.values[0], SCENE.dense.time.values[1], SCENE.sharp.time[1:3]):
        with pytest.raises(ValueError, match="some of .* and not all"):
            task_of(validation=wrong)


def test_labels_hold_what_dates_have_in_common():
    """The label is the date's own pair less what is linear in the images: unseen, and gone."""
    train, _ = examples_of()
    for one in train:
        off = (one.truth - one.images["linear"])[:, one.valid]
        seen = one.images["dense"][:, one.valid]
        assert np.abs(off.mean(axis=1)).max() < 0.05
        assert np.abs(np.corrcoef(np.concatenate([off[:1], seen]))[0, 1:]).max() < 0.2


def test_a_reduced_scale_has_the_spectral_cube_for_a_label():
    train, held = examples_of(scale="reduced")
    assert [one.valid.shape for one in train] == [(18, 12)] * 4
    assert task_of(scale="reduced").extra["scale"] == "reduced"
    label, spectral = held[0].label, SCENE.spectral.values[1]
    here, beside = (
        np.corrcoef(label.ravel(), spectral[:, :18, 12 + n : 18 + n].ravel())[0, 1] for n in (0, 1)
    )
    assert here > 0.98 > beside
    assert np.isfinite(fit(scale="reduced", patch=40).scores["mae"])


def test_masked_pixels_teach_nothing():
    left = SCENE.sharp.x < SCENE.sharp.x[20]
    mask = xr.zeros_like(SCENE.sharp[:, 0], bool).drop_vars(("band", "wavelength")) | left
    spoiled = SCENE.sharp.where(~mask, 0.9)
    runs = [
        fit(dataclasses.replace(SCENE, sharp=cube), spatial_mask=mask)
        for cube in (SCENE.sharp, spoiled)
    ]
    first, second = ([row["loss"] for row in r.history[1:]] for r in runs)
    assert first == second
    train, _ = examples_of(dataclasses.replace(SCENE, sharp=spoiled), spatial_mask=mask)
    assert not train[0].valid[:, :20].any()
    assert train[0].valid[:, 20:].all()
    assert all(np.isfinite(i).all() for i in (*train[0].images.values(), train[0].truth))


# --- the run -------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_network_and_another_seed_another():
    first, again, other = fit(), fit(), fit(seed=1)
    losses = [[row["loss"] for row in f.history[1:]] for f in (first, again, other)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_interrupted_and_resumed_is_as_unbroken(tmp_path, monkeypatch):
    unbroken = fit(epochs=3)
    path = tmp_path / "net.safetensors"
    keep = loop._Trainer.keep

    def killed(trainer, file, done, mark):
        keep(trainer, file, done, mark)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop._Trainer, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(epochs=3, out=path)
    monkeypatch.undo()
    resumed = fit(epochs=3, out=path)
    for key in ("loss", "mae", "rate"):
        assert [r[key] for r in resumed.history[1:]] == [r[key] for r in unbroken.history[1:]]


def test_kernels_are_chosen_by_sizes():
    found = fit(sizes={"kernels": (1, 3, 5), **SIZES}, epochs=1, steps=1)
    manifest = weights.load(found.checkpoint).manifest
    assert manifest.sizes["kernels"] == [1, 3, 5]
    assert manifest.bands == tuple(SCENE.dense.band.values)
    assert manifest.extra["fine_bands"] == list(SCENE.spectral.band.values)


# --- what cannot be learned from -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "coarse"}, "scale must be"),
        ({"pair_tolerance": "1h", "dense": 3}, "two dates or more|no date in common"),
        ({"cross": False}, "no argument"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    scene = SCENE
    if "dense" in options:
        shifted = SCENE.dense.assign_coords(time=SCENE.dense.time + np.timedelta64(30, "h"))
        scene, options = dataclasses.replace(SCENE, dense=shifted), {"pair_tolerance": "1h"}
    with pytest.raises((ValueError, TypeError), match=words):
        fit(scene, **options)


def test_cubes_without_contrast_are_refused():
    flat = {n: xr.full_like(getattr(SCENE, n), 0.2) for n in ("spectral", "dense", "sharp")}
    with pytest.raises(ValueError, match="nothing to learn"):
        fit(dataclasses.replace(SCENE, **flat))


def test_an_example_that_is_never_clear_is_left_out():
    sharp = SCENE.sharp.copy(deep=True)
    sharp[0] = np.nan  # what is predicted from the first date alone teaches nothing
    train, held = examples_of(dataclasses.replace(SCENE, sharp=sharp))
    assert len(train) == 1
    assert len(held) == 1
    sharp[:, :, :, 48:] = np.nan
    with pytest.raises(ValueError, match="nothing that is held out is clear"):
        task_of(dataclasses.replace(SCENE, sharp=sharp))
