"""Where a cube lies: CRSs in every form, transforms against coordinates, longitudes, sensors."""

import warnings

import dask
import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xstf
from xstf.cubes.crs import crs_of
from xstf.cubes.native import native_of
from xstf.cubes.read import read_cube

UTM, NEXT = pyproj.CRS.from_epsg(32633), pyproj.CRS.from_epsg(32634)
DAYS = pd.date_range("2021-06-01", periods=6, freq="10D")
LEFT, TOP = 5e5, 5e6


def mapping(crs, **more):
    return xr.Variable((), 0, crs.to_cf() | more)


def bare(times=DAYS, n=12, step=10.0, at=0.5, band=("B04", "B08"), names=("y", "x"), seed=0):
    """A cube without a CRS; `at` 0.5 has coordinates of centres, 0 of upper left corners."""
    values = np.random.default_rng(seed).random((len(times), len(band), n, n), np.float32)
    y, x = TOP - step * (np.arange(n) + at), LEFT + step * (np.arange(n) + at)
    return xr.DataArray(
        values, dims=("time", "band", *names), name="s2",
        coords={"time": times, "band": list(band), names[0]: y, names[1]: x},
    )  # fmt: skip


def holed(cube):
    return cube.where(np.random.default_rng(1).random(cube.shape) > 0.3)


def boxed(value):
    box = np.empty((), object)
    box[()] = value
    return xr.Variable((), box)


class Other:
    """An object of another package that is a CRS."""

    def __init__(self, crs):
        self.crs = crs

    def to_wkt(self):
        return self.crs.to_wkt()


class Area:
    """An area definition: it has a CRS."""

    def __init__(self, crs):
        self.crs = crs


def rasterio_crs(crs):
    return pytest.importorskip("rasterio.crs").CRS.from_wkt(crs.to_wkt())


VALUES = {
    "pyproj": lambda c: c,
    "rasterio": rasterio_crs,
    "other": Other,
    "int": lambda c: c.to_epsg(),
    "numpy int": lambda c: np.int64(c.to_epsg()),
    "array of one": lambda c: np.array([c.to_epsg()]),
    "float": lambda c: float(c.to_epsg()),
    "digits": lambda c: str(c.to_epsg()),
    "epsg": lambda c: f"epsg:{c.to_epsg()}",
    "EPSG": lambda c: f"EPSG:{c.to_epsg()}",
    "init": lambda c: f"+init=epsg:{c.to_epsg()}",
    "init with more": lambda c: f"+init=epsg:{c.to_epsg()} +type=crs +no_defs",
    "init mapping": lambda c: {"init": f"epsg:{c.to_epsg()}"},
    "tuple": lambda c: ("EPSG", c.to_epsg()),
    "urn": lambda c: f"urn:ogc:def:crs:EPSG::{c.to_epsg()}",
    "url": lambda c: f"http://www.opengis.net/def/crs/EPSG/0/{c.to_epsg()}",
    "bytes": lambda c: f"EPSG:{c.to_epsg()}".encode(),
    "WKT2": lambda c: c.to_wkt(),
    "WKT2 in lines": lambda c: c.to_wkt(pretty=True),
    "WKT1": lambda c: c.to_wkt("WKT1_GDAL"),
    "ESRI": lambda c: c.to_wkt("WKT1_ESRI"),
    "PROJ": lambda c: f"+proj=utm +zone={c.utm_zone[:-1]} +datum=WGS84 +units=m +no_defs",
    "PROJ mapping": lambda c: {"proj": "utm", "zone": int(c.utm_zone[:-1]), "datum": "WGS84"},
    "PROJJSON": lambda c: c.to_json(),
    "PROJJSON mapping": lambda c: c.to_json_dict(),
    "GeoJSON": lambda c: {"type": "name", "properties": {"name": f"EPSG:{c.to_epsg()}"}},
    "name": lambda c: c.name,
}
PLACES = {
    "attrs crs": lambda cube, v: cube.assign_attrs(crs=v),
    "attrs spatial_ref": lambda cube, v: cube.assign_attrs(spatial_ref=v),
    "attrs epsg": lambda cube, v: cube.assign_attrs(epsg=v),
    "attrs proj:code": lambda cube, v: cube.assign_attrs({"proj:code": v}),
    "attrs proj:projjson": lambda cube, v: cube.assign_attrs({"proj:projjson": v}),
    "coordinate crs": lambda cube, v: cube.assign_coords(crs=boxed(v)),
    "Dataset attrs": lambda cube, v: cube.to_dataset("band").assign_attrs(crs=v),
    "variable's attrs": lambda cube, v: cube.assign_attrs(crs=v).to_dataset(name="s2"),
}


def alike(found, crs):
    # PROJ texts and ESRI's have no names of EPSG's; their numbers are the same.
    change = pyproj.Transformer.from_crs(found, crs, always_xy=True)
    return np.allclose(change.transform(LEFT, TOP), (LEFT, TOP), atol=1e-3)


