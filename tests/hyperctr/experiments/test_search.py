"""The search of Eq. (7): it finds what was planted, repeats, goes on where it was killed, and never sees a test row."""

import csv
import itertools
import json
import math
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.interactions import Interactions
from hyperctr.data.split import Split, hold_out, split
from hyperctr.experiments import results
from hyperctr.experiments import search as tune
from hyperctr.experiments.space import at
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.runs import referees
from hyperctr.runs import train as runs

pytest.importorskip("optuna", reason="the search of w1 and w2 is not checked: Optuna is not installed")


quick_search = partial(tune.search, referees=False)


class Killed(Exception):
    pass


def bowl(w1=1.3, w2=0.6):
    """Lowest, at 1, where it says."""

    def loss(settings, report=None):
        return 1 + math.log(settings["w1"] / w1) ** 2 / 4 + math.log(settings["w2"] / w2) ** 2 / 2

    return loss


def found(tmp_path, objective, trials, name="journal", **options):
    return tune.minimise(objective, tune.SPACE, tmp_path / name, trials, starts=tune.STARTS, **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_optimum_is_found_within_a_fifth_in_thirty_trials(tmp_path, seed):
    best = min(found(tmp_path, bowl(), 30, seed=seed), key=lambda trial: trial.loss).settings
    assert best["w1"] == pytest.approx(1.3, rel=0.2)
    assert best["w2"] == pytest.approx(0.6, rel=0.2)


def test_the_same_seed_tries_the_same_points_and_another_does_not(tmp_path):
    a, b, c = (found(tmp_path, bowl(), 14, name, seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)])
    assert a == b != c
    assert [trial.settings for trial in a[:5]] == list(tune.STARTS)
    for trial in a:
        assert all(low <= trial.settings[key] <= high for key, (low, high) in tune.SPACE.items())


@pytest.mark.parametrize("at", [3, 9, 13])
def test_a_killed_search_goes_on_as_an_unbroken_one(tmp_path, at):
    whole, calls = found(tmp_path, bowl(), 16, "whole"), []

    def dying(settings, report):
        calls.append(settings)
        if len(calls) == at + 1:
            raise Killed
        return bowl()(settings)

    with pytest.raises(Killed):
        found(tmp_path, dying, 16, "killed")
    assert found(tmp_path, bowl(), 16, "killed") == whole
    assert calls[at] == whole[at].settings  # the point it died on is tried again


def test_more_trials_add_to_those_that_are_there(tmp_path):
    few = found(tmp_path, bowl(), 6)
    assert found(tmp_path, bowl(), 9)[:6] == few
    assert len(found(tmp_path, bowl(), 4)) == 9  # fewer than there are: nothing to do


def test_a_trial_below_the_median_is_given_up_after_its_warm_up(tmp_path):
    seen = []

    def objective(settings, report):
        loss = 1.0 if len(seen) < 6 else 2.0  # of the ones before, 1 each time
        seen.append(0)
        for _ in range(3):
            seen[-1] += 1
            report(loss)
        return loss

    trials = found(tmp_path, objective, 7)
    assert seen == [3] * 6 + [2]  # the first report is not compared
    assert [trial.pruned for trial in trials] == [False] * 6 + [True]
    assert trials[-1].loss == 2.0


def test_values_to_choose_from_are_searched_too(tmp_path):
    space = {"w1": (0.02, 5.0), "w": [0.01, 0.05, 0.1]}
    trials = tune.minimise(lambda s, report: abs(s["w"] - 0.05) + s["w1"], space, tmp_path / "j", 25)
    assert {trial.settings["w"] for trial in trials} == {0.01, 0.05, 0.1}
    assert min(trials, key=lambda trial: trial.loss).settings["w"] == 0.05


# --- training rows alone ---------------------------------------------------------------------------------------------


@cache
def world(logged=True):
    dataset = planted.planted("drift", scale=0.05).dataset
    return replace(dataset, interactions=replace(dataset.interactions, logged_non_clicks=logged))


def settings(kind="temporal", wear=True, **train):
    tables = {
        "data": {"path": "planted", "history": 8},
        "split": {"kind": kind},
        "slices": {"every": "30d"},
        "model": {"name": "din", "dim": 4, "hidden": [8, 6], "attention": [6]},
        "train": {"batch_size": 128, "lr": 0.01, "threads": 1, **train},
        "evaluate": {"valid_negatives": 5},
    }
    if wear:
        tables["wrapper"] = {"name": "aqcl", "codes": 12, "dim": 8, "w": 0.1}
    return config.read_run(tables)


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("kind", ["temporal", "leave-last-out", "random"])
def test_held_out_rows_are_the_last_training_rows_and_no_other_row_is_read(kind, logged):
    log = world(logged).interactions
    parts = split(log, kind)
    seen, inner = hold_out(log, parts, 0.2)

    def events(log, rows):
        return sorted(zip(log.user[rows], log.item[rows], log.time[rows], strict=True))

    both = np.concatenate([inner.train, inner.valid])
    assert events(seen, both) == events(log, parts.train)
    assert len(inner.test) == 0 and (inner.kind, inner.leaky) == (parts.kind, parts.leaky)
    assert seen.time[inner.train].max() < seen.time[inner.valid].min()
    assert len(inner.valid) / len(both) == pytest.approx(0.2, abs=0.01)
    held = set(events(log, np.concatenate([parts.valid, parts.test]))) - set(events(log, parts.train))
    assert not held & set(events(seen, np.arange(len(seen))))
    if kind == "temporal":
        assert seen.time.max() < log.time[parts.valid].min()


