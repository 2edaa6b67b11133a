"""Hypergraphs to and from tables: scipy's sparse matrices and pandas' data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.convert.records import name_array
from graphs.incidence import AnyIncidence, Incidence
from graphs.optional import package

if TYPE_CHECKING:
    import pandas


class Frames(NamedTuple):
    """A hypergraph as three tables. A node or hyperedge is named by its id, or by its number if it has no id."""

    incidences: pandas.DataFrame
    """One row per incidence: columns node and hyperedge; weight, if incidences have values."""
    nodes: pandas.DataFrame
    """One row per node, isolated ones too: column node, if nodes have ids; weight, if they have weights."""
    hyperedges: pandas.DataFrame
    """One row per hyperedge, empty ones too: columns hyperedge and weight in the same way."""


def to_scipy(h: Incidence) -> scipy.sparse.csr_array:
    """Return the incidence matrix; see `Hypergraph.to_scipy`."""
    indptr, indices, value = (None if a is None else a.cpu().numpy() for a in h.by_node)
    data = np.ones(len(indices), dtype=np.int64) if value is None else value
    return scipy.sparse.csr_array((data, indices, indptr), shape=(h.num_nodes, h.num_hyperedges), copy=True)


def from_scipy(
    cls: type[AnyIncidence],
    matrix: scipy.sparse.sparray | scipy.sparse.spmatrix,
    hyperedge_weight: ArrayLike | Tensor | None = None,
    node_ids: ArrayLike | None = None,
    hyperedge_ids: ArrayLike | None = None,
    node_weight: ArrayLike | Tensor | None = None,
) -> AnyIncidence:
    """Make a hypergraph of its incidence matrix; see `Hypergraph.from_scipy`."""
    if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
        raise ValueError(f"from_scipy takes a sparse matrix [num_nodes, num_hyperedges], got {type(matrix).__name__}")
    matrix = scipy.sparse.coo_array(matrix, copy=True)
    matrix.sum_duplicates()
    if matrix.dtype.kind in "iub":
        matrix.eliminate_zeros()
    value = None if matrix.dtype.kind in "iub" and (matrix.data == 1).all() else matrix.data
    pairs = (*matrix.coords, *matrix.shape, value)
    return cls.from_pairs(*pairs, hyperedge_weight, node_ids, hyperedge_ids, node_weight)


def to_pandas(h: Incidence) -> Frames:
    """Return three data frames; see `Hypergraph.to_pandas`."""
    pd = package("pandas")
    numbers = h.hyperedge_index.cpu().numpy()
    incidences, tables = {}, []
    for kind, number, count, ids, weight in (
        ("node", numbers[0], h.num_nodes, h.node_ids, h.node_weight),
        ("hyperedge", numbers[1], h.num_hyperedges, h.hyperedge_ids, h.hyperedge_weight),
    ):
        incidences[kind] = number if ids is None else ids[number]
        columns = {kind: ids, "weight": None if weight is None else weight.cpu().numpy()}
        columns = {name: column for name, column in columns.items() if column is not None}
        tables.append(pd.DataFrame(columns, index=pd.RangeIndex(count)))
        if ids is not None and not tables[-1][kind].is_unique:
            incidences[f"{kind}_number"] = number
    if h.by_hyperedge.value is not None:
        incidences["weight"] = h.by_hyperedge.value.cpu().numpy()
    return Frames(pd.DataFrame(incidences), *tables)


def from_pandas(
    cls: type[AnyIncidence],
    incidences: pandas.DataFrame | Frames,
    nodes: pandas.DataFrame | None = None,
    hyperedges: pandas.DataFrame | None = None,
) -> AnyIncidence:
    """Make a hypergraph of data frames; see `Hypergraph.from_pandas`."""
    pd = package("pandas")
    if isinstance(incidences, Frames):
        incidences, nodes, hyperedges = incidences
    if not isinstance(incidences, pd.DataFrame) or not {"node", "hyperedge"} <= set(incidences.columns):
        found = list(incidences.columns) if isinstance(incidences, pd.DataFrame) else type(incidences).__name__
        raise ValueError(f"from_pandas takes a data frame with columns node and hyperedge, got {found}")
    node, num_nodes, node_ids = _numbered("node", incidences, nodes)
    hyperedge, num_hyperedges, hyperedge_ids = _numbered("hyperedge", incidences, hyperedges)
    value, node_weight, hyperedge_weight = (
        None if table is None or "weight" not in table else table["weight"].to_numpy()
        for table in (incidences, nodes, hyperedges)
    )
    counts, ids = (num_nodes, num_hyperedges), (node_ids, hyperedge_ids)
    return cls.from_pairs(node, hyperedge, *counts, value, hyperedge_weight, *ids, node_weight)


def _numbered(
    kind: str, incidences: pandas.DataFrame, table: pandas.DataFrame | None
) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Number the node or hyperedge of each incidence; return also how many there are, and their ids."""
    import pandas as pd

    occurring = _column(incidences[kind])
    if table is None:
        numbers, ids = pd.factorize(occurring, sort=True)
    elif kind not in table:
        if not np.array_equal(table.index, np.arange(len(table))):
            raise ValueError(
                f"a frame of {kind}s has a column {kind}, or rows numbered 0, 1, 2, ..., and this has none"
            )
        return occurring, len(table), None
    elif f"{kind}_number" in incidences:
        numbers, ids = incidences[f"{kind}_number"].to_numpy(), _column(table[kind])
    else:
        ids = _column(table[kind])
        index = pd.Index(ids)
        if not index.is_unique:
            twice = ids[index.duplicated()][0]
            raise ValueError(f"the frame of {kind}s must have each id once, got {twice!r} twice")
        numbers = index.get_indexer(occurring)
    if (numbers < 0).any():
        unknown = occurring[np.flatnonzero(numbers < 0)[0]]
        raise ValueError(f"the incidences have {kind} {unknown!r}, which the frame of {kind}s lacks or is no id")
    return numbers, len(ids), ids if ids.dtype.kind in "iu" else name_array(kind, ids)


def _column(column: pandas.Series) -> np.ndarray:
    """Return the entries as integers, or else as objects."""
    return column.to_numpy() if column.dtype.kind in "iu" else column.to_numpy(dtype=object)
