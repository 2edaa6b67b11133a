"""Caps: bounds, seeds and the statistics of the draw."""

import numpy as np
import pytest
import torch

from graphs import Hypergraph, build, cap


@pytest.fixture
def crowded() -> Hypergraph:
    nodes, hyperedges = np.nonzero(np.random.default_rng(0).random((40, 30)) < 0.5)
    return Hypergraph.from_pairs(
        nodes,
        hyperedges,
        41,
        31,
        weight=1 + nodes + 100 * hyperedges,
        hyperedge_weight=np.arange(31),
        node_ids=range(41),
    )


def pairs(h: Hypergraph) -> set[tuple[int, int]]:
    return {(v, e) for e in range(h.num_hyperedges) for v in h.members(e).tolist()}


def counts(h: Hypergraph) -> tuple[torch.Tensor, torch.Tensor]:
    return h.by_hyperedge.indptr.diff(), h.by_node.indptr.diff()


def test_a_full_hyperedge_keeps_exactly_k_of_its_members(crowded):
    sampled = cap(crowded, size=15, seed=1)
    assert torch.equal(counts(sampled)[0], counts(crowded)[0].clamp(max=15))
    assert pairs(sampled) < pairs(crowded)


def test_a_busy_node_keeps_exactly_k_of_its_hyperedges(crowded):
    sampled = cap(crowded, degree=12, seed=1)
    assert torch.equal(counts(sampled)[1], counts(crowded)[1].clamp(max=12))


def test_both_caps_hold_together(crowded):
    sizes, degrees = counts(cap(crowded, size=15, degree=5, seed=1))
    assert sizes.max() <= 15 and degrees.max() == 5


def test_what_is_kept_keeps_its_value_weight_and_id(crowded):
    sampled = cap(crowded, size=10, degree=6, seed=3)
    indptr, indices, value = sampled.numpy_members()
    hyperedges = np.repeat(np.arange(31), np.diff(indptr))
    assert np.array_equal(value, 1 + indices + 100 * hyperedges)
    assert sampled.hyperedge_weight.tolist() == list(range(31)) and sampled.node_ids.tolist() == list(range(41))
    assert (sampled.num_nodes, sampled.num_hyperedges) == (41, 31)


def test_small_hyperedges_are_left_whole_beside_a_full_one():
    h = build.from_groups([[0, 1], list(range(9)), [4], []])
    sampled = cap(h, size=3, seed=0)
    assert [sampled.members(e).tolist() for e in (0, 2, 3)] == [[0, 1], [4], []]
    assert len(sampled.members(1)) == 3


def test_degrees_are_those_of_the_sample(crowded):
    sampled = cap(crowded, size=10, seed=0)
    x = torch.ones(41, 1)
    torch.testing.assert_close(sampled.propagate(x, norm="row")[:, 0], (~sampled.isolated).float())


def test_a_seed_names_its_draw_and_the_global_state_does_not_matter(crowded):
    np.random.seed(0)
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = pairs(cap(crowded, 7, 7, seed=5))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    np.random.seed(99)
    torch.manual_seed(99)
    assert pairs(cap(crowded, 7, 7, seed=5)) == first
    assert pairs(cap(crowded, 7, 7, seed=6)) != first
    assert pairs(cap(crowded, 7, 7, seed=(5, 1))) != pairs(cap(crowded, 7, 7, seed=(5, 2)))


def test_every_member_is_equally_likely():
    """3 of 8 members, 2000 draws: each is kept 750 times give or take 5 standard errors of 21.7."""
    h = build.from_groups([range(8), [0, 1]])
    kept = np.zeros(8)
    for seed in range(2000):
        kept[cap(h, size=3, seed=seed).members(0)] += 1
    assert kept.sum() == 6000 and np.abs(kept - 750).max() < 5 * 21.7


def test_a_tie_in_the_draw_still_keeps_exactly_k(monkeypatch, crowded):
    real = np.random.default_rng

    class Tied:
        """Draws zeros once, then properly."""

        def __init__(self, seed):
            self.rng, self.draws = real(seed), 0

        def integers(self, high, size):
            self.draws += 1
            return np.zeros(size, dtype=np.int64) if self.draws == 1 else self.rng.integers(high, size=size)

    monkeypatch.setattr(np.random, "default_rng", Tied)
    assert counts(cap(crowded, size=5))[0].max() == 5


def test_negative_caps_are_an_error(five):
    with pytest.raises(ValueError, match=r"0 is no cap\), got size=-1 and degree=0"):
        cap(five, size=-1)
