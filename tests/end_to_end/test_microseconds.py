"""Strictly before, to the microsecond: histories, statistics, negatives, hypergraphs and the audit."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from graphs import TimeGrid
from hyperctr import config
from hyperctr.analysis import audit
from hyperctr.data import planted
from hyperctr.data.features import item_statistics
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.data.read import read
from hyperctr.data.write import write_folder
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run

NOON = 1_714_564_800 * 10**6
APART = pytest.mark.parametrize("apart", [100_000, 1], ids=["0.1 s", "1 us"])


def log_of(apart, **more):
    """User 0 clicks item 0, then item 1; user 1 clicks item 1 with item 0's click, and item 2 with the later click."""
    user, item, time = [0, 1, 0, 1], [0, 1, 1, 2], NOON + apart * np.array([0, 0, 1, 1])
    return Interactions(user, item, time, np.ones(4), 2, 4, **{"logged_non_clicks": False} | more)


def ask(loader, user, item, time):
    zero = np.zeros(1, np.int64)
    return loader.make_batch(np.array([user]), np.array([item]), np.array([time]), zero.astype(np.float32), zero)


@APART
def test_a_click_is_history_one_step_later_and_not_at_its_own_time(apart):
    loader = Loader(log_of(apart))
    at = {k: ask(loader, 0, 1, NOON + k * apart) for k in range(3)}
    assert [at[k].histories.mask.sum().item() for k in at] == [0, 1, 2]
    assert [at[k].clicks_before.item() for k in at] == [0, 1, 2]


@APART
def test_negatives_are_items_that_exist_and_were_not_met_one_step_before(apart):
    loader, rng = Loader(log_of(apart)), np.random.default_rng(0)
    for step, allowed in [(0, {-1}), (1, {1}), (2, {2})]:
        drawn = loader.negatives(np.zeros(50, np.int64), np.full(50, NOON + step * apart), 1, rng)
        assert set(drawn.ravel().tolist()) == allowed


@APART
def test_statistics_at_a_moment_count_events_one_step_before(apart):
    moments = NOON + apart * np.arange(3)
    counts = [x[:, 0] for x in item_statistics.numbers(log_of(apart), moments)]
    np.testing.assert_array_equal(counts, [[np.nan] * 4, [1, 1, np.nan, np.nan], [1, 2, 1, np.nan]])
    recency = [x[1, 1] for x in item_statistics.numbers(log_of(apart), moments)]
    np.testing.assert_array_equal(recency, [np.nan, apart, apart])


@APART
def test_quantile_slices_part_clicks_one_step_apart(apart):
    log = log_of(apart)
    grid = TimeGrid.cut(log.time, count=2, unit="us")
    assert grid.edges == (NOON, NOON + apart)
    built = slice_hypergraphs(log, {}, grid, upto=NOON + apart + 1)
    assert len(built) == 1 and built.users[0].nodes.tolist() == [0, 1] and built.items[0].nodes.tolist() == [0, 1]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_folder_keeps_every_microsecond(tmp_path, suffix):
    dataset = replace(planted.planted("drift", scale=0.02).dataset, interactions=log_of(1))
    dataset = replace(dataset, items=replace(dataset.items, num_items=4, modalities={}, present={}, ids=np.arange(4)),
                      users=replace(dataset.users, num_users=2, ids=np.arange(2)))  # fmt: skip
    folder = write_folder(dataset, tmp_path / "log")
    if suffix == "csv":
        for file in folder.glob("*.parquet"):
            pl.read_parquet(file).write_csv(file.with_suffix(".csv"))
            file.unlink()
    assert read(folder).interactions.time.tolist() == dataset.interactions.time.tolist()


def test_a_folder_of_seconds_reads_equal(tmp_path):
    folder = planted.write("drift", tmp_path / "world", scale=0.02)
    now = read(folder).interactions
    file = folder / "interactions.parquet"
    table = pl.read_parquet(file)
    assert table.schema["timestamp"] == pl.Datetime("us", "UTC")
    table.with_columns(pl.col("timestamp").dt.epoch("s")).write_parquet(file)  # as earlier versions wrote it
    assert read(folder).interactions.time.tolist() == now.time.tolist()


def audited(tmp_path, monkeypatch, model, early=0):
    """Audit a run on a log whose events are 1 us apart; with `early`, every row reads events up to that much later."""
    world = planted.planted("drift", scale=0.03).dataset
    log = world.interactions
    world = replace(world, interactions=replace(log, time=NOON + np.arange(len(log))))
    run = config.read_run({
        "data": {"path": "x", "history": 5}, "model": {"name": model}, "train": {"epochs": 1},
        "slices": {"count": 6}, "interest": {"mode": "none"},
    })  # fmt: skip
    training.train(run, tmp_path / "run", world)
    monkeypatch.setattr("hyperctr.runs.open.read_dataset", lambda run: world)
    opened = open_run(tmp_path / "run")
    if early:
        make = Loader.make_batch
        monkeypatch.setattr(Loader, "make_batch", lambda self, user, item, time, *rest, **more: make(
            self, user, item, time + early, *rest, **more))  # fmt: skip
    return audit.audit(opened, rows=30, cuts=3)


@pytest.mark.parametrize("model", ["din", "hyperctr", "marn"])
def test_the_audit_of_events_one_microsecond_apart_finds_nothing(tmp_path, monkeypatch, model):
    found = audited(tmp_path, monkeypatch, model)
    assert found.clean and found.control.moved > 0
    assert found.moments[0] == pytest.approx(NOON / 10**6, abs=1)  # told in seconds, exact to the microsecond
    assert np.diff(np.rint(np.array(found.moments) * 10**6)).min() >= 1


def test_the_audit_finds_a_look_ahead_of_one_microsecond(tmp_path, monkeypatch):
    found = audited(tmp_path, monkeypatch, "popularity", early=1)
    assert not found.clean


def test_ties_in_order_are_one_microsecond_apart_and_stay_in_their_second():
    moved = log_of(0).in_order()
    assert moved.time.tolist() == [NOON, NOON, NOON + 1, NOON + 1]
