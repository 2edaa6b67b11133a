"""Draw MARN's picture of the adversary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperctr.reporting.figures import BLUE, FAINT, INK, ORANGE, Value, canvas, lines, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_adversary(
    curves: Mapping[int, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    weight: str,
    points: Mapping[str, tuple[float, Value | None]],
    each: Mapping[str, Sequence[float]],
    axis: str,
    chosen: str,
) -> tuple[Figure, Axes]:
    """Draw total and adversarial loss during training, one line per seed, and AUC against the adversary's weight.

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
