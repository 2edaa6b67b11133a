"""Pure functions that make hypergraphs from arrays and from other hypergraphs; none changes its arguments."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.hypergraph import Hypergraph


def from_ids(nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor) -> Hypergraph:
    """A hypergraph on the ids that occur, integers or strings, numbered in sorted order and kept as its ids."""
    node_ids, node = number(nodes)
    hyperedge_ids, hyperedge = number(hyperedges)
    return Hypergraph.from_pairs(
        node, hyperedge, len(node_ids), len(hyperedge_ids), node_ids=node_ids, hyperedge_ids=hyperedge_ids
    )


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

    Args:
        hypergraphs: at least one; ids of hyperedges are kept if all have them.
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
    return merge_equal(joined) if merge else joined


def stack(*hypergraphs: Hypergraph) -> Hypergraph:
    """The disjoint union, a block-diagonal H: nodes and hyperedges of each follow those of the one before it.

    Raises:
        ValueError: no hypergraph.
    """
    _first(hypergraphs)
    offsets = np.concatenate([[0], np.cumsum([h.num_nodes for h in hypergraphs])])
    return _join(hypergraphs, offsets[:-1], int(offsets[-1]), _concatenate([h.node_ids for h in hypergraphs]))


def select(h: Hypergraph, hyperedges: ArrayLike | Tensor) -> Hypergraph:
    """Only these hyperedges, in this order, on all nodes; a mask [num_hyperedges] or hyperedge numbers."""
    chosen = hyperedges.cpu().numpy() if isinstance(hyperedges, Tensor) else np.asarray(hyperedges)
    if chosen.dtype == bool:
        if chosen.shape != (h.num_hyperedges,):
            raise ValueError(f"a mask must have {h.num_hyperedges} entries, got shape {list(chosen.shape)}")
        chosen = np.flatnonzero(chosen)
    chosen = chosen.astype(np.int64)
    if len(chosen) and (chosen.min() < 0 or chosen.max() >= h.num_hyperedges):
        raise ValueError(f"hyperedges must lie in [0, {h.num_hyperedges}), got [{chosen.min()}, {chosen.max()}]")
    indptr, indices, value = h.numpy_members()
    at = _positions(indptr, chosen)
    weight = _numpy_weight(h)
    return Hypergraph.from_members(
        np.concatenate([[0], np.cumsum(np.diff(indptr)[chosen])]),
        indices[at],
        None if value is None else value[at],
        h.num_nodes,
        hyperedge_weight=None if weight is None else weight[chosen],
        node_ids=h.node_ids,
        hyperedge_ids=None if h.hyperedge_ids is None else h.hyperedge_ids[chosen],
        device=h.device,
    )


def drop_small(h: Hypergraph, min_size: int = 2) -> Hypergraph:
    """Without the hyperedges that have fewer than `min_size` members."""
    keep = h.by_hyperedge.indptr.diff() >= min_size
    return h if keep.all() else select(h, keep)


def drop_isolated(h: Hypergraph) -> Hypergraph:
    """Only the nodes that are in some hyperedge, numbered anew; their ids (or old numbers) stay in `node_ids`."""
    keep = (h.by_node.indptr.diff() > 0).cpu().numpy()
    ids = np.arange(h.num_nodes) if h.node_ids is None else h.node_ids
    indptr, indices, value = h.numpy_members()
    return Hypergraph.from_members(
        indptr,
        (np.cumsum(keep) - 1)[indices],
        value,
        int(keep.sum()),
        hyperedge_weight=_numpy_weight(h),
        node_ids=ids[keep],
        hyperedge_ids=h.hyperedge_ids,
        device=h.device,
    )


def merge_equal(h: Hypergraph) -> Hypergraph:
    """Make hyperedges with identical members (and values) one hyperedge, and add their weights.

    The first of them gives its place and id. Members are compared by a hash and then one by one, so that two different
    hyperedges never merge; `propagate` does not change.
    """
    indptr, indices, value = h.numpy_members()
    leader = _leaders(indptr, indices, value, h.num_nodes)
    firsts = np.unique(leader)
    if len(firsts) == h.num_hyperedges:
        return h
    merged = select(h, firsts)
    weight = np.bincount(leader, weights=_numpy_weight(h), minlength=h.num_hyperedges)[firsts]
    return replace(merged, hyperedge_weight=torch.from_numpy(weight.astype(np.float32)).to(h.device))


def number(ids: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Number ids from zero in sorted order: the distinct ids, and the number of each entry."""
    ids = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if not ids.size:
        return ids.astype(np.int64), ids.astype(np.int64)
    if ids.dtype.kind in "iu" and ids.min() >= 0 and ids.max() < 4 * ids.size:  # dense ids: a table beats a sort
        occurs = np.zeros(int(ids.max()) + 1, dtype=bool)
        occurs[ids] = True
        return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[ids]
    return np.unique(ids, return_inverse=True)


