"""Logistic regression on the one-hot fields of a row: one weight per value of a field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.embedding import Embed


@dataclass(frozen=True, kw_only=True)
class Config:
    """LR has no settings."""


class LR(nn.Module):
    """logit = b + sum_f w_f(x_f), where the history counts as one field: the mean weight of its clicks.

    A user's own weight does not change the order of items for this user. It matters where rows of several users are
    compared.
    """

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, 1)
        self.bias = nn.Parameter(torch.zeros(()))

    @property
    def hidden_dim(self) -> int:
        """Number of weights that the logit adds up: one per field and one of the history."""
        return self.embed.num_fields + 1

    def forward(self, batch: Batch) -> Output:
        hidden = self.embed.fields(batch).squeeze(2)
        return Output(self.bias + hidden.sum(1), hidden=hidden)
