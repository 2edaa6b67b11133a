"""Layers against the papers' equations written with dense matrices and loops, and against PyTorch Geometric's."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from graphs import HGCN, HGCNConv, Hypergraph, HypergraphConv
from graphs.layers import HypergraphAttention

LAYERS = {
    "HGCNConv": lambda: HGCNConv(4, 3, bias=True),
    "HGCNConv, row form, widening": lambda: HGCNConv(4, 6, bias=True, norm="row"),
    "HGCN": lambda: HGCN(4, 2, residual=True),
    "HypergraphConv": lambda: HypergraphConv(4, 3),
    "HypergraphConv, attention": lambda: HypergraphConv(4, 3, use_attention=True, heads=2),
    "HypergraphAttention": lambda: HypergraphAttention(4, 3, heads=2, concat=False),
}
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


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
    expected = operator(h, norm="row") @ x @ conv.lin.weight.T + conv.bias
    torch.testing.assert_close(conv(x, h), expected, **CLOSE)
    w = torch.rand(8, dtype=torch.float64)
    expected = operator(h, w, "row") @ x @ conv.lin.weight.T + conv.bias
    torch.testing.assert_close(conv(x, h.hyperedge_index, w), expected, **CLOSE)


def test_hgcn_conv_of_norm_row_is_hypergraph_conv(random_hypergraph):
    h, x = random_hypergraph(10, 8), torch.randn(10, 5)
    ours = HGCNConv(5, 3, bias=True, activation=None, norm="row")
    theirs = HypergraphConv(5, 3)
    theirs.load_state_dict({"lin.weight": ours.theta.T, "bias": nn.init.normal_(ours.bias)})
    w = torch.rand(8)
    for weight in (None, w):
        torch.testing.assert_close(ours(x, h, weight), theirs(x, h, weight))


def test_weights_weigh_in_the_product_and_not_only_in_the_degrees():
    """Node 1 is in {0, 1} and {1, 2}: its mean of the two means leans towards the heavier hyperedge."""
    index = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 1]])
    conv = HypergraphConv(1, 1, bias=False)
    nn.init.ones_(conv.lin.weight)
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


@pytest.mark.parametrize(
    "conv",
    [
        HGCNConv(3, 2, activation=torch.tanh),
        HGCNConv(2, 3, norm="row"),
        HypergraphConv(3, 2),
        HypergraphConv(3, 2, use_attention=True),
        HypergraphAttention(3, 1, heads=2),
    ],
)
def test_gradients_of_x_parameters_and_w_equal_finite_differences(random_hypergraph, conv):
    h = random_hypergraph(4, 4, valued=True)
    conv = conv.double()
    names, parameters = zip(*conv.named_parameters(), strict=True)
    x = torch.randn(4, 2 if parameters[0].shape == (2, 3) and "theta" in names else 3, dtype=torch.float64)
    w = torch.rand(4, dtype=torch.float64).add(0.2).requires_grad_()

    def forward(x, w, *parameters):
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), (x, h, w))

    inputs = (x.requires_grad_(), w, *parameters)
    assert gradcheck(forward, inputs)
    assert gradgradcheck(forward, inputs)


def test_theta_starts_kaiming_normal():
    torch.manual_seed(0)
    theta = HGCNConv(400, 50).theta
    assert abs(theta.std().item() / (2 / 400) ** 0.5 - 1) < 0.03 and abs(theta.mean()) < 2e-3


def test_parameters_with_pyg_s_names_start_as_pyg_s():
    """Glorot-uniform: within sqrt(6 / (rows + columns)) of zero, and nearly as far."""
    for conv in (HypergraphConv(40, 50, use_attention=True, heads=10), HypergraphAttention(40, 50, heads=10)):
        for parameter, bound in ((conv.lin.weight, (6 / 540) ** 0.5), (conv.att, (6 / 110) ** 0.5)):
            assert 0.98 * bound < parameter.abs().max() <= bound and abs(parameter.mean()) < 0.05 * bound
        assert not conv.bias.any()
    conv = HypergraphConv(40, 50)
    nn.init.ones_(conv.bias)
    before = conv.lin.weight.clone()
    conv.reset_parameters()
    assert not conv.bias.any() and not torch.equal(before, conv.lin.weight)


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


@pytest.mark.parametrize("name", LAYERS)
def test_nodes_without_incidences_give_bias_alone(name):
    layer = LAYERS[name]()
    if name != "HGCN":
        nn.init.ones_(layer.bias)
    for num_nodes, num_hyperedges in ((3, 2), (3, 0), (0, 2), (0, 0)):
        h = Hypergraph.from_pairs([], [], num_nodes, num_hyperedges)
        x = torch.randn(num_nodes, 4, requires_grad=True)
        w = torch.ones(num_hyperedges, requires_grad=True)
        y = layer(x, h, w)
        y.sum().backward()
        expected = x if name == "HGCN" else torch.ones_like(y)  # HGCN lets isolated nodes pass
        assert torch.equal(y, expected) and x.grad.isfinite().all() and w.grad.isfinite().all()


PYG = [
    {},
    {"bias": False},
    {"use_attention": True},
    {"use_attention": True, "heads": 3, "negative_slope": 0.4},
    {"use_attention": True, "heads": 3, "concat": False, "attention_mode": "edge"},
    {"use_attention": True, "heads": 2, "attention_mode": "edge", "bias": False},
]


@pytest.mark.parametrize("arguments", PYG, ids=str)
def test_a_layer_of_pyg_can_be_swapped_by_its_import(random_hypergraph, arguments):
    """The same call and the same state_dict give the same values and gradients where all weights are one."""
    pyg = pytest.importorskip("torch_geometric.nn", reason="PyTorch Geometric's layer not compared")
    h = random_hypergraph(10, 8)
    index = h.hyperedge_index[:, torch.randperm(h.num_incidences)]
    theirs, ours = (package(5, 4, **arguments).double() for package in (pyg.HypergraphConv, HypergraphConv))
    if theirs.bias is not None:
        nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x, attr = torch.randn(10, 5, dtype=torch.float64), torch.randn(8, 5, dtype=torch.float64)
    results = []
    for layer in (theirs, ours):
        leaves = [x.clone().requires_grad_(), attr.clone().requires_grad_(), *layer.parameters()]
        y = layer(leaves[0], index, None, leaves[1], num_edges=8)
        results.append([y, *torch.autograd.grad(y.pow(2).sum(), leaves, allow_unused=not layer.use_attention)])
    torch.testing.assert_close(results[1], results[0], **CLOSE)


def test_the_attention_of_the_paper_is_pyg_s_mode_edge(random_hypergraph):
    pyg = pytest.importorskip("torch_geometric.nn", reason="PyTorch Geometric's layer not compared")
    h, x, attr = random_hypergraph(weighted=False), torch.randn(9, 5), torch.randn(7, 5)
    theirs = pyg.HypergraphConv(5, 4, use_attention=True, attention_mode="edge", heads=2)
    ours = HypergraphAttention(5, 4, heads=2)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x, h, None, attr), theirs(x, h.hyperedge_index, None, attr, 7))


def test_the_number_of_hyperedges_may_be_given(five):
    index = five.hyperedge_index
    x = torch.randn(5, 3)
    for conv in (HypergraphConv(3, 2), HypergraphConv(3, 2, use_attention=True)):
        attr = torch.randn(6, 3)
        expected = conv(x, index, hyperedge_attr=attr)
        torch.testing.assert_close(conv(x, index, hyperedge_attr=attr, num_edges=6), expected)
        with pytest.raises(ValueError, match=r"hyperedge ids must be in \[0, 2\), got \[0, 2\]"):
            conv(x, index, num_edges=2)
        with pytest.raises(ValueError, match="has 4 hyperedges, not 6"):
            conv(x, five, num_edges=6)


@pytest.fixture
def sorts(monkeypatch):
    """Counts how often pairs are sorted."""
    made = []
    real = Hypergraph.from_pairs
    monkeypatch.setattr(Hypergraph, "from_pairs", lambda *args: made.append(weakref.ref(h := real(*args))) or h)
    return made


def test_pairs_that_come_again_are_not_sorted_again(sorts):
    index, x = torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.randn(4, 3)
    first, second = HypergraphConv(3, 2), HGCN(3, 2)
    for _ in range(3):
        first(x, index)
        second(x, index)
    assert len(sorts) == 1
    first(x, index.clone())
    assert len(sorts) == 2
    with torch.inference_mode():  # tensors that count no changes are sorted each time
        inference = index.clone()
        assert torch.equal(first(x, inference), first(x, inference)) and len(sorts) == 4


def test_pairs_changed_in_place_are_sorted_again(sorts):
    index, x = torch.tensor([[0, 1, 2], [0, 0, 1]]), torch.randn(4, 3)
    conv = HypergraphConv(3, 2)
    conv(x, index)
    index[1, 2] = 0
    torch.testing.assert_close(conv(x, index), conv(x, index.clone()), rtol=0, atol=0)
    sorts.clear()
    conv(x, index, num_edges=3)  # the same pairs, but another hypergraph
    conv(x, index, torch.ones(4))
    conv(torch.randn(5, 3), index)
    assert len(sorts) == 3


def test_sorted_pairs_are_forgotten_with_their_tensor(sorts):
    index, conv = torch.tensor([[0, 1, 2], [0, 0, 1]]), HypergraphConv(3, 2)
    conv(torch.randn(4, 3), index)
    assert sorts[0]() is not None
    del index
    gc.collect()
    assert sorts[0]() is None


@pytest.mark.parametrize(("computed", "learnable"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("name", LAYERS)
def test_torch_compile_sees_one_graph(random_hypergraph, name, computed, learnable):
    torch._dynamo.reset()
    layer, h = LAYERS[name](), random_hypergraph()
    x = torch.randn(9, 4, requires_grad=True)
    w = torch.rand(7).add(0.1).requires_grad_() if learnable else None
    leaves = [x, *layer.parameters(), *([w] if learnable else [])]
    if computed:
        layer(x, h, w)
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, h, w)
    expected = layer(x, h, w)
    torch.testing.assert_close(y, expected)
    for a, b in zip(*(torch.autograd.grad(z.pow(2).sum(), leaves) for z in (y, expected)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["HGCNConv", "HypergraphConv, attention"])
def test_two_graphs_serve_any_number_of_hypergraphs(random_hypergraph, name):
    """A time slice after another: the first sizes are compiled as constants, all later ones are variables."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    layer = LAYERS[name]()
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    for k in range(3):
        h, x = random_hypergraph(9 + k, 7 + 2 * k, seed=k), torch.randn(9 + k, 4)
        expected = layer(x, h)  # degrees are known from here on
        torch.testing.assert_close(compiled(x, h), expected)
    assert counter.frame_count == 2


