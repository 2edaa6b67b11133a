"""A run is one TOML file: read strictly into frozen dataclasses, written back with every value filled in.

No defaults file, no inheritance, no environment. An unknown key stops the run and names the nearest right one. The
`[model]` table is read into the `Config` of the model it names; the caller passes the models, none is imported. So is
`[wrapper]`, a table that most runs lack: a training-time wrapper around the model, such as AQCL. Run files of version
0.1 call it `[wear]`, which is still read.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hyperctr.data.context import SIZES


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which data a run reads, and how much of it a row may see."""

    path: str
    """Name of a public data set, or the folder of your own."""
    history: int = 100
    """Last clicks kept per user."""
    modalities: tuple[str, ...] = ()
    """Modalities to read; empty means all that the data holds."""
    reduce: int = 128
    """Modalities wider than this are reduced to it by PCA, fitted on items with training rows; 0 leaves them alone."""
    conversion: str | None = None
    """Column of what followed a click, or "part/whole" of two; left out: the one that the data's own roles name."""
    ties: Literal["order"] | None = None
    """What becomes of a user's events of one time, as in logs of days: left out, none is history to another; "order":
    they follow each other as they stand in the file, a second apart (`Interactions.in_order`)."""
    derive: tuple[str, ...] | None = None
    """Context that is computed from the time of a row and the user's clicks before it: hour, weekday, season, clicks,
    since_last, since_first; see `hyperctr.data.context`."""

    def __post_init__(self):
        _check(self.reduce >= 0, "data.reduce", self.reduce, "at least 1, or 0 to leave modalities as they are")
        _check(self.path.strip() != "", "data.path", self.path, "the name of a data set or a folder")
        _check(self.history >= 1, "data.history", self.history, "at least 1")
        distinct = len(set(self.modalities)) == len(self.modalities) and all(self.modalities)
        _check(distinct, "data.modalities", self.modalities, "distinct names, or empty for all")
        derive = self.derive or ()
        known = len(set(derive)) == len(derive) and set(derive) <= set(SIZES)
        _check(known, "data.derive", derive, f"distinct names of {', '.join(SIZES)}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """How interactions are divided into training, validation and test rows."""

    kind: Literal["temporal", "leave-last-out", "leave-last-day-out", "random"] = "temporal"
    """By time; the last click or last day of each user, or the papers' random split, all three stamped leaky."""
    train: float = 0.7
    """Share of rows for training, HyperCTR section 3.1; the two that leave the last out do not use it."""
    valid: float = 0.2
    """Share of rows for validation, HyperCTR section 3.1; the rest is the test."""
    seed: int = 0
    """Seed of the random split; the others draw nothing."""

    def __post_init__(self):
        kinds = ("temporal", "leave-last-out", "leave-last-day-out", "random")
        _check(self.kind in kinds, "split.kind", self.kind, f"one of {', '.join(kinds)}")
        _check(0 < self.train < 1, "split.train", self.train, "a share between 0 and 1")
        _check(0 < self.valid < 1, "split.valid", self.valid, "a share between 0 and 1")
        shares = self.train + self.valid
        _check(shares < 1 - 1e-9, "split.train + split.valid", shares, "below 1, so that test rows are left")
        _check_seed("split.seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class Slices:
    """How the timeline is cut: the granularity of the time-aware hypergraphs."""

    every: str = "30d"
    """Width of a time slice: a whole number and h, d, w, mo or y, such as 6h, 7d, 2w, 3mo, 1y."""
    count: int = 0
    """Number of slices with equally many events each, instead of `every`; 0 uses `every`."""
    graphs: Literal["rolling", "frozen"] = "rolling"
    """Whether validation and test events enter the hypergraphs once their slice has closed, or never do."""
    item_edges: Literal["interest", "all"] = "interest"
    """A user's hyperedge of a modality joins the items of interest in it or, as Eq. 11 is written, all."""
    augment: tuple[str, ...] = ("S1", "S2")
    """HyperCTR section 2.3.3: S1 user-interest and S2 item-homogeneous hypergraphs; S2-cluster also joins users who
    click items of alike features, S2-couser items of alike users."""
    target_edge: Literal["exclude", "keep"] = "exclude"
    """Random split alone, whose rows read their own slice: whether a training row's own click is taken out of it."""

    def __post_init__(self):
        kinds = ("S1", "S2", "S2-cluster", "S2-couser")
        _check(self.graphs in ("rolling", "frozen"), "slices.graphs", self.graphs, "rolling or frozen")
        _check(self.item_edges in ("interest", "all"), "slices.item_edges", self.item_edges, "interest or all")
        _check(set(self.augment) <= {*kinds}, "slices.augment", self.augment, f"a list of {', '.join(kinds)}")
        _check(self.target_edge in ("exclude", "keep"), "slices.target_edge", self.target_edge, "exclude or keep")
        _check(
            re.fullmatch(r"[1-9]\d*(h|d|w|mo|y)", self.every), "slices.every", self.every, "like 6h, 7d, 2w, 3mo or 1y"
        )
        _check(self.count >= 0, "slices.count", self.count, "at least 1, or 0 to use slices.every")


@dataclass(frozen=True, kw_only=True)
class Interest:
    """User Interest Prediction, HyperCTR section 2.3.1: which modality of a clicked item the user cared about."""

    mode: Literal["pretrain", "joint", "none"] = "pretrain"
    """Learned before the training; beside it, as a second loss; or not at all: every modality of every click."""
    score: Literal["trilinear", "user"] = "trilinear"
    """What Eq. 10 multiplies: user, item and attribute; or user and attribute alone, which tells users apart better."""
    delta: float = 0.5
    """Threshold of interest on the scale of `delta_mode`; the paper searches 0.3 to 0.7."""
    delta_mode: Literal["absolute", "relative", "quantile"] = "absolute"
    """The interest f itself; its softmax over the modalities; or its rank among the clicks on a modality, in [0, 1]."""
    keep_argmax: bool = True
    """Whether a click always counts for the modality of highest interest, so that none is lost."""
    epochs: int = 5
    """Most passes over the training clicks; ends early when the held-out loss rises."""
    negatives: int = 20
    """Other items' attributes that a clicked item's attribute is told from, Eq. 9."""
    weight: float = 0.1
    """Share of the loss of Eq. 9 in the training loss; joint mode alone."""

    def __post_init__(self):
        modes, scales = ("pretrain", "joint", "none"), ("absolute", "relative", "quantile")
        _check(self.mode in modes, "interest.mode", self.mode, f"one of {', '.join(modes)}")
        _check(self.score in ("trilinear", "user"), "interest.score", self.score, "trilinear or user")
        _check(math.isfinite(self.delta), "interest.delta", self.delta, "a number")
        _check(self.delta_mode in scales, "interest.delta_mode", self.delta_mode, f"one of {', '.join(scales)}")
        _check(self.epochs >= 1, "interest.epochs", self.epochs, "at least 1")
        _check(self.negatives >= 1, "interest.negatives", self.negatives, "at least 1")
        _check(0 <= self.weight < math.inf, "interest.weight", self.weight, "a number, at least 0")


@dataclass(frozen=True, kw_only=True)
class Train:
    """How a model is trained. Defaults follow section 3.1 of HyperCTR where the paper gives a value."""

    epochs: int = 20
    """Most passes over the training rows."""
    batch_size: int = 512
    """Rows a step; the paper searches 128, 256 and 512."""
    lr: float = 1e-3
    """Step size of Adam."""
    l2: float = 1e-5
    """Weight decay; the paper searches 0 and 1e-5 to 1e-1."""
    patience: int = 3
    """Validations without a better AUC before training stops."""
    eval_every: float = 1.0
    """Share of an epoch between validations; the paper's Fig. 8 has 0.05."""
    negatives: int = 1
    """Uniform negatives drawn per positive and redrawn each epoch; 0 trains on logged non-clicks alone."""
    clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    seed: int = 0
    """Seed of weights, shuffling and negatives."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to torch."""

    def __post_init__(self):
        _check(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        _check(self.batch_size >= 1, "train.batch_size", self.batch_size, "at least 1")
        _check(0 < self.lr < math.inf, "train.lr", self.lr, "a number above 0")
        _check(0 <= self.l2 < math.inf, "train.l2", self.l2, "a number, at least 0")
        _check(0 < self.eval_every <= 1, "train.eval_every", self.eval_every, "a share of an epoch above 0, at most 1")
        _check(self.patience >= 1, "train.patience", self.patience, "at least 1")
        _check(self.negatives >= 0, "train.negatives", self.negatives, "at least 0")
        _check(0 <= self.clip < math.inf, "train.clip", self.clip, "above 0, or 0 not to clip")
        _check_seed("train.seed", self.seed)
        _check(self.threads >= 0, "train.threads", self.threads, "at least 1, or 0 to leave it to torch")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Which rows a score is computed on."""

    negatives: int = 1000
    """Unobserved items drawn per test positive where the data logs no non-clicks, as in the paper."""
    draw: Literal["uniform", "popularity"] = "uniform"
    """How they are drawn: every item alike, or as often as it was clicked before."""
    max_positives: int = 20_000
    """Test positives scored at most, drawn once by the seed; 0 scores all."""
    valid_negatives: int = 100
    """As `negatives`, for the validation rows, which are scored after every epoch."""
    valid_positives: int = 5_000
    """As `max_positives`, for the validation rows."""
    seed: int = 0
    """Seed of the negatives and of the positives kept."""

    def __post_init__(self):
        _check(self.negatives >= 1, "evaluate.negatives", self.negatives, "at least 1")
        _check(self.draw in ("uniform", "popularity"), "evaluate.draw", self.draw, "uniform or popularity")
        _check(self.valid_negatives >= 1, "evaluate.valid_negatives", self.valid_negatives, "at least 1")
        _check(self.valid_positives >= 0, "evaluate.valid_positives", self.valid_positives, "at least 1, or 0 for all")
        _check(self.max_positives >= 0, "evaluate.max_positives", self.max_positives, "at least 1, or 0 for all")
        _check_seed("evaluate.seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a run depends on."""

    data: Data
    """The data and the histories."""
    model_name: str
    """Key of the model in the caller's mapping."""
    model: Any
    """The model's own frozen Config."""
    split: Split = field(default_factory=Split)
    """Training, validation and test rows."""
    slices: Slices = field(default_factory=Slices)
    """Time slices and what makes a hyperedge in them."""
    interest: Interest = field(default_factory=Interest)
    """Learned interests, for models that read hypergraphs."""
    train: Train = field(default_factory=Train)
    """The training loop."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """The scored rows."""
    wrapper_name: str = ""
    """Key of the wrapper in the caller's mapping; empty: none."""
    wrapper: Any = None
    """The wrapper's own frozen Config; None without a wrapper."""


TABLES = {
    "data": Data,
    "split": Split,
    "slices": Slices,
    "interest": Interest,
    "model": None,
    "train": Train,
    "evaluate": Evaluate,
    "wrapper": None,
}
OLD_NAMES = {"wear": "wrapper"}
"""What run files of version 0.1 call a table."""


def read(
    source: str | Path | Mapping,
    models: Mapping[str, Any],
    set: Iterable[str] = (),
    wrappers: Mapping[str, Any] | None = None,
) -> Run:
    """Read a run from a TOML file, or from the nested dict of one.

    Args:
        source: path of the TOML file, or a mapping from table to mapping from key to value.
        models: name -> class whose `.Config` is a frozen dataclass; `[model]` is read into the one that `name` picks.
        set: overrides such as "train.lr=3e-4" in TOML's own value syntax; a bare word is text ("slices.every=7d").
        wrappers: the same for `[wrapper]`.

    Raises:
        ValueError: the file is missing or is not TOML; a table or key is unknown or missing; a value has the wrong
            type or lies outside its range. The message names table, key, what was found and what would work.
    """
    tables = _load(source)
    for old, new in OLD_NAMES.items():
        if old in tables:
            if new in tables:
                raise ValueError(f"[{old}] is the old name of [{new}]; keep one of the two tables")
            tables[new] = tables.pop(old)
    for override in set:
        _override(tables, override)
    for table, content in tables.items():
        if table not in TABLES:
            raise ValueError(_unknown_at_top(table, content))
        if not isinstance(content, Mapping):
            raise ValueError(f"{table} must be a table, [{table}] with its keys below, got {_literal(content)}")

    classes, names = dict(TABLES), {}
    for table, known in (("model", models), ("wrapper", wrappers or {})):
        if table == "wrapper" and table not in tables:
            del classes[table]
            continue
        name = names[f"{table}_name"] = _named(table, tables, known)
        classes[table] = known[name].Config
    return Run(**names, **{table: _build(table, tables.get(table, {}), classes) for table in classes})


def to_toml(run: Run) -> str:
    """Return the run as TOML with every value filled in, so that `read` gives back an equal run.

    A value of None is left out: TOML has no word for it, and reading takes the default.
    """
    blocks = []
    for table in TABLES:
        if (part := getattr(run, table)) is None:
            continue
        pairs = [("name", getattr(run, f"{table}_name"))] if table in ("model", "wrapper") else []
        pairs += [(entry.name, getattr(part, entry.name)) for entry in fields(part)]
        lines = [f"{key} = {_literal(value)}" for key, value in pairs if value is not None]
        blocks.append("\n".join([f"[{table}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def digest(run: Run) -> str:
    """Return 12 hexadecimal digits that are equal for equal runs, on every machine."""
    text = to_toml(run).replace("\n[wrapper]\n", "\n[wear]\n")  # results of version 0.1 carry this digest
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _load(source: str | Path | Mapping) -> dict:
    """Return the tables of a file or mapping as a fresh dict that overrides may change."""
    if isinstance(source, Mapping):
        return {table: dict(content) if isinstance(content, Mapping) else content for table, content in source.items()}
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the run file {source}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{source} is not TOML: {error}") from None


def _named(table: str, tables: dict, known: Mapping[str, Any]) -> str:
    """Take the name out of a table whose other keys depend on it."""
    name = tables.get(table, {}).pop("name", None)
    if name is None:
        raise ValueError(f"missing key {table}.name, choose one of: {', '.join(known)}")
    if not isinstance(name, str) or name not in known:
        near = _nearest(str(name), known) or f"known: {', '.join(known) or 'none'}"
        raise ValueError(f"unknown {table} {_literal(name)}, {near}")
    return name


def _override(tables: dict, text: str) -> None:
    """Put "table.key=value" into the tables."""
    path, equals, value = text.partition("=")
    table, dot, key = path.strip().partition(".")
    table = OLD_NAMES.get(table, table)
    if not equals or not table:
        raise ValueError(f"--set wants table.key=value, such as train.lr=3e-4, got {text!r}")
    value = value.strip()
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:  # a bare word is text; TOML has no .1 either, but whoever types it means 0.1
        parsed = {"value": float(value) if re.fullmatch(r"[+-]?\.\d+", value) else value}
    found = parsed["value"] if len(parsed) == 1 else value  # a line break could smuggle in a second key
    if not dot:
        tables[table] = found
    elif isinstance(tables.setdefault(table, {}), dict):
        tables[table][key] = found


def _build(table: str, content: Mapping, classes: Mapping[str, Any]) -> Any:
    """Make the dataclass of one table out of its keys."""
    known = {name: [entry.name for entry in fields(cls) if entry.init] for name, cls in classes.items()}
    for key in content:
        if key not in known[table]:
            raise ValueError(f"unknown key {table}.{key}, {_nearest_key(table, key, known)}")
    for entry in fields(classes[table]):
        required = entry.init and entry.default is MISSING and entry.default_factory is MISSING
        if required and entry.name not in content:
            raise ValueError(f"missing key {table}.{entry.name}, it has no default")
    kinds = get_type_hints(classes[table])
    values = {key: _value(kinds[key], value, f"{table}.{key}") for key, value in content.items()}
    try:
        return classes[table](**values)
    except ValueError as error:
        raise ValueError(f"[{table}] {error}" if table in ("model", "wrapper") else str(error)) from None


def _value(kind: Any, value: Any, key: str) -> Any:
    """Return the value if it has the annotated type: int also serves as float, bool never as a number."""
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if get_origin(kind) is Literal:
        if any(value == option and type(value) is type(option) for option in get_args(kind)):
            return value
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(get_args(kind)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    elif kind is float and type(value) in (int, float):
        if abs(value) < 2**1023 or isinstance(value, float):
            return float(value)
    elif kind in (bool, int, str):
        if type(value) is kind:
            return value
    elif kind is not float:
        raise TypeError(f"{key} is annotated {kind}, which a run file cannot hold")
    raise ValueError(f"{key} must be {_spoken(kind)}, got {_literal(value)}")


def _spoken(kind: Any) -> str:
    """Say what would have been accepted."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(_literal(option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list, each {_spoken(get_args(kind)[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}[kind]


def _literal(value: Any) -> str:
    """Write a value as TOML does."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return "a table" if isinstance(value, Mapping) else repr(value) if isinstance(value, int | float) else str(value)


def _unknown_at_top(table: str, content: Any) -> str:
    """Say that nothing is called that at the top of a run file, and what was probably meant."""
    if isinstance(content, Mapping):
        return f"unknown table {table}, {_nearest(table, TABLES) or 'known tables: ' + ', '.join(TABLES)}"
    known = {name: [entry.name for entry in fields(cls)] for name, cls in TABLES.items() if cls}
    return f"unknown key {table}, {_nearest_key(None, table, known)}"


def _nearest_key(table: str | None, key: str, known: Mapping[str, list[str]]) -> str:
    """Suggest a like-named key of the table, else the same key of another table, else list the keys."""
    near = difflib.get_close_matches(key, known.get(table, []), n=1)
    meant = [f"{table}.{name}" for name in near] or [f"{name}.{key}" for name in known if key in known[name]]
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return f"known keys of {table}: {', '.join(known[table])}" if table else f"known tables: {', '.join(TABLES)}"


def _nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is spelt most alike; empty if none is close."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""


def _check(holds: Any, key: str, found: Any, works: str) -> None:
    """Refuse a value outside its range."""
    if not holds:
        raise ValueError(f"{key} must be {works}, got {_literal(found)}")


def _check_seed(key: str, seed: int) -> None:
    """Refuse a seed that numpy or torch would."""
    _check(0 <= seed < 2**63, key, seed, "between 0 and 2^63 - 1")
