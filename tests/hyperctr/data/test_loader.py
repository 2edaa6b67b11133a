"""Histories, counts and drawn negatives against slow loops over a random log full of equal times."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.data.lookup import SeenPairs, repeated

USERS, ITEMS, ROWS = 9, 14, 240


def random_log(seed=0, logged=True):
    """Sixty distinct times for 240 rows; the context column holds the row's own number."""
    rng = np.random.default_rng(seed)
    return Interactions(
        user=rng.integers(USERS, size=ROWS),
        item=rng.integers(ITEMS, size=ROWS),
        time=1000 + np.sort(rng.integers(60, size=ROWS)),
        label=rng.random(ROWS) < 0.6,
        num_users=USERS,
        num_items=ITEMS,
        type=rng.integers(1, 4, size=ROWS),
        context={"row": np.arange(ROWS)},
        logged_non_clicks=logged,
    )


def clicks_of(log, user, time):
    """(item, time, type) of the user's clicks strictly before `time`, oldest first."""
    found = []
    for k in range(len(log)):
        if log.user[k] == user and log.label[k] == 1 and log.time[k] < time:
            found.append((log.item[k], log.time[k], log.type[k]))
    return found


def count_before(log, item, time, clicks_only):
    return sum(
        log.item[k] == item and log.time[k] < time and (log.label[k] == 1 or not clicks_only) for k in range(len(log))
    )


def met(log, user, time):
    return {log.item[k] for k in range(len(log)) if log.user[k] == user and log.time[k] < time}


def assert_looks_back(batch, past, length):
    """Every row of the batch shows what a loop finds in `past`."""
    for b in range(len(batch)):
        user, item, time = int(batch.user[b]), int(batch.item[b]), int(batch.time[b])
        expected = clicks_of(past, user, time)[-length:]
        n = len(expected)
        query, histories = batch.query[b], batch.histories
        assert histories.mask[query].tolist() == [True] * n + [False] * (histories.mask.shape[1] - n)
        columns = (histories.item, histories.time, histories.type)
        assert [tuple(int(c[query, k]) for c in columns) for k in range(n)] == expected
        assert batch.clicks_before[b] == count_before(past, item, time, clicks_only=True)
        if past.logged_non_clicks:
            assert batch.shows_before[b] == count_before(past, item, time, clicks_only=False)


def same(a, b):
    pairs = [(getattr(a, field.name), getattr(b, field.name)) for field in fields(a)]
    return all(torch.equal(x, y) if torch.is_tensor(x) else same(x, y) if is_dataclass(x) else x is y for x, y in pairs)


@pytest.mark.parametrize("length", [1, 3, 100])
def test_history_and_counts_are_those_of_a_loop_over_earlier_rows(length):
    log = random_log()
    batch = Loader(log, length).batch(np.arange(ROWS))
    assert_looks_back(batch, log, length)
    for name in ("user", "item", "time"):
        assert getattr(batch, name).tolist() == getattr(log, name).tolist()
    assert batch.label.tolist() == log.label.tolist()


def test_clicks_of_the_same_second_and_non_clicks_are_no_history():
    log = Interactions([0, 0, 0, 0], [1, 2, 3, 4], [10, 20, 30, 30], [1, 0, 1, 1], 1, 5)
    batch = Loader(log).batch(np.arange(4))
    seen = [h[m].tolist() for h, m in zip(batch.histories.item, batch.histories.mask, strict=True)]
    assert seen == [[], [1], [1], [1]]


def test_rows_with_drawn_negatives_look_back_too():
    log = random_log(1, logged=False)
    for batch in Loader(log, 3).batches(log.clicks(), 32, negatives=2, seed=3, shuffle=True):
        assert_looks_back(batch, log, 3)
        assert batch.shows_before is None
        assert batch.context is None


def test_without_logged_non_clicks_there_are_no_shows():
    assert Loader(random_log(logged=False)).batch(np.arange(5)).shows_before is None
    assert Loader(random_log()).batch(np.arange(5)).shows_before is not None


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
def test_negatives_existed_before_and_were_not_met_before(draw):
    log = random_log(2, logged=False)
    rows = np.arange(ROWS)
    drawn = Loader(log).negatives(log.user, log.time, 6, np.random.default_rng(0), draw)
    missing = 0
    for k in rows:
        existed = {log.item[j] for j in rows if log.time[j] < log.time[k] and (draw == "uniform" or log.label[j])}
        free = existed - met(log, log.user[k], log.time[k])
        assert set(drawn[k]) <= free | {-1}
        if -1 in drawn[k]:
            missing += 1
            assert len(free) <= 2  # fifty tries fail only where next to nothing is left
    assert 0 < missing < ROWS / 2


