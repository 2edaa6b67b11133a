"""Products and their gradients: numbers by hand, dense matrices, finite differences."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from graphs import Hypergraph, ops
from graphs.kernels import cpu, reference


@pytest.fixture(params=[reference, cpu], ids=["reference", "cpu"])
def kernels(request, monkeypatch):
    monkeypatch.setattr(ops, "kernels_for", lambda x, incidences: request.param)


def test_products_by_hand(five, kernels):
    """H sums hyperedges into nodes, H^T nodes into hyperedges; the weights of hyperedges are not in H."""
    assert (five @ torch.tensor([1.0, 10.0, 100.0, 1000.0])).tolist() == [1, 1, 11, 110, 0]
    assert (five.T @ torch.tensor([1.0, 10.0, 100.0, 1000.0, 1e4])).tolist() == [111, 1100, 1000, 0]


def test_row_form_by_hand(five, kernels):
    """Means over hyperedges 6, 5, 1; node 2 takes (1 * 6 + 2 * 5) / 3, node 3 takes (2 * 5 + 0.5 * 1) / 2.5."""
    y = five.propagate(torch.tensor([3.0, 6, 9, 1, 100]), norm="row")
    torch.testing.assert_close(y, torch.tensor([6, 6, 16 / 3, 4.2, 0]))


def test_symmetric_form_by_hand(five, kernels):
    """x = D_v^1/2 1 is kept by A: degrees 1, 1, 3, 2.5, 0; and node 3 sees node 2 through e1: 2 / 2 / sqrt(2.5 * 3)."""
    x = torch.tensor([1, 1, 3, 2.5, 0]).sqrt()
    torch.testing.assert_close(five.propagate(x), x)
    only_node_2 = torch.tensor([0, 0, 1.0, 0, 0])
    torch.testing.assert_close(five.propagate(only_node_2)[3], torch.tensor(1 / 7.5**0.5))


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("valued", [False, True])
def test_propagate_equals_dense_equation_5(random_hypergraph, operator, norm, valued, kernels):
    for num_nodes, num_hyperedges in ((9, 7), (3, 12), (12, 3), (1, 1), (2, 2)):
        h = random_hypergraph(num_nodes, num_hyperedges, valued=valued)
        A, x = operator(h, norm=norm), torch.randn(num_nodes, 5, dtype=torch.float64)
        torch.testing.assert_close(h.propagate(x, norm=norm), A @ x, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            h.propagate(x.float(), norm=norm), (A @ x).float(), rtol=1e-5, atol=1e-5, check_dtype=True
        )


@pytest.mark.parametrize("norm", ["sym", "row"])
def test_a_given_weight_takes_the_place_of_the_stored_one(random_hypergraph, operator, norm, kernels):
    h = random_hypergraph(valued=True)
    w = torch.rand(h.num_hyperedges, dtype=torch.float64)
    x = torch.randn(h.num_nodes, 4, dtype=torch.float64)
    expected = operator(h, w, norm) @ x
    torch.testing.assert_close(h.propagate(x, w, norm), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(h.propagate(x, h.hyperedge_weight, norm), h.propagate(x, norm=norm))


@pytest.mark.parametrize("norm", ["sym", "row"])
def test_given_values_take_the_place_of_the_stored_ones(random_hypergraph, operator, norm, kernels):
    """Degrees and sizes are those of the given values; a node or hyperedge whose values are all zero is left out."""
    h, w = random_hypergraph(valued=True), torch.rand(7, dtype=torch.float64)
    x = torch.randn(h.num_nodes, 4, dtype=torch.float64)
    nodes, hyperedges = h.hyperedge_index
    for value in (torch.rand(h.num_incidences), (nodes != 0).float(), (hyperedges != 0).float()):
        weight = w[: h.num_hyperedges]
        other = Hypergraph.from_pairs(nodes, hyperedges, h.num_nodes, h.num_hyperedges, weight=value)
        for given in (None, weight):
            used = h.hyperedge_weight if given is None else given
            expected = operator(other, used, norm) @ x
            torch.testing.assert_close(h.propagate(x, given, norm, value.double()), expected, rtol=1e-6, atol=1e-6)
    own = h.by_hyperedge.value.double()
    torch.testing.assert_close(h.propagate(x, norm=norm, value=own), h.propagate(x, norm=norm), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("given", ["nothing", "hyperedge_weight", "value"])
def test_a_propagator_serves_several_layers_and_computes_degrees_once(random_hypergraph, given, kernels, monkeypatch):
    h = random_hypergraph(valued=True)
    many = {"hyperedge_weight": h.num_hyperedges, "value": h.num_incidences}
    learned = {given: torch.rand(many[given], dtype=torch.float64)} if given in many else {}
    x = torch.randn(h.num_nodes, 2, 3, dtype=torch.float64)
    once, twice = h.propagate(x, **learned), h.propagate(h.propagate(x, **learned), **learned)
    counted, inverse = [], ops.inverse
    monkeypatch.setattr(ops, "inverse", lambda *args: counted.append(1) or inverse(*args))
    spread = ops.propagator(h, **learned)
    assert spread(x).equal(once) and spread(spread(x)).equal(twice)
    assert len(counted) == {"nothing": 0, "hyperedge_weight": 1, "value": 2}[given]
    assert spread(x.float()).dtype == torch.float32  # another precision has scales of its own


@pytest.mark.parametrize("norm", ["sym", "row"])
def test_gradients_of_given_values_equal_finite_differences(random_hypergraph, norm, kernels):
    h = random_hypergraph(6, 5, valued=True)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    value = torch.rand(h.num_incidences, dtype=torch.float64).add(0.1).requires_grad_()
    assert gradcheck(lambda x, value: h.propagate(x, norm=norm, value=value), (x, value))


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("learnable", [False, True])
def test_gradients_and_second_gradients_equal_finite_differences(random_hypergraph, norm, learnable, kernels):
    h = random_hypergraph(6, 5, valued=True)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    w = torch.rand(5, dtype=torch.float64).add(0.1).requires_grad_() if learnable else None
    inputs = (x, w) if learnable else (x,)

    def through(*inputs):
        return h.propagate(inputs[0], *inputs[1:], norm=norm)

    assert gradcheck(through, inputs)
    assert gradgradcheck(through, inputs)
    assert gradgradcheck(lambda *inputs: through(*inputs).pow(3), inputs)


def test_gradients_of_products_equal_finite_differences(random_hypergraph, kernels):
    h = random_hypergraph(6, 4, valued=True)
    y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda y: h @ y, (y,)) and gradgradcheck(lambda y: (h @ y).pow(2), (y,))
    assert gradcheck(lambda x: h.T @ x, (x,)) and gradgradcheck(lambda x: (h.T @ x).pow(2), (x,))


def test_gradient_of_a_weight_equals_the_formula_of_the_specification(random_hypergraph, dense, kernels):
    """dL/dw_e = <T_e, S'_e> / D_e(e) + sum_v h(v, e) (-1/2) r_v^3 g_v."""
    h = random_hypergraph(8, 6, valued=True)
    H, n = dense(h), h.num_nodes
    w = torch.rand(6, dtype=torch.float64).add(0.1).requires_grad_()
    X, G = torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(h.propagate(X, w), w, G)

    Dv, De = H @ w.detach(), H.sum(0)
    r = torch.tensor([d**-0.5 if d > 0 else 0.0 for d in Dv.tolist()], dtype=torch.float64)[:, None]
    for e in range(h.num_hyperedges):
        if De[e] == 0:
            assert gradient[e] == 0
            continue
        S, T = H.T @ (r * X), H.T @ (r * G)
        a = torch.where(De > 0, w.detach() / De, 0)[:, None]
        g = (G * (H @ (a * S))).sum(1) + (X * (H @ (a * T))).sum(1)
        expected = (T[e] * S[e]).sum() / De[e] + (H[:, e] * -0.5 * r[:, 0] ** 3 * g).sum()
        torch.testing.assert_close(gradient[e], expected, rtol=1e-10, atol=1e-10)


