"""Parse the columns of a table into ids, numbers, labels and places in an order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from hyperctr.data.values import row_in_words

_PARTS = (("train", "training", "0"), ("valid", "val", "validation", "dev", "1"), ("test", "testing", "2"))


def parse_ids(table: pl.DataFrame, names: Sequence[str], where: str) -> pl.Series:
    """Parse one id per row, as int64 or text.

    The rules, the same for training and for rows to score (`hyperctr.data.items.Ids` compares):

    - A column of whole numbers gives numbers; 10.0 in a column of floats is 10. Whole numbers beyond int64 are text.
    - Any other column is text as it is written: 007 stays 007. A CSV column with one such cell is text as a whole.
    - A number equals the text that writes it shortest: 10 is "10", but not "010" or "1e1".

    Args:
        table: the rows.
        names: columns that together name a thing; several are joined by "|".
        where: the file, for an error.

    Returns:
        A column "id"; null where a value is missing, NaN or empty.

    Raises:
        ValueError: a column of fractions, lists, bytes, or floats too large to tell whole numbers apart; or a value
            that contains "|" where columns are joined.
    """
    parts = []
    for name in names:
        column = table[name]
        if column.dtype.is_nested() or column.dtype == pl.Binary:
            raise ValueError(f"{where}: column {name!r} cannot be an id, it holds {column.dtype}")
        if column.dtype.is_float():
            column = _whole_ids(column.fill_nan(None), f"{where}: column {name!r}")
        elif column.dtype == pl.Decimal:
            column = column.cast(pl.String).str.replace(r"\.0*$", "")
        fits = column.dtype.is_integer() and (column.max() or 0) < 2**63 and (column.min() or 0) >= -(2**63)
        if not fits:
            column = column.cast(pl.String)
            column = column.set(column == "", None) if (column == "").any() else column
        parts.append(column.cast(pl.Int64).alias(name) if fits else column.alias(name))
    if len(parts) == 1:
        return parts[0].alias("id")
    for part in parts:
        if part.dtype == pl.String and part.str.contains("|", literal=True).any():
            raise ValueError(f'{where}: column {part.name!r} holds "|", which joins the ids of {", ".join(names)}')
    return pl.DataFrame(parts).select(pl.concat_str(pl.all(), separator="|").alias("id")).to_series()


def _whole_ids(column: pl.Series, where: str) -> pl.Series:
    """Convert floats into whole numbers, where each float is one whole number and no other."""
    bits = {pl.Float32: 24, pl.Float64: 53}.get(column.dtype.base_type(), 11)
    if (fraction := (column != column.round()).fill_null(False)).any():
        raise ValueError(f"{where} cannot be an id, it holds fractions such as {column[fraction.arg_max()]}")
    if (coarse := (column.abs() >= 2.0**bits).fill_null(False)).any():
        row = coarse.arg_max()
        raise ValueError(
            f"{where} cannot be an id: {column[row]} in {row_in_words(row)} may stand for several "
            f"whole numbers, as {column.dtype} tells them apart below 2^{bits} only; write whole numbers or text"
        )
    return column.cast(pl.Int64)


def number_by_table(
    column: pl.Series, listed: pl.Series | None, role: str, where: str, other: str
) -> tuple[np.ndarray, np.ndarray]:
    """Number ids by their row in the users or items table; without a table by their sorted order.

    Args:
        column: the ids of the events.
        listed: the ids of the users or items table, None without one.
        role: "user" or "item", for an error.
        where, other: the file of the events and the file of the table, for an error.

    Returns:
        The number of each event's id, int64; the ids in the order of their numbers.

    Raises:
        ValueError: an id of the table is missing or repeated, or an id of the events is not in the table.
    """
    if listed is None:
        listed = column.unique().sort()
        return _numbers(column, listed), listed.to_numpy()
    if listed.null_count():
        raise ValueError(f"{other}: {row_in_words(listed.is_null().arg_max())} has no id")
    if listed.dtype != column.dtype:
        listed, column = listed.cast(pl.String), column.cast(pl.String)
    if listed.n_unique() < len(listed):
        twice = listed.filter(listed.is_duplicated())[0]
        raise ValueError(f"{other}: {role} id {twice!r} is there more than once; every {role} needs one row")
    number = _numbers(column, listed)
    if unknown := int((number < 0).sum()):
        first = column[int((number < 0).argmax())]
        raise ValueError(
            f"{where}: {role} id {first!r} is not in {other} ({count_rows(unknown)} of such {role}s); "
            f"add {'it' if unknown == 1 else 'them'} there or take the rows out"
        )
    return number, listed.to_numpy()


def _numbers(column: pl.Series, listed: pl.Series) -> np.ndarray:
    """Return the place of each id in a list, int64; -1 where it is not there."""
    if column.dtype == pl.Int64 and len(listed):
        low, width = int(listed.min()), int(listed.max()) - int(listed.min()) + 1
        if width <= 4 * len(column) + 2**16:  # a table by id is faster than a search
            place = np.full(width + 1, -1, np.int64)
            place[listed.to_numpy() - low] = np.arange(len(listed))
            if not low <= column.min() <= column.max() < low + width:
                column = column.clip(low - 1, low + width)
                return place[np.where(column.to_numpy() < low, width, column.to_numpy() - low)]
            return place[column.to_numpy() - low]
    index = pl.DataFrame({"id": listed, "number": np.arange(len(listed))})
    found = column.alias("id").to_frame().join(index, on="id", how="left", maintain_order="left")["number"]
    return found.fill_null(-1).to_numpy().astype(np.int64)


def parse_numbers(column: pl.Series, where: str, low: float = -1e18, high: float = 1e18) -> pl.Series:
    """Check that a column has numbers within [low, high], and return it as float64; NaN becomes null.

    Raises:
        ValueError: other values than numbers, or a number out of range (the first is named).
    """
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        there = column.is_not_null()
        text = there & column.cast(pl.Float64, strict=False).is_null() if column.dtype == pl.String else there
        row = int((text if text.any() else there).arg_max())
        found = f"{column[row]!r} ({column.dtype}) in {row_in_words(row)}"
        raise ValueError(f"{where} must hold numbers, found {found}")
    numbers = column.cast(pl.Float64).fill_nan(None)
    wrong = ((numbers < low) | (numbers > high)).fill_null(False)
    if wrong.any():
        row = wrong.arg_max()
        raise ValueError(f"{where}: {numbers[row]:g} in {row_in_words(row)} is not within [{low:g}, {high:g}]")
    return numbers


def parse_labels(column: pl.Series, at_least: float | None, where: str) -> pl.Series:
    """Parse clicks as 0 and 1: a number of `at_least` or more is a click; without it the column must be 0 and 1.

    Raises:
        ValueError: other values than numbers, or other numbers than 0 and 1 where there is no `at_least`.
    """
    if at_least is not None:
        numbers = parse_numbers(column, where)
        if column.dtype in (pl.Float16, pl.Float32):  # 4.1 as this column writes it, not as a float64 does
            at_least = pl.Series([at_least], dtype=column.dtype).cast(pl.Float64)[0]
        return (numbers >= at_least).cast(pl.Float32)
    if column.dtype.is_integer() and column.is_between(0, 1).all():
        return column.cast(pl.Float32)
    numbers = parse_numbers(column, where)
    wrong = ((numbers != 0) & (numbers != 1)).fill_null(False)
    if wrong.any():
        found = f"{numbers[wrong.arg_max()]:g} in {row_in_words(wrong.arg_max())}"
        raise ValueError(f"{where} must hold 0 and 1, found {found}; click_at_least = ... makes clicks of ratings")
    return numbers.cast(pl.Float32)


def parse_conversion(table: pl.DataFrame, columns: Sequence[str], where: str) -> tuple[np.ndarray, list[str]]:
    """Parse conversions, from one column or as the share of a part column in a whole column.

    Args:
        table: the rows.
        columns: one column of conversions in [0, 1], or two: the part and the whole.
        where: the file, for an error.

    Returns:
        float32 [n], NaN where unknown (an empty cell, or a whole of 0); and notes.

    Raises:
        ValueError: other values than numbers, or a number out of range.
    """
    high = 1 if len(columns) == 1 else 1e18
    part, *whole = (parse_numbers(table[name], f"{where}, column {name!r}", 0, high) for name in columns)
    said = []
    if whole:
        known = whole[0].set(whole[0] == 0, None)
        part, over = (part / known).clip(0, 1), int((part > known).fill_null(False).sum())
        said = [
            f"A conversion is {columns[0]} / {columns[1]}; {count_rows(over)} above 1 {'is' if over == 1 else 'are'} 1."
        ]
    return part.cast(pl.Float32).fill_null(np.nan).to_numpy(), said


def parse_parts(column: pl.Series, where: str) -> np.ndarray:
    """Parse the split that a source gives: train, valid and test, or 0, 1 and 2.

    Args:
        column: text in any case (val, validation and dev are also "valid") or numbers; an empty cell is no part.
        where: file and column, for an error.

    Returns:
        int8 [n]: 0, 1 or 2, as in `hyperctr.data.interactions.PARTS`; -1 for no part.

    Raises:
        ValueError: another value; the first is named.

    >>> parse_parts(pl.Series(["train", "Dev", "test", None]), "log.csv, column 'split'").tolist()
    [0, 1, 2, -1]
    """
    if column.dtype.is_numeric():
        column = parse_numbers(column, where).cast(pl.Int64, strict=False)
    text = column.cast(pl.String).str.strip_chars().str.to_lowercase().replace("", None)
    names = {name: number for number, part in enumerate(_PARTS) for name in part}
    part = text.replace_strict(names, default=None, return_dtype=pl.Int8)
    if (wrong := part.is_null() & text.is_not_null()).any():
        raise ValueError(
            f"{where} must hold train, valid and test, or 0, 1 and 2; found {column[wrong.arg_max()]!r} in "
            f"{row_in_words(wrong.arg_max())}"
        )
    return part.fill_null(-1).to_numpy()


def parse_order(column: pl.Series, where: str) -> pl.Series:
    """Parse the places of events in an order, as int64; only their order counts.

    Whole numbers stay as they are. Other numbers and dates become their rank, so that no two different ones are equal.

    Raises:
        ValueError: the column holds other things than numbers or dates.
    """
    if column.dtype.is_integer() and (column.max() or 0) < 2**62 and (column.min() or 0) > -(2**62):
        return column.cast(pl.Int64)
    if not column.dtype.is_temporal():
        column = parse_numbers(column, where, -math.inf, math.inf)
    return column.rank("dense").cast(pl.Int64) - 1


def count_repeats(table: pl.DataFrame) -> int:
    """Count the rows that repeat an earlier row exactly, lists and structs left out.

    Rows are compared by a hash of 64 bits: among 10 million rows the chance of one wrong match is 1 in 300,000.
    """
    flat = [name for name, kind in table.schema.items() if not kind.is_nested()]
    hashes = np.sort(table.select(flat).hash_rows().to_numpy())
    return int((hashes[1:] == hashes[:-1]).sum())


def count_rows(count: int) -> str:
    """Write a number of rows: "1 row", "2 rows"."""
    return "1 row" if count == 1 else f"{count} rows"


def listed(names: Sequence[str], most: int = 12) -> str:
    """List names of columns or files in one line, as they are written; odd ones in quotes, long ones cut.

    >>> listed(["user", "", "a" * 60], most=2)
    "user, '' and 1 more"
    """
    cut = [name[:60] for name in names[:most]]
    shown = ", ".join(name if name.strip() and name.isprintable() else repr(name) for name in cut)
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its type when it has no text."""
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().split("\n")[0] or type(error).__name__
