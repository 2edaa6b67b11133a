"""Look up the past: the events strictly before a time, and whether a user had met an item."""

from __future__ import annotations

import numpy as np


class PastIndex:
    """Index of events by key (a user or an item) and time; finds those strictly before a time in O(log n), vectorised.

    Args:
        key: whole numbers in [0, num_keys), [n].
        time: microseconds, [n].
        num_keys: number of keys; a larger key has no events.
    """

    def __init__(self, key: np.ndarray, time: np.ndarray, num_keys: int):
        self.order = np.lexsort((time, key))
        self._time = time[self.order]
        self._first = np.searchsorted(key[self.order], np.arange(num_keys + 2))

    def first(self, key: np.ndarray) -> np.ndarray:
        """Return the position in `order` of the first event of each key, [n]."""
        return self._first[np.minimum(key, len(self._first) - 2)]

    def end(self, key: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return the position after each key's last event strictly before `time`; `first` where there is none."""
        end = self.first(key)
        next_key = self._first[np.minimum(key + 1, len(self._first) - 1)]
        most = int((next_key - end).max(initial=0))
        for power in reversed(range(most.bit_length())):  # all binary searches at once, each among its key's events
            probe = end + (1 << power)
            earlier = self._time.take(probe - 1, mode="clip") < time
            end = np.where(earlier & (probe <= next_key), probe, end)
        return end


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
