"""Interactions: the table of events, sorted by time and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from hyperctr.data.clock import day
from hyperctr.data.columns import Column, checked

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Interactions:
    """Who met which item, when, and whether it was clicked: one row per event, sorted by time.

    Rows that are not in time order are sorted when the table is made; rows of equal time keep their order. Arrays are
    checked here and trusted everywhere else. A table of 0 rows is allowed.

    Args:
        user: user numbers in [0, num_users), int64 [n].
        item: item numbers in [0, num_items), int64 [n].
        time: whole microseconds since 1970 UTC, int64 [n]; without real times (`has_time=False`) only the order counts.
        label: 1 for a click, 0 for none, float32 [n].
        num_users: all users, also those without a row.
        num_items: all items, also those without a row.
        conversion: what followed the click, within [0, 1], NaN where unknown, float32 [n].
        length: how long the item takes (the duration of a video), in any unit, NaN where unknown, float32 [n].
        type: behaviour type of the row (view, like, buy, ...), int64 [n].
        num_types: number of types; default: the largest type + 1.
        context: columns of the context (tab, weather, ...) by name, [n] each; an array is codes of categories.
        has_time: whether `time` is a clock; False when it is only an order.
        part: part of the split that the source gives: 0 train, 1 valid, 2 test, -1 none, int8 [n]; None without one.
        scored: True for a row that may be trained on and scored; a row of False is history alone: it enters histories,
            counts and hypergraphs only, bool [n]; None: every row.
        logged_non_clicks: True: a row of label 0 was shown and not clicked. False: it is no impression (a rating below
            the threshold). It is then neither a sample nor history, and negatives have to be drawn.

    Raises:
        ValueError: lengths disagree, a number is out of range, or a label is neither 0 nor 1.
        TypeError: user, item, time or type are not whole numbers.

    >>> log = Interactions(user=[1, 0], item=[0, 0], time=[9, 4], label=[0, 1], num_users=2, num_items=1)
    >>> log
    Interactions(2 rows, 1 clicks, 2 users, 1 items, 1970-01-01 to 1970-01-01)
    >>> log.user.tolist(), log.upto(9).time.tolist()
    ([0, 1], [4])
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    label: np.ndarray
    num_users: int
    num_items: int
    conversion: np.ndarray | None = None
    length: np.ndarray | None = None
    type: np.ndarray | None = None
    num_types: int = 0
    context: Mapping[str, Column] = field(default_factory=dict)
    has_time: bool = True
    part: np.ndarray | None = None
    scored: np.ndarray | None = None
    logged_non_clicks: bool = True

    def __post_init__(self) -> None:
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name in ("num_users", "num_items", "num_types"):  # a numpy integer is no size of a torch table
            keep(name, int(getattr(self, name)))
        for name in ("user", "item", "time", "type"):
            if (column := getattr(self, name)) is not None:
                keep(name, _whole_numbers(name, column))
        for name in ("label", "conversion", "length"):
            if (column := getattr(self, name)) is not None:
                keep(name, np.asarray(column, dtype=np.float32))
        if self.scored is not None:
            keep("scored", np.asarray(self.scored, dtype=bool))
        if self.part is not None:
            keep("part", _whole_numbers("part", self.part).astype(np.int8))
        if self.type is not None and self.num_types == 0:
            keep("num_types", int(self.type.max(initial=-1)) + 1)

        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.user):
                raise ValueError(f"columns need one value per row: user has {len(self.user)}, {name} has {len(column)}")
        _check_range("user", self.user, self.num_users)
        _check_range("item", self.item, self.num_items)
        if self.type is not None:
            _check_range("type", self.type, self.num_types)
        if self.part is not None:
            _check_range("part", self.part + 1, len(PARTS) + 1)
        keep("context", checked("context column", len(self.user), self.context))
        if not (right := (self.label == 0) | (self.label == 1)).all():
            raise ValueError(f"labels must be 0 or 1, got {self.label[~right][0]:g}")
        if self.conversion is not None and ((self.conversion < 0) | (self.conversion > 1)).any():
            raise ValueError("conversions must lie in [0, 1], or be NaN where unknown")
        if self.length is not None and (self.length <= 0).any():
            raise ValueError("lengths must be above 0, or be NaN where unknown")

        if (self.time[1:] < self.time[:-1]).any():
            order = np.argsort(self.time, kind="stable")
            for name in _COLUMNS:
                if (column := getattr(self, name)) is not None:
                    keep(name, column[order])
            keep("context", {name: column[order] for name, column in self.context.items()})

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        span = "no rows"
        if len(self):
            span = f"{day(self.time[0])} to {day(self.time[-1])}" if self.has_time else "order without times"
        clicks = int(self.label.sum())
        return (
            f"Interactions({len(self)} rows, {clicks} clicks, {self.num_users} users, {self.num_items} items, {span})"
        )

    def take(self, rows: np.ndarray | slice) -> Interactions:
        """Return the given rows as a table with the same numbers of users and items.

        Args:
            rows: row numbers, a boolean mask or a slice; rows out of time order are sorted by time.
        """
        columns = {name: getattr(self, name) for name in _COLUMNS}
        context = {name: column[rows] for name, column in self.context.items()}
        taken = {name: column[rows] for name, column in columns.items() if column is not None}
        return replace(self, **taken, context=context)

    def upto(self, time: int) -> Interactions:
        """Return the rows strictly before `time`: the first rows of the table, so row numbers stay valid."""
        return self.take(slice(0, int(np.searchsorted(self.time, time, side="left"))))

    def in_order(self) -> Interactions:
        """Return the rows with each user's rows of equal time moved one microsecond apart, in the order of the table.

        Meant for logs that record only the day: otherwise no row is history for another row of the same user and day.
        Where a moved row reaches a later row of the user, the later row moves too.
        """
        order = np.argsort(self.user, kind="stable")
        user = self.user[order]
        place = np.arange(len(user)) - np.searchsorted(user, user, side="left")  # among the rows of the same user
        # t_k = max over j <= k of (time_j + k - j): a running maximum per user, over ranks so that nothing overflows
        early, rank = np.unique(self.time[order] - place, return_inverse=True)
        latest = np.maximum.accumulate(rank + user * len(early)) - user * len(early)
        time = np.empty_like(self.time)
        time[order] = early[latest] + place
        return replace(self, time=time)

    def in_parts(self) -> Interactions:
        """Return the rows in the order of the given split: training rows (and rows in no part), then validation, test.

        Meant for logs without times. Rows of one part keep their order.
        """
        span = int(self.time[-1] - self.time[0]) + 1 if len(self) else 1
        return replace(self, time=self.time + np.maximum(self.part, 0).astype(np.int64) * span)

    @property
    def read_context(self) -> dict[str, Column]:
        """The columns of the context that models read: where negatives have to be drawn, those of the moment only.

        A drawn negative was never shown, so a column that says how an item was shown would tell clicks apart.
        """
        return {n: x for n, x in self.context.items() if self.logged_non_clicks or x.kind.of == "moment"}

    def clicks(self) -> np.ndarray:
        """Return the row numbers with label 1, in time order."""
        return np.flatnonzero(self.label == 1)

    def samples(self) -> np.ndarray:
        """Return the numbers of the rows that training and evaluation score: rows that are not history alone.

        All of them when non-clicks were logged; otherwise only the clicks, whose negatives have to be drawn.
        """
        rows = np.arange(len(self)) if self.logged_non_clicks else self.clicks()
        return rows if self.scored is None else rows[self.scored[rows]]

    def history_alone(self) -> np.ndarray:
        """Return the numbers of the rows that are never trained on or scored."""
        return np.empty(0, np.int64) if self.scored is None else np.flatnonzero(~self.scored)


