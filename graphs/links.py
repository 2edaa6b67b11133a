"""Links: the strongest entries of each row of the hypergraph operator, directed or not, and their look-up in bulk.

With H of distinct pairs, d = D_v + shrink, and D_e the number of the other nodes of a hyperedge:

    undirected     K = d^-1/2 C d^-1/2,  C = H W D_e^-1 H^T without its diagonal;    walk: C d^-1
    directed       T = d^-1/2 S d^-1/2,  S_ij sums gap^-1/2 over j before i;         walk: S d^-1

A row keeps its k largest entries of K or T. The row is the node that comes later: the candidate, of which entries at
earlier nodes are asked. Of equal entries those with the smaller node numbers are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs.incidence import Incidence
from graphs.index.csr import starts
from graphs.index.events import check_limit, checked_events, checked_times, latest, sort_events
from graphs.index.ids import names
from graphs.kernels.links import Factors
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
    rules = Rules("directed" if directed else "undirected", k, float(shrink), bool(exclude_self), most)
    moments = checked_times("moments", moments)
    if (np.diff(moments) <= 0).any():
        raise ValueError("moments must ascend, each above the one before it")
    if past not in ("all", "slice"):
        raise ValueError(f'past must be "all" or "slice", got {past!r}')
    if half_life is not None and (not half_life > 0 or past == "slice"):
        raise ValueError(f'half_life must be above 0, with past="all", got {half_life} with {past!r}')
    if times is None:
        raise ValueError("over_time needs times: number the events in their order if there are none")
    events, num_nodes, num_hyperedges = checked_events(nodes, hyperedges, times, num_nodes, None)
    node_ids = names("node_ids", node_ids, num_nodes)
    events = sort_events(events)
    slice_of = np.searchsorted(moments, events.times, side="right")
    weight, ends = np.ones(num_hyperedges), None
    if half_life is not None:
        own = starts(events.hyperedges) | starts(slice_of)
        ends = moments[np.minimum(slice_of[own], len(moments) - 1)] if len(moments) else slice_of[own]
        events = events._replace(hyperedges=(np.cumsum(own) - 1).astype(np.int32))
    distinct = bool(latest(events, num_nodes).all())
    made = []
    for m, moment in enumerate(moments):
        part = events.take(slice_of == m if past == "slice" else slice_of <= m)
        if ends is not None:
            weight = np.exp2((np.minimum(ends, moment) - moment) / half_life)
        factors, degree, left_out = factors_of(part, rules, weight, num_nodes, distinct)
        made.append(Links(*kept_rows(rules, factors, degree), degree, rules, left_out, node_ids))
    return LinksOverTime(moments, made)


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