@pytest.mark.parametrize("form", VALUES)
@pytest.mark.parametrize("place", PLACES)
def test_a_crs_is_read_in_every_form_and_place(form, place):
    cube = PLACES[place](bare(), VALUES[form](UTM))
    assert alike(crs_of(cube), UTM)
    assert alike(read_cube(cube, what="cube").grid.crs, UTM)


@settings(max_examples=10)
@given(st.sampled_from(sorted(VALUES)), st.sampled_from(sorted(PLACES)), st.booleans())
def test_a_crs_is_the_same_in_any_two_forms(form, place, lazy):
    fine, coarse = bare(DAYS[[0, 3]], n=8), bare(DAYS, n=4, step=20.0)
    fine = fine.assign_coords(spatial_ref=mapping(UTM))
    coarse = PLACES[place](coarse, VALUES[form](UTM))
    if lazy:
        fine, coarse = fine.chunk(x=4), coarse.chunk(x=2)
    with dask.config.set(scheduler=_refuse):
        fused = xstf.fuse(fine, coarse, method="starfm", window=3, time=DAYS[1])
    assert fused.attrs["stf_grid"].startswith("nested, ratio 2")
    assert alike(crs_of(fused), UTM)


def _refuse(*args, **kwargs):
    raise AssertionError("something was computed")


SCALARS = {
    "stackstac": lambda cube, c: cube.assign_coords(epsg=c.to_epsg()),
    "satpy": lambda cube, c: cube.assign_coords(crs=boxed(c)),
    "STAC code": lambda cube, c: cube.assign_coords({"proj:code": f"EPSG:{c.to_epsg()}"}),
    "STAC epsg along time": lambda cube, c: cube.assign_coords(
        {"proj:epsg": ("time", [c.to_epsg()] * cube.sizes["time"])}
    ),
    "STAC epsg as objects": lambda cube, c: cube.assign_coords(
        {"proj:epsg": ("time", np.array([None, *[c.to_epsg()] * 5], object))}
    ),
    "odc": lambda cube, c: cube.assign_coords(spatial_ref=xr.Variable((), 32633, c.to_cf())),
    "odc without attrs": lambda cube, c: cube.assign_coords(spatial_ref=c.to_epsg()),
    "rioxarray": lambda cube, c: cube.assign_coords(spatial_ref=mapping(c)),
    "ESRI": lambda cube, c: cube.assign_coords(
        proj=xr.Variable((), 0, {"esri_pe_string": c.to_wkt("WKT1_ESRI")})
    ),
    "CF alone": lambda cube, c: cube.assign_coords(
        utm=xr.Variable((), 0, {k: v for k, v in c.to_cf().items() if k != "crs_wkt"})
    ),
    "PROJ in a mapping": lambda cube, c: cube.assign_coords(
        crs=xr.Variable((), 0, {"proj4": c.to_proj4()})
    ).assign_attrs(grid_mapping="crs"),
    "code in a mapping": lambda cube, c: cube.assign_coords(
        crs=xr.Variable((), 0, {"epsg_code": f"EPSG:{c.to_epsg()}"})
    ).assign_attrs(grid_mapping="crs"),
    "long form": lambda cube, c: cube.assign_coords(utm=mapping(c)).assign_attrs(
        grid_mapping="utm: x y"
    ),
    "area": lambda cube, c: cube.assign_attrs(area=Area(c)),
}


@pytest.mark.filterwarnings("ignore:You will likely lose:UserWarning")
@pytest.mark.filterwarnings("ignore:the result has labels that files:UserWarning")
@pytest.mark.parametrize("writer", SCALARS)
def test_a_crs_is_read_where_writers_put_it_and_the_result_has_it(writer, tmp_path):
    cube = SCALARS[writer](holed(bare()), UTM)
    assert alike(crs_of(cube), UTM)
    filled = cube.stf.gapfill(method="linear")
    assert alike(crs_of(filled), UTM)
    assert filled[filled.encoding["grid_mapping"]].ndim == 0
    rio = pytest.importorskip("rioxarray")
    assert rio
    assert alike(pyproj.CRS.from_wkt(filled.rio.crs.to_wkt()), UTM)


@pytest.mark.parametrize("kind", ["dataset", "array"])
def test_a_grid_mapping_variable_may_have_a_dim_of_one(kind):
    """As in gridMET's files; of length one or of letters."""
    cube = holed(bare(band=("t",)).isel(band=0, drop=True))
    if kind == "dataset":
        made = cube.to_dataset(name="t").assign(crs=xr.Variable("crs", [3], UTM.to_cf()))
        made.t.attrs["grid_mapping"] = "crs"
        filled = made.stf.gapfill(method="linear")
        assert filled.t.dims == cube.dims
    else:
        made = cube.expand_dims(crs=[3])
        made["crs"].attrs.update(UTM.to_cf())
        filled = made.stf.gapfill(method="linear")
    assert crs_of(filled).equals(UTM)
    assert filled["crs"].ndim == 0
    assert "crs" not in filled.dims


