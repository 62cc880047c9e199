"""What every network that fills gaps promises, run over every record that has one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import xarray as xr
from records import each

import xstf
from xstf._method import Method
from xstf.methods.gapfill import _prior
from xstf.tiles import flags as _flags
from xstf.weights import running as _networks

NETWORKS = networks.of_task("gapfill")
NETWORK = each(NETWORKS)
GUIDED = each([r for r in NETWORKS if r.guided])
ALONE = each([r for r in NETWORKS if not r.guided])
BANDS = ["red", "nir"]
DAYS = np.array([0, 7, 19, 24, 41, 47, 60, 77])  # irregular
TILE = 20
NOWHERE = (30, 31)  # a pixel that is never seen
LOST, HALF = 4, 5  # a date that is missing wholly, one that is seen at the left alone


def make_cube(height: int = 70, width: int = 65, seed: int = 0) -> xr.DataArray:
    """Return smooth fields with a season and clouds, a lost date, a lost pixel and a lost band."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height) / 20, np.arange(width) / 23
    waves = np.stack([np.sin(y + i)[:, None] * np.cos(x * (1 + i)) for i in range(2)])
    season = np.sin(DAYS / 30)[:, None, None, None]
    cube = 0.3 + 0.05 * waves + 0.05 * season + 0.01 * rng.standard_normal((8, 2, height, width))
    for date in range(8):
        top, left = rng.integers(0, height - 4), rng.integers(0, width - 4)
        cube[date, :, top : top + 17, left : left + 20] = np.nan
    cube[2, 0, :5, :5] = np.nan  # one band alone
    cube[LOST] = np.nan
    cube[HALF, :, :, 12:] = np.nan
    if height > NOWHERE[0] and width > NOWHERE[1]:
        cube[:, :, NOWHERE[0], NOWHERE[1]] = np.nan
        cube[:, 1, NOWHERE[0], NOWHERE[1] + 1] = np.nan
    times = np.datetime64("2020-03-01", "ns") + DAYS * np.timedelta64(1, "D")
    grid = {"y": -(np.arange(height) + 0.5), "x": np.arange(width) + 0.5}
    return xr.DataArray(
        cube.astype("f4"), {"time": times, "band": BANDS, **grid}, ("time", "band", "y", "x"),
        name="reflectance", attrs={"units": "1"},
    )  # fmt: skip