def test_negatives_are_drawn_uniformly():
    log = Interactions([0, 1, 1, 1, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4, 9], np.ones(5), 2, 5, logged_non_clicks=False)
    drawn = Loader(log).negatives(np.zeros(3000, int), np.full(3000, 9), 1, np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=5)
    assert counts[0] == counts[4] == 0  # met by the user; first seen at the very moment
    assert abs(counts[1:4] - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)


def test_popular_negatives_are_drawn_as_often_as_they_were_clicked_before():
    item = [0, *[1] * 6, *[2] * 3, 3, 3, *[4] * 9, *[3] * 9]
    time = [*range(1, 13), *[12] * 9, *[20] * 9]  # before 12: item 1 six times, 2 three times, 3 once; item 4 at 12
    label = [*[1] * 11, 0, *[1] * 18]
    log = Interactions([0, *[1] * 29], item, time, label, 2, 5, logged_non_clicks=False)
    drawn = Loader(log).negatives(np.zeros(500, int), np.full(500, 12), 8, np.random.default_rng(0), "popularity")
    counts = np.bincount(drawn.ravel(), minlength=5)
    assert counts[0] == counts[4] == 0  # met by the user; clicked from the very moment on
    share = np.array([6, 3, 1]) / 10
    assert (abs(counts[1:4] - 4000 * share) < 5 * np.sqrt(4000 * share * (1 - share))).all()


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
def test_what_happens_later_moves_no_negative(draw):
    log = random_log(10, logged=False)
    cut = ROWS // 2
    at = log.time[cut]
    early = np.flatnonzero(log.time <= at)
    changed = replace(log, item=np.where(log.time >= at, log.item[::-1], log.item), label=np.r_[log.label[:-1], 1])
    changed = changed.take(np.arange(ROWS - 20))

    def drawn(log, rows):
        return Loader(log).negatives(log.user[rows], log.time[rows], 20, np.random.default_rng(0), draw)

    assert np.array_equal(drawn(log, early), drawn(changed, early))
    late = np.arange(ROWS - 40, ROWS - 20)
    assert not np.array_equal(drawn(log, late), drawn(changed, late))


def test_met_negatives_are_any_items_that_existed_but_the_rows_own():
    log, rows = random_log(2, logged=False), np.arange(ROWS)
    loader = Loader(log, met=True)
    drawn = loader.negatives(log.user, log.time, 60, np.random.default_rng(0), item=log.item)
    for k in rows:
        existed = {log.item[j] for j in rows if log.time[j] < log.time[k]} - {log.item[k]}
        assert set(drawn[k]) <= (existed or {-1})
        assert -1 not in drawn[k] or not existed
    assert any(set(drawn[k]) & met(log, log.user[k], log.time[k]) for k in rows)
    flat = drawn[-1]
    assert len(set(flat)) > 3 and loader.negatives(log.user[-1:], log.time[-1:], 9, np.random.default_rng(0)).min() >= 0


def test_the_items_that_appear_next_are_those_of_a_loop():
    log = random_log(11, logged=False)
    loader = Loader(log)
    first = {int(i): int(log.time[log.item == i].min()) for i in np.unique(log.item)}
    new = loader.is_first(log.item, log.time)
    assert new.tolist() == [first[i] >= t for i, t in zip(log.item.tolist(), log.time.tolist(), strict=True)]
    found = loader.as_new(log.item[new], log.time[new], 4)
    for item, time, got in zip(log.item[new].tolist(), log.time[new].tolist(), found.tolist(), strict=True):
        after = sorted(t for i, t in first.items() if t >= time and i != item)[:4]
        assert [first[i] for i in got if i >= 0] == after and item not in got
        assert got == sorted(got, key=lambda i: i < 0)  # those that do not exist come last
    assert (found == -1).any() and (found >= 0).any()


