"""Numbers of the past against slow loops, and that nothing at or after a moment changes a bit of them."""

import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from graphs import TimeGrid, links
from hyperctr.data import lookup, planted, read
from hyperctr.data.clock import DAY, HOUR, MINUTE
from hyperctr.data.columns import Category, TagLists
from hyperctr.data.features.past.content import PastContent
from hyperctr.data.features.past.counts import Counts
from hyperctr.data.features.past.history import Latest
from hyperctr.data.features.past.links import KINDS, PastLinks, PastNearest
from hyperctr.data.features.past.moments import GAP, Moments
from hyperctr.data.features.past.numbers import AVERAGE, PastCounts
from hyperctr.data.features.past.scores import NormalScores
from hyperctr.data.features.past.sessions import PastSessions
from hyperctr.data.interactions import Interactions
from hyperctr.data.kinds import Kind
from hyperctr.data.row_columns import BatchRows

USERS, ITEMS, ROWS = 4, 5, 60
TAGS = ["a|b", "b", "", "a", "c|a|b"]
PERIODS = ("session", "day", "slice", "row")
WINDOWS = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}


def random_log(logged=True, seed=0, has_time=True):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 12 * 24 * 6, ROWS)) * 10 * MINUTE  # many ties and many short gaps, 12 days
    tab = Category.plain(rng.integers(0, 4, ROWS), size=4)  # 0 is missing
    label = (rng.random(ROWS) < 0.5).astype(np.float32)
    return Interactions(
        rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS), time, label, USERS, ITEMS,
        context={"tab": replace(tab, kind=Kind(of="moment"))}, logged_non_clicks=logged, has_time=has_time,
    )  # fmt: skip


def columns():
    return {"kind": Category.plain([1, 2, 0, 1, 2], size=3), "tag": TagLists.read(pl.Series(TAGS), Kind("tags"))}


def past_of(log, period="session", grid=None, crosses=None):
    grid = TimeGrid.cut([0], every="3d", unit="us") if grid is None else grid
    moments = Moments(period, log.user, log.time, log.num_users, grid)
    return PastCounts.of(log, log, {}, columns(), moments, crosses)


def linked(log, grid, kind="links"):
    clicks = log.take(log.clicks())
    return PastLinks.of(log, clicks, grid, Latest.of(clicks), kind)


def all_rows(log):
    at = np.arange(len(log))
    return BatchRows(log.user, log.time, log.item, at, at)


