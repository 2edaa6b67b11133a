"""The paper's recipes: clicks -> user-interest and item-homogeneous hypergraphs, a set for every time slice.

This file is the border between the two packages: here a node becomes a user or an item, and a hyperedge an interest.
HyperCTR (arXiv 2109.02398), sections 2.3.1 to 2.3.3; Definitions 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from graphs import Hypergraph, TimeGrid
from graphs.build import drop_small, merge_equal, union
from hyperctr.data.interactions import Interactions


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
        users, items: one `Side` a slice; None where the slice is empty.
    """

    grid: TimeGrid
    names: tuple[str, ...]
    users: tuple[Side | None, ...]
    items: tuple[Side | None, ...]

    def __len__(self) -> int:
        return len(self.users)


def slice_hypergraphs(
    log: Interactions, present: Mapping[str, np.ndarray], grid: TimeGrid, upto: int
) -> SlicedHypergraphs:
    """Build the hypergraphs of every slice that has closed by `upto`.

    In slice n, for every modality m: a hyperedge a user joins the items that the user clicked in n and that have m
    (item-homogeneous); a hyperedge an item with m joins the users who clicked it in n (user-interest). The group is the
    column stack of the modalities'. Hyperedges of one member are dropped, equal ones merged and their weights added.

    Until interests are learned (UIP), every modality that an item has makes an edge of every click on it.

    Args:
        log: events; those of label 1 make edges.
        present: name to bool [num_items], which items have the modality.
        grid: the time slices.
        upto: seconds; a slice that ends later is not built.

    Raises:
        ValueError: an event at or after `upto`.
    """
    if len(log) and log.time[-1] >= upto:
        raise ValueError(f"events must be strictly before upto = {upto}, the last one is at {log.time[-1]}")
    clicks = log.take(log.clicks())
    at = grid.slice_of(clicks.time)
    closed = int(grid.slice_of(np.array([upto]))[0])
    # modalities that the same items have share their hypergraphs
    pattern = [np.packbits(mask).tobytes() for mask in present.values()]
    masks = dict(zip(pattern, present.values(), strict=True)) or {b"": np.ones(log.num_items, bool)}
    borders = np.searchsorted(at, np.arange(max(0, closed) + 1))
    users, items = [], []
    for n in range(max(0, closed)):
        rows = slice(borders[n], borders[n + 1])
        user, item = clicks.user[rows], clicks.item[rows]
        items.append(_side(item, user, item, masks, pattern))
        users.append(_side(user, item, item, masks, pattern))
    return SlicedHypergraphs(grid, ("group", *present), tuple(users), tuple(items))


def _side(node: np.ndarray, edge: np.ndarray, item: np.ndarray, masks: dict, pattern: list[bytes]) -> Side | None:
    """One hypergraph a modality on the active nodes: members `node` of hyperedges `edge`, kept where `item` has it."""
    if not len(node):
        return None
    nodes, local = np.unique(node, return_inverse=True)
    edges, members = np.unique(edge, return_inverse=True)

    def build(mask: np.ndarray) -> Hypergraph:
        has = mask[item]
        h = Hypergraph.from_pairs(local[has], members[has], len(nodes), len(edges), node_ids=nodes, hyperedge_ids=edges)
        return merge_equal(drop_small(h, 2))

    built = {key: build(mask) for key, mask in masks.items()}
    each = [built[key] for key in pattern] or list(built.values())
    group = each[0] if len(built) == 1 else union(*each)
    return Side(torch.from_numpy(nodes), (group, *(each if pattern else ())))
