"""MIAN on worlds whose answer is known: what each module is worth where its signal is planted.

In the world `fields` a third of the categories ask for a field of the user (IUIM), a third for the context (ICIM) and a
third for the latest click (IBIM); which of the three, the category says (GIM). A seed is a world and a training of its
own. Section 4.7.1 says of a removed module both that its group stays as it is, and that it is given up.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.reporting import markdown
from hyperctr.studies import tables
from hyperctr.studies.claims import NOT_RUN, Claim, Runs, Verdict, compare
from hyperctr.studies.measurements import mean_known, per_run
from hyperctr.studies.mian import fig6, setting
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

WORLD, SCALE = "fields", 0.33
"""With a quarter of the users the latest click goes unlearned; with a half the network on top learns the gate between
the groups by itself, and GIM is worth nothing."""
NEEDED = 0.01
"""AUC that each module must be worth."""
KINDS = ("user", "context", "latest click")
BASE = {
    "data": {"history": 10},
    "slices": {"every": "90d"},
    "model": {"name": "mian", "dim": 8, "heads": 4, "std": 0.2, "dropout": 0.0, "l2_embedding": 0.0},
    "train": {"epochs": 12, "lr": 5e-3, "l2": 0.0, "batch_size": 256, "threads": 1},
}
MIAN = "MIAN"
KEPT = {"w/o IUIM": "user", "w/o ICIM": "context", "w/o IBIM": "latest click"}
GIVEN_UP = {f"{row} and group": kind for row, kind in KEPT.items()}
ASKED = KEPT | GIVEN_UP
"""What the categories ask for whose signal a row lacks, under each reading of the paper."""
WITHOUT = {
    "w/o IUIM": ("model.iuim=false",),
    "w/o ICIM": ("model.icim=false",),
    "w/o IBIM": ("model.ibim=false",),
    "w/o GIM": ("model.gim=false",),
    "w/o IUIM and group": ("model.iuim=false", "model.keep_raw=false"),
    "w/o ICIM and group": ("model.icim=false", "model.keep_raw=false"),
    "w/o IBIM and group": ("model.ibim=false", "model.keep_raw=false"),
}


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    setup.need_model(setting.MODEL)
    without = [Row(name, setting.MODEL, sets, over=MIAN, world=WORLD) for name, sets in WITHOUT.items()]
    return [Row(MIAN, setting.MODEL, world=WORLD), *without]


def by_kind(opened: Opened, folder: Path) -> dict[str, float]:
    """Return the AUC of test rows among the categories that ask for each of KINDS."""
    from hyperctr.data import planted
    from hyperctr.evaluation.evaluate import score
    from hyperctr.evaluation.metrics import auc

    scored = score(opened.model, opened.prepared.evaluation_batches("test"))
    category = opened.prepared.dataset.items.categories["category"][scored["item"]] - 1
    kind = planted.planted(WORLD, 0, 0.03).asked[category]
    return {name: auc(scored["label"][kind == k], scored["logit"][kind == k]) for k, name in enumerate(KINDS)}


def _runs(scores: Scores) -> Runs:
    """Return the runs with their AUC of each kind."""
    kinds = {row: {run["seed"]: run for run in some} for row, some in scores.measured["kinds"].items()}
    return {row: [run | kinds[row][run["seed"]] for run in some if run["seed"] in kinds.get(row, {})]
            for row, some in scores.runs.items()}  # fmt: skip


def _judge(scores: Scores) -> list[Verdict]:
    runs = _runs(scores)
    claims = [Claim(f"{row} it loses {NEEDED:g} AUC where the {kind} is asked for", (MIAN,), (row,), -NEEDED, kind)
              for row, kind in ASKED.items()]  # fmt: skip
    claims += [Claim(f"{row} it loses {NEEDED:g} AUC over all rows", (MIAN,), (row,), -NEEDED) for row in WITHOUT]
    most = partial(missed_most, runs)
    return [*(compare(claim, runs) for claim in claims), *(most(x, row) for x in (KEPT, GIVEN_UP) for row in x)]


def missed_most(runs: Runs, reading: Mapping[str, str], row: str) -> Verdict:
    """Judge whether a signal misses its own module more than any other module of the reading."""
    kind, others = reading[row], [x for x in reading if x != row]
    text = f"where the {kind} is asked for, it loses most {row}"
    by_seed = {x: {run["seed"]: run[kind] for run in runs.get(x, [])} for x in (MIAN, row, *others)}
    seeds = set.intersection(*(set(some) for some in by_seed.values()))
    if not seeds:
        return Verdict(text, NOT_RUN, "not tested")
    lost = {x: [by_seed[MIAN][seed] - some[seed] for seed in seeds] for x, some in by_seed.items()}
    ahead = [mine - max(rest) for mine, *rest in zip(lost[row], *(lost[x] for x in others), strict=True)]
    here = f"lost {statistics.fmean(lost[row]):.3f}, without others at most "
    here += f"{max(statistics.fmean(lost[x]) for x in others):.3f}, n={len(seeds)}"
    score = Score(*significance.mean_interval(ahead), len(ahead))
    return Verdict(text, here, significance.judge_gains([score]))


def _entries(scores: Scores) -> list[dict]:
    kinds = scores.measured["kinds"]
    return [entry | {f"AUC, {kind}": mean_known([run[kind] for run in kinds.get(entry["row"], [])]) for kind in KINDS}
            for entry in tables.entries(scores)]  # fmt: skip


def _table(found: Findings) -> str:
    lines = [["row", *(f"AUC, {kind}" for kind in KINDS)]]
    lines += [[row["row"], *(tables.number(row[f"AUC, {kind}"], ".3f") for kind in KINDS)] for row in found.rows]
    weights = fig6.weight_tables(found.scores.measured["weights"].get(MIAN, []))
    return "\n\n".join([tables.table(found), "### By what the category asks for", markdown.table(lines), *weights])


def _figures(found: Findings) -> dict[str, Figure]:
    return tables.figures(found) | fig6.heat_figure(found, "weights", found.scores.measured["weights"].get(MIAN, []))


STUDY = Study(
    name="mian-planted",
    title="MIAN on planted worlds: what each module is worth",
    rows=_rows,
    judge=_judge,
    base=BASE,
    seeds=5,
    worlds={WORLD: SCALE},
    measurements={
        "kinds": per_run(by_kind, lambda row: True),
        "weights": per_run(fig6.weights, lambda row: row.name == MIAN, "weights.json"),
    },
    scores=("auc",),
    ours=MIAN,
    entries=_entries,
    table=_table,
    figures=_figures,
)
