"""Time slices in a folder: built out of core, opened lazily, saved again, never half there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphs import Hypergraph, TimeGrid, TimeSlices
from graphs.slices import folder

DAY = 86400


def draw(kind: str = "int64") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """500 rows of six days, the third without any."""
    rng = np.random.default_rng(0)
    nodes, hyperedges, times = rng.integers(0, 30, 500), rng.integers(0, 12, 500), rng.integers(0, 6 * DAY, 500)
    times[times // DAY == 2] = 0
    if kind == "strings":
        return np.array([f"n{n}" for n in range(30)])[nodes], np.array([f"e{n}" for n in range(12)])[hyperedges], times
    return nodes.astype(kind), hyperedges.astype(kind), times


def batches(rows, size: int):
    return (tuple(column[at : at + size] for column in rows) for at in range(0, len(rows[0]), size))


def assert_equal(a: TimeSlices, b: TimeSlices) -> None:
    assert a.grid == b.grid and len(a) == len(b)
    assert all(left.equals(right) for left, right in zip(a, b, strict=True))
    assert a.describe() == b.describe() and repr(a) == repr(b)


@pytest.mark.parametrize("held", [1, 64, 10**6])
@pytest.mark.parametrize("kind", ["int64", "int32", "strings"])
@pytest.mark.parametrize("order", ["in time", "shuffled"])
def test_batches_equal_all_rows_at_once(tmp_path, monkeypatch, held, kind, order):
    monkeypatch.setattr(folder, "HELD", held)
    rows = draw(kind)
    rows = tuple(column[np.argsort(rows[2], kind="stable")] for column in rows) if order == "in time" else rows
    whole = TimeSlices.cut(*rows, every="1d", origin=0)
    built = TimeSlices.from_batches(whole.grid, batches(rows, 70), tmp_path / "daily")
    assert_equal(built, whole)
    assert sorted(os.listdir(tmp_path)) == ["daily"]
    assert sorted(os.listdir(tmp_path / "daily")) == ["0.npz", "1.npz", "3.npz", "4.npz", "5.npz", "slices.json"]


def test_slices_past_the_grid_and_quantiles_are_built_too(tmp_path):
    rows = draw()
    short = TimeGrid.cut([0, DAY], every="1d")
    assert len(TimeSlices.from_batches(short, batches(rows, 99), tmp_path / "a")) == 6
    quantiles = TimeSlices.cut(*rows, count=4)
    assert_equal(TimeSlices.from_batches(quantiles.grid, batches(rows, 99), tmp_path / "b"), quantiles)


def test_no_batches_make_empty_slices(tmp_path):
    slices = TimeSlices.from_batches(TimeGrid.cut([0, DAY], every="1d"), [], tmp_path / "none")
    assert [h.num_nodes for h in slices] == [0, 0]
    slices.append([1], [2], [DAY])
    assert [h.num_nodes for h in slices] == [0, 1]


def test_a_batch_may_reuse_its_arrays(tmp_path):
    """As a reader does that fills one buffer again and again."""
    buffer = np.empty((3, 4), dtype=np.int64)

    def read():
        for n in range(5):
            buffer.T[:] = n, n + 10, n * DAY
            yield buffer

    slices = TimeSlices.from_batches(TimeGrid.cut([0], every="1d"), read(), tmp_path / "daily")
    assert [h.node_ids.tolist() for h in slices] == [[0], [1], [2], [3], [4]]


def test_a_folder_is_read_when_it_is_asked_for(tmp_path, monkeypatch):
    slices = TimeSlices.cut(*draw(), every="1d", origin=0)
    slices.save(tmp_path / "daily")
    loaded = TimeSlices.load(tmp_path / "daily")
    assert_equal(loaded, slices)
    read = []
    load = Hypergraph.load
    monkeypatch.setattr(Hypergraph, "load", lambda path: read.append(path.name) or load(path))
    assert len(loaded) == 6 and repr(loaded) == repr(slices) and read == []
    assert loaded[3].equals(slices[3]) and loaded[-1].equals(slices[5]) and read == ["3.npz", "5.npz"]


def test_a_folder_can_be_loaded_appended_to_and_saved_again(tmp_path):
    rows, path = draw(), tmp_path / "daily"
    TimeSlices(TimeGrid.cut([0], every="1d"), *rows).save(path)
    old = {n: (path / f"{n}.npz").stat().st_ino for n in (0, 1, 3, 4, 5)}
    slices = TimeSlices.load(path)
    more = [3, 99, 4], [7, 99, 1], [3 * DAY, 3 * DAY, 8 * DAY]
    slices.append(*more)
    slices.save(path)
    whole = TimeSlices(slices.grid, *(np.concatenate(columns) for columns in zip(rows, more, strict=True)))
    for again in (slices, TimeSlices.load(path)):
        assert_equal(again, whole)
    same = [n for n, number in old.items() if (path / f"{n}.npz").stat().st_ino == number]
    assert same == [0, 1, 4, 5] and os.listdir(tmp_path) == ["daily"]  # only slice 3 was written again


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (([1, 2], [3], [0, 0]), r"batch 1: there are 2 times, so 2 hyperedge ids, got shape \[1\]"),
        (([0.5], [3], [0]), "batch 1: node ids must be integers or strings, got float64"),
        (([1], [3], [0.5]), "batch 1: times must be whole seconds .* got float64"),
        (([1], [3], [-5]), "batch 1: 1 of 1 times are before the origin 0: -5"),
        (
            ([1], ["a"], [5]),
            "batch 1: node and hyperedge ids have been integers and integers so far, got integers and st",
        ),
        (([1], [3], [1_600_000_000_000]), "batch 1: .*milliseconds"),
        (([1], [3]), r"batch 1: not enough values to unpack \(expected 3, got 2\)"),
        (7, "batch 1: .*int"),
    ],
)
def test_a_bad_batch_is_named_and_leaves_nothing(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        TimeSlices.from_batches(TimeGrid.cut([0], every="1d"), [([1], [2], [3]), bad], tmp_path / "daily")
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_reader_passes_and_leaves_nothing(tmp_path):
    def read():
        yield [1], [2], [3]
        raise OSError("the file ends early")

    with pytest.raises(OSError, match="ends early"):
        TimeSlices.from_batches(TimeGrid.cut([0], every="1d"), read(), tmp_path / "daily")
    assert os.listdir(tmp_path) == []


KILLED = """
import os, signal, sys
from graphs import TimeGrid, TimeSlices
from graphs.slices import folder

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def read():
    yield [1, 5], [2, 2], [3, 90000]
    if sys.argv[2] == "a batch":
        die()

