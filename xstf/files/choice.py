"""Which files are one cube: found in a folder or by a pattern, and sorted out by their names."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from xstf.files.names import Named, read_name

RASTERS = (".tif", ".tiff", ".jp2")
CUBES = (".nc", ".nc4", ".cdf", ".zarr")
T = TypeVar("T")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """Files that were asked for.

    Parameters
    ----------
    where
        The folder or pattern, for messages.
    root
        The folder that holds all of them; folders in it may say dates.
    paths
        In order of their names.
    """

    where: str
    root: Path
    paths: tuple[Path, ...]

    @property
    def are_cubes(self) -> bool:
        """Whether they are NetCDF files or Zarr stores; raise where some are and others not."""
        kinds = {path.suffix.lower() in CUBES for path in self.paths}
        if len(kinds) > 1:
            groups = grouped(self.paths, lambda path: path.suffix.lower())
            raise ValueError(
                f"{self.where} holds files of several kinds: {in_words(groups)}; "
                f"{pick(f'*{next(iter(groups))}')}"
            )
        return kinds == {True}


def pick(pattern: str) -> str:
    """Return the remedy for a folder that holds more than one cube."""
    return f"pick some with pattern={pattern!r}"


def is_pattern(path: Path) -> bool:
    """Return whether a path is a glob pattern, and no file of that name."""
    return bool(_WILD.search(str(path))) and not path.exists()


def find_files(path: Path | Sequence[Path], pattern: str | None) -> Found:
    """Return the images of a folder, of a glob pattern, or of a list of paths.

    Parameters
    ----------
    path : path or sequence of paths
    pattern : str, optional
        Of the names that are wanted, upper or lower case; with a ``/`` of paths in the folder.
    """
    if isinstance(path, Path) and is_pattern(path):
        where, root, paths = _glob(path)
    elif isinstance(path, Path):
        where, root, paths = f"{path}", path, _in_folder(path, pattern)
    else:
        missing = [str(p) for p in path if not p.exists()]
        if missing:
            raise OSError(f"no file {', '.join(missing[:5])}")
        paths = list(path)
        where, root = f"the list of {len(paths)} files", _common(paths)
    wanted = sorted(p for p in paths if _is_image(p))
    if pattern is not None and "/" not in pattern:
        chosen = [p for p in wanted if fnmatch.fnmatchcase(p.name.lower(), pattern.lower())]
        if wanted and not chosen:
            raise OSError(
                f"{where} holds no image that matches pattern={pattern!r}; it has "
                f"{few([p.name for p in wanted])}"
            )
        wanted = chosen
    if not wanted:
        others = grouped((p for p in paths if p.is_file()), lambda p: p.suffix or p.name)
        has = f", it has {in_words(others)}" if others else ""
        raise OSError(
            f"{where} holds no GeoTIFF and no other image that xstf reads "
            f"({', '.join((*RASTERS, *CUBES))}){has}"
        )
    return Found(where, root, tuple(wanted))


def _glob(path: Path) -> tuple[str, Path, list[Path]]:
    """Return what a pattern finds, and the folder before its first wild part."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if _WILD.search(part))
    root = Path(*parts[:first]) if first else Path()
    found = list(root.glob(str(Path(*parts[first:]))))
    folders = [p for p in found if p.is_dir() and p.suffix.lower() != ".zarr"]
    inside = [p for folder in folders for p in _in_folder(folder, None)]
    if not found:
        raise OSError(f"no file matches {path}")
    return str(path), root, [*dict.fromkeys([*found, *inside])]


def _in_folder(folder: Path, pattern: str | None) -> list[Path]:
    """Return the files of a folder; where it has no image of its own, those of its folders."""
    if pattern is not None and "/" in pattern:
        return list(folder.glob(pattern))
    own = list(folder.iterdir())
    images = [p for p in own if _is_image(p)]
    below = [p for sub in own if sub.is_dir() and not _is_image(sub) for p in sub.rglob("*")]
    if not images:
        return [*own, *below]
    unread = [p for p in below if _is_image(p)]
    if unread and pattern is None:
        warnings.warn(
            f"{folder} holds {len(images)} images, and its folders "
            f"{few(sorted({p.parent.name for p in unread}))} hold {len(unread)} more, which are "
            "not read; pattern='**/*' takes all, pattern='*' only those of the folder itself",
            stacklevel=5,
        )
    return own


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    return suffix == ".zarr" if path.is_dir() else suffix in (*RASTERS, *CUBES)


def _common(paths: Sequence[Path]) -> Path:
    """Return the innermost folder that holds all paths."""
    folders = [path.parent for path in paths]
    shared = folders[0]
    while not all(shared == f or shared in f.parents for f in folders) and shared != shared.parent:
        shared = shared.parent
    return shared


# --- by their names ---------------------------------------------------------------------------


