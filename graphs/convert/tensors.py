"""Hypergraphs to and from index tensors: torch_scatter, PyTorch Geometric and DGL. Attributes are not converted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.convert.records import name_array
from graphs.incidence import AnyIncidence, Incidence
from graphs.optional import package

if TYPE_CHECKING:
    import dgl
    from torch_geometric.data import Data
    from torch_geometric.data.hypergraph_data import HyperGraphData


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
    """First incidence of each hyperedge, and the number of incidences, [num_hyperedges + 1], int64."""
    value: Tensor | None
    """h(v, e) of each incidence, [num_incidences], float32; None means 1."""


def to_scatter(h: Incidence) -> Scatter:
    """Return index tensors; see `Hypergraph.to_scatter`."""
    source, index = h.hyperedge_index
    return Scatter(source, index, h.by_hyperedge.indptr.long(), _copy(h.by_hyperedge.value))


def to_pyg(h: Incidence) -> HyperGraphData:
    """Return a PyG HyperGraphData; see `Hypergraph.to_pyg`."""
    package("torch_geometric")
    from torch_geometric.data.hypergraph_data import HyperGraphData

    given = {
        "hyperedge_weight": _copy(h.hyperedge_weight),
        "node_weight": _copy(h.node_weight),
        "incidence_weight": _copy(h.by_hyperedge.value),
        "node_ids": _tensor_or_list(h.node_ids),
        "hyperedge_ids": _tensor_or_list(h.hyperedge_ids),
    }
    return HyperGraphData(
        edge_index=h.hyperedge_index,
        num_nodes=h.num_nodes,
        num_hyperedges=h.num_hyperedges,
        **{name: field for name, field in given.items() if field is not None},
    )


def from_pyg(cls: type[AnyIncidence], data: Data | Tensor) -> AnyIncidence:
    """Make a hypergraph of a hyperedge_index or of PyG data; see `Hypergraph.from_pyg`."""
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
            "counts; convert each of them separately, and graphs.build.stack puts them together"
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


def to_dgl(h: Incidence) -> dgl.DGLGraph:
    """Return a bipartite DGL heterograph; see `Hypergraph.to_dgl`."""
    dgl = package("dgl", INSTALL_DGL)
    h = h.to("cpu")
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


def from_dgl(cls: type[AnyIncidence], graph: dgl.DGLGraph) -> AnyIncidence:
    """Make a hypergraph of a DGL heterograph; see `Hypergraph.from_dgl`."""
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
            raise ValueError('the relations "in" and "contains" must have the same incidences, and these differ')
    return h


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _two_rows(index: object) -> tuple[Tensor, Tensor]:
    if not isinstance(index, Tensor) or index.dim() != 2 or len(index) != 2:
        found = f"a tensor {list(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"a hyperedge_index is a tensor [2, n], nodes in row 0 and hyperedges in row 1, got {found}")
    return index[0], index[1]


def _rows(stored: dict, *names: str) -> int | None:
    """Count the rows of the first of these tensors that is stored."""
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
    """Make a tensor of ids: integers, [n], or the bytes of their JSON text, [n, longest], padded with zeros."""
    if ids.dtype.kind in "iu" and (not len(ids) or ids.max() < 2**63):
        return torch.from_numpy(ids.astype(np.int64))
    texts = [json.dumps(name).encode() for name in ids.tolist()]
    width = max(map(len, texts), default=1)
    return torch.from_numpy(np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width).copy())


def _as_ids(kind: str, rows: Tensor | None) -> np.ndarray | None:
    """Return the ids of a tensor that `_as_tensor` made."""
    if rows is None or rows.dim() == 1:
        return None if rows is None else rows.cpu().numpy()
    try:
        return name_array(kind, [json.loads(bytes(row.tolist()).rstrip(b"\0")) for row in rows])
    except (ValueError, TypeError) as error:
        raise ValueError(f"the feature id of {kind}s must be integers, [n], or bytes of JSON text: {error}") from None