@pytest.mark.parametrize("name", ["HGCN", "HypergraphConv", "HypergraphAttention"])
def test_a_layer_can_be_exported_for_one_hypergraph(random_hypergraph, name, tmp_path):
    class Fixed(nn.Module):
        def __init__(self, layer, h):
            super().__init__()
            self.layer, self.h = layer, h

        def forward(self, x):
            return self.layer(x, self.h)

    layer, h, x = LAYERS[name](), random_hypergraph(), torch.randn(9, 4)
    expected = layer(x, h)
    torch.export.save(torch.export.export(Fixed(layer, h), (x,)), tmp_path / "layer.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "layer.pt2").module()(x), expected)


@pytest.mark.parametrize("learnable", [False, True], ids=["fixed", "learnable w"])
@pytest.mark.parametrize("name", LAYERS)
def test_autocast_gives_bfloat16_near_to_single_precision(random_hypergraph, name, learnable):
    layer, h, x = LAYERS[name](), random_hypergraph(), torch.randn(9, 4, requires_grad=True)
    w = torch.rand(7).add(0.1).requires_grad_() if learnable else None
    leaves = [x, *layer.parameters(), *([w] if learnable else [])]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, h, w)
    assert y.dtype == torch.bfloat16
    expected = layer(x, h, w)
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    for a, b in zip(*(torch.autograd.grad(z.float().sum(), leaves) for z in (y, expected)), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 4), h), r"x must be \[num_nodes, 3\], got shape \[5, 4\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(4, 3), h), r"one row per node, 5 rows, got shape \[4, 2\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 3), torch.zeros(3, 4)), r"tensor of pairs \[2, n\], got \[3, 4\]"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(5, 3), [[0], [0]]), "got list"),
        (lambda h: HGCNConv(3, 2)(torch.zeros(2, 3), torch.tensor([[2], [0]])), r"node ids must be in \[0, 2\)"),
        (lambda h: HGCNConv(0, 2), "widths must be at least 1, got 0 and 2"),
        (lambda h: HGCNConv(3, 2, norm="left"), """"sym" or "row", got 'left'"""),
        (lambda h: HypergraphConv(-1, 2), "widths must be at least 1, got -1 and 2"),
        (lambda h: HypergraphConv(3, 2, attention_mode="both"), """"node" or "edge", got 'both'"""),
        (lambda h: HypergraphAttention(3, 2, heads=0), "heads must be at least 1, got 0"),
        (lambda h: HypergraphAttention(3, 2)(torch.zeros(5, 4), h), r"x must be \[num_nodes, 3\]"),
        (lambda h: HypergraphAttention(3, 2)(torch.zeros(4, 3), h), "one row per node, 5 rows"),
        (
            lambda h: HypergraphAttention(3, 2)(torch.zeros(5, 3), h, None, torch.zeros(4, 2)),
            r"hyperedge_attr must be \[num_hyperedges, 3\], got shape \[4, 2\]",
        ),
        (
            lambda h: HypergraphAttention(3, 2)(torch.zeros(5, 3), h, None, torch.zeros(3, 3)),
            "has 4 hyperedges, not 3",
        ),
        (lambda h: HypergraphAttention(3, 2)(torch.zeros(5, 3), h, torch.ones(3)), r"one entry per hyperedge, \[4\]"),
        (lambda h: HGCN(3, -1), "depth must not be negative, got -1"),
        (lambda h: HGCN(3, 1, isolated="drop"), "got 'drop'"),
    ],
)
def test_errors_say_what_was_found(five, call, message):
    with pytest.raises(ValueError, match=message):
        call(five)


