"""Hypergraphs to and from records, exactly: names and dicts, as networkx, XGI and HyperNetX have them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from graphs.attributes import Attributes
from graphs.incidence import AnyIncidence, Incidence

Name = int | str
LARGEST = float(np.finfo(np.float32).max)
FIELDS, ID = "hypergraph_fields", "hypergraph_id"
TAKEN = re.compile(r"_*(weight|bipartite|hypergraph_\w+)")
"""Names of entries with a meaning here. An attribute of such a name gets one more underscore at its front."""


@dataclass(frozen=True)
class Records:
    """A hypergraph as dicts of entries: of itself, of nodes and hyperedges by name, and of incidences.

    Names are the caller's ids. They are numbers from 0 if there are no ids, if an id occurs twice, or if an id contains
    a NUL; then the entry `hypergraph_id` is the id. The entry `weight` is w_e, the weight of a node, or h(v, e). All
    other entries are attributes.
    """

    metadata: dict
    """Of the hypergraph; its entry `hypergraph_fields` lists the weights and ids that it has."""
    nodes: dict[Name, dict]
    hyperedges: dict[Name, dict]
    incidences: list[tuple[Name, Name, dict]]
    """(node, hyperedge, entries), hyperedge after hyperedge."""

    def members(self) -> dict[Name, list[Name]]:
        """List the nodes of each hyperedge."""
        members: dict[Name, list[Name]] = {hyperedge: [] for hyperedge in self.hyperedges}
        for node, hyperedge, _ in self.incidences:
            members[hyperedge].append(node)
        return members


def write(h: Incidence) -> Records:
    """Make the records of a hypergraph; all dicts are new."""
    nodes = _records(h.node_ids, h.num_nodes, h.node_weight, h.attributes.nodes)
    hyperedges = _records(h.hyperedge_ids, h.num_hyperedges, h.hyperedge_weight, h.attributes.hyperedges)
    indptr, indices, value = h.numpy_members()
    numbers = np.repeat(np.arange(h.num_hyperedges), np.diff(indptr))
    node_names, hyperedge_names = list(nodes), list(hyperedges)
    incidences = []
    for v, e, weight in zip(indices.tolist(), numbers.tolist(), _listed(value, len(indices)), strict=True):
        record = _entries_of(h.attributes.incidences.get((v, e), {})) | ({} if weight is None else {"weight": weight})
        incidences.append((node_names[v], hyperedge_names[e], record))
    metadata = _entries_of(h.attributes.metadata)
    given = {
        "node_ids": h.node_ids,
        "hyperedge_ids": h.hyperedge_ids,
        "value": value,
        "hyperedge_weight": h.hyperedge_weight,
        "node_weight": h.node_weight,
    }
    if fields := [name for name, field in given.items() if field is not None]:
        metadata[FIELDS] = fields
    return Records(metadata, nodes, hyperedges, incidences)


def read(cls: type[AnyIncidence], records: Records) -> AnyIncidence:
    """Make the hypergraph of records.

    If some records of a kind have an entry `weight`, a record without one has weight 1. Equal incidences are one: their
    weights are added, and without weights they count once.

    Raises:
        ValueError: a name that is no integer or string, a weight that is no finite number from 0, equal incidences
            with different attributes.
    """
    metadata = dict(records.metadata)
    fields = metadata.pop(FIELDS, ())
    node_number = {name: number for number, name in enumerate(records.nodes)}
    hyperedge_number = {name: number for number, name in enumerate(records.hyperedges)}
    nodes = [node_number[v] for v, _, _ in records.incidences]
    hyperedges = [hyperedge_number[e] for _, e, _ in records.incidences]
    entries = [record for _, _, record in records.incidences]
    h = cls.from_pairs(
        nodes,
        hyperedges,
        len(node_number),
        len(hyperedge_number),
        weight=_weights("incidence", [(v, e) for v, e, _ in records.incidences], entries, "value" in fields),
        hyperedge_weight=_weights(
            "hyperedge", list(records.hyperedges), records.hyperedges.values(), "hyperedge_weight" in fields
        ),
        node_ids=_ids("node", records.nodes, "node_ids" in fields),
        hyperedge_ids=_ids("hyperedge", records.hyperedges, "hyperedge_ids" in fields),
    )
    node_weight = _weights("node", list(records.nodes), records.nodes.values(), "node_weight" in fields)
    attributes = Attributes(
        _attributes_of(metadata),
        {v: _attributes_of(record, "weight", ID) for v, record in enumerate(records.nodes.values())},
        {e: _attributes_of(record, "weight", ID) for e, record in enumerate(records.hyperedges.values())},
        _incidence_attributes(records, nodes, hyperedges),
    )
    return replace(h, node_weight=None if node_weight is None else torch.from_numpy(node_weight), attributes=attributes)


def name_array(kind: str, names: Iterable) -> np.ndarray:
    """Make an array of names, as `from_pairs` takes ids: of integers, or else of objects, so that 1 and "1" differ.

    Raises:
        ValueError: a name that is neither an integer nor a string.
    """
    ids: list[Name] = []
    for name in names:
        if isinstance(name, bool | np.bool_) or not isinstance(name, int | np.integer | str):
            raise ValueError(f"{kind}s must be named by integers or strings, got {name!r}")
        ids.append(str(name) if isinstance(name, str) else int(name))
    if any(isinstance(name, str) for name in ids):
        return np.array(ids, dtype=object)
    try:
        return np.array(ids, dtype=np.int64 if ids else None)
    except OverflowError:
        return np.array(ids, dtype=np.uint64 if min(ids) >= 0 and max(ids) < 2**64 else object)


def _entries_of(attributes: dict) -> dict:
    """Return attributes as entries of a record: a name with a meaning gets one more underscore at its front."""
    return {f"_{name}" if _taken(name) else name: value for name, value in attributes.items()}


def _attributes_of(record: dict, *others: str) -> dict:
    """Return the attributes among the entries of a record, under their own names; `others` are no attributes."""
    plain = {name: value for name, value in record.items() if name not in others}
    return {name[1:] if _taken(name) and name[0] == "_" else name: value for name, value in plain.items()}


def _taken(name: object) -> bool:
    return isinstance(name, str) and TAKEN.fullmatch(name) is not None


def _records(
    ids: np.ndarray | None, count: int, weight: Tensor | None, attributes: dict[int, dict]
) -> dict[Name, dict]:
    numbers = list(range(count))
    ids = None if ids is None else ids.tolist()
    named = ids is not None and len(set(ids)) == count and not any("\0" in str(i) for i in ids)  # pandas stops at NUL
    records = {}
    for number, w in zip(numbers, _listed(weight, count), strict=True):
        record = _entries_of(attributes.get(number, {}))
        if ids is not None and not named:
            record[ID] = ids[number]
        if w is not None:
            record["weight"] = w
        records[ids[number] if named else number] = record
    return records


def _listed(weight: np.ndarray | Tensor | None, count: int) -> list[float | None]:
    return [None] * count if weight is None else weight.tolist()


def _ids(kind: str, records: dict[Name, dict], given: bool) -> np.ndarray | None:
    ids = name_array(kind, [record.get(ID, name) for name, record in records.items()])
    given = given or any(ID in record for record in records.values())
    return ids if given or ids.tolist() != list(range(len(ids))) else None


def _weights(kind: str, names: list, records: Iterable[dict], given: bool) -> np.ndarray | None:
    records = list(records)
    if not given and not any("weight" in record for record in records):
        return None
    weights = np.ones(len(records), dtype=np.float32)
    for i, record in enumerate(records):
        weight = record.get("weight", 1)
        if isinstance(weight, Real | np.bool_) and 0 <= weight <= LARGEST:
            weights[i] = weight
        else:
            raise ValueError(
                f"the weight of {kind} {names[i]!r} must be a finite number and not negative, got {weight!r}"
            )
    return weights


def _incidence_attributes(records: Records, nodes: list[int], hyperedges: list[int]) -> dict[tuple[int, int], dict]:
    by_place: dict[tuple[int, int], dict] = {}
    for v, e, (node, hyperedge, record) in zip(nodes, hyperedges, records.incidences, strict=True):
        attributes = _attributes_of(record, "weight")
        if by_place.setdefault((v, e), attributes) != attributes:
            raise ValueError(
                f"node {node!r} is in hyperedge {hyperedge!r} more than once, with different attributes: "
                f"{by_place[v, e]} and {attributes}"
            )
    return by_place
