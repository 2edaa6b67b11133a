"""Roles: which column of a table is what. Read strictly from dataset.toml, or guessed from column names.

Every function here takes and returns roles in the shape of that file:

    name = "shop"
    note = "Shown with the data set."
    [interactions]
    user = "user_id"                # or a list of columns that together name the user
    item = "item_id"                # or a list
    time = "timestamp"              # unix time, ISO text or a date column
    time_unit = "ms"                # of numbers: s, ms, us, ns, min, h, d or year; left out: recognised by their size
    order = "position"              # instead of time, when there are no times; false: the rows have no order at all
    click = "rating"                # without it every row is a click
    click_at_least = 4              # without it the column has 0 and 1
    non_clicks = "unobserved"       # or "logged": rows of label 0 were shown and not clicked
    conversion = "bought"           # within [0, 1], empty where unknown; "played/duration": a share, at most 1
    length = "duration"             # how long the item takes, in any unit
    type = "behaviour"              # categorical; or flags whose combinations are types: ["is_click", "is_like"]
    use = "scored"                  # true where a row may be trained on and scored; other rows are history alone.
                                    # Or the span of such rows: { from = "2024-01-05", until = "2024-02-01" }
    context = ["tab"]               # categorical; or [interactions.context], as [items.fields] below
    split = "split"                 # the source's own: train, valid, test or 0, 1, 2; split.kind = "given" uses it
    [items]
    id = "item_id"                  # without it the columns of interactions.item
    title = "title"
    fields = ["genres"]             # categorical; or, to state the kind of each column (`hyperctr.data.kinds`):
    [items.fields]
    genres = "tags"
    price = { kind = "number", log = true }
    [users]
    id = "user_id"
    fields = ["gender", "age"]
    [modalities]                    # without it every .npy file of the folder
    visual = "visual.npy"
    tags = { columns = ["tag", "author_id"], dim = 64 }            # made from item columns, value by value
    text = { columns = ["title"], text = true, dim = 64 }          # made from item columns, word by word
    cover = { file = "cover.npy" }                                 # the same as cover = "cover.npy"
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hyperctr import strict
from hyperctr.data.kinds import Kind
from hyperctr.data.parse import listed
from hyperctr.data.times import Unit
from hyperctr.strict import did_you_mean

Roles = dict[str, Any]
Columns = str | tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """What a dataset.toml may state."""

    name: str | None = None
    note: str | None = None
    interactions: dict | None = None
    items: dict | None = None
    users: dict | None = None
    modalities: dict | None = None


@dataclass(frozen=True)
class _Interactions:
    user: Columns | None = None
    item: Columns | None = None
    time: str | None = None
    time_unit: Unit | None = None
    order: str | bool | None = None
    click: str | None = None
    click_at_least: float | None = None
    non_clicks: Literal["logged", "unobserved"] | None = None
    conversion: str | None = None
    length: str | None = None
    type: str | tuple[str, ...] | None = None
    context: tuple[str, ...] | dict | None = None
    split: str | None = None
    use: str | dict | None = None


@dataclass(frozen=True)
class _Items:
    id: Columns | None = None
    title: str | None = None
    fields: tuple[str, ...] | dict | None = None


@dataclass(frozen=True)
class _Users:
    id: Columns | None = None
    fields: tuple[str, ...] | dict | None = None


@dataclass(frozen=True)
class _Modality:
    file: str | None = None
    columns: tuple[str, ...] | None = None
    text: bool | None = None
    dim: int | None = None


_TABLES = {"interactions": _Interactions, "items": _Items, "users": _Users}
_USUAL = {
    "user": ("user_id", "userid", "user", "uid"),
    "item": (
        "item_id", "itemid", "item", "iid", "movie_id", "video_id", "product_id", "article_id", "ad_id", "adgroup_id",
    ),
    "time": ("timestamp", "time", "ts", "time_stamp", "datetime", "date"),
    "order": ("position", "order"),
    "click": ("click", "is_click", "clicked", "clk", "label"),
    "rating": ("rating", "stars"),
    "conversion": ("conversion", "purchase", "cvr_label", "bought"),
    "title": ("title", "name"),
    "item field": ("genres", "genre", "category", "brand", "author_id", "tag", "tags"),
    "user field": ("gender", "age", "occupation", "country", "city"),
}  # fmt: skip


def read_toml(path: Path) -> Roles:
    """Read a dataset.toml.

    Raises:
        ValueError: the file is unreadable, or what `parse` raises.
    """
    return parse(strict.read_toml(path), str(path))


def parse(tables: Mapping[str, Any], where: str) -> Roles:
    """Check roles strictly; a single column for user, item or id becomes a list of one.

    Args:
        tables: the content of the TOML file.
        where: its name in an error.

    Raises:
        ValueError: an unknown key (the nearest right one is named), a value of the wrong type, user or item missing, or
            two keys that exclude each other.
    """
    try:
        roles = strict.values(_File, tables, "")
        for table, cls in _TABLES.items():
            if table in roles or table == "interactions":
                checked = strict.values(cls, roles.get(table, {}), table)
                roles[table] = {key: _as_list(key, value) for key, value in checked.items()}
                if isinstance(use := roles[table].get("use"), str) and ".." in use:
                    roles[table]["use"] = dict(zip(("from", "until"), map(str.strip, use.split("..", 1)), strict=True))
                for key in roles[table].keys() & {"fields", "context"}:
                    _check_kinds(f"{table}.{key}", roles[table][key])
        _check_interactions(roles["interactions"])
        if "modalities" in roles:
            roles["modalities"] = {name: _modality(name, made) for name, made in roles["modalities"].items()}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return roles


def _as_list(key: str, value: Any) -> Any:
    """Return columns as a list, also a single column of a role that may have several."""
    return list(value) if isinstance(value, tuple) else [value] if key in ("user", "item", "id") else value


def _check_kinds(table: str, columns: Sequence[str] | Mapping[str, Any]) -> None:
    """Check the kind that dataset.toml states for each column, if it states any."""
    if isinstance(columns, Mapping):
        for name, stated in columns.items():
            Kind.parse(f"{table}.{name}", stated, context=table.endswith("context"))


def _check_interactions(log: Mapping[str, Any]) -> None:
    """Refuse roles without a user or an item, and roles that exclude each other."""
    for role in ("user", "item"):
        if not log.get(role):
            raise ValueError(f'[interactions] must name the column of the {role}, e.g. {role} = "{role}_id"')
    if "time" in log and "order" in log:
        raise ValueError("[interactions] names both time and order; order is for data without times")
    if "time_unit" in log and "time" not in log:
        raise ValueError("[interactions] states a time_unit, but no time")
    if not math.isfinite(log.get("click_at_least", 0)):
        raise ValueError(f"interactions.click_at_least must be a finite number, got {log['click_at_least']}")
    if isinstance(use := log.get("use"), Mapping) and not (
        use and use.keys() <= {"from", "until"} and any(use.values())
    ):
        raise ValueError(
            f"interactions.use is a column, or a span {{ from = ..., until = ... }}, got {strict.literal([*use])}"
        )
    if log.get("order") is True:
        raise ValueError("interactions.order is a column, or false where the rows have no order, got true")
    if "click" not in log and ("click_at_least" in log or log.get("non_clicks") == "logged"):
        raise ValueError("click_at_least and logged non-clicks need a click column")


def _modality(name: str, made: Any) -> Any:
    """Check how a modality is made: the name of its file, or a table of item columns."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"a modality name is letters, digits, _ and -, got {name!r}")
    if isinstance(made, dict):
        made = strict.values(_Modality, made, f"modalities.{name}")
        if set(made) == {"file"}:
            return _modality(name, made["file"])
        if "file" in made or not made.get("columns") or made.get("dim", 1) < 1:
            raise ValueError(f"modality {name!r} needs columns and a dim of 1 or more, or only a file")
        return made | {"columns": list(made["columns"])}
    if not isinstance(made, str) or Path(made).is_absolute() or ".." in Path(made).parts:
        raise ValueError(
            f"modality {name!r} must be a .npy file inside the folder or {{ columns = [...] }}, "
            f"got {strict.literal(made)}"
        )
    return made


