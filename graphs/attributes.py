"""Attributes: what a caller knows of nodes, hyperedges and incidences beyond their weights. No product reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Attributes:
    """Attributes by number. Only what has some is stored: an empty dict is the same as none.

    >>> Attributes(nodes={0: {"name": "ann"}, 1: {}})
    Attributes(metadata={}, nodes={0: {'name': 'ann'}}, hyperedges={}, incidences={})
    """

    metadata: dict = field(default_factory=dict)
    """Of the hypergraph itself."""
    nodes: dict[int, dict] = field(default_factory=dict)
    """Node -> its attributes."""
    hyperedges: dict[int, dict] = field(default_factory=dict)
    """Hyperedge -> its attributes."""
    incidences: dict[tuple[int, int], dict] = field(default_factory=dict)
    """(node, hyperedge) -> attributes of the incidence."""

    def __post_init__(self) -> None:
        for name in ("nodes", "hyperedges", "incidences"):
            given = getattr(self, name)
            if not all(given.values()):
                object.__setattr__(self, name, {key: attrs for key, attrs in given.items() if attrs})

    def __bool__(self) -> bool:
        return bool(self.metadata or self.nodes or self.hyperedges or self.incidences)

    @property
    def T(self) -> Attributes:
        """The attributes of the dual.

        >>> Attributes(nodes={0: {"name": "ann"}}).T.hyperedges
        {0: {'name': 'ann'}}
        """
        return Attributes(
            self.metadata, self.hyperedges, self.nodes, {(e, v): a for (v, e), a in self.incidences.items()}
        )

    def take(self, nodes: Sequence[int] | None = None, hyperedges: Sequence[int] | None = None) -> Attributes:
        """Return the attributes of a part with new numbers: node i was nodes[i], hyperedge j was hyperedges[j].

        None keeps all. A node or hyperedge that is named twice has its attributes twice.

        >>> Attributes(nodes={4: {"name": "ann"}}).take(nodes=[7, 4]).nodes
        {1: {'name': 'ann'}}
        """
        node_now = _numbers_now(nodes, [*self.nodes, *(v for v, _ in self.incidences)])
        hyperedge_now = _numbers_now(hyperedges, [*self.hyperedges, *(e for _, e in self.incidences)])
        return Attributes(
            self.metadata,
            {i: a for v, a in self.nodes.items() for i in node_now(v)},
            {j: a for e, a in self.hyperedges.items() for j in hyperedge_now(e)},
            {(i, j): a for (v, e), a in self.incidences.items() for i in node_now(v) for j in hyperedge_now(e)},
        )


def _numbers_now(taken: Sequence[int] | None, known: Iterable[int]) -> Callable[[int], Sequence[int]]:
    """Return a look-up from an old number to its new ones, for the numbers in `known`: those with attributes."""
    if taken is None:
        return lambda old: (old,)
    now: dict[int, list[int]] = {old: [] for old in known}
    if now:
        taken = np.asarray(taken, dtype=np.int64)
        places = np.flatnonzero(np.isin(taken, list(now)))
        for new, old in zip(places.tolist(), taken[places].tolist(), strict=True):
            now[old].append(new)
    return now.__getitem__
