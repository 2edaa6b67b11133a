"""Pictures of hypergraphs: every function draws on `ax`, or on new axes, returns them and shows nothing.

Matplotlib is imported when a picture is made. The colours are from Okabe and Ito, the map is cividis: colour-blind
readers can distinguish them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from graphs import describe, expand
from graphs.incidence import Incidence
from graphs.optional import package
from graphs.slices.grid import DAY, FOREVER, UNITS, TimeGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8A7A00", "#555555"]
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], COLOURS[7]
PIXELS = 360, 540  # of an incidence matrix
MOST_NODES, MOST_HULLS = 60, 20  # more outlines cannot be distinguished
MOST_NAMES = 80  # ids that fit in a picture
MOST_COMBINATIONS = 16
OneOrNamed = Incidence | Mapping[str, Incidence]


class Slices(Protocol):
    """Hypergraphs by time slice, such as `graphs.TimeSlices`; those in `filled` hold something and are drawn."""

    grid: TimeGrid
    __getitem__: Callable[[int], Incidence]
    filled: Callable[[], list[int]]


def overview(h: Incidence, ax: Axes | None = None) -> Axes:
    """Draw `hulls` if the hypergraph is small enough for them, else `incidence`.

    >>> overview(Hypergraph.from_pairs(range(99), range(99))).get_xlabel()
    'hyperedges, largest first'
    """
    return (hulls if h.num_nodes <= MOST_NODES and h.num_hyperedges <= MOST_HULLS else incidence)(h, ax)


def incidence(h: Incidence, ax: Axes | None = None) -> Axes:
    """Draw H: nodes from top to bottom by falling degree, hyperedges from left to right by falling size.

    If there are more rows or columns than pixels, a pixel shows the share of its cells that are incidences.

    >>> incidence(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])).get_title(loc="left")
    '3 incidences: 2 nodes, 2 hyperedges'
    """
    ax = _axes(ax, (6.4, 4.2))
    from matplotlib.colors import LogNorm

    shape = h.num_nodes, h.num_hyperedges
    pixels = [max(min(pair), 1) for pair in zip(shape, PIXELS, strict=True)]
    row = _rank(h.by_node.indptr) * pixels[0] // max(shape[0], 1)
    column = _rank(h.by_hyperedge.indptr) * pixels[1] // max(shape[1], 1)
    indptr, indices, _ = h.numpy_members()
    at = row[indices] * pixels[1] + np.repeat(column, np.diff(indptr))
    filled = np.bincount(at, minlength=pixels[0] * pixels[1]).reshape(pixels)
    cells = np.outer(np.bincount(row, minlength=pixels[0]), np.bincount(column, minlength=pixels[1]))
    share = np.ma.masked_equal(filled / np.maximum(cells, 1), 0)
    coarse = cells.max() > 1 and h.num_incidences > 0
    image = ax.imshow(
        share,
        cmap="Blues",
        norm=LogNorm(share.min() / 4, 1) if coarse else None,  # the rarest are pale, not white
        extent=(0, max(shape[1], 1), max(shape[0], 1), 0),
        aspect="auto",
        interpolation="nearest",
    )
    if coarse:
        ax.figure.colorbar(image, ax=ax, label="share of cells that are incidences", pad=0.02)
    else:
        image.set_clim(0, 1.2)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    if sum(shape) <= MOST_NAMES:
        ax.set_xticks(range(shape[1]), minor=True)
        ax.set_yticks(range(shape[0]), minor=True)
        ax.grid(which="minor", color="white", linewidth=1.5)
        ax.tick_params(which="both", length=0)
        ax.set_yticks(row + 0.5, [_name(h.node_ids, v) for v in range(shape[0])], fontsize="small")
        ax.set_xticks(column + 0.5, [_name(h.hyperedge_ids, e) for e in range(shape[1])], fontsize="small", rotation=90)
    ax.set(xlabel="hyperedges, largest first", ylabel="nodes, highest degree first")
    ax.set_title(f"{h.num_incidences:,} incidences: {shape[0]:,} nodes, {shape[1]:,} hyperedges", loc="left")
    return ax


def degrees(h: OneOrNamed, ax: Axes | None = None) -> Axes:
    """Draw the share of nodes with at least each degree, on log axes; a dict compares hypergraphs by name.

    >>> degrees(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])).get_title(loc="left")
    'degree of nodes'
    """
    return _tail(h, Incidence.degree, "degree", "nodes", "in no hyperedge", ax)


def sizes(h: OneOrNamed, ax: Axes | None = None) -> Axes:
    """Draw the share of hyperedges with at least each size, on log axes; a dict compares hypergraphs by name.

    >>> h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])
    >>> [text.get_text() for text in sizes({"clicks": h, "views": h}).get_legend().get_texts()][0]
    'clicks: 2 hyperedges, mean size 1.5, largest 2'
    """
    return _tail(h, Incidence.size, "size", "hyperedges", "empty", ax)


def strip(slices: Slices, ax: Axes | None = None) -> Axes:
    """Draw slices from left to right in time: their incidences above; below their nodes, new and seen before.

    Returns:
        The upper axes; the lower axes are the last of their figure.

    Raises:
        ValueError: axes that are no subplot, which cannot be split in two.

    >>> strip(TimeSlices.cut([7, 8], [1, 1], [0, 90000], every="1d")).get_title(loc="left")
    'TimeSlices(2 slices, every 1d, 2 incidences)'
    """
    ax = _axes(ax, (8, 3.6))
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if ax.get_subplotspec() is None:
        raise ValueError("a strip needs room for two axes: give it axes that plt.subplots made")
    upper, lower = ax.get_subplotspec().subgridspec(2, 1)
    ax.set_subplotspec(upper)
    below = ax.figure.add_subplot(lower, sharex=ax)
    filled = slices.filled()
    graphs = [slices[n] for n in filled]
    contains = describe.held(graphs).tocoo()
    first = np.full(contains.shape[1], len(filled))  # the slice in which each node is seen first
    np.minimum.at(first, contains.col, contains.row)
    new = np.bincount(first, minlength=len(filled))[: len(filled)]
    seen = np.bincount(contains.row, minlength=len(filled)) - new
    start, days = _spans(slices, filled)
    place = {"width": days, "align": "edge", "edgecolor": "white", "linewidth": 40 / max(len(filled), 40)}
    ax.bar(start, [h.num_incidences for h in graphs], color=GREY, **place)
    below.bar(start, seen, color=BLUE, label="seen in an earlier slice", **place)
    below.bar(start, new, bottom=seen, color=ORANGE, label="new", **place)
    below.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.95), borderaxespad=0)
    ax.set_ylabel("incidences")
    below.set_ylabel("nodes")
    below.xaxis.set_major_locator(AutoDateLocator())
    below.xaxis.set_major_formatter(ConciseDateFormatter(below.xaxis.get_major_locator()))
    ax.tick_params(labelbottom=False)
    ax.set_title(str(slices), loc="left")
    _open(below)
    return _open(ax)


def overlap(
    slices: Slices | Mapping[str, Incidence],
    of: Literal["nodes", "hyperedges", "incidences"] = "nodes",
    ax: Axes | None = None,
) -> Axes:
    """Draw a heat map of the overlap of slices, or of hypergraphs by name: the Jaccard index of each pair.

    Slices that hold nothing are left out.

    >>> overlap(TimeSlices.cut([7, 8], [1, 1], [0, 90000], every="1d")).get_title(loc="left")
    'overlap of nodes (Jaccard index)'
    """
    named = slices if isinstance(slices, Mapping) else dict(enumerate(slices[n] for n in slices.filled()))
    names, share = list(slices) if named is slices else _dates(slices), describe.overlap(named.values(), of)
    np.fill_diagonal(share, np.nan)  # ones would leave no contrast for the rest
    ax = _axes(ax, (5.2, 4.4))
    image = ax.imshow(share, cmap="cividis", vmin=0, vmax=np.nanmax(share, initial=1e-9))
    ax.set_facecolor("#DDDDDD")
    ax.figure.colorbar(image, ax=ax, label="share of all that is in both", pad=0.02)
    if len(share) <= 12:
        for i, j in np.argwhere(~np.isnan(share)):
            ink = "white" if share[i, j] < 0.55 * image.get_clim()[1] else "black"
            ax.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", color=ink, fontsize="small")
    every = -(-len(names) // 12)
    ax.set_xticks(range(0, len(names), every), names[::every], rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(0, len(names), every), names[::every])
    ax.set_title(f"overlap of {of} (Jaccard index)", loc="left")
    ax.spines[:].set_visible(False)
    return ax


def hulls(h: Incidence, ax: Axes | None = None) -> Axes:
    """Draw a small hypergraph: nodes as dots, and each hyperedge as an outline around its members and no other node.

    Raises:
        ValueError: more than 60 nodes or 20 hyperedges.

    >>> hulls(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])).get_title(loc="left")
    'Hypergraph(2 nodes, 2 hyperedges, 3 incidences)'
    """
    if h.num_nodes > MOST_NODES or h.num_hyperedges > MOST_HULLS:
        most = f"at most {MOST_NODES} nodes and {MOST_HULLS} hyperedges"
        other = "draw a part of it (graphs.build.subhypergraph) or graphs.draw.bipartite"
        raise ValueError(f"outlines can be distinguished for {most}, got {h}: {other}")
    from graphs import layout  # imports scipy.spatial, which is slow

    ax = _axes(ax, (6.4, 5.2))
    at = layout.place(expand.star(h))[: h.num_nodes]
    low, high = at.min(0, initial=0) - 1, at.max(0, initial=0) + 1
    x, y = np.meshgrid(*(np.linspace(*ends, 260) for ends in zip(low, high, strict=True)))
    widest = np.clip(0.6 * layout.spacing(at), 0.2, 0.5)
    size = h.by_hyperedge.indptr.diff().cpu().numpy()
    above = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
    for rank, e in enumerate(np.argsort(-size, kind="stable")[: (size > 0).sum()]):  # small ones on top
        member = np.isin(np.arange(h.num_nodes), h.members(e).cpu().numpy())
        radius = widest * (1 - 0.55 * rank / max(h.num_hyperedges, 4))
        field = layout.outline(at[member], at[~member], radius, np.stack([x.ravel(), y.ravel()], axis=1))
        colour = COLOURS[rank % len(COLOURS)]
        field = field.reshape(x.shape)
        ax.contourf(x, y, field, [-9, 0], colors=[colour], alpha=0.16)
        ax.contour(x, y, field, [0], colors=[colour], linewidths=1.6)
        top = np.argmax(np.where(field < 0, y, -np.inf))
        ax.annotate(_name(h.hyperedge_ids, e), (x.flat[top], y.flat[top]), **above, color=colour, weight="bold")
    ax.scatter(*at.T, s=26, color="black", zorder=3)
    for v, position in enumerate(at):
        ax.annotate(_name(h.node_ids, v), position, (5, 4), textcoords="offset points", zorder=4)
    empty = int((size == 0).sum())
    ax.set_title(str(h) + (f", {empty} empty ones not drawn" if empty else ""), loc="left")
    return _picture(ax)


def bipartite(h: Incidence, around: int | str | None = None, limit: int = 200, ax: Axes | None = None) -> Axes:
    """Draw nodes as dots, hyperedges as squares, incidences as lines: all of them, or those around one node.

    Args:
        h: hypergraph.
        around: id of a node (its number, if there are no ids): only its hyperedges are drawn. None takes the node in
            most hyperedges if there are more than `limit` incidences.
        limit: most incidences to draw; small hyperedges come first, and the title says how many were kept.
        ax: axes to draw on.

    Raises:
        ValueError: no such node, or a limit below one.

    >>> bipartite(Hypergraph.from_pairs([0, 1, 1], [0, 0, 1]), around=0).get_title(loc="left")
    'around 0: all 2 incidences'
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    centre = None if around is None else _find(h, around)
    if centre is None and h.num_incidences > limit:
        centre = int(h.by_node.indptr.diff().argmax())
    part, title = h, f"{h.num_incidences:,} incidences"
    if centre is not None:
        part, middle, total = _around(h, centre, limit)
        title = f"around {_name(h.node_ids, centre)}: " + (
            f"all {total:,} incidences"
            if part.num_incidences == total
            else f"kept {part.num_incidences:,} of {total:,} incidences (small hyperedges first)"
        )
    ax = _axes(ax, (6.4, 5.2))
    from matplotlib.collections import LineCollection

    from graphs import layout

    at = layout.place(expand.star(part))
    nodes, hyperedges = at[: part.num_nodes], at[part.num_nodes :]
    indptr, indices, _ = part.numpy_members()
    ends = np.stack([nodes[indices], np.repeat(hyperedges, np.diff(indptr), axis=0)], axis=1)
    ax.add_collection(LineCollection(ends, colors="#999999", linewidths=0.7, zorder=1))
    if centre is not None:
        ax.scatter(*nodes[middle], s=110, facecolors="none", edgecolors="black", zorder=3)
    ax.scatter(*nodes.T, s=26, color=BLUE, zorder=2, label="node")
    ax.scatter(*hyperedges.T, s=36, marker="s", color=ORANGE, zorder=2, label="hyperedge")
    if len(at) <= MOST_NAMES:
        for ids, positions in ((part.node_ids, nodes), (part.hyperedge_ids, hyperedges)):
            for number, position in enumerate(positions):
                ax.annotate(_name(ids, number), position, (4, 3), textcoords="offset points", fontsize="x-small")
    ax.legend(frameon=False, loc="best")
    ax.set_title(title, loc="left")
    return _picture(ax)


