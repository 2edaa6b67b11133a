"""Open a finished run: its settings, data and model with the best weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike
from torch import nn

from hyperctr.batch import Batch, Referee, mover
from hyperctr.data import clock
from hyperctr.data.columns import Column, Number
from hyperctr.data.interactions import Interactions
from hyperctr.data.parse import count_rows
from hyperctr.files import load_tensors
from hyperctr.runs import fingerprint
from hyperctr.runs import report as reports
from hyperctr.runs.digest import read_written
from hyperctr.runs.prepare import Prepared, build_model, prepare, read_dataset
from hyperctr.runs.referees import fit_again
from hyperctr.runs.train import sources_of
from hyperctr.strict import did_you_mean
from hyperctr.training.device import find_device


@dataclass(frozen=True)
class Opened:
    """A finished run: its settings, data, model with the best weights, and report."""

    prepared: Prepared
    model: nn.Module
    report: dict[str, Any]

    def predict(
        self, user: ArrayLike, item: ArrayLike, at: ArrayLike, context: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Predict click probabilities of rows, by the data set's own ids and values.

        Rows that evaluation scored get the scores of evaluation: bit for bit in its order, else within rounding.

        Args:
            user, item: original ids, [n]; unknown ids count as new ones.
            at: times, [n]; only events strictly before them are used. Seconds since 1970 (whole numbers or float64, to
                the microsecond), numpy datetime64 or `datetime`; positions in data without times.
            context: values of the context columns by name, [n] each, as in the data set. A column that the model reads
                and that is absent here is unknown; a warning says so.

        Returns:
            Probabilities, float32 [n]; no rows give none.

        Raises:
            ValueError: what cannot be a time, see `hyperctr.data.clock.moments`.
        """
        found, notes = predict_rows(self, user, item, at, context)
        data = self.prepared.dataset
        for ids, wanted in ((data.user_ids, user), (data.item_ids, item)):
            if new := int((ids.numbers(wanted) == len(ids.ids)).sum()):
                whose = {"user": "a user", "item": "an item"}[ids.kind]
                notes.append(f"{count_rows(new)} with the id of {whose} that is not in the data set; scored as new")
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return found


def open_run(path: str | Path, changed_data: bool = False, device: str = "cpu") -> Opened:
    """Open a finished run's folder: reads its data again and loads its weights. A referee is fitted again.

    Args:
        path: the folder.
        changed_data: accept data that are not those that the run was trained on.
        device: where the model scores, as `train.device`; the CPU, wherever it was trained.

    Raises:
        ValueError: the folder is not a finished run, a file of it is damaged, its data have changed, its weights do not
            fit them, or there is no such device.

    >>> import hyperctr
    >>> from hyperctr.data import planted
    >>> _ = planted.write("drift", "world", scale=0.02)
    >>> run = hyperctr.read_run({"data": {"path": "world"}, "model": {"name": "din"}, "train": {"epochs": 1}})
    >>> _ = hyperctr.train(run, "runs/din")
    >>> opened = hyperctr.open_run("runs/din")
    >>> opened.predict(user=[0, 1], item=[3, 3], at=[1_800_000_000] * 2).shape
    (2,)
    """
    path, where = Path(path), find_device(device)
    missing = [name for name in ("run.toml", "report.json", "weights.safetensors") if not (path / name).exists()]
    if missing:
        hint = "; it has a checkpoint: continue it with `hyperctr train`" if list(path.rglob("checkpoint*")) else ""
        raise ValueError(f"{path} is not a finished run, it lacks {', '.join(missing)}{hint}")
    run = fingerprint.located(read_written(path / "run.toml"), path)
    report, dataset = reports.read(path), read_dataset(run)
    fingerprint.check(path, fingerprint.fingerprint(dataset), changed_data)
    ready = prepare(run, dataset, out=path)
    model = build_model(ready)
    weights, _ = load_tensors(path / "weights.safetensors", "train the run again")
    found = {name: list(x.shape) for name, x in model.state_dict().items()}
    held = {name: list(x.shape) for name, x in weights.items()}
    for name in found | held:
        if found.get(name) != held.get(name):
            says = f"weight {name} is {held.get(name)}, the data asks for {found.get(name)}"
            raise ValueError(f"{path}: {says}; has it changed?")
    model.load_state_dict(weights)
    if isinstance(model, Referee):
        fit_again(ready, model)
    else:
        model.to(where)
    for name, now in sources_of(run).items():
        if report.get("sources", {}).get(name) != now:
            warnings.warn(f"{name} is not the source that {path} was trained with; scores may differ", stacklevel=2)
    return Opened(ready, model.eval(), report)


