"""Rows that are history alone: in histories, counts and hypergraphs, never trained on and never scored."""

from dataclasses import replace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.runs.prepare import prepare, read_dataset


def run(kind="temporal", **slices):
    return config.read_run({
        "data": {"path": "x"}, "model": {"name": "hyperctr"}, "slices": {"every": "30d", **slices},
        "interest": {"mode": "none"}, "split": {"kind": kind},
    })  # fmt: skip


@pytest.fixture(scope="module")
def data():
    """A world whose first third is history alone."""
    world = planted.planted("drift", scale=0.03).dataset
    log = world.interactions
    return replace(world, interactions=replace(log, scored=np.arange(len(log)) >= len(log) // 3))


@pytest.mark.parametrize("kind", ["temporal", "random"])
def test_such_rows_are_in_histories_counts_and_hypergraphs_alone(data, kind):
    log, alone = data.interactions, data.interactions.history_alone()
    ready = prepare(run(kind), data)
    for part in (ready.split.train, ready.split.valid, ready.split.test):
        assert not np.isin(part, alone).any()
    assert ready.grid.slice_of(log.time[:1])[0] >= 0  # the slices begin with the history
    clicks = alone[log.label[alone] == 1]
    first = ready.tables.graphs.slices.items[0]
    assert first is not None and len(first.nodes) > 0
    row = ready.split.test[0]
    before = clicks[(log.user[clicks] == log.user[row]) & (log.time[clicks] < log.time[row])]
    batch = ready.loader.batch(np.array([row]))
    assert set(log.item[before]) <= set(batch.histories.item[batch.histories.mask].tolist()) and len(before)
    assert batch.shows_before.item() >= (log.item[alone[log.time[alone] < log.time[row]]] == log.item[row]).sum()


def test_slices_of_equal_counts_count_the_history_too(data):
    ready = prepare(run(every="30d", count=6), data)
    log = data.interactions
    known = log.clicks()[log.time[log.clicks()] <= log.time[ready.split.train].max()]
    counts = np.bincount(ready.grid.slice_of(log.time[known]), minlength=6)[:6]
    assert counts.min() > 0.9 * len(known) / 6


def test_any_label_can_be_the_click(tmp_path):
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,timestamp,is_click,is_like\n1,5,10,1,0\n1,6,20,1,1\n2,5,30,0,0\n"
    )
    for label, clicks in (("is_click", [1, 1, 0]), ("is_like", [0, 1, 0])):
        tables = {"data": {"path": str(tmp_path), "click": label}, "model": {"name": "popularity"}}
        log = read_dataset(config.read_run(tables)).interactions
        assert log.label.tolist() == clicks and log.logged_non_clicks
    tables = {"data": {"path": str(tmp_path), "click": "is_lik"}, "model": {"name": "popularity"}}
    with pytest.raises(ValueError, match=r"no column 'is_lik' \(for click\).*did you mean is_like"):
        read_dataset(config.read_run(tables))
