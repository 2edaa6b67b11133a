"""Some rows at a time, where all at once would take too much memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NUMBERS = 2**23  # that a row by row computation may hold at a time, 32 MB


def blockwise(compute: Callable[..., Tensor], numbers: int, *inputs: Tensor) -> Tensor:
    """`compute(*inputs)` on all rows at once where gradients are wanted, else on as many as fit.

    An evaluation scores a thousand candidates a click, far more rows than a training step.

    Args:
        compute: gives a row for a row of its inputs.
        numbers: that it holds for one row.
        inputs: [n, ...] each.
    """
    if torch.is_grad_enabled():
        return compute(*inputs)
    rows = max(1, NUMBERS // numbers)
    return torch.cat([compute(*part) for part in zip(*(x.split(rows) for x in inputs), strict=True)])
