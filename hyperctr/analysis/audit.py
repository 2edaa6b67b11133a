"""`hyperctr audit`: change the future in the log of a trained run, and report every prediction that changed.

A prediction for time t may use events strictly before t. So for a moment t*, events at or after t* must not change the
prediction of any row at or before t*, not by one bit. The audit changes the log from t* on in several ways, rebuilds
everything that the run reads from a log (histories, counts, hypergraphs), and predicts again with the same weights. Its
control changes the past instead: there predictions must change, otherwise the audit cannot detect anything.

What it cannot detect: everything that was fitted on the training rows (weights, interests, the time grid) is kept. A
row earlier than the last training row is predicted by weights that have learned from its future; `Audit.early` is the
share of such rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hyperctr.batch import Referee
from hyperctr.data import clock
from hyperctr.data.columns import Column
from hyperctr.data.interactions import Interactions
from hyperctr.data.progress import Bar, no_progress
from hyperctr.runs.open import Opened
from hyperctr.runs.prepare import Prepared, build_model, prepare

if TYPE_CHECKING:
    import polars as pl


Edit = tuple[np.ndarray, dict[str, np.ndarray]]
"""A changed log: the rows to take from the log, with repeats, [m], and the columns with other values, [m] each."""


@dataclass(frozen=True)
class Outcome:
    """The effect of one kind of change on the predictions, over all moments.

    Attributes:
        change: what was changed.
        checked: number of predictions made again; a row counts once per moment t* at or after its time.
        moved: number of predictions that changed.
        largest: largest difference of a logit.
    """

    change: str
    checked: int
    moved: int
    largest: float


@dataclass(frozen=True)
class Audit:
    """The results of an audit.

    Attributes:
        run: model, data and split in words.
        rows: number of audited rows.
        drawn: number of them that are drawn candidates, where only clicks were logged.
        moments: the times t*, ascending; seconds since 1970, with decimals where they are no whole seconds.
        changes: one outcome per kind of change of the future.
        control: the outcome of the change of the past.
        early: share of the rows that are earlier than the last training row.
        violations: the changed predictions, largest differences first: user and item (original ids), time and moment
            (seconds), change, and the logits before and after.
    """

    run: str
    rows: int
    drawn: int
    moments: tuple[int | float, ...]
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
        """One row per change, the control last: change, checked, moved, largest."""
        import polars as pl

        return pl.DataFrame([vars(change) for change in (*self.changes, self.control)])

    def to_dict(self) -> dict[str, Any]:
        """Return all results, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        outcomes = {"changes": [vars(change) for change in self.changes], "control": vars(self.control)}
        return {"clean": self.clean} | values | outcomes

    def says(self) -> tuple[str, ...]:
        """Write the results in three sentences: the verdict, the control, and what the audit cannot detect."""
        checked, moved = sum(change.checked for change in self.changes), len(self.violations)
        if self.clean:
            verdict = f"clean: no event at or after a moment changed any of {checked:,} predictions up to it"
        else:
            verdict = f"LEAK: events at or after a moment changed {moved:,} of {checked:,} predictions up to it"
        control = f"control: changing the past changed {self.control.moved:,} of {self.control.checked:,} predictions"
        if not self.control.moved:
            control += "; this model reads only its weights and nothing from the log, so the audit cannot say more"
        fixed = "not checked: weights and everything else that was fitted on the training rows were kept; "
        fixed += f"{self.early:.0%} of the audited rows are earlier than the last training row"
        return verdict, control, fixed + (", and predicted by weights that know their future" if self.early else "")


