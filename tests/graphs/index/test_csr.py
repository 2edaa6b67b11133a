"""Sorting pairs, turning rows into columns: against slow loops, where the fast ways begin and end."""

from itertools import pairwise

import numpy as np
import pytest

from graphs import Hypergraph
from graphs.index import csr


def slow_members(nodes, hyperedges, num_hyperedges, value=None) -> list[dict]:
    """Node -> value of each hyperedge, nodes increasing."""
    members = [{} for _ in range(num_hyperedges)]
    for k, (node, hyperedge) in enumerate(zip(nodes.tolist(), hyperedges.tolist(), strict=True)):
        members[hyperedge][node] = 1.0 if value is None else members[hyperedge].get(node, 0.0) + float(value[k])
    return [dict(sorted(row.items())) for row in members]


def rows_of(indptr, indices, value) -> list[dict]:
    value = np.ones(len(indices)) if value is None else value
    rows = [slice(a, b) for a, b in pairwise(indptr.tolist())]
    return [dict(zip(indices[row].tolist(), value[row].tolist(), strict=True)) for row in rows]


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("num_nodes", "num_hyperedges"),
    [(1, 1), (30, 20), (2**16, 2**15), (2**16, 2**15 + 1), (2**17, 2**20), (2**30, 2), (2**31, 1), (1, 2**20)],
)
def test_sorted_pairs_equal_a_slow_loop(num_nodes, num_hyperedges, dtype, valued):
    """Keys of 30, 31, 32 and more bits: the widths around which another kind of key is sorted."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, num_nodes, 9, dtype=np.int64)
    nodes = np.append(few[rng.integers(0, 9, 300)], num_nodes - 1).astype(dtype)
    few = rng.integers(0, num_hyperedges, 5)
    hyperedges = np.append(few[rng.integers(0, 5, 300)], num_hyperedges - 1).astype(dtype)
    value = rng.integers(1, 9, 301).astype(np.float32) / 4 if valued else None
    indptr, indices, got = csr.sort_pairs(nodes, hyperedges, num_nodes, num_hyperedges, value)
    assert len(indptr) == num_hyperedges + 1 and indptr[-1] == len(indices)
    rows = np.flatnonzero(np.diff(indptr))
    expected = slow_members(nodes, np.searchsorted(rows, hyperedges), len(rows), value)
    got = None if got is None else got.astype(np.float64)
    assert rows_of(np.append(indptr[rows], indptr[-1]), indices, got) == expected
    assert all(list(row) == sorted(row) for row in rows_of(np.append(indptr[rows], indptr[-1]), indices, got))


def test_the_callers_arrays_stay_as_they_were():
    nodes, hyperedges, value = np.array([2, 1, 2]), np.array([1, 0, 1]), np.array([1, 2, 3], dtype=np.float32)
    csr.sort_pairs(nodes, hyperedges, 3, 2, None)
    csr.sort_pairs(nodes, hyperedges, 3, 2, value)
    assert nodes.tolist() == [2, 1, 2] and hyperedges.tolist() == [1, 0, 1] and value.tolist() == [1, 2, 3]


def test_no_pairs_give_empty_rows():
    none = np.empty(0, dtype=np.int64)
    for value in (None, np.empty(0, dtype=np.float32)):
        indptr, indices, got = csr.sort_pairs(none, none, 4, 3, value)
        assert indptr.tolist() == [0, 0, 0, 0] and len(indices) == 0 and (got is None) == (value is None)
        by_node = csr.transpose(indptr, indices, got, 4)
        assert by_node[0].tolist() == [0, 0, 0, 0, 0]


def test_values_of_equal_pairs_are_added_in_double_precision():
    """1 + 1 + 2^24, which sums in float32 would leave at 2^24."""
    value = np.array([1, 1, 5, 2**24], dtype=np.float32)
    indptr, indices, got = csr.sort_pairs(np.array([0, 0, 1, 0]), np.zeros(4, dtype=np.int64), 2, 1, value)
    assert indices.tolist() == [0, 1] and got.tolist() == [2**24 + 2, 5] and got.dtype == np.float32


@pytest.mark.parametrize("bits", [1, 20, 54, 55, 63])
def test_sorting_with_order_is_a_stable_argsort(bits):
    """300 places take 9 bits: with 54 they fit in 63, with 55 they do not."""
    few = np.random.default_rng(0).integers(0, 2**bits - 1, 40, dtype=np.int64, endpoint=True)
    key = few[np.random.default_rng(1).integers(0, 40, 300)]
    ordered, order = csr.sort_with_order(key, bits)
    expected = np.argsort(key, kind="stable")
    assert order.tolist() == expected.tolist() and ordered.tolist() == key[expected].tolist()


def test_starts_by_hand():
    assert csr.starts(np.array([3, 3, 4, 9, 9, 9])).tolist() == [True, False, True, True, False, False]
    assert csr.starts(np.array([7])).tolist() == [True] and csr.starts(np.array([])).tolist() == []


@pytest.mark.parametrize("valued", [False, True])
def test_columns_by_hand(valued):
    value = np.array([1, 2, 3, 4], dtype=np.float32) if valued else None
    indptr, indices = np.array([0, 2, 2, 4], dtype=np.int32), np.array([0, 3, 0, 1], dtype=np.int32)
    by_column, rows, got = csr.transpose(indptr, indices, value, 5)
    assert by_column.tolist() == [0, 2, 3, 3, 4, 4] and rows.tolist() == [0, 2, 2, 0]
    assert got is None if value is None else got.tolist() == [1, 3, 4, 2]
    assert by_column.dtype == rows.dtype == np.int32


def test_both_orientations_hold_the_same_incidences():
    rng = np.random.default_rng(0)
    nodes, hyperedges = rng.integers(0, 70, 2000), rng.integers(0, 50, 2000)
    h = Hypergraph.from_pairs(nodes, hyperedges, 75, 55, weight=rng.integers(1, 5, 2000))
    by_node = rows_of(*(a.numpy() for a in h.by_node))
    by_hyperedge = rows_of(*h.numpy_members())
    assert {(v, e, w) for v, row in enumerate(by_node) for e, w in row.items()} == {
        (v, e, w) for e, row in enumerate(by_hyperedge) for v, w in row.items()
    }
    assert sum(map(len, by_node)) == h.num_incidences == len(set(zip(nodes.tolist(), hyperedges.tolist(), strict=True)))
