"""Memory and speed of HyperCTR on generated data of the sizes of the paper's three sets.

    python benchmarks/scale.py --folder /tmp/scale                     all three; generates 14 GB of data the first time
    python benchmarks/scale.py ml-10m --folder /tmp/scale --set model.batches_per_graph=8
    python benchmarks/scale.py ml-10m --folder /tmp/scale --past 2,5,10,20     only: a step against the slices behind it

Each set is read, prepared, trained for a number of steps of its first epoch and tested on a number of positives with
1000 negatives each, in a process of its own that is stopped where it would fill more memory than allowed. Resident
memory counts mapped files. The share of propagation is that of Eq. (5), forward and backward, in five profiled steps
after the others. Where a set does not fit it ends with 1.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

log = Console(stderr=True, soft_wrap=True, highlight=False)
app = typer.Typer(add_completion=False)
EVERY = {"kuaishou": "30d", "mv1.7m": "30d", "ml-10m": "1y"}
PROFILED = 5  # steps


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Sets; default: all three.")] = None,
    folder: Annotated[Path, typer.Option(help="Where the data is, or is put.")] = Path("scale"),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 200,
    positives: Annotated[int, typer.Option(help="Test positives scored.")] = 1000,
    limit: Annotated[float, typer.Option(help="Resident memory allowed, GB.")] = 20.0,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    past: Annotated[str, typer.Option(help="Numbers of past slices whose cost per step is compared.")] = "",
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the run.")
    ] = None,
    child: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Print one line of figures a set, and JSON at the end."""
    if child:
        do = {"past": slices, "": whole}["past" if past else ""]
        return print(json.dumps(do(names[0], folder / names[0], steps, positives, threads, past, sets or [])))
    from benchmarks import paper_sizes

    found, failed = {}, False
    for name in names or paper_sizes.PRESETS:
        if not (folder / name).exists():
            began = time.perf_counter()
            paper_sizes.generate(name, folder / name, progress=_tenths)
            log.print(f"{name}: generated in {time.perf_counter() - began:.0f} s")
        words = [sys.executable, __file__, name, "--child", "--folder", str(folder), "--steps", str(steps)]
        words += ["--positives", str(positives), "--threads", str(threads), "--past", past]
        words += [word for key in sets or [] for word in ("--set", key)]
        found[name] = _watched(words, limit)
        failed |= "stopped" in found[name]
        log.print(f"{name}: {found[name]}")
    print(json.dumps(found, indent=1))
    raise typer.Exit(int(failed))


def _watched(words: list[str], limit: float) -> dict:
    """Run a child until it is done or its resident memory passes the limit in GB."""
    environment = os.environ | {"OMP_NUM_THREADS": words[words.index("--threads") + 1]}
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    peak = 0.0
    while child.poll() is None:
        try:
            pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            break
        peak = max(peak, pages * os.sysconf("SC_PAGE_SIZE") / 1e9)
        if peak > limit:
            child.kill()
            return {"stopped": f"at {peak:.1f} GB of {limit:g}"}
        time.sleep(0.05)
    out, _ = child.communicate()
    return json.loads(out.splitlines()[-1]) if child.returncode == 0 else {"stopped": f"exit code {child.returncode}"}


def whole(name: str, path: Path, steps: int, positives: int, threads: int, past: str, sets: list[str]) -> dict:
    """Read, prepare, train and test; seconds of each, memory, samples a second and the share of propagation."""
    import torch

    from hyperctr import config
    from hyperctr.evaluation.evaluate import evaluate, score
    from hyperctr.models import MODELS
    from hyperctr.runs import plan
    from hyperctr.runs.prepare import prepare, read_dataset
    from hyperctr.training import fit

    torch.set_num_threads(threads)
    tables = {"data": {"path": str(path)}, "model": {"name": "hyperctr"}, "slices": {"every": EVERY[name]}}
    tables |= {"train": {"epochs": 1}, "evaluate": {"max_positives": positives}}
    run = config.read_run(tables, set=sets)
    figures: dict = {}
    clock = _Clock(name, figures)
    dataset = read_dataset(run)
    clock.lap("read")
    planned = plan.check(run, dataset)
    clock.lap("plan")
    ready = prepare(run, dataset, progress=_tenths)
    clock.lap("prepare")
    torch.manual_seed(0)
    model = MODELS[run.model_name](run.model, ready.tables)
    clock.lap("model")

    taken, busy = [], []

    def timed(batches):
        for batch in batches:
            yield batch
            taken.append(time.perf_counter())
            busy.append(time.process_time())
            if len(taken) % 20 == 0:
                log.print(f"{name}: {len(taken)} steps")

    fit.fit(model, lambda epoch: timed(islice(ready.train_batches(epoch), steps)), lambda: 0.5, run.train)
    clock.lap("train")
    each = [b - a for a, b in zip(taken, taken[1:], strict=False)]
    rows = run.train.batch_size * (1 + ready.negatives)
    scores = evaluate(score(model, ready.evaluation_batches("test")))
    clock.lap("test")
    figures |= {
        "planned_gb": round(planned.total / 1e9, 2),
        "peak_gb": peak(),
        "steps": len(taken),
        "seconds_a_step": round(statistics.median(each), 3),
        "cpu_seconds_a_step": round((busy[-1] - busy[0]) / len(each), 3),
        "samples_a_second": round(rows / statistics.mean(each)),
        "planned_epoch_hours": [round(s / 3600, 1) for s in planned.seconds],
        "epoch_hours": round(planned.steps * statistics.mean(each) / 3600, 1),
        "test_rows": scores["rows"],
    }
    log.print(f"{name}: {figures}")  # kept should the profiled steps, the hungriest, be stopped
    return figures | {"share_of_propagation": share(model, ready, run)}


