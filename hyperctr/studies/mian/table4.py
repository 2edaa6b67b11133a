"""Table 4 of MIAN: the block that reads the clicks."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from hyperctr.studies.claims import Claim, Verdict, compare, look
from hyperctr.studies.mian import paper_numbers, setting
from hyperctr.studies.mian.setting import LESS
from hyperctr.studies.study import POPULARITY, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

PRE, POST, NONE = "Pre-LN", "Transformer", "w/o both"


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setup.need_model(setting.MODEL)
    first = Row(PRE, setting.MODEL, ("model.encoder=pre_ln",))
    blocks = [Row(name, setting.MODEL, (f"model.encoder={kind}",), over=PRE)
              for name, kind in ((POST, "post_ln"), (NONE, "none"))]  # fmt: skip
    return [POPULARITY, first, *blocks, replace(setup.rival("din"), over=PRE)]


def _judge(scores: Scores) -> list[Verdict]:
    runs, text = scores.runs, f"the Pre-LN Transformer is better than none; here none may gain {LESS}"
    found = [compare(Claim(text, (PRE,), (NONE,), LESS), runs)]
    if all(runs[row] for row in (PRE, POST)):
        epochs = {row: statistics.fmean(run["best_epoch"] for run in runs[row]) for row in (PRE, POST)}
        here = ", ".join(f"{row} {epoch:.1f}" for row, epoch in epochs.items())
        text = "Pre-LN trains more stably and converges sooner than the Transformer"
        found.append(look(text, f"epochs to the best validation AUC: {here}"))
    return found


def _caveats(scores: Scores) -> list[str]:
    same = "the paper's row without a block has the numbers of DIN in its Table 2, to the last digit"
    return [*setting.caveats(scores), same]


STUDY = Study(
    name="mian-table4",
    title="MIAN, Table 4: the block that reads the clicks",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE4,
    base=setting.BASE,
    notes=setting.notes,
    scores=setting.SCORES,
    ours=PRE,
    caveats=_caveats,
)
