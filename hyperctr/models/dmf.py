"""DMF, Dense Multimodal Fusion (ICASSP 2019, arXiv 1810.03414): modalities are joined at every depth, not at the end.

Each modality passes through its own layers. At each depth a shared layer reads all modalities of that depth and the
shared layer below. The last shared layer is the item's vector.

Where we differ from the paper, and why:
- The paper joins two modalities of one example. Here there are as many as an item has; an absent one adds nothing.
- MARN, whose Table 2 this is for, does not say what reads the clicks: here the GRU of its BaseModel does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Profile
from hyperctr.layers.fusion import FIELD, Maps, Modalities
from hyperctr.layers.mlp import Linear, mlp
from hyperctr.layers.recurrent import LastState


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DMF."""

    modalities: tuple[str, ...] = ()
    """Modalities to fuse: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 64
    """Width of every layer, of an item's vector and of the GRU's state."""
    depth: int = 3
    """Layers at which the modalities are joined."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "depth", "hidden")
        check_shares(self, "dropout")


class DenseFusion(nn.Module):
    """h_l^m = ReLU(W_l^m h_(l-1)^m + b), j_l = ReLU(sum_m V_l^m h_l^m + U_l j_(l-1) + b), with j_0 = 0."""

    def __init__(self, count: int, dim: int, depth: int):
        super().__init__()
        self.alone = nn.ModuleList(Maps(count, dim, dim) for _ in range(depth))
        self.joined = nn.ModuleList(Maps(count, dim, dim) for _ in range(depth))
        self.below = nn.ModuleList(Linear(dim, dim, bias=False) for _ in range(depth - 1))

    def forward(self, h: Tensor, present: Tensor) -> Tensor:
        """Fuse the modalities: [M, U, d] and [M, U] -> [U, d]."""
        shared = None
        for level, (alone, joined) in enumerate(zip(self.alone, self.joined, strict=True)):
            h = alone(h).relu()
            total = (joined(h) * present[:, :, None]).sum(0)
            shared = (total if shared is None else total + self.below[level - 1](shared)).relu()
        return shared


class DMF(nn.Module):
    """logit = w^T MLP[last state of a GRU ; candidate ; profile] + b."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.modalities = Modalities(tables, config.modalities, config.dim)
        self.fusion = DenseFusion(len(self.modalities), config.dim, config.depth)
        self.gru = LastState(config.dim, config.dim)
        self.profile = Profile(tables, FIELD)
        self.top = mlp(2 * config.dim + self.profile.width, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        items = self.modalities.distinct(batch)
        item, clicks = items.spread(self.fusion(*self.modalities(items.item, items.snapshot)))
        user = batch.expand_to_rows(self.gru(clicks, batch.histories.mask))
        hidden = self.top(torch.cat([user, item, self.profile(batch)], 1))
        return Output(self.out(hidden).squeeze(1), hidden=hidden)
