"""Convolving only the nodes that matter, and a gradient that comes from elsewhere."""

import numpy as np
import pytest
import torch

from graphs import HGCN, Hypergraph
from hyperctr.models.hyperctr.propagation import compact, surrogate


def test_a_surrogate_has_no_value_and_the_gradient_that_it_is_given():
    x, gradient = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2)
    term = surrogate(x.exp(), gradient)
    assert term.item() == 0
    term.backward()
    torch.testing.assert_close(x.grad, gradient * x.detach().exp())


def random_hypergraph(rng, nodes=12, hyperedges=5, weighted=False):
    """Some nodes in no hyperedge, some hyperedges of one member."""
    node, hyperedge = rng.integers(0, nodes, 14), rng.integers(0, hyperedges, 14)
    weight = rng.random(hyperedges) + 0.5 if weighted else None
    value = rng.random(14) + 0.5 if weighted else None
    return Hypergraph.from_pairs(
        node, hyperedge, nodes, hyperedges, value, weight, hyperedge_ids=np.arange(hyperedges) + 100
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_leaving_out_nodes_that_no_hyperedge_holds_does_not_change_a_convolution(weighted):
    rng = np.random.default_rng(0)
    graphs = [random_hypergraph(rng, weighted=weighted) for _ in range(2)]
    numbers, place, smaller = compact(graphs)
    held = [set(np.concatenate([h.members(e).numpy() for e in range(h.num_hyperedges)]).tolist()) for h in graphs]
    assert numbers.tolist() == sorted(held[0] | held[1])
    assert 0 < len(numbers) < 12
    assert place.tolist() == [numbers.tolist().index(v) if v in numbers else -1 for v in range(12)]
    for h, small in zip(graphs, smaller, strict=True):
        conv, x = HGCN(3, 2), torch.randn(12, 3)
        whole = conv(x, h)
        torch.testing.assert_close(conv(x[numbers], small), whole[numbers])
        assert torch.equal(whole[place < 0], x[place < 0])  # they would have kept their input
        assert small.hyperedge_ids.tolist() == h.hyperedge_ids.tolist()


def test_hypergraphs_that_hold_every_node_stay_as_they_are():
    h = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])
    numbers, place, (same,) = compact([h])
    assert same is h
    assert numbers.tolist() == place.tolist() == [0, 1, 2]


def test_hypergraphs_that_hold_nobody_leave_nobody():
    numbers, place, (none,) = compact([Hypergraph.from_pairs([], [], 3, 2)])
    assert len(numbers) == none.num_nodes == 0
    assert place.tolist() == [-1, -1, -1]
    assert HGCN(2, 2)(torch.empty(0, 2), none).shape == (0, 2)
