"""The planted worlds are what they say: seeded, calibrated, under a known ceiling, the signal where they say it is."""

from functools import cache

import numpy as np
import polars as pl
import pytest

from hyperctr.data import read
from hyperctr.data.clock import DAY, SECOND
from hyperctr.data.planted import MODALITIES, PRESETS, START, planted, write
from hyperctr.data.split import split
from hyperctr.evaluation import metrics

COLUMNS = ("user", "item", "time", "label")


@cache
def world(preset, seed=0):
    return planted(preset, seed, scale=0.1)


def clicked(preset):
    log = world(preset).dataset.interactions
    return log.label, world(preset).probability


def assert_equal_columns(found, made):
    assert list(found) == list(made)
    for name, column in made.items():
        assert found[name].kind == column.kind and found[name].series().equals(column.series())


@cache
def community(preset):
    """Of every item of a world in which items keep it; -1 for one that was never shown."""
    w = world(preset)
    of_item = np.full(w.dataset.items.num_items, -1)
    of_item[w.dataset.interactions.item] = w.cluster[:, 0]
    assert (of_item[w.dataset.interactions.item] == w.cluster[:, 0]).all()
    return of_item


def gap(w, days, pairs=2_000_000, width=3):
    """Pairs of rows of one user on items of the same clusters, as far apart in time as asked: their row numbers."""
    log, rng = w.dataset.interactions, np.random.default_rng(0)
    key = log.user * 1000 + (w.cluster * [1, 10, 100]).sum(1)
    order = np.lexsort((log.time, key))
    first, last = (np.searchsorted(key[order], key, side) for side in ("left", "right"))
    one = rng.integers(len(log), size=pairs)
    other = order[first[one] + (rng.random(pairs) * (last - first)[one]).astype(np.int64)]
    near = np.abs((log.time[other] - log.time[one]) / DAY - days) < width
    return one[near], other[near]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_seed_gives_the_same_world_and_another_does_not(preset):
    a, b, c = world(preset), planted(preset, 0, 0.1), world(preset, 1)
    for name in COLUMNS:
        x, y = getattr(a.dataset.interactions, name), getattr(b.dataset.interactions, name)
        assert x.tolist() == y.tolist()
    assert a.probability.tolist() == b.probability.tolist()
    for name in a.dataset.items.modalities:
        assert (a.dataset.items.modalities[name] == b.dataset.items.modalities[name]).all()
        assert (a.dataset.items.present[name] == b.dataset.items.present[name]).all()
    assert a.dataset.interactions.item.tolist() != c.dataset.interactions.item.tolist()


@pytest.mark.parametrize("preset", PRESETS)
def test_clicks_come_as_often_as_their_probability_says(preset):
    label, probability = clicked(preset)
    bins = np.minimum((probability * 8).astype(int), 7)
    for k in np.unique(bins):
        p, y = probability[bins == k], label[bins == k]
        assert abs(y.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum()) + 1e-9


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_are_impressions_in_time_order_of_known_users_and_items(preset):
    w = world(preset)
    log = w.dataset.interactions
    assert log.logged_non_clicks
    assert (np.diff(log.time) >= 0).all() and log.time[0] >= START * SECOND
    assert len(w.probability) == len(w.offset) == len(log)
    assert 0.1 < log.label.mean() < 0.9
    assert ((w.probability > 0) & (w.probability < 1)).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_no_oracle_beats_the_ceiling(preset):
    w = world(preset)
    parts = split(w.dataset.interactions)
    ceiling, learnable = w.ceiling(parts.test), w.learnable(parts.train, parts.test)
    chance = 0.005  # the labels of a few thousand rows; the ceiling holds in the mean over them
    assert ceiling + chance >= learnable >= 0.5
    if preset == "noise":
        assert ceiling == learnable == 0.5
    else:
        assert learnable > (0.51 if preset == "columns" else 0.6)  # there the oracle knows the items alone


def test_the_ceiling_depends_on_the_labels_of_the_asked_rows_alone():
    w = world("multihop")
    rows = np.arange(500)
    label, p = w.dataset.interactions.label[rows], w.probability[rows]
    wins = [(a > b) + 0.5 * (a == b) for a in p[label == 1] for b in p[label == 0]]
    assert w.ceiling(rows) == pytest.approx(np.mean(wins))


