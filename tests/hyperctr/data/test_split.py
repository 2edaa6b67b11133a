import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperctr.data.interactions import Interactions
from hyperctr.data.split import split


def log(time, label=None, user=None, **changed):
    n = len(time)
    label = np.arange(n) % 2 if label is None else label
    user = np.zeros(n, int) if user is None else np.asarray(user)
    return Interactions(user, np.zeros(n, int), time, label, int(user.max(initial=0)) + 1, 1, **changed)


def parts(s):
    return s.train.tolist(), s.valid.tolist(), s.test.tolist()


def test_temporal_cuts_at_seventy_and_ninety_percent():
    s = split(log(range(20)))
    assert parts(s) == (list(range(14)), [14, 15, 16, 17], [18, 19])
    assert not s.leaky
    assert repr(s) == "Split(temporal: train 14, valid 4, test 2)"


@pytest.mark.parametrize(
    ("times", "train", "length"),
    [
        ([0, 1, 2, 3, 4, 5, 5, 5, 6, 7], 0.7, 8),  # row 7 is the last of three ties: nearer to their end
        ([0, 1, 2, 3, 4, 5, 5, 5, 5, 9], 0.6, 5),  # row 6 is the second of four: nearer to their start
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.5, 5),
    ],
)
def test_equal_times_stay_on_one_side_of_a_cut_the_nearer_one(times, train, length):
    clicks = log(times, np.ones(len(times)), logged_non_clicks=False)
    assert split(clicks, train=train, valid=0.95 - train - 0.05).train.tolist() == list(range(length))


def test_cuts_count_only_clicks_when_non_clicks_are_no_samples():
    label = [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]  # ten clicks
    s = split(log(range(18), label, logged_non_clicks=False))
    assert parts(s) == ([0, 9, 10, 11, 12, 13, 14], [15, 16], [17])


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0.1, 0.8), st.floats(0.05, 0.19))
def test_temporal_parts_are_all_rows_in_order_of_time(times, train, valid):
    table = log(sorted(times), np.ones(len(times)), logged_non_clicks=False)
    try:
        s = split(table, train=train, valid=valid)
    except ValueError as error:
        assert "part of the temporal split has no rows" in str(error)
        return
    assert np.concatenate([s.train, s.valid, s.test]).tolist() == list(range(len(times)))
    assert table.time[s.train].max() < table.time[s.valid].min()
    assert table.time[s.valid].max() < table.time[s.test].min()


def test_leave_last_out_keeps_each_users_last_two_clicks():
    #      user 0: rows 0 2 3 6, user 1: rows 1 5 (too few), user 2: rows 4 7 8
    s = split(log(range(9), np.ones(9), [0, 1, 0, 0, 2, 1, 0, 2, 2], logged_non_clicks=False), "leave-last-out")
    assert parts(s) == ([0, 1, 2, 4, 5], [3, 7], [6, 8])
    assert s.leaky


def test_leave_last_out_moves_logged_non_clicks_with_the_next_click():
    #                          0  1  2  3  4  5  6  7    clicks at 1, 3, 5: everything after 3 belongs to test
    s = split(log(range(8), [0, 1, 0, 1, 0, 1, 0, 0]), "leave-last-out")
    assert parts(s) == ([0, 1], [2, 3], [4, 5, 6, 7])


def slow_leave_last_out(table):
    train, valid, test = [], [], []
    for row in range(len(table)):
        mine = [r for r in range(len(table)) if table.user[r] == table.user[row] and table.label[r] == 1]
        if len(mine) < 3 or row <= mine[-3]:
            train.append(row)
        else:
            (valid if row <= mine[-2] else test).append(row)
    return train, valid, test


def test_leave_last_out_agrees_with_a_slow_loop():
    rng = np.random.default_rng(0)
    table = log(np.sort(rng.integers(0, 50, 200)), rng.integers(0, 2, 200), rng.integers(0, 25, 200))
    assert parts(split(table, "leave-last-out")) == slow_leave_last_out(table)


