"""Counts as numbers of a row: how often, how well, how long ago, by all keys, strictly before the row.

Where non-clicks are logged they are click rates; elsewhere every event is a click, and shares of clicks stand in their
place. A rate is smoothed by `AVERAGE` rows of the rate of all rows before that moment. With several tags a number is
the mean over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyperctr.data.clock import DAY, HOUR
from hyperctr.data.columns import Column, TagLists
from hyperctr.data.features.past.counts import Counts, Found
from hyperctr.data.features.past.keys import Entries, Key, Side, sides_of, usual_crosses
from hyperctr.data.features.past.moments import Moments
from hyperctr.data.interactions import Interactions
from hyperctr.data.row_columns import BatchRows

AVERAGE = 10.0  # average rows added to a rate or share
HALF_LIVES = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
STEPS = {"1k": 1_000, "10k": 10_000, "100k": 100_000}  # of a log with an order and no times
PREFIX = "past."
PER_EVENT = 32  # bytes: order, time, clicks, time of the last click
PER_SINGLE = PER_EVENT + 16 * len(HALF_LIVES)  # and two decayed sums per half-life, which crosses do not have


@dataclass(frozen=True)
class Counted:
    """One key with its counts, and the numbers made of them.

    Attributes:
        key: by what is counted.
        counts: of the events by that key.
    """

    key: Key
    counts: Counts


@dataclass(frozen=True)
class PastCounts:
    """How often, how well and how long ago, by all keys, strictly before each row.

    Attributes:
        counted: the keys with their counts.
        all: counts of all events, whose one key is 0.
        moments: when what is the user's own is read.
        rates: whether non-clicks are logged, so that there are rates.
        ages: what one unit of an age is.
        windows: names and lengths of the half-lives.
    """

    counted: tuple[Counted, ...]
    all: Counts
    moments: Moments
    rates: bool
    ages: float
    windows: Mapping[str, float]

    @classmethod
    def of(
        cls,
        log: Interactions,
        known: Interactions,
        users: Mapping[str, Column],
        items: Mapping[str, Column],
        moments: Moments,
        crosses: Sequence[str] | None = None,
    ) -> PastCounts:
        """Count the events of a log.

        Args:
            log: for its context columns and sizes.
            known: the events that may be counted: all of `log`, or the training rows of a leaky split.
            users, items: columns by name.
            moments: when the user's own numbers are read.
            crosses: such as "user*tag", of names of columns, "user" and "item"; None: the usual ones.

        Raises:
            ValueError: a cross that cannot be.
        """
        rates, windows = log.logged_non_clicks, HALF_LIVES if log.has_time else STEPS
        known = known if rates else known.take(known.clicks())
        at = np.arange(len(known))
        rows = BatchRows(known.user, known.time, known.item, at, at)
        lives = tuple(windows.values())
        made = []
        for chosen in _chosen(log, users, items, crosses):
            own = tuple(replace(s, table=known.read_context) if s.of == "row" else s for s in chosen)
            key = Key.fit(own, rows)
            row, code = key.entries(rows)
            keep = code >= 0
            event = np.flatnonzero(keep) if row is None else row[keep]
            clicked, own_lives = known.label[event] == 1, lives if len(chosen) == 1 else ()
            counts = Counts(code[keep], known.time[event], clicked, key.size, own_lives)
            made.append(Counted(replace(key, sides=chosen), counts))
        zero = np.zeros(len(known), np.int64)
        total = Counts(zero, known.time, known.label == 1, 1, lives)
        return cls(tuple(made), total, moments, rates, HOUR if log.has_time else 1.0, windows)

    @classmethod
    def size(
        cls,
        log: Interactions,
        users: Mapping[str, Column],
        items: Mapping[str, Column],
        crosses: Sequence[str] | None = None,
    ) -> int:
        """Return the most bytes that the counts of a log take: `nbytes`, before anything is counted."""
        events = log.samples() if log.logged_non_clicks else log.clicks()
        total = PER_SINGLE * len(events)
        for chosen in _chosen(log, users, items, crosses):
            entries = len(events)
            for side in chosen:
                if isinstance(side.column, TagLists):
                    entries = int(np.diff(side.column.start)[log.item[events]].sum())
            if len(chosen) == 1:
                total += PER_SINGLE * entries + 8 * chosen[0].size
            else:  # a cross keeps its vocabulary, and where each first side begins in it
                total += (PER_EVENT + 16) * entries + 8 * chosen[0].size
        return total

    def reading(self, table: Mapping[str, Column]) -> PastCounts:
        """Return these counts with another table of context columns, for rows that are not in the log."""
        counted = []
        for each in self.counted:
            sides = tuple(replace(side, table=table) if side.of == "row" else side for side in each.key.sides)
            counted.append(replace(each, key=replace(each.key, sides=sides)))
        return replace(self, counted=tuple(counted))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.all.nbytes + sum(each.key.nbytes + each.counts.nbytes for each in self.counted)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        none = np.empty(0, np.int64)
        return tuple(name for name, _ in self._numbers(BatchRows(none, none, none, none, none)))

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers themselves, float64 [B, N]; NaN where there is none, such as the age of a new item."""
        return np.stack([x for _, x in self._numbers(rows)]).T

    def _numbers(self, rows: BatchRows) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and values of each number."""
        time = rows.time[rows.query]
        own = self.moments.of(rows.user, rows.time)[rows.query]
        zero = np.zeros(len(rows), np.int64)
        total = {False: self.all.before(zero, time), True: self.all.before(zero, own)}
        single: dict[str, tuple[np.ndarray | None, Found]] = {}
        sides: dict[str, Entries] = {}
        for each in self.counted:
            key, name = each.key, f"{PREFIX}{each.key.name}"
            row, code = key.entries(rows, sides)
            gone = code < 0
            if row is None:
                missing = np.flatnonzero(gone)
            else:
                row, code = row[~gone], code[~gone]
                count = np.bincount(row, minlength=len(rows))
            pair = key.name == "user*item"
            of_user = key.of_user and not pair  # how often the user met this very item counts up to the row
            at = own if of_user else time
            found = each.counts.before(code, at if row is None else at[row])
            everything = total[of_user and self.rates]  # shares are of all clicks up to the row
            everything = everything if row is None else _taken(everything, row)
            if len(key.sides) == 1:
                single[key.name] = row, found
                numbers = self._of_single(key.sides[0], found, everything)
            elif pair:
                numbers = self._of_pair(found)
            else:
                numbers = self._of_cross(key, found, everything, single, row)
            for what, values in numbers:
                if row is None:
                    values[missing] = np.nan
                else:
                    summed = np.bincount(row, values, len(rows))
                    values = np.divide(summed, count, out=np.full(len(rows), np.nan), where=count > 0)
                yield f"{name}.{what}", values

    def _of_single(self, side: Side, found: Found, total: Found) -> Iterator[tuple[str, np.ndarray]]:
        recent = list(zip(self.windows, found.recent_shows, found.recent_clicks, strict=True))
        if self.rates:
            yield "shows", np.log1p(found.shows)
            yield "rate", self._rate(found, total)
            for (window, shows, clicks), base in zip(recent, self._recent_rates(total), strict=True):
                yield f"rate_{window}", (clicks + AVERAGE * base) / (shows + AVERAGE)
        else:
            yield "clicks", np.log1p(found.clicks)
        if side.name == "user" and not self.rates:
            for window, _, clicks in recent:
                yield f"clicks_{window}", np.log1p(clicks)
        elif side.name != "user":
            for (window, _, clicks), all_clicks in zip(recent, total.recent_clicks, strict=True):
                yield f"share_{window}", clicks / (all_clicks + 1.0)
        if side.name in ("user", "item"):
            yield "since_last", found.since_last / self.ages
            yield "since_first", found.since_first / self.ages
            if self.rates:
                yield "since_click", found.since_click / self.ages

    def _of_pair(self, found: Found) -> Iterator[tuple[str, np.ndarray]]:
        yield "clicks", found.clicks.astype(np.float64)
        yield "since_click", found.since_click / self.ages
        if self.rates:
            yield "not_clicked", (found.shows - found.clicks).astype(np.float64)
            yield "since_last", found.since_last / self.ages

    def _of_cross(
        self, key: Key, found: Found, total: Found, single: Mapping[str, tuple[np.ndarray | None, Found]], row
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Give the rate of the cross and its lift over the rate of the first side; or shares in their place."""

        def of_side(number: int) -> Found:
            at, one = single[key.sides[number].name]
            return one if row is None or at is not None else _taken(one, row)

        first = of_side(0)  # the user and the item are never missing: a cross has the entries of its other side
        if self.rates:
            base = self._rate(first, total)
            rate = (found.clicks + AVERAGE * base) / (found.shows + AVERAGE)
            yield "shows", np.log1p(found.shows)
        else:
            base = (of_side(1).clicks + 1.0) / (total.clicks + 2.0)
            rate = (found.clicks + AVERAGE * base) / (first.clicks + AVERAGE)
            yield "clicks", np.log1p(found.clicks)
        yield "rate", rate
        yield "lift", rate - base

    def _rate(self, found: Found, total: Found) -> np.ndarray:
        return (found.clicks + AVERAGE * (total.clicks + 1.0) / (total.shows + 2.0)) / (found.shows + AVERAGE)

    def _recent_rates(self, total: Found) -> np.ndarray:
        return (total.recent_clicks + 1.0) / (total.recent_shows + 2.0)


