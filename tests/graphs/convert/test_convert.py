"""Conversions: what leaves for another package or a file comes back equal, and what others made is read right."""

import json
import os
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Hypergraph
from graphs.attributes import Attributes

random_300 = settings(max_examples=300, deadline=None)

# ids: numbers with gaps, text that looks like a number or is empty, both mixed, and any of them twice
NUMBERS = st.sampled_from([0, 1, 2, 7, -3, 2**40])
TEXTS = st.sampled_from(["", "a", "1", "ü 🎬", "nan", "node", "0", "a\0"])
# attributes: names that the other side uses itself, and values that JSON holds
NAMES = st.sampled_from(["colour", "", "weight", "_weight", "__weight", "bipartite", "hypergraph_id", "id", "uid"])
VALUES = st.sampled_from([None, True, 0, 1.5, "", "ü", [], [1, {"a": None}], {}, {"x": 1, "weight": [2]}])
ENTRIES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)
WEIGHTS = st.sampled_from([0.0, 1.0, 0.1, 2.5, 3e38, 1e-45])


@st.composite
def ids(draw, count):
    kind = draw(st.sampled_from([None, NUMBERS, TEXTS, NUMBERS | TEXTS, "from zero"]))
    if kind is None:
        return None
    if kind == "from zero":
        return list(range(count))
    drawn = draw(st.lists(kind, min_size=count, max_size=count))
    return np.array(drawn, dtype=object) if any(isinstance(i, str) for i in drawn) else drawn


@st.composite
def weights(draw, count):
    return draw(st.none() | st.just([1.0] * count) | st.lists(WEIGHTS, min_size=count, max_size=count))


@st.composite
def hypergraphs(draw):
    """Small awkward ones: no nodes, no hyperedges, empty and equal hyperedges, isolated nodes, ids that occur twice."""
    num_nodes, num_hyperedges = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    cells = [(v, e) for v in range(num_nodes) for e in range(num_hyperedges)]
    pairs = draw(st.lists(st.sampled_from(cells), max_size=8, unique=True)) if cells else []
    h = Hypergraph.from_pairs(
        [v for v, _ in pairs],
        [e for _, e in pairs],
        num_nodes,
        num_hyperedges,
        draw(weights(len(pairs))),
        draw(weights(num_hyperedges)),
        draw(ids(num_nodes)),
        draw(ids(num_hyperedges)),
    )
    node_weight = draw(weights(num_nodes))
    return replace(h, node_weight=None if node_weight is None else torch.tensor(node_weight))


@st.composite
def hypergraphs_with_attributes(draw):
    h = draw(hypergraphs())
    nodes, hyperedges = h.hyperedge_index.tolist()

    def of(numbers):
        return draw(st.dictionaries(st.sampled_from(numbers), ENTRIES, max_size=2)) if numbers else {}

    attributes = Attributes(
        draw(st.just({}) | ENTRIES),
        of(range(h.num_nodes)),
        of(range(h.num_hyperedges)),
        of(list(zip(nodes, hyperedges, strict=True))),
    )
    return replace(h, attributes=attributes)


def members(h: Hypergraph) -> dict:
    """The node ids of each hyperedge id."""
    nodes = range(h.num_nodes) if h.node_ids is None else h.node_ids.tolist()
    hyperedges = range(h.num_hyperedges) if h.hyperedge_ids is None else h.hyperedge_ids.tolist()
    return {e: {nodes[v] for v in h.members(i).tolist()} for i, e in enumerate(hyperedges)}


@pytest.fixture(scope="module")
def pyg():
    pytest.importorskip("torch_geometric", reason="conversion to and from PyG not checked")
    import torch_geometric.data.hypergraph_data

    return torch_geometric.data


@pytest.fixture(scope="module")
def dgl():
    return pytest.importorskip("dgl", reason="conversion to and from DGL not checked")


@pytest.fixture(scope="module")
def nx():
    return pytest.importorskip("networkx", reason="conversion to and from networkx not checked")


@pytest.fixture(scope="module")
def xgi():
    return pytest.importorskip("xgi", reason="conversion to and from XGI not checked")


@pytest.fixture(scope="module")
def hnx():
    return pytest.importorskip("hypernetx", reason="conversion to and from HyperNetX not checked")


