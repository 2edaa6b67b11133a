"""Ten time slices from (item, user, time) rows, against one sort of the same rows and against other packages.

    python benchmarks/construction.py                         10 million rows, 2 threads; about two minutes
    python benchmarks/construction.py --rows 1000000 --repeats 15
    python benchmarks/construction.py --rows 100000000 --only folder     a file larger than the memory it is built in

Items are nodes and users hyperedges, both power-law with ids in random order; times lie evenly in ten slices of 30
days. Every slice is built in both orientations, with its ids. Repeats are interleaved (A B C A B C ...) and a ratio is
the median over repeats. Memory is that of a child process that does one thing. Where a bar is missed it ends with 1.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.construct import PEERS

from graphs import Hypergraph, TimeGrid, TimeSlices

EVERY, SLICES = 30 * 86400, 10
ITEMS, USERS = 50_000, 200_000
BATCH = 1_000_000  # rows read at a time from a file
SORT, ORDERED, SHUFFLED, PAIRS = (
    "numpy.sort of the packed rows",
    "ten slices, rows in order of time",
    "ten slices, rows shuffled",
    "one hypergraph of all rows",
)
# What the project promises: times the sort; megabytes beyond the rows; times faster an incidence than a peer.
TIMES_THE_SORT = {ORDERED: 3, SHUFFLED: 3}
EXTRA_MEGABYTES = {ORDERED: 600, SHUFFLED: 600}
FASTER_THAN = {"DHG, lists ready": 15, "XGI": 100, "HyperNetX": 100}
FOLDER_MEGABYTES = 2000
PARTS = ("speed", "peers", "append", "memory", "folder")

log = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False)


def draw(rows: int, first: int = 0, share: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, users and times of some rows in order of time, which fill this share of the ten slices from `first` on."""

    def power_law(count: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
        cumulative = np.cumsum((np.arange(count) + 11.0) ** -exponent)
        number = np.random.default_rng(count).permutation(count)  # the same ids in every part
        return number[np.minimum(np.searchsorted(cumulative, rng.random(rows) * cumulative[-1]), count - 1)]

    rng = np.random.default_rng(seed)
    times = first + np.sort(rng.integers(0, max(1, int(share * SLICES * EVERY)), rows))
    return power_law(ITEMS, 0.9, rng), power_law(USERS, 0.7, rng), times


def packed(items: np.ndarray, users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Slice, user and item of each row in 64 bits."""
    key = times // EVERY
    key <<= USERS.bit_length()
    key |= users
    key <<= ITEMS.bit_length()
    key |= items
    return key


def cut(items: np.ndarray, users: np.ndarray, times: np.ndarray) -> TimeSlices:
    return TimeSlices.cut(items, users, times, every="30d", origin=0)


def interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run in every repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            kept = run()
            seconds[name].append(time.perf_counter() - start)
            del kept
        times = ", ".join(f"{name} {took[-1]:.3f} s" for name, took in seconds.items())
        log.print(f"  repeat {repeat + 1} of {repeats}: {times}")
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def judged(number: float, text: str, bar: float | None, at_most: bool = True) -> tuple[str, bool]:
    """The text with its bar, and whether that was reached."""
    if bar is None:
        return text, True
    reached = number <= bar if at_most else number >= bar
    return f"{text} (bar {bar:g}{'' if reached else ', MISSED'})", reached


def speed(rows: int, repeats: int) -> tuple[list[str], bool]:
    """The table of times, and whether its bars were reached."""
    ordered = draw(rows)
    order = np.random.default_rng(1).permutation(rows)
    shuffled = tuple(column[order] for column in ordered)
    key = packed(*ordered)
    distinct = len(np.unique(key))
    for given in (ordered, shuffled):
        if sum(h.num_incidences for h in cut(*given)) != distinct:
            raise SystemExit("the slices are wrong: nothing was timed")
    seconds = interleaved(
        {
            SORT: lambda: np.sort(key),
            ORDERED: lambda: cut(*ordered),
            SHUFFLED: lambda: cut(*shuffled),
            PAIRS: lambda: Hypergraph.from_pairs(ordered[0], ordered[1]),
        },
        repeats,
    )
    lines, reached = [f"| {rows:,} rows | median | fastest | times the sort |", "|---|---|---|---|"], True
    for name, took in seconds.items():
        times = ratio(seconds, name, SORT)
        text, good = judged(times, f"{times:.2f}", TIMES_THE_SORT.get(name))
        reached &= good
        lines.append(f"| {name} | {statistics.median(took):.3f} s | {min(took):.3f} s | {text} |")
    return lines, reached


def peers(rows: int, repeats: int) -> tuple[list[str], bool]:
    """Time an incidence from raw rows to all that the package keeps, of fewer rows where the package is slow."""
    given = draw(rows)
    runs: dict[str, Callable[[], object]] = {"ours, ten slices": lambda: cut(*given)}
    incidences = {"ours, ten slices": len(np.unique(packed(*given)))}
    missing = []
    for name, (prepare, most) in PEERS.items():
        items, users, _ = draw(min(rows, most), seed=2)
        try:
            runs[name] = prepare(items, users)
        except ImportError as error:
            log.print(f"  {name}: not measured, {error}")
            missing.append(name)
            continue
        incidences[name] = len(np.unique(users * ITEMS + items))
    seconds = interleaved(runs, repeats)
    each = {name: [1e6 * s / incidences[name] for s in took] for name, took in seconds.items()}
    lines, reached = ["| from | incidences | microseconds each | times ours |", "|---|---|---|---|"], True
    for name, took in each.items():
        times = ratio(each, name, "ours, ten slices")
        text, good = judged(times, f"{times:,.0f}", FASTER_THAN.get(name), at_most=False)
        reached &= good
        lines.append(f"| {name} | {incidences[name]:,} | {statistics.median(took):.3f} | {text} |")
    return lines + [f"| {name} | not installed | | |" for name in missing], reached


def append(rows: int, repeats: int) -> tuple[list[str], bool]:
    """What a new slice and a late batch cost, as a share of building everything again."""
    items, users, times = draw(rows)
    new = times >= (SLICES - 1) * EVERY
    parts = [[column[chosen] for column in (items, users, times)] for chosen in (~new, new)]
    late = items[:1000], users[:1000], np.full(1000, 5)
    runs = {"rebuild of all ten": [], "append of the tenth": [], "its rows alone": [], "append of 1,000 late rows": []}
    for repeat in range(repeats):
        slices = TimeSlices(TimeGrid.cut([0], every="30d"), *parts[0])
        for name, run in zip(
            runs,
            (
                lambda: cut(items, users, times),
                lambda slices=slices: slices.append(*parts[1]),
                lambda: TimeSlices(TimeGrid.cut(parts[1][2][:1], every="30d"), *parts[1]),
                lambda slices=slices: slices.append(*late),
            ),
            strict=True,
        ):
            start = time.perf_counter()
            run()
            runs[name].append(time.perf_counter() - start)
        log.print(f"  repeat {repeat + 1} of {repeats}: " + ", ".join(f"{n} {s[-1]:.4f} s" for n, s in runs.items()))
    whole = cut(*(np.concatenate(columns) for columns in zip((items, users, times), late, strict=True)))
    if not all(a.equals(b) for a, b in zip(slices, whole, strict=True)):
        raise SystemExit("what was appended to does not equal a rebuild")
    lines = ["| append | median | share of the rebuild |", "|---|---|---|"]
    for name, took in runs.items():
        lines.append(f"| {name} | {statistics.median(took):.4f} s | {ratio(runs, name, 'rebuild of all ten'):.1%} |")
    return [*lines, "", "All ten slices equal a rebuild, bit for bit."], True


def memory(rows: int, threads: int) -> tuple[list[str], bool]:
    lines, reached = ["| memory beyond the rows themselves | MB |", "|---|---|"], True
    for name, bar in EXTRA_MEGABYTES.items():
        grown = in_child("cut", rows, name == SHUFFLED, threads)["grown"] / 1e6
        text, good = judged(grown, f"{grown:.0f}", bar * max(1, rows / 10_000_000))
        log.print(f"  {name}: {grown:.0f} MB")
        reached &= good
        lines.append(f"| {name} | {text} |")
    return lines, reached


def folder(rows: int, threads: int) -> tuple[list[str], bool]:
    """Build a folder from a file of rows in random order, and look at the whole of the child's memory."""
    lines, reached = ["| a folder of slices from a file | whole process, MB | seconds |", "|---|---|---|"], True
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "rows"
        write_rows(file, rows)
        log.print(f"  a file of {file.stat().st_size / 1e9:.2f} GB is written")
        found = in_child("folder", rows, home, threads)
        size = sum(entry.stat().st_size for entry in (Path(home) / "slices").iterdir())
    text, reached = judged(found["peak"] / 1e6, f"{found['peak'] / 1e6:.0f}", FOLDER_MEGABYTES)
    name = f"{rows:,} rows ({24 * rows / 1e9:.2f} GB) to {found['slices']} slices ({size / 1e9:.2f} GB)"
    return [*lines, f"| {name} | {text} | {found['seconds']:.1f} |"], reached


def write_rows(file: Path, rows: int) -> None:
    """Rows of 24 bytes; each million spreads over all slices, the worst case for building them one by one."""
    with open(file, "wb") as out:
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            order = np.random.default_rng(start).permutation(count)
            np.stack([column[order] for column in draw(count, seed=start)], axis=1).tofile(out)


def read_rows(file: Path) -> Iterator[np.ndarray]:
    with open(file, "rb") as rows:
        while len(batch := np.fromfile(rows, dtype=np.int64, count=3 * BATCH)):
            yield batch.reshape(-1, 3).T


def in_child(*task: object) -> dict:
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def child(what: str, rows: int, argument: object, threads: int) -> dict:
    """What one build took, in a process of its own: bytes grown and at most used, seconds."""
    torch.set_num_threads(threads)
    cut(*draw(1000))
    if what == "cut":
        given = draw(rows)
        if argument:
            order = np.random.default_rng(1).permutation(rows)
            given = tuple(column[order] for column in given)
            del order
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before, start = kilobytes("VmRSS"), time.perf_counter()
    if what == "cut":
        slices = cut(*given)
    else:
        grid = TimeGrid.cut([0, SLICES * EVERY - 1], every="30d")
        slices = TimeSlices.from_batches(grid, read_rows(Path(argument) / "rows"), Path(argument) / "slices")
    seconds, peak = time.perf_counter() - start, kilobytes("VmHWM")
    return {"grown": 1024 * (peak - before), "peak": 1024 * peak, "seconds": seconds, "slices": len(slices)}


def kilobytes(field: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0])


@app.command(help=__doc__)
def main(
    rows: Annotated[int, typer.Option(help="Rows to build from", min=1000)] = 10_000_000,
    repeats: Annotated[int, typer.Option(help="Interleaved repeats", min=1)] = 7,
    threads: Annotated[int, typer.Option(help="Threads of torch; slices are built side by side on them")] = 2,
    only: Annotated[str, typer.Option(help="Which parts, by comma: " + ", ".join(PARTS))] = ",".join(PARTS),
    out: Annotated[Path | None, typer.Option(help="Write the tables here as well")] = None,
    child_of: Annotated[str, typer.Option("--child", hidden=True)] = "",
) -> None:
    if child_of:
        print(json.dumps(child(*json.loads(child_of))))
        return
    if unknown := set(only.split(",")) - set(PARTS):
        raise SystemExit(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(threads)
    tables, reached = [], True
    run = {
        "speed": lambda: speed(rows, repeats),
        "peers": lambda: peers(rows, max(1, repeats // 2)),
        "append": lambda: append(rows, max(1, repeats // 2)),
        "memory": lambda: memory(rows, threads),
        "folder": lambda: folder(rows, threads),
    }
    for part in only.split(","):
        log.print(f"{part}:")
        lines, good = run[part]()
        tables.append("\n".join(lines))
        reached &= good
    text = "\n\n".join(tables) + f"\n\nnumpy {np.__version__}, {threads} threads."
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    if not reached:
        log.print("[red]a bar was missed[/red]")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
