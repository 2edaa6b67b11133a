"""The papers' studies as commands: each is data, a few rows of settings, and one runner does them all.

DIR/
    base.toml      the run that all rows share
    bench.json     what is compared, on which data (by hash), and, when it is done, the scores and verdicts
    results.csv    a line a run, as each ends
    runs/          a folder a run; called again, only what is missing runs, and a killed run goes on
    table.csv, report.md, NAME.png
    curve.csv, tsne.json, measures.json, masks.csv, rounds.csv, replay.csv
                   what is drawn or told, where that is more than scores
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from hyperctr import config, files
from hyperctr.experiments.results import append_result, read_results, result
from hyperctr.experiments.sweep import baseline, seeded
from hyperctr.runs import parallel
from hyperctr.runs.digest import digest
from hyperctr.strict import did_you_mean
from hyperctr.studies import aqcl, hyperctr, lt4rec, marn, mian, study
from hyperctr.studies.lt4rec import speed
from hyperctr.studies.study import Bench, Row

COLUMNS: dict[str, type] = {
    "data": str, "split": str, "leaky": bool, "row": str, "model": str, "seed": int, "auc": float, "auc_low": float,
    "auc_high": float, "user_auc": float, "positive_auc": float, "logloss": float, "logloss_1to1": float,
    "valid_auc": float, "best_epoch": float, "seconds": float, "rows": int, "run": str, "status": str,
}  # fmt: skip
"""Columns of results.csv: those of a sweep, with the row of the table and the digest of the run."""


class Paper(NamedTuple):
    """A paper's studies: which rows they compare, the published numbers, and what is written of them."""

    rows: ModuleType
    published: ModuleType
    verdicts: ModuleType


PAPERS = {
    package.__name__.rpartition(".")[2]: Paper(package.rows, package.published, package.verdicts)
    for package in (hyperctr, aqcl, mian, marn, lt4rec)
}
"""By the first word of a bench's name; HyperCTR's own have one word."""
UNTRAINED = {speed.BENCH.name: speed}
"""Benches that need no data and train nothing, with a `run` and a `redraw` of their own."""
BENCHES: dict[str, Bench] = {name: bench for paper in PAPERS.values() for name, bench in paper.rows.BENCHES.items()}
BENCHES |= {name: module.BENCH for name, module in UNTRAINED.items()}


def paper_of(name: str) -> Paper:
    """The paper of a bench."""
    return PAPERS.get(name.partition("-")[0], PAPERS["hyperctr"])


def model_of(name: str) -> str:
    """The model of a bench's run that names none."""
    return paper_of(name).rows.MODEL


def find(name: str) -> Bench:
    """The bench of this name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name not in BENCHES:
        raise ValueError(f"unknown bench {name!r}, {did_you_mean(name, BENCHES) or 'known: ' + ', '.join(BENCHES)}")
    return BENCHES[name]


def column_of(text: str, name: str) -> str:
    """The paper's data set that `--paper` names."""
    published = paper_of(name).published
    known = published.COLUMNS | {"all": published.ALL}
    if text.lower() not in known:
        raise ValueError(f"--paper takes one of {', '.join(known)}, got {text!r}")
    return known[text.lower()]


def on_split(base: config.Run, name: str, text: str | None) -> config.Run:
    """The run on the split that `--split` names: temporal, or the one of the bench's paper."""
    own = paper_of(name).rows.split_of(Path(base.data.path).name)
    known = {None: base.split.kind, "temporal": "temporal", "paper": own}
    if text not in known:
        raise ValueError(f"--split takes temporal or paper, got {text!r}")
    return replace(base, split=replace(base.split, kind=known[text]))


def run_of(base: config.Run, row: Row, seed: int, models: Mapping, out: Path | None = None) -> config.Run:
    """The run of a row under a seed, in the bench's folder `out`.

    Raises:
        ValueError: a value does not parse or lies outside its range.
    """
    found = seeded(base, seed) if row.model == base.model_name else baseline(base, row.model, seed)
    if row.wrapper_name:
        found = replace(found, wrapper_name=row.wrapper_name, wrapper=row.wrapper)
    tickets = (f"model.masks={json.dumps(str(out / 'runs' / _cell(row.tickets, seed)))}",) if row.tickets else ()
    return config.read_run(config.to_tables(found), set=(*tickets, *row.sets))


