"""Table 2 of MARN: MARN and other models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.studies.claims import Verdict, best_row
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.setting import MARN, above
from hyperctr.studies.study import POPULARITY, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODELS = ("lr", "fm", "youtubenet", "xdeepfm", "dupn", "dien", "dmf", "mmss", "naml")
LINEAR = ("LR", "FM")


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_marn(setup, dataset)
    return [POPULARITY, *map(setup.rival, MODELS), MARN]


def _over(scores: Scores) -> dict[str, str]:
    """Compare MARN with the best baseline, which validation chooses."""
    return {MARN.name: best_row(scores.runs, [x for x in scores.names if x not in ("popularity", MARN.name)])}


def _judge(scores: Scores) -> list[Verdict]:
    found = above(scores, "MARN", "NAML", "MARN is above NAML, the best baseline (by .0076 to .0088)")
    found += above(scores, "MARN", "DIEN", "MARN is above DIEN (by .0111 to .0123)")
    neural = [row for row in scores.names if row not in ("popularity", *LINEAR)]
    return found + [one for row in neural for one in above(scores, row, "LR", f"{row} is above LR", 0.0)]


def _caveats(scores: Scores) -> list[str]:
    read = "the paper's LR and FM read ids alone, here features too; xDeepFM and DIEN read no title and no statistic"
    return [*setting.caveats(scores), read]


STUDY = Study(
    name="marn-table2",
    title="MARN, Table 2: MARN and other models",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE2,
    base=setting.BASE,
    facts=setting.facts,
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    ours=MARN.name,
    over=_over,
    caveats=_caveats,
)
