"""Kernels: one definition, several implementations. Every module has the same functions with the same arguments.

    spmm(csr, x)                                       y_r = sum over the incidences k of row r of value_k x_{indices_k}
    sddmm(csr, a, b)                                   a_r . b_{indices_k} for each incidence k of row r
    propagate(by_node, by_hyperedge, left, middle, right, x)      left * H (middle * H^T (right * x))

`reference` is the definition; the other modules must agree with it. Kernels have no gradients: `graphs.ops` has them,
written once, and `graphs.ops.kernels_for` is the one choice between the modules.
"""

from typing import NamedTuple

from torch import Tensor

INT32_LIMIT = 2**31  # counts below it are stored as int32: half the bytes a product has to read


class CSR(NamedTuple):
    """A sparse matrix by rows; the columns of a row are strictly increasing."""

    indptr: Tensor
    """Row r has the incidences indptr[r] to indptr[r + 1], [rows + 1], int32 or int64."""
    indices: Tensor
    """Column of each incidence, [incidences], the dtype of `indptr`."""
    value: Tensor | None
    """Value of each incidence, [incidences], float32; None means that every value is 1."""
