"""Deep Interest Evolution Network (AAAI 2019, arXiv 1809.03672): how interests follow each other.

A GRU reads the history; with an auxiliary loss each of its states predicts the next click. A second GRU follows the
interests that matter for the candidate: the attention of the candidate scales its update gate (AUGRU).

Where we differ from the paper, and why:
- The negative of a next click is drawn uniformly from the items with training rows, once per click and step. If it
  equals the click, the pair does not count.
- The auxiliary loss is the mean over all pairs of a batch; the pairs of a query count once, for any number of its rows.
- The network on top has ReLU, as in the other base models.
- A click is one vector, the sum of its id, fields and modalities (the paper puts them side by side).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Batch, Output, Tables
from hyperctr.layers.attention import masked_softmax
from hyperctr.layers.bodies import choose
from hyperctr.layers.checks import check_shares, check_sizes
from hyperctr.layers.chunked import blockwise, each_query, has_many_candidates
from hyperctr.layers.embedding import Embed
from hyperctr.layers.mlp import Linear, mlp
from hyperctr.layers.recurrent import GRU


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of DIEN."""

    dim: int = 16
    """Width of every field's vector and of both GRUs' states."""
    auxiliary: float = 1.0
    """Weight of the auxiliary loss in the training loss, alpha of Eq. (7); 0 leaves it out."""
    hidden: tuple[int, ...] = (200, 80)
    """Widths of the network on top."""
    dropout: float = 0.2
    """Share of activations dropped in the network on top."""

    def __post_init__(self):
        check_sizes(self, "dim", "hidden")
        check_shares(self, "dropout")
        if not 0 <= self.auxiliary < math.inf:
            raise ValueError(f"model.auxiliary must be a number, at least 0, got {self.auxiliary}")


class Evolution(nn.Module):
    """The interests that lead to the candidate: attention, Eq. (8), and AUGRU, Eq. (11)-(12).

    The gates are in the order reset, update, new state; the reset gate acts on U h, as in the paper.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.attention = nn.Linear(dim, dim, bias=False)  # W of Eq. (8)
        self.input = nn.Linear(dim, 3 * dim)  # W_r, W_u, W_h and their biases
        self.state = nn.Linear(dim, 3 * dim, bias=False)  # U_r, U_u, U_h

    def forward(self, item: Tensor, interests: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Evolve the interests [Q, T, d], mask [Q, T], for the candidates [B, d] of the queries [B]; return [B, d].

        An empty history gives zero.
        """
        score = torch.bmm(interests.index_select(0, query), self.attention(item)[:, :, None]).squeeze(2)
        weight = masked_softmax(score, mask[query], 1)  # (8); padding has weight 0 and keeps the state
        return choose(self._plain_steps, self._fast_steps)(interests, weight, query)

    def _plain_steps(self, interests: Tensor, weight: Tensor, query: Tensor) -> Tensor:
        h = torch.zeros_like(interests[query, 0])
        for i, a in zip(interests[query].unbind(1), weight[..., None].unbind(1), strict=True):
            of_interest, of_state = self.input(i).chunk(3, 1), self.state(h).chunk(3, 1)
            reset, update = ((of_interest[k] + of_state[k]).sigmoid() for k in (0, 1))
            new = (of_interest[2] + reset * of_state[2]).tanh()
            h = (1 - a * update) * h + a * update * new  # (11), (12)
        return h

    def _fast_steps(self, interests: Tensor, weight: Tensor, query: Tensor) -> Tensor:
        """Compute W i + b of all steps at once, once per query: step by step in memory, gates apart from new states."""
        d = interests.shape[2]
        inputs = [
            F.linear(interests.transpose(0, 1), w, b).index_select(1, query).unbind()
            for w, b in zip(self.input.weight.split([2 * d, d]), self.input.bias.split([2 * d, d]), strict=True)
        ]
        of_gates, of_new = (u.T for u in self.state.weight.split([2 * d, d]))
        h = interests.new_zeros(len(query), d)
        for x_gates, x_new, a in zip(*inputs, weight.T[..., None].unbind(), strict=True):
            reset, update = torch.addmm(x_gates, h, of_gates).sigmoid().chunk(2, 1)
            new = torch.addcmul(x_new, reset, h @ of_new).tanh()
            h = torch.lerp(h, new.type_as(h), (update * a).type_as(h))  # (11), (12)
        return h

    def of_query(self, item: Tensor, interests: Tensor) -> Tensor:
        """Evolve the interests of one query [T, d] for its candidates [n, d], without gradients: [n, d]."""
        d = item.shape[1]
        weight = (interests @ self.attention(item).T).softmax(0)  # (8)
        x_gates, x_new = self.input(interests)[:, :, None].split([2 * d, d], 1)
        of_gates, of_new = self.state.weight.split([2 * d, d])
        h, gates, new = (item.new_zeros(width, len(item)) for width in (d, 2 * d, d))
        for i, a in enumerate(weight):  # a state is a column, so that what a click adds to a gate is added in a row
            torch.mm(of_gates, h, out=gates).add_(x_gates[i]).sigmoid_()
            torch.mm(of_new, h, out=new).mul_(gates[:d]).add_(x_new[i]).tanh_()
            h.lerp_(new, gates[d:].mul_(a))  # (11), (12)
        return h.T


