"""GeoTIFFs and JPEG 2000 images: one as a cube, or many, sorted out, as one cube."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from xstf.files.choice import Found, few, grouped, in_words, pick, sort_out, telling
from xstf.files.image import Header, header_of, read_image
from xstf.files.names import Named, find_date
from xstf.files.restore import own_cube, own_image


def open_raster(path: Path, chunks: int | None) -> xr.DataArray:
    """Return the image in a file, its date, if its name has one, as a scalar coordinate."""
    header = header_of(path)
    if header.own is not None:
        image = own_image(path, header, header.own, chunks)
        return image if header.own.time is None else image.assign_coords(time=header.own.time)
    image = read_image(path, header, chunks)
    if header.labels is not None and len(header.descriptions) > 1:
        image = image.assign_coords(band=("band", header.labels))
        del image.attrs["long_name"]
    found = find_date(path.stem)
    return image if found is None else image.assign_coords(time=found[0])


def open_rasters(
    found: Found, variable: str | None, chunks: int | None
) -> xr.DataArray | xr.Dataset:
    """Return the cube in images that are one file a date, or one a band and date.

    Parameters
    ----------
    found : Found
        The images.
    variable : str, optional
        The label of the one band or layer that is wanted.
    chunks : int, optional
        Side of the chunks of a lazy cube.
    """
    written = {path: header_of(path) for path in found.paths}
    owns = [(path, header, header.own) for path, header in written.items()
            if header.own is not None]  # fmt: skip
    if len(owns) == len(written):
        return own_cube(owns, variable, found.where, chunks)
    files = sort_out(found)
    headers = {file.path: header_of(file.path) for file in files}
    layers = _layers(files, headers, found.where)
    if variable is not None:
        layers = _chosen(layers, variable, found.where)
    kinds = grouped(layers, lambda layer: layer.file.kind)
    _check_grids(layers, headers, found.where)
    _check_twice(layers, found.where)
    stamps = sorted({layer.stamp for layer in layers})
    layers.sort(key=lambda layer: (_natural(layer.file.band), layer.index))
    by_label = grouped(layers, lambda layer: layer.label)
    _warn_of_absent(by_label, stamps, found.where)
    used = {la.file.path: la.file.kind == "class" for la in layers}
    images = {path: read_image(path, headers[path], chunks, raw=raw) for path, raw in used.items()}
    frame = images[layers[0].file.path]
    stacks = {
        label: _stack({la.stamp: la.of(images) for la in group}, stamps, frame)
        for label, group in by_label.items()
    }
    return _joined(stacks, len(kinds) > 1, frame)


# --- layers: one band of one file -------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """A band of a file, and what it is in the cube."""

    file: Named
    index: int
    label: Hashable
    stamp: np.datetime64

    def of(self, images: dict[Path, xr.DataArray]) -> xr.DataArray:
        """Return its pixels ``(y, x)``."""
        return images[self.file.path].isel(band=self.index).drop_vars("band")


def _layers(files: Sequence[Named], headers: dict[Path, Header], where: str) -> list[_Layer]:
    """Return the bands of all files with their labels."""
    measured = [f for f in files if f.kind == "band"]
    _check_counts(measured, headers, where)
    roles = {f.band for f in measured}
    layers = []
    for file in files:
        labels = _labels(file, headers[file.path], alone=file.kind == "band" and len(roles) == 1)
        layers += [
            _Layer(file, i, label, file.stamp)
            for i, label in enumerate(labels)
            if file.stamp is not None
        ]
    single = [la for la in layers if la.label is None]
    if single and len(single) < len(layers) and any(f.band for f in measured):
        raise ValueError(
            f"{where}: {few([la.file.path.name for la in single])} have no band in their name, and "
            f"{few([f.path.name for f in measured if f.band])} have; {pick('*BAND*')}"
        )
    return _described(layers, headers)


def _labels(file: Named, header: Header, *, alone: bool) -> Sequence[Hashable]:
    """Return the labels of a file's bands; None for the one band of a name that has none."""
    count = len(header.descriptions)
    if count == 1:
        return [file.band]
    inner: Sequence[Hashable] = header.labels or range(1, count + 1)
    return inner if alone or file.band is None else [f"{file.band}_{label}" for label in inner]


