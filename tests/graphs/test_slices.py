"""Time grids by hand and by calendar; streaming equals batch."""

import datetime as dt

import numpy as np
import pytest
import torch

from graphs import TimeGrid, TimeSlices

DAY = 86400


def at(*date: int) -> int:
    """Seconds since 1970 of a UTC date."""
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp())


FIRST = at(2021, 1, 31, 13, 45, 10)  # a Sunday


@pytest.mark.parametrize(
    ("every", "starts"),
    [
        ("1h", [at(2021, 1, 31, 13), at(2021, 1, 31, 14), at(2021, 1, 31, 15)]),
        ("6h", [at(2021, 1, 31, 13), at(2021, 1, 31, 19), at(2021, 2, 1, 1)]),
        ("1d", [at(2021, 1, 31), at(2021, 2, 1), at(2021, 2, 2)]),
        ("3d", [at(2021, 1, 31), at(2021, 2, 3), at(2021, 2, 6)]),
        ("2w", [at(2021, 1, 31), at(2021, 2, 14), at(2021, 2, 28)]),
        ("1mo", [at(2021, 1, 1), at(2021, 2, 1), at(2021, 3, 1)]),
        ("3mo", [at(2021, 1, 1), at(2021, 4, 1), at(2021, 7, 1)]),
        ("1y", [at(2021, 1, 1), at(2022, 1, 1), at(2023, 1, 1)]),
        ("2y", [at(2021, 1, 1), at(2023, 1, 1), at(2025, 1, 1)]),
    ],
)
def test_every_unit_by_hand(every, starts):
    grid = TimeGrid.cut([FIRST + 1000 * DAY, FIRST], every=every)
    assert grid.origin == starts[0] and grid.every == every and grid.edges is None
    assert grid.starts(3).tolist() == starts
    assert [grid.start(n) for n in range(3)] == starts and grid.end(1) == starts[2]
    boundary = [0, starts[0] - 1, starts[0], starts[1] - 1, starts[1], starts[2] - 1, starts[2]]
    assert grid.slice_of(boundary).tolist() == [-1, -1, 0, 0, 1, 1, 2]
    rebuilt = TimeGrid.cut([FIRST, FIRST + 1000 * DAY], every=grid.every, origin=grid.origin)
    assert rebuilt == grid


