"""Time slices in a folder: an index and one file per slice. The folder appears complete or not at all."""

from __future__ import annotations

import json
import operator
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from graphs.atomic import replaced
from graphs.hypergraph import Hypergraph
from graphs.slices.grid import TimeGrid

INDEX = "slices.json"
FORMAT = "graphs.TimeSlices 2"
OLD = "graphs.TimeSlices 1"
"""Lists the counts of all slices, also of empty ones, and has no unit."""
HELD = 2**21  # rows kept in memory before they are written to the files of their slices


@dataclass(frozen=True)
class Stored:
    """A slice in its file; a slice without incidences has none."""

    path: Path
    num_nodes: int
    num_hyperedges: int
    num_incidences: int

    def read(self) -> Hypergraph:
        """Read the slice from its file, every time.

        Raises:
            ValueError: the file is damaged, or was replaced since the folder was opened.
        """
        h = Hypergraph.load(self.path)
        if (h.num_nodes, h.num_hyperedges, h.num_incidences) != (
            self.num_nodes,
            self.num_hyperedges,
            self.num_incidences,
        ):
            raise ValueError(
                f"{self.path} is {h}, which has changed since its folder was opened: load the folder again"
            )
        return h


def write_slice(part: Path, n: int, h: Hypergraph | Stored) -> Stored:
    """Write slice n; a slice that is in a file already is linked, so that its bytes are not written again."""
    path = part / f"{n}.npz"
    if isinstance(h, Stored):
        try:
            os.link(h.path, path)
        except OSError:  # another disk, or a disk without links
            shutil.copyfile(h.path, path)
    else:
        h.save(path)
    return Stored(path, h.num_nodes, h.num_hyperedges, h.num_incidences)


def write_index(
    part: Path, grid: TimeGrid, kinds: Sequence[str] | None, count: int, slices: Mapping[int, Stored]
) -> None:
    """Write the grid, the kinds of ids, the number of slices, and the counts of each that holds something."""
    counts = {n: (h.num_nodes, h.num_hyperedges, h.num_incidences) for n, h in sorted(slices.items())}
    index = {"format": FORMAT, "grid": asdict(grid), "ids": kinds, "slices": count}
    index["nodes_hyperedges_incidences"] = counts
    (part / INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_index(path: str | os.PathLike) -> tuple[TimeGrid, tuple[str, str] | None, int, dict[int, Stored]]:
    """Read the grid, the kinds of ids, the number of slices, and those that hold something; no slice is read.

    Raises:
        ValueError: not a folder that `TimeSlices.save` wrote, or one that lacks a file.
    """
    path = Path(path)
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        counts = index["nodes_hyperedges_incidences"]
        if index["format"] == OLD:
            index["slices"], counts = len(counts), {n: each for n, each in enumerate(counts) if each[2]}
        elif index["format"] != FORMAT:
            raise ValueError(f"its format is {index['format']!r}, this version reads {FORMAT!r}")
        grid = _grid(**index["grid"])
        kinds = None if index["ids"] is None else tuple(index["ids"])
        count, slices = operator.index(index["slices"]), {}
        for n, each in sorted((int(n), each) for n, each in counts.items()):
            slices[n] = Stored(path / f"{n}.npz", *map(operator.index, each))
            if not 0 <= n < count or not slices[n].num_incidences > 0:
                raise ValueError(f"it counts slice {n} of {count} with {each}")
            if not slices[n].path.is_file():
                raise ValueError(f"it lacks {n}.npz")
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a folder of time slices that TimeSlices.save wrote: {error}") from error
    return grid, kinds, count, slices


def _grid(
    every: str | None, origin: int, num_slices: int, edges: Sequence[int] | None = None, unit: str = "s"
) -> TimeGrid:
    """Make the grid of an index, whose entries may be anything that JSON holds."""
    if not isinstance(every, str | None):
        raise ValueError(f"its slices are of every {every!r}")
    edges = None if edges is None else tuple(map(operator.index, edges))
    return TimeGrid(every, operator.index(origin), operator.index(num_slices), edges, unit)


@contextmanager
def written(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a hidden folder next to `path`, which replaces the time slices there at the end; see `graphs.atomic`.

    Raises:
        ValueError: there is something at the path that is no folder of time slices.
    """
    path = Path(path)
    if refused := _not_ours(path):
        raise ValueError(f"{path} is already there and {refused}; choose another folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.mkdir()
        yield part


def _not_ours(path: Path) -> str | None:
    if path.is_symlink() or not path.exists():
        return "is a link" if path.is_symlink() else None
    if not path.is_dir():
        return "is no folder"
    names = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in names if name != INDEX and not re.fullmatch(r"\d+\.npz", name)]
    if foreign:
        return f"contains {foreign[0]}, which is no time slice"
    return "contains no time slices" if names and INDEX not in names else None


class Spill:
    """Rows that wait for their slices, in one file per slice."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, nodes: np.ndarray, hyperedges: np.ndarray, number: np.ndarray) -> None:
        """Add rows and the slice of each; millions are kept in memory, so that files are written in large pieces."""
        self.waiting.append((nodes.copy(), hyperedges.copy(), number))
        if sum(len(rows[0]) for rows in self.waiting) >= HELD:
            self._write()

    def _write(self) -> None:
        if not self.waiting:
            return
        nodes, hyperedges, number = (np.concatenate(column) for column in zip(*self.waiting, strict=True))
        self.waiting = []
        if not len(number):
            return
        low = number.min()
        order = np.argsort((number - low).astype(np.min_scalar_type(number.max() - low)), kind="stable")
        cuts = np.flatnonzero(np.diff(number[order])) + 1
        for rows in np.split(order, cuts):
            with open(self.path / str(number[rows[0]]), "ab") as file:
                np.save(file, nodes[rows], allow_pickle=False)
                np.save(file, hyperedges[rows], allow_pickle=False)

    def drain(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each slice with its rows and remove its file; remove the folder at the end."""
        self._write()
        for path in sorted(self.path.iterdir(), key=lambda path: int(path.name)):
            yield int(path.name), *_read_rows(path)
            path.unlink()
        self.path.rmdir()


def _read_rows(path: Path) -> list[np.ndarray]:
    rows = []
    with open(path, "rb") as file:
        while file.tell() < path.stat().st_size:
            rows.append((np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)))
    return [np.concatenate(ids) for ids in zip(*rows, strict=True)]
