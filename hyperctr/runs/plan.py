"""Plan a run before it starts: its memory, part by part, and the time of an epoch.

Each part says whether it was counted from the log, is an upper bound, or is an estimate; learned interests drop
hyperedges and sampling caps them, so some sizes are only known during the run. HyperCTR's costs are in its section 2.4.
`SPARSE_RATE` and `DENSE_RATE` are the rates of one or two cores of a laptop.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphs import TimeGrid
from hyperctr import config
from hyperctr.batch import PAST_FIELDS, Referee, TrainingCounts
from hyperctr.data.dataset import Dataset
from hyperctr.data.features import item_statistics, modalities
from hyperctr.data.features.past.links import KINDS, PastLinks, PastNearest
from hyperctr.data.features.past.numbers import PastCounts
from hyperctr.data.interactions import Interactions
from hyperctr.data.split import split
from hyperctr.hypergraphs.recipes import time_grid
from hyperctr.layers.table import LARGE as ROWWISE
from hyperctr.models import REFEREES, find_model
from hyperctr.runs.checks import reads_of
from hyperctr.runs.past import past_grid, past_parts

SHARE = 0.8  # share of the machine's memory that a run may fill
PROGRAMS = 450 * 2**20  # bytes that Python, torch and polars take
LOG = 85  # bytes per row of histories, counts and known pairs, without the columns of the log
SPARSE_RATE = (1e9, 3e9)  # multiplications and additions per second in products with H, low and high
DENSE_RATE = (8e9, 60e9)  # the same in everything else
FLOAT = 4
PAIRS = 2**16  # rows scored at a time
ELEMENTS = 30  # what a click's weight by the candidate costs beside products, in multiplications per column; measured
SCORED = 100  # bytes per scored row: what is kept of it, and what a metric takes


@dataclass(frozen=True)
class Part:
    """One part of a run's memory."""

    name: str
    bytes: int
    how: str
    """One of "counted", "at most" and "estimated"."""


