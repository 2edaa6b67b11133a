"""HIF files: read, refused and written as two validators of the official schema demand; nothing in them is lost."""

import copy
import functools
import gzip
import json
import os
import types
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Hypergraph
from graphs.attributes import Attributes
from graphs.convert import hif
from graphs.convert.hif_schema import check

jsonschema = pytest.importorskip("jsonschema", reason="files not checked against the official schema")
fastjsonschema = pytest.importorskip("fastjsonschema", reason="files not checked against the official schema")

HERE = Path(__file__).parent / "hif"
VALID, INVALID = sorted(HERE.glob("valid/*.json")), sorted(HERE.glob("invalid/*.json"))
SCHEMA = json.loads((HERE / "schema.json").read_text())
DIRECTED = {"network-type": "directed", "incidences": [{"edge": 0, "node": 0, "direction": "tail"}]}

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


def read(source) -> Hypergraph:
    return hif.read(Hypergraph, source)


def stored(name: str) -> Hypergraph:
    return read(HERE / "valid" / f"{name}.json")


@functools.cache
def validators() -> tuple:
    return fastjsonschema.compile(SCHEMA), jsonschema.Draft7Validator(SCHEMA)


def allowed(document: object) -> bool:
    """What the official schema says; two validators must agree."""
    fast, slow = validators()
    try:
        fast(document)
        verdict = True
    except fastjsonschema.JsonSchemaValueException:
        verdict = False
    assert slow.is_valid(document) == verdict
    return verdict


def content(document: dict) -> dict:
    """What a document says, by slow loops: things in order of first mention with (weight, direction, attributes)."""

    def key(record, names):
        return tuple((type(record[n]) is str, record[n] if type(record[n]) is str else int(record[n])) for n in names)

    said = {}
    for part, names in (("nodes", ["node"]), ("edges", ["edge"]), ("incidences", ["edge", "node"])):
        things: dict[tuple, list] = {}
        records = document.get(part, [])
        mentions = [] if part == "incidences" else [key(record, names) for record in document["incidences"]]
        for record in records:
            thing = things.setdefault(key(record, names), [None, None, {}])
            if "weight" in record:
                add = part == "incidences" and thing[0] is not None
                thing[0] = float(thing[0]) + float(record["weight"]) if add else record["weight"]
            thing[1] = record.get("direction", thing[1])
            thing[2] = {**thing[2], **record.get("attrs", {})}
        for mention in mentions:
            things.setdefault(mention, [None, None, {}])
        if any("weight" in record for record in records):
            things = {k: [1 if w is None else w, d, a] for k, (w, d, a) in things.items()}
        rows = [(k, w, d, json.dumps(a, sort_keys=True)) for k, (w, d, a) in things.items()]
        said[part] = sorted(rows, key=lambda row: repr(row[0])) if part == "incidences" else rows
    metadata = json.dumps(document.get("metadata", {}), sort_keys=True)
    return {**said, "network": document.get("network-type", "undirected"), "metadata": metadata}


def members(h: Hypergraph) -> dict:
    """Members of each hyperedge by the caller's ids."""
    nodes = range(h.num_nodes) if h.node_ids is None else h.node_ids.tolist()
    hyperedges = range(h.num_hyperedges) if h.hyperedge_ids is None else h.hyperedge_ids.tolist()
    return {i: [nodes[v] for v in h.members(e).tolist()] for e, i in enumerate(hyperedges)}


# Files of our own, one a field and fault


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


# Numbers by hand


def test_numbers_follow_the_first_mention_nodes_and_edges_before_incidences():
    h = stored("order_of_first_mention")
    assert h.node_ids.tolist() == [5, 7, 9, 8] and h.hyperedge_ids.tolist() == [20, 30, 10]
    assert members(h) == {20: [], 30: [9, 8], 10: [7]}


def test_one_and_the_string_one_are_two_nodes():
    h = stored("integers_and_strings_as_ids")
    assert h.node_ids.tolist() == ["1", 1] and members(h) == {0: [1], "0": ["1"]}


def test_a_whole_float_is_that_integer():
    h = stored("whole_floats_as_ids")
    assert members(h) == {3: [1, 2]} and h.node_ids.dtype == np.int64


def test_ids_beyond_64_bits_are_kept():
    h = stored("huge_integers_as_ids")
    assert h.node_ids.tolist() == [2**63 - 1, 2**63, -(2**70), int(1e300)]
    assert h.hyperedge_ids.dtype == np.uint64 and h.hyperedge_ids.tolist() == [2**64 - 1]


