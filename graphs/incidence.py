"""Incidence: the data of a hypergraph, checked when it is made and never changed, with its cached degrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self, TypeVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.attributes import Attributes
from graphs.index.csr import sort_pairs, transpose
from graphs.index.ids import counts, names, pair_ids
from graphs.kernels import CSR, INT32_LIMIT

Norm = Literal["sym", "row"]
Computed = TypeVar("Computed")
AnyIncidence = TypeVar("AnyIncidence", bound="Incidence")


@dataclass(frozen=True, eq=False, repr=False)
class Incidence:
    """The data of a hypergraph: which node is in which hyperedge, weights, ids and attributes.

    The incidence matrix H, [num_nodes, num_hyperedges], is stored by rows and by columns. Nodes and hyperedges are
    numbered from zero; `node_ids` and `hyperedge_ids` map the numbers back to the caller's own ids.

    `graphs.Hypergraph` is this data with products, descriptions and conversions as methods.
    """

    num_nodes: int
    num_hyperedges: int
    by_node: CSR
    """H: the hyperedges of each node."""
    by_hyperedge: CSR
    """H^T: the members of each hyperedge."""
    hyperedge_weight: Tensor | None = None
    """W of Eq. 5, [num_hyperedges], float32; None means 1."""
    node_ids: np.ndarray | None = None
    """The caller's id of each node, [num_nodes]."""
    hyperedge_ids: np.ndarray | None = None
    """The caller's id of each hyperedge, [num_hyperedges]."""
    node_weight: Tensor | None = None
    """Weight of each node, [num_nodes], float32: the hyperedge weight of the dual. No product of h itself reads it."""
    attributes: Attributes = field(default_factory=Attributes)
    """What the caller knows beyond weights, as a file or another package brought it."""

    def __new__(cls, *parts: object, **fields: object) -> Self:  # without arguments: a copy
        if 0 < len(parts) + len(fields) < 4:
            raise TypeError(f"{cls.__name__}(...) takes stored parts: use from_pairs or graphs.build.from_groups")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cache", {})  # computed once and kept; no field, so a copy starts with an empty one

    @classmethod
    def from_pairs(
        cls,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        num_nodes: int | None = None,
        num_hyperedges: int | None = None,
        weight: ArrayLike | Tensor | None = None,
        hyperedge_weight: ArrayLike | Tensor | None = None,
        node_ids: Sequence | np.ndarray | None = None,
        hyperedge_ids: Sequence | np.ndarray | None = None,
        node_weight: ArrayLike | Tensor | None = None,
    ) -> Self:
        """Make a hypergraph from (node, hyperedge) pairs in any order.

        Args:
            nodes: node of each pair, [pairs], integers from 0; a list, an array or a tensor.
            hyperedges: hyperedge of each pair, [pairs], integers from 0.
            num_nodes: number of nodes, with those in no pair; None takes the largest number plus one.
            num_hyperedges: number of hyperedges, with empty ones; None takes the largest number plus one.
            weight: value h(v, e) of each pair, [pairs], finite and not negative; None means 1. Equal pairs are one
                incidence: their weights are added, and without weights they count once.
            hyperedge_weight: w_e of each hyperedge, [num_hyperedges], finite and not negative; None means 1.
            node_ids: the caller's ids, [num_nodes], integers or strings.
            hyperedge_ids: the caller's ids, [num_hyperedges], integers or strings.
            node_weight: weight of each node, [num_nodes], finite and not negative: the hyperedge weight of the dual.

        Returns:
            The hypergraph, on the device of `nodes` if that is a tensor. No pairs give a hypergraph without incidences.

        Raises:
            ValueError: ids out of range or not integers, lengths that disagree, a negative or non-finite weight.

        >>> Hypergraph.from_pairs(nodes=[0, 1, 1, 2], hyperedges=[0, 0, 1, 1])
        Hypergraph(3 nodes, 2 hyperedges, 4 incidences)
        """
        device = nodes.device if isinstance(nodes, Tensor) else torch.device("cpu")
        nodes, hyperedges = pair_ids("node", nodes), pair_ids("hyperedge", hyperedges)
        if len(nodes) != len(hyperedges):
            raise ValueError(
                f"nodes and hyperedges must have the same length, got {len(nodes)} and {len(hyperedges)} entries"
            )
        num_nodes, num_hyperedges = counts(nodes, hyperedges, num_nodes, num_hyperedges)
        value = None if weight is None else _weights("weight", weight, len(nodes), "pair")
        indptr, indices, value = sort_pairs(nodes, hyperedges, num_nodes, num_hyperedges, value)
        if hyperedge_weight is not None:
            hyperedge_weight = _weights("hyperedge_weight", hyperedge_weight, num_hyperedges, "hyperedge")
        if node_weight is not None:
            node_weight = _weights("node_weight", node_weight, num_nodes, "node")
        return cls.from_members(
            indptr,
            indices,
            value,
            num_nodes,
            hyperedge_weight=hyperedge_weight,
            node_ids=names("node_ids", node_ids, num_nodes),
            hyperedge_ids=names("hyperedge_ids", hyperedge_ids, num_hyperedges),
            node_weight=node_weight,
            device=device,
        )

    @classmethod
    def from_members(
        cls,
        indptr: np.ndarray,
        indices: np.ndarray,
        value: np.ndarray | None,
        num_nodes: int,
        hyperedge_weight: np.ndarray | None = None,
        node_ids: np.ndarray | None = None,
        hyperedge_ids: np.ndarray | None = None,
        node_weight: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Wrap the members of each hyperedge in CSR form, nodes increasing within a hyperedge; nothing is checked.

        >>> Hypergraph.from_members(np.array([0, 2, 3]), np.array([0, 1, 1]), None, num_nodes=2)
        Hypergraph(2 nodes, 2 hyperedges, 3 incidences)
        """
        num_hyperedges = len(indptr) - 1
        dtype = np.int32 if max(len(indices), num_nodes, num_hyperedges) < INT32_LIMIT else np.int64
        indptr, indices = indptr.astype(dtype, copy=False), indices.astype(dtype, copy=False)
        rows = transpose(indptr, indices, value, num_nodes)
        h = cls(
            num_nodes=num_nodes,
            num_hyperedges=num_hyperedges,
            by_node=_csr(*rows, dtype),
            by_hyperedge=_csr(indptr, indices, value, dtype),
            hyperedge_weight=None if hyperedge_weight is None else torch.from_numpy(hyperedge_weight),
            node_ids=node_ids,
            hyperedge_ids=hyperedge_ids,
            node_weight=None if node_weight is None else torch.from_numpy(node_weight),
        )
        return h.to(device)

    @property
    def num_incidences(self) -> int:
        """Number of (node, hyperedge) pairs.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).num_incidences
        3
        """
        return len(self.by_node.indices)

    @property
    def device(self) -> torch.device:
        """Device of the tensors.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).device
        device(type='cpu')
        """
        return self.by_node.indptr.device

    def degree(self) -> Tensor:
        """Return D_v(v) = sum_e w_e h(v, e), [num_nodes], float32.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], hyperedge_weight=[1, 5]).degree()
        tensor([1., 6.])
        """
        return self._degree().float()

    def size(self) -> Tensor:
        """Return D_e(e) = sum_v h(v, e), [num_hyperedges], float32: the number of members if incidences have no values.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).size()
        tensor([2., 1.])
        """
        return self._size().float()

    def members(self, hyperedge: int) -> Tensor:
        """Return the nodes of one hyperedge, increasing, int64.

        >>> Hypergraph.from_pairs([2, 0, 1], [0, 0, 1]).members(0)
        tensor([0, 2])
        """
        return _row(self.by_hyperedge, hyperedge, self.num_hyperedges, "hyperedge")

    def hyperedges(self, node: int) -> Tensor:
        """Return the hyperedges of one node, increasing, int64.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).hyperedges(1)
        tensor([0, 1])
        """
        return _row(self.by_node, node, self.num_nodes, "node")

    @property
    def isolated(self) -> Tensor:
        """True for a node whose degree is zero, [num_nodes]: it is in no hyperedge, or only in ones of weight zero.

        >>> Hypergraph.from_pairs([0, 1], [0, 0], num_nodes=3).isolated
        tensor([False, False,  True])
        """
        return self._once("isolated", lambda: self._degree() == 0)

    @property
    def hyperedge_index(self) -> Tensor:
        """Row 0 nodes, row 1 hyperedges, which do not decrease: [2, num_incidences], int64, as PyG layers take it.

        >>> Hypergraph.from_pairs([1, 0, 1], [1, 0, 0]).hyperedge_index
        tensor([[0, 1, 1],
                [0, 0, 1]])
        """
        indptr, nodes, _ = self.by_hyperedge
        hyperedges = torch.arange(self.num_hyperedges, device=self.device)
        return torch.stack([nodes.long(), hyperedges.repeat_interleave(indptr.diff(), output_size=len(nodes))])

    @property
    def T(self) -> Self:
        """The dual, with nodes and hyperedges exchanged; nothing is copied. Its hyperedge weights are the node weights.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 0]).T
        Hypergraph(1 nodes, 2 hyperedges, 2 incidences)
        """
        return type(self)(
            num_nodes=self.num_hyperedges,
            num_hyperedges=self.num_nodes,
            by_node=self.by_hyperedge,
            by_hyperedge=self.by_node,
            hyperedge_weight=self.node_weight,
            node_ids=self.hyperedge_ids,
            hyperedge_ids=self.node_ids,
            node_weight=self.hyperedge_weight,
            attributes=self.attributes.T,
        )

    def to(self, device: torch.device | str) -> Self:
        """Move to another device; return the hypergraph itself if it is there already.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).to("meta")
        Hypergraph(2 nodes, 1 hyperedges, 2 incidences, meta)
        """
        device = torch.empty(0, device=device).device
        if device == self.device:
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            by_node=CSR(*map(move, self.by_node)),
            by_hyperedge=CSR(*map(move, self.by_hyperedge)),
            hyperedge_weight=move(self.hyperedge_weight),
            node_weight=move(self.node_weight),
        )

    def take(self, nodes: np.ndarray | None = None, hyperedges: np.ndarray | None = None) -> Self:
        """Return the part on these node and hyperedge numbers, in this order; None takes all. Nothing is checked.

        This is `graphs.build.subhypergraph` for int64 arrays that are known to be in range.

        >>> Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1]).take(hyperedges=np.array([1])).members(0)
        tensor([1, 2])
        """
        indptr, indices, value = self.numpy_members()
        data = np.ones(len(indices), dtype=np.int8) if value is None else value
        members = scipy.sparse.csr_array((data, indices, indptr), shape=(self.num_hyperedges, self.num_nodes))
        members = members if hyperedges is None else members[hyperedges]
        if nodes is not None:
            members = members[:, nodes]
            members.sort_indices()
        part = type(self).from_members(
            members.indptr,
            members.indices,
            None if value is None else members.data,
            members.shape[1],
            node_ids=_ids_of(self.node_ids, nodes),
            hyperedge_ids=_ids_of(self.hyperedge_ids, hyperedges),
            device=self.device,
        )
        return replace(
            part,
            hyperedge_weight=_weight_of(self.hyperedge_weight, hyperedges),
            node_weight=_weight_of(self.node_weight, nodes),
            attributes=self.attributes.take(nodes, hyperedges) if self.attributes else self.attributes,
        )

    def equals(self, other: Incidence) -> bool:
        """Compare numbers of nodes and hyperedges, incidences, values, weights, ids and attributes, exactly.

        >>> Hypergraph.from_pairs([0, 1], [0, 0]).equals(Hypergraph.from_pairs([1, 0], [0, 0]))
        True
        """
        parts = []
        for h in (self.to("cpu"), other.to("cpu")):
            tensors = (*h.by_hyperedge, h.hyperedge_weight, h.node_weight)
            ids = [None if i is None else i.tolist() for i in (h.node_ids, h.hyperedge_ids)]
            parts.append((h.num_nodes, ids, h.attributes, [t is None for t in tensors], tensors))
        (*mine, my_tensors), (*others, their_tensors) = parts
        same = (a is None or torch.equal(a, b) for a, b in zip(my_tensors, their_tensors, strict=True))
        return mine == others and all(same)

    def numpy_members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the members of each hyperedge as numpy arrays (indptr, indices, value), for builders and samplers.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).numpy_members()[:2]
        (array([0, 2, 3], dtype=int32), array([0, 1, 1], dtype=int32))
        """
        indptr, indices, value = (None if a is None else a.cpu().numpy() for a in self.by_hyperedge)
        return indptr, indices, value

    @property
    def order(self) -> Tensor:
        """Place in `by_hyperedge`, and so in `hyperedge_index`, of each incidence of `by_node`, [num_incidences].

        >>> Hypergraph.from_pairs([0, 1, 1, 0], [0, 0, 1, 1]).order
        tensor([0, 2, 1, 3], dtype=torch.int32)
        """
        nodes = self.by_hyperedge.indices
        return self._once("order", lambda: torch.argsort(nodes, stable=True).to(nodes.dtype))

    @property
    def inverse_size(self) -> Tensor:
        """D_e^-1 with 0^-1 = 0, [num_hyperedges], float64.

        >>> Hypergraph.from_pairs([0, 1], [0, 0], num_hyperedges=2).inverse_size
        tensor([0.5000, 0.0000], dtype=torch.float64)
        """
        if not torch.compiler.is_compiling():
            self._once("values checked", lambda: _refuse_negative("weight", self.by_node.value))
        return self._once("inverse_size", lambda: inverse(self._size(), 1.0))

    def scales(self, norm: Norm, dtype: torch.dtype) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Return the factors of `propagate` from left to right: nodes, hyperedges (W D_e^-1), nodes; None means ones.

        >>> Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]).scales("row", torch.float32)
        (tensor([1.0000, 0.5000]), tensor([0.5000, 1.0000]), None)
        """
        return self._once((norm, dtype), lambda: self._scales(norm, dtype))

    def _scales(self, norm: Norm, dtype: torch.dtype) -> tuple[Tensor | None, Tensor, Tensor | None]:
        _refuse_negative("hyperedge_weight", self.hyperedge_weight)
        middle = self.inverse_size if self.hyperedge_weight is None else self.inverse_size * self.hyperedge_weight
        if norm == "sym":
            left = right = inverse(self._degree(), 0.5).to(dtype)
        else:
            left, right = inverse(self._degree(), 1.0).to(dtype), None
        return left, middle.to(dtype), right

    def _degree(self) -> Tensor:
        return self._once("degree", lambda: _row_sums(self.by_node, self.hyperedge_weight))

    def _size(self) -> Tensor:
        return self._once("size", lambda: _row_sums(self.by_hyperedge, None))

    def _once(self, name: object, compute: Callable[[], Computed]) -> Computed:
        """Compute at the first call and cache. (torch.compile cannot enter the lock of a cached_property.)"""
        if name in self._cache:
            return self._cache[name]
        with torch.inference_mode(False):  # a tensor of inference mode could not be saved for a gradient later
            computed = compute()
        if not torch.compiler.is_exporting():  # tensors of an export have no data
            self._cache[name] = computed
        return computed

    def __repr__(self) -> str:
        weighted = ", weighted" if self.hyperedge_weight is not None or self.by_node.value is not None else ""
        device = "" if self.device.type == "cpu" else f", {self.device}"
        return (
            f"{type(self).__name__}({self.num_nodes} nodes, {self.num_hyperedges} hyperedges, "
            f"{self.num_incidences} incidences{weighted}{device})"
        )


def inverse(x: Tensor, power: float) -> Tensor:
    """Return x^-power with 0^-power = 0, and a gradient of zero there instead of NaN.

    >>> inverse(torch.tensor([4.0, 0.0]), 0.5)
    tensor([0.5000, 0.0000])
    """
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).pow(-power), 0)


def _row_sums(matrix: CSR, weight: Tensor | None) -> Tensor:
    """Multiply a matrix with weights of its columns (None: ones), [rows], float64, in a fixed order of summation."""
    indptr, indices, value = matrix
    if value is None and weight is None:
        return indptr.diff().double()
    if weight is None:
        terms = value.double()
    else:
        terms = weight.double()[indices]
        terms = terms if value is None else terms * value.double()
    return torch.segment_reduce(terms, "sum", offsets=indptr)


def _weights(name: str, weight: ArrayLike | Tensor, length: int, entry: str) -> np.ndarray:
    if isinstance(weight, Tensor):
        if weight.requires_grad:
            raise ValueError(f"{name} is stored as a constant: detach it, or give it to propagate to learn it")
        weight = weight.cpu().numpy()
    weight = np.asarray(weight)
    if weight.shape != (length,):
        raise ValueError(f"{name} must have one entry per {entry}, [{length}], got shape {list(weight.shape)}")
    if weight.size and weight.dtype.kind not in "iufb":
        raise ValueError(f"{name} must be numbers, got {weight.dtype}")
    weight = weight.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise ValueError(f"{name} must be finite and not negative, got {weight[bad[0]]} at position {bad[0]}")
    return weight


def _refuse_negative(name: str, weight: Tensor | None) -> None:
    """Refuse what only a file brings: it keeps negative weights, and `from_pairs` refuses them."""
    if weight is None or torch.compiler.is_compiling():
        return
    if not ((weight >= 0) & weight.isfinite()).all():
        raise ValueError(f"propagate needs every {name} finite and not negative, and here one is not")


def _csr(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, dtype: type) -> CSR:
    indptr, indices = (torch.from_numpy(array.astype(dtype, copy=False)) for array in (indptr, indices))
    return CSR(indptr, indices, None if value is None else torch.from_numpy(value))


def _row(csr: CSR, row: int, num_rows: int, name: str) -> Tensor:
    if not 0 <= row < num_rows:
        raise ValueError(f"{name} must be in [0, {num_rows}), got {row}")
    return csr.indices[csr.indptr[row] : csr.indptr[row + 1]].long()


def _ids_of(ids: np.ndarray | None, taken: np.ndarray | None) -> np.ndarray | None:
    if taken is None:
        return ids
    return taken if ids is None else ids[taken]


def _weight_of(weight: Tensor | None, taken: np.ndarray | None) -> Tensor | None:
    return weight if weight is None or taken is None else weight[torch.from_numpy(taken).to(weight.device)]
