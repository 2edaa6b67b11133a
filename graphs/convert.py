"""Hypergraphs to and from other packages and files; every other package is imported where it is asked for."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from graphs.hypergraph import Hypergraph


class Conversions:
    """The conversions of a `Hypergraph`, which inherits them; ids, weights and values survive the round trip."""

    def save(self, path: str | os.PathLike) -> None:
        """Write one .npz file, beside its final name first, so that a killed save leaves the old file or none."""
        indptr, indices, value = self.numpy_members()
        arrays = {
            "shape": np.array([self.num_nodes, self.num_hyperedges]),
            "indptr": indptr,
            "indices": indices,
            "value": value,
            "hyperedge_weight": None if self.hyperedge_weight is None else self.hyperedge_weight.cpu().numpy(),
            "node_ids": self.node_ids,
            "hyperedge_ids": self.hyperedge_ids,
        }
        path = Path(path)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(beside, "wb") as file:
                np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Hypergraph:
        """Read what `save` wrote; the file is checked like any other input and nothing is unpickled.

        Raises:
            ValueError: the file does not hold a hypergraph.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            num_nodes, num_hyperedges = (int(n) for n in arrays.pop("shape"))
            hyperedges = np.repeat(np.arange(len(arrays["indptr"]) - 1), np.diff(arrays.pop("indptr")))
            nodes, value = arrays.pop("indices"), arrays.pop("value", None)
            return cls.from_pairs(nodes, hyperedges, num_nodes, num_hyperedges, value, **arrays)
        except (ValueError, KeyError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a hypergraph that Hypergraph.save wrote: {error}") from error
