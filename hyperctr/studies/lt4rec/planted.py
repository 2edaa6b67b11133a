"""LT4REC on worlds whose answer is known: in `conflict` the two tasks pull apart, in `agree` they ask the same.

In `conflict` what makes a user click makes the user stop watching soon; in `agree` it makes the user go on. A seed is a
world of its own and a training of its own. Seeds begin at 100, since validation rows of the first few were looked at
when the settings were chosen.

Tickets train on a batch of either task in turn, conversions over and over. "every weight" takes the same steps with
nothing pruned, so it shows what the masks alone are worth. "clicks twice" are two tickets of the same task, the second
from as many rows as there are conversions: it shows how much of the overlap of identical tasks chance leaves.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hyperctr.evaluation import significance
from hyperctr.reporting import markdown
from hyperctr.studies import claims, tables, worlds
from hyperctr.studies.claims import Verdict, judge
from hyperctr.studies.lt4rec import masks, setting, table2
from hyperctr.studies.measurements import per_run
from hyperctr.studies.study import Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.batch import Batch
    from hyperctr.data.dataset import Dataset
    from hyperctr.runs.open import Opened

HIDDEN, ROUNDS = [64, 32], 3
BASE = {
    "data": {"history": 1, "modalities": ["visual"]},
    "model": {
        "name": "lt4rec", "dim": 8, "hidden": HIDDEN, "keep": 0.5, "rounds": ROUNDS, "round": ROUNDS,
        "round_epochs": 2, "steps": "cycle",
    },
    "train": {"epochs": 6, "lr": 3e-3, "l2": 1e-3, "batch_size": 256, "patience": 6, "threads": 1, "seed": 100},
}  # fmt: skip
TICKET, AGREE, TWICE = "s-weight", "s-weight in agree", "clicks twice"
EMBEDDINGS, LAYERS = "hard sharing of embeddings", "hard sharing of every layer"
EVERY, RANDOM = "every weight", "random masks"


def _rows(setup: Setup, dataset: Dataset | None) -> list[Row]:
    setup.need_model(setting.MODEL)
    every = ("model.rounds=1", "model.round=1", "model.keep=1.0", "model.round_epochs=1")
    rows = [
        table2.one_task(setup, "conversions alone", "conversion"),
        setup.rival("shared_bottom", name=EMBEDDINGS),
        setup.rival("shared_bottom", f"model.shared={len(HIDDEN)}", name=LAYERS),
        Row(TICKET, setting.MODEL),
        Row(EVERY, setting.MODEL, every),
        Row(RANDOM, setting.MODEL, ("model.shuffle=true",), after={"model.masks": TICKET}),
    ]
    return [*(replace(row, world="conflict") for row in rows), Row(AGREE, setting.MODEL, world="agree")]


def twice(opened: Opened, folder: Path) -> dict[str, float]:
    """Return how two tickets of the task of clicks overlap: the same first weights, other rows in another order."""
    import torch

    from hyperctr.batch import Step
    from hyperctr.evaluation.evaluate import quality, score
    from hyperctr.models import find_model
    from hyperctr.training import lottery_tickets

    ready, run = opened.prepared, opened.prepared.run
    seed = run.train.seed
    torch.manual_seed(seed)
    model, every = find_model(setting.MODEL)(run.model, ready.tables), ready.rows_of("click")
    few = np.random.default_rng(seed).choice(every, len(ready.rows_of("conversion")), replace=False)
    rows = dict(zip(setting.TASKS, (every, np.sort(few)), strict=True))

    def batches(slot: str, epoch: int) -> Iterable[Batch]:
        drawn = (seed, epoch, setting.TASKS.index(slot))
        for batch in ready.loader.batches(rows[slot], run.train.batch_size, 0, drawn, True):
            yield replace(batch, step=Step(task="click"))

    def valid(slot: str) -> float:
        return quality(score(model, ready.evaluation_batches("valid")))

    lottery_tickets.find_tickets(model, batches, valid, run.train)
    return {name: model.overlap()[-1][name] for name in ("jaccard", "ratio")}


def overlaps(scores: Scores) -> dict[str, list[dict]]:
    """Return by row what the two tasks' masks have in common over all layers, for each seed."""
    lines = [line for line in scores.measured["masks"] if line["layer"] == "all"]
    found = {row: [line for line in lines if line["row"] == row] for row in scores.names}
    return {row: some for row, some in found.items() if some} | {TWICE: scores.measured["twice"].get(TICKET, [])}


def _judge(scores: Scores) -> list[Verdict]:
    runs, shared = scores.runs, overlaps(scores)
    found = [
        judge(f"the error of conversions is below that of {row}", claims.gain(runs, row, TICKET, "cvr_mse"))
        for row in (EMBEDDINGS, LAYERS, EVERY)
    ]
    less = "tasks that pull apart share less of their masks"
    for row, other in ((AGREE, "(Jaccard) than tasks that agree"), (TWICE, "than one task with itself")):
        gain = significance.difference(shared.get(row, []), shared.get(TICKET, []), "jaccard")
        found.append(judge(f"{less} {other}", gain))
    text = "tickets beat as many weights drawn at random in each layer"
    error, auc = (
        claims.gain(runs, *rows) for rows in ((RANDOM, TICKET, "valid_cvr_mse"), (TICKET, RANDOM, "valid_auc"))
    )
    found.append(judge(f"{text} (error of conversions, validation rows)", error))
    return [*found, judge(f"{text} (AUC of clicks, validation rows)", auc)]


def _table(found: Findings) -> str:
    floors = found.scores.measured["worlds"]
    lines = [["row", "n", "masks in common (Jaccard)", "over what chance would share"]]
    for row, some in overlaps(found.scores).items():
        texts = [markdown.format_score(significance.score(some, name)) for name in ("jaccard", "ratio") if some]
        lines.append([row, str(len(some)), *(texts or ["-", "-"])])
    best = [
        f"{world} {statistics.fmean(x['floor'] for x in some.values()):.4f}" for world, some in floors.items() if some
    ]
    about = (
        f"The error of the true conversions: {', '.join(best) or 'unknown'}. A gain is above 0 where a claim is true."
    )
    return "\n\n".join([tables.table(found), about, "### Masks", markdown.table(lines)])


STUDY = Study(
    name="lt4rec-planted",
    title="LT4REC on planted worlds: tasks that pull apart or agree",
    rows=_rows,
    judge=_judge,
    base=BASE,
    seeds=10,
    worlds={"conflict": 0.3, "agree": 0.3},
    measurements={
        "masks": masks.MEASUREMENTS["masks"],
        "twice": per_run(twice, lambda row: row.name == TICKET, "twice.json"),
        "worlds": worlds.known(lambda world, parts: {"floor": world.floor(parts.test)}),
    },
    scores=("cvr_mse", "auc"),
    extra_scores=setting.EXTRA,
    ours=TICKET,
    table=_table,
)
