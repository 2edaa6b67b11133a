"""Hypergraphs and links to and from one .npz file of plain arrays and JSON text: nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from operator import index
from typing import TypeVar

import numpy as np

from graphs.atomic import replaced
from graphs.attributes import Attributes
from graphs.incidence import AnyIncidence, Incidence

T = TypeVar("T")
JSON = ".json"
"""Ends the name of an array whose bytes are JSON text."""
UNREADABLE = (
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,  # an array that claims to be huge
    RuntimeError,  # also RecursionError, NotImplementedError, and what zipfile says of an encrypted file
    SyntaxError,  # a damaged header
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def write(h: Incidence, path: str | os.PathLike) -> None:
    """Write one .npz file; see `Hypergraph.save`."""
    indptr, indices, value = h.numpy_members()
    arrays = {
        "shape": np.array([h.num_nodes, h.num_hyperedges]),
        "indptr": indptr,
        "indices": indices,
        "value": value,
        "hyperedge_weight": None if h.hyperedge_weight is None else h.hyperedge_weight.cpu().numpy(),
        "node_weight": None if h.node_weight is None else h.node_weight.cpu().numpy(),
        "attributes" + JSON: _text(_lists(h.attributes)) if h.attributes else None,
    }
    for name, ids in (("node_ids", h.node_ids), ("hyperedge_ids", h.hyperedge_ids)):
        arrays |= _ids(name, ids)
    for name in ("value", "hyperedge_weight", "node_weight"):
        weight = arrays[name]
        if weight is not None and not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(
                f"{name} must be finite and not negative to be saved; to_hif keeps what a HIF file brought"
            )
    _write(path, arrays)


def read(cls: type[AnyIncidence], path: str | os.PathLike) -> AnyIncidence:
    """Read a file of `write`; see `Hypergraph.load`."""
    try:
        arrays = _read(path)
        num_nodes, num_hyperedges = (int(n) for n in arrays.pop("shape"))
        indptr, nodes = arrays.pop("indptr"), arrays.pop("indices")
        if len(indptr) != num_hyperedges + 1 or indptr[0] != 0 or indptr[-1] != len(nodes):
            raise ValueError(f"indptr does not split {len(nodes)} incidences into {num_hyperedges} hyperedges")
        value, attributes = arrays.pop("value", None), arrays.pop("attributes", None)
        hyperedges = np.repeat(np.arange(num_hyperedges), np.diff(indptr))
        h = cls.from_pairs(nodes, hyperedges, num_nodes, num_hyperedges, value, **arrays)
        return h if attributes is None else replace(h, attributes=_attributes(attributes, h))
    except (FileNotFoundError, PermissionError):
        raise
    except (*UNREADABLE, OSError) as error:  # a damaged directory of the archive asks for impossible places
        raise ValueError(f"{path} is not a hypergraph that Hypergraph.save wrote: {error}") from error


def write_links(arrays: dict[str, np.ndarray | None], facts: dict, path: str | os.PathLike) -> None:
    """Write the arrays of links and their facts, plain numbers and text, to one .npz file; see `Links.save`."""
    ids = {name: arrays.pop(name) for name in ("node_ids", "hyperedge_ids")}
    for name, array in ids.items():
        arrays |= _ids(name, array)
    _write(path, arrays | {"facts" + JSON: _text(facts)})


def read_links(path: str | os.PathLike, make: Callable[[dict, dict], T]) -> T:
    """Read a file of `write_links`, check that its arrays are sorted rows, and return `make(arrays, facts)`."""
    try:
        arrays = _read(path)
        indptr, indices, value = (arrays[name] for name in ("indptr", "indices", "value"))
        types = [array.dtype.name for array in (indptr, indices, value)]
        if types != ["int64", "int32", "float32"] or len(indices) != len(value):
            raise ValueError(f"arrays of {', '.join(types)}, {len(indices)} links and {len(value)} values")
        length, num_nodes = np.diff(indptr), len(indptr) - 1
        if indptr[0] != 0 or (length < 0).any() or indptr[-1] != len(indices):
            raise ValueError(f"indptr does not split {len(indices)} links into {num_nodes} rows")
        key = np.repeat(np.arange(num_nodes), length) * num_nodes + indices
        if (np.diff(key) <= 0).any() or ((indices < 0) | (indices >= num_nodes)).any():
            raise ValueError("nodes that do not increase within a row, or are out of range")
        return make(arrays, arrays.pop("facts"))
    except (FileNotFoundError, PermissionError):
        raise
    except (*UNREADABLE, OSError) as error:
        raise ValueError(f"{path} does not contain links that Links.save wrote: {error}") from error


def _write(path: str | os.PathLike, arrays: dict[str, np.ndarray | None]) -> None:
    with replaced(path) as part, open(part, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def _read(path: str | os.PathLike) -> dict:
    """Return the arrays of a file; text becomes what it says, and ids of mixed kinds an array."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name in [name for name in arrays if name.endswith(JSON)]:
        arrays[name.removesuffix(JSON)] = json.loads(arrays.pop(name).tobytes())
    for name in {"node_ids", "hyperedge_ids"} & arrays.keys():
        if isinstance(arrays[name], list):
            arrays[name] = np.array(arrays[name], dtype=object)  # so that 1 and "1" differ
    return arrays


