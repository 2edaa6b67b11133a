"""The paper's claims on worlds whose answer is known: what must come out if HyperCTR does what it says.

    python benchmarks/planted.py --out planted                          all five claims, 5 seeds, 2 processes
    python benchmarks/planted.py --out planted --claims group,multihop  some of them
    python benchmarks/planted.py --out planted --seeds 1 --scale 0.3    a quick look: no verdict from one seed

A seed is a world of its own and a training of its own. Verdicts are drawn from the 95 % interval of the difference
paired by seed: reproduced, inconclusive or contradicted. Called again, only what is missing runs.

DIR/
    worlds/        a folder a world
    runs/          a folder a run
    results.csv    a line a run
    report.md      the verdicts and every row's scores
"""

import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from graphs.slices.grid import Granularity
from hyperctr import config, files
from hyperctr.data import planted
from hyperctr.data.split import split
from hyperctr.evaluation import significance
from hyperctr.evaluation.metrics import gap_closed
from hyperctr.evaluation.significance import Score, mean_interval
from hyperctr.reporting import markdown
from hyperctr.runs import parallel
from hyperctr.studies import claims
from hyperctr.studies.claims import Claim

NEEDED = 0.85  # share of the way from popularity to the learnable ceiling
FACTOR = 4.0  # how far the best slice width may lie from the planted half-life


@dataclass(frozen=True)
class Study:
    """One claim: a world, what its rows share, and what each changes."""

    preset: str
    scale: float
    """Thousands of users."""
    base: dict
    rows: dict[str, tuple[str, ...]]
    """Name of a row -> overrides as in `hyperctr train --set`."""
    claim: Claim | None
    """None for the share of the way to the learnable ceiling."""


POPULARITY = {"model": {"name": "popularity"}, "train": {"epochs": 1, "lr": 0.05}}
DRIFT = {
    "data": {"history": 20},
    "slices": {"every": "20d"},
    "model": {"name": "hyperctr", "dim": 32, "depth": 2},
    "train": {"epochs": 8, "lr": 2e-3, "l2": 3e-4, "batch_size": 256},
}
COMMUNITIES = {
    "data": {"history": 20},
    "slices": {"every": "7d"},
    "interest": {"mode": "none"},  # here the modalities of an item say the same
    "model": {"name": "hyperctr", "dim": 16, "depth": 2},
    "train": {"epochs": 4, "lr": 4e-3, "batch_size": 256},
}
SINGLE = {f"{m} alone": (f'data.modalities=["{m}"]',) for m in planted.MODALITIES}
WIDTHS = {f"{days}d": (f"slices.every={days}d",) for days in (1, 3, 8, 24, 64)}
TURNOVER = 8.0  # days, of the world `fashion`
NEAR = tuple(w for w in WIDTHS if 1 / FACTOR <= Granularity.parse(w).days / TURNOVER <= FACTOR)
FAR = tuple(w for w in WIDTHS if w not in NEAR)

