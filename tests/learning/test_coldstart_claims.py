"""AQCL on planted newcomers: what it trains, and that its verdicts follow from its rows."""

import pytest

from hyperctr.studies import bench, find
from hyperctr.studies.aqcl.paper_numbers import GROUPS
from hyperctr.studies.study import Scores, Setup

STUDY, PAPER = find("aqcl-planted"), find("aqcl-planted-paper")
ROWS = {"popularity": "", "DIN": "", "ICL": "icl", "QCL": "qcl", "AQCL": "aqcl"}


def runs_of(gains):
    """Five seeds of runs: DIN's AUC and, of its wrappers, gains for the three groups."""
    found = {name: [] for name in ROWS}
    for seed in range(5):
        for name in ROWS:
            noise = 0.0001 * ((7 * seed + len(name)) % 5)
            groups = [0.6 + gain + noise for gain in gains.get(name, (0, 0, 0))]
            scores = dict(zip(GROUPS.values(), [sum(groups) / 3, *groups], strict=True))
            found[name].append({"seed": seed, "valid_auc": 0.6, "auc_low": 0.5, "auc_high": 0.7} | scores)
    return found


def verdicts(gains):
    return {one.claim: one.verdict for one in STUDY.judge(Scores(STUDY, {}, runs_of(gains)))}


def planned(study, seed, out):
    """The runs of a study under a seed, by row."""
    base = bench.planted_run(study)
    rows = study.rows(Setup(study, base), None)
    return {row.name: bench.run_of(base, row, seed, out, 0.03) for row in rows}


def test_what_the_paper_says_is_reproduced_where_it_holds():
    says = {"QCL": (0.02, 0.01, -0.01), "ICL": (-0.005, 0.0, 0.01), "AQCL": (0.02, 0.011, 0.01)}
    assert set(verdicts(says).values()) == {"reproduced"}


def test_and_contradicted_where_the_reverse_does():
    found = verdicts({"QCL": (-0.01, 0.01, 0.02), "ICL": (0.02, 0.0, -0.01), "AQCL": (0.0, 0.02, -0.02)})
    assert found.pop("AQCL is within 0.002 of QCL and ICL: slightly active") == "reproduced"
    assert found.pop("AQCL is better than DIN over all rows") == "inconclusive"
    assert set(found.values()) == {"contradicted"}


def test_every_row_trains_on_the_same_world_and_differs_in_its_wrapper(tmp_path):
    runs = planned(STUDY, 101, tmp_path)
    assert {name: run.wrapper_name for name, run in runs.items()} == ROWS
    wrappers = [run.wrapper for run in runs.values() if run.wrapper]
    assert {(wrapper.w, wrapper.tau1) for wrapper in wrappers} == {(0.05, 0.5)}
    assert {(wrapper.codes, wrapper.positives) for wrapper in wrappers if hasattr(wrapper, "codes")} == {(16, 1)}
    world = str(tmp_path / "worlds" / "coldstart-0.03-101")
    assert {(run.data.path, run.train.seed, run.train.epochs) for run in runs.values()} == {(world, 101, 40)}
    assert bench.planted_run(STUDY).train.seed == 100  # seeds of its own: settings were chosen on the first ones


def test_the_papers_settings_are_the_defaults_of_the_wrappers(tmp_path):
    wrappers = [run.wrapper for run in planned(PAPER, 100, tmp_path).values() if run.wrapper]
    assert {(wrapper.w, wrapper.tau1) for wrapper in wrappers} == {(0.05, 0.1)}
    assert {(wrapper.codes, wrapper.positives) for wrapper in wrappers if hasattr(wrapper, "codes")} == {(128, 5)}


@pytest.mark.parametrize("name", ["hyperctr", "aqcl", "mian", "marn", "lt4rec"])
def test_a_planted_study_of_every_paper_has_a_world_for_every_row(name):
    study = find(f"{name}-planted")
    rows = study.rows(Setup(study, bench.planted_run(study)), None)
    assert {row.world for row in rows} == set(study.worlds) and len({row.name for row in rows}) == len(rows)
    assert not [row.name for row in rows if "," in row.name]  # --rows separates them by commas
