"""Cut time into slices (TimeGrid), and a stream of (node, hyperedge, time) rows into one hypergraph a slice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import build
from graphs.hypergraph import Hypergraph

HOUR, DAY = 3600, 86400
SECONDS = {"h": HOUR, "d": DAY, "w": 7 * DAY}
MONTHS = {"mo": 1, "y": 12}
FOREVER = np.iinfo(np.int64).max
YEAR_10000 = 253402300800


@dataclass(frozen=True)
class TimeGrid:
    """Half-open slices [a, b) of time, numbered from zero; a boundary belongs to the later slice.

    All times are whole seconds since 1970, UTC. Made by `TimeGrid.cut`.

    Example:
        >>> TimeGrid.cut([0, 86400, 100000], every="1d").slice_of([3600, 86399, 86400]).tolist()
        [0, 0, 1]
    """

    every: str | None
    """Width of a slice such as "6h", "1d", "2w", "3mo" or "1y"; None for quantiles."""
    origin: int
    """Start of slice 0, seconds."""
    num_slices: int
    """Slices that hold the times it was cut on: from slice 0 to the one of the latest time."""
    edges: tuple[int, ...] | None = None
    """Quantiles only: start of each slice, seconds; the last slice is open-ended."""

    @classmethod
    def cut(
        cls,
        times: ArrayLike | Tensor,
        every: str | None = None,
        origin: int | None = None,
        count: int | None = None,
    ) -> TimeGrid:
        """Cut by the calendar (`every`) or into slices with equally many times (`count`).

        Args:
            times: whole seconds since 1970, or numpy datetime64.
            every: "6h", "1d", "2w", "3mo" or "1y"; months and years are those of the calendar, UTC.
            origin: start of slice 0, seconds; for months and years the start of a month. None takes the first time
                down to the hour (h), to midnight (d, w), to the first of its month (mo) or to the first of January (y).
            count: number of quantiles. Equal times are never parted, so many ties give fewer slices.

        Raises:
            ValueError: not exactly one of every and count, an unknown unit, an origin that is not the start of a
                month, no times to start from, or times that cannot be seconds.
        """
        times = seconds(times)
        if (every is None) == (count is None):
            raise ValueError(f"give either every or count, got every={every!r} and count={count!r}")
        if count is not None:
            return cls._quantiles(times, count, origin)
        _width(every)
        if origin is None:
            if not len(times):
                raise ValueError("there are no times to start from: give an origin")
            origin = _floor(int(times.min()), every)
        grid = cls(every=every, origin=int(origin), num_slices=0)
        latest = int(grid.slice_of(times.max(keepdims=True))[0]) if len(times) else -1
        return cls(every=every, origin=int(origin), num_slices=latest + 1)

    @classmethod
    def _quantiles(cls, times: np.ndarray, count: int, origin: int | None) -> TimeGrid:
        if count < 1 or origin is not None:
            raise ValueError(f"quantiles need count >= 1 and no origin, got count={count} and origin={origin}")
        if not len(times):
            raise ValueError(f"there are no times to cut into {count} quantiles")
        ordered = np.sort(times)
        edges = np.unique(ordered[np.arange(count) * len(times) // count])
        return cls(every=None, origin=int(edges[0]), num_slices=len(edges), edges=tuple(edges.tolist()))

    def __post_init__(self) -> None:
        if self.edges is None:
            _, unit = _width(self.every)
            if unit in MONTHS and _floor(self.origin, "1mo") != self.origin:
                month = np.datetime64(self.origin, "s").astype("datetime64[M]")
                raise ValueError(
                    f"the origin of {self.every!r} slices must be the start of a month, UTC, got {self.origin}; "
                    f"{month} starts at {_floor(self.origin, '1mo')}"
                )

    def __len__(self) -> int:
        return self.num_slices

    def slice_of(self, times: ArrayLike | Tensor) -> np.ndarray:
        """The slice of each time, int64; -1 before the origin; numbers go on past the last slice if cut by `every`."""
        times = seconds(times)
        if self.edges is not None:
            return np.searchsorted(np.array(self.edges), times, side="right") - 1
        if times.size and times.max() >= YEAR_10000:
            raise ValueError(f"times must be seconds since 1970, got {times.max()}; milliseconds? Divide by 1000")
        count, unit = _width(self.every)
        if unit in SECONDS:
            number = (times - self.origin) // (count * SECONDS[unit])
        else:
            number = (_month(times) - _month(self.origin)) // (count * MONTHS[unit])
        return np.maximum(number, -1)

    def start(self, n: int) -> int:
        """First second of slice n."""
        if n < 0 or (self.edges is not None and n >= len(self.edges)):
            raise ValueError(
                f"slices are numbered from 0{'' if self.edges is None else f' to {len(self) - 1}'}, got {n}"
            )
        if self.edges is not None:
            return self.edges[n]
        return int(self._starts(np.array([n]))[0])

    def end(self, n: int) -> int:
        """First second after slice n; a very large number for the last quantile."""
        if self.edges is not None and n == len(self.edges) - 1:
            return int(FOREVER)
        return self.start(n + 1)

    def starts(self, count: int | None = None) -> np.ndarray:
        """First second of slices 0 to count - 1 (all by default), int64.

        `torch.bucketize(t, starts, right=True) - 1` is `slice_of(t)` for every t before the end of the last of them.
        """
        count = len(self) if count is None else count
        if self.edges is not None:
            if count > len(self.edges):
                raise ValueError(f"there are {len(self.edges)} quantiles, got count={count}")
            return np.array(self.edges[:count], dtype=np.int64)
        return self._starts(np.arange(count))

    def _starts(self, n: np.ndarray) -> np.ndarray:
        count, unit = _width(self.every)
        if unit in SECONDS:
            return self.origin + n * (count * SECONDS[unit])
        month = _month(self.origin) + n * (count * MONTHS[unit])
        return month.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)


class TimeSlices:
    """One hypergraph a time slice, each on the nodes and hyperedges that occur in it.

    `slices[n].node_ids` and `.hyperedge_ids` are the caller's ids. A slice in which nothing happens is a hypergraph
    without nodes.

    Args:
        grid: where the slices lie.
        nodes: node id of each row, [rows], integers.
        hyperedges: hyperedge id of each row, [rows], integers.
        times: seconds, [rows].

    Raises:
        ValueError: lengths that disagree, ids that are not integers, times before the grid's origin.
    """

    def __init__(
        self,
        grid: TimeGrid,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        times: ArrayLike | Tensor,
    ) -> None:
        self.grid = grid
        self._hypergraphs: list[Hypergraph] = []
        self.append(nodes, hyperedges, times)

    @classmethod
    def cut(
        cls,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        times: ArrayLike | Tensor,
        every: str | None = None,
        origin: int | None = None,
        count: int | None = None,
    ) -> TimeSlices:
        """Cut rows into slices by the calendar or into quantiles; see `TimeGrid.cut`."""
        return cls(TimeGrid.cut(times, every, origin, count), nodes, hyperedges, times)

    def append(self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor) -> None:
        """Add rows, in any order; only the slices they fall into are built again, and the result equals a rebuild.

        Raises:
            ValueError: lengths that disagree, ids that are not integers, times before the grid's origin.
        """
        times = seconds(times)
        nodes, hyperedges = _ids("node", nodes, len(times)), _ids("hyperedge", hyperedges, len(times))
        number = self.grid.slice_of(times)
        if (number < 0).any():
            early = int((number < 0).sum())
            raise ValueError(f"{early} of {len(times)} times lie before the origin {self.grid.origin}: {times.min()}")
        order = np.argsort(number, kind="stable")
        nodes, hyperedges, number = nodes[order], hyperedges[order], number[order]
        last = int(number[-1]) if len(number) else -1
        empty = build.from_ids([], [])
        self._hypergraphs += [empty] * (max(last + 1, len(self.grid)) - len(self._hypergraphs))
        touched, first = np.unique(number, return_index=True)
        for n, start, end in zip(touched.tolist(), first, np.append(first, len(number))[1:], strict=True):
            old_nodes, old_hyperedges = _pairs(self._hypergraphs[n])
            self._hypergraphs[n] = build.from_ids(
                np.concatenate([old_nodes, nodes[start:end]]), np.concatenate([old_hyperedges, hyperedges[start:end]])
            )

    def __len__(self) -> int:
        return len(self._hypergraphs)

    def __getitem__(self, n: int) -> Hypergraph:
        if not -len(self) <= n < len(self):
            raise IndexError(f"there are {len(self)} slices, got {n}")
        return self._hypergraphs[n]

    def __iter__(self) -> Iterator[Hypergraph]:
        return iter(self._hypergraphs)

    def describe(self) -> list[dict]:
        """One row a slice: bounds in seconds, the UTC date of its start, counts, and the share of returning nodes."""
        rows = []
        before = np.empty(0, dtype=np.int64)
        for n, h in enumerate(self):
            rows.append(
                {
                    "slice": n,
                    "start": self.grid.start(n),
                    "end": self.grid.end(n),
                    "date": str(np.datetime64(self.grid.start(n), "s")),
                    "num_nodes": h.num_nodes,
                    "num_hyperedges": h.num_hyperedges,
                    "num_incidences": h.num_incidences,
                    "mean_size": h.num_incidences / max(h.num_hyperedges, 1),
                    "returning": float(np.isin(h.node_ids, before).mean()) if h.num_nodes else 0.0,
                }
            )
            before = h.node_ids
        return rows

    def __repr__(self) -> str:
        width = f"every {self.grid.every}" if self.grid.every else "quantiles"
        incidences = sum(h.num_incidences for h in self)
        return f"TimeSlices({len(self)} slices, {width}, {incidences} incidences)"

    def _repr_html_(self) -> str:
        from graphs.describe import html_rows

        return html_rows(self.describe())


def seconds(times: ArrayLike | Tensor) -> np.ndarray:
    """Times as int64 seconds since 1970; numpy datetime64 is converted, anything but integers is an error."""
    times = times.cpu().numpy() if isinstance(times, Tensor) else np.asarray(times)
    if times.dtype.kind == "M":
        times = times.astype("datetime64[s]")
    elif times.size and times.dtype.kind not in "iu":
        raise ValueError(f"times must be whole seconds since 1970 (integers) or datetime64, got {times.dtype}")
    return times.astype(np.int64)


def _width(every: str) -> tuple[int, str]:
    match = re.fullmatch(r"([1-9]\d*)(h|d|w|mo|y)", every)
    if match is None:
        raise ValueError(f'every must look like "6h", "1d", "2w", "3mo" or "1y", got {every!r}')
    return int(match[1]), match[2]


def _floor(time: int, every: str) -> int:
    unit = _width(every)[1]
    step = {"h": "datetime64[h]", "mo": "datetime64[M]", "y": "datetime64[Y]"}.get(unit, "datetime64[D]")
    return int(np.datetime64(time, "s").astype(step).astype("datetime64[s]").astype(np.int64))


def _month(times: ArrayLike) -> np.ndarray:
    """Calendar months since January 1970, UTC."""
    return np.asarray(times).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)


def _ids(name: str, ids: ArrayLike | Tensor, length: int) -> np.ndarray:
    ids = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.shape != (length,):
        raise ValueError(f"there are {length} times, so {length} {name} ids, got shape {list(ids.shape)}")
    if length and ids.dtype.kind not in "iu":
        raise ValueError(f"{name} ids must be integers, got {ids.dtype}")
    return ids.astype(np.int64)


def _pairs(h: Hypergraph) -> tuple[np.ndarray, np.ndarray]:
    indptr, indices, _ = h.numpy_members()
    return h.node_ids[indices], np.repeat(h.hyperedge_ids, np.diff(indptr))
