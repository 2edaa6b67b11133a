"""The training loop: read `fit` in one sitting.

There are no callbacks and no trainer. A model that needs another loss returns it as `Output.loss`, or as
`Output.penalty`, which is added to the cross entropy. A method that needs rounds calls `fit` in a for-loop. The caller
of `fit` does the logging.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, device_of
from hyperctr.config import Train
from hyperctr.files import load_tensors, save_tensors
from hyperctr.layers.embedding import IdDropout
from hyperctr.training.optim import clip, coalesce, decay, optimisers
from hyperctr.training.prefetch import prefetched

CHECKPOINT = "checkpoint.safetensors"
REMEDY = "remove it to train from the start"
READ_EVERY = 50  # steps between two looks at losses, each of which makes the host wait for the device


@dataclass
class Progress:
    """The state of a training: everything but tensors that a resumed training needs."""

    epoch: float = 0
    """Epochs done; a fraction if validation comes more often."""
    best_epoch: float = 0
    best_score: float = -math.inf
    """Highest validation score."""
    waited: int = 0
    """Validations since the best."""
    stopped: str = ""
    """Why training ended; empty while it continues."""
    steps: int = 0
    """Steps taken in whole epochs."""
    device: str = ""
    """Kind of device that it was trained on, such as "cuda"; empty where an earlier version did not say."""


def fit(
    model: nn.Module,
    train: Callable[[int], Iterable[Batch]],
    valid: Callable[[], float],
    config: Train,
    rows: int = 0,
    folder: Path | None = None,
    log: Callable[[dict], None] = lambda row: None,
    clock: Callable[[str], AbstractContextManager] = nullcontext,
) -> Progress:
    """Train until the validation score stops rising; the model ends with the weights of its best validation.

    Args:
        model: `model(batch) -> Output`.
        train: the batches of an epoch, given its number; the same number gives the same batches.
        valid: the validation score of the model's current weights; higher is better.
        config: how to train.
        rows: training rows of an epoch, of which `config.eval_every` is a share.
        folder: where a checkpoint is kept per epoch; a training that finds one continues from it, to the same bits.
        log: called after every validation with epoch, loss, score, best_epoch and the model's logs.
        clock: `with clock("forward"):` and so on surrounds each part, see `hyperctr.training.profiler`.

    Raises:
        FloatingPointError: a loss that is not finite; names epoch and step.
        ValueError: the checkpoint is of a training on another kind of device, and `config.device` does not name one.
    """
    model.eval()
    device, decoupled, rounded = device_of(model), config.optimiser == "adamw", config.precision == "bfloat16"
    adams = optimisers(model, config.lr, config.optimiser, config.l2 if decoupled else 0.0)
    ids = IdDropout(model, config.id_dropout)
    progress, best = Progress(device=device.type), {}
    if folder is not None and (folder / CHECKPOINT).exists():
        progress, best = _load_checkpoint(folder, model, adams)
        if config.device == "auto" and progress.device not in ("", device.type):
            raise ValueError(
                f"{folder} was trained on {progress.device}, and here is {device.type}: continue it on this device "
                f"with --device {device.type}, or {REMEDY}"
            )
        progress = replace(progress, device=device.type)

    def validate(at: float, sums: Sums) -> None:
        nonlocal progress, best
        means = sums.means()
        model.eval()
        ids.restore()
        with clock("validation"):
            score, at = valid(), round(at, 6)
        if score > progress.best_score:
            best = {name: x.to("cpu", copy=True) for name, x in model.state_dict().items()}
            progress = replace(progress, best_epoch=at, best_score=score, waited=-1)
        progress = replace(progress, epoch=at, waited=progress.waited + 1)
        if progress.waited >= config.patience:
            progress = replace(progress, stopped=f"no gain for {config.patience} validations")
        elif at >= config.epochs:
            progress = replace(progress, stopped=f"all {config.epochs} epochs done")
        loss = means.pop("loss", math.nan)
        log({"epoch": at, "loss": loss, "score": score, "best_epoch": progress.best_epoch} | means)

    while not progress.stopped:
        epoch = round(progress.epoch) + 1
        torch.manual_seed(config.seed * 100_003 + epoch)  # for dropout: a resumed epoch draws the same numbers
        model.train()
        seen, step, validated, sums, begins = 0, 0, 0.0, Sums(epoch), True
        for step, (_, batch) in enumerate(prefetched(train(epoch), model), 1):
            if begins:  # batches that share a propagation know the same ids
                ids.draw()
            begins = batch.closes_group
            for adam in adams:
                for group in adam.param_groups:
                    group["lr"] = step_size(
                        config, epoch - 1 + min(seen / (rows or math.inf), 1), progress.steps + step
                    )
            with clock("forward"), torch.autocast(device.type, torch.bfloat16, enabled=rounded):
                out = model(batch)
                logit = out.logit.float()
                loss = F.binary_cross_entropy_with_logits(logit, batch.label) if out.loss is None else out.loss
                loss = loss + out.penalty
            with clock("backward"):
                for adam in adams:
                    adam.zero_grad()
                loss.backward()
            with clock("gradients"):
                coalesce(model)
                decay(model, 0.0 if decoupled else config.l2)
                clip(model, config.clip)
            with clock("optimiser"):
                for adam in adams:
                    adam.step()
            sums.add(len(batch), {"loss": loss, **out.logs})
            seen += len(batch.query_row)
            share = math.floor(seen / max(rows, 1) / config.eval_every + 1e-9) * config.eval_every
            # validating inside a group would discard gradients that its batches have not back-propagated yet
            if batch.closes_group and validated < share < 1 - 1e-9:
                validate(epoch - 1 + share, sums)
                validated = share
                if progress.stopped:
                    break
                model.train()
        else:
            validate(epoch, sums)
            progress = replace(progress, steps=progress.steps + step)
            if folder is not None:
                _save_checkpoint(folder, model, adams, progress, best)
    model.load_state_dict(best)
    model.eval()
    return progress


def step_size(config: Train, epochs: float, step: int) -> float:
    """Return the size of a step: `train.lr`, less while training warms up and after the schedule.

    Args:
        config: how to train.
        epochs: epochs done before the step, with the share of the one that goes on.
        step: number of the step, from 1.

    >>> config = Train(lr=0.1, warmup=4, schedule="halved")
    >>> [step_size(config, epochs, step) for epochs, step in ((0, 1), (0.5, 9), (2, 99))]
    [0.025, 0.1, 0.025]
    """
    share = {
        "constant": 1.0,
        "halved": 0.5 ** math.floor(epochs),
        "cosine": 0.5 + 0.5 * math.cos(math.pi * min(epochs / config.epochs, 1.0)),
    }[config.schedule]
    return config.lr * share * (min(1.0, step / config.warmup) if config.warmup else 1.0)


def epochs_done(folder: Path | None) -> float:
    """Return the epochs after which the training in a folder would continue; 0 without a checkpoint.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    if folder is None or not (folder / CHECKPOINT).exists():
        return 0
    return _progress(load_tensors(folder / CHECKPOINT, REMEDY)[1]).epoch


