"""The second branch of HyperCTR: a network on the numbers of the past and the columns of a row, and on nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Fields
from hyperctr.layers.columns import column_vectors
from hyperctr.layers.mlp import Linear, mlp


class Branch(nn.Module):
    """logit = w^T MLP(z) + u^T z + b, with z the vectors of all columns of a row.

    They are the columns of its user, its item and its context. The numbers of the past are four of these vectors, see
    `hyperctr.layers.numbers`. No id, click or hypergraph is read, so that the branch errs elsewhere than Eq. (7).

    Args:
        fields: the columns; at least one.
        dim: width of each column's vector.
        hidden: widths of the network.
        dropout: share of its activations dropped in training.
    """

    def __init__(self, fields: Fields, dim: int, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.user, self.item = column_vectors(fields.user, dim), column_vectors(fields.item, dim)
        self.context = column_vectors(fields.context, dim)
        width = dim * (len(fields.user) + len(fields.item) + len(fields.context))
        self.top, self.out = mlp(width, hidden, dropout), Linear(hidden[-1] + width, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of the rows, [B]."""
        parts = []
        if self.user is not None:
            parts.append(self.user.of(batch.user))
        if self.item is not None:
            parts.append(self.item.of(batch.item))
        if self.context is not None:
            parts.append(self.context(batch.context, len(batch)))
        z = torch.cat(parts, 1).flatten(1)
        return self.out(torch.cat([self.top(z), z], 1)).squeeze(1)
