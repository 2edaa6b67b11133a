"""Time grids by hand and by calendar; streaming equals batch."""

import datetime as dt

import numpy as np
import pytest
import torch

from graphs import TimeGrid, TimeSlices, from_ids

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


@pytest.mark.parametrize("every", ["1h", "1d", "1mo", "1y"])
def test_times_far_before_the_origin_are_before_it(every):
    grid = TimeGrid.cut([at(2021, 1, 1)], every=every)
    assert grid.slice_of([-(2**63), at(1900, 1, 1), at(2021, 1, 1) - 1, at(2021, 1, 1)]).tolist() == [-1, -1, -1, 0]


@pytest.mark.parametrize("every", ["1mo", "3mo", "1y"])
def test_months_of_many_times_are_those_of_each(every):
    """Many times are looked up by their day, few are not."""
    times = np.random.default_rng(0).integers(at(1999, 12, 1), at(2004, 3, 1), 5000)
    grid = TimeGrid.cut(times, every=every)
    assert grid.slice_of(times).tolist() == [int(grid.slice_of([time])[0]) for time in times]


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
    assert slices[0:1] == [first] and slices[::-3] == [slices[3], first] and slices[7:] == []
    assert slices[np.int64(-4)] is first
    for odd in (0.0, "0", None):
        with pytest.raises(TypeError, match="integer"):
            slices[odd]


def test_cost_follows_the_slices_that_hold_something(tmp_path, monkeypatch):
    """Two events two centuries apart, cut by the hour: 1.7 million slices, of which two are ever built or read."""
    ends = [at(1903, 1, 1), at(2100, 1, 1)]
    slices = TimeSlices.cut([7, 8], [1, 1], ends, every="1h")
    assert len(slices) == 24 * (ends[1] - ends[0]) // DAY + 1 and slices.filled() == [0, len(slices) - 1]
    slices.save(tmp_path / "hourly")
    assert (tmp_path / "hourly" / "slices.json").stat().st_size < 400
    again = TimeSlices.load(tmp_path / "hourly")
    again.append([9], [1], [ends[0] + 3600])
    monkeypatch.setattr(TimeSlices, "__iter__", lambda self: pytest.fail("every slice was visited"))
    rows = again.describe()
    assert [row["slice"] for row in rows] == [
        0,
        1,
        len(slices) - 1,
    ] and "empty slices are left out" in again._repr_html_()
    spilled = TimeSlices.from_batches(slices.grid, [([], [], []), ([8, 7], [1, 1], ends[::-1])], tmp_path / "spilled")
    assert spilled.describe() == slices.describe()


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
        "node_overlap": 0.0,
        "hyperedge_overlap": 0.0,
    }
    assert rows[1]["returning"] == 0.5  # node 7 was there the day before, node 1 was not
    assert rows[1]["node_overlap"] == 1 / 3  # of 1, 7 and 9
    assert rows[1]["hyperedge_overlap"] == 0


def test_overlap_is_a_share_of_what_either_slice_has():
    rows = TimeSlices.cut([1, 2, 3, 2, 3, 1], [5, 6, 7, 5, 5, 5], [0, 0, 0, DAY, DAY, 3 * DAY], every="1d").describe()
    assert [row["slice"] for row in rows] == [0, 1, 3]  # nothing is in slice 2
    assert [row["node_overlap"] for row in rows] == [0, 2 / 3, 0]
    assert [row["hyperedge_overlap"] for row in rows] == [0, 1 / 3, 0]
    assert [row["returning"] for row in rows] == [0, 1, 0]


def assert_equal(a: TimeSlices, b: TimeSlices) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert left.equals(right) and left.node_ids.dtype == right.node_ids.dtype
        for x, y in zip(left.by_node[:2], right.by_node[:2], strict=True):  # equals reads the members alone
            assert x.dtype == y.dtype and torch.equal(x, y)


def slow_slices(nodes, hyperedges, times, grid: TimeGrid) -> list[dict]:
    """The node ids of each hyperedge id, slice by slice, a row at a time."""
    slices = [{} for _ in range(len(grid))]
    for node, hyperedge, time in zip(nodes, hyperedges, times, strict=True):
        slices[int(grid.slice_of([time])[0])].setdefault(hyperedge, set()).add(node)
    return slices


