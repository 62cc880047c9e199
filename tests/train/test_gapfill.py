"""What networks that fill gaps learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xstf
from xstf._recipe import Recipe
from xstf.methods.lookup import get_method
from xstf.train import gapfill as filling
from xstf.train.patches import turned

QUICK = {"epochs": 2, "steps": 2, "patch": 20, "batch": 2, "device": "cpu", "prior": "linear"}
BOTH = pytest.mark.parametrize("method", ["mts-vivit", "smts-vit"])


@pytest.fixture(scope="module")
def scene():
    """Fifteen dates, two bands; radar of two orbits."""
    made = xstf.scenes.sentinel_1_2(size=30)
    return made.cube.isel(time=slice(15)).sel(band=["red", "nir"]), made.sar


def fit(scene, method="mts-vivit", **options):
    cubes = scene if method.startswith("smts") else scene[:1]
    return xstf.train.fit(method, *cubes, **QUICK | options)


def losses_of(fitted):
    return [row["loss"] for row in fitted.history[1:]]


def task_of(scene, method="mts-vivit", validation=None, **options):
    cubes = scene if method.startswith("smts") else scene[:1]
    options = filling.GapfillOptions(**{"prior": "linear"} | options)
    record = get_method("gapfill", method)
    return filling.training_task(record, *cubes, options=options, validation=validation)


def sampler_of(*scene, **options):
    return task_of(*scene, **options).supervise.args[0]


def batches(task, held_out=False, count=6):
    """Return some samples of a task, to learn from or held out."""
    supervision = task.supervise(Recipe(patch=20, batch=4), None)
    if held_out:
        return list(supervision.held_out())
    rng = np.random.default_rng(5)
    return [supervision.draw(rng) for _ in range(count)]


def net_of(task, method="mts-vivit"):
    """Return an untrained network whose weights were shaken."""
    from xstf.nets import vivit

    torch.manual_seed(0)
    sizes = get_method("gapfill", method).net.sizes
    net = vivit.build(bands=len(task.bands), **sizes, **task.build)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return net.eval()


# --- samples -----------------------------------------------------------------------------------


@BOTH
def test_samples_mask_what_they_ask_for(scene, method):
    """No target is an input; clear inputs are the truth, and the prior is not."""
    for batch in batches(task_of(scene, method)):
        valid, cube = batch["valid"].bool(), batch["cube"]
        assert valid.any(dim=(1, 2, 3, 4)).all()
        assert cube[valid].isnan().all()
        shown = ~cube.isnan()
        torch.testing.assert_close(cube[shown], batch["truth"][shown])
        assert batch["guide"].shape[2] == (4 if method == "smts-vit" else 0)
        for pixels in (valid, shown & (batch["weight"] > 0)):
            assert 0.01 < (batch["prior"] - batch["truth"])[pixels].abs().mean() < 1
        assert (batch["weight"][valid] == 1).all()
        assert (batch["weight"][~valid] <= 0.1 + 1e-6).all()


def test_held_out_dates_are_asked_for_only_in_validation(scene):
    cube = scene[0]
    wanted = cube.time.values[[3, 8, 9]]
    task = task_of(scene, validation=wanted)
    first = cube.time.values[0]
    year = (first - first.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    held = torch.tensor((wanted - first) / np.timedelta64(1, "D") + year, dtype=torch.float32)
    assert task.held_out_text == "3 of 15 dates"
    seen = {False: 0, True: 0}
    for validating in (False, True):
        for batch in batches(task, validating):
            ours = torch.isin(batch["days"], held)
            assert ((batch["weight"].sum(dim=(2, 3, 4)) > 0) <= (ours == validating)).all()
            seen[validating] += int(ours.sum())
    assert min(seen.values()) > 0  # they are seen in learning, too, as evidence


def test_the_masked_truth_of_a_held_out_date_teaches_nothing(scene):
    """Nor does it move the scale: a held-out date that is masked may have any values."""
    cube = scene[0]
    validation = cube.time.values[[3, 8]]
    task = task_of(scene, validation=validation)
    supervision = task.supervise(Recipe(patch=20, batch=4), None)
    first = cube.time.values[0]
    year = (first - first.astype("datetime64[Y]")) / np.timedelta64(1, "D")
    held = torch.tensor((validation - first) / np.timedelta64(1, "D") + year, dtype=torch.float32)
    net = net_of(task)
    poked_any = False
    for batch in batches(task):
        spoiled = {k: v.clone() for k, v in batch.items()}
        dates = torch.isin(batch["days"], held)[:, :, None, None, None]
        masked = dates & batch["cube"].isnan() & (batch["truth"] != 0)
        spoiled["truth"][masked] += 3
        poked_any |= bool(masked.any())
        assert supervision.learn(net, batch)[0] == supervision.learn(net, spoiled)[0]
        elsewhere = batch["valid"].bool()
        spoiled["truth"][elsewhere] += 3
        assert supervision.learn(net, batch)[0] != supervision.learn(net, spoiled)[0]
    assert poked_any
    spoiled = cube.copy(deep=True)
    spoiled[[3, 8]] *= 2
    other = task_of((spoiled,), validation=validation)
    assert (other.low, other.high) == (task.low, task.high)


def test_every_fifth_date_is_held_out(scene):
    task = task_of(scene)
    assert task.held_out_text == "3 of 15 dates"
    assert task_of((scene[0].isel(time=[0, 3]),)).held_out_text == "1 of 2 dates"


def test_dates_of_which_nothing_is_seen_are_not_held_out(scene):
    """With five of twelve months missing both that would be held out could not be scored."""
    cube = scene[0].isel(time=slice(12))
    lost = np.isin(np.arange(12), [0, 2, 3, 7, 11])
    task = task_of((cube.where(xr.DataArray(~lost, dims="time")),))
    assert task.held_out_text == "1 of 12 dates"
    assert all(batch["valid"].any() for batch in batches(task, held_out=True))


def test_whole_dates_and_boxes_are_masked(scene):
    """A date that is clear in part is masked wholly at times; boxes mask in patches."""
    whole = {}
    for boxes in (False, True):
        lost = 0
        for batch in batches(task_of(scene, boxes=boxes), count=12):
            shown = (~batch["cube"].isnan()).any(dim=2).float().mean(dim=(2, 3))
            true = (batch["truth"] != 0).any(dim=2).float().mean(dim=(2, 3))
            lost += int(((shown == 0) & (true > 0.9)).sum())
        whole[boxes] = lost
    assert min(whole.values()) > 0
    first, second = (batches(task_of(scene, boxes=b))[0]["cube"].isnan() for b in (True, False))
    assert (first != second).any()


def test_samples_turn_whole(scene):
    """The eight turns are of the whole sample, and all eight come."""
    images = np.arange(12.0).reshape(1, 1, 3, 4)
    ways = [turned(images, turn) for turn in range(8)]
    assert len({t.tobytes() + bytes(t.shape) for t in ways}) == 8
    assert {t.shape[-2:] for t in ways} == {(3, 4), (4, 3)}
    assert all(np.array_equal(np.sort(t.ravel()), images.ravel()) for t in ways)


# --- training ----------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
def test_a_seed_gives_one_result(scene, method):
    first, second, other = (fit(scene, method, seed=seed) for seed in (0, 0, 1))
    have, want = (xstf.weights.load(f.checkpoint).tensors for f in (first, second))
    assert all(torch.equal(have[name], want[name]) for name in want)
    assert losses_of(first) == losses_of(second)
    assert losses_of(first) != losses_of(other)


@pytest.mark.slow
def test_masked_pixels_teach_nothing(scene):
    cube = scene[0]
    mask = cube.isel(band=0, drop=True).isnull() | ((cube.x - cube.x[0]) < 60)
    spoiled = cube.where(~mask, 0.9)
    first, second = (fit((c,), mask=mask) for c in (cube, spoiled))
    assert losses_of(first) == losses_of(second)
    assert first.scores["mae"] == second.scores["mae"]


@pytest.mark.slow
def test_unsorted_dates_are_sorted(scene):
    cube = scene[0]
    mixed = cube.isel(time=np.random.default_rng(0).permutation(cube.sizes["time"]))
    assert losses_of(fit((mixed,))) == losses_of(fit(scene))


@BOTH
def test_learning_pays_on_masked_pixels(scene, method):
    """A few steps on the same samples lower their loss."""
    task = task_of(scene, method)
    supervision = task.supervise(Recipe(patch=20, batch=8), None)
    net, batch = net_of(task, method), supervision.draw(np.random.default_rng(0))
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss, _ = supervision.learn(net, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.grad is not None for p in net.parameters())


def test_the_untrained_network_is_its_prior_and_the_best_is_kept(scene):
    fitted = fit(scene, epochs=1, steps=1)
    assert fitted.scores["mae"] <= fitted.scores["mae_untrained"] == fitted.history[0]["mae"]
    supervision = task_of(scene).supervise(Recipe(patch=20, batch=2), None)
    off, count = 0.0, 0
    for batch in supervision.held_out():
        valid = batch["valid"].bool()
        error = (batch["prior"] - batch["truth"]).abs() * supervision.span[:, None, None]
        off, count = off + float(error[valid].sum()), count + int(valid.sum())
    assert fitted.history[0]["mae"] == pytest.approx(off / count, rel=1e-4)


def test_the_manifest_says_what_inference_needs(scene):
    fitted = fit(scene, "smts-vit", epochs=1, dates=4)
    manifest = xstf.weights.load(fitted.checkpoint).manifest
    cube = scene[0]
    assert manifest.bands == ("red", "nir")
    assert manifest.patch == 20
    assert manifest.extra["dates"] == 4
    assert len(manifest.extra["guide_mean"]) == len(manifest.extra["guide_std"]) == 4
    assert manifest.extra["std_factor"] > 0
    assert manifest.extra["held_out"] == "3 of 15 dates"
    # Of dates that show something every fifth is held out, from the third on.
    seen = np.flatnonzero(cube.notnull().any(("band", "y", "x")))
    assert len(seen) < 15
    kept = cube.drop_isel(time=seen[2::5])
    np.testing.assert_allclose(manifest.low, kept.mean(("time", "y", "x")), rtol=1e-4)
    std = np.subtract(manifest.high, manifest.low)
    np.testing.assert_allclose(std, kept.std(("time", "y", "x")), rtol=1e-3)


def test_deviations_cover_nine_tenths_of_what_was_held_out(scene):
    task = task_of(scene)
    recipe = Recipe(patch=20, batch=4)
    net = net_of(task)
    found = task.finish(recipe, net, torch.device("cpu"))
    factor, gains = found["std_factor"], found["gains"]
    inside = count = 0
    with torch.inference_mode():
        for batch in task.supervise(recipe, None).held_out():
            change, variance = filling.forward(net, batch)
            seen = (~batch["cube"].isnan()).any(dim=4).any(dim=3)[..., None, None]
            change = change * torch.where(seen, *gains)
            error = (batch["prior"] + change - batch["truth"]).abs()
            valid = batch["valid"].bool()
            inside += int((error <= 1.645 * factor * torch.exp(variance / 2))[valid].sum())
            count += int(valid.sum())
    assert inside / count == pytest.approx(0.9, abs=0.005)


def test_gains_are_the_best_shares_of_the_changes(scene):
    """On what was held out, apart for dates with something seen and dates with nothing."""
    task = task_of(scene)
    recipe, net = Recipe(patch=20, batch=4), net_of(task)
    gains = task.finish(recipe, net, torch.device("cpu"))["gains"]
    assert all(0 <= gain <= 1 for gain in gains)
    assert gains[0] < 1  # of a network that learned nothing
    off = np.zeros((2, 3))
    with torch.inference_mode():
        for batch in task.supervise(recipe, None).held_out():
            change, missed = filling.forward(net, batch)[0], batch["truth"] - batch["prior"]
            seen = (~batch["cube"].isnan()).any(dim=4).any(dim=3)[..., None, None]
            for n, dates in enumerate((seen, ~seen)):
                there = batch["valid"].bool() & dates
                for m, share in enumerate((gains[n], min(gains[n] + 0.1, 1), gains[n] - 0.1)):
                    off[n, m] += float((share * change - missed)[there].square().sum())
    assert (off > 0).all()
    assert (off[:, 0] <= off[:, 1] * (1 + 1e-6)).all()
    assert (off[:, 0] < off[:, 2])[np.array(gains) > 0].all()


def test_a_gain_is_between_nothing_and_all():
    wanted = np.float32([1, -2, 3])
    found = [filling._gain(share * wanted, wanted) for share in (2, 0.5, -1, 0)]
    np.testing.assert_allclose(found, [0.5, 1, 0, 1])


# --- the prior ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["harmonic", "eof"])
def test_other_priors_are_corrected(scene, prior):
    """The untrained error is the prior's own, which does not see the masked pixels."""
    fitted = fit(scene, prior=prior, epochs=1, steps=1)
    assert xstf.weights.load(fitted.checkpoint).manifest.base == prior
    linear = fit(scene, epochs=1, steps=1)
    assert fitted.scores["mae_untrained"] < linear.scores["mae_untrained"]


