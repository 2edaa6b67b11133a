"""AQCL, arXiv 2109.13921: its numbered equations, as slow loops. Eq. (7) stands in tests/hyperctr/test_tune.py."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from table_builder import make_tables
from torch import nn

from hyperctr.batch import Batch, History
from hyperctr.evaluation.metrics import logloss
from hyperctr.evaluation.significance import relaimpr
from hyperctr.models.aqcl import (
    AQCL,
    Codebook,
    Config,
    Projector,
    activity,
    aqcl,
    icl,
    instances,
    sinkhorn,
    thinned,
)
from hyperctr.models.din import DIN

B, D, T, K = 5, 4, 6, 3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sim(a, b):
    """Cosine of two lists."""
    dot, norms = sum(x * y for x, y in zip(a, b, strict=True)), [math.sqrt(sum(x * x for x in v)) for v in (a, b)]
    return dot / (norms[0] * norms[1])


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def views(seed=0):
    """z, z+ and Q, all of length one."""
    return unit(drawn(B, D, seed=seed)), unit(drawn(B, D, seed=seed + 1)), unit(drawn(T, D, seed=seed + 2))


# --- Eq. (1) and (9) -------------------------------------------------------------------------------------------------


def test_eq_1_logloss():
    label, logit = [1, 0, 0, 1], [0.3, -1.2, 2.0, -0.4]
    total = 0.0
    for y, x in zip(label, logit, strict=True):
        f = 1 / (1 + math.exp(-x))
        total -= y * math.log(f) + (1 - y) * math.log(1 - f)
    assert logloss(label, logit) == pytest.approx(total / 4)


def test_eq_9_relaimpr_gives_the_percentages_of_table_2():
    for base, target, percent in [(0.6956, 0.7078, 6.24), (0.6865, 0.6812, -2.84), (0.7601, 0.7691, 3.46)]:
        assert 100 * relaimpr(target, base) == pytest.approx(percent, abs=0.005)


# --- Eq. (2) ---------------------------------------------------------------------------------------------------------


def slow_negatives(b, z, plus, both):
    """Z-_b: the other rows' second views, with `both` their first views too."""
    others = [j for j in range(B) if j != b]
    return [plus[j] for j in others] + ([z[j] for j in others] if both else [])


@pytest.mark.parametrize("both", [False, True])
def test_eq_2_instance_level(both):
    z, plus, _ = views()
    found = icl(*instances(z, plus, 0.1, both))
    for b in range(B):
        a, tau = z[b].tolist(), 0.1
        positive = math.exp(sim(a, plus[b].tolist()) / tau)
        negative = sum(math.exp(sim(a, x.tolist()) / tau) for x in slow_negatives(b, z, plus, both))
        assert found[b].item() == pytest.approx(-math.log(positive / (positive + negative)))


# --- Eq. (3) ---------------------------------------------------------------------------------------------------------


def slow_aqcl(b, z, plus, code, alpha, tau1, tau2, both=False):
    """Eq. (3) as printed; Q+ is the K codes of the largest sum of similarities, by trying all of them."""
    a = z[b].tolist()

    def d1(x):
        return math.exp(sim(a, x.tolist()) / tau1)

    def d2(q):
        return math.exp(sim(a, q.tolist()) / tau2)

    nearest = max(itertools.combinations(code, K), key=lambda qs: sum(sim(a, q.tolist()) for q in qs))
    up = d1(plus[b]) ** (1 - alpha) * sum(d2(q) for q in nearest) ** alpha
    down = d1(plus[b]) + sum(d1(x) for x in slow_negatives(b, z, plus, both)) + sum(d2(q) for q in code)
    return -math.log(up / down)


@pytest.mark.parametrize("both", [False, True])
def test_eq_3_auto_quantized(both):
    z, plus, code = views()
    alpha = torch.tensor([0.0, 0.3, 0.6, 0.9, 1.0], dtype=torch.float64)
    pair = instances(z, plus, 0.2, both)
    found = aqcl(*pair, z @ code.T / 0.3, alpha, K)
    for b in range(B):
        slow = slow_aqcl(b, z, plus, code, alpha[b].item(), 0.2, 0.3, both)
        assert found[b].item() == pytest.approx(slow)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_gradients_of_eq_3_in_closed_form(alpha):
    """dL/dc(z,z+) = (p_+ - (1 - alpha)) / tau1, dL/dc(z,z-) = p_- / tau1, dL/dc(z,q) = (p_q - alpha o_q) / tau2."""
    tau1, tau2 = 0.2, 0.3
    z, plus, code = views()
    c, q = (z @ plus.T).requires_grad_(), (z @ code.T).requires_grad_()
    aqcl(c.diagonal() / tau1, (c / tau1).logsumexp(1), q / tau2, alpha, K).sum().backward()
    everything = torch.cat([c / tau1, q / tau2], 1).detach().softmax(1)
    p, p_q = everything[:, :B], everything[:, B:]
    near = (q / tau2).detach()
    o = torch.zeros(B, T, dtype=torch.float64)
    for b in range(B):
        top = sorted(range(T), key=lambda t: -near[b, t])[:K]
        o[b, top] = near[b, top].softmax(0)
    torch.testing.assert_close(c.grad, (p - (1 - alpha) * torch.eye(B)) / tau1)
    torch.testing.assert_close(q.grad, (p_q - alpha * o) / tau2)


