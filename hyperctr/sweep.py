"""The main job: granularity x depth x seeds, each cell a run in its own process and folder; resumable.

`results.csv` gains a row when a cell ends, whether well or not. A sweep that is stopped and called again does the cells
that have no good row yet, and continues a half-trained one from its checkpoint.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import multiprocessing
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from hyperctr import config, report

# two scalars and a factor table need no tuning of the model under study; both stop by validation AUC
BASELINES: dict[str, dict] = {
    "popularity": {"train": {"epochs": 3, "lr": 0.05, "batch_size": 4096, "l2": 0.0}, "model": {}},
    "mf": {"train": {"epochs": 30, "lr": 3e-3, "batch_size": 1024, "l2": 1e-3}, "model": {}},
}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: a baseline (no granularity, no depth), or the model at one granularity and depth."""

    model: str
    every: str
    depth: int | None
    seed: int

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        if self.depth is None:
            return f"{self.model} seed={self.seed}"
        return f"{self.model} every={self.every} depth={self.depth} seed={self.seed}"


def cells(base: config.Run, every: list[str], depths: list[int], seeds: int) -> list[Cell]:
    """All runs of a sweep, baselines first; with one seed that is the base run's own."""
    numbers = [base.train.seed + k for k in range(seeds)]
    found = [Cell(model, "", None, seed) for seed in numbers for model in BASELINES]
    grid = itertools.product(numbers, every, depths)
    return found + [Cell(base.model_name, width, depth, seed) for seed, width, depth in grid]


def run_of(base: config.Run, cell: Cell, models: Mapping) -> config.Run:
    """The run of one cell: the base with granularity, depth and seed put in ("q8": eight slices of equal counts)."""
    train = replace(base.train, seed=cell.seed)
    split = replace(base.split, seed=cell.seed)
    evaluate = replace(base.evaluate, seed=cell.seed)
    if cell.depth is None:
        extra = BASELINES[cell.model]
        return replace(
            base, model_name=cell.model, model=models[cell.model].Config(**extra["model"]), split=split,
            train=replace(train, patience=3, **extra["train"]), data=replace(base.data, history=1), evaluate=evaluate,
        )  # fmt: skip
    slices = _slices(cell.every)
    return replace(
        base, model=replace(base.model, depth=cell.depth), slices=slices, train=train, split=split, evaluate=evaluate
    )


def sweep(
    base: config.Run,
    every: list[str],
    depths: list[int],
    seeds: int,
    out: Path,
    jobs: int,
    watch: Callable[[dict[str, str], int, int], None],
    say: Callable[[str], None],
) -> list[dict]:
    """Run every missing cell, then write report.md and the figures.

    Args:
        base: what all cells share.
        every: widths of a time slice, such as "7d" or "3mo"; "q8" for eight slices of equal counts.
        depths: numbers of HGCN layers.
        seeds: runs a cell; they differ in weights, order and draws.
        out: the sweep's folder.
        jobs: processes at a time.
        watch: shown about once a second: what each running cell does, cells done, cells in all.
        say: prints one line.

    Returns:
        the rows of results.csv.

    Raises:
        ValueError: a granularity or depth that does not parse, a folder that holds another sweep or cannot be written.
    """
    from hyperctr.models import MODELS

    if not hasattr(base.model, "depth"):
        raise ValueError(f"a sweep varies depth, which {base.model_name} has not; use model.name = hyperctr")
    plan = cells(base, every, depths, seeds)
    runs = {cell: run_of(base, cell, MODELS) for cell in plan}  # a bad granularity or depth stops here
    _claim(out, base)
    results = out / "results.csv"
    rows = report.read_results(results) if results.exists() else []
    good = {_key(row) for row in rows if row["status"] == "ok"}
    missing = [cell for cell in plan if _key_of(cell) not in good]
    if done := len(plan) - len(missing):
        say(f"{done} of {len(plan)} runs are done already, {len(missing)} to go")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, max(1, len(missing))), mp_context=spawn) as pool:
        waiting: dict[Future, Cell] = {}
        for cell in missing:
            text = config.to_toml(replace(runs[cell], train=replace(runs[cell].train, threads=threads)))
            waiting[pool.submit(run_cell, text, str(out / "runs" / cell.name))] = cell
        try:
            for future, cell in _as_they_end(
                waiting, lambda: watch(_doing(out, waiting), len(plan) - len(waiting), len(plan))
            ):
                error = future.exception()
                row = _failed(base, cell, error) if error else _row(cell, future.result())
                report.append_result(results, row)
                say(_line(row))
        except KeyboardInterrupt:
            say("stopped; the same command continues")
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    rows = _latest(report.read_results(results), plan)
    report.write(rows, out)
    return rows


