"""The compiled body of `hyperctr.optim.RowAdam` (rows.c, see `graphs.compiled`), for float32 on a CPU."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from graphs import compiled

POINTERS = ("weight", "held", "moves", "rows", "gradient")
SIZES = ("count", "dim", "step")
SCALARS = ("lr", "eps", "log_fade", "log_beta1", "log_beta2", "own1", "own2", "scale1", "scale2")


class _Call(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in POINTERS),
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_float) for name in SCALARS),
    ]


def moved(table: Tensor, state: dict[str, Tensor], rows: Tensor, gradient: Tensor | None, group: dict, moves: Tensor):
    """Move the rows, and update them by their gradient if there is one; False where nothing was done.

    That is so without a compiler, and for tables that are not float32 or not on the CPU.
    """
    library = _library()
    if library is None or table.device.type != "cpu" or table.dtype != torch.float32 or not table.is_contiguous():
        return False
    (b1, b2), step = group["betas"], int(state["step"])
    held = [table, state["held"], moves, rows.contiguous()]
    held.append(None if gradient is None else gradient.contiguous())
    call = _Call(
        *(None if x is None else x.data_ptr() for x in held), len(rows), table.shape[1], step,
        group["lr"], group["eps"], math.log(b1) - math.log(b2) / 2, math.log(b1), math.log(b2),
        1 - b1, 1 - b2, 1 - b1 ** (step + 1), 1 - b2 ** (step + 1),
    )  # fmt: skip
    library.rows(ctypes.byref(call), torch.get_num_threads(), compiled.team())
    return True


@cache
def _library() -> ctypes.CDLL | None:
    return compiled.library(Path(__file__).with_suffix(".c"))
