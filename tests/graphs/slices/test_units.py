"""Units of time: exact in every unit, nothing rounded, and folders without a unit are in seconds."""

import datetime as dt
import json

import numpy as np
import pytest
import torch

from graphs import TimeGrid, TimeSlices
from graphs.slices.grid import UNITS

DAY = 86400
CUTS = [dict(every="6h"), dict(every="1d"), dict(every="2w"), dict(every="1mo"), dict(every="2y"), dict(count=5)]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_moment_before_a_boundary_is_in_the_slice_before(unit, cut):
    per = UNITS[unit]
    times = np.random.default_rng(0).integers(1_500_000_000, 1_700_000_000, 400) * per
    grid, seconds = TimeGrid.cut(times, **cut, unit=unit), TimeGrid.cut(times // per, **cut)
    assert grid.unit == unit and len(grid) == len(seconds) and grid.origin == seconds.origin * per
    starts = grid.starts()
    assert starts.tolist() == (seconds.starts() * per).tolist()
    n = np.arange(len(grid))
    for probe in (starts, torch.from_numpy(starts), starts.astype(f"datetime64[{unit}]")):
        assert grid.slice_of(probe).tolist() == n.tolist()
    assert grid.slice_of(starts - 1).tolist() == (n - 1).tolist()  # one unit earlier
    many = np.concatenate([starts - 1, starts, times])  # months are looked up by their day
    assert grid.slice_of(many).tolist() == [int(grid.slice_of([t])[0]) for t in many]
    assert [grid.start(k) for k in (0, 1)] == starts[:2].tolist() and grid.end(0) == grid.start(1)


def test_months_in_microseconds_are_those_of_the_calendar():
    at = [dt.datetime(2024, 2, 29, 23, 59, 59, 999_999), dt.datetime(2024, 3, 1), dt.datetime(1969, 12, 31, 23, 59, 59)]
    times = np.array(at, dtype="datetime64[us]")
    grid = TimeGrid.cut(times, every="1mo")
    assert grid.unit == "us" and grid.date(0) == "1969-12-01T00:00:00"
    assert grid.slice_of(times).tolist() == [12 * 54 + 2, 12 * 54 + 3, 0]


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_quantiles_part_two_times_one_unit_apart(unit):
    now = 1_700_000_000 * UNITS[unit]
    grid = TimeGrid.cut([now, now + 1, now + 2, now + 3], count=2, unit=unit, later=[now + 9, now + 10, now + 11])
    assert grid.edges == (now, now + 2, now + 4, now + 11)
    slices = TimeSlices.cut([1, 2], [7, 7], [now, now + 1], count=2, unit=unit)
    assert [h.node_ids.tolist() for h in slices] == [[1], [2]]


def test_datetimes_lose_nothing():
    times = np.array(["2024-05-01T06:00:00.1", "2024-05-01T06:00:00.2"], dtype="datetime64[ms]")
    slices = TimeSlices.cut([1, 2], [7, 7], times, count=2)
    assert slices.grid.unit == "us" and [h.node_ids.tolist() for h in slices] == [[1], [2]]
    assert [row["date"] for row in slices.describe()] == ["2024-05-01T06:00:00.100000", "2024-05-01T06:00:00.200000"]
    for bad, unit in ((times, "s"), (times + np.timedelta64(1, "ns"), None)):
        with pytest.raises(ValueError, match=r"2 of 2 times, such as 2024-05-01T06:00:00.1.*, are no whole .*s: "):
            TimeGrid.cut(bad, every="1d", unit=unit)
    far = np.array(["3000-01-01"], dtype="datetime64[D]")  # beyond the nanoseconds of int64
    with pytest.raises(ValueError, match="such as 3000-01-01, are no whole nanoseconds"):
        TimeGrid.cut(far, every="1d", unit="ns")
    assert TimeGrid.cut(far, every="1d").origin == 32_503_680_000 * 10**6


def test_an_origin_is_in_the_unit_too():
    grid = TimeGrid.cut([5 * DAY * 1000], every="1d", origin=DAY * 1000, unit="ms")
    assert len(grid) == 5 and grid == TimeGrid.cut([5 * DAY * 1000], "1d", np.datetime64("1970-01-02"), unit="ms")
    with pytest.raises(ValueError, match="whole seconds since 1970 .* got float64"):
        TimeGrid.cut([5], every="1d", origin=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(times=[0.5]), r'got float64; for fractions .* unit="us" and np.round\(1e6 \* times\)'),
        (dict(times=[0], unit="m"), "unit must be one of s, ms, us, ns, got 'm'"),
        (
            dict(times=[1_700_000_000_000]),
            "seconds since 1970, got 17.*; milliseconds. Divide by 1000, or cut with unit",
        ),
        (dict(times=[1_700_000_000 * 10**9], unit="us"), "must be microseconds .* cut with unit='ns'"),
        (dict(times=np.array([2**63 + 1], np.uint64)), r"times must be below 2\^63"),
        (dict(times=[2**62 + 2], origin=-(2**62 - 1), unit="ns"), "further apart than nanoseconds can count"),
        (dict(times=[-(2**63)]), "too far from 1970 for seconds"),
        (dict(times=[0], every="200y", unit="ns"), "slices of '200y' are wider than nanoseconds can count"),
        (dict(times=[0], every=7), 'must look like "6h", "1d", "2w", "3mo" or "1y", got 7'),
    ],
)
def test_what_a_unit_cannot_express_is_refused(arguments, message):
    arguments = {"every": "1d"} | arguments
    with pytest.raises(ValueError, match=message):
        TimeGrid.cut(**arguments)


