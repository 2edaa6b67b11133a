"""Read a table as it is: Parquet, or text whose cells become numbers only where that changes nothing."""

from __future__ import annotations

import csv
import io
import mmap
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hyperctr.data.parse import first_line
from hyperctr.data.sniff import MOST_TIMES, NAMES, Sniffed, sniff

ROWS = 2**18  # rows of a text that are parsed at a time


@dataclass(frozen=True)
class Table:
    """A table as read, and notes on what was unusual about its file."""

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()


def read_table(file: Path, text: Collection[str] = ()) -> Table:
    """Read a table of any kind that `sniff` recognises.

    Text becomes numbers only where that changes nothing, so that the id 007 stays as it is; an empty cell is null.

    Args:
        file: the file.
        text: columns that stay text, if the file is text.

    Raises:
        ValueError: in one line: the file is missing, damaged, or of another kind; a line has too many or too few cells,
            or bytes that are no UTF-8.
    """
    try:
        found = sniff(file)
        if found.parquet:
            return Table(_read_parquet(file, found.content), found.notes)
        return _read_text(file, found, text)
    except (pl.exceptions.PolarsError, OSError, MemoryError) as error:
        raise ValueError(f"cannot read {file}: {first_line(error)}") from None


def _read_parquet(file: Path, content: bytes | None) -> pl.DataFrame:
    source = file if content is None else io.BytesIO(content)
    size = file.stat().st_size if content is None else len(content)
    if size < 12 or (_end(file) if content is None else content[-4:]) != b"PAR1":
        raise ValueError(f"cannot read {file}: it begins as Parquet, but its end is missing; it was cut short")
    try:
        with _silent():
            rows = pl.scan_parquet(source, glob=False).select(pl.len()).collect().item()
            if rows > MOST_TIMES * size:
                raise ValueError(f"cannot read {file}: it claims {rows:,} rows in {size:,} bytes; it is damaged")
            return pl.read_parquet(source, glob=False)
    except pl.exceptions.PanicException as error:
        raise ValueError(f"cannot read {file}: this Parquet file is damaged ({first_line(error)})") from None


def _end(file: Path) -> bytes:
    """Return the last four bytes of a file."""
    with file.open("rb") as opened:
        opened.seek(-4, os.SEEK_END)
        return opened.read()


