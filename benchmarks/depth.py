"""What the layers of HyperCTR's Eq. (5) give, with and without numbers and links.

    python benchmarks/depth.py run DATA [--seeds 5]     train and score; what is there is not run again
    python benchmarks/depth.py table [DATA ...]         the gain of 1 and 3 layers over none, in Markdown

Each run is `hyperctr-best` with `model.depth` = 0, 1 or 3, hyperedges of the latest slice or of the whole past, and
`data.past` = none, counts (numbers without links) or all. It trains on the latest 50,000 training clicks with the
settings that `same_budget.py` begins with, stops on validation rows and scores the test rows once. Hypergraphs, numbers
and the users' clicks are of all training rows. Scores lie in `benchmarks/results/depth/DATA.csv`.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import same_budget

from hyperctr import config
from hyperctr.evaluation import significance
from hyperctr.files import append_csv, read_csv
from hyperctr.runs.prepare import Prepared, build_model, prepare
from hyperctr.training.fit import fit

RESULTS = Path(__file__).parent / "results" / "depth"
PASTS, DEPTHS = ("none", "counts", "all"), {"slice": (0, 1, 3), "past": (1, 3)}
CLICKS, POSITIVES = 50_000, 5_000
SLICES = {"kuairand-pure": "1d", "ta-feng": "7d"}  # 9 days and 4 months; elsewhere the preset's
COLUMNS = ("past", "span", "depth", "seed", "valid_auc", "test_auc", "user_auc")

app = typer.Typer(add_completion=False, help=__doc__)


def run_of(data: str, past: str, span: str, depth: int, seed: int) -> config.Run:
    """Return the run of one cell."""
    base = config.to_tables(same_budget.run_of(data, "hyperctr-best", past, seed))
    positives = [f"evaluate.{key}={POSITIVES}" for key in ("max_positives", "valid_positives")]
    slices = [f"slices.every={SLICES[data]}"] if data in SLICES else []
    return config.read_run(base, [*slices, f"slices.span={span}", f"model.depth={depth}", "train.epochs=2", *positives])


def latest(ready: Prepared) -> Prepared:
    """Return the preparation with the latest training clicks alone, and batches that are made once."""
    log, train = ready.dataset.interactions, ready.split.train
    clicks = np.flatnonzero(log.label[train] == 1)
    if len(clicks) > CLICKS:
        ready = replace(ready, split=replace(ready.split, train=train[clicks[-CLICKS] :]))
    return same_budget.Kept(**{x.name: getattr(ready, x.name) for x in fields(ready)})


@app.command()
def run(data: str, past: Annotated[list[str] | None, typer.Argument()] = None, seeds: int = 5) -> None:
    """Train and score the runs of a data set that are not there yet."""
    torch.set_num_threads(1)
    path = RESULTS / f"{data}.csv"
    done = {tuple(line[name] for name in COLUMNS[:4]) for line in read_csv(path)}
    for numbers in past or PASTS:
        for span, depths in DEPTHS.items():
            cells = [(seed, depth) for seed in range(seeds) for depth in depths]
            cells = [(seed, depth) for seed, depth in cells if (numbers, span, str(depth), str(seed)) not in done]
            if not cells:
                continue
            same_budget.Kept.BATCHES.clear()
            ready = latest(prepare(run_of(data, numbers, span, 0, 0)))
            for seed, depth in cells:
                auc = _scored(replace(ready, run=run_of(data, numbers, span, depth, seed)))
                append_csv(path, {"past": numbers, "span": span, "depth": depth, "seed": seed} | auc)
                print(data, numbers, span, depth, seed, f"{auc['valid_auc']:.4f} {auc['test_auc']:.4f}", flush=True)


def _scored(ready: Prepared) -> dict[str, float]:
    torch.manual_seed(ready.run.train.seed)
    model = build_model(ready)
    fit(model, ready.train_batches, lambda: ready.scores(model, "valid")["auc"], ready.run.train, ready.train_rows)
    valid, test = ready.scores(model, "valid"), ready.scores(model, "test")
    return {"valid_auc": valid["auc"], "test_auc": test["auc"], "user_auc": test["user_auc"]}


@app.command()
def table(data: Annotated[list[str] | None, typer.Argument()] = None, part: str = "test_auc") -> None:
    """Print what 1 and 3 layers give over none, paired by seed, with the 95 % interval over seeds."""
    names = [f"{depth} layers, {span}" for span in DEPTHS for depth in (1, 3)]
    print(f"| data | numbers | depth 0 | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}")
    for name in data or sorted(path.stem for path in RESULTS.glob("*.csv")):
        cells: dict[tuple[str, str, int], list[dict]] = {}
        for line in read_csv(RESULTS / f"{name}.csv"):
            scores = {"seed": int(line["seed"]), part: float(line[part])}
            cells.setdefault((line["past"], line["span"], int(line["depth"])), []).append(scores)
        for past in PASTS:
            if not (flat := cells.get((past, "slice", 0))):
                continue
            found = []
            for span in DEPTHS:
                for depth in (1, 3):
                    more = significance.difference(cells.get((past, span, depth), []), flat, part)
                    found.append(f"{more.mean:+.4f} ± {more.half:.4f}" if more else "-")
            print(f"| {name} | {past} | {significance.score(flat, part).mean:.4f} | {' | '.join(found)} |")


if __name__ == "__main__":
    app()
