"""HyperCTR row by row from the log, by loops; and small logs and models to compare it with."""

import math
from dataclasses import replace

import numpy as np
import torch
from table_builder import make_tables
from torch import nn

from graphs import HGCN, TimeGrid
from hyperctr.batch import Columns, Values
from hyperctr.data.features import item_statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.models.hyperctr.config import Config
from hyperctr.models.hyperctr.layout import Segments
from hyperctr.models.hyperctr.model import HyperCTR

DAY = 86_400
USERS, ITEMS = 7, 9
PRESENT = {"visual": np.ones(ITEMS, bool), "text": np.arange(ITEMS) % 2 == 0}
NAMES = ("group", *PRESENT)


def random_log(seed=0, days=5, rows=120, types=0):
    """Users 0 to 4 and items 0 to 6 of seven and nine; nobody comes on day 2, some stay away on day 3."""
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(days * DAY, size=rows))
    time[time // DAY == 2] += DAY
    user, item, rare = rng.integers(5, size=rows), rng.integers(7, size=rows), time // DAY == 3
    user[rare], item[rare] = user[rare] % 3, item[rare] % 4
    label = rng.random(rows) < 0.6
    kind = rng.integers(types, size=rows) if types else None
    return Interactions(user, item, time, label, USERS, ITEMS, type=kind, num_types=types)


def grid_of(days=5):
    return TimeGrid(every="1d", origin=0, num_slices=days)


def tables_of(log, days=5, seed=0, **slices):
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.from_numpy(x) for name, x in PRESENT.items()}
    return make_tables(
        num_users=USERS,
        num_items=ITEMS,
        modalities={name: torch.randn(ITEMS, 3, generator=generator) * x[:, None] for name, x in present.items()},
        present=present,
        seen_user=torch.arange(USERS) < 5,
        seen_item=torch.arange(ITEMS) < 7,
        num_types=log.num_types,
        slices=slice_hypergraphs(log, PRESENT, grid_of(days), upto=days * DAY, **slices),
    )