def members_by_id(h) -> dict:
    return {id_: {h.node_ids[v] for v in h.members(e).tolist()} for e, id_ in enumerate(h.hyperedge_ids.tolist())}


@pytest.mark.parametrize("order", ["in time", "nearly in time", "shuffled"])
@pytest.mark.parametrize("kind", ["dense", "negative", "sparse", "hashes", "strings", "int32", "uint64"])
def test_slices_equal_a_slow_loop(order, kind, monkeypatch):
    monkeypatch.setattr(from_ids, "CHUNK", 16)  # several chunks a slice
    rng = np.random.default_rng(0)
    nodes, hyperedges = rng.integers(0, 40, 600), rng.integers(0, 15, 600)
    times = np.sort(rng.integers(0, 7 * DAY, 600))
    times[times // DAY == 3] = 2 * DAY  # a slice without rows
    if order == "nearly in time":
        times = times[np.argsort(np.arange(600) + rng.normal(0, 4, 600))]
    elif order == "shuffled":
        rng.shuffle(times)
    ids = {
        "dense": lambda x: x,
        "negative": lambda x: x - 20,
        "sparse": lambda x: x * 10**6 + 10**12,
        "hashes": lambda x: np.random.default_rng(1).integers(-(2**63), 2**63, 40)[x],
        "strings": lambda x: np.array([f"id {n}" for n in range(40)])[x],
        "int32": lambda x: x.astype(np.int32),
        "uint64": lambda x: x.astype(np.uint64),
    }[kind]
    nodes, hyperedges = ids(nodes), ids(hyperedges)
    slices = TimeSlices.cut(nodes, hyperedges, times, every="1d", origin=0)
    slow = slow_slices(nodes.tolist(), hyperedges.tolist(), times.tolist(), slices.grid)
    assert [members_by_id(h) for h in slices] == slow and len(slow[3]) == 0
    for h in slices:
        assert (np.diff(h.by_node.indptr) > 0).all() and (np.sort(h.node_ids) == h.node_ids).all()
        assert h.T.T.equals(h) and h.node_ids.dtype.kind == ("U" if kind == "strings" and h.num_nodes else "i")
        incidences = {(v, e) for v in range(h.num_nodes) for e in h.hyperedges(v).tolist()}
        assert incidences == {(v, e) for e in range(h.num_hyperedges) for v in h.members(e).tolist()}


@pytest.mark.parametrize("order", ["in time", "shuffled"])
def test_threads_change_no_bit(order, monkeypatch):
    monkeypatch.setattr(from_ids, "CHUNK", 32)
    rng = np.random.default_rng(0)
    nodes, hyperedges, times = rng.integers(0, 90, 900), rng.integers(0, 30, 900), rng.integers(0, 20 * DAY, 900)
    times = np.sort(times) if order == "in time" else times
    one = TimeSlices.cut(nodes, hyperedges, times, every="1d")
    try:
        torch.set_num_threads(3)
        assert_equal(TimeSlices.cut(nodes, hyperedges, times, every="1d"), one)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("cut", [dict(every="1w"), dict(every="1mo"), dict(count=9)])
def test_fifty_batches_in_any_order_equal_a_rebuild(cut):
    """Duplicates, times out of order, late batches into old slices, new slices: after every batch."""
    rng = np.random.default_rng(0)
    batches = [
        np.stack([rng.integers(0, 30, size), rng.integers(0, 12, size), rng.integers(low, low + 20 * DAY, size)])
        for size, low in zip(rng.integers(0, 40, 50), rng.integers(at(2020, 1, 10), at(2021, 6, 1), 50), strict=True)
    ]
    whole = np.concatenate(batches, axis=1)
    grid = TimeGrid.cut(whole[2], **cut)
    start = TimeGrid(grid.every, grid.origin, 0) if grid.every else grid
    stream = TimeSlices(start, [], [], [])
    for count, batch in enumerate(batches, 1):
        stream.append(*batch)
        if count % 7 == 0 or count == 50:
            assert_equal(stream, TimeSlices(start, *np.concatenate(batches[:count], axis=1)))
    assert_equal(stream, TimeSlices(grid, *whole))


def test_a_batch_touches_only_its_slices():
    rng = np.random.default_rng(0)
    slices = TimeSlices.cut(rng.integers(0, 9, 99), rng.integers(0, 9, 99), rng.integers(0, 10 * DAY, 99), every="1d")
    before = list(slices)
    slices.append([1, 2, 3], [4, 4, 4], [3 * DAY, 7 * DAY + 5, 12 * DAY])
    assert [n for n in range(10) if slices[n] is not before[n]] == [3, 7] and len(slices) == 13


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
    with pytest.raises(ValueError, match=f"1 of 2 times are before the origin {DAY}: 3"):
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
        (dict(every="1d", times=np.array(["NaT"], "datetime64[s]")), "1 of 1 times are missing"),
    ],
)
def test_errors_of_a_grid_say_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeGrid.cut(**{"times": [0, DAY]} | arguments)


