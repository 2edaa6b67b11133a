"""AQCL's studies (arXiv 2109.13921, section 5): which rows they compare, and the hidden vectors of its Figure 6.

All rows of a study train the same model on the same rows, with the same negatives and the same stopping; they differ in
what that model wears. ICL and QCL share AQCL's weight, temperatures and views, unless they are given their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperctr import config, files
from hyperctr.data.dataset import Dataset
from hyperctr.studies.aqcl import published
from hyperctr.studies.aqcl.published import GROUPS
from hyperctr.studies.study import TITLES, Bench, Row, carried, grid

BENCHES = {
    bench.name: bench
    for bench in (
        Bench("aqcl-table2", "AQCL, Table 2: what the model wears in training"),
        Bench("aqcl-table3", "AQCL, Table 3: AQCL on several models"),
        Bench("aqcl-alpha", "AQCL, Figure 5: alpha by activity, or one alpha for all", "alpha",
              ("0", "0.3", "0.6", "1")),
        Bench("aqcl-dz", "AQCL, Figure 7a: width of z", "dim", ("8", "16", "32", "64", "128"),
              "width of z (log scale)", True),
        Bench("aqcl-w", "AQCL, Figure 7b: weight of the loss", "w", ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5"),
              "weight w of the loss (log scale)", True),
        Bench("aqcl-k", "AQCL, Figure 7c: positive interests", "positives", ("1", "5", "10", "20"),
              "interests that attract a row, K"),
        Bench("aqcl-tsne", "AQCL, Figure 6: hidden vectors of test clicks", single=True),
    )
}  # fmt: skip
COLUMNS = {
    f"{column.removesuffix('auc')}{what}": float
    for column in list(GROUPS.values())[1:]
    for what in ("auc", "rows", "clicks")[: 2 if column.startswith("highly") else 3]
}
"""Columns of results.csv beyond those of every bench: AUC and rows of the groups by activity, and their most clicks."""
TABLE2 = ("dropoutnet", "deepmcp", "dmr", "icl", "qcl", "aqcl")
TABLE3 = ("wide_deep", "deepfm", "din", "hyperctr")
MODEL = "din"
"""The model of a run that names none."""
CLICKS, INTERESTS = 3000, 8  # most test clicks of Figure 6, and interests that have a colour


def split_of(data: str) -> str:
    """The paper's split of a data set: baskets have a day, no hour."""
    return "leave-last-day-out" if published.column(data) == "Ta Feng" else "leave-last-out"


def planned(
    bench: Bench, base: config.Run, values: list[str], dataset: Dataset, given: Mapping[str, Any]
) -> tuple[config.Run, list[str], list[Row], list[str]]:
    """The run that rows change, the values in order, the rows, and what must be said about them."""
    given = ({base.wrapper_name: base.wrapper} if base.wrapper else {}) | given
    found = grid(bench, values, "whole numbers" if _kind(bench) is int else "numbers", _kind(bench))
    return replace(base, wrapper_name="", wrapper=None), found, rows(bench, base, found, given), []


def plain(base: config.Run) -> str:
    """Name of the row of the base run's model, wearing nothing."""
    return TITLES.get(base.model_name, base.model_name)