def modalities(hypergraphs: Mapping[str, Incidence], ax: Axes | None = None) -> Axes:
    """Draw the incidences that modalities share: one column per combination, with the count in exactly these.

    Incidences are the same if the ids of node and hyperedge are. Next to a modality are its incidences, the share of
    nodes in some hyperedge, and its hyperedges with members; `sizes` and `degrees` compare the distributions. If there
    are more than 16 combinations, the rarest are left out, and the title says so.

    Raises:
        ValueError: no modality, or more than 16.

    >>> h = Hypergraph.from_pairs([0, 1, 1], [0, 0, 1])
    >>> modalities({"image": h, "text": h}).get_title(loc="left")
    '3 incidences, by the modalities that have them'
    """
    if not 1 <= len(hypergraphs) <= 16:
        raise ValueError(f"1 to 16 modalities can be compared, got {len(hypergraphs)}")
    num = len(hypergraphs)
    code = (1 << np.arange(num)) @ describe.held(hypergraphs.values(), "incidences")
    count = np.bincount(code, minlength=2**num)
    shown = np.argsort(-count, kind="stable")[:MOST_COMBINATIONS]
    shown = shown[count[shown] > 0]
    ax = _axes(ax, (7.6, 1.9 + 0.5 * num))
    height = count[shown] / max(count.max(), 1) * (num + 1.5)  # above the rows of dots, with a distance of one
    row = np.arange(num) * -1.0 - 1
    ax.bar(range(len(shown)), height, color=BLUE, width=0.7)
    for column, combination in enumerate(shown):
        share = count[combination] / count.sum()
        text = f"{count[combination]:,}\n{share:.{0 if share >= 0.01 else 1}%}"
        ax.annotate(text, (column, height[column]), (0, 2), textcoords="offset points", ha="center", fontsize="small")
        inside = (combination >> np.arange(num)) & 1 == 1
        ax.plot([column, column], [row[inside].max(), row[inside].min()], color=BLUE, linewidth=2)
        ax.scatter(np.full(num, column), row, s=60, c=np.where(inside, BLUE, "#BBBBBB"), zorder=2)
    ax.set_yticks(row, list(hypergraphs))
    for h, y in zip(hypergraphs.values(), row, strict=True):
        ax.annotate(_facts(h), (max(len(shown), 1) - 0.5, y), va="center", fontsize="small", annotation_clip=False)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.6, max(len(shown), 1) - 0.4), ylim=(-num - 0.6, num + 3))
    left_out = int((count > 0).sum()) - len(shown)
    ax.set_title(
        f"{count.sum():,} incidences, by the modalities that have them"
        + (f"; {left_out} rare combinations left out" if left_out else ""),
        loc="left",
    )
    return ax