@pytest.fixture(scope="module")
def pd():
    return pytest.importorskip("pandas", reason="conversion to and from pandas not checked")


# ---- scipy


@random_300
@given(hypergraphs())
def test_scipy_and_back(h):
    back = Hypergraph.from_scipy(h.to_scipy(), h.hyperedge_weight, h.node_ids, h.hyperedge_ids, h.node_weight)
    assert back.equals(h)


def test_the_matrix_is_nodes_by_hyperedges_and_counts(five, dense):
    H = five.to_scipy()
    assert isinstance(H, scipy.sparse.csr_array) and H.shape == (5, 4) and H.dtype == np.int64
    np.testing.assert_array_equal(H.toarray(), dense(five).numpy())
    assert (H @ H.T).toarray()[2].tolist() == [1, 1, 2, 1, 0]  # hyperedges shared with node 2
    H.data[:] = 0  # the copy is the caller's
    assert five.size().tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_matrix", "lil_array", "dok_array", "bsr_array"])
def test_any_sparse_format_is_read(form):
    made = getattr(scipy.sparse, form)(np.array([[0, 2.5], [1, 0], [0, 0]]))
    h = Hypergraph.from_scipy(made)
    assert members(h) == {0: {1}, 1: {0}} and h.by_hyperedge.value.tolist() == [1, 2.5]
    assert (h.num_nodes, h.num_hyperedges) == (3, 2)


def test_zeros_and_repeats_of_a_matrix_are_read_as_scipy_means_them():
    place = ([0, 0, 1, 2], [0, 0, 0, 1])
    for dtype, sizes, counts in ((float, [7, 0], 3), (int, [7, 0], 2), (bool, [2, 0], 2)):
        made = scipy.sparse.coo_array((np.array([2, 4, 1, 0], dtype=dtype), place), shape=(3, 2))
        h = Hypergraph.from_scipy(made)
        assert (h.size().tolist(), h.num_incidences) == (sizes, counts)
        assert made.nnz == 4  # the caller's matrix stays
    assert h.by_node.value is None


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 2)), "takes a sparse matrix .* got ndarray"),
        (scipy.sparse.coo_array(np.ones(3)), "takes a sparse matrix .* got coo_array"),
        (scipy.sparse.csr_array([[1.0, -2.0]]), "not negative, got -2.0"),
        (scipy.sparse.csr_array([[np.nan]]), "finite"),
        (scipy.sparse.csr_array([[1j]]), "must be numbers, got complex128"),
    ],
)
def test_a_bad_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Hypergraph.from_scipy(matrix)


def test_bad_node_weights_are_refused():
    H = scipy.sparse.csr_array(np.eye(2))
    with pytest.raises(ValueError, match=r"^node_weight must have one entry per node, \[2\], got shape \[3\]$"):
        Hypergraph.from_scipy(H, node_weight=[1, 2, 3])
    with pytest.raises(ValueError, match=r"^node_weight must be finite and not negative, got -1.0 at position 1$"):
        Hypergraph.from_scipy(H, node_weight=[1, -1])


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


def test_hyperedge_index_of_five_nodes(five):
    assert five.hyperedge_index.tolist() == [[0, 1, 2, 2, 3, 3], [0, 0, 0, 1, 1, 2]]
    assert five.T.hyperedge_index.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 3, 3]]
    assert Hypergraph.from_pairs([], [], 2, 2).hyperedge_index.shape == (2, 0)


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


# ---- networkx


@random_300
@given(hypergraphs_with_attributes())
def test_networkx_and_back(nx, h):
    assert Hypergraph.from_networkx(h.to_networkx()).equals(h)


def test_networkx_gets_the_names_of_the_caller(nx):
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 3, 2, [1, 2, 3], [4, 5], ["a", "b", "c"], ["x", "y"])
    graph = h.to_networkx()
    assert nx.is_bipartite(graph)
    assert dict(graph.nodes(data=True)) == {
        "a": {"bipartite": 0},
        "b": {"bipartite": 0},
        "c": {"bipartite": 0},
        "x": {"bipartite": 1, "weight": 4},
        "y": {"bipartite": 1, "weight": 5},
    }
    assert sorted(graph.edges(data="weight")) == [("a", "x", 1), ("b", "x", 2), ("b", "y", 3)]
    plain = Hypergraph.from_pairs([0, 1], [0, 0]).to_networkx()
    assert list(plain) == [0, 1, ("hyperedge", 0)] and not plain.graph
    assert members(Hypergraph.from_networkx(plain.subgraph([1, ("hyperedge", 0)]))) == {0: {1}}


