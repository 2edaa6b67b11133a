"""The benchmark of MIAN's claims: its rows are what they are called, and its verdicts follow from its numbers."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from hyperctr.data import planted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mian():
    spec = importlib.util.spec_from_file_location("mian_claims", ROOT / "benchmarks" / "mian.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mian_claims"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mian_claims"]


def row(seed, auc, **measures):
    return {"seed": seed, "auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.01, "valid_auc": auc, **measures}


def test_rows_are_those_of_table_3_on_a_world_of_their_seed(mian, tmp_path):
    cells = mian.plan(2, 0.03, 1, tmp_path)
    assert len(cells) == 2 * len(mian.ROWS) and len(list((tmp_path / "worlds").iterdir())) == 2
    switches = {
        name: [key for key in ("iuim", "icim", "ibim", "gim", "keep_raw") if not getattr(run.model, key)]
        for (name, seed), (run, _) in cells.items() if run.train.seed == seed == 1
    }  # fmt: skip
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
    assert len({folder for _, folder in cells.values()}) == len(cells)


@pytest.mark.parametrize(("gain", "verdict"), [(0.03, "reproduced"), (0.0101, "inconclusive"), (0.005, "contradicted")])
def test_each_module_must_be_worth_a_hundredth(mian, gain, verdict):
    noise = (-0.001, 0.0, 0.001)
    found = {"MIAN": [row(s, 0.8) for s in range(3)], "w/o GIM": [row(s, 0.8 - gain + noise[s]) for s in range(3)]}
    assert mian.CLAIMS["w/o GIM, all rows"][1](found)[1] == verdict
    assert mian.CLAIMS["w/o IBIM, all rows"][1](found)[1] == mian.CLAIMS["w/o IBIM"][1](found)[1] == "not tested"
    full = {"MIAN": [row(s, 0.8, context=0.9 + noise[s]) for s in range(3)]}  # of ICIM, where the context is asked for
    own = full | {"w/o ICIM": [row(s, 0.9, context=0.9 - gain) for s in range(3)]}
    assert mian.CLAIMS["w/o ICIM"][1](own)[1] == verdict


def test_where_a_signal_is_its_own_module_must_be_missed_most(mian):
    def lost(user):
        noise = (0.0, 0.001, -0.001)
        return [row(s, 0.8, user=0.9 - user + noise[s], context=0.1) for s in range(3)]

    judge = mian.CLAIMS["w/o IUIM, most"][1]
    found = {"MIAN": lost(0), "w/o IUIM": lost(0.1), "w/o ICIM": lost(0.02), "w/o IBIM": lost(0.01)}
    assert judge(found) == ("lost 0.100, without others at most 0.020, n=3", "reproduced")
    assert judge(found | {"w/o IBIM": lost(0.2)})[1] == "contradicted"
    assert judge(found | {"w/o IBIM and group": lost(0.2)})[1] == "reproduced"  # another reading of a removed module
    assert judge(found | {"w/o IBIM": []}) == ("nothing was run", "not tested")


def test_the_kinds_are_those_that_the_world_asks_for(mian):
    asked = planted.planted("fields", 0, 0.03).asked
    assert len(asked) == 18 and [int((asked == k).sum()) for k in range(len(mian.KINDS))] == [6, 6, 6]


def test_rows_of_their_own_are_the_same_rows(mian):
    asked = mian.batch(3, 4, seed=1)
    apart = mian.alone(asked)
    assert len(apart.query_row) == 12 and torch.equal(apart.histories.item, asked.histories.item[asked.query])
    model = mian.built("mian", dim=4).eval()
    torch.testing.assert_close(model(apart).logit, model(asked).logit)


def test_a_ratio_is_of_what_ran_side_by_side(mian):
    took = {"a": iter([2.0, 4.0, 6.0]), "b": iter([1.0, 2.0, 3.0])}
    assert mian.ratio(*(torch.tensor([*x]).numpy() for x in took.values())) == "2.00 (2.00 to 2.00)"
    calls = []
    found = mian.in_turn({"a": lambda x: calls.append(("a", x)), "b": lambda x: calls.append(("b", x))}, [7, 8], 2, 1)
    assert calls == [("a", 7), ("b", 7), ("a", 8), ("b", 8), ("a", 7), ("b", 7)]
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_the_report_names_every_claim_and_row(mian):
    kinds = {"seconds": 3.0, "user": 0.6, "context": 0.5, "latest click": 0.4}
    found = {name: [row(s, 0.7, **kinds) for s in range(3)] for name in ("MIAN", "w/o GIM")}
    shown = mian.sections(found, "told")
    assert [claim for _, claim, _, _ in shown["Verdicts"][1:]] == [claim for claim, _ in mian.CLAIMS.values()]
    assert "**contradicted**" in [verdict for *_, verdict in shown["Verdicts"]]
    assert [line[0] for line in shown["Rows"]] == ["row", "MIAN", "w/o GIM"] and "0.600" in shown["Rows"][1]
    assert "told" in shown.values()
