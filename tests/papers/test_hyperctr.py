"""HyperCTR, arXiv 2109.02398: its numbered equations as slow loops, and what must not matter."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphs import TimeGrid
from hyperctr.batch import Tables
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.hypergraphs import slice_hypergraphs
from hyperctr.metrics import logloss
from hyperctr.models.hyperctr import Attention, Carried, Config, Fusion, HyperCTR, Prediction, TemporalAttention

DAY = 86_400
USERS, ITEMS = 7, 9


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def scrambled(module, seed=0, std=0.5):
    """The module in evaluation, every parameter random: nothing starts as the identity."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        nn.init.normal_(p, std=std, generator=generator)
    return module.eval()


def layer_norm(x, norm):
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + norm.eps)
    return [(v - mean) / deviation * a + b for v, a, b in zip(x, norm.weight.tolist(), norm.bias.tolist(), strict=True)]


def times(matrix, x):
    """Matrix [out, in] as lists, times x."""
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in matrix.tolist()]


def plus(x, y):
    return [a + b for a, b in zip(x, y, strict=True)]


def slow_attention(block, tokens, causal):
    """Eq. (1)-(4) for one group of tokens, a layer norm before and a residual around each part."""
    d, h = len(tokens[0]), block.heads
    d_k = d // h
    w_q, w_k, w_v = block.qkv.weight.detach().split(d)
    normed = [layer_norm(x, block.norm1) for x in tokens]
    q, k, v = ([times(w, x) for x in normed] for w in (w_q, w_k, w_v))
    out = []
    for a, x in enumerate(tokens):
        heads = []
        for i in range(h):
            part = slice(i * d_k, (i + 1) * d_k)
            keys = range(a + 1) if causal else range(len(tokens))
            scores = [
                math.exp(sum(m * n for m, n in zip(q[a][part], k[b][part], strict=True)) / d_k**0.5) for b in keys
            ]
            heads += [
                sum(s / sum(scores) * v[b][part][c] for s, b in zip(scores, keys, strict=True)) for c in range(d_k)
            ]
        y = plus(x, times(block.out.weight, heads))
        first, _, second = block.ffn
        hidden = [max(0.0, z) for z in plus(times(first.weight, layer_norm(y, block.norm2)), first.bias.tolist())]
        out.append(plus(y, plus(times(second.weight, hidden), second.bias.tolist())))
    return torch.tensor(out)


@pytest.mark.parametrize("causal", [False, True])
def test_equations_1_to_4_are_attention_and_two_layers_within_each_group(causal):
    block = scrambled(Attention(4, 2, 0.5))
    sizes = [3, 1, 4]
    x = torch.randn(sum(sizes), 4, generator=torch.Generator().manual_seed(1))
    group = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    at = torch.cat([torch.arange(n) for n in sizes])
    expected = torch.cat([slow_attention(block, part.tolist(), causal) for part in x.split(sizes)])
    torch.testing.assert_close(block(x, group, at, causal), expected, rtol=1e-4, atol=1e-5)


def test_causal_attention_does_not_look_ahead():
    block, x = scrambled(Attention(4, 2, 0.0)), torch.randn(5, 4)
    group, at = torch.zeros(5, dtype=torch.long), torch.arange(5)
    changed = torch.cat([x[:3], torch.randn(2, 4)])
    for causal in (True, False):
        same = torch.isclose(block(x, group, at, causal), block(changed, group, at, causal), atol=1e-6).all(1)
        assert same.tolist() == [causal] * 3 + [False] * 2


@pytest.fixture
def attention():
    return scrambled(TemporalAttention(Config(dim=8, heads=2, slices=3, clicks=4)))


def summarise(attention, user, rows, now):
    """E_t of several rows, each a list of (slice, vector)."""
    click = [vector for row in rows for _, vector in row]
    return attention(
        user,
        torch.stack(click) if click else torch.empty(0, user.shape[1]),
        torch.tensor([r for r, row in enumerate(rows) for _ in row], dtype=torch.long),
        torch.tensor([n for row in rows for n, _ in row], dtype=torch.long),
        torch.tensor(now),
    )


