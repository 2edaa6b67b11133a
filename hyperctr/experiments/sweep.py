"""Sweep granularity x depth x seeds: each cell is a run in its own process and folder.

Granularity is that of the states (the time slices of Eq. 5). Where the base run reads links of the past, a second grid
has the links instead: none, of the whole past, per slice, with a half-life, as of the start of periods of each width.

`results.csv` gets a row when a cell ends, also if it failed. A sweep that is stopped and called again runs the cells
that have no good row yet, and continues a half-trained cell from its checkpoint.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hyperctr import config
from hyperctr.experiments import results as results_module
from hyperctr.experiments import settings, sweep_report
from hyperctr.runs import parallel

# settings of their own, not of the model that is swept: they are small, and stop by validation AUC
BASELINES: dict[str, dict] = {
    "popularity": {"train": {"epochs": 3, "lr": 0.05, "batch_size": 4096, "l2": 0.0}, "model": {}},
    "mf": {"train": {"epochs": 30, "lr": 3e-3, "batch_size": 1024, "l2": 1e-3}, "model": {}},
}

VARIED = {"slices.every": "--every", "slices.count": "--every", "model.depth": "--depth"}
"""Keys that a sweep varies, and the option that says how."""
OF_LINKS = {"past": "links", "slice": "period_links", "recent": "recent_links"}
"""The part of `data.past` that each kind of results.LINKS reads."""
OF_BASELINES = {
    "patience": 3, "eval_every": 1.0, "optimiser": "adam", "schedule": "constant", "warmup": 0, "id_dropout": 0.0,
}  # fmt: skip
"""How popularity and static MF are trained where the base run has other values: they read ids alone."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: a baseline (no granularity, no depth), or the model at one granularity and depth."""

    model: str
    every: str
    """Width of the time slices, or of the periods of the links."""
    depth: int | None
    seed: int
    links: str = ""
    """One of results.LINKS, of a cell of the second grid."""

    @property
    def name(self) -> str:
        """The name of the cell's folder."""
        model = self.model.rpartition(":")[2]  # "mine.py:Mine" is no name for a folder
        if self.depth is None:
            return f"{model} seed={self.seed}"
        links = f" links={self.links}" if self.links else ""
        every = f" every={self.every}" if self.every else ""
        return f"{model}{links}{every} depth={self.depth} seed={self.seed}"


def cells(
    base: config.Run, every: list[str], depths: list[int], seeds: int, others: Iterable[str] = BASELINES
) -> list[Cell]:
    """List all runs of a sweep: the baselines (`others`), granularity x depth, and the links at the first depth.

    A single seed is the seed of the base run.
    """
    numbers, name = [base.train.seed + k for k in range(seeds)], base.model_name
    found = [Cell(model, "", None, seed) for seed in numbers for model in others]
    found += [Cell(name, width, depth, seed) for seed, width, depth in itertools.product(numbers, every, depths)]
    if not _reads_links(base):
        return found
    found += [Cell(name, "", depths[0], seed, "none") for seed in numbers]
    grid = itertools.product(numbers, OF_LINKS, every)
    return found + [Cell(name, width, depths[0], seed, links) for seed, links, width in grid]


def run_of(base: config.Run, cell: Cell) -> config.Run:
    """Make the run of one cell: the base run with the granularity, depth, links and seed of the cell.

    Where links are read, they are of the same periods in all cells of granularity x depth: only the states differ.
    """
    if cell.depth is None:
        return baseline(base, cell.model, cell.seed)
    run = replace(seeded(base, cell.seed), model=replace(base.model, depth=cell.depth))
    if not cell.links:
        return replace(run, slices=base.slices.cut_by(cell.every))
    parts = [part for part in _past(base) if part not in OF_LINKS.values()]
    parts += [OF_LINKS[cell.links]] if cell.links != "none" else []
    data = replace(run.data, past=tuple(parts) or "none", past_every=cell.every or run.data.past_every)
    return replace(run, data=data)


def _past(base: config.Run) -> tuple[str, ...]:
    """Return the parts of the past that the base run reads."""
    from hyperctr.runs.past import past_parts  # imports torch

    return past_parts(base.data, frozenset())


def _reads_links(base: config.Run) -> bool:
    return bool({*OF_LINKS.values()} & {*_past(base)})


def baseline(base: config.Run, model: str, seed: int) -> config.Run:
    """Make the run of another model on the data and rows of the base run, with the settings of BASELINES if any.

    Baselines and referees read what they always read of the past; `data.past` is for models.
    """
    from hyperctr.models import find_model  # imports torch

    kind = find_model(model).Config
    run = replace(seeded(base, seed), model_name=model, model=kind(), wrapper_name="", wrapper=None)
    if model in BASELINES or model in results_module.REFEREES:
        run = replace(run, data=replace(run.data, past=config.Data.past))
    if model not in BASELINES:
        return run
    train = replace(run.train, **OF_BASELINES, **BASELINES[model]["train"])
    settings = kind(**BASELINES[model]["model"])
    return replace(run, model=settings, train=train, data=replace(run.data, history=1))


def seeded(base: config.Run, seed: int) -> config.Run:
    """Return the base run with another seed of its weights, order, split and draws."""
    train, split, evaluate = (replace(part, seed=seed) for part in (base.train, base.split, base.evaluate))
    return replace(base, train=train, split=split, evaluate=evaluate)


