"""Index tensors of torch_scatter, PyG and DGL come back equal, and what others made is read right."""

from dataclasses import replace

import pytest
import torch
from drawn_hypergraphs import hypergraphs, members, random_300
from hypothesis import given

from graphs import Hypergraph

# ---- torch_scatter (not installed here: torch's own scatter_add and segment_reduce take the same tensors)


@random_300
@given(hypergraphs())
def test_scatter_index_and_back(h):
    source, index, indptr, value = h.to_scatter()
    back = Hypergraph.from_pairs(
        source, index, h.num_nodes, h.num_hyperedges, value, h.hyperedge_weight, h.node_ids, h.hyperedge_ids
    )
    assert replace(back, node_weight=h.node_weight).equals(h)
    assert source.dtype == index.dtype == indptr.dtype == torch.int64
    assert torch.equal(torch.stack([source, index]), h.hyperedge_index)
    assert torch.equal(index.bincount(minlength=h.num_hyperedges), indptr.diff())


@pytest.mark.parametrize("valued", [False, True])
def test_scatter_and_segments_sum_in_both_directions(random_hypergraph, dense, valued):
    h = random_hypergraph(valued=valued)
    for graph, H in ((h, dense(h)), (h.T, dense(h).T)):
        source, index, indptr, value = graph.to_scatter()
        x = torch.randn(graph.num_nodes, 3, dtype=torch.float64)
        gathered = x[source] if value is None else value[:, None] * x[source]
        scattered = torch.zeros(graph.num_hyperedges, 3, dtype=torch.float64)
        scattered.scatter_add_(0, index[:, None].expand(-1, 3), gathered)
        torch.testing.assert_close(scattered, H.T @ x)
        torch.testing.assert_close(torch.segment_reduce(gathered, "sum", offsets=indptr, axis=0), H.T @ x)


# ---- PyG


@random_300
@given(hypergraphs())
def test_pyg_and_back(pyg, h):
    assert Hypergraph.from_pyg(h.to_pyg()).equals(h)


def test_pyg_gets_counts_that_it_would_guess_wrong(pyg):
    HyperGraphData = pyg.hypergraph_data.HyperGraphData
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 4, 2, hyperedge_weight=[1, 2])  # nodes 2 and 3 isolated
    data = h.to_pyg()
    assert isinstance(data, HyperGraphData)
    assert data.edge_index.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert data.hyperedge_weight.tolist() == [1, 2]
    assert (data.num_nodes, data.num_hyperedges) == (4, 2)
    square = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 3, 3).to_pyg()
    square.edge_index = torch.tensor([[0, 1, 1], [0, 0, 2]])
    assert square.num_nodes == 2  # PyG's guess, as many nodes as hyperedges, the last isolated
    assert Hypergraph.from_pyg(square).num_nodes == 3


def test_pyg_data_of_others_are_read(pyg):
    HyperGraphData = pyg.hypergraph_data.HyperGraphData
    index = torch.tensor([[0, 1, 2, 1, 2, 3], [0, 0, 0, 1, 1, 1]])
    sets = {0: {0, 1, 2}, 1: {1, 2, 3}}
    assert members(Hypergraph.from_pyg(index)) == sets
    native = HyperGraphData(x=torch.randn(6, 2), edge_index=index, edge_attr=torch.randn(3, 1))
    h = Hypergraph.from_pyg(native)
    assert members(h) == sets | {2: set()} and h.num_nodes == 6
    assert torch.equal(h.to_pyg().edge_index, index)
    both = pyg.Data(edge_index=torch.zeros(2, 9, dtype=torch.int64), hyperedge_index=index, num_nodes=5)
    both.hyperedge_weight = torch.tensor([0.5, 2])
    h = Hypergraph.from_pyg(both)
    assert members(h) == sets and h.num_nodes == 5 and h.hyperedge_weight.tolist() == [0.5, 2]
    batch = pyg.Batch.from_data_list([native, native])
    assert Hypergraph.from_pyg(batch).num_nodes == 12


