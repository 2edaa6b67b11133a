"""The schema 0.1 of HIF (github.com/HIF-org/HIF-standard) as plain checks. Their messages name the field at fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


def check(document: object) -> None:
    """Refuse a parsed document if and only if the official schema (JSON Schema draft-07) refuses it.

    1.0 is an integer, true is no number, and a directed document passes.

    Raises:
        ValueError: the first fault, as in `incidences[17].edge must be a string or an integer, got 1.5`.
    """
    _check_object("", document, TOP, ("incidences",))
    for part, (fields, required) in RECORDS.items():
        records = document.get(part, [])
        if not _surely_right(records, fields, required):
            for i, record in enumerate(records):
                _check_object(f"{part}[{i}]", record, fields, required)


def is_number(value: object) -> bool:
    """Return whether the schema calls this a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_id(value: object) -> bool:
    """Return whether the schema allows this as the id of a node or an edge."""
    return isinstance(value, str) or (is_number(value) and (isinstance(value, int) or value.is_integer()))


class _Rule(NamedTuple):
    """The values that a field may have."""

    wording: str
    allows: Callable[[object], bool]
    types: frozenset[type] = frozenset()
    """Types that are always allowed."""


ID = _Rule("a string or an integer", is_id, frozenset({str, int}))
NUMBER = _Rule("a number", is_number, frozenset({int, float}))
OBJECT = _Rule("an object", lambda value: isinstance(value, dict), frozenset({dict}))
ARRAY = _Rule("an array", lambda value: isinstance(value, list))
NETWORK = _Rule('"undirected", "directed" or "asc"', lambda value: value in ("undirected", "directed", "asc"))
END = _Rule('"head" or "tail"', lambda value: value in ("head", "tail"))
TOP = {"network-type": NETWORK, "metadata": OBJECT, "incidences": ARRAY, "nodes": ARRAY, "edges": ARRAY}
RECORDS = {
    "nodes": ({"node": ID, "weight": NUMBER, "attrs": OBJECT}, ("node",)),
    "edges": ({"edge": ID, "weight": NUMBER, "attrs": OBJECT}, ("edge",)),
    "incidences": ({"edge": ID, "node": ID, "weight": NUMBER, "direction": END, "attrs": OBJECT}, ("edge", "node")),
}


def _check_object(where: str, value: object, fields: Mapping[str, _Rule], required: Iterable[str]) -> None:
    name = where or "the file"
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, got {_shown(value)}")
    for field in value:
        if field not in fields:
            raise ValueError(f"{name} has an unknown field {_shown(field)}; HIF allows {', '.join(fields)}")
    for field in required:
        if field not in value:
            raise ValueError(f'{name} has no "{field}"')
    for field, rule in fields.items():
        if field in value and not rule.allows(value[field]):
            at = f"{where}.{field}" if where else field
            raise ValueError(f"{at} must be {rule.wording}, got {_shown(value[field])}")


def _surely_right(records: list, fields: Mapping[str, _Rule], required: Iterable[str]) -> bool:
    """Return True if the types and fields that occur prove all records right; False proves nothing."""
    return (
        set(map(type, records)) <= {dict}
        and all(fields.keys() >= set(shape) >= set(required) for shape in {tuple(record) for record in records})
        and all({type(r[field]) for r in records if field in r} <= rule.types for field, rule in fields.items())
    )


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if value is None or isinstance(value, str | int | float):
        text = json.dumps(value)
        return text if len(text) <= 60 else f"{text[:60]}..."
    return type(value).__name__
