"""`fit`: labelled cubes in, a checkpoint out."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from xstf import weights
from xstf._method import TASKS, Method, Net, Recipe, Task
from xstf._version import __version__
from xstf.methods.lookup import get_method, method_names
from xstf.tiles.engines import make_runner
from xstf.train import fuse as fusion
from xstf.train import gapfill as filling
from xstf.train import loop
from xstf.train import sharpen_spectral as sharpening
from xstf.train import sts as series
from xstf.train.task import Batch, Course
from xstf.weights.running import device_of

# An autoencoder whose features a loss looks at is trained for so many steps of so many patches.
_FEATURE_RECIPE = Recipe(epochs=4, steps=50, batch=4, rate=1e-3, schedule="cosine")

# How each task makes a course of cubes, and what it can be told of reading them.
_COURSES: dict[Task, Callable[..., Course]] = {
    "fuse": fusion.course, "gapfill": filling.course, "sharpen_spectral": sharpening.course,
    "sts": series.course,
}  # fmt: skip
READING: dict[Task, tuple[str, ...]] = {
    "fuse": ("coarse_mask", "pair_tolerance", "coarse_resolution", "cross", "between", "base"),
    "gapfill": ("sar", "guide", "prior", "dates", "boxes", "loss", "sar_units", "guide_tolerance"),
    "sharpen_spectral": ("spatial_mask", "psf", "register", "time_tolerance"),
    "sts": ("spatial", "coarse_mask", "spatial_mask", "pair_tolerance", "scale"),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network.

    Parameters
    ----------
    checkpoint
        What a checkpoint file holds.
    path
        Where it was written, or None.
    scores
        ``mae`` on what was held out and ``mae_untrained``, which for a network that adds to a base
        image is the base image's, in the units of the cubes; ``seconds``; ``epochs``.
    history
        A row an epoch: ``epoch, seconds, rate, loss, mae``; the first is of the untrained network.
    """

    checkpoint: bytes
    path: Path | None
    scores: dict[str, float]
    history: list[dict[str, float]]

    def save(self, path: str | Path) -> Path:
        """Write the checkpoint; return where."""
        read = weights.load(self.checkpoint)
        return weights.save(path, read.tensors, read.manifest)

    def __repr__(self) -> str:
        found = ", ".join(f"{k} {v:.4g}" for k, v in self.scores.items())
        return f"<Fitted: {found}; {self.path or 'not written: save(path)'}>"