def test_months_are_those_of_the_calendar_leap_years_included():
    grid = TimeGrid.cut([at(2020, 1, 15)], every="1mo")
    lengths = [(grid.end(n) - grid.start(n)) // DAY for n in range(14)]
    assert lengths == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28]
    years = TimeGrid.cut([at(2020, 5, 5)], every="1y")
    assert [(years.end(n) - years.start(n)) // DAY for n in range(5)] == [366, 365, 365, 365, 366]


def test_length_counts_the_slices_up_to_the_latest_time():
    assert len(TimeGrid.cut([0, DAY - 1], every="1d")) == 1
    assert len(TimeGrid.cut([0, DAY], every="1d")) == 2
    assert len(TimeGrid.cut([5 * DAY], every="1d", origin=0)) == 6
    assert len(TimeGrid.cut([], every="1d", origin=0)) == 0
    assert len(TimeGrid.cut([-1], every="1d", origin=0)) == 0


def test_times_before_1970_are_cut_alike():
    grid = TimeGrid.cut([at(1969, 12, 31, 23)], every="1mo")
    assert grid.origin == at(1969, 12, 1) and grid.slice_of([at(1970, 1, 1), -1]).tolist() == [1, 0]
    assert TimeGrid.cut([-1], every="1d").origin == -DAY


def test_an_origin_of_a_year_may_be_any_month():
    grid = TimeGrid.cut([at(2020, 9, 1)], every="1y", origin=at(2019, 7, 1))
    assert grid.starts(3).tolist() == [at(2019, 7, 1), at(2020, 7, 1), at(2021, 7, 1)] and len(grid) == 2


def test_quantiles_by_hand():
    grid = TimeGrid.cut([8, 1, 2, 7, 3, 5], count=3)
    assert grid.edges == (1, 3, 7) and grid.every is None and grid.origin == 1 and len(grid) == 3
    assert grid.slice_of([0, 1, 2, 3, 6, 7, 10**12]).tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert (grid.start(2), grid.end(0)) == (7, 3) and grid.end(2) > 10**18
    assert grid.starts(2).tolist() == [1, 3]
    assert TimeGrid(None, grid.origin, 3, grid.edges) == grid


def test_quantiles_never_part_equal_times():
    grid = TimeGrid.cut([1, 1, 1, 1, 1, 9], count=3)
    assert grid.edges == (1,) and grid.slice_of([1, 9]).tolist() == [0, 0]
    grid = TimeGrid.cut([1, 2, 2, 2, 3, 4], count=3)
    assert grid.edges == (1, 2, 3) and np.bincount(grid.slice_of([1, 2, 2, 2, 3, 4])).tolist() == [1, 3, 2]


def test_quantiles_hold_equally_many_times():
    times = np.random.default_rng(0).permutation(1000)
    assert np.bincount(TimeGrid.cut(times, count=8).slice_of(times)).tolist() == [125] * 8


@pytest.mark.parametrize(
    "cut", [dict(every="6h"), dict(every="2w"), dict(every="1mo"), dict(every="1y"), dict(count=7)]
)
def test_bucketize_over_the_starts_is_slice_of(cut):
    times = np.random.default_rng(0).integers(at(2015, 1, 1), at(2017, 6, 1), 300)
    grid = TimeGrid.cut(times, **cut)
    starts = torch.from_numpy(grid.starts(len(grid)))
    probe = torch.cat([torch.from_numpy(times), starts, starts - 1])
    assert (torch.bucketize(probe, starts, right=True) - 1).tolist() == grid.slice_of(probe).tolist()


@pytest.mark.parametrize(
    ("fine", "coarse", "ratio"), [("6h", "24h", 4), ("1d", "1w", 7), ("1mo", "6mo", 6), ("1w", "2w", 2)]
)
def test_a_finer_grid_nests_in_a_coarser_one(fine, coarse, ratio):
    times = np.random.default_rng(0).integers(FIRST, FIRST + 900 * DAY, 400)
    fine_number = TimeGrid.cut(times, fine).slice_of(times)
    assert np.array_equal(TimeGrid.cut(times, coarse).slice_of(times), fine_number // ratio)


def test_slices_by_hand():
    slices = TimeSlices.cut([7, 9, 7, 7, 1], [40, 40, 40, 30, 30], [0, 5, 10, 3 * DAY, 3 * DAY + 1], every="1d")
    assert len(slices) == 4
    first = slices[0]
    assert first.node_ids.tolist() == [7, 9] and first.hyperedge_ids.tolist() == [40]
    assert first.members(0).tolist() == [0, 1] and first.num_incidences == 2  # the pair (7, 40) occurs twice
    assert slices[1].num_nodes == slices[2].num_hyperedges == 0
    assert slices[-1].node_ids.tolist() == [1, 7] and slices[3].hyperedge_ids.tolist() == [30]
    assert [h.num_nodes for h in slices] == [2, 0, 0, 2]
    assert repr(slices) == "TimeSlices(4 slices, every 1d, 4 incidences)"
    with pytest.raises(IndexError, match="there are 4 slices, got 4"):
        slices[4]


def test_each_slice_describes_itself_in_a_row():
    rows = TimeSlices.cut([7, 9, 7, 1], [4, 4, 3, 3], [0, 5, DAY, DAY], every="1d").describe()
    assert rows[0] == {
        "slice": 0,
        "start": 0,
        "end": DAY,
        "date": "1970-01-01T00:00:00",
        "num_nodes": 2,
        "num_hyperedges": 1,
        "num_incidences": 2,
        "mean_size": 2.0,
        "returning": 0.0,
    }
    assert rows[1]["returning"] == 0.5  # node 7 was there the day before, node 1 was not


def assert_equal(a: TimeSlices, b: TimeSlices) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert np.array_equal(left.node_ids, right.node_ids) and np.array_equal(left.hyperedge_ids, right.hyperedge_ids)
        for x, y in zip(
            left.by_node[:2] + left.by_hyperedge[:2], right.by_node[:2] + right.by_hyperedge[:2], strict=True
        ):
            assert torch.equal(x, y)


@pytest.mark.parametrize("cut", [dict(every="1w"), dict(every="1mo"), dict(count=5)])
@pytest.mark.parametrize("order", ["in time", "shuffled"])
def test_streaming_equals_batch(cut, order):
    rng = np.random.default_rng(0)
    nodes, hyperedges = rng.integers(0, 50, 400), rng.integers(0, 9, 400)
    times = np.sort(rng.integers(at(2020, 1, 10), at(2020, 6, 1), 400))
    if order == "shuffled":
        rng.shuffle(times[1:])
    whole = TimeSlices.cut(nodes, hyperedges, times, **cut)
    stream = TimeSlices(whole.grid, [], [], [])
    for start in range(0, 400, 130):
        rows = slice(start, start + 130)
        stream.append(nodes[rows], hyperedges[rows], times[rows])
    assert_equal(stream, whole)


def test_appending_past_the_end_equals_a_rebuild_and_leaves_closed_slices_alone():
    slices = TimeSlices.cut([1, 2], [5, 5], [0, DAY], every="1d")
    closed = slices[0], slices[1]
    slices.append([3, 4], [6, 6], [4 * DAY, 4 * DAY + 9])
    assert_equal(slices, TimeSlices.cut([1, 2, 3, 4], [5, 5, 6, 6], [0, DAY, 4 * DAY, 4 * DAY + 9], every="1d"))
    assert (slices[0], slices[1]) == closed and [h.num_nodes for h in slices] == [1, 1, 0, 0, 2]


def test_rows_that_are_refused_leave_the_slices_as_they_were():
    slices = TimeSlices.cut([1], [5], [DAY], every="1d")
    with pytest.raises(ValueError, match=f"1 of 2 times lie before the origin {DAY}: 3"):
        slices.append([1, 2], [5, 5], [DAY, 3])
    assert len(slices) == 1 and slices[0].num_nodes == 1


def test_ids_of_a_slice_lead_back_to_the_whole():
    """The slice's own numbering and the global one give the same products."""
    rng = np.random.default_rng(0)
    nodes, hyperedges, times = rng.integers(0, 30, 200), rng.integers(0, 12, 200), rng.integers(0, 10 * DAY, 200)
    from graphs import Hypergraph

    slices = TimeSlices.cut(nodes, hyperedges, times, every="2d", origin=0)
    x = torch.randn(30, 4)
    for n, h in enumerate(slices):
        now = times // (2 * DAY) == n
        whole = Hypergraph.from_pairs(nodes[now], hyperedges[now], 30, 12)
        ids = torch.from_numpy(h.node_ids)
        torch.testing.assert_close(h.propagate(x[ids]), whole.propagate(x)[ids])
        assert whole.isolated.sum() == 30 - len(ids)


def test_times_may_be_lists_tensors_or_datetimes():
    days = np.array(["2021-01-31T13:45:10", "2021-02-02"], dtype="datetime64[s]")
    for times in (days, days.astype("datetime64[ms]"), days.astype(int).tolist(), torch.from_numpy(days.astype(int))):
        assert TimeGrid.cut(times, "1d").slice_of(times).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(every="7days"), """must look like "6h", "1d", "2w", "3mo" or "1y", got '7days'"""),
        (dict(every="0d"), "got '0d'"),
        (dict(every="1m"), "got '1m'"),
        (dict(), "either every or count, got every=None and count=None"),
        (dict(every="1d", count=3), "either every or count"),
        (dict(count=0), "count >= 1"),
        (dict(count=2, origin=5), "no origin"),
        (
            dict(every="1mo", origin=at(2020, 2, 2)),
            f"start of a month, UTC, got .*; 2020-02 starts at {at(2020, 2, 1)}",
        ),
        (dict(every="1d", times=[]), "give an origin"),
        (dict(count=3, times=[]), "no times to cut into 3 quantiles"),
        (dict(every="1d", times=[0.5]), "whole seconds since 1970 .* got float64"),
        (dict(every="1d", times=[1_600_000_000_000]), "milliseconds. Divide by 1000"),
    ],
)
def test_errors_of_a_grid_say_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeGrid.cut(**{"times": [0, DAY]} | arguments)


def test_errors_of_slices_say_what_was_found():
    with pytest.raises(ValueError, match=r"2 times, so 2 node ids, got shape \[1\]"):
        TimeSlices.cut([1], [1, 2], [0, 1], every="1d")
    with pytest.raises(ValueError, match="hyperedge ids must be integers, got <U1"):
        TimeSlices.cut([1], ["a"], [0], every="1d")
    quantiles = TimeGrid.cut([1, 2], count=2)
    with pytest.raises(ValueError, match="numbered from 0 to 1, got 2"):
        quantiles.start(2)
    with pytest.raises(ValueError, match="there are 2 quantiles, got count=3"):
        quantiles.starts(3)
    with pytest.raises(ValueError, match="numbered from 0, got -1"):
        TimeGrid.cut([0], "1d").start(-1)
