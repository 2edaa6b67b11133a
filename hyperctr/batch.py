"""What every model reads (`Tables` once, a `Batch` at a time) and what every model returns (`Output`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


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
    slices: Any = None
    interests: Any = None


@dataclass(frozen=True)
class History:
    """The last clicks strictly before each of Q queries, oldest first.

    Attributes:
        item: [Q, T]. mask: True = real, real ones stand first, [Q, T]. time: seconds, [Q, T].
        type: behaviour types, [Q, T]; None where the log has none.
    """

    item: Tensor
    mask: Tensor
    time: Tensor
    type: Tensor | None = None

    def to(self, device: torch.device | str) -> History:
        """Return the histories on a device."""
        return _moved(self, device)


@dataclass(frozen=True)
class Batch:
    """B rows to score: a user, a candidate item, a moment, and what the user clicked strictly before it.

    Rows of one user at one time (a click and its drawn negatives) are one *query*: what depends on the user alone may
    be computed for the rows `first` and spread by `query`; their histories are kept once, in `past`.

    Attributes:
        user: [B]. item: [B]. time: seconds, [B].
        query: number of the query that each row belongs to, [B], in [0, Q).
        first: one row of each query, [Q].
        past: the histories of the queries, [Q, T]: `past.item` is `history[first]`, made without its B rows.
        clicks_before: clicks of the candidate strictly before the row, by anyone, float [B].
        shows_before: logged impressions of the candidate strictly before the row, float [B]; None where non-clicks were
            not logged.
        context: categorical context columns, [B, K]; None where the log has none or the row was drawn.
        label: 1 clicked, 0 not, float [B].
        last: whether this is the last of the batches that share one propagation (`model.batches_per_graph`).
    """

    user: Tensor
    item: Tensor
    time: Tensor
    query: Tensor
    first: Tensor
    past: History
    clicks_before: Tensor
    shows_before: Tensor | None
    context: Tensor | None
    label: Tensor
    last: bool = True

    def __len__(self) -> int:
        return len(self.user)

    @property
    def history(self) -> Tensor:
        """The last clicks before each row, oldest first, [B, T]."""
        return self.past.item[self.query]

    @property
    def history_mask(self) -> Tensor:
        """True = a real click, real ones stand first, [B, T]."""
        return self.past.mask[self.query]

    @property
    def history_time(self) -> Tensor:
        """When these clicks were, seconds, [B, T]."""
        return self.past.time[self.query]

    @property
    def history_type(self) -> Tensor | None:
        """Behaviour types of these clicks, [B, T]; None where the log has none."""
        return None if self.past.type is None else self.past.type[self.query]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return _moved(self, device)


@dataclass(frozen=True)
class Output:
    """A model's answer: one logit a row (no sigmoid), a loss term to add to the cross entropy, and numbers to log."""

    logit: Tensor
    penalty: Tensor | float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)


def _moved(held: Any, device: torch.device | str) -> Any:
    values = {f.name: getattr(held, f.name) for f in fields(held)}
    return replace(held, **{name: x.to(device) for name, x in values.items() if isinstance(x, Tensor | History)})
