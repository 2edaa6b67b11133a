"""Files of Hypergraph.save come back equal; nothing in them is pickled, and wrong ones are refused."""

import json
import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_hypergraphs import hypergraphs_with_attributes, random_300
from hypothesis import given

from graphs import Hypergraph
from graphs.attributes import Attributes


@random_300
@given(hypergraphs_with_attributes())
def test_a_file_and_back(h):
    with tempfile.TemporaryDirectory() as folder:
        h.save(Path(folder) / "h.npz")
        assert Hypergraph.load(Path(folder) / "h.npz").equals(h)
        assert os.listdir(folder) == ["h.npz"]


def test_nothing_in_a_file_is_pickled(tmp_path):
    h = Hypergraph.from_pairs([0], [0], 2, node_ids=np.array([1, "1"], dtype=object))
    replace(h, attributes=Attributes(nodes={0: {"a": np.float64(0.5)}})).save(tmp_path / "h")
    with np.load(tmp_path / "h", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("iuf")
        assert json.loads(file["node_ids.json"].tobytes()) == [1, "1"]


@pytest.mark.parametrize(
    "attributes", [Attributes({"a": (1, 2)}), Attributes(nodes={0: {1: "a"}}), Attributes({"a": {"b": [object()]}})]
)
def test_attributes_that_json_would_change_are_not_saved(five, tmp_path, attributes):
    five.save(tmp_path / "h.npz")
    before = (tmp_path / "h.npz").read_bytes()
    with pytest.raises(ValueError, match="attributes are saved as JSON"):
        replace(five, attributes=attributes).save(tmp_path / "h.npz")
    assert (tmp_path / "h.npz").read_bytes() == before and os.listdir(tmp_path) == ["h.npz"]


EMPTY = {"metadata": {}, "nodes": [], "hyperedges": [], "incidences": []}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("node_ids", [1, 2, 3, "a", None]),
        ("node_ids", [1, 2, 3, "a", 0.5]),
        ("node_ids", [1, 2, 3, "a", True]),
        ("node_ids", [1, 2, 3, "a"]),
        ("node_ids", {"a": 1}),
        ("colour", [1]),
        ("attributes", EMPTY | {"nodes": [[5, {}]]}),
        ("attributes", EMPTY | {"nodes": [[0.5, {}]]}),
        ("attributes", EMPTY | {"hyperedges": [[-1, {}]]}),
        ("attributes", EMPTY | {"incidences": [[0, 1, {}]]}),
        ("attributes", EMPTY | {"incidences": [[0, 7, {}]]}),
        ("attributes", EMPTY | {"nodes": [[0, ["a"]]]}),
        ("attributes", EMPTY | {"colour": []}),
        ("attributes", {"metadata": {}}),
        ("attributes", [1]),
        ("attributes", "}{"),
        ("attributes", "[" * 100_000),
    ],
)
def test_a_file_with_wrong_text_is_refused(five, tmp_path, name, content):
    five.save(tmp_path / "h.npz")
    text = content if isinstance(content, str) else json.dumps(content)
    np.savez(
        tmp_path / "h.npz", **np.load(tmp_path / "h.npz"), **{f"{name}.json": np.frombuffer(text.encode(), np.uint8)}
    )
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(tmp_path / "h.npz")


@pytest.mark.parametrize(
    "change",
    [
        dict(shape=np.array([5, 9])),
        dict(indptr=np.array([1, 3, 5, 6, 6])),
        dict(indptr=np.array([0, 3, 5, 6, 5])),
        dict(indptr=np.array([0.0, 3, 5, 6, 6])),
        dict(node_weight=np.ones(4)),
        dict(node_weight=-np.ones(5)),
    ],
)
def test_a_file_with_wrong_counts_or_node_weights_is_refused(five, tmp_path, change):
    five.save(tmp_path / "h.npz")
    np.savez(tmp_path / "h.npz", **dict(np.load(tmp_path / "h.npz")) | change)
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(tmp_path / "h.npz")