def test_strings_that_numpy_would_cut_are_kept():
    h = stored("odd_strings_as_ids")
    assert h.node_ids.tolist() == ["", "a\0", "a", " ", "\ud800", "Österreich 🚲"] and members(h) == {"": ["a\0", "a"]}
    assert stored("incidences_alone").node_ids.dtype.kind == "U"


def test_one_long_id_does_not_pad_the_others(monkeypatch):
    monkeypatch.setattr(hif, "LONG_STRINGS", 30)
    short = read({"incidences": [{"edge": 0, "node": name} for name in ("a", "b", "c" * 9)]})
    long = read({"incidences": [{"edge": 0, "node": name} for name in ("a", "b", "c" * 10)]})
    assert short.node_ids.dtype == np.dtype("<U9") and long.node_ids.dtype == object
    assert members(long) == {0: ["a", "b", "c" * 10]} and read(hif.write(long)).equals(long)


def test_isolated_nodes_and_empty_hyperedges_are_there():
    h = stored("nodes_without_edges_and_edges_without_nodes")
    assert h.node_ids.tolist() == ["alone", "together", "unlisted"]
    assert members(h) == {"empty": [], "full": ["together", "unlisted"]}


def test_weights_of_repeated_incidences_are_added_and_attributes_merged():
    h = stored("repeated_incidences")
    assert h.num_incidences == 2 and h.by_hyperedge.value.tolist() == [2.5, 1]
    assert h.attributes.incidences == {(0, 0): {"role": "last", "year": 1999, "paid": True}}
    h = stored("repeated_incidences_without_weights")
    assert h.num_incidences == 2 and h.by_hyperedge.value is None


def test_the_last_weight_of_a_repeated_node_or_edge_holds():
    h = stored("repeated_nodes_and_edges")
    assert h.node_weight.tolist() == [2, 1] and h.hyperedge_weight.tolist() == [4]
    assert h.attributes.nodes == {0: {"a": 1, "b": 2}} and h.attributes.hyperedges == {0: {"a": 2}}


def test_what_has_no_weight_where_others_have_one_weighs_1():
    h = stored("weights")
    assert h.node_weight.tolist() == [pytest.approx(0.1), 0, 1] and h.hyperedge_weight.tolist() == [2.5, 1]
    assert h.by_hyperedge.value.tolist() == [3, 0.25, 1] and not h.attributes
    assert h.degree().tolist() == [7.5, 0.625, 1] and h.size().tolist() == [3.25, 1]


def test_weights_of_one_are_not_the_same_as_no_weights():
    h = stored("weights_that_are_all_one")
    assert h.node_weight.tolist() == h.hyperedge_weight.tolist() == h.by_hyperedge.value.tolist() == [1]
    written = hif.write(h)
    assert all(record["weight"] == 1 for part in ("nodes", "edges", "incidences") for record in written[part])
    h = stored("incidences_alone")
    assert h.node_weight is None and h.hyperedge_weight is None and h.by_hyperedge.value is None
    written = hif.write(h)
    assert not any("weight" in record for part in ("nodes", "edges", "incidences") for record in written[part])


def test_short_decimals_are_written_as_they_were():
    numbers = [0.1, 0.3, 2.7e-8, 123.456, 1e30, 16777216, 0.0]
    h = read({"incidences": [{"edge": 0, "node": v, "weight": x} for v, x in enumerate(numbers)]})
    assert not h.attributes and [record["weight"] for record in hif.write(h)["incidences"]] == numbers


def test_numbers_that_float32_cannot_hold_stand_beside_it():
    h = stored("weights_that_float32_cannot_hold")
    assert h.node_weight.tolist() == [float(np.float32(0.1234567890123)), 16777216, 0.5]
    assert h.hyperedge_weight.tolist() == [float("inf"), 0, float(np.float32(np.pi))]
    assert h.attributes.nodes == {0: {"hif:weight": 0.1234567890123}, 1: {"hif:weight": 16777217}, 2: {"a": 1}}
    assert h.attributes.hyperedges[2] == {"hif:weight": 3.141592653589793, "a": 1}
    assert h.attributes.incidences == {(0, 0): {"hif:weight": 0.1 + 0.2}, (1, 1): {"hif:weight": 10**400}}
    written = hif.write(h)
    assert [record["weight"] for record in written["nodes"]] == [0.1234567890123, 16777217, 0.5]
    assert written["edges"][2] == {"edge": 2, "weight": 3.141592653589793, "attrs": {"a": 1}}
    assert written["incidences"][1]["weight"] == 10**400


