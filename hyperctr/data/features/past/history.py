"""The latest clicks of a user strictly before a moment, as links and cosines read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperctr.data.interactions import Interactions
from hyperctr.data.lookup import PastIndex

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
        return cls(index, clicks.item[index.order])

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.item.nbytes + self.clicks.time.nbytes + self.clicks.order.nbytes

    def before(self, user: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the latest clicks of users strictly before times, [Q] each.

        Returns:
            Items [Q, T], the latest first, with T at least 1 and at most `CLICKS`; which of them there are, [Q, T]; and
            how many, [Q].

        >>> log = Interactions([0, 0], [4, 2], [5, 9], [1, 1], num_users=1, num_items=5)
        >>> [x.tolist() for x in Latest.of(log).before(np.array([0, 0]), np.array([9, 10]))]
        [[[4, 0], [2, 4]], [[True, False], [True, True]], [1, 2]]
        """
        first, end = self.clicks.first(user), self.clicks.end(user, time)
        count = np.minimum(end - first, CLICKS)
        place = end[:, None] - 1 - np.arange(max(1, int(count.max(initial=0))))
        real = place >= (end - count)[:, None]
        item = self.item[np.where(real, place, 0)] if len(self.item) else np.zeros_like(place)
        return np.where(real, item, 0), real, count
