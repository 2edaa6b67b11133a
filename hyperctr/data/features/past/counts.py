"""Counts of the past: shows, clicks, decayed sums and ages of a key strictly before a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.lookup import PastIndex, address, decayed, library
from hyperctr.layers.bodies import choose


@dataclass(frozen=True)
class Found:
    """What the counts say at n moments.

    Attributes:
        shows, clicks: events, and those with a click, int64 [n].
        recent_shows, recent_clicks: the same, each halved per half-life of its age, float64 [H, n].
        since_last, since_first, since_click: microseconds since the last event, the first one and the last click; NaN
            where there was none, float64 [n].
    """

    shows: np.ndarray
    clicks: np.ndarray
    recent_shows: np.ndarray
    recent_clicks: np.ndarray
    since_last: np.ndarray
    since_first: np.ndarray
    since_click: np.ndarray


class Counts:
    """Events by key and time, to be counted strictly before any moment.

    Sums of counts are integers and decayed sums float64, each of the events of one key up to it alone: what happens
    later, or to another key, changes no bit of them.

    Args:
        key: whole numbers in [0, num_keys), [n]; an event may be there with several keys.
        time: microseconds, [n].
        clicked: whether each event is a click, bool [n].
        num_keys: number of keys; other keys have no events.
        half_lives: microseconds, [H].

    >>> counts = Counts(np.array([0, 0]), np.array([5, 9]), np.array([True, False]), 1, (4.0,))
    >>> found = counts.before(np.array([0, 0]), np.array([9, 13]))
    >>> found.shows.tolist(), found.clicks.tolist(), found.recent_clicks.tolist()
    ([1, 2], [1, 1], [[0.5, 0.25]])
    """

    def __init__(
        self, key: np.ndarray, time: np.ndarray, clicked: np.ndarray, num_keys: int, half_lives: tuple[float, ...]
    ):
        self.num_keys, self.half_lives = num_keys, half_lives
        self._index = index = PastIndex(key, time, num_keys)
        clicked, at = clicked[index.order], np.arange(len(clicked))
        # of the key's events up to each: clicks, time of the last click, decayed sums of shows and clicks
        self._events = np.empty((len(clicked), 2 + 2 * len(half_lives)))
        first = np.maximum.accumulate(np.where(index.starts, at, 0))
        total = np.append(0, np.cumsum(clicked))
        self._events[:, 0] = total[1:] - total[first]
        last_click = np.maximum.accumulate(np.where(clicked, at, -1))
        self._events[:, 1] = np.where(last_click >= first, index.time[last_click], np.nan)
        sums = self._events[:, 2:].reshape(len(clicked), 2, len(half_lives))
        decayed(index, np.stack([np.ones(len(clicked)), clicked], 1), half_lives, sums)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        arrays = (self._index.order, self._index.time, self._index.firsts, self._events)
        return sum(x.nbytes for x in arrays)

    def before(self, key: np.ndarray, time: np.ndarray) -> Found:
        """Count the events of each key strictly before its moment, [n] each; a key below 0 or beyond has none."""
        return choose(self._plain_before, self._fast_before, library() is not None)(key, time)

    def _plain_before(self, key: np.ndarray, time: np.ndarray) -> Found:
        key = np.where((key >= 0) & (key < self.num_keys), key, self.num_keys)
        first, end = self._index.first(key), self._index.end(key, time)
        there, last, times = end > first, np.maximum(end - 1, 0), self._index.time
        if not len(times):
            nothing, never = np.zeros(len(key), np.int64), np.full(len(key), np.nan)
            recent = np.zeros((len(self.half_lives), len(key)))
            return Found(nothing, nothing, recent, recent, never, never, never)

        def since(position: np.ndarray, known: np.ndarray) -> np.ndarray:
            return np.where(known, time - times.take(position, mode="clip"), np.nan)

        age = np.where(there, time - times[last], 0)
        fade = np.exp2(-age / np.array(self.half_lives)[:, None]) * there
        clicked, last_click, *sums = self._events[last].T
        shows, clicks = np.reshape(sums, (2, len(self.half_lives), len(key))) * fade
        return Found(
            shows=end - first,
            clicks=np.where(there, clicked, 0).astype(np.int64),
            recent_shows=shows,
            recent_clicks=clicks,
            since_last=since(last, there),
            since_first=since(first, there),
            since_click=np.where(there, time - last_click, np.nan),
        )

    def _fast_before(self, key: np.ndarray, time: np.ndarray) -> Found:
        key, time = (np.ascontiguousarray(x, np.int64) for x in (key, time))
        n, lives = len(key), np.array(self.half_lives)[:, None]
        counts, ages = np.empty((3, n), np.int64), np.empty((3 + 2 * len(lives), n))
        events = map(address, (self._index.firsts, self._index.time, self._events))
        found = address(counts), address(ages)
        library().before(n, address(key), address(time), self.num_keys, *events, len(lives), *found)
        since, recent = ages[:3], ages[3:].reshape(2, len(lives), n)
        if len(lives):
            recent *= np.exp2(-np.where(counts[1] > 0, since[0], 0.0) / lives)
        return Found(*counts[1:], *recent, *since)