def test_gradients_are_finite_where_nothing_is_connected(kernels):
    h = Hypergraph.from_pairs([], [], 3, 2)
    x, w = torch.randn(3, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    h.propagate(x, w).sum().backward()
    assert x.grad.tolist() == [[0, 0]] * 3 and w.grad.tolist() == [0, 0]


def test_a_weight_of_zero_counts_as_no_hyperedge(kernels):
    h = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1], 3, 2, hyperedge_weight=[1, 0])
    x, w = torch.tensor([2.0, 4.0, 8.0], requires_grad=True), torch.tensor([1.0, 0.0], requires_grad=True)
    torch.testing.assert_close(h.propagate(x), torch.tensor([3.0, 3.0, 0.0]))
    h.propagate(x, w).sum().backward()
    assert x.grad.isfinite().all() and w.grad.isfinite().all()


def test_a_zero_weight_never_scales_by_an_epsilon(kernels):
    h = Hypergraph.from_pairs([0], [0], 2, 2, hyperedge_weight=[1e-12, 1])
    torch.testing.assert_close(h.propagate(torch.tensor([5.0, 7.0])), torch.tensor([5.0, 0.0]))


def test_learnable_values_by_hand(five, kernels):
    """The values 1 to 6 belong to nodes 0, 1, 2 of e0, nodes 2, 3 of e1 and node 3 of e2."""
    value = torch.arange(1.0, 7)
    assert ops.weighed(five, torch.tensor([1.0, 10, 100, 1000]), value).tolist() == [1, 2, 43, 650, 0]
    assert ops.weighed(five, torch.tensor([1.0, 10, 100, 1000, 1e4]), value, transposed=True).tolist() == [
        321,
        5400,
        6000,
        0,
    ]


