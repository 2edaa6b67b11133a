"""MIAN (arXiv 2012.06968): what a step and a request cost.

    python benchmarks/mian_speed.py                 a step against DIEN's, serving in factors; minutes
    python benchmarks/mian_speed.py --repeats 16    fewer repeats

Everything is taken in turn (A B C A B C ...), and CPU seconds of one thread count, so that a busy machine changes
little; ratios are medians over repeats of what ran next to each other. Histories are full, 30 clicks. Where a bar is
missed it ends with 1.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.training_step import step_of
from hyperctr import files
from hyperctr.batch import Batch, Columns, Fields, History, Ids, Tables, Values
from hyperctr.models import MODELS
from hyperctr.reporting import markdown
from hyperctr.serving.factored import Factored
from hyperctr.training import malloc
from hyperctr.training.profiler import times_in_turn

app = typer.Typer(add_completion=False)

USERS, ITEMS, HISTORY, DIM = 10_000, 20_000, 30, 16
USER = {name: 9 for name in ("gender", "age", "occupation", "region", "income")}
MOMENT = {"hour": 24, "weekday": 7, "tab": 5, "season": 4}
PARTS = 2  # of an item: id and category, so that MIAN's is 32 wide; DIEN adds up vectors of 32
TIMES_PLAIN, OF_DIEN = 5.0, 1.0  # what the project promises


def tables() -> Tables:
    def codes(count: int, size: int) -> torch.Tensor:
        return torch.cat([torch.randint(size, (count,)), torch.tensor([size])])

    torch.manual_seed(0)
    user = Columns(USER, values=Values(torch.stack([codes(USERS, size) for size in USER.values()], 1)))
    item = Columns({"category": 200}, values=Values(codes(ITEMS, 200)[:, None]))
    fields = Fields(user, item, Columns(MOMENT))
    return Tables(Ids(USERS, ITEMS, torch.ones(USERS).bool(), torch.ones(ITEMS).bool()), fields=fields)


def batch(queries: int, each: int, seed: int) -> Batch:
    """Random rows: so many queries with full histories, `each` candidates of every one."""
    draw = torch.Generator().manual_seed(seed)

    def drawn(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=draw)

    query = torch.arange(queries).repeat_interleave(each)
    context = torch.stack([drawn(size, queries) for size in MOMENT.values()], 1)
    mask = torch.ones(queries, HISTORY, dtype=torch.bool)
    past = History(drawn(ITEMS, queries, HISTORY), mask, torch.zeros(queries, HISTORY, dtype=torch.long))
    return Batch(
        user=drawn(USERS, queries)[query], item=drawn(ITEMS, len(query)), time=query, query=query,
        query_row=torch.arange(queries) * each, histories=past, clicks_before=torch.zeros(len(query)),
        shows_before=None, context=Values(context[query]), label=drawn(2, len(query)).float(),
    )  # fmt: skip


def alone(asked: Batch) -> Batch:
    """The same rows, each a query of its own."""
    row = torch.arange(len(asked))
    past = History(
        asked.histories.item[asked.query], asked.histories.mask[asked.query], asked.histories.time[asked.query]
    )
    return replace(asked, query=row, query_row=row, histories=past)


def built(name: str, **sizes) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](MODELS[name].Config(**sizes), tables())


def in_turn(what: dict[str, Callable], asked: list, repeats: int, warm: int = 3) -> dict[str, np.ndarray]:
    """CPU milliseconds of each, taken in turn on one argument after the other, [repeats] each."""
    found = times_in_turn(what, asked, warm + repeats, now=time.process_time)
    return {name: times[warm:] for name, times in found.items()}


def ratio(a: np.ndarray, b: np.ndarray) -> str:
    low, middle, high = np.percentile(a / b, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


@app.command()
def speed(
    repeats: Annotated[int, typer.Option(min=1, help="Measured steps and requests of each kind.")] = 40,
    out: Annotated[Path | None, typer.Option(help="File to write the tables to.")] = None,
) -> None:
    """Print what a step costs against DIEN's, and a request in factors against the plain forward."""
    torch.set_num_threads(1)
    malloc.keep_freed_memory()  # as a training does
    reached, lines = (
        True,
        [["batch", "rows", "MIAN", "DIEN", "DIEN, dim 16", "DIN", "MIAN / DIEN", "MIAN / DIEN, dim 16"]],
    )
    takes = {"MIAN": step_of(built("mian", dim=DIM)), "DIEN": step_of(built("dien", dim=PARTS * DIM)),
             "DIEN, dim 16": step_of(built("dien", dim=DIM)),
             "DIN": step_of(built("din", dim=PARTS * DIM))}  # fmt: skip
    for queries in (128, 512):
        for each, said in ((1, "logged"), (2, "click and a drawn negative")):
            times = in_turn(takes, [batch(queries, each, seed) for seed in range(4)], repeats)
            middle = [f"{statistics.median(x):.1f}" for x in times.values()]
            ratios = [ratio(times["MIAN"], times[name]) for name in ("DIEN", "DIEN, dim 16")]
            lines.append([str(queries), said, *middle, *ratios])
            if queries == 128:  # the paper's
                reached &= np.median(times["MIAN"] / times["DIEN"]) < OF_DIEN
    text = "CPU ms of a training step; DIEN and DIN add up parts of an item as wide as MIAN's side by side\n\n"
    text += markdown.table(lines) + "\n\n"
    model = built("mian", dim=DIM, std=0.5).eval()
    factored = Factored(model)
    lines = [
        [
            "candidates",
            "a row each",
            "one query",
            "factored",
            "each / factored",
            "one / factored",
            "apart by, of a spread",
        ]
    ]
    for count in (1, 10, 100, 1000):
        asked = [(one, alone(one)) for one in (batch(1, count, seed) for seed in range(4))]
        ways = {
            "each": lambda pair: model(pair[1]).logit,
            "one": lambda pair: model(pair[0]).logit,
            "factored": lambda pair: factored.logit(factored.side(pair[0]), pair[0].item),
        }
        with torch.no_grad():
            times = in_turn(ways, asked, repeats)
            logits = [(ways["each"](x), ways["factored"](x)) for x in asked]
            apart = max(float((plain - found).abs().max()) for plain, found in logits)
            spread = float(torch.cat([plain for plain, _ in logits]).std())
        middle = [f"{statistics.median(x):.2f}" for x in times.values()]
        lines.append(
            [
                str(count),
                *middle,
                *(ratio(times[x], times["factored"]) for x in ("each", "one")),
                f"{apart:.0e} of {spread:.2g}",
            ]
        )
        reached &= apart < 1e-5
        if count == 1000:
            reached &= np.median(times["each"] / times["factored"]) >= TIMES_PLAIN
    text += (
        "CPU ms to score candidates for one user: the plain forward with a row each (as `predict`), the plain forward\n"
    )
    text += "of one query (it reads the history once), and factored, user's side and all\n\n" + markdown.table(lines)
    print(text)
    if out is not None:
        files.write_text(out, text + "\n")
    if not reached:
        Console(stderr=True).print("[red]a bar was missed[/red]")
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
