"""`hyperctr audit`: rewrite the future of a trained run's log, and report every prediction that moved.

A prediction for time t may use events strictly before t. So for a moment t*, whatever happens at or after t* must not
move the prediction of any row at or before t*, not by one bit. The audit changes the log from t* on in every way it
knows, builds everything anew that the run reads from a log (histories, counts, hypergraphs), and predicts again with
the same weights. Its control changes the past instead: there predictions must move, or the audit would be blind.

What it cannot see: whatever was learned from the training rows (weights, interests, the time grid) is held fixed. A row
that is earlier than the last training row is predicted by weights that know its future; `Audit.early` counts such rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hyperctr.data.interactions import Interactions
from hyperctr.models import MODELS
from hyperctr.runs.open import Opened
from hyperctr.runs.prepare import Prepared, prepare

if TYPE_CHECKING:
    import polars as pl


Edit = tuple[np.ndarray, dict[str, np.ndarray]]
"""Rows that a changed log takes from the log, with repeats, [m], and its columns that differ from theirs, [m] each."""


@dataclass(frozen=True)
class Outcome:
    """What one kind of change did to the predictions, all moments together.

    Attributes:
        change: what was changed.
        checked: predictions made again; a row counts once for each moment t* that it is not later than.
        moved: those that came out different.
        largest: largest difference of a logit.
    """

    change: str
    checked: int
    moved: int
    largest: float


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        run: model, data and split in words.
        rows: audited rows.
        drawn: how many of them are candidates that were drawn, where only clicks were logged.
        moments: the times t*, seconds, ascending.
        changes: one for each kind of change of the future.
        control: the change of the past.
        early: share of the rows that are earlier than the last training row.
        violations: moved predictions, largest moves first: user, item (original ids), time, moment (seconds), change,
            and the logits before and after.
    """

    run: str
    rows: int
    drawn: int
    moments: tuple[int, ...]
    changes: tuple[Outcome, ...]
    control: Outcome
    early: float
    violations: tuple[dict[str, Any], ...]

    @property
    def clean(self) -> bool:
        """Whether no change of the future moved any prediction."""
        return not self.violations

    @property
    def frame(self) -> pl.DataFrame:
        """A line a change, the control last: change, checked, moved, largest."""
        import polars as pl

        return pl.DataFrame([vars(change) for change in (*self.changes, self.control)])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        lines = {"changes": [vars(change) for change in self.changes], "control": vars(self.control)}
        return {"clean": self.clean} | found | lines

    def says(self) -> tuple[str, ...]:
        """The findings in sentences: the verdict, what the control shows, and what was held fixed."""
        checked, moved = sum(change.checked for change in self.changes), len(self.violations)
        if self.clean:
            verdict = f"clean: no event at or after a moment moved any of {checked:,} predictions up to it"
        else:
            verdict = f"LEAK: events at or after a moment moved {moved:,} of {checked:,} predictions up to it"
        seen = f"control: changing the past moved {self.control.moved:,} of {self.control.checked:,} predictions"
        if not self.control.moved:
            seen += "; this model reads nothing from the log but its weights, and the audit cannot say more"
        fixed = "not seen: weights and all else that was fitted on the training rows were held fixed; "
        fixed += f"{self.early:.0%} of the audited rows are earlier than the last training row"
        return verdict, seen, fixed + (", and predicted by weights that know their future" if self.early else "")


def audit(
    opened: Opened,
    rows: int = 200,
    cuts: int = 8,
    seed: int = 0,
    progress: Callable[[Iterable, str, int], Iterable] = lambda work, what, total: work,
) -> Audit:
    """Change the log at and after several moments, and predict again all audited rows at or before each.

    Args:
        opened: a trained run.
        rows: rows of its test part to audit, and as many drawn candidates where only clicks were logged: some right
            before each moment, others spread between the moments.
        cuts: moments t*, times of test rows, spread evenly over the test part.
        seed: of the rows and the changes.
        progress: wraps the rounds (rounds, a word, their number) to show a bar.

    Raises:
        ValueError: fewer than one row or moment.
    """
    if rows < 1 or cuts < 1:
        raise ValueError(f"an audit needs at least one row and one moment, got rows={rows} and cuts={cuts}")
    ready, rng, cuts = opened.prepared, np.random.default_rng(seed), min(cuts, rows)
    log, test = ready.dataset.interactions, ready.split.test
    chosen, moments = _choose(test, log.time[test], rows, cuts, rng)
    asked, part = _Asked.of(ready, chosen, rng), _parts(ready)
    found: dict[str, list[tuple[int, int, float, float]]] = {name: [] for name in CHANGES}
    alone: dict[int, float] = {}  # logits of rows predicted by themselves
    rounds = [(moment, name) for moment in moments for name in CHANGES]
    for moment, name in progress(rounds, "audit", len(rounds)):
        at = np.flatnonzero(asked.time <= moment)
        now = _changed(ready, *CHANGES[name](_Cut(log, moment, asked.take(at), part), rng))
        model = _on(opened, now)
        moved = at[asked.logits(model, now, at) != asked.logits(opened.model, ready, at)]
        for row in moved.tolist():  # counts if it moves by itself: in a batch, another's longer history moves bits
            if row not in alone:
                alone[row] = asked.logits(opened.model, ready, np.array([row])).item()
            after = asked.logits(model, now, np.array([row])).item()
            if after != alone[row]:
                found[name].append((row, moment, alone[row], after))
    checked = sum(int((asked.time <= moment).sum()) for moment in moments)
    *changes, control = (
        Outcome(name, checked, len(rows), max((abs(after - before) for *_, before, after in rows), default=0.0))
        for name, rows in found.items()
    )
    violations = [
        asked.name(ready, row) | {"moment": moment, "change": name, "before": before, "after": after}
        for name, rows in found.items()
        for row, moment, before, after in rows
        if name != PAST
    ]
    return Audit(
        run=f"{ready.run.model_name} on {ready.dataset.name}, {ready.split.kind} split",
        rows=len(asked.time),
        drawn=len(asked.time) - len(chosen),
        moments=tuple(moments),
        changes=tuple(changes),
        control=control,
        early=float((asked.time < log.time[ready.split.train].max()).mean()),
        violations=tuple(sorted(violations, key=lambda v: -abs(v["after"] - v["before"]))),
    )


