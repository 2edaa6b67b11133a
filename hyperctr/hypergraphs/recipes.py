"""Build user-interest and item-homogeneous hypergraphs from clicks, one set per time slice.

Here the two packages meet: nodes become users or items, and hyperedges become interests.
HyperCTR (arXiv 2109.02398), sections 2.3.1 to 2.3.3; Definitions 2 and 3; Eq. (11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse
import torch

from graphs import Hypergraph, TimeGrid
from graphs.build import drop_small, merge_equal, union
from hyperctr.config import Slices
from hyperctr.data.interactions import Interactions
from hyperctr.data.split import Split

AUGMENT = ("S1", "S2", "S2-cluster", "S2-couser")
ALIKE = 0.5  # smallest Jaccard index of the users of two items that are alike
WIDE = 200  # a user of more items in a slice is not counted for likeness, as the cost is their square
BLOCK = 2**24  # products of pairs of items per block


@dataclass(frozen=True)
class Side:
    """The hypergraphs of one slice on one kind of node (users or items).

    Attributes:
        nodes: global numbers of the nodes active in the slice, ascending, int64 [n].
        graphs: one hypergraph on those nodes per name of `SlicedHypergraphs.names`. The first is the group: the union
            over the modalities, or the hypergraph of all clicks where there is no modality.
    """

    nodes: torch.Tensor
    graphs: tuple[Hypergraph, ...]


@dataclass(frozen=True)
class SlicedHypergraphs:
    """The hypergraphs of every closed slice, and the grid of the slices.

    Attributes:
        grid: which slice a time belongs to.
        names: "group" and the modalities.
        users, items: one `Side` per slice; None where the slice is empty, or everywhere if `augment` has no recipe for
            the side.
        own: whether a row also reads its own slice, as in the papers' random split. Hyperedges are then not merged, and
            keep the number of their user or item, so that `without` can take a click out again.
        target_edge: with `own`, whether the row's own click is taken out before the row is scored ("exclude").
        typed: whether the incidences' values are behaviour types, see `slice_hypergraphs`.
    """

    grid: TimeGrid
    names: tuple[str, ...]
    users: tuple[Side | None, ...]
    items: tuple[Side | None, ...]
    own: bool = False
    target_edge: Literal["exclude", "keep"] = "exclude"
    typed: bool = False

    def __len__(self) -> int:
        return len(self.users)

    def without(self, h: Hypergraph, nodes: np.ndarray, hyperedge_ids: np.ndarray) -> Hypergraph:
        """Take incidences out of one of these hypergraphs, or of a sample of it; see the function `without`."""
        return without(h, nodes, hyperedge_ids)


def time_grid(log: Interactions, parts: Split, slices: Slices, name: str = "the log") -> TimeGrid:
    """Cut the timeline into slices by the clock, or into slices with equally many training clicks.

    Under a split by time, slices of equal counts continue after the training rows: a new slice begins after each
    such number of clicks. Otherwise validation and test rows would read ever older hypergraphs.

    Args:
        log: all events.
        parts: its split; only training clicks, and clicks that are history alone until the last training row, determine
            the width of slices of equal counts.
        slices: settings.
        name: what to call the log in an error.

    Raises:
        ValueError: no training clicks, or slices by the clock of a log without times.
    """
    rows = log.history_alone()
    rows = np.concatenate([rows[log.time[rows] <= log.time[parts.train].max(initial=0)], parts.train])
    clicked = np.sort(log.time[rows][log.label[rows] == 1])
    if slices.count:
        time = log.time[log.clicks()]
        later = time[time > clicked.max(initial=0)] if not parts.leaky else None
        return TimeGrid.cut(clicked, count=slices.count, later=later, unit="us")
    if not log.has_time:
        raise ValueError(f"{name} has no times, only an order; cut it by counts: slices.count=8 (in a sweep, q8)")
    return TimeGrid.cut(clicked, every=slices.every, unit="us")


def slice_hypergraphs(
    log: Interactions,
    present: Mapping[str, np.ndarray],
    grid: TimeGrid,
    upto: int,
    keep: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    item_edges: Literal["interest", "all"] = "interest",
    augment: Iterable[str] = ("S1", "S2"),
    own: bool = False,
    target_edge: Literal["exclude", "keep"] = "exclude",
    codes: Mapping[str, np.ndarray] | None = None,
    typed: bool = False,
    span: Literal["slice", "past"] = "slice",
) -> SlicedHypergraphs:
    """Build the hypergraphs of every slice that has closed by `upto`.

    For each slice and modality, from the clicks that count for the modality: one hyperedge per user over the items they
    clicked (item-homogeneous, "S2"), and one hyperedge per item over the users who clicked it (user-interest, "S1"). A
    click counts for the modalities that its item has and that `keep` selects. The hypergraph of the group joins the
    columns of all modalities. Hyperedges of one member are dropped; equal ones are merged and their weights added.

    Two more recipes add hyperedges to the modalities' hypergraphs on request. "S2-cluster": one hyperedge per cluster
    of items over the users who clicked items of the cluster at least twice in the slice. "S2-couser": one hyperedge per
    item over the item itself and the items with alike users in the slice (Jaccard index of at least one half); users of
    more than 200 items in the slice are not counted.

    Args:
        log: events; those of label 1 make hyperedges.
        present: name to bool [num_items], which items have the modality.
        grid: the time slices.
        upto: microseconds; a slice that ends later is not built.
        keep: (user, item) of one slice's clicks -> bool [n, Q], called once per slice: `Interests.keep_mask`. None: all
            clicks count.
        item_edges: "all" builds the item-homogeneous hypergraphs without `keep`, as Eq. (11) is written.
        augment: which recipes; the entries of a side without any recipe are None.
        own, target_edge: see `SlicedHypergraphs`; `own` also builds the open slice, and merges nothing.
        codes: name to cluster of each item, int [num_items], -1 without: `cluster_codes`. Only "S2-cluster" reads it.
        typed: give every incidence a value: 1 + the behaviour type of the last click between its node and its
            hyperedge in the slice, and 0 where the hyperedge combines many clicks ("S2-cluster", "S2-couser"). Equal
            hyperedges are merged only if they agree in these values.
        span: "past" builds the hypergraphs of a slice from all clicks until its end, not from its own clicks alone.

    Raises:
        ValueError: an event at or after `upto`, unknown recipes, or recipes that do not go together.

    >>> log = Interactions(user=[0, 1, 0], item=[0, 0, 1], time=[1, 2, 3], label=[1, 1, 1], num_users=2, num_items=2)
    >>> present = {"visual": np.array([True, True])}
    >>> built = slice_hypergraphs(log, present, TimeGrid.cut(log.time, every="1h", unit="us"), upto=3_600_000_000)
    >>> len(built), built.names
    (1, ('group', 'visual'))
    >>> built.users[0].graphs[1].members(0).tolist(), built.items[0].graphs[1].members(0).tolist()
    ([0, 1], [0, 1])
    """
    augment = tuple(augment)
    _check_recipes(log, present, upto, item_edges, augment, own, codes, typed, span)
    clicks = log.take(log.clicks())
    slice_of_click = grid.slice_of(clicks.time)
    count = max(0, int(grid.slice_of(np.array([upto]))[0]))
    if own and len(slice_of_click):
        count = max(count, int(slice_of_click[-1]) + 1)
    recipe = _Recipe(present, keep, item_edges, augment, own, codes, log.num_users, log.num_items)
    columns = clicks.user, clicks.item, *([clicks.type] if typed else [])
    users, items = [None] * count, [None] * count
    for n in np.unique(slice_of_click[(slice_of_click >= 0) & (slice_of_click < count)]).tolist():
        start, end = np.searchsorted(slice_of_click, [0 if span == "past" else n, n + 1])
        users[n], items[n] = recipe.build(*(x[start:end] for x in columns))
    return SlicedHypergraphs(grid, ("group", *present), tuple(users), tuple(items), own, target_edge, typed)


def _check_recipes(
    log: Interactions,
    present: Mapping[str, np.ndarray],
    upto: int,
    item_edges: str,
    augment: tuple[str, ...],
    own: bool,
    codes: Mapping[str, np.ndarray] | None,
    typed: bool,
    span: str,
) -> None:
    if len(log) and log.time[-1] >= upto:
        raise ValueError(f"events must be strictly before upto = {upto}, the last one is at {log.time[-1]}")
    if unknown := set(augment) - set(AUGMENT):
        raise ValueError(f"augment knows {', '.join(AUGMENT)}, got {', '.join(sorted(unknown))}")
    if item_edges not in ("interest", "all"):
        raise ValueError(f"item_edges must be interest or all, got {item_edges!r}")
    if "S2-cluster" in augment and present and not (codes and codes.keys() >= present.keys()):
        raise ValueError("S2-cluster needs the cluster of every item: codes=cluster_codes(...)")
    if typed and log.type is None:
        raise ValueError("typed hypergraphs need the behaviour type of every click; the log has no types")
    if own and span == "past":
        raise ValueError('slices.span = "past" of a random split holds the row\'s own click: use "slice"')
    if own and {"S2-cluster", "S2-couser"} & set(augment):
        raise ValueError(
            "S2-cluster and S2-couser combine many clicks, of which none can be taken out again: leave them "
            "out of slices.augment, or use the temporal split"
        )


def without(h: Hypergraph, nodes: np.ndarray, hyperedge_ids: np.ndarray) -> Hypergraph:
    """Take incidences out of a hypergraph, and then the hyperedges left with fewer than two members.

    This is `slices.target_edge = "exclude"`: in the random split a row reads its own slice, whose hypergraphs contain
    the click of the row itself. So the clicks of the batch are taken out first: user and item of each click on the user
    side, item and user on the item side.

    Args:
        h: a hypergraph of `slice_hypergraphs(own=True)`.
        nodes: `node_ids` of the incidences, [k]; those that are not in h are ignored.
        hyperedge_ids: their `hyperedge_ids`, [k]; in the group, all hyperedges of that number.
    """
    nodes, hyperedge_ids = np.asarray(nodes), np.asarray(hyperedge_ids)
    node = np.searchsorted(h.node_ids, nodes)
    known = np.append(h.node_ids, -1)[node] == nodes
    node = node[known]
    indptr, indices, value = h.numpy_members()
    touched = np.zeros(h.num_nodes, bool)
    touched[node] = True
    place = np.flatnonzero(touched[indices])
    edge = np.searchsorted(indptr, place, side="right") - 1
    gone = np.isin(h.hyperedge_ids[edge] * h.num_nodes + indices[place], hyperedge_ids[known] * h.num_nodes + node)
    if not gone.any():
        return h
    size = np.diff(indptr)
    left = size - np.bincount(edge[gone], minlength=h.num_hyperedges)
    large = left >= 2
    stays = np.repeat(large, size)
    stays[place[gone]] = False
    indptr = np.append(0, np.cumsum(left[large]))
    ids = {"node_ids": h.node_ids, "hyperedge_ids": h.hyperedge_ids[large]}
    value = None if value is None else value[stays]
    smaller = Hypergraph.from_members(indptr, indices[stays], value, h.num_nodes, **ids)
    weight = h.hyperedge_weight
    return smaller if weight is None else replace(smaller, hyperedge_weight=weight[torch.from_numpy(large)])


def cluster_codes(
    features: Mapping[str, torch.Tensor],
    present: Mapping[str, torch.Tensor],
    fitted: np.ndarray,
    count: int = 64,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Cluster the items of each modality by k-means on its features, for "S2-cluster".

    Args:
        features: name to [num_items, d_m], possibly memory-mapped float16.
        present: name to bool [num_items].
        fitted: bool [num_items], the items that the clusters are fitted on: those clicked in training.
        count: clusters per modality, fewer where fewer items are fitted.
        seed: of k-means.

    Returns:
        name to cluster of each item, int64 [num_items]; -1 without the modality, and for all items where no fitted item
        has it.
    """
    from sklearn.cluster import MiniBatchKMeans

    codes = {}
    for m, x in features.items():
        codes[m] = np.full(len(x), -1)
        has = np.asarray(present[m])
        rows = np.flatnonzero(has & fitted)
        if not len(rows):
            continue
        some = rows if len(rows) <= 2**17 else np.sort(np.random.default_rng(seed).choice(rows, 2**17, replace=False))
        means = MiniBatchKMeans(min(count, len(some)), batch_size=4096, n_init=1, random_state=seed)
        means.fit(x[torch.from_numpy(some)].float().numpy())
        for part in np.array_split(np.flatnonzero(has), -(-int(has.sum()) // 2**16)):
            codes[m][part] = means.predict(x[torch.from_numpy(part)].float().numpy())
    return codes


class _Numbered(NamedTuple):
    """The distinct ids, ascending, and the position of each click's id among them."""

    ids: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray) -> _Numbered:
        return cls(*np.unique(ids, return_inverse=True))


class _Counts(NamedTuple):
    """Which clicks count for a modality; equal keys mean equal clicks."""

    key: str | bytes
    has: np.ndarray


class _Edges(NamedTuple):
    """Incidences (node, hyperedge), the id of each hyperedge, and the behaviour type of each incidence."""

    node: np.ndarray
    edge: np.ndarray
    ids: np.ndarray
    type: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Recipe:
    """How the hypergraphs of one slice are built from its clicks: the settings of `slice_hypergraphs`."""

    present: Mapping[str, np.ndarray]
    keep: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    item_edges: str
    augment: tuple[str, ...]
    own: bool
    codes: Mapping[str, np.ndarray] | None
    num_users: int
    num_items: int

    def build(
        self, user: np.ndarray, item: np.ndarray, type: np.ndarray | None = None
    ) -> tuple[Side | None, Side | None]:
        """Build the user side and the item side from the clicks (user, item) of one slice; with types, typed."""
        users, items = _Numbered.of(user), _Numbered.of(item)
        every = self._present_counts(item)
        chosen = every
        if self.keep is not None and self.present and len(user):
            chosen = _chosen(every, self.keep(user, item))
        of_items = every if self.item_edges == "all" else chosen
        return self._users(users, items, item, chosen, type), self._items(users, items, of_items, type)

    def _present_counts(self, item: np.ndarray) -> dict[str, _Counts]:
        """Return which clicks count for each modality by its presence; equal for modalities of the same items."""
        if not self.present:
            return {"": _Counts("", np.ones(len(item), bool))}
        return {m: _Counts(self._patterns[m], mask[item]) for m, mask in self.present.items()}

    @cached_property
    def _patterns(self) -> dict[str, bytes]:
        """A key per modality; modalities that the same items have share it, and so their hypergraphs."""
        return {m: np.packbits(mask).tobytes() for m, mask in self.present.items()}

    def _users(
        self,
        users: _Numbered,
        items: _Numbered,
        item: np.ndarray,
        counts: Mapping[str, _Counts],
        type: np.ndarray | None,
    ) -> Side | None:
        more = None
        if "S2-cluster" in self.augment and self.present:
            counts = {m: _Counts(m, each.has) for m, each in counts.items()}  # each modality has its own clusters

            def more(m: str, has: np.ndarray) -> _Edges:
                return _cluster_edges(users.at[has], self.codes[m][item[has]], self.num_items)

        edges = items if "S1" in self.augment else None
        return _side(users, edges, counts, more, self.own, len(self.present), type)

    def _items(
        self, users: _Numbered, items: _Numbered, counts: Mapping[str, _Counts], type: np.ndarray | None
    ) -> Side | None:
        more = None
        if "S2-couser" in self.augment:

            def more(m: str, has: np.ndarray) -> _Edges:
                return _couser_edges(items.at[has], users.at[has], items.ids, self.num_users)

        edges = users if "S2" in self.augment else None
        return _side(items, edges, counts, more, self.own, len(self.present), type)


def _chosen(every: Mapping[str, _Counts], kept: np.ndarray) -> dict[str, _Counts]:
    """Restrict the clicks that count for each modality to those kept for it."""
    clicks = len(next(iter(every.values())).has)
    if np.shape(kept) != (clicks, len(every)):
        raise ValueError(f"keep must give [{clicks}, {len(every)}], got shape {list(np.shape(kept))}")
    return {m: _Counts(m, counts.has & kept[:, q]) for q, (m, counts) in enumerate(every.items())}


def _side(
    nodes: _Numbered,
    edges: _Numbered | None,
    counts: Mapping[str, _Counts],
    more: Callable[[str, np.ndarray], _Edges] | None,
    own: bool,
    modalities: int,
    type: np.ndarray | None,
) -> Side | None:
    """Build one hypergraph per modality on the active nodes; each click that counts joins its node to its edge.

    `more(m, has)` adds hyperedges to the hypergraph of modality m. `type` is of each click; None: no values.
    """
    if not len(nodes.ids) or (edges is None and more is None):
        return None
    built: dict[str | bytes, Hypergraph] = {}
    for m, (key, has) in counts.items():
        if key not in built:
            of_click = None if type is None else type[has]
            parts = [] if edges is None else [_Edges(nodes.at[has], edges.at[has], edges.ids, of_click)]
            parts += [] if more is None else [more(m, has)]
            built[key] = _hypergraph(nodes.ids, parts, own, type is not None)
    each = [built[key] for key, _ in counts.values()]
    group = each[0] if len(built) == 1 else union(*each, merge=not own, warn=False)
    return Side(torch.from_numpy(nodes.ids), (group, *each[:modalities]))


def _hypergraph(node_ids: np.ndarray, parts: list[_Edges], own: bool, typed: bool) -> Hypergraph:
    """Join the hyperedges of all parts on these nodes, drop those of one member, and merge equal ones unless `own`."""
    start = np.cumsum([0] + [len(part.ids) for part in parts])
    node = np.concatenate([part.node for part in parts])
    edge = np.concatenate([part.edge + first for part, first in zip(parts, start[:-1], strict=True)])
    ids = np.concatenate([part.ids for part in parts])
    value = None
    if typed:
        value = np.concatenate([np.zeros(len(p.node)) if p.type is None else 1.0 + p.type for p in parts])
        last = len(node) - 1 - np.unique((edge * len(node_ids) + node)[::-1], return_index=True)[1]
        node, edge, value = node[last], edge[last], value[last]  # clicks are in the order of time
    h = Hypergraph.from_pairs(node, edge, len(node_ids), len(ids), value, node_ids=node_ids, hyperedge_ids=ids)
    h = drop_small(h, 2)
    return h if own else merge_equal(h, warn=False)


def _cluster_edges(user: np.ndarray, code: np.ndarray, first_id: int) -> _Edges:
    """Make one hyperedge per cluster: the users with two or more clicks on its items."""
    user, code = user[code >= 0], code[code >= 0]
    width = int(code.max(initial=0)) + 1
    pair, clicks = np.unique(user * width + code, return_counts=True)
    pair = pair[clicks >= 2]
    codes, edge = np.unique(pair % width, return_inverse=True)
    return _Edges(pair // width, edge, first_id + codes)


def _couser_edges(item: np.ndarray, user: np.ndarray, item_ids: np.ndarray, first_id: int) -> _Edges:
    """Make one hyperedge per item: the item itself and the items with alike users in the slice."""
    shape = len(item_ids), int(user.max(initial=-1)) + 1
    clicked = scipy.sparse.csr_array((np.ones(len(item), np.int32), (item, user)), shape)
    clicked.data[:] = 1  # repeated clicks count once
    width = clicked.sum(0)
    clicked = clicked[:, width <= WIDE]
    size, other = clicked.sum(1), clicked.T.tocsr()
    cost = np.cumsum(clicked @ width[width <= WIDE])  # upper bound of the products per row
    borders = [0, *np.searchsorted(cost, np.arange(BLOCK, cost[-1], BLOCK)).tolist(), len(item_ids)]
    node, edge = [], []
    for start, end in pairwise(borders):
        both = (clicked[start:end] @ other).tocoo()
        a, b = both.row + start, both.col
        alike = both.data >= ALIKE * (size[a] + size[b] - both.data)
        edge.append(a[alike])
        node.append(b[alike])
    return _Edges(np.concatenate(node), np.concatenate(edge), first_id + item_ids)
