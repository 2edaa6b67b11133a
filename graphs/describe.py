"""What a hypergraph looks like, in numbers: a dict for programs, a small table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

if TYPE_CHECKING:
    from graphs.hypergraph import Hypergraph

QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}


def describe(h: Hypergraph) -> dict:
    """Counts, density, quantiles of degree and size, and connectedness; plain numbers, ready for JSON.

    Returns:
        num_nodes, num_hyperedges, num_incidences, density (share of pairs that are incidences), isolated_nodes (in no
        hyperedge), empty_hyperedges, singletons (hyperedges of one member), components (isolated nodes are components
        of their own) and largest_component (in nodes), degree and size (mean and quantiles, as `h.degree()` and
        `h.size()` give them; zeros where there is nothing).
    """
    members = h.by_hyperedge.indptr.diff()
    components, largest = _components(h)
    return {
        "num_nodes": h.num_nodes,
        "num_hyperedges": h.num_hyperedges,
        "num_incidences": h.num_incidences,
        "density": h.num_incidences / max(h.num_nodes * h.num_hyperedges, 1),
        "isolated_nodes": int((h.by_node.indptr.diff() == 0).sum()),
        "empty_hyperedges": int((members == 0).sum()),
        "singletons": int((members == 1).sum()),
        "components": components,
        "largest_component": largest,
        "degree": _quantiles(h.degree()),
        "size": _quantiles(h.size()),
    }


def html_table(h: Hypergraph) -> str:
    """The description as an HTML table, one row a number."""
    rows = []
    for name, number in describe(h).items():
        if isinstance(number, dict):
            number = " · ".join(f"{key} {_short(entry)}" for key, entry in number.items())
        rows.append({"": name.replace("num_", "").replace("_", " "), str(h): _short(number)})
    return html_rows(rows)


def html_rows(rows: list[dict]) -> str:
    """Dicts with the same keys as an HTML table."""
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ("".join(f"<td>{escape(str(_short(row[name])))}</td>" for name in names) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"


def _components(h: Hypergraph) -> tuple[int, int]:
    """Number of connected components that hold a node, and the nodes in the largest."""
    if not h.num_nodes:
        return 0, 0
    indptr, indices, _ = h.numpy_members()
    count = h.num_nodes + h.num_hyperedges  # nodes first, then a vertex a hyperedge
    indptr = np.concatenate([np.zeros(h.num_nodes, dtype=indptr.dtype), indptr])
    graph = scipy.sparse.csr_array((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=(count, count))
    label = connected_components(graph, directed=False)[1][: h.num_nodes]
    sizes = np.bincount(label)
    return int((sizes > 0).sum()), int(sizes.max())


def _quantiles(x: Tensor) -> dict[str, float]:
    x = x.cpu().numpy()
    if not len(x):
        return {"mean": 0.0} | dict.fromkeys(QUANTILES, 0.0)
    values = np.quantile(x, list(QUANTILES.values()))
    return {"mean": float(x.mean())} | {name: float(v) for name, v in zip(QUANTILES, values, strict=True)}


def _short(number: object) -> object:
    return f"{number:.4g}" if isinstance(number, float) else number
