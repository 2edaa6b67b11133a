"""The paper's recipes: clicks -> user-interest and item-homogeneous hypergraphs, a set for every time slice.

This file is the border between the two packages: here a node becomes a user or an item, and a hyperedge an interest.
HyperCTR (arXiv 2109.02398), sections 2.3.1 to 2.3.3; Definitions 2 and 3; Eq. (11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
ALIKE = 0.5  # Jaccard index from which on two items have alike users
WIDE = 200  # a user of more items in a slice is not counted among the alike users: that would cost their square
BLOCK = 2**24  # products of pairs of items formed at a time


@dataclass(frozen=True)
class Side:
    """The hypergraphs of one slice on one kind of node (users or items).

    Attributes:
        nodes: global numbers of the nodes active in the slice, ascending, int64 [n].
        graphs: one hypergraph on those nodes a modality, in the order of `SlicedHypergraphs.names`; the first is the
            group: the union of the others (of all clicks where there is no modality).
    """

    nodes: torch.Tensor
    graphs: tuple[Hypergraph, ...]


@dataclass(frozen=True)
class SlicedHypergraphs:
    """Every closed slice's hypergraphs, and the grid that cut them.

    Attributes:
        grid: which slice a time belongs to.
        names: "group" and the modalities.
        users, items: one `Side` a slice; None where the slice is empty, or everywhere if `augment` leaves them out.
        own: whether a row reads its own slice too, as in the papers' random split: hyperedges are then kept one by one,
            under the number of their user or item, so that `without` can take a click out again.
        target_edge: where `own`, whether a training row's own click is to be taken out before the row is scored.
    """

    grid: TimeGrid
    names: tuple[str, ...]
    users: tuple[Side | None, ...]
    items: tuple[Side | None, ...]
    own: bool = False
    target_edge: Literal["exclude", "keep"] = "exclude"

    def __len__(self) -> int:
        return len(self.users)

    def without(self, h: Hypergraph, nodes: np.ndarray, hyperedge_ids: np.ndarray) -> Hypergraph:
        """One of these hypergraphs, or a sample of it, without some incidences: `without`."""
        return without(h, nodes, hyperedge_ids)


def time_grid(log: Interactions, parts: Split, slices: Slices, name: str = "the log") -> TimeGrid:
    """Cut the timeline as a run asks: by the clock, or so that equally many training clicks fall in each slice.

    Under the temporal split slices of equal counts go on behind the training rows, one as soon as as many clicks have
    come; otherwise validation and test rows would read ever older hypergraphs.

    Args:
        log: every event. parts: which of its rows are for training. slices: settings.
        name: what to call the log in an error.

    Raises:
        ValueError: no training clicks, or slices by the clock of a log without times.
    """
    clicked = log.time[parts.train][log.label[parts.train] == 1]
    if slices.count:
        time = log.time[log.clicks()]
        later = time[time > clicked.max(initial=0)] if parts.kind == "temporal" else None
        return TimeGrid.cut(clicked, count=slices.count, later=later)
    if not log.has_time:
        raise ValueError(f"{name} has no times, only an order; cut it by counts: slices.count=8 (in a sweep, q8)")
    return TimeGrid.cut(clicked, every=slices.every)


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
) -> SlicedHypergraphs:
    """Build the hypergraphs of every slice that has closed by `upto`.

    In slice n, for every modality m, of the clicks that count for m: a hyperedge a user joins the items that the user
    clicked in n (item-homogeneous, "S2"); a hyperedge an item joins the users who clicked it in n (user-interest,
    "S1"). A click counts for the modalities that its item has and that `keep` says. The group is the column stack of
    the modalities'. Hyperedges of one member are dropped, equal ones merged and their weights added.

    Two more recipes enter the modalities' hypergraphs on request. "S2-cluster": a hyperedge a code joins the users who
    clicked items of that code at least twice in n. "S2-couser": a hyperedge an item joins it and the items whose users
    in n are alike (Jaccard index at least one half); users of more than 200 items in n are not counted.

    Args:
        log: events; those of label 1 make edges.
        present: name to bool [num_items], which items have the modality.
        grid: the time slices.
        upto: seconds; a slice that ends later is not built.
        keep: (user, item) of one slice's clicks -> bool [n, Q], asked once a slice: `Interests.edges`. None: all count.
        item_edges: "all" builds the item-homogeneous hypergraphs without `keep`, as Eq. (11) is written.
        augment: which recipes; without any of a side, its entries are None.
        own, target_edge: see `SlicedHypergraphs`; `own` builds the open slice too and merges nothing.
        codes: name to cluster of each item, int [num_items], -1 without: `cluster_codes`. "S2-cluster" alone reads it.

    Raises:
        ValueError: an event at or after `upto`, unknown recipes or ones that do not go together.
    """
    augment = tuple(augment)
    if len(log) and log.time[-1] >= upto:
        raise ValueError(f"events must be strictly before upto = {upto}, the last one is at {log.time[-1]}")
    if unknown := set(augment) - set(AUGMENT):
        raise ValueError(f"augment knows {', '.join(AUGMENT)}, got {', '.join(sorted(unknown))}")
    if item_edges not in ("interest", "all"):
        raise ValueError(f"item_edges must be interest or all, got {item_edges!r}")
    if "S2-cluster" in augment and present and not (codes and codes.keys() >= present.keys()):
        raise ValueError("S2-cluster needs the cluster of every item: codes=cluster_codes(...)")
    if own and {"S2-cluster", "S2-couser"} & set(augment):
        raise ValueError(
            "S2-cluster and S2-couser look at many clicks at once, of which none can be taken out again: leave them "
            "out of slices.augment, or use the temporal split"
        )
    clicks = log.take(log.clicks())
    at = grid.slice_of(clicks.time)
    count = max(0, int(grid.slice_of(np.array([upto]))[0]))
    if own and len(at):
        count = max(count, int(at[-1]) + 1)
    # modalities that the same items have share their hypergraphs
    pattern = {m: np.packbits(mask).tobytes() for m, mask in present.items()}
    borders = np.searchsorted(at, np.arange(count + 1))
    sides: dict[str, list[Side | None]] = {"users": [], "items": []}
    for n in range(count):
        user, item = (x[borders[n] : borders[n + 1]] for x in (clicks.user, clicks.item))
        users, items = _Numbered.of(user), _Numbered.of(item)
        every = {m: _Counts(pattern[m], mask[item]) for m, mask in present.items()}
        every = every or {"": _Counts("", np.ones(len(item), bool))}
        chosen = every if keep is None or not present or not len(user) else _chosen(every, keep(user, item))

        def alike_items(m: str, has: np.ndarray, users: _Numbered = users, item: np.ndarray = item) -> _Edges:
            return _cluster_edges(users.at[has], codes[m][item[has]], log.num_items)

        def alike_users(m: str, has: np.ndarray, users: _Numbered = users, items: _Numbered = items) -> _Edges:
            return _couser_edges(items.at[has], users.at[has], items.ids, log.num_users)

        of_items = every if item_edges == "all" else chosen
        of_users, clusters = chosen, alike_items if "S2-cluster" in augment and present else None
        if clusters:  # modalities of the same items have clusters of their own
            of_users = {m: _Counts(m, counts.has) for m, counts in chosen.items()}
        cousers = alike_users if "S2-couser" in augment else None
        sides["users"].append(_side(users, items if "S1" in augment else None, of_users, clusters, own, len(present)))
        sides["items"].append(_side(items, users if "S2" in augment else None, of_items, cousers, own, len(present)))
    names = "group", *present
    return SlicedHypergraphs(grid, names, tuple(sides["users"]), tuple(sides["items"]), own, target_edge)


def without(h: Hypergraph, nodes: np.ndarray, hyperedge_ids: np.ndarray) -> Hypergraph:
    """Take incidences out of a hypergraph, and with them the hyperedges left with fewer than two members.

    This is `slices.target_edge = "exclude"`: in the random split a row reads its own slice, whose hypergraphs hold the
    row's own click; the batch's clicks are taken out first (user and item of each, on the item side item and user).

    Args:
        h: a hypergraph of `slice_hypergraphs(own=True)`.
        nodes: `node_ids` of the incidences, [k]; those that are not in h are passed over.
        hyperedge_ids: their `hyperedge_ids`, [k]; in the group, all hyperedges of that number.
    """
    nodes, hyperedge_ids = np.asarray(nodes), np.asarray(hyperedge_ids)
    node = np.searchsorted(h.node_ids, nodes)
    known = np.append(h.node_ids, -1)[node] == nodes
    node = node[known]
    indptr, indices, _ = h.numpy_members()
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
    smaller = Hypergraph.from_members(indptr, indices[stays], None, h.num_nodes, **ids)
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
        count: clusters a modality, fewer where fewer items are fitted.
        seed: of k-means.

    Returns:
        name to cluster of each item, int64 [num_items]; -1 without the modality, or where nothing could be fitted.
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
    """The ids that occur, ascending, and the place of each click's id among them."""

    ids: np.ndarray
    at: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray) -> _Numbered:
        return cls(*np.unique(ids, return_inverse=True))


