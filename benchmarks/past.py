"""What numbers of the past cost: beside a training step of DIN, and beside the import of a large log.

    python benchmarks/past.py step                   on ml-1m and kuairand-pure, a minute each
    python benchmarks/past.py step FOLDER ...
    python benchmarks/past.py counts --rows 500000   without it 5 million rows

`step`: CPU milliseconds of one thread, taken in turn on the same rows: batches of 1,024 rows (a drawn negative counts
as one) with 50 clicks, made without numbers and with all of them (`data.past = "all"`), and a step of DIN with default
sizes on each. A share is what making the numbers takes of step and loader. `counts`: seconds of wall time of `hyperctr
data import` of a log, and of what a run prepares after it, without numbers and with counts; each in a process of its
own, the best of some. Where a bar is missed it ends with 1.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import imports
from benchmarks.training_step import step_of
from hyperctr import config
from hyperctr.data.loader import Loader
from hyperctr.data.row_columns import BatchRows
from hyperctr.runs.prepare import Prepared, build_model, prepare, read_dataset
from hyperctr.training import malloc

ROWS, HISTORY = 1_024, 50
SHARE = 0.25  # of a step of DIN that the numbers may take
TIMES = 2.0  # the import without counts that import and counts may take

app = typer.Typer(add_completion=False, help=__doc__)


def run_of(path: str, past: str) -> config.Run:
    data = {"path": path, "history": HISTORY, "past": past}
    return config.read_run({"data": data, "model": {"name": "din"}, "train": {"batch_size": ROWS}})


def milliseconds(what: Callable, *args) -> tuple[float, object]:
    start = time.process_time()
    found = what(*args)
    return 1000 * (time.process_time() - start), found


def numbers_of(loader: Loader, batch) -> tuple[float, float, int]:
    """Return the milliseconds of the numbers themselves and of their normal scores, and how many there are."""
    past = loader.sources[-1]
    user, time_ = batch.user[batch.query_row], batch.time[batch.query_row]
    row = np.full(len(batch), -1)
    rows = BatchRows(user.numpy(), time_.numpy(), batch.item.numpy(), batch.query.numpy(), row)
    raw, found = milliseconds(past.raw, rows)
    return raw, milliseconds(past.scores, found)[0], found.shape[1]


def measured(path: str, repeats: int) -> dict[str, float]:
    """Take loader and step, without numbers and with them, in turn; return medians in milliseconds."""
    dataset = read_dataset(run_of(path, "none"))
    without, with_all = (prepare(run_of(path, past), dataset) for past in ("none", "all"))
    take, take_all = step_of(build_model(without)), step_of(build_model(with_all))
    queries = ROWS // (1 + without.negatives)
    rng, found = np.random.default_rng(0), []
    for turn in range(repeats + 3):
        rows = rng.choice(without.split.train, queries)

        def batch_of(ready: Prepared, rows=rows, turn=turn):
            return ready.loader.batch(rows, ready.negatives, np.random.default_rng(turn))

        plain, batch = milliseconds(batch_of, without)
        step, _ = milliseconds(take, batch)
        full, batch = milliseconds(batch_of, with_all)
        step_all, _ = milliseconds(take_all, batch)
        raw, scores, count = numbers_of(with_all.loader, batch)
        made = full - plain
        found.append((plain, full, raw, scores, step, step_all, made / (plain + step), made / (full + step_all), count))
    names = ("loader", "with", "raw", "scores", "step", "step_all", "of_step", "of_step_all", "numbers")
    return dict(zip(names, map(statistics.median, zip(*found[3:], strict=True)), strict=True))


@app.command()
def step(
    data: Annotated[list[str] | None, typer.Argument(help="Data sets or folders.")] = None,
    repeats: Annotated[int, typer.Option(help="Measured batches.", min=1)] = 60,
) -> None:
    """Print what numbers cost beside a training step of DIN."""
    torch.set_num_threads(1)
    malloc.keep_freed_memory()  # as a training does
    heads = "numbers", "loader", "with numbers", "raw", "normal scores", "step", "share", "step with numbers", "share"
    print(" | ".join([f"| CPU ms per {ROWS:,} rows", *heads]) + f" |\n|{'---|' * (1 + len(heads))}")
    missed = False
    for path in data or ("ml-1m", "kuairand-pure"):
        x = measured(path, repeats)
        times = " | ".join(f"{x[name]:.1f}" for name in ("loader", "with", "raw", "scores", "step"))
        steps = f"{x['of_step']:.0%} | {x['step_all']:.1f} | {x['of_step_all']:.0%}"
        print(f"| {path} | {x['numbers']:.0f} | {times} | {steps} |", flush=True)
        missed |= x["of_step_all"] > SHARE
    if missed:
        print(f"MISSED  more than {SHARE:.0%} of a step")
    raise typer.Exit(missed)


@app.command()
def prepared(folder: Path, past: str) -> None:
    """Print the seconds that a run takes to read and prepare a data set."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    prepare(run := run_of(str(folder), past), read_dataset(run))
    print(time.perf_counter() - start)


@app.command()
def counts(
    rows: Annotated[int, typer.Option(help="Rows of the log.", min=1_000)] = 5_000_000,
    repeats: Annotated[int, typer.Option(help="Processes of each kind; the best counts.", min=1)] = 3,
) -> None:
    """Print what counts add to the import of a log."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        imports.log_of(rows).write_parquet(home / "log.parquet")
        taken = min(imports.measured(home / "log.parquet", home / "out")[0] for _ in range(repeats))

        def seconds(past: str) -> float:
            words = [sys.executable, __file__, "prepared", str(home / "out"), past]
            runs = [subprocess.run(words, check=True, capture_output=True, text=True) for _ in range(repeats)]
            return min(float(run.stdout) for run in runs)

        without, with_counts = seconds("none"), seconds("counts")
    times = (taken + with_counts) / (taken + without)
    print(f"| {rows:,} rows, seconds | import | prepared | prepared with counts | times |\n|---|---|---|---|---|")
    print(f"| | {taken:.1f} | {without:.1f} | {with_counts:.1f} | {times:.2f} |")
    if times > TIMES:
        print(f"MISSED  more than {TIMES:.0f} times")
    raise typer.Exit(times > TIMES)


if __name__ == "__main__":
    app()
