"""Look up what a click and a candidate give together, where many rows ask for the same pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hyperctr.batch import places

ROOM = 2**26  # numbers that a table holds at most, 256 MB


class PairTable:
    """The weights a(k, q) of clicks k for all candidates q, kept while no weight of the model changes.

    A click is entered when as many candidates have asked for it as there are items. What it costs to enter it has then
    been paid once already, so that the table at most doubles the cost.

    Args:
        num_items: known items; an unknown one has the number `num_items`.
        weigh: the weights of one click for all candidates, given its number, [num_items + 1].
        dtype: of the weights.
        room: how many numbers the table may hold.

    >>> table = PairTable(2, lambda click: torch.tensor([0.0, 1.0, 2.0]) + 10 * click)
    >>> table.ask(torch.tensor([1, 0]), torch.tensor([2, 1]))
    >>> table.entered.tolist()
    [False, True, False]
    >>> table.look_up(torch.tensor([1, 1]), torch.tensor([0, 2])).tolist()
    [10.0, 12.0]
    """

    def __init__(
        self, num_items: int, weigh: Callable[[int], Tensor], dtype: torch.dtype = torch.float32, room: int = ROOM
    ):
        count = num_items + 1
        self.num_items, self.weigh = num_items, weigh
        self.weights = torch.empty(min(room // count, count), count, dtype=dtype)  # memory is taken as rows are written
        self.asked = torch.zeros(count, dtype=torch.long)
        self.entered = torch.zeros(count, dtype=torch.bool)
        self._row = torch.zeros(count, dtype=torch.long)

    def ask(self, clicks: Tensor, candidates: Tensor) -> None:
        """Count how many candidates ask for each click, [n] and [n]; enter those that pay while there is room."""
        self.asked.index_add_(0, clicks, candidates)
        count = int(self.entered.sum())
        due = places((self.asked >= self.num_items) & ~self.entered)[: len(self.weights) - count]
        for row, click in enumerate(due.tolist(), count):
            self.weights[row] = self.weigh(click)
            self._row[click] = row
        self.entered[due] = True

    def look_up(self, clicks: Tensor, candidates: Tensor) -> Tensor:
        """Return the weights of clicks that are entered for candidates: [...] and [...], which broadcast."""
        return self.weights[self._row[clicks], candidates]


def versions(*tensors: Tensor) -> list[tuple[int, int]]:
    """Return numbers that differ once one of the tensors was written to, or another has taken its place."""
    return [(x.data_ptr(), x._version) for x in tensors]
