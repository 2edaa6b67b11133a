"""Events, a node in a hyperedge at a time: sorted, and as the factors of the products that link their nodes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.index.csr import sort_with_order, starts, transpose
from graphs.index.ids import counts, pair_ids
from graphs.kernels import INT32_LIMIT
from graphs.kernels.links import Factors
from graphs.slices.grid import whole

WINDOW = 20
"""An event follows those that are at most this many places before it in its hyperedge."""


class Events(NamedTuple):
    """Nodes in hyperedges, sorted by hyperedge, then by time, then as they were given."""

    nodes: np.ndarray
    """int32, [events]."""
    hyperedges: np.ndarray
    """int32, [events]."""
    times: np.ndarray | None
    """int64, [events]; None: the order is the time."""

    def take(self, rows: np.ndarray) -> "Events":
        """Return the events at these places, or where this mask is True, in this order."""
        return Events(*(None if column is None else column[rows] for column in self))


def checked_events(
    nodes: ArrayLike | Tensor,
    hyperedges: ArrayLike | Tensor,
    times: ArrayLike | Tensor | None,
    num_nodes: int | None,
    num_hyperedges: int | None,
) -> tuple[Events, int, int]:
    """Return events in the order given, and the numbers of nodes and hyperedges; None takes the largest plus one.

    Raises:
        ValueError: numbers out of range or not integers, lengths that disagree, times of a wrong type, 2^31 or more.
    """
    nodes, hyperedges = pair_ids("node", nodes), pair_ids("hyperedge", hyperedges)
    times = None if times is None else checked_times("times", times)
    lengths = [len(column) for column in (nodes, hyperedges, times) if column is not None]
    if len(set(lengths)) > 1:
        columns = "nodes and hyperedges" if times is None else "nodes, hyperedges and times"
        raise ValueError(f"{columns} must have the same length, got {', '.join(map(str, lengths))} entries")
    num_nodes, num_hyperedges = counts(nodes, hyperedges, num_nodes, num_hyperedges)
    for count, what in ((num_nodes, "nodes"), (num_hyperedges, "hyperedges"), (len(nodes), "events")):
        check_limit(count, what)
    return Events(nodes.astype(np.int32), hyperedges.astype(np.int32), times), num_nodes, num_hyperedges


def check_limit(count: int, what: str) -> None:
    """Refuse 2^31 or more nodes, hyperedges, events or incidences."""
    if count >= INT32_LIMIT:
        raise ValueError(f"links take fewer than 2^31 {what}, got {count}")


def checked_times(name: str, times: ArrayLike | Tensor) -> np.ndarray:
    """Return times as int64: integers as they are, datetime64 in microseconds.

    Raises:
        ValueError: neither integers nor datetime64, missing times, more than one dimension; `name` says which.
    """
    times = times.detach().cpu().numpy() if isinstance(times, Tensor) else np.asarray(times)
    if times.ndim != 1 or (times.size and times.dtype.kind not in "iuM"):
        raise ValueError(f"{name} must be a list of integers or datetime64, got {times.dtype} {list(times.shape)}")
    return whole(times, "us")


def sort_events(events: Events) -> Events:
    """Sort events by hyperedge, then by time; equal times stay in the order given."""
    times = events.times
    if times is not None and not (times[1:] >= times[:-1]).all():
        events = events.take(np.argsort(times, kind="stable"))
    if (events.hyperedges[1:] >= events.hyperedges[:-1]).all():
        return events
    return events.take(sort_with_order(events.hyperedges, int(events.hyperedges.max()).bit_length())[1])


def merge_events(old: Events, new: Events, touched: np.ndarray) -> Events:
    """Add events to sorted ones; of equal times the old ones come first. `touched` marks the new ones' hyperedges."""
    mine = touched[old.hyperedges]
    stays, part = old.take(~mine), old.take(mine)
    part = sort_events(Events(*(None if b is None else np.concatenate([a, b]) for a, b in zip(part, new, strict=True))))
    size = sum(np.bincount(some.hyperedges, minlength=len(touched)) for some in (stays, part))
    renewed = np.repeat(touched, size)
    columns = []
    for before, after in zip(stays, part, strict=True):
        column = None if after is None else np.empty(len(renewed), dtype=after.dtype)
        if column is not None:
            column[renewed], column[~renewed] = after, before
        columns.append(column)
    return Events(*columns)