def test_bad_pyg_data_are_refused(pyg):
    HyperGraphData = pyg.hypergraph_data.HyperGraphData
    index = torch.tensor([[0, 1, 2], [0, 0, 1]])
    for data, message in (
        (index.T, r"tensor \[2, n\], nodes in row 0 and hyperedges in row 1, got a tensor \[3, 2\]"),
        (index.float(), "must be integers"),
        (pyg.Data(x=torch.ones(3, 1)), "got NoneType"),
        ([[0], [0]], "takes a tensor .* got list"),
        (pyg.HeteroData(), "got HeteroData"),
        (HyperGraphData(edge_index=index.flip(0), num_nodes=2, num_hyperedges=3), None),
        (HyperGraphData(edge_index=index.flip(0), num_nodes=3, num_hyperedges=2), "Rows swapped"),
        (HyperGraphData(edge_index=index, num_nodes=2), r"node ids must be in \[0, 2\)"),
        (HyperGraphData(edge_index=index, hyperedge_weight=torch.tensor([1, -1.0])), "not negative"),
        (HyperGraphData(edge_index=index, node_ids=["a", 1.5, "c"]), "integers or strings, got 1.5"),
        (HyperGraphData(edge_index=index, node_ids="abc"), "node_ids must be a tensor or a list, got str"),
        (pyg.Batch.from_data_list([Hypergraph.from_pyg(index).to_pyg()] * 2), "2 hypergraphs are in this batch"),
    ):
        if message is None:
            assert Hypergraph.from_pyg(data).num_nodes == 2
            continue
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_pyg(data)


# ---- DGL


@random_300
@given(hypergraphs())
def test_dgl_and_back(dgl, h):
    assert Hypergraph.from_dgl(h.to_dgl()).equals(h)


def test_dgl_sums_messages_in_both_directions(dgl, random_hypergraph, dense):
    h = random_hypergraph(valued=True)
    graph, x = h.to_dgl(), torch.randn(h.num_nodes, 2)
    graph.nodes["node"].data["x"] = x
    graph.update_all(dgl.function.u_mul_e("x", "weight", "m"), dgl.function.sum("m", "y"), etype="in")
    torch.testing.assert_close(graph.nodes["hyperedge"].data["y"], dense(h).T.float() @ x)
    graph.update_all(dgl.function.u_mul_e("y", "weight", "m"), dgl.function.sum("m", "z"), etype="contains")
    torch.testing.assert_close(graph.nodes["node"].data["z"], (dense(h) @ dense(h).T).float() @ x)


def test_dgl_graphs_of_others_are_read(dgl):
    pairs = torch.tensor([2, 0, 2, 2]), torch.tensor([1, 0, 0, 1])
    native = dgl.heterograph({("user", "buys", "basket"): pairs}, num_nodes_dict={"user": 4, "basket": 3})
    h = Hypergraph.from_dgl(native)
    assert members(h) == {0: {0, 2}, 1: {2}, 2: set()} and h.num_nodes == 4
    back = h.to_dgl()
    assert {(v.item(), e.item()) for v, e in zip(*back.edges(etype="in"), strict=True)} == {(2, 1), (0, 0), (2, 0)}
    assert (back.num_nodes("node"), back.num_nodes("hyperedge")) == (4, 3)
    native.edges["buys"].data["weight"] = torch.tensor([1.0, 2, 3, 4])
    assert Hypergraph.from_dgl(native).by_hyperedge.value.tolist() == [2, 3, 5]  # 1 + 4: the same incidence
    only_back = dgl.heterograph({("hyperedge", "contains", "node"): pairs[::-1]})
    assert members(Hypergraph.from_dgl(only_back)) == {0: {0, 2}, 1: {2}}
    part = dgl.node_subgraph(
        Hypergraph.from_pairs([0, 1, 2], [0, 0, 1], node_ids=["a", "bb", ""]).to_dgl(),
        {"node": [1, 2], "hyperedge": [0]},
    )
    assert members(Hypergraph.from_dgl(part)) == {0: {"bb"}} and Hypergraph.from_dgl(part).node_ids.tolist() == [
        "bb",
        "",
    ]


def test_bad_dgl_graphs_are_refused(dgl, five):
    one = torch.tensor([0]), torch.tensor([1])
    two = dgl.heterograph({("node", "in", "hyperedge"): one, ("hyperedge", "contains", "node"): one})
    three = dgl.heterograph({("a", "x", "b"): one, ("b", "y", "a"): one})
    text = five.to_dgl()
    text.nodes["node"].data["id"] = torch.full((5, 2), 65, dtype=torch.uint8)
    for graph, message in (
        (dgl.graph(one), "one relation, from its nodes to its hyperedges"),
        (three, "one relation, from its nodes to its hyperedges"),
        (two, '"in" and "contains" must have the same incidences'),
        (text, "the feature id of nodes must be integers"),
        ("graph", "got str"),
    ):
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_dgl(graph)
