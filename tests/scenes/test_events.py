"""Land that changes at once: how much, where, seeded, and nothing where nothing was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import label

from xstf import scenes, simulate

WATER, BUILT = 8, 10  # of six classes of fields


@pytest.fixture(scope="module")
def land():
    return simulate.landscape((90, 120), seed=2)


def test_a_flood_covers_its_share_and_is_joined_to_the_river(land):
    wet = simulate.flood(land, 0.2, seed=1)
    assert (wet.dims, wet.dtype, wet.name) == (("y", "x"), bool, "flood")
    assert wet.attrs == {"long_name": "under the water of a flood"}
    assert wet.sum() == round(0.2 * wet.size)
    assert not wet.values[np.isin(land.cover, [WATER, BUILT])].any()
    river = land.cover.values == WATER
    # houses stand in the water that passes below them: they join it
    parts, _ = label(river | wet.values | (land.cover.values == BUILT))
    assert set(np.unique(parts[wet.values])) <= set(np.unique(parts[river]))


def test_a_flood_grows_from_low_places_up(land):
    small, large = (simulate.flood(land, share, seed=1) for share in (0.05, 0.25))
    assert (small <= large).all()
    river = np.argwhere(land.cover.values == WATER)
    far = [
        np.mean([np.hypot(*(river - at).T).min() for at in np.argwhere(where)[::20]])
        for where in (small.values, large.values, np.ones(small.shape, bool))
    ]
    assert far[0] < far[1] < 0.7 * far[2]


def test_water_takes_the_lowest_pixel_beside_it():
    """From the hollow in the middle over the lower rim; what lies low behind the higher waits."""
    from xstf.simulate.events import _risen

    height = np.array([[1.0, 9.0, 0.0, 5.0, 2.0]])
    source = height == 0
    never = source.copy()
    orders = [_risen(height, source, never, n).astype(int).tolist()[0] for n in range(6)]
    assert orders == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
        [0, 1, 0, 1, 1],
        [1, 1, 0, 1, 1],
        [1, 1, 0, 1, 1],
    ]


def test_land_without_a_river_is_flooded_from_its_lowest_place(land):
    dry = land.copy(deep=True)
    dry["cover"] = (
        dry.cover.where(dry.cover != WATER, 0).astype("u1").assign_attrs(land.cover.attrs)
    )
    wet = simulate.flood(dry, 0.1)
    assert wet.sum() == round(0.1 * wet.size)


def test_whole_fields_are_cut_and_of_the_wanted_classes_alone(land):
    cut = simulate.harvest(land, 0.4, classes=[1, 4], seed=3)
    assert (cut.dims, cut.dtype, cut.name) == (("y", "x"), bool, "harvest")
    here = np.isin(land.cover.values, [1, 4])
    assert not cut.values[~here].any()
    numbers = land.parcel.values
    chosen = np.unique(numbers[cut.values])
    assert len(chosen) == round(0.4 * len(np.unique(numbers[here])))
    np.testing.assert_array_equal(cut.values, here & np.isin(numbers, chosen))
    assert simulate.harvest(land, 1).values.sum() == (land.cover.values < 6).sum()


@pytest.mark.parametrize("event", [simulate.flood, simulate.harvest])
def test_the_seed_decides_and_nothing_is_asked_for_with_no_share(land, event):
    one, two, other = (event(land, 0.2, seed=s) for s in (1, 1, 2))
    xr.testing.assert_identical(one, two)
    assert not one.equals(other)
    assert not event(land, 0).any()


@pytest.mark.parametrize("event", [simulate.flood, simulate.harvest])
def test_what_is_no_map_or_no_share_is_refused(land, event):
    with pytest.raises(TypeError, match="give the map of `landscape`"):
        event(land.cover)
    with pytest.raises(TypeError, match="(named classes)"):
        event(land.drop_attrs())
    with pytest.raises(ValueError, match="share is from 0 to 1, not 15"):
        event(land, 15)


def test_classes_that_are_no_fields_are_refused(land):
    with pytest.raises(ValueError, match=r"classes are \[8\]; the fields of the map are"):
        simulate.harvest(land, classes=[WATER])


@pytest.mark.parametrize("make", [scenes.nested, scenes.landsat_modis])
def test_a_scene_changes_only_where_its_event_is(make):
    calm, wet, cut = (make(size=48, events=e) for e in ((), "flood", ["harvest"]))
    assert not calm.change.any()
    assert round(float(wet.change.mean()), 3) == 0.15
    day = np.datetime64(wet.change.attrs["date"])
    for made, name in ((wet, "flood"), (cut, "harvest")):
        assert made.change.attrs["events"] == name
        assert 0.005 < made.change.mean() < 0.16
        differs = (made.truth != calm.truth).any("band")
        assert not differs.sel(time=made.truth.time < day).any()
        # a pixel of the sensor also sees its neighbours: what is not next to a change stays
        beside = np.pad(made.change.values[1:-1, 1:-1], 1, constant_values=True)
        for axis in (0, 1):
            beside |= np.roll(beside, 1, axis) | np.roll(beside, -1, axis)
        later = differs.sel(time=made.truth.time >= day)
        assert not later.values[:, ~beside].any()
        assert later.values[:, made.change.values].mean() > 0.99


def test_a_flood_looks_like_water_and_a_cut_field_like_straw():
    calm, wet, cut = (scenes.landsat_modis(size=90, events=e) for e in ((), "flood", "harvest"))
    date = {"time": 9, "drop": True}  # day 225

    def nir(made, where):
        return float(made.truth.isel(**date).sel(band="nir").where(where).median())

    assert nir(wet, wet.change) < 0.1 < 0.2 < nir(calm, wet.change)
    assert 0.15 < nir(cut, cut.change) < 0.35 < nir(calm, cut.change)


def test_events_may_be_several_and_unknown_ones_are_refused():
    both = scenes.nested(events=["flood", "harvest"])
    assert both.change.attrs["events"] == "flood harvest"
    assert both.change.sum() > scenes.nested(events="flood").change.sum()
    usual = scenes.nested()
    xr.testing.assert_identical(usual.truth, scenes.nested(events=("fire", "building")).truth)
    with pytest.raises(ValueError, match=r"no events \['war'\]; there are \['fire', 'building'"):
        scenes.nested(events="war")
