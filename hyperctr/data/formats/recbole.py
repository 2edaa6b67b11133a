"""RecBole's atomic files: NAME.inter, NAME.item, NAME.user, tab-separated, each header cell name:type.

Types: token (a category), token_seq (categories separated by blanks), float, float_seq (numbers separated by
blanks). With NAME.train.inter, NAME.valid.inter and NAME.test.inter (RecBole's benchmark files), or a column x_label
(0, 1, 2; MMRec's files), the source's own split is kept. A float_seq of items is a modality;
the other columns of items and users are fields. Which column is the
user, item, time and click is guessed from the usual names, as for any file. Source:
https://recbole.io/atomic_files.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.formats.files import check_folder, find_files
from hyperctr.data.formats.source import Source, with_split
from hyperctr.data.parse import first_line
from hyperctr.data.tables import narrowed

HOME = "https://recbole.io/atomic_files.html"
KINDS = {
    "token": "category",
    "token_seq": {"kind": "tags", "separator": " "},
    "float": "number",
    "float_seq": "vector",
}
"""The kind that each type becomes."""


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
        log = with_split({part: _table(file).frame for part, file in parts.items()})
    else:
        log = _table(files[f"{name}.inter"]).frame
    found = {kind: _table(file) for kind in ("item", "user") for file in find_files(folder, f"{name}.{kind}")[:1]}
    column = "split" if parts else "x_label" if "x_label" in log.columns else None
    columns = [log.columns, *(found[kind].frame.columns if kind in found else [] for kind in ("item", "user"))]
    usual = {"user": "userID", "item": "itemID"} if {"userID", "itemID"} <= set(log.columns) else {}
    roles, said = role_table.guess(*columns, str(folder), usual | ({"split": column} if column else {}) | dict(stated))
    for kind, table in found.items():
        titles = [x for x in table.kinds if kind == "item" and "title" in x.lower()]
        chosen = {"title": titles[0]} if titles else {}
        taken = {*roles["interactions"][kind], *titles}
        roles[f"{kind}s"] = chosen | {"fields": {x: is_a for x, is_a in table.kinds.items() if x not in taken}}
    frames = [found[kind].frame if kind in found else None for kind in ("item", "user")]
    return Source(log, roles, *frames, found["item"].vectors if "item" in found else {}).noted(said)


@dataclass(frozen=True)
class _Table:
    """One file: its columns without their types, the kind of each, and the float_seq columns as matrices."""

    frame: pl.DataFrame
    kinds: Mapping[str, Any]
    vectors: Mapping[str, np.ndarray]


def _table(file: Path) -> _Table:
    try:
        table = pl.read_csv(file, separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot read {file}: {first_line(error)}") from None
    columns, kinds, vectors = [], {}, {}
    for cell in table.columns:
        name, _, kind = (part.strip() for part in cell.partition(":"))
        column = table[cell].alias(name)
        if kind not in KINDS:
            raise ValueError(f"{file}: header cell {cell!r} is not name:type with a type of {', '.join(KINDS)}")
        if kind != "float_seq":
            kinds[column.name] = KINDS[kind]
        if kind == "float":
            columns.append(_numbers(column, file))
        elif kind == "float_seq":
            vectors[column.name] = _vectors(column, file)
        else:
            columns.append(column if kind == "token_seq" else narrowed(column))
    return _Table(pl.DataFrame(columns), kinds, vectors)


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
