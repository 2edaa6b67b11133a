"""Dropout whose masks are cheap on a CPU, where drawing them took a fifth of a training step."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Set a share p of the entries to zero in training and scale the others up, as `torch.nn.Dropout` does.

    On a CPU an entry takes one random byte, so p is rounded to a 256th and the scale is that of the rounded p. The
    bytes come from a generator of their own that torch's global one seeds: the same `torch.manual_seed`, the same mask.

    Args:
        p: share of entries set to zero, in [0, 1).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape, in evaluation x itself."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p, True)
        kept, exact = mask(x.shape, self.p).numpy(), np.float64 if x.dtype == torch.float64 else np.float32
        factor = np.asarray(kept * exact(1 / (1 - zeros(self.p) / 256)))  # numpy is twice as fast here
        return x * torch.from_numpy(factor).to(x.dtype)

    def extra_repr(self) -> str:
        """The share."""
        return f"p={self.p}"


def mask(shape: torch.Size, p: float) -> Tensor:
    """A random bool tensor on the CPU, True with probability 1 - p rounded to a 256th."""
    count = int(np.prod(shape))
    generator = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
    words = generator.integers(2**64, size=-(-count // 8), dtype=np.uint64)
    return torch.from_numpy(words.view(np.uint8)[:count] >= np.uint8(zeros(p))).view(shape)


def zeros(p: float) -> int:
    """How many of 256 values of a byte mean zero; at most 255, so that something is left."""
    return min(round(256 * p), 255)