def scrambled(model, seed=0, std=0.4):
    """In evaluation, every parameter random: nothing starts as the identity. Unknown categories stay zero."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        nn.init.normal_(p, std=std, generator=generator)
    for m in model.modules():
        if isinstance(m, nn.Embedding) and m.padding_idx is not None:
            nn.init.zeros_(m.weight[m.padding_idx])
    return model.eval()


SIZES = {"dim": 8, "depth": 2, "hidden": (8, 4), "slices": 2, "clicks": 3}


def model_of(log, tables=None, **changed):
    return scrambled(HyperCTR(Config(**{**SIZES, **changed}), tables or tables_of(log)))


@torch.no_grad()
def logits(model, log, user, item, time):
    n = len(user)
    batch = Loader(log).make_batch(np.array(user), np.array(item), np.array(time), np.zeros(n), np.arange(n))
    return model(batch).logit


# --- columns of users, items and rows; behaviour types ----------------------------------------------------------------

TYPES = 4  # 0 is a missing type
USER = [0, 1, 2, 3, 4, 0, 1, 5, 3, 4, USERS, 2]
ITEM = [0, 1, 2, 3, 4, 5, 6, 8, 0, ITEMS, 1, 7]
TIME = [int(d * DAY) for d in (4.9, 4.5, 3.2, 3.9, 4.1, 2.5, 1.5, 4.0, 0.5, 4.2, 4.8, 1.1)]


def codes(count, *sizes, seed=1):
    """Random categories of `count` users, items or rows and of an unknown one; some are unknown."""
    found = [np.random.default_rng(seed + k).integers(size + 1, size=count) for k, size in enumerate(sizes)]
    return torch.from_numpy(np.append(np.stack(found, 1), [sizes], 0))


def fields_of(log, days=5, **slices):
    """Tables with two columns of users, of items and of the context, and statistics of the items."""
    tables, grid = tables_of(log, days, **slices), grid_of(days)
    statistics = item_statistics.snapshots(log, grid, days * DAY, item_statistics.fit(log, grid))
    tables = replace(tables, statistics=statistics)
    user, item, context = {"age": 3, "home": 2}, {"kind": 4, "author": 5}, {"hour": 6, "device": 2}
    columns = Columns(user, values=Values(codes(USERS, 3, 2))), Columns(item, values=Values(codes(ITEMS, 4, 5)))
    return replace(tables, fields=replace(tables.fields, user=columns[0], item=columns[1], context=Columns(context)))


def rows_of(log, context=None, user=USER):
    """One query per row."""
    n = len(user)
    batch = Loader(log).make_batch(np.array(user), np.array(ITEM), np.array(TIME), np.zeros(n), np.arange(n))
    return replace(batch, context=None if context is None else Values(context))


CONTEXT = codes(len(USER) - 1, 6, 2, seed=5)
BY_ROW = dict(zip(zip(USER, ITEM, TIME, strict=True), CONTEXT.tolist(), strict=True))


@torch.no_grad()
def logits_of(model, batch):
    """Score a batch in evaluation."""
    return model.eval()(batch).logit


def in_one_query_and_in_many(model, log, n=40):
    """The logits of n candidates of one user with contexts of their own: of one query, and of a query each."""
    item, context = np.arange(n) % ITEMS, Values(codes(n - 1, 6, 2, seed=5))
    found = []
    for user, query in ((np.array([2]), np.zeros(n, int)), (np.full(n, 2), np.arange(n))):
        batch = Loader(log).make_batch(user, item, np.full(len(user), 4 * DAY), np.zeros(n), query)
        found.append(logits_of(model, replace(batch, context=context)))
    return found


# --- by loops ---------------------------------------------------------------------------------------------------------


class Slow:
    """HyperCTR row by row from the log itself, with sets, dictionaries and dense matrices.

    Gradients go through the slices in `live`, through all if None. Rows of a random split (`own`) read their own slice
    as well, and clicks (user, item, day) in `without` are in no hyperedge. `fields` are the columns of the tables, all
    of them categories, and `context` the codes of a row's context by (user, item, time). `edges` are those of the
    levels of the statistics.
    """

    def __init__(self, model, log, live=None, own=False, without=(), fields=None, context=None, edges=None):
        self.model, self.log, self.live, self.own, self.without, self.states = model, log, live, own, without, {}
        self.fields, self.context, self.edges = fields, context or {}, edges
        types = log.type if log.type is not None else [0] * len(log)
        rows = zip(log.user, log.item, log.time, log.label, types, strict=True)
        self.clicks = [(u, i, t, kind) for u, i, t, y, kind in rows if y == 1]

    def total(self, table, columns, codes):
        """The sum of one row of the table per known category; the columns' rows follow each other."""
        found, first = torch.zeros(table.weight.shape[1]), 0
        for size, code in zip(columns.sizes.values(), codes, strict=True):
            if 0 <= code < size:
                found = found + table.weight[first + code]
            first += size
        return found

    def part(self, name, kind, of):
        """The vector or the weight that the fields of a user, an item or a row add."""
        fields, d = getattr(self.model, name), self.model.config.dim
        if fields is None:
            return 0.0
        columns, codes = self.columns(name, of)
        found = self.total(fields.columns, columns, codes)
        return found[:d] if kind == "vector" else found[d:].sum()

    def columns(self, name, of):
        """The columns of users, items or rows, and the codes of one of them."""
        columns = getattr(self.fields, {"profile": "user", "metadata": "item", "context": "context"}[name])
        codes = self.context.get(of, [-1] * len(columns)) if name == "context" else columns.values.codes[of].tolist()
        return columns, codes

    def products(self, of):
        """The sum of the products of all pairs of the vectors of a row's context columns."""
        if self.model.context is None or self.model.config.interaction == "none":
            return 0.0
        (columns, codes), d, total = self.columns("context", of), self.model.config.dim, 0.0
        alone = [[code if j == k else -1 for k, code in enumerate(codes)] for j in range(len(codes))]
        each = [self.total(self.model.context.columns, columns, one)[:d] for one in alone]
        for j, x in enumerate(each):
            for y in each[:j]:
                total = total + x @ y
        return total

    def weight_of(self, kind):
        """The weight of a click of some type in a hyperedge."""
        types = self.model.states.types
        return 1.0 if types is None else (types.log_weight[kind].exp() if types.given is None else types.given[kind])

    def user(self, u):
        return self.model.user.weight[u if u < 5 else USERS] + self.part("profile", "vector", u)

    def item(self, i):
        """X^(0) in each hypergraph, [graphs, d]."""
        m = self.model
        x = m.item.weight[i if i < 7 else ITEMS] + self.part("metadata", "vector", i)
        parts = {q: m.project[q](getattr(m, f"feature_{q}")[i]) for q in PRESENT if i < ITEMS and PRESENT[q][i]}
        mean = sum(parts.values()) / len(parts) if parts else 0.0
        return torch.stack([x + mean, *(x + parts.get(q, 0.0) for q in PRESENT)])

    def inputs(self, kind, v):
        return self.user(v).expand(len(NAMES), -1) if kind == 0 else self.item(v)

    def active(self, kind, n):
        return sorted({click[kind] for click in self.clicks if click[2] // DAY == n})

    def hyperedges(self, kind, n):
        """Members of the hyperedges of each hypergraph of a slice, and the weight of each: that of its last click."""
        found = {}
        for q in PRESENT:
            members = {}
            for click in self.clicks:
                if click[2] // DAY == n and PRESENT[q][click[1]] and (*click[:2], n) not in self.without:
                    members.setdefault(click[1 - kind], {})[click[kind]] = self.weight_of(click[3])
            found[q] = [e for e in members.values() if len(e) > 1]
        return {"group": found["visual"] + found["text"], **found}

    def state(self, kind, n):
        """Eq. (5) on each hypergraph of a slice, node -> [graphs, d]."""
        if (kind, n) not in self.states:
            nodes, edges = self.active(kind, n), self.hyperedges(kind, n)
            x, done = torch.stack([self.inputs(kind, v) for v in nodes]), []
            for g, name in enumerate(NAMES):
                y = x[:, g]
                for layer in self.model.states.convs[kind][g]:
                    matrix, held, theta = self.operator(layer, nodes, edges[name])
                    y = torch.relu(matrix @ y @ theta) * held[:, None]
                done.append(y)
            if not (self.live is None or n in self.live):
                done = [y.detach() for y in done]
            self.states[kind, n] = dict(zip(nodes, torch.stack(done, 1), strict=True))
        return self.states[kind, n]

    def operator(self, layer, nodes, edges):
        h = torch.zeros(len(nodes), len(edges))
        for column, edge in enumerate(edges):
            for row, v in enumerate(nodes):
                if v in edge:
                    h = h.index_put((torch.tensor(row), torch.tensor(column)), torch.as_tensor(edge[v]))
        if isinstance(layer, HGCN):
            matrix, theta = h @ torch.diag(1 / h.sum(0)) @ h.T, layer.layers[0].theta
            degree, held = h.sum(1), (h > 0).any(1)
        else:
            shared = (h @ h.T).fill_diagonal_(0)
            matrix, theta = shared + torch.eye(len(nodes)), layer.theta.weight.T
            degree, held = matrix.sum(1), shared.any(1)
        scale = torch.where(degree > 0, degree, 1.0) ** -0.5
        return scale[:, None] * matrix * scale, held, theta

    def carried(self, kind, v, now):
        """The input and the state of the last slice before `now` in which the node was active, [graphs, d]."""
        m, static = self.model, self.inputs(kind, v)
        before = [n for n in range(now) if v in self.active(kind, n)]
        if m.config.carry == "none":
            before = [n for n in before if n == now - 1]
        z = self.state(kind, before[-1])[v] if before and m.config.depth else torch.zeros_like(static)
        if self.own and any(v in edge for edge in self.hyperedges(kind, now)["group"]):
            z = self.state(kind, now)[v]
        if m.config.residual or not m.config.depth:
            z = static + z
        if m.config.carry == "gate" and m.config.depth:
            weight = torch.stack([m.states.mix(z), m.states.mix(static)]).softmax(0)
            z = weight[0] * z + weight[1] * static
        return z

    def logit(self, u, i, t):
        m, c, now = self.model, self.model.config, t // DAY
        own = [(j, s // DAY, kind) for w, j, s, kind in self.clicks if w == u and s < t]
        closed = sorted({n for _, n, _ in own if n < now})[-c.slices :]
        own = [x for n in [*closed, now] for x in [x for x in own if x[1] == n][-c.clicks :]]
        temporal = m.temporal(
            self.user(u)[None],
            torch.stack([self.item(j)[0] for j, _, _ in own]) if own else torch.empty(0, c.dim),
            torch.arange(len(own)),
            Segments.of(
                torch.zeros(len(own), dtype=torch.long),
                torch.tensor([n for _, n, _ in own], dtype=torch.long),
                torch.tensor([now]),
                c.slices,
                c.clicks,
            ),
            torch.tensor([kind for _, _, kind in own], dtype=torch.long),
        )
        group = m.read_user(self.user(u)[None], self.carried(0, u, now).reshape(1, -1))
        e_i = m.read_item(self.item(i)[:1], self.carried(1, i, now).reshape(1, -1))
        one = torch.zeros(1, dtype=torch.long)
        bias = 0.0 if c.bias == "none" else m.user_bias.weight[u] * (u < 5) + m.item_bias.weight[i] * (i < 7)
        bias = bias + self.part("profile", "weight", u) + self.part("metadata", "weight", i)
        bias = bias + self.part("context", "weight", (u, i, t)) + self.products((u, i, t))
        context = None if m.context is None else self.part("context", "vector", (u, i, t))[None]
        own = None if m.profile is None or c.own != "both" else m.user.weight[u if u < 5 else USERS][None]
        if m.recent is not None:
            own = torch.cat([own, self.recent(u, t)[None]], 1) if own is not None else self.recent(u, t)[None]
        attended = None if m.attend is None else self.attended(u, t, e_i[0])[None]
        return m.predict(m.fusion(temporal, group), e_i, one, one, context, own, attended)[0] + bias

    def click(self, j, t):
        """The vector of a click on item j, as a row at time t reads it one by one."""
        levels, x = self.model.levels, self.item(j)[0]
        if levels is None:
            return x
        events = [(s, y) for i, s, y in zip(self.log.item, self.log.time, self.log.label, strict=True)
                  if i == j and s < t // DAY * DAY]  # fmt: skip
        clicked, shown = sum(y for _, y in events), len(events)
        last = [s for s, y in events if y == 1]
        numbers = [clicked, t // DAY * DAY - last[-1] if last else None, shown, clicked / max(shown, 1)]
        each = []
        for k, number in enumerate(numbers):
            there = number is not None and shown > 0
            level = sum(edge < number for edge in self.edges[k].tolist()) if there else 100
            each += [levels.levels.coarse.weight[11 * k + level // 10], levels.levels.fine.weight[101 * k + level]]
        return x + self.model.of_levels.weight @ torch.cat(each)

    def recent(self, u, t):
        """The state of the GRU after the user's clicks before t."""
        state = torch.zeros(1, self.model.config.dim)
        for w, j, s, _ in self.clicks:
            if w == u and s < t:
                _, state = nn.GRU.forward(self.model.recent.gru, self.click(j, t)[None], state)
        return state[0]

    def attended(self, u, t, e_i):
        """The user's clicks before t, weighed by the candidate, and their product with it."""
        found = [(self.click(j, t), t - s) for w, j, s, _ in self.clicks if w == u and s < t]
        if not found:
            return torch.zeros(2 * len(e_i))
        read, ages, clicks = self.model.attend, self.model.ages, [x for x, _ in found]
        dated = clicks if ages is None else [x + ages.weight[math.floor(2 * math.log2(1 + age))] for x, age in found]
        scores = [read.score((read.state(x) + read.item(e_i)).relu()).exp() for x in dated]
        weighed = sum(score * x for score, x in zip(scores, clicks, strict=True)) / sum(scores)
        return torch.cat([weighed, weighed * e_i])

    def logits(self, batch):
        rows = zip(batch.user.tolist(), batch.item.tolist(), batch.time.tolist(), strict=True)
        return torch.cat([self.logit(*row) for row in rows])
