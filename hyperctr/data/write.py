"""Write a data folder: a log with its roles, items, users and modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.columns import Column
from hyperctr.data.dataset import Dataset
from hyperctr.data.formats.source import Source, in_core
from hyperctr.data.interactions import PARTS
from hyperctr.data.kinds import Kind
from hyperctr.data.opened import TABLES, Opened, open_tables
from hyperctr.data.parse import first_line
from hyperctr.data.read import dataset_of, read
from hyperctr.data.roles import Roles
from hyperctr.files import replace_folder

MARK = "# written by hyperctr"


def write(
    path: str | Path,
    roles: Roles,
    interactions: pl.DataFrame,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    modalities: Mapping[str, np.ndarray] | None = None,
    check: bool = False,
) -> Path:
    """Write a folder that `read` reads: parquet tables, one .npy per modality, and dataset.toml.

    The folder is written under a temporary name next to its final one, and then moved. A folder that this function
    wrote earlier is replaced.

    Args:
        path: the folder; missing parent folders are made.
        roles: the content of dataset.toml; see hyperctr.data.roles.
        interactions, items, users: the tables, columns as named in `roles`.
        modalities: matrices [I, d] whose row i belongs to row i of `items`; written as <name>.npy.
        check: read the folder before it is put in place, so that nothing is written that cannot be read.

    Returns:
        The folder.

    Raises:
        ValueError: the folder cannot be written or read, or it contains something that this function did not write.
    """
    path = Path(path)
    with _folder(path) as part:
        for name, table in zip(TABLES, (interactions, items, users), strict=True):
            if table is not None:
                _write_table(table, part / f"{name}.parquet")
        for name, matrix in (modalities or {}).items():
            np.save(part / f"{name}.npy", matrix, allow_pickle=False)
        _write_roles(roles, part, path)
        if check:
            _check(part)
    return path


def _folder(path: Path) -> AbstractContextManager[Path]:
    return replace_folder(path, "dataset.toml", _is_ours, "hyperctr", begins=MARK)


def _write_table(table: pl.DataFrame, file: Path) -> None:
    try:
        table.write_parquet(file, compression="zstd", compression_level=1)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot write {file.name}: {first_line(error)}") from None


def _write_roles(roles: Roles, part: Path, path: Path) -> None:
    text = role_table.to_toml(role_table.parse(roles, f"roles for {path}"))
    (part / "dataset.toml").write_text(f"{MARK}\n{text}", encoding="utf-8")


def _check(part: Path) -> None:
    """Read a folder that is not in place yet; an error names its files without the folder."""
    try:
        read(part)
    except ValueError as error:
        raise ValueError(str(error).replace(f"{part}/", "")) from None


def write_folder(
    dataset: Dataset, path: str | Path, extra_interactions: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write a data set that was made in memory as a folder; `read` returns an equal one.

    Type numbers are written as they are, 0 as missing. A modality of an item that lacks it is written as zeros.

    Args:
        dataset: what to write.
        path: the folder.
        extra_interactions: further columns without a role, one value per row.

    Raises:
        ValueError: an extra column has the name of a written one, or what `write` raises.

    >>> from hyperctr.data.planted import planted
    >>> from hyperctr.data.read import read
    >>> folder = write_folder(planted("drift", scale=0.02).dataset, "world")
    >>> sorted(file.name for file in folder.iterdir())[:3]
    ['acoustic.npy', 'dataset.toml', 'interactions.parquet']
    >>> read(folder).items
    Items(600 items, fields: none, modalities: visual 16, acoustic 16, textual 16)
    """
    log, items, users = dataset.interactions, dataset.items, dataset.users
    clock = "timestamp" if log.has_time else "position"
    table = {
        "user_id": _id_column(users.ids)[log.user],
        "item_id": _id_column(items.ids)[log.item],
        clock: pl.Series(log.time).cast(pl.Datetime("us", "UTC")) if log.has_time else pl.Series(log.time),
        "click": pl.Series(log.label.astype(np.int8)),
    }
    chosen = {"user": "user_id", "item": "item_id", "time" if log.has_time else "order": clock, "click": "click"}
    chosen["non_clicks"] = "logged" if log.logged_non_clicks else "unobserved"
    if log.conversion is not None:
        table["conversion"] = pl.Series(log.conversion, nan_to_null=True)
        chosen["conversion"] = "conversion"
    if log.length is not None:
        table["length"] = pl.Series(log.length, nan_to_null=True)
        chosen["length"] = "length"
    if log.type is not None:
        table["type"] = _codes(log.type)
        chosen["type"] = "type"
    if log.scored is not None:
        table["use"] = pl.Series(log.scored)
        chosen["use"] = "use"
    if log.part is not None:
        table["split"] = pl.Series([*PARTS, None], dtype=pl.String)[log.part]
        chosen["split"] = "split"
    table |= {name: column.series() for name, column in log.context.items()}
    if log.context:
        chosen["context"] = _kinds(log.context)
    for name, column in (extra_interactions or {}).items():
        if name in table:
            raise ValueError(f"extra column {name!r} has the name of a written one ({', '.join(table)})")
        table[name] = pl.Series(column)

    item_table = {"item_id": _id_column(items.ids)} | {name: column.series() for name, column in items.fields.items()}
    item_roles: dict = {"id": "item_id", "fields": _kinds(items.fields)}
    if items.titles is not None:
        item_table["title"] = pl.Series([str(title) for title in items.titles], dtype=pl.String)
        item_roles["title"] = "title"
    user_table = {"user_id": _id_column(users.ids)} | {name: column.series() for name, column in users.fields.items()}
    matrices = {}
    for name, matrix in items.modalities.items():
        absent = ~np.asarray(items.present[name])
        if np.asarray(matrix[absent]).any():
            matrix = np.where(absent[:, None], np.zeros(1, matrix.dtype), matrix)
        matrices[name] = matrix
    roles = {
        "name": dataset.name,
        "interactions": chosen,
        "items": item_roles,
        "users": {"id": "user_id", "fields": _kinds(users.fields)},
        "modalities": {name: f"{name}.npy" for name in matrices},
    }
    if dataset.notes:
        roles["note"] = " ".join(dataset.notes)
    return write(path, roles, *(pl.DataFrame(columns) for columns in (table, item_table, user_table)), matrices)


