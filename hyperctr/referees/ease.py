"""EASE (Steck, WWW 2019, arXiv 1905.03375): a linear model between items, solved in closed form.

B = I - P diag(1 / diag(P)) with P = (X^T X + ridge I)^-1. X has a 1 where a user clicked an item at least once among
the training rows. B has a zero diagonal: no item speaks for itself.

The time of a solve is items cubed (24 s for 9,000 items on one core). Where many items were clicked, the ridge is
chosen with the B of the `MOST` most clicked ones, and one B of all items is solved with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hyperctr.batch import Batch, Tables, TrainingCounts
from hyperctr.referees.clicks import OfClicks, TrainingClicks, clicked_places, once, places_of
from hyperctr.strict import check

MATRICES = 3  # of items squared in memory at a time: X^T X, its Cholesky factor, and the inverse
MOST = 6000  # items of the B that the ridge is chosen with
GATHERED = 2**22  # entries of B that are read at a time


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of EASE."""

    ridges: tuple[float, ...] = (100.0, 500.0, 2000.0, 8000.0)
    """Weights of the ridge to try; the one with the highest AUC on the validation rows is kept."""

    def __post_init__(self):
        check(self.ridges and min(self.ridges) > 0, "model.ridges", self.ridges, "numbers above 0, at least one")


class EASE(OfClicks):
    """The sum of B[j, candidate] over the distinct items j among the user's earlier clicks.

    An item without a training click neither adds to a score nor gets one. A few scalars turn the score into a logit,
    see `Setting`.
    """

    Config = Config

    def __init__(self, config: Config, tables: Tables):
        super().__init__(config, tables)
        self.weights: Tensor | None = None

    @classmethod
    def memory(cls, config: Config, counts: TrainingCounts) -> int:
        """Return the bytes that fitting takes: three matrices of clicked items squared."""
        return MATRICES * 8 * counts.clicked_items**2

    @classmethod
    def seconds(cls, config: Config, counts: TrainingCounts) -> float:
        """Estimate the seconds that fitting takes on one core: one solve per ridge, items cubed each."""
        m = counts.clicked_items
        solves = len(config.ridges) * min(m, MOST) ** 3 + (m**3 if m > MOST else 0)
        return solves / 3e10 + counts.rows / 2e5

    def fit(
        self, train: Callable[[], Iterable[Batch]], valid: Callable[[], Iterable[Batch]] | None = None
    ) -> dict[str, Any]:
        """Solve for B; see `hyperctr.batch.Referee.fit`."""
        clicks = TrainingClicks.of(train())
        x, values, chosen = clicks.matrix(), self.config.ridges, {}
        if valid is not None and len(values) > 1 and x.shape[1] > MOST:
            users = np.bincount(x.indices, minlength=x.shape[1])
            some = np.sort(np.argsort(-users, kind="stable")[:MOST])
            self.places = places_of(clicks.items[some], self.num_items)
            chosen = self._choose(x[:, some], values, valid, clicks.non_clicks)
            values = (chosen["ridge"],)
        self.places = places_of(clicks.items, self.num_items)
        return self._choose(x, values, valid, clicks.non_clicks) | chosen

    def _choose(
        self,
        x: sparse.csr_array,
        values: Sequence[float],
        valid: Callable[[], Iterable[Batch]] | None,
        non_clicks: float,
    ) -> dict[str, Any]:
        """Solve for the B of X with each ridge, and keep the one with the highest validation AUC; see `Setting`."""
        gram = gram_of(x)

        def use(ridge: float) -> None:
            self.weights = None  # its memory is needed
            self.weights = solve(gram, ridge)

        return self.setting.choose("ridge", values, use, self.raw, valid, non_clicks)

    def raw(self, batch: Batch) -> Tensor:
        """Return the sums of B, float64 [B]."""
        none = len(self.weights)
        past = once(clicked_places(batch, self.places), none)
        score = torch.zeros(len(batch), dtype=torch.float64)
        step = max(1, GATHERED // max(past.shape[1], 1))
        for rows in torch.arange(len(batch)).split(step):
            clicked, item = past[batch.query[rows]], self.places[batch.item[rows]][:, None].expand(-1, past.shape[1])
            known = (clicked < none) & (item < none)
            score[rows] = torch.zeros(known.shape, dtype=torch.float64).masked_scatter(
                known, self.weights[clicked[known], item[known]]
            ).sum(1)  # fmt: skip
        return score


def gram_of(x: sparse.csr_array) -> Tensor:
    """Return X^T X, float64 [m, m]."""
    return torch.from_numpy((x.T @ x).toarray())


def solve(gram: Tensor, ridge: float) -> Tensor:
    """Return B of X^T X, float64 [m, m]; `gram` is as it was when this returns.

    >>> solve(torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64), 1.0)  # P = [[2, -1], [-1, 3]] / 5
    tensor([[0.0000, 0.3333],
            [0.5000, 0.0000]], dtype=torch.float64)
    """
    diagonal = gram.diagonal().clone()
    gram.diagonal().add_(ridge)
    p = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    gram.diagonal().copy_(diagonal)
    b = p.div_(-p.diagonal().clone())
    b.diagonal().zero_()
    return b
