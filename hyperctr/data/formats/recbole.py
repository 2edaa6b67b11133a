"""RecBole's atomic files: NAME.inter, NAME.item, NAME.user, tab-separated, each header cell name:type.

Types: token (a category), token_seq (categories separated by blanks), float, float_seq (numbers separated by
blanks). With NAME.train.inter, NAME.valid.inter and NAME.test.inter (RecBole's benchmark files), or a column x_label
(0, 1, 2; MMRec's files), the source's own split is kept. A float_seq of items is a modality. Which column is the
user, item, time and click is guessed from the usual names, as for any file. Source:
https://recbole.io/atomic_files.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.formats.files import check_folder, find_files
from hyperctr.data.formats.source import Source, with_split
from hyperctr.data.parse import first_line
from hyperctr.data.tables import narrowed

HOME = "https://recbole.io/atomic_files.html"
KINDS = ("token", "token_seq", "float", "float_seq")


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder, or the folder of one of its files.

    Raises:
        ValueError: there is no .inter file, or several sets; an unknown type in a header; no column for the user.
    """
    folder = path.parent if path.suffix in (".inter", ".item", ".user") and path.is_file() else check_folder(path)
    files = {file.name: file for file in find_files(folder, "*.inter")}
    names = {name.split(".")[0] for name in files}
    if len(names) != 1:
        raise ValueError(
            f"{folder} has {'no .inter file' if not names else 'several sets: ' + ', '.join(sorted(names))}"
        )
    (name,) = names
    parts = {
        part: files[f"{name}.{part}.inter"] for part in ("train", "valid", "test") if f"{name}.{part}.inter" in files
    }
    if parts:
        log = with_split({part: _table(file)[0] for part, file in parts.items()})
    else:
        log, _ = _table(files[f"{name}.inter"])
    items, users = ([_table(file) for file in find_files(folder, f"{name}.{kind}")[:1]] for kind in ("item", "user"))
    items, vectors = items[0] if items else (None, {})
    users = users[0][0] if users else None
    column = "split" if parts else "x_label" if "x_label" in log.columns else None
    columns = [list(table.columns) if table is not None else [] for table in (log, items, users)]
    usual = {"user": "userID", "item": "itemID"} if {"userID", "itemID"} <= set(log.columns) else {}
    roles, said = role_table.guess(*columns, str(folder), usual | ({"split": column} if column else {}) | dict(stated))
    return Source(log, roles, items, users, vectors).noted(said)


def _table(file: Path) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Read one file: its columns without their types; and the float_seq columns as matrices."""
    try:
        table = pl.read_csv(file, separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot read {file}: {first_line(error)}") from None
    columns, vectors = [], {}
    for cell in table.columns:
        name, _, kind = cell.partition(":")
        column = table[cell].alias(name.strip())
        if kind.strip() not in KINDS:
            raise ValueError(f"{file}: header cell {cell!r} is not name:type with a type of {', '.join(KINDS)}")
        if kind == "float":
            columns.append(_numbers(column, file))
        elif kind == "float_seq":
            vectors[column.name] = _vectors(column, file)
        else:
            columns.append(column if kind == "token_seq" else narrowed(column))
    return pl.DataFrame(columns), vectors


def _numbers(column: pl.Series, file: Path) -> pl.Series:
    """Convert a float column; whole numbers below 2^53, such as times, become whole."""
    number = column.cast(pl.Float64, strict=False)
    if (wrong := number.is_null() & column.is_not_null()).any():
        raise ValueError(f"{file}: {column[wrong.arg_max()]!r} in float column {column.name} is no number")
    whole = ((number == number.round()) & (number.abs() < 2**53)).fill_null(True).all()
    return number.cast(pl.Int64) if whole else number


def _vectors(column: pl.Series, file: Path) -> np.ndarray:
    """Convert a float_seq column into a matrix; an empty cell becomes zeros."""
    cells = [text.split() for text in column.fill_null("").to_list()]
    widths = {len(cell) for cell in cells if cell}
    if len(widths) != 1:
        raise ValueError(
            f"{file}: float_seq column {column.name} needs equally many numbers per row, got {sorted(widths)[:5]}"
        )
    try:
        return np.array([cell or ["0"] * max(widths) for cell in cells], np.float32)
    except ValueError:
        raise ValueError(f"{file}: float_seq column {column.name} has a cell that is no list of numbers") from None