def test_slices_beyond_the_last_number_never_end():
    grid = TimeGrid.cut([0], every="100y", unit="ns")
    assert grid.end(1) == 6_311_433_600 * 10**9 and grid.end(2) == 2**63 - 1
    assert TimeGrid.cut([0], every="1d").start(2**62) == 2**63 - 1
    wide = TimeGrid.cut([2**62 - 1], every="1d", origin=-(2**62 - 1), unit="ns")
    assert len(wide) == (2**63 - 2) // (DAY * 10**9) + 1 == wide.slice_of([2**62 - 1])[0] + 1


def test_a_folder_keeps_its_unit_and_one_without_is_in_seconds(tmp_path):
    fine = TimeSlices.cut([1, 2], [7, 7], [5, DAY * 10**6], every="1d", unit="us")
    fine.save(tmp_path / "fine")
    again = TimeSlices.load(tmp_path / "fine")
    again.append([3], [7], [DAY * 10**6 - 1])
    assert again.grid == fine.grid and again[0].node_ids.tolist() == [1, 3]

    TimeSlices.cut([1, 2], [7, 7], [5, DAY], every="1d").save(tmp_path / "old")
    index = json.loads((tmp_path / "old" / "slices.json").read_text())
    assert index["grid"].pop("unit") == "s"  # folders of earlier versions have none
    (tmp_path / "old" / "slices.json").write_text(json.dumps(index))
    old = TimeSlices.load(tmp_path / "old")
    old.append([3, 4], [7, 7], [DAY - 1, DAY])
    old.append([5], [7], np.array(["1970-01-01T12"], dtype="datetime64[h]"))
    assert old.grid.unit == "s" and [h.node_ids.tolist() for h in old] == [[1, 3, 5], [2, 4]]
    index["format"] = "graphs.TimeSlices 1"
    del index["slices"]
    index["nodes_hyperedges_incidences"] = [[1, 1, 1], [0, 0, 0], [1, 1, 1]]
    (tmp_path / "old" / "1.npz").rename(tmp_path / "old" / "2.npz")
    (tmp_path / "old" / "slices.json").write_text(json.dumps(index))  # and list the empty slices too
    assert [h.node_ids.tolist() for h in TimeSlices.load(tmp_path / "old")] == [[1], [], [2]]
    index["grid"]["unit"] = "days"
    (tmp_path / "old" / "slices.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="unit must be one of s, ms, us, ns, got 'days'"):
        TimeSlices.load(tmp_path / "old")