def import_log(
    source: str | Path,
    out: str | Path,
    roles: Roles | None = None,
    items: Path | None = None,
    users: Path | None = None,
    fields: Sequence[str] = (),
    modalities: Mapping[str, Path] | None = None,
    k: int = 0,
    kinds: Mapping[str, Any] | None = None,
) -> Dataset:
    """Check a log and write it as a folder, with all its columns and with every role written in dataset.toml.

    Args:
        source: a folder or file that `read` reads.
        out: the folder to write; not the source.
        roles: entries of [interactions], such as {"user": "uid", "click_at_least": 3}. `read` finds the remaining ones.
        items, users: files of these tables.
        fields: names of the columns of items or users to read as fields.
        modalities: .npy files by name of the modality; row i belongs to row i of the items table.
        kinds: kinds of columns by name, such as {"price": "number"}; those of other named columns are guessed.
        k: leave the k-core only, see `hyperctr.data.formats.source.k_core`; 0 leaves all rows.

    Returns:
        The data set as read from the source.

    Raises:
        ValueError: `out` is the source, or what `read` and `write` raise.
    """
    source, out = Path(source), Path(out)
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the folder to import; choose another one to write")
    more = {name: Path(file) for name, file in (("items", items), ("users", users)) if file is not None}
    files = {name: Path(file) for name, file in (modalities or {}).items()}
    if k:
        opened = open_tables(source, roles, more, fields, files, kinds or {})
        return read(_write_core(out, opened, dict(opened.tables), k))
    with _folder(out) as part:
        opened = open_tables(source, roles, more, fields, files, kinds or {})
        for name in opened.tables:  # before the log is parsed, which takes it apart
            _write_table(opened.tables[name], part / f"{name}.parquet")
        dataset = dataset_of(opened)
        spelled, matrices = _spelled(opened, dataset)
        for name, matrix in matrices.items():
            np.save(part / f"{name}.npy", matrix, allow_pickle=False)
        _write_roles(spelled, part, out)
    return dataset


def _write_core(out: Path, opened: Opened, tables: dict[str, pl.DataFrame], k: int) -> Path:
    """Write the k-core of a log."""
    dataset = dataset_of(opened)
    spelled, matrices = _spelled(opened, dataset)
    if matrices and "items" not in tables:
        if len(spelled["interactions"]["item"]) > 1:
            raise ValueError(f"{opened.path} needs an items table for a {k}-core: matrices belong to the rows of one")
        tables["items"] = pl.DataFrame({spelled["interactions"]["item"][0]: _id_column(dataset.items.ids)})
    core = in_core(Source(tables["interactions"], spelled, tables.get("items"), tables.get("users"), matrices), k)
    return write(out, core.roles, core.interactions, core.items, core.users, core.modalities)


def _spelled(opened: Opened, dataset: Dataset) -> tuple[Roles, dict[str, np.ndarray]]:
    """Write out every role of a log, and collect the matrices that come from files."""
    roles = opened.roles | {"name": dataset.name}
    columns = roles.get("items", {}).get("fields", [])
    found = {name: f"{name}.npy" for name in dataset.items.modalities if name not in columns}
    stated = roles.get("modalities", found)
    files = {name for name, made in stated.items() if isinstance(made, str)}
    if stated:
        roles["modalities"] = {name: f"{name}.npy" if name in files else made for name, made in stated.items()}
    if "click" in roles["interactions"]:
        logged = "logged" if dataset.interactions.logged_non_clicks else "unobserved"
        roles["interactions"] = roles["interactions"] | {"non_clicks": logged}
    return roles, {name: matrix for name, matrix in dataset.items.modalities.items() if name in files}


def _is_ours(name: str) -> bool:
    """Return whether a data folder may have a file of this name, besides its dataset.toml."""
    return name in {f"{table}.parquet" for table in TABLES} or name.endswith(".npy")


def _id_column(ids: np.ndarray) -> pl.Series:
    """Return ids as a column of whole numbers, or else of text."""
    ids = np.asarray(ids)
    return pl.Series(ids) if ids.dtype.kind in "iu" else pl.Series([str(entry) for entry in ids], dtype=pl.String)


def _kinds(columns: Mapping[str, Column]) -> list[str] | dict:
    """Return what dataset.toml says of columns: their names where all are plain categories, else their kinds."""
    kinds = {name: x.kind for name, x in columns.items()}
    return list(kinds) if set(kinds.values()) <= {Kind()} else {name: kind.stated() for name, kind in kinds.items()}


def _codes(column: np.ndarray) -> pl.Series:
    """Return codes as a column of whole numbers whose 0 is null."""
    return pl.Series([None, *range(1, int(column.max(initial=0)) + 1)], dtype=pl.Int64)[column]
