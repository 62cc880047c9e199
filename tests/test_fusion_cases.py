"""The default beside the trivial ways: simulated land that changes, and clouds."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import xstf
from xstf import evaluate, simulate

FOLDER = Path(__file__).parent.parent / "asv_bench"
SEEDS = {1: (1, 2, 3, 4), 2: (1,)}  # by how many pairs: the second is slow and far from the bound
MOST = 1.02


@pytest.fixture
def cases(monkeypatch):
    """Return the script of the cases; land is made once in it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from xstf.tiles import run as _tiles

    monkeypatch.setattr(_tiles, "cores", _tiles.cores)  # the script sets it
    return importlib.import_module("fusion_cases")


# ---------------------------------------------------------------- the script


def test_one_command_prints_a_table(cases, capsys):
    few = ["--seeds", "1", "--ratios", "2", "--kinds", "flood", "--methods", "starfm", "--all"]
    cases.main(few)
    printed = capsys.readouterr().out.splitlines()
    rows = [line for line in printed if line.startswith("| flood")]
    found = cases.measured(["flood"], [2], [1], ["starfm"])
    one, two = (cases.beside_best(found["flood", 2, pairs])[0, 0] for pairs in (1, 2))
    assert rows[:2] == [f"| flood | {r:.2f} | {r:.2f} |" for r in (one, two)]
    assert [row.split(" | ")[-2] for row in rows[2:]] == [f"{one:.3f}", f"{two:.3f}"]
    assert printed[-1].endswith("CPU s")


def test_methods_are_measured_beside_the_best_trivial_way(cases):
    errors = np.array([[4.0, np.inf, 2.0, 1.0, 3.0], [1.0, np.inf, 2.0, 1.5, 1.0]])
    np.testing.assert_array_equal(cases.beside_best(errors), [[0.5, 1.5], [1.5, 1.0]])
    assert cases.mean(np.array([0.5, 2.0])) == pytest.approx(1)


def test_trivial_ways_are_what_they_say(cases):
    fine, coarse, truth = cases.case("phenology", 2, 1)
    unchanged, between, delta = cases.trivial(fine, coarse, truth)
    a, b, t = fine[0].values, fine[1].values, truth.values

    def rmse(estimate):
        return np.sqrt(((estimate - t) ** 2).mean(axis=(1, 2))).mean()

    assert unchanged == pytest.approx(rmse(a), rel=1e-5)
    assert between == pytest.approx(rmse((a + b) / 2), rel=1e-5)  # the target is in the middle
    held = (coarse[1] - (coarse[0] + coarse[2]) / 2).values.repeat(2, 1).repeat(2, 2)
    assert delta == pytest.approx(rmse((a + b) / 2 + held), rel=0.1)  # bilinear, not held
    assert cases.trivial(fine[:1], coarse, truth)[1] == np.inf


def test_a_case_differs_from_the_plain_one_where_its_kind_says(cases):
    plain = {kind: cases.case(kind, 8, 1) for kind in cases.KINDS}
    fine, coarse, truth = plain["phenology"]
    for kind in ("useless coarse", "moved by a coarse pixel", "other gain and offset",
                 "hazy target"):  # fmt: skip
        assert plain[kind][0].equals(fine)
        assert plain[kind][2].equals(truth)
    moved = plain["moved by a coarse pixel"][1].values
    np.testing.assert_array_equal(moved[..., 1:], coarse.values[..., :-1])
    np.testing.assert_allclose(plain["other gain and offset"][1], 1.2 * coarse + 0.02, rtol=1e-5)
    for kind, wanted in (("gain", 1.1 * coarse[1]), ("offset", coarse[1] + 0.02)):
        own = plain[f"{kind} of the target"][1]
        assert own[[0, 2]].equals(coarse[[0, 2]])
        np.testing.assert_allclose(own[1], wanted, rtol=1e-5)
    hazy = plain["hazy target"][1]
    assert hazy[[0, 2]].equals(coarse[[0, 2]])
    assert 0.35 < (hazy[1] != coarse[1]).mean() < 0.45
    same = np.corrcoef(plain["useless coarse"][1].values[1, 0].ravel(), coarse.values[1, 0].ravel())
    assert abs(same[0, 1]) < 0.4
    assert not plain["flood"][2].equals(plain["harvest"][2])


# ---------------------------------------------------------------- the default


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("ratio", [2, 8, 16, 33])
@pytest.mark.parametrize("kind", ["phenology", "flood", "harvest"])
def test_the_default_is_not_behind_the_best_trivial_way(cases, kind, ratio, pairs):
    found = cases.measured([kind], [ratio], SEEDS[pairs], ["auto"], [pairs])
    beside = cases.mean(cases.beside_best(found[kind, ratio, pairs]))
    assert beside < MOST


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("ratio", [2, 16])
def test_haze_over_the_target_is_noticed(cases, ratio, pairs):
    found = cases.measured(["hazy target"], [ratio], (1, 3), ["auto"], [pairs])
    assert cases.mean(cases.beside_best(found["hazy target", ratio, pairs])) < 0.95


def test_haze_is_taken_off_for_every_method_and_said(cases):
    fine, coarse, truth = cases.case("hazy target", 16, 1)
    plain = cases.case("phenology", 16, 1)[1]
    made = cases.fused(fine, coarse, truth, "starfm")
    assert made.attrs["stf_haze"].startswith("opacity up to 0.")
    raw = cases.fused(fine, coarse, truth, "starfm", change="raw")
    assert "stf_haze" not in raw.attrs
    assert cases.rmse(made, truth) < 0.9 * cases.rmse(raw, truth)
    assert cases.fused(fine, plain, truth, "starfm").attrs["stf_haze"] == "none found"
    lazy = cases.fused(fine.chunk(x=48, y=64), coarse.chunk(x=3, y=4), truth, "starfm")
    np.testing.assert_array_equal(lazy, made)
    index = {"band": ["red", "ndvi"]}  # what haze does not brighten
    named = cases.fused(fine.assign_coords(index), coarse.assign_coords(index), truth, "starfm")
    assert "stf_haze" not in named.attrs


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_default_is_not_behind_fine_plus_change_under_clouds(cases, share):
    """Gaps of other dates in both fine images: where any of them is clear, in the mean of seeds."""
    beside = []
    for seed in (1, 2, 3):
        truth = cases.land(96, (), seed)[1:6]
        coarse = simulate.degrade(truth, 8, noise=cases.NOISE, seed=seed)
        cover = [0, share, share, share, 0]
        clouds = simulate.clouds(truth, cover, seed=seed, size=24)
        ends = truth.time.values[[0, 4]]
        near = (0.9 * share, 1.1 * share)
        holed, held = simulate.transplant_mask(
            truth, mask=clouds, dates=ends, share=near, seed=seed
        )
        np.testing.assert_allclose(held[[0, 4]].mean(("y", "x")), share, atol=0.001)
        known, middle = holed[[0, 4]], truth[2]
        seen = known.notnull().any(("time", "band"))
        errors = []
        for method, options in (
            ("auto", {}),
            (evaluate.BASELINES[1], {"register": False, "change": "raw"}),
        ):
            made = xstf.fuse(known, coarse, method=method, time=middle.time.values, **options)
            estimate = made.isel(time=0)
            assert estimate.notnull().where(seen, True).all()
            errors.append(cases.rmse(estimate.where(seen), middle))
        beside.append(errors[0] / errors[1])
    assert cases.mean(np.array(beside)) <= 1
    assert max(beside) <= 1.01
