"""What a user has been shown so far in the session of a row, clicked or not: read up to the row itself.

No label is in it, so that it cannot tell the rows of one session apart by what was clicked in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyperctr.data.clock import HOUR
from hyperctr.data.columns import Column
from hyperctr.data.features.past.moments import Moments
from hyperctr.data.row_columns import BatchRows

NAMES = ("past.session.shows", "past.session.since_last", "past.session.since_first")


@dataclass(frozen=True)
class PastSessions:
    """Rows of the user in the session of a row, strictly before it.

    The numbers are how many there are (log), and hours since the user's last row, of any session, and since the first
    of this session. The first row of a session has 0 for the last of these, the first of a user none for the other.

    Attributes:
        sessions: of the rows of a log with times.

    >>> user, time = np.zeros(3, int), np.array([0, 60_000_000, 120_000_000])
    >>> past = PastSessions(Moments("session", user, time, 1, None))
    >>> past.raw(BatchRows(user, time, np.array([4, 2, 4]), np.arange(3), np.arange(3))).round(2).tolist()
    [[0.0, nan, 0.0], [0.69, 0.02, 0.02], [1.1, 0.02, 0.03]]
    """

    sessions: Moments

    names = NAMES

    def reading(self, table: Mapping[str, Column]) -> PastSessions:
        """Return itself: no column is read."""
        return self

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the numbers, float64 [B, 3]; NaN where there is none."""
        index, began = self.sessions.index, self.sessions.of(rows.user, rows.time)
        first, end = index.first(rows.user), index.end(rows.user, rows.time)
        here = end - index.end(rows.user, began)
        last = index.time.take(np.maximum(end - 1, 0), mode="clip") if len(index.time) else rows.time
        since_last = np.where(end > first, (rows.time - last) / HOUR, np.nan)
        return np.stack([np.log1p(here), since_last, (rows.time - began) / HOUR], 1)[rows.query]
