"""Say what the numbers of the past are: name, meaning, share missing, quantiles, and what they cost per row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.data.row_columns import BatchRows
from hyperctr.evaluation.metrics import auc
from hyperctr.runs.past import BLOCK
from hyperctr.runs.prepare import Prepared, prepare

READ = 20_000  # training rows that are read
QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
LINKS = {
    "like": "link of the item with clicked items, undirected",
    "like_step": "step of a walk from clicked items, undirected",
    "next": "link of the item with clicked items, directed",
    "next_step": "step of a walk from clicked items, directed",
}
PERIODS = {"period_": ", over the last period alone", "recent_": ", with a half-life"}
OVER = {
    "last": "the latest click", "last_3": "the last 3 clicks", "last_10": "the last 10 clicks", "sum": "all clicks",
    "all": "all clicks", "max": "the largest", "mean": "the mean",
}  # fmt: skip
EVENTS = {"shows": "rows", "clicks": "clicks", "not_clicked": "rows without a click"}
SESSION = {
    "shows": "rows of the user so far in this session, log",
    "since_last": "{unit} since the user's last row, up to this row",
    "since_first": "{unit} since this session began",
}
AGES = {"since_last": "the last row", "since_first": "the first row", "since_click": "the last click"}


def past_facts(dataset: Dataset, past: str | Sequence[str] = "all") -> dict[str, Any]:
    """Describe the numbers that `data.past` gives with every other key at its default.

    Args:
        dataset: a data set.
        past: a value of `data.past`.

    Returns:
        `rows`, of the training rows and drawn negatives that were read; `microseconds` per row; and `numbers`, of each
        name, meaning, share missing, quantiles of the values themselves (None where all are missing), and `auc` of the
        number alone, a missing one being the lowest: above or below .5 it tells clicks (None where all rows are alike).

    Raises:
        ValueError: there is no such value, or it gives no numbers; the data cannot be split.

    >>> from hyperctr.data import planted
    >>> found = past_facts(planted.planted("drift", scale=0.02).dataset, "counts")
    >>> found["numbers"][1]["name"], found["numbers"][1]["meaning"]
    ('user.rate', 'click rate by user')
    """
    tables = {"data": {"path": dataset.name, "past": past}, "model": {"name": "lr"}}
    ready = prepare(config.read_run(tables), dataset)
    if ready.normal is None:
        raise ValueError(f'data.past = "{past}" gives no numbers; choose counts, links or all')
    source, (rows, label) = ready.loader.sources[-1], _rows(ready)
    began = time.perf_counter()
    raw = np.concatenate([source.raw(some) for some in rows])
    spent = time.perf_counter() - began
    log, numbers = dataset.interactions, []
    for name, values in zip(source.names, raw.T, strict=True):
        there = values[~np.isnan(values)]
        found = {key: float(np.quantile(there, q)) if len(there) else None for key, q in QUANTILES.items()}
        what = meaning(name, log.logged_non_clicks, "hours" if log.has_time else "steps")
        missing = round(1 - len(there) / len(values), 4)
        alone = auc(label, np.nan_to_num(values, nan=-np.inf)) if 0 < label.sum() < len(label) else None
        numbers.append({"name": name.removeprefix("past."), "meaning": what, "missing": missing, **found, "auc": alone})
    return {"rows": len(raw), "microseconds": round(1e6 * spent / max(len(raw), 1), 2), "numbers": numbers}


def meaning(name: str, rates: bool, unit: str = "hours") -> str:
    """Say in a few words what a number of the past is.

    Args:
        name: such as "past.user*tag.lift".
        rates: whether non-clicks are logged.
        unit: of an age.

    >>> meaning("past.item.rate_7d", True), meaning("past.next.max", True)
    ('click rate by item, half-life 7d', 'link of the item with clicked items, directed: the largest')
    >>> meaning("past.recent_like.last", True)
    'link of the item with clicked items, undirected, with a half-life: the latest click'
    """
    key, _, what = name.removeprefix("past.").rpartition(".")
    if key == "session":
        return SESSION[what].format(unit=unit)
    if what in OVER:
        begin = next((begin for begin in PERIODS if key.startswith(begin)), "")
        if key.removeprefix(begin) in LINKS:
            return f"{LINKS[key.removeprefix(begin)]}{PERIODS.get(begin, '')}: {OVER[what]}"
        if key.startswith("nearest_"):
            return (
                f"cosine of {key.removeprefix('nearest_')} with clicks that are among the nearest items: {OVER[what]}"
            )
        return f"cosine of {key} with the mean of {OVER[what]}"
    if what in AGES:
        return f"{unit} since {AGES[what]} by {key}"
    what, _, window = what.partition("_") if what not in EVENTS else (what, "", "")
    decayed = f", half-life {window}" if window else ""
    if what in EVENTS:
        return f"{EVENTS[what]} by {key}{decayed}" + (", log" if key != "user*item" else "")
    first = key.partition("*")[0]
    if what == "share":
        return f"share of all clicks by {key}{decayed}"
    rate = f"click rate by {key}{decayed}" if rates else f"clicks by {key} as a share of those by {first}"
    if what == "rate":
        return rate
    return f"{rate}, less {f'that by {first}' if rates else 'the share of all clicks'}"


def _rows(ready: Prepared) -> tuple[list[BatchRows], np.ndarray]:
    """Return some training rows, and a negative for each where they are drawn; and the labels of all."""
    log, rng = ready.dataset.interactions, np.random.default_rng(0)
    train = ready.split.train
    train = train if len(train) <= READ else np.sort(rng.choice(train, READ, replace=False))
    found, label = [], []
    for part in np.array_split(train, -(-len(train) // BLOCK) or 1):
        user, at, item, query = log.user[part], log.time[part], log.item[part], np.arange(len(part))
        if ready.negatives:
            other = ready.loader.negatives(user, at, 1, rng).ravel()
            item, query = np.append(item, other[other >= 0]), np.append(query, query[other >= 0])
        found.append(BatchRows(user, at, item, query, part[query], ready.negatives > 0))
        label.append(np.where(np.arange(len(item)) < len(part), log.label[part][query], 0))
    return found, np.concatenate(label)
