"""The paper's recipes against slow loops: user-interest and item-homogeneous hypergraphs of every slice."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from graphs import TimeGrid
from hyperctr.data.interactions import Interactions
from hyperctr.hypergraphs import recipes
from hyperctr.hypergraphs.recipes import cluster_codes, slice_hypergraphs, without

DAY = 86_400
NO_MODALITY = {}
PRESENT = {
    "visual": np.array([1, 1, 1, 1, 1, 0, 1, 1], bool),
    "text": np.array([1, 0, 1, 0, 1, 0, 1, 1], bool),
    "sound": np.zeros(8, bool),
}


def log_of(*rows, num_users=5, num_items=8):
    """Rows (user, item, day, label); the day may be a fraction."""
    user, item, day, label = zip(*rows, strict=True)
    return Interactions(user, item, [int(d * DAY) for d in day], label, num_users, num_items)


def random_log(seed, rows=150):
    rng = np.random.default_rng(seed)
    return Interactions(
        rng.integers(5, size=rows),
        rng.integers(8, size=rows),
        np.sort(rng.integers(6 * DAY, size=rows)),
        rng.random(rows) < 0.7,
        5,
        8,
    )


def daily(num_slices=6):
    return TimeGrid(every="1d", origin=0, num_slices=num_slices)


def seen(side, g):
    """A hypergraph as {members by their global numbers: weight}."""
    h = side.graphs[g]
    weight = torch.ones(h.num_hyperedges) if h.hyperedge_weight is None else h.hyperedge_weight
    found = {frozenset(side.nodes[h.members(e)].tolist()): weight[e].item() for e in range(h.num_hyperedges)}
    assert len(found) == h.num_hyperedges  # equal ones were merged
    return found


def edges(clicks, mask, of_users):
    """Slow loop: a hyperedge an item of its users, or a hyperedge a user of its items; weight = how many are equal."""
    members = {}
    for user, item in clicks:
        if mask is None or mask[item]:
            node, edge = (user, item) if of_users else (item, user)
            members.setdefault(edge, set()).add(node)
    return Counter(frozenset(nodes) for nodes in members.values() if len(nodes) >= 2)


@pytest.mark.parametrize("span", ["slice", "past"])
@pytest.mark.parametrize("seed", range(4))
def test_every_slice_equals_slow_loops(seed, span):
    log, grid = random_log(seed), daily()
    built = slice_hypergraphs(log, PRESENT, grid, upto=6 * DAY, span=span)
    assert built.names == ("group", "visual", "text", "sound")
    assert len(built) == 6
    merged = False
    for n in range(6):
        clicks = [
            (int(u), int(i))
            for u, i, t, y in zip(log.user, log.item, log.time, log.label, strict=True)
            if y == 1 and (0 if span == "past" else n * DAY) <= t < (n + 1) * DAY
        ]
        for side, of_users in ((built.users[n], True), (built.items[n], False)):
            assert side.nodes.tolist() == sorted({user if of_users else item for user, item in clicks})
            group = Counter()
            for g, mask in enumerate(PRESENT.values()):
                expected = edges(clicks, mask, of_users)
                assert seen(side, 1 + g) == dict(expected)
                merged |= any(count > 1 for count in expected.values())
                group += expected
            assert seen(side, 0) == dict(group)
            for h in side.graphs:
                assert h.num_nodes == len(side.nodes)
                assert h.node_ids.tolist() == side.nodes.tolist()
    assert merged


def test_a_hyperedge_an_item_joins_its_users_and_one_a_user_joins_its_items():
    log = log_of((0, 3, 0.1, 1), (1, 3, 0.2, 1), (1, 4, 0.3, 1), (2, 4, 0.4, 1), (4, 6, 0.5, 1))
    built = slice_hypergraphs(log, {"visual": PRESENT["visual"]}, daily(), upto=DAY)
    assert built.users[0].nodes.tolist() == [0, 1, 2, 4]  # user 4 is active, alone
    assert seen(built.users[0], 1) == {frozenset({0, 1}): 1, frozenset({1, 2}): 1}
    assert built.items[0].nodes.tolist() == [3, 4, 6]
    assert seen(built.items[0], 1) == {frozenset({3, 4}): 1}


def test_only_clicks_make_hyperedges():
    log = log_of((0, 3, 0.1, 1), (1, 3, 0.2, 0), (2, 3, 0.3, 1), (3, 3, 0.4, 0))
    built = slice_hypergraphs(log, NO_MODALITY, daily(), upto=DAY)
    assert seen(built.users[0], 0) == {frozenset({0, 2}): 1}
    assert built.users[0].nodes.tolist() == [0, 2]


def test_repeated_clicks_are_one_membership():
    log = log_of((0, 3, 0.1, 1), (0, 3, 0.2, 1), (0, 4, 0.3, 1), (0, 3, 0.4, 1))
    built = slice_hypergraphs(log, NO_MODALITY, daily(), upto=DAY)
    assert seen(built.items[0], 0) == {frozenset({3, 4}): 1}
    assert built.items[0].graphs[0].size().tolist() == [2]
    assert seen(built.users[0], 0) == {}  # one member is none


def test_equal_hyperedges_are_merged_and_their_weights_added():
    log = log_of(*[(u, i, 0.1, 1) for u in (0, 1) for i in (0, 2, 4)])
    built = slice_hypergraphs(log, {"visual": PRESENT["visual"], "text": PRESENT["text"]}, daily(), upto=DAY)
    assert seen(built.users[0], 1) == {frozenset({0, 1}): 3}
    assert seen(built.items[0], 1) == {frozenset({0, 2, 4}): 2}


def test_an_item_without_the_modality_joins_nobody():
    log = log_of((0, 1, 0.1, 1), (1, 1, 0.2, 1), (0, 2, 0.3, 1), (1, 5, 0.4, 1), (2, 5, 0.5, 1))
    two = {name: PRESENT[name] for name in ("visual", "text")}
    built = slice_hypergraphs(log, two, daily(), upto=DAY)
    users, items = built.users[0], built.items[0]
    assert seen(users, 1) == {frozenset({0, 1}): 1}  # item 1 has only the visual one, item 5 has none
    assert seen(users, 2) == {}
    assert seen(items, 1) == {frozenset({1, 2}): 1}
    assert seen(items, 2) == {}
    assert seen(users, 0) == {frozenset({0, 1}): 1}
    assert users.nodes.tolist() == [0, 1, 2]


def test_modalities_of_the_same_items_have_equal_hypergraphs_and_an_equal_group():
    both = {"visual": PRESENT["visual"], "text": PRESENT["visual"].copy()}
    side = slice_hypergraphs(random_log(1).upto(DAY), both, daily(), upto=DAY).users[0]
    assert seen(side, 1) == seen(side, 2)
    x = torch.eye(len(side.nodes))
    torch.testing.assert_close(side.graphs[0].propagate(x), side.graphs[1].propagate(x))


def test_only_closed_slices_are_built():
    log = log_of((0, 3, 0.1, 1), (1, 3, 0.2, 1), (0, 4, 1.1, 1), (1, 4, 1.2, 1))
    for upto, closed in [(1.5, 1), (2, 2), (2.9, 2), (5, 5)]:
        assert len(slice_hypergraphs(log, NO_MODALITY, daily(), upto=int(upto * DAY))) == closed
    assert len(slice_hypergraphs(log.take(slice(0, 2)), NO_MODALITY, daily(), upto=DAY - 1)) == 0


def test_a_click_on_the_border_belongs_to_the_later_slice():
    log = log_of((0, 3, 0.5, 1), (1, 3, 1, 1), (2, 3, 1.5, 1))
    built = slice_hypergraphs(log, NO_MODALITY, daily(), upto=2 * DAY)
    assert built.users[0].nodes.tolist() == [0]
    assert built.users[1].nodes.tolist() == [1, 2]


def test_a_slice_without_clicks_is_none():
    log = log_of((0, 3, 0.1, 1), (0, 3, 1.1, 0), (1, 3, 3.2, 1))
    built = slice_hypergraphs(log, PRESENT, daily(), upto=5 * DAY)
    assert [side is None for side in built.users] == [False, True, True, False, True]
    assert [side is None for side in built.items] == [False, True, True, False, True]


def test_clicks_before_the_grid_are_in_no_slice():
    log = log_of((0, 3, 0.1, 1), (1, 3, 0.2, 1), (0, 4, 1.1, 1), (1, 4, 1.2, 1))
    built = slice_hypergraphs(log, NO_MODALITY, TimeGrid(every="1d", origin=DAY, num_slices=1), upto=2 * DAY)
    assert len(built) == 1
    assert built.items[0].nodes.tolist() == [4]


def test_no_events_make_empty_slices():
    built = slice_hypergraphs(random_log(0).take(slice(0, 0)), PRESENT, daily(), upto=2 * DAY)
    assert built.users == built.items == (None, None)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("late", [0, 1, 10_000])
def test_an_event_at_or_after_upto_is_an_error(late, label):
    log = log_of((0, 3, 0.1, 1), (1, 3, 2, label))
    slice_hypergraphs(log, PRESENT, daily(), upto=2 * DAY + 1)
    with pytest.raises(ValueError, match="strictly before upto"):
        slice_hypergraphs(log, PRESENT, daily(), upto=2 * DAY - late)


def test_without_modalities_there_is_one_group_graph_of_all_clicks():
    log = random_log(2)
    built = slice_hypergraphs(log, NO_MODALITY, daily(), upto=6 * DAY)
    assert built.names == ("group",)
    rows = log.take((log.time < DAY) & (log.label == 1))
    clicks = list(zip(rows.user.tolist(), rows.item.tolist(), strict=True))
    for side, of_users in ((built.users[0], True), (built.items[0], False)):
        assert len(side.graphs) == 1
        assert seen(side, 0) == dict(edges(clicks, None, of_users))


def fancy(user, item):
    """An interest that depends on the click: user u counts for modality q where (u + i + q) is not divisible by 3."""
    return (user + item)[:, None] % 3 != np.array([0, 1, 2])


def by_slice(log, n):
    rows = log.take((log.label == 1) & (log.time >= n * DAY) & (log.time < (n + 1) * DAY))
    return list(zip(rows.user.tolist(), rows.item.tolist(), strict=True))


def counted(clicks, q, mask):
    """Clicks on items with the modality that `fancy` keeps for it."""
    return [(u, i) for u, i in clicks if mask[i] and (u + i) % 3 != q]


@pytest.mark.parametrize("item_edges", ["interest", "all"])
@pytest.mark.parametrize("seed", range(2))
def test_only_clicks_of_interest_make_hyperedges(seed, item_edges):
    log = random_log(seed)
    built = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, keep=fancy, item_edges=item_edges)
    for n in range(6):
        clicks = by_slice(log, n)
        for side, of_users in ((built.users[n], True), (built.items[n], False)):
            group = Counter()
            for q, mask in enumerate(PRESENT.values()):
                literal = item_edges == "all" and not of_users
                expected = edges(clicks if literal else counted(clicks, q, mask), mask, of_users)
                assert seen(side, 1 + q) == dict(expected)
                group += expected
            assert seen(side, 0) == dict(group)
            assert side.nodes.tolist() == sorted({user if of_users else item for user, item in clicks})


def test_interest_is_asked_once_a_slice_for_the_clicks_of_that_slice():
    log, asked = random_log(3), []

    def keep(user, item):
        asked.append(list(zip(user.tolist(), item.tolist(), strict=True)))
        return np.ones((len(user), 3), bool)

    all_kept = slice_hypergraphs(log, PRESENT, daily(7), 7 * DAY, keep=keep)
    assert asked == [by_slice(log, n) for n in range(6)]  # the seventh is empty
    plain = slice_hypergraphs(log, PRESENT, daily(7), 7 * DAY)
    for n in range(6):
        for a, b in ((all_kept.users[n], plain.users[n]), (all_kept.items[n], plain.items[n])):
            assert [seen(a, g) for g in range(4)] == [seen(b, g) for g in range(4)]
    slice_hypergraphs(log, NO_MODALITY, daily(), 6 * DAY, keep=lambda user, item: 1 / 0)  # nothing to ask about
    with pytest.raises(ValueError, match="keep must give"):
        slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, keep=lambda user, item: np.ones((len(user), 2), bool))


def test_an_augmentation_left_out_leaves_its_side_empty():
    log = random_log(0)
    both = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY)
    users = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, augment=("S1",))
    items = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, augment=["S2"])
    assert users.items == items.users == (None,) * 6
    for n in range(6):
        assert [seen(users.users[n], g) for g in range(4)] == [seen(both.users[n], g) for g in range(4)]
        assert [seen(items.items[n], g) for g in range(4)] == [seen(both.items[n], g) for g in range(4)]
    neither = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, augment=())
    assert neither.users == neither.items == (None,) * 6


CODES = {
    "visual": np.array([0, 0, 1, 1, 2, -1, 2, 2]),
    "text": np.array([3, -1, 0, -1, 3, -1, 0, 3]),
    "sound": np.full(8, -1),
}


@pytest.mark.parametrize("keep", [None, fancy])
@pytest.mark.parametrize("alone", [True, False])
def test_a_cluster_joins_the_users_who_clicked_it_twice(alone, keep):
    log = random_log(1, rows=240)
    augment = ("S2-cluster",) if alone else ("S1", "S2-cluster")
    built = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, keep, augment=augment, codes=CODES)
    assert built.items == (None,) * 6
    found = 0
    for n in range(6):
        group = Counter()
        for q, (m, mask) in enumerate(PRESENT.items()):
            clicks = by_slice(log, n) if keep is None else counted(by_slice(log, n), q, mask)
            times = Counter((u, CODES[m][i]) for u, i in clicks if CODES[m][i] >= 0)
            members = defaultdict(set)
            for (u, code), count in times.items():
                if count >= 2:
                    members[code].add(u)
            expected = Counter(frozenset(users) for users in members.values() if len(users) >= 2)
            found += len(expected)
            if not alone:
                expected += edges(clicks, mask, True)
            assert seen(built.users[n], 1 + q) == dict(expected)
            group += expected
        assert seen(built.users[n], 0) == dict(group)
    assert found > 5


def alike(clicks, widest):
    """Slow loop: every item with those of which at least half of all their users clicked both."""
    items_of = Counter(u for u, _ in set(clicks))
    users_of = defaultdict(set)
    for u, i in clicks:
        if items_of[u] <= widest:
            users_of[i].add(u)
    found = Counter()
    for mine in users_of.values():
        near = frozenset(j for j, theirs in users_of.items() if 2 * len(mine & theirs) >= len(mine | theirs))
        if len(near) >= 2:
            found[near] += 1
    return found


@pytest.mark.parametrize(("widest", "block"), [(200, 2**24), (4, 2**24), (200, 5)])
@pytest.mark.parametrize("augment", [("S2-couser",), ("S2", "S2-couser")])
def test_items_of_alike_users_are_joined(augment, widest, block, monkeypatch):
    monkeypatch.setattr(recipes, "WIDE", widest)
    monkeypatch.setattr(recipes, "BLOCK", block)
    log = random_log(2, rows=100)
    built = slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, augment=augment)
    assert built.users == (None,) * 6
    found = 0
    for n in range(6):
        for q, mask in enumerate(PRESENT.values()):
            clicks = [(u, i) for u, i in by_slice(log, n) if mask[i]]
            expected = alike(clicks, widest)
            found += len(expected)
            if "S2" in augment:
                expected += edges(clicks, None, False)
            assert seen(built.items[n], 1 + q) == dict(expected)
    assert found > 5


def test_recipes_that_do_not_go_together_are_refused():
    log = random_log(0)
    for words, settings in [
        ("augment knows", {"augment": ("S3",)}),
        ("item_edges", {"item_edges": "some"}),
        ("cluster_codes", {"augment": ("S2-cluster",)}),
        ("cluster_codes", {"augment": ("S2-cluster",), "codes": {"visual": CODES["visual"]}}),
        ("temporal split", {"augment": ("S2-couser",), "own": True}),
        ("temporal split", {"augment": ("S2-cluster",), "codes": CODES, "own": True}),
    ]:
        with pytest.raises(ValueError, match=words):
            slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, **settings)


def test_clusters_are_fitted_on_the_given_items_alone():
    rng = np.random.default_rng(0)
    place = rng.integers(3, size=90)
    x = torch.from_numpy((10 * np.eye(3)[place] + rng.standard_normal((90, 3))).astype(np.float16))
    has, fitted = torch.from_numpy(rng.random(90) < 0.8), rng.random(90) < 0.5
    features, present = {"visual": x, "text": x}, {"visual": has, "text": torch.zeros(90, dtype=torch.bool)}
    codes = cluster_codes(features, present, fitted, count=3)
    assert (codes["text"] == -1).all()
    assert np.array_equal(codes["visual"] >= 0, has.numpy())
    assert len({(a, b) for a, b in zip(place, codes["visual"], strict=True) if b >= 0}) == 3
    changed = x.clone()
    changed[~torch.from_numpy(fitted)] = 50.0  # an item that came later may lie anywhere
    again = cluster_codes({"visual": changed}, present, fitted, count=3)["visual"]
    assert np.array_equal(again[fitted], codes["visual"][fitted])
    assert cluster_codes(features, present, np.zeros(90, bool))["visual"].max() == -1
    assert len(np.unique(cluster_codes(features, present, np.arange(90) < 4)["visual"])) <= 5


def test_own_slices_keep_every_hyperedge_under_its_number():
    log = random_log(0).upto(5 * DAY + DAY // 2)  # the last slice is still open
    present = {m: PRESENT[m] for m in ("visual", "text")}
    own = slice_hypergraphs(log, present, daily(), int(log.time[-1]) + 1, own=True)
    merged = slice_hypergraphs(log, present, daily(), 6 * DAY)
    assert own.own and not merged.own
    assert len(own) == 6
    assert len(slice_hypergraphs(log, present, daily(), int(log.time[-1]) + 1)) == 5
    for n in range(6):
        for side, same, of_users in ((own.users[n], merged.users[n], True), (own.items[n], merged.items[n], False)):
            assert torch.equal(side.nodes, same.nodes)
            x = torch.rand(len(side.nodes), 3)
            for g, h in enumerate(side.graphs):
                torch.testing.assert_close(h.propagate(x), same.graphs[g].propagate(x))
            for g, mask in enumerate(present.values()):
                h = side.graphs[1 + g]
                members = {h.hyperedge_ids[e]: set(side.nodes[h.members(e)].tolist()) for e in range(h.num_hyperedges)}
                expected = defaultdict(set)
                for u, i in by_slice(log, n):
                    if mask[i]:
                        expected[i if of_users else u].add(u if of_users else i)
                assert members == {number: nodes for number, nodes in expected.items() if len(nodes) >= 2}
                assert len(members) == h.num_hyperedges


def memberships(h):
    """(hyperedge id, members) of every hyperedge, sorted."""
    return sorted((int(h.hyperedge_ids[e]), h.node_ids[h.members(e)].tolist()) for e in range(h.num_hyperedges))


@pytest.mark.parametrize("seed", range(4))
def test_taking_clicks_out_equals_a_slow_loop(seed):
    log, rng = random_log(seed), np.random.default_rng(seed)
    built = slice_hypergraphs(log, {m: PRESENT[m] for m in ("visual", "text")}, daily(), 6 * DAY, own=True)
    clicks = by_slice(log, 2)
    batch = [clicks[k] for k in rng.choice(len(clicks), 6, replace=False)] + [(4, 5), (0, 7), (4, 0)]
    user, item = (np.array(x) for x in zip(*batch, strict=True))
    for side, nodes, ids in ((built.users[2], user, item), (built.items[2], item, user)):
        gone = set(zip(nodes.tolist(), ids.tolist(), strict=True))
        for h in side.graphs:
            expected = [(e, [v for v in members if (v, e) not in gone]) for e, members in memberships(h)]
            smaller = without(h, nodes, ids)
            assert memberships(smaller) == sorted((e, members) for e, members in expected if len(members) >= 2)
            assert smaller.num_nodes == h.num_nodes
            assert smaller.node_ids.tolist() == h.node_ids.tolist()
            assert torch.equal(smaller.by_node.indptr.diff(), smaller.degree().int())


def test_taking_out_what_is_not_there_changes_nothing():
    h = slice_hypergraphs(random_log(0), PRESENT, daily(), 6 * DAY, own=True).users[0].graphs[0]
    assert without(h, np.array([77, 0]), np.array([0, 77])).equals(h)
    assert without(h, np.empty(0, np.int64), np.empty(0, np.int64)).equals(h)
    empty = slice_hypergraphs(random_log(0), PRESENT, daily(), 6 * DAY, own=True).users[0].graphs[3]
    assert without(empty, np.array([0]), np.array([0])).equals(empty)


def test_hyperedge_weights_stay_with_the_hyperedges_that_stay():
    log = log_of((0, 3, 0.1, 1), (1, 3, 0.2, 1), (0, 4, 0.3, 1), (1, 4, 0.3, 1), (2, 6, 0.3, 1), (3, 6, 0.4, 1))
    h = slice_hypergraphs(log, NO_MODALITY, daily(), DAY).users[0].graphs[0]
    assert h.hyperedge_weight.tolist() == [2, 1]
    assert without(h, np.array([3]), np.array([6])).hyperedge_weight.tolist() == [2]


def test_with_the_batch_taken_out_the_graphs_do_not_say_which_of_two_items_was_clicked():
    """User 0 clicks item 3 or item 4; otherwise the two are alike: users 1 and 2 clicked both."""
    others = [(u, i, 0.1, 1) for u in (1, 2) for i in (3, 4, 6)]
    inputs, kept = [], []
    for clicked in (3, 4):
        log = log_of(*others, (0, 2, 0.1, 1), (0, 6, 0.15, 1), (0, clicked, 0.2, 1))
        built = slice_hypergraphs(log, {"visual": PRESENT["visual"]}, daily(), DAY, own=True)
        user, item = np.array([0]), np.array([clicked])
        users, items = built.users[0], built.items[0]
        inputs.append([users.nodes.tolist(), items.nodes.tolist()])
        inputs[-1] += [memberships(without(h, user, item)) for h in users.graphs]
        inputs[-1] += [memberships(without(h, item, user)) for h in items.graphs]
        kept.append([memberships(h) for h in users.graphs + items.graphs])
    assert inputs[0] == inputs[1]
    assert kept[0] != kept[1]  # `keep` shows the label


def test_an_incidence_has_the_type_of_the_last_click_of_its_pair_in_the_slice():
    rows = [
        (0, 1, 0.1, 2),
        (1, 1, 0.2, 0),
        (0, 1, 0.3, 1),
        (2, 1, 0.4, 2),
        (0, 2, 0.5, 0),
        (0, 1, 1.5, 0),
        (1, 1, 1.6, 1),
    ]
    user, item, day, kind = zip(*rows, strict=True)
    log = Interactions(user, item, [int(d * DAY) for d in day], [1] * len(rows), 5, 8, type=kind, num_types=3)
    built = slice_hypergraphs(log, NO_MODALITY, daily(), upto=2 * DAY, typed=True)
    assert built.typed and not slice_hypergraphs(log, NO_MODALITY, daily(), upto=2 * DAY).typed

    def values(side):
        (h,) = side.graphs
        indptr, indices, value = h.numpy_members()
        return [dict(zip(side.nodes[indices[a:b]].tolist(), value[a:b].tolist(), strict=True))
                for a, b in zip(indptr, indptr[1:], strict=False)]  # fmt: skip

    assert values(built.users[0]) == [{0: 2, 1: 1, 2: 3}]  # of item 1; user 0 clicked it with types 2, then 1
    assert values(built.items[0]) == [{1: 2, 2: 1}]  # of user 0
    assert values(built.users[1]) == [{0: 1, 1: 2}]


def test_hyperedges_of_equal_members_merge_only_where_the_types_agree():
    rows = [(0, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 1), (0, 2, 1), (1, 2, 1)]
    user, item, kind = zip(*rows, strict=True)
    log = Interactions(user, item, range(6), [1] * 6, 5, 8, type=kind, num_types=2)
    plain, typed = (slice_hypergraphs(log, NO_MODALITY, daily(), DAY, typed=t).users[0].graphs[0] for t in (0, 1))
    assert plain.hyperedge_weight.tolist() == [3] and typed.hyperedge_weight.tolist() == [2, 1]


def test_taking_a_click_out_keeps_the_types_of_the_others():
    rows = [(0, 1, 0), (1, 1, 1), (2, 1, 2), (0, 2, 0), (1, 2, 0)]
    user, item, kind = zip(*rows, strict=True)
    log = Interactions(user, item, range(5), [1] * 5, 5, 8, type=kind, num_types=3)
    h = slice_hypergraphs(log, NO_MODALITY, daily(), DAY, own=True, typed=True).users[0].graphs[0]
    left = without(h, np.array([1]), np.array([1]))
    assert left.members(0).tolist() == [0, 2] and left.by_hyperedge.value.tolist() == [1, 3, 1, 1]


def test_hyperedges_of_many_clicks_have_no_type_and_a_log_without_types_is_refused():
    log = random_log(1)
    typed = Interactions(log.user, log.item, log.time, log.label, 5, 8, type=log.user % 2, num_types=2)
    augment = ("S1", "S2", "S2-couser")
    side = slice_hypergraphs(typed, PRESENT, daily(), 6 * DAY, augment=augment, typed=True).items[0]
    h = side.graphs[1]
    extra = np.repeat(h.hyperedge_ids >= 5, np.diff(h.numpy_members()[0]))
    assert (h.numpy_members()[2][extra] == 0).all() and (h.numpy_members()[2][~extra] > 0).all() and extra.any()
    with pytest.raises(ValueError, match="typed hypergraphs need the behaviour type of every click"):
        slice_hypergraphs(log, PRESENT, daily(), 6 * DAY, typed=True)
