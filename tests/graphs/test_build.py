"""Builders: members by hand, and merging against a slow loop."""

import copy
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs import Hypergraph, build
from graphs.attributes import Attributes
from graphs.index import equal


def members(h: Hypergraph) -> list[list[int]]:
    return [h.members(e).tolist() for e in range(h.num_hyperedges)]


def test_from_ids_numbers_what_occurs():
    h = build.from_ids([70, 10, 70], [5, 5, 900_000_000_000])
    assert h.node_ids.tolist() == [10, 70] and h.hyperedge_ids.tolist() == [5, 900_000_000_000]
    assert members(h) == [[0, 1], [1]]
    assert build.from_ids(["u2", "u1"], ["x", "x"]).node_ids.tolist() == ["u1", "u2"]
    assert build.from_ids([], []).num_nodes == 0


def test_numbering_by_table_equals_numbering_by_sort():
    ids = np.array([3, 0, 7, 3])
    for shift in (0, 10**12, -5):  # the first takes the table, the others the sort
        distinct, numbers = build.number(ids + shift)
        assert distinct.tolist() == [0 + shift, 3 + shift, 7 + shift] and numbers.tolist() == [1, 0, 2, 1]


def test_from_groups_by_hand():
    h = build.from_groups([[2, 0], [], [1]], num_nodes=4)
    assert h.num_nodes == 4 and members(h) == [[0, 2], [], [1]]
    assert build.from_groups([]).num_hyperedges == 0


def test_from_scores_keeps_what_exceeds_the_threshold():
    h = build.from_scores([[0.6, 0.5], [0.4, float("nan")], [0.9, 0.7]], 0.5)
    assert h.num_nodes == 3 and members(h) == [[0, 2], [2]]  # 0.5 does not exceed 0.5
    with pytest.raises(ValueError, match=r"\[num_nodes, num_hyperedges\], got shape \[3\]"):
        build.from_scores([0.1, 0.2, 0.3], 0.5)


def test_nearest_by_hand():
    x = [[0.0], [1.0], [3.0], [10.0]]
    assert members(build.nearest(x, 1)) == [[0, 1], [0, 1], [1, 2], [2, 3]]
    assert members(build.nearest(x, 0)) == [[0], [1], [2], [3]]
    directions = [[1.0, 0.0], [0.0, 1.0], [9.0, 1.0]]
    assert members(build.nearest(directions, 1, "cosine")) == [[0, 2], [1, 2], [0, 2]]


def test_nearest_of_duplicates_still_holds_the_node_itself():
    h = build.nearest(torch.zeros(6, 2), 2)
    assert h.size().tolist() == [3] * 6
    assert all(v in h.members(v).tolist() for v in range(6))


def test_nearest_equals_a_slow_loop_over_several_chunks():
    x = torch.randn(1030, 2, generator=torch.Generator().manual_seed(0))
    h = build.nearest(x, 3)
    for v in (0, 1023, 1024, 1029):
        order = (x - x[v]).norm(dim=1).argsort()
        assert h.members(v).tolist() == sorted(order[:4].tolist())


def test_nearest_errors():
    with pytest.raises(ValueError, match=r"k must be in \[0, 3\), got 3"):
        build.nearest(torch.zeros(3, 1), 3)
    with pytest.raises(ValueError, match="finite matrix"):
        build.nearest([[float("nan")]], 0)
    with pytest.raises(ValueError, match="got 'manhattan'"):
        build.nearest(torch.zeros(3, 1), 1, "manhattan")


def test_union_puts_hyperedges_side_by_side_and_merges_equal_ones():
    a = Hypergraph.from_pairs([0, 1, 2], [0, 0, 1], 3, 2, hyperedge_ids=[7, 8])
    b = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1], 3, 2, hyperedge_weight=[5, 3], hyperedge_ids=[7, 9])
    side = build.union(a, b, merge=False)
    assert members(side) == [[0, 1], [2], [0, 1], [1, 2]]
    assert side.hyperedge_weight.tolist() == [1, 1, 5, 3] and side.hyperedge_ids.tolist() == [7, 8, 7, 9]
    merged = build.union(a, b)
    assert members(merged) == [[0, 1], [2], [1, 2]]
    assert merged.hyperedge_weight.tolist() == [6, 1, 3] and merged.hyperedge_ids.tolist() == [7, 8, 9]


def test_union_of_values_and_ones_keeps_both():
    a = Hypergraph.from_pairs([0, 1], [0, 0], weight=[2, 3])
    b = Hypergraph.from_pairs([0, 1], [0, 0])
    h = build.union(a, b)
    assert members(h) == [[0, 1], [0, 1]] and h.size().tolist() == [5, 2]


