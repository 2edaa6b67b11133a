"""MARN and the baselines of its Table 2: vectors, logits, losses and gradients against loops over their equations."""

import math

import pytest
import torch
import torch.nn.functional as F
from table_builder import change_tables, make_tables
from torch import nn

from hyperctr.batch import LEVELS, Batch, History, Statistics, Values
from hyperctr.layers.table import Table
from hyperctr.models.dmf import DMF
from hyperctr.models.dupn import DUPN
from hyperctr.models.marn import MARN
from hyperctr.models.mmss import MMSS
from hyperctr.models.naml import NAML
from hyperctr.models.youtubenet import YoutubeNet

# Three users and five items; user 2 and item 4 have no training row. Query 0 has two candidates and three clicks,
# query 1 one candidate and none, query 2 an unknown item and one click, query 3 an unknown user and two clicks.
GENDER, CATEGORY, COLOUR = [1, 0, 1], [2, 0, 1, 1, 3], [0, 1, 1, 2, 3]  # number 2, 3, 3 itself: unknown
FEATURE = [[0.5, -1.0], [2.0, 0.25], [9.0, 9.0], [-0.75, 1.5], [1.0, 1.0]]
HAS_PICTURE = [True, True, False, True, True]
TITLE = [[0, 1, 2, 3, 4, 5], [3, 3, 1, 6, 6, 6], [2, 6, 6, 6, 6, 6], [6, 6, 6, 6, 6, 6], [5, 4, 3, 6, 6, 6]]  # 6: none
SEEN_USER, SEEN_ITEM = [True, True, False], [True, True, True, True, False]
USER, ITEM, QUERY, TIME = [0, 0, 1, 2, 3], [1, 4, 2, 5, 0], [0, 0, 1, 2, 3], [250, 250, 90, 150, 350]
CONTEXT, LABEL = [[0, 2], [1, 0], [1, 1], [0, 0], [1, 2]], [1.0, 0.0, 1.0, 0.0, 1.0]
HISTORY, WHEN, TYPE = [[3, 1, 2], [], [4], [0, 3]], [[10, 80, 240], [], [149], [0, 340]], [[0, 1, 1], [], [1], [0, 0]]
STARTS, AGES = [100, 200, 300], [20, 100, 160]


@pytest.fixture
def tables():
    def table(codes, size):
        return torch.tensor([*codes, size])

    level = torch.randint(LEVELS + 1, (4, 6, 2), dtype=torch.uint8)
    level[0], level[:, 5], level[2, 1, 0] = LEVELS, LEVELS, LEVELS
    return make_tables(
        num_users=3, num_items=5, modalities={"visual": torch.tensor(FEATURE)},
        present={"visual": torch.tensor(HAS_PICTURE)}, seen_user=torch.tensor(SEEN_USER),
        seen_item=torch.tensor(SEEN_ITEM), user_fields={"gender": table(GENDER, 2)}, user_sizes={"gender": 2},
        item_fields={"category": table(CATEGORY, 3), "colour": table(COLOUR, 3)},
        item_sizes={"category": 3, "colour": 3}, context_sizes={"tab": 2, "hour": 3},
        statistics=Statistics(("clicks", "recency"), torch.empty(0), torch.tensor(STARTS), level),
        titles=torch.tensor([*TITLE, [6] * 6], dtype=torch.int32), num_words=6, num_types=2, ages=torch.tensor(AGES),
        steps=10,
    )  # fmt: skip


@pytest.fixture
def batch():
    longest = max(map(len, HISTORY))

    def padded(lists):
        return torch.tensor([[*numbers, *[0] * (longest - len(numbers))] for numbers in lists])

    mask = torch.arange(longest) < torch.tensor([[len(clicks)] for clicks in HISTORY])
    return Batch(
        user=torch.tensor(USER), item=torch.tensor(ITEM), time=torch.tensor(TIME), query=torch.tensor(QUERY),
        query_row=torch.tensor([0, 2, 3, 4]), histories=History(padded(HISTORY), mask, padded(WHEN), padded(TYPE)),
        clicks_before=torch.zeros(5), shows_before=None, context=Values(torch.tensor(CONTEXT)),
        label=torch.tensor(LABEL),
    )  # fmt: skip


def built(cls, tables, **sizes):
    """The model in double precision, every weight random; unknown numbers keep their zero."""
    tables = change_tables(tables, modalities={name: x.double() for name, x in tables.modalities.features.items()})
    model = cls(cls.Config(**sizes), tables).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    for module in model.modules():
        if isinstance(module, Table):
            nn.init.zeros_(module.weight[-1])
    return model