def make_sar(cube: xr.DataArray) -> xr.DataArray:
    """Return backscatter on coarser pixels, a day after each of the cube's dates."""
    rng = np.random.default_rng(1)
    sizes = [-(-cube.sizes[d] // 2) for d in ("y", "x")]
    values = -12 + 2 * rng.standard_normal((cube.sizes["time"], 2, *sizes))
    grid = {d: (np.arange(n) * 2 + 1) * s for d, n, s in zip("yx", sizes, (-1, 1), strict=True)}
    times = cube.time.values + np.timedelta64(1, "D")
    return xr.DataArray(
        values.astype("f4"), {"time": times, "band": ["VV", "VH"], **grid},
        ("time", "band", "y", "x"), name="sigma0", attrs={"units": "dB"},
    )  # fmt: skip


def checkpoint(
    record: Method, path: Path, noise: float = 0.03, base: str = "linear", gains=(1.0, 1.0)
) -> Path:
    """Write a network whose weights were shaken, so that it answers with more than its prior."""
    guides = 2 if record.guided else 0
    sizes = {**networks.sizes_of(record), "guide_bands": guides}
    net = networks.shake(networks.build(record, seed=3, guide_bands=guides), noise)
    extra = {
        "dates": 6, "guide_mean": [-12.0] * guides, "guide_std": [2.0] * guides,
        "std_factor": 1.5, "gains": list(gains),
    }  # fmt: skip
    manifest = xstf.weights.Manifest(
        method=record.name, task="gapfill", bands=tuple(BANDS), sizes=sizes, low=(0.3, 0.3),
        high=(0.4, 0.4), base=base, ratio=1.0, patch=TILE, extra=extra, sensors="",
        data="random", licence="", scores={}, version=xstf.__version__,
    )  # fmt: skip
    return xstf.weights.save(path, net.state_dict(), manifest)


@pytest.fixture
def weights(tmp_path, record):
    return checkpoint(record, tmp_path / "w.safetensors")


def run(
    record: Method, weights: Path, cube: xr.DataArray, sar: xr.DataArray | None = None,
    **options: Any,
) -> Any:  # fmt: skip
    """Return the filled cube; networks that need radar are given some."""
    if record.guided and sar is None:
        sar = make_sar(cube)
    small = {"tile": TILE, "overlap": 10, "device": "cpu"} | options
    return xstf.gapfill(cube, sar, method=record, weights=weights, **small)


def prior(cube: xr.DataArray) -> xr.DataArray:
    return xstf.gapfill(cube, method="linear")


@NETWORK
def test_record_is_complete(record):
    assert "doi:" in record.reference
    assert record.summary.endswith(".")
    assert record.std


@NETWORK
@pytest.mark.parametrize("blend", ["crop", "smooth"])
def test_chunks_do_not_matter(record, weights, blend):
    """Nothing is computed early; any chunks give what the whole gives, deviation and flag too."""
    cube = make_cube()
    options = {"blend": blend, "return_quality": True}
    whole = run(record, weights, cube, **options)
    assert float(abs(whole.reflectance - prior(cube)).mean()) > 1e-3
    for chunks in ({"y": 33, "x": 65}, {"y": 70, "x": 17}):
        sar = make_sar(cube).chunk(y=9) if record.guided else None
        with xstf.testing.raise_if_dask_computes():
            lazy = run(record, weights, cube.chunk(chunks), sar, **options)
        for name, found in lazy.compute().items():
            np.testing.assert_array_equal(found, whole[name], err_msg=name)


@NETWORK
def test_observed_pixels_come_back_bit_for_bit(record, weights):
    cube = make_cube()
    out = run(record, weights, cube)
    seen = cube.notnull().values
    np.testing.assert_array_equal(out.values[seen], cube.values[seen])


@NETWORK
def test_never_seen_stays_missing_and_nothing_else_does(record, weights):
    cube = make_cube()
    out = run(record, weights, cube)
    never = np.broadcast_to(cube.isnull().all("time").values, cube.shape)
    assert never[0].sum() == 3
    np.testing.assert_array_equal(np.isnan(out.values), never)


@NETWORK
@pytest.mark.filterwarnings("ignore:every value of")
def test_nothing_in_gives_nothing_out(record, weights):
    out = run(record, weights, make_cube(24, 31) * np.nan, return_quality=True)
    assert np.isnan(out["reflectance"]).all()
    assert np.isnan(out["reflectance_std"]).all()


@NETWORK
@pytest.mark.parametrize("blend", ["crop", "smooth"])
def test_a_poked_pixel_changes_nothing_beyond_the_halo(record, weights, blend):
    cube = make_cube()
    poked = cube.copy(deep=True)
    poked[:, :, 40, 20] += 0.3
    before, after = (run(record, weights, c, blend=blend).values for c in (cube, poked))
    changed = np.argwhere((before != after) & ~np.isnan(before))[:, 2:] - (40, 20)
    options = record.params(tile=TILE, overlap=10)
    assert 5 < np.abs(changed).max() <= record.halo(options, 1)


@NETWORK
@pytest.mark.parametrize("shape", [(12, 33), (33, 12), (7, 9), (20, 21)])
def test_images_smaller_than_a_tile(record, weights, shape):
    cube = make_cube(*shape)
    out = run(record, weights, cube)
    assert out.shape[2:] == shape
    np.testing.assert_array_equal(out.isnull().all("time"), cube.isnull().all("time"))
    assert float(abs(out - prior(cube)).mean()) > 1e-3


@NETWORK
def test_a_date_that_is_missing_wholly_is_filled(record, weights):
    cube = make_cube()
    out = run(record, weights, cube, return_quality=True)
    lost = out.isel(time=LOST)
    there = lost["reflectance"].notnull().values
    assert there.sum() == there.size - 3
    change = np.abs((lost["reflectance"] - prior(cube)[LOST]).values[there])
    assert change.mean() > 1e-3
    assert (lost["reflectance_flag"].values[there] == _flags.FILLED_IN_TIME).all()
    flag = out["reflectance_flag"].isel(time=HALF).values
    assert (flag[:, :60, 15] == _flags.FILLED_IN_SPACE).any()
    assert (flag[:, :, 45:] != _flags.FILLED_IN_SPACE).all()


@NETWORK
def test_deviations_are_positive_and_where_the_estimate_is(record, weights):
    cube = make_cube()
    out = run(record, weights, cube, return_quality=True)
    filled, std = out["reflectance"].values, out["reflectance_std"].values
    np.testing.assert_array_equal(np.isnan(std), np.isnan(filled))
    seen = cube.notnull().values
    assert (std[seen] == 0).all()
    assert (std[~seen & ~np.isnan(filled)] > 0).all()
    assert np.isfinite(std[~np.isnan(filled)]).all()
    alone = run(record, weights, cube)
    np.testing.assert_allclose(filled, alone, rtol=1e-6, atol=1e-7)


@NETWORK
def test_dates_in_any_order(record, weights):
    cube = make_cube(24, 31)
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    sar = make_sar(cube)
    given = sar if record.guided else None
    mixed = run(record, weights, cube.isel(time=order), given)
    whole = run(record, weights, cube, given)
    np.testing.assert_array_equal(mixed.time, cube.time[order])
    np.testing.assert_array_equal(mixed, whole.isel(time=order))


@NETWORK
def test_the_time_of_the_year_matters_and_not_the_year(record, weights):
    """Four years are whole; the same series in autumn is another one."""
    cube = make_cube(24, 31)
    want = run(record, weights, cube)
    for days, same in ((4 * 365 + 1, True), (180, False)):
        late = cube.assign_coords(time=cube.time + np.timedelta64(days, "D"))
        off = np.nanmax(np.abs(run(record, weights, late).values - want.values))
        assert (off < 1e-6) == same


@NETWORK
def test_two_dates_suffice(record, weights):
    cube = make_cube(24, 31).isel(time=[0, 1])
    out = run(record, weights, cube)
    np.testing.assert_array_equal(out.isnull().all("time"), cube.isnull().all("time"))
    assert (out.isnull() == cube.isnull().all("time")).all()
    with pytest.raises(ValueError, match="needs 2 dates or more"):
        run(record, weights, cube.isel(time=[0]))


@NETWORK
def test_longer_gaps_than_asked_for_stay_missing(record, weights):
    cube = make_cube(40, 31)
    free, held = run(record, weights, cube), run(record, weights, cube, max_gap="25D")
    assert held.isnull().sum() > free.isnull().sum()
    assert held.isnull().sum() < cube.isnull().sum()
    there = held.notnull().values
    np.testing.assert_allclose(held.values[there], free.values[there], rtol=1e-6, atol=1e-7)


@NETWORK
def test_inputs_are_left_alone_and_labels_kept(record, weights):
    cube = make_cube(24, 31)
    sar = make_sar(cube) if record.guided else None
    copies = cube.copy(deep=True), None if sar is None else sar.copy(deep=True)
    out = run(record, weights, cube.transpose("y", "time", "x", "band"), sar)
    xr.testing.assert_identical(cube, copies[0])
    if sar is not None:
        xr.testing.assert_identical(sar, copies[1])
    assert out.dims == ("y", "time", "x", "band")
    assert out.dtype == np.float32
    assert out.name == cube.name
    assert out.attrs["units"] == "1"
    for name in cube.coords:
        xr.testing.assert_identical(out[name], cube[name])
    assert record.name in out.attrs["stf_method"]
    assert "random" in out.attrs["stf_weights"]


@NETWORK
def test_weights_are_read_once_and_are_not_in_the_tasks(record, weights, monkeypatch):
    cube = make_cube(40, 41)
    found = []
    load = xstf.weights.load
    monkeypatch.setattr(_networks, "_LOADED", {})
    lazy = run(record, weights, cube.chunk(y=20, x=20))
    monkeypatch.setattr(xstf.weights.checkpoint, "load", lambda s: found.append(s) or load(s))
    lazy.compute()
    assert len(found) == 1
    sizes = [len(pickle.dumps(t)) for t in dict(lazy.__dask_graph__()).values()]
    assert max(sizes) < 60_000 + cube.nbytes + make_sar(cube).nbytes


# --- radar -------------------------------------------------------------------------------------


@GUIDED
def test_radar_matters_and_what_of_it_is_missing_does_not(record, weights):
    cube = make_cube(24, 31)
    sar = make_sar(cube)
    whole = run(record, weights, cube, sar)
    some = run(record, weights, cube, sar.isel(time=[0, 1, 6, 7]), guide_tolerance="3D")
    assert (some.isnull() == cube.isnull().all("time")).all()
    assert float(abs(whole - some).max()) > 1e-4
    # What is missing is not looked at: not a date more or less, not a pixel.
    blank = sar.where(sar.time.isin(sar.time[[0, 1, 6, 7]]))
    np.testing.assert_array_equal(run(record, weights, cube, blank, guide_tolerance="3D"), some)


@GUIDED
def test_another_number_of_guide_bands_is_refused(record, weights):
    cube = make_cube(24, 31)
    with pytest.raises(ValueError, match=r"trained with 2 guide bands .*, here are 1"):
        run(record, weights, cube, make_sar(cube).isel(band=[0]))
    with pytest.raises(ValueError, match=r"trained with 2 guide bands .*, here are 0"):
        xstf.gapfill(cube, method=record, weights=weights, device="cpu")


@ALONE
def test_radar_is_refused_by_networks_that_know_none(record, weights):
    cube = make_cube(24, 31)
    with pytest.raises(ValueError, match="makes no use of sar"):
        run(record, weights, cube, make_sar(cube))


# --- the prior ---------------------------------------------------------------------------------


def test_the_prior_is_linear_in_time_from_the_dates_around():
    """In holes it is what `linear` says; where a date is seen, what `linear` says without it."""
    cube = make_cube(24, 31)
    found = _prior.prior_of("linear", cube.values, DAYS.astype(float), None)
    holes = cube.isnull().values
    np.testing.assert_allclose(found[holes], prior(cube).values[holes], rtol=1e-5)
    for date in (0, 3, 7):
        without = cube.where(np.arange(8)[:, None, None, None] != date)
        want = np.where(without.isnull().all("time"), cube[date], prior(without)[date])
        np.testing.assert_allclose(found[date], want, rtol=1e-5)


def test_the_prior_of_a_pixel_seen_once_is_what_was_seen():
    cube = np.full((3, 1, 1, 2), np.nan, np.float32)
    cube[1, 0, 0, 0] = 0.4
    found = _prior.prior_of("linear", cube, np.array([0.0, 5.0, 5.0]), None)
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.float32([0.4, 0.4, 0.4]))
    assert np.isnan(found[..., 1]).all()


def test_the_prior_takes_dates_twice():
    cube = np.float32([0.1, 0.2, 0.4]).reshape(3, 1, 1, 1)
    found = _prior.prior_of("linear", cube, np.array([3.0, 3.0, 3.0]), None)
    assert np.isfinite(found).all()
    assert 0.1 <= found[1, 0, 0, 0] <= 0.4


@each(NETWORKS[:1])
def test_changes_are_multiplied_by_what_training_found(record, weights, tmp_path):
    """Each date by the gain of what its tile has of it."""
    cube = make_cube(TILE, TILE)
    change = (run(record, weights, cube) - prior(cube)).values
    for gains, lost, beside in (((1.0, 0.0), 0, 1), ((0.5, 1.0), 1, 0.5)):
        held = checkpoint(record, tmp_path / "g.safetensors", gains=gains)
        found = (run(record, held, cube) - prior(cube)).values
        np.testing.assert_allclose(found[LOST], lost * change[LOST], atol=1e-6)
        np.testing.assert_allclose(found[HALF], beside * change[HALF], atol=1e-6)
    assert np.nanmean(np.abs(change[[LOST, HALF]])) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("base", _prior.PRIORS)
@each(NETWORKS[:1])
def test_an_untrained_network_fills_as_its_prior(record, base, tmp_path):
    """In chunks, too; what is named besides must be what the weights were trained to correct."""
    untrained = checkpoint(record, tmp_path / "u.safetensors", noise=0, base=base)
    cube = make_cube()
    want = xstf.gapfill(cube, method=base).values
    lazy = cube.chunk({"time": -1, "y": 25, "x": 30})
    for given, prior in ((cube, ""), (lazy, base)):
        found = run(record, untrained, given, prior=prior).values
        np.testing.assert_allclose(found, want, rtol=1e-5, equal_nan=True)
    other = next(p for p in _prior.PRIORS if p != base)
    with pytest.raises(ValueError, match=f"trained to correct prior='{base}', not '{other}'"):
        run(record, untrained, cube, prior=other)


# --- what is refused ---------------------------------------------------------------------------


@each(NETWORKS[:1])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 22}, "whole in 5"),
        ({"tile": 20, "overlap": 20}, "must be above overlap"),
        ({"overlap": 7}, "overlap=7: give an even"),
        ({"blend": "hard"}, "blend='hard': give one of"),
        ({"prior": "spline"}, "prior='spline': give one of"),
        ({"weights": ""}, "needs weights"),
    ],
)
def test_bad_parameters_are_refused(record, weights, options, words):
    given = {"weights": weights} | options
    with pytest.raises(ValueError, match=words):
        run(record, cube=make_cube(24, 31), **given)


@each(NETWORKS[:1])
def test_weights_for_other_bands_are_refused(record, weights):
    with pytest.raises(ValueError, match="trained on bands"):
        run(record, weights, make_cube(24, 31).isel(band=[1, 0]))


@each(NETWORKS[:1])
def test_a_cube_in_another_unit_is_refused(record, weights):
    with pytest.raises(ValueError, match="another unit"):
        run(record, weights, make_cube(24, 31) * 10000)