def test_pairs_met_before_are_those_of_a_loop():
    log = random_log(12, logged=False)
    for loader in (Loader(log), Loader(log, known=log)):
        asked = loader.has_met(log.user.astype(np.int32), log.item.astype(np.int32), log.time)
        assert asked.tolist() == [log.item[k] in met(log, log.user[k], log.time[k]) for k in range(ROWS)]
    again = repeated(log.user, log.item, log.time)
    assert again.tolist() == asked.tolist() and 0 < again.sum() < ROWS
    order = np.random.default_rng(0).permutation(ROWS)
    assert repeated(log.user[order], log.item[order], log.time[order]).tolist() == again[order].tolist()


def test_meetings_are_told_apart_where_many_pairs_share_a_place():
    rng = np.random.default_rng(0)
    users, items = 50, 10**6 + 3
    user, item, time = rng.integers(users, size=400), rng.integers(items, size=400), rng.integers(100, size=400)
    user[:100], item[:100] = user[100:200], item[100:200]  # met twice
    meetings = SeenPairs(user, item, time, items)
    asked = [np.r_[user, rng.integers(users, size=5000)], np.r_[item, rng.integers(items, size=5000)]]
    when = rng.integers(101, size=5400)
    first = {}
    for u, i, t in zip(user.tolist(), item.tolist(), time.tolist(), strict=True):
        first[u, i] = min(t, first.get((u, i), t))
    pairs = zip(asked[0].tolist(), asked[1].tolist(), when.tolist(), strict=True)
    expected = [k for k, (u, i, t) in enumerate(pairs) if first.get((u, i), t) < t]
    assert meetings.find(*asked, when).tolist() == expected
    assert 100 < len(expected) < 400
    assert len(SeenPairs(user[:0], item[:0], time[:0], items).find(user, item, time)) == 0


def test_negatives_that_do_not_exist_are_left_out():
    # user 0 has met all of items 0, 1, 2 when the last row comes; nothing at all existed before the first
    log = Interactions([0, 0, 0, 0], [0, 1, 2, 0], [1, 2, 3, 4], np.ones(4), 1, 3, logged_non_clicks=False)
    batch = Loader(log).batch(np.arange(4), negatives=3)
    assert batch.item.tolist() == [0, 1, 2, 0]
    assert batch.query.tolist() == [0, 1, 2, 3]
    assert batch.label.tolist() == [1, 1, 1, 1]


def test_negatives_follow_their_row_with_label_0():
    log = random_log(3, logged=False)
    rows = log.clicks()[-20:]
    batch = Loader(log).batch(rows, negatives=2, rng=np.random.default_rng(1))
    assert batch.user.tolist() == log.user[rows][batch.query].tolist()
    assert batch.time.tolist() == log.time[rows][batch.query].tolist()
    first = batch.query_row.tolist()
    assert batch.item[first].tolist() == log.item[rows].tolist()
    assert torch.nonzero(batch.label == 1).squeeze(1).tolist() == first
    assert len(batch) > 40


def test_conversions_stand_beside_their_rows_and_are_unknown_of_drawn_negatives():
    log = replace(random_log(logged=False), conversion=np.arange(ROWS, dtype=np.float32) / ROWS)
    rows = log.clicks()[50:70]
    plain, drawn = Loader(log).batch(rows), Loader(log).batch(rows, negatives=2)
    assert plain.conversion.tolist() == log.conversion[rows].tolist()
    clicked = drawn.label == 1
    assert drawn.conversion[clicked].tolist() == log.conversion[rows].tolist()
    assert drawn.conversion[~clicked].isnan().all() and len(drawn.conversion) == len(drawn)
    assert Loader(random_log()).batch(rows).conversion is None


def test_query_row_names_one_row_of_each_query():
    log = random_log(4, logged=False)
    for batch in Loader(log, 5).batches(log.clicks(), 16, negatives=3, shuffle=True):
        assert batch.query[batch.query_row].tolist() == list(range(len(batch.query_row)))
        shared = batch.query_row[batch.query]
        for name in ("user", "time"):
            column = getattr(batch, name)
            assert torch.equal(column, column[shared])


