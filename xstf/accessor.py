"""The ``.stf`` accessor: full signatures, the functions' docstrings, one line of work a verb.

The verbs are imported when one is looked at or called: ``import xstf`` is to be quick.

xarray gives ``cube.stf`` no type: checkers see the overloads of the functions, and of
``StfAccessor(cube)``. Those say what comes back, and check the values of a verb's own keywords. A
misspelled keyword passes as one of ``**params``, since Python has no type for "any keyword but
these"; it is refused at run time, with the nearest name.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, overload

import pandas as pd
import xarray as xr

from xstf._method import Method
from xstf.cubes.arrays import Guides, Labelled
from xstf.cubes.pairs import CompositeLike, DateLike, LengthLike
from xstf.verbs.by_trial import tell_of
from xstf.verbs.dry_run import DryRun

if TYPE_CHECKING:
    from xstf.cubes.describe import Described

C = TypeVar("C", bound=Labelled)
F = TypeVar("F", bound=Callable[..., object])
Regime: TypeAlias = Literal["partial", "persistent", "full"]
# Methods of an evaluation: each alone or with parameters of its own, or parameters by name.
Tried: TypeAlias = str | Method | tuple[str | Method, Mapping[str, Any]]
Methods: TypeAlias = Sequence[Tried] | Mapping[str, Mapping[str, Any]]


class _Documented:
    """A method that takes over the docstring of a function of `xstf` when it is first looked at.

    Whoever asks, Python, IPython, Sphinx or an editor, gets a plain function with a plain string.
    """

    def __init__(self, method: Callable[..., object], function: str) -> None:
        self.method = method
        self.function = function
        self.done = False

    def __get__(self, accessor: object, owner: type | None = None) -> object:
        if not self.done:
            import xstf

            self.method.__doc__ = _for_this_cube(getattr(xstf, self.function))
            self.done = True
        return self.method if accessor is None else self.method.__get__(accessor, owner)


def _documented_by(function: str) -> Callable[[F], F]:
    """Return a decorator: the method has the docstring of that function of `xstf`."""
    return lambda method: _Documented(method, function)  # type: ignore[return-value]


def _for_this_cube(function: Callable[..., object]) -> str:
    """Return a function's docstring, its first parameter said to be this cube."""
    first = next(iter(inspect.signature(function).parameters))
    line = re.compile(rf"^({first}\b[\w, ]* : .*)$", re.MULTILINE)
    return line.sub(rf"\1; `{first}` is this cube", inspect.getdoc(function) or "", count=1)


