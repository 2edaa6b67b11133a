"""Deep Interest Network (KDD 2018, arXiv 1706.06978): the clicks of a user, weighted by the candidate and summed.

Where we differ from the paper, and why:
- The activation unit reads click, candidate, their difference and their product, as the authors' code does; the paper's
  text has an outer product.
- The network also reads the product of the pooled history and the candidate, which it would otherwise have to learn.
- The default is PReLU. Dice, which the paper prefers, is an option: it takes most of a training step on a CPU.
- A click is one vector, the sum of its id, fields and modalities (the paper puts them side by side).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Features, Output, Tables
from hyperctr.layers.attention import masked_softmax
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_choices, check_shares, check_sizes
from hyperctr.layers.chunked import CACHED, blockwise, by_length, each_query, has_many_candidates
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Dice, Linear, activated, mlp
from hyperctr.layers.pair_table import PairTable, versions

ITEMS = 2**14  # embedded at a time


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DIN."""

    dim: int = 16
    """Width of every field's vector."""
    attention: tuple[int, ...] = (80, 40)
    """Widths of the activation unit's layers."""
    softmax: bool = False
    """Whether the weights of a history add up to 1; in the paper they do not, to keep the strength of an interest."""
    activation: Literal["prelu", "dice"] = "prelu"
    """Activation of all layers."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the network on top."""
    dropout: float = 0.2
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "attention", "hidden")
        check_shares(self, "dropout")
        check_choices(self, "activation")


class Activation(nn.Module):
    """a(k, q) = MLP[q; k; q - k; q * k], one number per click k and candidate q: section 4.3."""

    def __init__(self, dim: int, widths: tuple[int, ...], activation: str):
        super().__init__()
        self.first, self.act = Linear(4 * dim, widths[0]), activated(activation, widths[0])
        self.rest = nn.Sequential(mlp(widths[0], widths[1:], activation=activation), Linear(widths[-1], 1))

    def forward(self, item: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
        """Weigh the clicks [B, T, d] for the candidates [B, d]: [B, T], zero where the mask is False."""
        x = choose(self._plain_first_layer, self._fast_first_layer)(item, clicks)
        if isinstance(self.act, Dice):  # its statistics count real clicks only
            real = self.rest(self.act(x[mask])).squeeze(1)
            return real.new_zeros(mask.shape).masked_scatter(mask, real)
        return self.rest(self.act(x)).squeeze(2) * mask

    def _plain_first_layer(self, item: Tensor, clicks: Tensor) -> Tensor:
        q = item[:, None].expand_as(clicks)
        return self.first(torch.cat([q, clicks, q - clicks, q * clicks], 2))

    def _fast_first_layer(self, item: Tensor, clicks: Tensor) -> Tensor:
        """Compute it as (W_q + W_d) q, once per row, plus [W_k - W_d; W_p][k; q * k], half as wide."""
        of_item, of_click, of_both, of_product = self.first.weight.chunk(4, 1)
        pair = torch.cat([clicks, item[:, None] * clicks], 2)
        x = F.linear(pair, torch.cat([of_click - of_both, of_product], 1))
        return x.add_(F.linear(item, of_item + of_both, self.first.bias)[:, None])


class DIN(nn.Module):
    """logit = w^T MLP[fields; v; v * q] + b, with v = sum_t a(k_t, q) k_t over the history, Eq. (3)."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.softmax = config.softmax
        self.embed = Embed(tables, config.dim)
        self.activation = Activation(config.dim, config.attention, config.activation)
        self.numbers = 2 * config.dim + sum(config.attention)  # per click and candidate in the activation unit
        self.block = sys.maxsize if config.activation == "dice" else CACHED  # Dice needs all rows at once
        width = (self.embed.num_fields + 2) * config.dim
        self.top = mlp(width, config.hidden, config.dropout, config.activation)
        self.out = Linear(config.hidden[-1], 1)
        self._kept: tuple[list, PairTable] | None = None  # weights of pairs, and the versions of what made them

    def train(self, mode: bool = True) -> DIN:
        """Forget the weights of pairs, and switch between training and scoring."""
        self._kept = None
        return super().train(mode)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        hidden = self.top(self.features(batch).x)
        return Output(self.out(hidden).squeeze(1), hidden=hidden)

    def features(self, batch: Batch) -> Features:
        """Return what the network on top reads, [B, width]."""
        fields, item, history = self.embed(batch)
        pooled = choose(self._plain_pooled, self._fast_pooled, has_many_candidates(batch))(batch, item, history)
        return Features(torch.cat([fields.flatten(1), pooled, pooled * item], 1))

    def take_tower(self) -> nn.Sequential:
        """Give up the network on top, without its last layer."""
        top, self.top, self.out = self.top, None, None
        return top

    def pool(self, item: Tensor, clicks: Tensor, mask: Tensor) -> Tensor:
        """Compute Eq. (3): [B, d], [B, T, d] and [B, T] -> [B, d]; an empty history gives zero."""
        weight = self.activation(item, clicks, mask)
        if self.softmax:
            weight = masked_softmax(weight, mask, 1)
        return torch.bmm(weight[:, None], clicks).squeeze(1)

    def _plain_pooled(self, batch: Batch, item: Tensor, history: Tensor) -> Tensor:
        """Pool the histories [Q, T, d] for the candidates [B, d]: [B, d]."""
        return by_length(self.pool, batch.histories, item, history, batch.query, self.numbers, self.block)

    def _fast_pooled(self, batch: Batch, item: Tensor, history: Tensor) -> Tensor:
        """Look up the weights of clicks that many candidates have met, and compute those of the others, per query."""
        past, table, pooled = batch.histories, self._pair_table(), torch.empty_like(item)
        candidates = torch.bincount(batch.query, minlength=len(history))
        table.ask(past.item[past.mask], candidates.repeat_interleave(past.mask.sum(1)))
        for q, of_query, length in each_query(batch):
            clicks, vectors = past.item[q, :length], history[q, :length]
            known = table.entered[clicks]
            looked_up = table.look_up(clicks[known][:, None], batch.item[of_query])
            weight = torch.cat([looked_up, self._weigh(item[of_query], vectors[~known]).T])  # [T, C]
            weight = weight.softmax(0) if self.softmax else weight
            pooled[of_query] = weight.T @ torch.cat([vectors[known], vectors[~known]])
        return pooled

    def _weigh(self, item: Tensor, clicks: Tensor) -> Tensor:
        """Compute a(k, q) of the clicks [T, d] for each of the candidates [n, d]: [n, T]."""

        def weigh(item: Tensor) -> Tensor:
            pairs = clicks.expand(len(item), -1, -1)
            return self.activation(item, pairs, pairs.new_ones(pairs.shape[:2], dtype=torch.bool))

        return blockwise(weigh, max(1, self.numbers * len(clicks)), item)

    def _pair_table(self) -> PairTable:
        """Return the table of the weights that the model has now."""
        made_of = versions(*self.parameters(), *self.buffers())
        if self._kept is None or self._kept[0] != made_of:
            every = torch.arange(len(self.embed.seen_item))

            @cache
            def vectors() -> Tensor:
                return torch.cat([self.embed.items(part) for part in every.split(ITEMS)])

            def weigh(click: int) -> Tensor:
                return self._weigh(vectors(), vectors()[click, None]).squeeze(1)

            self._kept = made_of, PairTable(len(every) - 1, weigh, self.out.weight.dtype)
        return self._kept[1]
