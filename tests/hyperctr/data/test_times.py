"""Times of every usual kind as whole microseconds; what is assumed is said."""

import datetime as dt
import time

import polars as pl
import pytest

from hyperctr.data.times import UTC_NOTE, parse_times

NOON = 1_493_985_600  # 2017-05-05 12:00:00 UTC
SECOND = 1_000_000
DAY = 86_400 * SECOND


def parsed(values, unit=None, dtype=None):
    column = values if isinstance(values, pl.Series) else pl.Series("ts", values, dtype=dtype, strict=False)
    times, notes = parse_times(column, "log.csv, column 'ts'", unit)
    assert times.dtype == pl.Int64
    return times.to_list(), " ".join(notes)


@pytest.fixture
def far_from_greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "America/Lima")  # what the machine takes for local time must not matter
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_one_moment_in_every_dress(far_from_greenwich):
    moments = [dt.datetime(2017, 5, 5, 12), dt.datetime(2017, 5, 5, 12, 1, 1, 250_000)]
    expected = [NOON * SECOND, (NOON + 61) * SECOND + 250_000]
    zoned = pl.Series(moments).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Shanghai")
    for column, said in [
        ([NOON, NOON + 61.25], ""),
        ([NOON * 1_000, (NOON + 61) * 1_000 + 250], "milliseconds"),
        ([NOON * SECOND, (NOON + 61) * SECOND + 250_000], "microseconds"),
        ([NOON * 10**9, (NOON + 61) * 10**9 + 250_000_000], "nanoseconds"),
        ([NOON * 1_000.0, (NOON + 61) * 1_000.0 + 250], "milliseconds"),
        (["2017-05-05 12:00:00", "2017-05-05 12:01:01.25"], "UTC"),
        (["2017-05-05T12:00:00Z", "2017-05-05T12:01:01.250Z"], ""),
        (["2017-05-05T14:00:00+02:00", "2017-05-05T08:31:01.25-0330"], ""),
        (["2017-05-05 12:00:00 UTC", "2017-05-05 12:01:01.250000 UTC"], ""),
        ([str(NOON), f"{NOON + 61}.25"], ""),
        (pl.Series(moments), "UTC"),
        (pl.Series(moments, dtype=pl.Datetime("ms")), "UTC"),
        (pl.Series(moments, dtype=pl.Datetime("ns")), "UTC"),
        (zoned, ""),
    ]:
        times, notes = parsed(column)
        assert times == expected, column
        assert said in notes and bool(said) == bool(notes), column


def test_dates_are_midnights(far_from_greenwich):
    days = pl.Series([dt.date(1970, 1, 2), None, dt.date(2017, 5, 5)])
    for column in (days, days.cast(pl.String), days.dt.strftime("%Y/%m/%d")):
        assert parsed(column)[0] == [DAY, None, (NOON - 43_200) * SECOND]


def test_events_a_tenth_of_a_second_apart_stay_apart():
    assert parsed([NOON + 0.1, NOON + 0.2])[0] == [NOON * SECOND + 100_000, NOON * SECOND + 200_000]
    assert parsed([-0.5, 0.25])[0] == [-500_000, 250_000]


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([NOON], "ms", [NOON * 1_000]),
        ([3, 4], "us", [3, 4]),
        ([1_999, 2_000], "ns", [1, 2]),
        ([1, 2], "min", [60 * SECOND, 120 * SECOND]),
        ([1.5], "h", [5_400 * SECOND]),
        ([1, 2], "d", [DAY, 2 * DAY]),
        ([1970, 1972], "year", [0, 730 * DAY]),
        (["3", "4"], "d", [3 * DAY, 4 * DAY]),
    ],
)
def test_a_stated_unit_is_taken(values, unit, expected):
    times, notes = parsed(values, unit)
    assert times == expected and "by their size" not in notes


def test_what_is_finer_than_a_microsecond_is_cut_and_counted():
    assert parsed([NOON * 10**9 + 1, NOON * 10**9])[1].endswith(
        "1 time is finer than a microsecond and cut to whole ones."
    )
    times, notes = parsed(["2017-05-05T12:00:00.123456789Z", "2017-05-05T12:00:00.000000000Z"])
    assert times == [NOON * SECOND + 123_456, NOON * SECOND] and "1 time is finer" in notes
    assert "1 time is finer" in parsed(pl.Series([NOON * 10**9 + 1]).cast(pl.Datetime("ns")))[1]


