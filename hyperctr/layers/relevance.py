"""How much each state of a history matters for a candidate: attention that adds up to one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.layers.blocks import blockwise


class Relevance(nn.Module):
    """a = softmax_t(v^T ReLU(W [x_t ; q] + b)), and the states added up by it.

    W [x ; q] is W_x x, computed once a query, plus W_q q, once a row: no pair of the two is ever formed.

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
        said = self.state(x)

        def pool(item: Tensor, query: Tensor) -> Tensor:
            weight = self._weigh(said.index_select(0, query), item, mask[query])
            return torch.bmm(weight[:, None], states.index_select(0, query)).squeeze(1)

        return blockwise(pool, mask.shape[1] * (2 * said.shape[2] + states.shape[2]), item, query)

    def weights(self, x: Tensor, item: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """The attention itself, [B, T]: zero where the mask is False, one in all over a history that is not empty."""
        return self._weigh(self.state(x).index_select(0, query), item, mask[query])

    def _weigh(self, said: Tensor, item: Tensor, mask: Tensor) -> Tensor:
        score = self.score((said + self.item(item)[:, None]).relu()).squeeze(2)
        return masked_softmax(score, mask, 1)


def masked_softmax(score: Tensor, mask: Tensor, dim: int) -> Tensor:
    """The softmax over the entries whose mask is True; zero for the others, and where none is True."""
    return score.masked_fill(~mask, torch.finfo(score.dtype).min).softmax(dim) * mask