def clicks(*slices, seed=0):
    """One random vector a click; `slices` names the slice of each, in order of time."""
    generator = torch.Generator().manual_seed(seed)
    return [(n, torch.randn(8, generator=generator)) for n in slices]


USER = torch.randn(4, 8, generator=torch.Generator().manual_seed(9))


def test_a_row_is_the_same_alone_and_beside_others(attention):
    rows = [clicks(1, 1, 2, 5), [], clicks(*[0] * 6, *[3] * 9, 4, 5, 5, seed=1), clicks(5, seed=2)]
    together = summarise(attention, USER, rows, [5, 5, 6, 5])
    for r, now in enumerate([5, 5, 6, 5]):
        alone = summarise(attention, USER[r : r + 1], [rows[r]], [now])
        torch.testing.assert_close(together[r : r + 1], alone, rtol=1e-5, atol=1e-5)


def test_clicks_beyond_the_last_of_a_slice_do_not_matter(attention):
    kept = clicks(2, 2, 2, 2, 4, 4)
    older = clicks(2, 2, 2, seed=1)
    a, b = summarise(attention, USER[:1], [kept], [4]), summarise(attention, USER[:1], [older + kept], [4])
    assert torch.equal(a, b)
    assert not torch.allclose(a, summarise(attention, USER[:1], [older[:1] + kept[1:]], [4]))


def test_closed_slices_beyond_the_last_do_not_matter_and_the_open_one_is_extra(attention):
    kept, older = clicks(3, 5, 5, 6), clicks(0, 1, 1, seed=1)
    closed = [summarise(attention, USER[:1], [x], [8]) for x in (kept, older + kept)]
    assert torch.equal(*closed)
    opened = [summarise(attention, USER[:1], [x + clicks(8, seed=2)], [8]) for x in (kept, older + kept, kept[1:])]
    assert torch.equal(opened[0], opened[1])
    assert not torch.allclose(opened[0], opened[2])  # the third closed slice still counts


def test_the_order_of_clicks_within_a_slice_does_not_matter_and_their_slices_do(attention):
    a = clicks(2, 2, 2, 4)
    swapped = [a[2], a[0], a[1], a[3]]
    expected = summarise(attention, USER[:1], [a], [5])
    torch.testing.assert_close(summarise(attention, USER[:1], [swapped], [5]), expected)
    exchanged = [(2, a[3][1]), (4, a[0][1]), (4, a[1][1]), (4, a[2][1])]
    assert not torch.allclose(summarise(attention, USER[:1], [exchanged], [5]), expected)
    later = [(n + 2, vector) for n, vector in a]
    assert not torch.allclose(summarise(attention, USER[:1], [later], [9]), expected)  # ages differ


def test_a_user_without_clicks_is_the_user_vector_plus_a_constant(attention):
    alone = summarise(attention, USER, [[], [], [], []], [3, 3, 0, 1])
    torch.testing.assert_close(alone, USER + attention.cold)
    beside = summarise(attention, USER, [clicks(1), [], clicks(2, 2), []], [3, 3, 3, 1])
    torch.testing.assert_close(beside[[1, 3]], USER[[1, 3]] + attention.cold)
    assert not torch.allclose(beside[0], USER[0] + attention.cold)


def test_equation_6_is_a_double_loop_over_both_vectors_and_their_ones():
    fusion = scrambled(Fusion(3))
    temporal, group = torch.randn(2, 3), torch.randn(2, 3)
    weight = fusion.linear.weight.detach().view(3, 4, 4)
    expected = torch.zeros(2, 3)
    for r in range(2):
        u, g = [*temporal[r].tolist(), 1.0], [*group[r].tolist(), 1.0]
        for c in range(3):
            for a in range(4):
                for b in range(4):
                    expected[r, c] += weight[c, a, b] * u[a] * g[b]
    torch.testing.assert_close(fusion(temporal, group), expected, rtol=1e-4, atol=1e-5)


