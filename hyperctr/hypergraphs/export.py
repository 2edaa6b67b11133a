"""Write one hypergraph of a built folder for other programs: HIF, scipy, pandas, networkx."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse

from graphs import Hypergraph
from graphs.attributes import Attributes
from graphs.convert import frames
from hyperctr.files import atomic, write_json
from hyperctr.hypergraphs.folder import (
    GROUP,
    KINDS,
    Graphs,
    Row,
    _check,
    _find,
    _known,
)


def export(built: Graphs, file: str | Path, to: str, n: int, side: str = "users", modality: str = GROUP) -> Path:
    """Write one hypergraph as a file that other programs read.

    - hif: HIF JSON (.json, .json.gz) with the attributes of `graphs.convert.hif`.
    - scipy: the sparse matrix H (.npz, for `scipy.sparse.load_npz`). The same file has node_ids, hyperedge_ids and
      hyperedge_weight, for `numpy.load`.
    - pandas: one row per incidence (.parquet, .csv).
    - networkx: the bipartite graph as node-link data (.json, for `networkx.node_link_graph(data, edges="edges")`), or
      as GraphML (.graphml), where lists are JSON text.

    Args:
        built: the hypergraphs.
        file: the file to write; its ending chooses among the format's kinds.
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
        with atomic(file) as part:
            write(h, part)
    except ImportError as error:
        raise ValueError(str(error)) from None
    return file


def _attributed(built: Graphs, row: Row) -> Hypergraph:
    """Load the hypergraph and attach its slice, modality and kind as attributes, as `graphs.convert.hif` names them."""
    h = Hypergraph.load(built.path / row.file)
    node, kind = KINDS[row.side]
    hyperedge = {"slice": row.slice, "modality": row.modality, "kind": kind}
    if built.has_time:
        hyperedge["presence"] = [[built.seconds(time(row.slice)) for time in (built.grid.start, built.grid.end)]]
    metadata = {"name": f"{built.data}: {row.side}, {row.modality}, slice {row.slice}", "every": built.every}
    nodes, hyperedges = dict.fromkeys(range(h.num_nodes), {"type": node}), range(h.num_hyperedges)
    return replace(h, attributes=Attributes(metadata, nodes, dict.fromkeys(hyperedges, hyperedge)))


def _to_npz(h: Hypergraph, path: Path) -> None:
    scipy.sparse.save_npz(path, frames.to_scipy(h))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        arrays = {"node_ids": h.node_ids, "hyperedge_ids": h.hyperedge_ids, "hyperedge_weight": _weight(h)}
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _to_table(h: Hypergraph, path: Path) -> None:
    """Write one row per incidence; hyperedges with the same id (one user, several modalities) differ in number."""
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
        return write_json(path, content, indent=None)
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
