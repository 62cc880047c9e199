"""Radar as it comes: units, codes for missing, orbits, several sensors; nothing computed early."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xstf
from xstf import testing
from xstf.align.gapfill import GapfillCubes, align_gapfill
from xstf.align.orbits import Orbits, orbits_of
from xstf.align.radar import said_by
from xstf.cubes.read import read_cube

UTM = xr.Variable((), 0, pyproj.CRS.from_epsg(32631).to_cf())
SIZE = 8


def days(count: int, step: int, start: str = "2021-04-01") -> np.ndarray:
    return np.datetime64(start, "ns") + step * np.arange(count) * np.timedelta64(1, "D")


def images(data: np.ndarray, times: np.ndarray, bands: list[str], **attrs: Any) -> xr.DataArray:
    size = data.shape[2]
    return xr.DataArray(
        data.astype(np.float32), dims=("time", "band", "y", "x"), attrs=attrs,
        coords={
            "time": times, "band": bands, "y": 5000.0 - 10 * np.arange(size),
            "x": 300.0 + 10 * np.arange(size), "spatial_ref": UTM,
        },
    )  # fmt: skip


def optical(dates: int = 10) -> xr.DataArray:
    rng = np.random.default_rng(0)
    data = 0.3 + 0.1 * rng.random((dates, 1, SIZE, SIZE))
    data[rng.random(data.shape) < 0.3] = np.nan
    return images(data, days(dates, 10), ["nir"])


def decibels(dates: int = 9, **attrs: Any) -> xr.DataArray:
    rng = np.random.default_rng(1)
    level = np.array([-10.0, -17.0])[None, :, None, None]
    data = level + rng.normal(0, 2, (dates, 2, SIZE, SIZE))
    return images(data, days(dates, 12, "2021-03-28"), ["VV", "VH"], **attrs)


def power(**attrs: Any) -> xr.DataArray:
    return (10 ** (decibels() / 10)).assign_attrs(attrs)


CUBE, DB, POWER = optical(), decibels(), power()


def aligned(sar: Any = None, **more: Any) -> GapfillCubes:
    return align_gapfill(CUBE, sar, **more)


def is_linear(sar: Any, **more: Any) -> bool:
    return aligned(sar, **more).guides[0][1].linear


def guide(sar: xr.DataArray | xr.Dataset, **more: Any) -> np.ndarray:
    """Return a guide on the cube's dates and grid."""
    ((cube, tile),) = aligned(sar, **more).guides
    whole = slice(0, SIZE)
    return tile(np.asarray(cube.data, np.float32)[(..., *tile.window(whole, whole))], whole, whole)


# --- units -------------------------------------------------------------------------------------


def test_values_tell_units():
    assert is_linear(POWER)
    assert not is_linear(DB)
    assert "linear by its values" in aligned(POWER).guides_text
    assert "dB by its values" in aligned(DB).guides_text


@pytest.mark.parametrize("low", [-1e-5, -1e-3, -0.5])
def test_one_negative_pixel_changes_itself_alone(low):
    noisy = POWER.copy()
    noisy[3, 1, 4, 4] = low
    assert is_linear(noisy)
    clean, found = guide(POWER), guide(noisy)
    other = np.ones(found.shape, bool)
    other[:, 1, 4, 4] = False
    np.testing.assert_array_equal(found[other], clean[other])


@settings(max_examples=25)
@given(
    share=st.floats(0, 0.2), factor=st.floats(0.3, 3), bright=st.integers(0, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_noise_and_bright_targets_do_not_flip_units(share, factor, bright, seed):
    rng = np.random.default_rng(seed)
    negative = xr.DataArray(rng.random(POWER.shape) < share, dims=POWER.dims)
    noisy = (POWER * factor).where(~negative, -1e-3)
    noisy[0, 0, 0, :bright] = 80.0
    assert is_linear(noisy)
    city = DB.where(~negative, 3.0)
    assert not is_linear(city)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("dB", "dB"), ("DB", "dB"), (" decibel ", "dB"), ("decibels", "dB"), ("gamma0 [dB]", "dB"),
     ("10*log10(sigma0)", "dB"), ("intensity_db", "dB"), ("amplitude_db", "dB"),
     ("1", "linear"), ("linear", "linear"), ("power", "linear"), ("gamma0 power", "linear"),
     ("sigma0_linear", "linear"), ("natural units", "linear"), ("m2/m2", "linear"),
     ("m^2/m^2", "linear"), ("m2 m-2", "linear"), ("intensity", "linear"),
     ("amplitude", "amplitude"), ("DN", "amplitude"), ("digital number", "amplitude"),
     ("degrees", "angle"), ("", ""), ("None", ""), ("sigma0", None), ("furlongs", None)],
)  # fmt: skip
def test_units_in_every_usual_spelling(text, kind):
    assert said_by(text) == kind


