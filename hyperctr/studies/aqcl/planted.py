"""AQCL on worlds whose answer is known: newcomers' tastes are their interest group's, active users' tastes their own.

Interests (QCL) should help the non-active more than the active, instances (ICL) should not, and AQCL, whose alpha
follows activity, should be near the better of the two everywhere. A seed is a world of its own and a training of its
own. Seeds begin at 100, since `CHOSEN` was chosen on validation rows of the first eight.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hyperctr.studies.aqcl import groups, wrappers
from hyperctr.studies.aqcl.paper_numbers import GROUPS
from hyperctr.studies.aqcl.table2 import draw
from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.study import TITLES, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

WORLD = "coldstart"
NEAR = 0.002
"""AUC that AQCL may be below the better of ICL and QCL."""
BASE = {
    "data": {"history": 30},
    "model": {"name": "din", "dim": 16, "attention": [32], "hidden": [64, 32]},
    "train": {"epochs": 40, "patience": 4, "lr": 2e-3, "batch_size": 1024, "threads": 1, "seed": 100},
    "evaluate": {"max_positives": 0, "valid_positives": 0},
}
PAPER = {"w": 0.05}
"""The middle of the paper's three; the rest is as it is by default."""
CHOSEN = PAPER | {"tau1": 0.5, "codes": 16, "positives": 1}
"""Eight groups have few interests, and rows that are close are much alike."""
CLAIMS = (
    Claim("QCL helps the non-active more than the highly active", ("QCL",), ("DIN",), column="lean"),
    Claim("ICL does not", ("DIN",), ("ICL",), NEAR, "lean"),
    *(
        Claim(f"AQCL is within {NEAR:g} of QCL and ICL: {group}", ("AQCL",), ("QCL", "ICL"), NEAR, column)
        for group, column in list(GROUPS.items())[1:]
    ),
    Claim("QCL is better than DIN for the non-active", ("QCL",), ("DIN",), column=GROUPS["non-active"]),
    Claim("AQCL is better than DIN over all rows", ("AQCL",), ("DIN",)),
)
"""`lean` is how far the AUC of the non-active is above that of the highly active."""


def _judge(scores: Scores) -> list[Verdict]:
    low, high = GROUPS["non-active"], GROUPS["highly active"]
    runs = {row: [run | {"lean": run[low] - run[high]} for run in some] for row, some in scores.runs.items()}
    return [compare(claim, runs) for claim in CLAIMS]


def _study(name: str, title: str, settings: dict[str, Any]) -> Study:
    """Return the study of AQCL's wrappers with these settings, of which each takes the ones it has."""

    def rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
        from hyperctr.models import WRAPPERS

        model, base = setup.base.model_name, wrappers.plain(setup.base)
        found = [Row("popularity", "popularity", world=WORLD, over=base), Row(base, model, world=WORLD)]
        for wrapper in ("icl", "qcl", "aqcl"):
            kind = WRAPPERS[wrapper].Config
            own = kind(**{f.name: settings[f.name] for f in fields(kind) if f.name in settings})
            found.append(Row(TITLES[wrapper], model, (), wrapper, own, base, world=WORLD))
        return found

    return Study(
        name=name, title=title, rows=rows, judge=_judge, base=BASE, seeds=30, worlds={WORLD: 1.0},
        facts=wrappers.facts, extra_scores=wrappers.SCORES, entries=groups.entries, more=groups.groups,
        table=groups.table, figures=lambda found: draw(found, found.facts["base"]),
    )  # fmt: skip


STUDY = _study("aqcl-planted", "AQCL on planted worlds of newcomers", CHOSEN)
PAPER_STUDY = _study("aqcl-planted-paper", "AQCL on planted worlds of newcomers, with the paper's settings", PAPER)
