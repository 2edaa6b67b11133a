"""Counts of the past: shows, clicks, decayed sums and ages of a key strictly before a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.lookup import PastIndex, decayed, library
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
        clicked = clicked[index.order]
        self._clicks = np.append(0, np.cumsum(clicked))
        ones = np.ones(len(clicked))
        self._decayed = tuple(
            np.array([decayed(index, x, life) for life in half_lives]).reshape(len(half_lives), len(clicked))
            for x in (ones, clicked)
        )  # of shows and of clicks, [H, n]
        at = np.arange(len(clicked))
        self._last_click = np.append(-1, np.maximum.accumulate(np.where(clicked, at, -1)))  # before each position

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        arrays = (self._index.order, self._index.time, self._index.firsts, self._clicks, self._last_click)
        return sum(x.nbytes for x in (*arrays, *self._decayed))

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
        shows, clicks = (x[:, last] * fade for x in self._decayed)
        click = self._last_click[end]
        return Found(
            shows=end - first,
            clicks=self._clicks[end] - self._clicks[first],
            recent_shows=shows,
            recent_clicks=clicks,
            since_last=since(last, there),
            since_first=since(first, there),
            since_click=since(click, click >= first),
        )

    def _fast_before(self, key: np.ndarray, time: np.ndarray) -> Found:
        key, time = (np.ascontiguousarray(x, np.int64) for x in (key, time))
        n, lives, index = len(key), len(self.half_lives), self._index
        found = Found(
            *(np.empty(n, np.int64) for _ in range(2)),
            *(np.empty((lives, n)) for _ in range(2)),
            *(np.empty(n) for _ in range(3)),
        )
        half_lives = np.array(self.half_lives, np.float64)

        def at(x: np.ndarray) -> int:
            return x.ctypes.data

        of_events = at(index.firsts), at(index.time), len(index.time), at(self._clicks), at(self._last_click)
        sums = lives, at(half_lives), *map(at, self._decayed)
        library().before(n, at(key), at(time), self.num_keys, *of_events, *sums, *map(at, vars(found).values()))
        return found