def share(model, ready, run) -> float:
    """Share of a training step that Eq. (5) takes, forward and backward."""
    from torch.profiler import ProfilerActivity, profile, record_function

    from benchmarks.training_step import step_of

    convolve = model.states.convolve

    def recorded(*given):
        with record_function("propagate"):
            return convolve(*given)

    model.states.convolve = recorded

    step = step_of(model, run.train.lr, run.train.l2, run.train.clip)
    batches = iter(ready.train_batches(2))
    step(next(batches))  # renews the cached states
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED):
            with record_function("whole step"):
                step(next(batches))
    events = profiled.events()
    spans = [e.time_range for e in events if e.name == "propagate"]
    inside = {
        e.sequence_nr
        for e in events
        if e.sequence_nr >= 0 and any(s.start <= e.time_range.start <= s.end for s in spans)
    }
    back = [
        e.time_range.elapsed_us()
        for e in events
        if e.name.startswith("autograd::engine::evaluate_function") and e.sequence_nr in inside
    ]
    steps = [e.time_range.elapsed_us() for e in events if e.name == "whole step"]
    return round((sum(s.elapsed_us() for s in spans) + sum(back)) / sum(steps), 3)


def slices(name: str, path: Path, steps: int, positives: int, threads: int, past: str, sets: list[str]) -> dict:
    """Median seconds of a step on rows of the same latest slice, with more and more slices behind it."""
    import numpy as np
    import torch

    from benchmarks.paper_sizes import START
    from hyperctr import config
    from hyperctr.data.clock import DAY, SECOND
    from hyperctr.models import MODELS
    from hyperctr.runs.prepare import prepare, read_dataset
    from hyperctr.training import fit

    torch.set_num_threads(threads)
    counts = [int(k) for k in past.split(",")]
    tables = {"data": {"path": str(path)}, "model": {"name": "hyperctr"}, "interest": {"mode": "none"}}
    dataset = read_dataset(config.read_run(tables, set=sets))
    events = dataset.interactions
    start = START * SECOND
    days = int(events.time[-1] - start) // DAY // (max(counts) + 2)
    last = int(events.time[-1] - start) // DAY // days - 1  # the last whole one
    run = config.read_run(tables | {"slices": {"every": f"{days}d"}}, set=sets)
    figures = {}
    for k in counts:
        first, end = (start + n * days * DAY for n in (last - k, last + 1))
        part = replace(dataset, interactions=events.take((events.time >= first) & (events.time < end)))
        ready = prepare(run, part)
        torch.manual_seed(0)
        model = MODELS[run.model_name](run.model, ready.tables)
        rows = np.flatnonzero(ready.grid.slice_of(part.interactions.time) == k)
        taken, busy = [], []

        def batches(epoch: int, ready=ready, rows=rows, taken=taken, busy=busy):
            for batch in islice(ready.loader.batches(rows, run.train.batch_size, 1, epoch, True), steps):
                yield batch
                taken.append(time.perf_counter())
                busy.append(time.process_time())

        fit.fit(model, batches, lambda: 0.5, replace(run.train, epochs=1))
        slices = ready.tables.graphs.slices
        nodes = sum(len(side[k - 1].nodes) for side in (slices.users, slices.items))
        figures[k] = {
            "seconds_a_step": round(float(np.median(np.diff(taken))), 3),
            "cpu_seconds_a_step": round(float(np.median(np.diff(busy))), 3),
            "latest_slice_nodes": nodes,
        }
        log.print(f"{name}: {k} past slices of {days} days: {figures[k]}")
        del model, ready
    return figures


class _Clock:
    """Seconds of each stage, and the peak of memory after it."""

    def __init__(self, name: str, figures: dict):
        self.name, self.figures, self.last = name, figures, time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.figures[f"{stage}_seconds"] = round(now - self.last, 1)
        log.print(f"{self.name}: {stage} {now - self.last:.1f} s, peak so far {peak()} GB")
        self.last = time.perf_counter()


def peak() -> float:
    """Most resident memory so far, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def _tenths(chunks, what: str, total: int):
    for done, chunk in enumerate(chunks, 1):
        yield chunk
        if 10 * done // total > 10 * (done - 1) // total:
            log.print(f"{what}: {done} of {total}")


if __name__ == "__main__":
    app()