# --- look-ups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
def test_the_events_strictly_before_a_moment_are_found(plain, monkeypatch):
    monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
    rng = np.random.default_rng(1)
    key, time = rng.integers(0, 5, 80), rng.integers(0, 9, 80)
    index = lookup.PastIndex(key, time, 7)
    asked, moment = rng.integers(0, 12, 200), rng.integers(-1, 11, 200)
    count = [sum(k == a and s < t for k, s in zip(key, time, strict=True)) for a, t in zip(asked, moment, strict=True)]
    assert (index.end(asked, moment) - index.first(asked)).tolist() == count
    assert index.order.tolist() == sorted(range(80), key=lambda e: (key[e], time[e], e))
    by_time = np.argsort(time, kind="stable")
    again = lookup.PastIndex(key[by_time], time[by_time], 7)
    assert np.array_equal(by_time[again.order], index.order) and np.array_equal(again.firsts, index.firsts)
    assert lookup.PastIndex(key[:0], time[:0], 3).end(np.array([0, 9]), np.array([5, 5])).tolist() == [0, 0]


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
def test_a_decayed_sum_halves_every_half_life(plain, monkeypatch):
    monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
    rng = np.random.default_rng(2)
    key, time, value = rng.integers(0, 3, 50), rng.integers(0, 40, 50), rng.integers(0, 2, 50)
    index = lookup.PastIndex(key, time, 3)
    values = np.stack([value, 1 - value], 1)[index.order]
    both, one = np.full((50, 7), np.nan), np.empty((50, 1, 1))
    lookup.decayed(index, values, (4.0, 9.0), both[:, 2:6].reshape(50, 2, 2))
    lookup.decayed(index, values[:, 1:], (9.0,), one)
    assert np.array_equal(both[:, 5], one[:, 0, 0]) and np.isnan(both[:, [0, 1, 6]]).all()
    found = both[:, 2]
    for n, e in enumerate(index.order):
        events = [x for x in index.order[: n + 1] if key[x] == key[e]]
        assert found[n] == pytest.approx(sum(value[x] * 0.5 ** ((time[e] - time[x]) / 4.0) for x in events), rel=1e-12)
    lookup.decayed(lookup.PastIndex(key[:0], time[:0], 3), values[:0], (4.0,), np.empty((0, 2, 1)))
    lookup.decayed(index, values, (), np.empty((50, 2, 0)))


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
def test_counts_by_hand(plain, monkeypatch):
    monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
    clicked = np.array([True, False, True])
    counts = Counts(np.array([1, 1, 1]), np.array([0, 10, 10]), clicked, 3, (10.0,))
    found = counts.before(np.array([1, 1, 1, 0, -1, 9]), np.array([0, 10, 30, 30, 30, 30]))
    assert found.shows.tolist() == [0, 1, 3, 0, 0, 0] and found.clicks.tolist() == [0, 1, 2, 0, 0, 0]
    assert found.recent_shows[0].tolist() == [0, 0.5, (0.5 + 2) / 4, 0, 0, 0]
    assert found.recent_clicks[0].tolist() == [0, 0.5, (0.5 + 1) / 4, 0, 0, 0]
    none = [np.nan] * 3
    np.testing.assert_array_equal(found.since_last, [np.nan, 10, 20, *none])
    np.testing.assert_array_equal(found.since_first, [np.nan, 10, 30, *none])
    np.testing.assert_array_equal(found.since_click, [np.nan, 10, 20, *none])


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
def test_counts_of_nothing_are_zero(plain, monkeypatch):
    monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
    none = np.empty(0, np.int64)
    found = Counts(none, none, none == 1, 2, (5.0,)).before(np.array([0, 7]), np.array([1, 1]))
    assert found.shows.tolist() == found.clicks.tolist() == [0, 0] and found.recent_clicks.tolist() == [[0, 0]]
    assert np.isnan([found.since_last, found.since_first, found.since_click]).all()


# --- periods ---------------------------------------------------------------------------------------------------------


def slow_moment(period, log, grid, user, time):
    """Walk back from the row while the user's rows are at most half an hour apart."""
    if period == "row":
        return time
    if period == "day":
        return time - time % DAY
    if period == "slice":
        return grid.start(int(grid.slice_of(np.array([time]))[0]))
    at = time
    for u, t in sorted(zip(log.user, log.time, strict=True), key=lambda row: -row[1]):
        if u == user and t < time and at - t <= GAP:
            at = t
        elif u == user and t < time:
            break
    return at


def test_a_session_so_far_is_a_walk_back_over_the_users_rows():
    log = random_log(True)
    rows = np.arange(len(log))
    raw = PastSessions(Moments("session", log.user, log.time, log.num_users, None)).raw(
        BatchRows(log.user, log.time, log.item, rows, rows)
    )
    for k in rows:
        user, at = log.user[k], log.time[k]
        began = slow_moment("session", log, None, user, at)
        before = [t for u, t in zip(log.user, log.time, strict=True) if u == user and t < at]
        want = [math.log1p(sum(t >= began for t in before)), (at - max(before)) / HOUR if before else math.nan]
        np.testing.assert_allclose(raw[k], [*want, (at - began) / HOUR])
    stranger = BatchRows(np.array([log.num_users]), np.array([at]), np.array([0]), np.array([0]), np.array([-1]))
    fresh = PastSessions(Moments("session", log.user, log.time, log.num_users, None)).raw(stranger)
    np.testing.assert_array_equal(fresh, [[0.0, math.nan, 0.0]])


@pytest.mark.parametrize("period", PERIODS)
def test_the_start_of_a_period_is_found(period):
    log, grid = random_log(), TimeGrid.cut([0], every="3d", unit="us")
    rng = np.random.default_rng(3)
    user, time = rng.integers(0, USERS, 300), rng.integers(0, 13 * DAY, 300)
    user, time = np.append(user, log.user), np.append(time, log.time)
    found = Moments(period, log.user, log.time, USERS, grid).of(user, time)
    expected = [slow_moment(period, log, grid, u, t) for u, t in zip(user, time, strict=True)]
    assert found.tolist() == expected and (found <= time).all()


