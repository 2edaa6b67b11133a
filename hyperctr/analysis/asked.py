"""One row to explain: what it reads, copies of it that read something else, and their scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Columns, History, Values
from hyperctr.data import clock
from hyperctr.data.dataset import Dataset
from hyperctr.data.features.past.source import Past
from hyperctr.data.row_columns import BatchRows
from hyperctr.layers.columns import ColumnVectors
from hyperctr.models.hyperctr.model import HyperCTR
from hyperctr.runs.open import Opened, moment
from hyperctr.runs.prepare import Prepared
from hyperctr.strict import cut

Table = tuple[str, list[str], list[list[str]]]
"""Title, heads and lines, as text."""
Bars = tuple[str, int, list[tuple[float, str]]]
"""A heading, how many things there are in all, and value and name of the largest."""
EVERY_CLICK = 2**31  # longer than any history


@dataclass(frozen=True)
class Asked:
    """A row to explain, by number.

    Attributes:
        ready: what the run was built from.
        model: the trained model.
        user, item, time: of the row.
        row: of the log with this user and time, whose context is read; -1 where there is none.
        drawn: whether the context is read as that of a drawn negative, which lacks the columns of the item.
    """

    ready: Prepared
    model: nn.Module
    user: int
    item: int
    time: int
    row: int
    drawn: bool

    @classmethod
    def of(cls, opened: Opened, user: Any, item: Any, at: Any = None) -> Asked:
        """Find a row by the data set's own ids; `at` is a time as `Opened.predict` takes it, None the log's end.

        Raises:
            ValueError: the data has no such user or item, or the time cannot be one.
        """
        ready = opened.prepared
        data, log = ready.dataset, ready.dataset.interactions
        u, i, time = data.user_ids.number(user), data.item_ids.number(item), moment(log, at)
        rows = np.flatnonzero((log.user == u) & (log.time == time))
        own = rows[log.item[rows] == i]
        row = int(np.append(np.append(own, rows), -1)[0])
        return cls(ready, opened.model, u, i, time, row, ready.draws or not len(own))

    @property
    def rows(self) -> BatchRows:
        """The row, as sources of columns are asked for it."""
        of = (np.array([x]) for x in (self.user, self.time, self.item, 0, self.row))
        return BatchRows(*of, drawn=self.drawn)

    @cached_property
    def batch(self) -> Batch:
        """The row as the model reads it."""
        return self._made(self.ready.loader.history)

    @cached_property
    def clicks(self) -> History:
        """All clicks of the user strictly before the row, oldest first."""
        return self._made(EVERY_CLICK).histories

    def _made(self, history: int) -> Batch:
        loader, rows = copy(self.ready.loader), self.rows
        loader.history = history
        return loader.make_batch(
            rows.user, rows.item, rows.time, np.zeros(1, np.float32), rows.query, rows.row, self.drawn
        )

    @property
    def past(self) -> Past | None:
        """The numbers of the past that the run reads."""
        return next((source for source in self.ready.loader.sources if isinstance(source, Past)), None)

    def copies(self, count: int, histories: History | None = None, context: Values | None = None) -> Batch:
        """Repeat the row, each copy a query of its own, with other histories or another context."""
        batch, zero, each = self.batch, torch.zeros(count, dtype=torch.long), torch.arange(count)
        histories = taken(batch.histories, zero) if histories is None else histories
        context = batch.context and batch.context[zero] if context is None else context
        names = ("user", "item", "time", "clicks_before", "shows_before", "label")
        repeated = {name: getattr(batch, name) for name in names}
        repeated = {name: x if x is None else x[zero] for name, x in repeated.items()}
        return replace(batch, **repeated, query=each, query_row=each, histories=histories, context=context)


def taken(histories: History, rows: Tensor) -> History:
    """Take the histories of some queries."""
    names = ("item", "mask", "time", "type", "length")
    return History(**{name: x if x is None else x[rows] for name in names for x in [getattr(histories, name)]})


@dataclass(frozen=True)
class Scores:
    """What a model makes of the rows of a batch.

    Attributes:
        logit: [B].
        second: logit of HyperCTR's second branch, [B]; None without it.
        weight: of each click in HyperCTR's attention by the candidate, [B, T]; None without it.
    """

    logit: np.ndarray
    second: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def first(self) -> np.ndarray | None:
        """The logit of Eq. 7, whose mean with that of the second branch is the logit."""
        return None if self.second is None else 2 * self.logit - self.second


@torch.no_grad()
def score(model: nn.Module, batch: Batch) -> Scores:
    """Score the rows of a batch, and listen to the branches and attention of each HyperCTR in the model."""
    second: list[Tensor] = []
    weight: list[Tensor] = []

    def weigh(module: nn.Module, given: tuple, found: Tensor) -> None:
        weight.append(module.weights(*given[:4]))

    with ExitStack() as hooks:
        for part in (x for x in model.modules() if isinstance(x, HyperCTR)):
            if part.branch is not None:
                hooks.enter_context(part.branch.register_forward_hook(lambda module, given, out: second.append(out)))
            if part.attend is not None:
                hooks.enter_context(part.attend.register_forward_hook(weigh))
        logit = model(batch).logit.double().numpy()
    return Scores(logit, *(torch.stack(x).double().mean(0).numpy() if x else None for x in (second, weight)))


@contextmanager
def unknown_value(model: nn.Module, columns: Columns, name: str, index: int) -> Iterator[None]:
    """Make one value of a column of users or items unknown, for every module that reads it, and restore it."""
    known, cells = columns.values, []
    readers = [x for x in model.modules() if isinstance(x, ColumnVectors) and x.columns is columns]
    if name in columns.sizes:
        c = list(columns.sizes).index(name)
        cells = [(known.codes, c, -1), *((x.rows, c, x.num_embeddings - 1) for x in readers)]
    elif name in columns.numbers:
        n = list(columns.numbers).index(name)
        cells = [(x, n, torch.nan) for x in (known.numbers, *(x.known_numbers for x in readers))]
    elif name in columns.tags:
        t = list(columns.tags).index(name)
        cells = [(x, t, -1) for x in (known.tags, *(x.known_tags for x in readers))]
    else:
        k = list(columns.vectors).index(name)
        vectors = known.vectors[k], *(x.get_buffer(f"known_vector_{k}") for x in readers)
        cells = [(x, slice(None), 0.0) for x in vectors]
    before = [x[index, place].clone() for x, place, _ in cells]
    try:
        for x, place, unknown in cells:
            x[index, place] = unknown
        yield
    finally:
        for (x, place, _), value in zip(cells, before, strict=True):
            x[index, place] = value


def item_name(data: Dataset, item: int) -> str:
    """Return the title of an item, its id where there is none."""
    title = "" if data.items.titles is None else str(data.items.titles[item])
    return cut(title) or f"item {data.items.ids[item]}"


def when(data: Dataset, time: int) -> str:
    """Return the day of a time; its number where the data has an order and no times."""
    return clock.day(time) if data.interactions.has_time else f"event {time}"


def short(name: str, most: int = 36) -> str:
    """Cut a name for a margin."""
    return name if len(name) <= most else name[: most - 1] + "…"