def test_equation_6_is_linear_in_each_and_each_passes_when_the_other_is_zero():
    fusion = scrambled(Fusion(3))
    a, b, g, zero = torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 3), torch.zeros(2, 3)
    # affine, because of the 1: linear up to the value at zero
    for f in (lambda x: fusion(x, g), lambda x: fusion(g, x)):
        torch.testing.assert_close(f(2 * a - 3 * b) - f(zero), 2 * (f(a) - f(zero)) - 3 * (f(b) - f(zero)))
    assert not torch.allclose(fusion(a, zero), fusion(b, zero))
    assert not torch.allclose(fusion(zero, a), fusion(zero, b))


def test_equation_7_is_three_layers_on_the_concatenation():
    predict = scrambled(Prediction(4, (6, 5), 0.3))
    user, item = torch.randn(3, 4), torch.randn(2, 4)
    user_row, item_row = torch.tensor([0, 0, 2, 1, 2]), torch.tensor([1, 0, 0, 1, 1])
    first = torch.cat([predict.user.weight, predict.item.weight, predict.both.weight], 1)
    second, third = [layer for layer in predict.rest if isinstance(layer, nn.Linear)]
    expected = []
    for u, i in zip(user[user_row], item[item_row], strict=True):
        x = torch.relu(first @ torch.cat([u, i, u * i]) + predict.user.bias)
        expected.append(third.weight @ torch.relu(second.weight @ x + second.bias) + third.bias)
    torch.testing.assert_close(predict(user, item, user_row, item_row), torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_carried_finds_the_last_state_strictly_before_the_slice():
    rng = np.random.default_rng(0)
    nodes = [torch.from_numpy(np.flatnonzero(rng.random(8) < 0.4)) for _ in range(6)]
    nodes[0] = nodes[3] = None
    carried = Carried(nodes)
    row, last = 0, {}  # last[node] = [(slice, row), ...]
    for n, active in enumerate(nodes):
        for node in [] if active is None else active.tolist():
            last.setdefault(node, []).append((n, row))
            row += 1
    for node in range(10):
        for n in range(len(nodes) + 1):
            before = [r for s, r in last.get(node, []) if s < n]
            assert carried.find(torch.tensor([node]), torch.tensor([n])).tolist() == [before[-1] if before else -1]
    everything = carried.find(torch.arange(10).repeat_interleave(7), torch.arange(7).repeat(10))
    assert (everything >= 0).any() and (everything == -1).any()


@pytest.mark.parametrize("nodes", [[], [None, None]])
def test_carried_finds_nothing_where_nobody_was_active(nodes):
    assert Carried(nodes).find(torch.arange(3), torch.zeros(3, dtype=torch.long)).tolist() == [-1, -1, -1]


GRID = TimeGrid(every="1d", origin=0, num_slices=5)
PRESENT = {"visual": np.ones(ITEMS, bool), "text": np.arange(ITEMS) % 2 == 0}


def random_log(seed=0):
    """Users 0 to 4 and items 0 to 6 of seven and nine, over five days."""
    rng = np.random.default_rng(seed)
    n = 120
    return Interactions(
        rng.integers(5, size=n),
        rng.integers(7, size=n),
        np.sort(rng.integers(5 * DAY, size=n)),
        rng.random(n) < 0.6,
        USERS,
        ITEMS,
    )


def tables_of(log, seed=0):
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.from_numpy(x) for name, x in PRESENT.items()}
    return Tables(
        num_users=USERS,
        num_items=ITEMS,
        modalities={name: torch.randn(ITEMS, 3, generator=generator) * x[:, None] for name, x in present.items()},
        present=present,
        seen_user=torch.arange(USERS) < 5,
        seen_item=torch.arange(ITEMS) < 7,
        slices=slice_hypergraphs(log, PRESENT, GRID, upto=5 * DAY),
    )


def model_of(log, **changed):
    return scrambled(HyperCTR(Config(**{"dim": 8, "depth": 2, "hidden": (8, 4), **changed}), tables_of(log)), std=0.4)


@torch.no_grad()
def logits(model, log, user, item, time):
    n = len(user)
    batch = Loader(log).pairs(np.array(user), np.array(item), np.array(time), np.zeros(n), np.arange(n))
    return model(batch).logit


