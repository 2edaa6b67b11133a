"""Transitions: who follows whom within a few clicks, the strength of a first-order walk over clicked items.

T_ij = S_ij / sqrt(d_i d_j). S_ij sums gap^-1/2 over the users' pairs of training clicks, j before i and `within` clicks
apart at most; d_i is the number of users who clicked i, plus SHRINK, which holds rare items back.
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
from hyperctr.referees.clicks import OfClicks, TrainingClicks, clicked_places, places_of
from hyperctr.referees.neighbours import Neighbours
from hyperctr.strict import check

SHRINK = 5.0
KEPT = 200  # entries per candidate


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of transitions."""

    within: int = 20
    """Most clicks between two that follow each other."""
    decays: tuple[float, ...] = (1.0, 0.95, 0.8, 0.5)
    """Factors to try, by which a click of the history counts less than the next one; the one with the highest AUC on
    the validation rows is kept."""

    def __post_init__(self):
        check(self.within >= 1, "model.within", self.within, "at least 1")
        works = "numbers above 0 and at most 1, at least one"
        check(self.decays and 0 < min(self.decays) <= max(self.decays) <= 1, "model.decays", self.decays, works)


class Transitions(OfClicks):
    """The sum of T[candidate, j] * decay^age over the user's earlier clicks j; the latest has age 0.

    A few scalars turn the score into a logit, see `Setting`.
    """

    Config = Config

    def __init__(self, config: Config, tables: Tables):
        super().__init__(config, tables)
        self.decay = 1.0
        self.near: Neighbours | None = None

    @classmethod
    def memory(cls, config: Config, counts: TrainingCounts) -> int:
        """Return the bytes that fitting takes at most: two sparse sums of all pairs, and what is kept of them."""
        pairs = min(config.within * counts.clicks, counts.clicked_items**2)
        return 4 * 12 * pairs + 12 * KEPT * counts.clicked_items

    @classmethod
    def seconds(cls, config: Config, counts: TrainingCounts) -> float:
        """Estimate the seconds that fitting takes on one core: pairs of clicks, and strengths that are sorted."""
        pairs = config.within * counts.clicks
        return pairs / 5e6 + min(pairs, counts.clicked_items**2) / 3e6 + counts.rows / 2e5

    def fit(
        self, train: Callable[[], Iterable[Batch]], valid: Callable[[], Iterable[Batch]] | None = None
    ) -> dict[str, Any]:
        """Count who follows whom; see `hyperctr.batch.Referee.fit`."""
        clicks = TrainingClicks.of(train())
        self.places = places_of(clicks.items, self.num_items)
        self.near = Neighbours.strongest([strengths(clicks, self.config.within)], KEPT)

        def use(decay: float) -> None:
            self.decay = decay

        return self.setting.choose("decay", self.config.decays, use, self.raw, valid, clicks.non_clicks)

    def raw(self, batch: Batch) -> Tensor:
        """Return the decayed sums of T, float64 [B]."""
        past, mask = clicked_places(batch, self.places), batch.histories.mask
        age = mask.sum(1, keepdim=True) - 1 - torch.arange(mask.shape[1])
        weight = torch.where(mask, self.decay ** age.clamp(min=0).double(), 0.0)
        return self.near.sums(past, weight, batch.query, self.places[batch.item], KEPT)


def strengths(clicks: TrainingClicks, within: int) -> sparse.csr_array:
    """Return T, [m, m]; clicks of one user at one time do not follow each other, and an item may follow itself."""
    m, found = len(clicks.items), None
    for gap in range(1, within + 1):
        near = (clicks.user[gap:] == clicks.user[:-gap]) & (clicks.time[gap:] > clicks.time[:-gap])
        later, earlier = clicks.place[gap:][near], clicks.place[:-gap][near]
        part = sparse.csr_array((np.full(len(later), gap**-0.5), (later, earlier)), shape=(m, m))
        found = part if found is None else found + part
    size = 1 / np.sqrt(np.bincount(clicks.matrix().indices, minlength=m) + SHRINK)
    return (sparse.diags_array(size) @ found @ sparse.diags_array(size)).tocsr()
