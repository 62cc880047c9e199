"""Small files for examples: cut from the example scenes, and kept in the package."""

from __future__ import annotations

import shutil
from pathlib import Path

_HOME = Path(__file__).with_name("files")
_NAMES = ("landsat.nc", "modis.nc", "sentinel1.nc", "sentinel2.nc")


def sample_files(folder: str | Path | None = None) -> dict[str, Path]:
    """Return the paths of four small NetCDF files that examples and tests can open.

    Parameters
    ----------
    folder
        Where to put copies, such as ``"."``. It is made if it is not there, and files of these
        names in it are replaced. Without it the paths are those inside the package, which are to
        be read only.

    Returns
    -------
    dict of str to Path
        ``landsat.nc`` (reflectance, time: 4, band: 6, y: 90, x: 90, UTM, 30 m, a cloud on one
        date) and ``modis.nc`` (time: 12, the same bands, sinusoidal, 463 m) belong together:
        :func:`landsat_modis`. So do ``sentinel2.nc`` (reflectance, time: 25, band: 4, y: 40, x: 40,
        10 m, half of it under clouds, with classes ``SCL``) and ``sentinel1.nc`` (backscatter VV
        and VH in dB, 20 m): :func:`sentinel_1_2`. Together they take less than 1 MB.

    Examples
    --------
    >>> from xstf import files, scenes
    >>> paths = scenes.sample_files()
    >>> dict(files.open_cube(paths["landsat.nc"]).sizes)
    {'time': 4, 'band': 6, 'y': 90, 'x': 90}
    """
    if folder is None:
        return {name: _HOME / name for name in _NAMES}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in _NAMES:
        # Renamed into its place: what was there may be open, and readers of it keep their file.
        beside = target / f"{name}.part"
        shutil.copyfile(_HOME / name, beside)
        beside.replace(target / name)
    return {name: target / name for name in _NAMES}