@dataclass(frozen=True)
class _Asked:
    """Rows to predict: user, item and time, [n] each, and the context of logged rows, [n, K] or None."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    context: np.ndarray | None

    @classmethod
    def of(cls, ready: Prepared, rows: np.ndarray, rng: np.random.Generator) -> _Asked:
        """The rows themselves, with a drawn candidate beside each where non-clicks were not logged."""
        log = ready.dataset.interactions
        found = cls(log.user[rows], log.item[rows], log.time[rows], None if log.context is None else log.context[rows])
        if log.logged_non_clicks:
            return found
        drawn = ready.loader.negatives(found.user, found.time, 1, rng)[:, 0]
        real = np.flatnonzero(drawn >= 0)
        both = np.concatenate([np.arange(len(rows)), real])
        item = np.concatenate([found.item, drawn[real]])
        return cls(found.user[both], item, found.time[both], None)

    def take(self, at: np.ndarray) -> _Asked:
        return _Asked(self.user[at], self.item[at], self.time[at], None if self.context is None else self.context[at])

    @torch.no_grad()
    def logits(self, model: nn.Module, ready: Prepared, at: np.ndarray, size: int = 256) -> np.ndarray:
        """Predict the rows `at`, each a query of its own, in batches that depend on nothing else."""
        logits = []
        for start in range(0, len(at), size):
            part = self.take(at[start : start + size])
            label, query = np.zeros(len(part.time), np.float32), np.arange(len(part.time))
            batch = ready.loader.make_batch(part.user, part.item, part.time, label, query, part.context)
            logits.append(model(batch).logit.numpy())
        return np.concatenate([np.empty(0, np.float32), *logits])

    def name(self, ready: Prepared, row: int) -> dict[str, Any]:
        """User, item and time of a row, by the data set's own ids."""
        users, items = ready.dataset.users.ids, ready.dataset.items.ids
        user, item = users[self.user[row]], items[self.item[row]]
        return {
            "user": user.item() if isinstance(user, np.generic) else user,
            "item": item.item() if isinstance(item, np.generic) else item,
            "time": int(self.time[row]),
        }


