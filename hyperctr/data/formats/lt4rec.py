"""The sample that LT4REC's authors published (Tencent Video): TFRecord files of tf.train.Example, gzipped or not.

A record is its length (8 bytes, little endian), a checksum (4), the Example, and a checksum (4); an Example is a
protocol buffer of names and lists of texts, decimals or whole numbers. FEA_UID and FEA_VID are user and item, label
the click, cvrlabel the share of the video that was watched, and the time in milliseconds is the second part of
seqnum, after "@". Checksums are not compared. Source: the README of aunusualman/LT4REC and the pages of TensorFlow
on the two encodings.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from hyperctr.data.catalog import KNOWN
from hyperctr.data.formats.files import check_folder, find_file, find_files
from hyperctr.data.formats.source import Source

HOME = "https://github.com/aunusualman/LT4REC"
LARGEST = 2**24  # bytes of a record
_ITEM = (
    "FEA_CP",
    "FEA_ICAT1",
    "FEA_ICAT2",
    "FEA_IXFTAG",
    "FEA_IKEYWORD",
    "FEA_DURATION",
    "FEA_COVERQUALITY",
    "FEA_STAG",
)
_LISTS = ("FEA_IXFTAG", "FEA_IKEYWORD", "FEA_STAG", "FEA_UCAT", "FEA_SIKEYWORD")


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder of part-r-* files, or one file.

    Raises:
        ValueError: a file is cut short or is no TFRecord file, or a feature is missing.
    """
    files = [path]
    if not path.is_file() or path.suffix in (".pkl", ".pickle", ".p"):
        folder = check_folder(path)
        find_file(folder, "part-r-*", "*.tfrecord*")
        files = find_files(folder, "part-r-*", "*.tfrecord*")
    rows = [_row(example, file) for file in files for example in examples(file)]
    if not rows:
        raise ValueError(f"{files[0]} has no records")
    names = list(dict.fromkeys(name for row in rows for name in row))
    log = pl.DataFrame({name: [row.get(name) for row in rows] for name in names}, strict=False)
    for name in ("user_id", "item_id", "is_click", "timestamp"):
        if name not in log.columns or log[name].null_count():
            raise ValueError(f"{files[0]}: a record has no {name} (FEA_UID, FEA_VID, label and seqnum are needed)")
    log = log.with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
    own = [name for name in _ITEM if name in log.columns]
    items = log.group_by("item_id", maintain_order=True).agg(pl.col(own).first())
    return Source(log.drop(own), _roles(log.columns, own), items).noted(
        "An item's columns are those of its first row; FEA_STAG changes for a few items."
    )


def examples(file: Path) -> Iterator[dict[str, list]]:
    """Yield the examples of a TFRecord file: name to a list of texts (bytes), decimals or whole numbers.

    Raises:
        ValueError: the file is cut short, or is no TFRecord file of examples.
    """
    with file.open("rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as records:
            while head := records.read(12):
                size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else LARGEST + 1
                body = records.read(size + 4) if size <= LARGEST else b""
                if len(body) != size + 4:
                    raise ValueError("a record is cut short")
                features = {}
                for _, whole in _fields(body[:-4]):
                    for _, entry in _fields(whole):
                        named = dict(_fields(entry))
                        features[named[1].decode()] = _values(named.get(2, b""))
                yield features
    except (
        EOFError,
        zlib.error,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        struct.error,
    ) as error:
        raise ValueError(f"{file} is not a readable TFRecord file of examples: {error}") from None


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a protocol buffer message: number, and bytes or a whole number."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise ValueError("a field is cut short")
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read a whole number of seven bits per byte; also return where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _values(feature: bytes) -> list:
    """Read the list of a feature: 1 texts, 2 decimals, 3 whole numbers."""
    found: list = []
    for kind, listed in _fields(feature):
        for _, value in _fields(listed):
            if kind == 1:
                found.append(value)
            elif kind == 2:
                found += struct.unpack(f"<{len(value) // 4}f", value)
            elif isinstance(value, int):
                found.append(value)
            else:
                at = 0
                while at < len(value):
                    number, at = _varint(value, at)
                    found.append(number)
    return [x - 2**64 if kind_is_negative(x) else x for x in found]


def kind_is_negative(value: object) -> bool:
    """Return whether a whole number of 64 bits stands for a negative one."""
    return isinstance(value, int) and value >= 2**63


def _row(example: Mapping[str, list], file: Path) -> dict:
    """Turn an example into a row: lists stay lists where the feature is one, others are their only value."""
    row = {}
    for name, values in example.items():
        texts = [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in values]
        row[name] = texts if name in _LISTS else texts[0] if texts else None
    for old, new in (("FEA_UID", "user_id"), ("FEA_VID", "item_id"), ("label", "is_click"), ("cvrlabel", "cvr_label")):
        if old in row:
            row[new] = row.pop(old)
    try:
        row["timestamp"] = int(str(row["seqnum"]).split("@")[1])
    except (KeyError, IndexError, ValueError):
        raise ValueError(
            f"{file}: seqnum {row.get('seqnum')!r} has no time in milliseconds after its first @"
        ) from None
    return row


def _roles(columns: list[str], own: list[str]) -> dict:
    """Return the roles of the columns that are there."""
    known = KNOWN["lt4rec-sample"]
    log = dict(known["interactions"])
    log["context"] = {name: {"kind": "category", "of": "item"} for name in log["context"] if name in columns}
    if "cvr_label" not in columns:
        del log["conversion"]
    made = {name: [x for x in entry["columns"] if x in own] for name, entry in known["modalities"].items()}
    return {
        "interactions": {role: value for role, value in log.items() if value != {}},
        "items": {"fields": {name: "tags" if name in _LISTS else "category" for name in own if name != "FEA_DURATION"}},
        "modalities": {name: {"columns": listed} for name, listed in made.items() if listed},
    }
