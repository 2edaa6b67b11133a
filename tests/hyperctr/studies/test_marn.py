"""MARN's studies: which runs they are, the paper's numbers, when a claim counts as reproduced, and real ones."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hyperctr import config
from hyperctr.analysis import marn_modalities
from hyperctr.data import planted, read
from hyperctr.evaluation.metrics import unseen_recall
from hyperctr.evaluation.significance import Score
from hyperctr.runs import parallel
from hyperctr.runs.open import open_run
from hyperctr.runs.train import train
from hyperctr.serving import vectors
from hyperctr.studies import STUDIES, bench, find
from hyperctr.studies.bench import Options
from hyperctr.studies.figures import draw_series
from hyperctr.studies.marn import fig4, fig5, fig6, paper_numbers, table3, table5
from hyperctr.studies.marn.figures import draw_adversary
from hyperctr.studies.marn.setting import AUC
from hyperctr.studies.study import Scores, Setup

SMALL = {"name": "marn", "dim": 4, "hidden": [8, 6]}
TINY = {"train": {"epochs": 2, "threads": 1, "batch_size": 256}, "slices": {"every": "20d"}}
NAMES = ("marn-table2", "marn-table3", "marn-table4", "marn-table5", "marn-fig4", "marn-fig5", "marn-fig6")


def base(path=".", model=SMALL, **tables):
    return config.read_run({"data": {"path": str(path), "history": 5}, "model": model, **tables})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return planted.write("categories", tmp_path_factory.mktemp("world") / "categories", scale=0.03)


def rows(name, values=(), **tables):
    items = SimpleNamespace(modalities={"visual": None}, titles=None, categories={"category": None})
    setup = Setup(find(name), base(**tables), tuple(values) or find(name).values())
    return find(name).rows(setup, SimpleNamespace(items=items))


def run(name, where, out, seeds=3, column=None, values=(), **tables):
    said, options = [], Options(values=values, seeds=seeds, paper_set=column, referees=False)
    return bench.run(find(name), base(where, **tables), out, options, say=said.append), said


# --- which runs ----------------------------------------------------------------------------------------------------


def test_rows_of_the_studies():
    names = {name: [row.name for row in rows(name)] for name in NAMES}
    assert tuple(x for x in STUDIES if x.startswith("marn-") and not find(x).worlds) == NAMES
    assert names == {
        "marn-table2": ["popularity", "LR", "FM", "YoutubeNet", "xDeepFM", "DUPN", "DIEN", "DMF", "MMSS", "NAML",
                        "MARN"],
        "marn-table3": ["popularity", "Base+IDs", "Base+IMAGE", "Base+CONC", "Base+MAF", "Base+MAF+ADV",
                        "Base+MAF+DDMA", "MARN"],
        "marn-table4": ["popularity", "Base+IDs", "MARN"],
        "marn-table5": ["popularity", "Base+IDs", "MARN"],
        "marn-fig4": ["popularity", "MARN"],
        "marn-fig5": ["popularity", "lambda_0 = 0", "MARN"],
        "marn-fig6": ["popularity", "0.01", "0.05", "0.1", "0.5", "1.0", "1.8"],
    }  # fmt: skip
    assert "Base+IMAGE" not in [row.name for row in table3.rows_with("")]


def test_the_ladder_climbs_a_part_at_a_time():
    found = {row.name: bench.run_of(base(), row, 0).model for row in rows("marn-table3")[1:]}
    switches = {name: (m.modalities, m.fusion, m.adversary, m.behaviour, m.weight) for name, m in found.items()}
    assert switches == {
        "Base+IDs": (("ids",), "sum", "none", "gru", 0.05),
        "Base+IMAGE": (("visual",), "sum", "none", "gru", 0.05),
        "Base+CONC": ((), "sum", "none", "gru", 0.05),
        "Base+MAF": ((), "maf", "none", "gru", 0.05),
        "Base+MAF+ADV": ((), "maf", "single", "gru", 0.05),
        "Base+MAF+DDMA": ((), "maf", "double", "gru", 0.05),
        "MARN": ((), "maf", "double", "apgru", 0.05),
    }
    over = {row.name: row.over for row in rows("marn-table3") if row.over}
    assert over == dict(zip(list(switches)[1:], ["Base+IDs", *["Base+IDs"], *list(switches)[2:-1]], strict=True))


def test_a_weight_changes_lambda_alone():
    found = [bench.run_of(base(), row, 0).model for row in rows("marn-fig6", ["0.1", "1"])[1:]]
    assert found == [replace(base().model, weight=x) for x in (0.1, 1.0)]
    (without,) = [row for row in rows("marn-fig5") if row.name == fig5.NONE.name]
    assert bench.run_of(base(), without, 0).model == replace(base().model, weight=0.0)


@pytest.mark.parametrize(
    ("name", "tables", "values", "says"),
    [
        ("marn-table3", {}, ["1"], "the rows of marn-table3 are fixed, it takes no --values"),
        ("marn-fig6", {}, ["0.1", "x"], "--values of marn-fig6 are numbers separated by commas, got 'x'"),
        ("marn-fig6", {}, ["-1"], "model.weight must be a number, at least 0, got -1.0"),
        ("marn-table2", {"model": {"name": "din"}}, [], "marn-table2 studies marn, the run names din"),
        (
            "marn-fig5",
            {"wrapper": {"name": "icl"}},
            [],
            "marn-fig5 compares models without a wrapper, the run has icl",
        ),
    ],
)
def test_what_cannot_be_compared_stops_before_anything_is_written(world, tmp_path, name, tables, values, says):
    with pytest.raises(ValueError, match=says):
        run(name, world, tmp_path / "out", values=values, **tables)
    assert not (tmp_path / "out").exists()


def test_what_the_data_lack_is_said(world):
    dataset = read.read(world)

    def planned(name, **items):
        some = replace(dataset, items=replace(dataset.items, **items))
        setup = Setup(find(name), base(world))
        return find(name).rows(setup, some), find(name).notes(setup, some)

    heard = {name: x for name, x in dataset.items.modalities.items() if name != "visual"}
    plan, notes = planned("marn-table3", modalities=heard, present={})
    assert notes == ["the data have no image of items: there is no row Base+IMAGE"] and len(plan) == 7
    with pytest.raises(ValueError, match="marn-table2 needs modalities or titles of items"):
        planned("marn-table2", modalities={}, present={})
    with pytest.raises(ValueError, match="marn-fig4 needs a category of items"):
        planned("marn-fig4", fields={})


# --- the paper's numbers -------------------------------------------------------------------------------------------


def test_the_papers_gains_follow_from_its_numbers():
    two, three = paper_numbers.TABLE2, paper_numbers.TABLE3
    gains = [("MARN", "NAML", two, (0.76, 0.84, 0.88)),
             ("Base+CONC", "Base+IDs", three, (0.32, 0.63, 0.65)),
             ("MARN", "Base+IDs", three, (1.37, 1.8, 1.91)),
             ("Base+MAF", "Base+CONC", three, (0.32, 0.35, 0.39)),
             ("Base+MAF+DDMA", "Base+MAF+ADV", three, (0.39, 0.51, 0.52))]  # fmt: skip
    for row, other, table, points in gains:
        for column, gain in zip(table.sets, points, strict=True):
            ours, theirs = (table.of(name, column)[0] for name in (row, other))
            assert 100 * (ours - theirs) == pytest.approx(gain, abs=1e-6)
    gaps = [round(100 * (b - a), 1) for a, b in zip(*paper_numbers.LEVELS.values(), strict=True)]
    assert gaps == [4.4, 2.5, 2.2, 2.1, 1.8, 1.3, 0.6, 0.2, 0.2, 0.1]
    assert all(len(x) == len(paper_numbers.NEAREST) for x in paper_numbers.RECALL.values())
    assert two.of("popularity", "Taobao") is None


def test_column_beside_ours_goes_by_name():
    assert [paper_numbers.like(x) for x in ("amazon-electronics", "Clothing-5core", "kuairand")] == [
        "Amazon Electro", "Amazon Clothe", "",
    ]  # fmt: skip
    assert find("marn-table3").columns.shown("") == tuple(paper_numbers.SETS.values())
    assert find("marn-table3").columns.shown("Taobao") == ("Taobao",)
    assert find("marn-table4").columns.shown("") == ()


# --- claims --------------------------------------------------------------------------------------------------------

NOISE = (0.0, 0.0001, -0.0001)


def around(auc, **columns):
    """Three seeds whose AUC of Eq. (11) is this; the AUC over all rows says something else."""
    line = {"auc": 0.6, "auc_low": 0.59, "auc_high": 0.61, "valid_auc": auc} | columns
    return [line | {"seed": seed, AUC: auc + x} for seed, x in enumerate(NOISE)]


def claims(name, found, told=None, **more):
    facts = {"rows": [[row, "marn"] for row in found]} | more
    return find(name).judge(Scores(find(name), facts, found, {"runs": told or {}}))


def test_tables_are_judged_by_the_mean_over_users():
    found = {"popularity": around(0.5), "LR": around(0.7), "NAML": around(0.72), "MARN": around(0.719)}
    got = {one.claim: one.verdict for one in claims("marn-table2", found)}
    assert list(got.values()) == ["reproduced", "reproduced", "reproduced"]  # a little below NAML, above LR both
    assert claims("marn-table2", found | {"MARN": around(0.717)})[0].verdict == "contradicted"
    assert claims("marn-table2", found | {"MARN": around(0.699)})[2].verdict == "contradicted"


def test_each_rung_must_not_be_below_the_one_before():
    aucs = {"Base+IDs": 0.70, "Base+IMAGE": 0.65, "Base+CONC": 0.71, "Base+MAF": 0.705, "Base+MAF+ADV": 0.72,
            "Base+MAF+DDMA": 0.719, "MARN": 0.73}  # fmt: skip
    got = claims("marn-table3", {"popularity": around(0.5)} | {row: around(x) for row, x in aucs.items()})
    assert [one.verdict for one in got] == [
        "reproduced", "contradicted", "reproduced", "reproduced", "reproduced", "reproduced", "contradicted",
        "reproduced",
    ]  # fmt: skip
    assert (
        len(claims("marn-table3", {"Base+IDs": around(0.7), "Base+CONC": around(0.7)})) == 1
    )  # of rows that are there


def told(**rows_):
    """Measures by row: a list over seeds of what differs."""
    return {name: [{"seed": seed} | each for seed, each in enumerate(some)] for name, some in rows_.items()}


def test_gains_must_be_largest_where_items_are_unpopular():
    ids, low = {"levels": [0.6] * 9 + [None]}, {"levels": [0.65] * 4 + [0.6] * 5 + [0.7]}
    high = {"levels": [0.6] * 6 + [0.65] * 4}
    for one, verdict in ((low, "reproduced"), (high, "contradicted")):
        measures = told(MARN=[one] * 3) | {"Base+IDs": told(x=[ids] * 3)["x"]}
        (claim,) = claims("marn-table4", {"MARN": [], "Base+IDs": []}, measures)
        assert claim.verdict == verdict
    assert "0.050" in claims("marn-table4", {}, told(MARN=[low] * 3) | {"Base+IDs": told(x=[ids] * 3)["x"]})[0].here


def test_recall_is_compared_up_to_a_hundred_and_random_must_be_chance():
    ids = {"recall": [0.1] * 10 + [0.9]}
    ours = {"recall": [0.2] * 10 + [0.3], "random": [n / 2000 for n in paper_numbers.NEAREST], "unseen": 2000,
            "clicks": 500}  # fmt: skip
    more, random = claims("marn-table5", {}, told(MARN=[ours] * 3) | {"Base+IDs": told(x=[ids] * 3)["x"]})
    assert more.verdict == "reproduced" and "0.100" in more.here and random.verdict == "passed"
    wrong = ours | {"random": [0.5] * 11}
    assert claims("marn-table5", {}, told(MARN=[wrong]))[1].verdict == "failed: find out why before comparing"
    assert [one.verdict for one in claims("marn-table5", {}, {})] == ["not tested", "not tested"]


def test_probes_must_tell_specific_parts_and_invariant_ones_less_than_without_the_adversary():
    def measures(specific, invariant, without):
        ours = [{"specific": specific + x, "invariant": invariant + x, "chance": 0.25} for x in NOISE]
        return told(MARN=ours) | {fig5.NONE.name: told(x=[{"invariant": without}] * 3)["x"]}

    assert [one.verdict for one in claims("marn-fig5", {}, measures(0.95, 0.3, 0.6))] == ["reproduced"] * 2
    assert [one.verdict for one in claims("marn-fig5", {}, measures(0.8, 0.7, 0.6))] == ["contradicted"] * 2


def test_the_adversarial_loss_must_rise_under_the_weight_nearest_to_the_papers():
    up, down = {"adversarial": [0.5, 0.6, 0.9]}, {"adversarial": [0.9, 0.95, 0.5]}
    found = {"0.01": around(0.7), "0.1": around(0.72)}
    rise, best = claims("marn-fig6", found, {"0.01": told(x=[down] * 3)["x"], "0.1": told(x=[up] * 3)["x"]},
                        values=["0.01", "0.1"])  # fmt: skip
    assert rise.verdict == "reproduced" and "lambda_0 = 0.1" in rise.here
    assert best.verdict == "not judged" and best.here.startswith("0.1 is best")
    assert fig6.nearest(["0.01", "0.05", "0.1"]) == "0.05"


def test_the_category_that_attends_most_is_named():
    ours = [{"categories": ["3", "7"], "modalities": ["ids", "visual"], "strength": [[1.0, None], [3.0, 2.0]]}]
    assert fig4.highest(ours) == "highest: ids in 7 (1.50 of its mean), visual in 7 (1.00 of its mean)"


# --- files ---------------------------------------------------------------------------------------------------------


def reported(run, folder_):
    """What a run might report: an AUC by model and switches, a little more with every seed."""
    model = run.model
    auc = {"popularity": 0.6, "marn": 0.71, "naml": 0.705}.get(run.model_name, 0.68) + 0.001 * run.train.seed
    if run.model_name == "marn":
        auc -= 0.002 * sum((model.fusion == "sum", model.adversary != "double", model.behaviour == "gru"))
        auc -= 0.01 * len(model.modalities)
    scores = {"auc": auc - 0.05, "auc_low": auc - 0.06, "auc_high": auc - 0.04, "user_auc": auc, AUC: auc,
              "positive_auc": float("nan"), "logloss": 0.1, "logloss_1to1": 0.6, "rows": 100,
              "cold_item_auc": 0.6}  # fmt: skip
    return {"data": "planted-categories", "split": run.split.kind, "leaky": run.split.kind != "temporal",
            "best_epoch": 1, "seconds": 2.0, "test": scores, "valid": {"auc": auc}}  # fmt: skip


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_table_leaves_its_files(world, tmp_path, stand_in, name):
    stand_in(reported)
    found, _ = run(name, world, tmp_path, column="Taobao")
    assert {"base.toml", "bench.json", "results.csv", "table.csv", "report.md", f"{name}.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    lines = {row["row"]: row for row in found["rows"]}
    assert lines["MARN"][AUC] == pytest.approx(0.711) and lines["MARN"]["the paper: Taobao, AUC"] == 0.7486
    assert lines["MARN"]["over"] == ("NAML" if name == "marn-table2" else "Base+MAF+DDMA")
    json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)
    text = (tmp_path / "report.md").read_text()
    assert "| AUC, mean over users" in text and "the paper trains with AdaGrad" in text
    assert bench.redraw(tmp_path) == found


# --- what is asked of a trained MARN -------------------------------------------------------------------------------


def test_the_pair_of_figure_5_is_the_image_and_the_title():
    assert fig5.pair_of(("ids", "visual", "acoustic", "title", "statistic")) == ("visual", "title")
    assert fig5.pair_of(("ids", "audio", "textual", "statistic")) == ("textual", "audio")
    assert fig5.pair_of(("ids", "statistic")) == ("statistic", "ids")


def trained(run, folder_):
    return parallel.train(config.to_toml(run), str(folder_))


@pytest.fixture(scope="module")
def opened(world, tmp_path_factory):
    where = tmp_path_factory.mktemp("run") / "run"
    train(base(world, **TINY), where)
    return open_run(where), where


def test_recall_is_asked_of_fewer_items_than_are_unseen(opened):
    found = table5.of_unseen(*opened)
    user, clicked, pool_ = vectors.unseen(opened[0], vectors.item_vectors(opened[0]))
    at = [n for n in paper_numbers.NEAREST if n < len(pool_)]
    assert (found["unseen"], found["clicks"]) == (len(pool_), len(clicked)) and 0 < len(at) < 11
    assert found["recall"] == unseen_recall(user, clicked, pool_, at) and len(found["random"]) == len(at)
    chance = np.array(at) / len(pool_)
    assert (abs(found["random"] - chance) < 4 * np.sqrt(chance * (1 - chance) / len(clicked))).all()


def test_attention_is_of_the_largest_categories(opened, monkeypatch):
    run_, where = opened
    every = fig4.by_category(run_, where)
    assert every["categories"] == ("1", "2", "3", "4", "5", "6")  # 0 would be "missing"
    category = run_.prepared.dataset.items.categories["category"]
    own = marn_modalities.attention(run_.model, category)
    np.testing.assert_allclose(np.array(every["strength"], float), own.strength)
    monkeypatch.setattr(fig4, "CATEGORIES", 2)
    count = np.bincount(category)
    largest = sorted(np.argsort(-count, kind="stable")[:2].tolist())
    assert fig4.by_category(run_, where)["categories"] == tuple(map(str, largest))


def test_losses_are_those_of_the_history(opened):
    found = fig6.losses(*opened)
    assert found["epoch"] == [1.0, 2.0] and all(map(math.isfinite, found["loss"] + found["adversarial"]))


def test_real_levels_recall_and_heat_are_drawn(world, tmp_path, stand_in, hyperctr):
    stand_in(trained)
    for name, word in (("marn-table4", "### AUC by popularity"), ("marn-table5", "### Share of the clicks on unseen"),
                       ("marn-fig4", "categories are the largest values of the field category")):  # fmt: skip
        out = tmp_path / name
        found, _ = run(name, world, out, seeds=1, **TINY)
        assert found["failed"] == [] and word in (out / "report.md").read_text()
        told_ = json.loads((out / "measures.json").read_text())
        assert [len(told_[row]) for row in told_] == [1] * len(told_) and "MARN" in told_
        before = (out / f"{name}.png").read_bytes()
        code, _, err = hyperctr("report", out)
        assert code == 0 and (out / f"{name}.png").read_bytes() == before, err


def test_real_features_and_losses_are_drawn(world, tmp_path, stand_in, monkeypatch):
    stand_in(trained)
    monkeypatch.setattr(fig5, "POINTS", 20)
    found, _ = run("marn-fig5", world, tmp_path / "5", seeds=1, **TINY)
    told_ = json.loads((tmp_path / "5" / "measures.json").read_text())
    assert list(told_) == ["lambda_0 = 0", "MARN"] and len(found["claims"]) == 2
    panels = told_["MARN"][0]["panels"]
    assert [len(panel["groups"]) for panel in panels] == [2, 2, 3] and np.shape(panels[2]["points"]) == (3, 20, 2)
    assert "a linear probe names the modality" in (tmp_path / "5" / "report.md").read_text()
    found, _ = run("marn-fig6", world, tmp_path / "6", seeds=1, values=["0.5", "0.05"], **TINY)
    assert [row["row"] for row in found["rows"]] == ["popularity", "0.05", "0.5"]
    assert (tmp_path / "5" / "marn-fig5.png").exists() and (tmp_path / "6" / "marn-fig6.png").exists()


# --- figures -------------------------------------------------------------------------------------------------------


def test_ours_and_the_papers_have_panels_of_their_own():
    here = {"MARN": [(0.0, Score(0.7, 0.01, 3)), (1.0, Score(0.71, 0.01, 3))]}
    theirs = {"Taobao": {"MARN": [(0.0, Score(0.716, math.nan, 1)), (1.0, Score(0.712, math.nan, 1))]}}
    figure, first = draw_series(here, theirs, "level", "test AUC")
    left, right = figure.axes
    assert first is left and left.lines[0].get_ydata().tolist() == [0.7, 0.71]
    assert right.lines[0].get_ydata().tolist() == [0.716, 0.712] and right.get_xlabel() == "level\nthe paper: Taobao"


def test_the_adversary_is_drawn_beside_its_weight():
    curves = {0: ([1, 2], [1.0, 0.8], [0.5, 0.7]), 1: ([1, 2], [1.1, 0.9], [0.4, 0.6])}
    points = {"0.05": (0.05, Score(0.7, 0.01, 2)), "0.5": (0.5, None)}
    figure, left = draw_adversary(curves, "0.05", points, {"0.05": [0.69, 0.71], "0.5": []}, "lambda", "0.05")
    assert [line.get_ydata().tolist() for line in left.lines] == [[1.0, 0.8], [0.5, 0.7], [1.1, 0.9], [0.4, 0.6]]
    assert figure.axes[1].lines[-1].get_ydata().tolist() == [0.7]  # the ring


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_studies_marn_from_nothing_but_data(world, tmp_path, stand_in, hyperctr):
    stand_in(reported)
    words = ["--data", world, "--seeds", "1", "--out", tmp_path / "out", "--paper", "electro"]
    code, out, err = hyperctr("bench", "marn-table3", *words)
    assert code == 0, err
    found = json.loads((tmp_path / "out" / "bench.json").read_text())["facts"]
    assert (found["split"], found["paper"], found["logged"]) == ("temporal", "Amazon Electro", True)
    assert "0.8013" in out and "0.7889" not in out.split("## Table")[1]
    code, out, err = hyperctr("bench", "marn-fig7", "--data", world)
    assert (code, out) == (2, "") and "did you mean marn-fig" in err
