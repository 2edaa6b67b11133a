"""Layers against the papers' equations written with dense matrices."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from graphs import HGCN, HGCNConv, Hypergraph, HypergraphConv


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("in_dim", "out_dim"), [(4, 4), (6, 2), (2, 6)])
@pytest.mark.parametrize("valued", [False, True])
def test_hgcn_conv_equals_dense_equation_5(random_hypergraph, operator, dtype, tolerance, in_dim, out_dim, valued):
    for seed in range(3):  # each with random weights, an isolated node and an empty hyperedge
        h = random_hypergraph(12, 9, seed=seed, valued=valued)
        conv = HGCNConv(in_dim, out_dim).to(dtype)
        x = torch.randn(12, in_dim, dtype=dtype)
        expected = torch.relu(operator(h) @ x.double() @ conv.theta.double())
        y = conv(x, h)
        torch.testing.assert_close(y, expected.to(dtype), rtol=tolerance, atol=tolerance)
        assert y[-1].tolist() == [0] * out_dim


def test_hypergraph_conv_equals_the_dense_row_form(random_hypergraph, operator):
    h = random_hypergraph(10, 8)
    conv = HypergraphConv(5, 3).double()
    nn.init.normal_(conv.bias)
    x = torch.randn(10, 5, dtype=torch.float64)
    expected = operator(h, norm="row") @ x @ conv.theta + conv.bias
    torch.testing.assert_close(conv(x, h), expected, rtol=1e-10, atol=1e-10)


def test_weights_weigh_in_the_product_and_not_only_in_the_degrees():
    """Node 1 is in {0, 1} and {1, 2}: its mean of the two means leans towards the heavier hyperedge."""
    index = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 1]])
    conv = HypergraphConv(1, 1, bias=False)
    nn.init.ones_(conv.theta)
    x = torch.tensor([[0.0], [2.0], [6.0]])  # means of the hyperedges: 1 and 4
    torch.testing.assert_close(conv(x, index), torch.tensor([[1.0], [2.5], [4.0]]))
    torch.testing.assert_close(conv(x, index, torch.tensor([2.0, 1.0])), torch.tensor([[1.0], [2.0], [4.0]]))


@pytest.mark.parametrize("layer", [lambda: HGCNConv(3, 2), lambda: HypergraphConv(3, 2)], ids=["sym", "row"])
def test_pairs_as_a_tensor_equal_a_hypergraph(layer):
    conv = layer()
    index = torch.tensor([[2, 0, 1, 2], [1, 0, 0, 0]])
    x = torch.randn(4, 3)
    h = Hypergraph.from_pairs(index[0], index[1], 4)
    torch.testing.assert_close(conv(x, index), conv(x, h), rtol=0, atol=0)
    w = torch.tensor([1.0, 3.0, 7.0], requires_grad=True)  # the third hyperedge is empty
    conv(x, index, w).sum().backward()
    assert w.grad.shape == (3,) and w.grad[2] == 0


@pytest.mark.parametrize("conv", [HGCNConv(3, 2, activation=torch.tanh), HypergraphConv(3, 2), HGCNConv(2, 3)])
def test_gradients_of_x_theta_and_w_equal_finite_differences(random_hypergraph, conv):
    h = random_hypergraph(6, 5, valued=True)
    conv = conv.double()
    x = torch.randn(6, conv.theta.shape[0], dtype=torch.float64, requires_grad=True)
    w = torch.rand(5, dtype=torch.float64).add(0.2).requires_grad_()

    def forward(x, theta, w=None):
        return torch.func.functional_call(conv, {"theta": theta}, (x, h, w))

    for inputs in ((x, conv.theta), (x, conv.theta, w)):
        assert gradcheck(forward, inputs)
        assert gradgradcheck(forward, inputs)


def test_theta_starts_kaiming_normal():
    torch.manual_seed(0)
    for conv in (HGCNConv(400, 50), HypergraphConv(400, 50)):
        assert abs(conv.theta.std().item() / (2 / 400) ** 0.5 - 1) < 0.03 and abs(conv.theta.mean()) < 2e-3


def test_bias_and_activation_are_options():
    h, x = Hypergraph.from_pairs([0], [0], 2), torch.tensor([[1.0], [1.0]])
    conv = HGCNConv(1, 1, bias=True, activation=None)
    nn.init.constant_(conv.theta, -3.0)
    nn.init.constant_(conv.bias, 1.0)
    assert conv(x, h).tolist() == [[-2], [1]]
    assert HGCNConv(1, 1).bias is None and HypergraphConv(1, 1, bias=False).bias is None


def test_hgcn_stacks_equation_5(random_hypergraph, operator):
    h, x = random_hypergraph(), torch.randn(9, 4, dtype=torch.float64)
    model = HGCN(4, 3, isolated="zero").double()
    expected = x
    for layer in model.layers:
        expected = torch.relu(operator(h) @ expected @ layer.theta)
    torch.testing.assert_close(model(x, h), expected)


def test_depth_zero_is_the_identity(five):
    x = torch.randn(5, 3)
    assert HGCN(3, 0)(x, five) is x


def test_isolated_nodes_keep_their_row_or_become_zero(five):
    x = -torch.rand(5, 3)
    kept = HGCN(3, 2, dropout=0.5, residual=True)(x, five)
    assert torch.equal(kept[4], x[4]) and not torch.equal(kept[:4], x[:4])
    assert HGCN(3, 2, isolated="zero")(x, five)[4].tolist() == [0, 0, 0]


def test_passing_isolated_nodes_through_changes_no_other_node(five):
    torch.manual_seed(0)
    model = HGCN(3, 2)
    x = torch.randn(5, 3)
    through = model(x, five)
    model.isolated = "zero"
    torch.testing.assert_close(through[:4], model(x, five)[:4])


def test_residual_adds_the_input_of_each_layer(five):
    model = HGCN(3, 1, residual=True)
    x = torch.randn(5, 3)
    torch.testing.assert_close(model(x, five)[:4], (x + model.layers[0](x, five))[:4])


def test_dropout_acts_in_training_alone(five):
    model, x = HGCN(64, 1, dropout=0.5), torch.rand(5, 64)
    clean = model.layers[0](x, five)
    dropped = model(x, five)[:4]
    share = ((dropped == 0) & (clean[:4] > 0)).sum() / (clean[:4] > 0).sum()
    assert 0.3 < share < 0.7
    torch.testing.assert_close(model.eval()(x, five)[:4], clean[:4])


def test_a_model_learns_with_weights_of_its_own(five):
    model, w = HGCN(3, 2), torch.ones(4, requires_grad=True)
    model(torch.rand(5, 3), five, w).sum().backward()
    assert w.grad.isfinite().all() and w.grad[:3].abs().sum() > 0 and w.grad[3] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 4), h), r"x must be \[num_nodes, 3\], got shape \[5, 4\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(4, 3), h), r"one row a node, 5 rows, got shape \[4, 2\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 3), torch.zeros(3, 4)), r"tensor of pairs \[2, n\], got \[3, 4\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 3), [[0], [0]]), "got list"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(2, 3), torch.tensor([[2], [0]])), r"node ids must lie in \[0, 2\)"),
        (lambda h: HGCNConv(0, 2), "widths must be at least 1, got 0 and 2"),
        (lambda h: HGCN(3, -1), "depth must not be negative, got -1"),
        (lambda h: HGCN(3, 1, isolated="drop"), "got 'drop'"),
    ],
)
def test_errors_say_what_was_found(five, call, message):
    with pytest.raises(ValueError, match=message):
        call(five)
