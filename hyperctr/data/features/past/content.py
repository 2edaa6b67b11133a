"""How much a row's item looks, reads or sounds like its user's latest clicks: cosines of modality vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperctr.data.columns import Column
from hyperctr.data.features.past.history import Latest
from hyperctr.data.row_columns import BatchRows

OVER = {"last_3": 3, "last_10": 10, "all": None}


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
        item, real, _ = self.latest.before(rows.user, rows.time)
        found = np.empty((len(rows), len(self.names)))
        for m, x in enumerate(self.vectors.values()):
            none = len(x) - 1
            candidate = x[torch.from_numpy(np.where((rows.item >= 0) & (rows.item < none), rows.item, none))]
            for k, most in enumerate(OVER.values()):
                clicked = torch.from_numpy(np.where(real[:, :most], item[:, :most], none))
                mean = F.normalize(F.embedding_bag(clicked, x, mode="sum"))  # [Q, d]
                cosine = (candidate * mean[torch.from_numpy(rows.query)]).sum(1)
                known = candidate.any(1) & mean.any(1)[torch.from_numpy(rows.query)]
                found[:, len(OVER) * m + k] = cosine.double().where(known, torch.nan).numpy()
        return found
