"""A data set's hypergraphs in a folder: built at one granularity, described, drawn, and exported for other programs.

graphs/
    graphs.json            what was built of which data, and a row a hypergraph: slice, side, modality, counts, file
    0-users-group.npz      a hypergraph that `graphs.Hypergraph.load` reads; its ids are the data set's own

Where the same items have two modalities, both have the same hypergraphs, in the same files. Equal hyperedges are one,
which has the id of the first and their number as its weight.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import scipy.sparse

from graphs import Hypergraph, TimeGrid
from graphs import draw as pictures
from graphs.attributes import Attributes
from graphs.build import from_ids
from hyperctr.data import folder, sources
from hyperctr.data.folder import Dataset
from hyperctr.data.interactions import Interactions
from hyperctr.data.roles import nearest
from hyperctr.hypergraphs import slice_hypergraphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INDEX = "graphs.json"
FORMAT = "hyperctr graph 1"
FILE = re.compile(r"\d+-(users|items)-[^/\\]+\.npz")
GROUP = "group"
KINDS = {"users": ("user", "user-interest"), "items": ("item", "item-homogeneous")}
"""Side -> what a node is there, and the paper's name of the hypergraphs."""
MOST_SLICES = 1000  # of a heat map
MOST_MODALITIES = 16  # of their comparison


@dataclass(frozen=True)
class Row:
    """A hypergraph of the index."""

    slice: int
    start: int
    """First second of the slice; without times, its first place in the order of events."""
    date: str
    side: str
    modality: str
    num_nodes: int
    num_hyperedges: int
    num_incidences: int
    file: str


@dataclass(frozen=True)
class Graphs:
    """A folder as `read` opened it; a hypergraph is read each time it is asked for."""

    path: Path
    data: str
    every: str
    has_time: bool
    grid: TimeGrid
    """The slices that had closed, all of them, also those without clicks."""
    modalities: tuple[str, ...]
    """The group, then the others."""
    rows: Mapping[tuple[int, str, str], Row]
    """By slice, side and modality; a slice without clicks has none."""

    def load(self, n: int, side: str, modality: str) -> Hypergraph:
        """One hypergraph; that of a slice without clicks has no nodes."""
        row = self.rows.get((n, side, modality))
        return from_ids([], []) if row is None else Hypergraph.load(self.path / row.file)

    def date(self, n: int) -> str:
        """Start of slice n."""
        return _when(self.grid.start(n), self.has_time)


@dataclass(frozen=True)
class Timeline:
    """One side and modality over time, read slice by slice: to `graphs.draw` the same as a TimeSlices."""

    graphs: Graphs
    side: str
    modality: str

    @property
    def grid(self) -> TimeGrid:
        """Where the slices lie."""
        return self.graphs.grid

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, n: int) -> Hypergraph:
        return self.graphs.load(n, self.side, self.modality)

    def __iter__(self) -> Iterator[Hypergraph]:
        return (self[n] for n in range(len(self)))

    def __str__(self) -> str:
        count = sum(
            row.num_incidences for key, row in self.graphs.rows.items() if key[1:] == (self.side, self.modality)
        )
        return f"{len(self)} slices, every {self.graphs.every}, {count:,} incidences"


# --- building ------------------------------------------------------------------------------------------------------