@pytest.mark.parametrize(
    ("numbers", "text", "shape"),
    [
        ([20170505, 20170506], "2017-05-05T00:00:00", "yyyymmdd"),
        ([201705051200, 201705051201], "2017-05-05T12:00:00", "yyyymmddhhmm"),
        ([20170505120000, 20170505120001], "2017-05-05T12:00:00", "yyyymmddhhmmss"),
    ],
)
def test_dates_written_as_numbers_are_dates_and_said(numbers, text, shape):
    for column in (numbers, [str(number) for number in numbers], [float(number) for number in numbers]):
        times, notes = parsed(column)
        assert times[0] == parsed([text])[0][0]
        assert f"Times are read as dates {shape}. {UTC_NOTE}" in notes


def test_dates_with_slashes_are_read_where_a_day_above_12_shows_their_order():
    month_first, said = parsed(["4/25/2022", "1/2/2022", None])
    assert month_first == [*parsed(["2022-04-25", "2022-01-02"])[0], None] and "month/day/year" in said
    day_first, said = parsed(["25/4/2022 10:30", "1/2/2022 23:59:59"])
    assert day_first == parsed(["2022-04-25 10:30", "2022-02-01 23:59:59"])[0] and "day/month/year" in said
    assert parsed(["04/25/2022 01:30 PM"])[0] == parsed(["2022-04-25 13:30"])[0]


def test_texts_of_many_shapes_in_one_column():
    values = [
        "2017-05-05",
        None,
        "2017-05-05 12:00",
        "2017-05-05T12:00:00.5Z",
        str(NOON),
        "",
        "2017-05-05T12:00:00+01:00",
    ]
    expected = [NOON - 43_200, None, NOON, NOON + 0.5, NOON, None, NOON - 3_600]
    times, notes = parsed(values)
    assert times == [None if x is None else round(x * SECOND) for x in expected] and notes == UTC_NOTE
    column = pl.Series("ts", values, dtype=pl.Categorical)
    assert parsed(column)[0] == times


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1997, 2003], 'they look like years: time_unit = "year" (--time-unit year) reads them so'),
        ([0, 500_000], 'minutes, hours or days since some start, time_unit = "min", "h" or "d" (--time-unit)'),
        ([0, 900], 'if they are an order alone, order = "ts" does'),
        ([0, NOON * 1_000], ""),
        (
            ["1903-01-01", "2100-01-01"],
            "to 2100-01-01 00:00:00, a span that no log has; an empty cell",
        ),
    ],
)
def test_a_span_that_no_log_has_is_said_with_what_corrects_it(values, said):
    notes = parsed(values)[1]
    assert said in notes and ("a span that no log has" in notes) == bool(said)


def test_missing_values_stay_missing():
    assert parsed([float("nan"), None, NOON * 1.0])[0] == [None, None, NOON * SECOND]
    assert parsed([None, None])[0] == [None, None]
    assert parsed(["", None])[0] == [None, None]
    assert parsed([])[0] == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["so"], r"'so' in row 1 \(line 2 .* is neither unix seconds nor an ISO time"),
        (["2017-05-05", "2017-13-45"], "'2017-13-45' in row 2"),
        (["4/5/2022"], "'4/5/2022' may be month/day or day/month, and no day above 12 shows which; write yyyy-mm-dd"),
        (["25/4/2022", "4/25/2022"], "may be month/day or day/month, and both occur"),
        ([NOON, NOON * 1_000], r"1493985600 in row 1 .* like seconds and 1493985600000 in row 2 .*like milliseconds"),
        ([float("inf")], "inf in row 1 .* is no time"),
        ([1e300], r"1e\+300 in row 1 .* is no time"),
        (pl.Series([2**63], dtype=pl.UInt64), "9223372036854775808.* is no time"),
        (pl.Series([NOON], dtype=pl.Float32), "Float32 cannot tell times apart that are less than 128 seconds from"),
        (pl.Series([True]), "must hold times, found Boolean"),
        (pl.Series([dt.time(1)]), "must hold times, found Time"),
        (pl.Series([[1]]), r"must hold times, found List"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_named(column, message):
    with pytest.raises(ValueError, match=message) as error:
        parsed(column)
    assert str(error.value).startswith("log.csv, column 'ts'") and "\n" not in str(error.value)


def test_units_that_lead_out_of_the_calendar_are_refused():
    for values, unit in (([10**14], "s"), ([10**9], "d"), ([1e14], "s"), ([0], "year")):
        with pytest.raises(ValueError, match="years"):
            parsed(values, unit)
