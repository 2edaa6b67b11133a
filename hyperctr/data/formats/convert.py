"""From a published format to a data folder: what `hyperctr data import --format` does."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from hyperctr.data.formats import find_format
from hyperctr.data.formats.source import Source, completed, in_core
from hyperctr.data.opened import guess_kinds
from hyperctr.data.parse import first_line
from hyperctr.data.tables import _silent
from hyperctr.data.write import write

_DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, pl.exceptions.PolarsError)


def convert(name: str, path: str | Path, out: str | Path, stated: Mapping[str, Any] = {}, k: int = 0) -> Path:
    """Read files of a published format and write them as a data folder, which is read once before it is put in place.

    Args:
        name: one of `hyperctr.data.formats.FORMATS`.
        path: the files, as their publisher packs them.
        out: the folder to write.
        stated: entries of [interactions] that replace those of the format.
        k: leave the k-core only; 0 leaves all rows.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown format; files that do not have the published layout; or what `write` raises.
    """
    module, path = find_format(name), Path(path).expanduser()
    if Path(out).resolve() == path.resolve():
        raise ValueError(f"{out} is the folder to import; choose another one to write")
    try:
        with _silent():
            source = _with_roles(module.read(path, stated), stated)
            source = completed(in_core(source, k) if k else source).noted(f"Format {name}, {module.HOME}.")
            return _written(source, Path(out), path)
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except (*_DAMAGED, pl.exceptions.PanicException) as error:
        raise ValueError(f"{path} is not readable as {name}: {first_line(error)}") from None


def _with_roles(source: Source, stated: Mapping[str, Any]) -> Source:
    """Replace roles of the format by stated ones."""
    log = source.roles["interactions"]
    if "click" in stated:
        log = {role: value for role, value in log.items() if role not in ("click_at_least", "non_clicks")}
    return replace(source, roles={**source.roles, "interactions": log | dict(stated)})


def _written(source: Source, out: Path, path: Path) -> Path:
    tables = {"interactions": source.interactions, "items": source.items, "users": source.users}
    try:
        roles, notes = guess_kinds({"name": out.name, **source.roles}, tables)
        source = replace(source, roles=roles).noted(*notes)
        return write(out, source.roles, source.interactions, source.items, source.users, source.modalities, check=True)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
