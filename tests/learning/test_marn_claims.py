"""MARN on planted worlds: its rows are what they are called, and its verdicts follow from its numbers."""

import math

import numpy as np
import pytest

from hyperctr.data import planted as synthetic
from hyperctr.runs.open import open_run
from hyperctr.runs.train import train
from hyperctr.studies import bench, find
from hyperctr.studies.marn import planted
from hyperctr.studies.study import Scores, Setup

STUDY = find("marn-planted")
NOISE = (-0.001, 0.0, 0.001)


def row(seed, auc, **more):
    return {"seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc} | more


def judged(runs=None, parts=None):
    """Verdicts by claim."""
    found = Scores(STUDY, {"rows": []}, runs or {}, {"parts": parts or {}})
    return {one.claim: one for one in STUDY.judge(found)}


def by_seed(*some):
    return [{"seed": seed} | dict.fromkeys(("recovered", "recall", "specific", "invariant", "rise"), math.nan)
            | {"levels": [None] * 10} | each for seed, each in enumerate(some)]  # fmt: skip


def test_rows_are_the_rungs_of_table_3_and_the_models_of_table_2(tmp_path):
    base = bench.planted_run(STUDY)
    rows = STUDY.rows(Setup(STUDY, base), None)
    runs = {each.name: bench.run_of(base, each, 1, tmp_path, 0.03) for each in rows}
    switches = {
        name: (run.model.modalities, run.model.fusion, run.model.adversary, run.model.behaviour, run.model.weight)
        for name, run in runs.items() if run.model_name == "marn"
    }  # fmt: skip
    assert switches == {
        "IDs": (("ids",), "sum", "none", "gru", 0.05),
        "IMAGE": (("visual",), "sum", "none", "gru", 0.05),
        "CONC": ((), "sum", "none", "gru", 0.05),
        "MAF": ((), "maf", "none", "gru", 0.05),
        "MAF+ADV": ((), "maf", "single", "gru", 0.05),
        "MAF+DDMA": ((), "maf", "double", "gru", 0.05),
        "MARN": ((), "maf", "double", "apgru", 0.05),
        "lambda 0": ((), "maf", "double", "apgru", 0.0),
    }
    assert {run.model.dim for name, run in runs.items() if name not in ("popularity", "LR")} == {32}
    assert {(run.train.seed, run.train.epochs) for run in runs.values()} == {(1, 10)}


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.02, "reproduced"), (0.005, "inconclusive"), (0.004, "inconclusive"), (0.0, "contradicted")]
)
def test_attention_must_be_better_by_the_margin(gain, verdict):
    runs = {"CONC": [row(s, 0.7) for s in range(3)], "MAF": [row(s, 0.7 + gain + NOISE[s]) for s in range(3)]}
    assert judged(runs)["attention (MAF) is better than the sum (CONC) by .005"].verdict == verdict


def test_measures_are_judged_by_their_interval():
    heat = "the heat map shows the useful modality of the categories"
    for values, verdict in (((1.0, 1.0, 0.98), "reproduced"), ((1.0, 0.5, 1.0), "inconclusive"),
                            ((1.0, 1.0), "inconclusive"), ((), "not tested")):  # fmt: skip
        parts = {"MARN": by_seed(*({"recovered": x} for x in values))}
        assert judged(parts=parts)[heat].verdict == verdict
    cold = {"MARN": [row(s, 0.7, cold_item_auc=0.4 + s / 100) for s in range(3)]}
    assert judged(cold)["items without training rows are ranked above chance"].verdict == "contradicted"
    low, high = (by_seed(*({"invariant": x} for x in some)) for some in ((0.4, 0.41, 0.42), (0.6, 0.62, 0.61)))
    probe = "and of invariant parts less often than without the adversary"
    assert judged(parts={"MARN": low, "lambda 0": high})[probe].verdict == "reproduced"
    assert judged(parts={"MARN": high, "lambda 0": low})[probe].verdict == "contradicted"


def test_table_4_compares_the_gains_at_both_ends():
    ids = by_seed(*[{"levels": [0.6] * 9 + [None]}] * 3)
    ours = by_seed(*({"levels": [0.66 + s / 1000] * 3 + [0.6] * 4 + [0.61] * 3} for s in range(3)))
    found = judged(parts={"IDs": ids, "MARN": ours})["MARN gains most over ids where items are least popular"]
    assert found.verdict == "reproduced" and "0.051" in found.here


def test_no_claim_stands_in_the_place_of_another():
    texts = list(judged())
    assert len(texts) == 24 and "MARN is no worse than NAML" in texts
    assert {f"{name} is better than LR" for name in planted.NEURAL} <= set(texts)


def test_the_parts_of_a_run_are_measured(tmp_path):
    base = bench.planted_run(STUDY, ("train.epochs=1", "model.dim=4", "model.hidden=[8]", "data.history=5"))
    marn = next(each for each in STUDY.rows(Setup(STUDY, base), None) if each.name == "MARN")
    run = bench.run_of(base, marn, 0, tmp_path, 0.03)
    synthetic.write("categories", run.data.path, 0, 0.03)
    train(run, tmp_path / "run")
    found = planted.parts(open_run(tmp_path / "run"), tmp_path / "run")
    assert len(found["levels"]) == 10 and 0 <= found["recovered"] <= 1 and math.isfinite(found["rise"])
    assert 0 <= found["specific"] <= 1 and 0 <= found["invariant"] <= 1 and np.isfinite(found["recall"])
