"""Columns of users, of items or of the context as vectors: categories, numbers, tags and vectors, all of one width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperctr.batch import Columns, Values
from hyperctr.layers.table import STD, Table

WAVES = 24  # frequencies of a periodic embedding
SLOWEST, FASTEST = 0.05, 20.0  # first and last of their first values, per unit of the scaled number


def column_vectors(columns: Columns, dim: int) -> ColumnVectors | None:
    """Return a module that embeds the columns, or None where there are none."""
    return ColumnVectors(columns, dim) if len(columns) else None


class ColumnVectors(Table):
    """One vector per column, in the order of `Columns.names`. An unknown or missing value is zero, except for numbers.

    All categories are rows of one table, this one. Of the other kinds:

    - a number interpolates between the vectors of its two nearest knots (`Piecewise`), or is a sum of waves
      (`Periodic`); a missing number has a vector of its own (`Numbers`); pooled numbers are one vector, their sum;
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
        self.weight.requires_grad_(bool(columns.sizes))  # without a category nothing here is trained
        sizes = torch.tensor(list(columns.sizes.values()), dtype=torch.long)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)  # row of each column's value 0, [K]
        self.register_buffer("sizes", sizes, persistent=False)
        self.numbers = Numbers(list(columns.numbers.values()), dim) if columns.numbers else None
        self.tags = Tags(list(columns.tags.values()), dim) if columns.tags else None
        self.project = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in columns.vectors.values())
        for linear in self.project:
            nn.init.normal_(linear.weight, std=STD)
        fields = columns.number_fields
        place = torch.tensor([fields.index(columns.pooled.get(name, name)) for name in columns.numbers])
        pooled = len(fields) < len(columns.numbers)
        self.register_buffer("field_of_number", place if pooled else None, persistent=False)  # [N]
        self.num_number_fields, self.count, values = len(fields), len(columns), columns.values or Values()
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
            found.append(self.tags.known(self.known_tags).flatten(1).any(1))
        found += [(getattr(self, f"known_vector_{k}") != 0).any(1) for k in range(len(self.project))]
        return torch.stack(found).any(0)

    def of(self, index: Tensor) -> Tensor:
        """Embed the columns of users or items by number: [n] -> [n, J, d]."""
        one = [None if x is None else x[index] for x in (self.rows, self.known_numbers, self.known_tags)]
        vectors = tuple(getattr(self, f"known_vector_{k}")[index] for k in range(len(self.project)))
        return self(Values(*one, vectors), len(index), as_rows=True)  # a call, so that hooks see every look-up

    def forward(self, values: Values | None, count: int, as_rows: bool = False) -> Tensor:
        """Embed the values of `count` rows, [count, J, d]; None is zero, and so is an unknown category.

        `as_rows` says that the codes are rows of this table already.
        """
        if values is None:
            return self.weight.new_zeros(count, self.count, self.embedding_dim)
        rows = values.codes if as_rows or values.codes is None else self._rows(values.codes)
        return self._join(rows, values.numbers, values.tags, values.vectors)

    def _rows(self, codes: Tensor) -> Tensor:
        """Return the rows of this table for the categories, [n, K]; the last row where unknown."""
        known = (codes >= 0) & (codes < self.sizes)
        return (codes + self.first).where(known, self.num_embeddings - 1)

    def _join(
        self, rows: Tensor | None, numbers: Tensor | None, tags: Tensor | None, vectors: tuple[Tensor, ...]
    ) -> Tensor:
        parts = [] if rows is None or not rows.shape[1] else [super().forward(rows)]
        if self.numbers is not None:
            parts.append(self._pooled(self.numbers(numbers)))
        if self.tags is not None:
            parts.append(self.tags(tags))
        parts += [linear(x.to(linear.weight.dtype))[:, None] for linear, x in zip(self.project, vectors, strict=True)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _pooled(self, vectors: Tensor) -> Tensor:
        """Sum the vectors of the numbers of each field: [n, N, d] -> [n, fields, d]."""
        if self.field_of_number is None:
            return vectors
        empty = vectors.new_zeros(len(vectors), self.num_number_fields, vectors.shape[2])
        return empty.index_add(1, self.field_of_number, vectors)


class Numbers(nn.Module):
    """The vectors of numbers: `Piecewise` for those with knots, `Periodic` for the others; and of a missing number.

    What is no row of a table has three dimensions: models draw the first values of all their matrices, which would
    undo the frequencies of `Periodic` and the zeros of a number that no training row lacks.

    Args:
        knots: of each number, as in `Columns.numbers`.
        dim: width of a vector.
    """

    def __init__(self, knots: list[Tensor], dim: int):
        super().__init__()
        self.cut = [n for n, own in enumerate(knots) if len(own)]
        self.waving = [n for n, own in enumerate(knots) if not len(own)]
        self.piecewise = Piecewise([knots[n] for n in self.cut], dim) if self.cut else None
        self.periodic = Periodic(len(self.waving), dim) if self.waving else None
        order = torch.tensor(self.cut + self.waving).argsort()  # where each number is among both kinds
        self.register_buffer("order", order, persistent=False)
        self.missing = nn.Parameter(torch.zeros(1, len(knots), dim))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers, NaN where missing: [n, N] -> [n, N, d]."""
        missing, x = x.isnan()[..., None], x.nan_to_num().to(self.missing.dtype)
        return self._present(x).where(~missing, self.missing)

    def _present(self, x: Tensor) -> Tensor:
        if self.periodic is None:
            return self.piecewise(x)
        if self.piecewise is None:
            return self.periodic(x)
        both = torch.cat([self.piecewise(x[:, self.cut]), self.periodic(x[:, self.waving])], 1)
        return both.index_select(1, self.order)


class Piecewise(nn.Module):
    """A continuous function of a number that is linear between its knots: e(x) = (1 - w) E_k + w E_{k+1}.

    With w = (x - t_k) / (t_{k+1} - t_k) between the knots t_k and t_{k+1}; outside, the vector of the nearest end.
    These are the functions of the piecewise linear encoding followed by a linear map, Gorishniy et al., NeurIPS 2022
    (arXiv 2203.05556), Eq. (1), but constant outside the knots, and written so that a step moves two vectors only.

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
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        self.table = Table(int(counts.sum()), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        above = torch.searchsorted(self.knots, x.T.contiguous(), right=True).T  # knots at or below x
        low = (above - 1).clamp(min=0)
        high = torch.minimum(above, self.last)
        column = torch.arange(x.shape[1], device=x.device)
        start, end = self.knots[column, low], self.knots[column, high]
        weight = ((x - start) / (end - start).where(end > start, 1.0)).clamp(0, 1)[..., None]
        ends = self.first[:, None] + torch.stack([low, high], 2)
        of_low, of_high = self.table(ends).unbind(2)  # one look-up: one gradient of the table
        return torch.lerp(of_low, of_high, weight)


class Periodic(nn.Module):
    """Waves of a number through a linear map: e(x) = W [sin(2 pi c x); cos(2 pi c x)] + b, with c learned.

    Gorishniy et al., NeurIPS 2022 (arXiv 2203.05556), Eq. (2), and a linear layer after it, so that a linear model
    stays linear in the waves. Where we differ: the paper draws the first c from a normal distribution whose deviation
    is searched per data set. Here they are spread evenly in their logarithm, from `SLOWEST` to `FASTEST`, so that a
    slow trend and a fast wave are both near one of them.

    Args:
        count: number of columns N.
        dim: width of a vector.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        spread = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), WAVES)
        self.frequency = nn.Parameter(spread.repeat(1, count, 1))
        self.weight = nn.Parameter(torch.randn(count, 2 * WAVES, dim) * STD)
        self.bias = nn.Parameter(torch.zeros(count, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Embed numbers: [n, N] -> [n, N, d]."""
        angle = 2 * math.pi * x[..., None] * self.frequency  # [n, N, WAVES]
        waves = torch.cat([angle.sin(), angle.cos()], 2).transpose(0, 1)
        return torch.baddbmm(self.bias, waves, self.weight).transpose(0, 1)


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
        self.register_buffer("sizes", counts[:, None], persistent=False)
        self.table = Table(sum(sizes), dim)

    def known(self, tags: Tensor) -> Tensor:
        """Return which tags have a vector, bool [n, T, L]."""
        return (tags >= 0) & (tags < self.sizes)

    def forward(self, tags: Tensor) -> Tensor:
        """Embed tags: [n, T, L], padded with -1 -> [n, T, d]. A tag outside [0, size) is unknown, as padding is."""
        there = self.known(tags)
        rows = (tags.long() + self.first).where(there, self.table.num_embeddings - 1)
        return self.table(rows).sum(2) / there.sum(2, keepdim=True).clamp(min=1)
