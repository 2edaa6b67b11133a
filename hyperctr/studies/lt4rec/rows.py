"""LT4REC's studies (arXiv 2008.09872, section 3): which rows they compare, and what their runs say of masks and ranks.

All rows learn from the same rows of the log with the same settings. Those that start from tickets of s-weight take the
ones that s-weight found under the same seed, or those of the run that model.masks of the base names; s-neuron,
multiview and biggernet have layers or masks of another kind and look for their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperctr import config
from hyperctr.data.context import DAY
from hyperctr.data.dataset import Dataset
from hyperctr.evaluation import metrics
from hyperctr.evaluation.evaluate import score
from hyperctr.files import read_csv, write_csv
from hyperctr.layers.multitask import TASKS
from hyperctr.studies import tables
from hyperctr.studies.study import TITLES, Bench, Row, carried, grid

MODEL = "lt4rec"
"""The model of a run that names none."""
BENCHES = {
    bench.name: bench
    for bench in (
        Bench("lt4rec-table2", "LT4REC, Table 2: clicks and conversions on one network", "b", ("3",)),
        Bench("lt4rec-fig4", "LT4REC, Figure 4: masks by round of pruning"),
        Bench("lt4rec-replay", "LT4REC, Table 3: time watched of what is ranked first, in replay"),
    )
}
COLUMNS = dict.fromkeys(("cvr_mse", "cvr_auc", "ctcvr_auc", "cvr_variance", "valid_cvr_mse"), float)
"""Columns of results.csv beyond those of every bench."""
SINGLE = ("base_ctr", "base_cvr")
KAPPA, EXTRA = 5.0, 8  # of gradient conflict (the authors' code) and of multiview (the paper)
TOPS = (1, 3, 5)
RANKED = {
    "base_ctr * base_cvr * length": ("base_ctr", "base_cvr"),
    "base_ctr * hard_cvr * length": ("base_ctr", "hard_sharing"),
    "base_ctr * s_weight_cvr * length": ("base_ctr", "s-weight"),
    "s_weight_ctr * s_weight_cvr * length": ("s-weight", "s-weight"),
}
"""Rows of Table 3: whose pCTR and whose pCVR."""


def split_of(data: str) -> str:
    """The paper's split of its log: by time."""
    return "temporal"


def planned(
    bench: Bench, base: config.Run, values: list[str], dataset: Dataset, given: Mapping[str, Any]
) -> tuple[config.Run, list[str], list[Row], list[str]]:
    """The run that rows change, the weights b in order, the rows, and nothing that must be said about them.

    Raises:
        ValueError: the run is of another model or wears something; a value is no number above 0; the data do not say
            what follows a click, or, for a replay, what was not clicked or how long items take.
    """
    tables.check(bench, base, MODEL)
    _check(bench, base, dataset)
    found = grid(bench, values, "numbers above 0", right=lambda b: 0 < b < math.inf)
    return base, found, rows(bench, base, found), []


def rows(bench: Bench, base: config.Run, values: list[str]) -> list[Row]:
    """The rows of a bench.

    Args:
        bench: what is studied.
        base: what all rows share; its model is lt4rec.
        values: weights b of taskbalance and tuning.
    """
    from hyperctr.models import MODELS

    c = base.model

    def rival(name: str, model: str, *sets: str) -> Row:
        return Row(name, model, (*carried(base, MODELS[model].Config), *sets))

    def own(name: str, *sets: str) -> Row:
        return Row(name, MODEL, ('model.masks=""', *sets))

    def again(name: str, *sets: str) -> Row:
        return Row(name, MODEL, sets, tickets="" if c.masks else found.name)

    found, kept = Row("s-weight", MODEL), at(base)
    alone = [rival(name, "shared_bottom", f'model.tasks="{task}"') for name, task in zip(SINGLE, TASKS, strict=True)]
    hard = rival("hard_sharing", "shared_bottom")
    if bench.name == "lt4rec-replay":
        return [*alone, hard, found]
    if bench.name == "lt4rec-fig4":
        few = ("train.epochs=1",)  # the rounds are what it is about
        return [Row("s-weight", MODEL, few), again("random masks", *few, "model.shuffle=true")]
    last, conflict = f"model.round={c.rounds}", f"model.kappa={KAPPA}"
    joint = 'model.steps="joint"'
    return [
        Row("popularity", "popularity"), *alone, hard, *(rival(TITLES[name], name) for name in ("esmm", "mmoe")), found,
        again(f"s-weight at {kept}", last), again(f"random masks at {kept}", last, "model.shuffle=true"),
        again(f"fresh weights at {kept}", last, "model.rewind=false"),
        own("s-neuron", 'model.granularity="neuron"'), again("s-weight with joint steps", joint),
        *(again(f"s-weight-taskbalance with b = {b}", joint, f"model.b={b}") for b in values),
        again("s-weight-gradientconflict", joint, conflict), own("s-weight-multiview", f"model.extra={EXTRA}"),
        own("s-weight-biggernet", f"model.hidden={[2 * width for width in c.hidden]}"),
        *(again(f"s-weight-tuning with b = {b}", joint, f"model.b={b}", conflict) for b in values),
    ]  # fmt: skip


