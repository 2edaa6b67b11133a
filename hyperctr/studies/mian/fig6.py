"""Figure 6 of MIAN: what the global attention weighs."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, judge_values
from hyperctr.studies.measurements import per_run
from hyperctr.studies.mian import paper_numbers, setting
from hyperctr.studies.mian.setting import MIAN
from hyperctr.studies.study import POPULARITY, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

CLAIM = "in most cases the interactions R weigh more than candidate, clicks, user and context as they were"
CASES, READ = 14, 500
"""Test rows in the figure, and test rows over which weights and effects are averaged."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setup.need_model(setting.MODEL)
    if not setup.base.model.gim:
        raise ValueError("mian-fig6 shows the global attention, which model.gim=false leaves out")
    return [POPULARITY, MIAN]


def weights(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return what the global attention weighs: in `CASES` drawn test rows, and in the mean over more of them.

    Returns:
        parts: their names, [L]. heat: [L][cases]. probability: of each case. mean: the weight of each part, [L];
        faithful: by group, the rank correlation of weights and effects.
    """
    from hyperctr.analysis import mian_attention

    some, many = (mian_attention.read(opened, mian_attention.cases(opened, count)) for count in (CASES, READ))
    about = some.frame.group_by("case", maintain_order=True).first()
    return {
        "parts": list(some.parts),
        "heat": some.heat().tolist(),
        "probability": about["probability"].to_list(),
        "mean": many.heat().mean(1).tolist(),
        "faithful": {group: correlation for group, _, correlation in many.faithfulness().rows()},
    }


def _judge(scores: Scores) -> list[Verdict]:
    """Judge the weight of the interactions against their number among the parts."""
    shares, evens = [], []
    for run in _measured(scores):
        own = [part.startswith("R_") for part in run["parts"]]
        shares.append(sum(weight for weight, one in zip(run["mean"], own, strict=True) if one))
        evens.append(sum(own) / len(own))
    what = "weight of the interactions beyond their share of the parts"
    if shares:
        what = f"{statistics.fmean(shares):.3f} of the weight, {evens[0]:.3f} of the parts; {what}"
    return [judge_values(CLAIM, [share - even for share, even in zip(shares, evens, strict=True)], 0.0, what)]


def _measured(scores: Scores) -> list[dict]:
    return scores.measured["weights"].get(MIAN.name, [])


def _caveats(scores: Scores) -> list[str]:
    no_effect = "a weight is a share of attention, bounded by tanh, and no effect: see the rank correlations"
    return [*tables.unlearned(scores), no_effect]


def _table(found: Findings) -> str:
    return "\n\n".join([tables.table(found), *weight_tables(_measured(found.scores))])


def weight_tables(measured: list[dict]) -> list[str]:
    """Write the weights of the first seed, and their rank correlations with effects."""
    if not measured:
        return []
    first = measured[0]
    lines = [["part", "mean weight"]]
    lines += [[part, f"{weight:.3f}"] for part, weight in zip(first["parts"], first["mean"], strict=True)]
    more = [["group", "rank correlation of weight and effect"]]
    more += [[group, tables.number(value, "+.2f")] for group, value in first["faithful"].items()]
    return ["### Weights of the first seed", markdown.table(lines), markdown.table(more)]


def _figures(found: Findings) -> dict[str, Figure]:
    return heat_figure(found, "", _measured(found.scores))


def heat_figure(found: Findings, end: str, measured: list[dict]) -> dict[str, Figure]:
    """Draw the weights of the first seed; {} where nothing was measured."""
    if not measured:
        return {}
    from hyperctr.analysis import mian_attention

    first, facts = measured[0], found.facts
    drawn = mian_attention.draw_heat(first["parts"], first["heat"], first["probability"])
    protocol = f"{facts['data']}, {facts['split']} split, seed {first['seed']}; test rows drawn at random"
    return {end: tables.titled(drawn, found, protocol)}


STUDY = Study(
    name="mian-fig6",
    title="MIAN, Figure 6: what the global attention weighs",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=setting.BASE,
    notes=setting.notes,
    measurements={"weights": per_run(weights, lambda row: row.model == setting.MODEL)},
    scores=setting.SCORES,
    caveats=_caveats,
    table=_table,
    figures=_figures,
)