def rows(bench: Bench, base: config.Run, values: list[str], given: Mapping[str, Any]) -> list[Row]:
    """The rows of a bench: popularity, the model that wears nothing, and what is compared.

    Args:
        bench: what is studied.
        base: what all rows share; the model that wears.
        values: of the key that is varied.
        given: settings of what is worn, by name; others have their defaults.

    Raises:
        ValueError: the base has no hidden vector; a setting lies outside its range.
    """
    from hyperctr.batch import HasHidden
    from hyperctr.models import MODELS

    if not isinstance(MODELS[base.model_name], HasHidden):
        fit = ", ".join(name for name, model in MODELS.items() if isinstance(model, HasHidden))
        raise ValueError(f"{bench.name} needs a model with a hidden vector ({fit}), the run names {base.model_name}")

    def worn(name: str, title: str, model: str = base.model_name, over: str = plain(base), **changes: Any) -> Row:
        sets = () if model == base.model_name else carried(base, MODELS[model].Config)
        return Row(title, model, sets, name, replace(settings(name, given), **changes), over)

    popularity, bare = Row("popularity", "popularity", over=plain(base)), Row(plain(base), base.model_name)
    if bench.name == "aqcl-table2":
        return [popularity, bare, *(worn(name, TITLES[name]) for name in TABLE2)]
    if bench.name == "aqcl-table3":
        models = dict.fromkeys([*TABLE3, base.model_name])
        pairs = [(TITLES.get(name, name), worn("aqcl", "", name)) for name in models]
        pairs = [
            (Row(name, row.model, row.sets), replace(row, name=f"AQCL on {name}", over=name)) for name, row in pairs
        ]
        return [replace(popularity, over=""), *(row for pair in pairs for row in pair)]
    if bench.name == "aqcl-tsne":
        return [bare, worn("aqcl", "AQCL")]
    if bench.name == "aqcl-alpha":
        weights = {f.name: f.default for f in fields(settings("aqcl", {})) if f.name in ("w1", "w2")}
        const = [worn("aqcl", f"alpha {value}", alpha=float(value), **weights) for value in values]
        adaptive, searched = worn("aqcl", "adaptive", **weights), worn("aqcl", "adaptive, searched")
        found = [popularity, bare, worn("icl", "ICL"), *const, adaptive]
        return [*found, searched] if searched.wrapper != adaptive.wrapper else found
    kind = _kind(bench)
    return [popularity, bare, *(worn("aqcl", value, **{bench.varies: kind(value)}) for value in values)]


def settings(name: str, given: Mapping[str, Any]) -> Any:
    """The Config of what is worn: as given, or its defaults and, for ICL and QCL, what they share with AQCL's.

    AQCL's alpha follows activity whatever is given: a constant one is a row of `aqcl-alpha`.
    """
    from hyperctr.models import WRAPPERS

    kind, icl = WRAPPERS[name].Config, WRAPPERS["icl"].Config
    if name in given:
        return replace(given[name], alpha=None) if name == "aqcl" else given[name]
    if "aqcl" not in given or not issubclass(kind, icl):
        return kind()
    shared = {f.name for f in fields(kind)} - {"alpha"}
    return kind(**{key: value for key, value in vars(given["aqcl"]).items() if key in shared})


