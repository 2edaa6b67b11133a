"""What a run will take, before it takes it: memory part by part, and how long an epoch lasts.

Sizes are counted from the log, or bounded or estimated where the run itself decides (learned interests drop
hyperedges, sampling caps them); each part says which. HyperCTR's costs are in its section 2.4; the rates of
`SPARSE_RATE` and `DENSE_RATE` are those of a laptop's core or two.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphs import TimeGrid
from hyperctr import config
from hyperctr.data import reduce
from hyperctr.data.folder import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.split import split
from hyperctr.models import MODELS

SHARE = 0.8  # of the machine's memory that a run may fill
PROGRAMS = 450 * 2**20  # bytes that Python, torch and polars take
LOG = 85  # bytes a row of histories, counts and the rows met, beside the log's own columns
ROWWISE = 200_000  # rows from which a table is trained row by row
SPARSE_RATE = (1e9, 3e9)  # multiplications and additions a second in products with H, low and high
DENSE_RATE = (8e9, 60e9)  # and in everything else
FLOAT = 4
PAIRS = 2**16  # rows scored at a time


@dataclass(frozen=True)
class Part:
    """Memory that one thing takes."""

    name: str
    bytes: int
    how: str
    """One of "counted", "at most" and "estimated"."""


@dataclass(frozen=True)
class Plan:
    """Memory and time of a run.

    Attributes:
        parts: what is in memory together at the worst moment.
        limit: bytes it may fill, 80% of the machine's; 0 where that is not known.
        steps: of an epoch.
        seconds: of an epoch, a low and a high guess, without validation.
        facts: the counts that all this follows from.
    """

    parts: tuple[Part, ...]
    limit: int
    steps: int
    seconds: tuple[float, float]
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
        """The plan for machines: bytes and seconds."""
        numbers = {"total": self.total, "limit": self.limit, "fits": self.fits, "steps": self.steps}
        parts = [vars(part) for part in self.parts]
        return {"parts": parts, **numbers, "epoch_seconds": list(self.seconds), "facts": self.facts}

    def refusal(self) -> str:
        """Why a run that does not fit will not do, and what would."""
        large = sorted(self.parts, key=lambda part: -part.bytes)[:2]
        most = " and ".join(f"{part.name} {gigabytes(part.bytes)}" for part in large)
        tips = dict.fromkeys(tip for part in large for tip in _TIPS.get(part.name, ()))
        if self.facts.get("propagation") == "full":
            tips = dict.fromkeys(["model.propagation=slice", *tips])
        return (
            f"this run would take about {gigabytes(self.total)} and {SHARE:.0%} of the memory here is "
            f"{gigabytes(self.limit)}; most are {most}: {'try ' + ', '.join(tips) + ', or ' if tips else ''}"
            "insist with --force"
        )


_TIPS = {
    "features": ("a smaller data.reduce", "fewer data.modalities"),
    "id tables and their copies": ("a smaller model.dim",),
    "cached node states": ("a smaller model.dim", "fewer data.modalities", "fewer slices (slices.every)"),
    "propagation": ("model.propagation=sampled", "shorter slices (slices.every)", "a smaller model.depth"),
    "batch": ("a smaller train.batch_size", "a smaller data.history"),
}


def check(run: config.Run, dataset: Dataset) -> Plan:
    """Plan a run on data that has been read.

    Args:
        run: what would be done.
        dataset: the run's data; features are not read, and of the log only counts are taken.

    Raises:
        ValueError: as `runs.prepare`, for data that cannot be split or cut.
    """
    log, model = dataset.interactions, run.model
    parts = split(log, run.split.kind, run.split.train, run.split.valid, run.split.seed)
    steps = -(-len(parts.train) // run.train.batch_size)
    dim = getattr(model, "dim", 0)
    found = [
        Part("Python and its libraries", PROGRAMS, "estimated"),
        Part("log and histories", _log(dataset) + LOG * len(log), "estimated"),
        Part("features", _features(run, dataset), "counted"),
        Part("id tables and their copies", _tables(log.num_users, log.num_items, dim), "at most"),
    ]
    facts: dict[str, Any] = {"train_rows": len(parts.train), "steps": steps}
    work = _Work()
    if MODELS[run.model_name].reads_slices:
        clicks = log.clicks()
        clicked = log.time[parts.train][log.label[parts.train] == 1]
        grid = TimeGrid.cut(
            clicked, **({"count": run.slices.count} if run.slices.count else {"every": run.slices.every})
        )
        if parts.leaky or run.slices.graphs == "frozen":
            clicks = np.intersect1d(clicks, parts.train, assume_unique=True)
        at, closed = grid.slice_of(log.time[clicks]), int(grid.slice_of(log.time[-1:] + 1)[0])
        sides = _sides(log.user[clicks], log.item[clicks], at, max(closed, 0), model.neighbors)
        next_slice = grid.slice_of(log.time[parts.train]).clip(0, max(closed, 0))
        rows = np.bincount(next_slice, minlength=closed + 1)[1 : closed + 1]  # that read slice n as the latest
        work = _hyperctr(run, dataset, sides, rows / max(len(parts.train), 1))
        facts |= {"slices": closed, "propagation": model.propagation}
        facts |= {
            f"{kind}_a_slice": int(side.nodes.mean()) for kind, side in zip(("users", "items"), sides, strict=True)
        }
    low, high = (
        (steps * work.sparse + work.sparse_once) / s + steps * (work.dense + 10 * dim * _dense_rows(log)) / d
        for s, d in zip(reversed(SPARSE_RATE), reversed(DENSE_RATE), strict=True)
    )
    return Plan((*found, *work.parts), int(SHARE * memory()), steps, (low, high), facts)


def memory() -> int:
    """Bytes of memory that this process may fill: the machine's, or its control group's where that is less."""
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
    """Bytes for reading."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds for reading."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"


