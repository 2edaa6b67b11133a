"""Columns of users, of items or of the context as vectors: categories, numbers, tags and vectors, all of one width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperctr.batch import PAST_FIELDS, Columns, Values
from hyperctr.layers.numbers import JointNumbers, Numbers
from hyperctr.layers.table import STD, Table


def column_vectors(columns: Columns, dim: int) -> ColumnVectors | None:
    """Return a module that embeds the columns, or None where there are none."""
    return ColumnVectors(columns, dim) if len(columns) else None


class ColumnVectors(Table):
    """One vector per column, in the order of `Columns.names`. An unknown or missing value is zero, except for numbers.

    All categories are rows of one table, this one. Of the other kinds:

    - a number interpolates between the vectors of its two nearest knots, or is a sum of waves; a missing number has a
      vector of its own (`Numbers`); the numbers of the past are `PAST_FIELDS` vectors together (`JointNumbers`);
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
        self.columns = columns  # whose values the buffers are
        self.weight.requires_grad_(bool(columns.sizes))  # without a category nothing here is trained
        sizes = torch.tensor(list(columns.sizes.values()), dtype=torch.long)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)  # row of each column's value 0, [K]
        self.register_buffer("sizes", sizes, persistent=False)
        own = [knots for name, knots in columns.numbers.items() if name not in columns.past]
        joint = [columns.numbers[name] for name in columns.past]
        self.numbers = Numbers(own, dim) if own else None
        self.joint = JointNumbers(joint, len(PAST_FIELDS), dim) if joint else None
        self.num_own = len(own)
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
            parts.append(self.numbers(numbers[:, : self.num_own]))
        if self.joint is not None:
            parts.append(self.joint(numbers[:, self.num_own :]))
        if self.tags is not None:
            parts.append(self.tags(tags))
        parts += [linear(x.to(linear.weight.dtype))[:, None] for linear, x in zip(self.project, vectors, strict=True)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


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
