"""Context columns derived from the log: hour, weekday and season of a row, and the user's activity strictly before it.

They depend only on the user and the time, so that a click and its drawn negatives have equal values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hyperctr.data.clock import DAY, HOUR

LONGEST = 2**13  # hours, almost a year; anything longer is one class

SIZES = {"hour": 24, "weekday": 7, "season": 4, "clicks": 14, "since_last": 16, "since_first": 16}
"""Name of a column -> its number of classes. Times are UTC, weekday 0 is Monday, season 0 is December to February.

`clicks` counts the user's earlier clicks: 0, 1, 2 to 3, 4 to 7, ... 4096 and more. `since_last` and `since_first` are
the times since the last and the first of them: no click, less than 1 hour, less than 2, 4, 8, ... 8192 hours, more."""
OF_USER = ("clicks", "since_last", "since_first")
"""The columns that depend on the user's earlier clicks, not on the clock alone."""


def context_columns(
    names: tuple[str, ...], time: np.ndarray, clicks: np.ndarray, last: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Compute the named columns, int64 [n, len(names)].

    Args:
        names: keys of `SIZES`.
        time: microseconds, one per row, [n].
        clicks: number of the user's clicks strictly before `time`, [n].
        last, first: times of the last and the first of these clicks, [n]; arbitrary where there is none.
    """

    def since(then: np.ndarray) -> np.ndarray:
        hours = np.clip((time - then) // HOUR, 0, LONGEST)
        return np.where(clicks > 0, 1 + _doublings(hours), 0)

    column: dict[str, Callable[[], np.ndarray]] = {
        "hour": lambda: time // HOUR % 24,
        "weekday": lambda: (time // DAY + 3) % 7,  # 1 January 1970 was a Thursday
        "season": lambda: (time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) + 1) % 12 // 3,
        "clicks": lambda: np.minimum(_doublings(clicks), SIZES["clicks"] - 1),
        "since_last": lambda: since(last),
        "since_first": lambda: since(first),
    }
    return np.stack([column[name]() for name in names], 1).astype(np.int64)


def _doublings(count: np.ndarray) -> np.ndarray:
    """Map 0, 1, 2 to 3, 4 to 7, ... to 0, 1, 2, 3, ...: the number of bits of each number."""
    return np.frexp(count)[1]
