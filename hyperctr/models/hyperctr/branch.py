"""The second branch of HyperCTR: a network beside Eq. (7) that reads no hypergraph, so that it errs elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Fields, Tables
from hyperctr.layers.columns import column_vectors
from hyperctr.layers.embedding import Embed
from hyperctr.layers.feature_cross import pairwise
from hyperctr.layers.mlp import Linear, mlp

NUMBERS = 8  # width of a column's vector in the branch on columns and numbers alone


class NumbersBranch(nn.Module):
    """logit = w^T MLP(z) + u^T z + b, with z the vectors of all columns of a row, and no id and no click.

    They are the columns of its user, its item and its context. The numbers of the past are four of these vectors, see
    `hyperctr.layers.numbers`.

    Args:
        fields: the columns; at least one.
        hidden: widths of the network.
        dropout: share of its activations dropped in training.
    """

    def __init__(self, fields: Fields, hidden: tuple[int, ...], dropout: float):
        super().__init__()
        self.user, self.item = column_vectors(fields.user, NUMBERS), column_vectors(fields.item, NUMBERS)
        self.context = column_vectors(fields.context, NUMBERS)
        width = NUMBERS * (len(fields.user) + len(fields.item) + len(fields.context))
        self.top, self.out = mlp(width, hidden, dropout), Linear(hidden[-1] + width, 1)

    def forward(self, batch: Batch, statistics: Tensor | None = None) -> Tensor:
        """Return the logits of the rows, [B]; the statistics of clicks are not read."""
        parts = []
        if self.user is not None:
            parts.append(self.user.of(batch.user))
        if self.item is not None:
            parts.append(self.item.of(batch.item))
        if self.context is not None:
            parts.append(self.context(batch.context, len(batch)))
        z = torch.cat(parts, 1).flatten(1)
        return self.out(torch.cat([self.top(z), z], 1)).squeeze(1)


class FieldsBranch(nn.Module):
    """logit = sum_j w_j + sum_{j < k} <v_j, v_k> + MLP(v): a factorisation machine and a network, as in DeepFM.

    The fields are ids, columns, modalities, numbers, the mean of the clicks, and the mean of their statistics.

    Args:
        tables: sizes, fields and modalities.
        dim: width of every field's vector.
        hidden: widths of the network.
        dropout: share of its activations dropped in training.
        statistics: width of a click's statistics; 0 without.
    """

    def __init__(self, tables: Tables, dim: int, hidden: tuple[int, ...], dropout: float, statistics: int = 0):
        super().__init__()
        self.embed = Embed(tables, dim + 1)  # the last column is the weight w_j
        self.statistics = Linear(statistics, dim + 1) if statistics else None
        self.top = mlp((self.embed.num_fields + 1 + bool(statistics)) * dim, hidden, dropout)
        self.out = Linear(hidden[-1], 1)

    def forward(self, batch: Batch, statistics: Tensor | None = None) -> Tensor:
        """Return the logits of the rows, [B].

        Args:
            statistics: of the clicks, [Q, T, width], zero where there is none.
        """
        x = self.embed.fields(batch)
        if statistics is not None:
            count = batch.histories.mask.sum(1, keepdim=True).clamp(min=1)
            mean = batch.expand_to_rows(self.statistics(statistics.sum(1) / count))
            x = torch.cat([x, mean[:, None]], 1)
        v = x[..., :-1]
        return x[..., -1].sum(1) + pairwise(v).sum(1) + self.out(self.top(v.flatten(1))).squeeze(1)
