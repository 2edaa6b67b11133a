"""Look for what makes results wrong or weak: rows twice, times from the future, columns that give the label away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from hyperctr.data import clock
from hyperctr.data.columns import Category, Column, Number, TagLists, first_codes
from hyperctr.data.dataset import Dataset
from hyperctr.data.describe import default_split
from hyperctr.data.interactions import doubt_of_ties, sorted_ties
from hyperctr.data.parse import count_rows
from hyperctr.evaluation.metrics import auc

TELLS = 0.98  # AUC on later rows from which a column gives the label away
EMPTY = 0.5  # share missing from which a column is named


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        problem: whether results on these data would be wrong.
        found: what was found, in one line; "" for nothing.
    """

    check: str
    problem: bool
    found: str


def check(dataset: Dataset, now: int | None = None) -> list[Finding]:
    """Check a data set.

    Args:
        dataset: a data set.
        now: microseconds since 1970; None: the clock of the machine.

    Returns:
        One finding per check, those of problems first.

    >>> from hyperctr.data.planted import planted
    >>> [finding.check for finding in check(planted("fields", scale=0.05).dataset) if finding.found and finding.problem]
    []
    """
    columns = dict(_columns(dataset))
    problems = {
        "times from the future": future(dataset, now),
        "a column predicts the label": predicting(dataset, columns),
    }
    remarks = {
        "rows twice": _duplicates(dataset),
        "columns of one value": ", ".join(name for name, (column, _) in columns.items() if _constant(column)),
        "columns that are mostly empty": _empty(columns),
        "ids seen only in test": _unseen(dataset),
        "rows of one user at one time": _ties(dataset),
    }
    return [Finding(name, True, found) for name, found in problems.items()] + [
        Finding(name, False, found) for name, found in remarks.items()
    ]


def _columns(dataset: Dataset) -> Iterator[tuple[str, tuple[Column, np.ndarray]]]:
    """Yield the name of each column, the column, and the place of each row of the log in it."""
    log = dataset.interactions
    for what, columns, rows in (
        ("context", log.context, np.arange(len(log))),
        ("item field", dataset.items.fields, log.item),
        ("user field", dataset.users.fields, log.user),
    ):
        yield from ((f"{what} {name}", (column, rows)) for name, column in columns.items())


def _duplicates(dataset: Dataset) -> str:
    log = dataset.interactions
    order = np.lexsort((log.item, log.user, log.time))
    same = np.ones(max(len(log) - 1, 0), bool)
    for column in (log.time, log.user, log.item):
        same &= np.diff(column[order]) == 0
    twice = int(same.sum())
    return f"{count_rows(twice)} of {len(log):,} with the user, item and time of another row" if twice else ""


def future(dataset: Dataset, now: int | None = None) -> str:
    """Say how many rows have a time from the future; "" for none. `now` as in `check`."""
    now = int(datetime.now(UTC).timestamp() * clock.SECOND) if now is None else now
    log = dataset.interactions
    later = int((log.time > now).sum()) if log.has_time else 0
    return f"{count_rows(later)} of {len(log):,}, up to {clock.written(log.time[-1])}" if later else ""


def predicting(dataset: Dataset, columns: Mapping[str, tuple[Column, np.ndarray]]) -> str:
    """Name the columns that rank the clicks among the last fifth of the rows by themselves; "" for none.

    A number ranks them by its order, a category or first tag by its click rate in the first four fifths.

    Args:
        dataset: a data set.
        columns: by name, each with the place of each row of the log in it, [n].
    """
    log = dataset.interactions
    rows = np.flatnonzero(log.scored) if log.scored is not None else np.arange(len(log))
    early, late = np.split(rows, [len(rows) * 4 // 5])
    if min(len(np.unique(log.label[part])) for part in (early, late)) < 2:
        return ""
    found = []
    for name, (column, place) in columns.items():
        if isinstance(column, Number):
            score = np.nan_to_num(column.values)[place[late]]
        elif (codes := first_codes(column)) is not None:
            code, size = codes[place], int(codes.max(initial=0)) + 1
            clicks, shows = (np.bincount(code[early], w, size) for w in (log.label[early], None))
            score = ((clicks + log.label[early].mean()) / (shows + 1))[code[late]]
        else:
            continue
        area = auc(log.label[late], score)
        area = max(area, 1 - area)
        found += [f"{name} (AUC {area:.3f} on later rows)"] if area > TELLS else []
    return "; ".join(found)


def _constant(column: Column) -> bool:
    if isinstance(column, Number):
        return len(np.unique(column.values[~column.missing])) <= 1
    codes = column.codes if isinstance(column, Category | TagLists) else column.matrix
    return len(codes) == 0 or bool((codes == codes[0]).all())


def _empty(columns: dict[str, tuple[Column, np.ndarray]]) -> str:
    shares = {name: float(column.missing.mean()) for name, (column, _) in columns.items() if len(column)}
    return "; ".join(f"{name}: {share:.0%} missing" for name, share in shares.items() if share >= EMPTY)


def _unseen(dataset: Dataset) -> str:
    log, parts = dataset.interactions, default_split(dataset.interactions)
    if parts is None:
        return ""
    found = []
    for what, ids in (("users", log.user), ("items", log.item)):
        new = ~np.isin(ids[parts.test], ids[parts.train])
        found += (
            [f"{len(np.unique(ids[parts.test][new])):,} {what} in {new.mean():.1%} of the test rows"]
            if new.any()
            else []
        )
    return "; ".join(found)


def _ties(dataset: Dataset) -> str:
    share, _ = sorted_ties(dataset.interactions)
    doubt = doubt_of_ties(dataset.interactions, dataset.items.ids)
    return f"{share:.1%} of the rows{doubt and '. ' + doubt}" if share else ""
