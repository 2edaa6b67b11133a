"""The leak test of the house: whatever happens at t or later moves no prediction for t, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from table_builder import change_tables

from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.data.features import item_statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.loader import Loader
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.models import MODELS
from hyperctr.runs.prepare import prepare
from hyperctr.runs.train import train

HOUR, DAY = 3_600_000_000, 86_400_000_000  # microseconds
START = 18_000 * DAY
USERS, ITEMS, EVENTS, DAYS = 60, 40, 1500, 60
HISTORY = 12
MODAL = ("marn", "youtubenet", "dupn", "dmf", "mmss", "naml")  # read statistics of items


def dataset():
    """A random log with many equal times; half of the items lack the second modality."""
    rng = np.random.default_rng(0)
    log = Interactions(
        user=rng.integers(USERS, size=EVENTS),
        item=rng.integers(ITEMS, size=EVENTS),
        time=START + np.sort(rng.integers(DAYS * 24, size=EVENTS)) * HOUR,
        label=rng.random(EVENTS) < 0.5,
        num_users=USERS,
        num_items=ITEMS,
        conversion=np.random.default_rng(1).random(EVENTS),
    )
    text = rng.standard_normal((ITEMS, 3)).astype(np.float32)
    text[::2] = 0.0
    modalities = {"visual": rng.standard_normal((ITEMS, 5)).astype(np.float32), "text": text}
    return Dataset("random", log, Items(ITEMS, modalities=modalities), Users(USERS), ())


def run_of(name, kind="temporal"):
    small = {"dim": 8, "depth": 2, "heads": 2, "slices": 3, "clicks": 4, "hidden": [8, 4]} if name == "hyperctr" else {}
    if name in MODAL:
        small = {"dim": 4, "hidden": [8, 4]}
    tables = {
        "data": {"path": "random", "history": HISTORY},
        "split": {"kind": kind},
        "slices": {"every": "7d"},
        "model": {"name": name, **small},
        "train": {"epochs": 1, "batch_size": 256},
    }
    return config.read_run(tables)


class Scorer:
    """One model with random weights, moved from log to log: the grid, the seen ids and the weights stay."""

    def __init__(self, name, kind="temporal"):
        self.ready = prepare(run_of(name, kind), dataset())
        self.log, self.grid = replace(self.ready.dataset.interactions, conversion=None), self.ready.grid
        self.name = name
        torch.manual_seed(1)
        model = MODELS[name](self.ready.run.model, self.ready.tables)
        self.weights = {n: torch.randn_like(p) * 0.4 for n, p in model.named_parameters()}

    def logit(self, log, user, item, time, known=None):
        """The logit of (user, item, time) for whom `log` is all that ever happened."""
        tables, known_log = self.ready.tables, log if known is None else known
        upto = max(int(known_log.time[-1]) + 1, time)
        if tables.statistics is not None:
            found = item_statistics.snapshots(known_log, self.grid, upto, self.ready.edges)
            tables = change_tables(tables, statistics=found)
        if tables.graphs.slices is not None:
            slices = slice_hypergraphs(known_log, self.ready.dataset.items.present, self.grid, upto)
            tables = change_tables(tables, slices=slices)
        model = MODELS[self.name](self.ready.run.model, tables)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(self.weights[name])
        batch = Loader(log, HISTORY, known=known).make_batch(
            np.array([user]), np.array([item]), np.array([time]), np.zeros(1), np.zeros(1, np.int64)
        )
        with torch.no_grad():
            return model.eval()(batch).logit


@pytest.fixture(scope="module")
def scorers():
    return {name: Scorer(name) for name in MODELS}


def rewritten(log, rows, **columns):
    """The log with new values in some rows."""
    values = {name: getattr(log, name).copy() for name in ("user", "item", "time", "label")}
    for name, column in columns.items():
        values[name][rows] = column
    return replace(log, **values)


def events(log):
    return [getattr(log, name).tolist() for name in ("user", "item", "time", "label")]


def delete_all(log, rows, row, rng):
    return log.take(~rows)


def delete_some(log, rows, row, rng):
    return log.take(~rows | (rng.random(len(log)) < 0.5))


def add(log, rows, row, rng):
    """Three hundred clicks, many at t itself, of the row's own user and item too."""
    user, item, time = row
    n = 300
    more = {
        "user": np.where(rng.random(n) < 0.3, user, rng.integers(USERS, size=n)),
        "item": np.where(rng.random(n) < 0.3, item, rng.integers(ITEMS, size=n)),
        "time": time + rng.integers(4, size=n) * rng.integers(4, size=n) * 4 * DAY,
        "label": np.ones(n),
    }
    return replace(log, **{name: np.concatenate([getattr(log, name), column]) for name, column in more.items()})


def alter_items(log, rows, row, rng):
    return rewritten(log, rows, item=rng.integers(ITEMS, size=rows.sum()))


def alter_labels(log, rows, row, rng):
    return rewritten(log, rows, label=1 - log.label[rows])


def alter_users(log, rows, row, rng):
    return rewritten(log, rows, user=rng.integers(USERS, size=rows.sum()))


def alter_times(log, rows, row, rng):
    return rewritten(log, rows, time=log.time[rows] + rng.integers(1, 500, size=rows.sum()) * HOUR)


FUTURES = [delete_all, delete_some, add, alter_items, alter_labels, alter_users, alter_times]


def sampled_rows(split):
    """Rows of every part: early and late in it."""
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    return [(name, int(part[round(at * (len(part) - 1))])) for name, part in parts.items() for at in (0.4, 0.9)]


