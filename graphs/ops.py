"""The products with H and their gradients, written once above the kernels.

The gradient of a product with H is a product with H^T. D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 is symmetric, so its gradient
is a product with itself. Autograd therefore never differentiates a sparse product, and no [nodes, nodes] matrix is
made. For learnable values of incidences, `weighed` and `sddmm` are each other's gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from graphs.incidence import Incidence, Norm, inverse
from graphs.kernels import CSR, INT32_LIMIT, cpu, native, reference

LARGE = 2**20  # from this many products of numbers on, a call into compiled code is faster


_asked: list[ModuleType] = []  # what `use_kernels` has asked for, the innermost last


def kernels_for(x: Tensor, incidences: int = 0) -> ModuleType:
    """Choose the kernels that multiply x with a matrix of this many incidences: the one place of this choice.

    On CUDA these are the Triton kernels, or `reference` where Triton is not installed.

    >>> kernels_for(torch.zeros(5, 2), incidences=6).__name__
    'graphs.kernels.cpu'
    """
    if _asked:
        return _asked[-1]
    if x.device.type == "cuda" and _has_triton():
        from graphs.kernels import gpu

        return gpu
    if x.device.type != "cpu":
        return reference
    if x.dtype in native.DTYPES and incidences * x.shape[1] >= LARGE and incidences < INT32_LIMIT and native.ready():
        return native
    return cpu


@contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Use these kernels for every product inside the block, wherever the tensors are.

    Args:
        name: "reference", "cpu", "native" or "gpu", a module of `graphs.kernels`.

    >>> with use_kernels("reference"):
    ...     kernels_for(torch.zeros(5, 2)).__name__
    'graphs.kernels.reference'
    """
    _asked.append(import_module(f"graphs.kernels.{name}"))
    try:
        yield
    finally:
        _asked.pop()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def product(h: Incidence, x: Tensor, transposed: bool = False) -> Tensor:
    """Return H x: every node sums the rows of its hyperedges, weighted by the values of the incidences.

    Args:
        h: the incidence matrix H, [nodes, hyperedges].
        x: [num_hyperedges, ...], floating point.
        transposed: return H^T x instead, from x [num_nodes, ...]. This is `h.T @ x` without making the dual;
            torch.compile would take the dual's numbers of nodes and hyperedges as constants.

    Returns:
        [num_nodes, ...], or [num_hyperedges, ...] if transposed, differentiable in x any number of times; zeros for a
        node without hyperedges.

    Raises:
        ValueError: x has other rows, another device, or is not floating point.

    >>> product(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]), torch.tensor([1.0, 10.0]))
    tensor([ 1., 11.])
    """
    _check_rows(h, x, transposed)
    matrices = (*h.by_hyperedge, *h.by_node) if transposed else (*h.by_node, *h.by_hyperedge)
    y = _product(x.reshape(len(x), _width(x)), *matrices)
    return y.reshape(len(y), *x.shape[1:])


def propagate(
    h: Incidence,
    x: Tensor,
    hyperedge_weight: Tensor | None = None,
    norm: Norm = "sym",
    value: Tensor | None = None,
) -> Tensor:
    """Go from nodes to hyperedges and back: D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 x, Eq. 5 of HyperCTR without Theta.

    D_v(v) = sum_e w_e h(v, e) and D_e(e) = sum_v h(v, e); a degree of zero counts as 0^-1/2 = 0^-1 = 0.

    Args:
        h: hypergraph; its own weights are W unless `hyperedge_weight` is given.
        x: [num_nodes, ...], floating point.
        hyperedge_weight: replaces h's weights, [num_hyperedges], not negative. It gets its gradient, also through the
            degrees.
        norm: "sym" as above, "row" for D_v^-1 H W D_e^-1 H^T x, whose rows sum to one.
        value: replaces h's values h(v, e), [num_incidences] in the order of `h.hyperedge_index`, not negative. It gets
            its gradient, also through degrees and sizes.

    Returns:
        [num_nodes, ...]; zeros for a node of degree zero.

    Raises:
        ValueError: x, hyperedge_weight or value has the wrong length, device or dtype; a weight or value that is not
            finite or negative; an unknown norm.

    >>> propagate(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]), torch.tensor([2.0, 6.0]), norm="row")
    tensor([4., 5.])
    """
    return propagator(h, hyperedge_weight, norm, value)(x)


