"""LT4REC's studies: which runs they are, verdicts by hand, what is told of masks and ranks, and real ones."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.read import read
from hyperctr.evaluation.metrics import rank_score
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import figures
from hyperctr.runs import parallel
from hyperctr.studies import bench, find
from hyperctr.studies import facts as about
from hyperctr.studies.bench import Options
from hyperctr.studies.lt4rec import paper_numbers, replay, setting, table2
from hyperctr.studies.study import Scores, Setup

SMALL = {"name": "lt4rec", "dim": 4, "hidden": [8, 6], "rounds": 2, "least": 0.0}
ERROR = {"shared_bottom": 0.20, "esmm": 0.21, "mmoe": 0.20, "lt4rec": 0.19}


def base(path=".", model=SMALL, **tables):
    return config.read_run({"data": {"path": str(path), "history": 5}, "model": model, **tables})


def rows(name, values=(), **tables):
    data = SimpleNamespace(interactions=SimpleNamespace(conversion=1, length=1, logged_non_clicks=True))
    return find(name).rows(Setup(find(name), base(**tables), find(name).values(values)), data)


def reported(run):
    """What a run might report: scores by its model, a little more with every seed; LT4REC also its masks."""
    seed, name, c = run.train.seed, run.model_name, run.model
    auc = {"popularity": 0.6, "lt4rec": 0.715}.get(name, 0.7) + 0.001 * seed
    error = ERROR.get(name, math.nan) * (1 + 0.001 * (seed % 2))
    tasks = getattr(c, "tasks", "both")
    if getattr(c, "shuffle", False):
        auc, error = auc - 0.02, error + 0.01
    if tasks == "click":
        error = math.nan
    if tasks == "conversion":
        auc = 0.5
    test = {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "user_auc": 0.6, "positive_auc": math.nan,
            "logloss": 0.1, "logloss_1to1": 0.6, "rows": 100}  # fmt: skip
    if name != "popularity":
        test |= {"cvr_mse": error, "cvr_auc": 0.6, "ctcvr_auc": 0.65, "cvr_variance": 0.22}
    found = {"data": "planted-conflict", "split": run.split.kind, "leaky": run.split.kind != "temporal",
             "best_epoch": 1, "seconds": 2.0, "test": test, "valid": {"auc": auc, "cvr_mse": error}}  # fmt: skip
    if name == "lt4rec":
        left = [1.0, 0.45, 0.2]
        clicks = [auc - 0.02 * k * c.shuffle for k in range(3)]
        found["searched"] = c.searches
        found["tickets"] = {
            task: {"best": 1, "rounds": [{"round": k, "density": left[k], "score": sign * clicks[k]} for k in range(3)]}
            for task, sign in (("click", 1), ("conversion", -0.3))
        }
        layer = {"weights": 10, "shared": 0.1, "click": 0.2, "conversion": 0.3, "dead": 0.4, "jaccard": 1 / 6,
                 "ratio": 0.83}  # fmt: skip
        found["overlap"] = [{"layer": 0} | layer, {"layer": "all"} | layer | {"shared": 0.1 + 0.1 * c.shuffle}]
    return found


class Trainer:
    """Stands in for the processes: gives reports at once, or trains in this process."""

    def __init__(self, work=None):
        self.work, self.done, self.fails = work, [], set()

    def run_all(self, cells, jobs, watch, ended):
        for name, (run, folder) in cells.items():
            self.done.append(name)
            if name in self.fails:
                ended(name, RuntimeError("its process was killed"))
                continue
            got = self.work(run, folder) if self.work else reported(run)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "report.json").write_text(json.dumps(got))
            ended(name, got)


@pytest.fixture
def trainer(monkeypatch):
    found = Trainer()
    monkeypatch.setattr(parallel, "run_all", found.run_all)
    monkeypatch.setattr(about, "commit", lambda: None)
    monkeypatch.setattr(figures, "save", lambda figure, path: path.write_bytes(b"png"))
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("conflict", tmp_path_factory.mktemp("world") / "conflict", scale=0.03)


def run(name, where, out, values=(), seeds=3, only=(), **tables):
    said, options = [], Options(values=values, seeds=seeds, rows=only, referees=False)
    return bench.run(find(name), base(where, **tables), out, options, say=said.append), said


# --- which runs ----------------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_papers_tables_and_their_controls():
    names = [row.name for row in rows("lt4rec-table2")]
    assert names == [
        "popularity", "base_ctr", "base_cvr", "hard_sharing", "ESMM", "MMoE", "s-weight", "s-weight at 20 %",
        "random masks at 20 %", "fresh weights at 20 %", "s-neuron", "s-weight with joint steps",
        "s-weight-taskbalance with b = 3", "s-weight-gradientconflict", "s-weight-multiview", "s-weight-biggernet",
        "s-weight-tuning with b = 3",
    ]  # fmt: skip
    assert {name for name in paper_numbers.TABLE2.rows} <= {name.partition(" with b")[0] for name in names}
    assert not [name for name in names if "," in name]  # --rows separates them by commas
    assert [row.name for row in rows("lt4rec-fig4")] == ["s-weight", "random masks"]
    assert [row.name for row in rows("lt4rec-replay")] == ["base_ctr", "base_cvr", "hard_sharing", "s-weight"]
    more = [row.name for row in rows("lt4rec-table2", ["5", "1.5"])]
    assert [name for name in more if "b = " in name] == [
        "s-weight-taskbalance with b = 1.5", "s-weight-taskbalance with b = 5", "s-weight-tuning with b = 1.5",
        "s-weight-tuning with b = 5",
    ]  # fmt: skip


def test_what_each_row_changes_in_the_run(tmp_path):
    start = base(model=SMALL | {"keep": 0.3, "b": 2.0})
    found = rows("lt4rec-table2", ["3"], model=SMALL | {"keep": 0.3, "b": 2.0})
    made = {row.name: bench.run_of(start, row, 4, tmp_path) for row in found}
    c = {name: run.model for name, run in made.items()}
    assert all(run.train.seed == 4 for run in made.values())
    assert (c["base_ctr"].tasks, c["base_cvr"].tasks, c["hard_sharing"].tasks) == ("click", "conversion", "both")
    for name in ("base_ctr", "hard_sharing", "ESMM", "MMoE"):  # the base's own sizes
        assert (c[name].dim, c[name].hidden, c[name].b) == (4, (8, 6), 2.0)
    assert (c["s-weight"].masks, c["s-neuron"].granularity, c["s-neuron"].masks) == ("", "neuron", "")
    assert c["s-weight-biggernet"].hidden == (16, 12) and c["s-weight-multiview"].extra == 8
    assert (c["s-weight at 30 %"].round, c["s-weight at 30 %"].shuffle) == (2, False)
    assert (c["random masks at 30 %"].round, c["random masks at 30 %"].shuffle) == (2, True)
    assert {name for name, x in c.items() if not getattr(x, "rewind", True)} == {"fresh weights at 30 %"}
    tuned = c["s-weight-tuning with b = 3"]
    assert (tuned.b, tuned.kappa, tuned.steps) == (3.0, 5.0, "joint")
    reuse = {name for name, x in c.items() if getattr(x, "masks", "")}
    assert reuse == {
        name
        for name in c
        if name.startswith(("s-weight at", "s-weight with", "random", "fresh", "s-weight-t", "s-weight-g"))
    }
    assert {c[name].masks for name in reuse} == {str(tmp_path / "runs" / "s-weight-seed-4")}


def test_masks_that_are_given_go_to_all_rows_that_can_wear_them():
    found = rows("lt4rec-table2", model=SMALL | {"masks": "yesterday"})
    runs = {row.name: bench.run_of(base(model=SMALL | {"masks": "yesterday"}), row, 0) for row in found}
    given = {name for name, run in runs.items() if getattr(run.model, "masks", "") == "yesterday"}
    assert given == {
        "s-weight", "s-weight at 20 %", "random masks at 20 %", "fresh weights at 20 %", "s-weight with joint steps",
        "s-weight-taskbalance with b = 3", "s-weight-gradientconflict", "s-weight-tuning with b = 3",
    }  # fmt: skip
    assert not any(row.after for row in found)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("lt4rec-fig4", ["1"], "the rows of lt4rec-fig4 are fixed, it takes no --values"),
        ("lt4rec-table2", ["3", "x"], "--values of lt4rec-table2 are numbers above 0 separated by commas, got 'x'"),
        ("lt4rec-table2", ["-1"], "numbers above 0 separated by commas, got '-1'"),
    ],
)
def test_values_that_cannot_be_are_refused(world, tmp_path, name, values, says):
    with pytest.raises(ValueError, match=says):
        run(name, world, tmp_path, values)


def test_runs_and_data_that_do_not_fit_are_refused_before_anything_trains(trainer, tmp_path, world):
    with pytest.raises(ValueError, match="lt4rec-table2 studies lt4rec, the run names mf"):
        run("lt4rec-table2", world, tmp_path / "out", model={"name": "mf"})
    silent = planted.write("drift", tmp_path / "drift", scale=0.02)
    with pytest.raises(ValueError, match="needs what follows a click, of which planted-drift says nothing"):
        run("lt4rec-table2", silent, tmp_path / "out")
    toml = (silent / "dataset.toml").read_text()
    (silent / "dataset.toml").write_text(toml.replace("[interactions]", '[interactions]\nconversion = "click"', 1))
    with pytest.raises(ValueError, match="ranks logged impressions .* lacks the latter: name its column with length"):
        run("lt4rec-replay", silent, tmp_path / "out")
    assert trainer.done == []


# --- verdicts --------------------------------------------------------------------------------------------------------


def scored(column, *values):
    return [{"seed": seed, column: value} for seed, value in enumerate(values)]


def test_gains_by_hand():
    runs = {"a": scored("auc", 0.71, 0.72, 0.73, math.nan), "b": scored("auc", 0.70, 0.70, 0.70, 0.7)}
    value = setting.gain(runs, "a", "b")  # .01 .02 .03: mean .02, sd .01
    assert (value.mean, value.half, value.num) == (pytest.approx(0.02), pytest.approx(0.0248414, rel=1e-5), 3)
    runs = {"a": scored("cvr_mse", 0.11, 0.12), "b": scored("cvr_mse", 0.10, 0.10)}
    assert setting.gain(runs, "a", "b", "cvr_mse").mean == pytest.approx(0.15)  # a share of the error
    assert setting.gain(runs, "a", "none", "cvr_mse").num == 0


@pytest.mark.parametrize(
    ("rule", "value", "amount", "verdict"),
    [
        ("not_below", Score(-0.001, 0.0005, 5), 0.002, "reproduced"),
        ("not_below", Score(-0.001, 0.002, 5), 0.002, "inconclusive"),
        ("not_below", Score(-0.004, 0.001, 5), 0.002, "contradicted"),
        ("not_below", Score(0.004, 0.001, 2), 0.002, "inconclusive"),
        ("reaches", Score(0.0031, 0.001, 5), 0.003, "reproduced"),
        ("reaches", Score(0.0031, 0.004, 5), 0.003, "inconclusive"),
        ("reaches", Score(0.001, 0.0021, 5), 0.003, "inconclusive"),  # the interval holds the paper's size
        ("reaches", Score(0.001, 0.001, 5), 0.003, "contradicted"),
        ("reaches", Score(0.01, 0.001, 2), 0.003, "inconclusive"),
    ],
)
def test_verdicts_by_the_rules(rule, value, amount, verdict):
    assert getattr(setting, rule)(amount)(value) == verdict


def test_the_paper_s_numbers_stand_beside_its_own_rows_alone():
    assert paper_numbers.of("s-weight") == (0.78874, 0.13226)
    assert paper_numbers.of("s-weight-taskbalance with b = 1.5") == (0.78740, 0.13193)
    assert paper_numbers.of("s-weight at 20 %") == paper_numbers.of("ESMM") == (None, None)
    error = {row: paper_numbers.of(row)[1] for row in ("base_cvr", "s-weight", "s-neuron")}
    assert error["s-weight"] / error["base_cvr"] - 1 == pytest.approx(-table2.ERROR_GAIN, abs=1e-4)
    assert error["s-neuron"] / error["s-weight"] - 1 == pytest.approx(0.0231, abs=1e-4)


# --- the bench -------------------------------------------------------------------------------------------------------


def test_table_2_is_told_with_verdicts_masks_and_the_papers_columns(trainer, tmp_path, world):
    found, _ = run("lt4rec-table2", world, tmp_path)
    own = trainer.done.index("s-weight seed=2")
    assert all(own < trainer.done.index(f"s-weight at 20 - seed={k}") for k in range(3))  # tickets come first
    verdict = {c["claim"]: c["verdict"] for c in found["claims"]}
    assert verdict["with 20 % of the weights s-weight loses at most 0.002 of base_ctr's AUC"] == "reproduced"
    assert verdict["with 20 % of the weights s-weight has an error at most 0.5% above base_cvr's"] == "reproduced"
    assert verdict["s-weight gains 0.003 in AUC over base_ctr"] == "reproduced"
    assert verdict["s-weight's error is 3.38% below base_cvr's"] == "reproduced"  # .19 / .20
    random = [v for claim, v in verdict.items() if "drawn at random" in claim]
    assert random == ["reproduced", "reproduced"]
    neuron = next(c for c in found["claims"] if "s-neuron" in c["claim"])
    assert neuron["here"].startswith("+0.00 ± 0.00 % more") and neuron["verdict"] == "reproduced"
    text = (tmp_path / "report.md").read_text()
    assert "the paper: AUC" in text and "0.78874" in text and "0.13226 (-3.38%)" in text
    line = next(line for line in text.splitlines() if line.startswith("| s-weight  "))
    assert "| 0.7160 ± 0.0025 | +0.0150 ± 0.0000 |" in line and "-5.00 ± 0.00 %" in line
    assert "the best constant, their variance, is 0.2200" in text and "has not learned" not in text
    conversions = next(row for row in found["rows"] if row["row"] == "base_cvr")
    assert conversions["auc"] is None and conversions["cvr_mse"] is not None  # it says nothing of clicks
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "lt4rec-table2.png", "lt4rec-table2-masks.png", "lt4rec-table2-rounds.png"
    }  # fmt: skip
    assert {m["row"] for m in found["masks"]} == {"s-weight", "random masks at 20 %"}  # others wear the same
    table = [*csv.DictReader((tmp_path / "table.csv").open())]
    assert [row["row"] for row in table] == [row["row"] for row in found["rows"]] and table[6]["paper auc"] == "0.78874"


def test_what_failed_runs_again_and_what_is_done_does_not(trainer, tmp_path, world):
    trainer.fails = {"s-weight seed=0"}
    found, _ = run("lt4rec-fig4", world, tmp_path, seeds=1)
    assert found["failed"] == ["s-weight, seed 0: failed: its process was killed"]
    trainer.fails, trainer.done = set(), []
    found, said = run("lt4rec-fig4", world, tmp_path, seeds=1)
    assert trainer.done == ["s-weight seed=0"] and said[0] == "1 of 2 runs are done already, 1 to go"
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    run("lt4rec-fig4", world, moved, seeds=1)
    assert trainer.done == ["s-weight seed=0"]  # where the tickets lie is no other setting
    with pytest.raises(ValueError, match="holds the bench lt4rec-fig4 over another base run"):
        run("lt4rec-fig4", world, moved, seeds=1, model=SMALL | {"keep": 0.3})


def test_rounds_are_told_of_the_runs_that_went_through_them(trainer, tmp_path, world):
    found, _ = run("lt4rec-table2", world, tmp_path, only=["s-neuron", "random masks at 20 %"])
    assert {r["row"] for r in found["rounds"]} == {"s-weight", "s-neuron"}  # those with masks of another run wear them


def test_a_later_call_for_other_rows_loses_no_masks(trainer, tmp_path, world):
    run("lt4rec-table2", world, tmp_path, only=["s-weight"])
    before = (tmp_path / "masks.csv").read_text(), (tmp_path / "rounds.csv").read_text()
    shutil.rmtree(tmp_path / "runs")
    run("lt4rec-table2", world, tmp_path, only=["ESMM"])
    assert before == ((tmp_path / "masks.csv").read_text(), (tmp_path / "rounds.csv").read_text())
    found, _ = run("lt4rec-table2", world, tmp_path, only=["s-neuron"])
    assert {m["row"] for m in found["masks"]} == {"s-weight"} and {r["n"] for r in found["rounds"]} == {3}


def test_figure_4_is_told_by_round_and_compared_with_random_masks(trainer, tmp_path, world):
    found, _ = run("lt4rec-fig4", world, tmp_path)
    shown, falls, *tickets = found["claims"]
    assert shown["verdict"] == falls["verdict"] == "not judged"
    assert shown["here"].startswith("100.00 %: 0.7160; 45.00 %")
    assert [c["verdict"] for c in tickets] == ["reproduced", "contradicted"]  # as the made up scores have it
    last = [r for r in found["rounds"] if (r["row"], r["task"], r["round"]) == ("random masks", "click", 2)]
    assert last[0]["score"] == pytest.approx(0.716 - 0.02 - 0.04) and last[0]["n"] == 3
    assert (tmp_path / "lt4rec-fig4.png").exists() and (tmp_path / "rounds.csv").exists()


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_ranks_the_impressions_of_each_user_and_day(world):
    log = read(world).interactions
    test, rng = np.arange(len(log))[-120:], np.random.default_rng(0)
    logits = {name: {"logit": rng.normal(size=120), "conversion_logit": rng.normal(size=120)}
              for name in ("base_ctr", "base_cvr", "hard_sharing", "s-weight")}  # fmt: skip
    found = replay.ranks(log, test, logits)
    groups = {}
    for k, row in enumerate(test):
        groups.setdefault((log.user[row], log.time[row] // 86_400_000_000), []).append((k, row))
    for name, (click, conversion) in replay.RANKED.items():
        for top in (1, 3, 5):
            seen = []
            for some in groups.values():
                if len(some) < top:
                    continue
                score = rank_score([logits[click]["logit"][k] for k, _ in some],
                                   [logits[conversion]["conversion_logit"][k] for k, _ in some],
                                   [log.length[row] for _, row in some])  # fmt: skip
                first = sorted(range(len(some)), key=lambda j: -score[j])[:top]
                seen += [log.label[some[j][1]] * log.conversion[some[j][1]] * log.length[some[j][1]] for j in first]
            slow = np.mean(seen) if seen else math.nan
            assert found[name][f"top {top}"] == pytest.approx(slow, rel=1e-5, nan_ok=True)
    means = [np.mean([log.label[r] * log.conversion[r] * log.length[r] for _, r in some]) for some in groups.values()]
    assert found["any order"]["top 1"] == pytest.approx(np.mean(means), rel=1e-5)


def test_impressions_whose_watching_is_not_known_are_left_out(world):
    from dataclasses import replace

    log = read(world).interactions
    test, flat = np.arange(len(log)), {"logit": np.zeros(len(log)), "conversion_logit": np.zeros(len(log))}
    logits = dict.fromkeys(("base_ctr", "base_cvr", "hard_sharing", "s-weight"), flat)
    unknown = np.where(np.arange(len(log)) % 3 == 0, np.nan, log.conversion)
    without = replay.ranks(replace(log, conversion=unknown), test, logits)
    kept = test[~(np.isnan(unknown) & (log.label == 1))]
    fewer = {name: {key: x[kept] for key, x in each.items()} for name, each in logits.items()}
    assert without == replay.ranks(log, kept, fewer)


def scores_of(lines):
    return Scores(replay.STUDY, {"rows": []}, {}, {"replay": lines})


def test_the_replay_is_judged_by_its_sign_and_says_that_it_is_biased(tmp_path):
    lines = [{"row": name, "seed": seed, "top 1": value + seed, "top 3": 1.0, "top 5": math.nan}
             for name, value in zip(replay.RANKED, (100.0, 97.0, 100.1, 103.0), strict=True)
             for seed in range(3)]  # fmt: skip
    hard, weight, both = replay.judge_order(scores_of(lines))
    assert (hard.verdict, weight.verdict, both.verdict) == ("reproduced", "reproduced", "reproduced")
    assert "-1.97% against base_ctr * base_cvr * length" in hard.claim and "biased by the policy" in hard.claim
    assert hard.here.startswith("-2.9")
    third = "base_ctr * s_weight_cvr * length"
    worse = [line | {"top 1": line["top 1"] - 5 * (line["row"] == third)} for line in lines]
    assert replay.judge_order(scores_of(worse))[1].verdict == "contradicted"
    assert replay.judge_order(scores_of([]))[0].verdict == "not tested"
    empty = replay.entries(scores_of([]))
    assert [row["n"] for row in empty] == [0] * 6 and empty[0]["paper"] == 491.312


def test_a_replay_runs_from_the_log_to_its_report(monkeypatch, world, tmp_path):
    from hyperctr.runs import train

    def work(run, folder):
        return train.train(run, folder)

    monkeypatch.setattr(parallel, "run_all", Trainer(work).run_all)
    monkeypatch.setattr(about, "commit", lambda: None)
    found, _ = run("lt4rec-replay", world, tmp_path, seeds=1, train={"epochs": 1})
    assert [row["row"] for row in found["rows"]] == [*replay.RANKED, "length alone", "any order"]
    assert all(row["top 1"] > 0 for row in found["rows"])
    text = (tmp_path / "report.md").read_text()
    assert "biased by the policy" in text and "491.3" in text and "carries no numbers" not in text
    assert (tmp_path / "lt4rec-replay.png").stat().st_size > 10_000
    assert Path(tmp_path / "replay.csv").exists()
    again = bench.redraw(tmp_path)
    assert again["rows"] == found["rows"]