def test_union_refuses_other_nodes():
    a = Hypergraph.from_pairs([0], [0], 2, node_ids=[1, 2])
    for b in (Hypergraph.from_pairs([0], [0], 3), Hypergraph.from_pairs([0], [0], 2, node_ids=[1, 3])):
        with pytest.raises(ValueError, match="same nodes everywhere"):
            build.union(a, b)
    with pytest.raises(ValueError, match="at least one hypergraph"):
        build.union()


def test_stack_is_block_diagonal(random_hypergraph, dense):
    parts = [random_hypergraph(4, 3, seed=1, valued=True), random_hypergraph(2, 5, seed=2), random_hypergraph(1, 1)]
    h = build.stack(*parts)
    torch.testing.assert_close(dense(h), torch.block_diag(*map(dense, parts)))
    torch.testing.assert_close(h.hyperedge_weight, torch.cat([part.hyperedge_weight for part in parts]))


def test_ids_of_two_kinds_stay_what_they_are():
    a, b = (Hypergraph.from_pairs([0], [0], node_ids=[i], hyperedge_ids=[i]) for i in (1, "1"))
    assert build.stack(a, b).node_ids.tolist() == [1, "1"] == build.union(a, a, merge=False).node_ids.tolist() + ["1"]
    nothing = Hypergraph.from_pairs([], [], 0, 0, node_ids=np.empty(0, str), hyperedge_ids=[])
    assert build.stack(nothing, a).node_ids.dtype.kind == "i" and build.stack(nothing, nothing).node_ids.shape == (0,)
    with pytest.raises(ValueError, match="same nodes everywhere"):
        build.union(a, b)


def known(h: Hypergraph, **attributes) -> Hypergraph:
    """The same with node weights 1, 2, ... and these attributes."""
    weight = torch.arange(1, h.num_nodes + 1, dtype=torch.float32)
    return replace(h, node_weight=weight, attributes=Attributes(**attributes))


def test_what_is_known_of_the_parts_is_known_of_a_union_and_a_stack():
    a = known(
        Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], 2, 2),
        metadata={"source": "a"},
        nodes={1: {"name": "x"}},
        incidences={(1, 0): {"role": "guest"}},
    )
    b = known(
        Hypergraph.from_pairs([0, 1, 0], [0, 0, 1], 2, 2),
        metadata={"source": "b", "year": 1},
        nodes={1: {"name": "y", "age": 3}},
        hyperedges={0: {"kind": "second"}, 1: {"kind": "third"}},
        incidences={(1, 0): {"role": "host"}},
    )
    stacked = build.stack(a, b)
    assert stacked.node_weight.tolist() == [1, 2, 1, 2]
    assert stacked.attributes == Attributes(
        {"source": "a", "year": 1},
        {1: {"name": "x"}, 3: {"name": "y", "age": 3}},
        {2: {"kind": "second"}, 3: {"kind": "third"}},
        {(1, 0): {"role": "guest"}, (3, 2): {"role": "host"}},
    )
    joined = build.union(a, b)  # hyperedge 2 equals hyperedge 0 and is merged into it
    assert joined.node_weight.tolist() == [1, 2] and joined.hyperedge_ids.tolist() == [0, 1, 3]
    assert joined.attributes == Attributes(
        {"source": "a", "year": 1}, {1: {"name": "x", "age": 3}}, {2: {"kind": "third"}}, {(1, 0): {"role": "guest"}}
    )
    assert build.stack(a, replace(b, node_weight=None)).node_weight.tolist() == [1, 2, 1, 1]
    assert build.union(replace(a, node_weight=None), b).node_weight.tolist() == [1, 2]


def test_a_subhypergraph_takes_what_is_asked_in_the_order_asked(five):
    h = build.subhypergraph(five, hyperedges=[2, 0])
    assert members(h) == [[3], [0, 1, 2]] and h.hyperedge_weight.tolist() == [0.5, 1] and h.num_nodes == 5
    assert h.node_ids is None and h.hyperedge_ids.tolist() == [2, 0]
    assert members(build.subhypergraph(five, hyperedges=torch.tensor([True, False, False, True]))) == [[0, 1, 2], []]
    assert members(build.subhypergraph(five, hyperedges=[])) == []
    h = build.subhypergraph(five, nodes=[3, 0, 2])
    assert members(h) == [[1, 2], [0, 2], [0], []] and h.node_ids.tolist() == [3, 0, 2]
    assert h.hyperedge_weight.tolist() == [1, 2, 0.5, 3]
    h = build.subhypergraph(five, nodes=[False, True, True, False, False], hyperedges=[1, 0])
    assert members(h) == [[1], [0, 1]] and (h.num_nodes, h.num_hyperedges) == (2, 2)
    assert build.subhypergraph(five).equals(five)


