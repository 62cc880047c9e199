"""`fit`: labelled cubes in, a checkpoint out."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import xarray as xr
from torch import nn

from xstf import weights
from xstf._method import TASKS, Method, Task
from xstf._recipe import Net, Recipe
from xstf._version import __version__
from xstf.cubes.arrays import Guides
from xstf.cubes.pairs import DateLike
from xstf.methods.lookup import get_method, method_names
from xstf.tiles.engines import make_runner
from xstf.train import fuse, gapfill, loop, sharpen_spectral, sts
from xstf.train.task import Batch, TrainingTask
from xstf.weights.running import device_of

# An autoencoder for a loss of features is trained for so many steps of so many patches.
_FEATURE_RECIPE = Recipe(epochs=4, steps=50, batch=4, rate=1e-3, schedule="cosine")

RecipeLike: TypeAlias = Literal["auto", "full", "small"] | Recipe


class Reader(NamedTuple):
    """How a task reads labelled cubes.

    Parameters
    ----------
    training_task
        ``training_task(record, *cubes, mask=, validation=, options=, **cubes_by_name)``.
    options
        The record of its options.
    by_name
        Cubes that it takes by name.
    """

    training_task: Callable[..., TrainingTask]
    options: type[Any]
    by_name: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """What `fit` passes on to it."""
        return (*self.by_name, *(f.name for f in dataclasses.fields(self.options)))


READERS: dict[Task, Reader] = {
    "fuse": Reader(fuse.training_task, fuse.FuseOptions),
    "gapfill": Reader(gapfill.training_task, gapfill.GapfillOptions, ("sar", "guide")),
    "sharpen_spectral": Reader(sharpen_spectral.training_task, sharpen_spectral.SharpenOptions),
    "sts": Reader(sts.training_task, sts.StsOptions, ("spatial",)),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network.

    Parameters
    ----------
    checkpoint
        Content of a checkpoint file.
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
    *cubes: Guides | Sequence[Guides] | None,
    out: str | Path | None = None,
    recipe: RecipeLike = "auto",
    sizes: Mapping[str, object] | None = None,
    start: str | Path | bytes | None = None,
    validation: DateLike | None = None,
    mask: xr.DataArray | Sequence[xr.DataArray] | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
    log: str | Path | None = None,
    resume: bool = True,
    sensors: str = "",
    data: str = "",
    licence: str = "",
    **more: object,
) -> Fitted:
    """Return a trained network, for the ``weights=`` of the verb that its method serves.

    Parameters
    ----------
    method : str or Method
        A network's name.
    *cubes : DataArray or Dataset of bands
        As the verb takes them: `fine` and `coarse` for :func:`xstf.fuse`, at least two fine images
        with a coarse one of their date, and ``spatial=`` for its third; `cube` and ``sar=``, one
        radar cube or several in a list or dict, for :func:`xstf.gapfill`, or a list of cubes and a
        list as long of what each has of ``sar=``; `spectral` and `spatial` for
        :func:`xstf.sharpen_spectral`.
    out : path, optional
        ``.safetensors`` file for the checkpoint. Beside it lies, until training is done, the state
        to resume from (``.training.safetensors``, and ``.features.safetensors`` where the loss
        needs an autoencoder), written every two minutes and after every epoch.
    recipe : {"auto", "full", "small"} or Recipe
        The method's for a GPU or for a processor with minutes; ``"auto"`` goes by the device.
    sizes : dict, optional
        Of the network, where they differ from the method's.
    start : path or bytes, optional
        A checkpoint to start from.
    validation : dates, optional
        What is held out of training. Default: of image pairs to fuse a quarter, at least one,
        inside the series, and with two pairs a fifth of the columns; of a cube to fill every
        fifth date, whose pixels are inputs and never targets; of a cube to sharpen a quarter of
        its dates, or a fifth of its rows; of three cubes a fifth of the columns.
    mask : DataArray of bool, optional
        True where the first cube is not usable.
    seed : int
        Of the weights and of every draw.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``. Default: a GPU if torch finds one.
    progress : bool
        Show a bar of steps on stderr, with the loss and the error on what is held out.
    log : path, optional
        CSV file of the same, a row an epoch.
    resume : bool
        Go on from the state beside `out`, if there is one. False begins anew.
    sensors, data, licence : str
        Of the training data, for the checkpoint.
    **more
        Fields of the recipe to change, ``epochs=20, batch=2, patch=64, rate=3e-4`` …, and how the
        cubes are read, as the verb takes that itself (``pair_tolerance``, ``coarse_mask``,
        ``guide`` …). Besides, for two cubes to fuse: ``cross=False`` to learn from dates that
        follow each other, instead of from every two in both orders; ``between``, the share of
        patches (0.5) whose target is interpolated between the two dates, since a network that only
        saw the change of months overestimates that of weeks; ``base``, the image that the answer is
        added to (``"delta"``, ``"fine"``, ``"none"``). For a cube to fill: ``prior``, the method
        that the network corrects (``"eof"``, ``"harmonic"`` or ``"linear"``); ``dates``, how many
        it sees at once (6); ``boxes=True`` to mask boxes of noise instead of shapes of real gaps;
        ``loss``, as ``{"mse": 1, "angle": 1, "ssim": 0.1}``. For three cubes: ``scale``, of the
        labels (``"native"`` or ``"reduced"``).

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
    processor = device_of(device)
    chosen, reading = _arguments(record, net, recipe, processor, more)
    task = _training_task(record, cubes, mask, validation, reading)
    begun = time.perf_counter()
    torch.manual_seed(seed)
    parts = {**net.sizes, **(sizes or {}), **task.build}
    module, adversary = _build(net, task, parts, start)
    files = _files(out, resume)
    mark = {
        "method": record.name, "bands": task.bands, "sizes": parts, "seed": seed,
        "base": task.base, "low": task.low, "high": task.high,
        "reading": {k: v for k, v in reading.items() if isinstance(v, str | int | float | dict)},
    }  # fmt: skip
    features = None
    if net.features:
        keeping = loop.Keeping(state=files.features, mark=mark, progress=progress)
        features = _features(task, chosen, seed, processor, keeping)
    supervision = task.supervise(chosen, features)
    keeping = loop.Keeping(
        state=files.state, log=None if log is None else Path(log),
        mark={**mark, "steps": supervision.steps}, progress=progress,
    )  # fmt: skip
    done = loop.run(
        module, supervision, chosen, seed=seed, device=processor, adversary=adversary,
        keeping=keeping,
    )  # fmt: skip
    scores = {
        "mae": min(done.maes), "mae_untrained": done.maes[0],
        "seconds": round(time.perf_counter() - begun, 1), "epochs": float(len(done.maes) - 1),
    }  # fmt: skip
    found = {} if task.finish is None else task.finish(chosen, module, processor)
    manifest = weights.Manifest(
        method=record.name, task=record.task, bands=task.bands, sizes=parts, low=task.low,
        high=task.high, base=task.base, ratio=task.ratio, patch=task.side(chosen),
        extra={"held_out": task.held_out_text, **task.extra, **found}, sensors=sensors, data=data,
        licence=licence, scores=scores, version=__version__,
    )  # fmt: skip
    return _finish(module, manifest, done, files)


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


