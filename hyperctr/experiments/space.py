"""What a search tries: keys of a run file with values or bounds, and the run of one point."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hyperctr import config
from hyperctr.strict import literal

Range = tuple[float, float] | tuple[int, int] | list
"""Bounds above 0, searched on a log scale, whole numbers if both are; or a list of values."""
Space = Mapping[str, Range]
"""Keys such as "model.dim"; a key without a table is one of [wrapper]."""

SHARED = ("split", "evaluate")  # tables that say which rows the trials are compared on
KEPT = {
    "data.path": "it says which rows there are", "data.click": "it says what a click is",
    "data.conversion": "it says what a conversion is", "train.seed": "all trials share the seed of the run",
    "train.epochs": "it is the same for all trials", "train.members": "a trial trains one model",
    "train.score": "a search has a score of its own", "train.threads": "it changes no score",
    "train.device": "it changes no score",
    "model.name": "the keys of [model] depend on it", "wrapper.name": "the keys of [wrapper] depend on it",
}  # fmt: skip
"""Single keys that are not searched, and why."""


def full_key(key: str) -> str:
    """Return a key with its table.

    >>> full_key("w1"), full_key("train.lr")
    ('wrapper.w1', 'train.lr')
    """
    return key if "." in key else f"wrapper.{key}"


def read_range(text: str) -> Range:
    """Read the values or bounds of a key from a word of the command line.

    Raises:
        ValueError: bounds that are not above 0 and ascending, or no value.

    >>> read_range("16,32"), read_range("log:1e-4:1e-2"), read_range("8:64"), read_range("halved,cosine")
    ([16, 32], (0.0001, 0.01), (8, 64), ['halved', 'cosine'])
    """
    bounds = text.removeprefix("log:")
    if ":" not in bounds:
        values = [_value(word) for word in text.split(",")]
        if "" in values:
            raise ValueError("a value is empty")
        return values
    low, high = (json.loads(word) for word in bounds.split(":"))
    if not 0 < low < high:
        raise ValueError("bounds must be above 0, the lower one first")
    return (low, high) if isinstance(low, int) and isinstance(high, int) else (float(low), float(high))


def at(run: config.Run, settings: Mapping[str, Any]) -> config.Run:
    """Return a run with other values of some keys.

    Raises:
        ValueError: a table or key that there is not, or a value that it cannot have.

    >>> run = config.read_run({"data": {"path": "ml-100k"}, "model": {"name": "din"}})
    >>> at(run, {"model.dim": 8, "train.lr": 0.01}).model.dim
    8
    """
    tables = {
        table: {key: value for key, value in content.items() if value is not None}
        for table, content in config.to_tables(run).items()
    }
    for key, value in settings.items():
        table, _, name = full_key(key).partition(".")
        tables.setdefault(table, {})[name] = list(value) if isinstance(value, tuple) else value
    return config.read_run(tables)


def value_of(run: config.Run, key: str) -> Any:
    """Return the value that a run has of a key."""
    table, _, name = full_key(key).partition(".")
    return getattr(getattr(run, table), name)


def check(run: config.Run, space: Space) -> None:
    """Refuse keys that a search cannot try, and values that a run cannot have.

    Raises:
        ValueError: names the key, and why.
    """
    for key, where in space.items():
        full = full_key(key)
        table, _, name = full.partition(".")
        if table == "wrapper" and not run.wrapper:
            raise ValueError(
                f"cannot search {full}: the run has no wrapper: set wrapper.name=aqcl, or name other keys (--over)"
            )
        part = getattr(run, table, None) if table in config.TABLES else None
        if part is None:
            raise ValueError(f"cannot search {full}: there is no table [{table}]")
        if table in SHARED or full in KEPT:
            raise ValueError(f"cannot search {full}: {KEPT.get(full, 'the trials are compared on the same rows')}")
        if name not in vars(part):
            whose = {"wrapper": run.wrapper_name, "model": run.model_name}.get(table, f"[{table}]")
            raise ValueError(f"cannot search {full}: {whose} has {', '.join(vars(part))}")
        for value in where:
            try:
                at(run, {key: value})
            except ValueError as error:
                raise ValueError(f"cannot search {full} at {literal(value)}: {error}") from None


def _value(word: str) -> Any:
    """Read one value; what is no JSON is text."""
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word.strip()
