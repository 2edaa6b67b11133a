"""Figure 7 of AQCL: width of z, weight of the loss, positive interests; one setting of AQCL each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.studies import tables
from hyperctr.studies.aqcl import groups, paper_numbers, wrappers
from hyperctr.studies.aqcl.gains import sign, with_p
from hyperctr.studies.claims import Claim, Verdict, best_row, compare, gain, judge
from hyperctr.studies.figures import draw_line
from hyperctr.studies.study import Findings, Grid, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset


def _values(scores: Scores) -> tuple[str, ...]:
    return tuple(name for name in scores.names if name not in ("popularity", scores.facts["base"]))


def _better(text: str, value: str, other: str) -> Callable[[Scores], list[Verdict]]:
    """Return a judge of the sign of the gain of one value over another."""
    return lambda scores: [judge(text, gain(scores.runs, value, other), sign, with_p)]


def _inside(text: str) -> Callable[[Scores], list[Verdict]]:
    """Return a judge that asks for the best value inside the grid."""

    def found(scores: Scores) -> list[Verdict]:
        values = _values(scores)
        ends = (values[0], values[-1]) if len(values) > 2 else ()
        return [compare(Claim(text, values[1:-1], ends, interior=True), scores.runs)]

    return found


def _figures(found: Findings) -> dict[str, Figure]:
    facts, runs = found.facts, found.scores.runs
    scores = {name: significance.score(some) if some else None for name, some in runs.items()}
    values = _values(found.scores)
    if not any(scores[name] for name in values):
        return {}
    points = {name: (float(name), scores[name]) for name in values}
    each = {name: [run["auc"] for run in runs[name]] for name in values}
    across = [(facts["base"], scores[facts["base"]])] if scores[facts["base"]] else []
    top, claims = best_row(runs, values) or None, [verdict.claim for verdict in found.verdicts]
    drawn = draw_line("AQCL", points, each, across, facts["axis"], facts["log"], top, claims)
    seeds = "bands: 95 % over seeds" if len(facts["seeds"]) > 1 else "one seed; bands: 95 % from the scored rows"
    return {"": tables.titled(drawn, found, f"{facts['base']} on {facts['data']}, {facts['split']} split; {seeds}")}


def _study(name: str, title: str, key: str, grid: Grid, judge: Callable[[Scores], list[Verdict]]) -> Study:
    """Return the study of one setting of AQCL, with a row per value."""

    def rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
        bare = wrappers.bare(setup)
        values = [wrappers.wrapped(setup, "aqcl", value, **{key: grid.read(value)}) for value in setup.values]
        return [wrappers.popularity(setup), bare, *values]

    return Study(
        name=name, title=title, rows=rows, judge=judge, paper=paper_numbers.PAPER, words_only=True,
        base=wrappers.BASE, grid=grid, accepts_wrapper=True, facts=wrappers.facts, extra_scores=wrappers.SCORES,
        entries=groups.entries, more=groups.groups, table=groups.table, figures=_figures,
    )  # fmt: skip


WIDTH = _study(
    "aqcl-dz", "AQCL, Figure 7a: width of z", "dim",
    Grid("wrapper.dim", ("8", "16", "32", "64", "128"), "width of z (log scale)", True, int, "whole numbers"),
    _better("z must have a width of at least 32; here: 64 is above 8", "64", "8"),
)  # fmt: skip
WEIGHT = _study(
    "aqcl-w", "AQCL, Figure 7b: weight of the loss", "w",
    Grid("wrapper.w", ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5"), "weight w of the loss (log scale)", True),
    _inside("too small and too large a weight hurt: the best is inside the grid"),
)  # fmt: skip
INTERESTS = _study(
    "aqcl-k", "AQCL, Figure 7c: positive interests", "positives",
    Grid("wrapper.positives", ("1", "5", "10", "20"), "interests that attract a row, K", read=int,
         what="whole numbers"),
    _better("one positive interest is too few; here: K = 5 is above K = 1", "5", "1"),
)  # fmt: skip