@contextmanager
def _silent() -> Iterator[None]:
    """Hide what polars itself writes to stderr when damaged Parquet makes it panic."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _read_text(file: Path, found: Sniffed, text: Collection[str]) -> Table:
    """Parse a text block by block; a column whose blocks differ in kind is parsed again as a whole."""
    commas = found.separator != ","
    parts: dict[str, list[pl.Series]] = {name: [] for name in found.columns}
    kinds: dict[str, pl.DataType] = {}
    again: set[str] = set()
    try:
        for block in _scan(file, found).collect_batches(chunk_size=ROWS):
            for column in block:
                name = column.name
                if name in again:
                    continue
                if name not in text:
                    column = narrowed(column)
                if column.null_count() == len(column):
                    column = column.cast(pl.Null)
                elif kinds.setdefault(name, column.dtype) != column.dtype:
                    again.add(name)
                parts[name].append(column)
        columns, said = {}, []
        for name in found.columns:
            pieces = parts.pop(name)
            if name in again or (commas and kinds.get(name) == pl.String and name not in text):
                column = _scan(file, found).select(name).collect().to_series()
                plain = with_decimal_points(column) if commas else None
                if plain is not None:
                    said.append(f"{file.name}: column {name} has decimal commas.")
                columns[name] = narrowed(column if plain is None else plain)
            else:
                kind = kinds.get(name, pl.Int64)
                columns[name] = pl.concat([x.cast(kind) for x in pieces]) if pieces else pl.Series(name, [], kind)
    except pl.exceptions.PolarsError:
        if wrong := _wrong_line(file, found):
            raise ValueError(wrong) from None
        raise
    frame = pl.DataFrame(columns)
    if frame.width > 1 and frame[:, -1].null_count() and (wrong := _wrong_cells(file, found)):
        raise ValueError(wrong)
    return Table(frame, (*found.notes, *said))


def _scan(file: Path, found: Sniffed) -> pl.LazyFrame:
    """Return the cells of a text, as text."""
    frame = pl.scan_csv(
        file if found.content is None else found.content,
        separator=found.separator,
        quote_char='"' if found.quoted else None,
        has_header=found.header,
        infer_schema=False,
        new_columns=list(found.columns),
        glob=False,
    )
    return frame.select(pl.all().str.strip_chars(" ").replace("", None)) if found.padded else frame


def _wrong_line(file: Path, found: Sniffed) -> str | None:
    """Name the first line that is no UTF-8, or has another number of cells than the first; None without one."""
    with _opened(file, found) as opened:
        for number, line in enumerate(opened, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{file}, line {number}: byte {line[error.start]:#04x} is not UTF-8, the encoding that was tried; "
                    "convert the file, e.g. `iconv -f LATIN1 -t UTF-8 old.csv > new.csv` (-f GBK for Chinese)"
                )
    return _wrong_cells(file, found)


def _wrong_cells(file: Path, found: Sniffed) -> str | None:
    """Name the first line that has another number of cells than the first line; None without one."""
    width, quoted = len(found.columns), found.quoted and _has_quotes(file, found)
    if not quoted:
        source = file if found.content is None else found.content
        lines = pl.scan_csv(
            source, has_header=False, separator="\x1e", quote_char=None, schema={"line": pl.String}, glob=False,
            truncate_ragged_lines=True,
        )  # fmt: skip
        cells = pl.col("line").str.count_matches(found.separator, literal=True) + 1
        if not lines.select((cells != width).any()).collect().item():
            return None
    with _opened(file, found) as opened, io.TextIOWrapper(opened, "utf-8", "replace", newline="") as lines:
        how = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        rows = csv.reader(lines, delimiter=found.separator, quoting=how)
        try:
            for row in rows:
                if row and len(row) != width:
                    first = "header" if found.header else "first line"
                    split = f"cells are separated by {NAMES[found.separator]}"
                    return f"{file}, line {rows.line_num}: {len(row)} cells where the {first} has {width}; {split}"
        except csv.Error as error:
            return f"{file}, line {rows.line_num}: {error}"
    return None


def _opened(file: Path, found: Sniffed):
    return file.open("rb") if found.content is None else io.BytesIO(found.content)


def _has_quotes(file: Path, found: Sniffed) -> bool:
    if found.content is not None:
        return b'"' in found.content
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b'"') >= 0


def narrowed(column: pl.Series) -> pl.Series:
    """Convert text into whole numbers, decimals or true/false where every cell allows it and nothing is lost.

    >>> narrowed(pl.Series(["1", "2"])).dtype, narrowed(pl.Series(["007", "2"])).dtype
    (Int64, String)
    """
    for kind in (_as_whole, _as_truth, _as_decimal):
        if kind(column.head(64)) is not None and (made := kind(column)) is not None:
            return made
    return column


def _as_whole(column: pl.Series) -> pl.Series | None:
    """Convert text into int64 where each number is written in its shortest form; None where a cell is not."""
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() != column.null_count():
        return None
    size, lengths = whole.abs(), column.str.len_bytes().sum()
    shortest = whole.count() + int((whole < 0).sum() or 0)  # one digit each, and the minus
    power, most = 10, size.max() or 0
    while power <= most:
        shortest += int((size >= power).sum())
        power *= 10
    return whole if lengths == shortest else None


def _as_truth(column: pl.Series) -> pl.Series | None:
    lower = column.str.to_lowercase()
    return lower == "true" if lower.is_in(["true", "false"]).fill_null(True).all() else None


def _as_decimal(column: pl.Series) -> pl.Series | None:
    decimal = column.cast(pl.Float64, strict=False)
    if decimal.null_count() != column.null_count():
        return None
    lossy = column.str.contains(r"^[+-]?(0\d|\d{16,}(\.|$))").fill_null(False).any()  # 007, or more digits than fit
    return None if lossy else decimal


def with_decimal_points(column: pl.Series) -> pl.Series | None:
    """Write decimal commas as points; None where a cell is no number, no cell has a comma, or all may be thousands.

    >>> with_decimal_points(pl.Series(["1,5", "20", None])).to_list()
    ['1.5', '20', None]
    >>> with_decimal_points(pl.Series(["1,500", "20,000"])) is None
    True
    """
    if not column.str.contains(r"^[+-]?\d+(,\d+)?$").fill_null(True).all():
        return None
    commas = column.filter(column.str.contains(",", literal=True))
    if not len(commas) or commas.str.contains(r"^[+-]?[1-9]\d{0,2},\d{3}$").all():
        return None
    return column.str.replace(",", ".", literal=True)
