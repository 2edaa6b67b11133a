"""Functions that make hypergraphs from arrays and from other hypergraphs. None changes its arguments."""

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Literal

import numpy as np
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
    """Make a hypergraph on the ids that occur, integers or strings, numbered in sorted order and kept as its ids.

    Raises:
        ValueError: ids that are neither integers nor strings, lengths that disagree.

    >>> from_ids(["bob", "ann"], [700, 700]).node_ids
    array(['ann', 'bob'], dtype='<U3')
    """
    nodes, hyperedges = id_array("node ids", nodes), id_array("hyperedge ids", hyperedges)
    if len(nodes) != len(hyperedges):
        raise ValueError(
            f"nodes and hyperedges must have the same length, got {len(nodes)} and {len(hyperedges)} entries"
        )
    return keys.from_ids(nodes, hyperedges)


def from_groups(groups: Iterable[Sequence[int]], num_nodes: int | None = None) -> Hypergraph:
    """Make one hyperedge per group of node numbers, also of an empty group.

    Raises:
        ValueError: a dict or a set instead of a list of groups, a group that is no list of node numbers.

    >>> from_groups([[0, 1], [], [1, 2]])
    Hypergraph(3 nodes, 3 hyperedges, 4 incidences)
    """
    if isinstance(groups, Mapping | Set | str | bytes):
        other = "groups.values()" if isinstance(groups, Mapping) else "a list of lists"
        raise ValueError(
            f"from_groups takes a list of groups of node numbers, got a {type(groups).__name__}: use {other}"
        )
    groups = [np.asarray(sorted(group) if isinstance(group, Set) else group) for group in groups]
    for e, group in enumerate(groups):
        if group.ndim != 1:
            raise ValueError(f"a group is a list of node numbers, got {group.tolist()!r:.60} as group {e}")
    sizes = [len(group) for group in groups]
    nodes = np.concatenate([group for group in groups if len(group)] or [np.empty(0, dtype=np.int64)])
    return Hypergraph.from_pairs(nodes, np.repeat(np.arange(len(groups)), sizes), num_nodes, len(groups))


