"""Look up the past: the events strictly before a time, whether a user had met an item, and which pairs repeat."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

from graphs.kernels import compile
from hyperctr.layers.bodies import choose


class PastIndex:
    """Index of events by key (a user or an item) and time; finds those strictly before a time in O(log n), vectorised.

    Args:
        key: whole numbers in [0, num_keys), [n].
        time: microseconds, [n].
        num_keys: number of keys; a larger key has no events.
    """

    def __init__(self, key: np.ndarray, time: np.ndarray, num_keys: int):
        self.order = np.lexsort((time, key))
        self.time = np.ascontiguousarray(time[self.order], np.int64)
        self.firsts = np.searchsorted(key[self.order], np.arange(num_keys + 2))

    def first(self, key: np.ndarray) -> np.ndarray:
        """Return the position in `order` of the first event of each key, [n]."""
        return self.firsts[np.minimum(key, len(self.firsts) - 2)]

    @property
    def starts(self) -> np.ndarray:
        """Whether each event is the first of its key, in `order`, bool [n]."""
        starts = np.zeros(len(self.order) + 1, bool)
        starts[self.firsts] = True
        return starts[:-1]

    def end(self, key: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return the position after each key's last event strictly before `time`; `first` where there is none."""
        return choose(_plain_end, _fast_end, library() is not None)(key, time, self.firsts, self.time)


def _plain_end(key: np.ndarray, time: np.ndarray, first: np.ndarray, times: np.ndarray) -> np.ndarray:
    end = first[np.minimum(key, len(first) - 2)]
    next_key = first[np.minimum(key + 1, len(first) - 1)]
    most = int((next_key - end).max(initial=0))
    for power in reversed(range(most.bit_length())):  # all binary searches at once, each among its key's events
        probe = end + (1 << power)
        earlier = times.take(probe - 1, mode="clip") < time
        end = np.where(earlier & (probe <= next_key), probe, end)
    return end


def _fast_end(key: np.ndarray, time: np.ndarray, first: np.ndarray, times: np.ndarray) -> np.ndarray:
    key, time = (np.ascontiguousarray(x, np.int64) for x in np.broadcast_arrays(key, time))
    found = np.empty(len(key), np.int64)
    ends = (x.ctypes.data for x in (first, times, found))
    library().end(len(key), key.ctypes.data, time.ctypes.data, len(first) - 2, *ends)
    return found


def decayed(index: PastIndex, value: np.ndarray, half_life: float) -> np.ndarray:
    """Sum the values of each key's events up to every event, each halved per half-life of its age: float64 [n].

    A sum depends on the events of its key up to its own, in the order of the index, and on no other bit.

    Args:
        index: of the events.
        value: of each event, in the order of the index, [n].
        half_life: microseconds.
    """
    body = choose(_plain_decayed, _fast_decayed, library() is not None)
    return body(index.starts, index.time, np.asarray(value, np.float64), half_life)


def _plain_decayed(starts: np.ndarray, times: np.ndarray, value: np.ndarray, half_life: float) -> np.ndarray:
    place = np.arange(len(value))
    since = place - np.maximum.accumulate(np.where(starts, place, 0))  # earlier events of the key
    total, step = value.copy(), 1
    while step <= since.max(initial=0):  # total holds the last `step` events of each; twice as many after this
        at = np.flatnonzero(since >= step)
        total[at] += total[at - step] * np.exp2((times[at - step] - times[at]) / half_life)
        step *= 2
    return total


def _fast_decayed(starts: np.ndarray, times: np.ndarray, value: np.ndarray, half_life: float) -> np.ndarray:
    found = np.empty(len(value))
    arrays = (x.ctypes.data for x in (starts, times, value))
    library().decayed(len(value), *arrays, half_life, found.ctypes.data)
    return found


@cache
def library() -> ctypes.CDLL | None:
    """Return the functions of lookup.c, or None where nothing is compiled."""
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        number, array = ctypes.c_int64, ctypes.c_void_p
        library.end.argtypes = [number, array, array, number, array, array, array]
        library.decayed.argtypes = [number, array, array, array, ctypes.c_double, array]
        library.before.argtypes = [
            number, array, array, number, array, array, number, array, array, number, *[array] * 10
        ]  # fmt: skip
        library.end.restype = library.decayed.restype = library.before.restype = None
    return library


def repeated(user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Say which events repeat a pair of user and item that has an event at an earlier time, bool [n].

    Args:
        user, item, time: one entry per event, in any order, [n] each.

    >>> repeated(np.array([0, 0, 1, 0]), np.array([5, 5, 5, 5]), np.array([3, 3, 4, 9])).tolist()
    [False, False, False, True]
    """
    pair, again = user * (item.max(initial=0) + 1) + item, np.zeros(len(user), bool)
    ordered = np.sort(pair)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):  # mostly few: only their events are looked at closer
        place = np.minimum(np.searchsorted(twice, pair), len(twice) - 1)
        rows = np.flatnonzero(twice[place] == pair)
        first = np.full(len(twice), np.iinfo(np.int64).max)
        np.minimum.at(first, place[rows], time[rows])
        again[rows] = time[rows] > first[place[rows]]
    return again


class SeenPairs:
    """Index of (user, item) pairs; says whether a user had met an item strictly before a time.

    Args:
        user, item, time: one entry per event, in any order, [n] each.
        num_items: number of items.
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, time: np.ndarray, num_items: int):
        self._num_items = num_items
        order = np.argsort(time, kind="stable")
        self._pair, earliest = np.unique((user * num_items + item)[order], return_index=True)
        self._since = time[order][earliest]
        # Most pairs never met. A table indexed by the pair modulo a power of two rules them out in one look-up.
        self._fold = (1 << (8 * len(self._pair)).bit_length()) - 1
        self._maybe = np.zeros(self._fold + 1, bool)
        self._maybe[self._pair & self._fold] = True

    def find(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return the positions, ascending, at which the user had met the item strictly before the time.

        Args:
            user, item, time: the questions, [n] each.
        """
        pair = user * self._num_items + item
        place = np.flatnonzero(self._maybe[pair & self._fold])
        pair = pair[place]
        at = np.searchsorted(self._pair, pair)
        at[at == len(self._pair)] = 0
        return place[(self._pair[at] == pair) & (self._since[at] < time[place])]
