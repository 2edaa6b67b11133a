"""Say in bench.json what a study compares, on which data, by which code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import config
from hyperctr.data.split import split
from hyperctr.runs.digest import digest
from hyperctr.studies.study import Row, Setup, noise

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset


def facts_of(
    setup: Setup, base: config.Run, plan: list[Row], dataset: Dataset | None, seeds: list[int], paper_set: str | None
) -> dict[str, Any]:
    """Return what is compared on what.

    Args:
        setup: the call. base: what all rows share, as it was given.
        plan: the rows. dataset: None for planted worlds.
        seeds: of the runs.
        paper_set: the paper's; None for the one after which the data are named.
    """
    from hyperctr.data import catalog

    study, grid = setup.study, setup.study.grid
    name = dataset.name if dataset else f"planted worlds: {', '.join(study.worlds)}"
    facts = {
        "bench": study.name, "title": study.title, "data": name,
        "files": digest_of(catalog.find(base.data.path)) if dataset else "made here, one world per seed",
        "split": base.split.kind, "leaky": _is_leaky(base, dataset), "seeds": seeds,
        "values": list(setup.values),
        "rows": [[row.name, row.model] for row in plan],
        "axis": grid.axis if grid else "", "log": bool(grid and grid.log),
        "paper": study.paper.like(name) if paper_set is None else paper_set,
        "notes": [*study.notes(setup, dataset), *(noise() if study.timed else ())],
        "config": short_digest(base), "commit": commit(), "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()} | _versions("hyperctr", "torch", "numpy"),
        "over": {row.name: row.over for row in plan if row.over},
    }  # fmt: skip
    if study.source:
        facts["source"] = study.source
    return facts | study.facts(setup, plan, dataset)


def _is_leaky(base: config.Run, dataset: Dataset | None) -> bool:
    """Return whether the rows' split is leaky; of a split that the data give, that depends on their times."""
    if base.split.kind == "given" and dataset:
        return split(dataset.interactions, "given", valid=base.split.valid).leaky
    return base.split.kind != "temporal"


def digest_of(path: Path) -> str:
    """Return 16 hexadecimal digits of the names and contents of a data set's files."""
    found = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        found.update(f"{file.relative_to(path)}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                found.update(block)
    return found.hexdigest()[:16]


def short_digest(run: config.Run) -> str:
    """Return the digest of a run on any number of threads; of the folder of its masks, only the name counts."""
    from hyperctr.models.lt4rec import Sharing

    if isinstance(run.model, Sharing) and run.model.masks:
        run = replace(run, model=replace(run.model, masks=Path(run.model.masks).name))
    return digest(replace(run, train=replace(run.train, threads=0)))


def commit() -> str | None:
    """Return the commit of this code, with + where files differ from it; None outside a repository that has it."""
    here = Path(__file__)

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", here.parent, *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in packages}
