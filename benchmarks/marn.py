"""MARN's claims (arXiv 2003.07162) on a planted world whose answer is known: in each category one modality tells.

    python benchmarks/marn.py --out marn                        all claims, 5 seeds, 2 processes; half an hour
    python benchmarks/marn.py --out marn --claims fusion,heat   some of them
    python benchmarks/marn.py --out marn --seeds 1 --scale 0.1  a quick look: no verdict from one seed

A seed is a world of its own and a training of its own. `fusion`, `heat` and `cold` must hold if MARN does what it says;
the others compare with what the paper found on its own data, which nothing here promises. Verdicts are drawn from the
95 % interval over seeds: reproduced, inconclusive or contradicted. Called again, only what is missing runs.

DIR/
    worlds/        a folder a world
    runs/          a folder a run, measures.json in it
    report.md      the verdicts and every row's scores
    attention.png  Figure 4 of the first seed
    space.png      Figure 5 of the first seed
"""

import csv
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from hyperctr import config, files
from hyperctr.analysis import marn_modalities
from hyperctr.data import planted
from hyperctr.evaluation import significance
from hyperctr.evaluation.evaluate import score
from hyperctr.evaluation.metrics import popularity_auc, unseen_recall
from hyperctr.evaluation.significance import Score, mean_interval
from hyperctr.reporting import figures, markdown
from hyperctr.runs import parallel
from hyperctr.runs.open import Opened, open_run
from hyperctr.serving import vectors
from hyperctr.studies import claims
from hyperctr.studies.claims import Claim

RECOVERED, PROBED, TOLERANCE = 0.8, 0.9, 0.002
"""Share of categories whose useful modality the heat map must show; what a probe must reach on specific parts; and how
far below a row of Tables 2 and 3 may lie and still hold."""
NEAREST = (5, 10, 20, 50)  # of the unseen items, of which a world has about a hundred
SCALE = 0.5  # thousands of users
SIZES = {"dim": 32, "hidden": [64, 32]}
WITHOUT = {"dim": ("popularity", "lr"), "hidden": ("popularity", "lr", "fm")}  # models that have no such size
BASE = {
    "data": {"history": 20},
    "slices": {"every": "10d"},
    "train": {"epochs": 10, "lr": 5e-3, "l2": 0.0, "batch_size": 256, "threads": 1},
}
GRU = ('model.behaviour="gru"',)
SUM = (*GRU, 'model.fusion="sum"', 'model.adversary="none"')
ROWS = {
    "popularity": ("popularity", ()),
    "IDs": ("marn", (*SUM, 'model.modalities=["ids"]')),
    "IMAGE": ("marn", (*SUM, 'model.modalities=["visual"]')),
    "CONC": ("marn", SUM),
    "MAF": ("marn", (*GRU, 'model.adversary="none"')),
    "MAF+ADV": ("marn", (*GRU, 'model.adversary="single"')),
    "MAF+DDMA": ("marn", GRU),
    "MARN": ("marn", ()),
    "lambda 0": ("marn", ("model.weight=0.0",)),
    **{name: (name, ()) for name in ("lr", "fm", "youtubenet", "xdeepfm", "dupn", "dien", "dmf", "mmss", "naml")},
}
"""Name of a row -> model, and overrides as in `hyperctr train --set`."""
NEURAL = ("youtubenet", "xdeepfm", "dupn", "dien", "dmf", "mmss", "naml", "MARN")
LADDER = ("IDs", "CONC", "MAF", "MAF+DDMA", "MARN")

Results = dict[str, list[dict]]  # row -> runs, by seed


@dataclass(frozen=True)
class Study:
    """One claim: the rows that it needs, and how it is judged."""

    text: str
    rows: tuple[str, ...]
    judge: Callable[[Results], tuple[str, str]]
    """What was found, and the verdict."""


def above(ours: str, others: tuple[str, ...], margin: float = 0.0) -> Callable[[Results], tuple[str, str]]:
    """AUC of a row against others, as `claims.judge` draws it; a margin below 0 is what it must be better by."""
    return lambda found: claims.judge(Claim("", (ours,), others, margin), found)


def least(name: str, row: str, needed: float) -> Callable[[Results], tuple[str, str]]:
    """A measure of a row against what is needed."""

    def judge(found: Results) -> tuple[str, str]:
        values = [run[name] for run in found.get(row, []) if not math.isnan(run[name])]
        return said(values, needed, f"{name} of {row}")

    return judge


