"""MARN's studies (WWW 2020, arXiv 2003.07162, section 4): which rows they compare, and what is asked of trained ones.

All rows train on the same rows with the same negatives and the same stopping; another model takes what the base run
changes in the settings that it shares with MARN. Neural ones read all modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr import config
from hyperctr.data.dataset import Dataset
from hyperctr.files import read_csv
from hyperctr.studies import tables
from hyperctr.studies.marn.published import AUC, NEAREST
from hyperctr.studies.study import TITLES, Bench, Row, carried, grid, modality

if TYPE_CHECKING:
    from hyperctr.analysis import marn_modalities
    from hyperctr.runs.open import Opened

MODEL = "marn"
"""The model of a run that names none."""
BENCHES = {
    bench.name: bench
    for bench in (
        Bench("marn-table2", "MARN, Table 2: MARN and other models"),
        Bench("marn-table3", "MARN, Table 3: from ids alone to MARN"),
        Bench("marn-table4", "MARN, Table 4: AUC by the popularity of items"),
        Bench("marn-table5", "MARN, Table 5: unseen items that are clicked"),
        Bench("marn-fig4", "MARN, Figure 4: attention to each modality by category"),
        Bench("marn-fig5", "MARN, Figure 5: specific and invariant features"),
        Bench("marn-fig6", "MARN, Figure 6: losses, and the weight of the adversary", "weight",
              ("0.01", "0.05", "0.1", "0.5", "1.0", "1.8"), "lambda_0 (log scale)", True),
    )
}  # fmt: skip
COLUMNS: dict[str, type] = {AUC: float, "cold_item_auc": float}
"""Columns of results.csv beyond those of every bench: AUC of Eq. (11), and that of items without a training row."""
TABLE2 = ("lr", "fm", "youtubenet", "xdeepfm", "dupn", "dien", "dmf", "mmss", "naml")
GRU = ("model.behaviour=gru",)
SUM = (*GRU, "model.fusion=sum", "model.adversary=none")
IDS = Row("Base+IDs", MODEL, (*SUM, 'model.modalities=["ids"]'))
CATEGORIES = 12  # the largest ones, of Figure 4
POINTS = 500  # items of each group of Figure 5


def split_of(data: str) -> str:
    """The paper's split of its public data: a user's last click is tested."""
    return "leave-last-out"


def planned(
    bench: Bench, base: config.Run, values: list[str], dataset: Dataset, given: Mapping[str, Any]
) -> tuple[config.Run, list[str], list[Row], list[str]]:
    """The run that rows change, the values in order, the rows, and what must be said about them.

    Raises:
        ValueError: the run is of another model or wears something; a value is no number; the data have nothing to fuse,
            or no category where attention is shown by it.
    """
    tables.check(bench, base, MODEL)
    found, notes = grid(bench, values), []
    items = dataset.items
    if not items.modalities and items.titles is None:
        raise ValueError(f"{bench.name} needs modalities or titles of items, {dataset.name} has neither")
    if bench.name == "marn-fig4" and not items.fields:
        raise ValueError(f"marn-fig4 needs a category of items, {dataset.name} has no field of them")
    image = next((name for name in items.modalities if modality(name) == "visual"), "")
    if bench.name == "marn-table3" and not image:
        notes.append("the data have no image of items: there is no row Base+IMAGE")
    return base, found, rows(bench, base, found, image), notes


def rows(bench: Bench, base: config.Run, values: list[str], image: str) -> list[Row]:
    """The rows of a bench, popularity first.

    Args:
        bench: what is studied.
        base: what all rows share.
        values: of lambda_0.
        image: the modality that is an image; "" for none.
    """
    from hyperctr.models import MODELS

    popularity, marn = Row("popularity", "popularity"), Row("MARN", MODEL)
    if bench.name == "marn-table2":
        return [popularity, *(Row(TITLES[name], name, carried(base, MODELS[name].Config)) for name in TABLE2), marn]
    if bench.name == "marn-table3":
        alone = [Row("Base+IMAGE", MODEL, (*SUM, f'model.modalities=["{image}"]'), over=IDS.name)] if image else []
        return [
            popularity, IDS, *alone,
            Row("Base+CONC", MODEL, SUM, over=IDS.name),
            Row("Base+MAF", MODEL, (*GRU, "model.adversary=none"), over="Base+CONC"),
            Row("Base+MAF+ADV", MODEL, (*GRU, "model.adversary=single"), over="Base+MAF"),
            Row("Base+MAF+DDMA", MODEL, GRU, over="Base+MAF+ADV"),
            Row("MARN", MODEL, over="Base+MAF+DDMA"),
        ]  # fmt: skip
    if bench.name in ("marn-table4", "marn-table5"):
        return [popularity, IDS, Row("MARN", MODEL, over=IDS.name)]
    if bench.name == "marn-fig5":
        return [popularity, Row("lambda_0 = 0", MODEL, ("model.weight=0.0",)), marn]
    if bench.name == "marn-fig6":
        return [popularity, *(Row(value, MODEL, (f"model.weight={float(value)}",)) for value in values)]
    return [popularity, marn]


def facts(bench: Bench, base: config.Run, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """What bench.json must hold of these studies, beside what it holds of every bench."""
    return {
        "over": {row.name: row.over for row in plan if row.over},
        "field": next(iter(dataset.items.fields), ""),
        "logged": dataset.interactions.logged_non_clicks,
    }


def keep(bench: Bench, cells: Mapping[str, tuple[Row, int]], out: Path, anew: bool) -> None:
    """Keep what a figure is drawn from in measures.json; `anew` where a run is new."""
    if bench.name in MEASURES:
        named = {cell: row.name for cell, (row, _) in cells.items() if row.model == MODEL}
        tables.measure(named, out, MEASURES[bench.name])


# --- what is asked of a trained MARN -------------------------------------------------------------------------------


def by_popularity(opened: Opened, folder: Path) -> dict[str, Any]:
    """AUC at each of ten levels of the items' popularity in training, NaN as None: `levels`."""
    from hyperctr.evaluation.evaluate import score
    from hyperctr.evaluation.metrics import popularity_auc

    ready, log = opened.prepared, opened.prepared.dataset.interactions
    scored = score(opened.model, ready.evaluation_batches("test"))
    count = np.bincount(log.item[ready.split.train], minlength=log.num_items)
    levels = popularity_auc(scored["label"], scored["logit"], scored["item"], count)
    return {"levels": [None if np.isnan(x) else x for x in levels]}