@dataclass(frozen=True)
class Plan:
    """Memory and time of a run.

    Attributes:
        parts: what is in memory at the moment when most is needed.
        limit: bytes that the run may fill, 80 % of the machine's memory; 0 if that is not known.
        steps: steps per epoch; 0 for a referee, which is fitted once.
        seconds: seconds per epoch without validation, or of the fit of a referee: a low and a high estimate. None for a
            model that reads no hypergraphs, whose work is not counted here.
        facts: the counts that the plan is made from.
    """

    parts: tuple[Part, ...]
    limit: int
    steps: int
    seconds: tuple[float, float] | None
    facts: dict[str, Any]

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        """Whether the run stays below the limit."""
        return not self.limit or self.total <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a dict for JSON: bytes and seconds."""
        numbers = {"total": self.total, "limit": self.limit, "fits": self.fits, "steps": self.steps}
        parts, time = [vars(part) for part in self.parts], "epoch_seconds" if self.steps else "fit_seconds"
        return {"parts": parts, **numbers, time: self.seconds and list(self.seconds), "facts": self.facts}

    def refusal(self) -> str:
        """Return why a run that does not fit is refused, and what would help."""
        large = sorted(self.parts, key=lambda part: -part.bytes)[:2]
        most = " and ".join(f"{part.name} {gigabytes(part.bytes)}" for part in large)
        tips = dict.fromkeys(tip for part in large for tip in _TIPS.get(part.name, ()))
        if self.facts.get("propagation") == "full":
            tips = dict.fromkeys(["model.propagation=slice", *tips])
        return (
            f"this run would take about {gigabytes(self.total)} and {SHARE:.0%} of the memory here is "
            f"{gigabytes(self.limit)}; most are {most}: {'try ' + ', '.join(tips) + ', or ' if tips else ''}"
            "run it anyway with --force"
        )


_TIPS = {
    "counts of the past": ("fewer data.crosses", "data.past=links"),
    "links of the past": ("longer periods (data.past_every)", "data.past=counts"),
    "what is fitted": ("data with fewer items",),
    "features": ("a smaller data.reduce", "fewer data.modalities"),
    "id tables and their copies": ("a smaller model.dim",),
    "cached node states": ("a smaller model.dim", "fewer data.modalities", "fewer slices (slices.every)"),
    "propagation": ("model.propagation=sampled", "shorter slices (slices.every)", "a smaller model.depth"),
    "scored rows": ("fewer evaluate.negatives", "evaluate.max_positives=20000"),
    "batch": ("a smaller train.batch_size", "a smaller data.history"),
}


def check(run: config.Run, dataset: Dataset) -> Plan:
    """Plan a run on data that has been read.

    Args:
        run: the run.
        dataset: the run's data; features are not read, and the log is only counted.

    Raises:
        ValueError: the data cannot be split or cut, as in `runs.prepare`.
    """
    log, model = dataset.interactions, run.model
    parts = split(log, run.split.kind, run.split.train, run.split.valid, run.split.seed)
    steps = -(-len(parts.train) // run.train.batch_size)
    dim = asdict(model).get("dim", 0)  # a model without this key has no id tables
    found = [
        Part("Python and its libraries", PROGRAMS, "estimated"),
        Part("log and histories", _log(dataset) + LOG * len(log), "estimated"),
        Part("features", _features(run, dataset), "counted"),
        Part("id tables and their copies", _tables(log.num_users, log.num_items, dim), "at most"),
    ]
    work, kind, seconds = _Work(), find_model(run.model_name), None
    if isinstance(kind, Referee):
        counts, steps = counts_of(log, parts.train), 0
        found.append(Part("what is fitted", kind.memory(model, counts), "at most"))
        if run.model_name in REFEREES:
            seconds = tuple(factor * kind.seconds(model, counts) for factor in (0.5, 2.0))
    facts: dict[str, Any] = {"train_rows": len(parts.train), "steps": steps}
    reads = reads_of(run)
    wanted = past_parts(run.data, reads)
    found += _past(run, dataset, wanted, past_grid(run, log, parts, wanted, dataset.name))
    grid = time_grid(log, parts, run.slices, dataset.name) if reads & {"slices", "statistics"} else None
    if "statistics" in reads:
        size = (len(grid) + 2) * (log.num_items + 1) * len(item_statistics.names(log))
        found.append(Part("statistics of the items", size, "at most"))
    if "slices" in reads:
        clicks = log.clicks()
        if parts.leaky or run.slices.graphs == "frozen":
            clicks = np.intersect1d(clicks, parts.train, assume_unique=True)
        at, closed = grid.slice_of(log.time[clicks]), int(grid.slice_of(log.time[-1:] + 1)[0])
        sides = _sides(log.user[clicks], log.item[clicks], at, max(closed, 0), model.neighbors, run.slices.span)
        next_slice = grid.slice_of(log.time[parts.train]).clip(0, max(closed, 0))
        rows = np.bincount(next_slice, minlength=closed + 1)[1 : closed + 1]  # rows whose latest slice is n
        work = _HyperCTR(run, dataset, sides).work(rows / max(len(parts.train), 1))
        facts |= {"slices": closed, "propagation": model.propagation, "worst": work.worst}
        facts |= {
            f"{kind}_a_slice": int(side.nodes.sum()) // max(closed, 1)
            for kind, side in zip(("users", "items"), sides, strict=True)
        }
    if work.parts:
        dense = steps * (work.dense + 10 * dim * _dense_rows(log))
        sparse = steps * work.sparse + work.sparse_once
        seconds = (sparse / SPARSE_RATE[1] + dense / DENSE_RATE[1], sparse / SPARSE_RATE[0] + dense / DENSE_RATE[0])
    found += work.parts
    found.append(Part("scored rows", SCORED * max(_scored(run, log, rows, part) for part, rows in (
        ("valid", parts.valid), ("test", parts.test))), "at most"))  # fmt: skip
    found.append(Part("freed and not given back", sum(part.bytes for part in found) // 10, "estimated"))
    return Plan(tuple(found), int(SHARE * memory()), steps, seconds, facts)


def _scored(run: config.Run, log: Interactions, rows: np.ndarray, part: str) -> int:
    """Count the rows of "valid" or "test" that are scored together, with the negatives drawn for them."""
    e, clicks = run.evaluate, int(log.label[rows].sum())
    most, negatives = {"valid": (e.valid_positives, e.valid_negatives), "test": (e.max_positives, e.negatives)}[part]
    share = most / clicks if most and clicks > most else 1.0
    drawn = e.sampled or not log.logged_non_clicks
    return round(share * (clicks * (1 + negatives) if drawn else len(rows)))


def counts_of(log: Interactions, train: np.ndarray) -> TrainingCounts:
    """Count the training rows, their clicks, the clicked items, and pairs of clicks."""
    clicks = train[log.label[train] == 1]
    each = np.bincount(log.user[clicks])
    return TrainingCounts(len(train), len(clicks), len(np.unique(log.item[clicks])), int((each * each).sum()))


def memory() -> int:
    """Return the bytes that this process may fill: the memory of the machine, or of its control group if less."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            physical = min(physical, int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):
            continue
    return physical