def _check(bench: Bench, base: config.Run, dataset: Dataset) -> None:
    """Refuse data that a bench cannot use before anything is trained."""
    log = dataset.interactions
    if log.conversion is None and base.data.conversion is None:
        raise ValueError(
            f"{bench.name} needs what follows a click, of which {dataset.name} says nothing: name its column with "
            'data.conversion, or with conversion = "..." under [interactions] of its dataset.toml'
        )
    if bench.name == "lt4rec-replay" and (log.length is None or not log.logged_non_clicks):
        raise ValueError(
            f"{bench.name} ranks logged impressions by pCTR pCVR length, and {dataset.name} lacks "
            + ('the latter: name its column with length = "..." under [interactions] of its dataset.toml'
               if log.length is None else "impressions without a click")
        )  # fmt: skip


def at(base: config.Run) -> str:
    """What is left after the last pruning, as "20 %"."""
    return f"{100 * base.model.keep:g} %"


def facts(bench: Bench, base: config.Run, plan: list[Row], dataset: Dataset) -> dict[str, Any]:
    """What bench.json must hold of these studies, beside what it holds of every bench."""
    c = base.model
    return {"at": at(base), "rounds": c.rounds, "conversion": base.data.conversion or "as the data's roles name it"}


def keep(bench: Bench, cells: Mapping[str, tuple[Row, int]], out: Path, anew: bool) -> None:
    """Keep what the runs say of masks, and what a replay ranks; `anew` where a run is new."""
    gather(out, cells)
    if bench.name == "lt4rec-replay" and (anew or not (out / "replay.csv").exists()):
        keep_ranks(out, cells)


def gather(out: Path, cells: Mapping[str, tuple[Row, int]]) -> None:
    """Write masks.csv, how the tasks share each layer, and rounds.csv, the score of every mask: a line each.

    What was told of runs whose folders are gone stays.
    """
    masks, rounds, read = [], [], set()
    for cell, (row, seed) in cells.items():
        path = out / "runs" / cell / "report.json"
        if row.model != MODEL or not path.exists():
            continue
        got, here = json.loads(path.read_text()), {"row": row.name, "seed": seed}
        read.add((row.name, str(seed)))
        masks += [here | layer for layer in got["overlap"]]
        if not got["searched"]:
            continue  # the rounds are those of the run whose masks it wears
        for task, ticket in got["tickets"].items():
            rounds += [here | {"task": task} | each | {"best": each["round"] == ticket["best"]}
                       for each in ticket["rounds"]]  # fmt: skip
    for name, lines in (("masks", masks), ("rounds", rounds)):
        path = out / f"{name}.csv"
        held = (line for line in read_csv(path) if (line["row"], line["seed"]) not in read)
        write_csv(path, [*held, *lines])


def keep_ranks(out: Path, cells: Mapping[str, tuple[Row, int]]) -> None:
    """Write replay.csv: mean time watched of the test impressions ranked first among those of a user and (UTC) day.

    A line for each row of RANKED, for the length alone and for all impressions of groups that are large enough; a seed
    of which a run is missing has none.
    """
    from hyperctr.runs import prepare
    from hyperctr.runs.open import open_run

    paths: dict[int, dict[str, Path]] = {}
    for cell, (row, seed) in cells.items():
        paths.setdefault(seed, {})[row.name] = out / "runs" / cell
    lines = []
    for seed, folders in paths.items():
        if not all((path / "report.json").exists() for path in folders.values()):
            continue
        opened = {name: open_run(path) for name, path in folders.items()}
        scored = {}
        for name, run in opened.items():
            batches = run.prepared.loader.batches(run.prepared.split.test, prepare.QUERIES)  # every row, in order
            scored[name] = score(run.model, batches)
        ready = opened["s-weight"].prepared
        found = ranks(ready.dataset.interactions, ready.split.test, scored)
        lines += [{"row": name, "seed": seed} | each for name, each in found.items()]
    write_csv(out / "replay.csv", lines)


def ranks(log: Any, test: np.ndarray, scored: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Mean time watched, in the unit of the lengths, of what each row of RANKED puts first, for each of TOPS.

    Args:
        log: the interactions. test: rows, [n]. scored: logits of these rows, by model, as `evaluation.score` gives.
    """
    label, length = log.label[test], log.length[test].astype(np.float64)
    known = ~np.isnan(length) & ~((label == 1) & np.isnan(log.conversion[test]))
    watched = (label * np.nan_to_num(log.conversion[test]) * length)[known]
    _, group = np.unique(np.stack([log.user[test], log.time[test] // DAY]), axis=1, return_inverse=True)
    group = group.ravel()[known]
    order = {
        name: metrics.rank_score(scored[a]["logit"][known], scored[b]["conversion_logit"][known], length[known])
        for name, (a, b) in RANKED.items()
    }
    order["length alone"] = length[known]
    found = {name: metrics.replay(score, watched, group, TOPS) for name, score in order.items()}
    count = np.bincount(group)[group]
    found["any order"] = {top: float(_mean_of_groups(watched, group, count >= top)) for top in TOPS}
    return {name: {f"top {top}": value for top, value in each.items()} for name, each in found.items()}


def _mean_of_groups(value: np.ndarray, group: np.ndarray, kept: np.ndarray) -> float:
    """Mean over groups of the mean of their values: what any order is expected to put first."""
    if not kept.any():
        return math.nan
    total, count = (np.bincount(group[kept], weight) for weight in (value[kept], None))
    return (total[count > 0] / count[count > 0]).mean()
