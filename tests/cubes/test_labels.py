"""Labels of results: coordinates that hold, attributes of the grid, files that open."""

from __future__ import annotations

import dataclasses
import datetime
import warnings
from collections import namedtuple
from fractions import Fraction
from pathlib import PurePosixPath

import dask.array
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xstf.cubes.writable import writable, written
from xstf.testing import raise_if_dask_computes

UTM = pyproj.CRS.from_epsg(32633)
Spec = namedtuple("Spec", "epsg bounds")


def land(days=6, size=12, step=10.0, bands=("red", "nir"), **attrs):
    """A cube (time, band, y, x) in UTM with a few holes."""
    times = pd.date_range("2021-04-01", periods=days, freq="10D")
    t, b, y, x = np.indices((days, len(bands), size, size))
    data = (0.2 + 0.01 * t + 0.1 * b + 0.02 * np.sin(x / 3) + 0.02 * np.cos(y / 2)).astype("f4")
    data[1:2, :, 2:4, 3:6] = np.nan
    return xr.DataArray(
        data, dims=("time", "band", "y", "x"), name="reflectance", attrs=attrs,
        coords={
            "time": times, "band": list(bands), "spatial_ref": ((), 0, UTM.to_cf()),
            "y": 5e6 - step * (np.arange(size) + 0.5), "x": 5e5 + step * (np.arange(size) + 0.5),
        },
    )  # fmt: skip


def blurred(cube, ratio=4):
    mean = cube.coarsen(y=ratio, x=ratio).mean()
    return mean.assign_coords(spatial_ref=cube.spatial_ref)


class Record:
    """Says nothing but its type."""


@dataclasses.dataclass
class RasterSpec:
    epsg: int
    shape: tuple[int, int]


ODD = {
    "spec": RasterSpec(32633, (12, 12)), "object": Record(), "data_type": {"type": "byte", "n": 1},
    "acquired": datetime.datetime(2021, 4, 1, 10), "day": datetime.date(2021, 4, 1),
    "stamp": pd.Timestamp("2021-04-01"), "numpy_date": np.datetime64("2021-04-01"),
    "not_a_time": pd.NaT, "length": pd.Timedelta("3D"), "nothing": None, "yes": True,
    "nested": [[1, 2], [3, 4]], "table": np.ones((2, 2)), "mixed": (1, "a"), "empty": [],
    "set": {"b", "a"}, "complex": 1j, "bytes": b"\xc3\xa9\xff", "huge": 2**70,
    "half": np.float16(1),
    "wide": np.longdouble(1.5), "flags": np.array([True, False]), "crs_object": UTM,
    "path": PurePosixPath("a/b"), "part": Fraction(1, 3), "nan": float("nan"), 5: "five",
    "with/slash": 1, " spaced ": 1, "": 1, "CLASS": "x", "_NCProperties": "x", "nul": "a\0b",
    "lone": "\ud800", "coordinates": "a b", "grid_mapping": "other", "bounds": "gone",
    "records": [{"a": 1}, {"a": None}], "named": Spec(32633, (1, 2)), "text": "é",
    "numbers": [1, 2.5],
    "dates": [datetime.date(2021, 4, 1)], "lazy": dask.array.ones(3), "strings": ["a", "b"],
    "type": int, "inf": np.inf, "objects": np.array([None, "a"], object),
}  # fmt: skip
ODD_COORDS = {
    "item": ("time", np.array([{"id": i} for i in range(6)], object)),
    "platform": ("time", np.array(["S2A", None] * 3, object)),
    "cover": ("time", np.array([1.5, None] * 3, object)),
    "crs": ((), np.array(UTM, object)),
    "proj:bbox": ("time", np.array([[1, 2]] * 6 + [0], object)[:6]),
    "acquired": ("time", np.array([datetime.datetime(2021, 4, 1)] * 5 + [None], object)),
    "half": ("band", np.ones(2, np.float16)), "twist": ("band", np.ones(2, complex)),
    "raw": ("band", np.array([b"a", b"b"])), "kind": ("band", pd.Categorical(["a", "b"])),
    "a/b": ("band", [1, 2]), "produced": ((), np.datetime64("2021-04-02", "ns")),
    "whole": ("time", np.array([1, 2, 3, 4, 5, 6], object)), "ok": ("time", [True] * 6),
}  # fmt: skip

