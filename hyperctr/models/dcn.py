"""Deep & Cross Network: version 1 (ADKDD 2017, arXiv 1708.05123) and version 2 (WWW 2021, arXiv 2008.13535).

Each cross layer multiplies by the fields' vectors once more, so that L layers form products of up to L + 1 factors. A
network runs in parallel to them.

Where we differ from the papers, and why: version 2 is parallel to the network as version 1 is (the paper also stacks
them), with full matrices; the history counts as one field, the mean of its clicks' vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_choices, check_shares, check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DCN."""

    version: Literal[1, 2] = 2
    """A cross layer's weight is a vector (1) or a matrix (2)."""
    dim: int = 16
    """Width of every field's vector."""
    depth: int = 3
    """Cross layers L."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the parallel network."""
    dropout: float = 0.2
    """Share of activations dropped in the network."""

    def __post_init__(self):
        check_sizes(self, "dim", "depth", "hidden")
        check_shares(self, "dropout")
        check_choices(self, "version")


class Cross(nn.Module):
    """x_{l+1} = x_0 (w_l^T x_l) + b_l + x_l, version 1, Eq. (3); x_0 * (W_l x_l + b_l) + x_l, version 2, Eq. (1)."""

    def __init__(self, dim: int, depth: int, version: int):
        super().__init__()
        self.version = version
        self.weight = nn.ModuleList(nn.Linear(dim, 1 if version == 1 else dim, bias=False) for _ in range(depth))
        self.bias = nn.ParameterList(torch.zeros(dim) for _ in range(depth))
        for linear in self.weight:
            nn.init.xavier_normal_(linear.weight)

    def forward(self, first: Tensor) -> Tensor:
        """Apply the cross layers: [B, dim] -> [B, dim]."""
        x = first
        for weight, bias in zip(self.weight, self.bias, strict=True):
            x = first * weight(x) + bias + x if self.version == 1 else first * (weight(x) + bias) + x
        return x


class DCN(nn.Module):
    """logit = w^T [cross(x_0); MLP(x_0)] + b, with x_0 the fields' vectors side by side."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim)
        width = (self.embed.num_fields + 1) * config.dim
        self.cross = Cross(width, config.depth, config.version)
        self.deep = mlp(width, config.hidden, config.dropout)
        self.out = Linear(width + config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        x = self.embed.fields(batch).flatten(1)
        hidden = torch.cat([self.cross(x), self.deep(x)], 1)
        return Output(self.out(hidden).squeeze(1), hidden=hidden)
