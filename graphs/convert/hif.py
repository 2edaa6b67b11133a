"""Hypergraphs to and from HIF JSON, the Hypergraph Interchange Format (github.com/HIF-org/HIF-standard, schema 0.1).

Parts of a document, and their places in a Hypergraph h:

    "nodes", "edges"                    the nodes and hyperedges, numbered in the order in which the file names them
    "incidences"                        the members
    their "weight"                      h.node_weight, h.hyperedge_weight, the values of the incidences
    their "attrs"                       h.attributes.nodes, .hyperedges, .incidences
    "metadata"                          h.attributes.metadata
    a weight that float32 rounds        "hif:weight" in those attributes; h has it rounded, the next file has it exactly
    "direction" of an incidence         "hif:direction" in its attributes
    "network-type": "asc"               "hif:network-type" in h.attributes.metadata; no faces are added

A weight is a finite number from 0, which float32 can hold. A "hif:weight" counts while h has it rounded; a weight that
was changed since is written as it is. Other names that begin with "hif:" are refused in h. A document's own names of
this kind get a second "hif:" at their front while they are in h.

Time slices and modalities are attributes of hyperedges and are kept as they are. For other readers, write

    {"slice": 3, "presence": [[start, end]], "modality": "visual", "kind": "user-interest"}

on a hyperedge, where `presence` has half-open spans in seconds since 1970 (the word is from HIF-standard issue 44).
Write {"type": "user"} or {"type": "item"} on a node, and facts about the whole hypergraph in the metadata.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from graphs.atomic import replaced
from graphs.attributes import Attributes
from graphs.convert.hif_schema import check, is_number
from graphs.incidence import AnyIncidence, Incidence

MANY_INCIDENCES = 5_000_000
LONG_STRINGS = 2**28  # characters; numpy pads every string to the longest, so one long id would take gigabytes
LARGEST = float(np.finfo(np.float32).max)  # its shortest decimal number is slightly above it
MINE, WEIGHT, DIRECTION, NETWORK_TYPE = "hif:", "hif:weight", "hif:direction", "hif:network-type"


def read(cls: type[AnyIncidence], source: str | os.PathLike | bytes | dict) -> AnyIncidence:
    """Read a hypergraph from a file, JSON text, bytes or a parsed document.

    Records that name the same node, edge or incidence are one. They must not contradict each other; weights of an
    incidence are added as in `from_pairs`. If some records of a kind have a weight, a record without one has weight 1.
    Ids that are the numbers 0, 1, 2, ... are not stored.

    Args:
        cls: the class to make, `Hypergraph`.
        source: a path, packed with gzip or not; text that begins with { (other text is a path); bytes; or a dict, which
            is not changed. Numbers are read as Python's json does: NaN passes in attributes.

    Returns:
        The hypergraph, on the CPU.

    Raises:
        ValueError: the source is not JSON, breaks the schema (see `check`), is directed, or is packed with zstd; a key
            is in an object twice; records of one thing contradict each other; a weight that is no finite number from 0.
    """
    try:
        document = _parse(source)
        check(document)
        if document.get("network-type") == "directed":
            raise ValueError(
                'network-type is "directed", and a Hypergraph has no directions; change it to "undirected" to read the '
                f'members, with the directions as attributes "{DIRECTION}"'
            )
        for part in ("nodes", "edges", "incidences"):
            _check_weights(part, document.get(part, []))
    except ValueError as error:
        raise ValueError(f"{os.fspath(source)}: {error}" if _is_path(source) else str(error)) from None
    nodes, edges, incidences = (document.get(part, []) for part in ("nodes", "edges", "incidences"))
    _warn(len(incidences))
    node_ids, node_of, member = _number([r["node"] for r in nodes], [r["node"] for r in incidences])
    hyperedge_ids, hyperedge_of, owner = _number([r["edge"] for r in edges], [r["edge"] for r in incidences])
    key, place = np.unique(owner * max(len(node_ids), 1) + member, return_inverse=True)
    hyperedge, node = np.divmod(key, max(len(node_ids), 1))
    try:
        node_weight, node_attributes = _merge("nodes", nodes, node_of, len(node_ids))
        hyperedge_weight, hyperedge_attributes = _merge("edges", edges, hyperedge_of, len(hyperedge_ids))
        value, attributes = _merge("incidences", incidences, place, len(key))
    except ValueError as error:
        raise ValueError(f"{os.fspath(source)}: {error}" if _is_path(source) else str(error)) from None
    metadata = dict(document.get("metadata", {}))
    h = cls.from_members(
        np.searchsorted(hyperedge, np.arange(len(hyperedge_ids) + 1)),
        node,
        _weights_of_none(metadata, "value", value, len(key)),
        len(node_ids),
        hyperedge_weight=_weights_of_none(metadata, "hyperedge_weight", hyperedge_weight, len(hyperedge_ids)),
        node_ids=_ids(metadata, "node_ids", node_ids),
        hyperedge_ids=_ids(metadata, "hyperedge_ids", hyperedge_ids),
    )
    node_weight = _weights_of_none(metadata, "node_weight", node_weight, len(node_ids))
    metadata = _renamed(metadata)
    if document.get("network-type") == "asc":
        metadata[NETWORK_TYPE] = "asc"
    incidence_attributes = {(int(node[k]), int(hyperedge[k])): attrs for k, attrs in attributes.items()}
    return replace(
        h,
        node_weight=None if node_weight is None else torch.from_numpy(node_weight),
        attributes=Attributes(metadata, node_attributes, hyperedge_attributes, incidence_attributes),
    )


def write(h: Incidence, path: str | os.PathLike | None = None) -> dict:
    """Write a hypergraph as a HIF document; `read` makes an equal hypergraph of it.

    Nodes, edges and incidences are listed in the order of their numbers. The metadata has what the records cannot show:
    "hif:node_ids" and "hif:hyperedge_ids" if ids occur twice or are the numbers themselves (the records then have the
    numbers), and empty lists for weights of no nodes, hyperedges or incidences.

    Args:
        h: the hypergraph.
        path: the file of the JSON, packed if the path ends in .gz; it appears complete or not at all. None writes no
            file.

    Returns:
        The document.

    Raises:
        ValueError: weights or attributes that are not JSON (NaN, a tuple), attributes of unknown numbers, a .zst path.
    """
    if path is not None and Path(path).suffix == ".zst":
        raise ValueError(f"{os.fspath(path)}: Python packs zstd from 3.14 on; a path that ends in .gz gives gzip")
    _warn(h.num_incidences)
    indptr, indices, value = h.numpy_members()
    node_weight = None if h.node_weight is None else h.node_weight.cpu().numpy()
    hyperedge_weight = None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy()
    kept = {}
    for name, weight in (("node_weight", node_weight), ("hyperedge_weight", hyperedge_weight), ("value", value)):
        if weight is not None and not len(weight):
            kept[MINE + name] = []
    node_ids = _record_ids(kept, "node_ids", h.node_ids, h.num_nodes)
    hyperedge_ids = _record_ids(kept, "hyperedge_ids", h.hyperedge_ids, h.num_hyperedges)
    pairs = list(zip(indices.tolist(), np.repeat(np.arange(h.num_hyperedges), np.diff(indptr)).tolist(), strict=True))
    place = dict(zip(pairs, range(len(pairs)), strict=True)) if h.attributes.incidences else {}
    nodes = [{"node": i} for i in node_ids]
    edges = [{"edge": i} for i in hyperedge_ids]
    incidences = [{"edge": hyperedge_ids[e], "node": node_ids[v]} for v, e in pairs]
    _complete("nodes", nodes, node_weight, h.attributes.nodes)
    _complete("edges", edges, hyperedge_weight, h.attributes.hyperedges)
    _complete("incidences", incidences, value, {place.get(p, p): a for p, a in h.attributes.incidences.items()})
    metadata = {**_own("metadata", h.attributes.metadata, NETWORK_TYPE), **kept}
    document = {"network-type": h.attributes.metadata.get(NETWORK_TYPE, "undirected")}
    document |= {"metadata": metadata} if metadata else {}
    document |= {"nodes": nodes, "edges": edges, "incidences": incidences}
    check(document)
    if path is not None:
        data = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        with replaced(path) as part:
            part.write_bytes(gzip.compress(data, compresslevel=6, mtime=0) if Path(path).suffix == ".gz" else data)
    return document


def _is_path(source: object) -> bool:
    return isinstance(source, os.PathLike) or (isinstance(source, str) and not source.lstrip().startswith(("{", "[")))


def _parse(source: object) -> object:
    if isinstance(source, dict):
        return source
    if _is_path(source):
        if Path(source).is_dir():
            raise ValueError("a folder, where the path of a HIF file is needed")
        source = Path(source).read_bytes()
    if not isinstance(source, str | bytes):
        raise ValueError(f"HIF is read from a path, JSON text, bytes or a dict, got {type(source).__name__}")
    if source[:4] == b"\x28\xb5\x2f\xfd":
        raise ValueError("packed with zstd, which Python reads from 3.14 on; unpack it first: zstd -d FILE")
    try:
        text = gzip.decompress(source) if source[:2] == b"\x1f\x8b" else source
        return json.loads(text, object_pairs_hook=_object)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole gzip file: {error}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: nested too deep") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict:
    """Return a JSON object as a dict; refuse one that has a key twice, of which json would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        shown = ", ".join(f"{json.dumps(key)}: {json.dumps(value)[:40]}" for key, value in pairs)
        raise ValueError(f"the key {json.dumps(twice)} is twice in {{{shown[:200]}}}")
    return found


def _check_weights(part: str, records: list[dict]) -> None:
    """Refuse a weight that no hypergraph has."""
    for i, record in enumerate(records):
        if "weight" in record and not 0 <= record["weight"] <= LARGEST * (1 + 1e-8):
            shown = str(record["weight"])[:40]
            raise ValueError(f"{part}[{i}].weight must be a finite number from 0 to {LARGEST:.4g}, got {shown}")


def _number(*mentions: list) -> tuple[list, np.ndarray, ...]:
    """Number ids in the order of their first mention; return the distinct ids, then the numbers of each list."""
    ids = dict.fromkeys(chain(*mentions))
    number = dict(zip(ids, range(len(ids)), strict=True))
    numbers = [np.fromiter(map(number.__getitem__, mention), np.int64, len(mention)) for mention in mentions]
    return [int(i) if isinstance(i, float) else i for i in ids], *numbers


def _merge(part: str, records: list[dict], place: np.ndarray, count: int) -> tuple[np.ndarray | None, dict[int, dict]]:
    """Collect weights, [count] (None if no record has one), and attributes by place; record k has place[k].

    Raises:
        ValueError: records of one place that contradict each other.
    """
    places = place.tolist()
    attributes: dict[int, dict] = {}
    stated: dict[int, int | float] = {}
    for i, (k, record) in enumerate(zip(places, records, strict=True)):
        said = _renamed(record.get("attrs", {}))
        if "direction" in record:
            said[DIRECTION] = record["direction"]
        if said:
            known = attributes.setdefault(k, said)
            for name, value in said.items() if known is not said else ():
                if known.setdefault(name, value) != value:
                    raise ValueError(_contradiction(part, i, record, name, known[name], value))
        if "weight" in record:
            number = record["weight"]
            if k not in stated:
                stated[k] = number
            elif part == "incidences":
                stated[k] = float(stated[k]) + float(number)
                if stated[k] > LARGEST:
                    raise ValueError(f"the weights of {part}[{i}] and earlier records of it add up to {stated[k]:.4g}")
            elif stated[k] != number:
                raise ValueError(_contradiction(part, i, record, "weight", stated[k], number))
    if not stated:
        return None, attributes
    numbers = [stated.get(k, 1) for k in range(count)]
    weight = _float32(numbers)
    for k, (number, shown) in enumerate(zip(numbers, _decimals(weight), strict=True)):
        if number != shown and number == number:
            attributes.setdefault(k, {})[WEIGHT] = number
    return weight, attributes


def _contradiction(part: str, i: int, record: dict, name: str, before: object, now: object) -> str:
    thing = " and ".join(f"{key} {record[key]!r:.60}" for key in ("node", "edge") if key in record)
    return f"{part}[{i}] records {thing} again with another {name}: {before!r:.60}, then {now!r:.60}"


def _complete(part: str, records: list[dict], weight: np.ndarray | None, attributes: Mapping[object, dict]) -> None:
    """Give records their weights, directions and attributes; attributes are by place."""
    for k in attributes:
        if not isinstance(k, int | np.integer) or not 0 <= k < len(records):
            raise ValueError(f"{part}: there are attributes of {k}, which is not among the {len(records)} of them")
    if weight is not None:
        for record, number in zip(records, _decimals(weight), strict=True):
            record["weight"] = number
        exact = {k: a[WEIGHT] for k, a in attributes.items() if is_number(a.get(WEIGHT))}
        for (k, number), own in zip(exact.items(), _float32(exact.values()), strict=True):
            if own == weight[k]:  # false for a weight that was changed since
                records[k]["weight"] = number
        for k in np.flatnonzero(~np.isfinite(weight)):
            _check_json(f"{part}[{k}].weight", records[k]["weight"])
    for k, attrs in attributes.items():
        elsewhere = [WEIGHT] if is_number(attrs.get(WEIGHT)) else []
        if part == "incidences" and DIRECTION in attrs:
            records[k]["direction"] = attrs[DIRECTION]
            elsewhere.append(DIRECTION)
        if own := _own(f"{part}[{k}].attrs", attrs, *elsewhere):
            records[k]["attrs"] = own


def _renamed(attrs: Mapping) -> dict:
    """Return a document's attributes as h has them: a name that begins with "hif:" gets another one at its front."""
    return {MINE + name if str(name).startswith(MINE) else name: a for name, a in attrs.items()}


def _own(where: str, attrs: Mapping, *elsewhere: str) -> dict:
    """Return the attributes of h as a document has them, without those that have another place in it."""
    own = {name: a for name, a in attrs.items() if name not in elsewhere}
    if own:
        _check_json(where, own)
    for name in own:
        if name.startswith(MINE) and not name.startswith(MINE + MINE):
            raise ValueError(f'{where}: names that begin with "{MINE}" are taken, got "{name}"; see graphs.convert.hif')
    return {name.removeprefix(MINE) if name.startswith(MINE) else name: a for name, a in own.items()}


def _check_json(where: str, value: object) -> None:
    try:
        fault = _fault(value)
    except RecursionError:
        fault = " is nested too deep"
    if fault:
        raise ValueError(f"{where}{fault}")


def _fault(value: object) -> str | None:
    """Say why JSON would not give this value back unchanged; None if it would."""
    if isinstance(value, dict):
        for key, part in value.items():
            fault = _fault(part) if isinstance(key, str) else f" is under {key!r}, and JSON has strings as keys"
            if fault:
                return f".{key}{fault}"
    elif isinstance(value, list):
        for i, part in enumerate(value):
            if fault := _fault(part):
                return f"[{i}]{fault}"
    elif isinstance(value, float) and not math.isfinite(value):
        return f" is {value}, which JSON does not have; None would do"
    elif not (value is None or isinstance(value, str | int | float)):
        return f" must be text, a number, true, false, None, a list or a dict, got {type(value).__name__}"
    return None


def _double(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _float32(numbers: Iterable[int | float]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array([_double(number) for number in numbers], dtype=np.float64).astype(np.float32)


def _decimals(weight: np.ndarray) -> list[float]:
    """Return the shortest decimal number of each float32: 0.1, not 0.10000000149011612."""
    return weight.astype(str).astype(np.float64).tolist()


def _ids(metadata: dict, name: str, ids: list) -> np.ndarray | None:
    """Return ids as an array; None for the numbers themselves, unless the metadata has other ids for them."""
    if ids == list(range(len(ids))):
        ids = _taken(metadata, name, len(ids))
        if ids is None:
            return None
    types = set(map(type, ids))
    if types <= {int} and all(-(2**63) <= i < 2**63 for i in ids):
        return np.array(ids, dtype=np.int64)
    if types == {int} and all(0 <= i < 2**64 for i in ids):
        return np.array(ids, dtype=np.uint64)
    if types == {str} and len(ids) * max(map(len, ids)) < LONG_STRINGS and not any(i.endswith("\0") for i in ids):
        return np.array(ids)
    array = np.empty(len(ids), dtype=object)
    array[:] = ids
    return array


def _record_ids(kept: dict, name: str, ids: np.ndarray | None, count: int) -> list:
    """Return ids for the records: the numbers if the caller's ids are not distinct or equal the numbers."""
    numbers = list(range(count))
    own = numbers if ids is None else ids.tolist()
    if ids is None or (len(set(own)) == count and own != numbers):
        return own
    kept[MINE + name] = own
    return numbers


def _weights_of_none(metadata: dict, name: str, weight: np.ndarray | None, count: int) -> np.ndarray | None:
    """Return weights: an empty array instead of None if there is nothing to weigh and the metadata says so."""
    if weight is None and not count and _taken(metadata, name, 0) is not None:
        return np.empty(0, dtype=np.float32)
    return weight


def _taken(metadata: dict, name: str, length: int) -> list | None:
    """Take out of the metadata what `write` kept there; None if nothing there can be from it."""
    kept = metadata.get(MINE + name)
    if not isinstance(kept, list) or len(kept) != length or not set(map(type, kept)) <= {int, str}:
        return None
    return metadata.pop(MINE + name) if kept == list(range(length)) or len(set(kept)) < length else None


def _warn(num_incidences: int) -> None:
    if num_incidences > MANY_INCIDENCES:
        warnings.warn(
            f"{num_incidences} incidences are many for JSON, at about 30 bytes each; h.save writes a smaller file, "
            "which is faster to read",
            stacklevel=4,
        )
