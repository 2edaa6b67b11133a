"""Draw AQCL's pictures: gains by group of users, and hidden vectors in two dimensions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from hyperctr.reporting.figures import BLUE, EDGE, FAINT, GREY, ORANGE, Value, canvas, legend
from hyperctr.studies.figures import line_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_gains(
    panels: Mapping[str, Mapping[str, Value]],
    paper: Mapping[str, Mapping[str, Mapping[str, float]]],
    over: str,
    ours: Collection[str],
) -> tuple[Figure, Axes]:
    """Draw RelaImpr of each row with its interval, one panel per group of users; the paper's as hollow marks below.

    Args:
        panels: RelaImpr, a share, by group and row; NaN where it is unknown.
        paper: the paper's by column, group and row.
        over: what the gains are over.
        ours: the rows to bring out.

    Returns:
        the figure, and the axes that take its title.
    """
    names = list(next(iter(panels.values())))
    place = {name: len(names) - 1 - number for number, name in enumerate(names)}
    figure, found = canvas(11.4, 2.1 + 0.42 * len(names), 1, len(panels), sharey=True)
    for axes, (group, values) in zip(found, panels.items(), strict=True):
        axes.axvline(0, color=GREY, linewidth=1.2, zorder=1)
        for name, value in values.items():
            if math.isnan(value.mean):
                continue
            colour, half = ORANGE if name in ours else BLUE, 0.0 if math.isnan(value.half) else 100 * value.half
            dot = {"color": colour, "markersize": 6.5, "capsize": 3, "linewidth": 1.5, "markeredgecolor": "white"}
            axes.errorbar(100 * value.mean, place[name], xerr=half, fmt="o", **dot)
            above = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": colour}
            above["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the line at 0 runs behind it
            axes.annotate(f"{100 * value.mean:+.1f}", (100 * value.mean, place[name]), (0, 6), **above)
        for number, (column, groups) in enumerate(paper.items()):
            known = {name: x for name, x in groups.get(group, {}).items() if not math.isnan(x)}
            style = {"marker": "DsP"[number % 3], "s": 22, "facecolors": "none", "edgecolors": GREY, "linewidths": 1.2}
            height = [place[name] - 0.28 for name in known]
            axes.scatter([100 * x for x in known.values()], height, label=f"the paper: {column}", **style)
        axes.set_xlabel(f"{group}\nRelaImpr over {over}, %")
        line_rows(axes)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=4)
    found[0].set_yticks(list(place.values()), list(place))
    found[0].set_ylim(-0.7, len(names) - 0.3)
    for label in found[0].get_yticklabels():
        if label.get_text() in ours:
            label.set(weight="bold", color=ORANGE)
    if paper:
        below = {"loc": "outside lower right", "ncols": len(paper), "frameon": False, "labelcolor": GREY, "fontsize": 9}
        figure.legend(*found[0].get_legend_handles_labels(), **below)
    return figure, found[0]


def draw_points(
    places: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    notes: Mapping[str, str],
    code: Sequence[int],
    shown: Sequence[int],
) -> tuple[Figure, Axes]:
    """Draw points in two dimensions, one panel per row, in the colours of the most frequent codes; the rest is grey.

    Args:
        places: x and y of every point by row. notes: what stands below each panel.
        code: of every point.
        shown: the codes that have a colour, at most nine.
    """
    import numpy as np
    from matplotlib import colormaps

    figure, found = canvas(11.4, 5.2, 1, len(places))
    colours, code = colormaps["tab10"]([0, 1, 2, 3, 4, 5, 6, 8, 9]), np.asarray(code)
    for axes, (name, (x, y)) in zip(np.ravel(found), places.items(), strict=True):
        x, y, others = np.asarray(x), np.asarray(y), ~np.isin(code, shown)
        axes.scatter(x[others], y[others], s=5, color=EDGE, linewidths=0, alpha=0.5)
        for colour, one in zip(colours, shown, strict=False):
            some = code == one
            axes.scatter(x[some], y[some], s=10, color=colour, linewidths=0)
            axes.scatter([], [], s=40, color=colour, linewidths=0, label=f"{one} ({some.sum():,} clicks)")
        axes.scatter([], [], s=40, color=EDGE, linewidths=0, label=f"others ({others.sum():,} clicks)")
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim", xlabel=f"{name}: {notes[name]}")
        axes.spines[:].set(visible=True, color=FAINT)
    legend(np.ravel(found)[-1], "interest")
    return figure, np.ravel(found)[0]