def test_a_weight_that_was_changed_is_not_written_as_it_was():
    h = stored("weights_that_float32_cannot_hold")
    changed = replace(h, hyperedge_weight=torch.tensor([1.0, 0, 2]), node_weight=None)
    written = hif.write(changed)
    assert [record["weight"] for record in written["edges"]] == [1, 1e-300, 2]
    assert written["nodes"] == [{"node": 0}, {"node": 1}, {"node": 2, "attrs": {"a": 1}}]


def test_negative_weights_are_kept():
    h = stored("negative_weights")
    assert h.node_weight.tolist() == [-1] and h.hyperedge_weight.tolist() == [-2.5]
    assert h.by_node.value.tolist() == h.by_hyperedge.value.tolist() == [pytest.approx(-0.1)]


def test_a_simplicial_complex_stays_one_and_gets_no_faces():
    h = stored("simplicial_complex")
    assert members(h) == {0: ["a", "b"], 1: ["a"], 2: ["b"]} and h.attributes.metadata == {"hif:network-type": "asc"}
    assert hif.write(h)["network-type"] == "asc" and "metadata" not in hif.write(h)


def test_directions_of_an_undirected_file_are_attributes():
    h = stored("directions_in_an_undirected_file")
    assert h.attributes.incidences == {(0, 0): {"hif:direction": "tail"}, (1, 0): {"a": 1, "hif:direction": "head"}}
    assert hif.write(h)["incidences"][1] == {"edge": 0, "node": 1, "direction": "head", "attrs": {"a": 1}}


def test_slices_and_modalities_are_attributes_of_hyperedges():
    h = stored("slices_and_modalities")
    visual = {"slice": 3, "presence": [[1814400, 2419200]], "modality": "visual", "kind": "user-interest"}
    assert h.attributes.hyperedges == {0: visual} and h.attributes.metadata == {"every": "7d"}
    assert h.attributes.nodes == {0: {"type": "user"}, 1: {"type": "user"}}


def test_attributes_named_as_ours_are_set_aside():
    h = stored("attributes_named_as_ours")
    assert h.attributes.nodes[0] == {"hif:hif:weight": 0.5, "hif:weight": 0.1234567890123}
    assert h.attributes.metadata["hif:hif:network-type"] == "asc" and h.node_ids is None
    assert h.attributes.incidences == {(0, 0): {"hif:hif:weight": 0.25, "hif:hif:direction": "head"}}


def test_attributes_keep_their_json_types():
    h = stored("attributes")
    kept = "{'none': None, 'yes': True, 'no': False, 'huge': 123456789012345678901234567890}"
    assert repr(h.attributes.hyperedges[0]) == kept
    assert h.attributes.nodes[0]["weight"] == 7 and h.node_weight is None and 1 not in h.attributes.nodes


def test_not_a_number_passes_as_in_the_validators_and_is_not_written():
    text = '{"incidences": [{"edge": 0, "node": 0, "weight": NaN}, {"edge": 0, "node": 1, "weight": -Infinity}]}'
    assert allowed(json.loads(text))
    h = read(text)
    assert h.by_hyperedge.value[0].isnan() and h.by_hyperedge.value[1] == -float("inf") and not h.attributes
    with pytest.raises(ValueError, match=r"^incidences\[0\].weight is nan, which JSON does not have"):
        hif.write(h)


# Where it comes from, where it goes


def test_a_path_text_bytes_and_a_document_say_the_same():
    path = HERE / "valid" / "weights.json"
    text = path.read_text()
    for source in (str(path), text, "\n " + text, path.read_bytes(), text.encode("utf-16"), json.loads(text)):
        assert read(source).equals(read(path))
    assert read(b"\xef\xbb\xbf" + path.read_bytes()).equals(read(path))


def test_a_document_stays_as_it_is_and_shares_no_attributes_with_the_hypergraph():
    for path in VALID:
        document = json.loads(path.read_bytes())
        before = copy.deepcopy(document)
        h = read(document)
        for attrs in (h.attributes.metadata, *h.attributes.nodes.values(), *h.attributes.incidences.values()):
            attrs["new"] = 1
        assert document == before, path
        kept = copy.deepcopy(h.attributes)
        written = hif.write(h)
        for record in written["nodes"] + written["edges"] + written["incidences"]:
            record.get("attrs", {})["newer"] = 1
        written.get("metadata", {})["newer"] = 1
        assert h.attributes == kept, path


