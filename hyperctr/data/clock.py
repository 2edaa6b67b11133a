"""Time is whole microseconds since 1970, UTC, everywhere inside; this file reads it at the door and writes it as text.

A log without times has an order instead: its times are positions, whole numbers without a unit.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
START = datetime(1970, 1, 1, tzinfo=UTC)
MOST_SECONDS = 10**11
"""The year 5138; larger numbers are milliseconds or finer."""


def moments(at: Any, has_time: bool = True) -> np.ndarray:
    """Turn times that a caller gives into whole microseconds.

    Args:
        at: seconds since 1970, whole numbers or float64, which are rounded to the nearest microsecond; or numpy
            datetime64 or `datetime`, which count as UTC without a zone. Any shape.
        has_time: False for data with an order and no times; whole numbers are then positions, and stay as they are.

    Raises:
        ValueError: another type, numbers that cannot be seconds, or times that are missing or finer than microseconds.

    >>> moments([5, 6]).tolist(), moments(1709251200.5).item(), moments(np.datetime64("1970-01-01T00:00:07")).item()
    ([5000000, 6000000], 1709251200500000, 7000000)
    """
    at = np.asarray(at)
    if at.dtype == object and all(isinstance(time, datetime) for time in at.flat):
        at = np.array([_since_start(time) for time in at.flat], "datetime64[us]").reshape(at.shape)
    if not at.size:
        return at.astype(np.int64)
    if at.dtype.kind == "M" and has_time:
        from graphs.slices.grid import whole  # imports torch

        return whole(at, "us")
    if not has_time:
        if at.dtype.kind not in "iu":
            raise ValueError(f"the data has no times, only an order: give positions, whole numbers; got {at.dtype}")
        return at.astype(np.int64)
    if at.dtype.kind not in "iu" and at.dtype != np.float64:
        raise ValueError(
            f"times must be seconds since 1970 (whole numbers or float64), datetime64 or datetime, got {at.dtype}"
        )
    if not (np.abs(at) <= MOST_SECONDS).all():
        raise ValueError(
            f"times must be seconds since 1970, got {at[~(np.abs(at) <= MOST_SECONDS)].flat[0]}; for milliseconds or "
            'finer give numpy datetime64, such as np.array(times).astype("datetime64[us]")'
        )
    if at.dtype.kind == "f":
        whole_seconds = np.floor(at)  # apart, so that no digit of the fraction is lost
        return whole_seconds.astype(np.int64) * SECOND + np.rint((at - whole_seconds) * SECOND).astype(np.int64)
    return at.astype(np.int64) * SECOND


def of_text(text: str) -> int | None:
    """Read a text as unix seconds or as an ISO time, in whole microseconds; finer digits are cut off, None if neither.

    >>> of_text("1709251200.5"), of_text("2024-03-01T01:00:00.5+01:00"), of_text("soon")
    (1709251200500000, 1709251200500000, None)
    """
    text = text.strip()
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit() and len(text) != 8:
            time = int(Decimal(text) * SECOND // 1)
            return max(-(2**62), min(time, 2**62))  # what is larger is no time, and int64
        return int(moments(datetime.fromisoformat(text)))
    except (ValueError, OverflowError, InvalidOperation):
        return None


def option(text: str, name: str, has_time: bool = True) -> int:
    """Read the time that an option of the command line gives, in microseconds; a position in data without times.

    Raises:
        ValueError: the text is no time, or is finer than microseconds.

    >>> option("1709251200.5", "--upto"), option("7", "--upto", has_time=False)
    (1709251200500000, 7)
    """
    if not has_time:
        if not re.fullmatch(r"-?\d{1,18}", text.strip()):
            raise ValueError(f"{name} takes a position, a whole number, as the data has no times; got {text!r}")
        return int(text)
    time = of_text(text)
    if time is None or abs(time) > MOST_SECONDS * SECOND:
        raise ValueError(f"{name} takes a date or time such as 2024-05-01T06:00, or seconds since 1970, got {text!r}")
    if re.search(r"[.,]\d{6}\d*[1-9]", text):
        raise ValueError(f"{name} takes at most six decimals of a second, got {text!r}")
    return time


def seconds(time: int, has_time: bool = True) -> int | float:
    """Return a time in seconds, a whole number where it is one; a position stays as it is.

    >>> seconds(1_709_251_200_500_000), seconds(3_000_000), seconds(3, has_time=False)
    (1709251200.5, 3, 3)
    """
    time = int(time)
    if not has_time:
        return time
    return time / SECOND if time % SECOND else time // SECOND


def written(time: int, has_time: bool = True) -> str:
    """Return a time as UTC text, with decimals only where it is no whole second; a position as a number.

    >>> written(1_650_900_000_000_000), written(1_650_900_000_000_001)
    ('2022-04-25 15:20:00', '2022-04-25 15:20:00.000001')
    """
    if not has_time:
        return str(int(time))
    time = int(time)
    return str(np.datetime64(time, "us") if time % SECOND else np.datetime64(time // SECOND, "s")).replace("T", " ")


def day(time: int) -> str:
    """Return the UTC day of a time, as text.

    >>> day(1_650_900_000_000_000)
    '2022-04-25'
    """
    return str(np.datetime64(int(time) // DAY, "D"))


def _since_start(time: datetime) -> int:
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - START) // timedelta(microseconds=1)
