"""From the values of a column, however they are written, to codes, pieces and numbers: what columns are made with."""

from __future__ import annotations

import zlib

import numpy as np
import polars as pl


def row_in_words(row: int) -> str:
    """Say which row of a table is meant, and the line of a text that has it, both counted from 1.

    >>> row_in_words(0)
    'row 1 (line 2 of a text with a header)'
    """
    return f"row {row + 1} (line {row + 2} of a text with a header)"


def plain(column: pl.Series) -> pl.Series:
    """Return a column of sortable values whose missing ones are null."""
    if isinstance(column.dtype, pl.List | pl.Array):
        joined = ["|".join(str(x) for x in entry or () if x is not None) or None for entry in column.to_list()]
        return pl.Series(column.name, joined, pl.String)
    if column.dtype.is_float():
        return column.fill_nan(None)
    if column.dtype.is_integer():
        return column
    return column.cast(pl.String).replace("", None)


def binned(column: pl.Series, edges: np.ndarray) -> pl.Series:
    """Return the number of edges at or below each number, null where it is missing or infinite."""
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    bins = pl.Series(column.name, np.searchsorted(edges, values, side="right"), pl.Int64)
    return bins.to_frame("x").select(pl.when(pl.Series(np.isfinite(values))).then(pl.col("x")))["x"]


def places(column: pl.Series, values: pl.Series) -> np.ndarray:
    """Return 1 + the place of each value in `values`, ascending; 0 where it is null or not there, int64 [n]."""
    if not len(values):
        return np.zeros(len(column), np.int64)
    if values.dtype == pl.String:
        place = column.cast(pl.Enum(values), strict=False).to_physical().cast(pl.Int64)
        return (place + 1).fill_null(0).to_numpy()
    known, given = values.to_numpy(), column.is_not_null().to_numpy()
    wanted = column.fill_null(values[0]).to_numpy()
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(given & (known[place] == wanted), place + 1, 0)


def like(column: pl.Series, dtype: pl.DataType, values: pl.Series | None = None) -> pl.Series:
    """Cast values to the type of known ones: text to its number, and numbers to their text; null where impossible."""
    if column.dtype == dtype and dtype != pl.String:
        return column
    if dtype.is_numeric():
        if column.dtype == pl.String:
            column = column.str.strip_chars()
        exact = column.cast(dtype, strict=False)
        if dtype.is_float():
            return exact.fill_nan(None)
        decimal = column.cast(pl.Float64, strict=False).fill_nan(None)
        whole = decimal.to_frame("x").select(pl.when(pl.col("x") == pl.col("x").round()).then(pl.col("x")))["x"]
        whole = whole.cast(dtype, strict=False)
        return whole if column.dtype.is_float() else exact.fill_null(whole)
    if column.dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        return whole.cast(pl.String).zip_with((whole == column).fill_null(False), column.cast(pl.String))
    text = column.cast(pl.String)
    boolean = values is not None and len(values) and values.is_in(["true", "false"]).all()
    return text.str.to_lowercase() if boolean else text


def hashed(column: pl.Series, buckets: int) -> np.ndarray:
    """Return 1 + CRC-32 of the text of each value, modulo `buckets`; 0 where missing. The same on every machine."""
    text = like(column, pl.String)
    distinct = text.drop_nulls().unique()
    bucket = pl.Series([zlib.crc32(x.encode()) % buckets + 1 for x in distinct], dtype=pl.Int64)
    return text.replace_strict(distinct, bucket, default=0, return_dtype=pl.Int64).to_numpy()


def pieces(column: pl.Series, separator: str) -> tuple[np.ndarray, pl.Series]:
    """Cut each value into distinct tags; return where the tags of each row start, and the tags one after another."""
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = column.cast(pl.List(column.dtype.inner)).cast(pl.List(pl.String))
    else:
        lists = like(column, pl.String).str.split(separator)
    table = pl.DataFrame({"row": pl.Series(np.arange(len(column)), dtype=pl.Int64), "tag": lists}).explode("tag")
    table = table.with_columns(pl.col("tag").str.strip_chars()).filter(pl.col("tag") != "")
    table = table.unique(["row", "tag"], maintain_order=True)
    start = np.append(0, np.cumsum(np.bincount(table["row"].to_numpy(), minlength=len(column))))
    return start.astype(np.int64), table["tag"]


def vectors(column: pl.Series, width: int | None, where: str) -> np.ndarray:
    """Read one vector of numbers per row, zero where there is none; `width` None takes that of the first."""
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = column.cast(pl.List(pl.Float32))
    else:
        text = column.cast(pl.String).str.strip_chars("[]() ").str.replace_all(r"[\s,;|]+", " ").replace("", None)
        lists = text.str.split(" ").cast(pl.List(pl.Float32), strict=False)
        wrong = (lists.list.eval(pl.element().is_null()).list.any()).fill_null(False)
        if wrong.any():
            row = int(wrong.arg_max())
            raise ValueError(f"{where} must hold numbers, found {column[row]!r} in {row_in_words(row)}")
    length = lists.list.len().fill_null(0).to_numpy()
    wide = width or int(length[length > 0][0]) if (length > 0).any() else width or 1
    if ((length > 0) & (length != wide)).any():
        row = int(((length > 0) & (length != wide)).argmax())
        raise ValueError(f"{where} must hold {wide} numbers per row, found {length[row]} in {row_in_words(row)}")
    matrix = np.zeros((len(column), wide), np.float32)
    matrix[length > 0] = lists.drop_nulls().explode().drop_nulls().to_numpy().reshape(-1, wide)
    if not np.isfinite(matrix).all():
        raise ValueError(
            f"{where} holds NaN or infinity, first in {row_in_words((~np.isfinite(matrix)).any(1).argmax())}"
        )
    return matrix
