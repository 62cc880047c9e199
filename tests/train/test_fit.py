"""Training: what it learns from, what it holds out, how it stops and goes on."""

from __future__ import annotations

import csv
import dataclasses
import os

import numpy as np
import pytest
import torch

import xstf
from xstf._recipe import Recipe
from xstf.methods.lookup import get_method
from xstf.train import fuse as fusion
from xstf.train import loop
from xstf.weights import running

QUICK = {
    "epochs": 2, "steps": 2, "patch": 16, "batch": 2, "device": "cpu",
    "sizes": {"widths": (4, 8, 8)},
}  # fmt: skip


@pytest.fixture(scope="module")
def cubes():
    scene = xstf.scenes.landsat_modis(size=60)
    bands = ["green", "nir"]
    return scene.fine.sel(band=bands), scene.coarse.sel(band=bands)


def read(fine, coarse, validation=None, swap=False, **options):
    net = dataclasses.replace(get_method("fuse", "edcstfn").net, swap=swap)
    options = fusion.FuseOptions(**options)
    return fusion.read(fine, coarse, net=net, options=options, validation=validation)


def fit(cubes, **options):
    return xstf.train.fit("edcstfn", *cubes, **QUICK | options)


@pytest.mark.slow
def test_a_seed_gives_one_result(cubes):
    first, second, other = fit(cubes), fit(cubes), fit(cubes, seed=1)
    have, want = (xstf.weights.load(f.checkpoint).tensors for f in (first, second))
    assert all(torch.equal(have[name], want[name]) for name in want)
    assert [r["loss"] for r in first.history[1:]] == [r["loss"] for r in second.history[1:]]
    assert [r["loss"] for r in first.history[1:]] != [r["loss"] for r in other.history[1:]]


class Killed(Exception):
    """What a kill leaves: the state on disk and nothing else."""


def kill_after(epochs, monkeypatch, *, step=0, state=".training."):
    """Stop once the state of so many epochs and steps is on disk."""
    keep = loop._Trainer.keep

    def die(self, path, done, mark):
        keep(self, path, done, mark)
        if state in path.name and len(done.history) > epochs and done.step == step:
            raise Killed

    monkeypatch.setattr(loop._Trainer, "keep", die)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [{}, {"average": 0.9, "schedule": "plateau"}])
def test_interrupted_and_resumed_is_as_unbroken(cubes, tmp_path, monkeypatch, extra):
    unbroken = fit(cubes, epochs=4, **extra)

    path = tmp_path / "net.safetensors"
    kill_after(2, monkeypatch)
    with pytest.raises(Killed):
        fit(cubes, epochs=4, out=path, log=tmp_path / "log.csv", **extra)
    assert not path.exists()
    monkeypatch.undo()
    resumed = fit(cubes, epochs=4, out=path, log=tmp_path / "log.csv", **extra)
    for key in ("loss", "mae", "rate"):
        want, have = ([r[key] for r in f.history[1:]] for f in (unbroken, resumed))
        assert have == want
    assert path.exists()
    assert list(tmp_path.glob("*.training.safetensors")) == []
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(r["epoch"]) for r in rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("state", [".training.", ".features."])
def test_resumed_within_an_epoch_is_as_unbroken(cubes, tmp_path, monkeypatch, state):
    monkeypatch.setattr(loop, "_EVERY", 0.0)
    unbroken = fit(cubes)

    path, log = tmp_path / "net.safetensors", tmp_path / "log.csv"
    kill_after(int("training" in state), monkeypatch, step=1, state=state)
    with pytest.raises(Killed):
        fit(cubes, out=path, log=log)
    monkeypatch.undo()
    resumed = fit(cubes, out=path, log=log)
    want, have = (
        [[r[k] for k in ("epoch", "loss", "mae", "rate")] for r in f.history[1:]]
        for f in (unbroken, resumed)
    )
    assert have == want
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["log.csv", "net.safetensors"]


def test_a_kill_before_the_state_is_written_doubles_no_row(cubes, tmp_path, monkeypatch):
    path, log = tmp_path / "net.safetensors", tmp_path / "log.csv"
    keep = loop._Trainer.keep

    def die(self, path, done, mark):
        if ".training." in path.name and len(done.history) > 2:
            raise Killed
        keep(self, path, done, mark)

    monkeypatch.setattr(loop._Trainer, "keep", die)
    with pytest.raises(Killed):
        fit(cubes, out=path, log=log)
    monkeypatch.undo()
    fit(cubes, out=path, log=log)
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert [int(r["epoch"]) for r in rows] == [0, 1, 2]


def test_the_bar_counts_steps(cubes, capsys):
    fit(cubes, progress=True)
    assert "4/4" in capsys.readouterr().err