def _tail(
    h: OneOrNamed, measure: Callable[[Incidence], Tensor], what: str, of: str, none: str, ax: Axes | None
) -> Axes:
    """Draw the complementary cumulative distribution: the share of nodes (hyperedges) with at least x."""
    ax = _axes(ax, (5.2, 3.8))
    named = {f"{name}: ": each for name, each in h.items()} if isinstance(h, Mapping) else {"": h}
    for n, (name, each) in enumerate(named.items()):
        x = measure(each).cpu().numpy()
        value, count = np.unique(x, return_counts=True)
        share = count[::-1].cumsum()[::-1] / max(len(x), 1)
        facts = f"{len(x):,} {of}, mean {what} {_mean(x):.3g}, largest {x.max(initial=0):,.4g}"
        facts += f", {(x == 0).sum():,} {none}" if (x == 0).any() else ""
        style = {"color": COLOURS[n % len(COLOURS)], "linestyle": ("-", "--", "-.", ":")[n % 4]}
        some = value > 0
        ax.step(value[some], share[some], where="pre", label=name + facts, linewidth=1.8, **style)
        if some.sum() <= 40:
            ax.plot(value[some], share[some], "o", markersize=3.5, color=style["color"])
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(-0.02, -0.16))
    ax.set(xlabel=what, ylabel=f"share of {of} with at least this {what}")
    ax.set_title(f"{what} of {of}", loc="left")
    if any(len(line.get_xdata()) for line in ax.lines):
        _log(ax)
    ax.grid(alpha=0.25)
    return _open(ax)


