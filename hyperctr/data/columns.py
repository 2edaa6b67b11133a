"""Columns of users, of items or of the context as they were read: one class per way of holding values.

Each is frozen, is taken by rows (`column[rows]`), and reads the values of later rows by its own vocabulary (`encode`).
What depends on the training rows is fitted later, in `hyperctr.data.features.encoders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from hyperctr.data.features.words import FittedText
from hyperctr.data.kinds import FEW, Kind
from hyperctr.data.values import binned, hashed, like, pieces, places, plain, row_in_words, vectors

CATEGORY, TAGS = Kind(), Kind("tags")
NUM_BINS = 16  # of a float column of more than FEW distinct values that no kind is stated for


@dataclass(frozen=True, eq=False)
class Category:
    """One value per row, as the number of the value.

    Attributes:
        codes: 0 missing, k the value `values[k - 1]`, `size` a value that is not in the vocabulary, int64 [n].
        values: the vocabulary, ascending. Where numbers were cut into bins, the least number of each bin.
        kind: how the values are meant: a category or a hash.
        edges: where numbers were cut into bins, the edges of the bins.
        bucket: of a hash, the bucket of each code from 1, 0 of what is missing.

    >>> column = Category.read(pl.Series(["film", None, "book", "film"]))
    >>> column.codes.tolist(), column.size, column.encode(pl.Series(["book", "song"])).codes.tolist()
    ([2, 0, 1, 2], 3, [1, 3])
    """

    codes: np.ndarray
    values: pl.Series
    kind: Kind = Kind()
    edges: np.ndarray | None = None
    bucket: np.ndarray | None = None

    def __post_init__(self):
        codes = np.asarray(self.codes)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise ValueError(f"categories must be whole numbers [n], got {codes.dtype} {list(codes.shape)}")
        if len(codes) and not 0 <= codes.min() <= codes.max() <= self.size:
            raise ValueError(f"categories must lie in [0, {self.size}), got [{codes.min()}, {codes.max()}]")
        object.__setattr__(self, "codes", codes.astype(np.int64, copy=False))

    @classmethod
    def plain(cls, codes: Any, size: int | None = None) -> Category:
        """Make a column of codes whose values are the codes themselves; `size` counts them, the missing 0 included."""
        codes = np.asarray(codes)
        if size is None and codes.dtype.kind in "iu":
            size = int(codes.max(initial=0)) + 1
        return cls(codes, pl.Series(range(1, size or 1), dtype=pl.Int64))

    @classmethod
    def read(cls, column: pl.Series, kind: Kind = CATEGORY, bins: bool = False) -> Category:
        """Number the values of a column: 0 is missing, then 1, 2, ... in ascending order.

        A list counts as one value, its entries joined by "|". With `bins`, a float column of more than 32 distinct
        values is cut into 16 quantile bins first.
        """
        column = plain(column)
        if bins and column.dtype.is_float() and column.n_unique() > FEW:
            known = column.to_numpy()
            edges = np.quantile(known[np.isfinite(known)], np.arange(1, NUM_BINS) / NUM_BINS)
            table = pl.DataFrame({"bin": binned(column, edges), "least": column})
            least = table.drop_nulls().group_by("bin").min().sort("bin")
            return cls(places(table["bin"], least["bin"]), least["least"], kind, edges)
        values = column.drop_nulls().unique().sort()
        bucket = np.append(0, hashed(values, kind.buckets)) if kind.kind == "hash" else None
        return cls(places(column, values), values, kind, bucket=bucket)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Category:
        return replace(self, codes=self.codes[rows])

    @property
    def size(self) -> int:
        """Number of values, the missing one included."""
        return len(self.values) + 1

    @property
    def are_text(self) -> bool:
        """Whether the values are text, as written."""
        return self.values.dtype == pl.String

    @property
    def missing(self) -> np.ndarray:
        """Where no value is given, bool [n]."""
        return self.codes == 0

    @property
    def unknown(self) -> np.ndarray:
        """Where the value is not in the vocabulary, bool [n]."""
        return self.codes == self.size

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.codes.nbytes

    def encode(self, column: pl.Series) -> Category:
        """Read the values of later rows; a value that is not in the vocabulary has the code `size`.

        A hash knows every value: it gets a vocabulary of its own.
        """
        if self.bucket is not None:
            return Category.read(column, self.kind)
        column, values = plain(column), self.values
        given = column.is_not_null().to_numpy()
        if self.edges is not None:
            column, values = (binned(like(x, pl.Float64), self.edges) for x in (column, values))
        codes = places(like(column, values.dtype, values), values)
        return replace(self, codes=np.where(given & (codes == 0), self.size, codes))

    def series(self) -> pl.Series:
        """Return the values, null where missing or unknown."""
        none = pl.Series([None], dtype=self.values.dtype)
        return pl.concat([none, self.values, none])[self.codes]


@dataclass(frozen=True, eq=False)
class Number:
    """One number per row, float64 [n], NaN where missing; `kind` is a number or a bucket.

    Attributes:
        unknown: where a value was given that is no number, or infinite, bool [n].

    >>> Number.read(pl.Series([1.5, None]), Kind("number"), "log.csv, column 'price'").values.tolist()
    [1.5, nan]
    """

    values: np.ndarray
    kind: Kind = Kind("number")
    unknown: np.ndarray | None = None

    def __post_init__(self):
        if self.unknown is None:
            object.__setattr__(self, "unknown", np.zeros(len(self.values), bool))

    @classmethod
    def read(cls, column: pl.Series, kind: Kind, where: str) -> Number:
        """Read numbers, also those written as text; an infinite one counts as missing.

        Raises:
            ValueError: a value that is no number; the first is named.
        """
        made, text = cls._parsed(column, kind)
        if text.any():
            raise ValueError(
                f"{where} must hold numbers (kind {kind.kind}), found {column[int(text.argmax())]!r} in "
                f'{row_in_words(int(text.argmax()))}; kind = "category" takes any value'
            )
        return made

    @classmethod
    def _parsed(cls, column: pl.Series, kind: Kind) -> tuple[Number, np.ndarray]:
        """Parse numbers; also return which rows have a value that is text or the like, bool [n]."""
        if column.dtype.is_temporal() or column.dtype.is_nested() or column.dtype == pl.Binary:
            numbers = pl.Series([None] * len(column), dtype=pl.Float64)
        else:
            text = column.str.strip_chars().replace("", None) if column.dtype == pl.String else column
            numbers, column = text.cast(pl.Float64, strict=False), text
        values = numbers.fill_null(np.nan).to_numpy().copy()
        wrong = column.is_not_null().to_numpy() & numbers.is_null().to_numpy()
        infinite = np.isinf(values)
        values[infinite] = np.nan
        return cls(values, kind, wrong | infinite), wrong

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Number:
        return replace(self, values=self.values[rows], unknown=self.unknown[rows])

    @property
    def missing(self) -> np.ndarray:
        """Where no number is given, bool [n]."""
        return np.isnan(self.values)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.values.nbytes

    def encode(self, column: pl.Series) -> Number:
        """Read the numbers of later rows; a value that is no number is missing."""
        return self._parsed(column, self.kind)[0]

    def series(self) -> pl.Series:
        """Return the numbers, null where missing."""
        return pl.Series(self.values, nan_to_null=True)


@dataclass(frozen=True, eq=False)
class TagLists:
    """Several distinct tags per row, in the order given.

    Attributes:
        start: where the tags of each row start in `codes`, int64 [n + 1].
        codes: numbers of the tags in `values`, int64; -1 for a tag that is not in the vocabulary.
        values: all tags, ascending, as text.

    >>> column = TagLists.read(pl.Series(["comedy|drama", None, "drama"]), Kind("tags"))
    >>> column.start.tolist(), column.codes.tolist(), column.values.to_list()
    ([0, 2, 2, 3], [0, 1, 1], ['comedy', 'drama'])
    """

    start: np.ndarray
    codes: np.ndarray
    values: pl.Series
    kind: Kind = Kind("tags")

    @classmethod
    def read(cls, column: pl.Series, kind: Kind = TAGS) -> TagLists:
        """Read lists, or text that the kind's separator cuts; spaces around a tag and empty tags are left out."""
        start, tags = pieces(column, kind.separator)
        values = tags.unique().sort()
        return cls(start, places(tags, values) - 1, values, kind)

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, rows: Any) -> TagLists:
        rows = np.arange(len(self))[rows]
        length = np.diff(self.start)[rows]
        start = np.append(0, np.cumsum(length))
        place = np.arange(start[-1]) + np.repeat(self.start[:-1][rows] - start[:-1], length)
        return replace(self, start=start, codes=self.codes[place])

    @property
    def missing(self) -> np.ndarray:
        """Where a row has no tag, bool [n]."""
        return np.diff(self.start) == 0

    @property
    def unknown(self) -> np.ndarray:
        """Where a row has a tag that is not in the vocabulary, bool [n]."""
        return np.bincount(self.row[self.codes < 0], minlength=len(self)) > 0

    @property
    def row(self) -> np.ndarray:
        """The row of each entry of `codes`."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.start.nbytes + self.codes.nbytes

    def encode(self, column: pl.Series) -> TagLists:
        """Read the tags of later rows."""
        start, tags = pieces(column, self.kind.separator)
        return replace(self, start=start, codes=places(tags, self.values) - 1)

    def series(self) -> pl.Series:
        """Return lists of tags, null where there is none."""
        known = self.codes >= 0
        table = pl.DataFrame({"row": self.row[known], "tag": self.values[self.codes[known]]})
        lists = table.group_by("row", maintain_order=True).agg("tag")
        return pl.DataFrame({"row": np.arange(len(self))}).join(lists, on="row", how="left", maintain_order="left")[
            "tag"
        ]


@dataclass(frozen=True, eq=False)
class Vectors:
    """One vector per row, float32 [n, d], zero where missing; `kind` is a vector or a text.

    Attributes:
        words, texts: of a text, what its vectors were made with and of, [n].
    """

    matrix: np.ndarray
    kind: Kind = Kind("vector")
    words: FittedText | None = None
    texts: pl.Series | None = None

    @classmethod
    def read(cls, column: pl.Series, kind: Kind, where: str) -> Vectors:
        """Read lists of numbers, also those written as text ("0.5 1" or "[0.5, 1]"), or turn text into vectors.

        Raises:
            ValueError: lists of different lengths, a value that is no number, or a text without words.
        """
        if kind.kind == "text":
            texts = plain(column)
            try:
                words = FittedText.fit(texts.to_list(), kind.dim)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            return cls(words.vectors(texts.to_list()), kind, words, texts)
        return cls(vectors(column, None, where), kind)

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, rows: Any) -> Vectors:
        texts = None if self.texts is None else self.texts[np.arange(len(self))[rows]]
        return replace(self, matrix=self.matrix[rows], texts=texts)

    @property
    def missing(self) -> np.ndarray:
        """Where the vector is zero, bool [n]."""
        return ~np.asarray(self.matrix).any(1)

    @property
    def unknown(self) -> np.ndarray:
        """Nowhere: each vector is known."""
        return np.zeros(len(self), bool)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.matrix.nbytes

    def encode(self, column: pl.Series) -> Vectors:
        """Read the vectors of later rows; the words of a text are those known.

        Raises:
            ValueError: a vector of another width.
        """
        if self.words is not None:
            texts = plain(column)
            return replace(self, matrix=self.words.vectors(texts.to_list()), texts=texts)
        return replace(self, matrix=vectors(column, self.matrix.shape[1], f"column {column.name!r}"))

    def series(self) -> pl.Series:
        """Return lists of numbers, null where missing; of a text, the texts."""
        if self.texts is not None:
            return self.texts
        lists = pl.Series(self.matrix.tolist(), dtype=pl.List(pl.Float32))
        return lists.to_frame("x").select(pl.when(pl.Series(~self.missing)).then(pl.col("x")))["x"]


Column = Category | Number | TagLists | Vectors


def flat(column: Column) -> pl.Series:
    """Return the values as `series` does, but lists as text that reads as the same values, for files of text.

    >>> flat(TagLists.read(pl.Series([["a", "b"], []]))).to_list()
    ['a|b', None]
    """
    values = column.series()
    if not isinstance(values.dtype, pl.List):
        return values
    texts = values.cast(pl.List(pl.Float64)).cast(pl.List(pl.String)) if isinstance(column, Vectors) else values
    return texts.list.join(" " if isinstance(column, Vectors) else column.kind.separator)


def read_column(column: pl.Series, kind: Kind | None, where: str) -> Column:
    """Read a column as its kind says; a category without a kind, then with floats of many values in 16 bins.

    Args:
        column: as in the file.
        kind: how it is meant; None: the column was named in a plain list.
        where: file and column, for an error.

    Raises:
        ValueError: values that the kind cannot hold.
    """
    if kind is None or kind.kind in ("category", "hash"):
        return Category.read(column, kind or Kind(), bins=kind is None)
    if kind.kind in ("number", "bucket"):
        return Number.read(column, kind, where)
    return TagLists.read(column, kind) if kind.kind == "tags" else Vectors.read(column, kind, where)


def checked(what: str, count: int, columns: Mapping[str, Any]) -> dict[str, Column]:
    """Check that each column has `count` rows; a plain array of codes becomes a category.

    Raises:
        ValueError: another number of rows, or codes that are no whole numbers from 0.
    """
    found = {}
    for name, column in columns.items():
        try:
            column = column if isinstance(column, Column) else Category.plain(column)
        except ValueError as error:
            raise ValueError(f"{what} {name!r}: {error}") from None
        if len(column) != count:
            raise ValueError(f"{what} {name!r} must have {count} rows, got {len(column)}")
        found[name] = column
    return found


def first_codes(column: Column) -> np.ndarray | None:
    """Return one code per row, 0 where missing: the category, or the first tag; None for numbers and vectors."""
    if isinstance(column, Category):
        return column.codes
    if not isinstance(column, TagLists):
        return None
    codes = np.append(column.codes, -1)[np.minimum(column.start[:-1], len(column.codes))]
    return np.where(column.missing, 0, codes + 1)
