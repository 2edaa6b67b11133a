"""A stream of (node, hyperedge, time) rows as one hypergraph a time slice: in memory, or in a folder."""

from __future__ import annotations

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
from graphs.slices.grid import TimeGrid, seconds


class TimeSlices:
    """One hypergraph a time slice, each on the nodes and hyperedges that occur in it.

    `slices[n].node_ids` and `.hyperedge_ids` are the caller's ids. A slice in which nothing happens is a hypergraph
    without nodes. Slices are built side by side on `torch.get_num_threads()` threads, which changes no bit of them.

    Args:
        grid: where the slices lie.
        nodes: node id of each row, [rows], integers or strings; strings take some twenty times as long.
        hyperedges: hyperedge id of each row, [rows], integers or strings.
        times: seconds, [rows].

    Raises:
        ValueError: lengths that disagree, ids that are neither integers nor strings, times before the grid's origin.
    """

    def __init__(
        self,
        grid: TimeGrid,
        nodes: ArrayLike | Tensor,
        hyperedges: ArrayLike | Tensor,
        times: ArrayLike | Tensor,
    ) -> None:
        self.grid = grid
        self._slices: list[Hypergraph | folder.Stored] = [EMPTY] * len(grid)
        self._kinds: tuple[str, str] | None = None  # of the node and the hyperedge ids, once there are some
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

    @classmethod
    def from_batches(
        cls,
        grid: TimeGrid,
        batches: Iterable[tuple[ArrayLike | Tensor, ArrayLike | Tensor, ArrayLike | Tensor]],
        path: str | os.PathLike,
    ) -> TimeSlices:
        """Build from more rows than memory holds, into a folder: part the batches, then build slice by slice.

        Memory holds a batch, some 2 million rows, and at most 60 bytes a row of the largest slice; the disk 16 bytes a
        row (8 where ids come as int32) until their slice is built. The folder appears complete or not at all: an error
        leaves nothing, a killed build a hidden folder beside it.

        Args:
            grid: where the slices lie; `TimeGrid.cut([first, last], every="1d")` needs only the first and last time.
            batches: (nodes, hyperedges, times) of some rows each, in any order.
            path: the folder; time slices that are there already are replaced.

        Returns:
            The slices, read when they are asked for, as by `load`; they equal `TimeSlices` of all rows at once.

        Raises:
            ValueError: a batch that `append` would refuse, or a path that is taken by something else.

        Example:
            Parquet files of any size, through polars; pyarrow's `iter_batches` serves as well::

                table = polars.scan_parquet("clicks/*.parquet").select("item", "user", "time")
                batches = (batch.get_columns() for batch in table.collect_batches())
                slices = TimeSlices.from_batches(TimeGrid.cut([first, last], every="1d"), batches, "daily")
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
            folder.write_index(part, grid, slices._kinds, slices._slices)
        return cls.load(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> TimeSlices:
        """Open a folder that `save` or `from_batches` wrote; a slice is read each time it is asked for.

        Raises:
            ValueError: the folder does not hold time slices, or lacks some.
        """
        grid, kinds, stored = folder.read_index(path)
        slices = cls(grid, [], [], [])
        slices._kinds, slices._slices = kinds, stored
        return slices

    def save(self, path: str | os.PathLike) -> None:
        """Write a folder of one file a slice, which appears complete or not at all.

        Time slices that are there already are replaced, so that a folder can be loaded, appended to and saved again;
        slices that were loaded and not touched are linked, not written.

        Raises:
            ValueError: the path is taken by something else.
        """
        with folder.written(path) as part:
            written = [folder.write_slice(part, n, h) for n, h in enumerate(self._slices)]
            folder.write_index(part, self.grid, self._kinds, written)

    def append(self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor) -> None:
        """Add rows, in any order; only the slices they fall into are built again, and the result equals a rebuild.

        Raises:
            ValueError: lengths that disagree, ids that are neither integers nor strings or not of the kind of those
                before them, times before the grid's origin; nothing is added.
        """
        nodes, hyperedges, number = self._checked(nodes, hyperedges, times)
        old = [n for n, h in enumerate(self._slices) if h.num_incidences]
        if old:
            touched = np.bincount(number, minlength=len(self))
            rows = [(nodes, hyperedges, number), *(_rows(self[n], n) for n in old if touched[n])]
            nodes, hyperedges, number = (np.concatenate(column) for column in zip(*rows, strict=True))
        for n, h in from_grouped_ids(nodes, hyperedges, number).items():
            self._put(n, h)

    def _checked(
        self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Node ids, hyperedge ids and slice of each row."""
        times = seconds(times)
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
                raise ValueError(f"{early} lie before the origin {self.grid.origin}: {times.min()}")
            number[start : start + CHUNK] = low if low == high else self.grid.slice_of(rows)
        self._kinds = kinds
        return nodes, hyperedges, number

    def _put(self, n: int, h: Hypergraph | folder.Stored) -> None:
        self._slices += [EMPTY] * (n + 1 - len(self))
        self._slices[n] = h

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, n: int) -> Hypergraph:
        if not -len(self) <= n < len(self):
            raise IndexError(f"there are {len(self)} slices, got {n}")
        h = self._slices[n]
        return h.read() if isinstance(h, folder.Stored) else h

    def __iter__(self) -> Iterator[Hypergraph]:
        return (self[n] for n in range(len(self)))

    def describe(self) -> list[dict]:
        """One row a slice: bounds in seconds, UTC date of its start, counts, and what it shares with the one before.

        `returning` is the share of its nodes that were in the slice before; `node_overlap` and `hyperedge_overlap` are
        what both slices have as a share of what either has (Jaccard), 0 for the first slice.
        """
        rows, before = [], EMPTY
        for n, h in enumerate(self):
            common = len(np.intersect1d(h.node_ids, before.node_ids, assume_unique=True))
            kept = len(np.intersect1d(h.hyperedge_ids, before.hyperedge_ids, assume_unique=True))
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
                    "returning": common / max(h.num_nodes, 1),
                    "node_overlap": common / max(h.num_nodes + before.num_nodes - common, 1),
                    "hyperedge_overlap": kept / max(h.num_hyperedges + before.num_hyperedges - kept, 1),
                }
            )
            before = h
        return rows

    def __repr__(self) -> str:
        width = f"every {self.grid.every}" if self.grid.every else "quantiles"
        incidences = sum(h.num_incidences for h in self._slices)
        return f"TimeSlices({len(self)} slices, {width}, {incidences} incidences)"

    def _repr_html_(self) -> str:
        from graphs.describe import html_rows

        return html_rows(self.describe())


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