def test_what_cannot_be_held_out_is_refused():
    log = world().interactions
    parts = split(log)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="share of training rows to hold out must lie between 0 and 1"):
            hold_out(log, parts, share)
    same = Interactions([0] * 7, range(7), [1] * 5 + [2, 3], [1] * 7, 1, 7)
    with pytest.raises(ValueError, match="0.1 of 5 training rows cannot be held out by time"):
        hold_out(same, Split(np.arange(5), np.array([5]), np.array([6]), False, "temporal"))


@pytest.mark.parametrize("kind", ["temporal", "leave-last-out"])
def test_a_search_has_no_test_rows_to_score(kind):
    ready = tune.inner(settings(kind), world(False))
    model = MODELS["din"](ready.run.model, ready.tables)
    assert ready.evaluation_batches("valid") is not None
    with pytest.raises(ValueError, match="there are no test rows: a search has set them aside"):
        ready.evaluation_batches("test")
    with pytest.raises(ValueError, match="there are no test rows"):
        ready.scores(model, "test")


def test_other_validation_and_test_rows_change_nothing_in_a_search(tmp_path):
    def search(dataset, name):
        run = settings(epochs=2)
        return quick_search(run, tmp_path / name, trials=2, epochs=2, dataset=dataset)

    log = world().interactions
    parts = split(log)
    held = np.concatenate([parts.valid, parts.test])
    rng = np.random.default_rng(0)
    user, item, label = log.user.copy(), log.item.copy(), log.label.copy()
    user[held], item[held], label[held] = rng.permutation(user[held]), rng.permutation(item[held]), 1 - label[held]
    other = replace(world(), interactions=replace(log, user=user, item=item, label=label))
    assert search(world(), "a") == search(other, "b")
    assert (tmp_path / "a" / "trials.csv").read_text() == (tmp_path / "b" / "trials.csv").read_text()


# --- a search whole --------------------------------------------------------------------------------------------------


def lines(folder):
    return list(csv.DictReader((folder / "trials.csv").open()))


def test_a_search_leaves_the_run_with_the_settings_of_the_lowest_loss(tmp_path):
    said = []
    best = quick_search(settings(), tmp_path, trials=3, epochs=2, dataset=world(False), say=said.append)
    rows = lines(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"base.toml", "search.journal", "trials.csv", "best.toml"}
    assert [row["pruned"] for row in rows] == ["False"] * 3 and len(said) == 3
    lowest = min(rows, key=lambda row: float(row["loss"]))
    assert (best.wrapper.w1, best.wrapper.w2) == (float(lowest["w1"]), float(lowest["w2"]))
    assert config.read_run(tmp_path / "best.toml") == best
    assert replace(best, wrapper=settings().wrapper) == settings()  # epochs of a trial are not those of the run
    assert said[0].startswith("trial 1 of 3: w1=0.02 w2=1, loss 0.")


def test_trials_share_everything_but_their_settings(tmp_path):
    """A trial's loss is that of a training by hand, whatever was trained before it."""
    run = settings(epochs=2)
    quick_search(run, tmp_path, trials=3, epochs=2, dataset=world())
    ready = tune.inner(run, world())
    for row in lines(tmp_path)[::-1]:
        point = at(ready.run, {key: float(row[key]) for key in ("w1", "w2")})
        again = tune._train(replace(ready, run=point), "logloss", lambda loss: None)
        assert again == float(row["loss"])
    assert len({row["loss"] for row in lines(tmp_path)}) == 3


def test_a_search_continues_and_refuses_the_folder_of_another(tmp_path):
    quick_search(settings(), tmp_path, trials=1, epochs=1, dataset=world())
    quick_search(settings(), tmp_path, trials=2, epochs=1, dataset=world())
    assert len(lines(tmp_path)) == 2
    for changed in ({"seed": 1}, {"objective": "auc"}, {"epochs": 2}, {"space": {"w1": (0.1, 1.0)}}):
        with pytest.raises(ValueError, match="holds a search of"):
            quick_search(settings(), tmp_path, **{"trials": 2, "epochs": 1, "dataset": world(), **changed})
    with pytest.raises(ValueError, match="over another base run"):
        quick_search(settings(lr=0.02), tmp_path, trials=2, epochs=1, dataset=world())


