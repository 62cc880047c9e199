"""The one training loop: any network, any kind of sample, with or without an adversary."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xstf import weights
from xstf._recipe import Recipe
from xstf.train import losses
from xstf.train.task import Batch, Supervision
from xstf.weights.running import on_device

_LAST_RATE = 0.01  # of a cosine schedule, as a share of the first
_EVERY = 120.0  # seconds of steps after which the state is written within an epoch
_COLUMNS = ("epoch", "seconds", "rate", "loss", "mae")


@dataclass(kw_only=True)
class Progress:
    """How far a training has come; what is resumed from.

    Parameters
    ----------
    history
        One row an epoch; the first is of the untrained network.
    best
        Weights with the lowest error on what was held out.
    step, total, seconds
        Of an epoch that is not over: steps that are done, the sum of their losses, and what they
        took.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    total: float = 0.0
    seconds: float = 0.0

    @property
    def maes(self) -> list[float]:
        """Errors on what was held out, an epoch each."""
        return [row["mae"] for row in self.history]

    def stale(self) -> int:
        """Return how many epochs passed since the best one."""
        return len(self.maes) - 1 - int(np.argmin(self.maes))


class Adversary(NamedTuple):
    """A network that tells estimates from truth, and the weight of its term in the loss."""

    critic: nn.Module
    weight: float


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What a training leaves on its way.

    Parameters
    ----------
    state
        File to resume from if it exists, written after every epoch, and every two minutes of one.
    log
        CSV file, a row an epoch.
    mark
        What identifies this training, as JSON; the state of another is refused.
    progress
        Show a bar on stderr.
    """

    state: Path | None = None
    log: Path | None = None
    mark: Mapping[str, object] = field(default_factory=dict)
    progress: bool = False


def run(
    net: nn.Module,
    supervision: Supervision,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    adversary: Adversary | None = None,
    keeping: Keeping | None = None,
) -> Progress:
    """Train a network; it is left with the weights that were best on what was held out.

    Parameters
    ----------
    net
        The network.
    supervision, recipe
        What is learned from, and how.
    seed
        Of every draw. One seed, one machine and one number of threads give one result, also if
        the training was interrupted.
    device
        Where to train; on a GPU in bfloat16 where torch thinks it safe.
    adversary
        For a network that is trained against one.
    keeping
        What is written and shown.
    """
    keeping = keeping or Keeping()
    state, log = keeping.state, keeping.log
    trainer = _Trainer(net, recipe, supervision, adversary, device)
    done = Progress()
    if state is not None and state.exists():
        trainer.restore(state, done, keeping.mark)
        _write_log(log, done.history)  # a kill may have come between its row and the state
    if not done.history:
        _note(done, trainer, 0, math.nan, 0.0, log)
    behind = (len(done.history) - 1) * trainer.steps + done.step
    with _Bar(recipe.epochs * trainer.steps, behind, keeping.progress) as bar:
        for epoch in range(len(done.history), recipe.epochs + 1):
            if recipe.patience and done.stale() >= recipe.patience:
                break
            loss, seconds = _epoch(trainer, done, epoch, seed, keeping, bar)
            _note(done, trainer, epoch, loss, seconds, log)
            if state is not None:
                trainer.keep(state, done, keeping.mark)
    net.load_state_dict(done.best)
    return done


def _epoch(
    trainer: _Trainer, done: Progress, epoch: int, seed: int, keeping: Keeping, bar: _Bar
) -> tuple[float, float]:
    """Run one epoch, or what is left of it; return its mean loss and its seconds."""
    trainer.net.train()
    start = kept = time.perf_counter()
    already = done.seconds
    for step in range(done.step, trainer.steps):
        done.total += trainer.step(epoch, step, seed, done.maes)
        done.step = step + 1
        now = time.perf_counter()
        done.seconds = already + now - start
        bar.show(done.total / done.step, done.maes[-1])
        if keeping.state is not None and now - kept >= _EVERY:
            trainer.keep(keeping.state, done, keeping.mark)
            kept = now
    found = done.total / trainer.steps, done.seconds
    done.step, done.total, done.seconds = 0, 0.0, 0.0
    return found


def _note(
    done: Progress,
    trainer: _Trainer,
    epoch: int,
    loss: float,
    seconds: float,
    log: Path | None,
) -> None:
    """Validate, keep the weights if they are the best, and write a row of the log."""
    start = time.perf_counter()
    mae = validate(trainer.kept, trainer.supervision, trainer.device)
    row = {
        "epoch": float(epoch), "seconds": round(seconds + time.perf_counter() - start, 3),
        "rate": trainer.rate, "loss": loss, "mae": mae,
    }  # fmt: skip
    if not done.history or mae < min(done.maes):
        done.best = {k: v.detach().cpu().clone() for k, v in trainer.kept.state_dict().items()}
    done.history.append(row)
    _write_log(log, done.history)


def _write_log(log: Path | None, history: Sequence[Mapping[str, float]]) -> None:
    """Write the log anew: as many rows as epochs are known, also after a kill."""
    if log is None:
        return
    with log.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in history)


def validate(net: nn.Module, supervision: Supervision, device: torch.device) -> float:
    """Return the mean absolute error on what was held out, in the units of the cubes."""
    net.eval()
    if supervision.score is not None:
        return supervision.score(net, device)
    off = count = 0.0
    span = supervision.span.to(device)[:, None, None]
    with torch.inference_mode(), _precision(device):
        for batch in supervision.held_out():
            here = _on(batch, device)
            error = (supervision.estimate(net, here).float() - here["truth"]).abs() * span
            valid = here["valid"].bool()
            off += float(torch.where(valid, error, 0).sum())
            count += float(valid.sum())
    if not count:
        raise ValueError("nothing that is held out is clear; name other dates with validation=")
    return off / count


class _Trainer:
    """The networks and their optimisers between two steps."""

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        supervision: Supervision,
        adversary: Adversary | None,
        device: torch.device,
    ) -> None:
        self.net = on_device(net, device)
        self.recipe, self.supervision, self.device = recipe, supervision, device
        self.steps = recipe.steps or supervision.steps
        self.optimisers = [_optimiser(net, recipe)]
        self.adversary = adversary
        if adversary is not None:
            on_device(adversary.critic, device)
            self.optimisers.append(_optimiser(adversary.critic, recipe))
        # What is validated and kept: the running mean of the weights, if there is one.
        self.kept = copy.deepcopy(net) if recipe.average else net
        self.rate = 0.0

    def step(self, epoch: int, step: int, seed: int, maes: Sequence[float]) -> float:
        """Take one step of an epoch, counted from 0; return its loss."""
        # Draws depend on the step alone: a resumed training sees what an unbroken one would.
        rng = np.random.default_rng([seed, epoch, step])
        torch.manual_seed(int(rng.integers(2**62)))
        done = ((epoch - 1) * self.steps + step) / (self.recipe.epochs * self.steps)
        self.rate = rate(self.recipe, done, maes)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate
        loss = self._step(_on(self.supervision.draw(rng), self.device))
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss left the numbers in epoch {epoch}; train with a lower rate than "
                f"{self.recipe.rate:g}"
            )
        return loss

    def _step(self, batch: Batch) -> float:
        with _precision(self.device):
            loss, estimate = self.supervision.learn(self.net, batch)
            if self.adversary is not None:
                # Only the network learns from this, not the critic.
                critic = self.adversary.critic.requires_grad_(False)
                scores = critic(estimate, batch["condition"])
                loss = loss + self.adversary.weight * losses.least_squares_generator(scores)
                critic.requires_grad_(True)
        self._descend(self.net, self.optimisers[0], loss)
        if self.adversary is not None:
            self._step_critic(self.adversary.critic, batch, estimate.detach())
        if self.recipe.average:
            self._average()
        return float(loss.detach())

    def _step_critic(self, critic: nn.Module, batch: Batch, fake: Tensor) -> None:
        with _precision(self.device):
            # Pixels without truth must not give the estimate away.
            real = torch.where(batch["valid"].bool(), batch["truth"], fake)
            against = losses.least_squares_critic(
                critic(real, batch["condition"]), critic(fake, batch["condition"])
            )
        self._descend(critic, self.optimisers[1], against)

    def _descend(self, net: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), self.recipe.clip)
        optimiser.step()

    @torch.no_grad()
    def _average(self) -> None:
        for mean, new in zip(
            self.kept.state_dict().values(), self.net.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(new, 1 - self.recipe.average)
            else:
                mean.copy_(new)

    def keep(self, path: Path, done: Progress, mark: Mapping[str, object]) -> None:
        """Write everything that going on needs."""
        tensors = {f"best.{k}": v for k, v in done.best.items()}
        for name, net in self._parts().items():
            tensors |= {f"{name}.{k}": v.detach().cpu() for k, v in net.state_dict().items()}
        for n, optimiser in enumerate(self.optimisers):
            for number, found in optimiser.state_dict()["state"].items():
                tensors |= {f"adam{n}.{number}.{k}": v.cpu() for k, v in found.items()}
        notes = {
            "mark": dict(mark), "recipe": asdict(self.recipe), "history": done.history,
            "step": done.step, "total": done.total, "seconds": done.seconds, "rate": self.rate,
        }  # fmt: skip
        weights.save_state(path, tensors, notes)

    def restore(self, path: Path, done: Progress, mark: Mapping[str, object]) -> None:
        """Go on where a training stopped."""
        tensors, notes = weights.load_state(path)
        wanted = json.loads(json.dumps({"mark": dict(mark), "recipe": asdict(self.recipe)}))
        if {k: notes[k] for k in wanted} != wanted:
            raise ValueError(
                f"{path} is the state of another training (method, cubes, sizes or recipe differ); "
                "delete it, or give resume=False or another out="
            )
        done.history[:] = notes["history"]
        done.step, done.total, done.seconds = (notes[k] for k in ("step", "total", "seconds"))
        self.rate = notes["rate"]
        done.best = _under("best", tensors)
        for name, net in self._parts().items():
            net.load_state_dict(_under(name, tensors))
        for n, optimiser in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(f"adam{n}", tensors).items():
                number, name = key.split(".", 1)
                state.setdefault(int(number), {})[name] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})

    def _parts(self) -> dict[str, nn.Module]:
        parts = {"net": self.net}
        if self.adversary is not None:
            parts["critic"] = self.adversary.critic
        if self.recipe.average:
            parts["kept"] = self.kept
        return parts


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, without that beginning."""
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}


