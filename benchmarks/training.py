"""Training speed of DIN and DeepFM: against frozen tables, large ones, AQCL, and other libraries.

    python benchmarks/training.py                            frozen tables, other sizes, AQCL; some minutes
    python benchmarks/peers/environments.py --out envs       once: an environment for each other library
    python benchmarks/training.py --only peers --envs envs   the same rows and sizes in those
    python benchmarks/training.py --only large --envs envs   the same with 1.7 million items

60 thousand users and items, batch 1,024, history 30, vectors of 16, attention 64, network 256-128, no dropout, no
weight decay, no clipping, Adam at 1e-3. An epoch of `hyperctr.training.fit` on batches of `hyperctr.data.loader` is
timed: rows are shuffled and histories are looked up in the log, as in any run. The other libraries get finished
histories and use their own loop, loader and, by default, activations. Everything is interleaved (A B C A B C ...), and
ratios are medians over repeats. The exit code is 1 where a bar is missed.

"Frozen" tables need no gradient. "Not updated" tables get a gradient that is thrown away. The difference between the
two is the cost of backpropagation to the vectors, which no way to store or update a table can save.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hyperctr.batch import Batch, Ids, Tables
from hyperctr.config import Train
from hyperctr.data.interactions import Interactions
from hyperctr.data.loader import Loader
from hyperctr.evaluation.evaluate import score
from hyperctr.evaluation.metrics import auc, auc_interval
from hyperctr.models import MODELS, WRAPPERS
from hyperctr.training import malloc
from hyperctr.training.fit import fit

HISTORY, BATCH, CLUSTERS, TEST = 30, 1024, 50, 20_480
SIZES = {
    "din": {"dim": 16, "attention": (64,), "hidden": (256, 128), "dropout": 0.0},
    "deepfm": {"dim": 16, "hidden": (256, 128), "dropout": 0.0},
}
BARE = Train(epochs=1, batch_size=BATCH, l2=0.0, clip=0.0)
TWICE = replace(BARE, epochs=2, patience=2)  # the system hands out memory for mean squares in the first
# What the project promises: the share of the samples a second with frozen tables; times those of each peer, and with
# 1.7 million items; times the step of other sizes; times the step with AQCL.
OF_FROZEN, TIMES_PEERS, TIMES_LARGE, STEP_OF_SIZE, STEP_OF_AQCL = 0.9, 2.0, 10.0, 1.3, 2.2
LARGE = 1_700_000  # items
PEERS = ("fuxictr", "deepctr-torch", "torch-rechub")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PARTS = ("frozen", "sizes", "aqcl", "peers", "large")

log = Console(stderr=True, soft_wrap=True)
app = typer.Typer(add_completion=False)


# --- a log whose clicks can be learned -------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A log, what reads it, and its last rows: those to train on and those to test on."""

    log: Interactions
    loader: Loader
    train: np.ndarray
    test: np.ndarray
    clock: Callable[[], float] = time.perf_counter

    def batches(self, epoch: int) -> Iterator[Batch]:
        return self.loader.batches(self.train, BATCH, seed=(0, epoch), shuffle=True)

    def tables(self) -> Tables:
        users, items = self.log.num_users, self.log.num_items
        return Tables(Ids(users, items, torch.ones(users).bool(), torch.ones(items).bool()))


def world(
    users: int, items: int, clicks: int, rows: int, clock: Callable[[], float], history: int = HISTORY, seed: int = 0
) -> World:
    """Make a log: `clicks` clicks of every user, the last `history` of them read, and rows to train and test on.

    Items are power-law with ids in random order and belong to clusters; a user clicks items of the own cluster mostly,
    and some items are better than others.
    """
    rng = np.random.default_rng(seed)
    number = rng.permutation(items)
    home, better = rng.integers(CLUSTERS, size=users), rng.standard_normal(items)
    cumulative = np.cumsum((np.arange(items) + 11.0) ** -0.9)

    def drawn(user: np.ndarray, at_home: float) -> np.ndarray:
        """Ranks: cluster c holds every rank that is c modulo the number of clusters."""
        rank = np.minimum(np.searchsorted(cumulative, rng.random(len(user)) * cumulative[-1]), items - 1)
        own = rank // CLUSTERS * CLUSTERS + home[user]
        return np.where((rng.random(len(user)) < at_home) & (own < items), own, rank)

    late = rows + TEST
    early_user, late_user = np.repeat(np.arange(users), clicks), rng.integers(users, size=late)
    early, candidate = drawn(early_user, 0.8), drawn(late_user, 0.5)
    logit = better[candidate] + 2.0 * (candidate % CLUSTERS == home[late_user]) - 1.0
    made = Interactions(
        user=np.concatenate([early_user, late_user]),
        item=number[np.concatenate([early, candidate])],
        time=np.concatenate([np.tile(np.arange(clicks), users), clicks + np.arange(late)]),
        label=np.concatenate([np.ones(len(early)), rng.random(late) < 1 / (1 + np.exp(-logit))]),
        num_users=users,
        num_items=items,
    )
    last = np.arange(len(made) - late, len(made))
    return World(made, Loader(made, history), last[:rows], last[rows:], clock)


