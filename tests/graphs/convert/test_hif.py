"""HIF: every detail of a document is read and written, and what cannot be written is refused."""

import copy
import gzip
import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hif_documents import (
    HERE,
    VALID,
    allowed,
    members,
    read,
    stored,
)

from graphs import Hypergraph
from graphs.attributes import Attributes
from graphs.convert import hif

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


def test_records_of_one_node_or_edge_complete_each_other():
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
    assert h.hyperedge_weight.tolist() == [16777220, 0, float(np.float32(np.pi))]
    assert h.attributes.nodes == {0: {"hif:weight": 0.1234567890123}, 1: {"hif:weight": 16777217}, 2: {"a": 1}}
    assert h.attributes.hyperedges[2] == {"hif:weight": 3.141592653589793, "a": 1}
    assert h.attributes.incidences == {(0, 0): {"hif:weight": 0.1 + 0.2}, (1, 1): {"hif:weight": 10**30 + 1}}
    written = hif.write(h)
    assert [record["weight"] for record in written["nodes"]] == [0.1234567890123, 16777217, 0.5]
    assert written["edges"][2] == {"edge": 2, "weight": 3.141592653589793, "attrs": {"a": 1}}
    assert written["incidences"][1]["weight"] == 10**30 + 1


def test_a_weight_that_was_changed_is_not_written_as_it_was():
    h = stored("weights_that_float32_cannot_hold")
    changed = replace(h, hyperedge_weight=torch.tensor([1.0, 0, 2]), node_weight=None)
    written = hif.write(changed)
    assert [record["weight"] for record in written["edges"]] == [1, 1e-300, 2]
    assert written["nodes"] == [{"node": 0}, {"node": 1}, {"node": 2, "attrs": {"a": 1}}]


@pytest.mark.parametrize("weight", ["-1", "1e400", "NaN", "-Infinity", "1e39", "9" * 400, "-0.001"])
@pytest.mark.parametrize("part", ["nodes", "edges", "incidences"])
def test_weights_that_no_hypergraph_has_are_refused_by_naming_the_record(part, weight, tmp_path):
    ids = {"nodes": '"node": 0', "edges": '"edge": 0', "incidences": '"node": 0, "edge": 0'}
    records = {
        name: f"{{{text}{f', {chr(34)}weight{chr(34)}: {weight}' * (name == part)}}}" for name, text in ids.items()
    }
    text = "{" + ", ".join(f'"{name}": [{record}]' for name, record in records.items()) + "}"
    (tmp_path / "x.json").write_text(text)
    for source, where in ((text, ""), (tmp_path / "x.json", f"{tmp_path / 'x.json'}: ")):
        with pytest.raises(ValueError) as refusal:
            read(source)
        said = f"{where}{part}[0].weight must be a finite number from 0 to 3.403e+38, got "
        assert str(refusal.value).startswith(said) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"nodes": [{"node": "a", "weight": 1}, {"node": "a", "weight": 2}]}, "nodes[1] records node 'a' again with "
         "another weight: 1, then 2"),
        ({"edges": [{"edge": 7, "attrs": {"x": 1}}, {"edge": 7.0, "attrs": {"y": 1, "x": 2}}]}, "edges[1] records edge "
         "7.0 again with another x: 1, then 2"),
        ({"incidences": [{"node": 0, "edge": 1, "direction": "head"}, {"node": 0, "edge": 1, "direction": "tail"}]},
         "incidences[1] records node 0 and edge 1 again with another hif:direction: 'head', then 'tail'"),
        ({"incidences": [{"node": 0, "edge": 1, "weight": 3e38}, {"node": 0, "edge": 1, "weight": 3e38}]},
         "the weights of incidences[1] and earlier records of it add up to 6e+38"),
    ],
)  # fmt: skip
def test_records_that_contradict_each_other_are_refused(parts, message):
    with pytest.raises(ValueError) as refusal:
        read({"incidences": []} | parts)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "text", ['{"node": 0, "edge": 0, "node": 1}', '{"node": 0, "edge": 0, "attrs": {"x": 1, "x": 1}}']
)
def test_a_key_that_is_twice_in_a_record_is_refused(text):
    with pytest.raises(ValueError, match=r'the key "(node|x)" is twice in \{.*"(node|x)": 1\}'):
        read('{"incidences": [' + text + "]}")


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


def test_not_a_number_passes_in_attributes_as_in_the_validators_and_is_not_written():
    text = '{"incidences": [{"edge": 0, "node": 0, "attrs": {"x": NaN}}]}'
    assert allowed(json.loads(text))
    h = read(text)
    assert h.attributes.incidences[0, 0]["x"] != h.attributes.incidences[0, 0]["x"]
    with pytest.raises(ValueError, match=r"^incidences\[0\].attrs.x is nan, which JSON does not have"):
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


def test_a_missing_file_is_an_error(tmp_path):
    for folder in (tmp_path, ""):
        with pytest.raises(ValueError, match="a folder, where the path of a HIF file is needed"):
            read(folder)
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


def test_hif_is_one_of_the_conversions(five, tmp_path):
    document = five.to_hif(tmp_path / "h.json")
    assert json.loads((tmp_path / "h.json").read_text()) == document
    for source in (document, tmp_path / "h.json", (tmp_path / "h.json").read_bytes()):
        assert Hypergraph.from_hif(source).equals(five)
