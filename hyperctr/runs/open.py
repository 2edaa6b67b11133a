"""Open a finished run: its settings, data and model with the best weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from hyperctr import config
from hyperctr.batch import Batch
from hyperctr.runs import report as reports
from hyperctr.runs.prepare import Prepared, build_model, prepare
from hyperctr.runs.train import sources_of


@dataclass(frozen=True)
class Opened:
    """A finished run: its settings, data, model with the best weights, and report."""

    prepared: Prepared
    model: nn.Module
    report: dict[str, Any]

    def predict(self, user: np.ndarray, item: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Predict click probabilities of (user, item, time) by the data set's own ids; unknown ids count as new ones.

        Args:
            user, item: original ids, [n]. at: seconds, [n]; only events strictly before it are used.

        Returns:
            Probabilities, float32 [n]; no rows give none.
        """
        user, item, at = np.asarray(user), np.asarray(item), np.asarray(at, np.int64)
        data = self.prepared.dataset
        users, items = data.user_ids.numbers(user), data.item_ids.numbers(item)
        logits = []
        for start in range(0, len(users), 4096):
            rows = slice(start, start + 4096)
            count = len(users[rows])
            batch = self.prepared.loader.make_batch(
                users[rows], items[rows], at[rows], np.zeros(count, np.float32), np.arange(count)
            )
            with torch.no_grad():
                logits.append(self.model(batch).logit)
        return torch.sigmoid(torch.cat(logits)).numpy() if logits else np.empty(0, np.float32)


def open_run(path: str | Path) -> Opened:
    """Open a finished run's folder: reads its data again and loads its weights.

    Raises:
        ValueError: the folder is not a finished run, or its weights do not fit the data they are opened with.

    >>> import hyperctr
    >>> from hyperctr.data import planted
    >>> _ = planted.write("drift", "world", scale=0.02)
    >>> run = hyperctr.read_run({"data": {"path": "world"}, "model": {"name": "din"}, "train": {"epochs": 1}})
    >>> _ = hyperctr.train(run, "runs/din")
    >>> opened = hyperctr.open_run("runs/din")
    >>> opened.predict(user=[0, 1], item=[3, 3], at=[1_800_000_000] * 2).shape
    (2,)
    """
    path = Path(path)
    missing = [name for name in ("run.toml", "report.json", "weights.safetensors") if not (path / name).exists()]
    if missing:
        hint = "; it has a checkpoint: continue it with `hyperctr train`" if list(path.glob("checkpoint*")) else ""
        raise ValueError(f"{path} is not a finished run, it lacks {', '.join(missing)}{hint}")
    run = config.read_run(path / "run.toml")
    ready = prepare(run, out=path)
    model = build_model(ready)
    weights = load_file(path / "weights.safetensors")
    found = {name: list(x.shape) for name, x in model.state_dict().items()}
    held = {name: list(x.shape) for name, x in weights.items()}
    for name in found | held:
        if found.get(name) != held.get(name):
            says = f"weight {name} is {held.get(name)}, the data asks for {found.get(name)}"
            raise ValueError(f"{path}: {says}; has it changed?")
    model.load_state_dict(weights)
    report = reports.read(path)
    for name, now in sources_of(run).items():
        if report.get("sources", {}).get(name) != now:
            warnings.warn(f"{name} is not the source that {path} was trained with; scores may differ", stacklevel=2)
    return Opened(ready, model.eval(), report)


def request(
    ready: Prepared,
    user: int,
    items: Sequence[int],
    at: int | None = None,
    context: Mapping[str, int] | None = None,
) -> Batch:
    """Make the batch of one query: a user and candidates, by number.

    Args:
        ready: what the model was built from.
        user, items: their numbers, [C] items.
        at: seconds. None: right after the last event of the log.
        context: number of each logged column that is known, by name; the others are unknown.

    Raises:
        ValueError: a column that the model does not read, or a number that it does not have.
    """
    log, sizes = ready.dataset.interactions, ready.tables.fields.context.sizes
    logged = [name for name in log.context_names if name in sizes] if log.logged_non_clicks else []
    given = dict(context or {})
    for name, value in given.items():
        if name not in logged:
            raise ValueError(f"there is no context column {name!r} to give; there are {', '.join(logged) or 'none'}")
        if not 0 <= value < sizes[name]:
            raise ValueError(f"context {name} must lie in [0, {sizes[name]}), got {value}")
    at = int(log.time[-1]) + 1 if at is None else int(at)
    zeros = np.zeros(len(items), np.int64)
    row = np.array([given.get(name, -1) for name in logged], np.int64)
    columns = np.tile(row, (len(items), 1)) if logged else None
    return ready.loader.make_batch(np.array([user]), np.array(items, np.int64), np.array([at]), zeros, zeros, columns)
