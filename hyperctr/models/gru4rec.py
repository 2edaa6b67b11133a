"""GRU4Rec (ICLR 2016, arXiv 1511.06939): a recurrent network reads the clicks in order; its state scores the candidate.

Where we differ from the paper, and why:
- The paper ranks all items by the state of a session, and its score is the inner product of state and item. Here a row
  has one candidate: state, candidate and their product go into a network with the other fields, and the loss is the
  cross entropy of the click.
- A session is the history of the row: there are no session-parallel batches, and no state is kept between batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Linear, mlp
from hyperctr.layers.recurrent import GRU


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of GRU4Rec."""

    dim: int = 16
    """Width of every field's vector and of the GRU's state."""
    depth: int = 1
    """GRU layers; the paper finds one best."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the network on top."""
    dropout: float = 0.2
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "depth", "hidden")
        check_shares(self, "dropout")


class GRU4Rec(nn.Module):
    """logit = w^T MLP[fields; h; h * q] + b, with h the state of the GRU after the last click and q the candidate."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.embed = Embed(tables, config.dim)
        self.gru = GRU(config.dim, config.dim, config.depth)
        self.top = mlp((self.embed.num_fields + 2) * config.dim, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        fields, item, history = self.embed(batch)
        state = batch.expand_to_rows(self.read(history, batch.histories.mask))
        hidden = self.top(torch.cat([fields.flatten(1), state, state * item], 1))
        return Output(self.out(hidden).squeeze(1), hidden=hidden)

    def read(self, history: Tensor, mask: Tensor) -> Tensor:
        """Return the state after the last real click: [Q, T, d] and [Q, T] -> [Q, d]; zero for an empty history."""
        states = self.gru(history)
        length = mask.sum(1)
        last = states[torch.arange(len(states)), (length - 1).clamp(min=0)]
        return last * (length > 0)[:, None]
