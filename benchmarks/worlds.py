"""What the benchmarks on planted worlds share: a world made once, what a finished run tells, a page of verdicts."""

import json
import math
from pathlib import Path
from typing import NoReturn

import numpy as np
import typer
from rich.console import Console

from hyperctr import files
from hyperctr.data import planted
from hyperctr.reporting import markdown

NOTE = "± is the 95 % t interval over seeds; differences are paired by seed."

log = Console(stderr=True, soft_wrap=True)


def made(preset: str, out: Path, seed: int, scale: float) -> Path:
    """Folder of a world, written if it is missing."""
    world = out / "worlds" / f"{preset}-{scale:g}-{seed}"
    if not world.exists():
        planted.write(preset, world, seed, scale)
    return world


def told(folder: Path) -> dict | None:
    """The report of a run; None if it has not finished."""
    path = folder / "report.json"
    return json.loads(path.read_text()) if path.exists() else None


def scores(report: dict, seed: int) -> dict:
    """Of a run's report what verdicts are drawn from."""
    return {
        "seed": seed, "seconds": report["seconds"], "valid_auc": report["valid"]["auc"],
        **{name: report["test"][name] for name in ("auc", "auc_low", "auc_high")},
    }  # fmt: skip


def mean(runs: list[dict], name: str) -> str:
    """Mean of a measure over the runs that have it; "" for none."""
    values = [run[name] for run in runs if not math.isnan(run.get(name, math.nan))]
    return f"{np.mean(values):.3f}" if values else ""


def leave(out: Path, failed: list[str], title: str, sections: dict[str, list[list[str]] | str], note="") -> NoReturn:
    """Write report.md, print it and end, with 1 if a run failed.

    Args:
        out: the benchmark's folder.
        failed: a line for each run that did.
        title: of the page.
        sections: tables, their head first, or text, by heading; an empty one is left out.
        note: behind what every page says of its intervals.
    """
    parts = [f"# {title}", f"{NOTE} {note}".strip()]
    for heading, content in (sections | {"Runs that failed": "\n".join(f"- {line}" for line in failed)}).items():
        if content:
            parts += [f"## {heading}", content if isinstance(content, str) else markdown.table(content)]
    text = "\n\n".join(parts) + "\n"
    files.write_text(out / "report.md", text)
    print(text)
    raise typer.Exit(1 if failed else 0)