def test_errors_of_slices_say_what_was_found():
    with pytest.raises(ValueError, match=r"2 times, so 2 node ids, got shape \[1\]"):
        TimeSlices.cut([1], [1, 2], [0, 1], every="1d")
    with pytest.raises(ValueError, match="hyperedge ids must be integers or strings, got float64"):
        TimeSlices.cut([1], [0.5], [0], every="1d")
    with pytest.raises(ValueError, match="hyperedge ids must be all integers or all strings, got NoneType None at pos"):
        TimeSlices.cut([1, 2], np.array(["a", None]), [0, 0], every="1d")
    with pytest.raises(ValueError, match="node ids must be below 2.63, got 18446744073709551615"):
        TimeSlices.cut(np.array([2**64 - 1], dtype=np.uint64), [0], [0], every="1d")
    with pytest.raises(ValueError, match=r"1 of 2 times are missing \(NaT\)"):
        TimeSlices.cut([1, 1], [1, 1], np.array(["2020-01-01", "NaT"], "datetime64[s]"), every="1d")
    slices = TimeSlices.cut([1], ["a"], [0], every="1d")
    with pytest.raises(ValueError, match="have been integers and strings so far, got integers and integers"):
        slices.append([2], [3], [0])
    quantiles = TimeGrid.cut([1, 2], count=2)
    with pytest.raises(ValueError, match="numbered from 0 to 1, got 2"):
        quantiles.start(2)
    with pytest.raises(ValueError, match="there are 2 quantiles, got count=3"):
        quantiles.starts(3)
    with pytest.raises(ValueError, match="numbered from 0, got -1"):
        TimeGrid.cut([0], "1d").start(-1)


def test_quantiles_go_on_behind_their_times_one_as_soon_as_as_many_have_come():
    grid = TimeGrid.cut([0, 1, 2, 3, 4, 5], count=3, later=[10, 14, 12, 20, 20])
    # two a slice: after 5 the fourth, after 10 and 12 the fifth, after 14 and 20 the sixth
    assert grid.edges == (0, 2, 4, 6, 13, 21) and len(grid) == 6
    assert grid.slice_of([5, 6, 12, 13, 20, 21, 10**9]).tolist() == [2, 3, 3, 4, 4, 5, 5]
    assert TimeGrid.cut([0, 1, 2, 3], count=2, later=[]) == TimeGrid.cut([0, 1, 2, 3], count=2)


@pytest.mark.parametrize("until", [7, 11, 20, 41])
def test_which_slice_a_later_time_is_in_depends_on_earlier_times_alone(until):
    times, later = np.arange(6), np.array([6, 6, 7, 9, 11, 11, 11, 20, 21, 40])
    grid, early = (TimeGrid.cut(times, count=3, later=x) for x in (later, later[later < until]))
    at = np.arange(until + 1)
    assert grid.slice_of(at).tolist() == early.slice_of(at).tolist()


def test_later_times_must_be_later_and_need_quantiles():
    with pytest.raises(ValueError, match="later times must be after 3, .* got 3"):
        TimeGrid.cut([0, 3], count=2, later=[3, 4])
    with pytest.raises(ValueError, match="need count"):
        TimeGrid.cut([0, 3], every="1d", later=[4])
