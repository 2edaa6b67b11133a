"""Make the planted worlds of a study, one per seed, and keep what only their maker knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperctr import files
from hyperctr.runs import parallel
from hyperctr.studies.study import Cells, Measurement

if TYPE_CHECKING:
    from hyperctr.data.planted import World
    from hyperctr.data.split import Split


def place(out: Path, preset: str, seed: int, scale: float) -> Path:
    """Return the folder of a world in a study's folder."""
    return out / "worlds" / f"{preset}-{scale:g}-{seed}"


def make(cells: Cells, scales: Mapping[str, float]) -> None:
    """Write the worlds of these runs that are missing."""
    from hyperctr.data import planted

    for cell in cells.values():
        path = Path(cell.run.data.path)
        if cell.row.world and not path.exists():
            planted.write(cell.row.world, path, cell.seed, scales[cell.row.world])


def known(of: Callable[[World, Split], dict[str, float]]) -> Measurement:
    """Return what the maker of each world knows, as {preset: {seed: numbers}} in worlds.json.

    Args:
        of: gives the numbers of a world and its split.
    """

    def gather(cells: Cells, out: Path, new: bool) -> None:
        from hyperctr.data import planted
        from hyperctr.data.split import split

        path = out / "worlds.json"
        found = files.read_json(path) if path.exists() else {}
        for name, cell in cells.items():
            some = found.setdefault(cell.row.world, {})
            if str(cell.seed) in some or not (parallel.folder_of(out, name) / "report.json").exists():
                continue
            scale = Path(cell.run.data.path).name.split("-")[1]  # as `place` names it
            world = planted.planted(cell.row.world, cell.seed, float(scale))
            some[str(cell.seed)] = of(world, split(world.dataset.interactions))
        files.write_json(path, found, indent=None)

    def read(out: Path, facts: Mapping[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
        path = out / "worlds.json"
        found = files.read_json(path) if path.exists() else {}
        return {preset: {int(seed): x for seed, x in some.items()} for preset, some in found.items()}

    return Measurement(gather, read)
