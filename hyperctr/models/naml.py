"""NAML, attentive multi-view learning (IJCAI 2019, arXiv 1907.05576): attention over an item's views, then over clicks.

Where we differ from the paper, and why:
- The paper's views are title, body, category and subcategory of news. Here they are the modalities; an absent one has
  no weight.
- The paper's click score is the inner product of user and candidate. Here a network reads both, as in all rows of
  MARN's Table 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.attention import masked_softmax
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Profile
from hyperctr.layers.fusion import FIELD, Modalities
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of NAML."""

    modalities: tuple[str, ...] = ()
    """Modalities to fuse: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 64
    """Width of a view's vector, of an item's and of a user's."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")


class Additive(nn.Module):
    """sum_k a_k x_k with a = softmax_k(q^T tanh(V x_k + v)): over an item's views, and over a user's clicks."""

    def __init__(self, dim: int):
        super().__init__()
        self.view, self.query = nn.Linear(dim, dim), nn.Linear(dim, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add up the vectors: [n, K, d] and [n, K] -> [n, d]; zero where the whole mask is False."""
        weight = masked_softmax(self.query(self.view(x).tanh()).squeeze(2), mask, 1)
        return torch.bmm(weight[:, None], x).squeeze(1)


class NAML(nn.Module):
    """logit = w^T MLP[user ; candidate ; user * candidate ; profile] + b."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.modalities = Modalities(tables, config.modalities, config.dim)
        self.views, self.clicks = Additive(config.dim), Additive(config.dim)
        self.profile = Profile(tables, FIELD)
        self.top = mlp(3 * config.dim + self.profile.width, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        items = self.modalities.distinct(batch)
        views, present = self.modalities(items.item, items.snapshot)
        vector = self.views(views.relu().transpose(0, 1), present.T)
        item, clicks = items.spread(vector)
        user = batch.expand_to_rows(self.clicks(clicks, batch.histories.mask))
        hidden = self.top(torch.cat([user, item, user * item, self.profile(batch)], 1))
        return Output(self.out(hidden).squeeze(1), hidden=hidden)
