"""TimeSlices: (node, hyperedge, time) rows as one hypergraph per time slice, in memory or in a folder."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import build
from graphs.from_ids import CHUNK, from_grouped_ids
from graphs.hypergraph import Hypergraph
from graphs.index.ids import id_array
from graphs.slices import folder
from graphs.slices.grid import TimeGrid, whole


class TimeSlices:
    """One hypergraph per time slice, each on the nodes and hyperedges that occur in it.

    `slices[n].node_ids` and `.hyperedge_ids` are the caller's ids; `slices[2:5]` is a list. A slice without rows is a
    hypergraph without nodes; it takes no memory, so that cost follows the slices that hold something.
    Slices are built in parallel on `torch.get_num_threads()` threads, which changes no bit of them.

    Args:
        grid: start and end of the slices.
        nodes: node id of each row, [rows], integers or strings; strings take about twenty times as long.
        hyperedges: hyperedge id of each row, [rows], integers or strings.
        times: whole numbers in the grid's unit, or datetime64, [rows].

    Raises:
        ValueError: lengths that disagree, ids that are neither integers nor strings, times before the grid's origin.

    >>> TimeSlices(TimeGrid.cut([0, 90000], every="1d"), nodes=[7, 8], hyperedges=[1, 1], times=[0, 90000])[1].node_ids
    array([8])
    """

    def __init__(
        self,
        grid: TimeGrid,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        times: ArrayLike | Tensor,
    ) -> None:
        self.grid = grid
        self._slices: dict[int, Hypergraph | folder.Stored] = {}  # those that hold something, by number
        self._count = len(grid)
        self._kinds: tuple[str, str] | None = None  # of the node and the hyperedge ids, after the first rows
        self.append(nodes, hyperedges, times)

    @classmethod
    def cut(
        cls,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        times: ArrayLike | Tensor,
        every: str | None = None,
        origin: int | np.datetime64 | None = None,
        count: int | None = None,
        unit: str | None = None,
    ) -> TimeSlices:
        """Cut rows into slices by the calendar or into quantiles; times are in `unit`, see `TimeGrid.cut`.

        >>> TimeSlices.cut(nodes=[7, 8], hyperedges=[1, 1], times=[0, 90000], every="1d")
        TimeSlices(2 slices, every 1d, 2 incidences)
        """
        return cls(TimeGrid.cut(times, every, origin, count, unit=unit), nodes, hyperedges, times)

    @classmethod
    def from_batches(
        cls,
        grid: TimeGrid,
        batches: Iterable[tuple[ArrayLike | Tensor, ArrayLike | Tensor, ArrayLike | Tensor]],
        path: str | os.PathLike,
    ) -> TimeSlices:
        """Build a folder from more rows than fit in memory: split the batches by slice, then build slice by slice.

        Memory is one batch, about 2 million rows, and at most 60 bytes per row of the largest slice. The disk needs 16
        bytes per row (8 if ids come as int32) until their slice is built. The folder appears complete or not at all: an
        error leaves nothing, a killed build leaves a hidden folder next to it.

        Args:
            grid: start and end of the slices; `TimeGrid.cut([first, last], every="1d")` takes the first and last time.
            batches: (nodes, hyperedges, times) of some rows each, in any order.
            path: the folder; old time slices in it are replaced.

        Returns:
            The slices, as `load` opens them; they equal `TimeSlices` of all rows at once.

        Raises:
            ValueError: a batch that `append` would refuse, or a path with something else.

        Parquet files of any size can be read through polars, or through pyarrow's `iter_batches`::

            table = polars.scan_parquet("clicks/*.parquet").select("item", "user", "time")
            batches = (batch.get_columns() for batch in table.collect_batches())
            slices = TimeSlices.from_batches(TimeGrid.cut([first, last], every="1d"), batches, "daily")

        >>> batches = [([7], [1], [0]), ([8], [1], [90000])]
        >>> TimeSlices.from_batches(TimeGrid.cut([0, 90000], every="1d"), batches, "daily")
        TimeSlices(2 slices, every 1d, 2 incidences)
        """
        with folder.written(path) as part:
            slices = cls(grid, [], [], [])
            spill = folder.Spill(part / "rows")
            for count, batch in enumerate(batches):
                try:
                    nodes, hyperedges, times = batch
                    spill.add(*slices._checked(nodes, hyperedges, times))
                except (TypeError, ValueError) as error:
                    raise ValueError(f"batch {count}: {error}") from error
            for n, nodes, hyperedges in spill.drain():
                slices._put(n, folder.write_slice(part, n, build.from_ids(nodes, hyperedges)))
            folder.write_index(part, grid, slices._kinds, len(slices), slices._slices)
        return cls.load(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> TimeSlices:
        """Open a folder that `save` or `from_batches` wrote; a slice is read from its file at every access.

        Raises:
            ValueError: the folder does not contain time slices, or lacks some.

        >>> TimeSlices.cut([7, 8], [1, 1], [0, 90000], every="1d").save("daily")
        >>> TimeSlices.load("daily")[1]
        Hypergraph(1 nodes, 1 hyperedges, 1 incidences)
        """
        grid, kinds, count, stored = folder.read_index(path)
        slices = cls(grid, [], [], [])
        slices._kinds, slices._count, slices._slices = kinds, count, stored
        return slices

    def save(self, path: str | os.PathLike) -> None:
        """Write a folder with one file per slice; it appears complete or not at all.

        Old time slices in it are replaced, so a folder can be loaded, appended to and saved again. Slices that were
        loaded and not changed are linked, not written again.

        Raises:
            ValueError: there is something else at the path.

        >>> import os
        >>> TimeSlices.cut([7, 8], [1, 1], [0, 90000], every="1d").save("daily")
        >>> sorted(os.listdir("daily"))
        ['0.npz', '1.npz', 'slices.json']
        """
        with folder.written(path) as part:
            written = {n: folder.write_slice(part, n, h) for n, h in self._slices.items()}
            folder.write_index(part, self.grid, self._kinds, len(self), written)

    def append(self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor) -> None:
        """Add rows, in any order. Only the slices of these rows are built again, and the result equals a full rebuild.

        Raises:
            ValueError: lengths that disagree, ids that are neither integers nor strings or not of the kind of earlier
                ids, times before the grid's origin; nothing is added.

        >>> slices = TimeSlices.cut([7], [1], [0], every="1d")
        >>> slices.append(nodes=[8], hyperedges=[1], times=[90000])
        >>> slices
        TimeSlices(2 slices, every 1d, 2 incidences)
        """
        nodes, hyperedges, number = self._checked(nodes, hyperedges, times)
        if touched := self._slices.keys() & np.unique(number).tolist():
            rows = [(nodes, hyperedges, number), *(_rows(self[n], n) for n in sorted(touched))]
            nodes, hyperedges, number = (np.concatenate(column) for column in zip(*rows, strict=True))
        for n, h in from_grouped_ids(nodes, hyperedges, number).items():
            self._put(n, h)

    def _checked(
        self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return node ids, hyperedge ids and slice of each row."""
        times = whole(times, self.grid.unit)
        nodes, hyperedges = _ids("node", nodes, times), _ids("hyperedge", hyperedges, times)
        number = np.empty(len(times), dtype=np.int32)
        if not len(times):
            return nodes, hyperedges, number
        kinds = tuple("strings" if ids.dtype.kind == "U" else "integers" for ids in (nodes, hyperedges))
        if self._kinds not in (None, kinds):
            was, now = " and ".join(self._kinds), " and ".join(kinds)
            raise ValueError(f"node and hyperedge ids have been {was} so far, got {now}")
        for start in range(0, len(times), CHUNK):
            rows = times[start : start + CHUNK]
            low, high = self.grid.slice_of(np.array([rows.min(), rows.max()]))
            if low < 0:
                early = f"{int((times < self.grid.origin).sum())} of {len(times)} times"
                raise ValueError(f"{early} are before the origin {self.grid.origin}: {times.min()}")
            number[start : start + CHUNK] = low if low == high else self.grid.slice_of(rows)
        self._kinds = kinds
        return nodes, hyperedges, number

    def _put(self, n: int, h: Hypergraph | folder.Stored) -> None:
        self._slices[n] = h
        self._count = max(self._count, n + 1)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, n: int | slice) -> Hypergraph | list[Hypergraph]:
        if isinstance(n, slice):
            return [self[k] for k in range(*n.indices(len(self)))]
        n = operator.index(n)
        if not -len(self) <= n < len(self):
            raise IndexError(f"there are {len(self)} slices, got {n}")
        h = self._slices.get(n % len(self), EMPTY)
        return h.read() if isinstance(h, folder.Stored) else h

    def __iter__(self) -> Iterator[Hypergraph]:
        return (self[n] for n in range(len(self)))

    def filled(self) -> list[int]:
        """Return the numbers of the slices that hold something, ascending.

        >>> TimeSlices.cut([7, 8], [1, 1], [0, 9 * 86400], every="1d").filled()
        [0, 9]
        """
        return sorted(self._slices)

    def describe(self) -> list[dict]:
        """Return one row per slice that holds something: bounds in the grid's unit, UTC date of its start, counts.

        `returning` is the share of its nodes that were in the slice before. `node_overlap` and `hyperedge_overlap` are
        Jaccard indices of the two slices: the share of all nodes or hyperedges of both that are in both. They are 0 for
        the first slice.

        >>> [row["returning"] for row in TimeSlices.cut([7, 7, 8], [1, 1, 1], [0, 90000, 90000], every="1d").describe()]
        [0.0, 0.5]
        """
        rows, before, last = [], EMPTY, -1
        for n in self.filled():
            h, before, last = self[n], before if last == n - 1 else EMPTY, n
            common = len(np.intersect1d(h.node_ids, before.node_ids, assume_unique=True))
            common_edges = len(np.intersect1d(h.hyperedge_ids, before.hyperedge_ids, assume_unique=True))
            rows.append(
                {
                    "slice": n,
                    "start": self.grid.start(n),
                    "end": self.grid.end(n),
                    "date": self.grid.date(n),
                    "num_nodes": h.num_nodes,
                    "num_hyperedges": h.num_hyperedges,
                    "num_incidences": h.num_incidences,
                    "mean_size": h.num_incidences / max(h.num_hyperedges, 1),
                    "returning": common / max(h.num_nodes, 1),
                    "node_overlap": common / max(h.num_nodes + before.num_nodes - common, 1),
                    "hyperedge_overlap": common_edges / max(h.num_hyperedges + before.num_hyperedges - common_edges, 1),
                }
            )
            before = h
        return rows

    def __repr__(self) -> str:
        width = f"every {self.grid.every}" if self.grid.every else "quantiles"
        incidences = sum(h.num_incidences for h in self._slices.values())
        return f"TimeSlices({len(self)} slices, {width}, {incidences} incidences)"

    def _repr_html_(self) -> str:
        from graphs.describe import html_rows

        return html_rows(self.describe(), empty_slices(len(self) - len(self._slices)))


def empty_slices(count: int) -> str:
    """Say how many slices hold nothing; "" for none.

    >>> empty_slices(1), empty_slices(70_000)
    ('1 empty slice is left out', '70,000 empty slices are left out')
    """
    return f"{count:,} empty slice{'s are' if count > 1 else ' is'} left out" if count else ""


def _ids(name: str, ids: ArrayLike | Tensor, times: np.ndarray) -> np.ndarray:
    ids = id_array(f"{name} ids", ids)
    if ids.shape != times.shape:
        raise ValueError(f"there are {len(times)} times, so {len(times)} {name} ids, got shape {list(ids.shape)}")
    return ids


def _rows(h: Hypergraph, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    indptr, indices, _ = h.numpy_members()
    nodes, hyperedges = h.node_ids[indices], np.repeat(h.hyperedge_ids, np.diff(indptr))
    return nodes, hyperedges, np.full(len(nodes), n, dtype=np.int32)


EMPTY = build.from_ids([], [])
