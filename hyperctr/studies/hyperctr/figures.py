"""Draw HyperCTR's pictures: the speed-up with threads, and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperctr.reporting.figures import BLUE, DASHES, FAINT, GREY, INK, ORANGE, canvas, legend
from hyperctr.studies.figures import quote

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_threads(times: Mapping[int, Sequence[float]], claims: Sequence[str]) -> tuple[Figure, Axes]:
    """Draw the speed-up of an epoch over one thread: every repeat, their median, and the line of perfect scaling.

    Args:
        times: seconds of an epoch by number of threads, one value per repeat; repeats are compared in this order.
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
    """Draw validation AUC and training loss against passes over the training rows, one line per seed.

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
