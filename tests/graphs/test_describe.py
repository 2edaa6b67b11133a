"""The description of the five nodes by hand."""

import json

import networkx as nx
import pytest

from graphs import Hypergraph, TimeSlices


def test_five_nodes_by_hand(five):
    found = five.describe()
    assert found["num_nodes"] == 5 and found["num_hyperedges"] == 4 and found["num_incidences"] == 6
    assert found["density"] == 6 / 20
    assert found["isolated_nodes"] == 1 and found["empty_hyperedges"] == 1 and found["singletons"] == 1
    assert found["components"] == 2 and found["largest_component"] == 4
    assert found["degree"] == pytest.approx(  # 0, 1, 1, 2.5, 3
        {"mean": 1.5, "min": 0, "q25": 1, "median": 1, "q75": 2.5, "q99": 2.98, "max": 3}
    )
    assert found["size"]["median"] == 1.5 and found["size"]["max"] == 3
    assert json.loads(json.dumps(found)) == found


def test_nothing_is_described_with_zeros():
    found = Hypergraph.from_pairs([], []).describe()
    assert found["components"] == found["largest_component"] == found["density"] == 0
    assert set(found["degree"].values()) == {0}
    assert Hypergraph.from_pairs([], [], 3, 2).describe()["components"] == 3


def test_components_equal_those_of_networkx():
    nodes, hyperedges = [0, 1, 2, 3, 3, 5, 6], [0, 0, 1, 1, 2, 4, 4]
    found = Hypergraph.from_pairs(nodes, hyperedges, 9, 6).describe()
    graph = nx.Graph([(v, f"e{e}") for v, e in zip(nodes, hyperedges, strict=True)])
    graph.add_nodes_from(range(9))
    sizes = [sum(isinstance(v, int) for v in part) for part in nx.connected_components(graph)]
    assert found["components"] == len(sizes) and found["largest_component"] == max(sizes)


def test_a_notebook_sees_a_table(five):
    html = five._repr_html_()
    assert html.count("<tr>") == 12 and "<td>isolated nodes</td><td>1</td>" in html
    slices = TimeSlices.cut([1, 2], [1, 1], [0, 86400], every="1d")
    assert slices._repr_html_().count("<tr>") == 3