def _log(dataset: Dataset) -> int:
    """Bytes of the log's columns and of the item and user fields."""
    log = dataset.interactions
    columns = [log.user, log.item, log.time, log.label, log.type, log.context, log.conversion]
    for table in (dataset.items, dataset.users):
        columns += [table.ids, *table.fields.values()]
    return sum(column.nbytes for column in columns if column is not None)


def _features(run: config.Run, dataset: Dataset) -> int:
    """Bytes of all modalities as the model reads them."""
    total = 0
    for matrix in dataset.items.modalities.values():
        width = min(matrix.shape[1], run.data.reduce or matrix.shape[1])
        full = FLOAT * len(matrix) * width
        total += full // 2 if full > reduce.LARGE else full
    return total


def _tables(users: int, items: int, dim: int) -> int:
    """Weights, the best ones, two moments, and gradients (of a table trained row by row those of a few rows)."""
    return sum(FLOAT * dim * (n + 1) * (4 if n > ROWWISE else 5) for n in (users, items))


def _dense_rows(log: Interactions) -> int:
    """Rows of the tables that a step of Adam visits whole."""
    return sum(n for n in (log.num_users, log.num_items) if n <= ROWWISE)


def _history(log: Interactions, most: int) -> float:
    """Mean number of earlier clicks that a click carries, at most `most` each."""
    clicks = np.bincount(log.user[log.clicks()], minlength=log.num_users)
    short = np.minimum(clicks, most)
    return float((short * (short - 1) / 2 + (clicks - short) * most).sum() / max(1, clicks.sum()))


@dataclass(frozen=True)
class _Side:
    """Counts of one kind of node, a number each slice, [slices]; hyperedges of one member are not among them."""

    nodes: np.ndarray
    edges: np.ndarray
    incidences: np.ndarray
    capped: np.ndarray
    """Incidences where a hyperedge keeps at most K members and a node K hyperedges, at most."""


