"""Runs of clicks and conversions: what they report, how they go on when killed, and what they refuse."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.write import write_folder
from hyperctr.layers.multitask import TASKS
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.models.lt4rec import Layer
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run
from hyperctr.runs.prepare import prepare, read_dataset
from hyperctr.training.profiler import StepTimer

SIZES = {
    "lt4rec": {"dim": 4, "hidden": [12, 8], "rounds": 2},
    "shared_bottom": {"dim": 4, "hidden": [12, 8]},
    "esmm": {"dim": 4, "hidden": [12, 8]},
    "mmoe": {"dim": 4, "experts": 2, "hidden": [12], "tower": [6]},
    "din": {"dim": 4, "attention": [6], "hidden": [12, 8]},
    "hyperctr": {"dim": 4, "depth": 1, "hidden": [12, 8], "batches_per_graph": 2},
}


class Killed(Exception):
    pass


@cache
def world():
    return planted.planted("conflict", scale=0.03)


def settings(name="lt4rec", wrapper=None, path="planted", train=None, data=None, **model):
    """A run that takes a second."""
    tables = {
        "data": {"path": str(path), "history": 6, **(data or {})},
        "slices": {"every": "30d"},
        "interest": {"mode": "none"},
        "model": {"name": name, **SIZES.get(name, {}), **model},
        "train": {"epochs": 2, "batch_size": 128, "lr": 0.01, "threads": 1, **(train or {})},
    }
    if wrapper is not None:
        tables["wrapper"] = {"name": "lt4rec", "rounds": 2, **wrapper}
    return config.read_run(tables)


def prepared(*args, dataset=None, **kwargs):
    return prepare(settings(*args, **kwargs), dataset or world().dataset)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and report of a finished LT4REC on a planted world that lies in a folder."""
    home = tmp_path_factory.mktemp("two")
    data = planted.write("conflict", home / "data", scale=0.03)
    return home / "run", training.train(settings(path=data), home / "run")