def gigabytes(count: float) -> str:
    """Write a number of bytes for reading."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Write a number of seconds for reading."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def _log(dataset: Dataset) -> int:
    """Return the bytes of the log's columns and of the item and user fields."""
    log = dataset.interactions
    columns = [log.user, log.item, log.time, log.label, log.type, log.conversion, log.length, *log.context.values()]
    for table in (dataset.items, dataset.users):
        columns += [table.ids, *table.fields.values()]
    return sum(column.nbytes for column in columns if column is not None)


def _past(run: config.Run, dataset: Dataset, wanted: tuple[str, ...], grid: TimeGrid | None) -> list[Part]:
    """Return the parts of the numbers of the past."""
    log, found = dataset.interactions, []
    if "counts" in wanted:
        columns = dataset.users.fields, dataset.items.fields
        found.append(Part("counts of the past", PastCounts.size(log, *columns, run.data.crosses), "at most"))
    if kinds := KINDS.keys() & {*wanted}:
        size = sum(PastLinks.size(log, grid, kind) for kind in kinds)
        found.append(Part("links of the past", size, "estimated"))
    if "nearest" in wanted:
        modalities = len(dataset.items.modalities)
        found.append(Part("nearest items", PastNearest.size(log.num_items, modalities), "at most"))
    return found


def _features(run: config.Run, dataset: Dataset) -> int:
    """Return the bytes of all modalities as the model reads them."""
    total = 0
    for matrix in dataset.items.modalities.values():
        width = min(matrix.shape[1], run.data.reduce or matrix.shape[1])
        full = FLOAT * len(matrix) * width
        total += full // 2 if full > modalities.LARGE else full
    return total


def _tables(users: int, items: int, dim: int) -> int:
    """Return the bytes of id tables: weights, best weights, gradient and two moments.

    A large table is trained row by row and has one moment, no gradient, and the last step of each row.
    """
    return sum(FLOAT * (n + 1) * (3 * dim + 1 if n > ROWWISE else 5 * dim) for n in (users, items))


def _dense_rows(log: Interactions) -> int:
    """Return the rows of the tables that a step of Adam visits completely."""
    return sum(n for n in (log.num_users, log.num_items) if n <= ROWWISE)


def _history(log: Interactions, most: int) -> float:
    """Return the mean length of a click's history, at most `most` clicks each."""
    clicks = np.bincount(log.user[log.clicks()], minlength=log.num_users)
    short = np.minimum(clicks, most)
    return float((short * (short - 1) / 2 + (clicks - short) * most).sum() / max(1, clicks.sum()))


