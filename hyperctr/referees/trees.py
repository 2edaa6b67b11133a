"""Gradient-boosted trees on what a model reads of a row: numbers of the past, columns and context.

`trees` reads the counts of the past, `trees-links` the links too. Trees read normal scores as well as the numbers
themselves: only the order counts. `hyperctr.referees.boosting` grows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hyperctr.batch import Batch, Columns, Output, Tables, TrainingCounts, Values
from hyperctr.evaluation.metrics import auc
from hyperctr.referees.boosting import ENGINES, SHARE, Average, Forest, lightgbm_package
from hyperctr.strict import check

FEATURES = 150  # columns of a row, as an estimate of memory
CATEGORIES = 200  # most values of a column that is split by sets of them; others are split by order
TOLD = 100  # rounds between two in the report


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of trees."""

    rounds: int = 600
    """Most trees; the number with the highest AUC on the validation rows is kept."""
    engine: Literal["sklearn", "lightgbm"] = "sklearn"
    """The library that grows the trees, under the same settings; LightGBM comes with hyperctr[trees]."""

    members: int = 1
    """Forests that are grown with seeds from 0 on; their logits are averaged, as those of `train.members` are."""

    def __post_init__(self):
        check(self.rounds >= 1, "model.rounds", self.rounds, "at least 1")
        check(self.members >= 1, "model.members", self.members, "at least 1")


class Trees(nn.Module):
    """The sum of trees, as the logit of a click, on the counts of the past, the columns and the context of a row.

    Modality vectors, lists of tags and ids are not read: what the past says of them is.
    """

    Config = Config
    reads = frozenset({"counts", "content"})
    tasks = ("click",)

    def __init__(self, config: Config, tables: Tables):
        super().__init__()
        self.config, self.fields = config, tables.fields
        self.register_buffer("rounds", torch.tensor(0))
        if config.engine == "lightgbm":
            lightgbm_package()
        self.forest: Forest | None = None
        self.known: np.ndarray | None = None

    @classmethod
    def memory(cls, config: Config, counts: TrainingCounts) -> int:
        """Return the bytes that fitting takes: the columns of all rows and drawn negatives, and their bins."""
        return 5 * FEATURES * 2 * counts.rows

    @classmethod
    def seconds(cls, config: Config, counts: TrainingCounts) -> float:
        """Estimate the seconds that fitting takes on one core: rounds over all columns of all rows and negatives."""
        read = 2 * counts.rows * FEATURES
        return read * (config.members * SHARE * config.rounds / 2e8 + 1 / 3e6)

    def fit(
        self, train: Callable[[], Iterable[Batch]], valid: Callable[[], Iterable[Batch]] | None = None
    ) -> dict[str, Any]:
        """Grow the trees; see `hyperctr.batch.Referee.fit`.

        Raises:
            ValueError: the training or validation rows have one label alone.
        """
        x, label = self._rows(train())
        if valid is None:
            self._grow(x, label, int(self.rounds))
            return {}
        self._grow(x, label, self.config.rounds)
        held, clicked = self._rows(valid())
        if not 0 < clicked.sum() < len(clicked):
            raise ValueError("rounds are chosen on validation rows of both labels; they have one label alone")
        areas = {n: auc(clicked, logits) for n, logits in self.forest.staged(held[:, self.known])}
        best = max(areas, key=areas.get)
        self.rounds.fill_(best)
        self._grow(x, label, best)  # the first trees of the longer run
        told = {n: x for n, x in areas.items() if n % TOLD == 0 or n in (best, self.config.rounds)}
        return {"rounds": best, "valid_auc": {str(n): x for n, x in told.items()}}

    def score(self, rows: Batch) -> Tensor:
        """Return logits, float32 [B]."""
        if not len(rows):
            return rows.label.new_empty(0)
        return torch.from_numpy(self.forest.logits(self.columns_of(rows)[:, self.known])).float()

    def forward(self, batch: Batch) -> Output:
        return Output(self.score(batch))

    def columns_of(self, batch: Batch) -> np.ndarray:
        """Return what the trees read of the rows, float32 [B, n]: categories, then numbers; NaN where missing."""
        parts = [(self.fields.context, batch.context)]
        for columns, index in ((self.fields.user, batch.user), (self.fields.item, batch.item)):
            parts.append((columns, None if columns.values is None else columns.values[index]))
        codes = [_codes(columns, values, len(batch)) for columns, values in parts]
        numbers = [_numbers(columns, values, len(batch)) for columns, values in parts]
        return np.concatenate([*codes, *numbers], 1)

    def _rows(self, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        found = [(self.columns_of(batch), batch.label.numpy()) for batch in batches]
        x, label = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if not x.shape[1]:
            raise ValueError("trees read the past, columns and context of a row, and this run has none")
        return x, label

    def _grow(self, x: np.ndarray, label: np.ndarray, rounds: int) -> None:
        if not 0 < label.sum() < len(label):
            raise ValueError("trees need training rows of both labels; they have one label alone")
        sizes = [
            size for part in (self.fields.context, self.fields.user, self.fields.item) for size in part.sizes.values()
        ]
        self.known = ~np.isnan(x).all(0)  # a column without a value cannot be binned
        sets = [int(self.known[:n].sum()) for n, size in enumerate(sizes) if size <= CATEGORIES and self.known[n]]
        grow, members = ENGINES[self.config.engine], self.config.members
        self.forest = Average([grow(x[:, self.known], label, rounds, sets, seed) for seed in range(members)])


class TreesLinks(Trees):
    """Trees on the links of the item with the user's clicks, too."""

    reads = frozenset({"counts", "content", "links"})


def _codes(columns: Columns, values: Values | None, count: int) -> np.ndarray:
    if values is None or values.codes is None:
        return np.full((count, len(columns.sizes)), np.nan, np.float32)
    size = torch.tensor(list(columns.sizes.values()))
    known = (values.codes >= 0) & (values.codes < size)
    return values.codes.float().where(known, torch.nan).numpy()


def _numbers(columns: Columns, values: Values | None, count: int) -> np.ndarray:
    if values is None or values.numbers is None:
        return np.full((count, len(columns.numbers)), np.nan, np.float32)
    return values.numbers.numpy()
