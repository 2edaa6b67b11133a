"""Granularities as text: read, written and sorted."""

import pytest

from graphs.slices.grid import Granularity


@pytest.mark.parametrize(
    ("text", "count", "unit", "days"),
    [
        ("6h", 6, "h", 0.25),
        ("7d", 7, "d", 7),
        ("2w", 2, "w", 14),
        ("3mo", 3, "mo", 365.25 / 4),
        ("1y", 1, "y", 365.25),
        ("q8", 8, "q", 0),
    ],
)
def test_a_granularity_is_read_and_written(text, count, unit, days):
    found = Granularity.parse(text)
    assert (found.count, found.unit, found.days) == (count, unit, days)
    assert str(found) == text and found == Granularity(count, unit) and hash(found) == hash(Granularity(count, unit))
    assert found.by_count == (unit == "q")


@pytest.mark.parametrize(
    "text", ["", "7", "d", "0d", "07d", "-1d", "7 d", "7days", "q", "q0", "q08", "8q", "7d\n", "1m"]
)
def test_what_is_no_granularity_is_refused(text):
    with pytest.raises(ValueError, match="a granularity is like 6h"):
        Granularity.parse(text)


def test_granularities_sort_by_width_and_equal_counts_come_last():
    order = ["1h", "36h", "7d", "1w", "30d", "1mo", "1y", "q12", "q8", "q1"]
    assert [str(g) for g in sorted(map(Granularity.parse, reversed(order)))] == order
