"""Hypergraph: the incidence matrix H and its transpose, checked when it is made and trusted afterwards."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import describe, ops
from graphs.attributes import Attributes
from graphs.convert.frames import Conversions
from graphs.index.csr import sort_pairs, transpose
from graphs.kernels import CSR, INT32_LIMIT

Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False, repr=False)
class Hypergraph(Conversions):
    """Nodes, hyperedges, and which node is in which hyperedge; made by `Hypergraph.from_pairs`.

    The incidence matrix H, [num_nodes, num_hyperedges], is stored by rows and by columns. Nodes and hyperedges are
    numbered from zero; `node_ids` and `hyperedge_ids` map the numbers back to the caller's own ids.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kept", {})  # what is computed once; not a field, so that a copy starts without it

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
    ) -> Hypergraph:
        """Make a hypergraph from (node, hyperedge) pairs in any order.

        Args:
            nodes: node of each pair, [pairs], integers from 0; a list, an array or a tensor.
            hyperedges: hyperedge of each pair, [pairs], integers from 0.
            num_nodes: number of nodes, those in no pair included; None takes the largest number plus one.
            num_hyperedges: number of hyperedges, empty ones included; None takes the largest number plus one.
            weight: value h(v, e) of each pair, [pairs], finite and not negative; None means 1. Pairs that occur more
                than once are one incidence: their weights are added, and without weights they count once.
            hyperedge_weight: w_e of each hyperedge, [num_hyperedges], finite and not negative; None means 1.
            node_ids: the caller's ids, [num_nodes], integers or strings.
            hyperedge_ids: the caller's ids, [num_hyperedges], integers or strings.
            node_weight: weight of each node, [num_nodes], finite and not negative: the hyperedge weight of the dual.

        Returns:
            The hypergraph, on the device of `nodes` if that is a tensor. No pairs give a hypergraph without incidences.

        Raises:
            ValueError: ids out of range or not integers, lengths that disagree, a negative or non-finite weight.
        """
        device = nodes.device if isinstance(nodes, Tensor) else torch.device("cpu")
        nodes, hyperedges = _pair_ids("node", nodes), _pair_ids("hyperedge", hyperedges)
        if len(nodes) != len(hyperedges):
            raise ValueError(
                f"nodes and hyperedges must have the same length, got {len(nodes)} and {len(hyperedges)} entries"
            )
        num_nodes, num_hyperedges = _counts(nodes, hyperedges, num_nodes, num_hyperedges)
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
            node_ids=_names("node_ids", node_ids, num_nodes),
            hyperedge_ids=_names("hyperedge_ids", hyperedge_ids, num_hyperedges),
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
    ) -> Hypergraph:
        """Wrap the members of each hyperedge in CSR form, nodes increasing within a hyperedge; nothing is checked."""
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
        """Number of (node, hyperedge) pairs."""
        return len(self.by_node.indices)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.by_node.indptr.device

    def degree(self) -> Tensor:
        """D_v(v) = sum_e w_e h(v, e), [num_nodes], float32."""
        return self._degree().float()

    def size(self) -> Tensor:
        """D_e(e) = sum_v h(v, e), the number of members unless incidences carry values, [num_hyperedges], float32."""
        return self._size().float()

    def members(self, hyperedge: int) -> Tensor:
        """The nodes of one hyperedge, increasing, int64."""
        return _row(self.by_hyperedge, hyperedge, self.num_hyperedges, "hyperedge")

    def hyperedges(self, node: int) -> Tensor:
        """The hyperedges of one node, increasing, int64."""
        return _row(self.by_node, node, self.num_nodes, "node")

    @property
    def isolated(self) -> Tensor:
        """True for a node whose degree is zero, [num_nodes]: it is in no hyperedge, or in ones of weight zero."""
        return self._once("isolated", lambda: self._degree() == 0)

    @property
    def T(self) -> Hypergraph:
        """The dual, with nodes and hyperedges exchanged; nothing is copied. Its hyperedges weigh 1."""
        return Hypergraph(
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

    def to(self, device: torch.device | str) -> Hypergraph:
        """The same hypergraph on another device; itself if it is there already."""
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

    def __matmul__(self, x: Tensor) -> Tensor:
        """H x with gradients, [num_hyperedges, ...] -> [num_nodes, ...]; `h.T @ y` is H^T y."""
        return ops.product(self, x)

    def propagate(self, x: Tensor, hyperedge_weight: Tensor | None = None, norm: ops.Norm = "sym") -> Tensor:
        """D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 x, [num_nodes, ...]; see `graphs.ops.propagate`."""
        return ops.propagate(self, x, hyperedge_weight, norm)

    def describe(self) -> dict:
        """Counts, density, quantiles of degree and size, isolated nodes, components; see `graphs.describe`."""
        return describe.describe(self)

    def equals(self, other: Hypergraph) -> bool:
        """The same numbers of nodes and hyperedges, incidences, values, weights, ids and attributes, exactly."""
        parts = []
        for h in (self.to("cpu"), other.to("cpu")):
            tensors = (*h.by_hyperedge, h.hyperedge_weight, h.node_weight)
            ids = [None if i is None else i.tolist() for i in (h.node_ids, h.hyperedge_ids)]
            parts.append((h.num_nodes, ids, h.attributes, [t is None for t in tensors], tensors))
        (*mine, my_tensors), (*others, their_tensors) = parts
        same = (a is None or torch.equal(a, b) for a, b in zip(my_tensors, their_tensors, strict=True))
        return mine == others and all(same)

    def numpy_members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The members of each hyperedge as numpy arrays (indptr, indices, value), for builders and samplers."""
        indptr, indices, value = (None if a is None else a.cpu().numpy() for a in self.by_hyperedge)
        return indptr, indices, value

    @property
    def order(self) -> Tensor:
        """Place in `by_hyperedge`, and so in `hyperedge_index`, of each incidence of `by_node`, [num_incidences]."""
        nodes = self.by_hyperedge.indices
        return self._once("order", lambda: torch.argsort(nodes, stable=True).to(nodes.dtype))

    @property
    def inverse_size(self) -> Tensor:
        """D_e^-1 with 0^-1 = 0, [num_hyperedges], float64."""
        if not torch.compiler.is_compiling():
            self._once("values checked", lambda: _refuse_negative("weight", self.by_node.value))
        return self._once("inverse_size", lambda: ops.inverse(self._size(), 1.0))

    def scales(self, norm: ops.Norm, dtype: torch.dtype) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """What `propagate` multiplies by, left to right: nodes, hyperedges (W D_e^-1), nodes; None means ones."""
        return self._once((norm, dtype), lambda: self._scales(norm, dtype))

    def _scales(self, norm: ops.Norm, dtype: torch.dtype) -> tuple[Tensor | None, Tensor, Tensor | None]:
        _refuse_negative("hyperedge_weight", self.hyperedge_weight)
        middle = self.inverse_size if self.hyperedge_weight is None else self.inverse_size * self.hyperedge_weight
        if norm == "sym":
            left = right = ops.inverse(self._degree(), 0.5).to(dtype)
        else:
            left, right = ops.inverse(self._degree(), 1.0).to(dtype), None
        return left, middle.to(dtype), right

    def _degree(self) -> Tensor:
        return self._once("degree", lambda: self._sums(self.hyperedge_weight, transposed=False))

    def _size(self) -> Tensor:
        return self._once("size", lambda: self._sums(None, transposed=True))

    def _sums(self, weight: Tensor | None, transposed: bool) -> Tensor:
        """H w, or H^T w, float64; None stands for ones."""
        matrix, other = (self.by_hyperedge, self.by_node) if transposed else (self.by_node, self.by_hyperedge)
        if weight is None:
            if matrix.value is None:
                return matrix.indptr.diff().double()
            weight = torch.ones(len(other.indptr) - 1, device=self.device)
        return ops.product(self, weight.double(), transposed)

    def _once(self, name: object, compute: Callable[[], Kept]) -> Kept:
        """Computed at the first call and kept. (A cached_property holds a lock, which torch.compile cannot enter.)"""
        if name in self._kept:
            return self._kept[name]
        with torch.inference_mode(False):  # a tensor of inference mode could not be saved for a gradient later
            made = compute()
        if not torch.compiler.is_exporting():  # whose tensors hold nothing
            self._kept[name] = made
        return made

    def __repr__(self) -> str:
        weighted = ", weighted" if self.hyperedge_weight is not None or self.by_node.value is not None else ""
        device = "" if self.device.type == "cpu" else f", {self.device}"
        return (
            f"Hypergraph({self.num_nodes} nodes, {self.num_hyperedges} hyperedges, "
            f"{self.num_incidences} incidences{weighted}{device})"
        )

    def _repr_html_(self) -> str:
        return describe.html_table(self)


def _pair_ids(name: str, ids: ArrayLike | Tensor) -> np.ndarray:
    ids = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} ids must have one dimension, got shape {list(ids.shape)}")
    if ids.size and ids.dtype.kind not in "iu":
        raise ValueError(
            f"{name} ids must be integers from 0, got {ids.dtype}; graphs.build.from_ids numbers ids of any kind"
        )
    return ids.astype(np.int64, copy=False)


def _counts(
    nodes: np.ndarray, hyperedges: np.ndarray, num_nodes: int | None, num_hyperedges: int | None
) -> tuple[int, int]:
    """The shape of H, after checking that every id lies in it."""
    spans = [(int(ids.min()), int(ids.max())) if len(ids) else (0, -1) for ids in (nodes, hyperedges)]
    num_nodes = spans[0][1] + 1 if num_nodes is None else operator.index(num_nodes)
    num_hyperedges = spans[1][1] + 1 if num_hyperedges is None else operator.index(num_hyperedges)
    swapped = _within(spans[0], num_hyperedges) and _within(spans[1], num_nodes)
    hint = " Rows swapped? Nodes come first, then hyperedges." if swapped else ""
    for name, span, count in (("node", spans[0], num_nodes), ("hyperedge", spans[1], num_hyperedges)):
        if count < 0:
            raise ValueError(f"the number of {name}s must not be negative, got {count}")
        if not _within(span, count):
            raise ValueError(f"{name} ids must lie in [0, {count}), got [{span[0]}, {span[1]}].{hint}")
    if num_nodes.bit_length() + num_hyperedges.bit_length() > 63 or max(num_nodes, num_hyperedges) > 2**34:
        raise ValueError(
            f"{num_nodes} nodes and {num_hyperedges} hyperedges are too many; graphs.build.from_ids numbers sparse ids"
        )
    return num_nodes, num_hyperedges


def _within(span: tuple[int, int], count: int) -> bool:
    return span[0] >= 0 and span[1] < count


def _weights(name: str, weight: ArrayLike | Tensor, length: int, entry: str) -> np.ndarray:
    if isinstance(weight, Tensor):
        if weight.requires_grad:
            raise ValueError(f"{name} is stored as a constant: detach it, or give it to propagate to learn it")
        weight = weight.cpu().numpy()
    weight = np.asarray(weight)
    if weight.shape != (length,):
        raise ValueError(f"{name} must have one entry a {entry}, [{length}], got shape {list(weight.shape)}")
    if weight.size and weight.dtype.kind not in "iufb":
        raise ValueError(f"{name} must be numbers, got {weight.dtype}")
    weight = weight.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise ValueError(f"{name} must be finite and not negative, got {weight[bad[0]]} at position {bad[0]}")
    return weight


def _names(name: str, ids: Sequence | np.ndarray | Tensor | None, length: int) -> np.ndarray | None:
    if ids is None:
        return None
    ids = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    texts = not isinstance(ids, np.ndarray) and any(isinstance(i, str) for i in ids)
    ids = np.array(ids, dtype=object if texts else None)  # numpy would make "1" of a 1 beside a string
    if ids.shape != (length,):
        raise ValueError(f"{name} must have {length} entries, got shape {list(ids.shape)}")
    if ids.dtype == object and all(isinstance(i, str) and not i.endswith("\0") for i in ids):
        ids = ids.astype(str)  # numpy drops the NULs at the end of a string
    kinds = {type(i) for i in ids} if ids.dtype == object else set()
    if length and ids.dtype.kind not in "iuU" and not (kinds and kinds <= {int, str}):
        raise ValueError(f"{name} must be integers or strings, got {ids.dtype}")
    return ids


def _refuse_negative(name: str, weight: Tensor | None) -> None:
    """Only a file brings such weights, and keeps them: `from_pairs` refuses them."""
    if weight is None or torch.compiler.is_compiling():
        return
    if not ((weight >= 0) & weight.isfinite()).all():
        raise ValueError(f"propagate needs every {name} finite and not negative, and here one is not")


def _csr(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, dtype: type) -> CSR:
    indptr, indices = (torch.from_numpy(array.astype(dtype, copy=False)) for array in (indptr, indices))
    return CSR(indptr, indices, None if value is None else torch.from_numpy(value))


def _row(csr: CSR, row: int, num_rows: int, name: str) -> Tensor:
    if not 0 <= row < num_rows:
        raise ValueError(f"{name} must lie in [0, {num_rows}), got {row}")
    return csr.indices[csr.indptr[row] : csr.indptr[row + 1]].long()
