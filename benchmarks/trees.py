"""Training speed and memory of this checkout against another one, such as an older commit.

    git worktree add ../before e72f2af
    python benchmarks/trees.py ../before

Each tree trains the same runs in turn (A B A B ...), each in a process of its own, from the command line. What is
compared is the CPU time and the peak memory of the whole process, and the seconds that the run itself reports; ratios
are medians over pairs, this tree over the other. A ratio above the bar ends with 1.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).resolve().parents[1]
TRAIN = ("train.epochs=2", "train.patience=5", "train.threads=1", "evaluate.valid_positives=200")
RUNS = {
    "hyperctr": (*TRAIN, "model.name=hyperctr", "model.dim=16", "slices.every=30d"),
    "din": (*TRAIN, "model.name=din"),
    "deepfm": (*TRAIN, "model.name=deepfm"),
    "mian": (*TRAIN, "model.name=mian"),
    "lt4rec": (*TRAIN, "model.name=lt4rec", "model.rounds=1"),
    "din, aqcl": (*TRAIN, "model.name=din", "wear.name=aqcl"),
}
FIGURES = {"cpu": "CPU seconds", "seconds": "seconds of the run", "memory": "peak memory, MB"}


def train(tree: Path, data: Path, settings: tuple[str, ...], out: Path) -> dict[str, float]:
    """Train one run in one tree, and measure its process."""
    sets = [word for setting in settings for word in ("--set", setting)]
    words = [sys.executable, "-m", "hyperctr", "train", "--data", data, "--out", out, "--json", "--force", *sets]
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(words, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, _ = child.stdout.read(), child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{tree}: {' '.join(map(str, words))} failed")
    return {
        "cpu": used.ru_utime + used.ru_stime, "seconds": json.loads(said)["seconds"], "memory": used.ru_maxrss / 1024
    }  # fmt: skip


def main(
    other: Annotated[Path, typer.Argument(help="The other checkout")],
    only: Annotated[str, typer.Option(help="Which runs, by semicolon: " + "; ".join(RUNS))] = ";".join(RUNS),
    pairs: Annotated[int, typer.Option(help="Trainings of each run in each tree", min=1)] = 5,
    scale: Annotated[float, typer.Option(help="Thousands of users of the planted world", min=0.02)] = 1.0,
    bar: Annotated[float, typer.Option(help="Largest ratio that passes")] = 1.03,
) -> None:
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        world = Path(scratch) / "world"
        words = [sys.executable, "-m", "hyperctr", "data", "get", "planted", "--preset", "conflict"]
        env = os.environ | {"PYTHONPATH": str(HERE)}
        subprocess.run([*words, "--scale", str(scale), "--out", world], check=True, env=env, stdout=subprocess.DEVNULL)
        print(f"| run | {' | '.join(FIGURES.values())} |\n|---|---|---|---|")
        for name in only.split(";"):
            found = {tree: [] for tree in (HERE, other.resolve())}
            for k in range(pairs):
                for tree, got in found.items():
                    got.append(train(tree, world, RUNS[name], Path(scratch) / f"{name} {tree.name} {k}"))
            cells = []
            for figure in FIGURES:
                mine, theirs = ([one[figure] for one in got] for got in found.values())
                ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
                missed |= ratio > bar
                cells.append(f"{statistics.median(mine):,.1f} / {statistics.median(theirs):,.1f} = {ratio:.3f}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\nload at the end {', '.join(f'{x:.1f}' for x in os.getloadavg())}")
    raise SystemExit(missed)


if __name__ == "__main__":
    typer.run(main)
