"""Documents of HIF for its tests: our own files, the official schema with two validators, and their content."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from graphs import Hypergraph
from graphs.convert import hif

jsonschema = pytest.importorskip("jsonschema", reason="files not checked against the official schema")
fastjsonschema = pytest.importorskip("fastjsonschema", reason="files not checked against the official schema")

HERE = Path(__file__).parent / "hif"
VALID, INVALID = sorted(HERE.glob("valid/*.json")), sorted(HERE.glob("invalid/*.json"))
SCHEMA = json.loads((HERE / "schema.json").read_text())
DIRECTED = {"network-type": "directed", "incidences": [{"edge": 0, "node": 0, "direction": "tail"}]}


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


def contradicts(document: dict) -> bool:
    """Whether records of one thing contradict each other or a weight is impossible, by slow loops."""
    for part, names in (("nodes", ["node"]), ("edges", ["edge"]), ("incidences", ["edge", "node"])):
        said: dict[tuple, dict] = {}
        for record in document.get(part, []):
            own = said.setdefault(tuple((type(record[n]) is str, record[n]) for n in names), {})
            weight = record.get("weight", 0)
            entries = {("attrs", name): value for name, value in record.get("attrs", {}).items()}
            entries |= {"direction": record["direction"]} if "direction" in record else {}
            if part == "incidences":
                weight = own["weight"] = own.get("weight", 0.0) + weight
            elif "weight" in record:
                entries["weight"] = weight
            if not 0 <= weight <= np.finfo(np.float32).max or record.get("weight", 0) < 0:
                return True
            if any(own.setdefault(name, value) != value for name, value in entries.items()):
                return True
    return False


def members(h: Hypergraph) -> dict:
    """Members of each hyperedge by the caller's ids."""
    nodes = range(h.num_nodes) if h.node_ids is None else h.node_ids.tolist()
    hyperedges = range(h.num_hyperedges) if h.hyperedge_ids is None else h.hyperedge_ids.tolist()
    return {i: [nodes[v] for v in h.members(e).tolist()] for e, i in enumerate(hyperedges)}


# Values of attributes

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
