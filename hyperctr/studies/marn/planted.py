"""MARN's claims on worlds whose answer is known: in each category one modality says what users like.

A seed is a world of its own and a training of its own. The first four claims must come out if MARN does what it says;
the rest compares with what the paper found on its own data, which nothing here promises.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import Claim, Verdict, compare, judge_values
from hyperctr.studies.marn import fig4, fig5, setting
from hyperctr.studies.marn.setting import GRU, MODEL, SUM
from hyperctr.studies.marn.table4 import by_popularity, gaps
from hyperctr.studies.measurements import mean_known, pairs, per_run
from hyperctr.studies.study import TITLES, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

WORLD, SCALE = "categories", 0.5
RECOVERED, NAMED, NEAR = 0.8, 0.9, 0.002
"""Share of categories whose useful modality the heat map must show; what a probe must reach on specific parts; and how
far below a row of Tables 2 and 3 may be."""
NEAREST = (5, 10, 20, 50)
"""Of the unseen items, of which a world has about a hundred."""
BASE = {
    "data": {"history": 20},
    "slices": {"every": "10d"},
    "model": {"name": MODEL, "dim": 32, "hidden": [64, 32]},
    "train": {"epochs": 10, "lr": 5e-3, "l2": 0.0, "batch_size": 256, "threads": 1},
}
OURS = {
    "IDs": (*SUM, 'model.modalities=["ids"]'),
    "IMAGE": (*SUM, 'model.modalities=["visual"]'),
    "CONC": SUM,
    "MAF": (*GRU, "model.adversary=none"),
    "MAF+ADV": (*GRU, "model.adversary=single"),
    "MAF+DDMA": GRU,
    "MARN": (),
    "lambda 0": ("model.weight=0.0",),
}
LADDER = ("IDs", "CONC", "MAF", "MAF+DDMA", "MARN")
MODELS = ("lr", "fm", "youtubenet", "xdeepfm", "dupn", "dien", "dmf", "mmss", "naml")
NEURAL = (*(TITLES[name] for name in MODELS if name not in ("lr", "fm")), "MARN")


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    setup.need_model(MODEL)
    ours = [Row(name, MODEL, sets) for name, sets in OURS.items()]
    rows = [Row("popularity", "popularity"), *ours, *map(setup.rival, MODELS)]
    return [replace(row, world=WORLD) for row in rows]


def parts(opened: Opened, folder: Path) -> dict[str, Any]:
    """Return what a MARN's parts say.

    Returns:
        levels: AUC by the popularity of items. recall: of clicked unseen items, mean over NEAREST. recovered: share of
        categories whose useful modality has most attention. specific, invariant: how often a probe names a modality.
        rise: of the adversarial loss. The last three where the model has what they ask about.
    """
    from hyperctr.analysis import marn_modalities
    from hyperctr.data import planted
    from hyperctr.evaluation.metrics import unseen_recall
    from hyperctr.serving import vectors

    model, found = opened.model, by_popularity(opened, folder)
    found["recall"] = mean_known(unseen_recall(*vectors.unseen(opened, vectors.item_vectors(opened)), NEAREST))
    if model.config.fusion == "maf":
        category, names = opened.prepared.dataset.items.categories["category"] - 1, model.modalities.names
        strength = marn_modalities.attention(model, category).strength
        of = [names.index(name) for name in planted.MODALITIES]
        useful = planted.planted(WORLD, 0, 0.03).useful
        found["recovered"] = float((strength[:, of].argmax(1) == useful).mean())
    if model.config.adversary != "none":
        space = marn_modalities.space(model)
        found |= {part: space.probe(part) for part in ("specific", "invariant")}
        losses = [float(line["adversarial"]) for line in files.read_csv(folder / "history.csv")]
        found["rise"] = losses[-1] - losses[0]
    return found


# --- claims --------------------------------------------------------------------------------------------------------


def _judge(scores: Scores) -> list[Verdict]:
    def above(text: str, ours: str, other: str, margin: float = 0.0) -> Verdict:
        return compare(Claim(text, (ours,), (other,), margin), scores.runs)

    return [
        above("attention (MAF) is better than the sum (CONC) by .005", "MAF", "CONC", -0.005),
        _least(scores, "the heat map shows the useful modality of the categories", "recovered", RECOVERED),
        _cold(scores),
        _colder(scores),
        *(above(f"{b} is no worse than {a}", b, a, NEAR) for a, b in zip(LADDER, LADDER[1:], strict=False)),
        above("two discriminators are better than one", "MAF+DDMA", "MAF+ADV"),
        above("the picture alone is worse than ids alone", "IDs", "IMAGE"),
        above("MARN is no worse than NAML", "MARN", "NAML", NEAR),
        *(above(f"{name} is better than LR", name, "LR") for name in NEURAL),
        _unpopular(scores),
        _more(scores, "MARN finds unseen items that are clicked better than ids do", "recall", "MARN", "IDs"),
        _least(scores, "a probe names the modality of specific parts", "specific", NAMED),
        _more(scores, "and of invariant parts less often than without the adversary", "invariant", "lambda 0", "MARN"),
        _least(scores, "the adversarial loss rises while training goes on", "rise", 0.0),
    ]


def _least(scores: Scores, text: str, name: str, least: float) -> Verdict:
    """Judge a measure of MARN against what is needed."""
    values = [run[name] for run in scores.measured["parts"].get("MARN", [])]
    return judge_values(text, values, least, f"{name} of MARN")


def _more(scores: Scores, text: str, name: str, row: str, over: str) -> Verdict:
    """Judge whether a measure of one row is above that of another, by seed."""
    values = [ours[name] - theirs[name] for ours, theirs in pairs(scores.measured["parts"], row, over)]
    return judge_values(text, values, 0.0, f"{name}, {row} above {over} by")


def _cold(scores: Scores) -> Verdict:
    values = [run["cold_item_auc"] for run in scores.runs.get("MARN", [])]
    return judge_values("items without training rows are ranked above chance", values, 0.5, "their AUC in MARN")


def _colder(scores: Scores) -> Verdict:
    values = [ours["cold_item_auc"] - theirs["cold_item_auc"] for ours, theirs in pairs(scores.runs, "MARN", "IDs")]
    return judge_values("and better than by ids and category alone", values, 0.0, "their AUC, MARN above IDs by")


def _unpopular(scores: Scores) -> Verdict:
    """Judge Table 4: the gain over ids at the three tenths of least popular items, less that at the most popular."""
    gains = gaps(scores.measured["parts"], "MARN", "IDs", slice(0, 3), slice(-3, None))
    text = "MARN gains most over ids where items are least popular"
    return judge_values(text, gains, 0.0, "gain at 0-2 less gain at 7-9")


# --- table and figures ---------------------------------------------------------------------------------------------

SHOWN = {"recall": "recall of unseen items", "recovered": "categories in the heat map", "specific": "probe of specific",
         "invariant": "probe of invariant", "rise": "rise of the adversarial loss"}  # fmt: skip


def _table(found: Findings) -> str:
    lines = [["row", *SHOWN.values()]]
    for row, some in found.scores.measured["parts"].items():
        if some:
            numbers = [mean_known([run.get(name, math.nan) for run in some]) for name in SHOWN]
            lines.append([row, *(tables.number(x, ".3f") for x in numbers)])
    nearest = f"Recall is the mean over the nearest {', '.join(map(str, NEAREST))} of the unseen items."
    return "\n\n".join([tables.table(found), "### What the parts of MARN say", markdown.table(lines), nearest])


def _figures(found: Findings) -> dict[str, Figure]:
    drawn, measured = tables.figures(found), found.scores.measured
    if heat := measured["attention"].get("MARN"):
        drawn |= fig4.strength_figure(found, "attention", heat[0], "category")
    if space := measured["space"].get("MARN"):
        drawn |= fig5.space_figure(found, "space", space[0])
    return drawn


STUDY = Study(
    name="marn-planted",
    title="MARN on planted worlds: one useful modality per category",
    rows=_rows,
    judge=_judge,
    base=BASE,
    seeds=5,
    worlds={WORLD: SCALE},
    measurements={
        "parts": per_run(parts, lambda row: row.model == MODEL),
        "attention": per_run(fig4.by_category, lambda row: row.name == "MARN", "attention.json"),
        "space": per_run(fig5.probes, lambda row: row.name == "MARN", "space.json"),
    },
    scores=("auc", "cold_item_auc"),
    extra_scores=setting.EXTRA,
    ours="MARN",
    table=_table,
    figures=_figures,
)
