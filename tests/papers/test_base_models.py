"""The base models: each one's logit, from the vectors of its fields up, as slow loops."""

import math

import pytest
import torch
from table_builder import make_tables
from torch import nn

from hyperctr.batch import Batch, History, Values
from hyperctr.layers.table import Table
from hyperctr.models.dcn import DCN
from hyperctr.models.deepfm import DeepFM
from hyperctr.models.dien import DIEN
from hyperctr.models.din import DIN
from hyperctr.models.fm import FM
from hyperctr.models.gru4rec import GRU4Rec
from hyperctr.models.lr import LR
from hyperctr.models.wide_deep import WideDeep
from hyperctr.models.xdeepfm import XDeepFM

# Three users and five items; user 2 and item 4 have no training row. Query 0 has two candidates and three clicks,
# query 1 one candidate and none, query 2 an unknown item and one click, query 3 an unknown user and two clicks.
GENDER, CATEGORY, COLOUR = [1, 0, 1], [2, 0, 1, 1, 0], [0, 1, 1, 2, 0]  # number 2, 3, 3 itself: unknown
FEATURE = [[0.5, -1.0], [2.0, 0.25], [0.0, 0.0], [-0.75, 1.5], [1.0, 1.0]]
PRESENT = [True, True, False, True, True]
SEEN_USER, SEEN_ITEM = [True, True, False], [True, True, True, True, False]
USER, ITEM, QUERY = [0, 0, 1, 2, 3], [1, 4, 2, 5, 0], [0, 0, 1, 2, 3]
CONTEXT = [[0, 2], [1, 0], [1, 1], [0, 0], [1, 2]]
HISTORY = [[3, 1, 2], [], [4], [0, 3]]


@pytest.fixture
def tables():
    def table(codes, size):
        return torch.tensor([*codes, size])

    return make_tables(
        num_users=3, num_items=5, modalities={"visual": torch.tensor(FEATURE)},
        present={"visual": torch.tensor(PRESENT)}, seen_user=torch.tensor(SEEN_USER),
        seen_item=torch.tensor(SEEN_ITEM), user_fields={"gender": table(GENDER, 2)}, user_sizes={"gender": 2},
        item_fields={"category": table(CATEGORY, 3), "colour": table(COLOUR, 3)},
        item_sizes={"category": 3, "colour": 3}, context_sizes={"tab": 2, "hour": 3},
    )  # fmt: skip


@pytest.fixture
def batch():
    longest = max(map(len, HISTORY))
    item = torch.tensor([[*clicks, *[0] * (longest - len(clicks))] for clicks in HISTORY])
    mask = torch.arange(longest) < torch.tensor([[len(clicks)] for clicks in HISTORY])
    query = torch.tensor(QUERY)
    return Batch(
        user=torch.tensor(USER), item=torch.tensor(ITEM), time=query, query=query, query_row=torch.tensor([0, 2, 3, 4]),
        histories=History(item, mask, torch.zeros_like(item)), clicks_before=torch.zeros(5), shows_before=None,
        context=Values(torch.tensor(CONTEXT)), label=torch.zeros(5),
    )  # fmt: skip


def scrambled(model, std=0.4):
    """The model in evaluation, every weight random; unknown numbers keep their zero."""
    for p in model.parameters():
        nn.init.normal_(p, std=std)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return model.eval()


# --- lists of numbers ------------------------------------------------------------------------------------------------


def plus(*vectors):
    return [sum(values) for values in zip(*vectors, strict=True)]


def by(vector, other):
    return [a * b for a, b in zip(vector, other, strict=True)]


def dot(vector, other):
    return sum(by(vector, other))


def linear(layer, x):
    """W x + b."""
    bias = [0.0] * len(layer.weight) if layer.bias is None else layer.bias.tolist()
    return [dot(row, x) + b for row, b in zip(layer.weight.tolist(), bias, strict=True)]


def activated(act, x):
    """What follows a layer in evaluation: ReLU, PReLU or Dice."""
    if isinstance(act, nn.ReLU):
        return [max(0.0, v) for v in x]
    if isinstance(act, nn.PReLU):
        return [v if v > 0 else act.weight.item() * v for v in x]
    columns = zip(x, act.norm.running_mean.tolist(), act.norm.running_var.tolist(), act.slope.tolist(), strict=True)
    parts = [(v, 1 / (1 + math.exp(-(v - mean) / math.sqrt(var + 1e-8))), slope) for v, mean, var, slope in columns]
    return [p * v + (1 - p) * slope * v for v, p, slope in parts]


def mlp(layers, x):
    for layer, act, _ in zip(*[iter(layers)] * 3, strict=True):
        x = activated(act, linear(layer, x))
    return x


def sigmoid(x):
    return [1 / (1 + math.exp(-v)) for v in x]


# --- vectors of the fields -------------------------------------------------------------------------------------------