def sorted_ties(log: Interactions, rank: np.ndarray | None = None) -> tuple[float, float]:
    """Measure how many events share user and time with another, and whether these are in sorted item order.

    Args:
        log: the events; events of one time are in the order of the file.
        rank: place of each item in the order of the ids, [num_items]; None: the numbers are in that order.

    Returns:
        The share of rows that share user and time with another; and, among neighbours of this kind with different
        items, the share whose items ascend: about 1/2 in a true order, 1 in a sorted file; NaN for fewer than 10.

    >>> log = Interactions([0] * 12 + [1], [*range(12), 2], [5] * 13, [1] * 13, 2, 12)
    >>> sorted_ties(log)
    (0.9230769230769231, 1.0)
    """
    order = np.argsort(log.user, kind="stable")  # the rows of a user stay in time order
    user, time, item = log.user[order], log.time[order], log.item[order]
    item = item if rank is None else rank[item]
    tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    alone = ~(np.append(tied, False) | np.insert(tied, 0, False))
    pairs = tied & (item[1:] != item[:-1])
    share = 1 - float(alone.mean()) if len(log) else 0.0
    return share, float((item[1:] > item[:-1])[pairs].mean()) if pairs.sum() >= 10 else float("nan")


def doubt_of_ties(log: Interactions, ids: np.ndarray) -> str:
    """Say that the order of events of one user and time is that of a sorted file; "" where it may be a true one.

    Args:
        log: the events; events of one time are in the order of the file.
        ids: the original ids of the items, [num_items].
    """
    share, ascending = sorted_ties(log, np.argsort(np.argsort(ids, kind="stable")))
    if not max(ascending, 1 - ascending) > 0.9:
        return ""
    return (
        f"{share:.0%} of the rows are ties, of the same user and time as another, and "
        f"{max(ascending, 1 - ascending):.0%} of these are in sorted item order: the file was sorted, so data.ties "
        "makes an order that never was."
    )


_COLUMNS = tuple(
    entry.name
    for entry in fields(Interactions)
    if entry.name in ("user", "item", "time", "label", "conversion", "length", "type", "part", "scored")
)


def _whole_numbers(name: str, column: np.ndarray) -> np.ndarray:
    column = np.asarray(column)
    if column.dtype.kind not in "iu" and column.size:
        raise TypeError(f"{name} must be whole numbers, got {column.dtype}")
    return column.astype(np.int64, copy=False)


def _check_range(name: str, column: np.ndarray, size: int) -> None:
    if len(column) and not 0 <= column.min() <= column.max() < size:
        raise ValueError(f"{name} numbers must lie in [0, {size}), got [{column.min()}, {column.max()}]")
