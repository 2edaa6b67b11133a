"""Write files that a killed process cannot spoil: each is written beside its final name, then moved."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

if TYPE_CHECKING:
    pass


def write_text(path: Path, text: str) -> None:
    """Write a file beside its name, then move it there."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def write_csv(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines of equal keys as CSV, NaN as nothing; no file without a line."""
    lines, text = [*lines], io.StringIO()
    if not lines:
        return
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: "" if isinstance(x, float) and math.isnan(x) else x for k, x in each.items()} for each in lines
    )
    write_text(path, text.getvalue())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, and texts by name beside them; makes the folder."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    save_file({name: x.contiguous() for name, x in tensors.items()}, beside, metadata)
    os.replace(beside, path)
