"""Know data again: a digest of every column that a run read, kept in its folder as data.json from its start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hyperctr import config
from hyperctr.data import catalog
from hyperctr.data.dataset import Dataset
from hyperctr.files import read_json, write_json

FILE = "data.json"
SAMPLED = 2**26  # bytes; of a larger or memory-mapped array only some rows are read
ROWS = 1024  # of such an array

PARTS = {"interactions": "", "items": "of items: ", "users": "of users: "}
COLUMNS = {"user": "users", "item": "items", "time": "times", "label": "clicks", "conversion": "conversions"}


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """Return a digest of each column of a data set, by its name; "rows" is the number of interactions.

    Arrays above 64 MiB and memory-mapped ones count by shape and 1,024 of their rows.

    >>> from hyperctr.data import planted
    >>> found = fingerprint(planted.planted("drift", scale=0.02).dataset)
    >>> found["rows"], [name for name in ("users", "items", "times", "clicks") if name in found]
    ('1500', ['users', 'items', 'times', 'clicks'])
    """
    found = {"rows": str(len(dataset.interactions))}
    for part, begin in PARTS.items():
        for name, value in _columns(getattr(dataset, part)):
            found[begin + (COLUMNS.get(name, name) if part == "interactions" else name)] = _digest(value)
    return found


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what differs between two fingerprints, in words; "" where nothing does.

    >>> changes({"rows": "9", "clicks": "a", "times": "b"}, {"rows": "8", "clicks": "c", "times": "b", "tab": "d"})
    '8 rows, were 9; other clicks; tab is new'
    """
    says = []
    if before.get("rows") != now.get("rows"):
        says.append(f"{now.get('rows')} rows, were {before.get('rows')}")
    both = [name for name in before if name in now and name != "rows" and before[name] != now[name]]
    says += [f"other {', '.join(both[:6])}{' and more' if len(both) > 6 else ''}"] if both else []
    says += [f"{name} is gone" for name in before if name not in now]
    says += [f"{name} is new" for name in now if name not in before]
    return "; ".join(says)


def keep(folder: Path, run: config.Run, found: Mapping[str, str]) -> None:
    """Write data.json: where the data of a run are, and their fingerprint."""
    write_json(folder / FILE, {"path": _resolved(run.data.path), "fingerprint": dict(found)})


def check(folder: Path, found: Mapping[str, str], changed_data: bool = False) -> None:
    """Refuse data that are not what a run read; a folder of a version without data.json is not checked.

    Args:
        folder: the run's folder.
        found: the fingerprint of the data now.
        changed_data: accept other data.

    Raises:
        ValueError: the data differ; the message names what does.
    """
    before = _kept(folder).get("fingerprint")
    if before and not changed_data and (says := changes(before, found)):
        raise ValueError(
            f"the data of {folder} have changed since its training began: {says}; --changed-data accepts that"
        )


def located(run: config.Run, folder: Path) -> config.Run:
    """Return a run whose data are found from every working directory: where they were when the run began."""
    path = _kept(folder).get("path")
    return replace(run, data=replace(run.data, path=path)) if path and Path(path).exists() else run


def same_place(one: str, other: str) -> bool:
    """Say whether two values of data.path name the same folder."""
    return one == other or _resolved(one) == _resolved(other)


def _resolved(path: str) -> str:
    try:
        return str(catalog.find(path).resolve())
    except ValueError:
        return path


def _kept(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    found = read_json(path, "fingerprint of data") if path.exists() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged, it is no fingerprint of data; remove it to open the run without it")
    return found


def _columns(table: Any, begin: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a table, those of mappings under longer names; what is not there is left out."""
    entries = {entry.name: getattr(table, entry.name) for entry in fields(table)} if is_dataclass(table) else table
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _columns(value, f"{begin}{name} ")
        elif value is not None:
            yield f"{begin}{name}", value


def _digest(value: Any) -> str:
    """Return 16 hexadecimal digits of a value."""
    found = hashlib.blake2b(digest_size=8)
    if isinstance(value, pl.Series):
        value = value.to_numpy()
    if is_dataclass(value):
        found.update(" ".join(_digest(part) for _, part in _columns(value)).encode())
    elif not isinstance(value, np.ndarray):
        found.update(repr(value).encode())
    elif value.dtype == object:
        found.update("\0".join(map(str, value.tolist())).encode())
    else:
        found.update(f"{value.dtype.str} {value.shape}".encode())
        if value.ndim > 1 and (isinstance(value, np.memmap) or value.nbytes > SAMPLED):
            value = value[np.linspace(0, len(value) - 1, min(ROWS, len(value))).astype(np.int64)]
        found.update(np.ascontiguousarray(value).tobytes() if value.dtype.kind in "M" else np.ascontiguousarray(value))
    return found.hexdigest()
