"""MIAN's studies: which runs they are, the paper's numbers, when a claim counts as reproduced, and real ones."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.analysis import mian_attention
from hyperctr.data import planted
from hyperctr.data import read as folder
from hyperctr.runs import parallel
from hyperctr.runs.open import open_run
from hyperctr.studies import STUDIES, bench, find
from hyperctr.studies import facts as about
from hyperctr.studies.bench import Options
from hyperctr.studies.mian import fig6, paper_numbers
from hyperctr.studies.study import Scores, Setup

SMALL = {"name": "mian", "dim": 4, "hidden": [8, 6], "heads": 4}
TINY = {"train": {"epochs": 1, "threads": 1, "batch_size": 256}}
NAMES = ("mian-table2", "mian-table3", "mian-table4", "mian-efficiency", "mian-fig6")


def base(path=".", model=SMALL, **tables):
    return config.read_run({"data": {"path": str(path), "history": 5}, "model": model, **tables})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("fields", tmp_path_factory.mktemp("world") / "fields", scale=0.03)


def rows(name, **tables):
    fields = {"group": np.zeros(4, int), "brand": np.zeros(4, int)}
    items = SimpleNamespace(fields=fields, modalities={})
    return find(name).rows(Setup(find(name), base(**tables)), SimpleNamespace(items=items))


def run(name, where, out, seeds=3, column=None, values=(), **tables):
    said, options = [], Options(values=values, seeds=seeds, paper_set=column, referees=False)
    return bench.run(find(name), base(where, **tables), out, options, say=said.append), said


# --- which runs ----------------------------------------------------------------------------------------------------


def test_rows_of_the_studies():
    names = {name: [row.name for row in rows(name)] for name in NAMES}
    assert tuple(x for x in STUDIES if x.startswith("mian-") and not find(x).worlds) == NAMES
    assert names == {
        "mian-table2": ["popularity", "LR", "W&D", "DCN", "DeepFM", "xDeepFM", "DIN", "DIEN", "MIAN"],
        "mian-table3": ["popularity", "MIAN", "w/o IUIM", "w/o ICIM", "w/o IBIM", "w/o GIM", "w/o IUIM&ICIM", "DIEN"],
        "mian-table4": ["popularity", "Pre-LN", "Transformer", "w/o both", "DIN"],
        "mian-efficiency": ["MIAN", "DIN", "DIEN"],
        "mian-fig6": ["popularity", "MIAN"],
    }


def test_a_row_changes_its_module_alone():
    start = base(train={"lr": 3e-3})
    found = {row.name: bench.run_of(start, row, 2) for name in ("mian-table3", "mian-table4")
             for row in rows(name, train={"lr": 3e-3})}  # fmt: skip
    changed = {
        name: {key: x for key, x in vars(run.model).items() if x != getattr(start.model, key)}
        for name, run in found.items() if run.model_name == "mian"
    }  # fmt: skip
    assert changed == {
        "MIAN": {}, "w/o IUIM": {"iuim": False}, "w/o ICIM": {"icim": False}, "w/o IBIM": {"ibim": False},
        "w/o GIM": {"gim": False}, "w/o IUIM&ICIM": {"iuim": False, "icim": False}, "Pre-LN": {},
        "Transformer": {"encoder": "post_ln"}, "w/o both": {"encoder": "none"},
    }  # fmt: skip
    assert {(run.train.seed, run.train.lr) for run in found.values() if run.model_name != "popularity"} == {(2, 3e-3)}


def test_other_models_take_the_sizes_that_they_share():
    runs_ = {row.name: bench.run_of(base(), row, 0) for row in rows("mian-table2")}
    assert runs_["DIN"].model.dim == runs_["DIEN"].model.dim == runs_["DeepFM"].model.dim == 4
    assert runs_["DeepFM"].model.hidden == (8, 6) and runs_["popularity"].model_name == "popularity"


def test_time_is_compared_at_vectors_of_one_width():
    runs_ = {row.name: bench.run_of(base(), row, 0) for row in rows("mian-efficiency")}
    assert {name: run.model.dim for name, run in runs_.items()} == {"MIAN": 4, "DIN": 12, "DIEN": 12}
    assert {(run.train.epochs, run.train.batch_size) for run in runs_.values()} == {(1, base().train.batch_size)}


@pytest.mark.parametrize(
    ("name", "tables", "values", "says"),
    [
        ("mian-table3", {}, ["1"], "the rows of mian-table3 are fixed, it takes no --values"),
        (
            "mian-fig6",
            {"model": {"name": "din"}},
            [],
            "mian-fig6 studies mian, the run names din; use model.name = mian",
        ),
        (
            "mian-table2",
            {"wrapper": {"name": "aqcl"}},
            [],
            "mian-table2 compares models without a wrapper, the run has aqcl",
        ),
        ("mian-fig6", {"model": SMALL | {"gim": False}}, [], "mian-fig6 shows the global attention"),
    ],
)
def test_what_cannot_be_compared_stops_before_anything_is_written(world, tmp_path, name, tables, values, says):
    with pytest.raises(ValueError, match=says):
        run(name, world, tmp_path / "out", values=values, **tables)
    assert not (tmp_path / "out").exists()


def test_what_the_data_lack_is_noted(tmp_path):
    where = planted.write("noise", tmp_path / "noise", scale=0.03)
    dataset, one = folder.read(where), find("mian-table3")
    notes = one.notes(Setup(one, base(where)), dataset)
    assert len(notes) == 2 and "no fields of users" in notes[0] and "there is no ICIM" in notes[1]
    notes = one.notes(Setup(one, base(where, data={"path": str(where), "derive": ["hour"]})), dataset)
    assert len(notes) == 1


# --- the paper's numbers -------------------------------------------------------------------------------------------


def test_the_papers_gains_follow_from_its_numbers():
    """Table 2's last line: over DIEN, DIEN and DCN."""
    two, three, four = paper_numbers.TABLE2, paper_numbers.TABLE3, paper_numbers.TABLE4
    printed = {"Amazon Books": ("DIEN", 0.61), "Amazon Electronics": ("DIEN", 0.87), "commercial": ("DCN", 0.37)}
    for column, (best, percent) in printed.items():
        ours, theirs = (two.of(row, column)[0] for row in ("MIAN", best))
        assert 100 * (ours / theirs - 1) == pytest.approx(percent, abs=0.016)
        every = [two.of(row, column)[0] for row in two.rows]
        assert sorted(every)[-2:] == [theirs, ours]
    assert three.of("w/o IBIM", "Amazon Electronics") == (0.8843, 0.1214)
    assert three.of("w/o IBIM", "commercial") is None
    assert four.of("w/o both", "commercial") == two.of("DIN", "commercial")
    assert two.of("popularity", "commercial") is None