def test_a_spoilt_file_is_refused_or_still_right(five, tmp_path):
    path = tmp_path / "h.npz"
    h = replace(five, attributes=Attributes({"a": 1}), node_ids=np.array([1, "1", 2, "2", ""], dtype=object))
    h.save(path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(200):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        try:
            found = Hypergraph.load(path)
        except ValueError as error:
            assert "is not a hypergraph" in str(error)
        else:
            assert (found.num_nodes, found.num_hyperedges) == (5, 4)


def test_weights_that_hif_lets_in_are_not_saved_to_be_refused_later(five, tmp_path):
    for weight in (-1.0, float("inf"), float("nan")):
        odd = replace(five, hyperedge_weight=torch.tensor([1, weight, 1, 1]))
        with pytest.raises(ValueError, match="hyperedge_weight must be finite and not negative .* to_hif"):
            odd.save(tmp_path / "h.npz")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote: .*Is a directory"):
        Hypergraph.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Hypergraph.load(tmp_path / "h.npz")


def assert_same(a: Hypergraph, b: Hypergraph) -> None:
    assert (a.num_nodes, a.num_hyperedges) == (b.num_nodes, b.num_hyperedges)
    for left, right in zip(a.by_node + a.by_hyperedge, b.by_node + b.by_hyperedge, strict=True):
        assert (left is None) == (right is None) and (left is None or torch.equal(left, right))
    assert (a.hyperedge_weight is None) == (b.hyperedge_weight is None)
    assert a.hyperedge_weight is None or torch.equal(a.hyperedge_weight, b.hyperedge_weight)
    for left, right in ((a.node_ids, b.node_ids), (a.hyperedge_ids, b.hyperedge_ids)):
        assert (left is None) == (right is None) and (left is None or np.array_equal(left, right))


@pytest.mark.parametrize("valued", [False, True])
def test_a_saved_hypergraph_comes_back_equal(random_hypergraph, tmp_path, valued):
    h = random_hypergraph(valued=valued, weighted=valued)
    h.save(tmp_path / "h.npz")
    assert_same(Hypergraph.load(tmp_path / "h.npz"), h)
    named = Hypergraph.from_pairs([0, 1], [0, 0], 3, 2, node_ids=["a", "b", "ü"], hyperedge_ids=[5, 9])
    named.save(tmp_path / "any name")
    assert_same(Hypergraph.load(tmp_path / "any name"), named)
    assert sorted(os.listdir(tmp_path)) == ["any name", "h.npz"]


@pytest.mark.parametrize(("module", "name"), [(np, "savez"), (os, "replace")])
def test_a_killed_save_leaves_the_old_file(five, tmp_path, monkeypatch, module, name):
    path = tmp_path / "h.npz"
    five.save(path)
    before = path.read_bytes()

    def killed(file, *rest, **arrays):
        if name == "savez":
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, killed)
    with pytest.raises(KeyboardInterrupt):
        Hypergraph.from_pairs([0], [0]).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["h.npz"]


@pytest.mark.parametrize(
    "change",
    [
        dict(indices=None),
        dict(colour=np.ones(3)),
        dict(indices=np.array([0, 1, 2, 2, 3, 5])),
        dict(indptr=np.array([6, 6, 5, 3, 0])),
        dict(indptr=np.array([0, 3, 5])),
        dict(shape=np.array([5, 2])),
        dict(hyperedge_weight=-np.ones(4)),
        dict(node_ids=np.array([{}] * 5, dtype=object)),
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_file_with_wrong_arrays_is_refused(five, tmp_path, change):
    path = tmp_path / "h.npz"
    five.save(path)
    arrays = dict(np.load(path)) | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(path)


@pytest.mark.parametrize("content", ["text", "nothing", "half", "array"])
def test_a_file_of_another_kind_is_refused(five, tmp_path, content):
    path = tmp_path / "h.npz"
    five.save(path)
    whole = path.read_bytes()
    path.write_bytes({"text": b"hello", "nothing": b"", "half": whole[: len(whole) // 2], "array": b""}[content])
    if content == "array":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="is not a hypergraph that Hypergraph.save wrote"):
        Hypergraph.load(path)


def test_three_hundred_damaged_files_are_read_or_refused_in_one_line(five, tmp_path):
    path, rng = tmp_path / "h.npz", np.random.default_rng(0)
    replace(five, attributes=Attributes({"a": 1}, {0: {"x": 2}})).save(path)
    whole = path.read_bytes()
    for k in range(300):
        damaged = bytearray(whole)
        at, end = sorted(rng.integers(0, len(whole), 2).tolist())
        if k % 3 == 0:
            del damaged[at:]
        elif k % 3 == 1:
            del damaged[at:end]
        else:
            damaged[at] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            Hypergraph.load(path)
        except ValueError as refusal:
            assert str(refusal).startswith(f"{path} is not a hypergraph") and "\n" not in str(refusal)
