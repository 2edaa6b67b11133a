"""MicroLens-50K, -100K and larger: comments on short videos, with titles and extracted features.

*_pairs.csv: user, item, timestamp (milliseconds since 1970). Where only *_pairs.tsv is there: user, tab, and the
items in the order of time, separated by blanks. *_title_en.csv or *_titles.csv: item, title, with or without a
header, titles with commas unquoted. Features are .npy files; that row i is item i + 1 is what published code does,
not what the publisher says, so a matrix must have one row per item number. Every row is a comment, so a click.
Source: the MicroLens repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.formats.files import check_folder, find_file, find_files, read_columns, read_matrix, rows_of
from hyperctr.data.formats.source import Source

HOME = "https://github.com/westlake-repl/MicroLens"


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder.

    Raises:
        ValueError: there are no pairs, or a matrix does not have one row per item number.
    """
    folder = check_folder(path)
    file = find_file(folder, "*pairs.csv", "*pairs.tsv")
    clock = "time"
    if file.suffix == ".csv":
        log = read_columns(file, {"user": pl.Int64, "item": pl.Int64, "timestamp": pl.Int64})
        log = log.with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
    else:
        clock, log = "order", _sequences(file)
    items, said = log.select("item").drop_nulls().unique().sort("item"), []
    if not len(items):
        raise ValueError(f"{file} has no pairs")
    roles = {"interactions": {"user": "user", "item": "item", clock: "timestamp" if clock == "time" else "position"}}
    if titles := find_files(folder, "*title*.csv"):
        items = items.join(_titles(titles[0]), on="item", how="left", maintain_order="left")
        roles["items"] = {"title": "title"}
    modalities = {}
    for feature in find_files(folder, "*.npy"):
        matrix = read_matrix(feature)
        modalities[_short(feature.stem)] = rows_of(items["item"], _ids(feature, matrix, items["item"]), matrix)
        said = ["Row i of a feature file was taken for item i + 1, as published code does."]
    return Source(log, roles, items, modalities=modalities).noted(*said)


def _sequences(file: Path) -> pl.DataFrame:
    log = read_columns(file, {"user": pl.Int64, "item": pl.String}, "\t", header=False, quoted=False)
    log = log.with_columns(pl.col("item").str.strip_chars().str.split(" "))
    log = log.with_columns(pl.int_ranges(pl.col("item").list.len()).alias("position"))
    return log.explode("item", "position").with_columns(pl.col("item").cast(pl.Int64))


def _titles(file: Path) -> pl.DataFrame:
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    pairs = [line.split(",", 1) for line in lines if line.split(",", 1)[0].strip().isdigit() and "," in line]
    titles = [_unquoted(text.strip()) or None for _, text in pairs]
    table = pl.DataFrame(
        {"item": [int(number) for number, _ in pairs], "title": titles}, {"item": pl.Int64, "title": pl.String}
    )
    return table.unique("item", keep="first")


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text


def _ids(file: Path, matrix: np.ndarray, items: pl.Series) -> pl.Series:
    """Return the item of each row: 1, 2, ..., or 0, 1, ... where there is one row more."""
    last = int(items.max())
    if len(matrix) not in (last, last + 1):
        raise ValueError(f"{file} has {len(matrix)} rows, but item numbers go to {last}")
    return pl.Series(np.arange(len(matrix)) + (1 if len(matrix) == last else 0))


def _short(stem: str) -> str:
    """Name a modality after its file: image of MicroLens-100k_image_features_CLIPRN50."""
    name = stem.split("_features")[0].split("_")[-1] if "_features" in stem else stem
    if "title" in stem and "_features" in stem:
        name = "title"
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)
