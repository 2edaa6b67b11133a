"""Describe a study: one table or figure of a paper, the rows that it compares, and how they are judged.

`bench.run` runs any `Study`. What it calls, in order: `rows` and `notes` before anything is trained, `measurements`
when runs have ended, then `entries`, `judge`, `caveats`, `table` and `figures`, which read `Scores` and no file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hyperctr import config, presets
from hyperctr.studies.claims import Runs, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperctr.data.dataset import Dataset

TITLES = {
    "lr": "LR", "fm": "FM", "wide_deep": "W&D", "dcn": "DCN", "deepfm": "DeepFM", "xdeepfm": "xDeepFM", "din": "DIN",
    "dien": "DIEN", "gru4rec": "GRU4Rec", "hyperctr": "HyperCTR", "mian": "MIAN", "marn": "MARN",
    "youtubenet": "YoutubeNet", "dupn": "DUPN", "dmf": "DMF", "mmss": "MMSS", "naml": "NAML", "lt4rec": "LT4REC",
    "esmm": "ESMM", "mmoe": "MMoE", "aqcl": "AQCL", "qcl": "QCL", "icl": "ICL", "dropoutnet": "DropoutNet",
    "deepmcp": "DeepMCP", "dmr": "DMR", "ease": "EASE", "itemknn": "item-kNN",
}  # fmt: skip
"""What papers call the models and wrappers."""
MODALITIES = {
    "visual": ("visual", "image", "images", "cover", "thumbnail", "video", "frame", "v"),
    "acoustic": ("acoustic", "audio", "sound", "a"),
    "textual": ("textual", "text", "title", "description", "t"),
}
"""What papers call three modalities, each with the names under which our data may have it."""


@dataclass(frozen=True)
class Row:
    """A row of a table or a point of a curve: one run per seed."""

    name: str
    model: str = "hyperctr"
    """Name of a model, "" for one that is not here yet: its row has no runs."""
    sets: tuple[str, ...] = ()
    """What it changes in the run of its model, as `--set` would."""
    wrapper_name: str = ""
    """Its model's wrapper in training; "" for the wrapper of the shared run."""
    wrapper: Any = None
    """The Config of the wrapper."""
    over: str = ""
    """The row that its gain is measured over."""
    after: Mapping[str, str] = field(default_factory=dict)
    """Keys of its run that take the folder of another row's run under the same seed; that row runs first."""
    world: str = ""
    """The planted world that it is run on, one of the study's `worlds`."""
    preset: str = ""
    """The preset whose settings it has instead of those of the shared run, but for data and protocol; "" for none."""


POPULARITY = Row("popularity", "popularity")


@dataclass(frozen=True)
class Grid:
    """The value in which the rows of a study differ."""

    key: str
    """The key of a run, or of its wrapper, that takes the value."""
    values: tuple[str, ...]
    """The paper's values."""
    axis: str = ""
    """What the values are, below the axis of a figure; "" where they are not drawn along an axis."""
    log: bool = False
    """Whether the axis is logarithmic."""
    read: Callable[[str], Any] = float
    """Reads a value; values are sorted by the result."""
    what: str = "numbers"
    """What the values are, in an error message."""
    allowed: Callable[[Any], bool] = math.isfinite
    """Whether a value that was read can be."""


@dataclass(frozen=True)
class Paper:
    """The paper of a study: its data sets, its split and what it scores."""

    sets: Mapping[str, str] = field(default_factory=dict)
    """Its data sets by their names on the command line."""
    like: Callable[[str], str] = lambda data: ""
    """Gives the paper's data set after which one of ours is named; "" for none."""
    protocol: Callable[[str], Mapping[str, Mapping[str, Any]]] = lambda data: presets.read_protocol("temporal")
    """Gives the paper's tables [split] and [evaluate] for one of our data sets."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a paper's table: by row, the same few numbers for each of its data sets."""

    sets: tuple[str, ...] = ()
    """The data sets of the table."""
    rows: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    what: tuple[str, ...] = ("AUC",)
    """What the numbers of a data set are."""
    default: tuple[str, ...] = ()
    """The data sets to show where none is asked for; () for all."""

    def of(self, row: str, name: str) -> tuple[float | None, ...] | None:
        """Return the numbers of a row on a data set; None where the paper has none."""
        if row not in self.rows or name not in self.sets:
            return None
        place = len(self.what) * self.sets.index(name)
        found = tuple(self.rows[row][place : place + len(self.what)])
        return found if any(x is not None for x in found) else None

    def shown(self, asked: str) -> tuple[str, ...]:
        """Return the data sets to show: those asked for, separated by commas, or the default ones."""
        return tuple(name for name in self.sets if name in asked.split(", ")) or self.default or self.sets


