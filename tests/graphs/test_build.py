"""Builders: members by hand, and merging against a slow loop."""

import numpy as np
import pytest
import torch

from graphs import Hypergraph, build


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
    with pytest.raises(ValueError, match=r"k must lie in \[0, 3\), got 3"):
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


def test_select_takes_hyperedges_in_the_order_asked(five):
    h = build.select(five, [2, 0])
    assert members(h) == [[3], [0, 1, 2]] and h.hyperedge_weight.tolist() == [0.5, 1] and h.num_nodes == 5
    assert members(build.select(five, torch.tensor([True, False, False, True]))) == [[0, 1, 2], []]
    assert members(build.select(five, [])) == []
    with pytest.raises(ValueError, match=r"hyperedges must lie in \[0, 4\), got \[0, 4\]"):
        build.select(five, [0, 4])
    with pytest.raises(ValueError, match="a mask must have 4 entries"):
        build.select(five, [True])


def test_drop_small_counts_members(five):
    h = build.drop_small(five)
    assert members(h) == [[0, 1, 2], [2, 3]] and h.num_nodes == 5
    assert members(build.drop_small(five, 3)) == [[0, 1, 2]]
    assert build.drop_small(h) is h


def test_drop_isolated_numbers_the_rest_anew(five):
    h = build.drop_isolated(build.select(five, [1, 2]))
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
    draw = build._codes
    salts = []

    def colliding(indptr, indices, value, num_nodes, salt):
        salts.append(salt)
        code = draw(indptr, indices, value, num_nodes, salt)
        return code if salt >= 2 else np.zeros_like(code)

    monkeypatch.setattr(build, "_codes", colliding)
    h = build.merge_equal(build.from_groups([[0, 1], [2, 3], [0, 1], [2], [3]]))
    assert members(h) == [[0, 1], [2, 3], [2], [3]] and h.hyperedge_weight.tolist() == [2, 1, 1, 1]
    assert salts == [0, 1, 2]


def test_hyperedges_with_one_hash_but_other_values_never_merge(monkeypatch):
    draw = build._codes
    monkeypatch.setattr(
        build, "_codes", lambda *rows: draw(*rows) if rows[-1] else np.zeros(len(rows[0]) - 1, np.uint64)
    )
    h = build.merge_equal(Hypergraph.from_pairs([0, 0, 0], [0, 1, 2], weight=[1, 2, 1]))
    assert h.size().tolist() == [1, 2] and h.hyperedge_weight.tolist() == [2, 1]


def test_merging_nothing_returns_the_same(five):
    assert build.merge_equal(five) is five
    assert build.merge_equal(Hypergraph.from_pairs([], [])).num_hyperedges == 0


def test_empty_hyperedges_are_equal():
    h = build.merge_equal(Hypergraph.from_pairs([0], [1], 1, 4))
    assert members(h) == [[], [0]] and h.hyperedge_weight.tolist() == [3, 1]
