"""A table of vectors by number, whose last row stands for any unknown number."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.layers.bodies import choose

LARGE = 200_000  # a table of more rows has sparse gradients
STD = 0.01  # standard deviation of the first weights of tables and of the modalities' maps


class Rows(nn.Embedding):
    """An `nn.Embedding` whose gradient is sparse for more than `LARGE` rows, on a CPU; elsewhere it is always dense.

    To sum the repeated rows of a sparse gradient makes the host wait for a GPU. `RowAdam` steps both kinds alike.
    """

    def __init__(self, count: int, dim: int):
        super().__init__(count, dim, sparse=count - 1 > LARGE)  # the last row is the unknown one

    def forward(self, index: Tensor) -> Tensor:
        """Look up [...] as [..., dim]."""
        return F.embedding(index, self.weight, sparse=self.sparse and self.weight.is_cpu)


class Table(nn.Embedding):
    """One vector per number in [0, count); number `count` stands for any unknown one: zero, and never trained.

    Args:
        count: known numbers; above `LARGE` of them the gradient is sparse, see `hyperctr.training.optim`.
        dim: width of a vector.
    """

    def __init__(self, count: int, dim: int):
        super().__init__(count + 1, dim, padding_idx=count, sparse=count > LARGE)

    def reset_parameters(self) -> None:
        """Draw the vectors from N(0, 0.01^2), and set the vector of the unknown number to zero."""
        nn.init.normal_(self.weight, std=STD)
        nn.init.zeros_(self.weight[-1])

    def forward(self, index: Tensor) -> Tensor:
        """Look up [...], in [0, count], as [..., dim]."""
        return super().forward(index) if self.sparse and self.weight.is_cpu else look_up(self.weight, index)


def look_up(weight: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a table, [...] -> [..., d]; its last row, the unknown number, gets no gradient."""
    return choose(_plain_look_up, _fast_look_up, weight.is_cpu)(weight, index)


def _plain_look_up(weight: Tensor, index: Tensor) -> Tensor:
    return F.embedding(index, weight, padding_idx=len(weight) - 1)


def _fast_look_up(weight: Tensor, index: Tensor) -> Tensor:
    return _Rows.apply(weight, index)


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Return x[index], [n, d] and [...] -> [..., d], where x is computed and not a table of weights."""
    return choose(_plain_take_rows, _fast_take_rows, x.is_cpu)(x, index)


def _plain_take_rows(x: Tensor, index: Tensor) -> Tensor:
    return F.embedding(index, x)  # on a GPU its gradient adds up in the same order every time


def _fast_take_rows(x: Tensor, index: Tensor) -> Tensor:
    found = x.index_select(0, index.flatten())  # on a CPU its gradient takes a third of the time
    return found.view(*index.shape, x.shape[1])


class _Rows(torch.autograd.Function):
    """`_plain_look_up` with a gradient that takes half the time on a CPU."""

    @staticmethod
    def forward(ctx, weight: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = weight.shape
        return weight.index_select(0, index.flatten()).view(*index.shape, weight.shape[1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        each = gradient.reshape(index.numel(), ctx.shape[1])
        total = each.new_zeros(ctx.shape).index_add_(0, index.flatten(), each)
        total[-1] = 0.0
        return total, None