def _log(ax: Axes) -> None:
    """Make both axes logarithmic, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return these axes, or the only axes of a new figure; width and height in inches."""
    if ax is not None:
        return ax
    package("matplotlib", "pip install matplotlib")
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _open(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _picture(ax: Axes) -> Axes:
    """Hide the axes of a picture whose positions have no unit."""
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_axis_off()
    ax.margins(0.06)
    return ax


def _spans(slices: Slices, filled: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return start, datetime64, and width in days of slices; the last quantile gets the width of the one before."""
    grid, day = slices.grid, DAY * UNITS[slices.grid.unit]
    start = np.array([grid.start(n) for n in filled], dtype=f"datetime64[{grid.unit}]")
    days = [(grid.end(n) - grid.start(n)) / day for n in filled]
    if filled and grid.end(filled[-1]) == FOREVER:
        days[-1] = (grid.start(filled[-1]) - grid.start(filled[-1] - 1)) / day if filled[-1] else 1
    return start, np.array(days)


def _dates(slices: Slices) -> list[str]:
    """Return the start of each slice that holds something as a date, with the time of day if two have the same date."""
    times = [slices.grid.date(n).replace("T", " ") for n in slices.filled()]
    days = list(dict.fromkeys(time[:10] for time in times))
    return days if len(days) == len(times) else times


def _rank(indptr: Tensor) -> np.ndarray:
    """Return the place of each row when the longest come first."""
    length = indptr.diff().cpu().numpy()
    rank = np.empty(len(length), dtype=np.int64)
    rank[np.argsort(-length, kind="stable")] = np.arange(len(length))
    return rank


def _find(h: Incidence, node: int | str) -> int:
    """Return the number of the node with this id."""
    ids = list(range(h.num_nodes)) if h.node_ids is None else h.node_ids.tolist()
    if node not in ids:
        raise ValueError(f"no node of {h} has the id {node!r}; the first ids are {ids[:3]}")
    return ids.index(node)


def _around(h: Incidence, node: int, limit: int) -> tuple[Incidence, int, int]:
    """Take the smallest hyperedges of a node, up to `limit` incidences; also its number there, and the total."""
    mine = h.hyperedges(node).cpu().numpy()
    size = h.by_hyperedge.indptr.diff().cpu().numpy()[mine]
    order = np.argsort(size, kind="stable")
    kept = mine[order[: max(int((np.cumsum(size[order]) <= limit).sum()), 1)]]
    others = np.unique(np.concatenate([[], *(h.members(e).cpu().numpy() for e in kept.tolist())]).astype(np.int64))
    others = others[others != node]
    if len(kept) == 1:  # it may be larger than the limit
        others = others[: limit - 1]
    return h.take(np.append(others, node), np.sort(kept)), len(others), int(size.sum())


def _name(ids: np.ndarray | None, number: int) -> str:
    return str(number if ids is None else ids[number])


def _facts(h: Incidence) -> str:
    """Return the counts of a modality, on two lines."""
    active, size = h.by_node.indptr.diff() > 0, h.by_hyperedge.indptr.diff().float()
    return (
        f"{h.num_incidences:,} incidences, {_mean(active.float()):.0%} of nodes\n"
        f"{int((size > 0).sum()):,} hyperedges of mean size {_mean(size[size > 0]):.3g}"
    )


def _mean(x: Tensor | np.ndarray) -> float:
    return float(x.mean()) if len(x) else 0.0