def run_cell(run_toml: str, folder: str) -> dict:
    """Train one cell; called in a process of its own, so that a crash is a row and not the end."""
    from hyperctr import runs
    from hyperctr.models import MODELS

    path = Path(folder)
    if (path / "report.json").exists():  # finished, but stopped before its row was written
        return json.loads((path / "report.json").read_text())
    return runs.train(config.read(tomllib.loads(run_toml), MODELS), path)


def _slices(every: str) -> config.Slices:
    if every.startswith("q") and every[1:].isdigit() and int(every[1:]) > 0:
        return config.Slices(count=int(every[1:]))
    return config.Slices(every=every)


def _claim(out: Path, base: config.Run) -> None:
    """Make the sweep's folder; refuse one that holds a sweep over another base run."""
    text = config.to_toml(replace(base, train=replace(base.train, threads=0)))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / "base.toml").exists() and (out / "base.toml").read_text() != text:
            raise ValueError(f"{out} holds a sweep over another base run (its base.toml differs); choose another --out")
        (out / "base.toml").write_text(text)
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror or error}") from None


def _as_they_end(waiting: dict[Future, Cell], watch: Callable[[], None]) -> Iterator[tuple[Future, Cell]]:
    """Yield futures as they end, calling `watch` about once a second."""
    while waiting:
        ended, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future, waiting.pop(future)
        watch()


def _doing(out: Path, waiting: dict[Future, Cell]) -> dict[str, str]:
    """What the running cells' last finished epochs say."""
    found = {}
    for future, cell in waiting.items():
        if future.running():
            path = out / "runs" / cell.name / "history.csv"
            found[cell.name] = "starting"
            if path.exists() and (lines := list(csv.DictReader(path.open()))):
                last = lines[-1]
                found[cell.name] = f"epoch {last['epoch']}, valid AUC {float(last['valid_auc']):.4f}"
    return found


def _row(cell: Cell, got: dict) -> dict:
    """A line of results.csv."""
    test = got["test"]
    return {
        "data": got["data"], "split": got["split"], "leaky": got["leaky"], "model": cell.model, "every": cell.every,
        "depth": "" if cell.depth is None else cell.depth, "seed": cell.seed,
        "auc": test["auc"], "auc_low": test["auc_low"], "auc_high": test["auc_high"], "user_auc": test["user_auc"],
        "logloss": test["logloss"], "logloss_1to1": test["logloss_1to1"], "valid_auc": got["valid"]["auc"],
        "best_epoch": got["best_epoch"], "seconds": got["seconds"], "rows": test["rows"], "status": "ok",
    }  # fmt: skip


def _failed(base: config.Run, cell: Cell, error: BaseException) -> dict:
    scores = ("auc", "auc_low", "auc_high", "user_auc", "logloss", "logloss_1to1")
    row = _row(cell, {
        "data": base.data.path, "split": base.split.kind, "leaky": base.split.kind != "temporal",
        "test": dict.fromkeys(scores, math.nan) | {"rows": 0},
        "valid": {"auc": math.nan}, "best_epoch": 0, "seconds": math.nan,
    })  # fmt: skip
    return row | {"status": f"failed: {error or type(error).__name__}".replace("\n", " ")}


def _line(row: dict) -> str:
    name = Cell(row["model"], row["every"], row["depth"] if row["depth"] != "" else None, row["seed"]).name
    if row["status"] != "ok":
        return f"{name}: {row['status']}"
    return f"{name}: test AUC {row['auc']:.4f}, user AUC {row['user_auc']:.4f}, {row['seconds']:.0f} s"


def _key(row: dict) -> tuple:
    return row["model"], row["every"], str(row["depth"]), str(row["seed"])


def _key_of(cell: Cell) -> tuple:
    return cell.model, cell.every, "" if cell.depth is None else str(cell.depth), str(cell.seed)


def _latest(rows: list[dict], plan: list[Cell]) -> list[dict]:
    """The last row of every planned cell; one that failed before it read the data takes its name from the others."""
    last = {_key(row): row for row in rows}
    found = [last[_key_of(cell)] for cell in plan if _key_of(cell) in last]
    names = [row["data"] for row in found if row["status"] == "ok"]
    return [row | {"data": names[0]} for row in found] if names else found