def propagator(
    h: Incidence, hyperedge_weight: Tensor | None = None, norm: Norm = "sym", value: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """Return the function x -> propagate(h, x, ...), for several layers over one hypergraph: degrees are computed once.

    Args:
        h, hyperedge_weight, norm, value: as in `propagate`.

    Raises:
        ValueError: as `propagate`, those of x when the function is called.

    >>> propagator(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]), norm="row")(torch.tensor([2.0, 6.0]))
    tensor([4., 5.])
    """
    if norm not in ("sym", "row"):
        raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
    for name, given in (("hyperedge_weight", hyperedge_weight), ("value", value)):
        _check_not_negative(name, given)
    constant = hyperedge_weight is None and value is None
    found: dict[torch.dtype, tuple[Tensor | None, Tensor, Tensor | None]] = {}

    def apply(x: Tensor) -> Tensor:
        _check(h, x, h.num_nodes, "node")
        flat, dtype = x.reshape(len(x), _width(x)), torch.promote_types(x.dtype, torch.float32)
        if dtype not in found:
            of = h, hyperedge_weight, norm
            found[dtype] = scales(*of, dtype) if value is None else _value_scales(*of, value, dtype)
        left, middle, right = found[dtype]
        if constant:
            return _propagate(flat, *h.by_node, *h.by_hyperedge, left, middle, right).reshape(x.shape)
        y = flat.to(dtype)
        if right is not None:
            y = right[:, None] * y
        y = product(h, y, True) if value is None else weighed(h, y, value, True)
        y = middle[:, None] * y  # W D_e^-1 H^T ..., [hyperedges, dim]
        y = product(h, y) if value is None else weighed(h, y, value)
        return (left[:, None] * y).to(x.dtype).reshape(x.shape)

    return apply


def _value_scales(
    h: Incidence, hyperedge_weight: Tensor | None, norm: Norm, value: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return `scales` with given values of the incidences."""
    w = h.hyperedge_weight if hyperedge_weight is None else hyperedge_weight
    w = value.new_ones(h.num_hyperedges, dtype=dtype) if w is None else w.to(dtype)
    size = weighed(h, value.new_ones(h.num_nodes, dtype=dtype), value, transposed=True)
    left = inverse(weighed(h, w, value), 0.5 if norm == "sym" else 1.0)
    return left, w * inverse(size, 1.0), left if norm == "sym" else None


def weighed(h: Incidence, x: Tensor, value: Tensor, transposed: bool = False) -> Tensor:
    """Return H(value) x, where learnable values of the incidences replace h's own.

    Args:
        h: hypergraph; its weights and values are not read.
        x: [num_hyperedges, ...], floating point.
        value: [num_incidences] in the order of `h.hyperedge_index`: the members of hyperedge 0, then of 1, ...
        transposed: return H(value)^T x instead, from x [num_nodes, ...]; the order of `value` is the same.

    Returns:
        [num_nodes, ...], or [num_hyperedges, ...] if transposed; differentiable in x and value any number of times.
        No [incidences, dim] matrix is made, also not for the gradients.

    Raises:
        ValueError: x or value has the wrong length, device or dtype.

    >>> h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])
    >>> weighed(h, x=torch.tensor([1.0, 10.0]), value=torch.tensor([2.0, 3.0, 4.0]))
    tensor([ 2., 43.])
    """
    _check_rows(h, x, transposed)
    _check_values(h, value)
    to_hyperedges, to_nodes = (*h.by_hyperedge[:2], None), (*h.by_node[:2], h.order)
    matrices = (*to_hyperedges, *to_nodes) if transposed else (*to_nodes, *to_hyperedges)
    value = value.to(torch.promote_types(x.dtype, torch.float32))
    y = _weighed(x.reshape(len(x), _width(x)), value, *matrices)
    return y.reshape(len(y), *x.shape[1:])


def sddmm(h: Incidence, a: Tensor, b: Tensor) -> Tensor:
    """Return the dot product of a_v and b_e for each incidence (v, e): a b^T where H is not zero.

    Args:
        h: hypergraph; its weights and values are not read.
        a: [num_nodes, dim], floating point.
        b: [num_hyperedges, dim], of the same dtype.

    Returns:
        [num_incidences] in the order of `h.hyperedge_index`, float32 or, of float64, float64; differentiable any number
        of times.

    Raises:
        ValueError: a or b has the wrong length, device or dtype, or their widths differ.

    >>> h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])
    >>> sddmm(h, a=torch.tensor([[2.0], [3.0]]), b=torch.tensor([[1.0], [5.0]]))
    tensor([ 2.,  3., 15.])
    """
    _check(h, a, h.num_nodes, "node")
    _check(h, b, h.num_hyperedges, "hyperedge")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or a.dtype != b.dtype:
        raise ValueError(
            f"a and b must be [nodes, dim] and [hyperedges, dim] of one dtype, got {list(a.shape)} {a.dtype} and "
            f"{list(b.shape)} {b.dtype}"
        )
    return _sddmm(b, a, *h.by_hyperedge[:2], *h.by_node[:2], h.order)


def scales(
    h: Incidence, hyperedge_weight: Tensor | None, norm: Norm, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return `h.scales` with a given weight instead of h's own: nodes, hyperedges (W D_e^-1), nodes; None means ones.

    >>> scales(Hypergraph.from_pairs([0, 1], [0, 0]), torch.tensor([4.0]), "row", torch.float32)
    (tensor([0.2500, 0.2500]), tensor([2.]), None)
    """
    if hyperedge_weight is None:
        return h.scales(norm, dtype)
    if hyperedge_weight.shape != (h.num_hyperedges,):
        raise ValueError(
            f"hyperedge_weight must have one entry per hyperedge, [{h.num_hyperedges}], "
            f"got {list(hyperedge_weight.shape)}"
        )
    _check(h, hyperedge_weight, h.num_hyperedges, "hyperedge")
    w = hyperedge_weight.to(dtype)
    left = inverse(product(h, w), 0.5 if norm == "sym" else 1.0)  # of D_v, [nodes]
    return left, w * h.inverse_size.to(dtype), left if norm == "sym" else None


