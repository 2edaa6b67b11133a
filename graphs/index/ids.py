"""The caller's ids as arrays, and numbered from zero."""

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.index.csr import sort_with_order, starts


def id_array(name: str, ids: ArrayLike | Tensor) -> np.ndarray:
    """Return ids as an array of integers or of strings, without a copy if they are one already.

    Raises:
        ValueError: more than one dimension, or ids that are neither integers below 2^63 nor strings; `name` says which.
    """
    given, ids = ids, ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {list(ids.shape)}")
    if ids.dtype.kind == "U" and isinstance(given, list | tuple) and not all(isinstance(i, str) for i in given):
        ids = np.array(given, dtype=object)  # numpy makes "1" of 1 next to a string
    if ids.dtype.kind in "iu" and isinstance(given, list | tuple) and any(isinstance(i, bool) for i in given):
        raise ValueError(f"{name} must be all integers or all strings, got a bool among them")
    if ids.dtype == object:
        strange = ((at, i) for at, i in enumerate(ids) if not isinstance(i, str))
        odd = next((f"{type(i).__name__} {i!r} at position {at}" for at, i in strange), "")
        if odd:
            raise ValueError(f"{name} must be all integers or all strings, got {odd}")
        return ids.astype(str)
    if ids.size and ids.dtype.kind not in "iuU":
        raise ValueError(f"{name} must be integers or strings, got {ids.dtype}")
    if ids.dtype == np.uint64:
        if ids.size and ids.max() >= 2**63:
            raise ValueError(f"{name} must be below 2^63, got {ids.max()}")
        return ids.astype(np.int64)  # numpy makes floats of uint64 and int64 together
    return ids if ids.size else ids.astype(np.int64)


def number(ids: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Number ids from zero in sorted order: return the distinct ids, int64 or strings, and the number of each entry.

    Dense ids use a lookup table. Sparse ids are sorted with their positions (about 7 times slower), 64-bit hashes
    14 times, strings 100 times.

    Raises:
        ValueError: more than one dimension, or ids that are neither integers below 2^63 nor strings.

    >>> number([30, 10, 30])
    (array([10, 30]), array([1, 0, 1], dtype=int32))
    """
    ids = id_array("ids", ids)
    if ids.dtype.kind == "U":
        return np.unique(ids, return_inverse=True)
    ids = ids.astype(np.int64, copy=False)
    low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
    span = high - low + 1
    if span <= 4 * len(ids):
        return _number_by_table(ids, 0 if 0 <= low < span else low, high)
    if span.bit_length() + len(ids).bit_length() > 63:
        return np.unique(ids, return_inverse=True)
    ordered, order = sort_with_order(ids - low, span.bit_length())
    first = starts(ordered)
    numbers = np.empty(len(ids), dtype=_dtype(len(ids)))
    numbers[order] = np.cumsum(first, dtype=numbers.dtype) - 1
    return ordered[first] + low, numbers


def _number_by_table(ids: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    place = ids - low if low else ids
    occurs = np.zeros(high - low + 1, dtype=bool)
    occurs[place] = True
    rank = np.cumsum(occurs, dtype=_dtype(len(ids)))
    rank -= 1
    return np.flatnonzero(occurs) + low, rank.take(place)


def _dtype(count: int) -> type:
    """Return the smallest integers that count this far: short ones are moved in half the time."""
    return np.int32 if count < 2**31 else np.int64


def pair_ids(name: str, ids: ArrayLike | Tensor) -> np.ndarray:
    """Return the numbers of nodes or hyperedges in pairs as an int64 array.

    Raises:
        ValueError: more than one dimension, or numbers that are not integers; `name` says which.
    """
    ids = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} ids must have one dimension, got shape {list(ids.shape)}")
    if ids.size and ids.dtype.kind not in "iu":
        raise ValueError(
            f"{name} ids must be integers from 0, got {ids.dtype}; graphs.build.from_ids numbers ids of any kind"
        )
    return ids.astype(np.int64, copy=False)


def counts(
    nodes: np.ndarray, hyperedges: np.ndarray, num_nodes: int | None, num_hyperedges: int | None
) -> tuple[int, int]:
    """Return the numbers of nodes and hyperedges, after a check that every number of `pair_ids` is below them.

    Raises:
        ValueError: a number out of range, or counts that no key of 63 bits has room for.
    """
    spans = [(int(ids.min()), int(ids.max())) if len(ids) else (0, -1) for ids in (nodes, hyperedges)]
    num_nodes = spans[0][1] + 1 if num_nodes is None else operator.index(num_nodes)
    num_hyperedges = spans[1][1] + 1 if num_hyperedges is None else operator.index(num_hyperedges)
    swapped = _within(spans[0], num_hyperedges) and _within(spans[1], num_nodes)
    hint = " Rows swapped? Nodes come first, then hyperedges." if swapped else ""
    for name, span, count in (("node", spans[0], num_nodes), ("hyperedge", spans[1], num_hyperedges)):
        if count < 0:
            raise ValueError(f"the number of {name}s must not be negative, got {count}")
        if not _within(span, count):
            raise ValueError(f"{name} ids must be in [0, {count}), got [{span[0]}, {span[1]}].{hint}")
    if num_nodes.bit_length() + num_hyperedges.bit_length() > 63 or max(num_nodes, num_hyperedges) > 2**34:
        raise ValueError(
            f"{num_nodes} nodes and {num_hyperedges} hyperedges are too many; graphs.build.from_ids numbers sparse ids"
        )
    return num_nodes, num_hyperedges


def _within(span: tuple[int, int], count: int) -> bool:
    return span[0] >= 0 and span[1] < count


def names(name: str, ids: Sequence | np.ndarray | Tensor | None, length: int) -> np.ndarray | None:
    """Return the caller's ids of nodes or hyperedges as an array of their own; integers and strings may be mixed.

    Raises:
        ValueError: the wrong number of ids, or ids that are neither integers nor strings; `name` says which.
    """
    if ids is None:
        return None
    ids = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    texts = not isinstance(ids, np.ndarray) and any(isinstance(i, str) for i in ids)
    ids = np.array(ids, dtype=object if texts else None)  # numpy would make "1" of a 1 next to a string
    if ids.shape != (length,):
        raise ValueError(f"{name} must have {length} entries, got shape {list(ids.shape)}")
    if ids.dtype == object and all(isinstance(i, str) and not i.endswith("\0") for i in ids):
        ids = ids.astype(str)  # numpy drops the NULs at the end of a string
    kinds = {type(i) for i in ids} if ids.dtype == object else set()
    if length and ids.dtype.kind not in "iuU" and not (kinds and kinds <= {int, str}):
        raise ValueError(f"{name} must be integers or strings, got {ids.dtype}")
    return ids