class DIEN(nn.Module):
    """logit = w^T MLP[fields; h'(T)] + b; the auxiliary loss is the penalty of a training step, Eq. (6)-(7)."""

    Config = Config
    reads = frozenset()
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.share = config.auxiliary
        self.embed = Embed(tables, config.dim)
        self.extraction = GRU(config.dim, config.dim)
        self.evolution = Evolution(config.dim)
        self.top = mlp((self.embed.num_fields + 1) * config.dim, config.hidden, config.dropout)
        self.out = Linear(config.hidden[-1], 1)
        self.register_buffer("known", tables.ids.seen_item.nonzero()[:, 0], persistent=False)

    @property
    def hidden_dim(self) -> int:
        """Width of the last hidden vector."""
        return self.out.in_features

    def forward(self, batch: Batch) -> Output:
        fields, item, history = self.embed(batch)
        interests = self.extraction(history)  # (2)-(5)
        hidden = self._top(batch, fields, item, interests)
        penalty = 0.0
        if self.training and self.share and not batch.is_augmented:
            penalty = self.share * self.auxiliary(batch, interests, history)  # (7)
        return Output(self.out(hidden).squeeze(1), penalty, hidden=hidden)

    def auxiliary(self, batch: Batch, interests: Tensor, history: Tensor) -> Tensor:
        """Compute Eq. (6): each state [Q, T, d] separates the next click of the history [Q, T, d] from a drawn item.

        Returns:
            a number: 2 log 2 where the states say nothing; 0 where no history has two clicks.
        """
        later = history[:, 1:]
        drawn = self.known[torch.randint(len(self.known), later.shape[:2], device=self.known.device)]
        real = batch.histories.mask[:, 1:] & (drawn != batch.histories.item[:, 1:])
        state = interests[:, :-1]
        click, other = (state * later).sum(2), (state * self.embed.items(drawn)).sum(2)
        loss = F.softplus(-click) + F.softplus(other)  # -log sigmoid(<h_t, e_(t+1)>) - log(1 - sigmoid(<h_t, drawn>))
        return (loss * real).sum() / real.sum().clamp(min=1)

    def _top(self, batch: Batch, fields: Tensor, item: Tensor, interests: Tensor) -> Tensor:
        last = choose(self._plain_last, self._fast_last, has_many_candidates(batch))(batch, item, interests)
        return self.top(torch.cat([fields.flatten(1), last], 1))

    def _plain_last(self, batch: Batch, item: Tensor, interests: Tensor) -> Tensor:
        """Evolve the interests [Q, T, d] for the candidates [B, d]: h'(T), [B, d]."""

        def evolve(item: Tensor, query: Tensor) -> Tensor:
            return self.evolution(item, interests, batch.histories.mask, query)

        return blockwise(evolve, 4 * interests.shape[1] * interests.shape[2], item, batch.query)

    def _fast_last(self, batch: Batch, item: Tensor, interests: Tensor) -> Tensor:
        """Take one query after the other: its candidates share its interests, and there is no padding."""
        last = torch.empty_like(item)
        for q, of_query, length in each_query(batch):
            last[of_query] = self.evolution.of_query(item[of_query], interests[q, :length])
        return last
