"""The fast CPU path: each product is one call into torch over the CSR, and no message is stored."""

import warnings
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from graphs.kernels import CSR


def spmm(csr: CSR, x: Tensor) -> Tensor:
    """Sum, for each row of the matrix, the rows of x at its columns: [columns, dim] -> [rows, dim].

    float16 and bfloat16 accumulate in float32. A row without incidences gives zeros.
    """
    if csr.indices.numel() == 0 or x.shape[1] == 0:
        return x.new_zeros(len(csr.indptr) - 1, x.shape[1])
    table = x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
    value = None if csr.value is None else csr.value.to(table.dtype)
    y = F.embedding_bag(csr.indices, table, csr.indptr, mode="sum", per_sample_weights=value, include_last_offset=True)
    return y.to(x.dtype)


def propagate(
    by_node: CSR, by_hyperedge: CSR, left: Tensor | None, middle: Tensor, right: Tensor | None, x: Tensor
) -> Tensor:
    """Compute left * H (middle * H^T (right * x)); None means ones: [nodes, dim] -> [nodes, dim].

    `left` and `right` are [nodes], `middle` is [hyperedges]; float16 and bfloat16 are computed in float32.
    """
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    if right is not None:
        y = right[:, None] * y
    y = spmm(by_hyperedge, y).mul_(middle[:, None])  # [hyperedges, dim]
    y = spmm(by_node, y)
    if left is not None:
        y.mul_(left[:, None])
    return y.to(x.dtype)


def sddmm(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    """Compute the dot product of a_r and b_{indices_k} for each incidence k of each row r: [incidences], float32.

    `a` is [rows, dim] and `b` [columns, dim]; float64 gives float64. The values of the matrix are not read.
    """
    _silence_beta_warning()
    a, b = (t.to(torch.promote_types(t.dtype, torch.float32)).contiguous() for t in (a, b))
    zeros = a.new_zeros(len(csr.indices))
    pattern = torch.sparse_csr_tensor(csr.indptr, csr.indices, zeros, size=(len(a), len(b)), check_invariants=False)
    return torch.sparse.sampled_addmm(pattern, a, b.T, beta=0).values()


@cache
def _silence_beta_warning() -> None:
    """Trigger torch's warning about CSR tensors, which comes once per process, where it is ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0], [], [], size=(0, 0), check_invariants=False)
