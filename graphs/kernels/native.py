"""The compiled CPU path: native.c (see `graphs.kernels.compile`), for float32 and bfloat16."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from graphs.kernels import CSR, compile, cpu
from graphs.kernels.cpu import sddmm, spmm

__all__ = ["propagate", "ready", "sddmm", "spmm"]

DTYPES = (torch.float32, torch.bfloat16)
LONG = 2**20  # if both sides have more rows, the tables of the shorter side would take over 256 MB per thread


def ready() -> bool:
    """Return whether the library could be built and loaded; tried once per process."""
    return _library() is not None


def propagate(
    by_node: CSR, by_hyperedge: CSR, left: Tensor | None, middle: Tensor, right: Tensor | None, x: Tensor
) -> Tensor:
    """Compute left * H (middle * H^T (right * x)); None means ones: [nodes, dim] -> [nodes, dim].

    Sums are float32. If x is bfloat16, the result of H^T is rounded to bfloat16 too. The bits do not depend on the
    number of threads, which is torch's.

    Raises:
        ValueError: x is neither float32 nor bfloat16, or the indices are not int32.
        MemoryError: no memory for the tables, or no thread could be started.
    """
    if x.dtype not in DTYPES or by_node.indices.dtype != torch.int32:
        raise ValueError(f"compiled kernels take float32 or bfloat16 and int32 indices, got {x.dtype}")
    x = x.contiguous()
    y = torch.empty_like(x)
    if not x.numel() or not by_node.indices.numel():
        return y.zero_()
    scales = [None if scale is None else scale.float().contiguous() for scale in (left, middle, right)]
    sizes = (len(by_node.indptr) - 1, len(by_hyperedge.indptr) - 1, x.shape[1], torch.get_num_threads())
    if min(sizes[:2]) > LONG:
        return cpu.propagate(by_node, by_hyperedge, left, middle, right, x)
    pointers = [None if t is None else t.data_ptr() for t in (*by_node, *by_hyperedge, *scales, x, y)]
    if _library().propagate(*sizes, x.dtype == torch.bfloat16, *pointers, compile.team()):
        raise MemoryError("no memory or no thread for the compiled kernels")
    return y


@cache
def _library() -> ctypes.CDLL | None:
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        library.propagate.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_int] + [ctypes.c_void_p] * 12
        library.propagate.restype = ctypes.c_int
    return library