@pytest.mark.parametrize("future", FUTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_no_event_at_or_after_t_moves_the_prediction(scorers, name, future):
    scorer, rng = scorers[name], np.random.default_rng(3)
    log = scorer.log
    for part, k in sampled_rows(scorer.ready.split):
        row = int(log.user[k]), int(log.item[k]), int(log.time[k])
        rows = log.time >= row[2]
        assert rows[k]
        changed = future(log, rows, row, rng)
        assert events(changed.upto(row[2])) == events(log.upto(row[2]))
        assert events(changed) != events(log)
        before, after = scorer.logit(log, *row), scorer.logit(changed, *row)
        assert torch.isfinite(before).all()
        assert torch.equal(before, after), f"{part} row {k} moved by {(after - before).item():g}"


def neighbour_clicks(scorer, k):
    """Other users' clicks that share an item with the last closed slice of row k's user."""
    log, slice_of = scorer.log, scorer.grid.slice_of(scorer.log.time)
    own = (log.user == log.user[k]) & (log.label == 1) & (slice_of < slice_of[k])
    if not own.any():
        return np.empty(0, np.int64)
    last = slice_of[own].max()
    shared = np.isin(log.item, log.item[own & (slice_of == last)])
    return np.flatnonzero(shared & (log.user != log.user[k]) & (log.label == 1) & (slice_of == last))


def test_an_earlier_click_of_a_neighbour_moves_hyperctr_alone(scorers):
    checked = 0
    for _, k in sampled_rows(scorers["hyperctr"].ready.split):
        log = scorers["hyperctr"].log
        neighbours = neighbour_clicks(scorers["hyperctr"], k)
        if not len(neighbours):
            continue
        item, t = int(log.item[k]), int(log.time[k])
        other = next(i for i in range(ITEMS) if i not in (item, log.item[neighbours[0]]))
        changed = rewritten(log, neighbours[:1], item=other)
        row = int(log.user[k]), item, t
        moved = {name: not torch.equal(s.logit(log, *row), s.logit(changed, *row)) for name, s in scorers.items()}
        assert moved["hyperctr"]
        assert not moved["mf"]
        checked += 1
    assert checked >= 3


def test_an_earlier_click_of_the_user_moves_hyperctr(scorers):
    scorer, log = scorers["hyperctr"], scorers["hyperctr"].log
    k = int(scorer.ready.split.test[-1])
    row = int(log.user[k]), int(log.item[k]), int(log.time[k])
    own = np.flatnonzero((log.user == row[0]) & (log.label == 1) & (log.time < row[2]))[-1:]
    changed = rewritten(log, own, item=(log.item[own] + 1) % ITEMS)
    assert not torch.equal(scorer.logit(log, *row), scorer.logit(changed, *row))


@pytest.mark.parametrize("name", MODAL)
def test_an_event_of_the_item_in_a_closed_slice_moves_what_reads_statistics(scorers, name):
    scorer, log = scorers[name], scorers[name].log
    k = int(scorer.ready.split.test[-1])
    t = scorer.grid.start(int(scorer.grid.slice_of(log.time[k : k + 1])[0]))
    row = int(log.user[k]), int(log.item[k]), int(log.time[k])
    others = (log.item == row[1]) & (log.user != row[0])

    def moved(rows):
        changed = rewritten(log, rows, label=1 - log.label[rows])
        return len(rows) and not torch.equal(scorer.logit(log, *row), scorer.logit(changed, *row))

    assert moved(np.flatnonzero(others & (log.time < t))[-3:])
    assert not moved(np.flatnonzero((log.user != row[0]) & (log.time >= t)))  # of its own slice nothing is known


def test_an_earlier_click_on_the_item_moves_popularity(scorers):
    scorer, log = scorers["popularity"], scorers["popularity"].log
    k = int(scorer.ready.split.test[-1])
    row = int(log.user[k]), int(log.item[k]), int(log.time[k])
    earlier = np.flatnonzero((log.item == row[1]) & (log.time < row[2]))[:1]
    changed = rewritten(log, earlier, label=1 - log.label[earlier])
    assert not torch.equal(scorer.logit(log, *row), scorer.logit(changed, *row))


def test_only_closed_slices_are_read_at_a_boundary(scorers):
    # at the first second of slice n, slice n-1 counts and nothing of n does
    scorer, log = scorers["hyperctr"], scorers["hyperctr"].log
    t = scorer.grid.start(4)
    before = scorer.logit(log, 5, 7, t)
    rows = log.time >= t
    assert torch.equal(before, scorer.logit(log.take(~rows), 5, 7, t))
    assert not torch.equal(before, scorer.logit(log.take(log.time < t - 7 * DAY), 5, 7, t))


def test_the_temporal_split_is_not_stamped_leaky(scorers):
    assert all(scorer.ready.split.leaky is False for scorer in scorers.values())


def test_the_random_split_is_stamped_leaky_and_its_report_too():
    run = run_of("hyperctr", "random")
    ready = prepare(run, dataset())
    assert ready.split.leaky is True
    assert (
        ready.dataset.interactions.time[ready.split.train].max()
        > ready.dataset.interactions.time[ready.split.test].min()
    )
    report = train(run, dataset=dataset())
    assert report["leaky"] is True
    assert report["split"] == "random"
    assert train(run_of("popularity"), dataset=dataset())["leaky"] is False


def test_a_leaky_run_reads_training_rows_alone():
    scorer = Scorer("hyperctr", "random")
    log, parts = scorer.log, scorer.ready.split
    k = int(parts.test[-1])
    row = int(log.user[k]), int(log.item[k]), int(log.time[k])
    held_out = np.concatenate([parts.valid, parts.test])
    changed = rewritten(log, held_out, label=1 - log.label[held_out])
    before = scorer.logit(log, *row, known=log.take(parts.train))
    assert torch.equal(before, scorer.logit(changed, *row, known=changed.take(parts.train)))
