"""Every model, with the same columns and past, under one budget of settings, beside the referees.

    python benchmarks/same_budget.py run DATA [ROW ...] [--seeds 1] [--past all]    search, then train and score
    python benchmarks/same_budget.py table [DATA ...] [--over hyperctr-best]        the table in Markdown

A row is a model with `data.past` and `data.titles`, or a preset, or a referee. Its settings are the best of six trials
on the latest 50,000 training clicks (`hyperctr search --budget 6`), judged on training rows that are held out: first
those that all rows begin with, then others drawn from `SPACE`. What depends on the number of training rows more than
on anything else, epochs and the dropout of ids, is then chosen on all training rows, by the validation rows of seed 0
(`EPOCHS`, `ID_DROPOUT`; sizes too for the data of `START_AGAIN`). The row trains on all training rows for all its
epochs, keeps the weights that were best on the validation rows, and scores the test rows once per seed.
`hyperctr-paper` and the referees are not searched. Rows that read alike share one preparation and one set of batches
per epoch. Trials lie in a folder of their own, scores in `benchmarks/results/same-budget/DATA.csv`; what is there is
not run again. Rows of the folder `earlier` had other settings.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hyperctr import config
from hyperctr.evaluation import significance
from hyperctr.experiments import search as tune
from hyperctr.experiments.space import value_of
from hyperctr.files import append_csv, read_csv
from hyperctr.models import find_model
from hyperctr.runs.prepare import Prepared, build_model, prepare, read_dataset
from hyperctr.runs.referees import fit_one
from hyperctr.training.fit import fit

RESULTS = Path(__file__).parent / "results" / "same-budget"
MODELS = ("lr", "fm", "wide_deep", "dcn", "deepfm", "xdeepfm", "din", "dien", "gru4rec", "mian", "youtubenet", "dupn",
          "dmf", "mmss", "naml", "marn")  # fmt: skip
PRESETS = ("hyperctr-best", "hyperctr-paper")
REFEREES = ("popularity", "ease", "itemknn", "transitions", "trees", "trees-links")
EPOCHS = {"ml-1m": (1,), "ta-feng": (1,), "kuairand-pure": (3,), "amazon-beauty-5core": (4,)}  # on all rows; else 2
ID_DROPOUT = (0.3, 1.0)
START_AGAIN = ("kuairand-pure",)  # where trials prefer other sizes than all rows do: those of the start are tried too
BUDGET, CLICKS = 6, 50_000
PATIENCE = 100  # validations on all rows: a training that stops half-way has not seen the small steps of its schedule
SPACE = {"train.lr": [1e-3, 2e-3, 4e-3], "train.id_dropout": list(ID_DROPOUT), "model.dim": [8, 16, 32],
         "model.dropout": [0.1, 0.3]}  # fmt: skip
START = ("train.optimiser=adamw", "train.schedule=cosine", "train.warmup=100", "train.lr=2e-3", "train.l2=1e-5",
         "train.id_dropout=0.3", "train.batch_size=512", "train.eval_every=0.5", "train.patience=2",
         "train.threads=1", "data.history=50", "slices.count=8")  # fmt: skip
SIZES = {"dim": 16, "dropout": 0.1}
OF_DATA = {  # chosen on validation rows, for all rows alike
    "kuairand-pure": (
        "train.schedule=halved",
        "train.lr=1e-3",
        "train.id_dropout=1",
        "train.batch_size=1024",
        "data.past_every=q8",
    ),
}
OF_SIZES = {"kuairand-pure": {"dim": 8, "dropout": 0.3}}
COLUMNS = ("row", "past", "seed", "valid_auc", "test_auc", "user_auc", "user_session_auc", "seconds", "settings")
WORK = Path("same-budget")  # trials and logits, not kept

app = typer.Typer(add_completion=False, help=__doc__)


def run_of(data: str, row: str, past: str, seed: int = 0) -> config.Run:
    """Return the run of a row as it begins."""
    tables, sets = {"data": {"path": data}}, [f"train.seed={seed}", "train.threads=1", *OF_DATA.get(data, ())]
    if row == "hyperctr-paper":  # its own training
        return config.read_run(
            tables, [x for x in sets if x.startswith(("train.seed", "train.threads", "slices"))], preset=row
        )
    kind = find_model("hyperctr" if row in PRESETS else row)
    known, sizes = {field.name for field in dataclasses.fields(kind.Config)}, SIZES | OF_SIZES.get(data, {})
    sets = [*START, f"train.epochs={EPOCHS.get(data, (2,))[0]}", *sets, f"data.past={past}", "data.titles=true"]
    sets += [f"model.{key}={value}" for key, value in sizes.items() if key in known]
    if row in PRESETS:
        return config.read_run(tables, sets, preset=row)
    return config.read_run(tables | {"model": {"name": row}}, sets)


def space_of(run: config.Run) -> dict[str, list]:
    """Return the keys of the space that a row has."""
    known = {f"model.{field.name}" for field in dataclasses.fields(run.model)}
    return {key: values for key, values in SPACE.items() if key.startswith("train.") or key in known}


class Kept(Prepared):
    """A preparation whose batches are made once, for all rows that share its loader."""

    BATCHES: ClassVar[dict[tuple, list]] = {}

    def train_batches(self, epoch: int) -> Iterable:
        """As of `Prepared`."""
        train = self.run.train
        return self._once(("train", train.seed, epoch, train.batch_size), super().train_batches, epoch)

    def evaluation_batches(self, part: str) -> Iterable:
        """As of `Prepared`."""
        return self._once((part,), super().evaluation_batches, part)

    def _once(self, what: tuple, make: Callable, given: Any) -> Iterable:
        key = (id(self.loader), *what)
        if key not in self.BATCHES:
            self.BATCHES[key] = list(make(given))
        return iter(self.BATCHES[key])


class Alike:
    """The preparations that rows share, those that read the same; one for trials and one for all rows are kept."""

    def __init__(self, data: str):
        self.data, self.dataset = data, read_dataset(run_of(data, "deepfm", "none"))
        self.models: dict[tuple, tuple[torch.nn.Module, float]] = {}  # of one row, see `trained`
        self._ready: dict[tuple, Prepared] = {}

    def prepared(self, run: config.Run, trial: bool = False) -> Prepared:
        """Prepare a run, or take what a run that reads the same has left."""
        same = (run.data, run.split, run.slices, run.interest, run.train.seed, find_model(run.model_name).reads)
        if (trial, *same) not in self._ready:
            gone = [key for key in self._ready if key[0] == trial or key[1:] != same]
            for key in gone:
                del self._ready[key]
            if gone:
                Kept.BATCHES.clear()
            made = tune.inner(run, self.dataset, clicks=CLICKS) if trial else prepare(run, self.dataset)
            self._ready[trial, *same] = Kept(**{x.name: getattr(made, x.name) for x in dataclasses.fields(made)})
        return replace(self._ready[trial, *same], run=run)


def searched(shared: Alike, row: str, run: config.Run) -> config.Run:
    """Return the run with the settings that the trials choose."""
    trial = replace(run, train=replace(run.train, epochs=2))
    found = tune.search(
        trial, WORK / shared.data / f"{row}-{run.data.past}", BUDGET, epochs=2, objective="auc",
        space=space_of(run), dataset=shared.dataset, referees=False, how="random", clicks=CLICKS,
        ready=shared.prepared(trial, trial=True), say=partial(print, row, flush=True),
    )  # fmt: skip
    again = shared.data in START_AGAIN and found.model != run.model
    sizes = [found, replace(found, model=run.model)] if again else [found]
    choices = [
        replace(one, train=replace(one.train, epochs=epochs, id_dropout=share, patience=PATIENCE))
        for one in sizes
        for epochs in EPOCHS.get(shared.data, (2,))
        for share in ID_DROPOUT
    ]
    return max(choices, key=partial(_valid, shared, row))


def _valid(shared: Alike, row: str, run: config.Run) -> float:
    ready, model, _ = trained(shared, row, run)
    auc = ready.scores(model, "valid")["auc"]
    said = {key: value_of(run, key) for key in space_of(run)}
    print(row, f"{run.train.epochs} epochs, {said}: valid {auc:.4f}", flush=True)
    return auc


def trained(shared: Alike, row: str, run: config.Run) -> tuple[Prepared, torch.nn.Module, float]:
    """Train a run on all training rows, or take it from the choice before; a referee is fitted. Also the seconds."""
    ready, key, began = shared.prepared(run), (row, json.dumps(config.to_tables(run))), time.process_time()
    if row in REFEREES[1:]:
        own, model, _ = fit_one(ready, row)
        return own, model, time.process_time() - began
    if key not in shared.models:
        torch.manual_seed(run.train.seed)
        model = build_model(ready)
        if row != "popularity":
            fit(model, ready.train_batches, lambda: ready.scores(model, "valid")["auc"], run.train, ready.train_rows)
        shared.models[key] = model, time.process_time() - began
    return ready, *shared.models[key]


def scored(shared: Alike, row: str, run: config.Run, past: str) -> dict[str, Any]:
    """Train a row and score it; return a line of the table."""
    ready, model, seconds = trained(shared, row, run)
    found = {}
    for part in ("valid", "test"):
        rows = ready.scored(model, part)
        found[part] = ready.measured(rows)
        logits = WORK / shared.data / "logits" / f"{row}-{past}-{run.train.seed}-{part}.npz"
        logits.parent.mkdir(parents=True, exist_ok=True)
        np.savez(logits, logit=rows["logit"], label=rows["label"])
    test = found["test"]
    return {
        "row": row, "past": past, "seed": run.train.seed, "valid_auc": found["valid"]["auc"], "test_auc": test["auc"],
        "user_auc": test["user_auc"], "user_session_auc": test.get("user_session_auc", float("nan")),
        "seconds": round(seconds, 1),
    }  # fmt: skip


@app.command()
def run(
    data: str,
    rows: Annotated[list[str] | None, typer.Argument()] = None,
    seeds: int = 1,
    past: str = "all",
) -> None:
    """Search and score the rows of a data set; those that are there already are left as they are."""
    torch.set_num_threads(1)
    shared, path = Alike(data), RESULTS / f"{data}.csv"
    for row in rows or (*REFEREES, *MODELS, *PRESETS):
        fitted, read = row in REFEREES[1:], past
        if row in REFEREES:
            read = {"trees": "counts", "trees-links": "all"}.get(row, "none")
        there = {
            int(line["seed"]): json.loads(line["settings"])
            for line in read_csv(path)
            if (line["row"], line["past"]) == (row, read)
        }
        if not (missing := [seed for seed in range(seeds) if seed not in there]):
            continue
        shared.models.clear()
        chosen = run_of(data, "deepfm" if fitted else row, "all" if fitted else past)
        free = () if row in (*REFEREES, "hyperctr-paper") else (*space_of(chosen), "train.epochs")
        if there:
            words = [f"{k}={x}" for k, x in there[min(there)].items()]
            chosen = config.read_run(config.to_tables(chosen), [*words, f"train.patience={PATIENCE}"] if free else [])
        elif free:
            chosen = searched(shared, row, chosen)
        settings = {key: value_of(chosen, key) for key in free}
        for seed in missing:
            one = replace(chosen, train=replace(chosen.train, seed=seed))
            line = scored(shared, row, one, read) | {"settings": json.dumps(settings)}
            append_csv(path, {name: line[name] for name in COLUMNS})
            print(data, row, read, seed, f"valid {line['valid_auc']:.4f} test {line['test_auc']:.4f}", flush=True)


@app.command()
def table(data: Annotated[list[str] | None, typer.Argument()] = None, over: str = "hyperctr-best") -> None:
    """Print a table per data set: scores, and how far `over` is above each row, paired by seed."""
    for name in data or sorted(path.stem for path in RESULTS.glob("*.csv")):
        lines = [line | {"test_auc": float(line["test_auc"])} for line in read_csv(RESULTS / f"{name}.csv")]
        by_row: dict[tuple[str, str], list[dict]] = {}
        for line in lines:
            by_row.setdefault((line["row"], line["past"]), []).append(line)
        ours = by_row.get((over, "all"), [])
        print(f"\n## {name}\n\n| row | past | valid AUC | test AUC | user AUC | session | {over} above it |")
        print("|---|---|---|---|---|---|---|")
        scores = {key: significance.score(found, "test_auc") for key, found in by_row.items()}
        for key in sorted(by_row, key=lambda key: -scores[key].mean):
            found, test = by_row[key], scores[key]
            said = f"{test.mean:.4f}" + (f" ± {test.half:.4f} ({test.num})" if test.num > 1 else "")
            cells = [np.mean([float(x[name]) for x in found]) for name in ("valid_auc", "user_auc", "user_session_auc")]
            more = None if found is ours else significance.difference(ours, found, "test_auc")
            gain = "" if more is None else f"{more.mean:+.4f}" + (f" ± {more.half:.4f}" if more.num > 1 else "")
            print(f"| {key[0]} | {key[1]} | {cells[0]:.4f} | {said} | {cells[1]:.4f} | {cells[2]:.4f} | {gain} |")


if __name__ == "__main__":
    app()
