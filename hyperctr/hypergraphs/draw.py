"""Draw a built folder: slices over time, their overlap, and one slice in detail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphs import Hypergraph, TimeGrid
from graphs import draw as pictures
from hyperctr.files import atomic
from hyperctr.hypergraphs.folder import GROUP, Graphs, _check, _find

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_SLICES = 1000  # in a heat map of their overlap
MOST_MODALITIES = 16  # in a comparison of modalities


@dataclass(frozen=True)
class Timeline:
    """One side and modality over time, read slice by slice; `graphs.draw` takes it in place of a TimeSlices."""

    graphs: Graphs
    side: str
    modality: str

    @property
    def grid(self) -> TimeGrid:
        """The grid of the slices."""
        return self.graphs.grid

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, n: int) -> Hypergraph:
        return self.graphs.load(n, self.side, self.modality)

    def filled(self) -> list[int]:
        """Return the numbers of the slices with clicks."""
        return self.graphs.filled()

    def __str__(self) -> str:
        count = sum(
            row.num_incidences for key, row in self.graphs.rows.items() if key[1:] == (self.side, self.modality)
        )
        return f"{len(self)} slices, every {self.graphs.every}, {count:,} incidences"


def draw(
    built: Graphs,
    out: str | Path,
    n: int | None = None,
    side: str = "users",
    modality: str = GROUP,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw all slices of one side and modality, and one slice in detail, as PNG files in a folder.

    Args:
        built: the hypergraphs.
        out: the folder; pictures of the same name are replaced.
        n: the slice; None takes the slice with most incidences.
        side: users or items.
        modality: the modality of the pictures that do not compare modalities.
        say: takes one line per choice that was made and per picture that could not be drawn.

    Raises:
        ValueError: no such slice, side or modality, or a folder that cannot be written.
    """
    import matplotlib.pyplot as plt

    _check(built, side, modality)
    if n is None:
        rows = [row for row in built.rows.values() if (row.side, row.modality) == (side, modality)]
        n = max(rows, key=lambda row: row.num_incidences).slice
        say(f"slice {n}, from {built.date(n)}, has most incidences: it is drawn")
    _find(built, n, side, modality)
    timeline, by_name = Timeline(built, side, modality), {m: built.load(n, side, m) for m in built.modalities}
    others = {name: h for name, h in by_name.items() if name != GROUP}
    all_slices, slice_n = f"{built.data}: {side}, {modality}", f"{built.data}: {side}, slice {n}, from {built.date(n)}"

    def tall() -> Axes:
        """Make axes with room for a legend of one line per modality."""
        return plt.subplots(figsize=(6.4, 4.2 + 0.2 * len(by_name)), layout="constrained")[1]

    made = {f"{side}-{modality}-strip": (all_slices, lambda: pictures.strip(timeline))}
    if 2 <= len(timeline.filled()) <= MOST_SLICES:
        made[f"{side}-{modality}-overlap"] = (all_slices, lambda: pictures.overlap(timeline))
    else:
        say(f"overlap of slices not drawn: it takes 2 to {MOST_SLICES} with clicks, there are {len(timeline.filled())}")
    made[f"{n}-{side}-degrees"] = (slice_n, lambda: pictures.degrees(by_name, tall()))
    made[f"{n}-{side}-sizes"] = (slice_n, lambda: pictures.sizes(by_name, tall()))
    made[f"{n}-{side}-{modality}-incidence"] = (f"{slice_n}, {modality}", lambda: pictures.incidence(by_name[modality]))
    if 2 <= len(others) <= MOST_MODALITIES:
        made[f"{n}-{side}-modalities"] = (slice_n, lambda: pictures.modalities(others))
    else:
        say(f"modalities not compared: it takes 2 to {MOST_MODALITIES} of them, there are {len(others)}")
    paths = []
    for name, (title, picture) in made.items():
        axes = picture()
        axes.set_title(f"{title}\n{axes.get_title(loc='left')}", loc="left")
        paths.append(Path(out) / f"{name}.png")
        with atomic(paths[-1]) as part:
            axes.figure.savefig(part, dpi=160, bbox_inches="tight", facecolor="white", metadata={"Software": None})
        plt.close(axes.figure)
    return paths