# --- numbers ---------------------------------------------------------------------------------------------------------


def tags_of(item):
    return [tag for tag in TAGS[item].split("|") if tag]


def keys_of(log, row, user, item):
    """Every key's values for a row, several for tags."""
    kind, tab = columns()["kind"].codes[item], log.context["tab"].codes[row] if row >= 0 else 0
    kinds, tabs = [kind] if kind else [], [tab] if tab else []
    return {
        "user": [user], "item": [item], "kind": kinds, "tag": tags_of(item), "tab": tabs, "user*item": [(user, item)],
        "user*kind": [(user, k) for k in kinds], "user*tag": [(user, t) for t in tags_of(item)],
        "item*tab": [(item, t) for t in tabs],
    }  # fmt: skip


def slow_numbers(log, period, grid, row, user, item, time):
    """All numbers of one row by loops over all events before it."""
    own = slow_moment(period, log, grid, user, time)
    logged = log.logged_non_clicks
    events = [e for e in range(len(log)) if logged or log.label[e] == 1]
    keys_at = {e: keys_of(log, e, log.user[e], log.item[e]) for e in events}
    found = {}

    def before(name, value, at):
        return [e for e in events if log.time[e] < at and (name == "all" or value in keys_at[e][name])]

    def sums(chosen, at, life=None):
        fade = [1.0 if life is None else 0.5 ** ((at - log.time[e]) / life) for e in chosen]
        return sum(fade), sum(f for f, e in zip(fade, chosen, strict=True) if log.label[e] == 1)

    def rate(chosen, at, life=None, base=None):
        (shows, clicks), (all_shows, all_clicks) = sums(chosen, at, life), sums(before("all", None, at), at, life)
        base = (all_clicks + 1) / (all_shows + 2) if base is None else base
        return (clicks + AVERAGE * base) / (shows + AVERAGE)

    def since(chosen, at, which):
        return (at - which(log.time[e] for e in chosen)) / HOUR if chosen else np.nan

    def last_click(chosen, at):
        return since([e for e in chosen if log.label[e] == 1], at, max)

    for name, values in keys_of(log, row, user, item).items():
        several = []
        for value in values:
            pair = name == "user*item"
            at = own if name.startswith("user") and not pair else time
            here, each = before(name, value, at), {}
            shows, clicks = sums(here, at)
            if pair:
                each = {"clicks": clicks, "since_click": last_click(here, at)}
                each |= {"not_clicked": shows - clicks, "since_last": since(here, at, max)} if logged else {}
            elif "*" in name:
                first, second = name.split("*")
                one = before(first, value[0], at)
                if logged:
                    base = rate(one, at)
                    each = {"shows": np.log1p(shows), "rate": rate(here, at, base=base)}
                else:
                    total = len(before("all", None, time))
                    base = (len(before(second, value[1], time)) + 1) / (total + 2)
                    each = {"clicks": np.log1p(clicks), "rate": (clicks + AVERAGE * base) / (len(one) + AVERAGE)}
                each["lift"] = each["rate"] - base
            else:
                each = {"shows": np.log1p(shows), "rate": rate(here, at)} if logged else {"clicks": np.log1p(clicks)}
                for window, life in WINDOWS.items():
                    if logged:
                        each[f"rate_{window}"] = rate(here, at, life)
                    elif name == "user":
                        each[f"clicks_{window}"] = np.log1p(sums(here, at, life)[1])
                for window, life in WINDOWS.items() if name != "user" else ():
                    at_row = before("all", None, time)
                    each[f"share_{window}"] = sums(here, at, life)[1] / (sums(at_row, time, life)[1] + 1)
                if name in ("user", "item"):
                    each |= {"since_last": since(here, at, max), "since_first": since(here, at, min)}
                    each |= {"since_click": last_click(here, at)} if logged else {}
            several.append(each)
        for what in several[0] if several else ():
            found[f"past.{name}.{what}"] = np.mean([each[what] for each in several])
    return found


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("logged", [True, False], ids=["rates", "shares"])
def test_every_number_is_a_loop_over_the_events_before(logged, period):
    log, grid = random_log(logged), TimeGrid.cut([0], every="3d", unit="us")
    past, rng = past_of(log, period, grid), np.random.default_rng(4)
    rows = rng.choice(ROWS, 10, replace=False)
    query = np.repeat(np.arange(10), 2)  # a row and another item in its place
    item = np.stack([log.item[rows], rng.integers(0, ITEMS, 10)], 1).ravel()
    found = past.raw(BatchRows(log.user[rows], log.time[rows], item, query, rows[query], drawn=True))
    assert found.dtype == np.float64 and len(past.names) == found.shape[1] == len(set(past.names))
    for b, q in enumerate(query):
        expected = slow_numbers(log, period, grid, rows[q], log.user[rows[q]], item[b], log.time[rows[q]])
        assert set(expected) <= set(past.names)
        for name, value in zip(past.names, found[b], strict=True):
            assert value == pytest.approx(expected.get(name, np.nan), rel=1e-9, abs=1e-12, nan_ok=True), name


