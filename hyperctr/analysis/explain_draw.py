"""Draw an explanation: one bar per thing that was left out, and below one per link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphs.draw import COLOURS
from hyperctr.analysis.asked import Bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TONES = {
    "modalities": 2, "slices": 3, "hyperedges of the user": 0, "hyperedges of the item": 0, "history clicks": 1,
    "clicks, wherever read": 1, "groups of numbers": 4, "numbers of the past": 5, "columns": 6,
}  # fmt: skip
"""Headings, and which of the colours each has; others are grey."""
EFFECT = "effect on the logit, as it is minus without this: to the right what speaks for a click"
LINK = "link between the item and the click: an entry of the hypergraph operator"


def draw_bars(title: str, effects: Sequence[Bars], links: Sequence[Bars], notes: Sequence[str]) -> Figure:
    """Draw groups of effects, each with a heading, and below them groups of links where there are any."""
    from matplotlib import pyplot as plt

    panels = [[group for group in groups if group[2]] for groups in (effects, links)]
    panels = panels[: 1 + bool(panels[1])]
    heights = [sum(len(group[2]) + 1.6 for group in groups) for groups in panels]
    size = 8.4, 1.3 * len(panels) + 0.235 * sum(heights) + 0.2 * len(notes)
    fig, axes = plt.subplots(
        len(panels), figsize=size, height_ratios=[1 + x for x in heights], squeeze=False, layout="constrained"
    )
    for ax, groups, says in zip(axes[:, 0], panels, (EFFECT, LINK), strict=False):
        _draw_panel(ax, groups)
        ax.set_xlabel("\n".join([says, *notes] if says is EFFECT else [says]), fontsize="small")
    fig.suptitle(title, x=0.01, ha="left", fontsize="medium")
    plt.close(fig)  # the caller shows it
    return fig


def _draw_panel(ax: Axes, groups: Sequence[Bars]) -> None:
    drawn: list[tuple] = []  # (y, value, name, colour)
    heads, y = [], 0.0
    for name, count, lines in groups:
        colour = COLOURS[TONES.get(name, 7)]
        rest = f", the largest {len(lines)} of {count}" if count > len(lines) else ""
        heads.append((y, name + rest, colour))
        for value, label in lines:
            y += 1
            drawn.append((y, value, label, colour))
        y += 1.6
    if not drawn:
        ax.set_axis_off()
        return
    at, values, names, colours = zip(*drawn, strict=True)
    ax.barh(at, values, color=colours, height=0.74)
    ax.set_yticks(at, names, fontsize="small")
    ax.set_ylim(y - 0.8, -0.8)
    widest = max(map(abs, values)) or 1.0
    for place, value in zip(at, values, strict=True):
        side = "left" if value >= 0 else "right"
        offset = (4 if value >= 0 else -4, 0)
        text = f"{value:+.3f}" if abs(value) >= 0.0005 else "0"
        ax.annotate(text, (value, place), offset, textcoords="offset points", ha=side, va="center", fontsize=7)
    ax.set_xlim(min(min(values), 0) - 0.17 * widest, max(max(values), 0) + 0.17 * widest)
    for place, text, tone in heads:
        ax.annotate(
            text, (0, place), (-6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", weight="bold", color=tone, fontsize="small", annotation_clip=False,
        )  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8)
    ax.grid(axis="x", alpha=0.25)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
