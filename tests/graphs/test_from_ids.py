"""Ids as arrays and numbers, rows as keys: against slow loops, for every kind of id."""

import numpy as np
import pytest
import torch

from graphs import build, from_ids
from graphs.index.ids import id_array, number

KINDS = {
    "dense": np.arange(40),
    "from one": np.arange(1, 41),
    "negative": np.arange(-30, 10),
    "far from zero": 10**15 + np.arange(40),
    "31 bits": np.append(np.arange(39) * 7, 2**31 - 1),
    "32 bits": np.append(np.arange(39) * 7, 2**31),
    "nearly 32 bits": np.append(2**31 - 20 + np.arange(39), 2**32 - 25),
    "sparse": np.arange(40) * 10**10 - 10**11,
    "hashes": np.sort(np.random.default_rng(7).integers(-(2**63), 2**63, 40)),
    "extremes": np.append(np.arange(-(2**63), -(2**63) + 39), 2**63 - 1),
    "strings": np.array(sorted(f"user {n}" for n in range(40))),
    "int8": np.arange(-20, 20, dtype=np.int8),
    "uint32": (2**32 - 40 + np.arange(40)).astype(np.uint32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_lead_back_to_the_ids(kind):
    ids = KINDS[kind][np.random.default_rng(0).integers(0, 40, 500)]
    distinct, numbers = number(ids)
    assert distinct.tolist() == sorted(set(ids.tolist())) and distinct[numbers].tolist() == ids.tolist()
    assert distinct.dtype == (np.int64 if kind != "strings" else ids.dtype)


def test_numbers_of_few_ids_by_hand():
    assert [a.tolist() for a in number([5, -7, 5])] == [[-7, 5], [1, 0, 1]]
    assert [a.tolist() for a in number(["b", "a"])] == [["a", "b"], [1, 0]]
    assert [a.tolist() for a in number([])] == [[], []]
    assert [a.tolist() for a in number(torch.tensor([2**62, -(2**62) - 1]))] == [[-(2**62) - 1, 2**62], [1, 0]]


def test_ids_that_are_neither_integers_nor_strings_are_refused():
    for ids, message in (
        ([[1]], r"users must have one dimension, got shape \[1, 1\]"),
        ([0.5], "users must be integers or strings, got float64"),
        ([True], "users must be integers or strings, got bool"),
        (np.array(["a", 1], dtype=object), "users must be all integers or all strings, got int 1 at position 1"),
        (np.array([2**63], dtype=np.uint64), "users must be below 2.63, got 9223372036854775808"),
    ):
        with pytest.raises(ValueError, match=message):
            id_array("users", ids)


def slow_groups(nodes, hyperedges, group) -> dict[int, dict]:
    groups: dict[int, dict] = {}
    for node, hyperedge, g in zip(nodes.tolist(), hyperedges.tolist(), group.tolist(), strict=True):
        groups.setdefault(g, {}).setdefault(hyperedge, set()).add(node)
    return groups


def by_id(h) -> dict:
    ids = h.node_ids.tolist()
    return {e_id: {ids[v] for v in h.members(e).tolist()} for e, e_id in enumerate(h.hyperedge_ids.tolist())}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("node_kind", KINDS)
@pytest.mark.parametrize("hyperedge_kind", ["dense", "nearly 32 bits", "hashes", "strings"])
def test_groups_equal_a_slow_loop(node_kind, hyperedge_kind, together, monkeypatch):
    monkeypatch.setattr(from_ids, "CHUNK", 64)
    rng = np.random.default_rng(0)
    nodes = KINDS[node_kind][rng.integers(0, 40, 700)]
    hyperedges = KINDS[hyperedge_kind][rng.integers(0, 40, 700)]
    group = rng.choice([0, 1, 2, 5, 300], 700)
    group = np.sort(group) if together else group
    built = from_ids.from_grouped_ids(nodes, hyperedges, group)
    assert list(built) == [0, 1, 2, 5, 300]
    assert {g: by_id(h) for g, h in built.items()} == slow_groups(nodes, hyperedges, group)
    for g, h in built.items():
        assert h.equals(build.from_ids(nodes[group == g], hyperedges[group == g]))
        assert h.node_ids.tolist() == sorted(h.node_ids.tolist())
        assert h.T.T.equals(h) and h.by_node.indices.dtype == torch.int32


@pytest.mark.parametrize("bits", [30, 31])
@pytest.mark.parametrize("hyperedges", [[0, 0, 0, 0], [0, 1, 0, 1], [3, 0, 3, 0]])
def test_keys_about_as_wide_as_32_bits(bits, hyperedges):
    """30 to 33 bits: another kind of key beyond 31."""
    nodes = np.array([2**bits - 1, 2**bits - 1, 0, 0])
    assert by_id(build.from_ids(nodes, hyperedges)) == slow_groups(nodes, np.array(hyperedges), np.zeros(4))[0]


def test_a_group_of_sparse_ids_and_a_dense_one_have_the_same_form():
    """Ids of a small range are numbered by the columns, of a wide one by a sort; products and ids do not tell."""
    rng = np.random.default_rng(0)
    nodes, hyperedges = rng.integers(0, 20, 300), rng.integers(0, 9, 300)
    dense, sparse = build.from_ids(nodes, hyperedges), build.from_ids(nodes * 10**6, hyperedges)
    pairs = zip(dense.by_node + dense.by_hyperedge, sparse.by_node + sparse.by_hyperedge, strict=True)
    for a, b in ((a, b) for a, b in pairs if a is not None):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert (dense.node_ids * 10**6).tolist() == sparse.node_ids.tolist()


def test_the_callers_arrays_stay_as_they_were():
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 9, 50), rng.integers(0, 9, 50), rng.integers(0, 4, 50)
    copies = [a.copy() for a in arrays]
    from_ids.from_grouped_ids(*arrays)
    build.from_ids(arrays[0], arrays[1])
    assert all((a == b).all() for a, b in zip(arrays, copies, strict=True))


def test_no_rows_make_no_groups():
    none = np.empty(0, dtype=np.int64)
    assert from_ids.from_grouped_ids(none, none, none) == {}
    h = from_ids.from_ids(none, none)
    assert (h.num_nodes, h.num_hyperedges, h.num_incidences) == (0, 0, 0) and len(h.node_ids) == 0


def test_from_ids_refuses_lengths_that_disagree():
    with pytest.raises(ValueError, match="must have the same length, got 2 and 1 entries"):
        build.from_ids([1, 2], [1])
