"""Attention within a slice and across slices."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.models.hyperctr.config import Config


class Attention(nn.Module):
    """One block of self-attention, Eq. (1)-(4): a residual around each part; a layer norm before it, or after both."""

    def __init__(self, dim: int, heads: int, dropout: float, norm: str = "before"):
        super().__init__()
        self.heads, self.dropout, self.norm_after = heads, dropout, norm == "after"
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)  # W^Q, W^K, W^V of all heads
        self.out = nn.Linear(dim, dim, bias=False)  # W^O
        self.ffn = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, start: Tensor, size: Tensor, causal: bool = False) -> Tensor:
        """Attend within each group of tokens; tokens are padded for the attention only.

        Args:
            x: tokens, group after group, [N, d]. start, size: first token and number of tokens of each group, [G] each.
            causal: whether a token attends to itself and earlier tokens only.

        Returns:
            [N, d].
        """
        d = x.shape[1]
        at = torch.arange(int(size.max()), device=x.device)
        real = at < size[:, None]  # [G, longest]
        padded = torch.where(real, start[:, None] + at, 0)
        qkv = F.embedding(padded, self.qkv(x if self.norm_after else self.norm1(x)))
        q, k, v = qkv.view(*padded.shape, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # padding comes after the real tokens: causal attention does not reach it
        mask = None if causal else real[:, None, None]
        head = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)  # (2), (3)
        head = F.embedding(real.view(-1).nonzero()[:, 0], head.transpose(1, 2).reshape(-1, d))
        x = x + self.drop(self.out(head))  # (1)
        if self.norm_after:
            x = self.norm1(x)
            return self.norm2(x + self.drop(self.ffn(x)))
        return x + self.drop(self.ffn(self.norm2(x)))  # (4)


class TemporalAttention(nn.Module):
    """A vector of the user's clicks: attention within each slice, then across slices, Eq. (1)-(4), section 2.2.1.

    Args:
        config: sizes.
        types: number of behaviour types that clicks have; 0 reads none.
    """

    def __init__(self, config: Config, types: int = 0):
        super().__init__()
        self.config = config
        d, attends = config.dim, config.across in ("attention", "attention-last")
        block = partial(Attention, d, config.heads, config.dropout, config.norm)
        self.within = block() if config.within == "attention" else None
        self.across = block() if attends else None
        self.gru = nn.GRU(d, d, batch_first=True) if config.across == "gru" else None
        self.age = nn.Embedding(16, d) if config.age else None  # how many slices ago, in powers of two
        self.cold = nn.Parameter(torch.zeros(d))
        self.behaviour = nn.Embedding(types, d) if types else None  # a behaviour type adds its vector to the click

    def forward(
        self,
        user: Tensor,
        item: Tensor,
        click: Tensor,
        row: Tensor,
        slice: Tensor,
        now: Tensor,
        type: Tensor | None = None,
    ) -> Tensor:
        """Summarise the clicks of each of R rows.

        Args:
            user: the rows' user vectors, [R, d].
            item: item vectors, [I, d].
            click: which of these every click is on, rows one after the other and each in time order, [N].
            row: which row a click belongs to, ascending, [N].
            slice: the slice of each click, [N].
            now: the slice of each row, [R]; clicks in it form the open slice.
            type: the behaviour type of each click, [N]; read only by a model of types.

        Returns:
            E_t [R, d]; for a row without clicks, its user vector plus a learned constant.
        """
        c, rows = self.config, len(user)
        if not len(row):
            return user + self.cold
        # a segment is a run of one row's clicks in one slice
        new = torch.ones_like(row, dtype=torch.bool)
        new[1:] = (row[1:] != row[:-1]) | (slice[1:] != slice[:-1])
        start = new.nonzero()[:, 0]
        end = torch.cat([start[1:], start.new_tensor([len(row)])])
        of_row, of_slice = row[start], slice[start]
        # drop segments beyond the last S closed ones of a row, and clicks beyond the last l of a segment
        last = F.pad(torch.bincount(of_row, minlength=rows).cumsum(0), (1, 0))
        is_open = row.new_zeros(rows).index_add_(0, of_row, (of_slice == now[of_row]).long())
        keep = last[of_row + 1] - torch.arange(len(start), device=row.device) <= c.slices + is_open[of_row]
        start, end, of_row, of_slice = (x[keep] for x in (torch.maximum(start, end - c.clicks), end, of_row, of_slice))
        size = end - start
        first = F.pad(size.cumsum(0), (1, 0))  # of each segment's tokens
        token = torch.arange(int(first[-1]), device=row.device) + torch.repeat_interleave(start - first[:-1], size)

        x = F.embedding(click[token], item) + F.embedding(row[token], user)  # [N, d]
        if self.behaviour is not None and type is not None:
            x = x + self.behaviour(type[token])
        if self.within is not None:
            x = self.within(x, first[:-1], size)  # (1)-(4) within a slice
        pooled = torch.segment_reduce(x, "mean", offsets=first, axis=0)
        if self.age is not None:
            pooled = pooled + self.age((now[of_row] - of_slice + 1).clamp(min=1).log2().long().clamp(max=15))

        count = torch.bincount(of_row, minlength=rows)
        known = count > 0
        begin, count = (count.cumsum(0) - count)[known], count[known]
        summary = self._across(pooled, begin, count)  # (1)-(4) across slices
        at = torch.where(known, known.cumsum(0) - 1, 0)
        return torch.where(known[:, None], F.embedding(at, summary), user + self.cold)

    def _across(self, x: Tensor, begin: Tensor, count: Tensor) -> Tensor:
        """Turn the slices of each row into one vector: [slices of all rows, d], rows in order -> [rows, d]."""
        if self.gru is not None:
            at = torch.arange(int(count.max()), device=x.device)
            y, _ = self.gru(F.embedding((begin[:, None] + at).clamp(max=len(x) - 1), x))
            return y[torch.arange(len(count), device=x.device), count - 1]
        if self.across is not None:
            x = self.across(x, begin, count, causal=True)
        if self.config.across in ("last", "attention-last"):
            return x[begin + count - 1]
        return torch.segment_reduce(x, "mean", lengths=count, axis=0)
