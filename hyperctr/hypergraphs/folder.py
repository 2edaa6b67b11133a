"""Build, read and describe a folder with the hypergraphs of a data set at one granularity.

graphs/
    graphs.json            the data and the slices, and one row per hypergraph: slice, side, modality, counts, file
    0-users-group.npz      a hypergraph that `graphs.Hypergraph.load` reads; its ids are the data set's own

Two modalities of the same items share their hypergraphs and files. Equal hyperedges are merged into one, with the id of
the first and their number as its weight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from graphs import Hypergraph, TimeGrid
from graphs.build import from_ids
from graphs.slices.grid import UNITS, Granularity, date
from hyperctr.data import catalog, clock
from hyperctr.data import read as read_module
from hyperctr.data.dataset import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.progress import Bar, no_progress
from hyperctr.files import replace_folder, write_json
from hyperctr.hypergraphs.recipes import slice_hypergraphs
from hyperctr.strict import did_you_mean

INDEX = "graphs.json"
FORMAT = "hyperctr graph 1"
FILE = re.compile(r"\d+-(users|items)-[^/\\]+\.npz")
GROUP = "group"
KINDS = {"users": ("user", "user-interest"), "items": ("item", "item-homogeneous")}
"""Side -> what its nodes are, and the paper's name of its hypergraphs."""


@dataclass(frozen=True)
class Row:
    """One row of the index: a hypergraph."""

    slice: int
    start: int
    """Start of the slice in the grid's unit; without times, its first position in the order of events."""
    date: str
    side: str
    modality: str
    num_nodes: int
    num_hyperedges: int
    num_incidences: int
    file: str


@dataclass(frozen=True)
class Graphs:
    """A folder as `read` opened it; `load` reads a hypergraph from its file each time."""

    path: Path
    data: str
    every: str
    has_time: bool
    grid: TimeGrid
    """All slices that had closed, also those without clicks."""
    modalities: tuple[str, ...]
    """The group, then the modalities."""
    rows: Mapping[tuple[int, str, str], Row]
    """By slice, side and modality; a slice without clicks has no rows."""

    def load(self, n: int, side: str, modality: str) -> Hypergraph:
        """Read the hypergraph of one slice, side and modality; a slice without clicks gives one without nodes."""
        row = self.rows.get((n, side, modality))
        return from_ids([], []) if row is None else Hypergraph.load(self.path / row.file)

    def filled(self) -> list[int]:
        """Return the numbers of the slices with clicks, ascending."""
        return sorted({n for n, _, _ in self.rows})

    def date(self, n: int) -> str:
        """Format the start of slice n: a UTC date or time, or its position in data without times."""
        return _when(self.grid.start(n), self.has_time, self.grid.unit)

    def seconds(self, time: int) -> int | float:
        """Return a time of the grid in seconds since 1970; in data without times it is a position."""
        per = UNITS[self.grid.unit] if self.has_time else 1
        return time / per if time % per else time // per


def build(
    data: str,
    every: str,
    out: str | Path,
    upto: str | None = None,
    progress: Bar = no_progress,
    say: Callable[[str], None] = lambda line: None,
) -> Graphs:
    """Build the hypergraphs of every closed slice, side and modality from all clicks, and write them to a folder.

    The folder appears complete or not at all; a folder that was built earlier is replaced.

    Args:
        data: name of a public data set, or a folder.
        every: width of a slice, such as 7d; or q8 for eight slices of equal counts, of which the last stays open.
        out: the folder to write.
        upto: a time; later events are left out, and slices that end later are not built. None takes the end of the log.
            The slice of the last event is then built only if it ends there.
        progress: wraps the slices (slices, a word, their number) to show a bar.
        say: takes one line per kind of event that was left out.

    Raises:
        ValueError: no such data, no clicks, no slice that has closed, or a folder that cannot be written.
    """
    dataset = read_module.read(catalog.find(data))
    if GROUP in dataset.items.present:
        raise ValueError(
            f"{dataset.name}: a modality cannot be called {GROUP}, which means all of them together; rename it"
        )
    rows: list[Row] = []
    with replace_folder(out, INDEX, lambda name: FILE.fullmatch(name), "`hyperctr graph build`") as part:
        grid = _closed(dataset.name, dataset.interactions, every, upto, say)
        filled = _filled(dataset.interactions, grid)
        for n in progress(filled, "slices", len(filled)):
            rows += _build_slice(part, dataset, grid, n)
        index = {
            "format": FORMAT,
            "data": dataset.name,
            "every": every,
            "has_time": dataset.interactions.has_time,
            "grid": asdict(grid),
            "modalities": [GROUP, *dataset.items.present],
            "hypergraphs": [asdict(row) for row in rows],
        }
        write_json(part / INDEX, index)
    return read(out)


