import dataclasses

import numpy as np
import pytest

from graphs.attributes import Attributes

KNOWN = Attributes(
    {"name": "five"},
    nodes={0: {"type": "user"}, 2: {"type": "item"}},
    hyperedges={1: {"slice": 3}},
    incidences={(0, 1): {"at": 7}, (2, 0): {"at": 8}},
)


def test_nothing_known_is_false():
    assert not Attributes() and not Attributes(nodes={3: {}}, incidences={(0, 0): {}})
    assert Attributes({"name": "x"}) and Attributes(nodes={0: {"a": 1}})
    assert Attributes(hyperedges={0: {"a": 1}}) and Attributes(incidences={(0, 0): {"a": 1}})


def test_empty_attributes_are_the_same_as_none():
    nodes = {0: {}, 1: {"a": 1}}
    assert Attributes(nodes=nodes) == Attributes(nodes={1: {"a": 1}}) and nodes == {0: {}, 1: {"a": 1}}
    assert Attributes(hyperedges={0: {}}, incidences={(0, 0): {}}) == Attributes()


def test_two_do_not_share_their_dicts():
    Attributes().metadata["name"] = "x"
    assert Attributes().metadata == {}


def test_the_dual_exchanges_nodes_and_hyperedges():
    dual = KNOWN.T
    assert dual.metadata == {"name": "five"} and dual.nodes == {1: {"slice": 3}}
    assert dual.hyperedges == {0: {"type": "user"}, 2: {"type": "item"}}
    assert dual.incidences == {(1, 0): {"at": 7}, (0, 2): {"at": 8}}
    assert dual.T == KNOWN


def test_a_part_is_numbered_anew():
    part = KNOWN.take(nodes=[2, 1], hyperedges=[1, 0])
    assert part.metadata == {"name": "five"} and part.nodes == {0: {"type": "item"}}
    assert part.hyperedges == {0: {"slice": 3}} and part.incidences == {(0, 1): {"at": 8}}


@pytest.mark.parametrize("nodes", [[0, 2, 0], np.array([0, 2, 0], dtype=np.int32), (np.int64(0), 2, 0)])
def test_what_is_taken_twice_has_its_attributes_twice(nodes):
    part = KNOWN.take(nodes=nodes)
    assert part.nodes == {0: {"type": "user"}, 1: {"type": "item"}, 2: {"type": "user"}}
    assert part.incidences == {(0, 1): {"at": 7}, (2, 1): {"at": 7}, (1, 0): {"at": 8}}
    assert part.hyperedges == KNOWN.hyperedges


def test_taking_all_or_nothing():
    assert KNOWN.take() == KNOWN and KNOWN.take(range(3), range(2)) == KNOWN
    assert KNOWN.take(nodes=[], hyperedges=[]) == Attributes({"name": "five"})
    assert Attributes().take([0, 1], [5]) == Attributes()


def test_a_part_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    pairs = {(int(v), int(e)): {"k": k} for k, (v, e) in enumerate(rng.integers(0, 6, (20, 2)))}
    known = Attributes(nodes={v: {"v": v} for v in range(0, 6, 2)}, incidences=pairs)
    nodes, hyperedges = rng.integers(0, 6, 9), rng.integers(0, 6, 4)
    slow = {}
    for i in range(9):
        for j in range(4):
            for (v, e), attrs in pairs.items():
                if nodes[i] == v and hyperedges[j] == e:
                    slow[i, j] = attrs
    part = known.take(nodes, hyperedges)
    assert slow and part.incidences == slow and part.hyperedges == {}
    assert part.nodes == {i: {"v": int(nodes[i])} for i in range(9) if nodes[i] % 2 == 0}


def test_attributes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        KNOWN.nodes = {}