def test_the_second_view_attracts_until_its_share_is_one_less_alpha_and_then_repels():
    for alpha, attracts in [(0.5, True), (0.7, False)]:  # p_+ = 0.4 of the denominator
        c = torch.zeros(1, requires_grad=True)
        q = torch.tensor([[math.log(0.75), math.log(0.75)]])
        assert torch.cat([c[None], q], 1).softmax(1)[0, 0].item() == pytest.approx(0.4)
        aqcl(c, c, q, alpha, 1).sum().backward()
        assert (c.grad.item() < 0) is attracts


def test_orthogonal_rows_by_hand():
    """All cosines 0, one negative, T = 4, K = 2, tau = 1: the denominator is 6, L = log 6 - alpha log 2."""
    z, plus, code = torch.eye(8)[:2], torch.eye(8)[2:4], torch.eye(8)[4:]
    for alpha in (0.0, 0.3, 1.0):
        found = aqcl(*instances(z, plus, 1.0), z @ code.T, alpha, 2)
        torch.testing.assert_close(found, torch.full((2,), math.log(6) - alpha * math.log(2)))


# --- Eq. (4) ---------------------------------------------------------------------------------------------------------


def slow_sinkhorn(scores, epsilon, iterations):
    """Sinkhorn and Knopp on exp(scores / epsilon): rows to 1/T, then columns to 1/B."""
    a = [[math.exp(x / epsilon) for x in row] for row in scores.tolist()]
    t, b = len(a), len(a[0])
    for _ in range(iterations):
        a = [[x / sum(row) / t for x in row] for row in a]
        columns = [sum(row[j] for row in a) for j in range(b)]
        a = [[row[j] / columns[j] / b for j in range(b)] for row in a]
    return torch.tensor(a, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_eq_4_assignment_agrees_with_loops(iterations):
    scores = unit(drawn(T, D)) @ unit(drawn(9, D, seed=1)).T
    torch.testing.assert_close(sinkhorn(scores, 0.2, iterations), slow_sinkhorn(scores, 0.2, iterations))


def test_eq_4_assignment_is_the_best_there_is():
    """No step inside the constraints (rows 1/T, columns 1/B) raises Tr(A^T Q^T Z) + epsilon H(A)."""
    epsilon = 0.3
    scores = unit(drawn(T, D)) @ unit(drawn(9, D, seed=1)).T
    best = sinkhorn(scores, epsilon, 200)
    torch.testing.assert_close(best.sum(1), torch.full((T,), 1 / T, dtype=torch.float64))
    torch.testing.assert_close(best.sum(0), torch.full((9,), 1 / 9, dtype=torch.float64))

    def objective(a):
        return ((a * scores).sum() - epsilon * (a * a.log()).sum()).item()

    rng = np.random.default_rng(0)
    for _ in range(200):  # swap some mass on a rectangle: all sums stay
        (t, s), (a, b) = rng.choice(T, 2, False), rng.choice(9, 2, False)
        step = rng.uniform(0, 0.5) * min(best[t, b], best[s, a]).item()
        other = best.clone()
        other[t, a], other[s, b] = other[t, a] + step, other[s, b] + step
        other[t, b], other[s, a] = other[t, b] - step, other[s, a] - step
        assert objective(other) <= objective(best)


# --- Eq. (5) ---------------------------------------------------------------------------------------------------------


def test_eq_5_codebook_loss_and_its_step():
    torch.manual_seed(3)
    book = Codebook(Config(codes=T, positives=K, dim=D, lr=0.01))
    reference = nn.Parameter(book.code.clone())
    adam = torch.optim.Adam([reference], lr=0.01)
    for step in range(4):
        z = unit(drawn(B, D, seed=step)).float()
        a = sinkhorn(reference.detach() @ z.T, 0.05, 3)
        slow = 0.0
        for b in range(B):
            wanted = max(range(T), key=lambda t: a[t, b])  # a_b one-hot  # noqa: B023
            p = [math.exp(sim(z[b].tolist(), q.tolist()) / 0.1) for q in reference]
            slow -= math.log(p[wanted] / sum(p)) / B
        got = book.learn(z)
        assert got["codebook_loss"] == pytest.approx(slow, rel=1e-5)
        loss = F.cross_entropy(z @ F.normalize(reference).T / 0.1, a.argmax(0))
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            reference.copy_(F.normalize(reference))
        torch.testing.assert_close(book.code, reference.detach())


# --- Eq. (6) ---------------------------------------------------------------------------------------------------------


def test_eq_6_alpha():
    share = torch.tensor([0, 0.25, 0.5, 1, 2, 4])
    for w1, w2, wanted in [
        (0.7, 1.0, [1, 0.839, 0.705, 0.497, 0.247, 0.061]),
        (2.0, 0.5, [1, 0.368, 0.243, 0.135, 0.059, 0.018]),
        (1.0, 2.0, [1, 0.939, 0.779, 0.368, 0.018, 0]),
    ]:
        found = activity(7.0 * share, 7.0, w1, w2)
        assert found.tolist() == pytest.approx(wanted, abs=5e-4)
        slow = [math.exp(-w1 * (length / 7.0) ** w2) for length in (7.0 * share).tolist()]
        assert found.tolist() == pytest.approx(slow)


# --- Eq. (8), Algorithm 1 --------------------------------------------------------------------------------------------


TABLES = make_tables(4, 7, clicks_per_user=2.5)


def batch():
    """Three queries with histories of three, none and one click, two rows each; five clicks before the first."""
    past = History(
        item=torch.tensor([[3, 5, 6], [0, 0, 0], [2, 0, 0]]),
        mask=torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0]]).bool(),
        time=torch.zeros(3, 3, dtype=torch.long),
        length=torch.tensor([5, 0, 1]),
    )
    query = torch.tensor([0, 0, 1, 1, 2, 2])
    return Batch(
        user=query, item=torch.tensor([1, 4, 0, 2, 6, 3]), time=torch.full((6,), 9), query=query,
        query_row=torch.tensor([0, 2, 4]), histories=past, clicks_before=torch.zeros(6), shows_before=None,
        context=None, label=torch.tensor([1.0, 0, 1, 0, 1, 0]),
    )  # fmt: skip