def _sides(user: np.ndarray, item: np.ndarray, at: np.ndarray, slices: int, most: int) -> tuple[_Side, _Side]:
    """Count users and items of every closed slice, and the hyperedges that join them; the clicks in order of time."""
    borders = np.searchsorted(at, np.arange(slices + 1))
    counts = np.zeros((2, 4, slices), np.int64)
    for n in range(slices):
        rows = slice(borders[n], borders[n + 1])
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
    """What the hypergraphs add: memory, and multiplications and additions a step and once an epoch."""

    parts: tuple[Part, ...] = ()
    sparse: float = 0.0
    dense: float = 0.0
    sparse_once: float = 0.0


def _hyperctr(run: config.Run, dataset: Dataset, sides: tuple[_Side, _Side], share: np.ndarray) -> _Work:
    """Memory and work of HyperCTR; `share` of the training rows read each slice as the latest."""
    model, d = run.model, run.model.dim
    widths = [min(x.shape[1], run.data.reduce or x.shape[1]) for x in dataset.items.modalities.values()]
    graphs, features = 1 + len(widths), sum(widths)
    alike = (
        len({np.packbits(x).tobytes() for x in dataset.items.present.values()}) if run.interest.mode == "none" else 0
    )
    different = max(1, alike or len(widths))  # modalities that the same items have share their hypergraphs
    stored, copies = (
        (1, 1) if different == 1 else (1 + different, 2 * different)
    )  # the group is all others side by side
    passes = 1 + len(widths) if different == 1 else different + len(widths)  # over the incidences, in one propagation

    def per_slice(side: _Side) -> np.ndarray:
        """Bytes of a slice's hypergraphs: two index arrays, and what is kept a node and a hyperedge."""
        return 2 * FLOAT * copies * side.incidences + 32 * stored * (side.nodes + side.edges)

    hypergraphs = sum(int(per_slice(side).sum()) for side in sides)
    # in training only nodes that a sampled hyperedge holds take part
    live = [np.minimum(s.nodes, stored * s.capped) if model.neighbors else s.nodes for s in sides]
    rows = int(sum(s.nodes.sum() for s in sides))
    layers = model.depth if model.propagation == "sampled" else 1
    kept = rows * (FLOAT * d * graphs * layers + 24) if model.depth else 0
    of_slice = [
        x * FLOAT * (graphs * d * (3 + 5 * model.depth) + inputs)
        for x, inputs in zip(live, (0, features + 2 * len(widths) * d), strict=True)
    ]
    together = sum(of_slice) if len(share) else np.zeros(1)
    propagation = together.sum() if model.propagation == "full" else together.max(initial=0)
    size = run.train.batch_size
    tokens = size * _history(dataset.interactions, run.data.history)
    items = min(tokens, dataset.interactions.num_items)
    batch = max(
        FLOAT * (items * (3 * graphs * d + 2 * features) + tokens * 25 * d + 3 * size * (d + 1) ** 2),
        FLOAT * min(PAIRS, 4 * dataset.interactions.num_items) * (4 * graphs * d + features + 4 * sum(model.hidden)),
    )
    if model.propagation == "sampled" or not model.depth:
        propagation = min(propagation, batch * model.neighbors) if model.depth and model.neighbors else 0
    parts = (
        Part("hypergraphs", hypergraphs, "at most"),
        Part("cached node states", kept, "at most"),
        Part("propagation", int(propagation), "estimated"),
        Part("batch", int(batch), "estimated"),
    )

    shared = model.batches_per_graph if model.propagation == "slice" else 1
    often = 1.5 / shared if shared > 1 else 1.0  # one more without gradients, then one for all of them
    reads = {"full": share[::-1].cumsum()[::-1], "slice": share}.get(model.propagation, 0 * share)
    products = 4 * passes * d * model.depth  # forward: both phases, a multiplication and an addition
    sparse = 2 * often * products * sum(float(reads @ s.capped) for s in sides)
    maps = 6 * d * d * graphs * model.depth
    dense = often * sum(float(reads @ x) * m for x, m in zip(live, (maps, maps + 6 * d * features), strict=True))
    dense += 6 * d * (8 * d * tokens + features * items + size * (d + 1) ** 2)
    once = products * sum(float(s.capped.sum() + s.incidences.sum()) for s in sides)
    return _Work(parts, sparse, dense, once)