def _closed(name: str, log: Interactions, every: str, upto: str | None, say: Callable[[str], None]) -> TimeGrid:
    """Cut the slices that have closed by `upto`; say which events are in no such slice."""
    clicks = log.time[log.clicks()]
    if not len(clicks):
        raise ValueError(f"{name} has no clicks to make hyperedges from")
    cut = Granularity.parse(every)
    if not cut.by_count and not log.has_time:
        raise ValueError(f"{name} has no times, only an order; cut it by counts: --every q8")
    how = {"count": cut.count} if cut.by_count else {"every": every}
    grid = TimeGrid.cut(clicks, **how, unit="us")
    until = int(log.time[-1]) + 1 if upto is None else clock.option(upto, "--upto", log.has_time)
    closed = min(int(grid.slice_of(np.array([until]))[0]), len(grid))
    if closed < 1:
        raise ValueError(
            f"no slice of {every} has closed by {_when(until, log.has_time)}: the first begins at "
            f"{_when(grid.start(0), log.has_time)}; choose narrower slices (--every) or a later --upto"
        )
    end = grid.start(closed)
    if others := len(log) - len(clicks):
        say(f"{others:,} of {len(log):,} events are no clicks and make no hyperedges")
    if late := int((clicks >= end).sum()):
        why = f"their slice has not closed by {_when(until, log.has_time)}"
        if cut.by_count and closed == len(grid) - 1:
            why = "the last slice of equal counts never closes"
        elif upto is None:
            why += f"; if the log is complete, --upto {_when(grid.end(closed), log.has_time)} includes them"
        say(f"left out: {late:,} of {len(clicks):,} clicks, those from {_when(end, log.has_time)} on: {why}")
    return replace(grid, num_slices=closed, edges=None if grid.edges is None else grid.edges[: closed + 1])


def _filled(log: Interactions, grid: TimeGrid) -> list[int]:
    """Return the numbers of the grid's slices that have clicks: empty ones cost nothing."""
    n = np.unique(grid.slice_of(log.time[log.clicks()]))
    return n[(n >= 0) & (n < len(grid))].tolist()


def _build_slice(part: Path, dataset: Dataset, grid: TimeGrid, n: int) -> list[Row]:
    """Build and save the hypergraphs of one slice."""
    log, present, bounds = dataset.interactions, dataset.items.present, (grid.start(n), grid.end(n))
    events = log.take(slice(*np.searchsorted(log.time, bounds)))
    one_slice = replace(grid, origin=bounds[0], num_slices=1, edges=None if grid.edges is None else bounds)
    built = slice_hypergraphs(events, present, one_slice, upto=bounds[1])
    if built.users[0] is None:
        return []
    date, ids = _when(bounds[0], log.has_time), {"users": dataset.users.ids, "items": dataset.items.ids}
    rows = []
    for which, other, side in (("users", "items", built.users[0]), ("items", "users", built.items[0])):
        files: dict[int, str] = {}
        for name, h in zip(built.names, side.graphs, strict=True):
            if id(h) not in files:
                files[id(h)] = f"{n}-{which}-{name}.npz"
                named = replace(h, node_ids=ids[which][h.node_ids], hyperedge_ids=ids[other][h.hyperedge_ids])
                named.save(part / files[id(h)])
            counts = h.num_nodes, h.num_hyperedges, h.num_incidences
            rows.append(Row(n, bounds[0], date, which, name, *counts, files[id(h)]))
    return rows


def read(path: str | Path) -> Graphs:
    """Open a folder that `build` wrote; only its index is read.

    Raises:
        ValueError: it is no such folder, or it lacks a file.
    """
    path = Path(path)
    if not (path / INDEX).is_file():
        what = f"{path} has no {INDEX}" if path.exists() else f"there is no folder {path}"
        raise ValueError(f"{what}; `hyperctr graph build --out {path}` makes one")
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"its format is {index['format']!r}, this version reads {FORMAT!r}")
        edges = index["grid"].pop("edges")
        grid = TimeGrid(**index["grid"], edges=None if edges is None else tuple(edges))
        modalities, rows = tuple(index["modalities"]), [Row(**row) for row in index["hypergraphs"]]
        for row in rows:
            if row.slice not in range(len(grid)) or row.side not in KINDS or row.modality not in modalities:
                raise ValueError(f"it has no slice {row.slice!r} of {row.side!r} and {row.modality!r}")
            if not FILE.fullmatch(row.file) or not (path / row.file).is_file():
                raise ValueError(f"it lacks {row.file}")
        names = [str(index[name]) for name in ("data", "every")]
        keyed = {(row.slice, row.side, row.modality): row for row in rows}
        return Graphs(path, *names, bool(index["has_time"]), grid, modalities, keyed)
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a folder that `hyperctr graph build` wrote: {error}") from None