def from_scores(scores: ArrayLike | Tensor, threshold: float) -> Hypergraph:
    """Put a node in a hyperedge where its score, [num_nodes, num_hyperedges], exceeds the threshold; NaN never does.

    >>> from_scores([[0.9, 0.1], [0.8, 0.7]], threshold=0.5).hyperedge_index
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    scores = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else np.asarray(scores)
    if scores.ndim != 2:
        raise ValueError(f"scores must be [num_nodes, num_hyperedges], got shape {list(scores.shape)}")
    nodes, hyperedges = np.nonzero(scores > threshold)
    return Hypergraph.from_pairs(nodes, hyperedges, *scores.shape)


def nearest(x: ArrayLike | Tensor, k: int, metric: Literal["euclidean", "cosine"] = "euclidean") -> Hypergraph:
    """Make one hyperedge per node: the node itself and its k nearest others, as in HGNN, arXiv 1809.09401.

    Args:
        x: features, [num_nodes, dim]; compared with every other row, 1024 rows at a time.
        k: number of other nodes per hyperedge, less than num_nodes; among equally near ones any is taken.
        metric: "cosine" compares directions; a row of zeros is equally near to all.

    Raises:
        ValueError: k out of range, x not a finite matrix, an unknown metric.

    >>> nearest([[0.0], [1.0], [9.0]], k=1).members(2)
    tensor([1, 2])
    """
    x = torch.as_tensor(x).detach().float().cpu()
    if x.dim() != 2 or not x.isfinite().all():
        raise ValueError(f"x must be a finite matrix [num_nodes, dim], got shape {list(x.shape)} or values not finite")
    if not 0 <= k < max(len(x), 1):
        raise ValueError(f"k must be in [0, {len(x)}), got {k}")
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f'metric must be "euclidean" or "cosine", got {metric!r}')
    if metric == "cosine":
        x = torch.nn.functional.normalize(x)
    neighbours = [torch.empty(0, k + 1, dtype=torch.int64)]
    for start in range(0, len(x), 1024):
        distance = torch.cdist(x[start : start + 1024], x)
        row = torch.arange(len(distance))
        distance[row, start + row] = -1  # itself first, before its duplicates
        neighbours.append(distance.topk(k + 1, largest=False).indices)
    members = torch.cat(neighbours)
    hyperedges = torch.arange(len(x)).repeat_interleave(k + 1)
    return Hypergraph.from_pairs(members.flatten(), hyperedges, len(x), len(x))


def union(*hypergraphs: Hypergraph, merge: bool = True, warn: bool = True) -> Hypergraph:
    """Join the hyperedges of several hypergraphs on the same nodes, H = [H_1 ... H_Q].

    Ids of hyperedges are kept if all hypergraphs have them. Node weights come from the first hypergraph that has
    some. If attributes of a node or the metadata disagree, the earlier hypergraph counts.

    Args:
        hypergraphs: at least one.
        merge: merge hyperedges with identical members into one and add their weights.
        warn: as in `merge_equal`.

    Raises:
        ValueError: no hypergraph, or hypergraphs on different nodes.

    >>> union(from_groups([[0, 1]]), from_groups([[0, 1], [1]])).hyperedge_weight
    tensor([2., 1.])
    """
    first = _first(hypergraphs)
    for h in hypergraphs:
        if h.num_nodes != first.num_nodes or not _same(h.node_ids, first.node_ids):
            raise ValueError(
                f"a union needs the same nodes everywhere, got {first} and {h}; graphs.build.stack keeps them separate"
            )
    joined = _join(hypergraphs, [0] * len(hypergraphs), first.num_nodes, first.node_ids)
    weight = next((h.node_weight.to(first.device) for h in hypergraphs if h.node_weight is not None), None)
    joined = replace(joined, node_weight=weight)
    return merge_equal(joined, warn) if merge else joined


def stack(*hypergraphs: Hypergraph) -> Hypergraph:
    """Make the disjoint union, a block-diagonal H: the numbers of each hypergraph follow those of the one before it.

    Ids are kept if all hypergraphs have them. If the metadata disagree, the earlier hypergraph counts.

    Raises:
        ValueError: no hypergraph.

    >>> stack(from_groups([[0, 1]]), from_groups([[0, 1]])).members(1)
    tensor([2, 3])
    """
    _first(hypergraphs)
    offsets = np.concatenate([[0], np.cumsum([h.num_nodes for h in hypergraphs])])
    joined = _join(hypergraphs, offsets[:-1], int(offsets[-1]), _concatenate([h.node_ids for h in hypergraphs]))
    weight = _weights([h.node_weight for h in hypergraphs], [h.num_nodes for h in hypergraphs])
    return replace(joined, node_weight=None if weight is None else torch.from_numpy(weight).to(joined.device))


def subhypergraph(
    h: Hypergraph, nodes: ArrayLike | Tensor | None = None, hyperedges: ArrayLike | Tensor | None = None
) -> Hypergraph:
    """Return the part of h on these nodes and hyperedges, renumbered in the order given; other incidences are dropped.

    Ids stay in `node_ids` and `hyperedge_ids`; if there were none, the old numbers become the ids. Weights, values and
    attributes stay too. A hyperedge that loses all members stays, empty: `drop_small` drops it. A number that is given
    twice appears twice.

    Args:
        h: hypergraph.
        nodes: node numbers, or a mask [num_nodes]; None takes all.
        hyperedges: hyperedge numbers, or a mask [num_hyperedges]; None takes all.

    Raises:
        ValueError: numbers out of range or not integers, a mask of the wrong length.

    >>> part = subhypergraph(from_groups([[0, 1, 2], [2, 3]]), nodes=[2, 3])
    >>> part.node_ids, part.members(1)
    (array([2, 3]), tensor([0, 1]))
    """
    return h.take(_chosen("nodes", nodes, h.num_nodes), _chosen("hyperedges", hyperedges, h.num_hyperedges))


def drop_small(h: Hypergraph, min_size: int = 2) -> Hypergraph:
    """Drop the hyperedges with fewer than `min_size` members; the others keep their ids, or old numbers.

    >>> drop_small(from_groups([[0, 1], [2], []])).hyperedge_ids
    array([0])
    """
    keep = h.by_hyperedge.indptr.diff() >= min_size
    return h if keep.all() else subhypergraph(h, hyperedges=keep)


def drop_isolated(h: Hypergraph) -> Hypergraph:
    """Drop the nodes that are in no hyperedge; the others keep their ids, or old numbers.

    >>> drop_isolated(from_groups([[1, 3]])).node_ids
    array([1, 3])
    """
    return subhypergraph(h, nodes=h.by_node.indptr.diff() > 0)


def merge_equal(h: Hypergraph, warn: bool = True) -> Hypergraph:
    """Merge hyperedges with identical members (and values) into one, and add their weights.

    The merged hyperedge has the place, the id (or old number) and the attributes of the first of them. Ids and
    attributes of the others are dropped, also attributes of their incidences; with `warn`, a warning says how many.
    Two different hyperedges never merge. `propagate` does not change.

    >>> merge_equal(from_groups([[0, 1], [1, 2], [0, 1]])).hyperedge_weight
    tensor([2., 1.])
    """
    leader = leaders(*h.numpy_members(), h.num_nodes)
    firsts = np.unique(leader)
    if len(firsts) == h.num_hyperedges:
        return h
    if warn:
        gone = set(np.setdiff1d(np.arange(h.num_hyperedges), firsts).tolist())
        ids = len(gone) if h.hyperedge_ids is not None else 0
        attributes = len(gone & h.attributes.hyperedges.keys()) + sum(e in gone for _, e in h.attributes.incidences)
        lost = {f"ids of {ids} hyperedges": ids, f"attributes of {attributes} of them and their members": attributes}
        if lost := [name for name, count in lost.items() if count]:
            warnings.warn(
                f"merge_equal keeps the first of equal hyperedges: lost are {' and '.join(lost)}", stacklevel=2
            )
    weight = None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
    weight = np.bincount(leader, weights=weight, minlength=h.num_hyperedges)[firsts]
    merged = subhypergraph(h, hyperedges=firsts)
    return replace(merged, hyperedge_weight=torch.from_numpy(weight.astype(np.float32)).to(h.device))


def _chosen(name: str, chosen: ArrayLike | Tensor | None, count: int) -> np.ndarray | None:
    """Return the numbers that numbers or a mask choose, int64; None stays None."""
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
        raise ValueError(f"{name} must be in [0, {count}), got [{chosen.min()}, {chosen.max()}]")
    return chosen.astype(np.int64)


def _join(
    hypergraphs: Sequence[Hypergraph], node_offsets: Sequence[int], num_nodes: int, node_ids: np.ndarray | None
) -> Hypergraph:
    """Join the hyperedges one after the other; the nodes of each hypergraph start at its offset."""
    parts = [h.numpy_members() for h in hypergraphs]
    ends = np.cumsum([len(indices) for _, indices, _ in parts])
    shifted = [indptr[1:] + end - len(indices) for (indptr, indices, _), end in zip(parts, ends, strict=True)]
    shifted_nodes = [
        indices.astype(np.int64) + offset for (_, indices, _), offset in zip(parts, node_offsets, strict=True)
    ]
    joined = type(hypergraphs[0]).from_members(
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
    start = 0  # number of the first hyperedge of h
    for h, offset in zip(hypergraphs, node_offsets, strict=True):
        own = h.attributes
        joined = Attributes(
            own.metadata | joined.metadata,
            joined.nodes | {v + offset: a | joined.nodes.get(v + offset, {}) for v, a in own.nodes.items()},
            joined.hyperedges | {e + start: a for e, a in own.hyperedges.items()},
            joined.incidences | {(v + offset, e + start): a for (v, e), a in own.incidences.items()},
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
    """Concatenate weights, with ones for a part without weights; None if no part has any."""
    if all(part is None for part in parts):
        return None
    parts = [part.cpu().numpy() if isinstance(part, Tensor) else part for part in parts]
    return np.concatenate(
        [np.ones(length, np.float32) if part is None else part for part, length in zip(parts, lengths, strict=True)]
    )
