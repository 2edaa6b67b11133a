"""The property of a click: what kind of behaviour it was, and how long ago."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.batch import LEVELS, Batch, Tables
from hyperctr.layers.embed import Table

NUMBER = 8  # width of the vector of a type and of each level


class Property(nn.Module):
    """p_t = [type ; age in 10 levels ; age in 100 levels]: MARN (WWW 2020), section 3.1.2.

    The age counts from the click to the row. A log without types has one type.
    """

    width = 3 * NUMBER

    def __init__(self, tables: Tables):
        super().__init__()
        self.kind = Table(max(tables.num_types, 1), NUMBER)
        self.coarse, self.fine = Table(LEVELS // 10, NUMBER), Table(LEVELS, NUMBER)
        self.register_buffer("ages", tables.ages, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """[Q, T, width] of the batch's histories; whatever stands behind them is arbitrary."""
        past = batch.past
        level = torch.bucketize(batch.time[batch.first][:, None] - past.time, self.ages)
        kind = torch.zeros_like(past.item) if past.type is None else past.type
        return torch.cat([self.kind(kind), self.coarse(level // 10), self.fine(level)], 2)