def _ids(name: str, ids: np.ndarray | None) -> dict[str, np.ndarray | None]:
    mixed = ids is not None and ids.dtype == object  # numpy would pickle it
    return {name + JSON * mixed: _text(ids.tolist()) if mixed else ids}


def _lists(attributes: Attributes) -> dict:
    """Return attributes as lists, with their numbers as entries, since a key of JSON is text."""
    return {
        "metadata": attributes.metadata,
        "nodes": [[v, a] for v, a in attributes.nodes.items()],
        "hyperedges": [[e, a] for e, a in attributes.hyperedges.items()],
        "incidences": [[v, e, a] for (v, e), a in attributes.incidences.items()],
    }


def _attributes(lists: dict, h: Incidence) -> Attributes:
    """Return the attributes in the lists of `_lists`; refuse attributes of something that is not in h."""
    indptr, indices, _ = h.numpy_members()
    metadata = lists.pop("metadata")
    nodes = {index(v): a for v, a in lists.pop("nodes")}
    hyperedges = {index(e): a for e, a in lists.pop("hyperedges")}
    incidences = {(index(v), index(e)): a for v, e, a in lists.pop("incidences")}
    if lists:
        raise ValueError(f"attributes of {sorted(lists)}")
    if not all(isinstance(a, dict) for a in (metadata, *nodes.values(), *hyperedges.values(), *incidences.values())):
        raise ValueError("attributes that are not named")
    for numbers, count in ((nodes, h.num_nodes), (hyperedges, h.num_hyperedges)):
        if numbers and not (min(numbers) >= 0 and max(numbers) < count):
            raise ValueError(f"attributes of numbers outside [0, {count})")
    for v, e in incidences:
        if not 0 <= e < h.num_hyperedges or v not in indices[indptr[e] : indptr[e + 1]]:
            raise ValueError(f"attributes of node {v} in hyperedge {e}, which does not have it as a member")
    return Attributes(metadata, nodes, hyperedges, incidences)


def _text(value: list | dict) -> np.ndarray:
    _check_json(value)
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _check_json(value: object) -> None:
    if isinstance(value, dict):
        for name, entry in value.items():
            if not isinstance(name, str):
                raise ValueError(f"attributes are saved as JSON, whose names are strings, got {name!r}")
            _check_json(entry)
    elif isinstance(value, list):
        for entry in value:
            _check_json(entry)
    elif not (value is None or isinstance(value, str | int | float)):
        raise ValueError(f"attributes are saved as JSON: None, bools, numbers, strings, lists and dicts, got {value!r}")
