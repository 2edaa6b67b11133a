"""What models read of a row beyond user, item and history: asked for by rows and column.

A source may hold values in memory, count them, look them up or read them from disk; the loader only asks it to `read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from hyperctr.batch import Columns, Values
from hyperctr.data.columns import Column
from hyperctr.data.context import SIZES, context_columns
from hyperctr.data.features.encoders import Encoders, stacked
from hyperctr.data.lookup import PastIndex


@dataclass(frozen=True)
class BatchRows:
    """B rows of a batch, of Q queries.

    Attributes:
        user, time: of the queries, [Q].
        item: of the rows, [B].
        query: number of each row's query, [B].
        row: number of each row in the table of the columns, [B]; -1 where it is in none. A drawn negative has the
            number of the row that it was drawn for.
        drawn: whether negatives were drawn for the rows.
    """

    user: np.ndarray
    time: np.ndarray
    item: np.ndarray
    query: np.ndarray
    row: np.ndarray
    drawn: bool = False

    def __len__(self) -> int:
        return len(self.item)


class RowColumns(Protocol):
    """A source of columns: something that can be asked for the values of any rows."""

    @property
    def columns(self) -> Columns:
        """The columns as models know them, without values."""

    def read(self, rows: BatchRows) -> Values:
        """Return the values of the rows, in the order of `columns`."""

    def reading(self, table: Mapping[str, Column]) -> RowColumns:
        """Return the same source with another table of the log's columns, for rows that are not in the log."""


@dataclass(frozen=True)
class Logged:
    """Columns of a table with one line per row, encoded as in training.

    Attributes:
        encoders: how a model reads the columns.
        table: the columns, by name; one that is absent is unknown.
    """

    encoders: Encoders
    table: Mapping[str, Column]

    @property
    def columns(self) -> Columns:
        """The columns as models know them."""
        return self.encoders.columns

    def read(self, rows: BatchRows) -> Values:
        """Return the values; unknown for rows in no table and, beside drawn negatives, for columns of the item."""
        there = {n: x for n, x in self.table.items() if not (rows.drawn and x.kind.of == "item")}
        known = np.flatnonzero(rows.row >= 0) if there else np.empty(0, np.int64)
        at = rows.row[known]
        found = self.encoders.values({name: x[at] for name, x in there.items()}, len(at))
        if len(known) == len(rows):
            return found
        place = np.full(len(rows), len(known))
        place[known] = np.arange(len(known))
        return stacked([found, self.encoders.values({}, 1)])[torch.from_numpy(place)]

    def reading(self, table: Mapping[str, Column]) -> Logged:
        """Return this source with another table."""
        return replace(self, table=table)


@dataclass(frozen=True)
class Derived:
    """Columns computed from the time of a query and the user's clicks strictly before it.

    Attributes:
        names: keys of `hyperctr.data.context.SIZES`.
        clicks: finds the clicks of a user. time: of the clicks, in the order of `clicks`, [n].
    """

    names: tuple[str, ...]
    clicks: PastIndex
    time: np.ndarray

    @property
    def columns(self) -> Columns:
        """The columns as models know them."""
        return Columns({name: SIZES[name] for name in self.names})

    def read(self, rows: BatchRows) -> Values:
        """Return the codes of the rows, one column per name."""
        first, end = self.clicks.first(rows.user), self.clicks.end(rows.user, rows.time)
        last, earliest = (self.time.take(place, mode="clip") for place in (end - 1, first))  # arbitrary without clicks
        codes = context_columns(self.names, rows.time, end - first, last, earliest)
        return Values(codes=torch.from_numpy(codes[rows.query]))

    def reading(self, table: Mapping[str, Column]) -> Derived:
        """Return this source, which reads no table."""
        return self


def read_all(sources: Sequence[RowColumns], rows: BatchRows) -> Values | None:
    """Return the values of all sources side by side, each kind in the order of the sources; None without a source."""
    parts = [source.read(rows) for source in sources]
    if not parts:
        return None

    def joined(name: str) -> torch.Tensor | None:
        found = [x for part in parts if (x := getattr(part, name)) is not None]
        if name == "tags" and found:
            most = max(x.shape[2] for x in found)
            found = [torch.nn.functional.pad(x, (0, most - x.shape[2]), value=-1) for x in found]
        return torch.cat(found, 1) if len(found) > 1 else found[0] if found else None

    vectors = tuple(x for part in parts for x in part.vectors)
    return Values(joined("codes"), joined("numbers"), joined("tags"), vectors)