def test_the_clock_counts_the_steps_of_every_round():
    """Two trainings a task for its ticket, then one of both."""
    run, clock = settings(train={"epochs": 1}, rounds=1, round=1), StepTimer()
    training.train(run, dataset=world().dataset, clock=clock)
    ready = prepare(run, world().dataset)
    assert clock.steps == 3 * sum(-(-len(ready.rows_of(task)) // 128) for task in TASKS)


def test_a_run_of_lt4rec_leaves_its_tickets_and_reports_both_tasks(finished):
    folder, report = finished
    names = {"run.toml", "report.json", "history.csv", "weights.safetensors", "tickets.safetensors", "data.json"}
    assert {path.name for path in folder.iterdir()} == names
    test, log = report["test"], world().dataset.interactions
    clicked = log.label[prepared().split.test] == 1
    assert (test["rows"], test["cvr_rows"]) == (len(clicked), clicked.sum())
    assert test["cvr_variance"] == pytest.approx(log.conversion[prepared().split.test][clicked].var(), rel=1e-4)
    assert 0 < test["cvr_mse"] < 0.3 and 0 <= test["cvr_auc"] <= 1 and 0 <= test["ctcvr_auc"] <= 1
    assert set(report["tickets"]) == set(TASKS)
    assert [r["round"] for r in report["tickets"]["click"]["rounds"]] == [0, 1, 2]
    assert report["tickets"]["click"]["rounds"][2]["density"] == pytest.approx(0.2, abs=0.002)
    assert report["searched"] and report["overlap"][-1]["layer"] == "all"
    assert (folder / "history.csv").read_text().splitlines()[0].endswith("click_loss,conversion_loss,valid_cvr_mse")
    opened = open_run(folder)
    again = opened.prepared.scores(opened.model, "test")
    assert json.dumps(again) == json.dumps(report["test"])
    assert opened.model.overlap() == report["overlap"]


@pytest.mark.parametrize("name", ["shared_bottom", "esmm", "mmoe"])
def test_the_rivals_report_the_same_metrics(name, tmp_path):
    report = training.train(settings(name), tmp_path, world().dataset)
    assert 0 < report["test"]["cvr_mse"] < 0.3 and 0 <= report["test"]["ctcvr_auc"] <= 1
    assert "tickets" not in report


def test_models_of_one_task(tmp_path):
    click, conversion = (
        training.train(settings("shared_bottom", tasks=task), tmp_path / task, world().dataset)["test"]
        for task in TASKS
    )
    assert np.isnan(click["cvr_mse"]) and click["auc"] != 0.5 and click["cvr_rows"] == 0
    assert 0 < conversion["cvr_mse"] < 0.3 and conversion["auc"] == 0.5
    history = (tmp_path / "conversion" / "history.csv").read_text()
    assert "click_loss" not in history and "conversion_loss" in history


@pytest.mark.parametrize("where", ["conversion round", "epoch 2"])
def test_a_killed_run_ends_bit_equal_to_an_unbroken_one(where, tmp_path):
    run, seen = settings(train={"epochs": 3}), []

    def progress(batches, what, total):
        seen.append(what)
        for step, batch in enumerate(batches):
            if what == where and seen.count(what) == (1 if "epoch" in what else 2) and step == 2:
                raise Killed
            yield batch

    whole = training.train(run, tmp_path / "whole", world().dataset)
    with pytest.raises(Killed):
        training.train(run, tmp_path / "killed", world().dataset, progress=progress)
    again = training.train(run, tmp_path / "killed", world().dataset)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    for name in ("weights.safetensors", "tickets.safetensors"):
        a, b = (load_file(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
    assert (tmp_path / "whole" / "history.csv").read_text() == (tmp_path / "killed" / "history.csv").read_text()


def test_the_tickets_of_a_run_train_anew_in_another(finished, tmp_path):
    folder, report = finished
    asked = []

    def progress(batches, what, total):
        asked.extend([what] * ("epoch" in what or "round" in what))
        return batches

    again = training.train(settings(masks=str(folder), train={"seed": 3}), tmp_path, world().dataset, progress=progress)
    assert asked == ["epoch 1", "epoch 2"]  # no round
    assert again["overlap"] == report["overlap"] and again["tickets"] == report["tickets"]
    with pytest.raises(ValueError, match="there are no tickets in"):
        training.train(settings(masks=str(tmp_path / "none")), None, world().dataset)


@pytest.mark.parametrize("rewind", [True, False])
def test_the_mixed_training_begins_with_the_first_weights_or_with_others(rewind, finished, tmp_path, monkeypatch):
    folder, report = finished
    began, fit = [], training.fit

    def watched(model, *rest):
        began.append({name: x.clone() for name, x in model.state_dict().items()})
        return fit(model, *rest)

    monkeypatch.setattr(training, "fit", watched)
    got = training.train(settings(masks=str(folder), rewind=rewind), tmp_path, world().dataset)
    assert got["overlap"] == report["overlap"]  # the masks are the same
    torch.manual_seed(0)
    first, (start,) = MODELS["lt4rec"](settings().model, prepared().tables).state_dict(), began
    weights = [name for name, x in first.items() if x.is_floating_point() and x.ndim == 2]
    assert {torch.equal(start[name], first[name]) for name in weights} == {rewind}


@pytest.mark.parametrize("round", [0, 2])
def test_masks_at_random_train_from_the_tickets_of_another_run(finished, tmp_path, round):
    folder, report = finished
    asked = []

    def progress(batches, what, total):
        asked.extend([what] * ("epoch" in what or "round" in what))
        return batches

    drawn = settings(masks=str(folder), shuffle=True, round=round)
    got = training.train(drawn, tmp_path, world().dataset, progress=progress)
    rounds = [f"{task} round" for task in TASKS for _ in range(3)] if round == 0 else []  # else there is no choice
    assert asked == [*rounds, "epoch 1", "epoch 2"] and got["searched"] == bool(rounds)
    density = [r["density"] for r in report["tickets"]["click"]["rounds"]]
    assert [r["density"] for r in got["tickets"]["click"]["rounds"]] == density
    assert got["overlap"] != report["overlap"]
    later = training.train(settings(masks=str(tmp_path), round=round), None, world().dataset)
    assert later["overlap"] == got["overlap"]  # its masks can be worn in turn


def test_the_command_line_trains_yesterdays_masks_and_exports_networks(hyperctr, finished, tmp_path):
    folder, report = finished
    (tmp_path / "run.toml").write_text(config.to_toml(settings(path=folder.parent / "data", train={"epochs": 1})))
    code, out, _ = hyperctr("train", tmp_path / "run.toml", "--masks", folder, "--out", tmp_path / "today", "--json")
    assert code == 0 and json.loads(out)["overlap"] == report["overlap"]
    code, out, err = hyperctr("train", tmp_path / "run.toml", "--out", tmp_path / "own", "--set", "model.rounds=1")
    assert code == 0 and "click, round 0, 100% of the weights  epoch 1" in err and "error of conversions 0." in err
    told = json.loads((tmp_path / "own" / "report.json").read_text())["test"]
    assert all(f"{told[name]:.4f}" in out for name in ("cvr_mse", "cvr_variance", "cvr_auc", "ctcvr_auc"))
    code, out, _ = hyperctr("export", tmp_path / "today", "--mode", "csr", "--out", tmp_path / "nets", "--json")
    told = json.loads(out)
    assert code == 0 and {task: told[task]["mode"] for task in TASKS} == dict.fromkeys(TASKS, "csr")
    assert {path.name for path in (tmp_path / "nets").iterdir()} == {f"{task}.safetensors" for task in TASKS}
    code, out, _ = hyperctr("export", tmp_path / "today", "--batches", "1,8")
    assert code == 0 and "ms, batch 8" in out and (tmp_path / "today" / "click.safetensors").exists()
    code, _, err = hyperctr("train", "--data", folder, "--masks", folder, "--set", "model.name=mf")
    assert code == 2 and "--masks is for lt4rec" in err
    code, _, err = hyperctr("bench", "lt4rec-speed", "--data", folder)
    assert code == 2 and "lt4rec-speed makes its own data" in err
    code, _, err = hyperctr("export", tmp_path / "today", "--mode", "sparse")
    assert code == 2 and "a mode of dense, compact, csr or auto" in err


@pytest.mark.parametrize(("base", "steps"), [("din", "alternate"), ("hyperctr", "joint")])
def test_another_model_wears_masks_and_keeps_them(base, steps, tmp_path):
    data = write_folder(world().dataset, tmp_path / "data")
    run = settings(base, wrapper={"steps": steps, "least": 0.0}, path=data)
    report = training.train(run, tmp_path / "run")
    assert 0 < report["test"]["cvr_mse"] < 0.3 and report["test"]["auc"] != 0.5
    assert report["tickets"]["click"]["rounds"][2]["density"] == pytest.approx(0.2, abs=0.01)
    opened = open_run(tmp_path / "run")
    again = opened.prepared.scores(opened.model, "test")
    assert json.dumps(again) == json.dumps(report["test"])
    assert not (tmp_path / "run" / "worn.safetensors").exists()


@pytest.mark.parametrize("base", ["din", "hyperctr"])
def test_with_full_masks_a_worn_model_has_the_hidden_layers_of_the_bare_one(base):
    ready = prepared(base, wrapper={"steps": "joint"})
    bare, model = (seeded(base, ready) for _ in range(2))
    last = model.out if base == "din" else model.predict.rest[-1]
    worn = WRAPPERS["lt4rec"](model, ready.run.wrapper, ready.tables).eval()
    batch = next(iter(ready.evaluation_batches("test")))
    with torch.no_grad():
        x, beside = worn.base.features(batch).x, 0.0
        if base == "hyperctr":  # Eq. (7) adds this to the network's answer, the worn network reads it
            beside, x[:, -1] = x[:, -1].clone(), 0.0
        for step in worn.tower.steps:
            x = step(x, 0) if isinstance(step, Layer) else step(x)
        torch.testing.assert_close(last(x).squeeze(1) + beside, bare(batch).logit, rtol=1e-5, atol=1e-5)


def seeded(base, ready):
    torch.manual_seed(0)
    return MODELS[base](ready.run.model, ready.tables).eval()


# --- the rows of a task ----------------------------------------------------------------------------------------------


def rows(batches):
    return [(task, sorted(zip(b.user.tolist(), b.item.tolist(), b.time.tolist(), strict=True))) for b in batches
            for task in [b.task]]  # fmt: skip


def test_each_task_has_its_rows_and_conversions_are_those_of_known_clicks():
    data = world().dataset
    log = data.interactions
    conversion = log.conversion.copy()
    conversion[::5] = np.nan
    ready = prepared(dataset=replace(data, interactions=replace(log, conversion=conversion)))
    train = ready.split.train
    known = train[(log.label[train] == 1) & ~np.isnan(conversion[train])]
    assert ready.rows_of("click").tolist() == train.tolist()
    assert ready.rows_of("conversion").tolist() == known.tolist()
    batches = [*ready.task_batches("conversion", 1)]
    assert all(b.task == "conversion" and b.label.all() and not b.conversion.isnan().any() for b in batches)
    assert sum(len(b) for b in batches) == len(known)


@pytest.mark.parametrize("steps", ["alternate", "cycle", "joint"])
def test_the_mixed_training_takes_its_batches_as_asked(steps):
    ready = prepared(steps=steps, train={"batch_size": 64})
    found = [*ready.train_batches(1)]
    clicks, conversions = (-(-len(ready.rows_of(task)) // 64) for task in TASKS)
    assert clicks > 2 * conversions
    tasks = [b.task for b in found]
    if steps == "joint":
        assert tasks == [None] * clicks
    elif steps == "alternate":
        assert tasks == [*TASKS] * conversions + ["click"] * (clicks - conversions)
    else:
        assert tasks == [*TASKS] * clicks
        turns = [b for b in rows(found) if b[0] == "conversion"]
        assert turns[0] != turns[conversions] and len(turns) == clicks  # in another order the second time
    total = sum(len(b) for b in found)
    assert total == ready.train_rows or steps == "cycle"
    again = [*ready.train_batches(1)]
    assert rows(found) == rows(again) != rows(ready.train_batches(2))


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wear"), [("lt4rec", None), ("esmm", None), ("din", {})])
def test_data_without_conversions_are_refused(name, wear):
    data = world().dataset
    bare = replace(data, interactions=replace(data.interactions, conversion=None))
    with pytest.raises(ValueError, match="planted-conflict has no conversions: name their column with data.conver"):
        prepared(name, wear, dataset=bare)
    prepared("din", dataset=bare)


def test_data_without_a_known_conversion_in_a_part_are_refused():
    data = world().dataset
    conversion = data.interactions.conversion.copy()
    conversion[prepared().split.valid] = np.nan
    unknown = replace(data, interactions=replace(data.interactions, conversion=conversion))
    with pytest.raises(ValueError, match="no click among the valid rows of planted-conflict has a known conversion"):
        prepared(dataset=unknown)


def test_what_cannot_wear_masks_is_refused():
    with pytest.raises(ValueError, match="DeepFM has no layers that tasks could share; take lt4rec, din or hyperctr"):
        training.train(settings("deepfm", {}), None, world().dataset)
    with pytest.raises(ValueError, match='hyperctr propagates once for several batches: set wrapper.steps = "joint"'):
        prepared("hyperctr", {"steps": "cycle"})


def test_a_run_may_name_another_column_of_conversions(tmp_path):
    log = world().dataset.interactions
    path = planted.write("conflict", tmp_path / "data", scale=0.03)
    read = read_dataset(settings(path=path)).interactions.conversion
    np.testing.assert_array_equal(read, log.conversion)
    other = read_dataset(settings(path=path, data={"conversion": "true_probability"})).interactions.conversion
    assert other.tolist() == world().probability.astype(np.float32).tolist()
    share = read_dataset(settings(path=path, data={"conversion": "conversion / length"})).interactions.conversion
    np.testing.assert_allclose(share, np.minimum(log.conversion / log.length, 1), rtol=1e-6)
