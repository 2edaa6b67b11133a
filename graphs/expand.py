"""Ordinary graphs of a hypergraph, its clique and star expansion, and its connected components; in scipy."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from graphs.incidence import Incidence

MOST_ENTRIES = 10**8  # 1.2 GB as float64 with int32 columns


def clique(h: Incidence) -> scipy.sparse.csr_array:
    """Return the weighted adjacency of nodes that share hyperedges, A(u, v) = sum_e w_e h(u, e) h(v, e), A(v, v) = 0.

    Without weights and values A counts the hyperedges that two nodes share.

    Returns:
        [num_nodes, num_nodes], float64, symmetric; empty rows for nodes that share no hyperedge.

    Raises:
        ValueError: it could have more than 10^8 entries, by its bound sum_e |e|^2.

    >>> clique(Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    size = h.by_hyperedge.indptr.diff().cpu().numpy().astype(np.int64)
    entries = min(int((size**2).sum()), h.num_nodes**2)
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"the clique expansion of {h} may have {entries:,} entries (sum |e|^2 = {int((size**2).sum()):,}), "
            f"more than {MOST_ENTRIES:,}: cap the sizes first (graphs.cap), or take graphs.expand.star"
        )
    members = _matrix(h)
    weight = np.ones(h.num_hyperedges) if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
    full = members.T @ scipy.sparse.diags_array(weight.astype(np.float64)) @ members
    adjacency = (full - scipy.sparse.diags_array(full.diagonal())).tocsr()  # drops the zeros
    adjacency.sort_indices()
    return adjacency


def star(h: Incidence) -> scipy.sparse.csr_array:
    """Return the bipartite adjacency of nodes and hyperedges, [[0, H], [H^T, 0]]: hyperedge e is vertex num_nodes + e.

    Returns:
        [num_nodes + num_hyperedges] squared, float64, symmetric; its entries are h(v, e), without the weights w_e.

    >>> star(Hypergraph.from_pairs([0, 1], [0, 0])).toarray()
    array([[0., 0., 1.],
           [0., 0., 1.],
           [1., 1., 0.]])
    """
    members = _matrix(h)
    return scipy.sparse.block_array([[None, members.T], [members, None]], format="csr")


def components(h: Incidence) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected components, the one with most nodes first; return the component of each node and hyperedge.

    Among components with equally many nodes the one with the smallest node comes first. A node in no hyperedge is a
    component by itself. An empty hyperedge is in no component and has -1.

    Returns:
        Two int64 arrays, [num_nodes] and [num_hyperedges]. `nodes == 0` is the largest component.

    >>> components(Hypergraph.from_pairs([0, 2, 3], [0, 1, 1]))
    (array([1, 2, 0, 0]), array([1, 0]))
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


def _matrix(h: Incidence) -> scipy.sparse.csr_array:
    """Return H^T, [num_hyperedges, num_nodes], float64."""
    indptr, indices, value = h.numpy_members()
    value = np.ones(len(indices)) if value is None else value.astype(np.float64)
    return scipy.sparse.csr_array((value, indices, indptr), shape=(h.num_hyperedges, h.num_nodes))
