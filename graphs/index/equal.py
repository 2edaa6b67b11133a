"""Find hyperedges with the same members: by a hash, then confirmed one by one; in numpy."""

import numpy as np


def leaders(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, num_nodes: int) -> np.ndarray:
    """Find, per hyperedge, the first hyperedge with the same members (and values), [num_hyperedges]; always exact."""
    salt = 0
    while True:
        code = _codes(indptr, indices, value, num_nodes, salt)
        order = np.argsort(code, kind="stable")
        alike = np.flatnonzero(code[order[1:]] == code[order[:-1]])
        if _members_equal(indptr, indices, value, order[alike], order[alike + 1]):
            break
        salt += 1  # two different hyperedges share a code: draw other codes
    starts = np.ones(len(order), dtype=bool)
    starts[alike + 1] = False
    leader = np.empty(len(order), dtype=np.int64)
    leader[order] = order[starts][np.cumsum(starts) - 1]
    return leader


def _codes(indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, num_nodes: int, salt: int) -> np.ndarray:
    """Return a 64-bit code per member set: the sum, modulo 2^64, of one random number per member."""
    number_of_node = np.random.default_rng(salt).integers(2**64, size=num_nodes, dtype=np.uint64)
    code = number_of_node[indices]
    if value is not None:
        code *= value.view(np.uint32).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(code, dtype=np.uint64)])
    return total[indptr[1:]] - total[indptr[:-1]]


def _members_equal(
    indptr: np.ndarray, indices: np.ndarray, value: np.ndarray | None, left: np.ndarray, right: np.ndarray
) -> bool:
    size = np.diff(indptr)
    if not np.array_equal(size[left], size[right]):
        return False
    left, right = _positions(indptr, left), _positions(indptr, right)
    equal = np.array_equal(indices[left], indices[right])
    return equal and (value is None or np.array_equal(value[left], value[right]))


def _positions(indptr: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the positions of the incidences of these rows, row after row."""
    size = np.diff(indptr)[rows]
    ends = np.cumsum(size, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(indptr[rows] - (ends - size), size)
