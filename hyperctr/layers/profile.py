"""What a row says besides its items: the user, the user's fields, and the context."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Tables
from hyperctr.layers.embed import Table, context_table, context_vectors, fields_table


class Profile(nn.Module):
    """The user's id and fields and the columns of the context, each `dim` wide, side by side.

    What is unknown or missing is zero: a user without a training row, a category, the context of a row without one.

    Args:
        tables: sizes, fields, and which users have training rows.
        dim: width of each.
    """

    def __init__(self, tables: Tables, dim: int):
        super().__init__()
        self.user = Table(tables.num_users, dim)
        self.register_buffer("seen_user", F.pad(tables.seen_user, (0, 1)))
        self.user_fields, codes = fields_table(tables.user_fields, tables.user_sizes, dim)
        self.register_buffer("user_codes", codes, persistent=False)  # [num_users + 1, J]
        self.context, first = context_table(tables.context_sizes, dim)
        self.register_buffer("context_first", first, persistent=False)  # [K]
        self.width = dim * (1 + len(tables.user_sizes) + len(tables.context_sizes))

    def forward(self, batch: Batch) -> Tensor:
        """[B, width]."""
        parts = [self.user(batch.user.where(self.seen_user[batch.user], len(self.seen_user) - 1))]
        if self.user_fields is not None:
            parts.append(self.user_fields(self.user_codes[batch.user]).flatten(1))
        if self.context is not None:
            parts.append(context_vectors(self.context, self.context_first, batch).flatten(1))
        return torch.cat(parts, 1)
