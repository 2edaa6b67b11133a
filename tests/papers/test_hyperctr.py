"""HyperCTR, arXiv 2109.02398: its numbered equations, and what stands in for them, as slow loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphs import HGCN, Hypergraph
from hyperctr.models.hyperctr.attention import Attention, TemporalAttention
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.fields import TypeWeights
from hyperctr.models.hyperctr.layout import Groups, Segments
from hyperctr.models.hyperctr.parts import GCN, Fusion, Prediction, Readout, pairs


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


def plus(*vectors):
    return [sum(values) for values in zip(*vectors, strict=True)]


def mean(vectors):
    return [v / len(vectors) for v in plus(*vectors)]


# --- Eq. (1)-(4) -----------------------------------------------------------------------------------------------------


def slow_attention(block, tokens, causal):
    """Eq. (1)-(4) for one group of tokens, a residual around each part, and a layer norm before it or after both."""
    d, h = len(tokens[0]), block.heads
    d_k = d // h
    w_q, w_k, w_v = block.qkv.weight.detach().split(d)
    before = (lambda x, norm: x) if block.norm_after else layer_norm
    after = layer_norm if block.norm_after else (lambda x, norm: x)
    normed = [before(x, block.norm1) for x in tokens]
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
        y = after(plus(x, times(block.out.weight, heads)), block.norm1)
        first, _, second = block.ffn
        hidden = [max(0.0, z) for z in plus(times(first.weight, before(y, block.norm2)), first.bias.tolist())]
        out.append(after(plus(y, times(second.weight, hidden), second.bias.tolist()), block.norm2))
    return out


def packed(sizes):
    """Groups of these numbers of tokens, one after the other."""
    size = torch.tensor(sizes)
    return Groups.of(size.cumsum(0) - size, size)


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("causal", [False, True])
def test_equations_1_to_4_are_attention_and_two_layers_within_each_group(causal, norm):
    block, sizes = scrambled(Attention(4, 2, 0.5, norm)), [3, 1, 4]
    x = torch.randn(sum(sizes), 4)
    expected = sum((slow_attention(block, part.tolist(), causal) for part in x.split(sizes)), [])
    torch.testing.assert_close(block(x, packed(sizes), causal), torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_does_not_matter_to_attention(causal):
    """A short group beside a long one is padded; alone it is not."""
    block, sizes = scrambled(Attention(4, 2, 0.0)), [2, 9, 1]
    x = torch.randn(12, 4, requires_grad=True)
    together = block(x, packed(sizes), causal)
    for part, alone in zip(together.split(sizes), x.split(sizes), strict=True):
        torch.testing.assert_close(part, block(alone, packed([len(alone)]), causal), rtol=1e-5, atol=1e-6)
    together[:2].sum().backward()
    assert x.grad[:2].any() and not x.grad[2:].any()


def test_causal_attention_does_not_look_ahead():
    block, x = scrambled(Attention(4, 2, 0.0)), torch.randn(5, 4)
    changed = torch.cat([x[:3], torch.randn(2, 4)])
    for causal in (True, False):
        outputs = [block(y, packed([5]), causal) for y in (x, changed)]
        assert torch.isclose(*outputs, atol=1e-6).all(1).tolist() == [causal] * 3 + [False] * 2


def test_attention_starts_as_the_identity():
    """What `reset_parameters` of the model sees to: the block adds nothing yet, and learns to."""
    block, x = Attention(4, 2, 0.0), torch.randn(5, 4)
    nn.init.zeros_(block.out.weight)
    nn.init.zeros_(block.ffn[-1].weight)
    nn.init.zeros_(block.ffn[-1].bias)
    y = block(x, packed([2, 3]))
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert block.out.weight.grad.any() and block.ffn[-1].weight.grad.any()


WITHIN, ACROSS = ("attention", "mean"), ("attention", "attention-last", "mean", "last", "gru")


def temporal(within="attention", across="attention"):
    return scrambled(TemporalAttention(Config(dim=8, heads=2, slices=3, clicks=4, within=within, across=across)))


@pytest.fixture
def attention():
    return temporal()


def summarise(attention, user, rows, now, type=None):
    """E_t of several rows, each a list of (slice, item vector)."""
    item = [vector for row in rows for _, vector in row]
    of_row = torch.tensor([r for r, row in enumerate(rows) for _ in row], dtype=torch.long)
    slice = torch.tensor([n for row in rows for n, _ in row], dtype=torch.long)
    config = attention.config
    segments = Segments.of(of_row, slice, torch.tensor(now), config.slices, config.clicks)
    items = torch.stack(item) if item else torch.empty(0, user.shape[1])
    return attention(user, items, torch.arange(len(item)), segments, type)


def clicks(*slices, seed=0):
    """One random vector a click; `slices` names the slice of each, in order of time."""
    generator = torch.Generator().manual_seed(seed)
    return [(n, torch.randn(8, generator=generator)) for n in slices]


def slow_gru(gru, tokens):
    """The last state of a GRU, gate by gate."""
    w, u = (x.detach().chunk(3) for x in (gru.weight_ih_l0, gru.weight_hh_l0))
    b, c = (x.detach().chunk(3) for x in (gru.bias_ih_l0, gru.bias_hh_l0))
    h = [0.0] * len(tokens[0])
    for x in tokens:
        inner = [plus(times(w[k], x), b[k].tolist()) for k in range(3)]
        outer = [plus(times(u[k], h), c[k].tolist()) for k in range(3)]
        reset, update = ([1 / (1 + math.exp(-z)) for z in plus(inner[k], outer[k])] for k in (0, 1))
        new = [math.tanh(i + r * o) for i, r, o in zip(inner[2], reset, outer[2], strict=True)]
        h = [z * a + (1 - z) * b for z, a, b in zip(update, h, new, strict=True)]
    return h


def slow_summary(module, user, row, now):
    """E_t of one row: at most the last clicks of each of the last closed slices and of the open one."""
    c = module.config
    slices = sorted({n for n, _ in row})
    kept = [n for n in slices if n < now][-c.slices :] + [n for n in slices if n == now]
    if not kept:
        return plus(user, module.cold.tolist())
    pooled = []
    for n in kept:
        tokens = [plus(user, vector.tolist()) for m, vector in row if m == n][-c.clicks :]
        if c.within == "attention":
            tokens = slow_attention(module.within, tokens, causal=False)
        age = int(math.log2(max(1, now - n + 1)))  # 0 for the open slice, 1 for the last two, 2 for the next four
        pooled.append(plus(mean(tokens), module.age.weight[age].tolist()))
    if c.across.startswith("attention"):
        outputs = slow_attention(module.across, pooled, causal=True)
        return mean(outputs) if c.across == "attention" else outputs[-1]
    if c.across == "gru":
        return slow_gru(module.gru, pooled)
    return mean(pooled) if c.across == "mean" else pooled[-1]


ROWS = [
    (clicks(1, 1, 2, 5), 5),
    ([], 5),
    (clicks(*[0] * 6, *[3] * 9, 4, 5, 5, seed=1), 6),
    (clicks(5, seed=2), 5),
    (clicks(0, 1, 9, 17, 17, seed=3), 17),
]
USER = torch.randn(5, 8, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("across", ACROSS)
@pytest.mark.parametrize("within", WITHIN)
def test_a_row_is_summarised_within_and_then_across_its_slices(within, across):
    module = temporal(within, across)
    rows, now = zip(*ROWS, strict=True)
    expected = [slow_summary(module, u, row, n) for u, (row, n) in zip(USER.tolist(), ROWS, strict=True)]
    together = summarise(module, USER, rows, now)
    torch.testing.assert_close(together, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_the_behaviour_type_adds_its_vector_to_the_click():
    config = Config(dim=8, heads=2, slices=3, clicks=4)
    typed = scrambled(TemporalAttention(config, types=3))
    rows, now = zip(*ROWS, strict=True)
    count = sum(len(row) for row in rows)
    kind = torch.arange(count) % 3
    vectors = iter(typed.behaviour.weight[k] for k in kind.tolist())
    moved = [[(n, vector + next(vectors)) for n, vector in row] for row in rows]
    expected = [slow_summary(typed, u, row, n) for u, row, n in zip(USER.tolist(), moved, now, strict=True)]
    y = summarise(typed, USER, rows, now, kind)
    torch.testing.assert_close(y, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("across", ACROSS)
@pytest.mark.parametrize("within", WITHIN)
def test_a_row_is_the_same_alone_and_beside_others(within, across):
    module = temporal(within, across)
    rows, now = zip(*ROWS, strict=True)
    together = summarise(module, USER, rows, now)
    for r in range(len(ROWS)):
        alone = summarise(module, USER[r : r + 1], [rows[r]], [now[r]])
        torch.testing.assert_close(together[r : r + 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("across", ACROSS)
@pytest.mark.parametrize("within", WITHIN)
def test_only_the_last_clicks_of_the_last_slices_matter(within, across):
    def summary(row, now):
        return summarise(temporal(within, across), USER[:1], [row], [now])

    kept, older = clicks(2, 2, 2, 2, 4, 4), clicks(2, 2, 2, seed=1)
    assert torch.equal(summary(kept, 4), summary(older + kept, 4))  # four clicks a slice
    kept, older = clicks(3, 5, 5, 6), clicks(0, 1, 1, seed=1)
    assert torch.equal(summary(kept, 8), summary(older + kept, 8))  # three closed slices
    opened = clicks(8, seed=2)
    assert torch.equal(summary(kept + opened, 8), summary(older + kept + opened, 8))  # beside the open one
    if across != "last":
        assert not torch.allclose(summary(kept + opened, 8), summary(kept[1:] + opened, 8))


@pytest.mark.parametrize("within", WITHIN)
def test_the_order_of_clicks_within_a_slice_does_not_matter(within):
    module, a = temporal(within), clicks(2, 2, 2, 4)
    swapped = [a[2], a[0], a[1], a[3]]
    torch.testing.assert_close(*(summarise(module, USER[:1], [x], [5]) for x in (swapped, a)))


@pytest.mark.parametrize("across", ACROSS)
def test_how_old_the_slices_are_matters_and_nothing_else_about_their_number(across):
    module, a = temporal(across=across), clicks(2, 2, 2, 4)
    expected = summarise(module, USER[:1], [a], [5])
    later = [(n + 2, vector) for n, vector in a]
    torch.testing.assert_close(summarise(module, USER[:1], [later], [7]), expected)
    assert not torch.allclose(summarise(module, USER[:1], [later], [9]), expected)


@pytest.mark.parametrize("across", ACROSS)
def test_two_slices_in_the_other_order_are_another_history_except_to_a_mean(across):
    module, a = temporal(across=across), clicks(2, 2, 2, 4)
    exchanged = [(2, a[3][1]), (4, a[0][1]), (4, a[1][1]), (4, a[2][1])]
    both = [summarise(module, USER[:1], [x], [5]) for x in (a, exchanged)]
    assert torch.allclose(*both, atol=1e-5) == (across == "mean")


def test_what_an_earlier_slice_becomes_does_not_depend_on_later_ones(attention):
    """Across slices attention is causal: of the mean over slices, a later click moves its own part and later ones."""
    seen = []
    attention.across.register_forward_hook(lambda module, args, out: seen.append(out))
    a, b = clicks(1, 2, 3), clicks(1, 2) + clicks(3, seed=5)
    for row in (a, b):
        summarise(attention, USER[:1], [row], [4])
    assert torch.isclose(*seen, atol=1e-6).all(1).tolist() == [True, True, False]


def test_a_user_without_clicks_is_the_user_vector_plus_a_constant(attention):
    user = USER[:4]
    alone = summarise(attention, user, [[], [], [], []], [3, 3, 0, 1])
    torch.testing.assert_close(alone, user + attention.cold)
    beside = summarise(attention, user, [clicks(1), [], clicks(2, 2), []], [3, 3, 3, 1])
    torch.testing.assert_close(beside[[1, 3]], user[[1, 3]] + attention.cold)
    assert not torch.allclose(beside[0], user[0] + attention.cold)


# --- Eq. (5) and the ablation ----------------------------------------------------------------------------------------

# 0-1-2 share hyperedge 0, 2-3 share 1 twice as heavy, 4 is alone in hyperedge 2, 5 is in none
NODE, HYPEREDGE, WEIGHT = [0, 1, 2, 2, 3, 4], [0, 0, 0, 1, 1, 2], [1.0, 2.0, 1.0]


def graph():
    return Hypergraph.from_pairs(NODE, HYPEREDGE, 6, 3, hyperedge_weight=WEIGHT)


def slow_hgcn(x, theta, members, weight, value=None):
    """One layer of Eq. (5), sum over the hyperedges of a node of the sum over their members; lists all through.

    `value` is h(v, e) by (node, hyperedge number); None: 1 for every member.
    """
    h = [{v: 1.0 if value is None else value[v, k] for v in e} for k, e in enumerate(members)]
    degree = [sum(w * e.get(v, 0.0) for e, w in zip(h, weight, strict=True)) for v in range(len(x))]
    columns = list(zip(*theta.tolist(), strict=True))
    out = []
    for v, row in enumerate(x):
        if not degree[v]:
            out.append(row)  # passthrough
            continue
        total = [0.0] * len(columns)
        for e, w in zip(h, weight, strict=True):
            for u in e if v in e else []:
                scale = e[v] * e[u] * w / sum(e.values()) / math.sqrt(degree[v] * degree[u])
                projected = [sum(a * b for a, b in zip(x[u], column, strict=True)) for column in columns]
                total = [t + scale * p for t, p in zip(total, projected, strict=True)]
        out.append([max(0.0, t) for t in total])
    return out


def test_equation_5_sums_over_hyperedges_and_their_members_and_isolated_nodes_keep_their_input():
    members = [[v for v, e in zip(NODE, HYPEREDGE, strict=True) if e == k] for k in range(3)]
    conv, x = scrambled(HGCN(4, 3, 0.5)), torch.randn(6, 4)
    expected = x.tolist()
    for layer in conv.layers:
        expected = slow_hgcn(expected, layer.theta.detach(), members, WEIGHT)
    y = conv(x, graph())
    torch.testing.assert_close(y, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert torch.equal(y[5], x[5]) and not torch.allclose(y[4], x[4])


def test_equation_5_with_weights_of_the_incidences_by_behaviour_type():
    """h(v, e) = w_type in H, in the degrees D_v and in the sizes D_e."""
    types = torch.arange(len(NODE)) % 3
    h = Hypergraph.from_pairs(NODE, HYPEREDGE, 6, 3, hyperedge_weight=WEIGHT, weight=1.0 + types)
    weights, conv, x = TypeWeights(3), scrambled(HGCN(4, 1, isolated="zero")), torch.randn(6, 4)
    weights.log_weight.data = torch.tensor([0.3, -1.0, 1.2])
    value = [math.exp([0.3, -1.0, 1.2][k]) for k in types.tolist()]
    of_pair = dict(zip(zip(NODE, HYPEREDGE, strict=True), value, strict=True))
    members = [[v for v, e in zip(NODE, HYPEREDGE, strict=True) if e == k] for k in range(3)]
    expected = slow_hgcn(x.tolist(), conv.layers[0].theta.detach(), members, WEIGHT, of_pair)
    y = conv(x, h, value=weights.values(h))
    torch.testing.assert_close(y[:5], torch.tensor(expected)[:5], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(conv(x, weights.weighted(h)), y, rtol=1e-5, atol=1e-6)
    assert (y[5] == 0).all()


def dense_gcn(h, x, theta):
    """ReLU(D^-1/2 (C + I) D^-1/2 X Theta), C counting by loops the hyperedges that two nodes share."""
    n = h.num_nodes
    c = torch.zeros(n, n)
    for e in range(h.num_hyperedges):
        w = 1.0 if h.hyperedge_weight is None else h.hyperedge_weight[e].item()
        for u in h.members(e).tolist():
            for v in h.members(e).tolist():
                c[u, v] += w * (u != v)
    full = c + torch.eye(n)
    degree = torch.diag(full.sum(1) ** -0.5)
    return torch.relu(degree @ full @ degree @ x @ theta.T) * c.any(1)[:, None]


def test_the_gcn_of_the_ablation_is_the_dense_one_and_isolated_nodes_get_nothing():
    layer, x, h = scrambled(GCN(4, 0.5)), torch.randn(6, 4), graph()
    y = layer(x, pairs(h))
    torch.testing.assert_close(y, dense_gcn(h, x, layer.theta.weight), rtol=1e-4, atol=1e-5)
    assert not y[4:].any()  # alone in a hyperedge, or in none: no pair either way
    assert (y[:4] >= 0).all() and not torch.allclose(y[:4], x[:4])


@pytest.mark.parametrize("seed", range(3))
def test_the_gcn_agrees_with_the_dense_one_on_random_hypergraphs(seed):
    rng = np.random.default_rng(seed)
    h = Hypergraph.from_pairs(rng.integers(0, 10, 20), rng.integers(0, 6, 20), 10, 6, hyperedge_weight=rng.random(6))
    layer, x = scrambled(GCN(3, 0.0)), torch.randn(10, 3)
    torch.testing.assert_close(layer(x, pairs(h)), dense_gcn(h, x, layer.theta.weight), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_nodes_that_meet_others_are_not_taken_for_isolated_where_all_degrees_are_equal(size):
    """On a regular graph all entries of the normalised matrix are alike; each node still meets size - 1 others."""
    h = Hypergraph.from_pairs(range(size), [0] * size)
    layer, x = scrambled(GCN(3, 0.0)), torch.randn(size, 3)
    y = layer(x, pairs(h))
    expected = torch.relu(layer.theta(x.mean(0))).expand(size, 3)  # (C + I) / size averages
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_pairs_are_symmetric_with_a_spectrum_within_one():
    dense = torch.zeros(6, 6)
    matrix = pairs(graph()).by_node
    for v in range(6):
        inside = slice(int(matrix.indptr[v]), int(matrix.indptr[v + 1]))
        dense[v, matrix.indices[inside].long()] = matrix.value[inside]
    torch.testing.assert_close(dense, dense.T)
    spectrum = torch.linalg.eigvalsh(dense)
    assert spectrum.max() == pytest.approx(1, abs=1e-5) and spectrum.min() > -1
    assert dense.diagonal().min() > 0


# --- Eq. (6) and the readout -----------------------------------------------------------------------------------------

KINDS = ("outer", "lowrank", "concat", "sum", "gate")


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


def test_the_low_rank_form_is_equation_6_with_a_sum_of_products_for_its_weight():
    low, outer = scrambled(Fusion(3, "lowrank", rank=5)), Fusion(3, "outer")
    weight = torch.zeros(3, 4, 4)
    for k in range(3):
        for i in range(4):
            for j in range(4):
                weight[k, i, j] = sum(low.u[r, i, k] * low.v[r, j, k] for r in range(5))
    outer.linear.weight.data = weight.flatten(1)
    temporal, group = torch.randn(6, 3), torch.randn(6, 3)
    torch.testing.assert_close(low(temporal, group), outer(temporal, group), rtol=1e-4, atol=1e-5)
    full = scrambled(Fusion(3, "lowrank", rank=1))
    assert not torch.allclose(low(temporal, group), full(temporal, group))


@pytest.mark.parametrize("kind", ["outer", "lowrank", "concat", "sum"])
def test_fusion_is_linear_in_each_of_the_two(kind):
    fusion = scrambled(Fusion(3, kind))
    a, b, g, zero = torch.randn(2, 3), torch.randn(2, 3), torch.randn(2, 3), torch.zeros(2, 3)
    # affine, because of the 1 or a bias: linear up to the value at zero
    for f in (lambda x: fusion(x, g), lambda x: fusion(g, x)):
        torch.testing.assert_close(
            f(2 * a - 3 * b) - f(zero), 2 * (f(a) - f(zero)) - 3 * (f(b) - f(zero)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_the_two_passes_when_the_other_is_zero(kind):
    fusion = scrambled(Fusion(3, kind))
    a, b, zero = torch.randn(2, 3), torch.randn(2, 3), torch.zeros(2, 3)
    for f in (lambda x: fusion(x, zero), lambda x: fusion(zero, x)):
        assert f(a).shape == (2, 3)
        assert not torch.isclose(f(a), f(b)).any()


@pytest.mark.parametrize("kind", ["outer", "lowrank"])
def test_fusion_starts_with_both_vectors_and_their_products_of_equal_weight(kind):
    d = 32
    fusion = Fusion(d, kind, rank=16)
    fusion.reset_parameters()
    a, g, zero = torch.randn(500, d), torch.randn(500, d), torch.zeros(500, d)
    with torch.no_grad():
        constant = fusion(zero, zero)
        alone = fusion(a, zero) - constant, fusion(zero, g) - constant
        parts = [*alone, fusion(a, g) - sum(alone) - constant]
    sizes = [x.square().mean().item() for x in parts]
    if kind == "outer":
        assert sizes == pytest.approx([1, 1, 1], rel=0.2)
    assert all(size < 5 * other for size in sizes[:2] for other in sizes[:2])


def test_the_plain_fusions_by_hand():
    a, g = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, -10.0]])
    assert Fusion(2, "sum")(a, g).tolist() == [[11.0, -8.0]]
    concat, gate = Fusion(2, "concat"), Fusion(2, "gate")
    concat.linear.weight.data = torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.0, 1.0, 1.0, 1.0]])
    concat.linear.bias.data = torch.tensor([0.25, -1.0])
    assert concat(a, g).tolist() == [[1 + 5 + 0.25, 2 + 0 - 1]]
    nn.init.zeros_(gate.linear.weight)
    gate.linear.bias.data = torch.tensor([math.log(3), -math.log(3)])  # gates of 3/4 and 1/4
    torch.testing.assert_close(gate(a, g), torch.tensor([[0.75 * 1 + 0.25 * 10, 0.25 * 2 - 0.75 * 10]]))


def test_a_gate_between_equal_vectors_returns_them():
    x = torch.randn(4, 3)
    torch.testing.assert_close(scrambled(Fusion(3, "gate"))(x, x), x)


def test_the_own_vector_and_the_states_of_all_hypergraphs_are_read_by_hand():
    own, states = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0, 5.0, 9.0]])  # two hypergraphs of width 2
    assert Readout(2, 2, "mean")(own, states).tolist() == [[3.0, 5.0]]
    linear = Readout(2, 2, "linear")
    linear.linear.weight.data = torch.tensor([[1.0, 0, 10, 0, 100, 0], [0, 1.0, 0, 10, 0, 100]])
    linear.linear.bias.data = torch.tensor([0.5, 0.0])
    assert linear(own, states).tolist() == [[1 + 30 + 500 + 0.5, 2 + 40 + 900]]


@pytest.mark.parametrize("kind", ["linear", "mean", "attention"])
def test_without_the_own_vector_the_states_alone_are_read(kind):
    read, states = scrambled(Readout(3, 2, kind, own=False)), torch.randn(4, 6)
    y = read(torch.randn(4, 3), states)
    assert torch.equal(read(torch.randn(4, 3), states), y) and not torch.allclose(read(states[:, :3], -states), y)
    if kind == "linear":
        weight, bias = read.linear.weight, read.linear.bias.tolist()
        expected = [plus(times(weight, x), bias) for x in states.tolist()]
        torch.testing.assert_close(y, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    start = Readout(3, 2, own=False)
    start.reset_parameters()
    nn.init.zeros_(start.linear.bias)
    torch.testing.assert_close(start(states[:, :3], states), states.view(4, 2, 3).mean(1))


def test_reading_by_attention_weighs_the_vectors_by_their_scores():
    read, own, states = scrambled(Readout(3, 3, "attention")), torch.randn(2, 3), torch.randn(2, 9)
    first, _, second = read.score
    for r in range(2):
        parts = [own[r].tolist(), *(states[r, 3 * g : 3 * g + 3].tolist() for g in range(3))]
        hidden = [[math.tanh(v) for v in plus(times(first.weight, x), first.bias.tolist())] for x in parts]
        score = [math.exp(times(second.weight, x)[0] + second.bias.item()) for x in hidden]
        expected = plus(*([s / sum(score) * v for v in x] for s, x in zip(score, parts, strict=True)))
        torch.testing.assert_close(read(own, states)[r], torch.tensor(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read(own, own.repeat(1, 3)), own)  # of equal vectors, their value


# --- Eq. (7) and (8) -------------------------------------------------------------------------------------------------


def slow_prediction(predict, user, item, context=(), own=(), attended=()):
    """Three layers on all that is read, T_U * e_i among it, and weighted inner products beside them; or no products."""
    product = predict.direct is not None
    maps = [predict.user, predict.item, *([predict.both] if product else []), *([predict.context] if context else [])]
    maps += [linear for linear, read in ((predict.own, own), (predict.attended, attended)) if read]
    first = torch.cat([linear.weight for linear in maps], 1)
    second, third = [layer for layer in predict.rest if isinstance(layer, nn.Linear)]
    both = [a * b for a, b in zip(user, item, strict=True)]
    inputs = [*user, *item, *(both if product else ()), *context, *own, *attended]
    x = [max(0.0, v) for v in plus(times(first, inputs), predict.user.bias.tolist())]
    x = [max(0.0, v) for v in plus(times(second.weight, x), second.bias.tolist())]
    direct = sum(a * w for a, w in zip(both, predict.direct.tolist(), strict=True)) if product else 0.0
    if context and product:
        each = zip(context, user, item, predict.cross.tolist(), strict=True)
        direct += sum(c * (a + b) * v for c, a, b, v in each)
    if attended and product:
        direct += sum(a * z for a, z in zip(attended[len(item) :], predict.met.tolist(), strict=True))
    return times(third.weight, x)[0] + third.bias.item() + direct


@pytest.mark.parametrize("pairs", [5, 200], ids=["few", "many"])
@pytest.mark.parametrize("width", [0, 4], ids=["plain", "context"])
@pytest.mark.parametrize("profile", [0, 4], ids=["id", "id and profile"])
@pytest.mark.parametrize("product", [True, False], ids=["product", "as printed"])
def test_equation_7_is_three_layers_and_inner_products(pairs, width, profile, product):
    """Many pairs of few users are computed user by user; in any order, and a user may have none."""
    predict = scrambled(Prediction(4, (6, 5), 0.3, context=width > 0, own=profile, attended=width > 0, product=product))
    user, item, context = torch.randn(4, 4), torch.randn(9, 4), torch.randn(pairs, width)
    own, attended = torch.randn(4, profile), torch.randn(pairs, 2 * width)
    user_row, item_row = torch.tensor([0, 1, 3])[torch.randint(3, (pairs,))], torch.randint(9, (pairs,))
    more = (context, own, attended)
    logit, _ = predict(user, item, user_row, item_row, *(x if x.shape[1] else None for x in more))
    expected = [
        slow_prediction(predict, user[u].tolist(), item[i].tolist(), c, own[u].tolist(), a)
        for u, i, c, a in zip(user_row, item_row, context.tolist(), attended.tolist(), strict=True)
    ]
    torch.testing.assert_close(logit, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_equation_8_is_the_negative_log_likelihood_under_one_sigmoid():
    logit, label = torch.randn(20) * 3, (torch.rand(20) < 0.5).float()
    p = [1 / (1 + math.exp(-x)) for x in logit.tolist()]
    loss = -sum(math.log(q if y else 1 - q) for q, y in zip(p, label.tolist(), strict=True)) / 20
    assert F.binary_cross_entropy_with_logits(logit, label).item() == pytest.approx(loss, rel=1e-5)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3}, "model.heads must divide model.dim = 64, got 3"),
        ({"depth": -1}, "model.depth must be at least 0, got -1"),
        ({"hidden": (8,)}, "model.hidden must be two widths"),
        ({"hidden": (8, 0)}, "model.hidden must be two widths"),
        ({"dropout": 1.0}, r"model.dropout must lie in \[0, 1\), got 1.0"),
        ({"id_dropout": -0.1}, r"model.id_dropout must lie in \[0, 1\), got -0.1"),
        ({"rank": 0}, "model.rank must be at least 1, got 0"),
        ({"batches_per_graph": 0}, "model.batches_per_graph must be at least 1, got 0"),
        ({"branch": "both"}, "model.branch must be none, numbers or fields, got both"),
        ({"refresh": -1}, "model.refresh must be at least 0, got -1"),
        ({"conv": "gcn", "propagation": "sampled"}, 'model.propagation = "sampled" draws from hyperedges'),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)