# --- files ------------------------------------------------------------------------------------


def results(kind, lazy):
    """Every verb's result by name: of arrays or Datasets, in memory or lazy."""
    cube = land()
    coarse, spatial = blurred(cube), land(bands=("pan",))
    fine = cube.isel(time=[0, 5])
    cubes = {"cube": cube, "fine": fine, "coarse": coarse, "spatial": spatial}
    if kind == "Dataset":
        cubes = {
            n: c.to_dataset("band").assign_coords(spatial_ref=c.spatial_ref)
            for n, c in cubes.items()
        }
    if lazy:
        cubes = {n: c.chunk({"y": 3, "x": 6, "time": -1}) for n, c in cubes.items()}
    c, f, b, s = cubes.values()
    return {
        "gapfill": lambda: c.stf.gapfill(method="linear"),
        "gapfill with quality": lambda: c.stf.gapfill(method="linear", return_quality=True),
        "fuse": lambda: f.stf.fuse(b, method="starfm"),
        "fuse with quality": lambda: f.stf.fuse(b, method="starfm", return_quality=True),
        "sharpen": lambda: b.stf.sharpen_spectral(s, method="sfim", register=False),
        "sts": lambda: b.isel(time=[0, 5]).stf.fuse(b, spatial=s.isel(time=[0, 5])),
    }


VERBS = list(results("DataArray", False))


def as_dataset(result):
    return result if isinstance(result, xr.Dataset) else result.to_dataset()


