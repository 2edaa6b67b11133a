"""HyperCTR as `hyperctr-paper` has it, against loops of the paper's equations from the raw log to the loss.

The loops read the log, the columns, the features and the weights by their names; no part of the model computes in them.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from slow_hyperctr import (
    CONTEXT,
    DAY,
    ITEM,
    ITEMS,
    PRESENT,
    SIZES,
    TIME,
    USER,
    USERS,
    fields_of,
    logits_of,
    model_of,
    random_log,
    rows_of,
)

from hyperctr.data.loader import Loader
from hyperctr.presets import read_preset

INTEREST = np.random.default_rng(4).random((USERS, ITEMS, len(PRESENT)))  # f(u, i, m) of Eq. (10)
DELTA = 0.4
PAPER = {key: value for key, value in read_preset("hyperctr-paper")["model"].items() if key not in ("name", *SIZES)}


def relu(x):
    return np.maximum(x, 0.0)


def layer_norm(x, weight, bias):
    return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * weight + bias


class Paper:
    """Sections 2.2 and 2.3, one user, item or hyperedge after the other, in double precision."""

    def __init__(self, weights, features, log, fields, depth, heads, slices, clicks):
        self.w, self.features, self.fields = weights, features, fields
        self.depth, self.heads, self.slices, self.clicks = depth, heads, slices, clicks
        rows = zip(log.user.tolist(), log.item.tolist(), (log.time // DAY).tolist(), log.time.tolist(), strict=True)
        self.log = [row for row, label in zip(rows, log.label, strict=True) if label == 1]

    def columns(self, name, columns, node):
        """The sum of one vector per column of the metadata or the profile; an unknown value has none."""
        total, first = 0.0, 0
        for size, code in zip(columns.sizes.values(), columns.values.codes[node].tolist(), strict=True):
            if code < size:
                total = total + self.w[f"{name}.columns.weight"][first + code]
            first += size
        return total

    def user(self, u):
        """E_U of "metadata and profiles", section 2.2.1; users 5 and 6 have no training row, and share an id vector."""
        return self.w["user.weight"][u if u < 5 else USERS] + self.columns("profile", self.fields.user, u)

    def item(self, i):
        """M_I of the id and the metadata."""
        return self.w["item.weight"][i if i < 7 else ITEMS] + self.columns("metadata", self.fields.item, i)

    def attributes(self, i):
        """E_A: the projected features of each modality that the item has."""
        has = [m for m in PRESENT if i < ITEMS and PRESENT[m][i]]
        return {m: self.w[f"project.{m}.weight"] @ self.features[m][i] + self.w[f"project.{m}.bias"] for m in has}

    def embedding(self, i):
        """M_I and the mean of the attributes."""
        found = list(self.attributes(i).values())
        return self.item(i) + (sum(found) / len(found) if found else 0.0)

    def attention(self, name, tokens, causal):
        """Eq. (1) to (4) and, as in the transformer [27], a residual and a layer norm after each of the two parts."""
        w = {key.removeprefix(f"temporal.{name}."): x for key, x in self.w.items()}
        d = len(tokens[0])
        size, out = d // self.heads, []
        w_q, w_k, w_v = w["qkv.weight"].reshape(3, self.heads, size, d)
        for a, x in enumerate(tokens):
            seen, heads = tokens[: a + 1] if causal else tokens, []
            for h in range(self.heads):
                scores = np.array([math.exp(w_q[h] @ x @ (w_k[h] @ y) / math.sqrt(size)) for y in seen])  # (3)
                heads.append(sum(s * (w_v[h] @ y) for s, y in zip(scores / scores.sum(), seen, strict=True)))  # (2)
            x = layer_norm(x + w["out.weight"] @ np.concatenate(heads), w["norm1.weight"], w["norm1.bias"])  # (1)
            y = w["ffn.2.weight"] @ relu(w["ffn.0.weight"] @ x + w["ffn.0.bias"]) + w["ffn.2.bias"]  # (4)
            out.append(layer_norm(x + y, w["norm2.weight"], w["norm2.bias"]))
        return out

    def temporal(self, u, now, time):
        """E^{t_n}: attention within each slot, the mean of it, attention across slots, its output at the latest one."""
        own = [(i, n) for v, i, n, t in self.log if v == u and t < time]
        slots = sorted({n for _, n in own if n < now})[-self.slices :] + [now] * any(n == now for _, n in own)
        if not slots:
            return self.user(u) + self.w["temporal.cold"]
        of_slot = []
        for n in slots:
            tokens = [self.user(u) + self.embedding(i) for i, m in own if m == n][-self.clicks :]
            of_slot.append(sum(self.attention("within", tokens, causal=False)) / len(tokens))
        return self.attention("across", of_slot, causal=True)[-1]

    def hyperedges(self, kind, n):
        """Definition 2 and Eq. (11): users whose interest in a modality of an item passes delta; items of a user."""
        found = []
        for k, m in enumerate(PRESENT):
            clicks = {(u, i) for u, i, at, _ in self.log if at == n and PRESENT[m][i]}
            if kind == "user":
                clicks = {(u, i) for u, i in clicks if INTEREST[u, i, k] > DELTA}
                edges = [{u for u, j in clicks if j == i} for i in range(ITEMS)]
            else:
                edges = [{i for v, i in clicks if v == u} for u in range(USERS)]
            found.append([edge for edge in edges if len(edge) > 1])
        return [sum(found, []), *found]  # the group's: the union

    def convolve(self, kind, n):
        """Eq. (5) with W = I on each hypergraph of a slot: [nodes, graphs * d]; zero for a node in no hyperedge."""
        nodes, out = range(USERS if kind == "user" else ITEMS), []
        for g, edges in enumerate(self.hyperedges(kind, n)):
            if kind == "user":
                x = np.stack([self.user(u) for u in nodes])
            elif g == 0:
                x = np.stack([self.embedding(i) for i in nodes])
            else:
                x = np.stack([self.item(i) + self.attributes(i).get([*PRESENT][g - 1], 0.0) for i in nodes])
            h = np.array([[float(v in edge) for edge in edges] for v in nodes]).reshape(len(nodes), len(edges))
            degree = h.sum(1)
            scale = np.array([k**-0.5 if k else 0.0 for k in degree])
            operator = scale[:, None] * (h / h.sum(0) @ h.T) * scale
            for layer in range(self.depth):
                x = relu(operator @ x @ self.w[f"states.convs.{int(kind == 'item')}.{g}.{layer}.layers.0.theta"])
            out.append(x)
        return np.concatenate(out, 1)

    def state(self, kind, node, now):
        """The output of Eq. (5) in the last slot before this one in which the node was active; zero for a new node."""
        column = 0 if kind == "user" else 1
        before = [row[2] for row in self.log if row[column] == node and row[2] < now]
        return self.convolve(kind, max(before))[node] if before else np.zeros(len(PRESENT) * 8 + 8)

    def logit(self, u, i, time):
        """Eq. (6) and (7), without the last sigmoid."""
        now, w = time // DAY, self.w
        temporal = self.temporal(u, now, time)
        group = w["read_user.linear.weight"] @ self.state("user", u, now) + w["read_user.linear.bias"]
        target = np.concatenate([self.embedding(i), self.state("item", i, now)])
        e_i = w["read_item.linear.weight"] @ target + w["read_item.linear.bias"]
        outer = np.append(temporal, 1.0)[:, None] * np.append(group, 1.0)[None]  # (6)
        fused = w["fusion.linear.weight"] @ outer.ravel()
        first = np.concatenate([w["predict.user.weight"], w["predict.item.weight"]], 1)
        x = relu(first @ np.concatenate([fused, e_i]) + w["predict.user.bias"])  # (7)
        x = relu(w["predict.rest.2.weight"] @ x + w["predict.rest.2.bias"])
        return (w["predict.rest.5.weight"] @ x + w["predict.rest.5.bias"]).item()

    def logits(self, rows):
        return np.array([self.logit(*row) for row in rows])

    def loss(self, rows, labels):
        """Eq. (8) with one sigmoid, as a negative log-likelihood."""
        p = 1 / (1 + np.exp(-self.logits(rows)))
        return -np.mean([math.log(q) if y else math.log(1 - q) for q, y in zip(p, labels, strict=True)])


def keep(user, item):
    return INTEREST[user, item] > DELTA


@pytest.fixture(scope="module")
def log():
    return random_log(types=4)


def model_and_loops(log, **changed):
    tables = fields_of(log, keep=keep, item_edges="all")
    model = model_of(log, tables, **PAPER, **changed)
    features = {m: x.double().numpy() for m, x in tables.modalities.features.items()}
    sizes = {**SIZES, **changed}
    sizes = {name: sizes[name] for name in ("depth", "slices", "clicks")}
    return model, lambda weights: Paper(weights, features, log, tables.fields, heads=model.config.heads, **sizes)


def weights_of(model, by=None, step=0.0):
    """The weights as arrays, moved along a direction."""
    moved = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    return moved if by is None else {name: x + step * by[name] for name, x in moved.items()}


ROWS = [*zip(USER, ITEM, TIME, strict=True)]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_paper_s_preset_is_the_paper_s_equations_from_the_log_to_the_logit(log, depth):
    model, loops = model_and_loops(log, depth=depth)
    expected = loops(weights_of(model)).logits(ROWS)
    found = logits_of(model, rows_of(log, CONTEXT))
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


def test_training_follows_the_gradient_of_equation_8(log):
    """On rows of one slot, as training has them, along a random direction of all weights: by differences of loops."""
    model, loops = model_and_loops(log, propagation="full")
    rows = [row for row in ROWS if row[2] // DAY == 4]
    label = np.arange(len(rows)) % 2
    batch = Loader(log).make_batch(
        *map(np.array, zip(*rows, strict=True)), label.astype(np.float32), np.arange(len(rows))
    )
    out = model.train()(batch)
    assert out.loss is None  # then training takes the cross entropy
    loss = F.binary_cross_entropy_with_logits(out.logit, batch.label)
    assert loss.item() == pytest.approx(loops(weights_of(model)).loss(rows, label), rel=1e-4)
    (loss + out.penalty).backward()
    rng = np.random.default_rng(0)
    direction = {name: rng.normal(size=p.shape) for name, p in model.named_parameters()}
    slope = sum((p.grad.double().numpy() * direction[name]).sum() for name, p in model.named_parameters())
    two = [loops(weights_of(model, direction, step)).loss(rows, label) for step in (1e-5, -1e-5)]
    assert slope == pytest.approx((two[0] - two[1]) / 2e-5, rel=1e-3)
