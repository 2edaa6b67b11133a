"""A run that cannot be is refused before it leaves anything, and what is unusual about its rows is said."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hyperctr import config
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.data.kinds import Kind
from hyperctr.runs import train as training
from hyperctr.runs.checks import not_read, notes_of
from hyperctr.runs.prepare import prepare


def data(label, logged=True, users=5, items=7, has_time=True):
    label = np.asarray(label, np.float32)
    n, rng = len(label), np.random.default_rng(0)
    log = Interactions(rng.integers(0, users, n), rng.integers(0, items, n), np.arange(n) * 3600, label, users, items,
                       logged_non_clicks=logged, has_time=has_time)  # fmt: skip
    return Dataset("made", log, Items(items), Users(users))


def run_of(model="popularity", **tables):
    train = {"epochs": 1, "threads": 1}
    return config.read_run({"data": {"path": "made"}, "model": {"name": model}, "train": train} | tables)


MIXED = [0, 1] * 50
CASES = {
    "every row a click": (data(np.ones(100)), 'every row is a click: say non_clicks = "unobserved"'),
    "no click": (data(np.zeros(100)), "no row is a click: name the column of the click, or another click_at_least"),
    "histories first": (data([1] * 800 + MIXED * 2), "the first 800 of 1,000 rows are clicks alone"),
    "no click in the test": (data([*MIXED, *[0] * 15]), "every row of the test part has label 0"),
    "every user met every item": (data(np.ones(400), logged=False, users=2, items=2), "no negative can be drawn for"),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_that_nothing_can_be_learned_from_are_refused_and_leave_nothing(name, tmp_path):
    made, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        training.train(run_of(evaluate={"met": "no"}), tmp_path / "run", made)
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_keeps_its_run_file(tmp_path):
    run = run_of()
    training.train(run, tmp_path / "run", data(MIXED))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    (tmp_path / "run" / "data.json").unlink()
    with pytest.raises(ValueError, match="no row is a click"):
        training.train(run, tmp_path / "run", data(np.zeros(100)))
    assert (tmp_path / "run" / "report.json").read_bytes() == before["report.json"]
    assert (tmp_path / "run" / "run.toml").exists()


def test_a_log_with_an_order_asks_for_slices_only_where_they_are_read():
    untimed = data(MIXED * 2, has_time=False)
    for model in ("popularity", "deepfm", "din"):
        prepare(run_of(model), untimed)
    with pytest.raises(ValueError, match=r"has no times, only an order; cut it by counts: slices\.count=8"):
        prepare(run_of("hyperctr"), untimed)


def test_click_rates_that_differ_by_more_than_two_are_said():
    rare = [0, 0, 0, 0, 1] * 60
    assert notes_of(prepare(run_of(), data(rare))) == []
    (said,) = notes_of(prepare(run_of(), data([0, 1] * 105 + rare[:90])))
    assert "50.0% of the train rows, 20.0% of the valid rows, 20.0% of the test rows are clicks" in said
    drawn = data(np.ones(300), logged=False, items=50)
    assert notes_of(prepare(run_of(), drawn)) == []


def test_times_from_the_future_are_said():
    made, year = data(MIXED * 3), 365 * 86_400_000_000
    later = replace(made.interactions, time=made.interactions.time + 200 * year)
    (said,) = notes_of(prepare(run_of(), replace(made, interactions=later)))
    assert said.startswith("times from the future: 300 rows of 300, up to 2169-")


@pytest.mark.parametrize(("model", "reads"), [("popularity", False), ("mf", False), ("ease", False), ("lr", True)])
def test_a_model_that_reads_no_past_says_so_where_the_past_is_asked_for(model, reads, tmp_path):
    run = run_of(model, data={"path": "made", "past": "counts"})
    said = f"{model} reads no numbers of the past: data.past has no effect"
    assert (said in notes_of(prepare(run, data(MIXED * 3)))) == (not reads)
    assert said not in notes_of(prepare(run_of(model), data(MIXED * 3)))
    assert any(text.startswith("data.past (") for text in not_read(run, True)) == (not reads)


def test_context_that_gives_the_label_away_is_said():
    made = data(MIXED * 3)
    tab = Category.read(pl.Series("tab", [1, 2, 3] * 100))
    leak = Category.read(pl.Series("leak", MIXED * 3))
    log = replace(made.interactions, context={"tab": tab, "leak": leak})
    (said,) = notes_of(prepare(run_of(), replace(made, interactions=log)))
    assert "context predicts the label by itself: leak (AUC 1.000 on later rows)" in said and "tab" not in said
    log = replace(log, context={"tab": tab})
    assert notes_of(prepare(run_of(), replace(made, interactions=log))) == []


def test_context_that_is_not_read_is_said():
    made = data(np.ones(300), logged=False, items=50)
    values, moment = pl.Series("tab", [1, 2, 3] * 100), Kind("category", of="moment")
    context = {"tab": Category.read(values), "hour": Category.read(values, moment)}
    log = replace(made.interactions, context=context)
    (said,) = notes_of(prepare(run_of(), replace(made, interactions=log)))
    assert "context tab is not read, as negatives are drawn" in said and "hour" not in said
    shown = replace(log, logged_non_clicks=True, label=np.array([0, 1] * 150, np.float32))
    assert notes_of(prepare(run_of(), replace(made, interactions=shown))) == []