def test_a_row_of_a_batch_scores_as_it_does_alone():
    log = random_log()
    model, n = model_of(log), len(log)
    together = logits(model, log, log.user, log.item, log.time)
    alone = [logits(model, log, log.user[k : k + 1], log.item[k : k + 1], log.time[k : k + 1]) for k in range(0, n, 11)]
    torch.testing.assert_close(together[::11], torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_candidates_of_one_query_score_as_in_queries_of_their_own():
    log, items = random_log(), np.array([3, 5, 3, 8])
    model = model_of(log)
    shared = Loader(log).pairs(np.array([2]), items, np.array([4 * DAY]), np.zeros(4), np.zeros(4, int))
    own = logits(model, log, [2] * 4, items, [4 * DAY] * 4)
    with torch.no_grad():
        torch.testing.assert_close(model(shared).logit, own, rtol=1e-4, atol=1e-5)


def test_cold_users_are_alike_and_cold_items_differ_by_their_features():
    log = random_log()
    model = model_of(log)
    users = logits(model, log, [5, 6, USERS], [3, 3, 3], [5 * DAY] * 3)  # 5 and 6 never came, USERS is not even known
    assert torch.isfinite(users).all()
    torch.testing.assert_close(users, users[:1].expand(3))
    items = logits(model, log, [1, 1, 1], [7, 8, ITEMS], [5 * DAY] * 3)
    assert torch.isfinite(items).all()
    assert len(set(items.tolist())) == 3
    assert not torch.allclose(users[0], logits(model, log, [0], [3], [5 * DAY])[0])


def test_a_row_before_the_first_closed_slice_reads_no_hypergraph():
    log = random_log()
    other = replace(log, item=(log.item + 1) % 7, user=(log.user + 2) % 5)
    with_one, with_other = (
        logits(model_of(x), log.take(log.time < DAY), [1, 3], [2, 4], [DAY - 1] * 2) for x in (log, other)
    )
    assert torch.equal(with_one, with_other)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_depth_0_alone_ignores_the_hypergraphs(depth):
    log = random_log()
    other = replace(log, item=log.item[::-1].copy())
    rows = log.user[-30:], log.item[-30:], log.time[-30:]
    same = torch.equal(*[logits(model_of(x, depth=depth), log, *rows) for x in (log, other)])
    assert same == (depth == 0)


def test_there_is_one_sigmoid_and_it_is_in_the_loss():
    log = random_log()
    model, label = model_of(log), torch.from_numpy(log.label)
    x = logits(model, log, log.user, log.item, log.time)
    assert x.min() < 0 or x.max() > 1  # no probabilities yet
    nn.init.zeros_(model.predict.rest[-1].weight)
    nn.init.zeros_(model.predict.rest[-1].bias)
    x = logits(model, log, log.user, log.item, log.time)
    assert not x.any()
    assert F.binary_cross_entropy_with_logits(x, label).item() == pytest.approx(math.log(2))
    assert logloss(log.label, x.numpy()) == pytest.approx(math.log(2))


def test_the_loss_is_never_negative_and_points_towards_the_label():
    log = random_log()
    model = model_of(log).train()
    batch = Loader(log).batch(np.flatnonzero(GRID.slice_of(log.time) == 3))
    x = model(batch).logit
    x.retain_grad()
    loss = F.binary_cross_entropy_with_logits(x, batch.label)
    loss.backward()
    assert loss >= 0
    assert ((x.grad > 0) == (batch.label == 0)).all()
    for name, p in model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name
    theta = [p for name, p in model.named_parameters() if "_conv" in name]
    assert theta and all(p.grad is not None and p.grad.any() for p in theta)


def test_tables_without_hypergraphs_are_refused():
    with pytest.raises(ValueError, match="needs time-sliced hypergraphs"):
        HyperCTR(Config(), replace(tables_of(random_log()), slices=None))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3}, "model.heads must divide model.dim = 64, got 3"),
        ({"depth": -1}, "model.depth must be at least 0, got -1"),
        ({"hidden": (8,)}, "model.hidden must be two widths"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
