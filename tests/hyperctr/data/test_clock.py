"""Times at the door: whole microseconds of every type that a caller has, and one line for what is no time."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from hyperctr.data import clock

NOON = 1_714_564_800  # 2024-05-01 12:00 UTC


def test_times_of_every_type_are_exact_to_the_microsecond():
    moment = dt.datetime(2024, 5, 1, 12, 0, 0, 123_457)
    expected = NOON * 10**6 + 123_457
    for at in (
        NOON + 0.123457,
        moment,
        moment.replace(tzinfo=dt.UTC),
        (moment + dt.timedelta(hours=8)).replace(tzinfo=dt.timezone(dt.timedelta(hours=8))),
        np.datetime64(moment),
        np.datetime64("2024-05-01T12:00:00.123457000", "ns"),
    ):
        assert clock.moments(at).item() == expected and clock.moments([at, at]).tolist() == [expected] * 2
    assert clock.moments(pl.Series([moment])).tolist() == [expected]
    assert clock.moments([NOON, -1]).tolist() == [NOON * 10**6, -(10**6)]
    fractions = np.random.default_rng(0).integers(0, 4 * 10**15, 10_000)
    assert clock.moments(fractions / 10**6).tolist() == fractions.tolist()  # float64 seconds, up to the year 2096
    assert clock.moments([]).dtype == np.int64 and clock.moments(np.empty((0, 2))).shape == (0, 2)
    assert clock.moments([3, 9], has_time=False).tolist() == [3, 9]


@pytest.mark.parametrize(
    ("at", "has_time", "message"),
    [
        (np.float32(5), True, r"seconds since 1970 \(whole numbers or float64\), datetime64 or datetime, got float32"),
        ("2024-05-01", True, "datetime64 or datetime, got <U10"),
        (True, True, "got bool"),
        (NOON * 1000, True, r"got 1714564800000; for milliseconds or finer give numpy datetime64"),
        ([1.0, np.nan], True, "got nan"),
        (np.inf, True, "got inf"),
        (np.datetime64("NaT", "us"), True, "are missing"),
        (np.datetime64("2024-05-01T00:00:00.000000001"), True, "are no whole microseconds"),
        ([NOON, None], True, "got object"),
        (1.5, False, "the data has no times, only an order: give positions, whole numbers; got float64"),
        (dt.datetime(2024, 5, 1), False, "give positions, whole numbers; got datetime64"),
    ],
)
def test_what_is_no_time_is_refused_in_one_line(at, has_time, message):
    with pytest.raises(ValueError, match=message) as error:
        clock.moments(at, has_time)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1709251200.5", 1_709_251_200_500_000),
        ("1709251200.000001", 1_709_251_200_000_001),
        ("-0.1", -100_000),
        ("2024-05-01", 1_714_521_600_000_000),
        ("2024-05-01T12:00:00.000001Z", NOON * 10**6 + 1),
        ("2024-05-01 14:00:00,5+02:00", NOON * 10**6 + 500_000),
        ("20240501", 1_714_521_600_000_000),
    ],
)
def test_an_option_reads_seconds_with_decimals_and_iso_text_exactly(text, time):
    assert clock.option(text, "--at") == time


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "1e9", "1709251200500", "9" * 400, "--5", "5.1.2", "nan", "2024-13-1"]
)
def test_an_option_that_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="--upto takes a date or time such as 2024-05-01T06:00, or seconds since 1970"):
        clock.option(text, "--upto")


def test_an_option_that_is_too_fine_or_no_position_is_refused():
    for text in ("1709251200.1234567", "2024-05-01T12:00:00.1234567"):
        with pytest.raises(ValueError, match="--at takes at most six decimals of a second, got"):
            clock.option(text, "--at")
    assert clock.option("0.1000000000", "--at") == 100_000 and clock.option(" 12 ", "--at", has_time=False) == 12
    for text in ("", "1.5", "2024-05-01"):
        with pytest.raises(ValueError, match="--at takes a position, a whole number, as the data has no times; got"):
            clock.option(text, "--at", has_time=False)
