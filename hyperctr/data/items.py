"""Items and Users: the tables that a model looks up by number, with their columns and one matrix per modality."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hyperctr.data.columns import Column, checked, first_codes


@dataclass(frozen=True, eq=False, repr=False)
class Items:
    """The items: their original ids, columns, titles, and one matrix per modality.

    Args:
        num_items: number of items, I.
        ids: original ids, [I]; item number i is `ids[i]`. Default: the numbers themselves.
        fields: columns of the items by name, [I] each; an array is codes of categories, 0 for "missing".
        modalities: name to float matrix [I, d], float16 or float32, possibly memory-mapped.
        present: name to bool [I], True where the item has the modality. Default: every row that is not all zeros.
        titles: text to show, [I], "" where unknown.

    Raises:
        ValueError: a table has another number of rows, a field is no column, or a modality has NaN or infinity.

    >>> Items(2, modalities={"visual": np.array([[0.5, 1.0], [0.0, 0.0]], np.float32)})
    Items(2 items, fields: none, modalities: visual 2)
    """

    num_items: int
    ids: np.ndarray | None = None
    fields: Mapping[str, Column] = field(default_factory=dict)
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)
    present: Mapping[str, np.ndarray] = field(default_factory=dict)
    titles: np.ndarray | None = None

    def __post_init__(self) -> None:
        ids, fields = _checked("item", self.num_items, self.ids, self.fields)
        present = dict(self.present)
        for name, matrix in self.modalities.items():
            if name not in present:
                present[name] = present_rows(matrix, self.num_items, f"modality {name!r}")
            elif np.shape(present[name]) != (self.num_items,) or np.shape(matrix)[:1] != (self.num_items,):
                raise ValueError(f"modality {name!r} and its presence need {self.num_items} rows, one per item")
        if unknown := present.keys() - self.modalities.keys():
            raise ValueError(f"presence was given for {sorted(unknown)}, the modalities are {sorted(self.modalities)}")
        if self.titles is not None and len(self.titles) != self.num_items:
            raise ValueError(f"titles must have {self.num_items} rows, one per item, got {len(self.titles)}")
        for name, value in (("ids", ids), ("fields", fields), ("present", present)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return self.num_items

    @property
    def categories(self) -> dict[str, np.ndarray]:
        """One code per item, 0 where missing, of each field that has any: its category, or its first tag, int64 [I]."""
        return {name: codes for name, column in self.fields.items() if (codes := first_codes(column)) is not None}

    def __repr__(self) -> str:
        fields = ", ".join(self.fields) or "none"
        modalities = ", ".join(f"{name} {matrix.shape[1]}" for name, matrix in self.modalities.items()) or "none"
        return f"Items({self.num_items} items, fields: {fields}, modalities: {modalities})"


@dataclass(frozen=True, eq=False, repr=False)
class Users:
    """The users: their original ids and columns.

    Args:
        num_users: number of users, U.
        ids: original ids, [U]; user number u is `ids[u]`. Default: the numbers themselves.
        fields: columns of the users by name, [U] each; an array is codes of categories, 0 for "missing".

    Raises:
        ValueError: a table has another number of rows, or a field is no column.
    """

    num_users: int
    ids: np.ndarray | None = None
    fields: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids, fields = _checked("user", self.num_users, self.ids, self.fields)
        for name, value in (("ids", ids), ("fields", fields)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return self.num_users

    def __repr__(self) -> str:
        return f"Users({self.num_users} users, fields: {', '.join(self.fields) or 'none'})"


class Ids:
    """The original ids of users or items, for looking up their numbers by the rules of `hyperctr.data.parse.parse_ids`.

    A number equals the text that writes it shortest, and a float without a fraction equals its whole number. Where the
    ids are numbers, the texts "10.0" and "10" are both 10, as in a CSV column of decimals; "010" is no number.

    >>> Ids("item", np.array([30, 10])).numbers(["10", "99"]).tolist()
    [1, 2]
    >>> Ids("item", np.array(["007", "10"])).numbers([10.0, 7]).tolist()
    [1, 2]

    Args:
        kind: "user" or "item", for an error.
        ids: the ids by number, [n].
    """

    def __init__(self, kind: str, ids: np.ndarray):
        self.kind, self.ids = kind, np.asarray(ids)
        self.are_text = self.ids.dtype.kind in "OUT"
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def numbers(self, wanted: ArrayLike) -> np.ndarray:
        """Return the number of each id, int64 [k]; an unknown id gets n, the first unused number."""
        wanted = np.asarray(wanted)
        if not len(self.ids) or not wanted.size:
            return np.full(wanted.shape, len(self.ids), np.int64)
        if self._sorted is None:
            ids = self.ids.astype(str) if self.are_text else self.ids
            order = np.argsort(ids, kind="stable")
            self._sorted = ids[order], order
        ids, order = self._sorted
        wanted, usable = (_as_texts if self.are_text else _as_numbers)(wanted)
        at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        return np.where((ids[at] == wanted) & usable, order[at], len(ids)).astype(np.int64)

    def number(self, wanted: Any) -> int:
        """Return the number of one id.

        Raises:
            ValueError: the id is unknown.
        """
        found = int(self.numbers([wanted])[0])
        if found == len(self.ids):
            some = ", ".join(map(str, self.ids[:3]))
            known = f"its {len(self.ids):,} {self.kind}s have ids such as {some}"
            raise ValueError(f"the data has no {self.kind} {str(wanted)!r}; {known}")
        return found


def _as_texts(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray | bool]:
    """Write ids as text; also say which of them are ids at all."""
    if wanted.dtype.kind in "UTbiu":
        return wanted.astype(str), True
    plain = [int(x) if isinstance(x, float | np.floating) and float(x).is_integer() else x for x in wanted.tolist()]
    return np.array([str(x) for x in plain], dtype=str), np.array([x is not None for x in plain])


def _as_numbers(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray | bool]:
    """Read ids as numbers; also say which of them are whole numbers."""
    if wanted.dtype.kind in "iu":
        return wanted, True
    if wanted.dtype.kind in "bf":
        return wanted, np.isfinite(wanted)
    import polars as pl

    texts = pl.Series(_as_texts(wanted)[0])
    whole = texts.str.extract(r"^(-?(?:0|[1-9]\d*))(?:\.0*)?$").cast(pl.Int64, strict=False)
    return whole.fill_null(0).to_numpy(), whole.is_not_null().to_numpy()


def blocks(matrix: np.ndarray, numbers: int = 2**24) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of a matrix as (number of the first row, rows).

    Args:
        matrix: [n, d]; the rows of a memory-mapped file are read from the file, so that they do not stay in memory.
        numbers: numbers per block, at least one row.
    """
    rows = max(1, numbers // max(1, matrix.shape[1]))
    mapped = isinstance(matrix, np.memmap) and isinstance(matrix.base, mmap.mmap) and matrix.flags.c_contiguous
    for start in range(0, len(matrix), rows):
        part = matrix[start : start + rows]
        if mapped:  # a page read through the map would count as memory of this process
            offset = matrix.offset + start * matrix.strides[0]
            part = np.fromfile(matrix.filename, matrix.dtype, part.size, offset=offset).reshape(part.shape)
        yield start, np.asarray(part)


def present_rows(matrix: np.ndarray, num_items: int, name: str, block: int = 2**24) -> np.ndarray:
    """Check a modality matrix and return which items have it; a row of zeros means that the item has none.

    Args:
        matrix: float [I, d]; read block by block, so that a memory-mapped file need not fit in memory.
        num_items: the number of rows it must have.
        name: what to call it in an error, such as its file.
        block: numbers per block.

    Returns:
        bool [I].

    Raises:
        ValueError: another shape, no floats, or NaN or infinity (the first such row is named).
    """
    if matrix.ndim != 2 or len(matrix) != num_items:
        raise ValueError(f"{name} must have {num_items} rows, one per item, got shape {list(matrix.shape)}")
    if matrix.dtype.kind != "f":
        raise ValueError(f"{name} must hold floats (float16 or float32), got {matrix.dtype}")
    present = np.zeros(num_items, dtype=bool)
    for start, rows in blocks(matrix, block):
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise ValueError(
                f"{name} holds NaN or infinity, first in row {row + 1} (the first is 1); write zeros for none"
            )
        present[start : start + len(rows)] = rows.any(axis=1)
    return present


def _checked(kind: str, count: int, ids, fields) -> tuple[np.ndarray, dict[str, Column]]:
    """Check ids and columns, of items and of users alike."""
    ids = np.arange(count) if ids is None else np.asarray(ids)
    if len(ids) != count:
        raise ValueError(f"{kind} ids must have {count} rows, got {len(ids)}")
    return ids, checked(f"{kind} field", count, fields)
