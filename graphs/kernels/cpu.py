"""The fast CPU path: each product is one `embedding_bag` over the CSR, so that no message is ever stored."""

import torch
import torch.nn.functional as F
from torch import Tensor

from graphs.kernels import CSR


def spmm(csr: CSR, x: Tensor) -> Tensor:
    """Sum the rows of x that each row of the matrix names: [columns, dim] -> [rows, dim].

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
    """left * H (middle * H^T (right * x)), where None stands for ones: [nodes, dim] -> [nodes, dim].

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
