"""Draw figures: the style that all share, and the kinds that both studies and analyses of a model use.

matplotlib is imported inside the functions. Figures are made without pyplot, so without its global state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hyperctr.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, GREY, FAINT, EDGE = "#22272e", "#6b7380", "#e6e8eb", "#b9bfc7"
RED, ORANGE, BLUE, NONE = "#b3261e", "#e8590c", "#31688e", "#f3f4f5"
MARKERS = "osD^vP*X"
DASHES = ((0, (5, 3)), (0, (1, 1.6)), (0, (8, 2, 1, 2)))


class Value(Protocol):
    """A mean with the half-width of its 95 % interval (NaN where it is unknown)."""

    mean: float
    half: float


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Make an empty figure of a size in inches; return it and its axes: one, or an array of rows or columns."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, **grid)
    for axes in np.ravel(panels):
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(EDGE)
        axes.tick_params(colors=INK, length=3, color=EDGE)
        axes.xaxis.label.set_color(GREY)
        axes.yaxis.label.set_color(GREY)
        axes.set_axisbelow(True)
    return figure, panels


def titles(axes: Axes, title: str, protocol: str, leaky: str = "") -> None:
    """Write the title, with the protocol below it in grey, and in red the reason why it is leaky.

    A figure is often seen without its text, so it states these itself.
    """
    lines = [(text, {"color": ink, "fontsize": 9}) for text, ink in ((protocol, GREY), (leaky, RED)) if text]
    pad = 13 + 14 * len(lines)
    axes.set_title(" ", fontsize=13, pad=pad)  # reserves the height; the lines themselves must not squeeze the axes
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
    """Draw one line and its band per series of (x, AUC), and one dashed horizontal line per baseline."""
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
    """Make x a log axis with one tick per value; a label that would overlap its neighbour is set one line lower."""
    from matplotlib.ticker import NullFormatter, NullLocator

    labels, last = [], [0.0]  # x of the latest label on each line
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
    """Return the relative luminance of a colour (WCAG), from 0 for black to 1 for white."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as .png, .svg or .pdf.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"a picture is a .png, .svg or .pdf file, got {path}")
    about = {"Software": None} if path.suffix == ".png" else None
    with atomic(path) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=160, facecolor="white", metadata=about)


def draw_strength(
    values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], what: str
) -> tuple[Figure, Axes]:
    """Draw a heat map with its numbers; a NaN is left white.

    Args:
        values: [rows][columns].
        rows, columns: their names.
        what: name of the values, for the colour bar.
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
    """Draw groups of points in two dimensions, one panel per entry of `panels`.

    Args:
        panels: dicts of `title`, `groups` (names), `points` ([n][2] per group), and `probe`, the accuracy of a linear
            probe that names the group of a point (NaN where it is unknown).
    """
    import numpy as np

    figure, grid = canvas(3.9 * len(panels), 4.6, 1, len(panels))
    colours = (RED, BLUE, "#2f8f4e")
    for axes, panel in zip(np.ravel(grid), panels, strict=True):
        for name, points, colour in zip(panel["groups"], panel["points"], colours, strict=False):
            x, y = np.asarray(points, dtype=float).reshape(-1, 2).T
            axes.scatter(x, y, s=7, color=colour, linewidths=0, alpha=0.7, label=name)
        accuracy = "unknown" if math.isnan(panel["probe"]) else f"{panel['probe']:.2f}"
        note = f"{panel['title']}\nprobe {accuracy}, chance {1 / len(panel['groups']):.2f}"
        axes.set(xticks=[], yticks=[], xlabel=note)
        axes.spines[:].set(visible=True, color=FAINT)
        axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=INK, markerscale=2, handletextpad=0.1)
    return figure, np.ravel(grid)[0]
