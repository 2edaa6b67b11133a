"""Hypergraphs as index tensors: for torch_scatter, PyTorch Geometric and DGL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.convert.records import name_array
from graphs.optional import package

if TYPE_CHECKING:
    import dgl
    from torch_geometric.data import Data
    from torch_geometric.data.hypergraph_data import HyperGraphData

    from graphs.hypergraph import Hypergraph


INSTALL_DGL = (
    "dgl 1.1.3 works, on Linux with Python 3.11 and on the CPU: pip install dgl==1.1.3, or pip install 'hyperctr[dgl]'"
)
IN, CONTAINS = ("node", "in", "hyperedge"), ("hyperedge", "contains", "node")


class Scatter(NamedTuple):
    """The incidences, hyperedge after hyperedge, as torch_scatter takes them."""

    source: Tensor
    """Node of each incidence, [num_incidences], int64."""
    index: Tensor
    """Hyperedge of each incidence, not decreasing, [num_incidences], int64."""
    indptr: Tensor
    """Where each hyperedge begins and the last ends, [num_hyperedges + 1], int64."""
    value: Tensor | None
    """h(v, e) of each incidence, [num_incidences], float32; None means 1."""


class Tensors:
    """Conversions to and from index tensors; attributes do not travel in any of them."""

    @property
    def hyperedge_index(self) -> Tensor:
        """[2, num_incidences], int64, as PyG layers take it: row 0 nodes, row 1 hyperedges, which do not decrease."""
        indptr, nodes, _ = self.by_hyperedge
        hyperedges = torch.arange(self.num_hyperedges, device=self.device)
        return torch.stack([nodes.long(), hyperedges.repeat_interleave(indptr.diff(), output_size=len(nodes))])

    def to_scatter(self) -> Scatter:
        """Index tensors that torch_scatter takes as they are; `h.T.to_scatter()` leads from hyperedges to nodes.

        With `source, index, indptr, value = h.to_scatter()`, both `scatter(x[source], index, dim=0,
        dim_size=h.num_hyperedges)` and `segment_csr(x[source], indptr)` are H^T x; values, where there are any,
        multiply the rows of x[source] first. `Hypergraph.from_pairs(source, index, ...)` leads back.
        """
        source, index = self.hyperedge_index
        return Scatter(source, index, self.by_hyperedge.indptr.long(), _copy(self.by_hyperedge.value))

    def to_pyg(self) -> HyperGraphData:
        """A PyG HyperGraphData with `edge_index`, `num_nodes` and `num_hyperedges`, on the device of h.

        Where h has them it holds `hyperedge_weight`, `node_weight` and, of incidences, `incidence_weight`; `node_ids`
        and `hyperedge_ids` as tensors of integers, else as lists.

        PyG itself guesses: `data.num_edges` leaves out empty hyperedges at the end, `data.num_nodes` isolated nodes at
        the end where it equals `num_edges`, and a batch shifts numbers by these. `from_pyg` reads what is stored.
        """
        package("torch_geometric")
        from torch_geometric.data.hypergraph_data import HyperGraphData

        given = {
            "hyperedge_weight": _copy(self.hyperedge_weight),
            "node_weight": _copy(self.node_weight),
            "incidence_weight": _copy(self.by_hyperedge.value),
            "node_ids": _tensor_or_list(self.node_ids),
            "hyperedge_ids": _tensor_or_list(self.hyperedge_ids),
        }
        return HyperGraphData(
            edge_index=self.hyperedge_index,
            num_nodes=self.num_nodes,
            num_hyperedges=self.num_hyperedges,
            **{name: field for name, field in given.items() if field is not None},
        )

    @classmethod
    def from_pyg(cls, data: Data | Tensor) -> Hypergraph:
        """A hypergraph from a hyperedge_index, [2, n] with nodes in row 0, or from PyG data that hold one.

        Of data, `hyperedge_index` goes before `edge_index`, and what `to_pyg` stores is read where it is there. A count
        that is not stored is the number of rows of `x` or `pos`, and of `hyperedge_weight` or `hyperedge_attr`; without
        these, and for a plain tensor, the largest number plus one. Other entries are not read.

        Raises:
            ValueError: no such index, data of several hypergraphs in one batch, or what `from_pairs` refuses.
        """
        if isinstance(data, Tensor):
            return cls.from_pairs(*_two_rows(data))
        package("torch_geometric")
        from torch_geometric.data import Data
        from torch_geometric.data.hypergraph_data import HyperGraphData

        if not isinstance(data, Data):
            raise ValueError(f"from_pyg takes a tensor [2, n], Data or HyperGraphData, got {type(data).__name__}")
        stored = data.to_dict()  # data.num_nodes would guess
        num_nodes, num_hyperedges = stored.get("num_nodes"), stored.get("num_hyperedges")
        if isinstance(num_hyperedges, Tensor) and num_hyperedges.numel() != 1:
            raise ValueError(
                f"{num_hyperedges.numel()} hypergraphs are in this batch, and PyG has shifted their numbers by guessed "
                "counts; convert each by itself, and graphs.build.stack puts them together"
            )
        if num_nodes is None:
            num_nodes = _rows(stored, "x", "pos")
        if num_hyperedges is None:
            of_hyperedges = ["edge_attr"] if isinstance(data, HyperGraphData) else []
            num_hyperedges = _rows(stored, "hyperedge_weight", "hyperedge_attr", *of_hyperedges)
        return cls.from_pairs(
            *_two_rows(stored.get("hyperedge_index", stored.get("edge_index"))),
            num_nodes,
            num_hyperedges,
            stored.get("incidence_weight"),
            stored.get("hyperedge_weight"),
            _tensor_or_ids("node", stored.get("node_ids")),
            _tensor_or_ids("hyperedge", stored.get("hyperedge_ids")),
            stored.get("node_weight"),
        )

    def to_dgl(self) -> dgl.DGLGraph:
        """A bipartite DGL heterograph on the CPU, ("node", "in", "hyperedge") and ("hyperedge", "contains", "node").

        Weights and values are features `weight`. Ids are features `id`: integers, else each id as the bytes of its JSON
        text, since DGL keeps nothing but tensors. Tested with dgl 1.1.3 on Python 3.11 and the CPU, and promised for no
        other.
        """
        dgl = package("dgl", INSTALL_DGL)
        h = self.to("cpu")
        nodes, hyperedges = h.hyperedge_index
        graph = dgl.heterograph(
            {IN: (nodes, hyperedges), CONTAINS: (hyperedges, nodes)},
            num_nodes_dict={"node": h.num_nodes, "hyperedge": h.num_hyperedges},
        )
        of_nodes, of_hyperedges = graph.nodes["node"].data, graph.nodes["hyperedge"].data
        for data, ids, weight in (
            (of_nodes, h.node_ids, h.node_weight),
            (of_hyperedges, h.hyperedge_ids, h.hyperedge_weight),
            (graph.edges[IN].data, None, h.by_hyperedge.value),
            (graph.edges[CONTAINS].data, None, h.by_hyperedge.value),
        ):
            if ids is not None:
                data["id"] = _as_tensor(ids)
            if weight is not None:
                data["weight"] = weight.clone()
        return graph

    @classmethod
    def from_dgl(cls, graph: dgl.DGLGraph) -> Hypergraph:
        """A hypergraph from a DGL heterograph like that of `to_dgl`, or from any with one bipartite relation.

        Of a relation ("user", "buys", "basket") users become nodes and baskets hyperedges. The features `weight` and
        `id` are read, no others.

        Raises:
            ValueError: several relations, one from a type to itself, "in" and "contains" that differ, or what
                `from_pairs` refuses.
        """
        dgl = package("dgl", INSTALL_DGL)
        if not isinstance(graph, dgl.DGLGraph):
            raise ValueError(f"from_dgl takes a dgl.DGLGraph, got {type(graph).__name__}")
        relations = graph.canonical_etypes
        relation = IN if set(relations) == {IN, CONTAINS} else relations[0]
        if (len(relations) > 1 and relation != IN) or relation[0] == relation[2]:
            raise ValueError(
                f"a hypergraph has one relation, from its nodes to its hyperedges, got {relations}; "
                "dgl.edge_type_subgraph takes one out"
            )
        (nodes, hyperedges), node_type, hyperedge_type = graph.edges(etype=relation, order="eid"), *relation[::2]
        if relation == CONTAINS:
            nodes, hyperedges, node_type, hyperedge_type = hyperedges, nodes, hyperedge_type, node_type
        counts = graph.num_nodes(node_type), graph.num_nodes(hyperedge_type)
        of_nodes, of_hyperedges = graph.nodes[node_type].data, graph.nodes[hyperedge_type].data
        h = cls.from_pairs(
            nodes,
            hyperedges,
            *counts,
            graph.edges[relation].data.get("weight"),
            of_hyperedges.get("weight"),
            _as_ids("node", of_nodes.get("id")),
            _as_ids("hyperedge", of_hyperedges.get("id")),
            of_nodes.get("weight"),
        )
        if len(relations) > 1:
            hyperedges, nodes = graph.edges(etype=CONTAINS, order="eid")
            if not torch.equal(h.hyperedge_index, cls.from_pairs(nodes, hyperedges, *counts).hyperedge_index):
                raise ValueError('the relations "in" and "contains" must hold the same incidences, and these differ')
        return h


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _two_rows(index: object) -> tuple[Tensor, Tensor]:
    if not isinstance(index, Tensor) or index.dim() != 2 or len(index) != 2:
        found = f"a tensor {list(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"a hyperedge_index is a tensor [2, n], nodes in row 0 and hyperedges in row 1, got {found}")
    return index[0], index[1]


def _rows(stored: dict, *names: str) -> int | None:
    """The rows of the first of these tensors that is there."""
    return next((len(stored[name]) for name in names if isinstance(stored.get(name), Tensor)), None)


def _tensor_or_list(ids: np.ndarray | None) -> Tensor | list | None:
    if ids is None:
        return None
    return torch.from_numpy(ids.copy()) if ids.dtype.kind in "iu" else ids.tolist()


def _tensor_or_ids(kind: str, ids: object) -> np.ndarray | None:
    if ids is None or isinstance(ids, Tensor):
        return None if ids is None else ids.cpu().numpy()
    if not isinstance(ids, list | tuple | np.ndarray):
        raise ValueError(f"{kind}_ids must be a tensor or a list, got {type(ids).__name__}")
    return name_array(kind, ids)


def _as_tensor(ids: np.ndarray) -> Tensor:
    """Ids as a tensor with a row each: integers, [n], or the bytes of their JSON text, [n, longest], zeros behind."""
    if ids.dtype.kind in "iu" and (not len(ids) or ids.max() < 2**63):
        return torch.from_numpy(ids.astype(np.int64))
    texts = [json.dumps(name).encode() for name in ids.tolist()]
    width = max(map(len, texts), default=1)
    return torch.from_numpy(np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width).copy())


def _as_ids(kind: str, rows: Tensor | None) -> np.ndarray | None:
    """The ids of such a tensor."""
    if rows is None or rows.dim() == 1:
        return None if rows is None else rows.cpu().numpy()
    try:
        return name_array(kind, [json.loads(bytes(row.tolist()).rstrip(b"\0")) for row in rows])
    except (ValueError, TypeError) as error:
        raise ValueError(f"the feature id of {kind}s must be integers, [n], or bytes of JSON text: {error}") from None
