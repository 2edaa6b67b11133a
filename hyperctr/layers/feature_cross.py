"""The input of a DLRM-like network: fields, and the dot products of all pairs of fields, side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Tables
from hyperctr.layers.embedding import Embed


class Crossed(nn.Module):
    """The vectors of the F fields, the history included, and <v_i, v_j> for all i < j.

    LT4REC (arXiv 2008.09872) Fig. 1, after DLRM (arXiv 1906.00091).

    Args:
        tables: sizes, fields and modalities.
        dim: width of a field's vector.
    """

    def __init__(self, tables: Tables, dim: int):
        super().__init__()
        self.embed = Embed(tables, dim)
        self.num_fields = self.embed.num_fields + 1
        self.width = self.num_fields * dim + self.num_fields * (self.num_fields - 1) // 2
        self.register_buffer("pairs", torch.triu_indices(self.num_fields, self.num_fields, 1), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return fields, one after the other, and then products: [B, F d + F (F - 1) / 2]."""
        return self.cross(self.embed.fields(batch))

    def cross(self, x: Tensor) -> Tensor:
        """Put given fields and their products side by side: [B, F, d] -> [B, width]."""
        products = torch.bmm(x, x.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return torch.cat([x.flatten(1), products], 1)


def pairwise(x: Tensor) -> Tensor:
    """Sum the products of all pairs of fields, x_i * x_j with i < j: [B, F, d] -> [B, d].

    This is half of the square of the sum minus the sum of the squares, linear in F (Rendle, ICDM 2010). Its sum over d
    is the second-order term of an FM.
    """
    return (x.sum(1).square() - x.square().sum(1)) / 2
