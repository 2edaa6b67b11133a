"""Which number: what each number of the past and each column of a row is, and what the logit is without it.

"Without" means missing, as the age of a new item is, or a value that is unknown: the row is scored in full again.
Copies of the row without each number, and without each group of numbers, are scored in one call. A column of the user
or of the item becomes unknown wherever the model reads it of this user or item; states of hypergraphs stay. Effects do
not add up to the logit, because things work together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import ndtr

from hyperctr.analysis.asked import Asked, Bars, Scores, Table, score, short, unknown_value
from hyperctr.batch import Columns
from hyperctr.data.columns import Column, Number, TagLists, Vectors
from hyperctr.data.features.past.content import PastContent
from hyperctr.data.features.past.links import PastLinks, PastNearest
from hyperctr.data.features.past.sessions import PastSessions
from hyperctr.runs.checks import reads_numbers
from hyperctr.runs.fields import item_columns
from hyperctr.runs.past_facts import meaning
from hyperctr.strict import cut

if TYPE_CHECKING:
    import polars as pl

BY_PART = {PastLinks: "links", PastNearest: "content", PastContent: "content", PastSessions: "sessions"}
BY_NAME = {"rate": "rates", "share": "rates", "lift": "rates", "since": "ages"}  # of counts; others are counts
KINDS = {"group": "groups of numbers", "number": "numbers of the past", "column": "columns"}
SIDES = ("user", "item", "row")


@dataclass(frozen=True)
class Numbers:
    """The numbers and columns that a row reads.

    Attributes:
        frame: one line per thing left out, grouped by kind, the largest effects first: kind (see `KINDS`), group (of a
            number: rates, counts, ages, links, content or sessions; of a column: user, item or row), name, meaning,
            number (null where it is missing or no number), value (in words), rank (share of the training rows below
            it, equal ones counted half; null for what is no number), logit (without it), effect (with it minus
            without), first and second (the effects on the logits of the two branches, null without the second).
        logit: as it is.
        branches: the logits of the two branches, whose mean it is; None without the second.
        notes: the sum of the effects, and what cannot be shown.
    """

    frame: pl.DataFrame
    logit: float
    branches: tuple[float, float] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has."""
        return {"branches": self.branches, "lines": self.frame.to_dicts(), "notes": [*self.notes]}

    def tables(self, most: int) -> Iterator[Table]:
        """Yield the largest effects of each kind in words."""
        for kind, what in KINDS.items():
            part = self.frame.filter(kind=kind)
            lines = []
            for line in part.head(most).iter_rows(named=True):
                rank = "" if line["rank"] is None else f"{line['rank']:.0%}"
                lines.append([_called(line), line["value"], rank, f"{line['effect']:+.4f}"])
            heads = ["left out", "value", "training rows below", "effect on the logit"]
            if kind == "group":
                lines, heads = [[line[0], line[3]] for line in lines], [heads[0], heads[3]]
            if lines:
                yield f"which {what}, {len(lines)} of {len(part)}, by what leaving each out does", heads, lines

    def bars(self, most: int) -> Iterator[Bars]:
        """Yield the largest effects of each kind for a picture."""
        for kind, what in KINDS.items():
            part = self.frame.filter(kind=kind)
            lines = part.head(most).iter_rows(named=True)
            yield what, len(part), [(line["effect"], short(_called(line), 60)) for line in lines]


def _called(line: Mapping[str, Any]) -> str:
    return f"{line['group']}: {line['name']}" if line["kind"] == "column" else line["meaning"]


def of_numbers(asked: Asked) -> Numbers:
    """Leave out each number, group of numbers and column that the row reads, and score it again."""
    import polars as pl

    fields = asked.ready.tables.fields
    lines, found = _of_context(asked)
    for side, columns, index in (("user", fields.user, asked.user), ("item", fields.item, asked.item)):
        lines += _of_side(asked, side, columns, index, found)
    text, number = pl.String, pl.Float64
    schema = dict(zip(
        ("kind", "group", "name", "meaning", "number", "value", "rank", "logit", "effect", "first", "second"),
        (text, text, text, text, number, text, number, number, number, number, number), strict=True,
    ))  # fmt: skip
    order = pl.col("kind").replace_strict({kind: n for n, kind in enumerate(KINDS)}, return_dtype=pl.Int64)
    frame = pl.DataFrame(lines, schema, orient="row").sort(order, -pl.col("effect").abs(), maintain_order=True)
    branches = None if found.second is None else (float(found.first[0]), float(found.second[0]))
    logit = float(found.logit[0])
    return Numbers(frame, logit, branches, tuple(_notes(asked, frame, logit, branches)))