def latest(events: Events, num_nodes: int) -> np.ndarray:
    """Mark the last event of each node in each hyperedge, [events]."""
    bits = max(num_nodes - 1, 0).bit_length()
    key = (events.hyperedges.astype(np.int64) << bits) | events.nodes
    ordered, order = sort_with_order(key, bits + int(events.hyperedges.max(initial=0)).bit_length())
    last = np.zeros(len(key), dtype=bool)
    last[order[np.append(ordered[1:] != ordered[:-1], True)] if len(key) else []] = True
    return last


def degrees(events: Events, weight: np.ndarray, num_nodes: int) -> np.ndarray:
    """Sum, for each node, the weights of the hyperedges of its events, [num_nodes], float64."""
    return np.bincount(events.nodes, weight[events.hyperedges], minlength=num_nodes)


def together(
    members: Events, weight: np.ndarray, most: int | None, exclude_self: bool, num_nodes: int
) -> tuple[Factors, int]:
    """Return the factors of H W D_e^-1 H^T, and how many pairs are left out because a hyperedge has over `most` nodes.

    Args:
        members: one event of each node in each hyperedge.
        weight: of each hyperedge, [num_hyperedges], float64.
        most: how many nodes of a hyperedge are kept, the latest; None keeps all.
        exclude_self: D_e is the number of other nodes, else the number of nodes.
        num_nodes: number of nodes.
    """
    size = np.bincount(members.hyperedges, minlength=len(weight))
    kept = size if most is None else np.minimum(size, most)
    left_out = int((size * (size - 1) // 2).sum() - (kept * (kept - 1) // 2).sum())
    if left_out:
        to_the_end = np.cumsum(size)[members.hyperedges] - np.arange(len(members.nodes))
        members = members.take(to_the_end <= kept[members.hyperedges])
    indptr = np.append(0, np.cumsum(kept))
    others = kept - exclude_self
    weight = np.divide(weight, others, out=np.zeros(len(weight)), where=others > 0)
    by_node = transpose(indptr, members.nodes, None, num_nodes)
    factors = Factors(
        indptr=by_node[0].astype(np.int64),
        indices=by_node[1].astype(np.int32, copy=False),
        left=None,
        weight=weight,
        first=indptr[:-1],
        last=indptr[1:],
        nodes=members.nodes,
        right=None,
    )
    return factors, left_out


def following(events: Events, weight: np.ndarray, num_nodes: int) -> Factors:
    """Return the factors of S: S_ij sums w_e gap^-1/2 over events of i and earlier ones of j in the same hyperedge.

    The gap is the number of places between the two events, at most `WINDOW`. Of equal times neither is earlier.
    """
    place = np.arange(len(events.nodes))
    new = starts(events.hyperedges)
    first = np.maximum(np.maximum.accumulate(np.where(new, place, 0)), place - WINDOW)
    later = np.ones(len(place), dtype=bool) if events.times is None else starts(events.times)
    tied = np.maximum.accumulate(np.where(new | later, place, 0))
    indices = sort_with_order(events.nodes, max(num_nodes - 1, 0).bit_length())[1]
    return Factors(
        indptr=np.append(0, np.cumsum(np.bincount(events.nodes, minlength=num_nodes))),
        indices=indices.astype(np.int32),
        left=None,
        weight=weight[events.hyperedges],
        first=np.minimum(first, tied),
        last=tied,
        nodes=events.nodes,
        right=None,
        gap=np.append(0.0, 1 / np.sqrt(np.arange(1, WINDOW + 1))),
    )
