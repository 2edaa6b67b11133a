"""The strongest entries of each row of a sparse product, and their look-up: compiled (links.c), or in numpy and scipy.

Both ways give the same bits: sums are float64 in one order, and equally strong entries are taken by their number.
"""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch

from graphs.kernels import compile

CHUNK = 2**21  # places for entries that a chunk of rows may fill
CHUNKS = 64  # at least, of enough rows: rows differ much in length
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""indptr, int64; indices, int32, increasing within a row; values, float32."""


class Factors(NamedTuple):
    """Two sparse matrices L, [num_nodes, m], and M, [m, num_nodes]; a row of M is a part of one array of nodes."""

    indptr: np.ndarray
    """Rows of L, [num_nodes + 1], int64."""
    indices: np.ndarray
    """Columns of L, int32."""
    left: np.ndarray | None
    """What multiplies `weight` in each entry of L, float64; None means 1."""
    weight: np.ndarray
    """The value of each column of L, [m], float64, not negative."""
    first: np.ndarray
    """Where each row of M begins in `nodes`, [m], int64."""
    last: np.ndarray
    """Where it ends, [m], int64."""
    nodes: np.ndarray
    """Columns of M, int32; an entry that occurs twice in a row counts twice."""
    right: np.ndarray | None
    """The value of each entry of `nodes`, float64; None means 1."""
    gap: np.ndarray | None = None
    """Instead of `right`, if rows of M end before their own number: the value by the distance from that number."""


def strongest(factors: Factors, root: np.ndarray, k: int, exclude_self: bool, rows: np.ndarray | None = None) -> Rows:
    """Compute root_i (L M)_ij root_j and keep the k largest entries of each row that are not 0; ties: the smaller j.

    Args:
        factors: L and M.
        root: one factor per node, [num_nodes], float64.
        k: most entries of a row.
        exclude_self: leave out the diagonal.
        rows: numbers of the rows, ascending, int64; None takes all.

    Returns:
        One row per entry of `rows`. Threads are torch's; they change no bit.
    """
    rows = np.arange(len(factors.indptr) - 1) if rows is None else rows
    k = max(min(k, len(factors.indptr) - 1), 1)
    size = max(min(CHUNK // k, -(-len(rows) // CHUNKS)), 1)
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    most = min(k * len(rows), int(_terms(factors)[rows].sum()))
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    indices, value = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.float32)  # untouched pages cost nothing
    done = filled = 0
    for count, node, strength in _each(factors, root, k, exclude_self, chunks):
        indices[filled : filled + len(node)], value[filled : filled + len(node)] = node, strength
        indptr[done + 1 : done + len(count) + 1] = count
        done, filled = done + len(count), filled + len(node)
    indices.resize(filled, refcheck=False)
    value.resize(filled, refcheck=False)
    return np.cumsum(indptr), indices, value


def look_up(rows: Rows, row: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return the value of each (row, node), int64; 0 where there is no such entry. float32, in the shape of `node`.

    `row` has that shape, or 1 in place of its last size: one row for all nodes of a line.
    """
    indptr, indices, value = rows
    library = _library()
    if library is not None:
        out = np.empty(node.shape, dtype=np.float32)
        row, node = np.ascontiguousarray(row), np.ascontiguousarray(node)
        library.look_up(
            row.size, node.size // max(row.size, 1), *(a.ctypes.data for a in (row, node, indptr, indices, value, out))
        )
        return out
    if not len(indices):
        return np.zeros(node.shape, dtype=np.float32)
    row = np.broadcast_to(row, node.shape)
    at, length = np.minimum(indptr[row], len(indices) - 1), indptr[row + 1] - indptr[row]
    some = length > 0
    while (length > 1).any():
        half = length // 2
        at = at + np.where(indices[at + half] <= node, half, 0)
        length = length - half
    return np.asarray(np.where(some & (indices[at] == node), value[at], np.float32(0)))


