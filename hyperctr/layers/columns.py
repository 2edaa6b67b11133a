"""Columns of users, of items or of the context as vectors: categories, numbers, tags and vectors, all of one width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Columns, Values
from hyperctr.layers.table import STD, Table

WAVES = 16  # frequencies of a periodic embedding
SPREAD = 1.0  # standard deviation of their first values, per unit of the scaled number


def column_vectors(columns: Columns, dim: int) -> ColumnVectors | None:
    """Return a module that embeds the columns, or None where there are none."""
    return ColumnVectors(columns, dim) if len(columns) else None


class ColumnVectors(Table):
    """One vector per column, in the order of `Columns.names`. An unknown or missing value is zero, but for numbers.

    All categories are rows of one table, this one. Of the other kinds:

    - a number interpolates between the vectors of its two nearest knots (`Piecewise`), or is a sum of waves
      (`Periodic`); a missing number has its own vector;
    - tags have the mean of their vectors;
    - a vector goes through a linear map.

    Args:
        columns: the columns; the values of users and items are kept as buffers.
        dim: width of every vector.

    >>> columns = Columns({"age": 3}, {"price": torch.tensor([0.0, 1.0])})
    >>> values = Values(codes=torch.tensor([[1], [-1]]), numbers=torch.tensor([[0.5], [float("nan")]]))
    >>> ColumnVectors(columns, 4)(values, 2).shape
    torch.Size([2, 2, 4])
    """

    def __init__(self, columns: Columns, dim: int):
        super().__init__(sum(columns.sizes.values()), dim)
        sizes = torch.tensor(list(columns.sizes.values()), dtype=torch.long)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)  # row of each column's value 0, [K]
        self.register_buffer("sizes", sizes, persistent=False)
        piecewise = [knots for knots in columns.numbers.values() if len(knots)]
        self.is_piecewise = [len(knots) > 0 for knots in columns.numbers.values()]
        self.piecewise = Piecewise(piecewise, dim) if piecewise else None
        waves = len(self.is_piecewise) - len(piecewise)
        self.periodic = Periodic(waves, dim) if waves else None
        self.tags = Tags(list(columns.tags.values()), dim) if columns.tags else None
        self.project = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in columns.vectors.values())
        for linear in self.project:
            nn.init.normal_(linear.weight, std=STD)
        self.count, values = len(columns), columns.values or Values()
        self.register_buffer("rows", None if values.codes is None else self._rows(values.codes), persistent=False)
        for name in ("numbers", "tags"):
            self.register_buffer(f"known_{name}", getattr(values, name), persistent=False)
        for k, x in enumerate(values.vectors):
            self.register_buffer(f"known_vector_{k}", x, persistent=False)

    @property
    def known(self) -> Tensor:
        """Which users or items have a known value in some column, bool [num + 1]."""
        found = []
        if self.rows is not None:
            found.append((self.rows < self.num_embeddings - 1).any(1))
        if self.known_numbers is not None:
            found.append(~self.known_numbers.isnan().all(1))
        if self.known_tags is not None:
            found.append((self.known_tags >= 0).flatten(1).any(1))
        found += [(getattr(self, f"known_vector_{k}") != 0).any(1) for k in range(len(self.project))]
        return torch.stack(found).any(0)

    def of(self, index: Tensor) -> Tensor:
        """Embed the columns of users or items by number: [n] -> [n, J, d]."""
        one = [None if x is None else x[index] for x in (self.rows, self.known_numbers, self.known_tags)]
        vectors = tuple(getattr(self, f"known_vector_{k}")[index] for k in range(len(self.project)))
        return self._join(*one, vectors)

    def forward(self, values: Values | None, count: int) -> Tensor:
        """Embed the values of `count` rows, [count, J, d]; None is zero, and so is an unknown category."""
        if values is None:
            return self.weight.new_zeros(count, self.count, self.embedding_dim)
        codes = None if values.codes is None else self._rows(values.codes)
        return self._join(codes, values.numbers, values.tags, values.vectors)

    def _rows(self, codes: Tensor) -> Tensor:
        """Return the rows of this table for the categories, [n, K]; the last row where unknown."""
        known = (codes >= 0) & (codes < self.sizes)
        return (codes + self.first).where(known, self.num_embeddings - 1)

    def _join(
        self, rows: Tensor | None, numbers: Tensor | None, tags: Tensor | None, vectors: tuple[Tensor, ...]
    ) -> Tensor:
        parts = [] if rows is None or not rows.shape[1] else [super().forward(rows)]
        if self.is_piecewise:
            each = torch.tensor(self.is_piecewise)
            found = numbers.new_empty(*numbers.shape, self.embedding_dim)
            if self.piecewise is not None:
                found[:, each] = self.piecewise(numbers[:, each])
            if self.periodic is not None:
                found[:, ~each] = self.periodic(numbers[:, ~each])
            parts.append(found)
        if self.tags is not None:
            parts.append(self.tags(tags))
        parts += [linear(x)[:, None] for linear, x in zip(self.project, vectors, strict=True)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class Piecewise(nn.Module):
    """A continuous function of a number that is linear between its knots: e(x) = (1 - w) E_k + w E_{k+1}.

    With w = (x - t_k) / (t_{k+1} - t_k) between the knots t_k and t_{k+1}; outside, the vector of the nearest end.
    These are the functions of the piecewise linear encoding followed by a linear map, Gorishniy et al., NeurIPS 2022
    (arXiv 2203.05556), Eq. (1), but constant outside the knots, and written so that a step moves two vectors only. A
    missing number has its own vector.

    Args:
        knots: of each number, ascending and distinct, [E] each, at least one.
        dim: width of a vector.
    """

    def __init__(self, knots: list[Tensor], dim: int):
        super().__init__()
        most = max(len(x) for x in knots)
        padded = torch.stack([F.pad(x.float(), (0, most - len(x)), value=math.inf) for x in knots])
        counts = torch.tensor([len(x) for x in knots])
        self.register_buffer("knots", padded, persistent=False)  # [N, most]
        self.register_buffer("last", counts - 1, persistent=False)
        self.register_buffer("first", (counts + 1).cumsum(0) - counts - 1, persistent=False)  # one more row: missing
        self.table = Table(int((counts + 1).sum()), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        missing, value = x.isnan(), x.nan_to_num()
        above = torch.searchsorted(self.knots, value.T.contiguous(), right=True).T  # knots at or below x
        low = (above - 1).clamp(min=0)
        high = torch.minimum(above, self.last)
        column = torch.arange(x.shape[1], device=x.device)
        start, end = self.knots[column, low], self.knots[column, high]
        weight = ((value - start) / (end - start).where(end > start, 1.0)).clamp(0, 1)[..., None]
        low = (self.first + low).where(~missing, self.first + self.last + 1)
        high = (self.first + high).where(~missing, self.first + self.last + 1)
        return (1 - weight) * self.table(low) + weight * self.table(high)


class Periodic(nn.Module):
    """Waves of a number through a linear map: e(x) = ReLU(W [sin(2 pi c x); cos(2 pi c x)] + b), c learned.

    Gorishniy et al., NeurIPS 2022 (arXiv 2203.05556), Eq. (2). A missing number has its own vector.

    Args:
        count: number of columns N.
        dim: width of a vector.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(1, count, WAVES) * SPREAD)
        self.weight = nn.Parameter(torch.randn(count, 2 * WAVES, dim) * STD)
        self.bias = nn.Parameter(torch.zeros(count, 1, dim))
        self.missing = nn.Parameter(torch.zeros(count, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        missing = x.isnan()
        angle = 2 * math.pi * x.nan_to_num()[..., None] * self.frequency  # [n, N, WAVES]
        waves = torch.cat([angle.sin(), angle.cos()], 2).transpose(0, 1)
        found = torch.baddbmm(self.bias, waves, self.weight).transpose(0, 1)
        return found.where(~missing[..., None], self.missing)


class Tags(nn.Module):
    """The mean of the vectors of a row's known tags, zero without one.

    Args:
        sizes: number of tags of each column.
        dim: width of a vector.
    """

    def __init__(self, sizes: list[int], dim: int):
        super().__init__()
        counts = torch.tensor(sizes)
        self.register_buffer("first", (counts.cumsum(0) - counts)[:, None], persistent=False)  # [T, 1]
        self.table = Table(sum(sizes), dim)

    def forward(self, tags: Tensor) -> Tensor:
        """Embed tags: [n, T, L], padded with -1 -> [n, T, d]."""
        there = tags >= 0
        rows = (tags.long() + self.first).where(there, self.table.num_embeddings - 1)
        return self.table(rows).sum(2) / there.sum(2, keepdim=True).clamp(min=1)
