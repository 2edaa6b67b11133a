"""Item-kNN (Sarwar et al., WWW 2001): the cosine between the users of two items, shrunk where they have few.

cos_ij = n_ij / (sqrt(n_i n_j) + SHRINK), with n_i users who clicked i and n_ij users who clicked both, among the
training rows. Each candidate keeps its k nearest items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hyperctr.batch import Batch, Tables, TrainingCounts
from hyperctr.referees.clicks import OfClicks, TrainingClicks, clicked_places, once, places_of
from hyperctr.referees.neighbours import Neighbours
from hyperctr.strict import check

SHRINK = 10.0
ROWS = 2048  # items whose cosines are in memory at a time


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of item-kNN."""

    neighbours: tuple[int, ...] = (20, 50, 200)
    """Numbers of nearest items to try; the one with the highest AUC on the validation rows is kept."""

    def __post_init__(self):
        works = "whole numbers of at least 1, at least one of them"
        check(self.neighbours and min(self.neighbours) >= 1, "model.neighbours", self.neighbours, works)


class ItemKNN(OfClicks):
    """The sum of the cosines of those k nearest items of the candidate that the user clicked before, each once.

    A few scalars turn the score into a logit, see `Setting`.
    """

    Config = Config

    def __init__(self, config: Config, tables: Tables):
        super().__init__(config, tables)
        self.k = 0
        self.near: Neighbours | None = None

    @classmethod
    def memory(cls, config: Config, counts: TrainingCounts) -> int:
        """Return the bytes that fitting takes at most: neighbours, the cosines of some items, and clicks."""
        m = counts.clicked_items
        most = min(ROWS, m) * m
        return 12 * m * min(max(config.neighbours), m) + 4 * 12 * most + 2 * 12 * counts.clicks

    @classmethod
    def seconds(cls, config: Config, counts: TrainingCounts) -> float:
        """Estimate the seconds that fitting takes on one core: pairs of clicks, and cosines that are sorted."""
        return counts.pairs / 3e7 + min(counts.pairs, counts.clicked_items**2) / 3e6 + counts.rows / 2e5

    def fit(
        self, train: Callable[[], Iterable[Batch]], valid: Callable[[], Iterable[Batch]] | None = None
    ) -> dict[str, Any]:
        """Find the nearest items of each; see `hyperctr.batch.Referee.fit`."""
        clicks = TrainingClicks.of(train())
        self.places = places_of(clicks.items, self.num_items)
        many = max(self.config.neighbours) if valid is not None else int(self.setting.value)
        self.near = Neighbours.strongest([*cosines(clicks.matrix())], many)

        def use(k: float) -> None:
            self.k = int(k)

        return self.setting.choose("neighbours", self.config.neighbours, use, self.raw, valid, clicks.non_clicks)

    def raw(self, batch: Batch) -> Tensor:
        """Return the sums of cosines, float64 [B]."""
        past = once(clicked_places(batch, self.places), len(self.near.item) - 1)
        weight = torch.ones(past.shape, dtype=torch.float64)
        return self.near.sums(past, weight, batch.query, self.places[batch.item], self.k)


def cosines(x: sparse.csr_array) -> Iterable[sparse.csr_array]:
    """Yield the shrunk cosines between the columns of X, without the diagonal, for `ROWS` columns after another.

    >>> [part.toarray().round(4).tolist() for part in cosines(sparse.csr_array(np.array([[1.0, 1], [1, 0]])))]
    [[[0.0, 0.0876], [0.0876, 0.0]]]
    """
    users, turned = np.bincount(x.indices, minlength=x.shape[1]).astype(np.float64), x.T.tocsr()
    for first in range(0, x.shape[1], ROWS):
        part = (turned[first : first + ROWS] @ x).tocoo()
        row, column = part.row + first, part.col
        other = row != column
        value = part.data[other] / (np.sqrt(users[row[other]] * users[column[other]]) + SHRINK)
        yield sparse.csr_array((value, (part.row[other], column[other])), shape=part.shape)
