"""The cache of node states: the last state of each node before a slice, looked up, kept, replaced.

A row in slice m reads each node's state of the last slice before m in which the node was active (`StateCache.find`).
Cached states have no gradients. States of one slice at a time may be `FreshStates`: just computed, with gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.layers.table import take_rows


def relative(moved: Sequence[Tensor], length: Sequence[Tensor]) -> Tensor | float:
    """Return how far parts moved, |new - old| / |new|, from their |new - old|^2 and |new|^2."""
    if not moved:
        return 0.0
    total = torch.stack(moved).double().sum() / torch.stack(length).double().sum().clamp(min=1e-24)
    return total.sqrt().float()


@dataclass(frozen=True)
class FreshStates:
    """States just computed for nodes of one slice, read in place of their cached ones.

    Attributes:
        slice: the slice.
        place: row of `state` of each node active in the slice, -1 for a node without a state, [active].
        state: [n, graphs * dim].
    """

    slice: int
    place: Tensor
    state: Tensor


class StateCache(nn.Module):
    """The last states of all nodes of one type (users or items). Nothing of it is in a state dict: it is renewed.

    Args:
        nodes: the nodes active in each slice, ascending (None: empty slice).
    """

    def __init__(self, nodes: Sequence[Tensor | None]):
        super().__init__()
        count = torch.tensor([0 if x is None else len(x) for x in nodes], dtype=torch.long)
        node = torch.cat([torch.empty(0, dtype=torch.long), *(x for x in nodes if x is not None)])
        self.num_slices = len(nodes) + 1
        offset = F.pad(count.cumsum(0), (1, 0))
        slice = torch.repeat_interleave(torch.arange(len(nodes)), count)
        key, row = (node * self.num_slices + slice).sort()
        place = torch.full((len(node),), -1)  # of each row's state, -1 where it has none
        for name, x in {"key": key, "row": row, "place": place, "state": torch.empty(0, 0)}.items():
            self.register_buffer(name, x, persistent=False)  # state: [states, graphs * dim]
        self.offset = offset.tolist()  # of each slice's rows
        self.begin = [0] * len(nodes)  # of each slice's states
        self.hidden: list[Tensor] = []  # like `state`, of the layers before the last, where they are needed

    def find(self, node: Tensor, slice: Tensor, only: bool = False) -> Tensor:
        """Find the row of each node's last activity strictly before `slice`, [n]; -1 without one.

        With `only` it must have been in the slice just before.
        """
        if not len(self.key):
            return torch.full_like(node, -1)
        at = torch.searchsorted(self.key, node * self.num_slices + slice) - 1
        key = self.key[at.clamp(min=0)]
        found = (at >= 0) & (key // self.num_slices == node)
        if only:
            found &= key % self.num_slices == slice - 1
        return torch.where(found, self.row[at.clamp(min=0)], -1)

    def keep(
        self, places: Sequence[Tensor | None], counts: Sequence[int], states: Iterable[Tensor | None]
    ) -> Tensor | float:
        """Replace the cache by `FreshStates.place` and `FreshStates.state` of each slice (None: empty slice).

        If `states` is a generator, memory needs one slice's states besides the cache.

        Args:
            counts: how many states each slice has.

        Returns:
            how far the states moved, |new - old| / |new|; NaN where other nodes had states before.
        """
        count, parts = 0, [self.row.new_empty(0)]
        for n, place in enumerate(places):
            self.begin[n] = count
            if place is not None:
                parts.append(torch.where(place >= 0, place + count, -1))
                count += counts[n]
        place = torch.cat(parts)
        same = len(self.state) == count and torch.equal(place, self.place)
        if not same:
            self.place, self.state = place, self.state.new_empty(0, 0)
        moved, length = [], []
        for n, state in enumerate(states):
            if state is None or not len(state):
                continue
            if len(self.state) < count:
                self.state = state.new_empty(count, state.shape[1])
            old = self.state[self.begin[n] :][: len(state)]
            if same:
                moved.append((state - old).square().sum())
                length.append(state.square().sum())
            old.copy_(state)
        return relative(moved, length) if same else float("nan")

    def renew(self, live: FreshStates) -> None:
        """Replace the cached states of one slice by fresh ones of the same nodes."""
        self.state[self.begin[live.slice] :][: len(live.state)] = live.state.detach()

    def read(self, row: Tensor, static: Tensor, live: Sequence[FreshStates] = ()) -> Tensor:
        """Return the states of the rows that `find` gave, [n] -> [n, graphs * dim]; `static` where there is none.

        Args:
            row: [n].
            static: read for a node without a state, [n, graphs * dim].
            live: fresh states, read in place of all cached ones of their slices.
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
                z = torch.where((place >= 0)[:, None], take_rows(new.state, place.clamp(min=0)), z)
        return z
