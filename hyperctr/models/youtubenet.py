"""YoutubeNet (RecSys 2016, "Deep neural networks for YouTube recommendations"): a user is the mean of the clicks.

Where we differ from the paper, and why: it is used to rank, as in MARN's Table 2. The paper retrieves by a softmax over
all videos; here a row has one candidate, and the loss is the cross entropy of the click. Modalities are put side by
side; an absent one is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Profile
from hyperctr.layers.fusion import FIELD, Modalities
from hyperctr.layers.mlp import Linear, mlp


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of YoutubeNet."""

    modalities: tuple[str, ...] = ()
    """Modalities to read: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 16
    """Width of each modality's vector."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")


class YoutubeNet(nn.Module):
    """logit = w^T MLP[mean of the clicks ; candidate ; profile] + b."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.modalities = Modalities(tables, config.modalities, config.dim)
        self.profile = Profile(tables, FIELD)
        width = 2 * len(self.modalities) * config.dim + self.profile.width
        self.top = mlp(width, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        items = self.modalities.distinct(batch)
        vectors, _ = self.modalities(items.item, items.snapshot)
        item, clicks = items.spread(vectors.transpose(0, 1).flatten(1))
        share = batch.histories.mask / batch.histories.mask.sum(1, keepdim=True).clamp(min=1)
        mean = torch.bmm(share[:, None].to(clicks.dtype), clicks).squeeze(1)  # zero for an empty history
        hidden = self.top(torch.cat([batch.expand_to_rows(mean), item, self.profile(batch)], 1))
        return Output(self.out(hidden).squeeze(1), hidden=hidden)
