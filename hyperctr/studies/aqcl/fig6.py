"""Figure 6 of AQCL: the hidden vectors of test clicks, with and without AQCL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperctr import files
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.runs import parallel
from hyperctr.studies import tables
from hyperctr.studies.aqcl import groups, paper_numbers, wrappers
from hyperctr.studies.aqcl.figures import draw_points
from hyperctr.studies.claims import Verdict, look
from hyperctr.studies.study import Cells, Findings, Measurement, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

CLAIM = "with AQCL the hidden vectors fall roughly into groups, without it they do not (on Oncold)"
CLICKS, INTERESTS = 3000, 8
"""The most test clicks that are drawn, and the interests that have a colour."""


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    return [wrappers.bare(setup), wrappers.wrapped(setup, "aqcl", "AQCL")]


# --- what is measured ----------------------------------------------------------------------------------------------


def _gather(cells: Cells, out: Path, new: bool) -> None:
    """Write tsne.json of a run without a wrapper and one with AQCL; nothing where one of the two has failed."""
    folders = [parallel.folder_of(out, name) for name in cells]
    finished = len(folders) == 2 and all((folder / "report.json").exists() for folder in folders)
    if finished and (new or not (out / "tsne.json").exists()):
        files.write_json(out / "tsne.json", hidden_vectors(*folders), indent=None)


def _read(out: Path, facts: Mapping[str, Any]) -> dict | None:
    path = out / "tsne.json"
    return files.read_json(path) if path.exists() else None


def hidden_vectors(bare: Path, wrapped: Path) -> dict[str, Any]:
    """Return test clicks in two dimensions under two runs of one seed, and their interests.

    Args:
        bare, wrapped: folders of a run without a wrapper and one with AQCL.
    """
    import torch
    from safetensors.torch import load_file

    from hyperctr.models import WRAPPERS
    from hyperctr.runs import prepare
    from hyperctr.runs.open import open_run

    opened = [open_run(path) for path in (bare, wrapped)]
    ready = opened[1].prepared
    log, test, seed = ready.dataset.interactions, ready.split.test, ready.run.evaluate.seed
    clicks = test[log.label[test] == 1]
    if len(clicks) > CLICKS:
        clicks = np.sort(np.random.default_rng(seed).choice(clicks, CLICKS, replace=False))
    model = WRAPPERS["aqcl"](opened[1].model, ready.run.wrapper, ready.tables)
    model.load_state_dict(load_file(wrapped / "worn.safetensors"), strict=False)
    with torch.no_grad():
        hidden = [
            torch.cat([x.model(batch).hidden for batch in x.prepared.loader.batches(clicks, prepare.QUERIES)])
            for x in opened
        ]
        z = torch.nn.functional.normalize(model.eval().project(hidden[1]), dim=1)
        code = (z @ model.codebook.code.T).argmax(1).numpy()
    found = {"clicks": len(clicks), "code": code.tolist(), "agreement": {}}
    found["vectors"] = [flattened(h.numpy(), code, seed) for h in hidden]
    for field, category in list(ready.dataset.items.categories.items())[:1]:
        found["agreement"] = agreement(code, category[log.item[clicks]], favourites(ready, category)[log.user[clicks]])
        found["field"] = field
    return found


def flattened(hidden: np.ndarray, code: np.ndarray, seed: int) -> dict[str, Any]:
    """Return hidden vectors in two dimensions (t-SNE), and how much they fall into groups.

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
    near = min(30.0, (len(hidden) - 1) / 3)  # t-SNE's perplexity must be below the number of points
    place = TSNE(init="pca", perplexity=near, random_state=seed).fit_transform(hidden).astype(float)
    return {"x": place[:, 0].round(3).tolist(), "y": place[:, 1].round(3).tolist(), "silhouette": silhouette}


def frequent(code: np.ndarray) -> list[int]:
    """Return the interests that most clicks have, the most frequent first."""
    found, count = np.unique(code, return_counts=True)
    return found[np.argsort(-count, kind="stable")][:INTERESTS].tolist()


def agreement(code: np.ndarray, clicked: np.ndarray, favourite: np.ndarray) -> dict[str, float]:
    """Return normalised mutual information of the interests with two categories, 0 unrelated and 1 the same.

    Args:
        code: interest of each click, [n]. clicked: category of its item, [n]. favourite: the category that its user
            clicked most in training, [n].
    """
    from sklearn.metrics import normalized_mutual_info_score as nmi

    return {"clicked": float(nmi(clicked, code)), "favourite": float(nmi(favourite, code))}


