"""From columns as they were read to the values that models read; what depends on training rows is fitted here.

A value without a training row is unknown: its vector would never be trained. Rare categories share one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from hyperctr.batch import Columns, Values
from hyperctr.data.columns import Category, Column, Number, TagLists, Vectors

MOST_TAGS = 64  # of one row; the first ones are kept


@dataclass(frozen=True)
class Codes:
    """New codes of a category: known values keep their order, rare ones share a code, others are unknown.

    Attributes:
        code: of each value, missing first and unknown last, [values + 2]; `size` where unknown.
        size: number of codes.
    """

    code: np.ndarray
    size: int

    @classmethod
    def fit(cls, column: Category, weight: np.ndarray) -> Codes:
        """Fit on the training rows of each value; `weight` counts those of each entry of the column."""
        rows = np.bincount(column.codes, weight, column.size + 1)[:-1]
        least = column.kind.min_count
        if least <= 1:
            return cls(np.append(np.where(rows > 0, np.arange(column.size), column.size), column.size), column.size)
        kept = rows >= least
        kept[0] = True  # missing is a value of its own
        size = int(kept.sum()) + 1  # and so is rare
        code = np.where(kept, np.cumsum(kept) - 1, size - 1)
        return cls(np.append(np.where(rows > 0, code, size), size), size)

    def __call__(self, column: Category) -> np.ndarray:
        return self.code[column.codes]

    def note(self, column: Category) -> str:
        """Say how many values are rare; "" where all are kept."""
        rare = int((self.code[:-1] == self.size - 1).sum()) if column.kind.min_count > 1 else 0
        least = column.kind.min_count
        return (
            f"{rare:,} of {column.size - 1:,} values have fewer than {least} training rows and share one"
            if rare
            else ""
        )


@dataclass(frozen=True)
class Buckets:
    """Codes of a hash: the bucket of a value, 0 missing.

    Attributes:
        trained: which buckets have a training row, [buckets + 1].
    """

    trained: np.ndarray

    @classmethod
    def fit(cls, column: Category, weight: np.ndarray) -> Buckets:
        """Fit on the training rows of each bucket."""
        return cls(np.bincount(column.bucket[column.codes], weight, column.kind.buckets + 1) > 0)

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.trained)

    def __call__(self, column: Category) -> np.ndarray:
        bucket = column.bucket[column.codes]
        return np.where(self.trained[bucket], bucket, self.size)


@dataclass(frozen=True)
class Levels:
    """Codes of a bucket: 0 missing, 1 + the number of boundaries at or below the number.

    Attributes:
        boundaries: ascending, [E].
        trained: which codes have a training row, [E + 2].
    """

    boundaries: np.ndarray
    trained: np.ndarray

    @classmethod
    def fit(cls, column: Number, weight: np.ndarray) -> Levels:
        """Take the stated boundaries, or quantiles of the training rows."""
        edges = np.array(column.kind.boundaries, np.float64)
        if not len(edges):
            share = np.arange(1, column.kind.quantiles) / column.kind.quantiles
            edges = np.unique(quantiles(column.values, weight, share))
        code = _levels(column.values, edges)
        return cls(edges, np.bincount(code, weight, len(edges) + 2) > 0)

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.boundaries) + 2

    def __call__(self, column: Number) -> np.ndarray:
        code = _levels(column.values, self.boundaries)
        return np.where(self.trained[code], code, self.size)


@dataclass(frozen=True)
class Scale:
    """A number made comparable: (x - median) / interquartile range of the training rows, log first where asked for.

    Attributes:
        median, spread: of the training rows.
        log: whether sign(x) log(1 + |x|) is taken first.
        knots: distinct quantiles of the scaled training rows, float32 [E]; empty for a periodic embedding.
    """

    median: float
    spread: float
    log: bool
    knots: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def fit(cls, column: Number, weight: np.ndarray) -> Scale:
        """Fit on the training rows. A column without a number there is 0; without a spread its deviation counts."""
        kind = column.kind
        values = _logged(column.values, kind.log)
        found = quantiles(values, weight, np.array([0.25, 0.5, 0.75]))
        if not len(found):
            return cls(0.0, 1.0, kind.log, np.zeros(1, np.float32)[: kind.embedding == "piecewise"])
        spread = found[2] - found[0]
        if spread <= 0:
            there = (weight > 0) & ~np.isnan(values)
            spread = float(np.sqrt(np.average((values[there] - found[1]) ** 2, weights=weight[there]))) or 1.0
        scaled = cls(float(found[1]), float(spread), kind.log)
        if kind.embedding == "periodic":
            return scaled
        knots = quantiles(scaled._scaled(values), weight, np.linspace(0, 1, kind.knots))
        return cls(scaled.median, scaled.spread, kind.log, np.unique(knots.astype(np.float32)))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return (values - self.median) / self.spread

    def __call__(self, column: Number) -> np.ndarray:
        return self._scaled(_logged(column.values, self.log)).astype(np.float32)


@dataclass(frozen=True)
class Tags:
    """Which tags are read: those with enough training rows.

    Attributes:
        known: of each tag, and False for one not in the vocabulary, [values + 1].
    """

    known: np.ndarray

    @classmethod
    def fit(cls, column: TagLists, weight: np.ndarray) -> Tags:
        """Fit on the number of training rows of each tag."""
        there = column.codes >= 0
        rows = np.bincount(column.codes[there], weight[column.row[there]], len(column.values))
        return cls(np.append(rows >= max(1, column.kind.min_count), False))

    def __call__(self, column: TagLists) -> np.ndarray:
        """Return the first known tags of each row, padded with -1, int32 [n, most]."""
        known = self.known[column.codes]
        row, code = column.row[known], column.codes[known]
        count = np.bincount(row, minlength=len(column))
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        found = np.full((len(column), min(MOST_TAGS, max(1, count.max(initial=0)))), -1, np.int32)
        fits = place < MOST_TAGS
        found[row[fits], place[fits]] = code[fits]
        return found

    def note(self, column: TagLists) -> str:
        """Say how many rows have more known tags than are read; "" for none."""
        cut = int((np.bincount(column.row[self.known[column.codes]], minlength=1) > MOST_TAGS).sum())
        return (
            f"{cut:,} of {len(column):,} have more than {MOST_TAGS} tags: the first {MOST_TAGS} are read" if cut else ""
        )


@dataclass(frozen=True)
class Unit:
    """Vectors of any length, divided by the root mean square length of those of the training rows."""

    length: float

    @classmethod
    def fit(cls, column: Vectors, weight: np.ndarray) -> Unit:
        """Fit on the training rows that have a vector."""
        square = np.square(column.matrix, dtype=np.float64).sum(1)
        there = (weight > 0) & (square > 0)
        return cls(float(np.sqrt(np.average(square[there], weights=weight[there]))) if there.any() else 1.0)

    def __call__(self, column: Vectors) -> np.ndarray:
        return (column.matrix / self.length * np.sqrt(column.matrix.shape[1])).astype(np.float32)


CODED = (Codes, Buckets, Levels)
Encoder = Codes | Buckets | Levels | Scale | Tags | Unit


@dataclass(frozen=True)
class Encoders:
    """How a model reads some columns, by name.

    >>> column = Category.plain([1, 2, 2, 3], size=4)
    >>> encoders = Encoders.fit({"tab": column}, weight=np.array([1, 1, 0, 0]))
    >>> encoders.columns.sizes, encoders.values({"tab": column}, 4).codes.tolist()
    ({'tab': 4}, [[1], [2], [2], [4]])
    """

    by_name: Mapping[str, Encoder] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(cls, columns: Mapping[str, Column], weight: np.ndarray) -> Encoders:
        """Fit one encoder per column.

        Args:
            columns: of users, of items or of rows.
            weight: training rows of each of them, [n].
        """
        found: dict[str, Encoder] = {}
        for name, column in columns.items():
            kind: Any = {Category: Codes, TagLists: Tags, Vectors: Unit, Number: Scale}[type(column)]
            kind = {"number": Scale, "bucket": Levels, "hash": Buckets}.get(column.kind.kind, kind)
            found[name] = kind.fit(column, weight)
        return cls(found, {name: x.matrix.shape[1] for name, x in columns.items() if isinstance(x, Vectors)})

    def __len__(self) -> int:
        return len(self.by_name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.by_name)

    @property
    def columns(self) -> Columns:
        """The columns as models know them, without values."""
        return Columns(
            sizes={name: x.size for name, x in self._of(*CODED)},
            numbers={name: torch.from_numpy(x.knots) for name, x in self._of(Scale)},
            tags={name: len(x.known) - 1 for name, x in self._of(Tags)},
            vectors=dict(self.widths),
        )

    def _of(self, *kinds: type) -> list[tuple[str, Any]]:
        return [(name, x) for name, x in self.by_name.items() if isinstance(x, kinds)]

    def values(self, columns: Mapping[str, Column], count: int) -> Values:
        """Encode the columns of `count` rows; one that is absent is unknown in every row."""

        def encoded(name: str, encoder: Encoder, unknown: np.ndarray) -> np.ndarray:
            return encoder(columns[name]) if name in columns else unknown

        codes = [encoded(name, x, np.full(count, x.size)) for name, x in self._of(*CODED)]
        numbers = [encoded(name, x, np.full(count, np.nan, np.float32)) for name, x in self._of(Scale)]
        tags = [encoded(name, x, np.full((count, 1), -1, np.int32)) for name, x in self._of(Tags)]
        vectors = [encoded(name, x, np.zeros((count, self.widths[name]), np.float32)) for name, x in self._of(Unit)]
        most = max((x.shape[1] for x in tags), default=0)
        tags = [np.pad(x, ((0, 0), (0, most - x.shape[1])), constant_values=-1) for x in tags]
        one = [torch.from_numpy(np.stack(x, 1)) if x else None for x in (codes, numbers, tags)]
        return Values(*one, tuple(map(torch.from_numpy, vectors)))

    def notes(self, columns: Mapping[str, Column]) -> list[str]:
        """Say what was put together or cut, one sentence per column where anything was."""
        said = {name: x.note(columns[name]) for name, x in self._of(Codes, Tags)}
        return [f"Column {name}: {note}." for name, note in said.items() if note]

    def table(self, columns: Mapping[str, Column], count: int) -> Columns:
        """Return the columns with the value of each of `count` users or items and, last, of an unknown one."""
        if not self.by_name:
            return Columns()
        return replace(self.columns, values=stacked([self.values(columns, count), self.values({}, 1)]))


def stacked(values: list[Values]) -> Values:
    """Join the values of the same columns, row after row."""

    def joined(name: str) -> torch.Tensor | None:
        parts = [getattr(x, name) for x in values]
        if parts[0] is None:
            return None
        if name == "tags":
            most = max(x.shape[2] for x in parts)
            parts = [torch.nn.functional.pad(x, (0, most - x.shape[2]), value=-1) for x in parts]
        return torch.cat(parts)

    vectors = tuple(torch.cat(x) for x in zip(*(x.vectors for x in values), strict=True))
    return Values(joined("codes"), joined("numbers"), joined("tags"), vectors)


def quantiles(values: np.ndarray, weight: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the smallest values that at least a share of the weight is at or below; none where nothing has weight.

    Args:
        values: [n], NaN counts as absent. weight: [n], at least 0.
        shares: within [0, 1].

    >>> quantiles(np.array([3.0, 1.0, 2.0]), np.array([1, 1, 2]), np.array([0.25, 0.5, 1.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    there = (weight > 0) & ~np.isnan(values)
    order = np.argsort(values[there], kind="stable")
    values, total = values[there][order], np.cumsum(weight[there][order].astype(np.float64))
    if not len(values):
        return values
    return values[np.minimum(np.searchsorted(total, shares * total[-1] * (1 - 1e-12)), len(values) - 1)]


def _levels(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right"))


def _logged(values: np.ndarray, log: bool) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values)) if log else values