def item_vectors(embed, item):
    """Id, category, colour and visual vector of an item; zeros for what is unknown or missing."""
    zero = [0.0] * embed.dim
    if item == 5:
        return [zero] * 4
    table = embed.item_fields.weight.tolist()  # 3 categories, then 3 colours
    visual = linear(embed.project[0], FEATURE[item]) if PRESENT[item] else zero
    number = embed.item.weight[item].tolist() if SEEN_ITEM[item] else zero
    return [number, table[CATEGORY[item]], table[3 + COLOUR[item]], visual]


def fields(embed, row):
    user, zero, table = USER[row], [0.0] * embed.dim, embed.context.weight.tolist()
    mine = [embed.user.weight[user].tolist() if user < 3 and SEEN_USER[user] else zero]
    mine.append(embed.user_fields.weight[GENDER[user]].tolist() if user < 3 else zero)
    tab, hour = CONTEXT[row]
    return [*item_vectors(embed, ITEM[row]), *mine, table[tab], table[2 + hour]]


def click_vectors(embed, row):
    """One vector a click: the sum of the item's."""
    return [plus(*item_vectors(embed, item)) for item in HISTORY[QUERY[row]]]


def with_history(embed, row):
    """The fields and, last, the mean of the clicks."""
    clicks = click_vectors(embed, row) or [[0.0] * embed.dim]
    return [*fields(embed, row), [v / len(clicks) for v in plus(*clicks)]]


def flat(vectors):
    return [v for vector in vectors for v in vector]


def weights_and_vectors(embed, row):
    """First-order weights, and vectors, of a model whose table holds both."""
    both = with_history(embed, row)
    return [x[-1] for x in both], [x[:-1] for x in both]


def pairs(vectors):
    """Sum over i < j of <v_i, v_j>."""
    return sum(dot(vectors[i], vectors[j]) for j in range(len(vectors)) for i in range(j))


# --- the models ------------------------------------------------------------------------------------------------------


def lr(model, row):
    return model.bias.item() + sum(x[0] for x in with_history(model.embed, row))


def fm(model, row):
    weights, vectors = weights_and_vectors(model.embed, row)
    return model.bias.item() + sum(weights) + pairs(vectors)