def _of_context(asked: Asked) -> tuple[list[tuple], Scores]:
    """Score the row without each number, each group of them and each column of its context, in one call."""
    columns, past, base = asked.ready.tables.fields.context, asked.past, asked.batch.context
    gone: list[tuple[str, list[int]]] = []  # kind of values, and which of them are left out
    lines: list[tuple] = []
    own = [name for name in columns.names if name not in columns.number_fields] if base is not None else []
    own += [name for name in columns.numbers if name not in columns.past] if base is not None else []
    for name in own:
        gone.append(_place(columns, name))
        lines.append(("column", "row", name, name, *_context_value(asked, name)))
    if past is not None and base is not None:
        raw = past.raw(asked.rows)[0]
        rank = ndtr(past.scores(raw[None])[0].astype(np.float64))
        log = asked.ready.dataset.interactions
        groups = [BY_PART.get(type(part), "") for part in past.parts for _ in part.names]
        at = [list(columns.numbers).index(name) for name in past.names]
        together: dict[str, list[int]] = {}
        for n, name in enumerate(past.names):
            group = groups[n] or BY_NAME.get(name.rpartition(".")[2].partition("_")[0], "counts")
            together.setdefault(group, []).append(at[n])
            what = meaning(name, log.logged_non_clicks, "hours" if log.has_time else "steps")
            there = not np.isnan(raw[n])
            value = (float(raw[n]), f"{raw[n]:.4g}", float(rank[n])) if there else (None, "missing", None)
            gone.append(("numbers", [at[n]]))
            lines.append(("number", group, name.removeprefix("past."), what, *value))
        for group, numbers in together.items():
            gone.append(("numbers", numbers))
            lines.append(("group", group, group, f"all {len(numbers)} {_words(group)}", None, "", None))
    batch = asked.copies(1 + len(gone))
    for row, (kind, places) in enumerate(gone, 1):
        if kind == "vectors":
            batch.context.vectors[places[0]][row] = 0
        else:
            getattr(batch.context, kind)[row, places] = torch.nan if kind == "numbers" else -1
    found = score(asked.model, batch)
    return [(*line, *_effects(found, row)) for row, line in enumerate(lines, 1)], found


def _words(group: str) -> str:
    return {"rates": "rates, shares and lifts", "content": "cosines of content", "sessions": "of the session"}.get(
        group, group
    )


def _effects(found: Scores, row: int) -> tuple[float | None, ...]:
    parts = [None if x is None else float(x[0] - x[row]) for x in (found.first, found.second)]
    return float(found.logit[row]), float(found.logit[0] - found.logit[row]), *parts


def _place(columns: Columns, name: str) -> tuple[str, list[int]]:
    """Return the kind of values that a column is among, and its place there."""
    for kind, names in (("codes", columns.sizes), ("numbers", columns.numbers), ("tags", columns.tags)):
        if name in names:
            return kind, [list(names).index(name)]
    return "vectors", [list(columns.vectors).index(name)]


def _of_side(asked: Asked, side: str, columns: Columns, index: int, base: Scores) -> list[tuple]:
    """Score the row without each column of its user or item."""
    dataset, log, train = asked.ready.dataset, asked.ready.dataset.interactions, asked.ready.split.train
    if side == "user":
        table, of_row = dataset.users.fields, log.user[train]
    else:
        table, of_row = item_columns(dataset, train, asked.ready.run.data.titles), log.item[train]
    lines = []
    for name in columns.names:
        with unknown_value(asked.model, columns, name, index):
            without = score(asked.model, asked.copies(1))
        both = [None if x is None else np.append(x[0], y) for x, y in zip(
            (base.logit, base.second), (without.logit, without.second), strict=True)]  # fmt: skip
        value = value_of(table[name], index, of_row)
        lines.append(("column", side, name, name, *value, *_effects(Scores(*both), 1)))
    return lines


def _context_value(asked: Asked, name: str) -> tuple[float | None, str, float | None]:
    """Return number, words and rank of a column of the row's context."""
    log, columns, context = asked.ready.dataset.interactions, asked.ready.tables.fields.context, asked.batch.context
    if name in log.context:
        known = asked.row >= 0 and not (asked.drawn and log.context[name].kind.of == "item")
        return value_of(log.context[name], asked.row, asked.ready.split.train) if known else (None, "unknown", None)
    return None, str(int(context.codes[0, list(columns.sizes).index(name)])), None  # derived


def value_of(column: Column, index: int, training: np.ndarray) -> tuple[float | None, str, float | None]:
    """Return a value as a number (None for what is none), in words, and its rank among training rows.

    Args:
        column: of users, items or rows.
        index: of the value.
        training: the user, item or row of each training row.

    >>> value_of(Number(np.array([1.0, 2.0, 4.0])), 1, np.array([0, 1, 2, 2]))
    (2.0, '2', 0.375)
    """
    value = column[np.array([index])].series()[0]
    if value is None:
        return None, "missing", None
    if isinstance(column, Vectors) and column.texts is None:
        return None, f"a vector of {len(value)} numbers", None
    if not isinstance(column, Number):
        words = ", ".join(map(str, value)) if isinstance(column, TagLists) else str(value)
        return None, cut(words, 80), None
    values = column.values[training]
    values = values[~np.isnan(values)]
    rank = ((values < value).sum() + (values == value).sum() / 2) / len(values) if len(values) else None
    return float(value), f"{value:.4g}", None if rank is None else float(rank)


def _notes(asked: Asked, frame: pl.DataFrame, logit: float, branches: tuple[float, float] | None) -> Iterator[str]:
    if branches is not None:
        both = "{:+.3f} of the network of Eq. 7, and {:+.3f} of the second branch".format(*branches)
        yield f"the logit {logit:+.3f} is the mean of two: {both}"
    single = frame.filter(frame["kind"] != "group")
    if len(single):
        total = float(single["effect"].sum())
        yield (
            f"the effects of {len(single)} single numbers and columns sum to {total:+.3f}, the rest of the logit is "
            f"{logit - total:+.3f}: effects do not add up to the logit, as things work together"
        )
    if asked.past is None:
        yield "the run reads no numbers of the past (data.past): there are none to leave out"
    elif not reads_numbers(asked.ready.run):
        yield f"{asked.ready.run.model_name} reads no numbers of the past: leaving them out moves nothing"
    elif asked.batch.context is None:
        yield "the row has no context: there are no numbers to leave out"
    if (logged := asked.ready.encoders.names) and asked.row < 0:
        yield f"{', '.join(logged)}: unknown, as no row of the log has this user at this time"
