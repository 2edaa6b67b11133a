"""The states of nodes from slice to slice: propagated, cached, looked up, renewed.

The state of a node in slice n is the output of a stack of convolutions on the hypergraphs of n (HyperCTR Eq. 5): one
vector per hypergraph, side by side. A node that is in no hyperedge of the slice has no state. A row reads states of
slices before its own, from a `StateCache` or as `FreshStates`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from graphs import HGCN, Hypergraph
from graphs.build import stack
from graphs.ops import propagator
from graphs.sample import blocks, cap
from hyperctr.batch import Batch
from hyperctr.layers.rng import Counting
from hyperctr.models.hyperctr.cache import FreshStates, StateCache, relative
from hyperctr.models.hyperctr.fields import TypeWeights
from hyperctr.models.hyperctr.layout import Layout

Inputs = Callable[[int, Tensor], Tensor]


Live = tuple[list[list[FreshStates]], Tensor | float, dict[str, float]]
"""What `Propagation.live` returns: states of users and of items, a penalty, numbers to log."""


def surrogate(state: Tensor, gradient: Tensor) -> Tensor:
    """Return a term of value zero whose gradient with respect to `state` is `gradient`.

    Added to a loss, it backpropagates through `state` a gradient that was computed elsewhere.
    """
    product = (state * gradient).sum()
    return product - product.detach()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from this seed inside the block, and restore torch's random state afterwards."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def compact(graphs: Sequence[Hypergraph]) -> tuple[Tensor, Tensor, list[Hypergraph]]:
    """Leave out the nodes that are in no hyperedge of any of the hypergraphs: Eq. (5) gives them no state.

    Args:
        graphs: hypergraphs on the same n nodes.

    Returns:
        the numbers of the nodes kept, ascending, [kept]; the place of every node among them, -1 for those left out,
        [n]; and the hypergraphs on the nodes kept.
    """
    member = torch.zeros(graphs[0].num_nodes, dtype=torch.bool)
    for h in graphs:
        member[h.by_hyperedge.indices.long()] = True
    kept = member.nonzero()[:, 0]
    place = torch.where(member, member.cumsum(0) - 1, -1)
    if len(kept) == len(member):
        return kept, place, list(graphs)
    return kept, place, [_on(h, place.numpy(), len(kept)) for h in graphs]


def _on(h: Hypergraph, place: np.ndarray, count: int) -> Hypergraph:
    """Renumber the nodes of a hypergraph."""
    indptr, indices, value = h.numpy_members()
    weight = None if h.hyperedge_weight is None else h.hyperedge_weight.numpy()
    return Hypergraph.from_members(
        indptr, place[indices], value, count, hyperedge_weight=weight, hyperedge_ids=h.hyperedge_ids
    )


@dataclass(frozen=True)
class SliceGraphs:
    """The hypergraphs of one slice and node type as they are propagated: capped in training, nodes compacted.

    Attributes:
        nodes: global numbers of the nodes that are in some hyperedge, [n].
        place: of every node active in the slice among `nodes`; -1 for a node in no hyperedge, [active].
        graphs: one for the group and one per modality, on those n nodes; or all of them stacked into one, whose node
            g * n + i is node i of hypergraph g.
    """

    nodes: Tensor
    place: Tensor
    graphs: list[Hypergraph]

    def to(self, device: torch.device) -> SliceGraphs:
        """Return them on a device."""
        return SliceGraphs(self.nodes.to(device), self.place.to(device), [h.to(device) for h in self.graphs])


def _together(layers: Sequence[HGCN], x: Tensor, spread: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply the layer of each hypergraph, [graphs, n, d] -> [graphs, n, d]; `spread` is of all of them, stacked."""
    theta = torch.stack([layer.layers[0].theta for layer in layers])
    y = torch.relu(spread(torch.bmm(x, theta).flatten(0, 1))).view(x.shape)
    if not layers[0].training or not layers[0].dropout.p:
        return y
    return torch.stack([layer.dropout(part) for layer, part in zip(layers, y, strict=True)])  # draws as one by one