def guess(
    interactions: Sequence[str], items: Sequence[str], users: Sequence[str], where: str, stated: Mapping[str, Any] = {}
) -> tuple[Roles, str]:
    """Guess roles from the usual column names.

    Args:
        interactions, items, users: column names of the tables; empty for a missing table.
        where: the interactions file, for an error.
        stated: entries of [interactions] that need no guess.

    Returns:
        The roles, and one sentence that lists every guess; "" without one.

    Raises:
        ValueError: no column can be the user or the item.
    """
    log: dict[str, Any] = dict(stated)
    for role in ("user", "item"):
        chosen = log.get(role) or _first(interactions, _USUAL[role])
        if chosen is None:
            raise ValueError(
                f"{where}: no column can be the {role}: looked for {', '.join(_USUAL[role])}; "
                f"found {listed(interactions)}; "
                f"name it with `hyperctr data import --{role} COLUMN`, or in dataset.toml under [interactions]"
            )
        log[role] = [chosen] if isinstance(chosen, str) else chosen
    for role in ("time", "order"):
        if not log.keys() & {"time", "order"} and (column := _first(interactions, _USUAL[role])):
            log[role] = column
    if "click" not in log:
        if column := _first(interactions, _USUAL["click"]):
            log["click"] = column
        elif column := _first(interactions, _USUAL["rating"]):
            log = {"click": column, "click_at_least": 4, "non_clicks": "unobserved"} | log
    if "conversion" not in log and (column := _first(interactions, _USUAL["conversion"])):
        log["conversion"] = column
    roles: Roles = {"interactions": log}
    said = [f"{role} = {_plain(value)}" for role, value in log.items() if role not in stated]
    for table, columns, role in (("items", items, "item"), ("users", users, "user")):
        fields = [column for column in columns if column.lower() in _USUAL[f"{role} field"] and column not in log[role]]
        guessed: dict[str, Any] = {"fields": fields} if fields else {}
        if table == "items" and (title := _first(columns, _USUAL["title"])):
            guessed["title"] = title
        said += [f"{role} {key} = {_plain(value)}" for key, value in guessed.items()]
        if guessed:
            roles[table] = guessed
    note = f"Roles guessed from column names: {'; '.join(said)}. A dataset.toml can say otherwise."
    return roles, note if said else ""


