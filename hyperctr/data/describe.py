"""Describe a data set in numbers, with one of its rows as an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.data import clock
from hyperctr.data.columns import Category, Column, Number, TagLists
from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import repeated
from hyperctr.data.split import Split, split

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset


def describe(dataset: Dataset, history: int = 5) -> dict[str, Any]:
    """Describe a data set in numbers: sizes, rates, spans, modalities, fields and one sample row.

    Args:
        dataset: a data set.
        history: number of earlier clicks to show with the sample row, the latest ones.

    Returns:
        Plain numbers, text, dicts and lists, ready for JSON. Spans are in days; None without times. Sparsity is
        1 - rows / (users * items). `sample` is one click with its history, in the data's own ids, times and titles;
        None without clicks. `repeats`, where it is not 0, is the share of the clicks whose user had clicked the item at
        an earlier time: where many repeat, drawn negatives may be items that the user has met (`evaluate.met`).

    >>> from hyperctr.data.planted import planted
    >>> facts = describe(planted("noise", scale=0.05).dataset)
    >>> facts["users"], facts["rows"], facts["sparsity"]
    (50, 3750, 0.875)
    """
    log, items, users = dataset.interactions, dataset.items, dataset.users
    events = np.bincount(log.user, minlength=log.num_users)
    events = events[events > 0]
    parts, clicks = default_split(log), log.clicks()
    again = repeated(log.user[clicks], log.item[clicks], log.time[clicks])
    facts: dict[str, Any] = {
        "name": dataset.name,
        "users": log.num_users,
        "users_with_rows": len(events),
        "items": log.num_items,
        "items_with_rows": int(np.count_nonzero(np.bincount(log.item, minlength=1))),
        "rows": len(log),
        "clicks": int(log.label.sum()),
        "click_rate": round(float(log.label.mean()), 4) if len(log) else None,
        "non_clicks": "logged" if log.logged_non_clicks else "unobserved",
        "from": _when(log, 0) if len(log) else None,
        "to": _when(log, -1) if len(log) else None,
        "span_days": _days(log.time[-1] - log.time[0]) if len(log) and log.has_time else None,
        "sparsity": round(1 - len(log) / max(log.num_users * log.num_items, 1), 6),
        "rows_per_user": {name: int(np.quantile(events, q)) for name, q in _QUANTILES.items()} if len(events) else {},
        "median_user_span_days": _user_span(log) if len(log) and log.has_time else None,
        "modalities": {
            name: {"dim": int(matrix.shape[1]), "coverage": round(float(items.present[name].mean()), 4)}
            for name, matrix in items.modalities.items()
        },
        "item_fields": {name: column_facts(x, log.item, parts) for name, x in items.fields.items()},
        "user_fields": {name: column_facts(x, log.user, parts) for name, x in users.fields.items()},
        "context": {name: column_facts(x, np.arange(len(log)), parts) for name, x in log.context.items()},
    }
    if again.any():
        facts["repeats"] = round(float(again.mean()), 4)
    if log.conversion is not None:
        known = np.isfinite(log.conversion)
        facts["conversion_rate"] = round(float(log.conversion[known].mean()), 4) if known.any() else None
    if log.scored is not None:
        facts["history_alone"] = len(log.history_alone())
    if log.type is not None:
        facts["types"] = log.num_types
    return facts | {"notes": list(dataset.notes), "sample": _sample(dataset, history)}


_QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


def _sample(dataset: Dataset, history: int) -> dict[str, Any] | None:
    """Describe the first click past the middle whose user has `history` earlier clicks, or else the most."""
    log = dataset.interactions
    clicks = log.clicks()
    if not len(clicks):
        return None
    best, earlier = None, np.empty(0, dtype=np.int64)
    for row in clicks[len(clicks) // 2 :][:200]:
        mine = clicks[(log.user[clicks] == log.user[row]) & (log.time[clicks] < log.time[row])]
        if best is None or len(mine) > len(earlier):
            best, earlier = row, mine
        if len(earlier) >= history:
            break

    def event(row: int) -> dict[str, Any]:
        shown = {"item": _plain(dataset.items.ids[log.item[row]]), "time": _when(log, row)}
        return shown if dataset.items.titles is None else shown | {"title": str(dataset.items.titles[log.item[row]])}

    return {"user": _plain(dataset.users.ids[log.user[best]]), **event(best), "label": 1} | {
        "earlier_clicks": len(earlier),
        "history": [event(row) for row in earlier[-history:]],
    }


def _user_span(log) -> float:
    """Return the median over users of the days between their first and last row."""
    first, last = np.zeros((2, log.num_users), np.int64)
    last[log.user] = log.time  # rows are in time order, and the last assignment stays
    first[log.user[::-1]] = log.time[::-1]
    return _days(np.median((last - first)[np.bincount(log.user, minlength=log.num_users) > 0]))


def _days(time: float) -> float:
    return round(float(time) / clock.DAY, 4)


def _when(log, row: int) -> str | int:
    return clock.written(log.time[row]) if log.has_time else int(log.time[row])


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def column_facts(column: Column, rows: np.ndarray, parts: Split | None) -> dict[str, Any]:
    """Describe a column: its kind, number of values, and shares of what is missing or unknown.

    Args:
        column: of users, of items or of rows.
        rows: for each row of the log, its place in the column, [n].
        parts: a split of the log; None without one.

    Returns:
        `values` counts distinct categories, tags or numbers, or the numbers of a vector. `missing` is a share of the
        users, items or rows, `missing_in_rows` of the rows. `unknown_in_test` is the share of the test rows whose
        category, or one of whose tags, no training row has.
    """
    missing = column.missing
    facts: dict[str, Any] = {"kind": str(column.kind), "values": _count(column)}
    facts["missing"] = round(float(missing.mean()), 4) if len(missing) else 0.0
    if len(rows) != len(missing):
        facts["missing_in_rows"] = round(float(missing[rows].mean()), 4) if len(rows) else 0.0
    if parts is not None and isinstance(column, Category | TagLists):
        train, test = rows[parts.train], rows[parts.test]
        trained = np.zeros(len(column), bool)
        trained[train] = True
        known = np.bincount(column[np.flatnonzero(trained)].codes + 1, minlength=len(column.values) + 3) > 0
        unknown = ~known[column.codes + 1]
        if isinstance(column, TagLists):
            unknown = np.bincount(column.row[unknown], minlength=len(column)) > 0
        facts["unknown_in_test"] = round(float(unknown[test].mean()), 4)
    return facts


def _count(column: Column) -> int:
    if isinstance(column, Category | TagLists):
        return len(column.values)
    if isinstance(column, Number):
        return len(np.unique(column.values[~column.missing]))
    return column.matrix.shape[1]


def default_split(log: Interactions) -> Split | None:
    """Split a log by time, as a run does by default; None where that is impossible."""
    try:
        return split(log)
    except ValueError:
        return None
