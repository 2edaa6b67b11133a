"""Table 3 of MIAN: MIAN without its modules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.mian import paper_numbers, setting
from hyperctr.studies.mian.setting import LESS, MIAN, NEAR
from hyperctr.studies.study import POPULARITY, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

WITHOUT = {
    "w/o IUIM": ("model.iuim=false",),
    "w/o ICIM": ("model.icim=false",),
    "w/o IBIM": ("model.ibim=false",),
    "w/o GIM": ("model.gim=false",),
    "w/o IUIM&ICIM": ("model.iuim=false", "model.icim=false"),
}
BOTH = "w/o IUIM&ICIM"


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setup.need_model(setting.MODEL)
    without = [Row(name, setting.MODEL, sets, over=MIAN.name) for name, sets in WITHOUT.items()]
    return [POPULARITY, MIAN, *without, replace(setup.rival("dien"), over=MIAN.name)]


def _judge(scores: Scores) -> list[Verdict]:
    claims = [
        Claim(f"every module helps: {row} is worse; here it may gain {LESS}", (MIAN.name,), (row,), LESS)
        for row in scores.names if row in WITHOUT
    ]  # fmt: skip
    both = f"without IUIM and ICIM it is worse than without one; here it may gain {LESS}"
    claims += [Claim(f"{both}: {row}", (row,), (BOTH,), LESS) for row in ("w/o IUIM", "w/o ICIM")]
    claims.append(Claim(f"MIAN is above DIEN; here it may be {NEAR} below", (MIAN.name,), ("DIEN",), NEAR))
    return [compare(claim, scores.runs) for claim in claims]


STUDY = Study(
    name="mian-table3",
    title="MIAN, Table 3: MIAN without its modules",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE3,
    base=setting.BASE,
    notes=setting.notes,
    scores=setting.SCORES,
    ours=MIAN.name,
    caveats=setting.caveats,
)
