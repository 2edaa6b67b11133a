"""The look that all figures share, and kinds of figure that both a bench and a look into a model draw.

matplotlib is imported inside the functions; a figure is made without pyplot and its global state. A score is anything
with `mean` and `half`, the half-width of its 95 % interval (NaN where it is unknown).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, GREY, FAINT, EDGE = "#22272e", "#6b7380", "#e6e8eb", "#b9bfc7"
RED, ORANGE, BLUE, NONE = "#b3261e", "#e8590c", "#31688e", "#f3f4f5"
MARKERS = "osD^vP*X"
DASHES = ((0, (5, 3)), (0, (1, 1.6)))


class Value(Protocol):
    """A mean with the half-width of its 95 % interval."""

    mean: float
    half: float


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """An empty figure of this size in inches and its axes: one, or an array of rows or columns."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    found = figure.subplots(rows, columns, **grid)
    for axes in np.ravel(found):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(EDGE)
        axes.tick_params(colors=INK, length=3, color=EDGE)
        axes.xaxis.label.set_color(GREY)
        axes.yaxis.label.set_color(GREY)
        axes.set_axisbelow(True)
    return figure, found


def titles(axes: Axes, title: str, protocol: str, leaky: str = "") -> None:
    """Title, below it in grey the protocol and in red what makes it leaky: a figure alone must say what it shows."""
    lines = [(text, {"color": ink, "fontsize": 9}) for text, ink in ((protocol, GREY), (leaky, RED)) if text]
    pad = 13 + 14 * len(lines)
    axes.set_title(" ", fontsize=13, pad=pad)  # a long line must not squeeze the axes, but the height counts
    heights = [*range(9, pad - 13, 14), pad]
    lines.append((title, {"color": INK, "fontsize": 13, "weight": "bold"}))
    for height, (text, style) in zip(heights, lines, strict=True):
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "in_layout": False}
        axes.annotate(text, (0, 1), (0, height), **place, **style)


def lines(
    axes: Axes,
    series: Sequence[tuple[str, Sequence[tuple[float, Value | None]]]],
    across: Sequence[tuple[str, Value]],
    title: str,
    colour: str = "",
) -> None:
    """Draw a line with its band for each series of (x, AUC), and baselines as dashed lines across."""
    import numpy as np
    from matplotlib import colormaps

    colours = [colour] if colour else colormaps["viridis"](np.linspace(0.0, 0.8, max(2, len(series))))
    for number, (label, points) in enumerate(series):
        known = [(x, value) for x, value in points if value is not None]
        if not known:
            continue
        x = np.array([x for x, _ in known], dtype=float)
        mean = np.array([value.mean for _, value in known])
        half = np.nan_to_num([value.half for _, value in known])
        style = {"color": colours[number], "marker": MARKERS[number % len(MARKERS)]}
        axes.fill_between(x, mean - half, mean + half, color=colours[number], alpha=0.11, linewidth=0)
        if len(x) == 1:  # a band needs two points
            axes.errorbar(x, mean, half, color=colours[number], capsize=4, linewidth=1.4)
        axes.plot(
            x, mean, **style, markersize=6, markeredgecolor="white", markeredgewidth=0.8, linewidth=2, label=label
        )
    for number, (name, value) in enumerate(across):
        dashes = DASHES[number % len(DASHES)]
        axes.axhline(value.mean, color=GREY, linewidth=1.4, linestyle=dashes, label=name, zorder=1)
        if not math.isnan(value.half):
            edges = value.mean - value.half, value.mean + value.half
            axes.axhspan(*edges, color=GREY, alpha=0.08, linewidth=0, zorder=0)
    axes.set_ylabel("test AUC")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.margins(y=0.08)
    legend(axes, title)


def legend(axes: Axes, title: str = "") -> None:
    """Put the legend to the right of the axes."""
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "alignment": "left", "frameon": False}
    axes.legend(title=title or None, **place, handlelength=2.4, labelspacing=0.6, labelcolor=INK)


def log_ticks(axes: Axes, place: Mapping[str, float]) -> None:
    """Make x a log axis with a tick a value; a label that would run into its neighbour goes a line lower."""
    from matplotlib.ticker import NullFormatter, NullLocator

    labels, last = [], [0.0]  # the latest label of every line
    for name, x in place.items():
        level = next((level for level, before in enumerate(last) if x >= 1.3 * before), len(last))
        last[level : level + 1] = [x]
        labels.append("\n" * level + name)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(list(place.values()), labels)
    axes.set_xlim(min(place.values()) / 1.25, max(place.values()) * 1.25)


def luminance(colour: tuple[float, float, float, float]) -> float:
    """Relative luminance of a colour (WCAG), 0 black to 1 white."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def save(figure: Figure, path: Path) -> None:
    """Write a figure beside its name, then move it there.

    Raises:
        ValueError: the file is no .png, .svg or .pdf.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"a picture is a .png, .svg or .pdf file, got {path}")
    beside, about = path.with_name(path.name + ".part"), {"Software": None} if path.suffix == ".png" else None
    figure.savefig(beside, format=path.suffix[1:], dpi=160, facecolor="white", metadata=about)
    os.replace(beside, path)


def draw_strength(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], what: str
) -> tuple[Figure, Axes]:
    """A heat map with its numbers; white where there is none.

    Args:
        values: [rows][columns]. what: what they are.
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    figure, axes = canvas(3.4 + 0.95 * len(columns), 1.9 + 0.36 * len(rows))
    image = axes.imshow(values, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.argwhere(~np.isnan(values)):
        ink = INK if luminance(image.to_rgba(values[row, column])) > 0.3 else "white"
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=8, color=ink)
    bar = figure.colorbar(image, ax=axes, pad=0.02, label=what)
    bar.outline.set_edgecolor(FAINT)
    return figure, axes


def draw_groups(panels: Sequence[Mapping[str, Any]]) -> tuple[Figure, Axes]:
    """Groups of points in two dimensions, a panel each.

    Args:
        panels: `title`, `groups` (their names), `points` ([n][2] of each), and `probe`, the accuracy of naming a group.
    """
    import numpy as np

    figure, found = canvas(3.9 * len(panels), 4.6, 1, len(panels))
    colours = (RED, BLUE, "#2f8f4e")
    for axes, panel in zip(np.ravel(found), panels, strict=True):
        for name, points, colour in zip(panel["groups"], panel["points"], colours, strict=False):
            x, y = np.asarray(points, dtype=float).reshape(-1, 2).T
            axes.scatter(x, y, s=7, color=colour, linewidths=0, alpha=0.7, label=name)
        said = "unknown" if math.isnan(panel["probe"]) else f"{panel['probe']:.2f}"
        note = f"{panel['title']}\nprobe {said}, chance {1 / len(panel['groups']):.2f}"
        axes.set(xticks=[], yticks=[], xlabel=note)
        axes.spines[:].set(visible=True, color=FAINT)
        axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=INK, markerscale=2, handletextpad=0.1)
    return figure, np.ravel(found)[0]