def test_networkx_graphs_of_others_are_read(nx):
    women = nx.davis_southern_women_graph()
    h = Hypergraph.from_networkx(women)
    assert (h.num_nodes, h.num_hyperedges, h.num_incidences) == (18, 14, 89) and h.by_node.value is None
    assert members(h)["E1"] == {"Evelyn Jefferson", "Laura Mandeville", "Brenda Rogers"}
    back = h.to_networkx()
    assert nx.utils.graphs_equal(nx.Graph(back.edges), nx.Graph(women.edges)) and back.nodes["E1"] == women.nodes["E1"]

    several = nx.MultiGraph(name="n", weight="light")
    several.add_node("e", bipartite=1, weight=2, colour="red")
    several.add_nodes_from([7, "lonely"], bipartite=0)
    several.add_node("f", bipartite=1)
    several.add_edge("e", 7, weight=1)  # hyperedge first
    several.add_edge(7, "e", weight=0.5)
    several.add_edge(7, "f")
    h = Hypergraph.from_networkx(several)
    assert members(h) == {"e": {7}, "f": {7}} and h.node_ids.tolist() == [7, "lonely"]
    assert h.by_hyperedge.value.tolist() == [1.5, 1] and h.hyperedge_weight.tolist() == [2, 1]
    assert h.attributes == Attributes({"name": "n", "weight": "light"}, hyperedges={0: {"colour": "red"}})


