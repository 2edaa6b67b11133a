"""What the past is counted by: the user, the item, a column of theirs or of the context, or a cross of two of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hyperctr.data.columns import Category, Column, TagLists
from hyperctr.data.lookup import address, library
from hyperctr.data.row_columns import BatchRows
from hyperctr.layers.bodies import choose

Entries = tuple[np.ndarray | None, np.ndarray]
"""The row of each entry, ascending (None: one entry per row), and its key: -1 where a value is missing. A key that is
too large has never occurred, as one that occurs only later: the two must look alike before it does."""


MISSING, NEVER = -1, -2


@dataclass(frozen=True)
class Side:
    """One side of a key: the user, the item, or a column.

    Attributes:
        name: "user", "item", or that of the column.
        of: whose it is: of users, of items, or of rows.
        size: keys are in [0, size).
        column: categories or tags; None for the user or item itself, and for a column of rows, which `table` holds.
        table: columns of rows by name; a column that it lacks is unknown.
    """

    name: str
    of: Literal["user", "item", "row"]
    size: int
    column: Category | TagLists | None = None
    table: Mapping[str, Column] | None = None

    def entries(self, rows: BatchRows) -> Entries:
        """Return the keys of the rows."""
        if self.of == "row":
            code = np.full(len(rows), MISSING)
            known = np.flatnonzero(rows.row >= 0)
            if self.name in self.table and len(known):
                code[known] = _codes(self.table[self.name][rows.row[known]], self.size)
            return None, code
        index = rows.item if self.of == "item" else rows.user[rows.query]
        if self.column is None:
            return None, index
        known = np.flatnonzero((index >= 0) & (index < len(self.column)))
        column = self.column[index[known]]
        if isinstance(column, TagLists):
            return known[column.row], column.codes
        code = np.full(len(index), MISSING)
        code[known] = _codes(column, self.size)
        return None, code


def _codes(column: Category, size: int) -> np.ndarray:
    """Return codes from 0, of a hash its buckets; -1 where missing or unknown."""
    codes = column.codes if column.bucket is None else column.bucket[column.codes]
    return np.where((codes > 0) & (codes <= size), codes - 1, MISSING)


def _size(column: Category | TagLists) -> int:
    return column.kind.buckets if column.kind.kind == "hash" else len(column.values)


@dataclass(frozen=True)
class Key:
    """A side, or a cross of two of which one is the user or the item.

    Attributes:
        sides: one or two.
        vocabulary: of a cross, the pairs that occur, as one number each, ascending.
        firsts: of a cross, where the pairs of each value of its first side begin in the vocabulary.
    """

    sides: tuple[Side, ...]
    vocabulary: np.ndarray | None = None
    firsts: np.ndarray | None = None

    @classmethod
    def fit(cls, sides: tuple[Side, ...], rows: BatchRows) -> Key:
        """Make a key whose crosses are those that occur in the rows."""
        if len(sides) == 1:
            return cls(sides)
        key = cls(sides)
        pair = key._pairs(*(side.entries(rows) for side in sides))[1]
        vocabulary = np.unique(pair[pair >= 0])
        count = np.bincount(vocabulary // sides[1].size, minlength=sides[0].size)
        return replace(key, vocabulary=vocabulary, firsts=np.append(0, np.cumsum(count)))

    @property
    def name(self) -> str:
        """Such as "item" or "user*tag"."""
        return "*".join(side.name for side in self.sides)

    @property
    def size(self) -> int:
        """Keys are in [0, size)."""
        return self.sides[0].size if self.vocabulary is None else len(self.vocabulary)

    @property
    def of_user(self) -> bool:
        """Whether it tells users apart."""
        return any(side.of == "user" for side in self.sides)

    @property
    def nbytes(self) -> int:
        """Size in memory, without the columns of the data."""
        return 0 if self.vocabulary is None else self.vocabulary.nbytes + self.firsts.nbytes

    def entries(self, rows: BatchRows, sides: dict[str, Entries] | None = None) -> Entries:
        """Return the keys of the rows; `sides` keeps those of each side, so that the next key need not make them."""
        sides = {} if sides is None else sides
        for side in self.sides:
            if side.name not in sides:
                sides[side.name] = side.entries(rows)
        if len(self.sides) == 1:
            return sides[self.sides[0].name]
        row, pair = self._pairs(*(sides[side.name] for side in self.sides))
        return row, choose(_plain_place, _fast_place, library() is not None)(self, pair)

    def _pairs(self, first: Entries, second: Entries) -> Entries:
        (row, one), (other, two) = first, second
        if row is None and other is not None:
            row, one = other, one[other]
        elif row is not None:
            two = two[row]
        pair = one.astype(np.int64) * self.sides[1].size + two
        pair[two >= self.sides[1].size] = NEVER
        pair[(one < 0) | (two < 0)] = MISSING
        return row, pair


def _plain_place(key: Key, pair: np.ndarray) -> np.ndarray:
    """Return the place of each pair in the vocabulary of a cross; its length for those that never occurred."""
    at, size = np.searchsorted(key.vocabulary, pair), len(key.vocabulary)
    there = at < size
    there[there] = key.vocabulary[at[there]] == pair[there]
    return np.where(pair == MISSING, MISSING, np.where(there, at, size))


def _fast_place(key: Key, pair: np.ndarray) -> np.ndarray:
    found, (first, second) = np.empty(len(pair), np.int64), key.sides
    vocabulary = address(key.firsts), address(key.vocabulary), len(key.vocabulary)
    library().place(len(pair), address(pair), second.size, first.size, *vocabulary, address(found))
    return found


def sides_of(
    num_users: int, num_items: int, users: Mapping[str, Column], items: Mapping[str, Column], rows: Mapping[str, Column]
) -> dict[str, Side]:
    """Return everything that can be a side of a key, by name: the user, the item, and all columns of codes or tags.

    Columns of rows are named first, then those of items, then of users, where names repeat.
    """
    found = {"user": Side("user", "user", num_users), "item": Side("item", "item", num_items)}
    for of, columns in (("row", rows), ("item", items), ("user", users)):
        for name, column in columns.items():
            if (
                name not in found
                and isinstance(column, Category | TagLists)
                and (of, type(column)) != ("row", TagLists)
            ):
                size = _size(column)
                found[name] = Side(name, of, size, None if of == "row" else column, rows if of == "row" else None)
    return found


def usual_crosses(sides: Sequence[Side]) -> tuple[str, ...]:
    """Return the crosses that are counted where none are stated: user by item column, item by context column."""
    columns = [side for side in sides if side.name not in ("user", "item")]
    return (
        "user*item",
        *(f"user*{side.name}" for side in columns if side.of == "item"),
        *(f"item*{side.name}" for side in columns if side.of == "row"),
    )