def of_unseen(opened: Opened, folder: Path) -> dict[str, Any]:
    """Recall of unseen items that are clicked, of vectors drawn at random too: `recall`, `random`, `unseen`, `clicks`.

    Of N only those are asked that are fewer than the unseen items.
    """
    from hyperctr.evaluation.metrics import unseen_recall
    from hyperctr.serving import vectors

    user, clicked, pool = vectors.unseen(opened, vectors.item_vectors(opened))
    found: dict[str, Any] = {"unseen": len(pool), "clicks": len(clicked), "recall": [], "random": []}
    if len(clicked):
        at = [n for n in NEAREST if n < len(pool)]
        rng = np.random.default_rng(opened.prepared.run.train.seed)
        found["recall"] = unseen_recall(user, clicked, pool, at)
        found["random"] = unseen_recall(*_random(rng, user, clicked, pool), at)
    return found


def _random(rng: np.random.Generator, user: np.ndarray, clicked: np.ndarray, pool: np.ndarray) -> tuple:
    return rng.standard_normal(user.shape), clicked, rng.standard_normal(pool.shape)


def by_category(opened: Opened, folder: Path) -> dict[str, Any]:
    """The strength of attention by category and modality: `categories`, `modalities`, `strength`, NaN as None."""
    found = attention(opened, next(iter(opened.prepared.dataset.items.fields)))
    strength = [[None if np.isnan(x) else float(x) for x in line] for line in found.strength]
    return {"categories": found.categories, "modalities": found.modalities, "strength": strength}


def attention(opened: Opened, field: str) -> marn_modalities.Attention:
    """The attention to each modality over the items of the largest categories of a field; 0 is "missing"."""
    from hyperctr.analysis import marn_modalities

    category = opened.prepared.dataset.items.fields[field]
    count = np.bincount(category)
    count[0] = 0
    largest = np.flatnonzero(count)[np.argsort(-count[count > 0], kind="stable")][:CATEGORIES]
    return marn_modalities.attention(opened.model, np.where(np.isin(category, largest), category, -1))


def probes(opened: Opened, folder: Path) -> dict[str, Any]:
    """What a probe tells of all modalities' parts, `specific` and `invariant`, by `chance`; of two, `panels`.

    A panel has a title, groups, their points in two dimensions, and the accuracy of a probe.
    """
    from hyperctr.analysis import marn_modalities

    space = marn_modalities.space(opened.model)
    found = {part: space.probe(part) for part in ("specific", "invariant")} | {"chance": 1 / len(space.modalities)}
    panels = [
        {"title": title, "groups": groups, "probe": probe, "points": [x.round(3).tolist() for x in points]}
        for title, (groups, points, probe) in space.flat(pair_of(space.modalities), POINTS).items()
    ]
    return found | {"panels": panels}


def pair_of(names: tuple[str, ...]) -> tuple[str, str]:
    """The image and the title, or what comes nearest to them: features before words, words before ids and numbers."""
    theirs = {"visual": 0, "title": 1, "textual": 1, "statistic": 3, "ids": 4}
    order = sorted(names, key=lambda name: theirs.get(modality(name) if name not in theirs else name, 2))
    return order[0], order[1]


def losses(opened: Opened, folder: Path) -> dict[str, Any]:
    """The total and the adversarial loss at each validation: `epoch`, `loss`, `adversarial`."""
    lines = read_csv(folder / "history.csv")
    return {name: [float(line[name]) for line in lines] for name in ("epoch", "loss", "adversarial")}


MEASURES: dict[str, Callable[[Opened, Path], dict]] = {
    "marn-table4": by_popularity,
    "marn-table5": of_unseen,
    "marn-fig4": by_category,
    "marn-fig5": probes,
    "marn-fig6": losses,
}
"""What is asked of each MARN of a bench."""
