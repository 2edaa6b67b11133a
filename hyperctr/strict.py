"""Read TOML strictly: a key that is unknown or has the wrong type ends in one line that names what would work."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w


def read_toml(path: str | Path, what: str = "file") -> dict[str, Any]:
    """Read a TOML file as nested dicts.

    Args:
        path: the file.
        what: what to call it in an error, such as "run file".

    Raises:
        ValueError: the file is missing, unreadable, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the {what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None


def to_toml(tables: Mapping[str, Any]) -> str:
    """Write nested mappings as TOML; a value of None is left out, since TOML has no word for it."""
    return tomli_w.dumps(_without_none(tables))


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in tables.items() if value is not None}
    return {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def values(cls: Any, content: Mapping[str, Any], table: str, known: Mapping[str, Iterable[str]] = {}) -> dict[str, Any]:
    """Check the keys of one table against the fields of a dataclass, and return their values by key.

    A field may be annotated bool, int, float, str, dict, a Literal, a tuple of one of these, or several of these joined
    by "|", None among them. A list becomes a tuple, and a whole number serves as a float.

    A dataclass may have a mapping `retired`: key -> (its old default, why it went). Such a key is accepted at its old
    default and left out.

    Args:
        cls: the dataclass.
        content: the table, from key to value.
        table: its name, which an error puts before a key; "" for the top of a file.
        known: keys of other tables by name, where a key may have been meant to stand.

    Raises:
        ValueError: a key is unknown, missing or retired, or has a value of the wrong type.
    """
    entries, place = {entry.name: entry for entry in fields(cls) if entry.init}, f"{table}." if table else ""
    content = _without_retired(cls, content, table)
    for key in content:
        if key not in entries:
            raise ValueError(f"unknown key {place}{key}, {_nearest_key(table, key, {**known, table: entries})}")
    for key, entry in entries.items():
        if key not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"missing key {place}{key}, it has no default")
    kinds = get_type_hints(cls)
    return {key: _value(kinds[key], value, f"{place}{key}") for key, value in content.items()}


def _without_retired(cls: Any, content: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Leave out the keys that are no settings any more; refuse them at any value but their old default."""
    retired = getattr(cls, "retired", {})
    for key in set(content) & set(retired):
        default, why = retired[key]
        if content[key] != default:
            raise ValueError(
                f"{table}.{key} is no setting any more: {why}; it can only be {literal(default)}, "
                f"got {literal(content[key])}"
            )
    return {key: value for key, value in content.items() if key not in retired}


def _value(kind: Any, value: Any, key: str) -> Any:
    """Return a value if it has the annotated type: int also serves as float, bool never as a number."""
    if get_origin(kind) in (Union, UnionType):
        options = [option for option in get_args(kind) if option is not NoneType]
        if value is None and len(options) < len(get_args(kind)):
            return None
        for option in options:
            if len(options) > 1 and _fits(option, value):
                return _value(option, value, key)
        kind = options[0] if len(options) == 1 else kind
    if get_origin(kind) is Literal:
        if any(value == option and type(value) is type(option) for option in get_args(kind)):
            return value
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(get_args(kind)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    elif kind is float and type(value) in (int, float):
        if abs(value) < 2**1023 or isinstance(value, float):
            return float(value)
    elif kind in (bool, int, str, dict):
        if type(value) is kind:
            return value
    elif kind is not float and get_origin(kind) not in (Union, UnionType):
        raise TypeError(f"{key} is annotated {kind}, which a TOML file cannot hold")
    raise ValueError(f"{key} must be {_spoken(kind)}, got {literal(value)}")


def _fits(kind: Any, value: Any) -> bool:
    """Say whether a value has one of several annotated types."""
    try:
        _value(kind, value, "")
    except ValueError:
        return False
    return True


def _spoken(kind: Any) -> str:
    """Say in words which values an annotation accepts."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_spoken(option) for option in get_args(kind) if option is not NoneType)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(literal(option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list, each {_spoken(get_args(kind)[0])}"
    return _WORDS[kind]


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes", dict: "a table"}


def literal(value: Any) -> str:
    """Write a value for an error as TOML does."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(item) for item in value)}]"
    return "a table" if isinstance(value, Mapping) else repr(value) if isinstance(value, int | float) else str(value)


def cut(text: str, most: int = 100) -> str:
    """Cut a text that is too long to be read, and say how long it was.

    >>> cut("a" * 2000, 5)
    'aaaaa... (2,000 characters)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def choices(cls: Any, name: str) -> tuple[Any, ...]:
    """Return the values that a field of a dataclass may have: those of its Literal, or () if it has none."""
    kind = get_type_hints(cls)[name]
    found = [option for option in (kind, *get_args(kind)) if get_origin(option) is Literal]
    return get_args(found[0]) if found else ()


def check(holds: Any, key: str, found: Any, works: str) -> None:
    """Refuse a value outside its range; the error says what would work."""
    if not holds:
        raise ValueError(f"{key} must be {works}, got {literal(found)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean x?" for the known word that is spelled most alike, or "" if none is close.

    >>> did_you_mean("User_ID", ["item_id", "user_id"])
    'did you mean user_id?'
    """
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"did you mean {lower[near[0]]}?" if near else ""


def _nearest_key(table: str, key: str, known: Mapping[str, Iterable[str]]) -> str:
    """Suggest a key of the table that is spelled alike, else the same key of another table, else list the keys."""
    if near := did_you_mean(key, known[table]):
        return near.replace("did you mean ", f"did you mean {table}.") if table else near
    if elsewhere := [f"{name}.{key}" for name in known if key in known[name]]:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"known keys{f' of {table}' if table else ''}: {', '.join(known[table])}"
