"""Run the papers' studies: each is a `Study`, a few rows of settings, and one runner trains and judges them all.

DIR/
    base.toml      the run that all rows share
    bench.json     what is compared, on which data (by hash), and, when it is done, the scores and verdicts
    results.csv    one line per run, written as the run ends
    runs/          one folder per run; called again, only what is missing runs, and a killed run continues
    worlds/        planted worlds, where the study makes its own data
    table.csv, report.md, NAME.png
    curve.csv, tsne.json, measures.json, masks.csv, rounds.csv, replay.csv, worlds.json
                   what a study's measurements found beyond scores
"""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import config, files, presets
from hyperctr.experiments.results import append_result, read_results, result
from hyperctr.experiments.settings import not_taken, say_not_taken
from hyperctr.experiments.sweep import baseline, seeded
from hyperctr.runs import parallel
from hyperctr.studies import beside, find, tables, worlds
from hyperctr.studies import files as reports
from hyperctr.studies.facts import facts_of, short_digest
from hyperctr.studies.study import Cell, Cells, Findings, Row, Scores, Setup, Study

if TYPE_CHECKING:
    from hyperctr.data.dataset import Dataset

COLUMNS: dict[str, type] = {
    "data": str, "split": str, "leaky": bool, "row": str, "model": str, "seed": int, "auc": float, "auc_low": float,
    "auc_high": float, "user_auc": float, "user_session_auc": float, "sessions": float, "positive_auc": float,
    "logloss": float, "logloss_1to1": float, "valid_auc": float, "best_epoch": float, "seconds": float, "rows": int,
    "run": str, "status": str,
}  # fmt: skip
"""Columns of results.csv: those of a sweep, with the row of the table and the digest of the run."""
CAREFUL = {"negatives": 1000, "max_positives": 20_000, "valid_negatives": 100, "valid_positives": 5_000}
"""How a study scores its rows, stated so that another default leaves its numbers as they are."""
Watch = Callable[[dict[str, str], int, int], None]
"""Is called about once per second with what each running cell does, cells done, cells in all."""
Say = Callable[[str], None]
"""Prints one line."""


@dataclass(frozen=True)
class Options:
    """What a call may choose beyond the run that all rows share."""

    values: Sequence[str] = ()
    """Values instead of the paper's."""
    seeds: int = 0
    """Runs per row, or repeats of what is timed; 0 for the study's own number."""
    paper_set: str | None = None
    """The paper's data set to show next to ours, as `data_set` gives it; None for the one with the name of the data."""
    wrappers: Mapping[str, Any] = field(default_factory=dict)
    """Settings of wrappers by name, where the study compares wrappers."""
    rows: Sequence[str] = ()
    """Names of the rows to run, while other rows wait for another call; () for all."""
    scale: float = 1.0
    """Factor of the users of every planted world."""
    masks: Path | None = None
    """A finished run to time, for a study that trains nothing."""
    jobs: int = 1
    """Processes at a time; epochs are timed one after another."""
    sets: Sequence[str] = ()
    """The words of `--set` that made the run that all rows share; it is said which rows do not take one."""
    referees: bool = True
    """Whether the referees run beside the study's rows, unless it times its rows."""


def _ignore(*given: Any) -> None:
    pass


