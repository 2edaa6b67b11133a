"""The look that the figures of a sweep and of a bench share, and a bench's kinds of figure.

matplotlib is imported inside the functions; a figure is made without pyplot and its global state. A score is anything
with `mean` and `half`, the half-width of its 95 % interval (NaN where it is unknown).
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Collection, Mapping, Sequence
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


# --- the figures of a bench ----------------------------------------------------------------------------------------


def draw_table(
    rows: Sequence[tuple[str, Value | None, str]],
    paper: Mapping[str, Mapping[str, float]],
    ours: str,
    what: str = "AUC",
) -> tuple[Figure, Axes]:
    """A score of each row with its interval, and in a panel of its own, with an axis of its own, the paper's.

    Args:
        rows: name, our score or None, and what to write where there is none.
        paper: the paper's by column ("MovieLens") and row; empty: one panel.
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
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
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


def draw_gains(
    panels: Mapping[str, Mapping[str, Value]],
    paper: Mapping[str, Mapping[str, Mapping[str, float]]],
    over: str,
    ours: Collection[str],
) -> tuple[Figure, Axes]:
    """RelaImpr of each row with its interval, a panel a group of users; the paper's as hollow marks below ours.

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
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
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
    """Points in two dimensions, a panel a row, in the colours of the most frequent codes; the others are grey.

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


def draw_series(
    here: Mapping[str, Sequence[tuple[float, Value]]],
    paper: Mapping[str, Mapping[str, Sequence[tuple[float, Value]]]],
    axis: str,
    what: str,
    log: bool = False,
) -> tuple[Figure, Axes]:
    """A score against a number, a line a row with its band; the paper's in panels of their own.

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


def draw_adversary(
    curves: Mapping[int, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    weight: str,
    points: Mapping[str, tuple[float, Value | None]],
    each: Mapping[str, Sequence[float]],
    axis: str,
    chosen: str,
) -> tuple[Figure, Axes]:
    """Total and adversarial loss while training goes on, a line a seed; and AUC against the weight of the adversary.

    Args:
        curves: passes over the rows, total and adversarial loss by seed, under one weight.
        weight: that weight.
        points: x and score by weight. each: the scores of every seed. axis: what x is.
        chosen: the weight chosen by validation, ringed.
    """
    figure, (left, right) = canvas(10.8, 4.4, 1, 2)
    for number, (epoch, loss, adversarial) in enumerate(curves.values()):
        for y, colour, name in ((loss, BLUE, "total"), (adversarial, ORANGE, "adversarial, $-L_{ADV}$")):
            left.plot(epoch, y, "o-", color=colour, markersize=3.5, linewidth=1.6, label="" if number else name)
    left.set(xlabel=f"passes over the training rows, $\\lambda_0$ = {weight}", ylabel="training loss")
    left.grid(axis="y", color=FAINT, linewidth=0.8)
    if curves:
        left.legend(frameon=False, labelcolor=INK)
    lines(right, [("MARN", list(points.values()))], [], "", BLUE)
    right.set_ylabel("test AUC, mean over users")
    right.get_legend().remove()
    for name, values in each.items():
        right.plot([points[name][0]] * len(values), values, "o", color=BLUE, alpha=0.45, markersize=3.5)
    if chosen:
        x, value = points[chosen]
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": ORANGE, "markeredgewidth": 1.8}
        right.plot([x], [value.mean], "o", **ring, linestyle="none", label="chosen by validation")
        right.legend(frameon=False, labelcolor=INK)
    log_ticks(right, {name: x for name, (x, _) in points.items()})
    right.set_xlabel(axis)
    return figure, left


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
    """AUC against one setting with a band over seeds and the baselines across; below it what the paper says in words.

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


def draw_threads(times: Mapping[int, Sequence[float]], claims: Sequence[str]) -> tuple[Figure, Axes]:
    """Speed-up of one epoch over one thread: every repeat, the median of them, and the line of perfect scaling.

    Args:
        times: seconds of an epoch by number of threads, a value a repeat; repeats are compared in this order.
        claims: the paper's claims.
    """
    import numpy as np

    figure, axes = canvas(6.6, 4.6)
    one = times[1]
    middle = {}
    for threads, seconds in times.items():
        found = [a / b for a, b in zip(one, seconds, strict=False)]
        middle[threads] = float(np.median(one) / np.median(seconds))
        axes.plot([threads] * len(found), found, "o", color=BLUE, alpha=0.35, markersize=4, markeredgewidth=0)
    most = max(times)
    axes.plot([1, most], [1, most], color=GREY, linewidth=1.4, linestyle=DASHES[0], label="linear")
    axes.plot(list(middle), list(middle.values()), "o-", color=BLUE, linewidth=2, markersize=7, markeredgecolor="white",
              label="here, median")  # fmt: skip
    for threads, value in middle.items():
        where = {"textcoords": "offset points", "va": "top", "fontsize": 8.5, "color": BLUE}
        axes.annotate(f"{value:.2f}" if threads > 1 else "", (threads, value), (6, -6), **where)
    axes.set_xticks(list(times))
    axes.set_ylabel("speed-up over one thread")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", frameon=False, labelcolor=INK)
    axes.set_xlabel("threads")
    quote(figure, claims)
    return figure, axes


def draw_curve(
    curves: Mapping[int, Sequence[tuple[float, float, float]]], claims: Sequence[str]
) -> tuple[Figure, Axes]:
    """Validation AUC, and below it the training loss, against passes over the training rows; a line a seed.

    Args:
        curves: (passes, loss, validation AUC) by seed.
        claims: the paper's claims.
    """
    import numpy as np
    from matplotlib import colormaps

    figure, (above, below) = canvas(7.8, 5.8, 2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    colours = colormaps["viridis"](np.linspace(0.0, 0.8, max(2, len(curves))))
    for colour, (seed, points) in zip(colours, curves.items(), strict=False):
        x, loss, auc = np.array(points).T
        style = {"color": colour, "linewidth": 1.8, "marker": "o" if len(x) < 30 else "", "markersize": 3.5}
        above.plot(x, auc, label=f"seed {seed}", **style)
        below.plot(x, loss, **style)
        best = int(np.argmax(auc))
        above.plot(x[best], auc[best], "o", markersize=11, markerfacecolor="none", markeredgecolor=ORANGE)
    above.plot([], [], "o", markersize=11, markerfacecolor="none", markeredgecolor=ORANGE, label="kept")
    for axes, what in ((above, "validation AUC"), (below, "training loss")):
        axes.set_ylabel(what)
        axes.grid(color=FAINT, linewidth=0.8)
        axes.margins(x=0.02, y=0.08)
    below.set_xlim(left=0)
    below.set_xlabel("passes over the training rows")
    quote(figure, claims)
    legend(above)
    return figure, above


def quote(figure: Figure, claims: Sequence[str]) -> None:
    """Write what the paper says below the axes."""
    found = [line for claim in claims for line in textwrap.wrap(f"The paper: {claim}", int(16 * figure.get_figwidth()))]
    figure.supxlabel("\n".join(found), x=0.02, ha="left", fontsize=8.5, style="italic", color=GREY)
