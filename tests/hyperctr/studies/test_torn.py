"""A row that raises AUC and lowers user AUC is said; tables of older versions lack the column of sessions."""

import math
from types import SimpleNamespace

from hyperctr.studies import tables


def runs(auc, user_auc, **more):
    return [{"seed": seed, "auc": auc, "user_auc": user_auc, **more} for seed in (0, 1)]


def test_a_row_that_raises_one_and_lowers_the_other_is_said():
    found = {"popularity": runs(0.6, 0.6), "DIN": runs(0.65, 0.58), "MARN": runs(0.7, 0.61), "IDs": runs(0.55, 0.62)}
    scores = SimpleNamespace(runs=found, names=[*found, "not run"])
    assert tables.torn(scores) == [
        "row DIN raises AUC by 0.0500 and lowers user AUC by 0.0200 against popularity",
        "row IDs lowers AUC by 0.0500 and raises user AUC by 0.0200 against popularity",
    ]
    assert tables.torn(SimpleNamespace(runs={"DIN": found["DIN"]}, names=["DIN"])) == []
    assert tables.torn(SimpleNamespace(runs=found | {"DIN": runs(0.65, math.nan)}, names=["DIN"])) == []


def test_a_column_that_came_later_is_left_out_where_a_run_lacks_it():
    columns = ("auc", "user_session_auc", "auc")
    assert tables.recorded(columns, {"DIN": runs(0.6, 0.6)}) == ["auc"]
    known = {"DIN": runs(0.6, 0.6, user_session_auc=0.6)}
    assert tables.recorded(columns, known) == ["auc", "user_session_auc"]
    assert tables.recorded(columns, known | {"MARN": runs(0.6, 0.6)}) == ["auc"]