@pytest.mark.filterwarnings("ignore:.*Zarr V3 spec", "ignore:.*does not have a Zarr V3")
@pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore::RuntimeWarning")
@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
@pytest.mark.parametrize("kind", ["DataArray", "Dataset"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_result_writes_and_opens_georeferenced(verb, kind, lazy, tmp_path):
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    pytest.importorskip("zarr", reason="needs zarr")
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    result = results(kind, lazy)[verb]()
    out = as_dataset(result)
    assert bool(out.chunks) == lazy
    out.to_netcdf(tmp_path / "out.nc")
    for version in (2, 3):
        out.to_zarr(tmp_path / f"{version}.zarr", zarr_format=version, consolidated=False)
    opened = [
        xr.open_dataset(tmp_path / "out.nc", decode_coords="all"),
        *(
            xr.open_zarr(tmp_path / f"{v}.zarr", decode_coords="all", consolidated=False)
            for v in (2, 3)
        ),
    ]
    for back in opened:
        with back:
            for name in out.data_vars:
                assert back[name].rio.crs.to_epsg() == 32633
                assert back[name].rio.transform()[:6] == (10, 0, 5e5, 0, -10, 5e6)
                np.testing.assert_allclose(back[name], out[name], rtol=1e-6)
            assert set(back.coords) == set(out.coords)
    several = len(out.data_vars) > 1
    for name in out.data_vars:
        path = f"netcdf:{tmp_path}/out.nc:{name}" if several else tmp_path / "out.nc"
        with rasterio.open(path) as gdal:
            assert gdal.crs.to_epsg() == 32633
            assert gdal.transform[:6] == (10, 0, 5e5, 0, -10, 5e6)
            assert gdal.shape == (12, 12)


@pytest.mark.filterwarnings("ignore:.*Zarr V3 spec", "ignore:.*does not have a Zarr V3")
@pytest.mark.parametrize("how", ["DataArray", "Dataset", "Dataset with quality", "sharpened"])
def test_odd_labels_are_turned_and_said_once(how, tmp_path):
    pytest.importorskip("zarr", reason="needs zarr")
    cube = land().assign_coords(ODD_COORDS)
    cube.attrs, cube.coords["band"].attrs = dict(ODD), dict(ODD)
    before = cube.copy(deep=True)
    if how.startswith("Dataset"):
        cube = cube.to_dataset("band").assign_attrs(ODD)
        for variable in cube.data_vars.values():
            variable.attrs = dict(ODD)
    spatial, quality = land(size=48, step=2.5, bands=("pan",)), "quality" in how

    def run():
        if how == "sharpened":
            return cube.stf.sharpen_spectral(spatial, method="sfim", register=False)
        return cube.stf.gapfill(method="linear", return_quality=quality)

    with pytest.warns(UserWarning, match="files cannot hold") as caught:
        out = run()
    said = [str(w.message) for w in caught if "files cannot hold" in str(w.message)]
    assert len(said) == 1
    out = as_dataset(out)
    out.to_netcdf(tmp_path / "out.nc")
    for version in (2, 3):
        out.to_zarr(tmp_path / f"{version}.zarr", zarr_format=version, consolidated=False)
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as back:
        xr.testing.assert_allclose(back[next(iter(out))], out[next(iter(out))])
    if how == "DataArray":
        assert before.attrs.keys() == cube.attrs.keys()
        assert cube.attrs["object"] is ODD["object"]


TEXTS = [
    ({"a": 1}, '{"a": 1}'), ([{"a": None}], '[{"a": null}]'), (True, 1), (np.bool_(False), 0),
    (None, None), (pd.NaT, None), (datetime.date(2021, 4, 1), "2021-04-01"),
    (datetime.datetime(2021, 4, 1, 10), "2021-04-01T10:00:00"),
    (np.datetime64("2021-04"), "2021-04"),
    ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"), ((1, "a"), '[1, "a"]'), ([], "[]"),
    ({"b", "a"}, ["a", "b"]),
    (1j, "1j"), (b"ab", "ab"), (2**70, str(2**70)), (Fraction(1, 2), 0.5), ((1, 2.5), (1, 2.5)),
    (["a", "b"], ["a", "b"]), (Record(), None),
    (RasterSpec(1, (2, 3)), '{"epsg": 1, "shape": [2, 3]}'),
    (Spec(1, (2, 3)), '{"epsg": 1, "bounds": [2, 3]}'), (UTM, UTM.to_wkt()), (np.array(3), 3),
    ([datetime.date(2021, 4, 1)], ["2021-04-01"]), ("text", "text"), (np.array([True]), [1]),
    ([True, False], [1, 0]), (float("inf"), float("inf")), (len, None), (dask.array.ones(2), None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "want"), TEXTS, ids=[type(v).__name__ for v, _ in TEXTS])
def test_what_an_attribute_becomes(value, want):
    got = written(value)
    assert got == want
    assert type(got) is type(want) or isinstance(got, int | float)


SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates(),
    st.datetimes(), st.complex_numbers(), st.fractions(), st.sampled_from([Record(), UTM, int]),
)  # fmt: skip
VALUES = st.recursive(
    SIMPLE,
    lambda v: st.lists(v, max_size=3) | st.tuples(v, v) | st.dictionaries(st.text(), v, max_size=3),
    max_leaves=6,
)


@given(
    attrs=st.dictionaries(st.text(max_size=8) | st.integers(), VALUES, max_size=4),
    labels=st.lists(VALUES, min_size=2, max_size=2),
)
def test_any_attributes_and_coordinates_write(attrs, labels, tmp_path_factory):
    """Drawn by Hypothesis: what is left reads back, from NetCDF as from Zarr."""
    pytest.importorskip("zarr", reason="needs zarr")
    objects = np.empty(2, object)
    objects[:] = labels
    cube = land(days=2, size=2).assign_coords(drawn=("time", objects)).assign_attrs(attrs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = writable(cube).to_dataset()
        assert writable(out).identical(out)  # nothing is left to turn
        folder = tmp_path_factory.mktemp("drawn")
        out.to_netcdf(folder / "out.nc")
        out.to_zarr(folder / "out.zarr", consolidated=False)
        with xr.open_dataset(folder / "out.nc") as back:
            np.testing.assert_array_equal(back.reflectance, out.reflectance)


def test_ordinary_labels_are_not_touched_and_not_warned_of():
    attrs = {"units": "1", "n": 3, "list": [1.5, 2.5], "names": ["a", "b"], "array": np.arange(3)}
    cube = land(**attrs).assign_coords(platform=("time", ["S2A", "S2B"] * 3))
    out = cube.stf.gapfill(method="linear")
    for key, value in attrs.items():
        assert out.attrs[key] is value or np.array_equal(out.attrs[key], value)


# --- coordinates ------------------------------------------------------------------------------


@pytest.fixture
def labelled():
    lat = ("y", np.arange(12.0))
    return land().assign_coords(
        platform=("time", list("abcdef")),
        cover=("time", np.arange(6.0)),
        name=("band", ["r", "n"]),
        geo=(("y", "x"), np.ones((12, 12))),
        row=lat,
        produced=np.datetime64("2022-01-01", "ns"),
        gsd=10,
        baseline=("time", ["03.01"] * 3 + ["04.00"] * 3),
        per=(("time", "band"), np.ones((6, 2))),
    )


@pytest.mark.parametrize("order", [range(6), [3, 0, 5, 1, 4, 2]])
def test_gapfill_keeps_every_coordinate_in_the_order_of_its_dates(labelled, order):
    cube = labelled.isel(time=list(order))
    out = cube.stf.gapfill(method="linear")
    assert set(out.coords) == set(cube.coords)
    for name, coord in cube.coords.items():
        got = out[name].sel(time=cube.time) if "time" in coord.dims else out[name]
        if name not in ("spatial_ref", "time"):
            np.testing.assert_array_equal(got, coord)


def test_fuse_keeps_what_is_along_bands_and_space(labelled):
    fine = labelled.isel(time=[0, 5])
    out = fine.stf.fuse(blurred(land()), method="starfm")
    assert set(out.coords) == {
        "time", "band", "y", "x", "spatial_ref", "name", "geo", "row", "gsd", "produced",
    }  # fmt: skip


def test_sharpening_takes_times_and_bands_of_one_and_space_of_the_other(labelled):
    coarse = labelled.assign_attrs(transform=(10, 0, 5e5, 0, -10, 5e6), gsd=10, res=(10.0, 10.0))
    spatial = land(size=48, step=2.5, bands=("pan",)).assign_coords(
        lon=(("y", "x"), np.full((48, 48), 15.0)), platform=("time", ["other"] * 6)
    )
    out = coarse.stf.sharpen_spectral(spatial, method="sfim", register=False)
    assert set(out.coords) == {
        "time", "band", "y", "x", "spatial_ref", "platform", "cover", "name", "lon", "baseline",
        "per", "produced",
    }  # fmt: skip
    np.testing.assert_array_equal(out.platform, coarse.platform)
    assert out.attrs["transform"] == (2.5, 0, 5e5, 0, -2.5, 5e6)
    assert out.attrs["res"] == (2.5, 2.5)
    assert "gsd" not in out.attrs


def test_dims_of_another_crs_are_called_as_there():
    coarse = blurred(land(days=1)).isel(time=0, drop=True)
    to_degrees = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True)
    lon, lat = to_degrees.transform(coarse.x.values, np.full(3, float(coarse.y.mean())))
    _, lats = to_degrees.transform(np.full(3, float(coarse.x.mean())), coarse.y.values)
    geo = coarse.rename(y="lat", x="lon").assign_coords(
        lat=np.linspace(lats[0], lats[-1], 3), lon=np.linspace(lon[0], lon[-1], 3),
        spatial_ref=((), 0, pyproj.CRS.from_epsg(4326).to_cf()),
    )  # fmt: skip
    spatial = land(days=1, bands=("pan",)).isel(time=0, drop=True)
    out = geo.stf.sharpen_spectral(spatial, method="sfim", register=False)
    assert set(out.dims) == {"band", "y", "x"}
    assert pyproj.CRS.from_cf(out.spatial_ref.attrs) == UTM


def test_a_grid_mapping_keeps_its_own_name():
    cube = land().rename(spatial_ref="transverse_mercator")
    cube.encoding["grid_mapping"] = "transverse_mercator"
    out = cube.stf.gapfill(method="linear")
    assert "spatial_ref" not in out.coords
    assert pyproj.CRS.from_cf(out.transverse_mercator.attrs) == UTM
    assert out.encoding["grid_mapping"] == "transverse_mercator"


def test_a_crs_in_attributes_alone_is_on_the_result():
    cube = land(crs="EPSG:32633").drop_vars("spatial_ref")
    out = cube.stf.gapfill(method="linear")
    assert out.attrs["crs"] == "EPSG:32633"
    assert out.stf.plan("gapfill", method="linear").grids  # it is read again


# --- attributes of the grid -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [tuple, list, np.array, "affine", "text"])
@pytest.mark.parametrize("length", [6, 9])
def test_a_stale_transform_is_worked_out_anew(kind, length):
    stale = (10.0, 0.0, 5e5, 0.0, -10.0, 5e6, 0.0, 0.0, 1.0)[:length]
    if kind == "affine":
        kind = lambda v: pytest.importorskip("affine").Affine(*v[:6])  # noqa: E731
    elif kind == "text":
        kind = lambda v: " ".join(map(str, v))  # noqa: E731
    cube = land(transform=kind(stale), spec=RasterSpec(1, (2, 3)))
    cube.spatial_ref.attrs["GeoTransform"] = "500000.0 10.0 0.0 5000000.0 0.0 -10.0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spec
        whole = cube.stf.gapfill(method="linear")
        part = cube.isel(y=slice(2, None), x=slice(3, 9)).stf.gapfill(method="linear")
        turned = cube.isel(y=slice(None, None, -1)).stf.gapfill(method="linear")

    def numbers(value):
        return [float(v) for v in (value.split() if isinstance(value, str) else value)][:6]

    assert numbers(whole.attrs["transform"]) == [10, 0, 5e5, 0, -10, 5e6]
    assert whole.spatial_ref.attrs["GeoTransform"] == cube.spatial_ref.attrs["GeoTransform"]
    assert "spec" in whole.attrs
    assert "spec" not in part.attrs
    assert numbers(part.attrs["transform"]) == [10, 0, 500030, 0, -10, 4999980]
    assert numbers(part.spatial_ref.attrs["GeoTransform"]) == [500030, 10, 0, 4999980, 0, -10]
    assert numbers(turned.attrs["transform"]) == [10, 0, 5e5, 0, 10, 5e6 - 120]


def test_a_transform_that_is_none_stays():
    assert land(transform="log10").stf.gapfill(method="linear").attrs["transform"] == "log10"


def test_bounds_and_shape_follow_a_crop():
    said = {
        "bounds": (5e5, 5e6 - 120, 500120, 5e6),
        "proj:shape": [12, 12],
        "bbox": [15, 45, 16, 46],
    }
    cube = land(**said)
    whole = cube.stf.gapfill(method="linear")
    assert tuple(whole.attrs["bounds"]) == said["bounds"]
    part = cube.isel(x=slice(0, 6)).stf.gapfill(method="linear")
    assert tuple(part.attrs["bounds"]) == (5e5, 5e6 - 120, 500060, 5e6)
    assert list(part.attrs["proj:shape"]) == [12, 6]


def test_packing_is_left_out_as_it_no_longer_holds():
    said = {
        "valid_range": [0, 1], "valid_min": 0, "valid_max": 1, "nodata": -9, "nodatavals": (-9.0,),
        "scales": (1.0,), "offsets": (0.0,), "STATISTICS_MEAN": 1, "_FillValue": -9.0,
        "actual_range": [0, 1],
    }  # fmt: skip
    out = land(**said).stf.gapfill(method="linear")
    assert not set(said) & set(out.attrs)


def test_one_row_opens_georeferenced():
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    out = land().isel(y=[4]).stf.gapfill(method="linear")
    assert out.rio.transform()[:6] == (10, 0, 5e5, 0, -10, 5e6 - 40)


@pytest.mark.parametrize(
    "names", [("lat", "lon"), ("northing", "easting"), ("latitude", "longitude")]
)
def test_other_names_of_dims_open_georeferenced(names, tmp_path):
    rioxarray = pytest.importorskip("rioxarray", reason="needs rioxarray")
    epsg = 32633 if names[0] == "northing" else 4326
    cube = land().isel(band=0, drop=True).rename(y=names[0], x=names[1])
    cube = cube.assign_coords(spatial_ref=((), 0, pyproj.CRS.from_epsg(epsg).to_cf()))
    if epsg == 4326:
        cube = (
            cube.assign_coords(lat=45 - 0.1 * np.arange(12.0), lon=15 + 0.1 * np.arange(12.0))
            if (names[0] == "lat")
            else cube.assign_coords(
                latitude=45 - 0.1 * np.arange(12.0), longitude=15 + 0.1 * np.arange(12.0)
            )
        )
    out = cube.stf.gapfill(method="linear")
    out.to_netcdf(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as back:
        want = back.reflectance.rio.transform()
        assert back.reflectance.rio.crs.to_epsg() == epsg
    with rioxarray.open_rasterio(tmp_path / "out.nc", decode_times=False) as gdal:
        assert gdal.rio.crs.to_epsg() == epsg
        np.testing.assert_allclose(gdal.rio.transform()[:6], want[:6])


# --- chunks -----------------------------------------------------------------------------------


def test_lazy_coordinates_are_in_the_chunks_of_the_result():
    cube = land().chunk({"time": 2, "y": 5, "x": 4})
    cube = cube.assign_coords(
        lon=(("y", "x"), dask.array.ones((12, 12), chunks=7)),
        cover=("time", dask.array.arange(6, chunks=5)),
    )
    dataset = cube.to_dataset("band").assign_coords(spatial_ref=cube.spatial_ref)
    for given_cube in (cube, dataset):
        with raise_if_dask_computes(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks along time
            out = given_cube.stf.gapfill(method="linear", return_quality=True)
        assert out.chunks["y"] == (5, 5, 2)
        assert out.lon.chunks is not None
        np.testing.assert_array_equal(out.cover, np.arange(6))


def test_a_result_in_memory_has_coordinates_in_memory():
    lon = (("y", "x"), dask.array.ones((12, 12), chunks=7))
    cube = land().assign_coords(lon=lon, late=(("y",), dask.array.ones(12, chunks=5)))
    out = cube.stf.gapfill(method="linear").to_dataset()
    assert not out.chunks
    assert cube.lon.chunks is not None


def test_encoding_of_coordinates_is_not_in_the_way(tmp_path):
    """What a file's chunks, dtype and units were cannot hold other dates."""
    cube = land()
    cube.time.encoding = {"units": "days since 2021-04-01", "dtype": "int8", "chunks": (1,)}
    cube = cube.assign_coords(cover=("time", np.arange(6.0)))
    cube.cover.encoding = {"dtype": "int8", "_FillValue": -1, "chunks": (4,), "scale_factor": 100.0}
    cube.time.attrs["units"] = "days"
    coarse = blurred(land(days=400, size=8))
    fine = cube.isel(y=slice(8), x=slice(8), time=[0, 5])
    outs = [
        cube.stf.gapfill(method="linear"),
        fine.stf.fuse(coarse, method="starfm", time=coarse.time[[300]]),
    ]
    for i, out in enumerate(outs):
        out.to_netcdf(tmp_path / f"{i}.nc")
        with xr.open_dataset(tmp_path / f"{i}.nc") as back:
            np.testing.assert_array_equal(back.time, out.time)


# --- n_obs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy", [False, True])
def test_gapfill_counts_the_clear_observations_of_a_pixel(lazy):
    cube = land()
    cube[:3, 0, 0, 0] = np.nan
    cube[:, 1, 5, 5] = np.nan
    given_cube = cube.chunk({"y": 5, "x": 7}) if lazy else cube
    out = given_cube.stf.gapfill(method="linear", return_quality=True)
    assert out.reflectance_n_obs.dtype == np.uint16
    want = cube.notnull().sum("time").broadcast_like(cube).transpose(*cube.dims)
    np.testing.assert_array_equal(out.reflectance_n_obs, want)


@pytest.mark.parametrize("lazy", [False, True])
def test_fuse_counts_the_images_that_a_pixel_was_made_of(lazy):
    cube = land()
    fine = cube.isel(time=[0, 5])
    fine[0, :, :4, :4] = np.nan
    fine[:, :, 8:, 8:] = np.nan
    given_cube = fine.chunk({"y": 5, "x": 7}) if lazy else fine
    times = cube.time[[0, 2]]
    out = given_cube.stf.fuse(
        blurred(land().fillna(0.2)), method="starfm", time=times, return_quality=True
    )
    count, flag = out.reflectance_n_obs.values, out.reflectance_flag.values
    assert {0, 3, 4, 6} <= set(np.unique(flag))
    for kind, images in ((0, 1), (3, 1), (4, 2), (6, 0)):
        assert (count[flag == kind] == images).all()


@pytest.mark.parametrize("form", [np.array, str, lambda t: np.array([*t, 0, 0, 1.0]).reshape(3, 3)])
def test_a_transform_of_any_form_opens_in_rioxarray(form):
    cube = land()
    step, left, top = 10.0, float(cube.x[0]) - 5, float(cube.y[0]) + 5
    cube.attrs["transform"] = form((step, 0.0, left, 0.0, -step, top))
    filled = cube.stf.gapfill(method="linear")
    assert tuple(filled.rio.transform())[:6] == (step, 0.0, left, 0.0, -step, top)


def test_a_pixel_size_beside_a_stale_transform_follows():
    cube = land()
    left, top = float(cube.x[0]) - 5, float(cube.y[0]) + 5
    cube.attrs |= {"transform": (10.0, 0.0, left, 0.0, -10.0, top), "res": (10.0, 10.0)}
    some = cube.isel(y=slice(None, None, 2), x=slice(None, None, 2))
    filled = some.stf.gapfill(method="linear")
    assert filled.attrs["res"] == (20.0, 20.0)
    assert filled.attrs["transform"][:3] == (20.0, 0.0, left - 5)


def test_a_grid_mapping_of_text_is_not_warned_of():
    pytest.importorskip("rioxarray", reason="needs rioxarray")
    cube = land()
    crs = cube.spatial_ref.attrs
    data = cube.drop_vars("spatial_ref").to_dataset("band")
    data["crs"] = ((), b"", crs)  # as Copernicus' files have it
    for name in ("red", "nir"):
        data[name].attrs["grid_mapping"] = "crs"
    filled = data.stf.gapfill(method="linear")
    assert filled.rio.crs.to_epsg() == 32633


def test_fuse_keeps_what_is_said_of_dates_that_fine_has():
    fine = land()
    dates = fine.time.values
    fine = fine.assign_coords(platform=("time", list("abcdef")))
    coarse = blurred(fine.drop_vars("platform"))
    fused = fine.stf.fuse(coarse, method="starfm", window=5, time=dates[[1, 3]])
    assert fused.platform.values.tolist() == ["b", "d"]
    some = fine.isel(time=[0, 2, 4])
    assert "platform" not in some.stf.fuse(coarse, method="starfm", window=5).coords