def test_eq_8_the_loss_of_a_step_is_eq_3_of_two_passes_with_the_codebook_as_it_was():
    torch.manual_seed(0)
    base = DIN(DIN.Config(dim=4, hidden=(8, 5), attention=(6,), dropout=0.0), TABLES)
    for p in base.parameters():
        nn.init.normal_(p, std=0.5)
    model = AQCL(base, Config(w=0.3, codes=4, positives=2, dim=3, bits=0.0, mask=0.5), TABLES).train()
    code = model.codebook.code.clone()
    out = model(batch())
    # the same draws again, and both passes by hand
    torch.default_generator.manual_seed(model.draws.seed * 1_000_003 + 1)  # 0 was for the weights
    seen = base(replace(batch(), histories=thinned(batch().histories, 0.5)))
    z, plus = model.project(base(batch()).hidden), model.project(seen.hidden)
    total = 0.0
    for b, length in enumerate([5, 5, 0, 0, 1, 1]):
        alpha = math.exp(-0.7 * (length / 2.5) ** 1.0)
        a = z[b].tolist()
        row = [math.exp(sim(a, x.tolist()) / 0.1) for x in plus]
        near = sorted((math.exp(sim(a, q.tolist()) / 0.1) for q in code), reverse=True)
        total -= math.log(row[b] ** (1 - alpha) * sum(near[:2]) ** alpha / (sum(row) + sum(near))) / 6
    assert out.logs["aqcl_loss"] == pytest.approx(total, rel=1e-5)
    assert out.penalty.item() == pytest.approx(0.3 * total, rel=1e-5)
    assert not torch.equal(model.codebook.code, code)  # it took its step behind it
    torch.testing.assert_close(out.logit, base(batch()).logit)


def test_the_projector_is_three_layers_with_leaky_relu():
    g = Projector(5, 3)
    x = torch.randn(4, 5)
    leaky = [lambda v: [u if u > 0 else 0.01 * u for u in v]] * 2 + [lambda v: v]
    layers = [layer for layer in g if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(5, 5), (5, 5), (3, 5)]
    for row, found in zip(x.tolist(), g(x).tolist(), strict=True):
        for layer, act in zip(layers, leaky, strict=True):
            row = act([sum(w * v for w, v in zip(ws, row, strict=True)) for ws in layer.weight.tolist()])
        assert found == pytest.approx(row, abs=1e-5)
