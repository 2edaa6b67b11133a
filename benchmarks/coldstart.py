"""AQCL on worlds whose answer is known: newcomers' tastes are their interest group's, active users' tastes their own.

    python benchmarks/coldstart.py --out coldstart               30 seeds, 2 processes; minutes
    python benchmarks/coldstart.py --out coldstart --seeds 1     a quick look: no verdict from one seed
    python benchmarks/coldstart.py --out coldstart --paper       the paper's temperature and number of interests

Interests (QCL) should help the non-active more than the active, instances (ICL) should not, and AQCL, whose alpha
follows activity, should be near the better of the two everywhere. A seed is a world of its own and a training of its
own; seeds begin at 100, since `WEAR` was chosen on validation rows of the first eight.
Verdicts are drawn from the 95 % interval of the difference paired by seed: reproduced, inconclusive or contradicted.
Called again, only what is missing runs.

DIR/
    worlds/        a folder a world
    runs/          a folder a run
    results.csv    a line a run
    report.md      the verdicts and every row's scores
"""

import statistics
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from hyperctr import config, files
from hyperctr.evaluation import significance
from hyperctr.models import WRAPPERS
from hyperctr.reporting import markdown
from hyperctr.runs import parallel
from hyperctr.studies import claims
from hyperctr.studies.aqcl.published import GROUPS
from hyperctr.studies.claims import Claim

FIRST = 100  # seed
NEAR = 0.002  # AUC that AQCL may lie below the better of ICL and QCL
DIN = {"name": "din", "dim": 16, "attention": [32], "hidden": [64, 32]}
TRAIN = {"epochs": 40, "patience": 4, "lr": 2e-3, "batch_size": 1024, "threads": 1}
EVALUATE = {"max_positives": 0, "valid_positives": 0}
PAPER = {"w": 0.05}  # the middle of the paper's three; the rest is as it is by default
WEAR = PAPER | {"tau1": 0.5, "codes": 16, "positives": 1}  # eight groups have few interests; close rows are much alike
ROWS = {"popularity": "", "DIN": "", "ICL": "icl", "QCL": "qcl", "AQCL": "aqcl"}
"""Rows -> what DIN wears."""

CLAIMS = (
    Claim("QCL helps the non-active more than the highly active", ("QCL",), ("DIN",), column="lean"),
    Claim("ICL does not", ("DIN",), ("ICL",), NEAR, "lean"),
    *(
        Claim(f"AQCL is within {NEAR:g} of QCL and ICL: {group}", ("AQCL",), ("QCL", "ICL"), NEAR, column)
        for group, column in list(GROUPS.items())[1:]
    ),
    Claim("QCL is better than DIN for the non-active", ("QCL",), ("DIN",), column=GROUPS["non-active"]),
    Claim("AQCL is better than DIN over all rows", ("AQCL",), ("DIN",)),
)  # fmt: skip

app = typer.Typer(add_completion=False)
Key = tuple[str, int]  # row, seed


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the worlds, runs and results.")],
    seeds: Annotated[int, typer.Option(min=1, help="Worlds and trainings a row; a verdict needs three.")] = 30,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, one thread each.")] = 2,
    scale: Annotated[float, typer.Option(min=0.03, help="Thousands of users.")] = 1.0,
    paper: Annotated[
        bool, typer.Option("--paper", help="tau1 = 0.1 and 5 of 128 interests, as the paper has.")
    ] = False,
) -> None:
    """Run what is missing of the rows, then print the verdicts."""
    cells = plan(seeds, scale, out, paper)
    failed = parallel.run_missing(
        {f"{row}, seed {seed}": cell for (row, seed), cell in cells.items()}, jobs, worlds.log.print
    )
    rows = read(cells)
    files.write_csv(out / "results.csv", rows)
    worlds.leave(out, failed, "AQCL on planted newcomers", sections(rows), "AUC; of what DIN wears, AUC over DIN.")


def plan(seeds: int, scale: float, out: Path, paper: bool = False) -> dict[Key, tuple[config.Run, Path]]:
    """Every run and its folder, seed by seed; makes the worlds. Of the settings, ICL takes what is about instances."""
    cells, wear = {}, PAPER if paper else WEAR
    for seed in range(FIRST, FIRST + seeds):
        world = worlds.made("coldstart", out, seed, scale)
        for row, worn in ROWS.items():
            model = {"name": "popularity"} if row == "popularity" else DIN
            tables = {"data": {"history": 30, "path": str(world)}, "model": model, "evaluate": EVALUATE,
                      "train": TRAIN | {"seed": seed}}  # fmt: skip
            folder = out / "runs" / f"{row}{' paper' if worn and paper else ''} {scale:g} {seed}"
            if worn:
                known = {f.name for f in fields(WRAPPERS[worn].Config)}
                tables["wrapper"] = {"name": worn} | {key: value for key, value in wear.items() if key in known}
            cells[row, seed] = config.read_run(tables), folder
    return cells


def read(cells: dict[Key, tuple[config.Run, Path]]) -> list[dict]:
    """A row of results.csv for every finished run; lean is what the non-active are ahead of the highly active."""
    rows = []
    for (row, seed), (_, folder) in cells.items():
        if got := worlds.told(folder):
            groups = {name: got["test"][name] for name in GROUPS.values()}
            lean = groups[GROUPS["non-active"]] - groups[GROUPS["highly active"]]
            rows.append({"row": row} | worlds.scores(got, seed) | groups | {"lean": lean})
    return rows


def sections(rows: list[dict]) -> dict[str, list[list[str]]]:
    """The verdicts, then every row: means over seeds with their intervals, below DIN what is gained over it."""
    runs = {name: [r for r in rows if r["row"] == name] for name in ROWS}
    lines = [["claim", "here", "verdict"]]
    for claim in CLAIMS:
        here, verdict = claims.judge(claim, runs)
        lines.append([claim.text, here, f"**{verdict}**"])
    table = [["row", "n", *GROUPS, "seconds"]]
    for name, some in runs.items():
        if some:
            over = None if name in ("popularity", "DIN") else runs["DIN"]
            texts = [
                markdown.format_score(significance.score(some, column)) if over is None else
                markdown.format_gain(significance.difference(some, over, column)) for column in GROUPS.values()
            ]  # fmt: skip
            table.append([name, str(len(some)), *texts, f"{statistics.fmean(r['seconds'] for r in some):.0f}"])
    return {"Verdicts": lines, "Rows": table}


if __name__ == "__main__":
    app()
