"""MIAN on planted worlds: its rows are what they are called, and its verdicts follow from its numbers."""

import pytest

from hyperctr.data import planted as synthetic
from hyperctr.studies import bench, find
from hyperctr.studies.mian import planted
from hyperctr.studies.study import Scores, Setup

STUDY = find("mian-planted")
NOISE = (-0.001, 0.0, 0.001)


def judged(**rows):
    """Verdicts by claim; a row is (AUC, AUC of each kind) by seed."""
    names = [planted.MIAN, *planted.WITHOUT]
    runs, kinds = {name: [] for name in names}, {name: [] for name in names}
    for name, some in rows.pop("of", {}).items():
        for seed, (auc, by_kind) in enumerate(some):
            line = {"seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc}
            runs[name].append(line)
            kinds[name].append({"seed": seed} | dict.fromkeys(planted.KINDS, 0.5) | by_kind)
    facts = {"rows": [[name, "mian"] for name in names], "over": {}}
    return {one.claim: one for one in STUDY.judge(Scores(STUDY, facts, runs, {"kinds": kinds}))}


def test_rows_are_those_of_table_3_on_a_world_of_their_seed(tmp_path):
    base = bench.planted_run(STUDY)
    runs = {row.name: bench.run_of(base, row, 1, tmp_path, 0.03) for row in STUDY.rows(Setup(STUDY, base), None)}
    switches = {
        name: [key for key in ("iuim", "icim", "ibim", "gim", "keep_raw") if not getattr(run.model, key)]
        for name, run in runs.items()
    }
    assert switches == {
        "MIAN": [],
        "w/o IUIM": ["iuim"],
        "w/o ICIM": ["icim"],
        "w/o IBIM": ["ibim"],
        "w/o GIM": ["gim"],
        "w/o IUIM and group": ["iuim", "keep_raw"],
        "w/o ICIM and group": ["icim", "keep_raw"],
        "w/o IBIM and group": ["ibim", "keep_raw"],
    }
    worlds = {(run.data.path, run.train.seed) for run in runs.values()}
    assert worlds == {(str(tmp_path / "worlds" / "fields-0.03-1"), 1)}


@pytest.mark.parametrize(("gain", "verdict"), [(0.03, "reproduced"), (0.0101, "inconclusive"), (0.005, "contradicted")])
def test_each_module_must_be_worth_a_hundredth(gain, verdict):
    ours = [(0.8, {"context": 0.9 + x}) for x in NOISE]
    less = [(0.8 - gain + x, {"context": 0.9 - gain}) for x in NOISE]
    found = judged(of={"MIAN": ours, "w/o GIM": less, "w/o ICIM": less})
    assert found["w/o GIM it loses 0.01 AUC over all rows"].verdict == verdict
    assert found["w/o ICIM it loses 0.01 AUC where the context is asked for"].verdict == verdict
    assert found["w/o IBIM it loses 0.01 AUC over all rows"].verdict == "not tested"
    assert found["w/o IBIM it loses 0.01 AUC where the latest click is asked for"].verdict == "not tested"


def test_where_a_signal_is_its_own_module_must_be_missed_most():
    def lost(user):
        return [(0.8, {"user": 0.9 - user + x}) for x in NOISE]

    claim = "where the user is asked for, it loses most w/o IUIM"
    of = {"MIAN": lost(0), "w/o IUIM": lost(0.1), "w/o ICIM": lost(0.02), "w/o IBIM": lost(0.01)}
    found = judged(of=of)[claim]
    assert (found.here, found.verdict) == ("lost 0.100, without others at most 0.020, n=3", "reproduced")
    assert judged(of=of | {"w/o IBIM": lost(0.2)})[claim].verdict == "contradicted"
    other_reading = judged(of=of | {"w/o IBIM and group": lost(0.2)})
    assert other_reading[claim].verdict == "reproduced"
    assert judged(of=of | {"w/o IBIM": []})[claim].verdict == "not tested"


def test_the_kinds_are_those_that_the_world_asks_for():
    asked = synthetic.planted("fields", 0, 0.03).asked
    assert len(asked) == 18 and [int((asked == k).sum()) for k in range(len(planted.KINDS))] == [6, 6, 6]
