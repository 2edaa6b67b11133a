"""How much a row's item looks, reads or sounds like its user's latest clicks: cosines of modality vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperctr.data.columns import Column
from hyperctr.data.features.past.history import CLICKS, Latest
from hyperctr.data.lookup import address, library
from hyperctr.data.row_columns import BatchRows
from hyperctr.layers.bodies import choose

OVER = {"last_3": 3, "last_10": 10, "all": CLICKS}


@dataclass(frozen=True)
class PastContent:
    """Cosines between a row's item and the mean of the user's last 3, 10 and all (at most 50) clicks.

    Vectors are centred on the mean of all items that have the modality, and of length 1.

    Attributes:
        vectors: of each modality, float32 [num_items + 1, d]; zero for an item without it, and for the last row.
        latest: the clicks of the users.
    """

    vectors: Mapping[str, Tensor]
    latest: Latest

    @classmethod
    def of(cls, modalities: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], latest: Latest) -> PastContent:
        """Take the matrices of the modalities, [num_items, d] each; `present` says which items have them."""
        found = {}
        for name, matrix in modalities.items():
            there = np.flatnonzero(present[name])
            x = np.zeros((len(matrix) + 1, matrix.shape[1]), np.float32)
            x[there] = matrix[there]
            if len(there):
                x[there] -= x[there].mean(0, dtype=np.float64).astype(np.float32)
            found[name] = F.normalize(torch.from_numpy(x))
        return cls(found, latest)

    def reading(self, table: Mapping[str, Column]) -> PastContent:
        """Return the same, which reads no table."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        return tuple(f"past.{name}.{over}" for name in self.vectors for over in OVER)

    @property
    def nbytes(self) -> int:
        """Size in memory, without the clicks."""
        return sum(x.nbytes for x in self.vectors.values())

    def raw(self, rows: BatchRows) -> np.ndarray:
        """Return the cosines, float64 [B, N]; NaN where the item or the clicks have no vector."""
        clicked, count = self.latest.before(rows.user, rows.time)
        body = choose(_plain_cosines, _fast_cosines, library() is not None)
        found = [np.empty((0, len(rows)))]
        for x in self.vectors.values():
            none = len(x) - 1
            item = np.where((rows.item >= 0) & (rows.item < none), rows.item, none)
            found.append(body(x, item, rows.query, clicked, count))
        return np.concatenate(found).T


def _plain_cosines(
    x: Tensor, item: np.ndarray, query: np.ndarray, clicked: np.ndarray, count: np.ndarray
) -> np.ndarray:
    """Return the cosines of each row's item with the sums of its query's clicks, [3, B]; NaN without a vector."""
    found, own, query = [], x[torch.from_numpy(item)], torch.from_numpy(query)
    clicked = np.where(np.arange(clicked.shape[1]) < count[:, None], clicked, len(x) - 1)
    for most in OVER.values():
        mean = F.normalize(F.embedding_bag(torch.from_numpy(clicked[:, :most]), x, mode="sum"))  # [Q, d]
        known = own.any(1) & mean.any(1)[query]
        found.append((own * mean[query]).sum(1).double().where(known, torch.nan).numpy())
    return np.stack(found)


def _fast_cosines(x: Tensor, item: np.ndarray, query: np.ndarray, clicked: np.ndarray, count: np.ndarray) -> np.ndarray:
    found, most = np.empty((len(OVER), len(item))), np.array([*OVER.values()])
    vectors, item, query = x.numpy(), np.ascontiguousarray(item, np.int64), np.ascontiguousarray(query, np.int64)
    room = np.empty((len(OVER), vectors.shape[1] + 1), np.float32)
    of_rows, of_queries = map(address, (item, query)), map(address, (clicked, count))
    of_vectors = vectors.shape[1], address(vectors), len(most), *map(address, (most, room, found))
    library().cosines(len(item), *of_rows, clicked.shape[1], *of_queries, *of_vectors)
    return found