def _optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return Adam with decoupled decay on kernels and matrices, not on biases and norms."""
    wide = [p for p in net.parameters() if p.ndim > 1]
    thin = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": wide, "weight_decay": recipe.decay}, {"params": thin, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.rate, betas=recipe.betas)


def rate(recipe: Recipe, done: float, maes: Sequence[float]) -> float:
    """Return the learning rate.

    Parameters
    ----------
    recipe
        Whose schedule.
    done
        Share of all steps that are behind.
    maes
        Errors so far, an epoch each: a plateau depends on nothing else, so a resumed training
        needs no more.
    """
    first = recipe.rate * min(1.0, done / recipe.warmup) if recipe.warmup else recipe.rate
    if recipe.schedule == "cosine":
        return first * (_LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2)
    if recipe.schedule == "plateau":
        wait = max(1, recipe.patience // 3) if recipe.patience else 5
        drops = since = 0
        lowest = math.inf
        for mae in maes:
            since = 0 if mae < lowest else since + 1
            lowest = min(lowest, mae)
            if since >= wait:
                drops, since = drops + 1, 0
        return first * 0.1**drops
    return first


def _on(batch: Batch, device: torch.device) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


class _Bar:
    """A bar of steps on stderr, with the epoch's mean loss and the last error; or nothing."""

    def __init__(self, steps: int, done: int, progress: bool) -> None:
        self._bar: Any = None
        if progress:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=steps, initial=done, unit="step", desc="xstf training")

    def show(self, loss: float, mae: float) -> None:
        """Count a step."""
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.4g}", mae=f"{mae:.4g}", refresh=False)
            self._bar.update()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
