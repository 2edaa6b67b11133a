"""Attention within a slice and across slices."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphs.dropout import Dropout
from hyperctr.layers.recurrent import GRU
from hyperctr.layers.table import take_rows
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.layout import Groups, Segments


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

    def forward(self, x: Tensor, groups: Groups, causal: bool = False) -> Tensor:
        """Attend within each group of tokens; tokens are padded for the attention only.

        Args:
            x: tokens, group after group, [N, d].
            groups: the groups.
            causal: whether a token attends to itself and earlier tokens only.

        Returns:
            [N, d].
        """
        d = x.shape[1]
        qkv = take_rows(self.qkv(x if self.norm_after else self.norm1(x)), groups.token)
        q, k, v = qkv.view(*groups.token.shape, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # padding comes after the real tokens: causal attention does not reach it
        mask = None if causal else groups.real[:, None, None]
        head = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)  # (2), (3)
        head = take_rows(head.transpose(1, 2).reshape(-1, d), groups.place)
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
        self.gru = GRU(d, d) if config.across == "gru" else None
        self.age = nn.Embedding(16, d) if config.age else None  # how many slices ago, in powers of two
        self.cold = nn.Parameter(torch.zeros(d))
        self.behaviour = nn.Embedding(types, d) if types else None  # a behaviour type adds its vector to the click

    def forward(
        self, user: Tensor, item: Tensor, click: Tensor, segments: Segments | None, type: Tensor | None = None
    ) -> Tensor:
        """Summarise the clicks of each of R rows.

        Args:
            user: the rows' user vectors, [R, d].
            item: item vectors, [I, d].
            click: which of these every click is on, rows one after the other and each in time order, [N].
            segments: the clicks cut by rows and slices; None where there is none.
            type: the behaviour type of each click, [N]; read only by a model of types.

        Returns:
            E_t [R, d]; for a row without clicks, its user vector plus a learned constant.
        """
        if segments is None:
            return user + self.cold
        token = segments.token
        x = take_rows(item, click[token]) + take_rows(user, segments.row)  # [N, d]
        if self.behaviour is not None and type is not None:
            x = x + self.behaviour(type[token])
        if self.within is not None:
            x = self.within(x, segments.within)  # (1)-(4) within a slice
        pooled = torch.segment_reduce(x, "mean", offsets=segments.first, axis=0, unsafe=True)
        if self.age is not None:
            pooled = pooled + self.age(segments.age.clamp(min=1).log2().long().clamp(max=15))
        summary = self._across(pooled, segments)  # (1)-(4) across slices
        return torch.where(segments.known[:, None], take_rows(summary, segments.at), user + self.cold)

    def _across(self, x: Tensor, segments: Segments) -> Tensor:
        """Turn the slices of each row into one vector: [slices of all rows, d], rows in order -> [rows, d]."""
        groups = segments.across
        if self.gru is not None:
            y = self.gru(take_rows(x, groups.token))
            return take_rows(y.flatten(0, 1), groups.place)[groups.last]
        if self.across is not None:
            x = self.across(x, groups, causal=True)
        if self.config.across in ("last", "attention-last"):
            return x[groups.last]
        count = groups.real.sum(1)
        return torch.segment_reduce(x, "mean", lengths=count, axis=0, unsafe=True)
