"""LT4REC on worlds whose answer is known: in one the two tasks pull apart, in the other they ask the same.

    python benchmarks/conflict.py --out conflict               10 seeds, 2 processes; minutes
    python benchmarks/conflict.py --out conflict --seeds 1     a quick look: no verdict from one seed

In `conflict` what makes a user click is what makes the user stop watching soon; in `agree` it makes the user go on. A
seed is a world of its own and a training of its own; seeds begin at 100, since the validation rows of the first few
were looked at when the settings below were chosen. Verdicts are drawn from the 95 % interval of the difference paired
by seed: reproduced, inconclusive or contradicted. Called again, only what is missing runs.

Tickets train on a batch of either task in turn, conversions over and over; "every weight" takes the same steps with
nothing pruned, and so tells what the masks alone are worth. "clicks twice" are two tickets of the same task, the second
from as many rows as there are conversions: what chance leaves of the overlap of identical tasks.

DIR/
    worlds/        a folder a world
    runs/          a folder a run
    results.csv    a line a run
    report.md      the verdicts and every row's scores
"""

import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from hyperctr import config, files
from hyperctr.batch import Batch, Step
from hyperctr.data import planted
from hyperctr.data.split import split
from hyperctr.evaluation import significance
from hyperctr.evaluation.evaluate import quality, score
from hyperctr.evaluation.significance import Score, mean_interval, paired_interval
from hyperctr.layers.multitask import TASKS
from hyperctr.models import MODELS
from hyperctr.reporting import markdown
from hyperctr.runs import parallel
from hyperctr.runs.prepare import prepare
from hyperctr.training import lottery_tickets

SCALE = 0.3  # thousands of users; the more there are, the less does sharing of any kind matter
FIRST = 100  # seed
HIDDEN, ROUNDS = [64, 32], 3
TRAIN = {"epochs": 6, "lr": 3e-3, "l2": 1e-3, "batch_size": 256, "patience": 6, "threads": 1}
DATA = {"history": 1, "modalities": ["visual"]}
TICKET = {"name": "lt4rec", "keep": 0.5, "rounds": ROUNDS, "round": ROUNDS, "round_epochs": 2, "steps": "cycle"}
ROWS = {  # what each row's model is
    "conversions alone": {"name": "shared_bottom", "tasks": "conversion"},
    "hard sharing, embeddings": {"name": "shared_bottom"},
    "hard sharing, every layer": {"name": "shared_bottom", "shared": len(HIDDEN)},
    "s-weight": TICKET,
    "every weight": TICKET | {"rounds": 1, "round": 1, "keep": 1.0, "round_epochs": 1},
    "random masks": TICKET | {"shuffle": True},
}
WORLDS = {"conflict": list(ROWS), "agree": ["s-weight"]}
SCORES = ("auc", "cvr_mse", "valid_auc", "valid_cvr_mse", "jaccard", "ratio", "floor", "seconds")

app = typer.Typer(add_completion=False)
Key = tuple[str, str, int]  # world, row, seed


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the worlds, runs and results.")],
    seeds: Annotated[int, typer.Option(min=1, help="Worlds and trainings a row; a verdict needs three.")] = 10,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(min=0.03, help="Times the users of every world.")] = 1.0,
) -> None:
    """Run what is missing of the rows, then print the verdicts."""
    cells, failed = plan(seeds, SCALE * scale, out), []
    for later in (False, True):  # masks drawn at random need to know how many weights the tickets have
        wave = {name_of(key): cell for key, cell in cells.items() if (key[1] == "random masks") == later}
        failed += parallel.run_missing(wave, jobs, worlds.log.print)
    rows = read(cells, SCALE * scale) + twice_all(cells, out)
    files.write_csv(out / "results.csv", rows)
    note = "A difference is above 0 where the claim holds."
    worlds.leave(out, failed, "Two tasks on planted worlds", sections(rows), note)


def name_of(key: Key) -> str:
    return f"{key[0]}, {key[1]}, seed {key[2]}"


def plan(seeds: int, scale: float, out: Path) -> dict[Key, tuple[config.Run, Path]]:
    """Every run and its folder; makes the worlds."""
    cells = {}
    for seed in range(FIRST, FIRST + seeds):
        for preset, rows in WORLDS.items():
            world = worlds.made(preset, out, seed, scale)
            for row in rows:
                model = ROWS[row] | {"dim": 8, "hidden": HIDDEN}
                if model.get("shuffle"):
                    model["masks"] = str(out / "runs" / f"{preset} s-weight {seed}")
                tables = {"data": DATA | {"path": str(world)}, "model": model, "train": TRAIN | {"seed": seed}}
                cells[preset, row, seed] = config.read_run(tables), out / "runs" / f"{preset} {row} {seed}"
    return cells