def facts(bench: Bench, base: config.Run, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """What bench.json must hold of these studies, beside what it holds of every bench."""
    return {
        "base": plain(base),
        "draw": base.evaluate.draw,
        "over": {row.name: row.over for row in plan if row.over},
        "settings": {row.name: {"wears": row.wrapper_name, **vars(row.wrapper)} for row in plan if row.wrapper_name},
    }


def keep(bench: Bench, cells: Mapping[str, tuple[Row, int]], out: Path, anew: bool) -> None:
    """Keep what the figure is drawn from beyond scores; `anew` where a run is new."""
    if bench.name == "aqcl-tsne" and (anew or not (out / "tsne.json").exists()):
        keep_points(*(out / "runs" / cell for cell in cells), out)


def keep_points(bare: Path, worn: Path, out: Path) -> None:
    """Write tsne.json: test clicks in two dimensions under a bare run and one that wore AQCL, and their interests.

    Nothing is written where one of the two has failed.

    Args:
        bare, worn: folders of the two runs, of one seed.
        out: the bench's folder.
    """
    import torch
    from safetensors.torch import load_file

    from hyperctr.models import WRAPPERS
    from hyperctr.runs import prepare
    from hyperctr.runs.open import open_run

    if not all((path / "report.json").exists() for path in (bare, worn)):
        return
    opened = [open_run(path) for path in (bare, worn)]
    ready = opened[1].prepared
    log, test, seed = ready.dataset.interactions, ready.split.test, ready.run.evaluate.seed
    clicks = test[log.label[test] == 1]
    if len(clicks) > CLICKS:
        clicks = np.sort(np.random.default_rng(seed).choice(clicks, CLICKS, replace=False))
    model = WRAPPERS["aqcl"](opened[1].model, ready.run.wrapper, ready.tables)
    model.load_state_dict(load_file(worn / "worn.safetensors"), strict=False)
    with torch.no_grad():
        hidden = [
            torch.cat([x.model(batch).hidden for batch in x.prepared.loader.batches(clicks, prepare.QUERIES)])
            for x in opened
        ]
        z = torch.nn.functional.normalize(model.eval().project(hidden[1]), dim=1)
        code = (z @ model.codebook.code.T).argmax(1).numpy()
    found = {"clicks": len(clicks), "code": code.tolist(), "agreement": {}}
    found["vectors"] = [flattened(h.numpy(), code, seed) for h in hidden]
    for field, category in list(ready.dataset.items.fields.items())[:1]:
        found["agreement"] = agreement(code, category[log.item[clicks]], _favourite(ready, category)[log.user[clicks]])
        found["field"] = field
    files.write_text(out / "tsne.json", json.dumps(found))


def flattened(hidden: np.ndarray, code: np.ndarray, seed: int) -> dict[str, Any]:
    """Hidden vectors in two dimensions (t-SNE), and how much they fall into groups.

    Args:
        hidden: [n, dim]. code: interest of each, [n]. seed: of t-SNE and k-means.

    Returns:
        x, y: [n]. silhouette: of the most frequent interests, and of as many groups that k-means finds in their
        vectors, by Euclidean distance; None where that is one group.
    """
    from sklearn.cluster import KMeans
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    kept, seed = np.isin(code, frequent(code)), seed % 2**32
    some = hidden[kept]
    own = KMeans(len(frequent(code)), n_init=4, random_state=seed).fit_predict(some)
    silhouette = {
        name: float(silhouette_score(some, label)) if 1 < len(np.unique(label)) < len(some) else None
        for name, label in (("by_interest", code[kept]), ("by_kmeans", own))
    }
    near = min(30.0, (len(hidden) - 1) / 3)  # t-SNE's perplexity must lie below the number of points
    place = TSNE(init="pca", perplexity=near, random_state=seed).fit_transform(hidden).astype(float)
    return {"x": place[:, 0].round(3).tolist(), "y": place[:, 1].round(3).tolist(), "silhouette": silhouette}


def frequent(code: np.ndarray) -> list[int]:
    """The interests that most clicks have, the most frequent first."""
    found, count = np.unique(code, return_counts=True)
    return found[np.argsort(-count, kind="stable")][:INTERESTS].tolist()


def agreement(code: np.ndarray, clicked: np.ndarray, favourite: np.ndarray) -> dict[str, float]:
    """Normalised mutual information of the interests with two categories, 0 unrelated and 1 the same.

    Args:
        code: interest of each click, [n]. clicked: category of its item, [n]. favourite: the category that its user
            clicked most in training, [n].
    """
    from sklearn.metrics import normalized_mutual_info_score as nmi

    return {"clicked": float(nmi(clicked, code)), "favourite": float(nmi(favourite, code))}


def _favourite(ready: Any, category: np.ndarray) -> np.ndarray:
    """The category of most of each user's training clicks, of two the smaller; -1 without a click. [num_users]"""
    log = ready.dataset.interactions
    rows = ready.split.train[log.label[ready.split.train] == 1]
    pair, count = np.unique(np.stack([log.user[rows], category[log.item[rows]]]), axis=1, return_counts=True)
    found = np.full(log.num_users, -1)
    order = np.lexsort((pair[1], -count))
    user, first = np.unique(pair[0, order], return_index=True)
    found[user] = pair[1, order][first]
    return found


def _kind(bench: Bench) -> type:
    return int if bench.varies in ("dim", "positives") else float
