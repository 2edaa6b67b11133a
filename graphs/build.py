"""Pure functions that make hypergraphs from arrays and from other hypergraphs; none changes its arguments."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import from_ids as keys
from graphs.attributes import Attributes
from graphs.hypergraph import Hypergraph
from graphs.index.equal import leaders
from graphs.index.ids import id_array
from graphs.index.ids import number as number


def from_ids(nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor) -> Hypergraph:
    """A hypergraph on the ids that occur, integers or strings, numbered in sorted order and kept as its ids.

    Raises:
        ValueError: ids that are neither integers nor strings, lengths that disagree.
    """
    nodes, hyperedges = id_array("node ids", nodes), id_array("hyperedge ids", hyperedges)
    if len(nodes) != len(hyperedges):
        raise ValueError(
            f"nodes and hyperedges must have the same length, got {len(nodes)} and {len(hyperedges)} entries"
        )
    return keys.from_ids(nodes, hyperedges)


def from_groups(groups: Iterable[Sequence[int]], num_nodes: int | None = None) -> Hypergraph:
    """One hyperedge a group of node numbers, an empty group included."""
    groups = [np.asarray(group) for group in groups]
    sizes = [len(group) for group in groups]
    nodes = np.concatenate([group for group in groups if len(group)] or [np.empty(0, dtype=np.int64)])
    return Hypergraph.from_pairs(nodes, np.repeat(np.arange(len(groups)), sizes), num_nodes, len(groups))


def from_scores(scores: ArrayLike | Tensor, threshold: float) -> Hypergraph:
    """A node is in a hyperedge where its score exceeds the threshold: [num_nodes, num_hyperedges]; NaN never does."""
    scores = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
    if scores.ndim != 2:
        raise ValueError(f"scores must be [num_nodes, num_hyperedges], got shape {list(scores.shape)}")
    nodes, hyperedges = np.nonzero(scores > threshold)
    return Hypergraph.from_pairs(nodes, hyperedges, *scores.shape)


def nearest(x: ArrayLike | Tensor, k: int, metric: Literal["euclidean", "cosine"] = "euclidean") -> Hypergraph:
    """One hyperedge a node: the node itself and its k nearest others, as in HGNN, arXiv 1809.09401.

    Args:
        x: features, [num_nodes, dim]; compared with every other row, 1024 rows at a time.
        k: other nodes a hyperedge takes, less than num_nodes; of equally near ones any.
        metric: "cosine" compares directions; a row of zeros is as near to all.

    Raises:
        ValueError: k out of range, x not a finite matrix, an unknown metric.
    """
    x = torch.as_tensor(x).detach().float().cpu()
    if x.dim() != 2 or not x.isfinite().all():
        raise ValueError(f"x must be a finite matrix [num_nodes, dim], got shape {list(x.shape)} or values not finite")
    if not 0 <= k < max(len(x), 1):
        raise ValueError(f"k must lie in [0, {len(x)}), got {k}")
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f'metric must be "euclidean" or "cosine", got {metric!r}')
    if metric == "cosine":
        x = torch.nn.functional.normalize(x)
    neighbours = [torch.empty(0, k + 1, dtype=torch.int64)]
    for start in range(0, len(x), 1024):
        distance = torch.cdist(x[start : start + 1024], x)
        row = torch.arange(len(distance))
        distance[row, start + row] = -1  # itself first, whatever its duplicates
        neighbours.append(distance.topk(k + 1, largest=False).indices)
    members = torch.cat(neighbours)
    hyperedges = torch.arange(len(x)).repeat_interleave(k + 1)
    return Hypergraph.from_pairs(members.flatten(), hyperedges, len(x), len(x))


def union(*hypergraphs: Hypergraph, merge: bool = True) -> Hypergraph:
    """The hyperedges of several hypergraphs on the same nodes side by side, H = [H_1 ... H_Q].

    Ids of hyperedges are kept if all have them, node weights are those of the first that has some, and where the
    attributes of a node or the metadata disagree the earlier hypergraph is believed.

    Args:
        hypergraphs: at least one.
        merge: make hyperedges with identical members one and add their weights.

    Raises:
        ValueError: no hypergraph, or hypergraphs on different nodes.
    """
    first = _first(hypergraphs)
    for h in hypergraphs:
        if h.num_nodes != first.num_nodes or not _same(h.node_ids, first.node_ids):
            raise ValueError(
                f"a union needs the same nodes everywhere, got {first} and {h}; graphs.build.stack keeps them apart"
            )
    joined = _join(hypergraphs, [0] * len(hypergraphs), first.num_nodes, first.node_ids)
    weight = next((h.node_weight.to(first.device) for h in hypergraphs if h.node_weight is not None), None)
    joined = replace(joined, node_weight=weight)
    return merge_equal(joined) if merge else joined


def stack(*hypergraphs: Hypergraph) -> Hypergraph:
    """The disjoint union, a block-diagonal H: nodes and hyperedges of each follow those of the one before it.

    Ids are kept if all have them; where the metadata disagree the earlier hypergraph is believed.

    Raises:
        ValueError: no hypergraph.
    """
    _first(hypergraphs)
    offsets = np.concatenate([[0], np.cumsum([h.num_nodes for h in hypergraphs])])
    joined = _join(hypergraphs, offsets[:-1], int(offsets[-1]), _concatenate([h.node_ids for h in hypergraphs]))
    weight = _weights([h.node_weight for h in hypergraphs], [h.num_nodes for h in hypergraphs])
    return replace(joined, node_weight=None if weight is None else torch.from_numpy(weight).to(joined.device))


def subhypergraph(
    h: Hypergraph, nodes: ArrayLike | Tensor | None = None, hyperedges: ArrayLike | Tensor | None = None
) -> Hypergraph:
    """The part of h on these nodes and hyperedges, numbered anew in the order asked; other incidences are dropped.

    Ids, or old numbers where there were none, stay in `node_ids` and `hyperedge_ids`; weights, values and attributes
    stay too. A hyperedge that loses its members stays, empty: `drop_small` takes such away. What is named twice comes
    twice.

    Args:
        h: hypergraph.
        nodes: node numbers, or a mask [num_nodes]; None takes all.
        hyperedges: hyperedge numbers, or a mask [num_hyperedges]; None takes all.

    Raises:
        ValueError: numbers out of range or not integers, a mask of the wrong length.
    """
    nodes = _chosen("nodes", nodes, h.num_nodes)
    hyperedges = _chosen("hyperedges", hyperedges, h.num_hyperedges)
    indptr, indices, value = h.numpy_members()
    data = np.ones(len(indices), dtype=np.int8) if value is None else value
    members = scipy.sparse.csr_array((data, indices, indptr), shape=(h.num_hyperedges, h.num_nodes))
    members = members if hyperedges is None else members[hyperedges]
    if nodes is not None:
        members = members[:, nodes]
        members.sort_indices()
    part = Hypergraph.from_members(
        members.indptr,
        members.indices,
        None if value is None else members.data,
        members.shape[1],
        node_ids=_ids_of(h.node_ids, nodes),
        hyperedge_ids=_ids_of(h.hyperedge_ids, hyperedges),
        device=h.device,
    )
    return replace(
        part,
        hyperedge_weight=_weight_of(h.hyperedge_weight, hyperedges),
        node_weight=_weight_of(h.node_weight, nodes),
        attributes=h.attributes.take(nodes, hyperedges) if h.attributes else h.attributes,
    )


def drop_small(h: Hypergraph, min_size: int = 2) -> Hypergraph:
    """Without the hyperedges that have fewer than `min_size` members; the others keep their ids (or old numbers)."""
    keep = h.by_hyperedge.indptr.diff() >= min_size
    return h if keep.all() else subhypergraph(h, hyperedges=keep)


def drop_isolated(h: Hypergraph) -> Hypergraph:
    """Only the nodes that are in some hyperedge, numbered anew; their ids (or old numbers) stay in `node_ids`."""
    return subhypergraph(h, nodes=h.by_node.indptr.diff() > 0)


def merge_equal(h: Hypergraph) -> Hypergraph:
    """Make hyperedges with identical members (and values) one hyperedge, and add their weights.

    The first of them gives its place, its id (or old number) and its attributes; those of the others are dropped, as
    are the attributes of their incidences. Two different hyperedges never merge; `propagate` does not change.
    """
    leader = leaders(*h.numpy_members(), h.num_nodes)
    firsts = np.unique(leader)
    if len(firsts) == h.num_hyperedges:
        return h
    weight = None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
    weight = np.bincount(leader, weights=weight, minlength=h.num_hyperedges)[firsts]
    merged = subhypergraph(h, hyperedges=firsts)
    return replace(merged, hyperedge_weight=torch.from_numpy(weight.astype(np.float32)).to(h.device))


def _chosen(name: str, chosen: ArrayLike | Tensor | None, count: int) -> np.ndarray | None:
    """Numbers of what is chosen by numbers or by a mask, int64; None stays None."""
    if chosen is None:
        return None
    chosen = chosen.cpu().numpy() if isinstance(chosen, Tensor) else np.asarray(chosen)
    if chosen.dtype == bool:
        if chosen.shape != (count,):
            raise ValueError(f"a mask of {name} must have {count} entries, got shape {list(chosen.shape)}")
        return np.flatnonzero(chosen)
    if chosen.ndim != 1 or (len(chosen) and chosen.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a list of numbers or a mask, got {chosen.dtype} of shape {list(chosen.shape)}"
        )
    if len(chosen) and (chosen.min() < 0 or chosen.max() >= count):
        raise ValueError(f"{name} must lie in [0, {count}), got [{chosen.min()}, {chosen.max()}]")
    return chosen.astype(np.int64)


def _ids_of(ids: np.ndarray | None, chosen: np.ndarray | None) -> np.ndarray | None:
    if chosen is None:
        return ids
    return chosen if ids is None else ids[chosen]


def _weight_of(weight: Tensor | None, chosen: np.ndarray | None) -> Tensor | None:
    return weight if weight is None or chosen is None else weight[torch.from_numpy(chosen).to(weight.device)]


def _join(
    hypergraphs: Sequence[Hypergraph], node_offsets: Sequence[int], num_nodes: int, node_ids: np.ndarray | None
) -> Hypergraph:
    """The hyperedges one after the other, the nodes of each from its offset on."""
    parts = [h.numpy_members() for h in hypergraphs]
    ends = np.cumsum([len(indices) for _, indices, _ in parts])
    shifted = [indptr[1:] + end - len(indices) for (indptr, indices, _), end in zip(parts, ends, strict=True)]
    shifted_nodes = [
        indices.astype(np.int64) + offset for (_, indices, _), offset in zip(parts, node_offsets, strict=True)
    ]
    joined = Hypergraph.from_members(
        np.concatenate([[0], *shifted]),
        np.concatenate(shifted_nodes),
        _weights([value for _, _, value in parts], [len(indices) for _, indices, _ in parts]),
        num_nodes,
        hyperedge_weight=_weights([h.hyperedge_weight for h in hypergraphs], [h.num_hyperedges for h in hypergraphs]),
        node_ids=node_ids,
        hyperedge_ids=_concatenate([h.hyperedge_ids for h in hypergraphs]),
        device=hypergraphs[0].device,
    )
    return replace(joined, attributes=_join_attributes(hypergraphs, node_offsets))


def _join_attributes(hypergraphs: Sequence[Hypergraph], node_offsets: Sequence[int]) -> Attributes:
    joined = Attributes({}, {}, {}, {})
    start = 0  # of the hyperedges
    for h, offset in zip(hypergraphs, node_offsets, strict=True):
        found = h.attributes
        joined = Attributes(
            found.metadata | joined.metadata,
            joined.nodes | {v + offset: a | joined.nodes.get(v + offset, {}) for v, a in found.nodes.items()},
            joined.hyperedges | {e + start: a for e, a in found.hyperedges.items()},
            joined.incidences | {(v + offset, e + start): a for (v, e), a in found.incidences.items()},
        )
        start += h.num_hyperedges
    return joined


def _first(hypergraphs: Sequence[Hypergraph]) -> Hypergraph:
    if not hypergraphs:
        raise ValueError("at least one hypergraph is needed, got none")
    return hypergraphs[0]


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _concatenate(ids: list[np.ndarray | None]) -> np.ndarray | None:
    if any(part is None for part in ids):
        return None
    ids = [part for part in ids if len(part)] or ids[:1]
    mixed = len({part.dtype.kind for part in ids}) > 1  # numpy would write integers as strings
    return np.concatenate([part.astype(object) if mixed else part for part in ids])


def _weights(parts: Sequence[np.ndarray | Tensor | None], lengths: Sequence[int]) -> np.ndarray | None:
    """Weights one after the other, ones for a part without; None if no part has any."""
    if all(part is None for part in parts):
        return None
    parts = [part.cpu().numpy() if isinstance(part, Tensor) else part for part in parts]
    return np.concatenate(
        [np.ones(length, np.float32) if part is None else part for part, length in zip(parts, lengths, strict=True)]
    )
