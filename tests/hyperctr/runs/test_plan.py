"""The plan of a run: counts by hand, against what is built, and a command that refuses what will not fit."""

import json

import numpy as np
import pytest

from graphs import TimeGrid
from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.dataset import Dataset
from hyperctr.data.features import modalities
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.runs import plan

DAY = 86_400_000_000  # microseconds


def toy():
    """Three closed days and an open one; items 0 to 3 have pictures of six numbers, item 4 is never clicked.

    day 0: user 0 clicks items 0, 1, 1    day 1: user 0 item 0, users 1 and 2 items 0, 2    day 2: user 1 item 3
    """
    events = [
        (0, 0, 0), (0, 1, 0), (0, 1, 0),
        (0, 0, 1), (1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 2, 1),
        (1, 3, 2),
        (0, 3, 3), (2, 1, 3),
    ]  # fmt: skip
    user, item, day = np.array(events).T
    time = day * DAY + np.arange(len(events))
    log = Interactions(user, item, time, np.ones(len(events)), 3, 5, logged_non_clicks=False)
    picture = np.ones((5, 6), np.float32)
    picture[4] = 0
    return Dataset("toy", log, Items(5, modalities={"visual": picture}), Users(3))


def asked(**tables):
    model = {"name": "hyperctr", "dim": 4, "heads": 2, "depth": 2, "neighbors": 0, "hidden": [4, 2]} | tables.pop(
        "model", {}
    )
    return config.read_run(
        {"data": {"path": "x"}, "slices": {"every": "1d"}, "interest": {"mode": "none"}, "model": model} | tables
    )


def sizes(planned):
    return {part.name: part.bytes for part in planned.parts}


