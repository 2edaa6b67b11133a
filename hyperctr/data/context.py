"""Context that no log has to hold: what the clock says of a moment, and what the user has done strictly before it.

All of it depends on the user and the time alone, so that a click and the negatives drawn beside it have the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

HOUR, DAY = 3_600, 86_400
LONGEST = 2**13  # hours, almost a year: longer ago is one class

SIZES = {"hour": 24, "weekday": 7, "season": 4, "clicks": 14, "since_last": 16, "since_first": 16}
"""Name of a column -> its number of classes. Times are UTC, weekday 0 is Monday, season 0 is December to February.
`clicks`, of the user before: 0, 1, 2 to 3, 4 to 7, ... 4096 and more. `since_last`, `since_first`, the time since the
last and the first of them: none, less than an hour, less than 2, 4, 8, ... 8192 hours, more."""
OF_USER = ("clicks", "since_last", "since_first")
"""Those that tell of the user and not of the moment."""


def moments(names: tuple[str, ...], time: np.ndarray, clicks: np.ndarray, last: np.ndarray, first: np.ndarray):
    """The columns of the names, int64 [n, len(names)].

    Args:
        names: of `SIZES`.
        time: of the rows, seconds, [n].
        clicks: of the user strictly before, [n].
        last, first: times of the last and the first of these, [n]; anything where there is none.
    """

    def since(then: np.ndarray) -> np.ndarray:
        hours = np.clip((time - then) // HOUR, 0, LONGEST)
        return np.where(clicks > 0, 1 + _doublings(hours), 0)

    column: dict[str, Callable[[], np.ndarray]] = {
        "hour": lambda: time // HOUR % 24,
        "weekday": lambda: (time // DAY + 3) % 7,  # 1 January 1970 was a Thursday
        "season": lambda: (time.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) + 1) % 12 // 3,
        "clicks": lambda: np.minimum(_doublings(clicks), SIZES["clicks"] - 1),
        "since_last": lambda: since(last),
        "since_first": lambda: since(first),
    }
    return np.stack([column[name]() for name in names], 1).astype(np.int64)


def _doublings(count: np.ndarray) -> np.ndarray:
    """0, 1, 2 to 3, 4 to 7, ... -> 0, 1, 2, 3, ...: the length of the number in bits."""
    return np.frexp(count)[1]