UNREADABLE = {
    "attrs crs": (lambda c: c.assign_attrs(crs="UTM 33"), "attrs['crs'] = 'UTM 33'"),
    "a part of a name": (lambda c: c.assign_attrs(crs="latlon"), "'latlon'"),
    "attrs epsg": (lambda c: c.assign_attrs(epsg=999999), "attrs['epsg'] = 999999"),
    "broken WKT": (lambda c: c.assign_attrs(crs_wkt="PROJCS[broken"), "crs_wkt"),
    "an object": (lambda c: c.assign_attrs(crs=object()), "a object"),
    "coordinate": (lambda c: c.assign_coords(epsg=5), "coordinate 'epsg' = 5"),
    "mapping": (
        lambda c: c.assign_coords(m=xr.Variable((), 0, {"grid_mapping_name": "unheard_of"})),
        "variable 'm': grid_mapping_name='unheard_of'",
    ),
    "named mapping": (
        lambda c: c.assign_coords(m=0).assign_attrs(grid_mapping="m"), "coordinate 'm' = 0"
    ),
    "projection": (lambda c: c.assign_attrs(projection="+proj=unheard"), "projection"),
    "Dataset": (lambda c: c.assign_attrs(crs="UTM 33").to_dataset(name="s2"), "s2.attrs['crs']"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_looks_like_a_crs_is_never_taken_for_none(case):
    make, where = UNREADABLE[case]
    with pytest.raises(ValueError, match="CRS cannot be read") as caught:
        crs_of(make(bare()))
    assert where in str(caught.value)
    assert "write_crs" in str(caught.value)


@pytest.mark.parametrize(
    "attrs",
    [{"crs": None}, {"crs": ""}, {"projection": "conical"}, {"wkt": "POINT (1 2)"}, {"area": 3.0},
     {"epsg": float("nan")}],
)  # fmt: skip
def test_nothing_is_no_crs(attrs):
    assert crs_of(bare().assign_attrs(attrs)) is None


def test_a_grid_mapping_that_is_not_there_is_an_error():
    cube = bare().assign_attrs(grid_mapping="crs")
    with pytest.raises(ValueError, match="'crs', which it does not have.*decode_coords='all'"):
        crs_of(cube)
    assert crs_of(cube.assign_attrs(crs=32633)).equals(UTM)


def test_a_cube_alone_can_do_without_its_grid_mapping_and_two_cannot():
    made = holed(bare())
    cube = made.assign_attrs(grid_mapping="crs")  # as file.NDVI of a file opened plainly has it
    filled = cube.stf.gapfill(mask=cube > 0.9, method="linear")
    np.testing.assert_array_equal(filled, made.stf.gapfill(mask=made > 0.9, method="linear"))
    assert "grid_mapping" not in filled.attrs
    for pair in ((cube, bare()), (bare(), cube), (cube, cube)):
        with pytest.raises(ValueError, match="'crs', which it does not have.*decode_coords='all'"):
            xstf.fuse(*pair, method="starfm", coarse_resolution=20.0)


def test_two_zones_along_time_are_named():
    zones = np.where(np.arange(6) % 2, 32633, 32634)
    cube = bare().assign_coords({"proj:epsg": ("time", zones)})
    with pytest.raises(ValueError, match="EPSG:32634.*EPSG:32633"):
        crs_of(cube)
    assert crs_of(cube.assign_coords(epsg=32633)).equals(UTM)


def test_contradictions_are_named():
    cube = bare().assign_attrs(crs="epsg:32634")
    with pytest.raises(ValueError, match="two CRSs: EPSG:32633 in coordinate 'epsg' and"):
        crs_of(cube.assign_coords(epsg=32633))
    both = holed(cube).assign_coords(spatial_ref=mapping(UTM))
    with pytest.warns(UserWarning, match=r"EPSG:32633 in variable 'spatial_ref' and EPSG:32634"):
        filled = both.stf.gapfill(method="linear")
    assert crs_of(filled).equals(UTM)  # and no warning: what was wrong is left out
    assert both.attrs["crs"] == "epsg:32634"
    with pytest.warns(UserWarning, match="cannot be read as a CRS; variable 'spatial_ref'"):
        assert crs_of(both.assign_attrs(crs="UTM")).equals(UTM)


@pytest.mark.parametrize("form", ["attrs crs", "coordinate crs"])
def test_other_zones_are_other_places(form):
    fine, coarse = bare(DAYS[[0, 3]], n=8), bare(DAYS, n=4, step=20.0)
    with pytest.raises(ValueError, match="does not overlap"):
        xstf.fuse(PLACES[form](fine, UTM), PLACES[form](coarse, NEXT), method="starfm")
    with pytest.raises(ValueError, match="coarse has no CRS, fine has EPSG:32633"):
        xstf.fuse(PLACES[form](fine, UTM), coarse, method="starfm")


def test_a_mask_of_another_crs_names_both():
    cube = bare().assign_attrs(crs=UTM)
    mask = (cube.isel(band=0) > 2).assign_attrs(crs=NEXT)
    with pytest.raises(ValueError, match="its CRS is EPSG:32634, not EPSG:32633"):
        cube.stf.gapfill(method="linear", mask=mask)


# --- no CRS ------------------------------------------------------------------------------------


def test_two_cubes_without_crs_are_one_frame_and_say_so():
    fine, coarse = bare(DAYS[[0, 3]], n=8), bare(DAYS, n=4, step=20.0)
    fused = xstf.fuse(fine, coarse, method="starfm", window=3, time=DAYS[1])
    assert "fine and coarse have no CRS and were taken as one frame" in fused.attrs["stf_frame"]
    filled = holed(bare()).stf.gapfill(guide=bare(band=("VV",), step=20.0, n=6), method="gp")
    assert "cube and guide have no CRS" in filled.attrs["stf_frame"]
    sharp = bare(step=20.0, n=6).stf.sharpen_spectral(bare(band=("P",)), method="sfim")
    assert "have no CRS" in sharp.attrs["stf_frame"]
    assert "stf_frame" not in holed(bare()).stf.gapfill(method="linear").attrs
    for call in (
        lambda away: xstf.fuse(fine, away(coarse), method="starfm"),
        lambda away: holed(bare()).stf.gapfill(guide=away(bare()), method="gp"),
    ):
        with pytest.raises(ValueError, match=r"overlap.*x 500000\.\..*x 600000\.\."):
            call(lambda c: c.assign_coords(x=c.x + 1e5))


# --- transforms --------------------------------------------------------------------------------


class Affine(tuple):
    """As the package affine has it: nine numbers."""

    __slots__ = ()


def affine(step=10.0, left=LEFT, top=TOP, b=0.0, d=0.0):
    return (step, b, left, d, -step, top)


FORMS = {
    "Affine": lambda t: Affine((*t, 0.0, 0.0, 1.0)),
    "tuple": tuple,
    "list": list,
    "array": np.array,
    "matrix": lambda t: np.array([*t, 0, 0, 1]).reshape(3, 3),
    "text": lambda t: " ".join(map(str, t)),
    "text of a tuple": str,
    "str of Affine": lambda t: (
        "| {:.2f}, {:.2f}, {:.2f}|\n| {:.2f}, {:.2f}, {:.2f}|\n| 0.00, 0.00, 1.00|".format(*t)
    ),
    "repr of Affine": lambda t: f"Affine{t}",
}
GDAL = {
    "text": lambda t: " ".join(str(t[i]) for i in (2, 0, 1, 5, 3, 4)),
    "tuple": lambda t: tuple(t[i] for i in (2, 0, 1, 5, 3, 4)),
}
KEPT = [
    *[pytest.param("transform", make, id=f"transform {n}") for n, make in FORMS.items()],
    pytest.param("affine", tuple, id="affine"),
    *[pytest.param("GeoTransform", make, id=f"GeoTransform {n}") for n, make in GDAL.items()],
    pytest.param("spatial_ref", GDAL["text"], id="spatial_ref"),
    pytest.param("transform", GDAL["tuple"], id="GDAL's order as transform"),
]


def stating(cube, key, value):
    if key == "spatial_ref":
        return cube.assign_coords(spatial_ref=mapping(UTM, GeoTransform=value))
    return cube.assign_attrs({key: value, "crs": UTM})


@pytest.mark.parametrize(("key", "make"), KEPT)
def test_corners_become_centres_and_centres_stay(key, make):
    value = make(affine())
    centres = stating(bare(), key, value)
    grid = read_cube(centres, what="cube").grid
    corners = stating(bare(at=0.0), key, value)
    with pytest.warns(UserWarning, match="coordinates are corners of pixels by its .*half a pixel"):
        moved = read_cube(corners, what="cube")
    assert moved.grid == grid
    np.testing.assert_array_equal(moved.source.x, centres.x)
    np.testing.assert_array_equal(moved.source.y, centres.y)
    np.testing.assert_array_equal(corners.x, bare(at=0.0).x)
    assert read_cube(moved.source, what="cube").grid == grid  # and no warning


@given(
    st.sampled_from(["numpy", "dask"]), st.booleans(), st.integers(0, 4), st.integers(0, 4),
    st.sampled_from([(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)]),
    st.sampled_from(["array", "dataset"]),
)  # fmt: skip
def test_parts_of_an_image_and_flipped_ones_know_their_corners(kind, flip, row, col, at, form):
    """What remains after isel keeps the transform of the whole: compared modulo whole pixels."""
    cube = holed(bare())
    cube = cube.assign_coords(
        y=TOP - 10 * (np.arange(12) + at[0]), x=LEFT + 10 * (np.arange(12) + at[1])
    )
    cube = cube.assign_attrs(transform=affine(), crs=32633).isel(
        y=slice(row, None), x=slice(col, None)
    )
    cube = cube.isel(y=slice(None, None, -1)) if flip else cube
    cube = cube.chunk(x=3) if kind == "dask" else cube
    cube = cube.to_dataset("band") if form == "dataset" else cube
    with warnings.catch_warnings(record=True) as caught, dask.config.set(scheduler=_refuse):
        warnings.simplefilter("always")
        filled = cube.stf.gapfill(method="linear")
    assert (at != (0.5, 0.5)) == any("corners" in str(w.message) for w in caught)
    assert ("moved to centres" in filled.attrs.get("stf_frame", "")) == (at != (0.5, 0.5))
    rows, cols = np.arange(row, 12), np.arange(col, 12)
    rows = rows[::-1] if flip else rows
    np.testing.assert_array_equal(filled.y, TOP - 10 * (rows + 0.5))
    np.testing.assert_array_equal(filled.x, LEFT + 10 * (cols + 0.5))


def test_corners_are_corrected_in_fusion_and_sharpening():
    def pair(at):
        fine = bare(DAYS[[0, 3]], n=12, at=at).assign_attrs(crs=32633, transform=affine())
        coarse = bare(DAYS, n=6, step=20.0, at=at)
        return fine, coarse.assign_attrs(crs=32633, transform=affine(20.0))

    right = xstf.fuse(*pair(0.5), method="starfm", window=3, time=DAYS[1])
    with pytest.warns(UserWarning, match="corners"):
        fused = xstf.fuse(*pair(0.0), method="starfm", window=3, time=DAYS[1])
    np.testing.assert_array_equal(fused, right)
    np.testing.assert_array_equal(fused.x, right.x)
    assert fused.attrs["stf_frame"].count("moved to centres") == 2
    right = pair(0.5)[1].stf.sharpen_spectral(pair(0.5)[0].isel(time=0, drop=True), method="sfim")
    with pytest.warns(UserWarning, match="corners"):
        sharp = pair(0.0)[1].stf.sharpen_spectral(
            pair(0.0)[0].isel(time=0, drop=True), method="sfim"
        )
    np.testing.assert_array_equal(sharp, right)
    np.testing.assert_array_equal(sharp.y, right.y)


@pytest.mark.filterwarnings("ignore:cube's coordinates are corners:UserWarning")
def test_masks_with_the_cubes_own_corners_fit():
    cube = holed(bare(at=0.0)).assign_attrs(transform=affine(), crs=32633)
    mask = cube.isel(band=0, drop=True) > 0.9
    for given_ in (mask, mask.drop_attrs(), mask.isel(time=0, drop=True).drop_attrs()):
        filled = cube.stf.gapfill(method="linear", mask=given_, certain=~given_, screen=True)
        wanted = cube.where(~given_).stf.gapfill(method="linear", certain=~given_, screen=True)
        np.testing.assert_array_equal(filled, wanted)
    scores = xstf.evaluate_gapfill(cube, methods=["linear"], regimes=["partial"], mask=mask)
    assert np.isfinite(scores.rmse).all()


def test_results_on_centres_are_compared_with_a_truth_on_corners():
    truth = bare(at=0.0).assign_attrs(transform=affine(), crs=32633)
    with pytest.warns(UserWarning, match="corners"):
        filled = holed(truth).stf.gapfill(method="linear")
    assert np.isfinite(xstf.metrics.rmse(filled, truth)).all()


def test_a_transform_of_another_grid_is_ignored_and_a_shifted_one_is_named():
    cube = bare().assign_attrs(crs=32633)
    plain = read_cube(cube, what="cube").grid
    assert read_cube(cube.assign_attrs(transform=affine(30.0)), what="cube").grid == plain
    shifted = cube.assign_attrs(transform=affine(left=LEFT + 2, top=TOP + 2))
    with pytest.warns(UserWarning, match="disagree, y 0.70 px .* and x 0.30 px .*are taken"):
        assert read_cube(shifted, what="cube").grid == plain


@pytest.mark.parametrize("key", ["transform", "GeoTransform", "spatial_ref", "affine"])
@pytest.mark.parametrize("terms", [{"b": 0.5}, {"d": 2.0}, {"b": 1.0, "d": 1.0}])
def test_rotation_and_shear_are_refused_by_their_words(key, terms):
    value = affine(**terms)
    value = value if key in ("transform", "affine") else GDAL["text"](value)
    with pytest.raises(ValueError, match="rotation or shear.*north-up"):
        read_cube(stating(bare(), key, value), what="cube")


@pytest.mark.parametrize(
    "value", ["10, 0, left", (1, 2, 3), [10.0, 0, np.nan, 0, -10, 0], object()]
)
def test_a_transform_that_cannot_be_read_is_named(value):
    with pytest.raises(ValueError, match=r"attrs\['transform'\] = .*six numbers"):
        read_cube(bare().assign_attrs(transform=value), what="cube")


def test_a_geotransform_of_five_numbers_is_said_and_not_believed():
    """gridMET's files have one, and coordinates that are centres."""
    cube = bare(at=0.0).assign_coords(spatial_ref=mapping(UTM, GeoTransform="500000 10 0 5e6 -10"))
    with pytest.warns(UserWarning, match="five numbers.*coordinates are taken"):
        assert read_cube(cube, what="cube").grid.left == LEFT - 5


def test_a_single_row_on_corners_is_moved():
    cube = bare(at=0.0).assign_attrs(transform=affine(), crs=32633).isel(y=[3])
    with pytest.warns(UserWarning, match="corners"):
        grid = read_cube(cube, what="cube").grid
    assert (grid.top, grid.dy, grid.left) == (TOP - 30, -10, LEFT)


def test_a_repr_says_where_the_pixels_are_without_a_warning():
    cube = bare(at=0.0).assign_attrs(transform=affine(), crs=32633)
    assert "moved to centres" in repr(cube.stf)
    assert "x 500000 to 500120" in repr(cube.stf)


@pytest.mark.parametrize("value", [None, ""])
def test_no_transform_is_none(value):
    assert read_cube(bare().assign_attrs(transform=value), what="cube").said == ""


def test_a_swath_is_refused_by_its_word():
    cube = bare().drop_vars(["y", "x"])
    lat, lon = np.meshgrid(np.linspace(45, 46, 12), np.linspace(7, 8, 12), indexing="ij")
    for dims in (("y", "x"), ("row", "column"), ("nj", "ni")):
        swath = cube.rename(y=dims[0], x=dims[1]).assign_coords(lat=(dims, lat), lon=(dims, lon))
        for made in (swath, swath.to_dataset("band")):
            with pytest.raises(ValueError, match="curvilinear.*regular grid"):
                made.stf.gapfill(method="linear")
            with pytest.raises(ValueError, match="curvilinear"):
                xstf.fuse(made, bare())


def test_rows_and_columns_without_coordinates_are_no_series():
    cube = bare().drop_vars(["y", "x"])
    with pytest.raises(ValueError, match=r"rename\(\{'row': 'y', 'col': 'x'\}\)"):
        cube.rename(y="row", x="col").stf.gapfill(method="linear")
    with pytest.raises(ValueError, match="no coordinate for 'y'"):
        cube.stf.gapfill(method="linear")


# --- one pixel ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attrs",
    [
        {"transform": affine()}, {"resolution": 10.0}, {"res": (10.0, 10.0)},
        {"resolution": "10 m"}, {"resolution": (10, -10)}, {"GeoTransform": GDAL["text"](affine())},
    ],
)  # fmt: skip
def test_attributes_give_the_size_of_a_single_pixel(attrs):
    one = bare().isel(x=[3], y=[4])
    with pytest.raises(ValueError, match=r"size unknown.*assign_attrs\(resolution="):
        read_cube(one, what="fine")
    grid = read_cube(one.assign_attrs(attrs), what="fine").grid
    assert (abs(grid.dx), abs(grid.dy), grid.left) == (10, 10, LEFT + 30)


def test_attributes_of_sizes_are_not_believed_over_coordinates():
    cube = bare().assign_attrs(resolution=30.0, res=(30.0, 30.0))
    assert read_cube(cube, what="cube").grid.dx == 10
    assert read_cube(cube.isel(y=[2]), what="cube").grid.dy == -10
    row = bare().isel(y=[2]).assign_attrs(res=(10.0, 20.0))
    assert read_cube(row, what="cube").grid.dy == -20


# --- longitudes --------------------------------------------------------------------------------


def world(left, names=("lat", "lon"), n=36, step=10.0, crs=None, times=DAYS, band=("a",)):
    lon = left + step * (np.arange(n) + 0.5)
    lat = 40 - step * (np.arange(8) + 0.5)
    phase = np.arange(len(times))[:, None, None, None]
    values = np.cos(np.radians(lon)) + 0 * lat[:, None] + 0.1 * phase
    values = np.broadcast_to(values, (len(times), len(band), 8, n)).astype("f4")
    cube = xr.DataArray(
        values, dims=("time", "band", *names), name="t",
        coords={"time": times, "band": list(band), names[0]: lat, names[1]: lon},
    )  # fmt: skip
    return cube if crs is None else cube.assign_coords(spatial_ref=mapping(pyproj.CRS(crs)))


@pytest.mark.parametrize("crs", [None, 4326])
@pytest.mark.parametrize("names", [("lat", "lon"), ("latitude", "longitude")])
def test_longitudes_from_0_meet_those_from_minus_180(crs, names):
    west = world(-90.0, names, 6, crs=crs)
    half = west.isel({names[1]: slice(None), names[0]: slice(None)})
    east = world(180.0, names, 18, crs=crs)
    fine = world(-90.0, names, 30, 2.0, crs=crs, times=DAYS[[0, 3]])
    fine = fine.isel({names[0]: slice(0, 5)})
    fused = xstf.fuse(fine, east, method="starfm", window=3, time=DAYS[1])
    same = xstf.fuse(fine, half, method="starfm", window=3, time=DAYS[1])
    np.testing.assert_allclose(fused, same, atol=1e-6)
    assert np.isfinite(fused).all()
    filled = holed(west).stf.gapfill(guide=east, method="gp")
    wanted = holed(west).stf.gapfill(guide=half, method="gp")
    np.testing.assert_allclose(filled, wanted, atol=1e-4)


def test_a_cube_across_the_seam_of_another_is_told_how_to_move_it():
    fine, coarse = world(170.0, n=10, step=2.0, crs=4326), world(-180.0, crs=4326)
    with pytest.raises(ValueError, match=r"seam.*assign_coords\(lon=coarse.lon % 360\)"):
        xstf.fuse(fine, coarse, method="starfm")
    moved = coarse.assign_coords(lon=coarse.lon % 360).sortby("lon")
    assert np.isfinite(xstf.fuse(fine.isel(time=[0], lat=slice(4)), moved, method="starfm")).all()
    with pytest.raises(ValueError, match="seam"):
        holed(fine).stf.gapfill(guide=coarse, method="gp")


def test_a_jump_at_the_seam_names_the_remedy():
    cube = world(170.0, n=20, step=1.0)
    jumps = cube.assign_coords(lon=(cube.lon + 180) % 360 - 180)
    with pytest.raises(ValueError, match=r"not evenly spaced.*assign_coords\(lon=lon % 360\)"):
        jumps.stf.gapfill(method="linear")
    assert jumps.assign_coords(lon=jumps.lon % 360).stf.gapfill(method="linear").shape == cube.shape


@pytest.mark.parametrize("crs", [None, 4326])
def test_a_mask_in_the_other_frame_of_longitudes_names_the_remedy(crs):
    cube = world(-90.0, n=6, crs=crs)
    mask = cube.isel(band=0, drop=True) > 2
    with pytest.raises(ValueError, match=r"longitudes 270\.\.330 against.*lon % 360"):
        cube.stf.gapfill(method="linear", mask=mask.assign_coords(lon=mask.lon % 360))
    globe = world(-180.0, crs=crs)
    mask = globe.isel(band=0, drop=True) > 2
    mask = mask.assign_coords(lon=mask.lon % 360).sortby("lon")
    with pytest.raises(ValueError, match=r"seam.*% 360"):
        globe.stf.gapfill(method="linear", mask=mask)


def test_a_truth_in_the_other_frame_of_longitudes_names_the_remedy():
    truth = world(-90.0, n=6)
    with pytest.raises(ValueError, match=r"assign_coords\(lon="):
        xstf.metrics.rmse(truth, truth.assign_coords(lon=truth.lon % 360))


# --- true resolutions --------------------------------------------------------------------------


def coarse_like(n=44, step=30.0, crs=UTM, **attrs):
    name = attrs.pop("called", "r")
    cube = bare(n=n, step=step).rename(name).assign_attrs(attrs)
    return cube.assign_coords(spatial_ref=mapping(crs))


SENSORS = [
    ({"called": "MODIS"}, 463.31),
    ({"called": "MODIS_2020068"}, 463.31),
    ({"product": "MOD09GQ"}, 231.66),
    ({"short_name": "MYD13Q1"}, 231.66),
    ({"short_name": "MCD43A4"}, 463.31),
    ({"title": "MODIS Terra daily reflectance"}, 463.31),
    ({"long_name": "MODIS surface reflectance 250 m"}, 231.66),
    ({"product": "MOD11A1"}, 926.63),
    ({"instrument": "VIIRS"}, 463.31),
    ({"sensor": ["viirs"], "platform": "Suomi NPP"}, 463.31),
    ({"product": "VNP09GA"}, 463.31),
    ({"instrument": "OLCI"}, 300.0),
    ({"platform": "Sentinel-3A"}, 300.0),
    ({"instrument": "SLSTR"}, 500.0),
    ({"source": "PROBA-V"}, 300.0),
    ({"sensor": "AVHRR-3"}, 1100.0),
    ({"instrument": "seviri"}, 3000.0),
    ({"instrument": "ABI"}, 1000.0),
]


@pytest.mark.parametrize(("said", "size"), SENSORS)
def test_known_sensors_have_their_size(said, size):
    cube = coarse_like(**said)
    native = native_of(cube, read_cube(cube, what="coarse").grid)
    assert native.resolution == pytest.approx(size)


@pytest.mark.parametrize(
    "said", [{"platform": "sentinel-2a"}, {"title": "mode"}, {"called": "abiotic"}]
)
def test_other_sensors_say_nothing(said):
    cube = coarse_like(**said)
    assert native_of(cube, read_cube(cube, what="coarse").grid) is None


@pytest.mark.parametrize("step", [231.66, 463.31, 240.0])
def test_pixels_of_a_sensors_own_size_are_left(step):
    cube = coarse_like(called="MODIS", step=step)
    assert native_of(cube, read_cube(cube, what="coarse").grid) is None


def test_degrees_are_converted():
    cube = world(10.0, n=20, step=0.001, crs=4326).rename("MODIS")
    cube = cube.assign_coords(lat=60 - 0.001 * np.arange(8))
    native = native_of(cube, read_cube(cube, what="coarse").grid)
    # At 60° a pixel is half as wide as it is high.
    assert native.resolution == pytest.approx(463.31 / 111320 * 2**0.5, rel=1e-3)


def test_fusion_takes_the_size_of_a_known_sensor_and_says_so():
    fine = bare(DAYS[[0, 3]], n=48, step=30.0).assign_coords(spatial_ref=mapping(UTM))
    coarse = coarse_like(n=48, instrument="MODIS")
    for given_ in (coarse, coarse.chunk(x=24)):
        fused = xstf.fuse(fine, given_, method="starfm", window=3, time=DAYS[1])
        assert "ratio 15, true resolution 463.3 of MODIS" in fused.attrs["stf_grid"]
        assert "by attrs['instrument']" in fused.attrs["stf_grid"]
    fused = xstf.fuse(
        fine, coarse, method="starfm", window=3, time=DAYS[1], coarse_resolution=240.0
    )
    assert fused.attrs["stf_grid"].startswith("block_mean, ratio 8")


def test_an_estimate_that_stands_on_little_warns():
    fine = bare(DAYS[[0, 3]], n=44, step=30.0).assign_coords(spatial_ref=mapping(UTM))
    with pytest.warns(UserWarning, match="estimated as 30.*44 pixels are too few"):
        xstf.fuse(fine, coarse_like(n=44), method="starfm", window=3, time=DAYS[1])


def test_a_ratio_of_one_warns():
    fine = bare(DAYS[[0, 3]], n=12, step=30.0).assign_coords(spatial_ref=mapping(UTM))
    coarse = coarse_like(n=12)
    with pytest.warns(UserWarning, match=r"ratio 1.*coarse_resolution="):
        xstf.fuse(fine, coarse, method="starfm", window=3, time=DAYS[1], coarse_resolution=30.0)


# --- what xarray loses ---------------------------------------------------------------------------


def test_a_grid_mapping_that_stays_behind_in_the_dataset_is_told_of(tmp_path):
    """One with a dim of its own is no coordinate of a single variable."""
    cube = holed(bare(band=("t",)).isel(band=0, drop=True)).to_dataset(name="t")
    cube = cube.assign(crs=xr.Variable("crs", [3], UTM.to_cf()))
    cube.t.attrs["grid_mapping"] = "crs"
    cube.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", decode_coords="all") as found:
        whole, single = found.stf.gapfill(method="linear"), found.t.load()
        assert crs_of(whole).equals(UTM)
    with pytest.warns(UserWarning, match=r"'crs', which it has lost.*pass the Dataset"):
        single.stf.gapfill(method="linear")
    single.drop_encoding().stf.gapfill(method="linear")
    with xr.open_dataset(tmp_path / "a.nc") as found:
        filled = found.t.stf.gapfill(method="linear")
    assert "came without its grid mapping variable 'crs'" in filled.attrs["stf_frame"]


# --- what contradicts itself ------------------------------------------------------------------


@pytest.mark.parametrize("text", ["UTM zone 33N", "Sinusoidal", "Lambert Azimuthal Equal Area"])
def test_the_name_of_a_projection_is_not_taken_for_no_crs(text):
    named = holed(bare()).assign_attrs(projection=text)
    with pytest.raises(ValueError, match=f"CRS cannot be read.*{text}"):
        named.stf.gapfill(method="linear")
    placed = named.assign_coords(spatial_ref=mapping(UTM))
    assert crs_of(placed) == UTM
    assert crs_of(bare().assign_attrs(projection="none of that kind")) is None


def test_hls_files_say_their_crs():
    assert crs_of(bare().assign_attrs(HORIZONTAL_CS_CODE="EPSG:32633")) == UTM


def earth_engine(dataset_crs, own):
    """As Xee reads an image collection: the assets' CRS and transform are left on the bands."""
    data = holed(own).to_dataset("band").assign_attrs(crs=dataset_crs)
    for name in data.data_vars:
        data[name].attrs = {"crs": "EPSG:32634", "crs_transform": [10, 2, 499980, 2, -10, 5000040]}
    return data


def test_xees_bands_have_the_crs_of_the_dataset():
    own = bare(names=("lat", "lon"))
    own = own.assign_coords(lat=45 - 1e-4 * np.arange(12), lon=15 + 1e-4 * np.arange(12))
    data = earth_engine("EPSG:4326", own)
    filled = data.stf.gapfill(method="linear")
    assert crs_of(filled).to_epsg() == 4326
    right = holed(own).stf.gapfill(method="linear")
    np.testing.assert_array_equal(filled.B04, right.sel(band="B04"))
    with pytest.raises(ValueError, match="EPSG:32634, in metre, and its coordinates are not"):
        data["B04"].drop_attrs().assign_attrs(crs="EPSG:32634").stf.gapfill(method="linear")


def test_metres_in_a_crs_of_degrees_are_refused():
    metres = holed(bare()).assign_coords(spatial_ref=mapping(pyproj.CRS.from_epsg(4326)))
    with pytest.raises(ValueError, match=r"EPSG:4326, in degree, .*write_crs"):
        metres.stf.gapfill(method="linear")


@pytest.mark.parametrize(
    ("first", "remedy"), [(-3, r"\(lon \+ 180\) % 360 - 180"), (177, "lon % 360")]
)
def test_the_remedy_for_a_seam_is_the_one_that_moves_it(first, remedy):
    lon = first + 0.5 * np.arange(12)
    frame = lon % 360 if first < 0 else (lon + 180) % 360 - 180
    made = holed(bare(names=("lat", "lon"))).assign_coords(lat=10 - 0.5 * np.arange(12), lon=frame)
    with pytest.raises(ValueError, match=rf"jumps by a turn: assign_coords\(lon={remedy}\)"):
        made.stf.gapfill(method="linear")
    with pytest.raises(ValueError, match=rf"was sorted: assign_coords\(lon={remedy}\)"):
        made.sortby("lon").stf.gapfill(method="linear")
