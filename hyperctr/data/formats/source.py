"""What a format gives: tables with their roles; and what is done to all of them before they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.parse import count_rows
from hyperctr.data.roles import Roles


@dataclass(frozen=True)
class Source:
    """Tables as `hyperctr.data.write.write` takes them: columns as published, and what each is.

    Args:
        interactions: the log, in the order of the files.
        roles: the content of dataset.toml; `note` says what was left out or decided.
        items, users: their tables.
        modalities: name to float matrix, row i for row i of `items`.
    """

    interactions: pl.DataFrame
    roles: Roles
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    modalities: Mapping[str, np.ndarray] = field(default_factory=dict)

    def noted(self, *notes: str) -> Source:
        """Return the source with further sentences in its note; empty ones are left out."""
        text = " ".join(note for note in (self.roles.get("note", ""), *notes) if note)
        return replace(self, roles=self.roles | ({"note": text} if text else {}))


def _named_tables(source: Source) -> Iterator[tuple[str, str, pl.DataFrame, str, str]]:
    """Yield role, table, its rows, and the column of the log and of the table that name them, where one column does."""
    for role, table in (("user", "users"), ("item", "items")):
        rows, (name, *more) = getattr(source, table), _columns(source, role)
        if rows is not None and not more:
            yield role, table, rows, name, _id(source, table, name)


def completed(source: Source) -> Source:
    """Give each user and item of the log a row in its table, if there is a table: empty cells and vectors of zeros."""
    for role, table, rows, name, known in _named_tables(source):
        missing = source.interactions[name].drop_nulls().unique().sort()
        missing = missing.filter(~_among(missing, rows[known]))
        if not len(missing):
            continue
        rows = pl.concat([rows, missing.alias(known).to_frame()], how="diagonal_relaxed")
        source = replace(source, **{table: rows}).noted(
            f"{len(missing)} {role if len(missing) == 1 else table} of the log had no row in the table of {table}."
        )
        if role == "item":
            empty = {name: np.zeros((len(missing), x.shape[1]), x.dtype) for name, x in source.modalities.items()}
            joined = {name: np.concatenate([x, empty[name]]) for name, x in source.modalities.items()}
            source = replace(source, modalities=joined)
    return source


def only_known(source: Source) -> Source:
    """Leave out the rows of the users and items tables that the log never names, and their vectors."""
    for role, table, rows, name, known in _named_tables(source):
        keep = _among(rows[known], source.interactions[name].drop_nulls().unique())
        if keep.all():
            continue
        source = replace(source, **{table: rows.filter(keep)}).noted(
            f"{count_rows(int((~keep).sum()))} of the table of {table} whose {role} is not in the log "
            f"{'was' if (~keep).sum() == 1 else 'were'} left out."
        )
        if role == "item":
            kept = {name: np.asarray(x)[keep.to_numpy()] for name, x in source.modalities.items()}
            source = replace(source, modalities=kept)
    return source


def k_core(log: pl.DataFrame, user: Sequence[str], item: Sequence[str], k: int) -> tuple[pl.DataFrame, str]:
    """Leave out the rows of users and items with fewer than k rows, again and again until all have k.

    Args:
        log: the rows.
        user, item: the columns that name the user and the item.
        k: at least 1.

    Returns:
        The rows left, in their order; and one sentence with the counts.

    Raises:
        ValueError: no row is left, or k is below 1.

    >>> log = pl.DataFrame({"u": [1, 1, 2, 2, 3], "i": [7, 8, 7, 8, 7]})
    >>> left, said = k_core(log, ["u"], ["i"], 2)
    >>> left.rows()
    [(1, 7), (1, 8), (2, 7), (2, 8)]
    >>> said
    '2-core: 4 of 5 rows, 2 of 3 users and 2 of 2 items are left.'
    """
    if k < 1:
        raise ValueError(f"a k-core needs k of at least 1, got {k}")
    left, before = log.drop_nulls([*user, *item]), -1
    while len(left) != before:
        before = len(left)
        left = left.filter(pl.len().over(*user) >= k).filter(pl.len().over(*item) >= k)
    if not len(left):
        raise ValueError(f"the {k}-core of {count_rows(len(log))} is empty: choose a smaller k")
    users, items = ((left.select(names).n_unique(), log.select(names).n_unique()) for names in (user, item))
    return left, (
        f"{k}-core: {len(left)} of {count_rows(len(log))}, {users[0]} of {users[1]} users and {items[0]} of {items[1]} "
        "items are left."
    )


def in_core(source: Source, k: int) -> Source:
    """Return the k-core of a source; see `k_core`."""
    left, said = k_core(source.interactions, _columns(source, "user"), _columns(source, "item"), k)
    return only_known(replace(source, interactions=left).noted(said))


def with_split(parts: Mapping[str, pl.DataFrame], column: str = "split") -> pl.DataFrame:
    """Join the tables of the parts, train, valid and test, into one whose column `column` names the part."""
    return pl.concat([table.with_columns(pl.lit(part).alias(column)) for part, table in parts.items()])


def _id(source: Source, table: str, name: str) -> str:
    """Return the column of a table that names its rows."""
    known = source.roles.get(table, {}).get("id", name)
    if known not in (columns := getattr(source, table).columns):
        raise ValueError(role_table.missing_column(f"the table of {table}", "id", known, columns))
    return known


def _among(ids: pl.Series, known: pl.Series) -> pl.Series:
    """Return which ids are among the known ones, compared as text if the two columns differ in type; not for null."""
    if ids.dtype != known.dtype:
        ids, known = ids.cast(pl.String), known.cast(pl.String)
    return ids.is_in(known.implode()).fill_null(False)


def _columns(source: Source, role: str) -> list[str]:
    """Return the columns that name the user or the item."""
    names = source.roles["interactions"][role]
    return [names] if isinstance(names, str) else list(names)
