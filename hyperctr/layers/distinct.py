"""Each row of a table once: look-ups that repeat rows, and gradients that are sums over the repeats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor


class Distinct(NamedTuple):
    """The distinct numbers among n, and where each stands."""

    rows: Tensor
    """Ascending, [U]."""
    number: Tensor
    """Which of `rows` each of the n is, [n]."""
    order: Tensor
    """Their places, those of rows[0] first, [n]."""
    first: Tensor
    """Where in `order` the places of each row begin, [U]."""


def distinct(index: Tensor) -> Distinct:
    """Find the distinct numbers of [n], each in [0, 2^31); five times as fast on a CPU as `torch.unique`."""
    key = index.cpu().numpy() << 32 | np.arange(len(index))
    key.sort()
    row, order = key >> 32, key & 0xFFFFFFFF
    new = np.diff(row, prepend=-1) > 0
    number = np.empty_like(order)
    number[order] = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    return Distinct(*(torch.from_numpy(x).to(index.device) for x in (row[first], number, order, first)))


def summed(x: Tensor, found: Distinct) -> Tensor:
    """Add up what belongs to the same row: [n, d] -> [U, d]."""
    return F.embedding_bag(found.order, x, found.first, mode="sum") if len(x) else x


def taken(x: Tensor, found: Distinct) -> Tensor:
    """x[number], [U, d] -> [n, d]."""
    return _Taken.apply(x, found)


def means(x: Tensor, number: Tensor, length: Tensor) -> Tensor:
    """Means of rows of x, [U, d] -> [Q, d]: of the first length[0] that `number` names, of the next length[1], ...

    A length of zero gives zero.
    """
    return _Means.apply(x, number, F.pad(length.cumsum(0), (1, 0)))


class _Taken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, found: Distinct) -> Tensor:
        ctx.found = found
        return x.index_select(0, found.number)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return summed(gradient.contiguous(), ctx.found), None


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, number: Tensor, starts: Tensor) -> Tensor:
        ctx.number, ctx.starts, ctx.rows = number, starts, len(x)
        return F.embedding_bag(number, x, starts, mode="mean", include_last_offset=True)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        starts, number = ctx.starts.cpu().numpy(), ctx.number.cpu().numpy()
        named = csr_array((np.ones(len(number), np.int8), number, starts), shape=(len(starts) - 1, ctx.rows)).tocsc()
        query, first = (torch.from_numpy(x).long().to(gradient.device) for x in (named.indices, named.indptr))
        share = gradient / ctx.starts.diff().clamp(min=1)[:, None]
        return F.embedding_bag(query, share, first, mode="sum", include_last_offset=True), None, None
