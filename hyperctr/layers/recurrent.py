"""One vector of a user's clicks, in order."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LastState(nn.GRU):
    """The state of a GRU after the last real click: MARN's BaseModel, section 4.5.

    Args:
        dim: width of a click.
        state: width of the state.
    """

    def __init__(self, dim: int, state: int):
        super().__init__(dim, state, batch_first=True)

    def forward(self, clicks: Tensor, mask: Tensor) -> Tensor:
        """Read the clicks: [Q, T, dim] and [Q, T] -> [Q, state]; zero for an empty history."""
        states, _ = super().forward(clicks)
        return after_last(states, mask)


def after_last(states: Tensor, mask: Tensor) -> Tensor:
    """Take the state after the last real click: [Q, T, d] and [Q, T] -> [Q, d]; zero for an empty history."""
    length = mask.sum(1)
    last = states[torch.arange(len(states), device=states.device), (length - 1).clamp(min=0)]
    return last * (length > 0)[:, None]
