"""A model, its loss and a metric from a file outside the package: everything works with it from the command line."""

import csv
import json
import warnings

import polars as pl
import pytest

from hyperctr import open_run
from hyperctr.data import planted

MINE = '''\
from dataclasses import dataclass

import torch
from torch import nn

from hyperctr import Batch, Output


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 8
    depth: int = 1


class Mine(nn.Module):
    """The candidate's vector times a network on the mean of the user's clicks, with a squared error."""

    Config, reads, tasks = Config, frozenset(), ("click",)

    def __init__(self, config, tables):
        super().__init__()
        self.item = nn.Embedding(tables.ids.num_items + 1, config.dim)
        self.net = nn.Sequential(*(nn.Linear(config.dim, config.dim) for _ in range(config.depth)))

    def forward(self, batch: Batch) -> Output:
        past = batch.histories
        mean = (self.item(past.item) * past.mask[:, :, None]).sum(1) / past.mask.sum(1, keepdim=True).clamp(min=1)
        logit = (batch.expand_to_rows(self.net(mean)) * self.item(batch.item)).sum(1)
        return Output(logit, loss=(torch.sigmoid(logit) - batch.label).square().mean())
'''
METRIC = """
def precision(labels, scores, users):
    return labels[scores >= 0.5].mean() if (scores >= 0.5).any() else 0.0
"""
SHORT = ("--set", "train.epochs=2", "--set", "train.threads=1", "--set", "model.name=mine.py:Mine")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a small world, a model and a metric."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    planted.write("drift", tmp_path / "world", scale=0.02)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "measures.py").write_text(METRIC)
    return tmp_path


def test_a_model_and_a_metric_of_thirty_lines_do_all_that_a_built_in_one_does(here, hyperctr):
    assert len(MINE.splitlines()) <= 30
    own = ("--set", 'evaluate.metrics=["measures.py:precision"]', "--set", "train.score=measures:precision")
    code, out, err = hyperctr("train", "--data", "world", *SHORT, *own, "--out", "runs/mine")
    assert code == 0 and "precision" in out, err
    report = json.loads((here / "runs/mine/report.json").read_text())
    assert report["model"] == "mine.py:Mine" and 0 <= report["test"]["precision"] <= 1
    history = list(csv.DictReader((here / "runs/mine/history.csv").open()))
    scores = [float(row["valid_precision"]) for row in history]
    assert float(history[-1]["best_epoch"]) == 1 + scores.index(max(scores))  # the metric decides which epoch is kept
    code, out, _ = hyperctr("evaluate", "runs/mine", "--json")
    assert code == 0 and json.loads(out)["test"]["precision"] == report["test"]["precision"]
    pl.DataFrame({"user_id": [0, 1], "item_id": [1, 2], "timestamp": [2 * 10**9] * 2}).write_csv(here / "rows.csv")
    code, out, err = hyperctr("predict", "runs/mine", "--input", "rows.csv", "--output", "scored.csv")
    assert code == 0 and pl.read_csv(here / "scored.csv")["probability"].is_between(0, 1).all(), err
    few = ("--no-referees",)
    code, out, err = hyperctr("sweep", "--data", "world", *SHORT, "--every", "30d", "--depth", "1,2", "--jobs", 2, *few)
    assert code == 0 and "| 30d" in out, err
    assert (here / "sweep/runs/Mine-every-30d-depth-2-seed-0/report.json").exists()
    code, out, _ = hyperctr("models", "check", "mine.py:Mine")
    assert code == 0 and "keeps the contract" in out
    code, out, _ = hyperctr("models", "check", "icl", "--wrapper")
    assert code == 0 and "icl keeps the contract of a wrapper" in out


def test_a_source_that_has_changed_since_the_training_is_said(here, hyperctr):
    assert hyperctr("train", "--data", "world", *SHORT, "--out", "runs/mine")[0] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_run("runs/mine")
    (here / "mine.py").write_text(MINE + "# changed\n")
    with pytest.warns(UserWarning, match="mine.py:Mine is not the source that runs/mine was trained with"):
        open_run("runs/mine")
    code, _, err = hyperctr("train", "--data", "world", *SHORT, "--set", "train.score=measures.py:recall")
    assert code == 2 and "train.score: measures.py has no recall" in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Config, reads, tasks = Config, frozenset(), ", "Config, tasks = Config, ", "mine.py:Mine has no reads"),
        ("frozenset()", 'frozenset({"graphs"})', "reads of mine.py:Mine must be a frozenset of names among slices,"),
        ("frozen=True, ", "", "Config of mine.py:Mine must be a frozen dataclass"),
        ('("click",)', '"click"', 'tasks of mine.py:Mine must be ("click",) or ("click", "conversion")'),
        ("class Mine(nn.Module)", "class Mine", "mine.py:Mine must be a class derived from torch.nn.Module"),
        ("class Mine(", "class Mein(", "mine.py has no Mine, did you mean Mein?"),
    ],
)
def test_a_class_that_lacks_a_part_of_the_contract_is_refused_in_one_line(here, hyperctr, old, new, message):
    (here / "mine.py").write_text(MINE.replace(old, new))
    code, out, err = hyperctr("train", "--data", "world", *SHORT)
    assert code == 2 and message in err and err.count("\n") == 1 and not (here / "runs").exists()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("measures.py:recall", "evaluate.metrics: measures.py has no recall"),
        ("other.py:precision", "evaluate.metrics: there is no file other.py"),
        ("precision", 'evaluate.metrics must be distinct functions like "mine.py:metric", got ["precision"]'),
    ],
)
def test_a_metric_that_is_not_there_is_named_before_the_training(here, hyperctr, metric, message):
    code, out, err = hyperctr("train", "--data", "world", *SHORT, "--set", f'evaluate.metrics=["{metric}"]')
    assert code == 2 and message in err and "epoch 1" not in err


def test_a_stopping_score_that_is_no_number_is_one_line(here, hyperctr):
    (here / "measures.py").write_text("def precision(labels, scores, users):\n    return float('nan')\n")
    code, out, err = hyperctr("train", "--data", "world", *SHORT, "--set", "train.score=measures.py:precision")
    assert code == 2 and "train.score: measures.py:precision is not a number on the validation rows" in err