def test_bad_networkx_graphs_are_refused(nx):
    def graph(edges, kind=nx.Graph, **sides):
        made = kind(edges)
        nx.set_node_attributes(made, {v: s for v, s in sides.items()}, "bipartite")
        return made

    named = nx.Graph()
    named.add_node((0, 1), bipartite=0)
    twice = nx.Graph()
    twice.add_nodes_from([("hyperedge", 1), 1], bipartite=1)
    for made, message in (
        (nx.path_graph(3), r"must say bipartite=0 \(a node\) or bipartite=1 \(a hyperedge\), got None for 0"),
        (graph([("a", "b")], a=0, b=2), "got 2 for 'b'"),
        (graph([("a", "b")], a=0, b=0), r"not bipartite: its edge \('a', 'b'\) stays within one side"),
        (graph([("a", "b")], a=1, b=1), "not bipartite"),
        (graph([("a", "b")], nx.DiGraph, a=0, b=1), "undirected networkx graph, got DiGraph"),
        (named, r"nodes must be named by integers or strings, got \(0, 1\)"),
        (twice, "called .* where another one is called name"),
        (graph([("a", "b", {"weight": -1})], a=0, b=1), r"weight of incidence \('a', 'b'\) .* not negative, got -1"),
        (graph([("a", "b", {"weight": "1"})], a=0, b=1), "finite number and not negative, got '1'"),
        (graph([("a", "b", {"weight": float("nan")})], a=0, b=1), "got nan"),
        (graph([("a", "b", {"weight": 10**400})], a=0, b=1), "finite number"),
        (graph([("a", "b", {"x": 1}), ("a", "b", {"x": 2})], nx.MultiGraph, a=0, b=1), "with different attributes"),
        ({"a": ["b"]}, "got dict"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            Hypergraph.from_networkx(made)
        assert "\n" not in str(error.value)


# ---- XGI


@random_300
@given(hypergraphs_with_attributes())
def test_xgi_and_back(xgi, h):
    assert Hypergraph.from_xgi(h.to_xgi()).equals(h)


def test_xgi_hypergraphs_of_others_are_read(xgi):
    native = xgi.Hypergraph({"e": ["b", "a"], "f": ["a", "b"], 3: [1, "1"]}, name="n")
    native.add_node("lonely", colour="red")
    native.add_edge([], "empty", weight=0.5)
    h = Hypergraph.from_xgi(native)
    assert members(h) == {"e": {"a", "b"}, "f": {"a", "b"}, 3: {1, "1"}, "empty": set()}
    assert h.hyperedge_weight.tolist() == [1, 1, 1, 0.5] and h.by_node.value is None
    assert h.attributes == Attributes({"name": "n"}, {h.node_ids.tolist().index("lonely"): {"colour": "red"}})
    back = h.to_xgi()
    assert back.edges.members(dtype=dict) == native.edges.members(dtype=dict)
    assert set(back.nodes) == set(native.nodes) and back["name"] == "n" and back.nodes["lonely"] == {"colour": "red"}
    back.add_edge(["a"])  # XGI goes on counting
    assert len(back.edges) == 5
    plain = Hypergraph.from_xgi(xgi.Hypergraph([[0, 1], [1, 2]]))
    assert plain.node_ids is None and plain.hyperedge_ids is None


def test_values_wait_with_the_edge_in_xgi(xgi):
    graph = Hypergraph.from_pairs([0, 1], [0, 0], 2, 2, [0.5, 2], node_ids=["a", "b"]).to_xgi()
    assert graph.edges[0] == {"hypergraph_incidences": {"a": {"weight": 0.5}, "b": {"weight": 2}}}
    graph.remove_node("a")
    h = Hypergraph.from_xgi(graph)
    assert members(h) == {0: {"b"}, 1: set()} and h.by_node.value.tolist() == [2]


def test_what_is_no_plain_hypergraph_is_refused_of_xgi(xgi):
    simplices = xgi.SimplicialComplex([[0, 1, 2]])
    wrong = xgi.Hypergraph([[0]])
    wrong.add_edge([0], hypergraph_incidences=[1])
    pair, heavy = xgi.Hypergraph(), xgi.Hypergraph()
    pair.add_node((0, 1))
    heavy.add_node("v", weight="heavy")
    for made, message in (
        (simplices, "undirected xgi.Hypergraph, got SimplicialComplex"),
        (xgi.DiHypergraph([([0], [1])]), "undirected xgi.Hypergraph, got DiHypergraph"),
        (pair, r"nodes must be named by integers or strings, got \(0, 1\)"),
        (xgi.Hypergraph([[True]]), "got True"),
        (wrong, r"hypergraph_incidences of hyperedge 1 must be a dict of dicts by node, got \[1\]"),
        (heavy, "the weight of node 'v' must be a finite number and not negative, got 'heavy'"),
    ):
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_xgi(made)
    assert Hypergraph.from_xgi(xgi.Hypergraph(simplices)).num_hyperedges == 7 - 3  # as the message says


# ---- HyperNetX


@random_300
@given(hypergraphs_with_attributes())
def test_hypernetx_and_back(hnx, h):
    assert Hypergraph.from_hypernetx(h.to_hypernetx()).equals(h)


def test_hypernetx_shows_what_it_can(hnx):
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 3, 3, [1, 2, 3], [4, 5, 6], ["a", "b", "c"], ["x", "y", "z"])
    graph = h.to_hypernetx()
    assert graph.incidence_dict == {"x": ["a", "b"], "y": ["b"]} and graph.shape == (2, 2)
    assert graph.edges["y"].weight == 5 and graph.get_cell_properties("x", "b", "weight") == 2
    part = Hypergraph.from_hypernetx(graph.restrict_to_edges(["y"]))
    assert members(part) == {"y": {"b"}, "z": set()}  # "x" left, and the empty "z" is still empty
    assert part.node_ids.tolist() == ["b", "c"]


def test_hypernetx_hypergraphs_of_others_are_read(hnx):
    import pandas as pd

    native = hnx.Hypergraph({"e": ["b", "a"], "f": ["a", "b"], 3: [1, "1"]}, name="n")
    h = Hypergraph.from_hypernetx(native)
    assert members(h) == {"e": {"a", "b"}, "f": {"a", "b"}, 3: {1, "1"}} and h.by_node.value is None
    assert h.attributes == Attributes({"name": "n"})
    back = h.to_hypernetx()
    assert {e: set(v) for e, v in back.incidence_dict.items()} == members(h) and back.name == "n"
    assert members(Hypergraph.from_hypernetx(hnx.Hypergraph([["a", "b"], []]))) == {0: {"a", "b"}, 1: set()}

    nodes = pd.DataFrame({"id": ["gone", "a"], "weight": [3.0, 2.0], "age": [1.0, None], "kind": [None, "k"]})
    cells = {"e": {"a": {"weight": 2, "seen": "early"}, "b": {}}, "f": {"a": {}}}
    native = hnx.Hypergraph(cells, node_properties=nodes, edge_properties={"f": {"colour": "red"}})
    assert native.nodes["a"].weight == 2
    native.nodes["b"].size = 4  # HyperNetX adds a remark of its own here
    h = Hypergraph.from_hypernetx(native)
    assert members(h) == {"f": {"a"}, "e": {"a", "b"}} and h.node_ids.tolist() == ["a", "b"]
    assert h.node_weight.tolist() == [2, 1] and h.hyperedge_weight is None
    assert h.by_hyperedge.value.tolist() == [1, 2, 1]
    assert h.attributes == Attributes(
        {}, {0: {"kind": "k"}, 1: {"size": 4}}, {0: {"colour": "red"}}, {(0, 1): {"seen": "early"}}
    )
    shared = hnx.Hypergraph({"e": ["a"]}, properties={"a": {"colour": "red"}, "e": {"weight": 2}, "q": {}})
    h = Hypergraph.from_hypernetx(shared)
    assert (
        members(h) == {"e": {"a"}}
        and h.hyperedge_weight.tolist() == [2]
        and h.attributes.nodes == {0: {"colour": "red"}}
    )


def test_bad_hypernetx_hypergraphs_are_refused(hnx):
    for made, message in (
        (hnx.Hypergraph({"e": [1.5]}), "nodes must be named by integers or strings, got 1.5"),
        (hnx.Hypergraph({"e": {"a": {"weight": -2}}}), r"weight of incidence \('a', 'e'\) .* got -2"),
        (hnx.Hypergraph({"e": ["a"]}, edge_properties={"e": {"weight": "x"}}), "weight of hyperedge 'e' .* got 'x'"),
        ({"e": ["a"]}, "got dict"),
    ):
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_hypernetx(made)


# ---- pandas


@random_300
@given(hypergraphs())
def test_pandas_and_back(pd, h):
    assert Hypergraph.from_pandas(h.to_pandas()).equals(h)


def test_pandas_gets_three_tables(pd):
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 3, 2, [1, 2, 3], [4, 5], ["a", "b", "c"])
    incidences, nodes, hyperedges = h.to_pandas()
    assert incidences.to_dict("list") == {"node": ["a", "b", "b"], "hyperedge": [0, 0, 1], "weight": [1, 2, 3]}
    assert nodes.to_dict("list") == {"node": ["a", "b", "c"]}
    assert hyperedges.to_dict("list") == {"weight": [4, 5]}
    assert Hypergraph.from_pandas(incidences, nodes[::-1], hyperedges).node_ids.tolist() == ["c", "b", "a"]
    twice = Hypergraph.from_pairs([1], [0], 2, node_ids=["a", "a"]).to_pandas().incidences
    assert twice.to_dict("list") == {"node": ["a"], "hyperedge": [0], "node_number": [1]}


