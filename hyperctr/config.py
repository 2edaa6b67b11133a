"""A run is one TOML file: read strictly into frozen dataclasses, written back with every value filled in.

There is no file of defaults, no inheritance and no environment variable. An unknown key is an error that names the
nearest right one. The table `[model]` is read into the `Config` of the model that it names. The optional table
`[wrapper]` names a training-time wrapper around the model, such as AQCL, and is read into the wrapper's `Config`. Run
files of version 0.1 call this table `[wear]`; it is still read. Long because every key is explained here.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from hyperctr import presets, strict
from hyperctr.data.context import SIZES
from hyperctr.layers.checks import check_choices
from hyperctr.strict import check, did_you_mean, literal

SCORES = ("auc", "user_auc", "user_session_auc")
"""Built-in values of `train.score`."""
EVALUATE_0_1 = ("negatives", "draw", "max_positives", "valid_negatives", "valid_positives", "seed")
"""The keys of [evaluate] in version 0.1, which a run file of that version states all."""
PastPart = Literal["counts", "content", "links", "period_links", "recent_links", "nearest"]
"""Parts of the past that `data.past` may list."""
CANDIDATES_0_1 = {"met": "no", "first": "among"}
"""What version 0.1 did, in keys of [evaluate] that it did not have."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which data a run reads, and how much of the past a row may see."""

    path: str
    """Name of a public data set, or a folder of your own."""
    history: int = 100
    """Most clicks of a user's history: the latest ones."""
    modalities: tuple[str, ...] = ()
    """Modalities to read; empty means all modalities of the data."""
    reduce: int = 128
    """Wider modalities are reduced to this width by PCA, fitted on items with training rows; 0 keeps every width."""
    click: str | None = None
    """Column of the click, of 0 and 1, such as "is_like"; left out: the column that the data's own roles name."""
    conversion: str | None = None
    """Column of the conversion, or two columns as "part/whole"; left out: the column that the data's own roles name."""
    ties: Literal["order"] | None = None
    """Events of a user at the same time, as in logs of days. Left out: none is in the history of another. "order": they
    follow each other in the order of the file, one microsecond apart (`Interactions.in_order`)."""
    derive: tuple[str, ...] | None = None
    """Context columns computed from the time of a row and the user's earlier clicks: hour, weekday, season, clicks,
    since_last, since_first; see `hyperctr.data.context`."""
    titles: bool = False
    """Whether every model reads the words of the items' titles, as one more column of tags."""
    past: Literal["none", "counts", "links", "all"] | tuple[PastPart, ...] = "none"
    """Numbers that every model reads of the events before a row. "counts": counts, rates and ages by user, item,
    columns and `crosses`, and how alike the item's content is to the user's clicks; "links": links of the item with the
    clicks, as of the start of a period; "all": both. Or a list of parts: "counts" and "content" apart, "links", and
    three that are in no other value: links over one period, links with a half-life, nearest items. docs/past.md"""
    past_every: str | None = None
    """Periods at whose start links are read: a width such as 1d, or q8 for 8 with equally many training clicks. Left
    out: q32."""
    user_rates: Literal["session", "day", "slice", "row"] | None = None
    """When the user's own rates are read: at the start of the session (shows at most 30 minutes apart), of the UTC day
    or of the period of `past_every` ("slice"), or at the row. Left out: the session; for data without times "slice"."""
    crosses: tuple[str, ...] | None = None
    """Pairs that the past is counted by, such as "user*tag" and "item*tab"; left out: user by item, user by each column
    of items, item by each column of the context."""

    def __post_init__(self):
        if isinstance(self.past, str):
            check_choices(self, "past", table="data")
        else:
            check(
                self.past and len(set(self.past)) == len(self.past), "data.past", self.past, 'distinct parts, or "none"'
            )
        if self.user_rates is not None:
            check_choices(self, "user_rates", table="data")
        if self.past_every is not None:
            check(
                _is_granularity(self.past_every), "data.past_every", self.past_every, "like 6h, 7d, 2w, 3mo, 1y or q8"
            )
        check(self.reduce >= 0, "data.reduce", self.reduce, "at least 1, or 0 to leave modalities as they are")
        check(self.path.strip() != "", "data.path", self.path, "the name of a data set or a folder")
        check(self.history >= 1, "data.history", self.history, "at least 1")
        distinct = len(set(self.modalities)) == len(self.modalities) and all(self.modalities)
        check(distinct, "data.modalities", self.modalities, "distinct names, or empty for all")
        derive = self.derive or ()
        known = len(set(derive)) == len(derive) and set(derive) <= set(SIZES)
        check(known, "data.derive", derive, f"distinct names of {', '.join(SIZES)}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """How interactions are divided into training, validation and test rows."""

    kind: Literal["temporal", "leave-last-out", "leave-last-day-out", "random", "given"] = "temporal"
    """By time; by the last click or the last day of each user; at random, as in the papers; or as the source gives it
    (the column `split` of the data). All but the first are marked as leaky; the last only where it is."""
    train: float = 0.7
    """Share of rows for training, HyperCTR section 3.1; the kinds that leave the last out do not use it."""
    valid: float = 0.2
    """Share of rows for validation, HyperCTR section 3.1; the rest is for the test."""
    seed: int = 0
    """Seed of the random split; the other kinds draw nothing."""

    def __post_init__(self):
        check_choices(self, "kind", table="split")
        check(0 < self.train < 1, "split.train", self.train, "a share between 0 and 1")
        check(0 < self.valid < 1, "split.valid", self.valid, "a share between 0 and 1")
        shares = self.train + self.valid
        check(shares < 1 - 1e-9, "split.train + split.valid", shares, "below 1, so that test rows are left")
        _check_seed("split.seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class Slices:
    """How the timeline is cut: the granularity of the time-aware hypergraphs."""

    every: str = "30d"
    """Width of a time slice: a whole number and h, d, w, mo or y, such as 6h, 7d, 2w, 3mo, 1y."""
    count: int = 0
    """Number of slices with equally many events, instead of `every`; 0 uses `every`."""
    span: Literal["slice", "past"] = "slice"
    """Which clicks make the hyperedges of a slice: its own, or all clicks until its end."""
    graphs: Literal["rolling", "frozen"] = "rolling"
    """Whether validation and test events enter the hypergraphs when their slice has closed ("rolling"), or never."""
    item_edges: Literal["interest", "all"] = "interest"
    """A user's hyperedge of a modality joins the items of interest in this modality or, as in Eq. 11, all items."""
    augment: tuple[str, ...] = ("S1", "S2")
    """HyperCTR section 2.3.3: S1 user-interest and S2 item-homogeneous hypergraphs. S2-cluster also joins users who
    click items with similar features; S2-couser joins items with similar users."""
    target_edge: Literal["exclude", "keep"] = "exclude"
    """For the random split only, whose rows read their own slice: whether the row's own click is left out of it."""

    def __post_init__(self):
        kinds = ("S1", "S2", "S2-cluster", "S2-couser")
        check_choices(self, "span", "graphs", "item_edges", "target_edge", table="slices")
        check(set(self.augment) <= {*kinds}, "slices.augment", self.augment, f"a list of {', '.join(kinds)}")
        check(_is_granularity(self.every, width=True), "slices.every", self.every, "like 6h, 7d, 2w, 3mo or 1y")
        check(self.count >= 0, "slices.count", self.count, "at least 1, or 0 to use slices.every")

    def cut_by(self, granularity: str) -> Slices:
        """Return these settings with another granularity: a width such as "7d", or "q8" for slices of equal counts."""
        from graphs.slices.grid import Granularity

        cut = Granularity.parse(granularity)
        return replace(self, count=cut.count) if cut.by_count else replace(self, every=str(cut), count=0)


@dataclass(frozen=True, kw_only=True)
class Interest:
    """User Interest Prediction, HyperCTR section 2.3.1: which modality of a clicked item the user cared about."""

    mode: Literal["pretrain", "joint", "none"] = "pretrain"
    """Learned before the training; during it, as a second loss; or not at all, so that every modality counts."""
    score: Literal["trilinear", "user"] = "trilinear"
    """Factors of Eq. 10: user, item and attribute; or user and attribute only, which separates users better."""
    delta: float = 0.5
    """Threshold of interest on the scale of `delta_mode`; the paper searches 0.3 to 0.7."""
    delta_mode: Literal["absolute", "relative", "quantile"] = "absolute"
    """The interest f; its softmax over the modalities; or its rank among the clicks on a modality, in [0, 1]."""
    keep_argmax: bool = True
    """Whether a click always counts for the modality of highest interest, so that no click is lost."""
    epochs: int = 5
    """Most passes over the training clicks; learning ends early when the held-out loss rises."""
    negatives: int = 20
    """Attributes of other items that are negatives of a clicked item's attribute, Eq. 9."""
    weight: float = 0.1
    """Weight of the loss of Eq. 9 in the training loss; joint mode only."""

    def __post_init__(self):
        check_choices(self, "mode", "score", "delta_mode", table="interest")
        check(math.isfinite(self.delta), "interest.delta", self.delta, "a number")
        check(self.epochs >= 1, "interest.epochs", self.epochs, "at least 1")
        check(self.negatives >= 1, "interest.negatives", self.negatives, "at least 1")
        check(0 <= self.weight < math.inf, "interest.weight", self.weight, "a number, at least 0")


def check_device(name: str) -> None:
    """Refuse what cannot be the name of a device."""
    works = "auto, cpu, cuda, cuda:1 or mps"
    check(bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name)), "train.device", name, works)


