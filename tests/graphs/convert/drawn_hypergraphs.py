"""Small awkward hypergraphs at random, for the tests of converters."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from graphs import Hypergraph
from graphs.attributes import Attributes

random_300 = settings(max_examples=300, deadline=None)

# ids: numbers with gaps, text that looks like a number or is empty, both mixed, and any of them twice
NUMBERS = st.sampled_from([0, 1, 2, 7, -3, 2**40])
TEXTS = st.sampled_from(["", "a", "1", "ü 🎬", "nan", "node", "0", "a\0"])
# attributes: names that the other side uses itself, and values that JSON holds
NAMES = st.sampled_from(["colour", "", "weight", "_weight", "__weight", "bipartite", "hypergraph_id", "id", "uid"])
VALUES = st.sampled_from([None, True, 0, 1.5, "", "ü", [], [1, {"a": None}], {}, {"x": 1, "weight": [2]}])
ENTRIES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)
WEIGHTS = st.sampled_from([0.0, 1.0, 0.1, 2.5, 3e38, 1e-45])


@st.composite
def ids(draw, count):
    kind = draw(st.sampled_from([None, NUMBERS, TEXTS, NUMBERS | TEXTS, "from zero"]))
    if kind is None:
        return None
    if kind == "from zero":
        return list(range(count))
    drawn = draw(st.lists(kind, min_size=count, max_size=count))
    return np.array(drawn, dtype=object) if any(isinstance(i, str) for i in drawn) else drawn


@st.composite
def weights(draw, count):
    return draw(st.none() | st.just([1.0] * count) | st.lists(WEIGHTS, min_size=count, max_size=count))


@st.composite
def hypergraphs(draw):
    """Small awkward ones: no nodes, no hyperedges, empty and equal hyperedges, isolated nodes, ids that occur twice."""
    num_nodes, num_hyperedges = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    cells = [(v, e) for v in range(num_nodes) for e in range(num_hyperedges)]
    pairs = draw(st.lists(st.sampled_from(cells), max_size=8, unique=True)) if cells else []
    h = Hypergraph.from_pairs(
        [v for v, _ in pairs],
        [e for _, e in pairs],
        num_nodes,
        num_hyperedges,
        draw(weights(len(pairs))),
        draw(weights(num_hyperedges)),
        draw(ids(num_nodes)),
        draw(ids(num_hyperedges)),
    )
    node_weight = draw(weights(num_nodes))
    return replace(h, node_weight=None if node_weight is None else torch.tensor(node_weight))


@st.composite
def hypergraphs_with_attributes(draw):
    h = draw(hypergraphs())
    nodes, hyperedges = h.hyperedge_index.tolist()

    def of(numbers):
        return draw(st.dictionaries(st.sampled_from(numbers), ENTRIES, max_size=2)) if numbers else {}

    attributes = Attributes(
        draw(st.just({}) | ENTRIES),
        of(range(h.num_nodes)),
        of(range(h.num_hyperedges)),
        of(list(zip(nodes, hyperedges, strict=True))),
    )
    return replace(h, attributes=attributes)


def members(h: Hypergraph) -> dict:
    """The node ids of each hyperedge id."""
    nodes = range(h.num_nodes) if h.node_ids is None else h.node_ids.tolist()
    hyperedges = range(h.num_hyperedges) if h.hyperedge_ids is None else h.hyperedge_ids.tolist()
    return {e: {nodes[v] for v in h.members(i).tolist()} for i, e in enumerate(hyperedges)}
