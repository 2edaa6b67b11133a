"""MicroVideo-1.7M, of HyperCTR's Table 1: THACIL's files, or MicroVideo1.7M_x1 of BARS.

- THACIL: train_data.csv and test_data.csv with user_id, item_id, cate_id, is_click, timestamp, and
  train_cover_image_feature.npy and test_cover_image_feature.npy, row i for item i of its own file. The items of the
  test file are new videos numbered from 0 again: item 5 of one file is another video than item 5 of the other. Here
  they are called train-5 and test-5. Users are the same in both. Source: the code of Ocxs/THACIL on GitHub.
- MicroVideo1.7M_x1: train.csv and test.csv with the same columns, items in one numbering, item_image_emb_dim64.h5
  with `key` and `value`. Source: the BARS repository.

Every item of the test file is new, so that only its category and its cover can tell about it. The unit of the times
is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.formats.files import (
    check_folder,
    find_file,
    find_files,
    read_columns,
    read_h5,
    read_matrix,
    rows_of,
)
from hyperctr.data.formats.source import Source, with_split

HOME = "https://github.com/Ocxs/THACIL"
_LOG = {"user_id": pl.Int64, "item_id": pl.Int64, "cate_id": pl.Int64, "is_click": pl.Int8, "timestamp": pl.Int64}


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder of either kind.

    Raises:
        ValueError: a file is missing, or an item has no row in its matrix.
    """
    folder = check_folder(path)
    own = bool(find_files(folder, "train_data.csv"))
    names = {"train": "train_data.csv", "test": "test_data.csv"} if own else {"train": "train.csv", "test": "test.csv"}
    tables = {part: read_columns(find_file(folder, name), _LOG) for part, name in names.items()}
    covers = {}
    if own:
        for part in tables:
            if cover := find_files(folder, f"{part}_cover_image_feature.npy"):
                covers[part] = read_matrix(cover[0])
        tables = {part: log.with_columns(_named(part).alias("item_id")) for part, log in tables.items()}
    log = with_split(tables)
    items = log.select("item_id", "cate_id").unique("item_id", keep="first", maintain_order=True)
    said = (
        "The source's items of the test file are other videos than those of the training file: train-5 is not test-5."
    )
    modalities = {}
    if own and covers:
        modalities["cover"] = _covers(folder, items["item_id"], covers)
    elif h5 := find_files(folder, "item_image_emb*.h5"):
        modalities["cover"] = rows_of(items["item_id"], *read_h5(h5[0]))
    roles = {
        "interactions": {
            "user": "user_id", "item": "item_id", "time": "timestamp", "click": "is_click", "non_clicks": "logged",
            "split": "split",
        },
        "items": {"fields": {"cate_id": "category"}},
    }  # fmt: skip
    return Source(log.drop("cate_id"), roles, items, modalities=modalities).noted(
        said if own else "", "" if modalities else "There are no files of cover vectors."
    )


def _named(part: str) -> pl.Expr:
    return pl.format("{}-{}", pl.lit(part), pl.col("item_id"))


def _covers(folder: Path, ids: pl.Series, covers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Take the cover of each item from the matrix of its part; zeros where the part has no matrix."""
    width = {matrix.shape[1] for matrix in covers.values()}
    if len(width) > 1:
        raise ValueError(f"{folder}: the two matrices of covers have different widths, {sorted(width)}")
    found = np.zeros((len(ids), width.pop()), np.float32)
    part, number = ids.str.split_exact("-", 1).struct.unnest()
    number = number.cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    for name, matrix in covers.items():
        mine = (part == name).fill_null(False).to_numpy() & (number >= 0)
        if mine.any() and number[mine].max() >= len(matrix):
            raise ValueError(
                f"{folder}: item {number[mine].max()} of {name}_data.csv has no row in "
                f"{name}_cover_image_feature.npy, which has {len(matrix)}"
            )
        found[mine] = matrix[number[mine]]
    return found
