"""Figure 5 of AQCL: an alpha that follows activity, or one alpha for all."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from hyperctr.studies import tables
from hyperctr.studies.aqcl import groups, paper_numbers, wrappers
from hyperctr.studies.aqcl.figures import draw_gains
from hyperctr.studies.claims import Claim, Verdict, compare
from hyperctr.studies.study import Findings, Grid, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIM = "an alpha that falls with activity is above every constant one"
ADAPTIVE, SEARCHED = "adaptive", "adaptive, searched"


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    weights = {f.name: f.default for f in fields(wrappers.settings("aqcl", {})) if f.name in ("w1", "w2")}
    constant = [wrappers.wrapped(setup, "aqcl", f"alpha {x}", alpha=float(x), **weights) for x in setup.values]
    adaptive = wrappers.wrapped(setup, "aqcl", ADAPTIVE, **weights)
    searched = wrappers.wrapped(setup, "aqcl", SEARCHED)
    found = [wrappers.popularity(setup), wrappers.bare(setup), wrappers.wrapped(setup, "icl", "ICL"), *constant]
    return [*found, adaptive, *([searched] if searched.wrapper != adaptive.wrapper else ())]


def _judge(scores: Scores) -> list[Verdict]:
    adaptive = tuple(name for name in scores.names if name in (ADAPTIVE, SEARCHED))
    constant = tuple(name for name in scores.names if name.startswith("alpha "))
    return [compare(Claim(CLAIM, adaptive, constant), scores.runs)]


def _caveats(scores: Scores) -> list[str]:
    found = []
    if SEARCHED not in scores.runs:
        found.append("no searched w1 and w2 were given, so there is no row of them: --wear best.toml of a search")
    return [*found, *tables.unlearned(scores)]


def _figures(found: Findings) -> dict[str, Figure]:
    facts, (ours, _) = found.facts, groups.panels(found)
    if not ours:
        return {}
    seeds = "bars: 95 % over seeds" if len(facts["seeds"]) > 1 else "one seed: no intervals"
    drawn = draw_gains(ours, {}, facts["base"], {ADAPTIVE, SEARCHED})
    return {"": tables.titled(drawn, found, f"{facts['base']} on {facts['data']}, {facts['split']} split; {seeds}")}


STUDY = Study(
    name="aqcl-alpha",
    title="AQCL, Figure 5: alpha by activity, or one alpha for all",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=wrappers.BASE,
    grid=Grid("wrapper.alpha", ("0", "0.3", "0.6", "1")),
    accepts_wrapper=True,
    facts=wrappers.facts,
    extra_scores=wrappers.SCORES,
    entries=groups.entries,
    more=groups.groups,
    caveats=_caveats,
    table=groups.table,
    figures=_figures,
)
