"""The ordinary graphs that a hypergraph expands to, clique and star, and its connected components; in scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from graphs.hypergraph import Hypergraph

MOST_ENTRIES = 10**8  # 1.2 GB as float64 with int32 columns


def clique(h: Hypergraph) -> scipy.sparse.csr_array:
    """The weighted adjacency of nodes that share hyperedges, A(u, v) = sum_e w_e h(u, e) h(v, e) and A(v, v) = 0.

    Without weights and values A counts the hyperedges that two nodes share.

    Returns:
        [num_nodes, num_nodes], float64, symmetric; empty rows for nodes that meet no other.

    Raises:
        ValueError: it could hold more than 10^8 entries, by its bound sum_e |e|^2.
    """
    size = h.by_hyperedge.indptr.diff().cpu().numpy().astype(np.int64)
    entries = min(int((size**2).sum()), h.num_nodes**2)
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"the clique expansion of {h} may hold {entries:,} entries (sum |e|^2 = {int((size**2).sum()):,}), "
            f"more than {MOST_ENTRIES:,}: cap the sizes first (graphs.cap), or take graphs.expand.star"
        )
    members = _matrix(h)
    weight = np.ones(h.num_hyperedges) if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
    full = members.T @ scipy.sparse.diags_array(weight.astype(np.float64)) @ members
    adjacency = (full - scipy.sparse.diags_array(full.diagonal())).tocsr()  # entries of zero fall away
    adjacency.sort_indices()
    return adjacency


def star(h: Hypergraph) -> scipy.sparse.csr_array:
    """The bipartite adjacency of nodes and hyperedges, [[0, H], [H^T, 0]]: hyperedge e is vertex num_nodes + e.

    Returns:
        [num_nodes + num_hyperedges] squared, float64, symmetric; its entries are h(v, e), which no weight w_e scales.
    """
    members = _matrix(h)
    return scipy.sparse.block_array([[None, members.T], [members, None]], format="csr")


def components(h: Hypergraph) -> tuple[np.ndarray, np.ndarray]:
    """The connected component of each node and of each hyperedge, the one with most nodes first.

    Of components with equally many nodes the one with the smallest node comes first. A node in no hyperedge is a
    component of its own; an empty hyperedge is in none and has -1.

    Returns:
        Two int64 arrays, [num_nodes] and [num_hyperedges]. `nodes == 0` is the largest component.
    """
    indptr, indices, _ = h.numpy_members()
    count = h.num_nodes + h.num_hyperedges  # the lower left block of the star is enough: nodes first, then hyperedges
    indptr = np.concatenate([np.zeros(h.num_nodes, dtype=indptr.dtype), indptr])
    graph = scipy.sparse.csr_array((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=(count, count))
    label = connected_components(graph, directed=False)[1] if count else np.empty(0, dtype=np.int64)
    num_nodes = np.bincount(label[: h.num_nodes], minlength=label.max(initial=-1) + 1)
    rank = np.empty(len(num_nodes), dtype=np.int64)
    rank[np.argsort(-num_nodes, kind="stable")] = np.arange(len(num_nodes))  # labels rise with their first vertex
    rank[num_nodes == 0] = -1
    return rank[label[: h.num_nodes]], rank[label[h.num_nodes :]]


def _matrix(h: Hypergraph) -> scipy.sparse.csr_array:
    """H^T, [num_hyperedges, num_nodes], float64."""
    indptr, indices, value = h.numpy_members()
    value = np.ones(len(indices)) if value is None else value.astype(np.float64)
    return scipy.sparse.csr_array((value, indices, indptr), shape=(h.num_hyperedges, h.num_nodes))