def test_sddmm_by_hand(five, kernels):
    a, b = torch.tensor([[1.0], [2], [3], [4], [5]]), torch.tensor([[1.0], [10], [100], [1000]])
    assert ops.sddmm(five, a, b).tolist() == [1, 2, 3, 30, 40, 400]


def test_the_order_of_values_is_that_of_the_hyperedge_index(random_hypergraph):
    h = random_hypergraph(12, 8)
    nodes = torch.arange(12).repeat_interleave(h.by_node.indptr.diff())
    assert torch.equal(h.hyperedge_index[:, h.order], torch.stack([nodes, h.by_node.indices.long()]))
    assert h.order is h.order


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_with_learnable_values_equals_the_dense_one(random_hypergraph, dense, kernels, transposed):
    for num_nodes, num_hyperedges in ((9, 7), (3, 12), (12, 3), (1, 1), (2, 2)):
        h = random_hypergraph(num_nodes, num_hyperedges)
        value = torch.randn(h.num_incidences, dtype=torch.float64)
        H = torch.zeros(num_nodes, num_hyperedges, dtype=torch.float64)
        H[tuple(h.hyperedge_index)] = value
        M = H.T if transposed else H
        x = torch.randn(M.shape[1], 2, 3, dtype=torch.float64)
        expected = torch.einsum("uv,vij->uij", M, x)
        torch.testing.assert_close(ops.weighed(h, x, value, transposed), expected)
        single = ops.weighed(h, x.float(), value.float(), transposed)
        torch.testing.assert_close(single, expected.float(), rtol=1e-5, atol=1e-5)
        half = ops.weighed(h, x.bfloat16(), value, transposed)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), expected.float(), rtol=0.03, atol=0.03)
        a, b = x[:, 0] if transposed else M @ x[:, 0], M @ x[:, 0] if transposed else x[:, 0]
        torch.testing.assert_close(ops.sddmm(h, a, b), (a @ b.T)[tuple(h.hyperedge_index)])


def test_values_of_its_own_give_the_product_of_the_hypergraph(random_hypergraph, kernels):
    h, x = random_hypergraph(valued=True), torch.randn(7, 3)
    torch.testing.assert_close(ops.weighed(h, x, h.by_hyperedge.value), h @ x)
    torch.testing.assert_close(ops.product(h, h @ x, transposed=True), h.T @ (h @ x))


