"""The products with H and their gradients, written once above the kernels.

The gradient of a product is a product with the other half of the incidence matrix, and D_v^-1/2 H W D_e^-1 H^T D_v^-1/2
is symmetric, so nothing here asks autograd to differentiate a sparse product, and no [nodes, nodes] matrix exists.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from graphs.kernels import CSR, INT32_LIMIT, cpu, native, reference

if TYPE_CHECKING:
    from graphs.hypergraph import Hypergraph

Norm = Literal["sym", "row"]
LARGE = 2**20  # products of so many numbers repay a call into compiled code


def kernels_for(x: Tensor, incidences: int) -> ModuleType:
    """The kernels that multiply x with a matrix of so many incidences: THE one place that chooses."""
    if x.device.type == "cuda" and x.dtype != torch.float64:
        from graphs.kernels import gpu

        return gpu
    if x.device.type != "cpu":
        return reference
    if x.dtype in native.DTYPES and incidences * x.shape[1] >= LARGE and incidences < INT32_LIMIT and native.ready():
        return native
    return cpu


def product(h: Hypergraph, x: Tensor) -> Tensor:
    """H x: every node sums the rows of its hyperedges, weighted by the values of the incidences.

    Args:
        h: the incidence matrix H, [nodes, hyperedges]; pass `h.T` for H^T.
        x: [num_hyperedges, ...], floating point.

    Returns:
        [num_nodes, ...], differentiable in x any number of times; zeros for a node without hyperedges.

    Raises:
        ValueError: x has other rows, another device, or is not floating point.
    """
    _check(h, x, h.num_hyperedges, "hyperedge")
    y = _product(x.reshape(len(x), _width(x)), *h.by_node, *h.by_hyperedge)
    return y.reshape(h.num_nodes, *x.shape[1:])


def propagate(h: Hypergraph, x: Tensor, hyperedge_weight: Tensor | None = None, norm: Norm = "sym") -> Tensor:
    """One step from nodes to hyperedges and back: D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 x, Eq. 5 without Theta.

    D_v(v) = sum_e w_e h(v, e) and D_e(e) = sum_v h(v, e); a degree of zero counts as 0^-1/2 = 0^-1 = 0.

    Args:
        h: hypergraph; its own weights are W unless `hyperedge_weight` is given.
        x: [num_nodes, ...], floating point.
        hyperedge_weight: takes the place of h's weights, [num_hyperedges], not negative. It gets its gradient, the
            path through the degrees included.
        norm: "sym" as above, "row" for D_v^-1 H W D_e^-1 H^T x, whose rows sum to one.

    Returns:
        [num_nodes, ...]; zeros for a node of degree zero.

    Raises:
        ValueError: x or hyperedge_weight has the wrong length, device or dtype; an unknown norm.
    """
    if norm not in ("sym", "row"):
        raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
    _check(h, x, h.num_nodes, "node")
    flat = x.reshape(len(x), _width(x))
    if hyperedge_weight is not None:
        return _propagate_weighted(h, flat, hyperedge_weight, norm).reshape(x.shape)
    left, middle, right = h.scales(norm, torch.promote_types(x.dtype, torch.float32))
    return _propagate(flat, *h.by_node, *h.by_hyperedge, left, middle, right).reshape(x.shape)


def inverse(x: Tensor, power: float) -> Tensor:
    """x^-power with 0^-power = 0, and a gradient of zero there instead of NaN."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).pow(-power), 0)


# The two products as operators of their own, so that torch.compile and torch.export see one call each. A matrix and its
# transpose are spelt out as (indptr, indices, value): operators take tensors, not tuples of them. The decorator
# torch.library.custom_op would do the same, and import a second's worth of compiler at the first call.

_library = torch.library.Library("graphs", "DEF")