# --- an item's modalities, section 3.1.1 -----------------------------------------------------------------------------


def snapshot(row):
    """How many slices have begun."""
    return sum(start <= TIME[row] for start in STARTS)


def raw(model, tables, name, item, at):
    """x^m of an item, and whether it has the modality."""
    part = model.modalities.raw[model.modalities.names.index(name)]
    if name == "ids":
        x, known = [torch.zeros(32).double()] + [torch.zeros(16).double()] * 2, False
        if item < 5 and SEEN_ITEM[item]:
            x[0], known = part.item.weight[item], True
        for place, (codes, first) in enumerate([(CATEGORY, 0), (COLOUR, 3)], 1):
            if item < 5 and codes[item] < 3:
                x[place], known = part.fields.weight[first + codes[item]], True
        return torch.cat(x), known
    if name == "visual":
        if item == 5 or not HAS_PICTURE[item]:
            return torch.zeros(2).double(), False
        x = torch.tensor(FEATURE[item]).double()
        return x / math.hypot(*FEATURE[item]), True
    if name == "title":
        words = TITLE[item] if item < 5 else [6] * 6
        vectors = [part.word.weight[word] for word in words]
        found = []
        for conv in part.filters:
            n = conv.kernel_size[0]
            windows = range(len(words) - n + 1)
            heard = [sum(conv.weight[:, :, k] @ vectors[t + k] for k in range(n)) + conv.bias for t in windows]
            found.append(torch.stack(heard).relu().max(0).values)  # of each filter
        return torch.cat(found), any(word < 6 for word in words)
    found = []
    for k in range(2):
        level = int(tables.statistics.level[at, item, k])
        found += [part.coarse.weight[11 * k + level // 10], part.fine.weight[101 * k + level]]
    return torch.cat(found), True


def embedded(model, tables, item, at):
    """e^m by name, of the modalities that the item has."""
    found = {}
    for m, name in enumerate(model.modalities.names):
        x, there = raw(model, tables, name, item, at)
        if there:
            linear = model.modalities.project[m]
            found[m] = linear.weight @ x + linear.bias
    return found


@pytest.mark.parametrize("item", range(6))
@pytest.mark.parametrize("at", range(4))
def test_modalities_are_embedded_as_the_paper_says(tables, item, at):
    model = built(MARN, tables, dim=3)
    assert model.modalities.names == ("ids", "visual", "title", "statistic")
    vectors, present = model.modalities(torch.tensor([item]), torch.tensor([at]))
    expected = embedded(model, tables, item, at)
    assert present[:, 0].nonzero()[:, 0].tolist() == list(expected)
    for m in range(4):
        torch.testing.assert_close(vectors[m, 0], expected.get(m, torch.zeros(3).double()))


# --- an item's vector, sections 3.2 and 3.3 --------------------------------------------------------------------------


def representation(model, e):
    """rep of an item from its e^m."""
    d, config = model.config.dim, model.config
    zero = torch.zeros(d).double()
    if config.fusion == "sum":
        return sum(e.values(), zero)
    s, shared = zero, []
    for m, x in e.items():
        own = (x @ model.specific.weight[m] + model.specific.bias[m, 0]).relu()
        attention = torch.tanh(own @ model.weigh.weight[m] + model.weigh.bias[m, 0])  # (3)
        s = s + attention * own  # (2)
        if config.adversary != "none":
            c = model.invariant(x).relu()
            shared.append((degree(model, m, c) * c) if config.adversary == "double" else c)
    if not shared:
        return s
    common = [max((c[j] for c in shared), key=lambda value: value.item()) for j in range(d)]
    return s + torch.stack(common)


def degree(model, m, c):
    """w^m = 1 - D0^m(c), a constant."""
    score = model.first.weight @ c + model.first.bias
    return (1 - score[m].exp() / score.exp().sum()).detach()


def click_vectors(model, tables, row, vector):
    return [vector(model, embedded(model, tables, item, snapshot(row))) for item in HISTORY[QUERY[row]]]


def properties(model, row):
    query, part = QUERY[row], model.property
    found = []
    for when, kind in zip(WHEN[query], TYPE[query], strict=True):
        level = sum(edge < TIME[row] - when for edge in AGES)
        vectors = (part.kind.weight[kind], part.coarse.weight[level // 10], part.fine.weight[level])
        found.append(torch.cat(vectors))
    return found


def profile(model, row):
    user, (tab, hour), zero, part = USER[row], CONTEXT[row], torch.zeros(16).double(), model.profile
    own = part.user.weight[user] if user < 3 and SEEN_USER[user] else zero
    gender = part.user_fields.weight[GENDER[user]] if user < 3 else zero
    return torch.cat([own, gender, part.context.weight[tab], part.context.weight[2 + hour]])


def apgru(cell, clicks, property):
    """States by the paper's gates; the cell holds the signs of the update gate turned, for torch's z = 1 - u."""
    d = cell.state.in_features
    w_r, w_u, w_n = cell.item.weight.split(d)
    b_r, b_u, b_n = cell.item.bias.split(d)
    u_r, u_u, u_n = cell.state.weight.split(d)
    c_r, c_u, c_n = cell.state.bias.split(d)
    h, states = torch.zeros(d).double(), []
    for rep, p in zip(clicks, property, strict=True):
        u = torch.sigmoid(-w_u @ rep - cell.property.weight @ p - u_u @ h - b_u - c_u)
        r = torch.sigmoid(w_r @ rep + u_r @ h + b_r + c_r)
        n = torch.tanh(w_n @ rep + b_n + r * (u_n @ h + c_n))
        h = (1 - u) * h + u * n
        states.append(h)
    return states


def gru(cell, clicks):
    """The state behind the last click, torch's own gates; zero without one."""
    d = cell.hidden_size
    h = torch.zeros(d).double()
    for x in clicks:
        of_x = cell.weight_ih_l0 @ x + cell.bias_ih_l0
        of_h = cell.weight_hh_l0 @ h + cell.bias_hh_l0
        r, z = torch.sigmoid((of_x + of_h)[: 2 * d]).split(d)
        n = torch.tanh(of_x[2 * d :] + r * of_h[2 * d :])
        h = (1 - z) * n + z * h
    return h


def attended(relevance, described, item, states):
    """The states weighed by softmax(v^T ReLU(W [x ; q] + b)); zero without one."""
    both = torch.cat([relevance.state.weight, relevance.item.weight], 1)
    scores = []
    for x in described:
        layer = (both @ torch.cat([x, item]) + relevance.state.bias).relu()
        scores.append((relevance.score.weight @ layer + relevance.score.bias).exp())
    found = torch.zeros_like(states[0]) if states else None
    for score, state in zip(scores, states, strict=True):
        found = found + score / sum(scores) * state
    return found


def top(model, *parts):
    x = torch.cat(parts)
    for layer in model.top:
        if isinstance(layer, nn.Linear):
            x = (layer.weight @ x + layer.bias).relu()
    return (model.out.weight @ x + model.out.bias)[0]


def marn(model, tables, row):
    item = representation(model, embedded(model, tables, ITEM[row], snapshot(row)))
    clicks = click_vectors(model, tables, row, representation)
    if model.config.behaviour == "gru":
        user = gru(model.gru, clicks)
    else:
        states = apgru(model.gru, clicks, properties(model, row))
        user = attended(model.relevance, states, item, states) if states else torch.zeros_like(item)
    return top(model, user, item, profile(model, row))


LADDER = {
    "BaseModel+IDs": {"modalities": ("ids",), "fusion": "sum", "adversary": "none", "behaviour": "gru"},
    "BaseModel+IMAGE": {"modalities": ("visual",), "fusion": "sum", "adversary": "none", "behaviour": "gru"},
    "BaseModel+CONC": {"fusion": "sum", "adversary": "none", "behaviour": "gru"},
    "BaseModel+MAF": {"adversary": "none", "behaviour": "gru"},
    "BaseModel+MAF+ADV": {"adversary": "single", "behaviour": "gru"},
    "BaseModel+MAF+DDMA": {"behaviour": "gru"},
    "MARN": {},
}


@pytest.mark.parametrize("row", LADDER)
def test_every_rung_of_table_3_is_its_equations(tables, batch, row):
    model = built(MARN, tables, dim=4, hidden=(12, 8), **LADDER[row]).eval()
    expected = torch.stack([marn(model, tables, row) for row in range(len(batch))])
    torch.testing.assert_close(model(batch).logit, expected)
    assert expected.unique().numel() == len(batch)


def test_the_degree_is_what_the_first_discriminator_does_not_know(tables):
    model = built(MARN, tables, dim=4)
    item, at = torch.arange(6), torch.tensor([3, 0, 1, 2, 3, 1])
    parts = model.encode(item, at)
    for u in range(6):
        for m, x in embedded(model, tables, u, int(at[u])).items():
            c = model.invariant(x).relu()
            torch.testing.assert_close(parts.degree[m, u], degree(model, m, c))
            torch.testing.assert_close(parts.invariant[m, u], c)
    torch.testing.assert_close(parts.vector, parts.own + parts.common)


# --- the four objectives, Eq. (10) -----------------------------------------------------------------------------------


def occurrences(batch):
    """Every candidate of a row and every click of a query, with its snapshot: repeated, not once each."""
    found = [(ITEM[row], snapshot(row)) for row in range(len(batch))]
    for query, clicks in enumerate(HISTORY):
        found += [(item, snapshot(QUERY.index(query))) for item in clicks]
    return found


def told(linear, x, m):
    """-log of the softmax's entry m."""
    score = linear.weight @ x + linear.bias
    return -(score[m] - score.exp().sum().log())


def objectives(model, tables, batch):
    """L_CTR, L_Ds, L_D0 and -L_ADV, each from the repeated form; nothing is cut but w, a constant of the paper's."""
    logits = torch.stack([marn(model, tables, row) for row in range(len(batch))])
    found = {"ctr": F.binary_cross_entropy_with_logits(logits, batch.label.double())}
    losses = {"specific": [], "first": [], "adversarial": []}
    for item, at in occurrences(batch):
        for m, e in embedded(model, tables, item, at).items():
            s = (e @ model.specific.weight[m] + model.specific.bias[m, 0]).relu()
            c = model.invariant(e).relu()
            double = model.config.adversary == "double"
            losses["specific"].append(told(model.second, s, m))
            losses["first"].append(told(model.first, c, m) if double else torch.zeros(()).double())
            losses["adversarial"].append((degree(model, m, c) if double else 1.0) * told(model.second, c, m))
    return found | {name: torch.stack(some).mean() for name, some in losses.items()}


GROUPS = {"modalities": "E", "specific": "S", "weigh": "W", "invariant": "I", "first": "D0", "second": "D1"}
ROUTES = {  # what trains what, and with which sign; lambda where True
    "E": [("ctr", 1, False)],
    "F": [("ctr", 1, False)],
    "W": [("ctr", 1, False)],
    "S": [("ctr", 1, False), ("specific", 1, True)],
    "I": [("ctr", 1, False), ("adversarial", -1, True)],
    "D0": [("first", 1, False)],
    "D1": [("specific", 1, True), ("adversarial", 1, True)],
}


@pytest.mark.parametrize("row", ["BaseModel+MAF+ADV", "BaseModel+MAF+DDMA", "MARN"])
def test_one_backward_pass_trains_what_equation_10_says_and_nothing_else(tables, batch, row):
    model = built(MARN, tables, dim=4, hidden=(12, 8), weight=0.3, **LADDER[row]).train()
    model.step += 3
    share = 0.3 * (2 / (1 + math.exp(-10 * 0.3)) - 1)
    out = model(batch)
    (F.binary_cross_entropy_with_logits(out.logit, batch.label.double()) + out.penalty).backward()

    slow = objectives(model, tables, batch)
    penalty = share * (slow["specific"] + slow["adversarial"]) + slow["first"]
    torch.testing.assert_close(out.penalty, penalty.detach())
    unknown = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Table)}
    found = {name: torch.autograd.grad(x, list(model.parameters()), retain_graph=True, allow_unused=True)
             for name, x in slow.items() if x.requires_grad}  # fmt: skip
    seen = set()
    for k, (name, p) in enumerate(model.named_parameters()):
        group = GROUPS.get(name.split(".")[0], "F")
        expected = torch.zeros_like(p)
        for objective, sign, scaled in ROUTES[group]:
            gradient = found[objective][k] if objective in found else None
            if gradient is not None:
                expected += sign * (share if scaled else 1.0) * gradient
        if name in unknown:
            expected[-1] = 0.0  # what stands for unknown is not trained
        torch.testing.assert_close(p.grad, expected, msg=lambda text, name=name: f"{name}: {text}")
        seen |= {group} if expected.any() else set()
    assert seen == {"E", "F", "W", "S", "I", "D1"} | ({"D0"} if row != "BaseModel+MAF+ADV" else set())


def test_what_is_logged_are_the_objectives(tables, batch):
    model = built(MARN, tables, dim=4, hidden=(12, 8), weight=0.3).train()
    model.step += 3
    slow, logs = objectives(model, tables, batch), model(batch).logs
    assert set(logs) == {"specific", "first", "adversarial", "lambda"}
    for name in ("specific", "first", "adversarial"):
        assert logs[name] == pytest.approx(slow[name].item())


# --- the baselines of Table 2 ----------------------------------------------------------------------------------------


def side_by_side(model, e):
    zero = torch.zeros(model.modalities.dim).double()
    return torch.cat([e.get(m, zero) for m in range(len(model.modalities))])


def youtubenet(model, tables, row):
    item = side_by_side(model, embedded(model, tables, ITEM[row], snapshot(row)))
    clicks = click_vectors(model, tables, row, side_by_side)
    mean = sum(clicks) / len(clicks) if clicks else torch.zeros_like(item)
    return top(model, mean, item, profile(model, row))


def dupn(model, tables, row):
    item = side_by_side(model, embedded(model, tables, ITEM[row], snapshot(row)))
    cell, property = model.lstm, properties(model, row)
    d = cell.state.in_features
    h = c = torch.zeros(d).double()
    states = []
    for x, p in zip(click_vectors(model, tables, row, side_by_side), property, strict=True):
        every = cell.item.weight @ x + cell.item.bias + cell.state.weight @ h + cell.state.bias
        of_in, of_forget, of_new, of_out = every.split(d)
        p_in, p_forget, p_out = (cell.property.weight @ p).split(d)
        c = torch.sigmoid(of_forget + p_forget) * c + torch.sigmoid(of_in + p_in) * torch.tanh(of_new)
        h = torch.sigmoid(of_out + p_out) * torch.tanh(c)
        states.append(h)
    described = [torch.cat(pair) for pair in zip(states, property, strict=True)]
    user = attended(model.relevance, described, item, states) if states else torch.zeros(d).double()
    return top(model, user, item, profile(model, row))


def dense(model, e):
    fusion = model.fusion
    h, shared = dict(e), None
    for level in range(len(fusion.alone)):
        total = torch.zeros(model.modalities.dim).double()
        for m in h:
            h[m] = (h[m] @ fusion.alone[level].weight[m] + fusion.alone[level].bias[m, 0]).relu()
            total = total + h[m] @ fusion.joined[level].weight[m] + fusion.joined[level].bias[m, 0]
        if shared is not None:
            total = total + fusion.below[level - 1].weight @ shared
        shared = total.relu()
    return shared


def weighed(vectors, layer, query):
    """sum_k softmax_k(q^T tanh(V x_k + v)) x_k."""
    scores = [(query.weight @ torch.tanh(layer.weight @ x + layer.bias)).exp() for x in vectors]
    return sum(score / sum(scores) * x for score, x in zip(scores, vectors, strict=True))


def filtered(model, e):
    fusion, e = model.fusion, dict(e)
    text = e.get(2, torch.zeros(model.modalities.dim).double())  # ids, visual, title, statistic
    if 1 in e:
        (gate,) = fusion.filters
        e[1] = e[1] * torch.sigmoid(gate.weight @ torch.cat([text, e[1]]) + gate.bias)
    return weighed(list(e.values()), fusion.view, fusion.score)


def by_gru(vector):
    def logit(model, tables, row):
        item = vector(model, embedded(model, tables, ITEM[row], snapshot(row)))
        user = gru(model.gru, click_vectors(model, tables, row, vector))
        return top(model, user, item, profile(model, row))

    return logit


def naml(model, tables, row):
    def vector(model, e):
        return weighed([x.relu() for x in e.values()], model.views.view, model.views.query)

    item = vector(model, embedded(model, tables, ITEM[row], snapshot(row)))
    clicks = click_vectors(model, tables, row, vector)
    user = weighed(clicks, model.clicks.view, model.clicks.query) if clicks else torch.zeros_like(item)
    return top(model, user, item, user * item, profile(model, row))


CASES = [
    (YoutubeNet, {}, youtubenet), (DUPN, {"state": 5}, dupn), (DMF, {"depth": 3}, by_gru(dense)),
    (MMSS, {}, by_gru(filtered)), (NAML, {}, naml),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "sizes", "slow"), CASES, ids=[cls.__name__ for cls, _, _ in CASES])
def test_a_baseline_is_its_equations(tables, batch, cls, sizes, slow):
    model = built(cls, tables, dim=4, hidden=(12, 8), **sizes).eval()
    expected = torch.stack([slow(model, tables, row) for row in range(len(batch))])
    torch.testing.assert_close(model(batch).logit, expected)
    assert expected.unique().numel() == len(batch)