def test_learnable_values_have_gradients_of_every_order(random_hypergraph, kernels):
    h = random_hypergraph(6, 5)
    value = torch.randn(h.num_incidences, dtype=torch.float64, requires_grad=True)
    nodes = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    hyperedges = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    for function, inputs in (
        (lambda x, v: ops.weighed(h, x, v), (hyperedges, value)),
        (lambda x, v: ops.weighed(h, x, v, transposed=True), (nodes, value)),
        (lambda a, b: ops.sddmm(h, a, b), (nodes, hyperedges)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(lambda *inputs, function=function: function(*inputs).pow(3), inputs)


def test_a_gradient_of_half_precision_keeps_the_dtype_of_its_argument(random_hypergraph, kernels):
    h = random_hypergraph()
    value = torch.rand(h.num_incidences, requires_grad=True)
    x = torch.rand(7, 3, dtype=torch.bfloat16, requires_grad=True)
    ops.sddmm(h, ops.weighed(h, x, value), x).sum().backward()
    assert (value.grad.dtype, x.grad.dtype) == (torch.float32, torch.bfloat16)


def test_learnable_values_of_no_incidence(kernels):
    h = Hypergraph.from_pairs([], [], 3, 2)
    x, value = torch.randn(2, 4, requires_grad=True), torch.zeros(0, requires_grad=True)
    y = ops.weighed(h, x, value)
    assert y.tolist() == [[0] * 4] * 3 and ops.sddmm(h, y, x).shape == (0,)
    y.sum().backward()
    assert x.grad.tolist() == [[0] * 4] * 2 and value.grad.shape == (0,)


@pytest.mark.parametrize("name", ["product", "propagate", "weighed", "sddmm"])
def test_an_operator_keeps_the_rules_that_torch_compile_relies_on(random_hypergraph, name):
    h = random_hypergraph(6, 5, valued=True)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    value = torch.rand(h.num_incidences, dtype=torch.float64, requires_grad=True)
    arguments = {
        "product": (x, *h.by_hyperedge, *h.by_node),
        "propagate": (x, *h.by_node, *h.by_hyperedge, *h.scales("sym", torch.float64)),
        "weighed": (y, value, *h.by_node[:2], h.order, *h.by_hyperedge[:2], None),
        "sddmm": (y, x, *h.by_hyperedge[:2], *h.by_node[:2], h.order),
    }
    torch.library.opcheck(getattr(torch.ops.graphs, name).default, arguments[name])


def test_trailing_axes_are_kept(random_hypergraph, operator, kernels):
    h = random_hypergraph()
    x = torch.randn(h.num_nodes, 2, 3, dtype=torch.float64)
    expected = torch.einsum("uv,vij->uij", operator(h), x)
    torch.testing.assert_close(h.propagate(x), expected)
    assert h.propagate(x[:, 0, 0]).shape == (h.num_nodes,)
    assert (h.T @ x).shape == (h.num_hyperedges, 2, 3)
    assert h.propagate(x[:, :0]).shape == (h.num_nodes, 0, 3)


def test_half_precision_comes_back_as_it_went_in(random_hypergraph, kernels):
    h = random_hypergraph(20, 12)
    x = torch.randn(20, 4)
    for dtype in (torch.bfloat16, torch.float16):
        for w in (None, h.hyperedge_weight.to(dtype)):
            y = h.propagate(x.to(dtype).requires_grad_(), w)
            assert y.dtype == dtype
            torch.testing.assert_close(y.float(), h.propagate(x), rtol=0.03, atol=0.03)


def test_no_square_matrix_is_formed():
    """200,000 nodes in one hyperedge: [nodes, nodes] would take 160 GB."""
    h = Hypergraph.from_pairs(range(200_000), [0] * 200_000)
    x = torch.ones(200_000, 1, requires_grad=True)
    h.propagate(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: h @ torch.zeros(5, 2), r"one row per hyperedge, 4 rows, got shape \[5, 2\]"),
        (lambda h: h.T @ torch.zeros(4), r"one row per hyperedge, 5 rows"),
        (lambda h: h.propagate(torch.zeros(4, 2)), r"one row per node, 5 rows, got shape \[4, 2\]"),
        (lambda h: h.propagate(torch.tensor(1.0)), r"got shape \[\]"),
        (lambda h: h.propagate(torch.zeros(5, dtype=torch.int64)), "floating-point tensor, got torch.int64"),
        (lambda h: h.propagate([1.0] * 5), "floating-point tensor, got list"),
        (lambda h: h.propagate(torch.zeros(5, device="meta")), "on cpu and x on meta"),
        (lambda h: h.propagate(torch.zeros(5), torch.ones(5)), r"one entry per hyperedge, \[4\], got \[5\]"),
        (lambda h: h.propagate(torch.zeros(5), norm="left"), """"sym" or "row", got 'left'"""),
        (lambda h: ops.weighed(h, torch.zeros(5), torch.zeros(6)), "one row per hyperedge, 4 rows"),
        (lambda h: ops.weighed(h, torch.zeros(4), torch.zeros(6), transposed=True), "one row per node, 5 rows"),
        (lambda h: ops.weighed(h, torch.zeros(4), torch.zeros(5)), r"one entry per incidence, \[6\], got \[5\]"),
        (lambda h: ops.weighed(h, torch.zeros(4), torch.arange(6)), r"floating point, .* got \[6\] torch.int64"),
        (lambda h: ops.weighed(h, torch.zeros(4), [1.0] * 6), "got list"),
        (lambda h: ops.weighed(h, torch.zeros(4), torch.zeros(6, device="meta")), "on cpu and value on meta"),
        (lambda h: ops.sddmm(h, torch.zeros(4, 2), torch.zeros(4, 2)), "one row per node, 5 rows"),
        (lambda h: ops.sddmm(h, torch.zeros(5, 2), torch.zeros(5, 2)), "one row per hyperedge, 4 rows"),
        (lambda h: ops.sddmm(h, torch.zeros(5, 2), torch.zeros(4, 3)), r"one dtype, got \[5, 2\] .* \[4, 3\]"),
        (lambda h: ops.sddmm(h, torch.zeros(5, 2), torch.zeros(4, 2).double()), "float32 and .* torch.float64"),
    ],
)
def test_errors_say_what_was_found(five, call, message):
    with pytest.raises(ValueError, match=message):
        call(five)


@pytest.mark.parametrize("name", ["hyperedge_weight", "value"])
@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_weights_without_a_square_root_are_refused(name, bad):
    h = Hypergraph.from_pairs([0, 1], [0, 1])
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative, got {bad:g}"):
        ops.propagate(h, torch.ones(2, 1), **{name: torch.tensor([bad, 1.0])})
    assert ops.propagate(h, torch.ones(2, 1), **{name: torch.tensor([0.0, 1.0])}).tolist() == [[0], [1]]