STUDIES = {
    "ceiling": Study("drift", 1.0, DRIFT, {"all modalities": ()}, None),
    "modalities": Study(
        "drift", 1.0, DRIFT, {"all modalities": (), **SINGLE},
        Claim("all modalities together are better than the best alone", ("all modalities",), tuple(SINGLE)),
    ),
    "group": Study(
        "group", 0.5, COMMUNITIES, {"hypergraph": (), "GCN": ("model.conv=gcn",)},
        Claim("where groups carry the signal, hypergraphs are better than a GCN on their pairs", ("hypergraph",),
              ("GCN",)),
    ),
    "multihop": Study(
        "multihop", 0.5, COMMUNITIES, {"3 layers": ("model.depth=3",), "1 layer": ("model.depth=1",)},
        Claim("where the signal is two hops away, three layers are better than one", ("3 layers",), ("1 layer",)),
    ),
    "width": Study(
        "fashion", 0.5, COMMUNITIES, WIDTHS,
        Claim(f"the best slice width is inside the grid, within a factor {FACTOR:g} of the {TURNOVER:g} days after "
              "which half of the items are about something else", NEAR, FAR, interior=True),
    ),
}  # fmt: skip

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the worlds, runs and results.")],
    claims: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(STUDIES),
    seeds: Annotated[int, typer.Option(min=1, help="Worlds and trainings a row; a verdict needs three.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(min=0.03, help="Times the users of every world.")] = 1.0,
) -> None:
    """Run what is missing of the claims' rows, then print the verdicts."""
    asked = [name.strip() for name in claims.split(",")]
    if unknown := [name for name in asked if name not in STUDIES]:
        raise typer.BadParameter(f"unknown claim {unknown[0]!r}; there are {', '.join(STUDIES)}")
    cells = plan([STUDIES[name] for name in asked], seeds, scale, out)
    failed = parallel.run_missing({name_of(key): cell for key, cell in cells.items()}, jobs, worlds.log.print)
    rows = read(cells, scale)
    files.write_csv(out / "results.csv", rows)
    worlds.leave(out, failed, "Planted worlds", sections([STUDIES[name] for name in asked], rows))


Key = tuple[str, str, int]  # preset, row, seed


def name_of(key: Key) -> str:
    return f"{key[0]}, {key[1]}, seed {key[2]}"


def plan(studies: list[Study], seeds: int, scale: float, out: Path) -> dict[Key, tuple[config.Run, Path]]:
    """Every run of the studies, which share rows of equal names, and popularity on each world; makes the worlds."""
    cells = {}
    for seed in range(seeds):
        for study in studies:
            world = worlds.made(study.preset, out, seed, scale * study.scale)
            for row, changes in {"popularity": None, **study.rows}.items():
                tables = POPULARITY if changes is None else study.base
                own = {"data": {**tables.get("data", {}), "path": str(world)},
                       "train": {**tables["train"], "seed": seed, "threads": 1}}  # fmt: skip
                run = config.read_run({**tables, **own}, set=changes or ())
                cells[study.preset, row, seed] = run, out / "runs" / f"{study.preset} {row} {seed}"
    return cells


def read(cells: dict[Key, tuple[config.Run, Path]], scale: float) -> list[dict]:
    """A row of results.csv for every finished run."""
    known, size = {}, {study.preset: scale * study.scale for study in STUDIES.values()}
    for preset, seed in {(preset, seed) for preset, _, seed in cells}:
        world = planted.planted(preset, seed, size[preset])
        parts = split(world.dataset.interactions)
        known[preset, seed] = world.learnable(parts.train, parts.test), world.ceiling(parts.test)
    found = {key: got for key, (_, folder) in cells.items() if (got := worlds.told(folder))}
    rows = []
    for (preset, row, seed), got in found.items():
        floor = found.get((preset, "popularity", seed), {"test": {"auc": math.nan}})["test"]["auc"]
        learnable, ceiling = known[preset, seed]
        way = gap_closed(got["test"]["auc"], floor, learnable) if floor < learnable else math.nan
        rows.append(
            {"preset": preset, "row": row, "best_epoch": got["best_epoch"]} | worlds.scores(got, seed)
            | {"popularity": floor, "learnable": learnable, "ceiling": ceiling, "way": way}
        )  # fmt: skip
    return rows


def judge(study: Study, rows: list[dict]) -> tuple[str, str, str]:
    """The claim, what was found, and the verdict."""
    runs = {name: [r for r in rows if (r["preset"], r["row"]) == (study.preset, name)] for name in study.rows}
    if study.claim:
        return study.claim.text, *claims.judge(study.claim, runs)
    claim = f"at least {NEEDED:.0%} of the way from popularity to what can be learned"
    ways = [r["way"] for r in runs["all modalities"]]
    if not ways:
        return claim, "nothing was run", "not tested"
    mean, half = mean_interval(ways)
    verdict = significance.judge_gains([Score(mean - NEEDED, half, len(ways))])
    interval = "" if math.isnan(half) else f" ± {half:.1%}"
    return claim, f"{mean:.1%}{interval}, n={len(ways)}, least {min(ways):.1%}", verdict


def learned(rows: list[dict]) -> tuple[str, str]:
    """The smallest gain of a row over popularity, and the verdict on all of them."""
    gains = {}
    for preset, name in dict.fromkeys((r["preset"], r["row"]) for r in rows if r["row"] != "popularity"):
        ours, base = ([r for r in rows if (r["preset"], r["row"]) == (preset, x)] for x in (name, "popularity"))
        gains[f"{preset}, {name}"] = significance.difference(ours, base)
    compared = {name: gain for name, gain in gains.items() if gain}
    if not compared:
        return "nothing was run", "**not tested**"
    least = min(compared, key=lambda name: compared[name].mean)
    return (
        f"least: {least} {markdown.format_gain(compared[least])}",
        f"**{significance.judge_gains(list(gains.values()))}**",
    )


def sections(studies: list[Study], rows: list[dict]) -> dict[str, list[list[str]]]:
    """The verdicts, then every row: means over seeds with their intervals."""
    lines = [["world", "claim", "here", "verdict"]]
    for study in studies:
        claim, here, verdict = judge(study, rows)
        lines.append([study.preset, claim, here, f"**{verdict}**"])
    lines.append(["all", "every row is above popularity", *learned(rows)])
    table = [["world", "row", "n", "test AUC", "way to learnable", "seconds"]]
    for preset, name in dict.fromkeys((r["preset"], r["row"]) for r in sorted(rows, key=lambda r: r["preset"])):
        runs = [r for r in rows if (r["preset"], r["row"]) == (preset, name)]
        way = f"{statistics.fmean(r['way'] for r in runs):.0%}"
        seconds = f"{statistics.fmean(r['seconds'] for r in runs):.0f}"
        table.append([preset, name, str(len(runs)), markdown.format_score(significance.score(runs)), way, seconds])
    for preset in dict.fromkeys(study.preset for study in studies):
        runs = [r for r in rows if (r["preset"], r["row"]) == (preset, "popularity")]
        for name in ("learnable", "ceiling") if runs else ():
            mean = statistics.fmean(r[name] for r in runs)
            table.append([preset, f"({name})", str(len(runs)), f"{mean:.4f}", "", ""])
    return {"Verdicts": lines, "Rows": table}


if __name__ == "__main__":
    app()