@pytest.mark.parametrize("key", ["units", "unit", "Units"])
def test_stated_units_serve_lazy_cubes(key):
    assert is_linear(POWER.chunk().assign_attrs({key: "gamma0 power"}))
    assert not is_linear(DB.chunk().assign_attrs({key: "Decibel"}))


def test_units_by_band_by_coordinate_and_by_name_serve():
    assert not is_linear(DB.chunk().assign_attrs(units=("dB", "dB")))
    assert is_linear(POWER.chunk().assign_coords(units=("band", ["1", "1"])))
    assert not is_linear(DB.chunk().assign_coords(band=["VV_dB", "VH_dB"]))
    assert is_linear(POWER.to_dataset("band").chunk().assign_attrs(units="linear"))


def test_a_lazy_cube_without_units_is_refused_unread():
    for sar in (DB.chunk(), DB.chunk().assign_attrs(units="sigma0")):
        with testing.raise_if_dask_computes(), pytest.raises(ValueError, match="sar_units"):
            CUBE.stf.gapfill(sar, method="gp")


def test_amplitude_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"amplitude.*square.*20 \* log10"):
        aligned((POWER**0.5).assign_attrs(units="amplitude"))
    rng = np.random.default_rng(0)
    counts = POWER.copy(data=rng.integers(20, 255, POWER.shape).astype(np.float32))
    with pytest.raises(ValueError, match="neither.*sar_units"):
        aligned(counts)
    assert is_linear((POWER**0.5).assign_attrs(units="amplitude"), sar_units="linear")


def test_decibels_scaled_from_0_to_1_are_not_taken_for_power():
    with pytest.raises(ValueError, match="sar_units"):
        aligned(((DB + 30) / 30).clip(0, 1))


def test_words_that_say_nothing_of_units_are_ignored_aloud():
    with pytest.warns(UserWarning, match="'sigma0'.*taken as dB.*sar_units='dB'"):
        assert not is_linear(DB.assign_attrs(units="sigma0"))


def test_stated_units_that_values_contradict_are_refused():
    with pytest.raises(ValueError, match="'dB'.*like linear.*sar_units"):
        aligned(POWER.assign_attrs(units="dB"))
    with pytest.raises(ValueError, match="'1'.*like dB.*sar_units"):
        aligned(DB.assign_attrs(units="1"))
    with pytest.raises(ValueError, match="'dB'.*median"):
        aligned((DB * 100).assign_attrs(units="dB"))


def test_the_callers_word_counts_and_is_doubted_aloud():
    with pytest.warns(UserWarning, match="sar_units='dB'.*like linear"):
        assert not is_linear(POWER, sar_units="dB")
    assert is_linear(POWER.assign_attrs(units="dB"), sar_units="linear")


def test_digital_numbers_are_not_backscatter_whatever_is_said():
    numbers = 1000 * np.sqrt(POWER)
    with pytest.raises(ValueError, match=r"says '1', which is linear.*calibrate it"):
        aligned(numbers.assign_attrs(units="1"))
    with pytest.warns(UserWarning, match=r"sar_units='linear', but sar looks otherwise.*calibrate"):
        aligned(numbers, sar_units="linear")


def test_variables_in_several_units_are_refused():
    mixed = xr.Dataset({"VV": DB.sel(band="VV", drop=True).assign_attrs(units="dB"),
                        "VH": POWER.sel(band="VH", drop=True).assign_attrs(units="1")})  # fmt: skip
    with pytest.raises(ValueError, match="several units.*VV.*dB.*VH.*1"):
        aligned(mixed)
    for variable in mixed.values():
        variable.attrs.clear()
    with pytest.raises(ValueError, match="look different"):
        aligned(mixed)