def test_column_beside_ours_goes_by_name():
    assert [paper_numbers.like(x) for x in ("amazon-books", "Electronics-5core", "ml-1m")] == [
        "Amazon Books", "Amazon Electronics", "",
    ]  # fmt: skip
    both, every = ("Amazon Books", "Amazon Electronics"), bench.data_set(find("mian-table2"), "all")

    def shown(name, asked):
        return find(name).columns.shown(asked)

    assert shown("mian-table2", "") == shown("mian-table3", every) == both
    assert shown("mian-table2", every) == (*both, "commercial")
    assert shown("mian-table2", "Amazon Books") == ("Amazon Books",)
    assert shown("mian-table4", "Amazon Books") == ("commercial",)
    assert shown("mian-fig6", "") == ()


# --- claims --------------------------------------------------------------------------------------------------------


def scored(*aucs, **columns):
    """Runs of seeds 0, 1, ... with these AUCs, and other columns of as many values."""
    interval = [{"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc} for auc in aucs]
    return [
        row | {"seed": seed} | {name: values[seed] for name, values in columns.items()}
        for seed, row in enumerate(interval)
    ]


def judged(name, found, read=(), notes=()):
    facts = {"rows": [[row, "mian"] for row in found], "notes": list(notes)}
    return find(name).judge(Scores(find(name), facts, found, {"weights": {"MIAN": list(read)}}))


def claims(name, found, read=()):
    return {one.claim: one.verdict for one in judged(name, found, read)}


NOISE = (0.0, 0.0001, -0.0001)


def around(auc):
    return scored(*(auc + x for x in NOISE))


def test_mian_may_lie_a_little_below_the_best_baseline_and_din_must_be_above_lr():
    names = ("popularity", "LR", "DIN", "DIEN", "MIAN")
    found = dict(zip(names, map(around, (0.5, 0.70, 0.706, 0.7049, 0.705)), strict=True))
    best, din, dien = claims("mian-table2", found).values()
    assert (best, din, dien) == ("reproduced", "reproduced", "contradicted")
    assert next(iter(claims("mian-table2", found | {"MIAN": around(0.7035)}).values())) == "contradicted"


@pytest.mark.parametrize(("auc", "verdict"), [(0.69, "reproduced"), (0.7005, "reproduced"), (0.7015, "contradicted")])
def test_a_removal_may_gain_a_thousandth(auc, verdict):
    found = {"popularity": around(0.5), "MIAN": around(0.7), "w/o GIM": around(auc)}
    assert claims("mian-table3", found)["every module helps: w/o GIM is worse; here it may gain 0.001"] == verdict


def test_both_interactions_removed_must_not_be_better_than_one():
    low, high = around(0.69), around(0.70)
    found = {"popularity": around(0.5), "MIAN": high, "w/o IUIM": low, "w/o ICIM": high, "w/o IUIM&ICIM": around(0.695)}
    got = {text: verdict for text, verdict in claims("mian-table3", found).items() if "than without one" in text}
    assert list(got.values()) == ["contradicted", "reproduced"]


def test_pre_ln_is_compared_with_none_and_with_the_other_by_its_epochs():
    found = {"popularity": around(0.5), "Pre-LN": around(0.7), "w/o both": around(0.699)}
    found |= {"Transformer": around(0.7)}
    for name in ("Pre-LN", "Transformer"):
        found[name] = [run | {"best_epoch": 3.0 if name == "Pre-LN" else 5.0} for run in found[name]]
    one, two = claims("mian-table4", found).values()
    assert (one, two) == ("reproduced", "not judged")
    assert judged("mian-table4", found)[1].here.endswith("Pre-LN 3.0, Transformer 5.0")


@pytest.mark.parametrize(("times", "verdict"), [((1.2, 1.25, 1.3), "reproduced"), ((0.8, 0.81, 0.8), "contradicted"),
                                                ((1.2, 1.3), "inconclusive"), ((), "not tested")])  # fmt: skip
def test_an_epoch_must_take_less_time_than_diens_repeat_by_repeat(times, verdict):
    found = {"MIAN": scored(*[0.7] * len(times), seconds=[10.0] * len(times)),
             "DIEN": scored(*[0.7] * len(times), seconds=[10 * x for x in times])}  # fmt: skip
    assert list(claims("mian-efficiency", found).values()) == [verdict]
    (one,) = judged("mian-efficiency", found, notes=["noisy: other work was running"])
    assert one.verdict == "inconclusive" and one.here.endswith("the machine was noisy, so no verdict")


def test_interactions_must_weigh_more_than_their_share_of_the_parts():
    def read(*shares):
        parts = ["e_i", "e_c", "e_b", "e_u", "R_ibim", "R_iuim", "R_icim"]
        return [{"parts": parts, "mean": [(1 - x) / 4] * 4 + [x / 3] * 3, "seed": s} for s, x in enumerate(shares)]

    for shares, verdict in (((0.6, 0.62, 0.61), "reproduced"), ((0.3, 0.31, 0.29), "contradicted"),
                            ((0.43, 0.6, 0.3), "inconclusive"), ((0.6,), "inconclusive")):  # fmt: skip
        assert list(claims("mian-fig6", {"MIAN": []}, read(*shares)).values()) == [verdict]
    few = [{"parts": ["e_i", "R_ibim"], "mean": [0.5, 0.5], "seed": s} for s in range(3)]
    assert judged("mian-fig6", {}, few)[0].here.startswith("0.500 of the weight, 0.500 of the parts")


# --- files ---------------------------------------------------------------------------------------------------------

AUC = {"popularity": 0.6, "lr": 0.65, "din": 0.70, "dien": 0.705, "mian": 0.71}


def reported(run, folder_):
    """What a run might report: an AUC by model, a little more with every seed."""
    auc = AUC.get(run.model_name, 0.68) + 0.001 * run.train.seed
    if run.model_name == "mian":
        auc -= 0.005 * sum(not getattr(run.model, name) for name in ("ibim", "iuim", "icim", "gim"))
        auc -= {"pre_ln": 0.0, "post_ln": 0.001, "none": 0.004}[run.model.encoder]
    scores = {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "user_auc": 0.6, "positive_auc": float("nan"),
              "logloss": 0.1, "logloss_1to1": 0.6, "rows": 100}  # fmt: skip
    seconds = {"din": 3.0, "dien": 5.0}.get(run.model_name, 4.0)
    return {"data": "planted-fields", "split": run.split.kind, "leaky": run.split.kind != "temporal", "best_epoch": 1,
            "seconds": seconds, "test": scores, "valid": {"auc": auc}}  # fmt: skip


@pytest.mark.parametrize("name", NAMES[:4])
def test_every_study_leaves_its_files(world, tmp_path, stand_in, name, monkeypatch):
    stand_in(reported)
    monkeypatch.setattr(about, "noise", lambda: [])
    found, _ = run(name, world, tmp_path)
    assert {"base.toml", "bench.json", "results.csv", "table.csv", "report.md", f"{name}.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert found["failed"] == [] and found["claims"]
    assert {claim["verdict"] for claim in found["claims"]} <= {"reproduced", "not judged"}, found["claims"]
    json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)
    assert bench.redraw(tmp_path) == found


def test_the_table_has_ours_beside_the_papers(world, tmp_path, stand_in):
    stand_in(reported)
    found, _ = run("mian-table2", world, tmp_path, column="Amazon Books")
    lines = {row["row"]: row for row in found["rows"]}
    assert lines["MIAN"]["over"] == "DIEN" and lines["MIAN"]["difference"] == pytest.approx(0.005)
    assert lines["DIN"]["the paper: Amazon Books, AUC"] == 0.8145 and lines["DIN"]["auc"] == pytest.approx(0.701)
    assert lines["popularity"]["the paper: Amazon Books, AUC"] is None
    text = (tmp_path / "report.md").read_text()
    assert "The best baseline, by validation AUC, is DIEN." in text and "Electronics" not in text.split("## Table")[1]
    assert "never compare its log loss with ours" in text and "here the split is temporal" in text


def test_time_is_told_against_din(world, tmp_path, stand_in):
    stand_in(reported)
    found, _ = run("mian-efficiency", world, tmp_path, seeds=2)
    lines = {row["row"]: row for row in found["rows"]}
    assert [lines[name]["over DIN"] for name in ("DIN", "MIAN", "DIEN")] == pytest.approx([1.0, 4 / 3, 5 / 3])
    assert lines["MIAN"]["the paper: over DIN"] == pytest.approx(1.177, abs=1e-3)
    text = (tmp_path / "report.md").read_text()
    assert "1.67 (1.67 to 1.67)" in text and "One epoch per process, one process at a time, 2 repeats, median." in text


# --- real runs -----------------------------------------------------------------------------------------------------


def trained(run, folder_):
    return parallel.train(config.to_toml(run), str(folder_))


def test_the_weights_of_figure_6_are_those_of_the_trained_run(world, tmp_path, stand_in, hyperctr, monkeypatch):
    stand_in(trained)
    monkeypatch.setattr(fig6, "READ", 40)
    found, _ = run("mian-fig6", world, tmp_path, seeds=1, **TINY)
    (told,) = json.loads((tmp_path / "measures.json").read_text())["MIAN"]
    opened = open_run(tmp_path / "runs" / "MIAN-seed-0")
    reading = mian_attention.read(opened, mian_attention.cases(opened))
    assert told["heat"] == reading.heat().tolist() and len(told["heat"][0]) == 14 == len(told["probability"])
    many = mian_attention.read(opened, mian_attention.cases(opened, fig6.READ))
    assert told["mean"] == many.heat().mean(1).tolist() and set(told["faithful"]) == set(mian_attention.GROUPS)
    text = (tmp_path / "report.md").read_text()
    assert "Weights of the first seed" in text and "rank correlation" in text
    assert [row["n"] for row in found["rows"]] == [1, 1] and (tmp_path / "mian-fig6.png").stat().st_size > 10_000
    before = (tmp_path / "mian-fig6.png").read_bytes()
    code, out, err = hyperctr("report", tmp_path)
    assert code == 0, err
    assert (tmp_path / "mian-fig6.png").read_bytes() == before and "inconclusive" in out


def test_a_run_is_measured_once(world, tmp_path, stand_in, monkeypatch):
    stand_in(trained)
    monkeypatch.setattr(fig6, "READ", 20)
    run("mian-fig6", world, tmp_path, seeds=1, **TINY)
    monkeypatch.setattr(mian_attention, "read", lambda *given: pytest.fail("measured again"))
    run("mian-fig6", world, tmp_path, seeds=1, **TINY)
    facts = {"rows": [["MIAN", "mian"]], "seeds": [5]}
    assert find("mian-fig6").measurements["weights"].read(tmp_path, facts) == {"MIAN": []}  # of another seed
    before = (tmp_path / "measures.json").read_text()
    shutil.rmtree(tmp_path / "runs")
    run("mian-fig6", world, tmp_path, seeds=1, **TINY)
    assert (tmp_path / "measures.json").read_text() == before  # it stays when the runs are gone


def test_the_command_studies_mian_from_nothing_but_data(world, tmp_path, stand_in, hyperctr):
    stand_in(reported)
    words = ["--data", world, "--seeds", "1", "--out", tmp_path / "out", "--split", "paper", "--paper", "electronics"]
    code, out, err = hyperctr("bench", "mian-table3", *words)
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "bench.json").read_text())["facts"]
    assert (found["split"], found["paper"], found["over"]["w/o GIM"]) == (
        "leave-last-out", "Amazon Electronics", "MIAN",
    )  # fmt: skip
    assert "LEAKY" in out and "0.8843" in out
    code, out, err = hyperctr("bench", "mian-tabel3", "--data", world)
    assert (code, out) == (2, "") and "did you mean mian-table3?" in err
    code, out, err = hyperctr("bench", "mian-table3", "--data", world, "--paper", "beauty")
    assert (code, out) == (2, "") and "--paper takes one of books, electronics, commercial, all, got 'beauty'" in err