def sweep(
    base: config.Run,
    every: list[str],
    depths: list[int],
    seeds: int,
    out: Path,
    jobs: int,
    watch: Callable[[dict[str, str], int, int], None],
    say: Callable[[str], None],
    sets: Sequence[str] = (),
    referees: bool = True,
) -> list[dict]:
    """Run every missing cell, then write report.md and the figures.

    Args:
        base: the run that all cells share.
        every: widths of a time slice, such as "7d" or "3mo"; "q8" for eight slices of equal counts.
        depths: numbers of HGCN layers.
        seeds: runs per cell; they differ in weights, order and draws.
        out: the sweep's folder.
        jobs: processes at a time.
        watch: called about once a second with what each running cell does, the cells done, and all cells.
        say: prints one line.
        sets: the words of `--set` that made the base run. It is said which rows do not take one.
        referees: whether the referees run too, once per seed, as the baselines do.

    Returns:
        the rows of results.csv.

    Raises:
        ValueError: a granularity or depth cannot be parsed; `sets` has a key that the sweep varies; the folder has
            another sweep in it or cannot be written.
    """
    if "depth" not in {field.name for field in fields(base.model)}:
        raise ValueError(f"a sweep varies depth, which {base.model_name} has not; use model.name = hyperctr")
    for key in settings.keys_of(sets):
        if key in VARIED:
            given = {"--every": every, "--depth": depths}[VARIED[key]]
            raise ValueError(
                f"--set {key} and {VARIED[key]} {','.join(map(str, given))} name two values of what the sweep varies; "
                f"leave out --set {key}"
            )
    plan = cells(base, every, depths, seeds, [*BASELINES, *(results_module.REFEREES if referees else ())])
    runs = {cell: run_of(base, cell) for cell in plan}  # a bad granularity or depth stops here
    with parallel.claim(out, base, "a sweep"):
        for line in settings.say_not_taken(base, {cell.model: run for cell, run in runs.items()}, sets):
            say(line)
        return _sweep(base, plan, runs, out, jobs, watch, say)


def _sweep(
    base: config.Run,
    plan: list[Cell],
    runs: Mapping[Cell, config.Run],
    out: Path,
    jobs: int,
    watch: Callable[[dict[str, str], int, int], None],
    say: Callable[[str], None],
) -> list[dict]:
    """Run every missing cell of a plan whose folder is claimed, then write report.md and the figures."""
    results = out / "results.csv"
    rows = results_module.read_results(results) if results.exists() else []
    if rows and "links" not in rows[0] and any(cell.links for cell in plan):
        raise ValueError(f"{results} is of an older version, which had no links; choose another --out")
    good = {_key(row) for row in rows if row["status"] == "ok"}
    missing = {cell.name: cell for cell in plan if _key_of(cell) not in good}
    done, told = len(plan) - len(missing), set()
    if done:
        say(f"{done} of {len(plan)} runs are done already, {len(missing)} to go")

    def ended(name: str, got: dict | BaseException) -> None:
        for note in () if isinstance(got, BaseException) else got.get("notes", ()):
            if note not in told:
                say(f"note ({name}): {note}")
                told.add(note)
        row = _row(base, missing[name], got)
        results_module.append_result(results, row)
        say(f"{name}: {_line(row)}")

    try:
        parallel.run_all(
            {name: (runs[cell], parallel.folder_of(out, name)) for name, cell in missing.items()},
            jobs,
            lambda doing, new: watch(doing, done + new, len(plan)),
            ended,
        )
    except KeyboardInterrupt:
        say("stopped; the same command continues")
        raise
    rows = _latest(results_module.read_results(results), plan)
    sweep_report.write(rows, out)
    return rows


def redraw(out: Path) -> list[dict]:
    """Write report.md and the figures of a sweep again from its results.csv, and return the rows.

    Raises:
        ValueError: results.csv is missing, empty or not of a sweep.
    """
    rows = {_key(row): row for row in results_module.read_results(out / "results.csv")}
    named = results_module.named(list(rows.values()))
    sweep_report.write(named, out)
    return named


def _row(base: config.Run, cell: Cell, got: dict | BaseException) -> dict:
    """Make a row of results.csv from a run's report or error."""
    cells = {"model": cell.model, "every": cell.every, "depth": "" if cell.depth is None else cell.depth}
    row = results_module.result(base, got) | cells | {"seed": cell.seed, "links": cell.links}
    return {name: row[name] for name in results_module.COLUMNS} | results_module.own_metrics(base, got)


def _line(row: dict) -> str:
    if row["status"] != "ok":
        return row["status"]
    return f"test AUC {row['auc']:.4f}, user AUC {row['user_auc']:.4f}, {row['seconds']:.0f} s"


def _key(row: dict) -> tuple:
    return row["model"], row["every"], str(row["depth"]), str(row["seed"]), row.get("links", "")


def _key_of(cell: Cell) -> tuple:
    return cell.model, cell.every, "" if cell.depth is None else str(cell.depth), str(cell.seed), cell.links


def _latest(rows: list[dict], plan: list[Cell]) -> list[dict]:
    """Return the last row of every planned cell."""
    last = {_key(row): row for row in rows}
    return results_module.named([last[_key_of(cell)] for cell in plan if _key_of(cell) in last])