@dataclass(frozen=True)
class _Side:
    """Counts of one kind of node per slice, [slices]; hyperedges with one member are not counted."""

    nodes: np.ndarray
    edges: np.ndarray
    incidences: np.ndarray
    capped: np.ndarray
    """An upper bound of the incidences if a hyperedge keeps at most K members and a node at most K hyperedges."""


def _sides(
    user: np.ndarray, item: np.ndarray, at: np.ndarray, slices: int, most: int, span: str = "slice"
) -> tuple[_Side, _Side]:
    """Count the users, items and hyperedges of every closed slice; the clicks must be in order of time."""
    counts = np.zeros((2, 4, slices), np.int64)
    for n in np.unique(at[(at >= 0) & (at < slices)]).tolist():
        rows = slice(*np.searchsorted(at, [0 if span == "past" else n, n + 1]))
        width = int(item[rows].max(initial=0)) + 1
        pair = np.sort(user[rows] * width + item[rows])
        pair = pair[np.diff(pair, prepend=-1) > 0]  # a click counts once
        degree = [np.unique(ids, return_counts=True)[1] for ids in (pair // width, pair % width)]
        for side, (own, other) in enumerate((degree, degree[::-1])):
            size = other[other > 1]
            capped = min(np.minimum(size, most).sum(), np.minimum(own, most).sum()) if most else size.sum()
            counts[side, :, n] = len(own), len(size), size.sum(), capped
    return _Side(*counts[0]), _Side(*counts[1])


@dataclass(frozen=True)
class _Work:
    """What the hypergraphs add: memory, and multiplications and additions per step and once per epoch."""

    parts: tuple[Part, ...] = ()
    sparse: float = 0.0
    dense: float = 0.0
    sparse_once: float = 0.0
    worst: str = "training"
    """The phase that needs most memory; `parts` are the parts of this phase."""


class _HyperCTR:
    """Memory and work of HyperCTR on slices of these sizes.

    Attributes:
        graphs: hypergraphs per slice and kind of node: one of the group and one per modality.
        passes: how often one propagation visits the incidences of a slice: the group joins all distinct modalities.
        stored, copies: hypergraphs and incidences in memory per counted one.
        live: nodes per slice that take part in training, which are the members of capped hyperedges.
        fields: vectors that the second branch reads of a row.
    """

    def __init__(self, run: config.Run, dataset: Dataset, sides: tuple[_Side, _Side]):
        self.run, self.model, self.log, self.sides = run, run.model, dataset.interactions, sides
        widths = [min(x.shape[1], run.data.reduce or x.shape[1]) for x in dataset.items.modalities.values()]
        self.graphs, self.modalities, self.features = 1 + len(widths), len(widths), sum(widths)
        different = max(1, len(widths))
        if run.interest.mode == "none":  # modalities of the same items share their hypergraphs
            different = max(1, len({np.packbits(x).tobytes() for x in dataset.items.present.values()}))
        self.passes = len(widths) + different
        self.stored, self.copies = (1, 1) if different == 1 else (1 + different, 2 * different)
        self.whole = [s.nodes for s in sides]
        self.live = self.whole
        if self.model.neighbors:  # the expected number if incidences fell on nodes at random
            self.live = [s.nodes * -np.expm1(-self.passes * s.capped / np.maximum(s.nodes, 1)) for s in sides]
        columns = (dataset.items.fields, dataset.users.fields, self.log.context)
        self.fields = 2 + len(widths) + sum(map(len, columns)) + len(PAST_FIELDS) * (run.data.past != "none")
        self.tokens = run.train.batch_size * _history(self.log, run.data.history)
        self.items = min(self.tokens, self.log.num_items)  # distinct items in a batch
        self.row = FLOAT * self.model.dim * self.graphs  # bytes of one node's vectors

    def hypergraphs(self) -> int:
        """Return the bytes of the hypergraphs of all slices, with a capped copy of each for training."""
        total = 0
        for side in self.sides:
            here = side.nodes + side.edges
            total += int((2 * FLOAT * self.copies * side.incidences + 32 * self.stored * here).sum())
            if self.model.neighbors and self.model.propagation != "sampled":
                total += int((2 * FLOAT * self.passes * side.capped + 24 * self.graphs * here).sum())
        return total

    def phases(self) -> dict[str, tuple[float, float, float]]:
        """Return the bytes of the cached states, one propagation and one batch, in training and in validation."""
        model, d, size = self.model, self.model.dim, self.run.train.batch_size
        batch = self.items * (3 * self.row + 2 * FLOAT * self.features)
        batch += FLOAT * (self.tokens * 25 * d + 3 * size * (d + 1) ** 2)
        scored = min(PAIRS, 4 * self.log.num_items)  # distinct (item, slice) pairs
        scored *= 4 * self.row + FLOAT * (self.features + 4 * sum(model.hidden))
        if not model.depth:
            return {"training": (0, 0, batch), "validation": (0, 0, scored)}
        kept = self._activations(self.live, 2 + 3 * model.depth)
        propagated = kept.sum() if model.propagation == "full" else kept.max(initial=0)
        if model.propagation == "sampled":
            states, propagated = self._states(self.whole, model.depth), min(propagated, batch * max(model.neighbors, 1))
        else:
            states = self._states(self.live)
        largest = self._activations(self.whole, 3).max(initial=0)
        return {"training": (states, propagated, batch), "validation": (self._states(self.whole), largest, scored)}

    def _states(self, nodes: Sequence[np.ndarray], layers: int = 1) -> float:
        """Return the bytes of the vectors of all nodes of all slices, and of the places where they are found."""
        return self.row * layers * sum(float(x.sum()) for x in nodes) + 24 * sum(int(x.sum()) for x in self.whole)

    def _activations(self, nodes: Sequence[np.ndarray], vectors: int) -> np.ndarray:
        """Return the bytes of propagating each slice: `vectors` per node and hypergraph, and the items' features."""
        features = FLOAT * (self.features + 2 * self.modalities * self.model.dim)
        return self.row * vectors * sum(nodes) + features * nodes[1]

    def work(self, share: np.ndarray) -> _Work:
        """Return the memory and the work; `share` of the training rows read each slice as their latest."""
        model, d, size = self.model, self.model.dim, self.run.train.batch_size
        phases = self.phases()
        worst = max(phases, key=lambda phase: sum(phases[phase]))
        named = zip(("cached node states", "propagation", "batch"), phases[worst], strict=True)
        parts = [Part("hypergraphs", self.hypergraphs(), "at most"), *(Part(n, int(x), "estimated") for n, x in named)]

        shared = model.batches_per_graph if model.propagation == "slice" else 1
        often = 1.5 / shared if shared > 1 else 1.0  # one propagation without gradients, one for all batches
        reads = {"full": share[::-1].cumsum()[::-1], "slice": share}.get(model.propagation, 0 * share)
        products = 4 * self.passes * d * model.depth  # forward: two phases, a multiplication and an addition each
        sparse = 2 * often * products * sum(float(reads @ s.capped) for s in self.sides)
        maps = 6 * d * d * self.graphs * model.depth
        users, items = (float(reads @ x) for x in self.live)
        dense = often * (maps * (users + items) + 6 * d * self.features * items)
        dense += 6 * d * (8 * d * self.tokens + self.features * self.items + size * (d + 1) ** 2)
        dense += 6 * d * self.tokens * (model.attend * (d + ELEMENTS) + model.gru * 6 * d)
        if model.branch != "none":
            rows = size if self.log.logged_non_clicks else size * (1 + self.run.train.negatives)
            dense += 6 * rows * self.fields * d * model.hidden[0]
        once = products * sum(float(s.capped.sum() + s.incidences.sum()) for s in self.sides)
        return _Work(tuple(parts), sparse, dense, once, worst)
