"""The few pictures that people want of a cube and of an estimate beside its truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xstf import _inputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare", "quicklook"]

_TRUE_COLOUR = ("red", "green", "blue")
_MISSING = 0.85  # a light grey that no stretched image has everywhere


def quicklook(
    cube: xr.DataArray | xr.Dataset, *, bands: Sequence[Any] | None = None, most: int = 8
) -> Figure:
    """Return a figure with one colour picture a date, stretched alike.

    Parameters
    ----------
    cube : DataArray (time, band, y, x) or Dataset of bands
    bands : sequence of three labels, or of one, optional
        Red, green and blue. Default: the bands of those names, else the last three, else the first.
    most : int
        Most dates shown, evenly chosen.
    """
    plain = _inputs.read(cube, what="cube")
    picked = _pick_bands(plain.bands, bands)
    dates = np.unique(np.linspace(0, plain.data.shape[0] - 1, most).astype(int))
    images = [_picture(plain.data[d], picked) for d in dates]
    low, high = _limits(images)
    titles = [_date(plain, d) for d in dates]
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure, axes = _axes(rows, columns)
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        _show(axis, image, low, high)
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def compare(
    truth: xr.DataArray,
    estimates: dict[str, xr.DataArray],
    *,
    bands: Sequence[Any] | None = None,
    before: xr.DataArray | None = None,
    coarse: xr.DataArray | None = None,
) -> Figure:
    """Return a figure of a true image, estimates of it and their errors.

    Parameters
    ----------
    truth : DataArray ([time: 1,] band, y, x)
    estimates : dict of str to DataArray
        As `truth`, by the title to give them.
    bands : sequence of three labels, or of one, optional
        As :func:`quicklook`.
    before, coarse : DataArray, optional
        What the estimates were made of, shown in the first row: the fine image of another date and
        the coarse one of this.

    Notes
    -----
    Errors are the mean over all bands of the absolute difference, on one scale, printed under the
    bar in the cube's units.
    """
    inputs = {"fine image before": before, "coarse image of the date": coarse, "truth": truth}
    shown = {title: cube for title, cube in inputs.items() if cube is not None}
    cubes = {title: _inputs.read(cube, what=title) for title, cube in (shown | estimates).items()}
    picked = _pick_bands(cubes["truth"].bands, bands)
    images = {t: _picture(c.data[0], picked) for t, c in cubes.items()}
    low, high = _limits([images["truth"]])
    target = np.asarray(cubes["truth"].data[0])
    errors = {t: np.abs(np.asarray(cubes[t].data[0]) - target).mean(axis=0) for t in estimates}
    top = max(float(np.nanpercentile(e, 99)) for e in errors.values())
    columns = max(len(shown), len(estimates))
    figure, axes = _axes(3, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, title in enumerate(shown):
        _show(axes[0, column], images[title], low, high)
        axes[0, column].set_title(title, fontsize=10)
    for column, (title, error) in enumerate(errors.items()):
        _show(axes[1, column], images[title], low, high)
        axes[1, column].set_title(title, fontsize=10)
        drawn = axes[2, column].imshow(error, cmap="magma", vmin=0, vmax=top)
        axes[2, column].set_title(f"error, mean {np.nanmean(error):.4f}", fontsize=9)
    figure.colorbar(drawn, ax=axes[2, :].tolist(), shrink=0.85, label="|error|, mean of bands")
    return figure


def _pick_bands(have: tuple[Any, ...], wanted: Sequence[Any] | None) -> list[int]:
    if wanted is not None:
        missing = [b for b in wanted if b not in have]
        if missing or len(wanted) not in (1, 3):
            raise ValueError(f"bands must be one or three of {list(have)}, not {list(wanted)}")
        return [have.index(b) for b in wanted]
    if all(b in have for b in _TRUE_COLOUR):
        return [have.index(b) for b in _TRUE_COLOUR]
    return [len(have) - 1 - i for i in range(3)] if len(have) >= 3 else [0]


def _picture(image: Any, bands: list[int]) -> np.ndarray:
    """Return ``(y, x)`` or ``(y, x, 3)`` of an image ``(band, y, x)``."""
    picture = np.moveaxis(np.asarray(image)[bands], 0, -1).astype(np.float64)
    return picture if len(bands) == 3 else picture[..., 0]


def _limits(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what is drawn black and white, a channel each: the 1 and 99 % quantiles of all."""
    channels = [image.reshape(-1, image.shape[-1] if image.ndim == 3 else 1) for image in images]
    together = np.concatenate(channels)
    seen = together[~np.isnan(together).any(axis=1)]
    if not len(seen):
        return np.zeros(together.shape[1]), np.ones(together.shape[1])
    low, high = np.percentile(seen, 1, axis=0), np.percentile(seen, 99, axis=0)
    return low, np.maximum(high, low + 1e-12)


def _show(axis: Axes, image: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    if image.ndim == 2:
        axis.imshow(image, cmap="viridis", vmin=float(low[0]), vmax=float(high[0]))
        return
    stretched = np.clip((image - low) / (high - low), 0, 1)
    axis.imshow(np.where(np.isnan(stretched), _MISSING, stretched))


def _axes(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as NewFigure
    except ImportError as error:
        raise ImportError("pictures need matplotlib; install xstf[plot]") from error
    figure = NewFigure(figsize=(3.1 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def _date(cube: _inputs.Cube, index: int) -> str:
    return "" if cube.times is None else str(np.datetime64(cube.times[index], "D"))