def test_slices_are_counted_as_by_hand():
    log = toy().interactions
    users, items = plan._sides(log.user, log.item, log.time // DAY, 3, 0)
    assert users.nodes.tolist() == [1, 3, 1] and items.nodes.tolist() == [2, 2, 1]
    # a hyperedge of users is an item that two clicked, one of items is a user who clicked two
    assert users.edges.tolist() == [0, 2, 0] and users.incidences.tolist() == [0, 5, 0]
    assert items.edges.tolist() == [1, 2, 0] and items.incidences.tolist() == [2, 4, 0]
    users, items = plan._sides(log.user, log.item, log.time // DAY, 3, 1)
    assert users.capped.tolist() == [0, 2, 0] and items.capped.tolist() == [
        1,
        2,
        0,
    ]  # one user an item, one item a user


def test_memory_is_what_it_is_by_hand():
    found = sizes(plan.check(asked(), toy()))
    assert found["features"] == 5 * 6 * 4
    assert found["id tables and their copies"] == (4 + 6) * 4 * 4 * 5  # weights, best, two moments, gradient
    assert found["cached node states"] == 10 * (4 * 4 * 2 + 24)  # ten (slice, node), two hypergraphs a node
    assert found["hypergraphs"] == 11 * 2 * 4 + (10 + 5) * 32  # incidences both ways; nodes and hyperedges


def test_the_history_of_a_row_is_the_mean_by_a_loop():
    log = toy().interactions
    lengths = [min(3, int((log.user[:row] == log.user[row]).sum())) for row in range(len(log))]
    assert plan._history(log, 3) == pytest.approx(np.mean(lengths))


@pytest.mark.parametrize("every", ["30d", "60d"])
def test_counts_are_those_of_the_hypergraphs_that_are_built(every):
    data = planted.planted("drift", seed=0, scale=0.1).dataset
    log = data.interactions.take(data.interactions.clicks())
    grid = TimeGrid.cut(log.time, every=every, unit="us")
    built = slice_hypergraphs(log, {"visual": data.items.present["visual"]}, grid, upto=int(log.time[-1]) + 1)
    sides = plan._sides(log.user, log.item, grid.slice_of(log.time), len(built), 0)
    for counted, real in zip(sides, (built.users, built.items), strict=True):
        graphs = [side.graphs[0] for side in real]
        assert counted.nodes.tolist() == [len(side.nodes) for side in real]
        weight = [h.num_hyperedges if h.hyperedge_weight is None else int(h.hyperedge_weight.sum()) for h in graphs]
        assert counted.edges.tolist() == weight  # equal hyperedges are merged, their weights added
        assert all(n >= h.num_incidences for n, h in zip(counted.incidences, graphs, strict=True))


def test_random_splits_count_training_clicks_alone():
    honest, leaky = (
        plan.check(asked(split={"kind": kind}), planted.planted("drift", scale=0.05).dataset)
        for kind in ("temporal", "random")
    )
    assert sizes(leaky)["hypergraphs"] < sizes(honest)["hypergraphs"]


@pytest.mark.parametrize(
    ("part", "less", "more"),
    [
        ("propagation", {"model": {"propagation": "slice"}}, {"model": {"propagation": "full"}}),
        ("propagation", {"model": {"depth": 1}}, {"model": {"depth": 3}}),
        ("propagation", {"model": {"neighbors": 1}}, {"model": {"neighbors": 0}}),
        ("cached node states", {"model": {"depth": 0}}, {"model": {"depth": 1}}),
        ("cached node states", {"model": {"propagation": "slice"}}, {"model": {"propagation": "sampled"}}),
        ("hypergraphs", {"interest": {"mode": "none"}}, {"interest": {"mode": "pretrain"}}),
        ("features", {"data": {"path": "x", "reduce": 4}}, {"data": {"path": "x", "reduce": 0}}),
        ("batch", {"train": {"batch_size": 64}}, {"train": {"batch_size": 8192}}),
        ("id tables and their copies", {"model": {"dim": 4}}, {"model": {"dim": 8}}),
    ],
)
def test_what_takes_more_is_planned_with_more(part, less, more):
    data = planted.planted("drift", scale=0.05).dataset
    first, second = (sizes(plan.check(asked(**tables), data))[part] for tables in (less, more))
    assert first < second


@pytest.mark.parametrize("more", [{"depth": 3}, {"attend": True}, {"gru": True}, {"branch": "fields"}], ids=str)
def test_every_part_of_a_step_takes_time(more):
    data = planted.planted("drift", scale=0.05).dataset
    (low, high), (low_more, high_more) = (plan.check(asked(model=x), data).seconds for x in ({"depth": 1}, more))
    assert low < high and low < low_more and high < high_more


def test_large_features_count_half_and_large_tables_three_copies(monkeypatch):
    monkeypatch.setattr(modalities, "LARGE", 100)
    monkeypatch.setattr(plan, "ROWWISE", 4)
    found = sizes(plan.check(asked(), toy()))
    assert found["features"] == 5 * 6 * 2
    assert found["id tables and their copies"] == 4 * (4 * 5 * 4 + 6 * (3 * 4 + 1))  # the items: one moment and a step


def test_a_model_without_hypergraphs_has_none_to_plan():
    found = plan.check(config.read_run({"data": {"path": "x"}, "model": {"name": "popularity"}}), toy())
    assert "hypergraphs" not in sizes(found) and found.total == sum(sizes(found).values())


def test_the_refusal_says_what_is_large_and_what_to_change(monkeypatch):
    monkeypatch.setattr(plan, "memory", lambda: 10**6)
    planned = plan.check(asked(model={"propagation": "full"}), toy())
    assert not planned.fits and planned.limit == 800_000
    for word in ("80% of the memory here is 0.8 MB", "model.propagation=slice", "--force", planned.parts[0].name):
        assert word in planned.refusal()
    monkeypatch.setattr(plan, "memory", lambda: 0)
    assert plan.check(asked(), toy()).fits  # where it is not known, nothing is refused


def test_the_limit_is_that_of_the_control_group_where_it_is_less(monkeypatch):
    whole = plan.memory()
    assert whole > 0
    monkeypatch.setattr(plan.Path, "read_text", lambda path: "1000000\n" if path.name == "memory.max" else "max\n")
    assert plan.memory() == 10**6
    monkeypatch.setattr(plan.Path, "read_text", lambda path: "max\n")
    assert plan.memory() >= whole


SMALL = [
    "model.name=hyperctr",
    "train.epochs=1",
    "model.dim=4",
    "model.depth=1",
    "data.history=5",
    "slices.every=60d",
    "interest.mode=none",
]
SETS = [part for key in SMALL for part in ("--set", key)]


@pytest.fixture
def world(tmp_path):
    return planted.write("drift", tmp_path / "world", scale=0.02)


def test_train_refuses_what_will_not_fit_and_leaves_nothing_unless_forced(hyperctr, world, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "memory", lambda: 10**6)
    words = ["train", "--data", world, "--out", tmp_path / "run", *SETS]
    code, out, err = hyperctr(*words)
    assert code == 2 and out == "" and "run it anyway with --force" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()
    code, out, _ = hyperctr(*words, "--force")
    assert code == 0 and (tmp_path / "run" / "report.json").exists()


def test_train_begins_what_fits(hyperctr, world, tmp_path):
    assert hyperctr("train", "--data", world, "--out", tmp_path / "run", *SETS)[0] == 0


def test_the_command_prints_every_part_and_the_verdict(hyperctr, world, monkeypatch):
    code, out, _ = hyperctr("plan", "--data", world, "--json", *SETS)
    facts = json.loads(out)
    assert code == 0 and facts["fits"] and facts["total"] == sum(part["bytes"] for part in facts["parts"])
    assert 0 < facts["epoch_seconds"][0] < facts["epoch_seconds"][1] and facts["steps"] > 0
    code, out, _ = hyperctr("plan", "--data", world, *SETS)
    assert all(part["name"] in out for part in facts["parts"]) and "fits: the limit is" in out
    assert "about" in out.splitlines()[-2]
    monkeypatch.setattr(plan, "memory", lambda: 10**6)
    assert "does not fit: this run would take" in hyperctr("plan", "--data", world, *SETS)[1]


def test_no_time_is_guessed_for_a_model_whose_steps_are_not_counted(hyperctr, world):
    words = ["plan", "--data", world, "--set", "model.name=din"]
    assert json.loads(hyperctr(*words, "--json")[1])["epoch_seconds"] is None
    line = hyperctr(*words)[1].splitlines()[-2]
    assert "steps; `hyperctr train --profile` measures" in line and "about" not in line


def test_a_plan_counts_only_the_slices_that_hold_clicks():
    """Two clicks two centuries apart, by the hour: 1.7 million slices, of which two are counted."""
    far = 24 * 73_000
    users, items = plan._sides(np.array([0, 1, 0]), np.array([3, 3, 3]), np.array([0, 0, far]), far + 1, 0)
    assert users.nodes.sum() == 3 and users.nodes[[0, far]].tolist() == [2, 1] and items.edges.sum() == 0
    assert users.edges.tolist()[:2] == [1, 0]