def test_the_auc_can_be_searched_for(tmp_path):
    quick_search(settings(), tmp_path, trials=1, epochs=1, objective="auc", dataset=world())
    assert -1 <= float(lines(tmp_path)[0]["loss"]) <= 0


def test_a_list_of_values_is_tried_through_once(tmp_path):
    said = []
    space = {"w": [0.01, 0.1], "positives": [1, 5]}
    quick_search(settings(), tmp_path, trials=30, epochs=1, space=space, dataset=world(), say=said.append)
    tried = [(row["w"], row["positives"]) for row in lines(tmp_path)]
    assert tried == [("0.01", "1"), ("0.01", "5"), ("0.1", "1"), ("0.1", "5")]
    assert said[-1].startswith("trial 4 of 4: ")


def test_the_run_itself_is_tried_first_and_no_combination_twice():
    run = config.read_run({"data": {"path": "ml-100k"}, "model": {"name": "din", "dim": 16}})
    space = {"model.dim": [8, 16, 32], "train.lr": [1e-3, 2e-3], "model.dropout": [0.1, 0.2, 0.3]}
    points = tune.first_points(run, space, 6, seed=1)
    assert points[0] == {"model.dim": 16, "train.lr": 1e-3, "model.dropout": 0.2}
    assert len(points) == 11 and len({tuple(point.values()) for point in points}) == 11
    assert points == tune.first_points(run, space, 7, seed=1) != tune.first_points(run, space, 6, seed=2)
    whole = tune.first_points(run, space, 18, seed=1)  # enough for all: in order
    assert [tuple(point.values()) for point in whole] == list(itertools.product(*space.values()))
    outside = tune.first_points(run, {"model.dim": [8, 32], "train.lr": [1e-3, 2e-3]}, 3, seed=1)
    assert len(outside) == 4 and {"model.dim": 16} not in outside
    assert tune.first_points(run, {"train.lr": (1e-4, 1e-2), "model.dim": [8, 16]}, 6, 0) == [
        {"train.lr": 1e-3, "model.dim": 16}
    ]
    assert tune.first_points(run, {"train.lr": (2e-3, 1e-2)}, 6, 0) == []


def test_keys_of_every_table_are_searched_without_a_wrapper(tmp_path):
    """A trial is a training by hand of a run with these keys, prepared again where its rows read other things."""
    run = settings(wear=False)
    space = {"model.dim": [4, 8], "data.history": [2, 5], "train.optimiser": ["adam", "adagrad"]}
    quick_search(run, tmp_path, trials=30, epochs=1, space=space, dataset=world())
    rows = lines(tmp_path)
    assert len(rows) == 8 and len({row["loss"] for row in rows}) == 8
    last = {"model.dim": 8, "data.history": 5, "train.optimiser": "adagrad"}
    assert {key: str(x) for key, x in last.items()} == {key: rows[-1][key] for key in last}
    ready = tune.inner(at(replace(run, train=replace(run.train, epochs=1)), last), world())
    assert tune._train(ready, "logloss", lambda loss: None) == float(rows[-1]["loss"])
    lowest = min(rows, key=lambda row: float(row["loss"]))
    best = config.read_run(tmp_path / "best.toml")
    assert str(best.model.dim) == lowest["model.dim"] and best.train.optimiser == lowest["train.optimiser"]


def test_points_at_random_and_whole_numbers_between_bounds(tmp_path):
    space = {"model.dim": (4, 9), "train.lr": (1e-3, 1e-1)}
    given = {"trials": 3, "epochs": 1, "space": space, "dataset": world(), "how": "random"}
    quick_search(settings(wear=False), tmp_path / "a", **given)
    quick_search(settings(wear=False), tmp_path / "b", **given)
    rows = lines(tmp_path / "a")
    assert rows == lines(tmp_path / "b")
    assert all(4 <= int(row["model.dim"]) <= 9 and 1e-3 <= float(row["train.lr"]) <= 1e-1 for row in rows)


def test_trials_may_train_on_the_latest_clicks_only():
    whole, some = (tune.inner(settings(wear=False), world(), clicks=clicks) for clicks in (0, 60))
    assert np.array_equal(some.split.train, whole.split.train[-len(some.split.train) :])
    assert some.dataset.interactions.label[some.split.train].sum() == 60
    assert np.array_equal(some.split.valid, whole.split.valid)


