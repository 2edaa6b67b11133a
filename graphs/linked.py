"""Links and LinksOverTime: the strongest links of each node, looked up in bulk, appended to, drawn and saved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from graphs import describe
from graphs.convert import npz
from graphs.index.events import Events, checked_events, degrees, following, latest, merge_events, sort_events, together
from graphs.index.ids import names
from graphs.kernels.links import Factors, Rows, look_up, strongest
from graphs.kernels.links import walk as walk_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Walk = bool | Literal["both"]
Found = np.ndarray | Tensor | tuple[np.ndarray, np.ndarray] | tuple[Tensor, Tensor]

EVENTS = ("event_nodes", "event_hyperedges", "event_times")
"""Names of the columns of events in a file."""


@dataclass(frozen=True)
class Rules:
    """How links are computed: arguments of `build`."""

    kind: Literal["undirected", "directed", "nearest"]
    k: int
    shrink: float = 0.0
    exclude_self: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if not 0 <= self.shrink < float("inf"):
            raise ValueError(f"shrink must be a finite number from 0, got {self.shrink}")
        if self.most is not None and self.most < 2:
            raise ValueError(f"most must be at least 2, or None for no limit, got {self.most}")


@dataclass(eq=False, repr=False)
class Links:
    """The strongest links of each node, [num_nodes, num_nodes]; made by `build`, `over_time`, `knn` or `h.links(k)`.

    Row i has the links of node i as the later one; `look_up(candidates, clicks)` reads them.

    >>> links.build(nodes=[0, 1, 1, 2], hyperedges=[0, 0, 1, 1], shrink=0)
    Links(3 nodes, 4 links, k=200, undirected)
    """

    indptr: np.ndarray
    """Row i has the links indptr[i] to indptr[i + 1], [num_nodes + 1], int64."""
    indices: np.ndarray
    """The other node of each link, increasing within a row, [links], int32."""
    value: np.ndarray
    """The entry of K or T, [links], float32."""
    degree: np.ndarray | None
    """d = D_v + shrink of each node, [num_nodes], float64; None for links of `knn`."""
    rules: Rules
    left_out: int = 0
    """Pairs of nodes that the limit `most` leaves out, added up over hyperedges."""
    node_ids: np.ndarray | None = None
    """The caller's id of each node, [num_nodes]."""
    hyperedge_ids: np.ndarray | None = None
    """The caller's id of each hyperedge, [num_hyperedges]."""
    num_hyperedges: int = 0
    events: Events | None = None
    """What `append` needs; None if these links are not appended to."""

    @property
    def num_nodes(self) -> int:
        """Number of nodes.

        >>> links.build([0, 1], [0, 0], num_nodes=5).num_nodes
        5
        """
        return len(self.indptr) - 1

    @property
    def num_links(self) -> int:
        """Number of links; an undirected one is counted in each of the two rows that keep it.

        >>> links.build([0, 1], [0, 0]).num_links
        2
        """
        return len(self.indices)

    def look_up(self, i: ArrayLike | Tensor, j: ArrayLike | Tensor, walk: Walk = False) -> Found:
        """Read the links of nodes i (later, candidates) with nodes j (earlier, clicks); 0 where none is kept.

        Args:
            i, j: node numbers, integers of any shapes that broadcast, such as [rows, 1] and [rows, clicks].
            walk: give C d^-1 (S d^-1), a step of a walk from j to i, instead of K (T); "both" gives the two after one
                search.

        Returns:
            float32, in the common shape; a tensor if i or j is one. With "both" a pair of them.

        Raises:
            ValueError: numbers out of range or not integers, shapes that do not broadcast, a walk on links of `knn`.

        >>> links = links.build(nodes=[0, 1, 1, 2], hyperedges=[0, 0, 1, 1], shrink=0)
        >>> links.look_up([[0], [1]], [1, 2]), links.look_up(0, 1, walk=True)
        (array([[0.70710677, 0.        ],
               [0.        , 0.70710677]], dtype=float32), array(0.5, dtype=float32))
        """
        return _look_up((self.indptr, self.indices, self.value), self.degree, self.num_nodes, i, j, walk)

    def append(
        self, nodes: ArrayLike | Tensor, hyperedges: ArrayLike | Tensor, times: ArrayLike | Tensor | None = None
    ) -> None:
        """Add events, in any order of time; the links then equal those of `build` on all events, to the bit.

        Only rows that can differ are computed again: those of nodes that share a hyperedge with a new event, and those
        that keep a node whose degree has changed. If these are all rows, as where popular nodes are appended to long
        hyperedges, it takes the time of a rebuild. Without times new events come after the old ones.

        Args:
            nodes, hyperedges: as in `build`. Numbers above the earlier ones are new nodes and hyperedges, unless
                these have ids.
            times: given if and only if `build` got times.

        Raises:
            ValueError: links that `build` did not make, and what `build` refuses; nothing is added.

        >>> links = links.build(nodes=[0, 1], hyperedges=[0, 0])
        >>> links.append(nodes=[2], hyperedges=[0])
        >>> links
        Links(3 nodes, 6 links, k=200, undirected)
        """
        if self.events is None:
            raise ValueError(f"only links of graphs.links.build are appended to, got {self}: make them again")
        fixed = [None if ids is None else len(ids) for ids in (self.node_ids, self.hyperedge_ids)]
        new, num_nodes, num_hyperedges = checked_events(nodes, hyperedges, times, *fixed)
        if len(self.events.nodes) and len(new.nodes) and (times is None) != (self.events.times is None):
            was, now = ("without times" if t is None else "with times" for t in (self.events.times, new.times))
            raise ValueError(f"the links were built {was}, so events are appended likewise, got some {now}")
        old = self.events if len(self.events.nodes) else new.take(slice(0))
        num_nodes, num_hyperedges = max(num_nodes, self.num_nodes), max(num_hyperedges, self.num_hyperedges)
        touched = np.zeros(num_hyperedges, dtype=bool)
        touched[new.hyperedges] = True
        events = merge_events(old, new, touched) if len(new.nodes) else self.events
        factors, degree, left_out = factors_of(events, self.rules, np.ones(num_hyperedges), num_nodes)

        again = np.zeros(num_nodes, dtype=bool)
        again[events.nodes[touched[events.hyperedges]]] = True
        other_degree = degree[: self.num_nodes] != self.degree
        row = np.repeat(np.arange(self.num_nodes), np.diff(self.indptr))
        again[row[other_degree[self.indices]]] = True
        again[self.num_nodes :] = True
        rows = self.rules, factors, degree, np.flatnonzero(again)
        self.indptr, self.indices, self.value = _replaced(
            (self.indptr, self.indices, self.value), again, kept_rows(*rows)
        )
        self.degree, self.left_out, self.events, self.num_hyperedges = degree, left_out, events, num_hyperedges

    def to_scipy(self, walk: bool = False) -> scipy.sparse.csr_array:
        """Return the links as a sparse matrix, [num_nodes, num_nodes], float32; `walk` as in `look_up`.

        >>> links.build([0, 1], [0, 0], shrink=0).to_scipy().toarray()
        array([[0., 1.],
               [1., 0.]], dtype=float32)
        """
        value = self.value
        if walk:
            row = np.repeat(np.arange(self.num_nodes), np.diff(self.indptr))
            value = _walk(value, self.degree, row, np.zeros_like(row), self.indices.astype(np.int64))
        return scipy.sparse.csr_array((value, self.indices, self.indptr), (self.num_nodes, self.num_nodes), copy=True)

    def describe(self) -> dict:
        """Return the rules, counts, and quantiles of links per node, values and degrees: plain numbers, ready for JSON.

        Returns:
            kind, k, shrink, exclude_self, most; num_nodes, num_links, without_links (nodes), full_rows (nodes with k
            links, which may have had more), left_out (see there), bytes (of the links), links_per_node, value and
            degree (mean and quantiles).

        >>> facts = links.build([0, 1], [0, 0], num_nodes=3).describe()
        >>> facts["num_links"], facts["without_links"], facts["left_out"], facts["degree"]["max"]
        (2, 1, 0, 6.0)
        """
        per_node = np.diff(self.indptr)
        return vars(self.rules) | {
            "num_nodes": self.num_nodes,
            "num_links": self.num_links,
            "without_links": int((per_node == 0).sum()),
            "full_rows": int((per_node >= self.rules.k).sum()),
            "left_out": self.left_out,
            "bytes": sum(array.nbytes for array in (self.indptr, self.indices, self.value)),
            "links_per_node": describe.quantiles(per_node),
            "value": describe.quantiles(self.value),
            "degree": describe.quantiles(np.empty(0) if self.degree is None else self.degree),
        }

    def draw(self, node: int | str, others: Sequence[int | str], ax: Axes | None = None) -> Axes:
        """Draw one candidate, one user's clicks and the strongest links around them; see `graphs.draw_links`.

        >>> links.build([0, 1, 1, 2], [0, 0, 1, 1]).draw(0, others=[1, 2]).get_title(loc="left")
        '0 and 2 others: linked with 1, sum 0.154'
        """
        from graphs import draw_links

        return draw_links.neighbourhood(self, node, others, ax)

    def save(self, path: str | os.PathLike) -> None:
        """Write one .npz file, with what `append` needs. A killed save leaves the old file or none.

        >>> links.build([0, 1], [0, 0]).save("links.npz")
        >>> Links.load("links.npz")
        Links(2 nodes, 2 links, k=200, undirected)
        """
        arrays = {name: getattr(self, name) for name in ("indptr", "indices", "value", "degree")}
        arrays |= {"node_ids": self.node_ids, "hyperedge_ids": self.hyperedge_ids}
        arrays |= {} if self.events is None else dict(zip(EVENTS, self.events, strict=True))
        facts = {"left_out": self.left_out, "num_hyperedges": self.num_hyperedges, "rules": vars(self.rules)}
        npz.write_links(arrays, facts, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Links:
        """Read a file of `save`. It is checked, and nothing is unpickled.

        Raises:
            ValueError: the file does not contain links.

        >>> links.build([0, 1], [0, 0], node_ids=["ann", "bob"]).save("links.npz")
        >>> Links.load("links.npz").node_ids
        array(['ann', 'bob'], dtype='<U3')
        """
        return npz.read_links(path, cls._from_file)

    @classmethod
    def _from_file(cls, arrays: dict[str, np.ndarray], facts: dict) -> Links:
        columns = [arrays.pop(name, None) for name in EVENTS]
        links = cls(degree=arrays.pop("degree", None), **arrays, **facts | {"rules": Rules(**facts["rules"])})
        if links.degree is not None and links.degree.shape != (links.num_nodes,):
            raise ValueError(f"{len(links.degree)} degrees of {links.num_nodes} nodes")
        if columns[0] is not None:
            checked = checked_events(*columns, links.num_nodes, links.num_hyperedges)[0]
            links.events = sort_events(checked)
        names("node_ids", links.node_ids, links.num_nodes)
        names("hyperedge_ids", links.hyperedge_ids, links.num_hyperedges)
        return links

    def __repr__(self) -> str:
        return f"Links({self.num_nodes} nodes, {self.num_links} links, k={self.rules.k}, {self.rules.kind})"

    def _repr_html_(self) -> str:
        rows = {"links per node": np.diff(self.indptr), "values": self.value, "degrees": self.degree}
        facts = self.describe()
        below = (
            f"{facts['without_links']:,} nodes without links, {facts['full_rows']:,} with k · {self.left_out:,} pairs "
            f"left out of hyperedges with over {self.rules.most} nodes"
        )
        return describe.html_quantiles({name: x for name, x in rows.items() if x is not None}, repr(self), below)


class LinksOverTime:
    """The links of everything strictly before each of several moments; made by `over_time`.

    `slices[m]` is the `Links` of moment m, without a copy.

    >>> slices = links.over_time([0, 1, 2], [0, 0, 0], times=[5, 6, 7], moments=[6, 7, 8])
    >>> slices, slices[1]
    (LinksOverTime(3 moments, 3 nodes, 8 links), Links(3 nodes, 2 links, k=200, undirected))
    """

    def __init__(self, moments: np.ndarray, links: list[Links]) -> None:
        self.moments, self.num_nodes = moments, links[0].num_nodes if links else 0
        ends = np.cumsum([0, *(one.num_links for one in links)])
        indptr = [one.indptr[:-1] + end for one, end in zip(links, ends, strict=False)]
        joined = {}
        for name, dtype in (("indices", np.int32), ("value", np.float32), ("degree", np.float64)):
            parts = [getattr(one, name) for one in links]
            joined[name] = np.concatenate([np.empty(0, dtype), *parts])
            for one, end in zip(links, np.cumsum([len(part) for part in parts]), strict=True):
                setattr(one, name, joined[name][end - len(getattr(one, name)) : end])  # frees the part before the next
            del parts
        self._rows: Rows = np.concatenate([*indptr, ends[-1:]]), joined["indices"], joined["value"]
        self._degree, self._links = joined["degree"], links

    def __len__(self) -> int:
        return len(self._links)

    def __getitem__(self, m: int) -> Links:
        return self._links[m]

    @property
    def nbytes(self) -> int:
        """Size in memory, names of nodes not counted.

        >>> links.over_time([0, 1], [0, 0], times=[5, 6], moments=[6, 7]).nbytes
        136
        """
        return sum(x.nbytes for x in (*self._rows, self._degree, *(one.indptr for one in self._links)))

    def __iter__(self) -> Iterator[Links]:
        return iter(self._links)

    def look_up(
        self, i: ArrayLike | Tensor, j: ArrayLike | Tensor, moment: ArrayLike | Tensor, walk: Walk = False
    ) -> Found:
        """Read links as `Links.look_up` does, each at the number of its moment: one call for rows of any moments.

        Raises:
            ValueError: as `Links.look_up`, or a moment out of range.

        >>> slices = links.over_time([0, 1, 2], [0, 0, 0], times=[5, 6, 7], moments=[6, 7, 8], shrink=0)
        >>> slices.look_up(1, 0, moment=[0, 1, 2])
        array([0. , 1. , 0.5], dtype=float32)
        """
        return _look_up(self._rows, self._degree, self.num_nodes, i, j, walk, moment, len(self))

    def describe(self) -> list[dict]:
        """Return one row per moment: its number and time, links, nodes without links, pairs left out, bytes.

        >>> [row["num_links"] for row in links.over_time([0, 1], [0, 0], times=[5, 6], moments=[6, 7]).describe()]
        [0, 2]
        """
        facts = ("num_links", "without_links", "left_out", "bytes")
        rows = [one.describe() for one in self._links]
        times = enumerate(self.moments.tolist())
        return [{"moment": m, "time": t} | {f: row[f] for f in facts} for (m, t), row in zip(times, rows, strict=True)]

    def __repr__(self) -> str:
        return f"LinksOverTime({len(self)} moments, {self.num_nodes} nodes, {len(self._rows[1])} links)"

    def _repr_html_(self) -> str:
        return describe.html_rows(self.describe(), repr(self))


def factors_of(
    events: Events, rules: Rules, weight: np.ndarray, num_nodes: int, distinct: bool = False
) -> tuple[Factors, np.ndarray, int]:
    """Return what sorted events multiply to C or S, the degrees d = D_v + shrink, and how many pairs are left out.

    Args:
        weight: of each hyperedge, [num_hyperedges], float64.
        distinct: no node is in a hyperedge twice.
    """
    members = events if distinct else events.take(latest(events, num_nodes))
    degree = degrees(members, weight, num_nodes) + rules.shrink
    if rules.kind == "directed":
        return following(events, weight, num_nodes), degree, 0
    factors, left_out = together(members, weight, rules.most, rules.exclude_self, num_nodes)
    return factors, degree, left_out


def kept_rows(rules: Rules, factors: Factors, degree: np.ndarray, rows: np.ndarray | None = None) -> Rows:
    """Compute these rows of K or T (None: all), and keep the k strongest links of each."""
    root = np.divide(1, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    return strongest(factors, root, rules.k, rules.exclude_self, rows)


def _replaced(old: Rows, again: np.ndarray, new: Rows) -> Rows:
    """Put new rows where `again`, [nodes], is True; the nodes may be more than before."""
    count = np.zeros(len(again), dtype=np.int64)
    count[: len(old[0]) - 1] = np.diff(old[0])
    stays = np.repeat(~again, count)
    count[again] = np.diff(new[0])
    renewed = np.repeat(again, count)
    indices, value = (np.empty(len(renewed), dtype=array.dtype) for array in old[1:])
    for out, before, after in zip((indices, value), old[1:], new[1:], strict=True):
        out[renewed], out[~renewed] = after, before[stays]
    return np.append(0, np.cumsum(count)), indices, value


def _look_up(
    rows: Rows,
    degree: np.ndarray | None,
    num_nodes: int,
    i: ArrayLike | Tensor,
    j: ArrayLike | Tensor,
    walk: Walk,
    moment: ArrayLike | Tensor = 0,
    num_moments: int = 1,
) -> Found:
    """Look up pairs of nodes among the rows of one or several moments, num_nodes rows per moment."""
    limits = {"i": num_nodes, "j": num_nodes, "moment": num_moments}
    given = dict(zip(limits, (i, j, moment), strict=True))
    numbers = [_numbers(name, given[name], limit) for name, limit in limits.items()]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in numbers))
    except ValueError:
        shapes = " and ".join(str(list(array.shape)) for array in numbers)
        raise ValueError(f"i, j and moment must broadcast to one shape, got {shapes}") from None
    i_at, j_at, m_at = numbers
    start = m_at * num_nodes
    row, j_at = start + i_at, np.broadcast_to(j_at, shape)
    alone = shape[:-1] + (1,) if shape and row.shape[-1:] in ((), (1,)) else shape  # one row per line
    value = look_up(rows, np.broadcast_to(row, alone), j_at)
    found = (value,) if walk is not True else ()
    if walk:
        found += (_walk(value, degree, np.broadcast_to(row, alone), np.broadcast_to(start, alone), j_at),)
    if isinstance(i, Tensor) or isinstance(j, Tensor):
        found = tuple(map(torch.from_numpy, found))
    return found if walk == "both" else found[0]


def _numbers(name: str, numbers: ArrayLike | Tensor, limit: int) -> np.ndarray:
    numbers = numbers.detach().cpu().numpy() if isinstance(numbers, Tensor) else np.asarray(numbers)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers from 0, got {numbers.dtype}")
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, -1)
    if low < 0 or high >= limit:
        raise ValueError(f"{name} must be in [0, {limit}), got [{low}, {high}]: give others a number and mask them")
    return numbers.astype(np.int64, copy=False)


def _walk(value: np.ndarray, degree: np.ndarray | None, *numbers: np.ndarray) -> np.ndarray:
    if degree is None:
        raise ValueError("a walk needs the degrees of nodes, and links of the nearest vectors have none")
    return walk_of(value, degree, *numbers)