def run(
    name: str,
    base: config.Run,
    values: list[str],
    seeds: int,
    out: Path,
    jobs: int,
    column: str | None,
    watch: Callable[[dict[str, str], int, int], None],
    say: Callable[[str], None],
    given: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> dict:
    """Run what is missing of a bench, then write its table, report and figure.

    Args:
        name: one of BENCHES.
        base: what all rows share.
        values: grid instead of the paper's; [] for the paper's.
        seeds: runs a row; of what is timed, repeats; a study of a single seed takes the first.
        out: the bench's folder.
        jobs: processes at a time; `threads` times one after another.
        column: which of the paper's data sets stands beside ours; "" all, None the one that the data are named after.
        watch: shown about once a second: what each running cell does, cells done, cells in all.
        say: prints one line.
        given: settings of what AQCL's rows wear, by name, beside what the base run wears.
        only: names of the rows to run, others being left for another call; () for all.

    Returns:
        what bench.json holds.

    Raises:
        ValueError: an unknown bench; a value or row that cannot be; a folder that holds something else or cannot be
            written; data, or settings of a row, that have changed since the bench began.
    """
    from hyperctr.data import catalog, read
    from hyperctr.models import MODELS

    bench, paper = find(name), paper_of(name)
    where = catalog.find(base.data.path)
    dataset = read.read(where, modalities=base.data.modalities or None)
    if given and paper is not PAPERS["aqcl"]:
        raise ValueError(f"--wear is for AQCL's studies ({', '.join(aqcl.rows.BENCHES)}), not for {bench.name}")
    bare, grid, plan, notes = paper.rows.planned(bench, base, values, dataset, given or {})
    notes = [*notes, *(study.noisy() if bench.timed else ())]
    numbers = [base.train.seed + k for k in range(1 if bench.single else seeds)]
    chosen = _chosen(plan, only)
    cells = {
        _cell(row.name, seed): (row, seed, run_of(bare, row, seed, MODELS, out))
        for seed in numbers
        for row in chosen
        if row.model in MODELS
    }
    with parallel.claim(out, base, f"the bench {name}"):
        pass  # for now: the claim should last until the end of the bench
    facts = {
        "bench": name, "title": bench.title, "data": dataset.name, "files": digest_of(where),
        "split": base.split.kind, "leaky": base.split.kind != "temporal", "seeds": numbers, "values": grid,
        "rows": [[row.name, row.model if row.model in MODELS else ""] for row in plan],
        "axis": bench.axis, "log": bench.log,
        "paper": paper.published.column(dataset.name) if column is None else column,
        "notes": notes, "config": digest(_anywhere(base)), "commit": _commit(), "cores": os.cpu_count(),
        "versions": {"hyperctr": _version(), "python": platform.python_version(), **_versions("torch", "numpy")},
    }  # fmt: skip
    facts |= paper.rows.facts(bench, base, plan, dataset)
    done = {_cell(row["row"], row["seed"]): row["run"] for row in _results(out, name) if row["status"] == "ok"}
    if other := [
        x for x, (_, _, what) in cells.items() if done.get(x, digest(_anywhere(what))) != digest(_anywhere(what))
    ]:
        raise ValueError(f"{out} holds {other[0]} of other settings; choose another --out")
    good, results = set(done) & set(cells), out / "results.csv"
    missing = {cell: what for cell, what in cells.items() if cell not in good}
    _remember(out, facts, bool(missing))
    if good:
        say(f"{len(good)} of {len(cells)} runs are done already, {len(missing)} to go")

    def ended(cell: str, got: dict | BaseException) -> None:
        row, seed, what = missing[cell]
        line = result(base, got) | {"row": row.name, "model": row.model, "seed": seed, "run": digest(_anywhere(what))}
        columns, scores = _columns(name), {}
        if not isinstance(got, BaseException):
            scores = got["test"] | {f"valid_{column}": score for column, score in got["valid"].items()}
        line |= {column: scores.get(column, float("nan")) for column in columns if column not in line}
        append_result(results, line, columns)
        done = f"test AUC {line['auc']:.4f}, {line['seconds']:.0f} s"
        if bench.timed:
            done = f"{line['seconds']:.2f} s an epoch"
        say(f"{cell}: {done if line['status'] == 'ok' else line['status']}")

    alone = {"work": time_epoch, "fresh": True} if bench.timed else {}
    try:
        over = len(good)
        for later in (False, True):  # those that train the tickets of another row come behind all others
            wave = {cell: what for cell, (row, _, what) in missing.items() if bool(row.tickets) == later}
            if later and not wave:
                break
            parallel.run_all(
                {cell: (what, out / "runs" / cell) for cell, what in wave.items()},
                1 if alone else jobs,
                lambda doing, new, over=over: watch(doing, over + new, len(cells)),
                ended,
                **alone,
            )
            over += len(wave)
    except KeyboardInterrupt:
        say("stopped; the same command continues")
        raise
    paper.rows.keep(bench, {cell: (row, seed) for cell, (row, seed, _) in cells.items()}, out, bool(missing))
    return redraw(out)


def redraw(out: Path) -> dict:
    """Write table, report and figure of a bench again from bench.json and results.csv; gives what bench.json holds.

    Raises:
        ValueError: the folder does not hold a bench.
    """
    facts = _facts(out)
    if facts is None:
        raise ValueError(f"{out} does not hold a bench: there is no bench.json")
    if facts["bench"] in UNTRAINED:
        return UNTRAINED[facts["bench"]].redraw(out)
    wanted = {_cell(row, seed) for row, _ in facts["rows"] for seed in facts["seeds"]}
    last = {_cell(row["row"], row["seed"]): row for row in _results(out, facts["bench"])}
    return paper_of(facts["bench"]).verdicts.write(facts, [row for cell, row in last.items() if cell in wanted], out)


def time_epoch(run_toml: str, folder: str) -> dict:
    """Train one epoch and give the run's report, its seconds those of the epoch alone; leaves no folder."""
    from hyperctr.runs import train

    seconds = []

    def stopwatch(batches: Iterable, what: str, total: int) -> Iterator:
        began = time.perf_counter()
        yield from batches
        if what.startswith("epoch"):
            seconds.append(time.perf_counter() - began)

    got = train.train(config.read_run(tomllib.loads(run_toml)), progress=stopwatch)
    return got | {"seconds": seconds[0]}


def digest_of(path: Path) -> str:
    """16 hexadecimal digits of the names and contents of a data set's files."""
    found = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        found.update(f"{file.relative_to(path)}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                found.update(block)
    return found.hexdigest()[:16]


def _chosen(plan: list[Row], names: Sequence[str]) -> list[Row]:
    """The rows of these names, whatever their case, and those whose tickets they train; all if there are no names.

    Raises:
        ValueError: there is no such row.
    """
    known = {row.name.lower(): row for row in plan}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ValueError(f"there is no row {unknown[0]!r}; the rows are {', '.join(row.name for row in plan)}")
    wanted = {known[name.lower()].name for name in names} or {row.name for row in plan}
    wanted |= {row.tickets for row in plan if row.name in wanted}
    return [row for row in plan if row.name in wanted]


def _cell(row: str, seed: int) -> str:
    """Name of a run and of its folder."""
    return f"{re.sub('[^A-Za-z0-9 .,=_-]', '-', row)} seed={seed}"


def _facts(out: Path) -> dict | None:
    path = out / "bench.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))["facts"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not what a bench writes") from None


def _remember(out: Path, facts: dict, missing: bool) -> None:
    """Write the facts before anything runs; refuse data other than those the runs here were made of.

    What had to be said of earlier runs stays; what is said now counts only if a run is missing.
    """
    held = _facts(out)
    if held and held["files"] != facts["files"]:
        raise ValueError(f"the files of {facts['data']} have changed since {out} was begun; choose another --out")
    if held:
        facts["notes"] = list(dict.fromkeys([*held["notes"], *(facts["notes"] if missing else ())]))
    files.write_text(out / "bench.json", json.dumps({"facts": facts}, indent=1))


def _columns(name: str) -> dict[str, type]:
    return COLUMNS | paper_of(name).rows.COLUMNS


def _results(out: Path, name: str) -> list[dict]:
    path = out / "results.csv"
    return read_results(path, _columns(name)) if path.exists() else []


def _anywhere(run: config.Run) -> config.Run:
    """The run on however many threads, wherever the bench's folder is: what its digest is taken of."""
    from hyperctr.models.lt4rec import Sharing

    if isinstance(run.model, Sharing) and run.model.masks:
        run = replace(run, model=replace(run.model, masks=Path(run.model.masks).name))
    return replace(run, train=replace(run.train, threads=0))


def _commit() -> str | None:
    """The commit of this code, with + where files differ from it; None outside a repository that holds it."""
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


def _version() -> str:
    return _versions("hyperctr")["hyperctr"]


def _versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in packages}