def test_state_of_another_training_is_refused(cubes, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    kill_after(1, monkeypatch)
    with pytest.raises(Killed):
        fit(cubes, epochs=4, out=path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="state of another training"):
        fit(cubes, epochs=4, out=path, seed=5)
    assert fit(cubes, epochs=1, out=path, seed=5, resume=False).path == path


def test_masked_pixels_teach_nothing(cubes):
    fine, coarse = cubes
    mask = fine.isel(band=0, drop=True).isnull() | ((fine.x - fine.x[0]) < 500)
    spoiled = fine.where(~mask, 0.9)
    first, second = (fit((f, coarse), mask=mask) for f in (fine, spoiled))
    assert [r["loss"] for r in first.history[1:]] == [r["loss"] for r in second.history[1:]]


def test_a_date_that_is_held_out_is_in_no_example(cubes):
    fine, coarse = cubes
    made = read(fine, coarse, validation=fine.time[1])
    assert {example.target.fine for example in made.held_out} == {1}
    assert {p.fine for e in made.examples for p in (*e.pairs, e.target)} == {0, 2, 3}
    assert len(made.examples) == 6
    assert len(read(fine, coarse, cross=False).examples) == 2
    assert len(read(fine, coarse, cross=False, swap=True).examples) == 4
    spoiled = fine.copy(deep=True)
    spoiled[1] *= 1.5
    first, second = (fit((f, coarse), validation=fine.time[1]) for f in (fine, spoiled))
    assert first.history[1]["loss"] == second.history[1]["loss"]
    assert first.scores["mae"] != second.scores["mae"]


def test_two_pairs_hold_out_columns(cubes):
    fine, coarse = cubes
    made = read(fine.isel(time=[0, 3]), coarse)
    assert made.held_out_text == "columns 48 and on"
    assert all(example.columns == slice(0, 48) for example in made.examples)
    assert all(example.columns == slice(48, 60) for example in made.held_out)


def test_learning_pays_or_changes_nothing(cubes):
    """The untrained network answers with its base image, and stays if nothing is better."""
    spoilt = fit(cubes, rate=0.5, epochs=1)
    assert spoilt.history[1]["mae"] > spoilt.history[0]["mae"]
    assert spoilt.scores["mae"] == spoilt.scores["mae_untrained"]
    fine, coarse = cubes
    read = xstf.weights.load(spoilt.checkpoint)
    last = [v for v in read.tensors.values() if len(v) == fine.sizes["band"]]
    assert any(not v.any() for v in last)


def test_stops_when_nothing_improves(cubes):
    fitted = fit(cubes, epochs=30, steps=1, rate=1e-9, patience=2)
    assert fitted.scores["epochs"] < 30


@pytest.mark.parametrize("name", ["ganstfm", "ecpwstfn"])
def test_adversaries_and_features_are_trained_by_the_same_loop(cubes, name):
    small = {"ganstfm": {"widths": (4, 8)}, "ecpwstfn": {"width": 4}}[name]
    fitted = xstf.train.fit(name, *cubes, **QUICK | {"sizes": small, "epochs": 1, "steps": 1})
    assert np.isfinite(fitted.history[1]["loss"])


def test_lazy_cubes_teach_the_same(cubes):
    fine, coarse = cubes
    lazy = fit((fine.chunk(y=17, x=20), coarse.chunk(time=1)))
    assert [r["loss"] for r in lazy.history[1:]] == [r["loss"] for r in fit(cubes).history[1:]]


def test_schedules():
    cosine = Recipe(rate=1.0, schedule="cosine", warmup=0.1)
    assert loop.rate(cosine, 0.05, []) == pytest.approx(0.5, rel=0.02)
    assert loop.rate(cosine, 1.0, []) == pytest.approx(0.01)
    plateau = Recipe(rate=1.0, schedule="plateau", patience=6)
    assert loop.rate(plateau, 0.5, [3, 2, 1, 0.5]) == 1.0
    assert loop.rate(plateau, 0.5, [3, 2, 2, 2, 2]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "huge"}, "recipe must be"),
        ({"speed": 3}, "fit has no argument"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"out": "net.pt"}, "safetensors"),
        ({"validation": "1999-01-01"}, "must be dates of image pairs"),
    ],
)
def test_bad_arguments_say_what_is_allowed(cubes, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        fit(cubes, **options)


def test_classical_methods_need_no_training(cubes):
    with pytest.raises(ValueError, match="is no network"):
        xstf.train.fit("starfm", *cubes)


def test_one_pair_is_too_few(cubes):
    fine, coarse = cubes
    with pytest.raises(ValueError, match="needs two fine images"):
        fit((fine.isel(time=[0]), coarse))


class TestTheVerb:
    """Weights through `fuse`."""

    def test_three_ways_are_named(self, cubes):
        with pytest.raises(ValueError, match=r"weights='file.*weights='fit'.*bundled"):
            xstf.fuse(*cubes, method="edcstfn")
        with pytest.raises(ValueError, match="no checkpoint 'nowhere'"):
            xstf.fuse(*cubes, method="edcstfn", weights="nowhere")

    def test_fit_trains_on_the_cubes_of_the_call(self, cubes, monkeypatch):
        record = get_method("fuse", "edcstfn")
        quick = Recipe(epochs=1, steps=1, patch=16, batch=1)
        monkeypatch.setitem(vars(record.net), "small", quick)
        out = xstf.fuse(*cubes, method="edcstfn", weights="fit", device="cpu")
        assert "held out" in out.attrs["stf_weights"]
        assert not np.isnan(out.isel(time=0)).any()

    def test_weights_for_other_data_are_refused(self, cubes, tmp_path):
        fine, coarse = cubes
        path = fit(cubes, epochs=1).save(tmp_path / "w.safetensors")
        swapped = fine.isel(band=[1, 0]), coarse.isel(band=[1, 0])
        with pytest.raises(ValueError, match="trained on bands"):
            xstf.fuse(*swapped, method="edcstfn", weights=path)
        with pytest.raises(ValueError, match=r"are of 'edcstfn', not of 'mlffgan'"):
            xstf.fuse(*cubes, method="mlffgan", weights=path)
        wide = coarse.coarsen(y=3, x=3, boundary="trim").mean()
        with pytest.raises(ValueError, match="coarse pixels 15 fine pixels wide"):
            xstf.fuse(fine, wide, method="edcstfn", weights=path)
        with pytest.raises(ValueError, match="another unit"):
            xstf.fuse(fine * 10000, coarse * 10000, method="edcstfn", weights=path, device="cpu")
        with pytest.raises(ValueError, match="no standard deviation"):
            xstf.fuse(*cubes, method="edcstfn", weights=path, return_quality=True)

    def test_two_pairs(self, cubes, tmp_path):
        fine, coarse = cubes
        path = fit(cubes, epochs=1).save(tmp_path / "w.safetensors")
        out = xstf.fuse(
            fine.isel(time=[0, 2]), coarse, method="edcstfn", weights=path, device="cpu",
            time=coarse.time[5],
        )  # fmt: skip
        assert not np.isnan(out).any()


# --- through the verb --------------------------------------------------------------------------


def fuse(cubes, **options):
    return xstf.fuse(*cubes, method="edcstfn", device="cpu", **options)


def test_the_verb_takes_a_recipe_and_keeps_the_weights(cubes, tmp_path):
    quick = {k: v for k, v in QUICK.items() if k != "device"} | {"seed": 3}
    path = tmp_path / "net.safetensors"
    found = fuse(cubes, weights="fit", fit=quick, save=str(path))
    assert xstf.weights.load(path).sha256 in found.attrs["stf_weights"]
    assert (
        xstf.weights.load(path).tensors.keys()
        == xstf.weights.load(fit(cubes, seed=3).checkpoint).tensors.keys()
    )
    again = fuse(cubes, weights=str(path))
    np.testing.assert_array_equal(again, found)
    with pytest.raises(ValueError, match=r"fit= has \['device', 'out'\], which the verb says"):
        fuse(cubes, weights="fit", fit={"out": "b.safetensors", "device": "cuda"})
    with pytest.raises(ValueError, match='fit= and save= go with weights="fit"'):
        fuse(cubes, weights=str(path), save=str(path))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fuse(cubes, weights="fit", fit=quick, save=str(tmp_path / "no" / "net.safetensors"))


def test_other_weights_under_an_old_name_are_noticed(cubes, tmp_path):
    path = tmp_path / "net.safetensors"
    one, two = (fit(cubes, seed=s, epochs=1, rate=1.0, clip=1e6) for s in (1, 2))
    one.save(path)
    lazy = fuse((cubes[0].chunk(x=30), cubes[1]), weights=str(path))
    first = fuse(cubes, weights=str(path))
    old = path.stat()
    two.save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size  # same path, time and size
    second = fuse(cubes, weights=str(path))
    assert first.attrs["stf_weights"] != second.attrs["stf_weights"]
    loaded = running._LOADED.copy()
    running._LOADED.clear()
    with pytest.raises(ValueError, match="holds other weights than when the verb was called"):
        lazy.compute()
    running._LOADED.update(loaded)
    lazy_now = fuse((cubes[0].chunk(x=30), cubes[1]), weights=str(path))
    assert lazy.data.name != lazy_now.data.name


def test_a_network_that_its_weights_do_not_fit_is_refused_at_once(cubes, tmp_path):
    path = tmp_path / "net.safetensors"
    read = xstf.weights.load(fit(cubes, epochs=1, steps=1).checkpoint)
    lazy = cubes[0].chunk(x=30), cubes[1].chunk()
    for sizes, words in (({"widths": (4, 8, 16)}, "of another shape"), ({"depth": 3}, "depth")):
        xstf.weights.save(path, read.tensors, dataclasses.replace(read.manifest, sizes=sizes))
        with pytest.raises(ValueError, match=words):
            fuse(lazy, weights=str(path))
