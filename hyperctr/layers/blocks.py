"""Some rows at a time, where all at once would take too much memory."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

NUMBERS = 2**23  # that a row by row computation may hold at a time, 32 MB
CACHED = 3 * 2**18  # of which a core's second-level cache holds most


def blockwise(compute: Callable[..., Tensor], numbers: int, *inputs: Tensor, training: int = sys.maxsize) -> Tensor:
    """`compute(*inputs)` on as many rows at a time as fit.

    An evaluation scores a thousand candidates a click, far more rows than a training step.

    Args:
        compute: gives a row for a row of its inputs.
        numbers: that it holds for one row.
        inputs: [n, ...] each.
        training: how many numbers fit where gradients are wanted; left out, all rows do. `CACHED` is faster for long
            chains of cheap operations.
    """
    rows = max(1, (training if torch.is_grad_enabled() else NUMBERS) // numbers)
    if rows >= len(inputs[0]):
        return compute(*inputs)
    return torch.cat([compute(*part) for part in zip(*(x.split(rows) for x in inputs), strict=True)])