def _chosen(
    log: Interactions, users: Mapping[str, Column], items: Mapping[str, Column], crosses: Sequence[str] | None
) -> list[tuple[Side, ...]]:
    """Return the sides of every key: the user, the item, each column of items and of the context, and the crosses."""
    context = {name: x for name, x in log.read_context.items() if x.kind.of == "moment" or log.logged_non_clicks}
    sides = sides_of(log.num_users, log.num_items, users, items, context)
    singles = [side for side in sides.values() if side.of != "user" or side.name == "user"]
    stated = usual_crosses(singles) if crosses is None else crosses
    return [*((side,) for side in singles), *(_sides_of_cross(cross, sides) for cross in stated)]


def _sides_of_cross(cross: str, sides: Mapping[str, Side]) -> tuple[Side, Side]:
    names = cross.split("*")
    for name in names:
        if name not in sides or len(names) != 2:
            raise ValueError(f"data.crosses: {cross!r} must be two of {', '.join(sides)}, such as user*item")
    if not {"user", "item"} & {*names}:
        raise ValueError(f"data.crosses: {cross!r} must have user or item on one side")
    return sides[names[0]], sides[names[1]]


def _taken(found: Found, row: np.ndarray) -> Found:
    return Found(*(getattr(found, name)[..., row] for name in Found.__dataclass_fields__))
