"""Hypergraphs to and from files, tables and other packages; each package is imported where it is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.convert import npz
from graphs.convert.networks import Networks
from graphs.convert.records import name_array
from graphs.convert.tensors import Tensors
from graphs.optional import package

if TYPE_CHECKING:
    import pandas

    from graphs.hypergraph import Hypergraph


class Frames(NamedTuple):
    """A hypergraph as three tables; a node or hyperedge is named by its id, or by its number where it has none."""

    incidences: pandas.DataFrame
    """A row an incidence: columns node and hyperedge; weight, where incidences have values."""
    nodes: pandas.DataFrame
    """A row a node, isolated ones included: column node, where nodes have ids; weight, where they have weights."""
    hyperedges: pandas.DataFrame
    """A row a hyperedge, empty ones included: columns hyperedge and weight in the same way."""


class Conversions(Tensors, Networks):
    """The conversions of a `Hypergraph`, which inherits them: `Hypergraph.from_x(h.to_x())` equals h.

    Each `to_x` makes a copy that holds counts, incidences and their values, weights and ids; where attributes do not
    travel it says so. Each `from_x` reads that, and what users of the package make without us; a ValueError says what
    is wrong with it. Both raise an ImportError where the package is missing.
    """

    def save(self, path: str | os.PathLike) -> None:
        """Write one .npz file, attributes included; a killed save leaves the old file or none.

        Raises:
            ValueError: an attribute that JSON cannot hold, a negative or non-finite weight.
        """
        npz.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Hypergraph:
        """Read what `save` wrote; the file is checked like any other input and nothing is unpickled.

        Raises:
            ValueError: the file does not hold a hypergraph.
        """
        return npz.read(path, cls)

    def to_hif(self, path: str | os.PathLike | None = None) -> dict:
        """The hypergraph in the Hypergraph Interchange Format, written to `path` too if that is given."""
        from graphs.convert import hif

        return hif.write(self, path)

    @classmethod
    def from_hif(cls, source: str | os.PathLike | bytes | dict) -> Hypergraph:
        """Read the Hypergraph Interchange Format from a path, JSON text that begins with {, its bytes, or a dict."""
        from graphs.convert import hif

        return hif.read(source, cls)

    def to_scipy(self) -> scipy.sparse.csr_array:
        """H, [num_nodes, num_hyperedges]: float32 values h(v, e), or int64 ones where incidences have none.

        A matrix has no place for weights and ids: `from_scipy` takes them as arguments. Attributes do not travel.
        """
        indptr, indices, value = (None if a is None else a.cpu().numpy() for a in self.by_node)
        data = np.ones(len(indices), dtype=np.int64) if value is None else value
        return scipy.sparse.csr_array((data, indices, indptr), shape=(self.num_nodes, self.num_hyperedges), copy=True)

    @classmethod
    def from_scipy(
        cls,
        matrix: scipy.sparse.sparray | scipy.sparse.spmatrix,
        hyperedge_weight: ArrayLike | Tensor | None = None,
        node_ids: ArrayLike | None = None,
        hyperedge_ids: ArrayLike | None = None,
        node_weight: ArrayLike | Tensor | None = None,
    ) -> Hypergraph:
        """A hypergraph from its incidence matrix H, [num_nodes, num_hyperedges], in any sparse format.

        The entries of floats are values, a stored 0 included. Of integers and bools a 0 is no incidence, and if all
        others are 1 incidences have no values. Entries stored twice are added, as everywhere in scipy.

        Raises:
            ValueError: not a sparse matrix, a negative or non-finite entry, or what `from_pairs` refuses.
        """
        if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
            raise ValueError(
                f"from_scipy takes a sparse matrix [num_nodes, num_hyperedges], got {type(matrix).__name__}"
            )
        matrix = scipy.sparse.coo_array(matrix, copy=True)
        matrix.sum_duplicates()
        if matrix.dtype.kind in "iub":
            matrix.eliminate_zeros()
        value = None if matrix.dtype.kind in "iub" and (matrix.data == 1).all() else matrix.data
        pairs = (*matrix.coords, *matrix.shape, value)
        return cls.from_pairs(*pairs, hyperedge_weight, node_ids, hyperedge_ids, node_weight)

    def to_pandas(self) -> Frames:
        """Three data frames: incidences, nodes and hyperedges, the last two in the order of h.

        If an id names two nodes, the incidences have a column node_number too; for hyperedges, hyperedge_number.
        Attributes do not travel.
        """
        pd = package("pandas")
        numbers = self.hyperedge_index.cpu().numpy()
        incidences, tables = {}, []
        for kind, number, count, ids, weight in (
            ("node", numbers[0], self.num_nodes, self.node_ids, self.node_weight),
            ("hyperedge", numbers[1], self.num_hyperedges, self.hyperedge_ids, self.hyperedge_weight),
        ):
            incidences[kind] = number if ids is None else ids[number]
            columns = {kind: ids, "weight": None if weight is None else weight.cpu().numpy()}
            columns = {name: column for name, column in columns.items() if column is not None}
            tables.append(pd.DataFrame(columns, index=pd.RangeIndex(count)))
            if ids is not None and not tables[-1][kind].is_unique:
                incidences[f"{kind}_number"] = number
        if self.by_hyperedge.value is not None:
            incidences["weight"] = self.by_hyperedge.value.cpu().numpy()
        return Frames(pd.DataFrame(incidences), *tables)

    @classmethod
    def from_pandas(
        cls,
        incidences: pandas.DataFrame | Frames,
        nodes: pandas.DataFrame | None = None,
        hyperedges: pandas.DataFrame | None = None,
    ) -> Hypergraph:
        """A hypergraph from a frame of incidences and, where these do not say all, of nodes and of hyperedges.

        Args:
            incidences: columns node and hyperedge, integers or strings, and weight if incidences have values; equal
                rows are one incidence, as in from_pairs. Or the three frames that `to_pandas` made.
            nodes: column node with all ids, and weight if nodes have weights. Without column node the incidences give
                numbers of its rows. None takes the ids that occur, sorted.
            hyperedges: the same for hyperedges. Other columns are not read.

        Raises:
            ValueError: columns or ids missing, an id twice, rows not numbered from 0, or what `from_pairs` refuses.
        """
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
    """The number of the node or hyperedge of each incidence, how many there are, and their ids."""
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
            raise ValueError(f"the frame of {kind}s must hold each id once, got {twice!r} twice")
        numbers = index.get_indexer(occurring)
    if (numbers < 0).any():
        unknown = occurring[np.flatnonzero(numbers < 0)[0]]
        raise ValueError(f"the incidences have {kind} {unknown!r}, which the frame of {kind}s lacks or is no id")
    return numbers, len(ids), ids if ids.dtype.kind in "iu" else name_array(kind, ids)


def _column(column: pandas.Series) -> np.ndarray:
    """Integers, or objects."""
    return column.to_numpy() if column.dtype.kind in "iu" else column.to_numpy(dtype=object)
