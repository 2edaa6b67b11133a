"""Amazon reviews of McAuley's group: one category of the 2014 or the 2018 release.

- Reviews: reviews_X.json.gz or reviews_X_5.json.gz (2014), X.json.gz or X_5.json.gz (2018): one object per line with
  reviewerID, asin, overall, unixReviewTime. _5 is the 5-core; --k-core 5 makes it of the whole file.
- meta_X.json.gz: asin, title, brand, price, categories (2014) or category (2018). Lines of 2014 are Python literals,
  no JSON; they are read as literals and never run.
- image_features_X.b: per item ten bytes of asin and 4,096 little-endian float32.

Every review is a click, as in the papers; `--click overall --click-at-least 4` asks for the rating. also_bought,
also_viewed and sales ranks are not read: they add up the whole period. Times are days. Source: the release's web
pages.
"""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hyperctr.data.formats.files import PICKLES, check_folder, find_files, refuse_pickle, rows_of
from hyperctr.data.formats.source import Source, only_known

HOME = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/"
LONGEST = 2**22  # characters of a line
_IMAGE = np.dtype([("asin", "S10"), ("vector", "<f4", 4096)])


def read(path: Path, stated: Mapping) -> Source:
    """Read a file of reviews, or a folder with one; the metadata and image features beside it too.

    Raises:
        ValueError: there are no reviews or several files of them, or a line is neither JSON nor a Python literal.
    """
    file = _reviews(path)
    folder = file.parent
    log = _table(file, {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float64, "unixReviewTime": pl.Int64})
    name = file.name.split(".json")[0].removeprefix("reviews_").removesuffix("_5")
    items, modalities, said = None, {}, f"There is no meta_{name}.json.gz beside the reviews: items have no columns."
    roles = {"interactions": {"user": "reviewerID", "item": "asin", "time": "unixReviewTime"}}
    if meta := find_files(folder, f"meta_{name}.json.gz", f"meta_{name}.json"):
        items, said = _items(meta[0], set(log["asin"])), "also_bought, also_viewed and sales ranks are not read."
        kinds = {"brand": "category", "categories": "tags", "price": {"kind": "number", "log": True}}
        roles["items"] = {"title": "title", "fields": kinds}
        roles["modalities"] = {
            made: {"columns": [column], "text": text}
            for made, column, text in (("titles", "title", True), ("categories", "categories", False))
            if items[column].drop_nulls().n_unique() > 1
        }
    if image := find_files(folder, f"image_features_{name}.b"):
        items = log.select("asin").unique().sort("asin") if items is None else items
        modalities["image"] = _images(image[0], items["asin"])
        roles.setdefault("modalities", {})["image"] = "image.npy"
    source = Source(log, roles, items, modalities=modalities)
    return only_known(source).noted("Every review is a click, at any rating (overall).", said)


def _reviews(path: Path) -> Path:
    """Find the file of reviews."""
    if path.suffix in PICKLES:
        raise refuse_pickle(path)
    if path.is_file():
        return path
    found = [
        file
        for file in find_files(check_folder(path), "*.json.gz", "*.json")
        if not file.name.startswith(("meta_", "qa_", "dataset"))
    ]
    if len(found) != 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(
            f"{path} has no reviews_X.json.gz or X.json.gz"
            if not found
            else f"{path} has several files: {names}; name one"
        )
    return found[0]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, one per line: JSON, or a Python literal."""
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            while line := lines.readline(LONGEST):
                number += 1
                if line.strip():
                    yield _object(line)
    except (EOFError, zlib.error, OSError) as error:
        raise ValueError(f"cannot read {file}: {error}") from None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{file}: line {number} is neither a JSON object nor a Python dictionary") from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = ast.literal_eval(line.decode("utf-8").strip())  # literals alone: a call or a name is an error
    if not isinstance(found, dict):
        raise TypeError
    return found


def _table(file: Path, types: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Read some keys of every object as columns."""
    columns: dict[str, list] = {name: [] for name in types}
    for found in _lines(file):
        for name, column in columns.items():
            column.append(found.get(name))
    try:
        return pl.DataFrame(columns, schema=types)
    except (TypeError, pl.exceptions.PolarsError):
        raise ValueError(f"{file}: {', '.join(types)} are not text and numbers in every line") from None


def _items(file: Path, wanted: set[str]) -> pl.DataFrame:
    """Read the metadata of the wanted items: the first line of each."""
    rows: dict[str, tuple] = {}
    for found in _lines(file):
        asin = found.get("asin")
        if asin in wanted and asin not in rows:
            path = _path(found.get("categories", found.get("category")))
            text = (found.get(key) for key in ("title", "brand"))
            title, brand = (x.strip() or None if isinstance(x, str) else None for x in text)
            rows[asin] = (asin, title, brand, _price(found.get("price")), "|".join(path) or None)
    names = {"asin": pl.String, "title": pl.String, "brand": pl.String, "price": pl.Float64}
    return pl.DataFrame(list(rows.values()), names | {"categories": pl.String}, orient="row")


def _path(listed: Any) -> list[str]:
    """Return the categories of an item, the most general first: of 2014, a list of paths, the first path."""
    if isinstance(listed, list) and listed and isinstance(listed[0], list):
        listed = listed[0]
    return [x.replace("|", "/") for x in listed if isinstance(x, str) and x] if isinstance(listed, list) else []


def _price(stated: Any) -> float | None:
    """Return a price: a number, or text such as "$1,299.00"; None for another text."""
    if isinstance(stated, str):
        try:
            stated = float(stated.strip().lstrip("$").replace(",", ""))
        except ValueError:
            return None
    return float(stated) if isinstance(stated, int | float) and not isinstance(stated, bool) and stated >= 0 else None


def _images(file: Path, items: pl.Series) -> np.ndarray:
    size = file.stat().st_size
    if not size or size % _IMAGE.itemsize:
        raise ValueError(
            f"{file} has {size} bytes, which is no multiple of {_IMAGE.itemsize}: ten of asin, 4,096 float32"
        )
    records = np.memmap(file, _IMAGE, "r")
    keys = pl.Series([asin.decode("ascii", "replace") for asin in records["asin"]], dtype=pl.String)
    return rows_of(items, keys, records["vector"])