def _described(layers: list[_Layer], headers: dict[Path, Header]) -> list[_Layer]:
    """Return layers; those that names leave without a label get it of what the file says."""
    single = [la for la in layers if la.label is None]
    said = {la.file.path: _only(headers[la.file.path].labels) for la in single}
    # A description may be a date: it is a band where all have one, or a date has several.
    shared = len({la.stamp for la in single}) < len(single)
    if None in said.values() or not (shared or len(set(said.values())) == 1):
        return layers
    return [
        la if la.label is not None else _Layer(la.file, la.index, said[la.file.path], la.stamp)
        for la in layers
    ]


def _only(labels: list[str] | None) -> str | None:
    return None if labels is None else labels[0]


def _check_counts(files: Sequence[Named], headers: dict[Path, Header], where: str) -> None:
    """Raise where files have other numbers of bands, and nothing says which are which."""
    for group in grouped(files, lambda f: f.band).values():
        forms = grouped(
            (f.path for f in group),
            lambda path: (len(headers[path].descriptions), headers[path].labels is not None),
        )
        counts = {count for count, _ in forms}
        if len(counts) == 1 and (counts == {1} or len(forms) == 1):
            continue
        if all(named for _, named in forms):
            continue
        texts = {
            f"{count} band{'s' * (count > 1)}{' with descriptions' * named}": paths
            for (count, named), paths in forms.items()
        }
        first, *others = forms.values()
        raise ValueError(
            f"{where} holds files with different bands, and not all say which: {in_words(texts)}; "
            f"{pick(telling(first, [p for group in others for p in group]))}"
        )


def _chosen(layers: list[_Layer], variable: str, where: str) -> list[_Layer]:
    chosen = [la for la in layers if str(la.label) == variable]
    if not chosen:
        there = list(dict.fromkeys(str(la.label) for la in layers if la.label is not None))
        raise ValueError(f"{where} has no band {variable!r}; it has {there or 'one without name'}")
    return chosen


def _check_grids(layers: Sequence[_Layer], headers: dict[Path, Header], where: str) -> None:
    """Raise where images are not on one grid, naming what they have and how to pick."""
    files = {la.file.path: la.file for la in layers}
    groups: list[list[Path]] = []
    for path in files:
        fits = (g for g in groups if headers[g[0]].same_grid(headers[path]))
        group = next(fits, None)
        if group is None:
            groups.append([path])
        else:
            group.append(path)
    if len(groups) == 1:
        return
    texts = {}
    for group in groups:
        labels = dict.fromkeys(str(la.label) for la in layers if la.file.path in group and la.label)
        named = sorted({f"tile {files[p].tile}" for p in group if files[p].tile})
        what = "; ".join([*named, f"bands {few(list(labels))}"] if labels else named)
        texts[f"{headers[group[0]].grid_text()}{f' [{what}]' if what else ''}"] = group
    first, *others = groups
    alone = [g for g in groups if all(files[p].kind != "band" for p in g)]
    masks = "; layers of classes on a grid of their own are taken by mask=" if alone else ""
    raise ValueError(
        f"{where} holds images on {len(groups)} grids, and a cube has one: {in_words(texts)}. "
        f"{pick(telling(first, [p for group in others for p in group]))}, and open each apart"
        f"{masks}"
    )