@pytest.mark.parametrize("seed", range(20))
def test_a_subhypergraph_is_the_part_of_the_dense_matrix(seed, random_hypergraph, dense):
    rng = np.random.default_rng(seed)
    h = random_hypergraph(9, 7, seed=seed, valued=seed % 2 == 0)
    nodes, hyperedges = rng.integers(0, 9, rng.integers(12)), rng.integers(0, 7, rng.integers(9))
    part = build.subhypergraph(h, nodes, hyperedges)
    torch.testing.assert_close(dense(part), dense(h)[nodes][:, hyperedges])
    assert all(sorted(row) == row for row in members(part))  # the order that every product relies on
    assert part.hyperedge_weight.tolist() == h.hyperedge_weight[hyperedges].tolist()


def test_a_part_keeps_ids_values_weights_and_attributes():
    h = known(
        Hypergraph.from_pairs(
            [0, 1, 2, 1], [0, 0, 1, 1], weight=[0, 2, 3, 4], node_ids=["a", "b", "c"], hyperedge_ids=[10, 20]
        ),
        metadata={"source": "here"},
        nodes={0: {"name": "x"}, 2: {"name": "z"}},
        hyperedges={1: {"kind": "late"}},
        incidences={(1, 0): {"role": "guest"}, (1, 1): {"role": "host"}},
    )
    part = build.subhypergraph(h, [2, 1], [1])
    assert part.node_ids.tolist() == ["c", "b"] and part.hyperedge_ids.tolist() == [20]
    assert part.by_hyperedge.value.tolist() == [3, 4] and part.node_weight.tolist() == [3, 2]
    assert part.attributes == Attributes(
        {"source": "here"}, {0: {"name": "z"}}, {0: {"kind": "late"}}, {(1, 0): {"role": "host"}}
    )
    assert build.subhypergraph(h, [0, 1]).by_hyperedge.value.tolist() == [0, 2, 4]  # an incidence of value 0 is one


def test_what_cannot_be_a_part_is_refused(five):
    with pytest.raises(ValueError, match=r"hyperedges must be in \[0, 4\), got \[0, 4\]"):
        build.subhypergraph(five, hyperedges=[0, 4])
    with pytest.raises(ValueError, match=r"nodes must be in \[0, 5\), got \[-1, 2\]"):
        build.subhypergraph(five, [2, -1])
    with pytest.raises(ValueError, match="a mask of hyperedges must have 4 entries"):
        build.subhypergraph(five, hyperedges=[True])
    with pytest.raises(ValueError, match="nodes must be a list of numbers or a mask, got float64"):
        build.subhypergraph(five, [0.5])


def test_drop_small_counts_members(five):
    h = build.drop_small(five)
    assert members(h) == [[0, 1, 2], [2, 3]] and h.num_nodes == 5
    assert members(build.drop_small(five, 3)) == [[0, 1, 2]]
    assert build.drop_small(h) is h and h.hyperedge_ids.tolist() == [0, 1]


def test_drop_isolated_numbers_the_rest_anew(five):
    h = build.drop_isolated(build.subhypergraph(five, hyperedges=[1, 2]))
    assert members(h) == [[0, 1], [1]] and h.node_ids.tolist() == [2, 3]


def slow_merge(h: Hypergraph) -> tuple[list, list[float]]:
    found: dict[tuple, float] = {}
    indptr, indices, value = h.numpy_members()
    for e in range(h.num_hyperedges):
        row = slice(indptr[e], indptr[e + 1])
        key = tuple(indices[row]), None if value is None else tuple(value[row])
        found[key] = found.get(key, 0) + (1 if h.hyperedge_weight is None else float(h.hyperedge_weight[e]))
    return [list(nodes) for nodes, _ in found], list(found.values())


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_merging_equals_a_slow_loop(valued, weighted):
    rng = np.random.default_rng(0)
    nodes, hyperedges = np.nonzero(rng.random((4, 60)) < 0.5)
    value = rng.integers(1, 3, len(nodes)) if valued else None
    weight = rng.integers(1, 9, 60) if weighted else None
    h = Hypergraph.from_pairs(nodes, hyperedges, 4, 60, weight=value, hyperedge_weight=weight)
    merged = build.merge_equal(h)
    slow_members, slow_weights = slow_merge(h)
    assert merged.num_hyperedges < 60 and members(merged) == slow_members
    assert merged.hyperedge_weight.tolist() == slow_weights
    x = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(merged.propagate(x), h.propagate(x))