def save_rows(found: World, path: Path) -> None:
    """The rows with finished histories for the other libraries: ids from 1 on, histories padded by 0 behind."""
    columns = {"num_users": found.log.num_users, "num_items": found.log.num_items}
    for part in ("train", "test"):
        batches = list(found.loader.batches(getattr(found, part), 8 * BATCH))
        for name in ("user", "item"):
            columns[f"{part}_{name}"] = torch.cat([getattr(b, name) for b in batches]).numpy() + 1
        columns[f"{part}_label"] = torch.cat([b.label for b in batches]).numpy()
        history = [((b.histories.item + 1) * b.histories.mask)[b.query] for b in batches]
        padded = [nn.functional.pad(x, (0, HISTORY - x.shape[1])) for x in history]
        columns[f"{part}_history"] = torch.cat(padded).numpy()
    np.savez(path, **columns)


# --- one contender ---------------------------------------------------------------------------------------------------


def built(name: str, found: World, tables: str = "trained", **sizes: object) -> nn.Module:
    """A model whose tables are "trained", "frozen", or "not updated"."""
    torch.manual_seed(0)
    model = MODELS[name](MODELS[name].Config(**SIZES[name] | sizes), found.tables())
    for table in (m for m in model.modules() if isinstance(m, nn.Embedding)):
        if tables == "frozen":
            table.weight.requires_grad_(False)
        elif tables == "not updated":
            table.weight.register_post_accumulate_grad_hook(forget)
    return model


def forget(weight: torch.Tensor) -> None:
    """Drop a gradient as soon as it is there."""
    weight.grad = None


def samples_a_second(
    model: nn.Module, found: World, config: Train = BARE, test: Callable[[], float] = lambda: 0.5
) -> list[float]:
    """Train, and give the samples a second of every epoch, what `test` does after it apart."""
    speeds: list[float] = []

    def train(epoch: int) -> Iterator[Batch]:
        began = found.clock()
        yield from found.batches(epoch)
        speeds.append(len(found.train) / (found.clock() - began))

    fit(model, train, test, config)
    return speeds


def interleaved(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What every run gives in every repeat, after one that does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(-1, repeats):
        for name, run in runs.items():
            speeds[name].append(run())
        last = ", ".join(f"{name} {found[-1]:,.0f}" for name, found in speeds.items())
        log.print(f"  repeat {repeat + 1} of {repeats}{'' if repeat >= 0 else ', warming up'}: {last}")
    return {name: found[1:] for name, found in speeds.items()}


def ratio(speeds: dict[str, list[float]], name: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))


class Verdict:
    """Writes a figure with its bar, and remembers whether all bars were reached."""

    def __init__(self) -> None:
        self.good = True

    def __call__(self, number: float, text: str, least: float = -math.inf, most: float = math.inf) -> str:
        if math.isinf(least) and math.isinf(most):
            return text
        reached = least <= number <= most
        self.good &= reached
        bar = f"at least {least:.3g}" if math.isinf(most) else f"at most {most:.3g}"
        return f"{text} ({bar}{'' if reached else ': MISSED'})"


# --- the parts -------------------------------------------------------------------------------------------------------

ROWS = {  # of a table: name -> tables, and what else of the run is not bare
    "": ("trained", BARE),
    ", tables not updated": ("not updated", BARE),
    ", tables frozen": ("frozen", BARE),
    ", weight decay and clipping": ("trained", Train(epochs=1, batch_size=BATCH)),
}


def frozen(found: World, models: list[str], repeats: int, say: Verdict) -> list[str]:
    """Samples a second of each model and of the same one with frozen tables."""
    runs = {}
    for name in models:
        for row, (tables, config) in ROWS.items():
            model = built(name, found, tables)
            runs[name + row] = lambda model=model, config=config: samples_a_second(model, found, config)[0]
    speeds = interleaved(runs, repeats)
    lines = ["| tables of 60 thousand | samples a second | of not updated | of frozen |", "|---|---|---|---|"]
    for name, got in speeds.items():
        still, ice = (ratio(speeds, name, f"{name.split(',')[0]}, tables {x}") for x in ("not updated", "frozen"))
        least = OF_FROZEN if name in models else -math.inf
        lines.append(f"| {name} | {statistics.median(got):,.0f} | {still:.0%} | {say(ice, f'{ice:.0%}', least)} |")
    return lines


