"""Table 4 of MARN: AUC by the popularity of items."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, judge_values
from hyperctr.studies.figures import draw_series
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.paper_numbers import LEVELS
from hyperctr.studies.marn.setting import IDS, MARN
from hyperctr.studies.measurements import mean_known, pairs, points
from hyperctr.studies.study import POPULARITY, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

CLAIM = "MARN gains most over ids on unpopular items: +.044 to +.021 at levels 0 to 3, +.002 at 7 to 9"
UNPOPULAR, POPULAR = slice(0, 4), slice(7, 10)


def rows_over_ids(setup: Setup, dataset: Dataset) -> list[Row]:
    """Return popularity, ids alone, and MARN over them."""
    setting.need_marn(setup, dataset)
    return [POPULARITY, IDS, replace(MARN, over=IDS.name)]


def by_popularity(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return the AUC at each of ten levels of the items' popularity in training, NaN as None: `levels`."""
    from hyperctr.evaluation.evaluate import score
    from hyperctr.evaluation.metrics import popularity_auc
    from hyperctr.runs.candidates import compared

    ready, log = opened.prepared, opened.prepared.dataset.interactions
    scored = compared(ready, score(opened.model, ready.evaluation_batches("test")))
    count = np.bincount(log.item[ready.split.train], minlength=log.num_items)
    levels = popularity_auc(scored["label"], scored["logit"], scored["item"], count)
    return {"levels": [None if np.isnan(x) else x for x in levels]}


def _judge(scores: Scores) -> list[Verdict]:
    gains = gaps(scores.measured["runs"], MARN.name, IDS.name, UNPOPULAR, POPULAR)
    return [judge_values(CLAIM, gains, 0.0, "gain over ids at levels 0 to 3, less that at 7 to 9:")]


def gaps(measured: dict[str, list[dict]], row: str, over: str, low: slice, high: slice) -> list[float]:
    """Return by seed what a row gains over another at some levels, less what it gains at other levels."""
    found = []
    for ours, theirs in pairs(measured, row, over):
        gain = [None if None in both else both[0] - both[1]
                for both in zip(ours["levels"], theirs["levels"], strict=True)]  # fmt: skip
        found.append(mean_known(gain[low]) - mean_known(gain[high]))
    return found


def _table(found: Findings) -> str:
    rows, measured = (IDS.name, MARN.name), found.scores.measured["runs"]
    lines = [["level", *rows, "gap", *(f"the paper, Taobao: {row}" for row in rows), "gap"]]
    for k in range(10):
        here = [mean_known([run["levels"][k] for run in measured.get(row, [])]) for row in rows]
        theirs = [LEVELS[row][k] for row in rows]
        numbers = [*here, here[1] - here[0], *theirs, theirs[1] - theirs[0]]
        lines.append([str(k), *(tables.number(x, ".3f") for x in numbers)])
    head = "### AUC by popularity in training, from the least to the most"
    return "\n\n".join([tables.table(found), head, markdown.table(lines)])


def _figures(found: Findings) -> dict[str, Figure]:
    measured = found.scores.measured["runs"]
    if not measured.get(MARN.name):
        return {}
    here = {row: points(range(10), [run["levels"] for run in measured.get(row, [])]) for row in LEVELS}
    theirs = {row: [(k, Score(x, math.nan, 1)) for k, x in enumerate(LEVELS[row])] for row in LEVELS}
    axis = "popularity of the item in training, in tenths of the items"
    drawn = draw_series(here, {"Taobao": theirs}, axis, "test AUC")
    return {"": tables.titled(drawn, found, tables.protocol(found))}


STUDY = Study(
    name="marn-table4",
    title="MARN, Table 4: AUC by the popularity of items",
    rows=rows_over_ids,
    judge=_judge,
    paper=paper_numbers.PAPER,
    base=setting.BASE,
    facts=setting.facts,
    measurements=setting.measured(by_popularity),
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    table=_table,
    figures=_figures,
)
