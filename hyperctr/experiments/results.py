"""Read and append results.csv, which has one line per run of a sweep or a study."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hyperctr import config
from hyperctr.files import append_csv

COLUMNS: dict[str, type] = {
    "data": str,
    "split": str,
    "leaky": bool,
    "model": str,
    "every": str,
    "depth": int,
    "links": str,
    "seed": int,
    "auc": float,
    "auc_low": float,
    "auc_high": float,
    "user_auc": float,
    "user_session_auc": float,
    "sessions": float,
    "logloss": float,
    "logloss_1to1": float,
    "valid_auc": float,
    "best_epoch": float,
    "seconds": float,
    "rows": int,
    "status": str,
}
"""Columns of results.csv. An interval of a single run is auc_low to auc_high; status is "ok" or "failed: why"."""

LATER = ("user_session_auc", "sessions", "links")
"""Columns that a file of an older version lacks, the oldest first. It is read, and goes on, without those it lacks."""

POPULARITY = {"popularity": "popularity"}
BASELINES = POPULARITY | {"mf": "static MF"}
LINKS = {"none": "none", "past": "of the whole past", "slice": "per slice", "recent": "with a half-life"}
"""The links that a sweep compares, in words; the column `links` has the key, and "" where the base run's are read."""
REFEREES = {
    "ease": "EASE",
    "itemknn": "item-kNN",
    "transitions": "transitions",
    "trees": "trees on counts",
    "trees-links": "trees on counts and links",
}
"""Titles of the referees that a table has beside popularity, without `--no-referees`."""


def read_results(path: str | Path, columns: Mapping[str, type] = COLUMNS) -> list[dict]:
    """Read the rows of results.csv, numbers as numbers; an empty depth stays "".

    Args:
        path: the file.
        columns: its columns; default: the columns of a sweep. Further columns are metrics of the user's own.

    Raises:
        ValueError: there is no such file, its header does not begin with `columns`, or a line cannot be parsed.
    """
    rows = []
    there, own, lines = _lines_of(Path(path), columns)
    columns = {name: columns[name] for name in there} | dict.fromkeys(own, float)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(columns):
            raise ValueError(f"{path}, line {number}: {len(line)} values, {len(columns)} expected")
        try:
            rows.append({name: _parse(columns[name], text) for name, text in zip(columns, line, strict=True)})
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return rows


def append_result(path: str | Path, row: Mapping[str, Any], columns: Mapping[str, type] = COLUMNS) -> None:
    """Add a row to results.csv; a new file gets a header, and a killed call leaves the old file as it was.

    A file keeps the columns that it has. Further keys of the row are metrics of the user's own, written behind
    `columns`.

    Raises:
        ValueError: the row lacks one of `columns`, or the file's header is another one.
    """
    if missing := sorted(set(columns) - set(row) - set(LATER)):
        raise ValueError(f"a row of results.csv has the columns {', '.join(columns)}; missing {missing}")
    path, own = Path(path), [name for name in row if name not in columns]
    header = [name for name in columns if name in row]
    if path.exists():
        header, there, _ = _lines_of(path, columns)
        if there != own:
            raise ValueError(f"{path} has the metrics {', '.join(there) or 'none'} of evaluate.metrics, not {own}")
    append_csv(path, {name: row.get(name, math.nan) for name in (*header, *own)})


def result(base: config.Run, got: Mapping[str, Any] | BaseException) -> dict:
    """Return the columns of results.csv that a run fills: the scores of its report, or its error if it failed."""
    if isinstance(got, BaseException):
        scores = ("auc", "auc_low", "auc_high", "user_auc", "user_session_auc", "sessions", "logloss", "logloss_1to1",
                  "valid_auc", "seconds")  # fmt: skip
        return dict.fromkeys(scores, math.nan) | {
            "data": base.data.path, "split": base.split.kind, "leaky": base.split.kind != "temporal", "best_epoch": 0,
            "rows": 0, "status": " ".join(f"failed: {got or type(got).__name__}".split()),
        }  # fmt: skip
    test = got["test"]
    scores = ("auc", "auc_low", "auc_high", "user_auc", "logloss", "logloss_1to1", "rows")
    return {name: test[name] for name in scores} | {
        "user_session_auc": test.get("user_session_auc", math.nan),
        "sessions": test.get("sessions_counted", math.nan),
        "data": got["data"], "split": got["split"], "leaky": got["leaky"], "valid_auc": got["valid"]["auc"],
        "best_epoch": got["best_epoch"], "seconds": got["seconds"], "status": "ok",
    }  # fmt: skip


def sessions_in_words(rows: Iterable[Mapping[str, Any]]) -> str:
    """Say over how many sessions the user session AUC of some runs is; "" where that is unknown or there are none.

    >>> sessions_in_words([{"sessions": 712.0}, {"sessions": 712.0}, {}])
    'User session AUC is over 712 sessions with rows of both labels.'
    """
    counts = sorted({int(count) for row in rows if not math.isnan(count := row.get("sessions", math.nan))} - {0})
    if not counts:
        return ""
    said = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    return f"User session AUC is over {said} sessions with rows of both labels."


def named(rows: list[dict]) -> list[dict]:
    """Return the rows with the data's name also in rows of runs that failed before they had read the data."""
    names = [row["data"] for row in rows if row["status"] == "ok"]
    return [row | {"data": names[0]} for row in rows] if names else rows


def own_metrics(base: config.Run, got: Mapping[str, Any] | BaseException) -> dict[str, float]:
    """Return the test scores of `evaluate.metrics`, by the name of the function; NaN of a run that failed."""
    names = [name.rpartition(":")[2] for name in base.evaluate.metrics]
    return {name: math.nan if isinstance(got, BaseException) else got["test"][name] for name in names}


def _lines_of(path: Path, columns: Mapping[str, type]) -> tuple[list[str], list[str], list[list[str]]]:
    """Return the columns that a file has, the names of the user's own metrics, and the lines below the header.

    Raises:
        ValueError: the header does not begin with `columns`, with or without the youngest of `LATER`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    versions = ([name for name in columns if name not in LATER[k:]] for k in range(len(LATER), -1, -1))
    known = next((names for names in versions if header[: len(names)] == names), None)
    if known is None:
        raise ValueError(f"{path} has the columns {','.join(header)}; this version writes {','.join(columns)}")
    return known, header[len(known) :], lines


def _parse(kind: type, text: str) -> Any:
    if kind is bool:
        if text not in ("True", "False"):
            raise ValueError(f"leaky must be True or False, got {text!r}")
        return text == "True"
    return text if kind is str or (kind is int and text == "") else kind(text)
