"""Caps: bounds, seeds and the statistics of the draw. Blocks: the whole without caps, its mean with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs import HGCN, HGCNConv, Hypergraph, HypergraphConv, build, cap
from graphs.attributes import Attributes
from graphs.layers import HypergraphAttention
from graphs.sample import blocks


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


BATCH = [3, 40, 17, 3, 0]  # node 40 is isolated, node 3 comes twice


@pytest.mark.parametrize(
    "model",
    [
        HGCN(3, 1),
        HGCN(3, 3, residual=True),
        HGCN(3, 2, isolated="zero"),
        HGCN(3, 0),
    ],
    ids=["one layer", "residual", "zero", "no layer"],
)
def test_blocks_without_caps_give_what_the_whole_hypergraph_gives(crowded, model):
    model = model.double()
    x = torch.randn(41, 3, dtype=torch.float64, requires_grad=True)
    leaves = [x, *model.parameters()]
    inputs, steps = blocks(crowded, BATCH, len(model.layers))
    y, expected = model(x[inputs], steps), model(x, crowded)[BATCH]
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad(z.pow(2).sum(), leaves) for z in (y, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [HGCNConv(3, 2, bias=True), HGCNConv(2, 3, norm="row"), HypergraphConv(3, 2)],
    ids=["sym", "row", "HypergraphConv"],
)
def test_a_layer_takes_a_block_in_the_place_of_a_hypergraph(crowded, conv):
    x = torch.randn(41, 2 if isinstance(conv, HGCNConv) and conv.norm == "row" else 3)
    for h in (crowded, Hypergraph.from_pairs(*crowded.hyperedge_index, 41, 31)):  # with weights and values, and without
        inputs, (block,) = blocks(h, torch.tensor(BATCH), 1)
        torch.testing.assert_close(conv(x[inputs], block), conv(x, h)[BATCH])
        assert torch.equal(block.isolated, h.isolated[BATCH])
        half = block.propagate(x[inputs].bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), h.propagate(x)[BATCH], rtol=0.03, atol=0.03)


def test_a_block_reads_the_members_of_the_hyperedges_of_its_targets(five):
    """Node 1 is in e0 = {0, 1, 2}; node 2 of these is in e1 = {2, 3} as well."""
    inputs, (first, second) = blocks(five, [1], 2)
    assert inputs.tolist() == [0, 1, 2, 3] == first.inputs.tolist()
    assert first.inputs[first.targets].tolist() == [0, 1, 2] == second.inputs.tolist()
    assert first.hyperedges.tolist() == [0, 1] and second.hyperedges.tolist() == [0]
    assert second.targets.tolist() == [1]
    assert pairs(first.reads) == {(0, 0), (1, 0), (2, 0), (2, 1), (3, 1)}
    assert pairs(first.writes) == {(0, 0), (1, 0), (2, 0), (2, 1)}
    assert first.reads.by_node.value is None and first.writes.by_node.value is None


def test_a_block_keeps_to_its_caps_and_makes_up_for_what_it_left_out(crowded):
    _, steps = blocks(crowded, range(41), 2, size=4, degree=3, seed=1)
    for block in steps:
        targets, hyperedges = block.inputs[block.targets], block.hyperedges
        degree, size = counts(crowded)[1][targets], counts(crowded)[0][hyperedges]
        assert torch.equal(counts(block.writes)[1], degree.clamp(max=3))
        assert torch.equal(counts(block.reads)[0], size.clamp(max=4))
        assert all((block.writes.hyperedges(v).diff() > 0).all() for v in range(block.writes.num_nodes))
        for e in range(block.reads.num_hyperedges):
            kept = block.reads.members(e)
            assert (kept.diff() > 0).all()
            begin, end = block.reads.by_hyperedge.indptr[e : e + 2]
            own = torch.tensor([1 + v + 100 * hyperedges[e] for v in block.inputs[kept]])
            torch.testing.assert_close(block.reads.by_hyperedge.value[begin:end], own * max(1, size[e] / 4))
            assert set(block.inputs[kept].tolist()) <= set(crowded.members(int(hyperedges[e])).tolist())


def test_the_mean_over_draws_is_the_exact_row(crowded):
    """800 draws of 3 members and 4 hyperedges: within 5 standard errors everywhere, and less than one on average."""
    x, draws = torch.randn(41, 2, dtype=torch.float64), []
    for norm in ("sym", "row"):
        exact = crowded.propagate(x, norm=norm)[BATCH]
        draws = []
        for seed in range(800):
            inputs, (block,) = blocks(crowded, BATCH, 1, size=3, degree=4, seed=seed)
            draws.append(block.propagate(x[inputs], norm=norm))
        draws = torch.stack(draws)
        assert not draws[:, 1].any()
        error = draws.std(0) / 800**0.5
        off = ((draws.mean(0) - exact).abs() / error)[[0, 2, 3, 4]]
        assert off.max() < 5 and 0.3 < off.mean() < 1.3, off


def test_every_member_is_equally_likely_to_be_read():
    """3 of 8 members, 1000 draws: each is read 375 times give or take 5 standard errors of 15.3."""
    h = build.from_groups([range(8), [0, 1]])
    kept = np.zeros(8)
    for seed in range(1000):
        _, (block,) = blocks(h, [5], 1, size=3, seed=seed)
        kept[block.inputs[block.reads.members(0)]] += 1
    assert kept.sum() == 3000 and np.abs(kept - 375).max() < 5 * 15.3


def test_a_seed_names_its_blocks_and_layers_draw_anew(crowded):
    def drawn(seed):
        inputs, steps = blocks(crowded, range(41), 2, size=5, degree=5, seed=seed)
        return [inputs.tolist()] + [(block.hyperedges.tolist(), pairs(block.writes)) for block in steps]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = drawn((5, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert drawn((5, 1)) == first != drawn((5, 2))
    assert first[1] != first[2]


def test_a_block_is_as_large_as_its_sample_and_not_as_its_hyperedges():
    """Everyone is in one hyperedge; 4 targets read 3 members of it."""
    h = Hypergraph.from_pairs(range(100_000), [0] * 100_000)
    inputs, (block,) = blocks(h, [7, 70_000, 700, 99_999], 1, size=3)
    assert len(inputs) <= 7 and block.reads.num_incidences == 3 and block.writes.num_incidences == 4
    inputs, _ = blocks(h, [7], 3, size=3)
    assert len(inputs) <= 10


def test_no_nodes_and_no_incidences_give_empty_blocks(crowded):
    model = HGCN(3, 2)
    inputs, steps = blocks(crowded, [], 2, size=2, degree=2)
    assert inputs.shape == (0,) and model(torch.zeros(0, 3), steps).shape == (0, 3)
    h, x = Hypergraph.from_pairs([], [], 4, 2), torch.randn(4, 3)
    inputs, steps = blocks(h, [2, 0], 2, size=2, degree=2)
    assert inputs.tolist() == [0, 2] and torch.equal(model(x[inputs], steps), x[[2, 0]])
    inputs, steps = blocks(h, [2, 0], 0)
    assert inputs.tolist() == [2, 0] and steps == []


def test_a_block_moves_to_a_device(five):
    _, (block,) = blocks(five, [1, 2], 1)
    moved = block.to("meta")
    assert {part.device.type for part in vars(moved).values()} == {"meta"}
    assert torch.equal(block.to("cpu").inputs, block.inputs)


def planted(num_groups=5, num_nodes=500, num_hyperedges=600):
    """Nodes in groups, hyperedges of 8 of which 7 are of one group, features that tell a group only faintly."""
    rng = np.random.default_rng(0)
    group = rng.integers(num_groups, size=num_nodes)
    members = []
    for e in range(num_hyperedges):
        own = np.flatnonzero(group == e % num_groups)
        members.append(np.unique(np.append(rng.choice(own, 7, replace=False), rng.integers(num_nodes))))
    x = np.eye(16)[group] + 1.5 * rng.standard_normal((num_nodes, 16))
    return build.from_groups(members, num_nodes), torch.tensor(x, dtype=torch.float32), torch.tensor(group)


def test_training_by_blocks_reaches_what_training_on_the_whole_reaches():
    """Features alone tell a group four times in ten, those of neighbours nearly always; measured on unseen labels."""
    h, x, group = planted()
    train = torch.randperm(500)[:250]
    test = torch.ones(500, dtype=torch.bool)
    test[train] = False

    def accuracy(by_blocks: bool, depth: int) -> float:
        torch.manual_seed(0)
        model, head = HGCN(16, depth), torch.nn.Linear(16, 5)
        optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.01)
        for epoch in range(12):
            for step, batch in enumerate(train[torch.randperm(250)].split(50)):
                if by_blocks:
                    inputs, steps = blocks(h, batch, depth, size=4, degree=4, seed=(0, epoch, step))
                    y = model(x[inputs], steps)
                else:
                    y = model(x, h)[batch]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(y), group[batch]).backward()
                optimizer.step()
        return (head(model(x, h)).argmax(1) == group)[test].float().mean().item()

    alone, whole, sampled = accuracy(False, 0), accuracy(False, 2), accuracy(True, 2)
    assert alone < 0.5 and whole > 0.96 and sampled > 0.96, (alone, whole, sampled)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda h: blocks(h, [0], -1), "must not be negative, got depth=-1, size=0 and degree=0"),
        (lambda h: blocks(h, [0], 1, size=-2), "got depth=1, size=-2"),
        (lambda h: blocks(h, [0, 5], 1), r"node numbers must be in \[0, 5\), got \[0, 5\]"),
        (lambda h: blocks(h, [-1], 1), r"got \[-1, -1\]"),
        (lambda h: blocks(h, [0.5], 1), r"node numbers, \[batch\], got float64 of shape \[1\]"),
        (lambda h: blocks(h, torch.zeros(2, 2, dtype=torch.int64), 1), r"got int64 of shape \[2, 2\]"),
        (lambda h: blocks(h.to("meta"), [0], 1), "blocks are drawn on the CPU, the hypergraph is on meta"),
        (lambda h: HGCN(3, 2)(torch.zeros(3, 3), blocks(h, [0], 1)[1]), "2 layers need one block each, got 1"),
        (lambda h: HGCN(3, 1)(torch.zeros(5, 3), blocks(h, [0], 1)[1]), r"\[3, dim\], got shape \[5, 3\]"),
        (
            lambda h: HGCN(3, 1)(torch.zeros(3, 3), blocks(h, [0], 1)[1], torch.ones(4)),
            "give hyperedge_weight to a Hyp",
        ),
        (lambda h: HypergraphAttention(3, 1)(torch.zeros(3, 3), blocks(h, [0], 1)[1][0]), "attention needs all hyper"),
    ],
)
def test_errors_of_blocks_say_what_was_found(five, call, message):
    with pytest.raises(ValueError, match=message):
        call(five)


def test_a_cap_keeps_node_weights_and_the_attributes_of_what_is_left():
    h = Hypergraph.from_pairs([0, 1, 2], [0, 0, 0], node_weight=[1, 2, 3])
    h = replace(h, attributes=Attributes({"a": 1}, {2: {"b": 2}}, {}, {(v, 0): {"c": v} for v in range(3)}))
    capped = cap(h, size=2)
    left = set(capped.members(0).tolist())
    assert len(left) == 2 and capped.node_weight.tolist() == [1, 2, 3]
    assert capped.attributes == Attributes({"a": 1}, {2: {"b": 2}}, {}, {(v, 0): {"c": v} for v in left})
