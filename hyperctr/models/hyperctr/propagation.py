"""What a node remembers of the slices behind it: its last state before a slice, propagated, kept, looked up, renewed.

A node's state in slice n is what a stack of convolutions on the hypergraphs of n gives (HyperCTR Eq. 5), one vector a
hypergraph, side by side. A row in slice m reads each node's state of the last slice before m in which it was active
(`Carried.find`). States are cached without gradients; those of one slice at a time may be `Live`: just computed, with
gradients. A node that no hyperedge of the slice holds has no state. `States` is the part of a model that does all this.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from graphs import Hypergraph
from graphs.sample import blocks, cap
from hyperctr.batch import Batch

Inputs = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class FreshStates:
    """States just computed for nodes of one slice, in the place of their cached ones.

    Attributes:
        slice: the slice.
        place: row of `state` of each node active in the slice, -1 for one that is not among them, [active].
        state: [n, graphs * dim].
    """

    slice: int
    place: Tensor
    state: Tensor


class StateCache:
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

    def keep(self, places: Sequence[Tensor | None], states: Iterable[Tensor | None]) -> float:
        """Replace the cache: for each slice the `Live.place` and `Live.state` (None: empty slice).

        From a generator of states memory holds one slice's beside the cache.

        Returns:
            how far the states moved, |new - old| / |new|; NaN where the cache held other nodes.
        """
        count, parts = 0, [torch.empty(0, dtype=torch.long)]
        for n, place in enumerate(places):
            self.begin[n] = count
            if place is not None:
                parts.append(torch.where(place >= 0, place + count, -1))
                count += int((place >= 0).sum())
        place = torch.cat(parts)
        same = len(self.state) == count and torch.equal(place, self.place)
        if not same:
            self.place, self.state = place, torch.empty(0, 0)
        moved, length = 0.0, 0.0
        for n, state in enumerate(states):
            if state is None:
                continue
            if len(self.state) < count:
                self.state = state.new_empty(count, state.shape[1])
            old = self.state[self.begin[n] :][: len(state)]
            if same:
                moved += float((state - old).square().sum())
                length += float(state.square().sum())
            old.copy_(state)
        return (moved / max(length, 1e-24)) ** 0.5 if same else float("nan")

    def renew(self, live: FreshStates) -> None:
        """Replace the cached states of one slice, which has the same states."""
        self.state[self.begin[live.slice] :][: len(live.state)] = live.state.detach()

    def read(self, row: Tensor, static: Tensor, live: Sequence[FreshStates] = ()) -> Tensor:
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


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from this seed, and afterwards go on as if nothing had been drawn."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def compact(graphs: Sequence[Hypergraph]) -> tuple[Tensor, Tensor, list[Hypergraph]]:
    """Leave out the nodes that no hyperedge of any of the hypergraphs holds, on which Eq. (5) has nothing to say.

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


@dataclass(frozen=True)
class SliceGraphs:
    """The hypergraphs of one slice and kind of node as they are propagated: capped in training, nodes compacted.

    Attributes:
        nodes: global numbers of the nodes that take part, [n].
        place: of every node active in the slice among them; -1 for those that no hyperedge holds, [active].
        graphs: one for the group and each modality, on those n nodes.
    """

    nodes: Tensor
    place: Tensor
    graphs: list[Hypergraph]


@dataclass(frozen=True)
class NodeType:
    """What convolving users and convolving items differ in.

    Attributes:
        name: "users" or "items". number: 0 or 1.
        sides: the hypergraphs of each slice, `hyperctr.hypergraphs.Side`; None where it is empty.
        carried: the states.
    """

    name: str
    number: int
    sides: tuple
    carried: StateCache