@pytest.mark.slow
def test_a_prior_is_settled_on_what_is_not_masked(scene):
    """The masked pixels of one version of a scene move other versions and not that one."""
    cube = scene[0]
    sampler = sampler_of(scene, prior="eof")
    masked = sampler.versions[0][0].masked
    assert 0.02 < masked.mean() < 0.5
    spoiled = cube.copy(data=np.where(masked[:, None], 0.9 + cube.values, cube.values))
    again = sampler_of((spoiled,), prior="eof").versions[0]
    same, moved = ((sampler.versions[0][n].state.mean, again[n].state.mean) for n in (0, 1))
    np.testing.assert_array_equal(*same)
    assert np.abs(np.subtract(*moved)).max() > 0.01


def test_a_prior_that_needs_more_dates_says_so(scene):
    with pytest.raises(ValueError, match="prior='eof' needs 3 dates or more"):
        fit((scene[0].isel(time=slice(2)),), prior="eof")


# --- terms of the loss -------------------------------------------------------------------------


@pytest.mark.slow
def test_terms_of_the_loss_can_be_chosen(scene):
    """A term more is a loss more, whatever the seed draws."""
    plain, more = ({"mse": 1.0}, {"mse": 1.0, "ssim": 0.5})
    first, second = (losses_of(fit(scene, loss=loss, epochs=1, steps=1)) for loss in (plain, more))
    assert 0 < second[0] - first[0] < 0.5 * 2
    with pytest.raises(ValueError, match="no loss 'psnr'"):
        fit(scene, loss={"psnr": 1})


