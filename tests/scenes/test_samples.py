"""The sample files hold what the example scenes give: ``python tests/scenes/test_samples.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

import xstf
from xstf.scenes import landsat_modis, sample_files, sentinel_1_2

_VEGETATION, _CLOUD = 4, 9  # classes of Sentinel-2's scene classification


def made() -> dict[str, xr.Dataset]:
    """Return what is in the files, with the encodings that they are written with."""
    fusion = landsat_modis(size=90)
    gaps = sentinel_1_2(size=40)
    cube = gaps.cube.isel(time=slice(None, None, 2))
    clouds = cube.isnull().any("band")
    classes = xr.where(clouds, _CLOUD, _VEGETATION).astype(np.uint8).rename("SCL")
    classes.attrs = {"long_name": "scene classification"}
    optical = xr.merge([cube.to_dataset(), classes.drop_vars("spatial_ref")], join="exact")
    first, last = cube.time.values[[0, -1]]
    radar = gaps.sar.sel(time=slice(first, last))
    return {
        "landsat.nc": _packed(fusion.fine.to_dataset(), 1e-4),
        "modis.nc": _packed(fusion.coarse.to_dataset(), 1e-4),
        "sentinel1.nc": _packed(radar.to_dataset(), 1e-2),
        "sentinel2.nc": _packed(optical, 1e-4),
    }


def _packed(cubes: xr.Dataset, step: float) -> xr.Dataset:
    """Return a Dataset whose cubes will be stored in two bytes a value, in steps."""
    small: dict[str, Any] = {"zlib": True, "shuffle": True, "complevel": 9}
    for name, cube in cubes.data_vars.items():
        mapping = {"grid_mapping": "spatial_ref"}
        cubes[name].encoding = small | mapping
        if np.issubdtype(cube.dtype, np.floating):
            packing = {
                "dtype": "int16",
                "scale_factor": np.float32(step),
                "_FillValue": np.int16(-32768),
            }
            cubes[name].encoding |= packing
    return cubes


@pytest.fixture(scope="module")
def scenes():
    return made()


@pytest.mark.parametrize("name", sample_files())
def test_the_file_holds_its_scene_to_half_a_step(scenes, name):
    with xr.open_dataset(sample_files()[name], decode_coords="all") as kept:
        want = scenes[name]
        assert set(kept.variables) == set(want.variables)
        for label in want.coords:
            if want[label].dtype.kind == "f":
                np.testing.assert_allclose(kept[label], want[label], rtol=1e-12)
            elif label != "spatial_ref":
                np.testing.assert_array_equal(kept[label], want[label])
        # As PROJ strings: texts of WKT differ with PROJ's release.
        crs = [CRS.from_cf(one.spatial_ref.attrs).to_dict() for one in (kept, want)]
        assert crs[0] == crs[1]
        for cube, values in want.data_vars.items():
            step = values.encoding.get("scale_factor", 0)
            np.testing.assert_allclose(kept[cube], values, rtol=0, atol=0.51 * step)


def test_the_files_are_small_and_copies_are_equal(tmp_path):
    inside, copies = sample_files(), sample_files(tmp_path / "new")
    assert sum(path.stat().st_size for path in inside.values()) < 1_000_000
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert list(inside) == list(copies) == names
    for name, path in inside.items():
        assert path.read_bytes() == copies[name].read_bytes()


def test_copies_may_replace_files_that_are_open(tmp_path):
    paths = sample_files(tmp_path)
    with xr.open_dataset(paths["modis.nc"]) as kept:
        sample_files(tmp_path)
        with xr.open_dataset(paths["modis.nc"]) as again:
            assert kept.reflectance.equals(again.reflectance)


def test_each_verb_takes_them():
    paths = sample_files()
    fine, coarse = (xstf.files.open_cube(paths[f"{name}.nc"]) for name in ("landsat", "modis"))
    assert fine.stf.plan(coarse).ratio > 10
    cube, radar = (xstf.files.open_cube(paths[f"sentinel{number}.nc"]) for number in (2, 1))
    mask = xstf.masks.scl(cube.SCL)
    assert cube.stf.plan("gapfill", radar, mask=mask).warnings == ()


if __name__ == "__main__":
    for name, cubes in made().items():
        cubes.to_netcdf(sample_files()[name])