# --- no echo -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [-32768, -9999, 0, np.nan, -np.inf, 32767, -999])
@pytest.mark.parametrize("unit", ["dB", "linear"])
def test_codes_for_missing_need_no_declaration(fill, unit):
    whole = {"dB": DB, "linear": POWER}[unit]
    filled, gone = whole.copy(), whole.copy()
    filled[..., :3], gone[..., :3] = fill, np.nan
    assert is_linear(filled) == (unit == "linear")
    np.testing.assert_array_equal(guide(filled), guide(gone))
    assert np.isnan(guide(filled)[..., :3]).all()


def test_a_border_does_not_bleed_into_resampled_pixels():
    other = {"y": DB.y + 4.0, "x": DB.x + 3.0}
    filled, gone = DB.assign_coords(other).copy(), DB.assign_coords(other).copy()
    filled[..., :3], gone[..., :3] = -32768, np.nan
    np.testing.assert_array_equal(guide(filled), guide(gone))


def test_a_border_of_zeros_does_not_hide_the_other_slice_of_a_pass():
    row = xr.DataArray(np.arange(SIZE), dims="y")
    north = POWER.where(row < 5, 0)
    south = POWER.where(row >= 3, -9999).assign_coords(time=POWER.time + np.timedelta64(25, "s"))
    later = np.timedelta64(6, "h")  # not at midnight, which would name a day
    sliced = xr.concat([north, south], "time").sortby("time")
    sliced = sliced.assign_coords(time=sliced.time + later)
    whole = POWER.assign_coords(time=POWER.time + later)
    np.testing.assert_array_equal(guide(sliced), guide(whole))
    lazy = sliced.chunk(time=3).assign_attrs(units="1")
    np.testing.assert_array_equal(guide(lazy), guide(whole))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("form", ["packed power", "packed dB", "a floor of dB"])
def test_a_border_that_only_units_tell_does_not_hide_the_other_slice(form, lazy):
    rows = xr.DataArray(np.arange(SIZE), dims="y")
    south = DB.where(rows >= 3).assign_coords(time=DB.time + np.timedelta64(25, "s"))
    slices = xr.concat([DB.where(rows < 5), south], "time").sortby("time")
    if form == "packed power":
        power = 10 ** (slices / 10)
        cube = (power.fillna(0) * 1e6).round().astype("i4").assign_attrs(scale_factor=1e-6)
        kind = "linear"
    elif form == "packed dB":
        cube = (slices * 100).fillna(-32768).round().astype("i2").assign_attrs(scale_factor=0.01)
        kind = "dB"
    else:
        cube, kind = slices.fillna(-80), "dB"
    found = aligned(cube.chunk(y=3, time=2) if lazy else cube, sar_units=kind)
    whole = aligned(DB)
    (merged, tile), (plain, _) = found.guides[0], whole.guides[0]
    assert merged.times.size == plain.times.size
    values = np.asarray(merged.data)
    back = 10 * np.log10(values) if tile.linear else values
    np.testing.assert_allclose(back, plain.data, atol=0.02)


def test_integer_radar_with_undeclared_fill_is_read():
    stored = (DB.round() - 1).astype(np.int16)
    stored[..., :2] = -32768
    found = guide(stored)
    assert np.isnan(found[..., :2]).all()
    assert np.isfinite(found[..., 3:]).all()


def test_angles_and_masks_are_no_backscatter():
    both = DB.to_dataset("band").assign(
        local_incidence_angle=DB[:, 0].drop_vars("band") * 0 + 38.0,
        layover_shadow_mask=DB[:, 0].drop_vars("band") * 0 + 1.0,
    )
    np.testing.assert_array_equal(guide(both), guide(DB))
    assert "without local_incidence_angle, layover_shadow_mask" in aligned(both).guides_text
    angle = (DB.isel(band=[0]) * 0 + 38).assign_coords(band=["angle"])
    stacked = xr.concat([DB, angle], "band")
    np.testing.assert_array_equal(guide(stacked), guide(DB))
    degrees = stacked.assign_coords(band=["VV", "VH", "c"]).assign_attrs(units=("dB", "dB", "deg"))
    np.testing.assert_array_equal(guide(degrees), guide(DB))


# --- orbits ------------------------------------------------------------------------------------


def orbits(sar: xr.DataArray | xr.Dataset = DB, **coords: Any) -> Orbits:
    along = {k: ("time", v) if np.ndim(v) else v for k, v in coords.items()}
    return orbits_of(read_cube(sar.assign_coords(along), what="sar"))


def groups(found: Orbits) -> list[list[int]]:
    return [np.flatnonzero(group).tolist() for group in found.groups]


