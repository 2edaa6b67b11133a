"""Caps on the size of hyperedges and the degree of nodes, drawn anew from a seed of the caller's own."""

from collections.abc import Sequence

import numpy as np

from graphs.hypergraph import Hypergraph


def cap(h: Hypergraph, size: int = 0, degree: int = 0, seed: int | Sequence[int] = 0) -> Hypergraph:
    """Keep at most `size` members of each hyperedge, then at most `degree` hyperedges of each node.

    What is kept is drawn uniformly without replacement, so that under `size` alone the mean over the members of a
    hyperedge stays unbiased. Degrees and sizes are those of the sampled incidences. The neighbour size K of HyperCTR,
    arXiv 2109.02398.

    Args:
        h: hypergraph.
        size: most members of a hyperedge; 0 is no cap.
        degree: most hyperedges of a node; 0 is no cap.
        seed: not negative; several numbers such as (seed, epoch, slice) name a draw of their own. The global random
            state is neither read nor moved.

    Returns:
        A hypergraph with the same nodes, hyperedges, weights and ids; `h` itself if nothing exceeds a cap.

    Raises:
        ValueError: a negative cap or seed.
    """
    if size < 0 or degree < 0:
        raise ValueError(f"caps must not be negative (0 is no cap), got size={size} and degree={degree}")
    generator = np.random.default_rng(seed)
    indptr, indices, value = h.numpy_members()
    hyperedge = np.repeat(np.arange(h.num_hyperedges), np.diff(indptr))
    kept = _keep(hyperedge, np.diff(indptr), size, generator)  # over incidences
    node, hyperedge = indices[kept], hyperedge[kept]
    value = None if value is None else value[kept]
    kept = _keep(node, np.bincount(node, minlength=h.num_nodes), degree, generator)
    node, hyperedge = node[kept], hyperedge[kept]
    if len(node) == h.num_incidences:
        return h
    indptr = np.concatenate([[0], np.cumsum(np.bincount(hyperedge, minlength=h.num_hyperedges))])
    return Hypergraph.from_members(
        indptr,
        node,
        None if value is None else value[kept],
        h.num_nodes,
        hyperedge_weight=None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy(),
        node_ids=h.node_ids,
        hyperedge_ids=h.hyperedge_ids,
        device=h.device,
    )


def _keep(group: np.ndarray, count: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """True for the incidences to keep: all of a group of at most `most`, else that many, uniformly."""
    if most == 0 or not len(group) or count.max() <= most:
        return np.ones(len(group), dtype=bool)
    crowded = count > most
    kth = (np.cumsum(count, dtype=np.int64) - count)[crowded] + most - 1
    bits = 62 - len(count).bit_length()
    limit = np.full(len(count), np.iinfo(np.int64).max)
    while True:  # once, unless a tie lets one too many in
        key = (group.astype(np.int64) << bits) | generator.integers(1 << bits, size=len(group))
        limit[crowded] = np.sort(key)[kth]
        kept = key <= limit[group]
        if kept.sum() == np.minimum(count, most).sum():
            return kept
