"""The benchmark on planted newcomers: what it trains, and that its verdicts follow from its rows."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def coldstart():
    spec = importlib.util.spec_from_file_location("coldstart_claims", ROOT / "benchmarks" / "coldstart.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["coldstart_claims"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["coldstart_claims"]


def rows(coldstart, gains):
    """Five seeds of runs: DIN's AUC and, of what it wears, gains for the three groups."""
    found = []
    for seed in range(5):
        for name in coldstart.ROWS:
            noise = 0.0001 * ((7 * seed + len(name)) % 5)
            groups = [0.6 + gain + noise for gain in gains.get(name, (0, 0, 0))]
            scores = dict(zip(coldstart.GROUPS.values(), [sum(groups) / 3, *groups], strict=True))
            found.append({"row": name, "seed": seed, "lean": groups[0] - groups[2], "valid_auc": 0.6, "seconds": 1.0,
                          "auc_low": 0.5, "auc_high": 0.7} | scores)  # fmt: skip
    return found


def verdicts(coldstart, gains):
    _, *lines = coldstart.sections(rows(coldstart, gains))["Verdicts"]
    return {claim: verdict.strip("*") for claim, _, verdict in lines}


def test_what_the_paper_says_is_reproduced_where_it_holds(coldstart):
    says = {"QCL": (0.02, 0.01, -0.01), "ICL": (-0.005, 0.0, 0.01), "AQCL": (0.02, 0.011, 0.01)}
    assert set(verdicts(coldstart, says).values()) == {"reproduced"}


def test_and_contradicted_where_the_reverse_does(coldstart):
    found = verdicts(coldstart, {"QCL": (-0.01, 0.01, 0.02), "ICL": (0.02, 0.0, -0.01), "AQCL": (0.0, 0.02, -0.02)})
    assert found.pop("AQCL is within 0.002 of QCL and ICL: slightly active") == "reproduced"
    assert found.pop("AQCL is better than DIN over all rows") == "inconclusive"
    assert set(found.values()) == {"contradicted"}


def test_every_row_trains_on_the_same_world_and_differs_in_what_din_wears(coldstart, tmp_path):
    cells = coldstart.plan(2, 0.03, tmp_path)
    assert len(cells) == 10 and len(list((tmp_path / "worlds").iterdir())) == 2
    worn = {row: run.wrapper_name for (row, seed), (run, _) in cells.items() if seed == coldstart.FIRST}
    assert worn == coldstart.ROWS
    worn = [run.wrapper for run, _ in cells.values() if run.wrapper]
    assert {(wrapper.w, wrapper.tau1) for wrapper in worn} == {(0.05, 0.5)}
    assert {(wrapper.codes, wrapper.positives) for wrapper in worn if hasattr(wrapper, "codes")} == {(16, 1)}
    assert {(run.data.path, run.train.seed) for (_, seed), (run, _) in cells.items() if seed == 101} == {
        (str(tmp_path / "worlds" / "coldstart-0.03-101"), 101)
    }


def test_the_papers_settings_are_the_defaults_of_what_is_worn(coldstart, tmp_path):
    cells, others = coldstart.plan(1, 0.03, tmp_path, paper=True), coldstart.plan(1, 0.03, tmp_path)
    worn = [run.wrapper for run, _ in cells.values() if run.wrapper]
    assert {(wrapper.w, wrapper.tau1) for wrapper in worn} == {(0.05, 0.1)}
    assert {(wrapper.codes, wrapper.positives) for wrapper in worn if hasattr(wrapper, "codes")} == {(128, 5)}
    shared = {row for (row, seed), (_, folder) in cells.items() if folder == others[row, seed][1]}
    assert shared == {"popularity", "DIN"}  # no run of other settings is taken for one of these
