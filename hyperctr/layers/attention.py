"""Self-attention of many short sequences, in several subspaces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.layers.bodies import choose
from hyperctr.layers.chunked import blockwise

HIDDEN = -1e30  # score of padding; finite, so that a sequence of nothing but padding gives no NaN
BLOCK = 64  # sequences whose scores fit into a CPU's cache: a quarter faster than all at once


def attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Compute softmax(Q K^T / sqrt(d / heads)) V in each of `heads` subspaces, and put the results side by side.

    Args:
        projected: Q, K and V side by side, [n, T, 3 d].
        mask: True for real entries, False for padding, [n, T].
        heads: a divisor of d.

    Returns:
        [n, T, d]. A sequence of nothing but padding gives finite numbers without a meaning, never NaN.
    """
    return choose(_plain_attend, _fast_attend, projected.is_cpu)(projected, mask, heads)


def _plain_attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    query, key, value = projected.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # [n, heads, T, width] each
    score = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    weight = score.masked_fill(~mask[:, None, None], HIDDEN).softmax(3)
    return (weight @ value).transpose(1, 2).flatten(2)


def _fast_attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    return _Heads.apply(projected, mask, heads)


class _Heads(torch.autograd.Function):
    """`_plain_attend` in less than half the time on a CPU: sequences go block by block, and nothing is copied twice.

    The time axis is last, [.., width, T]. With the short axis of a subspace last, products take three times as long.
    """

    @staticmethod
    def forward(ctx, projected: Tensor, mask: Tensor, heads: int) -> Tensor:
        n, length, width = projected.shape
        width = width // 3 // heads
        found = projected.new_empty(n, length, heads, width)
        ctx.blocks, ctx.shape = [], (length, heads, width)
        for start in range(0, n, BLOCK):
            some = slice(start, start + BLOCK)
            own = projected[some].view(-1, length, 3, heads, width).permute(2, 0, 3, 4, 1).flatten(1, 2)
            query, key, value = own.unbind()  # [n heads, width, T]
            query = query * width**-0.5  # `own` may be `projected` itself: nothing in place
            score = torch.bmm(query.transpose(1, 2), key)
            if not mask[some].all():
                score.view(-1, heads, length, length).masked_fill_(~mask[some, None, None], HIDDEN)
            share = score.softmax(2)
            read = torch.bmm(value, share.transpose(1, 2))
            found[some].copy_(read.view(-1, heads, width, length).permute(0, 3, 1, 2))
            ctx.blocks.append((some, query, key, value, share))
        return found.flatten(2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        length, heads, width = ctx.shape
        found = gradient.new_empty(len(gradient), length, 3, heads, width)
        gradient = gradient.view(len(gradient), length, heads, width)
        for some, query, key, value, share in ctx.blocks:
            of_read = gradient[some].permute(0, 2, 3, 1).flatten(0, 1)
            of_share = torch.bmm(of_read.transpose(1, 2), value)
            of_score = torch._softmax_backward_data(of_share, share, 2, share.dtype)
            parts = (
                torch.bmm(key, of_score.transpose(1, 2)).mul_(width**-0.5),
                torch.bmm(query, of_score),
                torch.bmm(of_read, share),
            )
            for k, part in enumerate(parts):
                found[some, :, k].copy_(part.view(-1, heads, width, length).permute(0, 3, 1, 2))
        return found.flatten(2), None, None


class Relevance(nn.Module):
    """a = softmax_t(v^T ReLU(W [x_t ; q] + b)), and the sum of the states weighted by it.

    W has two parts: W [x ; q] = W_x x + W_q q.

    Args:
        state: width of a state's description x.
        item: width of the candidate q.
        width: of the hidden layer.
    """

    def __init__(self, state: int, item: int, width: int = 64):
        super().__init__()
        self.state, self.item = nn.Linear(state, width), nn.Linear(item, width, bias=False)
        self.score = nn.Linear(width, 1)
        for linear in (self.state, self.item, self.score):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.state.bias)
        nn.init.zeros_(self.score.bias)

    def forward(self, x: Tensor, item: Tensor, mask: Tensor, query: Tensor, states: Tensor) -> Tensor:
        """Add up the states [Q, T, h], described by x [Q, T, s], for the candidates [B, q] of the queries [B].

        Returns:
            [B, h]; zero where the history is empty.
        """
        return choose(self._plain_forward, self._fast_forward)(x, item, mask, query, states)

    def _plain_forward(self, x: Tensor, item: Tensor, mask: Tensor, query: Tensor, states: Tensor) -> Tensor:
        return (self.weights(x, item, mask, query)[..., None] * states[query]).sum(1)

    def _fast_forward(self, x: Tensor, item: Tensor, mask: Tensor, query: Tensor, states: Tensor) -> Tensor:
        """Compute W_x x once per query, not per row, and the rest block by block."""
        of_state = self.state(x)

        def pool(item: Tensor, query: Tensor) -> Tensor:
            weight = self._weigh(of_state.index_select(0, query), item, mask[query])
            return torch.bmm(weight[:, None], states.index_select(0, query)).squeeze(1)

        return blockwise(pool, mask.shape[1] * (2 * of_state.shape[2] + states.shape[2]), item, query)

    def weights(self, x: Tensor, item: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Return the attention a, [B, T]: zero where the mask is False; its sum is 1 over a non-empty history."""
        return self._weigh(self.state(x).index_select(0, query), item, mask[query])

    def _weigh(self, of_state: Tensor, item: Tensor, mask: Tensor) -> Tensor:
        score = self.score((of_state + self.item(item)[:, None]).relu()).squeeze(2)
        return masked_softmax(score, mask, 1)


def masked_softmax(score: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Compute the softmax over the entries whose mask is True; it is zero elsewhere, and where no entry is True."""
    return score.masked_fill(~mask, torch.finfo(score.dtype).min).softmax(dim) * mask
