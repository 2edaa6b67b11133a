"""Table 5 of MARN: unseen items that are clicked, among the nearest by the model's vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import NOT_RUN, Verdict, judge_values
from hyperctr.studies.figures import draw_series
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.paper_numbers import NEAREST, RECALL
from hyperctr.studies.marn.setting import IDS, MARN
from hyperctr.studies.marn.table4 import rows_over_ids
from hyperctr.studies.measurements import PerRow, mean_known, pairs, points
from hyperctr.studies.study import Findings, Scores, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.runs.open import Opened

CLAIM = "MARN finds unseen items that are clicked better than ids do, here up to N = 100"
CHANCE = "RANDOM finds N of the unseen items by chance; here within 3 standard deviations"
FEW = len([n for n in NEAREST if n <= 100])


def of_unseen(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return the recall of unseen items that are clicked: `recall`, and `random` of vectors drawn at random.

    Only those N are asked for that are smaller than the number of unseen items.
    """
    from hyperctr.evaluation.metrics import unseen_recall
    from hyperctr.serving import vectors

    user, clicked, pool = vectors.unseen(opened, vectors.item_vectors(opened))
    found: dict[str, Any] = {"unseen": len(pool), "clicks": len(clicked), "recall": [], "random": []}
    if len(clicked):
        at = [n for n in NEAREST if n < len(pool)]
        rng = np.random.default_rng(opened.prepared.run.train.seed)
        found["recall"] = unseen_recall(user, clicked, pool, at)
        drawn = rng.standard_normal(user.shape), clicked, rng.standard_normal(pool.shape)
        found["random"] = unseen_recall(*drawn, at)
    return found


def _judge(scores: Scores) -> list[Verdict]:
    measured = scores.measured["runs"]
    gains = [mean_known(a["recall"][:FEW]) - mean_known(b["recall"][:FEW])
             for a, b in pairs(measured, MARN.name, IDS.name)]  # fmt: skip
    better = judge_values(CLAIM, gains, 0.0, "recall above that of ids, mean over N:")
    return [better, _at_chance(measured.get(MARN.name, []))]


def _at_chance(ours: list[dict]) -> Verdict:
    """Check whether vectors drawn at random find what chance finds, as they must if recall is counted correctly."""
    far = []
    for run in ours:
        for n, share in zip(NEAREST, run["random"], strict=False):
            chance = n / run["unseen"]
            far.append((share - chance) / math.sqrt(chance * (1 - chance) / run["clicks"]))
    if not far:
        return Verdict(CHANCE, NOT_RUN, "not tested")
    worst = max(map(abs, far))
    here = f"at most {worst:.1f} away, {ours[0]['unseen']:,} unseen items, {ours[0]['clicks']:,} clicks on them"
    return Verdict(CHANCE, here, "passed" if worst < 3 else "failed: find out why before comparing")


def _asked(measured: PerRow) -> list[int]:
    """Return the N that every run was asked for."""
    counts = [len(run["recall"]) for some in measured.values() for run in some]
    return list(NEAREST[: min(counts, default=0)])


def _recalls(measured: PerRow) -> dict[str, list[list[float]]]:
    """Return recall by row and seed; RANDOM is that of MARN's runs."""
    found = {row: [run["recall"] for run in measured[row]] for row in (IDS.name, MARN.name) if measured.get(row)}
    return {"RANDOM": [run["random"] for run in measured.get(MARN.name, [])]} | found


def _table(found: Findings) -> str:
    measured = found.scores.measured["runs"]
    series, parts = _recalls(measured), [tables.table(found)]
    lines = [["N", *series, *(f"the paper, Taobao: {row}" for row in RECALL)]]
    for k, n in enumerate(_asked(measured)):
        here = [mean_known([recall[k] for recall in recalls]) for recalls in series.values()]
        lines.append([str(n), *(tables.number(x) for x in (*here, *(RECALL[row][k] for row in RECALL)))])
    if len(lines) > 1:
        parts += ["### Share of the clicks on unseen items that are among the N nearest", markdown.table(lines)]
    return "\n\n".join(parts)


def _figures(found: Findings) -> dict[str, Figure]:
    measured = found.scores.measured["runs"]
    at = _asked(measured)
    if not at:
        return {}
    here = {row: points(at, recalls) for row, recalls in _recalls(measured).items()}
    theirs = {row: [(n, Score(x, math.nan, 1)) for n, x in zip(NEAREST, RECALL[row], strict=True)] for row in RECALL}
    drawn = draw_series(here, {"Taobao": theirs}, "N nearest items", "recall of clicked unseen items", True)
    return {"": tables.titled(drawn, found, tables.protocol(found))}


STUDY = Study(
    name="marn-table5",
    title="MARN, Table 5: unseen items that are clicked",
    rows=rows_over_ids,
    judge=_judge,
    paper=paper_numbers.PAPER,
    base=setting.BASE,
    facts=setting.facts,
    measurements=setting.measured(of_unseen),
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    table=_table,
    figures=_figures,
)