def fit(
    method: str | Method,
    *cubes: Any,
    out: str | Path | None = None,
    recipe: Literal["auto", "full", "small"] | Recipe = "auto",
    sizes: dict[str, Any] | None = None,
    start: str | Path | bytes | None = None,
    validation: Any = None,
    mask: Any = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
    log: str | Path | None = None,
    resume: bool = True,
    sensors: str = "",
    data: str = "",
    licence: str = "",
    **more: Any,
) -> Fitted:
    """Return a trained network, for the ``weights=`` of the verb that its method serves.

    Parameters
    ----------
    method : str or Method
        A network's name.
    *cubes : DataArray or Dataset of bands
        As the verb takes them: `fine` and `coarse` for :func:`xstf.fuse`, at least two fine images
        with a coarse one of their date, and ``spatial=`` for its third; `cube`, or a list of such,
        and ``sar=``, one for each, for :func:`xstf.gapfill`; `spectral` and `spatial` for
        :func:`xstf.sharpen_spectral`.
    out : path, optional
        ``.safetensors`` file for the checkpoint. Beside it lies, until training is done, the state
        to resume from (``.training.safetensors``).
    recipe : {"auto", "full", "small"} or Recipe
        The method's for a GPU or for a processor with minutes; ``"auto"`` goes by the device.
    sizes : dict, optional
        Of the network, where they are to differ from the method's.
    start : path or bytes, optional
        A checkpoint to start from.
    validation : dates, optional
        What is held out of training. Default: of image pairs to fuse a quarter, at least one,
        inside the series, and with two pairs a fifth of the columns; of a cube to fill every
        fifth date, whose pixels are shown and never asked for; of a cube to sharpen a quarter of
        its dates, or a fifth of its rows; of three cubes a fifth of the columns.
    mask : DataArray of bool, optional
        True where the first cube is not usable.
    seed : int
        Of the weights and of every draw.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``. Default: a GPU if torch finds one.
    progress : bool
        Show a bar on stderr with the loss and the error on what is held out.
    log : path, optional
        CSV file of the same, a row an epoch.
    resume : bool
        Go on from the state beside `out`, if there is one. False begins anew.
    sensors, data, licence : str
        What the checkpoint says of what it was trained on.
    **more
        Fields of the recipe to change, ``epochs=20, batch=2, patch=64, rate=3e-4`` …, and how the
        verb is to read the cubes, as it takes that itself (``pair_tolerance``, ``coarse_mask``,
        ``guide`` …). Besides, for two cubes to fuse: ``cross=False`` to learn from dates that
        follow each other, instead of from every two in both orders; ``between``, the share of
        patches (0.5) whose target is made up between the two dates, since a network that only saw
        the change of months overdoes that of weeks; ``base`` for what the answer is added to
        (``"delta"``, ``"fine"``, ``"none"``). For a cube to fill: ``prior``, the method that the
        network corrects (``"eof"``, ``"harmonic"`` or ``"linear"``); ``dates``, how many it sees at
        once (6); ``boxes=True`` to hide boxes of noise instead of shapes of real gaps; ``loss``, as
        ``{"mse": 1, "angle": 1, "ssim": 0.1}``.

    Returns
    -------
    Fitted
        The weights with the lowest error on what was held out, the untrained ones included: where
        learning does not pay, the network answers with its base image.

    Raises
    ------
    ValueError, TypeError
        No network of that name, too few pairs, bands that do not match, a state of another
        training.
    ImportError
        Torch or safetensors is not installed, or the device is not there.

    Examples
    --------
    >>> import xstf
    >>> fine, coarse = xstf.testing.scene()
    >>> small = {"epochs": 1, "steps": 1, "patch": 16, "batch": 1}
    >>> fitted = xstf.train.fit("ctstfm", fine, coarse, **small)
    >>> sorted(fitted.scores)
    ['epochs', 'mae', 'mae_untrained', 'seconds']
    """
    record, net = network_of(method)
    make_runner(record, "torch", device)
    place = device_of(device)
    chosen, reading = _split(record, net, recipe, place, more)
    course = _COURSES[record.task](record, *cubes, mask=mask, validation=validation, **reading)
    begun = time.perf_counter()
    torch.manual_seed(seed)
    parts = {**net.sizes, **(sizes or {}), **course.build}
    built = importlib.import_module(f"xstf.nets.{net.module}")
    module = built.build(bands=len(course.bands), **parts)
    if start is not None:
        weights.fill(module, weights.load(start))
    critic = built.build_critic(bands=len(course.bands)) if net.adversarial else None
    study = course.study(chosen, _features(course, chosen, seed, place) if net.features else None)
    state, path = _beside(out, resume)
    mark = {
        "method": record.name, "bands": course.bands, "sizes": parts, "seed": seed,
        "base": course.base, "low": course.low, "high": course.high, "steps": study.steps,
        "reading": {k: v for k, v in reading.items() if isinstance(v, str | int | float | dict)},
    }  # fmt: skip
    done = loop.run(
        module, study, chosen, seed=seed, device=place, critic=critic,
        adversarial=net.adversarial, state=state, log=None if log is None else Path(log),
        mark=mark, progress=progress,
    )  # fmt: skip
    scores = {
        "mae": min(done.maes), "mae_untrained": done.maes[0],
        "seconds": round(time.perf_counter() - begun, 1), "epochs": float(len(done.maes) - 1),
    }  # fmt: skip
    judged = {} if course.judge is None else course.judge(chosen, module, place)
    manifest = weights.Manifest(
        method=record.name, task=record.task, bands=course.bands, sizes=parts, low=course.low,
        high=course.high, base=course.base, ratio=course.ratio, patch=course.side(chosen),
        extra={"held_out": course.held, **course.extra, **judged}, sensors=sensors, data=data,
        licence=licence, scores=scores, version=__version__,
    )  # fmt: skip
    return _finish(module, manifest, scores, done, path, state)


