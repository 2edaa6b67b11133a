"""Kuaishou's videos, of HyperCTR's Table 1: KuaiVideo_x1 of BARS, or the text files of the MM 2018 challenge.

- KuaiVideo_x1: train.csv and test.csv with timestamp, user_id, item_id, is_click, is_like, is_follow, pos_items,
  neg_items; item_visual_emb_dim64.h5 with `key` (item ids) and `value` (64-d vectors). Source: the BARS repository,
  datasets/KuaiShou/KuaiVideo_x1.
- Challenge: train_interaction.txt, tabs, no header: user, photo, click, like, follow, time, playing time, duration;
  *_face.txt: photo, tab, a JSON list with four numbers per face (share of the picture, gender, age, looks) or 0;
  *_text.txt: photo, tab, numbers of the words of the caption, joined by commas, or 0. Source: published solutions.

The unit of the times is not published for either; the first look at `hyperctr data describe` should be the time
span.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.formats.files import check_folder, find_file, find_files, read_columns, read_h5, rows_of
from hyperctr.data.formats.source import Source, with_split

HOME = "https://github.com/reczoo/Datasets/tree/main/KuaiShou"
_LOG = {"timestamp": pl.Int64, "user_id": pl.Int64, "item_id": pl.Int64}
_FLAGS = {"is_click": pl.Int8, "is_like": pl.Int8, "is_follow": pl.Int8}
_CHALLENGE = {
    "user_id": pl.Int64, "item_id": pl.Int64, **_FLAGS, "timestamp": pl.Int64, "playing_time": pl.Float64,
    "duration": pl.Float64,
}  # fmt: skip
_LABELS = 'Labels of a row: is_click, is_like, is_follow; click = "is_like" in dataset.toml makes that one the click.'


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder of either kind.

    Raises:
        ValueError: the folder has neither train.csv nor train_interaction.txt, or what reading them raises.
    """
    folder = check_folder(path)
    if find_files(folder, "train_interaction.txt"):
        return _challenge(folder)
    return _x1(folder)


def _x1(folder: Path) -> Source:
    parts = {"train": find_file(folder, "train.csv", what="or train_interaction.txt")}
    parts |= {name: file for name in ("valid", "test") for file in find_files(folder, f"{name}.csv")[:1]}
    log = with_split({name: read_columns(file, _LOG | _FLAGS) for name, file in parts.items()})
    items, modalities, said = None, {}, "There is no item_visual_emb_dim64.h5: items have no vectors."
    if h5 := find_files(folder, "item_visual_emb*.h5"):
        items = log.select("item_id").unique().sort("item_id")
        modalities, said = {"visual": rows_of(items["item_id"], *read_h5(h5[0]))}, ""
    source = Source(log, _roles(split=True), items, modalities=modalities)
    return source.noted(
        _LABELS,
        "pos_items and neg_items are not read: histories are made from the log.",
        "user_visual_emb_dim64.h5 is not read: it was made from the likes of all rows.",
        said,
    )


def _challenge(folder: Path) -> Source:
    log = read_columns(find_file(folder, "train_interaction.txt"), _CHALLENGE, "\t", header=False)
    log = log.with_columns(pl.col("duration").replace(0, None))
    items = log.select("item_id").unique().sort("item_id")
    roles, modalities = _roles(split=False), {}
    roles["interactions"]["length"] = "duration"
    if faces := find_files(folder, "train_face.txt"):
        modalities["face"] = rows_of(items["item_id"], *_faces(faces[0]))
    if texts := find_files(folder, "train_text.txt"):
        words = read_columns(texts[0], {"item_id": pl.Int64, "words": pl.String}, "\t", header=False, quoted=False)
        words = words.unique("item_id", keep="first").with_columns(pl.col("words").replace("0", None))
        items = items.join(words, on="item_id", how="left", maintain_order="left")
        roles["modalities"] = {name: f"{name}.npy" for name in modalities} | {"caption": {"columns": ["words"]}}
    unlabelled = find_files(folder, "test_interaction.txt")
    return Source(log, roles, items, modalities=modalities).noted(
        _LABELS,
        "test_interaction.txt is not read: its labels were never published." if unlabelled else "",
        "The visual files of the challenge, one per photo, are not read; KuaiVideo_x1 has 64-d vectors of them.",
    )


def _roles(split: bool) -> dict:
    log = {"user": "user_id", "item": "item_id", "time": "timestamp", "click": "is_click", "non_clicks": "logged"}
    return {"interactions": log | ({"split": "split"} if split else {})}


def _faces(file: Path) -> tuple[pl.Series, np.ndarray]:
    """Read one vector per photo: the number of faces, and the means of their four numbers."""
    table = read_columns(file, {"item_id": pl.Int64, "faces": pl.String}, "\t", header=False, quoted=False)
    vectors = np.zeros((len(table), 5), np.float32)
    for row, text in enumerate(table["faces"].fill_null("0").to_list()):
        try:
            faces = json.loads(text) or []
            if faces:
                vectors[row] = len(faces), *np.asarray(faces, np.float32).reshape(-1, 4).mean(0)
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"{file}: line {row + 1} is neither 0 nor a list of faces: {text[:60]!r}") from None
    return table["item_id"], vectors
