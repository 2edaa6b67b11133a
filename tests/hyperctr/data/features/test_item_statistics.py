"""Statistics of items against loops over the events before a slice, and levels that hold as many values each."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs import TimeGrid
from hyperctr.batch import LEVELS
from hyperctr.data.features import item_statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader

USERS, ITEMS, ROWS, DAY = 7, 11, 300, 86_400


def random_log(logged=True, seed=0):
    """Ten days with many equal times; items 9 and 10 come late or never."""
    rng = np.random.default_rng(seed)
    time = 1_000_000 * DAY + np.sort(rng.integers(40, size=ROWS)) * DAY // 4
    item = rng.integers(9, size=ROWS)
    item[-5:] = 9
    return Interactions(rng.integers(USERS, size=ROWS), item, time, rng.random(ROWS) < 0.4, USERS, ITEMS,
                        logged_non_clicks=logged)  # fmt: skip


def slow(log, item, moment):
    """clicks, recency, shows and click rate of an item from the rows strictly before the moment; None: not known."""
    rows = [k for k in range(len(log)) if log.item[k] == item and log.time[k] < moment]
    clicks = [k for k in rows if log.label[k] == 1]
    recency = moment - log.time[clicks[-1]] if clicks else None
    known = bool(rows) if log.logged_non_clicks else bool(clicks)
    found = [len(clicks) if known else None, recency]
    return found + ([len(rows) or None, len(clicks) / len(rows) if rows else None] if log.logged_non_clicks else [])


@pytest.mark.parametrize("logged", [True, False])
def test_statistics_are_those_of_a_loop_over_earlier_rows(logged):
    log = random_log(logged)
    moments = log.time[0] + np.array([0, 1, 3 * DAY // 4, 2 * DAY, 5 * DAY, 30 * DAY])
    names = item_statistics.names(log)
    assert names == (("clicks", "recency", "shows", "click_rate") if logged else ("clicks", "recency"))
    for moment, found in zip(moments, item_statistics.numbers(log, moments), strict=True):
        expected = [[np.nan if x is None else x for x in slow(log, item, moment)] for item in range(ITEMS)]
        np.testing.assert_allclose(found, np.array(expected, float))


@pytest.mark.parametrize("values", [np.arange(1000.0), np.random.default_rng(0).standard_normal(5000) ** 3])
def test_each_level_holds_a_hundredth_and_each_ten_of_them_a_tenth(values):
    level = np.searchsorted(item_statistics.edges(values), values, side="left")
    assert level.min() == 0 and level.max() == LEVELS - 1
    assert set(np.bincount(level)) == {len(values) // 100}
    assert set(np.bincount(level // 10)) == {len(values) // 10}


def test_ten_levels_are_the_edges_of_ten_whatever_the_ties():
    values = np.random.default_rng(1).poisson(2.0, 3000).astype(float)
    tenths = np.sort(values)[[300 * k - 1 for k in range(1, 10)]]
    level = np.searchsorted(item_statistics.edges(values), values, side="left")
    assert (level // 10 == np.searchsorted(tenths, values, side="left")).all()
    assert len(set(zip(values, level, strict=True))) == len(set(values))  # equal values share a level


def test_edges_of_nothing_are_zero():
    assert item_statistics.edges(np.full(4, np.nan)).tolist() == [0.0] * 99


def test_levels_are_those_of_the_slice_that_a_row_lies_in():
    log = random_log()
    grid = TimeGrid.cut(log.time[:200], every="2d")
    cuts = item_statistics.fit(log.take(np.arange(200)), grid)
    made = item_statistics.snapshots(log, grid, int(log.time[-1]), cuts)
    assert made.names == item_statistics.names(log) and len(made.level) == len(made.starts) + 1 == 6
    assert (made.level[0] == LEVELS).all() and (made.level[:, ITEMS] == LEVELS).all()
    assert (made.level[:, 10] == LEVELS).all()  # never met
    number = torch.bucketize(torch.from_numpy(log.time), made.starts, right=True)
    assert (number.numpy() == grid.slice_of(log.time) + 1).all()
    for k in range(0, len(log), 17):
        numbers = slow(log, log.item[k], grid.start(int(grid.slice_of(log.time[k : k + 1])[0])))
        levels = [LEVELS if x is None else int((cuts[j] < x).sum()) for j, x in enumerate(numbers)]
        assert made.level[number[k], log.item[k]].tolist() == levels


def test_a_row_before_all_slices_reads_no_history():
    log = random_log()
    grid = TimeGrid.cut(log.time[150:], every="2d")
    made = item_statistics.snapshots(log, grid, int(log.time[-1]), item_statistics.fit(log, grid))
    assert torch.bucketize(torch.from_numpy(log.time[:1]), made.starts, right=True).item() == 0
    assert (made.level[1, :9] < LEVELS).any()  # while the first slice knows of what came before it


def test_later_events_move_no_earlier_statistic():
    log = random_log()
    grid = TimeGrid.cut(log.time[:200], every="1d")
    cuts = item_statistics.fit(log.take(np.arange(200)), grid)
    before = item_statistics.snapshots(log, grid, int(log.time[-1]), cuts)
    n = 6
    later = log.time >= grid.start(n)
    changed = replace(log, item=np.where(later, log.item[::-1], log.item), label=np.where(later, 1, log.label))
    after = item_statistics.snapshots(changed, grid, int(log.time[-1]), cuts)
    assert torch.equal(before.level[: n + 2], after.level[: n + 2])  # slice n reads what was before it
    assert not torch.equal(before.level[n + 2 :], after.level[n + 2 :])


def test_an_event_at_the_start_of_a_slice_is_not_before_it():
    log = Interactions([0, 0], [3, 3], [0, DAY], [1, 1], 1, ITEMS)
    grid = TimeGrid.cut(log.time, every="1d")
    (_, before, _) = (x[3, 0] for x in item_statistics.numbers(log, np.array([0, DAY, DAY + 1])))
    assert before == 1
    made = item_statistics.snapshots(log, grid, DAY, np.array([np.full(99, 1.5)] * 4))
    assert made.level[:, 3, 0].tolist() == [LEVELS, LEVELS, 0]


def test_slices_go_on_to_the_moment_asked_for():
    log = random_log()
    grid = TimeGrid.cut(log.time[:100], every="1d")
    cuts = item_statistics.fit(log, grid)
    assert len(item_statistics.snapshots(log, grid, grid.start(20), cuts).starts) == 21
    assert len(item_statistics.snapshots(log, grid, grid.start(20) - 1, cuts).starts) == 20
    counted = TimeGrid.cut(log.time, count=4)
    assert item_statistics.snapshots(log, counted, 10**12, cuts).starts.tolist() == list(counted.edges)


def test_a_large_catalogue_is_fitted_on_a_part_of_its_items(monkeypatch):
    log, grid = random_log(), TimeGrid.cut(random_log().time, every="2d")
    monkeypatch.setattr(item_statistics, "FITTED", len(grid) * ITEMS // 4)
    found = item_statistics.fit(log, grid)
    values = np.concatenate([x[::4, 0] for x in item_statistics.numbers(log, grid.starts())])
    assert found[0].tolist() == item_statistics.edges(values).tolist()


def test_ages_are_those_of_the_training_rows_own_histories():
    log = random_log()
    loader, rows = Loader(log, 5), np.arange(0, 200, 3)
    expected = []
    for k in rows:
        own = [t for u, t, y in zip(log.user, log.time, log.label, strict=True) if u == log.user[k] and y == 1]
        expected += [log.time[k] - t for t in own if t < log.time[k]][-5:]
    assert (
        item_statistics.ages(loader, rows).tolist()
        == item_statistics.edges(np.array(expected, float)).astype(int).tolist()
    )
    assert item_statistics.ages(loader, rows[:0]).tolist() == [0] * 99


def test_where_most_slices_are_empty_those_with_rows_and_the_next_have_a_snapshot():
    far = 72_000 * DAY
    log = Interactions([0, 1, 0], [3, 3, 5], [0, DAY, far], [1, 1, 1], 2, ITEMS)
    grid = TimeGrid.cut(log.time, every="1d")
    cuts = item_statistics.fit(log, grid)
    made = item_statistics.snapshots(log, grid, far + 1, cuts)
    assert made.starts.tolist() == [0, DAY, 2 * DAY, far]
    assert (made.level[:, 3, 0] == 100).tolist() == [True, True, False, False, False]  # item 3 has clicks from day 1 on
    whole = item_statistics.snapshots(log, grid, far + 1, cuts, np.arange(72_001) * DAY)
    assert len(whole.starts) == 72_001
    rows = torch.tensor([0, DAY, far])  # read the same
    at, other = (torch.bucketize(rows, x.starts, right=True) for x in (made, whole))
    assert torch.equal(made.level[at], whole.level[other])