def wide_deep(model, row):
    weights, vectors = weights_and_vectors(model.embed, row)
    user, item, crossed = USER[row], ITEM[row], 0.0
    if user < 3 and item < 5 and SEEN_USER[user] and SEEN_ITEM[item]:
        golden = 11400714819323198485  # 2^64 / 1.618..., odd
        crossed = model.cross.weight[((user * 6 + item) * golden) % 2**64 // 2**46].item()
    return sum(weights) + crossed + linear(model.out, mlp(model.deep, flat(vectors)))[0]


def dcn(model, row):
    first = flat(with_history(model.embed, row))
    x = first
    for weight, bias in zip(model.cross.weight, model.cross.bias, strict=True):
        if model.cross.version == 1:
            x = plus(by(first, linear(weight, x) * len(first)), bias.tolist(), x)  # x_0 (w^T x) + b + x
        else:
            x = plus(by(first, plus(linear(weight, x), bias.tolist())), x)  # x_0 * (W x + b) + x
    return linear(model.out, [*x, *mlp(model.deep, first)])[0]


def deepfm(model, row):
    weights, vectors = weights_and_vectors(model.embed, row)
    return sum(weights) + pairs(vectors) + linear(model.out, mlp(model.deep, flat(vectors)))[0]


def xdeepfm(model, row):
    weights, first = weights_and_vectors(model.embed, row)
    x, pooled = first, []
    for weight in model.cin.weight:
        found = []
        for w in weight.tolist():  # one of the H_k maps
            vector = [0.0] * len(first[0])
            for i in range(len(x)):
                for j in range(len(first)):
                    product = by(x[i], first[j])
                    vector = plus(vector, [w[i * len(first) + j] * v for v in product])
            found.append(vector)
        x = found
        pooled += [sum(vector) for vector in x]
    return sum(weights) + linear(model.out, [*pooled, *mlp(model.deep, flat(first))])[0]


def din(model, row):
    item, clicks = plus(*item_vectors(model.embed, ITEM[row])), click_vectors(model.embed, row)
    unit, scores = model.activation, []
    for click in clicks:
        difference = plus(item, [-v for v in click])
        x = activated(unit.act, linear(unit.first, [*item, *click, *difference, *by(item, click)]))
        scores.append(linear(unit.rest[1], mlp(unit.rest[0], x))[0])
    if model.softmax:
        scores = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
    pooled = plus([0.0] * len(item), *([s * v for v in click] for s, click in zip(scores, clicks, strict=True)))
    return linear(model.out, mlp(model.top, [*flat(fields(model.embed, row)), *pooled, *by(pooled, item)]))[0]


def gru(cell, clicks):
    """States of a GRU behind each click, from its gates: torch's z is 1 - u of the papers."""
    d = cell.hidden_size
    (w_r, w_z, w_n), (u_r, u_z, u_n) = (w.split(d) for w in (cell.weight_ih_l0, cell.weight_hh_l0))
    (b_r, b_z, b_n), (c_r, c_z, c_n) = (b.split(d) for b in (cell.bias_ih_l0, cell.bias_hh_l0))

    def times(matrix, x, bias):
        return [dot(row, x) + b for row, b in zip(matrix.tolist(), bias.tolist(), strict=True)]

    h, states = [0.0] * d, []
    for x in clicks:
        r = sigmoid(plus(times(w_r, x, b_r), times(u_r, h, c_r)))
        z = sigmoid(plus(times(w_z, x, b_z), times(u_z, h, c_z)))
        n = [math.tanh(v) for v in plus(times(w_n, x, b_n), by(r, times(u_n, h, c_n)))]
        h = [(1 - a) * new + a * old for a, new, old in zip(z, n, h, strict=True)]
        states.append(h)
    return states


def gru4rec(model, row):
    item = plus(*item_vectors(model.embed, ITEM[row]))
    h = ([[0.0] * len(item)] + gru(model.gru, click_vectors(model.embed, row)))[-1]
    return linear(model.out, mlp(model.top, [*flat(fields(model.embed, row)), *h, *by(h, item)]))[0]


def dien(model, row):
    item = plus(*item_vectors(model.embed, ITEM[row]))
    interests, cell, d = gru(model.extraction, click_vectors(model.embed, row)), model.evolution, len(item)
    scores = [math.exp(dot(h, linear(cell.attention, item))) for h in interests]  # (8)
    h = [0.0] * d
    for x, score in zip(interests, scores, strict=True):
        of_x, of_h, a = linear(cell.input, x), linear(cell.state, h), score / sum(scores)
        r = sigmoid(plus(of_x[:d], of_h[:d]))
        u = [a * v for v in sigmoid(plus(of_x[d : 2 * d], of_h[d : 2 * d]))]  # (11)
        new = [math.tanh(v) for v in plus(of_x[2 * d :], by(r, of_h[2 * d :]))]
        h = [(1 - v) * old + v * n for v, old, n in zip(u, h, new, strict=True)]  # (12)
    return linear(model.out, mlp(model.top, [*flat(fields(model.embed, row)), *h]))[0]


SMALL = {"dim": 3, "hidden": (4, 2)}
CASES = [
    (LR, {}, lr),
    (FM, {"dim": 3}, fm),
    (WideDeep, SMALL, wide_deep),
    (DCN, SMALL | {"depth": 2, "version": 1}, dcn),
    (DCN, SMALL | {"depth": 2, "version": 2}, dcn),
    (DeepFM, SMALL, deepfm),
    (XDeepFM, SMALL | {"maps": (3, 2)}, xdeepfm),
    (DIN, SMALL | {"attention": (5, 3)}, din),
    (DIN, SMALL | {"attention": (5,), "softmax": True}, din),
    (DIN, SMALL | {"attention": (5, 3), "activation": "dice"}, din),
    (DIEN, SMALL, dien),
    (GRU4Rec, SMALL, gru4rec),
]


@pytest.mark.parametrize(("cls", "sizes", "slow"), CASES, ids=lambda x: x.__name__ if callable(x) else "")
def test_a_model_is_its_equation(tables, batch, cls, sizes, slow):
    model = scrambled(cls(cls.Config(**sizes), tables))
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    expected = torch.tensor([slow(model, row) for row in range(len(batch))])
    torch.testing.assert_close(model(batch).logit, expected, rtol=1e-4, atol=1e-5)
    assert expected.unique().numel() == len(batch)


def test_the_auxiliary_loss_of_dien_is_its_equation_6(tables, batch, monkeypatch):
    model = scrambled(DIEN(DIEN.Config(**SMALL, auxiliary=0.7, dropout=0.0), tables)).train()
    drawn = torch.tensor([[0, 2], [1, 1], [2, 3], [1, 0]])  # for clicks 2 and 3 of each history; once it is the click
    monkeypatch.setattr(torch, "randint", lambda high, size, device: drawn)
    total, count = 0.0, 0
    for row in (0, 2, 3, 4):
        clicks, query = click_vectors(model.embed, row), QUERY[row]
        for t, h in enumerate(gru(model.extraction, clicks)[:-1]):
            other = int(drawn[query, t])
            if other != HISTORY[query][t + 1]:
                drawn_vector = plus(*item_vectors(model.embed, other))
                yes, no = sigmoid([dot(h, clicks[t + 1]), dot(h, drawn_vector)])
                total, count = total - math.log(yes) - math.log(1 - no), count + 1
    assert count == 2
    assert model(batch).penalty.item() == pytest.approx(0.7 * total / count, rel=1e-5)
