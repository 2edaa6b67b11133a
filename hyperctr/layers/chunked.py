"""Some rows at a time, where all at once would take too much memory."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

NUMBERS = 2**23  # that a row by row computation may hold at a time, 32 MB
CACHED = 3 * 2**18  # of which a core's second-level cache holds most


def blockwise(
    compute: Callable[..., Tensor], numbers: int | Tensor, *inputs: Tensor, training: int = sys.maxsize
) -> Tensor:
    """`compute(*inputs)` on as many rows at a time as fit.

    An evaluation scores a thousand candidates a click, far more rows than a training step.

    Args:
        compute: gives a row for a row of its inputs.
        numbers: that it holds for one row; or [n], rising, where a block's rows hold as many as its last one.
        inputs: [n, ...] each.
        training: how many numbers fit where gradients are wanted; left out, all rows do. `CACHED` is faster for long
            chains of cheap operations.
    """
    room = training if torch.is_grad_enabled() else NUMBERS
    rows = _rising(numbers, room) if isinstance(numbers, Tensor) else max(1, room // numbers)
    parts = list(zip(*(x.split(rows) for x in inputs), strict=True))
    return compute(*inputs) if len(parts) < 2 else torch.cat([compute(*part) for part in parts])


def _rising(numbers: Tensor, room: int) -> list[int]:
    """Rows of each block, as many as fit when each holds what the last one does, [n] -> at least one a block."""
    sizes, rows = [], numbers.clamp(min=1)
    while len(rows):
        held = rows * torch.arange(1, len(rows) + 1)
        sizes.append(max(1, int(torch.searchsorted(held, room, right=True))))
        rows = rows[sizes[-1] :]
    return sizes