@dataclass(frozen=True)
class NodeType:
    """Users or items: their hypergraphs and their states.

    Attributes:
        name: "users" or "items". number: 0 or 1.
        sides: the hypergraphs of each slice, `hyperctr.hypergraphs.recipes.Side`; None where it is empty.
        carried: the cached states.
    """

    name: str
    number: int
    sides: tuple
    carried: StateCache


class Propagation(Counting):
    """States of users and items on the hypergraphs of the slices before a row, HyperCTR section 2.3, and their renewal.

    `refresh` fills the cache, exactly in evaluation and on capped hypergraphs in training. In a training step `live`
    propagates with gradients, as `config.propagation` says. `read` gives the states that rows read.

    Args:
        config: `hyperctr.models.hyperctr.Config`.
        slices: the sliced hypergraphs, `hyperctr.hypergraphs.SlicedHypergraphs`.
        convs: for users and for items, for the group and each modality: the layers of Eq. (5).
        operator: makes of a hypergraph what the layers take; None: the hypergraph itself.
        types: weights of the incidences, whose values in `slices` are behaviour types; None: the values are weights.

    Where `inputs` is asked for: X^(0) of (number of the node type, nodes [n]), side by side, [n, graphs * d].

    These change from step to step. `train` and `eval` reset all of them but the cache, which the next `refresh` renews:

        step              calls of `refresh` in this round of training or evaluation
        _graphs           the hypergraphs of (node type, slice), capped once per round
        _shared_states    the `FreshStates` that the batches of a group share; None between two groups
        _dropout_seed     seed of the dropout in `_shared_states`, for the propagation that closes the group
        kinds[k].carried  the `StateCache` of a node type
    """

    counts = ("rounds",)

    def __init__(
        self,
        config,
        slices,
        convs: nn.ModuleList,
        operator: Callable[[Hypergraph], Hypergraph] | None = None,
        types: TypeWeights | None = None,
    ):
        super().__init__()
        self.config, self.convs, self.operator, self.types = config, convs, operator, types
        d = config.dim
        self.mix = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, 1)) if config.carry == "gate" else None
        self.rounds = 0  # of training, seeds the neighbour samples
        sides = slices.users, slices.items
        self.caches = nn.ModuleList(StateCache([side and side.nodes for side in part]) for part in sides)
        self.kinds = [
            NodeType(name, number, sides[number], self.caches[number]) for number, name in enumerate(("users", "items"))
        ]
        self.slices = slices
        self._active = [n for n in range(len(slices)) if any(kind.sides[n] is not None for kind in self.kinds)]
        self._reach = int(slices.own)  # 1: rows read their own slice too
        self._begin()

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.caches[0].key.device

    def train(self, mode: bool = True) -> Propagation:
        """Switch between training and evaluation; the cached states are renewed before they are next read."""
        if mode and not self.training:
            self.rounds += 1
        self._begin()
        return super().train(mode)

    def _begin(self) -> None:
        """Reset what belongs to one round of training or evaluation."""
        self.step, self._graphs, self._shared_states, self._dropout_seed = 0, {}, None, 0

    def use(self, slices) -> None:
        """Replace the hypergraphs by others on the same nodes."""
        self.slices, self._graphs = slices, {}
        self.kinds = [replace(kind, sides=(slices.users, slices.items)[kind.number]) for kind in self.kinds]

    # --- the cache -------------------------------------------------------------------------------------------------

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
        with torch.no_grad():
            for kind in self.kinds:
                slices, hidden = [side and self._slice_graphs(kind, n) for n, side in enumerate(kind.sides)], []
                slices = [s and s.to(self.device) for s in slices]
                places, counts = [s and s.place for s in slices], [len(s.nodes) if s else 0 for s in slices]
                distance = kind.carried.keep(places, counts, self._all(kind, slices, inputs, hidden))
                kind.carried.hidden = [torch.cat(x) for x in zip(*hidden, strict=True)]
                if self.step > 1:
                    moved[f"drift_{kind.name}"] = distance
                if not self.training:
                    self._graphs = {}  # evaluation reads them only here
        return moved

    def _all(
        self, kind: NodeType, slices: list[SliceGraphs | None], inputs: Inputs, hidden: list
    ) -> Iterator[Tensor | None]:
        """Yield the states of one slice after the other; append the outputs of earlier layers to `hidden` if needed."""
        for graphs in slices:
            layers = self.convolve(kind, graphs, inputs) if graphs else [None]
            if graphs and self.training and self.config.propagation == "sampled":
                hidden.append(layers[:-1])
            yield layers[-1]

    def read(self, number: int, node: Tensor, now: Tensor, static: Tensor, live: list[FreshStates]) -> Tensor:
        """Return what rows in slices `now` read of users (0) or items (1): [n] -> [n, graphs * d].

        Args:
            static: X^(0), [n, graphs * d].
            live: from `live`.
        """
        if self.config.depth == 0:
            return static
        carried, only = self.kinds[number].carried, self.config.carry == "none"
        z = carried.read(carried.find(node, now, only), torch.zeros_like(static), live)
        if self._reach:  # then the row's own slice, where its node has a state in it
            z = carried.read(carried.find(node, now + 1, only=True), z, live)
        return self.join(static, z)

    def join(self, static: Tensor, state: Tensor) -> Tensor:
        """Return X^(0) plus the state, or the state alone without `residual`.

        With `carry = "gate"` it is a learned mix of that and X^(0) (HyperRec's gate).

        Args:
            static, state: [n, graphs * d] each; a state of zero is none.
        """
        if self.config.depth == 0:
            return static
        z = static + state if self.config.residual else state
        if self.mix is None:
            return z
        both = torch.stack([z, static], 1).view(len(z), 2, len(self.slices.names), -1)
        return (self.mix(both).softmax(1) * both).sum(1).flatten(1)

    # --- a training step -------------------------------------------------------------------------------------------

    def live(self, batch: Batch, at: Layout, asked: list[tuple[Tensor, Tensor]], inputs: Inputs) -> Live:
        """Return the states that a training step reads in place of cached ones, so that gradients reach the layers.

        Several batches may share one propagation. They read states computed, without gradient, at the first batch.
        Their gradients with respect to those states are summed and backpropagated once, at the last batch, with the
        same dropout mask. At fixed weights this equals the sum of the individual gradients.

        Args:
            at: the slices of the batch's rows.
            asked: the users, and the items, that are read, each with the slices of the rows that read them.

        Returns:
            the states of users and of items; a penalty of value zero that carries the shared gradients; the staleness.
        """
        before = self._active[: bisect_right(self._active, at.earliest + self._reach - 1)]
        if not (before and self.training and self.config.depth):
            return [[], []], 0.0, {}
        if self.config.propagation == "sampled":
            return self._sampled(before[-1], asked, inputs, batch.is_augmented)
        slices = before if self.config.propagation == "full" else before[-1:]
        if self._reach and self.slices.target_edge == "exclude":  # each batch leaves out its own clicks: none is shared
            return self._fresh(slices, inputs, batch.is_augmented, (batch, at.now))
        if batch.is_augmented and (self._shared_states is None or batch.closes_group):
            return self._fresh(slices, inputs, augmented=True)
        if not batch.closes_group:
            return self._shared(slices, inputs)
        return self._fresh(slices, inputs) if self._shared_states is None else self._settle(slices, inputs)

    def _fresh(
        self, slices: list[int], inputs: Inputs, augmented: bool = False, own: tuple[Batch, Tensor] | None = None
    ) -> Live:
        """Propagate with gradients, for this batch only."""
        return [self._propagate(kind, slices, inputs, own, augmented) for kind in self.kinds], 0.0, {}

    def _shared(self, slices: list[int], inputs: Inputs) -> Live:
        """Read the states of the group's first batch; their gradients add up in `.grad` until the group closes."""
        if self._shared_states is None:
            self._dropout_seed = int(torch.randint(2**62, ()))
            with torch.no_grad(), _seeded(self._dropout_seed):
                self._shared_states = [self._propagate(kind, slices, inputs) for kind in self.kinds]
            for states in chain(*self._shared_states):
                states.state.requires_grad_()
        return self._shared_states, 0.0, {}

    def _settle(self, slices: list[int], inputs: Inputs) -> Live:
        """Close a group: propagate again with the same dropout, and attach the gradients that have added up."""
        before, self._shared_states = self._shared_states, None
        with _seeded(self._dropout_seed):
            fresh = [self._propagate(kind, slices, inputs) for kind in self.kinds]
        penalty, moved, length = 0.0, [], []
        for new, old in zip(chain(*fresh), chain(*before), strict=True):
            if old.state.grad is not None:
                penalty = penalty + surrogate(new.state, old.state.grad)
            moved.append((new.state.detach() - old.state.detach()).square().sum())
            length.append(new.state.detach().square().sum())
        return fresh, penalty, {"staleness": relative(moved, length)}

    def _sampled(self, n: int, asked: list[tuple[Tensor, Tensor]], inputs: Inputs, augmented: bool) -> Live:
        """Propagate to the batch's own nodes only, from neighbours drawn in slice n."""
        found = [
            self._around(kind, n, *nodes, inputs, augmented) for kind, nodes in zip(self.kinds, asked, strict=True)
        ]
        distances = [torch.as_tensor(distance, device=self.device) for _, distance in found]
        return [states for states, _ in found], 0.0, {"staleness": torch.stack(distances).max()}

    def _propagate(
        self,
        kind: NodeType,
        slices: list[int],
        inputs: Inputs,
        own: tuple[Batch, Tensor] | None = None,
        augmented: bool = False,
    ) -> list[FreshStates]:
        """Compute Eq. (5) on the hypergraphs of some slices; write it to the cache unless the batch is augmented."""
        found = []
        for n in slices:
            if kind.sides[n] is not None:
                graphs = self._slice_graphs(kind, n, own)
                found.append(FreshStates(n, graphs.place, self.convolve(kind, graphs, inputs)[-1]))
                if not (self._reach or augmented):
                    kind.carried.renew(found[-1])
        return found

    def convolve(self, kind: NodeType, on: SliceGraphs, inputs: Inputs) -> list[Tensor]:
        """Compute Eq. (5) on some hypergraphs and return the output of every layer: [n, graphs * d] each."""
        stacks, d = self.convs[kind.number], self.config.dim
        x = inputs(kind.number, on.nodes).unflatten(1, (len(stacks), d)).transpose(0, 1)  # [graphs, n, d]
        values = [{} if self.types is None else {"value": self.types.values(h)} for h in on.graphs]
        stacked = len(on.graphs) < len(stacks)
        spread = propagator(on.graphs[0], **values[0]) if stacked else None
        outputs = []
        for layers in zip(*stacks, strict=True):
            if stacked:
                x = _together(layers, x, spread)
            else:
                given = zip(layers, x, on.graphs, values, strict=True)
                x = torch.stack([layer(part, h, **value) for layer, part, h, value in given])
            outputs.append(x.transpose(0, 1).flatten(1))
        return outputs

    def weighted(self, h: Hypergraph) -> Hypergraph:
        """Return one of the hypergraphs with the weights of Eq. (5) as the values of its incidences."""
        return h if self.types is None else self.types.weighted(h)

    def _around(
        self, kind: NodeType, n: int, node: Tensor, now: Tensor, inputs: Inputs, augmented: bool
    ) -> tuple[list[FreshStates], Tensor | float]:
        """Compute Eq. (5) for the batch's own nodes in slice n, from drawn neighbours and their cached outputs.

        In every layer a node of the batch reads its neighbours' outputs of the layer before as last computed
        (GNNAutoScale, arXiv 2106.05609), so that a step costs one hop at any depth.
        """
        if kind.sides[n] is None:
            return [], 0.0
        on, cache, d, k = self._slice_graphs(kind, n), kind.carried, self.config.dim, self.config.neighbors
        first, end = cache.offset[n], cache.offset[n + 1]
        row = cache.find(node, now + self._reach).cpu()  # neighbours are drawn on the host
        target = on.place[row[(row >= first) & (row < end)] - first].unique()  # the batch's nodes with a state in n
        target = target[target >= 0]
        if not len(target):
            return [], 0.0
        drawn = []  # of each hypergraph: the targets and their neighbours, and the block between them
        for g, h in enumerate(on.graphs):
            seed = (self.rounds, self.step, n, kind.number, g)
            nodes, layers = blocks(h, target, 1, size=k, degree=k, seed=seed)
            drawn.append((nodes.to(self.device), [block.to(self.device) for block in layers]))
        target, of_nodes = target.to(self.device), on.nodes.to(self.device)
        layers = []
        for j in range(self.config.depth):
            parts = []
            for g, (nodes, block) in enumerate(drawn):
                columns = slice(g * d, (g + 1) * d)
                if j == 0:
                    x = inputs(kind.number, of_nodes[nodes])[:, columns]
                else:
                    x = cache.hidden[j - 1][cache.begin[n] + nodes, columns]
                    x = x.index_put((block[0].targets,), layers[-1][:, columns])
                parts.append(self.convs[kind.number][g][j](x, block))
            layers.append(torch.cat(parts, 1))
        place = torch.full_like(on.place, -1)
        place[torch.isin(on.place, target.cpu())] = torch.arange(len(target))
        new, cached = FreshStates(n, place.to(self.device), layers[-1]), cache.begin[n] + target
        moved = (new.state.detach() - cache.state[cached]).norm() / new.state.detach().norm().clamp(min=1e-12)
        if not augmented:
            for old, x in zip([*cache.hidden, cache.state], layers, strict=True):
                old[cached] = x.detach()
        return [new], moved

    def _slice_graphs(self, kind: NodeType, n: int, own: tuple[Batch, Tensor] | None = None) -> SliceGraphs:
        """Return the hypergraphs of slice n: capped once per round in training; without the batch's clicks if `own`."""
        side, sampled = kind.sides[n], self.config.propagation == "sampled"
        key = kind.number, n
        if key not in self._graphs:
            graphs, most = side.graphs, 0 if sampled or not self.training else self.config.neighbors
            if most:
                draw = (self.rounds, n, kind.number)
                graphs = [cap(h, size=most, degree=most, seed=(*draw, g)) for g, h in enumerate(graphs)]
            self._graphs[key] = graphs if self._reach else self.compacted(side, graphs, on_host=sampled)
        found = self._graphs[key]
        if not self._reach:
            return found
        if own:
            batch, now = own
            at = (batch.label == 1) & (now == n)
            node, hyperedge = (batch.user, batch.item) if kind.number == 0 else (batch.item, batch.user)
            at = at.cpu()
            node, hyperedge = node.cpu()[at].numpy(), hyperedge.cpu()[at].numpy()
            found = [self.slices.without(h, node, hyperedge) for h in found]
        return self.compacted(side, found)

    def compacted(self, side, graphs: Sequence[Hypergraph], on_host: bool = False) -> SliceGraphs:
        """Return hypergraphs on the nodes of a side, ready for the layers, on the device of the model."""
        kept, place, graphs = compact(graphs)
        if self.operator:
            graphs = [self.operator(h) for h in graphs]
        elif self.config.propagation != "sampled":  # one product in place of many small ones
            graphs = [stack(*graphs)]
        found = SliceGraphs(side.nodes[kept], place, graphs)
        return found if on_host else found.to(self.device)
