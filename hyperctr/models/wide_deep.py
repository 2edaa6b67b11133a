"""Wide & Deep Learning for Recommender Systems (DLRS 2016, arXiv 1606.07792).

A wide part memorises: it has one weight per value of a field and per cross of two values. A deep part generalises: it
is a network on the fields' vectors. They are trained together, Eq. (3).

Where we differ from the paper, and why:
- One optimiser trains both parts (the paper takes FTRL for the wide part): there is one training loop for all models.
- The one cross is of the user and the item, or of the user and a field of the item, hashed into 2^18 weights. A cross
  of ids that were not both seen in training adds nothing.
- The history counts as one field, the mean of its clicks' vectors and of their weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Linear, mlp
from hyperctr.layers.table import Table

BITS = 18  # 2^18 weights of crosses
GOLDEN = -7046029254386353131  # 2^64 divided by the golden ratio, odd, as a signed number (Knuth's multiplicative hash)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of Wide & Deep."""

    dim: int = 16
    """Width of every field's vector in the deep part."""
    cross: str = ""
    """The item's field that is crossed with the user, such as a category; empty: the item itself."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the deep part's layers."""
    dropout: float = 0.2
    """Share of activations dropped in the deep part."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")


class WideDeep(nn.Module):
    """logit = sum_f w_f + w_{user x item} + w^T MLP(fields) + b, Eq. (3).

    Raises:
        ValueError: `cross` names a field that the items do not have.
    """

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim + 1)  # the last column is the wide part's weight
        self.cross = Table(2**BITS, 1)
        self.deep = mlp((self.embed.num_fields + 1) * config.dim, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)
        if config.cross and config.cross not in tables.fields.item.sizes:
            there = ", ".join(tables.fields.item.sizes) or "none"
            raise ValueError(f"model.cross must be a field of the items ({there}), got {config.cross!r}")
        self.categories = tables.fields.item.sizes.get(config.cross)  # None: the items themselves are crossed
        category = tables.fields.item.code(config.cross) if config.cross else torch.arange(tables.ids.num_items + 1)
        self.register_buffer("category", category, persistent=False)  # [num_items + 1]

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        x = self.embed.fields(batch)
        hidden = self.deep(x[..., :-1].flatten(1))
        wide = x[..., -1].sum(1) + self.cross(self.bucket(batch)).squeeze(1)
        return Output(wide + self.out(hidden).squeeze(1), hidden=hidden)

    def bucket(self, batch: Batch) -> Tensor:
        """Number the weight of each row's cross, [B], in [0, 2^18); 2^18 where user or item is unknown."""
        user, category = batch.user, self.category[batch.item]
        of_item = self.embed.seen_item[batch.item] if self.categories is None else category < self.categories
        mixed = (user * len(self.category) + category) * GOLDEN  # wraps around
        bucket = (mixed >> (64 - BITS)) & (2**BITS - 1)
        return bucket.where(self.embed.seen_user[user] & of_item, 2**BITS)