def test_only_what_is_worn_can_be_searched(tmp_path):
    with pytest.raises(ValueError, match="cannot search wrapper.w1: the run has no wrapper: set wrapper.name=aqcl"):
        quick_search(settings(wear=False), tmp_path)
    with pytest.raises(ValueError, match="cannot search wrapper.w3: aqcl has w, tau1"):
        quick_search(settings(), tmp_path, space={"w3": (1.0, 2.0)})
    masked = replace(settings(), wrapper_name="lt4rec", wrapper=WRAPPERS["lt4rec"].Config())
    with pytest.raises(ValueError, match="cannot search lt4rec: a search judges the prediction of clicks only"):
        quick_search(masked, tmp_path, space={"b": (1.0, 2.0)})


def test_a_referee_is_refused_in_one_line(tmp_path):
    run = config.read_run({"data": {"path": "planted"}, "model": {"name": "ease"}})
    with pytest.raises(ValueError, match="ease is a referee, which chooses its own settings.*hyperctr train"):
        tune.search(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["logloss", "auc"])
def test_the_referees_are_judged_once_on_the_rows_of_the_trials(tmp_path, monkeypatch, objective):
    fitted, said = [], []

    def fit_one(ready, name):
        fitted.append(name)
        if name == "transitions":
            raise ValueError("transitions cannot be fitted: there is no order")
        return referees.fit_one(ready, "itemknn")

    monkeypatch.setattr(tune, "fit_one", fit_one)
    how = {"trials": 1, "epochs": 1, "objective": objective, "dataset": world(False), "say": said.append}
    for _ in range(2):
        tune.search(settings(), tmp_path, **how)
    assert fitted == [*results.REFEREES]
    found = {row["referee"]: row for row in tune.read_referees(tmp_path)}
    assert found["transitions"]["reason"].endswith("no order") and math.isnan(found["transitions"]["loss"])
    trial = float(lines(tmp_path)[0]["loss"])
    for name in ("popularity", "EASE"):
        low, high = {"logloss": (0.0, math.log(2) + 0.01), "auc": (-1.0, -0.5)}[objective]
        assert low < found[name]["loss"] < high
        assert (f"the best trial is below {name}, whose loss is lower: " in " ".join(said)) == (
            found[name]["loss"] < trial
        )


def test_the_chosen_run_trains(tmp_path):
    best = quick_search(settings(epochs=1), tmp_path, trials=1, epochs=1, dataset=world())
    assert runs.train(best, dataset=world())["wear"] == "aqcl"


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path):
    world = planted.write("drift", tmp_path / "world", scale=0.05)
    sets = [
        "model.name=din",
        "model.dim=4",
        "model.hidden=[8,6]",
        "model.attention=[6]",
        "wrapper.codes=12",
        "wrapper.dim=8",
        "train.threads=1",
    ]
    given = ["search", "--data", world, "--out", tmp_path / "found", "--trials", 2, "--epochs", 1, "--no-referees"]
    return [*given, "--set", "wrapper.name=aqcl", *(word for key in sets for word in ("--set", key))]


def test_a_search_from_the_command_line_leaves_a_run_that_trains(hyperctr, tmp_path, words):
    code, out, err = hyperctr(*words, "--over", "w=0.01:0.5", "--over", "positives=1,5", "--json")
    assert code == 0, err
    best = config.read_run(tmp_path / "found" / "best.toml")
    assert json.loads(out) == {"w": best.wrapper.w, "positives": best.wrapper.positives}
    assert 0.01 <= best.wrapper.w <= 0.5 and best.wrapper.positives in (1, 5)
    code, out, err = hyperctr("train", tmp_path / "found" / "best.toml", "--out", tmp_path / "run", "--json")
    assert code == 0 and json.loads(out)["wear"] == "aqcl", err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--over", "w=0:1"], "--over takes KEY=LOW:HIGH with 0 < LOW < HIGH, on a log scale, or KEY=A,B,C, got"),
        (["--over", "w=a,b"], 'cannot search wrapper.w at "a": wrapper.w must be a number'),
        (["--over", "train.seed=1,2"], "cannot search train.seed: all trials share the seed of the run"),
        (["--over", "split.train=0.5,0.6"], "cannot search split.train: the trials are compared on the same rows"),
        (["--over", "model.dims=4,8"], "cannot search model.dims: din has dim"),
        (["--over", "model.dim=0,8"], "cannot search model.dim at 0: [model] model.dim must be at least 1, got 0"),
        (["--over", "modle.dim=4,8"], "cannot search modle.dim: there is no table [modle]"),
        (["--how", "grid"], "--how is tpe or random, got 'grid'"),
        (["--over", "q=1:2"], "cannot search wrapper.q: aqcl has w"),
        (["--objective", "loss"], "--objective is logloss or auc, got 'loss'"),
        (["--set", "wrapper.name=aqlc"], "aqcl"),
    ],
)
def test_a_search_that_makes_no_sense_is_one_line(hyperctr, words, more, says):
    code, _, err = hyperctr(*words, *more)
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1
