"""AUC of every model that reads columns on the planted world `columns`, as `python benchmarks/columns.py [MODEL ...]`.

Clicks depend on a number through a wave, on tags, and on a cross of an item field with the context. Each model trains
on the columns as a number and tags, and DeepFM also on the same columns as categories. Two lines are drawn: what DeepFM
must reach is within .01 of the best possible score; every other model must go half the way there from popularity.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import numpy as np
import polars as pl

from hyperctr import config
from hyperctr.data import planted
from hyperctr.data.columns import Category
from hyperctr.data.dataset import Dataset
from hyperctr.models import MODELS
from hyperctr.runs.prepare import prepare
from hyperctr.runs.train import train

NEAR = 0.01  # of the best possible score, where DeepFM must come
READERS = tuple(name for name in MODELS if name not in ("popularity", "mf"))
TRAIN = {"epochs": 8, "patience": 1, "threads": 1}
OTHER = {"lr": {"lr": 0.01}, "hyperctr": {"epochs": 3}}
"""Settings of a model that differ from `TRAIN` and the defaults, chosen by validation rows of seed 0."""


def world(seed: int, scale: float = 1.0) -> planted.World:
    """Make the world."""
    return planted.planted("columns", seed, scale)


def as_categories(dataset: Dataset) -> Dataset:
    """Read numbers and tags as text, each text a category."""
    log = dataset.interactions
    texts = {name: x.series().cast(pl.String) if name == "distance" else x.series() for name, x in log.context.items()}
    return replace(dataset, interactions=replace(log, context={n: Category.read(x) for n, x in texts.items()}))


def with_conversion(dataset: Dataset, seed: int) -> Dataset:
    """Add a conversion that says nothing, for models of both tasks."""
    log = dataset.interactions
    drawn = np.random.default_rng(seed).random(len(log))
    return replace(dataset, interactions=replace(log, conversion=np.where(log.label == 1, drawn, 0)))


def score(name: str, dataset: Dataset, seed: int) -> float:
    """Train a model and return its AUC on the test rows."""
    if "conversion" in MODELS[name].tasks:
        dataset = with_conversion(dataset, seed)
    return train(run_of(name, seed), None, dataset)["test"]["auc"]


def run_of(name: str, seed: int = 0) -> config.Run:
    """Return the run of a model; all test rows are scored, as the best possible score is that of the same rows."""
    tables = {"data": {"path": "columns", "history": 10}, "slices": {"every": "30d"}, "model": {"name": name}}
    tables |= {"evaluate": {"max_positives": 0}, "train": TRAIN | OTHER.get(name, {}) | {"seed": seed}}
    return config.read_run(tables)


def ceiling(of: planted.World) -> float:
    """Return the AUC of the true probabilities on the test rows."""
    return of.ceiling(prepare(run_of("popularity"), of.dataset).evaluation_rows("test"))


def main() -> None:
    """Print one line per model and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=READERS, metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    if unknown := [name for name in asked.models if name not in READERS]:
        sys.exit(f"no model {unknown[0]} that reads columns; there are {', '.join(READERS)}")
    print("| seed | model | AUC | share of the way | seconds |\n|---|---|---|---|---|")
    for seed in range(asked.seeds):
        made = world(seed)
        best, least = ceiling(made), score("popularity", made.dataset, seed)
        print(f"| {seed} | best possible | {best:.4f} | 1 | |\n| {seed} | popularity | {least:.4f} | 0 | |", flush=True)
        rows = [(name, name, made.dataset) for name in asked.models]
        rows += [("deepfm, categories", "deepfm", as_categories(made.dataset))] * ("deepfm" in asked.models)
        for label, name, dataset in rows:
            start = time.process_time()
            auc = score(name, dataset, seed)
            took, share = time.process_time() - start, (auc - least) / (best - least)
            print(f"| {seed} | {label} | {auc:.4f} | {share:.2f} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
