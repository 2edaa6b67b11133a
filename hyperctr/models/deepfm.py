"""DeepFM (IJCAI 2017, arXiv 1703.04247): a factorisation machine and a network on the same vectors of the fields.

Where we differ from the paper: the history counts as one field, the mean of its clicks' vectors; features of modalities
are fields too, through a linear map.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.feature_cross import pairwise
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DeepFM."""

    dim: int = 16
    """Width of every field's vector."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the deep part's layers."""
    dropout: float = 0.2
    """Share of activations dropped in the deep part."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")


class DeepFM(nn.Module):
    """logit = y_FM + y_DNN, Eq. (1): sum_i w_i + sum_{i < j} <v_i, v_j>, Eq. (2), and w^T MLP(v) + b, Eq. (3)-(4)."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim + 1)  # the last column is the weight w_i
        self.deep = mlp((self.embed.num_fields + 1) * config.dim, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        x = self.embed.fields(batch)
        hidden = self.deep(x[..., :-1].flatten(1))  # (3), (4)
        machine = x[..., -1].sum(1) + pairwise(x[..., :-1]).sum(1)  # (2)
        return Output(machine + self.out(hidden).squeeze(1), hidden=hidden)
