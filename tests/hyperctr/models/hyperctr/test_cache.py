"""States that nodes carry from slice to slice, against slow loops and by hand."""

import math

import numpy as np
import pytest
import torch

from hyperctr.models.hyperctr.cache import FreshStates, StateCache


def random_nodes(seed=0, slices=6, nodes=8, share=0.4, empty=(0, 3)):
    """Nodes active in each slice, None in the empty ones."""
    rng = np.random.default_rng(seed)
    found = [torch.from_numpy(np.flatnonzero(rng.random(nodes) < share)) for _ in range(slices)]
    return [None if n in empty else x for n, x in enumerate(found)]


def activities(nodes):
    """node -> [(slice, row), ...], counting rows slice after slice."""
    row, seen = 0, {}
    for n, active in enumerate(nodes):
        for node in [] if active is None else active.tolist():
            seen.setdefault(node, []).append((n, row))
            row += 1
    return seen


@pytest.mark.parametrize("only", [False, True])
def test_find_gives_the_row_of_the_last_activity_strictly_before_the_slice(only):
    nodes = random_nodes()
    carried, seen = StateCache(nodes), activities(nodes)
    node, slice = torch.arange(10).repeat_interleave(8), torch.arange(8).repeat(10)
    expected = []
    for v, n in zip(node.tolist(), slice.tolist(), strict=True):
        before = [r for s, r in seen.get(v, []) if (s == n - 1 if only else s < n)]
        expected.append(before[-1] if before else -1)
    assert carried.find(node, slice, only).tolist() == expected
    assert -1 in expected and len(set(expected)) > 5


def test_find_with_only_finds_less():
    carried = StateCache(random_nodes())
    node, slice = torch.arange(8).repeat_interleave(7), torch.arange(7).repeat(8)
    every, only = (carried.find(node, slice, x) for x in (False, True))
    assert ((only == every) | (only == -1)).all()
    assert ((only == -1) & (every >= 0)).any() and (only >= 0).any()


@pytest.mark.parametrize("nodes", [[], [None, None]])
def test_nothing_is_found_where_nobody_was_active(nodes):
    carried, static = StateCache(nodes), torch.randn(3, 2)
    assert carried.find(torch.arange(3), torch.zeros(3, dtype=torch.long)).tolist() == [-1, -1, -1]
    assert torch.equal(carried.read(torch.full((3,), -1), static), static)


# slices 0 and 2 have active nodes, three and two; node 5 of slice 0 and node 1 of slice 2 have no state
NODES = [torch.tensor([1, 4, 5]), None, torch.tensor([1, 4])]
PLACES = [torch.tensor([0, 1, -1]), None, torch.tensor([-1, 0])]
STATES = [torch.tensor([[1.0], [4.0]]), None, torch.tensor([[40.0]])]
STATIC = torch.tensor([[-1.0]])


def keep(carried, places, states):
    """Keep states, each slice as many as it has."""
    return carried.keep(places, [0 if x is None else len(x) for x in states], states)


def kept():
    carried = StateCache(NODES)
    keep(carried, PLACES, STATES)
    return carried


def read(carried, node, slice, live=()):
    row = carried.find(torch.tensor([node]), torch.tensor([slice]))
    return carried.read(row, STATIC, live).item()


def test_nodes_of_which_none_has_a_state_are_kept_again_and_read_as_static():
    carried, none = StateCache(NODES), torch.empty(0, 2)
    for _ in range(2):
        keep(carried, [torch.full((3,), -1), None, torch.full((2,), -1)], [none, None, none])
    assert read(carried, 1, 3) == -1.0


def test_states_are_read_by_hand():
    carried = kept()
    assert [read(carried, 1, n) for n in range(4)] == [-1, 1, 1, -1]  # its last slice is 2, where it has no state
    assert [read(carried, 4, n) for n in range(4)] == [-1, 4, 4, 40]
    assert [read(carried, 5, n) for n in range(4)] == [-1, -1, -1, -1]
    assert [read(carried, 0, n) for n in range(4)] == [-1, -1, -1, -1]


def test_many_rows_are_read_as_one_by_one():
    carried = kept()
    node, slice = torch.arange(7).repeat_interleave(4), torch.arange(4).repeat(7)
    static = torch.randn(28, 1)
    together = carried.read(carried.find(node, slice), static)
    for k in range(28):
        alone = carried.read(carried.find(node[k : k + 1], slice[k : k + 1]), static[k : k + 1])
        assert torch.equal(together[k : k + 1], alone)


def test_a_live_slice_takes_the_place_of_its_cached_states_alone_and_gets_their_gradient():
    carried = kept()
    live = FreshStates(2, torch.tensor([1, 0]), torch.tensor([[400.0], [100.0]], requires_grad=True))
    assert [read(carried, 1, n, [live]) for n in range(4)] == [-1, 1, 1, 100]
    assert [read(carried, 4, n, [live]) for n in range(4)] == [-1, 4, 4, 400]
    row = carried.find(torch.tensor([4, 4, 1, 4]), torch.tensor([3, 3, 3, 2]))
    carried.read(row, STATIC.repeat(4, 1), [live]).sum().backward()
    assert live.state.grad.tolist() == [[2.0], [1.0]]


def test_a_node_that_is_not_among_the_live_ones_has_no_state_whatever_is_cached():
    """Its only click may have been taken out of the live hypergraphs, and the cached state still knows of it."""
    carried = kept()
    live = FreshStates(0, torch.tensor([0, -1, -1]), torch.tensor([[7.0]]))
    assert [read(carried, v, 1, [live]) for v in (1, 4, 5)] == [7, -1, -1]
    assert read(carried, 4, 3, [live]) == 40  # of another slice
    nobody = FreshStates(0, torch.tensor([-1, -1, -1]), torch.empty(0, 1))
    assert [read(carried, v, 1, [nobody]) for v in (1, 4, 5)] == [-1, -1, -1]


def test_live_states_need_no_cache():
    live = FreshStates(0, torch.tensor([0, 1, -1]), torch.tensor([[1.0], [4.0]]))
    assert [read(StateCache(NODES), v, 1, [live]) for v in (1, 4, 5)] == [1, 4, -1]


def test_keep_tells_how_far_the_states_moved():
    carried = StateCache(NODES)
    assert math.isnan(keep(carried, PLACES, STATES))  # nothing was there
    assert keep(carried, PLACES, STATES) == 0
    moved = [STATES[0] + torch.tensor([[0.0], [3.0]]), None, STATES[2]]
    assert float(keep(carried, PLACES, moved)) == pytest.approx(3 / math.sqrt(1 + 7**2 + 40**2))
    assert read(carried, 4, 1) == 7


def test_keep_cannot_tell_how_far_states_of_other_nodes_moved():
    carried = kept()
    assert math.isnan(keep(carried, [torch.tensor([0, -1, 1]), None, PLACES[2]], STATES))
    assert [read(carried, v, 1) for v in (1, 4, 5)] == [1, -1, 4]
    assert math.isnan(keep(carried, [None, None, PLACES[2]], [None, None, STATES[2]]))


def test_renew_writes_one_slice_without_its_gradient():
    carried = kept()
    carried.renew(FreshStates(2, PLACES[2], torch.tensor([[50.0]], requires_grad=True)))
    assert [read(carried, 4, n) for n in range(4)] == [-1, 4, 4, 50]
    carried.renew(FreshStates(0, PLACES[0], torch.tensor([[6.0], [7.0]])))
    assert [read(carried, 4, n) for n in range(4)] == [-1, 7, 7, 50]
    assert not carried.state.requires_grad
