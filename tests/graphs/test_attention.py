"""Attention on hypergraphs against the equations of its paper, written with loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphs import Hypergraph, HypergraphConv
from graphs.layers import HypergraphAttention

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def attended(layer, h: Hypergraph, x, z, w, within: str) -> torch.Tensor:
    """D_v^-1 H~ W D_e^-1 H~^T X Theta + b by loops over incidences; z None takes means of members."""
    _, heads, both = layer.att.shape
    dim = both // 2
    indptr, indices, value = h.numpy_members()
    pairs = [(int(indices[k]), e) for e in range(h.num_hyperedges) for k in range(indptr[e], indptr[e + 1])]
    value = dict(zip(pairs, [1.0] * len(pairs) if value is None else value.tolist(), strict=True))
    degree = [sum(w[e] * value[v, e] for u, e in pairs if u == v) for v in range(h.num_nodes)]
    size = [sum(value[v, e] for v, f in pairs if f == e) for e in range(h.num_hyperedges)]
    if z is None:
        z = [sum((value[v, e] * x[v] / size[e] for v, f in pairs if f == e), 0 * x[0]) for e in range(h.num_hyperedges)]
    result = torch.zeros(h.num_nodes, heads, dim, dtype=x.dtype)
    for k in range(heads):
        theta = layer.lin.weight[k * dim : (k + 1) * dim]
        score = {
            (v, e): F.leaky_relu(layer.att[0, k] @ torch.cat([theta @ x[v], theta @ z[e]]), layer.negative_slope).exp()
            for v, e in pairs
        }
        share = {}
        for v, e in pairs:
            rivals = [pair for pair in pairs if (pair[0] == v if within == "node" else pair[1] == e)]
            share[v, e] = value[v, e] * score[v, e] / sum(score[pair] for pair in rivals)
        for u, e in pairs:
            for v in (v for v, f in pairs if f == e):
                result[u, k] = result[u, k] + share[u, e] * w[e] * share[v, e] * (theta @ x[v]) / size[e] / degree[u]
    result = result.flatten(1) if layer.concat else result.mean(1)
    return result if layer.bias is None else result + layer.bias


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("concat", [False, True])
def test_attention_equals_the_equation_by_loops(random_hypergraph, valued, weighted, concat):
    h = random_hypergraph(7, 5, weighted=weighted, valued=valued)  # with an isolated node and an empty hyperedge
    w = h.hyperedge_weight.double() if weighted else torch.ones(5).double()
    x, z = torch.randn(7, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    for layer, within in (
        (HypergraphAttention(4, 3, heads=2, concat=concat, negative_slope=0.3), "node"),
        (HypergraphConv(4, 3, True, "node", heads=2, concat=concat, negative_slope=0.3), "hyperedge"),
        (HypergraphConv(4, 3, True, "edge", concat=concat, bias=False), "node"),
    ):
        layer = layer.double()
        for attr in (None, z):
            torch.testing.assert_close(layer(x, h, None, attr), attended(layer, h, x, attr, w, within), **CLOSE)
        learned = torch.rand(5, dtype=torch.float64)
        torch.testing.assert_close(layer(x, h, learned, z), attended(layer, h, x, z, learned, within), **CLOSE)


def test_attention_by_hand():
    """Node 0 is in e0, node 1 in e0 and e1. With a = (0, 1) scores are z: e0 has e^2 / (e^2 + 1) of node 1."""
    h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])
    layer = HypergraphAttention(1, 1, bias=False)
    nn.init.ones_(layer.lin.weight)
    layer.att.data = torch.tensor([[[0.0, 1.0]]])
    share = math.e**2 / (math.e**2 + 1)
    x, z = torch.tensor([[4.0], [8.0]]), torch.tensor([[2.0], [0.0]])
    first = (4 + share * 8) / 2  # what e0 holds; node 0 is in e0 alone
    expected = [[first], [(share * first + (1 - share) * (1 - share) * 8) / 2]]
    torch.testing.assert_close(layer(x, h, hyperedge_attr=z), torch.tensor(expected))


def test_attention_of_large_scores_stays_finite():
    """Scores of 1000 and 2000 overflow an exponential; their softmax is 0 and 1."""
    h = Hypergraph.from_pairs([0, 0], [0, 1])
    layer = HypergraphAttention(1, 1, bias=False)
    nn.init.ones_(layer.lin.weight)
    layer.att.data = torch.tensor([[[0.0, 1.0]]])
    x = torch.ones(1, 1, requires_grad=True)
    y = layer(x, h, hyperedge_attr=torch.tensor([[1000.0], [2000.0]]))
    y.sum().backward()
    assert y.tolist() == [[0.5]] and x.grad.tolist() == [[0.5]] and layer.att.grad.isfinite().all()


def test_dropout_of_attention_acts_in_training_alone(random_hypergraph):
    h, x = random_hypergraph(), torch.randn(9, 4)
    layer = HypergraphAttention(4, 3, dropout=0.5)
    assert not torch.equal(layer(x, h), layer(x, h))
    layer.eval()
    assert torch.equal(layer(x, h), layer(x, h))
    layer.train().dropout = 1.0
    assert not layer(x, h).any()