def test_rows_outside_the_log_read_their_own_table():
    log = random_log()
    past = past_of(log)
    rows = all_rows(log)
    there = past.raw(rows)
    other = past.reading({"tab": log.context["tab"][np.arange(5)]})
    ahead = BatchRows(log.user[:5], log.time[:5], log.item[:5], np.arange(5), np.arange(5))
    np.testing.assert_array_equal(other.raw(ahead), there[:5])
    gone = past.reading({}).raw(rows)
    of_tab = [n for n, name in enumerate(past.names) if "tab" in name]
    assert np.isnan(gone[:, of_tab]).all()
    others = np.setdiff1d(np.arange(there.shape[1]), of_tab)
    np.testing.assert_array_equal(gone[:, others], there[:, others])


def test_users_and_items_that_are_not_known_have_no_past():
    log = random_log()
    past = past_of(log)
    found = past.raw(BatchRows(np.array([USERS]), log.time[-1:] + 1, np.array([ITEMS]), np.array([0]), np.array([-1])))
    by_name = dict(zip(past.names, found[0], strict=True))
    assert by_name["past.user.shows"] == by_name["past.item.shows"] == by_name["past.user*item.clicks"] == 0
    assert np.isnan([by_name["past.item.since_last"], by_name["past.kind.rate"], by_name["past.tag.rate"]]).all()


@pytest.mark.parametrize(
    ("crosses", "message"),
    [
        (("user*color",), r"data.crosses: 'user\*color' must be two of user, item, tab, kind, tag, such as user\*item"),
        (("user",), "'user' must be two of"),
        (("user*item*tab",), "must be two of"),
        (("tag*tab",), r"'tag\*tab' must have user or item on one side"),
    ],
)
def test_crosses_that_cannot_be_are_refused(crosses, message):
    with pytest.raises(ValueError, match=message):
        past_of(random_log(), crosses=crosses)


# --- time goes one way -----------------------------------------------------------------------------------------------


def moved(log, moment, seed=5):
    """Move every event at or after a moment to another user, item and label."""
    rng, late = np.random.default_rng(seed), log.time >= moment
    user, item, label = log.user.copy(), log.item.copy(), log.label.copy()
    user[late] = rng.integers(0, log.num_users, late.sum())
    item[late] = rng.integers(0, log.num_items, late.sum())
    label[late] = 1 - label[late] if log.logged_non_clicks else label[late]
    return replace(log, user=user, item=item, label=label)