def sizes(worlds: dict[str, World], models: list[str], repeats: int, say: Verdict) -> list[str]:
    """What a step of the second epoch costs with other tables and logs, in steps of the first."""
    runs = {}
    for name in models:
        for size, found in worlds.items():
            model = built(name, found)
            runs[f"{name}, {size}"] = lambda model=model, found=found: samples_a_second(model, found, TWICE)[1]
    speeds, first = interleaved(runs, repeats), next(iter(worlds))
    lines = ["| | samples a second | a step, in steps of the first |", "|---|---|---|"]
    for name, got in speeds.items():
        times = ratio(speeds, f"{name.split(',')[0]}, {first}", name)
        most = math.inf if name.endswith(first) else STEP_OF_SIZE
        lines.append(f"| {name} | {statistics.median(got):,.0f} | {say(times, f'{times:.2f}', most=most)} |")
    return lines


def aqcl(short: World, long: World, models: list[str], repeats: int, say: Verdict) -> list[str]:
    """Time a step inside AQCL, in steps without it; `long` has the history length of AQCL's tables."""
    runs, work = {}, {}
    for name in models:
        default = vars(MODELS[name].Config())
        for kind, found, changed in (
            ("", short, {}),
            (" of default sizes", short, default),
            (" of default sizes but vectors of 32, and 50 clicks", long, default | {"dim": 32}),
        ):
            bare, base = (built(name, found, **changed) for _ in range(2))
            worn = WRAPPERS["aqcl"](base, WRAPPERS["aqcl"].Config(), found.tables())
            for row, model in (("", bare), (", AQCL", worn)):
                runs[name + kind + row] = lambda model=model, found=found: samples_a_second(model, found)[0]
                work[name + kind + row] = products(model, next(found.batches(0)))
    speeds = interleaved(runs, repeats)
    lines = [
        "| | samples a second | a step, in steps without | its matrix products |",
        "|---|---|---|---|",
    ]
    for name, got in speeds.items():
        without = name.removesuffix(", AQCL")
        times, more = ratio(speeds, without, name), work[name] / work[without]
        most = STEP_OF_AQCL if name.endswith("AQCL") else math.inf
        cells = f"{statistics.median(got):,.0f} | {say(times, f'{times:.2f}', most=most)} | {more:.2f}"
        lines.append(f"| {name} | {cells} |")
    return lines


def products(model: nn.Module, batch: Batch) -> int:
    """Floating-point operations of a step's matrix products, there and back: what no kernel can spare."""
    model.train()
    with FlopCounterMode(display=False) as counted:
        out = model(batch)
        (binary_cross_entropy_with_logits(out.logit, batch.label) + out.penalty).backward()
    model.zero_grad()
    return counted.get_total_flops()


