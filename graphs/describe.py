"""Descriptions of hypergraphs: numbers for programs, small tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Literal

import numpy as np
import scipy.sparse

from graphs.expand import components
from graphs.incidence import Incidence
from graphs.index.equal import leaders
from graphs.index.ids import number

QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
BARS = 24  # in the picture of a distribution
INK = 'fill="currentColor" opacity="0.6"'  # the colour of the page's own text, light or dark
MOST_ROWS = 40  # in a table of slices; a longer table leaves out its middle


def describe(h: Incidence) -> dict:
    """Return counts, density, quantiles of degree and size, and components: plain numbers, ready for JSON.

    Returns:
        num_nodes, num_hyperedges, num_incidences, density (share of pairs that are incidences), isolated_nodes (in no
        hyperedge), empty_hyperedges, singletons (hyperedges of one member), duplicate_hyperedges (with the members of
        an earlier one), components (an isolated node is a component by itself) and largest_component (in nodes),
        degree and size (mean and quantiles of `h.degree()` and `h.size()`; zeros if there is nothing).

    >>> facts = describe(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1], num_nodes=3))
    >>> facts["density"], facts["isolated_nodes"], facts["size"]["max"]
    (0.5, 1, 2.0)
    """
    indptr, indices, _ = h.numpy_members()
    members = np.diff(indptr)
    component = np.bincount(components(h)[0])
    return {
        "num_nodes": h.num_nodes,
        "num_hyperedges": h.num_hyperedges,
        "num_incidences": h.num_incidences,
        "density": h.num_incidences / max(h.num_nodes * h.num_hyperedges, 1),
        "isolated_nodes": int((h.by_node.indptr.diff() == 0).sum()),
        "empty_hyperedges": int((members == 0).sum()),
        "singletons": int((members == 1).sum()),
        "duplicate_hyperedges": h.num_hyperedges - len(np.unique(leaders(indptr, indices, None, h.num_nodes))),
        "components": len(component),
        "largest_component": int(component.max(initial=0)),
        "degree": quantiles(h.degree().cpu().numpy()),
        "size": quantiles(h.size().cpu().numpy()),
    }


def overlap(hypergraphs: Iterable[Incidence], of: Literal["nodes", "hyperedges", "incidences"] = "nodes") -> np.ndarray:
    """Return the Jaccard index |A and B| / |A or B| of the nodes, hyperedges or incidences of every two hypergraphs.

    Returns:
        [n, n], float64, symmetric, ones on the diagonal; a row of zeros for a hypergraph without incidences.

    Raises:
        ValueError: an unknown `of`.

    >>> overlap([Hypergraph.from_pairs([0, 1], [0, 0]), Hypergraph.from_pairs([1, 2], [0, 0])])[0, 1].round(3)
    np.float64(0.333)
    """
    contains = held(hypergraphs, of)
    both = (contains @ contains.T).toarray()
    num = both.diagonal()
    return both / np.maximum(num[:, None] + num - both, 1)


def held(
    hypergraphs: Iterable[Incidence], of: Literal["nodes", "hyperedges", "incidences"] = "nodes"
) -> scipy.sparse.csr_array:
    """Mark what each hypergraph contains by ones, [n, all that occur]: nodes in a hyperedge, hyperedges with a member.

    Nodes or hyperedges of two hypergraphs are the same if their ids are equal (their numbers, if there are no ids).
    Incidences are the same if node and hyperedge are.

    Raises:
        ValueError: an unknown `of`.

    >>> held([Hypergraph.from_pairs([0, 1], [0, 0]), Hypergraph.from_pairs([1, 2], [0, 0])]).toarray()
    array([[1, 1, 0],
           [0, 1, 1]])
    """
    if of not in ("nodes", "hyperedges", "incidences"):
        raise ValueError(f'of must be "nodes", "hyperedges" or "incidences", got {of!r}')
    if of == "incidences":
        contained = _incidences(list(hypergraphs))
    else:
        contained = _numbered([_active(h if of == "nodes" else h.T) for h in hypergraphs])
    indptr = np.cumsum([0, *map(len, contained)])
    indices = np.concatenate([np.empty(0, dtype=np.int64), *contained])
    shape = len(contained), int(indices.max(initial=-1)) + 1
    return scipy.sparse.csr_array((np.ones(len(indices), dtype=np.int64), indices, indptr), shape=shape)


def html_table(h: Incidence) -> str:
    """Return the description as an HTML table: one row for nodes and their degree, one for hyperedges and their size.

    >>> html_table(Hypergraph.from_pairs([0], [0]))[:7]
    '<table>'
    """
    facts = describe(h)
    rows = {
        f"nodes (degree){_some(h.node_ids)}": h.degree().cpu().numpy(),
        f"hyperedges (size){_some(h.hyperedge_ids)}": h.size().cpu().numpy(),
    }
    below = (
        f"{facts['num_incidences']:,} incidences, density {facts['density']:.3g} · "
        f"{facts['components']:,} components, the largest of {facts['largest_component']:,} nodes · "
        f"nodes: {facts['isolated_nodes']:,} isolated · hyperedges: {facts['empty_hyperedges']:,} empty, "
        f"{facts['singletons']:,} of one member, {facts['duplicate_hyperedges']:,} duplicates"
    )
    return html_quantiles(rows, repr(h), below)


def html_quantiles(rows: Mapping[str, np.ndarray], caption: str, below: str) -> str:
    """Return numbers by name as an HTML table: how many, mean, quantiles and a distribution per row.

    >>> html_quantiles({"size": np.array([1, 2])}, "two hyperedges", "")[:7]
    '<table>'
    """
    title = "how many, from the smallest to the largest on a log scale"
    cells = [
        [name, _short(len(x)), *map(_short, quantiles(x).values()), _bars(_distribution(x), title)]
        for name, x in rows.items()
    ]
    return _table(["", "count", "mean", *QUANTILES, "distribution"], cells, escape(caption), below)


def html_rows(rows: list[dict], caption: str = "") -> str:
    """Return dicts with the same keys, such as those of `TimeSlices.describe`, as an HTML table with bars.

    >>> html_rows([{"slice": 0, "num_incidences": 3}])[:7]
    '<table>'
    """
    names = [name for name in (rows[0] if rows else []) if name not in ("start", "end")]  # the date says when
    counts = np.array([row.get("num_incidences", 0) for row in rows], dtype=np.float64)
    cells = [[escape(_short(row[name])) for name in names] for row in rows]
    for row, share in zip(cells, counts / counts.max(initial=1), strict=True):
        row.append(f'<svg width="{100 * share:.0f}" height="10"><rect width="100%" height="10" {INK}/></svg>')
    if len(rows) > MOST_ROWS:
        left_out = f"… {len(rows) - MOST_ROWS:,} more …"
        cells = [*cells[: MOST_ROWS // 2], [left_out], *cells[-MOST_ROWS // 2 :]]
    head = [escape(name.removeprefix("num_").replace("_", " ")) for name in names]
    return _table([*head, ""], cells, escape(caption))


def quantiles(x: np.ndarray) -> dict[str, float]:
    """Return the mean and the quantiles of numbers; zeros if there are none.

    >>> quantiles(np.array([1, 2, 9]))["median"]
    2.0
    """
    if not len(x):
        return {"mean": 0.0} | dict.fromkeys(QUANTILES, 0.0)
    values = np.quantile(x, list(QUANTILES.values()))
    return {"mean": float(x.mean())} | {name: float(v) for name, v in zip(QUANTILES, values, strict=True)}


def _ids(h: Incidence) -> np.ndarray:
    return np.arange(h.num_nodes) if h.node_ids is None else h.node_ids


def _active(h: Incidence) -> np.ndarray:
    """Return the ids of the nodes that are in some hyperedge."""
    return _ids(h)[(h.by_node.indptr.diff() > 0).cpu().numpy()]


def _incidences(hypergraphs: list[Incidence]) -> list[np.ndarray]:
    """Number the incidences of several hypergraphs together, by the ids of node and hyperedge."""
    nodes = _numbered([_ids(h) for h in hypergraphs])
    hyperedges = _numbered([_ids(h.T) for h in hypergraphs])
    width = 1 + max((int(number.max(initial=0)) for number in hyperedges), default=0)
    pairs = []
    for h, node, hyperedge in zip(hypergraphs, nodes, hyperedges, strict=True):
        indptr, indices, _ = h.numpy_members()
        pairs.append(node[indices] * width + np.repeat(hyperedge, np.diff(indptr)))
    return _numbered(pairs)


def _numbered(ids: list[np.ndarray]) -> list[np.ndarray]:
    """Number the ids in several arrays together; return one array of numbers per array of ids, int64."""
    if ids and all(part.dtype.kind in "iu" for part in ids):
        numbers = number(np.concatenate([part.astype(np.int64) for part in ids]))[1].astype(np.int64)
        return np.split(numbers, np.cumsum([len(part) for part in ids])[:-1])
    known: dict = {}
    return [np.array([known.setdefault(i, len(known)) for i in part.tolist()], dtype=np.int64) for part in ids]


def _distribution(x: np.ndarray) -> np.ndarray:
    """Count the positive values in each of at most BARS bins of equal width in the logarithm."""
    x = x[x > 0]
    if not len(x):
        return np.empty(0)
    edges = np.geomspace(x.min(), x.max() * 1.000001, BARS + 1)
    if (x == np.floor(x)).all():
        edges = np.unique(np.ceil(edges))  # no bin without an integer
    return np.histogram(x, edges)[0]


def _table(head: list[str], rows: list[list[str]], caption: str, below: str = "") -> str:
    """Return cells of HTML as a table; a row of one cell takes the whole width."""
    cells = [
        f'<td colspan="{len(head)}">{row[0]}</td>' if len(row) == 1 else "".join(f"<td>{cell}</td>" for cell in row)
        for row in rows
    ]
    below = f'<tr><td colspan="{len(head)}" style="text-align:left">{below}</td></tr>' if below else ""
    return (
        f'<table><caption style="text-align:left">{caption}</caption>'
        f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"
        f"{''.join(f'<tr>{row}</tr>' for row in cells)}{below}</table>"
    )


def _bars(heights: np.ndarray, title: str) -> str:
    """Return bars as an inline SVG; a bar above zero is at least one pixel high."""
    heights = np.where(heights > 0, np.maximum(24 * heights / max(heights.max(initial=0), 1), 1), 0)
    path = "".join(f"M{5 * i} 24v-{height:.1f}h4v{height:.1f}z" for i, height in enumerate(heights) if height)
    return (
        f'<svg width="{5 * BARS}" height="24" role="img" aria-label="{title}">'
        f'<title>{title}</title><path d="{path}" {INK}/></svg>'
    )


def _some(ids: np.ndarray | None) -> str:
    """Return the first few ids, on a line of their own."""
    if ids is None or not len(ids):
        return ""
    first = [text if len(text) <= 20 else f"{text[:19]}…" for text in map(str, ids[:4].tolist())]
    return f"<br><small>{escape(', '.join(first))}{', …' if len(ids) > 4 else ''}</small>"


def _short(entry: object) -> str:
    """Write integers with commas between thousands, other numbers with four digits."""
    if isinstance(entry, float):
        return f"{entry:,.0f}" if entry.is_integer() else f"{entry:.4g}"
    return f"{entry:,}" if isinstance(entry, int) else str(entry)
