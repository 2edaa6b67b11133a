"""The report of a run: report.json, how it is read, and what each of its keys means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hyperctr.files import read_json


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


def _with_nan(value: Any) -> Any:
    """Return a value of JSON with NaN for null."""
    if isinstance(value, dict):
        return {key: _with_nan(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_with_nan(x) for x in value]
    return math.nan if value is None else value
