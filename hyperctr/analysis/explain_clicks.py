"""Which click: the weight of each click of the user in the attention, and what leaving it out does to the logit.

A click that is left out is in nothing that the row reads of its user's own clicks: not in the history, not among the
clicks that links and cosines compare the candidate with, not in the columns derived from the clicks. An older click
takes its place where one was cut off. Counts and hyperedges stay, the ones that the click made too. The row is scored
in full again. Effects do not add up to the logit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hyperctr.analysis.asked import Asked, Bars, Table, item_name, score, short, taken, when
from hyperctr.batch import History, Values
from hyperctr.data import clock
from hyperctr.data.features.past.content import PastContent
from hyperctr.data.features.past.history import CLICKS, Latest
from hyperctr.data.features.past.links import PastLinks, PastNearest
from hyperctr.data.lookup import PastIndex
from hyperctr.data.row_columns import BatchRows, Derived

if TYPE_CHECKING:
    import polars as pl

OF_CLICKS = PastLinks | PastNearest | PastContent  # numbers that compare the item with the user's latest clicks
AT_ONCE = 512  # copies of the row that are scored at once
MOVES = 1e-6  # what is less is rounding
NOTE = "a click left out is in no history, link or cosine; counts and hyperedges stay; effects do not add up"


@dataclass(frozen=True)
class Clicks:
    """The clicks that a row reads.

    Attributes:
        frame: one line per click, the largest effects first: place (1 is the latest), item (its id), name, time, when,
            type (null without types), weight (in the attention by the candidate, null without it), logit (without the
            click), effect (with it minus without), of_history and of_numbers (the effect of leaving it out of the
            history alone, and of numbers and columns alone).
        reads: whether numbers or columns are made of the clicks.
        notes: what cannot be shown, and why.
    """

    frame: pl.DataFrame
    reads: bool
    notes: tuple[str, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether it says more than that each click was left out of the history."""
        return self.reads or bool(self.frame["weight"].count() or self.frame["type"].count())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in types that JSON has."""
        return {"lines": self.frame.to_dicts(), "notes": [*self.notes]}

    def tables(self, most: int) -> Iterator[Table]:
        """Yield the clicks with the largest effects in words."""
        weighed, typed = self.frame["weight"].count() > 0, self.frame["type"].count() > 0
        heads = ["click", "when", *["type"] * typed, *["weight in the attention"] * weighed, "effect on the logit"]
        lines = []
        for line in self.frame.head(most).iter_rows(named=True):
            kind = [str(line["type"])] * typed
            weight = ["not read" if line["weight"] is None else f"{line['weight']:.3f}"] * weighed
            lines.append([line["name"], line["when"], *kind, *weight, f"{line['effect']:+.4f}"])
        if lines:
            yield f"which clicks, {len(lines)} of {len(self.frame)}, by what leaving each out does", heads, lines

    def bars(self, most: int) -> Iterator[Bars]:
        """Yield the largest effects for a picture."""
        lines = self.frame.head(most).iter_rows(named=True)
        yield "clicks, wherever read", len(self.frame), [
            (line["effect"], f"{short(line['name'])}, {line['when']}") for line in lines
        ]  # fmt: skip


def of_clicks(asked: Asked) -> Clicks:
    """Leave out each click that the row reads, and score it again."""
    data, whole = asked.ready.dataset, asked.clicks
    count = int(whole.mask.sum())
    parts = () if asked.past is None else asked.past.parts
    numbers = any(isinstance(part, OF_CLICKS) for part in parts)
    reads = numbers or any(isinstance(source, Derived) for source in asked.ready.loader.sources)
    history = asked.ready.loader.history
    read = np.arange(max(count - max(history, CLICKS * numbers), 0), count)  # places among all clicks
    notes = () if count else (f"user {data.users.ids[asked.user]} had no click before: there is none to leave out",)
    weight = np.full(len(read), np.nan)
    every, own, other = (np.empty(len(read)) for _ in range(3))
    for start in range(0, len(read), AT_ONCE):
        gone = read[start : start + AT_ONCE]
        kept = [np.arange(count), *(np.delete(np.arange(count), c) for c in gone)]
        shorter, context = histories(whole, kept, history), reread(asked, kept)
        zero = torch.zeros(len(kept), dtype=torch.long)
        found = score(asked.model, asked.copies(len(kept), shorter, context))
        of_history = score(asked.model, asked.copies(len(kept), shorter, context and context[zero]))
        of_numbers = score(asked.model, asked.copies(len(kept), taken(shorter, zero), context)) if reads else None
        place = slice(start, start + len(gone))
        every[place] = found.logit[1:]
        own[place] = of_history.logit[0] - of_history.logit[1:]
        other[place] = 0.0 if of_numbers is None else of_numbers.logit[0] - of_numbers.logit[1:]
        if found.weight is not None:
            length = min(history, count)
            weight[len(read) - length :] = found.weight[0, :length]
    base = found.logit[0] if count else 0.0
    if count and np.abs(base - every).max() < MOVES:
        notes = ("no click moves the logit: the model does not read the history of a row, or gives it no weight",)
    frame = _frame(asked, whole, read, weight, every, base - every, own, other)
    return Clicks(frame, reads, notes)


def histories(whole: History, kept: Sequence[np.ndarray], most: int) -> History:
    """Make one history of each list of clicks that are kept, at most `most` of the latest.

    Args:
        whole: all clicks of one query.
        kept: places of clicks, ascending.
        most: longest history.
    """
    size = max(1, min(most, max(map(len, kept))))
    place, mask = np.zeros((len(kept), size), np.int64), np.zeros((len(kept), size), bool)
    for row, clicks in enumerate(kept):
        clicks = clicks[-most:]
        place[row, : len(clicks)], mask[row, : len(clicks)] = clicks, True
    at, mask = torch.from_numpy(place), torch.from_numpy(mask)
    columns = {name: getattr(whole, name) for name in ("item", "time", "type")}
    columns = {name: x if x is None else torch.where(mask, x[0][at], 0) for name, x in columns.items()}
    return History(**columns, mask=mask, length=torch.tensor([len(clicks) for clicks in kept]))


def reread(asked: Asked, kept: Sequence[np.ndarray]) -> Values | None:
    """Read the context of the row once per list of clicks, as if the user had made no other click.

    Each list is given to a user of its own in the place of the row's. Counts are those of the row.
    """
    base, copies = asked.batch.context, len(kept)
    if base is None:
        return None
    columns, whole, each = asked.ready.tables.fields.context, asked.clicks, np.arange(copies)
    place = np.concatenate(kept).astype(np.int64)
    user = np.repeat(each, [len(clicks) for clicks in kept])
    time = whole.time[0].numpy()[place]
    index = PastIndex(user, time, copies)
    latest = Latest(index, whole.item[0].numpy()[place][index.order].astype(np.int64))
    full = {name: np.repeat(getattr(asked.rows, name), copies) for name in ("time", "item", "row")}
    rows, found = BatchRows(user=each, query=each, drawn=asked.drawn, **full), base[torch.zeros(copies).long()]
    for source in asked.ready.loader.sources:
        if isinstance(source, Derived):
            codes = replace(source, clicks=index, time=np.append(time[index.order], 0)).read(rows).codes
            found.codes[:, [list(columns.sizes).index(name) for name in source.names]] = codes
    if asked.past is not None:
        raw = [
            replace(part, latest=latest).raw(rows) if isinstance(part, OF_CLICKS)
            else np.repeat(part.raw(asked.rows), copies, 0)
            for part in asked.past.parts
        ]  # fmt: skip
        numbers = torch.from_numpy(asked.past.scores(np.concatenate(raw, 1)))
        found.numbers[:, [list(columns.numbers).index(name) for name in asked.past.names]] = numbers
    return found


def _frame(asked: Asked, whole: History, read: np.ndarray, weight: np.ndarray, *effects: np.ndarray) -> pl.DataFrame:
    import polars as pl

    data, count = asked.ready.dataset, int(whole.mask.sum())
    item, time = whole.item[0].numpy()[read], whole.time[0].numpy()[read]
    kind = [None] * len(read) if whole.type is None else whole.type[0].numpy()[read].tolist()
    columns = {
        "place": (count - read, pl.Int64),
        "item": ([str(data.items.ids[i]) for i in item], pl.String),
        "name": ([item_name(data, i) for i in item], pl.String),
        "time": ([float(clock.seconds(t, data.interactions.has_time)) for t in time], pl.Float64),
        "when": ([when(data, t) for t in time], pl.String),
        "type": (kind, pl.Int64),
        "weight": (weight, pl.Float64),
    }
    named = zip(("logit", "effect", "of_history", "of_numbers"), effects, strict=True)
    columns |= {name: (x, pl.Float64) for name, x in named}
    frame = pl.DataFrame({name: pl.Series(x, dtype=dtype) for name, (x, dtype) in columns.items()})
    return frame.with_columns(pl.col("weight").fill_nan(None)).sort(-pl.col("effect").abs(), maintain_order=True)
