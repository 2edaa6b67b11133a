"""The definition in plain torch: gather, multiply, index_add. Slow, and correct on every device."""

import torch
from torch import Tensor

from graphs.kernels import CSR


def spmm(csr: CSR, x: Tensor) -> Tensor:
    """Sum, for each row of the matrix, the rows of x at its columns: [columns, dim] -> [rows, dim].

    float16 and bfloat16 accumulate in float32. A row without incidences gives zeros.
    """
    num_rows = len(csr.indptr) - 1
    row = _rows(csr)
    message = x[csr.indices].to(torch.promote_types(x.dtype, torch.float32))  # [incidences, dim]
    if csr.value is not None:
        message = message * csr.value.to(message.dtype)[:, None]
    return message.new_zeros(num_rows, x.shape[1]).index_add(0, row, message).to(x.dtype)


def propagate(
    by_node: CSR, by_hyperedge: CSR, left: Tensor | None, middle: Tensor, right: Tensor | None, x: Tensor
) -> Tensor:
    """Compute left * H (middle * H^T (right * x)); None means ones: [nodes, dim] -> [nodes, dim].

    `left` and `right` are [nodes], `middle` is [hyperedges]; float16 and bfloat16 are computed in float32.
    """
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    if right is not None:
        y = right[:, None] * y
    y = middle[:, None] * spmm(by_hyperedge, y)  # [hyperedges, dim]
    y = spmm(by_node, y)
    if left is not None:
        y = left[:, None] * y
    return y.to(x.dtype)


def sddmm(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    """Compute the dot product of a_r and b_{indices_k} for each incidence k of each row r: [incidences], float32.

    `a` is [rows, dim] and `b` [columns, dim]; float64 gives float64. The values of the matrix are not read.
    """
    row = _rows(csr)
    dtype = torch.promote_types(a.dtype, torch.float32)
    return (a[row].to(dtype) * b[csr.indices].to(dtype)).sum(1)


def _rows(csr: CSR) -> Tensor:
    """Return the row of each incidence, [incidences]."""
    row = torch.arange(len(csr.indptr) - 1, device=csr.indptr.device)
    return torch.repeat_interleave(row, csr.indptr.diff(), output_size=len(csr.indices))
