"""Learning on data whose answer is known: nothing is found in noise, and nobody passes the ceiling."""

from functools import cache

import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.runs.prepare import prepare
from hyperctr.runs.train import train

SETTINGS = {
    "popularity": {"train": {"epochs": 1, "lr": 0.05}, "model": {}},
    "mf": {"train": {"epochs": 10, "lr": 0.003}, "model": {"dim": 8}},
    "hyperctr": {"train": {"epochs": 3, "lr": 0.01}, "model": {"dim": 8, "depth": 1, "hidden": [16, 8]}},
}


@cache
def trained(model, preset):
    world = planted.planted(preset, seed=1, scale=0.2)
    tables = {
        "data": {"path": preset, "history": 10},
        "slices": {"every": "30d"},
        "model": {"name": model, **SETTINGS[model]["model"]},
        "train": {**SETTINGS[model]["train"], "threads": 1},
    }
    run = config.read_run(tables)
    test = prepare(run, world.dataset).split.test
    return world, test, train(run, None, world.dataset)["test"]


@pytest.mark.parametrize("model", SETTINGS)
def test_noise_gives_an_auc_of_one_half(model):
    scores = trained(model, "noise")[2]
    deviation = (scores["auc_high"] - scores["auc_low"]) / 2 / 1.96
    assert deviation < 0.02
    assert abs(scores["auc"] - 0.5) < 3 * deviation


@pytest.mark.parametrize("model", SETTINGS)
def test_ceiling_is_above_every_model(model):
    world, test, scores = trained(model, "drift")
    assert world.ceiling(test) > scores["auc_high"]


def test_hyperctr_finds_the_planted_interests():
    assert trained("hyperctr", "drift")[2]["auc_low"] > trained("popularity", "drift")[2]["auc_high"]