class _Counts(NamedTuple):
    """Which clicks count for a modality; those of one key are the same."""

    key: str | bytes
    has: np.ndarray


class _Edges(NamedTuple):
    """Incidences (node, edge), and the id of each edge."""

    node: np.ndarray
    edge: np.ndarray
    ids: np.ndarray


def _chosen(every: Mapping[str, _Counts], kept: np.ndarray) -> dict[str, _Counts]:
    """Of the clicks on items with the modality, those kept for it."""
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
) -> Side | None:
    """One hypergraph a modality on the active nodes: the clicks that count join them in `edges`; `more` adds edges."""
    if not len(nodes.ids) or (edges is None and more is None):
        return None
    built: dict[str | bytes, Hypergraph] = {}
    for m, (key, has) in counts.items():
        if key not in built:
            parts = [] if edges is None else [_Edges(nodes.at[has], edges.at[has], edges.ids)]
            built[key] = _hypergraph(nodes.ids, parts + ([] if more is None else [more(m, has)]), own)
    each = [built[key] for key, _ in counts.values()]
    group = each[0] if len(built) == 1 else union(*each, merge=not own)
    return Side(torch.from_numpy(nodes.ids), (group, *each[:modalities]))


def _hypergraph(node_ids: np.ndarray, parts: list[_Edges], own: bool) -> Hypergraph:
    """The edges of all parts side by side on these nodes, without those of one member; equal ones merged unless own."""
    start = np.cumsum([0] + [len(part.ids) for part in parts])
    node = np.concatenate([part.node for part in parts])
    edge = np.concatenate([part.edge + first for part, first in zip(parts, start[:-1], strict=True)])
    ids = np.concatenate([part.ids for part in parts])
    h = Hypergraph.from_pairs(node, edge, len(node_ids), len(ids), node_ids=node_ids, hyperedge_ids=ids)
    h = drop_small(h, 2)
    return h if own else merge_equal(h)