def _progress(texts: dict[str, str]) -> Progress:
    stored = json.loads(texts["progress"])
    if "best_auc" in stored:  # the name that version 0.1 gave the score
        stored["best_score"] = stored.pop("best_auc")
    return Progress(**stored)


class Sums:
    """Means of the loss and of what a model logs, over the steps since the last call of `means`.

    Args:
        epoch: for the message.
    """

    def __init__(self, epoch: int):
        self.epoch, self._step, self._totals, self._unread = epoch, 0, {}, []

    def add(self, rows: int, found: Mapping[str, Tensor | float]) -> None:
        """Add the numbers of a step: its loss counts once per row, every other number once; NaN is left out.

        Raises:
            FloatingPointError: a loss was not finite.
        """
        self._step += 1
        found = {name: x.detach() if isinstance(x, Tensor) else x for name, x in found.items()}
        self._unread.append((self._step, rows, found))
        if len(self._unread) >= READ_EVERY:
            self._read()

    def means(self) -> dict[str, float]:
        """Return the mean of each number by name, and start again at zero."""
        self._read()
        totals, self._totals = self._totals, {}
        return {name: total / count for name, (total, count) in totals.items()}

    def _read(self) -> None:
        """Read all numbers from the device at once, and add them up."""
        unread, self._unread = self._unread, []
        tensors = [x for _, _, found in unread for x in found.values() if isinstance(x, Tensor)]
        values = iter(torch.stack(tensors).tolist() if tensors else ())
        for step, rows, found in unread:
            for name, x in found.items():
                value, count = (next(values) if isinstance(x, Tensor) else x), (rows if name == "loss" else 1)
                if name == "loss" and not math.isfinite(value):
                    raise FloatingPointError(
                        f"the loss became {value} in epoch {self.epoch}, step {step}; lower train.lr"
                    )
                if not math.isnan(value):
                    total, number = self._totals.get(name, (0.0, 0))
                    self._totals[name] = total + value * count, number + count


def _save_checkpoint(
    folder: Path, model: nn.Module, adams: list[torch.optim.Optimizer], progress: Progress, best: dict
) -> None:
    """Write weights, best weights and the moments of Adam to one file."""
    tensors = {f"model.{name}": x for name, x in model.state_dict().items()}
    tensors |= {f"best.{name}": x for name, x in best.items()}
    for k, adam in enumerate(adams):
        for number, state in adam.state_dict()["state"].items():
            tensors |= {f"adam.{k}.{number}.{key}": x for key, x in state.items()}
    tensors = {name: x.detach().clone() for name, x in tensors.items()}
    save_tensors(folder / CHECKPOINT, tensors, {"progress": json.dumps(vars(progress))})


def _load_checkpoint(folder: Path, model: nn.Module, adams: list[torch.optim.Optimizer]) -> tuple[Progress, dict]:
    tensors, texts = load_tensors(folder / CHECKPOINT, REMEDY)
    progress = _progress(texts)

    def part(prefix: str) -> dict:
        return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    for k, adam in enumerate(adams):
        state: dict[int, dict] = {}
        for name, x in part(f"adam.{k}.").items():
            number, key = name.split(".", 1)
            state.setdefault(int(number), {})[key] = x
        adam.load_state_dict({**adam.state_dict(), "state": state})
    return progress, part("best.")
