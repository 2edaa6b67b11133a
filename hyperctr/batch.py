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
        slices: the time-sliced hypergraphs (`hyperctr.hypergraphs.SlicedHypergraphs`), None for models without graphs.
        interests: the learned interests (`hyperctr.interests.Interests`) whose vectors a model starts from, None without.
    """

    num_users: int
    num_items: int
    modalities: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    seen_user: Tensor
    seen_item: Tensor
    click_rate: float = 0.5
    slices: Any = None
    interests: Any = None


@dataclass(frozen=True)
class Batch:
    """B rows to score: a user, a candidate item, a moment, and what the user clicked strictly before it.

    Rows of one user at one time (a click and its drawn negatives) are one *query*: what depends on the user alone may
    be computed for the rows `first` and spread by `query`.

    Attributes:
        user: [B]. item: [B]. time: seconds, [B].
        query: number of the query that each row belongs to, [B], in [0, Q).
        first: one row of each query, [Q].
        history: the last clicks before the row, oldest first, [B, T].
        history_mask: True = real, real ones stand first, [B, T].
        history_time: seconds, [B, T].
        history_type: behaviour types, [B, T]; None where the log has none.
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
    history: Tensor
    history_mask: Tensor
    history_time: Tensor
    history_type: Tensor | None
    clicks_before: Tensor
    shows_before: Tensor | None
    context: Tensor | None
    label: Tensor
    last: bool = True

    def __len__(self) -> int:
        return len(self.user)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x.to(device) for name, x in moved.items() if isinstance(x, Tensor)})


@dataclass(frozen=True)
class Output:
    """A model's answer: one logit a row (no sigmoid), a loss term to add to the cross entropy, and numbers to log."""

    logit: Tensor
    penalty: Tensor | float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)
