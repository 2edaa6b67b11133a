"""Time this tree and another checkout of the project in turn: training steps of HyperCTR, scoring with DIN and DIEN.

    git worktree add ../before e72f2af
    python benchmarks/across.py ../before [CASE ...] [--data ml-1m] [--repeats 7]

Each tree has a process of its own that prepares the case once and then waits. The two take turns (A B A B ...), and the
ratio is the median over the pairs. A step includes the loader; batches have 1,024 rows. Interests, which are learned
before the training, are left out. Scoring has 1,000 candidates per click; its cost does not depend on the weights,
which are those of the start.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

ONE_EPOCH = {"epochs": 1, "batch_size": 1024}
CASES = {  # tables of a run file; what both trees know
    "hyperctr": {"model": {"name": "hyperctr"}, "interest": {"mode": "none"}, "train": ONE_EPOCH},
    "hyperctr-best": {"preset": "hyperctr-best", "train": ONE_EPOCH},
    "din": {"model": {"name": "din"}, "evaluate": {"negatives": 1000}},
    "dien": {"model": {"name": "dien"}, "evaluate": {"negatives": 1000}},
}
STEPS, SCORED = 64, 12  # batches per measurement


def prepared(tables: dict[str, Any]) -> tuple[Any, Any]:
    """Prepare a run and build its model, with the names of any tree since e72f2af."""
    from hyperctr import config

    preset = tables.pop("preset", None)
    if not hasattr(config, "read_run"):
        from hyperctr.models import MODELS
        from hyperctr.runs import _model, prepare

        ready = prepare(config.read(tables, MODELS))
        return ready, _model(ready)
    from hyperctr.runs.prepare import build_model, prepare

    ready = prepare(config.read_run(tables, preset=preset) if preset else config.read_run(tables))
    return ready, build_model(ready)


def measured(case: str, data: str) -> Callable[[], float]:
    """Return a function that measures a case once: seconds per step, or per scored row."""
    import torch

    torch.manual_seed(0)
    ready, model = prepared({"data": {"path": data}} | deepcopy(CASES[case]))
    if "evaluate" in CASES[case]:
        return scoring(ready, model)
    try:
        from hyperctr.training.fit import fit
    except ImportError:
        from hyperctr.fit import fit

    def steps() -> float:
        began = time.perf_counter()
        fit(model, lambda epoch: islice(ready.train_batches(epoch), STEPS), lambda: 0.5, ready.run.train)
        return (time.perf_counter() - began) / STEPS

    return steps


def scoring(ready: Any, model: Any) -> Callable[[], float]:
    """Return a function that scores some batches of the test rows once."""
    try:
        from hyperctr.evaluation.evaluate import score
    except ImportError:
        from hyperctr.evaluation import score
    batches = list(islice(ready.evaluation_batches("test"), SCORED))
    rows = sum(len(batch.label) for batch in batches)

    def once() -> float:
        began = time.perf_counter()
        score(model, batches)
        return (time.perf_counter() - began) / rows

    return once


def work(case: str, data: str) -> None:
    """Measure once per line of the standard input; the first measurement, before any, does not count."""
    measure = measured(case, data)
    measure()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the tree prints is no figure
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        print(measure(), file=out, flush=True)


def main() -> None:
    """Compare the trees on every case."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("other", help="folder of the other checkout")
    reader.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    reader.add_argument("--data", default="ml-1m")
    reader.add_argument("--repeats", type=int, default=7)
    reader.add_argument("--threads", type=int, default=2)
    reader.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.work:
        import torch

        torch.set_num_threads(asked.threads)
        work(asked.cases[0], asked.data)
        return
    trees = {"this tree": Path(__file__).resolve().parents[1], "the other": Path(asked.other).resolve()}
    print("| case | the other, ms | this tree, ms | this tree, times the other |\n|---|---|---|---|")
    for case in asked.cases or CASES:
        words = [sys.executable, __file__, asked.other, case, "--data", asked.data, "--threads", str(asked.threads)]
        workers = {
            name: subprocess.Popen(
                [*words, "--work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=os.environ | {"PYTHONPATH": str(tree)},
            )
            for name, tree in trees.items()
        }  # fmt: skip
        found: dict[str, list[float]] = {name: [] for name in trees}
        for name, worker in workers.items():
            if worker.stdout.readline().strip() != "ready":
                raise SystemExit(f"{case}: {name} did not start")
        for _ in range(asked.repeats):
            for name, worker in workers.items():
                worker.stdin.write("\n")
                worker.stdin.flush()
                found[name].append(1e3 * float(worker.stdout.readline()))
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
        ratio = statistics.median(a / b for a, b in zip(found["this tree"], found["the other"], strict=True))
        cells = [f"{statistics.median(found[name]):.4g}" for name in ("the other", "this tree")]
        print(f"| {case} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