def tiers():
    """Tier and birth week of every multihop item: 20 anchors, then 26 weeks of 4 first-tier, then second-tier items."""
    place = np.arange(world("multihop").dataset.items.num_items) % 228
    tier = np.where(place < 20, 0, np.where(place < 20 + 104, 1, 2))
    birth = np.where(tier == 0, -1, (place - 20) % 104 // 4)
    return tier, birth


def week_of(log):
    return (log.time - START * SECOND) // (7 * DAY)


def test_features_show_the_community_of_anchors_and_of_no_other_item():
    (tier, _), w = tiers(), world("multihop")
    group = np.repeat(np.arange(6), len(tier) // 6)
    assert (group == community("multihop"))[community("multihop") >= 0].all()
    for name in MODALITIES:
        x = w.dataset.items.modalities[name]
        assert w.dataset.items.present[name].all()

        def spread(items, x=x):
            """Mean variance of the six community means, over that within a community."""
            means = np.array([x[items & (group == c)].mean(0) for c in range(6)])
            within = np.mean([x[items & (group == c)].var(0).mean() for c in range(6)])
            return means.var(0).mean() / within

        assert spread(tier == 0) > 1
        assert spread(tier > 0) < 0.02  # by chance 1 / 208 items a community


def test_fresh_items_are_shown_in_their_three_weeks_only():
    log, (tier, birth) = world("multihop").dataset.interactions, tiers()
    age = week_of(log) - birth[log.item]
    assert set(age[tier[log.item] > 0].tolist()) == {0, 1, 2}


def test_no_user_sees_anchors_and_second_tier_items_in_one_week():
    log, (tier, _) = world("multihop").dataset.interactions, tiers()
    key = log.user * 1000 + week_of(log)
    assert not set(key[tier[log.item] == 0]) & set(key[tier[log.item] == 2])
    assert set(key[tier[log.item] == 1]) & set(key[tier[log.item] == 2])


def weekly_incidence():
    """For every week the matrix [items, users] of who clicked what."""
    log = world("multihop").dataset.interactions
    for week in range(26):
        rows = (week_of(log) == week) & (log.label == 1)
        incidence = np.zeros((log.num_items, log.num_users), np.float32)
        incidence[log.item[rows], log.user[rows]] = 1
        yield incidence


def test_second_tier_items_reach_anchors_in_two_hops_and_not_in_one():
    tier, _ = tiers()
    reached = []
    for incidence in weekly_incidence():
        second, first, anchors = (incidence[tier == t] for t in (2, 1, 0))
        assert not (second @ anchors.T).any()  # no user joins the two
        via = (second @ first.T) @ (first @ anchors.T)
        clicked = second.any(axis=1)
        reached += via[clicked].any(axis=1).tolist()
    assert np.mean(reached) > 0.5  # with 1000 users rather than 100, nearly all


def test_two_hops_lead_to_anchors_of_the_own_community():
    tier, _ = tiers()
    group = community("multihop")
    same = group[tier == 2][:, None] == group[tier == 0]
    own = total = 0.0
    for incidence in weekly_incidence():
        second, first, anchors = (incidence[tier == t] for t in (2, 1, 0))
        via = (second @ first.T) @ (first @ anchors.T)
        own, total = own + via[same].sum(), total + via.sum()
    assert own / total > 0.4  # by chance one in six


def test_interests_of_drift_are_half_forgotten_after_the_half_life():
    w = planted("drift", 0, 1.0)
    assert w.half_life == 60
    felt = np.log(w.probability / (1 - w.probability)) - w.offset  # what user and clusters say, no matter the item
    moved = {days: np.square(np.subtract(*felt[list(gap(w, days))])).mean() for days in (30, 60, 120)}
    # E (x(t) - x(t + L))^2 is proportional to 1 - 2^(-L / half-life)
    assert moved[60] / moved[120] == pytest.approx((1 - 1 / 2) / (1 - 1 / 4), rel=0.1)
    assert moved[30] / moved[120] == pytest.approx((1 - 0.5**0.5) / (1 - 1 / 4), rel=0.1)


def is_anchor(preset, anchors):
    """Items stand by community, the anchors of each first."""
    num_items = world(preset).dataset.items.num_items
    return np.arange(num_items) % (num_items // 6) < anchors


def test_half_of_the_items_of_fashion_are_about_something_else_after_the_turnover():
    w, anchor = world("fashion"), is_anchor("fashion", 20)
    assert w.turnover == 8
    log, day = w.dataset.interactions, (w.dataset.interactions.time - START * SECOND) // DAY
    about = np.full((180, w.dataset.items.num_items), -1)
    about[day, log.item] = w.cluster[:, 0]
    assert (about[day, log.item] == w.cluster[:, 0]).all()  # an item has one community on a day
    for lag in (8, 16, 40):
        before, after = about[:-lag], about[lag:]
        both = (before >= 0) & (after >= 0)
        kept = 0.5 ** (lag / 8)  # drawn anew, the community is the same once in six times
        assert (before == after)[both & ~anchor].mean() == pytest.approx(kept + (1 - kept) / 6, abs=0.04)
        assert (before == after)[both & anchor].all()


def group_week():
    """For every week of `group` the hyperedges: who clicked what, [users, items], and the collectors among them."""
    w = world("group")
    log = w.dataset.interactions
    for week in range(26):
        rows = (week_of(log) == week) & (log.label == 1)
        incidence = np.zeros((log.num_users, log.num_items), bool)
        incidence[log.user[rows], log.item[rows]] = True
        yield incidence, np.arange(log.num_users) >= 0.98 * log.num_users


def test_hyperedges_of_collectors_are_ten_times_as_large_as_others():
    sizes = [(h[c].sum(1), h[~c].sum(1)) for h, c in group_week()]
    large, small = (np.concatenate(part) for part in zip(*sizes, strict=True))
    assert large.min() > 60 and small.max() <= 10 and large.mean() > 10 * small[small > 0].mean()


def test_collectors_take_the_anchors_of_a_community_drawn_anew_each_week():
    anchor, group, shelves = is_anchor("group", 50), community("group"), []
    for h, collects in group_week():
        shelves.append([np.bincount(group[row & anchor], minlength=6).argmax() for row in h[collects]])
    assert all(len(set(shelf)) >= 4 for shelf in np.array(shelves).T.tolist())


def test_what_a_fresh_item_is_about_stands_in_most_hyperedges_and_in_few_of_their_pairs():
    anchor, group = is_anchor("group", 50), community("group")
    own = np.zeros((2, 2))  # by hyperedge and by pair: partners of the same community, and all
    for h, _ in group_week():
        h = h[(h & anchor).any(1) & (h & ~anchor).any(1)]
        same = np.array([[(row & anchor & (group == c)).sum() for c in range(6)] for row in h], float)
        for row, partners in zip(h, same, strict=True):
            fresh = group[row & ~anchor]
            own += [[(partners[fresh] / partners.sum()).sum(), len(fresh)],
                    [partners[fresh].sum(), len(fresh) * partners.sum()]]  # fmt: skip
    by_hyperedge, by_pair = own[:, 0] / own[:, 1]
    assert by_hyperedge > 0.35  # by chance one in six
    assert by_pair < 0.25


@pytest.mark.parametrize("preset", PRESETS)
def test_a_written_world_reads_back_the_same(preset, tmp_path):
    path = write(preset, tmp_path / preset, seed=0, scale=0.1)
    w, data = world(preset), read.read(path)
    for name in COLUMNS:
        assert getattr(data.interactions, name).tolist() == getattr(w.dataset.interactions, name).tolist()
    assert data.interactions.num_users == w.dataset.interactions.num_users
    assert data.interactions.num_items == w.dataset.interactions.num_items
    assert data.interactions.logged_non_clicks
    assert set(data.items.modalities) == set(() if preset in ("fields", "columns") else MODALITIES)
    for name in data.items.modalities:
        assert (data.items.modalities[name] == w.dataset.items.modalities[name]).all()
        assert data.items.present[name].tolist() == w.dataset.items.present[name].tolist()
    raw = pl.read_parquet(path / "interactions.parquet")
    assert raw["true_probability"].to_list() == w.probability.astype(np.float32).tolist()
    if preset not in ("fields", "columns"):
        assert not data.interactions.context  # the extra column plays no role
        return
    for kind in ("items", "users"):
        found, made = getattr(data, kind), getattr(w.dataset, kind)
        assert_equal_columns(found.fields, made.fields)
    assert_equal_columns(data.interactions.context, w.dataset.interactions.context)


def test_the_cold_start_worlds_groups_tell_of_those_who_click_seldom_and_not_of_the_active():
    w = planted("coldstart", seed=0, scale=1.0)
    log = w.dataset.interactions
    clicks = np.bincount(log.user[log.label == 1], minlength=log.num_users)
    cuts = metrics.activity_groups(clicks)
    group = np.searchsorted(cuts, clicks)
    assert np.bincount(group) / log.num_users == pytest.approx([0.6, 0.3, 0.1], abs=0.05)
    assert np.bincount(group, weights=clicks)[2] > 0.35 * clicks.sum()  # a tenth of the users, a third of the clicks
    rows = group[log.user]
    truth, shared = (metrics.group_auc(log.label, x, rows, 3) for x in (w.probability, w.offset + w.shared))
    assert min(truth) > 0.84
    assert truth[0] - shared[0] < 0.08 < 0.16 < truth[2] - shared[2]


@pytest.mark.parametrize("preset", ["conflict", "agree"])
def test_clicks_are_watched_as_the_two_task_worlds_say(preset):
    w = planted(preset, scale=0.5)
    log, rows = w.dataset.interactions, w.dataset.interactions.clicks()
    z, mean = log.conversion[rows], w.conversion[rows]
    bins = np.minimum((mean * 8).astype(int), 7)
    for k in np.unique(bins):  # a share of variance mean (1 - mean) / 5
        m, got = mean[bins == k], z[bins == k]
        assert abs(got.sum() - m.sum()) < 4 * np.sqrt((m * (1 - m) / 5).sum()) + 1e-9
    assert (log.conversion[log.label == 0] == 0).all() and (log.length > 0).all()
    assert w.floor(rows) == pytest.approx(np.square(z - mean).mean()) and w.floor(rows) < 0.6 * z.var()
    between = np.corrcoef(np.log(w.probability / (1 - w.probability)), np.log(w.conversion / (1 - w.conversion)))[0, 1]
    assert between < -0.9 if preset == "conflict" else between > 0.999
    assert set(w.dataset.items.fields) == {"cover", "worth"} and set(w.dataset.users.fields) == {"group"}


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match=f"unknown preset 'drfit'; the planted worlds are {', '.join(PRESETS)}"):
        planted("drfit")


def test_a_world_of_almost_nobody_is_refused():
    with pytest.raises(ValueError, match="at least 10 of 1000 users, got 0.001"):
        planted("drift", scale=0.001)


def categories():
    """Category and useful modality of every item, and what the logit of each row owes to user and item together."""
    w = world("categories")
    category = w.dataset.items.fields["category"].codes - 1
    return w, category, w.useful[category]


def nearest(x, of, count):
    """Share of items whose features lie nearest to the mean of their own group."""
    means = np.stack([x[of == g].mean(0) for g in range(count)])
    return np.mean(np.square(x[:, None] - means).sum(2).argmin(1) == of)


def test_every_modality_shows_the_category():
    w, category, _ = categories()
    assert w.useful.tolist() == [0, 0, 1, 1, 2, 2]
    for name in MODALITIES:
        assert nearest(w.dataset.items.modalities[name], category, 6) > 0.9


def test_in_a_category_the_useful_modality_tells_what_is_liked_and_no_other_does():
    w, category, useful = categories()
    told = np.full(w.dataset.items.num_items, -1)
    told[w.dataset.interactions.item] = w.cluster[:, 0]
    shown = told >= 0
    assert (told[shown] // 4 == useful[shown]).all()
    for c in range(6):
        for m, name in enumerate(MODALITIES):
            of = (category == c) & shown
            share = nearest(w.dataset.items.modalities[name][of], told[of] % 4, 4)
            assert share > 0.95 if m == w.useful[c] else share < 0.7  # by chance 0.25; four means fit some of it


def test_many_rows_of_the_end_are_of_items_without_training_rows():
    w = planted("categories", scale=0.5)
    log, parts = w.dataset.interactions, split(w.dataset.interactions)
    cold = ~np.isin(log.item[parts.test], log.item[parts.train])
    assert 0.08 < cold.mean() < 0.3


def asked():
    """The world `fields`; the category and topic of each row's item, and what the category asks for."""
    w = world("fields")
    category, topic = w.cluster.T
    return w, category, topic, w.asked[category]


def spread(probability, value, category):
    """How far the mean probabilities of the values of something lie apart, the mean over categories."""
    found = []
    for c in np.unique(category):
        means = [probability[(category == c) & (value == x)].mean() for x in np.unique(value[category == c])]
        found.append(np.ptp(means))
    return np.mean(found)


def test_a_category_asks_for_one_field_and_no_other():
    w, category, _, kind = asked()
    log = w.dataset.interactions
    fields = [x.codes[log.user] for x in w.dataset.users.fields.values()]
    for group, columns in ((0, fields), (1, [x.codes for x in log.context.values()])):
        for k, column in enumerate(columns):
            mine = (kind == group) & (category % 6 == k)
            others = kind == 2
            few = column < np.quantile(column, 0.5)  # means over half of the values
            assert spread(w.probability[mine], column[mine], category[mine]) > 0.7
            assert spread(w.probability[others], few[others], category[others]) < 0.1


def test_the_other_categories_ask_for_the_topic_of_the_latest_click():
    w, category, topic, kind = asked()
    log = w.dataset.interactions
    latest, before = np.full(len(log), -1), {}
    older, second = np.full(len(log), -1), {}
    for row in range(len(log)):
        user = log.user[row]
        latest[row], older[row] = before.get(user, -1), second.get(user, -1)
        if log.label[row]:
            second[user], before[user] = before.get(user, -1), topic[row]
    some = (kind == 2) & (older >= 0)
    assert spread(w.probability[some], latest[some], category[some]) > 0.7
    for first in range(8):  # the click before it says nothing more
        mine = some & (latest == first)
        means = [w.probability[mine & (older == x)].mean() for x in range(8)]
        assert np.ptp(means) < 0.12
    none = (kind < 2) & (latest >= 0)
    assert spread(w.probability[none], latest[none] < 4, kind[none]) < 0.06


def test_half_of_the_values_speak_for_a_click():
    w, category, _, kind = asked()
    for c in np.flatnonzero(w.asked < 2):
        high = w.probability[category == c] > 0.5
        assert 0.25 < high.mean() < 0.75
