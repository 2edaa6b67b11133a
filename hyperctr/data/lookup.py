"""Look up the past: events strictly before a row, and pairs that have met."""

from __future__ import annotations

import numpy as np


class PastIndex:
    """Answers questions about a user or an item strictly before a time, in O(log n) and vectorised.

    Args:
        key: whole numbers in [0, num_keys), [n].
        time: seconds, [n].
        num_keys: numbers from it on are known to nobody: without events.
    """

    def __init__(self, key: np.ndarray, time: np.ndarray, num_keys: int):
        self.order = np.lexsort((time, key))
        self._time = time[self.order]
        self._first = np.searchsorted(key[self.order], np.arange(num_keys + 2))

    def first(self, key: np.ndarray) -> np.ndarray:
        """Position in `order` of the key's first event."""
        return self._first[np.minimum(key, len(self._first) - 2)]

    def end(self, key: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Position in `order` behind the key's last event strictly before `time`; equal to `first` without one."""
        found = self.first(key)
        behind = self._first[np.minimum(key + 1, len(self._first) - 1)]
        most = int((behind - found).max(initial=0))
        for power in reversed(range(most.bit_length())):  # all binary searches at once, each in its key's few events
            probe = found + (1 << power)
            earlier = self._time.take(probe - 1, mode="clip") < time
            found = np.where(earlier & (probe <= behind), probe, found)
        return found


class SeenPairs:
    """Knows whether a user had met an item strictly before a time.

    Args:
        user, item, time: who met what and when, in any order, [n] each.
        num_items: items that exist.
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, time: np.ndarray, num_items: int):
        self._num_items = num_items
        order = np.argsort(time, kind="stable")
        self._pair, earliest = np.unique((user * num_items + item)[order], return_index=True)
        self._since = time[order][earliest]
        # Most pairs never met: a table that pairs share, folded onto a power of two, tells so in one look-up.
        self._fold = (1 << (8 * len(self._pair)).bit_length()) - 1
        self._maybe = np.zeros(self._fold + 1, bool)
        self._maybe[self._pair & self._fold] = True

    def find(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Places, ascending, at which the user had met the item strictly before the time; [n] each."""
        pair = user * self._num_items + item
        place = np.flatnonzero(self._maybe[pair & self._fold])
        pair = pair[place]
        at = np.searchsorted(self._pair, pair)
        at[at == len(self._pair)] = 0
        return place[(self._pair[at] == pair) & (self._since[at] < time[place])]
