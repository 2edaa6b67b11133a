"""Links of 10 million events of ML-10M's shape, beside SciPy's plain product; memory at 1.7 million items; look-up.

    python benchmarks/links.py                                  2 threads; about five minutes
    python benchmarks/links.py --rows 1000000 --only build,look_up

Users are hyperedges: 70,000 with log-normal numbers of clicks (median 69, at most 7,359, as in ML-10M), times evenly
over a year. Items follow a power law. Every line is a process of its own: seconds without drawing the events, and the
peak of resident memory, in brackets what the events take before. implicit's item-item model is timed on the same matrix
where it is installed. Where a bar is missed it ends with 1.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse
import torch
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from graphs import links

ITEMS, USERS, LONGEST = 10_681, 70_000, 7_359
MANY_ITEMS, MANY_ROWS, FEW_USERS = 1_700_000, 12_700_000, 50_000
YEAR = 365 * 86400
K = 200
SECONDS = 60  # per matrix of ML-10M's shape
GIGABYTES = 6  # at 1.7 million items
MILLISECONDS = 10  # 1,024 x 50 pairs in four matrices

log = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False)
Events = tuple[np.ndarray, np.ndarray, np.ndarray]


def events_of(rows: int, items: int = ITEMS, users: int = USERS, seed: int = 0) -> Events:
    """Items, users and times of some rows, in order of time."""
    rng = np.random.default_rng(seed)
    clicks = np.minimum(np.exp(rng.normal(np.log(69), 1.2, users)), LONGEST)
    popularity = np.cumsum((np.arange(items) + 11.0) ** -0.9)
    item = np.minimum(np.searchsorted(popularity, rng.random(rows) * popularity[-1]), items - 1)
    user = np.minimum(np.searchsorted(np.cumsum(clicks), rng.random(rows) * clicks.sum()), users - 1)
    item, user = rng.permutation(items)[item], rng.permutation(users)[user]
    return item, user, np.sort(rng.integers(YEAR, size=rows))


def plain_product(item: np.ndarray, user: np.ndarray, _: np.ndarray) -> scipy.sparse.csr_array:
    """H D_e^-1 H^T whole, as SciPy computes it: nothing normed, nothing left out."""
    H = incidence(item, user)
    size = H.sum(0)
    return (H / np.maximum(size, 1)).tocsr() @ H.T.tocsr()


def incidence(item: np.ndarray, user: np.ndarray) -> scipy.sparse.csr_array:
    H = scipy.sparse.csr_array((np.ones(len(item)), (item, user)))
    H.data[:] = 1
    return H


def implicit_cosine(item: np.ndarray, user: np.ndarray, _: np.ndarray) -> object:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=K, num_threads=torch.get_num_threads())
    model.fit(scipy.sparse.csr_matrix(incidence(item, user).T), show_progress=False)
    return model


MATRICES: dict[str, Callable] = {
    "undirected, the latest 500 of a user": lambda *events: links.build(*events, k=K),
    "undirected, no limit": lambda *events: links.build(*events, k=K, most=None),
    "directed": lambda *events: links.build(*events, k=K, directed=True),
    "SciPy, H D_e^-1 H^T whole": plain_product,
    "implicit, cosine of items": implicit_cosine,
}
LONG = "one user of 10,000 clicks, the latest 500", "one user of 10,000 clicks, no limit"
MANY = f"{MANY_ITEMS:,} items"
APPENDED = {"1,000 events appended": 1_000, "100,000 events appended": 100_000}
MOMENTS = "links at 50 moments"
LOOK_UP = "1,024 x 50 pairs in four matrices"
LINES = {
    "build": tuple(MATRICES),
    "long": LONG,
    "many": (MANY,),
    "over_time": (*APPENDED, MOMENTS),
    "look_up": (LOOK_UP,),
}


def prepared(what: str, rows: int) -> Callable:
    """Draw the events; return what is to be timed."""
    if what in LONG:
        return lambda: links.build(range(10_000), [0] * 10_000, k=K, most=500 if what == LONG[0] else None)
    if what == MANY:
        many = events_of(MANY_ROWS * rows // 10_000_000, MANY_ITEMS, FEW_USERS)
        return lambda: links.build(*many, k=K)
    events = events_of(rows)
    if what in APPENDED:
        old, new = (
            [column[part] for column in events] for part in (slice(-APPENDED[what]), slice(-APPENDED[what], None))
        )
        made = links.build(*old, k=K, num_nodes=ITEMS, num_hyperedges=USERS)
        return lambda: made.append(*new) or made
    if what == MOMENTS:
        return lambda: links.over_time(*events, np.arange(1, 51) * YEAR // 50, k=K)
    return lambda: MATRICES[what](*events)


def look_up_times(rows: int) -> float:
    """Milliseconds of CPU of 1,024 candidates with 50 clicks each in K, W, T and V; the median of 30."""
    events = events_of(rows)
    made = [links.build(*events, k=K, directed=directed) for directed in (False, True)]
    rng = np.random.default_rng(1)
    took = []
    for _ in range(30):
        i, j = (events[0][rng.integers(rows, size=(1024, columns))] for columns in (1, 50))
        start = time.process_time()
        for one in made:
            for walk in (False, True):
                one.look_up(i, j, walk)
        took.append(1000 * (time.process_time() - start))
    return statistics.median(took)


def kilobytes(field: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0])


def child(what: str, rows: int) -> dict:
    """Do one thing in this process: its seconds, entries, pairs left out, and memory in kilobytes."""
    if what == LOOK_UP:
        return {"milliseconds": look_up_times(rows)}
    run = prepared(what, rows)
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    start = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - start
    entries = getattr(made, "nnz", getattr(made, "num_links", 0))
    if what == MOMENTS:
        entries = sum(one.num_links for one in made)
    left_out = getattr(made, "left_out", 0)
    return {"seconds": seconds, "before": before, "peak": kilobytes("VmHWM"), "entries": entries, "left_out": left_out}


def measured(what: str, rows: int, threads: int) -> dict:
    log.print(f"  {what}")
    words = [sys.executable, __file__, "--threads", str(threads), "--child", json.dumps([what, rows])]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def line_of(what: str, found: dict) -> tuple[str, str]:
    """Return a row of the table, and what was missed in it, if anything."""
    missed, peak = "", found["peak"] / 2**20
    if what in list(MATRICES)[:3] and found["seconds"] > SECONDS:
        missed = f"{what}: more than {SECONDS} seconds"
    if what == MANY and peak > GIGABYTES:
        missed = f"{what}: more than {GIGABYTES} GB"
    memory = f"{peak:.2f} ({found['before'] / 2**20:.2f})"
    return f"| {what} | {found['seconds']:.2f} | {memory} | {found['entries']:,} | {found['left_out']:,} |", missed


@app.command(help=__doc__)
def main(
    rows: Annotated[int, typer.Option(help="Events of ML-10M's shape", min=1000)] = 10_000_000,
    threads: Annotated[int, typer.Option(help="Threads of torch")] = 2,
    only: Annotated[str, typer.Option(help="Which parts, by comma: " + ", ".join(LINES))] = ",".join(LINES),
    child_of: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    torch.set_num_threads(threads)
    if child_of:
        print(json.dumps(child(*json.loads(child_of))))
        return
    if unknown := set(only.split(",")) - set(LINES):
        raise SystemExit(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    missed, looked_up = [], ""
    print(f"| {rows:,} events, {threads} threads | seconds | peak GB (before) | entries | pairs left out |")
    print("|---|---|---|---|---|")
    for what in (what for part in only.split(",") for what in LINES[part]):
        if what.startswith("implicit") and importlib.util.find_spec("implicit") is None:
            print(f"| {what} | not installed | | | |")
        elif what == LOOK_UP:
            found = measured(what, rows, 1)["milliseconds"]
            looked_up = f"\n{what}, one thread: {found:.1f} ms of CPU (bar {MILLISECONDS})"
            missed += [f"{what}: more than {MILLISECONDS} ms"] * (found > MILLISECONDS)
        else:
            line, lacks = line_of(what, measured(what, rows, threads))
            print(line, flush=True)
            missed += [lacks] * bool(lacks)
    print(looked_up)
    for line in missed:
        print(f"MISSED  {line}")
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    app()
