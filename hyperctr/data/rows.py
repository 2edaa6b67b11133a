"""Rows to score: read as the training data was read, and written back untouched beside their probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hyperctr.data import roles as role_table
from hyperctr.data.columns import Category, Number
from hyperctr.data.dataset import Dataset
from hyperctr.data.items import Ids
from hyperctr.data.parse import count_rows, first_line, parse_ids, parse_order
from hyperctr.data.tables import read_table
from hyperctr.data.times import parse_times
from hyperctr.data.values import row_in_words
from hyperctr.files import atomic

USUAL = {"user": ["user_id"], "item": ["item_id"], "time": "timestamp"}


@dataclass(frozen=True)
class Rows:
    """Rows to score.

    Args:
        table: the input as it was read, untouched.
        user, item: the original ids, [n].
        time: whole microseconds since 1970 UTC; positions where the data have an order instead, int64 [n].
        context: the context columns of the data set that the rows have, by name.
        query: the column `query`, which numbers the rows that were scored together; None without one, or where the data
            set has a column of that name.
        notes: what was assumed, and how many ids are unknown.
    """

    table: pl.DataFrame
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    context: Mapping[str, pl.Series]
    query: np.ndarray | None
    notes: tuple[str, ...]


def read_rows(path: str | Path, dataset: Dataset) -> Rows:
    """Read rows to score by the column names and the rules by which the data set was read.

    Where the file lacks a column of the data set, the names user_id, item_id and timestamp are taken instead.

    Raises:
        ValueError: the file is unreadable, lacks a column, or has an empty value in one.
    """
    file = Path(path)
    log = dataset.roles.get("interactions", USUAL)
    has_time = dataset.interactions.has_time
    clock = "time" if has_time else "order"
    asked = {role: log.get(role) or USUAL.get(role, ["position"]) for role in ("user", "item", clock)}
    asked[clock] = asked[clock] if isinstance(asked[clock], str) else USUAL["time"]
    known = {"user": dataset.user_ids, "item": dataset.item_ids}
    as_text = {asked[role][0] for role in known if len(asked[role]) == 1 and known[role].are_text}
    context = dataset.interactions.context
    coded = {n for n, x in context.items() if isinstance(x, Number) or (isinstance(x, Category) and not x.are_text)}
    words = context.keys() - coded
    found = read_table(file, text=words | as_text | {USUAL[role][0] for role in known if known[role].are_text})
    table, said = found.frame, list(found.notes)
    columns, used = {}, {"query"}
    for role, names in asked.items():
        names, usual = ([x] if isinstance(x, str) else x for x in (names, USUAL.get(role, USUAL["time"])))
        if not set(names) <= set(table.columns) and set(usual) <= set(table.columns):
            names = usual
        if missing := [name for name in names if name not in table.columns]:
            raise ValueError(
                role_table.missing_column(str(file), f"the {role} of a row to score", missing[0], table.columns)
            )
        where = f"{file}, column {names[0]!r}"
        used |= set(names)
        if role in known:
            column = parse_ids(table, names, str(file))
        elif has_time:
            column, notes = parse_times(table[names[0]], where, log.get("time_unit"))
            said += notes
        else:
            column = parse_order(table[names[0]], where)
        if column.null_count():
            raise ValueError(f"{where} is empty in {row_in_words(column.is_null().arg_max())}")
        columns[role] = column
    ids = {role: columns[role].to_numpy() for role in known}
    said += [note for role in known if (note := _unknown(known[role], ids[role]))]
    here = {name: table[name] for name in context if name in table.columns}
    if others := [name for name in table.columns if name not in used | here.keys()]:
        said.append(f"Columns that are not read: {', '.join(others)}.")
    own = {name for _, name in role_table.columns_of({"interactions": log})["interactions"]}
    query = table["query"].to_numpy() if "query" in table.columns and "query" not in own else None
    return Rows(table, ids["user"], ids["item"], columns[clock].to_numpy(), here, query, tuple(said))


def _unknown(known: Ids, ids: np.ndarray) -> str:
    """Say how many rows have an id that the data set lacks; "" without one."""
    unknown = ids[known.numbers(ids) == len(known.ids)]
    if not len(unknown):
        return ""
    several = f"{len(set(unknown.tolist())):,} {known.kind}s"
    what = f"the {known.kind} {unknown[0]}" if len(unknown) == 1 else f"{several}, such as {str(unknown[0])[:60]},"
    return f"{count_rows(len(unknown))} of {len(ids):,}: {what} not in the data set; scored as new."


def write_rows(table: pl.DataFrame, probability: np.ndarray, output: str | Path) -> str:
    """Write rows with their probability in a new column, as .csv or .parquet; a temporary file is moved into place.

    Returns:
        The name of the new column: "probability", or "probability_1", ... where the rows have one already.

    Raises:
        ValueError: another suffix, or a file that cannot be written.
    """
    output = Path(output)
    writers: dict[str, Callable] = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise ValueError(f"{output} must end in .csv or .parquet")
    name, number = "probability", 0
    while name in table.columns:
        number += 1
        name = f"probability_{number}"
    try:
        with atomic(output) as part:
            writers[output.suffix](table.with_columns(pl.Series(name, probability)), part)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"cannot write {output}: {first_line(error)}") from None
    return name