class Propagation(nn.Module):
    """States of users and items on the hypergraphs of the slices before a row, HyperCTR section 2.3, and their renewal.

    `refresh` fills the cache, exactly in evaluation and on capped hypergraphs in training; in a training step `live`
    propagates what gradients go through, as `config.propagation` says; `read` gives what rows read of nodes.

    Args:
        config: `hyperctr.models.hyperctr.Config`.
        slices: the sliced hypergraphs, `hyperctr.hypergraphs.SlicedHypergraphs`.
        convs: for users and for items, for the group and each modality: the layers of Eq. (5).
        operator: what the layers take in the place of a hypergraph, made of it; None: the hypergraph itself.

    Where `inputs` is asked for: X^(0) of (kind's number, nodes [n]), side by side, [n, graphs * d].
    """

    def __init__(
        self, config, slices, convs: nn.ModuleList, operator: Callable[[Hypergraph], Hypergraph] | None = None
    ):
        super().__init__()
        self.config, self.convs, self.operator = config, convs, operator
        d = config.dim
        self.mix = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, 1)) if config.carry == "gate" else None
        self.register_buffer("rounds", torch.zeros((), dtype=torch.long))  # of training, seeds the neighbour samples
        sides = slices.users, slices.items
        self.kinds = [
            NodeType(name, number, sides[number], StateCache([side and side.nodes for side in sides[number]]))
            for number, name in enumerate(("users", "items"))
        ]
        self.slices = slices
        self._active = [n for n in range(len(slices)) if any(kind.sides[n] is not None for kind in self.kinds)]
        self._reach = int(slices.own)  # 1: rows read their own slice too
        self._begin()

    def train(self, mode: bool = True) -> Propagation:
        """Switch between training and evaluation; the cached states are renewed before they are next read."""
        if mode and not self.training:
            self.rounds += 1
        self._begin()
        return super().train(mode)

    def _begin(self) -> None:
        """Forget what belongs to the round of training or evaluation before."""
        self.step, self._rounds, self._held, self._noise = 0, {}, None, 0

    def use(self, slices) -> None:
        """Take other hypergraphs on the same nodes."""
        self.slices, self._rounds = slices, {}
        self.kinds = [replace(kind, sides=(slices.users, slices.items)[kind.number]) for kind in self.kinds]

    def refresh(self, inputs: Inputs) -> dict[str, float]:
        """Renew the cached states where that is due: at the first step of a round, and as `config.refresh` says.

        Returns:
            how far they moved since the last time, if there was one.
        """
        due = self.step == 0 or (self.training and self.config.refresh and self.step % self.config.refresh == 0)
        self.step += 1
        if not due or self.config.depth == 0:
            return {}
        moved = {}
        with torch.no_grad(), record_function("propagate"):
            for kind in self.kinds:
                rounds, hidden = [side and self._round(kind, n) for n, side in enumerate(kind.sides)], []
                distance = kind.carried.keep([r and r.place for r in rounds], self._all(kind, rounds, inputs, hidden))
                kind.carried.hidden = [torch.cat(x) for x in zip(*hidden, strict=True)]
                if self.step > 1:
                    moved[f"drift_{kind.name}"] = distance
                if not self.training:
                    self._rounds = {}  # nothing else in evaluation asks for them
        return moved

    def _all(
        self, kind: NodeType, rounds: list[SliceGraphs | None], inputs: Inputs, hidden: list
    ) -> Iterator[Tensor | None]:
        """The states of one slice after the other; `hidden` takes those of the layers before, if they are needed."""
        for r in rounds:
            layers = self.convolve(kind, r, inputs) if r else [None]
            if r and self.training and self.config.propagation == "sampled":
                hidden.append(layers[:-1])
            yield layers[-1]

    def read(self, number: int, node: Tensor, now: Tensor, static: Tensor, live: list[FreshStates]) -> Tensor:
        """What rows in slices `now` read of users (0) or items (1), X^(0) plus the state: [n] -> [n, graphs * d].

        Args:
            static: X^(0), all there is without a state, [n, graphs * d].
            live: from `live`.
        """
        if self.config.depth == 0:
            return static
        carried, only = self.kinds[number].carried, self.config.carry == "none"
        z = carried.read(carried.find(node, now, only), torch.zeros_like(static), live)
        if self._reach:  # then the row's own slice, where its node has a state in it
            z = carried.read(carried.find(node, now + 1, only=True), z, live)
        z = static + z
        if self.mix is None:
            return z
        both = torch.stack([z, static], 1).view(len(z), 2, len(self.slices.names), -1)  # HyperRec's gate
        return (self.mix(both).softmax(1) * both).sum(1).flatten(1)

    def live(
        self, batch: Batch, now: Tensor, asked: list[tuple[Tensor, Tensor]], inputs: Inputs
    ) -> tuple[list[list[FreshStates]], Tensor | float, dict[str, float]]:
        """States with gradients, of users and of items; a loss term that carries shared gradients; the staleness.

        Batches that share a propagation read the states held since the first of them. What each says about those states
        adds up, and goes through the propagation with the last, which drops out what the first did: at fixed weights,
        the sum of all their gradients.

        Args:
            now: slices of the batch's rows, [B].
            asked: the users, and the items, that are read, each with the slices of who reads them.
        """
        past = self._active[: bisect_right(self._active, int(now.min()) + self._reach - 1)]
        if not (past and self.training and self.config.depth):
            return [[], []], 0.0, {}
        if self.config.propagation == "sampled":
            pairs = zip(self.kinds, asked, strict=True)
            around = [self._around(kind, past[-1], *nodes, inputs, batch.view) for kind, nodes in pairs]
            return [live for live, _ in around], 0.0, {"staleness": max(distance for _, distance in around)}
        chosen = past if self.config.propagation == "full" else past[-1:]
        alone = self._reach and self.slices.target_edge == "exclude"  # each batch leaves out its own clicks
        own = (batch, now) if alone else None
        if not (batch.last or alone) and (self._held is not None or not batch.view):
            if self._held is None:
                self._noise = int(torch.randint(2**62, ()))
                with torch.no_grad(), _seeded(self._noise):
                    self._held = [self._propagate(kind, chosen, inputs) for kind in self.kinds]
                for live in chain(*self._held):
                    live.state.requires_grad_()
            return self._held, 0.0, {}
        if self._held is None or batch.view:
            return [self._propagate(kind, chosen, inputs, own, batch.view) for kind in self.kinds], 0.0, {}
        held, self._held = self._held, None
        with _seeded(self._noise):
            fresh = [self._propagate(kind, chosen, inputs) for kind in self.kinds]
        penalty, moved, length = 0.0, 0.0, 0.0
        for new, old in zip(chain(*fresh), chain(*held), strict=True):
            if old.state.grad is not None:
                carried = (new.state * old.state.grad).sum()
                penalty = penalty + carried - carried.detach()
            moved += float((new.state.detach() - old.state.detach()).square().sum())
            length += float(new.state.detach().square().sum())
        return fresh, penalty, {"staleness": (moved / max(length, 1e-12)) ** 0.5}

    def _propagate(
        self,
        kind: NodeType,
        slices: list[int],
        inputs: Inputs,
        own: tuple[Batch, Tensor] | None = None,
        view: bool = False,
    ) -> list[FreshStates]:
        """Eq. (5) on the hypergraphs of some slices, also written to the cache, unless the batch is a view."""
        found = []
        for n in slices:
            if kind.sides[n] is not None:
                with record_function("propagate"):
                    r = self._round(kind, n, own)
                    found.append(FreshStates(n, r.place, self.convolve(kind, r, inputs)[-1]))
                if not (self._reach or view):
                    kind.carried.renew(found[-1])
        return found

    def convolve(self, kind: NodeType, r: SliceGraphs, inputs: Inputs) -> list[Tensor]:
        """Eq. (5), the output of every layer: [n, graphs * d] each."""
        layers = [inputs(kind.number, r.nodes).split(self.config.dim, 1)]
        for j in range(self.config.depth):
            stacks = zip(self.convs[kind.number], layers[-1], r.graphs, strict=True)
            layers.append([stack[j](x, h) for stack, x, h in stacks])
        return [torch.cat(parts, 1) for parts in layers[1:]]

    def _around(
        self, kind: NodeType, n: int, node: Tensor, now: Tensor, inputs: Inputs, view: bool
    ) -> tuple[list[FreshStates], float]:
        """Eq. (5) for the batch's own nodes in slice n; their neighbours are drawn, and remembered layer by layer.

        In every layer a node of the batch reads its neighbours' outputs of the layer before as they were when last
        computed (GNNAutoScale, arXiv 2106.05609), so that a step costs one hop whatever the depth.
        """
        if kind.sides[n] is None:
            return [], 0.0
        r, d, k = self._round(kind, n), self.config.dim, self.config.neighbors
        first, end = kind.carried.offset[n], kind.carried.offset[n + 1]
        row = kind.carried.find(node, now + self._reach)
        target = r.place[row[(row >= first) & (row < end)] - first].unique()
        target = target[target >= 0]
        place = torch.full_like(r.place, -1)
        if not len(target):
            return [], 0.0
        place[torch.isin(r.place, target)] = torch.arange(len(target))
        drawn = []
        for g, h in enumerate(r.graphs):
            seed = (int(self.rounds), self.step, n, kind.number, g)
            drawn.append(blocks(h, target, 1, size=k, degree=k, seed=seed))
        layer = []
        for j in range(self.config.depth):
            parts = []
            for g, (nodes, block) in enumerate(drawn):
                at = slice(g * d, (g + 1) * d)
                if j == 0:
                    x = inputs(kind.number, r.nodes[nodes])[:, at]
                else:
                    x = kind.carried.hidden[j - 1][kind.carried.begin[n] + nodes, at]
                    x = x.index_put((block[0].targets,), layer[-1][:, at])
                parts.append(self.convs[kind.number][g][j](x, block))
            layer.append(torch.cat(parts, 1))
        new = FreshStates(n, place, layer[-1])
        at = kind.carried.begin[n] + target
        moved = (new.state.detach() - kind.carried.state[at]).norm() / new.state.detach().norm().clamp(min=1e-12)
        if view:
            return [new], float(moved)
        kind.carried.state[at] = new.state.detach()
        for kept, x in zip(kind.carried.hidden, layer, strict=False):
            kept[at] = x.detach()
        return [new], float(moved)

    def _round(self, kind: NodeType, n: int, own: tuple[Batch, Tensor] | None = None) -> SliceGraphs:
        """The hypergraphs of slice n: in training capped, anew every round; without the batch's clicks if `own`."""
        side, sampled = kind.sides[n], self.config.propagation == "sampled"
        key = kind.number, n
        if key not in self._rounds:
            graphs, most = side.graphs, 0 if sampled or not self.training else self.config.neighbors
            if most:
                draw = (int(self.rounds), n, kind.number)
                graphs = [cap(h, size=most, degree=most, seed=(*draw, g)) for g, h in enumerate(graphs)]
            self._rounds[key] = graphs if self._reach else self.compacted(side, graphs)
        found = self._rounds[key]
        if not self._reach:
            return found
        if own:
            batch, now = own
            at = (batch.label == 1) & (now == n)
            node, hyperedge = (batch.user, batch.item) if kind.number == 0 else (batch.item, batch.user)
            found = [self.slices.without(h, node[at].numpy(), hyperedge[at].numpy()) for h in found]
        return self.compacted(side, found)

    def compacted(self, side, graphs: Sequence[Hypergraph]) -> SliceGraphs:
        """Hypergraphs on the nodes of a side, ready for the layers."""
        kept, place, graphs = compact(graphs)
        return SliceGraphs(side.nodes[kept], place, [self.operator(h) for h in graphs] if self.operator else graphs)
