"""Images that xstf wrote, read back as the cube that they were: by their tags, not their names."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from xstf.files.choice import few, grouped
from xstf.files.image import Header, read_image
from xstf.files.own import Own


def own_image(path: Path, header: Header, own: Own, chunks: int | None) -> xr.DataArray:
    """Return an image that xstf wrote."""
    image = read_image(path, header, chunks, raw=own.kind != "f")
    return _restored(own, image, header.labels)


def own_cube(
    files: Sequence[tuple[Path, Header, Own]], variable: str | None, where: str, chunks: int | None
) -> xr.DataArray | xr.Dataset:
    """Return the cube in images that xstf wrote."""
    others = [path.name for path, header, _ in files if not header.same_grid(files[0][1])]
    twice = [g for g in grouped(files, lambda f: (f[2].variable, str(f[2].time))).values()
             if len(g) > 1]  # fmt: skip
    if others or twice:
        names = others or [path.name for path, *_ in twice[0]]
        what = "another grid" if others else "the same variable and date"
        raise ValueError(f"{where} holds images of {what} ({few(names)}); open each cube apart")
    names = list(dict.fromkeys(own.variable for *_, own in files))
    chosen = [f for f in files if variable not in names or f[2].variable == variable]
    images = [(own, own_image(path, header, own, chunks)) for path, header, own in chosen]
    cube = _joined(images)
    if variable is None or variable in names:
        return cube
    if isinstance(cube, xr.Dataset) and variable in cube:
        return cube[variable]
    plain = isinstance(cube, xr.Dataset) or "band" not in cube.dims
    bands = [] if plain else cube["band"].values.tolist()
    if variable not in map(str, bands):
        raise ValueError(f"{where} has no band {variable!r}; it has {[*names, *map(str, bands)]}")
    return cube.isel(band=[str(b) for b in bands].index(variable))


def _restored(own: Own, image: xr.DataArray, labels: Sequence[str] | None) -> xr.DataArray:
    """Return an image ``(band, y, x)`` with its own dims and labels."""
    image.attrs.pop("long_name", None)
    if own.kind == "b":
        image = image.astype(bool)
    if not own.dim:
        image = image.isel(band=0, drop=True)
        return image if labels is None else image.assign_coords(band=labels[0])
    named: list[Hashable] = list(labels or image["band"].values.tolist())
    bands = np.array([int(str(b)) for b in named] if own.whole else named)
    image = image.assign_coords(band=("band", bands))
    return image if own.dim == "band" else image.rename(band=own.dim)


def _joined(images: Sequence[tuple[Own, xr.DataArray]]) -> xr.DataArray | xr.Dataset:
    """Return images as the one cube that they were, in order of time."""
    variables: dict[str, list[tuple[Own, xr.DataArray]]] = {}
    for own, image in images:
        variables.setdefault(own.variable, []).append((own, image))
    cubes = {name: _along_time(found) for name, found in variables.items()}
    if len(cubes) == 1:
        return next(iter(cubes.values()))
    bands = cubes.pop("", None)
    split = (
        {}
        if bands is None
        else {str(b): bands.sel(band=b, drop=True) for b in bands["band"].values}
    )
    whole = {**split, **cubes}
    for cube in whole.values():
        cube.encoding = {k: v for k, v in cube.encoding.items() if k == "grid_mapping"}
    return xr.Dataset(whole)


def _along_time(images: list[tuple[Own, xr.DataArray]]) -> xr.DataArray:
    images = sorted(images, key=lambda one: str(one[0].time))
    times = [own.time for own, _ in images]
    if len(images) == 1 and times[0] is None:
        return images[0][1]
    cube: xr.DataArray = xr.concat(
        [image for _, image in images], xr.Variable("time", np.array(times, "M8[ns]")),
        join="override", combine_attrs="drop_conflicts", coords="minimal", compat="override",
    )  # fmt: skip
    cube.encoding = {k: v for k, v in images[0][1].encoding.items() if k == "grid_mapping"}
    return cube
