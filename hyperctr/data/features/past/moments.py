"""At which moment a user's own rates are read: a row that is scored beside others must not tell them apart by itself.

Read up to the row, a user's rate ranks that user's rows by the mood of the hour: a click raises the next row's rate.
That raises AUC over all rows and ruins the order inside a user's list. Read at the start of a period, all rows of one
user and period have the same.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from graphs import TimeGrid
from hyperctr.data.clock import DAY, MINUTE
from hyperctr.data.lookup import PastIndex

GAP = 30 * MINUTE  # rows of one user that are further apart are of two sessions
Period = Literal["session", "day", "slice", "row"]


class Moments:
    """The start of the period that each row belongs to.

    With sessions, `index` finds the rows of a user.

    Args:
        period: "session": rows of a user at most 30 minutes apart; "day", UTC; "slice" of the grid; "row": the row
            itself.
        user, time: of all rows of the log, [n] each.
        num_users: number of users.
        grid: the time slices.

    >>> moments = Moments("session", np.zeros(3, int), np.array([0, 20, 60]) * MINUTE, 1, grid=None)
    >>> (moments.of(np.zeros(3, int), np.array([20, 60, 85]) * MINUTE) // MINUTE).tolist()
    [0, 60, 60]
    """

    def __init__(self, period: Period, user: np.ndarray, time: np.ndarray, num_users: int, grid: TimeGrid | None):
        self.period, self._grid = period, grid
        if period == "session":
            self.index = index = PastIndex(user, time, num_users)
            begins = index.starts
            begins[1:] |= np.diff(index.time) > GAP
            self._session = index.time[np.maximum.accumulate(np.where(begins, np.arange(len(time)), 0))]

    def of(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return the start of the period of each user and time, at or before the time, [n]."""
        if self.period == "row":
            return time
        if self.period == "day":
            return time // DAY * DAY
        if self.period == "slice":
            number = np.maximum(self._grid.slice_of(time), 0)
            return np.minimum(self._grid.starts(int(number.max(initial=0)) + 1)[number], time)
        first, end = self.index.first(user), self.index.end(user, time)
        last = np.maximum(end - 1, 0)
        if not len(self._session):
            return time
        goes_on = (end > first) & (time - self.index.time[last] <= GAP)
        return np.where(goes_on, self._session[last], time)
