"""The ablation and the study of depth: which runs they compare, and what they say of a part that gives nothing."""

from types import SimpleNamespace

import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.studies import bench, find
from hyperctr.studies.hyperctr import parts
from hyperctr.studies.study import Setup

NO_MODALITIES = SimpleNamespace(items=SimpleNamespace(modalities={}))
WITH = SimpleNamespace(items=SimpleNamespace(modalities={"image": None}))


def setup(name, *sets, preset="hyperctr-best"):
    return Setup(find(name), config.read_run({"data": {"path": "there"}}, sets, preset))


def runs_of(asked, dataset=WITH):
    return {row.name: bench.run_of(asked.base, row, 0) for row in asked.study.rows(asked, dataset)}


def test_each_row_of_the_ablation_changes_one_part():
    asked = setup("ablation", "model.depth=1")
    runs = runs_of(asked)
    first, *rest = runs.values()
    assert first == bench.seeded(asked.base, 0) and all(run != first for run in rest)
    past = {name: set(run.data.past) for name, run in runs.items() if run.data.past != "all"}
    assert past == {
        "no links": {"counts", "content"},
        "no counts": {"content", "links"},
        "no cosines of content": {"counts", "links"},
    }
    assert (runs["no GRU over the clicks"].model.gru, runs["no second branch"].model.branch) == (False, "none")
    assert runs["three members"].train.members == 3 and not runs["no attention over the clicks"].model.attend
    assert "depth 1" not in runs and (runs["depth 0"].model.depth, runs["depth 3"].model.depth) == (0, 3)
    assert {row.over for row in asked.study.rows(asked, WITH)} == {"", parts.WHOLE}


def test_the_ablation_leaves_out_rows_that_would_change_nothing():
    assert "no cosines of content" not in runs_of(setup("ablation"), NO_MODALITIES)
    names = [*runs_of(setup("ablation", preset="hyperctr-paper"))]
    assert not {"no links", "no counts", "no second branch", "no attention over the clicks"} & {*names}


def test_the_study_of_depth_crosses_links_depth_and_hyperedges():
    asked = setup("depth")
    runs = runs_of(asked)
    found = [(run.data.past == "all", run.model.depth, run.slices.span) for run in runs.values()]
    assert found == [
        (links, depth, span)
        for links in (True, False)
        for depth, span in [(0, "slice"), (1, "slice"), (3, "slice"), (1, "past"), (3, "past")]
    ]
    rows = {row.name: row.over for row in asked.study.rows(asked, WITH)}
    assert rows["links, depth 0"] == "" and rows["no links, depth 0"] == "links, depth 0"
    assert rows["no links, depth 3, hyperedges of the past"] == "no links, depth 0"
    with pytest.raises(ValueError, match="depth compares runs with and without links, the run reads none"):
        runs_of(setup("depth", preset="hyperctr-paper"))


def test_without_a_run_file_the_preset_best_is_studied_and_the_report_says_what_gives_nothing(
    tmp_path, stand_in, hyperctr
):
    def work(run, folder):
        auc = 0.7 + run.train.seed / 1000 - 0.02 * ("links" not in run.data.past and run.data.past != "all")
        auc += 0.002 * (run.model.depth == 3) * (run.train.seed - 1)
        scores = {key: auc for key in ("auc", "auc_low", "auc_high", "user_auc", "positive_auc", "logloss",
                                       "logloss_1to1")} | {"rows": 9}  # fmt: skip
        return {"data": "x", "split": "temporal", "leaky": False, "best_epoch": 1, "seconds": 1.0, "test": scores,
                "valid": {"auc": auc}}  # fmt: skip

    done = stand_in(work)
    world = planted.write("drift", tmp_path / "world", scale=0.02)
    words = ("bench", "depth", "--data", world, "--seeds", "3", "--no-referees", "--out", tmp_path / "out")
    code, out, err = hyperctr(*words)
    assert code == 0, err
    assert len(done) == 10 * 3 and config.read_run(tmp_path / "out" / "base.toml").model.attend
    assert "- no links, depth 0 is worse than links, depth 0: -0.0200 [-0.0200, -0.0200], n=3" in out
    assert "- links, depth 3, hyperedges of the slice gives nothing over links, depth 0: " in out