@dataclass(frozen=True, kw_only=True)
class Train:
    """How a model is trained; defaults follow HyperCTR section 3.1 where the paper gives a value."""

    epochs: int = 20
    """Most passes over the training rows."""
    batch_size: int = 512
    """Rows per step; the paper searches 128, 256 and 512."""
    lr: float = 1e-3
    """Step size of the optimiser."""
    optimiser: Literal["adam", "adamw", "adagrad", "sgd"] = "adam"
    """Adam, Adagrad or SGD, with `l2` times a weight added to its gradient; or AdamW, which shrinks each weight by `lr`
    times `l2`."""
    schedule: Literal["constant", "halved", "cosine"] = "constant"
    """How `lr` changes: not at all, to half of it after every epoch, or to zero at the last epoch along a cosine."""
    warmup: int = 0
    """First steps, over which the step size rises to `lr`."""
    l2: float = 1e-5
    """Weight decay; the paper searches 0 and 1e-5 to 1e-1."""
    id_dropout: float = 0.0
    """Share of the users and items whose id is unknown in a training step, drawn again for each step: the model learns
    to read their columns and numbers. 1: no id is ever known."""
    patience: int = 3
    """Validations without a better score before training stops."""
    eval_every: float = 1.0
    """Share of an epoch between two validations; the paper's Fig. 8 has 0.05."""
    negatives: int = 1
    """Uniform negatives drawn per positive, again in each epoch; 0 trains on logged non-clicks only."""
    clip: float = 5.0
    """Largest norm of the gradient; 0 does not clip."""
    seed: int = 0
    """Seed of weights, shuffling and negatives."""
    members: int = 1
    """Models that are trained one after the other, with seeds from `seed` on; their logits are averaged."""
    threads: int = 0
    """CPU threads; 0 lets torch choose. Weights and scores are equal to the last bit only on equally many threads."""
    device: str = "auto"
    """Where the model trains and scores: "cpu", "cuda", "cuda:1", "mps", or "auto": the first GPU that CUDA finds, else
    the CPU. Another device gives other last bits."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products of training: "bfloat16" rounds what goes into them to 8 bits, which a GPU multiplies
    faster. Weights, sums, losses and scoring stay in float32."""
    score: str = "auc"
    """The validation score that decides when training stops, higher is better: "auc" (less the squared error of
    conversions, for a model of both), "user_auc", "user_session_auc" (data with times), or a function such as
    "mine.py:metric", as in `evaluate.metrics`."""

    def __post_init__(self):
        check(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        check(self.batch_size >= 1, "train.batch_size", self.batch_size, "at least 1")
        check(0 < self.lr < math.inf, "train.lr", self.lr, "a number above 0")
        check_choices(self, "optimiser", "schedule", "precision", table="train")
        check(self.warmup >= 0, "train.warmup", self.warmup, "at least 0")
        check(0 <= self.l2 < math.inf, "train.l2", self.l2, "a number, at least 0")
        check(0 <= self.id_dropout <= 1, "train.id_dropout", self.id_dropout, "a share, from 0 to 1")
        check(0 < self.eval_every <= 1, "train.eval_every", self.eval_every, "a share of an epoch above 0, at most 1")
        check(self.patience >= 1, "train.patience", self.patience, "at least 1")
        check(self.negatives >= 0, "train.negatives", self.negatives, "at least 0")
        check(0 <= self.clip < math.inf, "train.clip", self.clip, "above 0, or 0 not to clip")
        _check_seed("train.seed", self.seed)
        check(self.members >= 1, "train.members", self.members, "at least 1")
        few = "at least 1 and at most 1024, or 0 to leave it to torch"
        check(0 <= self.threads <= 1024, "train.threads", self.threads, few)
        check_device(self.device)
        works = f'{", ".join(SCORES)}, or like "mine.py:metric"'
        check(self.score in SCORES or ":" in self.score, "train.score", self.score, works)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Which rows a score is computed on."""

    negatives: int = 100
    """Unobserved items drawn per test positive if the data logs no non-clicks; the paper has 1000."""
    sampled: bool = False
    """Whether negatives are drawn for each click, as in the papers, even if the data logs non-clicks: the logged ones
    are then not scored."""
    draw: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn: every item equally often, or in proportion to its earlier clicks."""
    met: Literal["auto", "yes", "no"] = "auto"
    """Whether drawn negatives, of training too, may be items that the user has already met. "auto": yes if at least 1 %
    of the training clicks repeat a pair of user and item clicked earlier; no in a leaky split. A file that states all
    keys of version 0.1 in this table, but neither `met` nor `first`, means "no" and "among": what that version did."""
    first: Literal["apart", "among"] = "apart"
    """Test clicks on an item that no earlier event has, where negatives are drawn: "apart" scores them on a line of
    their own, against items that first appear at that time or next; "among" scores them with the others, against items
    that have appeared, so that "never seen" tells a click. In a leaky split no item counts as new."""
    max_positives: int = 5_000
    """Most test positives that are scored, drawn once by the seed; 0 scores all."""
    valid_negatives: int = 20
    """As `negatives`, for the validation rows."""
    valid_positives: int = 5_000
    """As `max_positives`, for the validation rows."""
    seed: int = 0
    """Seed of the drawn negatives and of the subsampled positives."""
    metrics: tuple[str, ...] = ()
    """Further metrics of the report, such as "mine.py:metric": functions of labels, click probabilities and users, [n]
    each, that return a number."""

    def __post_init__(self):
        check(self.negatives >= 1, "evaluate.negatives", self.negatives, "at least 1")
        check_choices(self, "draw", "met", "first", table="evaluate")
        check(self.valid_negatives >= 1, "evaluate.valid_negatives", self.valid_negatives, "at least 1")
        check(self.valid_positives >= 0, "evaluate.valid_positives", self.valid_positives, "at least 1, or 0 for all")
        check(self.max_positives >= 0, "evaluate.max_positives", self.max_positives, "at least 1, or 0 for all")
        _check_seed("evaluate.seed", self.seed)
        works = 'distinct functions like "mine.py:metric"'
        distinct = len({name.rpartition(":")[2] for name in self.metrics}) == len(self.metrics)
        check(distinct and all(":" in name for name in self.metrics), "evaluate.metrics", self.metrics, works)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a run depends on."""

    data: Data
    """The data and the histories."""
    model_name: str
    """Name of the model in the run file."""
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
    """Name of the wrapper in the run file; empty: none."""
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


def read_run(
    source: str | Path | Mapping,
    set: Iterable[str] = (),
    preset: str | None = None,
    protocol: str | Mapping | None = None,
) -> Run:
    """Read a run from a TOML file, or from the nested dict of one.

    Of two values of a key, the one of `set` is taken before that of the protocol, then the source, then the preset.
    Where one of these states `slices.every` and no `slices.count`, a count of those below it does not hold.

    Args:
        source: path of the TOML file, or a mapping from table to mapping from key to value.
        set: overrides such as "train.lr=3e-4" in TOML's own value syntax; a bare word is text ("slices.every=7d").
        preset: name of the settings of one model, such as "hyperctr-best".
        protocol: "temporal" or "paper", or the tables [split] and [evaluate] of another.

    Raises:
        ValueError: the file is missing or is not TOML; a table or key is unknown or missing; a value has the wrong
            type or is outside its range; or the preset is of another model. The message names table, key, what was
            found and what would work.

    >>> import hyperctr
    >>> run = hyperctr.read_run({"data": {"path": "ml-100k"}, "model": {"name": "din"}}, set=["train.lr=3e-4"])
    >>> run.model_name, run.model.dim, run.train.lr
    ('din', 16, 0.0003)
    >>> hyperctr.read_run({"data": {"path": "ml-100k"}, "model": {"name": "din", "dims": 8}})
    Traceback (most recent call last):
    ValueError: unknown key model.dims, did you mean model.dim?
    >>> hyperctr.read_run({"data": {"path": "ml-100k"}}, preset="aqcl-paper", protocol="paper").split.kind
    'random'
    """
    tables = _load(source)
    if preset is not None:
        tables = _merge(_without_count(presets.read_preset(preset), tables), tables)
    if protocol is not None:
        tables = _merge(tables, presets.read_protocol(protocol) if isinstance(protocol, str) else protocol)
    stated: dict[str, Any] = {}
    for override in set:
        _override(stated, override)
    tables = _merge(_without_count(tables, stated), stated)
    if preset is not None:
        _check_preset(preset, tables)
    for table, content in tables.items():
        if table not in TABLES:
            raise ValueError(_unknown_at_top(table, content))
        if not isinstance(content, Mapping):
            raise ValueError(f"{table} must be a table, [{table}] with its keys below, got {literal(content)}")

    classes, names = dict(TABLES), {}
    if "wrapper" not in tables:
        del classes["wrapper"]
    for table in ("model", "wrapper"):
        if table in classes:
            name, cls = _named(table, tables.get(table, {}))
            names[f"{table}_name"], classes[table] = name, cls.Config
    return Run(**names, **{table: _build(table, tables.get(table, {}), classes) for table in classes})


def _without_count(tables: Mapping, stated: Mapping) -> dict:
    """Return tables without `slices.count` where others, taken before them, state `slices.every` alone."""
    above, below = (x.get("slices") if isinstance(x.get("slices"), Mapping) else {} for x in (stated, tables))
    if "every" in above and "count" not in above and "count" in below:
        return {**tables, "slices": {key: value for key, value in below.items() if key != "count"}}
    return dict(tables)


def to_tables(run: Run) -> dict[str, dict[str, Any]]:
    """Return the run as the nested dict of its TOML file, with every value filled in."""
    found = {}
    for table in TABLES:
        if (part := getattr(run, table)) is not None:
            name = {"name": getattr(run, f"{table}_name")} if table in ("model", "wrapper") else {}
            found[table] = name | {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return found


def to_toml(run: Run) -> str:
    """Write the run as TOML with every value filled in, so that `read_run` gives back an equal run.

    A value of None is left out, since TOML has no word for it.
    """
    return strict.to_toml(to_tables(run))


def difference(there: Run, here: Run) -> str:
    """Say in words in which keys two runs differ, at most three of them; "" for equal runs.

    >>> one = read_run({"data": {"path": "ml-100k"}, "model": {"name": "din"}})
    >>> difference(one, read_run({"data": {"path": "ml-100k"}, "model": {"name": "din", "dim": 8}}))
    'model.dim is 16 there and 8 here'
    """
    flat = [
        {f"{table}.{key}": value for table, keys in to_tables(run).items() for key, value in keys.items()}
        for run in (there, here)
    ]
    missing = "left out"
    names = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key) != flat[1].get(key)]
    if "model.name" in names:  # the other keys of two models are not compared
        names = [key for key in names if not key.startswith("model.") or key == "model.name"]
    found = [
        f"{key} is {' there and '.join(missing if (x := run.get(key)) is None else literal(x) for run in flat)} here"
        for key in names
    ]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more keys" if len(found) > 3 else "")


def _load(source: str | Path | Mapping) -> dict:
    """Return the tables of a file or mapping, by their names of today, as a dict that overrides may change."""
    tables = source if isinstance(source, Mapping) else strict.read_toml(source, "run file")
    found = {table: dict(content) if isinstance(content, Mapping) else content for table, content in tables.items()}
    for old, new in OLD_NAMES.items():
        if old in found:
            if new in found:
                raise ValueError(f"[{old}] is the old name of [{new}]; keep one of the two tables")
            found[new] = found.pop(old)
    stated = found.get("evaluate")
    if isinstance(stated, dict) and set(EVALUATE_0_1) <= set(stated) and not set(CANDIDATES_0_1) & set(stated):
        stated |= CANDIDATES_0_1
    return found


def _merge(below: Mapping, above: Mapping) -> dict:
    """Return tables with the keys of both; those of `above` are taken before those of `below`."""
    found = dict(below)
    for table, content in above.items():
        if isinstance(content, Mapping):
            if not isinstance(stated := found.get(table, {}), Mapping):
                continue  # no table, which is refused below
            content = {**stated, **content}
        found[table] = content
    return found


def _check_preset(preset: str, tables: Mapping) -> None:
    """Refuse a preset where the run names another model or wrapper: the settings of one do not fit another."""
    for table, content in presets.read_preset(preset).items():
        own, found = content.get("name"), tables[table].get("name") if isinstance(tables[table], Mapping) else None
        if own is not None and found not in (own, None):
            others = [name for name in presets.PRESETS if presets.read_preset(name).get(table, {}).get("name") == found]
            raise ValueError(
                f"the preset {preset} is for {table}.name = {literal(own)}, and the run has {literal(found)}: "
                f"take {' or '.join([*others, 'none'])}"
            )


def _named(table: str, content: dict) -> tuple[str, type]:
    """Take the name out of a table whose other keys depend on it, and find the class that it names."""
    from hyperctr import models  # imports torch

    find, known = {
        "model": (models.find_model, models.MODELS | models.REFEREES), "wrapper": (models.find_wrapper, models.WRAPPERS)
    }[table]  # fmt: skip
    name = content.pop("name", None)
    if name is None:
        raise ValueError(f"missing key {table}.name, choose one of: {', '.join(known)}")
    return name, find(name)


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
    except tomllib.TOMLDecodeError:  # a bare word is text; TOML has no .1 either, but here it means 0.1
        parsed = {"value": float(value) if re.fullmatch(r"[+-]?\.\d+", value) else value}
    found = parsed["value"] if len(parsed) == 1 else value  # a line break could smuggle in a second key
    if not dot:
        tables[table] = found
    elif isinstance(tables.setdefault(table, {}), dict):
        tables[table][key] = found


def _build(table: str, content: Mapping, classes: Mapping[str, Any]) -> Any:
    """Make the dataclass of one table out of its keys."""
    known = {name: [entry.name for entry in fields(cls) if entry.init] for name, cls in classes.items()}
    values = strict.values(classes[table], content, table, known)
    try:
        return classes[table](**values)
    except ValueError as error:
        raise ValueError(f"[{table}] {error}" if table in ("model", "wrapper") else str(error)) from None


def _unknown_at_top(table: str, content: Any) -> str:
    """Write the error for a name that is not known at the top of a run file, with what was probably meant."""
    if isinstance(content, Mapping):
        return f"unknown table {table}, {did_you_mean(table, TABLES) or 'known tables: ' + ', '.join(TABLES)}"
    meant = [f"{name}.{table}" for name, cls in TABLES.items() if cls and table in {x.name for x in fields(cls)}]
    return f"unknown key {table}, " + (
        f"did you mean {' or '.join(meant)}?" if meant else f"known tables: {', '.join(TABLES)}"
    )


def _is_granularity(text: str, width: bool = False) -> bool:
    """Say whether a text is a granularity such as "7d" or "q8"; with `width`, one that is the width of a slice."""
    from graphs.slices.grid import Granularity  # imports torch

    try:
        return not (Granularity.parse(text).by_count and width)
    except ValueError:
        return False


def _check_seed(key: str, seed: int) -> None:
    """Refuse a seed that numpy or torch would refuse."""
    check(0 <= seed < 2**63, key, seed, "between 0 and 2^63 - 1")