def walk(value: np.ndarray, degree: np.ndarray, row: np.ndarray, start: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Turn d_i^-1/2 C_ij d_j^-1/2 into C_ij d_j^-1, for values of `look_up`.

    d_i is at `row` and d_j at `start` + `node`; `row` and `start` are of one shape.
    """
    if _library() is not None:
        out = np.empty(node.shape, dtype=np.float32)
        row, start, node = (np.ascontiguousarray(a) for a in (row, start, node))
        arrays = (row, start, node, degree, value, out)
        _library().walk(row.size, node.size // max(row.size, 1), *(a.ctypes.data for a in arrays))
        return out
    i, j = degree[row], degree[start + node]
    ratio = np.divide(i, j, out=np.zeros(value.shape), where=j > 0)
    return np.asarray(value * np.sqrt(ratio), dtype=np.float32)


def terms(factors: Factors, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a row of the product adds up: the column of L, the place in `nodes`, and the value of each term."""
    place = slice(factors.indptr[row], factors.indptr[row + 1])
    column = factors.indices[place].astype(np.int64)
    value = factors.weight[column] * (1.0 if factors.left is None else factors.left[place])
    length = (factors.last - factors.first)[column]
    node = _ranges(factors.first[column], length)
    column, value = np.repeat(column, length), np.repeat(value, length)
    if factors.gap is not None:
        return column, node, value * factors.gap[column - node]
    return column, node, value if factors.right is None else value * factors.right[node]


def _terms(factors: Factors) -> np.ndarray:
    """Return the number of terms in each row of the product, [num_nodes]: at least the number of its entries."""
    terms = np.append(0, np.cumsum((factors.last - factors.first)[factors.indices], dtype=np.int64))
    return terms[factors.indptr[1:]] - terms[factors.indptr[:-1]]


def _each(
    factors: Factors, root: np.ndarray, k: int, exclude_self: bool, chunks: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the number of entries of each row, and all nodes and values, of each chunk of rows, in order."""
    if _library() is None:
        matrix = None if factors.gap is not None else _right(factors)
        yield from (_plain(factors, matrix, root, k, exclude_self, rows) for rows in chunks)
        return
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(lambda rows: _compiled(factors, root, k, exclude_self, rows), chunks)


def _compiled(factors: Factors, root: np.ndarray, k: int, exclude_self: bool, rows: np.ndarray) -> tuple:
    count = np.empty(len(rows), dtype=np.int32)
    node, value = np.empty((len(rows), k), dtype=np.int32), np.empty((len(rows), k), dtype=np.float32)
    arrays = (rows, *factors, root, count, node, value)
    pointers = [None if array is None else array.ctypes.data for array in arrays]
    if _library().strongest(len(root), k, exclude_self, len(rows), *pointers):
        raise MemoryError("no memory for the sums of a row")
    filled = np.arange(k) < count[:, None]
    return count, node[filled], value[filled]


def _plain(
    factors: Factors,
    matrix: scipy.sparse.csr_array | None,
    root: np.ndarray,
    k: int,
    exclude_self: bool,
    rows: np.ndarray,
) -> tuple:
    length = factors.indptr[rows + 1] - factors.indptr[rows]
    place = _ranges(factors.indptr[rows], length)
    columns = factors.indices[place]
    data = factors.weight[columns] if factors.left is None else factors.left[place] * factors.weight[columns]
    if matrix is None:  # the rows of M that these rows need, one per entry of L
        matrix, columns = _right(factors, columns), np.arange(len(columns))
    left = scipy.sparse.csr_array((data, columns, np.append(0, np.cumsum(length))), (len(rows), matrix.shape[0]))
    product = left @ matrix
    row, node, total = np.repeat(np.arange(len(rows)), np.diff(product.indptr)), product.indices, product.data
    some = total != 0
    if exclude_self:
        some &= node != rows[row]
    row, node, total = row[some], node[some], total[some]
    value = total * (root[rows[row]] * root[node])
    order = np.lexsort((node, -value, row))
    count = np.bincount(row, minlength=len(rows))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)  # from the strongest of its row
    kept = order[rank < k]
    kept = kept[np.lexsort((node[kept], row[kept]))]
    return np.minimum(count, k), node[kept], value[kept].astype(np.float32)


def _right(factors: Factors, rows: np.ndarray | None = None) -> scipy.sparse.csr_array:
    """Return M, or these rows of it, as a sparse matrix."""
    first, last = (factors.first, factors.last) if rows is None else (factors.first[rows], factors.last[rows])
    length = last - first
    place = _ranges(first, length)
    if factors.gap is not None:
        data = factors.gap[np.repeat(np.arange(len(factors.first)) if rows is None else rows, length) - place]
    else:
        data = np.ones(len(place)) if factors.right is None else factors.right[place]
    indptr = np.append(0, np.cumsum(length))
    return scipy.sparse.csr_array((data, factors.nodes[place], indptr), (len(first), len(factors.indptr) - 1))


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the numbers from each start, as many as its length, one range after the other."""
    ends = np.cumsum(length, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - length), length)


@cache
def _library() -> ctypes.CDLL | None:
    library = compile.library(Path(__file__).with_suffix(".c"))
    if library is not None:
        numbers = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int64]
        library.strongest.argtypes = numbers + [ctypes.c_void_p] * 14
        library.strongest.restype = ctypes.c_int
        library.look_up.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 6
        library.walk.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 6
        library.look_up.restype = library.walk.restype = None
    return library
