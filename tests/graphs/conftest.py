"""A five-node hypergraph written by hand, awkward random ones, and the definition as dense matrices."""

import numpy as np
import pytest
import torch

from graphs import Hypergraph

#        ___________________
#       |  0     1     ____ | ______
#       |             |  2  |     _ | _
#       |____ e0 _____|_____|    | 3 | |        4
#                     |____ e1 __|___| |
#                                |_ e2_|     e3 = {}
#
#   e0 = {0, 1, 2}  weight 1      node 2 is in e0 and e1, node 3 in e1 and e2
#   e1 = {2, 3}     weight 2      node 4 is in no hyperedge
#   e2 = {3}        weight 0.5
#   e3 = {}         weight 3
FIVE_NODES = [0, 1, 2, 2, 3, 3]
FIVE_HYPEREDGES = [0, 0, 0, 1, 1, 2]


@pytest.fixture
def five() -> Hypergraph:
    return Hypergraph.from_pairs(FIVE_NODES, FIVE_HYPEREDGES, 5, 4, hyperedge_weight=[1, 2, 0.5, 3])


@pytest.fixture
def random_hypergraph():
    """Make one with an isolated node, an empty hyperedge and, where it fits, a hyperedge with everyone else."""

    def make(num_nodes=9, num_hyperedges=7, seed=0, weighted=True, valued=False) -> Hypergraph:
        rng = np.random.default_rng(seed)
        incidence = rng.random((num_nodes, num_hyperedges)) < 0.35
        incidence[:, :1] = True
        incidence[-1:, :] = False
        incidence[:, -1:] = False
        nodes, hyperedges = np.nonzero(incidence)
        return Hypergraph.from_pairs(
            nodes,
            hyperedges,
            num_nodes,
            num_hyperedges,
            weight=rng.uniform(0.5, 2, len(nodes)) if valued else None,
            hyperedge_weight=rng.uniform(0.1, 3, num_hyperedges) if weighted else None,
        )

    return make


@pytest.fixture
def dense():
    """H as a dense double matrix, filled by loops over members: [num_nodes, num_hyperedges]."""

    def matrix(h: Hypergraph) -> torch.Tensor:
        full = torch.zeros(h.num_nodes, h.num_hyperedges, dtype=torch.float64)
        indptr, indices, value = h.numpy_members()
        for e in range(h.num_hyperedges):
            for k in range(indptr[e], indptr[e + 1]):
                full[indices[k], e] = 1.0 if value is None else float(value[k])
        return full

    return matrix


@pytest.fixture
def operator(dense):
    """The dense A of Eq. 5 (norm "sym") or of the row form, with 0^-1/2 = 0^-1 = 0; differentiable in w."""

    def matrix(h: Hypergraph, w: torch.Tensor | None = None, norm: str = "sym") -> torch.Tensor:
        H = dense(h)
        if w is None:
            w = torch.ones(h.num_hyperedges) if h.hyperedge_weight is None else h.hyperedge_weight
        W = torch.diag(w.double())
        Dv, De = H @ w.double(), H.sum(0)
        De_inverse = torch.diag(torch.stack([1 / d if d > 0 else 0 * d for d in De]))
        if norm == "row":
            return torch.diag(torch.stack([1 / d if d > 0 else 0 * d for d in Dv])) @ H @ W @ De_inverse @ H.T
        r = torch.diag(torch.stack([d**-0.5 if d > 0 else 0 * d for d in Dv]))
        return r @ H @ W @ De_inverse @ H.T @ r

    return matrix
