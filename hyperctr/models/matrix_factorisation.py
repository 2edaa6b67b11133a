"""Static matrix factorisation, without any order in time: the second row that every model must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hyperctr.batch import Batch, Output, Tables


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size of the factors."""

    dim: int = 32
    """Width of the user and item vectors."""

    def __post_init__(self):
        if self.dim < 1:
            raise ValueError(f"model.dim must be at least 1, got {self.dim}")


class MatrixFactorisation(nn.Module):
    """logit = b + b_u + b_i + <p_u, q_i>; users and items without a training row add nothing."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.user = nn.Embedding(tables.ids.num_users + 1, config.dim + 1)  # the last column is the bias b_u
        self.item = nn.Embedding(tables.ids.num_items + 1, config.dim + 1)
        self.bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("seen_user", F.pad(tables.ids.seen_user, (0, 1)))
        self.register_buffer("seen_item", F.pad(tables.ids.seen_item, (0, 1)))
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1)
            nn.init.zeros_(table.weight[:, -1])

    def forward(self, batch: Batch) -> Output:
        p = self.user(batch.user) * self.seen_user[batch.user, None]
        q = self.item(batch.item) * self.seen_item[batch.item, None]
        return Output(self.bias + p[:, -1] + q[:, -1] + (p[:, :-1] * q[:, :-1]).sum(1))
