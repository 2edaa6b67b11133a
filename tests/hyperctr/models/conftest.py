"""A small world of ids, batches of it, and models of it with random weights."""

from dataclasses import replace

import pytest
import torch
from table_builder import change_tables, draw_values, every_kind, make_tables
from torch import nn

from hyperctr.batch import LEVELS, Batch, History, Statistics
from hyperctr.layers.table import Table
from hyperctr.models import MODELS

USERS, ITEMS = 20, 30
MOMENT = {"tab": 2, "hour": 24}
WIDE = {"dim": 4, "hidden": (12, 10)}
SMALL = {
    "lr": {}, "fm": {"dim": 4}, "dcn": {"depth": 2}, "xdeepfm": {"maps": (6, 5)}, "din": {"attention": (6,)},
    "mian": {"heads": 3, "global_dim": 6, "hidden": (12, 8)}, "dupn": WIDE | {"state": 5},
    **dict.fromkeys(("marn", "youtubenet", "dmf", "mmss", "naml"), WIDE),
}  # fmt: skip


@pytest.fixture
def ids():
    """Tables of ids alone; the last two users and the last three items have no training row."""
    seen_user, seen_item = torch.arange(USERS) < USERS - 2, torch.arange(ITEMS) < ITEMS - 3
    return make_tables(USERS, ITEMS, seen_user=seen_user, seen_item=seen_item)


@pytest.fixture
def plain(ids):
    """The same with a modality, and categories of users, items and the context."""

    def codes(count, size):
        return torch.cat([torch.randint(size, (count,)), torch.tensor([size])])

    return change_tables(
        ids, modalities={"visual": torch.randn(ITEMS, 4)}, present={"visual": torch.arange(ITEMS) % 3 > 0},
        user_fields={"age": codes(USERS, 3)}, user_sizes={"age": 3}, item_fields={"type": codes(ITEMS, 5)},
        item_sizes={"type": 5}, context_sizes=MOMENT,
    )  # fmt: skip


@pytest.fixture
def rich(plain):
    """The same with columns of every kind: categories, numbers by knots and by waves, tags and vectors."""
    users, items = every_kind({"gender": 3}, USERS), every_kind({"type": 5}, ITEMS)
    return change_tables(plain, user=users, item=items, context=every_kind(MOMENT))


@pytest.fixture
def whole(rich):
    """Fields, two modalities, titles, and statistics as of five snapshots."""
    level = torch.randint(LEVELS + 1, (5, 31, 2), dtype=torch.uint8)
    level[0] = level[:, 30] = LEVELS
    titles = torch.randint(7, (31, 6)).int()
    titles[[4, 9, 30]] = 6
    old = rich.modalities
    return change_tables(
        rich, modalities=old.features | {"sound": torch.randn(30, 3)}, titles=titles, num_words=6, num_types=3,
        present=old.present | {"sound": torch.arange(30) % 4 > 0}, ages=torch.arange(LEVELS - 1), steps=50,
        statistics=Statistics(("clicks", "recency"), torch.empty(0), torch.tensor([0, 1, 2, 3]), level),
    )  # fmt: skip


@pytest.fixture
def built():
    """Make a small model in evaluation, every weight random; unknown numbers keep their zero."""

    def made(name, tables, **sizes):
        usual = {} if name in ("lr", "fm") else {"dim": 4, "hidden": (8, 6), "dropout": 0.0}
        model = MODELS[name](MODELS[name].Config(**usual | SMALL.get(name, {}) | sizes), tables)
        for p in model.parameters():
            nn.init.normal_(p, std=0.4)
        for module in model.modules():
            if isinstance(module, Table):
                nn.init.zeros_(module.weight[-1])
        return model.eval()

    return made


@pytest.fixture
def make():
    """Make a batch of queries with so many rows each, from lengths of histories; what is not said is drawn."""

    def batch(lengths=(3, 0, 5, 1), rows=2, padding=0, seed=0, **columns):
        draw = torch.Generator().manual_seed(seed)
        queries, longest = len(lengths), max([1, *lengths])

        def drawn(high, *shape):
            return torch.randint(high, shape, generator=draw)

        query = torch.arange(queries).repeat_interleave(rows)
        user, item, label = drawn(USERS, queries), drawn(ITEMS, len(query)), drawn(2, len(query))
        codes = torch.stack([drawn(2, len(query)), drawn(24, len(query))], 1)
        past = drawn(ITEMS, queries, longest)
        past = torch.cat([past, torch.randint(ITEMS, (queries, padding))], 1)  # whatever stands there
        context = draw_values(every_kind(MOMENT), len(query), draw, codes)
        mask = torch.arange(longest + padding) < torch.tensor(lengths, dtype=torch.long)[:, None]
        made = Batch(
            user=user[query], item=item, time=query, query=query, query_row=torch.arange(queries) * rows,
            histories=History(past, mask, torch.zeros_like(past)), clicks_before=torch.zeros(len(query)),
            shows_before=None, context=context, label=label.float(),
        )  # fmt: skip
        return replace(made, **columns)

    return batch


@pytest.fixture
def of_like_kind():
    """Makes rows of two kinds of items, even and odd; users click what is of the kind of their last clicks."""

    def batch(count, seed):
        draw = torch.Generator().manual_seed(seed)
        kind, item = torch.randint(2, (count, 1), generator=draw), torch.randint(26, (count,), generator=draw)
        clicks = 2 * torch.randint(13, (count, 4), generator=draw) + kind
        past = History(clicks, torch.ones_like(clicks, dtype=torch.bool), torch.zeros_like(clicks))
        every, stranger = torch.arange(count), torch.full((count,), 20)
        label = (item % 2 == kind[:, 0]).float()
        return Batch(stranger, item, every, every, every, past, torch.zeros(count), None, None, label)

    return batch
