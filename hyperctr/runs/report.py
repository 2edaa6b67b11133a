"""The report of a run: report.json, how it is read, and what each of its keys means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hyperctr.files import read_csv, read_json


def read(folder: str | Path) -> dict[str, Any]:
    """Read the report of a finished run; null is NaN.

    Raises:
        ValueError: report.json is missing or damaged.
    """
    path = Path(folder) / "report.json"
    found = read_json(path, "report of a run")
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged, it is no report of a run")
    return _with_nan(found)


def read_history(folder: str | Path) -> list[dict[str, str]]:
    """Read history.csv of a run's folder, one line per validation; without the file there is none.

    Raises:
        ValueError: the file is damaged: a line or column is missing, or an epoch is no number.
    """
    path = Path(folder) / "history.csv"
    lines = read_csv(path)
    for number, line in enumerate(lines, 2):
        if missing := [name for name in ("epoch", "valid_auc") if name not in line]:
            raise ValueError(f"{path} is damaged: it has no column {missing[0]}")
        try:
            float(line["epoch"]), float(line["valid_auc"])
        except ValueError:
            raise ValueError(f"{path} is damaged: line {number} has a cell that is no number") from None
    return lines


def _with_nan(value: Any) -> Any:
    """Return a value of JSON with NaN for null."""
    if isinstance(value, dict):
        return {key: _with_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_with_nan(x) for x in value]
    return math.nan if value is None else value