def describe(built: Graphs) -> dict:
    """Count nodes, hyperedges and incidences per slice and side, and over all slices; ready for JSON.

    Returns:
        data, every, empty (number of slices without clicks, which have no row), slices and totals.
        A row of `slices`: slice, start, date, side; nodes (active users or items); isolated (nodes in no hyperedge);
        hyperedges and incidences by modality; median and max of the hyperedge sizes of the group; returning (share of
        the nodes that were active in the previous slice); overlap (Jaccard index of the nodes of this and the previous
        slice). The last two are None for slice 0.
        A row of `totals`: side, slices (with clicks), nodes (distinct), hyperedges, incidences, median and max.
    """
    rows, totals = [], []
    for side in KINDS:
        before, last, seen, sizes = None, -1, set(), []
        for n in built.filled():
            if last < n - 1:  # the slice before is empty
                before = np.empty(0, np.int64)
            last, h = n, built.load(n, side, GROUP)
            sizes.append(np.diff(h.numpy_members()[0]))
            row = {
                "slice": n,
                "start": built.seconds(built.grid.start(n)),
                "date": built.date(n),
                "side": side,
                "nodes": h.num_nodes,
            }
            row["isolated"] = int((h.by_node.indptr.diff() == 0).sum())
            indexed = [built.rows.get((n, side, name)) for name in built.modalities]
            row |= _counts(built.modalities, filter(None, indexed)) | _middle(sizes[-1])
            row |= {"returning": None, "overlap": None} if before is None else _common(before, h.node_ids)
            rows.append(row)
            before = h.node_ids
            seen.update(h.node_ids.tolist())
        indexed = [row for row in built.rows.values() if row.side == side]
        totals.append({"side": side, "slices": len({row.slice for row in indexed}), "nodes": len(seen)})
        totals[-1] |= _counts(built.modalities, indexed) | _middle(np.concatenate([np.empty(0, np.int64), *sizes]))
    rows.sort(key=lambda row: row["slice"])
    empty = len(built.grid) - len(built.filled())
    return {"data": built.data, "every": built.every, "empty": empty, "slices": rows, "totals": totals}


def _counts(names: Iterable[str], rows: Iterable[Row]) -> dict:
    """Sum hyperedges and incidences by modality."""
    hyperedges, incidences = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for row in rows:
        hyperedges[row.modality] += row.num_hyperedges
        incidences[row.modality] += row.num_incidences
    return {"hyperedges": hyperedges, "incidences": incidences}


def _middle(sizes: np.ndarray) -> dict:
    return {"median": float(np.median(sizes)) if len(sizes) else 0.0, "max": int(sizes.max(initial=0))}


def _common(before: np.ndarray, now: np.ndarray) -> dict:
    both = len(np.intersect1d(before, now, assume_unique=True))
    return {"returning": both / max(len(now), 1), "overlap": both / max(len(before) + len(now) - both, 1)}


def _check(built: Graphs, side: str, modality: str) -> None:
    _known("side", side, KINDS)
    _known("modality", modality, built.modalities)


def _known(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        near = did_you_mean(name, names)
        raise ValueError(f"unknown {what} {name!r}{near and ', ' + near} (there are: {', '.join(names)})")


def _find(built: Graphs, n: int, side: str, modality: str) -> Row:
    if not 0 <= n < len(built.grid):
        raise ValueError(f"{built.path} has slices 0 to {len(built.grid) - 1}, got {n}")
    if (n, side, modality) not in built.rows:
        others = sorted({str(row.slice) for row in built.rows.values()}, key=int)
        raise ValueError(f"slice {n}, from {built.date(n)}, has no clicks; these have: {', '.join(others[:20])}")
    return built.rows[n, side, modality]


def _when(time: int, has_time: bool, unit: str = "us") -> str:
    return date(time, unit).removesuffix("T00:00:00") if has_time else str(time)