def network_of(method: str | Method) -> tuple[Method, Net]:
    """Return a network's record and its part on the network; raise naming those there are."""
    if isinstance(method, Method):
        record = method
    else:
        task: Task = next((t for t in TASKS if method in method_names(t)), "fuse")
        record = get_method(task, method)
    if record.net is None:
        able = [n for t in TASKS for n in method_names(t) if get_method(t, n).net is not None]
        raise ValueError(f"{record.name} is no network and needs no training; {able} are")
    return record, record.net


def _split(
    record: Method, net: Net, recipe: Any, place: torch.device, more: dict[str, Any]
) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe, and the arguments that say how cubes are read."""
    if isinstance(recipe, str):
        if recipe not in ("auto", "full", "small"):
            raise ValueError(f"recipe must be 'auto', 'full', 'small' or a Recipe, not {recipe!r}")
        full = recipe == "full" or (recipe == "auto" and place.type == "cuda")
        recipe = net.full if full else net.small
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a name or a Recipe, not {type(recipe).__name__}")
    of_recipe = [f.name for f in dataclasses.fields(Recipe)]
    of_reading = READING[record.task]
    unknown = sorted(set(more) - set(of_recipe) - set(of_reading))
    if unknown:
        raise TypeError(
            f"fit has no argument {unknown}; {record.name} takes {of_reading} and fields of the "
            f"recipe, {of_recipe}"
        )
    changes = {k: v for k, v in more.items() if k in of_recipe}
    return dataclasses.replace(recipe, **changes), {
        k: v for k, v in more.items() if k in of_reading
    }


def _beside(out: str | Path | None, resume: bool) -> tuple[Path | None, Path | None]:
    """Return where the state and the checkpoint go; both None where nothing is written."""
    if out is None:
        return None, None
    path = Path(out)
    if path.suffix != ".safetensors":
        raise ValueError(f"out must be a .safetensors file, not {str(out)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
    state = path.with_suffix(".training.safetensors")
    if not resume:
        state.unlink(missing_ok=True)
    return state, path


def _features(course: Course, recipe: Recipe, seed: int, place: torch.device) -> nn.Module:
    """Return an autoencoder of the sharp images, trained and then held, for the loss."""
    net = importlib.import_module("xstf.nets.features").build(bands=len(course.bands))
    short = dataclasses.replace(_FEATURE_RECIPE, patch=recipe.patch)
    if 0 < recipe.epochs * recipe.steps < short.epochs * short.steps:
        short = dataclasses.replace(short, epochs=1, steps=recipe.steps)

    def reconstruct(module: nn.Module, batch: Batch) -> torch.Tensor:
        found: torch.Tensor = module(batch["truth"])
        return found

    def learn(module: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        found = reconstruct(module, batch)
        off = (found - batch["truth"]) ** 2 * batch["valid"]
        return off.sum() / batch["valid"].sum().clamp(min=1), found

    # Only its samples are wanted of the study: what is learned is another thing.
    study = course.study(short, net)
    study = dataclasses.replace(study, learn=learn, estimate=reconstruct)
    loop.run(net, study, short, seed=seed, device=place)
    return net.eval().requires_grad_(False)


def _finish(
    module: nn.Module,
    manifest: Any,
    scores: dict[str, float],
    done: loop.Progress,
    path: Path | None,
    state: Path | None,
) -> Fitted:
    """Write the checkpoint, and clear away the state that led to it."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    if path is not None:
        weights.save(path, tensors, manifest)
    if state is not None:
        state.unlink(missing_ok=True)
    return Fitted(weights.to_bytes(tensors, manifest), path, scores, done.history)