def test_new_hypergraphs_share_a_compiled_layer(random_hypergraph):
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(HGCNConv(4, 3), backend=counter, fullgraph=True)
    for k in range(5):
        compiled(torch.randn(9 + k, 4), random_hypergraph(9 + k, 7 + 2 * k, seed=k))
    assert counter.frame_count == 2


@pytest.mark.parametrize("layer", [HGCN(4, 2), HypergraphAttention(4, 3)])
def test_what_inference_or_export_computes_first_does_not_spoil_training(random_hypergraph, layer):
    class Fixed(nn.Module):
        def __init__(self, h):
            super().__init__()
            self.layer, self.h = layer, h

        def forward(self, x):
            return self.layer(x, self.h)

    x, expected = torch.randn(9, 4), None
    for first in ("nothing", "inference", "export"):
        h = random_hypergraph()
        if first == "inference":
            with torch.inference_mode():
                layer(x, h)
        if first == "export":
            torch.export.export(Fixed(h), (x,))
        y = layer(x, h)
        y.sum().backward()
        assert expected is None or torch.equal(y, expected)
        expected = y.detach()


def test_lazy_widths_are_refused_in_words():
    for make in (HGCNConv, HypergraphAttention, HypergraphConv):
        with pytest.raises(ValueError, match=r"got -1 and 4; widths are not found out from x \(-1 in torch"):
            make(-1, 4)