def _cluster_edges(user: np.ndarray, code: np.ndarray, first_id: int) -> _Edges:
    """An edge a code: the users with two clicks or more on items of it."""
    user, code = user[code >= 0], code[code >= 0]
    width = int(code.max(initial=0)) + 1
    pair, clicks = np.unique(user * width + code, return_counts=True)
    pair = pair[clicks >= 2]
    codes, edge = np.unique(pair % width, return_inverse=True)
    return _Edges(pair // width, edge, first_id + codes)


def _couser_edges(item: np.ndarray, user: np.ndarray, item_ids: np.ndarray, first_id: int) -> _Edges:
    """An edge an item: itself and the items whose users in the slice are alike."""
    shape = len(item_ids), int(user.max(initial=-1)) + 1
    clicked = scipy.sparse.csr_array((np.ones(len(item), np.int32), (item, user)), shape)
    clicked.data[:] = 1  # however often
    width = clicked.sum(0)
    clicked = clicked[:, width <= WIDE]
    size, other = clicked.sum(1), clicked.T.tocsr()
    cost = np.cumsum(clicked @ width[width <= WIDE])  # of the rows' products, at most
    borders = [0, *np.searchsorted(cost, np.arange(BLOCK, cost[-1], BLOCK)).tolist(), len(item_ids)]
    node, edge = [], []
    for start, end in pairwise(borders):
        both = (clicked[start:end] @ other).tocoo()
        a, b = both.row + start, both.col
        alike = both.data >= ALIKE * (size[a] + size[b] - both.data)
        edge.append(a[alike])
        node.append(b[alike])
    return _Edges(np.concatenate(node), np.concatenate(edge), first_id + item_ids)
