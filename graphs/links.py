"""Links: the strongest entries of each row of the hypergraph operator, directed or not, and their look-up in bulk.

With H of distinct pairs, d = D_v + shrink, and D_e the number of the other nodes of a hyperedge:

    undirected     K = d^-1/2 C d^-1/2,  C = H W D_e^-1 H^T without its diagonal;    walk: C d^-1
    directed       T = d^-1/2 S d^-1/2,  S_ij sums gap^-1/2 over j before i;         walk: S d^-1

A row keeps its k largest entries of K or T. The row is the node that comes later: the candidate, of which entries at
earlier nodes are asked. Of equal entries those with the smaller node numbers are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.incidence import Incidence
from graphs.index.csr import starts
from graphs.index.events import (
    WINDOW,
    Events,
    check_limit,
    checked_events,
    checked_times,
    latest,
    sort_events,
)
from graphs.index.ids import names
from graphs.kernels.links import Factors, terms
from graphs.linked import Links as Links
from graphs.linked import LinksOverTime as LinksOverTime
from graphs.linked import Rules, factors_of, kept_rows

K, SHRINK, MOST = 200, 5.0, 500
CHUNK = 1024  # vectors compared with all others at a time
PAIRS = 2**16  # pairs of vectors multiplied at a time


def build(
    nodes: ArrayLike | Tensor,
    hyperedges: ArrayLike | Tensor,
    times: ArrayLike | Tensor | None = None,
    k: int = K,
    directed: bool = False,
    shrink: float = SHRINK,
    exclude_self: bool = True,
    most: int | None = MOST,
    num_nodes: int | None = None,
    num_hyperedges: int | None = None,
    node_ids: Sequence | np.ndarray | None = None,
    hyperedge_ids: Sequence | np.ndarray | None = None,
) -> Links:
    """Compute the k strongest links of each node of a hypergraph, from events: a node in a hyperedge at a time.

    Undirected links count each distinct pair of node and hyperedge once, at its latest time. Directed links count every
    event: S_ij sums gap^-1/2 over events of i and events of j before it in the same hyperedge. The gap is the number of
    places between the two, at most 20. Events at equal times take places in the order given, and neither is before the
    other.

    Args:
        nodes, hyperedges: numbers from 0, [events], in any order; `graphs.build.number` numbers other ids.
        times: integers or datetime64, [events]; None means that the events are in order of time.
        k: most links of a node.
        directed: only from an earlier node j to a later node i.
        shrink: added to each degree D_v, which makes links of rare nodes weaker.
        exclude_self: no link of a node with itself, and D_e = |e| - 1, so that a hyperedge of one node gives nothing;
            else D_e = |e|.
        most: C reads the latest nodes of a hyperedge, at most this many (D_e counts these; degrees count all), so that
            long hyperedges do not cost their square. `left_out` counts the pairs that are not read. None reads all.
            Directed links do not need it.
        num_nodes, num_hyperedges, node_ids, hyperedge_ids: as in `Hypergraph.from_pairs`.

    Returns:
        Links; without events they have no entry. The bits do not depend on the order of events, unless times are equal
        or None, nor on the number of threads.

    Raises:
        ValueError: what `Hypergraph.from_pairs` refuses, times that are neither integers nor datetime64; k, shrink or
            most out of range.

    >>> links = build(nodes=[0, 1, 1, 2], hyperedges=[0, 0, 1, 1], directed=True, shrink=0)
    >>> links.look_up(1, 0), links.look_up(0, 1)
    (array(0.70710677, dtype=float32), array(0., dtype=float32))
    """
    rules = Rules("directed" if directed else "undirected", k, float(shrink), bool(exclude_self), most)
    events, num_nodes, num_hyperedges = checked_events(nodes, hyperedges, times, num_nodes, num_hyperedges)
    node_ids = names("node_ids", node_ids, num_nodes)
    hyperedge_ids = names("hyperedge_ids", hyperedge_ids, num_hyperedges)
    events = sort_events(events)
    factors, degree, left_out = factors_of(events, rules, np.ones(num_hyperedges), num_nodes)
    rows = kept_rows(rules, factors, degree)
    return Links(*rows, degree, rules, left_out, node_ids, hyperedge_ids, num_hyperedges, events)


def over_time(
    nodes: ArrayLike | Tensor,
    hyperedges: ArrayLike | Tensor,
    times: ArrayLike | Tensor,
    moments: ArrayLike | Tensor,
    k: int = K,
    directed: bool = False,
    shrink: float = SHRINK,
    exclude_self: bool = True,
    most: int | None = MOST,
    num_nodes: int | None = None,
    node_ids: Sequence | np.ndarray | None = None,
    past: Literal["all", "slice"] = "all",
    half_life: float | None = None,
) -> LinksOverTime:
    """Compute the links of everything strictly before each moment: entry m equals `build` on those events, to the bit.

    Moments cut time into slices: slice m ends before moment m, and the first one has no beginning.

    Args:
        moments: ascending, integers or datetime64 as the times, [moments].
        past: "all" reads all events before a moment, "slice" only those of the slice that ends there.
        half_life: each slice has hyperedges of its own, of weight 2^(-age / half_life), where age is the time from the
            end of the slice to the moment, in the unit of the times (microseconds for datetime64). None: one hyperedge
            over the whole past.

    The other arguments are those of `build`.

    Raises:
        ValueError: what `build` refuses, moments that do not ascend, a half-life not above 0 or with "slice".

    >>> slices = over_time([0, 1, 2], [0, 0, 0], times=[5, 6, 7], moments=[7, 8], shrink=0, half_life=1)
    >>> slices.look_up(1, 0, moment=[0, 1])
    array([1., 1.], dtype=float32)
    """
    rules, moments = _checked(directed, k, shrink, exclude_self, most, moments, past, half_life)
    cut, num_nodes = _cut(nodes, hyperedges, times, moments, num_nodes, past, half_life)
    node_ids = names("node_ids", node_ids, num_nodes)
    distinct = bool(latest(cut.events, num_nodes).all())
    made = []
    for m in range(len(moments)):
        part, weight = cut.at(m)
        factors, degree, left_out = factors_of(part, rules, weight, num_nodes, distinct)
        made.append(Links(*kept_rows(rules, factors, degree), degree, rules, left_out, node_ids))
    return LinksOverTime(moments, made)


class Parts(NamedTuple):
    """An entry taken apart, one part per hyperedge; made by `parts`.

    >>> parts(1, 0, 0, nodes=[0, 1], hyperedges=[0, 0], times=[1, 3], moments=[9], directed=True, shrink=0).gap
    array([1])
    """

    hyperedges: np.ndarray
    """Number of each hyperedge, the largest part first; with a half-life a hyperedge has a part per slice. int64."""
    value: np.ndarray
    """What it adds to the entry, float64."""
    size: np.ndarray
    """|e|: its nodes that K reads. For T: how often i comes after j in it. int64."""
    gap: np.ndarray
    """For T: the fewest places from j to i in it. For K: 0. int64."""


def parts(
    i: int,
    j: int,
    moment: int,
    nodes: ArrayLike | Tensor,
    hyperedges: ArrayLike | Tensor,
    times: ArrayLike | Tensor,
    moments: ArrayLike | Tensor,
    directed: bool = False,
    shrink: float = SHRINK,
    most: int | None = MOST,
    num_nodes: int | None = None,
    past: Literal["all", "slice"] = "all",
    half_life: float | None = None,
) -> Parts:
    """Take an entry of K or T apart: one part per hyperedge that both nodes are in; the parts add up to the entry.

    Args:
        i, j, moment: as in `LinksOverTime.look_up`.

    The other arguments are those with which `over_time` made the links, without links of a node with itself.

    Raises:
        ValueError: what `over_time` refuses, or a number out of range.

    >>> found = parts(1, 0, 0, nodes=[0, 1, 0, 1, 2], hyperedges=[0, 0, 1, 1, 1], times=range(5), moments=[9], shrink=0)
    >>> found.hyperedges.tolist(), found.value.tolist(), found.size.tolist()
    ([0, 1], [0.5, 0.25], [2, 3])
    """
    rules, moments = _checked(directed, K, shrink, True, most, moments, past, half_life)
    cut, num_nodes = _cut(nodes, hyperedges, times, moments, num_nodes, past, half_life)
    for name, number, limit in (("i", i, num_nodes), ("j", j, num_nodes), ("moment", moment, len(moments))):
        if not 0 <= number < limit:
            raise ValueError(f"{name} must be in [0, {limit}), got {number}")
    part, weight = cut.at(moment)
    of_i, of_j = (np.unique(part.hyperedges[part.nodes == v]) for v in (i, j))
    root = np.sqrt((weight[of_i].sum() + shrink) * (weight[of_j].sum() + shrink))
    both = np.zeros(len(weight), dtype=bool)
    both[np.intersect1d(of_i, of_j)] = True
    part = part.take(both[part.hyperedges])
    factors = factors_of(part, rules, weight, num_nodes)[0]
    column, place, value = terms(factors, i)
    at = np.flatnonzero(factors.nodes[place] == j) if i != j else np.empty(0, np.int64)
    column, place, value = column[at], place[at], value[at]
    own, which = np.unique(part.hyperedges[column] if directed else column, return_inverse=True)
    total = np.bincount(which, value, len(own)) / max(root, np.finfo(float).tiny)
    if directed:  # columns are places of i, and `place` those of j
        size, gap = np.bincount(which, minlength=len(own)), np.full(len(own), WINDOW)
        np.minimum.at(gap, which, column - place)
    else:
        size, gap = (factors.last - factors.first)[own], np.zeros(len(own), np.int64)
    order = np.lexsort((own, -total))
    return Parts(cut.owner[own[order]], total[order], size[order], gap[order])


class _Cut(NamedTuple):
    """Sorted events cut by moments: what links read at each of them."""

    events: Events
    slice_of: np.ndarray  # of each event
    owner: np.ndarray  # hyperedge of the caller that each hyperedge of the events is a part of
    moments: np.ndarray
    whole: bool  # whether all events before a moment are read, not only those of the slice that ends there
    half_life: float | None
    ends: np.ndarray | None  # of the slice of each hyperedge, with a half-life

    def at(self, m: int) -> tuple[Events, np.ndarray]:
        """Return the events that are read at a moment, and the weight of each hyperedge."""
        part = self.events.take(self.slice_of <= m if self.whole else self.slice_of == m)
        if self.ends is None:
            return part, np.ones(len(self.owner))
        moment = self.moments[m]
        return part, np.exp2((np.minimum(self.ends, moment) - moment) / self.half_life)


def _checked(
    directed: bool,
    k: int,
    shrink: float,
    exclude_self: bool,
    most: int | None,
    moments: ArrayLike | Tensor,
    past: str,
    half_life: float | None,
) -> tuple[Rules, np.ndarray]:
    """Return the rules and the moments, checked."""
    rules = Rules("directed" if directed else "undirected", k, float(shrink), bool(exclude_self), most)
    moments = checked_times("moments", moments)
    if (np.diff(moments) <= 0).any():
        raise ValueError("moments must ascend, each above the one before it")
    if past not in ("all", "slice"):
        raise ValueError(f'past must be "all" or "slice", got {past!r}')
    if half_life is not None and (not half_life > 0 or past == "slice"):
        raise ValueError(f'half_life must be above 0, with past="all", got {half_life} with {past!r}')
    return rules, moments


def _cut(
    nodes: ArrayLike | Tensor,
    hyperedges: ArrayLike | Tensor,
    times: ArrayLike | Tensor,
    moments: np.ndarray,
    num_nodes: int | None,
    past: str,
    half_life: float | None,
) -> tuple[_Cut, int]:
    """Sort events and cut them; also return the number of nodes."""
    if times is None:
        raise ValueError("over_time needs times: number the events in their order if there are none")
    events, num_nodes, num_hyperedges = checked_events(nodes, hyperedges, times, num_nodes, None)
    events = sort_events(events)
    slice_of, owner, ends = np.searchsorted(moments, events.times, side="right"), np.arange(num_hyperedges), None
    if half_life is not None:
        own = starts(events.hyperedges) | starts(slice_of)
        owner = events.hyperedges[own].astype(np.int64)
        ends = moments[np.minimum(slice_of[own], len(moments) - 1)] if len(moments) else slice_of[own]
        events = events._replace(hyperedges=(np.cumsum(own) - 1).astype(np.int32))
    return _Cut(events, slice_of, owner, moments, past == "all", half_life, ends), num_nodes


def from_hypergraph(h: Incidence, k: int = K) -> Links:
    """Compute the k strongest links of each node under the operator of `propagate`: weights, values and a diagonal.

    That is D_v^-1/2 H W D_e^-1 H^T D_v^-1/2 with nothing left out; such links are not appended to.

    Raises:
        ValueError: k below 1, or weights that `propagate` refuses.

    >>> from_hypergraph(Hypergraph.from_pairs([0, 1], [0, 0]), k=1).to_scipy().toarray()
    array([[0.5, 0. ],
           [0.5, 0. ]], dtype=float32)
    """
    rules = Rules("undirected", k)
    h = h.to("cpu")
    weight = h.scales("sym", torch.float64)[1].numpy()
    (indptr, indices, left), (first, nodes, right) = (
        [None if array is None else array.numpy() for array in matrix] for matrix in (h.by_node, h.by_hyperedge)
    )
    left, right = (None if array is None else array.astype(np.float64) for array in (left, right))
    first = first.astype(np.int64)
    check_limit(len(nodes), "incidences")
    factors = Factors(
        indptr.astype(np.int64), indices.astype(np.int32), left, weight, first[:-1], first[1:], nodes, right
    )
    degree = h._degree().numpy()
    rows = kept_rows(rules, factors, degree)
    return Links(*rows, degree, rules, 0, h.node_ids, h.hyperedge_ids, h.num_hyperedges)


def knn(x: ArrayLike | Tensor, k: int = 100, node_ids: Sequence | np.ndarray | None = None) -> Links:
    """Link nodes by the centred cosine of their vectors, where one of the two is among the other's k nearest.

    The mean of the vectors is subtracted before. A row of zeros is a missing vector: it has no part in the mean and no
    links. Among equally near nodes those with the smaller numbers are taken. Values are summed in float64.

    Args:
        x: vectors, [num_nodes, dim], finite; compared with every other row, 1024 rows at a time.
        k: number of nearest others.
        node_ids: the caller's ids, [num_nodes].

    Raises:
        ValueError: k below 1, x not a finite matrix.

    >>> knn([[2.0, 0.0], [1.0, 1.0], [-3.0, -1.0], [0.0, 0.0]], k=1).to_scipy().toarray().round(2)
    array([[ 0.  ,  0.71,  0.  ,  0.  ],
           [ 0.71,  0.  , -0.89,  0.  ],
           [ 0.  , -0.89,  0.  ,  0.  ],
           [ 0.  ,  0.  ,  0.  ,  0.  ]], dtype=float32)
    """
    x = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"x must be a finite matrix [num_nodes, dim], got shape {list(x.shape)} or values not finite")
    rules = Rules("nearest", k)
    unit = x.astype(np.float64)
    some = (unit != 0).any(1)
    unit[some] -= unit[some].mean(0) if some.any() else 0
    length = np.sqrt((unit**2).sum(1))
    some &= length > 0  # a vector that is the mean has no direction
    unit[some] /= length[some, None]
    present = np.flatnonzero(some)
    pairs = _nearest_pairs(unit[present].astype(np.float32), k)
    key = present[pairs[0]] * len(x) + present[pairs[1]]
    key = np.union1d(key, present[pairs[1]] * len(x) + present[pairs[0]])
    i, j = np.divmod(key, max(len(x), 1))
    value = np.empty(len(key), dtype=np.float32)
    for start in range(0, len(key), PAIRS):
        part = slice(start, start + PAIRS)
        value[part] = (unit[i[part]] * unit[j[part]]).sum(1)
    indptr = np.append(0, np.cumsum(np.bincount(i, minlength=len(x))))
    return Links(indptr, j.astype(np.int32), value, None, rules, node_ids=names("node_ids", node_ids, len(x)))


def _nearest_pairs(unit: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row and each of its k nearest others by the inner product; ties: the smaller number."""
    k = min(k, len(unit) - 1)
    found = [np.empty((2, 0), dtype=np.int64)]
    for start in range(0, len(unit) if k > 0 else 0, CHUNK):
        near = unit[start : start + CHUNK] @ unit.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        edge = np.partition(near, len(unit) - k, axis=1)[:, [len(unit) - k]]
        above, level = near > edge, near == edge
        room = k - above.sum(1, keepdims=True)
        kept = above | (level & (np.cumsum(level, axis=1) <= room))
        found.append(np.stack(np.nonzero(kept)) + [[start], [0]])
    return tuple(np.concatenate(found, axis=1))