def test_pandas_frames_of_others_are_read(pd):
    frame = pd.DataFrame({"hyperedge": ["y", "x", "x", "y"], "when": 0, "node": [30, 10, 30, 30]}, index=[5, 5, 6, 7])
    h = Hypergraph.from_pandas(frame)
    assert members(h) == {"x": {10, 30}, "y": {30}} and h.node_ids.tolist() == [10, 30]
    for dtype in ("category", "string", object):
        assert Hypergraph.from_pandas(frame.astype({"hyperedge": dtype})).equals(h)
    assert Hypergraph.from_pandas(frame.astype({"node": "Int64"})).equals(h)
    h = Hypergraph.from_pandas(frame.assign(weight=[1, 2, 3, 4]), pd.DataFrame({"node": [30, 20, 10]}))
    assert h.node_ids.tolist() == [30, 20, 10] and h.by_hyperedge.value.tolist() == [3, 2, 5]
    mixed = pd.DataFrame({"node": ["1", 1, "a"], "hyperedge": [0, 0, 0]})
    assert Hypergraph.from_pandas(mixed).node_ids.tolist() == [1, "1", "a"]


def test_bad_frames_are_refused(pd):
    good = pd.DataFrame({"node": ["a", "b"], "hyperedge": [0, 0]})
    for frames, message in (
        ([good.rename(columns={"node": "user"})], r"columns node and hyperedge, got \['user', 'hyperedge'\]"),
        ([[1, 2]], "got list"),
        ([good.assign(node=["a", None])], "the incidences have node None"),
        ([good.assign(node=[0.5, 1.5])], "nodes must be named by integers or strings, got 0.5"),
        ([good.assign(node=[True, False])], "got False"),
        ([good, pd.DataFrame({"node": ["a"]})], "the incidences have node 'b', which the frame of nodes lacks"),
        ([good, pd.DataFrame({"node": ["a", "b", "a"]})], "must have each id once, got 'a' twice"),
        ([good, None, pd.DataFrame({"weight": [1, 2, 3]}).drop(index=1)], "or rows numbered 0, 1, 2"),
        ([good, None, pd.DataFrame({"weight": [1.0, None]})], "hyperedge_weight must be finite"),
        ([good, pd.DataFrame({"weight": [1.0, 2.0]})], "node ids must be integers"),
        ([good, pd.DataFrame({"node": ["a", "b"], "weight": [1, -1]})], "node_weight must be finite and not negative"),
        ([good.assign(weight=[1, -1])], "not negative, got -1"),
        ([good.assign(hyperedge=[0, 4]), None, pd.DataFrame(index=range(2))], r"must be in \[0, 2\), got \[0, 4\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Hypergraph.from_pandas(*frames)


# ---- files


@random_300
@given(hypergraphs_with_attributes())
def test_a_file_and_back(h):
    with tempfile.TemporaryDirectory() as folder:
        h.save(Path(folder) / "h.npz")
        assert Hypergraph.load(Path(folder) / "h.npz").equals(h)
        assert os.listdir(folder) == ["h.npz"]


def test_nothing_in_a_file_is_pickled(tmp_path):
    h = Hypergraph.from_pairs([0], [0], 2, node_ids=np.array([1, "1"], dtype=object))
    replace(h, attributes=Attributes(nodes={0: {"a": np.float64(0.5)}})).save(tmp_path / "h")
    with np.load(tmp_path / "h", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("iuf")
        assert json.loads(file["node_ids.json"].tobytes()) == [1, "1"]


@pytest.mark.parametrize(
    "attributes", [Attributes({"a": (1, 2)}), Attributes(nodes={0: {1: "a"}}), Attributes({"a": {"b": [object()]}})]
)
def test_attributes_that_json_would_change_are_not_saved(five, tmp_path, attributes):
    five.save(tmp_path / "h.npz")
    before = (tmp_path / "h.npz").read_bytes()
    with pytest.raises(ValueError, match="attributes are saved as JSON"):
        replace(five, attributes=attributes).save(tmp_path / "h.npz")
    assert (tmp_path / "h.npz").read_bytes() == before and os.listdir(tmp_path) == ["h.npz"]


EMPTY = {"metadata": {}, "nodes": [], "hyperedges": [], "incidences": []}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("node_ids", [1, 2, 3, "a", None]),
        ("node_ids", [1, 2, 3, "a", 0.5]),
        ("node_ids", [1, 2, 3, "a", True]),
        ("node_ids", [1, 2, 3, "a"]),
        ("node_ids", {"a": 1}),
        ("colour", [1]),
        ("attributes", EMPTY | {"nodes": [[5, {}]]}),
        ("attributes", EMPTY | {"nodes": [[0.5, {}]]}),
        ("attributes", EMPTY | {"hyperedges": [[-1, {}]]}),
        ("attributes", EMPTY | {"incidences": [[0, 1, {}]]}),
        ("attributes", EMPTY | {"incidences": [[0, 7, {}]]}),
        ("attributes", EMPTY | {"nodes": [[0, ["a"]]]}),
        ("attributes", EMPTY | {"colour": []}),
        ("attributes", {"metadata": {}}),
        ("attributes", [1]),
        ("attributes", "}{"),
        ("attributes", "[" * 100_000),
    ],
)
def test_a_file_with_wrong_text_is_refused(five, tmp_path, name, content):
    five.save(tmp_path / "h.npz")
    text = content if isinstance(content, str) else json.dumps(content)
    np.savez(
        tmp_path / "h.npz", **np.load(tmp_path / "h.npz"), **{f"{name}.json": np.frombuffer(text.encode(), np.uint8)}
    )
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(tmp_path / "h.npz")


@pytest.mark.parametrize(
    "change",
    [
        dict(shape=np.array([5, 9])),
        dict(indptr=np.array([1, 3, 5, 6, 6])),
        dict(indptr=np.array([0, 3, 5, 6, 5])),
        dict(indptr=np.array([0.0, 3, 5, 6, 6])),
        dict(node_weight=np.ones(4)),
        dict(node_weight=-np.ones(5)),
    ],
)
def test_a_file_with_wrong_counts_or_node_weights_is_refused(five, tmp_path, change):
    five.save(tmp_path / "h.npz")
    np.savez(tmp_path / "h.npz", **dict(np.load(tmp_path / "h.npz")) | change)
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(tmp_path / "h.npz")


def test_a_spoilt_file_is_refused_or_still_right(five, tmp_path):
    path = tmp_path / "h.npz"
    h = replace(five, attributes=Attributes({"a": 1}), node_ids=np.array([1, "1", 2, "2", ""], dtype=object))
    h.save(path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(200):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        try:
            found = Hypergraph.load(path)
        except ValueError as error:
            assert "is not a hypergraph" in str(error)
        else:
            assert (found.num_nodes, found.num_hyperedges) == (5, 4)


def test_weights_that_hif_lets_in_are_not_saved_to_be_refused_later(five, tmp_path):
    for weight in (-1.0, float("inf"), float("nan")):
        odd = replace(five, hyperedge_weight=torch.tensor([1, weight, 1, 1]))
        with pytest.raises(ValueError, match="hyperedge_weight must be finite and not negative .* to_hif"):
            odd.save(tmp_path / "h.npz")
    assert os.listdir(tmp_path) == []


def test_hif_is_one_of_the_conversions(five, tmp_path):
    document = five.to_hif(tmp_path / "h.json")
    assert json.loads((tmp_path / "h.json").read_text()) == document
    for source in (document, tmp_path / "h.json", (tmp_path / "h.json").read_bytes()):
        assert Hypergraph.from_hif(source).equals(five)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Hypergraph.load(tmp_path / "h.npz")


# ---- what all share


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [
        ("networkx", "networkx", "pip install networkx, or pip install 'hyperctr"),
        ("pyg", "torch_geometric", "pip install torch-geometric, or pip install 'hyperctr"),
        (
            "dgl",
            "dgl",
            "dgl 1.1.3 works, on Linux with Python 3.11 and on the CPU: pip install dgl==1.1.3, or",
        ),
        ("xgi", "xgi", "pip install xgi, or"),
        ("hypernetx", "hypernetx", "pip install hypernetx, or"),
        ("pandas", "pandas", "pip install pandas, or"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(five, monkeypatch, name, package, install):
    monkeypatch.setitem(sys.modules, package, None)
    for convert in (getattr(five, f"to_{name}"), lambda: getattr(Hypergraph, f"from_{name}")(None)):
        with pytest.raises(ImportError, match=f"^this needs {package}, .*{install}") as error:
            convert()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["networkx", "xgi", "hypernetx"])
def test_changing_the_other_side_changes_nothing_here(name):
    pytest.importorskip(name, reason=f"conversion to {name} not checked")
    h = Hypergraph.from_pairs([0, 1], [0, 0])
    h = replace(h, attributes=Attributes({"a": 1}, {0: {"a": 1}}, {0: {"a": 1}}, {(0, 0): {"a": 1}}))
    graph = getattr(h, f"to_{name}")()
    back = getattr(Hypergraph, f"from_{name}")(graph)
    if name == "networkx":
        graph.graph["a"] = graph.nodes[0]["a"] = graph.edges[0, ("hyperedge", 0)]["a"] = 2
    elif name == "xgi":
        graph["a"] = graph.nodes[0]["a"] = graph.edges[0]["hypergraph_incidences"][0]["a"] = 2
    else:
        graph.metadata["a"] = 2
        graph.nodes[0].a = 2
    assert h.attributes == back.attributes == Attributes({"a": 1}, {0: {"a": 1}}, {0: {"a": 1}}, {(0, 0): {"a": 1}})
