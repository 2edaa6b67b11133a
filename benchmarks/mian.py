"""MIAN (arXiv 2012.06968): what a step and a request cost, and what each module is worth where its signal is planted.

    python benchmarks/mian.py speed                         a step against DIEN's, serving in factors; minutes
    python benchmarks/mian.py planted --out mian            the modules, 5 seeds, 2 processes; ten minutes
    python benchmarks/mian.py planted --out mian --seeds 1  a quick look: no verdict from one seed

`speed` takes everything in turn (A B C A B C ...) and counts CPU seconds of one thread, so that a busy machine changes
little; ratios are medians over repeats of what ran side by side. Histories are full, 30 clicks. Where a bar is missed
it ends with 1.

`planted` trains on the world `fields`, in which a third of the categories ask for a field of the user (IUIM), a third
for the context (ICIM) and a third for the latest click (IBIM); which of the three, the category says (GIM). A seed is a
world and a training of its own. Verdicts come from the 95 % interval of the difference paired by seed. Called again,
only what is missing runs.

DIR/
    worlds/        a folder a world
    runs/          a folder a run, measures.json in it
    report.md      the verdicts, every row's scores, how faithful the weights are
    parts.png      Figure 6 of the first seed
    case.png       attention and effects of one prediction
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from hyperctr import config, files
from hyperctr.analysis import mian_attention
from hyperctr.batch import Batch, History, Tables
from hyperctr.data import planted as synthetic
from hyperctr.evaluation import significance
from hyperctr.evaluation.evaluate import score
from hyperctr.evaluation.metrics import auc
from hyperctr.models import MODELS
from hyperctr.reporting import figures, markdown
from hyperctr.runs import parallel
from hyperctr.runs.open import open_run
from hyperctr.serving.factored import Factored
from hyperctr.studies import claims
from hyperctr.studies.claims import Claim
from hyperctr.training import malloc
from hyperctr.training.optim import clip, coalesce, decay, optimisers
from hyperctr.training.profiler import times_in_turn

app = typer.Typer(add_completion=False)

# --- what a step and a request cost ----------------------------------------------------------------------------------

USERS, ITEMS, HISTORY, DIM = 10_000, 20_000, 30, 16
USER = {name: 9 for name in ("gender", "age", "occupation", "region", "income")}
MOMENT = {"hour": 24, "weekday": 7, "tab": 5, "season": 4}
PARTS = 2  # of an item: id and category, so that MIAN's is 32 wide; DIEN adds up vectors of 32
TIMES_PLAIN, OF_DIEN = 5.0, 1.0  # what the project promises


def tables() -> Tables:
    def codes(count: int, size: int) -> torch.Tensor:
        return torch.cat([torch.randint(size, (count,)), torch.tensor([size])])

    torch.manual_seed(0)
    return Tables(
        num_users=USERS, num_items=ITEMS, modalities={}, present={},
        seen_user=torch.ones(USERS, dtype=torch.bool), seen_item=torch.ones(ITEMS, dtype=torch.bool),
        user_fields={name: codes(USERS, size) for name, size in USER.items()}, user_sizes=USER,
        item_fields={"category": codes(ITEMS, 200)}, item_sizes={"category": 200}, context_sizes=MOMENT,
    )  # fmt: skip


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
        shows_before=None, context=context[query], label=drawn(2, len(query)).float(),
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


def step(model: nn.Module) -> Callable[[Batch], None]:
    """A training step as `hyperctr.fit` takes it."""
    model.train()
    adams = optimisers(model, 1e-3)

    def take(asked: Batch) -> None:
        out = model(asked)
        loss = F.binary_cross_entropy_with_logits(out.logit, asked.label) + out.penalty
        for adam in adams:
            adam.zero_grad()
        loss.backward()
        coalesce(model), decay(model, 1e-5), clip(model, 5.0)
        for adam in adams:
            adam.step()

    return take


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
    takes = {"MIAN": step(built("mian", dim=DIM)), "DIEN": step(built("dien", dim=PARTS * DIM)),
             "DIEN, dim 16": step(built("dien", dim=DIM)), "DIN": step(built("din", dim=PARTS * DIM))}  # fmt: skip
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
        worlds.log.print("[red]a bar was missed[/red]")
        raise typer.Exit(1)


# --- what each module is worth ---------------------------------------------------------------------------------------

SCALE, NEEDED = 0.33, 0.01
"""Thousands of users; and AUC that each module must be worth. Of a quarter the latest click goes unlearned; with a half
the network on top learns the gate between the groups by itself, and GIM is worth nothing."""
KINDS = ("user", "context", "latest click")
BASE = {
    "data": {"history": 10},
    "slices": {"every": "90d"},
    "model": {"name": "mian", "dim": 8, "heads": 4, "std": 0.2, "dropout": 0.0, "l2_embedding": 0.0},
    "train": {"epochs": 12, "lr": 5e-3, "l2": 0.0, "batch_size": 256, "threads": 1},
}
ROWS = {
    "MIAN": (),
    "w/o IUIM": ("model.iuim=false",),
    "w/o ICIM": ("model.icim=false",),
    "w/o IBIM": ("model.ibim=false",),
    "w/o GIM": ("model.gim=false",),
    "w/o IUIM and group": ("model.iuim=false", "model.keep_raw=false"),
    "w/o ICIM and group": ("model.icim=false", "model.keep_raw=false"),
    "w/o IBIM and group": ("model.ibim=false", "model.keep_raw=false"),
}
"""Rows of Table 3 -> overrides as in `hyperctr train --set`. Section 4.7.1 says of a removed module both that its group
stays as it is and that it is given up."""
KEPT = {"w/o IUIM": "user", "w/o ICIM": "context", "w/o IBIM": "latest click"}
GIVEN_UP = {f"{row} and group": kind for row, kind in KEPT.items()}
ASKED = KEPT | GIVEN_UP
"""What the categories ask for whose signal a row lacks; under each reading of the paper, and all."""

Results = dict[str, list[dict]]  # row -> runs, by seed


def worth(row: str, of: str = "auc") -> Callable[[Results], tuple[str, str]]:
    """MIAN is better than without a module by `NEEDED`, over all rows or among those that ask for something."""
    return lambda found: claims.judge(Claim("", ("MIAN",), (row,), -NEEDED, of), found)


def most(row: str, reading: dict[str, str]) -> Callable[[Results], tuple[str, str]]:
    """Where a signal is, its own module is missed more than any other of the reading."""
    kind, others = reading[row], [x for x in reading if x != row]

    def judge(found: Results) -> tuple[str, str]:
        by_seed = {x: {run["seed"]: run[kind] for run in found.get(x, [])} for x in ("MIAN", row, *others)}
        seeds = set.intersection(*(set(runs) for runs in by_seed.values()))
        if not seeds:
            return "nothing was run", "not tested"
        lost = {x: [by_seed["MIAN"][seed] - runs[seed] for seed in seeds] for x, runs in by_seed.items()}
        ahead = [mine - max(rest) for mine, *rest in zip(lost[row], *(lost[x] for x in others), strict=True)]
        said = f"lost {statistics.fmean(lost[row]):.3f}, without others at most "
        said += f"{max(statistics.fmean(lost[x]) for x in others):.3f}, n={len(seeds)}"
        return said, significance.judge_gains(
            [significance.score([{"auc": x, "auc_low": x, "auc_high": x} for x in ahead])]
        )

    return judge


CLAIMS = {
    **{
        row: (f"{row} it loses {NEEDED:g} AUC where the {kind} is asked for", worth(row, kind))
        for row, kind in ASKED.items()
    },
    **{
        f"{row}, all rows": (f"{row} it loses {NEEDED:g} AUC over all rows", worth(row))
        for row in ROWS
        if row != "MIAN"
    },
    **{
        f"{row}, most": (f"where the {kind} is asked for, it loses most {row}", most(row, reading))
        for reading in (KEPT, GIVEN_UP)
        for row, kind in reading.items()
    },
}


@app.command()
def planted(
    out: Annotated[Path, typer.Option(help="Folder of the worlds, runs and results.")],
    seeds: Annotated[int, typer.Option(min=1, help="Worlds and trainings a row; a verdict needs three.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(min=0.03, help="Thousands of users.")] = SCALE,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the rows.")] = BASE["train"]["epochs"],
) -> None:
    """Run what is missing, then print the verdicts and write the figures."""
    cells = plan(seeds, scale, epochs, out)
    failed = parallel.run_missing({name_of(key): cell for key, cell in cells.items()}, jobs, worlds.log.print)
    found: Results = {}
    for (row, seed), (_, folder) in cells.items():
        if worlds.told(folder):
            found.setdefault(row, []).append(measured(folder, seed))
    told = draw(cells["MIAN", 0][1], out)
    worlds.leave(out, failed, "MIAN on planted fields", sections(found, told))


Key = tuple[str, int]  # row, seed


def name_of(key: Key) -> str:
    return f"{key[0]}, seed {key[1]}"


def plan(seeds: int, scale: float, epochs: int, out: Path) -> dict[Key, tuple[config.Run, Path]]:
    """Every run, seed by seed; makes the worlds."""
    cells = {}
    for seed in range(seeds):
        world = worlds.made("fields", out, seed, scale)
        for row, sets in ROWS.items():
            given = BASE | {"data": BASE["data"] | {"path": str(world)},
                            "train": BASE["train"] | {"seed": seed, "epochs": epochs}}  # fmt: skip
            folder = out / "runs" / f"{row.replace('/', '')} {scale:g} {epochs} {seed}"
            cells[row, seed] = config.read_run(given, set=sets), folder
    return cells


def measured(folder: Path, seed: int) -> dict:
    """Scores of a run, and its AUC among the categories that ask for each thing; kept beside the run."""
    kept = folder / "measures.json"
    if not kept.exists():
        opened = open_run(folder)
        scored = score(opened.model, opened.prepared.evaluation_batches("test"))
        category = opened.prepared.dataset.items.fields["category"][scored["item"]] - 1
        kind = synthetic.planted("fields", 0, 0.03).asked[category]
        own = {name: auc(scored["label"][kind == k], scored["logit"][kind == k]) for k, name in enumerate(KINDS)}
        files.write_text(kept, json.dumps(own))
    return worlds.scores(worlds.told(folder), seed) | json.loads(kept.read_text())


def draw(folder: Path, out: Path) -> str:
    """Figure 6 and a case of a run; gives the rank correlations of weights and effects as a table."""
    if not worlds.told(folder):
        return ""
    opened = open_run(folder)
    shown = mian_attention.read(opened, mian_attention.cases(opened))
    figures.save(shown.draw(), out / "parts.png")
    figures.save(shown.draw_case(), out / "case.png")
    lines = mian_attention.read(opened, mian_attention.cases(opened, 500)).faithfulness().rows()
    return markdown.table([["group", "cases", "rank correlation"], *([g, str(n), f"{c:.2f}"] for g, n, c in lines)])


def sections(found: Results, told: str) -> dict[str, list[list[str]] | str]:
    """The verdicts, then every row: means over seeds with their intervals."""
    lines = [["", "claim", "here", "verdict"]]
    for name, (text, judge) in CLAIMS.items():
        here, verdict = judge(found)
        lines.append([name, text, here, f"**{verdict}**"])
    table = [["row", "n", "test AUC", *(f"AUC, {kind}" for kind in KINDS), "seconds"]]
    for row in (row for row in ROWS if row in found):
        texts = [worlds.mean(found[row], name) for name in (*KINDS, "seconds")]
        table.append([row, str(len(found[row])), markdown.format_score(significance.score(found[row])), *texts])
    return {"Verdicts": lines, "Rows": table, "Weights and effects, first seed, 500 test rows": told}


if __name__ == "__main__":
    app()