def earlier_rows_stay(log, users, items, periods, every="3d", share=0.6, kinds=tuple(KINDS)):
    moment = log.time[int(share * len(log))]
    grid = TimeGrid.cut(log.time[:1], every=every, unit="us")
    other, rows = moved(log, moment), np.flatnonzero(log.time <= moment)
    assert len(rows) and not np.array_equal(other.user, log.user)
    rows = rows[-1_000:]
    asked = BatchRows(log.user[rows], log.time[rows], log.item[rows], np.arange(len(rows)), rows)
    vectors = np.random.default_rng(9).normal(size=(log.num_items, 4)).astype(np.float32)
    modality, made = ({"look": vectors}, {"look": np.ones(log.num_items, bool)}), []
    for made in (
        *(partial(linked, grid=grid, kind=kind) for kind in kinds),
        lambda one: PastSessions(Moments("session", one.user, one.time, one.num_users, None)),
        lambda one: PastContent.of(*modality, Latest.of(one.take(one.clicks()))),
    ):
        np.testing.assert_array_equal(*(made(one).raw(asked) for one in (log, other)))
    for period in periods:
        raw = []
        for one in (log, other):
            moments = Moments(period, one.user, one.time, one.num_users, grid)
            raw.append(PastCounts.of(one, one, users, items, moments).raw(asked))
        np.testing.assert_array_equal(*raw)  # every bit


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
@pytest.mark.parametrize("logged", [True, False], ids=["rates", "shares"])
def test_what_happens_later_changes_no_bit(logged, plain, monkeypatch):
    monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
    earlier_rows_stay(random_log(logged), {}, columns(), PERIODS)


def test_what_happens_later_changes_no_bit_in_a_planted_world(tmp_path):
    data = read.read(planted.write("drift", tmp_path / "world", scale=0.1))
    earlier_rows_stay(data.interactions, data.users.fields, data.items.fields, PERIODS, "30d")


@pytest.mark.parametrize("name", ["ml-100k", "kuairand-demo", "lt4rec-sample"])
def test_what_happens_later_changes_no_bit_in_real_data(name):
    home = Path(os.environ.get("HYPERCTR_DATA", Path(__file__).parents[5] / "shared" / "data"))
    if not (home / name).exists():
        pytest.skip(f"no {name}: set HYPERCTR_DATA to a folder of public sets")
    data = read.read(home / name)
    periods = PERIODS if data.interactions.has_time else ("slice", "row")
    earlier_rows_stay(data.interactions, data.users.fields, data.items.fields, periods, "30d", kinds=("links",))


def test_a_log_without_times_counts_steps():
    log = replace(random_log(has_time=False), time=np.arange(ROWS))
    past = past_of(log, "row")
    assert "past.item.rate_10k" in past.names
    found = dict(zip(past.names, past.raw(all_rows(log)).T, strict=True))["past.item.since_last"]
    last = {}
    for row, item in enumerate(log.item):
        assert found[row] == pytest.approx(row - last.get(item, np.nan), nan_ok=True)
        last[item] = row


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_are_those_of_the_clicks_before_the_slice_read_at_the_clicks_before_the_row():
    log, grid = random_log(), TimeGrid.cut([0], every="3d", unit="us")
    past, rng = linked(log, grid), np.random.default_rng(7)
    rows = rng.choice(ROWS, 30, replace=False)
    query, item = np.repeat(np.arange(30), 2), rng.integers(0, ITEMS + 1, 60)  # one item is not known
    found = past.raw(BatchRows(log.user[rows], log.time[rows], item, query, rows[query]))
    assert found.shape == (60, len(past.names)) and len(set(past.names)) == 24
    for b, q in enumerate(query):
        user, time = log.user[rows[q]], log.time[rows[q]]
        start = grid.start(int(grid.slice_of(np.array([time]))[0]))
        before = (log.time < start) & (log.label == 1)
        own = [log.item[e] for e in range(ROWS) if log.user[e] == user and log.time[e] < time and log.label[e] == 1]
        by_name = dict(zip(past.names, found[b], strict=True))
        if not own:
            assert np.isnan(found[b]).all()
            continue
        for name, directed in (("like", False), ("next", True)):
            events = log.item[before], log.user[before], log.time[before]
            built = links.build(*events, directed=directed, num_nodes=ITEMS)
            for step in (False, True):
                entry = [float(built.look_up(item[b], j, step)) if item[b] < ITEMS else 0.0 for j in own[::-1][:50]]
                over = {"last": entry[0], "last_3": sum(entry[:3]), "last_10": sum(entry[:10]), "sum": sum(entry)}
                over |= {"max": max(entry), "mean": sum(entry) / len(entry)}
                for what, value in over.items():
                    full = f"past.{name}{'_step' * step}.{what}"
                    assert by_name[full] == pytest.approx(value, rel=1e-6, abs=1e-9), full


