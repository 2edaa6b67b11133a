"""Table 2 of AQCL: the wrappers of one model in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.aqcl import groups, paper_numbers, wrappers
from hyperctr.studies.aqcl.figures import draw_gains
from hyperctr.studies.aqcl.gains import above, enough, relaimpr, sign
from hyperctr.studies.claims import Verdict
from hyperctr.studies.study import TITLES, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

WRAPPERS = ("dropoutnet", "deepmcp", "dmr", "icl", "qcl", "aqcl")
PAPER_BASE = "DIN"
"""The model of the paper's table."""
SIZE = (0.015, 0.10)
"""RelaImpr that counts as the paper's size."""
CHECK = (0.66, 0.74)
"""Where DIN's AUC is on Amazon Beauty if the protocol is the paper's."""


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    bare = wrappers.bare(setup)
    return [wrappers.popularity(setup), bare, *(wrappers.wrapped(setup, name, TITLES[name]) for name in WRAPPERS)]


def _paper_sets(scores: Scores) -> tuple[str, ...]:
    """Return the paper's data sets that are shown: none where the model is not the paper's."""
    return scores.paper_sets if scores.facts["base"] == PAPER_BASE else ()


def _judge(scores: Scores) -> list[Verdict]:
    base, paper_sets = scores.facts["base"], _paper_sets(scores)
    return [
        *_protocol(scores),
        above(scores, "AQCL", base, enough, paper_sets),
        _size(scores),
        above(scores, "AQCL", "ICL", sign, paper_sets),
    ]


def _protocol(scores: Scores) -> list[Verdict]:
    """Check whether DIN scores as the paper's protocol lets expect; asked on Amazon Beauty alone."""
    facts, runs = scores.facts, scores.runs
    if paper_numbers.like(facts["data"]) != "Amazon Beauty" or facts["base"] != PAPER_BASE:
        return []
    claim = f"protocol check: DIN's AUC is in {CHECK[0]} to {CHECK[1]} (.6956 on Amazon Beauty)"
    if (facts["split"], facts["draw"]) != ("leave-last-out", "uniform"):
        here = f"it needs leave-last-out and uniform negatives, not {facts['split']} and {facts['draw']}"
        return [Verdict(claim, here, "not tested")]
    if not runs[PAPER_BASE]:
        return [Verdict(claim, "DIN was not run", "not tested")]
    value = significance.score(runs[PAPER_BASE])
    passed = CHECK[0] <= value.mean <= CHECK[1]
    verdict = "passed" if passed else "failed: find out why before comparing"
    return [Verdict(claim, f"{markdown.format_score(value)}, n={value.num}", verdict)]


def _size(scores: Scores) -> Verdict:
    """Judge whether AQCL's RelaImpr is as large as the paper's; one that may be zero is of no size yet."""
    base, found = scores.facts["base"], []
    value = relaimpr(scores.runs, "AQCL", base)
    for data in _paper_sets(scores):
        ours, theirs = (scores.study.columns.of(name, data)[0] for name in ("AQCL", PAPER_BASE))
        found.append(f"{markdown.percent(significance.relaimpr(ours, theirs))} on {data}")
    claim = f"RelaImpr of AQCL over {base} ({', '.join(found) or 'no number in the paper'})"
    claim += f"; {markdown.percent(SIZE[0])} to {markdown.percent(SIZE[1])} counts as the same size"
    return Verdict(claim, f"{markdown.percent(value.mean, value.half)}, n={value.num}", _same_size(value))


def _same_size(value: Score) -> str:
    if value.num < 3:
        return "inconclusive" if value.num else "not tested"
    if value.mean + value.half < SIZE[0] or value.mean - value.half > SIZE[1]:
        return "another size"
    return "the same size" if SIZE[0] <= value.mean <= SIZE[1] and value.mean > value.half else "inconclusive"


def _caveats(scores: Scores) -> list[str]:
    base, found = scores.facts["base"], on_this_data(scores)
    if base != PAPER_BASE:
        found.append(f"the paper's Table 2 is about DIN; here all wrappers are on {base}, so its numbers are left out")
    found.append("QCL, AQCL with alpha = 1 for everybody, is not in the paper's Table 2")
    return [*found, *tables.unlearned(scores)]


def on_this_data(scores: Scores) -> list[str]:
    """Say how data and split differ from those of the paper's tables."""
    facts, found = scores.facts, []
    if facts["data"] == "planted-coldstart":
        found.append("a planted world of many newcomers stands in for Oncold, which is private")
    if not facts["split"].startswith("leave-last"):
        found.append(f"the paper tests each user's last click or day; here the split is {facts['split']}")
    return found


def _figures(found: Findings) -> dict[str, Figure]:
    base = found.facts["base"]
    return draw(found, base, f"{base} on ")


def draw(found: Findings, over: str, model: str = "") -> dict[str, Figure]:
    """Draw RelaImpr by group of users; {} where nothing was run.

    Args:
        found: what the study found.
        over: what the gains are over.
        model: begins the line below the title.
    """
    ours, theirs = groups.panels(found)
    if not ours:
        return {}
    facts = found.facts
    seeds = "bars: 95 % over seeds" if len(facts["seeds"]) > 1 else "one seed: no intervals"
    drawn = draw_gains(ours, theirs, over, {"AQCL"})
    return {"": tables.titled(drawn, found, f"{model}{facts['data']}, {facts['split']} split; {seeds}")}


STUDY = Study(
    name="aqcl-table2",
    title="AQCL, Table 2: wrappers of the model in training",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    columns=paper_numbers.TABLE2,
    base=wrappers.BASE,
    accepts_wrapper=True,
    facts=wrappers.facts,
    extra_scores=wrappers.SCORES,
    entries=lambda scores: groups.entries(scores, _paper_sets(scores)),
    more=groups.groups,
    caveats=_caveats,
    table=lambda found: groups.table(found, _paper_sets(found.scores)),
    figures=_figures,
)
