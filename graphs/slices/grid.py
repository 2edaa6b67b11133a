"""Cut time into slices: by the hour, day, week, month or year, or into quantiles of the times themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of time, and how many of each are in a second."""
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
HOUR, DAY = 3600, 86400
SECONDS = {"h": HOUR, "d": DAY, "w": 7 * DAY}
MONTHS = {"mo": 1, "y": 12}
FOREVER = np.iinfo(np.int64).max
YEAR_10000 = 253402300800
DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "mo": 365.25 / 12, "y": 365.25}
"""Mean length of a unit in days."""


@total_ordering
@dataclass(frozen=True)
class Granularity:
    """How finely time is cut: "7d" is slices of 7 days, "q8" is 8 slices with equally many rows.

    Granularities sort by width; those of equal counts come last, from many slices to few.

    Example:
        >>> Granularity.parse("3mo").unit, str(Granularity(8, "q"))
        ('mo', 'q8')
        >>> [str(g) for g in sorted(map(Granularity.parse, ["q4", "1mo", "q8", "7d"]))]
        ['7d', '1mo', 'q8', 'q4']
    """

    count: int
    """Units per slice; with the unit "q", the number of slices."""
    unit: str
    """h, d, w, mo or y: hours, days, weeks, months or years; q: quantiles of the rows."""

    @classmethod
    def parse(cls, text: str) -> Granularity:
        """Read a granularity such as "6h", "7d", "2w", "3mo", "1y" or "q8".

        Raises:
            ValueError: the text is no granularity.
        """
        if match := re.fullmatch(r"([1-9]\d*)(h|d|w|mo|y)", text):
            return cls(int(match[1]), match[2])
        if match := re.fullmatch(r"q([1-9]\d*)", text):
            return cls(int(match[1]), "q")
        raise ValueError(f"a granularity is like 6h, 7d, 2w, 3mo, 1y, or q8 for 8 slices of equal counts, got {text!r}")

    @property
    def by_count(self) -> bool:
        """Whether slices have equally many rows instead of a width."""
        return self.unit == "q"

    @property
    def days(self) -> float:
        """Width of a slice in days, months and years by their mean length; 0 for slices of equal counts."""
        return self.count * DAYS.get(self.unit, 0.0)

    def __str__(self) -> str:
        return f"q{self.count}" if self.by_count else f"{self.count}{self.unit}"

    def __lt__(self, other: Granularity) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple:
        return self.by_count, self.days, -self.count, self.unit