def audit(
    opened: Opened,
    rows: int = 200,
    cuts: int = 8,
    seed: int = 0,
    progress: Bar = no_progress,
) -> Audit:
    """Change the log at and after several moments, and predict all audited rows up to each moment again.

    Args:
        opened: a trained run.
        rows: number of test rows to audit, some right before each moment and some between the moments. Where only
            clicks were logged, a drawn candidate is audited with each.
        cuts: number of moments t*: times of test rows, spread evenly over the test part.
        seed: of the rows and the changes.
        progress: wraps the rounds (rounds, a word, their number) to show a bar.

    Raises:
        ValueError: less than one row or moment.
    """
    if rows < 1 or cuts < 1:
        raise ValueError(f"an audit needs at least one row and one moment, got rows={rows} and cuts={cuts}")
    ready, rng, cuts = opened.prepared, np.random.default_rng(seed), min(cuts, rows)
    log, test = ready.dataset.interactions, ready.split.test
    chosen, moments = _choose(test, log.time[test], rows, cuts, rng)
    audited, part = _Audited.of(ready, chosen, rng), _parts(ready)
    moves: dict[str, list[tuple[int, int, float, float]]] = {name: [] for name in CHANGES}
    single: dict[int, float] = {}  # logits of rows predicted in a batch of one
    rounds = [(moment, name) for moment in moments for name in CHANGES]
    for moment, name in progress(rounds, "audit", len(rounds)):
        at = np.flatnonzero(audited.time <= moment)
        now = _changed(ready, *CHANGES[name](_Cut(log, moment, audited.take(at), part), rng))
        model = _on(opened, now)
        moved = at[audited.logits(model, now, at) != audited.logits(opened.model, ready, at)]
        for row in moved.tolist():  # only in a batch of one: a longer history of another row changes the last bits
            if row not in single:
                single[row] = audited.logits(opened.model, ready, np.array([row])).item()
            after = audited.logits(model, now, np.array([row])).item()
            if after != single[row]:
                moves[name].append((row, moment, single[row], after))
    checked = sum(int((audited.time <= moment).sum()) for moment in moments)
    *changes, control = (
        Outcome(name, checked, len(rows), max((abs(after - before) for *_, before, after in rows), default=0.0))
        for name, rows in moves.items()
    )
    when = {moment: clock.seconds(moment, log.has_time) for moment in moments}
    violations = [
        audited.name(ready, row) | {"moment": when[moment], "change": name, "before": before, "after": after}
        for name, rows in moves.items()
        for row, moment, before, after in rows
        if name != PAST
    ]
    return Audit(
        run=f"{ready.run.model_name} on {ready.dataset.name}, {ready.split.kind} split",
        rows=len(audited.time),
        drawn=len(audited.time) - len(chosen),
        moments=tuple(when.values()),
        changes=tuple(changes),
        control=control,
        early=float((audited.time < log.time[ready.split.train].max()).mean()),
        violations=tuple(sorted(violations, key=lambda v: -abs(v["after"] - v["before"]))),
    )


@dataclass(frozen=True)
class _Audited:
    """Rows to predict: user, item, time and number in the log for its context (-1 none), [n] each."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    row: np.ndarray
    context: Mapping[str, Column]
    """Of the log as it was, whose rows `row` numbers."""

    @classmethod
    def of(cls, ready: Prepared, rows: np.ndarray, rng: np.random.Generator) -> _Audited:
        """Take rows of the log, each with a drawn candidate where non-clicks were not logged."""
        log = ready.dataset.interactions
        logged = cls(log.user[rows], log.item[rows], log.time[rows], rows, log.context)
        if log.logged_non_clicks:
            return logged
        drawn = ready.loader.negatives(logged.user, logged.time, 1, rng)[:, 0]
        real = np.flatnonzero(drawn >= 0)
        both = np.concatenate([np.arange(len(rows)), real])
        item = np.concatenate([logged.item, drawn[real]])
        return cls(logged.user[both], item, logged.time[both], logged.row[both], log.context)

    def take(self, at: np.ndarray) -> _Audited:
        return _Audited(self.user[at], self.item[at], self.time[at], self.row[at], self.context)

    @torch.no_grad()
    def logits(self, model: nn.Module, ready: Prepared, at: np.ndarray, size: int = 256) -> np.ndarray:
        """Predict the rows `at`, each as its own query, in batches that depend only on `at`."""
        logits = []
        for start in range(0, len(at), size):
            part = self.take(at[start : start + size])
            label, query = np.zeros(len(part.time), np.float32), np.arange(len(part.time))
            loader = ready.loader.reading(self.context)
            batch = loader.make_batch(part.user, part.item, part.time, label, query, part.row)
            logits.append(model(batch).logit.numpy())
        return np.concatenate([np.empty(0, np.float32), *logits])

    def name(self, ready: Prepared, row: int) -> dict[str, Any]:
        """Return user, item and time of a row, in the data's own ids."""
        users, items = ready.dataset.users.ids, ready.dataset.items.ids
        user, item = users[self.user[row]], items[self.item[row]]
        return {
            "user": user.item() if isinstance(user, np.generic) else user,
            "item": item.item() if isinstance(item, np.generic) else item,
            "time": clock.seconds(self.time[row], ready.dataset.interactions.has_time),
        }


