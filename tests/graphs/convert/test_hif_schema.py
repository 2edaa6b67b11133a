"""HIF files are read or refused exactly as two validators of the official schema demand."""

import copy
import json

import pytest
from hif_documents import (
    DIRECTED,
    FLOAT32,
    INVALID,
    JSON,
    TEXT,
    VALID,
    allowed,
    content,
    contradicts,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.convert import hif
from graphs.convert.hif_schema import check

ALLOWED = "HIF allows network-type, metadata, incidences, nodes, edges"
FAULTS = {
    "the_file_is_an_array": "the file must be an object, got an array",
    "the_file_is_a_number": "the file must be an object, got 17",
    "no_incidences": 'the file has no "incidences"',
    "unknown_part": f'the file has an unknown field "hyperedges"; {ALLOWED}',
    "network_type": 'network-type must be "undirected", "directed" or "asc", got "multigraph"',
    "network_type_in_capitals": 'network-type must be "undirected", "directed" or "asc", got "Undirected"',
    "network_type_is_null": 'network-type must be "undirected", "directed" or "asc", got null',
    "metadata_is_an_array": "metadata must be an object, got an array",
    "metadata_is_null": "metadata must be an object, got null",
    "nodes_is_an_object": "nodes must be an array, got an object",
    "edges_is_null": "edges must be an array, got null",
    "incidences_is_an_object": "incidences must be an array, got an object",
    "node_record_is_a_string": 'nodes[1] must be an object, got "b"',
    "node_without_id": 'nodes[1] has no "node"',
    "node_id_is_a_fraction": "nodes[1].node must be a string or an integer, got 1.5",
    "node_id_is_true": "nodes[0].node must be a string or an integer, got true",
    "node_weight_is_a_string": 'nodes[0].weight must be a number, got "1"',
    "node_weight_is_true": "nodes[0].weight must be a number, got true",
    "node_attrs_is_an_array": "nodes[0].attrs must be an object, got an array",
    "node_with_unknown_field": 'nodes[3] has an unknown field "colour"; HIF allows node, weight, attrs',
    "node_with_direction": 'nodes[0] has an unknown field "direction"; HIF allows node, weight, attrs',
    "edge_record_is_null": "edges[0] must be an object, got null",
    "edge_without_id": 'edges[0] has no "edge"',
    "edge_id_is_an_array": "edges[0].edge must be a string or an integer, got an array",
    "edge_weight_is_null": "edges[0].weight must be a number, got null",
    "edge_attrs_is_a_string": 'edges[0].attrs must be an object, got "x"',
    "edge_with_members": 'edges[0] has an unknown field "nodes"; HIF allows edge, weight, attrs',
    "incidence_is_a_pair": "incidences[1] must be an object, got an array",
    "incidence_without_node": 'incidences[1] has no "node"',
    "incidence_without_edge": 'incidences[0] has no "edge"',
    "incidence_edge_is_a_fraction": "incidences[17].edge must be a string or an integer, got 1.5",
    "incidence_edge_is_beyond_a_double": "incidences[0].edge must be a string or an integer, got Infinity",
    "incidence_node_is_null": "incidences[0].node must be a string or an integer, got null",
    "incidence_node_is_false": "incidences[0].node must be a string or an integer, got false",
    "incidence_weight_is_a_string": 'incidences[0].weight must be a number, got "heavy"',
    "incidence_weight_is_false": "incidences[0].weight must be a number, got false",
    "incidence_direction": 'incidences[0].direction must be "head" or "tail", got "in"',
    "incidence_direction_is_null": 'incidences[0].direction must be "head" or "tail", got null',
    "incidence_attrs_is_null": "incidences[0].attrs must be an object, got null",
    "incidence_with_unknown_field": 'incidences[0] has an unknown field "attr"; '
    "HIF allows edge, node, weight, direction, attrs",
}


# Files of our own, one per field and fault


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_file_is_read_and_written_with_the_same_content(path, tmp_path):
    document = json.loads(path.read_bytes())
    assert allowed(document)
    check(document)
    h = read(path)
    written = hif.write(h, tmp_path / "again.json")
    assert allowed(written) and json.loads((tmp_path / "again.json").read_bytes()) == written
    assert content(written) == content(document)
    assert read(tmp_path / "again.json").equals(h) and read(written).equals(h)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_by_naming_the_field(path):
    assert not allowed(json.loads(path.read_bytes()))
    with pytest.raises(ValueError) as refusal:
        read(path)
    assert str(refusal.value) == f"{path}: {FAULTS[path.stem]}"
    with pytest.raises(ValueError) as refusal:
        read(path.read_bytes())
    assert str(refusal.value) == FAULTS[path.stem]


def test_there_is_a_file_a_fault():
    assert len(VALID) >= 15 and {path.stem for path in INVALID} == set(FAULTS)


def test_directed_files_are_refused_though_they_are_valid():
    assert allowed(DIRECTED)
    check(DIRECTED)
    with pytest.raises(ValueError, match='^network-type is "directed", and a Hypergraph has no directions; change it'):
        read(DIRECTED)
    as_advised = read({**DIRECTED, "network-type": "undirected"})
    assert as_advised.attributes.incidences == {(0, 0): {"hif:direction": "tail"}}


# Documents at random

IDS = st.sampled_from([0, 1, 2, 3.0, "0", "1", "", "a", 2**63, -(2**70), 1e300]) | TEXT
NUMBERS = st.integers(0, 3) | st.integers(0, 2**80) | st.floats(-1e-3, 1e300) | FLOAT32
THEIRS = st.dictionaries(TEXT | st.sampled_from(["weight", "hif:weight", "hif:direction", "hif:x"]), JSON, max_size=2)


def records(**required) -> st.SearchStrategy:
    optional = {"weight": NUMBERS, "attrs": THEIRS}
    if len(required) == 2:
        optional["direction"] = st.sampled_from(["head", "tail"])
    return st.lists(st.fixed_dictionaries(required, optional=optional), max_size=5)


DOCUMENTS = st.fixed_dictionaries(
    {"incidences": records(edge=IDS, node=IDS)},
    optional={
        "network-type": st.sampled_from(["undirected", "asc", "undirected", "directed"]),
        "metadata": st.dictionaries(TEXT | st.sampled_from(["hif:network-type", "hif:x"]), JSON, max_size=2),
        "nodes": records(node=IDS),
        "edges": records(edge=IDS),
    },
)


@settings(max_examples=400)
@given(DOCUMENTS)
def test_every_valid_document_is_read_and_written_with_the_same_content(document):
    assert allowed(document)
    check(document)
    if document.get("network-type") == "directed":
        with pytest.raises(ValueError, match='^network-type is "directed"'):
            read(document)
        return
    if contradicts(document):
        with pytest.raises(ValueError, match="again with another|must be a finite number from 0|add up to"):
            read(document)
        return
    h = read(document)
    written = hif.write(h)
    assert allowed(written) and content(written) == content(document)
    assert read(json.dumps(written)).equals(h)


STRAY = st.sampled_from(
    [0, 1.0, 1.5, -2.0, 1e300, 2**70, True, False, None, "", "head", "asc", [], {}, [{}], [{"node": 0}], {"node": 1}]
    + [[{"edge": 0}], [{"edge": 0, "node": 0}], float("nan"), float("inf")]
).map(copy.deepcopy)  # a later fault may go into it
FIELD = st.sampled_from(
    ["network-type", "metadata", "nodes", "edges", "incidences", "node", "edge", "weight", "direction", "attrs", "x"]
)


@st.composite
def mutated(draw) -> object:
    """A valid document with one to three faults, or what may be one."""
    document = copy.deepcopy(draw(DOCUMENTS))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 40)) == 0:
            return draw(STRAY)
        places = [document] + [part for part in document.values() if isinstance(part, dict | list)]
        places += [record for part in document.values() if isinstance(part, list) for record in part]
        place = draw(st.sampled_from([p for p in places if isinstance(p, dict | list)]))
        if isinstance(place, list):
            place.insert(draw(st.integers(0, len(place))), draw(STRAY))
        elif place and draw(st.booleans()):
            del place[draw(st.sampled_from(list(place)))]
        else:
            place[draw(FIELD)] = draw(STRAY)
    return document


@settings(max_examples=600)
@given(mutated())
def test_a_mutated_document_is_refused_exactly_when_the_schema_refuses_it(document):
    valid = allowed(document)
    try:
        check(document)
    except ValueError as refusal:
        assert not valid, refusal
        assert "\n" not in str(refusal)
    else:
        assert valid
        if document.get("network-type") != "directed" and not contradicts(document):
            read(document)
