"""MMSS, modality attention and image filters (IJCAI 2018): the text decides how much a picture counts.

The paper summarises sentences that have a picture. A filter, computed from text and picture, scales the picture's
vector. Then an attention weighs all modalities. Here these two steps make an item's vector, for MARN's Table 2.

Where we differ from the paper, and why:
- The filter scales all of the data's features that are not text: an item may have a sound besides a picture. The text
  is the title, else a modality named textual or text, else the ids.
- The filter reads one vector per modality, not the states of an encoder and the last state of a decoder: no text is
  generated.
- MARN does not say what reads the clicks: here the GRU of its BaseModel does.
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
from hyperctr.layers.recurrent import LastState

TEXT = ("title", "textual", "text", "ids")
"""Modalities that can be the text; the first one that the data has is taken."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of MMSS."""

    modalities: tuple[str, ...] = ()
    """Modalities to fuse: ids, title, statistic and the data's own by name; empty takes all that the data has."""
    dim: int = 64
    """Width of a modality's vector, of an item's and of the GRU's state."""
    hidden: tuple[int, ...] = (128, 64)
    """Widths of the network on top."""
    dropout: float = 0.0
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")


class FilteredAttention(nn.Module):
    """Filter g = sigmoid(W [text ; image] + b) on each image; then sum_m softmax_m(v^T tanh(V x^m + b)) x^m.

    Args:
        names: of the modalities.
        dim: width of their vectors.
    """

    def __init__(self, names: tuple[str, ...], dim: int):
        super().__init__()
        self.text = names.index(next((name for name in TEXT if name in names), names[0]))
        self.images = [m for m, name in enumerate(names) if name not in (*TEXT, "statistic") and m != self.text]
        self.filters = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in self.images)
        self.view, self.score = nn.Linear(dim, dim), nn.Linear(dim, 1, bias=False)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Fuse the modalities: [M, U, d] and [M, U] -> [U, d]; zero where no modality is present."""
        vectors = list(x)
        for m, gate in zip(self.images, self.filters, strict=True):
            vectors[m] = x[m] * gate(torch.cat([x[self.text], x[m]], 1)).sigmoid()
        x = torch.stack(vectors)
        weight = masked_softmax(self.score(self.view(x).tanh()).squeeze(2), present, 0)
        return (x * weight[:, :, None]).sum(0)


class MMSS(nn.Module):
    """logit = w^T MLP[last state of a GRU ; candidate ; profile] + b."""

    Config = Config
    reads = frozenset({"statistics", "titles"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.modalities = Modalities(tables, config.modalities, config.dim)
        self.fusion = FilteredAttention(self.modalities.names, config.dim)
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
