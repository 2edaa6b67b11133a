"""Counts of the past: shows, clicks, decayed sums and ages of a key strictly before a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.lookup import PastIndex, decayed

LONG_AGO = np.iinfo(np.int64).min // 4  # the time of what never was


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
        self._shows_decayed = [decayed(index, ones, life) for life in half_lives]
        self._clicks_decayed = [decayed(index, clicked, life) for life in half_lives]
        at = np.arange(len(clicked))
        self._last_click = np.append(-1, np.maximum.accumulate(np.where(clicked, at, -1)))  # before each position

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        arrays = (self._index.order, self._index.time, self._clicks, self._last_click)
        return sum(x.nbytes for x in (*arrays, *self._shows_decayed, *self._clicks_decayed))

    def before(self, key: np.ndarray, time: np.ndarray) -> Found:
        """Count the events of each key strictly before its moment, [n] each; a key below 0 or beyond has none."""
        key = np.where((key >= 0) & (key < self.num_keys), key, self.num_keys)
        first, end = self._index.first(key), self._index.end(key, time)
        there, last = end > first, end - 1
        times = self._index.time

        def at(position: np.ndarray) -> np.ndarray:
            return times.take(position, mode="clip") if len(times) else np.full(len(key), LONG_AGO)

        def since(position: np.ndarray, known: np.ndarray) -> np.ndarray:
            return np.where(known, time - at(position), np.nan)

        age = np.where(there, time - at(last), 0)
        fades = [np.exp2(-age / life) * there for life in self.half_lives]
        click = self._last_click[end]

        def recent(sums: list[np.ndarray]) -> np.ndarray:
            each = [x.take(last, mode="clip") * fade if len(x) else 0.0 * fade
                    for x, fade in zip(sums, fades, strict=True)]  # fmt: skip
            return np.array(each).reshape(len(self.half_lives), len(key))

        return Found(
            shows=end - first,
            clicks=self._clicks[end] - self._clicks[first],
            recent_shows=recent(self._shows_decayed),
            recent_clicks=recent(self._clicks_decayed),
            since_last=since(last, there),
            since_first=since(first, there),
            since_click=since(click, click >= first),
        )
