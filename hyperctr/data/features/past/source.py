"""Numbers of the past as a source of columns for the loader: made for any rows, and read by normal scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from hyperctr.batch import Columns, Values
from hyperctr.data.columns import Column
from hyperctr.data.features.past.scores import NormalScores
from hyperctr.data.row_columns import BatchRows


class Numbers(Protocol):
    """Something that has numbers of a row, such as counts or links."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers; what stands before the last dot is their key."""

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers, float64 [B, N]; NaN where there is none."""

    def reading(self, table: Mapping[str, Column]) -> Numbers:
        """Return the same with another table of the log's columns."""


@dataclass(frozen=True)
class Past:
    """The numbers of the past, strictly before each row.

    Attributes:
        parts: what has numbers.
        scores: how a model reads them; None while that is not fitted.
    """

    parts: tuple[Numbers, ...]
    scores: NormalScores | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all numbers."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def columns(self) -> Columns:
        """The columns as models know them: numbers, whose knots are fitted."""
        return Columns(numbers=dict(zip(self.names, self.scores.knots, strict=True)), past=self.names)

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers themselves, float64 [B, N]; NaN where there is none, such as the age of a new item."""
        return np.concatenate([part.raw(rows).T for part in self.parts]).T

    def read(self, rows: BatchRows) -> Values:
        """Return the normal scores of the rows, [B, N]; NaN where there is no number."""
        return Values(numbers=torch.from_numpy(self.scores(self.raw(rows))))

    def reading(self, table: Mapping[str, Column]) -> Past:
        """Return this source with another table of context columns, for rows that are not in the log."""
        return replace(self, parts=tuple(part.reading(table) for part in self.parts))
