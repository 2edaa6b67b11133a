"""Several members of one run: the mean of the runs of their seeds, killed and continued, opened, and refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.runs.open import open_run
from hyperctr.runs.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(planted.write("drift", tmp_path_factory.mktemp("members") / "world", scale=0.02))


def settings(data, members=1, seed=0, name="din", **model):
    return config.read_run({
        "data": {"path": data, "history": 5},
        "model": {"name": name} | model,
        "train": {"epochs": 2, "seed": seed, "members": members, "threads": 1},
        "evaluate": {"negatives": 5, "valid_negatives": 5},
    })  # fmt: skip


def logits(folder):
    opened = open_run(folder)
    log = opened.prepared.dataset.interactions
    rows = opened.prepared.split.test[:40]
    batch = opened.prepared.loader.batch(rows)
    assert len(log) and len(batch) == 40
    return opened.model(batch).logit.detach().numpy()


def test_members_are_the_mean_of_the_runs_of_their_seeds(data, tmp_path):
    report = train(settings(data, members=2, seed=4), tmp_path / "both")
    for seed in (4, 5):
        train(settings(data, seed=seed), tmp_path / str(seed))
    one, other = (logits(tmp_path / str(seed)) for seed in (4, 5))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(logits(tmp_path / "both"), (one + other) / 2)
    assert report["stopped"] == "all 2 members are trained"
    assert sorted(path.name for path in (tmp_path / "both").iterdir() if path.name != ".lock") == sorted(
        path.name for path in (tmp_path / "4").iterdir() if path.name != ".lock"
    )


def test_members_that_were_killed_go_on_to_the_same_bits(data, tmp_path):
    class Killed(Exception):
        pass

    seen = []

    def kill(row):
        seen.append((row["member"], row["epoch"]))
        if seen[-1] == (1, 2):
            raise Killed

    run = settings(data, members=2)
    with pytest.raises(Killed):
        train(run, tmp_path / "killed", log=kill)
    seen.clear()
    train(run, tmp_path / "killed", log=lambda row: seen.append((row["member"], row["epoch"])))
    train(run, tmp_path / "whole")
    assert seen == [(1, 2)]
    for name in ("weights.safetensors", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    scores = [json.loads((tmp_path / name / "report.json").read_text())["test"] for name in ("killed", "whole")]
    assert scores[0] == scores[1]


def test_what_is_not_trained_from_a_seed_has_no_members(data):
    for name, words in (("ease", "ease is a referee"), ("lt4rec", "the masks of lt4rec are found for one")):
        with pytest.raises(ValueError, match=words):
            train(settings(data, members=2, name=name))
    with pytest.raises(ValueError, match="train.members must be at least 1, got 0"):
        replace(settings(data).train, members=0)