def _operator(name: str, schema: str, now: Callable, fake: Callable, backward: Callable) -> Callable:
    """Register a function of tensors: its schema, how to compute it, the shape of its result and its gradient."""
    _library.define(name + schema)
    _library.impl(name, now, "CompositeExplicitAutograd")
    torch.library.register_fake(f"graphs::{name}", fake, lib=_library)
    torch.library.register_autograd(f"graphs::{name}", backward, setup_context=_save_matrix, lib=_library)
    return getattr(torch.ops.graphs, name).default


def _save_matrix(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[1:])


def _product_now(
    x: Tensor,
    indptr: Tensor,
    indices: Tensor,
    value: Tensor | None,
    indptr_t: Tensor,
    indices_t: Tensor,
    value_t: Tensor | None,
) -> Tensor:
    """y = M x; the gradient is M^T g."""
    matrix = CSR(indptr, indices, value)
    return kernels_for(x, len(indices)).spmm(matrix, x)


def _product_backward(ctx, gradient: Tensor):
    indptr, indices, value, *transposed = ctx.saved_tensors
    return _product(gradient, *transposed, indptr, indices, value), *[None] * 6


_product = _operator(
    "product",
    "(Tensor x, Tensor p, Tensor i, Tensor? v, Tensor p_t, Tensor i_t, Tensor? v_t) -> Tensor",
    _product_now,
    lambda x, indptr, *_: x.new_empty(len(indptr) - 1, x.shape[1]),
    _product_backward,
)


def _propagate_now(
    x: Tensor,
    node_indptr: Tensor,
    node_indices: Tensor,
    node_value: Tensor | None,
    edge_indptr: Tensor,
    edge_indices: Tensor,
    edge_value: Tensor | None,
    left: Tensor | None,
    middle: Tensor,
    right: Tensor | None,
) -> Tensor:
    """y = left * H (middle * H^T (right * x)) with constant scales; its own gradient, left and right exchanged."""
    by_node, by_hyperedge = CSR(node_indptr, node_indices, node_value), CSR(edge_indptr, edge_indices, edge_value)
    return kernels_for(x, len(node_indices)).propagate(by_node, by_hyperedge, left, middle, right, x)


def _propagate_backward(ctx, gradient: Tensor):
    *matrices, left, middle, right = ctx.saved_tensors
    return _propagate(gradient, *matrices, right, middle, left), *[None] * 9


_propagate = _operator(
    "propagate",
    "(Tensor x, Tensor p, Tensor i, Tensor? v, Tensor p_t, Tensor i_t, Tensor? v_t, "
    "Tensor? left, Tensor middle, Tensor? right) -> Tensor",
    _propagate_now,
    lambda x, *_: torch.empty_like(x),
    _propagate_backward,
)


def _propagate_weighted(h: Hypergraph, x: Tensor, weight: Tensor, norm: Norm) -> Tensor:
    if weight.shape != (h.num_hyperedges,):
        raise ValueError(
            f"hyperedge_weight must have one entry a hyperedge, [{h.num_hyperedges}], got {list(weight.shape)}"
        )
    _check(h, weight, h.num_hyperedges, "hyperedge")
    dtype = torch.promote_types(x.dtype, torch.float32)
    y, w = x.to(dtype), weight.to(dtype)
    degree = product(h, w)  # D_v, [nodes]
    scale = inverse(degree, 0.5 if norm == "sym" else 1.0)[:, None]
    if norm == "sym":
        y = scale * y
    y = (w * h.inverse_size.to(dtype))[:, None] * product(h.T, y)  # W D_e^-1 H^T ..., [hyperedges, dim]
    return (scale * product(h, y)).to(x.dtype)


def _width(x: Tensor) -> int:
    return x.shape[1:].numel()


def _check(h: Hypergraph, x: Tensor, rows: int, row: str) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"a product needs a floating-point tensor, got {found}")
    if x.dim() == 0 or len(x) != rows:
        raise ValueError(f"a product with {h} needs one row a {row}, {rows} rows, got shape {list(x.shape)}")
    if x.device != h.device:
        raise ValueError(f"the hypergraph is on {h.device} and x on {x.device}: move one with .to(device)")
