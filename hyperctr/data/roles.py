"""Roles: which column of a table is what. Read strictly from dataset.toml, or guessed from column names.

Every function here takes and returns roles in the shape of that file:

    name = "shop"
    note = "Shown with the data set."
    [interactions]
    user = "user_id"                # or a list of columns that together name the user
    item = "item_id"                # or a list
    time = "timestamp"              # unix seconds, ISO text or a date column
    order = "position"              # instead of time, when there are no times; false: the rows have no order at all
    click = "rating"                # without it every row is a click
    click_at_least = 4              # without it the column has 0 and 1
    non_clicks = "unobserved"       # or "logged": rows of label 0 were shown and not clicked
    conversion = "bought"           # within [0, 1], empty where unknown; "played/duration": a share, at most 1
    length = "duration"             # how long the item takes, in any unit
    type = "behaviour"              # categorical
    context = ["tab"]               # categorical
    [items]
    id = "item_id"                  # without it the columns of interactions.item
    title = "title"
    fields = ["genres"]
    [users]
    id = "user_id"
    fields = ["gender", "age"]
    [modalities]                    # without it every .npy file of the folder
    visual = "visual.npy"
    tags = { columns = ["tag", "author_id"], dim = 64 }            # made from item columns, value by value
    text = { columns = ["title"], text = true, dim = 64 }          # made from item columns, word by word
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Roles = dict[str, Any]

_KEYS: dict[str, dict[str, tuple[type, ...]]] = {
    "": {
        "name": (str,), "note": (str,),
        "interactions": (dict,), "items": (dict,), "users": (dict,), "modalities": (dict,),
    },
    "interactions": {
        "user": (str, list), "item": (str, list), "time": (str,), "order": (str, bool), "click": (str,),
        "click_at_least": (int, float), "non_clicks": (str,), "conversion": (str,), "length": (str,), "type": (str,),
        "context": (list,),
    },
    "items": {"id": (str, list), "title": (str,), "fields": (list,)},
    "users": {"id": (str, list), "fields": (list,)},
    "modality": {"columns": (list,), "text": (bool,), "dim": (int,)},
}  # fmt: skip
_TYPE_NAMES = {
    str: "text", list: "a list of text", dict: "a table", int: "a number", float: "a number", bool: "true or false",
}  # fmt: skip

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
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def parse(tables: Mapping[str, Any], where: str) -> Roles:
    """Check roles strictly; a single column for user, item or id becomes a list of one.

    Args:
        tables: the content of the TOML file.
        where: its name in an error.

    Raises:
        ValueError: an unknown key (the nearest right one is named), a value of the wrong type, user or item missing, or
            two keys that exclude each other.
    """
    roles = {"interactions": {}} | _checked(tables, "", where)
    for table in ("interactions", "items", "users"):
        if table in roles:
            roles[table] = _checked(roles[table], table, where)
    log = roles["interactions"]
    for role in ("user", "item"):
        if not log.get(role):
            raise ValueError(f'{where}: [interactions] must name the column of the {role}, e.g. {role} = "{role}_id"')
    if "time" in log and "order" in log:
        raise ValueError(f"{where}: [interactions] names both time and order; order is for data without times")
    if log.get("order") is True:
        raise ValueError(f"{where}: order is a column, or false where the rows have no order, got true")
    if log.get("non_clicks", "logged") not in ("logged", "unobserved"):
        raise ValueError(f'{where}: non_clicks must be "logged" or "unobserved", got {log["non_clicks"]!r}')
    if "click" not in log and ("click_at_least" in log or log.get("non_clicks") == "logged"):
        raise ValueError(f"{where}: click_at_least and logged non-clicks need a click column")
    if "modalities" in roles:
        roles["modalities"] = dict(roles["modalities"])
    for name, made in roles.get("modalities", {}).items():
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"{where}: a modality name is letters, digits, _ and -, got {name!r}")
        if isinstance(made, dict):
            roles["modalities"][name] = _checked(made, "modality", f"{where}: modality {name!r}")
            if not made.get("columns") or made.get("dim", 1) < 1:
                raise ValueError(f"{where}: modality {name!r} needs columns and a dim of 1 or more")
        elif not isinstance(made, str) or Path(made).is_absolute() or ".." in Path(made).parts:
            asked = "a .npy file inside the folder or { columns = [...] }"
            raise ValueError(f"{where}: modality {name!r} must be {asked}, got {made!r}")
    return roles


def guess(
    interactions: Sequence[str], items: Sequence[str], users: Sequence[str], where: str, stated: Mapping[str, Any] = {}
) -> tuple[Roles, str]:
    """Guess roles from the usual column names.

    Args:
        interactions, items, users: column names of the tables; empty for a missing table.
        where: the interactions file, for an error.
        stated: entries of [interactions] that need no guess.

    Returns:
        The roles, and one sentence that lists every guess.

    Raises:
        ValueError: no column can be the user or the item.
    """
    log: dict[str, Any] = dict(stated)
    for role in ("user", "item"):
        chosen = log.get(role) or _first(interactions, _USUAL[role])
        if chosen is None:
            raise ValueError(
                f"{where}: no column can be the {role}: looked for {', '.join(_USUAL[role])}; "
                f"found {_listed(interactions)}; "
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
    return roles, f"Roles guessed from column names: {'; '.join(said)}. A dataset.toml can say otherwise."


def columns_of(roles: Roles) -> dict[str, list[tuple[str, str]]]:
    """List the (role, column) pairs that the roles ask for, per table: interactions, items and users."""
    log = roles["interactions"]
    asked: dict[str, list[tuple[str, str]]] = {"interactions": [], "items": [], "users": []}
    for role in ("user", "item", "time", "order", "click", "conversion", "length", "type", "context"):
        value = log.get(role) or []  # order may be false
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


def share(conversion: str) -> list[str]:
    """Return the columns of a conversion: one, or two for the share "part/whole"."""
    return [column.strip() for column in conversion.split("/", 1)]


def to_toml(roles: Roles) -> str:
    """Format roles as the text of a dataset.toml."""
    lines = [f"{key} = {_value(roles[key])}" for key in ("name", "note") if key in roles]
    for table in ("interactions", "items", "users", "modalities"):
        if table in roles:
            lines += ["", f"[{table}]", *(f"{_key(key)} = {_value(value)}" for key, value in roles[table].items())]
    return "\n".join(lines) + "\n"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the name that is most alike, or nothing when none is."""
    names = list(names)
    lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[found[0]]!r}?" if found else ""


