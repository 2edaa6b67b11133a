"""networkx, XGI and HyperNetX come back equal, and what others made is read right."""

from dataclasses import replace

import pytest
from drawn_hypergraphs import hypergraphs_with_attributes, members, random_300
from hypothesis import given

from graphs import Hypergraph
from graphs.attributes import Attributes

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


# ---- all three


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
