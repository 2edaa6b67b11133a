"""Figure 4 of LT4REC: masks by round of pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.studies.claims import Verdict, judge, look
from hyperctr.studies.lt4rec import masks, paper_numbers, setting
from hyperctr.studies.lt4rec.setting import MODEL, TICKETS, from_tickets
from hyperctr.studies.lt4rec.table2 import caveats, entries
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIMS = {
    "click": "clicks are best without pruning; further on their AUC rises, then falls",
    "conversion": "the error of conversions falls with pruning, then grows again",
}
"""What the paper says, by task."""
RANDOM = "random masks"


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_conversions(setup, dataset)
    few = ("train.epochs=1",)  # the rounds are what it is about
    return [Row(TICKETS.name, MODEL, few), from_tickets(setup, RANDOM, *few, "model.shuffle=true")]


def _judge(scores: Scores) -> list[Verdict]:
    rounds = scores.measured["rounds"]
    courses = [look(text, _course(rounds, task)) for task, text in CLAIMS.items()]
    return [*courses, *(_tickets_at_last(scores, task) for task in CLAIMS)]


def _course(rounds: list[dict], task: str) -> str:
    """Write the scores of s-weight's rounds."""
    some = [r for r in masks.over_rounds(rounds) if (r["row"], r["task"]) == (TICKETS.name, task)]
    return "; ".join(f"{100 * r['density']:.2f} %: {abs(r['score']):.4f}" for r in some)


def _tickets_at_last(scores: Scores, task: str) -> Verdict:
    """Judge the claim that tickets are better than random masks when all rounds are done."""
    last = [r for r in scores.measured["rounds"] if r["task"] == task and r["round"] == scores.facts["rounds"]]
    ours, theirs = ([r for r in last if r["row"] == name] for name in (TICKETS.name, RANDOM))
    what = {"click": "AUC of clicks", "conversion": "error of conversions, less"}[task]
    text = f"at {scores.facts['at']} tickets beat as many weights drawn at random in each layer"
    return judge(f"{text} ({what}; validation rows)", significance.difference(ours, theirs, "score"))


def _figures(found: Findings) -> dict[str, Figure]:
    rows = [TICKETS.name, RANDOM]
    return masks.rounds_figure(found, "", rows, CLAIMS, "") | masks.masks_figure(found)


STUDY = Study(
    name="lt4rec-fig4",
    title="LT4REC, Figure 4: masks by round of pruning",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=setting.BASE,
    facts=setting.facts,
    measurements=masks.MEASUREMENTS,
    extra_scores=setting.EXTRA,
    entries=entries,
    more=masks.summaries,
    caveats=caveats,
    table=lambda found: "\n\n".join(masks.mask_tables(found)),
    figures=_figures,
)
