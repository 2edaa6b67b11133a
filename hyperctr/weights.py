"""Tensors in a safetensors file: a killed run leaves the old one or the new one, and reading it runs nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name, and texts by name beside them; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    save_file({name: x.contiguous() for name, x in tensors.items()}, beside, metadata)
    os.replace(beside, path)
