import numpy as np
import pytest

from hyperctr.data.interactions import Interactions, sorted_ties

TAB = {"context": {"tab": [1, 0, 1]}}


def table(**changed):
    """Users 0 and 1, items 0 to 2, at 10, 20 and 30 s."""
    columns = {"user": [0, 1, 0], "item": [2, 0, 1], "time": [10, 20, 30], "label": [1, 0, 1]}
    return Interactions(**{**columns, "num_users": 2, "num_items": 3, **changed})


def test_columns_have_their_kinds():
    log = table(conversion=[0.5, np.nan, 1], type=[0, 1, 0], **TAB)
    assert {column.dtype for column in (log.user, log.item, log.time, log.type, log.context["tab"].codes)} == {
        np.dtype(np.int64)
    }
    assert log.label.dtype == log.conversion.dtype == np.float32
    assert log.num_types == 2 and log.context["tab"].size == 2


def test_rows_are_sorted_by_time_and_ties_keep_their_order():
    log = table(time=[30, 20, 20], item=[0, 1, 2], conversion=[0, 0.5, 1], type=[0, 1, 2], **TAB)
    assert log.time.tolist() == [20, 20, 30]
    assert log.item.tolist() == [1, 2, 0]
    assert log.user.tolist() == [1, 0, 0]
    assert log.conversion.tolist() == [0.5, 1, 0]
    assert log.type.tolist() == [1, 2, 0]
    assert log.context["tab"].codes.tolist() == [0, 1, 1]


def test_upto_holds_only_strictly_earlier_rows_under_their_own_numbers():
    log = table(time=[10, 20, 20])
    assert len(log.upto(10)) == 0
    assert log.upto(20).time.tolist() == [10]
    assert log.upto(21).item.tolist() == log.item.tolist()
    assert (log.upto(20).num_users, log.upto(20).num_items) == (2, 3)


def test_in_order_sets_a_users_rows_of_one_time_a_microsecond_apart():
    log = Interactions([0, 0, 1, 0, 0, 1, 0], range(7), [5, 5, 5, 5, 6, 9, 100], np.ones(7), 2, 7).in_order()
    assert [(u, i, t) for u, i, t in zip(log.user.tolist(), log.item.tolist(), log.time.tolist(), strict=True)] == [
        (0, 0, 5), (1, 2, 5), (0, 1, 6), (0, 3, 7), (0, 4, 8), (1, 5, 9), (0, 6, 100)
    ]  # fmt: skip


def test_in_order_agrees_with_a_slow_loop_and_leaves_distinct_times_alone():
    rng = np.random.default_rng(0)
    time, user = np.sort(rng.integers(0, 30, 200)), rng.integers(0, 5, 200)
    log = Interactions(user, np.arange(200), time, np.ones(200), 5, 200)
    moved, wanted, last = log.in_order(), {}, {}
    for row in range(200):
        wanted[row] = last[user[row]] = max(int(time[row]), last.get(user[row], -1) + 1)
    assert {int(i): int(t) for i, t in zip(moved.item, moved.time, strict=True)} == wanted
    again = moved.in_order()
    assert np.array_equal(again.time, moved.time) and np.array_equal(again.item, moved.item)
    assert len(table().take([]).in_order()) == 0


def test_in_order_of_many_users_over_centuries_does_not_overflow():
    users, last = 3_000_000, 4_102_444_800_000_000  # the year 2100
    log = Interactions([0, users - 1, users - 1], [0, 1, 2], [-last, last, last], np.ones(3), users, 3).in_order()
    assert log.time.tolist() == [-last, last, last + 1]


def test_take_keeps_every_column():
    log = table(type=[0, 1, 0], num_types=4, **TAB).take(np.array([2, 0]))
    assert log.time.tolist() == [10, 30]
    assert log.context["tab"].codes.tolist() == [1, 1]
    assert log.num_types == 4
    assert table().take(np.array([False, True, False])).item.tolist() == [0]


def test_samples_are_all_rows_only_when_non_clicks_were_logged():
    assert table().samples().tolist() == [0, 1, 2]
    assert table(logged_non_clicks=False).samples().tolist() == [0, 2]
    assert table().clicks().tolist() == [0, 2]


def test_prints_itself_in_one_line():
    assert repr(table(time=[0, 86_400_000_000, 172_800_000_000])) == (
        "Interactions(3 rows, 2 clicks, 2 users, 3 items, 1970-01-01 to 1970-01-03)"
    )
    assert "order without times" in repr(table(has_time=False))


def test_no_rows_are_a_table():
    log = Interactions([], [], [], [], num_users=0, num_items=0)
    assert len(log) == len(log.upto(5)) == len(log.samples()) == 0
    assert "no rows" in repr(log)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item": [0, 1]}, "user has 3, item has 2"),
        ({"user": [0, 1, 2]}, r"user numbers must lie in \[0, 2\), got \[0, 2\]"),
        ({"item": [-1, 0, 1]}, r"item numbers must lie in \[0, 3\), got \[-1, 1\]"),
        ({"label": [1, 0, 0.5]}, "labels must be 0 or 1, got 0.5"),
        ({"label": [1, 0, np.nan]}, "labels must be 0 or 1, got nan"),
        ({"conversion": [0, 2, 0]}, r"conversions must lie in \[0, 1\]"),
        ({"length": [3, 0, np.nan]}, "lengths must be above 0, or be NaN where unknown"),
        ({"type": [0, 1, 2], "num_types": 2}, r"type numbers must lie in \[0, 2\)"),
        ({"context": {"tab": [1, 0]}}, "context column 'tab' must have 3 rows, got 2"),
        ({"context": {"tab": [0, -1, 1]}}, r"context column 'tab': categories must lie in \[0, 2\), got \[-1, 1\]"),
        ({"context": {"tab": [0.5, 1, 2]}}, "context column 'tab': categories must be whole numbers"),
    ],
)
def test_a_wrong_table_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        table(**changed)


def test_fractions_are_no_numbers_of_users():
    with pytest.raises(TypeError, match="user must be whole numbers, got float64"):
        table(user=[0.5, 1, 0])


def test_ties_in_sorted_order_are_told_from_ties_in_random_order():
    rng = np.random.default_rng(0)
    user, day, item = rng.integers(5, size=300), rng.integers(9, size=300), rng.integers(50, size=300)
    order = np.lexsort([item, day, user])
    for rows, low, high in ((order, 1, 1), (order[::-1], 0, 0), (rng.permutation(300), 0.4, 0.6)):
        log = Interactions(user[rows], item[rows], day[rows], np.ones(300), 5, 50)
        share, ascending = sorted_ties(log)
        pairs = [(u, d) for u, d in zip(user.tolist(), day.tolist(), strict=True)]
        assert share == pytest.approx(np.mean([pairs.count(pair) > 1 for pair in pairs]))
        assert low <= ascending <= high
    turned = sorted_ties(Interactions(user[order], item[order], day[order], np.ones(300), 5, 50), np.arange(50)[::-1])
    assert turned[1] == 0
    assert np.isnan(sorted_ties(Interactions([0], [0], [0], [1], 1, 1))[1])


def test_rows_that_are_history_alone_are_no_samples():
    log = table(time=[30, 20, 10], scored=[True, False, True])
    assert log.scored.tolist() == [True, False, True] and log.samples().tolist() == [0, 2]
    assert table(scored=[0, 1, 1], logged_non_clicks=False).samples().tolist() == [2]
    assert log.history_alone().tolist() == [1] and len(table().history_alone()) == 0
    assert log.take([1]).scored.tolist() == [False]