def run(
    study: Study,
    base: config.Run | None,
    out: Path,
    options: Options = Options(),
    watch: Watch = _ignore,
    say: Say = _ignore,
) -> dict:
    """Run what is missing of a study, then write its table, report and figures.

    Args:
        study: what is compared.
        base: what all rows share; None where the study trains nothing.
        out: the study's folder.
        options: what else this call chooses.
        watch: shows how far the runs are.
        say: prints one line.

    Returns:
        the content of bench.json.

    Raises:
        ValueError: a value or row that cannot be; a folder that has something else or cannot be written; data, or
            settings of a row, that have changed since the study began.
    """
    if study.untrained:
        return study.untrained.run(options, out, say)
    setup = _setup(study, base, options)
    dataset = _read(study, base)
    plan = study.rows(setup, dataset)
    referees = beside.rows_of(plan) if options.referees and not study.timed else []
    numbers = [base.train.seed + k for k in range(1 if study.one_seed else options.seeds or study.seeds)]
    cells = _cells(setup, _chosen([*plan, *referees], options.rows), numbers, out, options.scale)
    taken = {cell.row.name: cell.run for cell in cells.values()}
    for key, names in not_taken(base, taken, options.sets).items():
        if set(names) == set(taken):
            raise ValueError(
                f"--set {key} reaches no row of {study.name}: each row has a value of its own; leave it out"
            )
    for line in say_not_taken(base, taken, options.sets):
        say(line)
    with parallel.claim(out, base, f"the bench {study.name}"):
        facts = facts_of(setup, base, plan, dataset, numbers, options.paper_set)
        facts |= {"referees": beside.facts_of(plan, referees)} if options.referees and not study.timed else {}
        missing = _missing(cells, study, out)
        _remember(out, facts, bool(missing))
        if len(missing) < len(cells):
            say(f"{len(cells) - len(missing)} of {len(cells)} runs are done already, {len(missing)} to go")
        worlds.make(missing, {world: users * options.scale for world, users in study.worlds.items()})
        _train(study, missing, len(cells), out, options.jobs, watch, say)
        own = {name: cell for name, cell in cells.items() if cell.row not in referees}
        for measurement in study.measurements.values():
            measurement.gather(own, out, bool(missing))
        return redraw(out, study)


def redraw(out: Path, study: Study | None = None) -> dict:
    """Write table, report and figures again from bench.json and results.csv; return the content of bench.json.

    Args:
        out: the study's folder.
        study: None for the one that the folder names.

    Raises:
        ValueError: the folder does not have a study.
    """
    facts = _read_facts(out)
    if facts is None:
        raise ValueError(f"{out} has no study: there is no bench.json")
    study = study or find(facts.get("source") or facts["bench"])
    if study.untrained:
        return study.untrained.redraw(out)
    names = [row for row, *_ in (*facts["rows"], *facts.get("referees", []))]
    wanted = {_cell(row, seed) for row in names for seed in facts["seeds"]}
    last = {_cell(line["row"], line["seed"]): line for line in _results(out, study)}
    lines = [line for name, line in last.items() if name in wanted]
    measured = {name: measurement.read(out, facts) for name, measurement in study.measurements.items()}
    scores = Scores(study, facts, reports.finished(facts, lines), measured, beside.finished(facts, lines))
    return write(scores, lines, out)


def write(scores: Scores, lines: list[dict], out: Path) -> dict:
    """Judge scores, and write table, report and figures; return the content of bench.json.

    Args:
        scores: of all runs.
        lines: of results.csv; a study's run that failed is said, and a referee's is the reason in its row.
        out: the study's folder.
    """
    study, own = scores.study, {name for name, _ in scores.facts["rows"]}
    failed = reports.failed([line for line in lines if line["row"] in own])
    referees = beside.entries(scores, beside.failures(scores.facts, lines))
    rows = (study.entries or tables.entries)(scores)
    warnings = [*scores.facts["notes"], *(study.caveats or tables.unlearned)(scores), *tables.torn(scores)]
    found = Findings(scores, rows, study.judge(scores), study.more(scores), warnings, failed, referees)
    drawn = (study.figures or tables.figures)(found)
    return reports.write(found, (study.table or tables.table)(found), drawn, out)


# --- what a call asks for ------------------------------------------------------------------------------------------


def data_set(study: Study, text: str) -> str:
    """Return the paper's data set that `--paper` names; several are separated by commas.

    Raises:
        ValueError: it has none of this name.
    """
    known = dict(study.paper.sets) | {"all": ", ".join(study.paper.sets.values())}
    if text.lower() not in known:
        raise ValueError(f"--paper takes one of {', '.join(known)}, got {text!r}")
    return known[text.lower()]


def on_protocol(study: Study, base: config.Run, name: str | None, sets: Sequence[str] = ()) -> config.Run:
    """Return the run under the protocol that `--protocol` names: temporal, or that of the study's paper.

    Args:
        study: the study.
        base: the run as it was read.
        name: of the protocol; None leaves the run as it is.
        sets: the words of `--set`, which are taken before the protocol.

    Raises:
        ValueError: there is no such protocol.
    """
    if name is None:
        return base
    tables = presets.read_protocol(name)
    if name == "paper":
        tables = study.paper.protocol(Path(base.data.path).name)
    return config.read_run(config.to_tables(base), sets, protocol=tables)