def _arguments(
    record: Method,
    net: Net,
    recipe: RecipeLike,
    device: torch.device,
    more: Mapping[str, object],
) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe, and the arguments that say how cubes are read."""
    if isinstance(recipe, str):
        if recipe not in ("auto", "full", "small"):
            raise ValueError(f"recipe must be 'auto', 'full', 'small' or a Recipe, not {recipe!r}")
        full = recipe == "full" or (recipe == "auto" and device.type == "cuda")
        recipe = net.full if full else net.small
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a name or a Recipe, not {type(recipe).__name__}")
    of_recipe = [f.name for f in dataclasses.fields(Recipe)]
    of_reading = READERS[record.task].arguments
    unknown = sorted(set(more) - set(of_recipe) - set(of_reading))
    if unknown:
        raise TypeError(
            f"fit has no argument {unknown}; {record.name} takes {of_reading} and fields of the "
            f"recipe, {of_recipe}"
        )
    changes: dict[str, Any] = {k: v for k, v in more.items() if k in of_recipe}
    reading = {k: v for k, v in more.items() if k in of_reading}
    return dataclasses.replace(recipe, **changes), reading


def _training_task(
    record: Method,
    cubes: tuple[Guides | Sequence[Guides] | None, ...],
    mask: xr.DataArray | Sequence[xr.DataArray] | None,
    validation: DateLike | None,
    reading: Mapping[str, object],
) -> TrainingTask:
    """Return what the method's task makes of the cubes."""
    reader = READERS[record.task]
    by_name = {k: v for k, v in reading.items() if k in reader.by_name}
    options = reader.options(**{k: v for k, v in reading.items() if k not in by_name})
    return reader.training_task(
        record, *cubes, mask=mask, validation=validation, options=options, **by_name
    )


