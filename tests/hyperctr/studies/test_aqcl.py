"""AQCL's studies: which runs they are, gains by hand, when a claim counts as reproduced, and real ones."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from hyperctr import config
from hyperctr.data import planted
from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score, relaimpr
from hyperctr.models import WRAPPERS
from hyperctr.runs import parallel
from hyperctr.studies import STUDIES, bench, find
from hyperctr.studies import facts as about
from hyperctr.studies.aqcl import fig6, gains, paper_numbers, table2
from hyperctr.studies.aqcl.figures import draw_gains
from hyperctr.studies.bench import Options
from hyperctr.studies.claims import gain
from hyperctr.studies.study import Scores, Setup

SMALL = {"name": "din", "dim": 4, "hidden": [8, 6], "attention": [6]}
GROUPS = ("auc", "non_active_auc", "slightly_active_auc", "highly_active_auc")
GAIN = {"": 0.0, "dropoutnet": -0.002, "deepmcp": 0.008, "dmr": 0.003, "icl": 0.006, "qcl": 0.007, "aqcl": 0.012}


def base(path=".", model=SMALL, **tables):
    return config.read_run({"data": {"path": str(path), "history": 5}, "model": model, **tables})


def reported(run):
    """What a run might report: an AUC by what is worn, a little more with every seed, and groups around it."""
    seed = run.train.seed
    auc = 0.6 if run.model_name == "popularity" else 0.7 + GAIN[run.wrapper_name]
    auc += 0.001 * seed + (0.0002 * (seed % 2) if run.wrapper else 0)
    scores = {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "user_auc": 0.6, "positive_auc": auc,
              "logloss": 0.1, "logloss_1to1": 0.6, "rows": 100}  # fmt: skip
    scores |= {"non_active_auc": auc - 0.02, "slightly_active_auc": auc, "highly_active_auc": auc + 0.02,
               "non_active_rows": 60, "slightly_active_rows": 30, "highly_active_rows": 10, "non_active_clicks": 5,
               "slightly_active_clicks": 12}  # fmt: skip
    leaky = run.split.kind != "temporal"
    return {"data": "planted-coldstart", "split": run.split.kind, "leaky": leaky, "best_epoch": 1, "seconds": 2.0,
            "test": scores, "valid": {"auc": auc}}  # fmt: skip


class Trainer:
    """Stands in for the processes: gives reports at once, or trains in this process."""

    def __init__(self, work):
        self.work, self.done, self.fails = work, [], set()

    def run_all(self, cells, jobs, watch, ended):
        self.done = []
        for name, (run, folder) in cells.items():
            self.done.append(name)
            ended(name, RuntimeError("its process was killed") if name in self.fails else self.work(run, folder))


@pytest.fixture
def trainer(monkeypatch):
    found = Trainer(lambda run, folder: reported(run))
    monkeypatch.setattr(parallel, "run_all", found.run_all)
    monkeypatch.setattr(about, "commit", lambda: None)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("coldstart", tmp_path_factory.mktemp("world") / "coldstart", scale=0.05)


def run(name, where, out, values=(), seeds=3, column=None, given=None, **tables):
    said, options = [], Options(values=values, seeds=seeds, paper_set=column, wrappers=given or {}, referees=False)
    return bench.run(find(name), base(where, **tables), out, options, say=said.append), said


def rows(name, values=(), given=None, **tables):
    return find(name).rows(Setup(find(name), base(**tables), find(name).values(values), given or {}), None)


# --- which runs ----------------------------------------------------------------------------------------------------


def test_rows_of_the_studies():
    ours = [name for name, each in STUDIES.items() if name.startswith("aqcl-") and not each.worlds]
    names = {name: [row.name for row in rows(name)] for name in ours}
    assert names == {
        "aqcl-table2": ["popularity", "DIN", "DropoutNet", "DeepMCP", "DMR", "ICL", "QCL", "AQCL"],
        "aqcl-table3": ["popularity", "W&D", "AQCL on W&D", "DeepFM", "AQCL on DeepFM", "DIN", "AQCL on DIN",
                        "HyperCTR", "AQCL on HyperCTR"],
        "aqcl-alpha": ["popularity", "DIN", "ICL", "alpha 0", "alpha 0.3", "alpha 0.6", "alpha 1", "adaptive"],
        "aqcl-dz": ["popularity", "DIN", "8", "16", "32", "64", "128"],
        "aqcl-w": ["popularity", "DIN", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"],
        "aqcl-k": ["popularity", "DIN", "1", "5", "10", "20"],
        "aqcl-tsne": ["DIN", "AQCL"],
    }  # fmt: skip


def test_rows_differ_in_what_is_worn_alone():
    start = base()
    runs = {row.name: bench.run_of(start, row, 3) for row in rows("aqcl-table2")}
    worn = {name: found.wrapper_name for name, found in runs.items()}
    assert worn == {"popularity": "", "DIN": "", "DropoutNet": "dropoutnet", "DeepMCP": "deepmcp", "DMR": "dmr",
                    "ICL": "icl", "QCL": "qcl", "AQCL": "aqcl"}  # fmt: skip
    for name, found in runs.items():
        if name != "popularity":
            assert (found.model_name, found.model, found.train) == ("din", start.model, runs["DIN"].train)
        assert (found.train.seed, found.evaluate.seed) == (3, 3)
    assert (runs["QCL"].wrapper.alpha, runs["AQCL"].wrapper.alpha) == (1.0, None)


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [("aqcl-dz", "dim", [8, 64]), ("aqcl-w", "w", [0.01, 0.2]), ("aqcl-k", "positives", [1, 20])],
)
def test_a_value_changes_its_key_alone(name, key, values):
    given = {"aqcl": WRAPPERS["aqcl"].Config(w1=2.0, mask=0.4)}
    found = [row.wrapper for row in rows(name, [str(x) for x in reversed(values)], given)[2:]]
    assert found == [WRAPPERS["aqcl"].Config(**{"w1": 2.0, "mask": 0.4, key: x}) for x in values]


def test_a_constant_alpha_is_for_everybody_and_a_search_has_a_row_of_its_own():
    given = {"aqcl": WRAPPERS["aqcl"].Config(w1=1.3, w2=0.4, w=0.1, alpha=0.6)}
    worn = {row.name: row.wrapper for row in rows("aqcl-alpha", ["1", "0"], given) if row.wrapper_name == "aqcl"}
    assert {name: (c.alpha, c.w1, c.w2, c.w) for name, c in worn.items()} == {
        "alpha 0": (0.0, 0.7, 1.0, 0.1), "alpha 1": (1.0, 0.7, 1.0, 0.1), "adaptive": (None, 0.7, 1.0, 0.1),
        "adaptive, searched": (None, 1.3, 0.4, 0.1),
    }  # fmt: skip


def test_icl_and_qcl_share_aqcls_settings_unless_they_are_given_their_own():
    given = {"aqcl": WRAPPERS["aqcl"].Config(w=0.1, dim=32, codes=64, w1=2.0), "dmr": WRAPPERS["dmr"].Config(w=0.3)}
    worn = {row.wrapper_name: row.wrapper for row in rows("aqcl-table2", given=given)[2:]}
    assert worn["icl"] == WRAPPERS["icl"].Config(w=0.1, dim=32)
    assert worn["qcl"] == WRAPPERS["qcl"].Config(w=0.1, dim=32, codes=64, w1=2.0)
    assert (worn["dmr"].w, worn["dropoutnet"], worn["qcl"].alpha) == (0.3, WRAPPERS["dropoutnet"].Config(), 1.0)
    own = {"icl": WRAPPERS["icl"].Config(w=0.01)}
    assert rows("aqcl-table2", given=given | own)[5].wrapper == own["icl"]


def test_table_3_shares_what_the_base_run_changes_and_pairs_each_model_with_itself():
    found = rows("aqcl-table3", model={"name": "din", "dim": 8, "dropout": 0.1, "attention": [6]})
    runs = {row.name: bench.run_of(base(model={"name": "din", "dim": 8}), row, 0) for row in found}
    assert {runs[name].model.dim for name in ("W&D", "AQCL on W&D", "AQCL on HyperCTR")} == {8}
    assert runs["DeepFM"].model.dropout == 0.1 and runs["HyperCTR"].model.hidden == (128, 64)
    assert runs["AQCL on DeepFM"].model == runs["DeepFM"].model
    assert {row.name: row.over for row in found if row.over} == {
        f"AQCL on {name}": name for name in ("W&D", "DeepFM", "DIN", "HyperCTR")
    }


def test_another_model_can_wear_and_one_without_a_hidden_vector_cannot():
    assert [row.name for row in rows("aqcl-tsne", model={"name": "gru4rec"})] == ["GRU4Rec", "AQCL"]
    assert [row.name for row in rows("aqcl-table3", model={"name": "dcn"})][-2:] == ["DCN", "AQCL on DCN"]
    with pytest.raises(ValueError, match="aqcl-w needs a model with a hidden vector .*, the run names mf"):
        rows("aqcl-w", model={"name": "mf"})


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("aqcl-table2", ["1"], "the rows of aqcl-table2 are fixed, it takes no --values"),
        ("aqcl-w", ["0.1", "x"], "--values of aqcl-w are numbers separated by commas, got 'x'"),
        ("aqcl-k", ["1.5"], "--values of aqcl-k are whole numbers separated by commas, got '1.5'"),
        ("aqcl-k", ["500"], r"wrapper.positives must lie in \[1, wrapper.codes = 128\], got 500"),
        ("aqcl-alpha", ["2"], r"wrapper.alpha must lie in \[0, 1\], got 2"),
    ],
)
def test_values_that_cannot_be_stop_before_anything_is_written(world, tmp_path, name, values, says):
    with pytest.raises(ValueError, match=says):
        run(name, world, tmp_path / "out", values)
    assert not (tmp_path / "out").exists()


# --- gains by hand -------------------------------------------------------------------------------------------------


def scored(*aucs, **columns):
    """Runs of seeds 0, 1, ... with these AUCs, and other columns of as many values."""
    interval = [{"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc} for auc in aucs]
    return [
        row | {"seed": seed} | {name: values[seed] for name, values in columns.items()}
        for seed, row in enumerate(interval)
    ]


def test_gain_is_paired_by_seed_and_its_p_is_students():
    runs = {"a": scored(0.71, 0.73, 0.75, 0.9), "b": scored(0.70, 0.71, 0.72)}
    value = gain(runs, "a", "b")  # .01 .02 .03: mean .02, sd .01
    assert (value.mean, value.num) == (pytest.approx(0.02), 3)
    assert value.half == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    # t = .02 / (.01 / sqrt 3) = 3.4641; with two degrees of freedom p = 1 - t / sqrt(t^2 + 2) = .0742
    assert significance.p_value(value) == pytest.approx(1 - 3.4641016 / math.sqrt(14), rel=1e-6)
    assert gain(runs, "a", "none").num == 0
    assert significance.p_value(Score(0.1, 0.0, 3)) == 0 and significance.p_value(Score(0.0, 0.0, 3)) == 1


def test_relaimpr_is_that_of_the_mean_aucs_of_shared_seeds():
    runs = {"a": scored(0.70, 0.72, 0.71, 0.99), "b": scored(0.6, 0.6, 0.6)}
    value = gains.relaimpr(runs, "a", "b")
    assert (value.mean, value.num) == (pytest.approx(0.21 / 0.1 - 1), 3)
    assert gains.relaimpr(runs, "b", "b").mean == 0
    runs = {"a": scored(0.7, 0.7, x=(0.8, math.nan)), "b": scored(0.6, 0.6, x=(0.6, 0.7))}
    assert gains.relaimpr(runs, "a", "b", "x").mean == pytest.approx(2.0)  # the seed that has both


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        ("enough", Score(0.003, 0.001, 5), "reproduced"),
        ("enough", Score(0.0029, 0.001, 5), "inconclusive"),  # above 0, but less than .003
        ("enough", Score(0.01, 0.02, 5), "inconclusive"),
        ("enough", Score(-0.01, 0.005, 5), "contradicted"),
        ("enough", Score(0.01, 0.001, 2), "inconclusive"),
        ("sign", Score(0.02, 0.024841, 3), "reproduced"),  # p = .074, and the 95 % interval covers 0
        ("sign", Score(-0.02, 0.024841, 3), "contradicted"),
        ("sign", Score(0.01, 0.024841, 3), "inconclusive"),
        ("sign", Score(0.02, 0.0001, 2), "inconclusive"),
    ],
)
def test_verdicts_by_the_rules(rule, value, verdict):
    assert getattr(gains, rule)(value) == verdict


# --- claims --------------------------------------------------------------------------------------------------------


def facts(name, *names, **changes):
    found = {"base": "DIN", "data": "amazon-beauty-5core", "split": "leave-last-out", "draw": "uniform",
             "paper": "Amazon Beauty", "rows": [[row, "din"] for row in names], "over": {}, "notes": []}  # fmt: skip
    return found | changes


def claims(name, runs, **changes):
    return find(name).judge(Scores(find(name), facts(name, *runs, **changes), runs))


def test_table_2_is_judged_by_the_rules_fixed_before():
    runs = {
        "DIN": scored(0.70, 0.701, 0.702),
        "ICL": scored(0.706, 0.7075, 0.708),
        "AQCL": scored(0.712, 0.7130, 0.7142),
    }
    check, above, size, icl = claims("aqcl-table2", runs)
    assert check.verdict == "passed" and "DIN's AUC is in 0.66 to 0.74" in check.claim
    assert above.verdict == "reproduced" and "AQCL is above DIN (+0.0122 on Amazon Beauty)" in above.claim
    assert size.verdict == "the same size" and size.here.startswith("+6.00 ± ")
    assert "+6.24 % on Amazon Beauty" in size.claim
    assert icl.verdict == "reproduced" and "(+0.0062 on Amazon Beauty)" in icl.claim and ", p=0.00" in icl.here


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.703, 0.703, 0.703), "the same size"),  # .203 / .2: +1.5 %
        ((0.7199, 0.7199, 0.7199), "the same size"),
        ((0.725, 0.725, 0.725), "another size"),
        ((0.695, 0.70, 0.705), "inconclusive"),
        ((0.70, 0.705, 0.713), "inconclusive"),  # +3 %, and zero is not ruled out
        ((0.71,), "inconclusive"),
        ((), "not tested"),
    ],
)
def test_a_gain_is_of_the_papers_size_from_1_5_to_10_percent(scores, verdict):
    runs = {"DIN": scored(0.70, 0.70, 0.70), "ICL": [], "AQCL": scored(*scores)}
    assert claims("aqcl-table2", runs)[2].verdict == verdict


def test_the_protocol_is_checked_on_beauty_with_the_papers_split_alone():
    def check(auc, **changes):
        runs = {"DIN": scored(auc, auc), "ICL": [], "AQCL": []}
        return claims("aqcl-table2", runs, **changes)[0]

    assert check(0.75).verdict == "failed: find out why before comparing"
    assert check(0.65).verdict == "failed: find out why before comparing"
    assert check(0.70, split="temporal").verdict == "not tested"
    assert check(0.70, draw="popularity").verdict == "not tested"
    assert "protocol check" not in check(0.75, data="ta-feng").claim


def test_table_3_asks_for_the_sign_and_on_din_for_the_gain():
    over = {"AQCL on W&D": "W&D", "AQCL on DIN": "DIN", "AQCL on HyperCTR": "HyperCTR"}
    runs = {"W&D": scored(0.68, 0.681, 0.682), "AQCL on W&D": scored(0.6813, 0.6822, 0.6832),
            "DIN": scored(0.70, 0.701, 0.702), "AQCL on DIN": scored(0.7013, 0.7022, 0.7032),
            "HyperCTR": [], "AQCL on HyperCTR": []}  # fmt: skip
    wide, din, ours = claims("aqcl-table3", runs, over=over)
    assert (wide.verdict, din.verdict, ours.verdict) == ("reproduced", "inconclusive", "not tested")
    assert "+0.0038 on Amazon Beauty" in wide.claim and "no number in the paper" in ours.claim


def test_claims_on_the_figures():
    low, high = scored(0.70, 0.70, 0.70), scored(0.71, 0.711, 0.712)
    alpha = {"DIN": low, "ICL": low, "alpha 0": low, "alpha 1": low, "adaptive": high}
    assert claims("aqcl-alpha", alpha)[0].verdict == "reproduced"  # ICL is no constant alpha, and asked nothing
    assert claims("aqcl-alpha", alpha | {"alpha 1": high})[0].verdict == "inconclusive"
    assert claims("aqcl-dz", {"8": low, "64": high})[0].verdict == "reproduced"
    assert claims("aqcl-k", {"1": high, "5": low})[0].verdict == "contradicted"
    assert claims("aqcl-k", {"1": low, "10": high})[0].verdict == "not tested"
    weights = {"0.01": low, "0.05": high, "0.5": low}
    assert claims("aqcl-w", weights)[0].verdict == "reproduced"
    edge = claims("aqcl-w", weights | {"0.5": scored(0.8, 0.8, 0.8)})[0]
    assert edge.verdict == "inconclusive" and "at the edge of the grid" in edge.here


# --- the paper's numbers -------------------------------------------------------------------------------------------


def test_the_papers_relaimpr_follows_from_its_aucs():
    printed = {  # Table 2's AQCL and DropoutNet, Table 3's Wide & Deep
        ("aqcl-table2", "AQCL", "Amazon Beauty"): (6.24, 6.22, 8.09, 3.57),
        ("aqcl-table2", "AQCL", "Ta Feng"): (3.54, 2.75, 2.07, 4.43),
        ("aqcl-table2", "AQCL", "Oncold"): (3.46, 1.48, 8.24, 6.49),
        ("aqcl-table2", "DropoutNet", "Amazon Beauty"): (-1.38, -1.63, -1.45, -0.77),
        ("aqcl-table2", "DeepMCP", "Oncold"): (2.85, 2.03, 4.60, 4.56),
        ("aqcl-table2", "DMR", "Ta Feng"): (0.80, 1.29, 0.05, 1.10),
        ("aqcl-table2", "ICL", "Amazon Beauty"): (3.07, 2.79, 3.59, 2.03),
        ("aqcl-table3", "AQCL on W&D", "Amazon Beauty"): (2.11,),
        ("aqcl-table3", "AQCL on DeepFM", "Ta Feng"): (2.73,),
    }
    for (name, row, column), percents in printed.items():
        bare = "DIN" if name == "aqcl-table2" else row.removeprefix("AQCL on ")
        pairs = zip(*(find(name).columns.of(x, column) for x in (row, bare)), strict=True)
        assert [round(100 * relaimpr(*pair), 2) for pair in pairs] == pytest.approx(percents, abs=0.011)
    assert find("aqcl-table2").columns.of("QCL", "Ta Feng") is None
    assert find("aqcl-w").columns.of("DIN", "Ta Feng") is None


def shown_of(**changes):
    return table2._paper_sets(Scores(find("aqcl-table2"), facts("aqcl-table2", **changes), {}))


def test_column_beside_ours_goes_by_name_and_the_private_set_is_shown_only_when_asked_for():
    assert [paper_numbers.like(x) for x in ("amazon-beauty-5core", "ta-feng", "shop")] == [
        "Amazon Beauty",
        "Ta Feng",
        "",
    ]
    one, every = (bench.data_set(find("aqcl-w"), text) for text in ("oncold", "ALL"))
    shown = {text: shown_of(paper=text) for text in ("", "Ta Feng", one, every)}
    assert list(map(list, shown.values())) == [
        ["Amazon Beauty", "Ta Feng"], ["Ta Feng"], ["Oncold"], ["Amazon Beauty", "Ta Feng", "Oncold"],
    ]  # fmt: skip
    assert shown_of(base="GRU4Rec") == ()  # the paper's Table 2 is DIN's


# --- files ---------------------------------------------------------------------------------------------------------


def test_table_has_auc_and_relaimpr_with_intervals_overall_and_by_group(world, tmp_path, trainer):
    found, _ = run("aqcl-table2", world, tmp_path, column="Amazon Beauty")
    lines = {line["row"]: line for line in csv.DictReader((tmp_path / "table.csv").open())}
    line, base_auc, ours = lines["AQCL"], 0.701, 0.713 + 0.0002 / 3
    assert float(line["overall AUC"]) == pytest.approx(ours)
    assert float(line["overall RelaImpr"]) == pytest.approx((ours - 0.5) / (base_auc - 0.5) - 1)
    assert float(line["non-active RelaImpr"]) == pytest.approx((ours - 0.52) / (base_auc - 0.52) - 1)
    assert float(line["highly active difference"]) == pytest.approx(ours - base_auc)
    assert all(
        float(line[f"{group} {what} half"]) >= 0 for group in paper_numbers.GROUPS for what in ("AUC", "RelaImpr")
    )
    assert (line["paper Amazon Beauty overall AUC"], lines["QCL"]["paper Amazon Beauty overall AUC"]) == ("0.7078", "")
    assert float(line["paper Amazon Beauty highly active RelaImpr"]) == pytest.approx(0.0357, abs=5e-5)
    assert lines["DIN"]["overall RelaImpr"] == "" and float(lines["popularity"]["overall RelaImpr"]) < 0
    assert [(g["group"], g["most_clicks"], g["share"]) for g in found["groups"]] == [
        ("non-active", 5, 0.6), ("slightly active", 12, 0.3), ("highly active", None, 0.1),
    ]  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    for head in (
        "### Overall",
        "### Non-active: users of up to 5 training clicks, 60% of the test rows",
        "### Slightly active: users of 6 to 12 training",
        "### Highly active: users of more than 12 training",
    ):
        assert head in text  # fmt: skip
    assert "stands in for Oncold, which is private" in text and "here the split is temporal" in text
    assert "- icl: w 0.05, tau1 0.1, dim 64" in text
    assert (tmp_path / "aqcl-table2.png").read_bytes()[:4] == b"\x89PNG"
    json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ["aqcl-table3", "aqcl-alpha", "aqcl-dz", "aqcl-w", "aqcl-k"])
def test_every_study_leaves_its_files(world, tmp_path, trainer, name):
    found, _ = run(name, world, tmp_path, seeds=1)
    assert {"base.toml", "bench.json", "results.csv", "table.csv", "report.md", f"{name}.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert found["failed"] == [] and {claim["verdict"] for claim in found["claims"]} <= {"inconclusive", "reproduced"}


def test_the_report_says_when_nothing_was_searched(world, tmp_path, trainer):
    run("aqcl-alpha", world, tmp_path / "default", seeds=1)
    assert "no searched w1 and w2 were given" in (tmp_path / "default" / "report.md").read_text()
    wear = {"name": "aqcl", "w1": 1.3}
    found, _ = run("aqcl-alpha", world, tmp_path / "searched", seeds=1, wear=wear)  # as best.toml of a search has it
    assert [row["row"] for row in found["rows"]][-1] == "adaptive, searched"
    assert "no searched w1" not in (tmp_path / "searched" / "report.md").read_text()


def test_a_row_that_failed_is_said_and_run_again(world, tmp_path, trainer):
    trainer.fails = {"ICL seed=1"}
    found, _ = run("aqcl-table2", world, tmp_path)
    assert found["failed"] == ["ICL, seed 1: failed: its process was killed"]
    trainer.fails = set()
    found, said = run("aqcl-table2", world, tmp_path)
    assert trainer.done == ["ICL seed=1"] and said[0] == "23 of 24 runs are done already, 1 to go"
    assert found["failed"] == []


def test_other_settings_of_what_is_worn_need_another_folder(world, tmp_path, trainer):
    run("aqcl-table2", world, tmp_path, seeds=1)
    with pytest.raises(ValueError, match="has ICL seed=0 of other settings; choose another --out"):
        run("aqcl-table2", world, tmp_path, seeds=1, given={"icl": WRAPPERS["icl"].Config(w=0.1)})
    run("aqcl-alpha", world, tmp_path / "alpha", seeds=1)
    run("aqcl-alpha", world, tmp_path / "alpha", seeds=1, given={"aqcl": WRAPPERS["aqcl"].Config(w1=1.3)})
    assert trainer.done == ["adaptive, searched seed=0"]  # what a search found is a row more
    with pytest.raises(ValueError, match="--wear is for studies that compare wrappers, not for layers"):
        run("layers", world, tmp_path / "layers", model={"name": "hyperctr"}, given={"icl": WRAPPERS["icl"].Config()})


def test_gains_stand_in_a_panel_a_group_with_the_papers_below():
    panels = {"overall": {"ICL": Score(0.03, 0.01, 3), "AQCL": Score(0.06, math.nan, 1)},
              "non-active": {"ICL": Score(math.nan, math.nan, 3), "AQCL": Score(0.05, 0.01, 3)}}  # fmt: skip
    paper = {"Ta Feng": {"overall": {"ICL": 0.026, "AQCL": 0.035}}}
    figure, first = draw_gains(panels, paper, "DIN", {"AQCL"})
    overall, low = figure.axes
    assert first is overall and [text.get_text() for text in overall.texts] == ["+3.0", "+6.0"]
    assert [text.get_text() for text in low.texts] == ["+5.0"]
    (marks,) = (c for c in overall.collections if c.get_label() == "the paper: Ta Feng")
    assert marks.get_offsets().tolist() == [[pytest.approx(2.6), 0.72], [pytest.approx(3.5), -0.28]]
    assert overall.get_xlabel() == "overall\nRelaImpr over DIN, %"


# --- hidden vectors ------------------------------------------------------------------------------------------------


def test_silhouette_is_of_the_vectors_and_high_where_interests_are_apart():
    rng = np.random.default_rng(0)
    code = np.arange(60) % 3
    apart = 10 * np.eye(3)[code] + 0.01 * rng.standard_normal((60, 3))
    found = fig6.flattened(apart, code, 0)
    assert min(found["silhouette"].values()) > 0.99 and len(found["x"]) == len(found["y"]) == 60
    mixed = fig6.flattened(apart, rng.permutation(code), 0)["silhouette"]
    assert mixed["by_interest"] < 0.1 and mixed["by_kmeans"] > 0.99
    assert fig6.flattened(apart, np.zeros(60), 0)["silhouette"] == {"by_interest": None, "by_kmeans": None}


def test_most_frequent_interests_and_agreement_with_categories():
    code = np.array([7, 7, 7, 2, 2, 5, *range(10, 20)])
    assert fig6.frequent(code)[:3] == [7, 2, 5] and len(fig6.frequent(code)) == fig6.INTERESTS
    found = fig6.agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]), np.array([0, 1, 0, 1]))
    assert found == pytest.approx({"clicked": 1.0, "favourite": 0.0})


# --- real runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch):
    found = Trainer(lambda run, folder: parallel.train(config.to_toml(run), str(folder)))
    monkeypatch.setattr(parallel, "run_all", found.run_all)
    return found


TINY = {"train": {"epochs": 1, "threads": 1, "batch_size": 256}, "wrapper": {"name": "aqcl", "codes": 8, "dim": 4}}


def test_a_real_table_2_and_what_is_added_to_it(world, tmp_path, real):
    found, _ = run("aqcl-table2", world, tmp_path, seeds=1, **TINY)
    assert found["failed"] == [] and [row["n"] for row in found["rows"]] == [1] * 8
    results = bench._results(tmp_path, find("aqcl-table2"))
    kept = json.loads((tmp_path / "runs" / "AQCL-seed-0" / "report.json").read_text())["test"]
    assert [results[-1][column] for column in GROUPS] == [kept[column] for column in GROUPS]
    assert len({(row["rows"], row["non_active_rows"]) for row in results}) == 1  # all are scored on the same rows
    assert len({row["logloss"] for row in results}) == 8
    again, said = run("aqcl-table2", world, tmp_path, seeds=1, **TINY)
    assert again == found and real.done == [] and said == ["8 of 8 runs are done already, 0 to go"]


def test_real_hidden_vectors_are_drawn_in_the_colours_of_aqcls_interests(world, tmp_path, real, hyperctr):
    found, _ = run("aqcl-tsne", world, tmp_path, seeds=4, **TINY)
    points = json.loads((tmp_path / "tsne.json").read_text())
    assert real.done == ["DIN seed=0", "AQCL seed=0"]  # one seed
    scores = json.loads((tmp_path / "runs" / "DIN-seed-0" / "report.json").read_text())["test"]
    assert points["clicks"] == scores["positives"]
    assert len(points["code"]) == points["clicks"] == len(points["vectors"][0]["x"]) and max(points["code"]) < 8
    (claim,) = found["claims"]
    assert "the items have no categories" in claim["here"] and claim["verdict"] == "not judged"
    assert [row["by_kmeans"] is not None for row in found["rows"]] == [True, True]
    before, real.done = (tmp_path / "aqcl-tsne.png").read_bytes(), None
    code, out, err = hyperctr("report", tmp_path)
    assert code == 0, err
    assert "silhouette of AQCL's" in out and real.done is None
    assert (tmp_path / "aqcl-tsne.png").read_bytes() == before


def test_the_category_that_a_user_clicked_most_is_that_of_training(world):
    from hyperctr.runs.prepare import prepare

    ready = prepare(base(world))
    log, category = ready.dataset.interactions, np.arange(ready.dataset.items.num_items) % 5
    found = fig6.favourites(ready, category)
    for user in range(log.num_users):
        rows = [row for row in ready.split.train if log.user[row] == user and log.label[row] == 1]
        count = np.bincount(category[log.item[rows]], minlength=5)
        assert found[user] == (int(count.argmax()) if rows else -1)


def test_the_command_wears_din_and_takes_settings_from_files(world, tmp_path, trainer, hyperctr):
    best = tmp_path / "best.toml"
    best.write_text(config.to_toml(base(world, wear={"name": "aqcl", "w1": 2.0, "dim": 32})))
    words = ["--data", world, "--seeds", "1", "--out", tmp_path / "out", "--split", "paper", "--paper", "oncold"]
    code, out, err = hyperctr("bench", "aqcl-table2", *words, "--wear", best)
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "bench.json").read_text())["facts"]
    assert (found["base"], found["split"], found["paper"]) == ("DIN", "leave-last-out", "Oncold")
    assert (found["settings"]["AQCL"]["w1"], found["settings"]["ICL"]["dim"]) == (2.0, 32)
    assert "the paper: Oncold" in out and "LEAKY" in out
    bare = tmp_path / "bare.toml"
    bare.write_text(config.to_toml(base(world)))
    code, out, err = hyperctr("bench", "aqcl-table2", *words, "--wear", bare)
    assert (code, out) == (2, "") and "--wear takes a run with a wrapper" in err
    code, out, err = hyperctr("bench", "aqcl-tabel2", "--data", world)
    assert (code, out) == (2, "") and "did you mean aqcl-table2?" in err
    assert Path(tmp_path / "out" / "aqcl-table2.png").exists()