def planted_run(study: Study, sets: Sequence[str] = ()) -> config.Run:
    """Return what the rows of a planted study share, with `--set` words; each row gets a world of its seed.

    Raises:
        ValueError: a word does not parse, or is outside its range.
    """
    data = {"path": "planted"} | dict(study.base.get("data", {}))
    return config.read_run(default_base(study) | {"data": data}, sets)


def default_base(study: Study) -> dict[str, Any]:
    """Return the tables of the run that all rows share where no --base is given: evaluated as carefully as the papers.

    A run of one's own is evaluated faster by default (`config.Evaluate`).
    """
    return dict(study.base) | {"evaluate": CAREFUL | dict(study.base.get("evaluate", {}))}


def _setup(study: Study, base: config.Run, options: Options) -> Setup:
    values = study.values(options.values)
    if not study.accepts_wrapper:
        if options.wrappers:
            raise ValueError(f"--wear is for studies that compare wrappers, not for {study.name}")
        return Setup(study, base, values, sets=tuple(options.sets))
    given = {base.wrapper_name: base.wrapper} if base.wrapper else {}
    bare = replace(base, wrapper_name="", wrapper=None)
    return Setup(study, bare, values, given | dict(options.wrappers), tuple(options.sets))


def _read(study: Study, base: config.Run) -> Dataset | None:
    from hyperctr.data import catalog, read

    if study.worlds:
        return None
    return read.read(catalog.find(base.data.path), modalities=base.data.modalities or None)