def _check_twice(layers: Sequence[_Layer], where: str) -> None:
    """Raise where a band is twice there at one time."""
    twice = [
        group
        for group in grouped(layers, lambda la: (la.stamp, la.label)).values()
        if len(group) > 1
    ]
    if twice:
        names = [la.file.path.name for la in twice[0]]
        day = str(twice[0][0].stamp)[:16]
        label = "" if twice[0][0].label is None else f" of {twice[0][0].label}"
        more = f", and so on {len(twice) - 1} more times" if len(twice) > 1 else ""
        raise ValueError(
            f"{where} holds {len(names)} images{label} at {day}: {few(names)}{more}; "
            f"{pick(telling([twice[0][0].file.path], [la.file.path for la in twice[0][1:]]))}, or "
            "open each granule apart and merge them: xstf.mosaic(xr.concat([a, b], 'time'))"
        )


def _warn_of_absent(
    by_label: dict[Hashable, list[_Layer]], stamps: Sequence[np.datetime64], where: str
) -> None:
    """Say which bands are missing on which dates."""
    texts = []
    for label, layers in by_label.items():
        left = sorted(set(stamps) - {la.stamp for la in layers})
        if left:
            texts.append(f"{label} on {few([str(stamp)[:16] for stamp in left])}")
    if texts:
        warnings.warn(
            f"{where}: there is no file for {'; '.join(texts)}; these are missing in the cube",
            stacklevel=4,
        )


# --- together ---------------------------------------------------------------------------------


def _stack(
    images: dict[np.datetime64, xr.DataArray], stamps: Sequence[np.datetime64], frame: xr.DataArray
) -> xr.DataArray:
    """Return a layer's images along time, missing where there is none."""
    first = next(iter(images.values()))
    empty = None
    if len(images) < len(stamps):
        code = first.attrs.get("_FillValue")
        wide = first if code is not None or first.dtype.kind == "f" else first.astype(np.float32)
        empty = xr.full_like(wide, np.nan if code is None else code).drop_attrs(deep=False)
    along = [images.get(stamp, empty) for stamp in stamps]
    # Within a thousandth of a pixel all have the first one's centres.
    centres = {dim: frame[dim] for dim in ("y", "x") if dim in frame.coords}
    return xr.concat(
        [image.assign_coords(centres) for image in along if image is not None],
        dim=xr.Variable("time", np.array(stamps, dtype="datetime64[ns]")),
        join="exact", combine_attrs="drop_conflicts", coords="minimal", compat="override",
    )  # fmt: skip


def _joined(
    stacks: dict[Hashable, xr.DataArray], apart: bool, frame: xr.DataArray
) -> xr.DataArray | xr.Dataset:
    """Return layers as the bands of a cube, or as variables where some are no measurements."""
    labels = list(stacks)
    plain = [_without_name(stack) for stack in stacks.values()]
    mapping = {k: v for k, v in frame.encoding.items() if k == "grid_mapping"}
    if apart:
        names = [f"band_{n}" if isinstance(n, int) else str(n) for n in labels]
        for stack in plain:
            stack.encoding = dict(mapping)
        return xr.Dataset(dict(zip(names, plain, strict=True)))
    if len(labels) == 1:
        cube = plain[0] if labels[0] is None else plain[0].assign_coords(band=labels[0])
    else:
        cube = xr.concat(
            plain, dim=xr.Variable("band", labels), join="exact", combine_attrs="drop_conflicts",
            coords="minimal", compat="override",
        ).transpose("time", "band", ...)  # fmt: skip
    cube.encoding = dict(mapping)
    return cube


def _natural(label: str | None) -> list[tuple[bool, int | str]]:
    """Return what sorts labels as people do: B2 before B10, and B8A behind B08."""
    parts = [p for p in re.split(r"(\d+)", label or "") if p]
    return [(not p.isdigit(), int(p) if p.isdigit() else p) for p in parts]


def _without_name(stack: xr.DataArray) -> xr.DataArray:
    """Return a stack without the descriptions of single files, which have become labels."""
    attrs = {k: v for k, v in stack.attrs.items() if k != "long_name"}
    return stack.drop_attrs(deep=False).assign_attrs(attrs)
