"""Hypergraphs from rows of ids: rows become 64-bit keys, which are sorted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from graphs.hypergraph import Hypergraph
from graphs.index.csr import starts
from graphs.index.ids import number

CHUNK = 2**16  # rows packed at a time; they fit in the cache of a core
MAX_THREADS = 8  # each builds a hypergraph, with about 40 bytes per row of it


@dataclass(frozen=True)
class Column:
    """Ids, or numbers of ids, that need at most 31 bits of a key."""

    ids: np.ndarray
    """One entry per row, integers."""
    low: int
    """The number that is subtracted from them, so that they start near zero."""
    bits: int
    """The number of bits that they need then."""
    names: np.ndarray | None = None
    """The id of each number, if the ids themselves are strings or need too many bits."""

    @classmethod
    def of(cls, ids: np.ndarray) -> Column:
        """Make a column of ids that `graphs.index.ids.id_array` returned."""
        names = None
        if ids.dtype.kind == "U":
            names, ids = number(ids)
        low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
        if high - low >= 2**31:
            names, ids = number(ids)
            low, high = 0, len(names) - 1
            if high >= 2**31:
                raise ValueError(
                    f"{len(names)} different ids are too many for one hypergraph: at most 2^31 are possible"
                )
        elif 0 <= low <= high - low and high < 2**31:
            low = 0
        return cls(ids, low, (high - low).bit_length(), names)

    def named(self, numbers: np.ndarray) -> np.ndarray:
        """Return the ids of entries of a key."""
        return numbers.astype(np.int64, copy=False) + self.low if self.names is None else self.names[numbers]


def from_ids(nodes: np.ndarray, hyperedges: np.ndarray) -> Hypergraph:
    """Make the hypergraph on the ids that occur in these rows: arrays of `graphs.index.ids.id_array`, equally long."""
    node, hyperedge = Column.of(nodes), Column.of(hyperedges)
    return _hypergraph(_pack(node, hyperedge), node, hyperedge)


def from_grouped_ids(nodes: np.ndarray, hyperedges: np.ndarray, group: np.ndarray) -> dict[int, Hypergraph]:
    """Make the hypergraph of every group of rows, by the number of the group, in parallel on torch's threads.

    Args:
        nodes, hyperedges: ids of each row, as `graphs.index.ids.id_array` returns them, [rows].
        group: number of each row's group, integers from zero, [rows].
    """
    if not len(group):
        return {}
    low, high = int(group.min()), int(group.max())
    chunk = max(CHUNK, 64 * (high - low))  # with many groups, a small chunk would have few rows of each
    keys: dict[int, list[np.ndarray]] = {}

    def part(start: int) -> list[tuple[int, np.ndarray]]:
        rows = slice(start, start + chunk)
        key, number = _pack(node, hyperedge, rows), group[rows] - low
        order = np.argsort(number.astype(np.min_scalar_type(high - low)), kind="stable")  # 8 and 16 bits: by radix
        key, number = key.take(order), number.take(order)
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(key)]
        return [(low + int(number[a]), key[a:b]) for a, b in pairwise(cuts)]

    def build(n: int) -> Hypergraph:
        return _hypergraph(np.concatenate(keys.pop(n)), node, hyperedge)

    def build_together(start: int, end: int) -> Hypergraph:
        return _hypergraph(_pack(node, hyperedge, slice(start, end)), node, hyperedge)

    with _threads() as each:
        node, hyperedge = each(Column.of, (nodes, hyperedges))
        if (group[1:] >= group[:-1]).all():  # rows are in order of their groups
            first = np.flatnonzero(starts(group))
            built = each(build_together, first, np.append(first[1:], len(group)))
            return dict(zip(group[first].tolist(), built, strict=True))
        for pieces in each(part, range(0, len(group), chunk)):
            for n, key in pieces:
                keys.setdefault(n, []).append(key)
        groups = sorted(keys)
        return dict(zip(groups, each(build, groups), strict=True))


def _pack(node: Column, hyperedge: Column, rows: slice = slice(None)) -> np.ndarray:
    """Make one key per row, the hyperedge in its upper bits, the node in its lower; 32-bit keys sort twice as fast."""
    key = np.subtract(hyperedge.ids[rows], hyperedge.low, dtype=np.int64)
    key <<= node.bits
    key += node.ids[rows]
    if node.low:
        key -= node.low
    return key.astype(np.int32 if node.bits + hyperedge.bits < 32 else np.int64, copy=False)


def _hypergraph(key: np.ndarray, node: Column, hyperedge: Column) -> Hypergraph:
    """Make the hypergraph of keys in any order. The keys are overwritten."""
    key.sort()
    first = starts(key)
    if not first.all():
        key = key[first]
    top = key >> node.bits
    first = np.flatnonzero(starts(top))
    hyperedge_ids = hyperedge.named(top[first])
    indptr = np.append(first, len(key))
    key &= (1 << node.bits) - 1
    nodes, indices = number(key)  # now that equal rows are one
    return Hypergraph.from_members(
        indptr, indices, None, len(nodes), node_ids=node.named(nodes), hyperedge_ids=hyperedge_ids
    )


@contextmanager
def _threads() -> Iterator[Callable]:
    """Yield `map` on as many threads as torch has; the caller must iterate over all results."""
    count = min(torch.get_num_threads(), MAX_THREADS)
    if count == 1:
        yield map
    else:
        with ThreadPoolExecutor(count) as pool:
            yield pool.map