def build(
    data: str,
    every: str,
    out: str | Path,
    upto: str | None = None,
    progress: Callable[[Iterable, str, int], Iterable] = lambda slices, what, total: slices,
    say: Callable[[str], None] = lambda line: None,
) -> Graphs:
    """Build the hypergraphs of every closed slice, side and modality from all clicks, and write them to a folder.

    The folder appears complete or not at all; one that was built earlier is replaced.

    Args:
        data: name of a public data set, or a folder.
        every: width of a slice, such as 7d, or q8 for eight slices of equal counts, the last of which stays open.
        out: the folder.
        upto: a time: events from then on are left out, and slices that end later are not built. None takes the end of
            the log, so that the slice of the last event is not built unless it ends there.
        progress: wraps the slices (slices, a word, their number) to show a bar.
        say: takes the lines that say what was left out.

    Raises:
        ValueError: no such data, no clicks, no slice that has closed, or a folder that cannot be written.
    """
    dataset = folder.read(sources.find(data))
    if GROUP in dataset.items.present:
        raise ValueError(
            f"{dataset.name}: a modality cannot be called {GROUP}, which is all of them together; rename it"
        )
    rows: list[Row] = []
    with _written(Path(out)) as part:
        grid = _closed(dataset.name, dataset.interactions, every, upto, say)
        for n in progress(range(len(grid)), "slices", len(grid)):
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
        (part / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return read(out)


def _closed(name: str, log: Interactions, every: str, upto: str | None, say: Callable[[str], None]) -> TimeGrid:
    """The slices that have closed; says which events are in none."""
    clicks = log.time[log.clicks()]
    if not len(clicks):
        raise ValueError(f"{name} has no clicks to make hyperedges of")
    count = int(every[1:]) if re.fullmatch(r"q[1-9]\d*", every) else None
    if count is None and not log.has_time:
        raise ValueError(f"{name} has no times, only an order; cut it by counts: --every q8")
    grid = TimeGrid.cut(clicks, count=count) if count else TimeGrid.cut(clicks, every=every)
    until = int(log.time[-1]) + 1 if upto is None else _seconds(upto)
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
        if count and closed == len(grid) - 1:
            why = "the last slice of equal counts never closes"
        elif upto is None:
            why += f"; if the log is complete, --upto {_when(grid.end(closed), log.has_time)} takes them"
        say(f"left out: {late:,} of {len(clicks):,} clicks, those from {_when(end, log.has_time)} on: {why}")
    return replace(grid, num_slices=closed, edges=None if grid.edges is None else grid.edges[: closed + 1])


def _build_slice(part: Path, dataset: Dataset, grid: TimeGrid, n: int) -> list[Row]:
    """Build and save the hypergraphs of one slice."""
    log, present, bounds = dataset.interactions, dataset.items.present, (grid.start(n), grid.end(n))
    events = log.take(slice(*np.searchsorted(log.time, bounds)))
    alone = replace(grid, origin=bounds[0], num_slices=1, edges=None if grid.edges is None else bounds)
    built = slice_hypergraphs(events, present, alone, upto=bounds[1])
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


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write into, which takes its name at the end; an error leaves all as it was."""
    if refused := _not_ours(path):
        raise ValueError(f"{path} is already there and {refused}; choose another folder or remove it")
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror or error}") from None
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)


def _not_ours(path: Path) -> str | None:
    """Say why a folder must not be replaced, or None."""
    if path.name in ("", ".."):
        return "has no name of its own"
    if path.is_symlink() or not path.exists():
        return "is a link" if path.is_symlink() else None
    if not path.is_dir():
        return "is no folder"
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if name != INDEX and not FILE.fullmatch(name)]
    if foreign:
        return f"holds {foreign[0]}, which `hyperctr graph build` did not write"
    return f"holds no {INDEX}" if names and INDEX not in names else None


# --- reading -------------------------------------------------------------------------------------------------------


def read(path: str | Path) -> Graphs:
    """Open a folder that `build` wrote; only its index is read.

    Raises:
        ValueError: it is another folder, or lacks a file.
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
    """Numbers of every slice and side, and of all slices together, ready for JSON.

    Returns:
        data, every, slices and totals. A row of `slices`: slice, start, date, side, nodes (users or items that are
        active), isolated (in no hyperedge), hyperedges and incidences by modality, median and max of the group's sizes,
        returning (the share of nodes that were in the slice before) and overlap (nodes of both slices as a share of
        those of either, the Jaccard index); the last two are None for slice 0. A row of `totals`: side, slices (those
        with clicks), nodes (distinct ones), hyperedges, incidences, median and max.
    """
    rows, totals = [], []
    for side in KINDS:
        before, seen, sizes = None, set(), []
        for n in range(len(built.grid)):
            h = built.load(n, side, GROUP)
            sizes.append(np.diff(h.numpy_members()[0]))
            row = {"slice": n, "start": built.grid.start(n), "date": built.date(n), "side": side, "nodes": h.num_nodes}
            row["isolated"] = int((h.by_node.indptr.diff() == 0).sum())
            found = [built.rows.get((n, side, name)) for name in built.modalities]
            row |= _counts(built.modalities, filter(None, found)) | _middle(sizes[-1])
            row |= {"returning": None, "overlap": None} if before is None else _common(before, h.node_ids)
            rows.append(row)
            before = h.node_ids
            seen.update(h.node_ids.tolist())
        found = [row for row in built.rows.values() if row.side == side]
        totals.append({"side": side, "slices": len({row.slice for row in found}), "nodes": len(seen)})
        totals[-1] |= _counts(built.modalities, found) | _middle(np.concatenate(sizes))
    rows.sort(key=lambda row: row["slice"])
    return {"data": built.data, "every": built.every, "slices": rows, "totals": totals}


def _counts(names: Iterable[str], rows: Iterable[Row]) -> dict:
    """Hyperedges and incidences by modality."""
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


# --- drawing -------------------------------------------------------------------------------------------------------


def draw(
    built: Graphs,
    out: str | Path,
    n: int | None = None,
    side: str = "users",
    modality: str = GROUP,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw all slices of one side and modality, and one slice closely, as PNG files in a folder.

    Args:
        built: the hypergraphs.
        out: the folder; pictures of the same name are replaced.
        n: the slice; None takes the one with most incidences.
        side: users or items.
        modality: what the pictures show that do not compare modalities.
        say: takes the lines that say what was chosen and what could not be drawn.

    Raises:
        ValueError: no such slice, side or modality, or a folder that cannot be written.
    """
    import matplotlib.pyplot as plt

    _check(built, side, modality)
    if n is None:
        rows = [row for row in built.rows.values() if (row.side, row.modality) == (side, modality)]
        n = max(rows, key=lambda row: row.num_incidences).slice
        say(f"slice {n}, from {built.date(n)}, has most incidences: it is the one drawn")
    _find(built, n, side, modality)
    timeline, by_name = Timeline(built, side, modality), {m: built.load(n, side, m) for m in built.modalities}
    others = {name: h for name, h in by_name.items() if name != GROUP}
    all_slices, slice_n = f"{built.data}: {side}, {modality}", f"{built.data}: {side}, slice {n}, from {built.date(n)}"

    def tall() -> Axes:
        """Axes over a legend with a line for each modality."""
        return plt.subplots(figsize=(6.4, 4.2 + 0.2 * len(by_name)), layout="constrained")[1]

    made = {f"{side}-{modality}-strip": (all_slices, lambda: pictures.strip(timeline))}
    if 2 <= len(timeline) <= MOST_SLICES:
        made[f"{side}-{modality}-overlap"] = (all_slices, lambda: pictures.overlap(timeline))
    else:
        say(f"overlap of slices not drawn: it takes 2 to {MOST_SLICES} of them, there are {len(timeline)}")
    made[f"{n}-{side}-degrees"] = (slice_n, lambda: pictures.degrees(by_name, tall()))
    made[f"{n}-{side}-sizes"] = (slice_n, lambda: pictures.sizes(by_name, tall()))
    made[f"{n}-{side}-{modality}-incidence"] = (f"{slice_n}, {modality}", lambda: pictures.incidence(by_name[modality]))
    if 2 <= len(others) <= MOST_MODALITIES:
        made[f"{n}-{side}-modalities"] = (slice_n, lambda: pictures.modalities(others))
    else:
        say(f"modalities not compared: it takes 2 to {MOST_MODALITIES} of them, there are {len(others)}")
    paths = []
    for name, (title, picture) in made.items():
        axes = picture()
        axes.set_title(f"{title}\n{axes.get_title(loc='left')}", loc="left")
        paths.append(Path(out) / f"{name}.png")
        with _moved(paths[-1]) as part:
            axes.figure.savefig(part, dpi=160, bbox_inches="tight", facecolor="white", metadata={"Software": None})
        plt.close(axes.figure)
    return paths


# --- exporting -----------------------------------------------------------------------------------------------------


def export(built: Graphs, file: str | Path, to: str, n: int, side: str = "users", modality: str = GROUP) -> Path:
    """Write one hypergraph as a file that other programs read.

    hif: HIF JSON (.json, .json.gz) with the attributes that `graphs.hif` names. scipy: the sparse matrix H (.npz, for
    `scipy.sparse.load_npz`), and in the same file, for `numpy.load`, node_ids, hyperedge_ids and hyperedge_weight.
    pandas: a row an incidence (.parquet, .csv). networkx: the bipartite graph as node-link data (.json, for
    `networkx.node_link_graph(data, edges="edges")`), or as GraphML (.graphml), where lists are JSON text.

    Args:
        built: the hypergraphs.
        file: what to write; its ending says which of the format's kinds.
        to: hif, scipy, pandas or networkx.
        n: the slice.
        side: users or items.
        modality: the modality, or the group.

    Raises:
        ValueError: no such format, ending, slice, side or modality, a file that cannot be written, or networkx is
            missing.
    """
    file = Path(file)
    _known("format", to, FORMATS)
    endings, write = FORMATS[to]
    if not file.name.endswith(endings):
        raise ValueError(f"{file}: {to} is written to a file that ends in {' or '.join(endings)}")
    _check(built, side, modality)
    h = _attributed(built, _find(built, n, side, modality))
    try:
        with _moved(file) as part:
            write(h, part)
    except ImportError as error:
        raise ValueError(str(error)) from None
    return file


def _attributed(built: Graphs, row: Row) -> Hypergraph:
    """The hypergraph with what its place in the folder says of it, by the names of `graphs.hif`."""
    h = Hypergraph.load(built.path / row.file)
    node, kind = KINDS[row.side]
    hyperedge = {"slice": row.slice, "modality": row.modality, "kind": kind}
    if built.has_time:
        hyperedge["presence"] = [[built.grid.start(row.slice), built.grid.end(row.slice)]]
    metadata = {"name": f"{built.data}: {row.side}, {row.modality}, slice {row.slice}", "every": built.every}
    nodes, hyperedges = dict.fromkeys(range(h.num_nodes), {"type": node}), range(h.num_hyperedges)
    return replace(h, attributes=Attributes(metadata, nodes, dict.fromkeys(hyperedges, hyperedge)))


def _to_npz(h: Hypergraph, path: Path) -> None:
    scipy.sparse.save_npz(path, h.to_scipy())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        arrays = {"node_ids": h.node_ids, "hyperedge_ids": h.hyperedge_ids, "hyperedge_weight": _weight(h)}
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _to_table(h: Hypergraph, path: Path) -> None:
    """A row an incidence; hyperedges that share an id (a user's of several modalities) differ in their number."""
    node, hyperedge = h.hyperedge_index.numpy()
    columns = {"node": h.node_ids[node], "hyperedge": h.hyperedge_ids[hyperedge], "hyperedge_number": hyperedge}
    table = pl.DataFrame(columns | {"hyperedge_weight": _weight(h)[hyperedge]})
    table.write_csv(path) if path.suffix == ".csv" else table.write_parquet(path)


def _to_network(h: Hypergraph, path: Path) -> None:
    graph = h.to_networkx()
    if path.suffix == ".json":
        nodes = [entries | {"id": name} for name, entries in graph.nodes(data=True)]
        edges = [entries | {"source": one, "target": other} for one, other, entries in graph.edges(data=True)]
        content = {"directed": False, "multigraph": False, "graph": graph.graph, "nodes": nodes, "edges": edges}
        return path.write_text(json.dumps(content), encoding="utf-8")
    import networkx as nx

    for entries in (graph.graph, *(entries for _, entries in graph.nodes(data=True))):
        entries |= {name: json.dumps(entry) for name, entry in entries.items() if isinstance(entry, list | dict)}
    sides = {name: ("node", "hyperedge")[side] for name, side in graph.nodes(data="bipartite")}
    names = {name: f"{side} {name[1] if isinstance(name, tuple) else name}" for name, side in sides.items()}
    nx.write_graphml(nx.relabel_nodes(graph, names), path)


FORMATS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "hif": ((".json", ".json.gz"), Hypergraph.to_hif),
    "scipy": ((".npz",), _to_npz),
    "pandas": ((".parquet", ".csv"), _to_table),
    "networkx": ((".json", ".graphml"), _to_network),
}


def _weight(h: Hypergraph) -> np.ndarray:
    return np.ones(h.num_hyperedges, np.float32) if h.hyperedge_weight is None else h.hyperedge_weight.numpy()


# --- shared --------------------------------------------------------------------------------------------------------


@contextmanager
def _moved(path: Path) -> Iterator[Path]:
    """A file beside `path`, with its ending, which takes its name at the end."""
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise ValueError(f"cannot write to {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def _check(built: Graphs, side: str, modality: str) -> None:
    _known("side", side, KINDS)
    _known("modality", modality, built.modalities)


def _known(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}{nearest(name, names)} (there are: {', '.join(names)})")


def _find(built: Graphs, n: int, side: str, modality: str) -> Row:
    if not 0 <= n < len(built.grid):
        raise ValueError(f"{built.path} has slices 0 to {len(built.grid) - 1}, got {n}")
    if (n, side, modality) not in built.rows:
        others = sorted({str(row.slice) for row in built.rows.values()}, key=int)
        raise ValueError(f"slice {n}, from {built.date(n)}, has no clicks; these have: {', '.join(others[:20])}")
    return built.rows[n, side, modality]


def _seconds(text: str) -> int:
    try:
        return int(folder.seconds(pl.Series([text]), "--upto")[0])
    except ValueError:
        raise ValueError(f"--upto takes a date or time such as 2024-05-01T06:00, or seconds, got {text!r}") from None


def _when(time: int, has_time: bool) -> str:
    return str(np.datetime64(time, "s")).removesuffix("T00:00:00") if has_time else str(time)
