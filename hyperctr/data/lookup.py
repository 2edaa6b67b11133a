"""Look up the past: the events strictly before a time, whether a user had met an item, and which pairs repeat."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from graphs.kernels import compile
from hyperctr.layers.bodies import choose


class PastIndex:
    """Index of events by key (a user or an item) and time; finds those strictly before a time in O(log n), vectorised.

    Events of one key and time stay in the order given.

    Args:
        key: whole numbers in [0, num_keys), [n].
        time: microseconds, [n].
        num_keys: number of keys; a larger key has no events.
    """

    def __init__(self, key: np.ndarray, time: np.ndarray, num_keys: int):
        body = choose(_plain_order, _fast_order, library() is not None)
        self.order, self.firsts = body(key, time, num_keys)
        self.time = np.ascontiguousarray(time[self.order], np.int64)

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


def _plain_order(key: np.ndarray, time: np.ndarray, num_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by key and time, and where each key begins in it, [num_keys + 2]."""
    order = np.lexsort((time, key))
    return order, np.searchsorted(key[order], np.arange(num_keys + 2))


def _fast_order(key: np.ndarray, time: np.ndarray, num_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the events of each key; logs are in order of time, so that little else is left to sort."""
    if key.min(initial=0) < 0 or key.max(initial=-1) >= num_keys:
        raise ValueError(f"keys must be in [0, {num_keys})")
    by_time = None if (time[1:] >= time[:-1]).all() else np.argsort(time, kind="stable")
    key = np.ascontiguousarray(key if by_time is None else key[by_time], np.int64)
    first, order = np.zeros(num_keys + 2, np.int64), np.empty(len(key), np.int64)
    library().order(len(key), address(key), num_keys, address(first), address(order))
    return order if by_time is None else by_time[order], first


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
    library().end(len(key), address(key), address(time), len(first) - 2, *map(address, (first, times, found)))
    return found


def decayed(index: PastIndex, value: np.ndarray, half_lives: Sequence[float], out: np.ndarray) -> None:
    """Sum the values of each key's events up to every event, each halved per half-life of its age.

    A sum depends on the events of its key up to its own, in the order of the index, and on no other bit.

    Args:
        index: of the events.
        value: of each event, in the order of the index, [n, V].
        half_lives: microseconds, [H].
        out: the sums, float64 [n, V, H]; may be a part of the columns of a wider array.
    """
    body = choose(_plain_decayed, _fast_decayed, library() is not None)
    body(index.starts, index.time, np.ascontiguousarray(value, np.float64), np.array(half_lives, np.float64), out)


def _plain_decayed(
    starts: np.ndarray, times: np.ndarray, value: np.ndarray, half_lives: np.ndarray, out: np.ndarray
) -> None:
    place = np.arange(len(value))
    since = place - np.maximum.accumulate(np.where(starts, place, 0))  # earlier events of the key
    total, step = np.repeat(value[:, :, None], len(half_lives), 2), 1
    while step <= since.max(initial=0):  # total holds the last `step` events of each; twice as many after this
        at = np.flatnonzero(since >= step)
        total[at] += total[at - step] * np.exp2((times[at - step] - times[at])[:, None, None] / half_lives)
        step *= 2
    out[:] = total


def _fast_decayed(
    starts: np.ndarray, times: np.ndarray, value: np.ndarray, half_lives: np.ndarray, out: np.ndarray
) -> None:
    age = np.where(starts, 0, np.diff(times, prepend=times[:1]))
    for h, half_life in enumerate(half_lives):  # numpy's powers of two take a fifth of the time of C's
        fade = np.exp2(-age / half_life)
        arrays = map(address, (starts, fade, value))
        library().decayed(*value.shape, *arrays, h, len(half_lives), out.strides[0] // 8, address(out))


def address(x: np.ndarray) -> int:
    """Return where the numbers of an array begin, for a function of `library`."""
    return x.ctypes.data


ARGUMENTS = {
    "order": "nanaa",
    "end": "naanaaa",
    "latest": "naanaa",
    "decayed": "nnaaannna",
    "before": "naanaaanaa",
    "place": "nannaana",
    "scores": "nnaaaa",
    "cosines": "naanaananaaa",
    "summed": "nnaaa",
}
"""Arguments of the functions of lookup.c: n is a whole number, a an array."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the functions of lookup.c, or None where nothing is compiled."""
    found = compile.library(Path(__file__).with_suffix(".c"))
    if found is not None:
        kinds = {"n": ctypes.c_int64, "a": ctypes.c_void_p}
        for name, arguments in ARGUMENTS.items():
            function = getattr(found, name)
            function.argtypes, function.restype = [kinds[x] for x in arguments], None
    return found


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
