"""Speed and memory of `hyperctr data import` on a generated log: Parquet, CSV, and CSV with ISO times.

    python benchmarks/imports.py                     5 million rows
    python benchmarks/imports.py --rows 500000

A row is a user, an item, a time, a click and one category of context. Rows per second count the wall time of the whole
command less that of a file of 100 rows; seconds of CPU stand beside it, for a machine that does other things too. Bytes
per row are the peak of resident memory above that of the small file. Where a bar is missed it ends with 1.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

ROWS_PER_SECOND = {"parquet": 1_000_000, "csv": 500_000}
BYTES_PER_ROW = 150
COMMAND = "import sys; sys.argv[0] = 'hyperctr'; from hyperctr.cli.main import main; main()"


def log_of(rows: int, seed: int = 0) -> pl.DataFrame:
    """Draw a log: users and items by power laws, times of four months, a click in five rows, one of five tabs."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user_id": rng.zipf(1.3, rows) % 200_000,
            "item_id": rng.zipf(1.2, rows) % 50_000,
            "timestamp": np.sort(rng.integers(1_650_000_000, 1_660_000_000, rows)),
            "click": (rng.random(rows) < 0.2).astype(np.int64),
            "tab": rng.choice(np.array(["home", "search", "feed", "related", "profile page"]), rows),
        }
    )


def generate(rows: int, home: Path) -> None:
    """Write the log in each dress, and its first 100 rows."""
    table = log_of(rows)
    table.head(100).write_parquet(home / "small.parquet")
    table.write_parquet(home / "parquet.parquet")
    table.write_csv(home / "csv.csv")
    iso = pl.from_epoch("timestamp").dt.strftime("%Y-%m-%d %H:%M:%S")
    table.with_columns(iso).write_csv(home / "csv, ISO times.csv")


def measured(file: Path, out: Path) -> tuple[float, float, float]:
    """Import a file in a process of its own; return its seconds of wall and of CPU, and its peak of memory in bytes."""
    start = time.perf_counter()
    words = [sys.executable, "-c", COMMAND, "data", "import", file, "--context", "tab", "--out", out]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the import of {file} failed")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main(
    rows: Annotated[int, typer.Option(help="Rows of the log.", min=1_000)] = 5_000_000,
    repeats: Annotated[int, typer.Option(help="Imports of each file; the best counts.", min=1)] = 3,
) -> None:
    """Generate the log, import it in each dress, and hold the figures against the bars."""
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        other = multiprocessing.get_context("spawn").Process(target=generate, args=(rows, home))
        other.start()  # a child's peak begins at its parent's size, so this process stays small
        other.join()
        empty = [min(x) for x in zip(*(measured(home / "small.parquet", home / "out") for _ in range(3)), strict=True)]
        print(f"| {rows:,} rows | rows per second | of CPU | bytes per row |\n|---|---|---|---|")
        for file in ("parquet.parquet", "csv.csv", "csv, ISO times.csv"):
            found = [measured(home / file, home / "out") for _ in range(repeats)]
            wall, cpu, memory = (min(x) - base for x, base in zip(zip(*found, strict=True), empty, strict=True))
            name = file.rpartition(".")[0]
            print(f"| {name} | {rows / wall:,.0f} | {rows / cpu:,.0f} | {memory / rows:.0f} |", flush=True)
            if rows / wall < ROWS_PER_SECOND.get(name, 0):
                missed.append(f"{name}: fewer than {ROWS_PER_SECOND[name]:,} rows per second")
            if memory / rows > BYTES_PER_ROW:
                missed.append(f"{name}: more than {BYTES_PER_ROW} bytes per row")
    for line in missed:
        print(f"MISSED  {line}")
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    typer.run(main)