def test_gzip_is_read_whatever_the_name_and_written_for_gz(tmp_path):
    h = stored("weights")
    hif.write(h, tmp_path / "x.hif.json.gz")
    packed = (tmp_path / "x.hif.json.gz").read_bytes()
    assert json.loads(gzip.decompress(packed)) == hif.write(h)
    (tmp_path / "plain").write_bytes(packed)
    assert read(tmp_path / "x.hif.json.gz").equals(h) and read(tmp_path / "plain").equals(h) and read(packed).equals(h)
    hif.write(h, tmp_path / "y.json.gz")
    assert (tmp_path / "y.json.gz").read_bytes() == packed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1"),
        ('{"incidences": [}', "not JSON: Expecting value: line 1 column 17"),
        (b'{"incidences": []} x', "not JSON: Extra data: line 1 column 20"),
        (b"\xff{}", "not JSON: 'utf-8' codec can't decode"),
        ("[" * 100_000, "not JSON that can be read: nested too deep"),
        ('{"incidences": [' + "9" * 5000 + "]}", "not JSON: Exceeds the limit"),
        (gzip.compress(b'{"incidences": []}', mtime=0)[:-9], "not a whole gzip file"),
        (b"\x1f\x8b\x08 and so on", "not a whole gzip file"),
        (b"\x28\xb5\x2f\xfd\x00", "packed with zstd, which Python reads from 3.14 on; unpack it first: zstd -d FILE"),
        (17, "HIF is read from a path, JSON text, bytes or a dict, got int"),
        (None, "HIF is read from a path, JSON text, bytes or a dict, got NoneType"),
    ],
)
def test_what_is_no_json_is_refused(source, message, tmp_path):
    with pytest.raises(ValueError) as refusal:
        read(source)
    assert str(refusal.value).startswith(message) and "\n" not in str(refusal.value)
    if isinstance(source, bytes):
        (tmp_path / "x.json").write_bytes(source)
        with pytest.raises(ValueError) as refusal:
            read(tmp_path / "x.json")
        assert str(refusal.value).startswith(f"{tmp_path / 'x.json'}: {message}")


def test_a_missing_file_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"nowhere.hif.json"):
        read("nowhere.hif.json")


def test_zstd_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Python packs zstd from 3.14 on; a path that ends in .gz gives gzip"):
        hif.write(stored("weights"), tmp_path / "x.json.zst")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    hif.write(stored("weights"), path)
    before = path.read_bytes()

    def refuse(source, target):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        hif.write(stored("metadata"), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_many_incidences_bring_a_warning(monkeypatch):
    h = stored("weights")
    document = hif.write(h)
    monkeypatch.setattr(hif, "MANY_INCIDENCES", 2)
    with pytest.warns(UserWarning, match="3 incidences are many for JSON, at about 30 bytes each; h.save writes"):
        hif.write(h)
    with pytest.warns(UserWarning, match="3 incidences are many for JSON"):
        read(document)
    monkeypatch.setattr(hif, "MANY_INCIDENCES", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(hif.write(h))


# What cannot be written


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (Attributes(nodes={1: {"at": (1, 2)}}), "nodes[1].attrs.at must be text, a number, true, false, None, a list"),
        (Attributes(hyperedges={0: {"x": np.ones(2)}}), "edges[0].attrs.x must be text, a number, true, false, None"),
        (Attributes(hyperedges={0: {"x": np.int64(2)}}), "edges[0].attrs.x must be text"),
        (Attributes({"x": [{"y": float("nan")}]}), "metadata.x[0].y is nan, which JSON does not have"),
        (Attributes({"x": {3: 1}}), "metadata.x.3 is under 3, and JSON has strings as keys"),
        (Attributes(incidences={(0, 0): {"x": -float("inf")}}), "incidences[0].attrs.x is -inf, which JSON does not"),
        (Attributes(incidences={(0, 2): {"x": 1}}), "incidences: there are attributes of (0, 2), which is not among"),
        (Attributes(hyperedges={4: {"hif:weight": 0.1}}), "edges: there are attributes of 4, which is not among the 4"),
        (Attributes(nodes={5: {"x": 1}}), "nodes: there are attributes of 5, which is not among the 5 of them"),
        (Attributes(hyperedges={-1: {"x": 1}}), "edges: there are attributes of -1, which is not among the 4 of them"),
        (Attributes(incidences={(0, 0): {"hif:direction": "up"}}), 'incidences[0].direction must be "head" or "tail"'),
        (
            Attributes(nodes={0: {"hif:weight": "1"}}),
            'nodes[0].attrs: names that begin with "hif:" are taken, got "hif:we',
        ),
        (Attributes(nodes={0: {"hif:direction": "head"}}), 'nodes[0].attrs: names that begin with "hif:" are taken'),
        (Attributes({"hif:node_ids": [0]}), 'metadata: names that begin with "hif:" are taken, got "hif:node_ids"'),
        (
            Attributes({"hif:network-type": "tree"}),
            'network-type must be "undirected", "directed" or "asc", got "tree"',
        ),
    ],
)
def test_attributes_that_json_would_change_or_lose_are_refused(five, attributes, message):
    with pytest.raises(ValueError) as refusal:
        hif.write(replace(five, attributes=attributes))
    assert str(refusal.value).startswith(message)


