"""The paper's recipes against slow loops: user-interest and item-homogeneous hypergraphs of every slice."""

from collections import Counter

import numpy as np
import pytest
import torch

from graphs import TimeGrid
from hyperctr.data.interactions import Interactions
from hyperctr.hypergraphs import slice_hypergraphs

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


@pytest.mark.parametrize("seed", range(4))
def test_every_slice_equals_slow_loops(seed):
    log, grid = random_log(seed), daily()
    built = slice_hypergraphs(log, PRESENT, grid, upto=6 * DAY)
    assert built.names == ("group", "visual", "text", "sound")
    assert len(built) == 6
    merged = False
    for n in range(6):
        clicks = [
            (int(u), int(i))
            for u, i, t, y in zip(log.user, log.item, log.time, log.label, strict=True)
            if y == 1 and n * DAY <= t < (n + 1) * DAY
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
