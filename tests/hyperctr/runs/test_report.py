"""The report of a run: documented, with popularity beside the model, and with what is unusual in words."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.evaluation import evaluate
from hyperctr.runs import report as reports
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run

DOCS = Path(__file__).parents[3] / "docs" / "report.md"


def run_of(path, model="din", **tables):
    train = {"epochs": 2, "batch_size": 256, "lr": 0.01, "threads": 1} | tables.pop("train", {})
    sizes = {"din": {"dim": 4, "hidden": [8]}, "lt4rec": {"hidden": [8, 8], "rounds": 1}}.get(model, {})
    whole = {"data": {"path": str(path), "history": 5}, "model": {"name": model, **sizes}, "train": train}
    return config.read_run(whole | tables)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and report of a finished run on clicks alone, whose negatives are drawn."""
    home = tmp_path_factory.mktemp("report")
    data = planted.write("group", home / "data", scale=0.03)
    text = (data / "dataset.toml").read_text()
    (data / "dataset.toml").write_text(text.replace("logged", "unobserved"))
    evaluation = {"negatives": 20, "valid_negatives": 20}
    return home / "run", training.train(run_of(data, evaluate=evaluation), home / "run")


def test_the_page_is_made_from_the_code():
    assert DOCS.read_text() == reports.schema(), "python -m hyperctr.runs.report > docs/report.md"


def test_every_key_and_score_of_a_report_is_documented(finished, tmp_path):
    found = [finished[1], training.train(run_of(planted.write("agree", tmp_path / "two", scale=0.03), "lt4rec"))]
    for report in found:
        assert set(report) <= set(reports.KEYS)
        scores = {**report["valid"], **report["test"]}
        assert [name for name in scores if not reports.is_documented(name)] == []
    everything = {key for report in found for key in report}
    at_times = {"wear", "sources", "sampled", "metrics", "split_note", "referees", "settings"}
    assert set(reports.KEYS) - everything <= at_times


def test_popularity_of_a_report_is_that_of_the_model_popularity(finished):
    folder, report = finished
    opened = open_run(folder)
    run = run_of(opened.prepared.run.data.path, "popularity", evaluate={"negatives": 20, "valid_negatives": 20})
    alone = training.train(run)
    for part in ("valid", "test"):
        for name in ("auc", "user_auc", "user_session_auc", "positive_auc"):
            assert report["popularity"][part][name] == pytest.approx(alone[part][name], abs=1e-6, nan_ok=True)


def test_a_model_below_popularity_and_a_rising_score_are_said_in_words():
    scores = {"auc": 0.6}
    report = {"best_epoch": 3, "epochs": 3, "model": "din", "valid": scores, "test": scores,
              "popularity": {"test": {"auc": 0.7}}}  # fmt: skip
    assert reports.notes_of(report, ("click",), 3) == [
        "the validation score was still rising at the last epoch: try train.epochs=6",
        "din is below popularity: test AUC 0.6000, popularity 0.7000",
    ]
    assert reports.notes_of(report | {"best_epoch": 2}, ("conversion",), 3) == []
    assert reports.notes_of(report | {"best_epoch": 2, "epochs": 2}, ("conversion",), 3) == []  # it stopped by itself
    same = report | {"valid": {"auc": 0.5}, "test": {"auc": 0.5}, "best_epoch": 1}
    assert reports.notes_of(same, ("click",), 3)[0].startswith("the model gives every row the same score")


def test_a_model_that_raises_one_of_auc_and_user_auc_is_said_to():
    report = {"best_epoch": 1, "epochs": 3, "model": "din", "valid": {"auc": 0.6}}
    report |= {"test": {"auc": 0.6, "user_auc": 0.5}, "popularity": {"test": {"auc": 0.55, "user_auc": 0.52}}}
    said = "against popularity din raises AUC by 0.0500 and lowers user AUC by 0.0200"
    assert reports.notes_of(report, ("click",), 3) == [said]
    assert reports.notes_of(report, ("conversion",), 3) == []
    higher = report | {"test": {"auc": 0.6, "user_auc": 0.53}}
    assert reports.notes_of(higher, ("click",), 3) == []
    reverse = report | {"test": {"auc": 0.54, "user_auc": 0.53}}
    assert reports.notes_of(reverse, ("click",), 3) == [
        "din is below popularity: test AUC 0.5400, popularity 0.5500",
        "against popularity din lowers AUC by 0.0100 and raises user AUC by 0.0100",
    ]


def test_items_never_clicked_before_and_the_best_constant_by_hand():
    scored = {
        "label": np.array([1, 0, 0, 1, 0], np.float32), "logit": np.array([2.0, 1, 0, -1, -2]),
        "user": np.zeros(5, np.int64), "item": np.array([0, 1, 0, 1, 1]), "query": np.arange(5),
        "clicks_before": np.array([0, 0, 3, 0, 1], np.float32),
    }  # fmt: skip
    seen = np.array([True]), np.array([True, True])
    found = evaluate.evaluate(scored, seen)
    assert found["cold_item_rows"] == 0 and found["unclicked_item_rows"] == 3
    assert found["unclicked_item_auc"] == 0.5 and found["unclicked_item_share"] == 0.6
    assert found["logloss_constant"] == pytest.approx(-(0.4 * math.log(0.4) + 0.6 * math.log(0.6)))


@pytest.mark.parametrize("text", ["", '{"test": {"auc": 0.', "[1]"])
def test_a_damaged_report_is_one_line(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match="report.json is damaged, it is no report of a run"):
        reports.read(tmp_path)


def test_a_report_of_an_older_version_with_the_word_nan_opens(finished):
    folder, report = finished
    (folder / "report.json").write_text(json.dumps(report))  # NaN, as json writes it
    assert math.isnan(reports.read(folder)["test"]["cold_user_auc"]) == math.isnan(report["test"]["cold_user_auc"])