# --- several cubes -----------------------------------------------------------------------------


@pytest.mark.slow
def test_several_cubes_are_learned_from(scene):
    """Of other sizes and numbers of dates, too; each with its own radar."""
    cube, sar = scene
    other = xstf.scenes.sentinel_1_2(size=40, seed=4)
    second = other.cube.isel(time=slice(5)).sel(band=["red", "nir"])
    both = fit(([cube, second], [sar, other.sar]), "smts-vit")
    alone = fit(([cube], [sar]), "smts-vit")
    assert losses_of(alone) == losses_of(fit(scene, "smts-vit"))
    assert losses_of(both) != losses_of(alone)
    manifest = xstf.weights.load(both.checkpoint).manifest
    assert manifest.extra["held_out"] == "4 of 20 dates"


def test_several_cubes_need_what_goes_with_each(scene):
    cube, sar = scene
    with pytest.raises(ValueError, match="a sequence as long of sar"):
        fit(([cube, cube], [sar]), "smts-vit")
    with pytest.raises(ValueError, match="a sequence as long of sar"):
        fit(([cube, cube], sar), "smts-vit")
    with pytest.raises(ValueError, match="no cube to learn from"):
        fit(([],))
    with pytest.raises(ValueError, match="differ in their bands"):
        fit(([cube, cube.isel(band=[0])],))
    with pytest.raises(ValueError, match="bands of their guides"):
        fit(([cube, cube], [sar, sar.drop_vars("orbit")]), "smts-vit")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation": "1999-01-01"}, "some of the cube's dates"),
        ({"dates": 1}, "dates must be 2 or more"),
        ({"patch": 4}, "needs patches of 5 pixels or more"),
        ({"base": "none"}, "fit has no argument"),
        ({"prior": "spline"}, "prior must be one of"),
    ],
)
def test_bad_arguments_say_what_is_allowed(scene, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        fit(scene, **options)


def test_radar_is_needed_or_refused_as_the_method_says(scene):
    with pytest.raises(ValueError, match="smts-vivit learns from radar"):
        xstf.train.fit("smts-vivit", scene[0], **QUICK)
    with pytest.raises(ValueError, match="mts-vivit makes no use of sar"):
        xstf.train.fit("mts-vivit", *scene, **QUICK)


@pytest.mark.filterwarnings("ignore:every value of")
def test_cubes_that_teach_nothing_are_refused(scene):
    cube = scene[0]
    with pytest.raises(ValueError, match="two dates or more"):
        fit((cube.isel(time=[0]),))
    with pytest.raises(ValueError, match="band 0 is never clear"):
        fit((cube * np.nan,))
    with pytest.raises(ValueError, match="some of the cube's dates and not all"):
        fit(scene, validation=cube.time.values)


# --- through the verb --------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
def test_fit_trains_on_the_cube_of_the_call(scene, method, monkeypatch):
    record = get_method("gapfill", method)
    quick = Recipe(epochs=1, steps=1, patch=20, batch=1)
    monkeypatch.setitem(vars(record.net), "small", quick)
    cube, sar = scene
    given = (sar,) if record.guided else ()
    call = {"method": method, "weights": "fit", "device": "cpu", "overlap": 10}
    out = xstf.gapfill(cube, *given, return_quality=True, **call)
    assert "held out" in out.attrs["stf_weights"]
    there = out["reflectance"].notnull()
    assert (there == cube.notnull().any("time")).all()
    missing = cube.isnull().values & there.values
    assert (out["reflectance_std"].values[missing] > 0).all()


@pytest.mark.slow
def test_a_guide_that_is_no_radar_is_learned_from(scene, monkeypatch):
    record = get_method("gapfill", "smts-vit")
    quick = Recipe(epochs=1, steps=1, patch=20, batch=1)
    monkeypatch.setitem(vars(record.net), "small", quick)
    cube, sar = scene
    index = (sar.isel(band=[0]) / 10).drop_vars("orbit")
    call = {"method": record, "weights": "fit", "device": "cpu", "overlap": 10}
    out = xstf.gapfill(cube, guide=index, **call)
    assert isinstance(out, xr.DataArray)
    assert (out.notnull() == cube.notnull().any("time")).all()