def favourites(ready: Any, category: np.ndarray) -> np.ndarray:
    """Return the category of most of each user's training clicks, -1 without a click, [num_users]."""
    log = ready.dataset.interactions
    rows = ready.split.train[log.label[ready.split.train] == 1]
    pair, count = np.unique(np.stack([log.user[rows], category[log.item[rows]]]), axis=1, return_counts=True)
    found = np.full(log.num_users, -1)
    order = np.lexsort((pair[1], -count))
    user, first = np.unique(pair[0, order], return_index=True)
    found[user] = pair[1, order][first]
    return found


# --- what is written -----------------------------------------------------------------------------------------------


def _entries(scores: Scores) -> list[dict]:
    found, points = groups.entries(scores), scores.measured["points"]
    if not points:
        return found
    return [entry | each["silhouette"] for entry, each in zip(found, points["vectors"], strict=True)]


def _judge(scores: Scores) -> list[Verdict]:
    """Write silhouettes and agreement with categories in words."""
    points = scores.measured["points"]
    if not points:
        return [Verdict(CLAIM, "a run is missing", "not tested")]
    bare, with_aqcl = (
        {name: tables.number(value, ".3f") for name, value in vectors["silhouette"].items()}
        for vectors in points["vectors"]
    )
    texts = [
        f"silhouette of AQCL's {len(frequent(points['code']))} most frequent interests {with_aqcl['by_interest']} with "
        f"AQCL, {bare['by_interest']} under {scores.facts['base']}",
        f"of as many groups of k-means {with_aqcl['by_kmeans']} and {bare['by_kmeans']}",
    ]
    if points["agreement"]:
        found = points["agreement"]
        texts.append(
            f"NMI of interest and {points['field']}: {found['clicked']:.3f} with that of the clicked item, "
            f"{found['favourite']:.3f} with the one that the user clicked most"
        )
    else:
        texts.append("the items have no categories to compare interests with")
    return [look(CLAIM, "; ".join(texts))]


def _table(found: Findings) -> str:
    lines = [["row", "n", "AUC", "silhouette of AQCL's interests", "silhouette of k-means"]]
    for row in found.rows:
        value = Score(row["overall AUC"], row["overall AUC half"], row["n"])
        numbers = [tables.number(row.get(name), ".3f") for name in ("by_interest", "by_kmeans")]
        auc = markdown.format_score(value) if row["n"] else "no finished run"
        lines.append([row["row"], str(row["n"]), auc, *numbers])
    about = (
        "Silhouettes are of the hidden vectors themselves, not of the picture, in [-1, 1]. The interests are AQCL's "
        "own, which favours its row; the groups of k-means are found in each row's own vectors."
    )
    return "\n\n".join([markdown.table(lines), about, *groups.settings(found.facts)])


def _figures(found: Findings) -> dict[str, Figure]:
    points, facts = found.scores.measured["points"], found.facts
    if not points:
        return {}
    pairs = list(zip(found.scores.names, points["vectors"], strict=True))
    places = {name: (vectors["x"], vectors["y"]) for name, vectors in pairs}
    notes = {name: f"silhouette of the interests {tables.number(vectors['silhouette']['by_interest'], '.3f')}"
             for name, vectors in pairs}  # fmt: skip
    drawn = draw_points(places, notes, points["code"], frequent(points["code"]))
    protocol = f"{facts['base']} on {facts['data']}, {facts['split']} split; "
    protocol += f"seed {facts['seeds'][0]}; {points['clicks']:,} test clicks, t-SNE"
    return {"": tables.titled(drawn, found, protocol)}


STUDY = Study(
    name="aqcl-tsne",
    title="AQCL, Figure 6: hidden vectors of test clicks",
    rows=_rows,
    judge=_judge,
    paper=paper_numbers.PAPER,
    words_only=True,
    base=wrappers.BASE,
    one_seed=True,
    accepts_wrapper=True,
    facts=wrappers.facts,
    extra_scores=wrappers.SCORES,
    measurements={"points": Measurement(_gather, _read)},
    entries=_entries,
    more=groups.groups,
    table=_table,
    figures=_figures,
)