def test_links_of_a_period_are_those_of_its_clicks_and_recent_ones_weigh_periods_by_age():
    log, grid = random_log(), TimeGrid.cut([0], every="3d", unit="us")
    starts = grid.starts(int(grid.slice_of(log.time[-1:])[0]) + 1)
    clicks = log.take(log.clicks())
    for kind, how in (("period_links", {"past": "slice"}), ("recent_links", {"half_life": 7 * DAY})):
        past, made = linked(log, grid, kind), {}
        for directed in (False, True):
            events = clicks.item, clicks.user, clicks.time
            made[directed] = links.over_time(*events, starts, directed=directed, num_nodes=ITEMS, **how)
        assert list(past.matrices) == [kind.split("_")[0] + "_like", kind.split("_")[0] + "_next"]
        for matrix, expected in zip(past.matrices.values(), made.values(), strict=True):
            for one, other in zip(matrix, expected, strict=True):
                np.testing.assert_array_equal(one.to_scipy().toarray(), other.to_scipy().toarray())
        assert np.nanmax(past.raw(all_rows(log))) > 0


@pytest.mark.parametrize("kind", ["links", "period_links", "recent_links"])
def test_the_parts_of_a_link_add_up_to_it_and_are_of_users_with_both_items_before_the_period(kind):
    log, grid = random_log(), TimeGrid.cut([0], every="3d", unit="us")
    past, several = linked(log, grid, kind), 0
    rows = all_rows(log)
    entries, clicked, count = past.entries(rows)
    for b in range(0, ROWS, 3):
        start = past.begins(log.time[b])
        assert start == grid.start(int(grid.slice_of(log.time[[b]])[0])) <= log.time[b]
        for name, entry in entries.items():
            for item, value in zip(clicked[b, : count[b]].tolist(), entry[b], strict=False):
                found = past.parts(name, int(log.item[b]), item, int(log.time[b]))
                assert found.value.sum() == pytest.approx(value, rel=1e-6)
                for user in found.hyperedges.tolist():
                    own = log.item[(log.user == user) & (log.label == 1) & (log.time < start)]
                    assert {int(log.item[b]), item} <= {*own.tolist()}
                several += len(found.value) > 1
    assert several > 3