def read(cells: dict[Key, tuple[config.Run, Path]], scale: float) -> list[dict]:
    """A row of results.csv for every finished run; floor is the error of the true conversions."""
    floors, rows = {}, []
    for (preset, row, seed), (_, folder) in cells.items():
        if not (got := worlds.told(folder)):
            continue
        if (preset, seed) not in floors:
            world = planted.planted(preset, seed, scale)
            floors[preset, seed] = world.floor(split(world.dataset.interactions).test)
        masks = got["overlap"][-1] if "overlap" in got else {}
        rows.append(
            {"world": preset, "row": row} | worlds.scores(got, seed)
            | {"cvr_mse": got["test"]["cvr_mse"], "valid_cvr_mse": got["valid"]["cvr_mse"]}
            | {"floor": floors[preset, seed]} | {name: masks.get(name, math.nan) for name in ("jaccard", "ratio")}
        )  # fmt: skip
    return rows


def twice_all(cells: dict[Key, tuple[config.Run, Path]], out: Path) -> list[dict]:
    """A row of results.csv for the two tickets of clicks in each world `conflict`; kept in twice.json."""
    kept, rows = out / "twice.json", []
    held = json.loads(kept.read_text()) if kept.exists() else {}
    for (preset, row, seed), (run, _) in cells.items():
        if (preset, row) != ("conflict", "s-weight"):
            continue
        if str(seed) not in held:
            held[str(seed)] = twice(run)
            files.write_text(kept, json.dumps(held))
            worlds.log.print(f"clicks twice, seed {seed}  {held[str(seed)]['jaccard']:.3f}")
        unknown = dict.fromkeys((*SCORES, "auc_low", "auc_high"), math.nan)
        rows.append({"world": preset, "row": "clicks twice", "seed": seed} | unknown | held[str(seed)])
    return rows


def twice(run: config.Run) -> dict[str, float]:
    """How two tickets of the task of clicks overlap: the same first weights, other rows in another order."""
    ready, seed = prepare(run), run.train.seed
    torch.manual_seed(seed)
    model, every = MODELS["lt4rec"](run.model, ready.tables), ready.rows_of("click")
    few = np.random.default_rng(seed).choice(every, len(ready.rows_of("conversion")), replace=False)
    rows = dict(zip(TASKS, (every, np.sort(few)), strict=True))

    def batches(slot: str, epoch: int) -> Iterable[Batch]:
        drawn = (seed, epoch, TASKS.index(slot))
        for batch in ready.loader.batches(rows[slot], run.train.batch_size, 0, drawn, True):
            yield replace(batch, step=Step(task="click"))

    def valid(slot: str) -> float:
        return quality(score(model, ready.evaluation_batches("valid")))

    lottery_tickets.find_tickets(model, batches, valid, run.train)
    return {name: model.overlap()[-1][name] for name in ("jaccard", "ratio")}


def claims(rows: list[dict]) -> list[tuple[str, str, str]]:
    """Each claim, what was found, and the verdict."""
    ticket, random = ("conflict", "s-weight"), ("conflict", "random masks")
    found = []
    for row in ("hard sharing, embeddings", "hard sharing, every layer", "every weight"):
        below = gain(rows, ("conflict", row), ticket, "cvr_mse")
        found.append((f"the error of conversions is below that of {row}", below))
    overlap = gain(rows, ("agree", "s-weight"), ticket, "jaccard")
    found.append(("tasks that pull apart share less of their masks (Jaccard) than tasks that agree", overlap))
    same = gain(rows, ("conflict", "clicks twice"), ticket, "jaccard")
    found.append(("tasks that pull apart share less of their masks than one task with itself", same))
    for column, (better, worse) in (("valid_cvr_mse", (random, ticket)), ("valid_auc", (ticket, random))):
        what = "error of conversions" if column == "valid_cvr_mse" else "AUC of clicks"
        found.append((f"tickets beat as many weights drawn at random in each layer ({what}, validation rows)",
                      gain(rows, better, worse, column)))  # fmt: skip
    return [
        (text, f"{markdown.format_gain(x)}, n={x.num}" if x else "not run", significance.judge_gains([x]))
        for text, x in found
    ]


def gain(rows: list[dict], one: tuple[str, str], other: tuple[str, str], column: str) -> Score | None:
    """How far a score of one world and row lies above another's, paired by seed."""
    a, b = ({r["seed"]: r[column] for r in rows if (r["world"], r["row"]) == key} for key in (one, other))
    seeds = sorted(a.keys() & b.keys())
    return Score(*paired_interval([a[s] for s in seeds], [b[s] for s in seeds]), len(seeds)) if seeds else None


def sections(rows: list[dict]) -> dict[str, list[list[str]]]:
    """The verdicts, then every row: means over seeds with their intervals."""
    lines = [["claim", "here", "verdict"], *([text, here, f"**{verdict}**"] for text, here, verdict in claims(rows))]
    table = [["world", "row", "n", *SCORES]]
    for key in dict.fromkeys((r["world"], r["row"]) for r in rows):
        some = [r for r in rows if (r["world"], r["row"]) == key]
        table.append(
            [*key, str(len(some)), *(summary([r[name] for r in some], markdown.format_score) for name in SCORES)]
        )
    return {"Verdicts": lines, "Rows": table}


def summary(values: list[float], say: Callable[[Score], str]) -> str:
    """Mean over seeds, "-" where one is unknown."""
    if any(math.isnan(value) for value in values):
        return "-"
    return say(Score(*mean_interval(values), len(values)))


if __name__ == "__main__":
    app()
