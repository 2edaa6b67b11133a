"""Table 2 of MIAN: MIAN and other models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, best_row, compare
from hyperctr.studies.mian import paper_numbers, setting
from hyperctr.studies.mian.setting import MIAN, NEAR
from hyperctr.studies.study import POPULARITY, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODELS = ("lr", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien")
ABOVE_LR = 0.005
"""AUC that DIN and DIEN must be above LR."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setup.need_model(setting.MODEL)
    return [POPULARITY, *map(setup.rival, MODELS), MIAN]


def _over(scores: Scores) -> dict[str, str]:
    """Compare MIAN with the best baseline, which validation chooses."""
    return {MIAN.name: best_row(scores.runs, _baselines(scores))}


def _baselines(scores: Scores) -> tuple[str, ...]:
    return tuple(name for name in scores.names if name not in ("popularity", MIAN.name))


def _judge(scores: Scores) -> list[Verdict]:
    best = f"MIAN is above every baseline; here it may be {NEAR} below"
    claims = [Claim(best, (MIAN.name,), _baselines(scores), NEAR)]
    claims += [Claim(f"{row} is above LR (by .027 and more on Amazon); here by {ABOVE_LR}", (row,), ("LR",), -ABOVE_LR)
               for row in ("DIN", "DIEN")]  # fmt: skip
    return [compare(claim, scores.runs) for claim in claims]


def _table(found: Findings) -> str:
    best = found.rows[-1]["over"]
    return tables.table(found) + (f"\n\nThe best baseline, by validation AUC, is {best}." if best else "")


STUDY = Study(
    name="mian-table2",
    title="MIAN, Table 2: MIAN and other models",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE2,
    base=setting.BASE,
    notes=setting.notes,
    scores=setting.SCORES,
    ours=MIAN.name,
    over=_over,
    caveats=setting.caveats,
    table=_table,
)
