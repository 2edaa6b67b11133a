"""HyperCTR's studies and the runner of all: which runs they are, what is made of them, when a claim is reproduced."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace

import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.evaluation import significance
from hyperctr.experiments import results
from hyperctr.models import MODELS
from hyperctr.reporting import figures
from hyperctr.runs import parallel
from hyperctr.runs.digest import digest
from hyperctr.studies import STUDIES, bench, beside, facts, find, study
from hyperctr.studies.bench import Options
from hyperctr.studies.claims import Claim, compare
from hyperctr.studies.figures import draw_table
from hyperctr.studies.hyperctr import entries, grids, paper_numbers, table3, table4, threads
from hyperctr.studies.study import Row, Scores, Setup

AUC = {"popularity": 0.60, "mf": 0.65}


def base(path="planted", **changes):
    tables = {"data": {"path": str(path)}, "model": {"name": "hyperctr", "dim": 8, "hidden": [8, 8]}}
    return config.read_run(tables | changes)


def reported(run):
    """What a run might report: three layers, all modalities and hypergraphs help, each by .02."""
    auc = AUC.get(run.model_name, 0.70) + 0.001 * run.train.seed
    if run.model_name == "hyperctr":
        auc += 0.01 * min(run.model.depth, 3) - 0.02 * len(run.data.modalities) - 0.02 * (run.model.conv == "gcn")
        auc += 0.0005 * (run.train.seed % 2)
    scores = {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "user_auc": auc - 0.05, "positive_auc": auc}
    return {
        "data": "planted-drift", "split": run.split.kind, "leaky": run.split.kind != "temporal", "best_epoch": 1,
        "test": scores | {"logloss": 0.01, "logloss_1to1": 0.6, "rows": 100}, "valid": {"auc": auc},
        "seconds": 8 / max(run.train.threads, 1),
    }  # fmt: skip


class Trainer:
    """Stands in for the processes: gives reports at once, and counts."""

    def __init__(self):
        self.done, self.stop_after, self.fails, self.options = [], math.inf, set(), {}

    def run_all(self, cells, jobs, watch, ended, work=None, fresh=False):
        self.done, self.options = [], {"jobs": jobs, "work": work, "fresh": fresh}
        for name, (run, folder) in cells.items():
            if len(self.done) >= self.stop_after:
                raise KeyboardInterrupt
            watch({name: "starting"}, len(self.done))
            folder.mkdir(parents=True, exist_ok=True)
            lines = "epoch,loss,valid_auc,best_epoch\n0.5,0.7,0.6,0.5\n1.0,0.6,0.65,1.0\n"
            (folder / "history.csv").write_text(lines)
            ended(name, RuntimeError("its process was killed") if name in self.fails else reported(run))
            self.done.append(name)


@pytest.fixture
def trainer(monkeypatch):
    found = Trainer()
    monkeypatch.setattr(parallel, "run_all", found.run_all)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("drift", tmp_path_factory.mktemp("world") / "planted", scale=0.03)


def run(name, where, out, values=(), seeds=3, column=None, only=(), referees=False, **changes):
    said = []
    options = Options(values=values, seeds=seeds, paper_set=column, rows=only, jobs=2, referees=referees)
    return bench.run(find(name), base(where, **changes), out, options, say=said.append), said


def setup(name, *values, **changes):
    """A call of a study that trains nothing."""
    return Setup(find(name), base(**changes), find(name).values(values))


# --- which runs ----------------------------------------------------------------------------------------------------


def test_table_3_keeps_the_papers_rows_that_have_no_model_and_adds_ours():
    models = {"hyperctr": 0, "mf": 0, "popularity": 0, "mian": 0, "dstn": 0}
    found = table3.rows_among(models)
    assert [row.name for row in found] == [
        "popularity", "static MF", "GRU4Rec", "THACIL", "DSTN", "MIMN", "ALPINE", "AutoFIS", "UBR4CTR", "mian",
        "HyperCTR",
    ]  # fmt: skip
    assert [row.name for row in found if row.model in models] == ["popularity", "static MF", "DSTN", "mian", "HyperCTR"]


def test_table_4_has_all_modalities_each_alone_a_gcn_and_no_graph():
    runs = {row.name: bench.run_of(base(), row, 3) for row in table4.rows_of(["image", "audio", "genres"])}
    assert list(runs) == [
        "popularity", "static MF", "all modalities", "visual", "acoustic", "genres", "GCN, no hypergraph", "no graph",
    ]  # fmt: skip
    assert [runs[name].data.modalities for name in ("all modalities", "visual", "genres")] == [
        (),
        ("image",),
        ("genres",),
    ]
    assert (runs["GCN, no hypergraph"].model.conv, runs["no graph"].model.depth) == ("gcn", 0)
    assert {run.train.seed for run in runs.values()} == {run.evaluate.seed for run in runs.values()} == {3}


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_a_row_of_a_preset_shares_data_and_protocol_and_takes_set(name):
    shared = base(
        "there", split={"kind": "random"}, evaluate={"negatives": 7}, train={"seed": 5, "threads": 1, "lr": 0.5}
    )
    asked = Setup(find(name), shared, sets=("train.epochs=9",))
    rows = {row.preset: row for row in entries.preset_rows(asked)}
    assert list(rows) == ["hyperctr-paper", "hyperctr-best"]
    for preset, row in rows.items():
        found = bench.run_of(asked.of_preset(preset), row, 3)
        alone = config.read_run({"data": {"path": "there"}}, ["train.epochs=9"], preset)
        assert (found.data, found.model, found.slices, found.interest) == (
            alone.data, alone.model, alone.slices, alone.interest,
        )  # fmt: skip
        assert found.train == replace(alone.train, seed=3, threads=1)
        assert found.split == replace(shared.split, seed=3) and found.evaluate == replace(shared.evaluate, seed=3)


def test_a_shared_run_that_is_a_preset_has_no_second_row():
    best = config.read_run({"data": {"path": "x"}}, preset="hyperctr-best", protocol="paper")
    asked = Setup(find("table3"), best)
    assert [row.name for row in entries.preset_rows(asked)] == ["hyperctr-paper"]
    assert entries.preset_notes(asked, "HyperCTR") == [
        "HyperCTR is hyperctr-best, whose settings all rows share",
        'hyperctr-paper reads data.past = "none" by definition; the shared run has "all"',
    ]


@pytest.mark.parametrize(
    ("name", "data", "split", "evaluate"),
    [
        ("layers", "ml-1m", ("random", 0.7, 0.2), {"negatives": 1000, "max_positives": 0, "sampled": True}),
        ("aqcl-w", "amazon-beauty-5core", ("leave-last-out", 0.6, 0.3), {"negatives": 1, "max_positives": 0}),
        ("aqcl-w", "my/ta-feng", ("leave-last-day-out", 0.6, 0.3), {"negatives": 1, "max_positives": 0}),
        ("mian-table2", "shop", ("leave-last-out", 0.6, 0.3), {"negatives": 1, "max_positives": 0}),
        ("marn-table2", "shop", ("leave-last-out", 0.6, 0.3), {"negatives": 1, "max_positives": 0}),
        ("lt4rec-table2", "shop", ("temporal", 0.6, 0.3), {"sampled": False, "max_positives": 0}),
    ],
)
def test_the_papers_protocol_is_that_of_the_studys_paper(name, data, split, evaluate):
    start = base(data, split={"kind": "given", "train": 0.6, "valid": 0.3}, evaluate={"valid_negatives": 3})
    found = bench.on_protocol(find(name), start, "paper")
    assert (found.split.kind, found.split.train, found.split.valid) == split
    assert {key: getattr(found.evaluate, key) for key in evaluate} == evaluate
    assert found.evaluate.valid_negatives == 3 and found.train == start.train
    assert bench.on_protocol(find(name), start, "paper", ["evaluate.negatives=5"]).evaluate.negatives == 5
    assert bench.on_protocol(find(name), start, "temporal").split.kind == "temporal"
    assert bench.on_protocol(find(name), start, None) == start


def test_one_modality_alone_would_be_the_same_as_all_and_two_visual_ones_keep_their_names():
    def names(*modalities):
        return [row.name for row in table4.rows_of(modalities)]

    assert names("visual") == ["popularity", "static MF", "all modalities", "GCN, no hypergraph", "no graph"]
    assert names("image", "video")[3:5] == ["image", "video"]


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("layers", "5", lambda run: replace(run, model=replace(run.model, depth=5))),
        ("dim", "16", lambda run: replace(run, model=replace(run.model, dim=16))),
        ("neighbors", "7", lambda run: replace(run, model=replace(run.model, neighbors=7))),
        ("granularity", "3mo", lambda run: replace(run, slices=replace(run.slices, every="3mo"))),
        ("granularity", "q8", lambda run: replace(run, slices=replace(run.slices, count=8))),
    ],
)
def test_a_value_changes_its_key_alone(name, value, change):
    start = base(slices={"graphs": "frozen"}, split={"kind": "random"})
    row = find(name).rows(setup(name, value), None)[-1]
    assert bench.run_of(start, row, 0) == change(start)


def test_learning_curve_waits_as_long_as_the_run_does():
    (*_, row) = find("curve").rows(setup("curve", train={"patience": 2}), None)
    train = bench.run_of(base(train={"patience": 2}), row, 0).train
    assert (train.eval_every, train.patience) == (0.05, 40)


def test_threads_are_capped_at_the_cores_and_begin_with_one(monkeypatch):
    monkeypatch.setattr(study.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(study.os, "getloadavg", lambda: (3.0, 0, 0))
    asked = setup("threads", "16", "4", "2")
    assert [row.name for row in find("threads").rows(asked, None)] == ["1", "2", "4"]
    assert find("threads").notes(asked, None) + study.noise() == [
        "this machine has 6 cores: 16 threads were left out",
        "noisy: other work was running when this began (load 3.0 on 6 cores)",
    ]


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("layers", ["x"], "--values of layers are whole numbers separated by commas, got 'x'"),
        ("table3", ["1"], "the rows of table3 are fixed, it takes no --values"),
        ("granularity", ["7x"], "--values of granularity are widths such as 7d or 3mo separated by commas, got '7x'"),
        ("curve", ["0"], "--values of curve are shares of an epoch separated by commas, got '0'"),
        ("curve", ["0.1", "0.2"], "curve takes one share of an epoch"),
        ("dim", ["7"], "model.heads must divide model.dim = 7"),
    ],
)
def test_values_that_cannot_be_stop_before_anything_is_written(world, tmp_path, name, values, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        run(name, world, tmp_path / "out", values)
    assert not (tmp_path / "out").exists()


# --- verdicts ------------------------------------------------------------------------------------------------------


def rows_of(*aucs, valid=None):
    interval = [{"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01} for auc in aucs]
    return [row | {"seed": k, "valid_auc": valid or row["auc"]} for k, row in enumerate(interval)]


@pytest.mark.parametrize(
    ("three", "one", "verdict", "says"),
    [
        # differences .01 .02 .03: mean .02, sd .01, half t(2) * .01 / sqrt 3 = 4.3027 * .0057735 = .02484
        ((0.71, 0.72, 0.73), (0.70, 0.70, 0.70), "inconclusive", "3: +0.0200 ± 0.0248 over 1, n=3"),
        # .02 .02 .023: sd .001732, half 4.3027 * .001 = .0043
        ((0.72, 0.72, 0.723), (0.70, 0.70, 0.70), "reproduced", "3: +0.0210 ± 0.0043 over 1, n=3"),
        ((0.70, 0.70, 0.70), (0.72, 0.72, 0.723), "contradicted", "3: -0.0210 ± 0.0043 over 1, n=3"),
        ((0.72, 0.72), (0.70, 0.70), "inconclusive", "2 seeds: a verdict needs three"),
        ((0.90,), (0.70,), "inconclusive", "one seed: an interval needs more"),
        ((0.90,), (), "not tested", "the rows that it compares were not run"),
    ],
)
def test_verdict_by_hand(three, one, verdict, says):
    found = compare(Claim("more", ("3",), ("1",)), {"3": rows_of(*three), "1": rows_of(*one)})
    assert (found.claim, found.verdict) == ("more", verdict)
    assert says in found.here


def test_claim_over_several_rows_needs_them_all():
    runs = {"a": rows_of(0.8, 0.8, 0.8), "b": rows_of(0.7, 0.7, 0.7), "c": rows_of(0.9, 0.9, 0.9), "gone": []}
    assert compare(Claim("", ("a",), ("b",)), runs).verdict == "reproduced"
    assert compare(Claim("", ("a",), ("b", "c")), runs).verdict == "contradicted"
    found = compare(Claim("", ("a",), ("b", "gone")), runs)
    assert found.verdict == "inconclusive" and found.here.endswith("not run: gone")


def test_best_of_several_is_chosen_by_validation_and_never_by_test():
    runs = {
        "64": rows_of(0.7, 0.7, 0.7, valid=0.9),
        "128": rows_of(0.8, 0.8, 0.8, valid=0.5),
        "8": rows_of(0.75, 0.75, 0.75),
    }
    found = compare(Claim("", ("64", "128"), ("8",)), runs)
    assert found.here.startswith("64, chosen by validation: -0.0500") and found.verdict == "contradicted"


def test_margin_lets_a_claim_of_no_gain_hold():
    runs = {"64": rows_of(0.70, 0.70, 0.70), "256": rows_of(0.705, 0.705, 0.705)}
    assert compare(Claim("", ("64",), ("256",)), runs).verdict == "contradicted"
    assert compare(Claim("", ("64",), ("256",), margin=0.01), runs).verdict == "reproduced"


def test_optimum_at_the_edge_of_the_grid_decides_nothing():
    def judged(runs):
        given = {"rows": [[name, "hyperctr"] for name in runs], "paper": ""}
        return find("granularity").judge(Scores(find("granularity"), given, runs))

    runs = {"1d": rows_of(0.7, 0.7, 0.7), "7d": rows_of(0.8, 0.8, 0.8), "30d": rows_of(0.7, 0.7, 0.7)}
    assert judged(runs)[0].verdict == "reproduced"
    (edge,) = judged(runs | {"30d": rows_of(0.9, 0.9, 0.9)})
    assert edge.verdict == "inconclusive" and "30d, chosen by validation, is at the edge" in edge.here
    assert judged({"1d": [], "7d": []}) == []


def test_claims_are_those_of_the_papers_data_set():
    rows = ["0", "1", "2", "3", "4", "5"]
    assert [c.ours for c in grids.layers(rows, "")] == [("3",)]
    assert grids.layers(rows, "MovieLens")[1].ours == ("4", "5")
    assert grids.layers(rows, "Kuaishou")[1].margin == 0.01
    (claim,) = grids.neighbors(["5", "10", "20", "40"], "")
    assert (claim.ours, claim.others) == (("20",), ("5", "10", "40"))


def test_near_linear_speed_up_needs_three_repeats_and_holds_only_as_far_as_it_was_timed():
    def timed(*seconds):
        return [{"seed": k, "seconds": s} for k, s in enumerate(seconds)]

    def verdict(most, one, many, *notes):
        runs = {"1": timed(*one), str(most): timed(*many)}
        return threads.STUDY.judge(Scores(threads.STUDY, {"notes": notes}, runs))[0]

    assert verdict(24, (24, 24.1, 24.2), (1.1, 1.1, 1.1)).verdict == "reproduced"
    assert verdict(24, (24, 24.1), (1.1, 1.1)).verdict == "inconclusive"
    assert verdict(24, (24, 24.1, 24.2), (2, 2, 2)).verdict == "contradicted"
    found = verdict(2, (2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    assert found.verdict == "inconclusive" and "it is so up to 2 threads" in found.here
    for noisy in (verdict(24, (24, 24.1, 29.2), (2, 2, 2)), verdict(24, (24, 24, 24), (2, 2, 2), "noisy: other work")):
        assert noisy.verdict == "inconclusive" and noisy.here.endswith("the machine was noisy, so no verdict")
    assert verdict(1, (1, 1), (1, 1)).verdict == "not tested"


# --- the paper's numbers -------------------------------------------------------------------------------------------


def test_papers_numbers_are_those_of_its_tables():
    three, four = paper_numbers.TABLE3, paper_numbers.TABLE4
    assert three.of("HyperCTR", "MV1.7M") == (0.8670, 0.5160)
    assert three.of("THACIL", "Kuaishou") == (0.6640, 0.5793)
    assert four.of("acoustic", "Kuaishou") is None and four.of("static MF", "Kuaishou") is None
    assert four.of("textual", "MovieLens") == (0.8123, 0.5364)
    best = [max(three.of(name, x)[0] for name in three.rows if name != "HyperCTR") for x in three.sets]
    ours = [three.of("HyperCTR", x)[0] for x in three.sets]
    gains = [round(100 * (a / b - 1), 2) for a, b in zip(ours, best, strict=True)]
    assert gains == [3.18, 7.43, 3.85]  # the paper's last row


@pytest.mark.parametrize(
    ("data", "column"),
    [("ml-1m", "MovieLens"), ("kuairand-pure", "Kuaishou"), ("microvideo1.7m_x1", "MV1.7M"), ("shop", "")],
)
def test_column_beside_ours_goes_by_the_name_of_the_data(data, column):
    assert paper_numbers.like(data) == column


# --- files ---------------------------------------------------------------------------------------------------------


def test_table_keeps_empty_rows_and_the_papers_numbers_in_columns_of_their_own(world, tmp_path, trainer):
    found, _ = run("table3", world, tmp_path, column="MovieLens")
    titles = {"popularity": "popularity", "mf": "static MF", "gru4rec": "GRU4Rec", "hyperctr": "HyperCTR"}
    presets = {"hyperctr-paper", "hyperctr-best"}
    assert {name.split(" seed=")[0] for name in trainer.done} == {
        titles.get(model, model) for model in MODELS
    } | presets
    lines = {line["row"]: line for line in csv.DictReader((tmp_path / "table.csv").open())}
    assert lines["THACIL"]["n"] == "0" and lines["THACIL"]["auc"] == ""
    assert lines["THACIL"]["paper MovieLens AUC"] == "0.672"
    assert lines["GRU4Rec"]["paper MovieLens AUC"] == "0.7486"
    assert lines["popularity"]["paper MovieLens AUC"] == ""
    assert float(lines["HyperCTR"]["auc"]) == pytest.approx(0.73 + 0.001 + 0.0005 / 3)
    assert (
        lines["HyperCTR"]["paper MovieLens log loss"] == lines["hyperctr-paper"]["paper MovieLens log loss"] == "0.538"
    )
    assert lines["hyperctr-best"]["paper MovieLens AUC"] == ""
    text = (tmp_path / "report.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| THACIL")]
    assert "no model here yet" in row and row.rstrip(" |").endswith("0.6720 / 0.6791")
    assert "it has not learned" not in text and "model-0.6844-0.5727" in text
    rows = ("HyperCTR", "hyperctr-paper", "hyperctr-best")
    assert [claim["claim"] for claim in found["claims"]] == [f"{row} is above every baseline" for row in rows]
    assert found["claims"][0]["verdict"] == "inconclusive"  # six of the paper's baselines are not here
    assert all("over static MF" in claim["here"] for claim in found["claims"])
    assert 'hyperctr-best reads data.past = "all" by definition; the shared run has "none"' in text


def test_referees_stand_beside_the_rows_and_a_row_below_one_is_said_to_be(world, tmp_path, trainer, monkeypatch):
    monkeypatch.setitem(AUC, "ease", 0.9)
    trainer.fails = {f"transitions seed={seed}" for seed in range(3)}
    found, _ = run("table3", world, tmp_path, referees=True)
    rows = {line["row"]: line for line in csv.DictReader((tmp_path / "table.csv").open())}
    assert float(rows["EASE"]["auc"]) == pytest.approx(0.901) and rows["item-kNN"]["n"] == "3"
    text = (tmp_path / "report.md").read_text()
    beside = text.partition("### Referees on the same rows")[2]
    assert re.search(r"- HyperCTR is below EASE \(-0\.1", beside) and "below item-kNN" not in beside
    assert "EASE is below" not in text and beside.count("| popularity ") == 1
    assert re.search(r"\| transitions +\| 0 +\| - .*its process was killed", beside) and found["failed"] == []
    plain, _ = run("table3", world, tmp_path / "plain")
    assert found["claims"] == plain["claims"] and "EASE" not in (tmp_path / "plain" / "report.md").read_text()
    assert bench.redraw(tmp_path)["referees"] == found["referees"]


def test_figures_have_referees_too_and_times_have_none(world, tmp_path, trainer):
    assert Options().referees
    found, said = run("layers", world, tmp_path / "layers", ["0", "1"], seeds=1, referees=True)
    assert [entry["row"] for entry in found["referees"]] == ["popularity", *results.REFEREES.values()]
    assert [row["row"] for row in found["rows"]] == ["popularity", "static MF", "0", "1"]
    _, said = run("layers", world, tmp_path / "layers", ["0", "1"], seeds=1, referees=True)
    assert said == ["9 of 9 runs are done already, 0 to go"]
    timed, _ = run("threads", world, tmp_path / "threads", ["1", "2"], seeds=1, referees=True)
    assert "referees" not in timed and trainer.done == ["1 seed=0", "2 seed=0"]


def test_planted_worlds_have_referees_each_and_compare_the_rows_of_their_own():
    plan = [Row("popularity", "popularity", world="a"), Row("HyperCTR", world="a"), Row("HyperCTR in b", world="b")]
    added = beside.rows_of(plan)
    assert [row.name for row in added if row.world == "b"][:2] == ["popularity in b", "EASE in b"]
    assert len(added) == 2 * len(results.REFEREES) + 1
    compared = {name: others for name, _, others in beside.facts_of(plan, added)}
    assert compared["popularity"] == compared["EASE in a"] == ["HyperCTR"] and compared["EASE in b"] == [
        "HyperCTR in b"
    ]


def test_a_row_that_predicts_conversions_alone_is_below_no_referee():
    def runs(auc):
        return [{"seed": 0, "auc": auc, "auc_low": auc, "auc_high": auc}]

    facts = {"rows": [["cvr", "shared_bottom"], ["din", "din"]], "referees": [["EASE", "ease", ["cvr", "din"]]]}
    scores = Scores(find("table3"), facts, {"cvr": runs(0.5), "din": runs(0.6)}, {}, {"EASE": runs(0.7)})
    (entry,) = beside.entries(scores, {})
    assert [row for row, *_ in entry["below"]] == ["din"]


def test_without_a_like_named_data_set_all_of_the_papers_stand_beside(world, tmp_path, trainer):
    run("table4", world, tmp_path)
    header = (tmp_path / "table.csv").read_text().splitlines()[0]
    assert all(f"paper {column} AUC" in header for column in paper_numbers.SETS.values())


def test_table_4_is_judged(world, tmp_path, trainer):
    found, _ = run("table4", world, tmp_path)
    together, gcn, visual = found["claims"]
    assert (together["verdict"], gcn["verdict"]) == ("reproduced", "reproduced")
    assert visual["verdict"] == "inconclusive"  # all single ones score the same here
    assert {row["row"]: row["verdict"] for row in found["rows"]}["no graph"] == "worse"


def test_random_split_stamps_every_output_leaky(world, tmp_path, trainer):
    found, _ = run("layers", world, tmp_path / "leaky", ["1", "3"], split={"kind": "random"})
    run("layers", world, tmp_path / "honest", ["1", "3"])
    assert found["facts"]["leaky"] is True
    assert "**LEAKY: the random split" in (tmp_path / "leaky" / "report.md").read_text()
    assert "LEAKY" not in (tmp_path / "honest" / "report.md").read_text()
    for name in ("table.csv", "results.csv"):
        lines = list(csv.DictReader((tmp_path / "leaky" / name).open()))
        assert {line["leaky"] for line in lines} == {"True"}
        assert {line["leaky"] for line in csv.DictReader((tmp_path / "honest" / name).open())} == {"False"}


@pytest.mark.parametrize("leaky", [True, False])
def test_figure_says_leaky_in_words(world, tmp_path, trainer, monkeypatch, leaky):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    run("dim", world, tmp_path, ["8", "16"], split={"kind": "random" if leaky else "temporal"})
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert ("LEAKY: random split, not comparable with a temporal one" in texts) is leaky


def test_json_says_on_what_and_holds_no_nan(world, tmp_path, trainer):
    run("table3", world, tmp_path)
    found = json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)
    said = found["facts"]
    assert (said["data"], said["seeds"], said["split"]) == ("planted-drift", [0, 1, 2], "temporal")
    assert said["files"] == facts.digest_of(world)
    assert said["config"] == digest(base(world))
    assert {"hyperctr", "torch", "python"} <= said["versions"].keys()
    assert said["commit"] is None or len(said["commit"].rstrip("+")) == 40


def test_stopped_bench_goes_on_where_it_was(world, tmp_path, trainer):
    trainer.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        run("layers", world, tmp_path, ["1", "3"])
    first, trainer.stop_after = list(trainer.done), math.inf
    found, said = run("layers", world, tmp_path, ["1", "3"])
    assert said[0] == "5 of 12 runs are done already, 7 to go"
    assert not set(first) & set(trainer.done) and len(first) + len(trainer.done) == 12
    assert [row["n"] for row in found["rows"]] == [3, 3, 3, 3]
    again, said = run("layers", world, tmp_path, ["1", "3"])
    assert again == found and trainer.done == []


def test_another_seed_or_value_runs_what_is_new(world, tmp_path, trainer):
    run("layers", world, tmp_path, ["1"], seeds=1)
    run("layers", world, tmp_path, ["1", "3"], seeds=2)
    assert trainer.done == ["3 seed=0", "popularity seed=1", "static MF seed=1", "1 seed=1", "3 seed=1"]


def test_chosen_rows_run_alone_and_the_others_later(world, tmp_path, trainer):
    found, _ = run("layers", world, tmp_path, ["1", "3"], only=["3", "Static mf"])
    assert {name.split(" seed")[0] for name in trainer.done} == {"3", "static MF"}
    assert {row["row"]: row["n"] for row in found["rows"]} == {"popularity": 0, "static MF": 3, "1": 0, "3": 3}
    found, _ = run("layers", world, tmp_path, ["1", "3"], only=["1"])
    assert len(trainer.done) == 3
    assert [row["n"] for row in found["rows"]] == [0, 3, 3, 3]
    with pytest.raises(ValueError, match="there is no row '2'; the rows are popularity, static MF, 1, 3"):
        run("layers", world, tmp_path, ["1", "3"], only=["2"])


def test_row_brings_the_row_that_must_run_before_it():
    plan = [Row("alone"), Row("masks"), Row("again", after={"model.masks": "masks"})]
    assert [row.name for row in bench._chosen(plan, ["AGAIN"])] == ["masks", "again"]
    assert bench._chosen(plan, []) == plan


def test_killed_run_is_a_row_and_is_run_again(world, tmp_path, trainer):
    trainer.fails = {"3 seed=1"}
    found, said = run("layers", world, tmp_path, ["1", "3"])
    assert found["failed"] == ["3, seed 1: failed: its process was killed"]
    assert "3 seed=1: failed: its process was killed" in said
    assert [row["n"] for row in found["rows"]] == [3, 3, 3, 2]
    assert "2 seeds: a verdict needs three" in found["claims"][0]["here"]
    trainer.fails = set()
    found, _ = run("layers", world, tmp_path, ["1", "3"])
    assert trainer.done == ["3 seed=1"] and found["failed"] == []


def test_changed_data_other_base_or_other_bench_are_refused(world, tmp_path, trainer):
    mine = planted.write("drift", tmp_path / "mine", scale=0.03)
    run("layers", mine, tmp_path / "out", ["1"], seeds=1)
    with pytest.raises(ValueError, match="holds the bench layers, not the bench dim"):
        run("dim", mine, tmp_path / "out", ["8"], seeds=1)
    with pytest.raises(ValueError, match="holds the bench layers over another base run"):
        run("layers", mine, tmp_path / "out", ["1"], seeds=1, train={"lr": 0.5})
    planted.write("drift", tmp_path / "other", seed=1, scale=0.03)
    (tmp_path / "other" / "interactions.parquet").replace(mine / "interactions.parquet")
    with pytest.raises(ValueError, match="the files of planted-drift have changed"):
        run("layers", mine, tmp_path / "out", ["1"], seeds=1)


def test_row_below_popularity_has_not_learned(world, tmp_path, trainer, monkeypatch):
    monkeypatch.setitem(AUC, "popularity", 0.725)
    found, _ = run("layers", world, tmp_path, ["1", "3"])
    assert "row 1 is not above popularity: it has not learned" in found["warnings"]
    assert not any("row 3 " in line for line in found["warnings"])


def test_threads_are_timed_one_at_a_time_in_fresh_processes(world, tmp_path, trainer, monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    found, _ = run("threads", world, tmp_path)
    assert trainer.options == {"jobs": 1, "work": bench.time_epoch, "fresh": True}
    assert [(row["row"], row["speed-up"], row["share of linear"]) for row in found["rows"]] == [
        ("1", 1, 1), ("2", 2, 1), ("4", 4, 1),
    ]  # fmt: skip
    assert (tmp_path / "threads.png").read_bytes()[:4] == b"\x89PNG"


def test_an_epoch_is_timed_without_what_comes_before_and_after(monkeypatch):
    from hyperctr.runs import train as runs

    clock = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])

    def train(run, progress):
        for what, steps, each in (("interests 1", 2, 100), ("epoch 1", 3, 5)):
            for _ in progress(range(steps), what, steps):
                clock[0] += each
            clock[0] += 1000
        return {"seconds": clock[0]}

    monkeypatch.setattr(runs, "train", train)
    assert bench.time_epoch(config.to_toml(base()), "nowhere") == {"seconds": 15}


def test_curve_is_kept_beside_its_runs(world, tmp_path, trainer):
    run("curve", world, tmp_path, seeds=2)
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines == [
        "seed,epoch,loss,valid_auc", "0,0.5,0.7,0.6", "0,1.0,0.6,0.65", "1,0.5,0.7,0.6", "1,1.0,0.6,0.65",
    ]  # fmt: skip
    assert (tmp_path / "curve.png").exists()
    shutil.rmtree(tmp_path / "runs")
    run("curve", world, tmp_path, seeds=3)
    assert (tmp_path / "curve.csv").read_text().splitlines() == [*lines, "2,0.5,0.7,0.6", "2,1.0,0.6,0.65"]


def test_report_draws_again_without_training(world, tmp_path, trainer, hyperctr):
    run("curve", world, tmp_path / "curve", seeds=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "curve").glob("*.*")}
    for name in ("report.md", "table.csv", "curve.png"):
        (tmp_path / "curve" / name).unlink()
    trainer.done = None
    code, out, err = hyperctr("report", tmp_path / "curve")
    assert code == 0, err
    assert "# HyperCTR, Figure 8" in out and trainer.done is None
    assert {path.name: path.read_bytes() for path in (tmp_path / "curve").glob("*.*")} == before


def test_report_of_a_sweep_and_of_no_sweep(tmp_path, hyperctr):
    row = {
        "data": "ml-100k", "split": "temporal", "leaky": False, "model": "hyperctr", "every": "7d", "depth": 1,
        "seed": 0, "auc": 0.7, "auc_low": 0.69, "auc_high": 0.71, "user_auc": 0.6, "logloss": 0.1, "logloss_1to1": 0.6,
        "valid_auc": 0.7, "best_epoch": 0.5, "seconds": 1.0, "rows": 9, "status": "ok",
    }  # fmt: skip
    results.append_result(tmp_path / "results.csv", row)
    code, out, err = hyperctr("report", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out) == [row] and (tmp_path / "heat.png").exists()
    code, out, err = hyperctr("report", tmp_path / "none")
    assert (code, out, err.count("\n")) == (2, "", 1) and "holds no sweep and no bench" in err


def test_table_figure_has_a_panel_for_ours_and_one_for_the_papers():
    rows = [("popularity", significance.Score(0.6, 0.01, 3), ""), ("DSTN", None, "no model here yet")]
    figure, here = draw_table(rows, {"MovieLens": {"DSTN": 0.8008}}, "HyperCTR")
    there = figure.axes[1]
    assert here.lines[0].get_xdata().tolist() == [0.6]
    assert there.collections[0].get_offsets().tolist() == [[0.8008, 0]]
    assert "no model here yet" in [text.get_text() for text in here.texts]
    assert (here.get_xlabel(), there.get_xlabel()) == ("here: test AUC", "the paper: AUC on MovieLens")
    alone, _ = draw_table(rows, {}, "HyperCTR")
    assert len(alone.axes) == 1


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["layer"], "unknown study 'layer', did you mean layers?"),
        (["zzz"], "unknown study 'zzz', known: table3, table4, layers"),
        (["gone.py:STUDY"], "the study: there is no file gone.py (looked up from"),
        (["hyperctr.studies.hyperctr.table3:STUDIES"], "has no STUDIES, did you mean STUDY?"),
        (["hyperctr.studies.hyperctr.table3:OURS"], "table3:OURS is a str, not a Study"),
        (
            ["mian-planted", "--data", "x"],
            "mian-planted makes its own data: it takes no --data, --base, --preset and no",
        ),
        (["lt4rec-speed", "--rows", "x"], "lt4rec-speed trains nothing, it takes no --set and no --rows"),
        (["layers", "--data", ".", "--split", "random"], 'unknown protocol "random", known: paper, temporal'),
        (["layers", "--data", "x", "--split", "paper", "--protocol", "paper"], "--split is another name of --protocol"),
        (["layers", "--data", "x", "--paper", "ml"], "--paper takes one of kuaishou, mv1.7m, movielens, all, got 'ml'"),
        (["layers"], "name a run's TOML file or --data"),
    ],
)
def test_bad_words_are_one_line(hyperctr, words, says):
    code, out, err = hyperctr("bench", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_help_names_every_bench_and_shows_an_example(hyperctr):
    code, out, _ = hyperctr("bench", "--help")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for name, listed in STUDIES.items():
        assert any(line.startswith(f"{name} {listed.title[:40]}".strip()) for line in lines), name
    assert any(line.strip().startswith("hyperctr bench") for line in out.splitlines())
    assert "hyperctr report" in hyperctr("report", "--help")[1]


@pytest.mark.parametrize(
    ("name", "preset", "row"),
    [("layers", "hyperctr-best", "3"), ("aqcl-table2", "aqcl-paper", "AQCL"), ("mian-table3", "mian-best", "MIAN")],
)
def test_a_preset_is_below_what_the_study_scores_and_below_set(
    world, tmp_path, hyperctr, monkeypatch, name, preset, row
):
    runs = {}

    def run_all(cells, jobs, watch, ended, work=None, fresh=False):
        runs.update({name: run for name, (run, _) in cells.items()})
        for name in cells:
            ended(name, RuntimeError("not trained"))

    monkeypatch.setattr(parallel, "run_all", run_all)
    words = ["--preset", preset, "--protocol", "paper", "--set", "train.epochs=7", "--set", "evaluate.negatives=5"]
    hyperctr("bench", name, "--data", world, "--rows", row, "--seeds", "1", "--no-referees", "--out", tmp_path, *words)
    found = runs[f"{row} seed=0"]
    alone = config.read_run({"data": {"path": str(world)}}, preset=preset)
    assert found.train == replace(alone.train, epochs=7) and found.data == alone.data
    assert (found.wrapper_name, found.wrapper) == (alone.wrapper_name, alone.wrapper)
    kind = find(name).paper.protocol("planted")["split"]["kind"]
    assert (found.split.kind, found.evaluate.negatives, found.evaluate.max_positives) == (kind, 5, 0)
    assert found.evaluate.valid_negatives == bench.CAREFUL["valid_negatives"]


def test_a_real_bench_in_processes(world, tmp_path, hyperctr):
    words = ["--values", "0,1", "--seeds", "1", "--jobs", "1", "--out", tmp_path, "--split", "paper", "--no-referees"]
    sizes = ["model.dim=8", "model.hidden=[8,8]", "train.epochs=1", "data.history=5", "interest.epochs=1"]
    words += [word for size in sizes for word in ("--set", size)]
    code, out, err = hyperctr("bench", "layers", "--data", world, *words)
    assert code == 0, err
    assert "0 seed=0: test AUC" in err and "LEAKY" in out
    rows = results.read_results(tmp_path / "results.csv", bench.COLUMNS)
    assert [(row["row"], row["status"]) for row in rows] == [(x, "ok") for x in ("popularity", "static MF", "0", "1")]
    assert len({row["rows"] for row in rows}) == 1  # all are scored on the same rows
    kept = json.loads((tmp_path / "runs" / "1-seed-0" / "report.json").read_text())
    assert kept["test"]["auc"] == rows[-1]["auc"] and kept["leaky"] is True
    code, out, err = hyperctr("bench", "layers", "--data", world, *words, "--json")
    assert code == 0 and "4 of 4 runs are done already" in err
    assert json.loads(out)["facts"]["bench"] == "layers"