def peers(
    found: World, models: list[str], repeats: int, say: Verdict,
    envs: Path, threads: int, epochs: int, activation: str, clock: str, least: float,
) -> list[str]:  # fmt: skip
    """Samples a second, the first epoch apart, and best test AUC of an epoch, in other libraries, a process each."""
    here = {name: envs / name / "bin" / "python" for name in PEERS}
    lines = ["| | version | samples a second | ours, times theirs | test AUC |", "|---|---|---|---|---|"]
    config = Train(epochs=epochs, batch_size=BATCH, l2=0.0, clip=0.0, patience=epochs)
    with tempfile.TemporaryDirectory() as home:
        rows = Path(home) / "rows.npz"
        save_rows(found, rows)
        for model in models:
            reports: dict[str, dict] = {}

            def our_run(model: str = model, reports: dict = reports) -> float:
                own = {"activation": "prelu" if activation == "own" else activation} if model == "din" else {}
                trained, aucs = built(model, found, **own), []

                def test() -> float:
                    scored = score(trained, found.loader.batches(found.test, 8 * BATCH))
                    aucs.append((auc(scored["label"], scored["logit"]), auc_interval(scored["label"], scored["logit"])))
                    return aucs[-1][0]

                speeds = samples_a_second(trained, found, config, test)
                reports["ours"] = {"version": "", "auc": [x for x, _ in aucs], "error": max(aucs)[1] / 1.96}
                return max(speeds[1:] or speeds)

            def their_run(peer: str, model: str = model, reports: dict = reports) -> float:
                words = [peer, model, rows, "--threads", threads, "--epochs", epochs]
                words += ["--activation", activation, "--clock", clock]
                command = [here[peer], Path(__file__).parent / "peers" / "train.py", *words]
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{peer}, {model}: {done.stderr.strip().splitlines()[-1:]}")
                reports[peer] = json.loads(done.stdout.splitlines()[-1])
                return max(reports[peer]["samples_per_second"][1:] or reports[peer]["samples_per_second"])

            runs = {"ours": our_run}
            for peer in PEERS:
                if here[peer].exists():
                    runs[peer] = lambda peer=peer: their_run(peer)
                else:
                    log.print(f"  {peer}: not measured, there is no {here[peer]}")
            speeds = interleaved(runs, repeats)
            best = {name: max(report["auc"]) for name, report in reports.items()}
            lowest = max([best[name] for name in runs if name != "ours"], default=0.0) - 2 * reports["ours"]["error"]
            for name, got in speeds.items():
                times = ratio(speeds, "ours", name)
                line = f"| {model}, {name} | {reports[name]['version']} | {statistics.median(got):,.0f} | "
                if name == "ours":
                    lines.append(f"{line}| {say(best[name], f'{best[name]:.4f}', lowest)} |")
                else:
                    lines.append(f"{line}{say(times, f'{times:.2f}', least)} | {best[name]:.4f} |")
            lines += [f"| {model}, {peer} | not installed | | | |" for peer in PEERS if peer not in runs]
    return lines


@app.command(help=__doc__)
def main(
    only: Annotated[str, typer.Option(help="Which parts, by comma: " + ", ".join(PARTS))] = "frozen,sizes,aqcl",
    models: Annotated[str, typer.Option(help="Which models, by comma.")] = "din,deepfm",
    rows: Annotated[int, typer.Option(help="Rows of an epoch", min=1)] = 61_440,
    scale: Annotated[float, typer.Option(help="Times the users and items", min=1e-4)] = 1.0,
    repeats: Annotated[int, typer.Option(help="Interleaved repeats", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of torch", min=1)] = 2,
    epochs: Annotated[int, typer.Option(help="Epochs of a training beside peers; the first warms up", min=1)] = 3,
    activation: Annotated[str, typer.Option(help="Of DIN beside peers: prelu or dice in all, or each its own")] = "own",
    clock: Annotated[str, typer.Option(help="wall, or cpu: what the process itself took, on a busy machine")] = "wall",
    envs: Annotated[Path, typer.Option(help="Folder that peers/environments.py has made")] = Path("envs"),
    out: Annotated[Path | None, typer.Option(help="Write the tables here as well")] = None,
) -> None:
    if unknown := set(only.split(",")) - set(PARTS):
        raise SystemExit(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if unknown := set(models.split(",")) - set(SIZES):
        raise SystemExit(f"unknown model {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
    if clock not in CLOCKS or (clock == "cpu" and threads > 1):
        raise SystemExit("--clock is wall, or cpu with --threads 1")
    torch.set_num_threads(threads)
    malloc.keep_freed_memory()
    users, names, say, tables = round(60_000 * scale), models.split(","), Verdict(), []

    def made(items: int = 60_000, clicks: int = HISTORY, history: int = HISTORY) -> World:
        return world(users, round(items * scale), clicks, rows, CLOCKS[clock], history)

    other = (envs, threads, epochs, activation, clock)
    run = {
        "frozen": lambda: frozen(made(), names, repeats, say),
        "sizes": lambda: sizes(
            {
                "60 thousand items": made(),
                "a log of 5 million rows": made(clicks=83),
                "1.7 million items": made(LARGE),
                "5 million items": made(5_000_000),
            }, names, repeats, say,
        ),
        "aqcl": lambda: aqcl(made(), made(clicks=50, history=50), names, repeats, say),
        "peers": lambda: peers(made(), names, repeats, say, *other, TIMES_PEERS),
        "large": lambda: peers(made(LARGE), names, repeats, say, *other, TIMES_LARGE),
    }  # fmt: skip
    for part in only.split(","):
        log.print(f"{part}:")
        tables.append("\n".join(run[part]()))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    text = (
        "\n\n".join(tables)
        + f"\n\ntorch {torch.__version__}, {threads} threads, {clock} clock, load at the end {load}."
    )
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    if not say.good:
        log.print("[red]a bar was missed[/red]")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
