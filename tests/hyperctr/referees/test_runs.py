"""A run of a referee trains, resumes, opens, predicts and is audited like any other; and referees beside a model."""

import tomllib
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from hyperctr import batch, config
from hyperctr.analysis import audit
from hyperctr.data import planted
from hyperctr.experiments import contract
from hyperctr.experiments.sweep import baseline
from hyperctr.files import read_json
from hyperctr.referees import REFEREES
from hyperctr.runs import plan, rows
from hyperctr.runs import referees as of_runs
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run, predict_rows
from hyperctr.runs.report import notes_of

EASE = {"name": "ease", "ridges": [5.0, 50.0]}


@cache
def world(logged=True):
    data = planted.planted("drift", scale=0.05).dataset
    return replace(data, interactions=replace(data.interactions, logged_non_clicks=logged))


def settings(model="ease", **tables):
    model = model if isinstance(model, dict) else {"name": model}
    return config.read_run({"data": {"path": "planted", "history": 10}, "model": model,
                            "train": {"threads": 1, "epochs": 1}, "evaluate": {"negatives": 3}} | tables)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run by its referee, on a world in a folder."""
    home, made = tmp_path_factory.mktemp("referees"), {}
    data = planted.write("drift", home / "data", scale=0.05)

    def folder(name):
        if name not in made:
            training.train(settings(name, data={"path": str(data), "history": 10}), home / name)
            made[name] = home / name
        return made[name]

    return folder


def same(one, other):
    return {**one, "seconds": 0} == {**other, "seconds": 0}


def test_what_a_run_of_a_referee_leaves_and_says(finished):
    folder = finished("ease")
    names = {"run.toml", "report.json", "history.csv", "weights.safetensors", "data.json"}
    assert {path.name for path in folder.iterdir()} == names
    weights = load_file(folder / "weights.safetensors")
    assert {name.rpartition(".")[2] for name in weights} == {"value", "unit", "slope", "bias"}
    report = read_json(folder / "report.json")
    assert report["settings"]["ridge"] == weights["setting.value"] in REFEREES["ease"].Config().ridges
    assert report["settings"]["valid_auc"][f"{report['settings']['ridge']:g}"] == report["valid"]["auc"]
    assert (report["epochs"], report["stopped"]) == (0, "a referee is fitted once")
    cut = f"ease: histories are cut at data.history; {report['settings']['cut']:.1%} of the validation rows"
    assert [note for note in report["notes"] if note.startswith(cut)]
    assert "train.epochs, lr, " in (folder / "run.toml").read_text().splitlines()[0]


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("name", REFEREES)
def test_an_opened_run_predicts_what_evaluation_scored_bit_for_bit(name, logged, tmp_path, monkeypatch):
    trained = training.train(settings(name), tmp_path, world(logged))
    monkeypatch.setattr("hyperctr.runs.open.read_dataset", lambda run: world(logged))
    opened = open_run(tmp_path)
    scored = opened.prepared.scored(opened.model, "test")
    assert opened.prepared.measured(scored)["auc"] == trained["test"]["auc"]
    table = rows.table(opened.prepared, scored)
    user, item, time, query = (table[column].to_numpy() for column in (*table.columns[:3], "query"))
    found, notes = predict_rows(opened, user, item, time, query=query)
    assert found.tobytes() == table["probability"].to_numpy().tobytes() and not notes
    order = np.random.default_rng(1).permutation(len(table))
    shuffled, _ = predict_rows(opened, user[order], item[order], time[order])
    np.testing.assert_allclose(shuffled, found[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", REFEREES)
def test_unknown_users_and_items_get_the_score_of_no_clicks(finished, name):
    opened = open_run(finished(name))
    with pytest.warns(UserWarning, match="not in the data set"):
        found = opened.predict([-7, -8], [0, -9], at=[2_000_000_000] * 2)
    assert 0 < found.min() <= found.max() < 1
    assert found[0] == found[1] or name.startswith("trees")  # which read the item's own past


@pytest.mark.parametrize("name", REFEREES)
def test_no_change_of_the_future_moves_a_prediction(finished, name):
    found = audit.audit(open_run(finished(name)), rows=30, cuts=2)
    assert found.clean and found.control.moved > 0


@pytest.mark.parametrize("when", ["validation", "test rows"])
def test_a_killed_run_continues_to_the_same_report(tmp_path, when):
    def stop(batches, what, total):
        if what == when:
            raise KeyboardInterrupt
        yield from batches

    whole = training.train(settings(EASE), tmp_path / "whole", world())
    with pytest.raises(KeyboardInterrupt):
        training.train(settings(EASE), tmp_path / "killed", world(), progress=stop)
    assert not (tmp_path / "killed" / "report.json").exists()
    assert same(training.train(settings(EASE), tmp_path / "killed", world()), whole)
    for name in ("history.csv", "weights.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_referees_beside_a_model_have_the_scores_of_their_own_runs(finished):
    folder = finished("mf")
    run = config.read_run(folder / "run.toml")
    report = training.train(run, referees=True)
    assert [*report["referees"]] == [*REFEREES]
    for name, found in report["referees"].items():
        own = training.train(baseline(run, name, 0))
        assert found["settings"] == own["settings"]
        for part in ("valid", "test"):
            score = {key: own[part][key] for key in ("auc", "user_auc")}
            assert {key: found[part][key] for key in score} == score
    plain = read_json(folder / "report.json")
    assert "referees" not in plain and plain["test"]["auc"] == report["test"]["auc"]


def test_a_model_below_a_referee_is_said_to_be_below_it():
    def scores(area):
        return {"test": {"auc": area}, "valid": {"auc": area}}

    report = {"model": "din", "best_epoch": 1, "epochs": 2, **scores(0.7), "popularity": scores(0.6)}
    report["referees"] = {"ease": scores(0.75) | {"settings": {}}, "itemknn": scores(0.65) | {"settings": {}}}
    assert notes_of(report, ("click",), 9) == ["din is below ease: test AUC 0.7000, ease 0.7500"]
    assert notes_of(report, ("conversion",), 9) == []
    alike = {"model": "ease", "best_epoch": 0, "epochs": 0, **scores(0.5), "popularity": scores(0.5)}
    assert notes_of(alike | {"settings": {"ridge": 1.0, "cut": 0.0}}, ("click",), 9) == [
        "the model gives every row the same score; no earlier click of these users has anything to do with the item, "
        "by the training clicks"
    ]


def test_a_referee_that_cannot_fit_in_memory_is_refused_or_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(of_runs, "memory", lambda: 100_000)
    says = r"ease cannot be fitted: [\d,]+ clicks on \d+ items take [\d.]+ MB, and this machine has 0.1 MB; leave it"
    with pytest.raises(ValueError, match=says):
        training.train(settings(), tmp_path / "run", world())
    assert not (tmp_path / "run").exists()
    report = training.train(settings("mf"), dataset=world(), referees=True)
    assert "referees" not in report and sum("cannot be fitted" in note for note in report["notes"]) == len(REFEREES)


def test_the_plan_counts_what_is_fitted():
    found = plan.check(settings(), world())
    log = world().interactions
    train = training.prepare(settings(), world()).split.train
    items = len(np.unique(log.item[train][log.label[train] == 1]))
    assert [part.bytes for part in found.parts if part.name == "what is fitted"] == [24 * items**2]
    assert not [part for part in plan.check(settings("mf"), world()).parts if part.name == "what is fitted"]


@pytest.mark.parametrize("name", REFEREES)
def test_the_plan_and_the_keys_of_a_referee_speak_of_no_epochs(hyperctr, finished, name):
    data = config.read_run(finished("mf") / "run.toml").data.path
    code, said, err = hyperctr("plan", "--data", data, "--set", f"model.name={name}")
    assert code == 0, err
    last = said.strip().splitlines()[-2]
    assert last.startswith("a referee: fitted once on ") and ", about 1 s" in last and "steps" not in said
    keys = hyperctr("config", name)[1]
    assert config.read_run(tomllib.loads(keys.replace('path = ""', 'path = "x"'))).model_name == name
    train = keys.partition("\n[train]\n")[2].partition("\n[evaluate]\n")[0]
    found = [line.partition(" =")[0] for line in train.splitlines() if " =" in line and not line.startswith("#")]
    assert found == ["batch_size", "negatives", "seed", "threads"]


def test_the_plan_of_a_referee_grows_with_its_data():
    small, large = batch.TrainingCounts(1000, 900, 100, 10**5), batch.TrainingCounts(10**6, 10**6, 20_000, 10**8)
    for kind in REFEREES.values():
        few, many = (kind.seconds(kind.Config(), counts) for counts in (small, large))
        assert 0 < few < 10 < many


def test_a_fit_that_takes_long_again_when_it_is_opened_is_said(monkeypatch):
    said = "ease is fitted again each time that this run is opened: up to about "
    assert not [x for x in training.train(settings(EASE), dataset=world())["notes"] if x.startswith(said)]
    monkeypatch.setattr(REFEREES["ease"], "seconds", classmethod(lambda cls, config, counts: 90.0))
    assert said + "90 s" in training.train(settings(EASE), dataset=world())["notes"]


def test_a_wrapper_around_a_referee_is_refused():
    with pytest.raises(ValueError, match=r"aqcl changes how a model is trained; ease is a referee, .*leave out"):
        training.train(settings(wrapper={"name": "aqcl"}), dataset=world())


@pytest.mark.parametrize("name", REFEREES)
def test_a_referee_keeps_the_contract(name):
    assert [wrong for _, wrong in contract.check_model(name) if wrong] == []


def test_the_command_line_fits_predicts_and_lists_referees(hyperctr, finished, tmp_path):
    data = config.read_run(finished("mf") / "run.toml").data.path
    out, table = tmp_path / "run", tmp_path / "rows.parquet"
    code, said, noted = hyperctr("train", "--data", data, "--set", "model.name=transitions", "--out", out, "--referees")
    assert code == 0 and "fitted  valid AUC" in noted
    assert "chose decay" in said and "  ease" in said and "  itemknn" in said and "  transitions" not in said
    assert hyperctr("evaluate", out, "--out", table)[0] == 0
    assert hyperctr("predict", out, "--input", table, "--out", tmp_path / "scored.parquet")[0] == 0
    found = pl.read_parquet(tmp_path / "scored.parquet")
    assert (found["probability"] == found["probability_1"]).all()
    assert "itemknn" in hyperctr("models")[1]
    assert hyperctr("train", "--data", data, "--set", "model.name=esae")[2].strip().endswith("did you mean ease?")
