"""Measure trained runs beyond their scores: gather once from run folders, read again whenever a report is drawn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.evaluation import significance
from hyperctr.evaluation.significance import Score
from hyperctr.runs import parallel
from hyperctr.studies.study import Cells, Measurement, Row

if TYPE_CHECKING:
    from hyperctr.runs.open import Opened

PerRow = Mapping[str, list[dict]]
"""What was measured of each row's runs, by row."""


def per_run(
    of: Callable[[Opened, Path], dict], wanted: Callable[[Row], bool], file: str = "measures.json"
) -> Measurement:
    """Return a measurement of single runs, as {row: [of each run]} in one file.

    Args:
        of: measures an opened run, whose folder is given too. Its answer is kept in the run's folder.
        wanted: chooses rows.
        file: its name, in the study's folder and in those of the runs.
    """

    def gather(cells: Cells, out: Path, new: bool) -> None:
        from hyperctr.runs.open import open_run

        kept = files.read_json(out / file) if (out / file).exists() else {}
        found = {row: {each["seed"]: each for each in some} for row, some in kept.items()}
        for name, cell in cells.items():
            folder = parallel.folder_of(out, name)
            if not wanted(cell.row) or not (folder / "report.json").exists():
                continue
            if not (folder / file).exists():
                opened = open_run(folder)
                measured = {"seed": opened.prepared.run.train.seed} | of(opened, folder)
                files.write_json(folder / file, measured, indent=None)
            each = files.read_json(folder / file)
            found.setdefault(cell.row.name, {})[each["seed"]] = each
        lines = {row: [some[seed] for seed in sorted(some)] for row, some in found.items()}
        files.write_json(out / file, lines, indent=None)

    def read(out: Path, facts: Mapping[str, Any]) -> PerRow:
        found = files.read_json(out / file) if (out / file).exists() else {}
        seeds = facts["seeds"]
        return {row: [each for each in found.get(row, []) if each["seed"] in seeds] for row, _ in facts["rows"]}

    return Measurement(gather, read)


def read_lines(name: str) -> Callable[[Path, Mapping[str, Any]], list[dict]]:
    """Return a reader of a CSV file in a study's folder, with numbers as numbers; [] where there is no file."""

    def parsed(text: str) -> Any:
        try:
            return float(text) if text else math.nan
        except ValueError:
            return text == "True" if text in ("True", "False") else text

    return lambda out, facts: [{key: parsed(text) for key, text in line.items()} for line in files.read_csv(out / name)]


def keep_lines(
    path: Path, lines: Sequence[Mapping], read: Collection[tuple[str, ...]], key: Sequence[str] = ("row", "seed")
) -> None:
    """Write lines of runs as CSV, and keep the lines of runs that were not read, whose folders are gone.

    Args:
        path: the file.
        lines: of the runs that were read.
        read: which runs these are: the texts of the columns `key`.
        key: names a run.
    """
    kept = (line for line in files.read_csv(path) if tuple(line[name] for name in key) not in read)
    files.write_csv(path, [*kept, *lines])


def pairs(measured: PerRow, row: str, other: str) -> list[tuple[dict, dict]]:
    """Return what was measured of two rows, seed by seed, where both have it."""
    theirs = {run["seed"]: run for run in measured.get(other, [])}
    return [(run, theirs[run["seed"]]) for run in measured.get(row, []) if run["seed"] in theirs]


def mean_known(values: Sequence[float | None]) -> float:
    """Return the mean of the values that are known; NaN where none is."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def points(at: Sequence[float], values: Sequence[Sequence[float | None]]) -> list[tuple[float, Score]]:
    """Return means over seeds with their intervals at each place where they are known.

    Args:
        at: the places. values: one sequence per seed, with a value per place.
    """
    found = []
    for k, x in enumerate(at):
        known = [one[k] for one in values if one[k] is not None]
        if known:
            found.append((float(x), Score(*significance.mean_interval(known), len(known))))
    return found