@dataclass(frozen=True)
class TimeGrid:
    """Half-open slices [a, b) of time, numbered from zero; a boundary belongs to the later slice.

    All times are whole numbers of one unit since 1970, UTC: seconds, milliseconds, microseconds or nanoseconds. Made by
    `TimeGrid.cut`.

    >>> TimeGrid.cut([0, 86400, 100000], every="1d")
    TimeGrid(every='1d', origin=0, num_slices=2, edges=None, unit='s')
    """

    every: str | None
    """Width of a slice such as "6h", "1d", "2w", "3mo" or "1y"; None for quantiles."""
    origin: int
    """Start of slice 0, in the unit."""
    num_slices: int
    """Number of slices from slice 0 to the slice of the latest time that it was cut on."""
    edges: tuple[int, ...] | None = None
    """Quantiles only: start of each slice, in the unit; the last slice is open-ended."""
    unit: str = "s"
    """Unit of all whole numbers that this grid takes and gives: s, ms, us or ns."""

    @classmethod
    def cut(
        cls,
        times: ArrayLike | Tensor,
        every: str | None = None,
        origin: int | np.datetime64 | None = None,
        count: int | None = None,
        later: ArrayLike | Tensor | None = None,
        unit: str | None = None,
    ) -> TimeGrid:
        """Cut time by the calendar (`every`) or into slices with equally many times (`count`).

        Args:
            times: whole numbers of `unit` since 1970, or numpy datetime64.
            every: "6h", "1d", "2w", "3mo" or "1y"; months and years of the calendar, UTC.
            origin: start of slice 0; for months and years the start of a month. None takes the first time
                down to the hour (h), to midnight (d, w), to the first of its month (mo) or to the first of January (y).
            count: number of quantiles. Equal times stay together: many of them give fewer slices.
            later: times after all of `times`, only with `count`: they add slices, each with as many of them as a
                quantile has times. The start of a slice depends only on earlier times, so a stream is cut as it comes.
            unit: "s", "ms", "us" or "ns". None takes "us" for datetime64 and "s" for whole numbers.

        Raises:
            ValueError: not exactly one of every and count, an unknown unit, an origin that is not the start of a
                month, no times to start from, times that are finer than the unit or cannot be of this unit; later
                times that are not later.

        >>> TimeGrid.cut([5, 10, 20, 30], count=2).edges
        (5, 20)
        >>> TimeGrid.cut(np.array(["2024-05-01T06:00:00.25"], "datetime64[ms]"), every="1d").start(0)
        1714521600000000
        """
        times = times if isinstance(times, Tensor) else np.asarray(times)
        unit = unit or ("us" if isinstance(times, np.ndarray) and times.dtype.kind == "M" else "s")
        times = whole(times, unit)
        if (every is None) == (count is None):
            raise ValueError(f"give either every or count, got every={every!r} and count={count!r}")
        if count is not None:
            return cls._quantiles(times, count, origin, None if later is None else whole(later, unit), unit)
        if later is not None:
            raise ValueError("later times need count: slices of a calendar go on by themselves")
        _width(every)
        if origin is None:
            if not len(times):
                raise ValueError("there are no times to start from: give an origin")
            origin = _floor(int(times.min()), every, unit)
        origin = int(whole([origin], unit)[0])
        grid = cls(every=every, origin=origin, num_slices=0, unit=unit)
        latest = int(grid.slice_of(times.max(keepdims=True))[0]) if len(times) else -1
        return cls(every=every, origin=origin, num_slices=latest + 1, unit=unit)

    @classmethod
    def _quantiles(cls, times: np.ndarray, count: int, origin: object, later: np.ndarray | None, unit: str) -> TimeGrid:
        if count < 1 or origin is not None:
            raise ValueError(f"quantiles need count >= 1 and no origin, got count={count} and origin={origin}")
        if not len(times):
            raise ValueError(f"there are no times to cut into {count} quantiles")
        ordered = np.sort(times)
        edges = ordered[np.arange(count) * len(times) // count]
        if later is not None and len(later):
            if later.min() <= ordered[-1]:
                raise ValueError(f"later times must be after {ordered[-1]}, the last of times, got {later.min()}")
            size = max(1, len(times) // count)
            edges = np.concatenate([edges, ordered[-1:] + 1, np.sort(later)[size - 1 :: size] + 1])
        edges = np.unique(edges)
        return cls(every=None, origin=int(edges[0]), num_slices=len(edges), edges=tuple(edges.tolist()), unit=unit)

    def __post_init__(self) -> None:
        _check_unit(self.unit)
        if self.edges is None:
            count, unit = _width(self.every)
            if unit in MONTHS and (first := _floor(self.origin, "1mo", self.unit)) != self.origin:
                month = np.datetime64(self.origin, self.unit).astype("datetime64[M]")
                raise ValueError(
                    f"the origin of {self.every!r} slices must be the start of a month, UTC, got {self.origin}; "
                    f"{month} starts at {first}"
                )
            if abs(self.origin) > FOREVER // 2:
                raise ValueError(f"the origin {self.origin} is too far from 1970 for {NAMES[self.unit]}")
            if count * DAYS[unit] * DAY * UNITS[self.unit] >= FOREVER / 2:
                raise ValueError(f"slices of {self.every!r} are wider than {NAMES[self.unit]} can count")

    def __len__(self) -> int:
        return self.num_slices

    def slice_of(self, times: ArrayLike | Tensor) -> np.ndarray:
        """Return the slice of each time, int64; -1 before the origin. Cut by `every`, slices go on after the last one.

        >>> TimeGrid.cut([0, 86400, 100000], every="1d").slice_of([3600, 86399, 86400, 10**6])
        array([ 0,  0,  1, 11])
        """
        times = whole(times, self.unit)
        if self.edges is not None:
            return np.searchsorted(np.array(self.edges), times, side="right") - 1
        latest = int(times.max(initial=self.origin))
        if latest >= YEAR_10000 * UNITS[self.unit]:
            finer = [unit for unit in UNITS if UNITS[unit] > UNITS[self.unit]][0]  # nanoseconds do not reach that far
            raise ValueError(
                f"times must be {NAMES[self.unit]} since 1970, got {latest}; {NAMES[finer]}? Divide by 1000, or "
                f"cut with unit={finer!r}"
            )
        if latest - self.origin > FOREVER:
            raise ValueError(f"{self.origin} and {latest} are further apart than {NAMES[self.unit]} can count")
        count, unit = _width(self.every)
        times = np.maximum(times, self.origin - 1)  # every time before the origin is in slice -1, and nothing overflows
        if unit in SECONDS:
            number, width = times, count * SECONDS[unit] * UNITS[self.unit]
            number -= self.origin
        else:
            day = DAY * UNITS[self.unit]
            number, width = _month(times, day), count * MONTHS[unit]
            number -= _month(self.origin, day)
        number //= width
        return number

    def start(self, n: int) -> int:
        """Return the start of slice n, in the grid's unit.

        >>> TimeGrid.cut([0], every="1mo").start(1) // 86400
        31
        """
        if n < 0 or (self.edges is not None and n >= len(self.edges)):
            raise ValueError(
                f"slices are numbered from 0{'' if self.edges is None else f' to {len(self) - 1}'}, got {n}"
            )
        if self.edges is not None:
            return self.edges[n]
        return int(self._starts(np.array([n]))[0])

    def end(self, n: int) -> int:
        """Return the first moment after slice n; a very large number for the last quantile.

        >>> TimeGrid.cut([0], every="1d").end(0)
        86400
        """
        if self.edges is not None and n == len(self.edges) - 1:
            return int(FOREVER)
        return self.start(n + 1)

    def date(self, n: int) -> str:
        """Return the start of slice n as a UTC date and time.

        >>> TimeGrid.cut([0, 500], count=2, unit="ms").date(1)
        '1970-01-01T00:00:00.500'
        """
        return date(self.start(n), self.unit)

    def starts(self, count: int | None = None) -> np.ndarray:
        """Return the starts of slices 0 to count - 1 (all by default), int64, in the grid's unit.

        `torch.bucketize(t, starts, right=True) - 1` is `slice_of(t)` for every t before the end of slice count - 1.

        >>> TimeGrid.cut([0], every="1d").starts(3)
        array([     0,  86400, 172800])
        """
        count = len(self) if count is None else count
        if self.edges is not None:
            if count > len(self.edges):
                raise ValueError(f"there are {len(self.edges)} quantiles, got count={count}")
            return np.array(self.edges[:count], dtype=np.int64)
        return self._starts(np.arange(count))

    def _starts(self, n: np.ndarray) -> np.ndarray:
        count, unit = _width(self.every)
        if unit in SECONDS:
            return _scaled(n, count * SECONDS[unit] * UNITS[self.unit], self.origin)
        month = _month(self.origin, DAY * UNITS[self.unit]) + n * (count * MONTHS[unit])
        day = month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return _scaled(day, DAY * UNITS[self.unit])


def whole(times: ArrayLike | Tensor, unit: str) -> np.ndarray:
    """Return times as int64 of a unit since 1970; whole numbers are in that unit, and datetime64 is converted.

    Raises:
        ValueError: an unknown unit, fractions, datetime64 that the unit cannot express exactly, or missing times.

    >>> whole(np.array(["1970-01-02"], dtype="datetime64[D]"), "ms")
    array([86400000])
    """
    _check_unit(unit)
    times = times.cpu().numpy() if isinstance(times, Tensor) else np.asarray(times)
    if times.dtype.kind == "M":
        if (missing := np.isnat(times)).any():
            raise ValueError(f"{int(missing.sum())} of {times.size} times are missing (NaT)")
        exact = times.astype(f"datetime64[{unit}]")
        if len(lost := times[exact.astype(times.dtype) != times]):
            raise ValueError(
                f"{len(lost)} of {times.size} times, such as {lost[0]}, are no whole {NAMES[unit]}: "
                "cut with another unit (s, ms, us, ns)"
            )
        times = exact
    elif times.size and times.dtype.kind not in "iu":
        raise ValueError(
            f"times must be whole {NAMES[unit]} since 1970 (integers) or datetime64, got {times.dtype}; for fractions "
            'of a second round them to a finer unit: unit="us" and np.round(1e6 * times).astype(np.int64)'
        )
    elif times.dtype == np.uint64 and times.size and times.max() > FOREVER:
        raise ValueError(f"times must be below 2^63, got {times.max()}")
    return times.astype(np.int64, copy=False)


def date(time: int, unit: str) -> str:
    """Return a time as UTC date and time, with decimals only where it is no whole second.

    >>> date(5, "s"), date(5, "ms")
    ('1970-01-01T00:00:05', '1970-01-01T00:00:00.005')
    """
    return str(np.datetime64(time, unit) if time % UNITS[unit] else np.datetime64(time // UNITS[unit], "s"))


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")


def _scaled(n: np.ndarray, width: int, start: int = 0) -> np.ndarray:
    """Return start + n * width, or `FOREVER` where that is beyond int64."""
    beyond = n > (FOREVER - max(start, 0)) // width
    return np.where(beyond, FOREVER, start + np.where(beyond, 0, n) * width)


def _width(every: str) -> tuple[int, str]:
    try:
        width = Granularity.parse(every)
    except (ValueError, TypeError):  # such as 7, which is no text
        width = None
    if width is None or width.by_count:
        raise ValueError(f'every must look like "6h", "1d", "2w", "3mo" or "1y", got {every!r}')
    return width.count, width.unit


def _floor(time: int, every: str, unit: str) -> int:
    step = {"h": "datetime64[h]", "mo": "datetime64[M]", "y": "datetime64[Y]"}.get(_width(every)[1], "datetime64[D]")
    return int(np.datetime64(time, unit).astype(step).astype(f"datetime64[{unit}]").astype(np.int64))


def _month(times: ArrayLike, length: int) -> np.ndarray:
    """Return calendar months since January 1970, UTC; many times are looked up by their day, of this length."""
    day = np.asarray(times) // length
    first, last = (int(day.min()), int(day.max())) if day.size else (0, -1)
    if last - first < day.size:
        return _month_of(np.arange(first, last + 1))[day - first]
    return _month_of(day)


def _month_of(day: np.ndarray) -> np.ndarray:
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