def columns_of(roles: Roles) -> dict[str, list[tuple[str, str]]]:
    """List the (role, column) pairs that the roles ask for, per table: interactions, items and users."""
    log = roles["interactions"]
    asked: dict[str, list[tuple[str, str]]] = {"interactions": [], "items": [], "users": []}
    for role in ("user", "item", "time", "order", "click", "conversion", "length", "type", "context", "split", "use"):
        value = log.get(role) or []  # order may be false
        value = [] if role == "use" and isinstance(value, Mapping) else value
        columns = share(value) if role == "conversion" and value else [value] if isinstance(value, str) else value
        asked["interactions"] += [(role, column) for column in columns]
    for table, role in (("items", "item"), ("users", "user")):
        chosen = roles.get(table, {})
        asked[table] += [("id", column) for column in chosen.get("id", log[role])]
        asked[table] += [("title", chosen["title"])] if "title" in chosen else []
        asked[table] += [("field", column) for column in chosen.get("fields", [])]
    for name, made in roles.get("modalities", {}).items():
        if isinstance(made, dict):
            asked["items"] += [(f"modality {name}", column) for column in made["columns"]]
    return asked


def unused(roles: Roles, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the columns that no role asks for, one sentence per table.

    >>> unused({"interactions": {"user": ["u"], "item": ["i"]}}, {"interactions": ["u", "i", "price", "device"]})
    ['Unused columns of interactions: price, device. The role context, or --context of data import, reads them.']
    """
    said = []
    for table, asked in columns_of(roles).items():
        used, role = {column for _, column in asked}, "context" if table == "interactions" else "fields"
        if left := [column for column in columns.get(table, ()) if column not in used]:
            how = f"The role {role}, or --{role} of data import, reads them."
            said.append(f"Unused columns of {table}: {listed(left)}. {how}")
    return said


def with_fields(roles: Roles, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Roles:
    """Return roles whose fields are these columns, of items or of users, wherever each one is.

    Raises:
        ValueError: no table of items or users has a column of that name, or both have.
    """
    where: dict[str, list[str]] = {"items": [], "users": []}
    for name in names:
        there = [table for table in where if name in columns.get(table, ())]
        if len(there) != 1:
            tables = "; ".join(f"{table}: {listed(columns[table])}" for table in where if table in columns)
            found = "both tables have it: write it in dataset.toml" if there else f"found {tables or 'no such table'}"
            raise ValueError(f"no field {name!r} of either items or users alone; {found}")
        where[there[0]].append(name)
    for table, chosen in where.items():
        if table in columns:
            roles = roles | {table: roles.get(table, {}) | {"fields": chosen}}
    return roles


def with_kinds(
    roles: Roles, kinds: Mapping[str, str | Mapping[str, Any]], columns: Mapping[str, Sequence[str]]
) -> Roles:
    """Return roles that state the kind of some columns; a column without a role becomes a field, or context.

    Raises:
        ValueError: no table or several tables have a column of that name, or a kind is wrong.
    """
    places = {"items": "fields", "users": "fields", "interactions": "context"}
    for name, kind in kinds.items():
        there = [table for table in places if name in columns.get(table, ())]
        there = [t for t in there if name in roles.get(t, {}).get(places[t], ())] or there
        if len(there) != 1:
            known = [column for table in columns.values() for column in table]
            near = did_you_mean(name, known)
            found = (
                f"several tables have it ({', '.join(there)})" if there else f"no table has it{near and '; ' + near}"
            )
            raise ValueError(f"no column {name!r} to give a kind: {found}")
        table, key = there[0], places[there[0]]
        stated = roles.get(table, {}).get(key, [])
        stated = stated if isinstance(stated, Mapping) else dict.fromkeys(stated)
        _check_kinds(f"{table}.{key}", {name: kind})
        roles = roles | {table: roles.get(table, {}) | {key: {**stated, name: kind}}}
    return roles


def share(conversion: str) -> list[str]:
    """Return the columns of a conversion: one, or two for the share "part/whole"."""
    return [column.strip() for column in conversion.split("/", 1)]


def to_toml(roles: Roles) -> str:
    """Write roles as the text of a dataset.toml."""
    tables = {key: roles[key] for key in ("name", "note", *_TABLES, "modalities") if key in roles}
    for table in tables.keys() & _TABLES.keys():
        tables[table] = {key: _spelled(value) for key, value in tables[table].items()}
    made = tables.get("modalities", {})
    if any(isinstance(x, dict) for x in made.values()):  # tables are written below texts, and the order counts
        tables["modalities"] = {name: {"file": x} if isinstance(x, str) else x for name, x in made.items()}
    return strict.to_toml(tables)


def _spelled(value: Any) -> Any:
    """Write the kinds of columns all as tables where one of them is, as TOML would else change their order."""
    if not (isinstance(value, Mapping) and any(isinstance(kind, Mapping) for kind in value.values())):
        return value
    return {name: {"kind": kind} if isinstance(kind, str) else kind for name, kind in value.items()}


def missing_column(where: str, role: str, column: str, columns: Sequence[str]) -> str:
    """Write the error for a table that lacks a column that a role asks for."""
    near = did_you_mean(column, columns)
    return f"{where}: no column {column!r} (for {role}); found {listed(columns)}{near and '; ' + near}"


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