def more(name: str, ours: str, other: str, sign: int = 1) -> Callable[[Results], tuple[str, str]]:
    """A measure of one row minus that of another, by seed; sign -1: less."""

    def judge(found: Results) -> tuple[str, str]:
        theirs = {run["seed"]: run[name] for run in found.get(other, [])}
        values = [sign * (run[name] - theirs[run["seed"]]) for run in found.get(ours, []) if run["seed"] in theirs]
        return said(values, 0.0, f"{name}, {ours} {'above' if sign > 0 else 'below'} {other} by")

    return judge


def said(values: list[float], needed: float, what: str) -> tuple[str, str]:
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "nothing was run", "not tested"
    mean, half = mean_interval(values)
    interval = "" if math.isnan(half) else f" ± {half:.3f}"
    return f"{what} {mean:.3f}{interval}, n={len(values)}", significance.judge_gains(
        [Score(mean - needed, half, len(values))]
    )


def unpopular(found: Results) -> tuple[str, str]:
    """Table 4: what MARN gains over ids at the three tenths of least popular items, less that at the most popular."""
    ids = {run["seed"]: np.array(run["levels"]) for run in found.get("IDs", [])}
    gaps = [np.array(run["levels"]) - ids[run["seed"]] for run in found.get("MARN", []) if run["seed"] in ids]
    return said([float(np.nanmean(g[:3]) - np.nanmean(g[-3:])) for g in gaps], 0.0, "gain at 0-2 less gain at 7-9")