def _build(
    net: Net,
    task: TrainingTask,
    parts: Mapping[str, object],
    start: str | Path | bytes | None,
) -> tuple[nn.Module, loop.Adversary | None]:
    """Return the network, and its adversary if it is trained against one."""
    built = importlib.import_module(f"xstf.nets.{net.module}")
    module = built.build(bands=len(task.bands), **parts)
    if start is not None:
        weights.fill(module, weights.load(start))
    if not net.adversarial:
        return module, None
    return module, loop.Adversary(built.build_critic(bands=len(task.bands)), net.adversarial)


class Files(NamedTuple):
    """Where a training writes; all None where nothing is written.

    Parameters
    ----------
    path
        The checkpoint.
    state, features
        What is resumed from, and the same of the autoencoder that the loss needs.
    """

    path: Path | None = None
    state: Path | None = None
    features: Path | None = None

    def drop_states(self) -> None:
        """Remove what a training is resumed from."""
        for file in (self.state, self.features):
            if file is not None:
                file.unlink(missing_ok=True)


def _files(out: str | Path | None, resume: bool) -> Files:
    """Return where a training writes, the place checked."""
    if out is None:
        return Files()
    path = Path(out)
    if path.suffix != ".safetensors":
        raise ValueError(f"out must be a .safetensors file, not {str(out)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
    states = (path.with_suffix(f".{kind}.safetensors") for kind in ("training", "features"))
    files = Files(path, *states)
    if not resume:
        files.drop_states()
    return files


def _features(
    task: TrainingTask, recipe: Recipe, seed: int, device: torch.device, keeping: loop.Keeping
) -> nn.Module:
    """Return an autoencoder of the fine images, trained and then fixed, for the loss.

    Its state stays until the network that it teaches is done: a training that is resumed learns
    from the same features.
    """
    net = importlib.import_module("xstf.nets.features").build(bands=len(task.bands))
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

    # The samples are those of the task; what is learned from them is another thing.
    supervision = task.supervise(short, net)
    supervision = dataclasses.replace(supervision, learn=learn, estimate=reconstruct)
    loop.run(net, supervision, short, seed=seed, device=device, keeping=keeping)
    return net.eval().requires_grad_(False)


def _finish(
    module: nn.Module, manifest: weights.Manifest, done: loop.Progress, files: Files
) -> Fitted:
    """Write the checkpoint, and remove the states that led to it."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    if files.path is not None:
        weights.save(files.path, tensors, manifest)
    files.drop_states()
    checkpoint = weights.to_bytes(tensors, manifest)
    return Fitted(checkpoint, files.path, manifest.scores, done.history)
