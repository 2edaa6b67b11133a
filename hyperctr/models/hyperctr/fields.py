"""What HyperCTR reads beside ids and modalities: profiles, metadata, context, behaviour types.

The one place that knows how columns are stored: everything else reads a vector and a weight per user, item or row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs import Hypergraph
from hyperctr.batch import Batch, Columns
from hyperctr.layers.columns import ColumnVectors
from hyperctr.layers.feature_cross import pairwise
from hyperctr.models.hyperctr.config import Config


class Fields(nn.Module):
    """Users' profiles, items' metadata or the context of rows: the sum over the columns of one vector and one weight.

    A missing or unknown value adds nothing, but a missing number has a vector of its own.

    Args:
        columns: at least one.
        dim: width of the vectors.
        weights: whether the columns have weights.
    """

    def __init__(self, columns: Columns, dim: int, weights: bool = True):
        super().__init__()
        self.dim, self.weights = dim, weights
        self.columns = ColumnVectors(columns, dim + weights)  # the last column of a vector is the weight

    def of(self, node: Tensor) -> Tensor:
        """Add up the vectors of users or items by number: [n] -> [n, d]."""
        return self.columns.of(node)[..., : self.dim].sum(1)

    def weight_of(self, node: Tensor) -> Tensor:
        """Add up the weights of users or items by number: [n] -> [n, 1]."""
        return self.columns.of(node)[..., self.dim :].sum(1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embed the rows' context, which is zero for rows without one.

        Returns:
            the sum of the vectors [B, d]; the sum of the products <v_j, v_k> of all pairs of them [B]; and the sum of
            the weights [B], None where there are none.
        """
        x = self.columns(batch.context, len(batch))
        vectors = x[..., : self.dim]
        weight = x[..., self.dim].sum(1) if self.weights else None
        return vectors.sum(1), pairwise(vectors).sum(1), weight


class TypeWeights(nn.Module):
    """The value h(v, e) of an incidence: one weight per behaviour type, learned or given.

    Learned weights start from 1 and stay positive. An incidence that combines many clicks has weight 1.

    Args:
        count: number of types; type 0 is a missing one.
        given: weights of the others, [count - 1]; a missing type then has weight 1. Empty: learned.
    """

    def __init__(self, count: int, given: tuple[float, ...] = ()):
        super().__init__()
        self.log_weight = None if given else nn.Parameter(torch.zeros(count))
        self.register_buffer("given", torch.tensor([1.0, *given]) if given else None, persistent=False)

    def values(self, h: Hypergraph) -> Tensor:
        """Return the weight of each incidence, [num_incidences], in the order of `h.hyperedge_index`.

        Args:
            h: from `slice_hypergraphs(typed=True)`: its values are 1 + the type, or 0.
        """
        weight = self.log_weight.exp() if self.given is None else self.given
        return F.pad(weight, (1, 0), value=1.0)[h.by_hyperedge.value.long()]

    @torch.no_grad()
    def weighted(self, h: Hypergraph) -> Hypergraph:
        """Return the hypergraph with the weights as its values."""
        indptr, indices, _ = h.numpy_members()
        weight = None if h.hyperedge_weight is None else h.hyperedge_weight.numpy()
        ids = {"node_ids": h.node_ids, "hyperedge_ids": h.hyperedge_ids}
        value = self.values(h).cpu().numpy()
        return Hypergraph.from_members(indptr, indices, value, h.num_nodes, hyperedge_weight=weight, **ids)


def check_types(config: Config, types: int) -> None:
    """Refuse settings of behaviour types that do not fit the log; type 0 is a missing one."""
    given = len(config.type_weights)
    if given and given != max(types - 1, 0):
        raise ValueError(
            f"model.type_weights has {given} weights; the behaviour types that are read are {max(types - 1, 0)}"
        )
    if types and config.propagation == "sampled":
        raise ValueError(
            'model.propagation = "sampled" cannot weigh behaviour types: choose "slice" or "full", or set '
            "model.types = false"
        )
