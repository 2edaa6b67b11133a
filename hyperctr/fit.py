"""The training loop and the evaluation: read `fit` in one sitting.

No callbacks and no trainer: a model that needs another loss returns it as `penalty`, a method that needs rounds calls
`fit` in a for-loop, and whoever calls `fit` does the logging.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from hyperctr import metrics
from hyperctr.batch import Batch
from hyperctr.config import Train


@dataclass
class Progress:
    """How far a training is: everything besides tensors that a resumed one needs."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_auc: float = -math.inf
    stopped: str = ""
    """Why training ended; empty while it goes on."""


def fit(
    model: nn.Module,
    train: Callable[[int], Iterable[Batch]],
    valid: Callable[[], float],
    config: Train,
    folder: Path | None = None,
    log: Callable[[dict], None] = lambda row: None,
) -> Progress:
    """Train with Adam until the validation AUC stops rising; the model ends with the weights of its best epoch.

    Args:
        model: `model(batch) -> Output`.
        train: the batches of an epoch, given its number; the same number gives the same batches.
        valid: the AUC on the validation rows under the model's current weights.
        config: how to train.
        folder: keeps a checkpoint an epoch; a training that finds one continues, to the same result as an unbroken one.
        log: called once an epoch with epoch, loss, valid_auc.

    Raises:
        FloatingPointError: a loss that is not finite; names epoch and step.
    """
    model.eval()
    adam = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    progress, best = Progress(), {}
    if folder is not None and (folder / "checkpoint.safetensors").exists():
        progress, best = _load_checkpoint(folder, model, adam)
    while not progress.stopped:
        epoch = progress.epoch + 1
        torch.manual_seed(config.seed * 100_003 + epoch)  # dropout; an epoch repeats whether resumed or not
        model.train()
        loss_sum, rows = 0.0, 0
        for step, batch in enumerate(train(epoch), 1):
            out = model(batch)
            loss = F.binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch}, step {step}; lower train.lr")
            adam.zero_grad()
            loss.backward()
            _decay(model, config.l2)
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            adam.step()
            loss_sum, rows = loss_sum + loss.item() * len(batch), rows + len(batch)
        model.eval()
        score = valid()
        if score > progress.best_auc:
            best = {name: x.clone() for name, x in model.state_dict().items()}
            progress = replace(progress, best_epoch=epoch, best_auc=score)
        progress = replace(progress, epoch=epoch)
        if epoch - progress.best_epoch >= config.patience:
            progress = replace(progress, stopped=f"no gain for {config.patience} epochs")
        elif epoch >= config.epochs:
            progress = replace(progress, stopped=f"all {config.epochs} epochs done")
        log({"epoch": epoch, "loss": loss_sum / max(rows, 1), "valid_auc": score, "best_epoch": progress.best_epoch})
        if folder is not None:
            _save_checkpoint(folder, model, adam, progress, best)
    model.load_state_dict(best)
    model.eval()
    return progress


@torch.no_grad()
def score(model: nn.Module, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Logits of all rows, beside what they are of: user, item, time, label, logit, each [n]."""
    model.eval()
    columns: dict[str, list] = {name: [] for name in ("user", "item", "time", "label", "logit")}
    for batch in batches:
        for name in ("user", "item", "time", "label"):
            columns[name].append(getattr(batch, name).numpy())
        columns["logit"].append(model(batch).logit.numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def evaluate(scored: dict[str, np.ndarray], warm: np.ndarray | None = None) -> dict[str, float]:
    """Every metric of a set of scored rows (see `metrics`); `warm` marks rows whose user and item had training rows."""
    label, logit = scored["label"], scored["logit"]
    area, half = metrics.auc(label, logit), metrics.auc_interval(label, logit)
    weighted, plain, counted, skipped = metrics.user_auc(label, logit, scored["user"])
    report = {
        "auc": area,
        "auc_low": area - half,
        "auc_high": area + half,
        "user_auc": weighted,
        "user_auc_plain": plain,
        "users_counted": counted,
        "users_skipped": skipped,
        "logloss": metrics.logloss(label, logit),
        "logloss_1to1": metrics.balanced_logloss(label, logit),
        "rows": len(label),
        "positives": int(label.sum()),
    }
    if warm is not None:
        report["warm_share"] = float(warm.mean())
        both = len(np.unique(label[warm])) == 2
        report["warm_auc"] = metrics.auc(label[warm], logit[warm]) if both else math.nan
    return report


def _decay(model: nn.Module, l2: float) -> None:
    """Add l2 times the weight to its gradient: matrices only, and only rows that this step touched."""
    if not l2:
        return
    for p in model.parameters():
        if p.grad is not None and p.ndim == 2:
            touched = (p.grad != 0).any(1, keepdim=True)
            p.grad.add_(touched * p.detach(), alpha=l2)


def _save_checkpoint(folder: Path, model: nn.Module, adam: torch.optim.Adam, progress: Progress, best: dict) -> None:
    """Weights, best weights and Adam's moments in one file, written beside its name and moved into place."""
    tensors = {f"model.{name}": x for name, x in model.state_dict().items()}
    tensors |= {f"best.{name}": x for name, x in best.items()}
    for number, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{key}": x for key, x in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "checkpoint.safetensors.part"
    tensors = {name: x.detach().contiguous().clone() for name, x in tensors.items()}
    save_file(tensors, beside, metadata={"progress": json.dumps(vars(progress))})
    os.replace(beside, folder / "checkpoint.safetensors")


def _load_checkpoint(folder: Path, model: nn.Module, adam: torch.optim.Adam) -> tuple[Progress, dict]:
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
    tensors = load_file(path)

    def part(prefix: str) -> dict:
        return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    state: dict[int, dict] = {}
    for name, x in part("adam.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = x
    adam.load_state_dict({**adam.state_dict(), "state": state})
    return progress, part("best.")
