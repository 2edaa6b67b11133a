"""Write a data folder: a log with its roles, items, users and modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.dataset import Dataset
from hyperctr.data.formats.source import Source, in_core
from hyperctr.data.interactions import PARTS
from hyperctr.data.parse import first_line
from hyperctr.data.read import TABLES, _checked, read
from hyperctr.data.roles import Roles
from hyperctr.files import atomic, replace_folder

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
    roles = role_table.parse(roles, f"roles for {path}")
    try:
        with replace_folder(path, "dataset.toml", _is_ours, "hyperctr", begins=MARK) as part:
            for name, table in zip(TABLES, (interactions, items, users), strict=True):
                if table is not None:
                    table.write_parquet(part / f"{name}.parquet", compression="zstd")
            for name, matrix in (modalities or {}).items():
                np.save(part / f"{name}.npy", matrix, allow_pickle=False)
            (part / "dataset.toml").write_text(f"{MARK}\n{role_table.to_toml(roles)}", encoding="utf-8")
            if check:
                read(part)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot write to {path}: {first_line(error)}") from None
    return path


def write_folder(
    dataset: Dataset, path: str | Path, extra_interactions: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write a data set that was made in memory as a folder; `read` returns an equal one.

    Field, type and context numbers are written as they are, 0 as missing. Modality rows of items that lack the modality
    are written as zeros.

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
        clock: pl.Series(log.time),
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
    if log.part is not None:
        table["split"] = pl.Series([*PARTS, None], dtype=pl.String)[log.part]
        chosen["split"] = "split"
    for k, name in enumerate(log.context_names):
        table[name] = _codes(log.context[:, k])
    if log.context_names:
        chosen["context"] = list(log.context_names)
    for name, column in (extra_interactions or {}).items():
        if name in table:
            raise ValueError(f"extra column {name!r} has the name of a written one ({', '.join(table)})")
        table[name] = pl.Series(column)

    item_table = {"item_id": _id_column(items.ids)} | {name: _codes(column) for name, column in items.fields.items()}
    item_roles: dict = {"id": "item_id", "fields": list(items.fields)}
    if items.titles is not None:
        item_table["title"] = pl.Series([str(title) for title in items.titles], dtype=pl.String)
        item_roles["title"] = "title"
    user_table = {"user_id": _id_column(users.ids)} | {name: _codes(column) for name, column in users.fields.items()}
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
        "users": {"id": "user_id", "fields": list(users.fields)},
        "modalities": {name: f"{name}.npy" for name in matrices},
    }
    if dataset.notes:
        roles["note"] = " ".join(dataset.notes)
    return write(path, roles, *(pl.DataFrame(columns) for columns in (table, item_table, user_table)), matrices)


def import_log(source: str | Path, out: str | Path, roles: Roles | None = None, k: int = 0) -> Path:
    """Check a log and write it as a folder, with all its columns and with every role written in dataset.toml.

    Args:
        source: a folder or file that `read` reads.
        out: the folder to write; not the source.
        roles: entries of [interactions], such as {"user": "uid", "click_at_least": 3}. `read` finds the remaining ones.
        k: leave the k-core only, see `hyperctr.data.formats.source.k_core`; 0 leaves all rows.

    Raises:
        ValueError: `out` is the source, or what `read` and `write` raise.
    """
    source, out = Path(source), Path(out)
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the folder to import; choose another one to write")
    opened, dataset = _checked(source, roles, None)
    stated = opened.roles.get("modalities", {name: f"{name}.npy" for name in dataset.items.modalities})
    files = {name for name, made in stated.items() if isinstance(made, str)}
    spelled = opened.roles | {"name": dataset.name}
    if stated:
        spelled["modalities"] = {name: f"{name}.npy" if name in files else made for name, made in stated.items()}
    if "click" in spelled["interactions"]:
        logged = "logged" if dataset.interactions.logged_non_clicks else "unobserved"
        spelled["interactions"] = spelled["interactions"] | {"non_clicks": logged}
    matrices = {name: matrix for name, matrix in dataset.items.modalities.items() if name in files}
    tables = opened.tables
    if k and matrices and "items" not in tables:
        if len(spelled["interactions"]["item"]) > 1:
            raise ValueError(f"{source} needs an items table for a {k}-core: matrices belong to the rows of one")
        tables = tables | {"items": pl.DataFrame({spelled["interactions"]["item"][0]: _id_column(dataset.items.ids)})}
    whole = Source(tables["interactions"], spelled, tables.get("items"), tables.get("users"), matrices)
    kept = in_core(whole, k) if k else whole
    return write(out, kept.roles, kept.interactions, kept.items, kept.users, kept.modalities)


def write_pairs(table: pl.DataFrame, probability: np.ndarray, output: str | Path) -> Path:
    """Write scored rows, with a column `probability`, as .csv or .parquet; a temporary file is moved into place.

    Raises:
        ValueError: another suffix, or a file that cannot be written.
    """
    output = Path(output)
    writers: dict[str, Callable] = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise ValueError(f"{output} must end in .csv or .parquet")
    try:
        with atomic(output) as part:
            writers[output.suffix](table.with_columns(pl.Series("probability", probability)), part)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot write {output}: {first_line(error)}") from None
    return output


def _is_ours(name: str) -> bool:
    """Return whether a data folder may have a file of this name, besides its dataset.toml."""
    return name in {f"{table}.parquet" for table in TABLES} or name.endswith(".npy")


def _id_column(ids: np.ndarray) -> pl.Series:
    """Return ids as a column of whole numbers, or else of text."""
    ids = np.asarray(ids)
    return pl.Series(ids) if ids.dtype.kind in "iu" else pl.Series([str(entry) for entry in ids], dtype=pl.String)


def _codes(column: np.ndarray) -> pl.Series:
    """Return codes as a column of whole numbers whose 0 is null."""
    return pl.Series([None, *range(1, int(column.max(initial=0)) + 1)], dtype=pl.Int64)[column]
