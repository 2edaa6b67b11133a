"""Open the tables of a data folder, and find which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.catalog import builtin_roles
from hyperctr.data.kinds import guess_all
from hyperctr.data.roles import Roles
from hyperctr.data.tables import read_table

TABLES = ("interactions", "items", "users")
ENDINGS = (
    ".parquet",
    *(f"{kind}{packed}" for packed in ("", ".gz", ".bz2", ".xz", ".zip") for kind in (".csv", ".tsv", ".txt")),
)
"""Endings of the names of tables in a folder; where there are several, the first is read."""


@dataclass(frozen=True)
class Opened:
    """Tables as they are on disk, and their roles.

    `matrices` are files of modalities by name, where they are not those of the folder.
    """

    path: Path
    tables: dict[str, pl.DataFrame]
    files: Mapping[str, Path]
    roles: Roles
    notes: tuple[str, ...]
    matrices: Mapping[str, Path] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The file of the interactions, for an error."""
        return str(self.files["interactions"])


def open_tables(
    path: Path,
    stated: Roles | None = None,
    more: Mapping[str, Path] = {},
    fields: Sequence[str] = (),
    matrices: Mapping[str, Path] = {},
    kinds: Mapping[str, str | Mapping[str, Any]] = {},
) -> Opened:
    """Read the tables of a folder, or a single table of interactions, and find the role of each column.

    Args:
        path: as `read` takes it.
        stated: entries of [interactions] that replace the folder's own.
        more: files of the items and users table, in the place of those of the folder.
        fields: names of fields of items or users, in the place of those of the folder.
        matrices: files of modalities by name, in the place of those of the folder.
        kinds: kinds of columns by name, see `hyperctr.data.kinds`. The kinds of columns that the folder's dataset.toml
            does not name are guessed by their content.

    Raises:
        ValueError: in one line, what was asked, what was found and what would work.
    """
    notes: list[str] = []
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    files = _files_of(path, notes) if path.is_dir() else {"interactions": path}
    files |= more
    tables = {}
    for table, file in files.items():
        found = read_table(file)
        tables[table] = found.frame
        notes += found.notes
    if not len(tables["interactions"]):
        raise ValueError(f"{files['interactions']} has no rows")
    columns = {table: tables[table].columns for table in tables}
    chosen, said, guessed = _roles(path, tables, files, stated or {})
    left: list[str] = []
    if fields:
        before = [name for table in ("items", "users") for name in chosen.get(table, {}).get("fields", ())]
        chosen = role_table.with_fields(chosen, fields, columns)
        left = [name for name in before if name not in fields]
    if matrices:
        chosen = chosen | {"modalities": {name: f"{name}.npy" for name in matrices}}
        chosen = role_table.parse(chosen, "--modality")
    for table, asked in role_table.columns_of(chosen).items():
        for role, column in asked:
            if table in tables and column not in tables[table].columns:
                raise ValueError(role_table.missing_column(str(files[table]), role, column, tables[table].columns))
            if table not in tables and role != "id":
                raise ValueError(f"{path}: {role} asks for column {column!r} of {table}.parquet or .csv; there is none")
    notes += said
    if left:
        notes.append(f"The fields asked for take the place of those found before: {', '.join(left)} not read.")
    chosen = role_table.with_kinds(chosen, kinds, columns)
    unstated = [
        key for key in ("context", "fields") if guessed or key in (stated or {}) or (fields and key == "fields")
    ]
    chosen, said = guess_kinds(chosen, tables, unstated)
    notes += said
    notes += role_table.unused(chosen, columns)
    return Opened(path, tables, files, chosen, tuple(notes), matrices)


def guess_kinds(
    roles: Roles, tables: Mapping[str, pl.DataFrame | None], keys: Sequence[str] = ("context", "fields")
) -> tuple[Roles, list[str]]:
    """Guess the kind of each column that is named in a plain list, or has the kind None; also return notes.

    Args:
        roles: of the tables.
        tables: by name.
        keys: which lists: "context", "fields".
    """
    notes = []
    for table, key in (("interactions", "context"), ("items", "fields"), ("users", "fields")):
        named, frame = roles.get(table, {}).get(key, []), tables.get(table)
        stated = named if isinstance(named, Mapping) else dict.fromkeys(named if key in keys else ())
        unstated = [name for name, kind in stated.items() if kind is None]
        if frame is not None and unstated:
            found, lines = guess_all(frame, unstated)
            roles = roles | {table: roles[table] | {key: {**stated, **found}}}
            how = f"[{table}.{key}] of dataset.toml, or --kind COLUMN=KIND of data import, can say otherwise"
            notes.append(f"Kinds guessed by content: {'; '.join(lines)}. {how}.")
    return roles, notes


def _files_of(path: Path, notes: list[str]) -> dict[str, Path]:
    """Find the files of the tables in a folder."""
    files = {}
    for table in TABLES:
        present = [file for ending in ENDINGS if (file := path / f"{table}{ending}").is_file()]
        if present:
            files[table] = present[0]
        notes += [f"{file.name} was not read: {present[0].name} is there too." for file in present[1:]]
    if "interactions" not in files:
        inside = sorted(entry.name for entry in path.iterdir())[:12]
        raise ValueError(
            f"{path} has no interactions.parquet or interactions.csv; found {', '.join(inside) or 'nothing'}; "
            "rename the table of clicks, or give the path of one file"
        )
    return files


def _roles(path: Path, tables: Mapping, files: Mapping, stated: Roles) -> tuple[Roles, list[str], bool]:
    """Find the roles: from dataset.toml, built in, or guessed; `stated` entries of [interactions] replace them.

    Also return notes, and whether the roles were guessed.
    """
    folder, where = (path, str(path / "dataset.toml")) if path.is_dir() else (path.parent, str(path))
    columns = {table: tables[table].columns if table in tables else [] for table in TABLES}
    said, is_guess = [], False
    if path.is_dir() and (path / "dataset.toml").is_file():
        chosen = role_table.read_toml(path / "dataset.toml")
    elif (chosen := builtin_roles(folder.resolve())) and _fits(chosen, columns):
        said.append("Roles are the built-in ones of this public set.")
    else:
        chosen, guessed = role_table.guess(*columns.values(), str(files["interactions"]), stated)
        said += [guessed] if guessed else []
        is_guess = True
    if stated:
        replaced = set(stated)
        replaced |= {"time", "order"} if replaced & {"time", "order"} else set()
        replaced |= {"click_at_least", "non_clicks"} if "click" in replaced else set()
        kept = {role: value for role, value in chosen["interactions"].items() if role not in replaced}
        chosen = chosen | {"interactions": kept | stated}
    chosen = role_table.parse(chosen, where)
    return chosen, said + ([chosen["note"]] if "note" in chosen else []), is_guess


def _fits(roles: Roles, columns: Mapping[str, Sequence[str]]) -> bool:
    """Check that the tables have every column that the roles ask for; only an items or users table may be absent."""
    asked = role_table.columns_of(role_table.parse(roles, ""))
    return all(
        column in columns[table] for table in TABLES for role, column in asked[table] if columns[table] or role != "id"
    )
