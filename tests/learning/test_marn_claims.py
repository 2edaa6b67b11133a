"""The benchmark of MARN's claims: its rows are what they are called, and its verdicts follow from its numbers."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from hyperctr.data import planted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def marn():
    spec = importlib.util.spec_from_file_location("marn_claims", ROOT / "benchmarks" / "marn.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["marn_claims"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["marn_claims"]


def row(seed, auc, **measures):
    return {"seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc, **measures}


def test_rows_are_the_rungs_of_table_3(marn, tmp_path):
    cells = marn.plan(set(marn.LADDER) | {"IMAGE", "MAF+ADV", "lambda 0"}, 1, 0.03, tmp_path)
    switches = {
        name: (run.model.modalities, run.model.fusion, run.model.adversary, run.model.behaviour, run.model.weight)
        for (name, _), (run, _) in cells.items()
    }
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


def test_every_row_of_every_claim_can_be_run_on_a_world_of_its_seed(marn, tmp_path):
    rows = {name for study in marn.STUDIES.values() for name in study.rows}
    assert rows <= set(marn.ROWS)
    cells = marn.plan(set(marn.ROWS), 2, 0.03, tmp_path)
    assert len(cells) == 2 * len(marn.ROWS) and len(list((tmp_path / "worlds").iterdir())) == 2
    assert {run.train.seed for (_, seed), (run, _) in cells.items() if seed == 1} == {1}


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.02, "reproduced"), (0.005, "inconclusive"), (0.004, "inconclusive"), (0.0, "contradicted")]
)
def test_attention_must_be_better_by_the_margin(marn, gain, verdict):
    noise = (-0.001, 0.0, 0.001)
    found = {"CONC": [row(s, 0.7) for s in range(3)], "MAF": [row(s, 0.7 + gain + noise[s]) for s in range(3)]}
    assert marn.STUDIES["fusion"].judge(found)[1] == verdict


def test_measures_are_judged_by_their_interval(marn):
    def verdict(name, *values, other=None):
        found = {"MARN": [row(s, 0.7, **x) for s, x in enumerate(values)]}
        found |= {"lambda 0": [row(s, 0.7, **x) for s, x in enumerate(other)]} if other else {}
        return marn.STUDIES[name].judge(found)[1]

    assert verdict("heat", *[{"recovered": x} for x in (1.0, 1.0, 0.98)]) == "reproduced"
    assert verdict("heat", *[{"recovered": x} for x in (1.0, 0.5, 1.0)]) == "inconclusive"
    assert verdict("heat", *[{"recovered": x} for x in (1.0, 1.0)]) == "inconclusive"  # two seeds
    assert verdict("cold", *[{"cold": x} for x in (0.4, 0.41, 0.42)]) == "contradicted"
    low, high = ([{"probe c": x} for x in values] for values in ((0.4, 0.41, 0.42), (0.6, 0.62, 0.61)))
    assert verdict("figure5, invariant", *low, other=high) == "reproduced"
    assert verdict("figure5, invariant", *high, other=low) == "contradicted"
    assert marn.STUDIES["heat"].judge({}) == ("nothing was run", "not tested")


def test_table_4_compares_the_gains_at_both_ends(marn):
    ids = [row(s, 0.7, levels=[0.6] * 9 + [math.nan]) for s in range(3)]
    ours = [row(s, 0.7, levels=[0.66 + s / 1000] * 3 + [0.6] * 4 + [0.61] * 3) for s in range(3)]
    here, verdict = marn.STUDIES["table4"].judge({"IDs": ids, "MARN": ours})
    assert verdict == "reproduced" and "0.051" in here


def test_a_run_is_measured_once_and_read_again(marn, tmp_path):
    world = planted.write("categories", tmp_path / "world", scale=0.03)
    from hyperctr import config
    from hyperctr.runs import train

    tables = {
        "data": {"path": str(world), "history": 5}, "slices": {"every": "20d"},
        "model": {"name": "marn", "dim": 4, "hidden": [8]}, "train": {"epochs": 1, "threads": 1},
    }  # fmt: skip
    folder = tmp_path / "run"
    report = train.train(config.read_run(tables), folder)
    found = marn.measured(folder, 7)
    assert found["seed"] == 7 and found["auc"] == report["test"]["auc"]
    assert found["cold"] == report["test"]["cold_item_auc"] and len(found["levels"]) == 10
    assert 0 <= found["recovered"] <= 1 and 0 <= found["probe s"] <= 1 and 0 <= found["probe c"] <= 1
    assert found["recall"] == pytest.approx(np.mean(found["recalls"])) and math.isfinite(found["rise"])
    kept = json.loads((folder / "measures.json").read_text())
    (folder / "measures.json").write_text(json.dumps(kept | {"recovered": 0.25}))
    assert marn.measured(folder, 7)["recovered"] == 0.25


def test_no_claim_stands_in_the_place_of_another(marn):
    texts = [study.text for study in marn.STUDIES.values()]
    assert len(texts) == len(set(texts)) and "MARN is no worse than NAML" in texts
    assert {f"{name} is better than lr" for name in marn.NEURAL} <= set(texts)


def test_the_report_names_every_claim_and_row(marn, tmp_path, capsys):
    found = {name: [row(s, 0.7, seconds=3.0, cold=0.6) for s in range(3)] for name in ("CONC", "MAF")}
    shown = marn.sections({"fusion": marn.STUDIES["fusion"]}, found)
    with pytest.raises(typer.Exit) as ended:
        marn.worlds.leave(tmp_path, ["MARN, seed 0: broken"], "MARN", shown | {"Nothing": ""}, "More.")
    text = (tmp_path / "report.md").read_text()
    assert ended.value.exit_code == 1 and text in capsys.readouterr().out and "Nothing" not in text
    assert text.startswith("# MARN\n\n± is") and "seed. More.\n\n## Verdicts" in text
    assert "attention (MAF) is better than the sum (CONC) by .005" in text and "**contradicted**" in text
    lines = [line for line in text.splitlines() if line.startswith(("| CONC", "| MAF"))]
    assert len(lines) == 2 and all("0.600" in line for line in lines)
    assert "MARN, seed 0: broken" in text
