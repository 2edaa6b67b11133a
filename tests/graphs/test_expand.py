"""Clique and star expansion against dense matrices, and components against networkx."""

import networkx as nx
import numpy as np
import pytest
import torch

from graphs import Hypergraph, expand


def test_clique_of_five_nodes_by_hand(five):
    expected = np.zeros((5, 5))
    for u, v, weight in ((0, 1, 1), (0, 2, 1), (1, 2, 1), (2, 3, 2)):  # e0 weighs 1, e1 weighs 2
        expected[u, v] = expected[v, u] = weight
    found = expand.clique(five)
    assert found.toarray().tolist() == expected.tolist() and found.nnz == 8


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_clique_is_the_sum_over_hyperedges_without_its_diagonal(valued, weighted, random_hypergraph, dense):
    h = random_hypergraph(9, 12, valued=valued, weighted=weighted)
    H = dense(h)
    expected = torch.zeros(9, 9, dtype=torch.float64)
    for e in range(12):
        w = float(h.hyperedge_weight[e]) if weighted else 1.0
        for u in range(9):
            for v in range(9):
                expected[u, v] += w * H[u, e] * H[v, e] * (u != v)
    found = expand.clique(h)
    torch.testing.assert_close(torch.from_numpy(found.toarray()), expected)
    assert found.has_sorted_indices and found.nnz == (expected != 0).sum()


def test_a_clique_expansion_that_would_not_fit_is_refused_with_its_size(monkeypatch, five):
    h = Hypergraph.from_pairs(np.arange(20_000), np.zeros(20_000, int))
    with pytest.raises(ValueError, match=r"400,000,000 entries .*sum \|e\|\^2 = 400,000,000.* more than 100,000,000"):
        expand.clique(h)
    monkeypatch.setattr(expand, "MOST_ENTRIES", 14)  # 9 + 4 + 1
    assert expand.clique(five).nnz == 8
    monkeypatch.setattr(expand, "MOST_ENTRIES", 13)
    with pytest.raises(ValueError, match=r"14 entries"):
        expand.clique(five)


def test_many_hyperedges_on_few_nodes_are_not_too_many_entries(monkeypatch):
    monkeypatch.setattr(expand, "MOST_ENTRIES", 9)
    h = Hypergraph.from_pairs([0, 1, 2] * 5, np.repeat(np.arange(5), 3))  # sum |e|^2 = 45, but A is [3, 3]
    assert expand.clique(h).toarray().tolist() == [[0, 5, 5], [5, 0, 5], [5, 5, 0]]


def test_star_is_the_bipartite_adjacency(random_hypergraph, dense):
    h = random_hypergraph(5, 4, valued=True)
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[:5, 5:], expected[5:, :5] = dense(h), dense(h).T
    found = expand.star(h)
    torch.testing.assert_close(torch.from_numpy(found.toarray()), expected)
    assert found.nnz == 2 * h.num_incidences


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_without_incidences_there_is_nothing_to_expand(shape):
    h = Hypergraph.from_pairs([], [], *shape)
    assert expand.clique(h).shape == (shape[0],) * 2 and expand.clique(h).nnz == 0
    assert expand.star(h).shape == (sum(shape),) * 2 and expand.star(h).nnz == 0
    nodes, hyperedges = expand.components(h)
    assert nodes.tolist() == list(range(shape[0])) and hyperedges.tolist() == [-1] * shape[1]


def test_components_come_largest_first_and_then_by_their_first_node():
    nodes, hyperedges = [1, 5, 2, 4, 6], [4, 4, 2, 2, 2]  # {1, 5} in e4, {2, 4, 6} in e2; 0, 3 and 7 in none
    node_label, hyperedge_label = expand.components(Hypergraph.from_pairs(nodes, hyperedges, 8, 6))
    assert node_label.tolist() == [2, 1, 0, 3, 0, 1, 0, 4]
    assert hyperedge_label.tolist() == [-1, -1, 0, -1, 1, -1]


@pytest.mark.parametrize("seed", range(10))
def test_components_equal_those_of_networkx(seed):
    rng = np.random.default_rng(seed)
    nodes, hyperedges = rng.integers(0, 30, 25), rng.integers(0, 20, 25)
    node_label, hyperedge_label = expand.components(Hypergraph.from_pairs(nodes, hyperedges, 30, 20))
    graph = nx.Graph([(v, f"e{e}") for v, e in zip(nodes.tolist(), hyperedges.tolist(), strict=True)])
    graph.add_nodes_from(range(30))
    parts = [sorted(v for v in part if isinstance(v, int)) for part in nx.connected_components(graph)]
    parts.sort(key=lambda part: (-len(part), part[0]))
    assert [np.flatnonzero(node_label == n).tolist() for n in range(len(parts))] == parts
    for e in range(20):
        mine = node_label[nodes[hyperedges == e]]
        assert set(mine.tolist()) == ({int(hyperedge_label[e])} if len(mine) else set())
        assert len(mine) or hyperedge_label[e] == -1