@dataclass(frozen=True)
class Setup:
    """One call of a study: what its rows share, and which values they take."""

    study: Study
    base: config.Run
    values: tuple[str, ...] = ()
    """The values of the study's grid, in order."""
    wrappers: Mapping[str, Any] = field(default_factory=dict)
    """Settings of wrappers by name, where they are given."""
    sets: tuple[str, ...] = ()
    """The words of `--set`, which a row of a preset takes too."""

    def of_preset(self, name: str) -> config.Run:
        """Return the run of a preset on the data, split, scored rows and seed of the shared run, with `--set` words.

        What the study itself states of a run is taken before the preset.
        """
        tables, own = config.to_tables(self.base), self.study.base
        data = {key: x for key, x in tables["data"].items() if key not in presets.OF_DATA}
        train = {key: tables["train"][key] for key in presets.OF_USER}
        shared = {
            "split": tables["split"], "evaluate": tables["evaluate"],
            "data": {**own.get("data", {}), **data}, "train": {**own.get("train", {}), **train},
        }  # fmt: skip
        return config.read_run({**own, **shared}, self.sets, name)

    def need_model(self, model: str) -> None:
        """Refuse a run of another model, and a run with a wrapper.

        Raises:
            ValueError: the run is not of this model, or has a wrapper.
        """
        name, found = self.study.name, self.base.model_name
        if found != model:
            raise ValueError(f"{name} studies {model}, the run names {found}; use model.name = {model}")
        if self.base.wrapper_name:
            raise ValueError(f"{name} compares models without a wrapper, the run has {self.base.wrapper_name}")

    def rival(self, model: str, *sets: str, **more: Any) -> Row:
        """Return the row of another model, with the settings that the shared run changes and this model has too."""
        from hyperctr.models import find_model

        return Row(**{"name": TITLES.get(model, model), "model": model} | more,
                   sets=(*shared_settings(self.base, find_model(model).Config), *sets))  # fmt: skip


class Cell(NamedTuple):
    """One run of a study."""

    row: Row
    seed: int
    run: config.Run


Cells = Mapping[str, Cell]
"""The runs of a study by the names of their folders."""


@dataclass(frozen=True)
class Measurement:
    """What a study keeps of its trained runs beyond scores."""

    gather: Callable[[Cells, Path, bool], None]
    """Writes it into the study's folder, of the runs whose folders are there. Its last argument says
    whether a run is new."""
    read: Callable[[Path, Mapping[str, Any]], Any]
    """Reads it from the study's folder, with the facts of bench.json."""


@dataclass(frozen=True)
class Scores:
    """What the runs of a study scored: its verdicts, table and figures are made of nothing else."""

    study: Study
    facts: Mapping[str, Any]
    """What is compared on what, as bench.json has it."""
    runs: Runs
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What the study's measurements found, by name."""
    beside: Runs = field(default_factory=dict)
    """The runs of the referees, rows of the study or beside them. No claim of a paper is about those beside them."""

    @property
    def names(self) -> list[str]:
        """The rows in order."""
        return [name for name, _ in self.facts["rows"]]

    @property
    def paper_sets(self) -> tuple[str, ...]:
        """The paper's data sets whose numbers are shown next to ours."""
        return self.study.columns.shown(self.facts["paper"])


@dataclass(frozen=True)
class Findings:
    """What a study found: the entries of its table, its verdicts, and what else bench.json has."""

    scores: Scores
    rows: list[dict]
    verdicts: list[Verdict]
    more: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    failed: Sequence[str] = ()
    referees: Sequence[dict] = ()
    """The entries of the referees on the same rows; see `beside.entries`."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is compared on what."""
        return self.scores.facts


@dataclass(frozen=True)
class Untrained:
    """A study that trains nothing and needs no data: how it is run, and how its report is written again."""

    run: Callable[..., dict]
    """Takes `bench.Options`, the folder, and a function that prints a line."""
    redraw: Callable[[Path], dict]


def _nothing(*given: Any) -> list:
    return []


def _no_more(*given: Any) -> dict:
    return {}


