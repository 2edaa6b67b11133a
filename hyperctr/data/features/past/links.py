"""Links between a row's item and its user's latest clicks: entries of the hypergraph operator, read one by one.

Items are nodes, and every user is one hyperedge over the whole past up to the start of the row's period.

    like    K = D_v^-1/2 H D_e^-1 H^T D_v^-1/2: clicked by the same users; like_step is its walk, H D_e^-1 H^T D_v^-1
    next    T: clicked soon after, by the same users; next_step is its walk

Each is read at the latest click, summed over the last 3, 10 and all clicks, as the largest and as the mean. Others are
made of the clicks of the last period alone, or with one hyperedge per user and period whose weight halves per 7 days;
and of the vectors of a modality: the cosine with clicks that are among the nearest items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphs import TimeGrid
from graphs.index.events import WINDOW
from graphs.linked import Links, LinksOverTime
from graphs.links import MOST, K, Parts, knn, over_time, parts
from hyperctr.data.clock import DAY
from hyperctr.data.columns import Column
from hyperctr.data.features.past.history import Latest
from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import PastIndex, address, library
from hyperctr.data.row_columns import BatchRows
from hyperctr.layers.bodies import choose

MATRICES = {"like": False, "next": True}  # whether it is directed
KINDS = {"links": "", "period_links": "period_", "recent_links": "recent_"}  # and what their names begin with
HALF_LIFE, HALF_STEPS = 7 * DAY, 10_000  # of recent links; in steps where there are no times
NEAREST = 100  # items that a vector is linked with
OVER = ("last", "last_3", "last_10", "sum", "max", "mean")


@dataclass(frozen=True)
class PastLinks:
    """How a row's item is linked with the user's clicks strictly before the row.

    Attributes:
        matrices: the links at the start of every period, by name.
        grid: the periods.
        latest: the clicks of the users.
        past: which clicks a period's links are made of, and how they weigh: arguments of `graphs.links.over_time`.
    """

    matrices: Mapping[str, LinksOverTime]
    grid: TimeGrid
    latest: Latest
    past: Mapping[str, Any]

    @classmethod
    def of(
        cls, log: Interactions, clicks: Interactions, grid: TimeGrid, latest: Latest, kind: str = "links"
    ) -> PastLinks:
        """Compute the links of a log.

        Args:
            log: for its last time and sizes.
            clicks: those that may be linked: of all of `log`, or of the training rows of a leaky split.
            grid: the periods; the links of period n are those of the clicks strictly before its start.
            latest: the clicks of the users.
            kind: "links" of the whole past; "period_links" of the last period; "recent_links" of all periods, with a
                half-life.
        """
        starts = _starts(log, grid)
        events = clicks.item, clicks.user, clicks.time
        recent = HALF_LIFE if log.has_time else HALF_STEPS
        past = (
            {"past": "slice"} if kind == "period_links" else {"half_life": recent if kind == "recent_links" else None}
        )
        made = {
            KINDS[kind] + name: over_time(*events, starts, directed=directed, num_nodes=log.num_items, **past)
            for name, directed in MATRICES.items()
        }
        return cls(made, grid, latest, past)

    @classmethod
    def size(cls, log: Interactions, grid: TimeGrid, kind: str = "links") -> int:
        """Estimate `nbytes`, the bytes that the links of a log take, before they are computed."""
        clicks, starts = log.take(log.clicks()), _starts(log, grid)
        links = sum(expected_links(clicks, starts, directed, kind) for directed in MATRICES.values())
        return (
            int(8 * links) + len(MATRICES) * len(starts) * 24 * log.num_items
        )  # and where rows begin, twice, and degrees

    def reading(self, table: Mapping[str, Column]) -> PastLinks:
        """Return these links, which read no table."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        each = (f"past.{name}{step}" for name in self.matrices for step in ("", "_step"))
        return tuple(f"{name}.{over}" for name in each for over in OVER)

    @property
    def nbytes(self) -> int:
        """Size in memory, without the clicks."""
        return sum(matrix.nbytes for matrix in self.matrices.values())

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers, float64 [B, N]; NaN for a user without clicks."""
        entries, _, count = self.entries(rows)
        return np.concatenate([summed(entry, count) for entry in entries.values()]).T

    def entries(self, rows: BatchRows) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Look up the links of each row's item with its user's clicks, the latest first.

        Returns:
            The entries by name of the link, such as "like_step", float32 [B, T]; the clicked items, [B, T]; and how
            many of the T are clicks, [B].
        """
        clicked, count = self.latest.before(rows.user, rows.time)
        when = self._period(rows.time)[rows.query]
        known = (rows.item >= 0) & (rows.item < self._any.num_nodes)
        item, clicked, count = np.where(known, rows.item, 0), clicked[rows.query], count[rows.query]
        found = {}
        for name, matrix in self.matrices.items():
            pair = matrix.look_up(item[:, None], clicked, when[:, None], walk="both")
            for step, entry in zip(("", "_step"), pair, strict=True):
                entry[~known] = 0
                found[name + step] = entry
        return found, clicked, count

    def parts(self, name: str, item: int, clicked: int, time: int) -> Parts:
        """Take a link apart: what each user adds who has both items strictly before the period of a time.

        Args:
            name: of the link, such as "like_step".
            item, clicked: the candidate and a clicked item.
            time: of the row.
        """
        matrix = self.matrices[name.removesuffix("_step")]
        clicks, m = self.latest.clicks, int(self._period(np.array([time]))[0])
        user = np.repeat(np.arange(len(clicks.firsts) - 1), np.diff(clicks.firsts))
        events = self.latest.item, user, clicks.time, matrix.moments
        directed = MATRICES[name.removesuffix("_step").rpartition("_")[2]]
        found = parts(item, clicked, m, *events, directed=directed, num_nodes=matrix.num_nodes, **self.past)
        if not name.endswith("_step"):
            return found
        degree = matrix[m].degree  # a walk is C d^-1 in place of d^-1/2 C d^-1/2
        return found._replace(value=found.value * np.sqrt(degree[item] / degree[clicked]))

    def begins(self, time: int) -> int:
        """Return when the period of a time began: its links are made of the clicks strictly before."""
        return int(self._any.moments[self._period(np.array([time]))[0]])

    @property
    def _any(self) -> LinksOverTime:
        return next(iter(self.matrices.values()))

    def _period(self, time: np.ndarray) -> np.ndarray:
        """Return the number of the period of each time."""
        return np.clip(self.grid.slice_of(time), 0, len(self._any) - 1)


