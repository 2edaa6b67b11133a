"""The caller's ids as arrays, and numbered from zero."""

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.index.csr import sort_with_order, starts


def id_array(name: str, ids: ArrayLike | Tensor) -> np.ndarray:
    """Ids as an array of integers or of strings; nothing is copied that is one already.

    Raises:
        ValueError: more than one dimension, or ids that are neither integers below 2^63 nor strings; `name` says which.
    """
    ids = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {list(ids.shape)}")
    if ids.dtype == object:
        odd = next((f"{type(i).__name__} {i!r} at position {at}" for at, i in enumerate(ids) if type(i) is not str), "")
        if odd:
            raise ValueError(f"{name} must be all integers or all strings, got {odd}")
        return ids.astype(str)
    if ids.size and ids.dtype.kind not in "iuU":
        raise ValueError(f"{name} must be integers or strings, got {ids.dtype}")
    if ids.dtype == np.uint64:
        if ids.size and ids.max() >= 2**63:
            raise ValueError(f"{name} must be below 2^63, got {ids.max()}")
        return ids.astype(np.int64)  # beside int64, numpy would make floats of it
    return ids if ids.size else ids.astype(np.int64)


def number(ids: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Number ids from zero in sorted order: the distinct ids, int64 or strings, and the number of each entry.

    Dense integers are numbered by a table. Others take a sort that carries their places, seven times as long, and those
    that spread over nearly all 64 bits, as hashes do, twice as long again; strings take a hundred times as long.

    Raises:
        ValueError: more than one dimension, or ids that are neither integers below 2^63 nor strings.
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
    """The integers that count so many: short ones are moved in half the time."""
    return np.int32 if count < 2**31 else np.int64
