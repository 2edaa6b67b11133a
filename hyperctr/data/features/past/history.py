"""The latest clicks of a user strictly before a moment, as links and cosines read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import PastIndex, address, library
from hyperctr.layers.bodies import choose

CLICKS = 50  # of a user that a candidate is compared with


@dataclass(frozen=True)
class Latest:
    """The clicks of a log by user and time.

    Attributes:
        clicks: finds the clicks of a user.
        item: of the clicks, in the order of `clicks`, [n].
    """

    clicks: PastIndex
    item: np.ndarray

    @classmethod
    def of(cls, clicks: Interactions) -> Latest:
        """Sort clicks by user and time."""
        index = PastIndex(clicks.user, clicks.time, clicks.num_users)
        return cls(index, clicks.item[index.order].astype(np.int64))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.item.nbytes + self.clicks.time.nbytes + self.clicks.order.nbytes

    def before(self, user: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the latest clicks of users strictly before times, [Q] each.

        Returns:
            Items [Q, T], the latest first, with T at least 1 and at most `CLICKS`; and how many of them there are, [Q].
            The other places have item 0.

        >>> log = Interactions([0, 0], [4, 2], [5, 9], [1, 1], num_users=1, num_items=5)
        >>> [x.tolist() for x in Latest.of(log).before(np.array([0, 0]), np.array([9, 10]))]
        [[[4, 0], [2, 4]], [1, 2]]
        """
        first, end = self.clicks.first(user), self.clicks.end(user, time)
        count = np.minimum(end - first, CLICKS)
        body = choose(_plain_latest, _fast_latest, library() is not None)
        return body(self.item, end, count, max(1, int(count.max(initial=0)))), count


def _plain_latest(item: np.ndarray, end: np.ndarray, count: np.ndarray, length: int) -> np.ndarray:
    if not len(item):
        return np.zeros((len(end), length), np.int64)
    back = np.arange(length)
    return np.where(back < count[:, None], item.take(end[:, None] - 1 - back, mode="clip"), 0)


def _fast_latest(item: np.ndarray, end: np.ndarray, count: np.ndarray, length: int) -> np.ndarray:
    found = np.empty((len(end), length), np.int64)
    library().latest(len(end), address(end), address(count), length, address(item), address(found))
    return found