def sort_out(found: Found) -> list[Named]:
    """Return what the names of files say; raise where they are of several sensors.

    Pictures are left out with a warning. Where several files have one date and no band that is
    known, the words in which their names differ become the labels of bands.
    """
    files = [read_name(path, found.root) for path in found.paths]
    pictures = [f for f in files if f.kind == "picture"]
    if pictures and len(pictures) < len(files):
        warnings.warn(
            f"{found.where}: left out as pictures, not measurements: "
            f"{few([f.path.name for f in pictures])}; name them with pattern= to read them",
            stacklevel=4,
        )
        files = [f for f in files if f.kind != "picture"]
    undated = [f.path.name for f in files if f.stamp is None]
    if undated:
        raise ValueError(
            f"{found.where}: no date (YYYYMMDD, YYYY-MM-DD or YYYYDDD) in the name of "
            f"{undated[:3]}; rename them, or leave them out with pattern="
        )
    _check_sensors(files, found.where)
    _warn_of_baselines(files, found.where)
    return _labelled(files, found.where)


def _check_sensors(files: Sequence[Named], where: str) -> None:
    """Raise where files are of several sensors: equal labels would not mean the same."""
    groups = grouped((f for f in files if f.sensor), lambda f: f.sensor)
    unsaid = [f for f in files if f.sensor is None and f.kind == "band" and f.band is None]
    if groups and unsaid:
        groups["no sensor named"] = unsaid
    names = [str(name) for name in groups]
    # A name that says less than another one (no level) is no other sensor.
    apart = [n for n in names if not any(o != n and o.startswith(n) for o in names)]
    if len(apart) < 2:
        return
    by_path = {str(name): [f.path for f in group] for name, group in groups.items()}
    raise ValueError(
        f"{where} holds images of several sensors or products: {in_words(by_path)}; their bands "
        f"do not mean the same. {_hint(by_path)}"
    )


def _warn_of_baselines(files: Sequence[Named], where: str) -> None:
    """Say where Sentinel-2 images are of baselines with and without the offset of 1000."""
    named = [(f.path, re.search(r"_N(\d{4})_", str(f.path))) for f in files]
    groups = grouped(
        (path for path, found in named if found),
        lambda path: re.findall(r"_N(\d{4})_", str(path))[-1] >= "0400",
    )
    if len(groups) > 1:
        old, new = (few([p.name for p in groups[late]]) for late in (False, True))
        warnings.warn(
            f"{where} holds Sentinel-2 images of processing baselines before 04.00 ({old}) and "
            f"from it on ({new}): the latter have larger numbers, by 1000; subtract that where the "
            "files do not state it as their offset",
            stacklevel=5,
        )


def _labelled(files: list[Named], where: str) -> list[Named]:
    """Return files with labels where names without a known band differ within a date."""
    plain = [f for f in files if f.band is None]
    by_date = [g for g in grouped(plain, lambda f: f.stamp).values() if len(g) > 1]
    if not by_date:
        return files
    words = {w for group in by_date for w in _differing(group)}
    words = {w for w in words if re.search("[A-Za-z]", w) and not re.fullmatch(r"\d+k?m", w)}
    named = [replace(f, band="_".join(w for w in f.rest if w in words) or None) for f in plain]
    if all(f.band is None for f in named):
        return files
    left = [f.path.name for f in named if f.band is None]
    if left:
        raise ValueError(
            f"{where}: the files of a date differ in {sorted(words)}, which would be bands, and "
            f"the name of {few(left)} has none of these; rename them or use pattern="
        )
    return [f for f in files if f.band is not None] + named


def _differing(group: Sequence[Named]) -> set[str]:
    """Return the words that not all names of a group have; tiles are no bands."""
    have: list[set[str]] = [{w for w in f.rest if f.tile is None or f.tile not in w} for f in group]
    return set[str]().union(*have) - have[0].intersection(*have)


# --- in words ---------------------------------------------------------------------------------


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Any, list[T]]:
    """Return items by a key, in order."""
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def in_words(groups: dict[Any, list[Path]]) -> str:
    """Return groups of files as their name, how many they are, and the first."""
    texts = []
    for name, paths in groups.items():
        count = f"{len(paths)} file{'s' * (len(paths) > 1)}"
        texts.append(f"{name}: {count} ({paths[0].name}{', …' * (len(paths) > 1)})")
    return "; ".join(texts)


def few(names: Sequence[str]) -> str:
    """Return at most five names."""
    return ", ".join([*names[:5], *(["…"] if len(names) > 5 else [])])


def _hint(groups: dict[Any, list[Path]]) -> str:
    """Return the remedy, with a pattern that finds the first group and no file of the others."""
    first, *others = groups.values()
    return pick(telling(first, [p for group in others for p in group]))


def telling(wanted: Sequence[Path], others: Sequence[Path]) -> str:
    """Return a pattern that all wanted names match and no other one, if a word of theirs does."""
    shared = set(_parts(wanted[0])).intersection(*map(_parts, wanted))
    # A pixel size tells more than a band that happens to have it.
    for word in sorted(_parts(wanted[0]), key=lambda word: not re.fullmatch(r"\d+k?m", word)):
        if word in shared and not any(word.lower() in p.name.lower() for p in others):
            return f"*{word}*"
    folders = {p.parent.name for p in wanted} - {p.parent.name for p in others}
    if len(folders) == 1:
        return f"**/{next(iter(folders))}/*"
    return wanted[0].name


def _parts(path: Path) -> list[str]:
    """Return the words of a name without those that may be dates."""
    words = re.split(r"[._\s-]+", path.stem)
    return [w for w in words if w and not re.search(r"\d{5}", w)]
