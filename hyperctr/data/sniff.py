"""Find out what a file is before it is parsed: kind, compression, encoding, separator, header, line ends."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HEAD = 2**18  # bytes of a text that decide its separator and header
MOST_COLUMNS = 10_000
MOST_TIMES = 200  # a file that unpacks to more than 200 times its size, and to more than LEAST bytes, is refused
LEAST = 2**28
SEPARATORS = ("\t", "::", ";", "|", ",", " ")  # where two are equally good, the earlier one
NAMES = {"\t": "tabs", "::": '"::"', ";": '";"', "|": '"|"', ",": "commas", " ": "blanks"}
INSIDE = "\x1f"  # stands for "::" and for runs of blanks while a text is parsed
NAMES[INSIDE] = '"::" or blanks'
_OTHERS = (  # how files begin that are no table; what they are, and what to do
    (b"\x89HDF", "an HDF5 file", "write its table as .csv or .parquet"),
    (b"\x93NUMPY", "a .npy matrix", "a matrix is a modality, not a table"),
    (b"ARROW1", "an Arrow file", "write it as .parquet"),
    (b"SQLite", "an SQLite database", "write its table as .csv or .parquet"),
    *(
        (bytes([0x80, protocol]), "a pickle", "pickles are never opened; write the table as .csv or .parquet")
        for protocol in (2, 3, 4, 5)
    ),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it with `zstd -d`"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"%PDF", "a PDF file", "write its table as .csv"),
)
_BOMS = (
    (b"\xef\xbb\xbf", "UTF-8"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_VALUE = re.compile(
    r"\s*([+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?|\d{4}-\d\d?-\d\d?\b.*|\d\d?/\d\d?/\d{4}.*|nan)\s*", re.I
)


@dataclass(frozen=True)
class Sniffed:
    """What a file is.

    Args:
        parquet: whether it is a Parquet file; what follows is then as by default.
        content: the text as plain UTF-8, where it had to be unpacked, decoded or rewritten; None: read the file itself.
        separator: one character, as the text is to be split.
        quoted: whether a cell may be put in double quotes.
        header: whether the first line names the columns.
        columns: the names of the columns.
        padded: whether cells have blanks around them that are no part of the value.
        notes: what is unusual, in sentences.
    """

    parquet: bool = False
    content: bytes | None = None
    separator: str = ","
    quoted: bool = True
    header: bool = True
    columns: tuple[str, ...] = ()
    padded: bool = False
    notes: tuple[str, ...] = ()


def sniff(file: Path) -> Sniffed:
    """Find out what a file is from its bytes, not from its name.

    Read are Parquet, and text whose cells are separated by commas, tabs, ";", "|", "::" or blanks, as UTF-8 or as
    UTF-16 with its mark, also packed by gzip, bz2, xz or as the only file of a zip.

    Raises:
        ValueError: in one line: no such file, a folder, an empty or a damaged file, a file of another kind, text in
            another encoding, a column name that is there twice.

    >>> file = Path("log.txt")
    >>> _ = file.write_text("7::book::5\\n8::film::9\\n")
    >>> found = sniff(file)
    >>> found.columns, found.notes
    (('column_1', 'column_2', 'column_3'), ('log.txt: cells are separated by "::"; there is no header, so the columns \
are column_1 to column_3.',))
    """
    if file.is_dir():
        raise ValueError(f"{file} is a folder; a file is needed here")
    if not file.exists():
        raise ValueError(f"there is no file {file}")
    if not file.is_file():
        raise ValueError(f"{file} is no regular file")
    with file.open("rb") as opened:
        start = opened.read(8)
    if not start:
        raise ValueError(f"cannot read {file}: it is empty")
    said: list[str] = []
    content = _unpacked(file, start, said)
    if content is not None:
        start = content[:8]
        if not start:
            raise ValueError(f"cannot read {file}: what is packed in it is empty")
    if start.startswith(b"PAR1"):
        if content is None and file.suffix != ".parquet":
            said.append("this is Parquet")
        return Sniffed(parquet=True, content=content, notes=_notes(file, said))
    for begins, what, remedy in _OTHERS:
        if start.startswith(begins):
            raise ValueError(f"{file} is {what}, no table of text or Parquet; {remedy}")
    return _sniff_text(file, content, said)


def _unpacked(file: Path, start: bytes, said: list[str]) -> bytes | None:
    """Unpack a file into memory; None when it is not packed."""
    openers = {b"\x1f\x8b": ("gzip", gzip.open), b"BZh": ("bz2", bz2.open), b"\xfd7zXZ": ("xz", lzma.open)}
    try:
        if start.startswith(b"PK\x03\x04") or start.startswith(b"PK\x05\x06"):
            with zipfile.ZipFile(file) as archive:
                names = [entry for entry in archive.namelist() if not entry.endswith("/")]
                if any(name.startswith("xl/") for name in names):
                    raise ValueError(f"{file} is an Excel workbook; save the sheet as .csv")
                if len(names) != 1:
                    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                    raise ValueError(f"{file} is a zip of {len(names)} files ({listed}); unpack it and name one file")
                said.append(f"unpacked {names[0]} from the zip")
                with archive.open(names[0]) as packed:
                    return _limited(file, packed)
        for begins, (name, opener) in openers.items():
            if start.startswith(begins):
                said.append(f"unpacked with {name}")
                with opener(file) as packed:
                    return _limited(file, packed)
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise ValueError(f"cannot unpack {file}: it is damaged or cut short ({error})") from None
    return None


def _limited(file: Path, packed: IO[bytes]) -> bytes:
    """Read an unpacked stream up to the size that is believed."""
    most = max(LEAST, MOST_TIMES * file.stat().st_size)
    content = io.BytesIO()
    while block := packed.read(2**20):
        content.write(block)
        if content.tell() > most:
            raise ValueError(
                f"{file} unpacks to more than {most:,} bytes, {MOST_TIMES} times its size; unpack it yourself"
            )
    return content.getvalue()


def _sniff_text(file: Path, content: bytes | None, said: list[str]) -> Sniffed:
    """Find the encoding, line ends, separator and header of a text."""
    content = _decoded(file, content, said)
    with file.open("rb") if content is None else io.BytesIO(content) as opened:
        head = opened.read(HEAD)
    if b"\0" in head:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise ValueError(
            f"{file} is no text: line {line} has a byte 0; UTF-16 is read if it begins with its mark (BOM), "
            "else convert it with `iconv -f UTF-16LE -t UTF-8`"
        )
    if b"\r" in head and b"\n" not in head:
        content = (file.read_bytes() if content is None else content).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head = content[:HEAD]
        said.append("lines end in CR")
    lines = head.decode("utf-8", "replace").splitlines(keepends=True)
    if len(head) == HEAD and len(lines) > 1:
        lines.pop()  # it may be cut
    lines = [line for line in lines[:500] if line.strip()]
    if not lines:
        raise ValueError(f"cannot read {file}: it has only blank lines")
    if lines[0].lstrip()[0] in "{[" and lines[0].rstrip()[-1] in "}]":
        raise ValueError(f"{file} holds JSON, no table; write it as .csv or .parquet")
    separator = _separator(lines)
    rows = split_lines(lines, separator, '"' if separator not in ("::", " ") else None)
    header, names = _header(rows)
    if separator != ",":
        said.append(f"cells are separated by {NAMES[separator]}")
    if not header:
        said.append(f"there is no header, so the columns are column_1 to column_{len(names)}")
    padded = separator != " " and len(names) > 1 and all(cell[:1] == " " for cell in rows[0][1:])
    if padded:
        names = [name.strip() for name in names]
        said.append("blanks around cells are left out")
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{file}: its first line has {len(names):,} cells separated by {NAMES[separator]}; no log has")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"{file}: column {twice!r} is there twice; give each column a name of its own")
    if separator in ("::", " "):
        content = file.read_bytes() if content is None else content
        content = content.replace(b"::", INSIDE.encode()) if separator == "::" else _joined_blanks(content)
    quoted = separator not in ("::", " ")
    inside = separator if quoted else INSIDE
    return Sniffed(False, content, inside, quoted, header, tuple(names), padded, _notes(file, said))


def _decoded(file: Path, content: bytes | None, said: list[str]) -> bytes | None:
    """Return a text with a mark of its encoding as UTF-8 without the mark; others as they are."""
    with file.open("rb") if content is None else io.BytesIO(content) as opened:
        start = opened.read(4)
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            content = file.read_bytes() if content is None else content
            if encoding == "UTF-8":
                return content[len(mark) :]
            try:
                said.append(f"this is {encoding}")
                return content.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise ValueError(f"{file} begins as {encoding}, but byte {error.start} cannot be decoded") from None
    return content


def _separator(lines: Sequence[str]) -> str:
    """Choose the separator that cuts the most lines into the same number of cells, and then into the most cells."""
    best, chosen = (0.0, 0, 0), ","
    for order, separator in enumerate(SEPARATORS):
        rows = split_lines(lines, separator, '"' if separator not in ("::", " ") else None)
        if not rows:
            continue
        width, count = Counter(len(row) for row in rows).most_common(1)[0]
        share = count / len(rows) if len(rows[0]) == width or len(rows) > 2 else 0
        if width < 2 or (separator == " " and (share < 0.9 or len(rows[0]) != width or best[0] > 0)):
            continue
        if (score := (round(share, 1), width, -order)) > best:
            best, chosen = score, separator
    if not best[0]:  # no two lines agree: the first one decides
        counts = {separator: lines[0].count(separator) for separator in SEPARATORS[:-1]}
        chosen = max(counts, key=lambda x: counts[x]) if any(counts.values()) else ","
    return chosen


def split_lines(lines: Sequence[str], separator: str, quote: str | None) -> list[list[str]]:
    """Split lines of text into cells.

    >>> split_lines(["a,b", '"x,y",3'], ",", '"')
    [['a', 'b'], ['x,y', '3']]
    """
    if separator == "::":
        return [line.rstrip("\r\n").split("::") for line in lines]
    if separator == " ":
        return [line.split() for line in lines]
    csv.field_size_limit(2**31 - 1)
    how = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return list(csv.reader(lines, delimiter=separator, quotechar=quote or '"', quoting=how))


def _header(rows: Sequence[Sequence[str]]) -> tuple[bool, list[str]]:
    """Tell whether the first row names the columns, and name them.

    It does, unless it has a number or a date in every column where the later rows all have one.
    """
    first, rest = rows[0], rows[1:]
    values = [k for k, cell in enumerate(first) if _VALUE.fullmatch(cell)]
    below = [
        k for k in range(len(first)) if all(_VALUE.fullmatch(row[k]) for row in rest if k < len(row) and row[k].strip())
    ]
    missing = bool(values) and (set(below) <= set(values) if rest else True)
    return not missing, [f"column_{k + 1}" for k in range(len(first))] if missing else list(first)


def _joined_blanks(content: bytes) -> bytes:
    """Write each run of blanks or tabs inside a line as one separator."""
    content = re.sub(rb"(?m)^[ \t]+|[ \t\r]+$", b"", content)
    return re.sub(rb"[ \t]+", INSIDE.encode(), content)


def _notes(file: Path, said: Sequence[str]) -> tuple[str, ...]:
    return (f"{file.name}: {'; '.join(said)}.",) if said else ()