class StfAccessor(Generic[C]):
    """Fusion, gap filling and sharpening of a cube; the functions of :mod:`xstf` as methods."""

    def __init__(self, cube: C) -> None:
        self._cube = cube

    def __dir__(self) -> list[str]:
        """List what a user may call."""
        return sorted(name for name in vars(StfAccessor) if not name.startswith("_"))

    def __repr__(self) -> str:
        title, rows = _described(self._cube)
        wide = max((len(name) for name, _ in rows), default=0)
        return "\n".join([f"<{title}>", *(f"    {name:{wide}}  {text}" for name, text in rows)])

    def _repr_html_(self) -> str:
        title, rows = _described(self._cube)
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows
        )
        return f"<div>{html.escape(title)}<table>{cells}</table></div>"

    # Signatures are written out, not passed through, so that editors complete them.
    # fmt: off
    @overload
    def fuse(
        self: StfAccessor[xr.DataArray], coarse: Labelled, *, spatial: Labelled | None = ...,
        time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
        coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
        composite: CompositeLike | None = ..., scale: float | None = ...,
        coarse_scale: float | None = ..., spatial_scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
        register: bool = ..., change: Literal["believed", "raw"] = ...,
        engine: str | None = ...,
        device: str | None = ..., return_quality: Literal[False] = ..., progress: bool = ...,
        **params: object,
    ) -> xr.DataArray: ...
    @overload
    def fuse(
        self: StfAccessor[xr.DataArray], coarse: Labelled, *, spatial: Labelled | None = ...,
        time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
        coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
        composite: CompositeLike | None = ..., scale: float | None = ...,
        coarse_scale: float | None = ..., spatial_scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
        register: bool = ..., change: Literal["believed", "raw"] = ...,
        engine: str | None = ...,
        device: str | None = ..., return_quality: Literal[True], progress: bool = ...,
        **params: object,
    ) -> xr.Dataset: ...
    @overload
    def fuse(
        self: StfAccessor[xr.Dataset], coarse: Labelled, *, spatial: Labelled | None = ...,
        time: DateLike | None = ..., method: str | Method = ..., mask: xr.DataArray | None = ...,
        coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
        composite: CompositeLike | None = ..., scale: float | None = ...,
        coarse_scale: float | None = ..., spatial_scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
        register: bool = ..., change: Literal["believed", "raw"] = ...,
        engine: str | None = ...,
        device: str | None = ..., return_quality: bool = ..., progress: bool = ...,
        **params: object,
    ) -> xr.Dataset: ...
    @overload
    def fuse(
        self, coarse: Labelled, *, spatial: Labelled | None = ..., time: DateLike | None = ...,
        method: str | Method = ..., mask: xr.DataArray | None = ...,
        coarse_mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        pair_tolerance: LengthLike = ..., coarse_resolution: float | None = ...,
        composite: CompositeLike | None = ..., scale: float | None = ...,
        coarse_scale: float | None = ..., spatial_scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        min_valid: float = ..., clip: bool | tuple[float | None, float | None] | None = ...,
        register: bool = ..., change: Literal["believed", "raw"] = ...,
        engine: str | None = ...,
        device: str | None = ..., return_quality: bool = ..., progress: bool = ...,
        **params: object,
    ) -> Labelled: ...
    # fmt: on
    @_documented_by("fuse")
    def fuse(
        self,
        coarse: Labelled,
        *,
        spatial: Labelled | None = None,
        time: DateLike | None = None,
        method: str | Method = "auto",
        mask: xr.DataArray | None = None,
        coarse_mask: xr.DataArray | None = None,
        spatial_mask: xr.DataArray | None = None,
        pair_tolerance: LengthLike = "1D",
        coarse_resolution: float | None = None,
        composite: CompositeLike | None = None,
        scale: float | None = None,
        coarse_scale: float | None = None,
        spatial_scale: float | None = None,
        decoded: bool | None = None,
        valid_range: tuple[float, float] | None = None,
        min_valid: float = 0.5,
        clip: bool | tuple[float | None, float | None] | None = None,
        register: bool = True,
        change: Literal["believed", "raw"] = "believed",
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: object,
    ) -> Labelled:
        """Call :func:`xstf.fuse` with this cube as `fine`."""
        from xstf.verbs.fuse import fuse

        return fuse(
            self._cube, coarse, spatial=spatial, time=time, method=method, mask=mask,
            coarse_mask=coarse_mask, spatial_mask=spatial_mask, pair_tolerance=pair_tolerance,
            coarse_resolution=coarse_resolution, composite=composite, scale=scale,
            coarse_scale=coarse_scale, spatial_scale=spatial_scale, decoded=decoded,
            valid_range=valid_range, min_valid=min_valid, clip=clip, register=register,
            change=change, engine=engine, device=device,
            return_quality=return_quality, progress=progress, **params,
        )  # fmt: skip

    # fmt: off
    @overload
    def gapfill(
        self: StfAccessor[xr.DataArray], sar: Guides | None = ..., *,
        mask: xr.DataArray | None = ..., method: str | Method = ..., guide: Guides | None = ...,
        max_gap: LengthLike | None = ..., smooth: bool = ...,
        screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
        sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
        time: DateLike | None = ..., freq: str | None = ...,
        edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., return_quality: Literal[False] = ...,
        progress: bool = ..., **params: object,
    ) -> xr.DataArray: ...
    @overload
    def gapfill(
        self: StfAccessor[xr.DataArray], sar: Guides | None = ..., *,
        mask: xr.DataArray | None = ..., method: str | Method = ..., guide: Guides | None = ...,
        max_gap: LengthLike | None = ..., smooth: bool = ...,
        screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
        sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
        time: DateLike | None = ..., freq: str | None = ...,
        edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., return_quality: Literal[True],
        progress: bool = ..., **params: object,
    ) -> xr.Dataset: ...
    @overload
    def gapfill(
        self: StfAccessor[xr.Dataset], sar: Guides | None = ..., *,
        mask: xr.DataArray | None = ..., method: str | Method = ..., guide: Guides | None = ...,
        max_gap: LengthLike | None = ..., smooth: bool = ...,
        screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
        sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
        time: DateLike | None = ..., freq: str | None = ...,
        edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., return_quality: bool = ...,
        progress: bool = ..., **params: object,
    ) -> xr.Dataset: ...
    @overload
    def gapfill(
        self, sar: Guides | None = ..., *, mask: xr.DataArray | None = ...,
        method: str | Method = ..., guide: Guides | None = ...,
        max_gap: LengthLike | None = ..., smooth: bool = ...,
        screen: bool | Literal["replace"] | None = ..., certain: xr.DataArray | None = ...,
        sar_units: Literal["dB", "linear"] | None = ..., guide_tolerance: LengthLike = ...,
        time: DateLike | None = ..., freq: str | None = ...,
        edge: Literal["fill", "nearest", "nan"] = ..., scale: float | None = ...,
        decoded: bool | None = ..., valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., return_quality: bool = ...,
        progress: bool = ..., **params: object,
    ) -> Labelled: ...
    # fmt: on
    @_documented_by("gapfill")
    def gapfill(
        self,
        sar: Guides | None = None,
        *,
        mask: xr.DataArray | None = None,
        method: str | Method = "auto",
        guide: Guides | None = None,
        max_gap: LengthLike | None = None,
        smooth: bool = False,
        screen: bool | Literal["replace"] | None = None,
        certain: xr.DataArray | None = None,
        sar_units: Literal["dB", "linear"] | None = None,
        guide_tolerance: LengthLike = "12D",
        time: DateLike | None = None,
        freq: str | None = None,
        edge: Literal["fill", "nearest", "nan"] = "fill",
        scale: float | None = None,
        decoded: bool | None = None,
        valid_range: tuple[float, float] | None = None,
        engine: str | None = None,
        device: str | None = None,
        return_quality: bool = False,
        progress: bool = False,
        **params: object,
    ) -> Labelled:
        """Call :func:`xstf.gapfill` with this cube."""
        from xstf.verbs.gapfill import gapfill

        return gapfill(
            self._cube, sar, mask=mask, method=method, guide=guide, max_gap=max_gap, smooth=smooth,
            screen=screen, certain=certain, sar_units=sar_units, guide_tolerance=guide_tolerance,
            time=time, freq=freq, edge=edge, scale=scale, decoded=decoded, valid_range=valid_range,
            engine=engine, device=device, return_quality=return_quality, progress=progress,
            **params,
        )  # fmt: skip

    # fmt: off
    @overload
    def sharpen_spectral(
        self: StfAccessor[xr.DataArray], spatial: Labelled, *, method: str | Method = ...,
        srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
        register: bool = ...,
        mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        time_tolerance: LengthLike = ...,
        scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
        valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
    ) -> xr.DataArray: ...
    @overload
    def sharpen_spectral(
        self: StfAccessor[xr.Dataset], spatial: Labelled, *, method: str | Method = ...,
        srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
        register: bool = ...,
        mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        time_tolerance: LengthLike = ...,
        scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
        valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
    ) -> xr.Dataset: ...
    @overload
    def sharpen_spectral(
        self, spatial: Labelled, *, method: str | Method = ...,
        srf: xr.DataArray | str | None = ..., psf: float | xr.DataArray | str | None = ...,
        register: bool = ...,
        mask: xr.DataArray | None = ..., spatial_mask: xr.DataArray | None = ...,
        time_tolerance: LengthLike = ...,
        scale: float | None = ..., spatial_scale: float | None = ..., decoded: bool | None = ...,
        valid_range: tuple[float, float] | None = ...,
        engine: str | None = ..., device: str | None = ..., progress: bool = ..., **params: object,
    ) -> Labelled: ...
    # fmt: on
    @_documented_by("sharpen_spectral")
    def sharpen_spectral(
        self,
        spatial: Labelled,
        *,
        method: str | Method = "auto",
        srf: xr.DataArray | str | None = None,
        psf: float | xr.DataArray | str | None = None,
        register: bool = True,
        mask: xr.DataArray | None = None,
        spatial_mask: xr.DataArray | None = None,
        time_tolerance: LengthLike = "1D",
        scale: float | None = None,
        spatial_scale: float | None = None,
        decoded: bool | None = None,
        valid_range: tuple[float, float] | None = None,
        engine: str | None = None,
        device: str | None = None,
        progress: bool = False,
        **params: object,
    ) -> Labelled:
        """Call :func:`xstf.sharpen_spectral` with this cube as `spectral`."""
        from xstf.verbs.sharpen_spectral import sharpen_spectral

        return sharpen_spectral(
            self._cube, spatial, method=method, srf=srf, psf=psf, register=register,
            mask=mask, spatial_mask=spatial_mask, time_tolerance=time_tolerance, scale=scale,
            spatial_scale=spatial_scale, decoded=decoded, valid_range=valid_range,
            engine=engine, device=device, progress=progress, **params,
        )  # fmt: skip

    @_documented_by("plan")
    def plan(self, *others: Any, verb: str | None = None, **options: Any) -> DryRun:
        """Call :func:`xstf.plan` with this cube as the first."""
        from xstf.verbs.plan import plan

        return plan(self._cube, *others, verb=verb, **options)

    @_documented_by("evaluate_fusion")
    def evaluate(
        self,
        coarse: Labelled,
        *,
        methods: Methods | None = None,
        time: DateLike | None = None,
        truth: Labelled | None = None,
        baselines: bool = True,
        classes: xr.DataArray | None = None,
        max_pixels: int | None = 1_000_000,
        max_dates: int | None = None,
        seed: int = 0,
        pair_tolerance: LengthLike = "1D",
        **options: object,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_fusion` with this cube as `fine`."""
        from xstf.evaluate import evaluate_fusion

        return evaluate_fusion(
            self._cube, coarse, methods=methods, time=time, truth=truth, baselines=baselines,
            classes=classes, max_pixels=max_pixels, max_dates=max_dates, seed=seed,
            pair_tolerance=pair_tolerance, **options,
        )  # fmt: skip

    @_documented_by("evaluate_gapfill")
    def evaluate_gapfill(
        self,
        sar: Guides | None = None,
        *,
        methods: Methods | None = None,
        regimes: Sequence[Regime] = ("partial", "persistent", "full"),
        mask: xr.DataArray | None = None,
        days: LengthLike = 25.0,
        baselines: bool = True,
        classes: xr.DataArray | None = None,
        max_pixels: int | None = 1_000_000,
        seed: int = 0,
        **options: object,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_gapfill` with this cube."""
        from xstf.evaluate import evaluate_gapfill

        return evaluate_gapfill(
            self._cube, sar, methods=methods, regimes=regimes, mask=mask, days=days,
            baselines=baselines, classes=classes, max_pixels=max_pixels, seed=seed, **options,
        )  # fmt: skip

    @_documented_by("evaluate_sharpen_spectral")
    def evaluate_sharpen_spectral(
        self,
        spatial: Labelled,
        *,
        methods: Methods | None = None,
        truth: Labelled | None = None,
        ratio: int | None = None,
        baselines: bool = True,
        classes: xr.DataArray | None = None,
        max_pixels: int | None = 1_000_000,
        seed: int = 0,
        **options: object,
    ) -> xr.Dataset:
        """Call :func:`xstf.evaluate_sharpen_spectral` with this cube as `spectral`."""
        from xstf.evaluate import evaluate_sharpen_spectral

        return evaluate_sharpen_spectral(
            self._cube, spatial, methods=methods, truth=truth, ratio=ratio, baselines=baselines,
            classes=classes, max_pixels=max_pixels, seed=seed, **options,
        )  # fmt: skip

    evaluate_sharpen = evaluate_sharpen_spectral

    @_documented_by("score")
    def score(
        self,
        truth: Labelled,
        *,
        classes: xr.DataArray | None = None,
        ratio: float | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Call :func:`xstf.score` with this cube as `result`."""
        from xstf.evaluate import score

        return score(self._cube, truth, classes=classes, ratio=ratio, seed=seed)

    @_documented_by("rank")
    def rank(self, metric: str = "rmse", *, by: str | None = None) -> pd.DataFrame:
        """Call :func:`xstf.rank` with these scores."""
        from xstf.evaluate import rank

        return rank(self._cube, metric, by=by)  # type: ignore[arg-type]

    @_documented_by("report")
    def report(self, path: str | PathLike[str], *, overwrite: bool = False) -> tuple[Path, Path]:
        """Call :func:`xstf.report` with these scores."""
        from xstf.evaluate import report

        return report(self._cube, path, overwrite=overwrite)  # type: ignore[arg-type]


# --- in words ---------------------------------------------------------------------------------


def _described(cube: Labelled) -> tuple[str, list[tuple[str, str]]]:
    """Return a title and rows on what a cube is and what it can serve; never raise."""
    if isinstance(cube, xr.Dataset) and "stf_scores" in cube.attrs:
        from xstf.evaluate.ranking import described

        return described(cube)
    title = f"xstf: {type(cube).__name__} {getattr(cube, 'name', None) or ''}".rstrip()
    try:
        return title, _rows(cube)
    except Exception as error:  # a repr that raises hides the cube that is to be mended
        return title, [("dims", str(dict(cube.sizes))), ("xstf cannot read it", str(error))]


def _rows(cube: Labelled) -> list[tuple[str, str]]:
    from xstf.cubes.describe import describe_cube  # pyproj takes its time

    found = describe_cube(cube)
    return found.rows + _can_serve(found) if found.readable else found.rows


def _can_serve(cube: Described) -> list[tuple[str, str]]:
    """Return which verbs can take a cube, and why the others cannot."""
    fuse = gapfill = sharpen = "yes"
    if cube.dates == 0:
        fuse = "no: it has no time; add a time dim or a scalar time coordinate"
    if not cube.has_time_dim:
        gapfill = "no: it has no time dim; stack its images along one"
    elif cube.complete:
        gapfill = "yes, but nothing is missing"
    elif cube.dates == 1:
        gapfill = "yes, from the pixels of its one date"
    if not cube.has_space:
        fuse = sharpen = "no: it has no y and x"
    elif not cube.sized:
        fuse = sharpen = "no: the size of its one pixel is unknown; assign_attrs(resolution=…)"
    elif cube.bands == 1:
        sharpen = "yes, its one band; or it is spatial= for a cube of more bands"
    return [("fuse", fuse), ("gapfill", gapfill), ("sharpen_spectral", sharpen)]


def _load_trials() -> Callable[[str, dict[str, Any]], Any]:
    """Return what tries methods, for ``method="evaluate"``: it stands above the verbs."""
    from xstf.evaluate.choice import run_best

    return run_best


tell_of(_load_trials)
xr.register_dataarray_accessor("stf")(StfAccessor)
xr.register_dataset_accessor("stf")(StfAccessor)
