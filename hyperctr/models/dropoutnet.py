"""DropoutNet: Addressing Cold Start in Recommender Systems (NeurIPS 2017), as a wrapper in AQCL's Table 2.

Ids are hidden at random in training, so that the model learns to predict without them.

Where we differ from the paper, and why:
- An id is hidden in all rows of a step, not in a single row: rows of one user are computed together.
- A hidden id is treated as an id without a training row, which is what the paper trains the model for. Its fields and
  modalities stay.
- The paper's inputs are vectors learned before, and its target is their product. Here the model learns its own vectors
  with the cross entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.embedding import id_table, unseen
from hyperctr.layers.rng import RandomStream


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many ids are hidden."""

    share: float = 0.5
    """Probability that an id is hidden in a step: half of it for a user, half of it for an item. 0 hides none."""

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ValueError(f"wrapper.share must lie in [0, 1], got {self.share}")


class DropoutNet(nn.Module):
    """A wrapper that hides some ids of users and items in every training step.

    Args:
        base: any model with tables named user and item and masks `seen_user` and `seen_item`.
        config: how many ids are hidden.
        tables: what the base was made from.

    Raises:
        ValueError: the base has no table of users or of items.
    """

    Config = Config
    reads = frozenset()
    stays = False

    def __init__(self, base: nn.Module, config: Config, tables: Tables):
        super().__init__()
        id_table(base, "user", tables.ids.num_users)
        id_table(base, "item", tables.ids.num_items)
        self.base, self.config, self.tasks = base, config, base.tasks
        self.num_users, self.num_items = tables.ids.num_users, tables.ids.num_items
        self.draws = RandomStream()

    def forward(self, batch: Batch) -> Output:
        """Return the base's output; in training without some ids."""
        if not (self.training and self.config.share):
            return self.base(batch)
        with self.draws.stream():
            user, item = self._drawn(batch.user, self.num_users), self._drawn(batch.item, self.num_items)
        with unseen(self.base, "user", batch.user, user), unseen(self.base, "item", batch.item, item):
            return self.base(batch)

    def _drawn(self, ids: Tensor, count: int) -> Tensor:
        """Say which of the ids [n] are hidden, bool [n]; equal ids share one draw."""
        draw = torch.empty(count + 1, device=ids.device).index_copy_(0, ids, torch.rand(len(ids), device=ids.device))
        return draw[ids] < self.config.share / 2