def test_relative_orbits_are_kept_apart():
    found = orbits(orbit=[15, 117, 15, 117, 15, 117, 15, 117, 15])
    assert groups(found) == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    assert groups(orbits()) == [list(range(9))]


def test_absolute_orbits_become_relative_ones():
    # Two tracks of S1A, each every 175 orbits: (abs - 73) mod 175 + 1.
    numbers = [37000 + 175 * (i // 2) + 102 * (i % 2) for i in range(9)]
    found = orbits(orbit=numbers, platform="SENTINEL-1A")
    assert groups(found) == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    assert "S1A as relative ones; orbits 3 (5), 105 (4)" in found.said
    modulo = orbits(orbit=numbers)
    assert sorted(map(tuple, groups(modulo))) == sorted(map(tuple, groups(found)))
    assert "modulo 175" in modulo.said


def test_absolute_orbits_of_two_satellites_meet_on_one_track():
    a, b = 73 + 175 * 200 + 14, 27 + 175 * 150 + 14  # both on track 15
    numbers = [(a if i % 2 else b) + 175 * (i // 2) for i in range(9)]
    letters = ["sentinel-1a" if i % 2 else "sentinel-1b" for i in range(9)]
    found = orbits(absolute_orbit=numbers, platform=letters)
    assert groups(found) == [list(range(9))]
    assert "15 (9)" in found.said


def test_known_orbits_of_each_satellite():
    # Products whose track is known, of 2021 and after.
    for letter, orbit, track in [("A", 37000, 3), ("C", 1681, 110), ("C", 8019, 46),
                                 ("D", 2389, 73)]:  # fmt: skip
        numbers = orbit + 175 * np.arange(9) if orbit != 8019 else np.full(9, orbit)
        found = orbits(absolute_orbit=numbers, platform=f"S1{letter}")
        assert f"{track} (9)" in found.said


def test_absolute_orbits_that_never_repeat_are_taken_as_one():
    numbers = 37000 + np.cumsum([0, 3, 8, 11, 17, 23, 31, 41, 47])
    found = orbits(orbit=numbers)
    assert groups(found) == [list(range(9))]
    assert "taken as one" in found.said
    one_each = orbits(orbit=numbers, platform="RADARSAT-2")
    assert groups(one_each) == [list(range(9))]


def test_lone_tracks_are_put_together_by_direction():
    way = ["ascending", "DESCENDING", "ascending", "descending", "ASC", "D", "a", "d", "ascending"]
    track = [15, 8, 15, 81, 15, 110, 88, 139, 15]
    found = orbits(relative_orbit=track, orbit_state=way)
    # 88 flies as 15 does; the four descending ones have a track each.
    assert groups(found) == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]


def test_tracks_come_before_directions():
    track = [15, 117, 15, 117, 15, 8, 8, 117, 15]
    way = ["ascending"] * 5 + ["descending", "descending", "ascending", "ascending"]
    found = orbits(**{"sat:relative_orbit": track, "sat:orbit_state": way})
    assert len(found.groups) == 3


@pytest.mark.parametrize("gap", [np.nan, None, "", "nan"])
def test_missing_orbits_are_a_group_of_their_own(gap):
    values = [15, 15, 15, gap, gap, 15, 15, 15, 15]
    values = np.array(values, float if gap is np.nan else object)
    assert groups(orbits(orbit=values)) == [[0, 1, 2, 5, 6, 7, 8], [3, 4]]


def test_mixed_and_written_orbits_are_read():
    mixed = np.array(["15", "15", "ASCENDING", "asc", "15.0", "DESC", "D", "15", "15"], object)
    assert groups(orbits(orbit=mixed)) == [[0, 1, 4, 7, 8], [2, 3], [5, 6]]
    assert groups(orbits(orbit="ascending")) == [list(range(9))]


@settings(max_examples=30)
@given(st.lists(
    st.one_of(st.integers(1, 175), st.integers(176, 60000), st.sampled_from(
        ["ASCENDING", "descending", "", "T015", np.nan, None])),
    min_size=9, max_size=9,
))  # fmt: skip
def test_every_image_is_in_one_group_whatever_its_label(labels):
    found = orbits(orbit=np.array(labels, object))
    assert (np.sum(found.groups, axis=0) == 1).all()


def test_orbits_in_a_variable_of_a_dataset_count():
    bands = DB.to_dataset("band").assign(orbit=("time", [1, 2] * 4 + [1]))
    assert len(orbits_of(read_cube(bands[["VV", "VH", "orbit"]], what="sar")).groups) == 2
    bands["layover"] = bands.VV > -10
    said = aligned(bands).guides_text
    assert "orbits 1 (5), 2 (4)" in said
    assert "without layover" in said


# --- several sensors ---------------------------------------------------------------------------


def test_several_guides_on_their_own_grids_and_dates():
    other = POWER.isel(time=slice(1, None), y=slice(0, 6)).assign_coords(
        time=POWER.time.values[1:] + np.timedelta64(5, "D")
    )
    found = aligned([DB, other])
    assert found.guide_bands == 4
    assert [tile.linear for _, tile in found.guides] == [False, True]
    assert aligned((DB, other)).guide_bands == 4
    named = aligned({"s1a": DB, "s1b": other}, guide=[CUBE, CUBE])
    assert named.guide_bands == 6
    assert "sar['s1a']" in named.guides_text
    assert "guide[1]" in named.guides_text


def test_messages_name_the_guide_that_is_wrong():
    far = DB.assign_coords(time=DB.time + np.timedelta64(4000, "D"))
    with pytest.raises(ValueError, match=r"sar\['s1b'\] has no image within"):
        aligned({"s1a": DB, "s1b": far})
    with pytest.raises(ValueError, match=r"sar\[1\] and cube do not overlap"):
        aligned([DB, DB.assign_coords(x=DB.x + 9000)])
    with pytest.raises(ValueError, match="sar is an empty list"):
        aligned([])
    with pytest.raises(ValueError, match="guide is an empty dict"):
        aligned(guide={})
    with pytest.raises(TypeError, match=r"sar\[0\] must be .* not str"):
        aligned(["s1.nc"])
    with pytest.raises(TypeError, match="sar must be .* not ndarray"):
        aligned(DB.values)


@pytest.mark.slow
def test_two_halves_of_a_radar_series_fill_as_guides():
    one = CUBE.stf.gapfill(DB, method="gp")
    alone = CUBE.stf.gapfill([DB], method="gp")
    np.testing.assert_array_equal(one, alone)
    both = CUBE.stf.gapfill({"a": DB[::2], "b": DB[1::2]}, method="gp", guide=CUBE)
    assert both.notnull().all()
    assert both.attrs["stf_guides"].startswith("sar['a']: 5 images, dB by its values")
    lazy = CUBE.chunk(y=3).stf.gapfill({"a": DB[::2], "b": DB[1::2]}, method="gp", guide=CUBE)
    np.testing.assert_allclose(lazy, both, rtol=1e-4, atol=1e-5)


def test_more_than_ten_guides_keep_their_order():
    from xstf.tiles.gapfill import _nth

    names = [_nth(i) for i in range(12)]
    assert sorted(names) == names


@pytest.mark.slow
def test_evaluation_hands_guides_on():
    scores = xstf.evaluate_gapfill(
        CUBE, [DB[::2], DB[1::2]], methods=["gp", "linear"], regimes=["partial"]
    )
    assert scores.rmse.notnull().all()


# --- lazy --------------------------------------------------------------------------------------


def untouchable(like: xr.DataArray) -> xr.DataArray:
    """Return a chunked cube that raises when it is computed."""

    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a guide was computed at the call")

    blocks = da.from_array(like.values, (3, 1, 4, 4)).map_blocks(refuse, dtype=like.dtype)
    return like.copy(data=blocks)


def test_nothing_of_a_chunked_guide_is_computed_at_the_call():
    orbit = [15, 117] * 4 + [15]
    sar = (
        untouchable(DB).assign_coords(orbit=("time", orbit)).chunk(time=2).assign_attrs(units="dB")
    )
    assert sar.orbit.chunks  # xarray chunks what lies along time, too
    with testing.raise_if_dask_computes():
        lazy = CUBE.stf.gapfill([sar, sar], method="gp", guide=untouchable(CUBE))
    assert isinstance(lazy.data, da.Array)
    with testing.raise_if_dask_computes():
        CUBE.stf.gapfill(untouchable(POWER), method="gp", sar_units="linear")


def test_guides_are_not_changed():
    sar = DB.copy(deep=True)
    sar[..., :2] = -np.inf
    before = sar.copy(deep=True)
    aligned([sar, sar.to_dataset("band")])
    xr.testing.assert_identical(sar, before)