def missing_column(where: str, role: str, column: str, columns: Sequence[str]) -> str:
    """Write the error for a table that lacks a column that a role asks for."""
    return f"{where}: no column {column!r} (for {role}); found {_listed(columns)}{nearest(column, columns)}"


def _checked(table: Mapping[str, Any], kind: str, where: str) -> dict[str, Any]:
    allowed = _KEYS[kind]
    place = where if kind in ("", "modality") else f"{where}: [{kind}]"
    checked = {}
    for key, value in table.items():
        if key not in allowed:
            raise ValueError(f"{place}: unknown key {key!r}{nearest(key, allowed)} (allowed: {', '.join(allowed)})")
        right = isinstance(value, allowed[key]) and (not isinstance(value, bool) or bool in allowed[key])
        if right and isinstance(value, list):
            right = all(isinstance(entry, str) for entry in value)
        if not right:
            raise ValueError(f"{place}: {key} must be {' or '.join(_names(allowed[key]))}, got {value!r}")
        checked[key] = [value] if list in allowed[key] and isinstance(value, str) else value
    return checked


def _names(types: tuple[type, ...]) -> list[str]:
    return list(dict.fromkeys(_TYPE_NAMES[kind] for kind in types))


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _listed(columns: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(column) if not column.strip() else column for column in columns[:most])
    return shown + (f" and {len(columns) - most} more" if len(columns) > most else "")


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