def predict_rows(
    opened: Opened,
    user: ArrayLike,
    item: ArrayLike,
    at: ArrayLike,
    context: Mapping[str, Any] | None = None,
    query: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Predict as `Opened.predict` does, and return notes on the context instead of warnings.

    Args:
        query: number of the query that each row belongs to, [n]: consecutive rows of one number, user and time were
            scored together. None: rows of logged non-clicks are queries of their own; otherwise consecutive rows of one
            user and time are one query, as a click and its drawn negatives.
    """
    ready = opened.prepared
    data = ready.dataset
    at = clock.moments(at, data.interactions.has_time)
    users, items = data.user_ids.numbers(user), data.item_ids.numbers(item)
    table, notes = _given(ready, context or {}, len(users))
    new = np.ones(len(users), bool)
    if query is not None or ready.draws:
        keys = (users, items * 0 if query is None else np.asarray(query), at)
        new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    loader, logits, move = ready.loader.reading(table), [], mover(opened.model)
    first = np.flatnonzero(new)
    for start in range(0, len(first), ready.queries):
        queries = first[start : start + ready.queries]
        end = first[start + ready.queries] if start + ready.queries < len(first) else len(users)
        rows = np.arange(queries[0], end)
        number = np.cumsum(new[rows]) - 1
        label = np.zeros(len(rows), np.float32)
        batch = loader.make_batch(users[queries], items[rows], at[queries], label, number, rows)
        with torch.no_grad():
            logits.append(opened.model(move(batch)).logit.cpu())
    return torch.sigmoid(torch.cat(logits)).numpy() if logits else np.empty(0, np.float32), notes


def _given(ready: Prepared, context: Mapping[str, Any], count: int) -> tuple[dict[str, Column], list[str]]:
    """Read context columns as training did; also return notes on columns and values that are not known."""
    reads, logged, table, notes = ready.encoders.names, ready.dataset.interactions.context, {}, []
    for name, values in context.items():
        if name not in logged:
            near = did_you_mean(name, logged)
            known = ", ".join(logged) or "none"
            raise ValueError(f"there is no context column {name!r}{near and ', ' + near} (there are: {known})")
        if name not in reads:
            notes.append(f"Column {name} is not read: training draws its negatives, and it is not of the moment.")
            continue
        column = logged[name].encode(values if isinstance(values, pl.Series) else pl.Series(name, values))
        if len(column) != count:
            raise ValueError(f"context column {name!r} must have {count} values, one per row, got {len(column)}")
        if unknown := int(column.unknown.sum()):
            what = "no number" if isinstance(column, Number) else "not in the data set"
            notes.append(f"Column {name}: {count_rows(unknown)} with a value that is {what}.")
        table[name] = column
    if absent := [name for name in reads if name not in table]:
        notes.append(f"The model reads {', '.join(absent)}, which the rows lack: unknown in every row.")
    return table, notes


def request(
    ready: Prepared,
    user: int,
    items: Sequence[int],
    at: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Batch:
    """Make the batch of one query: a user and candidates, by number.

    Args:
        ready: what the model was built from.
        user, items: their numbers, [C] items.
        at: a time as `Opened.predict` takes it. None: right after the last event of the log.
        context: value of each context column that is known, by name, as in the data set; the others are unknown.

    Raises:
        ValueError: a column that the model does not read, or a value that the data do not have.
    """
    log, given = ready.dataset.interactions, dict(context or {})
    for name in given:
        if name not in ready.encoders.names:
            known = ", ".join(ready.encoders.names) or "none"
            raise ValueError(f"there is no context column {name!r} to give; there are {known}")
    table = {name: log.context[name].encode(pl.Series(name, [value])) for name, value in given.items()}
    for name, column in table.items():
        if column.unknown.any():
            raise ValueError(f"context {name}: the data do not have the value {given[name]!r}")
    at = moment(log, at)
    zeros = np.zeros(len(items), np.int64)
    loader = ready.loader.reading(table)
    return loader.make_batch(np.array([user]), np.array(items, np.int64), np.array([at]), zeros, zeros, zeros)


def moment(log: Interactions, at: Any = None) -> int:
    """Return a time that a caller gives in microseconds; None is right after the last event of the log.

    Raises:
        ValueError: what cannot be a time, see `hyperctr.data.clock.moments`.
    """
    return int(log.time[-1]) + 1 if at is None else int(clock.moments(at, log.has_time))
