"""Pairs to sorted rows, and rows to columns, in numpy: all that building an incidence matrix costs."""

import numpy as np
import scipy.sparse


def sort_pairs(
    nodes: np.ndarray, hyperedges: np.ndarray, num_nodes: int, num_hyperedges: int, value: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Members of each hyperedge as (indptr, indices, value): sorted by one packed key, equal pairs made one.

    Without values equal pairs count once, with values they are added.
    """
    bits = max(num_nodes - 1, 0).bit_length()
    key = (hyperedges << bits) | nodes
    if value is None:
        key.sort()
    else:
        order = np.argsort(key, kind="stable")
        key, value = key[order], value[order]
    first = np.ones(len(key), dtype=bool)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    if not first.all():
        if value is not None:
            value = np.add.reduceat(value, np.flatnonzero(first), dtype=np.float64).astype(np.float32)
        key = key[first]
    indptr = np.zeros(num_hyperedges + 1, dtype=np.int64)
    np.cumsum(np.bincount(key >> bits, minlength=num_hyperedges), out=indptr[1:])
    return indptr, key & ((1 << bits) - 1), value


def transpose(
    indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, num_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The same matrix by columns, rows increasing within a column."""
    data = np.ones(len(indices), dtype=np.int8) if value is None else value
    rows = scipy.sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, num_columns)).tocsc()
    return rows.indptr, rows.indices, None if value is None else rows.data
