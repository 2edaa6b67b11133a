"""Table 3 of AQCL: AQCL on several models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hyperctr.studies import tables
from hyperctr.studies.aqcl import groups, paper_numbers, table2, wrappers
from hyperctr.studies.aqcl.gains import above, enough, sign
from hyperctr.studies.claims import Verdict
from hyperctr.studies.study import POPULARITY, TITLES, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

MODELS = ("wide_deep", "deepfm", "din", "hyperctr")
BARE = "the bare model"


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    wrappers.bare(setup)
    found = [POPULARITY]
    for model in dict.fromkeys([*MODELS, setup.base.model_name]):
        name = TITLES.get(model, model)
        row = wrappers.wrapped(setup, "aqcl", f"AQCL on {name}", model)
        found += [Row(name, model, row.sets), replace(row, over=name)]
    return found


def _judge(scores: Scores) -> list[Verdict]:
    """Ask for the gain where the model is DIN, and for the sign elsewhere."""
    rules = {"DIN": enough}
    pairs = scores.facts["over"].items()
    return [above(scores, row, over, rules.get(over, sign), scores.paper_sets) for row, over in pairs]


STUDY = Study(
    name="aqcl-table3",
    title="AQCL, Table 3: AQCL on several models",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE3,
    base=wrappers.BASE,
    accepts_wrapper=True,
    facts=wrappers.facts,
    extra_scores=wrappers.SCORES,
    entries=lambda scores: groups.entries(scores, scores.paper_sets),
    more=groups.groups,
    caveats=lambda scores: [*table2.on_this_data(scores), *tables.unlearned(scores)],
    table=lambda found: groups.table(found, found.scores.paper_sets, BARE),
    figures=lambda found: table2.draw(found, BARE),
)
