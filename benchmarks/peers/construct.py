"""Construction by other packages: each function takes the rows and returns the call to be timed.

What a package wants beside its constructor, a table of the rows or lists of members, is prepared outside the clock.
"""

from collections.abc import Callable

import numpy as np


def dhg(nodes: np.ndarray, hyperedges: np.ndarray) -> Callable[[], object]:
    """DHG (the package `dhg`, 0.9) on lists of members, and the H that it makes when it is first asked for."""
    from dhg import Hypergraph

    members, count = [tuple(row) for row in listed(nodes, hyperedges)], int(nodes.max()) + 1
    return lambda: Hypergraph(count, members).H


def xgi(nodes: np.ndarray, hyperedges: np.ndarray) -> Callable[[], object]:
    """XGI on a table of rows, as we are."""
    from pandas import DataFrame
    from xgi import from_bipartite_pandas_dataframe

    rows = DataFrame({"node": nodes, "hyperedge": hyperedges})
    return lambda: from_bipartite_pandas_dataframe(rows, node_column="node", edge_column="hyperedge")


def xgi_on_lists(nodes: np.ndarray, hyperedges: np.ndarray) -> Callable[[], object]:
    """XGI on lists of members, all the grouping of rows done."""
    from xgi import Hypergraph

    members = listed(nodes, hyperedges)
    return lambda: Hypergraph(members)


def hypernetx(nodes: np.ndarray, hyperedges: np.ndarray) -> Callable[[], object]:
    """HyperNetX on a table of rows, as we are."""
    from hypernetx import Hypergraph
    from pandas import DataFrame

    rows = DataFrame({"hyperedge": hyperedges, "node": nodes})
    return lambda: Hypergraph(rows, edge_col="hyperedge", node_col="node")


def listed(nodes: np.ndarray, hyperedges: np.ndarray) -> list[list[int]]:
    """The distinct members of each hyperedge that has some."""
    order = np.argsort(hyperedges, kind="stable")
    cuts = np.flatnonzero(np.diff(hyperedges[order])) + 1
    return [np.unique(row).tolist() for row in np.split(nodes[order], cuts)]


# How many rows each is given: it takes a second or two of them.
PEERS = {
    "DHG, lists ready": (dhg, 1_000_000),
    "XGI": (xgi, 1_000_000),
    "XGI, lists ready": (xgi_on_lists, 1_000_000),
    "HyperNetX": (hypernetx, 30_000),
}