def _leaders(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, num_nodes: int) -> np.ndarray:
    """The first hyperedge with the same members as each hyperedge, [num_hyperedges]."""
    salt = 0
    while True:
        code = _codes(indptr, indices, value, num_nodes, salt)
        order = np.argsort(code, kind="stable")
        alike = np.flatnonzero(code[order[1:]] == code[order[:-1]])
        left, right = order[alike], order[alike + 1]
        if _members_equal(indptr, indices, value, left, right):
            break
        salt += 1  # two different hyperedges share a code: draw other codes
    starts = np.ones(len(order), dtype=bool)
    starts[alike + 1] = False
    leader = np.empty(len(order), dtype=np.int64)
    leader[order] = order[starts][np.cumsum(starts) - 1]
    return leader


def _codes(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, num_nodes: int, salt: int) -> np.ndarray:
    """A 64-bit code of each member set: the sum, modulo 2^64, of a random number a member."""
    number_of_node = np.random.default_rng(salt).integers(2**64, size=num_nodes, dtype=np.uint64)
    code = number_of_node[indices]
    if value is not None:
        code *= value.view(np.uint32).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(code, dtype=np.uint64)])
    return total[indptr[1:]] - total[indptr[:-1]]


def _members_equal(
    indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, left: np.ndarray, right: np.ndarray
) -> bool:
    size = np.diff(indptr)
    if not np.array_equal(size[left], size[right]):
        return False
    left, right = _positions(indptr, left), _positions(indptr, right)
    equal = np.array_equal(indices[left], indices[right])
    return equal and (value is None or np.array_equal(value[left], value[right]))


def _positions(indptr: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the incidences of these rows lie, row after row."""
    size = np.diff(indptr)[rows]
    ends = np.cumsum(size, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(indptr[rows] - (ends - size), size)


def _join(
    hypergraphs: Sequence[Hypergraph], node_offsets: Sequence[int], num_nodes: int, node_ids: np.ndarray | None
) -> Hypergraph:
    parts = [h.numpy_members() for h in hypergraphs]
    ends = np.cumsum([len(indices) for _, indices, _ in parts])
    shifted = [indptr[1:] + end - len(indices) for (indptr, indices, _), end in zip(parts, ends, strict=True)]
    values = None
    if any(value is not None for _, _, value in parts):
        values = np.concatenate([np.ones(len(i), np.float32) if value is None else value for _, i, value in parts])
    weights = None
    if any(h.hyperedge_weight is not None for h in hypergraphs):
        weights = np.concatenate(
            [
                np.ones(h.num_hyperedges, np.float32) if h.hyperedge_weight is None else _numpy_weight(h)
                for h in hypergraphs
            ]
        )
    shifted_nodes = [
        indices.astype(np.int64) + offset for (_, indices, _), offset in zip(parts, node_offsets, strict=True)
    ]
    return Hypergraph.from_members(
        np.concatenate([[0], *shifted]),
        np.concatenate(shifted_nodes),
        values,
        num_nodes,
        hyperedge_weight=weights,
        node_ids=node_ids,
        hyperedge_ids=_concatenate([h.hyperedge_ids for h in hypergraphs]),
        device=hypergraphs[0].device,
    )


def _first(hypergraphs: Sequence[Hypergraph]) -> Hypergraph:
    if not hypergraphs:
        raise ValueError("at least one hypergraph is needed, got none")
    return hypergraphs[0]


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _concatenate(ids: list[np.ndarray | None]) -> np.ndarray | None:
    return None if any(part is None for part in ids) else np.concatenate(ids)


def _numpy_weight(h: Hypergraph) -> np.ndarray | None:
    return None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