def _starts(log: Interactions, grid: TimeGrid) -> np.ndarray:
    """Return the starts of the periods of a log, up to that of its last event."""
    last = int(grid.slice_of(log.time[-1:] + 1)[0]) if len(log) else 0
    return grid.starts(min(last, len(grid.edges) - 1 if grid.edges is not None else last) + 1)


def expected_links(clicks: Interactions, starts: np.ndarray, directed: bool, kind: str = "links") -> float:
    """Estimate the links at some moments: an item is linked with the distinct items of the clicks it is paired with.

    At most `K` are kept per item. How many of the paired clicks are distinct is that of clicks drawn at random.
    """
    index = PastIndex(clicks.user, clicks.time, clicks.num_users)
    users, times, items = clicks.user[index.order], index.time, clicks.item[index.order]
    found, begin = 0.0, np.iinfo(np.int64).min
    for start in starts.tolist():
        some = (times >= begin) & (times < start)
        begin = start if kind == "period_links" else begin
        user, time, item = users[some], times[some], items[some]
        own = np.append(True, user[1:] != user[:-1])[: len(user)]  # whether a click is the user's first
        first = _since(own)
        if directed:  # clicks at an earlier time, at most `WINDOW` places before
            tied = _since(own | np.append(True, time[1:] != time[:-1])[: len(user)])
            pairs = np.maximum(tied - np.maximum(first, np.arange(len(user)) - WINDOW), 0)
        else:
            pairs = np.minimum(np.bincount(user, minlength=1)[user], MOST) - 1
        paired = np.bincount(item, pairs, clicks.num_items)
        share = np.bincount(item) / max(len(item), 1)
        counts = np.unique(np.geomspace(1, max(paired.max(initial=0), 2), 50))
        distinct = [-np.expm1(-count * share).sum() for count in counts]  # items among `count` clicks drawn at random
        found += np.minimum(np.interp(paired, [0, *counts], [0, *distinct]), K).sum()
    return found