@dataclass(frozen=True)
class Study:
    """One table or figure of a paper: which runs it compares, and what it concludes from their scores."""

    name: str
    """Its name on the command line and in files."""
    title: str
    """Which table or figure it is, and of what."""
    rows: Callable[[Setup, Dataset | None], list[Row]] = _nothing
    """Gives the rows to train; raises a ValueError where run or data do not fit."""
    judge: Callable[[Scores], list[Verdict]] = _nothing
    """Gives the verdicts on what the paper claims; reads no file."""

    paper: Paper = Paper()
    columns: Numbers = Numbers()
    """The paper's numbers, which get columns of their own."""
    words_only: bool = False
    """Whether the paper's source has no numbers of it, so that only claims are compared."""

    base: Mapping[str, Any] = field(default_factory=lambda: {"model": {"name": "hyperctr"}})
    """The run that all rows share where no run file is given, as tables of a run file."""
    preset: str = ""
    """The preset of that run, where neither a run file nor a preset is given; "" for none."""
    grid: Grid | None = None
    """The value in which its rows differ; None where they differ in more than a value."""
    seeds: int = 3
    """Runs per row where no number is given."""
    one_seed: bool = False
    """Whether it shows a single seed, however many are asked for."""
    timed: bool = False
    """Whether it times one epoch of each row, in a process of its own, and trains no further."""
    accepts_wrapper: bool = False
    """Whether it compares wrappers: the shared run's wrapper and those of `--wear` give their settings."""
    worlds: Mapping[str, float] = field(default_factory=dict)
    """Planted worlds by preset, each with its thousands of users; every seed has its own. {} where data are given."""
    untrained: Untrained | None = None
    """How it is run where it trains nothing."""

    notes: Callable[[Setup, Dataset | None], list[str]] = _nothing
    """Gives what a reader must know of this run and these data."""
    facts: Callable[[Setup, list[Row], Dataset | None], dict[str, Any]] = _no_more
    """Gives what bench.json must hold for the functions below, beyond what it has of every study."""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    """What is measured of trained runs beyond scores, by the name under which `Scores.measured` has it."""
    scores: tuple[str, ...] = ("auc", "user_auc", "user_session_auc", "logloss_1to1")
    """The scores of its table, of which gains and figure are of the first."""
    extra_scores: tuple[str, ...] = ()
    """Columns of results.csv beyond those of every study."""
    ours: str = ""
    """The row that its figure brings out."""
    over: Callable[[Scores], Mapping[str, str]] | None = None
    """Gives the row that each row's gain is over, where scores decide it; None for `Row.over`."""

    entries: Callable[[Scores], list[dict]] | None = None
    """Gives the entries of its table, one per row; None for `tables.entries`."""
    more: Callable[[Scores], dict[str, Any]] = _no_more
    """Gives what else bench.json has of the scores."""
    caveats: Callable[[Scores], list[str]] | None = None
    """Gives what a reader must know before comparing with the paper; None for `tables.unlearned`."""
    table: Callable[[Findings], str] | None = None
    """Writes its table as Markdown; None for `tables.table`."""
    figures: Callable[[Findings], Mapping[str, Figure]] | None = None
    """Draws its figures, "" the main one, others by the end of their file names; None for `tables.figures`."""
    about: Callable[[Mapping[str, Any]], list[str]] | None = None
    """Gives the lines below the title of its report, from the facts; None for `files.about`."""
    source: str = ""
    """FILE.py:NAME, where it comes from outside of this package."""

    def values(self, given: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the values of its grid in order: those given, else the paper's.

        Raises:
            ValueError: the rows are fixed, or a value cannot be.
        """
        if self.grid is None:
            if given:
                raise ValueError(f"the rows of {self.name} are fixed, it takes no --values")
            return ()
        for value in given:
            try:
                known = self.grid.allowed(self.grid.read(value))
            except ValueError:
                known = False
            if not known:
                what = self.grid.what
                raise ValueError(f"--values of {self.name} are {what} separated by commas, got {value!r}")
        return tuple(sorted(given or self.grid.values, key=self.grid.read))


def paper_modality(name: str) -> str:
    """Return what papers call one of our modalities; our own name where they have none."""
    return next((theirs for theirs, ours in MODALITIES.items() if name.lower() in ours), name)


def shared_settings(base: config.Run, kind: type) -> tuple[str, ...]:
    """Return what the shared run changes in its model's settings, as `--set` words for a model that has them too."""
    known = {f.name for f in fields(kind)}
    changed = {f.name: getattr(base.model, f.name) for f in fields(base.model)}
    changed = {name: x for name, x in changed.items() if name in known and x != getattr(type(base.model)(), name)}
    return tuple(f"model.{name}={json.dumps(x)}" for name, x in changed.items())


def one_epoch(values: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return `--set` words of a run whose one epoch is timed: next to nothing is scored."""
    few = {
        "train.epochs": 1, "train.eval_every": 1, "evaluate.negatives": 10, "evaluate.max_positives": 200,
        "evaluate.valid_negatives": 10, "evaluate.valid_positives": 200,
    }  # fmt: skip
    return tuple(f"{key}={value}" for key, value in ((values or {}) | few).items())


def noise() -> list[str]:
    """Return a note on times where other work is running; nothing where the machine is quiet."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= 0.25 * cores:
        return []
    return [f"noisy: other work was running when this began (load {load:.1f} on {cores} cores)"]
