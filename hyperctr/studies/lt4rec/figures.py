"""Draw LT4REC's pictures: gains in two tasks, tickets by round, which task keeps which weights, replays, speed.

Clicks are yellow, conversions purple and what both share green, as in the paper's Figure 3. Numbers are entries of a
table: means over seeds under a column's name and half-widths of 95 % intervals under NAME_half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hyperctr.reporting.figures import EDGE, FAINT, GREY, INK, NONE, canvas, legend
from hyperctr.studies.figures import line_rows, quote

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"click": "#d9a404", "conversion": "#7b4fa3", "shared": "#3f8f4f", "dead": NONE}
NAMES = {"shared": "both tasks", "click": "clicks alone", "conversion": "conversions alone", "dead": "nobody"}
ENTRIES = Sequence[Mapping[str, Any]]


def draw_tasks(rows: ENTRIES, single: Sequence[str]) -> tuple[Figure, Axes]:
    """Draw each row's gain in both tasks over the models of one task; the paper's gains are hollow marks below.

    Args:
        rows: auc_gain, and cvr_mse_gain as a share, each also with "paper " before its name.
        single: the models of one task, of clicks and of conversions.

    Returns:
        the figure, and the axes that take its title.
    """
    figure, found = canvas(10.4, 1.9 + 0.42 * len(rows), 1, 2, sharey=True)
    place = {row["row"]: len(rows) - 1 - number for number, row in enumerate(rows)}
    sides = (("auc_gain", 1, f"AUC of clicks over {single[0]}", "click", "{:+.4f}"),
             ("cvr_mse_gain", 100, f"error of conversions over {single[1]}, % (less is better)", "conversion",
              "{:+.2f}"))  # fmt: skip
    for axes, (column, times, label, task, text) in zip(found, sides, strict=True):
        axes.axvline(0, color=GREY, linewidth=1.2, zorder=1)
        for row in rows:
            if math.isnan(row[column]):
                continue
            half, colour = row[f"{column}_half"], COLOURS[task]
            dot = {"color": colour, "markersize": 6.5, "capsize": 3, "linewidth": 1.5, "markeredgecolor": "white"}
            error = None if math.isnan(half) else times * half
            axes.errorbar(times * row[column], place[row["row"]], xerr=error, fmt="o", **dot)
            above = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": INK}
            above["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the line at 0 runs behind it
            axes.annotate(text.format(times * row[column]), (times * row[column], place[row["row"]]), (0, 6), **above)
        theirs = [(row[f"paper {column}"], place[row["row"]] - 0.28) for row in rows
                  if not math.isnan(row[f"paper {column}"])]  # fmt: skip
        style = {"marker": "D", "s": 22, "facecolors": "none", "edgecolors": GREY, "linewidths": 1.2}
        if theirs:
            axes.scatter([times * x for x, _ in theirs], [y for _, y in theirs], label="the paper", **style)
        axes.set_xlabel(label)
        line_rows(axes)
        axes.margins(x=0.15)
    found[0].set_yticks(list(place.values()), list(place))
    found[0].set_ylim(-0.7, len(rows) - 0.3)
    handles = found[0].get_legend_handles_labels()
    if handles[0]:
        figure.legend(*handles, loc="outside lower right", frameon=False, labelcolor=GREY, fontsize=9)
    return figure, found[0]


def draw_rounds(rounds: ENTRIES, claims: Mapping[str, str]) -> tuple[Figure, Axes]:
    """Draw the score of every round's mask against the weights that are left, one panel per task, as in Figure 4.

    The unpruned network is the line across. A ring marks a mask that was chosen, with the number of seeds.

    Args:
        rounds: row, task, round, density, score (an error is negative), chosen, of tickets and of random masks.
        claims: what the paper says, by task.
    """
    from matplotlib.ticker import NullLocator

    figure, found = canvas(10.4, 4.6, 1, 2)
    for axes, (task, label) in zip(found, (("click", "AUC of clicks"), ("conversion", "error of conversions")),
                                   strict=True):  # fmt: skip
        sign = 1 if task == "click" else -1
        for name in dict.fromkeys(r["row"] for r in rounds):
            some = sorted((r for r in rounds if (r["row"], r["task"]) == (name, task)), key=lambda r: r["round"])
            x, y = [100 * r["density"] for r in some], [sign * r["score"] for r in some]
            half = [0.0 if math.isnan(r["score_half"]) else r["score_half"] for r in some]
            colour = COLOURS[task] if name == "s-weight" else GREY
            low, high = ([a + s * b for a, b in zip(y, half, strict=True)] for s in (-1, 1))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
            style = {"markersize": 6, "markeredgecolor": "white", "linewidth": 2}
            axes.plot(x, y, "o-" if name == "s-weight" else "s--", color=colour, **style,
                      label="tickets" if name == "s-weight" else name)  # fmt: skip
            if name == "s-weight":
                axes.axhline(y[0], color=EDGE, linewidth=1.2, zorder=1, label="all weights")
                for r, px, py in zip(some, x, y, strict=True):
                    if r["chosen"]:
                        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": INK}
                        axes.plot([px], [py], "o", **ring, linestyle="none")
                        axes.annotate(f"{r['chosen'] * r['n']:.0f} of {r['n']}", (px, py), (0, 11),
                                      textcoords="offset points", ha="center", fontsize=8, color=INK,
                                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        ticks = sorted({round(100 * r["density"], 2) for r in rounds})
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.invert_xaxis()
        axes.set_xlabel("weights left, %; ringed: chosen, with the number of seeds")
        axes.set_ylabel(f"{label}, validation rows")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
        axes.margins(y=0.12)
    legend(found[1])
    quote(figure, list(claims.values()))
    return figure, found[0]


def draw_masks(layers: ENTRIES) -> tuple[Figure, Axes]:
    """Draw the share of each layer's weights that both tasks keep, one task alone, or no task, as in Figure 3."""
    figure, axes = canvas(8.2, 1.9 + 0.5 * len(layers))
    for number, entry in enumerate(reversed(layers)):
        left = 0.0
        for kind, name in NAMES.items():
            share = 100 * entry[kind]
            style = {"color": COLOURS[kind], "edgecolor": "white" if kind != "dead" else EDGE, "height": 0.62}
            axes.barh(number, share, left=left, **style, label=name if number == 0 else None)
            if share > 6:
                ink = INK if kind in ("dead", "click") else "white"
                axes.text(left + share / 2, number, f"{share:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
            left += share
        if not math.isnan(entry["ratio"]):
            axes.annotate(f"{entry['ratio']:.2f} × chance", (100, number), (6, 0), textcoords="offset points",
                          va="center", fontsize=8.5, color=GREY, annotation_clip=False)  # fmt: skip
    names = [entry["layer"] if isinstance(entry["layer"], str) else f"layer {entry['layer'] + 1:.0f}"
             for entry in reversed(layers)]  # fmt: skip
    axes.set_yticks(range(len(layers)), names)
    axes.set_xlim(0, 100)
    axes.set_xlabel("weights, %; at the right: what both tasks keep, over what chance would have both keep")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    place = {"loc": "outside lower center", "ncols": len(NAMES), "frameon": False, "labelcolor": INK, "fontsize": 9}
    figure.legend(*axes.get_legend_handles_labels(), **place)
    return figure, axes


def draw_replay(rows: ENTRIES, tops: Sequence[int]) -> tuple[Figure, Axes]:
    """Draw the time watched of what each ranking puts first, one panel per depth.

    Args:
        rows: "top 1", ... for each of `tops`.
    """
    figure, found = canvas(10.4, 1.8 + 0.42 * len(rows), 1, len(tops), sharey=True)
    for axes, top in zip(found, tops, strict=True):
        for number, row in enumerate(reversed(rows)):
            value, half = row[f"top {top}"], row[f"top {top}_half"]
            if math.isnan(value):
                continue
            colour = GREY if math.isnan(row["paper"]) else COLOURS["conversion"]
            dot = {"color": colour, "markersize": 6.5, "capsize": 3, "linewidth": 1.5, "markeredgecolor": "white"}
            axes.errorbar(value, number, xerr=None if math.isnan(half) else half, fmt="o", **dot)
        axes.set_xlabel(f"time watched, first {top}")
        line_rows(axes)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=4)
    found[0].set_yticks(range(len(rows)), [row["row"] for row in reversed(rows)])
    found[0].set_ylim(-0.7, len(rows) - 0.3)
    return figure, found[0]


