"""Rows of ids as 64-bit keys, sorted once: what everything that is built on ids costs."""

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

CHUNK = 2**16  # rows packed at a time: they stay in a core's cache
MAX_THREADS = 8  # each builds a hypergraph, at some 40 bytes a row of it


@dataclass(frozen=True)
class Column:
    """Ids, or numbers of ids, that take at most 31 bits of a key."""

    ids: np.ndarray
    """One entry a row, integers."""
    low: int
    """What is taken from them, so that they start near zero."""
    bits: int
    """What they need then."""
    names: np.ndarray | None = None
    """The id of each number, where the ids themselves are strings or need too many bits."""

    @classmethod
    def of(cls, ids: np.ndarray) -> Column:
        """Ids as `graphs.ids.id_array` returns them."""
        names = None
        if ids.dtype.kind == "U":
            names, ids = number(ids)
        low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
        if high - low >= 2**31:
            names, ids = number(ids)
            low, high = 0, len(names) - 1
            if high >= 2**31:
                raise ValueError(f"{len(names)} different ids are too many for one hypergraph: at most 2^31 fit")
        elif 0 <= low <= high - low and high < 2**31:
            low = 0
        return cls(ids, low, (high - low).bit_length(), names)

    def named(self, numbers: np.ndarray) -> np.ndarray:
        """The ids of entries of a key."""
        return numbers.astype(np.int64, copy=False) + self.low if self.names is None else self.names[numbers]


def from_ids(nodes: np.ndarray, hyperedges: np.ndarray) -> Hypergraph:
    """The hypergraph on the ids that occur in these rows; arrays from `graphs.ids.id_array` of one length."""
    node, hyperedge = Column.of(nodes), Column.of(hyperedges)
    return _hypergraph(_pack(node, hyperedge), node, hyperedge)


def from_grouped_ids(nodes: np.ndarray, hyperedges: np.ndarray, group: np.ndarray) -> dict[int, Hypergraph]:
    """The hypergraph of every group of rows, by its number; built side by side on torch's threads.

    Args:
        nodes, hyperedges: ids of each row, as `graphs.ids.id_array` returns them, [rows].
        group: number of each row's group, integers from zero, [rows].
    """
    if not len(group):
        return {}
    low, high = int(group.min()), int(group.max())
    chunk = max(CHUNK, 64 * (high - low))  # many groups would share a small one in crumbs
    keys: dict[int, list[np.ndarray]] = {}

    def part(start: int) -> list[tuple[int, np.ndarray]]:
        rows = slice(start, start + chunk)
        key, number = _pack(node, hyperedge, rows), group[rows] - low
        order = np.argsort(number.astype(np.min_scalar_type(high - low)), kind="stable")  # 8 and 16 bits: by radix
        key = key.take(order)
        cuts = [0, *np.cumsum(np.bincount(number)).tolist()]
        return [(n, key[a:b]) for n, (a, b) in enumerate(pairwise(cuts), low) if a < b]

    def build(n: int) -> Hypergraph:
        return _hypergraph(np.concatenate(keys.pop(n)), node, hyperedge)

    def build_together(start: int, end: int) -> Hypergraph:
        return _hypergraph(_pack(node, hyperedge, slice(start, end)), node, hyperedge)

    with _threads() as each:
        node, hyperedge = each(Column.of, (nodes, hyperedges))
        if (group[1:] >= group[:-1]).all():  # nothing need be moved
            first = np.flatnonzero(starts(group))
            built = each(build_together, first, np.append(first[1:], len(group)))
            return dict(zip(group[first].tolist(), built, strict=True))
        for pieces in each(part, range(0, len(group), chunk)):
            for n, key in pieces:
                keys.setdefault(n, []).append(key)
        groups = sorted(keys)
        return dict(zip(groups, each(build, groups), strict=True))


def _pack(node: Column, hyperedge: Column, rows: slice = slice(None)) -> np.ndarray:
    """Hyperedge above node, in an array of its own: of 32 bits if it fits, which halves the sort."""
    key = np.subtract(hyperedge.ids[rows], hyperedge.low, dtype=np.int64)
    key <<= node.bits
    key += node.ids[rows]
    if node.low:
        key -= node.low
    return key.astype(np.int32 if node.bits + hyperedge.bits < 32 else np.int64, copy=False)


def _hypergraph(key: np.ndarray, node: Column, hyperedge: Column) -> Hypergraph:
    """The hypergraph of keys in any order, which are used up."""
    key.sort()
    first = starts(key)
    if not first.all():
        key = key[first]
    top = key >> node.bits
    first = np.flatnonzero(starts(top))
    hyperedge_ids = hyperedge.named(top[first])
    indptr = np.append(first, len(key))
    key &= (1 << node.bits) - 1
    nodes, indices = number(key)  # only now, when equal rows are one
    return Hypergraph.from_members(
        indptr, indices, None, len(nodes), node_ids=node.named(nodes), hyperedge_ids=hyperedge_ids
    )


@contextmanager
def _threads() -> Iterator[Callable]:
    """`map` on as many threads as torch has; what it returns must be used up."""
    count = min(torch.get_num_threads(), MAX_THREADS)
    if count == 1:
        yield map
    else:
        with ThreadPoolExecutor(count) as pool:
            yield pool.map