def test_attributes_nested_too_deep_are_refused(five):
    deep: list = []
    deep.append(deep)
    with pytest.raises(ValueError, match=r"metadata is nested too deep"):
        hif.write(replace(five, attributes=Attributes({"x": deep})))


def test_ids_that_are_no_ids_are_refused():
    h = Hypergraph.from_members(np.array([0, 1]), np.array([0]), None, 1, node_ids=np.array([0.5]))
    with pytest.raises(ValueError, match=r"^nodes\[0\].node must be a string or an integer, got 0.5"):
        hif.write(h)


# Hypergraphs that records alone do not show


def test_no_ids_and_ids_that_are_the_numbers_stay_apart(five):
    assert read(hif.write(five)).node_ids is None and "metadata" not in hif.write(five)
    named = replace(five, node_ids=np.arange(5))
    written = hif.write(named)
    assert written["metadata"] == {"hif:node_ids": [0, 1, 2, 3, 4]}
    assert read(written).equals(named) and not read(written).equals(five)


def test_ids_that_occur_twice_stand_in_the_metadata(five):
    twice = replace(five, hyperedge_ids=np.array(["a", "b", "a", "c"]))
    written = hif.write(twice)
    assert [record["edge"] for record in written["edges"]] == [0, 1, 2, 3]
    assert written["metadata"] == {"hif:hyperedge_ids": ["a", "b", "a", "c"]} and read(written).equals(twice)


def test_weights_of_nothing_are_kept():
    nothing = Hypergraph.from_pairs([], [], weight=[], hyperedge_weight=[])
    written = hif.write(replace(nothing, node_weight=torch.empty(0)))
    assert written["metadata"] == {"hif:node_weight": [], "hif:hyperedge_weight": [], "hif:value": []}
    h = read(written)
    assert h.equals(replace(nothing, node_weight=torch.empty(0))) and not h.attributes


@pytest.mark.parametrize("kept", [["a"], ["a", "b"], [1.0, 1], [True, True], [[], []], "ab", None])
def test_metadata_that_cannot_be_from_us_stay_metadata(kept):
    document = {"metadata": {"hif:node_ids": kept}, "incidences": [{"edge": 0, "node": 0}, {"edge": 0, "node": 1}]}
    h = read(document)
    assert h.node_ids is None and hif.write(h)["metadata"] == document["metadata"] and read(hif.write(h)).equals(h)


# At random

TEXT = st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
NAMES = (TEXT | st.sampled_from(["weight", "hif:hif:weight"])).filter(
    lambda name: name[:4] != "hif:" or name[4:8] == "hif:"
)
ATTRS = st.dictionaries(NAMES, JSON, max_size=2)
FLOAT32 = st.integers(0, 0x7F7FFFFF).map(
    lambda bits: float(np.uint32(bits).view(np.float32))
)  # every finite one from 0


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


IDS = st.sampled_from([0, 1, 2, 3.0, "0", "1", "", "a", 2**63, -(2**70), 1e300]) | TEXT
NUMBERS = (
    st.integers(-3, 3)
    | st.integers(-(2**80), 2**80)
    | st.floats(-1e300, 1e300)
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
)
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
        if document.get("network-type") != "directed":
            read(document)


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

    # it fetches the schema at each call; here it gets the one beside this file
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