def _choose(test: np.ndarray, time: np.ndarray, rows: int, cuts: int, rng: np.random.Generator) -> tuple:
    """Rows of the test part, and the moments that cut it into equal stretches; `time` ascends with `test`.

    Half of a stretch's rows stand right before its moment, where a leak of short reach shows; others anywhere in it.
    """
    last = np.unique((np.arange(1, cuts + 1) * len(test)) // (cuts + 1))  # of each stretch; a part follows the last
    chosen, moments, start = [], [], 0
    for k, end in enumerate(last.tolist()):
        stretch = np.arange(start, end + 1)
        share = min(rows * (k + 1) // len(last) - rows * k // len(last), len(stretch))
        near = stretch[len(stretch) - (share + 1) // 2 :]
        others = rng.choice(stretch[: len(stretch) - len(near)], share - len(near), replace=False)
        chosen += [*others.tolist(), *near.tolist()]
        moments.append(int(time[end]))
        start = end + 1
    return test[np.sort(np.array(chosen, np.int64))], sorted(set(moments))


@dataclass(frozen=True)
class _Cut:
    """A log, a moment in it, the rows asked for up to then, and the part of each event (see `_parts`)."""

    log: Interactions
    moment: int
    asked: _Asked
    part: np.ndarray

    @property
    def future(self) -> np.ndarray:
        """True for events at or after the moment."""
        return self.log.time >= self.moment

    def edit(self, **columns: np.ndarray) -> Edit:
        """All events, with other values in some columns."""
        return np.arange(len(self.log)), columns


def _delete(cut: _Cut, rng: np.random.Generator) -> Edit:
    return np.flatnonzero(~cut.future), {}


def _delete_half(cut: _Cut, rng: np.random.Generator) -> Edit:
    return np.flatnonzero(~cut.future | (rng.random(len(cut.log)) < 0.5)), {}


def _add(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Clicks by users and on items of the audited rows and by and on others, half of them at the moment itself."""
    log, future = cut.log, np.flatnonzero(cut.future)
    like = rng.choice(future, min(max(len(future), 200), 20_000))  # what the new rows are copies of
    half = rng.random((3, len(like))) < 0.5
    new = {
        "user": np.where(half[0], rng.choice(cut.asked.user, len(like)), rng.choice(log.user, len(like))),
        "item": np.where(half[1], rng.choice(cut.asked.item, len(like)), rng.choice(log.item, len(like))),
        "time": np.where(half[2], cut.moment, log.time[like]),
        "label": np.ones(len(like), np.float32),
    }
    rows = np.concatenate([np.arange(len(log)), like])
    return rows, {name: np.concatenate([getattr(log, name), column]) for name, column in new.items()}


def _turn(cut: _Cut, rng: np.random.Generator) -> Edit:
    return cut.edit(label=np.where(cut.future, 1 - cut.log.label, cut.log.label))


def _exchange_items(cut: _Cut, rng: np.random.Generator) -> Edit:
    return cut.edit(item=_shuffled(cut.log.item, cut.future, rng))


def _exchange_users(cut: _Cut, rng: np.random.Generator) -> Edit:
    return cut.edit(user=_shuffled(cut.log.user, cut.future, rng))


def _move_others(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Events of users without an audited row so far go elsewhere in the future."""
    others, time = cut.future & ~np.isin(cut.log.user, cut.asked.user), cut.log.time.copy()
    time[others] = rng.integers(cut.moment, time[-1] + 1, others.sum())
    return cut.edit(time=time)


def _held_out(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Validation and test events alone: other items, and labels turned."""
    rows = cut.future & (cut.part > 0)
    return cut.edit(item=_shuffled(cut.log.item, rows, rng), label=np.where(rows, 1 - cut.log.label, cut.log.label))


def _past(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Exchange the items of half of the events before the moment."""
    return cut.edit(item=_shuffled(cut.log.item, ~cut.future & (rng.random(len(cut.log)) < 0.5), rng))


PAST = "the past, as a control"
CHANGES: dict[str, Callable[[_Cut, np.random.Generator], Edit]] = {
    "every event deleted": _delete,
    "half of the events deleted": _delete_half,
    "clicks added": _add,
    "labels turned": _turn,
    "items exchanged": _exchange_items,
    "users exchanged": _exchange_users,
    "other users' events moved": _move_others,
    "validation and test events alone": _held_out,
    PAST: _past,
}
"""What happens to the events at or after a moment; the control comes last."""


def _shuffled(column: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With the values of the rows of a mask exchanged among them."""
    column = column.copy()
    column[rows] = rng.permutation(column[rows])
    return column


def _parts(ready: Prepared) -> np.ndarray:
    """The part of each event: 0 train, 1 valid, 2 test, -1 none of them."""
    part = np.full(len(ready.dataset.interactions), -1)
    for number, rows in enumerate((ready.split.train, ready.split.valid, ready.split.test)):
        part[rows] = number
    return part


def _changed(ready: Prepared, rows: np.ndarray, columns: dict[str, np.ndarray]) -> Prepared:
    """The run prepared on a changed log, everything fitted held fixed; an event keeps its part, a copy its model's."""
    log = ready.dataset.interactions
    whole = {f.name: getattr(log, f.name) for f in fields(log)}
    columns = {name: x[rows] for name, x in whole.items() if isinstance(x, np.ndarray)} | columns
    order = np.argsort(columns["time"], kind="stable")
    changed = replace(log, **{name: column[order] for name, column in columns.items()})
    part = _parts(ready)[rows][order]
    train, valid, test = (np.flatnonzero(part == number) for number in range(3))
    tables = replace(ready.tables, interests=copy.copy(ready.tables.interests))  # joint ones remember their log
    fixed = replace(ready, split=replace(ready.split, train=train, valid=valid, test=test), tables=tables)
    return prepare(ready.run, replace(ready.dataset, interactions=changed), fixed=fixed)


def _on(opened: Opened, ready: Prepared) -> nn.Module:
    """The run's model with its weights, reading another log."""
    with torch.random.fork_rng(devices=[]):  # its initial values are drawn, and replaced
        model = MODELS[ready.run.model_name](ready.run.model, ready.tables)
    model.load_state_dict(opened.model.state_dict())
    return model.eval()