def _since(begins: np.ndarray) -> np.ndarray:
    """Return the place of the last True up to each place."""
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))


@dataclass(frozen=True)
class PastNearest:
    """How near a row's item is to the user's clicks: cosines of those of its clicks that are among its nearest items.

    Attributes:
        near: of each modality, the links of nearest items.
        latest: the clicks of the users.
    """

    near: Mapping[str, Links]
    latest: Latest

    @classmethod
    def of(cls, modalities: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], latest: Latest) -> PastNearest:
        """Take the matrices of the modalities, [num_items, d] each; `present` says which items have them."""
        made = {name: knn(np.where(present[name][:, None], x, 0), NEAREST) for name, x in modalities.items()}
        return cls(made, latest)

    @classmethod
    def size(cls, num_items: int, modalities: int) -> int:
        """Return the most bytes that the links take: each of the nearest items is kept in two rows."""
        return modalities * num_items * (8 + 2 * min(NEAREST, num_items) * 8)

    def reading(self, table: Mapping[str, Column]) -> PastNearest:
        """Return these links, which read no table."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        return tuple(f"past.nearest_{name}.{over}" for name in self.near for over in OVER)

    @property
    def nbytes(self) -> int:
        """Size in memory, without the clicks."""
        return sum(links.describe()["bytes"] for links in self.near.values())

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers, float64 [B, N]; NaN for a user without clicks."""
        entries, _, count = self.entries(rows)
        return np.concatenate([summed(entry, count) for entry in entries.values()]).T

    def entries(self, rows: BatchRows) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Look up how near each row's item is to its user's clicks, as `PastLinks.entries` does."""
        clicked, count = self.latest.before(rows.user, rows.time)
        clicked, count, found = clicked[rows.query], count[rows.query], {}
        for name, links in self.near.items():
            known = (rows.item >= 0) & (rows.item < links.num_nodes)
            entry = links.look_up(np.where(known, rows.item, 0)[:, None], clicked)
            entry[~known] = 0
            found[f"nearest_{name}"] = entry
        return found, clicked, count


def summed(entry: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Sum up the first `count` entries of each row: the numbers of `OVER`, float64 [6, n]; NaN without an entry.

    Args:
        entry: float32 [n, T].
        count: entries per row, at most T, int64 [n].

    >>> summed(np.array([[1, 2, 3, 4]], np.float32), np.array([3])).ravel().tolist()
    [1.0, 6.0, 6.0, 6.0, 3.0, 2.0]
    """
    return choose(_plain_summed, _fast_summed, library() is not None)(entry, count)


def _plain_summed(entry: np.ndarray, count: np.ndarray) -> np.ndarray:
    real, last = np.arange(entry.shape[1]) < count[:, None], entry.shape[1] - 1
    total = np.cumsum(np.where(real, entry, 0.0), 1, dtype=np.float64)
    most = np.where(real, entry, -np.inf).max(1)
    over = [total[:, min(k, last)] for k in (0, 2, 9, last)]
    return np.where(count > 0, np.stack([*over, most, total[:, -1] / np.maximum(count, 1)]), np.nan)


def _fast_summed(entry: np.ndarray, count: np.ndarray) -> np.ndarray:
    found = np.empty((len(OVER), len(entry)))
    library().summed(*entry.shape, address(entry), address(count), address(found))
    return found
