"""Small files in the published formats, and what they import to."""

import gzip

import numpy as np
import polars as pl
import pytest

from hyperctr.data.formats.convert import convert
from hyperctr.data.read import read


@pytest.fixture
def put(tmp_path):
    """A function that writes text, bytes and matrices into a folder by their names, and gives the folder."""

    def write(files, folder="downloads"):
        path = tmp_path / folder
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, np.ndarray):
                np.save(file, content)
                continue
            content = content.encode() if isinstance(content, str) else content
            file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
        return path

    return write


@pytest.fixture
def imported(put, tmp_path):
    """A function that writes files, imports them as a format, and gives the data set and its table of rows."""

    def load(name, files, k=0, path="", **stated):
        folder = put(files)
        out = convert(name, folder / path if path else folder, tmp_path / "out", stated, k)
        return read(out), pl.read_parquet(out / "interactions.parquet")

    return load


def rows(data):
    """User id, item id and label of each row, in time order."""
    log = data.interactions
    return [
        (data.users.ids[u], data.items.ids[i], int(y))
        for u, i, y in zip(log.user.tolist(), log.item.tolist(), log.label.tolist(), strict=True)
    ]


def instants(data):
    """Times as text, to the second."""
    time = data.interactions.time
    unit = "s" if time.max() < 1e11 else "us"
    return np.datetime_as_string(time.astype(f"datetime64[{unit}]"), "s").tolist()


def note(data):
    return " ".join(data.notes)


def kinds(table):
    """The kind of each field of the items or users."""
    return {name: column.kind.kind for name, column in table.fields.items()}
