"""Worlds whose clicks depend on one thing of the past alone, and what models make of it.

    python benchmarks/past_worlds.py signals               DeepFM with numbers and without them, five seeds
    python benchmarks/past_worlds.py noise [MODEL ...]     AUC on pure noise of all models, referees and presets of
                                                           HyperCTR, five seeds
    python benchmarks/past_worlds.py short [MODEL ...]     all models on items that live for a day, beside popularity

Where a bar is missed it ends with 1: a gain of .02 with an interval above zero; within three standard errors of one
half; not below popularity.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hyperctr import config, presets
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.items import Items, Users
from hyperctr.evaluation.significance import paired_interval
from hyperctr.models import MODELS
from hyperctr.referees import REFEREES
from hyperctr.runs.train import train

HOUR = 3_600_000_000
LIKED, NOT = 0.8, 0.2  # chances of a click
GAIN = 0.02
SIGNALS = ("rates", "age", "recency", "repeats", "co-occurrence", "order")
PRESETS = tuple(name for name in presets.PRESETS if name.startswith("hyperctr-"))
ALL = (*MODELS, *REFEREES)

app = typer.Typer(add_completion=False, help=__doc__)


def world(signal: str, rows: int = 12_000, items: int = 300, users: int = 50, seed: int = 0) -> Dataset:
    """Draw a log of logged rows whose clicks depend on one thing alone, which ids cannot tell.

    Args:
        signal: one of `SIGNALS`; "noise": on nothing; "short": on the rate and age of items that live for a day.
        rows, items, users: sizes; "co-occurrence" and "order" have as many users as they need.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    time, row, draw = np.arange(rows) * HOUR // 8, np.arange(rows), rng.random(rows)
    if signal == "noise":
        chance = np.full(rows, 0.5)
    elif (
        signal == "rates"
    ):  # of the item; they are drawn again before the validation rows, so that ids know the old ones
        chance = rng.beta(0.5, 0.5, (2, items))[(time > 0.65 * time[-1]).astype(int), item]
    elif signal == "age":  # items appear one after another and are clicked while they are new
        item = (rng.random(rows) * (5 + row * (items - 5) / rows)).astype(int)
        born = np.full(items, -1)
        born[item[::-1]] = row[::-1]
        chance = np.where(row - born[item] < rows // 20, LIKED, NOT)
    elif signal == "short":  # 5 new items per 5 hours, each with a rate of its own; a row shows one of the last 25
        newest = row // 40 * 5 + 24
        item = newest - rng.integers(0, 25, rows)
        rate = rng.beta(1, 2, newest[-1] + 1)[item]
        chance = rate * np.array([1, 0.9, 0.7, 0.5, 0.3])[(newest - item) // 5]  # the newer the more clicked
    elif signal == "co-occurrence":  # a user has one of 6 tastes, and is there for 12 rows
        user = interleaved(rng, rows, each=12)
        taste, kind = rng.integers(0, 6, user.max() + 1)[user], rng.integers(0, 6, items)
        shown = [rng.permutation(np.flatnonzero(kind == k)) for k in range(6)]
        own = rng.random(rows) < 0.5  # half of the rows show the user's taste, all items equally often
        item = np.where(own, [rng.choice(shown[k]) for k in taste], item)
        chance = np.where(kind[item] == taste, LIKED, NOT)
    else:
        if signal == "order":
            user = interleaved(rng, rows, each=12)
        item, chance = walked(signal, user, item, draw, rng)
    label = (draw < chance).astype(np.float32)
    users, items = int(user.max()) + 1, max(items, int(item.max()) + 1)
    log = Interactions(user, item, time, label, users, items, logged_non_clicks=True)
    return Dataset(signal, log, Items(items), Users(users))


def interleaved(rng: np.random.Generator, rows: int, each: int, at_once: int = 20) -> np.ndarray:
    """Return the user of each row: every user has some rows, among those of others, and never comes again."""
    user = np.repeat(np.arange(-(-rows // each)), each)[:rows]
    return user[np.argsort(np.arange(rows) + rng.integers(0, each * at_once, rows), kind="stable")]


def walked(
    signal: str, user: np.ndarray, item: np.ndarray, draw: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the item of each row and its chance of a click, where that depends on earlier rows."""
    chance, seen, clicked, last, shown = np.empty(len(user)), set(), set(), {}, {}
    place = rng.permutation(41)  # of "order": of any two items, one follows the other: by 1 to 20 places of a circle
    item = item % 41 if signal == "order" else item
    for row, u in enumerate(user.tolist()):
        if signal == "order":
            while (u, item[row]) in seen:  # nothing is shown to a user twice
                item[row] = rng.integers(41)
        i = item[row]
        if signal == "recency":  # shown to anyone within the last day
            liked = row - shown.get(i, -len(user)) < 8 * 24
        elif signal == "repeats":  # the user has clicked it before
            liked = (u, i) in clicked
        else:  # it follows the user's last click
            liked = u in last and (place[i] - place[last[u]]) % 41 <= 20
        chance[row] = LIKED if liked else NOT if signal != "order" or u in last else 0.5
        shown[i] = row
        seen.add((u, i))
        if draw[row] < chance[row]:
            clicked.add((u, i))
            last[u] = i
    return item, chance


def run_of(name: str, past: str = "all", seed: int = 0, train: float = 0.7, lr: float = 0.01) -> config.Run:
    """Return a small run on a world, which scores all test rows: what `train` and a fifth for validation leave.

    A preset reads the past that it states, and has what else it states beside these sizes and this training.
    """
    model = "hyperctr" if name in PRESETS else name
    return config.read_run({
        "data": {"path": "world", "history": 8} | ({} if name in PRESETS else {"past": past}),
        "split": {"train": train},
        "model": {"name": model, **SMALL.get(model, {"dim": 4, "hidden": [16, 8]} if model in MODELS else {})},
        "train": {"epochs": 2, "batch_size": 256, "lr": lr, "threads": 1, "seed": seed},
        "evaluate": {"max_positives": 0},
    }, preset=name if name in PRESETS else None)  # fmt: skip


SMALL = {name: {} for name in ("popularity", "lr")} | {name: {"dim": 4} for name in ("mf", "fm")}
"""Sizes of models that have other keys than most."""


def scored(name: str, dataset: Dataset, **how) -> dict[str, float]:
    """Train a model or fit a referee; return the report of its test rows, and the AUC of popularity on them."""
    report = train(run_of(name, **how), dataset=with_conversions(name, dataset))
    return report["test"] | {"popularity": report["popularity"]["test"]["auc"]}


def with_conversions(name: str, dataset: Dataset) -> Dataset:
    """Add conversions that say nothing, for models of both tasks."""
    if name not in MODELS or "conversion" not in MODELS[name].tasks:
        return dataset
    log = dataset.interactions
    drawn = (np.random.default_rng(0).random(len(log)) < 0.5).astype(np.float32)
    return replace(dataset, interactions=replace(log, conversion=np.where(log.label == 1, drawn, 0)))


def from_half(test: dict[str, float]) -> float:
    """Return how many standard errors an AUC lies from one half; 0 where all scores are equal."""
    error = (test["auc_high"] - test["auc_low"]) / 2 / 1.96
    return (test["auc"] - 0.5) / error if error else 0.0


def asked(names: Iterable[str]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in (*ALL, *PRESETS)]:
        raise SystemExit(f"no model {unknown[0]}; there are {', '.join((*ALL, *PRESETS))}")
    return tuple(names)


Names = Annotated[list[str] | None, typer.Argument(help="Models, referees and presets of HyperCTR; without, all.")]
Seeds = Annotated[int, typer.Option(help="Worlds and weights.", min=1)]


@app.command()
def signals(seeds: Seeds = 5) -> None:
    """Print what numbers add to DeepFM in each world."""
    print("| world | DeepFM | with numbers | gain |\n|---|---|---|---|")
    missed = []
    for signal in SIGNALS:
        users = 10 if signal == "repeats" else 50
        each = [
            [
                scored("deepfm", world(signal, users=users, seed=seed), past=past, seed=seed)["auc"]
                for seed in range(seeds)
            ]
            for past in ("none", "all")
        ]
        gain, half = paired_interval(each[1], each[0])
        without, with_all = map(np.mean, each)
        print(f"| {signal} | {without:.4f} | {with_all:.4f} | {gain:+.4f} ± {half:.4f} |", flush=True)
        missed += [signal] * (not (gain >= GAIN and gain - half > 0))
    finish(missed)


@app.command()
def noise(models: Names = None, seeds: Seeds = 5, rows: int = 50_000) -> None:
    """Print how far from one half each AUC lies on noise, in standard errors; two fifths of the rows are test rows."""
    print("| AUC (standard errors from .5) |" + "".join(f" seed {seed} |" for seed in range(seeds)))
    print("|---|" + "---|" * seeds)
    missed = []
    for name in asked(models or ()) or (*ALL, *PRESETS):
        tests = [scored(name, world("noise", rows, seed=seed), seed=seed, train=0.4, lr=0.002) for seed in range(seeds)]
        cells = [f"{test['auc']:.4f} ({from_half(test):+.1f})" for test in tests]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        missed += [name] * any(abs(from_half(test)) > 3 for test in tests)
    finish(missed)


@app.command()
def short(models: Names = None, seeds: Seeds = 1, rows: int = 30_000) -> None:
    """Print the AUC of models with numbers where every item lives for a day, less that of popularity."""
    print("| model | AUC | less popularity |\n|---|---|---|")
    missed = []
    for name in asked(models or ()) or ALL:
        for seed in range(seeds):
            test = scored(name, world("short", rows, seed=seed), seed=seed, train=0.6, lr=0.002)
            gain = test["auc"] - test["popularity"]
            print(f"| {name} | {test['auc']:.4f} | {gain:+.4f} |", flush=True)
            missed += [name] * (gain < 0 and name in MODELS and name != "mf")  # which reads no numbers
    finish(missed)


def finish(missed: list[str]) -> None:
    """Say what was missed, if anything, and end."""
    if missed:
        print(f"MISSED  {', '.join(dict.fromkeys(missed))}")
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    app()