def draw_speed(rows: ENTRIES, asked: float) -> tuple[Figure, Axes]:
    """Draw the speed-up over the dense network against the weights left, one panel per kind of masks.

    Args:
        rows: masks, density, batch, form, speed; of the sparse forms the faster is drawn, one line
            per batch size.
        asked: a speed-up, drawn across.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import NullLocator

    kinds = list(dict.fromkeys(row["masks"] for row in rows))
    figure, found = canvas(5.2 * len(kinds), 4.6, 1, len(kinds), sharey=True, squeeze=False)
    batches = sorted({row["batch"] for row in rows})
    for axes, kind in zip(found[0], kinds, strict=True):
        densities = sorted({row["density"] for row in rows if row["masks"] == kind}, reverse=True)
        for number, batch in enumerate(batches):
            colour = colormaps["viridis"](0.85 * number / max(1, len(batches) - 1))
            points = []
            for density in densities:
                some = [r for r in rows if (r["masks"], r["density"], r["batch"]) == (kind, density, batch)]
                points += [(100 * density, max(r["speed"] for r in some if r["form"] != "dense"))] if some else []
            style = {"markersize": 6, "markeredgecolor": "white", "linewidth": 2, "label": f"batch {batch}"}
            axes.plot(*zip(*points, strict=True), "o-", color=colour, **style)
        axes.axhline(1, color=EDGE, linewidth=1.2, zorder=1)
        axes.axhline(asked, color=GREY, linewidth=1.2, linestyle="--", zorder=1, label=f"{asked:g} times")
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.set_xticks([100 * density for density in densities], [f"{100 * density:.3g}" for density in densities])
        most = max(row["speed"] for row in rows)
        ticks = [tick for tick in (0.5, 1, 2, 4, 8, 16, 32) if tick <= 1.5 * most]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.invert_xaxis()
        axes.set_xlabel(f"masks of {kind}: weights left, %")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)
    found[0][0].set_ylabel("times as fast as the dense network")
    legend(found[0][-1])
    return figure, found[0][0]
