"""Factorisation machines (Rendle, ICDM 2010): every pair of fields has a weight, the product of the fields' vectors.

Where we differ from the paper: the history counts as one field, the mean of its clicks' vectors; features of modalities
are fields too, through a linear map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.feature_cross import pairwise


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size of the factors."""

    dim: int = 16
    """Width of every field's vector."""

    def __post_init__(self):
        check_sizes(self, "dim")


class FM(nn.Module):
    """logit = w_0 + sum_i w_i + sum_{i < j} <v_i, v_j> over the fields, Eq. (1)."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim + 1)  # the last column is the weight w_i
        self.bias = nn.Parameter(torch.zeros(()))

    @property
    def hidden_dim(self) -> int:
        """Number of terms that the logit adds up: weights of fields and history, and columns of their products."""
        return self.embed.num_fields + self.embed.dim

    def forward(self, batch: Batch) -> Output:
        x = self.embed.fields(batch)
        hidden = torch.cat([x[..., -1], pairwise(x[..., :-1])], 1)
        return Output(self.bias + hidden.sum(1), hidden=hidden)