# The products as operators of torch, so that torch.compile and torch.export see one call each. A matrix and its
# transpose are spelt out as (indptr, indices, value): operators take tensors, not tuples of them. The decorator
# torch.library.custom_op would do the same, but its first call imports the compiler, which takes a second.

_library = torch.library.Library("graphs", "DEF")


def _operator(
    name: str, schema: str, now: Callable, fake: Callable, backward: Callable, saved_from: int = 1
) -> Callable:
    """Register a function of tensors: its schema, how to compute it, the shape of its result and its gradient.

    The gradient finds the arguments from number `saved_from` on in `ctx.saved_tensors`.
    """

    def save(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[saved_from:])

    _library.define(name + schema)
    _library.impl(name, now, "CompositeExplicitAutograd")
    torch.library.register_fake(f"graphs::{name}", fake, lib=_library)
    torch.library.register_autograd(f"graphs::{name}", backward, setup_context=save, lib=_library)
    return getattr(torch.ops.graphs, name).default


def _product_now(
    x: Tensor,
    indptr: Tensor,
    indices: Tensor,
    value: Tensor | None,
    indptr_t: Tensor,
    indices_t: Tensor,
    value_t: Tensor | None,
) -> Tensor:
    """Compute y = M x; the gradient is M^T g."""
    matrix = CSR(indptr, indices, value)
    return kernels_for(x, len(indices)).spmm(matrix, x)


def _product_backward(ctx, gradient: Tensor):
    indptr, indices, value, *transposed = ctx.saved_tensors
    return _product(gradient, *transposed, indptr, indices, value), *[None] * 6


_product = _operator(
    "product",
    "(Tensor x, Tensor p, Tensor i, Tensor? v, Tensor p_t, Tensor i_t, Tensor? v_t) -> Tensor",
    _product_now,
    lambda x, indptr, *_: x.new_empty(indptr.shape[0] - 1, x.shape[1]),
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
    """Compute y = left * H (middle * H^T (right * x)) with constant scales; the gradient exchanges left and right."""
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
    lambda x, *_: x.new_empty(x.shape),
    _propagate_backward,
)


def _weighed_now(
    x: Tensor,
    value: Tensor,
    indptr: Tensor,
    indices: Tensor,
    order: Tensor | None,
    indptr_t: Tensor,
    indices_t: Tensor,
    order_t: Tensor | None,
) -> Tensor:
    """Compute y = M(value) x. M has values value[order], M^T has value[order_t]; one of the two orders is None."""
    matrix = CSR(indptr, indices, value if order is None else value[order])
    return kernels_for(x, len(indices)).spmm(matrix, x)