def _choose(test: np.ndarray, time: np.ndarray, rows: int, cuts: int, rng: np.random.Generator) -> tuple:
    """Choose test rows, and the moments that cut the test part into equal stretches; `time` ascends with `test`.

    Half of the rows of a stretch are right before its moment, where a leak of short reach appears; the other half are
    anywhere in the stretch.
    """
    # the last row of each stretch; more test rows follow the last stretch
    last = np.unique((np.arange(1, cuts + 1) * len(test)) // (cuts + 1))
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
    """A log, a moment in it, the audited rows up to that moment, and the part of each event (see `_parts`)."""

    log: Interactions
    moment: int
    audited: _Audited
    part: np.ndarray

    @property
    def future(self) -> np.ndarray:
        """True for events at or after the moment."""
        return self.log.time >= self.moment

    def edit(self, **columns: np.ndarray) -> Edit:
        """Keep all events, with other values in some columns."""
        return np.arange(len(self.log)), columns


def _delete(cut: _Cut, rng: np.random.Generator) -> Edit:
    return np.flatnonzero(~cut.future), {}


def _delete_half(cut: _Cut, rng: np.random.Generator) -> Edit:
    return np.flatnonzero(~cut.future | (rng.random(len(cut.log)) < 0.5)), {}


def _add(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Add clicks by audited and other users on audited and other items, half of them at the moment itself."""
    log, future = cut.log, np.flatnonzero(cut.future)
    like = rng.choice(future, min(max(len(future), 200), 20_000))  # rows that the new rows are copied from
    half = rng.random((3, len(like))) < 0.5
    new = {
        "user": np.where(half[0], rng.choice(cut.audited.user, len(like)), rng.choice(log.user, len(like))),
        "item": np.where(half[1], rng.choice(cut.audited.item, len(like)), rng.choice(log.item, len(like))),
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
    """Move the future events of users without an audited row to other times in the future."""
    others, time = cut.future & ~np.isin(cut.log.user, cut.audited.user), cut.log.time.copy()
    time[others] = rng.integers(cut.moment, time[-1] + 1, others.sum())
    return cut.edit(time=time)


def _held_out(cut: _Cut, rng: np.random.Generator) -> Edit:
    """Change only validation and test events: exchange their items and turn their labels."""
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
    "only validation and test events": _held_out,
    PAST: _past,
}
"""Name of a change -> what it does to the events at or after a moment; the control is last."""


def _shuffled(column: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute the values of the rows of a mask among these rows."""
    column = column.copy()
    column[rows] = rng.permutation(column[rows])
    return column


def _parts(ready: Prepared) -> np.ndarray:
    """Number the part of each event: 0 train, 1 valid, 2 test, -1 none of them."""
    part = np.full(len(ready.dataset.interactions), -1)
    for number, rows in enumerate((ready.split.train, ready.split.valid, ready.split.test)):
        part[rows] = number
    return part


def _changed(ready: Prepared, rows: np.ndarray, columns: dict[str, np.ndarray]) -> Prepared:
    """Prepare the run on a changed log, with everything fitted kept; a copied event has the part of its source."""
    log = ready.dataset.interactions
    whole = {f.name: getattr(log, f.name) for f in fields(log)}
    columns = {name: x[rows] for name, x in whole.items() if isinstance(x, np.ndarray)} | columns
    order = np.argsort(columns["time"], kind="stable")
    context = {name: column[rows[order]] for name, column in log.context.items()}
    changed = replace(log, context=context, **{name: column[order] for name, column in columns.items()})
    part = _parts(ready)[rows][order]
    train, valid, test = (np.flatnonzero(part == number) for number in range(3))
    graphs = ready.tables.graphs  # joint interests remember their log
    tables = replace(ready.tables, graphs=replace(graphs, interests=copy.copy(graphs.interests)))
    fixed = replace(ready, split=replace(ready.split, train=train, valid=valid, test=test), tables=tables)
    return prepare(ready.run, replace(ready.dataset, interactions=changed), fixed=fixed)


def _on(opened: Opened, ready: Prepared) -> nn.Module:
    """Make the run's model, with its weights, on another log; a fitted referee reads nothing but its batches."""
    if isinstance(opened.model, Referee):
        return opened.model
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and then replaced
        model = build_model(ready)
    model.load_state_dict(opened.model.state_dict())
    return model.eval()
