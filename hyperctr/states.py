"""What a node remembers of the slices behind it: its last state before a slice, kept, looked up and renewed.

A node's state in slice n is what a stack of convolutions on the hypergraphs of n gives (HyperCTR Eq. 5), one vector a
hypergraph, side by side. A row in slice m reads each node's state of the last slice before m in which it was active
(`Carried.find`). States are cached without gradients; those of one slice at a time may be `Live`: just computed, with
gradients. A node that no hyperedge of the slice holds has no state and keeps its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graphs import Hypergraph


@dataclass(frozen=True)
class Live:
    """States just computed for nodes of one slice, in the place of their cached ones.

    Attributes:
        slice: the slice.
        place: row of `state` of each node active in the slice, -1 for one that is not among them, [active].
        state: [n, graphs * dim].
    """

    slice: int
    place: Tensor
    state: Tensor


class Carried:
    """The last states of all nodes of one kind (users or items).

    Args:
        nodes: the nodes active in each slice, ascending (None: empty slice).
    """

    def __init__(self, nodes: Sequence[Tensor | None]):
        count = torch.tensor([0 if x is None else len(x) for x in nodes], dtype=torch.long)
        node = torch.cat([torch.empty(0, dtype=torch.long), *(x for x in nodes if x is not None)])
        self.num_slices = len(nodes) + 1
        self.offset = F.pad(count.cumsum(0), (1, 0))  # of each slice's rows
        slice = torch.repeat_interleave(torch.arange(len(nodes)), count)
        self.key, self.row = (node * self.num_slices + slice).sort()
        self.place = torch.full((len(node),), -1)  # of each row's state, -1 where it has none
        self.state = torch.empty(0, 0)  # [states, graphs * dim]
        self.begin = [0] * len(nodes)  # of each slice's states
        self.hidden: list[Tensor] = []  # like `state`, of the layers before the last, where they are needed

    def find(self, node: Tensor, slice: Tensor, only: bool = False) -> Tensor:
        """Row of each node's last activity strictly before `slice`, [n]; -1 without one.

        With `only` it must have been in the very slice before.
        """
        if not len(self.key):
            return torch.full_like(node, -1)
        at = torch.searchsorted(self.key, node * self.num_slices + slice) - 1
        key = self.key[at.clamp(min=0)]
        found = (at >= 0) & (key // self.num_slices == node)
        if only:
            found &= key % self.num_slices == slice - 1
        return torch.where(found, self.row[at.clamp(min=0)], -1)

    def keep(self, places: Sequence[Tensor | None], states: Sequence[Tensor | None]) -> float:
        """Replace the cache: for each slice the `Live.place` and `Live.state` (None: empty slice).

        Returns:
            how far the states moved, |new - old| / |new|; NaN where the cache held other nodes.
        """
        old = self.state, self.place
        count, parts, kept = 0, [], []
        for n, (place, state) in enumerate(zip(places, states, strict=True)):
            self.begin[n] = count
            if place is not None:
                parts.append(torch.where(place >= 0, place + count, -1))
                kept.append(state)
                count += len(state)
        if kept:
            self.place, self.state = torch.cat(parts), torch.cat(kept)
        if old[0].shape != self.state.shape or not torch.equal(old[1], self.place):
            return float("nan")
        return float((self.state - old[0]).norm() / self.state.norm().clamp(min=1e-12))

    def renew(self, live: Live) -> None:
        """Replace the cached states of one slice, which has the same states."""
        self.state[self.begin[live.slice] :][: len(live.state)] = live.state.detach()

    def read(self, row: Tensor, static: Tensor, live: Sequence[Live] = ()) -> Tensor:
        """States of the rows that `find` gave, [n] -> [n, graphs * dim]; `static` where there is none.

        Args:
            row: [n].
            static: what a node without a state is, [n, graphs * dim].
            live: states to take instead of all cached ones of their slices.
        """
        at = torch.where(row >= 0, self.place[row.clamp(min=0)], -1) if len(self.place) else row
        z = static
        if len(self.state):
            z = torch.where((at >= 0)[:, None], self.state[at.clamp(min=0)], z)
        for new in live:
            first, end = self.offset[new.slice], self.offset[new.slice + 1]
            inside = (row >= first) & (row < end)
            place = torch.where(inside, new.place[(row - first).clamp(0, len(new.place) - 1)], -1)
            z = torch.where(inside[:, None], static, z)
            if len(new.state):
                z = torch.where((place >= 0)[:, None], F.embedding(place.clamp(min=0), new.state), z)
        return z


def compact(graphs: Sequence[Hypergraph]) -> tuple[Tensor, Tensor, list[Hypergraph]]:
    """Leave out the nodes that no hyperedge of any of the hypergraphs holds, whom a convolution would not change.

    Args:
        graphs: hypergraphs on the same n nodes.

    Returns:
        the numbers of the nodes kept, ascending, [kept]; the place of every node among them, -1 for those left out,
        [n]; and the hypergraphs on the nodes kept.
    """
    held = torch.zeros(graphs[0].num_nodes, dtype=torch.bool)
    for h in graphs:
        held[h.by_hyperedge.indices.long()] = True
    kept = held.nonzero()[:, 0]
    place = torch.where(held, held.cumsum(0) - 1, -1)
    if len(kept) == len(held):
        return kept, place, list(graphs)
    return kept, place, [_on(h, place.numpy(), len(kept)) for h in graphs]


def _on(h: Hypergraph, place: np.ndarray, count: int) -> Hypergraph:
    """The hypergraph with its nodes renumbered."""
    indptr, indices, value = h.numpy_members()
    weight = None if h.hyperedge_weight is None else h.hyperedge_weight.numpy()
    return Hypergraph.from_members(
        indptr, place[indices], value, count, hyperedge_weight=weight, hyperedge_ids=h.hyperedge_ids
    )
