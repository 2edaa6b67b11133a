"""A picture of links: one candidate, one user's clicks, and the nodes that are linked with both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse

from graphs.draw import BLUE, GREY, MOST_NAMES, ORANGE, _axes, _find, _name, _picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_OTHERS = 60  # more clicks cannot be distinguished
AROUND = 8  # strongest links of the candidate that are drawn as well


class Linked(Protocol):
    """Links of nodes, such as `graphs.Links`."""

    num_nodes: int
    node_ids: np.ndarray | None

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return the links as a sparse matrix."""


def neighbourhood(links: Linked, node: int | str, others: Sequence[int | str], ax: Axes | None = None) -> Axes:
    """Draw a candidate, the others (one user's clicks) and the candidate's 8 strongest further links.

    A line is a link, the wider the stronger; those between candidate and others are orange. Of directed links the
    candidate is the later node.

    Args:
        links: links of all nodes.
        node: id of the candidate (its number, if there are no ids).
        others: ids of the others; one that occurs twice is drawn once.
        ax: axes to draw on.

    Raises:
        ValueError: no such node, or more than 60 others.

    >>> h = Hypergraph.from_pairs([0, 1, 1, 2], [0, 0, 1, 1])
    >>> neighbourhood(h.links(), 0, others=[1]).get_title(loc="left")
    '0 and 1 others: linked with 1, sum 0.354'
    """
    centre = _find(links, node)
    clicks = list(dict.fromkeys(_find(links, other) for other in others))
    if len(clicks) > MOST_OTHERS:
        raise ValueError(f"at most {MOST_OTHERS} others can be distinguished, got {len(clicks)}: give the latest")
    matrix = links.to_scipy()
    row = slice(*matrix.indptr[centre : centre + 2])
    value = dict(zip(matrix.indices[row].tolist(), matrix.data[row].tolist(), strict=True))
    strong = sorted(value, key=lambda v: -value[v])
    around = [v for v in strong if v not in clicks and v != centre][:AROUND]
    shown = list(dict.fromkeys([centre, *clicks, *around]))
    matrix = matrix[shown][:, shown].toarray()
    matrix = np.maximum(matrix, matrix.T) * (1 - np.eye(len(shown)))
    from matplotlib.collections import LineCollection

    from graphs import layout

    ax = _axes(ax, (6.4, 5.2))
    at = layout.place(scipy.sparse.csr_array(matrix))
    a, b = np.nonzero(np.triu(matrix))
    direct = (a == 0) & np.isin(b, [shown.index(v) for v in clicks])
    width = 0.6 + 4 * matrix[a, b] / max(matrix.max(), 1e-12)
    for some, colour, layer in ((~direct, "#BBBBBB", 1), (direct, ORANGE, 2)):
        ends = np.stack([at[a[some]], at[b[some]]], axis=1)
        ax.add_collection(LineCollection(ends, colors=colour, linewidths=width[some], zorder=layer))
    kind = np.array(["candidate" if v == centre else "other" if v in clicks else "around" for v in shown])
    for name, colour, size in (("candidate", ORANGE, 90), ("other", BLUE, 40), ("around", GREY, 18)):
        ax.scatter(*at[kind == name].T, s=size, color=colour, zorder=3, label=name)
    if len(shown) <= MOST_NAMES:
        for v, position in zip(shown, at, strict=True):
            ax.annotate(_name(links.node_ids, v), position, (5, 4), textcoords="offset points", fontsize="x-small")
    linked = [value[v] for v in clicks if value.get(v, 0) != 0]
    ax.legend(frameon=False, loc="best")
    ax.set_title(
        f"{_name(links.node_ids, centre)} and {len(clicks)} others: linked with {len(linked)}, sum {sum(linked):.3g}",
        loc="left",
    )
    return _picture(ax)
