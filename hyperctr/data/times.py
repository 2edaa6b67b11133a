"""Parse times of every usual kind into whole microseconds since 1970 UTC, and say what was assumed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import numpy as np
import polars as pl

from hyperctr.data.values import row_in_words

Unit = Literal["s", "ms", "us", "ns", "min", "h", "d", "year"]
UNITS = get_args(Unit)
_SECOND = 1_000_000
_FACTOR = {
    "s": _SECOND, "ms": 1_000, "us": 1, "ns": 0.001, "min": 60 * _SECOND, "h": 3_600 * _SECOND, "d": 86_400 * _SECOND
}  # fmt: skip
_BY_SIZE = (
    ("ns", 1e17, "nanoseconds"),
    ("us", 1e14, "microseconds"),
    ("ms", 1e11, "milliseconds"),
    ("s", 0, "seconds"),
)
_LEAST = 1e8  # smaller numbers tell nothing of their unit
_YEAR = 365.25 * 86_400 * _SECOND
_RANGE = (-62_135_596_800 * _SECOND, 253_402_300_799 * _SECOND)  # the years 1 to 9999
_ISO = re.compile(
    r"\d{4}(?P<sep>[-/.])\d\d?(?P=sep)\d\d?"
    r"(?:(?P<mid>[T ])\d\d?:\d\d(?P<sec>:\d\d(?:\.(?P<frac>\d{1,9}))?)?)?"
    r"(?P<zone> ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d))?"
)
_SLASHES = r"^(\d{1,2})/(\d{1,2})/\d{4}"
_NUMBER = r"^[+-]?\d+(\.\d*)?$"
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
UTC_NOTE = "Times without a zone are read as UTC."


def parse_times(column: pl.Series, where: str, unit: Unit | None = None) -> tuple[pl.Series, list[str]]:
    """Parse times as whole microseconds since 1970 UTC, int64; nulls stay.

    Numbers are unix times; their unit is `unit`, or else recognised by their size. Whole numbers that are all dates
    yyyymmdd, yyyymmddhhmm or yyyymmddhhmmss are dates. Text is ISO 8601, one of these numbers, or m/d/yyyy or d/m/yyyy
    where a day above 12 shows which. Times without a zone are UTC.

    Args:
        column: numbers, text, dates or datetimes.
        where: file and column, for an error.
        unit: of the numbers: "s", "ms", "us", "ns", "min", "h", "d" (since 1970) or "year" (such as 1997).

    Returns:
        The times, and notes: what was assumed, cut off, or looks wrong.

    Raises:
        ValueError: in one line: no such time (the first is named), numbers of several units, dates that can be read in
            two ways, or floats too coarse to tell seconds apart.

    >>> times, notes = parse_times(pl.Series([1_650_900_000_125, 1_650_900_000_250]), "log.csv, column 'ts'")
    >>> times.to_list(), notes
    ([1650900000125000, 1650900000250000], ['Times are read as milliseconds, by their size; time_unit (--time-unit) \
can say otherwise.'])
    >>> parse_times(pl.Series(["1970-01-02", "1970-01-01T02:00:05.9+02:00", None]), "log.csv, column 'ts'")[0].to_list()
    [86400000000, 5900000, None]
    """
    said: list[str] = []
    kind = column.dtype
    if kind == pl.Date:
        times = column.cast(pl.Datetime("us")).to_physical()
    elif kind == pl.Datetime:
        if getattr(kind, "time_zone", None) is None:
            said.append(UTC_NOTE)
        if getattr(kind, "time_unit", "") == "ns":
            times = _cut(column.to_physical(), said)
        else:
            times = column.dt.cast_time_unit("us").to_physical()
    elif kind in (pl.String, pl.Categorical, pl.Enum):
        times = _from_text(column.cast(pl.String), where, unit, said)
    elif kind.is_numeric() or kind == pl.Null:
        times = _from_numbers(column, where, unit, said)
    else:
        raise ValueError(f"{where} must hold times, found {kind}; unix seconds, ISO text, dates and datetimes are read")
    first, last = times.min(), times.max()
    if first is not None and not _RANGE[0] <= first <= last <= _RANGE[1]:
        row = ((times < _RANGE[0]) | (times > _RANGE[1])).fill_null(False).arg_max()
        raise ValueError(f"{where}: {column[row]} in {row_in_words(row)} is no time in the years 1 to 9999")
    if first is not None and unit is None:
        _look_at_span(column, first, last, said)
    return times.rename("time"), said


def _look_at_span(column: pl.Series, first: int, last: int, said: list[str]) -> None:
    """Note a span that no log has, and what corrects it."""
    early = column.dtype.is_numeric() and last < _YEAR
    if not early and last - first <= 100 * _YEAR:
        return
    start, end = (datetime(1970, 1, 1) + timedelta(microseconds=x) for x in (first, last))
    if not early:
        fix = "an empty cell, not a placeholder, says that a time is unknown"
    elif 1900 <= column.min() <= column.max() <= 2100:
        fix = 'they look like years: time_unit = "year" (--time-unit year) reads them so'
    else:
        fix = (
            'if they are minutes, hours or days since some start, time_unit = "min", "h" or "d" (--time-unit) reads '
            f'them so; if they are an order alone, order = "{column.name}" does'
        )
    said.append(f"Times run from {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S}, a span that no log has; {fix}.")


def _from_numbers(column: pl.Series, where: str, unit: Unit | None, said: list[str]) -> pl.Series:
    """Convert numbers into microseconds; NaN becomes null."""
    if column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.null_count() == len(column):
        return column.cast(pl.Int64)
    least, most = float(column.min()), float(column.max())
    if not -1e19 < least <= most < 1e19:
        row = ((column > 1e19) | (column < -1e19)).fill_null(False).arg_max()
        raise ValueError(f"{where}: {column[row]:g} in {row_in_words(row)} is no time")
    if unit is None:
        if (dates := _from_digits(column, least, most, said)) is not None:
            return dates
        unit = _unit_by_size(column, where, max(abs(least), abs(most)), said)
    if unit == "year":
        return _from_years(column, where)
    if column.dtype == pl.Decimal:
        column = column.cast(pl.Float64)
    if column.dtype.is_float():
        return _from_floats(column, where, unit, said)
    if max(most, -least) * max(_FACTOR[unit], 1) > 9e18:
        row = (column == column.max()).arg_max() if most > -least else (column == column.min()).arg_max()
        raise ValueError(f"{where}: {column[row]} {unit} in {row_in_words(row)} is no time in the years 1 to 9999")
    column = column.cast(pl.Int64)
    return _cut(column, said) if unit == "ns" else column if unit == "us" else column * _FACTOR[unit]


def _from_floats(column: pl.Series, where: str, unit: Unit, said: list[str]) -> pl.Series:
    """Convert floats into the nearest microseconds, where they can tell seconds apart."""
    bits = {pl.Float32: 24, pl.Float64: 53}.get(column.dtype.base_type(), 11)
    most = max(abs(column.min()), abs(column.max()))
    step = 2.0 ** (np.frexp(most)[1] - bits) * _FACTOR[unit]  # microseconds between neighbouring floats
    wide = column.cast(pl.Float64)
    whole = most < 2**bits and bool((wide == wide.round()).all())
    if step > 1 and not whole:
        if step >= _SECOND:
            raise ValueError(
                f"{where}: {column.dtype} cannot tell times apart that are less than {step / _SECOND:g} seconds from "
                f"each other; write them as whole numbers, Float64 or text"
            )
        said.append(f"Times are {column.dtype} numbers, exact to {step / _SECOND:g} seconds only.")
    times = wide * _FACTOR[unit]
    if not times.abs().max() < 9e18:
        row = times.abs().arg_max()
        raise ValueError(f"{where}: {column[row]:g} {unit} in {row_in_words(row)} is no time in the years 1 to 9999")
    return times.round().cast(pl.Int64)


def _cut(column: pl.Series, said: list[str]) -> pl.Series:
    """Convert nanoseconds into microseconds, and count what is cut off."""
    if finer := int((column % 1_000 != 0).sum() or 0):
        said.append(_finer(finer))
    return column // 1_000


def _finer(count: int) -> str:
    return f"{count} {'time is' if count == 1 else 'times are'} finer than a microsecond and cut to whole ones."


def _unit_by_size(column: pl.Series, where: str, most: float, said: list[str]) -> Unit:
    """Recognise the unit of unix times by their size."""
    unit, low, name = next(entry for entry in _BY_SIZE if most >= entry[1])
    size = column.cast(pl.Float64).abs()
    if (other := ((size >= _LEAST) & (size < low)).fill_null(False)).any():
        row, largest = other.arg_max(), size.arg_max()
        seems = next(entry[2] for entry in _BY_SIZE if size[row] >= entry[1])
        raise ValueError(
            f"{where}: {column[row]} in {row_in_words(row)} looks like {seems} and {column[largest]} in "
            f"{row_in_words(largest)} like {name}; write them in one unit, or state it with time_unit (--time-unit)"
        )
    if unit != "s":
        said.append(f"Times are read as {name}, by their size; time_unit (--time-unit) can say otherwise.")
    return unit


def _from_digits(column: pl.Series, least: float, most: float, said: list[str]) -> pl.Series | None:
    """Read numbers that are all dates yyyymmdd, yyyymmddhhmm or yyyymmddhhmmss; None where one is not."""
    for clock, shape in ((1, "%Y%m%d"), (10**4, "%Y%m%d%H%M"), (10**6, "%Y%m%d%H%M%S")):
        if 19_000_101 * clock <= least and most < 21_010_000 * clock:
            whole = column.cast(pl.Int64)
            if column.dtype.is_float() and not (whole == column).all():
                return None
            parsed = whole.cast(pl.String).str.to_datetime(shape, time_unit="us", strict=False)
            if clock == 1:
                parsed = whole.cast(pl.String).str.to_date(shape, strict=False).cast(pl.Datetime("us"))
            if parsed.null_count() == column.null_count():
                said.append(f"Times are read as dates {_digits(shape)}. {UTC_NOTE}")
                return parsed.to_physical()
    return None


def _digits(shape: str) -> str:
    for code, digits in (("%Y", "yyyy"), ("%m", "mm"), ("%d", "dd"), ("%H", "hh"), ("%M", "mm"), ("%S", "ss")):
        shape = shape.replace(code, digits)
    return shape


def _from_years(column: pl.Series, where: str) -> pl.Series:
    whole = column.cast(pl.Int64)
    if not (whole.is_between(1, 9999) & (whole == column)).all():
        raise ValueError(f"{where}: years are whole numbers from 1 to 9999, found {column.min()} to {column.max()}")
    return whole.to_frame("y").select(pl.date(pl.col("y"), 1, 1).cast(pl.Datetime("us"))).to_series().to_physical()


def _from_text(column: pl.Series, where: str, unit: Unit | None, said: list[str]) -> pl.Series:
    """Parse text: shape by shape as they come, numbers as numbers, and what remains value by value."""
    times, zoned = None, True
    rest = column
    for _ in range(8):
        first = rest.drop_nulls().head(1)
        shape = _ISO.fullmatch(first[0]) if len(first) else None
        if shape is None:
            break
        parsed, has_zone = _by_shape(rest, shape)
        if parsed.null_count() == len(rest):
            break
        zoned &= has_zone
        if shape["frac"] and len(shape["frac"]) > 6 and (finer := rest.str.contains(r"\.\d{6}\d*[1-9]").sum()):
            said.append(_finer(int(finer)))
        times = parsed if times is None else _filled(times, parsed)
        if times.null_count() == column.null_count():
            break
        rest = column.filter(times.is_null())
    if times is None:
        times = pl.Series("time", [None], pl.Int64).new_from_index(0, len(column))
    for parse in (_numbers_in_text, _dates_with_slashes, _one_by_one):
        if times.null_count() == column.null_count():
            break
        rest = column.set(times.is_not_null(), None).str.strip_chars().replace("", None)
        if rest.null_count() < len(rest):
            parsed, has_zone = parse(rest, where, unit, said)
            zoned &= has_zone
            times = times.fill_null(parsed)
    if not zoned and not any(UTC_NOTE in note for note in said):
        said.append(UTC_NOTE)
    return times


def _filled(times: pl.Series, parsed: pl.Series) -> pl.Series:
    """Put parsed values into the null places of a column, in their order."""
    values = times.fill_null(0).to_numpy().copy()
    places, known = np.flatnonzero(times.is_null()), parsed.is_not_null().to_numpy()
    values[places[known]] = parsed.drop_nulls().to_numpy()
    missing = np.zeros(len(times), bool)
    missing[places[~known]] = True
    return pl.Series("time", values).set(pl.Series(missing), None)


def _by_shape(column: pl.Series, shape: re.Match) -> tuple[pl.Series, bool]:
    """Parse the texts that have the shape of one ISO time; also return whether it has a zone."""
    sep, zone = shape["sep"], shape["zone"] or ""
    form = f"%Y{sep}%m{sep}%d"
    if shape["mid"]:
        form += f"{shape['mid']}%H:%M" + (":%S" if shape["sec"] else "")
        digits = len(shape["frac"] or "")
        form += "" if not digits else f"%.{digits}f" if digits in (3, 6, 9) else "%.f"
    if not shape["mid"]:
        parsed = column.str.to_date(form + zone, strict=False).cast(pl.Datetime("us")).to_physical()
    else:
        parsed = column.str.to_datetime(form + zone, time_unit="us", strict=False, cache=False).to_physical()
    return parsed - _offset(zone), bool(zone)


def _offset(zone: str) -> int:
    """Return the microseconds by which a zone such as "+02:00" is ahead of UTC."""
    sign = {"+": 1, "-": -1}.get(zone.strip()[:1], 0)
    digits = re.sub(r"\D", "", zone).ljust(4, "0")
    return sign * (int(digits[:2]) * 3_600 + int(digits[2:4]) * 60) * _SECOND


def _numbers_in_text(column: pl.Series, where: str, unit: Unit | None, said: list[str]) -> tuple[pl.Series, bool]:
    """Parse the texts that are numbers, as numbers."""
    texts = column.set(~column.str.contains(_NUMBER).fill_null(False), None)
    whole = texts.cast(pl.Int64, strict=False)
    numbers = whole if whole.null_count() == texts.null_count() else texts.cast(pl.Float64, strict=False)
    return _from_numbers(numbers, where, unit, said), True


def _dates_with_slashes(column: pl.Series, where: str, unit: Unit | None, said: list[str]) -> tuple[pl.Series, bool]:
    """Parse m/d/yyyy or d/m/yyyy, where a day above 12 shows which."""
    parts = [column.str.extract(_SLASHES, k).cast(pl.Int64) for k in (1, 2)]
    nothing = pl.Series("time", [None] * len(column), pl.Int64)
    if parts[0].null_count() == len(column):
        return nothing, True
    above = [bool((part > 12).any()) for part in parts]
    if above[0] == above[1]:
        first = column.filter(parts[0].is_not_null())[0]
        why = "and no day above 12 shows which" if not above[0] else "and both occur"
        raise ValueError(f"{where}: {first!r} may be month/day or day/month, {why}; write yyyy-mm-dd")
    order = "%d/%m/%Y" if above[0] else "%m/%d/%Y"
    said.append(f"Dates are read as {'day/month' if above[0] else 'month/day'}/year, as days above 12 show.")
    times = nothing
    for clock in _CLOCKS:
        if not clock:
            parsed = column.str.to_date(order, strict=False).cast(pl.Datetime("us"))
        else:
            parsed = column.str.to_datetime(order + clock, time_unit="us", strict=False)
        times = times.fill_null(parsed.to_physical())
    return times, False


def _one_by_one(column: pl.Series, where: str, unit: Unit | None, said: list[str]) -> tuple[pl.Series, bool]:
    """Parse what remains with Python's own reader of ISO times, each different text once."""
    parsed, zoned = {}, True
    for text in column.drop_nulls().unique(maintain_order=True):
        try:
            time = datetime.fromisoformat(re.sub(r" ?(UTC|GMT)$", "+00:00", text))
        except ValueError:
            row = (column == text).arg_max()
            raise ValueError(
                f"{where}: {text[:60]!r} in {row_in_words(row)} is neither unix seconds nor an ISO time"
            ) from None
        zoned &= time.tzinfo is not None
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        parsed[text] = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return column.replace_strict(parsed, default=None, return_dtype=pl.Int64), zoned
