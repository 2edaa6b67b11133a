"""HyperCTR on planted worlds: its grid is around what is planted, and its verdicts follow from its rows."""

import pytest

from hyperctr.data import planted as synthetic
from hyperctr.studies import bench, find
from hyperctr.studies.hyperctr import planted
from hyperctr.studies.hyperctr.planted import of
from hyperctr.studies.study import Scores, Setup

STUDY = find("hyperctr-planted")


def rows_of(*aucs, valid=0.0):
    return [{"seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc + valid}
            for seed, auc in enumerate(aucs)]  # fmt: skip


def verdicts(runs, learnable=0.8):
    """Verdicts by the first words of their claims, where popularity of drift is .6."""
    plan = STUDY.rows(Setup(STUDY, bench.planted_run(STUDY)), None)
    found = {row.name: [] for row in plan} | {"popularity in drift": rows_of(0.6, 0.6, 0.6)} | runs
    facts = {"rows": [[row.name, row.model] for row in plan], "over": {row.name: row.over for row in plan if row.over}}
    known = {"drift": {seed: {"learnable": learnable, "ceiling": 0.9} for seed in range(3)}}
    return {one.claim[:12]: one for one in STUDY.judge(Scores(STUDY, facts, found, {"worlds": known}))}


def test_the_grid_of_widths_reaches_beyond_a_factor_four_on_both_sides():
    assert synthetic.planted("fashion", scale=0.03).turnover == planted.TURNOVER
    assert planted.NEAR == ("3d in fashion", "8d in fashion", "24d in fashion")
    assert planted.FAR == ("1d in fashion", "64d in fashion")
    assert synthetic.MODALITIES == planted.MODALITIES


@pytest.mark.parametrize(
    ("ways", "verdict"),
    [([0.90, 0.91, 0.92], "reproduced"), ([0.84, 0.91, 0.86], "inconclusive"), ([0.8, 0.81, 0.82], "contradicted")],
)
def test_the_share_of_the_way_is_judged_by_its_interval(ways, verdict):
    runs = {of("best", planted.ALL): rows_of(*(0.6 + 0.2 * way for way in ways))}
    assert verdicts(runs)["at least 85%"].verdict == verdict
    assert verdicts({})["at least 85%"].verdict == "not tested"
    assert verdicts(runs, learnable=0.5)["at least 85%"].verdict == "not tested"


def test_a_claim_holds_where_it_holds_for_one_preset_and_it_is_said_for_which():
    high, low = rows_of(0.79, 0.79, 0.792), rows_of(0.7, 0.7, 0.702)
    for paper, best, holds in ((low, high, "best"), (high, low, "paper"), (high, high, "paper and best")):
        runs = {of("paper", planted.ALL): paper, of("best", planted.ALL): best}
        found = verdicts(runs)["at least 85%"]
        assert found.verdict == "reproduced" and found.here.startswith(f"holds for {holds}. paper: ")
        assert "; best: " in found.here and ("(contradicted)" in found.here) == (holds != "paper and best")
    neither = verdicts({of(preset, planted.ALL): low for preset in planted.PRESETS})["at least 85%"]
    assert neither.verdict == "contradicted" and neither.here.startswith("shown for neither. ")


def test_a_best_width_at_the_edge_of_the_grid_decides_nothing():
    auc = {"1d": 0.6, "3d": 0.7, "8d": 0.75, "24d": 0.7, "64d": 0.6}
    runs = {
        of("paper", f"{width} in fashion"): rows_of(*(x + seed / 1000 for seed in range(3))) for width, x in auc.items()
    }
    assert verdicts(runs)["the best sli"].verdict == "reproduced"
    runs[of("paper", "1d in fashion")] = rows_of(0.6, 0.601, 0.602, valid=0.3)
    assert verdicts(runs)["the best sli"].verdict == "inconclusive"


def test_every_row_must_be_above_the_popularity_of_its_own_world():
    runs = {of("best", planted.ALL): rows_of(0.7, 0.7, 0.7), of("best", "1d in fashion"): rows_of(0.55, 0.55, 0.55)}
    assert verdicts(runs)["every row is"].verdict == "reproduced"  # popularity of fashion was not run
    found = verdicts(runs | {"popularity in fashion": rows_of(0.56, 0.56, 0.56)})["every row is"]
    assert found.verdict == "contradicted" and "best: least: best: 1d in fashion -0.0100" in found.here


def test_a_seed_is_a_world_and_a_training_of_its_own(tmp_path):
    base = bench.planted_run(STUDY)
    setup = Setup(STUDY, base)
    row = next(row for row in STUDY.rows(setup, None) if row.name == "paper: visual alone in drift")
    runs = [bench.run_of(setup.of_preset(row.preset), row, seed, tmp_path, 0.06) for seed in (0, 1)]
    assert [run.train.seed for run in runs] == [0, 1] and {run.data.modalities for run in runs} == {("visual",)}
    assert [run.data.path for run in runs] == [str(tmp_path / "worlds" / f"drift-0.06-{seed}") for seed in (0, 1)]
    assert {run.evaluate for run in runs} == {base.evaluate}


def test_rows_are_trained_as_the_study_says_and_else_as_their_preset_does():
    setup = Setup(STUDY, bench.planted_run(STUDY, ["train.batch_size=64"]), sets=("train.batch_size=64",))
    paper, best = (setup.of_preset(planted.PRESETS[name]) for name in ("paper", "best"))
    for run in (paper, best):
        assert (run.model.dim, run.data.history, run.slices.every, run.train.batch_size) == (32, 20, "20d", 64)
    assert (
        not paper.model.residual
        and best.model.branch != "none"
        and paper.data.past == "none"
        and best.data.past == "all"
    )
    names = [row.name.partition(": ")[2] for row in STUDY.rows(setup, None) if row.preset == planted.PRESETS["paper"]]
    assert names == [row.name.partition(": ")[2] for row in STUDY.rows(setup, None) if row.preset == "hyperctr-best"]