def _chosen(plan: list[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows of these names, in any case, and the rows that must run before them; all if there are no names.

    Raises:
        ValueError: there is no such row.
    """
    known = {row.name.lower(): row for row in plan}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ValueError(f"there is no row {unknown[0]!r}; the rows are {', '.join(row.name for row in plan)}")
    wanted = {known[name.lower()].name for name in names} or {row.name for row in plan}
    wanted |= {before for row in plan if row.name in wanted for before in row.after.values()}
    return [row for row in plan if row.name in wanted]


def _cells(setup: Setup, plan: list[Row], seeds: list[int], out: Path, scale: float) -> Cells:
    """Return the run of every row and seed, by the name of its folder."""
    found = {}
    for seed in seeds:
        for row in plan:
            if row.model:
                base = setup.of_preset(row.preset) if row.preset else setup.base
                users = scale * setup.study.worlds.get(row.world, 1.0)
                found[_cell(row.name, seed)] = Cell(row, seed, run_of(base, row, seed, out, users))
    return found


def run_of(base: config.Run, row: Row, seed: int, out: Path = Path(), users: float = 1.0) -> config.Run:
    """Return the run of a row under a seed.

    Args:
        base: what all rows share, or the run of the row's preset.
        row: what this one changes.
        seed: of weights, draws and, where it has one, the planted world.
        out: the study's folder.
        users: thousands of users of the planted world.

    Raises:
        ValueError: a value does not parse, or is outside its range.
    """
    from hyperctr.models import find_model

    sets = [
        f"{key}={json.dumps(str(parallel.folder_of(out, _cell(before, seed))))}" for key, before in row.after.items()
    ]
    if row.world:  # every row trains as the base does, and evaluation draws the same in all worlds
        found = replace(base, train=replace(base.train, seed=seed))
        if row.model != base.model_name:
            found = replace(found, model_name=row.model, model=find_model(row.model).Config())
        found = replace(found, data=replace(base.data, path=str(worlds.place(out, row.world, seed, users))))
    else:
        found = seeded(base, seed) if row.model == base.model_name else baseline(base, row.model, seed)
    if row.wrapper_name:
        found = replace(found, wrapper_name=row.wrapper_name, wrapper=row.wrapper)
    return config.read_run(config.to_tables(found), (*sets, *row.sets))


# --- training ------------------------------------------------------------------------------------------------------


def _missing(cells: Cells, study: Study, out: Path) -> Cells:
    """Return the runs that are not in results.csv yet.

    Raises:
        ValueError: a run is there with other settings.
    """
    done = {_cell(line["row"], line["seed"]): line["run"] for line in _results(out, study) if line["status"] == "ok"}
    if other := [name for name, cell in cells.items() if done.get(name, _digest(cell)) != _digest(cell)]:
        raise ValueError(f"{out} has {other[0]} of other settings; choose another --out")
    return {name: cell for name, cell in cells.items() if name not in done}


def _train(study: Study, missing: Cells, total: int, out: Path, jobs: int, watch: Watch, say: Say) -> None:
    """Train what is missing, and write each run into results.csv as it ends."""
    columns = _columns(study)

    def ended(name: str, got: dict | BaseException) -> None:
        line = _line(missing[name], got, columns)
        append_result(out / "results.csv", line, columns)
        done = f"test AUC {line['auc']:.4f}, {line['seconds']:.0f} s"
        if study.timed:
            done = f"{line['seconds']:.2f} s per epoch"
        say(f"{name}: {done if line['status'] == 'ok' else line['status']}")

    how = {"work": time_epoch, "fresh": True} if study.timed else {}
    over = total - len(missing)
    try:
        for later in (False, True):  # rows that read the folder of another row come after all other rows
            wave = {name: cell for name, cell in missing.items() if bool(cell.row.after) == later}
            if later and not wave:
                break
            parallel.run_all(
                {name: (cell.run, parallel.folder_of(out, name)) for name, cell in wave.items()},
                1 if study.timed else jobs,
                lambda doing, new, over=over: watch(doing, over + new, total),
                ended,
                **how,
            )
            over += len(wave)
    except KeyboardInterrupt:
        say("stopped; the same command continues")
        raise


def _line(cell: Cell, got: dict | BaseException, columns: Mapping[str, type]) -> dict:
    """Return the line of results.csv of a run that has ended."""
    which = {"row": cell.row.name, "model": cell.row.model, "seed": cell.seed, "run": _digest(cell)}
    line, scores = result(cell.run, got) | which, {}
    if not isinstance(got, BaseException):
        scores = got["test"] | {f"valid_{name}": score for name, score in got["valid"].items()}
    return line | {name: scores.get(name, float("nan")) for name in columns if name not in line}


def time_epoch(run_toml: str, folder: str) -> dict:
    """Train one epoch and return the run's report, its seconds those of the epoch alone; leaves no folder."""
    from hyperctr.runs import train

    seconds = []

    def stopwatch(batches: Iterable, what: str, total: int) -> Iterator:
        began = time.perf_counter()
        yield from batches
        if what.startswith("epoch"):
            seconds.append(time.perf_counter() - began)

    got = train.train(config.read_run(tomllib.loads(run_toml)), progress=stopwatch)
    return got | {"seconds": seconds[0]}


# --- files ---------------------------------------------------------------------------------------------------------


def _remember(out: Path, facts: dict, missing: bool) -> None:
    """Write the facts before anything runs; refuse data that have changed since the first runs here.

    Notes on earlier runs stay; a note of this call counts only if a run is missing.
    """
    before = _read_facts(out)
    if before and before["files"] != facts["files"]:
        raise ValueError(f"the files of {facts['data']} have changed since {out} was begun; choose another --out")
    if before:
        facts["notes"] = list(dict.fromkeys([*before["notes"], *(facts["notes"] if missing else ())]))
    files.write_json(out / "bench.json", {"facts": facts})


def _read_facts(out: Path) -> dict | None:
    path = out / "bench.json"
    if not path.exists():
        return None
    try:
        return files.read_json(path)["facts"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not what a bench writes") from None


def _cell(row: str, seed: int) -> str:
    """Return the name of a run and of its folder."""
    return f"{re.sub('[^A-Za-z0-9 .,=_-]', '-', row)} seed={seed}"


def _columns(study: Study) -> dict[str, type]:
    return COLUMNS | dict.fromkeys(study.extra_scores, float)


def _results(out: Path, study: Study) -> list[dict]:
    path = out / "results.csv"
    return read_results(path, _columns(study)) if path.exists() else []


def _digest(cell: Cell) -> str:
    """Return the digest of a run, equal wherever the study's folder is."""
    found = cell.run
    if cell.row.world:
        found = replace(found, data=replace(found.data, path=Path(found.data.path).name))
    return short_digest(found)
