"""Every hypergraph comes back from HIF as it was, and other packages read and write the same files."""

import json
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from hif_documents import ATTRS, FLOAT32, SCHEMA, allowed, members, read, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Hypergraph
from graphs.attributes import Attributes
from graphs.convert import hif


@st.composite
def id_arrays(draw, count: int) -> np.ndarray | None:
    kind = draw(st.sampled_from(["none", "integers", "strings", "mixed", "huge", "unsigned", "numbers", "twice"]))
    if kind == "none":
        return None
    if kind == "numbers" or not count:
        return np.arange(count)
    if kind == "twice":
        return np.array(draw(st.lists(st.sampled_from("ab"), min_size=count, max_size=count)))
    integers = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9)
    pool = {
        "integers": integers,
        "strings": st.text(max_size=3).filter(lambda text: not text.endswith("\0")),
        "mixed": st.integers(0, 3) | st.sampled_from("0123") | st.text(max_size=2),
        "huge": st.integers(),
        "unsigned": st.integers(0, 2**64 - 1),
    }[kind]
    ids = draw(st.lists(pool, min_size=count, max_size=count, unique_by=lambda i: (type(i), i)))
    if kind == "integers":
        return np.array(ids, dtype=np.int64)
    if kind == "strings":
        return np.array(ids)
    if kind == "unsigned":
        return np.array([2**64 - 1, *ids[1:]], dtype=np.uint64)
    ids[0] = {"mixed": 4, "huge": 2**70}[kind]
    array = np.empty(count, dtype=object)
    array[:] = [*ids[:-1], "\0" if kind == "mixed" and count > 1 else ids[-1]]
    return array if kind == "huge" or count > 1 else np.array([4])


@st.composite
def hypergraphs(draw) -> Hypergraph:
    num_nodes, num_hyperedges = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    cells = [(v, e) for v in range(num_nodes) for e in range(num_hyperedges)]
    pairs = draw(st.lists(st.sampled_from(cells), max_size=10)) if cells else []

    def weights(count):
        return draw(st.none() | st.lists(FLOAT32 | st.just(1.0), min_size=count, max_size=count))

    def attributes(keys):
        return {key: draw(ATTRS) for key in keys if draw(st.booleans())}

    h = Hypergraph.from_pairs(
        [v for v, _ in pairs],
        [e for _, e in pairs],
        num_nodes,
        num_hyperedges,
        weight=None if (value := weights(len(pairs))) is None else np.minimum(value, 1e37),  # sums stay finite
        hyperedge_weight=weights(num_hyperedges),
        node_ids=draw(id_arrays(num_nodes)),
        hyperedge_ids=draw(id_arrays(num_hyperedges)),
    )
    node_weight = weights(num_nodes)
    metadata = draw(ATTRS) | draw(st.sampled_from([{}, {"hif:network-type": "asc"}]))
    known = Attributes(
        metadata, attributes(range(num_nodes)), attributes(range(num_hyperedges)), attributes(set(pairs))
    )
    return replace(h, node_weight=None if node_weight is None else torch.tensor(node_weight).float(), attributes=known)


@settings(max_examples=400)
@given(hypergraphs())
def test_every_hypergraph_comes_back_as_it_was(h):
    document = hif.write(h)
    assert allowed(document)
    assert read(document).equals(h)
    text = json.dumps(document)
    assert read(text).equals(h) and hif.write(read(text)) == document


# Other packages


def test_xgi_reads_what_is_written(tmp_path):
    xgi = pytest.importorskip("xgi", reason="XGI not checked")
    h = stored("slices_and_modalities")
    h = replace(h, node_ids=np.array(["u1", "u2"]))
    hif.write(h, tmp_path / "x.json")
    there = xgi.read_hif(tmp_path / "x.json")
    assert there.edges.members(dtype=dict) == {"i9": {"u1", "u2"}} and there.nodes["u1"] == {"type": "user"}
    assert there.edges["i9"] == h.attributes.hyperedges[0] and there["every"] == "7d"
    there = xgi.from_hif_dict(hif.write(stored("nodes_without_edges_and_edges_without_nodes")))
    assert set(there.nodes) == {"alone", "together", "unlisted"}
    assert there.edges.members(dtype=dict) == {"empty": set(), "full": {"together", "unlisted"}}


def test_what_xgi_writes_is_read(tmp_path):
    xgi = pytest.importorskip("xgi", reason="XGI not checked")
    there = xgi.Hypergraph({"e": [1, "1", 2], "f": [2]})
    there.add_node("alone", colour="red")
    there.add_edge([], idx="empty")
    there.set_edge_attributes({"f": {"slice": 3}})
    there["name"] = "house"
    xgi.write_hif(there, tmp_path / "x.json")
    for source in (tmp_path / "x.json", xgi.to_hif_dict(there)):
        h = read(source)
        assert {e: set(m) for e, m in members(h).items()} == {"e": {1, "1", 2}, "f": {2}, "empty": set()}
        number = {i: v for v, i in enumerate(h.node_ids.tolist())}
        assert h.attributes.nodes == {number["alone"]: {"colour": "red"}} and h.attributes.metadata == {"name": "house"}
        assert h.attributes.hyperedges == {h.hyperedge_ids.tolist().index("f"): {"slice": 3}}
    with pytest.raises(ValueError, match='network-type is "directed"'):
        read(xgi.to_hif_dict(xgi.DiHypergraph([([1], [2])])))
    faces = read(xgi.to_hif_dict(xgi.SimplicialComplex([[1, 2, 3]])))
    assert sorted(map(sorted, members(faces).values())) == [[1, 2], [1, 2, 3], [1, 3], [2, 3]]
    assert faces.attributes.metadata == {"hif:network-type": "asc"}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_hypernetx_reads_what_is_written_and_the_other_way_round(monkeypatch):
    hnx = pytest.importorskip("hypernetx", reason="HyperNetX not checked")
    from hypernetx import hif as theirs

    # it fetches the schema at each call; here it gets the one next to this file
    answer = types.SimpleNamespace(text=json.dumps(SCHEMA))
    monkeypatch.setattr(theirs, "requests", types.SimpleNamespace(get=lambda url: answer))
    h = read(
        {
            "edges": [{"edge": "e", "weight": 2.5}, {"edge": "f", "attrs": {"slice": 3}}],
            "incidences": [{"edge": "e", "node": "a", "weight": 0.25}, {"edge": "e", "node": "b"}]
            + [{"edge": "f", "node": "b"}],
        }
    )
    there = theirs.from_hif(hif.write(h))
    assert there.incidence_dict == {"e": ["a", "b"], "f": ["b"]}
    assert there.edges["e"].weight == 2.5 and there.get_cell_properties("e", "a", "weight") == 0.25
    back = read(theirs.to_hif(hnx.Hypergraph({"x": [1, 2], "y": [2, 3]})))
    assert members(back) == {"x": [1, 2], "y": [2, 3]} and back.by_hyperedge.value.tolist() == [1, 1, 1, 1]