def _weighed_backward(ctx, gradient: Tensor):
    x, value, indptr, indices, order, indptr_t, indices_t, order_t = ctx.saved_tensors
    of_x = of_value = None
    if ctx.needs_input_grad[0]:
        of_x = _weighed(gradient, value, indptr_t, indices_t, order_t, indptr, indices, order)
    if ctx.needs_input_grad[1] and order is None:
        of_value = _sddmm(gradient, x, indptr, indices, indptr_t, indices_t, order_t)
    elif ctx.needs_input_grad[1]:
        of_value = _sddmm(x, gradient, indptr_t, indices_t, indptr, indices, order)
    return of_x, of_value, *[None] * 6


_weighed = _operator(
    "weighed",
    "(Tensor x, Tensor v, Tensor p, Tensor i, Tensor? o, Tensor p_t, Tensor i_t, Tensor? o_t) -> Tensor",
    _weighed_now,
    lambda x, value, indptr, *_: x.new_empty(indptr.shape[0] - 1, x.shape[1]),
    _weighed_backward,
    saved_from=0,
)


def _sddmm_now(
    a: Tensor, b: Tensor, indptr: Tensor, indices: Tensor, indptr_t: Tensor, indices_t: Tensor, order_t: Tensor
) -> Tensor:
    """Compute s_k = a_r . b_{indices_k} for each incidence k of each row r."""
    return kernels_for(a, len(indices)).sddmm(CSR(indptr, indices, None), a, b)


def _sddmm_backward(ctx, gradient: Tensor):
    a, b, indptr, indices, indptr_t, indices_t, order_t = ctx.saved_tensors
    of_a = of_b = None
    if ctx.needs_input_grad[0]:
        of_a = _weighed(b, gradient, indptr, indices, None, indptr_t, indices_t, order_t)
    if ctx.needs_input_grad[1]:
        of_b = _weighed(a, gradient, indptr_t, indices_t, order_t, indptr, indices, None)
    return of_a, of_b, *[None] * 5


_sddmm = _operator(
    "sddmm",
    "(Tensor a, Tensor b, Tensor p, Tensor i, Tensor p_t, Tensor i_t, Tensor o_t) -> Tensor",
    _sddmm_now,
    lambda a, b, indptr, indices, *_: a.new_empty(indices.shape[0], dtype=torch.promote_types(a.dtype, torch.float32)),
    _sddmm_backward,
    saved_from=0,
)


def _check_not_negative(name: str, given: Tensor | None) -> None:
    """Refuse numbers whose degrees have no square root; while torch.compile traces, nothing is looked at."""
    if given is None or torch.compiler.is_compiling() or given.is_meta:
        return
    found = given.detach()
    if not found.is_cpu:  # said by the device, as the host does not wait for it
        torch._assert_async(((found >= 0) & (found < torch.inf)).all(), f"{name} must be finite and not negative")
        return
    if not ((found >= 0) & (found < torch.inf)).all():
        odd = found[~((found >= 0) & (found < torch.inf))].flatten()[0].item()
        raise ValueError(f"{name} must be finite and not negative, got {odd:g}")


def _width(x: Tensor) -> int:
    return x.shape[1:].numel()


def _check_rows(h: Incidence, x: Tensor, transposed: bool) -> None:
    rows, row = (h.num_nodes, "node") if transposed else (h.num_hyperedges, "hyperedge")
    _check(h, x, rows, row)


def _check(h: Incidence, x: Tensor, rows: int, row: str) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        found = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"a product needs a floating-point tensor, got {found}")
    if x.dim() == 0 or len(x) != rows:
        raise ValueError(f"a product with {h} needs one row per {row}, {rows} rows, got shape {list(x.shape)}")
    if x.device != h.device:
        raise ValueError(f"the hypergraph is on {h.device} and x on {x.device}: move one with .to(device)")


def _check_values(h: Incidence, value: Tensor) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != (h.num_incidences,):
        found = f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"value must be floating point, one entry per incidence, [{h.num_incidences}], got {found}")
    if value.device != h.device:
        raise ValueError(f"the hypergraph is on {h.device} and value on {value.device}: move one with .to(device)")
