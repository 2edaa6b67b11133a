"""Figure 6 of MARN: losses, and the weight of the adversary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.evaluation import significance
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, best_row, judge_values, look
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.figures import draw_adversary
from hyperctr.studies.marn.setting import AUC, MODEL
from hyperctr.studies.study import POPULARITY, Findings, Grid, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

LOSS = "the adversarial loss (-L_ADV) gradually increases while the total loss converges"
WEIGHT = "lambda_0 = 0.05 is best of 0.01 to 1.8"
BEST = 0.05
"""The paper's best weight."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_marn(setup, dataset)
    return [POPULARITY, *(Row(value, MODEL, (f"model.weight={float(value)}",)) for value in setup.values)]


def losses(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return the total and the adversarial loss at each validation: `epoch`, `loss`, `adversarial`."""
    lines = files.read_csv(folder / "history.csv")
    return {name: [float(line[name]) for line in lines] for name in ("epoch", "loss", "adversarial")}


def nearest(values: Sequence[str]) -> str:
    """Return the weight of the grid that is nearest to the paper's best."""
    return min(values, key=lambda value: abs(math.log(max(float(value), 1e-9) / BEST)))


def _judge(scores: Scores) -> list[Verdict]:
    values = scores.facts["values"]
    row, top = nearest(values), best_row(scores.runs, values)
    rises = [run["adversarial"][-1] - run["adversarial"][0] for run in scores.measured["runs"].get(row, [])]
    what = f"lambda_0 = {row}: the loss at the end, less that of the first validation:"
    return [judge_values(LOSS, rises, 0.0, what), look(WEIGHT, f"{top} is best by validation AUC" if top else "")]


def _figures(found: Findings) -> dict[str, Figure]:
    facts, runs, measured = found.facts, found.scores.runs, found.scores.measured["runs"]
    if not any(measured.values()):
        return {}
    values = facts["values"]
    row = nearest(values)
    curves = {run["seed"]: (run["epoch"], run["loss"], run["adversarial"]) for run in measured.get(row, [])}
    points = {v: (float(v), significance.score(runs[v], AUC) if runs[v] else None) for v in values}
    each = {v: [run[AUC] for run in runs[v]] for v in values}
    drawn = draw_adversary(curves, row, points, each, facts["axis"], best_row(runs, values))
    return {"": tables.titled(drawn, found, tables.protocol(found))}


STUDY = Study(
    name="marn-fig6",
    title="MARN, Figure 6: losses, and the weight of the adversary",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=setting.BASE,
    grid=Grid("model.weight", ("0.01", "0.05", "0.1", "0.5", "1.0", "1.8"), "lambda_0 (log scale)", True),
    facts=setting.facts,
    measurements=setting.measured(losses),
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    figures=_figures,
)
