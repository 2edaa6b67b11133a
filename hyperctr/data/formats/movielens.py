"""MovieLens, as GroupLens packs it: which release it is, is seen from the files.

- 100K: u.data (user, item, rating, time; tabs), u.item (latin-1, "|", one flag per genre of u.genre), u.user.
- 1M, 10M: ratings.dat, movies.dat and, in 1M, users.dat, separated by "::". 1M is latin-1, 10M has half stars.
- 20M, 25M and later: ratings.csv (userId, movieId, rating, timestamp) and movies.csv (movieId, title, genres).

Times are unix seconds, genres are joined by "|". Tags of users and the tag genome are not read: they were made from
the whole period. Source: the README of each release.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from hyperctr.data.catalog import MOVIELENS_ROLES
from hyperctr.data.formats.files import PICKLES, refuse_pickle
from hyperctr.data.formats.source import Source

HOME = "https://grouplens.org/datasets/movielens/"
_LEFT_OUT = "Tags of users and the tag genome were not read: they were made from the whole period."


def read(path: Path, stated: Mapping) -> Source:
    """Read a folder, or a zip file as it was downloaded.

    Raises:
        ValueError: none of the releases has these files.
    """
    if path.suffix in PICKLES:
        raise refuse_pickle(path)
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            return read_members(archive.namelist(), archive.read, str(path))
    if not path.is_dir():
        raise ValueError(f"there is no folder or zip file {path}")
    files = {file.name: file for file in (*path.glob("*/*"), *path.glob("*")) if file.is_file()}
    return read_members(list(files), lambda name: files[name].read_bytes(), str(path))


def read_members(names: list[str], member: Callable[[str], bytes], where: str) -> Source:
    """Read a release from named files: of a folder, or members of an archive.

    Args:
        names: their names, folders included.
        member: gives the content of a file.
        where: the folder or archive, for an error.
    """
    within = {name.rsplit("/", 1)[-1]: name for name in names}

    def content(name: str) -> bytes:
        if name not in within:
            raise ValueError(f"{where} has no {name}")
        return member(within[name])

    if "u.data" in within:
        tables = _ml_100k(content)
    elif "ratings.dat" in within:
        tables = _dat(content, "users.dat" in within)
    elif "ratings.csv" in within:
        tables = _csv(content)
    else:
        raise ValueError(f"{where} has no u.data, ratings.dat or ratings.csv; found {', '.join(list(within)[:12])}")
    log, items, users = typed(*tables)
    roles = MOVIELENS_ROLES if users is not None else {k: v for k, v in MOVIELENS_ROLES.items() if k != "users"}
    source = Source(log, {**roles}, items, users)
    return source.noted(_LEFT_OUT if {"tags.dat", "tags.csv", "genome-scores.csv"} & set(within) else "")


def _ml_100k(content: Callable[[str], bytes]) -> list[pl.DataFrame]:
    genres = [line.split("|")[0] for line in content("u.genre").decode("latin-1").splitlines() if line.strip()]
    items = parse(content("u.item"), "|", ["item_id", "title", "release_date", "video_date", "url", *genres])
    flags = items.select(genres).rows()
    listed = ["|".join(genre for genre, flag in zip(genres, row, strict=True) if flag == "1") for row in flags]
    return [
        parse(content("u.data"), "\t", ["user_id", "item_id", "rating", "timestamp"]),
        items.select("item_id", "title", pl.Series("genres", listed)),
        parse(content("u.user"), "|", ["user_id", "age", "gender", "occupation", "zip_code"]),
    ]


def _dat(content: Callable[[str], bytes], with_users: bool) -> list[pl.DataFrame | None]:
    users = ["user_id", "gender", "age", "occupation", "zip_code"]
    return [
        parse(content("ratings.dat"), "::", ["user_id", "item_id", "rating", "timestamp"]),
        parse(content("movies.dat"), "::", ["item_id", "title", "genres"]),
        parse(content("users.dat"), "::", users) if with_users else None,
    ]


def _csv(content: Callable[[str], bytes]) -> list[pl.DataFrame | None]:
    types = {"userId": pl.Int64, "movieId": pl.Int64, "rating": pl.Float64, "timestamp": pl.Int64}
    log = pl.read_csv(content("ratings.csv"), schema_overrides=types, infer_schema=False)
    items = pl.read_csv(content("movies.csv"), schema_overrides={"movieId": pl.Int64}, infer_schema=False)
    return [
        log.rename({"userId": "user_id", "movieId": "item_id"}),
        items.rename({"movieId": "item_id"}).select("item_id", "title", "genres"),
        None,
    ]


def parse(content: bytes, separator: str, names: list[str] | None = None) -> pl.DataFrame:
    """Read a table of text cells; without `names` the first line has them, as name:kind."""
    text = _decoded(content).replace("::", "\t") if separator == "::" else _decoded(content)
    separator = "\t" if separator == "::" else separator
    if names is None:
        header, text = text.split("\n", 1)
        names = [name.split(":")[0].strip() for name in header.split(separator)]
    return pl.read_csv(
        text.encode(), has_header=False, new_columns=names, separator=separator, quote_char=None, infer_schema=False
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def typed(log: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame | None) -> list[pl.DataFrame | None]:
    """Convert the columns to their types, rows in time order; ids that are all whole numbers become numbers."""
    rating = pl.col("rating").cast(pl.Float64)
    whole = log.select((rating == rating.round()).all()).item()
    log = log.select(
        "user_id",
        "item_id",
        pl.col("timestamp").cast(pl.Float64).cast(pl.Int64),
        rating.cast(pl.Int8 if whole else pl.Float32),
    )
    log = log.sort("timestamp", maintain_order=True)
    items = items.with_columns(pl.col("genres").replace("(no genres listed)", None))
    if users is not None and users["age"].cast(pl.Float64, strict=False).null_count() == 0:
        users = users.with_columns(pl.col("age").cast(pl.Float64).cast(pl.Int16))
    listed = (("user_id", users if users is not None else log), ("item_id", items))
    kinds = [
        pl.col(name).cast(pl.Int64)
        for name, table in listed
        if table[name].cast(pl.Int64, strict=False).null_count() == 0
    ]
    return [
        table
        if table is None
        else table.with_columns(kind for kind in kinds if kind.meta.output_name() in table.columns)
        for table in (log, items, users)
    ]