def test_hyperedges_with_one_hash_but_other_members_never_merge(monkeypatch):
    draw = equal._codes
    salts = []

    def colliding(indptr, indices, value, num_nodes, salt):
        salts.append(salt)
        code = draw(indptr, indices, value, num_nodes, salt)
        return code if salt >= 2 else np.zeros_like(code)

    monkeypatch.setattr(equal, "_codes", colliding)
    h = build.merge_equal(build.from_groups([[0, 1], [2, 3], [0, 1], [2], [3]]))
    assert members(h) == [[0, 1], [2, 3], [2], [3]] and h.hyperedge_weight.tolist() == [2, 1, 1, 1]
    assert salts == [0, 1, 2]


def test_hyperedges_with_one_hash_but_other_values_never_merge(monkeypatch):
    draw = equal._codes
    monkeypatch.setattr(
        equal, "_codes", lambda *rows: draw(*rows) if rows[-1] else np.zeros(len(rows[0]) - 1, np.uint64)
    )
    h = build.merge_equal(Hypergraph.from_pairs([0, 0, 0], [0, 1, 2], weight=[1, 2, 1]))
    assert h.size().tolist() == [1, 2] and h.hyperedge_weight.tolist() == [2, 1]


def test_merging_nothing_returns_the_same(five):
    assert build.merge_equal(five) is five
    assert build.merge_equal(Hypergraph.from_pairs([], [])).num_hyperedges == 0


def test_empty_hyperedges_are_equal():
    h = build.merge_equal(Hypergraph.from_pairs([0], [1], 1, 4))
    assert members(h) == [[], [0]] and h.hyperedge_weight.tolist() == [3, 1]


@pytest.mark.parametrize("ids", [["1", 1], [1, "1"], ("a", b"a"), [1, True], [None, "a"]])
def test_ids_of_several_types_are_refused(ids):
    for arguments in ((ids, [7, 7]), ([7, 7], ids)):
        with pytest.raises(ValueError, match="ids must be all integers or all strings, got "):
            build.from_ids(*arguments)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"team": [0, 1]}, r"takes a list of groups of node numbers, got a dict: use groups.values\(\)"),
        ({0, 1}, "got a set: use a list of lists"),
        ("01", "got a str: use a list of lists"),
        ([0, 1], "a group is a list of node numbers, got 0 as group 0"),
        ([[0], [[1, 2]]], r"got \[\[1, 2\]\] as group 1"),
    ],
)
def test_groups_that_are_no_lists_of_numbers_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        build.from_groups(groups)


def test_groups_may_be_sets_and_views():
    wanted = build.from_groups([[0, 1], [2]])
    assert build.from_groups([{1, 0}, frozenset({2})]).equals(wanted)
    assert build.from_groups({"a": [0, 1], "b": (2,)}.values()).equals(wanted)


def test_a_call_of_the_class_says_how_hypergraphs_are_made():
    for arguments in (([[0, 1], [1, 2]],), (3, 2)):
        with pytest.raises(TypeError, match="takes stored parts: use from_pairs or graphs.build.from_groups"):
            Hypergraph(*arguments)
    h = build.from_groups([[0, 1], [1, 2]])
    assert all(same.equals(h) for same in (copy.copy(h), copy.deepcopy(h), pickle.loads(pickle.dumps(h)), replace(h)))


def test_merging_says_what_it_loses_and_is_silent_where_nothing_is_lost():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build.merge_equal(build.from_groups([[0, 1], [0, 1]]))  # no ids, no attributes
        named = replace(build.from_groups([[0, 1], [1, 2]]), hyperedge_ids=np.array(["a", "b"]))
        build.merge_equal(named)  # nothing is equal
        twice = replace(build.from_groups([[0, 1], [0, 1]]), hyperedge_ids=np.array(["a", "b"]))
        build.merge_equal(twice, warn=False)
        build.union(named, named, warn=False)
    with pytest.warns(UserWarning, match="keeps the first of equal hyperedges: lost are ids of 1 hyperedges$"):
        assert build.merge_equal(twice).hyperedge_ids.tolist() == ["a"]
    known = replace(twice, attributes=Attributes(hyperedges={0: {"x": 1}, 1: {"x": 2}}, incidences={(0, 1): {"y": 3}}))
    with pytest.warns(UserWarning, match="ids of 1 hyperedges and attributes of 2 of them and their members"):
        build.union(known)