def test_nearest_items_are_read_at_the_clicks_before():
    log, rng = random_log(), np.random.default_rng(11)
    matrix, there = rng.normal(size=(ITEMS, 3)), np.arange(ITEMS) != 1
    past = PastNearest.of({"look": matrix}, {"look": there}, Latest.of(log.take(log.clicks())))
    assert past.names[0] == "past.nearest_look.last" and len(past.names) == 6
    unit = np.where(there[:, None], matrix - matrix[there].mean(0), 0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T * ~np.eye(ITEMS, dtype=bool)  # all are among the 100 nearest
    for row, found in enumerate(past.raw(all_rows(log))):
        own = log.item[(log.user == log.user[row]) & (log.time < log.time[row]) & (log.label == 1)][::-1][:50]
        each = cosine[log.item[row], own]
        if not len(own):
            assert np.isnan(found).all()
            continue
        expected = [each[0], each[:3].sum(), each[:10].sum(), each.sum(), each.max(), each.mean()]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_log_without_clicks_before_has_no_links():
    log = random_log()
    past = linked(log.take(np.arange(0)), TimeGrid.cut([0], every="3d", unit="us"))
    assert np.isnan(past.raw(all_rows(log))).all()


# --- content ---------------------------------------------------------------------------------------------------------


def test_cosines_are_those_with_the_mean_of_the_clicks_before():
    log, rng = random_log(), np.random.default_rng(8)
    matrix, there = rng.normal(size=(ITEMS, 3)).astype(np.float32), np.array([True, True, False, True, True])
    matrix[~there] = 0
    latest = Latest.of(log.take(log.clicks()))
    past = PastContent.of({"look": matrix}, {"look": there}, latest)
    assert past.names == ("past.look.last_3", "past.look.last_10", "past.look.all")
    found = past.raw(all_rows(log))
    unit = np.where(there[:, None], matrix - matrix[there].mean(0), 0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    for row in range(ROWS):
        own = (log.user == log.user[row]) & (log.time < log.time[row]) & (log.label == 1)
        clicked = log.item[own][::-1]
        for k, most in enumerate((3, 10, 50)):
            mean = unit[clicked[:most]].sum(0)
            cosine = unit[log.item[row]] @ mean / max(np.linalg.norm(mean), 1e-12)
            known = there[log.item[row]] and there[clicked[:most]].any()
            assert found[row, k] == pytest.approx(cosine if known else np.nan, abs=1e-5, nan_ok=True)
    unknown = past.raw(BatchRows(np.array([0]), log.time[-1:] + 1, np.array([ITEMS]), np.array([0]), np.array([-1])))
    assert np.isnan(unknown).all()


# --- normal scores ---------------------------------------------------------------------------------------------------


def test_normal_scores_are_those_of_the_ranks():
    from scipy.special import ndtri

    numbers = np.random.default_rng(6).exponential(size=(5000, 1)) ** 3
    scores = NormalScores.fit(numbers)
    rank = (numbers[:, 0].argsort().argsort() + 0.5) / len(numbers)
    middle = abs(rank - 0.5) < 0.45
    np.testing.assert_allclose(scores(numbers)[middle, 0], ndtri(rank[middle]), atol=0.03)
    assert (np.diff(scores(np.sort(numbers, 0))[:, 0]) >= 0).all()


def test_equal_values_share_a_score_and_what_is_missing_stays_so():
    scores = NormalScores.fit(np.array([[0.0, np.nan], [0.0, np.nan], [0.0, np.nan], [5.0, np.nan]]))
    found = scores(np.array([[0.0, 1.0], [5.0, np.nan], [7.0, 0.0], [np.nan, 0.0], [-3.0, 0.0]]))
    assert found[0, 0] == found[4, 0] < 0 < found[1, 0] == found[2, 0]
    assert np.isnan(found[3, 0]) and np.isnan(found[1, 1]) and (found[[0, 2], 1] == 0).all()
    assert [len(knots) for knots in scores.knots] == [len(np.unique(knots)) for knots in scores.knots]


# --- compiled and plain ----------------------------------------------------------------------------------------------


def test_compiled_and_plain_bodies_give_the_same_numbers(monkeypatch):
    log, grid, rng = random_log(), TimeGrid.cut([0], every="3d", unit="us"), np.random.default_rng(9)
    matrix, there = rng.normal(size=(ITEMS, 13)).astype(np.float32), np.arange(ITEMS) != 1
    query, item = np.repeat(np.arange(ROWS), 3), rng.integers(0, ITEMS + 2, 3 * ROWS)  # the last two are not known
    rows = BatchRows(log.user, log.time, item, query, query)
    found = {}
    for plain in (True, False):
        monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
        latest = Latest.of(log.take(log.clicks()))
        parts = (past_of(log), linked(log, grid), PastContent.of({"look": matrix}, {"look": there}, latest))
        found[plain] = [part.raw(rows) for part in parts]
        if plain:
            scores = NormalScores.fit(np.concatenate(found[plain], 1))
        found[plain].append(scores(np.concatenate(found[True][:3], 1)))
    counts, links_, content, read_ = zip(found[True], found[False], strict=True)
    np.testing.assert_allclose(*counts, rtol=1e-12)
    np.testing.assert_array_equal(*links_)
    np.testing.assert_allclose(*content, atol=1e-6)
    np.testing.assert_array_equal(*read_)


def test_numbers_beyond_those_of_the_training_rows_have_the_last_score(monkeypatch):
    numbers = np.random.default_rng(10).normal(size=(3000, 3))
    numbers[:, 2] = numbers[:, 2].round(1)
    scores = NormalScores.fit(numbers)
    asked = np.concatenate([numbers, [[-9.0, 9.0, -9.0], [np.nan, 0.05, 0.05], [9.0, np.nan, 9.0]]])
    found = {}
    for plain in (True, False):
        monkeypatch.setattr("hyperctr.layers.bodies.PLAIN", plain)
        found[plain] = scores(asked)
    np.testing.assert_array_equal(found[True], found[False])
    low, high = np.nanmin(found[True], 0), np.nanmax(found[True], 0)
    assert found[True][-3].tolist() == [low[0], high[1], low[2]] and found[True][-1, [0, 2]].tolist() == [*high[[0, 2]]]
