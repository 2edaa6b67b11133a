"""Say which rows of a sweep or a study do not take a setting of `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hyperctr import config


def keys_of(sets: Iterable[str]) -> list[str]:
    """Return the keys of `--set` words.

    >>> keys_of(["train.lr=3e-4", "wear.w=1"])
    ['train.lr', 'wrapper.w']
    """
    found = []
    for word in sets:
        table, dot, key = word.partition("=")[0].strip().partition(".")
        found.append(f"{config.OLD_NAMES.get(table, table)}{dot}{key}")
    return found


def not_taken(base: config.Run, rows: Mapping[str, config.Run], sets: Iterable[str]) -> dict[str, list[str]]:
    """Return the rows that do not take a key of `--set`, by key; seeds are left out, they differ by design.

    A row does not take a key if its run has another value there: reference rows have settings of their own, and the
    keys of [model] and [wrapper] belong to the model or wrapper that the base run names.

    Args:
        base: the run that the words were applied to.
        rows: the run of each row, by the row's name.
        sets: the words.
    """
    found: dict[str, list[str]] = {}
    for path in keys_of(sets):
        table, _, key = path.partition(".")
        if key in ("", "seed") or (table == "data" and key == "path"):
            continue
        names = [name for name, run in rows.items() if not _takes(base, run, table, key)]
        if names:
            found[path] = list(dict.fromkeys(names))
    return found


def _takes(base: config.Run, run: config.Run, table: str, key: str) -> bool:
    if table in ("model", "wrapper") and getattr(base, f"{table}_name") != getattr(run, f"{table}_name"):
        return False
    if key == "name":
        return True
    missing = object()
    return getattr(getattr(run, table), key, missing) == getattr(getattr(base, table), key, missing)


def say_not_taken(base: config.Run, rows: Mapping[str, config.Run], sets: Iterable[str]) -> list[str]:
    """Return a line per key of `--set` that some rows do not take."""
    return [
        f"{key} does not reach {', '.join(names)}, which {'has' if len(names) == 1 else 'have'} settings of "
        f"{'its' if len(names) == 1 else 'their'} own"
        for key, names in not_taken(base, rows, sets).items()
    ]
