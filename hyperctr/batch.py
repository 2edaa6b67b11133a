"""What every model reads (`Tables` once, a `Batch` at a time) and what every model returns (`Output`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

LEVELS = 100  # of equal frequency that a number is cut into; level // 10 cuts it into ten


@dataclass(frozen=True)
class Statistics:
    """What the log says of each item at the start of each time slice, from the events strictly before that moment.

    Attributes:
        names: of the K statistics.
        edges: between the levels of each, [K, LEVELS - 1].
        starts: first second of the S slices, [S].
        level: number of edges below the value, LEVELS itself without history, uint8 [S + 1, num_items + 1, K]. Snapshot
            0 is before all slices, and the last item any unknown one: both know nothing.
    """

    names: tuple[str, ...]
    edges: Tensor
    starts: Tensor
    level: Tensor


@dataclass(frozen=True)
class Tables:
    """What a model is built from: sizes, and the tables it looks up by user or item number.

    Attributes:
        num_users: known users; number `num_users` itself stands for any unknown user.
        num_items: known items; number `num_items` itself stands for any unknown item.
        modalities: name to float32 features, [num_items, d_m].
        present: name to bool [num_items], True where the item has the modality.
        seen_user: True for users with a training row, [num_users]; others have no trained embedding.
        seen_item: True for items with a training row, [num_items].
        click_rate: share of training rows that were clicked, drawn negatives not counted.
        item_log_odds: log odds of a click on each item less those on an average one, by the training rows, smoothed,
            [num_items]; None: zero.
        clicks_per_user: mean number of training clicks of the users that have a training row.
        user_fields: name to a category of each user, [num_users + 1]; number `user_sizes[name]` itself stands for any
            unknown category, and the last row, an unknown user, holds it. user_sizes: name to number of categories.
        item_fields, item_sizes: the same of items, [num_items + 1].
        context_sizes: number of categories of each column of `Batch.context`.
        of_user: names of those columns that tell what the user has done so far.
        statistics: of every item at the start of every slice, None for models that read none.
        titles: numbers of the words of each item's title, int [num_items + 1, L], and `num_words` itself for padding;
            None without titles, or for models that read none.
        num_words: known words.
        num_types: behaviour types of clicks; 0 where the log has none.
        ages: edges between levels of the age of a click, seconds, [LEVELS - 1]; empty for models that read none.
        steps: training steps that are planned; 0 where nobody knows.
        slices: the time-sliced hypergraphs (`hyperctr.hypergraphs.SlicedHypergraphs`), None for models without graphs.
        interests: the learned interests (`hyperctr.interests.Interests`) that a model starts from, None without.
    """

    num_users: int
    num_items: int
    modalities: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    seen_user: Tensor
    seen_item: Tensor
    click_rate: float = 0.5
    item_log_odds: Tensor | None = None
    clicks_per_user: float = 1.0
    user_fields: Mapping[str, Tensor] = field(default_factory=dict)
    user_sizes: Mapping[str, int] = field(default_factory=dict)
    item_fields: Mapping[str, Tensor] = field(default_factory=dict)
    item_sizes: Mapping[str, int] = field(default_factory=dict)
    context_sizes: Mapping[str, int] = field(default_factory=dict)
    of_user: tuple[str, ...] = ()
    statistics: Statistics | None = None
    titles: Tensor | None = None
    num_words: int = 0
    num_types: int = 0
    ages: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    steps: int = 0
    slices: Any = None
    interests: Any = None


@dataclass(frozen=True)
class History:
    """The last clicks strictly before each of Q queries, oldest first.

    Attributes:
        item: [Q, T]. mask: True = real, real ones stand first, [Q, T]. time: seconds, [Q, T].
        type: behaviour types, [Q, T]; None where the log has none.
        length: clicks strictly before each query, those that did not fit into T too, [Q]; None: the clicks in `mask`.
    """

    item: Tensor
    mask: Tensor
    time: Tensor
    type: Tensor | None = None
    length: Tensor | None = None

    def to(self, device: torch.device | str) -> History:
        """Return the histories on a device."""
        return _moved(self, device)


@dataclass(frozen=True)
class Step:
    """What one step of a training is for.

    Attributes:
        task: the one task that the step trains; None: every task of the model.
        closes_group: whether the batch is the last of those that share one propagation of the hypergraphs.
        is_augmented: whether the batch repeats the batch before it with an augmented input (AQCL). A model that keeps
            states from batch to batch reads them then, and changes none of them.
    """

    task: str | None = None
    closes_group: bool = True
    is_augmented: bool = False


@dataclass(frozen=True)
class Batch:
    """B rows to score: a user, a candidate item, a time, and the clicks of the user strictly before that time.

    Rows with the same user and time form a *query*, such as a click and the negatives drawn for it. Compute user-side
    tensors once per query, for the rows `query_row`, and gather them with `expand_to_rows`.

    Attributes:
        user: [B]. item: [B]. time: seconds, [B].
        query: number of each row's query, [B], in [0, Q).
        query_row: one row of each query, [Q].
        histories: the clicks before each query, [Q, T].
        clicks_before: clicks on the candidate strictly before the row, by all users, float [B].
        shows_before: logged impressions of the candidate strictly before the row, float [B]; None where the log has no
            non-clicks.
        context: categorical context columns, [B, K], logged columns first, then columns derived from user and time; -1
            where unknown. None where nothing is derived and the log has no context or the row was drawn.
        label: 1 clicked, 0 not, float [B].
        conversion: what followed the click, in [0, 1], NaN where unknown, [B]; None where the log has none.
        step: what the batch is for in training; None in evaluation.
    """

    user: Tensor
    item: Tensor
    time: Tensor
    query: Tensor
    query_row: Tensor
    histories: History
    clicks_before: Tensor
    shows_before: Tensor | None
    context: Tensor | None
    label: Tensor
    conversion: Tensor | None = None
    step: Step | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def task(self) -> str | None:
        """The one task that this batch trains; None: every task."""
        return self.step.task if self.step else None

    @property
    def closes_group(self) -> bool:
        """Whether no later batch shares the propagation that this batch reads."""
        return self.step is None or self.step.closes_group

    @property
    def is_augmented(self) -> bool:
        """Whether the batch repeats the batch before it with an augmented input."""
        return self.step is not None and self.step.is_augmented

    def expand_to_rows(self, x: Tensor) -> Tensor:
        """Gather values of the queries for each row, [Q, ...] -> [B, ...]."""
        return expand_to_rows(x, self.query)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return _moved(self, device)


@dataclass(frozen=True)
class Output:
    """A model's answer.

    Attributes:
        logit: of the click, no sigmoid, [B].
        penalty: a term to add to the loss.
        logs: numbers to log.
        hidden: last hidden vectors, before the final linear layer, [B, hidden_dim]; None without such a layer.
        conversion: logit of the conversion in [0, 1], given the click, [B]; None for a model of clicks only.
        loss: the loss to train on, if it is not the cross entropy of `logit`; `penalty` is added to it as well.
    """

    logit: Tensor
    penalty: Tensor | float = 0.0
    logs: Mapping[str, float] = field(default_factory=dict)
    hidden: Tensor | None = None
    conversion: Tensor | None = None
    loss: Tensor | None = None


def expand_to_rows(x: Tensor, query: Tensor) -> Tensor:
    """Return x[query], [Q, ...] and [B] -> [B, ...]; x itself where every row is its own query."""
    same = len(query) == len(x) and torch.equal(query, torch.arange(len(x), device=query.device))
    return x if same else x.index_select(0, query)


def _moved(record: Any, device: torch.device | str) -> Any:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return replace(record, **{name: x.to(device) for name, x in values.items() if isinstance(x, Tensor | History)})
