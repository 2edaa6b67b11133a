"""The sets of MMSSL and DiffMM (tiktok, baby, sports, allrecipes): clicks without times, in the source's own split.

train, val and test as sparse matrices, users x items. They are published as pickles (train_mat, val_mat, test_mat of
MMSSL; trnMat.pkl, valMat.pkl, tstMat.pkl of DiffMM), which are never opened here; convert each one yourself:

    import pickle, scipy.sparse
    matrix = pickle.load(open("train_mat", "rb"))   # can run any code: only if you trust its source
    scipy.sparse.save_npz("train_mat.npz", matrix.tocsr())

MMSSL's train.json, val.json and test.json ({user: [items]}) are read as they are. Features are <name>_feat.npy, row
i for item i. Source: the code of HKUDS/MMSSL and HKUDS/DiffMM on GitHub.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data.formats.files import check_folder, find_file, find_files, read_matrix
from hyperctr.data.formats.source import Source, with_split

HOME = "https://github.com/HKUDS/MMSSL"
_NAMES = {
    "train": ("train_mat.npz", "trnMat.npz", "train.npz", "train.json"),
    "valid": ("val_mat.npz", "valMat.npz", "val.npz", "val.json"),
    "test": ("test_mat.npz", "tstMat.npz", "test.npz", "test.json"),
}


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder.

    Raises:
        ValueError: the training or test part is missing or still a pickle, or features do not have one row per item.
    """
    folder = check_folder(path)
    files = {part: find_file(folder, *_NAMES[part], pickled="npz") for part in ("train", "test")}
    if valid := find_files(folder, *_NAMES["valid"]):
        files["valid"] = valid[0]
    order = [part for part in ("train", "valid", "test") if part in files]
    log = with_split({part: _pairs(files[part]) for part in order})
    modalities = {file.stem.removesuffix("_feat"): read_matrix(file) for file in find_files(folder, "*_feat.npy")}
    items = pl.DataFrame({"item_id": np.arange(max([int(log["item_id"].max()) + 1, *map(len, modalities.values())]))})
    for name, matrix in modalities.items():
        if len(matrix) != len(items):
            raise ValueError(f"{folder}: {name}_feat.npy has {len(matrix)} rows, there are {len(items)} items")
    roles = {"interactions": {"user": "user_id", "item": "item_id", "order": False, "split": "split"}}
    return Source(log, roles, items, modalities=modalities).noted(
        "" if "valid" in files else "There is no file of validation rows."
    )


def _pairs(file: Path) -> pl.DataFrame:
    """Read one part as pairs of user and item numbers, in the order of users."""
    if file.suffix == ".json":
        try:
            listed = {int(user): items for user, items in json.loads(file.read_text(encoding="utf-8")).items()}
            user = np.repeat(np.asarray([*listed], np.int64), [len(items) for items in listed.values()])
            item = np.asarray([int(item) for items in listed.values() for item in items], np.int64)
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            raise ValueError(f"{file} is not a JSON object of user: [items]") from None
    else:
        from scipy.sparse import load_npz

        try:
            matrix = load_npz(file).tocoo()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise ValueError(f"{file} is not a sparse matrix that scipy.sparse.save_npz wrote") from None
        here = matrix.data != 0
        user, item = matrix.row[here], matrix.col[here]
    if not len(user) or min(user.min(), item.min()) < 0:
        raise ValueError(f"{file} has {'a negative number' if len(user) else 'no entries'}")
    return pl.DataFrame({"user_id": np.asarray(user, np.int64), "item_id": np.asarray(item, np.int64)})
