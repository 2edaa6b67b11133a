"""The scored test rows as a file: every row once, in the data's own ids, with the probability that predict gives."""

import numpy as np
import polars as pl
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.evaluation.metrics import auc
from hyperctr.runs import train as training
from hyperctr.runs.open import open_run


@pytest.fixture(scope="module", params=["logged", "unobserved"])
def finished(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("rows")
    data = planted.write("drift", home / "data", scale=0.03)
    text = (data / "dataset.toml").read_text()
    (data / "dataset.toml").write_text(text.replace("logged", request.param))
    tables = {"data": {"path": str(data), "history": 5}, "model": {"name": "din", "dim": 4, "hidden": [8]}}
    more = {"train": {"epochs": 1, "threads": 1}, "evaluate": {"negatives": 9, "valid_negatives": 9}}
    return home / "run", training.train(config.read_run(tables | more), home / "run"), request.param == "unobserved"


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv"])
def test_each_test_row_is_written_with_its_score(finished, name, tmp_path, hyperctr):
    folder, report, drawn = finished
    code, _, err = hyperctr("evaluate", folder, "--out", tmp_path / name)
    found = (pl.read_parquet if name.endswith("parquet") else pl.read_csv)(tmp_path / name)
    assert code == 0 and f"{len(found):,} test rows" in err
    assert ("first_appearance" in found.columns) == drawn
    every = found
    if drawn:  # first appearances are written, and are in no score but their own
        found = every.filter(~pl.col("first_appearance"))
        assert len(every) - len(found) == report["test"]["first_rows"] > report["test"]["first_positives"] > 0
    assert len(found) == report["test"]["rows"] and found["label"].sum() == report["test"]["positives"]
    assert auc(found["label"].to_numpy(), found["probability"].to_numpy()) == pytest.approx(
        report["test"]["auc"],
        abs=2e-5,  # float32 probabilities may tie where logits differ
    )
    assert found["drawn"].to_list() == [drawn and not label for label in found["label"]]
    opened = open_run(folder)
    log, test = opened.prepared.dataset.interactions, opened.prepared.split.test
    logged = every.filter(~pl.col("drawn"))
    assert logged["timestamp"].to_list() == (log.time[test] // 1_000_000).tolist()
    assert logged["user_id"].to_list() == opened.prepared.dataset.users.ids[log.user[test]].tolist()


def test_predict_on_the_file_gives_its_scores(finished, tmp_path, hyperctr):
    assert hyperctr("evaluate", finished[0], "--out", tmp_path / "scores.parquet")[0] == 0
    there = ("--input", tmp_path / "scores.parquet", "--out", tmp_path / "again.parquet")
    code, _, err = hyperctr("predict", finished[0], *there)
    if "probability" in err and code:  # a column of this name is refused by some readers
        pytest.skip(err)
    assert code == 0, err
    before, again = pl.read_parquet(tmp_path / "scores.parquet"), pl.read_parquet(tmp_path / "again.parquet")
    names = [name for name in again.columns if name.startswith("probability")]
    np.testing.assert_allclose(again[names[-1]].to_numpy(), before["probability"].to_numpy(), atol=1e-6)


def test_a_file_of_another_kind_is_refused_before_anything_is_read(tmp_path, hyperctr):
    code, _, err = hyperctr("evaluate", tmp_path / "none", "--out", tmp_path / "scores.xlsx")
    assert code == 2 and "--out writes .csv or .parquet, got" in err and err.count("\n") == 1