@pytest.mark.parametrize("negatives", [0, 2])
def test_the_same_seed_repeats_the_batches_and_another_does_not(negatives):
    log = random_log(5, logged=False)

    def epoch(seed):
        return list(Loader(log, 4).batches(log.clicks(), 16, negatives, seed, shuffle=True))

    again = zip(epoch((7, 1)), epoch((7, 1)), strict=True)
    assert all(same(a, b) for a, b in again)
    assert not all(same(a, b) for a, b in zip(epoch((7, 1)), epoch((7, 2)), strict=True))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_row_comes_once_an_epoch_and_groups_never_mix(shuffle, grouped, size):
    log = random_log(6)
    rows = np.random.default_rng(0).permutation(ROWS)[:100]
    group = np.full(ROWS, -1)
    group[rows] = rows % 5
    batches = list(Loader(log).batches(rows, size, shuffle=shuffle, group=group[rows] if grouped else None))
    seen = [batch.context.codes[:, 0].tolist() for batch in batches]
    assert sorted(sum(seen, [])) == sorted(rows.tolist())
    assert max(map(len, seen)) <= size
    assert (sum(seen, []) == rows.tolist()) == (not shuffle and not grouped)
    if grouped:
        assert all(len(set(group[part])) == 1 for part in seen)


def test_batches_of_one_group_come_in_runs():
    log, rows = random_log(6), np.arange(ROWS)
    group = rows % 3
    of_group = {row: row % 3 for row in rows.tolist()}

    def epoch(run):
        batches = Loader(log).batches(rows, 7, seed=1, shuffle=True, group=group, per_group=run)
        return [(batch.context.codes[:, 0].tolist(), batch.closes_group) for batch in batches]

    one, four = epoch(1), epoch(4)
    assert all(last for _, last in one)
    assert sorted(map(sorted, (part for part, _ in one))) == sorted(map(sorted, (part for part, _ in four)))
    runs, begun = [], []
    for part, last in four:
        begun.append(of_group[part[0]])
        if last:
            runs.append(begun)
            begun = []
    assert not begun
    assert all(len(set(run)) == 1 for run in runs)
    # 80 rows a group are 12 batches of 7, the last of 3: three runs of four
    assert [len(run) for run in runs] == [4] * 9
    order = [run[0] for run in runs]
    assert order != sorted(order)  # runs are shuffled
    ends = list(Loader(log).batches(rows, 50, group=np.zeros(ROWS), per_group=3))
    assert [batch.closes_group for batch in ends] == [False, False, True, False, True]


def test_no_rows_make_no_batches():
    assert list(Loader(random_log()).batches(np.empty(0, np.int64), 8)) == []


def test_leaky_history_and_counts_come_from_the_known_rows_alone():
    log = random_log(7)
    known = np.sort(np.random.default_rng(0).permutation(ROWS)[: ROWS // 2])
    batch = Loader(log, 4, known=log.take(known)).batch(np.arange(ROWS))
    assert_looks_back(batch, log.take(known), 4)


def test_leaky_negatives_were_never_met_not_even_later():
    log = random_log(8, logged=False)
    loader = Loader(log, known=log.take(np.arange(0, ROWS, 2)))
    drawn = loader.negatives(log.user, log.time, 4, np.random.default_rng(0))
    for k in range(ROWS):
        assert not set(drawn[k]) & met(log, log.user[k], 10**9)
    assert (drawn[log.time == log.time.min()] >= 0).any()  # items of later days are there from the start
    clicked = log.item[::2][log.label[::2] == 1]
    drawn = loader.negatives(log.user[:3], log.time[:3], 200, np.random.default_rng(0), "popularity")
    for k in range(3):
        assert set(drawn[k]) - {-1} == set(clicked) - met(log, log.user[k], 10**9)


def test_unknown_users_and_items_have_no_past():
    log = random_log(9)
    batch = Loader(log).make_batch(
        np.array([USERS, 0]), np.array([0, ITEMS]), np.full(2, 10**7), np.zeros(2), np.arange(2)
    )
    assert not batch.histories.mask[0].any()
    assert batch.histories.mask[1].sum() == len(clicks_of(log, 0, 10**7))
    assert batch.clicks_before.tolist() == [count_before(log, 0, 10**7, True), 0]
    assert batch.shows_before.tolist() == [count_before(log, 0, 10**7, False), 0]


def test_a_log_without_clicks_gives_empty_histories():
    log = Interactions([0, 1], [0, 1], [1, 2], [0, 0], 2, 2)
    batch = Loader(log).batch(np.arange(2))
    assert batch.histories.item.shape == batch.histories.mask.shape == (2, 1)
    assert not batch.histories.mask.any()
    assert batch.clicks_before.tolist() == [0, 0]


def test_a_history_shorter_than_one_is_refused():
    with pytest.raises(ValueError, match="at least one click long, got 0"):
        Loader(random_log(), 0)