STUDIES = {
    "fusion": Study("attention (MAF) is better than the sum (CONC) by .005", ("MAF", "CONC"),
                    above("MAF", ("CONC",), -0.005)),
    "heat": Study("the heat map shows the useful modality of the categories", ("MARN",),
                  least("recovered", "MARN", RECOVERED)),
    "cold": Study("items without training rows are told above chance", ("MARN",), least("cold", "MARN", 0.5)),
    "colder": Study("and better than by ids and category alone", ("MARN", "IDs"), more("cold", "MARN", "IDs")),
    **{f"table3, {b}": Study(f"{b} is no worse than {a}", (a, b), above(b, (a,), TOLERANCE))
       for a, b in zip(LADDER, LADDER[1:], strict=False)},
    "table3, double": Study("two discriminators are better than one", ("MAF+DDMA", "MAF+ADV"),
                            above("MAF+DDMA", ("MAF+ADV",))),
    "table3, image": Study("the picture alone is worse than ids alone", ("IDs", "IMAGE"), above("IDs", ("IMAGE",))),
    "table2, best": Study("MARN is no worse than NAML", ("MARN", "naml"), above("MARN", ("naml",), TOLERANCE)),
    **{f"table2, {name}": Study(f"{name} is better than lr", (name, "lr"), above(name, ("lr",))) for name in NEURAL},
    "table4": Study("MARN gains most over ids where items are least popular", ("MARN", "IDs"), unpopular),
    "table5": Study("MARN finds unseen items that are clicked better than ids do", ("MARN", "IDs"),
                    more("recall", "MARN", "IDs")),
    "figure5, specific": Study("a probe tells the modality of specific parts", ("MARN",),
                               least("probe s", "MARN", PROBED)),
    "figure5, invariant": Study("and that of invariant parts less well than without the adversary",
                                ("MARN", "lambda 0"), more("probe c", "MARN", "lambda 0", -1)),
    "figure6": Study("the adversarial loss rises while training goes on", ("MARN",), least("rise", "MARN", 0.0)),
}  # fmt: skip

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the worlds, runs and results.")],
    claims: Annotated[str, typer.Option(help="Which, separated by commas; the first word of a name takes all.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Worlds and trainings a row; a verdict needs three.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(min=0.03, help="Thousands of users.")] = SCALE,
) -> None:
    """Run what is missing of the claims' rows, then print the verdicts."""
    asked = {word.strip() for word in claims.split(",")} - {""}
    chosen = {name: x for name, x in STUDIES.items() if not asked or {name, name.split(",")[0]} & asked}
    if not chosen:
        raise typer.BadParameter(f"no claim is called {claims!r}; there are {'; '.join(STUDIES)}")
    cells = plan({"popularity", *(row for study in chosen.values() for row in study.rows)}, seeds, scale, out)
    failed = parallel.run_missing({name_of(key): cell for key, cell in cells.items()}, jobs, worlds.log.print)
    found: Results = {}
    for (row, seed), (_, folder) in cells.items():
        if worlds.told(folder):
            found.setdefault(row, []).append(measured(folder, seed))
    draw(cells, out)
    nearest = f"Recall is the mean over the nearest {', '.join(map(str, NEAREST))} of the unseen items."
    worlds.leave(out, failed, "MARN on planted categories", sections(chosen, found), nearest)


Key = tuple[str, int]  # row, seed


def name_of(key: Key) -> str:
    return f"{key[0]}, seed {key[1]}"


def plan(rows: set[str], seeds: int, scale: float, out: Path) -> dict[Key, tuple[config.Run, Path]]:
    """Every run of the rows; makes the worlds."""
    cells = {}
    for seed in range(seeds):
        world = worlds.made("categories", out, seed, scale)
        for row, (model, sets) in ROWS.items():
            if row in rows:
                own = {"name": model} | {key: SIZES[key] for key in SIZES if model not in WITHOUT[key]}
                tables = BASE | {"data": BASE["data"] | {"path": str(world)}, "model": own,
                                 "train": BASE["train"] | {"seed": seed}}  # fmt: skip
                run = config.read_run(tables, set=sets)
                cells[row, seed] = run, out / "runs" / f"{row} {scale:g} {seed}"
    return cells


def measured(folder: Path, seed: int) -> dict:
    """What is asked of a run: its scores, and of a MARN what its parts tell; kept beside the run."""
    kept, told = folder / "measures.json", worlds.told(folder)
    if not kept.exists():
        files.write_text(kept, json.dumps(measures(open_run(folder), folder) if told["model"] == "marn" else {}))
    return worlds.scores(told, seed) | {"cold": told["test"]["cold_item_auc"]} | json.loads(kept.read_text())


def measures(opened: Opened, folder: Path) -> dict:
    model, ready = opened.model, opened.prepared
    scored, log_ = score(model, ready.evaluation_batches("test")), ready.dataset.interactions
    count = np.bincount(log_.item[ready.split.train], minlength=log_.num_items)
    recall = unseen_recall(*vectors.unseen(opened, vectors.item_vectors(opened)), NEAREST)
    levels = popularity_auc(scored["label"], scored["logit"], scored["item"], count)
    found = {"levels": levels, "recall": float(np.mean(recall)), "recalls": recall}
    if model.config.fusion == "maf":
        strength, names = heat(opened).strength, model.modalities.names
        of = [names.index(name) for name in planted.MODALITIES]
        useful = planted.planted("categories", 0, 0.03).useful
        found["recovered"] = float((strength[:, of].argmax(1) == useful).mean())
    if model.config.adversary != "none":
        space = marn_modalities.space(model)
        found |= {"probe s": space.probe("specific"), "probe c": space.probe("invariant")}
        with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
            losses = [float(line["adversarial"]) for line in csv.DictReader(file)]
        found["rise"] = losses[-1] - losses[0]
    return found


def heat(opened: Opened) -> marn_modalities.Attention:
    """The attention to each modality by planted category."""
    return marn_modalities.attention(opened.model, opened.prepared.dataset.items.fields["category"] - 1)


def draw(cells: dict[Key, tuple[config.Run, Path]], out: Path) -> None:
    """Figures 4 and 5 of MARN's first seed."""
    folder = cells["MARN", 0][1] if ("MARN", 0) in cells else None
    if folder is not None and worlds.told(folder):
        opened = open_run(folder)
        figures.save(heat(opened).draw(), out / "attention.png")
        figures.save(marn_modalities.space(opened.model).draw(("visual", "textual")), out / "space.png")


def sections(chosen: dict[str, Study], found: Results) -> dict[str, list[list[str]]]:
    """The verdicts, then every row: means over seeds with their intervals."""
    lines = [["", "claim", "here", "verdict"]]
    for name, study in chosen.items():
        here, verdict = study.judge(found)
        lines.append([name, study.text, here, f"**{verdict}**"])
    table = [["row", "n", "test AUC", "AUC, unseen items", "recall of them", "probe s", "probe c", "seconds"]]
    for row in (row for row in ROWS if row in found):
        texts = [worlds.mean(found[row], name) for name in ("cold", "recall", "probe s", "probe c", "seconds")]
        table.append([row, str(len(found[row])), markdown.format_score(significance.score(found[row])), *texts])
    return {"Verdicts": lines, "Rows": table}


if __name__ == "__main__":
    app()
