"""Draw the kinds of figure that studies of several papers have."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperctr.reporting.figures import BLUE, FAINT, GREY, ORANGE, Value, canvas, legend, lines, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_table(
    rows: Sequence[tuple[str, Value | None, str]],
    paper: Mapping[str, Mapping[str, float]],
    ours: str,
    what: str = "AUC",
) -> tuple[Figure, Axes]:
    """Draw a score of each row with its interval, and the paper's numbers in a panel with an axis of their own.

    Args:
        rows: name, our score or None, and what to write where there is none.
        paper: the paper's numbers by data set and row; {} for one panel.
        ours: the row to bring out.
        what: the score.

    Returns:
        the figure, and the axes that take its title.
    """
    height, share = 1.5 + 0.36 * len(rows), {"sharey": True, "gridspec_kw": {"width_ratios": [3, 2]}}
    figure, found = canvas(9.4, height, 1, 2, **share) if paper else canvas(7.2, height)
    here, there = found if paper else (found, None)
    place = {name: len(rows) - 1 - number for number, (name, _, _) in enumerate(rows)}
    for name, value, why in rows:
        colour = ORANGE if name == ours else BLUE
        if value is None:
            style = {"fontsize": 8.5, "style": "italic", "va": "center", "transform": here.get_yaxis_transform()}
            style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 2}
            here.text(0.015, place[name], why, color=GREY, **style)
            continue
        half = 0.0 if math.isnan(value.half) else value.half
        dot = {"color": colour, "markersize": 7, "capsize": 3.5, "linewidth": 1.6, "markeredgecolor": "white"}
        here.errorbar(value.mean, place[name], xerr=half, fmt="o", **dot)
        here.annotate(f"{value.mean:.4f}", (value.mean, place[name]), (0, 7), textcoords="offset points", ha="center",
                      fontsize=8, color=colour)  # fmt: skip
    here.set_xlabel(f"here: test {what}" if "AUC" in what else f"here: {what}")
    here.set_yticks(list(place.values()), list(place))
    here.set_ylim(-0.7, len(rows) - 0.3)
    here.margins(x=0.12)
    for axes in (here, there) if paper else (here,):
        line_rows(axes)
    for label in here.get_yticklabels():
        if label.get_text() == ours:
            label.set(weight="bold", color=ORANGE)
    for number, (column, values) in enumerate(paper.items()):
        known = {name: auc for name, auc in values.items() if name in place}
        style = {"marker": "DsP"[number % 3], "s": 34, "facecolors": "none", "edgecolors": GREY, "linewidths": 1.4}
        there.scatter(list(known.values()), [place[name] for name in known], label=column, **style)
        for name, auc in known.items() if len(paper) == 1 else ():
            where = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": GREY}
            there.annotate(f"{auc:.4f}", (auc, place[name]), (0, 7), **where)
    if paper:
        said = "the paper: AUC on " if "AUC" in what else "the paper, on "
        there.set_xlabel(said + (next(iter(paper)) if len(paper) == 1 else "its data sets"))
        there.margins(x=0.15)
        if len(paper) > 1:
            legend(there)
    return figure, here


def draw_line(
    ours: str,
    points: Mapping[str, tuple[float, Value | None]],
    each: Mapping[str, Sequence[float]],
    across: Sequence[tuple[str, Value]],
    axis: str,
    log: bool,
    chosen: str | None,
    claims: Sequence[str],
) -> tuple[Figure, Axes]:
    """Draw AUC against one setting with a band over seeds, baselines across it, and the paper's claims below.

    Args:
        ours: what the line is.
        points: x and score by name.
        each: the AUC of every seed by name.
        across: baselines.
        axis: what x is.
        log: whether x is drawn on a log axis.
        chosen: the point chosen by validation, ringed.
        claims: the paper's claims.
    """
    figure, axes = canvas(7.8, 4.6)
    lines(axes, [(ours, list(points.values()))], across, "", BLUE)
    seeds = [(x, auc) for name, (x, _) in points.items() for auc in each.get(name, ())]
    if len(seeds) > len(points):
        dots = {"color": BLUE, "alpha": 0.45, "markersize": 3.5, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot(*zip(*seeds, strict=True), "o", **dots, label="each seed")
    if chosen is not None and points[chosen][1] is not None:
        x, value = points[chosen]
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": ORANGE, "markeredgewidth": 1.8}
        axes.plot([x], [value.mean], "o", **ring, linestyle="none", label="chosen by\nvalidation")
    if log:
        log_ticks(axes, {name: x for name, (x, _) in points.items()})
    else:
        axes.set_xticks([x for x, _ in points.values()], list(points))
    legend(axes)
    axes.set_xlabel(axis)
    quote(figure, claims)
    return figure, axes


def draw_series(
    here: Mapping[str, Sequence[tuple[float, Value]]],
    paper: Mapping[str, Mapping[str, Sequence[tuple[float, Value]]]],
    axis: str,
    what: str,
    log: bool = False,
) -> tuple[Figure, Axes]:
    """Draw a score against a number, one line and band per row; the paper's numbers in panels of their own.

    Args:
        here: x and score by row.
        paper: the same by data set.
        axis: what x is. what: what the score is.
        log: whether x is drawn on a log axis.
    """
    import numpy as np

    figure, found = canvas(5.6 + 4.2 * len(paper), 4.4, 1, 1 + len(paper))
    panels = {"here": here} | {f"the paper: {name}": rows for name, rows in paper.items()}
    for axes, (name, rows) in zip(np.ravel(found), panels.items(), strict=True):
        lines(axes, list(rows.items()), [], "")
        axes.get_legend().remove()
        axes.set(xlabel=f"{axis}\n{name}", ylabel=what, xscale="log" if log else "linear")
    legend(np.ravel(found)[-1])
    return figure, np.ravel(found)[0]


def line_rows(axes: Axes) -> None:
    """Give each row that is named at the left a faint line, and nothing else there."""
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def quote(figure: Figure, claims: Sequence[str]) -> None:
    """Write what the paper says below the axes."""
    found = [line for claim in claims for line in textwrap.wrap(f"The paper: {claim}", int(16 * figure.get_figwidth()))]
    figure.supxlabel("\n".join(found), x=0.02, ha="left", fontsize=8.5, style="italic", color=GREY)
