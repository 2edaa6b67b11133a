"""What referees of clicks share: the clicks among training rows, the history of a batch by numbered item, logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.referees.choose import Setting


class OfClicks(nn.Module, ABC):
    """A referee that scores an item by sums over the user's earlier clicks; a `Setting` turns them into logits.

    Attributes:
        setting: what validation rows choose.
        places: the place of each item among those with a training click, see `places_of`; None before it is fitted.
    """

    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Any, tables: Tables):
        super().__init__()
        self.config, self.num_items = config, tables.ids.num_items
        self.setting = Setting()
        self.places: Tensor | None = None

    @abstractmethod
    def raw(self, batch: Batch) -> Tensor:
        """Return the sums, float64 [B]."""

    def score(self, rows: Batch) -> Tensor:
        """Return logits, float32 [B]."""
        return self.setting.logit(self.raw(rows))

    def forward(self, batch: Batch) -> Output:
        return Output(self.score(batch))


@dataclass(frozen=True)
class TrainingClicks:
    """The clicks among the training rows, by user and time; clicks of one user at one time are by item.

    Attributes:
        user, item, time: [n] each.
        items: the m clicked items, ascending; item `items[k]` has the place k.
        place: place of each click's item, [n].
        non_clicks: training rows without a click, drawn negatives among them, per click.

    >>> from hyperctr.data.interactions import Interactions
    >>> from hyperctr.data.loader import Loader
    >>> log = Interactions([1, 0, 1], [4, 7, 7], [2, 5, 9], [1, 1, 0], num_users=2, num_items=9)
    >>> clicks = TrainingClicks.of(Loader(log).batches(np.arange(3), 2))
    >>> clicks.user.tolist(), clicks.items.tolist(), clicks.place.tolist(), clicks.non_clicks
    ([0, 1], [4, 7], [1, 0], 0.5)
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    items: np.ndarray
    place: np.ndarray
    non_clicks: float

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> TrainingClicks:
        """Read the clicks of some batches, in which each training row comes once and in any order.

        Raises:
            ValueError: there is no click.
        """
        found, rows = [np.empty((3, 0), np.int64)], 0
        for batch in batches:
            clicked = batch.label == 1
            found.append(torch.stack([batch.user[clicked], batch.item[clicked], batch.time[clicked]]).numpy())
            rows += len(batch)
        user, item, time = np.concatenate(found, 1)
        if not len(user):
            raise ValueError("a referee reads the clicks of the training rows, and none of them is a click")
        order = np.lexsort((item, time, user))
        items, place = np.unique(item[order], return_inverse=True)
        return cls(user[order], item[order], time[order], items, place, (rows - len(user)) / len(user))

    def matrix(self) -> sparse.csr_array:
        """Return X: 1 where a user clicked an item at least once, float64 [users with a training click, m]."""
        users, row = np.unique(self.user, return_inverse=True)
        x = sparse.csr_array((np.ones(len(row)), (row, self.place)), shape=(len(users), len(self.items)))
        x.data[:] = 1  # clicks of one pair were summed
        return x


def places_of(items: np.ndarray, num_items: int) -> Tensor:
    """Return the place among `items` of each item and, last, of an unknown one, [num_items + 1].

    An item that is not there has the place len(items).

    >>> places_of(np.array([1, 3]), 4).tolist()
    [2, 0, 2, 1, 2]
    """
    found = torch.full((num_items + 1,), len(items))
    found[torch.from_numpy(items)] = torch.arange(len(items))
    return found


def clicked_places(batch: Batch, places: Tensor) -> Tensor:
    """Return the places of the items in each history, [Q, T]; that of an unknown item for padding."""
    past = batch.histories
    return places[past.item.where(past.mask, len(places) - 1)]


def once(place: Tensor, none: int) -> Tensor:
    """Return each row in ascending order, with `none` in the place of a number that repeats, [Q, T].

    >>> once(torch.tensor([[3, 1, 3, 9]]), 9).tolist()
    [[1, 3, 9, 9]]
    """
    place = place.sort(1).values
    again = torch.zeros_like(place, dtype=torch.bool)
    again[:, 1:] = place[:, 1:] == place[:, :-1]
    return place.masked_fill(again, none)
