"""Random samples of hypergraphs: caps on sizes and degrees, and mini-batches of nodes. Each draw has its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import ops
from graphs.hypergraph import Hypergraph
from graphs.kernels import CSR


def cap(h: Hypergraph, size: int = 0, degree: int = 0, seed: int | Sequence[int] = 0) -> Hypergraph:
    """Keep at most `size` members of each hyperedge, then at most `degree` hyperedges of each node.

    This is the neighbour size K of HyperCTR, arXiv 2109.02398. Members and hyperedges are drawn uniformly without
    replacement. With `size` only, the mean over the members of a hyperedge is unbiased. Degrees and sizes count the
    sampled incidences.

    Args:
        h: hypergraph.
        size: most members of a hyperedge; 0 is no cap.
        degree: most hyperedges of a node; 0 is no cap.
        seed: not negative; several numbers such as (seed, epoch, slice) name one draw. The global random state is
            neither read nor changed.

    Returns:
        A hypergraph with the same nodes, hyperedges, weights and ids; `h` itself if nothing exceeds a cap.

    Raises:
        ValueError: a negative cap or seed.

    >>> cap(Hypergraph.from_pairs([0, 1, 2, 0], [0, 0, 0, 1]), size=2).size()
    tensor([2., 1.])
    """
    if size < 0 or degree < 0:
        raise ValueError(f"caps must not be negative (0 is no cap), got size={size} and degree={degree}")
    generator = np.random.default_rng(seed)
    indptr, indices, value = h.numpy_members()
    hyperedge = np.repeat(np.arange(h.num_hyperedges), np.diff(indptr))
    kept = _keep(hyperedge, np.diff(indptr), size, generator)  # over incidences
    node, hyperedge = indices[kept], hyperedge[kept]
    value = None if value is None else value[kept]
    kept = _keep(node, np.bincount(node, minlength=h.num_nodes), degree, generator)
    node, hyperedge = node[kept], hyperedge[kept]
    if len(node) == h.num_incidences:
        return h
    indptr = np.concatenate([[0], np.cumsum(np.bincount(hyperedge, minlength=h.num_hyperedges))])
    incidences = h.attributes.incidences
    if incidences:
        left = set(zip(node.tolist(), hyperedge.tolist(), strict=True))
        incidences = {pair: attributes for pair, attributes in incidences.items() if pair in left}
    sampled = type(h).from_members(
        indptr,
        node,
        None if value is None else value[kept],
        h.num_nodes,
        hyperedge_weight=None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy(),
        node_ids=h.node_ids,
        hyperedge_ids=h.hyperedge_ids,
        device=h.device,
    )
    return replace(sampled, node_weight=h.node_weight, attributes=replace(h.attributes, incidences=incidences))


@dataclass(frozen=True, eq=False)
class Block:
    """The part of a hypergraph that one layer needs to compute the rows of a few nodes, its targets; made by `blocks`.

    A layer takes it like a hypergraph: `conv(x, block)` leads from [inputs, dim] to [targets, dim]. It uses degrees and
    sizes of the whole hypergraph.

    >>> inputs, (block,) = blocks(Hypergraph.from_pairs([0, 1, 2, 3], [0, 0, 1, 1]), nodes=[3], depth=1)
    >>> block.inputs, block.targets, block.hyperedges
    (tensor([2, 3]), tensor([1]), tensor([1], dtype=torch.int32))
    """

    inputs: Tensor
    """Node numbers of the rows that a layer reads, increasing, [inputs], int64."""
    targets: Tensor
    """Place in `inputs` of each node whose row a layer computes, [targets], int64."""
    hyperedges: Tensor
    """Hyperedge numbers, increasing, [hyperedges], int64."""
    reads: Hypergraph
    """The inputs that each hyperedge reads, [inputs, hyperedges]; values compensate for members not drawn."""
    writes: Hypergraph
    """The hyperedges that each target sums, [targets, hyperedges]; values compensate for hyperedges not drawn."""
    inverse_degree: Tensor
    """D_v^-1 of the inputs with 0^-1 = 0, [inputs], float64."""
    scale: Tensor
    """W D_e^-1 of the hyperedges, [hyperedges], float64."""

    @property
    def isolated(self) -> Tensor:
        """True for a target whose degree is zero, [targets]."""
        return (self.inverse_degree == 0)[self.targets]

    def to(self, device: torch.device | str) -> Block:
        """Move to another device."""
        return replace(self, **{name: part.to(device) for name, part in vars(self).items()})

    def propagate(self, x: Tensor, hyperedge_weight: None = None, norm: ops.Norm = "sym", value: None = None) -> Tensor:
        """Return the rows of `Hypergraph.propagate` that belong to the targets: [inputs, dim] -> [targets, dim].

        Without caps they are exact. With caps each entry is an unbiased estimate: its mean over draws is exact.

        Raises:
            ValueError: x has other rows, device or dtype; a hyperedge weight or values, since a block lacks hyperedges
                that the degrees need.

        >>> inputs, (block,) = blocks(Hypergraph.from_pairs([0, 1, 2, 3], [0, 0, 1, 1]), nodes=[3], depth=1)
        >>> block.propagate(torch.tensor([[0.0], [1.0], [2.0], [6.0]])[inputs])
        tensor([[4.]])
        """
        if hyperedge_weight is not None or value is not None:
            name = "value" if hyperedge_weight is None else "hyperedge_weight"
            raise ValueError(f"a block weighs by the weights of its hypergraph: give {name} to a Hypergraph")
        if x.dim() != 2 or len(x) != len(self.inputs):
            raise ValueError(f"x must be x[block.inputs], [{len(self.inputs)}, dim], got shape {list(x.shape)}")
        dtype = torch.promote_types(x.dtype, torch.float32)
        factor = self.inverse_degree.pow({"sym": 0.5, "row": 1.0}[norm]).to(dtype)[:, None]
        y = x.to(dtype)
        if norm == "sym":
            y = factor * y
        y = self.writes @ (self.scale.to(dtype)[:, None] * (self.reads.T @ y))
        return (factor[self.targets] * y).to(x.dtype)


def blocks(
    h: Hypergraph,
    nodes: ArrayLike | Tensor,
    depth: int,
    size: int = 0,
    degree: int = 0,
    seed: int | Sequence[int] = 0,
) -> tuple[Tensor, list[Block]]:
    """Make one block per layer for the rows of a batch of nodes, if a hypergraph is too large to convolve as a whole.

    Every layer sums at most `degree` hyperedges of each node it computes, and reads at most `size` members of each of
    these hyperedges. Both are drawn uniformly without replacement and scaled up by (all / drawn). Time and memory
    depend on the blocks. Only degrees and sizes are computed for the whole hypergraph, once.

        inputs, steps = blocks(h, batch, depth=2, size=20, degree=10, seed=(0, epoch, step))
        y = model(x[inputs], steps)                  # HGCN(dim, depth=2): [batch, dim]

    Without caps the result is exact. With caps each layer is unbiased before its activation,
    given its input. A stack of layers has nonlinear activations between them, so it is an estimate as in GraphSAGE,
    arXiv 1706.02216.

    Args:
        h: hypergraph on the CPU; `Block.to` moves a block.
        nodes: node numbers of the batch, [batch], in any order; a number may repeat.
        depth: number of layers.
        size: most members read of a hyperedge; 0 is no cap.
        degree: most hyperedges summed of a node; 0 is no cap.
        seed: as in `cap`.

    Returns:
        The node numbers whose rows the first layer reads, [inputs], and one block per layer, the first layer's first.
        Depth 0 gives the nodes themselves.

    Raises:
        ValueError: node numbers out of range, a negative depth, cap or seed, a hypergraph on another device.

    >>> inputs, steps = blocks(Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1]), nodes=[0], depth=2)
    >>> inputs, len(steps)
    (tensor([0, 1, 2]), 2)
    """
    if size < 0 or degree < 0 or depth < 0:
        raise ValueError(f"depth and caps must not be negative, got depth={depth}, size={size} and degree={degree}")
    if h.device.type != "cpu":
        raise ValueError(f"blocks are drawn on the CPU, the hypergraph is on {h.device}: draw from h.to('cpu')")
    nodes = nodes.cpu().numpy() if isinstance(nodes, Tensor) else np.asarray(nodes)
    if nodes.ndim != 1 or (len(nodes) and nodes.dtype.kind not in "iu"):
        raise ValueError(f"nodes must be node numbers, [batch], got {nodes.dtype} of shape {list(nodes.shape)}")
    if len(nodes) and not 0 <= nodes.min() <= nodes.max() < h.num_nodes:
        raise ValueError(f"node numbers must be in [0, {h.num_nodes}), got [{nodes.min()}, {nodes.max()}]")
    generator = np.random.default_rng(seed)
    nodes, steps = nodes.astype(np.int64), []
    for _ in range(depth):
        steps.append(_block(h, nodes, size, degree, generator))
        nodes = steps[-1].inputs.numpy()
    return torch.from_numpy(nodes), steps[::-1]


def _block(h: Hypergraph, nodes: np.ndarray, size: int, degree: int, generator: np.random.Generator) -> Block:
    bounds, found, value = _draw(h.by_node, nodes, degree, generator)
    hyperedges, found = np.unique(found, return_inverse=True)
    writes = Hypergraph.from_members(bounds, found, value, len(hyperedges)).T  # the hyperedges drawn for each target
    bounds, members, value = _draw(h.by_hyperedge, hyperedges, size, generator)
    inputs, place = np.unique(np.concatenate([nodes, members]), return_inverse=True)
    targets, members = place[: len(nodes)], place[len(nodes) :]
    inverse_degree, scale, _ = h.scales("row", torch.float64)
    return Block(
        inputs=torch.from_numpy(inputs),
        targets=torch.from_numpy(targets),
        hyperedges=torch.from_numpy(hyperedges),
        reads=Hypergraph.from_members(bounds, members, value, len(inputs)),
        writes=writes,
        inverse_degree=inverse_degree[inputs],
        scale=scale[hyperedges],
    )


def _draw(
    csr: CSR, rows: np.ndarray, most: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows of a matrix as (indptr, indices, value); of a longer row draw `most` incidences and scale them up."""
    indptr, indices, value = (None if part is None else part.numpy() for part in csr)
    first = indptr[rows].astype(np.int64)
    count = indptr[rows + 1] - first
    drawn = np.minimum(count, most) if most else count
    bounds = np.concatenate([[0], np.cumsum(drawn)])
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], drawn)
    crowded = count > drawn
    if crowded.any():
        place[np.repeat(crowded, drawn)] = _distinct(count[crowded], most, generator).ravel()
    place += np.repeat(first, drawn)
    value = None if value is None else value[place]
    if crowded.any():
        scale = np.repeat(count / np.maximum(drawn, 1), drawn).astype(np.float32)
        value = scale if value is None else scale * value
    return bounds, indices[place], value


def _distinct(count: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Draw `most` different numbers below each count, increasing, [rows, most]: Floyd's algorithm on all rows."""
    chosen = np.empty((most, len(count)), dtype=np.int64)
    for k in range(most):
        last = count - most + k
        number = generator.integers(last + 1)
        chosen[k] = np.where((chosen[:k] == number).any(0), last, number)
    return np.sort(chosen.T, axis=1)


def _keep(group: np.ndarray, count: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Mark the incidences to keep: all of a group of at most `most`, else `most` of them, drawn uniformly."""
    if most == 0 or not len(group) or count.max() <= most:
        return np.ones(len(group), dtype=bool)
    crowded = count > most
    kth = (np.cumsum(count, dtype=np.int64) - count)[crowded] + most - 1
    bits = 62 - len(count).bit_length()
    limit = np.full(len(count), np.iinfo(np.int64).max)
    while True:  # once, unless a tie lets one too many in
        key = (group.astype(np.int64) << bits) | generator.integers(1 << bits, size=len(group))
        limit[crowded] = np.sort(key)[kth]
        kept = key <= limit[group]
        if kept.sum() == np.minimum(count, most).sum():
            return kept
