"""xDeepFM (KDD 2018, arXiv 1803.05170): products of many fields column by column, plus weights and a network.

Where we differ from the paper: the history counts as one field, the mean of its clicks' vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.chunked import blockwise
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of xDeepFM."""

    dim: int = 16
    """Width of every field's vector."""
    maps: tuple[int, ...] = (64, 64)
    """Feature maps H_k of each layer of the compressed interaction network."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the deep part's layers."""
    dropout: float = 0.2
    """Share of activations dropped in the deep part."""

    def __post_init__(self):
        check_sizes(self, "dim", "maps", "hidden")
        check_shares(self, "dropout")


class CIN(nn.Module):
    """Compressed Interaction Network: X^k_h = sum_ij W^{k,h}_ij X^{k-1}_i * X^0_j, Eq. (6), without an activation."""

    def __init__(self, fields: int, maps: tuple[int, ...]):
        super().__init__()
        self.weight = nn.ParameterList(
            torch.randn(now, before * fields) * (before * fields) ** -0.5 for before, now in pairwise((fields, *maps))
        )

    def forward(self, first: Tensor) -> Tensor:
        """Sum every X^k over its d columns, Eq. (7): [B, F, d] -> [B, sum of maps]."""
        first = first.transpose(1, 2)  # [B, d, F]
        x, found = first, []
        for weight in self.weight:
            products = (x[..., None] * first[:, :, None]).flatten(2)  # [B, d, H * F]
            x = products @ weight.T  # (6)  [B, d, H']
            found.append(x.sum(1))  # (7)
        return torch.cat(found, 1)


class XDeepFM(nn.Module):
    """logit = sum_i w_i + w^T [CIN(v); MLP(v)] + b: linear, compressed interactions and deep, section 3.3."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim + 1)  # the last column is the weight w_i
        fields = self.embed.num_fields + 1
        self.cin = CIN(fields, config.maps)
        self.numbers = fields * max(fields, *config.maps) * config.dim  # per row in a layer of the CIN
        self.deep = mlp(fields * config.dim, config.hidden, config.dropout)
        self.out = Linear(sum(config.maps) + config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        x = self.embed.fields(batch)
        v = x[..., :-1]
        hidden = torch.cat([blockwise(self.cin, self.numbers, v), self.deep(v.flatten(1))], 1)
        return Output(x[..., -1].sum(1) + self.out(hidden).squeeze(1), hidden=hidden)