folder.write_index = die
TimeSlices.from_batches(TimeGrid.cut([0], every="1d"), read(), sys.argv[1])
"""


@pytest.mark.parametrize(("moment", "there"), [("a batch", False), ("the index", False), ("the index", True)])
def test_a_killed_build_leaves_the_old_folder_or_none(tmp_path, moment, there):
    grid, path = TimeGrid.cut([0], every="1d"), tmp_path / "daily"
    if there:
        TimeSlices(grid, [1], [2], [3]).save(path)
    root = str(Path(folder.__file__).parents[2])
    command = [sys.executable, "-c", KILLED, str(path), moment]
    assert subprocess.run(command, env=os.environ | {"PYTHONPATH": root}).returncode == -signal.SIGKILL
    assert path.exists() == there and len([name for name in os.listdir(tmp_path) if name[0] == "."]) == 1
    if there:
        assert len(TimeSlices.load(path)) == 1
    assert len(TimeSlices.from_batches(grid, [([1], [2], [5 * DAY])], path)) == 6


def test_a_failed_save_leaves_the_old_folder(tmp_path, monkeypatch):
    slices = TimeSlices.cut(*draw(), every="1d", origin=0)
    slices.save(tmp_path / "daily")
    monkeypatch.setattr(folder, "write_index", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TimeSlices(slices.grid, [1], [1], [1]).save(tmp_path / "daily")
    assert_equal(TimeSlices.load(tmp_path / "daily"), slices)
    assert os.listdir(tmp_path) == ["daily"]


def test_what_is_no_folder_of_slices_is_never_replaced(tmp_path):
    slices = TimeSlices.cut([1], [2], [3], every="1d")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.npz").write_text("mine")
    slices.save(tmp_path / "mixed")
    (tmp_path / "mixed" / "read.me").write_text("mine")
    for name, reason in (
        ("notes", "contains a.txt, which is no time slice"),
        ("file", "is no folder"),
        ("link", "is a link"),
        ("other", "contains no time slices"),
        ("mixed", "contains read.me"),
    ):
        for write in (slices.save, lambda path: TimeSlices.from_batches(slices.grid, [], path)):
            with pytest.raises(ValueError, match=f"is already there and {reason}.*; choose another folder or remove"):
                write(tmp_path / name)
    assert (tmp_path / "notes" / "a.txt").read_text() == (tmp_path / "other" / "1.npz").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    slices.save(tmp_path / "empty")
    slices.save(tmp_path / "new" / "deep")
    assert len(TimeSlices.load(tmp_path / "empty")) == len(TimeSlices.load(tmp_path / "new" / "deep")) == 1


def test_a_damaged_folder_is_said_to_be_one(tmp_path):
    slices, path = TimeSlices.cut(*draw(), every="1d", origin=0), tmp_path / "daily"
    slices.save(path)
    index = (path / "slices.json").read_text()
    wrong = [index.replace(a, b) for a, b in (("TimeSlices 2", "TimeSlices 9"), ('"1d"', '"1 day"'), ('"1d"', "[]"))]
    wrong += [re.sub(f'"{key}": ' + r"\d+", f'"{key}": {{}}', index) for key in ("num_slices", "origin")]
    for text in ("", "{}", "[]", *wrong):
        (path / "slices.json").write_text(text)
        with pytest.raises(ValueError, match="daily is not a folder of time slices that TimeSlices.save wrote"):
            TimeSlices.load(path)
    (path / "slices.json").write_text(index)
    loaded = TimeSlices.load(path)
    (path / "0.npz").write_bytes((path / "1.npz").read_bytes())
    with pytest.raises(ValueError, match="0.npz is Hypergraph.*which has changed since its folder was opened"):
        loaded[0]
    (path / "1.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="1.npz is not a hypergraph"):
        loaded[1]
    (path / "3.npz").unlink()
    with pytest.raises(ValueError, match="it lacks 3.npz"):
        TimeSlices.load(path)
    with pytest.raises(ValueError, match="nothing is not a folder of time slices"):
        TimeSlices.load(tmp_path / "nothing")