def slow_leave_last_day_out(table):
    train, valid, test = [], [], []
    for row in range(len(table)):
        mine = [r for r in range(len(table)) if table.user[r] == table.user[row] and table.label[r] == 1]
        days = sorted({int(table.time[r]) // 86_400_000_000 for r in mine})
        if len(days) < 3 or table.time[row] // 86_400_000_000 <= days[-3]:
            train.append(row)
        else:
            (valid if table.time[row] // 86_400_000_000 <= days[-2] else test).append(row)
    return train, valid, test


def test_leave_last_day_out_keeps_baskets_together():
    day = 86_400_000_000
    #             user 0: two rows on days 0 and 1, three on day 3; user 1: two days alone
    times = [0, 5, day, day + 9, 3 * day, 3 * day, 4 * day - 1, 0, 9 * day]
    table = log(times, np.ones(9), [0] * 7 + [1] * 2, logged_non_clicks=False)
    s = split(table, "leave-last-day-out")
    assert [sorted(zip(table.user[rows], table.time[rows], strict=True)) for rows in (s.valid, s.test)] == [
        [(0, day), (0, day + 9)],
        [(0, 3 * day), (0, 3 * day), (0, 4 * day - 1)],
    ]
    assert len(s.train) == 4 and s.leaky


def test_leave_last_day_out_agrees_with_a_slow_loop():
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 9 * 86_400_000_000, 300))
    table = log(time, rng.integers(0, 2, 300), rng.integers(0, 25, 300))
    assert parts(split(table, "leave-last-day-out")) == slow_leave_last_day_out(table)


def test_random_is_seeded_leaky_and_seven_to_two_to_one():
    table = log(range(100))
    s, again, other = (split(table, "random", seed=seed) for seed in (3, 3, 4))
    assert [len(part) for part in (s.train, s.valid, s.test)] == [70, 20, 10]
    assert sorted(np.concatenate([s.train, s.valid, s.test])) == list(range(100))
    assert parts(s) == parts(again) != parts(other)
    assert all((np.diff(part) > 0).all() for part in (s.train, s.valid, s.test))
    assert s.leaky and "leaky" in repr(s)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (log(range(9)), {"kind": "by-week"}, "unknown split 'by-week'; choose one of temporal, leave-last-out, "),
        (log(range(9)), {"train": 0.8, "valid": 0.2}, "leave a test part, got 0.8 and 0.2"),
        (log(range(9)), {"train": 0}, "must be positive"),
        (log([]), {}, "there are no rows to split"),
        (log(range(9), np.zeros(9), logged_non_clicks=False), {}, "no clicks to split; the table has 9 rows"),
        (log([5] * 9), {}, r"part of the temporal split has no rows \(9 sample rows at 1 distinct time\)"),
        (log(range(3), np.ones(3), [0, 1, 2], logged_non_clicks=False), {"kind": "leave-last-out"}, "three clicks"),
        (log(range(9), has_time=False), {"kind": "leave-last-day-out"}, "without times have no days"),
        (log(range(9), np.ones(9), logged_non_clicks=False), {"kind": "leave-last-day-out"}, "clicks on three days"),
        (log(range(3), np.ones(3)), {"kind": "random", "train": 0.1, "valid": 0.8}, "train part .* use more rows"),
        (log(range(20), np.ones(20)), {}, "the train part has label 1, .*: every row is a click: .*unobserved"),
        (log(range(20), [0, 1] * 9 + [0, 0]), {}, "every row of the test part has label 0"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_is_refused(table, options, message):
    with pytest.raises(ValueError, match=message):
        split(table, **options)


def test_a_given_split_is_used_as_it_is_and_rows_without_a_part_are_in_none():
    s = split(log([1, 2, 3, 4, 5, 6, 7, 8], [1, 0, 1, 0, 1, 0, 1, 0], part=[0, -1, 0, 0, 1, 1, 2, 2]), "given")
    assert parts(s) == ([0, 2, 3], [4, 5], [6, 7])
    assert not s.leaky and s.note == ""


@pytest.mark.parametrize(
    ("part", "leaky"),
    [
        ([0, 0, 0, 1, 1, 2, 2], False),
        ([0, 0, 1, 0, 1, 2, 2], True),  # the fourth row is later than the third, a validation row
        ([0, 0, 0, 2, 2, 1, 1], True),  # the model would be chosen by rows after the test
        ([2, 2, 0, 0, 0, 1, 1], True),
    ],
)
def test_a_given_split_is_leaky_where_a_row_is_later_than_one_of_a_later_part(part, leaky):
    clicks = {"logged_non_clicks": False, "label": np.ones(7)}
    assert split(log(range(7), part=part, **clicks), "given").leaky is leaky
    assert split(log(range(7), part=part, has_time=False, **clicks), "given").leaky


def test_equal_times_on_both_sides_of_a_given_cut_are_not_later():
    assert not split(log([1, 2, 2, 2, 2, 3], part=[0, 0, 1, 1, 2, 2]), "given").leaky


def test_validation_rows_that_the_source_lacks_are_the_last_training_rows():
    table = log(range(12), part=[0] * 10 + [2, 2])
    s = split(table, "given", valid=0.2)
    assert parts(s) == (list(range(8)), [8, 9], [10, 11])
    assert s.note == "The source gives no validation rows: the last 0.2 of its training rows are for validation."
    drawn = split(log(range(12), part=[0] * 10 + [2, 2], has_time=False), "given", 0.5, 0.4, seed=1)
    assert len(drawn.valid) == 4 and drawn.test.tolist() == [10, 11] and "random 0.4" in drawn.note
    assert drawn.valid.tolist() != [6, 7, 8, 9]


def test_a_given_split_needs_one_and_its_three_parts():
    with pytest.raises(ValueError, match='needs the split of the source: a column .* split = "..." under'):
        split(log(range(9)), "given")
    with pytest.raises(ValueError, match='the test part of the given split has no rows .* kind "temporal"'):
        split(log(range(9), part=[0] * 7 + [1, 1]), "given")
    with pytest.raises(ValueError, match="part numbers must lie in"):
        log(range(2), part=[0, 3])


def test_parts_follow_one_another_where_there_are_no_times():
    table = log([0, 1, 2, 3, 4], [1, 1, 1, 0, 1], has_time=False, part=[2, 0, 1, 0, -1]).in_parts()
    assert table.part.tolist() == [0, 0, -1, 1, 2]
    assert table.label.tolist() == [1, 0, 1, 1, 1]
    assert (np.diff(table.time) > 0).all()


@pytest.mark.parametrize("kind", ["temporal", "random"])
def test_rows_that_are_history_alone_are_in_no_part(kind):
    s = split(log(np.arange(600), scored=np.arange(600) >= 200), kind)
    assert sorted(sum(parts(s), [])) == list(range(200, 600))


def test_click_rates_that_differ_are_said():
    click = np.append(np.arange(60) % 10 > 0, np.arange(40) % 4 == 0)
    said = split(log(np.arange(100), click), train=0.6, valid=0.2).note
    assert said.startswith("The click rates differ: 0.9 in training, 0.25 in validation, 0.25 in test.")
    assert split(log(np.arange(100))).note == ""
    assert split(log(np.arange(100), click, logged_non_clicks=False)).note == ""
