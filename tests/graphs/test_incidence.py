"""Incidence: what is stored, what is refused, and the degrees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs import Hypergraph, incidence


def members(h: Hypergraph) -> list[list[int]]:
    return [h.members(e).tolist() for e in range(h.num_hyperedges)]


def assert_same(a: Hypergraph, b: Hypergraph) -> None:
    assert (a.num_nodes, a.num_hyperedges) == (b.num_nodes, b.num_hyperedges)
    for left, right in zip(a.by_node + a.by_hyperedge, b.by_node + b.by_hyperedge, strict=True):
        assert (left is None) == (right is None) and (left is None or torch.equal(left, right))
    assert (a.hyperedge_weight is None) == (b.hyperedge_weight is None)
    assert a.hyperedge_weight is None or torch.equal(a.hyperedge_weight, b.hyperedge_weight)
    for left, right in ((a.node_ids, b.node_ids), (a.hyperedge_ids, b.hyperedge_ids)):
        assert (left is None) == (right is None) and (left is None or np.array_equal(left, right))


def test_five_nodes_by_hand(five):
    assert (five.num_nodes, five.num_hyperedges, five.num_incidences) == (5, 4, 6)
    assert five.degree().tolist() == [1, 1, 3, 2.5, 0]  # summed weights
    assert five.size().tolist() == [3, 2, 1, 0]
    assert members(five) == [[0, 1, 2], [2, 3], [3], []]
    assert [five.hyperedges(v).tolist() for v in range(5)] == [[0], [0], [0, 1], [1, 2], []]
    assert five.isolated.tolist() == [False] * 4 + [True]


@pytest.mark.parametrize("wrap", [list, np.array, lambda a: np.array(a, np.uint8), torch.tensor])
def test_lists_arrays_and_tensors_in_any_order_give_the_same(wrap, five):
    order = [3, 0, 5, 2, 4, 1]
    nodes, hyperedges = [0, 1, 2, 2, 3, 3], [0, 0, 0, 1, 1, 2]
    h = Hypergraph.from_pairs(
        wrap([nodes[i] for i in order]), wrap([hyperedges[i] for i in order]), 5, 4, hyperedge_weight=wrap([2, 4, 1, 6])
    )
    assert members(h) == members(five)
    assert h.hyperedge_weight.tolist() == [2, 4, 1, 6]
    assert all(a is None or a.dtype == torch.int32 for a in (*h.by_node[:2], *h.by_hyperedge[:2]))


def test_counts_default_to_the_largest_number_plus_one():
    h = Hypergraph.from_pairs([4, 0], [1, 1])
    assert (h.num_nodes, h.num_hyperedges) == (5, 2)
    assert members(h) == [[], [0, 4]]


def test_no_pairs_are_a_hypergraph_without_incidences():
    for h, shape in ((Hypergraph.from_pairs([], []), (0, 0)), (Hypergraph.from_pairs([], [], 3, 2), (3, 2))):
        assert (h.num_nodes, h.num_hyperedges) == shape and h.num_incidences == 0
        assert h.degree().tolist() == [0] * shape[0] and h.size().tolist() == [0] * shape[1]
        assert members(h) == [[]] * shape[1]


def test_equal_pairs_are_one_incidence_and_their_weights_add():
    nodes, hyperedges = [1, 0, 1, 1], [0, 0, 0, 0]
    plain = Hypergraph.from_pairs(nodes, hyperedges)
    assert plain.num_incidences == 2 and plain.size().tolist() == [2]
    weighted = Hypergraph.from_pairs(nodes, hyperedges, weight=[1, 10, 2, 4])
    assert weighted.by_hyperedge.value.tolist() == [10, 7]
    assert weighted.size().tolist() == [17] and weighted.degree().tolist() == [10, 7]


def test_values_follow_their_incidence_in_both_halves(random_hypergraph, dense):
    h = random_hypergraph(valued=True)
    H = dense(h)  # filled from the members of each hyperedge
    for v in range(h.num_nodes):
        start, end = h.by_node.indptr[v], h.by_node.indptr[v + 1]
        for e, value in zip(h.by_node.indices[start:end], h.by_node.value[start:end], strict=True):
            assert H[v, e] == value
            H[v, e] = 0
    assert not H.any()


def test_the_dual_exchanges_nodes_and_hyperedges_without_a_copy(five):
    dual = five.T
    assert (dual.num_nodes, dual.num_hyperedges) == (4, 5)
    assert dual.by_node.indices.data_ptr() == five.by_hyperedge.indices.data_ptr()
    assert dual.degree().tolist() == [3, 2, 1, 0] and dual.size().tolist() == [1, 1, 2, 2, 0]
    assert dual.hyperedge_weight is None
    assert_same(dual.T, five)


def test_counts_past_the_int32_limit_use_int64(five, monkeypatch):
    monkeypatch.setattr(incidence, "INT32_LIMIT", 6)
    wide = Hypergraph.from_pairs([0, 1, 2, 2, 3, 3], [0, 0, 0, 1, 1, 2], 5, 4, hyperedge_weight=[1, 2, 0.5, 3])
    assert {a.dtype for half in (wide.by_node, wide.by_hyperedge) for a in half[:2]} == {torch.int64}
    x = torch.randn(5, 3)
    torch.testing.assert_close(wide.propagate(x), five.propagate(x))


def test_degrees_are_summed_in_double():
    """2^24 + 1 is the first integer that float32 lacks: a float32 sum of these weights would lose every small one."""
    h = Hypergraph.from_pairs([0] * 5, range(5), hyperedge_weight=[2**24, 1, 1, 1, 1])
    assert h.degree().tolist() == [2**24 + 4]


def test_moving_keeps_everything_and_staying_copies_nothing(random_hypergraph):
    h = random_hypergraph(valued=True)
    assert h.to("cpu") is h
    moved = h.to("meta")
    tensors = (*moved.by_node, *moved.by_hyperedge, moved.hyperedge_weight)
    assert all(t.device.type == "meta" for t in tensors)
    assert moved.by_node.indices.shape == h.by_node.indices.shape
    assert h.T.to("meta").T.hyperedge_weight.device.type == "meta"


def test_ids_of_the_caller_are_kept_and_not_shared():
    ids = np.array([70, 80])
    h = Hypergraph.from_pairs([0, 1], [0, 0], node_ids=ids, hyperedge_ids=["cat"])
    ids[0] = 0
    assert h.node_ids.tolist() == [70, 80] and h.hyperedge_ids.tolist() == ["cat"]
    assert h.T.node_ids.tolist() == ["cat"]


def test_it_prints_itself_in_one_line(five):
    assert repr(five) == "Hypergraph(5 nodes, 4 hyperedges, 6 incidences, weighted)"
    assert repr(Hypergraph.from_pairs([0], [0])) == "Hypergraph(1 nodes, 1 hyperedges, 1 incidences)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(nodes=[0, 1], hyperedges=[0]), "same length, got 2 and 1"),
        (dict(nodes=[0], hyperedges=[5], num_hyperedges=4), r"hyperedge ids must be in \[0, 4\), got \[5, 5\]\.$"),
        (
            dict(nodes=[0, 3], hyperedges=[0, 52], num_nodes=60, num_hyperedges=40),
            r"hyperedge ids must be in \[0, 40\), got \[0, 52\]\. Rows swapped\? Nodes come first",
        ),
        (dict(nodes=[-1, 2], hyperedges=[0, 0]), r"node ids must be in \[0, 3\), got \[-1, 2\]"),
        (dict(nodes=[0.0], hyperedges=[0]), "node ids must be integers from 0, got float64"),
        (dict(nodes=[True], hyperedges=[0]), "must be integers from 0, got bool"),
        (dict(nodes=["a"], hyperedges=[0]), "from_ids numbers ids of any kind"),
        (dict(nodes=[[0]], hyperedges=[[0]]), r"one dimension, got shape \[1, 1\]"),
        (dict(nodes=[], hyperedges=[], num_nodes=-1), "must not be negative, got -1"),
        (dict(nodes=[10**15], hyperedges=[0]), "too many; graphs.build.from_ids numbers sparse ids"),
        (
            dict(nodes=[0], hyperedges=[0], weight=[1, 2]),
            r"weight must have one entry per pair, \[1\], got shape \[2\]",
        ),
        (dict(nodes=[0, 1], hyperedges=[0, 0], weight=[1, -1]), r"not negative, got -1.0 at position 1"),
        (dict(nodes=[0], hyperedges=[0], hyperedge_weight=[np.nan]), "hyperedge_weight must be finite .* got nan"),
        (dict(nodes=[0], hyperedges=[0], hyperedge_weight=[np.inf]), "must be finite"),
        (dict(nodes=[0], hyperedges=[0], hyperedge_weight=["1"]), "must be numbers, got <U1"),
        (dict(nodes=[0], hyperedges=[0], hyperedge_weight=torch.ones(1, requires_grad=True)), "give it to propagate"),
        (dict(nodes=[0], hyperedges=[0], node_ids=[1, 2]), r"node_ids must have 1 entries, got shape \[2\]"),
        (dict(nodes=[0], hyperedges=[0], node_ids=[0.5]), "integers or strings, got float64"),
        (dict(nodes=[0], hyperedges=[0], node_ids=[None]), "integers or strings, got object"),
    ],
)
def test_errors_say_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        Hypergraph.from_pairs(**arguments)
    assert "\n" not in str(error.value)


def test_members_of_what_is_not_there_are_an_error(five):
    with pytest.raises(ValueError, match=r"hyperedge must be in \[0, 4\), got 4"):
        five.members(4)
    with pytest.raises(ValueError, match=r"node must be in \[0, 5\), got -1"):
        five.hyperedges(-1)


def test_hyperedge_index_of_five_nodes(five):
    assert five.hyperedge_index.tolist() == [[0, 1, 2, 2, 3, 3], [0, 0, 0, 1, 1, 2]]
    assert five.T.hyperedge_index.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 3, 3]]
    assert Hypergraph.from_pairs([], [], 2, 2).hyperedge_index.shape == (2, 0)


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_degrees_and_sizes_equal_a_loop_bit_for_bit(random_hypergraph, valued, weighted):
    """Summed in double in the order of the incidences."""
    h = random_hypergraph(60, 40, valued=valued, weighted=weighted)
    for matrix, weight, sums in ((h.by_node, h.hyperedge_weight, h.degree()), (h.by_hyperedge, None, h.size())):
        indptr, indices, value = (None if a is None else a.tolist() for a in matrix)
        weight = None if weight is None else weight.tolist()
        for row in range(len(indptr) - 1):
            total = 0.0
            for k in range(indptr[row], indptr[row + 1]):
                total += (1 if value is None else value[k]) * (1 if weight is None else weight[indices[k]])
            assert np.float32(total) == sums[row].item()


def test_a_copy_starts_with_an_empty_cache(five):
    five.degree()
    assert five._cache and not replace(five)._cache and not five.T._cache
