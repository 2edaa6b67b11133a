"""Figure 4 of MARN: attention to each modality by category."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr.reporting import figures
from hyperctr.studies import tables
from hyperctr.studies.claims import Verdict, look
from hyperctr.studies.marn import paper_numbers, setting
from hyperctr.studies.marn.setting import MARN
from hyperctr.studies.study import POPULARITY, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.analysis import marn_modalities
    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

CLAIM = "attention follows the category: the image in clothing, shoes, jewelry, statistics in phones, grocery"
CATEGORIES = 12
"""The largest categories, which are shown."""


def _rows(setup: Setup, dataset: Dataset) -> list[Row]:
    setting.need_marn(setup, dataset)
    if not dataset.items.categories:
        raise ValueError(f"{setup.study.name} needs a category of items, {dataset.name} has no field of them")
    return [POPULARITY, MARN]


def by_category(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return the strength of attention: `categories`, `modalities`, and `strength` of both, NaN as None."""
    found = attention(opened, next(iter(opened.prepared.dataset.items.categories)))
    strength = [[None if np.isnan(x) else float(x) for x in line] for line in found.strength]
    return {"categories": found.categories, "modalities": found.modalities, "strength": strength}


def attention(opened: Opened, field: str) -> marn_modalities.Attention:
    """Return the attention to each modality over the items of the largest categories of a field; 0 is "missing"."""
    from hyperctr.analysis import marn_modalities

    category = opened.prepared.dataset.items.categories[field]
    count = np.bincount(category)
    count[0] = 0
    largest = np.flatnonzero(count)[np.argsort(-count[count > 0], kind="stable")][:CATEGORIES]
    return marn_modalities.attention(opened.model, np.where(np.isin(category, largest), category, -1))


def _ours(scores: Scores) -> list[dict]:
    return scores.measured["runs"].get(MARN.name, [])


def _judge(scores: Scores) -> list[Verdict]:
    return [look(CLAIM, highest(_ours(scores)))]


def highest(ours: list[dict]) -> str:
    """Name the category that attends to each modality most, over the mean of the categories; "" where none was run."""
    if not ours:
        return ""
    found, texts = ours[0], []
    for k, name in enumerate(found["modalities"]):
        column = [line[k] for line in found["strength"] if line[k] is not None]
        if column:
            place = max(range(len(found["strength"])), key=lambda c, k=k: found["strength"][c][k] or 0.0)
            ratio = found["strength"][place][k] / statistics.fmean(column)
            texts.append(f"{name} in {found['categories'][place]} ({ratio:.2f} of its mean)")
    return "highest: " + ", ".join(texts)


def _caveats(scores: Scores) -> list[str]:
    field = scores.facts["field"]
    named = [f"categories are the largest values of the field {field}, by number"] if field else []
    return [*tables.unlearned(scores), *named]


def _figures(found: Findings) -> dict[str, Figure]:
    ours, facts = _ours(found.scores), found.facts
    return strength_figure(found, "", ours[0], facts["field"]) if ours else {}


def strength_figure(found: Findings, end: str, run: dict, field: str) -> dict[str, Figure]:
    """Draw the attention of a run by category of a field."""
    strength = [[math.nan if x is None else x for x in line] for line in run["strength"]]
    names = [f"{field} {name}" for name in run["categories"]]
    drawn = figures.draw_strength(strength, names, run["modalities"], "mean length of the attention vector")
    protocol = f"{found.facts['data']}, seed {run['seed']}; at most ten thousand items per category"
    return {end: tables.titled(drawn, found, protocol)}


STUDY = Study(
    name="marn-fig4",
    title="MARN, Figure 4: attention to each modality by category",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=setting.BASE,
    facts=setting.facts,
    measurements=setting.measured(by_category),
    scores=setting.SCORES,
    extra_scores=setting.EXTRA,
    caveats=_caveats,
    figures=_figures,
)
